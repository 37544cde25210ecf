//! The files of a simulated store that is being written. Power can fail at every step: then all
//! that was synced is there, and of the rest any part.

use f3skeys::store::layout;
use f3skeys::writer::Medium;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// Files by their paths from the top.
pub type Files = BTreeMap<String, Vec<u8>>;

/// What goes wrong, and at which step: the first is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Power fails in the middle of this step; of a file that is being made, this many bytes get
    /// there.
    CutAt(usize, usize),
    /// The stick is full at this step alone.
    FullAt(usize),
    /// The stick is gone from this step on.
    GoneFrom(usize),
}

/// A change of a directory that is not durable yet.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Pending {
    Put(String, Vec<u8>),
    Remove(String),
    MakeDirectory(String),
}

impl Pending {
    fn path(&self) -> &str {
        match self {
            Pending::Put(path, _) | Pending::Remove(path) | Pending::MakeDirectory(path) => path,
        }
    }
}

/// What is on the medium, or seems to be.
#[derive(Debug, Clone, Default)]
struct Tree {
    files: Files,
    directories: BTreeSet<String>,
}

impl Tree {
    fn apply(&mut self, change: &Pending) {
        // What is put into a directory that never came to be is nowhere.
        let (directory, _) = layout::split(change.path());
        if !directory.is_empty() && !self.directories.contains(directory) {
            return;
        }
        match change {
            Pending::Put(path, bytes) => drop(self.files.insert(path.clone(), bytes.clone())),
            Pending::Remove(path) => drop(self.files.remove(path)),
            Pending::MakeDirectory(path) => drop(self.directories.insert(path.clone())),
        }
    }
}

/// A store that is mounted for writing.
pub struct SimMedium {
    durable: Tree,
    pending: Vec<Pending>,
    seen: Tree,
    fault: Option<Fault>,
    /// Directories that were made and not synced themselves.
    unsynced: BTreeSet<String>,
    /// How many steps were made.
    pub steps: usize,
    cut: bool,
}

impl SimMedium {
    pub fn new(files: &Files, fault: Option<Fault>) -> SimMedium {
        let mut directories = BTreeSet::new();
        for path in files.keys() {
            let mut directory = layout::split(path).0;
            while !directory.is_empty() {
                directories.insert(directory.to_owned());
                directory = layout::split(directory).0;
            }
        }
        let durable = Tree {
            files: files.clone(),
            directories,
        };
        SimMedium {
            seen: durable.clone(),
            durable,
            pending: Vec::new(),
            unsynced: BTreeSet::new(),
            fault,
            steps: 0,
            cut: false,
        }
    }

    /// All files, once it is unmounted in peace.
    pub fn files(self) -> Files {
        self.seen.files
    }

    /// The files that are there for certain after a power cut: what was not made durable is lost.
    pub fn durable_files(self) -> Files {
        self.durable.files
    }

    /// Every set of files that may be found after a power cut, and whether there is a directory of
    /// format 1.
    pub fn after_cut(&self) -> Vec<(Files, bool)> {
        let count = 1_usize << self.pending.len();
        (0..count)
            .map(|subset| {
                let mut tree = self.durable.clone();
                for (index, change) in self.pending.iter().enumerate() {
                    if subset >> index & 1 == 1 {
                        tree.apply(change);
                    }
                }
                let formatted = tree.directories.contains(layout::DIRECTORY);
                (tree.files, formatted)
            })
            .collect()
    }

    /// Whether the step that begins now may be made; gives the bytes that get through otherwise.
    fn step(&mut self) -> Result<(), (usize, io::Error)> {
        let now = self.steps;
        self.steps += 1;
        if self.cut {
            return Err((0, io::Error::other("the power is off")));
        }
        match self.fault {
            Some(Fault::CutAt(step, torn)) if step == now => {
                self.cut = true;
                Err((torn, io::Error::other("the power is off")))
            }
            Some(Fault::FullAt(step)) if step == now => Err((7, io::ErrorKind::StorageFull.into())),
            Some(Fault::GoneFrom(step)) if step <= now => {
                Err((0, io::Error::other("no such device")))
            }
            _ => Ok(()),
        }
    }

    fn change(&mut self, change: Pending) {
        self.seen.apply(&change);
        self.pending.push(change);
    }
}

impl Medium for SimMedium {
    fn exists(&mut self, path: &str) -> io::Result<bool> {
        if matches!(self.fault, Some(Fault::GoneFrom(step)) if step <= self.steps) {
            return Err(io::Error::other("no such device"));
        }
        Ok(self.seen.files.contains_key(path) || self.seen.directories.contains(path))
    }

    fn make_directory(&mut self, path: &str) -> io::Result<()> {
        self.step().map_err(|(_, e)| e)?;
        self.change(Pending::MakeDirectory(path.to_owned()));
        self.unsynced.insert(path.to_owned());
        Ok(())
    }

    fn create(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        assert!(!self.seen.files.contains_key(path), "{path} is there");
        let outcome = self.step();
        let through = match &outcome {
            Ok(()) => bytes.len(),
            Err((through, _)) => (*through).min(bytes.len()),
        };
        self.change(Pending::Put(path.to_owned(), bytes[..through].to_vec()));
        outcome.map_err(|(_, e)| e)
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.step().map_err(|(_, e)| e)?;
        let bytes = self.seen.files.get(from).cloned();
        let bytes = bytes.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        self.change(Pending::Put(to.to_owned(), bytes));
        self.change(Pending::Remove(from.to_owned()));
        Ok(())
    }

    fn sync(&mut self, directory: &str) -> io::Result<()> {
        self.step().map_err(|(_, e)| e)?;
        let (now, later): (Vec<_>, Vec<_>) = self
            .pending
            .drain(..)
            .partition(|change| layout::split(change.path()).0 == directory);
        self.unsynced.remove(directory);
        for change in &now {
            // The name would lead to whatever the inode held before; no `fsck -p` mends that.
            let path = change.path();
            assert!(
                !self.unsynced.contains(path),
                "{path}: its name is durable before itself"
            );
            self.durable.apply(change);
        }
        self.pending = later;
        Ok(())
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        self.step().map_err(|(_, e)| e)?;
        self.change(Pending::Remove(path.to_owned()));
        Ok(())
    }

    fn discard(&mut self, temporary: &str) {
        if !self.cut && self.seen.files.contains_key(temporary) {
            self.change(Pending::Remove(temporary.to_owned()));
        }
    }
}
