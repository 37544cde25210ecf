//! What `lock` has left to do, decided purely: from the configuration and what was observed to the
//! file systems that are to be unmounted and the keys that are to be unloaded.
//!
//! An empty plan, made of a fresh observation, is the proof that a pool is locked.

use crate::config::Config;
use crate::names::DatasetName;
use crate::os::Mount;
use crate::plan::Observed;
use crate::sorted;
use crate::zfs::{Damaged, Dataset, KeyStatus, Mountpoint, OpenedBy};
use std::path::Path;

/// A file system that is to be unmounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmount<'a> {
    /// It.
    pub dataset: &'a DatasetName,
    /// Where its `mountpoint` says; `None` when others mount it.
    pub at: Option<&'a Path>,
}

/// Why the key of a configured root cannot be unloaded yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept<'a> {
    /// This file system, which the key opens, is mounted.
    Mounted(&'a DatasetName),
    /// It is no encryption root: the key of this one opens it, which no configuration names.
    OpenedBy(&'a DatasetName),
}

/// What is left to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct Plan<'a> {
    /// File systems to unmount, in this order.
    pub unmounts: Vec<Unmount<'a>>,
    /// Roots whose keys can be unloaded, in this order.
    pub keys: Vec<&'a DatasetName>,
    /// Configured roots whose key cannot be unloaded yet.
    pub kept: Vec<(&'a DatasetName, Kept<'a>)>,
    /// Roots with a key loaded that lie below a configured one and are none themselves. Their file
    /// systems are unmounted; their keys stay, since no boot would load them again.
    pub strangers: Vec<&'a DatasetName>,
}

/// Plans what is left: the deepest path is unmounted first, the deepest root's key unloaded first.
pub fn plan<'a>(config: &'a Config, observed: &'a Observed) -> Plan<'a> {
    let mut plan = Plan::default();
    for dataset in observed.datasets() {
        if dataset.mounted && is_ours(config, dataset) {
            plan.unmounts.push(Unmount {
                dataset: &dataset.name,
                at: at(dataset),
            });
        }
        if dataset.key_status == KeyStatus::Available {
            plan_key(&mut plan, config, observed, dataset);
        }
    }
    // "Unmounting" the root directory makes it read-only on Linux, and fails elsewhere.
    plan.unmounts
        .retain(|unmount| unmount.at != Some(Path::new("/")));
    // What lies below a path comes after it in the order of paths; so it is with names.
    sorted::sort_by(&mut plan.unmounts, |a, b| {
        (b.at, b.dataset).cmp(&(a.at, a.dataset))
    });
    sorted::sort_by(&mut plan.keys, |a, b| b.cmp(a));
    plan
}

fn plan_key<'a>(
    plan: &mut Plan<'a>,
    config: &Config,
    observed: &'a Observed,
    dataset: &'a Dataset,
) {
    let name = &dataset.name;
    let is_configured = |name: &DatasetName| config.roots.iter().any(|r| r.dataset == *name);
    let Some(root) = &dataset.encryption_root else {
        return;
    };
    match (is_configured(name), root == name) {
        (true, true) => match still_mounted(observed, root) {
            Some(mounted) => plan.kept.push((name, Kept::Mounted(mounted))),
            None => plan.keys.push(name),
        },
        // Where its root is configured, its key goes with that.
        (true, false) if is_configured(root) => {}
        (true, false) => plan.kept.push((name, Kept::OpenedBy(root))),
        (false, true) if config.role_of(name).is_some() => plan.strangers.push(name),
        (false, _) => {}
    }
}

/// A mounted file system that this root's key opens.
fn still_mounted<'a>(observed: &'a Observed, root: &DatasetName) -> Option<&'a DatasetName> {
    let mut mounted = observed.datasets().filter(|d| d.mounted);
    mounted
        .find(|d| d.encryption_root.as_ref() == Some(root))
        .map(|d| &d.name)
}

/// Whether a configured root is at or above the dataset or above its encryption root: a clone may
/// lie anywhere.
fn is_ours(config: &Config, dataset: &Dataset) -> bool {
    let root = dataset.encryption_root.as_ref();
    config.role_of(&dataset.name).is_some() || root.is_some_and(|r| config.role_of(r).is_some())
}

/// Of the file systems of which nothing is known, those that the kernel shows mounted, the deepest path
/// first: at or below a configured root, or opened by the key of one.
pub fn unknown<'a>(
    config: &Config,
    observed: &'a Observed,
    mounted: &'a [Mount],
) -> Vec<Unmount<'a>> {
    let ours = |name: &DatasetName| config.role_of(name).is_some();
    let damaged = observed.damaged.values();
    let opened = |d: &Damaged| matches!(&d.opened_by, OpenedBy::Root(root) if ours(root));
    let damaged = damaged.filter(|d| ours(&d.name) || opened(d));
    let shown = |d: &'a Damaged| {
        let mut shown = mounted.iter().filter(|m| m.fstype == "zfs");
        let mount = shown.find(|m| m.source == d.name.as_str())?;
        Some(Unmount {
            dataset: &d.name,
            at: Some(mount.at.as_path()),
        })
    };
    let mut unmounts: Vec<Unmount> = damaged.filter_map(shown).collect();
    unmounts.retain(|unmount| unmount.at != Some(Path::new("/")));
    sorted::sort_by(&mut unmounts, |a, b| b.at.cmp(&a.at));
    unmounts
}

/// The configured roots of which nothing is known: their keys are unloaded as well, if they are loaded.
pub fn unknown_roots<'a>(config: &'a Config, observed: &Observed) -> Vec<&'a DatasetName> {
    let roots = config.roots.iter().map(|root| &root.dataset);
    roots
        .filter(|root| observed.damaged.contains_key(*root))
        .collect()
}

/// Where a file system is mounted, as far as its properties tell.
pub fn at(dataset: &Dataset) -> Option<&Path> {
    match &dataset.mountpoint {
        Mountpoint::Path(at) => Some(at),
        Mountpoint::None | Mountpoint::Legacy => None,
    }
}

/// A mounted file system whose path lies below that of `dataset`, so that it keeps that in use.
pub fn mounted_below<'a>(
    observed: &'a Observed,
    dataset: &DatasetName,
    path: &Path,
) -> Option<&'a DatasetName> {
    let mut mounted = observed.datasets().filter(|d| d.mounted);
    mounted
        .find(|d| d.name != *dataset && at(d).is_some_and(|at| at.starts_with(path)))
        .map(|d| &d.name)
}
