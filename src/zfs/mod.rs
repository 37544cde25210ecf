//! ZFS as f3skeys sees it: datasets with the properties that decide a boot, and the few things
//! that are asked of it.

pub mod command;
pub mod direct;
pub mod entry;
pub mod framed;
pub mod parse;
#[cfg(test)]
pub(crate) mod tests;
pub mod version;

use crate::key::Key;
use crate::names::DatasetName;
use crate::os::JAILED_PROPERTY;
use crate::promotion::Promoted;
use crate::seals::Seal;
use crate::shell::command;
use crate::sorted::{self, Set};
use crate::time::Deadline;
use crate::trouble::Trouble;
use std::fmt;
use std::path::PathBuf;

/// File system or volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `type=filesystem`.
    Filesystem,
    /// `type=volume`.
    Volume,
}

/// `keystatus`. It is no proof: a raw receive can change the wrapping key behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyStatus {
    /// Not encrypted.
    None,
    /// A key is loaded.
    Available,
    /// No key is loaded.
    Unavailable,
}

/// `keyformat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyFormat {
    /// Not encrypted.
    None,
    /// 32 bytes; the only format that is kept on a key store.
    Raw,
    /// 64 hex digits.
    Hex,
    /// Words, stretched by PBKDF2.
    Passphrase,
}

impl fmt::Display for KeyFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KeyFormat::None => "none",
            KeyFormat::Raw => "raw",
            KeyFormat::Hex => "hex",
            KeyFormat::Passphrase => "passphrase",
        })
    }
}

/// Where a property's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Set on the dataset itself.
    Local,
    /// From this dataset above.
    Inherited(DatasetName),
    /// It came with a receive, and overrides what is above.
    Received,
    /// Nobody set it.
    Default,
    /// Given at the mount, until the next one.
    Temporary,
    /// The property has no source.
    None,
}

/// `canmount`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CanMount {
    /// Mounted by `zfs mount -a`.
    On,
    /// Never mounted.
    Off,
    /// Mounted only when asked for.
    NoAuto,
}

/// `mountpoint`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mountpoint {
    /// Mounted here.
    Path(PathBuf),
    /// Mounted nowhere.
    None,
    /// Mounted by fstab or by hand.
    Legacy,
}

/// A dataset with everything that a boot decides by. `readonly` is the effective value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// Its name.
    pub name: DatasetName,
    /// File system or volume.
    pub kind: Kind,
    /// The encryption root whose key opens it; `None` when it is not encrypted.
    pub encryption_root: Option<DatasetName>,
    /// Whether a key is loaded.
    pub key_status: KeyStatus,
    /// The format of its root's key.
    pub key_format: KeyFormat,
    /// Where `zfs load-key` alone would look for the key: a `file://` address or `prompt`. Only an
    /// encryption root has one.
    pub key_location: Option<String>,
    /// Whether it refuses writing.
    pub readonly: bool,
    /// Where that comes from.
    pub readonly_source: Source,
    /// Whether programs of it run with the rights of their owner.
    pub setuid: bool,
    /// Whether its device nodes are devices; always `false` where they never are, as on FreeBSD.
    pub devices: bool,
    /// Whether its programs can be run.
    pub exec: bool,
    /// Whether it is mounted by itself.
    pub can_mount: CanMount,
    /// Where it belongs.
    pub mountpoint: Mountpoint,
    /// Where that comes from.
    pub mountpoint_source: Source,
    /// Where its `sharenfs` comes from, if that is anything but `off`.
    pub sharenfs: Option<Source>,
    /// Where its `sharesmb` comes from, if that is anything but `off`.
    pub sharesmb: Option<Source>,
    /// The properties that a stream brought and that let it be mounted, shared or written here.
    pub received: Vec<&'static str>,
    /// Whether it is mounted, anywhere.
    pub mounted: bool,
    /// Whether it belongs to a jail or zone, which mounts it itself.
    pub jailed: bool,
    /// Its own number, which no other dataset of the node gets, whatever is received.
    pub guid: u64,
    /// What is known of a promotion. ZFS gives what the dataset's own user property says (none is
    /// inherited or received); [`crate::pass::Node::datasets`] joins it with what this node recorded.
    pub promotion: Promoted,
    /// Bytes written since its newest snapshot; all it holds if it has none.
    pub written: u64,
    /// Of a clone, the dataset that it was made of; both share one key for their data.
    pub origin: Option<DatasetName>,
}

impl Dataset {
    /// Whether the key of this root, which is another dataset, unwraps its own.
    pub fn inherits_from(&self, root: &DatasetName) -> bool {
        self.name != *root && self.encryption_root.as_ref() == Some(root)
    }
}

/// A dataset of which ZFS said something that is not understood. Nothing of it counts as known: not that
/// it is open, not that it is read-only, not that it is not mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// Its name.
    pub name: DatasetName,
    /// The property that is not understood; or [`TREE`], where nobody could look.
    pub property: &'static str,
    /// What is wrong with it.
    pub what: String,
    /// The encryption root whose key opens it.
    pub opened_by: OpenedBy,
}

/// The encryption root of a dataset of which not all is understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenedBy {
    /// It has none: no key keeps it from being mounted.
    NoKey,
    /// This one.
    Root(DatasetName),
    /// That is not understood either.
    NotKnown,
}

/// In place of a property: the dataset, and all below it, could not be looked at.
pub const TREE: &str = "tree";

impl Damaged {
    /// A dataset that could not be looked at, nor what lies below it, and why.
    pub fn tree(name: DatasetName, why: String) -> Damaged {
        Damaged {
            name,
            property: TREE,
            what: why,
            opened_by: OpenedBy::NotKnown,
        }
    }

    /// Whether all below it is unknown as well.
    pub fn is_tree(&self) -> bool {
        self.property == TREE
    }

    /// Whether the key of this root may open it.
    pub fn may_be_opened_by(&self, root: &DatasetName) -> bool {
        if self.is_tree() {
            return self.name.is_at_or_below(root) || root.is_at_or_below(&self.name);
        }
        match &self.opened_by {
            OpenedBy::NoKey => false,
            OpenedBy::Root(by) => by == root,
            OpenedBy::NotKnown => self.name.pool() == root.pool(),
        }
    }

    /// How a person gets out of it.
    pub fn remedy(&self) -> String {
        let Damaged { name, property, .. } = self;
        let look = command!("zfs get all {}", name);
        match *property {
            TREE => {
                let list = command!("zfs list -r {}", name);
                format!("see what {list} shows, and what replicates into it")
            }
            "keylocation" => {
                let set = command!("zfs set keylocation=prompt {}", name);
                format!("{look}, then {set}")
            }
            property if SETTABLE.contains(&property) || property.contains(':') => {
                let inherit = command!("zfs inherit {} {}", property, name);
                format!("{look}, then {inherit}")
            }
            _ => format!("see what {look} says"),
        }
    }
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_tree() {
            return write!(
                f,
                "it and what lies below it could not be looked at: {}",
                self.what
            );
        }
        write!(
            f,
            "its property {} is not understood: {}",
            self.property, self.what
        )
    }
}

/// The properties of [`Dataset`] that `zfs inherit` takes back.
const SETTABLE: [&str; 6] = [
    "readonly",
    "canmount",
    "mountpoint",
    "sharenfs",
    "sharesmb",
    JAILED_PROPERTY,
];

/// What a look at a pool has shown. A dataset that is not understood is named, and hides no other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// The datasets that are understood.
    pub datasets: Vec<Dataset>,
    /// Those that are not.
    pub damaged: Vec<Damaged>,
}

impl From<Vec<Dataset>> for Listing {
    fn from(datasets: Vec<Dataset>) -> Listing {
        Listing {
            datasets,
            damaged: Vec::new(),
        }
    }
}

impl Listing {
    /// What it says of a part.
    #[must_use]
    pub fn within(mut self, part: &Part) -> Listing {
        self.datasets.retain(|dataset| part.has(&dataset.name));
        self.damaged.retain(|damaged| part.has(&damaged.name));
        self
    }

    /// Takes in another look, at other datasets.
    pub fn extend(&mut self, more: Listing) {
        self.datasets.extend(more.datasets);
        self.damaged.extend(more.damaged);
    }

    /// What is known of a pool after another look `now` at a part of it.
    #[must_use]
    pub fn with(self, pool: &str, part: &Part, mut now: Listing) -> Listing {
        let named = now.datasets.iter().map(|d| &d.name);
        let named: Set<DatasetName> = named
            .chain(now.damaged.iter().map(|d| &d.name))
            .cloned()
            .collect();
        let is_kept =
            |name: &DatasetName| name.pool() == pool && !part.has(name) && !named.contains(name);
        let datasets = self.datasets.into_iter().filter(|d| is_kept(&d.name));
        now.datasets.extend(datasets);
        let damaged = self.damaged.into_iter().filter(|d| is_kept(&d.name));
        now.damaged.extend(damaged);
        sorted::sort_by(&mut now.datasets, |a, b| a.name.cmp(&b.name));
        now
    }
}

/// A snapshot or a bookmark: a moment of a dataset that other nodes know by the same number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// What stands behind `@` or `#`.
    pub name: String,
    /// Its number, the same wherever it was received.
    pub guid: u64,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// Whether only a bookmark is left of it.
    pub bookmark: bool,
}

/// What became of a dataset so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// The dataset.
    pub dataset: DatasetName,
    /// Bytes written since its newest snapshot.
    pub written: u64,
    /// Its snapshots and bookmarks, the oldest first.
    pub moments: Vec<Moment>,
}

impl Past {
    /// Whether this dataset had the moment of that number, so that nothing newer is there that it
    /// lacks; a bookmark is enough to tell.
    pub fn has(&self, guid: u64) -> bool {
        self.moments.iter().any(|moment| moment.guid == guid)
    }

    /// Its newest snapshot.
    pub fn newest(&self) -> Option<&Moment> {
        self.moments.iter().rfind(|moment| !moment.bookmark)
    }
}

/// The part of a pool that somebody has to know. What is not there is left out, and more may be told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Part {
    /// These alone.
    pub alone: Set<DatasetName>,
    /// These, and all below them.
    pub trees: Set<DatasetName>,
}

impl Part {
    /// One dataset and all below it.
    pub fn tree(top: DatasetName) -> Part {
        Part {
            alone: Set::new(),
            trees: Set::from([top]),
        }
    }

    /// How many looks it takes.
    pub fn pieces(&self) -> usize {
        self.trees.len() + self.alone.len()
    }

    /// The part in at most so many parts, in which each dataset is once.
    pub fn shares(&self, most: usize) -> Vec<Part> {
        let inner = |name: &&DatasetName, with_itself: bool| {
            let mut trees = self.trees.iter();
            trees.any(|tree| name.is_at_or_below(tree) && (with_itself || *name != tree))
        };
        let trees = self.trees.iter().filter(|name| !inner(name, false));
        let alone = self.alone.iter().filter(|name| !inner(name, true));
        let mut shares = vec![Part::default(); most.clamp(1, self.pieces().max(1))];
        let count = shares.len();
        for (number, tree) in trees.enumerate() {
            shares[number % count].trees.insert(tree.clone());
        }
        for (number, name) in alone.enumerate() {
            shares[count - 1 - number % count]
                .alone
                .insert(name.clone());
        }
        shares.retain(|share| share.pieces() > 0);
        shares
    }

    /// Whether a dataset is of it.
    pub fn has(&self, dataset: &DatasetName) -> bool {
        self.alone.contains(dataset) || self.trees.iter().any(|tree| dataset.is_at_or_below(tree))
    }
}

/// How a key is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Try {
    /// Load it.
    Load,
    /// Only ask whether it would open the root (`load-key -n`); works on loaded roots too.
    Probe,
}

/// The three answers, told apart everywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Answer {
    /// The key opens the root; with [`Try::Load`] it is loaded now.
    Opens,
    /// ZFS says that it is the wrong key.
    WrongKey,
    /// ZFS could not be asked, or said something else.
    CouldNotAsk(Trouble),
}

/// What came of loading a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loading {
    /// The answer.
    pub answer: Answer,
    /// Whether it is the kernel's own word, and not a program's exit status: a key that it took has
    /// unwrapped the root's, so nothing is left to prove.
    pub by_kernel: bool,
}

/// ZFS on this node. Real are [`direct::Direct`] and [`command::Command`] behind it; one is simulated
/// for tests.
pub trait Zfs {
    /// Has a pool get ready, beside what else is done meanwhile, for work on so many pieces of it, and
    /// begin to tell of the part that will be asked for first. Only while no key is in memory is there
    /// anything to gain.
    fn begin(&self, _pool: &str, _pieces: usize, _first: Option<&Part>) {}

    /// Whether the kernel itself answers for a pool when a key is loaded, so that nothing has to be seen
    /// before it is asked.
    fn asks_kernel(&self, _pool: &str, _deadline: Deadline) -> bool {
        false
    }

    /// How many roots or file systems of a pool it is worth while to work on at once.
    fn at_once(&self, _pool: &str) -> usize {
        1
    }

    /// The names of the imported pools.
    ///
    /// # Errors
    /// They could not be asked for, or the answer was not understood.
    fn pools(&self, deadline: Deadline) -> Result<Vec<String>, Trouble>;

    /// Every file system and volume of a pool, with its properties.
    ///
    /// # Errors
    /// The pool could not be asked. A dataset that is not understood is no error: it is named.
    fn observe(&self, pool: &str, deadline: Deadline) -> Result<Listing, Trouble>;

    /// At least a part of a pool, as [`Zfs::observe`].
    ///
    /// # Errors
    /// The pool could not be asked.
    fn observe_part(
        &self,
        pool: &str,
        _part: &Part,
        deadline: Deadline,
    ) -> Result<Listing, Trouble> {
        self.observe(pool, deadline)
    }

    /// Whether a pool keeps a checkpoint of which something was overwritten since. A root in it is
    /// opened by the key that it had then.
    ///
    /// # Errors
    /// The pool could not be asked, or its answer was not understood.
    fn has_checkpoint(&self, pool: &str, deadline: Deadline) -> Result<bool, Trouble>;

    /// Tries a key on an encryption root.
    fn try_key(&self, root: &DatasetName, key: &Key, how: Try, deadline: Deadline) -> Answer;

    /// Loads the keys of roots of one pool, as many at once as [`Zfs::at_once`] says; the answers in
    /// their order.
    fn load_keys(&self, keys: &[(&DatasetName, &Key)], deadline: Deadline) -> Vec<Loading> {
        let load = |(root, key): &(&DatasetName, &Key)| Loading {
            answer: self.try_key(root, key, Try::Load, deadline),
            by_kernel: false,
        };
        keys.iter().map(load).collect()
    }

    /// Sets `readonly=on`.
    ///
    /// # Errors
    /// ZFS refused or did not answer.
    fn set_readonly(&self, dataset: &DatasetName, deadline: Deadline) -> Result<(), Trouble>;

    /// Sets properties of a replica, in one call.
    ///
    /// # Errors
    /// ZFS refused or did not answer; some of them may be set.
    fn seal(
        &self,
        dataset: &DatasetName,
        seals: &[Seal],
        deadline: Deadline,
    ) -> Result<(), Trouble>;

    /// Sets `readonly=off`; for a promotion, and for nothing else.
    ///
    /// # Errors
    /// ZFS refused or did not answer.
    fn set_writable(&self, dataset: &DatasetName, deadline: Deadline) -> Result<(), Trouble>;

    /// Records a promotion, or its end, in a user property of the dataset.
    ///
    /// # Errors
    /// ZFS refused or did not answer.
    fn record(
        &self,
        dataset: &DatasetName,
        promotion: &str,
        deadline: Deadline,
    ) -> Result<(), Trouble>;

    /// Makes a snapshot of each of these datasets of one pool, all at one moment, or none.
    ///
    /// # Errors
    /// ZFS refused or did not answer.
    fn snapshot(
        &self,
        datasets: &[DatasetName],
        name: &str,
        deadline: Deadline,
    ) -> Result<(), Trouble>;

    /// The past of a dataset and of all below it.
    ///
    /// # Errors
    /// The pool could not be asked, or its answer was not understood.
    fn past(&self, dataset: &DatasetName, deadline: Deadline) -> Result<Vec<Past>, Trouble>;

    /// Unmounts a file system that nobody uses; never by force.
    ///
    /// # Errors
    /// It is in use, ZFS refused or did not answer.
    fn unmount(&self, dataset: &DatasetName, deadline: Deadline) -> Result<(), Trouble>;

    /// Unloads the key of an encryption root of which nothing is in use.
    ///
    /// # Errors
    /// It is in use, ZFS refused or did not answer.
    fn unload_key(&self, root: &DatasetName, deadline: Deadline) -> Result<(), Trouble>;

    /// Wraps a loaded encryption root in another raw key. Its `keylocation` is `prompt` afterwards.
    /// What went wrong does not tell whether it was done: only asking with both keys does.
    ///
    /// # Errors
    /// The root is locked, ZFS refused or did not answer.
    fn change_key(&self, root: &DatasetName, key: &Key, deadline: Deadline) -> Result<(), Trouble>;

    /// Sets where `zfs load-key` alone looks for the key of a root.
    ///
    /// # Errors
    /// ZFS refused or did not answer.
    fn set_key_location(
        &self,
        root: &DatasetName,
        location: &str,
        deadline: Deadline,
    ) -> Result<(), Trouble>;

    /// Looks into a file system that is not mounted, which fails when the loaded key of its root
    /// does not unwrap its own. Not for a replica: OpenZFS may begin to upgrade the accounts of
    /// users then, `readonly=on` or not, which writes to it.
    ///
    /// # Errors
    /// It does not, or ZFS did not answer.
    fn unwraps(&self, dataset: &DatasetName, deadline: Deadline) -> Result<(), Trouble>;

    /// Mounts a file system where its `mountpoint` says.
    ///
    /// # Errors
    /// ZFS refused or did not answer.
    fn mount(&self, dataset: &DatasetName, deadline: Deadline) -> Result<(), Trouble>;

    /// Mounts file systems of one pool, none of which lies on another, as many at once as
    /// [`Zfs::at_once`] says; what came of each, in their order.
    fn mount_all(&self, datasets: &[&DatasetName], deadline: Deadline) -> Vec<Result<(), Trouble>> {
        let mount = |dataset: &&DatasetName| self.mount(dataset, deadline);
        datasets.iter().map(mount).collect()
    }
}
