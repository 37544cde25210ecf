//! A simulated node: pools, sticks, mounts and a clock, in memory. It serves tests and the demo,
//! and is never part of the program. It keeps a trace, so that a test need not take f3skeys'
//! word for anything.

#![allow(dead_code)] // Each test program uses its own part of it.

pub mod formatter;
pub mod medium;
mod services;

use f3skeys::bound::Unit;
use f3skeys::config::{Config, Peer};
use f3skeys::device::{Candidate, Filesystem, Kind as FsKind};
use f3skeys::gate::{Bound, Live, Questions};
use f3skeys::host::Fstab;
use f3skeys::host::bare::{Bare, Beneath};
use f3skeys::host::binds::{Bind, When};
use f3skeys::key::{Fingerprint, Key, Nonce, keys_alive};
use f3skeys::links::{Link, Way, Ways};
use f3skeys::marker::{self, LOCK_POLL};
use f3skeys::names::{DatasetName, KeyName};
use f3skeys::os::{Intake, Mount, PoolState};
use f3skeys::pass::Node;
use f3skeys::peers::{self, Ask, Peers, Put, Question, Reply};
use f3skeys::promotion::record::{self, Record};
use f3skeys::promotion::{self, Promoted, Promotion};
use f3skeys::receive::{self, Refused, rebuild};
use f3skeys::report::Severity;
use f3skeys::seals::Seal;
use f3skeys::services::{Seen, State as ServiceState};
use f3skeys::sorted::{Map, Set};
use f3skeys::statement::Statement;
use f3skeys::store::layout::{self, Place};
use f3skeys::store::state::{FORMAT, Generation, Standing, State};
use f3skeys::store::survey::survey;
use f3skeys::store::work::{Merge, Work, Worked};
use f3skeys::store::{KeyFile, Reading, Wanted};
use f3skeys::system::{Guard, KeyDevices, System};
use f3skeys::time::{Clock, Deadline};
use f3skeys::trouble::Trouble;
use f3skeys::writer::{self, Medium};
use f3skeys::zfs::{
    Answer, CanMount, Damaged, Dataset, KeyFormat, KeyStatus, Kind, Listing, Loading, Moment,
    Mountpoint, OpenedBy, Part, Past, Source, Try, Zfs,
};
use medium::{Fault, SimMedium};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// What happened, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// `readonly=on` was set.
    Sealed(String),
    /// A key was loaded; whether any dataset that it opens could be written then.
    Loaded(String),
    /// A file system was mounted, writable or not.
    Mounted {
        dataset: String,
        writable: bool,
    },
    /// `readonly=off` was set.
    Unsealed(String),
    /// A promotion, or its end, was recorded.
    Recorded(String, String),
    /// A snapshot was made.
    Snapshot(String),
    /// A file system was unmounted.
    Unmounted(String),
    /// A key was unloaded.
    Unloaded(String),
    /// A service was started or stopped.
    Started(String),
    Stopped(String),
    /// The node took part in CARP from here on, or no more.
    Carp(bool),
    /// The key of a root was changed.
    Changed(String),
    /// Where a root's key is looked for was set.
    Located(String, String),
    /// A bare directory was made immutable.
    Guarded(PathBuf),
}

/// A key stick: when it is plugged in, and its files.
#[derive(Debug, Clone)]
pub struct Stick {
    pub plugged_in_at: Duration,
    pub candidate: Candidate,
    pub files: BTreeMap<String, Vec<u8>>,
    /// Reading it fails with these words.
    pub broken: Option<String>,
    /// Writing on it fails with these words.
    pub unwritable: Option<String>,
    /// It is pulled after this many files of it were read.
    pub pulled_after: Option<usize>,
    /// What goes wrong when it is written the next time.
    pub fault: Option<Fault>,
}

impl Stick {
    /// An empty stick that is there from the beginning.
    pub fn new(node: &str, label: &str, serial: &str) -> Stick {
        Stick {
            plugged_in_at: Duration::ZERO,
            candidate: Candidate {
                node: node.into(),
                serial: Some(serial.to_owned()),
                filesystems: vec![Filesystem {
                    kind: FsKind::Ufs2,
                    label: (!label.is_empty()).then(|| label.to_owned()),
                }],
                ..Candidate::default()
            },
            files: BTreeMap::new(),
            broken: None,
            unwritable: None,
            pulled_after: None,
            fault: None,
        }
    }

    /// With a store of format 1 that holds these keys, each in one generation.
    pub fn with_store(mut self, keys: &[(&str, [u8; 32])]) -> Stick {
        let mut state = State {
            format: FORMAT,
            store: "00".repeat(16),
            keys: Map::new(),
        };
        for (name, bytes) in keys {
            let name: KeyName = name.parse().unwrap();
            let fingerprint = Fingerprint::of(bytes);
            self.files.insert(layout::top_path(&name), bytes.to_vec());
            self.files.insert(
                layout::generation_path(&name, 1, fingerprint),
                bytes.to_vec(),
            );
            state.keys.insert(
                name,
                vec![Generation {
                    generation: 1,
                    fingerprint,
                    state: Standing::Current,
                }],
            );
        }
        self.files
            .insert(layout::STATE.to_owned(), state.to_bytes());
        self
    }

    /// With another identity of its store.
    pub fn with_id(mut self, id: &str) -> Stick {
        let mut state = State::parse(&self.files[layout::STATE]).unwrap();
        state.store = id.repeat(16);
        self.files
            .insert(layout::STATE.to_owned(), state.to_bytes());
        self
    }

    /// With the plain store of the f3s articles.
    pub fn with_plain_store(mut self, keys: &[(&str, [u8; 32])]) -> Stick {
        for (name, bytes) in keys {
            self.files.insert(format!("{name}.key"), bytes.to_vec());
        }
        self
    }

    /// Changes every copy of a key in place.
    pub fn damage(&mut self, key: &str, change: impl Fn(&mut Vec<u8>)) {
        for (path, bytes) in &mut self.files {
            if path.contains(key) {
                change(bytes);
            }
        }
    }
}

/// A dataset's own part of the world.
pub fn dataset(name: &str) -> Dataset {
    Dataset {
        name: name.parse().unwrap(),
        kind: Kind::Filesystem,
        encryption_root: None,
        key_status: KeyStatus::None,
        key_format: KeyFormat::None,
        key_location: None,
        readonly: false,
        readonly_source: Source::Default,
        setuid: true,
        devices: true,
        exec: true,
        can_mount: CanMount::On,
        mountpoint: Mountpoint::None,
        mountpoint_source: Source::Default,
        sharenfs: None,
        sharesmb: None,
        received: Vec::new(),
        mounted: false,
        jailed: false,
        guid: guid_of(name),
        promotion: Promoted::Never,
        written: 0,
        origin: None,
    }
}

/// A number that no other name gives.
fn guid_of(name: &str) -> u64 {
    let digest = blake3::hash(name.as_bytes());
    u64::from_le_bytes(*digest.as_bytes().first_chunk().unwrap())
}

/// A locked dataset below, or at, an encryption root.
pub fn encrypted(name: &str, root: &str) -> Dataset {
    Dataset {
        encryption_root: Some(root.parse().unwrap()),
        key_status: KeyStatus::Unavailable,
        key_format: KeyFormat::Raw,
        key_location: (name == root).then(|| "prompt".to_owned()),
        ..dataset(name)
    }
}

/// With what a mount of a replica may not allow switched off.
pub fn restricted(dataset: Dataset) -> Dataset {
    Dataset {
        setuid: false,
        devices: false,
        exec: false,
        ..dataset
    }
}

/// With a mountpoint.
pub fn at(path: &str, dataset: Dataset) -> Dataset {
    Dataset {
        mountpoint: Mountpoint::Path(path.into()),
        mountpoint_source: Source::Local,
        ..dataset
    }
}

#[derive(Clone)]
struct SimMount {
    mount: Mount,
    /// The mount that its directory lay in when it was made; what is mounted over it later hides it.
    parent: Option<usize>,
    /// Of a bind: the mount, and the directory in it, that it shows.
    shows: Option<(usize, PathBuf)>,
}

/// The simulated node.
#[derive(Clone)]
pub struct Sim {
    now: Cell<Duration>,
    pub boot_id: RefCell<Option<String>>,
    pub states: RefCell<BTreeMap<String, PoolState>>,
    pub datasets: RefCell<Vec<Dataset>>,
    /// The key that really opens each root.
    pub wrapped: RefCell<BTreeMap<String, [u8; 32]>>,
    pub sticks: RefCell<Vec<Stick>>,
    pub files: RefCell<Vec<PathBuf>>,
    /// Files of a file system, seen only where a visitor reaches it.
    pub files_on: RefCell<Vec<(String, PathBuf)>>,
    pub trace: RefCell<Vec<Event>>,
    /// Pools whose every answer takes for ever.
    pub hanging: RefCell<Vec<String>>,
    /// Trees that take for ever to look at; their roots alone do not.
    pub endless_trees: RefCell<Vec<String>>,
    /// Trees of which ZFS says more than is read.
    pub immense_trees: RefCell<Vec<String>>,
    /// The trees of each look at a part of a pool, and how much had happened before it.
    pub looked_at: RefCell<Vec<(Vec<String>, usize)>>,
    /// Pools that have a checkpoint.
    pub checkpoints: RefCell<Vec<String>>,
    /// Datasets whose mounting takes for ever.
    pub hanging_mounts: RefCell<Vec<String>>,
    /// File systems that ZFS does not mount, and says why.
    pub refused_mounts: RefCell<Vec<String>>,
    /// How often a hanging pool was asked.
    pub asked_in_vain: Cell<u32>,
    /// How often a key was only tried.
    pub probes: Cell<u32>,
    /// How many roots or file systems are handed to ZFS at once.
    pub at_once: Cell<usize>,
    /// Whether the kernel itself says what came of a key.
    pub kernel_says: Cell<bool>,
    /// The pools that were looked at, each time.
    pub looked: RefCell<Vec<String>>,
    /// How long it takes to load a key.
    pub load_takes: Cell<Duration>,
    /// Datasets on which `readonly` cannot be set.
    pub stubborn: RefCell<Vec<String>>,
    /// What the system mounts by itself.
    pub fstab: RefCell<Fstab>,
    /// Units of systemd.
    pub units: RefCell<Vec<Unit>>,
    /// Of several file systems with one mountpoint the last by name is mounted first.
    pub twins_reversed: Cell<bool>,
    /// What lies beneath mountpoints; elsewhere they are clean.
    pub beneath: RefCell<Beneath>,
    /// The time of day at the clock's zero.
    pub wall: Cell<u64>,
    /// Whether the node takes part in CARP, where there is one.
    pub carp: RefCell<Result<Option<bool>, String>>,
    /// The version of ZFS in the kernel.
    pub zfs_version: RefCell<Option<String>>,
    /// Datasets of which ZFS says something that is not understood.
    pub damaged: RefCell<Vec<Damaged>>,
    /// Snapshots, bookmarks and bytes written, of datasets that have any.
    pub pasts: RefCell<BTreeMap<String, Past>>,
    /// Pools and datasets that `zfs get` and `zfs list` say nothing of.
    pub unlisted: RefCell<Vec<String>>,
    /// Datasets of which something is still being written out after each snapshot.
    pub busy_writer: RefCell<Vec<String>>,
    /// Datasets that somebody uses: they cannot be unmounted.
    pub busy: RefCell<Vec<String>>,
    /// The services, and whether each runs.
    pub service_states: RefCell<BTreeMap<String, bool>>,
    /// File systems that the loaded key of their root does not unwrap.
    pub not_unwrapped: RefCell<Vec<String>>,
    /// File systems that were asked for the space of their users, which may write to them.
    pub accounted: RefCell<Vec<DatasetName>>,
    /// How often a key change is to do its work and then not answer.
    pub silent_changes: Cell<u32>,
    /// Services that do nothing they are told.
    pub deaf_services: RefCell<Vec<String>>,
    /// Services of which the manager says this, and that do nothing they are told.
    pub odd_services: RefCell<BTreeMap<String, Seen>>,
    /// What services run when they start, as systemd shows it; rc tells it of none.
    pub service_commands: RefCell<BTreeMap<String, String>>,
    /// Services of which tasks go on, stopped or not, until the other one is stopped.
    pub tasks_ended_by: RefCell<BTreeMap<String, String>>,
    /// Services that take their time: how long a start and a stop takes, and what a start ends in.
    pub slow_services: RefCell<BTreeMap<String, (Duration, Duration, ServiceState)>>,
    /// Slow services on their way: until when, and whether to run.
    pub moving_services: RefCell<BTreeMap<String, (Duration, bool)>>,
    /// What each peer answers; others do not answer.
    pub replies: RefCell<BTreeMap<String, Reply>>,
    /// Other nodes, with their configurations: peers that answer by themselves.
    pub neighbours: RefCell<BTreeMap<String, Rc<(Sim, Config)>>>,
    /// Peers that are away: asking one takes all the time there is.
    pub away: RefCell<Vec<String>>,
    /// A run that dies while it writes a stick leaves there only what was made durable; else all that
    /// was written.
    pub torn: Cell<bool>,
    /// Keys that another node has in memory while this one answers it.
    keys_elsewhere: Cell<usize>,
    /// How often the kernel gave random bytes.
    random: Cell<u64>,
    /// How often a peer was asked.
    pub questions_to_peers: Cell<u32>,
    /// Paths and datasets of which the kernel says nothing when they are looked at.
    pub silent: RefCell<Vec<String>>,
    /// Looking at anything takes for ever.
    pub hanging_looks: Cell<bool>,
    /// How often ZFS was asked for anything.
    pub zfs_calls: Cell<u32>,
    /// No bare directory can be made immutable.
    pub unguardable: Cell<bool>,
    /// Files in bare directories, and whether the directory is immutable.
    pub bare: RefCell<BTreeMap<PathBuf, (Vec<String>, bool)>>,
    /// The kernel refuses to change the hold of CARP.
    pub carp_refused: Cell<bool>,
    /// What others do while the run waits; it is told how long.
    pub meanwhile: RefCell<Option<Meanwhile>>,
    /// The run dies at its n-th step: at the n-th time that it touches anything outside itself.
    pub die_at: Cell<Option<u32>>,
    /// The system's log.
    pub logged: RefCell<Vec<(Severity, String)>>,
    /// What a person who watches was told that is waited for.
    pub doings: RefCell<Vec<String>>,
    mounts: RefCell<Vec<SimMount>>,
    /// What the boot binds to other places.
    pub binds: RefCell<Vec<Bind>>,
    /// Symbolic links: where each is, what it says, and the file system that it lies on.
    pub links: RefCell<Vec<(PathBuf, PathBuf, String)>>,
    pub directory: PathBuf,
}

/// What others do while a run waits.
pub type Meanwhile = Rc<dyn Fn(&Sim, Duration)>;

/// What a run dies with that was told to: see [`Sim::die_at`].
pub struct Died;

/// What is mounted on `/`.
pub const ROOT_FILESYSTEM: &str = "zroot/ROOT/default";
/// What one call of ZFS costs.
const ONE_CALL: Duration = Duration::from_millis(40);

impl Sim {
    /// Puts the root file system elsewhere.
    pub fn root_on(&self, fstype: &str, source: &str) {
        let root = &mut self.mounts.borrow_mut()[0].mount;
        root.fstype = fstype.to_owned();
        root.source = source.to_owned();
    }

    /// A node without pools; its files are in a fresh directory.
    pub fn new(name: &str) -> Sim {
        let directory =
            std::env::temp_dir().join(format!("f3skeys-sim-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        Sim {
            now: Cell::new(Duration::ZERO),
            boot_id: RefCell::new(Some("boot-1".to_owned())),
            states: RefCell::default(),
            datasets: RefCell::default(),
            wrapped: RefCell::default(),
            sticks: RefCell::default(),
            files: RefCell::default(),
            files_on: RefCell::default(),
            trace: RefCell::default(),
            hanging: RefCell::default(),
            endless_trees: RefCell::default(),
            immense_trees: RefCell::default(),
            looked_at: RefCell::default(),
            checkpoints: RefCell::default(),
            hanging_mounts: RefCell::default(),
            refused_mounts: RefCell::default(),
            asked_in_vain: Cell::new(0),
            probes: Cell::new(0),
            at_once: Cell::new(1),
            kernel_says: Cell::new(false),
            looked: RefCell::default(),
            load_takes: Cell::new(Duration::ZERO),
            stubborn: RefCell::default(),
            fstab: RefCell::default(),
            units: RefCell::default(),
            twins_reversed: Cell::default(),
            beneath: RefCell::default(),
            wall: Cell::new(1_795_000_000),
            carp: RefCell::new(Ok(None)),
            zfs_version: RefCell::new(Some("2.3.9-1".to_owned())),
            damaged: RefCell::default(),
            pasts: RefCell::default(),
            unlisted: RefCell::default(),
            busy_writer: RefCell::default(),
            busy: RefCell::default(),
            service_states: RefCell::default(),
            not_unwrapped: RefCell::default(),
            silent_changes: Cell::default(),
            deaf_services: RefCell::default(),
            odd_services: RefCell::default(),
            service_commands: RefCell::default(),
            tasks_ended_by: RefCell::default(),
            slow_services: RefCell::default(),
            moving_services: RefCell::default(),
            replies: RefCell::default(),
            neighbours: RefCell::default(),
            away: RefCell::default(),
            torn: Cell::default(),
            keys_elsewhere: Cell::default(),
            random: Cell::default(),
            questions_to_peers: Cell::default(),
            silent: RefCell::default(),
            hanging_looks: Cell::default(),
            zfs_calls: Cell::default(),
            unguardable: Cell::default(),
            bare: RefCell::default(),
            carp_refused: Cell::default(),
            meanwhile: RefCell::default(),
            accounted: RefCell::default(),
            die_at: Cell::default(),
            logged: RefCell::default(),
            doings: RefCell::default(),
            links: RefCell::default(),
            mounts: RefCell::new(vec![SimMount {
                mount: Mount {
                    at: "/".into(),
                    fstype: "zfs".to_owned(),
                    source: ROOT_FILESYSTEM.to_owned(),
                    read_only: false,
                    sealed: false,
                    fsid: "root".to_owned(),
                },
                parent: None,
                shows: None,
            }]),
            binds: RefCell::default(),
            directory,
        }
    }

    /// Adds datasets; their pools are imported and work.
    pub fn with(self, datasets: Vec<Dataset>) -> Sim {
        for dataset in &datasets {
            let works = PoolState::Works("ONLINE".to_owned());
            self.states
                .borrow_mut()
                .insert(dataset.name.pool().to_owned(), works);
        }
        self.datasets.borrow_mut().extend(datasets);
        self
    }

    /// Says which key opens a root.
    pub fn opened_by(self, root: &str, key: [u8; 32]) -> Sim {
        self.wrapped.borrow_mut().insert(root.to_owned(), key);
        self
    }

    /// Plugs a stick in.
    pub fn stick(self, stick: Stick) -> Sim {
        self.sticks.borrow_mut().push(stick);
        self
    }

    /// The same node once more, with files of its own: those of the run directory and the reports.
    /// Its neighbours are forked with it.
    pub fn fork(&self, name: &str) -> Sim {
        let mut fork = self.clone();
        fork.directory = Sim::new(name).directory.clone();
        copy(&self.run(), &fork.run());
        copy(&self.db(), &fork.db());
        for (peer, neighbour) in fork.neighbours.borrow_mut().iter_mut() {
            let (sim, config) = &**neighbour;
            *neighbour = Rc::new((sim.fork(&format!("{name}-{peer}")), config.clone()));
        }
        fork
    }

    /// With another node that answers this one's questions by itself.
    pub fn beside(self, sim: Sim, config: Config) -> Sim {
        let name = config.node.to_string();
        let neighbour = Rc::new((sim, config));
        self.neighbours.borrow_mut().insert(name, neighbour);
        self
    }

    /// A neighbour.
    pub fn neighbour(&self, name: &str) -> Rc<(Sim, Config)> {
        self.neighbours.borrow()[name].clone()
    }

    /// ZFS says something of a dataset that is not understood; all that is known is what opens it: this
    /// root, no key (`-`), or not even that (`?`).
    pub fn not_understood(&self, name: &str, root: &str) {
        self.damaged.borrow_mut().push(Damaged {
            name: name.parse().unwrap(),
            property: "mountpoint",
            what: "it is `x`".to_owned(),
            opened_by: match root {
                "-" => OpenedBy::NoKey,
                "?" => OpenedBy::NotKnown,
                root => OpenedBy::Root(root.parse().unwrap()),
            },
        });
    }

    pub fn run(&self) -> PathBuf {
        self.directory.join("run")
    }

    pub fn db(&self) -> PathBuf {
        self.directory.join("db")
    }

    /// Calls a verb with this node.
    pub fn verb<T>(&self, verb: impl FnOnce(Node) -> T) -> T {
        let (run, db) = (self.run(), self.db());
        verb(Node {
            zfs: self,
            devices: self,
            system: self,
            services: self,
            peers: self,
            run: &run,
            db: &db,
        })
    }

    /// A dataset as it is now.
    pub fn find(&self, name: &str) -> Dataset {
        let datasets = self.datasets.borrow();
        let found = datasets.iter().find(|d| d.name.as_str() == name);
        found.unwrap_or_else(|| panic!("no {name}")).clone()
    }

    /// What this node knows of a dataset's promotion: its property and the record together.
    pub fn promotion(&self, name: &str) -> Promoted {
        let mut found = [self.find(name)];
        record::join_all(&mut found, &record::all(&self.db()));
        let [found] = found;
        found.promotion
    }

    /// Sets the property of a promotion, and the record as `promote` and `demote` keep it beside that
    /// value; `readonly` stays as it is.
    pub fn set_promotion(&self, name: &str, value: &str) {
        let said = promotion::parse(value);
        self.change(name, |d| d.promotion = said.clone());
        match said {
            Promoted::Now(promotion) => self.record_of(name, &promotion, true),
            Promoted::Over(epoch) => {
                let (since, reason) = (0, "x".to_owned());
                let over = Promotion {
                    epoch,
                    since,
                    reason,
                };
                self.record_of(name, &over, false);
            }
            _ => {}
        }
    }

    /// Puts down in the state directory that a promotion lasts, or is over.
    pub fn record_of(&self, name: &str, promotion: &Promotion, lasts: bool) {
        let dataset = self.find(name);
        let record = Record {
            dataset: dataset.name,
            guid: dataset.guid,
            promotion: promotion.clone(),
            lasts,
        };
        record.keep(&self.db()).unwrap();
    }

    /// Changes a dataset.
    pub fn change(&self, name: &str, change: impl FnOnce(&mut Dataset)) {
        let mut datasets = self.datasets.borrow_mut();
        let found = datasets.iter_mut().find(|d| d.name.as_str() == name);
        change(found.unwrap_or_else(|| panic!("no {name}")));
    }

    /// What the system does after `boot`: mounts all it can, in the order of paths. Which of several
    /// with one mountpoint comes first is not ordained: see `twins_reversed`.
    pub fn zfs_mount_all(&self) {
        let answers = |d: &&Dataset| {
            let hangs = self.hanging.borrow().iter().any(|p| p == d.name.pool());
            let absent = matches!(
                self.pool_state(d.name.pool()),
                PoolState::NotImported | PoolState::Suspended
            );
            !hangs && !absent
        };
        let mut all: Vec<(PathBuf, DatasetName)> = self
            .datasets
            .borrow()
            .iter()
            .filter(answers)
            .filter(|d| !d.mounted && d.can_mount == CanMount::On && d.kind == Kind::Filesystem)
            .filter(|d| d.key_status != KeyStatus::Unavailable && !d.jailed)
            .filter_map(|d| match &d.mountpoint {
                Mountpoint::Path(path) => Some((path.clone(), d.name.clone())),
                _ => None,
            })
            .collect();
        all.sort();
        if self.twins_reversed.get() {
            all.reverse();
            all.sort_by(|a, b| a.0.cmp(&b.0));
        }
        for (_, name) in all {
            self.mount_now(&name);
        }
    }

    /// What fstab mounts after that, as systemd does it: the file systems of ZFS that wait for f3skeys.
    /// Tells whether the boot goes on.
    pub fn fstab_mount_all(&self) -> bool {
        let fstab = self.fstab.borrow();
        let mut goes_on = true;
        for line in fstab.lines.iter().filter(|line| line.fstype == "zfs") {
            let dataset = self.find(&line.device);
            let waits = line.has("x-systemd.after=f3skeys.service");
            let mountable = dataset.mountpoint == Mountpoint::Legacy || line.has("zfsutil");
            let open = dataset.key_status != KeyStatus::Unavailable;
            match (line.has("noauto"), waits && mountable && open) {
                (true, _) => {}
                (false, true) => self.mount_at(&dataset.name, Path::new(&line.at)),
                (false, false) => goes_on &= line.has("nofail"),
            }
        }
        goes_on
    }

    /// What systemd takes off again: what is bound to a unit that is not active. Of ours the boot has
    /// started each. Tells whether all stays.
    pub fn systemd_unmounts(&self) -> bool {
        let mut units = self.units.borrow_mut();
        for unit in units.iter_mut() {
            unit.active |= unit.file.starts_with("/run/systemd/generator.early/");
        }
        let is_active = |name: &String| units.iter().any(|u| u.name == *name && u.active);
        let is_held = |d: &Dataset| match &d.mountpoint {
            Mountpoint::Path(at) => {
                let name = at.display().to_string().replacen('/', "", 1);
                let name = format!("{}.mount", name.replace('/', "-"));
                let unit = units.iter().find(|u| u.name == name);
                unit.is_none_or(|unit| unit.bound_to.iter().all(is_active))
            }
            _ => true,
        };
        let datasets = self.datasets.borrow().clone();
        let fallen = datasets.iter().filter(|d| d.mounted && !is_held(d));
        let fallen: Vec<&str> = fallen.map(|d| d.name.as_str()).collect();
        for name in &fallen {
            self.mounts.borrow_mut().retain(|m| m.mount.source != *name);
            self.change(name, |d| d.mounted = false);
        }
        fallen.is_empty()
    }

    /// The power fails and comes back: mounts, keys and the boot's identity are gone. The root file
    /// system is mounted, and its key was asked for, before anything else runs.
    pub fn reboot(&self, boot_id: &str) {
        *self.boot_id.borrow_mut() = Some(boot_id.to_owned());
        self.mounts.borrow_mut().truncate(1);
        let is_root = |d: &Dataset| d.name.as_str() == ROOT_FILESYSTEM;
        let mut datasets = self.datasets.borrow_mut();
        let kept = datasets.iter().find(|d| is_root(d));
        let kept = kept.and_then(|d| d.encryption_root.clone());
        for dataset in datasets.iter_mut() {
            dataset.mounted = is_root(dataset);
            if dataset.encryption_root.is_some() && dataset.encryption_root != kept {
                dataset.key_status = KeyStatus::Unavailable;
            }
            // Temporary is what a mount was given against the property.
            if dataset.readonly_source == Source::Temporary {
                dataset.readonly = !dataset.readonly;
                dataset.readonly_source = Source::Local;
            }
        }
        self.moving_services.borrow_mut().clear();
        self.trace.borrow_mut().clear();
        self.now.set(Duration::ZERO);
        drop(datasets);
        self.bind_early();
    }

    /// What fstab binds before anything else runs.
    fn bind_early(&self) {
        let binds = self.binds.borrow().clone();
        for bind in binds.into_iter().filter(|b| b.when == When::Early) {
            let from = self.way(&bind.from).real;
            let of = self.resolve(&from);
            let at = self.way(&bind.at).real;
            let parent = Some(self.resolve(&at));
            let around = self.mounts.borrow()[of].mount.clone();
            let mount = Mount { at, ..around };
            let shows = Some((of, from));
            self.mounts.borrow_mut().push(SimMount {
                mount,
                parent,
                shows,
            });
        }
    }

    /// Where a visitor finds a directory that lies beneath the mount on a path.
    fn beneath_is_seen_at(&self, path: &Path) -> Vec<PathBuf> {
        let mounts = self.mounts.borrow();
        let mut beneath = Vec::new();
        let mut next = mounts[self.resolve(path)].parent;
        while let Some(index) = next {
            beneath.push(index);
            next = mounts[index].parent;
        }
        let shows_it = |m: &&SimMount| {
            m.shows
                .as_ref()
                .is_some_and(|(of, from)| beneath.contains(of) && from.starts_with(path))
        };
        let is_on_top = |m: &&SimMount| mounts[self.resolve(&m.mount.at)].shows == m.shows;
        let found = mounts.iter().filter(shows_it).filter(is_on_top);
        found.map(|m| m.mount.at.clone()).collect()
    }

    /// Unmounts a dataset, wherever it is mounted; what was mounted in it stays where it is.
    pub fn unmount(&self, name: &str) {
        while let Some(index) = self.mount_of(name) {
            self.take_off(index);
        }
    }

    fn mount_of(&self, name: &str) -> Option<usize> {
        let mounts = self.mounts.borrow();
        mounts.iter().rposition(|m| m.mount.source == name)
    }

    fn take_off(&self, index: usize) {
        let gone = self.mounts.borrow_mut().remove(index);
        for entry in self.mounts.borrow_mut().iter_mut() {
            entry.parent = match entry.parent {
                Some(parent) if parent == index => gone.parent,
                Some(parent) if parent > index => Some(parent - 1),
                parent => parent,
            };
            if let Some((of, _)) = &mut entry.shows
                && *of > index
            {
                *of -= 1;
            }
        }
        if gone.mount.fstype == "zfs" {
            self.change(&gone.mount.source, |d| d.mounted = false);
        }
    }

    /// What a visitor of a path reaches.
    pub fn shown(&self, path: &Path) -> Mount {
        let index = self.resolve(path);
        self.mounts.borrow()[index].mount.clone()
    }

    /// Makes a symbolic link, on what a visitor of its directory reaches.
    pub fn link(&self, at: &str, to: &str) {
        let on = self.shown(Path::new(at).parent().unwrap()).source;
        self.links.borrow_mut().push((at.into(), to.into(), on));
    }

    /// Where a path is: the first link on the way is followed as long as there is one.
    fn way(&self, path: &Path) -> Way {
        let mut way = Way {
            real: path.to_owned(),
            links: Vec::new(),
        };
        while let Some((at, to, on)) = self.first_link(&way.real) {
            let rest = way.real.strip_prefix(&at).unwrap();
            way.real = at.parent().unwrap().join(&to).join(rest);
            way.links.push(Link { at, to, on });
        }
        way
    }

    fn first_link(&self, path: &Path) -> Option<(PathBuf, PathBuf, String)> {
        let links = self.links.borrow();
        let mut prefixes: Vec<&Path> = path.ancestors().collect();
        prefixes.pop();
        prefixes.reverse();
        let found = prefixes.into_iter().find_map(|prefix| {
            let on = &self.mounts.borrow()[self.resolve(prefix.parent().unwrap())]
                .mount
                .source;
            links.iter().find(|link| link.0 == prefix && link.2 == *on)
        });
        found.cloned()
    }

    /// Mounts something by hand, such as another file system on top.
    pub fn mount_over(&self, path: &str, source: &str, fstype: &str) {
        self.push_mount(Mount {
            at: path.into(),
            fstype: fstype.to_owned(),
            source: source.to_owned(),
            read_only: false,
            sealed: false,
            fsid: source.to_owned(),
        });
    }

    /// A mount on a directory that is bound elsewhere is made there as well: all mounts are shared.
    fn push_mount(&self, mount: Mount) {
        let parent = self.resolve(&mount.at);
        let mut made = vec![(parent, mount.clone())];
        for (index, m) in self.mounts.borrow().iter().enumerate() {
            if let Some((of, from)) = &m.shows
                && *of == parent
                && let Ok(inside) = mount.at.strip_prefix(from)
            {
                let at = m.mount.at.join(inside).components().collect();
                made.push((
                    index,
                    Mount {
                        at,
                        ..mount.clone()
                    },
                ));
            }
        }
        for (parent, mount) in made {
            self.mounts.borrow_mut().push(SimMount {
                mount,
                parent: Some(parent),
                shows: None,
            });
        }
    }

    /// Which mount a visitor of `path` ends in.
    fn resolve(&self, path: &Path) -> usize {
        let mounts = self.mounts.borrow();
        let mut current = 0;
        let mut prefixes: Vec<&Path> = path.ancestors().collect();
        prefixes.reverse();
        for prefix in prefixes {
            while let Some(next) = mounts
                .iter()
                .rposition(|m| m.mount.at == prefix && m.parent == Some(current))
            {
                current = next;
            }
        }
        current
    }

    fn mount_now(&self, name: &DatasetName) {
        if let Mountpoint::Path(at) = self.find(name.as_str()).mountpoint {
            self.mount_at(name, &at);
        }
    }

    fn mount_at(&self, name: &DatasetName, at: &Path) {
        let dataset = self.find(name.as_str());
        self.trace.borrow_mut().push(Event::Mounted {
            dataset: name.to_string(),
            writable: !dataset.readonly,
        });
        self.push_mount(Mount {
            at: self.way(at).real,
            fstype: "zfs".to_owned(),
            source: name.to_string(),
            read_only: dataset.readonly,
            sealed: dataset.readonly,
            fsid: format!("fsid of {name}"),
        });
        self.change(name.as_str(), |d| d.mounted = true);
    }

    fn note(&self, event: Event) {
        self.trace.borrow_mut().push(event);
    }

    fn remount(&self, name: &str, readonly: bool) {
        for entry in self.mounts.borrow_mut().iter_mut() {
            if entry.mount.source == name {
                entry.mount.read_only = readonly;
                entry.mount.sealed = readonly;
            }
        }
    }

    /// An answer of the kernel, unless it says nothing of that.
    fn told<T>(&self, of: &str, answer: T) -> Result<T, String> {
        match self.silent.borrow().iter().any(|silent| silent == of) {
            true => Err("Input/output error".to_owned()),
            false => Ok(answer),
        }
    }

    /// Whether a mounted file system lists this snapshot.
    fn shows_snapshot(&self, dataset: &str, name: &str) -> Result<bool, String> {
        if !self.find(dataset).mounted {
            return Err("not mounted".to_owned());
        }
        let pasts = self.pasts.borrow();
        let moments = pasts.get(dataset).map(|past| past.moments.as_slice());
        let mut moments = moments.unwrap_or_default().iter();
        Ok(moments.any(|moment| !moment.bookmark && moment.name == name))
    }

    /// As ZFS does: what inherits the property follows.
    fn set_readonly_property(&self, at: &DatasetName, readonly: bool) {
        let mut followed = Vec::new();
        for d in self.datasets.borrow_mut().iter_mut() {
            if d.name == *at {
                d.readonly_source = Source::Local;
            } else if d.name.is_at_or_below(at) && inherits(&d.readonly_source, at) {
                d.readonly_source = Source::Inherited(at.clone());
            } else {
                continue;
            }
            d.readonly = readonly;
            followed.push(d.name.to_string());
        }
        for name in followed {
            self.remount(&name, readonly);
        }
    }

    /// The past of a dataset and of all below it.
    fn pasts_below(&self, dataset: &DatasetName) -> Vec<Past> {
        let below = |d: &&Dataset| d.name.is_at_or_below(dataset);
        let past = |d: &Dataset| {
            let known = self.pasts.borrow().get(d.name.as_str()).cloned();
            known.unwrap_or(Past {
                dataset: d.name.clone(),
                written: 0,
                moments: Vec::new(),
            })
        };
        let datasets = self.datasets.borrow();
        datasets.iter().filter(below).map(past).collect()
    }

    fn lists(&self, what: &str, name: &str) -> Result<(), Trouble> {
        match self.unlisted.borrow().iter().any(|not| not == name) {
            true => Err(Trouble::failed(what, "out of memory")),
            false => Ok(()),
        }
    }

    /// A step of the run: it dies here if it was told to, before the step is made.
    fn step(&self) {
        match self.die_at.get() {
            Some(0 | 1) => {
                self.die_at.set(None);
                // Without a word: the hook of panics is not asked.
                std::panic::resume_unwind(Box::new(Died));
            }
            left => self.die_at.set(left.map(|left| left - 1)),
        }
    }

    /// The peer may ask and change anew as often as it may, and has been given [`number`] for a list of
    /// this key.
    pub fn gives_number(&self, from: &str, key: &str) {
        let now = self.now().as_secs();
        let ledger = serde_json::json!({
            "boot": &*self.boot_id.borrow(),
            "asked": {"left": 128, "since": now},
            "numbers": [{"key": key, "number": number(), "until": now + 60}],
        });
        let changes = self.db().join("peers").join(from).join("changes.json");
        let _ = std::fs::remove_file(changes);
        let directory = self.run().join("asked");
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join(from), ledger.to_string()).unwrap();
    }

    /// Runs a verb that dies at its n-th step; `None` when it did, and what it gave when it had no
    /// such step.
    pub fn dies_at<T>(&self, step: u32, verb: impl FnOnce(Node) -> T) -> Option<T> {
        self.die_at.set(Some(step));
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.verb(verb)));
        self.die_at.set(None);
        match ran {
            Ok(done) => Some(done),
            Err(cause) if cause.is::<Died>() => None,
            Err(cause) => std::panic::resume_unwind(cause),
        }
    }

    /// Lets time pass for one call; a hanging pool takes all there is.
    fn call(&self, what: &str, pool: &str, deadline: Deadline) -> Result<(), Trouble> {
        self.step();
        if what.starts_with("zfs") {
            self.zfs_calls.set(self.zfs_calls.get() + 1);
        }
        if self.hanging.borrow().iter().any(|p| p == pool) {
            self.sleep(deadline.left(self));
            self.asked_in_vain.set(self.asked_in_vain.get() + 1);
            return Err(Trouble::timed_out(what));
        }
        self.sleep(ONE_CALL);
        Ok(())
    }
}

/// The number that [`Sim::gives_number`] has given.
pub fn number() -> Nonce {
    Nonce::from([0x4e; 32])
}

/// A list for a node, vouched for over [`number`] with this key.
pub fn vouched(to: &str, store: &str, from: &str, merge: Merge, by: &Key) -> Put {
    let statement = Statement {
        key: &merge.key,
        from: &from.parse().unwrap(),
        to: &to.parse().unwrap(),
        store,
        challenge: number(),
        list: &merge.list,
    };
    let vouched = statement.vouched(by).unwrap();
    Put {
        vouched: Some(vouched),
        merge,
    }
}

/// The keys that come with a question, as they are read off the wire.
pub fn brought(ask: &Ask, behind: &[u8]) -> io::Result<Option<Intake>> {
    match ask {
        Ask::Put(put) if ask.brings_keys() => {
            let bring = &put.merge.bring;
            let mut intake = Intake::new(bring.len())?;
            writer::incoming(bring, behind, &mut intake)?;
            Ok(Some(intake))
        }
        _ => Ok(None),
    }
}

/// The peer's side of a question, as its ssh daemon starts it. A run that dies closes the connection.
fn receive_at(
    neighbour: &(Sim, Config),
    question: &Question,
    keys: &[&Key],
) -> Result<Vec<u8>, String> {
    let (sim, config) = neighbour;
    let mut line = question.line(keys)?;
    // What the reader stops at.
    assert_eq!(line.pop(), Some(b'\n'));
    let bytes: Vec<u8> = keys.iter().flat_map(|key| key.expose().to_vec()).collect();
    sim.keys_elsewhere.set(keys_alive());
    let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let time = receive::Time::begin(sim);
        sim.verb(|node| {
            let from = &question.from;
            let admitted = rebuild::admits(node, from);
            let ask = receive::understand(config, from, &line, &admitted)?;
            let brought = brought(&ask, &bytes).unwrap();
            receive::answer(node, config, from, ask, brought, time)
        })
    }));
    sim.keys_elsewhere.set(0);
    match ran {
        Ok(answered) => answered.map_err(|refused| {
            let Refused { status, what, .. } = refused;
            format!("ssh exits with {status}: f3skeys: {what}")
        }),
        Err(cause) if cause.is::<Died>() => Err("connection closed".to_owned()),
        Err(cause) => std::panic::resume_unwind(cause),
    }
}

fn copy(from: &Path, to: &Path) {
    let Ok(entries) = std::fs::read_dir(from) else {
        return;
    };
    std::fs::create_dir_all(to).unwrap();
    for entry in entries {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Clock for Sim {
    fn now(&self) -> Duration {
        self.now.get()
    }

    fn sleep(&self, time: Duration) {
        // A lock is a real one: a worker that another thread of the tests forks has it open as well until
        // it has begun.
        if time == LOCK_POLL {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.now.set(self.now.get() + time);
        let meanwhile = self.meanwhile.borrow().clone();
        if let Some(others) = meanwhile {
            others(self, time);
        }
    }

    fn doing(&self, what: &str) {
        self.doings.borrow_mut().push(what.to_owned());
    }
}

impl System for Sim {
    fn clock(&self) -> &dyn Clock {
        self
    }

    fn boot_id(&self) -> Option<String> {
        self.step();
        self.boot_id.borrow().clone()
    }

    fn zfs_version(&self) -> Option<String> {
        self.zfs_version.borrow().clone()
    }

    fn pool_state(&self, pool: &str) -> PoolState {
        self.step();
        let states = self.states.borrow();
        states.get(pool).cloned().unwrap_or(PoolState::NotImported)
    }

    fn fstab(&self) -> Result<Fstab, Trouble> {
        Ok(self.fstab.borrow().clone())
    }

    fn units(&self, names: &[String], _deadline: Deadline) -> Result<Vec<Unit>, Trouble> {
        let units = self.units.borrow();
        let asked = units.iter().filter(|unit| names.contains(&unit.name));
        Ok(asked.cloned().collect())
    }

    fn mounts(&self) -> Result<Vec<Mount>, Trouble> {
        self.step();
        let mounts = self.mounts.borrow();
        Ok(mounts
            .iter()
            .map(|standing| standing.mount.clone())
            .collect())
    }

    fn look(&self, questions: &Questions, deadline: Deadline) -> Result<Live, Trouble> {
        self.step();
        if self.hanging_looks.get() {
            self.sleep(deadline.left(self));
            return Err(Trouble::timed_out("looking at the mounts"));
        }
        for pool in &questions.pools {
            self.call("looking at the mounts", pool, deadline)?;
        }
        let mut live = Live::default();
        for dataset in &questions.datasets {
            let mounts = self.mounts.borrow();
            let places = mounts.iter().filter(|m| m.mount.source == dataset.as_str());
            let places = places.map(|m| m.mount.at.clone()).collect();
            live.mounted_at.insert(dataset.clone(), places);
        }
        let found = live.mounted_at.values().flatten();
        for path in questions.paths.iter().chain(found) {
            let way = self.way(path);
            let mount = self.mounts.borrow()[self.resolve(&way.real)].mount.clone();
            let answer = self.told(&path.display().to_string(), Some(mount));
            live.covering.insert(path.clone(), answer);
            let bound = self.beneath_is_seen_at(&way.real).into_iter();
            let bound: Vec<Bound> = bound.map(|at| Bound { at }).collect();
            if !bound.is_empty() {
                live.bound.insert(path.clone(), Ok(bound));
            }
            if !way.links.is_empty() {
                live.ways.insert(path.clone(), way);
            }
        }
        for path in &questions.files {
            let shown = self.mounts.borrow()[self.resolve(&self.way(path).real)]
                .mount
                .source
                .clone();
            let there = self.files.borrow().contains(path)
                || self.files_on.borrow().contains(&(shown, path.clone()));
            let answer = self.told(&path.display().to_string(), there);
            live.files.insert(path.clone(), answer);
        }
        for name in &questions.volumes {
            let datasets = self.datasets.borrow();
            let there = datasets.iter().any(|d| {
                d.name == *name && d.kind == Kind::Volume && d.key_status != KeyStatus::Unavailable
            });
            let answer = self.told(name.as_str(), there);
            live.volumes.insert(name.clone(), answer);
        }
        for (dataset, name) in &questions.snapshots {
            let answer = self.shows_snapshot(dataset.as_str(), name);
            let answer = answer.and_then(|there| self.told(dataset.as_str(), there));
            live.snapshots.insert(dataset.clone(), answer);
        }
        live.now = self.wall();
        live.since_boot = self.now().as_secs();
        Ok(live)
    }

    fn beneath(
        &self,
        points: &[PathBuf],
        _known: &Set<PathBuf>,
        _deadline: Deadline,
    ) -> Result<Beneath, Trouble> {
        self.sleep(ONE_CALL);
        let laid = self.beneath.borrow();
        let answer = |point| laid.get(point).cloned().unwrap_or(Ok(Bare::Clean));
        Ok(points.iter().map(|p| (p.clone(), answer(p))).collect())
    }

    fn binds(&self) -> Result<Vec<Bind>, Trouble> {
        Ok(self.binds.borrow().clone())
    }

    fn wall(&self) -> u64 {
        self.wall.get() + self.now().as_secs()
    }

    fn log(&self, severity: Severity, line: &str) {
        self.logged.borrow_mut().push((severity, line.to_owned()));
    }

    fn since_boot(&self) -> Result<Duration, Trouble> {
        Ok(self.now())
    }

    fn carp(&self) -> Result<Option<bool>, Trouble> {
        self.step();
        let carp = self.carp.borrow().clone();
        carp.map_err(|why| Trouble::failed("net.inet.carp.allow", &why))
    }

    fn set_carp(&self, allow: bool) -> Result<(), Trouble> {
        self.step();
        if self.carp_refused.get() {
            let why = "Operation not permitted";
            return Err(Trouble::failed("net.inet.carp.allow", why));
        }
        self.note(Event::Carp(allow));
        *self.carp.borrow_mut() = Ok(Some(allow));
        Ok(())
    }

    fn guard(&self, path: &Path, _deadline: Deadline) -> Result<Guard, Trouble> {
        self.step();
        self.sleep(ONE_CALL);
        if self.mounts.borrow()[self.resolve(path)].mount.at == path {
            return Ok(Guard::Mounted);
        }
        let mut bare = self.bare.borrow_mut();
        let Some((files, immutable)) = bare.get_mut(path) else {
            return Ok(Guard::Missing);
        };
        if self.unguardable.get() {
            return Ok(Guard::NotSupported);
        }
        let already = std::mem::replace(immutable, true);
        if !already {
            self.note(Event::Guarded(path.to_owned()));
        }
        let files = files.clone();
        Ok(Guard::Bare { already, files })
    }

    fn ways(&self, paths: &[PathBuf], _deadline: Deadline) -> Result<Ways, Trouble> {
        let way = |path: &PathBuf| {
            let shown = path.display().to_string();
            self.told(&shown, self.way(path))
        };
        Ok(paths.iter().map(|path| (path.clone(), way(path))).collect())
    }
}

impl Peers for Sim {
    fn ask(
        &self,
        peer: &Peer,
        question: &Question,
        keys: &[&Key],
        deadline: Deadline,
    ) -> Result<Reply, Trouble> {
        self.step();
        assert!(
            self.is_lock_free(),
            "law 4: {} is asked, and the lock is held meanwhile",
            peer.name
        );
        self.questions_to_peers
            .set(self.questions_to_peers.get() + 1);
        let name = peer.name.as_str();
        let is_away = self.away.borrow().iter().any(|away| away == name);
        let neighbour = self.neighbours.borrow().get(name).cloned();
        if let Some(neighbour) = neighbour.filter(|_| !is_away) {
            let begun = neighbour.0.now();
            let answered = receive_at(&neighbour, question, keys);
            let took = neighbour.0.now() - begun;
            self.sleep(took.min(deadline.left(self)));
            if deadline.passed(self) {
                return Err(Trouble::timed_out(&format!("ssh to {name}")));
            }
            // Here the answer is lost with who asked.
            self.step();
            let failed = |why: String| Trouble::failed(name, &f3skeys::foreign::words(&why));
            return answered
                .and_then(|line| peers::reply(&line))
                .map_err(failed);
        }
        match self.replies.borrow().get(peer.name.as_str()) {
            Some(reply) => Ok(reply.clone()),
            None => {
                self.sleep(deadline.left(self));
                Err(Trouble::timed_out("ssh"))
            }
        }
    }
}

impl Sim {
    /// Whether nobody has the node's lock. Another thread's worker may have the file open until it has
    /// begun, which takes a busy machine long; what the asking node itself holds, no waiting frees.
    fn is_lock_free(&self) -> bool {
        let run = self.run();
        (0..10_000).any(|_| {
            let is_free = !run.join("lock").exists() || marker::try_lock(&run).unwrap().is_some();
            if !is_free {
                std::thread::sleep(Duration::from_millis(1));
            }
            is_free
        })
    }

    /// A look into a tree that has no end, or is too large, gives nothing.
    fn looks_into(&self, pool: &str, part: &Part, deadline: Deadline) -> Result<(), Trouble> {
        let is_in = |tree: &String| {
            let tree: DatasetName = tree.parse().unwrap();
            let into =
                |asked: &DatasetName| asked.is_at_or_below(&tree) || tree.is_at_or_below(asked);
            part.trees.iter().any(into)
        };
        let what = format!("looking at pool {pool}");
        if self.immense_trees.borrow().iter().any(is_in) {
            self.call(&what, pool, deadline)?;
            return Err(Trouble::failed(&what, "more than 64 MiB"));
        }
        if self.endless_trees.borrow().iter().any(is_in) {
            self.step();
            self.sleep(deadline.left(self));
            return Err(Trouble::timed_out(&what));
        }
        Ok(())
    }

    /// Every dataset of a pool.
    fn all_of(&self, pool: &str, deadline: Deadline) -> Result<Listing, Trouble> {
        self.call(&format!("zfs get -r {pool}"), pool, deadline)?;
        self.lists("zfs get", pool)?;
        self.looked.borrow_mut().push(pool.to_owned());
        let datasets = self.datasets.borrow();
        let of_pool = datasets.iter().filter(|d| d.name.pool() == pool);
        let pasts = self.pasts.borrow();
        let with_past = |d: &Dataset| match pasts.get(d.name.as_str()) {
            Some(past) => Dataset {
                written: past.written,
                ..d.clone()
            },
            None => d.clone(),
        };
        let damaged = self.damaged.borrow();
        let is_damaged = |name: &DatasetName| damaged.iter().any(|d| d.name == *name);
        Ok(Listing {
            datasets: of_pool
                .filter(|d| !is_damaged(&d.name))
                .map(with_past)
                .collect(),
            damaged: damaged
                .iter()
                .filter(|d| d.name.pool() == pool)
                .cloned()
                .collect(),
        })
    }
}

/// Whether a dataset below `at` has its `readonly` from there, or from above it.
fn inherits(source: &Source, at: &DatasetName) -> bool {
    match source {
        Source::Inherited(from) => at.is_at_or_below(from),
        Source::Default => true,
        _ => false,
    }
}

impl Zfs for Sim {
    fn pools(&self, _deadline: Deadline) -> Result<Vec<String>, Trouble> {
        self.sleep(ONE_CALL);
        Ok(self.states.borrow().keys().cloned().collect())
    }

    /// Not a dataset more than was asked for.
    fn observe_part(
        &self,
        pool: &str,
        part: &Part,
        deadline: Deadline,
    ) -> Result<Listing, Trouble> {
        let trees: Vec<String> = part.trees.iter().map(DatasetName::to_string).collect();
        let happened = self.trace.borrow().len();
        self.looked_at.borrow_mut().push((trees, happened));
        self.looks_into(pool, part, deadline)?;
        let mut listing = self.all_of(pool, deadline)?;
        listing.datasets.retain(|dataset| part.has(&dataset.name));
        listing.damaged.retain(|damaged| part.has(&damaged.name));
        Ok(listing)
    }

    fn has_checkpoint(&self, pool: &str, deadline: Deadline) -> Result<bool, Trouble> {
        self.call(&format!("zpool get checkpoint {pool}"), pool, deadline)?;
        Ok(self.checkpoints.borrow().iter().any(|name| name == pool))
    }

    fn observe(&self, pool: &str, deadline: Deadline) -> Result<Listing, Trouble> {
        let whole = Part::tree(pool.parse().unwrap());
        self.looks_into(pool, &whole, deadline)?;
        self.all_of(pool, deadline)
    }

    fn asks_kernel(&self, _pool: &str, _deadline: Deadline) -> bool {
        self.kernel_says.get()
    }

    fn at_once(&self, _pool: &str) -> usize {
        self.at_once.get()
    }

    fn load_keys(&self, keys: &[(&DatasetName, &Key)], deadline: Deadline) -> Vec<Loading> {
        assert!((1..=self.at_once.get()).contains(&keys.len()));
        let load = |(root, key): &(&DatasetName, &Key)| {
            self.now.set(self.now.get() + self.load_takes.get());
            let answer = match deadline.passed(self) {
                true => Answer::CouldNotAsk(Trouble::timed_out("loading a key")),
                false => self.try_key(root, key, Try::Load, deadline),
            };
            let by_kernel = self.kernel_says.get();
            Loading { answer, by_kernel }
        };
        keys.iter().map(load).collect()
    }

    fn try_key(&self, root: &DatasetName, key: &Key, how: Try, deadline: Deadline) -> Answer {
        if let Err(trouble) = self.call("zfs load-key", root.pool(), deadline) {
            return Answer::CouldNotAsk(trouble);
        }
        let is_root = |d: &Dataset| d.name == *root && d.encryption_root.as_ref() == Some(root);
        if !self.datasets.borrow().iter().any(is_root) {
            return Answer::CouldNotAsk(Trouble::failed("zfs load-key", "invalid argument"));
        }
        if how == Try::Probe {
            self.probes.set(self.probes.get() + 1);
        }
        if self.wrapped.borrow().get(root.as_str()) != Some(key.expose()) {
            return Answer::WrongKey;
        }
        if how == Try::Load {
            if self.find(root.as_str()).key_status == KeyStatus::Available {
                return Answer::CouldNotAsk(Trouble::failed("zfs load-key", "Key already loaded"));
            }
            self.trace
                .borrow_mut()
                .push(Event::Loaded(root.to_string()));
            for dataset in self.datasets.borrow_mut().iter_mut() {
                if dataset.encryption_root.as_ref() == Some(root) {
                    dataset.key_status = KeyStatus::Available;
                }
            }
        }
        Answer::Opens
    }

    fn set_readonly(&self, dataset: &DatasetName, deadline: Deadline) -> Result<(), Trouble> {
        self.call("zfs set", dataset.pool(), deadline)?;
        if self.stubborn.borrow().iter().any(|d| d == dataset.as_str()) {
            return Err(Trouble::failed("zfs set", "permission denied"));
        }
        self.trace
            .borrow_mut()
            .push(Event::Sealed(dataset.to_string()));
        self.set_readonly_property(dataset, true);
        Ok(())
    }

    fn seal(
        &self,
        dataset: &DatasetName,
        seals: &[Seal],
        deadline: Deadline,
    ) -> Result<(), Trouble> {
        if seals.contains(&Seal::Readonly) {
            self.set_readonly(dataset, deadline)?;
        } else {
            self.call("zfs set", dataset.pool(), deadline)?;
            if self.stubborn.borrow().iter().any(|d| d == dataset.as_str()) {
                return Err(Trouble::failed("zfs set", "permission denied"));
            }
        }
        self.change(dataset.as_str(), |d| {
            d.setuid &= !seals.contains(&Seal::Setuid);
            d.devices &= !seals.contains(&Seal::Devices);
            d.exec &= !seals.contains(&Seal::Exec);
            if seals.contains(&Seal::NoAuto) {
                d.can_mount = CanMount::NoAuto;
            }
            d.sharenfs = d.sharenfs.take().filter(|_| !seals.contains(&Seal::NoNfs));
            d.sharesmb = d.sharesmb.take().filter(|_| !seals.contains(&Seal::NoSmb));
        });
        Ok(())
    }

    fn set_writable(&self, dataset: &DatasetName, deadline: Deadline) -> Result<(), Trouble> {
        self.call("zfs set", dataset.pool(), deadline)?;
        self.note(Event::Unsealed(dataset.to_string()));
        self.set_readonly_property(dataset, false);
        Ok(())
    }

    fn record(
        &self,
        dataset: &DatasetName,
        promotion: &str,
        deadline: Deadline,
    ) -> Result<(), Trouble> {
        self.call("zfs set", dataset.pool(), deadline)?;
        self.note(Event::Recorded(dataset.to_string(), promotion.to_owned()));
        self.change(dataset.as_str(), |d| {
            d.promotion = promotion::parse(promotion);
        });
        Ok(())
    }

    fn snapshot(
        &self,
        datasets: &[DatasetName],
        name: &str,
        deadline: Deadline,
    ) -> Result<(), Trouble> {
        let pool = datasets.first().map_or("", |dataset| dataset.pool());
        self.call("zfs snapshot", pool, deadline)?;
        let of_dataset = |dataset| {
            let pasts = self.pasts_below(dataset).into_iter();
            pasts.filter(move |past| past.dataset == *dataset)
        };
        let pasts: Vec<Past> = datasets.iter().flat_map(of_dataset).collect();
        let taken = |past: &Past| past.moments.iter().any(|m| m.name == name && !m.bookmark);
        if pasts.len() != datasets.len() || pasts.iter().any(taken) {
            return Err(Trouble::failed("zfs snapshot", "dataset already exists"));
        }
        for mut past in pasts {
            self.note(Event::Snapshot(format!("{}@{name}", past.dataset)));
            let name_of = past.dataset.to_string();
            past.written = match self.busy_writer.borrow().contains(&name_of) {
                true => 512,
                false => 0,
            };
            past.moments.push(Moment {
                name: name.to_owned(),
                guid: 1_000_000 + self.trace.borrow().len() as u64,
                created: self.wall(),
                bookmark: false,
            });
            let key = past.dataset.to_string();
            self.pasts.borrow_mut().insert(key, past);
        }
        Ok(())
    }

    fn past(&self, dataset: &DatasetName, deadline: Deadline) -> Result<Vec<Past>, Trouble> {
        self.call("zfs list", dataset.pool(), deadline)?;
        self.lists("zfs list", dataset.as_str())?;
        Ok(self.pasts_below(dataset))
    }

    fn unmount(&self, dataset: &DatasetName, deadline: Deadline) -> Result<(), Trouble> {
        self.call("zfs unmount", dataset.pool(), deadline)?;
        if self.busy.borrow().iter().any(|d| d == dataset.as_str()) {
            return Err(Trouble::failed("zfs unmount", "pool or dataset is busy"));
        }
        let Some(own) = self.mount_of(dataset.as_str()) else {
            return Err(Trouble::failed("zfs unmount", "not currently mounted"));
        };
        // ZFS gives the kernel a path, and the kernel takes what a visitor of the path reaches.
        let path = self.mounts.borrow()[own].mount.at.clone();
        let reached = self.resolve(&path);
        if self.mounts.borrow()[reached].mount.at != path {
            return Err(Trouble::failed("zfs unmount", "Invalid argument"));
        }
        let is_inside = |m: &SimMount| m.parent == Some(reached);
        if self.mounts.borrow().iter().any(is_inside) {
            return Err(Trouble::failed("zfs unmount", "pool or dataset is busy"));
        }
        let source = self.mounts.borrow()[reached].mount.source.clone();
        self.note(Event::Unmounted(source));
        self.take_off(reached);
        Ok(())
    }

    fn unload_key(&self, root: &DatasetName, deadline: Deadline) -> Result<(), Trouble> {
        self.call("zfs unload-key", root.pool(), deadline)?;
        let of_root = |d: &&mut Dataset| d.encryption_root.as_ref() == Some(root);
        let mut datasets = self.datasets.borrow_mut();
        if datasets
            .iter_mut()
            .filter(of_root)
            .any(|d| d.key_status != KeyStatus::Available)
        {
            return Err(Trouble::failed("zfs unload-key", "Key already unloaded"));
        }
        let in_use = |d: &mut Dataset| {
            d.mounted
                || self
                    .busy
                    .borrow()
                    .iter()
                    .any(|name| name == d.name.as_str())
        };
        if datasets.iter_mut().filter(of_root).any(in_use) {
            return Err(Trouble::failed("zfs unload-key", "dataset is busy"));
        }
        for dataset in datasets.iter_mut().filter(of_root) {
            dataset.key_status = KeyStatus::Unavailable;
        }
        drop(datasets);
        self.note(Event::Unloaded(root.to_string()));
        Ok(())
    }

    fn change_key(&self, root: &DatasetName, key: &Key, deadline: Deadline) -> Result<(), Trouble> {
        self.call("zfs change-key", root.pool(), deadline)?;
        if self.find(root.as_str()).key_status != KeyStatus::Available {
            return Err(Trouble::failed("zfs change-key", "Key must be loaded"));
        }
        assert!(
            self.not_unwrapped.borrow().is_empty(),
            "the kernel panics over a child that does not unwrap"
        );
        self.note(Event::Changed(root.to_string()));
        let bytes = *key.expose();
        self.wrapped.borrow_mut().insert(root.to_string(), bytes);
        self.change(root.as_str(), |d| {
            d.key_location = Some("prompt".to_owned());
            d.key_format = KeyFormat::Raw;
        });
        for d in self.datasets.borrow_mut().iter_mut() {
            if d.encryption_root.as_ref() == Some(root) {
                d.key_format = KeyFormat::Raw;
            }
        }
        self.step();
        if self.silent_changes.get() > 0 {
            self.silent_changes.set(self.silent_changes.get() - 1);
            return Err(Trouble::timed_out("zfs change-key"));
        }
        Ok(())
    }

    fn set_key_location(
        &self,
        root: &DatasetName,
        location: &str,
        deadline: Deadline,
    ) -> Result<(), Trouble> {
        self.call("zfs set", root.pool(), deadline)?;
        self.note(Event::Located(root.to_string(), location.to_owned()));
        self.change(root.as_str(), |d| {
            d.key_location = Some(location.to_owned())
        });
        Ok(())
    }

    fn unwraps(&self, dataset: &DatasetName, deadline: Deadline) -> Result<(), Trouble> {
        self.call("zfs userspace", dataset.pool(), deadline)?;
        self.accounted.borrow_mut().push(dataset.clone());
        let not = self.not_unwrapped.borrow();
        match not.iter().any(|name| name == dataset.as_str()) {
            true => Err(Trouble::failed("zfs userspace", "Permission denied")),
            false => Ok(()),
        }
    }

    fn mount(&self, dataset: &DatasetName, deadline: Deadline) -> Result<(), Trouble> {
        self.call("zfs mount", dataset.pool(), deadline)?;
        if self
            .hanging_mounts
            .borrow()
            .iter()
            .any(|d| d == dataset.as_str())
        {
            self.sleep(deadline.left(self));
            return Err(Trouble::timed_out("zfs mount"));
        }
        let refused = self.refused_mounts.borrow();
        if refused.iter().any(|d| d == dataset.as_str()) {
            return Err(Trouble::failed("zfs mount", "directory is not empty"));
        }
        let found = self.find(dataset.as_str());
        if found.key_status == KeyStatus::Unavailable {
            return Err(Trouble::failed("zfs mount", "encryption key not loaded"));
        }
        if found.mounted {
            return Err(Trouble::failed("zfs mount", "filesystem already mounted"));
        }
        self.mount_now(dataset);
        Ok(())
    }
}

impl KeyDevices for Sim {
    fn scan(&self, _deadline: Deadline) -> Result<Vec<Candidate>, Trouble> {
        self.step();
        let now = self.now();
        let sticks = self.sticks.borrow();
        let there = sticks.iter().filter(|stick| stick.plugged_in_at <= now);
        let usb = there.map(|stick| &stick.candidate).filter(|c| !c.fixed);
        Ok(usb.cloned().collect())
    }

    fn scan_fixed(&self, _deadline: Deadline) -> Result<Vec<Candidate>, Trouble> {
        let sticks = self.sticks.borrow();
        let fixed = sticks
            .iter()
            .map(|stick| &stick.candidate)
            .filter(|c| c.fixed);
        Ok(fixed.cloned().collect())
    }

    fn mounted_at(&self, device: &Candidate) -> Result<Vec<PathBuf>, Trouble> {
        let mounts = self.mounts.borrow();
        let source = device.node.display().to_string();
        let of_device = mounts.iter().filter(|m| m.mount.source == source);
        Ok(of_device.map(|m| m.mount.at.clone()).collect())
    }

    fn read(
        &self,
        device: &Candidate,
        _filesystem: &Filesystem,
        _at: &Path,
        wanted: Wanted,
        _deadline: Deadline,
    ) -> Result<Reading, Trouble> {
        self.step();
        self.sleep(ONE_CALL);
        self.no_keys("reading the key store")?;
        let sticks = self.sticks.borrow();
        let stick = sticks
            .iter()
            .find(|stick| stick.candidate == *device)
            .unwrap();
        if let Some(why) = &stick.broken {
            return Err(Trouble::failed("reading the key store", why));
        }
        let mut reading = reading(&stick.files, wanted);
        if let Some(count) = stick.pulled_after {
            reading.files.truncate(count);
            reading.state = None;
            reading.gone = true;
        }
        Ok(reading)
    }

    fn work(
        &self,
        device: &Candidate,
        _filesystem: &Filesystem,
        _at: &Path,
        work: &Work,
        intake: Option<&mut Intake>,
        _deadline: Deadline,
    ) -> Result<Worked, Trouble> {
        self.step();
        self.sleep(ONE_CALL);
        let what = "writing on the key store";
        self.no_keys(what)?;
        let failed = |why: String| Trouble::failed(what, &why);
        let sticks = self.sticks.borrow().clone();
        let is_meant = |stick: &Stick| stick.candidate == *device;
        let index = sticks.iter().position(is_meant).unwrap();
        let before = sticks[index].clone();
        if let Some(why) = before.broken.or(before.unwritable) {
            return Err(failed(why));
        }
        let brought = writer::brought(work, intake).map_err(|e| failed(e.to_string()))?;
        self.sticks.borrow_mut()[index].fault = None;
        let mut medium = Stepping {
            sim: self,
            medium: SimMedium::new(&before.files, before.fault),
        };
        let whole = reading(&before.files, Wanted::All);
        let mut random = |into: &mut [u8]| self.random_bytes(into);
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            writer::work(work, brought, whole, &mut medium, &mut random)
        }));
        let lost = done.is_err() && self.torn.get();
        let files = match lost || matches!(before.fault, Some(Fault::GoneFrom(_))) {
            true => medium.medium.durable_files(),
            false => medium.medium.files(),
        };
        self.sticks.borrow_mut()[index].files = files.clone();
        let done = match done {
            Ok(done) => done.map_err(|e| failed(e.to_string()))?,
            Err(cause) => std::panic::resume_unwind(cause),
        };
        let back = survey(Wanted::All, reading(&files, Wanted::All));
        let back = back.map_err(|e| failed(e.to_string()))?;
        // Here the run dies after all was written, and before it could say so.
        self.step();
        Ok(writer::worked(work, done, &back, Vec::new()))
    }
}

impl Sim {
    /// As a worker, which is not forked while keys are in memory.
    fn no_keys(&self, what: &str) -> Result<(), Trouble> {
        match keys_alive() == self.keys_elsewhere.get() {
            true => Ok(()),
            false => Err(Trouble::failed(what, "refused while keys are in memory")),
        }
    }

    /// No two fillings of a node are equal.
    fn random_bytes(&self, into: &mut [u8]) -> io::Result<()> {
        self.random.set(self.random.get() + 1);
        let seed = format!("{:?} {}", self.wall.get(), self.random.get());
        let digest = blake3::hash(seed.as_bytes());
        into.copy_from_slice(&digest.as_bytes()[..into.len()]);
        Ok(())
    }
}

/// A store that is being written by a run which may die at each of its steps.
struct Stepping<'a> {
    sim: &'a Sim,
    medium: SimMedium,
}

impl Medium for Stepping<'_> {
    fn exists(&mut self, path: &str) -> io::Result<bool> {
        self.medium.exists(path)
    }

    fn make_directory(&mut self, path: &str) -> io::Result<()> {
        self.sim.step();
        self.medium.make_directory(path)
    }

    fn create(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.sim.step();
        self.medium.create(path, bytes)
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.sim.step();
        self.medium.rename(from, to)
    }

    fn sync(&mut self, directory: &str) -> io::Result<()> {
        self.sim.step();
        self.medium.sync(directory)
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        self.sim.step();
        self.medium.remove(path)
    }

    fn discard(&mut self, temporary: &str) {
        self.medium.discard(temporary);
    }
}

/// Bytes that are as good as random to a test: no two fillings are equal.
pub fn counting() -> impl FnMut(&mut [u8]) -> io::Result<()> {
    let mut count = 0_u64;
    move |into| {
        count += 1;
        let digest = blake3::hash(&count.to_le_bytes());
        into.copy_from_slice(&digest.as_bytes()[..into.len()]);
        Ok(())
    }
}

/// What reading these files of a store gives.
pub fn reading(files: &BTreeMap<String, Vec<u8>>, wanted: Wanted) -> Reading {
    let wanted_all = matches!(wanted, Wanted::All);
    let wanted: Vec<KeyName> = match wanted {
        Wanted::These(keys) => keys.to_vec(),
        Wanted::All => keys_on(files),
    };
    let strays = match wanted_all {
        true => strays_on(files),
        false => Vec::new(),
    };
    let mut reading = Reading {
        strays,
        state: files.get(layout::STATE).cloned().map(Ok),
        formatted: files.keys().any(|path| path.starts_with(layout::DIRECTORY)),
        ..Reading::default()
    };
    for key in &wanted {
        let own = format!("{}/{key}/", layout::DIRECTORY);
        for (path, bytes) in files {
            let place = if *path == layout::top_path(key) {
                Some(Place::Top)
            } else {
                path.strip_prefix(&own).and_then(layout::parse_generation)
            };
            if let Some(place) = place {
                reading.files.push(KeyFile {
                    key: key.clone(),
                    place,
                    content: key_of(bytes),
                });
            }
        }
    }
    reading
}

/// Files that belong to no key.
fn strays_on(files: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
    let is_stray = |path: &&String| match layout::split(path) {
        ("", name) => layout::is_temporary(name),
        (layout::ASIDE, _) => false,
        (layout::DIRECTORY, name) => !layout::is_own(name),
        (_, name) => layout::parse_generation(name).is_none(),
    };
    files.keys().filter(is_stray).cloned().collect()
}

fn keys_on(files: &BTreeMap<String, Vec<u8>>) -> Vec<KeyName> {
    let mut keys: Vec<KeyName> = files
        .keys()
        .filter_map(|path| match layout::split(path) {
            ("", name) => layout::parse_top(name),
            (directory, _) => directory
                .strip_prefix(layout::DIRECTORY)?
                .strip_prefix('/')?
                .parse()
                .ok(),
        })
        .collect();
    keys.sort();
    keys.dedup();
    keys
}

fn key_of(bytes: &[u8]) -> Result<Key, String> {
    if bytes.len() != 32 {
        return Err(format!("is {} bytes long; a key has 32", bytes.len()));
    }
    Key::take(|place| {
        place.copy_from_slice(bytes);
        io::Result::Ok(())
    })
    .map_err(|e| e.to_string())
}

/// The three keys of the f3s story.
pub const ZDATA: [u8; 32] = [0x11; 32];
pub const BHYVE: [u8; 32] = [0x22; 32];
pub const PEER: [u8; 32] = [0x33; 32];

/// The names and bytes of the three keys.
pub fn keys() -> [(&'static str, [u8; 32]); 3] {
    [
        ("f0.lan.buetow.org:zdata", ZDATA),
        ("f0.lan.buetow.org:bhyve", BHYVE),
        ("f1.lan.buetow.org:zdata", PEER),
    ]
}

/// The configuration of the f3s story.
pub const CONFIG: &str = r#"(
    node: "f0.lan.buetow.org",
    store: (label: "F3S_KEYS", serial: "4C530001", wait_seconds: 30),
    roots: [
        (dataset: "zdata/enc", key: "f0.lan.buetow.org:zdata", role: primary, required: true),
        (dataset: "zroot/bhyve", key: "f0.lan.buetow.org:bhyve", role: primary, required: false),
        (dataset: "zdata/sink/f1", key: "f1.lan.buetow.org:zdata", role: replica, required: true,
            mountpoint: "/data/f1"),
    ],
    gates: [
        (name: "nfs", needs: [mounted(path: "/data/nfs", dataset: "zdata/enc/nfsdata")]),
        (name: "standby", needs: [mounted(path: "/data/f1", dataset: "zdata/sink/f1")]),
        (name: "failback", needs: [gate("nfs"), writable("zdata/enc/nfsdata"),
            absent("/data/nfs/nfs.NO_AUTO_FAILBACK")]),
    ],
)"#;

/// The configuration of the f3s story, read.
pub fn config() -> Config {
    Config::parse(CONFIG).unwrap()
}

/// The f3s node: unencrypted `zdata` on /data above everything, a volume, and a replica whose
/// child came with a received `readonly=off`.
pub fn f3s(name: &str) -> Sim {
    Sim::new(name)
        .with(vec![
            at("/data", dataset("zdata")),
            at("/data/enc", encrypted("zdata/enc", "zdata/enc")),
            at("/data/nfs", encrypted("zdata/enc/nfsdata", "zdata/enc")),
            at("/data/sink", dataset("zdata/sink")),
            at("/data/f1", encrypted("zdata/sink/f1", "zdata/sink/f1")),
            Dataset {
                readonly_source: Source::Received,
                ..at(
                    "/data/f1/child",
                    encrypted("zdata/sink/f1/child", "zdata/sink/f1"),
                )
            },
            dataset("zroot"),
            at("/zroot/bhyve", encrypted("zroot/bhyve", "zroot/bhyve")),
            Dataset {
                kind: Kind::Volume,
                can_mount: CanMount::Off,
                ..encrypted("zroot/bhyve/vol", "zroot/bhyve")
            },
        ])
        .opened_by("zdata/enc", ZDATA)
        .opened_by("zroot/bhyve", BHYVE)
        .opened_by("zdata/sink/f1", PEER)
}

/// The stick that belongs to it.
pub fn good_stick() -> Stick {
    Stick::new("/dev/da0", "F3S_KEYS", "4C530001").with_store(&keys())
}
