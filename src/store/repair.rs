//! What has to be written on a store: decided purely, from what was found on it.
//!
//! A repair removes nothing. A file is moved aside only when what belongs in its place is at hand,
//! so that a damaged file without a second copy stays where a person can find it.

use super::layout;
use super::state::{FORMAT, Generation, Standing, State};
use super::survey::{Copies, Known, Survey};
use crate::key::{Fingerprint, Key};
use crate::names::KeyName;
use crate::sorted::{self, Map, Set};

/// For each key, the fingerprints that ZFS was seen to open a primary root of this node with.
pub type Opens = Map<KeyName, Set<Fingerprint>>;

/// A change of a store, made as a whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Move a file out of the way.
    Aside(String),
    /// Write a file; what is there now, if anything, is moved aside first.
    Write {
        /// The path from the top of the store.
        path: String,
        /// What it is to hold.
        content: Content,
    },
    /// Replace the state file, which is whole.
    State(State),
    /// Replace a file that is whole, and whose bytes another file has as well.
    Replace {
        /// The path from the top of the store.
        path: String,
        /// What it is to hold.
        content: Content,
    },
    /// Remove the file of a generation that is pruned. The only change that takes a key away.
    Remove(String),
}

/// What a file is to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// This generation of this key.
    Key(KeyName, Fingerprint),
    /// The state of the store.
    State(State),
}

/// Decides what makes a store whole again as far as it can be. `id` is the store's identity, should
/// its own be lost.
pub fn repair(survey: &Survey, opens: &Opens, id: &str) -> Vec<Change> {
    if survey.plain {
        return Vec::new();
    }
    let mut changes: Vec<Change> = survey
        .leftovers
        .iter()
        .cloned()
        .map(Change::Aside)
        .collect();
    changes.extend(rewrite(survey, opens, id, |_| true));
    changes
}

/// Decides what gives the keys that nothing vouches for their fingerprints. It mends nothing else:
/// what replaces a damaged file is for `repair` to say, which has asked ZFS.
pub fn take_in(survey: &Survey, id: &str) -> Vec<Change> {
    match survey.plain && survey.keys.is_empty() {
        true => Vec::new(),
        false => rewrite(survey, &Opens::new(), id, |copies| !copies.is_vouched_for()),
    }
}

/// Decides what makes an empty file system an empty store.
pub fn found(id: &str) -> Vec<Change> {
    vec![Change::Write {
        path: layout::STATE.to_owned(),
        content: Content::State(empty(id)),
    }]
}

/// Decides what adds a key that is not on the store yet, in its first generation: its immutable
/// file first, then the state, and the copy at the top last.
pub fn add(survey: &Survey, name: &KeyName, fingerprint: Fingerprint, id: &str) -> Vec<Change> {
    let mut changes = take_in(survey, id);
    let mut state = after(&changes)
        .or(survey.state.as_ref())
        .cloned()
        .unwrap_or_else(|| empty(id));
    changes.push(write_key(
        layout::generation_path(name, 1, fingerprint),
        name,
        fingerprint,
    ));
    state.keys.insert(
        name.clone(),
        vec![Generation {
            generation: 1,
            fingerprint,
            state: Standing::Current,
        }],
    );
    changes.push(Change::State(state));
    changes.push(write_key(layout::top_path(name), name, fingerprint));
    changes
}

/// The state that these changes leave, if they write one.
fn after(changes: &[Change]) -> Option<&State> {
    changes.iter().rev().find_map(|change| match change {
        Change::State(state)
        | Change::Write {
            content: Content::State(state),
            ..
        } => Some(state),
        _ => None,
    })
}

fn empty(id: &str) -> State {
    State {
        format: FORMAT,
        store: id.to_owned(),
        keys: Map::new(),
    }
}

/// The files of the keys that are `meant`, and the state of all.
fn rewrite(
    survey: &Survey,
    opens: &Opens,
    id: &str,
    meant: impl Fn(&Copies) -> bool,
) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut state = survey.state.clone().unwrap_or_else(|| empty(id));
    for (name, copies) in &survey.keys {
        let none = Set::new();
        let (entry, whole) = entry(copies, opens.get(name).unwrap_or(&none));
        // Its copy at the top may be the only one of a key that opens something: it stays where it is.
        if meant(copies) && whole {
            changes.extend(files(name, copies, &entry));
        }
        if !entry.is_empty() {
            state.keys.insert(name.clone(), entry);
        }
    }
    match &survey.state {
        Some(old) if *old == state => {}
        Some(_) => changes.push(Change::State(state)),
        None => changes.push(Change::Write {
            path: layout::STATE.to_owned(),
            content: Content::State(state),
        }),
    }
    changes
}

/// The generations that the state is to list for a key, in the order of their numbers, and whether no
/// key is left out of them because there is no higher number for it.
fn entry(copies: &Copies, opens: &Set<Fingerprint>) -> (Vec<Generation>, bool) {
    let standings = copies.standings(opens);
    let mut entry: Vec<Generation> = copies
        .known
        .iter()
        .map(|(fingerprint, known)| Generation {
            generation: known.number,
            fingerprint: *fingerprint,
            state: standings
                .get(fingerprint)
                .copied()
                .unwrap_or(Standing::Retained),
        })
        .collect();
    let newcomer = copies.unlisted.as_ref().filter(|key| {
        // A whole key that opens a root is worth more than a list that lacks it.
        opens.contains(&key.fingerprint())
    });
    let newcomer = newcomer.or_else(|| unvouched(copies));
    let number = copies.next_number();
    if let (Some(key), Some(number)) = (newcomer, number) {
        for generation in &mut entry {
            if generation.state == Standing::Current {
                generation.state = Standing::Retained;
            }
        }
        entry.push(Generation {
            generation: number,
            fingerprint: key.fingerprint(),
            state: Standing::Current,
        });
    }
    sorted::sort_by_key(&mut entry, |generation| generation.generation);
    (entry, newcomer.is_none() || number.is_some())
}

/// The key at the top that nothing vouches for yet.
fn unvouched(copies: &Copies) -> Option<&Key> {
    match copies.is_vouched_for() {
        true => None,
        false => copies.good.values().next(),
    }
}

/// The files of a key that are to be written, wherever a whole copy of their bytes is at hand.
fn files(name: &KeyName, copies: &Copies, entry: &[Generation]) -> Vec<Change> {
    let at_hand = |fingerprint: Fingerprint| copies.find(fingerprint).is_some();
    let mut changes = files_of(name, copies, entry);
    let current = entry.iter().find(|g| g.state == Standing::Current);
    if let Some(current) = current.filter(|g| at_hand(g.fingerprint)) {
        let path = layout::top_path(name);
        let held = copies
            .top
            .or(copies.unlisted.as_ref().map(Key::fingerprint));
        if held != Some(current.fingerprint) {
            changes.push(write_key(path, name, current.fingerprint));
        }
    }
    changes
}

/// The files of generations that are to be written, wherever a whole copy of their bytes is at hand.
pub(super) fn files_of(name: &KeyName, copies: &Copies, entry: &[Generation]) -> Vec<Change> {
    let path = |g: &Generation| layout::generation_path(name, g.generation, g.fingerprint);
    let is_to_be_written = |g: &&Generation| {
        let is_at_hand = copies.find(g.fingerprint).is_some();
        g.state != Standing::Pruned && !copies.sound.contains(&path(g)) && is_at_hand
    };
    let entry = entry.iter().filter(is_to_be_written);
    entry
        .map(|g| write_key(path(g), name, g.fingerprint))
        .collect()
}

fn write_key(path: String, name: &KeyName, fingerprint: Fingerprint) -> Change {
    Change::Write {
        path,
        content: Content::Key(name.clone(), fingerprint),
    }
}

impl Copies {
    /// The number of the next generation; `None` when there is no higher one.
    pub fn next_number(&self) -> Option<u32> {
        let numbers = self.known.values().map(|known| known.number);
        numbers.max().unwrap_or(0).checked_add(1)
    }

    /// The whole bytes of this fingerprint.
    pub fn find(&self, fingerprint: Fingerprint) -> Option<&Key> {
        let unlisted = self.unlisted.as_ref();
        self.good
            .get(&fingerprint)
            .or(unlisted.filter(|key| key.fingerprint() == fingerprint))
    }

    /// A key that was just made.
    pub fn new(key: Key) -> Copies {
        let mut copies = Copies::default();
        copies.known.insert(
            key.fingerprint(),
            Known {
                number: 1,
                listed: None,
            },
        );
        copies.good.insert(key.fingerprint(), key);
        copies
    }
}
