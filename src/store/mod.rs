//! The key store: what its files are called, and which of their bytes may be trusted.
//!
//! Pure: it is given what was read, once, and says which keys are usable and what is damaged.
//! Nothing here reads a file, and nothing here writes one.

pub mod layout;
pub mod state;
pub mod work;

use crate::key::{Fingerprint, Key};
use crate::names::KeyName;
use layout::Place;
use serde::{Deserialize, Serialize};
use state::{Standing, State};
use std::collections::BTreeMap;
use std::fmt;

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
    /// Whether a fingerprint on the store vouches for the bytes. A plain store has none.
    pub verified: bool,
}

/// What the store holds of one key.
#[derive(Debug, Default)]
pub struct Holding {
    /// Usable generations in the order in which a boot tries them.
    pub generations: Vec<Generation>,
    /// Files that are damaged: the path on the store, and what is wrong.
    pub damage: Vec<Damage>,
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

/// The keys of a store, verified.
#[derive(Debug, Default)]
pub struct Keyring {
    /// What is held of each key that was asked for.
    pub keys: BTreeMap<KeyName, Holding>,
    /// Whether the store is a plain one, without fingerprints.
    pub plain: bool,
    /// Damage that belongs to no key, such as a broken state file.
    pub damage: Vec<Damage>,
}

/// The store is of a kind that this program must not guess about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownFormat(pub u32);

/// Verifies what was read for the keys in `wanted`.
///
/// # Errors
/// The store says that it is of a format that this program does not know.
pub fn verify(wanted: &[KeyName], reading: Reading) -> Result<Keyring, UnknownFormat> {
    let mut damage = Vec::new();
    let state = read_state(reading.state, &mut damage)?;
    let plain = state.is_none()
        && damage.is_empty()
        && reading.files.iter().all(|file| file.place == Place::Top);
    let whose = owners_of_fingerprints(&reading.files);
    let mut keys: BTreeMap<KeyName, Vec<KeyFile>> =
        wanted.iter().map(|key| (key.clone(), Vec::new())).collect();
    for file in reading.files {
        if let Some(files) = keys.get_mut(&file.key) {
            files.push(file);
        }
    }
    let keys = keys
        .into_iter()
        .map(|(name, files)| {
            let states = state.as_ref().and_then(|state| state.keys.get(&name));
            let holding = verify_key(&name, files, states.map(Vec::as_slice), plain, &whose);
            (name, holding)
        })
        .collect();
    Ok(Keyring {
        keys,
        plain,
        damage,
    })
}

fn read_state(
    bytes: Option<Result<Vec<u8>, String>>,
    damage: &mut Vec<Damage>,
) -> Result<Option<State>, UnknownFormat> {
    let what = match bytes {
        None => return Ok(None),
        Some(Err(what)) => what,
        Some(Ok(bytes)) => match State::parse(&bytes) {
            Ok(state) => return Ok(Some(state)),
            Err(state::BadState::UnknownFormat(format)) => return Err(UnknownFormat(format)),
            Err(state::BadState::Damaged(what)) => what,
        },
    };
    damage.push(Damage {
        path: layout::STATE.to_owned(),
        what,
    });
    Ok(None)
}

/// Which keys' generation files carry which fingerprint: that tells swapped files apart from rot.
fn owners_of_fingerprints(files: &[KeyFile]) -> BTreeMap<Fingerprint, KeyName> {
    files
        .iter()
        .filter_map(|file| match file.place {
            Place::Generation { fingerprint, .. } => Some((fingerprint, file.key.clone())),
            Place::Top => None,
        })
        .collect()
}

fn verify_key(
    name: &KeyName,
    files: Vec<KeyFile>,
    states: Option<&[state::Generation]>,
    plain: bool,
    whose: &BTreeMap<Fingerprint, KeyName>,
) -> Holding {
    let known = known_generations(&files, states.unwrap_or_default());
    let mut damage = match plain {
        true => Vec::new(),
        false => missing(name, &files, states.unwrap_or_default()),
    };
    let mut good: BTreeMap<Fingerprint, Key> = BTreeMap::new();
    let mut top = None;
    for file in files {
        let path = file.place.path(name);
        let fits = |found: Fingerprint| match file.place {
            Place::Generation { fingerprint, .. } => found == fingerprint,
            // A plain store vouches for nothing; its keys are used, and said to be unproven.
            Place::Top => plain || known.contains_key(&found),
        };
        match file.content {
            Ok(key) if fits(key.fingerprint()) => {
                if file.place == Place::Top {
                    top = Some(key.fingerprint());
                }
                good.entry(key.fingerprint()).or_insert(key);
            }
            Ok(key) => damage.push(Damage {
                path,
                what: mismatch(name, key.fingerprint(), whose),
            }),
            Err(what) => damage.push(Damage { path, what }),
        }
    }
    let standings = standings(&known, &good, states, top);
    let mut generations: Vec<Generation> = good
        .into_iter()
        .map(|(fingerprint, key)| Generation {
            number: known.get(&fingerprint).copied().flatten(),
            standing: standings
                .get(&fingerprint)
                .copied()
                .unwrap_or(Standing::Staged),
            verified: !plain,
            key,
        })
        .filter(|generation| generation.standing != Standing::Retired)
        .collect();
    generations.sort_by_key(|g| (g.standing, std::cmp::Reverse(g.number)));
    Holding {
        generations,
        damage,
    }
}

/// The fingerprints that the store vouches for, by its state and by its file names, with numbers.
fn known_generations(
    files: &[KeyFile],
    states: &[state::Generation],
) -> BTreeMap<Fingerprint, Option<u32>> {
    let by_state = states.iter().map(|g| (g.fingerprint, Some(g.generation)));
    let by_name = files.iter().filter_map(|file| match file.place {
        Place::Generation {
            number,
            fingerprint,
        } => Some((fingerprint, Some(number))),
        Place::Top => None,
    });
    by_state.chain(by_name).collect()
}

/// Files that a store of format 1 should have for this key and has not.
fn missing(name: &KeyName, files: &[KeyFile], states: &[state::Generation]) -> Vec<Damage> {
    let own = states
        .iter()
        .map(|g| layout::generation_path(name, g.generation, g.fingerprint));
    let there: Vec<String> = files.iter().map(|file| file.place.path(name)).collect();
    std::iter::once(layout::top_path(name))
        .chain(own)
        .filter(|path| !there.contains(path))
        .map(|path| Damage {
            path,
            what: MISSING.to_owned(),
        })
        .collect()
}

/// What every good generation is for. Without a state file the copy at the top says which is
/// current; without that, the newest is.
fn standings(
    known: &BTreeMap<Fingerprint, Option<u32>>,
    good: &BTreeMap<Fingerprint, Key>,
    states: Option<&[state::Generation]>,
    top: Option<Fingerprint>,
) -> BTreeMap<Fingerprint, Standing> {
    if let Some(states) = states {
        // One that the state does not list is staged: a write was cut between the two.
        return states.iter().map(|g| (g.fingerprint, g.state)).collect();
    }
    let number = |fingerprint: &Fingerprint| known.get(fingerprint).copied().flatten();
    let newest = good.keys().copied().max_by_key(number);
    let current = top.or(newest);
    good.keys()
        .map(|fingerprint| match Some(*fingerprint) == current {
            true => (*fingerprint, Standing::Current),
            false => (*fingerprint, Standing::Retained),
        })
        .collect()
}

fn mismatch(name: &KeyName, found: Fingerprint, whose: &BTreeMap<Fingerprint, KeyName>) -> String {
    match whose.get(&found) {
        Some(other) if other != name => format!("holds the key of {other}: the files are swapped"),
        _ => format!(
            "is damaged: its bytes have fingerprint {found}, which this store does not list"
        ),
    }
}

#[cfg(test)]
mod tests;
