//! A fuzzer over everything that is read of what others wrote. First the targets in `fuzz/`, which
//! libFuzzer runs as well: their corpora, and what mutation makes of these. Then questions of peers,
//! with the real code that answers them on a simulated node.
//!
//! It needs no other compiler and no other program. It mutates valid words, as bytes and as JSON, by
//! numbers that follow from a seed, so that every case can be had again. A short run is part of
//! `cargo test`; the long one over questions is
//!
//!     F3SKEYS_FUZZ_SECONDS=600 cargo test --release --test fuzz -- --ignored --nocapture
//!
//! with that many seconds of processor time, and `F3SKEYS_FUZZ_SEED` for another seed.

// The allocator that counts.
#![allow(unsafe_code)]

#[path = "fuzz/corpora.rs"]
mod corpora;
#[path = "fuzz/memory.rs"]
mod memory;
#[path = "fuzz/mutate.rs"]
mod mutate;
mod sim;
#[path = "../fuzz/src/lib.rs"]
mod targets;

use f3skeys::config::Config;
use f3skeys::key::{Fingerprint, Key, Nonce, keys_alive};
use f3skeys::names::KeyName;
use f3skeys::peers::{Ask, KEY_PATIENCE, Put, Question, VERSION};
use f3skeys::receive::{Refused, Time, answer, rebuild, serve, understand};
use f3skeys::store::layout;
use f3skeys::store::state::{Generation, Standing, State};
use f3skeys::store::work::Merge;
use f3skeys::time::Clock;
use memory::memory_of;
use mutate::{Random, mutated};
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::{Value, json};
use sim::medium::Files;
use sim::{Sim, Stick, dataset, encrypted};
use std::fs::File;
use std::io::{Seek, Write};

/// The most that answering may take of memory, in bytes.
const MOST_MEMORY: isize = 16 << 20;

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
        let put = match key {
            "f0:zdata" if states != [Standing::Current] => {
                let by = Key::take(|place| {
                    place.copy_from_slice(&OLD);
                    Ok(())
                });
                sim::vouched("f1", &"00".repeat(16), "f0", merge, &by.unwrap())
            }
            _ => Put {
                merge,
                vouched: None,
            },
        };
        (Ask::Put(put), bring.concat())
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

    fn ready(&self) {
        self.sim.sticks.borrow_mut()[0].files = self.before.clone();
        self.sim.gives_number("f0", "f0:zdata");
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
        let end = input
            .iter()
            .position(|b| *b == b'\n')
            .unwrap_or(input.len());
        let (line, behind) = (&input[..end], input.get(end + 1..).unwrap_or_default());
        self.sim.verb(|node| {
            let ask = understand(config, &from, line, &rebuild::admits(node, &from))?;
            let data = |what: &str| Refused {
                status: 65,
                what: what.to_owned(),
                is_of_change: ask.brings_keys(),
            };
            if !ask.brings_keys() && !behind.is_empty() {
                return Err(data("something stands behind the question"));
            }
            let brought = sim::brought(&ask, behind).map_err(|e| data(&e.to_string()))?;
            answer(node, config, &from, ask, brought, Time::begin(&self.sim))
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
        let key = question["ask"]["put"]["merge"]["key"].as_str().unwrap();
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
    target.ready();
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
