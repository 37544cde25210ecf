//! The node as it would be after a power cut, changed by nothing but imagined steps.
//!
//! Pure: it is given what was observed, and does no input or output.

use crate::host::binds::{Bind, When};
use crate::links::{self, Link, Way, Ways};
use crate::names::DatasetName;
use crate::os::{self, Mount};
use crate::plan::{Observed, Pool, Step};
use crate::preview::imagine;
use crate::sorted::{self, Map};
use crate::zfs::{CanMount, Damaged, Dataset, KeyStatus, Kind, Listing, Mountpoint, Source};
use std::path::{Path, PathBuf};

/// A mount, and the mount that its directory lay in when it was made: what is mounted over that
/// later hides it.
struct Standing {
    mount: Mount,
    parent: usize,
    /// It was unmounted again.
    fallen: bool,
    /// Of a bind: the directory that it shows, and the mount that this lay in when it was bound.
    bound: Option<(usize, PathBuf)>,
}

/// Pools and mounts as imagined.
pub(super) struct World {
    observed: Observed,
    /// The first is the root file system, which the boot itself mounts.
    mounts: Vec<Standing>,
    /// What is bound to where before anything of ZFS is mounted.
    early: Vec<(PathBuf, PathBuf)>,
    /// The symbolic links that are seen now, by where they are.
    links: Map<PathBuf, Link>,
    /// Paths on the way to which nobody could look for links, and why.
    unseen: Map<PathBuf, String>,
}

impl World {
    /// A node of which nothing is mounted but its root file system.
    pub(super) fn new(root: Mount) -> World {
        World {
            observed: Observed::default(),
            mounts: vec![Standing {
                mount: root,
                parent: 0,
                fallen: false,
                bound: None,
            }],
            early: Vec::new(),
            links: Map::new(),
            unseen: Map::new(),
        }
    }

    /// Takes in the links that are seen now on the way to these paths.
    pub(super) fn take_in_ways(&mut self, ways: Ways) {
        for (path, way) in ways {
            match way {
                Ok(way) => {
                    let links = way.links.into_iter();
                    self.links.extend(links.map(|link| (link.at.clone(), link)));
                }
                Err(why) => drop(self.unseen.insert(path, why)),
            }
        }
    }

    /// Takes in what the boot binds to other places before the keys come, and binds it.
    pub(super) fn take_in_binds(&mut self, binds: &[Bind]) {
        if !self.early.is_empty() {
            return;
        }
        let early = binds.iter().filter(|bind| bind.when == When::Early);
        self.early = early.map(|b| (b.from.clone(), b.at.clone())).collect();
        self.bind();
    }

    fn bind(&mut self) {
        for (from, at) in self.early.clone() {
            let (from, at) = (self.real(&from), self.real(&at));
            let (of, parent) = (self.resolve(&from), self.resolve(&at));
            if let Some(around) = self.mounts.get(of) {
                let mount = Mount {
                    at,
                    ..around.mount.clone()
                };
                let bound = Some((of, from));
                self.mounts.push(Standing {
                    mount,
                    parent,
                    fallen: false,
                    bound,
                });
            }
        }
    }

    /// Where a visitor finds what lies beneath the mount on a path, by binds that are made before it.
    pub(super) fn bound_beneath(&self, path: &Path) -> Vec<PathBuf> {
        let path = &self.real(path);
        let mut layers = Vec::new();
        let mut number = self.resolve(path);
        while let Some(standing) = self.mounts.get(number).filter(|_| number != 0) {
            number = standing.parent;
            layers.push(number);
        }
        let shows_bare = |standing: &&Standing| {
            let bound = standing.bound.as_ref();
            bound.is_some_and(|(of, from)| layers.contains(of) && from.starts_with(path))
        };
        let is_seen =
            |(number, standing): &(usize, &Standing)| self.resolve(&standing.mount.at) == *number;
        let standing = self.mounts.iter().enumerate();
        standing
            .filter(|(_, standing)| shows_bare(standing))
            .filter(is_seen)
            .map(|(_, standing)| standing.mount.at.clone())
            .collect()
    }

    /// Where a path is, by the mounts that are imagined. A link counts as long as what it lies on shows
    /// there; without that the boot finds, or makes, a directory of that name.
    pub(super) fn real(&self, path: &Path) -> PathBuf {
        let target = |at: &Path| {
            let lies_on = |link: &&Link| {
                let around = self.mounts.get(self.resolve(at.parent().unwrap_or(at)));
                around.is_some_and(|around| around.mount.source == link.on)
            };
            let link = self.links.get(at).filter(lies_on);
            Ok(link.map(|link| link.to.clone()))
        };
        links::follow(path, target).map_or_else(|_| path.to_owned(), |(real, _)| real)
    }

    /// The way to a path, if links lead there.
    pub(super) fn way(&self, path: &Path) -> Option<Way> {
        let real = self.real(path);
        let links = Vec::new();
        (real != path).then_some(Way { real, links })
    }

    /// Takes a pool in as the power cut would leave it.
    pub(super) fn take_in(&mut self, pool: &str, listing: Listing) {
        let root = self.mounts.first().map(|root| &root.mount);
        let listing = Listing {
            datasets: power_cut(listing.datasets, root),
            ..listing
        };
        self.observed.take_in(pool, listing);
    }

    /// Takes in what another look at a pool shows, as the power cut would leave it. What is there already
    /// stays as it is imagined by now.
    pub(super) fn take_in_more(&mut self, pool: &str, mut more: Listing) {
        let mut known = self.listing(pool);
        let is_new = |name: &DatasetName| {
            let mut names = known.datasets.iter().map(|d| &d.name);
            !names.any(|known| known == name)
        };
        more.datasets.retain(|dataset| is_new(&dataset.name));
        let root = self.mounts.first().map(|root| &root.mount);
        more.datasets = power_cut(more.datasets, root);
        known.extend(more);
        sorted::sort_by(&mut known.datasets, |a, b| a.name.cmp(&b.name));
        self.observed.take_in(pool, known);
    }

    /// What a look at a pool that was taken in shows.
    pub(super) fn listing(&self, pool: &str) -> Listing {
        let damaged = self.observed.damaged.values();
        Listing {
            datasets: self.pool(pool).unwrap_or_default().to_vec(),
            damaged: damaged.filter(|d| d.name.pool() == pool).cloned().collect(),
        }
    }

    /// The datasets of a pool that was taken in.
    pub(super) fn pool(&self, pool: &str) -> Option<&[Dataset]> {
        match self.observed.pools.get(pool) {
            Some(Pool::Seen(datasets)) => Some(datasets),
            _ => None,
        }
    }

    /// A dataset of a pool that was taken in.
    pub(super) fn find(&self, name: &DatasetName) -> Option<&Dataset> {
        self.observed.datasets().find(|d| d.name == *name)
    }

    /// All that is imagined of the pools.
    pub(super) fn observed(&self) -> &Observed {
        &self.observed
    }

    /// Datasets of which nothing is known.
    pub(super) fn damaged(&self) -> impl Iterator<Item = &Damaged> {
        self.observed.damaged.values()
    }

    fn datasets_mut(&mut self) -> impl Iterator<Item = &mut Dataset> {
        let pools = self.observed.pools.values_mut();
        pools.flat_map(|pool| match pool {
            Pool::Seen(datasets) => datasets.as_mut_slice(),
            _ => &mut [],
        })
    }

    /// Loads a root's key.
    pub(super) fn load_key(&mut self, root: &DatasetName) {
        let of_root = |d: &&mut Dataset| d.encryption_root.as_ref() == Some(root);
        for dataset in self.datasets_mut().filter(of_root) {
            dataset.key_status = KeyStatus::Available;
        }
    }

    /// Unmounts a dataset.
    pub(super) fn unmount(&mut self, name: &DatasetName) {
        for dataset in self.datasets_mut().filter(|d| d.name == *name) {
            dataset.mounted = false;
        }
        // Hidden, and not taken out: others are told by their place in the list where they lie.
        for standing in &mut self.mounts {
            if standing.mount.source == name.as_str() {
                standing.fallen = true;
            }
        }
    }

    /// Unmounts all but the root file system.
    pub(super) fn unmount_all(&mut self) {
        self.mounts.truncate(1);
        self.bind();
        let root = self.mounts.first().map(|root| root.mount.clone());
        for dataset in self.datasets_mut() {
            dataset.mounted = is_root(root.as_ref(), dataset);
        }
    }

    /// Makes steps that all work.
    pub(super) fn make(&mut self, steps: &[Step]) {
        self.observed = imagine(&self.observed, steps);
        for step in steps {
            if let Step::Mount { dataset, at } = step {
                self.push(dataset, at);
            }
        }
    }

    fn push(&mut self, dataset: &DatasetName, at: &Path) {
        let readonly = self.find(dataset).is_some_and(|d| d.readonly);
        let at = self.real(at);
        let parent = self.resolve(&at);
        let mount = Mount {
            at,
            fstype: "zfs".to_owned(),
            source: dataset.to_string(),
            read_only: readonly,
            sealed: readonly,
            fsid: String::new(),
        };
        for (parent, at) in self.followers(parent, &mount.at) {
            let mount = Mount {
                at,
                ..mount.clone()
            };
            self.mounts.push(Standing {
                mount,
                parent,
                fallen: false,
                bound: None,
            });
        }
        self.mounts.push(Standing {
            mount,
            parent,
            fallen: false,
            bound: None,
        });
    }

    /// Where else a mount on this directory of a mount is seen: on the same directory of its binds.
    fn followers(&self, of: usize, at: &Path) -> Vec<(usize, PathBuf)> {
        let standing = self.mounts.iter().enumerate().filter(|_| os::BINDS_FOLLOW);
        let follower = |(number, standing): (usize, &Standing)| {
            let (bound_of, from) = standing.bound.as_ref()?;
            let inside = at.strip_prefix(from).ok().filter(|_| *bound_of == of)?;
            // Nothing inside is the directory itself, without a slash.
            let at = match inside.as_os_str().is_empty() {
                true => standing.mount.at.clone(),
                false => standing.mount.at.join(inside),
            };
            Some((number, at))
        };
        standing.filter_map(follower).collect()
    }

    /// What the system does between the two passes, `zfs mount -a`: mounts all whose key is loaded,
    /// wanted or not, in the order of paths.
    pub(super) fn mount_all(&mut self) {
        let mut all: Vec<(PathBuf, DatasetName)> = self
            .observed
            .datasets()
            .filter_map(|d| Some((mounts_itself(d)?.to_owned(), d.name.clone())))
            .collect();
        sorted::sort(&mut all);
        let steps: Vec<Step> = all
            .into_iter()
            .map(|(at, dataset)| Step::Mount { dataset, at })
            .collect();
        self.make(&steps);
    }

    /// Where a dataset is mounted.
    pub(super) fn places(&self, dataset: &DatasetName) -> Vec<PathBuf> {
        self.mounts
            .iter()
            .filter(|standing| !standing.fallen)
            .filter(|standing| standing.mount.source == dataset.as_str())
            .map(|standing| standing.mount.at.clone())
            .collect()
    }

    /// What is mounted.
    pub(super) fn mounts(&self) -> impl Iterator<Item = &Mount> {
        let standing = self.mounts.iter().filter(|standing| !standing.fallen);
        standing.map(|standing| &standing.mount)
    }

    /// Whether a dataset is a volume that has its device.
    pub(super) fn has_device(&self, name: &DatasetName) -> bool {
        let found = self.find(name);
        found.is_some_and(|d| d.kind == Kind::Volume && d.key_status != KeyStatus::Unavailable)
    }

    /// What a visitor of `path` reaches; in words, if that cannot be told: of two file systems with
    /// one mountpoint, `zfs mount -a` may mount either one last.
    pub(super) fn covering(&self, path: &Path) -> Result<&Mount, String> {
        if let Some(why) = self.unseen.get(path) {
            return Err(why.clone());
        }
        let found = self
            .mounts
            .get(self.resolve(&self.real(path)))
            .map(|standing| &standing.mount)
            .ok_or("nothing is mounted")?;
        let mounted = self.observed.datasets().filter(|d| d.mounted);
        let mounted: Vec<_> = mounted.filter(|d| d.can_mount == CanMount::On).collect();
        let shown = mounted.iter().find(|d| d.name.as_str() == found.source);
        // Two spellings of one directory have an order.
        let twins: Vec<&str> = mounted
            .iter()
            .filter(|d| shown.is_some_and(|shown| d.mountpoint == shown.mountpoint))
            .map(|d| d.name.as_str())
            .collect();
        match twins.as_slice() {
            [] | [_] => Ok(found),
            twins => Err(format!(
                "{} belong on {}, in no certain order",
                twins.join(" and "),
                found.at.display()
            )),
        }
    }

    /// The number of the mount that a visitor of `path`, in which there are no links, ends in.
    fn resolve(&self, path: &Path) -> usize {
        let mut prefixes: Vec<&Path> = path.ancestors().collect();
        prefixes.reverse();
        let mut current = 0;
        for prefix in prefixes {
            // Number 0 is its own parent, and no mount in itself.
            while let Some(next) = self.mounts.iter().enumerate().rposition(|(number, s)| {
                number != 0 && !s.fallen && s.parent == current && s.mount.at == prefix
            }) {
                current = next;
            }
        }
        current
    }
}

/// Where `zfs mount -a` puts a dataset; `None` when it leaves it alone.
fn mounts_itself(dataset: &Dataset) -> Option<&Path> {
    let Mountpoint::Path(at) = &dataset.mountpoint else {
        return None;
    };
    let it_does = dataset.kind == Kind::Filesystem
        && dataset.can_mount == CanMount::On
        && dataset.key_status != KeyStatus::Unavailable
        && !dataset.mounted
        && !dataset.jailed;
    it_does.then_some(at)
}

fn is_root(root: Option<&Mount>, dataset: &Dataset) -> bool {
    root.is_some_and(|root| root.fstype == "zfs" && root.source == dataset.name.as_str())
}

/// Keys, mounts and what was set for a mount only are gone; but the root file system stands, and
/// its key was asked for before anything of ours runs.
fn power_cut(mut datasets: Vec<Dataset>, root: Option<&Mount>) -> Vec<Dataset> {
    let kept = datasets
        .iter()
        .find(|d| is_root(root, d))
        .and_then(|d| d.encryption_root.clone());
    for dataset in &mut datasets {
        dataset.mounted = is_root(root, dataset);
        if dataset.key_status == KeyStatus::Available && dataset.encryption_root != kept {
            dataset.key_status = KeyStatus::Unavailable;
        }
        // ZFS calls the value temporary only where the mount differs from the property.
        if dataset.readonly_source == Source::Temporary {
            dataset.readonly = !dataset.readonly;
            dataset.readonly_source = Source::None;
        }
    }
    datasets
}
