//! Writes on a mounted store, so that a cut at any step loses nothing that was there before.
//!
//! A file is written whole under a temporary name and synced; only then is what it replaces moved
//! aside, the new name given, and the directory synced.

use crate::key::{Fingerprint, KEY_LEN, Key};
use crate::names::KeyName;
use crate::os::Intake;
use crate::sorted::{Map, Set};
use crate::store::layout;
use crate::store::merge::{self, Next};
use crate::store::repair::{self, Change, Content};
use crate::store::state::{Generation, Standing};
use crate::store::survey::{Copies, Survey};
use crate::store::work::{Given, Merge, Work, Worked};
use crate::store::{Damage, Reading, Wanted};
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// The files of a store that can be written. Paths are from its top. One real implementation,
/// [`Directory`], and one simulated, which can be cut at every step.
pub trait Medium {
    /// Whether something has this name.
    ///
    /// # Errors
    /// The file system did not say.
    fn exists(&mut self, path: &str) -> io::Result<bool>;
    /// Makes a directory for root alone.
    ///
    /// # Errors
    /// The file system refused.
    fn make_directory(&mut self, path: &str) -> io::Result<()>;
    /// Makes a file that was not there, for root alone, and syncs its contents.
    ///
    /// # Errors
    /// The file system refused, or is full; then there may be a part of it.
    fn create(&mut self, path: &str, bytes: &[u8]) -> io::Result<()>;
    /// Gives a file another name, replacing what had it.
    ///
    /// # Errors
    /// The file system refused.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// The file system refused.
    fn sync(&mut self, directory: &str) -> io::Result<()>;
    /// Removes the file of a generation that is pruned.
    ///
    /// # Errors
    /// The file system refused, or the path is no generation's.
    fn remove(&mut self, path: &str) -> io::Result<()>;
    /// Removes a file that was just made under a temporary name and could not be finished.
    fn discard(&mut self, temporary: &str);
}

/// Random bytes for a new key or identity.
pub type Random<'a> = &'a mut dyn FnMut(&mut [u8]) -> io::Result<()>;

/// Does a piece of work on a store of which everything was read; tells what was done, and what
/// could not be. `brought` are the keys that come with a [`Work::Take`] or a [`Work::Add`].
///
/// # Errors
/// The work does not fit this store; nothing was changed then.
pub fn work(
    work: &Work,
    brought: Vec<Key>,
    reading: Reading,
    medium: &mut dyn Medium,
    random: Random,
) -> io::Result<Done> {
    let survey = crate::store::survey::survey(Wanted::All, reading);
    let mut survey = survey.map_err(io::Error::other)?;
    let changes = decide(work, brought, &mut survey, random).map_err(io::Error::other)?;
    let go_on = match work {
        Work::NewKey(_)
        | Work::Found
        | Work::Stage(_)
        | Work::Merge(_)
        | Work::Take(_)
        | Work::Add(_)
        | Work::Prune(_) => GoOn::WhileAllWorks,
        Work::TakeIn | Work::Repair { .. } => GoOn::Always,
    };
    let done = perform(&changes, &survey, medium, go_on);
    match done.could_not.first() {
        Some(failed) if go_on == GoOn::WhileAllWorks => Err(io::Error::other(failed.to_string())),
        _ => Ok(done),
    }
}

/// What is to be changed. New keys are put into the survey, for the changes to be made from.
fn decide(
    work: &Work,
    brought: Vec<Key>,
    survey: &mut Survey,
    random: Random,
) -> Result<Vec<Change>, String> {
    let id = store_id(random).map_err(|e| e.to_string())?;
    match work {
        Work::Found if !survey.plain || !survey.keys.is_empty() => {
            Err("there is a key store on it already".to_owned())
        }
        Work::Found => Ok(repair::found(&id)),
        Work::TakeIn => Ok(repair::take_in(survey, &id)),
        Work::Repair { opens } => Ok(repair::repair(survey, opens, &id)),
        Work::NewKey(name) => new_key(name, survey, &id, random),
        Work::Stage(name) => stage(name, survey, random),
        Work::Merge(merge) => merge_in(merge, brought, survey),
        Work::Take(given) => {
            as_judged(given, survey)?;
            merge_in(&given.merge, brought, survey)
        }
        Work::Add(Given { merge, .. }) => {
            if let Some(copies) = survey.keys.get(&merge.key) {
                merge::may_add(&merge.key, copies, &merge.list)?;
            }
            merge_in(merge, brought, survey)
        }
        Work::Prune(prune) => {
            merge::recordable(survey)?;
            merge::prune(survey, prune)
        }
    }
}

/// The list was judged by what the store listed then.
fn as_judged(given: &Given, survey: &Survey) -> Result<(), String> {
    let none = Copies::default();
    let copies = survey.keys.get(&given.merge.key).unwrap_or(&none);
    match &given.seen {
        Some(seen) if *seen != merge::listing(copies) => {
            Err("the store was changed meanwhile; ask again".to_owned())
        }
        _ => Ok(()),
    }
}

fn merge_in(merge: &Merge, brought: Vec<Key>, survey: &mut Survey) -> Result<Vec<Change>, String> {
    merge::recordable(survey)?;
    merge::room(survey, &merge.key)?;
    let copies = survey.keys.entry(merge.key.clone()).or_default();
    merge::may(&merge.key, copies, &merge.list, &merge.bring)?;
    let brought_are = brought.iter().map(Key::fingerprint);
    if !brought_are.eq(merge.bring.iter().copied()) {
        return Err("the keys that are brought are not those that were named".to_owned());
    }
    for key in brought {
        copies.good.entry(key.fingerprint()).or_insert(key);
    }
    let changes = merge::merge(survey, merge);
    merge::fits(&changes).map(|()| changes)
}

fn new_key(
    name: &KeyName,
    survey: &mut Survey,
    id: &str,
    random: Random,
) -> Result<Vec<Change>, String> {
    if survey.keys.contains_key(name) {
        return Err(format!(
            "{name} is on the store already; nothing was changed"
        ));
    }
    if !survey.plain {
        merge::recordable(survey)?;
    }
    let key = fresh_key(survey, random)?;
    let changes = repair::add(survey, name, key.fingerprint(), id);
    survey.keys.insert(name.clone(), Copies::new(key));
    Ok(changes)
}

/// A key of random bytes that no generation of any key on this store has.
fn fresh_key(survey: &Survey, random: Random) -> Result<Key, String> {
    let key = Key::take(|place| random(place)).map_err(|e| e.to_string())?;
    let print = key.fingerprint();
    let is_known = |copies: &Copies| copies.good.contains_key(&print);
    match survey.keys.values().any(is_known) {
        true => Err("the kernel gave random bytes that are a key of this store already".to_owned()),
        false => Ok(key),
    }
}

fn stage(name: &KeyName, survey: &mut Survey, random: Random) -> Result<Vec<Change>, String> {
    merge::recordable(survey)?;
    merge::room(survey, name)?;
    let copies = survey.keys.entry(name.clone()).or_default();
    let staged = match merge::next(name, copies)? {
        Next::Left(left) => left,
        Next::New(number) => {
            let key = fresh_key(survey, random)?;
            let fingerprint = key.fingerprint();
            let copies = survey.keys.entry(name.clone()).or_default();
            copies.good.insert(fingerprint, key);
            Generation {
                generation: number,
                fingerprint,
                state: Standing::Staged,
            }
        }
    };
    let copies = survey.keys.entry(name.clone()).or_default();
    let staging = merge::staging(name, copies, staged);
    let changes = merge::merge(survey, &staging);
    merge::fits(&changes).map(|()| changes)
}

/// Reads the keys of these generations into the first places of an intake, in this order, and nothing
/// behind them.
///
/// # Errors
/// There are fewer or more bytes than were named, or others.
pub fn incoming(bring: &[Fingerprint], mut from: impl Read, intake: &mut Intake) -> io::Result<()> {
    for (index, fingerprint) in bring.iter().enumerate() {
        let place = intake.place(index).ok_or(io::ErrorKind::InvalidInput)?;
        from.read_exact(place)?;
        let bytes = <&[u8; KEY_LEN]>::try_from(&*place).map_err(io::Error::other)?;
        if Fingerprint::of(bytes) != *fingerprint {
            return Err(io::Error::other(format!(
                "the key that came is not {fingerprint}; nothing was written"
            )));
        }
    }
    match from.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(io::Error::other(
            "more came than was named; nothing was written",
        )),
    }
}

/// The keys that came with a piece of work, out of the intake that they were read into.
///
/// # Errors
/// There is no intake, or its memory could not be locked.
pub fn brought(work: &Work, intake: Option<&mut Intake>) -> io::Result<Vec<Key>> {
    match (work.brings(), intake) {
        (None, _) => Ok(Vec::new()),
        (Some(merge), Some(intake)) => (0..merge.bring.len()).map(|at| intake.take(at)).collect(),
        (Some(_), None) => Err(io::Error::other("the keys are not at hand")),
    }
}

fn store_id(random: Random) -> io::Result<String> {
    let mut bytes = [0; 16];
    random(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What was done on a store.
#[derive(Debug, Default)]
pub struct Done {
    /// What was changed, in order.
    pub did: Vec<String>,
    /// What could not be changed, and why.
    pub could_not: Vec<Damage>,
}

/// Makes the changes, each as a whole. One that fails does not stop the others, unless the medium
/// no longer makes anything durable.
pub fn perform(changes: &[Change], survey: &Survey, medium: &mut dyn Medium, go_on: GoOn) -> Done {
    let mut done = Done::default();
    let mut writer = Writer {
        medium,
        did: Vec::new(),
        failing: false,
    };
    for change in changes {
        let path = change_path(change).to_owned();
        let stop = writer.failing || (go_on == GoOn::WhileAllWorks && !done.could_not.is_empty());
        let what = match stop {
            true => "was not tried after that".to_owned(),
            false => match writer.make(change, survey) {
                Ok(()) => continue,
                Err(e) => format!("could not be written: {e}"),
            },
        };
        done.could_not.push(Damage { path, what });
    }
    done.did = writer.did;
    done
}

/// Whether changes are made after one that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GoOn {
    /// They have nothing to do with one another.
    Always,
    /// They are of use only together.
    WhileAllWorks,
}

fn change_path(change: &Change) -> &str {
    match change {
        Change::Aside(path)
        | Change::Write { path, .. }
        | Change::Replace { path, .. }
        | Change::Remove(path) => path,
        Change::State(_) => layout::STATE,
    }
}

struct Writer<'a> {
    medium: &'a mut dyn Medium,
    did: Vec<String>,
    /// A sync has failed: what it should have made durable may be anything now.
    failing: bool,
}

impl Writer<'_> {
    fn make(&mut self, change: &Change, survey: &Survey) -> io::Result<()> {
        match change {
            Change::Aside(path) => self.aside(path),
            Change::Remove(path) => self.remove(path),
            Change::Write { path, content } => {
                self.write(path, content, survey, Replace::AfterMovingAside)
            }
            Change::Replace { path, content } => self.write(path, content, survey, Replace::AtOnce),
            Change::State(state) => {
                self.put(layout::STATE, &state.to_bytes(), Replace::AtOnce)?;
                self.did.push(format!("updated {}", layout::STATE));
                Ok(())
            }
        }
    }

    fn write(
        &mut self,
        path: &str,
        content: &Content,
        survey: &Survey,
        how: Replace,
    ) -> io::Result<()> {
        match content {
            Content::Key(name, fingerprint) => {
                let key = find(survey, name, *fingerprint)?;
                self.put(path, key.expose(), how)?;
            }
            Content::State(state) => self.put(path, &state.to_bytes(), how)?,
        }
        self.did.push(format!("wrote {path}"));
        Ok(())
    }

    fn sync(&mut self, directory: &str) -> io::Result<()> {
        self.medium
            .sync(directory)
            .inspect_err(|_| self.failing = true)
    }

    /// Puts a file in place, durably.
    fn put(&mut self, path: &str, bytes: &[u8], how: Replace) -> io::Result<()> {
        let (directory, _) = layout::split(path);
        self.directories(directory)?;
        let temporary = layout::temporary(path);
        if self.medium.exists(&temporary)? {
            self.aside(&temporary)?;
        }
        if let Err(e) = self.medium.create(&temporary, bytes) {
            self.medium.discard(&temporary);
            return Err(e);
        }
        if how == Replace::AfterMovingAside && self.medium.exists(path)? {
            self.aside(path)?;
        }
        self.medium.rename(&temporary, path)?;
        self.sync(directory)
    }

    /// Makes the directories of a path, each durable before something is put into it.
    fn directories(&mut self, directory: &str) -> io::Result<()> {
        if directory.is_empty() || self.medium.exists(directory)? {
            return Ok(());
        }
        let (parent, _) = layout::split(directory);
        self.directories(parent)?;
        self.medium.make_directory(directory)?;
        // Itself before its name: a name that leads to an inode of old is beyond `fsck -p`.
        self.sync(directory)?;
        self.sync(parent)
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        if !self.medium.exists(path)? {
            return Ok(());
        }
        self.medium.remove(path)?;
        self.sync(layout::split(path).0)?;
        self.did.push(format!("removed {path}"));
        Ok(())
    }

    /// Moves a file to the first free name among the damaged.
    fn aside(&mut self, path: &str) -> io::Result<()> {
        self.directories(layout::ASIDE)?;
        let mut number = 1;
        while self.medium.exists(&layout::aside(path, number))? {
            number += 1;
        }
        let to = layout::aside(path, number);
        self.medium.rename(path, &to)?;
        // The new name first: with only the old one gone, the file would be nowhere.
        self.sync(layout::ASIDE)?;
        self.sync(layout::split(path).0)?;
        self.did.push(format!("moved {path} to {to}"));
        Ok(())
    }
}

#[derive(PartialEq, Eq)]
enum Replace {
    /// What is there is damaged: it is kept.
    AfterMovingAside,
    /// What is there is whole, and all it says is in its successor.
    AtOnce,
}

fn find<'a>(survey: &'a Survey, name: &KeyName, fingerprint: Fingerprint) -> io::Result<&'a Key> {
    let copies = survey.keys.get(name);
    copies
        .and_then(|copies| copies.find(fingerprint))
        .ok_or_else(|| io::Error::other("its bytes are not at hand"))
}

/// What came of a piece of work, by what was read back afterwards.
pub fn worked(work: &Work, done: Done, back: &Survey, notes: Vec<String>) -> Worked {
    let store = back.state.as_ref().map(|state| state.store.clone());
    let about = match work {
        Work::Stage(key) => Some((key, None)),
        Work::Merge(merge) => Some((&merge.key, None)),
        Work::Take(given) | Work::Add(given) => Some((&given.merge.key, Some(given))),
        Work::Prune(prune) => Some((&prune.key, None)),
        _ => None,
    };
    let about = about.and_then(|(key, given)| Some((back.keys.get(key)?, given)));
    let held = about.map(|(copies, given)| merge::held(copies, over(given, store.as_deref())));
    let sound = about.is_some_and(|(copies, _)| copies.damage.is_empty());
    let of_keys = back.keys.values().flat_map(|copies| &copies.damage);
    let left = done.could_not.into_iter();
    Worked {
        did: done.did,
        left: left
            .chain(back.damage.iter().chain(of_keys).cloned())
            .collect(),
        notes,
        keys: current(back),
        held: held.unwrap_or_default(),
        sound,
        store,
    }
}

fn over<'a>(given: Option<&'a Given>, store: Option<&'a str>) -> Option<merge::Over<'a>> {
    let given = given?;
    Some(merge::Over {
        nonce: given.merge.nonce.as_ref()?,
        prover: &given.prover,
        store: store?,
    })
}

/// The current generation of every key, where its bytes are whole.
fn current(survey: &Survey) -> Map<KeyName, Option<Fingerprint>> {
    let of = |copies: &Copies| {
        copies
            .standings(&Set::new())
            .into_iter()
            .filter(|(_, standing)| *standing == Standing::Current)
            .map(|(fingerprint, _)| fingerprint)
            .find(|fingerprint| copies.good.contains_key(fingerprint))
    };
    let keys = survey.keys.iter();
    keys.map(|(name, copies)| (name.clone(), of(copies)))
        .collect()
}

/// The files of a store that is mounted.
pub struct Directory {
    top: OwnedFd,
}

impl Directory {
    /// The store mounted at `top`.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(top: &Path) -> io::Result<Directory> {
        let top = open_directory(AT_FDCWD, top)?;
        Ok(Directory { top })
    }

    /// The directory of a path, no link followed on the way, and the path's last name.
    fn place<'a>(&self, path: &'a str) -> io::Result<(OwnedFd, &'a str)> {
        let (directory, name) = layout::split(path);
        Ok((self.directory(directory)?, name))
    }

    fn directory(&self, path: &str) -> io::Result<OwnedFd> {
        let mut at = self.top.try_clone()?;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            at = open_directory(&at, Path::new(part))?;
        }
        Ok(at)
    }
}

fn open_directory(at: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(openat(at, path, flags, Mode::empty())?)
}

impl Medium for Directory {
    fn exists(&mut self, path: &str) -> io::Result<bool> {
        let (directory, name) = match self.place(path) {
            Ok(place) => place,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(e),
        };
        match fstatat(&directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(nix::Error::ENOENT) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    fn make_directory(&mut self, path: &str) -> io::Result<()> {
        let (directory, name) = self.place(path)?;
        Ok(mkdirat(&directory, name, Mode::S_IRWXU)?)
    }

    fn create(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let (directory, name) = self.place(path)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
        let file = openat(&directory, name, flags | OFlag::O_CLOEXEC, Mode::S_IRUSR)?;
        let mut file = File::from(file);
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let (old, from) = self.place(from)?;
        let (new, to) = self.place(to)?;
        Ok(renameat(&old, from, &new, to)?)
    }

    fn sync(&mut self, directory: &str) -> io::Result<()> {
        File::from(self.directory(directory)?).sync_all()
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        let (directory, name) = self.place(path)?;
        if layout::parse_generation(name).is_none() {
            return Err(io::Error::other("it is no generation's file"));
        }
        Ok(unlinkat(&directory, name, UnlinkatFlags::NoRemoveDir)?)
    }

    fn discard(&mut self, temporary: &str) {
        if let Ok((directory, name)) = self.place(temporary)
            && layout::is_temporary(name)
        {
            let _ = unlinkat(&directory, name, UnlinkatFlags::NoRemoveDir);
        }
    }
}
