//! `f3skeys doctor`: everything that will matter at the next boot or in a year, each with a
//! sentence of advice. Changes nothing, and has nothing to say when all is well.
//!
//! [`facts`] looks; the checks are pure and judge what was found there. What could not be looked at
//! is a finding too.

mod audit;
pub mod facts;
mod gate_services;
mod guests;
pub mod host_facts;
mod mounts;
mod pools;
mod services;
mod stick;
mod system;

use crate::config::Config;
use crate::exit::Fault;
use crate::foreign::{self, add_line};
use crate::host::{Host, InitSystem};
use crate::names::NodeName;
use crate::os::PATHS;
use crate::pass::Node;
use crate::report::{Finding, Findings, Severity, by_cause};
use crate::sorted;
use crate::verdict;
use facts::Facts;
use serde::Serialize;
use std::fmt::Write as _;

/// Examines this node.
pub fn doctor(node: Node, config: &Config, host: &Host) -> Vec<Finding> {
    examine(node, config, host, PATHS.init)
}

/// Examines a node whose services `init` starts.
pub fn examine(node: Node, config: &Config, host: &Host, init: InitSystem) -> Vec<Finding> {
    check(config, &Facts::gather(node, config, host, init))
}

/// What there is to say of the facts, the worst first.
pub fn check(config: &Config, facts: &Facts) -> Vec<Finding> {
    let mut said = Findings(facts.kept_out.clone());
    said.0.extend(verdict::of_faults(&config.faults));
    stick::check(config, facts, &mut said);
    pools::check(config, facts, &mut said);
    mounts::check(config, facts, &mut said);
    system::check(config, facts, &mut said);
    services::check(facts, &mut said);
    guests::check(config, facts, &mut said);
    audit::check(facts, &mut said);
    said.0.extend(facts.hooks.iter().cloned());
    sorted::sort_by_key(&mut said.0, |finding| std::cmp::Reverse(finding.severity));
    said.0
}

/// The exit status: 0 when there are notes at the most.
pub fn status(findings: &[Finding]) -> u8 {
    match findings.iter().all(is_note) {
        true => 0,
        false => Fault::Unavailable.status(),
    }
}

fn is_note(finding: &Finding) -> bool {
    finding.severity == Severity::Note
}

/// The findings for people.
pub fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    let findings = by_cause(findings);
    for finding in &findings {
        let said = finding.text();
        let note = if is_note(finding) { "note: " } else { "" };
        let _ = write!(text, "{note}{}", said.trim_start_matches("f3skeys: "));
    }
    match findings.iter().filter(|f| !is_note(f)).count() {
        0 => text.push_str("nothing to mend\n"),
        1 => text.push_str("1 thing to mend\n"),
        n => add_line!(text, "{n} things to mend"),
    }
    text
}

/// The findings for programs.
#[derive(Debug, Serialize)]
struct Json<'a> {
    version: u32,
    node: &'a NodeName,
    well: bool,
    findings: &'a [Finding],
}

/// The findings as JSON.
pub fn json(config: &Config, findings: &[Finding]) -> String {
    let json = Json {
        version: 1,
        node: &config.node,
        well: status(findings) == 0,
        findings,
    };
    foreign::json(&serde_json::to_string_pretty(&json).unwrap_or_default())
}
