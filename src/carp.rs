//! `f3skeys carp`: lets the node take part in CARP once its gate is open, and with `--reconcile`
//! holds it back when the gate has closed.
//!
//! All that it ever writes is `net.inet.carp.allow`: never demotion, where writes add up, and never
//! the state of an address.

use crate::config::{Config, Gate};
use crate::exit::Fault;
use crate::gate::Answer;
use crate::names::NodeName;
use crate::pass::{Node, Pass};
use crate::ready;
use crate::report::{GateLine, Report, Severity};
use crate::sorted::{Map, Set};
use crate::trouble::Trouble;

/// What is written.
const ALLOW: &str = "net.inet.carp.allow";

/// Lets the node take part when its gate is open; with `reconcile`, holds it back when it is not.
///
/// A run that reconciles and has no news keeps no report: that of the last change is worth more.
pub fn carp(node: Node, config: &Config, reconcile: bool) -> Report {
    let mut pass = Pass::begin("carp", node, config);
    pass.phase("carp", |pass| ((), settle(pass, reconcile)));
    match reconcile && pass.report.has_no_news() {
        true => pass.report,
        false => pass.finish(),
    }
}

/// Brings the hold in line with the gate; gives what became of it in a few words.
fn settle(pass: &mut Pass, reconcile: bool) -> String {
    let Some(carp) = &pass.config.carp else {
        return "no CARP hold is configured".to_owned();
    };
    let Some(gate) = pass.config.gate(&carp.gate) else {
        return format!("there is no gate {}", carp.gate);
    };
    let takes_part = match pass.node.system.carp() {
        Ok(Some(takes_part)) => takes_part,
        Ok(None) => return "there is no CARP here".to_owned(),
        Err(trouble) => return failed(pass, &trouble.to_string()),
    };
    // Peers are asked before the lock is taken: one that says nothing keeps it from nobody.
    let mut heard = Map::new();
    let mut closed = why_closed(pass, gate, |peers| {
        heard = ready::ask_peers(pass.node, pass.config, peers);
        heard.clone()
    });
    // Letting the node in needs the lock: `lock` may be closing the gate just now. Holding it does
    // not: no run that hangs on a sick pool may keep its node in CARP meanwhile.
    let lets_in = closed.is_none() && !takes_part;
    let _lock = match lets_in.then(|| pass.lock()) {
        Some(None) => return "another run is at work".to_owned(),
        Some(lock) => {
            closed = why_closed(pass, gate, |_| heard);
            lock
        }
        None => None,
    };
    pass.report.gates.push(GateLine {
        name: gate.name.to_string(),
        open: closed.is_none(),
        reason: closed.clone().unwrap_or_default().into(),
    });
    match closed {
        None if takes_part => "the node takes part already".to_owned(),
        None => let_in(pass),
        Some(why) if !reconcile => left(pass, gate, &why, takes_part),
        Some(_) if !takes_part => "every address is held in INIT already".to_owned(),
        Some(why) => hold(pass, gate, &why),
    }
}

/// Why the gate is closed, with `heard` for what its peers say; `None` when it is open.
fn why_closed(
    pass: &Pass,
    gate: &Gate,
    heard: impl FnOnce(&Set<NodeName>) -> Map<NodeName, Answer>,
) -> Option<String> {
    match ready::ask_by(pass.node, pass.config, gate, heard) {
        Answer::Open => None,
        Answer::Closed(why) => Some(why),
        Answer::CannotTell(why) => Some(format!("cannot tell: {why}")),
    }
}

fn let_in(pass: &mut Pass) -> String {
    if let Err(trouble) = set(pass, true) {
        return failed(pass, &trouble.to_string());
    }
    let change = format!("set {ALLOW} to 1: the node takes part in CARP");
    pass.report.change(change);
    "the node takes part".to_owned()
}

fn hold(pass: &mut Pass, gate: &Gate, why: &str) -> String {
    if let Err(trouble) = set(pass, false) {
        return failed(pass, &trouble.to_string());
    }
    let change = format!("set {ALLOW} to 0: every address is in INIT, and the peer takes over");
    pass.report.change(change);
    let what = format!("is closed, so the peer takes over: {why}");
    let remedy = "the node takes part again once `f3skeys carp` finds the gate open";
    say_gate(pass, gate, Severity::Warning, &what, remedy);
    "every address is held in INIT".to_owned()
}

/// The gate is closed, and the hold is left as it is.
fn left(pass: &mut Pass, gate: &Gate, why: &str, takes_part: bool) -> String {
    pass.report.fail(Fault::Unavailable);
    if takes_part {
        let what = format!("is closed, and the node takes part in CARP all the same: {why}");
        let remedy = "`f3skeys carp --reconcile` lets the peer take over";
        say_gate(pass, gate, Severity::Failure, &what, remedy);
        "the node takes part, and its gate is closed".to_owned()
    } else {
        let what = format!("is closed, so every CARP address stays in INIT: {why}");
        let remedy = "mend that, then `f3skeys ready` and `f3skeys carp`";
        say_gate(pass, gate, Severity::Failure, &what, remedy);
        "every address stays in INIT".to_owned()
    }
}

/// Sets the hold and looks whether it is so.
pub(crate) fn set(pass: &Pass, allow: bool) -> Result<(), Trouble> {
    let system = pass.node.system;
    system.set_carp(allow)?;
    match system.carp()? {
        Some(now) if now == allow => Ok(()),
        _ => Err(Trouble::failed(ALLOW, "was set, and is as before")),
    }
}

fn say_gate(pass: &mut Pass, gate: &Gate, severity: Severity, what: &str, remedy: &str) {
    let subject = format!("gate {}", gate.name);
    pass.report.find(severity, &subject, what, remedy);
}

/// Notes that the kernel did not do or say what it was asked.
pub(crate) fn failed(pass: &mut Pass, why: &str) -> String {
    let remedy = "see why `sysctl net.inet.carp.allow` fails";
    pass.report.find(Severity::Failure, "carp", why, remedy);
    pass.report.fail(Fault::System);
    why.to_owned()
}
