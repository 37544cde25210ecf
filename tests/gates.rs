//! Gates, over a simulated node: every condition in every state, and law 4: what was open closes at
//! the very next question, with no pass in between.

mod sim;

use f3skeys::boot::boot;
use f3skeys::config::{Condition, Config};
use f3skeys::gate::Answer;
use f3skeys::marker;
use f3skeys::os::PoolState;
use f3skeys::peers::{ReplicaState, Reply, Told};
use f3skeys::promotion::{Promoted, Promotion};
use f3skeys::ready::{GATE_DEADLINE, PEERS_DEADLINE, ask, named, ready};
use f3skeys::reconcile::reconcile;
use f3skeys::report::Report;
use f3skeys::time::{Clock, Deadline};
use f3skeys::zfs::{KeyStatus, Moment, Past, Zfs};
use sim::{CONFIG, Sim, f3s, good_stick};
use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

const NFS: &str = "zdata/enc/nfsdata";
const SINK: &str = "zdata/sink/f1";
const VOLUME: &str = "zroot/bhyve/vol";
const F1: &str = "f1.lan.buetow.org";

/// A gate for each condition, named as it is, and one that needs all of them.
const GATES: &[(&str, &str)] = &[
    (
        "mounted",
        r#"mounted(path: "/data/nfs", dataset: "zdata/enc/nfsdata")"#,
    ),
    (
        "sealed",
        r#"mounted(path: "/data/f1", dataset: "zdata/sink/f1")"#,
    ),
    ("writable", r#"writable("zdata/enc/nfsdata")"#),
    ("readonly", r#"readonly("zdata/sink/f1")"#),
    ("present", r#"present("/data/nfs/sentinel")"#),
    ("absent", r#"absent("/data/nfs/nfs.NO_AUTO_FAILBACK")"#),
    ("key-of-files", r#"key_loaded("zdata/enc/nfsdata")"#),
    ("key-of-volume", r#"key_loaded("zroot/bhyve/vol")"#),
    ("primary", r#"role(dataset: "zdata/enc", is: primary)"#),
    ("replica", r#"role(dataset: "zdata/sink/f1", is: replica)"#),
    (
        "fresh",
        r#"fresh_snapshot(dataset: "zdata/sink/f1", minutes: 60)"#,
    ),
    ("needs", r#"gate("mounted")"#),
    ("peer", r#"not_promoted(peer: "f1.lan.buetow.org")"#),
];

fn configuration(gates: &[(&str, &str)]) -> Config {
    let (head, _) = CONFIG.split_once("gates: [").unwrap();
    let lines = gates
        .iter()
        .map(|(name, needs)| format!("(name: \"{name}\", needs: [{needs}]),\n"));
    let text = format!(
        r#"{head} gates: [{}],
        peers: [(name: "{F1}", ssh: "f1")],
        replicas: [(of: "{NFS}", node: "{F1}", dataset: "zdata/sink/f0")],
    )"#,
        lines.collect::<String>()
    );
    Config::parse(&text).unwrap()
}

fn all_gates() -> Config {
    let here: Vec<&str> = GATES
        .iter()
        .map(|(_, needs)| *needs)
        .filter(|needs| !needs.starts_with("not_promoted"))
        .collect();
    let here = here.join(", ");
    let every = format!("{here}, not_promoted(peer: \"{F1}\")");
    let both = [("here", here.as_str()), ("every", every.as_str())];
    configuration(&[GATES, &both].concat())
}

fn moment(name: &str, guid: u64, created: u64) -> Moment {
    Moment {
        name: name.to_owned(),
        guid,
        created,
        bookmark: false,
    }
}

fn set_past(sim: &Sim, dataset: &str, moments: Vec<Moment>) {
    let past = Past {
        dataset: dataset.parse().unwrap(),
        written: 0,
        moments,
    };
    sim.pasts.borrow_mut().insert(dataset.to_owned(), past);
}

fn reply(promoted: Promoted, written: u64, guid: u64) -> Reply {
    Reply {
        version: f3skeys::peers::VERSION,
        node: F1.parse().unwrap(),
        answer: Told::Replicas(vec![ReplicaState {
            dataset: "zdata/sink/f0".parse().unwrap(),
            promoted,
            written,
            newest: Some((guid, "sent".to_owned())),
        }]),
    }
}

fn tell(sim: &Sim, reply: Reply) {
    sim.replies.borrow_mut().insert(F1.to_owned(), reply);
}

/// A node after its boot, with all that every gate needs.
fn node(name: &str) -> Sim {
    let sim = f3s(&format!("gates-{name}")).stick(good_stick());
    let now = sim.wall.get();
    set_past(
        &sim,
        SINK,
        vec![moment("old", 1, now - 7200), moment("new", 2, now - 600)],
    );
    set_past(&sim, NFS, vec![moment("sent", 7, now - 600)]);
    tell(&sim, reply(Promoted::Never, 0, 7));
    sim.files_on
        .borrow_mut()
        .push((NFS.to_owned(), "/data/nfs/sentinel".into()));
    sim
}

fn booted(name: &str, config: &Config) -> Sim {
    let sim = node(name);
    sim.verb(|node| boot(node, config));
    sim.zfs_mount_all();
    sim.verb(|node| ready(node, config));
    sim.verb(|node| reconcile(node, config));
    sim
}

fn gate(sim: &Sim, config: &Config, name: &str) -> Answer {
    sim.verb(|node| ask(node, config, named(config, name).unwrap()))
}

fn open(sim: &Sim, config: &Config, name: &str) -> bool {
    gate(sim, config, name) == Answer::Open
}

fn soon(sim: &Sim) -> Deadline {
    Deadline::after(sim, Duration::from_secs(1))
}

fn silence(sim: &Sim, of: &str) {
    sim.silent.borrow_mut().push(of.to_owned());
}

fn unload(sim: &Sim, root: &str) {
    let names: Vec<String> = sim
        .datasets
        .borrow()
        .iter()
        .filter(|d| {
            d.encryption_root
                .as_ref()
                .is_some_and(|r| r.as_str() == root)
        })
        .map(|d| d.name.to_string())
        .collect();
    for name in names {
        sim.unmount(&name);
        sim.change(&name, |d| d.key_status = KeyStatus::Unavailable);
    }
}

fn readonly(sim: &Sim, dataset: &str, on: bool) {
    let name = dataset.parse().unwrap();
    // It was changed before the pool hung.
    let hanging = sim.hanging.take();
    match on {
        true => sim.set_readonly(&name, soon(sim)).unwrap(),
        false => sim.set_writable(&name, soon(sim)).unwrap(),
    }
    sim.hanging.replace(hanging);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Closed,
    CannotTell,
}
use State::{CannotTell, Closed};

fn state(answer: &Answer) -> State {
    match answer {
        Answer::Open => State::Open,
        Answer::Closed(_) => State::Closed,
        Answer::CannotTell(_) => State::CannotTell,
    }
}

type Change = fn(&Sim);

/// What makes a gate's condition false, not to be told, or its probe hang.
const STATES: &[(&str, &str, Change, State)] = &[
    ("mounted", "unmounted", |s| s.unmount(NFS), Closed),
    ("mounted", "read-only", |s| readonly(s, NFS, true), Closed),
    (
        "mounted",
        "covered",
        |s| s.mount_over("/data/nfs", "tmpfs", "tmpfs"),
        Closed,
    ),
    (
        "mounted",
        "another",
        |s| s.mount_over("/data/nfs", "zdata/enc", "zfs"),
        Closed,
    ),
    (
        "mounted",
        "buried",
        |s| s.mount_over("/data", "zdata", "zfs"),
        Closed,
    ),
    ("mounted", "silent", |s| silence(s, "/data/nfs"), CannotTell),
    (
        "mounted",
        "hung",
        |s| s.hanging.borrow_mut().push("zdata".into()),
        CannotTell,
    ),
    ("sealed", "unmounted", |s| s.unmount(SINK), Closed),
    ("sealed", "writable", |s| readonly(s, SINK, false), Closed),
    ("sealed", "silent", |s| silence(s, "/data/f1"), CannotTell),
    ("writable", "unmounted", |s| s.unmount(NFS), Closed),
    ("writable", "read-only", |s| readonly(s, NFS, true), Closed),
    (
        "writable",
        "buried",
        |s| s.mount_over("/data", "zdata", "zfs"),
        Closed,
    ),
    (
        "writable",
        "silent",
        |s| silence(s, "/data/nfs"),
        CannotTell,
    ),
    (
        "writable",
        "hung",
        |s| s.hanging.borrow_mut().push("zdata".into()),
        CannotTell,
    ),
    ("readonly", "unmounted", |s| s.unmount(SINK), Closed),
    ("readonly", "writable", |s| readonly(s, SINK, false), Closed),
    ("readonly", "silent", |s| silence(s, "/data/f1"), CannotTell),
    (
        "present",
        "gone",
        |s| s.files_on.borrow_mut().clear(),
        Closed,
    ),
    (
        "present",
        "of another file system",
        |s| s.unmount(NFS),
        Closed,
    ),
    (
        "present",
        "silent",
        |s| silence(s, "/data/nfs/sentinel"),
        CannotTell,
    ),
    ("present", "hung", |s| s.hanging_looks.set(true), CannotTell),
    ("absent", "there", block, Closed),
    ("absent", "silent", |s| silence(s, BLOCK), CannotTell),
    ("absent", "hung", |s| s.hanging_looks.set(true), CannotTell),
    (
        "key-of-files",
        "unloaded",
        |s| unload(s, "zdata/enc"),
        CannotTell,
    ),
    ("key-of-files", "unmounted", |s| s.unmount(NFS), CannotTell),
    (
        "key-of-files",
        "silent",
        |s| silence(s, "/data/nfs"),
        CannotTell,
    ),
    (
        "key-of-files",
        "hung",
        |s| s.hanging.borrow_mut().push("zdata".into()),
        CannotTell,
    ),
    (
        "key-of-volume",
        "unloaded",
        |s| unload(s, "zroot/bhyve"),
        CannotTell,
    ),
    (
        "key-of-volume",
        "silent",
        |s| silence(s, VOLUME),
        CannotTell,
    ),
    (
        "key-of-volume",
        "hung",
        |s| s.hanging.borrow_mut().push("zroot".into()),
        CannotTell,
    ),
    ("replica", "writable", |s| readonly(s, SINK, false), Closed),
    ("replica", "silent", |s| silence(s, "/data/f1"), CannotTell),
    (
        "replica",
        "hung",
        |s| s.hanging.borrow_mut().push("zdata".into()),
        CannotTell,
    ),
    (
        "fresh",
        "stale",
        |s| s.wall.set(s.wall.get() + 3600),
        Closed,
    ),
    (
        "fresh",
        "from the future",
        |s| s.wall.set(s.wall.get() - 1200),
        CannotTell,
    ),
    ("fresh", "gone", |s| set_past(s, SINK, vec![]), Closed),
    ("fresh", "renamed", rename_snapshot, Closed),
    ("fresh", "unmounted", |s| s.unmount(SINK), Closed),
    ("fresh", "silent", |s| silence(s, SINK), CannotTell),
    (
        "fresh",
        "hung",
        |s| s.hanging.borrow_mut().push("zdata".into()),
        CannotTell,
    ),
    ("needs", "closed", |s| s.unmount(NFS), Closed),
    ("needs", "silent", |s| silence(s, "/data/nfs"), CannotTell),
    (
        "needs",
        "hung",
        |s| s.hanging.borrow_mut().push("zdata".into()),
        CannotTell,
    ),
    (
        "peer",
        "promoted",
        |s| tell(s, reply(promoted(), 0, 7)),
        Closed,
    ),
    (
        "peer",
        "written",
        |s| tell(s, reply(Promoted::Never, 1, 7)),
        Closed,
    ),
    (
        "peer",
        "diverged",
        |s| tell(s, reply(Promoted::Never, 0, 8)),
        Closed,
    ),
    (
        "peer",
        "not known",
        |s| tell(s, reply(Promoted::Unknown("?".into()), 0, 7)),
        CannotTell,
    ),
    (
        "peer",
        "hung",
        |s| s.replies.borrow_mut().clear(),
        CannotTell,
    ),
    (
        "peer",
        "own pool hung",
        |s| s.hanging.borrow_mut().push("zdata".into()),
        CannotTell,
    ),
];

const BLOCK: &str = "/data/nfs/nfs.NO_AUTO_FAILBACK";

fn block(sim: &Sim) {
    sim.files_on
        .borrow_mut()
        .push((NFS.to_owned(), BLOCK.into()));
}

fn promoted() -> Promoted {
    Promoted::Now(promotion())
}

fn promotion() -> Promotion {
    Promotion {
        epoch: 1,
        since: 1_795_000_000,
        reason: "f0 is dead".to_owned(),
    }
}

fn rename_snapshot(sim: &Sim) {
    let now = sim.wall.get();
    set_past(sim, SINK, vec![moment("other", 2, now - 600)]);
}

#[test]
fn every_condition_is_answered_in_each_of_its_states() {
    let config = all_gates();
    for (name, _) in GATES {
        let sim = booted("true", &config);
        assert!(
            open(&sim, &config, name),
            "{name}: {:?}",
            gate(&sim, &config, name)
        );
    }
    for (name, label, change, expected) in STATES {
        let sim = booted("state", &config);
        change(&sim);
        let answer = gate(&sim, &config, name);
        assert_eq!(state(&answer), *expected, "{name}, {label}: {answer:?}");
    }
}

/// `role(primary)` depends on the configuration alone: no state of the node makes it false.
#[test]
fn every_condition_is_made_false_and_unknown_and_hung() {
    let hangs = |label: &str| label.contains("hung");
    for (name, _) in GATES.iter().filter(|(name, _)| *name != "primary") {
        let of_gate = || STATES.iter().filter(|(of, ..)| of == name);
        assert!(of_gate().any(|(_, label, ..)| !hangs(label)), "{name}");
        assert!(of_gate().any(|(.., s)| *s == CannotTell), "{name}");
        let files = matches!(*name, "sealed" | "readonly");
        assert!(
            files || of_gate().any(|(_, label, ..)| hangs(label)),
            "{name}"
        );
    }
    let kinds: BTreeSet<String> = all_gates()
        .gates
        .iter()
        .flat_map(|gate| &gate.needs)
        .map(|need| {
            format!("{need:?}")
                .split([' ', '('])
                .next()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(kinds.len(), 10, "a condition without a gate: {kinds:?}");
    fn exhaustive(need: &Condition) {
        match need {
            Condition::Mounted { .. }
            | Condition::Writable(_)
            | Condition::Readonly(_)
            | Condition::Present(_)
            | Condition::Absent(_)
            | Condition::KeyLoaded(_)
            | Condition::Role { .. }
            | Condition::FreshSnapshot { .. }
            | Condition::Gate(_)
            | Condition::NotPromoted { .. } => {}
        }
    }
    exhaustive(&all_gates().gates[0].needs[0]);
}

#[test]
fn law_6_a_question_ends_whatever_hangs() {
    let config = all_gates();
    for (name, label, change, _) in STATES.iter().filter(|(_, l, ..)| l.contains("hung")) {
        let sim = booted("hung", &config);
        change(&sim);
        let before = sim.now();
        let _ = gate(&sim, &config, name);
        let took = sim.now() - before;
        let most = match *name {
            "peer" => GATE_DEADLINE + PEERS_DEADLINE,
            _ => GATE_DEADLINE,
        };
        assert!(took <= most, "{name}, {label}: {took:?}");
    }
}

#[test]
fn a_question_asks_neither_zfs_nor_a_peer_that_is_not_needed() {
    let config = all_gates();
    let sim = booted("programs", &config);
    sim.zfs_calls.set(0);
    sim.questions_to_peers.set(0);
    for (name, _) in GATES.iter().filter(|(name, _)| *name != "peer") {
        assert!(open(&sim, &config, name));
    }
    assert!(open(&sim, &config, "here"));
    assert_eq!((sim.zfs_calls.get(), sim.questions_to_peers.get()), (0, 0));
    // Nor when something here keeps the gate closed anyway.
    sim.unmount(NFS);
    assert!(!open(&sim, &config, "every"));
    assert_eq!((sim.zfs_calls.get(), sim.questions_to_peers.get()), (0, 0));
}

fn marker_path(sim: &Sim, gate: &str) -> std::path::PathBuf {
    marker::path(&sim.run(), &gate.parse().unwrap())
}

fn rewrite(sim: &Sim, gate: &str, change: impl Fn(&str) -> String) {
    let path = marker_path(sim, gate);
    let text = fs::read_to_string(&path).unwrap();
    let changed = change(&text);
    assert_ne!(text, changed);
    fs::write(path, changed).unwrap();
}

/// What must close a gate that needs everything.
const FAULTS: &[(&str, Change)] = &[
    ("unmounted", |s| s.unmount(NFS)),
    ("replica unmounted", |s| s.unmount(SINK)),
    ("key unloaded", |s| unload(s, "zdata/enc")),
    ("key of the volume unloaded", |s| unload(s, "zroot/bhyve")),
    ("primary read-only", |s| readonly(s, NFS, true)),
    ("replica writable", |s| readonly(s, SINK, false)),
    ("pool suspended", |s| {
        s.states
            .borrow_mut()
            .insert("zdata".into(), PoolState::Suspended);
    }),
    ("pool exported", |s| {
        s.states.borrow_mut().remove("zroot");
    }),
    ("pool state unknown", |s| {
        let unknown = PoolState::Unknown("?".into());
        s.states.borrow_mut().insert("zdata".into(), unknown);
    }),
    ("pool hung", |s| s.hanging.borrow_mut().push("zdata".into())),
    ("buried", |s| s.mount_over("/data", "zdata", "zfs")),
    ("replaced by another of its name", |s| {
        s.unmount(NFS);
        s.mount_over("/data/nfs", NFS, "zfs");
    }),
    ("marker of another gate", |s| {
        fs::copy(marker_path(s, "mounted"), marker_path(s, "here")).unwrap();
    }),
    ("marker of another boot", |s| {
        fs::write(
            marker_path(s, "here"),
            fs::read_to_string(marker_path(s, "mounted"))
                .unwrap()
                .replace("\"mounted\"", "\"here\"")
                .replace("boot-1", "boot-0"),
        )
        .unwrap();
    }),
    ("another boot", |s| {
        *s.boot_id.borrow_mut() = Some("boot-2".into())
    }),
    ("no identity of this boot", |s| {
        *s.boot_id.borrow_mut() = None
    }),
    ("marker removed", |s| {
        let _ = fs::remove_file(marker_path(s, "here"));
    }),
    ("marker cut", |s| {
        fs::write(marker_path(s, "here"), "{").unwrap()
    }),
    ("block file", block),
    ("sentinel gone", |s| s.files_on.borrow_mut().clear()),
    ("snapshot stale", |s| s.wall.set(s.wall.get() + 3600)),
    ("clock set back", |s| s.wall.set(s.wall.get() - 1200)),
    ("snapshot gone", |s| set_past(s, SINK, vec![])),
    ("locked", |s| marker::set_locked(&s.run(), true).unwrap()),
    ("kernel silent", |s| silence(s, "/data/nfs")),
    ("everything hangs", |s| s.hanging_looks.set(true)),
];

#[test]
fn law_4_every_fault_closes_the_gate_at_the_next_question() {
    let config = all_gates();
    for (label, fault) in FAULTS {
        let sim = booted("fault", &config);
        assert!(open(&sim, &config, "here"));
        fault(&sim);
        assert!(!open(&sim, &config, "here"), "{label}");
    }
}

/// Some faults undo part of another: a marker cannot be rewritten that is gone. Whatever they leave,
/// the gate stays closed.
#[test]
fn law_4_no_two_faults_open_the_gate() {
    let config = all_gates();
    let mut pairs = 0;
    for (a, first) in FAULTS {
        for (b, second) in FAULTS.iter().filter(|(b, _)| b != a) {
            let sim = booted("pair", &config);
            first(&sim);
            second(&sim);
            // They do: the clock, set forward and back, is right again but for 40 minutes.
            let undone =
                BTreeSet::from([*a, *b]) == BTreeSet::from(["snapshot stale", "clock set back"]);
            let closed = !open(&sim, &config, "here");
            assert!(closed || undone, "{a}, then {b}");
            pairs += 1;
        }
    }
    assert_eq!(pairs, FAULTS.len() * (FAULTS.len() - 1));
}

/// A peer's no is told also before `reconcile` has asked; its yes opens nothing yet, and its silence
/// cannot be told from either.
#[test]
fn law_4_without_a_marker_a_peers_no_is_a_no_and_nothing_opens() {
    let config = all_gates();
    let gate = named(&config, "peer").unwrap();
    let sim = booted("peer-unmarked", &config);
    f3skeys::marker::remove(&sim.run(), &gate.name).unwrap();
    let answer = || sim.verb(|node| ask(node, &config, gate));
    assert!(matches!(answer(), Answer::CannotTell(why) if why.contains("no marker")));
    tell(&sim, reply(promoted(), 0, 7));
    assert!(matches!(answer(), Answer::Closed(why) if why.contains("promoted since")));
    sim.replies.borrow_mut().clear();
    // Both are told: who is silent is what a person mends first.
    let Answer::CannotTell(why) = answer() else {
        panic!("a silent peer tells nothing");
    };
    let (silent, unmarked) = why.split_once("; ").unwrap();
    assert!(silent.contains(F1), "{why}");
    assert!(unmarked.contains("no marker"), "{why}");
}

#[test]
fn law_4_nothing_is_open_before_a_pass_has_said_so() {
    let config = all_gates();
    let sim = node("unmarked");
    sim.verb(|node| boot(node, &config));
    sim.zfs_mount_all();
    for gate in &config.gates {
        assert!(!open(&sim, &config, gate.name.as_str()), "{}", gate.name);
    }
    sim.verb(|node| ready(node, &config));
    for gate in &config.gates {
        let asks_peer = matches!(gate.name.as_str(), "peer" | "every");
        let name = gate.name.as_str();
        assert_eq!(open(&sim, &config, name), !asks_peer, "{name}");
    }
    sim.verb(|node| reconcile(node, &config));
    for gate in &config.gates {
        assert!(open(&sim, &config, gate.name.as_str()), "{}", gate.name);
    }
}

#[test]
fn law_4_a_rewritten_definition_needs_a_marker_of_its_own() {
    let config = all_gates();
    let sim = booted("definition", &config);
    let changed = configuration(&[(
        "here",
        r#"mounted(path: "/data/nfs", dataset: "zdata/enc/nfsdata")"#,
    )]);
    assert!(!open(&sim, &changed, "here"));
    rewrite(&sim, "here", |text| {
        text.replace("\"definition\": \"", "\"definition\": \"0")
    });
    assert!(!open(&sim, &config, "here"));
    sim.verb(|node| ready(node, &config));
    assert!(open(&sim, &config, "here"));
}

/// Each pass, and each again: what is open stays open, and its marker the same file.
#[test]
fn passes_never_close_what_is_open() {
    let config = all_gates();
    let sim = booted("again", &config);
    let before = fs::read(marker_path(&sim, "every")).unwrap();
    for pass in [ready, reconcile, ready, ready, reconcile] {
        let report = sim.verb(|node| pass(node, &config));
        assert_eq!(report.changed, [""; 0]);
        for gate in &config.gates {
            assert!(open(&sim, &config, gate.name.as_str()), "{}", gate.name);
        }
    }
    assert_eq!(fs::read(marker_path(&sim, "every")).unwrap(), before);
}

fn line<'a>(report: &'a Report, gate: &str) -> &'a f3skeys::report::GateLine {
    report.gates.iter().find(|line| line.name == gate).unwrap()
}

#[test]
fn a_new_snapshot_opens_the_gate_that_an_old_one_closed() {
    let config = all_gates();
    let sim = booted("newer", &config);
    sim.wall.set(sim.wall.get() + 4000);
    assert!(!open(&sim, &config, "fresh"));
    let report = sim.verb(|node| reconcile(node, &config));
    assert!(line(&report, "fresh").reason.contains("is 77 min old"));
    set_past(&sim, SINK, vec![moment("newest", 3, sim.wall.get() - 10)]);
    assert!(!open(&sim, &config, "fresh"), "nobody has seen it yet");
    sim.verb(|node| reconcile(node, &config));
    assert!(open(&sim, &config, "fresh"));
}

/// The clock is set back so that an old snapshot looks young: at once, and after its gate has closed and
/// its marker is gone, and also for the one before it when the newest is destroyed.
#[test]
fn law_4_a_clock_that_is_set_back_makes_no_old_snapshot_fresh() {
    let config = all_gates();
    let sim = booted("set-back", &config);
    let wall = sim.wall.get();
    let made = wall - 100;
    let (older, newer) = (moment("older", 7, made), moment("newer", 8, made + 10));
    set_past(&sim, SINK, vec![older.clone(), newer]);
    sim.verb(|node| reconcile(node, &config));
    assert!(open(&sim, &config, "fresh"));
    // Sixty-one minutes pass, and the clock says that it was none.
    sim.sleep(Duration::from_secs(3660));
    sim.wall.set(wall - 3660);
    assert!(!open(&sim, &config, "fresh"), "by the marker");
    for _ in 0..3 {
        let report = sim.verb(|node| reconcile(node, &config));
        assert!(!line(&report, "fresh").open, "without its marker");
        assert!(!open(&sim, &config, "fresh"));
    }
    set_past(&sim, SINK, vec![older.clone()]);
    let report = sim.verb(|node| reconcile(node, &config));
    assert!(
        !line(&report, "fresh").open,
        "the one before is older still"
    );
    let fresh = moment("fresh", 9, sim.wall.get() + sim.now().as_secs());
    set_past(&sim, SINK, vec![older, fresh]);
    sim.verb(|node| reconcile(node, &config));
    assert!(open(&sim, &config, "fresh"));
}

#[test]
fn a_bookmark_is_no_snapshot() {
    let config = all_gates();
    let sim = node("bookmark");
    let mut mark = moment("mark", 9, sim.wall.get());
    mark.bookmark = true;
    set_past(&sim, SINK, vec![mark]);
    sim.verb(|node| boot(node, &config));
    sim.zfs_mount_all();
    let report = sim.verb(|node| ready(node, &config));
    assert!(
        line(&report, "fresh")
            .reason
            .contains("no snapshot of zdata/sink/f1 was seen")
    );
}

/// What ZFS does not say in time closes the gate that was never told, and no other; what it said
/// before holds as far as the system shows it.
#[test]
fn law_5_snapshots_that_cannot_be_asked_for_are_one_fault() {
    let config = all_gates();
    let sim = node("slow");
    sim.verb(|node| boot(node, &config));
    sim.zfs_mount_all();
    sim.unlisted.borrow_mut().push(SINK.to_owned());
    let report = sim.verb(|node| ready(node, &config));
    let closed: Vec<&str> = report
        .gates
        .iter()
        .filter(|g| !g.open)
        .map(|g| g.name.as_str())
        .collect();
    assert_eq!(closed, ["fresh", "peer", "here", "every"]);
    assert!(
        report
            .complaints()
            .contains("its snapshots could not be asked for")
    );

    sim.unlisted.borrow_mut().clear();
    sim.verb(|node| ready(node, &config));
    assert!(open(&sim, &config, "fresh"));
    sim.unlisted.borrow_mut().push(SINK.to_owned());
    let report = sim.verb(|node| ready(node, &config));
    assert!(
        line(&report, "fresh").open,
        "the snapshot is there and young enough"
    );
    rename_snapshot(&sim);
    assert!(!open(&sim, &config, "fresh"));
    let report = sim.verb(|node| ready(node, &config));
    assert!(!line(&report, "fresh").open);
}

const TAKEN_OVER: &[(&str, &str)] = &[
    (
        "served",
        r#"mounted(path: "/data/f1", dataset: "zdata/sink/f1")"#,
    ),
    (
        "taken-over",
        r#"role(dataset: "zdata/sink/f1", is: primary)"#,
    ),
    ("writes", r#"writable("zdata/sink/f1")"#),
    ("standby", r#"role(dataset: "zdata/sink/f1", is: replica)"#),
];

/// A promoted replica counts as a primary, and each half of a promotion alone opens nothing.
#[test]
fn law_4_a_promotion_opens_its_gates_and_its_end_closes_them() {
    let config = configuration(TAKEN_OVER);
    let sim = booted("promotion", &config);
    let states = |sim: &Sim| {
        let open_now = |(name, _): &(&str, &str)| open(sim, &config, name);
        TAKEN_OVER.iter().map(open_now).collect::<Vec<bool>>()
    };
    assert_eq!(states(&sim), [true, false, false, true]);
    // Writable, and no promotion recorded.
    readonly(&sim, SINK, false);
    assert_eq!(states(&sim), [false; 4]);
    sim.verb(|node| reconcile(node, &config));
    assert_eq!(states(&sim), [false; 4]);
    // Recorded: the next pass says so.
    sim.change(SINK, |d| d.promotion = promoted());
    sim.verb(|node| reconcile(node, &config));
    assert_eq!(states(&sim), [false; 4], "the property alone");
    sim.record_of(SINK, &promotion(), true);
    assert_eq!(states(&sim), [false; 4]);
    sim.verb(|node| reconcile(node, &config));
    assert_eq!(states(&sim), [true, true, true, false]);
    // A pool that does not answer takes none of that back.
    sim.unlisted.borrow_mut().push("zdata".to_owned());
    sim.verb(|node| reconcile(node, &config));
    sim.unlisted.borrow_mut().clear();
    assert_eq!(states(&sim), [true, true, true, false]);
    // Read-only again: the end of a promotion begins with that.
    readonly(&sim, SINK, true);
    assert_eq!(states(&sim), [false; 4]);
    // The record ended alone: the next pass says so.
    readonly(&sim, SINK, false);
    assert_eq!(states(&sim), [true, true, true, false]);
    sim.record_of(SINK, &promotion(), false);
    sim.verb(|node| reconcile(node, &config));
    assert_eq!(states(&sim), [false; 4], "the record alone");
    sim.change(SINK, |d| d.promotion = Promoted::Over(1));
    sim.verb(|node| reconcile(node, &config));
    assert_eq!(states(&sim), [false; 4]);
    readonly(&sim, SINK, true);
    sim.verb(|node| reconcile(node, &config));
    assert_eq!(states(&sim), [true, false, false, true]);
    // An unmounted replica shows nothing of a promotion, and cannot be written.
    sim.unmount(SINK);
    sim.verb(|node| reconcile(node, &config));
    assert_eq!(states(&sim), [false, false, false, true]);
}

#[test]
fn law_4_what_a_marker_remembers_opens_nothing_that_is_not_seen() {
    let config = configuration(TAKEN_OVER);
    let sim = booted("memory", &config);
    // Somebody writes a promotion into the marker of a gate that is closed by it.
    rewrite(&sim, "standby", |text| {
        text.replace("\"promoted\": []", "\"promoted\": [\"zdata/sink/f1\"]")
    });
    assert!(!open(&sim, &config, "standby"));
    let text = fs::read_to_string(marker_path(&sim, "standby")).unwrap();
    fs::write(
        marker_path(&sim, "taken-over"),
        text.replace("standby", "taken-over"),
    )
    .unwrap();
    assert!(!open(&sim, &config, "taken-over"));
}

#[test]
fn law_4_a_locked_node_opens_nothing_in_any_pass() {
    let config = all_gates();
    let sim = booted("locked", &config);
    marker::set_locked(&sim.run(), true).unwrap();
    for pass in [ready, reconcile] {
        let report = sim.verb(|node| pass(node, &config));
        assert!(
            report
                .gates
                .iter()
                .all(|g| !g.open && g.reason.contains("locked"))
        );
        for gate in &config.gates {
            assert!(!open(&sim, &config, gate.name.as_str()), "{}", gate.name);
        }
    }
    let markers = fs::read_dir(marker::directory(&sim.run())).unwrap();
    assert_eq!(markers.count(), 0);
    marker::set_locked(&sim.run(), false).unwrap();
    assert!(!open(&sim, &config, "here"), "only a pass opens it again");
    sim.verb(|node| ready(node, &config));
    assert!(open(&sim, &config, "here"));
}
