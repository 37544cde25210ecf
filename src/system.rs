//! The seams to the machine: its clock, its live state, and its key devices. Each has one real
//! implementation here and one simulated for tests and the demo.

use crate::device::{self, Candidate, Filesystem};
use crate::gate::{Live, Questions};
use crate::key::KEY_LEN;
use crate::names::{DatasetName, KeyName};
use crate::os::{self, Disk, Intake, Mount, PoolState, worker};
use crate::store::layout::{self, Place};
use crate::store::{KeyFile, Reading};
use crate::time::{Clock, Deadline, SystemClock};
use crate::trouble::Trouble;
use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The machine that the program runs on.
pub trait System {
    /// The clock that all deadlines are on.
    fn clock(&self) -> &dyn Clock;
    /// This boot's identity; `None` while there is none.
    fn boot_id(&self) -> Option<String>;
    /// The state of a pool, without asking the pool.
    fn pool_state(&self, pool: &str) -> PoolState;
    /// Looks at mounts and files as they are now.
    ///
    /// # Errors
    /// Something hung or the kernel did not say.
    fn look(&self, questions: &Questions, deadline: Deadline) -> Result<Live, Trouble>;
}

/// Disks that may hold a key store, and the way to read one.
pub trait KeyDevices {
    /// The disks that are there now.
    ///
    /// # Errors
    /// The kernel did not say.
    fn scan(&self, deadline: Deadline) -> Result<Vec<Candidate>, Trouble>;

    /// Mounts the store read-only at `at` (or uses it where a person has mounted it), reads the
    /// files of the keys in `wanted`, each once, and unmounts what it mounted.
    ///
    /// # Errors
    /// The store could not be mounted or read in time.
    fn read(
        &self,
        device: &Candidate,
        filesystem: &Filesystem,
        at: &Path,
        wanted: &[KeyName],
        deadline: Deadline,
    ) -> Result<Reading, Trouble>;
}

/// The real machine.
pub struct Machine {
    clock: SystemClock,
}

impl Machine {
    /// The machine, its clock beginning now.
    pub fn new() -> Machine {
        Machine {
            clock: SystemClock::start(),
        }
    }
}

impl Default for Machine {
    fn default() -> Self {
        Machine::new()
    }
}

impl System for Machine {
    fn clock(&self) -> &dyn Clock {
        &self.clock
    }

    fn boot_id(&self) -> Option<String> {
        os::boot_id()
    }

    fn pool_state(&self, pool: &str) -> PoolState {
        os::pool_state(pool)
    }

    fn look(&self, questions: &Questions, deadline: Deadline) -> Result<Live, Trouble> {
        let what = "looking at the mounts";
        worker::run(what, &self.clock, deadline, || {
            look_now(questions).map_err(|e| e.to_string())
        })?
        .map_err(|why| Trouble::failed(what, &why))
    }
}

fn look_now(questions: &Questions) -> io::Result<Live> {
    let mut live = Live::default();
    let mounts = os::mounts()?;
    for dataset in &questions.datasets {
        live.mounted_at
            .insert(dataset.clone(), places_of(dataset, &mounts));
    }
    let found = live.mounted_at.values().flatten();
    for path in questions.paths.iter().chain(found) {
        let answer = os::covering(path).map_err(|e| e.to_string());
        live.covering.insert(path.clone(), answer);
    }
    for path in &questions.files {
        let answer = path.try_exists().map_err(|e| e.to_string());
        live.files.insert(path.clone(), answer);
    }
    Ok(live)
}

fn places_of(dataset: &DatasetName, mounts: &[Mount]) -> Vec<PathBuf> {
    mounts
        .iter()
        .filter(|mount| mount.fstype == "zfs" && mount.source == dataset.as_str())
        .map(|mount| mount.at.clone())
        .collect()
}

/// The USB disks of the real machine.
pub struct UsbDisks<'a> {
    clock: &'a dyn Clock,
    /// Where a mount of ours is remembered, for systems where it outlives a killed run.
    note: PathBuf,
    boot_id: Option<String>,
    /// Disks that were looked at, so that a poll does not read them again.
    known: RefCell<BTreeMap<Disk, Candidate>>,
}

/// Generations of one key that are read at the most. A key is rotated a few times in its life.
const MOST_GENERATIONS: usize = 32;
/// The largest state file that is read, in bytes.
const LARGEST_STATE: u64 = 1 << 20;

impl<'a> UsbDisks<'a> {
    /// The disks, with `run` as the directory for the note of a mount.
    pub fn new(clock: &'a dyn Clock, db: &Path, boot_id: Option<String>) -> UsbDisks<'a> {
        UsbDisks {
            clock,
            note: db.join("store-mounted"),
            boot_id,
            known: RefCell::new(BTreeMap::new()),
        }
    }

    fn describe(&self, disk: &Disk, deadline: Deadline) -> Option<Candidate> {
        // A disk that does not answer is not the key device now; the next poll asks again.
        worker::run("a USB disk", self.clock, deadline, || describe(&disk.node))
            .ok()
            .flatten()
    }
}

impl KeyDevices for UsbDisks<'_> {
    fn scan(&self, deadline: Deadline) -> Result<Vec<Candidate>, Trouble> {
        let disks =
            os::disks().map_err(|e| Trouble::failed("listing USB disks", &e.to_string()))?;
        let mut known = self.known.borrow_mut();
        known.retain(|disk, _| disks.contains(disk));
        for disk in disks {
            if !known.contains_key(&disk)
                && let Some(candidate) = self.describe(&disk, deadline)
            {
                known.insert(disk, candidate);
            }
        }
        Ok(known.values().cloned().collect())
    }

    fn read(
        &self,
        device: &Candidate,
        filesystem: &Filesystem,
        at: &Path,
        wanted: &[KeyName],
        deadline: Deadline,
    ) -> Result<Reading, Trouble> {
        let what = format!("reading the key store on {}", device.node.display());
        let failed = |e: io::Error| Trouble::failed(&what, &e.to_string());
        let mut intake = Intake::new(wanted.len() * (MOST_GENERATIONS + 1)).map_err(failed)?;
        let note = Note {
            path: &self.note,
            boot_id: self.boot_id.as_deref(),
        };
        let read = worker::run(&what, self.clock, deadline, || {
            read_mounted(device, filesystem, at, &note, |top| {
                Reader {
                    intake: &mut intake,
                    used: 0,
                }
                .store(top, wanted)
            })
            .map_err(|e| e.to_string())
        })?
        .map_err(|why| Trouble::failed(&what, &why))?;
        read.into_reading(&mut intake).map_err(failed)
    }
}

fn describe(node: &Path) -> Option<Candidate> {
    let mut head = vec![0; device::HEAD_LEN];
    let mut filled = 0;
    let mut disk = File::open(node).ok()?;
    while filled < head.len() {
        match disk.read(&mut head[filled..]).ok()? {
            0 => break,
            n => filled += n,
        }
    }
    Some(Candidate {
        node: node.to_owned(),
        serial: os::serial(node).ok()?,
        filesystems: device::identify(&head[..filled]),
    })
}

/// What the reading worker tells: everything but the key bytes, which are in the intake.
#[derive(Serialize, Deserialize)]
struct Told {
    files: Vec<ToldFile>,
    state: Option<Result<Vec<u8>, String>>,
    notes: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct ToldFile {
    key: KeyName,
    /// Number and full fingerprint of a generation's file; `None` for the copy at the top.
    generation: Option<(u32, crate::key::Fingerprint)>,
    /// The place in the intake.
    content: Result<usize, String>,
}

impl Told {
    fn into_reading(self, intake: &mut Intake) -> io::Result<Reading> {
        let mut files = Vec::new();
        for file in self.files {
            let content = match file.content {
                Ok(place) => Ok(intake.take(place)?),
                Err(why) => Err(why),
            };
            let place = match file.generation {
                Some((number, fingerprint)) => Place::Generation {
                    number,
                    fingerprint,
                },
                None => Place::Top,
            };
            files.push(KeyFile {
                key: file.key,
                place,
                content,
            });
        }
        Ok(Reading {
            files,
            state: self.state,
            notes: self.notes,
        })
    }
}

/// The note that a mount at the store's mountpoint is ours. Only FreeBSD needs it: on Linux the
/// mount is in a namespace of its own and goes with the worker.
struct Note<'a> {
    path: &'a Path,
    boot_id: Option<&'a str>,
}

impl Note<'_> {
    fn text(&self, node: &Path) -> String {
        format!(
            "{}\n{}\n",
            self.boot_id.unwrap_or("unknown"),
            node.display()
        )
    }

    /// Whether a run of this boot left this mount behind. Without a boot's identity nobody knows.
    /// A person mounts a store to write on it; ours are read-only.
    fn is_ours(&self, mount: &Mount, node: &Path) -> bool {
        let text = fs::read_to_string(self.path).unwrap_or_default();
        self.boot_id.is_some() && mount.read_only && text == self.text(node)
    }

    fn write(&self, node: &Path) -> io::Result<()> {
        if !os::MOUNTS_OUTLIVE_US {
            return Ok(());
        }
        crate::marker::make_directory(self.path.parent().unwrap_or(self.path))?;
        fs::write(self.path, self.text(node))
    }

    fn remove(&self) -> io::Result<()> {
        optional(fs::remove_file(self.path)).map(|_| ())
    }
}

fn read_mounted(
    device: &Candidate,
    filesystem: &Filesystem,
    at: &Path,
    note: &Note,
    read: impl FnOnce(&Path) -> io::Result<Told>,
) -> io::Result<Told> {
    let label = filesystem.label.as_deref();
    let mounts = os::mounts()?;
    let mounted = mounts
        .iter()
        .find(|mount| os::source_is_device(mount, &device.node, label));
    let mut notes = Vec::new();
    match mounted {
        Some(mount) if mount.at == at && note.is_ours(mount, &device.node) => {
            os::unmount_store(at)?;
            notes.push(format!(
                "unmounted {}, which a killed run had left",
                at.display()
            ));
        }
        Some(mount) => {
            let mut told = read(&mount.at)?;
            told.notes.push(format!(
                "the store was mounted on {} already; used as it is, and left so",
                mount.at.display()
            ));
            return Ok(told);
        }
        None => {}
    }
    if mounted.is_none()
        && let Some(other) = mounts.iter().rev().find(|mount| mount.at == at)
    {
        return Err(io::Error::other(format!(
            "{} is in use by {}; unmount that first",
            at.display(),
            other.source
        )));
    }
    os::detach_mounts()?;
    if !at.is_dir() {
        fs::create_dir_all(at)?;
    }
    note.write(&device.node)?;
    os::mount_store(&device.node, filesystem, at)?;
    let told = read(at);
    os::unmount_store(at)?;
    note.remove()?;
    told.map(|mut told| {
        told.notes.append(&mut notes);
        told
    })
}

/// Reads a store's files into the intake, each once, trusting none of them.
struct Reader<'a> {
    intake: &'a mut Intake,
    used: usize,
}

impl Reader<'_> {
    fn store(&mut self, top: &Path, wanted: &[KeyName]) -> io::Result<Told> {
        let top = open_directory(nix::fcntl::AT_FDCWD, top)?;
        let own = optional(open_directory(&top, Path::new(layout::DIRECTORY)))?;
        let mut files = Vec::new();
        for key in wanted {
            let name = layout::top_path(key);
            if let Some(content) = self.key_file(&top, &name)? {
                files.push(ToldFile {
                    key: key.clone(),
                    generation: None,
                    content,
                });
            }
            if let Some(own) = &own {
                self.generations(own, key, &mut files)?;
            }
        }
        let state = match own {
            Some(own) => state_file(&own)?,
            None => None,
        };
        Ok(Told {
            files,
            state,
            notes: Vec::new(),
        })
    }

    fn generations(
        &mut self,
        own: &OwnedFd,
        key: &KeyName,
        files: &mut Vec<ToldFile>,
    ) -> io::Result<()> {
        let Some(directory) = optional(open_directory(own, Path::new(key.as_str())))? else {
            return Ok(());
        };
        let mut names = Vec::new();
        let list = directory.try_clone()?;
        for entry in Dir::from_fd(list)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if let Some(Place::Generation {
                number,
                fingerprint,
            }) = layout::parse_generation(&name)
            {
                names.push((number, fingerprint, name));
            }
        }
        // The newest first: should there ever be more than are read, those count.
        names.sort_by_key(|(number, ..)| std::cmp::Reverse(*number));
        names.truncate(MOST_GENERATIONS);
        for (number, fingerprint, name) in names {
            if let Some(content) = self.key_file(&directory, &name)? {
                files.push(ToldFile {
                    key: key.clone(),
                    generation: Some((number, fingerprint)),
                    content,
                });
            }
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
            Err(e) => return Ok(Some(Err(format!("cannot be read: {e}")))),
        };
        if let Err(what) = fstat(&file)
            .map_err(|e| e.to_string())
            .and_then(|s| suspicious(&s))
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
                Err(e) => Err(format!("cannot be read: {e}")),
            },
        ))
    }
}

fn open_directory(at: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(openat(at, path, flags, Mode::empty())?)
}

fn optional<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// What makes an opened file unfit to be a key.
fn suspicious(about: &FileStat) -> Result<(), String> {
    let kind = SFlag::from_bits_truncate(about.st_mode) & SFlag::S_IFMT;
    if kind != SFlag::S_IFREG {
        return Err("is not a regular file".to_owned());
    }
    if about.st_uid != 0 {
        return Err(format!("belongs to user {}, not to root", about.st_uid));
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
        Err(e) => return Ok(Some(Err(format!("cannot be read: {e}")))),
        Ok(_) => {}
    }
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let read = openat(own, name, flags, Mode::empty())
        .map_err(io::Error::from)
        .and_then(|file| {
            let mut bytes = Vec::new();
            File::from(file)
                .take(LARGEST_STATE)
                .read_to_end(&mut bytes)?;
            Ok(bytes)
        });
    Ok(Some(read.map_err(|e| format!("cannot be read: {e}"))))
}
