//! The configuration: read from RON, then checked, once. Past this module it holds together.

use crate::device::Wanted;
use crate::names::{DatasetName, GateName, KeyName, NodeName, ServiceName};
use crate::sorted::Set;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

mod check;
mod salvage;

pub(crate) use check::absolute;
pub use salvage::Faults;

/// The largest configuration that is read, in bytes.
const LARGEST: u64 = 1 << 20;

/// What a dataset is on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Written here.
    Primary,
    /// Received from another node, and never written here.
    Replica,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Role::Primary => "primary",
            Role::Replica => "replica",
        })
    }
}

/// An OpenZFS encryption root of this node.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Root {
    /// The dataset.
    pub dataset: DatasetName,
    /// The key that opens it.
    pub key: KeyName,
    /// What it is here. No default: a wrong one destroys replication.
    pub role: Role,
    /// Whether a boot without it has failed.
    pub required: bool,
    /// Of a replica, where it is mounted, and below it all that lies below it, each at its own
    /// relative name. `None` where a gate says it, or this node's own properties above it.
    #[serde(default)]
    pub mountpoint: Option<PathBuf>,
    /// Of a replica, whether programs of it may be run.
    #[serde(default)]
    pub exec: bool,
}

/// One thing that must be true for a gate to be open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Condition {
    /// The dataset is what a visitor of the path sees, read-only if and only if it is a replica.
    #[serde(rename = "mounted")]
    Mounted {
        /// The mount point.
        path: PathBuf,
        /// The dataset that must be there.
        dataset: DatasetName,
    },
    /// The dataset is mounted somewhere, in sight, and can be written.
    Writable(DatasetName),
    /// The dataset is mounted somewhere, in sight, and cannot be written.
    Readonly(DatasetName),
    /// There is such a file.
    Present(PathBuf),
    /// There is no such file.
    Absent(PathBuf),
    /// Something that is only there while the dataset's key is loaded is there: it is mounted, or,
    /// for a volume, has its device.
    KeyLoaded(DatasetName),
    /// The dataset is this here and now; a promoted replica counts as a primary.
    Role {
        /// The dataset.
        dataset: DatasetName,
        /// What it must be.
        is: Role,
    },
    /// The dataset's newest snapshot is not older than that.
    FreshSnapshot {
        /// The dataset; it must be mounted.
        dataset: DatasetName,
        /// The greatest age of its newest snapshot.
        minutes: u32,
    },
    /// Another gate is open.
    Gate(GateName),
    /// The peer, asked just now, says that no replica of this node's datasets there was promoted
    /// or written.
    NotPromoted {
        /// The peer.
        peer: NodeName,
    },
}

/// A named set of conditions that others wait for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// Its name.
    pub name: GateName,
    /// All of these must hold.
    pub needs: Vec<Condition>,
    /// Services that run only while it is open, in the order in which they are started.
    #[serde(default, skip_serializing)]
    pub services: Vec<ServiceName>,
}

/// Where a replica of one of this node's datasets lies.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplicaOf {
    /// The dataset of this node.
    pub of: DatasetName,
    /// The peer that receives it.
    pub node: NodeName,
    /// Its name there.
    pub dataset: DatasetName,
}

/// The hold of CARP at boot.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Carp {
    /// The gate that must be open before the node takes part.
    pub gate: GateName,
}

/// Another node with a key store.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Its name.
    pub name: NodeName,
    /// Where ssh reaches it.
    pub ssh: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename = "store", deny_unknown_fields)]
struct RawStore {
    #[serde(default)]
    label: Option<String>,
    #[serde(default)]
    serial: Option<String>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    any_disk: bool,
    #[serde(default = "default_mountpoint")]
    mountpoint: PathBuf,
    #[serde(default = "default_wait")]
    wait_seconds: u32,
}

fn default_mountpoint() -> PathBuf {
    PathBuf::from("/keys")
}

fn default_wait() -> u32 {
    30
}

fn default_budget() -> u32 {
    60
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename = "configuration", deny_unknown_fields)]
struct Raw {
    node: NodeName,
    store: RawStore,
    roots: Vec<Root>,
    #[serde(default)]
    gates: Vec<Gate>,
    #[serde(default)]
    replicas: Vec<ReplicaOf>,
    #[serde(default)]
    guards: Vec<PathBuf>,
    #[serde(default)]
    carp: Option<Carp>,
    #[serde(default)]
    peers: Vec<Peer>,
    #[serde(default)]
    min_copies: Option<u32>,
    #[serde(default = "default_budget")]
    budget_seconds: u32,
}

/// Where the keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// How the key device is known.
    pub wanted: Wanted,
    /// The identity that the store must have, if it is pinned.
    pub id: Option<String>,
    /// Whether it may be on a disk that is not on USB.
    pub any_disk: bool,
    /// Where it is mounted while it is read.
    pub mountpoint: PathBuf,
    /// How long a boot waits for it.
    pub wait: Duration,
}

/// A configuration that holds together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// This node.
    pub node: NodeName,
    /// Where the keys are.
    pub store: Store,
    /// The encryption roots, in the order of the file.
    pub roots: Vec<Root>,
    /// The gates, in the order of the file.
    pub gates: Vec<Gate>,
    /// Replicas of this node's datasets on other nodes.
    pub replicas: Vec<ReplicaOf>,
    /// Mountpoints whose bare directory is made immutable while nothing is mounted on it.
    pub guards: Vec<PathBuf>,
    /// The CARP hold, if wanted.
    pub carp: Option<Carp>,
    /// The other nodes.
    pub peers: Vec<Peer>,
    /// How many stores other than this node's own must hold a key, when the file says so; at most the
    /// number of peers. 0 is not obeyed where there are peers: see [`crate::rotate::copies`].
    pub min_copies: Option<u32>,
    /// How long a whole boot may take, the wait for the stick included.
    pub budget: Duration,
    /// What is wrong with the file and was left out. Empty but where a node is to come up as far as it can.
    pub faults: Faults,
}

/// Why there is no configuration. Shows the file, with line and column where there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads the configuration from a file that only root may write.
    ///
    /// # Errors
    /// The file cannot be read, others may write it, or its text is refused by [`Config::parse`].
    pub fn read(path: &Path) -> Result<Config, ConfigError> {
        let text = text(path)?;
        Config::parse(&text).map_err(|e| ConfigError(format!("{}:{e}", path.display())))
    }

    /// As [`Config::read`], by [`Config::salvage`].
    ///
    /// # Errors
    /// As those.
    pub fn read_what_can_be_used(path: &Path) -> Result<Config, ConfigError> {
        let text = text(path)?;
        Config::salvage(&text).map_err(|e| ConfigError(format!("{}:{e}", path.display())))
    }

    /// Reads a configuration from text and checks that it holds together. Touches nothing.
    ///
    /// # Errors
    /// Bad syntax, unknown fields or names (`LINE:COLUMN: what`), or contradictions (` what`).
    pub fn parse(text: &str) -> Result<Config, ConfigError> {
        let raw = raw(text)?;
        check::check(&raw).map_err(|what| ConfigError(format!(" {what}")))?;
        Ok(Config::of(raw, Faults::default()))
    }

    /// As [`Config::parse`], but what contradicts something is left out by itself, and named in `faults`:
    /// its own root stays locked, its own gate does not open, and all else is as the file says.
    ///
    /// # Errors
    /// Bad syntax, unknown fields or names, no root, or a store that cannot be told.
    pub fn salvage(text: &str) -> Result<Config, ConfigError> {
        let mut raw = raw(text)?;
        let faults = match check::check(&raw) {
            Ok(()) => Faults::default(),
            Err(_) => salvage::salvage(&mut raw).map_err(|what| ConfigError(format!(" {what}")))?,
        };
        Ok(Config::of(raw, faults))
    }

    fn of(raw: Raw, faults: Faults) -> Config {
        Config {
            node: raw.node,
            store: Store {
                wanted: Wanted {
                    label: raw.store.label,
                    serial: raw.store.serial,
                },
                id: raw.store.id,
                any_disk: raw.store.any_disk,
                mountpoint: raw.store.mountpoint,
                wait: Duration::from_secs(raw.store.wait_seconds.into()),
            },
            roots: raw.roots,
            gates: raw.gates,
            replicas: raw.replicas,
            guards: raw.guards,
            carp: raw.carp,
            peers: raw.peers,
            min_copies: raw.min_copies,
            budget: Duration::from_secs(raw.budget_seconds.into()),
            faults,
        }
    }

    /// What `dataset` is on this node: a replica if any configured replica is at or above it, else
    /// a primary if a primary root is, else unknown.
    pub fn role_of(&self, dataset: &DatasetName) -> Option<Role> {
        role_in(&self.roots, dataset)
    }

    /// What `dataset` is on this node now, when these replica roots are promoted: what lies below a
    /// promoted root, and below no other root within it, is a primary.
    pub fn role_now(&self, dataset: &DatasetName, promoted: &Set<DatasetName>) -> Option<Role> {
        let nearest = self.root_above(dataset)?;
        match self.role_of(dataset)? {
            Role::Replica if promoted.contains(&nearest.dataset) => Some(Role::Primary),
            role => Some(role),
        }
    }

    /// The nearest configured root at or above `dataset`: whose promotion is its own as well.
    pub fn root_above(&self, dataset: &DatasetName) -> Option<&Root> {
        let above = self.roots.iter();
        above
            .filter(|root| dataset.is_at_or_below(&root.dataset))
            .max_by_key(|root| root.dataset.as_str().len())
    }

    /// The keys that this node's roots need, each once.
    pub fn keys(&self) -> Vec<KeyName> {
        let keys: Set<&KeyName> = self.roots.iter().map(|root| &root.key).collect();
        keys.into_iter().cloned().collect()
    }

    /// The whole name of the key that is meant: one without an owner is this node's.
    ///
    /// # Errors
    /// It is no key name.
    pub fn key_name(&self, given: &str) -> Result<KeyName, String> {
        let whole = match given.contains(':') {
            true => given.to_owned(),
            false => format!("{}:{given}", self.node),
        };
        whole.parse().map_err(|e| format!("{e}"))
    }

    /// The pools of the roots, each once, in the order of the file.
    pub fn pools(&self) -> Vec<String> {
        let mut pools = Vec::new();
        for root in &self.roots {
            if !pools.iter().any(|pool| pool == root.dataset.pool()) {
                pools.push(root.dataset.pool().to_owned());
            }
        }
        pools
    }

    /// The gate of this name.
    pub fn gate(&self, name: &GateName) -> Option<&Gate> {
        self.gates.iter().find(|gate| gate.name == *name)
    }
}

impl Gate {
    /// The datasets that the gate's own conditions name.
    pub fn datasets(&self) -> impl Iterator<Item = &DatasetName> {
        self.needs.iter().filter_map(Condition::dataset)
    }
}

impl Condition {
    /// The dataset that it names.
    pub fn dataset(&self) -> Option<&DatasetName> {
        match self {
            Condition::Mounted { dataset, .. }
            | Condition::Writable(dataset)
            | Condition::Readonly(dataset)
            | Condition::KeyLoaded(dataset)
            | Condition::Role { dataset, .. }
            | Condition::FreshSnapshot { dataset, .. } => Some(dataset),
            Condition::Present(_)
            | Condition::Absent(_)
            | Condition::Gate(_)
            | Condition::NotPromoted { .. } => None,
        }
    }
}

fn raw(text: &str) -> Result<Raw, ConfigError> {
    let options =
        ron::Options::default().with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME);
    options.from_str(text).map_err(|e| {
        let start = e.span.start;
        ConfigError(format!("{}:{}: {}", start.line, start.col, e.code))
    })
}

/// The text of a file that only root may write.
fn text(path: &Path) -> Result<String, ConfigError> {
    let at = |what: String| ConfigError(format!("{}: {what}", path.display()));
    let file = File::options()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(path)
        .map_err(|e| at(e.to_string()))?;
    let about = file.metadata().map_err(|e| at(e.to_string()))?;
    suspicious(about.mode(), about.uid(), about.is_file()).map_err(at)?;
    // Room for nearly every one at once: else there is a read for each doubling of it.
    let mut text = String::with_capacity(1 << 12);
    file.take(LARGEST)
        .read_to_string(&mut text)
        .map_err(|e| at(e.to_string()))?;
    Ok(text)
}

fn role_in(roots: &[Root], dataset: &DatasetName) -> Option<Role> {
    roots
        .iter()
        .filter(|root| dataset.is_at_or_below(&root.dataset))
        .map(|root| root.role)
        .max()
}

fn suspicious(mode: u32, owner: u32, regular: bool) -> Result<(), String> {
    if !regular {
        return Err("is not a regular file".to_owned());
    }
    if owner != 0 {
        return Err(format!(
            "belongs to user {owner}, who could change it; `chown root` it"
        ));
    }
    if mode & 0o022 != 0 {
        return Err(format!(
            "others may write it (mode {:04o}); `chmod 0644` it",
            mode & 0o7777
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
