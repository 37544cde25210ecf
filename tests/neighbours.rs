//! What nodes tell one another about keys, and hand over: the whole way of the bytes, between two
//! simulated nodes, of which either may die at each of its steps.

mod sim;

use f3skeys::config::Config;
use f3skeys::key::{Fingerprint, Key, Nonce, keys_alive};
use f3skeys::marker;
use f3skeys::names::KeyName;
use f3skeys::os::PoolState;
use f3skeys::peers::{Ask, KEY_PATIENCE, KeyTold, Opens, Peers, Put, Question, Told, VERSION};
use f3skeys::receive::{Time, answer, serve};
use f3skeys::statement::Statement;
use f3skeys::store::state::{Generation, Standing};
use f3skeys::store::work::Merge;
use f3skeys::store::{self, Wanted, layout};
use f3skeys::time::{Clock, Deadline};
use f3skeys::trouble::Trouble;
use sim::medium::{Fault, Files};
use sim::{Sim, Stick, at, dataset, encrypted, reading};
use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use Standing::{Current, Retained, Staged};

const OLD: [u8; 32] = [0xa1; 32];
const NEW: [u8; 32] = [0xb2; 32];
const ROOT: &str = "z/sink/f0";

const F0: &str = r#"(
    node: "f0", store: (label: "K"),
    roots: [(dataset: "y/enc", key: "f0:zdata", role: primary, required: true)],
    peers: [(name: "f1", ssh: "root@f1")],
)"#;

const F1: &str = r#"(
    node: "f1", store: (label: "K"),
    roots: [
        (dataset: "z/sink/f0", key: "f0:zdata", role: replica, required: true),
        (dataset: "y/sink/more", key: "f0:zdata", role: replica, required: true),
        (dataset: "z/enc", key: "f1:zdata", role: primary, required: true),
    ],
    peers: [(name: "f0", ssh: "root@f0")],
)"#;

fn key_name() -> KeyName {
    "f0:zdata".parse().unwrap()
}

fn key(bytes: [u8; 32]) -> Key {
    let fill = |place: &mut [u8; 32]| {
        place.copy_from_slice(&bytes);
        io::Result::Ok(())
    };
    Key::take(fill).unwrap()
}

fn print(bytes: [u8; 32]) -> Fingerprint {
    Fingerprint::of(&bytes)
}

fn nonce() -> Nonce {
    let fill = |place: &mut [u8]| {
        place.fill(9);
        Ok(())
    };
    Nonce::random(fill).unwrap()
}

fn stick() -> Stick {
    let keys = [("f0:zdata", OLD), ("f1:zdata", [0x77; 32])];
    Stick::new("/dev/da0", "K", "1").with_store(&keys)
}

fn f1(name: &str) -> Sim {
    Sim::new(&format!("{name}-f1"))
        .with(vec![
            dataset("z"),
            at("/r", encrypted(ROOT, ROOT)),
            encrypted("z/sink/f0/child", ROOT),
            encrypted("z/sink/f0/own", "z/sink/f0/own"),
            encrypted("z/enc", "z/enc"),
            encrypted("y/sink/more", "y/sink/more"),
        ])
        .opened_by(ROOT, OLD)
        .opened_by("y/sink/more", OLD)
        .stick(stick())
}

/// f0 beside f1.
fn pair(name: &str) -> Sim {
    let f0 = Sim::new(&format!("{name}-f0")).stick(stick());
    f0.beside(f1(name), Config::parse(F1).unwrap())
}

fn files(sim: &Sim) -> Files {
    sim.sticks.borrow()[0].files.clone()
}

fn question(ask: Ask) -> Question {
    Question {
        version: VERSION,
        from: "f0".parse().unwrap(),
        ask,
    }
}

fn ask(f0: &Sim, what: Ask, keys: &[&Key]) -> Result<KeyTold, Trouble> {
    let peer = &Config::parse(F0).unwrap().peers[0];
    let deadline = Deadline::after(f0, KEY_PATIENCE);
    let reply = f0.ask(peer, &question(what), keys, deadline)?;
    match reply.answer {
        Told::Key(told) => Ok(told),
        Told::Replicas(other) => panic!("{other:?}"),
    }
}

fn about_key(f0: &Sim) -> Result<KeyTold, Trouble> {
    let key = key_name();
    ask(
        f0,
        Ask::Key {
            key,
            nonce: nonce(),
        },
        &[],
    )
}

fn list(of: &[([u8; 32], Standing)]) -> Vec<Generation> {
    let of = (1..).zip(of);
    of.map(|(generation, (bytes, state))| Generation {
        generation,
        fingerprint: print(*bytes),
        state: *state,
    })
    .collect()
}

fn merge(of: &[([u8; 32], Standing)], bring: &[[u8; 32]]) -> Merge {
    Merge {
        key: key_name(),
        list: list(of),
        bring: bring.iter().map(|bytes| print(*bytes)).collect(),
        nonce: Some(nonce()),
    }
}

/// A list as f0 vouches for it, with a generation that f1 holds whole.
fn vouched(f0: &Sim, merge: Merge) -> Result<Ask, Trouble> {
    let told = about_key(f0)?;
    let by = told.held.iter().filter(|held| held.whole);
    let vouched = by.min_by_key(|held| held.generation.state).and_then(|by| {
        let is_it = |bytes: &[u8; 32]| print(*bytes) == by.generation.fingerprint;
        let by = key([OLD, NEW].into_iter().find(is_it).unwrap());
        let statement = Statement {
            key: &merge.key,
            from: &"f0".parse().unwrap(),
            to: &"f1".parse().unwrap(),
            store: &told.store,
            challenge: told.challenge?,
            list: &merge.list,
        };
        Some(statement.vouched(&by).unwrap())
    });
    Ok(Ask::Put(Put { merge, vouched }))
}

fn unvouched(merge: Merge) -> Ask {
    let vouched = None;
    Ask::Put(Put { merge, vouched })
}

const STAGED: [([u8; 32], Standing); 2] = [(OLD, Current), (NEW, Staged)];
const COMMITTED: [([u8; 32], Standing); 2] = [(OLD, Retained), (NEW, Current)];

/// Hands the staged generation over.
fn put(f0: &Sim) -> Result<KeyTold, Trouble> {
    let list = vouched(f0, merge(&STAGED, &[NEW]))?;
    ask(f0, list, &[&key(NEW)])
}

/// Says that it is current now.
fn commit(f0: &Sim) -> Result<KeyTold, Trouble> {
    let list = vouched(f0, merge(&COMMITTED, &[]))?;
    ask(f0, list, &[])
}

/// The generations that are told as whole, each with its proof.
fn proven(told: &KeyTold) -> Vec<([u8; 32], Standing)> {
    let of = |held: &store::work::Held| {
        let is_it = |bytes: &[u8; 32]| print(*bytes) == held.generation.fingerprint;
        let bytes = [OLD, NEW].into_iter().find(is_it).unwrap();
        let proof = key(bytes).prove(&nonce(), "f1", &told.store);
        assert_eq!((held.whole, held.proof), (true, Some(proof)));
        (bytes, held.generation.state)
    };
    told.held.iter().map(of).collect()
}

fn opens(told: &KeyTold) -> Vec<&Opens> {
    told.roots.iter().map(|root| &root.opens).collect()
}

/// The fingerprints of the key that a boot of f1 tries.
fn tried(files: &Files) -> BTreeSet<Fingerprint> {
    let keyring = store::verify(Wanted::All, reading(files, Wanted::All)).unwrap();
    let generations = &keyring.keys[&key_name()].generations;
    generations.iter().map(|g| g.key.fingerprint()).collect()
}

#[test]
fn a_peer_tells_what_it_holds_with_proofs_and_what_opens_its_roots() {
    let f0 = pair("told");
    let neighbour = f0.neighbour("f1");
    let before = files(&neighbour.0);
    let told = about_key(&f0).unwrap();
    assert_eq!(told.store, "00".repeat(16));
    assert_eq!(proven(&told), [(OLD, Current)]);
    let by = Opens::By(print(OLD));
    assert_eq!(opens(&told), [&by, &by]);
    let names: Vec<&str> = told
        .roots
        .iter()
        .map(|root| root.dataset.as_str())
        .collect();
    assert_eq!(names, [ROOT, "y/sink/more"]);
    let inheriting: Vec<&str> = told.roots[0]
        .inheriting
        .iter()
        .map(|d| d.as_str())
        .collect();
    assert_eq!(inheriting, ["z/sink/f0/child"]);
    assert_eq!(told.roots[1].inheriting, []);
    assert!(told.sound);
    // A later generation on the store is tried as well, and its replica may be one ahead.
    put(&f0).unwrap();
    neighbour
        .0
        .wrapped
        .borrow_mut()
        .insert(ROOT.to_owned(), NEW);
    let told = about_key(&f0).unwrap();
    assert_eq!(proven(&told), STAGED);
    assert_eq!(opens(&told), [&Opens::By(print(NEW)), &by]);
    // Nothing but the store was changed, and that only by what was handed over.
    assert!(neighbour.0.trace.borrow().is_empty());
    for (path, bytes) in &before {
        let is_state = path == layout::STATE;
        assert!(is_state || files(&neighbour.0)[path] == *bytes, "{path}");
    }
    assert_eq!(keys_alive(), 0);
}

#[test]
fn opens_opens_not_and_could_not_ask_are_told_apart() {
    let cannot = |told: &KeyTold, words: &str| match &told.roots[0].opens {
        Opens::CouldNotAsk(why) => assert!(why.contains(words), "{why}\nnot {words}"),
        other => panic!("{words}: {other:?}"),
    };
    let world = |change: &dyn Fn(&Sim)| {
        let f0 = pair("apart");
        change(&f0.neighbour("f1").0);
        let told = about_key(&f0).unwrap();
        assert_eq!(proven(&told), [(OLD, Current)]);
        // One pool's fault is not the other's.
        assert_eq!(told.roots[1].opens, Opens::By(print(OLD)));
        told
    };
    let told = world(&|sim| {
        sim.wrapped.borrow_mut().insert(ROOT.to_owned(), NEW);
    });
    assert_eq!(told.roots[0].opens, Opens::NoKey);
    for (state, words) in [
        (PoolState::Suspended, "suspended"),
        (PoolState::NotImported, "not imported"),
        (PoolState::Unknown("odd".to_owned()), "odd"),
    ] {
        let state = &state;
        cannot(
            &world(&|sim| {
                drop(
                    sim.states
                        .borrow_mut()
                        .insert("z".to_owned(), state.clone()),
                )
            }),
            words,
        );
    }
    cannot(
        &world(&|sim| sim.hanging.borrow_mut().push("z".to_owned())),
        "given up",
    );
    cannot(
        &world(&|sim| sim.unlisted.borrow_mut().push("z".to_owned())),
        "out of memory",
    );
    let gone = |sim: &Sim| {
        sim.datasets
            .borrow_mut()
            .retain(|d| d.name.as_str() != ROOT)
    };
    cannot(&world(&gone), "there is no z/sink/f0");
    for name in [ROOT, "z/sink/f0/x"] {
        let odd = |sim: &Sim| sim.not_understood(name, ROOT);
        cannot(&world(&odd), "not understood");
    }
    let inherits = |sim: &Sim| {
        sim.change(ROOT, |d| {
            d.encryption_root = Some("z/sink".parse().unwrap())
        });
    };
    cannot(&world(&inherits), "inherits its key from z/sink");
    cannot(
        &world(&|sim| sim.change(ROOT, |d| d.encryption_root = None)),
        "not encrypted",
    );
}

/// f1 with twenty more roots of that key.
fn f1_with_many(name: &str) -> (Sim, Config) {
    let names: Vec<String> = (0..20).map(|n| format!("z/r{n}")).collect();
    let root = |name: &String| {
        format!("(dataset: \"{name}\", key: \"f0:zdata\", role: replica, required: true),")
    };
    let roots: String = names.iter().map(root).collect();
    let config = F1.replace("roots: [", &format!("roots: [{roots}"));
    let sim = f1(name);
    let more = names.iter().map(|name| encrypted(name, name));
    (sim.with(more.collect()), Config::parse(&config).unwrap())
}

#[test]
fn law_6_a_pool_that_hangs_is_not_asked_again_and_the_answer_comes_in_time() {
    let at_once: fn(&Sim) = |sim| sim.hanging.borrow_mut().push("z".to_owned());
    // After it was looked at, while its first root is asked about.
    let later: fn(&Sim) = |sim| {
        let hang = |sim: &Sim, _| {
            if sim.zfs_calls.get() == 1 {
                sim.hanging.borrow_mut().push("z".to_owned());
            }
        };
        *sim.meanwhile.borrow_mut() = Some(Rc::new(hang));
    };
    // At once: about the whole pool, and about this node's own part, since the replicas could be what hangs.
    for (hang, in_vain) in [(at_once, 2), (later, 1)] {
        let (sim, config) = f1_with_many("hang");
        hang(&sim);
        let f0 = Sim::new("hang-f0").beside(sim, config);
        let told = about_key(&f0).unwrap();
        let neighbour = f0.neighbour("f1");
        assert_eq!(neighbour.0.asked_in_vain.get(), in_vain);
        let (mut open, mut unknown) = (0, 0);
        for root in told.roots {
            match root.opens {
                Opens::By(_) => open += 1,
                Opens::CouldNotAsk(_) => unknown += 1,
                Opens::NoKey => panic!("{}", root.dataset),
            }
        }
        assert_eq!((open, unknown), (1, 21));
        assert!(neighbour.0.now() < KEY_PATIENCE);
    }
}

#[test]
fn what_is_handed_over_is_on_the_store_proven_and_handing_it_over_again_changes_nothing() {
    let f0 = pair("put");
    let neighbour = f0.neighbour("f1");
    let told = put(&f0).unwrap();
    assert_eq!((proven(&told), told.roots.len()), (STAGED.to_vec(), 0));
    let path = layout::generation_path(&key_name(), 2, print(NEW));
    assert_eq!(files(&neighbour.0)[&path], NEW);
    let before = files(&neighbour.0);
    let again = put(&f0).unwrap();
    assert_ne!(again.challenge, told.challenge, "a number is given once");
    assert_eq!(
        KeyTold {
            challenge: told.challenge,
            ..again
        },
        told
    );
    assert_eq!(files(&neighbour.0), before);
    let told = commit(&f0).unwrap();
    assert_eq!(proven(&told), COMMITTED);
    assert_eq!(files(&neighbour.0)[&layout::top_path(&key_name())], NEW);
    assert_eq!(keys_alive(), 0);
}

#[test]
fn law_2_no_answer_holds_a_key_byte() {
    let f0 = pair("bytes");
    put(&f0).unwrap();
    let neighbour = f0.neighbour("f1");
    let (sim, config) = &*neighbour;
    for what in [
        Ask::Key {
            key: key_name(),
            nonce: nonce(),
        },
        vouched(&f0, merge(&COMMITTED, &[])).unwrap(),
    ] {
        let line = sim
            .verb(|node| {
                let from = "f0".parse().unwrap();
                answer(node, config, &from, what, None, Time::begin(sim))
            })
            .unwrap();
        let text = String::from_utf8(line).unwrap();
        for bytes in [OLD, NEW] {
            let hex = format!("{:02x}", bytes[0]).repeat(4);
            let decimal = format!("{0},{0},{0}", bytes[0]);
            assert!(
                !text.to_lowercase().contains(&hex) && !text.contains(&decimal),
                "{text}"
            );
        }
        assert!(text.contains(&print(NEW).hex()), "it tells nothing");
    }
}

#[test]
fn a_store_that_is_not_to_be_had_is_told_in_words_and_nothing_is_written() {
    let world = |change: &dyn Fn(&mut Stick), words: &str| {
        let f0 = pair("words");
        let neighbour = f0.neighbour("f1");
        change(&mut neighbour.0.sticks.borrow_mut()[0]);
        let before = files(&neighbour.0);
        for told in [about_key(&f0), put(&f0)] {
            let why = told.unwrap_err().to_string();
            assert!(why.contains(words), "{why}\nnot {words}");
        }
        assert_eq!(files(&neighbour.0), before);
    };
    let absent = |stick: &mut Stick| stick.candidate.filesystems[0].label = Some("X".to_owned());
    world(
        &absent,
        "ssh exits with 66: f3skeys: key device K: not there",
    );
    world(
        &|stick| stick.broken = Some("Input/output error".to_owned()),
        "with 69: f3skeys: ",
    );
    let newer = |stick: &mut Stick| {
        let body = "(format: 2)\n";
        let sum = blake3::hash(body.as_bytes()).to_hex();
        let state = format!("// checksum {sum}\n{body}").into_bytes();
        stick.files.insert(layout::STATE.to_owned(), state);
    };
    world(&newer, "format 2");
    // Another run has the lock for longer than is waited.
    let f0 = pair("busy");
    let neighbour = f0.neighbour("f1");
    let lock = marker::try_lock(&neighbour.0.run()).unwrap().unwrap();
    for told in [about_key(&f0), put(&f0)] {
        let why = told.unwrap_err().to_string();
        assert!(why.contains("exits with 75: f3skeys: another"), "{why}");
    }
    drop(lock);
    about_key(&f0).unwrap();
}

#[test]
fn a_store_without_a_whole_state_proves_nothing_and_takes_nothing() {
    let plain = Stick::new("/dev/da0", "K", "1").with_plain_store(&[("f0:zdata", OLD)]);
    let mut torn = stick();
    torn.files.get_mut(layout::STATE).unwrap().truncate(80);
    for (stick, held, words) in [(plain, 0, "plain store"), (torn, 1, "verify --repair")] {
        let f0 = pair("stateless");
        let neighbour = f0.neighbour("f1");
        *neighbour.0.sticks.borrow_mut() = vec![stick];
        let before = files(&neighbour.0);
        let told = about_key(&f0).unwrap();
        assert_eq!((told.store.as_str(), told.held.len()), ("", held));
        assert!(told.held.iter().all(|held| held.proof.is_none()));
        // What opens its roots is told all the same.
        assert_eq!(told.roots[0].opens, Opens::By(print(OLD)));
        let why = put(&f0).unwrap_err().to_string();
        assert!(why.contains(words), "{why}");
        assert_eq!(files(&neighbour.0), before);
    }
}

#[test]
fn what_is_not_sound_is_told_and_the_same_list_mends_what_it_can() {
    let path = layout::generation_path(&key_name(), 2, print(NEW));
    let top = layout::top_path(&key_name());
    type Harm = fn(&mut Files, &str);
    let stale: Harm = |files, top| drop(files.insert(top.to_owned(), OLD.to_vec()));
    let short: Harm = |files, path| files.get_mut(path).unwrap().truncate(5);
    let gone: Harm = |files, path| drop(files.remove(path));
    for (harm, path) in [
        (stale, &top),
        (short, &top),
        (gone, &top),
        (short, &path),
        (gone, &path),
    ] {
        let f0 = pair("sound");
        put(&f0).unwrap();
        assert!(commit(&f0).unwrap().sound);
        let neighbour = f0.neighbour("f1");
        harm(&mut neighbour.0.sticks.borrow_mut()[0].files, path);
        assert!(!about_key(&f0).unwrap().sound, "{path}");
        assert!(commit(&f0).unwrap().sound, "{path}");
        assert!(about_key(&f0).unwrap().sound, "{path}");
    }
}

#[test]
fn a_list_that_the_peer_must_not_take_is_refused_there() {
    let f0 = pair("refused");
    put(&f0).unwrap();
    commit(&f0).unwrap();
    let neighbour = f0.neighbour("f1");
    let before = files(&neighbour.0);
    for (of, words) in [
        (&STAGED[..], "generation 2 is current here"),
        (&[(OLD, Current)][..], "lacks generation 2"),
        (
            &[(OLD, Retained), (NEW, Retained)][..],
            "no generation on the list is current",
        ),
    ] {
        let why = ask(&f0, vouched(&f0, merge(of, &[])).unwrap(), &[])
            .unwrap_err()
            .to_string();
        assert!(why.contains(words), "{why}\nnot {words}");
    }
    assert_eq!(files(&neighbour.0), before);
}

#[test]
fn keys_that_the_question_does_not_name_never_leave_the_node() {
    let f0 = pair("unnamed");
    let (old, new) = (key(OLD), key(NEW));
    let about = || Ask::Key {
        key: key_name(),
        nonce: nonce(),
    };
    let handing = |bring: &[[u8; 32]]| unvouched(merge(&STAGED, bring));
    let before = files(&f0.neighbour("f1").0);
    for (what, keys) in [
        (about(), vec![&old]),
        (handing(&[]), vec![&new]),
        (handing(&[NEW]), vec![]),
        (handing(&[NEW]), vec![&old]),
        (handing(&[NEW]), vec![&new, &old]),
        (handing(&[OLD, NEW]), vec![&new, &old]),
    ] {
        let why = ask(&f0, what, &keys).unwrap_err().to_string();
        assert!(why.contains("not those that the question names"), "{why}");
    }
    assert_eq!(files(&f0.neighbour("f1").0), before);
}

#[test]
fn bytes_that_are_short_or_more_or_others_leave_the_store_as_it_was() {
    let sim = f1("incoming");
    let config = Config::parse(F1).unwrap();
    let before = files(&sim);
    let two = [OLD, NEW].concat();
    let mut cases: Vec<Vec<u8>> = (0..two.len()).map(|n| two[..n].to_vec()).collect();
    cases.push([&two[..], b"\n"].concat());
    cases.push([NEW, OLD].concat());
    cases.extend((0..two.len()).map(|n| {
        let mut flipped = two.clone();
        flipped[n] ^= 1;
        flipped
    }));
    let store = "00".repeat(16);
    let list = || sim::vouched("f1", &store, "f0", merge(&STAGED, &[OLD, NEW]), &key(OLD));
    let line = serde_json::to_vec(&question(Ask::Put(list()))).unwrap();
    let handed = |bytes: Vec<u8>| {
        sim.gives_number("f0", "f0:zdata");
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs
            .write_all(&[&line[..], b"\n", &bytes].concat())
            .unwrap();
        drop(theirs);
        sim.verb(|node| serve(node, &config, &"f0".parse().unwrap(), Ok(ours)))
    };
    let count = cases.len();
    for bytes in cases {
        assert_eq!(handed(bytes).unwrap_err().status, 65);
        assert_eq!(files(&sim), before);
    }
    assert!(handed(two).is_ok());
    assert_ne!(files(&sim), before);
    println!("{count} wrong inputs");
}

#[test]
fn a_question_ends_where_it_says_and_all_that_is_behind_it_is_read() {
    let sim = f1("serve");
    let config = Config::parse(F1).unwrap();
    let serve = |input: &[u8]| {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(input).unwrap();
        drop(theirs);
        let mut left = Vec::new();
        let input = ours.try_clone();
        let told = sim.verb(|node| serve(node, &config, &"f0".parse().unwrap(), input));
        (&ours).read_to_end(&mut left).unwrap();
        (told.map_err(|refused| refused.status), left)
    };
    let line = |ask, keys: &[&Key]| question(ask).line(keys).unwrap();
    let about = line(
        Ask::Key {
            key: key_name(),
            nonce: nonce(),
        },
        &[],
    );
    let without = line(unvouched(merge(&[(OLD, Current)], &[])), &[]);
    for good in [&about, &without] {
        assert!(serve(good).0.is_ok());
        assert!(
            serve(&good[..good.len() - 1]).0.is_ok(),
            "the end ends it as well"
        );
        for more in [&b"\n"[..], b"{}", &OLD] {
            assert_eq!(serve(&[good, more].concat()).0, Err(65));
        }
    }
    sim.gives_number("f0", "f0:zdata");
    let list = sim::vouched(
        "f1",
        &"00".repeat(16),
        "f0",
        merge(&STAGED, &[NEW]),
        &key(OLD),
    );
    let with = line(Ask::Put(list), &[&key(NEW)]);
    let (told, left) = serve(&[&with[..], &NEW].concat());
    assert!(told.is_ok() && left.is_empty(), "{told:?} {left:?}");
    let path = layout::generation_path(&key_name(), 2, print(NEW));
    assert_eq!(files(&sim)[&path], NEW);
}

/// How far f1 may have come: what its store lists is one of these.
fn assert_f1(sim: &Sim, possible: &[&[([u8; 32], Standing)]], case: &str) {
    let files = files(sim);
    assert!(
        tried(&files).contains(&print(OLD)),
        "{case}: lost the old key"
    );
    let state = store::state::State::parse(&files[layout::STATE]).unwrap();
    let listed = &state.keys[&key_name()];
    assert!(
        possible.iter().any(|of| list(of) == *listed),
        "{case}: {listed:?}"
    );
    for generation in listed {
        assert!(tried(&files).contains(&generation.fingerprint), "{case}");
    }
}

#[test]
fn law_7_either_side_dies_at_every_step_and_the_same_once_more_finishes() {
    let before: &[([u8; 32], Standing)] = &[(OLD, Current)];
    let possible = [before, &STAGED, &COMMITTED];
    let story = |f0: &Sim| put(f0).and_then(|_| commit(f0));
    let mut cases = 0;
    for at_peer in [true, false] {
        for torn in [true, false] {
            let mut step = 1;
            loop {
                let case = format!("step {step}, at the peer {at_peer}, torn {torn}");
                let f0 = pair("dies");
                let f1 = f0.neighbour("f1");
                f1.0.torn.set(torn);
                let told = if at_peer {
                    f1.0.die_at.set(Some(step));
                    Some(story(&f0))
                } else {
                    f0.dies_at(step, |_| story(&f0))
                };
                let died = matches!(&told, None | Some(Err(_)));
                if let Some(Err(trouble)) = &told {
                    assert!(trouble.to_string().contains("connection closed"), "{case}");
                }
                assert_f1(&f1.0, &possible, &case);
                assert_eq!(keys_alive(), 0, "{case}");
                f1.0.die_at.set(None);
                // Refused where it was committed already.
                let _ = put(&f0);
                let told = commit(&f0).unwrap();
                assert_eq!(
                    (proven(&told), told.sound),
                    (COMMITTED.to_vec(), true),
                    "{case}"
                );
                assert_f1(&f1.0, &[&COMMITTED], &case);
                if !died {
                    break;
                }
                cases += 1;
                step += 1;
            }
        }
    }
    println!("{cases} deaths");
    assert!(cases > 40, "{cases}");
}

#[test]
fn law_7_the_peers_stick_fills_up_or_is_pulled_at_every_step() {
    let mut cases = 0;
    for step in 0..40 {
        for fault in [Fault::FullAt(step), Fault::GoneFrom(step)] {
            let f0 = pair("fault");
            let f1 = f0.neighbour("f1");
            f1.0.sticks.borrow_mut()[0].fault = Some(fault);
            let told = put(&f0);
            cases += usize::from(told.is_err());
            assert_f1(&f1.0, &[&[(OLD, Current)], &STAGED], &format!("{fault:?}"));
            assert_eq!(proven(&put(&f0).unwrap()), STAGED, "{fault:?}");
        }
    }
    println!("{cases} failures of the stick");
    assert!(cases > 10);
}

#[test]
fn a_peer_that_is_away_or_too_slow_is_no_answer() {
    let f0 = pair("away");
    f0.away.borrow_mut().push("f1".to_owned());
    assert!(put(&f0).unwrap_err().is_timeout());
    assert_eq!(files(&f0.neighbour("f1").0), stick().files);
    f0.away.borrow_mut().clear();
    // It does what it is asked, and the answer comes too late.
    let peer = &Config::parse(F0).unwrap().peers[0];
    let soon = Deadline::after(&f0, std::time::Duration::from_millis(1));
    let what = question(vouched(&f0, merge(&STAGED, &[NEW])).unwrap());
    let late = f0.ask(peer, &what, &[&key(NEW)], soon);
    assert!(late.unwrap_err().is_timeout());
    assert_eq!(proven(&about_key(&f0).unwrap()), STAGED);
}
