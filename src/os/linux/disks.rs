//! Disks as sysfs shows them, and what lies on them.

use crate::os::{Disk, Program, Run, Signature, linux_text};
use crate::sorted;
use crate::trouble::Trouble;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

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

/// Disks on other buses than USB, and their partitions, that are there now. What is made of other devices,
/// such as a volume of a pool, is none: what lies on it may be a stranger's. Touches no device.
///
/// # Errors
/// sysfs could not be read.
pub fn fixed_disks() -> io::Result<Vec<Disk>> {
    let mut disks = Vec::new();
    for entry in fs::read_dir("/sys/class/block")? {
        disks.extend(fixed_disk(&entry?.file_name()));
    }
    sorted::sort(&mut disks);
    Ok(disks)
}

fn fixed_disk(name: &OsStr) -> Option<Disk> {
    let device = by_its_link(name).ok()?;
    // Only what a driver of hardware has made has a device behind it.
    let is_hardware = |of: &Path| of.join("device").exists();
    let has_one = is_hardware(&device)
        || (device.join("partition").exists() && device.parent().is_some_and(is_hardware));
    (!is_usb(&device) && has_one).then(|| stamped(name, &device))?
}

/// Whether this very disk is still there.
///
/// # Errors
/// None.
pub fn is_there(one: &Disk) -> io::Result<bool> {
    let now = |name| disk(name).or_else(|| fixed_disk(name));
    Ok(one.node.file_name().and_then(now).as_ref() == Some(one))
}

/// A USB disk by the kernel's name for it; `None` if it is none, or has no medium.
fn disk(name: &OsStr) -> Option<Disk> {
    let device = by_its_link(name).ok()?;
    is_usb(&device).then(|| stamped(name, &device))?
}

/// A disk as it is now; `None` if it has no medium.
fn stamped(name: &OsStr, device: &Path) -> Option<Disk> {
    if read_trimmed(&device.join("size")).is_none_or(|s| s == "0") {
        return None;
    }
    let sequence = read_trimmed(&device.join("diskseq"))
        .or_else(|| read_trimmed(&device.parent()?.join("diskseq")));
    Some(Disk {
        node: Path::new("/dev").join(name),
        stamp: sequence.unwrap_or_default(),
    })
}

/// A disk's directory in sysfs by what the link there says, without walking there: nearly all disks are of
/// no interest.
fn by_its_link(name: &OsStr) -> io::Result<PathBuf> {
    let class = Path::new("/sys/class/block");
    Ok(class.join(class.join(name).read_link()?))
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

/// The numbers that udev has for a device, which lsblk(8) shows: they may be those of a disk behind a bridge,
/// or have other letters for blanks. None where udev has not looked yet.
pub fn shown_serials(node: &Path) -> Vec<String> {
    let number = in_sysfs(node)
        .ok()
        .and_then(|device| read_trimmed(&device.join("dev")));
    let known = number.and_then(|number| fs::read(format!("/run/udev/data/b{number}")).ok());
    linux_text::shown_serials(&String::from_utf8_lossy(&known.unwrap_or_default()))
}

/// Whether a device is an optical drive, by the kernel's name for it.
pub fn is_optical(node: &Path) -> bool {
    let name = node.file_name().map(OsStr::as_bytes);
    name.is_some_and(|name| name.starts_with(b"sr"))
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
    by_its_link(name)
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

/// Opens a device for this process alone: the kernel gives it to nobody else who wants it so, be it a mount,
/// read-only or not and in any namespace, swap, a device made of it, or a program that formats. `EBUSY`
/// where one of these has it.
///
/// # Errors
/// It cannot be opened, or is in use.
pub fn hold(node: &Path) -> io::Result<fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    // For reading: udev looks at a device anew when one that was open for writing is closed.
    let alone = nix::libc::O_EXCL | nix::libc::O_NONBLOCK;
    fs::File::options()
        .read(true)
        .custom_flags(alone)
        .open(node)
}

/// Whether the programs of [`formatting`] can work on a device that [`hold`] holds. wipefs(8) and
/// mke2fs(8) open it alone themselves, and refuse one that is held or mounted.
pub const HELD_WHILE_FORMATTED: bool = false;

/// Who uses the device, beside mounts: devices made of it, and swap.
///
/// # Errors
/// The kernel did not say.
pub fn users(node: &Path, _run: Run) -> io::Result<Vec<String>> {
    let mut users = Vec::new();
    for entry in fs::read_dir(in_sysfs(node)?.join("holders"))? {
        users.push(format!("{} is made of it", entry?.file_name().display()));
    }
    let swaps = match fs::read("/proc/swaps") {
        // A kernel without swap has no such file.
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        read => read?,
    };
    if linux_text::is_swap(
        &String::from_utf8_lossy(&swaps),
        &node.display().to_string(),
    ) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Filesystem, Kind};

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
}
