//! All that a rotation is decided by, as one plain value without a key byte.

use super::copies::Wanted;
use super::record::Record;
use crate::config::Role;
use crate::handover;
use crate::key::Fingerprint;
use crate::names::{DatasetName, KeyName, NodeName};
use crate::peers::{KeyTold, Opens};
use crate::sorted::Set;
use crate::store::Damage;
use crate::store::state::{Generation, Standing};
use crate::stores;
use crate::zfs::KeyFormat;

/// The key, everywhere.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The key.
    pub key: KeyName,
    /// This node.
    pub node: NodeName,
    /// How many other stores must hold it.
    pub wanted: Wanted,
    /// This node's own store.
    pub store: Result<Own, String>,
    /// The configured roots that use the key.
    pub roots: Vec<RootFacts>,
    /// Every peer of the configuration.
    pub peers: Vec<PeerFacts>,
    /// The note of a rotation that is under way.
    pub record: Result<Option<Record>, String>,
}

/// What this node's store holds of the key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Own {
    /// The identity of the store; empty when it has none.
    pub id: String,
    /// Its generations, by number.
    pub list: Vec<Generation>,
    /// Those of which whole bytes are at hand.
    pub whole: Set<Fingerprint>,
    /// Damage of this key's files.
    pub damage: Vec<Damage>,
    /// Whether it is a store without fingerprints.
    pub plain: bool,
}

/// A root of this node that uses the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootFacts {
    /// The root.
    pub dataset: DatasetName,
    /// What it is here and now.
    pub role: Role,
    /// What was seen of it, or why it was not.
    pub seen: Result<Seen, String>,
    /// Which generation opens it, by asking ZFS.
    pub opens: Opens,
}

/// What ZFS tells of a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Whether it is an encryption root at all.
    pub is_root: bool,
    /// Whether its key is loaded.
    pub loaded: bool,
    /// The format of its key.
    pub format: KeyFormat,
    /// Its `keylocation`.
    pub location: Option<String>,
    /// Clones that share its key, or are made of what does.
    pub clones: Vec<DatasetName>,
    /// Datasets of this root that are replicas: a change of its key would write to them.
    pub replicas: Vec<DatasetName>,
    /// Of a root that is a replica, the datasets below it that inherit its key.
    pub inheriting: Vec<DatasetName>,
    /// Datasets of this root that its key does not unwrap, or that could not be looked into. Of a
    /// replica that is not asked.
    pub sealed: Vec<(DatasetName, String)>,
}

/// A peer.
#[derive(Debug, Clone)]
pub struct PeerFacts {
    /// Its name.
    pub name: NodeName,
    /// The configured replicas on it that are wrapped with this key.
    pub replicas: Vec<DatasetName>,
    /// What it says of the key, or why it says nothing.
    pub told: Result<KeyTold, String>,
    /// The generations that it has proven to hold.
    pub proven: Set<Fingerprint>,
    /// What it had proven before, each with the store that it lay on; or why that cannot be read.
    pub receipts: Result<Vec<(Fingerprint, String)>, String>,
}

impl Facts {
    /// The roots whose key this node changes.
    pub fn primaries(&self) -> impl Iterator<Item = &RootFacts> {
        self.roots.iter().filter(|r| r.role == Role::Primary)
    }

    /// The roots that get the new key with a stream that they receive.
    pub fn replicas(&self) -> impl Iterator<Item = &RootFacts> {
        self.roots.iter().filter(|r| r.role == Role::Replica)
    }

    /// Whether another look found this node as it was: its store, the primaries, and the note. A
    /// replica may have received something meanwhile.
    pub fn is_same_here(&self, now: &Facts) -> bool {
        self.store == now.store && self.primaries().eq(now.primaries()) && self.record == now.record
    }
}

impl PeerFacts {
    /// Whether it answers, and has not proven the generation or has another list.
    pub fn lacks(&self, own: &Own, target: Fingerprint) -> bool {
        let is_behind =
            |told| !self.proven.contains(&target) || !handover::is_same(told, &own.list);
        self.told.as_ref().is_ok_and(is_behind)
    }

    /// The identity of the store that it answers with.
    pub fn store(&self) -> Option<&str> {
        self.told.as_ref().ok().map(|told| told.store.as_str())
    }

    /// Whether it has proven one of these, now or before. Where that cannot be read, it may have.
    pub fn has_proven(&self, prints: &Set<Fingerprint>) -> bool {
        let before = |receipts: &Vec<(Fingerprint, String)>| {
            receipts.iter().any(|(print, _)| prints.contains(print))
        };
        prints.iter().any(|print| self.proven.contains(print))
            || self.receipts.as_ref().map_or(true, before)
    }

    /// The store on which it held one of these when it last proved that.
    pub fn held_on(&self, prints: &Set<Fingerprint>) -> Option<&str> {
        let mut receipts = self.receipts.iter().flatten();
        let receipt = receipts.find(|(print, _)| prints.contains(print))?;
        Some(&receipt.1)
    }

    /// The store of its receipts, when it answers with another one now.
    pub fn other_store(&self) -> Option<(&str, &str)> {
        let now = self.store()?;
        let receipts = self.receipts.iter().flatten();
        let before = stores::before(receipts.map(|(_, store)| store.as_str()), now)?;
        Some((before, now))
    }
}

impl Own {
    /// The generation with this standing; there is at most one current and one staged.
    pub fn with(&self, standing: Standing) -> Option<&Generation> {
        self.list.iter().find(|g| g.state == standing)
    }

    /// What every root is to be opened by in the end: the staged generation while a rotation is
    /// open, else the current one.
    pub fn target(&self) -> Option<&Generation> {
        self.with(Standing::Staged)
            .or_else(|| self.with(Standing::Current))
    }

    /// The list with other standings.
    pub fn restood(&self, change: impl Fn(Standing) -> Standing) -> Vec<Generation> {
        let stand = |generation: &Generation| Generation {
            state: change(generation.state),
            ..generation.clone()
        };
        self.list.iter().map(stand).collect()
    }
}

impl RootFacts {
    /// Whether ZFS says that this generation opens it.
    pub fn is_opened_by(&self, fingerprint: Fingerprint) -> bool {
        self.opens == Opens::By(fingerprint)
    }
}
