//! `f3skeys status`: how the node stands now, and how it last went. Needs no stick, changes nothing, and
//! starts no program but those that a look at the pools and the peers of a gate take.
//!
//! What is not known is told as such, and never taken for fine.

mod prometheus;
mod text;

use crate::backup::receipts::Receipts;
use crate::config::{Config, Role, Root};
use crate::exit::Fault;
use crate::foreign::Line;
use crate::gate::Answer;
use crate::marker;
use crate::names::DatasetName;
use crate::pass::{Node, Pass};
use crate::places::{self, Elsewhere};
use crate::plan::{self, Observed, Pool};
use crate::promotion::{Promoted, Promotion};
use crate::ready;
use crate::receive::rebuild;
use crate::report::Report;
use crate::zfs::{CanMount, Dataset, KeyStatus, Kind, Mountpoint};
use serde::Serialize;

/// The version of the JSON, which docs/status.md describes. It grows when a field goes or changes its
/// meaning, not when one is added.
const VERSION: u32 = 1;
/// The verbs of whose last run is told: those that a boot or a job of each minute or day runs.
const RUNS: [&str; 5] = ["boot", "ready", "reconcile", "backup", "verify"];

/// The state of the node; its JSON is the interface for monitoring.
#[derive(Debug, Serialize)]
pub struct Status {
    /// The version of this structure.
    pub version: u32,
    /// This node.
    pub node: String,
    /// This boot's identity; `None` while the kernel has none.
    pub boot: Option<String>,
    /// The exit status: 0 when every required root is open.
    pub status: u8,
    /// Whether a person has locked the node, so that every gate stays closed; `None` when that cannot
    /// be told, and they stay closed as well.
    pub locked: Option<bool>,
    /// Whether the store is open for a rebuild.
    pub rebuild: Rebuild,
    /// Every pool of the configuration.
    pub pools: Vec<PoolNow>,
    /// Every root.
    pub roots: Vec<RootNow>,
    /// Every gate.
    pub gates: Vec<GateNow>,
    /// What peers have last proven to hold, of keys of this node.
    pub copies: Vec<CopyThen>,
    /// The reports of the last runs that are kept, in the order in which they come in a day.
    pub last: Vec<Report>,
}

/// Whether peers may put keys on this node's store that are not theirs.
#[derive(Debug, Serialize)]
pub struct Rebuild {
    /// Whether they may; `None` when that cannot be told.
    pub open: Option<bool>,
    /// Who may and for how long, or why it cannot be told; empty when nobody may.
    pub what: Line,
}

/// How a pool stands.
#[derive(Debug, Serialize)]
pub struct PoolNow {
    /// The pool.
    pub pool: String,
    /// How it stands.
    pub state: PoolState,
    /// Why that is not known; empty when it is.
    pub why: Line,
}

/// The state of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PoolState {
    /// It is imported and answers.
    Imported,
    /// It is imported, and nothing is read or written any more.
    Suspended,
    /// It is not imported.
    NotImported,
    /// It did not answer, or the kernel does not say.
    Unknown,
}

/// How a root stands.
#[derive(Debug, Serialize)]
pub struct RootNow {
    /// The root.
    pub dataset: String,
    /// The key that opens it: for the day on which a stick is lost.
    pub key: String,
    /// Its role by the configuration.
    pub role: Role,
    /// Whether the boot fails without it.
    pub required: bool,
    /// Whether its key is loaded; `None` when that is not known.
    pub key_loaded: Option<bool>,
    /// Whether it refuses writing, and of a replica also all that is a replica below it; `None` when
    /// that is not known.
    pub readonly: Option<bool>,
    /// Whether it is mounted; `None` when that is not known, and when it is not and need not be.
    pub mounted: Option<bool>,
    /// Whether this replica is promoted, and so written here; `None` when that is not known. A primary
    /// never is.
    pub promoted: Option<bool>,
    /// The promotion that lasts.
    pub promotion: Option<Promotion>,
    /// Of a replica, the datasets at and below it that can be written and should not be.
    pub writable: Vec<String>,
    /// Why something is not known, or why it cannot be opened; else empty.
    pub why: Line,
    /// Whether it was seen to be no encrypted dataset; `why` says it to programs.
    #[serde(skip)]
    pub unencrypted: bool,
}

/// How a gate stands.
#[derive(Debug, Serialize)]
pub struct GateNow {
    /// The gate.
    pub name: String,
    /// Whether it is open.
    pub state: GateState,
    /// Why it is not; empty when it is.
    pub reason: Line,
}

/// The state of a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GateState {
    /// All it needs is true now.
    Open,
    /// Something it needs is not true.
    Closed,
    /// Something it needs could not be asked. Counts as closed.
    Unknown,
}

/// What a peer has last proven of a key.
#[derive(Debug, Serialize)]
pub struct CopyThen {
    /// The key.
    pub key: String,
    /// The peer.
    pub peer: String,
    /// When it has last proven a generation of it, in seconds since 1970, by a clock that may have
    /// been wrong. Whether all are proven is the last `backup`'s to say.
    pub proven: u64,
}

/// Looks at the node.
pub fn status(node: Node, config: &Config) -> Status {
    let mut pass = Pass::begin("status", node, config);
    pass.doing("pools");
    pass.observe_all();
    pass.doing("gates");
    let gates = gates_now(node, config);
    pass.clock().doing("");
    let observed = &pass.observed;
    let roots: Vec<RootNow> = config
        .roots
        .iter()
        .map(|root| root_now(config, observed, root))
        .collect();
    let is_well = |root: &RootNow| root.key_loaded == Some(true) || !root.required;
    Status {
        version: VERSION,
        node: config.node.to_string(),
        boot: node.system.boot_id(),
        status: match roots.iter().all(is_well) {
            _ if !config.faults.what.is_empty() => Fault::Configuration.status(),
            true => 0,
            false => Fault::Unavailable.status(),
        },
        locked: marker::is_locked(node.run).ok(),
        rebuild: rebuild_now(node),
        pools: observed.pools.iter().map(pool_now).collect(),
        roots,
        gates,
        copies: copies_then(node, config),
        last: RUNS
            .iter()
            .filter_map(|verb| Report::last(node.db, verb))
            .collect(),
    }
}

fn rebuild_now(node: Node) -> Rebuild {
    match rebuild::open_now(node) {
        Ok(open) => Rebuild {
            open: Some(open.is_some()),
            what: open.map(|open| open.text().into()).unwrap_or_default(),
        },
        Err(why) => Rebuild {
            open: None,
            what: why.into(),
        },
    }
}

fn pool_now((name, pool): (&String, &Pool)) -> PoolNow {
    let (state, why) = match pool {
        Pool::Seen(_) => (PoolState::Imported, ""),
        Pool::Suspended => (PoolState::Suspended, ""),
        Pool::NotImported => (PoolState::NotImported, ""),
        Pool::NotSeen(why) => (PoolState::Unknown, why.as_str()),
    };
    PoolNow {
        pool: name.clone(),
        state,
        why: why.into(),
    }
}

fn root_now(config: &Config, observed: &Observed, root: &Root) -> RootNow {
    let mut now = RootNow {
        dataset: root.dataset.to_string(),
        key: root.key.to_string(),
        role: root.role,
        required: root.required,
        key_loaded: None,
        readonly: None,
        mounted: None,
        promoted: (root.role == Role::Primary).then_some(false),
        promotion: None,
        writable: Vec::new(),
        why: Line::default(),
        unencrypted: false,
    };
    let unknown = plan::unknown_replica_at(config, observed, &root.dataset);
    let mut is_absent = |why: &str| {
        (now.key_loaded, now.mounted) = (Some(false), Some(false));
        now.why = why.into();
    };
    match observed.pools.get(root.dataset.pool()) {
        Some(Pool::Seen(_)) => match observed.dataset(&root.dataset) {
            Some(dataset) => {
                now.writable = writable(config, observed, &root.dataset);
                now.look_at(dataset);
                if let Some(damaged) = unknown {
                    now.readonly = None;
                    now.why = format!("{}: {damaged}", damaged.name).into();
                } else if let Some(found) = first_elsewhere(config, observed, &root.dataset) {
                    now.why = format!("{}: {}", found.dataset, found.what()).into();
                }
            }
            None => match observed.damaged.get(&root.dataset) {
                Some(damaged) => now.why = damaged.to_string().into(),
                None => is_absent("there is no such dataset"),
            },
        },
        Some(Pool::NotImported) => is_absent("its pool is not imported"),
        Some(Pool::Suspended) => now.why = "its pool is suspended".into(),
        Some(Pool::NotSeen(why)) => now.why = why.into(),
        None => now.why = "its pool was not looked at".into(),
    }
    now
}

/// What a boot would make read-only of this root's own part of the tree.
fn writable(config: &Config, observed: &Observed, root: &DatasetName) -> Vec<String> {
    let own = |name: &DatasetName| config.root_above(name).is_some_and(|r| r.dataset == *root);
    let datasets = plan::writable(config, observed).map(|dataset| &dataset.name);
    datasets.filter(|d| own(d)).map(|d| d.to_string()).collect()
}

/// The first file system of this root's own part of the tree that is, or would be, mounted on none of
/// its places.
fn first_elsewhere(config: &Config, observed: &Observed, root: &DatasetName) -> Option<Elsewhere> {
    let own = |name: &DatasetName| config.root_above(name).is_some_and(|r| r.dataset == *root);
    let mut found = places::elsewhere(config, observed).into_iter();
    found.find(|found| own(&found.dataset))
}

impl RootNow {
    fn is_replica(&self) -> bool {
        self.role == Role::Replica
    }

    fn look_at(&mut self, dataset: &Dataset) {
        self.key_loaded = Some(dataset.key_status == KeyStatus::Available);
        if dataset.key_status == KeyStatus::None {
            self.why = "it is not encrypted".into();
            self.unencrypted = true;
        }
        self.readonly = Some(dataset.readonly && self.writable.is_empty());
        let belongs_somewhere = dataset.kind == Kind::Filesystem
            && dataset.can_mount == CanMount::On
            && matches!(dataset.mountpoint, Mountpoint::Path(_))
            && !dataset.jailed;
        self.mounted = (dataset.mounted || belongs_somewhere).then_some(dataset.mounted);
        if self.role == Role::Primary {
            return;
        }
        (self.promoted, self.promotion) = match &dataset.promotion {
            Promoted::Never | Promoted::Over(_) => (Some(false), None),
            Promoted::Now(promotion) => (Some(true), Some(promotion.clone())),
            Promoted::Unknown(_) | Promoted::Disputed(_) => (None, None),
        };
    }
}

fn gates_now(node: Node, config: &Config) -> Vec<GateNow> {
    let gates = config.gates.iter();
    let now = gates.map(|gate| {
        let (state, reason) = match ready::ask(node, config, gate) {
            Answer::Open => (GateState::Open, String::new()),
            Answer::Closed(why) => (GateState::Closed, why),
            Answer::CannotTell(why) => (GateState::Unknown, why),
        };
        GateNow {
            name: gate.name.to_string(),
            state,
            reason: reason.into(),
        }
    });
    now.collect()
}

/// Receipts that cannot be read are as good as none: nothing is decided by them.
fn copies_then(node: Node, config: &Config) -> Vec<CopyThen> {
    let mut copies = Vec::new();
    for peer in &config.peers {
        let receipts = Receipts::read(node.db, &peer.name).unwrap_or_default();
        let newest = receipts.newest();
        copies.extend(newest.map(|(key, proven)| CopyThen {
            key: key.to_string(),
            peer: peer.name.to_string(),
            proven,
        }));
    }
    copies
}
