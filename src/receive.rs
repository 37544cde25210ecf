//! `f3skeys receive`: the forced command of a peer's ssh key. Answers one small question about the
//! replicas that this node holds for others. Changes nothing, and tells of nothing else.

use crate::config::{Config, Role};
use crate::exit::{DATA, Fault, REFUSED};
use crate::names::{DatasetName, NodeName};
use crate::os::PoolState;
use crate::os::worker::readable;
use crate::pass::Node;
use crate::peers::{LARGEST, Question, ReplicaState, Reply, VERSION, plain};
use crate::promotion::Promoted;
use crate::time::{Clock, Deadline};
use crate::zfs::{Dataset, Past};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::os::fd::AsFd;
use std::time::Duration;

/// The longest that a question may take to arrive.
pub const READING: Duration = Duration::from_secs(5);
/// The longest that everything may take: the peer waits little longer.
pub const ANSWERING: Duration = Duration::from_secs(9);
/// The most datasets that one question may name.
const MOST: usize = 256;

/// Why a question is not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The exit status.
    pub status: u8,
    /// Why, in words for the peer's log.
    pub what: String,
}

impl Refused {
    fn new(status: u8, what: impl Into<String>) -> Refused {
        let what = what.into();
        Refused { status, what }
    }

    fn unavailable(what: impl Into<String>) -> Refused {
        Refused::new(Fault::Unavailable.status(), what)
    }
}

/// Reads a question to its end.
///
/// # Errors
/// It is too long, or does not end in time.
pub fn read(
    input: std::io::Result<impl Read + AsFd>,
    clock: &dyn Clock,
    deadline: Deadline,
) -> Result<Vec<u8>, Refused> {
    let mut input = input.map_err(|e| Refused::new(DATA, e.to_string()))?;
    let mut question = Vec::new();
    let mut chunk = [0; 16384];
    while question.len() <= LARGEST {
        if !readable(&input, deadline.left(clock)) {
            if deadline.passed(clock) {
                return Err(Refused::new(DATA, "the question does not end"));
            }
            continue;
        }
        match input.read(&mut chunk) {
            Ok(0) => return Ok(question),
            Ok(count) => question.extend(chunk.iter().take(count)),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Refused::new(DATA, e.to_string())),
        }
    }
    Err(too_long("question"))
}

fn too_long(what: &str) -> Refused {
    Refused::new(DATA, format!("the {what} has more than {LARGEST} bytes"))
}

/// Answers a question of `from`; gives one line of JSON.
///
/// # Errors
/// It is not understood, is about what `from` may not ask, or ZFS could not be asked.
pub fn answer(
    node: Node,
    config: &Config,
    from: &NodeName,
    question: &[u8],
    deadline: Deadline,
) -> Result<Vec<u8>, Refused> {
    let datasets = understand(config, from, question)?;
    let reply = Reply {
        version: VERSION,
        node: config.node.clone(),
        replicas: states(node, config, &datasets, deadline)?,
    };
    let mut line = serde_json::to_vec(&reply).map_err(|e| Refused::unavailable(e.to_string()))?;
    line.push(b'\n');
    match line.len() > LARGEST {
        true => Err(too_long("answer")),
        false => Ok(line),
    }
}

/// The datasets that a question is about, if it may be asked. Pure.
///
/// # Errors
/// Why it may not.
pub fn understand(
    config: &Config,
    from: &NodeName,
    question: &[u8],
) -> Result<Vec<DatasetName>, Refused> {
    known(config, from)?;
    if question.len() > LARGEST {
        return Err(too_long("question"));
    }
    let question: Question = serde_json::from_slice(question)
        .map_err(|e| Refused::new(DATA, format!("not a question: {}", plain(&e.to_string()))))?;
    let Question {
        version,
        from: asking,
        ask: _,
        datasets,
    } = question;
    if version != VERSION {
        let what = format!("the question has version {version}, this is version {VERSION}");
        return Err(Refused::new(DATA, what));
    }
    if asking != *from {
        let what = format!("the key belongs to {from}, and {asking} asks");
        return Err(Refused::new(REFUSED, what));
    }
    if datasets.is_empty() || datasets.len() > MOST {
        let what = format!("asks about {} datasets; 1 to {MOST} may be", datasets.len());
        return Err(Refused::new(DATA, what));
    }
    match datasets
        .iter()
        .find(|name| config.role_of(name) != Some(Role::Replica))
    {
        Some(other) => {
            let what = format!("{other} is no replica of {}", config.node);
            Err(Refused::new(REFUSED, what))
        }
        None => Ok(datasets),
    }
}

fn known(config: &Config, from: &NodeName) -> Result<(), Refused> {
    match config.peers.iter().any(|peer| peer.name == *from) {
        true => Ok(()),
        false => Err(Refused::new(
            REFUSED,
            format!("{from} is not one of the peers of {}", config.node),
        )),
    }
}

/// How these datasets stand, with all below them.
fn states(
    node: Node,
    config: &Config,
    datasets: &[DatasetName],
    deadline: Deadline,
) -> Result<Vec<ReplicaState>, Refused> {
    let mut seen = Vec::new();
    for pool in datasets
        .iter()
        .map(DatasetName::pool)
        .collect::<BTreeSet<_>>()
    {
        seen.extend(see(node, pool, deadline)?);
    }
    let mut states = BTreeMap::new();
    for dataset in datasets {
        if !seen.iter().any(|known| known.name == *dataset) {
            let what = format!("there is no {dataset} on {}", config.node);
            return Err(Refused::unavailable(what));
        }
        let pasts = node.zfs.past(dataset, deadline);
        for past in pasts.map_err(|trouble| Refused::unavailable(trouble.to_string()))? {
            let state = state(config, &seen, past);
            states.insert(state.dataset.clone(), state);
        }
    }
    Ok(states.into_values().collect())
}

/// The datasets of a pool; its state first, which cannot hang.
fn see(node: Node, pool: &str, deadline: Deadline) -> Result<Vec<Dataset>, Refused> {
    match node.system.pool_state(pool) {
        PoolState::Works(_) => {}
        PoolState::Suspended => {
            return Err(Refused::unavailable(format!("pool {pool} is suspended")));
        }
        PoolState::NotImported => {
            return Err(Refused::unavailable(format!("pool {pool} is not imported")));
        }
        PoolState::Unknown(why) => {
            return Err(Refused::unavailable(format!("pool {pool}: {why}")));
        }
    }
    let seen = node.zfs.observe(pool, deadline);
    seen.map_err(|trouble| Refused::unavailable(trouble.to_string()))
}

/// A dataset is promoted with the replica that it is part of.
fn state(config: &Config, seen: &[Dataset], past: Past) -> ReplicaState {
    let root = config.root_above(&past.dataset).map(|root| &root.dataset);
    let root = root.and_then(|root| seen.iter().find(|dataset| dataset.name == *root));
    let promoted = match root {
        Some(root) => root.promotion.clone(),
        None => Promoted::Unknown("its root was not seen".to_owned()),
    };
    let newest = past.newest();
    ReplicaState {
        promoted,
        written: past.written,
        newest: newest.map(|moment| (moment.guid, moment.name.clone())),
        dataset: past.dataset,
    }
}

/// The line for root's authorized_keys that lets a peer ask, and do nothing else.
///
/// # Errors
/// It is no peer.
pub fn authorized_keys_line(
    config: &Config,
    from: &NodeName,
    program: &str,
) -> Result<String, Refused> {
    known(config, from)?;
    Ok(format!(
        "# KEY is the public key of root on {from}: what is in its ~/.ssh/id_ed25519.pub\n\
         restrict,command=\"{program} receive --from {from}\" ssh-ed25519 KEY root@{from}\n"
    ))
}
