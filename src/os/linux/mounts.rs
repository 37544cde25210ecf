//! The table of mounts, and mounting the key store.

use super::PATHS;
use crate::device::{Filesystem, Kind};
use crate::os::{Access, Mount};
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use nix::sys::statfs::fstatfs;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// `MS_NOSYMFOLLOW` of linux/mount.h, since 5.10.
const NOSYMFOLLOW: MsFlags = MsFlags::from_bits_retain(256);

/// All mounts of this process's namespace, in the order in which they were made.
///
/// # Errors
/// The table could not be read or is not as the kernel documents it.
pub fn mounts() -> io::Result<Vec<Mount>> {
    Ok(table()?.into_iter().map(|entry| entry.mount).collect())
}

struct Entry {
    id: u64,
    device: String,
    mount: Mount,
}

fn table() -> io::Result<Vec<Entry>> {
    // Room for all of it at once: the kernel makes the table anew for every read.
    let mut text = Vec::with_capacity(1 << 16);
    File::open("/proc/self/mountinfo")?.read_to_end(&mut text)?;
    text.split(|b| *b == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| {
            parse_mountinfo(line).ok_or_else(|| {
                let line = String::from_utf8_lossy(line);
                io::Error::other(format!("mount table line not understood: {line}"))
            })
        })
        .collect()
}

/// One line of /proc/self/mountinfo, as proc_pid_mountinfo(5) describes it.
fn parse_mountinfo(line: &[u8]) -> Option<Entry> {
    let mut fields = line.split(|b| *b == b' ');
    let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let _parent = fields.next()?;
    let device = String::from_utf8(fields.next()?.to_vec()).ok()?;
    let _root = fields.next()?;
    let at = PathBuf::from(std::ffi::OsString::from_vec(unescape(fields.next()?)));
    let read_only = has_ro(fields.next()?);
    let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
    let fstype = String::from_utf8(rest.next()?.to_vec()).ok()?;
    // Somebody's oddly named mount must not make the whole table unreadable.
    let source = String::from_utf8_lossy(&unescape(rest.next()?)).into_owned();
    let sealed = has_ro(rest.next()?);
    Some(Entry {
        id,
        device,
        mount: Mount {
            at,
            fstype,
            source,
            read_only: read_only || sealed,
            sealed,
            fsid: String::new(),
        },
    })
}

fn has_ro(options: &[u8]) -> bool {
    options.split(|b| *b == b',').any(|option| option == b"ro")
}

/// Undoes the kernel's `\040` for a space and the like.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let digits = tail.get(..3).and_then(|d| std::str::from_utf8(d).ok());
        match digits.and_then(|d| u8::from_str_radix(d, 8).ok()) {
            Some(byte) if first == b'\\' => {
                out.push(byte);
                rest = &tail[3..];
            }
            _ => {
                out.push(first);
                rest = tail;
            }
        }
    }
    out
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

/// The mount that an open file or directory lies in.
///
/// # Errors
/// The kernel did not say.
pub fn mount_of(file: &impl AsFd) -> io::Result<Mount> {
    let file = file.as_fd();
    let about = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()))?;
    let id: u64 = about
        .lines()
        .find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok())
        .ok_or_else(|| io::Error::other("the kernel names no mount for an open file"))?;
    let entry = table()?.into_iter().find(|entry| entry.id == id);
    let mut mount = entry
        .ok_or_else(|| io::Error::other("the mount table changed meanwhile"))?
        .mount;
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
    let (of_node, others): (Vec<_>, Vec<_>) = table()?.into_iter().partition(is_of_node);
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
    use crate::host::bare::{self, Bare};
    use crate::os::worker;
    use crate::time::{Deadline, SystemClock};
    use std::time::Duration;

    #[test]
    fn mountinfo_lines_are_read() {
        let line = b"36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 shared:2 - zfs zdata/enc\\134x ro,xattr";
        let entry = parse_mountinfo(line).unwrap();
        assert_eq!(entry.id, 36);
        assert_eq!(entry.device, "98:0");
        assert_eq!(entry.mount.at, Path::new("/mnt 2"));
        assert_eq!(entry.mount.fstype, "zfs");
        assert_eq!(entry.mount.source, "zdata/enc\\x");
        assert!(entry.mount.sealed && entry.mount.read_only);
    }

    #[test]
    fn a_read_only_bind_of_a_writable_file_system_is_not_sealed() {
        let mount = parse_mountinfo(b"1 0 0:9 / /a ro - zfs z/a rw,xattr")
            .unwrap()
            .mount;
        assert!(mount.read_only && !mount.sealed);
        let mount = parse_mountinfo(b"1 0 0:9 / /a rw - zfs z/a rw,errors=ro2")
            .unwrap()
            .mount;
        assert!(!mount.read_only && !mount.sealed);
    }

    #[test]
    fn broken_mountinfo_lines_are_refused() {
        for line in [
            "",
            "36 35",
            "x 35 98:0 / / rw - zfs a ro",
            "36 35 98:0 / / rw zfs a ro",
        ] {
            assert!(parse_mountinfo(line.as_bytes()).is_none(), "{line}");
        }
    }

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
        let found = bare::look(&[point.to_owned()], &known)?;
        let holds = Bare::Holds(point.join("left"));
        assert_eq!(found, [(point.to_owned(), Ok(holds))].into());
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
}
