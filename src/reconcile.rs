//! `f3skeys reconcile`: holds gates, services and guards against the live system, each minute.
//!
//! Services of a gate that has closed are stopped. Services of a gate that was closed and is open
//! are started, once: what an admin stops later stays stopped. One that is on its way is neither: it is
//! told once, and looked at again each minute until its manager has brought it up or given it up.

use crate::config::{Config, Gate};
use crate::evaluate::{self, Peers};
use crate::exit::Fault;
use crate::guard;
use crate::marker;
use crate::names::{GateName, ServiceName};
use crate::os::WATCH_SERVICE;
use crate::pass::{Node, Pass};
use crate::ready;
use crate::report::{Report, Severity};
use crate::roles;
use crate::services::{Seen, State};
use crate::shell::command;
use crate::sorted::Set;
use crate::starts::{self, Starts};
use crate::stopping::{self, Stop, look};
use std::time::Duration;

/// Its name, for the count of turns.
const VERB: &str = "reconcile";
/// What is said of a lock that another run keeps.
const LOCK: &str = "the lock";
/// So many turns in a row without the lock are news.
const TURNS: u32 = 2;
/// The longest that services are waited for that are stopping. The next run looks again.
const WAIT_FOR_STOPS: Duration = Duration::from_secs(20);

/// Runs the whole pass.
pub fn reconcile(node: Node, config: &Config) -> Report {
    let mut pass = Pass::begin("reconcile", node, config);
    // Before the lock is taken: a peer that says nothing keeps it from nobody.
    let peers = evaluate::ask_peers(&pass);
    match pass.lock() {
        Some(_lock) => {
            // A count that stays makes the next complaint come too early, and no later.
            let _ = marker::let_in(node.run, VERB);
            run(&mut pass, &peers);
        }
        None if pass.report.fault == Some(Fault::Busy) => turned_away(&mut pass),
        None => {}
    }
    pass.finish()
}

/// Tells, once, that nobody has looked at the gates for two turns. Unknown counts as the second turn.
fn turned_away(pass: &mut Pass) {
    let boot = pass.report.boot.clone().unwrap_or_default();
    let count = marker::turned_away(pass.node.run, VERB, &boot);
    if matches!(count, Ok(count) if count != TURNS) {
        return;
    }
    let what = "another f3skeys has kept the lock for two turns of `reconcile`: no gate was looked at meanwhile, and nothing that should stop was stopped";
    let lock = pass.node.run.join("lock");
    let remedy = format!(
        "see which run hangs: {}; end it",
        command!("fuser {}", lock)
    );
    pass.report.find(Severity::Failure, LOCK, what, &remedy);
    pass.node
        .system
        .log(Severity::Failure, &format!("reconcile: {what}"));
}

/// Whether a run has something to say that the one before did not: it is started each minute, and
/// what it says is mailed. One that met another at work says nothing, since the next comes soon; the
/// second in a row does.
pub fn is_news(report: &Report, before: Option<&Report>) -> bool {
    if report.fault == Some(Fault::Busy) {
        return report.findings.iter().any(|found| found.subject == LOCK);
    }
    let told = before.filter(|before| before.boot == report.boot);
    report.status != 0
        || !report.changed.is_empty()
        || told.map_or(&[][..], |before| &before.findings) != report.findings
}

fn run(pass: &mut Pass, peers: &Peers) {
    let markers = pass.drop_stale_markers();
    guard::bare(pass);
    if ready::locked(pass.node.run).is_none() {
        pass.phase("pools", |pass| {
            pass.observe_all();
            ((), pass.pools_in_words())
        });
        roles::tell_elsewhere(pass);
    }
    evaluate::gates(pass, markers, peers);
    pass.phase("services", |pass| {
        let before = (pass.report.changed.len(), pass.report.findings.len());
        services(pass);
        let changes = pass.report.changed.len() - before.0;
        let words = match pass.report.findings.len() - before.1 {
            0 if changes == 0 => "as they should be".to_owned(),
            0 => format!("{changes} started or stopped"),
            others => format!("{changes} started or stopped, {others} not as they should be"),
        };
        ((), words)
    });
}

/// Stops the services of gates that are closed, the last first, and starts those of gates that have
/// opened.
fn services(pass: &mut Pass) {
    let lines = pass.report.gates.iter().filter(|line| line.open);
    let open: Set<GateName> = lines.filter_map(|line| line.name.parse().ok()).collect();
    let (open, closed): (Vec<&Gate>, Vec<&Gate>) = pass
        .config
        .gates
        .iter()
        .partition(|gate| open.contains(&gate.name));
    stop(pass, &closed);
    for gate in open.iter().filter(|gate| !gate.services.is_empty()) {
        start_owed(pass, gate, &closed);
    }
}

/// Stops what these gates keep stopped, each service once.
fn stop(pass: &mut Pass, closed: &[&Gate]) {
    let mut gates: Vec<&Gate> = Vec::new();
    let mut services: Vec<ServiceName> = Vec::new();
    for gate in closed.iter().rev() {
        for service in gate.services.iter().rev() {
            if !services.contains(service) {
                gates.push(gate);
                services.push(service.clone());
            }
        }
    }
    let stops = stopping::stop_all(pass, &services, pass.deadline, WAIT_FOR_STOPS);
    for ((gate, service), stop) in gates.iter().zip(&services).zip(stops) {
        report_stop(pass, gate, service, &stop);
    }
}

fn report_stop(pass: &mut Pass, gate: &Gate, service: &ServiceName, stop: &Stop) {
    let closed = format!("though gate {} is closed: {}", gate.name, stop.words());
    let (severity, what, remedy) = match stop {
        Stop::Already => return,
        Stop::Stopped => {
            let change = format!("stopped {service}, since gate {} is closed", gate.name);
            return pass.report.change(change);
        }
        // What is said of these lasts, so that it is said once; nothing is left to try.
        Stop::OnItsWay(_) => (
            Severity::Warning,
            format!("may still be at work {closed}"),
            "the next `f3skeys reconcile` looks again; see what holds it",
        ),
        Stop::Missing => (
            Severity::Failure,
            format!("cannot be stopped {closed}"),
            "correct its name in `services`: what serves there goes on",
        ),
        Stop::TasksLeft(..) => (
            Severity::Failure,
            format!("is not all stopped {closed}"),
            "end them by hand: they work on what is not there",
        ),
        Stop::Failed(_) => (
            Severity::Failure,
            format!("could not be stopped {closed}"),
            "stop it by hand: it serves what is not there",
        ),
    };
    pass.report.find(severity, service.as_str(), &what, remedy);
    if matches!(stop, Stop::TasksLeft(..) | Stop::Failed(_)) {
        pass.report.fail(Fault::Unavailable);
    }
}

/// Starts the services of an open gate that was closed when a pass last saw it so.
fn start_owed(pass: &mut Pass, gate: &Gate, closed: &[&Gate]) {
    let (run, boot) = (pass.node.run, pass.report.boot.clone().unwrap_or_default());
    let done = match starts::read(run, &gate.name, &boot) {
        Ok(None) => return,
        Ok(Some(mut owed)) => match start_all(pass, gate, closed, &mut owed) {
            true => starts::clear(run, &gate.name),
            false => starts::write(run, &gate.name, &boot, &owed),
        },
        Err(e) => Err(e),
    };
    if let Err(e) = done {
        let subject = format!("services of gate {}", gate.name);
        let what = format!("not known whether they are to be started: {e}");
        let remedy = "make the run directory writable for root";
        pass.report.find(Severity::Failure, &subject, &what, remedy);
        pass.report.fail(Fault::System);
    }
}

/// What came of a start.
enum Start {
    /// It has started.
    Done,
    /// It is starting still, and needs nobody to wait.
    OnItsWay(Seen),
    /// It did not start, and why.
    Failed(String, &'static str),
}

/// Starts what does not run, up to the first that fails: those after it may need it. One that is still
/// starting holds up none. Tells whether all have started.
fn start_all(pass: &mut Pass, gate: &Gate, closed: &[&Gate], owed: &mut Starts) -> bool {
    let mut all = true;
    for service in &gate.services {
        // Another gate keeps it stopped, and starts it when that opens.
        let is_kept = closed.iter().any(|other| other.services.contains(service));
        if is_kept || owed.done.contains(service) {
            continue;
        }
        match start(pass, gate, service, owed.asked.contains(service)) {
            Start::Done => {
                owed.asked.remove(service);
                owed.done.insert(service.clone());
            }
            Start::OnItsWay(seen) => {
                all = false;
                owed.asked.insert(service.clone());
                let limit = seen.start_limit.words();
                let what = format!(
                    "{}, since gate {} has opened ({limit})",
                    seen.words(),
                    gate.name
                );
                pass.report
                    .find(Severity::Note, service.as_str(), &what, "");
            }
            Start::Failed(why, remedy) => {
                owed.asked.remove(service);
                let what = format!("did not start, though gate {} is open: {why}", gate.name);
                pass.report
                    .find(Severity::Failure, service.as_str(), &what, remedy);
                pass.report.fail(Fault::Unavailable);
                return false;
            }
        }
    }
    all
}

/// Starts one service, unless it is up or on its way; `asked` when an earlier run has started it, so that
/// what has become of that is told before it is tried again.
fn start(pass: &mut Pass, gate: &Gate, service: &ServiceName, asked: bool) -> Start {
    const SEE: &str = "see why; the next `f3skeys reconcile` tries again";
    let change = format!("started {service}, since gate {} has opened", gate.name);
    match look(pass, service, pass.deadline) {
        Ok(seen) if seen.runs() => {
            if asked {
                pass.report.change(change);
            }
            return Start::Done;
        }
        Ok(seen) if seen.comes_up() => return Start::OnItsWay(seen),
        Ok(seen) if asked && seen.comes_up_as_asked() => return Start::OnItsWay(seen),
        // It has done its work meanwhile, or an admin has stopped it.
        Ok(seen) if asked && seen.state == State::Stopped => return Start::Done,
        Ok(seen) if asked => return Start::Failed(format!("it {}", seen.words()), SEE),
        Ok(seen) => {
            if let Some((why, remedy)) = seen.no_start() {
                return Start::Failed(why, remedy);
            }
        }
        Err(_) => {}
    }
    let watched = pass.deadline.at_most(pass.clock(), WATCH_SERVICE);
    let started = pass.node.services.start(service, watched);
    match (look(pass, service, pass.deadline), started) {
        (Ok(seen), _) if seen.comes_up_as_asked() => return Start::OnItsWay(seen),
        (Ok(seen), Ok(())) if seen.state == State::Stopped => {
            // rc(8) and systemd call it a success as well when they start nothing.
            let what = "was started, and is stopped: it has done its work, or its manager was not to start it";
            let remedy = "see that it is enabled, and that the conditions of its unit are met";
            pass.report
                .find(Severity::Warning, service.as_str(), what, remedy);
        }
        (Ok(seen), Ok(())) if matches!(seen.state, State::Failed | State::Retrying) => {
            return Start::Failed(format!("it {}", seen.words()), SEE);
        }
        (Ok(seen), Err(_)) if seen.runs() => pass.report.change(change),
        (_, Err(trouble)) => return Start::Failed(trouble.to_string(), SEE),
        (_, Ok(())) => pass.report.change(change),
    }
    Start::Done
}
