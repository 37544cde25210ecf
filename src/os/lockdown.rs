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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::worker;
    use crate::time::{Deadline, SystemClock};
    use std::time::Duration;

    /// Limits on cores, the mask of new files, and whether others may trace it or read its memory: before,
    /// while it is locked down, and after.
    type State = ((rlim_t, rlim_t), String, bool);

    fn state() -> State {
        let cores = getrlimit(Resource::RLIMIT_CORE).unwrap();
        let mask = umask(Mode::empty());
        umask(mask);
        let traceable = super::super::platform::is_traceable().unwrap();
        (cores, format!("{:03o}", mask.bits()), traceable)
    }

    #[test]
    fn law_2_who_is_locked_down_leaves_no_core_cannot_be_traced_and_makes_files_for_itself() {
        let clock = SystemClock::start();
        let deadline = Deadline::after(&clock, Duration::from_secs(20));
        let ([before, locked, after], lifted) =
            worker::run("locking down", &clock, deadline, || {
                let hard = getrlimit(Resource::RLIMIT_CORE).unwrap().1;
                setrlimit(Resource::RLIMIT_CORE, hard.min(12345), hard).unwrap();
                set_traceable(true).unwrap();
                umask(Mode::from_bits_truncate(0o022));
                let before = state();
                let was = harden().unwrap();
                let locked = state();
                let lifted = was.lift().is_ok();
                ([before, locked, state()], lifted)
            })
            .unwrap();
        assert_eq!((before.1.as_str(), before.2), ("022", true));
        assert_eq!(locked, ((NO_CORES, NO_CORES), "077".to_owned(), false));
        // Only some may raise a limit again. Who may not keeps all of the lock but the mask.
        match lifted {
            true => assert_eq!(after, before),
            false => assert_eq!(after, (locked.0, before.1, locked.2)),
        }
    }

    #[test]
    fn law_2_only_root_locks_down_and_it_works_from_the_root_directory() {
        let clock = SystemClock::start();
        let deadline = Deadline::after(&clock, Duration::from_secs(20));
        let (locked, here, traceable) = worker::run("locking down", &clock, deadline, || {
            let locked = lock_down().is_ok();
            let here = std::env::current_dir().unwrap().display().to_string();
            (locked, here, state().2)
        })
        .unwrap();
        let root = geteuid().is_root();
        assert_eq!((locked, here == "/", traceable), (root, root, !root));
    }
}
