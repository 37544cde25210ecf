//! Where a replica may be mounted. Pure.
//!
//! The `mountpoint` of a replica can come with a stream, and so be the word of whoever sends it. A
//! file system at or below a replica root is mounted only where the configuration puts it: on the
//! path of a gate's `mounted` or of the root's `mountpoint`, or below that at its own relative name.
//! Besides that counts what this node itself says *above* the replica: a `mountpoint` that is set on a
//! dataset outside every replica and inherited from there, or the default below `/POOL`. A value that
//! was received, is inherited from one that was, or is set on the replica itself decides nothing. That
//! holds for a promoted replica as well: its properties came with the same stream.

use crate::config::{Condition, Config, Role, Root};
use crate::names::DatasetName;
use crate::plan::Observed;
use crate::shell::command;
use crate::sorted::{Map, Set};
use crate::zfs::{CanMount, Dataset, KeyStatus, Kind, Mountpoint, Source};
use std::path::{Path, PathBuf};

/// The places of the replicas of one observation.
pub struct Places<'a> {
    config: &'a Config,
    /// The paths that the configuration gives to datasets of replicas.
    configured: Map<&'a DatasetName, Set<&'a Path>>,
    /// The mountpoints that are set on datasets outside of every replica.
    own: Map<&'a DatasetName, &'a Path>,
}

/// A file system of a replica whose mountpoint is none of its places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere {
    /// The file system.
    pub dataset: DatasetName,
    /// Its mountpoint.
    pub at: PathBuf,
    /// Where the configuration puts it, if it does.
    pub wanted: Option<PathBuf>,
    /// Whether it is mounted now.
    pub mounted: bool,
}

impl<'a> Places<'a> {
    /// Collects the places.
    pub fn of(config: &'a Config, observed: &'a Observed) -> Places<'a> {
        Places {
            config,
            configured: configured(config),
            own: own(config, observed),
        }
    }

    /// Whether this is a file system of a replica whose mountpoint is none of its places.
    pub fn is_elsewhere(&self, dataset: &Dataset) -> bool {
        let Mountpoint::Path(at) = &dataset.mountpoint else {
            return false;
        };
        dataset.kind == Kind::Filesystem
            && self.config.role_of(&dataset.name) == Some(Role::Replica)
            && !self.is_configured(&dataset.name, at)
            && !self.is_own(dataset, at)
    }

    /// Whether `zfs mount -a` would mount this file system of a replica, and on none of its places.
    pub fn goes_elsewhere(&self, dataset: &Dataset) -> bool {
        dataset.can_mount == CanMount::On && !dataset.jailed && self.is_elsewhere(dataset)
    }

    /// All about a file system of which [`Places::is_elsewhere`] is true; else `None`.
    pub fn elsewhere(&self, dataset: &Dataset) -> Option<Elsewhere> {
        match &dataset.mountpoint {
            Mountpoint::Path(at) if self.is_elsewhere(dataset) => Some(Elsewhere {
                dataset: dataset.name.clone(),
                at: at.clone(),
                wanted: self.wanted(&dataset.name),
                mounted: dataset.mounted,
            }),
            _ => None,
        }
    }

    /// Where the configuration puts a dataset of a replica; the first where several gates do.
    pub fn wanted(&self, name: &DatasetName) -> Option<PathBuf> {
        let (from, paths) = self.nearest(name)?;
        paths.first().and_then(|path| below(path, from, name))
    }

    /// The nearest dataset at or above this one to which the configuration gives a path. Above the
    /// outermost replica root there is none.
    fn nearest(&self, name: &DatasetName) -> Option<(&'a DatasetName, &Set<&'a Path>)> {
        let at_or_above = self
            .configured
            .iter()
            .filter(|(d, _)| name.is_at_or_below(d));
        let nearest = at_or_above.max_by_key(|(d, _)| d.as_str().len());
        nearest.map(|(dataset, paths)| (*dataset, paths))
    }

    fn is_configured(&self, name: &DatasetName, at: &Path) -> bool {
        self.nearest(name).is_some_and(|(from, paths)| {
            let mut paths = paths.iter();
            paths.any(|path| below(path, from, name).is_some_and(|place| place == at))
        })
    }

    /// Whether nothing of the replica itself has a part in its mountpoint.
    fn is_own(&self, dataset: &Dataset, at: &Path) -> bool {
        match &dataset.mountpoint_source {
            // Nothing above it has one set or received either, up to the pool.
            Source::Default => true,
            Source::Inherited(from) => self
                .own
                .get(from)
                .and_then(|path| below(path, from, &dataset.name))
                .is_some_and(|place| place == at),
            Source::Local | Source::Received | Source::Temporary | Source::None => false,
        }
    }
}

impl Elsewhere {
    /// What is wrong with its mountpoint.
    pub fn what(&self) -> String {
        let at = self.at.display();
        let now = if self.mounted {
            ", mounted there now,"
        } else {
            ""
        };
        match &self.wanted {
            Some(wanted) => format!(
                "its mountpoint is {at}{now} and the configuration puts this replica on {}",
                wanted.display()
            ),
            None => format!(
                "its mountpoint is {at}{now} where neither the configuration nor a dataset above this replica puts it"
            ),
        }
    }

    /// What mends it.
    pub fn remedy(&self) -> String {
        let name = &self.dataset;
        let leave = command!("zfs set canmount=noauto {}", name);
        match &self.wanted {
            Some(wanted) => format!(
                "{}, or {leave} to leave it unmounted",
                command!("zfs set mountpoint={} {}", wanted, name)
            ),
            None => format!(
                "{leave} leaves it unmounted; to have it mounted, give its root a `mountpoint` in the configuration and the dataset the same with `zfs set mountpoint=`"
            ),
        }
    }
}

/// A file system below a sink that no configured root covers, and whose mountpoint came with a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stray {
    /// The file system.
    pub dataset: DatasetName,
    /// Its mountpoint, outside the sink.
    pub at: PathBuf,
    /// The dataset that has received it: this one, or one above.
    pub from: DatasetName,
    /// Whether it is mounted now.
    pub mounted: bool,
}

/// All that `zfs mount -a` mounts, or has mounted, where a stream says, below a sink and outside the
/// replicas: it needs no key of f3skeys, so `boot` keeps nothing back. What inherits from another one of
/// these is not told by itself.
pub fn strays(config: &Config, observed: &Observed) -> Vec<Stray> {
    let sinks = sinks(config);
    let found: Vec<Stray> = observed
        .datasets()
        .filter(|dataset| is_mountable(dataset) && config.role_of(&dataset.name).is_none())
        .filter_map(|dataset| stray(dataset, &sinks, observed))
        .collect();
    let told: Set<DatasetName> = found.iter().map(|stray| stray.dataset.clone()).collect();
    let by_itself = |stray: &Stray| stray.from == stray.dataset || !told.contains(&stray.from);
    found.into_iter().filter(by_itself).collect()
}

/// The datasets below a sink and outside the replicas of which a stream says how they are mounted, shared or
/// written, and that no missing key keeps from being used.
pub fn brought<'a>(config: &Config, observed: &'a Observed) -> impl Iterator<Item = &'a Dataset> {
    let sinks = sinks(config);
    let is_below = move |d: &Dataset| {
        let mut sinks = sinks.iter();
        sinks.any(|sink| d.name != *sink && d.name.is_at_or_below(sink))
    };
    observed.datasets().filter(move |d| {
        let is_locked = d.key_status == KeyStatus::Unavailable && !d.mounted;
        !d.received.is_empty() && !is_locked && config.role_of(&d.name).is_none() && is_below(d)
    })
}

/// Whether `zfs mount -a` mounts it, or somebody has.
fn is_mountable(dataset: &Dataset) -> bool {
    let by_itself = dataset.can_mount == CanMount::On
        && !dataset.jailed
        && dataset.key_status != KeyStatus::Unavailable;
    dataset.kind == Kind::Filesystem && (dataset.mounted || by_itself)
}

fn stray(dataset: &Dataset, sinks: &Set<DatasetName>, observed: &Observed) -> Option<Stray> {
    let name = &dataset.name;
    let sink = sinks
        .iter()
        .find(|sink| name != *sink && name.is_at_or_below(sink))?;
    let Mountpoint::Path(at) = &dataset.mountpoint else {
        return None;
    };
    let is_inside = observed.dataset(sink).is_some_and(|sink| {
        let own = sink.mountpoint_source != Source::Received;
        own && matches!(&sink.mountpoint, Mountpoint::Path(of_sink) if at.starts_with(of_sink))
    });
    let from = match &dataset.mountpoint_source {
        Source::Received => name,
        Source::Inherited(from) => from,
        Source::Local | Source::Default | Source::Temporary | Source::None => return None,
    };
    let received = observed.dataset(from)?.mountpoint_source == Source::Received;
    (received && !is_inside).then(|| Stray {
        dataset: name.clone(),
        at: at.clone(),
        from: from.clone(),
        mounted: dataset.mounted,
    })
}

/// For each replica root the outermost dataset above it, but for the pool's own, that has nothing of this
/// node's primaries; or else the one right above. Whoever replicates here can make datasets below it.
fn sinks(config: &Config) -> Set<DatasetName> {
    let is_primary = |root: &&Root| root.role == Role::Primary;
    let is_foreign = |above: &DatasetName| {
        config.role_of(above) != Some(Role::Primary)
            && !config
                .roots
                .iter()
                .filter(is_primary)
                .any(|root| root.dataset.is_at_or_below(above))
    };
    let replicas = config
        .roots
        .iter()
        .filter(|root| root.role == Role::Replica);
    let sink = |root: &Root| {
        let outermost = root.dataset.above().skip(1).find(is_foreign);
        outermost.or_else(|| root.dataset.above().last())
    };
    replicas.filter_map(sink).collect()
}

/// The highest directory above a path that a replica is mounted on, or belongs on: what lies below it on
/// the way may be a link of the replica's own.
pub fn replica_above<'a>(config: &Config, observed: &'a Observed, path: &Path) -> Option<&'a Path> {
    let replicas = observed.datasets().filter(|dataset| {
        dataset.kind == Kind::Filesystem
            && (dataset.mounted || dataset.can_mount != CanMount::Off)
            && config.role_of(&dataset.name) == Some(Role::Replica)
    });
    let above = replicas.filter_map(|dataset| match &dataset.mountpoint {
        Mountpoint::Path(at) if path != at && path.starts_with(at) => Some(at.as_path()),
        _ => None,
    });
    above.min_by_key(|at| at.components().count())
}

/// All file systems of replicas that are, or would be, mounted on none of their places.
pub fn elsewhere(config: &Config, observed: &Observed) -> Vec<Elsewhere> {
    let places = Places::of(config, observed);
    let datasets = observed.datasets();
    let all = datasets.filter(|d| d.mounted || places.goes_elsewhere(d));
    all.filter_map(|dataset| places.elsewhere(dataset))
        .collect()
}

fn configured(config: &Config) -> Map<&DatasetName, Set<&Path>> {
    let of_roots = config.roots.iter().filter_map(|root| {
        let path = root.mountpoint.as_deref()?;
        Some((&root.dataset, path))
    });
    let needs = config.gates.iter().flat_map(|gate| &gate.needs);
    let of_gates = needs.filter_map(|need| match need {
        Condition::Mounted { path, dataset } => Some((dataset, path.as_path())),
        _ => None,
    });
    let mut all: Map<&DatasetName, Set<&Path>> = Map::new();
    for (dataset, path) in of_roots.chain(of_gates) {
        if config.role_of(dataset) == Some(Role::Replica) {
            all.entry(dataset).or_default().insert(path);
        }
    }
    all
}

fn own<'a>(config: &'a Config, observed: &'a Observed) -> Map<&'a DatasetName, &'a Path> {
    let is_outside = |d: &&Dataset| config.role_of(&d.name) != Some(Role::Replica);
    let outside = observed.datasets().filter(is_outside);
    outside
        .filter(|dataset| dataset.mountpoint_source == Source::Local)
        .filter_map(|dataset| match &dataset.mountpoint {
            Mountpoint::Path(at) => Some((&dataset.name, at.as_path())),
            Mountpoint::None | Mountpoint::Legacy => None,
        })
        .collect()
}

/// The path of a dataset whose ancestor `from`, or which itself, has this one.
fn below(path: &Path, from: &DatasetName, name: &DatasetName) -> Option<PathBuf> {
    let rest = name.as_str().strip_prefix(from.as_str())?;
    match rest.strip_prefix('/') {
        Some(relative) => Some(path.join(relative)),
        None if rest.is_empty() => Some(path.to_owned()),
        None => None,
    }
}
