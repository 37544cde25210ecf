//! Keeps the audit logs beside the reports, and is the one place from which a store is worked on, so
//! that no change is forgotten. What persons do at this node is in one log, and what each peer asks for
//! in one of its own: no peer pushes anything out but its own lines. A log that cannot be written is
//! told and stops no person; a peer's change is not made then.

use super::{Begun, Chain, End, Event, Head, LOCAL, MOST_TURNED_AWAY, What, shortened};
use crate::device::{Candidate, Filesystem};
use crate::foreign;
use crate::marker;
use crate::names::NodeName;
use crate::os::Intake;
use crate::pass::Node;
use crate::report::{Finding, Severity};
use crate::store::work::{Work, Worked};
use crate::time::Deadline;
use crate::trouble::Trouble;
use nix::libc::O_NOFOLLOW;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The log that is written.
pub const LOG: &str = "audit.log";
/// The log before.
pub const OLD: &str = "audit.log.1";
/// How far they go.
pub const HEAD: &str = "audit.head";
/// A change of the store that is being made.
pub const BEGUN: &str = "audit.begun";
/// The directory of the logs of peers.
pub const OF_PEERS: &str = "peers";
/// Excludes other writers.
const LOCK: &str = "audit.lock";
/// The longest wait for another writer, who is done within moments.
const LOCK_WAIT: Duration = Duration::from_secs(2);
/// The size from which on a new log is begun, in bytes.
pub const LARGEST: usize = 1 << 20;
/// The most that is read of one file, in bytes.
const MOST_READ: u64 = 1 << 23;

/// The directory of what is kept of a peer, with its audit log.
pub fn of_peer(db: &Path, peer: &NodeName) -> PathBuf {
    db.join(OF_PEERS).join(peer.as_str())
}

/// Who has a store worked on, and by which verb.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    verb: &'a str,
    peer: Option<&'a NodeName>,
}

impl<'a> Caller<'a> {
    /// Somebody at this node.
    pub fn here(verb: &'a str) -> Caller<'a> {
        Caller { verb, peer: None }
    }

    /// A peer, by way of `receive`.
    pub fn peer(peer: &'a NodeName) -> Caller<'a> {
        Caller {
            verb: "receive",
            peer: Some(peer),
        }
    }

    fn by(self) -> &'a str {
        self.peer.map_or(LOCAL, NodeName::as_str)
    }

    fn directory(self, node: Node) -> PathBuf {
        match self.peer {
            Some(peer) => of_peer(node.db, peer),
            None => node.db.to_owned(),
        }
    }

    /// Has a piece of work done on a store ([`crate::system::KeyDevices::work`]) and writes down what
    /// came of it. Gives a warning as well when that could not be written.
    pub fn work(
        self,
        node: Node,
        store: (&Candidate, &Filesystem),
        at: &Path,
        work: &Work,
        deadline: Deadline,
    ) -> (Result<Worked, Trouble>, Option<Finding>) {
        self.take_in(node, store, at, (work, None), deadline)
    }

    /// As [`Caller::work`], with the keys that come with it.
    pub fn take_in(
        self,
        node: Node,
        (device, filesystem): (&Candidate, &Filesystem),
        at: &Path,
        (work, brought): (&Work, Option<&mut Intake>),
        deadline: Deadline,
    ) -> (Result<Worked, Trouble>, Option<Finding>) {
        let noted = self.with_log(node, |files| begin(files, &self.begun(node)));
        if let (Err(e), Some(_)) = (&noted, self.peer) {
            let log = self.directory(node).join(LOG);
            let what = format!("{e}; what cannot be written down is not done for a peer");
            return (
                Err(Trouble::failed(&log.display().to_string(), &what)),
                None,
            );
        }
        // For a person without the note only a cut is missed; that nothing can be written is told below.
        let devices = node.devices;
        let worked = devices.work(device, filesystem, at, work, brought, deadline);
        let unwritten = self.keep(node, &worked);
        if unwritten.is_none() {
            // One that stays says more than is so, and never less.
            let _ = self.with_log(node, |files| files.remove(BEGUN));
        }
        (worked, unwritten)
    }

    fn begun(self, node: Node) -> Begun {
        Begun {
            verb: self.verb.to_owned(),
            by: self.by().to_owned(),
            time: node.system.wall(),
        }
    }

    fn keep(self, node: Node, worked: &Result<Worked, Trouble>) -> Option<Finding> {
        let (store, what) = match worked {
            Ok(worked) if worked.did.is_empty() => return None,
            Ok(worked) => {
                let did = worked.did.iter().map(|did| foreign::line(&shortened(did)));
                let store = worked.store.as_deref().map(foreign::words);
                (store, What::Did(did.collect()))
            }
            Err(trouble) => {
                let why = foreign::words(&shortened(&trouble.to_string()));
                (None, What::Failed(why))
            }
        };
        self.write_down(node, store, what)
    }

    /// Writes down that a change was asked for and refused.
    pub fn refused(self, node: Node, why: &str) -> Option<Finding> {
        let why = foreign::words(&shortened(why));
        self.write_down(node, None, What::Refused(why))
    }

    fn write_down(self, node: Node, store: Option<String>, what: What) -> Option<Finding> {
        let (severity, words) = match &what {
            What::Did(did) => (Severity::Note, did.join("; ")),
            What::Failed(why) => (Severity::Failure, format!("failed: {why}")),
            What::Refused(why) => (Severity::Warning, format!("refused: {why}")),
            What::Found(found) => (Severity::Warning, found.clone()),
        };
        let line = match self.peer {
            None => format!("{}: key store: {words}", self.verb),
            Some(peer) => format!("{} from {peer}: key store: {words}", self.verb),
        };
        node.system.log(severity, &line);
        let event = Event {
            verb: self.verb.to_owned(),
            by: self.by().to_owned(),
            store,
            what,
        };
        let written = self.with_log(node, |files| write(files, event, node.system.wall()));
        written.err().map(|e| {
            let subject = self.directory(node).join(LOG).display().to_string();
            let what = format!("what was done is not in the audit log: {e}");
            let remedy = "make the directory writable for root; the work itself is as told";
            Finding::new(Severity::Warning, &subject, &what, remedy)
        })
    }

    fn with_log<T>(
        self,
        node: Node,
        job: impl FnOnce(&mut Directory) -> io::Result<T>,
    ) -> io::Result<T> {
        let directory = self.directory(node);
        marker::make_directory(&directory)?;
        let clock = node.system.clock();
        let Some(_lock) = marker::lock_file(&directory.join(LOCK), clock, LOCK_WAIT)? else {
            return Err(io::Error::other("another run keeps its lock"));
        };
        job(&mut Directory(directory))
    }
}

/// The files of a log. One real implementation, [`Directory`], and one simulated, which can be cut at
/// every step.
pub trait Files {
    /// All of a file; `None` when there is none.
    ///
    /// # Errors
    /// It could not be read, or is larger than it can be.
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>>;
    /// Writes at the end of a file, made when it is not there, and syncs it.
    ///
    /// # Errors
    /// The file system refused, or is full; then there may be a part of it.
    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Gives a file another name, replacing what had it, durably.
    ///
    /// # Errors
    /// The file system refused.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// Puts a file in place that is never seen half written.
    ///
    /// # Errors
    /// The file system refused; what was there before is still there then.
    fn replace(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Takes a file away, durably; one that is not there is no failure.
    ///
    /// # Errors
    /// The file system refused.
    fn remove(&mut self, name: &str) -> io::Result<()>;
}

/// The files of a log in a directory.
pub struct Directory(pub PathBuf);

impl Files for Directory {
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let mut options = File::options();
        let file = match options
            .read(true)
            .custom_flags(O_NOFOLLOW)
            .open(self.0.join(name))
        {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let mut bytes = Vec::new();
        let length = file.take(MOST_READ).read_to_end(&mut bytes)?;
        match u64::try_from(length) {
            Ok(length) if length < MOST_READ => Ok(Some(bytes)),
            _ => Err(io::Error::other(format!("{name} is too large to be ours"))),
        }
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.0.join(name);
        let is_new = !path.try_exists()?;
        let mut options = File::options();
        let options = options.append(true).create(true).mode(0o600);
        let mut file = options.custom_flags(O_NOFOLLOW).open(&path)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        match is_new {
            true => File::open(&self.0)?.sync_all(),
            false => Ok(()),
        }
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))?;
        File::open(&self.0)?.sync_all()
    }

    fn replace(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        marker::replace(&self.0.join(name), bytes)
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.0.join(name)) {
            Ok(()) => File::open(&self.0)?.sync_all(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e),
        }
    }
}

/// A log as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its lines, those of the old file first.
    pub chain: Chain,
    /// How its end and the head go together.
    pub end: End,
    /// How many of the lines are in the old file.
    old_lines: usize,
    /// The size of the file that is written, in bytes.
    size: usize,
    /// The number of the first entry of that file.
    begins: Option<u64>,
}

impl Seen {
    /// Where a line stands, in words; `prefix` is what the log's files are called by.
    pub fn place(&self, prefix: &str, line: usize) -> String {
        match line.checked_sub(self.old_lines) {
            None | Some(0) => format!("line {line} of {prefix}{OLD}"),
            Some(line) => format!("line {line} of {prefix}{LOG}"),
        }
    }
}

/// Reads and verifies a log; `None` when there never was one.
///
/// # Errors
/// A file of it could not be read.
pub fn read(files: &dyn Files) -> io::Result<Option<Seen>> {
    let head = files.read(HEAD)?;
    let old = files.read(OLD)?;
    let log = files.read(LOG)?;
    if head.is_none() && old.is_none() && log.is_none() {
        return Ok(None);
    }
    let head = head.map(|bytes| Head::parse(&bytes)).transpose();
    Ok(Some(seen(
        old.unwrap_or_default(),
        log.unwrap_or_default(),
        &head,
    )))
}

fn seen(mut old: Vec<u8>, log: Vec<u8>, head: &Result<Option<Head>, String>) -> Seen {
    let old_lines = old.iter().filter(|byte| **byte == b'\n').count();
    let (size, begins) = (log.len(), Chain::of(&log).oldest);
    old.extend(log);
    let chain = Chain::of(&old);
    Seen {
        end: chain.end(head),
        chain,
        old_lines,
        size,
        begins,
    }
}

/// The note of a run that was cut off while it worked on a store, or that is at work now.
///
/// # Errors
/// It could not be read.
pub fn begun(files: &dyn Files) -> io::Result<Option<Begun>> {
    Ok(files.read(BEGUN)?.map(|bytes| Begun::parse(&bytes)))
}

/// Notes that a store is about to be worked on, which only one run does at a time. What is left of one
/// that was cut off is written down first.
///
/// # Errors
/// A file could not be read or written.
pub fn begin(files: &mut dyn Files, now: &Begun) -> io::Result<()> {
    if let Some(left) = begun(files)? {
        write(files, left.cut_off(), now.time)?;
    }
    files.replace(BEGUN, &now.to_bytes()?)
}

/// Adds a line to the log. Each step may be the last one: what is then read is whole up to the line
/// before, or to this one.
///
/// # Errors
/// A file could not be read or written.
pub fn write(files: &mut dyn Files, event: Event, time: u64) -> io::Result<()> {
    let nothing = || seen(Vec::new(), Vec::new(), &Ok(None));
    let seen = read(files)?.unwrap_or_else(nothing);
    let Seen { chain, end, .. } = &seen;
    let is_refusal = !matches!(event.what, What::Did(_)) && event.by != LOCAL;
    if is_refusal && chain.turned_away >= MOST_TURNED_AWAY {
        return Ok(());
    }
    let (lines, mut head) = chain.next(end, event, time)?;
    if chain.lacks_end() {
        files.append(LOG, b"\n")?;
    }
    if let (End::Behind, Some(newest)) = (end, chain.newest) {
        // Or another cut would leave it two behind.
        files.replace(HEAD, &newest.head(chain.oldest.unwrap_or(1)).to_bytes()?)?;
    }
    if let (Some(begins), Some(newest), true) = (seen.begins, chain.newest, is_full(&seen)) {
        // Before the lines of the old file go: nothing then misses them.
        head.oldest = begins;
        files.replace(HEAD, &newest.head(begins).to_bytes()?)?;
        files.rename(LOG, OLD)?;
    }
    files.append(LOG, &lines)?;
    files.replace(HEAD, &head.to_bytes()?)
}

/// Whether a new file is to be begun. An end that does not fit is put down before anything goes.
fn is_full(seen: &Seen) -> bool {
    seen.size >= LARGEST && !matches!(seen.end, End::Wrong(_))
}
