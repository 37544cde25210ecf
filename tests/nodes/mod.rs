//! Three simulated nodes that are neighbours of one another, each with keys of its own.

#![allow(dead_code)] // Each test program uses its own part of it.

use crate::sim::medium::Files;
use crate::sim::{Sim, Stick, at, encrypted};
use Standing::{Current, Pruned, Retained};
use f3skeys::backup::copies::{Copies, copies};
use f3skeys::backup::{Scope, backup};
use f3skeys::config::Config;
use f3skeys::key::{Fingerprint, Key, Nonce, keys_alive};
use f3skeys::names::{KeyName, NodeName};
use f3skeys::peers::{Ask, KEY_PATIENCE, KeyTold, Peers, Put, Question, Told, VERSION};
use f3skeys::receive::rebuild;
use f3skeys::report::Report;
use f3skeys::sorted::Map;
use f3skeys::statement::Statement;
use f3skeys::store::layout;
use f3skeys::store::state::{FORMAT, Generation, Standing, State as StoreState};
use f3skeys::store::work::Merge;
use f3skeys::time::{Clock, Deadline};
use f3skeys::trouble::Trouble;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub const NODES: [&str; 3] = ["f0", "f1", "f2"];

/// The bytes of generation `number` of a key.
pub fn bytes(key: &str, number: u32) -> [u8; 32] {
    *blake3::hash(format!("{key} {number}").as_bytes()).as_bytes()
}

pub fn print(key: &str, number: u32) -> Fingerprint {
    Fingerprint::of(&bytes(key, number))
}

/// A store with these generations of keys, counted from 1.
pub fn store(id: &str, keys: &[(&str, &[Standing])]) -> Files {
    let mut files = Files::new();
    let mut state = StoreState {
        format: FORMAT,
        store: id.repeat(16),
        keys: Map::new(),
    };
    for (key, standings) in keys {
        let name: KeyName = key.parse().unwrap();
        let mut list = Vec::new();
        for (number, standing) in (1..).zip(*standings) {
            let fingerprint = print(key, number);
            let content = bytes(key, number).to_vec();
            if *standing == Current {
                files.insert(layout::top_path(&name), content.clone());
            }
            if *standing != Pruned {
                files.insert(layout::generation_path(&name, number, fingerprint), content);
            }
            list.push(Generation {
                generation: number,
                fingerprint,
                state: *standing,
            });
        }
        state.keys.insert(name, list);
    }
    files.insert(layout::STATE.to_owned(), state.to_bytes());
    files
}

pub fn config(node: &str) -> Config {
    let others = NODES.into_iter().filter(|other| *other != node);
    let root =
        format!("(dataset: \"z{node}\", key: \"{node}:data\", role: primary, required: true)");
    config_of(node, &others.collect::<Vec<_>>(), &root)
}

/// The configuration of a node with these peers and roots.
pub fn config_of(node: &str, peers: &[&str], roots: &str) -> Config {
    let peers: String = peers
        .iter()
        .map(|peer| format!("(name: \"{peer}\", ssh: \"root@{peer}\"),"))
        .collect();
    Config::parse(&format!(
        "(node: \"{node}\", store: (label: \"K\", wait_seconds: 1), peers: [{peers}], roots: [{roots}])"
    ))
    .unwrap()
}

pub type Host = Rc<(Sim, Config)>;

/// Three nodes that are neighbours of one another.
pub struct World(pub Vec<Host>);

impl Drop for World {
    /// They hold one another.
    fn drop(&mut self) {
        for host in &self.0 {
            host.0.neighbours.borrow_mut().clear();
        }
    }
}

/// What each node has at first: two keys of its own, one of which no root of it uses.
pub fn own(node: &str) -> Files {
    let (data, more) = (format!("{node}:data"), format!("{node}:more"));
    let id = &format!("0{}", &node[1..]);
    store(id, &[(&data, &[Retained, Current]), (&more, &[Current])])
}

impl World {
    pub fn new(name: &str) -> World {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let host = |node: &&str| {
            let root = format!("z{node}");
            let mut stick = Stick::new("/dev/da0", "K", "1");
            stick.files = own(node);
            let sim = Sim::new(&format!("backup-{name}-{number}-{node}"))
                .with(vec![at(&format!("/{root}"), encrypted(&root, &root))])
                .opened_by(&root, bytes(&format!("{node}:data"), 2))
                .stick(stick);
            // They were not booted at the same time.
            sim.sleep(Duration::from_secs(u64::from(number % 7)));
            Rc::new((sim, config(node)))
        };
        World(NODES.iter().map(host).collect()).linked()
    }

    /// With all nodes reaching one another, whoever lists whom.
    fn linked(self) -> World {
        for host in &self.0 {
            for other in self.0.iter().filter(|other| !Rc::ptr_eq(host, other)) {
                let name = other.1.node.to_string();
                host.0.neighbours.borrow_mut().insert(name, other.clone());
            }
        }
        self
    }

    /// With other nodes, or nodes that are configured otherwise.
    pub fn with(mut self, change: impl FnOnce(&mut Vec<(Sim, Config)>)) -> World {
        let hosts = std::mem::take(&mut self.0);
        for host in &hosts {
            host.0.neighbours.borrow_mut().clear();
        }
        let alone = hosts
            .into_iter()
            .map(|host| Rc::try_unwrap(host).ok().unwrap());
        let mut nodes = alone.collect();
        change(&mut nodes);
        World(nodes.into_iter().map(Rc::new).collect()).linked()
    }

    /// With this node configured otherwise.
    pub fn configured(self, config: Config) -> World {
        self.with(|nodes| {
            let mut known = nodes.iter_mut();
            let meant = known.find(|(_, old)| old.node == config.node);
            meant.unwrap().1 = config;
        })
    }

    /// With all keys on all sticks.
    pub fn backed_up(name: &str) -> World {
        let world = World::new(name);
        let names = NODES.map(|node| [format!("{node}:data"), format!("{node}:more")]);
        let keys = names.iter().flat_map(|[data, more]| {
            let data: (&str, &[Standing]) = (data, &[Retained, Current]);
            [data, (more, &[Current])]
        });
        let keys: Vec<(&str, &[Standing])> = keys.collect();
        for node in NODES {
            let id = format!("0{}", &node[1..]);
            world.change_stick(node, |stick| stick.files = store(&id, &keys));
        }
        world
    }

    pub fn host(&self, node: &str) -> &Host {
        let mut hosts = self.0.iter();
        hosts.find(|host| host.1.node.as_str() == node).unwrap()
    }

    pub fn sim(&self, node: &str) -> &Sim {
        &self.host(node).0
    }

    pub fn files(&self, node: &str) -> Files {
        self.sim(node).sticks.borrow()[0].files.clone()
    }

    pub fn change_stick(&self, node: &str, change: impl FnOnce(&mut Stick)) {
        change(&mut self.sim(node).sticks.borrow_mut()[0]);
    }

    pub fn backup_with(&self, node: &str, to: &[&str], rebuild: bool) -> Report {
        let (sim, config) = &**self.host(node);
        let to: Vec<NodeName> = to.iter().map(|to| to.parse().unwrap()).collect();
        let scope = Scope { to: &to, rebuild };
        let report = sim.verb(|node| backup(node, config, scope, &|_| {}));
        assert_eq!(keys_alive(), 0);
        report
    }

    pub fn backup(&self, node: &str, to: &[&str]) -> Report {
        self.backup_with(node, to, false)
    }

    pub fn copies(&self, node: &str) -> Copies {
        let (sim, config) = &**self.host(node);
        sim.verb(|node| copies(node, config))
    }

    /// Asks as one node another, straight.
    pub fn ask(&self, from: &str, to: &str, ask: Ask, keys: &[&Key]) -> Result<KeyTold, Trouble> {
        let (sim, config) = &**self.host(from);
        let mut peers = config.peers.iter();
        let peer = peers.find(|peer| peer.name.as_str() == to).unwrap();
        let question = Question {
            version: VERSION,
            from: from.parse().unwrap(),
            ask,
        };
        let reply = sim.ask(peer, &question, keys, Deadline::after(sim, KEY_PATIENCE))?;
        match reply.answer {
            Told::Key(told) => Ok(told),
            Told::Replicas(other) => panic!("{other:?}"),
        }
    }

    pub fn open(&self, node: &str, from: Option<&str>, minutes: u32) {
        let (sim, config) = &**self.host(node);
        let from = from.map(|from| from.parse().unwrap());
        let said = sim.verb(|node| rebuild::open(node, config, from.as_ref(), minutes));
        let said = said.unwrap();
        let length = match minutes {
            1 => "for 1 minute, ".to_owned(),
            _ => format!("for {minutes} minutes, "),
        };
        assert!(said.contains(&length), "{said}");
        assert!(
            said.contains(&format!("backup --to {node} --rebuild")),
            "{said}"
        );
    }

    /// The stick is lost, and `init` has made another.
    pub fn loses_its_stick(&self, node: &str) {
        self.change_stick(node, |stick| stick.files = store("ff", &[]));
    }
}

/// What the sticks list of all six keys, and that all of it is there.
pub fn assert_all_there(files: &Files, case: &str) {
    for node in NODES {
        for (path, content) in own(node) {
            if path != layout::STATE {
                assert_eq!(files.get(&path), Some(&content), "{case}: {path}");
            }
        }
    }
    let state = StoreState::parse(&files[layout::STATE]).unwrap();
    assert_eq!(state.keys.len(), 6, "{case}");
}

pub fn key_of(key: &str, number: u32) -> Key {
    Key::take(|place| {
        place.copy_from_slice(&bytes(key, number));
        Ok(())
    })
    .unwrap()
}

pub fn nonce() -> Nonce {
    Nonce::random(|place| {
        place.fill(9);
        Ok(())
    })
    .unwrap()
}

/// A list of a key's generations, with all that is to come with it.
pub fn putting(key: &str, standings: &[Standing]) -> (Merge, Vec<Key>) {
    let list: Vec<Generation> = (1..)
        .zip(standings)
        .map(|(number, state)| Generation {
            generation: number,
            fingerprint: print(key, number),
            state: *state,
        })
        .collect();
    let keys: Vec<Key> = list.iter().map(|g| key_of(key, g.generation)).collect();
    let merge = Merge {
        key: key.parse().unwrap(),
        bring: list.iter().map(|g| g.fingerprint).collect(),
        list,
        nonce: Some(nonce()),
    };
    (merge, keys)
}

/// The list as its owner vouches for it: with a generation that the other holds whole. Whoever does not
/// own the key vouches for nothing.
pub fn vouched(world: &World, from: &str, to: &str, merge: Merge) -> Put {
    let about = Ask::Key {
        key: merge.key.clone(),
        nonce: nonce(),
    };
    let told = (merge.key.owner() == from).then(|| world.ask(from, to, about, &[]));
    let told = told.and_then(Result::ok);
    let vouched = told.and_then(|told| {
        let by = told.held.iter().filter(|held| held.whole);
        let by = by.min_by_key(|held| held.generation.state)?;
        let statement = Statement {
            key: &merge.key,
            from: &from.parse().unwrap(),
            to: &to.parse().unwrap(),
            store: &told.store,
            challenge: told.challenge?,
            list: &merge.list,
        };
        let by = key_of(merge.key.as_str(), by.generation.generation);
        Some(statement.vouched(&by).unwrap())
    });
    Put { merge, vouched }
}

/// Puts a key there.
pub fn put(
    world: &World,
    from: &str,
    to: &str,
    key: &str,
    standings: &[Standing],
) -> Result<KeyTold, Trouble> {
    let (merge, keys) = putting(key, standings);
    let keys: Vec<&Key> = keys.iter().collect();
    let put = vouched(world, from, to, merge);
    world.ask(from, to, Ask::Put(put), &keys)
}
