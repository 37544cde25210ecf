//! What somebody can do to a node who has the ssh key of one of its peers, and nothing else: ask. The
//! standings of a key's generations change only by a list that its owner vouches for, and even that
//! retires nothing that a root here may need.

mod nodes;
mod sim;

use f3skeys::boot;
use f3skeys::config::Config;
use f3skeys::key::{Key, Nonce, keys_alive};
use f3skeys::names::KeyName;
use f3skeys::os::PoolState;
use f3skeys::peers::{Ask, Kept, KeyTold, Opens, Put, Vouched};
use f3skeys::receive::ledger::{EACH, GOOD_FOR, IN_A_ROW};
use f3skeys::receive::{Time, answer, rebuild};
use f3skeys::report::Severity;
use f3skeys::statement::Statement;
use f3skeys::store::layout;
use f3skeys::store::state::{Standing, State};
use f3skeys::store::work::Merge;
use f3skeys::time::Clock;
use nodes::{World, bytes, config_of, key_of, nonce, print, put, putting, store, vouched};
use sim::{Sim, Stick, encrypted};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use Standing::{Current, Pruned, Retained, Retired, Staged};

const KEY: &str = "f0:data";
const HERE: &[Standing] = &[Retained, Current];
const ALL: [Standing; 5] = [Current, Staged, Retained, Retired, Pruned];

/// f0, whose key f1 holds in two generations, and uses for a replica that the newer one opens.
fn world(name: &str) -> World {
    let root = "(dataset: \"zsink\", key: \"f0:data\", role: replica, required: true)";
    let mut f1 = Stick::new("/dev/da0", "K", "1");
    f1.files = store("01", &[(KEY, HERE)]);
    let sim = Sim::new(&format!("stolen-{name}"))
        .with(vec![encrypted("zsink", "zsink")])
        .opened_by("zsink", bytes(KEY, 2))
        .stick(f1);
    sim.change("zsink", |root| root.readonly = true);
    let config = config_of("f1", &["f0", "f2"], root);
    World::new(name).with(|nodes| nodes[1] = (sim, config))
}

/// What ZFS says of the replica from now on.
fn opened_by(sim: &Sim, key: [u8; 32]) {
    sim.wrapped.borrow_mut().insert("zsink".to_owned(), key);
}

fn listed(world: &World) -> Vec<Standing> {
    let state = State::parse(&world.files("f1")[layout::STATE]).unwrap();
    let key: KeyName = KEY.parse().unwrap();
    state.keys[&key].iter().map(|g| g.state).collect()
}

/// The list with its proof, as it would go out; no bytes go with it.
fn list(world: &World, standings: &[Standing]) -> Put {
    let (mut merge, _) = putting(KEY, standings);
    merge.bring.clear();
    vouched(world, "f0", "f1", merge)
}

fn say(world: &World, standings: &[Standing]) -> KeyTold {
    let put = list(world, standings);
    world.ask("f0", "f1", Ask::Put(put), &[]).unwrap()
}

fn refused(world: &World, put: Put, keys: &[&Key], words: &str) {
    let before = world.files("f1");
    let told = world.ask("f0", "f1", Ask::Put(put), keys);
    let why = told.unwrap_err().to_string();
    assert!(why.contains(words), "{why}\nnot {words}");
    assert!(why.contains("exits with 77"), "{why}");
    assert_eq!(world.files("f1"), before);
}

#[test]
fn a_number_to_vouch_over_is_given_only_where_there_is_something_to_vouch_with() {
    let world = world("number");
    for (key, is_given) in [(KEY, true), ("f0:new", false)] {
        let key = key.parse().unwrap();
        let about = Ask::Key {
            key,
            nonce: nonce(),
        };
        let told = world.ask("f0", "f1", about, &[]).unwrap();
        assert_eq!(told.challenge.is_some(), is_given, "{told:?}");
    }
}

#[test]
fn law_7_an_ssh_key_alone_changes_nothing_that_a_store_holds() {
    let world = world("alone");
    let mut cases = 0;
    let third = ALL.into_iter().map(Some).chain([None]);
    for three in third {
        for one in ALL {
            for two in ALL {
                let said: Vec<Standing> = [Some(one), Some(two), three]
                    .into_iter()
                    .flatten()
                    .collect();
                let twice = |what| said.iter().filter(|s| **s == what).count() > 1;
                if said == HERE || twice(Current) || twice(Staged) {
                    continue;
                }
                let (mut merge, keys) = putting(KEY, &said);
                let is_new = |n: &usize| *n == 2 && three != Some(Pruned);
                let brought: Vec<&Key> = (0..said.len()).filter(is_new).map(|n| &keys[n]).collect();
                merge.bring = brought.iter().map(|key| key.fingerprint()).collect();
                let put = Put {
                    merge,
                    vouched: None,
                };
                world.sim("f1").gives_number("f0", KEY);
                refused(&world, put, &brought, "nothing proves");
                cases += 1;
            }
        }
    }
    assert!(cases > 100, "{cases}");
    assert_eq!(listed(&world), HERE);
    assert_eq!(keys_alive(), 0);
}

#[test]
fn without_a_proof_the_same_list_mends_what_is_damaged_and_a_new_key_is_taken() {
    let world = world("same");
    let path = layout::generation_path(&KEY.parse().unwrap(), 2, print(KEY, 2));
    let (merge, keys) = putting(KEY, HERE);
    let damage = |stick: &mut Stick| {
        stick.files.get_mut(&path).unwrap()[3] ^= 1;
        stick
            .files
            .get_mut(&layout::top_path(&KEY.parse().unwrap()))
            .unwrap()[3] ^= 1;
    };
    world.change_stick("f1", damage);
    let put_of = |merge| {
        Ask::Put(Put {
            merge,
            vouched: None,
        })
    };
    let keys: Vec<&Key> = keys.iter().collect();
    let told = world.ask("f0", "f1", put_of(merge), &keys).unwrap();
    assert!(told.held.iter().all(|held| held.whole), "{told:?}");
    assert_eq!(world.files("f1")[&path], bytes(KEY, 2));
    let (merge, keys) = putting("f0:new", &[Current]);
    let told = world.ask("f0", "f1", put_of(merge), &[&keys[0]]).unwrap();
    assert_eq!(told.held.len(), 1);
    // But once it is there it is as every other.
    let (mut merge, _) = putting("f0:new", &[Retired]);
    merge.bring.clear();
    let put = Put {
        merge,
        vouched: None,
    };
    refused(&world, put, &[], "nothing proves");
}

#[test]
fn law_7_a_proof_that_is_not_made_for_this_list_this_node_and_this_moment_proves_nothing() {
    let said = &[Retained, Current, Staged];
    type Change = fn(&mut Put);
    let table: [(Change, &str); 8] = [
        (|put| put.vouched = None, "nothing proves"),
        (|put| of(put).proof = [7; 32].into(), "is not made with"),
        (|put| of(put).by = print(KEY, 1), "is not made with"),
        (|put| of(put).by = print(KEY, 3), "is not made with"),
        (|put| of(put).challenge = [7; 32].into(), "did not give"),
        // The list of its owner, with something changed.
        (|put| put.merge.list[0].state = Retired, "is not made with"),
        (
            |put| put.merge.list[2].fingerprint = print(KEY, 9),
            "is not made with",
        ),
        (
            |put| {
                put.merge.list.pop();
            },
            "is not made with",
        ),
    ];
    for (change, words) in table {
        let world = world("forged");
        let mut put = list(&world, said);
        change(&mut put);
        put.merge.bring.clear();
        refused(&world, put, &[], words);
    }
    // For another node, another store, from another, for another key; by a key that nobody holds.
    let world = world("elsewhere");
    let (f0, f1, f2) = (
        "f0".parse().unwrap(),
        "f1".parse().unwrap(),
        "f2".parse().unwrap(),
    );
    let (store, other) = ("01".repeat(16), "02".repeat(16));
    let strange: KeyName = "f0:more".parse().unwrap();
    for (from, to, store, key, by) in [
        (&f0, &f2, &store, None, 2),
        (&f2, &f1, &store, None, 2),
        (&f0, &f1, &other, None, 2),
        (&f0, &f1, &store, Some(&strange), 2),
        (&f0, &f1, &store, None, 3),
    ] {
        let mut put = list(&world, said);
        let challenge = of(&mut put).challenge;
        let statement = Statement {
            key: key.unwrap_or(&put.merge.key),
            from,
            to,
            store,
            challenge,
            list: &put.merge.list,
        };
        let vouched = statement.vouched(&key_of(KEY, by)).unwrap();
        put.vouched = Some(vouched);
        refused(&world, put, &[], "is not made with");
    }
    assert_eq!(listed(&world), HERE);
}

fn of(put: &mut Put) -> &mut Vouched {
    put.vouched.as_mut().unwrap()
}

#[test]
fn law_7_a_list_is_taken_once_in_its_boot_within_an_hour_and_not_after_a_newer_one() {
    let again = [Current, Retained];
    let world = world("replay");
    let first = list(&world, HERE);
    world.ask("f0", "f1", Ask::Put(first.clone()), &[]).unwrap();
    refused(&world, first, &[], "was used");
    // Refused is used as well.
    let older = list(&world, &again);
    let told = world.ask("f0", "f1", Ask::Put(older.clone()), &[]);
    assert!(told.unwrap_err().to_string().contains("is current here"));
    refused(&world, older, &[], "was used");
    let before = list(&world, HERE);
    say(&world, HERE);
    refused(&world, before, &[], "was used");
    let old = list(&world, HERE);
    world.sim("f1").sleep(GOOD_FOR);
    refused(&world, old, &[], "too old");
    let of_boot = list(&world, HERE);
    world.sim("f1").reboot("boot-2");
    refused(&world, of_boot, &[], "did not give");
    // A number that was given for another key.
    let mut other = list(&world, HERE);
    let (merge, _) = putting("f0:new", &[Current]);
    put(&world, "f0", "f1", "f0:new", &[Current]).unwrap();
    other.merge = merge;
    other.merge.bring.clear();
    refused(&world, other, &[], "did not give");
}

#[test]
fn law_7_what_a_root_here_may_need_is_not_retired_whoever_says_so() {
    type Change = fn(&Sim);
    let table: [(Change, &str); 6] = [
        (|sim| opened_by(sim, bytes(KEY, 1)), "zsink is opened by"),
        (|sim| opened_by(sim, [9; 32]), "by none of the others"),
        (
            |sim| sim.hanging.borrow_mut().push("zsink".to_owned()),
            "could not be asked",
        ),
        (
            |sim| {
                drop(
                    sim.states
                        .borrow_mut()
                        .insert("zsink".to_owned(), PoolState::Suspended),
                )
            },
            "is suspended",
        ),
        (
            |sim| {
                drop(
                    sim.states
                        .borrow_mut()
                        .insert("zsink".to_owned(), PoolState::NotImported),
                )
            },
            "is not imported",
        ),
        (
            |sim| {
                sim.datasets
                    .borrow_mut()
                    .retain(|d| d.name.as_str() != "zsink")
            },
            "there is no zsink",
        ),
    ];
    for (change, words) in table {
        for gone in [Retired, Pruned] {
            let world = world("needed");
            change(world.sim("f1"));
            let told = say(&world, &[gone, Current, Staged][..2]);
            let [Kept { fingerprint, why }] = &told.kept[..] else {
                panic!("{words}: {told:?}");
            };
            assert_eq!(*fingerprint, print(KEY, 1));
            assert!(why.contains(words), "{why}\nnot {words}");
            assert_eq!(listed(&world), HERE, "{words}");
        }
    }
    // The rest of such a list is taken all the same.
    let world = world("rest");
    world
        .sim("f1")
        .wrapped
        .borrow_mut()
        .insert("zsink".to_owned(), bytes(KEY, 1));
    let (mut merge, keys) = putting(KEY, &[Retired, Retired, Current]);
    merge.bring = vec![print(KEY, 3)];
    let put = vouched(&world, "f0", "f1", merge);
    let told = world.ask("f0", "f1", Ask::Put(put), &[&keys[2]]).unwrap();
    assert_eq!(told.kept.len(), 2);
    assert_eq!(listed(&world), [Retained, Retained, Current]);
    // Seen to be opened by what goes on being tried, even by what came just now, it is taken.
    world
        .sim("f1")
        .wrapped
        .borrow_mut()
        .insert("zsink".to_owned(), bytes(KEY, 4));
    let (mut merge, keys) = putting(KEY, &[Pruned, Retired, Retained, Current]);
    merge.bring = vec![print(KEY, 4)];
    let put = vouched(&world, "f0", "f1", merge);
    let told = world.ask("f0", "f1", Ask::Put(put), &[&keys[3]]).unwrap();
    assert_eq!(told.kept, []);
    assert_eq!(listed(&world), [Pruned, Retired, Retained, Current]);
}

#[test]
fn an_owner_takes_a_retirement_back() {
    let world = world("back");
    assert_eq!(say(&world, &[Retired, Current]).kept, []);
    assert_eq!(listed(&world), [Retired, Current]);
    say(&world, HERE);
    assert_eq!(listed(&world), HERE);
    // As far as all of it, and by what is retired where nothing else is left to vouch with.
    world.change_stick("f1", |stick| {
        stick.files = store("01", &[(KEY, &[Retired, Retired])])
    });
    say(&world, HERE);
    assert_eq!(listed(&world), HERE);
    // What is retired vouches for nothing beside what boots try.
    say(&world, &[Retired, Current]);
    let mut put = list(&world, HERE);
    let statement = Statement {
        key: &put.merge.key,
        from: &"f0".parse().unwrap(),
        to: &"f1".parse().unwrap(),
        store: &"01".repeat(16),
        challenge: of(&mut put.clone()).challenge,
        list: &put.merge.list,
    };
    put.vouched = Some(statement.vouched(&key_of(KEY, 1)).unwrap());
    refused(&world, put, &[], "that boots of f1 try");
}

#[test]
fn law_7_a_boot_tries_what_is_retired_last_and_says_so_rather_than_leave_a_root_locked() {
    for (list, opens) in [
        (&[Retired, Current][..], 1),
        (&[Retired, Retired], 1),
        (&[Retired, Retired], 2),
        (&[Pruned, Retired, Current], 2),
        (&[Retired, Retained, Current, Staged], 1),
    ] {
        let world = world("boot");
        world.change_stick("f1", |stick| stick.files = store("01", &[(KEY, list)]));
        let (sim, config): &(Sim, Config) = world.host("f1");
        sim.wrapped
            .borrow_mut()
            .insert("zsink".to_owned(), bytes(KEY, opens));
        let report = sim.verb(|node| boot::boot(node, config));
        let case = format!("{list:?} {opens}: {}", report.complaints());
        assert!(report.roots[0].open, "{case}");
        let alarms = report
            .findings
            .iter()
            .filter(|f| f.severity == Severity::Alarm);
        let alarms: Vec<&str> = alarms.map(|f| f.subject.as_str()).collect();
        assert_eq!(alarms, ["zsink"], "{case}");
    }
    let world = world("boot-well");
    world.change_stick("f1", |stick| {
        stick.files = store("01", &[(KEY, &[Retired, Current])])
    });
    let (sim, config): &(Sim, Config) = world.host("f1");
    let report = sim.verb(|node| boot::boot(node, config));
    assert!(report.findings.is_empty(), "{}", report.complaints());
}

#[test]
fn law_6_a_peer_is_no_oracle_it_may_ask_for_so_many_proofs_and_then_for_one_a_minute() {
    let world = world("oracle");
    let about = |nonce: Nonce| Ask::Key {
        key: KEY.parse().unwrap(),
        nonce,
    };
    let sim = world.sim("f1");
    // Its clock stands still meanwhile, as far as a peer can have it.
    for _ in 0..IN_A_ROW {
        let before = sim.now();
        world.ask("f0", "f1", about(nonce()), &[]).unwrap();
        assert!(sim.now() - before < EACH);
    }
    let mut answered = 0;
    let begun = sim.now();
    let looked = sim.zfs_calls.get();
    for _ in 0..600 {
        answered += u64::from(world.ask("f0", "f1", about(nonce()), &[]).is_ok());
        sim.sleep(Duration::from_secs(1));
    }
    let minutes = (sim.now() - begun).as_secs() / EACH.as_secs();
    assert!(answered <= minutes + 3, "{answered} in {minutes} minutes");
    assert!(answered >= minutes, "{answered} in {minutes} minutes");
    assert!(u64::from(sim.zfs_calls.get() - looked) <= 4 * answered);
    // Another peer is answered all the same.
    let of_f2 = Ask::Key {
        key: "f2:data".parse().unwrap(),
        nonce: nonce(),
    };
    world.ask("f2", "f1", of_f2, &[]).unwrap();
}

#[test]
fn roots_are_told_by_what_opens_them_also_if_that_is_retired() {
    let world = world("told");
    world.change_stick("f1", |stick| {
        stick.files = store("01", &[(KEY, &[Retired, Current])])
    });
    world
        .sim("f1")
        .wrapped
        .borrow_mut()
        .insert("zsink".to_owned(), bytes(KEY, 1));
    let about = Ask::Key {
        key: KEY.parse().unwrap(),
        nonce: nonce(),
    };
    let told = world.ask("f0", "f1", about, &[]).unwrap();
    assert_eq!(told.roots[0].opens, Opens::By(print(KEY, 1)));
}

/// A list that does not even name the node's own key.
#[test]
fn who_vouches_for_the_key_of_another_is_refused_before_anything_is_read() {
    let world = world("other");
    let (merge, keys): (Merge, Vec<Key>) = putting("f2:data", &[Current]);
    let put = Put {
        merge,
        vouched: list(&world, HERE).vouched,
    };
    world.sim("f1").sticks.borrow_mut()[0].broken = Some("it was opened".to_owned());
    refused(&world, put, &[&keys[0]], "is a key of f2");
}

/// The question was let in, and the person has ended the rebuild before the lock was free.
#[test]
fn a_rebuild_that_has_ended_meanwhile_takes_nothing() {
    let world = world("ended");
    let (sim, config): &(Sim, Config) = world.host("f1");
    let (merge, _) = putting("f2:new", &[Current]);
    let from = "f0".parse().unwrap();
    let ask = || {
        Ask::Put(Put {
            merge: merge.clone(),
            vouched: None,
        })
    };
    let told = |end: bool| {
        world.open("f1", None, 60);
        sim.verb(|node| {
            assert_eq!(rebuild::admits(node, &from), Ok(()));
            if end {
                rebuild::end(node).unwrap();
            }
            let brought = sim::brought(&ask(), &bytes("f2:new", 1)).unwrap();
            answer(node, config, &from, ask(), brought, Time::begin(sim))
        })
    };
    let before = world.files("f1");
    let refused = told(true).unwrap_err();
    assert_eq!(refused.status, 77, "{}", refused.what);
    assert_eq!(world.files("f1"), before);
    told(false).unwrap();
    assert_ne!(world.files("f1"), before);
}

#[test]
fn a_rebuild_is_open_only_for_whom_how_long_and_in_which_boot_a_person_said() {
    type Close = fn(&World);
    let table: [(Close, &str); 9] = [
        (|_| {}, "not open for a rebuild"),
        (|w| w.open("f1", Some("f2"), 60), "by f2 alone"),
        (
            |w| {
                w.open("f1", None, 2);
                w.sim("f1").sleep(Duration::from_secs(120));
            },
            "the time for a rebuild is over",
        ),
        (
            |w| {
                w.open("f1", None, 60);
                *w.sim("f1").boot_id.borrow_mut() = Some("boot-2".to_owned());
            },
            "in another boot",
        ),
        (
            |w| {
                w.open("f1", None, 60);
                *w.sim("f1").boot_id.borrow_mut() = None;
            },
            "cannot tell",
        ),
        (
            |w| {
                w.open("f1", None, 60);
                let said = w.sim("f1").verb(rebuild::end).unwrap();
                assert!(said.contains("any more"), "{said}");
                assert!(w.sim("f1").verb(rebuild::end).unwrap().contains("not open"));
            },
            "not open for a rebuild",
        ),
        (
            |w| {
                w.open("f1", None, 60);
                fs::write(w.sim("f1").run().join("rebuild"), "{}").unwrap();
            },
            "cannot tell",
        ),
        (
            |w| {
                w.open("f1", None, 60);
                let mode = fs::Permissions::from_mode(0o666);
                fs::set_permissions(w.sim("f1").run().join("rebuild"), mode).unwrap();
            },
            "cannot tell",
        ),
        (
            |w| {
                w.open("f1", None, 60);
                let (file, other) = (
                    w.sim("f1").run().join("rebuild"),
                    w.sim("f1").run().join("x"),
                );
                fs::rename(&file, &other).unwrap();
                std::os::unix::fs::symlink(&other, &file).unwrap();
            },
            "cannot tell",
        ),
    ];
    for (close, words) in table {
        let world = world("closed");
        close(&world);
        let before = world.files("f1");
        let told = put(&world, "f0", "f1", "f2:data", HERE);
        let why = told.unwrap_err().to_string();
        assert!(why.contains(words), "{why}\nnot {words}");
        assert!(why.contains("ssh exits with 77"), "{why}");
        assert_eq!(world.files("f1"), before);
    }
    let world = world("named");
    world.open("f1", Some("f2"), 1);
    assert!(put(&world, "f2", "f1", "f0:new", &[Current]).is_ok());
    let (sim, config) = &**world.host("f1");
    for (from, minutes) in [(Some("f9"), 60), (None, 0), (None, rebuild::LONGEST + 1)] {
        let from = from.map(|from| from.parse().unwrap());
        let opened = sim.verb(|node| rebuild::open(node, config, from.as_ref(), minutes));
        assert!(opened.is_err(), "{from:?} {minutes}");
    }
    for minutes in [1, rebuild::LONGEST] {
        let opened = sim.verb(|node| rebuild::open(node, config, None, minutes));
        assert!(opened.is_ok(), "{minutes}");
    }
    // An end that did not come about is no end, and one of nothing is.
    assert!(sim.verb(rebuild::end).is_ok() && sim.verb(rebuild::end).is_ok());
    fs::create_dir(sim.run().join("rebuild")).unwrap();
    assert!(sim.verb(rebuild::end).is_err());
}

#[test]
fn for_whom_and_how_long_a_rebuild_is_open_is_told_and_what_is_not_known_is_no_no() {
    let world = world("open-now");
    let sim = world.sim("f1");
    let open_now = || sim.verb(rebuild::open_now);
    let open = |from: Option<&str>, seconds| {
        Ok(Some(rebuild::Open {
            from: from.map(|from| from.parse().unwrap()),
            left: Duration::from_secs(seconds),
        }))
    };
    assert_eq!(open_now(), Ok(None));
    world.open("f1", Some("f2"), 60);
    assert_eq!(open_now(), open(Some("f2"), 3600));
    world.open("f1", None, 2);
    assert_eq!(open_now(), open(None, 120));
    sim.sleep(Duration::from_secs(119));
    assert_eq!(open_now(), open(None, 1));
    sim.sleep(Duration::from_secs(1));
    assert_eq!(open_now(), Ok(None));
    world.open("f1", None, 60);
    let boot = sim.boot_id.replace(None);
    assert!(open_now().is_err());
    *sim.boot_id.borrow_mut() = boot.map(|boot| format!("not {boot}"));
    assert_eq!(open_now(), Ok(None));
}
