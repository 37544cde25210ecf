//! Giving up every right but to compute: what reads words from the network does so before the first
//! byte. Nothing gives the rights back.

use super::platform;
use nix::errno::Errno;
use nix::sys::resource::{Resource, rlim_t, setrlimit};
use nix::unistd::{Gid, Uid, getgroups, getresgid, getresuid, setgroups, setresgid, setresuid};
use std::io;

/// `nobody` and its group on FreeBSD, and on Linux. By number: a look-up by name may ask the network.
const NOBODY: u32 = 65534;
/// What may be mapped beyond what is mapped already, in bytes.
const ROOM: rlim_t = 16 << 20;
/// Seconds of processor time. Reading the largest message takes some thousandths of one.
const TIME: rlim_t = 10;

/// Leaves this process what it has open, and no way to open, start, write or become anything else:
/// it is `nobody`, without groups, in the kernel's own sandbox where there is one, and every limit
/// is as low as it goes. Whoever was no user of rights to begin with stays who it is.
///
/// # Errors
/// The kernel refused some of it. Then nothing from the network may be touched.
pub fn give_up_rights() -> io::Result<()> {
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
    platform::seal()
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
