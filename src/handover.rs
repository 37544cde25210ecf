//! What one node hands to another: the list of a key's generations as they are here, the bytes of
//! those that the other lacks, and a number by which it proves that it has them. `rotate` and
//! `backup` both go this way, and there is no other.

use crate::config::{Config, Peer};
use crate::key::{Fingerprint, Key, Nonce};
use crate::names::KeyName;
use crate::os;
use crate::pass::Pass;
use crate::peers::{Ask, KEY_PATIENCE, KeyTold, Question, Reply, Told, VERSION, speaks};
use crate::sorted::Set;
use crate::store::merge::held;
use crate::store::state::{Generation, Standing};
use crate::store::survey::Copies;
use crate::store::work::{Held, Merge};
use crate::time::Deadline;
use crate::trouble::Trouble;

/// What is sent to a peer that lacks something.
pub struct Handing<'k> {
    /// The list, and which generations come with it.
    pub ask: Ask,
    /// Their keys, in that order.
    pub keys: Vec<&'k Key>,
    /// What the peer is to prove them with.
    pub nonce: Nonce,
}

/// Makes what gives a peer this list, with the bytes of what it does not say to hold whole. Without
/// `copies` no byte is sent.
///
/// # Errors
/// The kernel gave no random bytes.
pub fn handing<'k>(
    key: &KeyName,
    told: &KeyTold,
    list: &[Generation],
    copies: Option<&'k Copies>,
) -> Result<Handing<'k>, Trouble> {
    let whole = |print: Fingerprint| {
        let mut held = told.held.iter();
        held.any(|held| held.whole && held.generation.fingerprint == print)
    };
    let lacking = |g: &&Generation| g.state != Standing::Pruned && !whole(g.fingerprint);
    let keys: Vec<&Key> = match copies {
        Some(copies) => list
            .iter()
            .filter(lacking)
            .filter_map(|g| copies.good.get(&g.fingerprint))
            .collect(),
        None => Vec::new(),
    };
    let nonce = nonce()?;
    let merge = Merge {
        key: key.clone(),
        list: list.to_vec(),
        bring: keys.iter().map(|key| key.fingerprint()).collect(),
        nonce: Some(nonce),
    };
    Ok(Handing {
        ask: Ask::Put(merge),
        keys,
        nonce,
    })
}

/// The generations of a key that this node's store lists, by number.
pub fn list(copies: &Copies) -> Vec<Generation> {
    let held = held(copies, None, None).into_iter();
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
pub fn proven(told: &KeyTold, nonce: &Nonce, copies: &Copies) -> Set<Fingerprint> {
    let is_proven = |held: &&Held| {
        let print = held.generation.fingerprint;
        let key = copies.good.get(&print);
        key.is_some_and(|key| held.proof == Some(key.prove(nonce, &told.store)))
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
