//! Reads the files of a mounted store, each once, trusting none of them.
//!
//! Runs in a worker: key bytes go straight into the shared [`Intake`], all else is told.

use crate::key::KEY_LEN;
use crate::names::KeyName;
use crate::os::Intake;
use crate::sorted::{self, Set};
use crate::store::layout::{self, Place};
use crate::store::state::LARGEST as LARGEST_STATE;
use crate::store::{KeyFile, MOST_GENERATIONS, MOST_KEYS, Reading, Wanted};
use nix::dir::Dir;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// What the reading worker tells: everything but the key bytes, which are in the intake.
#[derive(Default, Serialize, Deserialize)]
pub struct Told {
    files: Vec<ToldFile>,
    state: Option<Result<Bytes, String>>,
    formatted: bool,
    strays: Vec<String>,
    /// What a person should know about how it was read.
    pub notes: Vec<String>,
}

/// Bytes that are nearly all text, told as such: a character each.
#[derive(Clone, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
struct Bytes(Vec<u8>);

impl From<Bytes> for String {
    fn from(bytes: Bytes) -> String {
        bytes.0.into_iter().map(char::from).collect()
    }
}

impl TryFrom<String> for Bytes {
    type Error = std::char::TryFromCharError;

    fn try_from(text: String) -> Result<Bytes, Self::Error> {
        text.chars()
            .map(u8::try_from)
            .collect::<Result<_, _>>()
            .map(Bytes)
    }
}

#[derive(Serialize, Deserialize)]
struct ToldFile {
    key: KeyName,
    /// The name of a generation's file, empty for the directory of all of them; `None` for the copy
    /// at the top.
    generation: Option<String>,
    /// The place in the intake.
    content: Result<usize, String>,
}

impl Told {
    /// Takes the keys out of the intake, once the worker has told, which is the last thing it does.
    ///
    /// # Errors
    /// Memory for a key could not be locked.
    pub fn into_reading(self, intake: &mut Intake) -> io::Result<Reading> {
        let mut files = Vec::new();
        for file in self.files {
            let content = match file.content {
                Ok(place) => Ok(intake.take(place)?),
                Err(why) => Err(why),
            };
            let place = file.generation.map_or(Place::Top, |name| {
                layout::parse_generation(&name).unwrap_or(Place::Generations)
            });
            files.push(KeyFile {
                key: file.key,
                place,
                content,
            });
        }
        Ok(Reading {
            files,
            state: self.state.map(|state| state.map(|bytes| bytes.0)),
            formatted: self.formatted,
            strays: self.strays,
            notes: self.notes,
            gone: false,
        })
    }
}

/// Reads a store's files into an intake.
pub struct Reader<'a> {
    intake: &'a mut Intake,
    used: usize,
    owner: u32,
}

impl<'a> Reader<'a> {
    /// Places that an intake needs for these keys.
    pub fn places_for(wanted: Wanted) -> usize {
        let keys = match wanted {
            Wanted::These(keys) => keys.len(),
            Wanted::All => MOST_KEYS,
        };
        keys * (MOST_GENERATIONS + 1)
    }

    /// A reader that trusts only files of the user `owner`.
    pub fn new(intake: &'a mut Intake, owner: u32) -> Reader<'a> {
        Reader {
            intake,
            used: 0,
            owner,
        }
    }

    /// Reads what the store mounted at `top` holds of the `wanted` keys.
    ///
    /// # Errors
    /// The store itself cannot be read. What is wrong with one file or directory in it is told
    /// instead: where a write was cut, a name may be there before what it names.
    pub fn store(&mut self, top: &Path, wanted: Wanted) -> io::Result<Told> {
        let top = open_directory(AT_FDCWD, top)?;
        let mut told = Told::default();
        let own = match open_directory(&top, Path::new(layout::DIRECTORY)) {
            Ok(own) => Some(own),
            Err(e) => {
                told.formatted = e.kind() != io::ErrorKind::NotFound;
                told.state = told.formatted.then(|| Err(unreadable(&e)));
                None
            }
        };
        let keys = match wanted {
            Wanted::These(keys) => keys.to_vec(),
            Wanted::All => all_keys(&top, own.as_ref(), &mut told.strays)?,
        };
        for key in &keys {
            self.copy(&top, key, None, &mut told)?;
            if let Some(own) = &own {
                self.generations(own, key, &mut told)?;
            }
        }
        // Whoever wants a few keys hears of these and no others.
        if let Wanted::These(_) = wanted {
            told.strays.clear();
        }
        if let Some(own) = own {
            told.formatted = true;
            told.state = state_file(&own)?.map(|state| state.map(Bytes));
        }
        Ok(told)
    }

    fn generations(&mut self, own: &OwnedFd, key: &KeyName, told: &mut Told) -> io::Result<()> {
        let listed = open_directory(own, Path::new(key.as_str()))
            .and_then(|directory| Ok((names_in(&directory)?, directory)));
        let (names, directory) = match listed {
            Ok(listed) => listed,
            Err(e) => {
                match e.kind() {
                    io::ErrorKind::NotFound => {}
                    io::ErrorKind::NotADirectory => told.strays.push(layout::generations(key)),
                    _ => told.files.push(ToldFile {
                        key: key.clone(),
                        generation: Some(String::new()),
                        content: Err(unreadable(&e)),
                    }),
                }
                return Ok(());
            }
        };
        let mut generations = Vec::new();
        for name in names {
            match layout::parse_generation(&name) {
                Some(Place::Generation { number, .. }) => generations.push((number, name)),
                _ => told
                    .strays
                    .push(layout::join(&layout::generations(key), &name)),
            }
        }
        // The newest first: should there ever be more than are read, those count.
        sorted::sort_by_key(&mut generations, |(number, _)| std::cmp::Reverse(*number));
        generations.truncate(MOST_GENERATIONS);
        for (_, name) in generations {
            self.copy(&directory, key, Some(name), told)?;
        }
        Ok(())
    }

    /// Reads the file of a generation, or the copy at the top, if it is there.
    fn copy(
        &mut self,
        directory: &OwnedFd,
        key: &KeyName,
        generation: Option<String>,
        told: &mut Told,
    ) -> io::Result<()> {
        let top = layout::top_path(key);
        let name = generation.as_deref().unwrap_or(&top);
        if let Some(content) = self.key_file(directory, name)? {
            told.files.push(ToldFile {
                key: key.clone(),
                generation,
                content,
            });
        }
        Ok(())
    }

    /// Reads one key file; `None` when it is not there. What is wrong with it is its own fault
    /// alone, so it is told and not raised.
    fn key_file(
        &mut self,
        directory: &OwnedFd,
        name: &str,
    ) -> io::Result<Option<Result<usize, String>>> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let file = match openat(directory, name, flags | OFlag::O_CLOEXEC, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(nix::Error::ENOENT) => return Ok(None),
            Err(nix::Error::ELOOP | nix::Error::EMLINK) => {
                return Ok(Some(Err("is a symbolic link, not a key".to_owned())));
            }
            Err(e) => return Ok(Some(Err(unreadable(&e)))),
        };
        if let Err(what) = fstat(&file)
            .map_err(|e| e.to_string())
            .and_then(|s| suspicious(&s, self.owner))
        {
            return Ok(Some(Err(what)));
        }
        let index = self.used;
        let place = self.intake.place(index).ok_or(io::ErrorKind::OutOfMemory)?;
        self.used += 1;
        Ok(Some(
            match (&file)
                .read_exact(place)
                .and_then(|()| (&file).read(&mut [0]))
            {
                Ok(0) => Ok(index),
                Ok(_) => Err(format!("is longer than {KEY_LEN} bytes")),
                Err(e) => Err(unreadable(&e)),
            },
        ))
    }
}

/// Every key that has a file at the top or a directory of generations; the paths of all else that
/// lies where only keys belong are `strays`.
fn all_keys(
    top: &OwnedFd,
    own: Option<&OwnedFd>,
    strays: &mut Vec<String>,
) -> io::Result<Vec<KeyName>> {
    let mut keys = Set::new();
    for name in names_in(top)? {
        match layout::parse_top(&name) {
            Some(key) => drop(keys.insert(key)),
            // `lost+found` and whatever a person keeps on the stick is no business of ours.
            None if layout::is_temporary(&name) || name.ends_with(layout::SUFFIX) => {
                strays.push(name);
            }
            None => {}
        }
    }
    for name in own.map(names_in).transpose()?.unwrap_or_default() {
        match name.parse::<KeyName>() {
            Ok(key) => drop(keys.insert(key)),
            Err(_) if layout::is_own(&name) => {}
            Err(_) => strays.push(layout::join(layout::DIRECTORY, &name)),
        }
    }
    Ok(keys.into_iter().collect())
}

fn unreadable(why: &dyn std::fmt::Display) -> String {
    format!("cannot be read: {why}")
}

fn names_in(directory: &OwnedFd) -> io::Result<Vec<String>> {
    // A handle of its own: reading a directory moves the position that handles share.
    let list = open_directory(directory, Path::new("."))?;
    let mut names = Vec::new();
    for entry in Dir::from_fd(list)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name != "." && name != ".." {
            names.push(name);
        }
    }
    sorted::sort(&mut names);
    Ok(names)
}

fn open_directory(at: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(openat(at, path, flags, Mode::empty())?)
}

/// What makes an opened file unfit to be a key.
fn suspicious(about: &FileStat, owner: u32) -> Result<(), String> {
    let kind = SFlag::from_bits_truncate(about.st_mode) & SFlag::S_IFMT;
    if kind != SFlag::S_IFREG {
        return Err("is not a regular file".to_owned());
    }
    if about.st_uid != owner {
        return Err(format!(
            "belongs to user {}, not to user {owner}; `chown` it",
            about.st_uid
        ));
    }
    if about.st_mode & 0o077 != 0 {
        return Err(format!(
            "may be read by others (mode {:04o}); `chmod 400` it",
            about.st_mode & 0o7777
        ));
    }
    if about.st_size != KEY_LEN as i64 {
        return Err(format!(
            "is {} bytes long; a key has {KEY_LEN}",
            about.st_size
        ));
    }
    Ok(())
}

fn state_file(own: &OwnedFd) -> io::Result<Option<Result<Vec<u8>, String>>> {
    let name = Path::new(layout::STATE)
        .file_name()
        .ok_or(io::ErrorKind::InvalidInput)?;
    match fstatat(own, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Err(nix::Error::ENOENT) => return Ok(None),
        Err(e) => return Ok(Some(Err(unreadable(&e)))),
        Ok(_) => {}
    }
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let read = openat(own, name, flags, Mode::empty())
        .map_err(io::Error::from)
        .and_then(|file| {
            // Room for most of them at once.
            let mut bytes = Vec::with_capacity(1 << 12);
            File::from(file)
                .take(LARGEST_STATE)
                .read_to_end(&mut bytes)?;
            Ok(bytes)
        });
    Ok(Some(read.map_err(|e| unreadable(&e))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Fingerprint;
    use crate::os::worker;
    use crate::time::{Deadline, SystemClock};
    use nix::unistd::{geteuid, mkfifo};
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::PathBuf;
    use std::time::Duration;

    struct Store(PathBuf);

    impl Store {
        fn new(name: &str) -> Store {
            let path = std::env::temp_dir().join(format!("f3skeys-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(path.join(".f3skeys/f0:z")).unwrap();
            Store(path)
        }

        fn put(&self, path: &str, bytes: &[u8], mode: u32) {
            let path = self.0.join(path);
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }

        fn read(&self) -> Reading {
            let mut intake = Intake::new(Reader::places_for(Wanted::These(&[key()]))).unwrap();
            let told = Reader::new(&mut intake, geteuid().as_raw())
                .store(&self.0, Wanted::These(&[key()]))
                .unwrap();
            told.into_reading(&mut intake).unwrap()
        }

        /// What is wrong with the copy at the top; empty when nothing is.
        fn top(&self) -> String {
            let files = self.read().files;
            let top = files.iter().find(|file| file.place == Place::Top).unwrap();
            top.content.as_ref().err().cloned().unwrap_or_default()
        }
    }

    impl Drop for Store {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn key() -> KeyName {
        "f0:z".parse().unwrap()
    }

    #[test]
    fn both_layouts_are_read_and_strangers_are_not() {
        let store = Store::new("read-both");
        let fingerprint = Fingerprint::of(&[7; KEY_LEN]);
        store.put("f0:z.key", &[7; KEY_LEN], 0o400);
        store.put(
            &layout::generation_path(&key(), 3, fingerprint),
            &[7; KEY_LEN],
            0o400,
        );
        store.put(".f3skeys/f0:z/notes.txt", b"hello", 0o600);
        store.put("f9:other.key", &[9; KEY_LEN], 0o400);
        store.put(layout::STATE, b"anything", 0o600);
        let reading = store.read();
        assert_eq!(reading.files.len(), 2);
        for file in &reading.files {
            assert_eq!(file.content.as_ref().unwrap().fingerprint(), fingerprint);
        }
        assert_eq!(reading.state, Some(Ok(b"anything".to_vec())));
    }

    /// Every file that is read of this store, and whether it is whole: by `nobody` where root
    /// runs this, since whatever root opens it may read.
    fn read_by_nobody(store: &Store, wanted: Wanted) -> Vec<String> {
        use nix::unistd::{Uid, chown, setuid};
        let mut reader = geteuid();
        if reader.is_root() {
            reader = Uid::from_raw(65534);
            for path in walk(&store.0) {
                chown(&path, Some(reader), None).unwrap();
            }
        }
        let clock = SystemClock::start();
        let deadline = Deadline::after(&clock, Duration::from_secs(20));
        let read = worker::run("reading", &clock, deadline, || {
            setuid(reader).unwrap();
            let mut intake = Intake::new(Reader::places_for(wanted)).unwrap();
            let told = Reader::new(&mut intake, reader.as_raw()).store(&store.0, wanted);
            let reading = told.unwrap().into_reading(&mut intake).unwrap();
            let line = |file: &KeyFile| match &file.content {
                Ok(_) => format!("{} whole", file.place.path(&file.key)),
                Err(why) => format!("{} {why}", file.place.path(&file.key)),
            };
            let mut lines: Vec<String> = reading.files.iter().map(line).collect();
            lines.extend(
                reading
                    .state
                    .map(|state| format!("state {}", state.is_ok())),
            );
            assert!(reading.formatted);
            lines
        });
        read.unwrap()
    }

    fn walk(top: &Path) -> Vec<PathBuf> {
        let mut paths = vec![top.to_owned()];
        if top.is_dir() {
            let entries = fs::read_dir(top).unwrap();
            paths.extend(entries.flat_map(|entry| walk(&entry.unwrap().path())));
        }
        paths
    }

    #[test]
    fn a_directory_that_cannot_be_read_is_damage_of_its_own_key_alone() {
        let other: KeyName = "f0:a".parse().unwrap();
        let both = [other.clone(), key()];
        let fingerprint = Fingerprint::of(&[7; KEY_LEN]);
        let generation = |key: &KeyName| layout::generation_path(key, 1, fingerprint);
        for wanted in [Wanted::All, Wanted::These(&both)] {
            let store = Store::new("read-spoilt");
            fs::create_dir(store.0.join(layout::generations(&other))).unwrap();
            for key in &both {
                store.put(&layout::top_path(key), &[7; KEY_LEN], 0o400);
                store.put(&generation(key), &[7; KEY_LEN], 0o400);
            }
            store.put(layout::STATE, b"anything", 0o600);
            let spoil = |path: &str, mode: u32| {
                let mode = fs::Permissions::from_mode(mode);
                fs::set_permissions(store.0.join(path), mode).unwrap();
            };
            let whole = |path: String| format!("{path} whole");
            let of_other = [whole(layout::top_path(&other)), whole(generation(&other))];
            let top = whole(layout::top_path(&key()));
            let denied = "cannot be read: Permission denied (os error 13)";

            spoil(".f3skeys/f0:z", 0);
            let lines = read_by_nobody(&store, wanted);
            let spoilt = format!(".f3skeys/f0:z {denied}");
            let state = "state true".to_owned();
            assert_eq!(
                lines,
                [&of_other[..], &[top.clone(), spoilt, state]].concat()
            );

            spoil(".f3skeys/f0:z", 0o700);
            spoil(".f3skeys", 0);
            let lines = read_by_nobody(&store, wanted);
            assert_eq!(lines, [of_other[0].clone(), top, "state false".to_owned()]);
            spoil(".f3skeys", 0o700);
        }
    }

    #[test]
    fn every_byte_of_a_state_file_is_told_as_it_is() {
        let all: Vec<u8> = (0..=255).collect();
        let text = serde_json::to_string(&Bytes(all.clone())).unwrap();
        let told: Bytes = serde_json::from_str(&text).unwrap();
        assert_eq!(told.0, all);
        assert!(serde_json::from_str::<Bytes>("\"\u{100}\"").is_err());
    }

    #[test]
    fn a_plain_store_has_no_state() {
        let store = Store::new("read-plain");
        fs::remove_dir_all(store.0.join(".f3skeys")).unwrap();
        store.put("f0:z.key", &[7; KEY_LEN], 0o400);
        let reading = store.read();
        assert_eq!((reading.files.len(), reading.state), (1, None));
    }

    #[test]
    fn every_length_but_32_is_refused_by_its_number() {
        let store = Store::new("read-length");
        for length in 0..=64 {
            store.put("f0:z.key", &vec![1; length], 0o600);
            let expected = match length {
                KEY_LEN => String::new(),
                _ => format!("is {length} bytes long; a key has 32"),
            };
            assert_eq!(store.top(), expected);
        }
    }

    #[test]
    fn files_that_others_may_read_are_refused() {
        let store = Store::new("read-mode");
        for mode in 0..0o1000 {
            store.put("f0:z.key", &[1; KEY_LEN], 0o600);
            store.put("f0:z.key", &[1; KEY_LEN], mode);
            if geteuid().is_root() || mode & 0o400 != 0 {
                assert_eq!(store.top().is_empty(), mode & 0o077 == 0, "{mode:o}");
            }
            fs::remove_file(store.0.join("f0:z.key")).unwrap();
        }
    }

    #[test]
    fn links_pipes_and_directories_are_refused_without_waiting() {
        let store = Store::new("read-kinds");
        let top = store.0.join("f0:z.key");
        store.put("real", &[1; KEY_LEN], 0o400);
        symlink(store.0.join("real"), &top).unwrap();
        assert!(store.top().contains("symbolic link"));
        fs::remove_file(&top).unwrap();
        mkfifo(&top, Mode::S_IRUSR).unwrap();
        assert!(store.top().contains("not a regular file"));
        fs::remove_file(&top).unwrap();
        fs::create_dir(&top).unwrap();
        assert!(store.top().contains("not a regular file"));
    }

    #[test]
    fn files_of_another_user_are_refused() {
        let store = Store::new("read-owner");
        store.put("f0:z.key", &[1; KEY_LEN], 0o400);
        let mut intake = Intake::new(Reader::places_for(Wanted::These(&[key()]))).unwrap();
        let stranger = geteuid().as_raw() + 1;
        let told = Reader::new(&mut intake, stranger)
            .store(&store.0, Wanted::These(&[key()]))
            .unwrap();
        let reading = told.into_reading(&mut intake).unwrap();
        let why = reading.files[0].content.as_ref().unwrap_err();
        assert!(why.contains("belongs to user"), "{why}");
    }

    #[test]
    fn more_generations_than_are_read_leave_the_newest() {
        let store = Store::new("read-many");
        for number in 1..=72_u32 {
            let bytes = [u8::try_from(number).unwrap(); KEY_LEN];
            let path = layout::generation_path(&key(), number, Fingerprint::of(&bytes));
            store.put(&path, &bytes, 0o400);
        }
        let numbers: Vec<u32> = store
            .read()
            .files
            .iter()
            .filter_map(|file| match file.place {
                Place::Generation { number, .. } => Some(number),
                _ => None,
            })
            .collect();
        assert_eq!(numbers, (9..=72).rev().collect::<Vec<u32>>());
    }
}
