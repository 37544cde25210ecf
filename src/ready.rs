//! `f3skeys ready`: mounts what is still missing, in the order of paths, and writes the markers of
//! the gates that hold. And the question that services ask, `f3skeys gate`.

use crate::boot::is_open;
use crate::config::{Config, Gate, Root};
use crate::exit::Fault;
use crate::gate::{self, Answer, Live, Marker};
use crate::marker;
use crate::names::{DatasetName, GateName};
use crate::pass::{Node, Pass};
use crate::plan::{self, KeyState, LeftAlone, MountPlan, NotMounted, Step};
use crate::report::{Finding, GateLine, Report, RootLine, Severity};
use crate::roles;
use crate::time::Deadline;
use std::collections::BTreeMap;
use std::time::Duration;

/// The longest that a gate may take to answer, whatever hangs.
pub const GATE_DEADLINE: Duration = Duration::from_secs(2);
/// Readonly, then mounts, then once more for what the first round made possible.
const ROUNDS: usize = 3;

/// Runs the whole pass.
pub fn ready(node: Node, config: &Config) -> Report {
    let mut pass = Pass::begin("ready", node, config);
    let Some(_lock) = pass.lock() else {
        return pass.finish();
    };
    let markers = pass.drop_stale_markers();
    let plan = mount_all(&mut pass);
    judge(&mut pass, &plan);
    roles::tell(&mut pass);
    pass.phase("gates", |pass| {
        open_gates(pass, markers);
        let open = pass.report.gates.iter().filter(|gate| gate.open).count();
        ((), format!("{open} of {} open", pass.report.gates.len()))
    });
    pass.finish()
}

/// The pass up to its gates, as a rehearsal plays it too; gives the plan that is left.
pub(crate) fn mount_all(pass: &mut Pass) -> MountPlan {
    pass.phase("pools", |pass| {
        pass.observe_all();
        ((), pass.pools_in_words())
    });
    pass.phase("mounts", |pass| {
        let plan = mount_missing(pass);
        let words = match (plan.steps.len(), plan.refused.len()) {
            (0, 0) => "all that can be mounted is mounted".to_owned(),
            (steps, refused) => format!("{} file systems are not mounted", steps + refused),
        };
        (plan, words)
    })
}

/// Mounts until nothing is left or nothing works any more; gives the plan that is left.
///
/// A mount may have to replay a log, so it gets all the time that its pool has: an equal part of
/// three quarters of the budget. The rest is for looking again and for the gates.
fn mount_missing(pass: &mut Pass) -> MountPlan {
    let pools = pass.config.pools();
    let parts = u32::try_from(pools.len()).unwrap_or(u32::MAX);
    let share = pass.deadline.left(pass.clock()) * 3 / 4 / parts;
    let mut left: BTreeMap<String, Duration> = pools.into_iter().map(|p| (p, share)).collect();
    for _ in 0..ROUNDS {
        let deadline = pass.deadline.share(pass.clock(), 2);
        let mut changed = pass.seal_replicas(deadline) > 0;
        if !changed {
            let plan = plan::mounts(pass.config, &pass.observed);
            for step in &plan.steps {
                let left = left.entry(step.dataset().pool().to_owned()).or_default();
                changed |= mount(pass, step, left);
            }
        }
        if !changed {
            break;
        }
        pass.observe_all();
    }
    plan::mounts(pass.config, &pass.observed)
}

/// Mounts one file system and takes its time off what its pool has left.
fn mount(pass: &mut Pass, step: &Step, left: &mut Duration) -> bool {
    let begun = pass.clock().now();
    let deadline = pass.deadline.at_most(pass.clock(), *left);
    let done = pass.make(step, deadline);
    *left = left.saturating_sub(pass.clock().now() - begun);
    done
}

pub(crate) fn judge(pass: &mut Pass, plan: &MountPlan) {
    judge_roots(pass);
    for missing in missing(pass, plan) {
        let Finding {
            severity,
            subject,
            what,
            remedy,
        } = &missing.finding;
        pass.report.find(*severity, subject, what, remedy);
        if missing.counts {
            pass.report.fail(Fault::Unavailable);
        }
    }
    for (dataset, why) in &plan.left_alone {
        pass.report
            .find(Severity::Note, dataset.as_str(), left_alone(why), "");
    }
}

/// What should be mounted, or read-only, and is not.
pub(crate) struct Missing<'a> {
    pub(crate) dataset: &'a DatasetName,
    pub(crate) finding: Finding,
    /// Why it is not mounted, where that was decided and not tried.
    pub(crate) why: Option<&'a NotMounted>,
    /// Whether the exit status depends on it.
    pub(crate) counts: bool,
}

/// The complaints of a plan that is left. A locked root has been complained of before.
pub(crate) fn missing<'a>(pass: &Pass, plan: &'a MountPlan) -> Vec<Missing<'a>> {
    let steps = plan.steps.iter().map(|step| {
        let (what, remedy) = step_left(step, &pass.why_left(step));
        (step.dataset(), None, what, remedy)
    });
    let refused = plan
        .refused
        .iter()
        .filter(|(_, why)| *why != NotMounted::Locked)
        .map(|(dataset, why)| {
            let (what, remedy) = not_mounted(why);
            (dataset, Some(why), what, remedy)
        });
    steps
        .chain(refused)
        .map(|(dataset, why, what, remedy)| Missing {
            dataset,
            why,
            finding: Finding::new(Severity::Failure, dataset.as_str(), &what, &remedy),
            counts: counts(pass.config, dataset),
        })
        .collect()
}

fn step_left(step: &Step, why: &str) -> (String, String) {
    let dataset = step.dataset();
    match step {
        Step::Mount { at, .. } => (
            format!("not mounted on {}: {why}", at.display()),
            format!("see why `zfs mount {dataset}` fails, then `f3skeys ready`"),
        ),
        _ => (
            format!("this replica could not be made read-only: {why}"),
            format!("see why `zfs set readonly=on {dataset}` fails"),
        ),
    }
}

/// Whether a required root is at or above the dataset, or none at all: then it is an ancestor of
/// what is.
fn counts(config: &Config, dataset: &DatasetName) -> bool {
    let required = |root: &Root| root.required && dataset.is_at_or_below(&root.dataset);
    config.role_of(dataset).is_none() || config.roots.iter().any(required)
}

pub(crate) fn left_alone(why: &LeftAlone) -> &'static str {
    match why {
        LeftAlone::Legacy => "mountpoint=legacy: mounted by fstab or by hand, not by f3skeys",
        LeftAlone::NoMountpoint => "mountpoint=none: nothing to mount",
        LeftAlone::NoAuto => "canmount=noauto, and no gate names it: left unmounted",
        LeftAlone::Jailed => "belongs to a jail or zone, which mounts it",
    }
}

pub(crate) fn not_mounted(why: &NotMounted) -> (String, String) {
    match why {
        NotMounted::Locked => (
            "not mounted: its key is not loaded".to_owned(),
            "`f3skeys boot`".to_owned(),
        ),
        NotMounted::WaitsFor(above) => (
            format!("not mounted: {above} belongs on a directory above it and is not mounted"),
            format!("mount {above} first, then `f3skeys ready`"),
        ),
        NotMounted::WouldBury(below) => (
            format!("not mounted: that would bury {below}, which is mounted below its directory"),
            format!("stop what uses {below}, `zfs unmount {below}`, then `f3skeys ready`"),
        ),
        NotMounted::Writable => (
            "not mounted: this replica could be written".to_owned(),
            "see why `zfs set readonly=on` fails".to_owned(),
        ),
        NotMounted::SamePlace(other) => (
            format!("not mounted: {other} has the same mountpoint"),
            "give one of them another mountpoint, or canmount=noauto".to_owned(),
        ),
    }
}

/// Says how the roots stand, without a stick: loaded or not is all that counts here.
fn judge_roots(pass: &mut Pass) {
    let why = "run `f3skeys boot` to see why".to_owned();
    let keys = pass
        .config
        .keys()
        .into_iter()
        .map(|key| (key, KeyState::NoStore(why.clone())))
        .collect();
    let plan = plan::keys(pass.config, &pass.observed, &keys);
    for (root, (dataset, verdict)) in pass.config.roots.iter().zip(plan.roots) {
        let open = is_open(&verdict);
        if !open {
            let what = "it is locked, so nothing of it is mounted";
            let remedy = "`f3skeys status` says why; then `f3skeys boot`";
            pass.report
                .find(Severity::Failure, dataset.as_str(), what, remedy);
            if root.required {
                pass.report.fail(Fault::Unavailable);
            }
        }
        pass.report.roots.push(RootLine {
            dataset: dataset.to_string(),
            role: root.role.to_string(),
            required: root.required,
            open,
            state: if open { "open" } else { "LOCKED" }.to_owned(),
        });
    }
}

/// Evaluates every gate and replaces its marker; `markers` is false when none may be written.
pub(crate) fn open_gates(pass: &mut Pass, markers: bool) {
    for gate in &pass.config.gates {
        let (answer, live) = ask_live(pass.node, pass.config, gate);
        let reason = match answer {
            Answer::Open => open_gate(pass, gate, &live, markers),
            Answer::Closed(why) => close_gate(pass, gate, why),
            Answer::CannotTell(why) => close_gate(pass, gate, format!("cannot tell: {why}")),
        };
        pass.report.gates.push(GateLine {
            name: gate.name.to_string(),
            open: reason.is_empty(),
            reason,
        });
    }
}

/// Writes the marker; gives the reason why the gate is closed all the same, or nothing.
fn open_gate(pass: &mut Pass, gate: &Gate, live: &Live, markers: bool) -> String {
    let Some(boot) = pass.report.boot.clone() else {
        return "the kernel has no identity of this boot yet".to_owned();
    };
    if !markers {
        return "markers of other boots could not be removed".to_owned();
    }
    let marker = Marker::new(pass.config, gate, &boot, live);
    match marker::write(pass.node.run, &marker) {
        Ok(changed) => {
            if changed {
                let change = format!("opened gate {}", gate.name);
                pass.report.changed.push(change);
            }
            String::new()
        }
        Err(e) => {
            pass.report.fail(Fault::System);
            format!("its marker could not be written: {e}")
        }
    }
}

fn close_gate(pass: &mut Pass, gate: &Gate, why: String) -> String {
    match marker::remove(pass.node.run, &gate.name) {
        Ok(false) => {}
        Ok(true) => {
            let change = format!("closed gate {}", gate.name);
            pass.report.changed.push(change);
        }
        Err(e) => {
            let path = marker::path(pass.node.run, &gate.name);
            let what = format!("the marker of a closed gate could not be removed: {e}");
            let remedy = "remove it by hand; `f3skeys gate` says closed all the same";
            let subject = path.display().to_string();
            pass.report.find(Severity::Failure, &subject, &what, remedy);
            pass.report.fail(Fault::System);
        }
    }
    why
}

/// Asks the live system for a gate's conditions: pool states first, which cannot hang.
pub(crate) fn ask_live(node: Node, config: &Config, gate: &Gate) -> (Answer, Live) {
    let questions = gate::questions(config, gate);
    let pools = questions
        .pools
        .iter()
        .map(|pool| (pool.clone(), node.system.pool_state(pool)))
        .collect();
    if let Some(answer) = gate::sick_pool(&pools) {
        return (answer, Live::default());
    }
    let deadline = Deadline::after(node.system.clock(), GATE_DEADLINE);
    match node.system.look(&questions, deadline) {
        Ok(live) => (gate::decide(config, gate, &live), live),
        Err(trouble) => (Answer::CannotTell(trouble.to_string()), Live::default()),
    }
}

/// Whether the gate is open now: all it needs is true, and a marker of this boot was made for it.
pub fn ask(node: Node, config: &Config, gate: &Gate) -> Answer {
    let (answer, live) = ask_live(node, config, gate);
    if answer != Answer::Open {
        return answer;
    }
    let Some(boot) = node.system.boot_id() else {
        return Answer::CannotTell("the kernel has no identity of this boot yet".to_owned());
    };
    let expected = Marker::new(config, gate, &boot, &live);
    match marker::read(node.run, &gate.name) {
        Ok(Some(marker)) => gate::check_marker(&expected, &marker),
        Ok(None) => Answer::Closed(format!(
            "no marker of this boot for gate {}; `f3skeys ready` writes it",
            gate.name
        )),
        Err(e) => Answer::CannotTell(format!(
            "{}: {e}",
            marker::path(node.run, &gate.name).display()
        )),
    }
}

/// The gate of this name, or in words that there is none.
///
/// # Errors
/// No gate of the configuration has the name.
pub fn named<'a>(config: &'a Config, name: &str) -> Result<&'a Gate, String> {
    let known: Vec<&str> = config.gates.iter().map(|gate| gate.name.as_str()).collect();
    name.parse()
        .ok()
        .and_then(|name: GateName| config.gate(&name))
        .ok_or_else(|| match known.as_slice() {
            [] => format!("no gate `{name}`: the configuration has none"),
            known => format!("no gate `{name}`; there are {}", known.join(", ")),
        })
}
