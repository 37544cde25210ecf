//! USB disks: which are there, and mounting the one that is the key device, in a worker that can
//! be given up on.
//!
//! The store is mounted only while it is used; read-only, but for the verbs that write. On Linux nobody else sees the mount;
//! on FreeBSD a note remembers that it is ours, should the run be killed.

use crate::child::{self, Call};
use crate::device::{self, Candidate, Choice, Filesystem, Kind};
use crate::key::Key;
use crate::links;
use crate::marker;
use crate::names::KeyName;
use crate::os::worker::{self, Helper};
use crate::os::{self, Access, Disk, Intake, Mount};
use crate::reader::{Reader, Told};
use crate::shell::command;
use crate::sorted::{Map, Set};
use crate::store::work::{Work, Worked};
use crate::store::{self, Reading, Wanted};
use crate::system::KeyDevices;
use crate::time::{Clock, Deadline};
use crate::trouble::Trouble;
use crate::writer;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use serde::{Deserialize, Serialize};
use std::cell::{OnceCell, RefCell};
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// What a worker is called that looks at a disk.
const A_DISK: &str = "a USB disk";
/// Only root's own files count: this is the store of the machine.
const OWNER: u32 = 0;

/// The USB disks of the real machine.
pub struct UsbDisks<'a> {
    clock: &'a dyn Clock,
    /// Where a mount of ours is remembered, for systems where it outlives a killed run.
    note: PathBuf,
    boot_id: Option<String>,
    /// Disks that were looked at, so that a poll does not read them again.
    known: RefCell<Map<Disk, Candidate>>,
    /// The same of disks on other buses than USB.
    fixed: RefCell<Map<Disk, Candidate>>,
    /// Disks that did not answer in time.
    hanging: RefCell<Set<Disk>>,
    /// What will be read, if that was said.
    expected: RefCell<Option<Expected>>,
    /// Who looks at disks, and was not heard yet.
    begun: RefCell<Map<Disk, Look>>,
    /// Who looked at the last disk.
    ahead: RefCell<Option<Ahead>>,
    /// The device that is being formatted.
    pub(crate) held: OnceCell<File>,
    /// The same, opened so that nobody else can use it.
    pub(crate) alone: RefCell<Option<File>>,
}

/// The keys that will be read, and where their store is mounted for that.
struct Expected {
    keys: Vec<KeyName>,
    at: PathBuf,
    /// The disk that is read without being asked once more if it is this device: there was no other.
    alone: Option<(PathBuf, device::Wanted)>,
}

impl Expected {
    /// The file system of a disk that is read without being asked once more. Who looks at the disk and who
    /// asks both find it so.
    fn found(&self, disk: &Candidate) -> Option<Filesystem> {
        let (node, wanted) = self.alone.as_ref()?;
        match device::choose(wanted, std::slice::from_ref(disk)) {
            Choice::Found(device, filesystem) if device.node == *node => Some(filesystem),
            _ => None,
        }
    }
}

/// A worker that looks at a disk and can go on to read what is expected.
struct Look {
    intake: Intake,
    helper: Helper,
}

/// One that has looked.
struct Ahead {
    device: Candidate,
    look: Look,
}

impl<'a> UsbDisks<'a> {
    /// The disks, with `db` as the directory for the note of a mount.
    pub fn new(clock: &'a dyn Clock, db: &Path, boot_id: Option<String>) -> UsbDisks<'a> {
        UsbDisks {
            clock,
            note: db.join("store-mounted"),
            boot_id,
            known: RefCell::default(),
            fixed: RefCell::default(),
            hanging: RefCell::default(),
            expected: RefCell::default(),
            begun: RefCell::default(),
            ahead: RefCell::default(),
            held: OnceCell::new(),
            alone: RefCell::default(),
        }
    }

    fn note(&self) -> Note<'_> {
        Note {
            path: &self.note,
            boot_id: self.boot_id.as_deref(),
        }
    }

    /// Whether the very disk that was described as `device` is still plugged in.
    fn is_there(&self, device: &Candidate) -> bool {
        let known = match device.fixed {
            true => self.fixed.borrow(),
            false => self.known.borrow(),
        };
        let mut disk = known.iter().filter(|(_, candidate)| *candidate == device);
        disk.any(|(disk, _)| os::is_there(disk).unwrap_or(false))
    }

    /// The clock of its deadlines.
    pub(crate) fn clock(&self) -> &dyn Clock {
        self.clock
    }

    /// Looks at a disk as it is now, even if it was looked at before; also at one that is no USB
    /// disk.
    ///
    /// # Errors
    /// It cannot be read in time.
    pub(crate) fn look_again(&self, node: &Path, deadline: Deadline) -> Result<Candidate, Trouble> {
        self.known.borrow_mut().retain(|disk, _| disk.node != node);
        let what = format!("looking at {}", node.display());
        let found = worker::run(&what, self.clock, deadline, || describe(node))?;
        let candidate = found.ok_or_else(|| Trouble::failed(&what, "it cannot be read"))?;
        let disks = os::disks().map_err(|e| Trouble::failed(&what, &e.to_string()))?;
        if let Some(disk) = disks.into_iter().find(|disk| disk.node == node) {
            self.known.borrow_mut().insert(disk, candidate.clone());
        }
        Ok(candidate)
    }

    /// Looks at a disk that is not known yet. One that fails is asked again at the next poll, one
    /// that hangs is not.
    fn describe(&self, disk: &Disk, deadline: Deadline) {
        if self.hanging.borrow().contains(disk) || self.known.borrow().contains_key(disk) {
            return;
        }
        match self.look(disk, deadline) {
            Ok(Some(candidate)) => {
                self.known.borrow_mut().insert(disk.clone(), candidate);
            }
            Ok(None) => {}
            Err(trouble) => {
                if trouble.is_timeout() {
                    self.hanging.borrow_mut().insert(disk.clone());
                }
            }
        }
    }
}

impl UsbDisks<'_> {
    /// Has a worker look at a disk that can go on to read it; `None` if nobody said what will be read.
    fn begin(&self, disk: &Disk) -> Option<Result<Look, Trouble>> {
        let expected = self.expected.borrow();
        let expected = expected.as_ref()?;
        let places = Reader::places_for(Wanted::These(&expected.keys));
        let (intake, helper) = Intake::with_reader(places, |intake| {
            Helper::start(A_DISK, |questions, answers| {
                // Who cannot be told has gone.
                let _ = look_and_read(
                    &disk.node,
                    expected,
                    self.note(),
                    intake,
                    questions,
                    answers,
                );
            })
        })
        .ok()?;
        Some(helper.map(|helper| Look { intake, helper }))
    }

    /// What is on a disk; by the worker that has begun to look at it, if there is one.
    fn look(&self, disk: &Disk, deadline: Deadline) -> Result<Option<Candidate>, Trouble> {
        let begun = self.begun.borrow_mut().remove(disk);
        let Some(look) = begun.map(Ok).or_else(|| self.begin(disk)) else {
            return worker::run(A_DISK, self.clock, deadline, || describe(&disk.node));
        };
        let mut look = look?;
        let found: Option<Candidate> = look.helper.hear(self.clock, deadline)?;
        *self.ahead.borrow_mut() = found.clone().map(|device| Ahead { device, look });
        Ok(found)
    }

    /// The worker that has looked at this disk, if it can read just this, and whether it does already.
    fn ahead_of(&self, device: &Candidate, at: &Path, wanted: Wanted) -> Option<(Look, bool)> {
        let ahead = self.ahead.borrow_mut().take()?;
        let expected = self.expected.borrow();
        let Wanted::These(keys) = wanted else {
            return None;
        };
        let expected = expected.as_ref()?;
        let is_expected = ahead.device == *device && expected.keys == keys && expected.at == at;
        is_expected.then(|| (ahead.look, expected.found(device).is_some()))
    }
}

/// What a worker does that looks at a disk: it tells what it found, and when it is told which file system
/// has the store, or need not be told, it tells what it read.
fn look_and_read(
    node: &Path,
    expected: &Expected,
    note: Note,
    intake: &mut Intake,
    mut questions: File,
    mut answers: File,
) -> io::Result<()> {
    let found = describe(node);
    worker::tell(&mut answers, &found)?;
    let found = found.ok_or(io::ErrorKind::NotFound)?;
    let filesystem = match expected.found(&found) {
        Some(filesystem) => filesystem,
        None => worker::told(&mut questions)?,
    };
    let place = Place {
        device: &found,
        filesystem: &filesystem,
        at: &expected.at,
        note,
    };
    worker::tell(
        &mut answers,
        &read_into(&place, intake, Wanted::These(&expected.keys)),
    )
}

fn read_into(place: &Place, intake: &mut Intake, wanted: Wanted) -> Result<Told, Unread> {
    let read = |top: &Path| Reader::new(intake, OWNER).store(top, wanted);
    read_mounted(place, read).map_err(Unread::of)
}

impl KeyDevices for UsbDisks<'_> {
    fn will_read(&self, device: Option<&device::Wanted>, wanted: &[KeyName], at: &Path) {
        let disks = os::disks().unwrap_or_default();
        // With another beside it, nobody knows yet whether just one of them is the device.
        let alone = match (&disks[..], device) {
            ([one], Some(device)) => Some((one.node.clone(), device.clone())),
            _ => None,
        };
        *self.expected.borrow_mut() = Some(Expected {
            keys: wanted.to_vec(),
            at: at.to_owned(),
            alone,
        });
        for disk in disks {
            if let Some(Ok(look)) = self.begin(&disk) {
                self.begun.borrow_mut().insert(disk, look);
            }
        }
    }

    fn scan(&self, deadline: Deadline) -> Result<Vec<Candidate>, Trouble> {
        let disks =
            os::disks().map_err(|e| Trouble::failed("listing USB disks", &e.to_string()))?;
        self.known
            .borrow_mut()
            .retain(|disk, _| disks.contains(disk));
        for (done, disk) in disks.iter().enumerate() {
            let deadline = deadline.share(self.clock, disks.len() - done);
            self.describe(disk, deadline);
        }
        Ok(self.known.borrow().values().cloned().collect())
    }

    fn scan_fixed(&self, deadline: Deadline) -> Result<Vec<Candidate>, Trouble> {
        let disks =
            os::fixed_disks().map_err(|e| Trouble::failed("listing disks", &e.to_string()))?;
        let mut fixed = self.fixed.borrow_mut();
        fixed.retain(|disk, _| disks.contains(disk));
        for (done, disk) in disks.iter().enumerate() {
            let deadline = deadline.share(self.clock, disks.len() - done);
            if fixed.contains_key(disk) || self.hanging.borrow().contains(disk) {
                continue;
            }
            match worker::run("a disk", self.clock, deadline, || describe(&disk.node)) {
                Ok(Some(found)) => {
                    let found = Candidate {
                        fixed: true,
                        ..found
                    };
                    fixed.insert(disk.clone(), found);
                }
                Err(trouble) if trouble.is_timeout() => {
                    self.hanging.borrow_mut().insert(disk.clone());
                }
                Ok(None) | Err(_) => {}
            }
        }
        Ok(fixed.values().cloned().collect())
    }

    fn mounted_at(&self, device: &Candidate) -> Result<Vec<PathBuf>, Trouble> {
        let what = format!("asking where {} is mounted", device.node.display());
        let mounts = os::mounts_of(&device.node, &device.labels());
        let mounts = mounts.map_err(|e| Trouble::failed(&what, &e.to_string()))?;
        Ok(mounts.into_iter().map(|mount| mount.at).collect())
    }

    fn read(
        &self,
        device: &Candidate,
        filesystem: &Filesystem,
        at: &Path,
        wanted: Wanted,
        deadline: Deadline,
    ) -> Result<Reading, Trouble> {
        let what = format!("reading the key store on {}", device.node.display());
        let failed = |e: io::Error| Trouble::failed(&what, &e.to_string());
        let ahead = self.ahead_of(device, at, wanted);
        let (read, mut intake): (Result<Told, Unread>, _) = match ahead {
            Some((mut look, reads)) => {
                look.helper.set_about(&what);
                if !reads {
                    look.helper.say(filesystem, self.clock, deadline)?;
                }
                (look.helper.hear(self.clock, deadline)?, look.intake)
            }
            None => {
                let mut intake = Intake::new(Reader::places_for(wanted)).map_err(failed)?;
                let place = Place {
                    device,
                    filesystem,
                    at,
                    note: self.note(),
                };
                let job = || read_into(&place, &mut intake, wanted);
                (worker::run(&what, self.clock, deadline, job)?, intake)
            }
        };
        let told = read.map_err(|unread| unread.trouble(&what))?;
        let mut reading = told.into_reading(&mut intake).map_err(failed)?;
        // A file system whose disk was pulled may say "no such file" instead of "no such disk".
        reading.gone = !self.is_there(device);
        Ok(reading)
    }

    fn work(
        &self,
        device: &Candidate,
        filesystem: &Filesystem,
        at: &Path,
        work: &Work,
        brought: Option<&mut Intake>,
        deadline: Deadline,
    ) -> Result<Worked, Trouble> {
        let what = format!("writing on the key store on {}", device.node.display());
        let place = Place {
            device,
            filesystem,
            at,
            note: self.note(),
        };
        let failed = |why: &str| Trouble::failed(&what, why);
        let write = |brought: Option<&mut Intake>| {
            worker::run(&what, self.clock, deadline, || {
                let done = write_mounted(&place, work, brought, self.clock, deadline);
                done.map_err(Unread::of)
            })
        };
        let worked = match brought {
            // The one worker that may see it.
            Some(intake) => intake.shown(|intake| write(Some(intake))),
            None => Ok(write(None)),
        };
        let worked = worked.map_err(|e| failed(&e.to_string()))?;
        worked?.map_err(|unread| unread.trouble(&what))
    }
}

fn describe(node: &Path) -> Option<Candidate> {
    let mut head = vec![0; device::HEAD_LEN];
    let disk = File::open(node).ok()?;
    // Nothing ahead of what is asked for; who will not be told so reads a little more.
    let _ = posix_fadvise(&disk, 0, 0, PosixFadviseAdvice::POSIX_FADV_RANDOM);
    for (from, to) in device::SUPERBLOCKS {
        fill(&disk, from, &mut head[from..to]).ok()?;
    }
    Some(Candidate {
        node: node.to_owned(),
        serial: os::serial(node).ok()?,
        shown_as: os::shown_serials(node),
        filesystems: device::identify(&head),
        content: device::foreign(&head),
        optical: os::is_optical(node),
        fixed: false,
    })
}

/// Fills a buffer with what lies at this byte of a disk, as far as the disk goes.
fn fill(disk: &File, from: usize, buffer: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        let at = u64::try_from(from + filled).map_err(io::Error::other)?;
        match disk.read_at(&mut buffer[filled..], at)? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(())
}

/// The note that a mount at the store's mountpoint is ours. Only FreeBSD needs it: on Linux the
/// mount is in a namespace of its own and goes with the worker.
struct Note<'a> {
    path: &'a Path,
    boot_id: Option<&'a str>,
}

impl Note<'_> {
    fn text(&self, node: &Path, access: Access) -> String {
        let access = match access {
            Access::Read => "read",
            Access::Write => "write",
        };
        let boot = self.boot_id.unwrap_or("unknown");
        format!("{boot}\n{}\n{access}\n", node.display())
    }

    /// A mountpoint of our own, beside the note.
    fn spare(&self) -> PathBuf {
        self.path.with_file_name("stick")
    }

    /// Whether a run of this boot left this mount behind. Without a boot's identity nobody knows.
    fn is_ours(&self, mount: &Mount, node: &Path) -> bool {
        let access = match mount.read_only {
            true => Access::Read,
            false => Access::Write,
        };
        let text = fs::read_to_string(self.path).unwrap_or_default();
        self.boot_id.is_some() && text == self.text(node, access)
    }

    fn write(&self, node: &Path, access: Access) -> io::Result<()> {
        if !os::MOUNTS_OUTLIVE_US {
            return Ok(());
        }
        marker::make_directory(self.path.parent().unwrap_or(self.path))?;
        fs::write(self.path, self.text(node, access))
    }

    fn remove(&self) -> io::Result<()> {
        match fs::remove_file(self.path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }
}

/// Where a store is, and where it is to be mounted.
struct Place<'a> {
    device: &'a Candidate,
    filesystem: &'a Filesystem,
    at: &'a Path,
    note: Note<'a>,
}

impl Place<'_> {
    /// Where a person has mounted the store, if anywhere. What a killed run left is unmounted first,
    /// and `notes` say so.
    ///
    /// # Errors
    /// The kernel did not say what is mounted.
    fn found_mounted(&self, notes: &mut Vec<String>) -> io::Result<Option<Mount>> {
        let node = &self.device.node;
        let label = self.filesystem.label.as_deref();
        let (of_store, _) = os::mounts_of_and_others(node, &[label])?;
        let Some(mount) = of_store.first() else {
            return Ok(None);
        };
        let is_place = mount.at == self.at || mount.at == self.note.spare();
        if is_place && self.note.is_ours(mount, node) {
            os::unmount_store(&mount.at)?;
            let at = mount.at.display();
            notes.push(format!("unmounted {at}, which a killed run had left"));
            return Ok(None);
        }
        notes.push(format!(
            "the store was mounted on {} already; used as it is, and left so",
            mount.at.display()
        ));
        Ok(Some(mount.clone()))
    }

    /// Mounts the store, lets `job` use it, and unmounts it again.
    fn mounted<T>(
        &self,
        at: &Path,
        access: Access,
        job: impl FnOnce(&Path) -> io::Result<T>,
    ) -> io::Result<T> {
        let node = &self.device.node;
        self.note.write(node, access)?;
        let mounted = os::mount_store(node, self.filesystem, at, access);
        mounted.map_err(|e| not_mounted(at, &e))?;
        let result = job(at);
        os::unmount_store(at)?;
        self.note.remove()?;
        result
    }

    /// Where it can be mounted: where it is configured to be, else in a place of our own, and `notes` say
    /// why.
    ///
    /// # Errors
    /// Nothing can be mounted in either place.
    fn mountpoint(&self, notes: &mut Vec<String>) -> io::Result<PathBuf> {
        os::detach_mounts()?;
        let Err(why) = prepare(self.at) else {
            return Ok(self.at.to_owned());
        };
        let spare = self.note.spare();
        prepare(&spare).map_err(|e| no_mountpoint(self.at, &format!("{why}, and {e}")))?;
        let (at, spare_at) = (self.at.display(), spare.display());
        notes.push(format!(
            "nothing can be mounted on {at}, the store's mountpoint: {why}; {spare_at} is taken instead"
        ));
        Ok(spare)
    }
}

/// Makes a directory on which a store can be mounted. What is mounted there is asked first: to look at the
/// directory of an automount would set that off.
fn prepare(at: &Path) -> Result<(), String> {
    let shown = at.display();
    let mounts = os::mounts().map_err(|e| e.to_string())?;
    let way = links::way(at).map_err(|e| format!("{shown}: {e}"))?;
    if let Some(mount) = mounts.iter().rev().find(|mount| mount.at == way.real) {
        return Err(match mount.fstype.as_str() {
            "autofs" => format!("{shown} is an automount"),
            _ => format!("{shown} is in use by {}", mount.source),
        });
    }
    if let Some(link) = way.links.first() {
        let (at, to) = (link.at.display(), link.to.display());
        return Err(format!("{at} is a symbolic link to {to}"));
    }
    match at.is_dir() {
        true => Ok(()),
        false => fs::create_dir_all(at).map_err(|e| format!("{shown}: {e}")),
    }
}

/// Why a store could not be used, in words, with what a person does about it: the cause decides. Empty where
/// it is the store itself.
#[derive(Debug, Serialize, Deserialize)]
struct Unread {
    what: String,
    remedy: String,
}

impl Unread {
    fn error(what: &str, remedy: &str) -> io::Error {
        io::Error::other(Unread {
            what: what.to_owned(),
            remedy: remedy.to_owned(),
        })
    }

    fn of(error: io::Error) -> Unread {
        let what = error.to_string();
        let known = error.into_inner().and_then(|e| e.downcast().ok());
        known.map_or(
            Unread {
                what,
                remedy: String::new(),
            },
            |unread| *unread,
        )
    }

    fn trouble(&self, what: &str) -> Trouble {
        Trouble::failed(what, &self.what).mended_by(&self.remedy)
    }
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Unread {}

/// A mountpoint on which nothing can be mounted says nothing about the stick.
fn no_mountpoint(at: &Path, why: &str) -> io::Error {
    Unread::error(
        &format!("{} cannot be its mountpoint: {why}", at.display()),
        &format!(
            "the stick is well; make its mountpoint an empty directory of the root file system, and no link: {}",
            command!("ls -ld {}", at)
        ),
    )
}

/// What the kernel says of a mount tells the mountpoint, the device and the file system on it apart.
fn not_mounted(at: &Path, error: &io::Error) -> io::Error {
    let remedy = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            return no_mountpoint(at, &error.to_string());
        }
        _ if error.raw_os_error() == Some(nix::libc::ELOOP) => {
            return no_mountpoint(at, &error.to_string());
        }
        io::ErrorKind::ResourceBusy => {
            "somebody else uses the stick or its mountpoint; see `mount`, unmount it there, then `f3skeys boot`"
        }
        _ if error.raw_os_error() == Some(nix::libc::ENODEV) => {
            "the kernel does not know this file system: load its module, or use a stick with another one"
        }
        _ => "",
    };
    Unread::error(&format!("it cannot be mounted: {error}"), remedy)
}

fn read_mounted(place: &Place, read: impl FnOnce(&Path) -> io::Result<Told>) -> io::Result<Told> {
    let mut notes = Vec::new();
    let told = match place.found_mounted(&mut notes)? {
        Some(mount) => read(&mount.at),
        None => {
            let at = place.mountpoint(&mut notes)?;
            place.mounted(&at, Access::Read, read)
        }
    };
    told.map(|mut told| {
        told.notes.append(&mut notes);
        told
    })
}

/// Checks, writes, and reads back; in a worker, which may have keys of its own in memory.
fn write_mounted(
    place: &Place,
    work: &Work,
    intake: Option<&mut Intake>,
    clock: &dyn Clock,
    deadline: Deadline,
) -> io::Result<Worked> {
    let brought = writer::brought(work, intake)?;
    let mut notes = Vec::new();
    let (done, back) = match place.found_mounted(&mut notes)? {
        Some(mount) if mount.read_only => {
            return Err(io::Error::other(format!(
                "it is mounted on {} read-only; unmount it first",
                mount.at.display()
            )));
        }
        Some(mount) => {
            notes.push("read back through the system's cache, not from the medium".to_owned());
            (write(&mount.at, work, brought)?, read_back(&mount.at)?)
        }
        None => {
            check(place, clock, deadline, &mut notes)?;
            let at = place.mountpoint(&mut notes)?;
            let done = place.mounted(&at, Access::Write, |top| write(top, work, brought))?;
            // Unmounted in between, so that what is read is what the medium holds.
            (done, place.mounted(&at, Access::Read, read_back)?)
        }
    };
    let survey = store::survey::survey(Wanted::All, back).map_err(io::Error::other)?;
    Ok(writer::worked(work, done, &survey, notes))
}

/// Lets the system's own program put the file system in order.
fn check(
    place: &Place,
    clock: &dyn Clock,
    deadline: Deadline,
    notes: &mut Vec<String>,
) -> io::Result<()> {
    let (program, args) = os::checker(place.filesystem.kind)?;
    let node = place.device.node.to_string_lossy();
    let mut args = args.to_vec();
    args.push(&node);
    let call = Call {
        program: Path::new(program),
        args: &args,
        input: None,
    };
    let finished = child::run(&call, clock, deadline).map_err(io::Error::other)?;
    match finished.status {
        Some(0) => Ok(()),
        // e2fsck says so when it has mended something.
        Some(1) if place.filesystem.kind == Kind::Ext => {
            notes.push("the file system was put in order first".to_owned());
            Ok(())
        }
        _ => Err(io::Error::other(finished.failure())),
    }
}

fn write(top: &Path, work: &Work, brought: Vec<Key>) -> io::Result<writer::Done> {
    let reading = read_back(top)?;
    let mut medium = writer::Directory::open(top)?;
    let random = &mut os::random;
    writer::work(work, brought, reading, &mut medium, random)
}

/// Reads the whole store, in the worker's own memory.
fn read_back(top: &Path) -> io::Result<Reading> {
    let mut intake = Intake::new(Reader::places_for(Wanted::All))?;
    let told = Reader::new(&mut intake, OWNER).store(top, Wanted::All)?;
    told.into_reading(&mut intake)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(node: &str, serial: &str, labels: &[&str]) -> Candidate {
        let labelled = |label: &&str| Filesystem {
            kind: Kind::Ufs2,
            label: Some((*label).to_owned()),
        };
        Candidate {
            node: node.into(),
            serial: Some(serial.to_owned()),
            filesystems: labels.iter().map(labelled).collect(),
            ..Candidate::default()
        }
    }

    #[test]
    fn law_5_a_mountpoint_that_cannot_be_used_is_told_and_another_one_is_taken() {
        let top = std::env::temp_dir().canonicalize().unwrap();
        let top = top.join(format!("f3skeys-mountpoint-{}", std::process::id()));
        fs::create_dir_all(&top).unwrap();
        let at = |name: &str| top.join(name);
        assert_eq!(prepare(&at("new/keys")), Ok(()));
        assert!(at("new/keys").is_dir());
        assert_eq!(prepare(&at("new/keys")), Ok(()));
        std::os::unix::fs::symlink("new", at("link")).unwrap();
        for path in ["link", "link/keys"] {
            let why = prepare(&at(path)).unwrap_err();
            assert!(why.contains("link is a symbolic link to new"), "{why}");
        }
        fs::write(at("file"), "").unwrap();
        for path in ["file", "file/keys"] {
            let why = prepare(&at(path)).unwrap_err();
            assert!(why.contains("/file"), "{why}");
        }
        let why = prepare(Path::new("/proc")).unwrap_err();
        assert!(why.starts_with("/proc is in use by "), "{why}");
        fs::remove_dir_all(&top).unwrap();
    }

    #[test]
    fn the_cause_decides_what_is_done_about_a_store_that_cannot_be_read() {
        let error = io::Error::from_raw_os_error;
        for (errno, names_mountpoint, names_stick) in [
            (nix::libc::ENOENT, true, false),
            (nix::libc::ENOTDIR, true, false),
            (nix::libc::ELOOP, true, false),
            (nix::libc::EBUSY, false, false),
            (nix::libc::ENODEV, false, false),
            (nix::libc::EINVAL, false, true),
            (nix::libc::EIO, false, true),
        ] {
            let unread = Unread::of(not_mounted(Path::new("/keys"), &error(errno)));
            let trouble = unread.trouble("reading");
            let remedy = trouble.remedy("fsck");
            assert_eq!(
                remedy.contains("ls -ld /keys"),
                names_mountpoint,
                "{remedy}"
            );
            assert_eq!(remedy == "fsck", names_stick, "{errno}: {remedy}");
        }
        // Nobody knows more than what the kernel says.
        assert!(Unread::of(error(nix::libc::EIO)).remedy.is_empty());
    }

    #[test]
    fn only_the_device_that_was_there_alone_is_read_before_it_is_chosen() {
        let wanted = |label: &str, serial: Option<&str>| device::Wanted {
            label: Some(label.to_owned()),
            serial: serial.map(str::to_owned),
        };
        let read = |alone: Option<(&str, device::Wanted)>| {
            let expected = Expected {
                keys: Vec::new(),
                at: "/keys".into(),
                alone: alone.map(|(node, wanted)| (node.into(), wanted)),
            };
            let found = expected.found(&disk("/dev/da0", "one", &["OTHER", "F3S_KEYS"]));
            found.and_then(|filesystem| filesystem.label)
        };
        let label = Some("F3S_KEYS".to_owned());
        assert_eq!(read(Some(("/dev/da0", wanted("F3S_KEYS", None)))), label);
        assert_eq!(
            read(Some(("/dev/da0", wanted("F3S_KEYS", Some("one"))))),
            label
        );
        for (node, label, serial) in [
            ("/dev/da1", "F3S_KEYS", None),
            ("/dev/da0", "F3S", None),
            ("/dev/da0", "F3S_KEYS", Some("two")),
        ] {
            assert_eq!(
                read(Some((node, wanted(label, serial)))),
                None,
                "{node} {label}"
            );
        }
        assert_eq!(read(None), None);
    }
}
