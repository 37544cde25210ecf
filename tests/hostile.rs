//! Hostile questions, as a table: each comes in by the real way, is refused with the status and the
//! words that say why, and leaves the store as it was. (A question that trickles in or never ends is
//! beside the code that reads it, on a real clock; bytes of keys that are short, more or others are
//! in tests/neighbours.rs; `tests/fuzz.rs` is for what nobody thought of.)

mod sim;

use f3skeys::config::Config;
use f3skeys::key::{Fingerprint, Key, keys_alive};
use f3skeys::receive::{Refused, serve};
use f3skeys::store::layout;
use serde_json::{Value, json};
use sim::medium::Files;
use sim::{Sim, Stick, dataset, encrypted};
use std::fs::File;
use std::io::{Seek, Write};

const OLD: [u8; 32] = [0xa1; 32];
const NEW: [u8; 32] = [0xb2; 32];
const OTHER: [u8; 32] = [0xc3; 32];

const F1: &str = r#"(
    node: "f1", store: (label: "K"),
    roots: [
        (dataset: "z/sink/f0", key: "f0:zdata", role: replica, required: true),
        (dataset: "z/enc", key: "f1:zdata", role: primary, required: true),
    ],
    peers: [(name: "f0", ssh: "root@f0"), (name: "f2", ssh: "root@f2")],
)"#;

fn f1(name: &str) -> Sim {
    let keys = [("f0:zdata", OLD), ("f1:zdata", OTHER), ("f2:zdata", OTHER)];
    Sim::new(&format!("hostile-{name}"))
        .with(vec![
            dataset("z"),
            encrypted("z/sink/f0", "z/sink/f0"),
            encrypted("z/enc", "z/enc"),
        ])
        .opened_by("z/sink/f0", OLD)
        .stick(Stick::new("/dev/da0", "K", "1").with_store(&keys))
}

fn files(sim: &Sim) -> Files {
    sim.sticks.borrow()[0].files.clone()
}

fn hex(bytes: [u8; 32]) -> String {
    Fingerprint::of(&bytes).hex()
}

/// The fingerprint of nothing that anybody has, with the first digits of another: what is shown of
/// both is the same.
fn looks_like(bytes: [u8; 32]) -> String {
    format!("{}{}", &hex(bytes)[..8], "0".repeat(56))
}

fn listed(number: u32, print: &str, state: &str) -> Value {
    json!({"generation": number, "fingerprint": print, "state": state})
}

fn question(from: &str, ask: Value) -> Vec<u8> {
    let question = json!({"version": 2, "from": from, "ask": ask});
    format!("{question}\n").into_bytes()
}

fn put(key: &str, list: &[Value], bring: &[&str]) -> Vec<u8> {
    let merge = json!({"key": key, "list": list, "bring": bring, "nonce": null});
    question("f0", json!({ "put": {"merge": merge, "vouched": null} }))
}

/// As the owner says it, with a number that it was just given.
fn vouched(sim: &Sim, list: &[Value], bring: &[&str]) -> Vec<u8> {
    sim.gives_number("f0", "f0:zdata");
    let merge = json!({"key": "f0:zdata", "list": list, "bring": bring, "nonce": null});
    let merge = serde_json::from_value(merge).unwrap();
    let by = Key::take(|place| {
        place.copy_from_slice(&OLD);
        Ok(())
    });
    let put = sim::vouched("f1", &"00".repeat(16), "f0", merge, &by.unwrap());
    question("f0", json!({ "put": put }))
}

/// As ssh's daemon starts it for f0, with keys behind the line.
fn asked(sim: &Sim, line: &[u8], keys: &[[u8; 32]]) -> Result<Vec<u8>, Refused> {
    let path = sim.directory.with_extension("question");
    let mut how = File::options();
    how.read(true).write(true).create(true).truncate(true);
    let mut input = how.open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    input.write_all(line).unwrap();
    let question: Option<Value> = serde_json::from_slice(line).ok();
    let bring = question.and_then(|q| q["ask"]["put"]["merge"]["bring"].as_array().map(Vec::len));
    let keys = &keys[..keys.len().min(bring.unwrap_or(0))];
    input.write_all(&keys.concat()).unwrap();
    input.rewind().unwrap();
    let config = Config::parse(F1).unwrap();
    let told = sim.verb(|node| serve(node, &config, &"f0".parse().unwrap(), Ok(input)));
    assert_eq!(keys_alive(), 0);
    told
}

fn assert_refused(sim: &Sim, line: &[u8], keys: &[[u8; 32]], status: u8, words: &str) {
    let before = files(sim);
    let refused = asked(sim, line, keys).expect_err(words);
    assert_eq!(refused.status, status, "{}", refused.what);
    assert!(
        refused.what.contains(words),
        "{}\nnot {words}",
        refused.what
    );
    assert!(
        !refused.what.chars().any(char::is_control),
        "{:?}",
        refused.what
    );
    assert!(files(sim) == before, "{words}: refused, and changed");
}

fn staged() -> [Value; 2] {
    [
        listed(1, &hex(OLD), "current"),
        listed(2, &hex(NEW), "staged"),
    ]
}

fn committed() -> [Value; 2] {
    [
        listed(1, &hex(OLD), "retained"),
        listed(2, &hex(NEW), "current"),
    ]
}

#[test]
fn what_is_oversized_nested_or_cut_is_refused() {
    let sim = f1("size");
    let nested = |times: usize| {
        let (open, close) = ("[".repeat(times), "]".repeat(times));
        format!("{{\"version\":2,\"from\":\"f0\",\"ask\":{{\"replicas\":{open}{close}}}}}")
            .into_bytes()
    };
    let whole = question("f0", json!({"replicas": ["z/sink/f0"]}));
    let many = question("f0", json!({"replicas": vec!["z/sink/f0"; 257]}));
    let long = question(
        "f0",
        json!({"replicas": ["z/".to_owned() + &"a".repeat(60_000)]}),
    );
    for (line, words) in [
        (vec![b' '; 200_000], "has more than"),
        (vec![b'['; 100_000], "not a question"),
        (nested(100), "not a question"),
        (nested(30_000), "not a question"),
        (many, "a list is too long"),
        (long, "not a question"),
        (
            b"{\"version\":2,\"version\":2}\n".to_vec(),
            "duplicate field",
        ),
        (b"\xff\xfe{}\n".to_vec(), "not a question"),
        (b"\0".to_vec(), "not a question"),
        (b"\n".to_vec(), "not a question"),
        ([&whole[..], b"x"].concat(), "stands behind the question"),
        (
            [&whole[..], &whole[..]].concat(),
            "stands behind the question",
        ),
        (
            question("f0", json!({"replicas": ["z\u{1b}[2J"]})),
            "is not a dataset name",
        ),
    ] {
        assert_refused(&sim, &line, &[], 65, words);
    }
    for cut in 0..whole.len() - 1 {
        assert_refused(&sim, &whole[..cut], &[], 65, "not a question");
    }
}

#[test]
fn who_asks_for_another_or_about_anothers_is_refused() {
    let sim = f1("who");
    let nonce = "12".repeat(32);
    let about = |key: &str| question("f0", json!({"key": {"key": key, "nonce": nonce}}));
    let current = |bytes| [listed(1, &hex(bytes), "current")];
    for (line, words) in [
        (
            question("f2", json!({"replicas": ["z/sink/f0"]})),
            "belongs to f0, and f2 asks",
        ),
        (
            question("f1", json!({"replicas": ["z/sink/f0"]})),
            "belongs to f0, and f1 asks",
        ),
        (
            question("f0", json!({"replicas": ["z/enc"]})),
            "is no replica",
        ),
        (question("f0", json!({"replicas": ["z"]})), "is no replica"),
        (about("f1:zdata"), "is a key of f1"),
        (about("f2:zdata"), "is a key of f2"),
        // Names that begin as its own.
        (about("f00:zdata"), "is a key of f00"),
        (about("f0.lan:zdata"), "is a key of f0.lan"),
        // What is not there yet is not its to make either: the owner would find it taken.
        (put("f2:new", &current(NEW), &[&hex(NEW)]), "is a key of f2"),
        (put("f1:new", &current(NEW), &[&hex(NEW)]), "is a key of f1"),
        (put("f9:new", &current(NEW), &[&hex(NEW)]), "is a key of f9"),
        (put("f1:zdata", &current(OTHER), &[]), "is a key of f1"),
    ] {
        assert_refused(&sim, &line, &[NEW], 77, words);
    }
}

#[test]
fn names_that_lead_elsewhere_are_none() {
    let sim = f1("names");
    for name in [
        "f0:../f1:zdata",
        "f0:../../etc/passwd",
        "../f0:zdata",
        "f0:/etc/passwd",
        "/f0:zdata",
        "f0:.f3skeys",
        "f0:..",
        "f0:",
        ":zdata",
        "f0",
        "f0:a:b",
        "f0:z/../x",
        "f0:z\0x",
        "f0:z\n",
        "f0:z x",
        "-f0:z",
        "f0:-z",
        "f0:\u{ff0e}\u{ff0e}",
        "f0:zdätä",
        "",
    ] {
        let line = put(name, &[listed(1, &hex(NEW), "current")], &[&hex(NEW)]);
        assert_refused(&sim, &line, &[NEW], 65, "is not a key name");
    }
    for print in [
        "../../../f1:zdata",
        "",
        "0",
        &hex(NEW).to_uppercase(),
        &(hex(NEW) + "0"),
    ] {
        let line = put("f0:zdata", &[listed(1, print, "current")], &[print]);
        assert_refused(&sim, &line, &[NEW], 65, "is not a fingerprint");
    }
}

#[test]
fn generations_neither_go_back_nor_get_lost_nor_pass_for_another() {
    let sim = f1("back");
    let new = hex(NEW);
    asked(&sim, &vouched(&sim, &staged(), &[&new]), &[NEW]).unwrap();
    asked(&sim, &vouched(&sim, &committed(), &[]), &[]).unwrap();
    let like_old = looks_like(OLD);
    let like_new = looks_like(NEW);
    let old = hex(OLD);
    for (list, bring, words) in [
        // The whole of an earlier question, once more.
        (
            staged().to_vec(),
            vec![&*new],
            "generation 2 is current here",
        ),
        (
            vec![listed(1, &old, "current")],
            vec![],
            "lacks generation 2",
        ),
        (
            vec![listed(2, &new, "current")],
            vec![],
            "lacks generation 1",
        ),
        (
            vec![listed(1, &old, "retained"), listed(2, &new, "retained")],
            vec![],
            "no generation on the list is current",
        ),
        (
            vec![listed(2, &old, "retained"), listed(3, &new, "current")],
            vec![],
            "on this store it is",
        ),
        // What is shown of both is the same; what is compared is not.
        (
            vec![listed(1, &old, "retained"), listed(2, &like_new, "current")],
            vec![],
            "lacks generation 2",
        ),
        (
            vec![listed(1, &like_old, "retained"), listed(2, &new, "current")],
            vec![],
            "lacks generation 1",
        ),
        (
            [&committed()[..], &[listed(3, &like_new, "staged")]].concat(),
            vec![&like_new],
            "the key that came is not",
        ),
        (
            [&committed()[..], &[listed(3, &like_new, "staged")]].concat(),
            vec![],
            "is new here and is not brought",
        ),
    ] {
        let keys = vec![NEW; bring.len()];
        // Its bytes are looked at before the store is.
        let status = if words.contains("that came") { 65 } else { 69 };
        assert_refused(&sim, &vouched(&sim, &list, &bring), &keys, status, words);
    }
    // The newest list once more says nothing new, and is taken from anybody who has the ssh key.
    let before = files(&sim);
    asked(&sim, &put("f0:zdata", &committed(), &[]), &[]).unwrap();
    assert!(files(&sim) == before);
}

#[test]
fn lists_that_contradict_themselves_are_refused_before_the_store_is_opened() {
    let sim = f1("lists");
    sim.sticks.borrow_mut()[0].broken = Some("it was opened".to_owned());
    let (old, new) = (hex(OLD), hex(NEW));
    let too_many: Vec<Value> = (1..=65)
        .map(|n| listed(n, &format!("{n:064}"), "retired"))
        .collect();
    for (list, bring, words) in [
        (vec![], vec![], "has 0 generations"),
        (too_many, vec![], "a list is too long"),
        (vec![listed(0, &old, "current")], vec![], "a generation 0"),
        (
            vec![listed(1, &old, "current"), listed(1, &new, "staged")],
            vec![],
            "twice",
        ),
        (
            vec![listed(1, &old, "current"), listed(2, &old, "staged")],
            vec![],
            "twice",
        ),
        (
            vec![listed(1, &old, "current"), listed(2, &new, "current")],
            vec![],
            "two current",
        ),
        (
            vec![listed(1, &old, "staged"), listed(2, &new, "staged")],
            vec![],
            "two staged",
        ),
        (
            vec![listed(1, &old, "current")],
            vec![&*new],
            "brought and not listed",
        ),
        (
            vec![listed(1, &old, "current")],
            vec![&*old, &*old],
            "brought twice",
        ),
        (
            vec![listed(1, &old, "pruned")],
            vec![&*old],
            "brought and pruned",
        ),
    ] {
        assert_refused(&sim, &put("f0:zdata", &list, &bring), &[OLD], 65, words);
    }
}

/// A file that lies where a generation is to be written is not taken for it, and not lost.
#[test]
fn a_file_that_was_planted_under_a_generations_name_is_moved_aside() {
    let sim = f1("planted");
    let path = layout::generation_path(&"f0:zdata".parse().unwrap(), 2, Fingerprint::of(&NEW));
    sim.sticks.borrow_mut()[0]
        .files
        .insert(path.clone(), OTHER.to_vec());
    // Without its bytes it is not believed to be there.
    let told = asked(&sim, &vouched(&sim, &staged(), &[]), &[]).unwrap();
    let told: Value = serde_json::from_slice(&told).unwrap();
    let told = &told["answer"]["key"];
    let whole = |index: usize| &told["held"][index]["whole"];
    assert_eq!((whole(0), whole(1)), (&json!(true), &json!(false)));
    assert_eq!(told["sound"], json!(false));
    asked(&sim, &vouched(&sim, &staged(), &[&hex(NEW)]), &[NEW]).unwrap();
    let after = files(&sim);
    assert_eq!(after[&path], NEW);
    assert_eq!(after[&layout::aside(&path, 1)], OTHER);
}
