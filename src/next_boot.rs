//! What the host itself makes of the next boot: the hooks that start f3skeys in it, whether it has the
//! state directory then, and whether it imports the pools. A pool that is imported now may be so for this boot alone: it was imported by hand,
//! with another root or without a cache file, or for a host that had another number.

use crate::config::Config;
use crate::digits;
use crate::host::pool_cache::{self, CachedPool};
use crate::host::{Host, InitSystem, automounts, beside, hooks};
use crate::os::{Mount, PoolState};
use crate::pass::Node;
use crate::report::{Finding, Findings, Severity};
use crate::shell::command;
use std::io;
use std::path::Path;

/// Where OpenZFS keeps it; on FreeBSD 12 and before it was the second.
const CACHES: [&str; 2] = ["/etc/zfs/zpool.cache", "/boot/zfs/zpool.cache"];
const LARGEST_CACHE: u64 = 1 << 24;

/// Looks at all of it.
pub fn look(node: Node, config: &Config, host: &Host, init: InitSystem) -> Vec<Finding> {
    let mut said = Findings(hooks::hooks(host, init));
    said.0.extend(beside::findings(host, config));
    match node.system.mounts() {
        Ok(mounts) => {
            imports(node, config, host, init, &mounts, &mut said);
            state(node.db, init, &mounts, &mut said);
            said.0
                .extend(automounts::finding(host, config, init, &mounts));
        }
        Err(trouble) => said.unknown("mounts", &trouble.to_string()),
    }
    said.0
}

/// What a visitor of the path reaches.
fn covering<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    let around = mounts.iter().filter(|mount| path.starts_with(&mount.at));
    // Of two on one directory the later hides the other.
    around.max_by_key(|mount| mount.at.components().count())
}

/// The directory of what was promoted here, and of the reports: the first pass of a boot reads and
/// writes it, before the system mounts anything of ZFS.
fn state(db: &Path, init: InitSystem, mounts: &[Mount], said: &mut Findings) {
    let (Some(own), Some(root)) = (covering(mounts, db), covering(mounts, Path::new("/"))) else {
        return;
    };
    // Linux' initramfs mounts what lies below the dataset of the root; FreeBSD's rc.d/zfsbe comes later.
    let is_below = own.source.strip_prefix(&root.source);
    let is_below = is_below.is_some_and(|rest| rest.starts_with('/'));
    let is_early = init == InitSystem::Systemd && is_below;
    if own.at == root.at || own.fstype != "zfs" || is_early {
        return;
    }
    let what = format!(
        "is on {}, which is mounted only after the keys are loaded: a boot does not see what was promoted here, and its report is hidden",
        own.source
    );
    let remedy = "have it on the root file system, or mounted with that by the initramfs";
    said.fail(&db.display().to_string(), &what, remedy);
}

/// How a boot imports pools.
enum Way {
    /// Those that the cache file names.
    Cache(&'static str, Vec<CachedPool>),
    /// All that the disks have.
    Scan,
    /// None: FreeBSD imports by a cache file alone.
    Nothing,
}

fn imports(
    node: Node,
    config: &Config,
    host: &Host,
    init: InitSystem,
    mounts: &[Mount],
    said: &mut Findings,
) {
    let root = covering(mounts, Path::new("/")).filter(|root| root.fstype == "zfs");
    let root = root.and_then(|root| root.source.split('/').next());
    // The boot loader's or the initramfs' business is the pool of the root file system; what is not
    // imported now has been complained of.
    let is_asked = |pool: &String| {
        Some(pool.as_str()) != root && node.system.pool_state(pool) != PoolState::NotImported
    };
    let pools: Vec<String> = config.pools().into_iter().filter(is_asked).collect();
    if pools.is_empty() {
        return;
    }
    let judged = way(host, init).and_then(|way| {
        let pools = pools.iter();
        pools.map(|pool| judge(host, init, &way, pool)).collect()
    });
    match judged {
        Ok(judged) => {
            let judged: Vec<Option<Reason>> = judged;
            for (pool, reason) in pools.iter().zip(judged) {
                let Some(reason) = reason else { continue };
                let subject = format!("pool {pool}");
                said.push(weight(config, pool), &subject, &reason.what, &reason.remedy);
            }
        }
        Err(why) => said.unknown("import of the pools", &why),
    }
}

/// A boot fails without what is required or a gate waits for.
fn weight(config: &Config, pool: &str) -> Severity {
    let required = config.roots.iter().filter(|root| root.required);
    let required = required.map(|root| &root.dataset);
    let of_gates = config.gates.iter().flat_map(|gate| gate.datasets());
    match required.chain(of_gates).any(|name| name.pool() == pool) {
        true => Severity::Failure,
        false => Severity::Warning,
    }
}

/// Why the next boot does not import a pool.
struct Reason {
    what: String,
    remedy: String,
}

fn way(host: &Host, init: InitSystem) -> Result<Way, String> {
    for path in CACHES {
        let bytes = host.bytes(path, LARGEST_CACHE);
        match bytes.map_err(|e| format!("{path}: {e}"))? {
            // systemd's unit asks for a file that is not empty; rc's script for one that can be read.
            Some(bytes) if bytes.is_empty() && init == InitSystem::Systemd => {}
            Some(bytes) => {
                let pools = pool_cache::pools(&bytes);
                let pools = pools.ok_or_else(|| format!("{path} is not understood"))?;
                return Ok(Way::Cache(path, pools));
            }
            None => {}
        }
        if init == InitSystem::Systemd {
            return Ok(Way::Scan);
        }
    }
    Ok(Way::Nothing)
}

fn judge(host: &Host, init: InitSystem, way: &Way, pool: &str) -> Result<Option<Reason>, String> {
    if init == InitSystem::Systemd && has_unit(host, pool).map_err(|e| e.to_string())? {
        return Ok(None);
    }
    let lasting = command!("zpool set cachefile={} {}", CACHES[0], pool);
    match way {
        Way::Cache(path, pools) => match pools.iter().find(|cached| cached.name == pool) {
            None => Ok(Some(Reason {
                what: format!(
                    "is imported for this boot alone: {path}, by which the next one imports pools, does not name it"
                ),
                remedy: lasting,
            })),
            Some(cached) => match off(host, init, "zfs-import-cache.service")? {
                Some(reason) => Ok(Some(reason)),
                None => other_host(host, init, cached),
            },
        },
        Way::Scan => off(host, init, "zfs-import-scan.service"),
        Way::Nothing => Ok(Some(Reason {
            what: format!(
                "is imported for this boot alone: the next one imports pools by {}, which is not there",
                CACHES[0]
            ),
            remedy: lasting,
        })),
    }
}

const UNITS: [&str; 4] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
];

/// Whether the target of all imports wants the unit.
fn is_wanted(host: &Host, unit: &str) -> io::Result<bool> {
    for home in UNITS {
        for kind in ["wants", "requires"] {
            let link = format!("{home}/zfs-import.target.{kind}/{unit}");
            if host.about(&link)?.is_some() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Distributions have units that import one pool, by either of two names.
fn has_unit(host: &Host, pool: &str) -> io::Result<bool> {
    let escaped = pool.replace('-', "\\x2d");
    let names = [
        format!("zfs-import@{escaped}.service"),
        format!("zfs-import-{pool}.service"),
    ];
    Ok(is_wanted(host, &names[0])? || is_wanted(host, &names[1])?)
}

/// That systemd does not start the unit which would import the pool.
fn off(host: &Host, init: InitSystem, unit: &str) -> Result<Option<Reason>, String> {
    if init != InitSystem::Systemd {
        return Ok(None);
    }
    let wrong = |e: io::Error| format!("{unit}: {e}");
    let masked = host.link(&format!("{}/{unit}", UNITS[0])).map_err(wrong)?;
    let masked = masked.is_some_and(|target| target == Path::new("/dev/null"));
    let wanted = is_wanted(host, unit).map_err(wrong)?;
    Ok((masked || !wanted).then(|| Reason {
        what: format!("is imported for this boot alone: {unit} is not enabled"),
        remedy: match masked {
            true => command!("systemctl unmask {}", unit),
            false => command!("systemctl enable {}", unit),
        },
    }))
}

/// That the pool belongs to a host of another number than the next boot has: it is not imported then
/// without force (OpenZFS 2.2 and later also by a cache file).
fn other_host(
    host: &Host,
    init: InitSystem,
    cached: &CachedPool,
) -> Result<Option<Reason>, String> {
    // FreeBSD makes its number of /etc/hostid, which it keeps in step with that of the machine.
    if init != InitSystem::Systemd {
        return Ok(None);
    }
    let next = hostid(host)?;
    if cached.hostid == next {
        return Ok(None);
    }
    let (pool, old) = (&cached.name, format!("{:08x}", cached.hostid));
    let again = format!(
        "{} and {}, once its services are stopped",
        command!("zpool export {}", pool),
        command!("zpool import {}", pool)
    );
    Ok(Some(Reason {
        what: format!(
            "belongs to host id {old}, and the next boot has {next:08x}: it refuses to import the pool"
        ),
        remedy: match cached.hostid {
            0 => format!("remove /etc/hostid; or {again}"),
            _ => format!("{}; or {again}", command!("zgenhostid -f {}", old)),
        },
    }))
}

/// The number of the host at the next boot: what the module is told, else what the file says.
fn hostid(host: &Host) -> Result<u64, String> {
    const PARAMETER: &str = "/sys/module/spl/parameters/spl_hostid";
    const FILE: &str = "/etc/hostid";
    let wrong = |path: &'static str| move |e: io::Error| format!("{path}: {e}");
    let told = host.text(PARAMETER).map_err(wrong(PARAMETER))?;
    let told = told.unwrap_or_default();
    match told.trim() {
        "" | "0" => {}
        told => {
            let number = digits::number(told);
            return number.ok_or_else(|| format!("{PARAMETER}: `{told}`"));
        }
    }
    let bytes = host.bytes(FILE, LARGEST_CACHE).map_err(wrong(FILE))?;
    match bytes.as_deref().map(<[u8]>::first_chunk::<4>) {
        None => Ok(0),
        Some(Some(bytes)) => Ok(u64::from(u32::from_ne_bytes(*bytes))),
        Some(None) => Err(format!("{FILE} is too short")),
    }
}
