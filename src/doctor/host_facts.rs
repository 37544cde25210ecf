//! Facts that are read from the host's files: swap, the loader's variables, NFS, the stick in /sys.

use super::facts::Known;
use crate::host::{DROP_INS, Fstab, Host, InitSystem, RcConf, Setting, exports};
use crate::names::DatasetName;
use crate::sorted::{Map, Set};
use std::io;
use std::path::{Path, PathBuf};

/// Somewhere that memory may be swapped to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swap {
    /// Its device or file.
    pub name: String,
    /// What that is.
    pub kind: SwapKind,
}

/// What memory is swapped to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SwapKind {
    /// An encrypted device, or memory.
    Safe,
    /// A device that is not encrypted.
    Plain,
    /// A volume, as encrypted as its dataset is.
    Volume(DatasetName),
    /// It lies in another file system, or in a device that does not tell.
    Unknown,
}

/// A service that the next boot starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// What is run before it.
    pub before: Setting,
    /// Whether it serves what lies under a missing file system, so that it has to ask a gate.
    pub serves: bool,
}

fn known<T>(path: &str, read: io::Result<T>) -> Known<T> {
    read.map_err(|e| format!("{path}: {e}"))
}

/// Whether the disk refuses writing, where that can be asked without harm.
///
/// On FreeBSD only opening it for writing would tell, which makes GEOM taste it again and take its
/// label nodes away for a moment; so nobody is asked there.
pub fn write_protected(host: &Host, init: InitSystem, node: &Path) -> Option<Known<bool>> {
    let name = node.file_name()?.to_str()?;
    let path = match init {
        InitSystem::Rc => return None,
        InitSystem::Systemd => format!("/sys/class/block/{name}/ro"),
    };
    Some(
        known(&path, host.text(&path)).and_then(|text| match text.as_deref().map(str::trim) {
            Some("0") => Ok(false),
            Some("1") => Ok(true),
            Some(other) => Err(format!("{path}: `{other}`")),
            None => Err(format!("{path} is not there")),
        }),
    )
}

/// The links in `/dev/disk` that lead to the disk: other names that fstab may call it by.
pub fn aliases(host: &Host, init: InitSystem, node: &Path) -> Known<Vec<PathBuf>> {
    const LINKS: &str = "/dev/disk";
    let mut found = Vec::new();
    if init == InitSystem::Rc {
        return Ok(found);
    }
    for kind in known(LINKS, host.names(LINKS))? {
        let directory = format!("{LINKS}/{kind}");
        for name in known(&directory, host.names(&directory))? {
            let path = format!("{directory}/{name}");
            let target = known(&path, host.link(&path))?;
            if target.is_some_and(|target| target.file_name() == node.file_name()) {
                found.push(PathBuf::from(path));
            }
        }
    }
    Ok(found)
}

/// Where memory may be swapped to: on FreeBSD as fstab says, on Linux as it is now.
pub fn swaps(host: &Host, init: InitSystem, fstab: &Known<Fstab>) -> Known<Vec<Swap>> {
    match init {
        InitSystem::Rc => Ok(fstab
            .iter()
            .flat_map(|fstab| &fstab.lines)
            .filter(|line| line.fstype == "swap")
            .map(|line| freebsd_swap(&line.device))
            .collect()),
        InitSystem::Systemd => linux_swaps(host),
    }
}

fn freebsd_swap(device: &str) -> Swap {
    let name = device.strip_prefix("/dev/").unwrap_or(device);
    let kind = if name.ends_with(".eli") {
        SwapKind::Safe
    } else if let Some(volume) = name.strip_prefix("zvol/") {
        volume.parse().map_or(SwapKind::Unknown, SwapKind::Volume)
    } else if name.starts_with("md") {
        SwapKind::Unknown
    } else {
        SwapKind::Plain
    };
    Swap {
        name: device.to_owned(),
        kind,
    }
}

const SWAPS: &str = "/proc/swaps";

fn linux_swaps(host: &Host) -> Known<Vec<Swap>> {
    let text = known(SWAPS, host.text(SWAPS))?.unwrap_or_default();
    let mut swaps = Vec::new();
    for line in text.lines().skip(1) {
        let mut words = line.split_whitespace();
        let (Some(name), Some(kind)) = (words.next(), words.next()) else {
            return Err(format!("{SWAPS}: line not understood: `{line}`"));
        };
        let kind = match (kind, name.strip_prefix("/dev/")) {
            ("partition", Some(device)) => linux_swap(host, device)?,
            _ => SwapKind::Unknown,
        };
        swaps.push(Swap {
            name: name.to_owned(),
            kind,
        });
    }
    Ok(swaps)
}

fn linux_swap(host: &Host, device: &str) -> Known<SwapKind> {
    if device.starts_with("zram") {
        return Ok(SwapKind::Safe);
    }
    if device.starts_with("zd") {
        let volume = volume_of(host, "/dev/zvol", device)?;
        return Ok(volume.map_or(SwapKind::Unknown, SwapKind::Volume));
    }
    Ok(match is_crypt(host, device, 8)? {
        true => SwapKind::Safe,
        false => SwapKind::Plain,
    })
}

/// Whether a device of the device mapper is encrypted, by itself or by all that it lies on.
fn is_crypt(host: &Host, device: &str, depth: u32) -> Known<bool> {
    let path = format!("/sys/block/{device}/dm/uuid");
    let Some(uuid) = known(&path, host.text(&path))? else {
        return Ok(false);
    };
    if uuid.starts_with("CRYPT-") {
        return Ok(true);
    }
    let path = format!("/sys/block/{device}/slaves");
    let below = known(&path, host.names(&path))?;
    let mut all = !below.is_empty() && depth > 0;
    for device in below {
        all = all && is_crypt(host, &device, depth - 1)?;
    }
    Ok(all)
}

/// The volume whose device this is, by the links that OpenZFS makes.
fn volume_of(host: &Host, directory: &str, device: &str) -> Known<Option<DatasetName>> {
    for name in known(directory, host.names(directory))? {
        let path = format!("{directory}/{name}");
        let found = match known(&path, host.link(&path))? {
            Some(target) if target.file_name() == Some(device.as_ref()) => {
                path.trim_start_matches("/dev/zvol/").parse().ok()
            }
            Some(_) => None,
            None => volume_of(host, &path, device)?,
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// What FreeBSD's loader.conf(5) sets; nothing elsewhere.
pub fn loader(host: &Host, init: InitSystem) -> Known<Map<String, String>> {
    const DIRECTORY: &str = "/boot/loader.conf.d";
    let mut values = Map::new();
    if init != InitSystem::Rc {
        return Ok(values);
    }
    let mut paths = vec!["/boot/loader.conf".to_owned()];
    let names = known(DIRECTORY, host.names(DIRECTORY))?;
    let in_directory = names.iter().filter(|name| name.ends_with(".conf"));
    paths.extend(in_directory.map(|name| format!("{DIRECTORY}/{name}")));
    paths.push("/boot/loader.conf.local".to_owned());
    for path in paths {
        let text = known(&path, host.text(&path))?.unwrap_or_default();
        values.extend(text.lines().filter_map(loader_line));
    }
    Ok(values)
}

/// What rc(8) sets of sysctl(8)'s variables at boot, each with the file that says so; nothing elsewhere.
pub fn sysctl(host: &Host, init: InitSystem) -> Known<Map<String, (String, &'static str)>> {
    const FILES: [&str; 3] = [
        "/etc/sysctl.conf",
        "/etc/sysctl.conf.local",
        "/etc/sysctl.kld.d/carp.conf",
    ];
    let mut values = Map::new();
    if init != InitSystem::Rc {
        return Ok(values);
    }
    for path in FILES {
        let text = known(path, host.text(path))?.unwrap_or_default();
        for (name, value) in text.lines().filter_map(loader_line) {
            values.insert(name, (value, path));
        }
    }
    Ok(values)
}

fn loader_line(line: &str) -> Option<(String, String)> {
    let line = line.split('#').next()?;
    let (name, value) = line.split_once('=')?;
    Some((
        name.trim().to_owned(),
        value.trim().trim_matches('"').to_owned(),
    ))
}

/// The files of jail.conf(5); none elsewhere.
pub fn jails(host: &Host, init: InitSystem) -> Known<Vec<(String, String)>> {
    const DIRECTORY: &str = "/etc/jail.conf.d";
    if init != InitSystem::Rc {
        return Ok(Vec::new());
    }
    let names = known(DIRECTORY, host.names(DIRECTORY))?;
    let in_directory = names.iter().filter(|name| name.ends_with(".conf"));
    let in_directory = in_directory.map(|name| format!("{DIRECTORY}/{name}"));
    let paths = std::iter::once("/etc/jail.conf".to_owned()).chain(in_directory);
    let read = |path: String| match known(&path, host.text(&path)) {
        Ok(text) => text.map(|text| Ok((path, text))),
        Err(why) => Some(Err(why)),
    };
    paths.filter_map(read).collect()
}

/// The paths that NFS exports, each with the file that says so first.
pub fn exports(host: &Host) -> Known<Map<PathBuf, String>> {
    let names = known(exports::MORE, host.names(exports::MORE))?;
    let more = names.iter().filter(|name| name.ends_with(".exports"));
    let more = more.map(|name| format!("{}/{name}", exports::MORE));
    let mut found = Map::new();
    for file in exports::FILES.map(str::to_owned).into_iter().chain(more) {
        let text = known(&file, host.text(&file))?.unwrap_or_default();
        for path in exports::paths(&text) {
            found.entry(path).or_insert_with(|| file.clone());
        }
    }
    Ok(found)
}

/// The NFS services that the next boot starts.
pub fn nfs(host: &Host, init: InitSystem, rc: &Known<RcConf>) -> Known<Vec<Service>> {
    match init {
        InitSystem::Rc => nfs_of_rc(rc.as_ref().map_err(Clone::clone)?),
        InitSystem::Systemd => nfs_of_systemd(host),
    }
}

fn nfs_of_rc(rc: &RcConf) -> Known<Vec<Service>> {
    let is_on = |service, variable| rc.seen_by(service, variable).is_yes();
    let server = is_on("nfsd", "nfs_server_enable")?;
    // nfsd starts mountd and rpcbind whether they are enabled or not. The last three serve no
    // files: whether they wait for a gate is the admin's to choose.
    let services = [
        ("mountd", server || is_on("mountd", "mountd_enable")?, true),
        ("nfsd", server, true),
        (
            "rpcbind",
            server || is_on("rpcbind", "rpcbind_enable")?,
            false,
        ),
        ("nfsuserd", is_on("nfsuserd", "nfsuserd_enable")?, false),
        ("stunnel", is_on("stunnel", "stunnel_enable")?, false),
    ];
    Ok(services
        .into_iter()
        .filter(|(_, on, _)| *on)
        .map(|(name, _, serves)| Service {
            name: name.to_owned(),
            before: rc.seen_by(name, &format!("{name}_prepend")),
            serves,
        })
        .collect())
}

/// Where systemd looks for units and, in [`DROP_INS`] by our generator, for drop-ins; the first most.
const UNITS: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    DROP_INS,
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
];

fn nfs_of_systemd(host: &Host) -> Known<Vec<Service>> {
    let mut enabled = false;
    for directory in UNITS {
        let wants = format!("{directory}/multi-user.target.wants");
        for unit in known(&wants, host.names(&wants))? {
            enabled |= unit == "nfs-server.service" || unit == "nfs-kernel-server.service";
        }
    }
    let names = ["nfs-mountd.service", "nfs-server.service"];
    names
        .into_iter()
        .filter(|_| enabled)
        .map(|name| {
            Ok(Service {
                name: name.to_owned(),
                before: before(host, name)?,
                serves: true,
            })
        })
        .collect()
}

/// What the drop-ins of a unit make it run first. Of two files with one name the preferred counts.
fn before(host: &Host, unit: &str) -> Known<Setting> {
    let mut seen = Set::new();
    let mut commands = Vec::new();
    for directory in UNITS {
        let directory = format!("{directory}/{unit}.d");
        for name in known(&directory, host.names(&directory))? {
            let path = format!("{directory}/{name}");
            if !name.ends_with(".conf") || !seen.insert(name) {
                continue;
            }
            if known(&path, host.link(&path))?.is_some_and(|t| t == Path::new("/dev/null")) {
                continue;
            }
            let text = known(&path, host.text(&path))?.unwrap_or_default();
            let first = |line: &str| Some(line.strip_prefix("ExecStartPre=")?.to_owned());
            commands.extend(text.lines().filter_map(first));
        }
    }
    Ok(match commands.is_empty() {
        true => Setting::Unset,
        false => Setting::Value(commands.join("\n")),
    })
}
