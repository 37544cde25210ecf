//! What a verb has come to, in the words for standard output and the complaints for standard error.

use super::words::Status;
use crate::backup::copies;
use crate::foreign;
use crate::ink::Ink;
use crate::names::KeyName;
use crate::pass::Node;
use crate::rehearse;
use crate::report::Report;
use crate::rotate::Rotated;
use crate::{status, verify};
use std::io::{self, IsTerminal, Write};

pub(super) fn show(report: &Report) -> u8 {
    complain(&report.complaints());
    say(&report.results());
    report.status
}

/// For verbs that cron runs: silent when there is nothing new.
pub(super) fn show_news(report: &Report) -> u8 {
    match report.has_no_news() {
        true => report.status,
        false => show(report),
    }
}

pub(super) fn show_verification(told: &verify::Verification, json: bool) -> u8 {
    complain(&told.complaints());
    match json {
        true => say_json(told),
        false => say(&told.text()),
    }
    told.status
}

pub(super) fn show_rehearsal(rehearsal: &rehearse::Rehearsal, json: bool) -> u8 {
    if json {
        say_json(rehearsal);
    } else {
        say(&rehearsal.text());
    }
    rehearsal.status
}

pub(super) fn show_status(status: &status::Status, asked: &Status) -> u8 {
    match asked {
        Status { json: true, .. } => say_json(status),
        Status {
            prometheus: true, ..
        } => say(&status.prometheus()),
        _ => say(&status.text(ink())),
    }
    status.status
}

/// Colour on standard output.
fn ink() -> Ink {
    let variable = std::env::var_os;
    let (no_color, term) = (variable("NO_COLOR"), variable("TERM"));
    let on_terminal = io::stdout().is_terminal();
    Ink::new(on_terminal, no_color.as_deref(), term.as_deref())
}

pub(super) fn show_copies(copies: &copies::Copies, json: bool) -> u8 {
    match json {
        true => say_json(copies),
        false => say(&copies.text()),
    }
    copies.status
}

pub(super) fn tell_rotated(rotated: &Rotated, only_shows: bool) -> u8 {
    complain(&rotated.report.complaints());
    match only_shows {
        true => say(&rotated.text),
        false => say(&rotated.report.results()),
    }
    rotated.report.status
}

/// What was done about a key, when it is done: a rotation can take minutes.
pub(super) fn progress(node: Node, key: &KeyName, change: &str) {
    told(node, &format!("{key}: {change}"));
}

/// What was just done, to a person who waits for the end of it.
pub(super) fn told(node: Node, change: &str) {
    if io::stderr().is_terminal() {
        node.system.clock().doing("");
        complain(&format!("{}\n", foreign::line(change)));
    }
}

pub(super) fn say_json(value: &impl serde::Serialize) {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    say_raw(&foreign::json(&format!("{text}\n")));
}

/// Writes a result of several lines.
pub(super) fn say(text: &str) {
    say_raw(&foreign::page(text));
}

/// Writes a result that has gone through the filter. A console that is gone must not end a boot.
fn say_raw(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

/// Writes complaints of several lines.
pub(super) fn complain(text: &str) {
    let _ = io::stderr().write_all(foreign::page(text).as_bytes());
}

/// Complains of one thing, and says the way out if there is one.
pub(super) fn complain_of(what: &str, remedy: &str) {
    let what = foreign::line(what);
    complain(&match remedy {
        "" => format!("f3skeys: {what}\n"),
        remedy => format!("f3skeys: {what}\n  -> {}\n", foreign::line(remedy)),
    });
}
