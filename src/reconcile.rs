//! `f3skeys reconcile`: holds gates, services and guards against the live system, each minute.
//!
//! Services of a gate that has closed are stopped. Services of a gate that was closed and is open
//! are started, once: what an admin stops later stays stopped.

use crate::config::{Config, Gate};
use crate::evaluate::{self, Peers};
use crate::exit::Fault;
use crate::guard;
use crate::marker;
use crate::names::{GateName, ServiceName};
use crate::pass::{Node, Pass};
use crate::ready;
use crate::report::{Report, Severity};
use crate::roles;
use crate::shell::command;
use crate::sorted::Set;
use crate::trouble::Trouble;
use std::time::Duration;

/// Its name, for the count of turns.
const VERB: &str = "reconcile";
/// What is said of a lock that another run keeps.
const LOCK: &str = "the lock";
/// So many turns in a row without the lock are news.
const TURNS: u32 = 2;
/// The longest that the service manager may take to say whether a service runs.
const ASK_SERVICE: Duration = Duration::from_secs(5);
/// The longest that a service may take to start or to stop.
const MOVE_SERVICE: Duration = Duration::from_secs(20);

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
        let before = pass.report.changed.len();
        services(pass);
        let words = match pass.report.changed.len() - before {
            0 => "as they should be".to_owned(),
            changes => format!("{changes} started or stopped"),
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
    for gate in closed.iter().rev() {
        for service in gate.services.iter().rev() {
            stop(pass, gate, service);
        }
    }
    for gate in open.iter().filter(|gate| !gate.services.is_empty()) {
        start_pending(pass, gate, &closed);
    }
}

/// Stops a service, if it runs or nobody knows; asks once more, since no exit status is a proof.
fn stop(pass: &mut Pass, gate: &Gate, service: &ServiceName) {
    if let Ok(false) = runs(pass, service) {
        return;
    }
    let deadline = pass.deadline.at_most(pass.clock(), MOVE_SERVICE);
    let stopped = pass.node.services.stop(service, deadline);
    let failed = match (runs(pass, service), stopped) {
        (Ok(false), _) => {
            let change = format!("stopped {service}, since gate {} is closed", gate.name);
            return pass.report.change(change);
        }
        (_, Err(trouble)) | (Err(trouble), Ok(())) => trouble.to_string(),
        (Ok(true), Ok(())) => "it runs still".to_owned(),
    };
    let what = format!(
        "could not be stopped though gate {} is closed: {failed}",
        gate.name
    );
    let remedy = "stop it by hand: it serves what is not there";
    pass.report
        .find(Severity::Failure, service.as_str(), &what, remedy);
    pass.report.fail(Fault::Unavailable);
}

fn runs(pass: &Pass, service: &ServiceName) -> Result<bool, Trouble> {
    let deadline = pass.deadline.at_most(pass.clock(), ASK_SERVICE);
    pass.node.services.runs(service, deadline)
}

/// Starts the services of an open gate that was closed when a pass last saw it so.
fn start_pending(pass: &mut Pass, gate: &Gate, closed: &[&Gate]) {
    let (run, boot) = (pass.node.run, pass.report.boot.clone().unwrap_or_default());
    let done = match marker::is_pending(run, &gate.name, &boot) {
        Ok(false) => return,
        Ok(true) if !start_all(pass, gate, closed) => return,
        Ok(true) => marker::clear_pending(run, &gate.name),
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

/// Starts what does not run, up to the first that fails: those after it may need it.
fn start_all(pass: &mut Pass, gate: &Gate, closed: &[&Gate]) -> bool {
    for service in &gate.services {
        // Another gate keeps it stopped, and starts it when that opens.
        if closed.iter().any(|other| other.services.contains(service)) {
            continue;
        }
        if let Ok(true) = runs(pass, service) {
            continue;
        }
        let deadline = pass.deadline.at_most(pass.clock(), MOVE_SERVICE);
        if let Err(trouble) = pass.node.services.start(service, deadline) {
            let what = format!(
                "did not start, though gate {} is open: {trouble}",
                gate.name
            );
            let remedy = "see why; the next `f3skeys reconcile` tries again";
            pass.report
                .find(Severity::Failure, service.as_str(), &what, remedy);
            pass.report.fail(Fault::Unavailable);
            return false;
        }
        let change = format!("started {service}, since gate {} has opened", gate.name);
        pass.report.change(change);
    }
    true
}
