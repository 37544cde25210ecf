//! A peer's answer is read by the real program, started once more, without rights.

use f3skeys::key::Proof;
use f3skeys::peers::{KeyTold, LARGEST, Opens, Reply, RootTold, Told, VERSION, reader};
use f3skeys::store::state::{Generation, Standing};
use f3skeys::store::work::Held;
use f3skeys::time::SystemClock;
use std::path::Path;

const PROGRAM: &str = env!("CARGO_BIN_EXE_f3skeys");

fn read(answer: &[u8]) -> Result<Reply, String> {
    let clock = SystemClock::start();
    reader::read(Path::new(PROGRAM), answer, &clock)
}

fn good() -> Reply {
    let generation = Generation {
        generation: 7,
        fingerprint: [3; 32].into(),
        state: Standing::Retained,
    };
    let root = RootTold {
        dataset: "z/sink/f0".parse().unwrap(),
        opens: Opens::CouldNotAsk("pool z is suspended".to_owned()),
        inheriting: vec!["z/sink/f0/a".parse().unwrap()],
    };
    Reply {
        version: VERSION,
        node: "f1".parse().unwrap(),
        answer: Told::Key(KeyTold {
            store: "0f".repeat(16),
            held: vec![Held {
                generation,
                whole: true,
                proof: Some(Proof::from([5; 32])),
            }],
            sound: true,
            roots: vec![root],
            challenge: Some([7; 32].into()),
            kept: Vec::new(),
        }),
    }
}

fn json(reply: &Reply) -> String {
    serde_json::to_string(reply).unwrap()
}

#[test]
fn what_a_peer_answers_is_what_the_program_reads() {
    assert_eq!(read(json(&good()).as_bytes()), Ok(good()));
    let mut large = good();
    if let Told::Key(told) = &mut large.answer {
        told.roots = vec![told.roots[0].clone(); 6000];
    }
    assert!(json(&large).len() > LARGEST / 2, "it is not large");
    assert_eq!(read(json(&large).as_bytes()), Ok(large));
}

#[test]
fn what_is_no_answer_is_refused_in_words_that_do_nothing_to_a_terminal() {
    let good = json(&good());
    for (answer, words) in [
        (String::new(), "is not understood: EOF"),
        (good[..good.len() - 1].to_owned(), "is not understood: EOF"),
        (format!("{good}{good}"), "trailing characters"),
        (
            good.replace("z/sink/f0/a", "z/../a"),
            "is not a dataset name",
        ),
        (
            good.replace("\"sound\"", "\"\\u001b[2Js\""),
            "unknown field `\\x1b[2Js`",
        ),
        ("[".repeat(100_000), "is not understood"),
        (" ".repeat(LARGEST + 1), "has more than"),
        (
            good.replace(
                "[\"z/sink/f0/a\"]",
                &format!("[{}\"z\"]", "\"z\",".repeat(250_000)),
            ),
            "a list is too long",
        ),
    ] {
        let why = read(answer.as_bytes()).unwrap_err();
        assert!(why.contains(words), "{why}\nnot {words}");
        assert!(!why.chars().any(char::is_control), "{why:?}");
    }
}

#[test]
fn a_program_that_is_another_or_none_reads_nothing() {
    let clock = SystemClock::start();
    for program in ["/bin/false", "/bin/true", "/bin/cat", "/nowhere", "f3skeys"] {
        let answer = json(&good());
        let told = reader::read(Path::new(program), answer.as_bytes(), &clock);
        assert!(told.is_err(), "{program}: {told:?}");
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use super::{PROGRAM, good, json, reader};
    use std::io::Write;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    /// What the kernel says of a process.
    fn status_of(process: u32, field: &str) -> String {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        words.join(" ")
    }

    #[test]
    fn who_reads_an_answer_has_no_rights_before_the_first_byte() {
        let mut child = Command::new(PROGRAM)
            .arg(reader::READER)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let limits = || std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
        // Its last step is the filter of system calls; nothing was written to it so far.
        let sealed = || status_of(child.id(), "Seccomp:") == "2";
        let mut looks = 0;
        while !sealed() {
            std::thread::sleep(Duration::from_millis(5));
            looks += 1;
            assert!(looks < 10_000, "it keeps its rights");
        }
        assert_eq!(status_of(child.id(), "NoNewPrivs:"), "1");
        let nobody = "65534 65534 65534 65534";
        if nix::unistd::geteuid().is_root() {
            assert_eq!(status_of(child.id(), "Uid:"), nobody);
            assert_eq!(status_of(child.id(), "Gid:"), nobody);
            assert_eq!(status_of(child.id(), "Groups:"), "");
            for set in ["CapPrm:", "CapEff:", "CapInh:", "CapAmb:"] {
                assert_eq!(status_of(child.id(), set), "0".repeat(16), "{set}");
            }
        }
        for limit in ["Max open files", "Max processes", "Max file size"] {
            let limits = limits();
            let line = limits.lines().find(|line| line.starts_with(limit)).unwrap();
            let words: Vec<&str> = line[limit.len()..].split_whitespace().collect();
            assert_eq!(words[..2], ["0", "0"], "{line}");
        }
        let mut input = child.stdin.take().unwrap();
        input.write_all(json(&good()).as_bytes()).unwrap();
        drop(input);
        assert!(child.wait_with_output().unwrap().status.success());
    }
}
