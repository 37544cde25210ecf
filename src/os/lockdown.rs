//! Making a process fit to hold keys, and a service fit to be started from it.

use super::platform::{NO_CORES, set_traceable};
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{chdir, geteuid};
use std::io;

/// What the process was before it was locked down.
#[derive(Debug)]
pub struct LockedDown {
    cores: (rlim_t, rlim_t),
    umask: Mode,
}

/// The user whose files this process may trust.
pub fn user() -> u32 {
    geteuid().as_raw()
}

/// Locks a process down that only root may run.
///
/// # Errors
/// The kernel refused, or the process is not root's (`PermissionDenied`).
pub fn lock_down() -> io::Result<LockedDown> {
    only_root()?;
    let locked = harden()?;
    chdir("/")?;
    Ok(locked)
}

/// Refuses everybody but root.
///
/// # Errors
/// Somebody else runs the program.
pub fn only_root() -> io::Result<()> {
    match geteuid().is_root() {
        true => Ok(()),
        false => Err(io::ErrorKind::PermissionDenied.into()),
    }
}

/// Makes the process's memory its own: no cores, no tracing, no readable files made.
///
/// # Errors
/// The kernel refused.
pub fn harden() -> io::Result<LockedDown> {
    let cores = getrlimit(Resource::RLIMIT_CORE)?;
    setrlimit(Resource::RLIMIT_CORE, NO_CORES, NO_CORES)?;
    set_traceable(false)?;
    let umask = umask(Mode::from_bits_truncate(0o077));
    Ok(LockedDown { cores, umask })
}

impl LockedDown {
    /// Gives a process without keys back what a service started from it should inherit.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn lift(self) -> io::Result<()> {
        umask(self.umask);
        setrlimit(Resource::RLIMIT_CORE, self.cores.0, self.cores.1)?;
        set_traceable(true)
    }
}
