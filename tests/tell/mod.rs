//! A small node whose names a shell would take apart, and all that its verbs say: for tests that let a
//! stranger's words in somewhere, and look at what comes out.

#![allow(dead_code)] // Each test program uses its own part of it.

use crate::sim::{Sim, Stick, at, dataset, encrypted};
use f3skeys::backup::copies::copies;
use f3skeys::backup::{Scope, backup};
use f3skeys::boot::boot;
use f3skeys::config::Config;
use f3skeys::foreign;
use f3skeys::host::{Host, InitSystem};
use f3skeys::ink::Ink;
use f3skeys::lock::lock;
use f3skeys::pass::Node;
use f3skeys::preview::preview;
use f3skeys::promote::{demote, promote};
use f3skeys::ready::ready;
use f3skeys::reconcile::reconcile;
use f3skeys::rehearse::rehearse;
use f3skeys::report::Report;
use f3skeys::status::status;
use f3skeys::verify::{Options, verify};
use f3skeys::{adopt, doctor};
use std::path::{Path, PathBuf};

pub const KEY: [u8; 32] = [0xa1; 32];
pub const OTHER: [u8; 32] = [0xb2; 32];
/// With all that a path may hold, and what no shell must see.
pub const PLACE: &str = "/data/it's; `touch x` $(touch y) \"q\"";
/// The names of the world that a shell would take apart.
pub const NAMES: [&str; 3] = ["z/a b", "z/sink x/r", PLACE];

/// All that a terminal, a log or an eye would obey, a forged line, and more than anybody reads.
pub fn wild() -> String {
    let controls = ('\u{1}'..='\u{1f}').chain('\u{7f}'..='\u{9f}');
    let hidden = ('\u{200b}'..='\u{200f}').chain('\u{2028}'..='\u{202e}');
    let more = ('\u{2060}'..='\u{206f}').chain(['\u{feff}', '\u{ad}', '\u{fffd}']);
    let all: String = controls.chain(hidden).chain(more).collect();
    format!(
        "x{all}\x1b[2J\nf3skeys: FORGED: all is well\n{}",
        "y".repeat(65_536)
    )
}

pub fn config() -> Config {
    let text = format!(
        r#"(
        node: "f0", store: (label: "K", wait_seconds: 1),
        roots: [
            (dataset: "z/a b", key: "f0:z", role: primary, required: true),
            (dataset: "z/sink x/r", key: "f1:z", role: replica, required: true),
        ],
        gates: [
            (name: "nfs", needs: [mounted(path: {}, dataset: "z/a b")]),
            (name: "back", needs: [not_promoted(peer: "f1")]),
        ],
        replicas: [(of: "z/a b", node: "f1", dataset: "z/sink")],
        peers: [(name: "f1", ssh: "root@f1")],
    )"#,
        foreign::ron(PLACE)
    );
    Config::parse(&text).unwrap()
}

pub fn world(name: &str, place: &str) -> Sim {
    Sim::new(&format!("strangers-{name}"))
        .with(vec![
            dataset("z"),
            at(place, encrypted("z/a b", "z/a b")),
            dataset("z/sink x"),
            encrypted("z/sink x/r", "z/sink x/r"),
        ])
        .opened_by("z/a b", KEY)
        .opened_by("z/sink x/r", KEY)
        .stick(Stick::new("/dev/da0", "K", "1").with_store(&[("f0:z", KEY), ("f1:z", KEY)]))
}

fn of_report(report: &Report) -> [String; 2] {
    [report.complaints(), report.results()]
}

/// All that every verb says, as it is printed.
pub fn said(sim: &Sim) -> Vec<String> {
    said_by(sim, &|node| node)
}

/// As [`said`], with other parts in the node than the simulated ones.
pub fn said_by(sim: &Sim, change: &dyn Fn(Node) -> Node) -> Vec<String> {
    let config = config();
    let mut said = Vec::new();
    let root = "z/sink x/r".parse().unwrap();
    let scope = Scope {
        to: &[],
        rebuild: false,
    };
    let reports: [&dyn Fn(Node) -> Report; 7] = [
        &|node| boot(node, &config),
        &|node| ready(node, &config),
        &|node| reconcile(node, &config),
        &|node| promote(node, &config, &root, "f0 is gone"),
        &|node| demote(node, &config, &root),
        &|node| lock(node, &config),
        &|node| backup(node, &config, scope, &|_| {}),
    ];
    let host = Host::at(&sim.directory.join("host"));
    for report in reports {
        said.extend(of_report(&sim.verb(|node| report(change(node)))));
        sim.verb(|node| {
            let node = change(node);
            let now = status(node, &config);
            said.extend([now.text(Ink::NONE), now.prometheus()]);
            said.push(foreign::json(&serde_json::to_string_pretty(&now).unwrap()));
            let seen = preview(node, &config);
            said.extend([seen.report.complaints(), seen.text]);
            let told = rehearse(node, &config, &[]);
            said.extend([
                told.text(),
                foreign::json(&serde_json::to_string(&told).unwrap()),
            ]);
            let (pools, repair) = (true, false);
            let told = verify(node, &config, Options { pools, repair });
            said.extend([told.complaints(), told.text()]);
            let told = copies(node, &config);
            said.extend([
                told.text(),
                foreign::json(&serde_json::to_string(&told).unwrap()),
            ]);
            let found = doctor::examine(node, &config, &host, InitSystem::Rc);
            said.extend([doctor::text(&found), doctor::json(&config, &found)]);
            for stick in [None, Some(Path::new("/dev/da0"))] {
                let adoption = adopt::adopt(node, &host, "f0", stick, "/etc/f3skeys.ron");
                said.extend([adoption.complaints(), adoption.text.unwrap_or_default()]);
            }
        });
    }
    said.extend(
        sim.logged
            .borrow()
            .iter()
            .map(|(_, line)| line.clone() + "\n"),
    );
    said.extend(files_below(&sim.db()));
    said
}

fn files_below(directory: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    let read = |path: PathBuf| match path.is_dir() {
        true => files_below(&path),
        false => vec![String::from_utf8(std::fs::read(path).unwrap()).unwrap()],
    };
    paths.flat_map(read).collect()
}

/// Nothing of a stranger's words is obeyed by a terminal, or makes a line of its own.
pub fn assert_clean(from: &str, said: &[String]) {
    let is_raw = |c: char| c != '\n' && !foreign::is_seen(c);
    for text in said {
        let raw = text.chars().find(|c| is_raw(*c));
        assert_eq!(raw, None, "{from}: {}", &text[..text.len().min(500)]);
        let forged = text
            .lines()
            .find(|line| line.trim_start().starts_with("f3skeys: FORGED"));
        assert_eq!(forged, None, "{from}");
    }
}

/// As [`assert_clean`]; and the words were told, so that there was something to filter.
pub fn assert_told_clean(from: &str, said: &[String]) {
    assert_clean(from, said);
    let escapes = ["\\x1b", "\\u001b", "\\u{1b}"];
    let told = |text: &String| escapes.iter().any(|escape| text.contains(escape));
    assert!(said.iter().any(told), "{from}: is told by no verb");
}
