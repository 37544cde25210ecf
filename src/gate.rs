//! Gates: what must be true, what the live system answers, and the marker of this boot.
//!
//! [`decide`] is pure. Whatever is not known counts as closed.

use crate::config::{Condition, Config, Gate, Role};
use crate::names::{DatasetName, GateName, NodeName};
use crate::os::{Mount, PoolState};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What has to be looked at to decide a gate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Questions {
    /// Pools whose state counts.
    pub pools: BTreeSet<String>,
    /// Paths: what would a visitor reach there?
    pub paths: BTreeSet<PathBuf>,
    /// Datasets: where are they mounted, and what would a visitor reach there?
    pub datasets: BTreeSet<DatasetName>,
    /// Files: are they there?
    pub files: BTreeSet<PathBuf>,
    /// Volumes, perhaps: have they a device?
    pub volumes: BTreeSet<DatasetName>,
    /// Snapshots of mounted file systems: are they still there?
    pub snapshots: BTreeMap<DatasetName, String>,
}

/// What only asking ZFS tells, as the last pass that asked found it; kept in the marker. Each of
/// them is held against the live system, so that an old one closes a gate and never opens it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// The replica roots that are promoted.
    pub promoted: BTreeSet<DatasetName>,
    /// The newest snapshot of each dataset whose age counts.
    pub newest: BTreeMap<DatasetName, Newest>,
}

/// A snapshot and its age.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Newest {
    /// What stands behind `@`.
    pub name: String,
    /// When it was made, in seconds since 1970.
    pub created: u64,
}

/// What the live system answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// What a visitor of each path reaches; `None` where there is no such path, `Err` where the
    /// kernel did not say.
    pub covering: BTreeMap<PathBuf, Result<Option<Mount>, String>>,
    /// Where each dataset is mounted.
    pub mounted_at: BTreeMap<DatasetName, Vec<PathBuf>>,
    /// Whether each file is there.
    pub files: BTreeMap<PathBuf, Result<bool, String>>,
    /// Whether each volume has a device.
    pub volumes: BTreeMap<DatasetName, Result<bool, String>>,
    /// Whether each dataset's snapshot is there.
    pub snapshots: BTreeMap<DatasetName, Result<bool, String>>,
    /// The time of day, in seconds since 1970.
    pub now: u64,
    /// What each peer was judged to say, asked just now.
    pub peers: BTreeMap<NodeName, Answer>,
}

/// The answer of a gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[must_use]
pub enum Answer {
    /// All it needs is true now.
    Open,
    /// Something it needs is not true.
    Closed(String),
    /// Something it needs could not be asked. Counts as closed.
    CannotTell(String),
}

/// All that the conditions of `gate`, and of the gates it needs, depend on.
pub fn questions(config: &Config, gate: &Gate) -> Questions {
    let mut questions = Questions::default();
    collect(config, gate, &mut questions);
    questions
}

fn collect(config: &Config, gate: &Gate, questions: &mut Questions) {
    for need in &gate.needs {
        match need {
            Condition::Mounted { path, dataset } => {
                questions.pools.insert(dataset.pool().to_owned());
                questions.paths.insert(path.clone());
            }
            Condition::Writable(dataset) | Condition::Readonly(dataset) => {
                questions.pools.insert(dataset.pool().to_owned());
                questions.datasets.insert(dataset.clone());
            }
            Condition::Present(path) | Condition::Absent(path) => {
                questions.files.insert(path.clone());
            }
            Condition::Gate(name) => {
                if let Some(needed) = config.gate(name) {
                    collect(config, needed, questions);
                }
            }
            Condition::KeyLoaded(_)
            | Condition::Role { .. }
            | Condition::FreshSnapshot { .. }
            | Condition::NotPromoted { .. } => {}
        }
    }
}

/// A pool that closes a gate before anything on it is touched.
pub fn sick_pool(pools: &BTreeMap<String, PoolState>) -> Option<Answer> {
    pools.iter().find_map(|(name, state)| match state {
        PoolState::Works(_) => None,
        PoolState::Suspended => Some(Answer::Closed(format!("pool {name} is suspended"))),
        PoolState::NotImported => Some(Answer::Closed(format!("pool {name} is not imported"))),
        PoolState::Unknown(why) => Some(Answer::CannotTell(format!("pool {name}: {why}"))),
    })
}

/// Decides the conditions of `gate` by what the live system answered, without its marker.
///
/// "Closed" weighs more than "cannot tell": what is known to be false needs no further question.
pub fn decide(config: &Config, gate: &Gate, live: &Live) -> Answer {
    let mut unknown = None;
    for need in &gate.needs {
        match condition(config, need, live) {
            Answer::Open => {}
            Answer::Closed(why) => return Answer::Closed(why),
            Answer::CannotTell(why) => unknown = unknown.or(Some(why)),
        }
    }
    unknown.map_or(Answer::Open, Answer::CannotTell)
}

fn condition(config: &Config, need: &Condition, live: &Live) -> Answer {
    match need {
        Condition::Mounted { path, dataset } => {
            let wanted = match config.role_of(dataset) {
                Some(Role::Primary) => Writing::Allowed,
                Some(Role::Replica) => Writing::Refused,
                None => return Answer::CannotTell(format!("{dataset} has no role here")),
            };
            visible(dataset, path, wanted, live)
        }
        Condition::Writable(dataset) => somewhere(dataset, Writing::Allowed, live),
        Condition::Readonly(dataset) => somewhere(dataset, Writing::Refused, live),
        Condition::KeyLoaded(_) | Condition::Role { .. } | Condition::FreshSnapshot { .. } => {
            Answer::CannotTell("not looked at".to_owned())
        }
        Condition::Present(path) => file(path, true, live),
        Condition::Absent(path) => file(path, false, live),
        Condition::Gate(name) => match config.gate(name) {
            Some(needed) => match decide(config, needed, live) {
                Answer::Open => Answer::Open,
                Answer::Closed(why) => Answer::Closed(format!("gate {name}: {why}")),
                Answer::CannotTell(why) => Answer::CannotTell(format!("gate {name}: {why}")),
            },
            None => Answer::CannotTell(format!("there is no gate {name}")),
        },
        Condition::NotPromoted { peer } => Answer::CannotTell(format!(
            "this version cannot ask {peer} whether it was promoted"
        )),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Writing {
    Allowed,
    Refused,
}

fn visible(dataset: &DatasetName, path: &Path, wanted: Writing, live: &Live) -> Answer {
    let shown = path.display();
    let mount = match live.covering.get(path) {
        Some(Ok(Some(mount))) => mount,
        Some(Ok(None)) => return Answer::Closed(format!("there is no {shown}")),
        Some(Err(why)) => return Answer::CannotTell(format!("{shown}: {why}")),
        None => return Answer::CannotTell(format!("{shown} was not looked at")),
    };
    if mount.at != path {
        return Answer::Closed(format!(
            "{dataset} is not to be seen on {shown}: it shows {} from {}",
            mount.source,
            mount.at.display()
        ));
    }
    if mount.fstype != "zfs" || mount.source != dataset.as_str() {
        return Answer::Closed(format!(
            "{shown} shows {} ({}), not {dataset}",
            mount.source, mount.fstype
        ));
    }
    match wanted {
        Writing::Allowed if mount.read_only => {
            Answer::Closed(format!("{dataset} on {shown} is read-only"))
        }
        Writing::Refused if !mount.sealed => {
            Answer::Closed(format!("{dataset} on {shown} can be written"))
        }
        _ => Answer::Open,
    }
}

fn somewhere(dataset: &DatasetName, wanted: Writing, live: &Live) -> Answer {
    let Some(places) = live.mounted_at.get(dataset) else {
        return Answer::CannotTell(format!("{dataset} was not looked for"));
    };
    let mut answer = Answer::Closed(format!("{dataset} is not mounted"));
    for place in places {
        answer = visible(dataset, place, wanted, live);
        if answer == Answer::Open {
            return Answer::Open;
        }
    }
    answer
}

fn file(path: &Path, wanted: bool, live: &Live) -> Answer {
    let shown = path.display();
    match live.files.get(path) {
        Some(Ok(there)) if *there == wanted => Answer::Open,
        Some(Ok(true)) => Answer::Closed(format!("{shown} is there")),
        Some(Ok(false)) => Answer::Closed(format!("there is no {shown}")),
        Some(Err(why)) => Answer::CannotTell(format!("{shown}: {why}")),
        None => Answer::CannotTell(format!("{shown} was not looked at")),
    }
}

/// What a marker says: which boot found which gate open, over which datasets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Marker {
    /// The boot's identity.
    pub boot: String,
    /// The gate.
    pub gate: GateName,
    /// BLAKE3 of the gate's definition with all it needs, in hex.
    pub definition: String,
    /// The number of the file system that each path showed.
    pub seen: BTreeMap<PathBuf, String>,
}

impl Marker {
    /// The marker that says `gate` is open in this boot, seen as `live` tells.
    pub fn new(config: &Config, gate: &Gate, boot: &str, live: &Live) -> Marker {
        Marker {
            boot: boot.to_owned(),
            gate: gate.name.clone(),
            definition: definition(config, gate),
            seen: seen(live),
        }
    }
}

/// The numbers of the ZFS file systems that the questions met.
fn seen(live: &Live) -> BTreeMap<PathBuf, String> {
    live.covering
        .iter()
        .filter_map(|(path, mount)| match mount {
            Ok(Some(mount)) => Some((path.clone(), mount.fsid.clone())),
            _ => None,
        })
        .collect()
}

/// Whether `marker` was made in this boot for this very gate over what is seen now.
pub fn check_marker(expected: &Marker, marker: &Marker) -> Answer {
    let closed = |why: &str| Answer::Closed(format!("the marker of gate {} {why}", expected.gate));
    if marker.gate != expected.gate {
        return closed("is a copy of another gate's");
    }
    if marker.boot != expected.boot {
        return closed("was made in another boot");
    }
    if marker.definition != expected.definition {
        return closed("was made for another definition of the gate");
    }
    if marker.seen != expected.seen {
        return closed("was made for other file systems than those mounted now");
    }
    Answer::Open
}

#[derive(Serialize)]
struct Definition<'a> {
    node: &'a str,
    gates: Vec<&'a Gate>,
    roles: BTreeMap<&'a DatasetName, Option<Role>>,
}

/// The identity of a gate's definition: its conditions, those of the gates it needs, and the roles
/// of their datasets.
fn definition(config: &Config, gate: &Gate) -> String {
    let mut gates = vec![gate];
    let mut next = 0;
    while let Some(gate) = gates.get(next).copied() {
        for need in &gate.needs {
            if let Condition::Gate(name) = need
                && let Some(needed) = config.gate(name)
                && !gates.iter().any(|known| known.name == needed.name)
            {
                gates.push(needed);
            }
        }
        next += 1;
    }
    let roles = gates
        .iter()
        .flat_map(|gate| gate.datasets())
        .map(|dataset| (dataset, config.role_of(dataset)))
        .collect();
    let definition = Definition {
        node: config.node.as_str(),
        gates,
        roles,
    };
    let bytes = serde_json::to_vec(&definition).unwrap_or_default();
    blake3::hash(&bytes).to_hex().to_string()
}
