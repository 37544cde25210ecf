//! Linux.

use super::{
    Access, Disk, Mount, Paths, PoolState, Program, Run, ServiceCall, Signature, linux_text,
    pool_state_from,
};
use crate::device::{Filesystem, Kind};
use crate::host::InitSystem;
use crate::sorted;
use crate::trouble::Trouble;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::resource::{Resource, rlim_t};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::sys::statfs::fstatfs;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
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

/// The property that keeps a dataset to a zone or jail.
pub const JAILED_PROPERTY: &str = "zoned";

/// `MS_NOSYMFOLLOW` of linux/mount.h, since 5.10.
const NOSYMFOLLOW: MsFlags = MsFlags::from_bits_retain(256);

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

/// Makes this worker end when its parent does.
///
/// # Errors
/// The kernel refused.
pub fn die_with_parent() -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    Ok(())
}

/// Takes from this process what it could gain by starting a program. The kernel forgets who is to
/// die with its parent when it becomes somebody else, so that is said again.
///
/// # Errors
/// The kernel refused.
pub fn seal() -> io::Result<()> {
    prctl::set_no_new_privs()?;
    die_with_parent()
}

/// How much memory this process has mapped, in bytes.
///
/// # Errors
/// The kernel did not say.
pub fn address_space() -> io::Result<rlim_t> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages = statm.split(' ').next().and_then(|word| word.parse().ok());
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

/// The command that asks systemd.
pub fn service(call: ServiceCall, name: &str) -> Program {
    let words: &[&str] = match call {
        ServiceCall::Runs => &["is-active", "--quiet"],
        ServiceCall::Start => &["start"],
        ServiceCall::Stop => &["stop"],
    };
    let words = words.iter().chain([&name]).map(|word| (*word).to_owned());
    ("/usr/bin/systemctl", words.collect())
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

fn fsid_hex(stat: &nix::sys::statfs::Statfs) -> String {
    // SAFETY: fsid_t is two 32-bit words whose names the C library keeps private.
    let words: [u32; 2] = unsafe { std::mem::transmute(stat.filesystem_id()) };
    format!("{:08x}{:08x}", words[0], words[1])
}

/// USB disks and their partitions that are there now. Touches no device.
///
/// # Errors
/// sysfs could not be read.
pub fn disks() -> io::Result<Vec<Disk>> {
    let mut disks = Vec::new();
    for entry in fs::read_dir("/sys/class/block")? {
        disks.extend(disk(&entry?.file_name()));
    }
    sorted::sort(&mut disks);
    Ok(disks)
}

/// Whether this very disk is still there.
///
/// # Errors
/// None.
pub fn is_there(one: &Disk) -> io::Result<bool> {
    let name = one.node.file_name();
    Ok(name.and_then(disk).as_ref() == Some(one))
}

/// A USB disk by the kernel's name for it; `None` if it is none, or has no medium.
fn disk(name: &OsStr) -> Option<Disk> {
    let class = Path::new("/sys/class/block");
    // By what the link says, not by walking there: nearly all disks are of no interest.
    let device = class.join(class.join(name).read_link().ok()?);
    if !is_usb(&device) || read_trimmed(&device.join("size")).is_none_or(|s| s == "0") {
        return None;
    }
    let sequence = read_trimmed(&device.join("diskseq"))
        .or_else(|| read_trimmed(&device.parent()?.join("diskseq")));
    Some(Disk {
        node: Path::new("/dev").join(name),
        stamp: sequence.unwrap_or_default(),
    })
}

fn is_usb(device: &Path) -> bool {
    device
        .components()
        .any(|part| part.as_os_str().as_bytes().starts_with(b"usb"))
}

fn read_trimmed(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned())
}

/// The serial number that the USB device of `node` gives for itself, or else the disk does.
///
/// # Errors
/// sysfs does not know the node.
pub fn serial(node: &Path) -> io::Result<Option<String>> {
    let device = in_sysfs(node)?;
    if let Some(usb) = device.ancestors().find(|dir| dir.join("idVendor").exists()) {
        return Ok(read_trimmed(&usb.join("serial")));
    }
    let whole = match device.join("partition").exists() {
        true => device.parent().unwrap_or(&device),
        false => &device,
    };
    let places = ["serial", "device/serial"].iter();
    let mut given = places.filter_map(|place| read_trimmed(&whole.join(place)));
    Ok(given.find(|serial| !serial.is_empty()))
}

/// How a person reads the serial number of a stick.
pub const SERIAL_HINT: &str = "`lsblk -o NAME,MODEL,SERIAL`";

/// Whether `node` is a disk or a part of one.
///
/// # Errors
/// There is no such node.
pub fn is_disk(node: &Path) -> io::Result<bool> {
    Ok(fs::metadata(node)?.file_type().is_block_device())
}

/// The partitions of `node`.
///
/// # Errors
/// sysfs does not know the node.
pub fn parts(node: &Path, _run: Run) -> io::Result<Vec<PathBuf>> {
    let mut parts = Vec::new();
    for entry in fs::read_dir(in_sysfs(node)?)? {
        let entry = entry?;
        if entry.path().join("partition").exists() {
            parts.push(Path::new("/dev").join(entry.file_name()));
        }
    }
    sorted::sort(&mut parts);
    Ok(parts)
}

fn in_sysfs(node: &Path) -> io::Result<PathBuf> {
    let name = node.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    Path::new("/sys/class/block").join(name).canonicalize()
}

/// Whether somebody holds the device, so that nobody else may write it. May block.
///
/// # Errors
/// It cannot be opened for writing.
pub fn is_held(node: &Path) -> io::Result<bool> {
    use std::os::unix::fs::OpenOptionsExt;
    let alone = nix::libc::O_EXCL | nix::libc::O_NONBLOCK;
    let mut how = fs::OpenOptions::new();
    match how.read(true).write(true).custom_flags(alone).open(node) {
        Ok(_) => Ok(false),
        Err(e) if e.kind() == io::ErrorKind::ResourceBusy => Ok(true),
        Err(e) => Err(e),
    }
}

/// Who uses the device, beside mounts: devices made of it, and swap.
///
/// # Errors
/// The kernel did not say.
pub fn users(node: &Path, _run: Run) -> io::Result<Vec<String>> {
    let mut users = Vec::new();
    for entry in fs::read_dir(in_sysfs(node)?.join("holders"))? {
        users.push(format!("{} is made of it", entry?.file_name().display()));
    }
    let swaps = match fs::read_to_string("/proc/swaps") {
        // A kernel without swap has no such file.
        Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
        read => read?,
    };
    if linux_text::is_swap(&swaps, &node.display().to_string()) {
        users.push("swap".to_owned());
    }
    Ok(users)
}

/// What the content of a device says it is, by wipefs(8).
///
/// # Errors
/// The program failed, or its answer was not understood.
pub fn signatures(node: &Path, run: Run) -> Result<Vec<Signature>, Trouble> {
    let name = node.display().to_string();
    let said = run(WIPEFS, &["--no-act", "--json", &name])?.success()?;
    linux_text::signatures(&said).map_err(|why| Trouble::failed(WIPEFS, &why))
}

const WIPEFS: &str = "/usr/sbin/wipefs";

/// The programs that make an empty file system for a key store, in order.
pub fn formatting(node: &str, label: &str, wipe: bool) -> Vec<Program> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let mut programs: Vec<Program> = Vec::new();
    if wipe {
        programs.push((WIPEFS, words(&["--all", "--quiet", node])));
    }
    // With a journal, as is the default: without one, what a pulled stick is left with is often
    // beyond `e2fsck -p`. A store has few files; more inodes only make formatting slow.
    let options = [
        "-q",
        "-L",
        label,
        "-m",
        "0",
        "-N",
        "4096",
        "-E",
        "lazy_itable_init=0,lazy_journal_init=0",
        node,
    ];
    programs.push(("/sbin/mkfs.ext4", words(&options)));
    programs
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
    use crate::guard;
    use crate::host::bare::{self, Bare};
    use crate::os::worker;
    use crate::system::Guard;
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

    /// Runs a program as the program does.
    fn run(program: &str, args: &[&str]) -> Result<crate::child::Finished, Trouble> {
        let clock = crate::time::SystemClock::start();
        let deadline = crate::time::Deadline::after(&clock, std::time::Duration::from_secs(60));
        let call = crate::child::Call {
            program: Path::new(program),
            args,
            input: None,
        };
        crate::child::run(&call, &clock, deadline)
    }

    fn format(image: &str, label: &str, wipe: bool) -> Vec<u8> {
        for (program, args) in formatting(image, label, wipe) {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            run(program, &args).unwrap().success().unwrap();
        }
        let mut head = vec![0; crate::device::HEAD_LEN];
        io::Read::read_exact(&mut fs::File::open(image).unwrap(), &mut head).unwrap();
        head
    }

    #[test]
    fn formatting_leaves_one_labelled_file_system_with_a_journal() {
        let name = format!("f3skeys-format-{}.img", std::process::id());
        let image = std::env::temp_dir().join(name);
        fs::File::create(&image).unwrap().set_len(32 << 20).unwrap();
        let node = image.display().to_string();
        let seen = || signatures(&image, &run).unwrap();
        assert_eq!(seen(), []);
        for (label, wipe) in [("F3S_KEYS", false), ("OTHER-1", true)] {
            let head = format(&node, label, wipe);
            let found = crate::device::identify(&head);
            let expected = Filesystem {
                kind: Kind::Ext,
                label: Some(label.to_owned()),
            };
            assert_eq!(found, [expected]);
            assert!(matches!(&seen()[..], [one] if one.label.as_deref() == Some(label)));
            // `s_feature_compat` of the superblock, and in it `has_journal`.
            assert_eq!(head[1024 + 0x5c] & 4, 4, "it has no journal");
        }
        fs::remove_file(&image).unwrap();
    }

    #[test]
    fn what_is_no_disk_is_known_by_its_node() {
        assert!(!is_disk(Path::new("/dev/null")).unwrap());
        assert!(is_disk(Path::new("/dev/no such disk")).is_err());
        assert!(parts(Path::new("/dev/null"), &run).is_err());
        assert!(users(Path::new("/dev/null"), &run).is_err());
    }

    #[test]
    fn this_boot_has_an_identity() {
        assert!(boot_id().is_some_and(|id| id.len() == 36));
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
        let link = point.0.join("link");
        std::os::unix::fs::symlink(point.0.join("real"), &link).unwrap();
        fs::create_dir_all(point.0.join("real/below")).unwrap();
        fs::write(point.0.join("file"), "x").unwrap();
        for path in [link.clone(), link.join("below"), point.0.join("file")] {
            assert!(guard::now(&path).is_err(), "{}", path.display());
        }
        let real = Point(point.0.join("real"));
        assert!(real.takes_files());
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
