//! Other nodes, asked over ssh: what they say of the replicas of this node's datasets, and what that
//! means for this node. [`judge`] is pure. What comes from a peer is bounded, read strictly, and shown
//! without control characters.

pub mod reader;
mod unheard;

use crate::child::{Finished, Look, Running};
use crate::config::{Config, Peer, ReplicaOf};
use crate::foreign;
use crate::gate::Answer;
use crate::key::{Fingerprint, Key, Nonce, Proof};
use crate::names::{DatasetName, KeyName, NodeName};
use crate::os::PoolState;
use crate::pass::{Node, ONE_CALL};
use crate::piece::Piece;
use crate::promotion::Promoted;
use crate::sorted::{Map, Set};
use crate::store::work::{Held, Merge};
use crate::time::{Clock, Deadline};
use crate::trouble::Trouble;
use crate::zfs::Past;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;

/// The version of questions and answers. Version 2 brought the proof of a list's owner.
pub const VERSION: u32 = 2;
/// The largest question and the largest answer, in bytes.
pub const LARGEST: usize = 1 << 20;
/// The longest that all peers of a gate together may take to answer.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// The path of `ssh` on FreeBSD and Linux.
pub const SSH: &str = "/usr/bin/ssh";
/// Between two looks at several peers.
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// The longest that a peer may take to answer about a key: it may have to write its store.
pub const KEY_PATIENCE: Duration = Duration::from_secs(75);

/// What is asked. The question is one line; after [`Ask::Put`], the keys follow it as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Ask {
    /// How replicas stand, by their names on the peer, with all below them.
    Replicas(Vec<DatasetName>),
    /// What the peer's store holds of a key of the asker, and what opens the peer's roots with it; in a
    /// rebuild, what it holds of any key.
    Key {
        /// The key.
        key: KeyName,
        /// What the bytes are to be proven with.
        nonce: Nonce,
    },
    /// Take the asker's generations of its key as they are here; in a rebuild, of any key that the
    /// peer's store holds nothing of.
    Put(Put),
}

/// A list of generations, and the proof that the key's owner made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Put {
    /// The list.
    pub merge: Merge,
    /// The proof. Without it, a list changes nothing that the store has of the key already.
    pub vouched: Option<Vouched>,
}

/// The proof that a list was made by somebody who has the bytes of a generation that the receiver
/// holds; see [`crate::statement`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vouched {
    /// The generation.
    pub by: Fingerprint,
    /// The number that the receiver gave for this one list.
    pub challenge: Nonce,
    /// The keyed hash.
    pub proof: Proof,
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
}

impl Ask {
    /// Whether keys follow the question.
    pub fn brings_keys(&self) -> bool {
        matches!(self, Ask::Put(put) if !put.merge.bring.is_empty())
    }
}

impl Question {
    /// The question as it goes over the wire, without the keys that follow it.
    ///
    /// # Errors
    /// It cannot be written, or these are not the keys that belong to it.
    pub fn line(&self, keys: &[&Key]) -> Result<Vec<u8>, String> {
        let named = match &self.ask {
            Ask::Put(put) => put.merge.bring.as_slice(),
            Ask::Replicas(_) | Ask::Key { .. } => &[],
        };
        if !keys
            .iter()
            .map(|key| key.fingerprint())
            .eq(named.iter().copied())
        {
            return Err("the keys are not those that the question names".to_owned());
        }
        let mut line = serde_json::to_vec(self).map_err(|e| e.to_string())?;
        line.push(b'\n');
        Ok(line)
    }
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
    /// What it answers.
    pub answer: Told,
}

/// What a peer tells. No key byte is ever in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Told {
    /// The replicas that were asked for, with all below them.
    Replicas(Vec<ReplicaState>),
    /// How it stands with a key; after [`Ask::Put`], as it was read back.
    Key(KeyTold),
}

/// How it stands with a key on a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyTold {
    /// The identity of its store; empty when it has none, and then nothing is proven either.
    pub store: String,
    /// The generations on its store.
    pub held: Vec<Held>,
    /// Whether no file of the key is damaged or missing there. The same list once more mends what a
    /// run that died has left; what it does not mend, `verify --repair` there does.
    pub sound: bool,
    /// Its configured roots with this key. After [`Ask::Put`], and to a node that
    /// does not own the key, none is told.
    pub roots: Vec<RootTold>,
    /// The number over which the key's owner vouches for its next list. It is good for one list, in
    /// this boot of the peer, for an hour. Others than the owner get none.
    pub challenge: Option<Nonce>,
    /// After [`Ask::Put`]: generations that the list retires or prunes, and that the peer keeps.
    pub kept: Vec<Kept>,
}

/// A generation that a peer goes on trying, whatever the list says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// The generation.
    pub fingerprint: Fingerprint,
    /// Why: the root that may need it.
    pub why: String,
}

/// How it stands with a root on a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootTold {
    /// The root, by its name there.
    pub dataset: DatasetName,
    /// What opens it now.
    pub opens: Opens,
    /// Datasets below it that inherit its key, as after a receive of a whole tree. Only known when
    /// ZFS could be asked.
    pub inheriting: Vec<DatasetName>,
}

/// What opens a root, as ZFS says. Three answers, told apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Opens {
    /// This generation.
    By(Fingerprint),
    /// No usable generation on the peer's store.
    NoKey,
    /// ZFS, or the store, could not be asked.
    CouldNotAsk(String),
}

/// The other nodes.
pub trait Peers {
    /// Asks a peer, now. The `keys` are those that [`Ask::Put`] names.
    ///
    /// # Errors
    /// It did not answer in time, or not in words that are understood. Whatever was asked for may
    /// have been done all the same.
    fn ask(
        &self,
        peer: &Peer,
        question: &Question,
        keys: &[&Key],
        deadline: Deadline,
    ) -> Result<Reply, Trouble>;

    /// Talks with several peers, each by itself: what one does is no matter of the others. Here it is
    /// one after the other.
    fn talk<'k>(&self, talks: &mut [&mut dyn Talk<'k>]) {
        for talk in talks {
            let mut answered = None;
            while let Some(asking) = talk.next(answered.take()) {
                let Asking {
                    peer,
                    question,
                    keys,
                    deadline,
                } = &asking;
                answered = Some(self.ask(peer, question, keys, *deadline));
            }
        }
    }
}

/// A question that is to be asked, as [`Peers::ask`] asks it.
pub struct Asking<'k> {
    /// Who is asked.
    pub peer: &'k Peer,
    /// What.
    pub question: Question,
    /// The keys that go with it, where they lie.
    pub keys: Vec<&'k Key>,
    /// When the answer must be there.
    pub deadline: Deadline,
}

/// One end of a talk with a peer.
pub trait Talk<'k> {
    /// What is to be asked next, after the answer to what was asked before, if anything was. `None`
    /// when there is no more to ask; it is not called again then.
    fn next(&mut self, answered: Option<Result<Reply, Trouble>>) -> Option<Asking<'k>>;
}

/// Peers by way of the system's `ssh`.
pub struct Ssh<'a> {
    /// The program.
    pub program: &'a Path,
    /// This very program, which reads what is answered.
    pub reader: &'a Path,
    /// The clock of the deadlines.
    pub clock: &'a dyn Clock,
}

impl Peers for Ssh<'_> {
    fn ask(
        &self,
        peer: &Peer,
        question: &Question,
        keys: &[&Key],
        deadline: Deadline,
    ) -> Result<Reply, Trouble> {
        let mut running = self.begin(peer, question, keys, deadline)?;
        loop {
            match running.look(self.clock) {
                Ok(Look::Ended(finished)) => return self.heard(peer, &question.from, &finished),
                Ok(Look::Moved) => {}
                Ok(Look::Waits) => running.wait(self.clock),
                Err(trouble) => return Err(of_peer(peer, trouble)),
            }
        }
    }

    /// All at once, in one thread: no `ssh` waits for another.
    fn talk<'k>(&self, talks: &mut [&mut dyn Talk<'k>]) {
        let lines = talks.iter_mut().map(|talk| (talk, Line::Free(None)));
        let mut lines: Vec<_> = lines.collect();
        loop {
            let mut waiting = true;
            for (talk, line) in &mut lines {
                waiting &= !self.move_on(&mut ***talk, line);
            }
            if lines.iter().all(|(_, line)| matches!(line, Line::Over)) {
                return;
            }
            if waiting {
                self.clock.sleep(BETWEEN_LOOKS);
            }
        }
    }
}

/// How a talk stands.
enum Line<'k> {
    /// Nothing is being asked; this was answered before.
    Free(Option<Result<Reply, Trouble>>),
    /// An answer is waited for; the node asks under this name.
    Asked(&'k Peer, NodeName, Running<'k>),
    /// There is no more to ask.
    Over,
}

impl Ssh<'_> {
    /// The bytes go from their boxes into the pipe, and nowhere else.
    fn begin<'k>(
        &self,
        peer: &Peer,
        question: &Question,
        keys: &[&'k Key],
        deadline: Deadline,
    ) -> Result<Running<'k>, Trouble> {
        let line = question.line(keys);
        let line =
            line.map_err(|why| Trouble::failed(peer.name.as_str(), &foreign::words(&why)))?;
        let keys = keys.iter().map(|key| Piece::from(*key));
        let input = std::iter::once(Piece::from(line)).chain(keys).collect();
        let args = arguments(peer, &question.from);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let running = Running::begin(
            self.program,
            &args,
            Some(input),
            LARGEST,
            self.clock,
            deadline,
        );
        running.map_err(|trouble| of_peer(peer, trouble))
    }

    /// Does what can be done for a talk without waiting; tells whether that was anything.
    fn move_on<'k>(&self, talk: &mut dyn Talk<'k>, line: &mut Line<'k>) -> bool {
        let (moved, then) = match std::mem::replace(line, Line::Over) {
            Line::Over => (false, Line::Over),
            Line::Free(answered) => match talk.next(answered) {
                None => (true, Line::Over),
                Some(Asking {
                    peer,
                    question,
                    keys,
                    deadline,
                }) => match self.begin(peer, &question, &keys, deadline) {
                    Ok(running) => (true, Line::Asked(peer, question.from, running)),
                    Err(trouble) => (true, Line::Free(Some(Err(trouble)))),
                },
            },
            Line::Asked(peer, from, mut running) => match running.look(self.clock) {
                Ok(Look::Ended(finished)) => {
                    let heard = self.heard(peer, &from, &finished);
                    (true, Line::Free(Some(heard)))
                }
                Ok(Look::Moved) => (true, Line::Asked(peer, from, running)),
                Ok(Look::Waits) => (false, Line::Asked(peer, from, running)),
                Err(trouble) => (true, Line::Free(Some(Err(of_peer(peer, trouble))))),
            },
        };
        *line = then;
        moved
    }

    /// What a peer has answered by an `ssh` that is over.
    fn heard(&self, peer: &Peer, from: &NodeName, finished: &Finished) -> Result<Reply, Trouble> {
        let failed = |why: String| Trouble::failed(peer.name.as_str(), &why);
        if finished.status != Some(0) {
            return Err(failed(unheard::failed(peer, from, finished)));
        }
        let read = reader::read(self.reader, &finished.stdout, self.clock);
        read.map_err(|why| failed(unheard::not_understood(peer, finished, &why)))
    }
}

/// A command line of ssh says less than the peer's name.
fn of_peer(peer: &Peer, trouble: Trouble) -> Trouble {
    match trouble.is_timeout() {
        true => Trouble::timed_out(&format!("ssh to {}", peer.name)),
        false => trouble,
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

/// Reads an answer, strictly: what the process that reads it and who asked do with it, in one
/// process. Pure.
///
/// # Errors
/// It is too long, or no answer.
pub fn reply(bytes: &[u8]) -> Result<Reply, String> {
    reader::taken(&reader::told(bytes))
}

/// Only the version, so that another one is told apart from what is no message at all.
#[derive(Deserialize)]
struct Spoken {
    version: u32,
}

/// The version of a message that is not of this one.
pub(crate) fn other_version(message: &[u8]) -> Option<u32> {
    let spoken: Spoken = serde_json::from_slice(message).ok()?;
    (spoken.version != VERSION).then_some(spoken.version)
}

/// That a message is of another version, and the way out.
pub(crate) fn speaks(version: u32) -> String {
    format!(
        "has version {version}, this is version {VERSION}; install the same f3skeys on both nodes"
    )
}

/// Asks each of these peers, now, and judges what it says.
pub fn ask_all(
    node: Node,
    config: &Config,
    peers: &Set<NodeName>,
    deadline: Deadline,
) -> Map<NodeName, Answer> {
    let mut parts = peers.len();
    let mut answers = Map::new();
    for peer in peers {
        let share = deadline.share(node.system.clock(), parts);
        parts -= 1;
        let answer = ask_one(node, config, peer, share);
        let answer = answer.unwrap_or_else(Answer::CannotTell);
        answers.insert(peer.clone(), answer);
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
        ask: Ask::Replicas(
            replicas_on(config, name)
                .map(|r| r.dataset.clone())
                .collect(),
        ),
    };
    let reply = node.peers.ask(peer, &question, &[], deadline);
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
            "it answers in version {} of the protocol, this is version {VERSION}; install the same f3skeys on both nodes",
            reply.version
        ));
    }
    if reply.node != *peer {
        return Answer::CannotTell(format!("it answers as {}", reply.node));
    }
    let Told::Replicas(replicas) = &reply.answer else {
        return Answer::CannotTell("it answers another question".to_owned());
    };
    let mut unknown = None;
    for replica in replicas_on(config, peer) {
        if !replicas.iter().any(|s| s.dataset == replica.dataset) {
            let why = format!("it says nothing of {}", replica.dataset);
            unknown = unknown.or(Some(why));
        }
    }
    for state in replicas {
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
            let words = foreign::words(&promotion.to_string());
            return Answer::Closed(format!("it writes {name}: {words}"));
        }
        Promoted::Unknown(value) => {
            let words = foreign::words(value);
            return Answer::CannotTell(format!("it says `{words}` of the promotion of {name}"));
        }
        Promoted::Disputed(dispute) => {
            return Answer::CannotTell(format!("of {name}: {dispute}"));
        }
    }
    let newest = state.newest.as_ref();
    let since = newest.map_or("it was made".to_owned(), |(_, name)| {
        format!("@{}", foreign::words(name))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promotion::Promotion;
    use crate::zfs::Moment;

    const CONFIG: &str = r#"(
        node: "f0", store: (label: "K"),
        roots: [(dataset: "z/enc", key: "f0:z", role: primary, required: true)],
        replicas: [
            (of: "z/enc/nfs", node: "f1", dataset: "t/sink/nfs"),
            (of: "z/enc/vm", node: "f1", dataset: "t/sink/nfs/vm"),
            (of: "z/enc/nfs", node: "f2", dataset: "u/nfs"),
        ],
        peers: [(name: "f1", ssh: "root@f1"), (name: "f2", ssh: "root@f2")],
    )"#;

    fn name<T: std::str::FromStr>(text: &str) -> T {
        text.parse().unwrap_or_else(|_| panic!("{text}"))
    }

    fn moment(guid: u64, bookmark: bool) -> Moment {
        Moment {
            name: format!("m{guid}"),
            guid,
            created: guid,
            bookmark,
        }
    }

    fn past(dataset: &str, moments: &[(u64, bool)]) -> Past {
        Past {
            dataset: name(dataset),
            written: 77,
            moments: moments.iter().map(|(g, b)| moment(*g, *b)).collect(),
        }
    }

    /// Of moment 2 only a bookmark is left here; what this node has written itself counts nothing.
    fn own() -> Vec<Past> {
        vec![
            past("z/enc/nfs", &[(1, false), (2, true), (3, false)]),
            past("z/enc/nfs/a", &[(11, false)]),
            past("z/enc/vm", &[(21, false)]),
            past("z/enc/vm/b", &[(31, false)]),
        ]
    }

    fn state(dataset: &str, guid: Option<u64>) -> ReplicaState {
        ReplicaState {
            dataset: name(dataset),
            promoted: Promoted::Never,
            written: 0,
            newest: guid.map(|guid| (guid, format!("m{guid}"))),
        }
    }

    /// As f1 answers when all is well.
    fn well() -> Reply {
        Reply {
            version: VERSION,
            node: name("f1"),
            answer: Told::Replicas(vec![
                state("t/sink/nfs", Some(3)),
                state("t/sink/nfs/a", Some(11)),
                state("t/sink/nfs/vm", Some(21)),
                state("t/sink/nfs/vm/b", Some(31)),
            ]),
        }
    }

    fn told(reply: &mut Reply) -> &mut Vec<ReplicaState> {
        match &mut reply.answer {
            Told::Replicas(replicas) => replicas,
            other => panic!("{other:?}"),
        }
    }

    fn judged(change: impl FnOnce(&mut Reply)) -> Answer {
        let config = Config::parse(CONFIG).unwrap();
        let mut reply = well();
        change(&mut reply);
        // As it would come over the wire.
        let bytes = serde_json::to_vec(&reply).unwrap();
        judge(&config, &name("f1"), &super::reply(&bytes).unwrap(), &own())
    }

    fn now(reason: &str) -> Promoted {
        Promoted::Now(Promotion {
            epoch: 4,
            since: 1_795_000_000,
            reason: reason.to_owned(),
        })
    }

    #[test]
    fn all_well_is_open_and_so_is_an_older_or_bookmarked_snapshot() {
        assert_eq!(judged(|_| {}), Answer::Open);
        assert_eq!(judged(|r| told(r).reverse()), Answer::Open);
        for guid in [1, 2] {
            let old = |r: &mut Reply| told(r)[0].newest = Some((guid, "m".to_owned()));
            assert_eq!(judged(old), Answer::Open, "{guid}");
        }
        let over = |r: &mut Reply| told(r)[0].promoted = Promoted::Over(3);
        assert_eq!(judged(over), Answer::Open);
    }

    #[test]
    fn whatever_was_written_there_closes_and_says_why() {
        type Change = fn(&mut Reply);
        let table: [(Change, &str); 9] = [
            (
                |r| told(r)[0].promoted = now("f0 burnt"),
                "it writes t/sink/nfs: promoted since 2026-11-18 11:06 UTC, epoch 4: f0 burnt",
            ),
            (
                |r| told(r)[3].promoted = now("x"),
                "it writes t/sink/nfs/vm/b",
            ),
            (
                |r| told(r)[1].written = 4096,
                "4096 bytes were written on its t/sink/nfs/a since @m11",
            ),
            (
                |r| told(r)[0].newest = Some((99, "new".to_owned())),
                "its t/sink/nfs has @new, which z/enc/nfs here does not have",
            ),
            // The snapshot of another dataset is none of this one.
            (
                |r| told(r)[1].newest = Some((3, "m3".to_owned())),
                "which z/enc/nfs/a here does not have",
            ),
            // The nearest of two entries says what it is a replica of.
            (
                |r| told(r)[2].newest = Some((3, "m3".to_owned())),
                "which z/enc/vm here does not have",
            ),
            // Made there: this node has no such dataset.
            (
                |r| told(r).push(state("t/sink/nfs/new", Some(3))),
                "which z/enc/nfs/new here does not have",
            ),
            // Written, though there is nothing to compare it with.
            (
                |r| {
                    told(r)[1].newest = None;
                    told(r)[1].written = 1;
                },
                "1 bytes were written on its t/sink/nfs/a since it was made",
            ),
            // What is known to be false outweighs what is not known.
            (
                |r| {
                    told(r)[0].newest = None;
                    told(r)[1].written = 1;
                },
                "1 bytes were written",
            ),
        ];
        for (change, words) in table {
            match judged(change) {
                Answer::Closed(why) => assert!(why.contains(words), "{why}\nnot {words}"),
                other => panic!("{words}: {other:?}"),
            }
        }
    }

    #[test]
    fn silence_and_riddles_are_not_taken_as_fine() {
        type Change = fn(&mut Reply);
        let table: [(Change, &str); 9] = [
            (|r| r.version = 1, "version 1"),
            (|r| r.version = 0, "version 0"),
            (|r| r.node = name("f2"), "answers as f2"),
            (|r| told(r).clear(), "says nothing of t/sink/nfs"),
            (|r| drop(told(r).remove(0)), "says nothing of t/sink/nfs"),
            (|r| drop(told(r).remove(2)), "says nothing of t/sink/nfs/vm"),
            (|r| told(r)[0].newest = None, "no snapshot to compare"),
            (
                |r| told(r)[0].promoted = Promoted::Unknown("ye\u{1b}[2Js".to_owned()),
                "says `ye\\x1b[2Js` of the promotion of t/sink/nfs",
            ),
            (
                |r| told(r).push(state("u/nfs", Some(3))),
                "it was not asked about u/nfs",
            ),
        ];
        for (change, words) in table {
            match judged(change) {
                Answer::CannotTell(why) => assert!(why.contains(words), "{why}\nnot {words}"),
                other => panic!("{words}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_peers_words_do_nothing_to_a_terminal() {
        let wild = format!("a\u{1b}]0;x\u{7}\r\nb{}", "c".repeat(1000));
        match judged(|r| told(r)[0].promoted = now(&wild)) {
            Answer::Closed(why) => {
                assert!(!why.chars().any(char::is_control), "{why:?}");
                assert!(why.len() < 500);
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_answer_is_read_strictly() {
        let good = String::from_utf8(serde_json::to_vec(&well()).unwrap()).unwrap();
        assert!(reply(good.as_bytes()).is_ok());
        assert!(reply(format!("{good}\n").as_bytes()).is_ok());
        for (from, to) in [
            ("\"version\":2", "\"version\":2,\"more\":1"),
            ("\"version\":2", "\"version\":-1"),
            ("\"version\":2", "\"version\":2,\"version\":1"),
            ("\"version\":2,", ""),
            ("\"written\":0", "\"written\":null"),
            ("\"written\":0,", ""),
            ("\"Never\"", "\"never\""),
            ("\"Never\"", "null"),
            ("t/sink/nfs", "t/sink/nfs@x"),
            ("t/sink/nfs", "-o"),
            ("\"f1\"", "\"../f1\""),
        ] {
            assert!(good.contains(from), "{from}");
            let bad = good.replacen(from, to, 1);
            assert!(reply(bad.as_bytes()).is_err(), "{to}");
        }
        for cut in 0..good.len() {
            assert!(reply(&good.as_bytes()[..cut]).is_err(), "{cut}");
        }
        let long = format!("{good}{}", " ".repeat(LARGEST));
        assert!(reply(long.as_bytes()).unwrap_err().contains("more than"));
        assert!(reply(format!("{good}{good}").as_bytes()).is_err());
        assert!(reply("[".repeat(100_000).as_bytes()).is_err());
    }

    #[test]
    fn ssh_is_told_to_ask_nobody_and_to_open_nothing() {
        let config = Config::parse(CONFIG).unwrap();
        let words = arguments(&config.peers[0], &config.node);
        let end = words.iter().position(|word| word == "--").unwrap();
        assert_eq!(words[end + 1..], ["root@f1", "f3skeys receive --from f0"]);
        for option in ["BatchMode=yes", "StrictHostKeyChecking=yes"] {
            assert!(words[..end].iter().any(|word| word == option));
        }
    }
}
