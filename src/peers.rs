//! Other nodes, asked over ssh: what they say of the replicas of this node's datasets.

use crate::config::{Config, Gate, Peer};
use crate::gate::{self, Answer};
use crate::names::{DatasetName, NodeName};
use crate::pass::Node;
use crate::promotion::Promoted;
use crate::time::Deadline;
use crate::trouble::Trouble;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a peer says of a replica, or of something below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplicaState {
    /// Its name on the peer.
    pub dataset: DatasetName,
    /// Whether it was promoted.
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
    /// Asks a peer, now, how these datasets of its own stand.
    ///
    /// # Errors
    /// It did not answer in time, or not in words that are understood.
    fn ask(
        &self,
        peer: &Peer,
        datasets: &[DatasetName],
        deadline: Deadline,
    ) -> Result<Reply, Trouble>;
}

/// Peers by way of the system's `ssh`.
pub struct Ssh;

impl Peers for Ssh {
    fn ask(
        &self,
        peer: &Peer,
        _datasets: &[DatasetName],
        _deadline: Deadline,
    ) -> Result<Reply, Trouble> {
        Err(Trouble::failed(peer.name.as_str(), "not built yet"))
    }
}

/// Asks every peer that a gate needs, and judges what it says.
pub fn ask_all(
    _node: Node,
    config: &Config,
    gate: &Gate,
    _deadline: Deadline,
) -> BTreeMap<NodeName, Answer> {
    let not_yet = |peer| (peer, Answer::CannotTell("cannot be asked yet".to_owned()));
    gate::peers(config, gate).into_iter().map(not_yet).collect()
}
