//! Roles that change: promotions, their end, and what one node tells another of them. Every moment
//! of a promotion is looked at, and every one is cut.

mod sim;

use f3skeys::boot::{boot, late};
use f3skeys::config::{Config, Peer};
use f3skeys::exit::Fault;
use f3skeys::gate::{self, Answer as GateAnswer};
use f3skeys::key::Key;
use f3skeys::marker;
use f3skeys::names::{DatasetName, NodeName};
use f3skeys::os::PoolState;
use f3skeys::pass::Node;
use f3skeys::peers::{Opens, Peers, Question, ReplicaState, Reply, Told, ask_all, reply};
use f3skeys::promote::{demote, promote, to_keep};
use f3skeys::promotion::{Promoted, Promotion};
use f3skeys::ready::{ask, named, ready};
use f3skeys::receive::{Refused, Time, answer, understand};
use f3skeys::report::{Report, Severity};
use f3skeys::seals::Seal;
use f3skeys::time::Deadline;
use f3skeys::trouble::Trouble;
use f3skeys::zfs::{Answer, CanMount, Dataset, Kind, Listing, Moment, Past, Source, Try, Zfs};
use sim::{Event, PEER, Sim, Stick, ZDATA, at, dataset, encrypted};
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

/// f1, which holds a replica of f0's with a replica of f2's below it.
const CONFIG: &str = r#"(
    node: "f1",
    store: (label: "F3S_KEYS", serial: "4C530001", wait_seconds: 30),
    roots: [
        (dataset: "z/enc", key: "f1:z", role: primary, required: true),
        (dataset: "z/sink/f0", key: "f0:z", role: replica, required: true),
        (dataset: "z/sink/f0/f2", key: "f0:z", role: replica, required: true),
        (dataset: "z/sink/other", key: "f0:z", role: replica, required: false, mountpoint: "/other"),
    ],
    gates: [
        (name: "standby", needs: [mounted(path: "/f0", dataset: "z/sink/f0")]),
        (name: "serve", needs: [writable("z/sink/f0")]),
        (name: "passive", needs: [role(dataset: "z/sink/f0", is: replica)]),
    ],
    peers: [(name: "f0", ssh: "root@f0")],
)"#;
const ROOT: &str = "z/sink/f0";
/// What a promotion of the root is about.
const OWN: [&str; 4] = ["z/sink/f0", "z/sink/f0/a", "z/sink/f0/a/b", "z/sink/f0/vol"];

fn config() -> Config {
    Config::parse(CONFIG).unwrap()
}

fn root() -> DatasetName {
    ROOT.parse().unwrap()
}

fn stick() -> Stick {
    let keys = [("f1:z", ZDATA), ("f0:z", PEER)];
    Stick::new("/dev/da0", "F3S_KEYS", "4C530001").with_store(&keys)
}

/// Where the replicas' `readonly=on` comes from.
#[derive(Debug, Clone, Copy)]
enum From {
    /// It is on the sink, as it should be.
    Sink,
    /// The boot has set it on each.
    Each,
}

/// f1 after a boot, with all open and mounted.
fn booted(name: &str, from: From) -> Sim {
    let volume = Dataset {
        kind: Kind::Volume,
        can_mount: CanMount::Off,
        ..encrypted("z/sink/f0/vol", ROOT)
    };
    let sim = Sim::new(name)
        .with(vec![
            dataset("z"),
            at("/enc", encrypted("z/enc", "z/enc")),
            dataset("z/sink"),
            at("/f0", encrypted(ROOT, ROOT)),
            at("/f0/a", encrypted("z/sink/f0/a", ROOT)),
            at("/f0/a/b", encrypted("z/sink/f0/a/b", ROOT)),
            at("/f0/f2", encrypted("z/sink/f0/f2", "z/sink/f0/f2")),
            at("/f0/f2/c", encrypted("z/sink/f0/f2/c", "z/sink/f0/f2")),
            volume,
            at("/other", encrypted("z/sink/other", "z/sink/other")),
        ])
        .stick(stick());
    for root in [ROOT, "z/sink/f0/f2", "z/sink/other"] {
        sim.wrapped.borrow_mut().insert(root.to_owned(), PEER);
    }
    sim.wrapped.borrow_mut().insert("z/enc".to_owned(), ZDATA);
    if let From::Sink = from {
        let sink = "z/sink".parse().unwrap();
        let deadline = Deadline::after(&sim, Duration::from_secs(9));
        sim.set_readonly(&sink, deadline).unwrap();
    }
    for name in OWN.iter().chain(&["z/sink/f0/f2", "z/sink/f0/f2/c"]) {
        let moments = vec![moment("common", 7, 1_794_000_000)];
        set_past(&sim, name, 0, moments);
    }
    whole_boot(&sim);
    sim.trace.borrow_mut().clear();
    sim
}

fn whole_boot(sim: &Sim) -> (Report, Report) {
    let first = sim.verb(|node| boot(node, &config()));
    sim.zfs_mount_all();
    (first, sim.verb(|node| ready(node, &config())))
}

fn moment(name: &str, guid: u64, created: u64) -> Moment {
    Moment {
        name: name.to_owned(),
        guid,
        created,
        bookmark: false,
    }
}

fn set_past(sim: &Sim, name: &str, written: u64, moments: Vec<Moment>) {
    let past = Past {
        dataset: name.parse().unwrap(),
        written,
        moments,
    };
    sim.pasts.borrow_mut().insert(name.to_owned(), past);
}

fn write_on(sim: &Sim, name: &str, bytes: u64) {
    let mut pasts = sim.pasts.borrow_mut();
    assert!(!sim.find(name).readonly, "{name} cannot be written");
    pasts.get_mut(name).unwrap().written += bytes;
}

fn snapshots(sim: &Sim, name: &str) -> Vec<String> {
    let pasts = sim.pasts.borrow();
    let moments = pasts.get(name).map(|past| past.moments.clone());
    let moments = moments.unwrap_or_default().into_iter();
    moments.map(|moment| moment.name).collect()
}

fn promote_now(sim: &Sim) -> Report {
    sim.verb(|node| promote(node, &config(), &root(), "f0 is dead"))
}

fn demote_now(sim: &Sim) -> Report {
    sim.verb(|node| demote(node, &config(), &root()))
}

fn gate(sim: &Sim, name: &str) -> GateAnswer {
    let config = config();
    sim.verb(|node| ask(node, &config, named(&config, name).unwrap()))
}

fn writable(sim: &Sim) -> Vec<String> {
    let datasets = sim.datasets.borrow();
    let below = |d: &&Dataset| d.name.as_str().starts_with("z/sink/") && !d.readonly;
    datasets
        .iter()
        .filter(below)
        .map(|d| d.name.to_string())
        .collect()
}

fn is_promoted(sim: &Sim) -> bool {
    matches!(sim.promotion(ROOT), Promoted::Now(_))
}

fn says(report: &Report, severity: Severity, subject: &str, words: &str) {
    let said = report
        .findings
        .iter()
        .any(|f| f.severity == severity && f.subject == subject && f.what.contains(words));
    assert!(
        said,
        "no {severity:?} `{subject}: {words}` in:\n{}",
        report.complaints()
    );
}

/// ZFS with a watcher beside it: every change is looked at, one of them fails, and the power may fail
/// before or after one.
struct Watched<'a> {
    sim: &'a Sim,
    changes: Cell<usize>,
    cut: Option<(usize, bool)>,
    fails: Option<&'static str>,
}

/// The process died.
struct Died;

impl Watched<'_> {
    fn change(
        &self,
        what: &str,
        change: impl FnOnce() -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        let number = self.changes.get();
        self.changes.set(number + 1);
        if self.cut == Some((number, false)) {
            resume_unwind(Box::new(Died));
        }
        let done = match self.fails == Some(what) {
            true => Err(Trouble::failed(what, "permission denied")),
            false => change(),
        };
        self.law_3();
        if self.cut == Some((number, true)) {
            resume_unwind(Box::new(Died));
        }
        done
    }

    /// What can be written is what a promotion is about, and the promotion is recorded.
    fn law_3(&self) {
        for name in writable(self.sim) {
            assert!(OWN.contains(&name.as_str()), "{name} can be written");
            assert!(is_promoted(self.sim), "{name} can be written unrecorded");
        }
    }
}

impl Zfs for Watched<'_> {
    fn pools(&self, deadline: Deadline) -> Result<Vec<String>, Trouble> {
        self.sim.pools(deadline)
    }
    fn observe(&self, pool: &str, deadline: Deadline) -> Result<Listing, Trouble> {
        self.sim.observe(pool, deadline)
    }
    fn has_checkpoint(&self, pool: &str, deadline: Deadline) -> Result<bool, Trouble> {
        self.sim.has_checkpoint(pool, deadline)
    }
    fn try_key(&self, root: &DatasetName, key: &Key, how: Try, deadline: Deadline) -> Answer {
        self.sim.try_key(root, key, how, deadline)
    }
    fn set_readonly(&self, dataset: &DatasetName, deadline: Deadline) -> Result<(), Trouble> {
        self.change("readonly", || self.sim.set_readonly(dataset, deadline))
    }
    fn seal(
        &self,
        dataset: &DatasetName,
        seals: &[Seal],
        deadline: Deadline,
    ) -> Result<(), Trouble> {
        self.change("seal", || self.sim.seal(dataset, seals, deadline))
    }
    fn set_writable(&self, dataset: &DatasetName, deadline: Deadline) -> Result<(), Trouble> {
        self.change("writable", || self.sim.set_writable(dataset, deadline))
    }
    fn record(&self, dataset: &DatasetName, value: &str, by: Deadline) -> Result<(), Trouble> {
        self.change("record", || self.sim.record(dataset, value, by))
    }
    fn snapshot(&self, of: &[DatasetName], name: &str, by: Deadline) -> Result<(), Trouble> {
        let writable = writable(self.sim);
        assert!(
            writable.is_empty(),
            "snapshot while {writable:?} can be written"
        );
        self.change("snapshot", || self.sim.snapshot(of, name, by))
    }
    fn past(&self, dataset: &DatasetName, deadline: Deadline) -> Result<Vec<Past>, Trouble> {
        self.sim.past(dataset, deadline)
    }
    fn unmount(&self, dataset: &DatasetName, _deadline: Deadline) -> Result<(), Trouble> {
        panic!("{dataset} is unmounted")
    }
    fn unload_key(&self, root: &DatasetName, _deadline: Deadline) -> Result<(), Trouble> {
        panic!("the key of {root} is unloaded")
    }
    fn change_key(&self, root: &DatasetName, _key: &Key, _by: Deadline) -> Result<(), Trouble> {
        panic!("the key of {root} is changed")
    }
    fn set_key_location(
        &self,
        root: &DatasetName,
        _at: &str,
        _by: Deadline,
    ) -> Result<(), Trouble> {
        panic!("the keylocation of {root} is changed")
    }
    fn unwraps(&self, dataset: &DatasetName, deadline: Deadline) -> Result<(), Trouble> {
        self.sim.unwraps(dataset, deadline)
    }
    fn mount(&self, dataset: &DatasetName, deadline: Deadline) -> Result<(), Trouble> {
        Zfs::mount(self.sim, dataset, deadline)
    }
}

/// Runs a verb under the watcher; `None` when it died. Gives how many changes there were.
fn watched(
    sim: &Sim,
    cut: Option<(usize, bool)>,
    fails: Option<&'static str>,
    verb: impl Fn(Node) -> Report,
) -> (Option<Report>, usize) {
    let zfs = Watched {
        sim,
        changes: Cell::new(0),
        cut,
        fails,
    };
    let run = || sim.verb(|node| verb(Node { zfs: &zfs, ..node }));
    let report = match catch_unwind(AssertUnwindSafe(run)) {
        Ok(report) => Some(report),
        Err(what) if what.is::<Died>() => None,
        Err(what) => resume_unwind(what),
    };
    (report, zfs.changes.get())
}

fn promotion(node: Node) -> Report {
    promote(node, &config(), &root(), "f0 is dead")
}

fn demotion(node: Node) -> Report {
    demote(node, &config(), &root())
}

/// Every place at which a verb can be cut: before and after each change.
fn cuts(world: impl Fn() -> Sim, verb: fn(Node) -> Report) -> Vec<(usize, bool)> {
    let (_, changes) = watched(&world(), None, None, verb);
    let both = |number| [(number, false), (number, true)];
    (0..changes).flat_map(both).collect()
}

fn promoted_well(sim: &Sim, context: &str) {
    assert_eq!(writable(sim), OWN, "{context}");
    match sim.promotion(ROOT) {
        Promoted::Now(promotion) => {
            assert_eq!(promotion.epoch, 1, "{context}");
            assert_eq!(promotion.reason, "f0 is dead", "{context}");
        }
        other => panic!("{context}: {other:?}"),
    }
    for name in ["standby", "serve"] {
        assert_eq!(gate(sim, name), GateAnswer::Open, "{context}: {name}");
    }
    assert!(
        matches!(gate(sim, "passive"), GateAnswer::Closed(_)),
        "{context}"
    );
}

#[test]
fn law_3_a_promotion_cut_anywhere_is_finished_by_the_next_run() {
    for from in [From::Sink, From::Each] {
        let world = || booted("cut-promote", from);
        let cuts = cuts(world, promotion);
        assert!(cuts.len() >= 4, "{from:?}: {cuts:?}");
        for cut in cuts {
            let context = format!("{from:?} {cut:?}");
            let sim = world();
            let (report, _) = watched(&sim, Some(cut), None, promotion);
            assert!(report.is_none(), "{context}: it did not die");
            let (report, _) = watched(&sim, None, None, promotion);
            let report = report.unwrap();
            assert_eq!(report.status, 0, "{context}: {}", report.complaints());
            promoted_well(&sim, &context);
            let (again, changes) = watched(&sim, None, None, promotion);
            assert_eq!(changes, 0, "{context}: a third run changes something");
            assert_eq!(again.unwrap().changed, [""; 0], "{context}");
        }
    }
}

/// A promoted node on which three datasets were written.
fn written_world(name: &str, from: From) -> Sim {
    let sim = booted(name, from);
    assert_eq!(promote_now(&sim).status, 0);
    for name in ["z/sink/f0", "z/sink/f0/a/b", "z/sink/f0/vol"] {
        write_on(&sim, name, 4096);
    }
    sim.trace.borrow_mut().clear();
    sim
}

#[test]
fn law_3_and_8_a_demotion_cut_anywhere_is_finished_and_keeps_what_was_written() {
    for from in [From::Sink, From::Each] {
        let world = || written_world("cut-demote", from);
        let cuts = cuts(world, demotion);
        assert!(cuts.len() >= 6, "{from:?}: {cuts:?}");
        for cut in cuts {
            let context = format!("{from:?} {cut:?}");
            let sim = world();
            let (report, _) = watched(&sim, Some(cut), None, demotion);
            assert!(report.is_none(), "{context}: it did not die");
            let (report, _) = watched(&sim, None, None, demotion);
            let report = report.unwrap();
            assert_eq!(report.status, 0, "{context}: {}", report.complaints());
            demoted_well(&sim, &context);
        }
    }
}

fn demoted_well(sim: &Sim, context: &str) {
    assert_eq!(writable(sim), [""; 0], "{context}");
    assert_eq!(sim.promotion(ROOT), Promoted::Over(1), "{context}");
    for name in OWN {
        let kept = ["common", "f3skeys-demoted-1"];
        assert_eq!(snapshots(sim, name), kept, "{context}: {name}");
        assert_eq!(sim.pasts.borrow()[name].written, 0, "{context}: {name}");
    }
    for name in ["z/sink/f0/f2", "z/sink/f0/f2/c"] {
        assert_eq!(
            snapshots(sim, name),
            ["common"],
            "{context}: {name} cannot receive"
        );
    }
    let trace = sim.trace.borrow();
    let position = |wanted: fn(&Event) -> bool| trace.iter().position(wanted);
    let kept = position(|e| matches!(e, Event::Snapshot(_))).unwrap();
    let over = position(|e| matches!(e, Event::Recorded(_, value) if value.starts_with("demoted")));
    assert!(kept < over.unwrap(), "{context}: over before it was kept");
    let unsealed = position(|e| matches!(e, Event::Unsealed(_)));
    assert_eq!(unsealed, None, "{context}");
    assert!(
        matches!(gate(sim, "serve"), GateAnswer::Closed(_)),
        "{context}"
    );
}

#[test]
fn a_promotion_names_all_that_can_be_written_and_what_follows() {
    let sim = booted("told", From::Sink);
    let report = promote_now(&sim);
    assert_eq!(report.status, 0, "{}", report.complaints());
    for name in OWN {
        let line = format!("{name} can be written").into();
        assert!(
            report.changed.contains(&line),
            "{line}: {:?}",
            report.changed
        );
    }
    assert!(
        !report
            .changed
            .iter()
            .any(|line| line.starts_with("z/sink/f0/f2 can"))
    );
    says(
        &report,
        Severity::Warning,
        ROOT,
        "does not fail back while this lasts",
    );
    assert!(report.complaints().contains("f3skeys demote z/sink/f0"));
    write_on(&sim, "z/sink/f0/a", 1);
    let report = demote_now(&sim);
    assert_eq!(report.status, 0, "{}", report.complaints());
    says(&report, Severity::Warning, ROOT, "@f3skeys-demoted-1");
    let complaints = report.complaints();
    assert!(complaints.contains("zfs send -w -I @COMMON z/sink/f0@f3skeys-demoted-1"));
    assert!(complaints.contains("zfs rollback -r z/sink/f0@COMMON"));
}

#[test]
fn a_promotion_in_which_nothing_was_written_leaves_no_snapshot_in_the_way() {
    let sim = booted("idle", From::Each);
    promote_now(&sim);
    let report = demote_now(&sim);
    assert_eq!(report.status, 0, "{}", report.complaints());
    says(&report, Severity::Note, ROOT, "receives go on");
    for name in OWN {
        assert_eq!(snapshots(&sim, name), ["common"]);
    }
    // The next promotion has a number of its own, and its end a snapshot of its own.
    promote_now(&sim);
    assert!(matches!(sim.promotion(ROOT), Promoted::Now(p) if p.epoch == 2));
    write_on(&sim, ROOT, 1);
    demote_now(&sim);
    assert_eq!(snapshots(&sim, ROOT), ["common", "f3skeys-demoted-2"]);
    let again = demote_now(&sim);
    assert_eq!((again.status, again.changed.len()), (0, 0));
    says(&again, Severity::Note, ROOT, "is not promoted");
}

#[test]
fn what_is_kept_is_decided_by_what_was_written_and_by_nothing_else() {
    let promotion = Promotion {
        epoch: 2,
        since: 1000,
        reason: "x".to_owned(),
    };
    let past = |written, moments: &[(&str, u64)]| Past {
        dataset: root(),
        written,
        moments: moments
            .iter()
            .map(|(n, created)| moment(n, 1, *created))
            .collect(),
    };
    let old = ("common", 900);
    let ours = ("f3skeys-demoted-2", 1100);
    let new = |name: &str| Some((name.to_owned(), true));
    for (pasts, expected) in [
        (vec![], None),
        (vec![past(0, &[])], None),
        (vec![past(0, &[old])], None),
        (vec![past(0, &[("f3skeys-demoted-1", 950)])], None),
        (vec![past(1, &[old])], new("f3skeys-demoted-2")),
        (
            vec![past(0, &[old]), past(1, &[])],
            new("f3skeys-demoted-2"),
        ),
        // Somebody else's snapshot keeps it only as long as somebody else wants.
        (
            vec![past(0, &[old, ("autosnap", 1000)])],
            new("f3skeys-demoted-2"),
        ),
        // Kept already, by a run that was cut; and written again since.
        (
            vec![past(0, &[old, ours])],
            Some((ours.0.to_owned(), false)),
        ),
        (vec![past(3, &[old, ours])], new("f3skeys-demoted-2.2")),
        (
            vec![past(0, &[old, ours, ("f3skeys-demoted-2.2", 1200)])],
            Some(("f3skeys-demoted-2.2".to_owned(), false)),
        ),
        (
            vec![past(0, &[("f3skeys-demoted-21", 1100)])],
            new("f3skeys-demoted-2"),
        ),
    ] {
        assert_eq!(to_keep(&pasts, &promotion), expected, "{pasts:?}");
    }
}

#[test]
fn law_3_what_fails_leaves_nothing_writable_that_is_not_recorded_and_pinned() {
    for (fails, expected) in [
        ("record", "could not be recorded"),
        ("readonly", "readonly could not be set on z/sink/f0/f2"),
    ] {
        let sim = booted("fails", From::Sink);
        let (report, _) = watched(&sim, None, Some(fails), promotion);
        let report = report.unwrap();
        assert_eq!(report.fault, Some(Fault::Unavailable), "{fails}");
        says(&report, Severity::Failure, ROOT, expected);
        assert_eq!(writable(&sim), [""; 0], "{fails}");
    }
    let sim = booted("fails-open", From::Sink);
    let (report, _) = watched(&sim, None, Some("writable"), promotion);
    assert_eq!(report.unwrap().status, 69);
    // What is written is kept before the promotion is over, or it is not over.
    for fails in ["snapshot", "record", "readonly"] {
        let sim = written_world("fails-demote", From::Each);
        let (report, _) = watched(&sim, None, Some(fails), demotion);
        assert_eq!(report.unwrap().status, 69, "{fails}");
        let over = matches!(sim.promotion(ROOT), Promoted::Never | Promoted::Over(_));
        assert!(!over, "{fails}");
        let (report, _) = watched(&sim, None, None, demotion);
        assert_eq!(report.unwrap().status, 0, "{fails}");
        demoted_well(&sim, fails);
    }
}

#[test]
fn what_cannot_be_promoted_is_refused_and_left_alone() {
    let refuse = |prepare: fn(&Sim), root: &str, reason: &str, fault: Fault, words: &str| {
        let sim = booted("refuse", From::Sink);
        prepare(&sim);
        let before = sim.datasets.borrow().clone();
        let root = root.parse().unwrap();
        let report = sim.verb(|node| promote(node, &config(), &root, reason));
        assert_eq!(report.fault, Some(fault), "{words}");
        says(&report, Severity::Failure, root.as_str(), words);
        assert_eq!(*sim.datasets.borrow(), before, "{words}");
        assert!(sim.trace.borrow().is_empty(), "{words}");
    };
    let (config, gone) = (Fault::Configuration, Fault::Unavailable);
    refuse(|_| {}, "z/enc", "x", config, "is a primary");
    refuse(
        |_| {},
        "z/sink",
        "x",
        config,
        "is no root of the configuration",
    );
    refuse(
        |_| {},
        "z/sink/f0/a",
        "x",
        config,
        "is no root of the configuration",
    );
    refuse(|_| {}, ROOT, "  ", config, "the reason is empty");
    refuse(|_| {}, ROOT, "a\nb", config, "one line");
    let riddle = |sim: &Sim| {
        sim.change(ROOT, |d| d.promotion = Promoted::Unknown("yes".to_owned()));
    };
    refuse(riddle, ROOT, "x", gone, "no next epoch follows");
    let suspend = |sim: &Sim| {
        sim.states
            .borrow_mut()
            .insert("z".to_owned(), PoolState::Suspended);
    };
    refuse(suspend, ROOT, "x", gone, "pool z is suspended");
    let destroy = |sim: &Sim| {
        sim.datasets
            .borrow_mut()
            .retain(|d| !d.name.as_str().starts_with(ROOT))
    };
    refuse(destroy, ROOT, "x", gone, "there is no such dataset");
}

#[test]
fn a_boot_keeps_a_promoted_replica_writable_and_says_since_when_and_why() {
    let sim = booted("kept", From::Each);
    promote_now(&sim);
    write_on(&sim, ROOT, 5);
    sim.reboot("boot-2");
    let (first, second) = whole_boot(&sim);
    let complaints = first.complaints() + &second.complaints();
    assert_eq!((first.status, second.status), (0, 0), "{complaints}");
    for report in [&first, &second] {
        let words = "promoted since 2026-11-18 11:06 UTC, epoch 1: f0 is dead";
        says(report, Severity::Warning, ROOT, words);
        assert!(
            !report
                .findings
                .iter()
                .any(|f| f.severity == Severity::Alarm),
            "{complaints}"
        );
    }
    promoted_well(&sim, "after a boot");
    let mounted = Event::Mounted {
        dataset: ROOT.to_owned(),
        writable: true,
    };
    assert!(sim.trace.borrow().contains(&mounted));
    // What a replicator adds below it belongs to it; below the other root it does not.
    for name in ["z/sink/f0/new", "z/sink/f0/f2/new"] {
        let new = encrypted(name, name);
        sim.datasets.borrow_mut().push(Dataset {
            readonly_source: Source::Received,
            ..new
        });
    }
    sim.verb(|node| boot(node, &config()));
    assert!(!sim.find("z/sink/f0/new").readonly);
    assert!(sim.find("z/sink/f0/f2/new").readonly);
    // And once it is over, all is sealed again, and stays so.
    demote_now(&sim);
    assert_eq!(writable(&sim), [""; 0]);
    sim.reboot("boot-3");
    sim.datasets
        .borrow_mut()
        .push(encrypted("z/sink/f0/later", ROOT));
    let (first, _) = whole_boot(&sim);
    assert_eq!(writable(&sim), [""; 0]);
    assert!(!first.complaints().contains("promoted since"));
    assert!(matches!(gate(&sim, "serve"), GateAnswer::Closed(_)));
    assert_eq!(gate(&sim, "passive"), GateAnswer::Open);
}

#[test]
fn law_3_a_promotion_that_is_not_understood_or_not_the_roots_own_promotes_nothing() {
    let now = Promoted::Now(Promotion {
        epoch: 1,
        since: 1,
        reason: "x".to_owned(),
    });
    let cases = [
        (ROOT, Promoted::Unknown("promoted".to_owned())),
        (ROOT, Promoted::Over(3)),
        ("z/sink", now.clone()),
        ("z", now.clone()),
        ("z/sink/f0/a", now.clone()),
        ("z/enc", now),
    ];
    for (name, promotion) in cases {
        let sim = booted("riddle", From::Each);
        sim.reboot("boot-2");
        sim.change(name, |d| d.promotion = promotion.clone());
        for name in OWN {
            sim.change(name, |d| {
                d.readonly = false;
                d.readonly_source = Source::Received;
            });
        }
        let (first, _) = whole_boot(&sim);
        assert_eq!(writable(&sim), [""; 0], "{name} {promotion:?}");
        let mounts = |e: &Event| matches!(e, Event::Mounted { dataset, writable: true } if dataset.starts_with(ROOT));
        assert!(
            !sim.trace.borrow().iter().any(mounts),
            "{name} {promotion:?}"
        );
        if let Promoted::Unknown(_) = promotion {
            says(&first, Severity::Failure, ROOT, "counts as not promoted");
        }
    }
}

/// A change of the simulated node, and what it is called.
type Change = (&'static str, fn(&Sim));

/// What a state directory can hold beside a property that says promoted with epoch 2.
fn records_that_do_not_confirm() -> Vec<Change> {
    fn the_file(sim: &Sim) -> std::path::PathBuf {
        let guid = sim.find(ROOT).guid;
        sim.db().join(format!("promotion-{guid}.json"))
    }
    fn rewrite(sim: &Sim, from: &str, to: &str) {
        sim.record_of(ROOT, &second(), true);
        let text = std::fs::read_to_string(the_file(sim)).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(the_file(sim), text.replacen(from, to, 1)).unwrap();
    }
    vec![
        ("none", |_| {}),
        ("of the epoch before", |sim| {
            let epoch = 1;
            sim.record_of(ROOT, &Promotion { epoch, ..second() }, true);
        }),
        ("of a later epoch", |sim| {
            let epoch = 3;
            sim.record_of(ROOT, &Promotion { epoch, ..second() }, true);
        }),
        ("over", |sim| sim.record_of(ROOT, &second(), false)),
        ("of another dataset", |sim| {
            sim.record_of("z/sink/f0/a", &second(), true);
        }),
        ("of a dataset of that name that was there before", |sim| {
            sim.record_of(ROOT, &second(), true);
            sim.change(ROOT, |d| d.guid += 1);
        }),
        ("empty", |sim| std::fs::write(the_file(sim), "").unwrap()),
        ("of a stranger's guid", |sim| {
            let guid = sim.find(ROOT).guid;
            rewrite(sim, &guid.to_string(), "7");
        }),
        ("with more fields", |sim| {
            rewrite(sim, "\"lasts\"", "\"more\": 1, \"lasts\"");
        }),
        ("of epoch 0", |sim| {
            rewrite(sim, "\"epoch\": 2", "\"epoch\": 0")
        }),
        ("with a reason of two lines", |sim| {
            rewrite(sim, "f0 is dead", "f0\\nis dead");
        }),
        ("a directory", |sim| {
            std::fs::create_dir(the_file(sim)).unwrap()
        }),
        ("in a directory that cannot be read", |sim| {
            std::fs::remove_dir_all(sim.db()).unwrap();
            std::fs::write(sim.db(), "").unwrap();
        }),
    ]
}

fn second() -> Promotion {
    Promotion {
        epoch: 2,
        since: 1_795_000_000,
        reason: "f0 is dead".to_owned(),
    }
}

#[test]
fn law_3_a_property_without_this_nodes_own_record_promotes_nothing() {
    for (context, record) in records_that_do_not_confirm() {
        let sim = booted("unrecorded", From::Each);
        sim.reboot("boot-2");
        sim.change(ROOT, |d| d.promotion = Promoted::Now(second()));
        record(&sim);
        for name in OWN {
            sim.change(name, |d| {
                d.readonly = false;
                d.readonly_source = Source::Received;
            });
        }
        let (first, _) = whole_boot(&sim);
        assert_eq!(writable(&sim), [""; 0], "{context}");
        let writes = |e: &Event| matches!(e, Event::Mounted { dataset, writable: true } if dataset.starts_with(ROOT));
        assert!(!sim.trace.borrow().iter().any(writes), "{context}");
        let of_root = |f: &&f3skeys::report::Finding| f.subject == ROOT;
        let worst = first.findings.iter().filter(of_root).map(|f| f.severity);
        let expected = match sim.promotion(ROOT) {
            Promoted::Disputed(_) => Severity::Alarm,
            Promoted::Unknown(_) => Severity::Failure,
            other => panic!("{context}: {other:?}"),
        };
        assert_eq!(worst.max(), Some(expected), "{context}");
        // No peer hears that nothing was promoted.
        let heard = asked(&primary(), &sim);
        assert!(
            matches!(heard, GateAnswer::CannotTell(_)),
            "{context} {heard:?}"
        );
    }
}

#[test]
fn law_3_a_record_without_the_property_promotes_nothing_either_and_demote_ends_it() {
    for property in [Promoted::Never, Promoted::Over(1), Promoted::Over(2)] {
        let sim = booted("no-property", From::Each);
        sim.record_of(ROOT, &second(), true);
        sim.change(ROOT, |d| d.promotion = property.clone());
        sim.reboot("boot-2");
        sim.change(ROOT, |d| d.readonly = false);
        whole_boot(&sim);
        assert_eq!(writable(&sim), [""; 0], "{property:?}");
        let heard = asked(&primary(), &sim);
        assert!(matches!(heard, GateAnswer::CannotTell(_)), "{heard:?}");
        assert_eq!(demote_now(&sim).status, 0);
        assert_eq!(sim.promotion(ROOT), Promoted::Over(2), "{property:?}");
        assert_eq!(asked(&primary(), &sim), GateAnswer::Open, "{property:?}");
    }
}

#[test]
fn a_promotion_that_an_older_version_made_is_confirmed_by_promoting_again() {
    let sim = booted("older", From::Each);
    sim.change(ROOT, |d| d.promotion = Promoted::Now(second()));
    let report = sim.verb(|node| promote(node, &config(), &root(), "another reason"));
    assert_eq!(report.status, 0, "{}", report.complaints());
    assert_eq!(sim.promotion(ROOT), Promoted::Now(second()));
    assert_eq!(writable(&sim), OWN);
    says(
        &report,
        Severity::Note,
        ROOT,
        "had not recorded: now confirmed",
    );
    let recorded = |e: &Event| matches!(e, Event::Recorded(..));
    assert!(
        !sim.trace.borrow().iter().any(recorded),
        "the property is as it was"
    );
    // What is over is not confirmed: it begins anew.
    for known in [2, 5] {
        let sim = booted("begun-anew", From::Each);
        sim.change(ROOT, |d| d.promotion = Promoted::Now(second()));
        let epoch = known;
        sim.record_of(ROOT, &Promotion { epoch, ..second() }, false);
        assert_eq!(promote_now(&sim).status, 0);
        let next = known + 1;
        assert!(matches!(sim.promotion(ROOT), Promoted::Now(p) if p.epoch == next));
    }
}

#[test]
fn law_3_a_promotion_that_cannot_be_recorded_here_makes_nothing_writable() {
    let sim = booted("unwritable", From::Each);
    let guid = sim.find(ROOT).guid;
    let file = sim.db().join(format!("promotion-{guid}.json"));
    // Where the record is prepared, something is in the way.
    let in_the_way = sim.db().join(format!(".promotion-{guid}.json.new"));
    std::fs::create_dir(&in_the_way).unwrap();
    let report = promote_now(&sim);
    assert_eq!(report.fault, Some(Fault::System), "{}", report.complaints());
    assert_eq!(writable(&sim), [""; 0]);
    let unsealed = |e: &Event| matches!(e, Event::Unsealed(_));
    assert!(!sim.trace.borrow().iter().any(unsealed));
    assert!(!file.exists());
    std::fs::remove_dir(&in_the_way).unwrap();
    assert_eq!(promote_now(&sim).status, 0);
    promoted_well(&sim, "once it can be written");
    // And its end is over only once that is recorded.
    write_on(&sim, ROOT, 4096);
    std::fs::create_dir(&in_the_way).unwrap();
    assert_eq!(demote_now(&sim).fault, Some(Fault::System));
    assert!(is_promoted(&sim));
    assert_eq!(writable(&sim), [""; 0]);
    std::fs::remove_dir(&in_the_way).unwrap();
    assert_eq!(demote_now(&sim).status, 0);
    assert_eq!(sim.promotion(ROOT), Promoted::Over(1));
    assert_eq!(snapshots(&sim, ROOT), ["common", "f3skeys-demoted-1"]);
}

/// The pool says that something is written still, at every look after it was sealed.
#[test]
fn law_8_a_demotion_is_not_over_while_something_is_written_still() {
    let sim = written_world("still-written", From::Each);
    sim.busy_writer.borrow_mut().push("z/sink/f0/a".to_owned());
    let report = demote_now(&sim);
    assert_eq!(report.fault, Some(Fault::Unavailable));
    says(&report, Severity::Failure, ROOT, "could not be kept");
    assert!(is_promoted(&sim));
    let over = |e: &Event| matches!(e, Event::Recorded(..));
    assert!(!sim.trace.borrow().iter().any(over));
    sim.busy_writer.borrow_mut().clear();
    assert_eq!(demote_now(&sim).status, 0);
    assert_eq!(sim.promotion(ROOT), Promoted::Over(1));
    for name in OWN {
        assert_eq!(sim.pasts.borrow()[name].written, 0, "{name}");
    }
}

#[test]
fn divergence_is_an_alarm_with_the_way_out_and_nothing_is_touched() {
    let sim = booted("diverged", From::Each);
    set_past(&sim, "z/sink/f0/a", 8192, vec![moment("common", 7, 1)]);
    // A directory of the tree that never received anything, and a primary: neither can diverge.
    set_past(&sim, "z/sink/other", 98_304, vec![]);
    set_past(&sim, "z/enc", 1 << 30, vec![moment("own", 9, 1)]);
    let (first, second) = whole_boot(&sim);
    for report in [&first, &second] {
        let words = "8192 bytes were written on this replica since @common";
        says(report, Severity::Alarm, "z/sink/f0/a", words);
        let alarms = report
            .findings
            .iter()
            .filter(|f| f.severity == Severity::Alarm);
        assert_eq!(alarms.count(), 1, "{}", report.complaints());
        assert!(report.complaints().contains("`f3skeys promote`"));
        assert_eq!(report.status, 0);
    }
    assert!(sim.trace.borrow().is_empty(), "{:?}", sim.trace.borrow());
    // Promoted, it is no divergence but the point.
    promote_now(&sim);
    let report = sim.verb(|node| ready(node, &config()));
    assert!(
        !report
            .findings
            .iter()
            .any(|f| f.severity == Severity::Alarm)
    );
}

#[test]
fn only_a_boot_ends_the_lock_of_a_person() {
    let sim = booted("locked", From::Each);
    sim.reboot("boot-1");
    marker::set_locked(&sim.run(), true).unwrap();
    let gone = sim.verb(|node| late(node, &config()));
    assert!(gone.is_none(), "a stick undoes the lock");
    assert!(sim.trace.borrow().is_empty());
    assert!(marker::is_locked(&sim.run()).unwrap());
    let report = sim.verb(|node| boot(node, &config()));
    assert!(!marker::is_locked(&sim.run()).unwrap());
    assert_eq!(
        report.changed.first().unwrap(),
        "the node is no longer locked"
    );
    assert_eq!(report.status, 0, "{}", report.complaints());
}

/// f0, whose datasets f1 holds.
const PRIMARY: &str = r#"(
    node: "f0",
    store: (label: "K"),
    roots: [(dataset: "y/enc", key: "f0:z", role: primary, required: true)],
    gates: [
        (name: "failback", needs: [writable("y/enc"), not_promoted(peer: "f1")]),
        (name: "more", needs: [gate("failback")]),
    ],
    replicas: [(of: "y/enc", node: "f1", dataset: "z/sink/f0")],
    peers: [(name: "f1", ssh: "root@f1")],
)"#;

/// What f1 answers to a question.
fn told(f1: &Sim, from: &NodeName, question: &[u8]) -> Result<Vec<u8>, Refused> {
    told_by(&config(), f1, from, question)
}

fn told_by(
    config: &Config,
    f1: &Sim,
    from: &NodeName,
    question: &[u8],
) -> Result<Vec<u8>, Refused> {
    let closed = Err("closed".to_owned());
    let ask = understand(config, from, question, &closed)?;
    f1.verb(|node| answer(node, config, from, ask, None, Time::begin(f1)))
}

/// f1's configuration, where the replica below f0's own is f2's.
fn with_f2() -> Config {
    let ours = r#"(dataset: "z/sink/f0/f2", key: "f0:z""#;
    assert!(CONFIG.contains(ours));
    let text = CONFIG
        .replace(ours, r#"(dataset: "z/sink/f0/f2", key: "f2:z""#)
        .replace("peers: [", r#"peers: [(name: "f2", ssh: "root@f2"), "#);
    Config::parse(&text).unwrap()
}

/// The wire between the two: what f0 asks, f1 answers, in bytes.
struct Wire<'a> {
    other: &'a Sim,
    asked: RefCell<u32>,
}

impl Peers for Wire<'_> {
    fn ask(
        &self,
        peer: &Peer,
        question: &Question,
        keys: &[&Key],
        _by: Deadline,
    ) -> Result<Reply, Trouble> {
        *self.asked.borrow_mut() += 1;
        let bytes = question.line(keys).unwrap();
        let from = question.from.clone();
        let answered = told(self.other, &from, &bytes);
        let failed = |why: String| Trouble::failed(peer.name.as_str(), &why);
        let line = answered.map_err(|refused| failed(refused.what))?;
        reply(&line).map_err(failed)
    }
}

/// What f0 makes of what f1 says.
fn asked(f0: &Sim, f1: &Sim) -> GateAnswer {
    let config = Config::parse(PRIMARY).unwrap();
    let wire = Wire {
        other: f1,
        asked: RefCell::default(),
    };
    let before = f1.trace.borrow().len();
    let mut answers = f0.verb(|node| {
        let peers = gate::peers(&config, named(&config, "more").unwrap());
        let deadline = Deadline::after(f0, Duration::from_secs(10));
        ask_all(
            Node {
                peers: &wire,
                ..node
            },
            &config,
            &peers,
            deadline,
        )
    });
    assert_eq!(*wire.asked.borrow(), 1);
    assert_eq!(
        f1.trace.borrow().len(),
        before,
        "a question changes something"
    );
    assert_eq!(answers.len(), 1);
    answers.remove(&"f1".parse().unwrap()).unwrap()
}

fn closed_by(answer: GateAnswer, words: &str) {
    match answer {
        GateAnswer::Closed(why) => assert!(why.contains(words), "{why}\nnot {words}"),
        other => panic!("{words}: {other:?}"),
    }
}

/// f0 with the same snapshots as f1's replica.
fn primary() -> Sim {
    let names = [
        "y/enc",
        "y/enc/a",
        "y/enc/a/b",
        "y/enc/f2",
        "y/enc/f2/c",
        "y/enc/vol",
    ];
    let f0 = Sim::new("f0").with(names.iter().map(|n| encrypted(n, "y/enc")).collect());
    for name in names {
        set_past(&f0, name, 123, vec![moment("common", 7, 1_794_000_000)]);
    }
    f0
}

#[test]
fn the_failover_story_as_the_returning_primary_hears_it() {
    let (f0, f1) = (primary(), booted("f1", From::Sink));
    assert_eq!(asked(&f0, &f1), GateAnswer::Open);
    // Promoted: every dataset of it says so, whether or not it was written.
    promote_now(&f1);
    closed_by(asked(&f0, &f1), "epoch 1: f0 is dead");
    write_on(&f1, "z/sink/f0/a", 4096);
    closed_by(asked(&f0, &f1), "epoch 1: f0 is dead");
    // Demoted: what was written is in a snapshot that f0 does not have.
    demote_now(&f1);
    closed_by(asked(&f0, &f1), "has @f3skeys-demoted-1");
    // Brought over, as a person does it: then f0 has everything.
    for name in OWN {
        let moments = f1.pasts.borrow()[name].moments.clone();
        set_past(&f0, &name.replace("z/sink/f0", "y/enc"), 0, moments);
    }
    assert_eq!(asked(&f0, &f1), GateAnswer::Open);
    // Written without any promotion.
    f1.pasts
        .borrow_mut()
        .get_mut("z/sink/f0/vol")
        .unwrap()
        .written = 1;
    closed_by(asked(&f0, &f1), "1 bytes were written on its z/sink/f0/vol");
}

#[test]
fn what_cannot_be_asked_is_not_taken_for_a_no() {
    let cannot = |f0: &Sim, f1: &Sim, words: &str| match asked(f0, f1) {
        GateAnswer::CannotTell(why) => assert!(why.contains(words), "{why}\nnot {words}"),
        other => panic!("{words}: {other:?}"),
    };
    let f1 = booted("f1-mute", From::Sink);
    let riddle = Promoted::Unknown("yes".to_owned());
    f1.change(ROOT, |d| d.promotion = riddle);
    cannot(&primary(), &f1, "says `yes`");
    f1.change(ROOT, |d| d.promotion = Promoted::Never);
    assert_eq!(asked(&primary(), &f1), GateAnswer::Open);
    for (state, words) in [
        (PoolState::Suspended, "suspended"),
        (PoolState::NotImported, "not imported"),
        (PoolState::Unknown("odd".to_owned()), "odd"),
    ] {
        f1.states.borrow_mut().insert("z".to_owned(), state.clone());
        cannot(&primary(), &f1, words);
        let works = PoolState::Works("ONLINE".to_owned());
        f1.states.borrow_mut().insert("z".to_owned(), works);
        let f0 = primary();
        f0.states.borrow_mut().insert("y".to_owned(), state);
        cannot(&f0, &f1, words);
    }
    f1.hanging.borrow_mut().push("z".to_owned());
    cannot(&primary(), &f1, "given up");
    f1.hanging.borrow_mut().clear();
    f1.not_understood(ROOT, ROOT);
    cannot(&primary(), &f1, "not understood");
    f1.damaged.borrow_mut().clear();
    let f0 = primary();
    f0.hanging.borrow_mut().push("y".to_owned());
    cannot(&f0, &f1, "given up");
    f1.datasets
        .borrow_mut()
        .retain(|d| !d.name.as_str().starts_with(ROOT));
    cannot(&primary(), &f1, "there is no z/sink/f0 on f1");
}

fn replicas(line: &[u8]) -> Vec<ReplicaState> {
    match reply(line).unwrap().answer {
        Told::Replicas(replicas) => replicas,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_replica_below_a_promoted_root_is_told_as_promoted() {
    let f1 = booted("f1-below", From::Sink);
    promote_now(&f1);
    let question = br#"{"version":2,"from":"f0","ask":{"replicas":["z/sink/f0/a"]}}"#;
    let from = "f0".parse().unwrap();
    let line = told(&f1, &from, question);
    let below = replicas(&line.unwrap());
    let names: Vec<&str> = below.iter().map(|r| r.dataset.as_str()).collect();
    assert_eq!(names, ["z/sink/f0/a", "z/sink/f0/a/b"]);
    let now = |promoted: &Promoted| matches!(promoted, Promoted::Now(_));
    assert!(below.iter().all(|replica| now(&replica.promoted)));
    let other = br#"{"version":2,"from":"f0","ask":{"replicas":["z/sink/f0/f2"]}}"#;
    let line = told(&f1, &from, other);
    let below = replicas(&line.unwrap());
    assert!(
        below
            .iter()
            .all(|replica| replica.promoted == Promoted::Never)
    );
}

#[test]
fn a_peer_hears_nothing_of_anothers_replica_below_its_own() {
    let (config, f1) = (with_f2(), booted("f1-nested", From::Sink));
    let names = |from: &str, asked: &str| {
        let line = format!(r#"{{"version":2,"from":"{from}","ask":{{"replicas":["{asked}"]}}}}"#);
        let line = told_by(&config, &f1, &from.parse().unwrap(), line.as_bytes()).unwrap();
        let told = replicas(&line).into_iter().map(|r| r.dataset.to_string());
        told.collect::<Vec<_>>()
    };
    assert_eq!(names("f0", ROOT), OWN);
    assert_eq!(
        names("f2", "z/sink/f0/f2"),
        ["z/sink/f0/f2", "z/sink/f0/f2/c"]
    );
}

#[test]
fn a_peer_hears_no_name_of_anothers_dataset_that_is_not_understood() {
    let (config, f1) = (with_f2(), booted("f1-odd", From::Sink));
    let nonce = "12".repeat(32);
    let line = format!(
        r#"{{"version":2,"from":"f0","ask":{{"key":{{"key":"f0:z","nonce":"{nonce}"}}}}}}"#
    );
    for (name, opened_by, is_told) in [
        ("z/sink/f0/a", ROOT, true),
        ("z/sink/f0/f2", ROOT, false),
        ("z/sink/f0/f2/c", ROOT, false),
        ("z/enc/of-f1", "?", false),
        ("z/nobodys", "?", false),
    ] {
        f1.not_understood(name, opened_by);
        let line = told_by(&config, &f1, &"f0".parse().unwrap(), line.as_bytes()).unwrap();
        f1.damaged.borrow_mut().clear();
        let Told::Key(told) = reply(&line).unwrap().answer else {
            panic!("{name}");
        };
        let root = told
            .roots
            .iter()
            .find(|told| told.dataset == root())
            .unwrap();
        let Opens::CouldNotAsk(why) = &root.opens else {
            panic!("{name}: {root:?}");
        };
        assert_eq!(why.contains(name), is_told, "{why}");
        assert!(why.contains("not understood"), "{why}");
    }
}
