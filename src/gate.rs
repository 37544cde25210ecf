//! Gates: what must be true, what the live system answers, and the marker of this boot.
//!
//! [`decide`] is pure. Whatever is not known counts as closed.

use crate::config::{Condition, Config, Gate, Role};
use crate::links::Way;
use crate::names::{DatasetName, GateName, NodeName};
use crate::os::{Mount, PoolState};
use crate::shell::command;
use crate::sorted::{Map, Set};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// How far the clocks of two nodes may be apart, in seconds: a snapshot may be made on the other.
const CLOCKS_DIFFER: u64 = 60;

/// What has to be looked at to decide a gate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Questions {
    /// Pools whose state counts.
    pub pools: Set<String>,
    /// Paths: what would a visitor reach there?
    pub paths: Set<PathBuf>,
    /// Datasets: where are they mounted, and what would a visitor reach there?
    pub datasets: Set<DatasetName>,
    /// Files: are they there?
    pub files: Set<PathBuf>,
    /// Volumes, perhaps: have they a device?
    pub volumes: Set<DatasetName>,
    /// Snapshots of mounted file systems: are they still there?
    pub snapshots: Map<DatasetName, String>,
}

/// What only asking ZFS tells, as the last pass that asked found it; kept in the marker. Each of
/// them is held against the live system, so that an old one closes a gate and never opens it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// The replica roots that are promoted.
    pub promoted: Set<DatasetName>,
    /// The newest snapshot of each dataset whose age counts.
    pub newest: Map<DatasetName, Newest>,
}

/// A snapshot and its age.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Newest {
    /// What stands behind `@`.
    pub name: String,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// When it was first seen in this boot, in seconds since the boot: it is at least as old as that.
    pub seen: u64,
}

/// What the live system answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// What a visitor of each path reaches; `None` where there is no such path, `Err` where the
    /// kernel did not say.
    #[serde(with = "crate::paths::keys")]
    pub covering: Map<PathBuf, Result<Option<Mount>, String>>,
    /// Where a path really is, of those to which symbolic links lead.
    #[serde(with = "crate::paths::keys")]
    pub ways: Map<PathBuf, Way>,
    /// Where what lies beneath the mount on a path is to be seen, of paths that were bound before it;
    /// `Err` where the kernel did not say.
    #[serde(with = "crate::paths::keys")]
    pub bound: Map<PathBuf, Result<Vec<Bound>, String>>,
    /// Where each dataset is mounted.
    #[serde(with = "crate::paths::lists")]
    pub mounted_at: Map<DatasetName, Vec<PathBuf>>,
    /// Whether each file is there.
    #[serde(with = "crate::paths::keys")]
    pub files: Map<PathBuf, Result<bool, String>>,
    /// Whether each volume has a device.
    pub volumes: Map<DatasetName, Result<bool, String>>,
    /// Whether each dataset's snapshot is there.
    pub snapshots: Map<DatasetName, Result<bool, String>>,
    /// The time of day, in seconds since 1970.
    pub now: u64,
    /// The time since the boot by the monotonic clock, in seconds.
    pub since_boot: u64,
    /// What each peer was judged to say, asked just now.
    pub peers: Map<NodeName, Answer>,
}

/// A bind mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// Where it is.
    #[serde(with = "crate::paths::one")]
    pub at: PathBuf,
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

impl Known {
    /// The part of it that a gate depends on.
    pub fn of(&self, config: &Config, gate: &Gate) -> Known {
        let datasets: Set<&DatasetName> = needs(config, gate)
            .into_iter()
            .filter_map(Condition::dataset)
            .collect();
        let concerns = |root: &&DatasetName| datasets.iter().any(|d| d.is_at_or_below(root));
        let newest = self.newest.iter();
        Known {
            promoted: self.promoted.iter().filter(concerns).cloned().collect(),
            newest: newest
                .filter(|(dataset, _)| datasets.contains(dataset))
                .map(|(dataset, newest)| (dataset.clone(), newest.clone()))
                .collect(),
        }
    }
}

/// The conditions of `gate` and of all gates that it needs.
pub fn needs<'a>(config: &'a Config, gate: &'a Gate) -> Vec<&'a Condition> {
    let mut all = Vec::new();
    for need in &gate.needs {
        match need {
            Condition::Gate(name) => {
                let needed = config.gate(name);
                all.extend(needed.into_iter().flat_map(|gate| needs(config, gate)));
            }
            need => all.push(need),
        }
    }
    all
}

/// The peers that are asked for `gate`.
pub fn peers(config: &Config, gate: &Gate) -> Set<NodeName> {
    needs(config, gate)
        .into_iter()
        .filter_map(|need| match need {
            Condition::NotPromoted { peer } => Some(peer.clone()),
            _ => None,
        })
        .collect()
}

/// All that the conditions of `gate`, and of the gates it needs, depend on.
pub fn questions(config: &Config, gate: &Gate, known: &Known) -> Questions {
    let mut questions = Questions::default();
    for need in needs(config, gate) {
        collect(config, need, known, &mut questions);
    }
    questions
}

fn collect(config: &Config, need: &Condition, known: &Known, questions: &mut Questions) {
    let mut look_for = |dataset: &DatasetName| {
        questions.pools.insert(dataset.pool().to_owned());
        questions.datasets.insert(dataset.clone());
    };
    match need {
        Condition::Mounted { path, dataset } => {
            questions.pools.insert(dataset.pool().to_owned());
            questions.paths.insert(path.clone());
        }
        Condition::Writable(dataset) | Condition::Readonly(dataset) => look_for(dataset),
        Condition::KeyLoaded(dataset) => {
            look_for(dataset);
            questions.volumes.insert(dataset.clone());
        }
        Condition::Role { dataset, .. } if config.role_of(dataset) == Some(Role::Replica) => {
            look_for(dataset);
        }
        Condition::FreshSnapshot { dataset, .. } => {
            look_for(dataset);
            if let Some(newest) = known.newest.get(dataset) {
                let name = newest.name.clone();
                questions.snapshots.insert(dataset.clone(), name);
            }
        }
        Condition::Present(path) | Condition::Absent(path) => {
            questions.files.insert(path.clone());
        }
        Condition::Role { .. } | Condition::Gate(_) | Condition::NotPromoted { .. } => {}
    }
}

/// A pool that closes a gate before anything on it is touched.
pub fn sick_pool(pools: &Map<String, PoolState>) -> Option<Answer> {
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
pub fn decide(config: &Config, gate: &Gate, live: &Live, known: &Known) -> Answer {
    if let Some(what) = config.faults.gates.get(&gate.name) {
        return Answer::CannotTell(format!("the configuration: {what}"));
    }
    let mut unknown = None;
    for need in &gate.needs {
        match condition(config, need, live, known) {
            Answer::Open => {}
            Answer::Closed(why) => return Answer::Closed(why),
            Answer::CannotTell(why) => unknown = unknown.or(Some(why)),
        }
    }
    unknown.map_or(Answer::Open, Answer::CannotTell)
}

/// Decides all conditions but those on peers, which are asked only when these hold.
pub fn decide_here(config: &Config, gate: &Gate, live: &Live, known: &Known) -> Answer {
    let mut aside = live.clone();
    let peers = peers(config, gate).into_iter();
    aside.peers = peers.map(|peer| (peer, Answer::Open)).collect();
    decide(config, gate, &aside, known)
}

fn condition(config: &Config, need: &Condition, live: &Live, known: &Known) -> Answer {
    match need {
        Condition::Mounted { path, dataset } => match config.role_now(dataset, &known.promoted) {
            Some(role) => match visible(dataset, path, writing_of(role), live) {
                Answer::Open => bound(dataset, path, live),
                answer => answer,
            },
            None => Answer::CannotTell(format!("{dataset} has no role here")),
        },
        Condition::Writable(dataset) => match config.role_now(dataset, &known.promoted) {
            Some(Role::Replica) => Answer::Closed(format!("{dataset} is a replica here")),
            _ => somewhere(dataset, Writing::Allowed, live),
        },
        Condition::Readonly(dataset) => somewhere(dataset, Writing::Refused, live),
        Condition::KeyLoaded(dataset) => key_loaded(dataset, live),
        Condition::Role { dataset, is } => role(config, dataset, *is, live, known),
        Condition::FreshSnapshot { dataset, minutes } => fresh(dataset, *minutes, live, known),
        Condition::Present(path) => file(path, true, live),
        Condition::Absent(path) => file(path, false, live),
        Condition::Gate(name) => match config.gate(name) {
            Some(needed) => decide(config, needed, live, known).of(&format!("gate {name}")),
            None => Answer::CannotTell(format!("there is no gate {name}")),
        },
        Condition::NotPromoted { peer } => match live.peers.get(peer) {
            Some(answer) => answer.clone().of(peer.as_str()),
            None => Answer::CannotTell(format!("{peer} was not asked")),
        },
    }
}

impl Answer {
    /// The same, saying whose it is.
    fn of(self, whose: &str) -> Answer {
        match self {
            Answer::Open => Answer::Open,
            Answer::Closed(why) => Answer::Closed(format!("{whose}: {why}")),
            Answer::CannotTell(why) => Answer::CannotTell(format!("{whose}: {why}")),
        }
    }
}

fn writing_of(role: Role) -> Writing {
    match role {
        Role::Primary => Writing::Allowed,
        Role::Replica => Writing::Refused,
    }
}

fn key_loaded(dataset: &DatasetName, live: &Live) -> Answer {
    let device = live.volumes.get(dataset);
    if device == Some(&Ok(true)) || somewhere(dataset, Writing::Either, live) == Answer::Open {
        return Answer::Open;
    }
    Answer::CannotTell(match device {
        Some(Err(why)) => format!("the device of {dataset}: {why}"),
        // A root of which nothing is in use looks the same with its key and without.
        _ => format!(
            "{dataset} is not mounted and has no device, so nothing shows its key; name a mounted file system, or a volume, of that root"
        ),
    })
}

/// A promotion is a recollection, so what is mounted must agree with it.
fn role(config: &Config, dataset: &DatasetName, is: Role, live: &Live, known: &Known) -> Answer {
    match config.role_now(dataset, &known.promoted) {
        Some(role) if role == is => {}
        Some(role) => return Answer::Closed(format!("{dataset} is a {role} here")),
        None => return Answer::CannotTell(format!("{dataset} has no role here")),
    }
    if config.role_of(dataset) != Some(Role::Replica) {
        return Answer::Open;
    }
    match (live.mounted_at.get(dataset), is) {
        (Some(places), Role::Replica) if places.is_empty() => Answer::Open,
        (Some(places), Role::Primary) if places.is_empty() => Answer::CannotTell(format!(
            "{dataset} was promoted and is not mounted, so nothing shows whether it still is"
        )),
        _ => somewhere(dataset, writing_of(is), live),
    }
}

fn fresh(dataset: &DatasetName, minutes: u32, live: &Live, known: &Known) -> Answer {
    let seen = somewhere(dataset, Writing::Either, live);
    if seen != Answer::Open {
        return seen;
    }
    let Some(Newest {
        name,
        created,
        seen,
    }) = known.newest.get(dataset)
    else {
        let what = format!("no snapshot of {dataset} was seen; `f3skeys reconcile` looks again");
        return Answer::Closed(what);
    };
    match live.snapshots.get(dataset) {
        Some(Ok(true)) => {}
        Some(Ok(false)) => {
            return Answer::Closed(format!(
                "{dataset}@{name} is gone; `f3skeys reconcile` looks for another"
            ));
        }
        Some(Err(why)) => return Answer::CannotTell(format!("snapshots of {dataset}: {why}")),
        None => return Answer::CannotTell(format!("{dataset}@{name} was not looked for")),
    }
    // Whatever the time of day was set to, it is not younger than that.
    let known_for = live.since_boot.saturating_sub(*seen);
    let allowed = u64::from(minutes) * 60;
    if *created > live.now.saturating_add(CLOCKS_DIFFER) && known_for <= allowed {
        let ahead = created - live.now;
        return Answer::CannotTell(format!(
            "{dataset}@{name} will be made in {ahead} s: a clock is wrong"
        ));
    }
    let age = live.now.saturating_sub(*created).max(known_for);
    match age > allowed {
        false => Answer::Open,
        true => Answer::Closed(format!(
            "the newest snapshot of {dataset}, {name}, is {} min old; at most {minutes} are allowed",
            age.div_ceil(60)
        )),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Writing {
    Allowed,
    Refused,
    Either,
}

fn visible(dataset: &DatasetName, path: &Path, wanted: Writing, live: &Live) -> Answer {
    // The kernel knows no links in the paths of its mounts.
    let real = live.ways.get(path).map_or(path, |way| way.real.as_path());
    let shown = match real == path {
        true => path.display().to_string(),
        false => format!("{}, which is {},", path.display(), real.display()),
    };
    let mount = match live.covering.get(path) {
        Some(Ok(Some(mount))) => mount,
        Some(Ok(None)) => return Answer::Closed(format!("there is no {shown}")),
        Some(Err(why)) => return Answer::CannotTell(format!("{shown}: {why}")),
        None => return Answer::CannotTell(format!("{shown} was not looked at")),
    };
    if mount.at != real {
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

/// What is served where the path was bound to must be the dataset as well.
fn bound(dataset: &DatasetName, path: &Path, live: &Live) -> Answer {
    let binds = match live.bound.get(path) {
        None => return Answer::Open,
        Some(Err(why)) => {
            let shown = path.display();
            return Answer::CannotTell(format!("what was bound from {shown}: {why}"));
        }
        Some(Ok(binds)) => binds,
    };
    match binds.first() {
        None => Answer::Open,
        Some(bind) => Answer::Closed(format!(
            "{} shows the directory beneath {dataset}: it was bound from {} before that was mounted; {}, then mount it again",
            bind.at.display(),
            path.display(),
            command!("umount {}", &bind.at)
        )),
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
    #[serde(with = "crate::paths::keys")]
    pub seen: Map<PathBuf, String>,
    /// The numbers of the file systems that were each dataset's, wherever they were to be seen.
    pub mounted: Map<DatasetName, Set<String>>,
    /// What ZFS said of it then.
    pub known: Known,
}

impl Marker {
    /// The marker that says `gate` is open in this boot, seen as `live` tells.
    pub fn new(config: &Config, gate: &Gate, boot: &str, live: &Live, known: &Known) -> Marker {
        Marker {
            boot: boot.to_owned(),
            gate: gate.name.clone(),
            definition: definition(config, gate),
            seen: seen(config, gate, live),
            mounted: mounted(live),
            known: known.clone(),
        }
    }
}

/// The numbers of what the paths of a gate show.
fn seen(config: &Config, gate: &Gate, live: &Live) -> Map<PathBuf, String> {
    let needs = needs(config, gate).into_iter();
    let paths = needs.filter_map(|need| match need {
        Condition::Mounted { path, .. } => Some(path),
        _ => None,
    });
    paths
        .filter_map(|path| Some((path.clone(), shown(live, path)?.fsid.clone())))
        .collect()
}

/// The numbers of each dataset. One that is bound to one more place is the same one.
fn mounted(live: &Live) -> Map<DatasetName, Set<String>> {
    let numbers = |places: &[PathBuf]| {
        let shown = places.iter().filter_map(|place| shown(live, place));
        shown.map(|mount| mount.fsid.clone()).collect()
    };
    let all = live.mounted_at.iter();
    all.map(|(dataset, places)| (dataset.clone(), numbers(places)))
        .collect()
}

fn shown<'a>(live: &'a Live, path: &Path) -> Option<&'a Mount> {
    live.covering.get(path)?.as_ref().ok()?.as_ref()
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
    if marker.seen != expected.seen || marker.mounted != expected.mounted {
        return closed("was made for other file systems than those mounted now");
    }
    Answer::Open
}

#[derive(Serialize)]
struct Definition<'a> {
    node: &'a str,
    gates: Vec<&'a Gate>,
    roles: Map<&'a DatasetName, Option<Role>>,
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

#[cfg(test)]
mod tests;
