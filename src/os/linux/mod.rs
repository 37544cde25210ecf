//! Linux.

mod disks;
mod filter;
mod mounts;

pub use disks::{
    HELD_WHILE_FORMATTED, SERIAL_HINT, disks, fixed_disks, formatting, hold, is_disk, is_held,
    is_optical, is_there, parts, serial, shown_serials, signatures, users,
};
pub use mounts::{
    beneath, bound_beneath, checker, covering, detach_mounts, mount_of, mount_store, mounts,
    mounts_of, mounts_of_and_others, unmount_store,
};

use super::{
    NICE_FIRST, Paths, PoolState, Program, ServiceCall, linux_text, lower_nice, pool_state_from,
};
use crate::child::Finished;
use crate::digits;
use crate::host::InitSystem;
use crate::services::Seen;
use crate::trouble::Trouble;
use nix::sys::prctl;
use nix::sys::resource::{Resource, rlim_t};
use nix::sys::signal::Signal;
use nix::unistd::setsid;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;
use sysctl::Sysctl;

/// Where the program's files are.
pub const PATHS: Paths = Paths {
    program: match option_env!("F3SKEYS_PROGRAM") {
        Some(path) => path,
        None => "/usr/sbin/f3skeys",
    },
    config: match option_env!("F3SKEYS_CONFIG") {
        Some(path) => path,
        None => "/etc/f3skeys.ron",
    },
    run: match option_env!("F3SKEYS_RUN") {
        Some(path) => path,
        None => "/run/f3skeys",
    },
    db: match option_env!("F3SKEYS_DB") {
        Some(path) => path,
        None => "/var/lib/f3skeys",
    },
    syslog: "/dev/log",
    zfs: "/sbin/zfs",
    init: InitSystem::Systemd,
};

/// A namespace of mounts ends with its worker.
pub const MOUNTS_OUTLIVE_US: bool = false;

/// A mount in a directory is seen where that is bound as well: systemd has all mounts shared.
pub const BINDS_FOLLOW: bool = true;

/// The property that keeps a dataset to a zone or jail.
pub const JAILED_PROPERTY: &str = "zoned";
/// Whether a device node on a file system of ZFS is a device.
pub const DEVICE_NODES: bool = true;

/// The limit on cores that allows none: 1, not 0, since a core_pattern that is a pipe ignores 0 and
/// takes 1 as "never".
pub const NO_CORES: u64 = 1;

/// The limit on what a process has mapped.
pub const ADDRESS_SPACE: Resource = Resource::RLIMIT_AS;

/// Sets whether other processes may trace this one or read its memory.
///
/// # Errors
/// The kernel refused.
pub fn set_traceable(traceable: bool) -> io::Result<()> {
    prctl::set_dumpable(traceable)?;
    Ok(())
}

/// Whether other processes may trace this one or read its memory.
///
/// # Errors
/// The kernel did not say.
#[cfg(test)]
pub fn is_traceable() -> io::Result<bool> {
    Ok(prctl::get_dumpable()?)
}

/// Has the kernel kill this process when its parent ends.
///
/// # Errors
/// The kernel refused.
pub fn kill_me_after_my_parent() -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    Ok(())
}

/// Puts this worker before what its own work wakes. Where the scheduler shares the processor among
/// sessions first, a process's own nice value counts only within its session: so it gets one.
pub fn go_first() {
    let _ = setsid();
    let _ = fs::write("/proc/self/autogroup", NICE_FIRST.to_string());
    lower_nice();
}

/// Takes from this process what it could gain by starting a program, and then all system calls but
/// those that reading its standard input and writing on `outputs` needs.
///
/// # Errors
/// The kernel refused.
pub fn seal(outputs: &[RawFd]) -> io::Result<()> {
    prctl::set_no_new_privs()?;
    filter::install(nix::libc::STDIN_FILENO, outputs)
}

/// How much memory this process has mapped, in bytes.
///
/// # Errors
/// The kernel did not say.
pub fn address_space() -> io::Result<rlim_t> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages = statm.split(' ').next().and_then(digits::number);
    let pages: rlim_t =
        pages.ok_or_else(|| io::Error::other("/proc/self/statm is not understood"))?;
    Ok(pages.saturating_mul(super::memory::page_size() as rlim_t))
}

/// This very program, also when another has been installed over it since.
///
/// # Errors
/// None here.
pub fn own_program() -> io::Result<PathBuf> {
    Ok("/proc/self/exe".into())
}

/// This boot's identity, or `None` while the kernel has none.
pub fn boot_id() -> Option<String> {
    let value = sysctl::Ctl::new("kernel.random.boot_id")
        .and_then(|ctl| ctl.value_string())
        .ok()?;
    let id = value.trim().to_owned();
    (!id.is_empty()).then_some(id)
}

/// Linux has no CARP; keepalived asks the gate itself.
pub fn carp() -> io::Result<Option<bool>> {
    Ok(None)
}

/// Linux has no CARP.
pub fn set_carp(_allow: bool) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// What systemd is asked of a service, all at once: two questions could be about two moments.
const OF_SERVICE: &str =
    "LoadState,ActiveState,SubState,Job,TimeoutStartUSec,TimeoutStopUSec,TasksCurrent";

/// What a service runs when it starts. Asked apart: a command may be of several lines.
const COMMANDS: &str = "ExecStartPre,ExecStart";

/// The longest that a start or a stop is watched. systemd goes on with it when nobody watches.
pub const WATCH_SERVICE: Duration = Duration::from_secs(5);

/// The command that asks systemd.
pub fn service(call: ServiceCall, name: &str) -> Program {
    let words: &[&str] = match call {
        ServiceCall::Look => &["show", "-p", OF_SERVICE, "--"],
        ServiceCall::Commands => &["show", "-p", COMMANDS, "--"],
        ServiceCall::Start => &["start", "--"],
        ServiceCall::Stop => &["stop", "--"],
    };
    let words = words.iter().chain([&name]).map(|word| (*word).to_owned());
    ("/usr/bin/systemctl", words.collect())
}

/// What tells of systemd's units.
pub const SYSTEMCTL: Option<&str> = Some("/usr/bin/systemctl");

/// What systemd has said of a service.
///
/// # Errors
/// It said nothing, or nothing that is understood.
pub fn service_seen(finished: Finished) -> Result<Seen, Trouble> {
    let command = finished.command.clone();
    let said = finished.success()?;
    let said = String::from_utf8_lossy(&said);
    linux_text::service(&said).map_err(|why| Trouble::failed(&command, &why))
}

/// The version of ZFS in the kernel; `None` where it does not say.
pub fn zfs_version() -> Option<String> {
    fs::read_to_string("/sys/module/zfs/version").ok()
}

/// The state of `pool` without asking the pool.
pub fn pool_state(pool: &str) -> PoolState {
    let path = Path::new("/proc/spl/kstat/zfs").join(pool).join("state");
    match fs::read_to_string(&path) {
        Ok(word) => pool_state_from(&word),
        Err(e) if e.kind() == io::ErrorKind::NotFound => PoolState::NotImported,
        Err(e) => PoolState::Unknown(format!("{}: {e}", path.display())),
    }
}

nix::ioctl_read_bad!(
    /// The flags of a file, `FS_*_FL` of linux/fs.h. The kernel reads and writes an int, whatever
    /// the number of the call says.
    get_flags,
    nix::libc::FS_IOC_GETFLAGS,
    nix::libc::c_int
);
nix::ioctl_write_ptr_bad!(
    /// Sets the flags of a file.
    set_flags,
    nix::libc::FS_IOC_SETFLAGS,
    nix::libc::c_int
);

/// `FS_IMMUTABLE_FL` of linux/fs.h.
const IMMUTABLE: nix::libc::c_int = 0x10;

/// Makes a directory immutable; tells whether it was so before, and `None` where its file system
/// knows nothing of the kind.
///
/// # Errors
/// The kernel refused.
pub fn make_immutable(directory: &fs::File) -> io::Result<Option<bool>> {
    let mut flags = 0;
    let not_known = |e| matches!(e, nix::Error::ENOTTY | nix::Error::EOPNOTSUPP);
    // SAFETY: the kernel writes one int into a live variable.
    match unsafe { get_flags(directory.as_raw_fd(), &raw mut flags) } {
        Ok(_) if flags & IMMUTABLE != 0 => return Ok(Some(true)),
        Ok(_) => flags |= IMMUTABLE,
        Err(e) if not_known(e) => return Ok(None),
        Err(e) => return Err(e.into()),
    }
    // SAFETY: the kernel reads one int from a live variable.
    match unsafe { set_flags(directory.as_raw_fd(), &raw const flags) } {
        Ok(_) => Ok(Some(false)),
        Err(e) if not_known(e) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard;
    use crate::os::worker;
    use crate::system::Guard;
    use crate::time::{Deadline, SystemClock};
    use nix::mount::{MsFlags, mount};
    use std::time::Duration;

    #[test]
    fn this_boot_has_an_identity() {
        assert!(boot_id().is_some_and(|id| id.len() == 36));
    }

    /// A directory with a file two levels deep, and what a visitor of it may do.
    struct Point(PathBuf);

    impl Point {
        fn new(name: &str) -> Point {
            let top = std::env::temp_dir().canonicalize().unwrap();
            let point = top.join(format!("f3skeys-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&point);
            fs::create_dir(&point).unwrap();
            Point(point)
        }

        fn takes_files(&self) -> bool {
            let file = self.0.join("new");
            fs::write(&file, "x").is_ok() && fs::remove_file(&file).is_ok()
        }
    }

    impl Drop for Point {
        fn drop(&mut self) {
            let free = |directory: fs::File| {
                let mut flags = 0;
                // SAFETY: the kernel writes, then reads, one int of a live variable.
                unsafe {
                    let _ = get_flags(directory.as_raw_fd(), &raw mut flags);
                    flags &= !IMMUTABLE;
                    let _ = set_flags(directory.as_raw_fd(), &raw const flags);
                }
            };
            let _ = fs::File::open(&self.0).map(free);
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn guarded(already: bool, files: &[&str]) -> Guard {
        let files = files.iter().map(|file| (*file).to_owned()).collect();
        Guard::Bare { already, files }
    }

    /// As root it must work, on a file system that knows immutable directories (ext4, XFS, Btrfs,
    /// ZFS, tmpfs since 6.6): set TMPDIR to one. Nobody else may try.
    #[test]
    fn a_bare_directory_is_made_immutable_and_its_files_are_told() {
        let point = Point::new("guard");
        fs::create_dir_all(point.0.join("a/b")).unwrap();
        if !nix::unistd::geteuid().is_root() {
            assert!(guard::now(&point.0).is_err());
            return assert!(point.takes_files());
        }
        assert_eq!(guard::now(&point.0).unwrap(), guarded(false, &[]));
        assert!(!point.takes_files());
        assert_eq!(guard::now(&point.0).unwrap(), guarded(true, &[]));
        // Only the directory itself is guarded.
        fs::write(point.0.join("a/b/left"), "x").unwrap();
        assert_eq!(guard::now(&point.0).unwrap(), guarded(true, &["a/b/left"]));
        for number in 0..9 {
            fs::write(point.0.join(format!("a/{number}")), "x").unwrap();
        }
        match guard::now(&point.0).unwrap() {
            Guard::Bare { files, .. } => assert_eq!(files.len(), 5),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn no_other_directory_is_ever_guarded() {
        let point = Point::new("guard-other");
        let missing = point.0.join("missing");
        assert_eq!(guard::now(&missing).unwrap(), Guard::Missing);
        fs::write(point.0.join("file"), "x").unwrap();
        assert!(guard::now(&point.0.join("file")).is_err());
        assert!(point.takes_files());
    }

    /// What is mounted there is mounted where the link leads, so that is the bare directory.
    #[test]
    fn where_a_link_of_this_host_leads_is_guarded_and_where_another_leads_is_not() {
        let point = Point::new("guard-link");
        let real = Point(point.0.join("real"));
        let below = Point(real.0.join("below"));
        fs::create_dir_all(&below.0).unwrap();
        let link = point.0.join("link");
        std::os::unix::fs::symlink("real", &link).unwrap();
        if !nix::unistd::geteuid().is_root() {
            return assert!(guard::now(&link.join("below")).is_err());
        }
        let guarded = guarded(false, &[]);
        let of_host = |path: &Path| guard::by_links(path, |found| found.at == link);
        let of_others = |path: &Path| guard::by_links(path, |_| false);
        assert!(of_others(&link).is_err() && of_others(&link.join("below")).is_err());
        assert!(real.takes_files() && below.takes_files());
        assert_eq!(of_host(&link.join("below")).unwrap(), guarded);
        assert!(real.takes_files() && !below.takes_files());
        assert_eq!(of_host(&link).unwrap(), guarded);
        assert!(point.takes_files() && !real.takes_files());
    }

    /// What is mounted is left alone, and a file system that knows nothing of the kind says so.
    #[test]
    fn only_what_is_bare_is_guarded() {
        let point = Point::new("guard-mounted");
        let clock = SystemClock::start();
        let deadline = Deadline::after(&clock, Duration::from_secs(20));
        let seen = worker::run("guard", &clock, deadline, || -> Result<_, String> {
            let words = |e: io::Error| e.to_string();
            detach_mounts().map_err(words)?;
            let none: Option<&str> = None;
            let flags = MsFlags::empty();
            mount(Some("none"), &point.0, Some("ramfs"), flags, none).map_err(|e| e.to_string())?;
            let mounted = guard::now(&point.0).map_err(words)?;
            let inside = point.0.join("inside");
            fs::create_dir(&inside).map_err(words)?;
            let bare = guard::now(&inside).map_err(words)?;
            let writes = fs::write(inside.join("x"), "x").is_ok() && point.takes_files();
            Ok((mounted, bare, writes))
        });
        match nix::unistd::geteuid().is_root() {
            true => {
                let expected = (Guard::Mounted, Guard::NotSupported, true);
                assert_eq!(seen.unwrap().unwrap(), expected);
            }
            false => assert!(seen.unwrap().is_err()),
        }
        assert!(point.takes_files(), "what lies beneath a mount was guarded");
    }
}
