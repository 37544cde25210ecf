//! Evaluates the gates in a pass: learns what only ZFS can tell, asks the live system, and keeps the
//! markers. Changes nothing else.

use crate::config::{Condition, Config, Gate, Role};
use crate::exit::Fault;
use crate::gate::{self, Answer, Known, Marker, Newest};
use crate::marker;
use crate::names::{DatasetName, NodeName};
use crate::pass::Pass;
use crate::plan::Pool;
use crate::ready;
use crate::report::{GateLine, Severity};
use crate::sightings::Sightings;
use crate::sorted::{Map, Set};
use crate::starts::{self, Starts};

/// What the peers say: nobody asks them at boot, when there is no network yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Peers {
    /// They were not asked, so a gate that needs one is not opened.
    NotAsked,
    /// What each said that a gate needs, just now.
    Asked(Map<NodeName, Answer>),
}

/// Asks every peer that some gate needs. To be done before the lock is taken.
pub(crate) fn ask_peers(pass: &Pass) -> Peers {
    let gates = pass.config.gates.iter();
    let peers: Set<NodeName> = gates
        .flat_map(|gate| gate::peers(pass.config, gate))
        .collect();
    // Every gate of a locked node is closed, whatever they say.
    if peers.is_empty() || ready::locked(pass.node.run).is_some() {
        return Peers::Asked(Map::new());
    }
    pass.doing("peers");
    let heard = ready::ask_peers(pass.node, pass.config, &peers);
    pass.clock().doing("");
    Peers::Asked(heard)
}

/// What ZFS was asked in this pass.
#[derive(Debug, Default)]
pub(crate) struct Learned {
    /// Pools that answered.
    seen: Set<String>,
    /// Datasets of those that are not understood.
    damaged: Set<DatasetName>,
    /// Replica roots that are promoted.
    promoted: Set<DatasetName>,
    /// The newest snapshot of each dataset that a gate wants fresh; absent where ZFS did not say.
    newest: Map<DatasetName, Option<Newest>>,
    /// Since when their snapshots are known.
    sightings: Sightings,
}

/// How a gate came out.
enum Outcome {
    Open,
    /// Open as far as this node can tell, with a marker of an earlier pass that asked its peers.
    Kept(String),
    Closed(String),
}

/// Evaluates every gate afresh, and makes its marker say so. `markers` is false when none may be
/// written.
pub(crate) fn gates(pass: &mut Pass, markers: bool, peers: &Peers) {
    pass.phase("gates", |pass| {
        evaluate_all(pass, markers, peers);
        let open = pass.report.gates.iter().filter(|gate| gate.open).count();
        ((), format!("{open} of {} open", pass.report.gates.len()))
    });
}

fn evaluate_all(pass: &mut Pass, markers: bool, peers: &Peers) {
    let locked = ready::locked(pass.node.run);
    let learned = match locked {
        Some(_) => Learned::default(),
        None => learn(pass),
    };
    remember(pass, &learned.sightings);
    let newest = learned.newest.iter();
    let made = newest.filter_map(|(name, newest)| Some((name.clone(), newest.as_ref()?.created)));
    pass.report.snapshots = made.collect();
    for gate in &pass.config.gates {
        let outcome = match &locked {
            Some(answer) => Outcome::Closed(in_words(answer.clone())),
            None => evaluate(pass, gate, &learned, peers, markers),
        };
        if let Outcome::Closed(_) = outcome {
            close(pass, gate);
        }
        let (open, reason) = match outcome {
            Outcome::Open => (true, String::new()),
            Outcome::Kept(why) | Outcome::Closed(why) => (false, why),
        };
        pass.report.gates.push(GateLine {
            name: gate.name.to_string(),
            open,
            reason: reason.into(),
        });
    }
}

/// Remembers since when snapshots are known, for as long as this boot lasts.
fn remember(pass: &mut Pass, sightings: &Sightings) {
    if pass.report.boot.is_none() || *sightings == Sightings::default() {
        return;
    }
    if let Err(e) = sightings.keep(pass.node.run) {
        let subject = pass.node.run.display().to_string();
        let what = format!("since when snapshots are known could not be kept: {e}");
        let remedy =
            "make the directory writable for root; until then their age is by the clock alone";
        pass.report.find(Severity::Warning, &subject, &what, remedy);
    }
}

fn in_words(answer: Answer) -> String {
    match answer {
        Answer::Open => String::new(),
        Answer::Closed(why) => why,
        Answer::CannotTell(why) => format!("cannot tell: {why}"),
    }
}

/// Asks ZFS what the gates depend on and the live system alone does not tell.
pub(crate) fn learn(pass: &mut Pass) -> Learned {
    let pools = pass.observed.pools.iter();
    let mut learned = Learned {
        seen: pools
            .filter(|(_, pool)| matches!(pool, Pool::Seen(_)))
            .map(|(name, _)| name.clone())
            .collect(),
        damaged: pass.observed.damaged.keys().cloned().collect(),
        promoted: pass.observed.promoted(pass.config),
        newest: Map::new(),
        sightings: Sightings::read(
            pass.node.run,
            pass.report.boot.as_deref().unwrap_or_default(),
        ),
    };
    let wanted: Set<&DatasetName> = pass
        .config
        .gates
        .iter()
        .flat_map(|gate| &gate.needs)
        .filter(|need| matches!(need, Condition::FreshSnapshot { .. }))
        .filter_map(Condition::dataset)
        .collect();
    let now = match pass.node.system.since_boot() {
        Ok(now) => now.as_secs(),
        // Without it no snapshot has an age; what the marker knew of it holds.
        Err(trouble) => {
            let remedy = "no gate with `fresh_snapshot` opens until it is back";
            let what = trouble.to_string();
            pass.report.find(Severity::Warning, "gates", &what, remedy);
            return learned;
        }
    };
    for dataset in wanted {
        let pool = dataset.pool();
        // Of a pool that was not seen there is enough to be read elsewhere.
        if !learned.seen.contains(pool) || pass.is_given_up(pool) {
            continue;
        }
        let deadline = pass.deadline.at_most(pass.clock(), pass.one_call());
        match pass.node.zfs.past(dataset, deadline) {
            Ok(pasts) => {
                let past = pasts.iter().find(|past| past.dataset == *dataset);
                let newest = past.and_then(|past| learned.sightings.see(past, now));
                learned.newest.insert(dataset.clone(), newest);
            }
            Err(trouble) => {
                pass.note_trouble(pool, &trouble);
                let what = format!("its snapshots could not be asked for: {trouble}");
                let remedy = "see why `zfs list -t snapshot` fails on it";
                pass.report
                    .find(Severity::Warning, dataset.as_str(), &what, remedy);
            }
        }
    }
    learned
}

impl Learned {
    /// What is known for a gate. Where ZFS did not say, what it said for the marker `old` of this
    /// boot still holds as far as the live system shows it: a slow answer closes no gate.
    pub(crate) fn of(&self, config: &Config, gate: &Gate, old: &Known) -> Known {
        let mut known = Known {
            promoted: self.promoted.clone(),
            newest: Map::new(),
        };
        let unseen =
            |root: &&DatasetName| !self.seen.contains(root.pool()) || self.damaged.contains(*root);
        known
            .promoted
            .extend(old.promoted.iter().filter(unseen).cloned());
        known.newest.extend(old.newest.clone());
        for (dataset, newest) in &self.newest {
            match newest {
                Some(newest) => known.newest.insert(dataset.clone(), newest.clone()),
                None => known.newest.remove(dataset),
            };
        }
        // The configuration may have changed since the marker was made.
        known
            .promoted
            .retain(|root| config.role_of(root) == Some(Role::Replica));
        known.of(config, gate)
    }
}

fn evaluate(
    pass: &mut Pass,
    gate: &Gate,
    learned: &Learned,
    peers: &Peers,
    markers: bool,
) -> Outcome {
    let (node, config) = (pass.node, pass.config);
    let Some(boot) = pass.report.boot.clone() else {
        return Outcome::Closed("the kernel has no identity of this boot yet".to_owned());
    };
    let old = marker::read(node.run, &gate.name).unwrap_or_default();
    let old = old.filter(|old| old.gate == gate.name && old.boot == boot);
    let before = old.as_ref().map(|old| old.known.clone());
    let known = learned.of(config, gate, &before.unwrap_or_default());
    let live = match ready::look(node, config, gate, &known) {
        Ok(live) => live,
        Err(answer) => return Outcome::Closed(in_words(answer)),
    };
    let mut live = live;
    let answer = match (gate::decide_here(config, gate, &live, &known), peers) {
        (Answer::Open, Peers::Asked(heard)) => {
            let needed = gate::peers(config, gate);
            let heard = heard.iter().filter(|(peer, _)| needed.contains(*peer));
            live.peers = heard
                .map(|(peer, said)| (peer.clone(), said.clone()))
                .collect();
            gate::decide(config, gate, &live, &known)
        }
        (answer, _) => answer,
    };
    match answer {
        Answer::Open if !markers => {
            Outcome::Closed("markers of other boots could not be removed".to_owned())
        }
        Answer::Open if *peers != Peers::NotAsked || gate::peers(config, gate).is_empty() => {
            let marker = Marker::new(config, gate, &boot, &live, &known);
            open(pass, &marker, old.as_ref())
        }
        Answer::Open => {
            let marker = Marker::new(config, gate, &boot, &live, &known);
            keep(pass, &marker, old.as_ref())
        }
        answer => Outcome::Closed(in_words(answer)),
    }
}

/// Writes the marker; `old` is the one of this boot that was there.
fn open(pass: &mut Pass, marker: &Marker, old: Option<&Marker>) -> Outcome {
    let was_open = old.is_some_and(|old| gate::check_marker(marker, old) == Answer::Open);
    match marker::write(pass.node.run, marker) {
        Ok(_) => {
            if !was_open {
                let change = format!("opened gate {}", marker.gate);
                pass.report.change(change);
            }
            Outcome::Open
        }
        Err(e) => {
            pass.report.fail(Fault::System);
            Outcome::Closed(format!("its marker could not be written: {e}"))
        }
    }
}

/// Leaves the marker of a pass that asked the peers, if it says what is so now.
fn keep(pass: &mut Pass, marker: &Marker, old: Option<&Marker>) -> Outcome {
    let why = "its peers are asked once the network is up; `f3skeys reconcile` asks them";
    match old.map(|old| gate::check_marker(marker, old)) {
        Some(Answer::Open) => match open(pass, marker, old) {
            Outcome::Open => Outcome::Kept(why.to_owned()),
            failed => failed,
        },
        _ => Outcome::Closed(why.to_owned()),
    }
}

/// Closes every gate that depends on what `root` is here, before that changes: a run that dies in
/// between must not leave a gate open for what was so before.
pub(crate) fn close_about(pass: &mut Pass, root: &DatasetName) {
    for gate in &pass.config.gates {
        let needs = gate::needs(pass.config, gate).into_iter();
        let mut datasets = needs.filter_map(Condition::dataset);
        if datasets.any(|dataset| dataset.is_at_or_below(root)) {
            close(pass, gate);
        }
    }
}

/// Removes the marker, and remembers that the gate's services are to be started once it opens.
fn close(pass: &mut Pass, gate: &Gate) {
    match marker::remove(pass.node.run, &gate.name) {
        Ok(false) => {}
        Ok(true) => {
            let change = format!("closed gate {}", gate.name);
            pass.report.change(change);
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
    let boot = pass.report.boot.clone().unwrap_or_default();
    if gate.services.is_empty() {
        return;
    }
    if let Err(e) = starts::write(pass.node.run, &gate.name, &boot, &Starts::default()) {
        let subject = format!("gate {}", gate.name);
        let what = format!("its services will not be started by themselves: {e}");
        let remedy = "make the run directory writable for root, or start them by hand later";
        pass.report.find(Severity::Failure, &subject, &what, remedy);
        pass.report.fail(Fault::System);
    }
}
