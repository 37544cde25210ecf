//! Keys on the sticks of all nodes: handed over, proven, looked after, and brought back to a node that
//! has lost its own. Three simulated nodes, of which either side may die at each of its steps.

mod nodes;
mod sim;

use f3skeys::backup::copies::copies;
use f3skeys::backup::receipts::Receipts;
use f3skeys::backup::{Scope, State, backup};
use f3skeys::boot;
use f3skeys::config::Config;
use f3skeys::key::keys_alive;
use f3skeys::marker;
use f3skeys::names::KeyName;
use f3skeys::new_key::new_key;
use f3skeys::pass::Node;
use f3skeys::peers::{Ask, Reply, Told, VERSION};
use f3skeys::pinned::Pinned;
use f3skeys::receive::understand;
use f3skeys::rotate::{What, rotate};
use f3skeys::store::layout;
use f3skeys::store::state::{Standing, State as StoreState};
use f3skeys::store::work::Work;
use f3skeys::system::KeyDevices;
use f3skeys::time::Deadline;
use f3skeys::verify;
use nodes::{
    NODES, World, assert_all_there, bytes, config, key_of, nonce, own, print, put, putting, store,
    vouched,
};
use sim::Stick;
use sim::medium::{Fault, Files};
use std::fs;
use std::time::Duration;

use Standing::{Current, Pruned, Retained, Retired, Staged};

#[test]
fn six_keys_of_three_nodes_end_on_all_three_and_once_more_changes_nothing() {
    let world = World::new("six");
    for node in NODES {
        let report = world.backup(node, &[]);
        assert_eq!(report.status, 0, "{}", report.complaints());
        assert_eq!(report.changed.len(), 4, "{:?}", report.changed);
    }
    for node in NODES {
        assert_all_there(&world.files(node), node);
    }
    let before: Vec<Files> = NODES.iter().map(|node| world.files(node)).collect();
    for node in NODES {
        let report = world.backup(node, &[]);
        assert_eq!((report.status, report.changed.len()), (0, 0), "{node}");
        assert!(report.findings.is_empty(), "{}", report.complaints());
        // A line for the device, one for the store and one for each peer.
        let lines: Vec<&str> = report.phases.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(
            lines[2..],
            NODES.into_iter().filter(|n| *n != node).collect::<Vec<_>>()
        );
        let all = report.phases.iter().skip(2);
        assert!(all.clone().all(|p| p.result == "2 of 2 keys proven"));
    }
    let after: Vec<Files> = NODES.iter().map(|node| world.files(node)).collect();
    assert_eq!(before, after);
}

#[test]
fn what_is_staged_is_handed_over_as_staged_and_what_is_pruned_is_not_sent() {
    let world = World::new("staged");
    let standings = [Pruned, Retired, Retained, Current, Staged];
    world.change_stick("f0", |stick| {
        stick.files = store("00", &[("f0:data", &standings)])
    });
    let report = world.backup("f0", &["f2"]);
    assert_eq!(report.status, 0, "{}", report.complaints());
    let files = world.files("f2");
    let state = StoreState::parse(&files[layout::STATE]).unwrap();
    let key: KeyName = "f0:data".parse().unwrap();
    let listed: Vec<Standing> = state.keys[&key].iter().map(|g| g.state).collect();
    assert_eq!(listed, standings);
    for (number, standing) in (1..).zip(standings) {
        let path = layout::generation_path(&key, number, print("f0:data", number));
        assert_eq!(files.contains_key(&path), standing != Pruned, "{path}");
    }
    assert_eq!(files[&layout::top_path(&key)], bytes("f0:data", 4));
    // Only who was named.
    assert_eq!(world.files("f1"), own("f1"));
}

#[test]
fn law_5_what_is_wrong_with_one_peer_is_no_matter_of_the_others() {
    type Harm = fn(&World);
    let table: [(Harm, &str); 6] = [
        (
            |w| w.sim("f0").away.borrow_mut().push("f1".to_owned()),
            "no answer in time",
        ),
        (
            |w| w.change_stick("f1", |s| s.broken = Some("Input/output error".to_owned())),
            "Input/output error",
        ),
        (
            |w| w.change_stick("f1", |s| s.unwritable = Some("read-only".to_owned())),
            "read-only",
        ),
        (
            |w| w.change_stick("f1", |s| s.candidate.filesystems[0].label = None),
            "key device K",
        ),
        (
            |w| w.change_stick("f1", |s| s.fault = Some(Fault::FullAt(2))),
            "f1",
        ),
        (|w| w.change_stick("f1", |s| s.files.clear()), "plain store"),
    ];
    for (harm, words) in table {
        let world = World::new("law5");
        harm(&world);
        let report = world.backup("f0", &[]);
        assert_eq!(report.status, 69, "{words}");
        let said = report.complaints();
        assert!(said.contains(words), "{said}\nnot {words}");
        assert!(said.contains("`f3skeys backup --to f1`"), "{said}");
        assert!(report.findings.iter().all(|f| f.subject == "f1"), "{said}");
        let f2 = report
            .phases
            .iter()
            .find(|phase| phase.name == "f2")
            .unwrap();
        assert_eq!(f2.result, "2 of 2 keys proven", "{words}");
    }
}

#[test]
fn a_peer_whose_lock_is_held_is_named_and_ours_is_free_while_others_are_asked() {
    let world = World::new("lock");
    let lock = marker::try_lock(&world.sim("f1").run()).unwrap().unwrap();
    let report = world.backup("f0", &[]);
    assert_eq!(report.status, 69);
    assert!(report.complaints().contains("another f3skeys is at work"));
    drop(lock);
    let (sim, config) = &**world.host("f0");
    let free = std::cell::Cell::new(0);
    let look = |_: &str| {
        assert!(marker::try_lock(&sim.run()).unwrap().is_some());
        free.set(free.get() + 1);
    };
    let scope = Scope {
        to: &[],
        rebuild: false,
    };
    assert_eq!(
        sim.verb(|node| backup(node, config, scope, &look)).status,
        0
    );
    assert_eq!(free.get(), 2, "f2 had both keys already");
    let lock = marker::try_lock(&sim.run()).unwrap().unwrap();
    let report = world.backup("f0", &[]);
    assert_eq!(report.status, 75, "{}", report.complaints());
    drop(lock);
}

#[test]
fn where_this_node_cannot_say_what_it_has_nothing_is_sent() {
    type Harm = fn(&mut Stick);
    let table: [(Harm, &str, u8); 4] = [
        (|s| s.candidate.filesystems[0].label = None, "not there", 66),
        (
            |s| s.broken = Some("Input/output error".to_owned()),
            "Input/output",
            66,
        ),
        (
            |s| s.files.get_mut(layout::STATE).unwrap().truncate(50),
            "verify --repair",
            69,
        ),
        (|s| s.pulled_after = Some(1), "went away", 66),
    ];
    for (harm, words, status) in table {
        let world = World::new("own");
        world.change_stick("f0", harm);
        let report = world.backup("f0", &[]);
        assert_eq!(report.status, status, "{}", report.complaints());
        assert!(
            report.complaints().contains(words),
            "{}",
            report.complaints()
        );
        assert_eq!(world.files("f1"), own("f1"));
        let copies = world.copies("f0");
        assert_eq!(copies.status, status);
        assert!(copies.text().contains(words), "{}", copies.text());
    }
}

#[test]
fn a_key_that_is_damaged_here_or_vouched_for_by_nothing_is_never_called_backed_up() {
    let world = World::backed_up("damaged-here");
    let path = layout::generation_path(&"f0:data".parse().unwrap(), 1, print("f0:data", 1));
    world.change_stick("f0", |stick| stick.files.get_mut(&path).unwrap()[0] ^= 1);
    let report = world.backup("f0", &[]);
    assert_eq!(report.status, 69);
    let said = report.complaints();
    assert!(said.contains("damaged on this node's own store"), "{said}");
    assert!(said.contains("verify --repair` here"), "{said}");
    let strange = World::new("strange");
    let laid = "f0:laid.key".to_owned();
    strange.change_stick("f0", |stick| drop(stick.files.insert(laid, vec![7; 32])));
    let report = strange.backup("f0", &[]);
    assert_eq!(report.status, 69, "{}", report.complaints());
    assert!(
        report
            .complaints()
            .contains("f0:laid: nothing on this node's store vouches")
    );
    // The others are handed over all the same.
    assert!(
        report
            .phases
            .iter()
            .skip(2)
            .all(|p| p.result == "2 of 2 keys proven")
    );
    assert_eq!(strange.copies("f0").status, 69);
}

#[test]
fn a_key_of_a_root_that_this_store_has_lost_is_named_with_the_way_to_get_it_back() {
    let world = World::backed_up("own-lost");
    world.change_stick("f0", |stick| {
        stick.files = store("00", &[("f0:more", &[Current])]);
    });
    let way = "`f3skeys receive --rebuild` here, `f3skeys backup --to f0 --rebuild` there";
    let report = world.backup("f0", &[]);
    let said = report.complaints();
    assert_eq!(report.status, 69, "{said}");
    assert!(
        said.contains("f0:data: is not on this node's store"),
        "{said}"
    );
    assert!(said.contains(way), "{said}");
    let told = world.copies("f0");
    assert_eq!(told.status, 69);
    let text = told.text();
    assert!(text.contains("this peer holds some of it"), "{text}");
    assert!(text.contains(way), "{text}");
    // And that way leads there.
    world.open("f0", None, 5);
    assert_eq!(world.backup_with("f2", &["f0"], true).status, 0);
    assert_eq!(world.backup("f0", &[]).status, 0);
    assert_eq!(world.copies("f0").status, 0);
}

#[test]
fn bit_rot_on_a_peer_is_named_by_status_and_mended_by_backup() {
    let key: KeyName = "f0:data".parse().unwrap();
    let current = layout::generation_path(&key, 2, print("f0:data", 2));
    let top = layout::top_path(&key);
    type Harm = fn(&mut Files, &str);
    let flip: Harm = |files, path| files.get_mut(path).unwrap()[7] ^= 4;
    let short: Harm = |files, path| files.get_mut(path).unwrap().truncate(3);
    let gone: Harm = |files, path| drop(files.remove(path));
    for (harm, flips) in [(flip, true), (short, false), (gone, false)] {
        for (paths, state, words) in [
            // Both copies: the bytes are gone there.
            (vec![&current, &top], State::Damaged, "generation 2"),
            // One of two: mended from the other, without a byte sent.
            (
                vec![&current],
                State::Proven,
                "a file of it damaged or missing",
            ),
            (vec![&top], State::Proven, "a file of it damaged or missing"),
        ] {
            let world = World::backed_up("rot");
            let before = world.files("f1");
            for path in &paths {
                world.change_stick("f1", |stick| harm(&mut stick.files, path));
            }
            let told = world.copies("f0");
            assert_eq!(told.status, 69);
            let of_key = told.keys.iter().find(|k| k.key == "f0:data").unwrap();
            let (f1, f2) = (&of_key.peers[0], &of_key.peers[1]);
            assert_eq!((f1.peer.as_str(), f1.well, f2.well), ("f1", false, true));
            assert_eq!(f1.generations[1].state, Some(state));
            assert!(
                f1.remedy.starts_with("`f3skeys backup --to f1`"),
                "{}",
                f1.remedy
            );
            assert!(told.text().contains(words), "{}", told.text());
            // A whole key at the top that is none of the list may open something: only a repair there
            // asks ZFS about it.
            let stranger = flips && paths.contains(&&top);
            let report = world.backup("f0", &["f1"]);
            let said = report.complaints();
            assert_eq!(report.status, if stranger { 69 } else { 0 }, "{said}");
            if stranger {
                assert!(said.contains("`f3skeys verify --repair` there"), "{said}");
                assert!(f1.remedy.contains("verify --repair") || paths.len() == 2);
                let (sim, config) = &**world.host("f1");
                let (pools, repair) = (false, true);
                let options = verify::Options { pools, repair };
                let told = sim.verb(|node| verify::verify(node, config, options));
                assert_eq!(told.status, 0, "{}", told.text());
            }
            let is_changed = !stranger || paths.len() == 2;
            assert_eq!(
                report.changed.len(),
                usize::from(is_changed),
                "{:?}",
                report.changed
            );
            for change in &report.changed {
                assert!(change.starts_with("f1: f0:data: "), "{change}");
                assert!(change.contains(words), "{change}");
                assert!(change.contains("handed over"), "{change}");
            }
            for (path, content) in before {
                assert_eq!(world.files("f1")[&path], content, "{path}");
            }
            assert_eq!(world.copies("f0").status, 0);
        }
    }
}

#[test]
fn status_of_peers_shows_when_a_silent_peer_last_proved_what_it_has() {
    let world = World::backed_up("status");
    let well = world.copies("f0");
    assert_eq!(well.status, 0, "{}", well.text());
    assert!(
        well.text().contains("4 of 4 copies proven"),
        "{}",
        well.text()
    );
    let sim = world.sim("f0");
    sim.wall.set(sim.wall.get() + 3 * 86_400);
    sim.away.borrow_mut().push("f1".to_owned());
    let told = world.copies("f0");
    assert_eq!(told.status, 69);
    let f1 = &told.keys[0].peers[0];
    assert!(
        !f1.well && f1.why.starts_with("does not answer"),
        "{}",
        f1.why
    );
    assert_eq!(f1.generations[0].state, None);
    assert!(f1.generations[0].age.unwrap() >= 3 * 86_400);
    let text = told.text();
    assert!(text.contains("3 days ago"), "{text}");
    assert!(text.contains("then `f3skeys backup --to f1`"), "{text}");
    // A clock that was wrong makes no age of it.
    sim.wall.set(1_000);
    let told = world.copies("f0");
    let first = &told.keys[0].peers[0].generations[0];
    assert!(first.last_proven.is_some() && first.age.is_none());
    assert!(told.text().contains("still to come: a clock is wrong"));
    // Nor does a receipt that nobody can read.
    fs::write(sim.db().join("receipts/f1.json"), "{").unwrap();
    let told = world.copies("f0");
    assert_eq!(told.keys[0].peers[0].generations[0].last_proven, None);
    assert!(told.text().contains("never proven"), "{}", told.text());
    // The next proof begins them anew.
    sim.away.borrow_mut().clear();
    assert_eq!(world.copies("f0").status, 0);
    let receipts = Receipts::read(&sim.db(), &"f1".parse().unwrap()).unwrap();
    let receipt = receipts.of(&"f0:data".parse().unwrap(), print("f0:data", 2));
    let receipt = receipt.unwrap();
    assert_eq!(
        (
            receipt.generation,
            receipt.by.as_str(),
            receipt.store.as_str()
        ),
        (2, "status", "01".repeat(16).as_str())
    );
}

#[test]
fn without_a_peer_nothing_is_backed_up() {
    let world = World::new("alone");
    let (sim, config) = &**world.host("f0");
    let mut config = config.clone();
    config.peers.clear();
    let scope = Scope {
        to: &[],
        rebuild: false,
    };
    let report = sim.verb(|node| backup(node, &config, scope, &|_| {}));
    assert_eq!(report.status, 69, "{}", report.complaints());
    let told = sim.verb(|node| copies(node, &config));
    assert_eq!(told.status, 69);
    assert!(told.text().contains("ON NO OTHER STORE"), "{}", told.text());
    let report = world.backup("f0", &["f9"]);
    assert_eq!(report.status, 78);
}

/// What a peer says it holds is not believed without a proof over the nonce of now.
#[test]
fn a_peer_that_only_says_so_is_not_believed() {
    let world = World::backed_up("liar");
    let sim = world.sim("f0");
    let key: KeyName = "f0:data".parse().unwrap();
    let honest = world
        .ask(
            "f0",
            "f1",
            Ask::Key {
                key,
                nonce: nonce(),
            },
            &[],
        )
        .unwrap();
    // It plays an old answer again, whatever it is asked.
    sim.neighbours.borrow_mut().remove("f1");
    let reply = Reply {
        version: VERSION,
        node: "f1".parse().unwrap(),
        answer: Told::Key(honest),
    };
    sim.replies.borrow_mut().insert("f1".to_owned(), reply);
    let told = world.copies("f0");
    assert_eq!(told.status, 69);
    assert_eq!(
        told.keys[0].peers[0].generations[0].state,
        Some(State::NotProven)
    );
    let report = world.backup("f0", &["f1"]);
    assert_eq!(report.status, 69);
    assert!(
        report.complaints().contains("not proven"),
        "{}",
        report.complaints()
    );
}

#[test]
fn a_peer_of_another_version_is_named_with_both_and_the_way_out() {
    let world = World::new("version");
    let sim = world.sim("f0");
    let reply = |version| Reply {
        version,
        node: "f1".parse().unwrap(),
        answer: Told::Replicas(Vec::new()),
    };
    sim.neighbours.borrow_mut().remove("f1");
    sim.replies.borrow_mut().insert("f1".to_owned(), reply(7));
    let said = world.backup("f0", &["f1"]).complaints();
    let both =
        format!("version 7, this is version {VERSION}; install the same f3skeys on both nodes");
    assert!(said.contains(&both), "{said}");
    // Also where its words are no longer understood, on either side.
    let strange = b"{\"version\":7,\"whatever\":[1]}";
    let why = f3skeys::peers::reply(strange).unwrap_err();
    assert!(why.contains(&both), "{why}");
    let closed = Err(String::new());
    let refused = understand(&config("f1"), &"f0".parse().unwrap(), strange, &closed).unwrap_err();
    assert!(refused.what.contains(&both), "{}", refused.what);
    assert_eq!(refused.status, 65);
}

/// Whatever is on the stick of f1, all that was there before is, and the rest is of f0's list.
fn assert_nothing_lost(world: &World, node: &str, case: &str) {
    let files = world.files(node);
    for (path, content) in own(node) {
        if path != layout::STATE {
            assert_eq!(files.get(&path), Some(&content), "{case}: {path}");
        }
    }
    StoreState::parse(&files[layout::STATE]).unwrap();
}

/// Nothing but what a cut write leaves is wrong with a stick.
fn leftovers(files: &Files) -> usize {
    let is_leftover = |path: &&String| layout::is_temporary(layout::split(path).1);
    files.keys().filter(is_leftover).count()
}

#[test]
fn law_7_either_side_of_a_backup_dies_at_every_step_and_once_more_finishes() {
    let (config, scope) = (
        config("f0"),
        Scope {
            to: &[],
            rebuild: false,
        },
    );
    let mut cases = 0;
    for dying in NODES {
        for torn in [true, false] {
            for step in 1.. {
                let case = format!("{dying} at step {step}, torn {torn}");
                let world = World::new("dies");
                world.sim(dying).torn.set(torn);
                let report = match dying {
                    "f0" => world
                        .sim("f0")
                        .dies_at(step, |node| backup(node, &config, scope, &|_| {})),
                    _ => {
                        world.sim(dying).die_at.set(Some(step));
                        Some(world.backup("f0", &[]))
                    }
                };
                assert_eq!(keys_alive(), 0, "{case}");
                world.sim(dying).die_at.set(None);
                for node in NODES {
                    assert_nothing_lost(&world, node, &case);
                }
                let died = report.as_ref().is_none_or(|report| report.status != 0);
                let again = world.backup("f0", &[]);
                assert_eq!(again.status, 0, "{case}: {}", again.complaints());
                for node in ["f1", "f2"] {
                    for (path, content) in own("f0") {
                        if path != layout::STATE {
                            assert_eq!(world.files(node)[&path], content, "{case}: {path}");
                        }
                    }
                    assert!(leftovers(&world.files(node)) <= 1, "{case}");
                }
                if !died {
                    break;
                }
                cases += 1;
            }
        }
    }
    println!("{cases} deaths");
    assert!(cases > 100, "{cases}");
}

#[test]
fn law_7_the_stick_of_a_peer_fills_up_or_is_pulled_at_every_step() {
    let mut cases = 0;
    for step in 0..40 {
        for fault in [
            Fault::FullAt(step),
            Fault::GoneFrom(step),
            Fault::CutAt(step, 9),
        ] {
            let world = World::new("fault");
            world.change_stick("f1", |stick| stick.fault = Some(fault));
            let report = world.backup("f0", &[]);
            cases += usize::from(report.status != 0);
            let case = format!("{fault:?}");
            assert_nothing_lost(&world, "f1", &case);
            let f2 = report
                .phases
                .iter()
                .find(|phase| phase.name == "f2")
                .unwrap();
            assert_eq!(f2.result, "2 of 2 keys proven", "{case}");
            let again = world.backup("f0", &[]);
            assert_eq!(again.status, 0, "{case}: {}", again.complaints());
        }
    }
    println!("{cases} failures of the stick");
    assert!(cases > 20, "{cases}");
}

#[test]
fn law_7_the_new_stick_fills_up_or_is_pulled_at_every_step_of_a_rebuild() {
    let mut cases = 0;
    for step in 0..30 {
        for fault in [
            Fault::FullAt(step),
            Fault::GoneFrom(step),
            Fault::CutAt(step, 9),
        ] {
            let world = World::backed_up("rebuild-fault");
            world.loses_its_stick("f1");
            world.open("f1", None, 60);
            world.change_stick("f1", |stick| stick.fault = Some(fault));
            let report = world.backup_with("f0", &["f1"], true);
            cases += usize::from(report.status != 0);
            let again = world.backup_with("f0", &["f1"], true);
            assert_eq!(again.status, 0, "{fault:?}: {}", again.complaints());
            assert_all_there(&world.files("f1"), &format!("{fault:?}"));
        }
    }
    println!("{cases} failures of the stick");
    assert!(cases > 20, "{cases}");
}

#[test]
fn a_lost_stick_is_rebuilt_from_one_peer_and_the_node_boots() {
    let world = World::backed_up("rebuild");
    world.loses_its_stick("f1");
    let empty = world.files("f1");
    // Nobody opened it: its own backup goes through, all else is refused there.
    let report = world.backup_with("f0", &["f1"], true);
    assert_eq!(report.status, 69);
    let said = report.complaints();
    assert!(
        said.contains("f1:data is a key of f1, and f0 asks"),
        "{said}"
    );
    assert!(said.contains("`f3skeys receive --rebuild` there"), "{said}");
    assert_eq!(world.files("f1"), empty);
    world.open("f1", None, 60);
    let report = world.backup_with("f0", &["f1"], true);
    assert_eq!(report.status, 0, "{}", report.complaints());
    assert_all_there(&world.files("f1"), "rebuilt");
    // The node's own keys came first.
    let keys: Vec<&str> = report
        .changed
        .iter()
        .map(|change| change.split(": ").nth(1).unwrap())
        .collect();
    assert_eq!(
        keys,
        [
            "f1:data", "f1:more", "f0:data", "f0:more", "f2:data", "f2:more"
        ]
    );
    let (sim, config) = &**world.host("f1");
    sim.reboot("boot-2");
    let report = sim.verb(|node| boot::boot(node, config));
    assert_eq!(report.status, 0, "{}", report.complaints());
    // And the owners find nothing to do.
    for node in ["f0", "f2"] {
        let report = world.backup(node, &[]);
        assert_eq!((report.status, report.changed.len()), (0, 0), "{node}");
    }
}

#[test]
fn an_open_rebuild_changes_nothing_that_is_there() {
    let world = World::backed_up("exists");
    world.open("f1", None, 60);
    let before = world.files("f1");
    for (key, standings) in [
        // More, less, other, older, and forged: of a third node, and of the receiver itself.
        ("f2:data", &[Retained, Retained, Current][..]),
        ("f2:data", &[Current][..]),
        ("f2:data", &[Retired, Current][..]),
        ("f2:data", &[Current, Staged][..]),
        ("f2:data", &[Retained, Current, Staged][..]),
        ("f1:data", &[Retained, Retained, Current][..]),
        ("f1:data", &[Current][..]),
        ("f1:more", &[Retained, Current][..]),
    ] {
        let why = put(&world, "f0", "f1", key, standings)
            .unwrap_err()
            .to_string();
        let owner = &key[..2];
        let words = format!("{key} is on this store already, and only {owner} changes it");
        assert!(why.contains(&words), "{why}");
        assert_eq!(world.files("f1"), before, "{key}");
    }
    // The very same is no change.
    assert!(put(&world, "f0", "f1", "f2:data", &[Retained, Current]).is_ok());
    assert_eq!(world.files("f1"), before);
    // Forged bytes under the right names never get as far.
    let (merge, _) = putting("f2:new", &[Current]);
    let wrong = key_of("f2:new", 7);
    assert!(
        world
            .ask(
                "f0",
                "f1",
                Ask::Put(vouched(&world, "f0", "f1", merge)),
                &[&wrong]
            )
            .is_err()
    );
    assert_eq!(world.files("f1"), before);
}

#[test]
fn a_rebuild_takes_nothing_beside_files_of_a_key_that_nothing_vouches_for() {
    let key: KeyName = "f2:data".parse().unwrap();
    let other = layout::generation_path(&key, 7, print("f2:data", 7));
    for (path, content) in [
        (layout::top_path(&key), bytes("f2:data", 2).to_vec()),
        (layout::top_path(&key), bytes("f2:data", 9).to_vec()),
        (layout::top_path(&key), vec![1; 5]),
        (other.clone(), bytes("f2:data", 7).to_vec()),
        (other, vec![1; 32]),
    ] {
        let world = World::new("planted");
        world.loses_its_stick("f1");
        world.change_stick("f1", |stick| {
            drop(stick.files.insert(path.clone(), content))
        });
        world.open("f1", None, 60);
        let before = world.files("f1");
        let told = put(&world, "f0", "f1", "f2:data", &[Retained, Current]);
        assert!(told.is_err(), "{path}: {told:?}");
        assert_eq!(world.files("f1"), before, "{path}");
    }
}

#[test]
fn what_a_stale_peer_gave_first_is_said_to_be_in_the_way_of_the_newer() {
    let world = World::backed_up("stale");
    world.loses_its_stick("f1");
    world.change_stick("f2", |stick| {
        stick.files = store("02", &[("f2:data", &[Current]), ("f1:data", &[Current])]);
    });
    world.open("f1", None, 60);
    assert_eq!(world.backup_with("f2", &["f1"], true).status, 0);
    let report = world.backup_with("f0", &["f1"], true);
    assert_eq!(report.status, 69);
    let said = report.complaints();
    assert!(said.contains("f1:data: generation 2 "), "{said}");
    for key in ["f1:data", "f2:data"] {
        let owner = &key[..2];
        let why = format!(
            "{key} is on this store already, and only {owner} changes it; a peer that is behind came first: its owner's `f3skeys backup` mends that, and on the owner a rebuild anew, on another stick"
        );
        assert!(said.contains(&why), "{said}");
    }
    // What another owns, its backup brings.
    world.change_stick("f2", |stick| stick.files = own("f2"));
    let report = world.backup("f2", &["f1"]);
    assert_eq!(report.status, 0, "{}", report.complaints());
    // What the node itself owns comes with a rebuild that begins with the peer that is not behind.
    world.loses_its_stick("f1");
    world.open("f1", None, 60);
    assert_eq!(world.backup_with("f0", &["f1"], true).status, 0);
    assert_all_there(&world.files("f1"), "begun anew");
    // The other way round there is nothing to complain of.
    let world = World::backed_up("newer");
    let keys: [(&str, &[Standing]); 2] =
        [("f2:data", &[Retained, Current]), ("f1:data", &[Current])];
    world.change_stick("f2", |stick| stick.files = store("02", &keys));
    world.open("f1", None, 60);
    let report = world.backup_with("f2", &["f1"], true);
    assert_eq!(
        (report.status, report.changed.len()),
        (0, 0),
        "{}",
        report.complaints()
    );
    // Nor is a list that is no newer said to be.
    let why = put(&world, "f2", "f1", "f0:data", &[Current])
        .unwrap_err()
        .to_string();
    assert!(why.ends_with("only f0 changes it"), "{why}");
}

#[test]
fn law_7_either_side_of_a_rebuild_dies_at_every_step_and_once_more_finishes() {
    let config = config("f0");
    let to = ["f1".parse().unwrap()];
    let scope = Scope {
        to: &to,
        rebuild: true,
    };
    let mut cases = 0;
    for dying in ["f0", "f1"] {
        for torn in [true, false] {
            for step in 1.. {
                let case = format!("{dying} at step {step}, torn {torn}");
                let world = World::backed_up("rebuild-dies");
                world.loses_its_stick("f1");
                world.open("f1", None, 60);
                world.sim(dying).torn.set(torn);
                let report = match dying {
                    "f0" => world
                        .sim("f0")
                        .dies_at(step, |node| backup(node, &config, scope, &|_| {})),
                    _ => {
                        world.sim(dying).die_at.set(Some(step));
                        Some(world.backup_with("f0", &["f1"], true))
                    }
                };
                world.sim(dying).die_at.set(None);
                let died = report.as_ref().is_none_or(|report| report.status != 0);
                let again = world.backup_with("f0", &["f1"], true);
                assert_eq!(again.status, 0, "{case}: {}", again.complaints());
                assert_all_there(&world.files("f1"), &case);
                if !died {
                    break;
                }
                cases += 1;
            }
        }
    }
    println!("{cases} deaths");
    assert!(cases > 100, "{cases}");
}

/// Gives a node's stick another identity, and nothing else.
fn renamed(world: &World, node: &str, id: &str) {
    world.change_stick(node, |stick| *stick = stick.clone().with_id(id));
}

#[test]
fn law_7_one_store_behind_two_peers_is_backed_up_once_and_our_own_is_no_copy() {
    let identities = ["00", "01", "02"];
    for of_f1 in identities {
        for of_f2 in identities {
            let world = World::backed_up("twins");
            renamed(&world, "f1", of_f1);
            renamed(&world, "f2", of_f2);
            let f1_counts = of_f1 != "00";
            let f2_counts = of_f2 != "00" && of_f2 != of_f1;
            let told = world.copies("f0");
            for key in &told.keys {
                let well: Vec<bool> = key.peers.iter().map(|copy| copy.well).collect();
                assert_eq!(
                    well,
                    [f1_counts, f2_counts],
                    "{of_f1} {of_f2}: {}",
                    told.text()
                );
                assert!(
                    key.peers
                        .iter()
                        .all(|copy| copy.well == copy.remedy.is_empty())
                );
            }
            let report = world.backup("f0", &[]);
            let well = f1_counts && f2_counts;
            assert_eq!(told.status, if well { 0 } else { 69 }, "{of_f1} {of_f2}");
            assert_eq!(report.status, told.status, "{}", report.complaints());
            let named = |peer| {
                report
                    .findings
                    .iter()
                    .any(|finding| finding.subject == peer)
            };
            assert_eq!((named("f1"), named("f2")), (!f1_counts, !f2_counts));
        }
    }
}

#[test]
fn another_store_than_at_the_last_proof_is_told_once() {
    let told = |world: &World| {
        let text = world.copies("f0").text();
        text.contains("proved before")
    };
    let world = World::backed_up("changed");
    assert!(!told(&world), "there was no receipt");
    assert!(!told(&world), "it is the same store");
    renamed(&world, "f1", "0a");
    let report = world.backup("f0", &[]);
    assert_eq!(report.status, 0, "{}", report.complaints());
    let subjects: Vec<&str> = report.findings.iter().map(|f| f.subject.as_str()).collect();
    assert_eq!(subjects, ["f1"], "{}", report.complaints());
    assert!(report.findings[0].what.contains(&"01".repeat(16)));
    assert!(report.findings[0].what.contains(&"0a".repeat(16)));
    assert!(!told(&world), "its receipts are of the new store now");
    renamed(&world, "f1", "0b");
    assert!(told(&world));
    // A store that proves nothing yet is told until it does.
    world.change_stick("f1", |stick| stick.files = store("0c", &[]));
    assert!(told(&world) && told(&world));
}

/// Runs a verb as the program does where the configuration pins a store.
fn with_pin<T>(world: &World, node: &str, id: &str, verb: impl FnOnce(Node, &Config) -> T) -> T {
    let (sim, config) = &**world.host(node);
    let mut config = config.clone();
    config.store.id = Some(id.to_owned());
    sim.verb(|node| {
        let devices = &Pinned::new(node.devices, id);
        verb(Node { devices, ..node }, &config)
    })
}

type Pinning = fn(Node, &Config) -> (u8, String);

/// What reads or writes a store, with its exit status and complaints.
const ON_A_STORE: [(&str, Pinning); 6] = [
    ("boot", |node, config| {
        let report = boot::boot(node, config);
        (report.status, report.complaints())
    }),
    ("verify", |node, config| {
        let told = verify::verify(node, config, repairing());
        (told.status, told.complaints())
    }),
    ("backup", |node, config| {
        let scope = Scope {
            to: &[],
            rebuild: false,
        };
        let report = backup(node, config, scope, &|_| {});
        (report.status, report.complaints())
    }),
    ("status", |node, config| {
        let told = copies(node, config);
        (told.status, told.text())
    }),
    ("new-key", |node, config| {
        let name = "f0:newest".parse().unwrap();
        let made = new_key(node, config, &name, None);
        (made.report.status, made.report.complaints())
    }),
    ("rotate", |node, config| {
        let start = What::Start {
            take_over: false,
            copies: Some(0),
        };
        let key = "f0:data".parse().unwrap();
        let rotated = rotate(node, config, &key, start, &|_| {});
        (rotated.report.status, rotated.report.complaints())
    }),
];

fn repairing() -> verify::Options {
    verify::Options {
        pools: false,
        repair: true,
    }
}

#[test]
fn no_verb_uses_or_writes_another_store_than_the_pinned_one() {
    let (own, other) = ("00".repeat(16), "0f".repeat(16));
    for (verb, run) in ON_A_STORE {
        for plain in [false, true] {
            let world = World::new("pin");
            if plain {
                world.change_stick("f0", |stick| {
                    stick
                        .files
                        .retain(|path, _| !path.starts_with(layout::DIRECTORY));
                });
            }
            let before = world.files("f0");
            let (status, said) = with_pin(&world, "f0", &other, run);
            assert_ne!(status, 0, "{verb}, plain {plain}");
            assert!(said.contains(&other), "{verb}: {said}");
            assert_eq!(said.contains(&own), !plain, "{verb}: {said}");
            assert_eq!(world.files("f0"), before, "{verb}");
            for node in ["f1", "f2"] {
                assert_eq!(world.files(node), nodes::own(node), "{verb}");
            }
        }
        let world = World::new("pin-own");
        let (_, said) = with_pin(&world, "f0", &own, run);
        assert!(!said.contains("pins"), "{verb}: {said}");
    }
}

#[test]
fn a_peer_keeps_nothing_on_another_store_than_its_pinned_one() {
    let world = World::new("pin-peer");
    let (own_id, other) = ("01".repeat(16), "0f".repeat(16));
    let stick_of = |world: &World| world.files("f1");
    let before = stick_of(&world);
    for (id, takes) in [(&other, false), (&own_id, true)] {
        let (sim, _) = &**world.host("f1");
        let (device, filesystem) = {
            let sticks = sim.sticks.borrow();
            let candidate = sticks[0].candidate.clone();
            let filesystem = candidate.filesystems[0].clone();
            (candidate, filesystem)
        };
        let pinned = Pinned::new(sim, id);
        let work = Work::NewKey("f1:newest".parse().unwrap());
        let deadline = Deadline::after(sim, Duration::from_secs(60));
        let at = std::path::Path::new("/keys");
        let worked = pinned.work(&device, &filesystem, at, &work, None, deadline);
        assert_eq!(worked.is_ok(), takes, "{:?}", worked.err());
        assert_eq!(stick_of(&world) == before, !takes);
    }
}

/// Nothing on it is used or written, until a person has said that it is the right one.
#[test]
fn law_7_no_verb_uses_or_writes_a_store_whose_pinned_identity_cannot_be_read() {
    let own_id = "00".repeat(16);
    for (verb, run) in ON_A_STORE {
        for cut in [None, Some(40)] {
            let world = World::new("pin-damaged");
            world.change_stick("f0", |stick| match cut {
                None => drop(stick.files.remove(layout::STATE)),
                Some(left) => stick.files.get_mut(layout::STATE).unwrap().truncate(left),
            });
            let before = world.files("f0");
            let (status, said) = with_pin(&world, "f0", &own_id, run);
            assert_ne!(status, 0, "{verb}");
            assert!(said.contains(&own_id), "{verb}: {said}");
            assert_eq!(world.files("f0"), before, "{verb}");
        }
    }
    // Without the pin it is mended, and has an identity that can be pinned.
    let world = World::new("pin-repair");
    world.change_stick("f0", |stick| drop(stick.files.remove(layout::STATE)));
    let (sim, config) = &**world.host("f0");
    let told = sim.verb(|node| verify::verify(node, config, repairing()));
    assert!(!told.did.is_empty(), "{told:?}");
    let id = StoreState::parse(&world.files("f0")[layout::STATE])
        .unwrap()
        .store;
    let (_, said) = with_pin(&world, "f0", &id, ON_A_STORE[0].1);
    assert!(!said.contains("pins"), "{said}");
}
