//! What a rotation does to a store: the next generation of a key is staged, and the generations of
//! a key are given the standings that its owner says. Pure.
//!
//! The owner's list is taken as a whole or not at all. It takes no generation off a store; only
//! [`prune`] does, by the word of a person at the store. So a retirement can be taken back: it is a
//! standing like any other, and its bytes are still there. What is pruned stays so: they may be gone.

use super::layout;
use super::repair::{Change, Content, files_of};
use super::state::{Generation, LARGEST_WRITTEN, Standing};
use super::survey::{Copies, Survey};
use super::work::{Held, Merge, Prune};
use super::{MISSING, MOST_GENERATIONS, MOST_KEYS, MOST_OF_ONE_OWNER};
use crate::key::{Fingerprint, Nonce};
use crate::names::{KeyName, NodeName};
use crate::sorted::{self, Set};

/// Says what the staged generation of a key is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// A new one of this number.
    New(u32),
    /// The one whose file a cut run has left, which the state does not list yet.
    Left(Generation),
}

/// Whether generations can be recorded on this store.
///
/// # Errors
/// It is a plain store, or its state file is damaged.
pub fn recordable(survey: &Survey) -> Result<(), String> {
    match (&survey.state, survey.plain) {
        (Some(_), _) => Ok(()),
        (None, true) => Err("it is a plain store; `f3skeys adopt` first".to_owned()),
        (None, false) => Err(damaged("the store's state file is damaged")),
    }
}

/// Whether there is room for one more key on this store, if it is one more.
///
/// # Errors
/// There are as many as may be.
pub fn room(survey: &Survey, key: &KeyName) -> Result<(), String> {
    if survey.keys.contains_key(key) {
        return Ok(());
    }
    let of_owner = survey
        .keys
        .keys()
        .filter(|other| other.owner() == key.owner());
    if survey.keys.len() >= MOST_KEYS {
        return Err(format!(
            "the store has {MOST_KEYS} keys, the most there may be"
        ));
    }
    match of_owner.count() >= MOST_OF_ONE_OWNER {
        true => Err(format!(
            "the store has {MOST_OF_ONE_OWNER} keys of {}, the most there may be",
            key.owner()
        )),
        false => Ok(()),
    }
}

/// Whether the state file that is to be written is not too large.
///
/// # Errors
/// It would be too large.
pub fn fits(changes: &[Change]) -> Result<(), String> {
    let too_large = |change: &Change| {
        let Change::State(state) = change else {
            return false;
        };
        state.to_bytes().len() > LARGEST_WRITTEN
    };
    match changes.iter().any(too_large) {
        true => Err("the store's state file would be too large".to_owned()),
        false => Ok(()),
    }
}

fn damaged(what: &str) -> String {
    format!("{what}; `f3skeys verify --repair` first")
}

/// What staging makes of a key of which this is known.
///
/// # Errors
/// Why nothing is staged.
pub fn next(key: &KeyName, copies: &Copies) -> Result<Next, String> {
    no_strangers(key, copies, &Set::new())?;
    let unlisted = unlisted(copies);
    // Until the state lists the key, nothing says whether it should have a copy at the top.
    let is_new = listed(copies).next().is_none();
    let top = layout::top_path(key);
    let mut damage = copies.damage.iter();
    let counts = |path: &str, what: &str| !(is_new && path == top && what == MISSING);
    if let Some(damage) = damage.find(|d| counts(&d.path, &d.what)) {
        return Err(damaged(&damage.to_string()));
    }
    if let Some(staged) = listed(copies).find(|g| g.state == Standing::Staged) {
        let number = staged.generation;
        return Err(format!("generation {number} of {key} is staged already"));
    }
    match unlisted.as_slice() {
        [] if copies.known.len() >= MOST_GENERATIONS => Err(format!(
            "{key} has {MOST_GENERATIONS} generations, the most there may be"
        )),
        [] => match copies.next_number() {
            Some(number) => Ok(Next::New(number)),
            None => Err(last_number(key)),
        },
        [left] => Ok(Next::Left(left.clone())),
        _ => Err(damaged("several generations are on no list")),
    }
}

/// That a key can have no further generation, and the way out.
pub fn last_number(key: &KeyName) -> String {
    format!(
        "{key} has generation {}, and there is no higher number; its keys stay as they are. Make another key with `f3skeys new-key`, name it in `roots`, and give it to the roots with `f3skeys rotate --take-over`",
        u32::MAX
    )
}

/// The key's own generations, with a staged one behind them.
pub fn staging(key: &KeyName, copies: &Copies, staged: Generation) -> Merge {
    let list = listed(copies).chain([Generation {
        state: Standing::Staged,
        ..staged
    }]);
    Merge {
        key: key.clone(),
        list: list.collect(),
        bring: Vec::new(),
        nonce: None,
    }
}

/// The generations that the store's state lists, by number.
pub fn listing(copies: &Copies) -> Vec<Generation> {
    let mut listed: Vec<Generation> = listed(copies).collect();
    sorted::sort_by_key(&mut listed, |g| g.generation);
    listed
}

/// The number that the store has of a generation.
pub(super) fn number_of(copies: &Copies, print: Fingerprint) -> Option<u32> {
    copies.known.get(&print).map(|known| known.number)
}

fn listed(copies: &Copies) -> impl Iterator<Item = Generation> {
    copies.known.iter().filter_map(|(fingerprint, known)| {
        Some(Generation {
            generation: known.number,
            fingerprint: *fingerprint,
            state: known.listed?,
        })
    })
}

/// Generations that only a file's name vouches for.
fn unlisted(copies: &Copies) -> Vec<Generation> {
    let known = copies.known.iter();
    let unlisted = known.filter(|(_, known)| known.listed.is_none());
    let staged = |(fingerprint, known): (&Fingerprint, &super::survey::Known)| Generation {
        generation: known.number,
        fingerprint: *fingerprint,
        state: Standing::Staged,
    };
    unlisted.map(staged).collect()
}

/// A whole key at the top for which nothing on the store vouches may be the only one that opens
/// something: with a list beside it that lacks it, no boot would try it any more.
fn no_strangers(key: &KeyName, copies: &Copies, list: &Set<Fingerprint>) -> Result<(), String> {
    let found = copies.good.keys().find(|_| !copies.is_vouched_for());
    match found {
        Some(found) if !list.contains(found) => Err(damaged(&format!(
            "nothing vouches for {found} in {}",
            layout::top_path(key)
        ))),
        _ => Ok(()),
    }
}

/// Whether a list holds together, whatever it is merged into.
///
/// # Errors
/// Why it does not.
pub fn shape(list: &[Generation], bring: &[Fingerprint]) -> Result<(), String> {
    if list.is_empty() || list.len() > MOST_GENERATIONS {
        return Err(format!(
            "the list has {} generations; 1 to {MOST_GENERATIONS} may be",
            list.len()
        ));
    }
    let numbers: Set<u32> = list.iter().map(|g| g.generation).collect();
    let prints = prints(list);
    if numbers.len() != list.len() || prints.len() != list.len() {
        return Err("the list has a generation twice".to_owned());
    }
    if numbers.contains(&0) {
        return Err("the list has a generation 0; the first is 1".to_owned());
    }
    for one in [Standing::Current, Standing::Staged] {
        if list.iter().filter(|g| g.state == one).count() > 1 {
            return Err(format!("the list has two {one} generations"));
        }
    }
    let brought: Set<Fingerprint> = bring.iter().copied().collect();
    if brought.len() != bring.len() {
        return Err("a generation is brought twice".to_owned());
    }
    if let Some(other) = brought.iter().find(|print| !prints.contains(*print)) {
        return Err(format!("{other} is brought and not listed"));
    }
    let mut pruned = list.iter().filter(|g| g.state == Standing::Pruned);
    match pruned.find(|g| brought.contains(&g.fingerprint)) {
        Some(g) => Err(format!("{} is brought and pruned", g.fingerprint)),
        None => Ok(()),
    }
}

fn prints(list: &[Generation]) -> Set<Fingerprint> {
    list.iter().map(|g| g.fingerprint).collect()
}

/// Whether the owner's list may be merged into what a store knows of a key.
///
/// # Errors
/// Why not.
pub fn may(
    key: &KeyName,
    copies: &Copies,
    list: &[Generation],
    bring: &[Fingerprint],
) -> Result<(), String> {
    shape(list, bring)?;
    no_strangers(key, copies, &prints(list))?;
    for (fingerprint, known) in &copies.known {
        let number = known.number;
        let is_gone = known.listed == Some(Standing::Pruned) && copies.find(*fingerprint).is_none();
        let Some(entry) = list.iter().find(|g| g.fingerprint == *fingerprint) else {
            if is_gone {
                continue;
            }
            return Err(format!(
                "the list lacks generation {number}, {fingerprint}, which is on this store"
            ));
        };
        if entry.generation != number {
            return Err(format!(
                "the list calls {fingerprint} generation {}; on this store it is {number}",
                entry.generation
            ));
        }
        if known.listed == Some(Standing::Pruned) && entry.state != Standing::Pruned {
            return Err(format!(
                "generation {number} is pruned here, and {} on the list",
                entry.state
            ));
        }
    }
    advances(copies, list)?;
    let is_new = |g: &&Generation| {
        let is_known = copies.known.contains_key(&g.fingerprint);
        g.state != Standing::Pruned && !is_known && copies.find(g.fingerprint).is_none()
    };
    let mut new = list.iter().filter(is_new);
    match new.find(|g| !bring.contains(&g.fingerprint)) {
        Some(g) => Err(format!(
            "generation {}, {}, is new here and is not brought",
            g.generation, g.fingerprint
        )),
        None => Ok(()),
    }
}

/// Whether a key that is on this store may be given to it by a node that does not own the key: only
/// where all there is of it is a part of this very list, as a cut run leaves it.
///
/// # Errors
/// The store holds something of the key.
pub fn may_add(key: &KeyName, copies: &Copies, list: &[Generation]) -> Result<(), String> {
    if let Some(damage) = copies.damage.iter().find(|damage| damage.what != MISSING) {
        return Err(damaged(&damage.to_string()));
    }
    let count = listed(copies).count();
    let is_part = copies.known.iter().all(|(print, known)| {
        list.iter().any(|g| {
            let is_it = g.fingerprint == *print && g.generation == known.number;
            is_it && known.listed.is_none_or(|here| here == g.state)
        })
    });
    let current = list.iter().find(|g| g.state == Standing::Current);
    let is_top = |print| count > 0 && current.is_some_and(|g| g.fingerprint == print);
    let is_cut = is_part && (count == 0 || count == list.len());
    if is_cut && copies.top.is_none_or(is_top) {
        return Ok(());
    }
    let owner = key.owner();
    let mut why = format!("{key} is on this store already, and only {owner} changes it");
    let brought: Vec<Fingerprint> = prints(list).into_iter().collect();
    if may(key, copies, list, &brought).is_ok() {
        // Short: only the first words of a refusal are shown to the peer.
        why += "; a peer that is behind came first: its owner's `f3skeys backup` mends that, and on the owner a rebuild anew, on another stick";
    }
    Err(why)
}

/// What is current never goes away, and never goes back.
fn advances(copies: &Copies, list: &[Generation]) -> Result<(), String> {
    let current = |g: &&Generation| g.state == Standing::Current;
    let Some(here) = listed(copies).find(|g| current(&g)) else {
        return Ok(());
    };
    match list.iter().find(current) {
        None => Err("no generation on the list is current".to_owned()),
        Some(listed) if listed.generation < here.generation => Err(format!(
            "generation {} is current here, and on the list the older {}",
            here.generation, listed.generation
        )),
        Some(_) => Ok(()),
    }
}

/// Decides what gives a key the standings of the owner's list: files of generations first, then the
/// state, and the copy at the top last. The bytes of new generations are in the survey.
pub fn merge(survey: &Survey, merge: &Merge) -> Vec<Change> {
    let none = Copies::default();
    let copies = survey.keys.get(&merge.key).unwrap_or(&none);
    let mut list = merge.list.clone();
    sorted::sort_by_key(&mut list, |g| g.generation);
    let mut changes = files_of(&merge.key, copies, &list);
    changes.extend(restated(survey, &merge.key, &list));
    changes.extend(top(&merge.key, copies, &list));
    changes
}

/// Decides what takes a generation off a store: first the state says so, then the file goes. Only
/// what is retired goes, and on a store that is not its owner's only what the owner has pruned.
///
/// # Errors
/// Why it stays.
pub fn prune(survey: &Survey, prune: &Prune) -> Result<Vec<Change>, String> {
    let Prune {
        key,
        fingerprint,
        by_owner,
    } = prune;
    let copies = survey.keys.get(key);
    let copies = copies.ok_or_else(|| format!("{key} is not on this store"))?;
    if let Some(damage) = copies.damage.first() {
        return Err(damaged(&damage.to_string()));
    }
    let known = copies.known.get(fingerprint).copied();
    let known = known.ok_or_else(|| format!("{key} has no generation {fingerprint}"))?;
    match known.listed {
        Some(Standing::Pruned) => {}
        Some(Standing::Retired) if *by_owner => {}
        Some(standing) => return Err(format!("{fingerprint} of {key} is {standing}")),
        None => return Err(format!("{fingerprint} of {key} is on no list")),
    }
    let list = listed(copies).map(|g| match g.fingerprint == *fingerprint {
        true => Generation {
            state: Standing::Pruned,
            ..g
        },
        false => g,
    });
    let mut list: Vec<Generation> = list.collect();
    sorted::sort_by_key(&mut list, |g| g.generation);
    let state = restated(survey, key, &list);
    let path = layout::generation_path(key, known.number, *fingerprint);
    Ok(state.into_iter().chain([Change::Remove(path)]).collect())
}

/// The state with this list of a key, if it is another than it has.
fn restated(survey: &Survey, key: &KeyName, list: &[Generation]) -> Option<Change> {
    let mut state = survey.state.clone()?;
    let before = state.keys.insert(key.clone(), list.to_vec());
    (before.as_deref() != Some(list)).then_some(Change::State(state))
}

/// What makes the copy at the top the current generation.
fn top(key: &KeyName, copies: &Copies, list: &[Generation]) -> Option<Change> {
    let current = list.iter().find(|g| g.state == Standing::Current)?;
    copies.find(current.fingerprint)?;
    let path = layout::top_path(key);
    let unlisted = copies.unlisted.as_ref().map(|key| key.fingerprint());
    let content = Content::Key(key.clone(), current.fingerprint);
    let is_listed = |print: Fingerprint| list.iter().any(|g| g.fingerprint == print);
    match (copies.top.or(unlisted), unlisted) {
        (Some(there), _) if there == current.fingerprint => None,
        // Whether it opens anything, only `verify --repair` asks ZFS.
        (_, Some(stranger)) if !is_listed(stranger) => None,
        // It is whole, and in a generation's file as well.
        (Some(_), _) => Some(Change::Replace { path, content }),
        (None, _) => Some(Change::Write { path, content }),
    }
}

/// What a proof of possession is made over, beside the key.
#[derive(Debug, Clone, Copy)]
pub struct Over<'a> {
    /// The number of whoever asks.
    pub nonce: &'a Nonce,
    /// The node that proves.
    pub prover: &'a NodeName,
    /// The identity of its store.
    pub store: &'a str,
}

/// What a store holds of a key, by its own list, in the order of the generations, with a proof of each
/// where there is something to prove it over.
pub fn held(copies: &Copies, over: Option<Over>) -> Vec<Held> {
    let standings = copies.standings(&Set::new());
    let mut held: Vec<Held> = standings
        .into_iter()
        .filter_map(|(fingerprint, state)| {
            let generation = Generation {
                generation: copies.known.get(&fingerprint)?.number,
                fingerprint,
                state,
            };
            let key = copies.good.get(&fingerprint);
            let proof = |key: &crate::key::Key| {
                let Over {
                    nonce,
                    prover,
                    store,
                } = over?;
                Some(key.prove(nonce, prover.as_str(), store))
            };
            Some(Held {
                generation,
                whole: key.is_some(),
                proof: key.and_then(proof),
            })
        })
        .collect();
    sorted::sort_by_key(&mut held, |held| held.generation.generation);
    held
}

#[cfg(test)]
mod tests;
