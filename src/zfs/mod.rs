//! ZFS as f3skeys sees it: datasets with the properties that decide a boot, and the six things
//! that are asked of it.

pub mod command;
pub mod parse;

use crate::key::Key;
use crate::names::DatasetName;
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
    /// Whether it is mounted by itself.
    pub can_mount: CanMount,
    /// Where it belongs.
    pub mountpoint: Mountpoint,
    /// Whether it is mounted, anywhere.
    pub mounted: bool,
    /// Whether it belongs to a jail or zone, which mounts it itself.
    pub jailed: bool,
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

/// ZFS on this node. One real implementation, [`command::Command`], and one simulated for tests.
pub trait Zfs {
    /// The names of the imported pools.
    ///
    /// # Errors
    /// They could not be asked for, or the answer was not understood.
    fn pools(&self, deadline: Deadline) -> Result<Vec<String>, Trouble>;

    /// Every file system and volume of a pool, with its properties.
    ///
    /// # Errors
    /// The pool could not be asked, or its answer was not understood.
    fn observe(&self, pool: &str, deadline: Deadline) -> Result<Vec<Dataset>, Trouble>;

    /// Tries a key on an encryption root.
    fn try_key(&self, root: &DatasetName, key: &Key, how: Try, deadline: Deadline) -> Answer;

    /// Sets `readonly=on`.
    ///
    /// # Errors
    /// ZFS refused or did not answer.
    fn set_readonly(&self, dataset: &DatasetName, deadline: Deadline) -> Result<(), Trouble>;

    /// Mounts a file system where its `mountpoint` says.
    ///
    /// # Errors
    /// ZFS refused or did not answer.
    fn mount(&self, dataset: &DatasetName, deadline: Deadline) -> Result<(), Trouble>;
}
