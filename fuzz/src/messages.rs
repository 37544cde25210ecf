//! Messages between nodes, and what a process without rights hands over of them.

use f3skeys::config::{Config, Role};
use f3skeys::flat::{self, Flat};
use f3skeys::fuzzing;
use f3skeys::gate::Answer;
use f3skeys::names::{DatasetName, NodeName};
use f3skeys::peers::{self, Ask, Opens, Question, Reply, Told};
use f3skeys::promotion::Promoted;
use f3skeys::receive::{self, MOST};
use f3skeys::zfs::{Moment, Past};

/// The node that is asked.
pub const F1: &str = r#"(
    node: "f1", store: (label: "K"),
    roots: [
        (dataset: "z/sink/f0", key: "f0:zdata", role: replica, required: true),
        (dataset: "z/enc", key: "f1:zdata", role: primary, required: true),
    ],
    peers: [(name: "f0", ssh: "root@f0"), (name: "f2", ssh: "root@f2")],
)"#;

/// The node that asks.
pub const F0: &str = r#"(
    node: "f0", store: (label: "K"),
    roots: [(dataset: "z/enc", key: "f0:zdata", role: primary, required: true)],
    replicas: [(of: "z/enc", node: "f1", dataset: "z/sink/f0")],
    peers: [(name: "f1", ssh: "root@f1"), (name: "f2", ssh: "root@f2")],
)"#;

fn config(text: &str) -> Config {
    Config::parse(text).expect("a configuration")
}

fn node(name: &str) -> NodeName {
    name.parse().expect("a node")
}

/// What comes over the wire to `receive`.
pub fn questions(bytes: &[u8]) -> bool {
    let told = fuzzing::question_told(bytes);
    assert!(told.len() <= flat::LARGEST);
    let question = flat::read::<Question>(&told);
    match &question {
        Ok(question) => assert_eq!(flat::write(&Ok(question.clone())), told),
        Err(why) => super::assert_plain(why),
    }
    let may_give = Err("no rebuild is open".to_owned());
    let config = config(F1);
    for from in ["f0", "f2", "f3"].map(node) {
        for rebuild in [&may_give, &Ok(())] {
            match receive::understand(&config, &from, bytes, rebuild) {
                Ok(ask) => check_allowed(&config, &from, &ask, rebuild.is_ok()),
                Err(refused) => super::assert_plain(&refused.what),
            }
        }
    }
    question.is_ok()
}

/// A peer asks about replicas and, but for a rebuild, about its own keys alone.
fn check_allowed(config: &Config, from: &NodeName, ask: &Ask, rebuild: bool) {
    assert!(config.peers.iter().any(|peer| peer.name == *from));
    let key = match ask {
        Ask::Replicas(datasets) => {
            assert!((1..=MOST).contains(&datasets.len()));
            let is_replica = |name: &DatasetName| config.role_of(name) == Some(Role::Replica);
            assert!(datasets.iter().all(is_replica));
            return;
        }
        Ask::Key { key, .. } => key,
        Ask::Put(put) => &put.merge.key,
    };
    assert!(rebuild || key.owner() == from.as_str(), "{from}: {key}");
}

/// What a peer answers.
pub fn answers(bytes: &[u8]) -> bool {
    let reply = match peers::reply(bytes) {
        Ok(reply) => reply,
        Err(why) => {
            super::assert_plain(&why);
            return false;
        }
    };
    let written = serde_json::to_vec(&reply).expect("an answer is JSON");
    assert_eq!(peers::reply(&written).as_ref(), Ok(&reply));
    check_words(&reply);
    let (config, own) = (config(F0), own());
    let answer = peers::judge(&config, &node("f1"), &reply, &own);
    assert_eq!(answer == Answer::Open, is_harmless(&reply, &own));
    if let Answer::Closed(why) | Answer::CannotTell(why) = answer {
        super::assert_plain(&why);
    }
    true
}

/// What the asking node has of its own dataset.
fn own() -> Vec<Past> {
    let moment = Moment {
        name: "m".to_owned(),
        guid: 7,
        created: 1,
        bookmark: false,
    };
    ["z/enc", "z/enc/child"]
        .map(|name| Past {
            dataset: name.parse().expect("a dataset"),
            written: 0,
            moments: vec![moment.clone()],
        })
        .into()
}

/// Whether an answer says of all that was asked, and of nothing else, that it stands as it was sent.
fn is_harmless(reply: &Reply, own: &[Past]) -> bool {
    let Told::Replicas(states) = &reply.answer else {
        return false;
    };
    let stands = |state: &peers::ReplicaState| {
        let of = state.dataset.as_str().strip_prefix("z/sink/f0");
        let of = of.filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let of = of.map(|rest| format!("z/enc{rest}"));
        let past = own
            .iter()
            .find(|past| Some(past.dataset.as_str()) == of.as_deref());
        let has = |(guid, _): &(u64, String)| past.is_some_and(|past| past.has(*guid));
        matches!(state.promoted, Promoted::Never | Promoted::Over(_))
            && state.written == 0
            && state.newest.as_ref().is_some_and(has)
    };
    let is_whole = states
        .iter()
        .any(|state| state.dataset.as_str() == "z/sink/f0");
    reply.version == peers::VERSION
        && reply.node.as_str() == "f1"
        && is_whole
        && states.iter().all(stands)
}

/// All of a peer's words that are free text may be shown.
fn check_words(reply: &Reply) {
    match &reply.answer {
        Told::Replicas(states) => states.iter().for_each(|state| {
            state
                .newest
                .iter()
                .for_each(|(_, name)| super::assert_plain(name));
            match &state.promoted {
                Promoted::Now(promotion) => super::assert_plain(&promotion.reason),
                Promoted::Unknown(value) => super::assert_plain(value),
                Promoted::Never | Promoted::Over(_) => {}
                Promoted::Disputed(_) => panic!("no message has a word for that"),
            }
        }),
        Told::Key(told) => {
            super::assert_plain(&told.store);
            for root in &told.roots {
                if let Opens::CouldNotAsk(why) = &root.opens {
                    super::assert_plain(why);
                }
            }
            for kept in &told.kept {
                super::assert_plain(&kept.why);
            }
        }
    }
}

/// What the process without rights hands to root, were it taken over.
pub fn hand_over(bytes: &[u8]) -> bool {
    [handed::<Question>(bytes), handed::<Reply>(bytes)].contains(&true)
}

/// What is read is written just so; what is not is refused in plain words.
fn handed<T: Flat + Clone>(bytes: &[u8]) -> bool {
    match flat::read::<T>(bytes) {
        Ok(said) => {
            assert!(bytes.len() <= flat::LARGEST);
            assert_eq!(flat::write(&Ok(said)), bytes);
            true
        }
        Err(why) => {
            super::assert_plain(&why);
            false
        }
    }
}
