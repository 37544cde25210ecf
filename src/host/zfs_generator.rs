//! `zfs-mount-generator` of OpenZFS on a host of systemd, and how f3skeys lives beside it.
//!
//! For each line of its cache it makes a mount unit, bound to a unit of the encryption root that loads
//! the key by itself, or asks a person for it. Such a unit never waits for f3skeys and fails, and what
//! is bound to it is unmounted again as soon as it is mounted. Therefore `f3skeys-generator` puts a unit
//! of ours, which loads nothing, in the place of that of each configured root. And of a replica the
//! mount unit does nothing: its options are those of the cache, `rw` among them, which count for more
//! than the properties.

use super::Host;
use crate::config::{Config, Role};
use crate::names::DatasetName;
use crate::os::PATHS;
use std::io;
use std::path::Path;

/// A file for each pool, as `zfs list` has it, one file system a line.
pub const CACHE: &str = "/etc/zfs/zfs-list.cache";
/// Where the generator is, or what is preferred to it.
const GENERATORS: [&str; 5] = [
    "/run/systemd/system-generators",
    "/etc/systemd/system-generators",
    "/usr/local/lib/systemd/system-generators",
    "/usr/lib/systemd/system-generators",
    "/lib/systemd/system-generators",
];
const NAME: &str = "zfs-mount-generator";
/// The unit that takes the place of one that loads a key.
const KEY_UNIT: &str = include_str!("../../systemd/generated/zfs-load-key@.service");
/// The drop-in of the mount units of replicas.
const OF_REPLICAS: &str = include_str!("../../systemd/generated/replica.mount.conf");

/// A file system as the cache has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cached {
    /// The dataset.
    pub dataset: DatasetName,
    /// The encryption root that its unit is bound to.
    pub root: Option<DatasetName>,
    /// Its mount unit; `None` where none is made.
    pub unit: Option<String>,
    /// A boot in which it is not mounted stops in an emergency shell.
    pub stops: bool,
}

/// What the cache holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cache {
    /// Its lines.
    pub lines: Vec<Cached>,
    /// What is said of each line that is not understood.
    pub odd: Vec<String>,
}

/// Two directories of systemd, in which it looks before those of packages and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// What others generate counts for less.
    Early,
    /// As all that is generated.
    Normal,
}

/// A file that `f3skeys-generator` makes for this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Where.
    pub place: Place,
    /// Its path there.
    pub path: String,
    /// What is in it.
    pub text: String,
}

/// The cache; `None` where the generator is not in use.
///
/// # Errors
/// Something of it cannot be read.
pub fn in_use(host: &Host) -> io::Result<Option<Cache>> {
    let cache = cache(host)?;
    if cache == Cache::default() {
        return Ok(None);
    }
    for directory in GENERATORS {
        let path = format!("{directory}/{NAME}");
        let target = host.link(&path)?;
        if target.is_some_and(|target| target == Path::new("/dev/null")) {
            return Ok(None);
        }
        if host.about(&path)?.is_some() {
            return Ok(Some(cache));
        }
    }
    Ok(None)
}

fn cache(host: &Host) -> io::Result<Cache> {
    let mut cache = Cache::default();
    for name in host.names(CACHE)? {
        let path = format!("{CACHE}/{name}");
        let text = host.text(&path)?.unwrap_or_default();
        let more = lines(&text, &path);
        cache.lines.extend(more.lines);
        cache.odd.extend(more.odd);
    }
    Ok(cache)
}

/// Reads the text of a file of the cache.
pub fn lines(text: &str, path: &str) -> Cache {
    let mut cache = Cache::default();
    let lines = text.lines().enumerate();
    for (number, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        match cached(line) {
            Some(line) => cache.lines.push(line),
            None => {
                let what = format!("line {} of {path} is not understood", number + 1);
                cache.odd.push(what);
            }
        }
    }
    cache
}

/// The properties in the order of the cache; an empty one is not written.
fn cached(line: &str) -> Option<Cached> {
    let mut words = line.split('\t').filter(|word| !word.is_empty());
    let dataset = words.next()?.parse().ok()?;
    let mountpoint = words.next()?;
    let can_mount = words.next()?;
    // From atime to nbmand.
    words.nth(6)?;
    let root = match words.next() {
        Some("-") | None => None,
        Some(root) => Some(root.parse().ok()?),
    };
    // From keylocation to after.
    let mut words = words.skip(5).chain(std::iter::repeat("-"));
    let mut next = || words.next().unwrap_or("-");
    let (wanted_by, required_by) = (next(), next());
    let (nofail, ignore) = (next(), next());
    let made = ignore != "on" && ["on", "noauto"].contains(&can_mount);
    let unit = mount_unit(mountpoint).filter(|_| made);
    let by_itself = can_mount == "on" && wanted_by == "-" && required_by == "-";
    let required = !["-", "none"].contains(&required_by) || (by_itself && nofail == "off");
    Some(Cached {
        dataset,
        root,
        stops: required && unit.is_some(),
        unit,
    })
}

/// The name of the unit that mounts what belongs on a path.
pub fn mount_unit(path: &str) -> Option<String> {
    let parts: Vec<&str> = path
        .strip_prefix('/')?
        .split('/')
        .filter(|part| !part.is_empty())
        .collect();
    let has_name = !parts.is_empty() && !parts.iter().any(|part| [".", ".."].contains(part));
    has_name.then(|| format!("{}.mount", escaped(&parts.join("/"))))
}

/// The unit that loads the key of an encryption root.
pub fn key_unit(root: &DatasetName) -> String {
    format!("zfs-load-key@{}.service", escaped(root.as_str()))
}

/// As systemd writes names in those of units.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'/' => escaped.push('-'),
            b'.' if at == 0 => escaped.push_str("\\x2e"),
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b':' | b'_' | b'.' => {
                escaped.push(char::from(byte));
            }
            byte => escaped.push_str(&format!("\\x{byte:02x}")),
        }
    }
    escaped
}

/// What has to be made so that both generators live on one host.
pub fn made(config: &Config, cache: &Cache) -> Vec<Made> {
    let mut all = Vec::new();
    let mut add = |place, path: String, text: &str| {
        let text = text.replace("/etc/f3skeys.ron", PATHS.config);
        let made = Made { place, path, text };
        if !all.contains(&made) {
            all.push(made);
        }
    };
    for line in &cache.lines {
        let root = line
            .root
            .as_ref()
            .filter(|root| is_configured(config, root));
        if let Some(root) = root {
            add(Place::Early, key_unit(root), KEY_UNIT);
        }
        let is_replica = config.role_of(&line.dataset) == Some(Role::Replica);
        if let Some(unit) = line.unit.as_ref().filter(|_| is_replica) {
            let path = format!("{unit}.d/f3skeys.conf");
            add(Place::Normal, path, OF_REPLICAS);
        }
    }
    all
}

/// Whether f3skeys loads the key of this root.
pub fn is_configured(config: &Config, root: &DatasetName) -> bool {
    config.roots.iter().any(|known| known.dataset == *root)
}
