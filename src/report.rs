//! What a pass did and found: printed for people, kept for the next look, exit status included.

use crate::exit::Fault;
use crate::foreign::add_line;
use crate::foreign::{self, Line};
use crate::marker;
use crate::names::DatasetName;
use crate::sorted::Map;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// It works, and should be mended.
    Warning,
    /// Something is not as configured.
    Failure,
    /// Something may be lost at the next boot, or was written where nobody may.
    Alarm,
}

/// Something to tell: what it is about, what is so, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The dataset, device, file or gate.
    pub subject: Line,
    /// What is so.
    pub what: Line,
    /// What to do about it; empty for a note.
    pub remedy: Line,
}

impl Finding {
    /// A finding with its three parts.
    pub fn new(severity: Severity, subject: &str, what: &str, remedy: &str) -> Finding {
        Finding {
            severity,
            subject: subject.into(),
            what: what.into(),
            remedy: remedy.into(),
        }
    }

    /// Two lines: what failed, then what to do.
    pub fn text(&self) -> String {
        let alarm = match self.severity {
            Severity::Alarm => "ALARM: ",
            _ => "",
        };
        let mut text = String::new();
        add_line!(text, "f3skeys: {}: {alarm}{}", self.subject, self.what);
        if !self.remedy.is_empty() {
            add_line!(text, "  -> {}", self.remedy);
        }
        text
    }
}

/// The findings with one for each cause: what differs in its subject alone is told once, with all that it
/// concerns.
pub fn by_cause(findings: &[Finding]) -> Vec<Finding> {
    let mut told: Vec<(&Finding, Vec<&str>)> = Vec::new();
    let cause = |f: &Finding| (f.severity, f.what.to_string(), f.remedy.to_string());
    let mut places = Map::new();
    for finding in findings {
        let place = *places.entry(cause(finding)).or_insert(told.len());
        match told.get_mut(place) {
            Some((_, subjects)) => subjects.push(&finding.subject),
            None => told.push((finding, vec![&finding.subject])),
        }
    }
    let merged = told.into_iter().map(|(finding, subjects)| Finding {
        subject: subjects.join(", ").into(),
        ..finding.clone()
    });
    merged.collect()
}

/// Findings in the making.
#[derive(Debug, Default)]
pub(crate) struct Findings(pub Vec<Finding>);

impl Findings {
    /// Worth knowing.
    pub fn note(&mut self, subject: &str, what: &str) {
        self.push(Severity::Note, subject, what, "");
    }

    /// To be mended.
    pub fn warn(&mut self, subject: &str, what: &str, remedy: &str) {
        self.push(Severity::Warning, subject, what, remedy);
    }

    /// Not as configured, or not as the next boot needs it.
    pub fn fail(&mut self, subject: &str, what: &str, remedy: &str) {
        self.push(Severity::Failure, subject, what, remedy);
    }

    /// It could not be looked at, so nobody knows: that is never taken for fine.
    pub fn unknown(&mut self, subject: &str, why: &str) {
        let what = format!("cannot tell whether it is as it should be: {why}");
        self.fail(subject, &what, "see why it cannot be looked at");
    }

    /// Adds a finding, once.
    pub fn push(&mut self, severity: Severity, subject: &str, what: &str, remedy: &str) {
        let finding = Finding::new(severity, subject, what, remedy);
        if !self.0.contains(&finding) {
            self.0.push(finding);
        }
    }
}

/// A part of a pass and the time it took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phase {
    /// Its name.
    pub name: Line,
    /// What came of it, in a few words; may be empty.
    pub result: Line,
    /// Its length on the monotonic clock, in milliseconds.
    pub millis: u64,
}

/// How one root stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootLine {
    /// The root.
    pub dataset: String,
    /// Its role.
    pub role: String,
    /// Whether the boot fails without it.
    pub required: bool,
    /// Whether its key is loaded.
    pub open: bool,
    /// How it stands, in words.
    pub state: Line,
}

/// How one gate stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateLine {
    /// The gate.
    pub name: String,
    /// Whether it is open.
    pub open: bool,
    /// Why it is not; empty when it is.
    pub reason: Line,
}

/// A pass: what it did, what it found, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The verb, `boot` or `ready`.
    pub pass: String,
    /// This node.
    pub node: String,
    /// The boot in which it ran; `None` if the kernel had no identity yet.
    pub boot: Option<String>,
    /// When it ended, in seconds since 1970, by a clock that may have been wrong; `None` in a report
    /// of a program that did not note it.
    #[serde(default)]
    pub ended: Option<u64>,
    /// The parts of the pass, in order.
    pub phases: Vec<Phase>,
    /// What was changed, in order.
    pub changed: Vec<Line>,
    /// Every root.
    pub roots: Vec<RootLine>,
    /// Every gate (`ready` and `reconcile` only).
    pub gates: Vec<GateLine>,
    /// When the newest snapshot of each dataset that a gate wants fresh was made, in seconds since
    /// 1970 (`ready` and `reconcile` only).
    #[serde(default)]
    pub snapshots: Map<DatasetName, u64>,
    /// What there is to tell.
    pub findings: Vec<Finding>,
    /// The worst fault, if any.
    pub fault: Option<Fault>,
    /// The exit status.
    pub status: u8,
    /// The whole pass, in milliseconds.
    pub millis: u64,
}

impl Report {
    /// An empty report of `pass`.
    pub fn new(pass: &str, node: &str, boot: Option<String>) -> Report {
        Report {
            pass: pass.to_owned(),
            node: node.to_owned(),
            boot,
            ended: None,
            phases: Vec::new(),
            changed: Vec::new(),
            roots: Vec::new(),
            gates: Vec::new(),
            snapshots: Map::new(),
            findings: Vec::new(),
            fault: None,
            status: 0,
            millis: 0,
        }
    }

    /// Adds a finding, once.
    pub fn find(&mut self, severity: Severity, subject: &str, what: &str, remedy: &str) {
        let finding = Finding::new(severity, subject, what, remedy);
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    /// Adds a change that was made.
    pub fn change(&mut self, what: impl Into<Line>) {
        self.changed.push(what.into());
    }

    /// Makes the exit status at least as bad as `fault`.
    pub fn fail(&mut self, fault: Fault) {
        self.fault = self.fault.max(Some(fault));
        self.status = self.fault.map_or(0, Fault::status);
    }

    /// Takes in the report of a part, as one phase of this one.
    pub fn take_in(&mut self, part: &str, result: &str, report: Report) {
        self.phases.push(Phase {
            name: part.into(),
            result: result.into(),
            millis: report.millis,
        });
        self.millis += report.millis;
        self.changed.extend(report.changed);
        for finding in report.findings {
            if !self.findings.contains(&finding) {
                self.findings.push(finding);
            }
        }
        if let Some(fault) = report.fault {
            self.fail(fault);
        }
    }

    /// Makes one line of parts that were gone through several times.
    pub fn fold(&mut self) {
        let mut folded: Vec<Phase> = Vec::new();
        for phase in self.phases.drain(..) {
            match folded.iter_mut().find(|known| known.name == phase.name) {
                Some(known) => {
                    known.millis += phase.millis;
                    known.result = phase.result;
                }
                None => folded.push(phase),
            }
        }
        self.phases = folded;
    }

    /// Whether nothing was changed and there is nothing to complain of.
    pub fn has_no_news(&self) -> bool {
        self.changed.is_empty() && self.findings.is_empty() && self.fault.is_none()
    }

    /// The results, for standard output.
    pub fn results(&self) -> String {
        let mut text = String::new();
        add_line!(text, "f3skeys {} on {}", self.pass, self.node);
        let names = self.phases.iter().map(|phase| phase.name.len());
        let width = names.fold(12, usize::max);
        for phase in &self.phases {
            add_line!(
                text,
                "  {:<width$} {:<52} {:>9}",
                phase.name,
                phase.result,
                seconds(phase.millis)
            );
        }
        write_roots(&mut text, &self.roots);
        for change in &self.changed {
            add_line!(text, "  changed: {change}");
        }
        for gate in &self.gates {
            let state = if gate.open { "open" } else { "closed" };
            match gate.reason.as_str() {
                "" => add_line!(text, "  gate {}: {state}", gate.name),
                reason => add_line!(text, "  gate {}: {state}: {reason}", gate.name),
            }
        }
        add_line!(text, "  {} in {}", self.summary(), seconds(self.millis));
        text
    }

    fn summary(&self) -> String {
        let changes = match (self.changed.len(), self.status) {
            (0, 0) => "nothing to do".to_owned(),
            (0, _) => "nothing was changed".to_owned(),
            (1, _) => "1 change".to_owned(),
            (n, _) => format!("{n} changes"),
        };
        let open = self.roots.iter().filter(|root| root.open).count();
        match self.roots.len() {
            0 => changes,
            roots => format!("{open} of {roots} roots open, {changes}"),
        }
    }

    /// The complaints, for standard error.
    pub fn complaints(&self) -> String {
        by_cause(&self.findings).iter().map(Finding::text).collect()
    }

    /// Keeps the report as `PASS.json` in `directory`, atomically. Nobody waits for the disk, a boot least of
    /// all: after another power cut, what it says of this boot is past.
    ///
    /// # Errors
    /// The directory could not be written.
    pub fn keep(&self, directory: &Path) -> io::Result<()> {
        marker::make_directory(directory)?;
        marker::replace_unwaited(
            &file(directory, &self.pass),
            foreign::json(&serde_json::to_string_pretty(self)?).as_bytes(),
        )
    }

    /// Keeps the report of what was done, or says in it why it could not be kept.
    pub fn keep_done(&mut self, directory: &Path) {
        // The run that holds the lock has more to report than one that was turned away.
        if self.fault == Some(Fault::Busy) {
            return;
        }
        if let Err(e) = self.keep(directory) {
            let what = format!("the report could not be kept: {e}");
            let remedy = "make the directory writable for root";
            let subject = directory.display().to_string();
            self.find(Severity::Warning, &subject, &what, remedy);
        }
    }

    /// The last kept report of `pass`; `None` when there is none or it is not one.
    pub fn last(directory: &Path, pass: &str) -> Option<Report> {
        let bytes = std::fs::read(file(directory, pass)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }
}

/// A line for each root, in columns.
pub fn write_roots(text: &mut String, roots: &[RootLine]) {
    let widest = roots.iter().map(|root| root.dataset.len()).max();
    let width = widest.unwrap_or_default();
    for root in roots {
        add_line!(
            text,
            "  {:<12} {:<width$}  {}",
            root.role,
            root.dataset,
            root.state
        );
    }
}

fn file(directory: &Path, pass: &str) -> PathBuf {
    directory.join(format!("{pass}.json"))
}

/// The last second of the year 9999.
const LAST: u64 = 253_402_300_799;

/// A time in seconds since 1970 as a date, in UTC.
pub fn date(seconds: u64) -> String {
    if seconds > LAST {
        return format!("second {seconds}");
    }
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let (mut days, mut year, mut month) = (seconds / 86_400, 1970, 1);
    let mut take = |length: u64| {
        let whole = days >= length;
        days -= if whole { length } else { 0 };
        whole
    };
    while take(365 + u64::from(leap(year))) {
        year += 1;
    }
    while take(match month {
        2 => 28 + u64::from(leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }) {
        month += 1;
    }
    let (hour, minute) = (seconds / 3600 % 24, seconds / 60 % 60);
    let day = days + 1;
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
}

/// Seconds with three digits, as in `0.042 s`.
pub fn seconds(millis: u64) -> String {
    let time = Duration::from_millis(millis);
    format!("{:.3} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_cause_is_told_once_with_all_that_it_concerns() {
        let pool = |root: &str| Finding::new(Severity::Failure, root, "pool z is gone", "import z");
        let mut all: Vec<Finding> = (1..=100).map(|n| pool(&format!("z/{n}"))).collect();
        all.insert(
            1,
            Finding::new(Severity::Alarm, "y", "pool z is gone", "import z"),
        );
        all.push(Finding::new(
            Severity::Failure,
            "x",
            "pool z is gone",
            "another",
        ));
        let told = by_cause(&all);
        let subjects: Vec<usize> = told.iter().map(|f| f.subject.split(", ").count()).collect();
        assert_eq!(subjects, [100, 1, 1]);
        assert!(told[0].subject.starts_with("z/1, z/2, "), "{told:?}");
        assert_eq!(by_cause(&all[..1]), all[..1]);
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_399, "2000-02-28 23:59 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (951_868_800, "2000-03-01 00:00 UTC"),
            (1_795_000_000, "2026-11-18 11:06 UTC"),
            (4_107_542_399, "2100-02-28 23:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00 UTC"),
            (LAST, "9999-12-31 23:59 UTC"),
            (u64::MAX, "second 18446744073709551615"),
        ] {
            assert_eq!(date(seconds), text);
        }
    }
}
