//! No lock is held while this node waits for anything from outside: a table of every place that takes
//! one, and a question that falls silent behind each of its bytes. That no peer is asked under the lock
//! is held by the simulated peers of every test.

mod sim;

use f3skeys::config::Config;
use f3skeys::key::{Fingerprint, Key, keys_alive};
use f3skeys::marker;
use f3skeys::peers::{Ask, Question, VERSION};
use f3skeys::receive::{Refused, serve};
use f3skeys::store::state::{Generation, Standing};
use f3skeys::store::work::Merge;
use sim::{Sim, Stick, encrypted};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const OLD: [u8; 32] = [0xa1; 32];
const NEW: [u8; 32] = [0xb2; 32];

const F1: &str = r#"(
    node: "f1", store: (label: "K"),
    roots: [(dataset: "z/sink/f0", key: "f0:z", role: replica, required: true)],
    peers: [(name: "f0", ssh: "root@f0")],
)"#;

fn f1(name: &str) -> Sim {
    Sim::new(&format!("silent-{name}"))
        .with(vec![encrypted("z/sink/f0", "z/sink/f0")])
        .opened_by("z/sink/f0", OLD)
        .stick(Stick::new("/dev/da0", "K", "1").with_store(&[("f0:z", OLD)]))
}

/// A question that brings a key, with the key behind it.
fn question() -> Vec<u8> {
    let generation = |(number, (bytes, state)): (u32, ([u8; 32], Standing))| Generation {
        generation: number,
        fingerprint: Fingerprint::of(&bytes),
        state,
    };
    let list = [(OLD, Standing::Current), (NEW, Standing::Staged)];
    let merge = Merge {
        key: "f0:z".parse().unwrap(),
        list: (1..).zip(list).map(generation).collect(),
        bring: vec![Fingerprint::of(&NEW)],
        nonce: None,
    };
    let by = Key::take(|place| {
        place.copy_from_slice(&OLD);
        Ok(())
    });
    let put = sim::vouched("f1", &"00".repeat(16), "f0", merge, &by.unwrap());
    let question = Question {
        version: VERSION,
        from: "f0".parse().unwrap(),
        ask: Ask::Put(put),
    };
    let line = serde_json::to_vec(&question).unwrap();
    [&line[..], b"\n", &NEW].concat()
}

fn served(sim: &Sim, ours: UnixStream) -> Result<Vec<u8>, Refused> {
    let config = Config::parse(F1).unwrap();
    sim.verb(|node| serve(node, &config, &"f0".parse().unwrap(), Ok(ours)))
}

/// With the lock taken by another, a question that ends too early is refused for that, and not for the
/// lock: nobody has come as far as to ask for it.
#[test]
fn law_6_no_lock_is_asked_for_before_the_last_byte_of_a_question_is_there() {
    let sim = f1("every-byte");
    let lock = marker::try_lock(&sim.run()).unwrap();
    let whole = question();
    assert!(lock.is_some() && whole.len() > 500);
    for length in 0..=whole.len() {
        sim.gives_number("f0", "f0:z");
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(&whole[..length]).unwrap();
        drop(theirs);
        let refused = served(&sim, ours).unwrap_err();
        let wanted = if length == whole.len() { 75 } else { 65 };
        assert_eq!(refused.status, wanted, "{length}: {}", refused.what);
    }
    drop(lock);
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(&whole).unwrap();
    drop(theirs);
    sim.gives_number("f0", "f0:z");
    served(&sim, ours).unwrap();
    assert_eq!(keys_alive(), 0);
}

/// The connection stays open and says nothing more: refused within its time, and until then everybody
/// else has the lock whenever he asks.
#[test]
fn law_6_a_silent_connection_keeps_the_lock_from_nobody() {
    let whole = question();
    let line = whole.iter().position(|byte| *byte == b'\n').unwrap();
    let places = [
        0,
        1,
        line - 1,
        line,
        line + 1,
        line + 2,
        line + 32,
        whole.len(),
    ];
    let taken = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for place in places {
            let (said, taken) = (&whole[..place], &taken);
            scope.spawn(move || {
                let sim = f1(&format!("open-{place}"));
                sim.gives_number("f0", "f0:z");
                let run = sim.run();
                let (ours, mut theirs) = UnixStream::pair().unwrap();
                theirs.write_all(said).unwrap();
                let watcher = std::thread::spawn(move || watch(&run));
                let begun = Instant::now();
                let refused = served(&sim, ours).unwrap_err();
                assert_eq!(refused.status, 65, "{place}: {}", refused.what);
                assert!(begun.elapsed() < Duration::from_secs(30), "{place}");
                drop(theirs);
                taken.fetch_add(watcher.join().unwrap(), Ordering::Relaxed);
            });
        }
    });
    let taken = taken.load(Ordering::Relaxed);
    assert!(taken > 100, "the lock was tried {taken} times");
}

/// Takes the lock again and again for four seconds of the five that a question has.
fn watch(run: &Path) -> u32 {
    let begun = Instant::now();
    let mut taken = 0;
    while begun.elapsed() < Duration::from_secs(4) {
        // Another thread's worker may have the file open for an instant, until it has begun.
        let held = (0..100).find_map(|_| {
            std::thread::sleep(Duration::from_millis(1));
            marker::try_lock(run).unwrap()
        });
        assert!(held.is_some(), "{} is locked", run.display());
        taken += 1;
        std::thread::sleep(Duration::from_millis(40));
    }
    taken
}

/// Every place that takes a lock, how often, and what is read from outside while it is held. The lock is
/// the node's, where nothing else is said.
const TAKERS: [(&str, usize, &str); 21] = [
    ("adopt/mod.rs", 1, "nothing: the stick alone"),
    (
        "audit/log.rs",
        1,
        "nothing: the log's own lock, for its files",
    ),
    (
        "backup/receipts.rs",
        1,
        "nothing: the receipts' own lock, for one file",
    ),
    (
        "backup/stock.rs",
        1,
        "nothing: the stick; peers are asked after it is given back",
    ),
    (
        "boot.rs",
        2,
        "nothing: stick and pools; a key from standard input is read before",
    ),
    (
        "carp.rs",
        1,
        "nothing: the gate; its peers are asked before",
    ),
    ("doctor/facts.rs", 2, "nothing: stick and pools"),
    ("init.rs", 1, "nothing: the device that is formatted"),
    ("lock.rs", 1, "nothing: pools and services"),
    ("new_key.rs", 1, "nothing: the stick"),
    ("pass.rs", 1, "nothing: it is what the verbs call"),
    ("preview.rs", 1, "nothing: stick and pools"),
    ("promote.rs", 1, "nothing: pools"),
    ("ready.rs", 1, "nothing: pools; peers are not asked at boot"),
    (
        "receive/keys.rs",
        1,
        "nothing: the question is whole; the stick",
    ),
    (
        "receive/ledger.rs",
        1,
        "nothing: the peer's own lock, for one file",
    ),
    ("receive/rebuild.rs", 1, "nothing: one file"),
    (
        "reconcile.rs",
        1,
        "nothing: pools and services; peers are asked before",
    ),
    (
        "rehearse.rs",
        1,
        "nothing: stick and pools; given back before anybody is asked",
    ),
    (
        "rotate.rs",
        2,
        "nothing: stick and pools; it is given back while peers are asked, and all is looked at anew",
    ),
    ("verify.rs", 1, "nothing: stick and pools"),
];

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => sources(&path, found),
            false => found.push(path),
        }
    }
}

#[test]
fn every_place_that_takes_a_lock_is_known_with_what_it_reads_meanwhile() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&top, &mut files);
    let mut takers: Vec<(String, usize)> = Vec::new();
    for path in files {
        let name = path.strip_prefix(&top).unwrap().display().to_string();
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        let calls = ["marker::lock", "marker::try_lock", "pass.lock()"];
        // A type, a clock or a length of time takes nothing.
        let others = ["marker::lock_file;", "marker::locked"];
        let count = |words: &[&str]| {
            words
                .iter()
                .map(|word| text.matches(word).count())
                .sum::<usize>()
        };
        let count = count(&calls) - count(&others);
        if count > 0 {
            takers.push((name, count));
        }
    }
    takers.sort();
    let known: Vec<(String, usize)> = TAKERS
        .iter()
        .map(|(name, count, _)| ((*name).to_owned(), *count))
        .collect();
    assert_eq!(takers, known, "say of a new one what it reads from outside");
}
