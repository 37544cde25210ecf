//! What may be written on a key store: nine pieces of work, each of which loses no key wherever it
//! is cut, but for the one that a person has named to lose it.

use crate::key::{Fingerprint, Nonce, Proof};
use crate::names::{KeyName, NodeName};
use crate::sorted::{Map, Set};
use crate::store::Damage;
use crate::store::state::Generation;
use serde::{Deserialize, Serialize};

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
        opens: Map<KeyName, Set<Fingerprint>>,
    },
    /// Make a new key of random bytes.
    NewKey(KeyName),
    /// Make the next generation of a key of random bytes, staged. The key may be unknown so far: then
    /// its first generation is staged, and none is current.
    Stage(KeyName),
    /// Give the generations of a key of this node the standings that it says.
    Merge(Merge),
    /// Give the generations of a peer's key the standings that the peer says.
    Take(Given),
    /// Take a key over from a node that does not own it, if the store holds nothing of it.
    Add(Given),
    /// Take a generation off that nothing needs any more.
    Prune(Prune),
}

impl Work {
    /// The list of generations that is taken in, if any.
    pub fn list(&self) -> Option<&Merge> {
        match self {
            Work::Merge(merge) => Some(merge),
            Work::Take(given) | Work::Add(given) => Some(&given.merge),
            _ => None,
        }
    }

    /// As [`Work::list`], if keys come with it.
    pub fn brings(&self) -> Option<&Merge> {
        self.list().filter(|merge| !merge.bring.is_empty())
    }
}

/// A generation that a person at the store has named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prune {
    /// The key.
    pub key: KeyName,
    /// The generation.
    pub fingerprint: Fingerprint,
    /// Whether this node owns the key. Else only what the owner has pruned may go.
    pub by_owner: bool,
}

/// What the owner of a key says of its generations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Merge {
    /// The key.
    pub key: KeyName,
    /// All its generations.
    pub list: Vec<Generation>,
    /// Those whose bytes come with it, in the order in which they come.
    pub bring: Vec<Fingerprint>,
    /// What the bytes that are read back are to be proven with.
    pub nonce: Option<Nonce>,
}

/// A list of generations that came from another node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    /// The list.
    pub merge: Merge,
    /// This node, which proves what it has read back.
    pub prover: NodeName,
    /// What the store listed of the key when the list was judged, by number. A store that lists
    /// anything else by now takes nothing. `None` where the store itself is the only judge.
    pub seen: Option<Vec<Generation>>,
}

/// What a store holds of a generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// The generation, as the store lists it.
    pub generation: Generation,
    /// Whether its bytes were read whole.
    pub whole: bool,
    /// The proof that they were; without a nonce there is none.
    pub proof: Option<Proof>,
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
    pub keys: Map<KeyName, Option<Fingerprint>>,
    /// The identity of the store, if its state file is whole.
    pub store: Option<String>,
    /// After [`Work::Stage`], [`Work::Merge`], [`Work::Take`], [`Work::Add`] and [`Work::Prune`]: what the store holds of that key, read back.
    pub held: Vec<Held>,
    /// After those: whether no file of that key is damaged.
    pub sound: bool,
}
