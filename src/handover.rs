//! What one node hands to another: the list of a key's generations as they are here, the bytes of
//! those that the other lacks, the proof that the list is its owner's, and a number by which the other
//! proves that it has them. `rotate` and `backup` both go this way, and there is no other.

use crate::config::{Config, Peer};
use crate::key::{Fingerprint, Key, Nonce};
use crate::names::{KeyName, NodeName};
use crate::os;
use crate::pass::Pass;
use crate::peers::{
    Ask, KEY_PATIENCE, KeyTold, Put, Question, Reply, Told, VERSION, Vouched, speaks,
};
use crate::sorted::Set;
use crate::statement::Statement;
use crate::store::merge::held;
use crate::store::state::{Generation, Standing, is_store_id};
use crate::store::survey::Copies;
use crate::store::work::{Held, Merge};
use crate::time::Deadline;
use crate::trouble::Trouble;

/// A peer that is to take a list, and what it has said of the key.
#[derive(Clone, Copy)]
pub struct Receiver<'a> {
    /// The key.
    pub key: &'a KeyName,
    /// This node.
    pub from: &'a NodeName,
    /// The peer.
    pub to: &'a NodeName,
    /// What it said last.
    pub told: &'a KeyTold,
}

/// Whether the bytes that the peer lacks go with the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bytes {
    /// They do.
    Go,
    /// The list goes alone.
    Stay,
}

/// What is sent to a peer that lacks something.
pub struct Handing<'k> {
    /// The list, and which generations come with it.
    pub ask: Ask,
    /// Their keys, in that order.
    pub keys: Vec<&'k Key>,
    /// What the peer is to prove them with.
    pub nonce: Nonce,
}

/// Makes what gives a peer this list, with the bytes of what it does not say to hold whole. The list
/// is vouched for with a generation that both have; a peer that holds none takes it as a new key.
///
/// # Errors
/// The kernel gave no random bytes, or the list is too long.
pub fn handing<'k>(
    receiver: Receiver,
    list: &[Generation],
    copies: &'k Copies,
    bytes: Bytes,
) -> Result<Handing<'k>, Trouble> {
    let whole = |print: Fingerprint| {
        let mut held = receiver.told.held.iter();
        held.any(|held| held.whole && held.generation.fingerprint == print)
    };
    let lacking = |g: &&Generation| g.state != Standing::Pruned && !whole(g.fingerprint);
    let keys: Vec<&Key> = match bytes {
        Bytes::Go => list
            .iter()
            .filter(lacking)
            .filter_map(|g| copies.good.get(&g.fingerprint))
            .collect(),
        Bytes::Stay => Vec::new(),
    };
    let nonce = nonce()?;
    let merge = Merge {
        key: receiver.key.clone(),
        list: list.to_vec(),
        bring: keys.iter().map(|key| key.fingerprint()).collect(),
        nonce: Some(nonce),
    };
    let vouched = vouched(receiver, list, copies)?;
    Ok(Handing {
        ask: Ask::Put(Put { merge, vouched }),
        keys,
        nonce,
    })
}

/// The proof that the list is the owner's, for a peer that gave a number for it and holds a generation
/// that is here as well: one that boots try, if there is any.
fn vouched(
    receiver: Receiver,
    list: &[Generation],
    copies: &Copies,
) -> Result<Option<Vouched>, Trouble> {
    let told = receiver.told;
    let common = told.held.iter().filter(|held| held.whole);
    let common = common.filter_map(|held| {
        let key = copies.good.get(&held.generation.fingerprint)?;
        Some((held.generation.state, key))
    });
    let by = common.min_by_key(|(state, _)| *state);
    let (Some((_, by)), Some(challenge)) = (by, told.challenge) else {
        return Ok(None);
    };
    let statement = Statement {
        key: receiver.key,
        from: receiver.from,
        to: receiver.to,
        store: &told.store,
        challenge,
        list,
    };
    let vouched = statement.vouched(by);
    vouched
        .map(Some)
        .map_err(|unfit| Trouble::failed(receiver.key.as_str(), unfit))
}

/// The generations of a key that this node's store lists, by number.
pub fn list(copies: &Copies) -> Vec<Generation> {
    let held = held(copies, None).into_iter();
    held.map(|held| held.generation).collect()
}

/// This node's question.
pub fn question(config: &Config, ask: Ask) -> Question {
    Question {
        version: VERSION,
        from: config.node.clone(),
        ask,
    }
}

/// Asks one peer about keys; `keys` go with the question.
///
/// # Errors
/// It did not answer, or not for itself.
pub fn ask(pass: &Pass, peer: &Peer, ask: Ask, keys: &[&Key]) -> Result<KeyTold, Trouble> {
    let deadline = Deadline::after(pass.clock(), KEY_PATIENCE);
    let question = question(pass.config, ask);
    let reply = pass.node.peers.ask(peer, &question, keys, deadline)?;
    of_key(peer, reply)
}

/// What a peer's answer says of a key.
///
/// # Errors
/// It is of another version, node or question.
pub fn of_key(peer: &Peer, reply: Reply) -> Result<KeyTold, Trouble> {
    let failed = |why: &str| Trouble::failed(peer.name.as_str(), why);
    if reply.version != VERSION {
        return Err(failed(&format!("its answer {}", speaks(reply.version))));
    }
    if reply.node != peer.name {
        return Err(failed(&format!("it answers as {}", reply.node)));
    }
    match reply.answer {
        Told::Key(told) => Ok(told),
        Told::Replicas(_) => Err(failed("it answers another question")),
    }
}

/// A number that was never used before, so that an old proof is none.
///
/// # Errors
/// The kernel gave no random bytes.
pub fn nonce() -> Result<Nonce, Trouble> {
    Nonce::random(os::random).map_err(|e| Trouble::failed("a random number", &e.to_string()))
}

/// The generations that a peer has proven to hold, held against the bytes here.
pub fn proven(
    told: &KeyTold,
    prover: &NodeName,
    nonce: &Nonce,
    copies: &Copies,
) -> Set<Fingerprint> {
    let is_proven = |held: &&Held| {
        let print = held.generation.fingerprint;
        let key = copies.good.get(&print);
        let is_it = |key: &Key| Some(key.prove(nonce, prover.as_str(), &told.store)) == held.proof;
        is_store_id(&told.store) && key.is_some_and(is_it)
    };
    let held = told.held.iter().filter(is_proven);
    held.map(|held| held.generation.fingerprint).collect()
}

/// Whether a peer says that it has this very list, and all of it whole.
pub fn is_same(told: &KeyTold, list: &[Generation]) -> bool {
    let theirs = told.held.iter().map(|held| &held.generation);
    let is_there = |held: &Held| held.whole || held.generation.state == Standing::Pruned;
    told.sound && told.held.iter().all(is_there) && theirs.eq(list)
}
