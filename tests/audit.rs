//! What is written down of a store, by which verb, for whom, and what doctor finds in it.

mod hosts;
mod sim;

use f3skeys::audit::log::{BEGUN, Caller, Directory, HEAD, LARGEST, LOG, OLD, read, write};
use f3skeys::audit::{End, Entry, Event, LOCAL, What};
use f3skeys::config::Config;
use f3skeys::doctor::{check, facts::Facts};
use f3skeys::host::InitSystem::Rc;
use f3skeys::key::{Fingerprint, Key};
use f3skeys::names::{KeyName, NodeName};
use f3skeys::pass::Node;
use f3skeys::peers::{Ask, Put, Question, VERSION};
use f3skeys::receive::{Time, answer, rebuild, serve};
use f3skeys::report::{Finding, Severity};
use f3skeys::rotate::{self, prune};
use f3skeys::store::layout;
use f3skeys::store::state::{Generation, Standing};
use f3skeys::store::work::Merge;
use f3skeys::system::Machine;
use f3skeys::zfs::KeyStatus;
use f3skeys::{marker, new_key, verify};
use hosts::Tree;
use sim::{Sim, Stick, encrypted};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

const OWN: [u8; 32] = [0xa1; 32];
const OF_PEER: [u8; 32] = [0xb2; 32];
const NEW: [u8; 32] = [0xc3; 32];

fn config() -> Config {
    Config::parse(
        r#"(
        node: "f0", store: (label: "K"), min_copies: 0,
        roots: [(dataset: "y/enc", key: "f0:y", role: primary, required: true)],
        peers: [(name: "f1", ssh: "root@f1")],
    )"#,
    )
    .unwrap()
}

fn node(name: &str) -> Sim {
    let keys = [("f0:y", OWN), ("f1:z", OF_PEER)];
    Sim::new(&format!("audit-{name}"))
        .with(vec![encrypted("y/enc", "y/enc")])
        .opened_by("y/enc", OWN)
        .stick(Stick::new("/dev/da0", "K", "1").with_store(&keys))
}

/// What is written down of what persons do at this node.
const HERE: &str = "";
/// What is written down of what f1 asks for.
const F1: &str = "peers/f1";

fn log(sim: &Sim, of: &str) -> String {
    fs::read_to_string(sim.db().join(of).join(LOG)).unwrap_or_default()
}

fn entries(sim: &Sim, of: &str) -> Vec<Entry> {
    let parsed = |line: &str| Entry::parse(line.as_bytes()).unwrap();
    log(sim, of).lines().map(parsed).collect()
}

/// What was written down last: by which verb, for whom, and what.
fn newest(sim: &Sim, of: &str) -> (String, String, What) {
    let entry = entries(sim, of).pop().unwrap();
    (entry.verb, entry.by, entry.what)
}

fn did(sim: &Sim, of: &str) -> (String, String, Vec<String>) {
    match newest(sim, of) {
        (verb, by, What::Did(did)) => (verb, by, did),
        other => panic!("{other:?}"),
    }
}

fn name(text: &str) -> KeyName {
    text.parse().unwrap()
}

fn repair(sim: &Sim) -> verify::Verification {
    let options = verify::Options {
        pools: false,
        repair: true,
    };
    sim.verb(|node| verify::verify(node, &config(), options))
}

/// One more key of the peer, in its first generation.
fn list_of(key: &str) -> Ask {
    let merge = Merge {
        key: name(key),
        list: vec![Generation {
            generation: 1,
            fingerprint: Fingerprint::of(&NEW),
            state: Standing::Current,
        }],
        bring: vec![Fingerprint::of(&NEW)],
        nonce: None,
    };
    let vouched = None;
    Ask::Put(Put { merge, vouched })
}

/// Hands over a key as f1 does, past the reading of the question.
fn put(sim: &Sim, key: &str) -> bool {
    let (ask, from) = (list_of(key), "f1".parse().unwrap());
    let brought = sim::brought(&ask, &NEW).unwrap();
    let told = sim.verb(|node| answer(node, &config(), &from, ask, brought, Time::begin(sim)));
    told.is_ok()
}

fn ask(sim: &Sim, from: &str, what: Ask) -> bool {
    let question = Question {
        version: VERSION,
        from: from.parse().unwrap(),
        ask: what,
    };
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let line = match &question.ask {
        Ask::Put(_) => {
            let fill = |place: &mut [u8; 32]| {
                place.copy_from_slice(&NEW);
                Ok(())
            };
            question.line(&[&Key::take(fill).unwrap()])
        }
        _ => question.line(&[]),
    };
    theirs.write_all(&line.unwrap()).unwrap();
    if question.ask.brings_keys() {
        theirs.write_all(&NEW).unwrap();
    }
    drop(theirs);
    let f1 = "f1".parse().unwrap();
    sim.verb(|node| serve(node, &config(), &f1, Ok(ours)))
        .is_ok()
}

#[test]
fn each_change_is_written_down_with_who_asked_for_it() {
    let sim = node("changes");
    let local = |verb: &str| (verb.to_owned(), LOCAL.to_owned());
    let made = sim.verb(|node| new_key::new_key(node, &config(), &name("f0:more"), None));
    assert_eq!(made.report.status, 0, "{:?}", made.report);
    let (verb, by, changes) = did(&sim, HERE);
    assert_eq!((verb, by), local("new-key"));
    let prefix = sim.sticks.borrow()[0].files.keys().find_map(|path| {
        let name = path.strip_prefix(".f3skeys/f0:more/1-")?;
        Some(name[..8].to_owned())
    });
    let wrote = format!("wrote .f3skeys/f0:more/1-{}.key", prefix.unwrap());
    assert!(changes.contains(&wrote), "{changes:?}");
    assert_eq!(entries(&sim, HERE)[0].store, Some("00".repeat(16)));

    sim.sticks.borrow_mut()[0].files.remove("f0:y.key");
    assert_eq!(repair(&sim).status, 0);
    let (verb, by, changes) = did(&sim, HERE);
    assert_eq!((verb, by), local("verify"));
    assert_eq!(changes, ["wrote f0:y.key"]);

    assert!(put(&sim, "f1:more"));
    let (verb, by, changes) = did(&sim, F1);
    assert_eq!((verb.as_str(), by.as_str()), ("receive", "f1"));
    let print = Fingerprint::of(&NEW);
    let wrote = format!("wrote .f3skeys/f1:more/1-{print}.key");
    assert!(changes.contains(&wrote), "{changes:?}");

    // Nothing to do is nothing to write.
    let before = [log(&sim, HERE), log(&sim, F1)];
    assert_eq!(repair(&sim).status, 0);
    assert!(put(&sim, "f1:more"));
    assert_eq!([log(&sim, HERE), log(&sim, F1)], before);
    let numbers = |of| {
        entries(&sim, of)
            .iter()
            .map(|entry| entry.number)
            .collect::<Vec<_>>()
    };
    assert_eq!((numbers(HERE), numbers(F1)), (vec![1, 2], vec![1]));
}

#[test]
fn a_rotation_writes_down_each_of_its_steps_on_the_store() {
    let sim = node("rotation");
    sim.change("y/enc", |root| root.key_status = KeyStatus::Available);
    let mut alone = config();
    alone.peers.clear();
    let rotate = |what| sim.verb(|node| rotate::rotate(node, &alone, &name("f0:y"), what, &|_| {}));
    let start = rotate::What::Start {
        take_over: false,
        copies: None,
    };
    let rotated = rotate(start).report;
    assert_eq!(rotated.status, 0, "{rotated:?}");
    assert_eq!(
        rotate(rotate::What::Retire { copies: None }).report.status,
        0
    );
    let old = Fingerprint::of(&OWN).hex();
    let pruned = sim.verb(|node: Node| {
        prune::prune(node, &alone, &name("f0:y"), Some(&old[..8]), &|_| {}).report
    });
    assert_eq!(pruned.status, 0, "{pruned:?}");
    let verbs: Vec<String> = entries(&sim, HERE)
        .into_iter()
        .map(|entry| entry.verb)
        .collect();
    assert_eq!(verbs, ["rotate", "rotate", "rotate", "prune"]);
    let removed = format!("removed .f3skeys/f0:y/1-{}.key", &old[..8]);
    assert!(
        did(&sim, HERE).2.contains(&removed),
        "{:?}",
        did(&sim, HERE)
    );
}

#[test]
fn law_2_it_holds_no_key_and_no_whole_fingerprint() {
    let sim = node("secrets");
    assert!(put(&sim, "f1:more"));
    let changed: Vec<u8> = vec![0; 32];
    sim.sticks.borrow_mut()[0]
        .files
        .insert("f0:y.key".to_owned(), changed);
    assert_eq!(repair(&sim).status, 0);
    assert!(!ask(&sim, "f1", list_of("f0:y")));
    assert_eq!((entries(&sim, HERE).len(), entries(&sim, F1).len()), (1, 2));
    let text = log(&sim, HERE) + &log(&sim, F1);
    for bytes in [OWN, OF_PEER, NEW] {
        assert!(!text.contains(&Fingerprint::of(&bytes).hex()));
        let hex: String = bytes[..4]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert!(!text.contains(&hex));
        assert!(
            !text
                .as_bytes()
                .windows(4)
                .any(|window| window == &bytes[..4])
        );
    }
    assert!(text.contains(&Fingerprint::of(&NEW).to_string()));
}

#[test]
fn every_put_that_is_refused_is_written_down_and_no_question_is() {
    let sim = node("refused");
    let before = sim.sticks.borrow()[0].files.clone();
    for (from, key, words) in [
        ("f1", "f0:y", "f0:y is a key of f0, and f1 asks"),
        ("f1", "f2:y", "f2:y is a key of f2, and f1 asks"),
        ("f2", "f2:y", "the key belongs to f1, and f2 asks"),
    ] {
        assert!(!ask(&sim, from, list_of(key)));
        let (verb, by, what) = newest(&sim, F1);
        assert_eq!((verb.as_str(), by.as_str()), ("receive", "f1"));
        assert!(
            matches!(&what, What::Refused(why) if why.starts_with(words)),
            "{what:?}"
        );
    }
    // Another first generation of a key that is known, and nothing that vouches for it.
    assert!(!put(&sim, "f1:z"));
    let (_, by, what) = newest(&sim, F1);
    assert_eq!(by, "f1");
    assert!(matches!(what, What::Refused(_)), "{what:?}");
    assert_eq!(sim.sticks.borrow()[0].files, before);
    let written = log(&sim, F1);
    for question in [
        Ask::Replicas(vec!["y/enc".parse().unwrap()]),
        Ask::Replicas(Vec::new()),
    ] {
        assert!(!ask(&sim, "f1", question));
    }
    assert_eq!(log(&sim, F1), written);
    assert_eq!(
        log(&sim, HERE),
        "",
        "nothing that a peer does is in the log of persons"
    );
}

#[test]
fn a_log_that_cannot_be_written_is_a_warning_and_stops_nothing() {
    let sim = node("unwritable");
    fs::create_dir_all(sim.db().join(LOG)).unwrap();
    let made = sim.verb(|node| new_key::new_key(node, &config(), &name("f0:more"), None));
    assert_eq!(made.report.status, 0);
    let [warning] = &made.report.findings[..] else {
        panic!("{:?}", made.report.findings);
    };
    assert_eq!(warning.severity, Severity::Warning);
    assert!(warning.what.contains("not in the audit log"), "{warning:?}");
    let path = layout::top_path(&name("f0:more"));
    assert!(sim.sticks.borrow()[0].files.contains_key(&path));
    // A peer's log is another.
    assert!(put(&sim, "f1:more"));
}

#[test]
fn a_change_of_a_peer_that_cannot_be_written_down_is_not_made() {
    type Harm = fn(&Sim);
    let table: [Harm; 4] = [
        |sim| fs::write(sim.db().join("peers"), "").unwrap(),
        |sim| {
            fs::create_dir_all(sim.db().join("peers")).unwrap();
            fs::write(sim.db().join(F1), "").unwrap();
        },
        // The note of a change cannot be put in place.
        |sim| fs::create_dir_all(sim.db().join(F1).join(BEGUN)).unwrap(),
        |sim| {
            let changes = sim.db().join(F1).join("changes.json");
            fs::create_dir_all(changes).unwrap();
        },
    ];
    for (number, harm) in table.into_iter().enumerate() {
        let sim = node(&format!("unlogged-{number}"));
        fs::create_dir_all(sim.db()).unwrap();
        harm(&sim);
        let before = sim.sticks.borrow()[0].files.clone();
        assert!(!put(&sim, "f1:more"), "{number}");
        assert_eq!(sim.sticks.borrow()[0].files, before, "{number}");
    }
}

#[test]
fn a_peer_changes_so_much_a_day_and_pushes_nothing_of_others_out() {
    let sim = node("budget");
    let made = sim.verb(|node| new_key::new_key(node, &config(), &name("f0:more"), None));
    assert_eq!(made.report.status, 0);
    let of_persons = log(&sim, HERE);
    // A change, and the way back: as often as it may.
    let start = sim.sticks.borrow()[0].files.clone();
    let change = |expected: bool, case: &str| {
        sim.sticks.borrow_mut()[0].files.clone_from(&start);
        let _ = fs::remove_dir_all(sim.run().join("asked"));
        assert_eq!(put(&sim, "f1:more"), expected, "{case}");
        let is_changed = sim.sticks.borrow()[0].files != start;
        assert_eq!(is_changed, expected, "{case}");
    };
    for n in 0..128 {
        change(true, &n.to_string());
    }
    change(false, "one too many");
    let (_, _, what) = newest(&sim, F1);
    assert!(
        matches!(&what, What::Refused(why) if why.contains("128 times in a row")),
        "{what:?}"
    );
    // What it took so far is less than a minute.
    sim.wall.set(sim.wall.get() + 600);
    change(false, "too early");
    sim.wall.set(sim.wall.get() + 75);
    change(true, "one more after its time");
    change(false, "and no other");
    // What is there already is no change.
    let _ = fs::remove_dir_all(sim.run().join("asked"));
    sim.wall.set(sim.wall.get() + 675);
    change(true, "one more");
    sim.wall.set(sim.wall.get() + 675);
    for n in 0..3 {
        let _ = fs::remove_dir_all(sim.run().join("asked"));
        assert!(put(&sim, "f1:more"), "{n}");
    }
    assert_eq!(log(&sim, HERE), of_persons);
}

/// A file that a crash or a person has left behind does not lock a peer out for good.
#[test]
fn a_count_of_changes_that_cannot_be_read_begins_with_none_left() {
    for (number, text) in ["", "{", "null", r#"{"left": -1, "since": 0}"#, "\0\0"]
        .into_iter()
        .enumerate()
    {
        let sim = node(&format!("odd-count-{number}"));
        fs::create_dir_all(sim.db().join(F1)).unwrap();
        fs::write(sim.db().join(F1).join("changes.json"), text).unwrap();
        let start = sim.sticks.borrow()[0].files.clone();
        assert!(!put(&sim, "f1:more"), "{text}");
        assert_eq!(sim.sticks.borrow()[0].files, start, "{text}");
        sim.wall.set(sim.wall.get() + 674);
        assert!(!put(&sim, "f1:more"), "{text}");
        sim.wall.set(sim.wall.get() + 1);
        assert!(put(&sim, "f1:more"), "{text}");
    }
}

#[test]
fn an_open_rebuild_is_counted_as_well() {
    let sim = node("counted");
    let opened = sim.verb(|node| rebuild::open(node, &config(), None, 60));
    opened.unwrap();
    let start = sim.sticks.borrow()[0].files.clone();
    let forget_questions = || drop(fs::remove_dir_all(sim.run().join("asked")));
    for n in 0..129 {
        sim.sticks.borrow_mut()[0].files.clone_from(&start);
        forget_questions();
        assert_eq!(put(&sim, "f9:more"), n < 128, "{n}");
    }
    assert_eq!(sim.sticks.borrow()[0].files, start);
    // What is there already is no change, as often as it comes.
    let sim = node("counted-same");
    sim.verb(|node| rebuild::open(node, &config(), None, 60))
        .unwrap();
    for n in 0..130 {
        let _ = fs::remove_dir_all(sim.run().join("asked"));
        assert!(put(&sim, "f9:more"), "{n}");
    }
    // Questions about keys of others are counted with those about its own.
    let _ = fs::remove_dir_all(sim.run().join("asked"));
    let about = |key: &str| {
        let nonce = "12".repeat(32).try_into().unwrap();
        let (ask, from) = (
            Ask::Key {
                key: name(key),
                nonce,
            },
            "f1".parse().unwrap(),
        );
        let told = sim.verb(|node| answer(node, &config(), &from, ask, None, Time::begin(&sim)));
        told.is_ok()
    };
    for n in 0..129 {
        assert_eq!(about("f9:more"), n < 128, "{n}");
    }
    assert!(!about("f1:z") && !put(&sim, "f9:other"));
}

#[test]
fn doctor_verifies_the_logs_of_peers_too() {
    let (sim, tree) = (node("doctor-peer"), Tree::of(Rc, "audit-doctor-peer"));
    for key in ["f1:a", "f1:b"] {
        assert!(put(&sim, key));
    }
    assert_eq!(found(&sim, &tree), []);
    let path = sim.db().join(F1).join(LOG);
    let good = log(&sim, F1);
    fs::write(&path, good.replacen("f1:a", "f1:x", 1)).unwrap();
    let subjects: Vec<String> = found(&sim, &tree)
        .iter()
        .map(|f| f.subject.to_string())
        .collect();
    assert_eq!(subjects, ["line 2 of peers/f1/audit.log"]);
    fs::write(&path, &good).unwrap();
    fs::write(sim.db().join(F1).join(BEGUN), "{}").unwrap();
    let subjects: Vec<String> = found(&sim, &tree)
        .iter()
        .map(|f| f.subject.to_string())
        .collect();
    assert_eq!(subjects, ["peers/f1/audit.begun"]);
}

/// What doctor says of the log.
fn found(sim: &Sim, tree: &Tree) -> Vec<Finding> {
    let host = tree.host();
    let config = config();
    let facts = sim.verb(|node| Facts::gather(node, &config, &host, Rc));
    let of_log = |finding: &Finding| finding.subject.contains("audit.");
    check(&config, &facts).into_iter().filter(of_log).collect()
}

#[test]
fn doctor_verifies_the_chain() {
    let (sim, tree) = (node("doctor"), Tree::of(Rc, "audit-doctor"));
    assert_eq!(found(&sim, &tree), []);
    for key in ["f0:a", "f0:b", "f0:c"] {
        let made = sim.verb(|node| new_key::new_key(node, &config(), &name(key), None));
        assert_eq!(made.report.status, 0);
    }
    assert_eq!(found(&sim, &tree), []);
    let (path, head) = (sim.db().join(LOG), sim.db().join(HEAD));
    let (good, good_head) = (log(&sim, HERE), fs::read(&head).unwrap());
    let only = |severity, subject: &str, words: &str| {
        let found = found(&sim, &tree);
        let [finding] = &found[..] else {
            panic!("{subject}: {words}: {found:#?}");
        };
        assert_eq!((finding.severity, &*finding.subject), (severity, subject));
        assert!(finding.what.contains(words), "{finding:?}");
    };
    fs::write(&path, good.replacen("f0:b", "f0:x", 1)).unwrap();
    only(Severity::Failure, "line 3 of audit.log", "does not follow");
    let lines: Vec<&str> = good.split_inclusive('\n').collect();
    fs::write(&path, lines[..2].concat()).unwrap();
    only(Severity::Warning, HEAD, "ends with entry 2, and 3");
    fs::write(&path, format!("{good}{{\"number\":4,")).unwrap();
    only(Severity::Note, "line 4 of audit.log", "was cut short");
    fs::write(&path, &good).unwrap();
    fs::write(&head, "{}").unwrap();
    only(Severity::Warning, HEAD, "the head cannot be read");
    fs::remove_file(&path).unwrap();
    fs::write(&head, &good_head).unwrap();
    only(Severity::Warning, HEAD, "no entry is left of 3");
    fs::create_dir(&path).unwrap();
    only(Severity::Failure, LOG, "cannot tell");
    fs::remove_dir(&path).unwrap();

    // A later change hides nothing.
    fs::write(&path, lines[..2].concat()).unwrap();
    let made = sim.verb(|node| new_key::new_key(node, &config(), &name("f0:d"), None));
    assert_eq!(made.report.status, 0);
    only(
        Severity::Warning,
        "line 3 of audit.log",
        "ends with entry 2, and 3",
    );
    // Put away together, it begins anew.
    fs::remove_file(&path).unwrap();
    fs::remove_file(&head).unwrap();
    assert_eq!(found(&sim, &tree), []);
}

/// Power is cut at every step of a change: whatever was made of it is in the log, or doctor says that
/// something may be missing, and the next change puts that into the log.
#[test]
fn a_change_that_was_cut_off_is_told_by_doctor_and_by_the_next_line() {
    let (mut cases, mut unlogged) = (0, 0);
    for torn in [true, false] {
        for step in 1.. {
            let (sim, tree) = (
                node(&format!("cut-{torn}-{step}")),
                Tree::of(Rc, &format!("audit-cut-{torn}-{step}")),
            );
            sim.torn.set(torn);
            let before = sim.sticks.borrow()[0].files.clone();
            let made = sim.dies_at(step, |node| {
                new_key::new_key(node, &config(), &name("f0:new"), None)
            });
            if made.is_some() {
                break;
            }
            cases += 1;
            let case = format!("step {step}, torn {torn}");
            let is_changed = sim.sticks.borrow()[0].files != before;
            let is_told = match &found(&sim, &tree)[..] {
                [] => false,
                [note] => {
                    assert_eq!((note.severity, &*note.subject), (Severity::Note, BEGUN));
                    assert!(note.what.contains("by `new-key`, for local, was cut off"));
                    assert!(note.what.contains("it may have been made"), "{note:?}");
                    true
                }
                more => panic!("{case}: {more:?}"),
            };
            assert!(is_told || !is_changed, "{case}: changed without a word");
            assert!(!log(&sim, HERE).contains("f0:new"), "{case}: claimed");
            unlogged += usize::from(is_changed);
            // The chain goes on, and says so.
            let again = sim.verb(|node| new_key::new_key(node, &config(), &name("f0:b"), None));
            assert_eq!(
                again.report.status,
                0,
                "{case}: {}",
                again.report.complaints()
            );
            assert_eq!(found(&sim, &tree), [], "{case}");
            let whats: Vec<What> = entries(&sim, HERE)
                .into_iter()
                .map(|entry| entry.what)
                .collect();
            let is_cut = |what: &What| matches!(what, What::Failed(why) if why.contains("cut off"));
            assert_eq!(
                whats.first().is_some_and(is_cut),
                is_told,
                "{case}: {whats:?}"
            );
            assert!(matches!(whats.last(), Some(What::Did(_))), "{case}");
        }
    }
    println!("{cases} cuts, {unlogged} of them with a changed store");
    assert!(cases > 20 && unlogged > 5, "{cases} {unlogged}");
    // While a run is at work its note is no finding.
    let (sim, tree) = (node("at-work"), Tree::of(Rc, "audit-at-work"));
    let died = sim.dies_at(8, |node| {
        new_key::new_key(node, &config(), &name("f0:new"), None)
    });
    assert!(died.is_none() && found(&sim, &tree).len() == 1);
    let lock = marker::try_lock(&sim.run()).unwrap();
    assert!(lock.is_some() && found(&sim, &tree).is_empty());
}

#[test]
fn writers_at_once_wait_for_one_another() {
    let (threads, each) = (4, 10);
    let home = node("at-once");
    let db = home.db();
    std::thread::scope(|scope| {
        for number in 0..threads {
            let db = &db;
            scope.spawn(move || {
                let (sim, machine) = (node(&format!("at-once-{number}")), Machine::new());
                let from: NodeName = "f1".parse().unwrap();
                sim.verb(|node| {
                    let system = &machine;
                    let node = Node { system, db, ..node };
                    for turn in 0..each {
                        let words = format!("{number}, {turn}");
                        // On a slow disk the others may keep the lock for longer than one waits.
                        while Caller::peer(&from).refused(node, &words).is_some() {}
                    }
                });
            });
        }
    });
    let seen = read(&Directory(db.join(F1))).unwrap().unwrap();
    assert_eq!((seen.chain.broken, seen.end), (None, End::Fits));
    let written = entries(&home, F1);
    let words: BTreeSet<String> = written.iter().map(|e| format!("{:?}", e.what)).collect();
    assert_eq!(
        (written.len(), words.len()),
        (threads * each, threads * each)
    );
}

#[test]
fn the_files_are_for_root_alone_and_a_full_one_is_put_aside() {
    let sim = node("full");
    fs::create_dir_all(sim.db()).unwrap();
    let mut files = Directory(sim.db());
    let event = |words: String| Event {
        verb: "rotate".to_owned(),
        by: LOCAL.to_owned(),
        store: None,
        what: What::Did(vec![words]),
    };
    for words in [
        "first".to_owned(),
        "x".repeat(LARGEST),
        "new file".to_owned(),
    ] {
        write(&mut files, event(words), 7).unwrap();
    }
    let seen = read(&files).unwrap().unwrap();
    assert_eq!((seen.chain.broken, &seen.end), (None, &End::Fits));
    assert_eq!(seen.place("", 3), "line 1 of audit.log");
    for (name, lines) in [(OLD, 2), (LOG, 1)] {
        let path = sim.db().join(name);
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), lines);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    // Nobody else's file is read or written through a link.
    let (path, elsewhere) = (sim.db().join(LOG), sim.db().join("elsewhere"));
    fs::rename(&path, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    assert!(read(&files).is_err());
    assert!(write(&mut files, event("more".to_owned()), 7).is_err());
}
