//! A rotation on simulated nodes, cut at every effect on either side, rebooted, and resumed: at every
//! point each root and each replica is opened by a key that lies on its own node's store.

mod sim;

use f3skeys::boot;
use f3skeys::config::Config;
use f3skeys::names::KeyName;
use f3skeys::os::PoolState;
use f3skeys::report::{Report, Severity};
use f3skeys::rotate::{self, Rotated, What, prune, rotate};
use f3skeys::sorted::Set;
use f3skeys::store::Wanted;
use f3skeys::store::layout;
use f3skeys::store::state::{Standing, State};
use f3skeys::store::survey::{Copies, Survey, survey};
use f3skeys::zfs::{KeyFormat, KeyStatus, Source};
use sim::{Sim, Stick, at, encrypted, reading};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const KEY: &str = "f0:zdata";
const OLD: [u8; 32] = [0x11; 32];
const F1: [u8; 32] = [0x33; 32];

const ONE_ROOT: &str = r#"(
    node: "f0", store: (label: "K", wait_seconds: 1),
    roots: [(dataset: "zdata/enc", key: "f0:zdata", role: primary, required: true)],
)"#;

const THREE_ROOTS: &str = r#"(
    node: "f0", store: (label: "K", wait_seconds: 1),
    roots: [
        (dataset: "zdata/enc", key: "f0:zdata", role: primary, required: true),
        (dataset: "zdata/more", key: "f0:zdata", role: primary, required: true),
        (dataset: "zroot/bhyve", key: "f0:zdata", role: primary, required: true),
    ],
    replicas: [(of: "zdata/enc", node: "f1", dataset: "zsink/f0")],
    peers: [(name: "f1", ssh: "root@f1"), (name: "f2", ssh: "root@f2")],
    min_copies: 2,
)"#;

const WITH_BACKUP: &str = r#"(
    node: "f0", store: (label: "K", wait_seconds: 1),
    roots: [
        (dataset: "zdata/enc", key: "f0:zdata", role: primary, required: true),
        (dataset: "zbackup/enc", key: "f0:zdata", role: replica, required: false),
    ],
)"#;

const ON_F1: &str = r#"(
    node: "f1", store: (label: "K", wait_seconds: 1),
    roots: [
        (dataset: "zown", key: "f1:zdata", role: primary, required: true),
        (dataset: "zsink/f0", key: "f0:zdata", role: replica, required: true),
    ],
    peers: [(name: "f0", ssh: "root@f0")],
)"#;

const ON_F2: &str = r#"(
    node: "f2", store: (label: "K", wait_seconds: 1),
    roots: [(dataset: "zown", key: "f2:zdata", role: primary, required: true)],
    peers: [(name: "f0", ssh: "root@f0")],
)"#;

fn key() -> KeyName {
    KEY.parse().unwrap()
}

/// A node and its configuration; others reach it as a neighbour.
type Host = Rc<(Sim, Config)>;

/// The owner; its peers are its neighbours.
struct World {
    f0: Sim,
    config: Config,
}

fn stick(keys: &[(&str, [u8; 32])]) -> Stick {
    Stick::new("/dev/da0", "K", "S").with_store(keys)
}

fn loaded(sim: &Sim, root: &str) {
    let below: Vec<String> = sim
        .datasets
        .borrow()
        .iter()
        .filter(|d| {
            d.encryption_root
                .as_ref()
                .is_some_and(|r| r.as_str() == root)
        })
        .map(|d| d.name.to_string())
        .collect();
    for name in below {
        sim.change(&name, |d| d.key_status = KeyStatus::Available);
    }
}

fn root(name: &str, location: &str) -> f3skeys::zfs::Dataset {
    let mut root = at(&format!("/{name}"), encrypted(name, name));
    root.key_location = Some(location.to_owned());
    root
}

impl World {
    /// One root with a child, no peers.
    fn one_root(name: &str) -> World {
        let f0 = Sim::new(&format!("{name}-f0"))
            .with(vec![
                root("zdata/enc", "file:///keys/f0:zdata.key"),
                at("/data/nfs", encrypted("zdata/enc/nfs", "zdata/enc")),
            ])
            .opened_by("zdata/enc", OLD)
            .stick(stick(&[(KEY, OLD)]));
        loaded(&f0, "zdata/enc");
        World {
            f0,
            config: Config::parse(ONE_ROOT).unwrap(),
        }
    }

    /// One root, and a replica of it in a pool for backups on the same node.
    fn with_backup(name: &str) -> World {
        let f0 = Sim::new(&format!("{name}-f0"))
            .with(vec![
                root("zdata/enc", "file:///keys/f0:zdata.key"),
                root("zbackup/enc", "prompt"),
            ])
            .opened_by("zdata/enc", OLD)
            .opened_by("zbackup/enc", OLD)
            .stick(stick(&[(KEY, OLD)]));
        f0.change("zbackup/enc", |d| {
            d.readonly = true;
            d.mountpoint_source = Source::Default;
        });
        loaded(&f0, "zdata/enc");
        loaded(&f0, "zbackup/enc");
        World {
            f0,
            config: Config::parse(WITH_BACKUP).unwrap(),
        }
    }

    /// Three roots that share a key, one replica on f1, and f2, which holds a copy.
    fn three_roots(name: &str) -> World {
        let f0 = Sim::new(&format!("{name}-f0"))
            .with(vec![
                root("zdata/enc", "file:///keys/f0:zdata.key"),
                root("zdata/more", "prompt"),
                root("zroot/bhyve", "file:///keys/f0:zdata.key"),
            ])
            .opened_by("zdata/enc", OLD)
            .opened_by("zdata/more", OLD)
            .opened_by("zroot/bhyve", OLD)
            .stick(stick(&[(KEY, OLD)]));
        for root in ["zdata/enc", "zdata/more", "zroot/bhyve"] {
            loaded(&f0, root);
        }
        let f1 = Sim::new(&format!("{name}-f1"))
            .with(vec![root("zown", "prompt"), root("zsink/f0", "prompt")])
            .opened_by("zown", F1)
            .opened_by("zsink/f0", OLD)
            .stick(stick(&[(KEY, OLD), ("f1:zdata", F1)]).with_id("f1"));
        f1.change("zsink/f0", |d| {
            d.readonly = true;
            d.mountpoint_source = Source::Default;
        });
        let f2 = Sim::new(&format!("{name}-f2"))
            .with(vec![root("zown", "prompt")])
            .opened_by("zown", F1)
            .stick(stick(&[(KEY, OLD), ("f2:zdata", F1)]).with_id("f2"));
        let f0 = f0
            .beside(f1, Config::parse(ON_F1).unwrap())
            .beside(f2, Config::parse(ON_F2).unwrap());
        World {
            f0,
            config: Config::parse(THREE_ROOTS).unwrap(),
        }
    }

    /// The same world once more.
    fn fork(&self, name: &str) -> World {
        // Tests run side by side, and every node has a directory of its own.
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        World {
            f0: self.f0.fork(&format!("{name}-{number}")),
            config: self.config.clone(),
        }
    }

    fn peers(&self) -> BTreeMap<String, Host> {
        self.f0.neighbours.borrow().clone()
    }

    fn rotate(&self, what: What) -> Report {
        self.f0
            .verb(|node| rotate(node, &self.config, &key(), what, &|_| {}).report)
    }

    /// Dies at the owner's n-th step; `None` when it did.
    fn dies_at(&self, step: u32, what: What) -> Option<Report> {
        let run =
            |node: f3skeys::pass::Node| rotate(node, &self.config, &key(), what, &|_| {}).report;
        self.f0.dies_at(step, run)
    }

    /// What replication brings with the next stream.
    fn receive(&self) {
        let mut wrapped = self.f0.wrapped.borrow_mut();
        if wrapped.contains_key("zbackup/enc") {
            let wrapping = wrapped["zdata/enc"];
            wrapped.insert("zbackup/enc".to_owned(), wrapping);
        }
        drop(wrapped);
        if let Some(f1) = self.peers().get("f1") {
            let wrapping = self.f0.wrapped.borrow()["zdata/enc"];
            let mut wrapped = f1.0.wrapped.borrow_mut();
            wrapped.insert("zsink/f0".to_owned(), wrapping);
        }
    }

    /// All power fails and comes back: every root on every node has to be open after the boot.
    /// Tried with the replica as it is, and with all that was sent meanwhile received.
    fn comes_back(&self, case: &str) {
        for received in [false, true] {
            let world = self.fork("boot");
            if received {
                world.receive();
            }
            opens_all(&world.f0, &world.config, case);
            for host in world.peers().values() {
                opens_all(&host.0, &host.1, &format!("{case}, received: {received}"));
            }
        }
    }

    /// All is done: the roots, the store and every peer's.
    fn is_rotated(&self, case: &str) {
        let list = generations(&self.f0);
        let standings: Vec<Standing> = list.iter().map(|g| g.1).collect();
        assert_eq!(standings, [Standing::Retained, Standing::Current], "{case}");
        let new = bytes(&self.f0, list[1].0);
        for (root, wrapping) in self.f0.wrapped.borrow().iter() {
            let wanted = match root.as_str() {
                // It has received nothing yet.
                "zbackup/enc" => &OLD,
                _ => &new,
            };
            assert_eq!(wrapping, wanted, "{case}: {root}");
        }
        is_whole(&self.f0, case);
        for (peer, host) in &self.peers() {
            is_whole(&host.0, case);
            assert_eq!(generations(&host.0), list, "{case}: {peer}");
            assert_eq!(bytes(&host.0, list[1].0), new, "{case}: {peer}");
        }
        for (dataset, location) in [
            ("zdata/enc", "file:///keys/f0:zdata.key"),
            ("zdata/more", "prompt"),
            ("zroot/bhyve", "file:///keys/f0:zdata.key"),
        ] {
            if self.f0.wrapped.borrow().contains_key(dataset) {
                let now = self.f0.find(dataset).key_location;
                assert_eq!(now.as_deref(), Some(location), "{case}: {dataset}");
            }
        }
    }
}

fn opens_all(sim: &Sim, config: &Config, case: &str) {
    sim.reboot("boot-2");
    let report = sim.verb(|node| boot::boot(node, config));
    let open = report.roots.iter().filter(|root| root.open).count();
    assert_eq!(open, config.roots.len(), "{case}: {}", report.complaints());
    for root in &config.roots {
        let now = sim.find(root.dataset.as_str()).key_status;
        assert_eq!(now, KeyStatus::Available, "{case}: {}", root.dataset);
    }
}

type Print = f3skeys::key::Fingerprint;

/// The generations that a node's stick vouches for.
fn generations(sim: &Sim) -> Vec<(Print, Standing)> {
    let survey = surveyed(sim);
    let none = Copies::default();
    let copies = survey.keys.get(&key()).unwrap_or(&none);
    let standings = copies.standings(&Set::new()).into_iter();
    let mut list: Vec<(Print, Standing)> = standings.collect();
    list.sort_by_key(|(print, _)| copies.known[print].number);
    list
}

fn surveyed(sim: &Sim) -> Survey {
    let sticks = sim.sticks.borrow();
    survey(Wanted::All, reading(&sticks[0].files, Wanted::All)).unwrap()
}

/// All that the stick lists is there, and no more is wrong than what a cut write has left.
fn is_whole(sim: &Sim, case: &str) {
    let survey = surveyed(sim);
    assert_eq!(
        survey.damage.len(),
        survey.leftovers.len(),
        "{case}: {:?}",
        survey.damage
    );
    let copies = &survey.keys[&key()];
    assert!(copies.damage.is_empty(), "{case}: {:?}", copies.damage);
    for (print, _) in generations(sim) {
        assert!(copies.good.contains_key(&print), "{case}: {print}");
    }
}

fn states(sim: &Sim) -> Vec<Standing> {
    generations(sim).iter().map(|g| g.1).collect()
}

fn bytes(sim: &Sim, print: Print) -> [u8; 32] {
    let sticks = sim.sticks.borrow();
    let files = sticks[0].files.iter();
    let mut found = files.filter(|(path, _)| path.contains(&print.hex()));
    found.next().unwrap().1[..].try_into().unwrap()
}

const RESUME: What = What::Resume {
    take_over: false,
    copies: None,
};
const START: What = What::Start {
    take_over: false,
    copies: None,
};
const RETIRE: What = What::Retire { copies: None };
/// Far beyond the steps of any rotation here.
const MOST: u32 = 5_000;

/// Goes on, as a person would: what was begun is resumed; where nothing was begun, begin.
fn finish(world: &World, case: &str) {
    let resumed = world.rotate(RESUME);
    assert_eq!(resumed.status, 0, "{case}: {}", resumed.complaints());
    if generations(&world.f0).len() == 1 {
        let started = world.rotate(START);
        assert_eq!(started.status, 0, "{case}: {}", started.complaints());
    }
    world.comes_back(&format!("{case}, finished"));
    world.is_rotated(case);
}

type Make = fn(&str) -> World;
const BACKUP: (&str, Make) = ("backup", World::with_backup);
const WORLDS: [(&str, Make); 2] = [("one", World::one_root), ("three", World::three_roots)];

#[test]
fn a_rotation_changes_every_root_and_keeps_the_old_key() {
    for (name, make) in WORLDS.into_iter().chain([BACKUP]) {
        let world = make(&format!("plain-{name}"));
        let report = world.rotate(START);
        assert_eq!(report.status, 0, "{name}: {}", report.complaints());
        world.is_rotated(name);
        world.comes_back(name);
    }
}

#[test]
fn law_cut_at_every_effect_of_the_owner_everything_still_opens_and_resume_ends_it() {
    let mut cases = 0;
    for (name, make) in WORLDS.into_iter().chain([BACKUP]) {
        for torn in [false, true] {
            let prepared = make(&format!("cut-{name}"));
            prepared.f0.torn.set(torn);
            for step in 1..MOST {
                let case = format!("{name}, torn {torn}, cut at {step}");
                let world = prepared.fork(&format!("cut-{name}-{step}"));
                if world.dies_at(step, START).is_some() {
                    break;
                }
                world.f0.reboot("boot-1b");
                world.comes_back(&case);
                opens_all(&world.f0, &world.config, &case);
                finish(&world, &case);
                cases += 1;
            }
        }
    }
    println!("{cases} cuts of the owner");
    assert!(cases > 200, "{cases}");
}

#[test]
fn law_a_resume_cut_at_every_effect_after_every_cut_loses_nothing_either() {
    let mut cases = 0;
    for (name, make) in WORLDS {
        let prepared = make(&format!("twice-{name}"));
        for first in 1..MOST {
            let begun = prepared.fork(&format!("twice-{name}-{first}"));
            if begun.dies_at(first, START).is_some() {
                break;
            }
            for second in 1..MOST {
                let case = format!("{name}, cut at {first}, then at {second}");
                let world = begun.fork(&format!("twice-{name}-{first}-{second}"));
                if world.dies_at(second, RESUME).is_some() {
                    break;
                }
                world.comes_back(&case);
                finish(&world, &case);
                cases += 1;
            }
        }
    }
    println!("{cases} double cuts");
    assert!(cases > 2_000, "{cases}");
}

#[test]
fn law_a_peer_that_dies_at_any_effect_leaves_everything_opening_and_resume_ends_it() {
    let mut cases = 0;
    let prepared = World::three_roots("peer");
    for peer in ["f1", "f2"] {
        for torn in [false, true] {
            for step in 1..MOST {
                let case = format!("{peer}, torn {torn}, dies at {step}");
                let world = prepared.fork(&format!("peer-{peer}-{step}"));
                let host = &world.f0.neighbour(peer);
                host.0.torn.set(torn);
                host.0.die_at.set(Some(step));
                world.rotate(START);
                let died = host.0.die_at.take().is_none();
                world.comes_back(&case);
                if !died {
                    break;
                }
                host.0.reboot("boot-1b");
                opens_all(&host.0, &host.1, &case);
                finish(&world, &case);
                cases += 1;
            }
        }
    }
    println!("{cases} deaths of peers");
    assert!(cases > 100, "{cases}");
}

#[test]
fn a_key_change_that_does_not_answer_is_asked_about_and_not_believed() {
    let world = World::three_roots("silent");
    world.f0.silent_changes.set(2);
    let report = world.rotate(START);
    assert_eq!(report.status, 0, "{}", report.complaints());
    world.is_rotated("silent");
}

/// What somebody else may do on the owner while the peers are given the new key, with the exit status
/// of the rotation then, and the way back.
type Other = (&'static str, u8, fn(&Sim), fn(&Sim));
const OTHERS: [Other; 5] = [
    (
        "a root's key is unloaded",
        69,
        |f0| f0.change("zdata/enc", |d| d.key_status = KeyStatus::Unavailable),
        |f0| loaded(f0, "zdata/enc"),
    ),
    (
        "a root is given another key",
        69,
        |f0| wrap(f0, "zdata/more", F1),
        |f0| wrap(f0, "zdata/more", OLD),
    ),
    (
        "a root becomes another's child",
        69,
        |f0| {
            f0.change("zdata/more", |d| {
                d.encryption_root = "zdata/enc".parse().ok()
            })
        },
        |f0| f0.change("zdata/more", |d| d.encryption_root = Some(d.name.clone())),
    ),
    (
        "the note of the rotation goes",
        69,
        |f0| std::fs::rename(note(f0), f0.db().join("aside")).unwrap(),
        |f0| std::fs::rename(f0.db().join("aside"), note(f0)).unwrap(),
    ),
    (
        "the stick is pulled",
        69,
        |f0| f0.sticks.borrow_mut()[0].plugged_in_at = Duration::MAX,
        |f0| f0.sticks.borrow_mut()[0].plugged_in_at = Duration::ZERO,
    ),
];

fn wrap(sim: &Sim, root: &str, bytes: [u8; 32]) {
    sim.wrapped.borrow_mut().insert(root.to_owned(), bytes);
}

fn note(sim: &Sim) -> PathBuf {
    sim.db().join(format!("rotation-{KEY}.json"))
}

/// The lock is given back while the peers answer: what was decided before holds only if all is still so.
#[test]
fn law_7_a_change_by_another_while_the_peers_are_asked_ends_the_rotation_before_any_key_changes() {
    for (what, status, change, undo) in OTHERS {
        let world = World::three_roots("others");
        *world.f0.meanwhile.borrow_mut() = Some(Rc::new(move |f0: &Sim, _| {
            // Two questions were how things stand. The third brings f1 the new key.
            if f0.questions_to_peers.get() == 3 {
                f0.questions_to_peers.set(100);
                change(f0);
            }
        }));
        let report = world.rotate(START);
        assert_eq!(world.f0.questions_to_peers.get(), 101, "{what}");
        assert_eq!(report.status, status, "{what}: {}", report.complaints());
        assert_eq!(report.changed.len(), 3, "{what}: {:?}", report.changed);
        *world.f0.meanwhile.borrow_mut() = None;
        undo(&world.f0);
        assert_eq!(states(&world.f0), [Standing::Current, Standing::Staged]);
        for (root, wrapping) in world.f0.wrapped.borrow().iter() {
            assert_eq!(*wrapping, OLD, "{what}: {root}");
        }
        world.comes_back(what);
        finish(&world, what);
    }
}

/// Asking a file system for the space of its users may begin an upgrade of its accounts, which writes to
/// it, `readonly=on` or not: the next stream into a replica would fail.
#[test]
fn law_3_no_look_at_a_key_asks_a_replica_what_may_write_to_it() {
    const WITH_A_REPLICA: &str = r#"(
        node: "f0", store: (label: "K", wait_seconds: 1),
        roots: [
            (dataset: "zdata/enc", key: "f0:zdata", role: primary, required: true),
            (dataset: "zback/enc", key: "f0:zdata", role: replica, required: true),
            (dataset: "zdata/enc/copy", key: "f0:zdata", role: replica, required: false),
        ],
    )"#;
    let f0 = Sim::new("accounts-f0")
        .with(vec![
            root("zdata/enc", "prompt"),
            at("/data/nfs", encrypted("zdata/enc/nfs", "zdata/enc")),
            at("/data/copy", encrypted("zdata/enc/copy", "zdata/enc")),
            root("zback/enc", "prompt"),
            at("/back/nfs", encrypted("zback/enc/nfs", "zback/enc")),
        ])
        .opened_by("zdata/enc", OLD)
        .opened_by("zback/enc", OLD)
        .stick(stick(&[(KEY, OLD)]));
    for replica in ["zback/enc", "zback/enc/nfs", "zdata/enc/copy"] {
        f0.change(replica, |d| d.readonly = true);
    }
    loaded(&f0, "zdata/enc");
    loaded(&f0, "zback/enc");
    let world = World {
        f0,
        config: Config::parse(WITH_A_REPLICA).unwrap(),
    };
    let plan = What::Plan {
        take_over: false,
        copies: None,
    };
    for what in [What::Status, plan, START, RESUME, What::Abort, RETIRE] {
        world.rotate(what);
        let mut asked = world.f0.accounted.take();
        asked.sort();
        asked.dedup();
        let asked: Vec<&str> = asked.iter().map(|name| name.as_str()).collect();
        assert_eq!(asked, ["zdata/enc", "zdata/enc/nfs"], "{what:?}");
    }
    // What was not asked is not taken as fine: changing the key of its root would write to it as well.
    let report = world.rotate(START);
    let mut findings = report.findings.iter();
    let of_root = |what: &str| what.contains("zdata/enc/copy") && what.contains("replica");
    assert!(findings.any(|found| found.subject == "zdata/enc" && of_root(&found.what)));
    assert_eq!(report.status, 69, "{}", report.complaints());
    assert_eq!(states(&world.f0), [Standing::Current]);
}

/// What keeps a rotation from beginning, and the words that have to be said.
fn refused(name: &str, words: &str, spoil: impl FnOnce(&World)) {
    let world = World::three_roots(name);
    spoil(&world);
    let before = sticks(&world);
    let wrapped = world.f0.wrapped.borrow().clone();
    for what in [
        What::Plan {
            take_over: false,
            copies: None,
        },
        START,
    ] {
        let report = world.rotate(what);
        assert_ne!(report.status, 0, "{name}");
        let said = report.complaints();
        assert!(said.contains(words), "{name}: `{words}` is not in\n{said}");
        assert!(said.contains("->"), "{name}: no way out in\n{said}");
        assert_eq!(report.changed, Vec::<String>::new(), "{name}");
    }
    assert!(before == sticks(&world), "{name}: a store was changed");
    assert_eq!(wrapped, *world.f0.wrapped.borrow(), "{name}");
}

type Files = BTreeMap<String, Vec<u8>>;

fn sticks(world: &World) -> Vec<Option<Files>> {
    let of = |sim: &Sim| sim.sticks.borrow().first().map(|stick| stick.files.clone());
    let peers = world.peers();
    let own = std::iter::once(of(&world.f0));
    own.chain(peers.values().map(|host| of(&host.0))).collect()
}

#[test]
fn whatever_would_lose_something_is_refused_before_anything_is_changed() {
    let f1 = |world: &World| world.f0.neighbour("f1");
    refused("locked", "key is not loaded", |w| {
        w.f0.change("zdata/more", |d| d.key_status = KeyStatus::Unavailable);
    });
    refused("suspended", "suspended", |w| {
        let mut states = w.f0.states.borrow_mut();
        states.insert("zroot".to_owned(), PoolState::Suspended);
    });
    refused("hangs", "not known which key opens it", |w| {
        w.f0.hanging.borrow_mut().push("zroot".to_owned());
    });
    refused("other-key", "no key of the store opens it", |w| {
        w.f0.wrapped
            .borrow_mut()
            .insert("zdata/more".to_owned(), [9; 32]);
    });
    refused("sealed-child", "may not be unwrapped", |w| {
        let mut datasets = w.f0.datasets.borrow_mut();
        let mut child = encrypted("zdata/enc/child", "zdata/enc");
        child.key_status = KeyStatus::Available;
        datasets.push(child);
        w.f0.not_unwrapped
            .borrow_mut()
            .push("zdata/enc/child".to_owned());
    });
    refused("child-not-understood", "may not be unwrapped", |w| {
        w.f0.not_understood("zdata/enc/child", "?");
    });
    refused("clone-not-understood", "may not be unwrapped", |w| {
        w.f0.not_understood("zdata/copy", "zdata/enc");
    });
    refused("root-not-understood", "not understood", |w| {
        w.f0.not_understood("zdata/enc", "zdata/enc");
    });
    refused("clone", "zdata/copy is a clone", |w| {
        let mut clone = encrypted("zdata/copy", "zdata/enc");
        clone.origin = Some("zdata/enc".parse().unwrap());
        w.f0.datasets.borrow_mut().push(clone);
    });
    refused("no-stick", "key store could not be read", |w| {
        w.f0.sticks.borrow_mut().clear();
    });
    refused("damaged", "damaged", |w| {
        w.f0.sticks.borrow_mut()[0].damage("state.ron", |bytes| bytes[80] ^= 1);
    });
    refused("rotten", "verify --repair", |w| {
        w.f0.sticks.borrow_mut()[0].damage("f0:zdata.key", |bytes| bytes[0] ^= 1);
    });
    refused("peer-away", "holds zsink/f0 and does not answer", |w| {
        w.f0.away.borrow_mut().push("f1".to_owned());
    });
    refused(
        "copy-away",
        "1 of the 2 other stores that `min_copies` wants",
        |w| {
            w.f0.away.borrow_mut().push("f2".to_owned());
        },
    );
    refused("peer-no-stick", "holds zsink/f0 and does not answer", |w| {
        f1(w).0.sticks.borrow_mut().clear();
    });
    refused("inheriting", "inherits its key", |w| {
        let child = encrypted("zsink/f0/child", "zsink/f0");
        f1(w).0.datasets.borrow_mut().push(child);
    });
    refused("peer-knows-more", "which this store does not know", |w| {
        let other = stick(&[(KEY, [7; 32]), ("f1:zdata", F1)]);
        *f1(w).0.sticks.borrow_mut() = vec![other];
    });
}

#[test]
fn a_rotation_is_its_owners_alone() {
    let world = World::three_roots("owner");
    let f1 = &world.f0.neighbour("f1");
    let report =
        f1.0.verb(|node| rotate(node, &f1.1, &key(), START, &|_| {}).report);
    assert_ne!(report.status, 0);
    assert!(
        report.complaints().contains("belongs to f0"),
        "{}",
        report.complaints()
    );
    assert_eq!(report.changed, Vec::<String>::new());
}

#[test]
fn staged_and_not_proven_elsewhere_no_key_is_changed_and_it_can_be_given_up() {
    let world = World::three_roots("abort");
    for peer in world.peers().values() {
        peer.0.sticks.borrow_mut()[0].unwritable = Some("read-only".to_owned());
    }
    let report = world.rotate(START);
    assert_eq!(report.status, 69, "{}", report.complaints());
    assert!(world.f0.wrapped.borrow().values().all(|w| *w == OLD));
    assert_eq!(states(&world.f0), [Standing::Current, Standing::Staged]);
    world.comes_back("staged");
    let again = world.rotate(START);
    assert!(
        again.complaints().contains("is open"),
        "{}",
        again.complaints()
    );
    let aborted = world.rotate(What::Abort);
    assert_eq!(aborted.status, 0, "{}", aborted.complaints());
    assert_eq!(states(&world.f0), [Standing::Current, Standing::Retired]);
    world.comes_back("aborted");
}

#[test]
fn once_a_key_may_have_been_changed_it_cannot_be_given_up() {
    let prepared = World::one_root("no-abort");
    let mut cases = (0, 0);
    for step in 1..MOST {
        let world = prepared.fork(&format!("no-abort-{step}"));
        if world.dies_at(step, START).is_some() {
            break;
        }
        let staged = generations(&world.f0)
            .iter()
            .any(|g| g.1 == Standing::Staged);
        let changed = world.f0.wrapped.borrow()["zdata/enc"] != OLD;
        let aborted = world.rotate(What::Abort).status == 0;
        assert!(!(aborted && (changed || !staged)), "step {step}");
        cases.0 += u32::from(aborted);
        cases.1 += u32::from(!aborted);
        world.comes_back(&format!("abort at {step}"));
    }
    assert!(cases.0 > 0 && cases.1 > 0, "{cases:?}");
}

/// ZFS may still be changing the key when the run that asked for it is dead: every root opens with the
/// old key then, and only the note that was kept before says that this may not be so in a moment.
#[test]
fn law_7_a_key_change_that_may_still_come_keeps_its_new_key_from_being_given_up() {
    let prepared = World::one_root("may-come");
    let at = |step: u32| {
        let world = prepared.fork(&format!("may-come-{step}"));
        assert!(
            world.dies_at(step, START).is_none(),
            "it never changed a key"
        );
        world
    };
    let is_changed = |world: &World| {
        let trace = world.f0.trace.borrow();
        trace.iter().any(|e| matches!(e, sim::Event::Changed(_)))
    };
    // The step before the first that left a key changed is the question for that change.
    let first = (1..MOST).find(|step| is_changed(&at(*step))).unwrap();
    let world = at(first - 1);
    assert_eq!(world.f0.wrapped.borrow()["zdata/enc"], OLD);
    assert_eq!(states(&world.f0), [Standing::Current, Standing::Staged]);
    let aborted = world.rotate(What::Abort);
    assert_eq!(aborted.status, 69, "{}", aborted.complaints());
    assert_eq!(states(&world.f0), [Standing::Current, Standing::Staged]);
    finish(&world, "asked for and not seen");
}

#[test]
fn law_7_a_peer_with_a_replica_that_proves_nothing_keeps_every_key_as_it_is() {
    let mut world = World::three_roots("unproven");
    // Enough copies, without that peer.
    world.config.min_copies = Some(1);
    let f1 = world.peers()["f1"].clone();
    f1.0.sticks.borrow_mut()[0].unwritable = Some("read-only".to_owned());
    let report = world.rotate(with_copies(START, 1));
    assert_eq!(report.status, 69, "{}", report.complaints());
    assert!(subjects(&report, Severity::Failure).contains(&"f1"));
    let trace = world.f0.trace.borrow();
    assert!(!trace.iter().any(|e| matches!(e, sim::Event::Changed(_))));
    drop(trace);
    assert!(world.f0.wrapped.borrow().values().all(|w| *w == OLD));
    world.comes_back("unproven");
    f1.0.sticks.borrow_mut()[0].unwritable = None;
    let report = world.rotate(What::Resume {
        take_over: false,
        copies: Some(1),
    });
    assert_eq!(report.status, 0, "{}", report.complaints());
}

#[test]
fn the_old_key_is_retired_only_when_every_root_and_replica_opens_without_it() {
    let world = World::three_roots("retire");
    assert_eq!(world.rotate(START).status, 0);
    let early = world.rotate(RETIRE);
    assert_eq!(early.status, 69);
    assert!(
        early.complaints().contains("zsink/f0 on f1"),
        "{}",
        early.complaints()
    );
    world.receive();
    for peer in ["f1", "f2"] {
        *world.f0.away.borrow_mut() = vec![peer.to_owned()];
        // f2 holds no replica, but one of the two copies that are wanted.
        assert_eq!(world.rotate(RETIRE).status, 69, "{peer} away");
    }
    world.f0.away.borrow_mut().clear();
    let late = world.rotate(RETIRE);
    assert_eq!(late.status, 0, "{}", late.complaints());
    let retired = [Standing::Retired, Standing::Current];
    assert_eq!(states(&world.f0), retired);
    for host in world.peers().values() {
        assert_eq!(states(&host.0), retired);
    }
    world.comes_back("retired");
}

#[test]
fn a_loaded_root_with_a_passphrase_is_taken_over_by_a_key_of_the_store() {
    for step in 1..MOST {
        let world = World::one_root(&format!("take-{step}"));
        world.f0.sticks.borrow_mut()[0] = stick(&[("f0:other", [5; 32])]);
        world
            .f0
            .wrapped
            .borrow_mut()
            .insert("zdata/enc".to_owned(), [0x77; 32]);
        for name in ["zdata/enc", "zdata/enc/nfs"] {
            world
                .f0
                .change(name, |d| d.key_format = KeyFormat::Passphrase);
        }
        let refused = world.rotate(START);
        assert_ne!(refused.status, 0);
        assert!(
            refused.complaints().contains("--take-over"),
            "{}",
            refused.complaints()
        );
        let died = world
            .dies_at(
                step,
                What::Start {
                    take_over: true,
                    copies: None,
                },
            )
            .is_none();
        if died {
            world.rotate(RESUME);
            world.rotate(What::Start {
                take_over: true,
                copies: None,
            });
        }
        assert_eq!(
            generations(&world.f0).last().unwrap().1,
            Standing::Current,
            "{step}"
        );
        world.comes_back(&format!("taken over, cut at {step}"));
        if !died {
            return;
        }
    }
    panic!("it never ended");
}

/// Three roots whose first generation is retired.
fn retired(name: &str) -> World {
    let world = World::three_roots(name);
    assert_eq!(world.rotate(START).status, 0);
    world.receive();
    assert_eq!(world.rotate(RETIRE).status, 0);
    world
}

fn prune_on(sim: &Sim, config: &Config, digits: Option<&str>) -> Rotated {
    sim.verb(|node| prune::prune(node, config, &key(), digits, &|_| {}))
}

fn old() -> String {
    Print::of(&OLD).to_string()
}

fn holds_old(sim: &Sim) -> bool {
    let sticks = sim.sticks.borrow();
    sticks[0].files.values().any(|bytes| bytes[..] == OLD)
}

#[test]
fn what_is_pruned_goes_from_one_stick_after_the_other_and_the_next_rotation_minds_nothing() {
    let world = retired("prune");
    let (f1, f2) = (world.f0.neighbour("f1"), world.f0.neighbour("f2"));
    let early = prune_on(&f1.0, &f1.1, Some(&old())).report;
    assert_ne!(early.status, 0);
    let words = early.complaints();
    assert!(words.contains("f0 has not pruned it"), "{words}");

    let shown = prune_on(&world.f0, &world.config, None);
    assert_eq!(shown.report.status, 0, "{}", shown.report.complaints());
    assert!(
        shown.text.contains(&format!("--generation {}", old())),
        "{}",
        shown.text
    );
    assert!(shown.text.contains("stays: "), "{}", shown.text);
    assert!(holds_old(&world.f0), "showing has changed something");

    let done = prune_on(&world.f0, &world.config, Some(&old())).report;
    assert_eq!(done.status, 0, "{}", done.complaints());
    for peer in ["f1", "f2"] {
        let mut found = done.findings.iter();
        let holds = found.any(|f| f.subject == peer && f.what.starts_with("holds"));
        assert!(holds, "{peer}: {}", done.complaints());
    }
    assert!(!holds_old(&world.f0) && holds_old(&f1.0) && holds_old(&f2.0));
    for sim in [&world.f0, &f1.0, &f2.0] {
        assert_eq!(states(sim), [Standing::Pruned, Standing::Current]);
    }
    let there = prune_on(&f1.0, &f1.1, Some(&old())).report;
    assert_eq!(there.status, 0, "{}", there.complaints());
    assert!(!holds_old(&f1.0));
    world.comes_back("pruned");

    let next = world.rotate(START);
    assert_eq!(next.status, 0, "{}", next.complaints());
    let all = [Standing::Pruned, Standing::Retained, Standing::Current];
    for sim in [&world.f0, &f1.0, &f2.0] {
        assert_eq!(states(sim), all);
    }
    assert!(!holds_old(&world.f0) && !holds_old(&f1.0), "it came back");
    world.comes_back("pruned and rotated");
}

/// A world in which pruning is refused with these words, and nothing is changed.
fn stays(name: &str, words: &str, spoil: impl FnOnce(&World)) {
    let world = retired(&format!("stays-{name}"));
    spoil(&world);
    let before = sticks(&world);
    let report = prune_on(&world.f0, &world.config, Some(&old())).report;
    let said = report.complaints();
    assert_ne!(report.status, 0, "{name}");
    assert!(said.contains(words), "{name}: {said}");
    assert!(
        said.lines().any(|line| line.starts_with("  -> ")),
        "{name}: {said}"
    );
    assert_eq!(sticks(&world), before, "{name}");
}

#[test]
fn law_7_nothing_is_pruned_that_opens_something_or_of_which_that_is_not_known() {
    let set = |sim: &Sim, root: &str, key| {
        sim.wrapped.borrow_mut().insert(root.to_owned(), key);
    };
    stays("root", "zdata/more: is opened by", |w| {
        set(&w.f0, "zdata/more", OLD)
    });
    // A peer tries what is retired as well, after all others.
    stays("replica", "zsink/f0 on f1: is opened by", |w| {
        set(&w.f0.neighbour("f1").0, "zsink/f0", OLD);
    });
    stays("replica-of-none", "nothing on its store opens it", |w| {
        set(&w.f0.neighbour("f1").0, "zsink/f0", F1);
    });
    stays("nobody-names-it", "zroot/forgotten: is opened by", |w| {
        let mut forgotten = root("zroot/forgotten", "prompt");
        forgotten.key_format = KeyFormat::Raw;
        w.f0.datasets.borrow_mut().push(forgotten);
        set(&w.f0, "zroot/forgotten", OLD);
    });
    stays("suspended", "not known which key opens it", |w| {
        let mut states = w.f0.states.borrow_mut();
        states.insert("zroot".to_owned(), PoolState::Suspended);
    });
    stays("hangs", "not known which key opens it", |w| {
        w.f0.hanging.borrow_mut().push("zroot".to_owned());
    });
    stays(
        "checkpoint",
        "zdata: not known which key opens it: it has a checkpoint",
        |w| {
            w.f0.checkpoints.borrow_mut().push("zdata".to_owned());
        },
    );
    for peer in ["f1", "f2"] {
        let words = format!("{peer}: may need it, and does not answer");
        stays(peer, &words, |w| {
            w.f0.away.borrow_mut().push(peer.to_owned())
        });
    }
    stays("no-stick", "key store could not be read", |w| {
        w.f0.sticks.borrow_mut().clear()
    });
    stays("damaged", "verify --repair", |w| {
        w.f0.sticks.borrow_mut()[0].damage("f0:zdata.key", |bytes| bytes[0] ^= 1);
    });
}

#[test]
fn only_a_generation_that_is_named_and_retired_is_pruned() {
    let world = retired("named");
    let current = generations(&world.f0)[1].0;
    let before = sticks(&world);
    for (digits, words) in [
        (current.to_string(), "is the current generation"),
        (old()[..7].to_owned(), "is too short"),
        ("0123456789".to_owned(), "has no generation"),
    ] {
        let report = prune_on(&world.f0, &world.config, Some(&digits)).report;
        assert_ne!(report.status, 0);
        assert!(
            report.complaints().contains(words),
            "{}",
            report.complaints()
        );
    }
    assert_eq!(sticks(&world), before);
    let world = World::three_roots("retained");
    assert_eq!(world.rotate(START).status, 0);
    world.receive();
    let report = prune_on(&world.f0, &world.config, Some(&old())).report;
    assert!(
        report.complaints().contains("--retire"),
        "{}",
        report.complaints()
    );
    assert!(holds_old(&world.f0));
}

#[test]
fn law_7_pruning_cut_at_every_effect_leaves_everything_opening_and_is_done_by_the_next() {
    let prepared = retired("prune-cut");
    for step in 1..MOST {
        let world = prepared.fork(&format!("prune-cut-{step}"));
        let run = |node: f3skeys::pass::Node| {
            prune::prune(node, &world.config, &key(), Some(&old()), &|_| {}).report
        };
        let died = world.f0.dies_at(step, run).is_none();
        world.f0.reboot("boot-1b");
        world.comes_back(&format!("pruning cut at {step}"));
        if !died {
            assert!(step > 5, "it has no steps");
            return;
        }
        opens_all(&world.f0, &world.config, "the boot before");
        let again = prune_on(&world.f0, &world.config, Some(&old())).report;
        assert_eq!(again.status, 0, "{step}: {}", again.complaints());
        assert!(!holds_old(&world.f0), "{step}");
        for host in world.peers().values() {
            assert_eq!(
                states(&host.0),
                [Standing::Pruned, Standing::Current],
                "{step}"
            );
        }
    }
    panic!("it never ended");
}

#[test]
fn law_5_one_key_that_cannot_be_rotated_does_not_keep_the_others() {
    let mut world = World::three_roots("all");
    world.config = Config::parse(&THREE_ROOTS.replace(
        r#"(dataset: "zdata/more", key: "f0:zdata""#,
        r#"(dataset: "zdata/more", key: "f0:lost""#,
    ))
    .unwrap();
    let run = |node: f3skeys::pass::Node| rotate::all(node, &world.config, START, &|_, _| {});
    let rotated = world.f0.verb(run);
    assert_eq!(rotated.report.status, 69);
    let parts: Vec<_> = rotated
        .report
        .phases
        .iter()
        .map(|p| (p.name.as_str(), p.result.as_str()))
        .collect();
    assert_eq!(
        parts,
        [("f0:lost", "REFUSED OR NOT FINISHED"), (KEY, "done")]
    );
    assert_eq!(states(&world.f0), [Standing::Retained, Standing::Current]);
    let kept = Report::last(&world.f0.db(), "rotate").unwrap();
    assert_eq!(kept, rotated.report);
}

/// The note is on the system's disk, and that may be set up anew.
#[test]
fn a_rotation_without_its_note_is_resumed_and_not_given_up() {
    for step in 1..MOST {
        let world = World::one_root(&format!("note-{step}"));
        world.f0.sticks.borrow_mut()[0] = stick(&[("f0:other", [5; 32])]);
        world
            .f0
            .wrapped
            .borrow_mut()
            .insert("zdata/enc".to_owned(), [0x77; 32]);
        let taking = What::Start {
            take_over: true,
            copies: None,
        };
        if world.dies_at(step, taking).is_some() {
            assert!(step > 5, "it has no steps");
            return;
        }
        let _ = std::fs::remove_dir_all(world.f0.db());
        if states(&world.f0) != [Standing::Staged] {
            continue;
        }
        let changed = world.f0.wrapped.borrow()["zdata/enc"] != [0x77; 32];
        assert_ne!(world.rotate(What::Abort).status, 0, "{step}");
        let plain = world.rotate(RESUME);
        assert_eq!(plain.status == 0, changed, "{step}: {}", plain.complaints());
        let resumed = world.rotate(What::Resume {
            take_over: true,
            copies: None,
        });
        assert_eq!(resumed.status, 0, "{step}: {}", resumed.complaints());
        world.comes_back(&format!("without its note, cut at {step}"));
    }
    panic!("it never ended");
}

/// The three nodes when the configuration names no number of copies, after all have proven the present
/// key once.
fn with_default_copies(name: &str) -> World {
    let mut world = World::three_roots(name);
    world.config = Config::parse(&THREE_ROOTS.replace("min_copies: 2,", "")).unwrap();
    assert_eq!(world.rotate(What::Status).status, 0);
    world
}

fn with_copies(what: What, number: u32) -> What {
    let copies = Some(number);
    match what {
        What::Start { take_over, .. } => What::Start { take_over, copies },
        What::Resume { take_over, .. } => What::Resume { take_over, copies },
        What::Retire { .. } => What::Retire { copies },
        other => other,
    }
}

fn subjects(report: &Report, severity: Severity) -> Vec<&str> {
    let findings = report.findings.iter();
    let of = findings.filter(|finding| finding.severity == severity);
    of.map(|finding| finding.subject.as_str()).collect()
}

#[test]
fn law_7_a_peer_that_holds_the_present_key_and_is_away_keeps_it_from_being_replaced() {
    let world = with_default_copies("default-away");
    let before = sticks(&world);
    world.f0.away.borrow_mut().push("f2".to_owned());
    for configured in [None, Some(0)] {
        let mut world = world.fork("default-away");
        world.config.min_copies = configured;
        let report = world.rotate(START);
        assert_eq!(report.status, 69, "{configured:?}");
        assert_eq!(subjects(&report, Severity::Failure), ["f2", KEY]);
        assert_eq!(sticks(&world), before, "{configured:?}");
        // In words, for one run; the next one needs them anew.
        let report = world.rotate(with_copies(START, 1));
        assert_eq!(report.status, 0, "{}", report.complaints());
        assert!(subjects(&report, Severity::Warning).contains(&"f2"));
        world.receive();
        let report = world.rotate(RETIRE);
        assert_eq!(report.status, 69, "{}", report.complaints());
        assert_eq!(states(&world.f0), [Standing::Retained, Standing::Current]);
        let report = world.rotate(with_copies(RETIRE, 1));
        assert_eq!(report.status, 0, "{}", report.complaints());
        assert_eq!(states(&world.f0), [Standing::Retired, Standing::Current]);
    }
}

#[test]
fn law_7_a_number_in_the_configuration_is_kept_and_counts_stores() {
    let world = with_default_copies("configured");
    for (number, begins) in [(1, true), (2, false)] {
        let mut world = world.fork("configured");
        world.config.min_copies = Some(number);
        world.f0.away.borrow_mut().push("f2".to_owned());
        let report = world.rotate(START);
        assert_eq!(
            report.status == 0,
            begins,
            "{number}: {}",
            report.complaints()
        );
    }
}

#[test]
fn law_7_one_store_behind_two_peers_is_one_copy_and_our_own_is_none() {
    let identities = ["00", "f1", "f2"];
    for of_f1 in identities {
        for of_f2 in identities {
            for words in [None, Some(1), Some(2)] {
                let case = format!("f1 has {of_f1}, f2 has {of_f2}, --copies {words:?}");
                let world = with_default_copies("twins");
                for (peer, id) in [("f1", of_f1), ("f2", of_f2)] {
                    let host = world.f0.neighbour(peer);
                    let mut sticks = host.0.sticks.borrow_mut();
                    let stick = sticks.remove(0).with_id(id);
                    sticks.push(stick);
                }
                let stores: Set<&str> = [of_f1, of_f2]
                    .into_iter()
                    .filter(|id| *id != "00")
                    .collect();
                let enough = stores.len() >= words.unwrap_or(2) as usize;
                let start = words.map_or(START, |words| with_copies(START, words));
                let report = world.rotate(start);
                assert_eq!(
                    report.status == 0,
                    enough,
                    "{case}: {}",
                    report.complaints()
                );
                let old = world.f0.wrapped.borrow().values().all(|w| *w == OLD);
                assert_eq!(old, !enough, "{case}");
                // Another identity than at the last proof is told, whatever it is.
                for (peer, id) in [("f1", of_f1), ("f2", of_f2)] {
                    let told = report.findings.iter().any(|finding| {
                        finding.subject == peer && finding.what.contains("proved before")
                    });
                    assert_eq!(told, peer != id, "{case}: {}", report.complaints());
                }
            }
        }
    }
}

#[test]
fn law_7_a_resume_counts_the_stores_anew() {
    let world = with_default_copies("resume-counts");
    let f2 = world.f0.neighbour("f2");
    f2.0.sticks.borrow_mut()[0].unwritable = Some("read-only".to_owned());
    for what in [START, RESUME] {
        let report = world.rotate(what);
        assert_eq!(report.status, 69, "{}", report.complaints());
        assert!(subjects(&report, Severity::Failure).contains(&"f2"));
        assert!(world.f0.wrapped.borrow().values().all(|w| *w == OLD));
    }
    let report = world.rotate(with_copies(RESUME, 1));
    assert_eq!(report.status, 0, "{}", report.complaints());
    assert_eq!(states(&world.f0), [Standing::Retained, Standing::Current]);
    world.comes_back("resumed in words");
}

#[test]
fn law_7_a_rotation_at_the_greatest_number_is_refused_before_anything_is_made() {
    for number in [1, u32::MAX - 1, u32::MAX] {
        let world = World::one_root("greatest");
        renumbered(&world.f0, number);
        let before = sticks(&world);
        let report = world.rotate(START);
        assert_eq!(
            report.status == 0,
            number < u32::MAX,
            "{}",
            report.complaints()
        );
        if number == u32::MAX {
            assert_eq!(subjects(&report, Severity::Failure), [KEY]);
            assert_eq!(sticks(&world), before);
            assert!(world.f0.wrapped.borrow().values().all(|w| *w == OLD));
            assert_eq!(
                std::fs::read_dir(world.f0.db()).unwrap().count(),
                1,
                "the report"
            );
        }
        world.comes_back(&number.to_string());
    }
}

/// The only generation of the key under another number.
fn renumbered(sim: &Sim, number: u32) {
    let mut sticks = sim.sticks.borrow_mut();
    let files = &mut sticks[0].files;
    let print = Print::of(&OLD);
    let content = files
        .remove(&layout::generation_path(&key(), 1, print))
        .unwrap();
    files.insert(layout::generation_path(&key(), number, print), content);
    let mut state = State::parse(&files[layout::STATE]).unwrap();
    state.keys.get_mut(&key()).unwrap()[0].generation = number;
    files.insert(layout::STATE.to_owned(), state.to_bytes());
}

/// A pool for backups beside the primary, with one key for both.
#[test]
fn law_7_a_replica_on_this_node_is_waited_for_as_a_peers_is() {
    let world = World::with_backup("beside");
    let plan = What::Plan {
        take_over: false,
        copies: None,
    };
    let planned = world
        .f0
        .verb(|node| rotate(node, &world.config, &key(), plan, &|_| {}));
    assert_eq!(planned.report.status, 0, "{}", planned.report.complaints());
    let changes = |root: &str| planned.text.contains(&format!("change the key of {root}"));
    assert!(
        changes("zdata/enc") && !changes("zbackup/enc"),
        "{}",
        planned.text
    );

    assert_eq!(world.rotate(START).status, 0);
    assert_eq!(world.f0.wrapped.borrow()["zbackup/enc"], OLD);
    let early = world.rotate(RETIRE);
    assert_eq!(early.status, 69, "{}", early.complaints());
    assert!(
        early.complaints().contains("zbackup/enc"),
        "{}",
        early.complaints()
    );
    assert_eq!(states(&world.f0), [Standing::Retained, Standing::Current]);
    world.receive();
    let late = world.rotate(RETIRE);
    assert_eq!(late.status, 0, "{}", late.complaints());
    assert_eq!(states(&world.f0), [Standing::Retired, Standing::Current]);
    world.comes_back("retired");
}

/// A pool for backups that is not attached: nobody knows how its replica is laid out.
#[test]
fn a_replica_on_this_node_that_is_not_there_keeps_a_rotation_from_beginning() {
    let world = World::with_backup("detached");
    world
        .f0
        .datasets
        .borrow_mut()
        .retain(|d| d.name.pool() != "zbackup");
    let report = world.rotate(START);
    assert_eq!(report.status, 69, "{}", report.complaints());
    assert_eq!(states(&world.f0), [Standing::Current]);
}
