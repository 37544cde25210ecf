//! File systems that belong on one directory: a backup pool that is imported without `altroot` brings a
//! copy of each. Pure.

use crate::config::Config;
use crate::names::DatasetName;
use crate::places::Places;
use crate::plan::Observed;
use crate::report::{Finding, Severity};
use crate::shell::command;
use crate::sorted::Map;
use crate::zfs::{CanMount, Dataset, Kind, Mountpoint, Source};
use std::path::Path;

/// A file system of a backup copy, and the one that it is a copy of, by their one mountpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copy<'a> {
    /// The copy's.
    pub copy: &'a Dataset,
    /// The one that lives here.
    pub original: &'a Dataset,
    /// Where both belong.
    pub at: &'a Path,
}

/// Where a file system is mounted when all is well; nobody mounts those of jails for them.
pub fn place(dataset: &Dataset) -> Option<&Path> {
    let mounted = dataset.kind == Kind::Filesystem && !dataset.jailed;
    match &dataset.mountpoint {
        Mountpoint::Path(at) if mounted && dataset.can_mount != CanMount::Off => Some(at),
        _ => None,
    }
}

/// The mountpoints that f3skeys answers for: of file systems at or below configured roots, and of
/// those above their paths, but for `/` itself.
pub fn places<'a>(config: &Config, observed: &'a Observed) -> Vec<(&'a Path, &'a Dataset)> {
    let replicas = Places::of(config, observed);
    let has_place = |d: &&Dataset| d.mounted || !replicas.is_elsewhere(d);
    let datasets = || observed.datasets().filter(has_place);
    let all = || datasets().filter_map(|d| Some((place(d)?, d)));
    let ours: Vec<&Path> = all()
        .filter(|(_, dataset)| config.role_of(&dataset.name).is_some())
        .map(|(at, _)| at)
        .collect();
    all()
        .filter(|(at, dataset)| {
            let on = dataset.can_mount == CanMount::On || dataset.mounted;
            on && at.parent().is_some() && ours.iter().any(|own| own.starts_with(at))
        })
        .collect()
}

/// File systems that a boot mounts on one directory.
#[derive(Debug, Clone)]
pub struct Twins<'a> {
    /// The directory.
    pub at: &'a Path,
    /// Those that belong there, two or more.
    pub all: Vec<&'a Dataset>,
    /// The one that is to give way.
    pub one: &'a Dataset,
}

impl Twins<'_> {
    /// What is said of them.
    pub fn finding(&self) -> Finding {
        let names: Vec<&str> = self.all.iter().map(|d| d.name.as_str()).collect();
        let what = format!(
            "{} belong there: the boot mounts them over one another, in no certain order",
            names.join(" and ")
        );
        let remedy = format!(
            "{}, or import its pool with `zpool import -R`; a backup copy is not to be named in `roots`",
            command!("zfs set canmount=noauto {}", &self.one.name)
        );
        let at = self.at.display().to_string();
        Finding::new(Severity::Failure, &at, &what, &remedy)
    }
}

/// All of them, among what a boot mounts by itself.
pub fn of<'a>(config: &Config, observed: &'a Observed) -> Vec<Twins<'a>> {
    let mut belong: Map<&Path, Vec<&Dataset>> = Map::new();
    for (at, dataset) in places(config, observed) {
        let opens = match &dataset.encryption_root {
            Some(root) => config.roots.iter().any(|known| known.dataset == *root),
            None => true,
        };
        if dataset.can_mount == CanMount::On && opens {
            belong.entry(at).or_default().push(dataset);
        }
    }
    let is_stranger = |d: &&&Dataset| config.role_of(&d.name).is_none();
    belong
        .into_iter()
        .filter(|(_, all)| all.len() > 1)
        .filter_map(|(at, all)| {
            let one = all.iter().find(is_stranger).or(all.last())?;
            Some(Twins { at, one, all })
        })
        .collect()
}

/// What shows that a root holds a backup copy of what another pool has.
pub fn copy_at_or_below<'a>(datasets: &[&'a Dataset], root: &DatasetName) -> Option<Copy<'a>> {
    let of_root = datasets.iter().filter(|d| d.name.is_at_or_below(root));
    let mut pairs = of_root.filter_map(|copy| {
        let at = place(copy)?;
        let mut others = datasets.iter();
        let original = others.find(|other| {
            other.name.pool() != root.pool() && place(other) == Some(at) && is_copy(copy, other)
        })?;
        Some(Copy { copy, original, at })
    });
    pairs.next()
}

/// Of two with one mountpoint: the copy has it from a stream, or is not the one in use, or cannot be
/// written where the other can.
fn is_copy(copy: &Dataset, other: &Dataset) -> bool {
    let received = |d: &Dataset| d.mountpoint_source == Source::Received;
    let signs = |d: &Dataset| (received(d), !d.mounted, d.readonly);
    signs(copy) > signs(other)
}
