//! `f3skeys receive`: the forced command of a peer's ssh key. Answers one question: about the
//! replicas that this node holds for the peer, or about a key of the peer's. Changes nothing, but that
//! it takes new generations of the peer's own keys, and of others' what its store holds nothing of
//! while a person has opened it for that ([`rebuild`]); hands no key out, and tells of nothing else.

mod budget;
mod keys;
pub mod ledger;
pub(crate) mod question;
pub mod rebuild;

use crate::audit::log::Caller;
use crate::config::{Config, Role};
use crate::exit::{DATA, Fault, REFUSED};
use crate::names::{DatasetName, KeyName, NodeName};
use crate::os::{Intake, PoolState};
use crate::pass::Node;
use crate::peers::{Ask, LARGEST, Put, Question, ReplicaState, Reply, Told, VERSION, speaks};
use crate::promotion::Promoted;
use crate::report::Finding;
use crate::sorted::{Map, Set};
use crate::store::merge;
use crate::time::{Clock, Deadline};
use crate::zfs::{Dataset, Listing, Past};
use crate::{foreign, shell};
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

/// The longest that a question may take to arrive.
const READING: Duration = Duration::from_secs(5);
/// The longest that everything may take: the peer waits little longer.
const ANSWERING: Duration = Duration::from_secs(9);
/// The longest that everything may take when it is about a key.
const ANSWERING_KEYS: Duration = Duration::from_secs(60);
/// The most datasets that one question may name.
pub const MOST: usize = 256;

/// When it must all be over, which depends on what is asked.
#[derive(Debug, Clone, Copy)]
pub struct Time {
    /// A question about replicas is answered.
    pub replicas: Deadline,
    /// A question about a key is answered.
    pub keys: Deadline,
}

impl Time {
    /// The time that there is from now on.
    pub fn begin(clock: &dyn Clock) -> Time {
        Time {
            replicas: Deadline::after(clock, ANSWERING),
            keys: Deadline::after(clock, ANSWERING_KEYS),
        }
    }
}

/// Why a question is not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The exit status.
    pub status: u8,
    /// Why, in words for the peer's log.
    pub what: String,
    /// Whether a change of the store was asked for.
    pub is_of_change: bool,
}

impl Refused {
    fn new(status: u8, what: impl Into<String>) -> Refused {
        Refused {
            status,
            what: what.into(),
            is_of_change: false,
        }
    }

    fn of(self, ask: &Ask) -> Refused {
        Refused {
            is_of_change: matches!(ask, Ask::Put(_)),
            ..self
        }
    }

    /// Keeps that a change was refused in the audit log.
    fn keep(&self, node: Node, from: &NodeName) {
        if self.is_of_change {
            complain(Caller::peer(from).refused(node, &self.what));
        }
    }

    /// Keeps that a list was refused, which is nobody's fault but the peer's.
    fn keep_if_refused(&self, node: Node, from: &NodeName) {
        if self.status == REFUSED {
            complain(Caller::peer(from).refused(node, &self.what));
        }
    }

    fn unavailable(what: impl Into<String>) -> Refused {
        Refused::new(Fault::Unavailable.status(), what)
    }
}

/// What could not be written down goes to standard error: the peer's question is answered all the
/// same.
fn complain(unlogged: Option<Finding>) {
    let text = unlogged.map(|finding| finding.text()).unwrap_or_default();
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Reads a question and answers it; gives one line of JSON.
///
/// # Errors
/// It does not end in time, is not understood, is about what `from` may not ask, or could not be
/// answered.
pub fn serve(
    node: Node,
    config: &Config,
    from: &NodeName,
    input: std::io::Result<impl AsFd>,
) -> Result<Vec<u8>, Refused> {
    let time = Time::begin(node.system.clock());
    let input = input.map_err(|e| Refused::new(DATA, e.to_string()))?;
    let incoming = question::Incoming::new(input.as_fd(), READING);
    let question = incoming.question()?;
    let ask = allowed(config, from, question, &rebuild::admits(node, from))
        .inspect_err(|why| why.keep(node, from))?;
    let brought = brought(&incoming, &ask).inspect_err(|why| why.keep(node, from))?;
    answer(node, config, from, ask, brought, time)
}

/// The keys that come with a question, all of them: nothing is waited for any more after that.
fn brought(incoming: &question::Incoming, ask: &Ask) -> Result<Option<Intake>, Refused> {
    match ask {
        Ask::Put(put) if ask.brings_keys() => {
            let keys = incoming.keys(&put.merge.bring);
            keys.map(Some).map_err(|refused| refused.of(ask))
        }
        _ => Ok(None),
    }
}

fn too_long(what: &str) -> Refused {
    Refused::new(DATA, format!("the {what} has more than {LARGEST} bytes"))
}

/// Answers what was asked, and may be; gives one line of JSON. `brought` are the keys that came with
/// the question.
///
/// # Errors
/// ZFS or the store could not be asked, or the store takes no such keys.
pub fn answer(
    node: Node,
    config: &Config,
    from: &NodeName,
    ask: Ask,
    brought: Option<Intake>,
    time: Time,
) -> Result<Vec<u8>, Refused> {
    let answer = match ask {
        Ask::Replicas(datasets) => {
            let mut states = states(node, config, &datasets, time.replicas)?;
            // Below one of its own there may be another node's.
            states.retain(|state| is_replica_of(config, from, &state.dataset));
            Told::Replicas(states)
        }
        Ask::Key { key, nonce } => {
            Told::Key(keys::tell(node, config, from, (&key, &nonce), time.keys)?)
        }
        Ask::Put(put) => {
            let handed = keys::Handed { put, brought };
            let told = keys::put(node, config, from, handed, time.keys);
            Told::Key(told.inspect_err(|why| why.keep_if_refused(node, from))?)
        }
    };
    let reply = Reply {
        version: VERSION,
        node: config.node.clone(),
        answer,
    };
    let text = serde_json::to_string(&reply);
    let text = text.map_err(|e| Refused::unavailable(e.to_string()))?;
    within_bounds((foreign::json(&text) + "\n").into_bytes())
}

/// A peer reads no longer answer.
fn within_bounds(line: Vec<u8>) -> Result<Vec<u8>, Refused> {
    match line.len() > LARGEST {
        true => Err(too_long("answer")),
        false => Ok(line),
    }
}

/// What is asked, if it may be: what the worker that reads it and root do with a question, in one
/// process. `rebuild` says why the peer may not give keys that are not its own, or that it may. Pure.
///
/// # Errors
/// Why it may not.
pub fn understand(
    config: &Config,
    from: &NodeName,
    question: &[u8],
    rebuild: &Result<(), String>,
) -> Result<Ask, Refused> {
    let question = question::taken(&question::told(question))?;
    allowed(config, from, question, rebuild)
}

/// What is asked, if it may be.
fn allowed(
    config: &Config,
    from: &NodeName,
    question: Question,
    rebuild: &Result<(), String>,
) -> Result<Ask, Refused> {
    known(config, from)?;
    let Question {
        version,
        from: asking,
        ask,
    } = question;
    if version != VERSION {
        return Err(Refused::new(
            DATA,
            format!("the question {}", speaks(version)),
        ));
    }
    if asking != *from {
        let what = format!("the key belongs to {from}, and {asking} asks");
        return Err(Refused::new(REFUSED, what).of(&ask));
    }
    match may_ask(config, from, &ask, rebuild) {
        Ok(()) => Ok(ask),
        Err(refused) => Err(refused.of(&ask)),
    }
}

fn may_ask(
    config: &Config,
    from: &NodeName,
    ask: &Ask,
    rebuild: &Result<(), String>,
) -> Result<(), Refused> {
    match ask {
        Ask::Replicas(datasets) => may_ask_about(config, from, datasets),
        Ask::Key { key, .. } => may_touch(from, key, rebuild),
        Ask::Put(Put { merge, .. }) => {
            may_touch(from, &merge.key, rebuild)?;
            let shape = merge::shape(&merge.list, &merge.bring);
            shape.map_err(|why| Refused::new(DATA, why))
        }
    }
}

/// A key is the business of its owner, and of nobody else but in a rebuild.
fn may_touch(from: &NodeName, key: &KeyName, rebuild: &Result<(), String>) -> Result<(), Refused> {
    match rebuild {
        _ if owns(from, key) => Ok(()),
        Ok(()) => Ok(()),
        Err(why) => {
            let what = format!("{key} is a key of {}, and {from} asks; {why}", key.owner());
            Err(Refused::new(REFUSED, what))
        }
    }
}

fn owns(from: &NodeName, key: &KeyName) -> bool {
    key.owner() == from.as_str()
}

fn may_ask_about(
    config: &Config,
    from: &NodeName,
    datasets: &[DatasetName],
) -> Result<(), Refused> {
    if datasets.is_empty() || datasets.len() > MOST {
        let what = format!("asks about {} datasets; 1 to {MOST} may be", datasets.len());
        return Err(Refused::new(DATA, what));
    }
    for name in datasets {
        if config.role_of(name) != Some(Role::Replica) {
            let what = format!("{name} is no replica of {}", config.node);
            return Err(Refused::new(REFUSED, what));
        }
        if !is_replica_of(config, from, name) {
            let what = format!(
                "{name} is a replica whose key is of another node than {from}: see `key` of its root on {}",
                config.node
            );
            return Err(Refused::new(REFUSED, what));
        }
    }
    Ok(())
}

/// A replica is the business of the node that owns the key of its root, under its name of today.
fn is_replica_of(config: &Config, from: &NodeName, name: &DatasetName) -> bool {
    let root = config.root_above(name);
    root.is_some_and(|root| owns(from, &root.key))
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
    let mut damaged = Vec::new();
    for pool in datasets.iter().map(DatasetName::pool).collect::<Set<_>>() {
        let listing = see(node, pool, deadline)?;
        seen.extend(listing.datasets);
        damaged.extend(listing.damaged);
    }
    let mut states = Map::new();
    for dataset in datasets {
        if let Some(damaged) = damaged.iter().find(|d| d.name == *dataset) {
            let what = format!(
                "nothing is known of {dataset} on {}: {damaged}",
                config.node
            );
            return Err(Refused::unavailable(what));
        }
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
fn see(node: Node, pool: &str, deadline: Deadline) -> Result<Listing, Refused> {
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
    let seen = node.datasets(pool, None, deadline);
    seen.map_err(|trouble| Refused::unavailable(trouble.to_string()))
}

/// A dataset is promoted with the replica that it is part of.
fn state(config: &Config, seen: &[Dataset], past: Past) -> ReplicaState {
    let root = config.root_above(&past.dataset).map(|root| &root.dataset);
    let root = root.and_then(|root| seen.iter().find(|dataset| dataset.name == *root));
    let promoted = match root {
        Some(root) => root.promotion.for_a_peer(),
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
    program: &Path,
) -> Result<String, Refused> {
    known(config, from)?;
    // The user's shell runs the command; within the quotes of the option only a quote is escaped.
    let program = shell::word(program).replace('"', "\\\"");
    Ok(format!(
        "# KEY is the public key of root on {from}: what is in its ~/.ssh/id_ed25519.pub\n\
         restrict,command=\"{program} receive --from {from}\" ssh-ed25519 KEY root@{from}\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Fingerprint, Nonce};
    use crate::report::Severity;
    use crate::store::state::{Generation, Standing};
    use crate::store::work::Merge;

    const CONFIG: &str = r#"(
        node: "f1", store: (label: "K"),
        roots: [
            (dataset: "z/own", key: "f1:z", role: primary, required: true),
            (dataset: "z/sink/f0", key: "f0:z", role: replica, required: true),
            (dataset: "z/sink/f0/of-f2", key: "f2:z", role: replica, required: true),
            (dataset: "z/sink/f2", key: "f2:z", role: replica, required: true),
            (dataset: "z/sink/gone", key: "old:z", role: replica, required: true),
        ],
        peers: [(name: "f0", ssh: "root@f0"), (name: "f2", ssh: "root@f2")],
    )"#;
    const GOOD: &str = r#"{"version":2,"from":"f0","ask":{"replicas":["z/sink/f0/nfs"]}}"#;

    fn understood(from: &str, question: &[u8]) -> Result<Ask, Refused> {
        let config = Config::parse(CONFIG).unwrap();
        let closed = Err("closed".to_owned());
        understand(&config, &from.parse().unwrap(), question, &closed)
    }

    #[test]
    fn what_a_node_asks_is_what_this_reads() {
        let question = Question {
            version: VERSION,
            from: "f0".parse().unwrap(),
            ask: Ask::Replicas(vec!["z/sink/f0/nfs".parse().unwrap()]),
        };
        assert_eq!(serde_json::to_string(&question).unwrap(), GOOD);
        assert_eq!(understood("f0", GOOD.as_bytes()), Ok(question.ask));
        let whole = GOOD.replace("z/sink/f0/nfs", "z/sink/f0");
        assert!(understood("f0", format!("{whole}\n").as_bytes()).is_ok());
    }

    #[test]
    fn as_many_datasets_may_be_asked_about_as_a_question_may_name_and_no_more() {
        for (count, is_allowed) in [
            (0, false),
            (1, true),
            (MOST - 1, true),
            (MOST, true),
            (MOST + 1, false),
            (2 * MOST, false),
        ] {
            let datasets = vec!["z/sink/f0/nfs".parse().unwrap(); count];
            let config = Config::parse(CONFIG).unwrap();
            let asked = may_ask_about(&config, &"f0".parse().unwrap(), &datasets);
            assert_eq!(asked.is_ok(), is_allowed, "{count}");
        }
    }

    #[test]
    fn an_answer_is_as_long_as_a_peer_reads_and_no_longer() {
        for (length, is_given) in [(LARGEST - 1, true), (LARGEST, true), (LARGEST + 1, false)] {
            let given = within_bounds(vec![b' '; length]);
            let expected = if is_given { Ok(length) } else { Err(DATA) };
            let given = given.map(|line| line.len()).map_err(|why| why.status);
            assert_eq!(given, expected, "{length}");
        }
    }

    /// What `complain` writes to standard error, in a process of its own.
    fn complained(unlogged: Option<Finding>) -> String {
        let file = format!("f3skeys-complained-{}", std::process::id());
        let file = std::env::temp_dir().join(file);
        let clock = crate::time::SystemClock::start();
        let deadline = Deadline::after(&clock, Duration::from_secs(60));
        let done = crate::os::worker::run("complain", &clock, deadline, || {
            let to = std::fs::File::create(&file).unwrap();
            nix::unistd::dup2_stderr(to).unwrap();
            complain(unlogged);
            true
        });
        assert!(done.unwrap());
        let said = std::fs::read_to_string(&file).unwrap();
        std::fs::remove_file(file).unwrap();
        said
    }

    #[test]
    fn what_could_not_be_written_down_is_said_on_standard_error() {
        let unlogged = Finding::new(Severity::Failure, "log", "is full", "make room");
        assert_eq!(complained(Some(unlogged.clone())), unlogged.text());
        assert_eq!(complained(None), "");
    }

    #[test]
    fn hostile_questions_are_refused() {
        let many = format!("[{}]", vec!["\"z/sink/f0/nfs\""; MOST + 1].join(","));
        for (from, to, status) in [
            // For another's key, or about what is none of the peer's business.
            ("\"f0\"", "\"f2\"", REFUSED),
            ("\"f0\"", "\"f1\"", REFUSED),
            ("z/sink/f0/nfs", "z/own", REFUSED),
            ("z/sink/f0/nfs", "z", REFUSED),
            ("z/sink/f0/nfs", "z/sink", REFUSED),
            ("z/sink/f0/nfs", "z/sink/f00", REFUSED),
            ("z/sink/f0/nfs", "zroot", REFUSED),
            // Of another peer, also below its own, and of a node that is none of the peers any more.
            ("z/sink/f0/nfs", "z/sink/f2", REFUSED),
            ("z/sink/f0/nfs", "z/sink/f0/of-f2", REFUSED),
            ("z/sink/f0/nfs", "z/sink/f0\",\"z/sink/f2/a", REFUSED),
            ("z/sink/f0/nfs", "z/sink/gone", REFUSED),
            ("z/sink/f0/nfs", "z/sink/f0\",\"z/own", REFUSED),
            // No names, or no question.
            ("z/sink/f0/nfs", "z/sink/f0/../own", DATA),
            ("z/sink/f0/nfs", "z/sink/f0@x", DATA),
            ("z/sink/f0/nfs", "-r", DATA),
            ("z/sink/f0/nfs", "", DATA),
            ("[\"z/sink/f0/nfs\"]", "[]", DATA),
            ("[\"z/sink/f0/nfs\"]", "\"z/sink/f0/nfs\"", DATA),
            ("[\"z/sink/f0/nfs\"]", "null", DATA),
            ("[\"z/sink/f0/nfs\"]", &many, DATA),
            ("\"replicas\"", "\"keys\"", DATA),
            ("{\"replicas\":", "{\"replicas\":[],\"replicas\":", DATA),
            ("{\"replicas\":[\"z/sink/f0/nfs\"]}", "\"replicas\"", DATA),
            ("\"replicas\"", "\"Replicas\"", DATA),
            ("\"version\":2", "\"version\":1", DATA),
            ("\"version\":2", "\"version\":\"1\"", DATA),
            ("\"version\":2", "\"version\":1e0", DATA),
            ("\"version\":2", "\"version\":2,\"version\":2", DATA),
            ("\"version\":2", "\"version\":2,\"write\":true", DATA),
            ("\"version\":2,", "", DATA),
            ("{\"version\"", "[{\"version\"", DATA),
            ("\"f0\"", "\"f0\\n\"", DATA),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let bad = GOOD.replacen(from, to, 1);
            let refused = understood("f0", bad.as_bytes()).expect_err(&bad);
            assert_eq!(refused.status, status, "{bad}: {}", refused.what);
            assert!(!refused.what.chars().any(char::is_control));
        }
        for cut in 0..GOOD.len() {
            let refused = understood("f0", &GOOD.as_bytes()[..cut]).unwrap_err();
            assert_eq!(refused.status, DATA);
        }
        for bytes in [&b"\xff\xfe"[..], b"\0", &[b'['; 200_000]] {
            assert_eq!(understood("f0", bytes).unwrap_err().status, DATA);
        }
    }

    const PRINT: &str = "0672a236ac158de82d7972e257a9a57234b9a51138dc8f677f72157192aa8f9b";

    fn about_key() -> String {
        let nonce = "12".repeat(32);
        format!(r#"{{"version":2,"from":"f0","ask":{{"key":{{"key":"f0:z","nonce":"{nonce}"}}}}}}"#)
    }

    fn put() -> String {
        format!(
            r#"{{"version":2,"from":"f0","ask":{{"put":{{"merge":{{"key":"f0:z","list":[{{"generation":1,"fingerprint":"{PRINT}","state":"current"}}],"bring":["{PRINT}"],"nonce":null}},"vouched":null}}}}}}"#
        )
    }

    #[test]
    fn what_a_node_asks_of_its_keys_is_what_this_reads() {
        let nonce = Nonce::try_from("12".repeat(32)).unwrap();
        let key: KeyName = "f0:z".parse().unwrap();
        let fingerprint = Fingerprint::parse(PRINT).unwrap();
        let merge = Merge {
            key: key.clone(),
            list: vec![Generation {
                generation: 1,
                fingerprint,
                state: Standing::Current,
            }],
            bring: vec![fingerprint],
            nonce: None,
        };
        for (line, ask) in [
            (about_key(), Ask::Key { key, nonce }),
            (
                put(),
                Ask::Put(Put {
                    merge,
                    vouched: None,
                }),
            ),
        ] {
            let question = Question {
                version: VERSION,
                from: "f0".parse().unwrap(),
                ask,
            };
            assert_eq!(serde_json::to_string(&question).unwrap(), line);
            assert_eq!(understood("f0", line.as_bytes()), Ok(question.ask));
        }
    }

    #[test]
    fn only_the_owner_asks_about_a_key_and_only_in_these_words() {
        let (key, put) = (about_key(), put());
        for (line, from, to, status) in [
            (&key, "\"f0:z\"", "\"f1:z\"", REFUSED),
            (&key, "\"f0:z\"", "\"f2:z\"", REFUSED),
            (&key, "\"f0:z\"", "\"f0:../z\"", DATA),
            (&key, "\"f0:z\"", "\"z\"", DATA),
            (&key, "\"f0:z\"", "\"f00:z\"", REFUSED),
            (&key, "\"1212", "\"1 12", DATA),
            (&key, "\"1212", "\"12", DATA),
            (&key, "\"1212", "\"AB12", DATA),
            (&key, ",\"nonce\"", ",\"more\":1,\"nonce\"", DATA),
            (&key, "{\"key\":{", "{\"give\":{", DATA),
            (&put, "\"f0:z\"", "\"f1:z\"", REFUSED),
            (&put, "\"f0:z\"", "\"f2:z\"", REFUSED),
            (&put, "\"generation\":1", "\"generation\":0", DATA),
            (&put, "\"generation\":1", "\"generation\":-1", DATA),
            (&put, "\"generation\":1", "\"generation\":4294967296", DATA),
            (&put, "\"current\"", "\"Current\"", DATA),
            (&put, "\"current\"", "\"unknown\"", DATA),
            (&put, "\"bring\":[\"0672", "\"bring\":[\"1672", DATA),
            (&put, "\"bring\":[\"0672", "\"bring\":[\"../2", DATA),
            (&put, "\"nonce\":null", "\"nonce\":0", DATA),
            (
                &put,
                "\"nonce\":null",
                "\"nonce\":null,\"force\":true",
                DATA,
            ),
            (&put, "\"state\"", "\"keep\":false,\"state\"", DATA),
            (&put, "{\"put\"", "{\"replicas\":[],\"put\"", DATA),
        ] {
            assert!(line.contains(from), "{from}");
            let bad = line.replacen(from, to, 1);
            let refused = understood("f0", bad.as_bytes()).expect_err(&bad);
            assert_eq!(refused.status, status, "{bad}: {}", refused.what);
        }
        for line in [&key, &put] {
            // What f2 may ask is about its own keys.
            let other = line.replace("\"from\":\"f0\"", "\"from\":\"f2\"");
            assert_eq!(
                understood("f2", other.as_bytes()).unwrap_err().status,
                REFUSED
            );
            for cut in 0..line.len() {
                let refused = understood("f0", &line.as_bytes()[..cut]).unwrap_err();
                assert_eq!(refused.status, DATA);
            }
        }
    }

    /// As a node of version 1 asks, which knows nothing of proofs.
    #[test]
    fn a_node_of_version_1_is_told_both_versions_and_the_way_out() {
        let put = put().replace("\"version\":2", "\"version\":1");
        let put = put
            .replace("{\"merge\":", "")
            .replace("},\"vouched\":null}", "}");
        let key = about_key().replace("\"version\":2", "\"version\":1");
        for line in [put, key, GOOD.replace("\"version\":2", "\"version\":1")] {
            let refused = understood("f0", line.as_bytes()).expect_err(&line);
            assert_eq!(refused.status, DATA);
            let both = "the question has version 1, this is version 2; install the same f3skeys";
            assert!(refused.what.starts_with(both), "{}", refused.what);
        }
    }

    #[test]
    fn only_configured_peers_are_answered_or_let_in() {
        assert_eq!(
            understood("f9", GOOD.as_bytes()).unwrap_err().status,
            REFUSED
        );
        let config = Config::parse(CONFIG).unwrap();
        let line = |from: &str| {
            let from = from.parse().unwrap();
            authorized_keys_line(&config, &from, Path::new("/usr/local/sbin/f3skeys"))
        };
        assert_eq!(line("f9").unwrap_err().status, REFUSED);
        let line = line("f0").unwrap();
        let options = "restrict,command=\"/usr/local/sbin/f3skeys receive --from f0\" ssh-ed25519 ";
        assert!(line.lines().any(|line| line.starts_with(options)), "{line}");
    }

    /// The command of a line of authorized_keys, as sshd(8) takes it out of its quotes.
    fn command_in(line: &str) -> String {
        let (_, rest) = line.split_once("command=\"").unwrap();
        let mut command = String::new();
        let mut letters = rest.chars().peekable();
        while let Some(letter) = letters.next().filter(|letter| *letter != '"') {
            command.push(match letter {
                '\\' => letters.next_if_eq(&'"').unwrap_or('\\'),
                letter => letter,
            });
        }
        command
    }

    #[test]
    fn law_9_a_forced_command_runs_the_program_wherever_it_lies() {
        let (config, from) = (Config::parse(CONFIG).unwrap(), "f0".parse().unwrap());
        for program in [
            "/a b/f3skeys",
            "/it's \"here\"/\\\"x",
            "/a\nb\u{202e}/f3skeys",
            "/$(x);`y`",
        ] {
            let line = authorized_keys_line(&config, &from, Path::new(program)).unwrap();
            assert_eq!(line.lines().count(), 2, "{line:?}");
            let script = format!("printf '%s\\0' {}", command_in(&line));
            let sh = std::process::Command::new("/bin/sh")
                .args(["-c", &script])
                .output();
            let words = String::from_utf8(sh.unwrap().stdout).unwrap();
            assert_eq!(words, format!("{program}\0receive\0--from\0f0\0"));
        }
    }
}
