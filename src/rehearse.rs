//! `f3skeys rehearse`: would this node come back from a power cut right now?
//!
//! `boot` and `ready` themselves are played, on a `stage` that looks at the real node and changes
//! only an imagined one: every key unloaded, nothing mounted but the root file system. Keys are
//! probed (`load-key -n`), so the answer is ZFS's own and not that of `keystatus`.
//!
//! It cannot know what only trying would show: whether `zfs set` and `zfs mount` will work and in
//! time, whether a directory is there to mount on, whether disks and stick come up with the machine;
//! nor what others do then: an fstab that mounts something over a dataset, a person who gives a
//! passphrase. What only they would mount or open counts as not mounted and not open; of fstab, the
//! file systems of ZFS are mounted as the system would do it (`legacy`).

use crate::boot::{self, When};
use crate::config::Config;
use crate::exit::Fault;
use crate::foreign::{Line, add_line};
use crate::marker::Lock;
use crate::names::DatasetName;
use crate::pass::{Node, ONE_CALL, Pass};
use crate::plan::Verdict;
use crate::report::{Finding, Report, RootLine, Severity, by_cause, write_roots};
use crate::services::State;
use crate::shell;
use crate::sorted::Set;
use crate::stopping;
use crate::unasked;
use crate::verdict;
use play::{Asked, Play};
use serde::Serialize;
use stage::Stage;
use std::time::Duration;

mod play;
mod stage;
mod world;

/// What a gate would be after the boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Forecast {
    /// Open.
    Open,
    /// Closed.
    Closed,
    /// It depends on what can be told only then. Counts as closed.
    Unknown,
}

/// How one gate would stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GateForecast {
    /// The gate.
    pub name: String,
    /// What it would be.
    pub state: Forecast,
    /// Why it would not be open; empty when it would.
    pub reason: Line,
}

/// The answer; its JSON is the interface for periodic jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rehearsal {
    /// The version of this format, 1.
    pub version: u32,
    /// This node.
    pub node: String,
    /// Whether it would come back, with all that is required and every gate open that no admin
    /// holds closed.
    pub comes_back: bool,
    /// The exit status: 0, or that of the boot that would fail.
    pub status: u8,
    /// The worst fault, if any.
    pub fault: Option<Fault>,
    /// Every reason why not, in the order in which the boot would meet them.
    pub reasons: Vec<Finding>,
    /// What is worth knowing and stops nothing.
    pub remarks: Vec<Finding>,
    /// Every root as it would be.
    pub roots: Vec<RootLine>,
    /// Every gate as it would be.
    pub gates: Vec<GateForecast>,
}

/// Rehearses the next boot; `hooks` are findings on what starts f3skeys then, and on what else the host
/// makes of it.
pub fn rehearse(node: Node, config: &Config, hooks: &[Finding]) -> Rehearsal {
    // The stick must be there now: nothing is waited for.
    let mut config = config.clone();
    config.store.wait = Duration::ZERO;
    let mut rehearsal = Rehearsal::new(&config);
    rehearsal.judge_host(hooks);
    for finding in verdict::of_faults(&config.faults) {
        rehearsal.reason(Fault::Configuration, finding);
    }
    let mut pass = Pass::begin("rehearse", node, &config);
    let Some(lock) = pass.lock() else {
        rehearsal.give_up(pass.report.findings, pass.report.fault);
        return rehearsal;
    };
    let deadline = pass.deadline.at_most(pass.clock(), ONE_CALL);
    match Stage::after_power_cut(node, deadline) {
        Ok(stage) => {
            rehearsal.hold(&stage, &config, lock);
            rehearsal.judge_services(&pass);
            node.system.clock().doing("");
        }
        Err(trouble) => {
            let what = format!("could not be looked at: {trouble}");
            let finding = Finding::new(Severity::Failure, "mounts", &what, "try again");
            rehearsal.give_up(vec![finding], Some(Fault::System));
        }
    }
    rehearsal
}

type Roots = Set<DatasetName>;

impl Rehearsal {
    fn new(config: &Config) -> Rehearsal {
        Rehearsal {
            version: 1,
            node: config.node.to_string(),
            comes_back: true,
            status: 0,
            fault: None,
            reasons: Vec::new(),
            remarks: Vec::new(),
            roots: Vec::new(),
            gates: Vec::new(),
        }
    }

    /// Makes the answer a no, and the exit status at least as bad as `fault`.
    fn fail(&mut self, fault: Fault) {
        self.comes_back = false;
        self.fault = self.fault.max(Some(fault));
        self.status = self.fault.map_or(0, Fault::status);
    }

    fn reason(&mut self, fault: Fault, finding: Finding) {
        self.fail(fault);
        if !self.reasons.contains(&finding) {
            self.reasons.push(finding);
        }
    }

    fn remark(&mut self, finding: Finding) {
        if !self.remarks.contains(&finding) && !self.reasons.contains(&finding) {
            self.remarks.push(finding);
        }
    }

    /// The play could not be held; not to know is no yes.
    fn give_up(&mut self, findings: Vec<Finding>, fault: Option<Fault>) {
        let fault = fault.unwrap_or(Fault::System);
        self.fail(fault);
        for finding in findings {
            self.reason(fault, finding);
        }
    }

    /// Plays boot and ready, then judges all in the order of the boot.
    fn hold(&mut self, stage: &Stage, config: &Config, lock: Lock) {
        let mut pass = Pass::begin("boot", stage.node(), config);
        boot::open_roots(&mut pass, When::Now);
        drop(lock);
        let play = play::play(stage, config);
        let closed = play.gates.iter().filter(|gate| gate.closed.is_some());
        let wanted = closed.flat_map(|gate| gate.locked.clone()).collect();
        self.judge_boot(stage, config, pass.report, &wanted);
        self.judge_host(&play.host);
        self.judge_play(config, &play);
        self.judge_identity(stage.node(), config);
        if !self.comes_back && self.roots.iter().any(|root| !root.open) {
            // What a locked root has hidden so far is a reason as well.
            stage.open_all(config);
            self.judge_play(config, &play::play(stage, config));
        }
        self.gates = play.gates.into_iter().map(|gate| gate.forecast).collect();
    }

    /// Judges what the host itself does at a boot.
    fn judge_host(&mut self, findings: &[Finding]) {
        for finding in findings {
            match finding.severity {
                Severity::Failure | Severity::Alarm => {
                    self.reason(Fault::Unavailable, finding.clone());
                }
                Severity::Warning | Severity::Note => self.remark(finding.clone()),
            }
        }
    }

    /// `wanted` are roots without which a gate stays closed, required or not.
    fn judge_boot(&mut self, stage: &Stage, config: &Config, report: Report, wanted: &Roots) {
        let gone = report.findings.iter().any(|f| f.what == boot::GONE);
        let fault = report.fault.max(gone.then_some(Fault::NoKeyDevice));
        fault.into_iter().for_each(|fault| self.fail(fault));
        let stopping = stopping(config, &report, wanted);
        let stick_counts = gone || !stopping.is_empty();
        for finding in report.findings {
            let is_reason = match report.roots.iter().any(|r| finding.subject == r.dataset) {
                true => stopping.contains(finding.subject.as_str()),
                false => stick_counts && masked(&finding).severity >= Severity::Failure,
            };
            match is_reason {
                true => {
                    let finding = locked_out(stage, config, &finding);
                    self.reason(fault.unwrap_or(Fault::Unavailable), masked(&finding));
                }
                false => self.remark(locked_out(stage, config, &finding)),
            }
        }
        self.roots = report.roots;
    }

    fn judge_play(&mut self, config: &Config, play: &Play) {
        for finding in &play.unknown {
            self.reason(Fault::Unavailable, finding.clone());
        }
        play.fault.into_iter().for_each(|fault| self.fail(fault));
        let mut told = Set::new();
        let closes_one = |dataset: &DatasetName| {
            let mut closed = play.gates.iter().filter(|gate| gate.closed.is_some());
            closed.any(|gate| gate.datasets.contains(dataset))
        };
        for (datasets, finding) in &play.twins {
            if datasets.iter().any(closes_one) {
                told.extend(datasets);
                self.reason(Fault::Unavailable, finding.clone());
            } else {
                self.remark(finding.clone());
            }
        }
        for gap in &play.gaps {
            if gap.counts || closes_one(&gap.dataset) {
                told.insert(&gap.dataset);
                self.reason(Fault::Unavailable, gap.finding.clone());
            } else {
                self.remark(gap.finding.clone());
            }
        }
        for finding in play.left_alone.iter().chain(&play.strays) {
            self.remark(finding.clone());
        }
        for gate in &play.gates {
            let configured = |name: &&DatasetName| config.roots.iter().any(|r| r.dataset == **name);
            let explained = gate.locked.iter().any(|name| configured(&name))
                || gate.datasets.iter().any(|dataset| told.contains(dataset))
                || config.faults.closes(&gate.forecast.name);
            self.judge_gate(gate, explained);
        }
    }

    /// `explained` when a reason was given already for what keeps the gate's datasets away.
    fn judge_gate(&mut self, gate: &Asked, explained: bool) {
        let subject = format!("gate {}", gate.forecast.name);
        if let Some(why) = &gate.switched {
            let what = format!("would not be open: {why}");
            self.remark(Finding::new(Severity::Note, &subject, &what, ""));
        }
        let Some(why) = &gate.closed else {
            return;
        };
        self.fail(Fault::Unavailable);
        if !explained {
            let what = format!("stays closed: {why}");
            let remedy = gate_remedy(gate);
            let finding = Finding::new(Severity::Failure, &subject, &what, &remedy);
            self.reason(Fault::Unavailable, finding);
        }
    }

    /// A gate that opens has done nothing where its services cannot start.
    fn judge_services(&mut self, pass: &Pass) {
        let mut asked = Set::new();
        let gates = pass.config.gates.iter();
        let all = gates.flat_map(|gate| gate.services.iter().map(move |service| (gate, service)));
        for (gate, service) in all {
            if !asked.insert(service.clone()) {
                continue;
            }
            let find = |severity, what: &str, remedy: &str| {
                Finding::new(severity, service.as_str(), what, remedy)
            };
            match stopping::look(pass, service, pass.deadline) {
                Err(trouble) => {
                    let what = format!("nobody knows whether it would start: {trouble}");
                    let remedy = "see why its manager does not answer";
                    self.reason(Fault::Unavailable, find(Severity::Failure, &what, remedy));
                }
                Ok(seen) => match seen.no_start() {
                    Some((why, remedy)) => {
                        let what =
                            format!("would not start, though gate {} opens: {why}", gate.name);
                        self.reason(Fault::Unavailable, find(Severity::Failure, &what, remedy));
                    }
                    None if matches!(seen.state, State::Failed | State::Retrying) => {
                        let what = format!("{} now; the boot starts it anew", seen.words());
                        self.remark(find(Severity::Warning, &what, "see why"));
                    }
                    None => {
                        let finding = unasked::finding(pass, service);
                        finding.into_iter().for_each(|one| self.remark(one));
                    }
                },
            }
        }
    }

    fn judge_identity(&mut self, node: Node, config: &Config) {
        if node.system.boot_id().is_none() && !config.gates.is_empty() {
            let what = "stay closed: the kernel gives this boot no identity";
            let remedy = "see whether its random device is seeded";
            let finding = Finding::new(Severity::Failure, "gates", what, remedy);
            self.reason(Fault::Unavailable, finding);
        }
    }

    /// The answer for people.
    pub fn text(&self) -> String {
        let (reasons, remarks) = (by_cause(&self.reasons), by_cause(&self.remarks));
        let answer = match (self.comes_back, reasons.len()) {
            (true, _) => "yes, it would come back".to_owned(),
            (false, 1) => "NO: 1 reason".to_owned(),
            (false, count) => format!("NO: {count} reasons"),
        };
        let mut text = String::new();
        add_line!(text, "f3skeys rehearse for {}: {answer}", self.node);
        for (number, reason) in reasons.iter().enumerate() {
            write_finding(&mut text, &format!("{}.", number + 1), reason);
        }
        for remark in &remarks {
            write_finding(&mut text, "remark:", remark);
        }
        write_roots(&mut text, &self.roots);
        for gate in &self.gates {
            match gate.state {
                Forecast::Open => add_line!(text, "  gate {}: open", gate.name),
                Forecast::Closed => {
                    add_line!(text, "  gate {}: closed: {}", gate.name, gate.reason)
                }
                Forecast::Unknown => {
                    add_line!(text, "  gate {}: cannot tell: {}", gate.name, gate.reason)
                }
            }
        }
        text
    }
}

fn write_finding(text: &mut String, head: &str, finding: &Finding) {
    add_line!(text, "  {head} {}: {}", finding.subject, finding.what);
    if !finding.remedy.is_empty() {
        add_line!(text, "     -> {}", finding.remedy);
    }
}

/// The roots that stay locked and must not: a required one, or one that a gate needs.
fn stopping(config: &Config, report: &Report, wanted: &Roots) -> Set<String> {
    let roots = config.roots.iter().zip(&report.roots);
    roots
        .filter(|(root, line)| !line.open && (line.required || wanted.contains(&root.dataset)))
        .map(|(root, _)| root.dataset.to_string())
        .collect()
}

/// A missing stick that nothing waits for yet, since what needs it is not there either: once that is
/// mended, the stick is missed.
fn masked(finding: &Finding) -> Finding {
    match finding.what.strip_suffix(boot::NOT_WAITED_FOR) {
        Some(what) => Finding::new(
            Severity::Failure,
            &finding.subject,
            what,
            "insert the stick",
        ),
        None => finding.clone(),
    }
}

/// What is to be said instead of a root that is open now and could not be opened again.
fn locked_out(stage: &Stage, config: &Config, finding: &Finding) -> Finding {
    let subject = finding.subject.as_str();
    let root = config.roots.iter().find(|r| r.dataset.as_str() == subject);
    root.filter(|root| stage.is_locked_out(&root.dataset))
        .filter(|_| finding.severity == Severity::Failure)
        .and_then(|root| verdict::of_root(root, &Verdict::OpenByNoKey, None).finding)
        .unwrap_or_else(|| finding.clone())
}

fn gate_remedy(gate: &Asked) -> String {
    if let Some(root) = gate.locked.first() {
        return format!("name {root} in `roots`, so that it is opened");
    }
    let get = "zfs get mountpoint,canmount,readonly";
    let command = shell::command_on(get, &gate.datasets);
    format!("compare its conditions with {command}")
}
