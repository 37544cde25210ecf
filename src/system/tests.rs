use super::*;
use crate::config::{Condition, Config};
use crate::gate::{Answer, Known, decide};
use crate::time::SystemClock;
use nix::unistd::{Uid, seteuid};
use std::os::unix::fs::{PermissionsExt, symlink};

/// The answers of a gate that needs the file, and of one that needs it absent, as a user who may not read
/// everything.
fn answers(path: &Path) -> [Answer; 2] {
    let clock = SystemClock::start();
    let deadline = Deadline::after(&clock, Duration::from_secs(20));
    let seen = worker::run("a look at a file", &clock, deadline, || {
        if Uid::effective().is_root() {
            seteuid(Uid::from_raw(65_534)).unwrap();
        }
        is_there(path)
    });
    let live = Live {
        files: [(path.to_owned(), seen.unwrap())].into_iter().collect(),
        ..Live::default()
    };
    [
        Condition::Present(path.to_owned()),
        Condition::Absent(path.to_owned()),
    ]
    .map(|need| decided(need, &live))
}

fn decided(need: Condition, live: &Live) -> Answer {
    let config = Config::parse(
        r#"(node: "f0", store: (label: "K"), gates: [(name: "g", needs: [present("/a")])],
            roots: [(dataset: "z/a", key: "f0:a", role: primary, required: true)])"#,
    );
    let mut config = config.unwrap();
    config.gates[0].needs = vec![need];
    decide(&config, &config.gates[0], live, &Known::default())
}

/// Open, closed or cannot tell.
fn short(answer: &Answer) -> char {
    match answer {
        Answer::Open => 'o',
        Answer::Closed(_) => 'c',
        Answer::CannotTell(_) => '?',
    }
}

#[test]
fn law_4_a_link_that_leads_nowhere_is_neither_present_nor_absent() {
    let top = std::env::temp_dir().join(format!("f3skeys-files-{}", std::process::id()));
    fs::create_dir(&top).unwrap();
    fs::set_permissions(&top, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(top.join("file"), "").unwrap();
    fs::create_dir(top.join("directory")).unwrap();
    fs::write(top.join("directory/inside"), "").unwrap();
    fs::create_dir(top.join("sealed")).unwrap();
    fs::write(top.join("sealed/inside"), "").unwrap();
    for (name, target) in [
        ("to-file", "file"),
        ("to-directory", "directory"),
        ("to-link", "to-file"),
        ("dangling", "nothing"),
        ("to-dangling", "dangling"),
        ("loop", "loop"),
        ("into-sealed", "sealed/inside"),
    ] {
        symlink(target, top.join(name)).unwrap();
    }
    fs::set_permissions(top.join("sealed"), fs::Permissions::from_mode(0o000)).unwrap();
    for (name, present, absent) in [
        ("file", 'o', 'c'),
        ("directory", 'o', 'c'),
        ("to-file", 'o', 'c'),
        ("to-directory", 'o', 'c'),
        ("to-link", 'o', 'c'),
        ("to-directory/inside", 'o', 'c'),
        ("nothing", 'c', 'o'),
        ("missing/inside", 'c', 'o'),
        ("missing/further/inside", 'c', 'o'),
        ("to-directory/missing/inside", 'c', 'o'),
        ("dangling", '?', '?'),
        ("to-dangling", '?', '?'),
        ("loop", '?', '?'),
        ("dangling/inside", '?', '?'),
        ("dangling/further/inside", '?', '?'),
        ("to-dangling/inside", '?', '?'),
        ("loop/inside", '?', '?'),
        ("file/inside", '?', '?'),
        ("sealed/inside", '?', '?'),
        ("sealed/missing", '?', '?'),
        ("into-sealed", '?', '?'),
    ] {
        let said = answers(&top.join(name));
        let said_short = [short(&said[0]), short(&said[1])];
        assert_eq!(said_short, [present, absent], "{name}: {said:?}");
    }
    fs::remove_dir_all(&top).unwrap();
}
