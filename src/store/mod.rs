//! The key store: what its files are called, and which of their bytes may be trusted.
//!
//! Pure: it is given what was read, once, and says which keys are usable and what is damaged.
//! Nothing here reads a file, and nothing here writes one.

pub mod accept;
pub mod layout;
pub mod merge;
pub mod repair;
pub mod state;
pub mod survey;
pub mod work;

use crate::key::Key;
use crate::names::KeyName;
use crate::sorted::{self, Map, Set};
use layout::Place;
use serde::{Deserialize, Serialize};
use state::Standing;
use std::fmt;
use survey::Copies;

/// Generations of one key that are read, and that there may be, at the most.
pub const MOST_GENERATIONS: usize = 64;
/// Keys of a whole store that there is room for, were each of them to have all its generations.
pub const MOST_KEYS: usize = 256;
/// Keys that one node may put on the store of another, so that none takes the room of all.
pub const MOST_OF_ONE_OWNER: usize = 32;

/// A key file as it was read, once.
#[derive(Debug)]
pub struct KeyFile {
    /// The key it is for.
    pub key: KeyName,
    /// Where on the store it lies.
    pub place: Place,
    /// The 32 bytes, or in words why they are not to be had.
    pub content: Result<Key, String>,
}

/// Which keys are read.
#[derive(Debug, Clone, Copy)]
pub enum Wanted<'a> {
    /// These.
    These(&'a [KeyName]),
    /// Every key that the store holds.
    All,
}

/// All that was read of a store.
#[derive(Debug, Default)]
pub struct Reading {
    /// The key files of the keys that were asked for.
    pub files: Vec<KeyFile>,
    /// The bytes of the state file, if there is one, or in words why it cannot be read.
    pub state: Option<Result<Vec<u8>, String>>,
    /// Whether the store has a directory of format 1, so that a state file is to be expected.
    pub formatted: bool,
    /// Paths of files that belong to no key, such as what a cut write has left. Only a reading of
    /// all keys looks for them.
    pub strays: Vec<String>,
    /// What a person should know about how it was read.
    pub notes: Vec<String>,
    /// The stick was gone when the reading was over: what seems missing or damaged need not be.
    pub gone: bool,
}

/// One usable generation of a key.
#[derive(Debug)]
pub struct Generation {
    /// Its bytes.
    pub key: Key,
    /// Its number, for people; the fingerprint is its identity.
    pub number: Option<u32>,
    /// What it is for.
    pub standing: Standing,
    /// Whether a fingerprint on the store vouches for the bytes.
    pub verified: bool,
}

/// What the store holds of one key.
#[derive(Debug, Default)]
pub struct Holding {
    /// Usable generations in the order in which a boot tries them.
    pub generations: Vec<Generation>,
    /// Files that are damaged: the path on the store, and what is wrong.
    pub damage: Vec<Damage>,
    /// A whole key at the top that is none of the generations that the store vouches for. It is
    /// damage as well, and never loaded; ZFS may be asked about it.
    pub unlisted: Option<Key>,
}

/// A file of the store that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Damage {
    /// Its path on the store.
    pub path: String,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path, self.what)
    }
}

/// What is wrong with a file that should be there.
pub const MISSING: &str = "is missing";

impl std::error::Error for UnknownFormat {}

/// The keys of a store, verified.
#[derive(Debug, Default)]
pub struct Keyring {
    /// The identity of the store, if its state file is whole.
    pub store: Option<String>,
    /// What is held of each key that was asked for.
    pub keys: Map<KeyName, Holding>,
    /// Whether the store is a plain one, without fingerprints.
    pub plain: bool,
    /// Damage that belongs to no key, such as a broken state file.
    pub damage: Vec<Damage>,
    /// Files in the store's own directory that are none of its own.
    pub strangers: Vec<String>,
}

/// The store is of a kind that this program must not guess about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownFormat(pub u32);

impl fmt::Display for UnknownFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the store is of format {}, which this version does not know; install a newer f3skeys",
            self.0
        )
    }
}

/// Verifies what was read of the `wanted` keys.
///
/// # Errors
/// The store says that it is of a format that this program does not know.
pub fn verify(wanted: Wanted, reading: Reading) -> Result<Keyring, UnknownFormat> {
    let survey = survey::survey(wanted, reading)?;
    let keys = survey.keys.into_iter();
    Ok(Keyring {
        store: survey.state.map(|state| state.store),
        keys: keys.map(|(name, copies)| (name, holding(copies))).collect(),
        plain: survey.plain,
        damage: survey.damage,
        strangers: survey.strangers,
    })
}

/// What a boot may use of a key.
pub(crate) fn holding(copies: Copies) -> Holding {
    let standings = copies.standings(&Set::new());
    let verified = copies.is_vouched_for();
    let mut generations: Vec<Generation> = copies
        .good
        .into_iter()
        .map(|(fingerprint, key)| Generation {
            number: copies.known.get(&fingerprint).map(|known| known.number),
            standing: standings
                .get(&fingerprint)
                .copied()
                .unwrap_or(Standing::Current),
            verified,
            key,
        })
        .collect();
    sorted::sort_by_key(&mut generations, |g| {
        (g.standing, std::cmp::Reverse(g.number))
    });
    Holding {
        generations,
        damage: copies.damage,
        unlisted: copies.unlisted,
    }
}

#[cfg(test)]
mod tests;
