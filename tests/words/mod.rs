//! The verbs and flags of the program, from its own mouth: it is run with `--help`.

#![allow(dead_code)] // Each test program uses its own part of it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// An option of the program or of a verb.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flag {
    /// Without the dashes.
    pub name: String,
    /// Whether a value follows it.
    pub value: bool,
}

/// The flags of the program, and those of each verb.
pub fn help() -> (BTreeSet<Flag>, BTreeMap<String, BTreeSet<Flag>>) {
    let own = said(&["--help"]);
    let verbs = listed(&own, "Commands:");
    let verbs = verbs.map(|verb| (verb.to_owned(), flags(&said(&["help", verb]))));
    (flags(&own), verbs.collect())
}

fn said(arguments: &[&str]) -> String {
    let done = Command::new(env!("CARGO_BIN_EXE_f3skeys"))
        .args(arguments)
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    String::from_utf8(done.stdout).unwrap()
}

/// The names in one of the lists: what continues an item is indented more.
fn listed<'a>(text: &'a str, list: &str) -> impl Iterator<Item = &'a str> {
    let lines = text.lines().skip_while(move |line| *line != list).skip(1);
    let items = lines.take_while(|line| !line.is_empty());
    items.filter_map(|line| {
        let item = line.strip_prefix("  ")?;
        (!item.starts_with(' ')).then(|| item.split_whitespace().next())?
    })
}

fn flags(text: &str) -> BTreeSet<Flag> {
    let usage = text.lines().next().unwrap();
    let names = listed(text, "Options:").filter_map(|name| name.strip_prefix("--"));
    let names = names.map(|name| name.trim_end_matches(','));
    let own = names.filter(|name| *name != "help");
    own.map(|name| Flag {
        name: name.to_owned(),
        value: usage.contains(&format!("--{name} <")),
    })
    .collect()
}
