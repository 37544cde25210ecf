//! What happens on the stage after the keys: the system's mounts, `ready`, the gates.

use super::stage::Stage;
use super::{Forecast, GateForecast};
use crate::config::{Condition, Config, Gate};
use crate::evaluate::{self, Learned};
use crate::exit::Fault;
use crate::gate::{self, Answer, Known};
use crate::names::DatasetName;
use crate::pass::Pass;
use crate::plan::NotMounted;
use crate::ready;
use crate::report::{Finding, Severity};
use crate::shell::command;
use crate::sorted::Set;
use crate::system::System;

/// What came of it.
pub(super) struct Play {
    /// Pools of which it is not known what they would mount.
    pub(super) unknown: Vec<Finding>,
    /// The fault that `ready` would exit with.
    pub(super) fault: Option<Fault>,
    /// What should be mounted and would not be, or is bound elsewhere too early.
    pub(super) gaps: Vec<Gap>,
    /// What is mounted on the real node, and would not be, by its own properties.
    pub(super) left_alone: Vec<Finding>,
    /// File systems that the boot mounts on one directory, and what is to be said of them.
    pub(super) twins: Vec<(Set<DatasetName>, Finding)>,
    /// What a stream has mounted, shared or written beside the replicas.
    pub(super) strays: Vec<Finding>,
    /// What is to be said of lines of fstab, and of systemd's units.
    pub(super) host: Vec<Finding>,
    /// Every gate.
    pub(super) gates: Vec<Asked>,
}

/// A file system that would not be there, or not wherever it is served from.
pub(super) struct Gap {
    pub(super) dataset: DatasetName,
    pub(super) finding: Finding,
    /// Whether the exit status depends on it.
    pub(super) counts: bool,
}

/// A gate's answer. Other gates that it needs have answers of their own.
pub(super) struct Asked {
    pub(super) forecast: GateForecast,
    /// Why the datasets that it names would keep it closed, if they would.
    pub(super) closed: Option<String>,
    /// Why a file, which is an admin's own switch, or a peer, which can be asked only then, would.
    pub(super) switched: Option<String>,
    /// The datasets that it names.
    pub(super) datasets: Set<DatasetName>,
    /// Encryption roots of theirs that would be locked.
    pub(super) locked: Set<DatasetName>,
}

/// Plays it.
pub(super) fn play(stage: &Stage, config: &Config) -> Play {
    let pass = Pass::begin("mounts", stage.node(), config);
    let mut unknown = stage.see_all(&config.pools(), pass.deadline);
    unknown.extend(stage.not_understood(config));
    let strays = stage.strays(config);
    let twins = stage.twins(config);
    let binds = stage.binds().unwrap_or_else(|trouble| {
        let what = format!("not known what the boot binds to other places: {trouble}");
        let remedy = "see why the file cannot be read";
        unknown.push(Finding::new(Severity::Failure, "binds", &what, remedy));
        Vec::new()
    });
    stage.see_ways(config, &binds, pass.deadline);
    let early = stage.bind(config, &binds);
    stage.mount_all();
    let mut host = stage.mount_fstab(config);
    let falls = stage.bound(config, pass.deadline);
    let mut pass = Pass::begin("ready", stage.node(), config);
    let plan = ready::mount_all(&mut pass);
    let missing = ready::missing(&pass, &plan).into_iter();
    let missing = missing.map(|missing| Gap {
        dataset: missing.dataset.clone(),
        counts: missing.counts,
        finding: lasting_remedy(missing),
    });
    let early = early.into_iter().map(|said| Gap {
        dataset: said.dataset,
        counts: false,
        finding: said.finding,
    });
    let gaps = missing.chain(early).collect();
    let left_alone = plan
        .left_alone
        .iter()
        .filter(|(dataset, _)| stage.was_mounted(dataset))
        .map(|(dataset, why)| {
            let what = format!("mounted now, not then: {}", ready::left_alone(why));
            let remedy = "mount it by hand after a boot, or let ZFS do it by its properties";
            Finding::new(Severity::Warning, dataset.as_str(), &what, remedy)
        })
        .collect();
    ready::judge(&mut pass, &plan);
    let learned = evaluate::learn(&mut pass);
    stage.unmount(&falls);
    host.extend(falls.into_iter().map(|one| one.finding));
    Play {
        unknown,
        fault: pass.report.fault,
        gaps,
        left_alone,
        twins,
        strays,
        host,
        gates: ask_gates(stage, config, &learned),
    }
}

/// What mends the next boot, where `ready`'s own advice mends only the one that it runs in.
fn lasting_remedy(missing: ready::Missing) -> Finding {
    let dataset = missing.dataset;
    match missing.why {
        Some(NotMounted::WouldBury(below)) => Finding {
            remedy: format!(
                "{}: the boot mounts it before {below}",
                command!("zfs set canmount=on {}", dataset)
            )
            .into(),
            ..missing.finding
        },
        _ => missing.finding,
    }
}

fn ask_gates(stage: &Stage, config: &Config, learned: &Learned) -> Vec<Asked> {
    let of_datasets = with_needs(config, is_of_datasets);
    let own = with_needs(config, |need| !matches!(need, Condition::Gate(_)));
    let ask = |config: &Config, gate: &Gate| {
        let gate = config.gate(&gate.name).unwrap_or(gate);
        let known = learned.of(config, gate, &Known::default());
        let needs = gate::needs(config, gate).into_iter();
        let mut datasets = needs.filter_map(Condition::dataset);
        if let Some(why) = datasets.find_map(|dataset| stage.why_unknown(dataset)) {
            return forecast(Answer::CannotTell(why));
        }
        forecast(match ready::look(stage.node(), config, gate, &known) {
            Ok(live) => gate::decide(config, gate, &live, &known),
            Err(answer) => answer,
        })
    };
    let not_open = |(state, why)| (state != Forecast::Open).then_some(why);
    let gates = config.gates.iter();
    gates
        .map(|gate| {
            let (state, reason) = ask(config, gate);
            let closed = not_open(ask(&of_datasets, gate));
            let datasets: Set<DatasetName> = gate.datasets().cloned().collect();
            let locked = datasets.iter().filter_map(|d| stage.locked_root(config, d));
            Asked {
                forecast: GateForecast {
                    name: gate.name.to_string(),
                    state,
                    reason: reason.into(),
                },
                switched: not_open(ask(&own, gate)).filter(|_| closed.is_none()),
                closed,
                locked: locked.collect(),
                datasets,
            }
        })
        .collect()
}

fn forecast(answer: Answer) -> (Forecast, String) {
    match answer {
        Answer::Open => (Forecast::Open, String::new()),
        Answer::Closed(why) => (Forecast::Closed, why),
        Answer::CannotTell(why) => (Forecast::Unknown, why),
    }
}

/// The configuration with gates that have only such conditions.
fn with_needs(config: &Config, keep: fn(&Condition) -> bool) -> Config {
    let mut bare = config.clone();
    for gate in &mut bare.gates {
        gate.needs.retain(keep);
    }
    bare
}

fn is_of_datasets(need: &Condition) -> bool {
    match need {
        Condition::Mounted { .. }
        | Condition::Writable(_)
        | Condition::Readonly(_)
        | Condition::KeyLoaded(_)
        | Condition::Role { .. }
        | Condition::FreshSnapshot { .. } => true,
        Condition::Present(_)
        | Condition::Absent(_)
        | Condition::Gate(_)
        | Condition::NotPromoted { .. } => false,
    }
}
