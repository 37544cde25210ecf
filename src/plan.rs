//! What a boot does, decided purely: from the configuration, what was observed and what keys there
//! are to the steps that are left, and a verdict with its evidence for every root.
//!
//! Does no I/O and keeps no state. An empty plan made of what was observed after the last step is the
//! proof that all is done; no program's exit status is.

use crate::config::{Condition, Config, Role, Root};
use crate::key::Fingerprint;
use crate::names::{DatasetName, KeyName};
use crate::os::Mount;
use crate::places::{Elsewhere, Places};
use crate::promotion::Promoted;
use crate::seals::{self, Seal, Seals, settings};
use crate::sorted::{self, Map, Set};
use crate::store::state::Standing;
use crate::zfs::{
    CanMount, Damaged, Dataset, KeyFormat, KeyStatus, Kind, Listing, Mountpoint, OpenedBy, Part,
};
use std::fmt;
use std::path::{Path, PathBuf};

/// A pool as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pool {
    /// The datasets that were looked at.
    Seen(Vec<Dataset>),
    /// It is not imported on this node.
    NotImported,
    /// It is suspended: asking it could hang for ever.
    Suspended,
    /// It could not be asked.
    NotSeen(String),
}

/// What a loaded root's key was found to be, by asking ZFS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// This generation of its key opens it.
    Opens {
        /// What the generation is for.
        standing: Standing,
        /// Its identity.
        fingerprint: Fingerprint,
    },
    /// No generation of its key on the store opens it.
    NoKeyOpens,
    /// ZFS could not be asked.
    CouldNotAsk(String),
}

/// All that was observed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// The pools of the configuration, by name.
    pub pools: Map<String, Pool>,
    /// Datasets of those pools that are not understood: nothing of them is known.
    pub damaged: Map<DatasetName, Damaged>,
    /// Proofs of loaded roots; a root without one was not asked.
    pub proofs: Map<DatasetName, Proof>,
    /// The roots whose key the kernel itself took since they were last looked at, if they were.
    pub taken: Set<DatasetName>,
}

impl Observed {
    /// All datasets of all pools that were seen.
    pub fn datasets(&self) -> impl Iterator<Item = &Dataset> {
        self.pools.values().flat_map(|pool| match pool {
            Pool::Seen(datasets) => datasets.as_slice(),
            _ => &[],
        })
    }

    /// The configured replica roots that are promoted. What could not be read is not.
    pub fn promoted(&self, config: &Config) -> Set<DatasetName> {
        let is_promoted = |root: &&Root| {
            root.role == Role::Replica
                && self
                    .dataset(&root.dataset)
                    .is_some_and(|dataset| matches!(dataset.promotion, Promoted::Now(_)))
        };
        let promoted = config.roots.iter().filter(is_promoted);
        promoted.map(|root| root.dataset.clone()).collect()
    }

    /// Notes what the kernel's table has shown since the last look: that this is mounted.
    pub fn note_mounted(&mut self, name: &DatasetName) {
        if let Some(Pool::Seen(datasets)) = self.pools.get_mut(name.pool())
            && let Some(dataset) = datasets.iter_mut().find(|dataset| dataset.name == *name)
        {
            dataset.mounted = true;
        }
    }

    /// Takes in what a look at a pool has shown, in place of what was known of it.
    pub fn take_in(&mut self, pool: &str, listing: Listing) {
        self.damaged.retain(|name, _| name.pool() != pool);
        let damaged = listing.damaged.into_iter();
        self.damaged.extend(damaged.map(|d| (d.name.clone(), d)));
        let seen = Pool::Seen(listing.datasets);
        self.pools.insert(pool.to_owned(), seen);
    }

    /// Notes why a pool could not be looked at: what was known of it holds no longer.
    pub fn lose(&mut self, pool: &str, unseen: Pool) {
        self.damaged.retain(|name, _| name.pool() != pool);
        self.pools.insert(pool.to_owned(), unseen);
    }

    /// A dataset that was seen.
    pub fn dataset(&self, name: &DatasetName) -> Option<&Dataset> {
        self.datasets().find(|dataset| dataset.name == *name)
    }
}

/// Whether a key can be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyState {
    /// At least one verified generation is in memory.
    Usable,
    /// It is on the store, and every copy is damaged.
    Damaged(String),
    /// It is not on the store.
    Missing,
    /// There is no store to look on.
    NoStore(String),
}

/// A change that is left to make.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Set these on a dataset at or below a replica.
    Seal(DatasetName, Vec<Seal>),
    /// Load a root's key.
    LoadKey {
        /// The root.
        root: DatasetName,
        /// The key that opens it.
        key: KeyName,
    },
    /// Mount a file system.
    Mount {
        /// The file system.
        dataset: DatasetName,
        /// Where its `mountpoint` says.
        at: PathBuf,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Seal(dataset, seals) => write!(f, "set {} on {dataset}", settings(seals)),
            Step::LoadKey { root, key } => write!(f, "load key {key} for {root}"),
            Step::Mount { dataset, at } => write!(f, "mount {dataset} on {}", at.display()),
        }
    }
}

impl Step {
    /// Whether it sets this on this dataset.
    pub fn sets(&self, name: &DatasetName, seal: Seal) -> bool {
        matches!(self, Step::Seal(dataset, seals) if dataset == name && seals.contains(&seal))
    }

    /// The dataset that the step changes.
    pub fn dataset(&self) -> &DatasetName {
        match self {
            Step::Seal(dataset, _) | Step::Mount { dataset, .. } => dataset,
            Step::LoadKey { root, .. } => root,
        }
    }
}

/// Why a root's key is not loaded and will not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Its pool is not imported.
    PoolNotImported(String),
    /// Its pool is suspended.
    PoolSuspended(String),
    /// Its pool could not be asked.
    PoolNotSeen(String),
    /// There is no such dataset.
    NoSuchDataset,
    /// It is not understood, or a replica that its key may open is not: unknown is never read-only.
    NotUnderstood(Damaged),
    /// It is not encrypted.
    NotEncrypted,
    /// It is not a root: this dataset's key opens it.
    NotARoot {
        /// The root whose key does.
        actual: DatasetName,
        /// Whether that key is loaded.
        open: bool,
    },
    /// The key of this configured root opens it, and is not loaded.
    Follows(DatasetName),
    /// The configuration contradicts itself about it.
    Contradicted(String),
    /// Its key is in a format that is not kept on a store.
    NotRaw(KeyFormat),
    /// Its key is damaged on the store.
    KeyDamaged(String),
    /// Its key is not on the store.
    KeyMissing,
    /// There is no store.
    NoStore(String),
    /// These file systems of this replica, which its key opens, would be mounted where neither the
    /// configuration nor this node's own properties put them.
    Elsewhere(Vec<Elsewhere>),
}

/// How a root stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Loaded, and proven with a generation of its key.
    Open {
        /// What the generation is for.
        standing: Standing,
        /// Its identity.
        fingerprint: Fingerprint,
    },
    /// Loaded, but not proven: why it was not asked.
    Unproven(String),
    /// Loaded, but no key on the store opens it: the next boot would leave it locked.
    OpenByNoKey,
    /// Steps of this plan are to open it.
    ToOpen,
    /// These datasets must be seen with all their seals before its key may be loaded.
    WaitsForSeals(Vec<DatasetName>),
    /// It stays locked.
    Locked(Refusal),
}

/// What is left to do, and how every root stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct Plan {
    /// The steps, in the order in which they are to be made.
    pub steps: Vec<Step>,
    /// A verdict for every root of the configuration, in its order.
    pub roots: Vec<(DatasetName, Verdict)>,
}

/// What of a pool [`keys`] has to know: the roots, all that is a replica or could be one, and what a
/// replica may have its mountpoint from.
pub fn part_for_keys(config: &Config, pool: &str) -> Part {
    let mut part = Part::default();
    for root in config.roots.iter().filter(|r| r.dataset.pool() == pool) {
        match root.role {
            Role::Primary => drop(part.alone.insert(root.dataset.clone())),
            Role::Replica => {
                part.trees.insert(root.dataset.clone());
                part.alone.extend(root.dataset.above());
            }
        }
    }
    part
}

/// What of a pool [`mounts`] has to know at least: all at or below the roots, all above them, and what
/// a gate names. [`unseen`] says whether that is enough.
pub fn part_for_mounts(config: &Config, pool: &str) -> Part {
    let roots = config.roots.iter().map(|root| &root.dataset);
    let trees: Set<DatasetName> = roots.filter(|r| r.pool() == pool).cloned().collect();
    let above = trees.iter().flat_map(DatasetName::above);
    let named = config.gates.iter().flat_map(|gate| &gate.needs);
    let named = named.filter_map(dataset_of).filter(|d| d.pool() == pool);
    Part {
        alone: above.chain(named.cloned()).collect(),
        trees,
    }
}

/// The primary roots of a pool that have nothing to do with a replica, by name: none lies above, at or
/// below them. Their keys are loaded before anybody looks at a tree that strangers fill.
pub fn apart<'a>(config: &'a Config, pool: &'a str) -> impl Iterator<Item = &'a Root> {
    let replicas = || config.roots.iter().filter(|r| r.role == Role::Replica);
    config.roots.iter().filter(move |root| {
        let touches = |replica: &Root| {
            replica.dataset.is_at_or_below(&root.dataset)
                || root.dataset.is_at_or_below(&replica.dataset)
        };
        root.dataset.pool() == pool && root.role == Role::Primary && !replicas().any(touches)
    })
}

/// Whether a pool has both: replicas, and primaries apart from them.
pub fn has_both(config: &Config, pool: &str) -> bool {
    has_replicas(config, pool) && apart(config, pool).next().is_some()
}

/// All configured roots of a pool, and nothing below them: what a stranger puts there does not matter.
pub fn part_for_roots(config: &Config, pool: &str) -> Part {
    let roots = config.roots.iter().map(|root| root.dataset.clone());
    Part {
        alone: roots.filter(|root| root.pool() == pool).collect(),
        trees: Set::new(),
    }
}

/// A part in two: what is this node's own, with the roots of the replicas alone; and the trees of the
/// replicas, of which none lies in another. Where nothing is this node's own, the first is empty.
pub fn own_and_trees(config: &Config, part: &Part) -> (Part, Set<DatasetName>) {
    let is_replica = |name: &DatasetName| {
        let mut roots = config.roots.iter();
        roots.any(|root| root.role == Role::Replica && root.dataset == *name)
    };
    let in_another = |name: &DatasetName| {
        let mut trees = part.trees.iter();
        trees.any(|tree| tree != name && name.is_at_or_below(tree))
    };
    let (trees, own): (Vec<_>, Vec<_>) = part.trees.iter().cloned().partition(|t| is_replica(t));
    let trees: Set<DatasetName> = trees.into_iter().filter(|t| !in_another(t)).collect();
    let mut first = Part {
        alone: part.alone.clone(),
        trees: own.into_iter().collect(),
    };
    if first.pieces() > 0 {
        first.alone.extend(trees.iter().cloned());
    }
    (first, trees)
}

/// The keys that are loaded first, by a look at [`part_for_roots`] alone: of the primaries that are
/// [`apart`] from every replica. A replica root of this look that shares a key with one is waited for.
pub fn first_keys(
    config: &Config,
    observed: &Observed,
    keys: &Map<KeyName, KeyState>,
    pool: &str,
) -> Vec<Step> {
    let to_open = |root: &&Root| verdict(config, observed, keys, root) == Verdict::ToOpen;
    let step = |root: &Root| Step::LoadKey {
        root: root.dataset.clone(),
        key: root.key.clone(),
    };
    apart(config, pool).filter(to_open).map(step).collect()
}

/// Whether a pool has replicas. Somebody may add to them at any time, so there every change is followed
/// by another look.
pub fn has_replicas(config: &Config, pool: &str) -> bool {
    let mut roots = config.roots.iter();
    roots.any(|root| root.role == Role::Replica && root.dataset.pool() == pool)
}

/// What of a pool is to be looked at again after steps on these datasets: they, and all that is a
/// replica or could be one.
pub fn part_after(config: &Config, pool: &str, changed: &Set<DatasetName>) -> Part {
    let mut part = part_for_keys(config, pool);
    part.alone = changed
        .iter()
        .filter(|d| d.pool() == pool)
        .cloned()
        .collect();
    part
}

/// What was not looked at and could matter for [`mounts`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unseen {
    /// Nothing.
    Nothing,
    /// These file systems, which are mounted on, above or below a path of ours.
    These(Set<DatasetName>),
    /// Any dataset could belong on a directory above one of our paths, for it is a bare one now, and no
    /// dataset that was seen belongs there.
    Any,
}

/// Whether a look at [`part_for_mounts`] was enough, by what is mounted now.
pub fn unseen(config: &Config, observed: &Observed, mounted: &[Mount]) -> Unseen {
    let replicas = Places::of(config, observed);
    let places: Vec<Place> = observed
        .datasets()
        .filter_map(|d| place(config, &replicas, d))
        .collect();
    let ours = places.iter().filter(|p| config.role_of(p.name()).is_some());
    let ours: Set<&Path> = ours.map(|place| place.at).collect();
    let above: Set<&Path> = ours.iter().flat_map(|at| at.ancestors().skip(1)).collect();
    let known: Set<&Path> = places
        .iter()
        .map(|place| place.at)
        .chain(mounted.iter().map(|mount| mount.at.as_path()))
        .collect();
    if above.iter().any(|at| !known.contains(at)) {
        return Unseen::Any;
    }
    let seen: Set<&str> = observed.datasets().map(|d| d.name.as_str()).collect();
    let pools = config.pools();
    // What lies there could be buried.
    let mut to_mount: Set<&Path> = places
        .iter()
        .filter(|place| !place.dataset.mounted && above.contains(place.at))
        .map(|place| place.at)
        .collect();
    to_mount.extend(ours.iter().copied());
    let matters = |mount: &&Mount| {
        let at = mount.at.as_path();
        above.contains(at) || at.ancestors().any(|at| to_mount.contains(at))
    };
    let names = mounted
        .iter()
        .filter(|mount| mount.fstype == "zfs" && !seen.contains(mount.source.as_str()))
        .filter(matters)
        .filter_map(|mount| mount.source.parse::<DatasetName>().ok())
        .filter(|name| pools.iter().any(|pool| pool == name.pool()));
    let names: Set<DatasetName> = names.collect();
    match names.is_empty() {
        true => Unseen::Nothing,
        false => Unseen::These(names),
    }
}

/// Plans `boot`: readonly, then keys. All that it looks at is in [`part_for_keys`].
pub fn keys(config: &Config, observed: &Observed, keys: &Map<KeyName, KeyState>) -> Plan {
    let mut plan = Plan {
        steps: seals::steps(config, observed),
        roots: Vec::new(),
    };
    for root in &config.roots {
        let verdict = verdict(config, observed, keys, root);
        if verdict == Verdict::ToOpen {
            plan.steps.push(Step::LoadKey {
                root: root.dataset.clone(),
                key: root.key.clone(),
            });
        }
        plan.roots.push((root.dataset.clone(), verdict));
    }
    plan
}

/// A step for each root of a pool whose key is there, where nobody has looked whether it is needed.
pub fn untried(config: &Config, pool: &str, keys: &Map<KeyName, KeyState>) -> Vec<Step> {
    let roots = config.roots.iter().filter(|r| r.dataset.pool() == pool);
    let usable = roots.filter(|root| keys.get(&root.key) == Some(&KeyState::Usable));
    let step = |root: &Root| Step::LoadKey {
        root: root.dataset.clone(),
        key: root.key.clone(),
    };
    usable.map(step).collect()
}

/// Replicas, and all that lies below them, that could be written.
pub fn writable<'a>(
    config: &'a Config,
    observed: &'a Observed,
) -> impl Iterator<Item = &'a Dataset> {
    replicas(config, observed).filter(|dataset| !dataset.readonly)
}

/// Every dataset that is a replica here and now: what a person has promoted is none.
pub fn replicas<'a>(
    config: &'a Config,
    observed: &'a Observed,
) -> impl Iterator<Item = &'a Dataset> {
    let promoted = observed.promoted(config);
    observed
        .datasets()
        .filter(move |dataset| is_replica(config, &promoted, &dataset.name))
}

fn is_replica(config: &Config, promoted: &Promotions, dataset: &DatasetName) -> bool {
    config.role_now(dataset, promoted) == Some(Role::Replica)
}

/// The replica roots that are promoted.
type Promotions = Set<DatasetName>;

fn verdict(
    config: &Config,
    observed: &Observed,
    keys: &Map<KeyName, KeyState>,
    root: &Root,
) -> Verdict {
    let key = keys.get(&root.key).cloned().unwrap_or(KeyState::Missing);
    if observed.taken.contains(&root.dataset) {
        return loaded(observed, &root.dataset, &key);
    }
    let dataset = match find(observed, &root.dataset) {
        Ok(dataset) => dataset,
        Err(refusal) => return Verdict::Locked(refusal),
    };
    match &dataset.encryption_root {
        None => return Verdict::Locked(Refusal::NotEncrypted),
        Some(actual) if *actual != dataset.name => {
            return of_another_root(config, observed, dataset, actual, &key);
        }
        Some(_) => {}
    }
    if dataset.key_status == KeyStatus::Available {
        return loaded(observed, &dataset.name, &key);
    }
    if let Some(what) = config.faults.roots.get(&root.dataset) {
        return Verdict::Locked(Refusal::Contradicted(what.clone()));
    }
    if dataset.key_format != KeyFormat::Raw {
        return Verdict::Locked(Refusal::NotRaw(dataset.key_format));
    }
    let elsewhere = opened_elsewhere(config, observed, root);
    if !elsewhere.is_empty() {
        return Verdict::Locked(Refusal::Elsewhere(elsewhere));
    }
    match key {
        KeyState::Usable => {}
        KeyState::Damaged(what) => return Verdict::Locked(Refusal::KeyDamaged(what)),
        KeyState::Missing => return Verdict::Locked(Refusal::KeyMissing),
        KeyState::NoStore(why) => return Verdict::Locked(Refusal::NoStore(why)),
    }
    if let Some(damaged) = unknown_replica_behind(config, observed, &root.dataset) {
        return Verdict::Locked(Refusal::NotUnderstood(damaged.clone()));
    }
    let unsealed = unsealed_behind(config, observed, &root.dataset);
    if unsealed.is_empty() {
        Verdict::ToOpen
    } else {
        Verdict::WaitsForSeals(unsealed)
    }
}

/// A dataset that is no encryption root. One that was, before a clone of it was promoted, which moves the root
/// out of its place, is as open as the root whose key opens it, if that is configured as well.
fn of_another_root(
    config: &Config,
    observed: &Observed,
    dataset: &Dataset,
    actual: &DatasetName,
    key: &KeyState,
) -> Verdict {
    let open = dataset.key_status == KeyStatus::Available;
    let configured = config.roots.iter().any(|root| root.dataset == *actual);
    let moved = !dataset.name.is_at_or_below(actual);
    let actual = actual.clone();
    match (configured && moved, open) {
        (false, _) => Verdict::Locked(Refusal::NotARoot { actual, open }),
        (true, true) => loaded(observed, &actual, key),
        (true, false) => Verdict::Locked(Refusal::Follows(actual)),
    }
}

fn find<'a>(observed: &'a Observed, name: &DatasetName) -> Result<&'a Dataset, Refusal> {
    if let Some(damaged) = observed.damaged.get(name) {
        return Err(Refusal::NotUnderstood(damaged.clone()));
    }
    match observed.pools.get(name.pool()) {
        Some(Pool::Seen(datasets)) => datasets
            .iter()
            .find(|dataset| dataset.name == *name)
            .ok_or(Refusal::NoSuchDataset),
        Some(Pool::NotImported) => Err(Refusal::PoolNotImported(name.pool().to_owned())),
        Some(Pool::Suspended) => Err(Refusal::PoolSuspended(name.pool().to_owned())),
        Some(Pool::NotSeen(why)) => Err(Refusal::PoolNotSeen(why.clone())),
        None => Err(Refusal::PoolNotSeen("it was not looked at".to_owned())),
    }
}

fn loaded(observed: &Observed, root: &DatasetName, key: &KeyState) -> Verdict {
    match observed.proofs.get(root) {
        Some(Proof::Opens {
            standing,
            fingerprint,
        }) => Verdict::Open {
            standing: *standing,
            fingerprint: *fingerprint,
        },
        Some(Proof::NoKeyOpens) => Verdict::OpenByNoKey,
        Some(Proof::CouldNotAsk(why)) => Verdict::Unproven(why.clone()),
        None => Verdict::Unproven(match key {
            KeyState::Usable => "it was not asked".to_owned(),
            KeyState::Damaged(what) => format!("its key is damaged: {what}"),
            KeyState::Missing => "its key is not on the store".to_owned(),
            KeyState::NoStore(why) => why.clone(),
        }),
    }
}

/// The file systems that the key of this replica opens and that would then be mounted on none of
/// their places. A primary's key is not held back by what a stream says.
fn opened_elsewhere(config: &Config, observed: &Observed, root: &Root) -> Vec<Elsewhere> {
    if root.role == Role::Primary {
        return Vec::new();
    }
    let places = Places::of(config, observed);
    observed
        .datasets()
        .filter(|d| d.encryption_root.as_ref() == Some(&root.dataset) && places.goes_elsewhere(d))
        .filter_map(|dataset| places.elsewhere(dataset))
        .collect()
}

/// The datasets of replicas that loading this root's key would let be mounted, and that lack a seal.
fn unsealed_behind(config: &Config, observed: &Observed, root: &DatasetName) -> Vec<DatasetName> {
    let seals = Seals::of(config, observed);
    observed
        .datasets()
        .filter(|d| {
            d.encryption_root.as_ref() == Some(root) || is_of_replica(config, root, &d.name)
        })
        .filter(|dataset| !seals.missing(dataset).is_empty())
        .map(|dataset| dataset.name.clone())
        .collect()
}

/// Whether the dataset lies in the tree of this replica root: its key waits for all of that. A primary's key
/// waits for no more than it opens, or a stream into a replica below it could keep it locked.
fn is_of_replica(config: &Config, root: &DatasetName, dataset: &DatasetName) -> bool {
    config.role_of(root) == Some(Role::Replica) && dataset.is_at_or_below(root)
}

/// A replica that loading this root's key would let be mounted, and of which nothing is known.
fn unknown_replica_behind<'a>(
    config: &Config,
    observed: &'a Observed,
    root: &DatasetName,
) -> Option<&'a Damaged> {
    let promoted = observed.promoted(config);
    // One whose encryption root is a riddle could be any root's by that alone: it keeps nothing locked but
    // what lies around it.
    let may_open = |d: &Damaged| match d.opened_by {
        OpenedBy::NotKnown if !d.is_tree() => d.name.is_at_or_below(root),
        _ => d.may_be_opened_by(root) || is_of_replica(config, root, &d.name),
    };
    let mut damaged = observed.damaged.values();
    damaged.find(|d| may_open(d) && is_replica(config, &promoted, &d.name))
}

/// A replica of this root's own part of the tree of which nothing is known.
pub fn unknown_replica_at<'a>(
    config: &Config,
    observed: &'a Observed,
    root: &DatasetName,
) -> Option<&'a Damaged> {
    let promoted = observed.promoted(config);
    let own = |name: &DatasetName| config.root_above(name).is_some_and(|r| r.dataset == *root);
    let mut damaged = observed.damaged.values();
    damaged.find(|d| own(&d.name) && is_replica(config, &promoted, &d.name))
}

/// Why a file system that should be mounted is not and will not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotMounted {
    /// Its key is not loaded.
    Locked,
    /// This file system belongs on a directory above it, and is not mounted.
    WaitsFor(DatasetName),
    /// Mounting it would bury this mounted file system.
    WouldBury(DatasetName),
    /// It is of a replica, and not seen with all that is to be set on it before.
    Unsealed(Vec<Seal>),
    /// This file system has the same mountpoint.
    SamePlace(DatasetName),
    /// It is not understood.
    NotUnderstood(Damaged),
    /// It is of a replica, and neither the configuration nor this node's own properties put it there.
    Elsewhere(Elsewhere),
}

/// A configured dataset that f3skeys leaves to others to mount, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeftAlone {
    /// `mountpoint=legacy`.
    Legacy,
    /// `mountpoint=none`.
    NoMountpoint,
    /// `canmount=noauto`, and no gate names it.
    NoAuto,
    /// It belongs to a jail or zone.
    Jailed,
}

/// What `ready` has left to do, and what it will not do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct MountPlan {
    /// The steps, in the order in which they are to be made.
    pub steps: Vec<Step>,
    /// File systems that should be mounted and cannot be.
    pub refused: Vec<(DatasetName, NotMounted)>,
    /// File systems that are not for f3skeys to mount.
    pub left_alone: Vec<(DatasetName, LeftAlone)>,
}

/// Plans `ready`: readonly, then every file system that is missing, in the order of their paths,
/// so that none is buried under a parent mounted later.
pub fn mounts(config: &Config, observed: &Observed) -> MountPlan {
    mounts_around(config, observed, &Set::new())
}

/// As [`mounts`], where these were tried and could not be mounted: they are left to do, and nothing is to
/// be mounted on the bare directories in their places.
pub fn mounts_around(config: &Config, observed: &Observed, failed: &Set<DatasetName>) -> MountPlan {
    let mut plan = MountPlan {
        steps: seals::steps(config, observed),
        ..MountPlan::default()
    };
    let replicas = Places::of(config, observed);
    plan.refused = left_unmounted(config, &replicas, observed);
    let mut places: Vec<Place> = observed
        .datasets()
        .filter_map(|d| place(config, &replicas, d))
        .collect();
    sorted::sort_by(&mut places, |a, b| (a.at, a.name()).cmp(&(b.at, b.name())));
    let wanted = with_ancestors(config, &places);
    let seals = Seals::of(config, observed);
    let mut then = Then::of(&places);
    for place in wanted {
        if place.dataset.mounted {
            continue;
        }
        match obstacle(&seals, place, &then) {
            Some(why) => plan.refused.push((place.name().clone(), why)),
            None => {
                plan.steps.push(Step::Mount {
                    dataset: place.name().clone(),
                    at: place.at.to_owned(),
                });
                if !failed.contains(place.name()) {
                    then.mount(place);
                }
            }
        }
    }
    let ours = |d: &&Damaged| config.role_of(&d.name).is_some();
    let damaged = observed.damaged.values().filter(ours).cloned();
    plan.refused
        .extend(damaged.map(|d| (d.name.clone(), NotMounted::NotUnderstood(d))));
    plan.left_alone = left_alone(config, observed);
    plan
}

/// Whether the kernel's table of mounts is all there is to see after these steps: each of them was a
/// mount and is in it, and none of it is a replica's pool.
pub fn tells_all(config: &Config, steps: &[Step], mounted: &[Mount]) -> bool {
    let shown: Set<(&str, &Path)> = mounted
        .iter()
        .filter(|mount| mount.fstype == "zfs")
        .map(|mount| (mount.source.as_str(), mount.at.as_path()))
        .collect();
    steps.iter().all(|step| match step {
        Step::Mount { dataset, at } => {
            shown.contains(&(dataset.as_str(), at.as_path()))
                && !has_replicas(config, dataset.pool())
        }
        _ => false,
    })
}

/// Mounts, in the order of their paths, in batches that can each be made at once: of one pool, as many as
/// `most` says of it, each in the first batch after all that it lies on.
pub fn at_once(steps: &[Step], most: impl Fn(&str) -> usize) -> Vec<Vec<&Step>> {
    let mut batches: Vec<Vec<&Step>> = Vec::new();
    // What the next could lie on, and in which batch that is.
    let mut above: Vec<(&Path, usize)> = Vec::new();
    for step in steps {
        let Step::Mount { dataset, at } = step else {
            continue;
        };
        while above.pop_if(|(above, _)| !at.starts_with(above)).is_some() {}
        let mut number = above.last().map_or(0, |(_, batch)| batch + 1);
        let is_full = |batch: &Vec<&Step>| {
            let other = batch.iter().any(|s| s.dataset().pool() != dataset.pool());
            other || batch.len() >= most(dataset.pool())
        };
        while batches.get(number).is_some_and(is_full) {
            number += 1;
        }
        match batches.get_mut(number) {
            Some(batch) => batch.push(step),
            None => batches.push(vec![step]),
        }
        above.push((at, number));
    }
    batches
}

/// Those of these steps that lie on none of the bare directories on which something could not be mounted.
pub fn not_on<'a>(down: &[&Path], steps: &[&'a Step]) -> Vec<&'a Step> {
    let is_down = |step: &Step| match step {
        Step::Mount { at, .. } => down.iter().any(|above| at.starts_with(above)),
        _ => false,
    };
    steps
        .iter()
        .copied()
        .filter(|step| !is_down(step))
        .collect()
}

/// A file system that `zfs mount` could put on a path.
struct Place<'a> {
    dataset: &'a Dataset,
    at: &'a Path,
}

impl Place<'_> {
    fn name(&self) -> &DatasetName {
        &self.dataset.name
    }
}

/// A replica's file system that is not mounted has no place where it must not be: nothing waits for it.
fn place<'a>(config: &Config, replicas: &Places, dataset: &'a Dataset) -> Option<Place<'a>> {
    let Mountpoint::Path(at) = &dataset.mountpoint else {
        return None;
    };
    let has_place = dataset.mounted || !replicas.is_elsewhere(dataset);
    (is_to_be_mounted(config, dataset) && has_place).then_some(Place { dataset, at })
}

/// Whether `zfs mount -a` or `ready` mounts it, if it has a path.
fn is_to_be_mounted(config: &Config, dataset: &Dataset) -> bool {
    let by_itself = match dataset.can_mount {
        CanMount::On => true,
        CanMount::NoAuto => dataset.mounted || named_by_a_gate(config, &dataset.name),
        CanMount::Off => false,
    };
    dataset.kind == Kind::Filesystem && by_itself && !dataset.jailed
}

/// File systems of replicas that are not mounted, since their mountpoint is none of their places.
fn left_unmounted(
    config: &Config,
    replicas: &Places,
    observed: &Observed,
) -> Vec<(DatasetName, NotMounted)> {
    let datasets = observed.datasets();
    let missing = datasets.filter(|d| !d.mounted && is_to_be_mounted(config, d));
    let elsewhere = missing.filter_map(|dataset| {
        let elsewhere = replicas.elsewhere(dataset)?;
        Some(match dataset.key_status {
            KeyStatus::Unavailable => (dataset.name.clone(), NotMounted::Locked),
            _ => (dataset.name.clone(), NotMounted::Elsewhere(elsewhere)),
        })
    });
    elsewhere.collect()
}

fn named_by_a_gate(config: &Config, dataset: &DatasetName) -> bool {
    let mut needs = config.gates.iter().flat_map(|gate| &gate.needs);
    needs.any(|need| dataset_of(need) == Some(dataset))
}

/// The dataset that a condition is about.
fn dataset_of(need: &Condition) -> Option<&DatasetName> {
    match need {
        Condition::Mounted { dataset, .. }
        | Condition::Writable(dataset)
        | Condition::Readonly(dataset)
        | Condition::KeyLoaded(dataset)
        | Condition::FreshSnapshot { dataset, .. } => Some(dataset),
        _ => None,
    }
}

/// The places at or below configured roots, and those above their paths, encrypted or not.
fn with_ancestors<'a>(config: &Config, places: &'a [Place<'a>]) -> Vec<&'a Place<'a>> {
    let is_ours = |place: &&Place| config.role_of(place.name()).is_some();
    let ours: Set<&DatasetName> = places.iter().filter(is_ours).map(Place::name).collect();
    let above: Set<&Path> = places
        .iter()
        .filter(|place| ours.contains(place.name()))
        .flat_map(|place| place.at.ancestors().skip(1))
        .collect();
    places
        .iter()
        .filter(|place| ours.contains(place.name()) || above.contains(place.at))
        .collect()
}

/// What is mounted once the steps so far are made, and what is not, by path.
struct Then<'a> {
    up: Map<&'a Path, &'a DatasetName>,
    down: Map<&'a Path, Set<&'a DatasetName>>,
}

impl<'a> Then<'a> {
    /// As it is now.
    fn of(places: &'a [Place<'a>]) -> Then<'a> {
        let mut then = Then {
            up: Map::new(),
            down: Map::new(),
        };
        for place in places {
            match place.dataset.mounted {
                true => drop(then.up.entry(place.at).or_insert(place.name())),
                false => drop(then.down.entry(place.at).or_default().insert(place.name())),
            }
        }
        then
    }

    fn mount(&mut self, place: &'a Place<'a>) {
        self.up.insert(place.at, place.name());
        if let Some(down) = self.down.get_mut(place.at) {
            down.remove(place.name());
        }
    }

    fn at(&self, path: &Path) -> Option<&'a DatasetName> {
        self.up.get(path).copied()
    }

    /// The first that is mounted below a path. Paths are ordered by their components, so all below one
    /// follow it.
    fn below(&self, path: &Path) -> Option<&'a DatasetName> {
        let (at, name) = self.up.after(path)?;
        at.starts_with(path).then_some(*name)
    }

    /// The highest above a path that is not mounted.
    fn missing_above(&self, path: &Path) -> Option<&'a DatasetName> {
        let above: Vec<&Path> = path.ancestors().skip(1).collect();
        let mut missing = above.iter().rev().filter_map(|at| self.down.get(at));
        missing.find_map(|down| down.first().copied())
    }
}

fn obstacle(seals: &Seals, place: &Place, then: &Then) -> Option<NotMounted> {
    if place.dataset.key_status == KeyStatus::Unavailable {
        return Some(NotMounted::Locked);
    }
    let missing = seals.missing(place.dataset);
    if !missing.is_empty() {
        return Some(NotMounted::Unsealed(missing));
    }
    if let Some(same) = then.at(place.at) {
        return Some(NotMounted::SamePlace(same.clone()));
    }
    if let Some(below) = then.below(place.at) {
        return Some(NotMounted::WouldBury(below.clone()));
    }
    let above = then.missing_above(place.at)?;
    Some(NotMounted::WaitsFor(above.clone()))
}

fn left_alone(config: &Config, observed: &Observed) -> Vec<(DatasetName, LeftAlone)> {
    observed
        .datasets()
        .filter(|d| d.kind == Kind::Filesystem && !d.mounted)
        .filter(|d| config.role_of(&d.name).is_some())
        .filter_map(|d| {
            let why = match (&d.mountpoint, d.can_mount) {
                _ if d.jailed => LeftAlone::Jailed,
                (_, CanMount::Off) => return None,
                (Mountpoint::Legacy, _) => LeftAlone::Legacy,
                (Mountpoint::None, _) => LeftAlone::NoMountpoint,
                (_, CanMount::NoAuto) if !named_by_a_gate(config, &d.name) => LeftAlone::NoAuto,
                _ => return None,
            };
            Some((d.name.clone(), why))
        })
        .collect()
}

/// Whether a root was seen with a key loaded, or the kernel has taken one.
pub fn is_loaded(observed: &Observed, root: &DatasetName) -> bool {
    let seen = observed.dataset(root);
    observed.taken.contains(root) || seen.is_some_and(|d| d.key_status == KeyStatus::Available)
}

/// The encryption root whose key opens a dataset: itself, if nothing else is known.
pub fn key_root(observed: &Observed, dataset: &DatasetName) -> DatasetName {
    let seen = observed.dataset(dataset);
    let root = seen.and_then(|seen| seen.encryption_root.clone());
    root.unwrap_or_else(|| dataset.clone())
}

/// Whether a stick would help: some configured root is seen to be locked, by a key that can be on
/// a stick.
pub fn waits_for_stick(config: &Config, observed: &Observed) -> bool {
    let mut roots = config.roots.iter();
    roots.any(|root| {
        observed.dataset(&root.dataset).is_some_and(|dataset| {
            dataset.key_status == KeyStatus::Unavailable && dataset.key_format == KeyFormat::Raw
        })
    })
}

#[cfg(test)]
mod tests;
