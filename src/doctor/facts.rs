//! All that `doctor` looks at, gathered in one place and kept as plain values. What could not be
//! looked at is kept as the reason why.

use super::gate_services::{self, GateService};
use super::host_facts::{self, Service, Swap};
use crate::audit::Begun;
use crate::audit::log::{self, Directory, Seen};
use crate::boot::ANOTHER_FORMAT;
use crate::bound;
use crate::config::Config;
use crate::device::{self, Candidate, Choice, Filesystem};
use crate::gate::Questions;
use crate::host::bare::Beneath;
use crate::host::binds::{self, Bind};
use crate::host::{Fstab, Host, InitSystem, RcConf, fstab, rc_conf};
use crate::key::Fingerprint;
use crate::links::Ways;
use crate::marker;
use crate::names::{DatasetName, KeyName};
use crate::next_boot;
use crate::os::Mount;
use crate::pass::{Node, ONE_CALL, Pass};
use crate::plan::{Observed, Pool};
use crate::receive::rebuild;
use crate::report::{Finding, Report};
use crate::sorted::{self, Map, Set};
use crate::store::state::Standing;
use crate::store::{self, Damage, Holding, Reading, Wanted};
use crate::trouble::Trouble;
use crate::twins::{place, places};
use crate::ways;
use crate::zfs::Dataset;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest that looking for USB disks may take.
const SCAN: Duration = Duration::from_secs(5);
/// The longest that reading all of the store may take.
const READ_STORE: Duration = Duration::from_secs(15);

/// What was not to be had, with the reason.
pub type Known<T> = Result<T, String>;

/// Everything that the checks are made of.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The version of ZFS in the kernel; `None` where it does not say.
    pub zfs_version: Option<String>,
    /// What starts services.
    pub init: InitSystem,
    /// What is said of the boot hooks, and of the import of the pools.
    pub hooks: Vec<Finding>,
    /// This boot.
    pub boot: Option<String>,
    /// The kept reports of the last `boot` and `ready`.
    pub last: Vec<(&'static str, Option<Report>)>,
    /// The kept reports of what a daily job runs: the last `verify`, and with peers `backup`.
    pub daily: Vec<(&'static str, Option<Report>)>,
    /// The time of day, in seconds since 1970, by a clock that may be wrong.
    pub now: u64,
    /// The audit logs: that of persons first.
    pub audits: Vec<Audit>,
    /// What a run of another f3skeys kept us from.
    pub kept_out: Vec<Finding>,
    /// The key device and what is on it.
    pub stick: Stick,
    /// The names of the imported pools.
    pub pools: Known<Vec<String>>,
    /// Every pool that is imported or configured.
    pub observed: Observed,
    /// What lies beneath the mountpoints, by pool.
    pub beneath: Map<String, Known<Beneath>>,
    /// Where the mountpoints and the paths of the gates really are, by pool.
    pub ways: Map<String, Known<Ways>>,
    /// `rc.conf`; empty where rc is not what starts services.
    pub rc: Known<RcConf>,
    /// `/etc/fstab`.
    pub fstab: Known<Fstab>,
    /// What the next boot binds to other places.
    pub binds: Known<Vec<Bind>>,
    /// The paths that NFS exports, each with the file that says so.
    pub exports: Known<Map<PathBuf, String>>,
    /// Where memory may be swapped to.
    pub swaps: Known<Vec<Swap>>,
    /// Variables of FreeBSD's loader.
    pub loader: Known<Map<String, String>>,
    /// Variables of the kernel that FreeBSD's rc sets at boot, each with the file that says so.
    pub sysctl: Known<Map<String, (String, &'static str)>>,
    /// Whether a person has locked the node.
    pub locked: Known<bool>,
    /// For whom a person has opened the store for a rebuild.
    pub rebuild: Known<Option<rebuild::Open>>,
    /// The files of FreeBSD's jail.conf(5): path and text.
    pub jails: Known<Vec<(String, String)>>,
    /// The NFS services that the next boot starts, with what is run before them.
    pub nfs: Known<Vec<Service>>,
    /// The services of the gates, each once.
    pub services: Vec<GateService>,
}

/// The key device.
#[derive(Debug, Clone)]
pub struct Stick {
    /// The disks that are there.
    pub candidates: Known<Vec<Candidate>>,
    /// The disks on other buses than USB.
    pub fixed: Known<Vec<Candidate>>,
    /// What the store holds; `None` where no device was chosen or it could not be locked.
    pub contents: Option<Result<Contents, Trouble>>,
    /// Whether the device refuses writing; `None` where nobody was asked.
    pub write_protected: Option<Known<bool>>,
    /// Further names of its node.
    pub aliases: Known<Vec<PathBuf>>,
    /// Where else than on the store's mountpoint it is mounted now.
    pub elsewhere: Known<Vec<PathBuf>>,
    /// What a visitor of the store's mountpoint reaches.
    pub mountpoint: Known<Option<Mount>>,
}

/// What a store holds, without a byte of a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// It has no fingerprints.
    pub plain: bool,
    /// The stick was pulled while it was read.
    pub gone: bool,
    /// Every key on it.
    pub keys: Map<KeyName, Held>,
    /// Damage that belongs to no key.
    pub damage: Vec<Damage>,
    /// Files in the store's own directory that are none of its own.
    pub strangers: Vec<String>,
    /// What there is to know about how it was read.
    pub notes: Vec<String>,
}

/// What a store holds of one key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// How many generations of it can be used.
    pub good: usize,
    /// Whether fingerprints on the store vouch for all of those.
    pub vouched: bool,
    /// Those that are neither current nor retired, with what they are for.
    pub open: Vec<(Fingerprint, Standing)>,
    /// What is damaged.
    pub damage: Vec<Damage>,
}

impl Facts {
    /// Looks at everything. Keys are in memory only while the store is read and verified.
    pub fn gather(node: Node, config: &Config, host: &Host, init: InitSystem) -> Facts {
        let mut pass = Pass::begin("doctor", node, config);
        let stick = stick(&mut pass, host, init);
        let pools = observe(&mut pass);
        let rc = match init {
            InitSystem::Rc => rc_conf(host).map_err(|e| e.to_string()),
            InitSystem::Systemd => Ok(RcConf::default()),
        };
        let binds = binds::binds(host, init).map_err(|e| e.to_string());
        let fstab = fstab(host).map_err(|e| e.to_string());
        let last = |pass| (pass, Report::last(node.db, pass));
        let daily = match config.peers.is_empty() {
            true => &["verify"][..],
            false => &["verify", "backup"],
        };
        Facts {
            init,
            hooks: hooks(&pass, host, init),
            boot: node.system.boot_id(),
            zfs_version: node.system.zfs_version(),
            last: ["boot", "ready"].into_iter().map(last).collect(),
            daily: daily.iter().copied().map(last).collect(),
            now: node.system.wall(),
            audits: audits(node),
            beneath: beneath(&pass),
            ways: ways(&pass, &binds),
            binds,
            exports: host_facts::exports(host),
            swaps: host_facts::swaps(host, init, &fstab),
            loader: host_facts::loader(host, init),
            sysctl: host_facts::sysctl(host, init),
            locked: marker::is_locked(node.run).map_err(|e| e.to_string()),
            rebuild: rebuild::open_now(node),
            jails: host_facts::jails(host, init),
            nfs: host_facts::nfs(host, init, &rc),
            services: gate_services::look(&pass),
            kept_out: pass.report.findings,
            observed: pass.observed,
            stick,
            pools,
            rc,
            fstab,
        }
    }

    /// A dataset of a pool that was seen.
    pub fn dataset(&self, name: &DatasetName) -> Option<&Dataset> {
        self.observed.datasets().find(|d| d.name == *name)
    }

    /// Where a mountpoint, or the path of a gate, of this pool really is.
    ///
    /// # Errors
    /// Nobody could look; the words say why.
    pub fn real(&self, pool: &str, path: &Path) -> Result<&Path, &str> {
        match self.ways.get(pool) {
            Some(Err(why)) => Err(why),
            Some(Ok(ways)) => match ways.get(path) {
                Some(Ok(way)) => Ok(&way.real),
                Some(Err(why)) => Err(why),
                None => Err("it was not looked at"),
            },
            None => Err("its pool was not looked at"),
        }
    }
}

/// An audit log: of what persons did here, or of what one peer has asked for.
#[derive(Debug, Clone)]
pub struct Audit {
    /// What its files are called by, from the state directory: empty, or `peers/NODE/`.
    pub prefix: String,
    /// The log; `None` where there never was one.
    pub log: Known<Option<Seen>>,
    /// The note of a change that was cut off, and that no line of the log tells of.
    pub cut_off: Known<Option<Begun>>,
}

/// The log of persons, and that of every peer that has ever changed anything.
fn audits(node: Node) -> Vec<Audit> {
    let mut prefixes = vec![String::new()];
    let of_peers = match std::fs::read_dir(node.db.join(log::OF_PEERS)) {
        Ok(entries) => entries.collect::<io::Result<Vec<_>>>(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e),
    };
    let name = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    let mut unknown = Vec::new();
    match of_peers {
        Ok(entries) => prefixes.extend(
            entries
                .iter()
                .map(|entry| format!("{}/{}/", log::OF_PEERS, name(entry))),
        ),
        Err(e) => unknown.push(Audit {
            prefix: format!("{}/", log::OF_PEERS),
            log: Err(e.to_string()),
            cut_off: Ok(None),
        }),
    }
    sorted::sort(&mut prefixes);
    let audit = |prefix: String| {
        let files = Directory(node.db.join(&prefix));
        Audit {
            log: log::read(&files).map_err(|e| e.to_string()),
            cut_off: cut_off(node, &files).map_err(|e| e.to_string()),
            prefix,
        }
    };
    prefixes.into_iter().map(audit).chain(unknown).collect()
}

/// The note of a run that is no more; whoever has the lock may be making that very change.
fn cut_off(node: Node, files: &Directory) -> io::Result<Option<Begun>> {
    let note = log::begun(files)?;
    let Some(_) = note else { return Ok(None) };
    match marker::try_lock(node.run)? {
        Some(_lock) => log::begun(files),
        None => Ok(None),
    }
}

/// What starts f3skeys, and what would undo its work.
fn hooks(pass: &Pass, host: &Host, init: InitSystem) -> Vec<Finding> {
    let mut found = next_boot::look(pass.node, pass.config, host, init);
    let one_call = pass.deadline.at_most(pass.clock(), ONE_CALL);
    let system = pass.node.system;
    let falls = bound::look(system, pass.config, &pass.observed, one_call);
    found.extend(falls.into_iter().map(|one| one.finding));
    found
}

fn stick(pass: &mut Pass, host: &Host, init: InitSystem) -> Stick {
    let node = pass.node;
    let scan = pass.deadline.at_most(pass.clock(), SCAN);
    let fixed = node.devices.scan_fixed(scan).map_err(|e| e.to_string());
    let mut candidates = node.devices.scan(scan).map_err(|e| e.to_string());
    if let (true, Ok(candidates), Ok(fixed)) = (pass.config.store.any_disk, &mut candidates, &fixed)
    {
        candidates.extend(fixed.iter().cloned());
    }
    let chosen = match &candidates {
        Ok(all) => device::choose(&pass.config.store.wanted, all),
        Err(_) => Choice::Absent(Vec::new()),
    };
    let mountpoint = mounted_at(pass, &pass.config.store.mountpoint);
    match chosen {
        Choice::Found(device, filesystem) => Stick {
            candidates,
            fixed,
            write_protected: host_facts::write_protected(host, init, &device.node),
            aliases: host_facts::aliases(host, init, &device.node),
            elsewhere: elsewhere(pass, &device),
            contents: read(pass, &device, &filesystem),
            mountpoint,
        },
        _ => Stick {
            candidates,
            fixed,
            write_protected: None,
            aliases: Ok(Vec::new()),
            elsewhere: Ok(Vec::new()),
            contents: None,
            mountpoint,
        },
    }
}

fn elsewhere(pass: &Pass, device: &Candidate) -> Known<Vec<PathBuf>> {
    let places = pass.node.devices.mounted_at(device);
    let mut places = places.map_err(|e| e.to_string())?;
    places.retain(|place| *place != pass.config.store.mountpoint);
    Ok(places)
}

fn mounted_at(pass: &Pass, path: &Path) -> Known<Option<Mount>> {
    let questions = Questions {
        paths: [path.to_owned()].into(),
        ..Questions::default()
    };
    let deadline = pass.deadline.at_most(pass.clock(), ONE_CALL);
    let live = pass.node.system.look(&questions, deadline);
    let mut live = live.map_err(|e| e.to_string())?;
    live.covering
        .remove(path)
        .unwrap_or_else(|| Err("it was not looked at".to_owned()))
}

fn read(
    pass: &mut Pass,
    device: &Candidate,
    filesystem: &Filesystem,
) -> Option<Result<Contents, Trouble>> {
    let _lock = pass.lock()?;
    let at = &pass.config.store.mountpoint;
    let deadline = pass.deadline.at_most(pass.clock(), READ_STORE);
    let devices = pass.node.devices;
    let reading = devices.read(device, filesystem, at, Wanted::All, deadline);
    Some(match reading {
        Ok(reading) => contents(reading),
        Err(trouble) => Err(trouble),
    })
}

fn open(holding: &Holding) -> Vec<(Fingerprint, Standing)> {
    let open = holding
        .generations
        .iter()
        .filter(|g| g.standing != Standing::Current);
    open.map(|g| (g.key.fingerprint(), g.standing)).collect()
}

/// Verifies every key of the store.
fn contents(mut reading: Reading) -> Result<Contents, Trouble> {
    let gone = reading.gone;
    let notes = std::mem::take(&mut reading.notes);
    let keyring = store::verify(Wanted::All, reading).map_err(|unknown| {
        Trouble::failed("the key store", &unknown.to_string()).mended_by(ANOTHER_FORMAT)
    })?;
    let held = |holding: Holding| Held {
        good: holding.generations.len(),
        vouched: holding.generations.iter().all(|g| g.verified),
        open: open(&holding),
        damage: holding.damage,
    };
    Ok(Contents {
        plain: keyring.plain,
        gone,
        keys: keyring
            .keys
            .into_iter()
            .map(|(k, h)| (k, held(h)))
            .collect(),
        damage: keyring.damage,
        strangers: keyring.strangers,
        notes,
    })
}

/// Observes every pool that is imported or configured, each with its share of half of the budget.
fn observe(pass: &mut Pass) -> Known<Vec<String>> {
    let clock = pass.clock();
    let deadline = pass.deadline.at_most(clock, ONE_CALL);
    let imported = pass.node.zfs.pools(deadline).map_err(|e| e.to_string());
    let mut all: Set<String> = pass.config.pools().into_iter().collect();
    all.extend(imported.iter().flatten().cloned());
    let half = pass.deadline.share(clock, 2);
    for (done, pool) in all.iter().enumerate() {
        let deadline = half.share(clock, all.len() - done);
        pass.observe(pool, deadline.at_most(clock, ONE_CALL));
    }
    imported
}

/// Looks for links, for each pool by itself: its file systems may not answer.
fn ways(pass: &Pass, binds: &Known<Vec<Bind>>) -> Map<String, Known<Ways>> {
    let binds = binds.as_deref().unwrap_or_default();
    let look = |paths: &[PathBuf]| {
        let deadline = pass.deadline.at_most(pass.clock(), ONE_CALL);
        let found = pass.node.system.ways(paths, deadline);
        found.map_err(|e| e.to_string())
    };
    let asked = ways::asked(pass.config, &pass.observed, binds).into_iter();
    asked.map(|(pool, paths)| (pool, look(&paths))).collect()
}

fn beneath(pass: &Pass) -> Map<String, Known<Beneath>> {
    let known: Set<PathBuf> = pass
        .observed
        .datasets()
        .filter_map(place)
        .map(Path::to_owned)
        .collect();
    let ours = places(pass.config, &pass.observed);
    let mut pools: Map<String, Vec<PathBuf>> = Map::new();
    for (at, dataset) in ours {
        let points = pools.entry(dataset.name.pool().to_owned()).or_default();
        points.push(at.to_owned());
    }
    let look = |points: &[PathBuf]| {
        let deadline = pass.deadline.at_most(pass.clock(), ONE_CALL);
        let found = pass.node.system.beneath(points, &known, deadline);
        found.map_err(|e| e.to_string())
    };
    pools
        .into_iter()
        .map(|(pool, points)| (pool, look(&points)))
        .collect()
}

/// Whether a pool was seen.
pub fn is_seen(observed: &Observed, pool: &str) -> bool {
    matches!(observed.pools.get(pool), Some(Pool::Seen(_)))
}
