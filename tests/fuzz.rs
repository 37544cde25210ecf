//! A fuzzer over everything that is read of what others wrote: questions of peers first, with the
//! real code that answers them on a simulated node; then answers, what a process without rights
//! hands over, state files, configurations, superblocks, and the words of `zfs`.
//!
//! It needs no other compiler and no other program. It mutates valid messages, as bytes and as JSON,
//! by numbers that follow from a seed, so that every case can be had again. A short run is part of
//! `cargo test`; the long one is
//!
//!     F3SKEYS_FUZZ_SECONDS=600 cargo test --release --test fuzz -- --ignored --nocapture
//!
//! with that many seconds of processor time, and `F3SKEYS_FUZZ_SEED` for another seed.

// The allocator that counts.
#![allow(unsafe_code)]

mod sim;

use f3skeys::config::Config;
use f3skeys::flat;
use f3skeys::key::{Fingerprint, Nonce, keys_alive};
use f3skeys::names::KeyName;
use f3skeys::peers::{self, Ask, KEY_PATIENCE, Question, Reply, VERSION};
use f3skeys::receive::{Refused, Time, answer, rebuild, serve, understand};
use f3skeys::store::layout;
use f3skeys::store::state::{Generation, Standing, State};
use f3skeys::store::work::Merge;
use f3skeys::time::Clock;
use f3skeys::{device, zfs};
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::{Value, json};
use sim::medium::Files;
use sim::{Sim, Stick, dataset, encrypted};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs::File;
use std::io::{Seek, Write};

/// The most that answering may take of memory, in bytes.
const MOST_MEMORY: isize = 16 << 20;

/// Counts what each thread holds, and has held at most.
struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(change: isize) {
    // A thread that ends counts no more.
    let _ = LIVE.try_with(|live| {
        live.set(live.get() + change);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

// SAFETY: all is done by the system's allocator; only numbers are kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `job` held at most beyond what was held before.
fn memory_of<T>(job: impl FnOnce() -> T) -> (T, isize) {
    let before = LIVE.get();
    PEAK.set(before);
    let done = job();
    (done, PEAK.get() - before)
}

/// Numbers that follow from a seed (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`; zero for zero.
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % bound.max(1)
    }

    fn one_of<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// Words that a parser, a path or a terminal may stumble over.
fn words(random: &mut Random) -> String {
    let of = [
        "",
        ".",
        "..",
        "../f0:zdata",
        "f0:../../etc/passwd",
        "f0:zdata/",
        "/etc/f3skeys.ron",
        "-o",
        "f0:zdata\0",
        "f0:zdata.key",
        "F0:zdata",
        "f0 :zdata",
        "f1:zdata",
        "f0:zdata",
        "f0:",
        ":z",
        "f0",
        "f1",
        "f2",
        "z/sink/f0",
        "z/sink/f0/child",
        "z/enc",
        "z/sink/f0@x",
        "z/../z",
        "z//a",
        "current",
        "staged",
        "retained",
        "retired",
        "pruned",
        "unknown",
        "null",
        "true",
        "1e400",
        "\u{1b}[2J",
        "\r\n",
        "\u{feff}",
        "\u{202e}f0",
        "%s%n",
        "$(reboot)",
        "😀",
    ];
    match random.below(16) {
        0 => "a".repeat(random.below(100_000)),
        1 => "z/".repeat(random.below(300)),
        2 => "0".repeat(64),
        3 => "f0:".to_owned() + &"z".repeat(random.below(200)),
        4 => Fingerprint::of(random.one_of(&[OLD, NEW, OWN])).hex(),
        _ => (*random.one_of(&of)).to_owned(),
    }
}

fn number(random: &mut Random) -> Value {
    match random.below(8) {
        0 => json!(u64::MAX),
        1 => json!(i64::MIN),
        2 => json!(4_294_967_296u64),
        3 => json!(1e300),
        4 => json!(0.5),
        5 => json!(-1),
        _ => json!(random.below(4)),
    }
}

fn value(random: &mut Random) -> Value {
    match random.below(8) {
        0 => Value::Null,
        1 => json!(random.below(2) == 0),
        2 | 3 => number(random),
        4 => {
            let word = words(random);
            let times = random.below(600).min(200_000 / (word.len() + 1));
            Value::Array(vec![json!(word); times])
        }
        5 => json!({ words(random): number(random) }),
        _ => json!(words(random)),
    }
}

/// Another word of the same kind, so that a message is wrong in what it says alone.
fn alike(text: &str, random: &mut Random) -> String {
    let standings = ["current", "staged", "retained", "retired", "pruned"];
    match text {
        _ if standings.contains(&text) => (*random.one_of(&standings)).to_owned(),
        _ if text.len() == 64 => Fingerprint::of(random.one_of(&[OLD, NEW, OWN])).hex(),
        _ if text.contains(':') => {
            let keys = [
                "f0:zdata", "f0:other", "f1:zdata", "f1:other", "f2:zdata", "f2:other",
            ];
            (*random.one_of(&keys)).to_owned()
        }
        _ => (*random.one_of(&["f0", "f1", "f2", "z/sink/f0", "z/enc", "z"])).to_owned(),
    }
}

/// All that has nothing in it.
fn leaves(value_here: &mut Value) -> Vec<&mut Value> {
    match value_here {
        Value::Array(all) => all.iter_mut().flat_map(leaves).collect(),
        Value::Object(fields) => fields.values_mut().flat_map(leaves).collect(),
        leaf => vec![leaf],
    }
}

/// Changes one word or number of a message.
fn change_leaf(message: &mut Value, random: &mut Random) {
    let mut leaves = leaves(message);
    let place = random.below(leaves.len());
    if let Some(leaf) = leaves.get_mut(place) {
        **leaf = match leaf {
            Value::String(text) if random.below(4) > 0 => json!(alike(text, random)),
            Value::Number(_) if random.below(2) == 0 => json!(random.below(4)),
            _ => value(random),
        };
    }
}

/// Changes something somewhere in a message, which stays JSON.
fn change(value_here: &mut Value, random: &mut Random) {
    let is_leaf = match value_here {
        Value::Array(all) => all.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => true,
    };
    if is_leaf || random.below(6) == 0 {
        *value_here = value(random);
        return;
    }
    match value_here {
        Value::Array(all) => change_array(all, random),
        Value::Object(fields) => {
            let names: Vec<String> = fields.keys().cloned().collect();
            let name = random.one_of(&names).clone();
            match random.below(8) {
                0 => drop(fields.remove(&name)),
                1 => drop(fields.insert(words(random), value(random))),
                2 => {
                    let of = [
                        "replicas", "key", "put", "nonce", "list", "bring", "version",
                    ];
                    let moved = fields.remove(&name).unwrap_or_default();
                    fields.insert((*random.one_of(&of)).to_owned(), moved);
                }
                _ => change(fields.get_mut(&name).unwrap(), random),
            }
        }
        _ => {}
    }
}

fn change_array(all: &mut Vec<Value>, random: &mut Random) {
    let place = random.below(all.len());
    match random.below(8) {
        0 => drop(all.remove(place)),
        1 => all.push(all[place].clone()),
        2 => {
            let size = all[place].to_string().len();
            let times = random.below(300).min(200_000 / size);
            all.extend(vec![all[place].clone(); times]);
        }
        3 => all.reverse(),
        4 => all.push(value(random)),
        _ => change(&mut all[place], random),
    }
}

/// Changes bytes, wherever they are.
fn spoil(bytes: &mut Vec<u8>, random: &mut Random) {
    let place = random.below(bytes.len());
    let end = (place + random.below(64)).min(bytes.len());
    let some = |random: &mut Random, most: usize| -> Vec<u8> {
        let byte = *random.one_of(b"[{\"\\0-\xff\xc3\x00\n ");
        vec![byte; random.below(most)]
    };
    match random.below(12) {
        0 | 1 if !bytes.is_empty() => bytes[place] ^= 1 << random.below(8),
        2 if !bytes.is_empty() => bytes[place] = *random.one_of(b"\0\x7f\xff\n\"{}[],:0\\"),
        3 => bytes.truncate(place),
        4 => drop(bytes.drain(place..end)),
        5 => {
            let piece = bytes[place..end].to_vec();
            bytes.splice(place..place, piece.repeat(1 + random.below(20)));
        }
        6 => drop(bytes.splice(place..place, some(random, 8))),
        7 => drop(bytes.splice(place..place, some(random, 3000))),
        8 => drop(bytes.splice(place..place, b"{\"a\":[".repeat(random.below(2000)))),
        9 => drop(bytes.splice(place..place, words(random).into_bytes())),
        10 if random.below(40) == 0 => drop(bytes.splice(place..place, some(random, 300_000))),
        _ => bytes.extend(some(random, 70)),
    }
}

/// A message made from one of these: mutated as JSON where it is such, then as bytes.
fn mutated(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = random.one_of(corpus).clone();
    let line = bytes
        .iter()
        .position(|b| *b == b'\n')
        .unwrap_or(bytes.len());
    if random.below(3) > 0
        && let Ok(mut message) = serde_json::from_slice::<Value>(&bytes[..line])
    {
        for _ in 0..=random.below(3) {
            match random.below(2) {
                0 => change_leaf(&mut message, random),
                _ => change(&mut message, random),
            }
        }
        let changed = serde_json::to_vec(&message).unwrap();
        bytes.splice(..line, changed);
    }
    if random.below(3) == 0 {
        for _ in 0..=random.below(4) {
            spoil(&mut bytes, random);
        }
    }
    if random.below(30) == 0 {
        bytes.extend(random.one_of(corpus));
    }
    bytes
}

const OLD: [u8; 32] = [0xa1; 32];
const NEW: [u8; 32] = [0xb2; 32];
/// The receiver's own.
const OWN: [u8; 32] = [0x77; 32];

const F1: &str = r#"(
    node: "f1", store: (label: "K"),
    roots: [
        (dataset: "z/sink/f0", key: "f0:zdata", role: replica, required: true),
        (dataset: "z/enc", key: "f1:zdata", role: primary, required: true),
    ],
    peers: [(name: "f0", ssh: "root@f0"), (name: "f2", ssh: "root@f2")],
)"#;

fn f1() -> Sim {
    let keys = [("f0:zdata", OLD), ("f1:zdata", OWN), ("f2:zdata", OWN)];
    Sim::new("fuzz-f1")
        .with(vec![
            dataset("z"),
            encrypted("z/sink/f0", "z/sink/f0"),
            encrypted("z/sink/f0/child", "z/sink/f0"),
            encrypted("z/enc", "z/enc"),
        ])
        .opened_by("z/sink/f0", OLD)
        .stick(Stick::new("/dev/da0", "K", "1").with_store(&keys))
}

fn generation(number: u32, bytes: [u8; 32], state: Standing) -> Generation {
    Generation {
        generation: number,
        fingerprint: Fingerprint::of(&bytes),
        state,
    }
}

/// Every valid question, and some that only the rules keep out, with the keys behind them; and how
/// many are valid.
fn questions() -> (Vec<Vec<u8>>, usize) {
    use Standing::{Current, Retained, Staged};
    let nonce = Nonce::from([9; 32]);
    let put = |key: &str, states: &[Standing], bring: &[[u8; 32]], nonce| {
        let list = (1..).zip([OLD, NEW]).zip(states);
        let merge = Merge {
            key: key.parse().unwrap(),
            list: list
                .map(|((n, bytes), state)| generation(n, bytes, *state))
                .collect(),
            bring: bring.iter().map(Fingerprint::of).collect(),
            nonce,
        };
        (Ask::Put(merge), bring.concat())
    };
    let key: KeyName = "f0:zdata".parse().unwrap();
    let replicas = ["z/sink/f0", "z/sink/f0/child"].map(|name| name.parse().unwrap());
    let asks = [
        (Ask::Replicas(replicas[..1].to_vec()), Vec::new()),
        (Ask::Replicas(replicas.to_vec()), Vec::new()),
        (Ask::Key { key, nonce }, Vec::new()),
        put("f0:zdata", &[Current], &[], None),
        put("f0:zdata", &[Current, Staged], &[NEW], Some(nonce)),
        put("f0:zdata", &[Retained, Current], &[NEW], Some(nonce)),
        put("f0:zdata", &[Current, Staged], &[OLD, NEW], None),
        put("f0:other", &[Current], &[OLD], Some(nonce)),
        put("f1:other", &[Current], &[OLD], Some(nonce)),
        put("f2:other", &[Staged], &[OLD], None),
        put("f0:zdata", &[Staged], &[OLD], None),
    ];
    let valid = asks.len() - 3;
    let question = |(ask, keys): (Ask, Vec<u8>)| {
        let question = Question {
            version: VERSION,
            from: "f0".parse().unwrap(),
            ask,
        };
        [serde_json::to_vec(&question).unwrap(), b"\n".to_vec(), keys].concat()
    };
    (asks.into_iter().map(question).collect(), valid)
}

/// A node that is asked, again and again from the same start.
struct Target {
    sim: Sim,
    config: Config,
    before: Files,
    input: File,
}

fn files(sim: &Sim) -> Files {
    sim.sticks.borrow()[0].files.clone()
}

impl Target {
    fn new() -> Target {
        let sim = f1();
        let path = sim.directory.with_extension("question");
        let mut how = File::options();
        let input = how
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .unwrap();
        std::fs::remove_file(path).unwrap();
        Target {
            before: files(&sim),
            config: Config::parse(F1).unwrap(),
            sim,
            input,
        }
    }

    fn ready(&self, input: &[u8]) {
        self.sim.sticks.borrow_mut()[0].files = self.before.clone();
        let behind = input
            .iter()
            .position(|b| *b == b'\n')
            .map_or(input.len(), |at| at + 1);
        *self.sim.incoming.borrow_mut() = input[behind..].to_vec();
    }

    /// By way of the worker that reads it. All of the question is there at once, so only a machine
    /// that is busy elsewhere lets its time pass, and not again and again.
    fn served(&mut self, input: &[u8]) -> Result<Vec<u8>, Refused> {
        for _ in 0..20 {
            match self.served_once(input) {
                Err(refused) if refused.what == "the question does not end" => {}
                told => return told,
            }
        }
        panic!("it does not end");
    }

    /// As ssh's daemon starts it.
    fn served_once(&mut self, input: &[u8]) -> Result<Vec<u8>, Refused> {
        self.input.set_len(0).unwrap();
        self.input.rewind().unwrap();
        self.input.write_all(input).unwrap();
        self.input.rewind().unwrap();
        let (config, input) = (&self.config, self.input.try_clone());
        self.sim
            .verb(|node| serve(node, config, &"f0".parse().unwrap(), input))
    }

    /// The same in one process, which is much faster.
    fn understood(&self, input: &[u8]) -> Result<Vec<u8>, Refused> {
        let (from, config) = ("f0".parse().unwrap(), &self.config);
        self.sim.verb(|node| {
            let ask = understand(config, &from, input, &rebuild::admits(node, &from))?;
            answer(node, config, &from, ask, Time::begin(&self.sim))
        })
    }

    /// Whatever was asked: what may never be is not.
    fn judge(&self, input: &[u8], told: &Result<Vec<u8>, Refused>) {
        assert_eq!(keys_alive(), 0, "a key is left in memory");
        let after = files(&self.sim);
        match told {
            Err(Refused { status, what, .. }) => {
                // Neither a worker that died nor anything that the system refused.
                assert!([65, 69, 77].contains(status), "{status}: {what}");
                assert!(!what.chars().any(char::is_control), "{what:?}");
                assert!(what.len() < 2000, "{what}");
                assert!(after == self.before, "refused, and changed: {what}");
            }
            Ok(line) => {
                assert_no_key(line);
                if after != self.before {
                    self.judge_change(input, &after);
                }
            }
        }
    }

    /// Only an owner's own word changes anything, only of that key, and takes nothing away.
    fn judge_change(&self, input: &[u8], after: &Files) {
        let line = input.split(|b| *b == b'\n').next().unwrap();
        let question: Value = serde_json::from_slice(line).unwrap();
        let key = question["ask"]["put"]["key"].as_str().unwrap();
        assert_eq!(
            (&question["from"], key.split(':').next()),
            (&json!("f0"), Some("f0"))
        );
        let key: KeyName = key.parse().unwrap();
        let own = [layout::top_path(&key), layout::STATE.to_owned()];
        let folder = layout::generations(&key) + "/";
        for (path, bytes) in &self.before {
            let may_change = own.contains(path);
            assert!(
                may_change || after.get(path) == Some(bytes),
                "{path} has changed"
            );
        }
        for (path, bytes) in after {
            let is_own = own.contains(path) || path.starts_with(&folder);
            assert!(is_own || self.before.contains_key(path), "{path} is new");
            if path.ends_with(".key") {
                let known = [OLD, NEW, OWN].iter().any(|known| known[..] == **bytes);
                assert!(known, "{path} holds what nobody has sent");
            }
        }
        let state = |files: &Files| State::parse(&files[layout::STATE]).unwrap();
        let (mut before, mut now) = (state(&self.before), state(after));
        for known in before.keys.get(&key).into_iter().flatten() {
            let mut listed = now.keys[&key].iter();
            let is_it = |g: &&Generation| g.fingerprint == known.fingerprint;
            assert!(listed.any(|g| is_it(&g)), "{known:?} is forgotten");
            let mut listed = now.keys[&key].iter();
            assert!(
                listed.any(|g| g.state == Standing::Current),
                "none is current"
            );
        }
        for state in [&mut before, &mut now] {
            state.keys.remove(&key);
        }
        assert_eq!(before, now, "another key's generations have changed");
    }
}

/// No answer holds the bytes of a key, in any spelling.
fn assert_no_key(line: &[u8]) {
    for bytes in [OLD, NEW, OWN] {
        assert!(!line.windows(4).any(|some| some == &bytes[..4]));
        let text = String::from_utf8_lossy(line).to_lowercase();
        assert!(
            !text.contains(&format!("{:02x}", bytes[0]).repeat(4)),
            "{text}"
        );
        assert!(!text.contains(&format!("{0},{0},{0}", bytes[0])), "{text}");
    }
}

/// Seconds of processor time that this process and its workers have had.
fn processor_time() -> i64 {
    let of = |who| {
        let usage = getrusage(who).unwrap();
        usage.user_time().tv_sec() + usage.system_time().tv_sec()
    };
    of(UsageWho::RUSAGE_SELF) + of(UsageWho::RUSAGE_CHILDREN)
}

/// What was done, so that a run that does nothing is seen.
#[derive(Debug, Default)]
struct Done {
    cases: usize,
    served: usize,
    answered: usize,
    changed: usize,
    most_memory: isize,
}

/// One question in one way: answered or refused as it must be, in time and with little memory.
fn ask_once(target: &mut Target, input: &[u8], by_worker: bool, done: &mut Done) -> Option<u8> {
    target.ready(input);
    let begun = target.sim.now();
    let (told, memory) = memory_of(|| match by_worker {
        true => target.served(input),
        false => target.understood(input),
    });
    target.judge(input, &told);
    assert!(target.sim.now() - begun <= KEY_PATIENCE, "it took too long");
    assert!(memory <= MOST_MEMORY, "it took {memory} bytes");
    done.most_memory = done.most_memory.max(memory);
    done.answered += usize::from(told.is_ok());
    done.changed += usize::from(files(&target.sim) != target.before);
    told.err().map(|refused| refused.status)
}

/// A case in one process, and each so often by way of a worker as well, with the same outcome.
fn ask_case(target: &mut Target, input: &[u8], by_worker: bool, done: &mut Done) {
    done.cases += 1;
    let status = ask_once(target, input, false, done);
    if by_worker {
        done.served += 1;
        assert_eq!(
            ask_once(target, input, true, done),
            status,
            "told apart by the way it came"
        );
    }
}

/// Questions until `enough`; each `nth` by way of a worker.
fn ask_until(seed: u64, nth: usize, enough: impl Fn(&Done) -> bool) -> Done {
    let (corpus, valid) = questions();
    let (mut target, mut done) = (Target::new(), Done::default());
    for input in &corpus {
        ask_case(&mut target, input, true, &mut done);
    }
    assert_eq!(done.answered, 2 * valid, "what is valid is answered");
    while !enough(&done) {
        // A run with this seed begins with this case.
        let case = seed.wrapping_add((done.cases - corpus.len()) as u64);
        let input = mutated(
            &corpus,
            &mut Random(case.wrapping_mul(0x5851_f42d_4c95_7f2d)),
        );
        let by_worker = done.cases.is_multiple_of(nth);
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            ask_case(&mut target, &input, by_worker, &mut done);
        }));
        if let Err(cause) = ran {
            let shown = &input[..input.len().min(2000)];
            let of = input.len();
            eprintln!(
                "seed {case}, {of} bytes: {}",
                String::from_utf8_lossy(shown)
            );
            std::panic::resume_unwind(cause);
        }
    }
    done
}

fn seed() -> u64 {
    let given = std::env::var("F3SKEYS_FUZZ_SEED").ok();
    given.map_or(1, |given| {
        given.parse().expect("F3SKEYS_FUZZ_SEED is a number")
    })
}

#[test]
fn questions_that_nobody_meant_change_nothing_and_are_answered_in_time() {
    let done = ask_until(seed(), 25, |done| done.cases >= 3000);
    println!("{done:?}");
    assert!(
        done.served >= 100 && done.answered >= 100 && done.changed >= 20,
        "{done:?}"
    );
}

#[test]
#[ignore = "takes minutes; see the head of this file"]
fn questions_for_many_seconds() {
    let seconds = std::env::var("F3SKEYS_FUZZ_SECONDS").unwrap_or("600".to_owned());
    let seconds: i64 = seconds.parse().expect("F3SKEYS_FUZZ_SECONDS is a number");
    println!("seed {}", seed());
    let end = processor_time() + seconds;
    let done = ask_until(seed(), 8, |_| processor_time() >= end);
    println!("{done:?}");
    assert!(done.changed > 0, "{done:?}");
}

/// Reads something, whatever it is: it must come back.
type Reader = fn(&[u8]);

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What of it was understood is written and read again just so.
fn hand_over<T: flat::Flat + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    if let Ok(said) = flat::read::<T>(bytes) {
        assert_eq!(flat::write(&Ok::<_, String>(said)), bytes);
    }
}

fn readers() -> Vec<(&'static str, Vec<Vec<u8>>, Reader)> {
    let (questions, _) = questions();
    let reply = json!({"version": 1, "node": "f1", "answer": {"key": {
        "store": "00", "sound": true,
        "held": [{"generation": generation(1, OLD, Standing::Current), "whole": true, "proof": null}],
        "roots": [{"dataset": "z/enc", "opens": {"couldnotask": "why"}, "inheriting": ["z/a"]}],
    }}});
    let replicas = json!({"version": 1, "node": "f1", "answer": {"replicas": [{
        "dataset": "z/nfs", "written": 5, "newest": [7, "m"],
        "promoted": {"Now": {"epoch": 1, "since": 2, "reason": "fire"}},
    }]}});
    let replies: Vec<Vec<u8>> = [reply, replicas].map(|r| r.to_string().into_bytes()).into();
    assert!(
        replies.iter().all(|reply| peers::reply(reply).is_ok()),
        "the corpus is wrong"
    );
    let flat_questions = questions.iter().map(|q| {
        let line = q.split(|b| *b == b'\n').next().unwrap();
        flat::write(&serde_json::from_slice::<Question>(line).map_err(|e| e.to_string()))
    });
    let flat_replies = replies
        .iter()
        .map(|reply| flat::write(&peers::reply(reply)));
    let state = files(&f1())[layout::STATE].clone();
    let row = "z\tencryption\taes-256-gcm\t-\nz\tkeystatus\tavailable\t-\n";
    let mut superblock = vec![0; 70_000];
    superblock[1024 + 56..1024 + 58].copy_from_slice(&[0x53, 0xef]);
    vec![
        (
            "questions, handed over",
            flat_questions.collect(),
            hand_over::<Question>,
        ),
        (
            "answers, handed over",
            flat_replies.collect(),
            hand_over::<Reply>,
        ),
        ("answers", replies, |bytes| drop(peers::reply(bytes))),
        ("states", vec![state], |bytes| drop(State::parse(bytes))),
        (
            "states behind a good checksum",
            vec![b"(format: 1, store: \"00\", keys: {\"f0:z\": []})\n".into()],
            |bytes| {
                let sum = blake3::hash(bytes).to_hex();
                drop(State::parse(
                    &[format!("// checksum {sum}\n").as_bytes(), bytes].concat(),
                ));
            },
        ),
        ("configurations", vec![F1.into()], |bytes| {
            drop(Config::parse(&text(bytes)))
        }),
        ("superblocks", vec![superblock], |bytes| {
            drop(device::identify(bytes))
        }),
        ("zfs get", vec![row.into()], |bytes| {
            drop(zfs::parse::datasets(&text(bytes)))
        }),
        ("zfs list", vec![b"z@m\t7\t8\n".into()], |bytes| {
            drop(zfs::parse::past(&text(bytes), &text(bytes)));
        }),
    ]
}

#[test]
fn whatever_others_wrote_is_read_or_refused_with_little_memory() {
    for (name, corpus, reader) in readers() {
        for case in 0..1000 {
            let mut random = Random(
                seed()
                    .wrapping_add(case)
                    .wrapping_mul(0x5851_f42d_4c95_7f2d),
            );
            let bytes = mutated(&corpus, &mut random);
            let ran = std::panic::catch_unwind(|| memory_of(|| reader(&bytes)).1);
            match ran {
                Ok(memory) => assert!(memory <= MOST_MEMORY, "{name}, {case}: {memory} bytes"),
                Err(_) => panic!("{name}, case {case}: {}", text(&bytes)),
            }
        }
    }
}
