//! What may be written on a key store: four pieces of work, each of which loses no key wherever it
//! is cut.

use crate::key::Fingerprint;
use crate::names::KeyName;
use crate::store::Damage;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A piece of work on a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work {
    /// Make the empty file system that is mounted an empty store.
    Found,
    /// Take the plain keys at the top, for which no fingerprint vouches, into format 1.
    TakeIn,
    /// Rebuild what is damaged from what is not. `opens` are the generations that ZFS was seen to
    /// open a root with; they say what is current when the state file is lost.
    Repair {
        /// For each key, the fingerprints that open a root of this node.
        opens: BTreeMap<KeyName, BTreeSet<Fingerprint>>,
    },
    /// Make a new key of random bytes.
    NewKey(KeyName),
}

/// What came of it, as read back from the medium.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worked {
    /// What was changed on the store, in order; empty when all was so already.
    pub did: Vec<String>,
    /// What is damaged still.
    pub left: Vec<Damage>,
    /// What a person should know about how it was done.
    pub notes: Vec<String>,
    /// Every key of the store with the fingerprint of its current generation, read back.
    pub keys: BTreeMap<KeyName, Option<Fingerprint>>,
}
