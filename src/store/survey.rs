//! What the files of a store say, sorted: which bytes are whole, what vouches for them, and what is
//! damaged. Reading for a boot and repairing both begin here.

use super::layout::{self, Place};
use super::state::{self, Standing, State};
use super::{Damage, KeyFile, MISSING, Reading, UnknownFormat, Wanted};
use crate::key::{Fingerprint, Key};
use crate::names::KeyName;
use crate::sorted::{Map, Set};
use std::cmp::Ordering;

/// A store, sorted.
#[derive(Debug, Default)]
pub struct Survey {
    /// What the state file says, if it is whole.
    pub state: Option<State>,
    /// Every key that was wanted.
    pub keys: Map<KeyName, Copies>,
    /// What a cut write has left.
    pub leftovers: Vec<String>,
    /// Files in the store's own directory that are none of its own.
    pub strangers: Vec<String>,
    /// Damage that belongs to no key.
    pub damage: Vec<Damage>,
    /// Whether it is a store without fingerprints, as the f3s articles have it.
    pub plain: bool,
}

/// A generation that the store vouches for, by its state or by a file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Its number.
    pub number: u32,
    /// What the state file says that it is for; `None` when that does not list it.
    pub listed: Option<Standing>,
}

/// All that a store holds of one key.
#[derive(Debug, Default)]
pub struct Copies {
    /// What the store vouches for.
    pub known: Map<Fingerprint, Known>,
    /// Whole bytes of known generations. On a key that nothing vouches for, the copy at the top.
    pub good: Map<Fingerprint, Key>,
    /// The paths of files that hold what they should.
    pub sound: Set<String>,
    /// What the copy at the top holds, if that is a known generation.
    pub top: Option<Fingerprint>,
    /// A whole copy at the top that is none of the known generations. Never loaded.
    pub unlisted: Option<Key>,
    /// What is wrong.
    pub damage: Vec<Damage>,
}

/// Sorts what was read of the `wanted` keys.
///
/// # Errors
/// The store says that it is of a format that this program does not know.
pub fn survey(wanted: Wanted, reading: Reading) -> Result<Survey, UnknownFormat> {
    let has_generations = |file: &KeyFile| file.place != Place::Top;
    let formatted = reading.formatted || reading.files.iter().any(has_generations);
    let mut survey = Survey::default();
    survey.state = read_state(reading.state, formatted, &mut survey.damage)?;
    survey.plain = !formatted && survey.state.is_none();
    for path in reading.strays {
        match layout::is_temporary(layout::split(&path).1) {
            true => survey.leftovers.push(path),
            false => survey.strangers.push(path),
        }
    }
    survey.damage.extend(survey.leftovers.iter().map(|path| {
        let what = "is what a cut write has left".to_owned();
        Damage {
            path: path.clone(),
            what,
        }
    }));
    let whose = owners_of_fingerprints(&reading.files);
    let names = names(wanted, &reading.files, survey.state.as_ref());
    let mut files: Map<KeyName, Vec<KeyFile>> =
        names.into_iter().map(|name| (name, Vec::new())).collect();
    for file in reading.files {
        if let Some(of_key) = files.get_mut(&file.key) {
            of_key.push(file);
        }
    }
    for (name, files) in files {
        let listed = survey.state.as_ref().and_then(|s| s.keys.get(&name));
        let copies = copies(&name, files, listed.map(Vec::as_slice), &whose);
        survey.keys.insert(name, copies);
    }
    Ok(survey)
}

fn names(wanted: Wanted, files: &[KeyFile], state: Option<&State>) -> Set<KeyName> {
    match wanted {
        Wanted::These(keys) => keys.iter().cloned().collect(),
        Wanted::All => {
            let listed = state.into_iter().flat_map(|state| state.keys.keys());
            let there = files.iter().map(|file| &file.key);
            listed.chain(there).cloned().collect()
        }
    }
}

fn read_state(
    bytes: Option<Result<Vec<u8>, String>>,
    formatted: bool,
    damage: &mut Vec<Damage>,
) -> Result<Option<State>, UnknownFormat> {
    let what = match bytes {
        None if !formatted => return Ok(None),
        None => MISSING.to_owned(),
        Some(Err(what)) => what,
        Some(Ok(bytes)) => match State::parse(&bytes) {
            Ok(state) => return Ok(Some(state)),
            Err(state::BadState::UnknownFormat(format)) => return Err(UnknownFormat(format)),
            Err(state::BadState::Damaged(what)) => what,
        },
    };
    let path = layout::STATE.to_owned();
    damage.push(Damage { path, what });
    Ok(None)
}

/// Which keys' generation files carry which fingerprint: that tells swapped files apart from rot.
fn owners_of_fingerprints(files: &[KeyFile]) -> Map<Fingerprint, KeyName> {
    files
        .iter()
        .filter_map(|file| match file.place {
            Place::Generation { fingerprint, .. } => Some((fingerprint, file.key.clone())),
            Place::Top | Place::Generations => None,
        })
        .collect()
}

fn copies(
    name: &KeyName,
    files: Vec<KeyFile>,
    listed: Option<&[state::Generation]>,
    whose: &Map<Fingerprint, KeyName>,
) -> Copies {
    let mut copies = Copies {
        known: known(&files, listed.unwrap_or_default()),
        ..Copies::default()
    };
    copies.damage = missing(name, &files, &copies.known);
    for file in files {
        copies.sort(name, file, whose);
    }
    copies.tell_stale_top(name, listed);
    copies
}

/// The fingerprints that the store vouches for.
fn known(files: &[KeyFile], listed: &[state::Generation]) -> Map<Fingerprint, Known> {
    let by_name = files.iter().filter_map(|file| match file.place {
        Place::Generation {
            number,
            fingerprint,
        } => Some((fingerprint, number, None)),
        Place::Top | Place::Generations => None,
    });
    let by_state = listed
        .iter()
        .map(|g| (g.fingerprint, g.generation, Some(g.state)));
    // The state comes last, so its numbers count where the two differ.
    by_name
        .chain(by_state)
        .map(|(fingerprint, number, listed)| (fingerprint, Known { number, listed }))
        .collect()
}

/// Files that the store should have for this key and has not.
fn missing(name: &KeyName, files: &[KeyFile], known: &Map<Fingerprint, Known>) -> Vec<Damage> {
    if known.is_empty() {
        return Vec::new();
    }
    let there: Set<String> = files.iter().map(|file| file.place.path(name)).collect();
    let generations = known
        .iter()
        .filter(|(_, known)| known.listed != Some(Standing::Pruned))
        .map(|(fingerprint, known)| layout::generation_path(name, known.number, *fingerprint));
    // A key that is being taken over has no current generation yet, and nothing at the top.
    let mut listed = known.values().filter_map(|known| known.listed).peekable();
    let has_top = listed.peek().is_none() || listed.any(|state| state == Standing::Current);
    let top = has_top.then(|| layout::top_path(name));
    top.into_iter()
        .chain(generations)
        .filter(|path| !there.contains(path))
        .map(|path| Damage {
            path,
            what: MISSING.to_owned(),
        })
        .collect()
}

impl Copies {
    /// Whether anything on the store vouches for this key's bytes.
    pub fn is_vouched_for(&self) -> bool {
        !self.known.is_empty()
    }

    fn sort(&mut self, name: &KeyName, file: KeyFile, whose: &Map<Fingerprint, KeyName>) {
        let path = file.place.path(name);
        let key = match file.content {
            Ok(key) => key,
            Err(what) => return self.damage.push(Damage { path, what }),
        };
        let found = key.fingerprint();
        let fits = match file.place {
            Place::Generation { fingerprint, .. } => found == fingerprint,
            // Where nothing vouches for a key it is used, and said to be unproven.
            Place::Top => !self.is_vouched_for() || self.known.contains_key(&found),
            Place::Generations => false,
        };
        if !fits {
            let mut what = mismatch(name, found, whose);
            if file.place == Place::Top && self.next_number().is_none() {
                what += "; there is no higher number under which it could be taken in";
            }
            self.damage.push(Damage { path, what });
            if file.place == Place::Top {
                self.unlisted = Some(key);
            }
            return;
        }
        if file.place == Place::Top {
            self.top = Some(found);
        }
        self.sound.insert(path);
        self.good.entry(found).or_insert(key);
    }

    /// The copy at the top is a view of the current generation. Another one there opens less.
    fn tell_stale_top(&mut self, name: &KeyName, listed: Option<&[state::Generation]>) {
        let listed = listed.unwrap_or_default();
        let current = listed.iter().find(|g| g.state == Standing::Current);
        if let (Some(top), Some(current)) = (self.top, current)
            && top != current.fingerprint
        {
            let what = format!("holds {top}, not the current {}", current.fingerprint);
            let path = layout::top_path(name);
            self.sound.remove(&path);
            self.damage.push(Damage { path, what });
        }
    }

    /// What every known generation is for. `opens` are those that ZFS was seen to open a primary
    /// root with; they count only where the state file says nothing of this key.
    pub fn standings(&self, opens: &Set<Fingerprint>) -> Map<Fingerprint, Standing> {
        let is_listed = self.known.values().any(|known| known.listed.is_some());
        let current = self.current_without_state(opens);
        self.known
            .iter()
            .map(|(fingerprint, known)| {
                let standing = match known.listed {
                    Some(standing) => standing,
                    // A write was cut between the file and the state.
                    None if is_listed => Standing::Staged,
                    None => self.rebuilt(*known, current),
                };
                (*fingerprint, standing)
            })
            .collect()
    }

    /// Without a state file, what opens a root is current; in the middle of a rotation that is the
    /// older of two. Else the copy at the top says it, and without that the newest is.
    fn current_without_state(&self, opens: &Set<Fingerprint>) -> Option<Known> {
        let of = |fingerprint: &Fingerprint| self.known.get(fingerprint).copied();
        let opening = opens.iter().filter_map(of).min_by_key(|k| k.number);
        let at_top = self.top.as_ref().and_then(of);
        let newest_good = self.good.keys().filter_map(of).max_by_key(|k| k.number);
        let newest = self.known.values().copied().max_by_key(|k| k.number);
        opening.or(at_top).or(newest_good).or(newest)
    }

    fn rebuilt(&self, known: Known, current: Option<Known>) -> Standing {
        match current.map(|current| known.number.cmp(&current.number)) {
            Some(Ordering::Equal) => Standing::Current,
            Some(Ordering::Greater) => Standing::Staged,
            // Never retired: nobody knows that nothing needs it.
            Some(Ordering::Less) | None => Standing::Retained,
        }
    }
}

fn mismatch(name: &KeyName, found: Fingerprint, whose: &Map<Fingerprint, KeyName>) -> String {
    match whose.get(&found) {
        Some(other) if other != name => format!("holds the key of {other}: the files are swapped"),
        _ => format!(
            "is damaged: its bytes have fingerprint {found}, which this store does not list"
        ),
    }
}
