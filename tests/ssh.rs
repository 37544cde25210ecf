//! Several peers, talked with at once by way of real programs. In a test program of its own: a child
//! that is just being started shares the locks of who starts it.

use f3skeys::config::{Config, Peer};
use f3skeys::key::Key;
use f3skeys::peers::{Ask, Asking, Peers, Put, Question, Reply, Ssh, Talk, VERSION};
use f3skeys::store::work::Merge;
use f3skeys::time::{Deadline, SystemClock};
use f3skeys::trouble::Trouble;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const CONFIG: &str = r#"(
    node: "f0", store: (label: "K"),
    roots: [(dataset: "z", key: "f0:z", role: primary, required: true)],
    peers: [(name: "f1", ssh: "root@f1"), (name: "f2", ssh: "root@f2")],
)"#;

/// A program that is being written cannot be started, and a child that is just being started holds
/// what any other test writes.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A program in the place of `ssh`, and its directory.
struct FakeSsh(PathBuf, #[expect(dead_code)] MutexGuard<'static, ()>);

impl FakeSsh {
    fn new(name: &str, script: &str) -> FakeSsh {
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let name = format!("f3skeys-ssh-{name}-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        let script = script.replace("HERE", &directory.display().to_string());
        fs::write(directory.join("ssh"), format!("#!/bin/sh\n{script}")).unwrap();
        fs::set_permissions(directory.join("ssh"), fs::Permissions::from_mode(0o755)).unwrap();
        FakeSsh(directory, alone)
    }
}

impl Drop for FakeSsh {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn question(ask: Ask) -> Question {
    Question {
        version: VERSION,
        from: "f0".parse().unwrap(),
        ask,
    }
}

/// Asks a peer twice, and keeps the answers.
struct Twice<'k> {
    peer: &'k Peer,
    clock: &'k SystemClock,
    left: u32,
    answers: Vec<Result<Reply, Trouble>>,
}

impl<'k> Talk<'k> for Twice<'k> {
    fn next(&mut self, answered: Option<Result<Reply, Trouble>>) -> Option<Asking<'k>> {
        self.answers.extend(answered);
        self.left = self.left.checked_sub(1)?;
        Some(Asking {
            peer: self.peer,
            question: question(Ask::Replicas(Vec::new())),
            keys: Vec::new(),
            deadline: Deadline::after(self.clock, Duration::from_secs(60)),
        })
    }
}

#[test]
fn one_that_hangs_is_given_up_on_and_keys_go_to_the_other_whole() {
    let fake = FakeSsh::new(
        "hangs",
        r#"case "$*" in
        *root@f1*) exec sleep 1000 ;;
        *) cat > HERE/input; printf '{"version":2,"node":"f2","answer":{"replicas":[]}}' ;;
        esac"#,
    );
    let config = Config::parse(CONFIG).unwrap();
    let clock = SystemClock::start();
    let program = fake.0.join("ssh");
    let ssh = Ssh {
        program: &program,
        reader: Path::new(env!("CARGO_BIN_EXE_f3skeys")),
        clock: &clock,
    };
    let keys: Vec<Key> = (1..=64).map(key).collect();
    let merge = Merge {
        key: "f0:z".parse().unwrap(),
        list: Vec::new(),
        bring: keys.iter().map(Key::fingerprint).collect(),
        nonce: None,
    };
    let ask = |merge: &Merge| {
        Ask::Put(Put {
            merge: merge.clone(),
            vouched: None,
        })
    };
    let put = |peer, time| Once {
        asking: Some(Asking {
            peer,
            question: question(ask(&merge)),
            keys: keys.iter().collect(),
            deadline: Deadline::after(&clock, time),
        }),
        answers: Vec::new(),
    };
    let mut f1 = put(&config.peers[0], Duration::from_millis(300));
    let mut f2 = put(&config.peers[1], Duration::from_secs(60));
    ssh.talk(&mut [&mut f1, &mut f2]);
    let [Err(late)] = &f1.answers[..] else {
        panic!("{:?}", f1.answers);
    };
    assert_eq!(late.to_string(), "ssh to f1: no answer in time; given up");
    assert!(f2.answers[0].is_ok(), "{:?}", f2.answers);
    let mut expected = serde_json::to_vec(&question(ask(&merge))).unwrap();
    expected.push(b'\n');
    expected.extend((1..=64).flat_map(|byte| [byte; 32]));
    assert_eq!(fs::read(fake.0.join("input")).unwrap(), expected);
}

fn key(byte: u8) -> Key {
    Key::take(|place| {
        place.fill(byte);
        Ok(())
    })
    .unwrap()
}

/// Asks one question.
struct Once<'k> {
    asking: Option<Asking<'k>>,
    answers: Vec<Result<Reply, Trouble>>,
}

impl<'k> Talk<'k> for Once<'k> {
    fn next(&mut self, answered: Option<Result<Reply, Trouble>>) -> Option<Asking<'k>> {
        self.answers.extend(answered);
        self.asking.take()
    }
}

#[test]
fn several_peers_are_talked_with_at_once_and_one_that_fails_keeps_nobody() {
    // The first to be asked answers only after the second has been asked twice.
    let fake = FakeSsh::new(
        "both",
        r#"read question
        case "$*" in
        *root@f1*)
            until [ -e HERE/twice ]; do sleep 0.01; done
            printf '{"version":2,"node":"f1","answer":{"replicas":[]}}' ;;
        *)
            [ -e HERE/once ] && : > HERE/twice
            : > HERE/once
            echo "f3skeys: no" >&2; exit 69 ;;
        esac"#,
    );
    let config = Config::parse(CONFIG).unwrap();
    let clock = SystemClock::start();
    let program = fake.0.join("ssh");
    let ssh = Ssh {
        program: &program,
        reader: Path::new(env!("CARGO_BIN_EXE_f3skeys")),
        clock: &clock,
    };
    let twice = |peer| Twice {
        peer,
        clock: &clock,
        left: 2,
        answers: Vec::new(),
    };
    let mut f1 = twice(&config.peers[0]);
    let mut f2 = twice(&config.peers[1]);
    ssh.talk(&mut [&mut f1, &mut f2]);
    assert_eq!((f1.answers.len(), f2.answers.len()), (2, 2));
    assert!(f1.answers.iter().all(Result::is_ok), "{:?}", f1.answers);
    for refused in f2.answers {
        let why = refused.unwrap_err().to_string();
        assert_eq!(why, "f2: ssh exits with 69: f3skeys: no");
    }
}
