//! FreeBSD.

use super::{
    Access, Disk, Mount, Paths, PoolState, Program, Run, ServiceCall, Signature, freebsd_text,
    pool_state_from,
};
use crate::child::Finished;
use crate::device::{Filesystem, Kind};
use crate::host::InitSystem;
use crate::services::Seen;
use crate::sorted;
use crate::trouble::Trouble;
use nix::libc;
use nix::mount::{MntFlags, Nmount, unmount};
use nix::sys::resource::Resource;
use std::ffi::{CStr, CString, OsString, c_char};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use sysctl::{Ctl, CtlValue, Sysctl, SysctlError};

/// Where the program's files are.
pub const PATHS: Paths = Paths {
    program: match option_env!("F3SKEYS_PROGRAM") {
        Some(path) => path,
        None => "/usr/local/sbin/f3skeys",
    },
    config: match option_env!("F3SKEYS_CONFIG") {
        Some(path) => path,
        None => "/usr/local/etc/f3skeys.ron",
    },
    run: match option_env!("F3SKEYS_RUN") {
        Some(path) => path,
        None => "/var/run/f3skeys",
    },
    db: match option_env!("F3SKEYS_DB") {
        Some(path) => path,
        None => "/var/db/f3skeys",
    },
    syslog: "/var/run/log",
    zfs: "/sbin/zfs",
    init: InitSystem::Rc,
};

/// There is one table of mounts for all, so a killed run leaves its mount behind.
pub const MOUNTS_OUTLIVE_US: bool = true;

/// What is mounted in a directory later is not seen where nullfs shows that.
pub const BINDS_FOLLOW: bool = false;

/// The property that keeps a dataset to a zone or jail.
pub const JAILED_PROPERTY: &str = "jailed";
/// Whether a device node on a file system of ZFS is a device: only those of devfs are, and ZFS here makes
/// nothing of `devices`.
pub const DEVICE_NODES: bool = false;

/// `DISK_IDENT_SIZE` of sys/disk.h.
const IDENT_LEN: usize = 256;
nix::ioctl_read!(
    /// `DIOCGIDENT` of sys/disk.h: the disk's own identification, zero-terminated.
    disk_ident,
    b'd',
    137,
    [c_char; IDENT_LEN]
);

/// The limit on cores that allows none.
pub const NO_CORES: libc::rlim_t = 0;

/// The limit on what a process has mapped.
pub const ADDRESS_SPACE: Resource = Resource::RLIMIT_VMEM;

/// Sets whether this process, and what it becomes or starts, can be traced. `DISABLE_EXEC` outlives
/// exec, `DISABLE` would not.
///
/// # Errors
/// The kernel refused.
pub fn set_traceable(traceable: bool) -> io::Result<()> {
    let how = match traceable {
        true => libc::PROC_TRACE_CTL_ENABLE,
        false => libc::PROC_TRACE_CTL_DISABLE_EXEC,
    };
    control(libc::PROC_TRACE_CTL, how)
}

/// Whether other processes may trace this one.
///
/// # Errors
/// The kernel did not say.
#[cfg(test)]
pub fn is_traceable() -> io::Result<bool> {
    let mut status: libc::c_int = 0;
    let this = libc::id_t::from(std::process::id());
    // SAFETY: the kernel writes one int into a live variable; the target is this process.
    let done = unsafe {
        let status = (&raw mut status).cast();
        libc::procctl(libc::P_PID, this, libc::PROC_TRACE_STATUS, status)
    };
    match done {
        0 => Ok(status != -1),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Has the kernel kill this process when its parent ends.
///
/// # Errors
/// The kernel refused.
pub fn kill_me_after_my_parent() -> io::Result<()> {
    control(libc::PROC_PDEATHSIG_CTL, libc::SIGKILL)
}

/// Puts this worker before what its own work wakes.
pub fn go_first() {
    super::lower_nice();
}

/// Puts this process into capability mode: no name in any namespace means anything to it any more.
///
/// # Errors
/// The kernel refused, or was built without it.
pub fn seal(_outputs: &[RawFd]) -> io::Result<()> {
    // SAFETY: takes nothing; only what this process may ask of the kernel changes.
    match unsafe { libc::cap_enter() } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// How much memory this process has mapped, in bytes.
///
/// # Errors
/// The kernel did not say.
pub fn address_space() -> io::Result<libc::rlim_t> {
    // SAFETY: getpid has no preconditions.
    let this = unsafe { libc::getpid() };
    let name = [libc::CTL_KERN, libc::KERN_PROC, libc::KERN_PROC_PID, this];
    let mut about = std::mem::MaybeUninit::<libc::kinfo_proc>::zeroed();
    let mut length = size_of::<libc::kinfo_proc>();
    // SAFETY: the name has four words, and the kernel writes at most `length` bytes, which are there.
    let done = unsafe {
        let about = about.as_mut_ptr().cast();
        libc::sysctl(
            name.as_ptr(),
            4,
            about,
            &raw mut length,
            std::ptr::null(),
            0,
        )
    };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    if length != size_of::<libc::kinfo_proc>() {
        return Err(io::Error::other("kern.proc.pid is not understood"));
    }
    // SAFETY: the kernel has filled all of it, and every byte was zero before: it is numbers,
    // characters and pointers that nobody follows.
    let size = unsafe { about.assume_init() }.ki_size;
    libc::rlim_t::try_from(size).map_err(io::Error::other)
}

/// This very program.
///
/// # Errors
/// The kernel did not say where it is.
pub fn own_program() -> io::Result<PathBuf> {
    std::env::current_exe()
}

/// procctl(2) on this process, for the commands that take one int.
fn control(command: libc::c_int, mut value: libc::c_int) -> io::Result<()> {
    let this = libc::id_t::from(std::process::id());
    // SAFETY: the kernel reads one int from a live variable; the target is this process.
    let done = unsafe { libc::procctl(libc::P_PID, this, command, (&raw mut value).cast()) };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// This boot's identity, or `None` while the kernel has none (before the random device is seeded).
pub fn boot_id() -> Option<String> {
    let value = Ctl::new("kern.boot_id").and_then(|ctl| ctl.value()).ok()?;
    let bytes = match value {
        CtlValue::Struct(bytes) | CtlValue::Node(bytes) => bytes,
        _ => return None,
    };
    freebsd_text::boot_id(&bytes)
}

const CARP_ALLOW: &str = "net.inet.carp.allow";

/// Whether this node takes part in CARP; `None` without the module.
pub fn carp() -> io::Result<Option<bool>> {
    let value = match Ctl::new(CARP_ALLOW) {
        Ok(ctl) => ctl.value().map_err(io::Error::other)?,
        Err(SysctlError::NotFound(_)) => return Ok(None),
        Err(SysctlError::IoError(e)) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io::Error::other(e)),
    };
    match value {
        CtlValue::Int(allow) => Ok(Some(allow != 0)),
        other => Err(io::Error::other(format!("is not a number: {other:?}"))),
    }
}

/// Lets this node take part in CARP, or holds it in INIT.
pub fn set_carp(allow: bool) -> io::Result<()> {
    let ctl = Ctl::new(CARP_ALLOW).map_err(io::Error::other)?;
    ctl.set_value(CtlValue::Int(allow.into()))
        .map(|_| ())
        .map_err(io::Error::other)
}

/// The longest that a start or a stop may take. Nobody but its script does it, and that ends with it.
pub const WATCH_SERVICE: Duration = Duration::from_secs(20);

/// The command that asks rc(8). `onestop`: also what rc.conf has meanwhile disabled is stopped.
pub fn service(call: ServiceCall, name: &str) -> Program {
    let word = match call {
        ServiceCall::Look | ServiceCall::Commands => "onestatus",
        ServiceCall::Start => "start",
        ServiceCall::Stop => "onestop",
    };
    ("/usr/sbin/service", vec![name.to_owned(), word.to_owned()])
}

/// What tells of systemd's units: there are none.
pub const SYSTEMCTL: Option<&str> = None;

/// What the script of a service has said.
///
/// # Errors
/// A signal has ended it.
pub fn service_seen(finished: Finished) -> Result<Seen, Trouble> {
    // service(8) says on standard output that there is no script.
    let words = [&*finished.stdout, &*finished.stderr].concat();
    let words = String::from_utf8_lossy(&words);
    match finished.status {
        Some(status) => Ok(freebsd_text::service(status, &words)),
        None => Err(finished.failure()),
    }
}

/// The version of ZFS in the kernel; `None` where it does not say.
pub fn zfs_version() -> Option<String> {
    let ctl = Ctl::new("vfs.zfs.version.module");
    ctl.and_then(|ctl| ctl.value_string()).ok()
}

/// The state of `pool` without asking the pool.
pub fn pool_state(pool: &str) -> PoolState {
    let name = format!("kstat.zfs.{pool}.misc.state");
    match Ctl::new(&name).and_then(|ctl| ctl.value_string()) {
        Ok(word) => pool_state_from(&word),
        Err(SysctlError::NotFound(_)) => PoolState::NotImported,
        Err(SysctlError::IoError(e)) if e.kind() == io::ErrorKind::NotFound => {
            PoolState::NotImported
        }
        Err(e) => PoolState::Unknown(format!("{name}: {e}")),
    }
}

/// All mounts, in the order in which they were made.
///
/// # Errors
/// The table could not be read.
pub fn mounts() -> io::Result<Vec<Mount>> {
    let mut room = 64;
    loop {
        let mut table = Vec::<libc::statfs>::with_capacity(room);
        let bytes = (room * size_of::<libc::statfs>()) as libc::c_long;
        // SAFETY: the buffer has room for `bytes`; MNT_NOWAIT never asks a file system.
        let count = unsafe { libc::getfsstat(table.as_mut_ptr(), bytes, libc::MNT_NOWAIT) };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        if count < room {
            // SAFETY: the kernel filled `count` entries.
            unsafe { table.set_len(count) };
            return Ok(table.iter().map(mount_from).collect());
        }
        room *= 2;
    }
}

fn mount_from(stat: &libc::statfs) -> Mount {
    let read_only = stat.f_flags & libc::MNT_RDONLY as u64 != 0;
    // SAFETY: fsid_t is two 32-bit words whose names the C library keeps private.
    let words: [u32; 2] = unsafe { std::mem::transmute(stat.f_fsid) };
    Mount {
        at: PathBuf::from(OsString::from_vec(bytes(&stat.f_mntonname))),
        fstype: text(&stat.f_fstypename),
        source: text(&stat.f_mntfromname),
        read_only,
        // One file system has one mount here: what this mount refuses, all refuse.
        sealed: read_only,
        fsid: format!("{:08x}{:08x}", words[0], words[1]),
    }
}

fn bytes(field: &[c_char]) -> Vec<u8> {
    let bytes = field.iter().take_while(|c| **c != 0);
    bytes.map(|c| c.to_ne_bytes()[0]).collect()
}

/// A name that is compared with names of ASCII: what is no UTF-8 equals none of them.
fn text(field: &[c_char]) -> String {
    String::from_utf8_lossy(&bytes(field)).into_owned()
}

/// The mount that a visitor of `path` reaches now; `None` when there is no such path. May block.
///
/// # Errors
/// The kernel did not say.
pub fn covering(path: &Path) -> io::Result<Option<Mount>> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let mut stat = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the name is zero-terminated and the buffer is one statfs.
    if unsafe { libc::statfs(name.as_ptr(), stat.as_mut_ptr()) } == 0 {
        // SAFETY: the call succeeded and filled the buffer.
        return Ok(Some(mount_from(unsafe { stat.assume_init_ref() })));
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR) => Ok(None),
        _ => Err(error),
    }
}

/// Where a visitor finds what lies beneath the mount on each of these paths, by nullfs mounts that were made
/// before it.
///
/// # Errors
/// The table could not be read.
pub fn bound_beneath(paths: &[&Path]) -> io::Result<Vec<io::Result<Vec<PathBuf>>>> {
    let mounts = mounts()?;
    let beneath = |path: &&Path| Ok(freebsd_text::bound_beneath(&mounts, path));
    Ok(paths.iter().map(beneath).collect())
}

/// The mount that an open file or directory lies in.
///
/// # Errors
/// The kernel did not say.
pub fn mount_of(file: &impl AsFd) -> io::Result<Mount> {
    let mut stat = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the descriptor is open and the buffer is one statfs.
    if unsafe { libc::fstatfs(file.as_fd().as_raw_fd(), stat.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded and filled the buffer.
    Ok(mount_from(unsafe { stat.assume_init_ref() }))
}

/// Makes a directory immutable; tells whether it was so before, and `None` where its file system
/// knows nothing of the kind.
///
/// # Errors
/// The kernel refused.
pub fn make_immutable(directory: &fs::File) -> io::Result<Option<bool>> {
    let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the descriptor is open and the buffer is one stat.
    if unsafe { libc::fstat(directory.as_raw_fd(), stat.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded and filled the buffer.
    let flags = libc::c_ulong::from(unsafe { stat.assume_init_ref() }.st_flags);
    if flags & libc::SF_IMMUTABLE != 0 {
        return Ok(Some(true));
    }
    // SAFETY: a plain call on an open descriptor.
    if unsafe { libc::fchflags(directory.as_raw_fd(), flags | libc::SF_IMMUTABLE) } == 0 {
        return Ok(Some(false));
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EOPNOTSUPP) => Ok(None),
        _ => Err(error),
    }
}

/// USB disks (`da`) and their partitions that are there now. Touches no device.
///
/// # Errors
/// The kernel's list or /dev could not be read.
pub fn disks() -> io::Result<Vec<Disk>> {
    disks_that(freebsd_text::is_part_of)
}

/// Disks of other drivers, and their partitions, that are there now. Touches no device.
///
/// # Errors
/// As [`disks`].
pub fn fixed_disks() -> io::Result<Vec<Disk>> {
    disks_that(|name, known| {
        freebsd_text::is_part_of_any(name, known) && !freebsd_text::is_part_of(name, known)
    })
}

fn disks_that(is_meant: impl Fn(&str, &str) -> bool) -> io::Result<Vec<Disk>> {
    let known = Ctl::new("kern.disks")
        .and_then(|ctl| ctl.value_string())
        .map_err(io::Error::other)?;
    let mut disks = Vec::new();
    for entry in fs::read_dir("/dev")? {
        let entry = entry?;
        let name = entry.file_name();
        if !name.to_str().is_some_and(|name| is_meant(name, &known)) {
            continue;
        }
        let Ok(about) = entry.metadata() else {
            continue; // It went away while we looked.
        };
        disks.push(Disk {
            node: entry.path(),
            stamp: format!("{}.{}.{}", about.ino(), about.ctime(), about.ctime_nsec()),
        });
    }
    sorted::sort(&mut disks);
    Ok(disks)
}

/// Whether this very disk is still there.
///
/// # Errors
/// The kernel did not say.
pub fn is_there(one: &Disk) -> io::Result<bool> {
    Ok(disks()?.contains(one) || fixed_disks()?.contains(one))
}

/// The serial number that the disk gives for itself.
///
/// # Errors
/// The node cannot be opened.
pub fn serial(node: &Path) -> io::Result<Option<String>> {
    let disk = fs::File::open(node)?;
    let mut ident = [0; IDENT_LEN];
    // SAFETY: the kernel writes at most IDENT_LEN bytes into a live buffer of that size.
    if unsafe { disk_ident(disk.as_raw_fd(), &raw mut ident) }.is_err() {
        return Ok(None); // Many sticks have none; then only a label can name them.
    }
    let ident = text(&ident);
    let ident = ident.trim();
    Ok((!ident.is_empty()).then(|| ident.to_owned()))
}

/// Other numbers that programs show for a disk. diskinfo(8) shows the kernel's own.
pub fn shown_serials(_node: &Path) -> Vec<String> {
    Vec::new()
}

/// Whether a device is an optical drive, by the kernel's name for it.
pub fn is_optical(node: &Path) -> bool {
    let name = node.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with("cd"))
}

/// How a person reads the serial number of a stick.
pub const SERIAL_HINT: &str = "`camcontrol devlist`, then `diskinfo -s` on the device";

const FSTYP: &str = "/usr/sbin/fstyp";
const GPART: &str = "/sbin/gpart";
const SWAPCTL: &str = "/sbin/swapctl";

/// Whether `node` is a disk or a part of one.
///
/// # Errors
/// The kernel's list could not be read.
pub fn is_disk(node: &Path) -> io::Result<bool> {
    let known = Ctl::new("kern.disks")
        .and_then(|ctl| ctl.value_string())
        .map_err(io::Error::other)?;
    let name = node.file_name().and_then(|name| name.to_str());
    Ok(name.is_some_and(|name| freebsd_text::is_part_of_any(name, &known)))
}

/// The partitions of `node`; the node itself where it has a table without any.
///
/// # Errors
/// /dev could not be read, or gpart(8) did not say.
pub fn parts(node: &Path, run: Run) -> io::Result<Vec<PathBuf>> {
    let whole = node.file_name().and_then(|name| name.to_str());
    let whole = whole.ok_or(io::ErrorKind::InvalidInput)?;
    let mut parts = Vec::new();
    for entry in fs::read_dir("/dev")? {
        let entry = entry?;
        let name = entry.file_name();
        if name
            .to_str()
            .is_some_and(|name| freebsd_text::is_part(name, whole))
        {
            parts.push(entry.path());
        }
    }
    sorted::sort(&mut parts);
    let shown = run(GPART, &["show", "-p", whole]).map_err(|e| io::Error::other(e.to_string()))?;
    let table = freebsd_text::has_table(shown.status, &String::from_utf8_lossy(&shown.stderr));
    match table {
        Some(true) if parts.is_empty() => Ok(vec![node.to_owned()]),
        Some(_) => Ok(parts),
        None => Err(io::Error::other(shown.failure().to_string())),
    }
}

/// Whether somebody holds the device, so that nobody else may write it. May block.
///
/// # Errors
/// It cannot be opened for writing.
pub fn is_held(node: &Path) -> io::Result<bool> {
    match hold(node) {
        Ok(_) => Ok(false),
        Err(e) if e.kind() == io::ErrorKind::ResourceBusy => Ok(true),
        Err(e) => Err(e),
    }
}

/// Opens a device for writing, which is the most that GEOM gives a program: devfs never asks for a provider
/// alone (`g_dev_open` of `geom_dev.c`). `g_access` refuses that with `EPERM` where somebody has the provider
/// alone, and as long as it is open so, refuses whoever wants it alone: a file system that is mounted for
/// writing (`g_vfs_open`: r1w1e1), and whatever opens a label, a partition, a pool's or an encrypted device
/// on it. A mount that is read-only (r1w0e0), and swap, it neither hinders nor sees: those are looked up in
/// the kernel's tables.
///
/// # Errors
/// It cannot be opened, or is in use.
pub fn hold(node: &Path) -> io::Result<fs::File> {
    let opened = fs::File::options().read(true).write(true).open(node);
    opened.map_err(|e| match e.raw_os_error() {
        Some(libc::EPERM) => io::Error::from_raw_os_error(libc::EBUSY),
        _ => e,
    })
}

/// Whether the programs of [`formatting`] can work on a device that [`hold`] holds: several may have it
/// open for writing. Mounting it for writing is not possible meanwhile.
pub const HELD_WHILE_FORMATTED: bool = true;

/// Who uses the device, beside mounts: swap, which GEOM lets be written by others.
///
/// # Errors
/// swapctl(8) did not say.
pub fn users(node: &Path, run: Run) -> io::Result<Vec<String>> {
    let said = run(SWAPCTL, &["-l"])
        .and_then(crate::child::Finished::success)
        .map_err(|e| io::Error::other(e.to_string()))?;
    let name = node.display().to_string();
    let swap = freebsd_text::is_swap(&String::from_utf8_lossy(&said), &name);
    Ok(swap.then(|| "swap".to_owned()).into_iter().collect())
}

/// What the content of a device says it is, by fstyp(8).
///
/// # Errors
/// The program failed, or its answer was not understood.
pub fn signatures(node: &Path, run: Run) -> Result<Vec<Signature>, Trouble> {
    let name = node.display().to_string();
    let said = run(FSTYP, &["-l", "-u", &name])?;
    let out = String::from_utf8_lossy(&said.stdout).into_owned();
    let err = String::from_utf8_lossy(&said.stderr).into_owned();
    freebsd_text::signature(said.status, &out, &err)
        .map(|found| found.into_iter().collect())
        .ok_or_else(|| said.failure())
}

/// The programs that make an empty file system for a key store, in order.
pub fn formatting(node: &str, label: &str, wipe: bool) -> Vec<Program> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let mut programs: Vec<Program> = Vec::new();
    if wipe {
        // UFS leaves the beginning as it is, where other file systems have their superblocks.
        let target = format!("of={node}");
        let zeros = ["if=/dev/zero", &target, "bs=1m", "count=1"];
        programs.push(("/bin/dd", words(&zeros)));
    }
    programs.push(("/sbin/newfs", words(&["-U", "-L", label, node])));
    programs
}

/// The mounts of file systems that lie on the device `node`, by its own name or by the node that
/// GEOM makes for one of the labels.
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
    labels: &[Option<&str>],
) -> io::Result<(Vec<Mount>, Vec<Mount>)> {
    let is_of_node = |mount: &Mount| {
        let is_it =
            |label: &Option<&str>| freebsd_text::is_node_or_label(&mount.source, node, *label);
        labels.iter().any(is_it)
    };
    Ok(mounts()?.into_iter().partition(is_of_node))
}

/// FreeBSD has one table of mounts for all; the run directory remembers which mount is ours.
///
/// # Errors
/// None.
pub fn detach_mounts() -> io::Result<()> {
    Ok(())
}

/// Mounts the key store on `node` at `at`, with nothing on it followed or run.
///
/// # Errors
/// The kernel refused, or cannot read this kind of file system.
pub fn mount_store(
    node: &Path,
    filesystem: &Filesystem,
    at: &Path,
    access: Access,
) -> io::Result<()> {
    if filesystem.kind == Kind::Ext {
        return Err(not_ufs());
    }
    let read_only = match access {
        Access::Read => MntFlags::MNT_RDONLY,
        Access::Write => MntFlags::empty(),
    };
    let flags = read_only
        | MntFlags::MNT_NOEXEC
        | MntFlags::MNT_NOSUID
        | MntFlags::MNT_NOATIME
        | MntFlags::MNT_NOSYMFOLLOW;
    let fstype: &CStr = c"ufs";
    let mut nmount = Nmount::new();
    nmount
        .str_opt(c"fstype", fstype)
        .str_opt_owned("fspath", at)
        .str_opt_owned("from", node);
    nmount
        .nmount(flags)
        .map_err(|e| io::Error::other(e.to_string()))
}

fn not_ufs() -> io::Error {
    io::Error::other("FreeBSD takes key stores on UFS only")
}

/// The program that checks a file system before it is written on, and its arguments before the
/// node.
///
/// # Errors
/// This kind of file system cannot be written here.
pub fn checker(kind: Kind) -> io::Result<(&'static str, &'static [&'static str])> {
    match kind {
        Kind::Ufs1 | Kind::Ufs2 => Ok(("/sbin/fsck_ufs", &["-p"])),
        Kind::Ext => Err(not_ufs()),
    }
}

/// Unmounts the key store.
///
/// # Errors
/// The kernel refused.
pub fn unmount_store(at: &Path) -> io::Result<()> {
    unmount(at, MntFlags::empty())?;
    Ok(())
}

/// FreeBSD shows nobody what lies beneath a mount: it has no mounts that only one process sees.
///
/// # Errors
/// None.
pub fn beneath<T>(
    _point: &Path,
    _look: impl FnOnce(&Path) -> io::Result<T>,
) -> io::Result<Option<T>> {
    Ok(None)
}
