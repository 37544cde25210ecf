//! What `adopt` found on the host, as values.

use crate::device::{Candidate, Filesystem};
use crate::exit::Fault;
use crate::host::zfs_generator::Cache;
use crate::host::{Bind, Fstab};
use crate::key::Fingerprint;
use crate::names::{DatasetName, KeyName};
use crate::plan::Pool;
use crate::report::Finding;
use crate::sorted::{Map, Set};
use crate::store::state::Standing;
use crate::zfs::{Damaged, Dataset};
use std::path::PathBuf;

/// All that a configuration is inferred from.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// What the kernel calls this host.
    pub host_name: String,
    /// Where a configuration belongs on this system.
    pub config_path: String,
    /// The imported pools, as they were found.
    pub pools: Map<String, Pool>,
    /// Their datasets of which nothing is known.
    pub damaged: Vec<Damaged>,
    /// What rc.conf(5) says of this host.
    pub rc: Rc,
    /// fstab(5).
    pub fstab: Fstab,
    /// What the next boot binds to other places.
    pub binds: Vec<Bind>,
    /// What `zfs-mount-generator` makes units of, where it is in use.
    pub cache: Option<Cache>,
    /// The paths that NFS exports, each with the file that says so.
    pub exports: Map<PathBuf, String>,
    /// The services that serve NFS and that this host starts, in their order.
    pub services: Vec<String>,
    /// The block file of an automatic failback, where something on this host names one.
    pub block_file: Option<BlockFile>,
    /// The key store; `None` when none was found.
    pub store: Option<StoreFacts>,
    /// What every raw encryption root said to the keys of the store.
    pub proofs: Map<DatasetName, Proof>,
    /// What went wrong while the facts were gathered.
    pub findings: Vec<Finding>,
    /// The worst of that.
    pub fault: Option<Fault>,
}

/// What rc.conf(5) says, as far as it matters here; all empty on Linux.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rc {
    /// `hostname`.
    pub hostname: Option<String>,
    /// `zfskeys_enable`, on or perhaps on.
    pub zfskeys: bool,
    /// `zfskeys_datasets`.
    pub zfskeys_datasets: Vec<String>,
    /// Whether an interface has an address with a `vhid`.
    pub carp: bool,
}

/// A file that a person makes to keep this node from taking service back by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockFile {
    /// Its path.
    pub path: PathBuf,
    /// What names it.
    pub named_by: String,
}

/// The key store that is adopted.
#[derive(Debug, Clone)]
pub struct StoreFacts {
    /// The disk it is on.
    pub device: Candidate,
    /// The file system of the disk that it is.
    pub filesystem: Filesystem,
    /// Its identity, if it has one.
    pub id: Option<String>,
    /// Where a boot is to mount it.
    pub mountpoint: PathBuf,
    /// Why there.
    pub mountpoint_why: String,
    /// Every USB disk that is there now, this one included: its name must tell it from the others.
    pub disks: Vec<Candidate>,
    /// The keys that it holds, whole.
    pub keys: Set<KeyName>,
}

/// What an encryption root said to the keys of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// This one opens it.
    Opens {
        /// The key.
        key: KeyName,
        /// The generation.
        fingerprint: Fingerprint,
        /// What that generation is for.
        standing: Standing,
    },
    /// The copy of this key at the top does, which is none of the generations that the store knows.
    OpensUnlisted(KeyName),
    /// None does.
    NoneOpens,
    /// It could not be asked.
    NotAsked(String),
}

impl Facts {
    /// Every dataset of every pool that was seen.
    pub fn datasets(&self) -> impl Iterator<Item = &Dataset> {
        self.pools.values().flat_map(|pool| match pool {
            Pool::Seen(datasets) => datasets.as_slice(),
            _ => &[],
        })
    }

    /// Every encryption root that was seen.
    pub fn roots(&self) -> impl Iterator<Item = &Dataset> {
        self.datasets()
            .filter(|dataset| dataset.encryption_root.as_ref() == Some(&dataset.name))
    }
}

/// What a root's `keylocation` names: a directory and a file in it. `None` for `prompt`, for other
/// addresses, and for what is no plain absolute path.
pub fn key_file(dataset: &Dataset) -> Option<(PathBuf, String)> {
    let path = PathBuf::from(dataset.key_location.as_deref()?.strip_prefix("file://")?);
    let directory = path.parent()?;
    let plain = directory.components().all(|part| {
        matches!(
            part,
            std::path::Component::RootDir | std::path::Component::Normal(_)
        )
    });
    if !plain || !directory.has_root() {
        return None;
    }
    let name = path.file_name()?.to_str()?.to_owned();
    Some((directory.to_owned(), name))
}
