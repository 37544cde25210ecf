//! The table of mounts, and mounting the key store.

use super::PATHS;
use crate::device::{Filesystem, Kind};
use crate::digits;
use crate::os::mountinfo::{Entry, Table};
use crate::os::{Access, Mount, bound};
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use nix::sys::statfs::fstatfs;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// `MS_NOSYMFOLLOW` of linux/mount.h, since 5.10.
const NOSYMFOLLOW: MsFlags = MsFlags::from_bits_retain(256);

/// All mounts of this process's namespace that are understood, in the order in which they were made.
///
/// # Errors
/// The table could not be read, or a line that is not understood may be a mount of ZFS.
pub fn mounts() -> io::Result<Vec<Mount>> {
    let table = table()?;
    table.knows_of(&[b"zfs"])?;
    let entries = table.entries.into_iter();
    Ok(entries.map(|entry| entry.mount).collect())
}

fn table() -> io::Result<Table> {
    // Room for all of it at once: the kernel makes the table anew for every read.
    let mut text = Vec::with_capacity(1 << 16);
    File::open("/proc/self/mountinfo")?.read_to_end(&mut text)?;
    Ok(Table::parse(&text))
}

/// The mount that a visitor of `path` reaches now; `None` when there is no such path. May block.
///
/// # Errors
/// The kernel did not say.
pub fn covering(path: &Path) -> io::Result<Option<Mount>> {
    match open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()) {
        Ok(file) => mount_of(&file).map(Some),
        Err(nix::Error::ENOENT | nix::Error::ENOTDIR) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Where a visitor finds what lies beneath the mount on each of these paths, by binds that were made before
/// it; `Err` of a path where a line that is not understood may be such a bind.
///
/// # Errors
/// The table could not be read.
pub fn bound_beneath(paths: &[&Path]) -> io::Result<Vec<io::Result<Vec<PathBuf>>>> {
    let table = table()?;
    let beneath = |path: &&Path| bound::beneath(&table, path);
    Ok(paths.iter().map(beneath).collect())
}

/// The mount that an open file or directory lies in.
///
/// # Errors
/// The kernel did not say.
pub fn mount_of(file: &impl AsFd) -> io::Result<Mount> {
    let file = file.as_fd();
    let about = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()))?;
    let id: u64 = about
        .lines()
        .find_map(|line| digits::number(line.strip_prefix("mnt_id:")?.trim()))
        .ok_or_else(|| io::Error::other("the kernel names no mount for an open file"))?;
    let entry = table()?.entries.into_iter().find(|entry| entry.id == id);
    let unknown = || io::Error::other("the mount table changed, or its line is not understood");
    let mut mount = entry.ok_or_else(unknown)?.mount;
    mount.fsid = fsid_hex(&fstatfs(file)?);
    Ok(mount)
}

fn fsid_hex(stat: &nix::sys::statfs::Statfs) -> String {
    // SAFETY: fsid_t is two 32-bit words whose names the C library keeps private.
    let words: [u32; 2] = unsafe { std::mem::transmute(stat.filesystem_id()) };
    format!("{:08x}{:08x}", words[0], words[1])
}

/// The mounts of file systems that lie on the device `node`.
///
/// # Errors
/// The kernel did not say what is mounted.
pub fn mounts_of(node: &Path, labels: &[Option<&str>]) -> io::Result<Vec<Mount>> {
    Ok(mounts_of_and_others(node, labels)?.0)
}

/// As [`mounts_of`], and all other mounts.
///
/// # Errors
/// The kernel did not say what is mounted.
pub fn mounts_of_and_others(
    node: &Path,
    _labels: &[Option<&str>],
) -> io::Result<(Vec<Mount>, Vec<Mount>)> {
    use std::os::unix::fs::MetadataExt;
    let number = fs::metadata(node).ok().map(|about| {
        let (major, minor) = (
            nix::sys::stat::major(about.rdev()),
            nix::sys::stat::minor(about.rdev()),
        );
        format!("{major}:{minor}")
    });
    let is_of_node = |entry: &Entry| number.as_ref() == Some(&entry.device);
    let table = table()?;
    let number_field = number.as_ref().map(|number| format!(" {number} "));
    let number_field = number_field.unwrap_or_default();
    table.knows_of(&[number_field.as_bytes(), node.as_os_str().as_bytes()])?;
    let (of_node, others): (Vec<_>, Vec<_>) = table.entries.into_iter().partition(is_of_node);
    let mounts = |entries: Vec<Entry>| entries.into_iter().map(|entry| entry.mount).collect();
    Ok((mounts(of_node), mounts(others)))
}

/// Gives this worker mounts of its own, which nobody else sees and which end with it.
///
/// # Errors
/// The kernel refused.
pub fn detach_mounts() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    Ok(())
}

/// Mounts the key store on `node` at `at`, with nothing on it followed or run.
///
/// # Errors
/// The kernel refused, or cannot read, or not write, this kind of file system.
pub fn mount_store(
    node: &Path,
    filesystem: &Filesystem,
    at: &Path,
    access: Access,
) -> io::Result<()> {
    let (fstype, options) = match (filesystem.kind, access) {
        (Kind::Ufs1, Access::Read) => ("ufs", Some("ufstype=44bsd")),
        (Kind::Ufs2, Access::Read) => ("ufs", Some("ufstype=ufs2")),
        (Kind::Ext, Access::Read) => ("ext4", Some("noload")),
        (Kind::Ext, Access::Write) => ("ext4", None),
        (Kind::Ufs1 | Kind::Ufs2, Access::Write) => return Err(cannot_write_ufs()),
    };
    let read_only = match access {
        Access::Read => MsFlags::MS_RDONLY,
        Access::Write => MsFlags::empty(),
    };
    let flags = read_only
        | MsFlags::MS_NOEXEC
        | MsFlags::MS_NOSUID
        | MsFlags::MS_NODEV
        | MsFlags::MS_NOATIME
        | NOSYMFOLLOW;
    mount(Some(node), at, Some(fstype), flags, options)?;
    Ok(())
}

fn cannot_write_ufs() -> io::Error {
    io::Error::other("Linux only reads UFS; write it on FreeBSD, or use a stick with ext4")
}

/// The program that checks a file system before it is written on, and its arguments before the
/// node.
///
/// # Errors
/// This kind of file system cannot be written here.
pub fn checker(kind: Kind) -> io::Result<(&'static str, &'static [&'static str])> {
    match kind {
        Kind::Ext => Ok(("/sbin/e2fsck", &["-p"])),
        Kind::Ufs1 | Kind::Ufs2 => Err(cannot_write_ufs()),
    }
}

/// Unmounts the key store.
///
/// # Errors
/// The kernel refused.
pub fn unmount_store(at: &Path) -> io::Result<()> {
    umount2(at, MntFlags::UMOUNT_NOFOLLOW)?;
    Ok(())
}

/// Shows `look` the directory that lies beneath the mount at `point`: the file system around it is
/// shown once more, without what is mounted in it. Only after [`detach_mounts`], so that nobody
/// else sees that. `None` where a system cannot do this.
///
/// # Errors
/// The kernel refused, or `look` failed.
pub fn beneath<T>(
    point: &Path,
    look: impl FnOnce(&Path) -> io::Result<T>,
) -> io::Result<Option<T>> {
    let above = point.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let around = covering(above)?.ok_or(io::ErrorKind::NotFound)?.at;
    let inside = point.strip_prefix(&around).map_err(io::Error::other)?;
    let stage = Path::new(PATHS.run).join("beneath");
    fs::create_dir_all(&stage)?;
    let none: Option<&str> = None;
    mount(Some(&around), &stage, none, MsFlags::MS_BIND, none)?;
    let seen = look(&stage.join(inside));
    umount2(&stage, MntFlags::UMOUNT_NOFOLLOW)?;
    fs::remove_dir(&stage)?;
    seen.map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::Questions;
    use crate::host::bare::{self, Bare};
    use crate::os::worker;
    use crate::sorted::Set;
    use crate::system::{Machine, System};
    use crate::time::{Deadline, SystemClock};
    use std::ffi::OsStr;
    use std::time::Duration;

    #[test]
    fn the_live_table_tells_what_covers_a_path() {
        let root = covering(Path::new("/")).unwrap().unwrap();
        assert_eq!(root.at, Path::new("/"));
        assert_ne!(root.fsid, "");
        assert_eq!(covering(Path::new("/proc/self/nothing")).unwrap(), None);
        let proc = covering(Path::new("/proc/self")).unwrap().unwrap();
        assert_eq!(
            (proc.at.as_path(), proc.fstype.as_str()),
            (Path::new("/proc"), "proc")
        );
    }

    fn names(directory: &Path) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(directory)?;
        Ok(entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect())
    }

    /// What is seen beneath a mount, of what is on it, and whether the mounts are as before.
    fn look_beneath(point: &Path) -> io::Result<(Vec<String>, Vec<String>, bool)> {
        let known = [point.to_owned()].into();
        detach_mounts()?;
        let none: Option<&str> = None;
        mount(Some("none"), point, Some("tmpfs"), MsFlags::empty(), none)?;
        fs::write(point.join("served"), "x")?;
        let before = fs::read("/proc/self/mountinfo")?;
        let seen = beneath(point, names)?.unwrap();
        let failed = beneath(point, |_| -> io::Result<()> { Err(io::Error::other("no")) });
        assert!(failed.is_err());
        let same = fs::read("/proc/self/mountinfo")? == before;
        let link = point.with_extension("link");
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(point, &link)?;
        for asked in [point, &link] {
            let found = bare::look(&[asked.to_owned()], &known)?;
            let holds = Bare::Holds(point.join("left"));
            assert_eq!(found, [(asked.to_owned(), Ok(holds))].into());
        }
        fs::remove_file(&link)?;
        Ok((seen, names(point)?, same))
    }

    /// As root it must work; nobody else may try.
    #[test]
    fn files_beneath_a_mount_are_seen_and_nothing_else_changes() {
        let point = std::env::temp_dir().join(format!("f3skeys-beneath-{}", std::process::id()));
        fs::create_dir_all(&point).unwrap();
        fs::write(point.join("left"), "x").unwrap();
        let clock = SystemClock::start();
        let deadline = Deadline::after(&clock, Duration::from_secs(20));
        let seen = worker::run("beneath", &clock, deadline, || {
            look_beneath(&point).map_err(|e| e.to_string())
        });
        let outside = names(&point).unwrap();
        fs::remove_dir_all(&point).unwrap();
        assert_eq!(
            outside,
            ["left"],
            "what the worker mounts, nobody else sees"
        );
        let expected = (vec!["left".to_owned()], vec!["served".to_owned()], true);
        match nix::unistd::geteuid().is_root() {
            true => assert_eq!(seen.unwrap().unwrap(), expected),
            false => assert!(seen.unwrap().is_err()),
        }
    }

    /// Mounts a file system on a path of odd bytes, and asks as a gate does; what a visitor of `/` and of
    /// that path reaches, and how many mounts the table has more than before.
    fn ask_beside(point: &Path) -> Result<(PathBuf, PathBuf, usize, bool), String> {
        detach_mounts().map_err(|e| e.to_string())?;
        let before = mounts().map_err(|e| e.to_string())?.len();
        let none: Option<&str> = None;
        let flags = MsFlags::empty();
        mount(Some("odd \\ name"), point, Some("tmpfs"), flags, none).map_err(|e| e.to_string())?;
        let odd = OsStr::from_bytes(b"left \xff");
        fs::write(point.join(odd), "x").map_err(|e| e.to_string())?;
        let machine = Machine::new();
        let deadline = Deadline::after(machine.clock(), Duration::from_secs(20));
        let mut questions = Questions::default();
        questions.paths.insert(PathBuf::from("/"));
        questions.paths.insert(point.to_owned());
        let link = point.with_extension("link");
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(point, &link).map_err(|e| e.to_string())?;
        questions.paths.insert(link.clone());
        let live = machine
            .look(&questions, deadline)
            .map_err(|e| e.to_string())?;
        fs::remove_file(&link).map_err(|e| e.to_string())?;
        let real = live.ways.get(&link).map(|way| way.real.as_path());
        assert_eq!((real, live.ways.len()), (Some(point), 1));
        assert_eq!(live.covering[&link], live.covering[point]);
        let reached = |path: &Path| match live.covering.get(path) {
            Some(Ok(Some(mount))) => mount.at.clone(),
            other => panic!("{other:?}"),
        };
        // A file of that name must not make all other mountpoints unknown either.
        umount2(point, MntFlags::MNT_DETACH).map_err(|e| e.to_string())?;
        fs::write(point.join(odd), "x").map_err(|e| e.to_string())?;
        let points = [point.to_owned(), PathBuf::from("/nowhere at all")];
        let seen = machine
            .beneath(&points, &Set::new(), deadline)
            .map_err(|e| e.to_string())?;
        let holds = seen.get(point) == Some(&Ok(Bare::Shows(point.join(odd))));
        let absent = seen.get(&points[1]) == Some(&Ok(Bare::Absent));
        let table = mounts().map_err(|e| e.to_string())?.len();
        Ok((
            reached(Path::new("/")),
            reached(point),
            table - before,
            holds && absent,
        ))
    }

    /// As root it must work; nobody else may try.
    #[test]
    fn law_5_a_mount_or_file_of_any_name_makes_nothing_else_unknown() {
        let name = [
            b"f3skeys-\xff\xfe \\\n-",
            std::process::id().to_string().as_bytes(),
        ]
        .concat();
        let point = std::env::temp_dir().canonicalize().unwrap();
        let point = point.join(OsStr::from_bytes(&name));
        fs::create_dir_all(&point).unwrap();
        let clock = SystemClock::start();
        let deadline = Deadline::after(&clock, Duration::from_secs(60));
        let seen = worker::run("mounts", &clock, deadline, || {
            ask_beside(&point).map(|(root, odd, more, rest)| (root, odd == point, more, rest))
        });
        fs::remove_dir_all(&point).unwrap();
        match nix::unistd::geteuid().is_root() {
            true => assert_eq!(seen.unwrap(), Ok((PathBuf::from("/"), true, 0, true))),
            false => assert!(seen.unwrap().is_err()),
        }
    }
}
