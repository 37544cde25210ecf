//! USB disks: which are there, and mounting the one that is the key device, in a worker that can
//! be given up on.
//!
//! The store is mounted read-only and only while it is read. On Linux nobody else sees the mount;
//! on FreeBSD a note remembers that it is ours, should the run be killed.

use crate::device::{self, Candidate, Filesystem};
use crate::marker;
use crate::os::{self, Disk, Intake, Mount, worker};
use crate::reader::{Reader, Told};
use crate::store::work::{Work, Worked};
use crate::store::{Reading, Wanted};
use crate::system::KeyDevices;
use crate::time::{Clock, Deadline};
use crate::trouble::Trouble;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The USB disks of the real machine.
pub struct UsbDisks<'a> {
    clock: &'a dyn Clock,
    /// Where a mount of ours is remembered, for systems where it outlives a killed run.
    note: PathBuf,
    boot_id: Option<String>,
    /// Disks that were looked at, so that a poll does not read them again.
    known: RefCell<BTreeMap<Disk, Candidate>>,
    /// Disks that did not answer in time.
    hanging: RefCell<BTreeSet<Disk>>,
}

impl<'a> UsbDisks<'a> {
    /// The disks, with `db` as the directory for the note of a mount.
    pub fn new(clock: &'a dyn Clock, db: &Path, boot_id: Option<String>) -> UsbDisks<'a> {
        UsbDisks {
            clock,
            note: db.join("store-mounted"),
            boot_id,
            known: RefCell::default(),
            hanging: RefCell::default(),
        }
    }

    /// Whether the very disk that was described as `device` is still plugged in.
    fn is_there(&self, device: &Candidate) -> bool {
        let known = self.known.borrow();
        let disk = known.iter().find(|(_, candidate)| *candidate == device);
        os::disks().is_ok_and(|now| disk.is_some_and(|(disk, _)| now.contains(disk)))
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
        match worker::run("a USB disk", self.clock, deadline, || describe(&disk.node)) {
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

impl KeyDevices for UsbDisks<'_> {
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

    fn mounted_at(&self, device: &Candidate) -> Result<Vec<PathBuf>, Trouble> {
        let what = format!("asking where {} is mounted", device.node.display());
        let mounts = os::mounts().map_err(|e| Trouble::failed(&what, &e.to_string()))?;
        let labels = device.filesystems.iter().map(|fs| fs.label.as_deref());
        let labels: Vec<Option<&str>> = labels.chain([None]).collect();
        let is_of_device = |mount: &&Mount| {
            let of = |label: &Option<&str>| os::source_is_device(mount, &device.node, *label);
            labels.iter().any(of)
        };
        let mounts = mounts.iter().filter(is_of_device);
        Ok(mounts.map(|mount| mount.at.clone()).collect())
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
        let mut intake = Intake::new(Reader::places_for(wanted)).map_err(failed)?;
        let note = Note {
            path: &self.note,
            boot_id: self.boot_id.as_deref(),
        };
        let read = worker::run(&what, self.clock, deadline, || {
            read_mounted(device, filesystem, at, &note, |top| {
                // Root's own files only: this is the store of the machine.
                Reader::new(&mut intake, 0).store(top, wanted)
            })
            .map_err(|e| e.to_string())
        })?
        .map_err(|why| Trouble::failed(&what, &why))?;
        let mut reading = read.into_reading(&mut intake).map_err(failed)?;
        // A file system whose disk was pulled may say "no such file" instead of "no such disk".
        reading.gone = !self.is_there(device);
        Ok(reading)
    }

    fn work(
        &self,
        _device: &Candidate,
        _filesystem: &Filesystem,
        _at: &Path,
        _work: &Work,
        _deadline: Deadline,
    ) -> Result<Worked, Trouble> {
        Err(Trouble::failed("writing on the key store", "not built"))
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
        marker::make_directory(self.path.parent().unwrap_or(self.path))?;
        fs::write(self.path, self.text(node))
    }

    fn remove(&self) -> io::Result<()> {
        match fs::remove_file(self.path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
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
