//! The system's log: one line for each run that has changed something, or has ended otherwise than the
//! run of that verb before it. What a job finds each minute, and found the minute before, is told once.
//!
//! A log that is full or not there holds nobody up, and loses the line: the reports and the audit log of
//! the store are what lasts. Early in a boot of FreeBSD there is none yet.

use crate::exit::Fault;
use crate::foreign;
use crate::report::{Report, Severity};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process;

/// The longest line, in characters: what every syslogd takes in one piece.
const LONGEST: usize = 800;
/// Daemons.
const FACILITY: u8 = 3;

/// What there is to log of a run; `before` is the report of the run of its verb before.
pub fn of_run(report: &Report, before: Option<&Report>) -> Option<(Severity, String)> {
    let (status, findings) = before.map_or((0, &[][..]), |b| (b.status, &b.findings));
    let same = status == report.status && (status == 0 || findings == report.findings);
    if report.fault == Some(Fault::Busy) || (report.changed.is_empty() && same) {
        return None;
    }
    let (pass, status) = (&report.pass, report.status);
    let mut line = format!("{pass}: exit status {status}");
    // Of several that are as bad, the first is the cause.
    let worst = report.findings.iter().rev().max_by_key(|f| f.severity);
    let worst = worst.filter(|worst| status != 0 || worst.severity == Severity::Alarm);
    if let Some(worst) = worst {
        line += &format!("; {}: {}", worst.subject, worst.what);
    }
    if !report.changed.is_empty() {
        line += &format!("; changed: {}", report.changed.join("; "));
    }
    let severity = match status {
        0 => Severity::Note,
        _ => Severity::Failure,
    };
    Some((severity.max(worst.map_or(severity, |f| f.severity)), line))
}

/// Hands a line to the system's log, and never waits.
pub fn send(socket: &Path, severity: Severity, line: &str) {
    let level = match severity {
        Severity::Note => 5,
        Severity::Warning => 4,
        Severity::Failure => 3,
        Severity::Alarm => 1,
    };
    let line: String = foreign::line(line).chars().take(LONGEST).collect();
    let priority = FACILITY * 8 + level;
    let message = format!("<{priority}>f3skeys[{}]: {line}", process::id());
    if let Ok(from) = UnixDatagram::unbound()
        && from.set_nonblocking(true).is_ok()
    {
        let _ = from.send_to(message.as_bytes(), socket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(changed: &[&str], status: Option<Fault>, severity: Severity) -> Report {
        let mut report = Report::new("ready", "f0", None);
        report.changed = changed.iter().map(|c| (*c).into()).collect();
        if let Some(fault) = status {
            report.fail(fault);
            report.find(Severity::Note, "z", "is so", "");
            report.find(severity, "z/a", "is bad", "mend it");
            report.find(severity, "z/b", "is bad, too", "mend it");
        }
        report
    }

    fn line(report: &Report, before: Option<&Report>) -> Option<String> {
        of_run(report, before).map(|(_, line)| line)
    }

    #[test]
    fn a_change_is_logged_and_so_is_another_outcome_once() {
        let quiet = report(&[], None, Severity::Note);
        let moved = report(&["a", "b"], None, Severity::Note);
        let bad = report(&[], Some(Fault::Unavailable), Severity::Failure);
        assert_eq!(line(&quiet, None), None);
        assert_eq!(line(&quiet, Some(&moved)), None);
        let changed = Some("ready: exit status 0; changed: a; b".to_owned());
        assert_eq!(line(&moved, None), changed);
        assert_eq!(line(&moved, Some(&moved)), changed);
        let failed = Some("ready: exit status 69; z/a: is bad".to_owned());
        assert_eq!(line(&bad, None), failed);
        assert_eq!(line(&bad, Some(&quiet)), failed);
        assert_eq!(line(&bad, Some(&bad)), None);
        let mut other = bad.clone();
        other.find(Severity::Alarm, "z/c", "is worse", "mend it");
        let (severity, words) = of_run(&other, Some(&bad)).unwrap();
        assert_eq!(severity, Severity::Alarm);
        assert_eq!(words, "ready: exit status 69; z/c: is worse");
        assert_eq!(line(&quiet, Some(&bad)).unwrap(), "ready: exit status 0");
        let busy = report(&[], Some(Fault::Busy), Severity::Failure);
        assert_eq!(line(&busy, None), None);
    }

    #[test]
    fn a_line_is_one_line_with_its_priority_and_a_full_log_holds_nobody_up() {
        let path = std::env::temp_dir().join(format!("f3skeys-syslog-{}", process::id()));
        let _ = std::fs::remove_file(&path);
        // Nobody listens.
        send(&path, Severity::Note, "lost");
        let log = UnixDatagram::bind(&path).unwrap();
        send(&path, Severity::Alarm, "a\nb\x1b[31m");
        let mut bytes = [0; 2000];
        let count = log.recv(&mut bytes).unwrap();
        let wanted = format!("<25>f3skeys[{}]: a\\nb\\x1b[31m", process::id());
        assert_eq!(std::str::from_utf8(&bytes[..count]).unwrap(), wanted);
        for _ in 0..2000 {
            send(&path, Severity::Failure, &"x".repeat(5000));
        }
        let count = log.recv(&mut bytes).unwrap();
        assert!(count < LONGEST + 40, "{count}");
        std::fs::remove_file(&path).unwrap();
    }
}
