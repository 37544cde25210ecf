//! What strangers call their things, in every output: sticks, pools, datasets, mountpoints and peers
//! with names that are made to deceive a terminal, a log or a shell.

mod sim;

use f3skeys::backup::copies::copies;
use f3skeys::boot::boot;
use f3skeys::config::Config;
use f3skeys::foreign;
use f3skeys::host::{Host, InitSystem};
use f3skeys::ink::Ink;
use f3skeys::lock::lock;
use f3skeys::os::PoolState;
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
use sim::{Sim, Stick, at, dataset, encrypted};
use std::path::{Path, PathBuf};
use std::process::Command;

const KEY: [u8; 32] = [0xa1; 32];
const OTHER: [u8; 32] = [0xb2; 32];
/// With all that a path may hold, and what no shell must see.
const PLACE: &str = "/data/it's; `touch x` $(touch y) \"q\"";
/// The names of the world that a shell would take apart.
const NAMES: [&str; 3] = ["z/a b", "z/sink x/r", PLACE];

/// All that a terminal, a log or an eye would obey, a forged line, and more than anybody reads.
fn wild() -> String {
    let controls = ('\u{1}'..='\u{1f}').chain('\u{7f}'..='\u{9f}');
    let hidden = ('\u{200b}'..='\u{200f}').chain('\u{2028}'..='\u{202e}');
    let more = ('\u{2060}'..='\u{206f}').chain(['\u{feff}', '\u{ad}', '\u{fffd}']);
    let all: String = controls.chain(hidden).chain(more).collect();
    format!(
        "x{all}\x1b[2J\nf3skeys: FORGED: all is well\n{}",
        "y".repeat(65_536)
    )
}

fn config() -> Config {
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

fn world(name: &str, place: &str) -> Sim {
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
fn said(sim: &Sim) -> Vec<String> {
    let config = config();
    let mut said = Vec::new();
    let root = "z/sink x/r".parse().unwrap();
    let reports: [&dyn Fn(Node) -> Report; 6] = [
        &|node| boot(node, &config),
        &|node| ready(node, &config),
        &|node| reconcile(node, &config),
        &|node| promote(node, &config, &root, "f0 is gone"),
        &|node| demote(node, &config, &root),
        &|node| lock(node, &config),
    ];
    let host = Host::at(&sim.directory.join("host"));
    for report in reports {
        said.extend(of_report(&sim.verb(report)));
        sim.verb(|node| {
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
            let adoption = adopt::adopt(node, &host, "f0", None, "/etc/f3skeys.ron");
            said.extend([adoption.complaints(), adoption.text.unwrap_or_default()]);
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

/// Where a stranger's words come in.
type Plant = fn(&Sim, &str);
const PLANTS: [(&str, Plant); 6] = [
    ("serial", |sim, wild| {
        sim.sticks.borrow_mut()[0].candidate.serial = Some(wild.to_owned());
    }),
    ("a decoy's label", |sim, wild| {
        let mut decoy = Stick::new("/dev/da1", "K", "2");
        decoy.candidate.serial = Some(wild.to_owned());
        decoy.candidate.filesystems[0].label = Some(wild.to_owned());
        sim.sticks.borrow_mut().insert(0, decoy);
    }),
    ("a stick's failure", |sim, wild| {
        sim.sticks.borrow_mut()[0].broken = Some(wild.to_owned());
    }),
    ("a pool's state", |sim, wild| {
        let state = PoolState::Unknown(wild.to_owned());
        sim.states.borrow_mut().insert("z".to_owned(), state);
    }),
    ("a mountpoint", |sim, wild| {
        sim.change("z/sink x/r", |d| {
            d.mountpoint = f3skeys::zfs::Mountpoint::Path(PathBuf::from(format!("/{wild}")));
        });
    }),
    ("a promotion", |sim, wild| {
        sim.set_promotion("z/sink x/r", wild)
    }),
];

fn is_raw(c: char) -> bool {
    c != '\n' && !foreign::is_seen(c)
}

#[test]
fn law_9_no_output_of_any_verb_holds_a_stranger_s_control_character_or_line() {
    let wild = wild();
    for (from, plant) in PLANTS {
        let sim = world(&from.replace(' ', "-"), PLACE);
        plant(&sim, &wild);
        let said = said(&sim);
        for text in &said {
            let raw = text.chars().find(|c| is_raw(*c));
            assert_eq!(raw, None, "{from}: {}", &text[..text.len().min(500)]);
            let forged = text
                .lines()
                .find(|line| line.trim_start().starts_with("f3skeys: FORGED"));
            assert_eq!(forged, None, "{from}");
        }
        // Control: the words were told, so that there was something to filter.
        let told = |text: &String| text.contains("\\x1b[2J") || text.contains("\\u001b[2J");
        assert!(said.iter().any(told), "{from}: is told by no verb");
    }
}

/// The words that a shell makes of a command.
fn words(command: &str) -> Vec<String> {
    let script = format!("printf '%s\\0' {command}");
    let done = Command::new("/bin/sh")
        .args(["-c", &script])
        .current_dir("/")
        .output()
        .unwrap();
    assert!(done.status.success() && done.stderr.is_empty(), "{command}");
    let words = String::from_utf8(done.stdout).unwrap();
    words.split_terminator('\0').map(str::to_owned).collect()
}

/// The commands in backticks of what was said, that name something of this world.
fn commands(said: &[String]) -> Vec<String> {
    let pieces = said.iter().flat_map(|text| text.lines());
    let pieces = pieces.filter(|line| !line.contains("\": \""));
    let pieces = pieces.flat_map(|line| line.split('`').skip(1).step_by(2));
    let of_us = |piece: &&str| {
        ["z/a", "z/sink", "/data/it"]
            .iter()
            .any(|name| piece.contains(name))
    };
    let is_command = |piece: &&str| piece.starts_with(['z', 'f', 'u']) && piece.contains(' ');
    pieces
        .filter(of_us)
        .filter(is_command)
        .map(str::to_owned)
        .collect()
}

#[test]
fn law_9_a_pasted_command_is_about_the_very_dataset_and_path() {
    type Fault = fn(&Sim);
    let faults: [Fault; 9] = [
        |_| {},
        |sim| sim.sticks.borrow_mut().clear(),
        |sim| {
            sim.wrapped.borrow_mut().insert("z/a b".to_owned(), OTHER);
        },
        |sim| sim.change("z/sink x/r", |d| d.readonly = false),
        |sim| {
            sim.change("z/sink x/r", |d| d.readonly = false);
            sim.stubborn.borrow_mut().push("z/sink x/r".to_owned());
        },
        |sim| sim.refused_mounts.borrow_mut().push("z/a b".to_owned()),
        |sim| sim.busy.borrow_mut().push("z/a b".to_owned()),
        |sim| sim.set_promotion("z/sink x/r", "nonsense"),
        |sim| {
            sim.change("z/sink x/r", |d| {
                d.mountpoint = f3skeys::zfs::Mountpoint::Path(PLACE.into())
            })
        },
    ];
    let mut seen = std::collections::BTreeSet::new();
    for (number, fault) in faults.iter().enumerate() {
        let sim = world(&format!("pasted-{number}"), PLACE);
        fault(&sim);
        for command in commands(&said(&sim)) {
            for word in words(&command) {
                let names = NAMES.iter().any(|name| word.contains(name));
                let pieces = ["a", "b", "x/r", "z/a", "z/sink", "touch"];
                assert!(names || !pieces.contains(&&*word), "{command}: {word}");
                let is_part =
                    word.contains("z/a") || word.contains("z/sink") || word.contains("/data/it");
                assert!(names || !is_part || word == "z/sink x", "{command}: {word}");
            }
            seen.insert(command);
        }
    }
    assert!(seen.len() > 6, "{seen:#?}");
}
