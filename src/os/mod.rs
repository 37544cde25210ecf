//! The operating system: everything that differs between FreeBSD and Linux, and all `unsafe`.
//!
//! A platform is a file. Both files give the same names; nothing outside this folder asks which
//! platform it runs on.

#![allow(unsafe_code)]

#[cfg(any(test, target_os = "linux"))]
#[path = "linux/bound.rs"]
mod bound;
mod confine;
#[cfg(any(test, target_os = "freebsd"))]
mod freebsd_text;
pub mod libzfs;
#[cfg(any(test, target_os = "linux"))]
mod linux_text;
mod lockdown;
mod memory;
#[doc(hidden)]
#[path = "linux/mountinfo.rs"]
pub mod mountinfo;
mod random;
#[cfg(target_os = "linux")]
mod straight;
#[cfg(panic = "abort")]
mod unwind;
pub mod worker;

#[cfg_attr(target_os = "freebsd", path = "freebsd.rs")]
#[cfg_attr(target_os = "linux", path = "linux/mod.rs")]
#[cfg(any(target_os = "freebsd", target_os = "linux"))]
mod platform;

#[cfg(not(any(target_os = "freebsd", target_os = "linux")))]
compile_error!("f3skeys runs on FreeBSD and Linux; add a file to src/os/ for another system");

use confine::become_worker;
pub use confine::{ends_with_worker, give_up_rights};
pub use lockdown::{LockedDown, harden, lock_down, only_root, user};
pub use memory::{Intake, guard_all_memory, guard_memory};
pub use platform::{
    BINDS_FOLLOW, DEVICE_NODES, HELD_WHILE_FORMATTED, JAILED_PROPERTY, MOUNTS_OUTLIVE_US, PATHS,
    SERIAL_HINT, SYSTEMCTL, WATCH_SERVICE, beneath, boot_id, bound_beneath, carp, checker,
    covering, detach_mounts, disks, fixed_disks, formatting, go_first, hold, is_disk, is_held,
    is_optical, is_there, make_immutable, mount_of, mount_store, mounts, mounts_of,
    mounts_of_and_others, own_program, parts, pool_state, serial, service, service_seen, set_carp,
    shown_serials, signatures, unmount_store, users, zfs_version,
};
pub use random::{random, unforeseen};

use crate::child::Finished;
use crate::host::InitSystem;
use crate::trouble::Trouble;
use nix::sys::stat::{Mode, umask};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// The directory of the devices of volumes, by their names; FreeBSD's devfs and Linux's udev rules
/// agree on it.
pub const VOLUMES: &str = "/dev/zvol";

/// Runs a program by its absolute path to its end.
pub type Run<'a> = &'a dyn Fn(&str, &[&str]) -> Result<Finished, Trouble>;
/// A program and its arguments.
pub type Program = (&'static str, Vec<String>);

/// Where the program's own files are; install-time variables (`F3SKEYS_CONFIG`, `F3SKEYS_RUN` and
/// `F3SKEYS_DB` in the environment of the build).
#[derive(Debug, Clone, Copy)]
pub struct Paths {
    /// This program, as the hooks start it.
    pub program: &'static str,
    /// The configuration.
    pub config: &'static str,
    /// Files of this boot: markers, the lock.
    pub run: &'static str,
    /// Files that outlive a boot: reports.
    pub db: &'static str,
    /// The socket of the system's log.
    pub syslog: &'static str,
    /// The `zfs` program.
    pub zfs: &'static str,
    /// What starts services here.
    pub init: InitSystem,
}

/// What is asked of the service manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceCall {
    /// How it stands; the answer is for [`service_seen`].
    Look,
    /// What it runs when it starts; the answer is for [`asked_gates`](crate::services::asked_gates).
    Commands,
    /// Start it.
    Start,
    /// Stop it.
    Stop,
}

/// A mounted file system as the kernel tells it now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// The directory it is mounted on.
    #[serde(with = "crate::paths::one")]
    pub at: PathBuf,
    /// The kernel's name of the file system type, such as `zfs`.
    pub fstype: String,
    /// What is mounted: the dataset for ZFS, a device for a disk file system.
    pub source: String,
    /// Whether this mount refuses writing.
    pub read_only: bool,
    /// Whether the file system refuses writing by any mount.
    pub sealed: bool,
    /// The file system's own number in hex, which differs between datasets of one name. Empty where
    /// it was not asked for.
    pub fsid: String,
}

/// What a store is mounted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// To be read; nothing on the medium changes.
    Read,
    /// To be written.
    Write,
}

/// A disk or partition that may hold a key store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Disk {
    /// The device node.
    pub node: PathBuf,
    /// Changes when another medium takes the same node.
    pub stamp: String,
}

/// What the content of a device says it is: a file system, a partition table, a member of something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Signature {
    /// The kind, by the name that the system gives it.
    pub kind: String,
    /// Its label, if it has one.
    pub label: Option<String>,
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.label {
            Some(label) => write!(f, "{}={label}", self.kind),
            None => f.write_str(&self.kind),
        }
    }
}

/// The state of a pool, as the kernel tells it without asking the pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PoolState {
    /// Imported and answering; `ONLINE` or `DEGRADED`.
    Works(String),
    /// Imported, and every access may block for ever.
    Suspended,
    /// Not imported on this node.
    NotImported,
    /// The kernel did not say.
    Unknown(String),
}

/// Does something that makes directories for others to pass, as a mount by the system does: this
/// process lets nobody see what it makes, and a program that it starts inherits that.
pub(crate) fn as_services_make_files<T>(work: impl FnOnce() -> T) -> T {
    let before = umask(Mode::from_bits_truncate(0o022));
    let done = work();
    umask(before);
    done
}

/// The nice value of a worker that goes first: well before everybody at 0, and not before what a system
/// has at -20 for its own sake.
const NICE_FIRST: i32 = -10;

fn lower_nice() {
    // SAFETY: takes a number. Refused, it costs time and nothing else.
    let _ = unsafe { nix::libc::nice(NICE_FIRST) };
}

/// The error numbers by which OpenZFS says that a key is wrong, that one is loaded, and that a pool is
/// suspended.
pub(crate) const NO_ACCESS: i32 = nix::libc::EACCES;
pub(crate) const EXISTS: i32 = nix::libc::EEXIST;
pub(crate) const TRY_AGAIN: i32 = nix::libc::EAGAIN;

/// An error number in words.
pub(crate) fn error_words(number: i32) -> String {
    std::io::Error::from_raw_os_error(number).to_string()
}

/// What the kernel calls this host; empty when it has no name, or none that is text.
pub fn host_name() -> String {
    let name = nix::unistd::gethostname().unwrap_or_default();
    name.into_string().unwrap_or_default()
}

/// Reads the kernel's word for a pool's state.
pub(crate) fn pool_state_from(word: &str) -> PoolState {
    match word.trim() {
        "ONLINE" | "DEGRADED" => PoolState::Works(word.trim().to_owned()),
        "SUSPENDED" => PoolState::Suspended,
        other => PoolState::Unknown(format!("the kernel calls its state `{other}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unheard_of_pool_state_is_unknown_and_not_fine() {
        assert_eq!(
            pool_state_from("ONLINE\n"),
            PoolState::Works("ONLINE".into())
        );
        assert_eq!(pool_state_from("SUSPENDED\n"), PoolState::Suspended);
        for word in ["", "FAULTED", "online", "UNAVAIL"] {
            assert!(matches!(pool_state_from(word), PoolState::Unknown(_)));
        }
    }
}
