//! Giving up every right but to compute: what reads words from the network does so before the first
//! byte. Nothing gives the rights back.

use super::platform;
use nix::errno::Errno;
use nix::sys::resource::{Resource, rlim_t, setrlimit};
use nix::unistd::{Gid, Pid, Uid};
use nix::unistd::{getgroups, getpid, getppid, getresgid, getresuid};
use nix::unistd::{setgroups, setresgid, setresuid};
use std::io;
use std::os::fd::RawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

/// For what is said when something goes wrong.
const STDERR: RawFd = 2;
/// `nobody` and its group on FreeBSD, and on Linux. By number: a look-up by name may ask the network.
const NOBODY: u32 = 65534;
/// What may be mapped beyond what is mapped already, in bytes.
const ROOM: rlim_t = 16 << 20;
/// Seconds of processor time. Reading the largest message takes some thousandths of one.
const TIME: rlim_t = 10;

/// Leaves this process its standard input to read, `outputs` and standard error to write, and no way to
/// open, start or become anything: it is `nobody`, without groups, every limit is as low as it goes, and
/// the kernel's own sandbox is around it (capability mode, or a filter of system calls). Who had no
/// rights to begin with stays that user.
///
/// # Errors
/// The kernel refused some of it. Then nothing from the network may be touched.
pub fn give_up_rights(outputs: &[RawFd]) -> io::Result<()> {
    let parent = getppid();
    lower()?;
    // Linux forgets this when a process becomes another user.
    die_with(parent)?;
    platform::seal(&[outputs, &[STDERR]].concat())
}

/// Makes this process end when its `parent` does, also if it has ended already.
///
/// # Errors
/// The kernel refused, or the parent has ended.
pub fn die_with(parent: Pid) -> io::Result<()> {
    platform::kill_me_after_my_parent()?;
    match getppid() == parent {
        true => Ok(()),
        false => Err(io::Error::other("its parent has ended")),
    }
}

/// Whether this process is a worker.
static IS_WORKER: AtomicBool = AtomicBool::new(false);

/// Makes this process a worker: it ends when its `parent` does, and so does what it starts.
///
/// # Errors
/// As of [`die_with`].
pub(super) fn become_worker(parent: Pid) -> io::Result<()> {
    IS_WORKER.store(true, Ordering::Relaxed);
    die_with(parent)
}

/// Has a program that a worker starts end with the worker, so that whoever comes next finds nobody at
/// work. Any other process leaves its programs to themselves.
pub fn ends_with_worker(program: &mut Command) {
    if IS_WORKER.load(Ordering::Relaxed) {
        let worker = getpid();
        // SAFETY: plain system calls between fork and exec; the worker has no other thread.
        unsafe { program.pre_exec(move || die_with(worker)) };
    }
}

/// All but the sandbox.
pub(super) fn lower() -> io::Result<()> {
    let space = platform::address_space()?;
    become_nobody()?;
    // Only to lower a limit needs no right. What is open stays open.
    for (resource, most) in [
        (platform::ADDRESS_SPACE, space.saturating_add(ROOM)),
        (Resource::RLIMIT_CORE, platform::NO_CORES),
        (Resource::RLIMIT_CPU, TIME),
        (Resource::RLIMIT_FSIZE, 0),
        (Resource::RLIMIT_NOFILE, 0),
        (Resource::RLIMIT_NPROC, 0),
    ] {
        setrlimit(resource, most, most)?;
    }
    Ok(())
}

fn become_nobody() -> io::Result<()> {
    let users = getresuid()?;
    let is_root = [users.real, users.effective, users.saved]
        .iter()
        .any(|user| user.is_root());
    if !is_root {
        return Ok(());
    }
    let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    setgroups(&[])?;
    setresgid(group, group, group)?;
    setresuid(user, user, user)?;
    match is_nobody(user, group)? {
        true => Ok(()),
        false => Err(io::Error::other("still has rights")),
    }
}

/// Asks the kernel, instead of trusting that every call did what it said.
fn is_nobody(user: Uid, group: Gid) -> Result<bool, Errno> {
    let (users, groups) = (getresuid()?, getresgid()?);
    let user_is_it = [users.real, users.effective, users.saved] == [user; 3];
    let group_is_it = [groups.real, groups.effective, groups.saved] == [group; 3];
    // FreeBSD counts the effective group among the groups.
    let others = getgroups()?.into_iter().any(|other| other != group);
    let comes_back = setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).is_ok();
    Ok(user_is_it && group_is_it && !others && !comes_back)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::worker;
    use crate::time::{Deadline, SystemClock};
    use nix::unistd::geteuid;
    use std::fs::File;
    use std::time::Duration;

    /// What a worker says of itself, which has lowered its rights and is not in the sandbox, where it could
    /// not ask the kernel anything. It has two groups more before.
    fn lowered<T>(job: impl FnOnce() -> T) -> T
    where
        T: serde::Serialize + serde::de::DeserializeOwned,
    {
        let clock = SystemClock::start();
        let deadline = Deadline::after(&clock, Duration::from_secs(20));
        let said = worker::run("rights", &clock, deadline, || {
            if geteuid().is_root() {
                setgroups(&[0, 4, 27].map(Gid::from_raw)).unwrap();
            }
            lower().map(|()| job()).map_err(|e| e.to_string())
        });
        said.unwrap().unwrap()
    }

    #[test]
    fn a_worker_without_rights_is_nobody_for_good() {
        use nix::unistd::{getegid, geteuid, getgid, getuid, setgid, setuid};
        let (ids, groups, comes_back) = lowered(|| {
            let back = setuid(Uid::from_raw(0)).is_ok() || setgid(Gid::from_raw(0)).is_ok();
            let users = (getuid().as_raw(), geteuid().as_raw());
            let groups = (getgid().as_raw(), getegid().as_raw());
            let mut more = getgroups().unwrap();
            more.retain(|group| group.as_raw() != NOBODY);
            ((users, groups), more.len(), back)
        });
        match geteuid().is_root() {
            true => {
                let nobody = ((NOBODY, NOBODY), (NOBODY, NOBODY));
                assert_eq!((ids, groups, comes_back), (nobody, 0, false));
            }
            false => assert!(!comes_back),
        }
    }

    #[test]
    fn a_worker_without_rights_opens_starts_and_writes_nothing() {
        let done = lowered(|| {
            let opened = File::open("/dev/null").is_ok() || File::open("/etc/passwd").is_ok();
            let copied = nix::unistd::dup(std::io::stdout()).is_ok();
            let spoke = std::os::unix::net::UnixDatagram::unbound().is_ok();
            // SAFETY: a child, if there is one against all expectation, ends at once.
            let forked = match unsafe { nix::unistd::fork() } {
                // SAFETY: as above.
                Ok(nix::unistd::ForkResult::Child) => unsafe { nix::libc::_exit(0) },
                Ok(nix::unistd::ForkResult::Parent { .. }) => true,
                Err(_) => false,
            };
            [opened, copied, spoke, forked]
        });
        assert_eq!(done, [false; 4]);
    }

    #[test]
    fn a_worker_without_rights_leaves_no_core_and_has_every_limit_at_its_lowest() {
        use nix::sys::resource::getrlimit;
        let limits = lowered(|| {
            let limit = |resource| getrlimit(resource).unwrap();
            [
                limit(Resource::RLIMIT_CORE),
                limit(Resource::RLIMIT_CPU),
                limit(Resource::RLIMIT_FSIZE),
                limit(Resource::RLIMIT_NOFILE),
                limit(Resource::RLIMIT_NPROC),
            ]
        });
        let expected = [platform::NO_CORES, TIME, 0, 0, 0].map(|most| (most, most));
        assert_eq!(limits, expected);
    }

    #[test]
    fn law_6_who_has_another_parent_by_now_does_not_go_on() {
        let clock = SystemClock::start();
        let deadline = Deadline::after(&clock, Duration::from_secs(20));
        let said = worker::run("a parent", &clock, deadline, || {
            (
                die_with(getppid()).is_ok(),
                die_with(Pid::from_raw(1)).is_ok(),
            )
        });
        assert_eq!(said.unwrap(), (true, false));
    }
}
