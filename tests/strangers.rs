//! What strangers call their things, in every output: sticks, pools, datasets, mountpoints and peers
//! with names that are made to deceive a terminal, a log or a shell.

mod sim;
mod tell;

use f3skeys::os::PoolState;
use sim::{Sim, Stick};
use std::path::PathBuf;
use std::process::Command;
use tell::{NAMES, OTHER, PLACE, assert_told_clean, said, wild, world};

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

#[test]
fn law_9_no_output_of_any_verb_holds_a_stranger_s_control_character_or_line() {
    let wild = wild();
    for (from, plant) in PLANTS {
        let sim = world(&from.replace(' ', "-"), PLACE);
        plant(&sim, &wild);
        assert_told_clean(from, &said(&sim));
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
