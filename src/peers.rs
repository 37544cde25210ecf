//! Other nodes, asked over ssh: what they say of the replicas of this node's datasets, and what that
//! means for this node. [`judge`] is pure. What comes from a peer is bounded, read strictly, and shown
//! without control characters.

use crate::child::{self, Call};
use crate::config::{Config, Gate, Peer, ReplicaOf};
use crate::gate::{self, Answer};
use crate::names::{DatasetName, NodeName};
use crate::os::PoolState;
use crate::pass::{Node, ONE_CALL};
use crate::promotion::Promoted;
use crate::time::{Clock, Deadline};
use crate::trouble::Trouble;
use crate::zfs::Past;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// The version of questions and answers.
pub const VERSION: u32 = 1;
/// The largest question and the largest answer, in bytes.
pub const LARGEST: usize = 1 << 20;
/// The longest that all peers of a gate together may take to answer.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// The longest piece of a peer's words that is shown, in characters.
const LONGEST_WORDS: usize = 300;
/// Its path on FreeBSD and Linux.
const SSH: &str = "/usr/bin/ssh";

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ask {
    /// How replicas stand.
    Replicas,
}

/// A question to a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The version of the protocol.
    pub version: u32,
    /// Who asks.
    pub from: NodeName,
    /// What.
    pub ask: Ask,
    /// Of which datasets, by their names on the peer, with all below them.
    pub datasets: Vec<DatasetName>,
}

/// What a peer says of a replica, or of something below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplicaState {
    /// Its name on the peer.
    pub dataset: DatasetName,
    /// Whether it, or the replica that it is part of, is promoted.
    pub promoted: Promoted,
    /// Bytes written since its newest snapshot.
    pub written: u64,
    /// The number of its newest snapshot, and what stands behind `@`.
    pub newest: Option<(u64, String)>,
}

/// A peer's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    /// The version of the protocol.
    pub version: u32,
    /// Who answers.
    pub node: NodeName,
    /// The replicas that were asked for, with all below them.
    pub replicas: Vec<ReplicaState>,
}

/// The other nodes.
pub trait Peers {
    /// Asks a peer, now.
    ///
    /// # Errors
    /// It did not answer in time, or not in words that are understood.
    fn ask(&self, peer: &Peer, question: &Question, deadline: Deadline) -> Result<Reply, Trouble>;
}

/// Peers by way of the system's `ssh`.
pub struct Ssh<'a> {
    /// The clock of the deadlines.
    pub clock: &'a dyn Clock,
}

impl Peers for Ssh<'_> {
    fn ask(&self, peer: &Peer, question: &Question, deadline: Deadline) -> Result<Reply, Trouble> {
        let failed = |why: &str| Trouble::failed(peer.name.as_str(), &plain(why));
        let input = serde_json::to_vec(question).map_err(|e| failed(&e.to_string()))?;
        let args = arguments(peer, &question.from);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let call = Call {
            program: Path::new(SSH),
            args: &args,
            input: Some(&input),
        };
        let finished = child::run(&call, self.clock, deadline).map_err(|trouble| match trouble
            .is_timeout()
        {
            true => Trouble::timed_out(&format!("ssh to {}", peer.name)),
            false => trouble,
        })?;
        if finished.status != Some(0) {
            let words = String::from_utf8_lossy(&finished.stderr);
            let status = finished.status.map_or(-1, |status| status);
            return Err(failed(&format!("ssh exits with {status}: {words}")));
        }
        reply(&finished.stdout).map_err(|why| failed(&why))
    }
}

/// No question, no password, no unknown host, nothing forwarded. The peer's forced command decides
/// what runs there; the words are for a key that has none.
fn arguments(peer: &Peer, from: &NodeName) -> Vec<String> {
    let mut words = vec!["-T".to_owned()];
    for option in [
        "BatchMode=yes",
        "ConnectTimeout=5",
        "StrictHostKeyChecking=yes",
        "ClearAllForwardings=yes",
        "ForwardAgent=no",
        "ForwardX11=no",
        "PermitLocalCommand=no",
    ] {
        words.extend(["-o".to_owned(), option.to_owned()]);
    }
    words.extend(["--".to_owned(), peer.ssh.clone()]);
    words.push(format!("f3skeys receive --from {from}"));
    words
}

/// Reads an answer, strictly.
///
/// # Errors
/// It is too long, or no answer.
pub fn reply(bytes: &[u8]) -> Result<Reply, String> {
    if bytes.len() > LARGEST {
        return Err(format!("its answer has more than {LARGEST} bytes"));
    }
    serde_json::from_slice(bytes).map_err(|e| format!("its answer is not understood: {e}"))
}

/// A peer's words on one line, cut, and without what a terminal would take for a command.
pub fn plain(words: &str) -> String {
    let one_line = words.split_whitespace().collect::<Vec<_>>().join(" ");
    let shown = one_line.chars().map(|c| match c.is_control() {
        true => '?',
        false => c,
    });
    shown.take(LONGEST_WORDS).collect()
}

/// Asks every peer that the gate depends on, now, and judges what each says.
pub fn ask_all(
    node: Node,
    config: &Config,
    gate: &Gate,
    deadline: Deadline,
) -> BTreeMap<NodeName, Answer> {
    let peers = gate::peers(config, gate);
    let mut parts = peers.len();
    let mut answers = BTreeMap::new();
    for peer in peers {
        let share = deadline.share(node.system.clock(), parts);
        parts -= 1;
        let answer = ask_one(node, config, &peer, share);
        let answer = answer.unwrap_or_else(Answer::CannotTell);
        answers.insert(peer, answer);
    }
    answers
}

fn ask_one(
    node: Node,
    config: &Config,
    name: &NodeName,
    deadline: Deadline,
) -> Result<Answer, String> {
    let mut peers = config.peers.iter();
    let peer = peers.find(|peer| peer.name == *name);
    let peer = peer.ok_or("it is not one of the peers")?;
    let question = Question {
        version: VERSION,
        from: config.node.clone(),
        ask: Ask::Replicas,
        datasets: replicas_on(config, name)
            .map(|r| r.dataset.clone())
            .collect(),
    };
    let reply = node.peers.ask(peer, &question, deadline);
    let reply = reply.map_err(|trouble| trouble.to_string())?;
    let mut own = Vec::new();
    for replica in replicas_on(config, name) {
        own.extend(own_past(node, &replica.of, deadline)?);
    }
    Ok(judge(config, name, &reply, &own))
}

fn replicas_on<'a>(config: &'a Config, peer: &'a NodeName) -> impl Iterator<Item = &'a ReplicaOf> {
    let replicas = config.replicas.iter();
    replicas.filter(move |replica| replica.node == *peer)
}

/// The pool's state first, which cannot hang.
fn own_past(node: Node, dataset: &DatasetName, deadline: Deadline) -> Result<Vec<Past>, String> {
    let pool = dataset.pool();
    match node.system.pool_state(pool) {
        PoolState::Works(_) => {}
        PoolState::Suspended => return Err(format!("pool {pool} is suspended")),
        PoolState::NotImported => return Err(format!("pool {pool} is not imported")),
        PoolState::Unknown(why) => return Err(format!("pool {pool}: {why}")),
    }
    let deadline = deadline.at_most(node.system.clock(), ONE_CALL);
    let past = node.zfs.past(dataset, deadline);
    past.map_err(|trouble| trouble.to_string())
}

/// Whether what a peer says leaves this node the only one that was written. `own` is what became of
/// this node's datasets so far. What is missing is not taken as fine.
pub fn judge(config: &Config, peer: &NodeName, reply: &Reply, own: &[Past]) -> Answer {
    if reply.version != VERSION {
        return Answer::CannotTell(format!(
            "it answers in version {} of the protocol, this is version {VERSION}",
            reply.version
        ));
    }
    if reply.node != *peer {
        return Answer::CannotTell(format!("it answers as {}", reply.node));
    }
    let mut unknown = None;
    for replica in replicas_on(config, peer) {
        if !reply.replicas.iter().any(|s| s.dataset == replica.dataset) {
            let why = format!("it says nothing of {}", replica.dataset);
            unknown = unknown.or(Some(why));
        }
    }
    for state in &reply.replicas {
        match judge_one(config, peer, state, own) {
            Answer::Open => {}
            Answer::Closed(why) => return Answer::Closed(why),
            Answer::CannotTell(why) => unknown = unknown.or(Some(why)),
        }
    }
    unknown.map_or(Answer::Open, Answer::CannotTell)
}

fn judge_one(config: &Config, peer: &NodeName, state: &ReplicaState, own: &[Past]) -> Answer {
    let name = &state.dataset;
    let asked = replicas_on(config, peer).filter(|replica| name.is_at_or_below(&replica.dataset));
    let Some(replica) = asked.max_by_key(|replica| replica.dataset.as_str().len()) else {
        return Answer::CannotTell(format!("it was not asked about {name}"));
    };
    match &state.promoted {
        Promoted::Never | Promoted::Over(_) => {}
        Promoted::Now(promotion) => {
            let words = plain(&promotion.to_string());
            return Answer::Closed(format!("it writes {name}: {words}"));
        }
        Promoted::Unknown(value) => {
            let words = plain(value);
            return Answer::CannotTell(format!("it says `{words}` of the promotion of {name}"));
        }
    }
    let newest = state.newest.as_ref();
    let since = newest.map_or("it was made".to_owned(), |(_, name)| {
        format!("@{}", plain(name))
    });
    if state.written > 0 {
        let bytes = state.written;
        return Answer::Closed(format!(
            "{bytes} bytes were written on its {name} since {since}"
        ));
    }
    let Some((guid, _)) = newest else {
        return Answer::CannotTell(format!("its {name} has no snapshot to compare"));
    };
    let below = name.as_str().strip_prefix(replica.dataset.as_str());
    let of = format!("{}{}", replica.of, below.unwrap_or_default());
    let past = own.iter().find(|past| past.dataset.as_str() == of);
    match past.is_some_and(|past| past.has(*guid)) {
        true => Answer::Open,
        false => Answer::Closed(format!(
            "its {name} has {since}, which {of} here does not have: it was made there, or destroyed here"
        )),
    }
}
