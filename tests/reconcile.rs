//! `reconcile`: services follow their gates, and bare directories are guarded. Over a simulated node.

mod sim;

use f3skeys::boot::boot;
use f3skeys::config::Config;
use f3skeys::exit::Fault;
use f3skeys::host::bare::Bare;
use f3skeys::late::late;
use f3skeys::marker;
use f3skeys::names::ServiceName;
use f3skeys::pass::Node;
use f3skeys::ready::ready;
use f3skeys::reconcile::{is_news, reconcile};
use f3skeys::report::{Report, Severity};
use f3skeys::services::{Definition, Limit, Seen, Services, State};
use f3skeys::time::{Clock, Deadline};
use f3skeys::trouble::Trouble;
use sim::{CONFIG, Event, Sim, f3s, good_stick};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

const NFS: &str = "zdata/enc/nfsdata";
const SERVICES: [&str; 3] = ["mountd", "nfsd", "stunnel"];

fn config() -> Config {
    let text = CONFIG.replace(
        r#"dataset: "zdata/enc/nfsdata")]),"#,
        r#"dataset: "zdata/enc/nfsdata")], services: ["mountd", "nfsd", "stunnel"]),"#,
    );
    let text = text.replace("gates: [", r#"guards: ["/data/nfs", "/data/f1"], gates: ["#);
    Config::parse(&text).unwrap()
}

fn run(sim: &Sim) -> Report {
    sim.verb(|node| reconcile(node, &config()))
}

/// A node after its boot; the system starts the services if the gate lets it.
fn booted(name: &str, stick: bool) -> Sim {
    let sim = f3s(&format!("reconcile-{name}"));
    if stick {
        sim.sticks.borrow_mut().push(good_stick());
    }
    sim.verb(|node| boot(node, &config()));
    sim.zfs_mount_all();
    let report = sim.verb(|node| ready(node, &config()));
    let open = report.gates[0].open;
    let states = SERVICES.iter().map(|name| ((*name).to_owned(), open));
    *sim.service_states.borrow_mut() = states.collect();
    sim.trace.borrow_mut().clear();
    sim
}

fn moves(sim: &Sim) -> Vec<String> {
    let words = |event: &Event| match event {
        Event::Started(name) => Some(format!("+{name}")),
        Event::Stopped(name) => Some(format!("-{name}")),
        _ => None,
    };
    let moves = sim.trace.borrow().iter().filter_map(words).collect();
    sim.trace.borrow_mut().clear();
    moves
}

fn remount(sim: &Sim) {
    sim.zfs_mount_all();
}

fn running(sim: &Sim) -> usize {
    let states = sim.service_states.borrow();
    states.values().filter(|runs| **runs).count()
}

#[test]
fn services_of_an_open_gate_are_left_alone() {
    let sim = booted("quiet", true);
    for _ in 0..3 {
        let report = run(&sim);
        assert_eq!((report.status, report.changed), (0, vec![]));
        assert!(report.gates.iter().all(|gate| gate.open));
    }
    // An admin stops one: that is the admin's business.
    sim.service_states.borrow_mut().insert("nfsd".into(), false);
    for pass in [reconcile, ready, reconcile] {
        sim.verb(|node| pass(node, &config()));
    }
    assert_eq!(moves(&sim), [""; 0]);
}

#[test]
fn services_stop_in_reverse_when_the_gate_closes_and_start_once_when_it_opens() {
    let sim = booted("cycle", true);
    for _ in 0..2 {
        sim.unmount(NFS);
        let report = run(&sim);
        assert_eq!(report.status, 0, "{}", report.complaints());
        assert_eq!(moves(&sim), ["-stunnel", "-nfsd", "-mountd"]);
        assert_eq!(run(&sim).changed, [""; 0]);
        assert_eq!(moves(&sim), [""; 0]);
        remount(&sim);
        sim.trace.borrow_mut().clear();
        run(&sim);
        assert_eq!(moves(&sim), ["+mountd", "+nfsd", "+stunnel"]);
        assert_eq!(run(&sim).changed, [""; 0]);
        // Stopped by an admin after it was started: it stays so.
        sim.service_states.borrow_mut().insert("nfsd".into(), false);
        run(&sim);
        assert_eq!(moves(&sim), [""; 0]);
        sim.service_states.borrow_mut().insert("nfsd".into(), true);
    }
}

#[test]
fn only_what_runs_is_stopped_and_only_what_does_not_is_started() {
    let sim = booted("some", true);
    sim.service_states.borrow_mut().insert("nfsd".into(), false);
    sim.unmount(NFS);
    run(&sim);
    assert_eq!(moves(&sim), ["-stunnel", "-mountd"]);
    sim.service_states
        .borrow_mut()
        .insert("mountd".into(), true);
    remount(&sim);
    // Somebody has just started it; it is no more to be stopped, since the gate is open.
    sim.trace.borrow_mut().clear();
    run(&sim);
    assert_eq!(moves(&sim), ["+nfsd", "+stunnel"]);
}

#[test]
fn a_stick_that_comes_hours_later_starts_what_was_refused_at_boot() {
    let sim = booted("late", false);
    assert_eq!(running(&sim), 0);
    sim.sticks.borrow_mut().push(good_stick());
    let mut late = sim.verb(|node| late(node, &config())).unwrap();
    assert_eq!(moves(&sim), [""; 0], "not before the process is fit for it");
    let report = sim.verb(|node| late.settle(node, &config())).unwrap();
    assert_eq!(report.status, 0);
    assert_eq!(moves(&sim), ["+mountd", "+nfsd", "+stunnel"]);
    assert_eq!(late.opened.len(), 3);
    run(&sim);
    assert_eq!(moves(&sim), [""; 0]);
}

#[test]
fn a_late_boot_on_a_locked_node_does_nothing() {
    let sim = booted("late-locked", false);
    marker::set_locked(&sim.run(), true).unwrap();
    sim.sticks.borrow_mut().push(good_stick());
    assert!(sim.verb(|node| late(node, &config())).is_none());
    assert!(sim.trace.borrow().is_empty());
}

/// The service manager of a run that is killed at the n-th thing it asks.
struct Dying<'a> {
    real: &'a Sim,
    left: Cell<u32>,
}

impl Dying<'_> {
    fn live_on(&self) {
        let left = self.left.get();
        if left == 0 {
            std::panic::resume_unwind(Box::new("killed"));
        }
        self.left.set(left - 1);
    }
}

impl Services for Dying<'_> {
    fn look(&self, service: &ServiceName, deadline: Deadline) -> Result<Seen, Trouble> {
        self.live_on();
        self.real.look(service, deadline)
    }

    fn commands(
        &self,
        service: &ServiceName,
        deadline: Deadline,
    ) -> Result<Option<String>, Trouble> {
        self.live_on();
        self.real.commands(service, deadline)
    }

    fn start(&self, service: &ServiceName, deadline: Deadline) -> Result<(), Trouble> {
        self.live_on();
        self.real.start(service, deadline)
    }

    fn stop(&self, service: &ServiceName, deadline: Deadline) -> Result<(), Trouble> {
        self.live_on();
        self.real.stop(service, deadline)
    }
}

/// Kills a run at the n-th word with the service manager; tells whether it came so far.
fn killed(sim: &Sim, n: u32) -> bool {
    let left = Cell::new(n);
    let services = Dying { real: sim, left };
    let services = &services;
    catch_unwind(AssertUnwindSafe(|| {
        sim.verb(|node| reconcile(Node { services, ..node }, &config()));
    }))
    .is_err()
}

#[test]
fn a_killed_run_is_finished_by_the_next() {
    let mut kills = 0;
    for n in 0.. {
        // While it stops them.
        let sim = booted("killed", true);
        sim.unmount(NFS);
        let stopping = killed(&sim, n);
        run(&sim);
        assert_eq!(running(&sim), 0, "killed at {n}");
        // While it starts them.
        remount(&sim);
        let starting = killed(&sim, n);
        run(&sim);
        assert_eq!(running(&sim), 3, "killed at {n}");
        sim.service_states.borrow_mut().insert("nfsd".into(), false);
        sim.trace.borrow_mut().clear();
        run(&sim);
        assert_eq!(moves(&sim), [""; 0], "killed at {n}: started once");
        kills += u32::from(stopping) + u32::from(starting);
        if !stopping && !starting {
            break;
        }
    }
    assert_eq!(
        kills,
        9 + 9,
        "3 services: asked, stopped, asked; asked, started, asked"
    );
}

#[test]
fn a_service_that_does_not_stop_is_a_failure_each_time() {
    let sim = booted("deaf", true);
    sim.deaf_services.borrow_mut().push("nfsd".to_owned());
    sim.unmount(NFS);
    for first in [true, false] {
        let report = run(&sim);
        assert_eq!(report.fault, Some(Fault::Unavailable));
        assert!(report.complaints().contains("nfsd: could not be stopped"));
        assert!(is_news(&report, None));
        let others: &[&str] = if first { &["-stunnel", "-mountd"] } else { &[] };
        assert_eq!(moves(&sim), others, "one fault stays one fault");
    }
}

#[test]
fn a_service_that_does_not_start_is_tried_again_and_holds_those_after_it() {
    let sim = booted("lazy", false);
    sim.deaf_services.borrow_mut().push("nfsd".to_owned());
    sim.sticks.borrow_mut().push(good_stick());
    let mut late = sim.verb(|node| late(node, &config())).unwrap();
    let report = sim.verb(|node| late.settle(node, &config())).unwrap();
    assert_eq!(report.status, 69);
    assert!(report.complaints().contains("nfsd: did not start"));
    sim.deaf_services.borrow_mut().clear();
    assert_eq!(run(&sim).status, 0);
    assert_eq!(moves(&sim), ["+mountd", "+nfsd", "+stunnel"]);
}

#[test]
fn a_service_whose_state_nobody_knows_is_stopped() {
    let sim = booted("unknown", true);
    sim.service_states.borrow_mut().remove("nfsd");
    sim.unmount(NFS);
    assert_eq!(run(&sim).status, 0);
    assert_eq!(moves(&sim), ["-stunnel", "-nfsd", "-mountd"]);
}

/// A node whose nfsd takes so long to start and to stop, and ends a start so.
fn slow(name: &str, stick: bool, times: (u64, u64), end: State) -> Sim {
    let sim = booted(name, stick);
    let [start, stop] = [times.0, times.1].map(Duration::from_secs);
    let slow = (start, stop, end);
    sim.slow_services.borrow_mut().insert("nfsd".into(), slow);
    sim
}

/// A late boot of a node without its stick, up to the services.
fn comes_up(sim: &Sim) -> Report {
    sim.sticks.borrow_mut().push(good_stick());
    let mut late = sim.verb(|node| late(node, &config())).unwrap();
    sim.verb(|node| late.settle(node, &config())).unwrap()
}

fn minute(sim: &Sim) -> Report {
    sim.sleep(Duration::from_secs(60));
    run(sim)
}

fn news(sim: &Sim) -> (u8, bool) {
    let before = Report::last(&sim.db(), "reconcile");
    let report = minute(sim);
    (report.status, is_news(&report, before.as_ref()))
}

/// What is said of nfsd, by how bad it is.
fn nfsd(report: &Report) -> Vec<Severity> {
    let of = report.findings.iter().filter(|f| f.subject == "nfsd");
    of.map(|f| f.severity).collect()
}

#[test]
fn a_service_that_takes_its_time_is_told_once_and_holds_up_none() {
    let sim = slow("slow", false, (150, 1), State::Running);
    let report = comes_up(&sim);
    assert_eq!(report.status, 0, "{}", report.complaints());
    assert_eq!(nfsd(&report), [Severity::Note]);
    assert_eq!(moves(&sim), ["+mountd", "+nfsd", "+stunnel"]);
    // It is on its way still: nothing is new.
    assert_eq!(news(&sim), (0, false));
    // What an admin stops meanwhile stays stopped.
    let stopped = |sim: &Sim| {
        sim.service_states
            .borrow_mut()
            .insert("mountd".into(), false)
    };
    stopped(&sim);
    minute(&sim);
    let up = minute(&sim);
    assert_eq!(up.changed, ["started nfsd, since gate nfs has opened"]);
    assert_eq!((up.status, nfsd(&up)), (0, vec![]));
    assert_eq!(news(&sim), (0, false));
    assert_eq!(moves(&sim), [""; 0], "started once");
}

#[test]
fn a_service_that_its_manager_gives_up_is_a_failure_and_is_tried_again() {
    for end in [State::Failed, State::Retrying] {
        let sim = slow("gives-up", false, (90, 1), end);
        assert_eq!(nfsd(&comes_up(&sim)), [Severity::Note]);
        assert_eq!(nfsd(&minute(&sim)), [Severity::Note]);
        let given_up = minute(&sim);
        assert_eq!(
            (given_up.status, nfsd(&given_up)),
            (69, vec![Severity::Failure])
        );
        assert_eq!(moves(&sim), ["+mountd", "+nfsd", "+stunnel"]);
        assert_eq!(nfsd(&minute(&sim)), [Severity::Note]);
        assert_eq!(moves(&sim), ["+nfsd"], "once more");
    }
}

#[test]
fn a_service_that_has_done_its_work_and_ended_is_not_started_again() {
    let sim = slow("one-shot", false, (90, 1), State::Running);
    comes_up(&sim);
    sim.sleep(Duration::from_secs(100));
    sim.slow_services.borrow_mut().clear();
    sim.service_states.borrow_mut().insert("nfsd".into(), false);
    moves(&sim);
    let report = run(&sim);
    assert_eq!((report.status, nfsd(&report)), (0, vec![]));
    assert_eq!((run(&sim).changed, moves(&sim)), (vec![], vec![]));
}

/// As of a disabled service on FreeBSD, or of a unit whose condition is not met.
#[test]
fn a_start_that_starts_nothing_is_told_and_is_no_started_service() {
    let sim = booted("starts-nothing", false);
    let slow = (Duration::ZERO, Duration::ZERO, State::Stopped);
    sim.slow_services.borrow_mut().insert("nfsd".into(), slow);
    let report = comes_up(&sim);
    assert_eq!((report.status, nfsd(&report)), (0, vec![Severity::Warning]));
    assert_eq!(moves(&sim), ["+mountd", "+nfsd", "+stunnel"]);
    assert!(!report.changed.iter().any(|c| c.contains("nfsd")));
    assert_eq!((nfsd(&run(&sim)), moves(&sim)), (vec![], vec![]), "once");
}

#[test]
fn a_service_that_is_starting_is_stopped_when_its_gate_closes() {
    let sim = slow("starting", false, (150, 1), State::Running);
    comes_up(&sim);
    sim.unmount(NFS);
    moves(&sim);
    let report = run(&sim);
    assert_eq!(report.status, 0, "{}", report.complaints());
    assert_eq!(moves(&sim), ["-stunnel", "-nfsd", "-mountd"]);
    sim.sleep(Duration::from_secs(200));
    assert_eq!(running(&sim), 0);
    assert_eq!(run(&sim).changed, [""; 0]);
}

#[test]
fn a_service_that_stops_slowly_keeps_none_running_and_is_told_once() {
    // Ten seconds are waited for; the rest is the next run's.
    let sim = slow("stops", true, (1, 10), State::Running);
    sim.unmount(NFS);
    let report = run(&sim);
    assert_eq!((report.status, nfsd(&report)), (0, vec![]));
    assert_eq!(moves(&sim), ["-stunnel", "-nfsd", "-mountd"]);
    let stopped = |change: &&f3skeys::foreign::Line| change.starts_with("stopped ");
    assert_eq!(report.changed.iter().filter(stopped).count(), 3);
    let sim = slow("stops-later", true, (1, 150), State::Running);
    sim.unmount(NFS);
    let report = run(&sim);
    assert_eq!(moves(&sim), ["-stunnel", "-nfsd", "-mountd"]);
    assert_eq!((report.status, nfsd(&report)), (0, vec![Severity::Warning]));
    assert_eq!(news(&sim), (0, false));
    sim.sleep(Duration::from_secs(60));
    assert_eq!(nfsd(&run(&sim)), []);
    assert_eq!((run(&sim).changed, moves(&sim)), (vec![], vec![]));
}

#[test]
fn a_service_that_is_stopping_when_its_gate_opens_is_started() {
    let sim = slow("stops-and-starts", true, (1, 150), State::Running);
    sim.unmount(NFS);
    run(&sim);
    remount(&sim);
    moves(&sim);
    let report = run(&sim);
    assert_eq!(report.status, 0, "{}", report.complaints());
    assert_eq!(moves(&sim), ["+mountd", "+nfsd", "+stunnel"]);
    sim.sleep(Duration::from_secs(200));
    run(&sim);
    assert_eq!(running(&sim), 3);
}

/// As k3s, whose pods go on without it until the unit that ends them is stopped.
#[test]
fn tasks_that_the_stop_of_another_service_ends_are_none_that_are_left() {
    for (ended_by, before, expected) in [
        ("mountd", true, (0, vec![])),
        ("mountd", false, (0, vec![])),
        ("nobody", true, (69, vec![Severity::Failure])),
        ("nobody", false, (69, vec![Severity::Failure])),
    ] {
        let sim = booted(&format!("tasks-{ended_by}-{before}"), true);
        let ends = ("nfsd".to_owned(), ended_by.to_owned());
        sim.tasks_ended_by.borrow_mut().extend([ends]);
        sim.service_states
            .borrow_mut()
            .insert("nfsd".into(), before);
        sim.unmount(NFS);
        let report = run(&sim);
        assert_eq!((report.status, nfsd(&report)), expected, "{ended_by}");
        let is_told = report.changed.iter().any(|c| c.contains("stopped nfsd"));
        assert_eq!(is_told, before && ended_by == "mountd");
    }
}

fn odd(sim: &Sim, seen: Seen) {
    sim.odd_services.borrow_mut().insert("nfsd".into(), seen);
}

fn of(definition: Definition, state: State) -> Seen {
    Seen {
        definition,
        ..Seen::only(state)
    }
}

#[test]
fn each_state_of_a_service_behind_a_closed_gate_is_what_it_is() {
    let left = |state| Seen {
        tasks: 2,
        ..Seen::only(state)
    };
    let queued = |state| Seen {
        queued: true,
        ..Seen::only(state)
    };
    let (failure, warning) = (vec![Severity::Failure], vec![Severity::Warning]);
    for (number, (seen, status, said)) in [
        (Seen::only(State::Stopped), 0, vec![]),
        (Seen::only(State::Failed), 0, vec![]),
        (of(Definition::Masked, State::Stopped), 0, vec![]),
        (of(Definition::Masked, State::Running), 69, failure.clone()),
        (
            of(Definition::Broken("error".into()), State::Failed),
            0,
            vec![],
        ),
        (of(Definition::Missing, State::Stopped), 0, failure.clone()),
        (left(State::Stopped), 69, failure.clone()),
        (left(State::Failed), 69, failure.clone()),
        (Seen::only(State::Running), 69, failure.clone()),
        (Seen::only(State::Starting), 69, failure.clone()),
        (Seen::only(State::Retrying), 69, failure.clone()),
        (Seen::only(State::Unknown("odd".into())), 69, failure),
        (Seen::only(State::Stopping), 0, warning.clone()),
        (queued(State::Running), 0, warning.clone()),
        (queued(State::Stopped), 0, warning),
    ]
    .into_iter()
    .enumerate()
    {
        let sim = booted(&format!("odd-{number}"), true);
        odd(&sim, seen.clone());
        sim.unmount(NFS);
        let report = run(&sim);
        assert_eq!((report.status, nfsd(&report)), (status, said), "{seen:?}");
        assert_eq!(
            moves(&sim),
            ["-stunnel", "-mountd"],
            "one fault stays one fault"
        );
    }
}

#[test]
fn what_no_start_can_bring_up_is_a_failure_with_its_own_remedy() {
    let mut remedies = BTreeSet::new();
    for definition in [
        Definition::Missing,
        Definition::Masked,
        Definition::Broken("error".into()),
    ] {
        let sim = booted("no-start", false);
        odd(&sim, of(definition, State::Stopped));
        let report = comes_up(&sim);
        assert_eq!(
            (report.status, nfsd(&report)),
            (69, vec![Severity::Failure])
        );
        assert_eq!(moves(&sim), ["+mountd"], "what comes after may need it");
        let found = report
            .findings
            .iter()
            .find(|f| f.subject == "nfsd")
            .unwrap();
        remedies.insert(found.remedy.to_string());
    }
    assert_eq!(remedies.len(), 3);
}

#[test]
fn law_6_the_wait_for_slow_services_is_on_the_budget() {
    let sim = booted("budget", true);
    for name in SERVICES {
        let slow = (Duration::ZERO, Duration::from_secs(500), State::Running);
        sim.slow_services.borrow_mut().insert(name.into(), slow);
    }
    sim.unmount(NFS);
    let before = sim.now();
    let report = run(&sim);
    assert!(sim.now() - before < config().budget);
    assert_eq!(moves(&sim), ["-stunnel", "-nfsd", "-mountd"]);
    assert_eq!(report.findings.len(), 3, "{}", report.complaints());
    let limits = report.findings.iter().filter(|f| f.what.contains("500 s"));
    assert_eq!(limits.count(), 3);
    assert_eq!(Seen::only(State::Running).stop_limit, Limit::NotSaid);
}

#[test]
fn a_service_of_two_gates_runs_while_both_are_open() {
    let text = CONFIG.replace(
        r#"dataset: "zdata/enc/nfsdata")]),"#,
        r#"dataset: "zdata/enc/nfsdata")], services: ["mountd", "nfsd"]),"#,
    );
    let text = text.replace(
        r#"dataset: "zdata/sink/f1")]),"#,
        r#"dataset: "zdata/sink/f1")], services: ["mountd", "stunnel"]),"#,
    );
    let config = Config::parse(&text).unwrap();
    let sim = booted("shared", true);
    let run = || sim.verb(|node| reconcile(node, &config));
    sim.unmount(NFS);
    run();
    assert_eq!(moves(&sim), ["-nfsd", "-mountd"]);
    sim.unmount("zdata/sink/f1");
    run();
    assert_eq!(moves(&sim), ["-stunnel"]);
    sim.verb(|node| f3skeys::zfs::Zfs::mount(node.zfs, &NFS.parse().unwrap(), soon(&sim)))
        .unwrap();
    sim.trace.borrow_mut().clear();
    run();
    assert_eq!(moves(&sim), ["+nfsd"], "the other gate keeps mountd");
    remount(&sim);
    sim.trace.borrow_mut().clear();
    run();
    assert_eq!(moves(&sim), ["+mountd", "+stunnel"]);
}

fn soon(sim: &Sim) -> Deadline {
    Deadline::after(sim, std::time::Duration::from_secs(9))
}

#[test]
fn a_locked_node_keeps_its_services_stopped_and_asks_no_pool() {
    let sim = booted("locked", true);
    marker::set_locked(&sim.run(), true).unwrap();
    sim.zfs_calls.set(0);
    let report = run(&sim);
    assert_eq!(report.status, 0, "{}", report.complaints());
    assert_eq!(moves(&sim), ["-stunnel", "-nfsd", "-mountd"]);
    assert_eq!(sim.zfs_calls.get(), 0);
    assert_eq!(run(&sim).changed, [""; 0]);
    // What undoes it starts them again.
    marker::set_locked(&sim.run(), false).unwrap();
    sim.verb(|node| ready(node, &config()));
    run(&sim);
    assert_eq!(moves(&sim), ["+mountd", "+nfsd", "+stunnel"]);
}

#[test]
fn law_6_a_hung_pool_stops_the_services_in_time() {
    let sim = booted("hung", true);
    sim.hanging.borrow_mut().push("zdata".to_owned());
    let before = sim.now();
    let report = run(&sim);
    assert!(sim.now() - before < config().budget);
    assert!(!report.gates[0].open);
    assert_eq!(moves(&sim), ["-stunnel", "-nfsd", "-mountd"]);
}

#[test]
fn what_another_boot_left_to_start_is_not_started() {
    let sim = booted("other-boot", false);
    sim.reboot("boot-2");
    sim.sticks.borrow_mut().push(good_stick());
    sim.verb(|node| boot(node, &config()));
    sim.zfs_mount_all();
    sim.verb(|node| ready(node, &config()));
    sim.trace.borrow_mut().clear();
    run(&sim);
    assert_eq!(moves(&sim), [""; 0], "the boot itself starts them");
}

#[test]
fn only_what_is_new_is_said() {
    let sim = booted("news", true);
    let last = |sim: &Sim| Report::last(&sim.db(), "reconcile");
    let first = run(&sim);
    assert!(!is_news(&first, None), "{}", first.results());
    sim.bare
        .borrow_mut()
        .insert("/data/f1".into(), (vec!["x".to_owned()], true));
    sim.unmount("zdata/sink/f1");
    let (before, closed) = (last(&sim), run(&sim));
    assert!(is_news(&closed, before.as_ref()));
    let (before, again) = (last(&sim), run(&sim));
    assert_eq!(again.findings.len(), 1, "{}", again.complaints());
    assert!(
        !is_news(&again, before.as_ref()),
        "told before, nothing changed"
    );
    let mut other = again.clone();
    other.boot = Some("boot-9".to_owned());
    assert!(
        is_news(&again, Some(&other)),
        "another boot has told nobody"
    );
}

#[test]
fn a_run_that_meets_another_is_silent_and_leaves_all_to_it() {
    let sim = booted("busy", true);
    let held = marker::try_lock(&sim.run()).unwrap();
    assert!(held.is_some());
    sim.unmount(NFS);
    let report = run(&sim);
    assert_eq!((report.status, is_news(&report, None)), (75, false));
    assert_eq!(moves(&sim), [""; 0]);
    drop(held);
    assert_eq!(run(&sim).status, 0);
    assert_eq!(moves(&sim), ["-stunnel", "-nfsd", "-mountd"]);
}

fn bare(sim: &Sim, files: &[&str]) {
    let files = files.iter().map(|file| (*file).to_owned()).collect();
    let mut bare = sim.bare.borrow_mut();
    bare.insert("/data/nfs".into(), (files, false));
}

#[test]
fn bare_mountpoints_are_guarded_until_they_are_mounted() {
    let sim = f3s("guard");
    let states = SERVICES.map(|name| (name.to_owned(), false));
    *sim.service_states.borrow_mut() = states.into();
    bare(&sim, &[]);
    let report = sim.verb(|node| ready(node, &config()));
    let change = "made the bare directory /data/nfs immutable";
    assert_eq!(report.changed[0], change, "before anything is mounted");
    let guarded = Event::Guarded("/data/nfs".into());
    assert_eq!(sim.trace.borrow()[0], guarded);
    assert_eq!(run(&sim).changed, [""; 0]);
    // Nothing stops the mount, and what is mounted is not guarded.
    sim.sticks.borrow_mut().push(good_stick());
    sim.verb(|node| boot(node, &config()));
    let report = sim.verb(|node| ready(node, &config()));
    assert_eq!(report.status, 0, "{}", report.complaints());
    assert!(sim.find(NFS).mounted);
    assert_eq!(run(&sim).findings, []);
}

#[test]
fn a_directory_laid_bare_is_guarded_by_the_next_run() {
    let sim = booted("guard-later", true);
    bare(&sim, &[]);
    assert_eq!(run(&sim).changed, [""; 0]);
    sim.unmount(NFS);
    run(&sim);
    let guarded = Event::Guarded("/data/nfs".into());
    assert!(sim.trace.borrow().contains(&guarded));
}

fn told(report: &Report, severity: Severity, words: &str) {
    let said = |f: &&f3skeys::report::Finding| {
        f.severity == severity && f.subject == "/data/nfs" && f.what.contains(words)
    };
    let found = report.findings.iter().filter(said).count();
    assert_eq!(found, 1, "`{words}`: {}", report.complaints());
}

#[test]
fn files_in_a_bare_directory_are_told_and_not_touched() {
    let sim = f3s("guard-files");
    bare(&sim, &["a", "b/c"]);
    for pass in [ready, reconcile] {
        let report = sim.verb(|node| pass(node, &config()));
        told(
            &report,
            Severity::Failure,
            "under zdata/enc/nfsdata, such as a, b/c",
        );
    }
    assert_eq!(
        sim.bare.borrow()[std::path::Path::new("/data/nfs")].0.len(),
        2
    );
}

#[test]
fn files_beneath_a_mount_are_told() {
    let sim = booted("guard-beneath", true);
    let holds = Ok(Bare::Holds("/data/nfs/lost/file".into()));
    sim.beneath.borrow_mut().insert("/data/nfs".into(), holds);
    let report = sim.verb(|node| ready(node, &config()));
    told(&report, Severity::Failure, "such as lost/file");
    assert_eq!(report.status, 0, "it is no failed boot");
    sim.beneath
        .borrow_mut()
        .insert("/data/nfs".into(), Err("no".to_owned()));
    let report = sim.verb(|node| ready(node, &config()));
    told(
        &report,
        Severity::Warning,
        "not known whether files lie beneath it",
    );
}

#[test]
fn a_file_system_without_immutable_directories_is_told() {
    let sim = f3s("guard-none");
    bare(&sim, &[]);
    sim.unguardable.set(true);
    let report = sim.verb(|node| ready(node, &config()));
    told(&report, Severity::Warning, "is not guarded");
}

#[test]
fn law_6_a_reconcile_that_is_turned_away_twice_in_a_row_is_news_once() {
    let sim = booted("turned-away", true);
    let busy = |_: u32| {
        let report = run(&sim);
        assert_eq!(report.status, 75, "{}", report.complaints());
        let failures = || {
            sim.logged
                .borrow()
                .iter()
                .filter(|(severity, _)| *severity == Severity::Failure)
                .count()
        };
        (is_news(&report, None), failures())
    };
    for boot in ["boot-1", "boot-2"] {
        *sim.boot_id.borrow_mut() = Some(boot.to_owned());
        sim.logged.borrow_mut().clear();
        let held = marker::try_lock(&sim.run()).unwrap();
        let told: Vec<(bool, usize)> = (1..=4).map(busy).collect();
        assert_eq!(
            told,
            [(false, 0), (true, 1), (false, 1), (false, 1)],
            "{boot}"
        );
        drop(held);
    }
    // One that was let in begins the count anew.
    assert_ne!(run(&sim).status, 75);
    let _held = marker::try_lock(&sim.run()).unwrap();
    sim.logged.borrow_mut().clear();
    let told: Vec<(bool, usize)> = (1..=2).map(busy).collect();
    assert_eq!(told, [(false, 0), (true, 1)]);
}
