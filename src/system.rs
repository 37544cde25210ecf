//! The seams to the machine: its clock, its live state, and its key devices. Each has one real
//! implementation ([`Machine`] here, [`crate::usb::UsbDisks`]) and one simulated for tests.

use crate::bound::{self, Unit};
use crate::child::{self, Call};
use crate::device::{self, Candidate, Filesystem};
use crate::gate::{Bound, Live, Questions};
use crate::guard;
use crate::host::bare::{self, Beneath};
use crate::host::binds::{self, Bind};
use crate::host::{self, Fstab, Host};
use crate::links::{self, Way, Ways};
use crate::names::{DatasetName, KeyName};
use crate::os::{self, Intake, Mount, PoolState, worker};
use crate::progress::Watch;
use crate::report::Severity;
use crate::sorted::Set;
use crate::store::work::{Work, Worked};
use crate::store::{Reading, Wanted};
use crate::syslog;
use crate::time::{Clock, Deadline};
use crate::trouble::Trouble;
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use std::cell::OnceCell;
use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The machine that the program runs on.
pub trait System {
    /// The clock that all deadlines are on.
    fn clock(&self) -> &dyn Clock;
    /// This boot's identity; `None` while there is none.
    fn boot_id(&self) -> Option<String>;
    /// The version of ZFS in the kernel; `None` where it does not say.
    fn zfs_version(&self) -> Option<String>;
    /// The state of a pool, without asking the pool.
    fn pool_state(&self, pool: &str) -> PoolState;
    /// What is mounted now, as the kernel tells it without asking a file system.
    ///
    /// # Errors
    /// The kernel did not say.
    fn mounts(&self) -> Result<Vec<Mount>, Trouble>;
    /// Looks at mounts and files as they are now.
    ///
    /// # Errors
    /// Something hung or the kernel did not say.
    fn look(&self, questions: &Questions, deadline: Deadline) -> Result<Live, Trouble>;
    /// Looks beneath what is mounted on these mountpoints; `known` are those of all file systems.
    ///
    /// # Errors
    /// Something hung or the kernel refused.
    fn beneath(
        &self,
        points: &[PathBuf],
        known: &Set<PathBuf>,
        deadline: Deadline,
    ) -> Result<Beneath, Trouble>;
    /// What the next boot binds to other places.
    ///
    /// # Errors
    /// A file that says so could not be read.
    fn binds(&self) -> Result<Vec<Bind>, Trouble>;
    /// The time of day, in seconds since 1970, by a clock that may be wrong.
    fn wall(&self) -> u64;
    /// Hands a line to the system's log, which may lose it.
    fn log(&self, severity: Severity, line: &str);
    /// The time since this boot by the kernel's monotonic clock, which every process reads alike.
    ///
    /// # Errors
    /// The kernel did not say.
    fn since_boot(&self) -> Result<Duration, Trouble>;
    /// `net.inet.carp.allow`: whether this node takes part in CARP; `None` where there is no CARP.
    ///
    /// # Errors
    /// The kernel did not say.
    fn carp(&self) -> Result<Option<bool>, Trouble>;
    /// Lets this node take part in CARP, or holds every address of it in INIT.
    ///
    /// # Errors
    /// The kernel refused.
    fn set_carp(&self, allow: bool) -> Result<(), Trouble>;
    /// Makes a directory immutable if nothing is mounted on it.
    ///
    /// # Errors
    /// Something hung or the kernel refused.
    fn guard(&self, path: &Path, deadline: Deadline) -> Result<Guard, Trouble>;
    /// What the system mounts by its own file.
    ///
    /// # Errors
    /// It cannot be read.
    fn fstab(&self) -> Result<Fstab, Trouble>;

    /// The units of systemd with these names, as it has them now; none where there is no systemd.
    ///
    /// # Errors
    /// It did not say.
    fn units(&self, names: &[String], deadline: Deadline) -> Result<Vec<Unit>, Trouble>;

    /// Where these paths really are, by the symbolic links on the way to them.
    ///
    /// # Errors
    /// Something hung.
    fn ways(&self, paths: &[PathBuf], deadline: Deadline) -> Result<Ways, Trouble>;
}

/// What became of the guard of a mountpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Guard {
    /// Something is mounted there: the bare directory is out of reach.
    Mounted,
    /// There is no such directory.
    Missing,
    /// Its file system knows no immutable directories.
    NotSupported,
    /// The bare directory is immutable.
    Bare {
        /// Whether it was so before.
        already: bool,
        /// Some of the files that lie in it; there should be none.
        files: Vec<String>,
    },
}

/// Disks that may hold a key store, and the way to read one.
pub trait KeyDevices {
    /// Says what will be read, and where the store is mounted for that: disks are looked at from now on,
    /// and who looks at one can go on to read it; at once if it is there alone and is this `device`, should
    /// that be read in any case. Only while no key is in memory is there anything to gain.
    fn will_read(&self, _device: Option<&device::Wanted>, _wanted: &[KeyName], _at: &Path) {}

    /// The disks that are there now.
    ///
    /// # Errors
    /// The kernel did not say.
    fn scan(&self, deadline: Deadline) -> Result<Vec<Candidate>, Trouble>;

    /// The disks that are there now on other buses than USB.
    ///
    /// # Errors
    /// The kernel did not say.
    fn scan_fixed(&self, _deadline: Deadline) -> Result<Vec<Candidate>, Trouble> {
        Ok(Vec::new())
    }

    /// The directories on which the file system of a disk is mounted now.
    ///
    /// # Errors
    /// The kernel did not say.
    fn mounted_at(&self, device: &Candidate) -> Result<Vec<PathBuf>, Trouble>;

    /// Mounts the store read-only at `at` (or uses it where a person has mounted it), reads the
    /// files of the `wanted` keys, each once, and unmounts what it mounted.
    ///
    /// # Errors
    /// The store could not be mounted or read in time.
    fn read(
        &self,
        device: &Candidate,
        filesystem: &Filesystem,
        at: &Path,
        wanted: Wanted,
        deadline: Deadline,
    ) -> Result<Reading, Trouble>;

    /// Does a piece of work on the store: checks the file system, mounts it for writing at `at` (or
    /// uses it where a person has mounted it), writes durably, unmounts, and reads back what is on
    /// the medium. Only while no key is in memory, but for those that come with the work, which are in
    /// `brought`.
    ///
    /// # Errors
    /// The store could not be mounted or written in time. Keys that were on it before are still on
    /// it.
    fn work(
        &self,
        device: &Candidate,
        filesystem: &Filesystem,
        at: &Path,
        work: &Work,
        brought: Option<&mut Intake>,
        deadline: Deadline,
    ) -> Result<Worked, Trouble>;
}

/// The real machine.
pub struct Machine {
    clock: Watch,
    /// Asked for once: it stays as it is for as long as anything runs.
    boot_id: OnceCell<Option<String>>,
}

impl Machine {
    /// The machine, its clock beginning now.
    pub fn new() -> Machine {
        Machine::with(Watch::start(false))
    }

    /// The same, with a person at the terminal, if there is one, shown what is waited for.
    pub fn watched() -> Machine {
        Machine::with(Watch::start(true))
    }

    fn with(clock: Watch) -> Machine {
        Machine {
            clock,
            boot_id: OnceCell::new(),
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
        self.boot_id.get_or_init(os::boot_id).clone()
    }

    fn zfs_version(&self) -> Option<String> {
        os::zfs_version()
    }

    fn pool_state(&self, pool: &str) -> PoolState {
        os::pool_state(pool)
    }

    fn mounts(&self) -> Result<Vec<Mount>, Trouble> {
        os::mounts().map_err(|e| Trouble::failed("what is mounted", &e.to_string()))
    }

    fn look(&self, questions: &Questions, deadline: Deadline) -> Result<Live, Trouble> {
        let what = "looking at the mounts";
        worker::run(what, &self.clock, deadline, || {
            look_now(questions).map_err(|e| e.to_string())
        })?
        .map_err(|why| Trouble::failed(what, &why))
    }

    fn beneath(
        &self,
        points: &[PathBuf],
        known: &Set<PathBuf>,
        deadline: Deadline,
    ) -> Result<Beneath, Trouble> {
        let what = "looking beneath the mounts";
        let seen = worker::run(what, &self.clock, deadline, || {
            let seen = bare::look(points, known);
            seen.map(Seen).map_err(|e| e.to_string())
        })?;
        let seen = seen.map_err(|why| Trouble::failed(what, &why))?;
        Ok(seen.0)
    }

    fn binds(&self) -> Result<Vec<Bind>, Trouble> {
        binds::binds(&Host::here(), os::PATHS.init)
    }

    fn wall(&self) -> u64 {
        seconds_since_1970()
    }

    fn log(&self, severity: Severity, line: &str) {
        syslog::send(Path::new(os::PATHS.syslog), severity, line);
    }

    fn since_boot(&self) -> Result<Duration, Trouble> {
        since_boot().map_err(|e| Trouble::failed("the monotonic clock", &e.to_string()))
    }

    fn carp(&self) -> Result<Option<bool>, Trouble> {
        os::carp().map_err(|e| Trouble::failed("net.inet.carp.allow", &e.to_string()))
    }

    fn set_carp(&self, allow: bool) -> Result<(), Trouble> {
        os::set_carp(allow).map_err(|e| Trouble::failed("net.inet.carp.allow", &e.to_string()))
    }

    fn guard(&self, path: &Path, deadline: Deadline) -> Result<Guard, Trouble> {
        let what = format!("guarding {}", path.display());
        worker::run(&what, &self.clock, deadline, || {
            guard::now(path).map_err(|e| e.to_string())
        })?
        .map_err(|why| Trouble::failed(&what, &why))
    }

    fn fstab(&self) -> Result<Fstab, Trouble> {
        host::fstab(&Host::here())
    }

    fn units(&self, names: &[String], deadline: Deadline) -> Result<Vec<Unit>, Trouble> {
        let mut units = Vec::new();
        for some in names.chunks(MOST_UNITS) {
            let Some(program) = os::SYSTEMCTL else { break };
            let mut args = vec!["show", "-p", bound::PROPERTIES, "--"];
            args.extend(some.iter().map(String::as_str));
            let call = Call {
                program: Path::new(program),
                args: &args,
                input: None,
            };
            let shown = child::run(&call, &self.clock, deadline)?.success()?;
            let read = bound::units(&String::from_utf8_lossy(&shown));
            units.extend(read.map_err(|why| Trouble::failed("systemctl show", &why))?);
        }
        Ok(units)
    }

    fn ways(&self, paths: &[PathBuf], deadline: Deadline) -> Result<Ways, Trouble> {
        let way = |path: &PathBuf| links::way(path).map_err(|e| e.to_string());
        let seen = worker::run("looking for links", &self.clock, deadline, || {
            Followed(paths.iter().map(|path| (path.clone(), way(path))).collect())
        })?;
        Ok(seen.0)
    }
}

/// How many units systemd is asked of at once.
const MOST_UNITS: usize = 100;

/// What a worker has seen beneath the mounts.
#[derive(Serialize, Deserialize)]
struct Seen(#[serde(with = "crate::paths::keys")] Beneath);

/// What a worker has seen of links.
#[derive(Serialize, Deserialize)]
struct Followed(#[serde(with = "crate::paths::keys")] Ways);

fn look_now(questions: &Questions) -> io::Result<Live> {
    let mut live = Live {
        now: seconds_since_1970(),
        since_boot: since_boot()?.as_secs(),
        ..Live::default()
    };
    let mounts = os::mounts()?;
    for dataset in &questions.datasets {
        live.mounted_at
            .insert(dataset.clone(), places_of(dataset, &mounts));
    }
    let found = live.mounted_at.values().flatten();
    for path in found {
        let answer = os::covering(path).map_err(|e| e.to_string());
        live.covering.insert(path.clone(), answer);
    }
    for path in &questions.paths {
        look_at(path, &mut live);
    }
    look_for_binds(&questions.paths, &mut live);
    for path in &questions.files {
        live.files.insert(path.clone(), is_there(path));
    }
    for dataset in &questions.volumes {
        let answer = has_device(dataset).map_err(|e| e.to_string());
        live.volumes.insert(dataset.clone(), answer);
    }
    for (dataset, name) in &questions.snapshots {
        let answer = snapshot_is_there(dataset, name, &live);
        live.snapshots.insert(dataset.clone(), answer);
    }
    Ok(live)
}

/// What a visitor of a path reaches, and where that really is.
fn look_at(path: &Path, live: &mut Live) {
    let reached = os::covering(path).and_then(|mount| {
        // What the kernel calls by this very path is not reached by a link.
        let way = match &mount {
            Some(mount) if mount.at != path => links::way(path)?,
            _ => Way::default(),
        };
        Ok((mount, way))
    });
    let answer = match reached {
        Ok((mount, way)) => {
            if !way.links.is_empty() {
                live.ways.insert(path.to_owned(), way);
            }
            Ok(mount)
        }
        Err(e) => Err(e.to_string()),
    };
    live.covering.insert(path.to_owned(), answer);
}

/// What binds show of what lies beneath these paths. The table of mounts is read once for all.
fn look_for_binds(paths: &Set<PathBuf>, live: &mut Live) {
    if paths.is_empty() {
        return;
    }
    let real = |path: &PathBuf| {
        live.ways
            .get(path)
            .map_or(path.clone(), |way| way.real.clone())
    };
    let asked: Vec<PathBuf> = paths.iter().map(real).collect();
    let asked: Vec<&Path> = asked.iter().map(PathBuf::as_path).collect();
    let told = match os::bound_beneath(&asked) {
        Ok(told) => told,
        Err(e) => {
            let again = |_| Err(io::Error::other(e.to_string()));
            paths.iter().map(again).collect()
        }
    };
    for (path, found) in paths.iter().zip(told) {
        if found.as_ref().is_ok_and(Vec::is_empty) {
            continue;
        }
        let found = found.map_err(|e| e.to_string());
        let found = found.map(|all| all.into_iter().map(|at| Bound { at }).collect());
        live.bound.insert(path.clone(), found);
    }
}

/// Whether a file of any kind is there. A link that leads nowhere is neither there nor absent: whoever
/// made it meant something by it. The same goes for such a link on the way.
fn is_there(path: &Path) -> Result<bool, String> {
    match fs::symlink_metadata(path) {
        Ok(about) if about.is_symlink() => leads(path).map(|()| true),
        Ok(_) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => way_to(path).map(|()| false),
        Err(e) => Err(e.to_string()),
    }
}

/// Whether a link leads somewhere.
fn leads(link: &Path) -> Result<(), String> {
    match fs::metadata(link) {
        Ok(_) => Ok(()),
        Err(e) => Err(format!("the link {} leads nowhere: {e}", link.display())),
    }
}

/// Whether the way to a name that is not there ends at a directory, and not at a link that leads nowhere.
fn way_to(path: &Path) -> Result<(), String> {
    for above in path.ancestors().skip(1) {
        match fs::symlink_metadata(above) {
            Ok(about) if about.is_symlink() => return leads(above),
            Ok(_) => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(format!("{}: {e}", above.display())),
        }
    }
    Ok(())
}

fn since_boot() -> io::Result<Duration> {
    Ok(Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?))
}

fn seconds_since_1970() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Whether a volume has its device, which an encrypted one has only while its key is loaded.
fn has_device(volume: &DatasetName) -> io::Result<bool> {
    match fs::metadata(Path::new(os::VOLUMES).join(volume.as_str())) {
        Ok(about) => {
            let kind = about.file_type();
            Ok(kind.is_block_device() || kind.is_char_device())
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// Whether a mounted file system has this snapshot, by the list of their names. Nothing is looked up
/// by its name: that would mount it on FreeBSD, and may find one that is long gone on Linux.
fn snapshot_is_there(dataset: &DatasetName, name: &str, live: &Live) -> Result<bool, String> {
    let is_seen = |place: &&PathBuf| {
        let mount = live.covering.get(*place);
        matches!(mount, Some(Ok(Some(mount)))
            if mount.at == **place && mount.fstype == "zfs" && mount.source == dataset.as_str())
    };
    let places = live.mounted_at.get(dataset);
    let Some(place) = places.and_then(|places| places.iter().find(is_seen)) else {
        return Err("it is not to be seen anywhere".to_owned());
    };
    let directory = place.join(".zfs/snapshot");
    let failed = |e: io::Error| format!("{}: {e}", directory.display());
    for entry in fs::read_dir(&directory).map_err(failed)? {
        if entry.map_err(failed)?.file_name() == name {
            return Ok(true);
        }
    }
    Ok(false)
}

fn places_of(dataset: &DatasetName, mounts: &[Mount]) -> Vec<PathBuf> {
    mounts
        .iter()
        .filter(|mount| mount.fstype == "zfs" && mount.source == dataset.as_str())
        .map(|mount| mount.at.clone())
        .collect()
}

#[cfg(test)]
mod tests;
