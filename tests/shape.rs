//! Invariants of the code that are absences: what must stand in one place only, or nowhere.

use std::fs;
use std::path::{Path, PathBuf};

/// The program's sources without their tests: path and text.
fn sources() -> Vec<(String, String)> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&top, &mut files);
    assert!(files.len() > 25, "the sources are elsewhere");
    files
        .into_iter()
        .filter(|path| !path.ends_with("tests.rs"))
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let program = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            let name = path.strip_prefix(&top).unwrap().display().to_string();
            (name, program.to_owned())
        })
        .collect()
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push(path);
        }
    }
}

/// The files in which one of the words stands.
fn with(words: &[&str]) -> Vec<String> {
    let mut found: Vec<String> = sources()
        .into_iter()
        .filter(|(_, text)| words.iter().any(|word| text.contains(word)))
        .map(|(name, _)| name)
        .collect();
    found.sort();
    found
}

#[test]
fn law_2_key_bytes_are_seen_in_four_files() {
    assert_eq!(with(&["expose_secret"]), ["key.rs"]);
    assert_eq!(
        with(&[".expose()"]),
        ["peers.rs", "writer.rs", "zfs/command.rs"]
    );
}

#[test]
fn programs_are_started_in_one_place() {
    // cli.rs becomes the command after `--`; it starts none.
    assert_eq!(with(&["Command::new"]), ["child.rs", "cli.rs"]);
    assert_eq!(with(&[".spawn("]), ["child.rs"]);
    assert_eq!(with(&["fork()"]), ["os/worker.rs"]);
}

#[test]
fn a_store_is_worked_on_in_one_place_which_writes_it_down() {
    let mut places = Vec::new();
    for (name, text) in sources() {
        let text: String = text.split_whitespace().collect();
        for (at, _) in text.match_indices(".work(") {
            let on = &text[..at];
            let here = on.rfind("Caller::here(\"").map(|start| &on[start + 14..]);
            let is_caller = on.ends_with("caller")
                || on.ends_with("Caller::peer(from)")
                || here.is_some_and(|verb| verb.find("\")") == Some(verb.len() - 2));
            // A rotation's own helper, which calls one of those.
            let is_helper = name.starts_with("rotate") && on.ends_with("self");
            if !is_caller && !is_helper {
                places.push(name.clone());
            }
        }
    }
    assert_eq!(places, ["audit/log.rs"]);
}

#[test]
fn unsafe_is_in_the_platform_alone() {
    let found = with(&["unsafe {", "unsafe fn", "allow(unsafe_code)"]);
    assert!(
        found.iter().all(|name| name.starts_with("os/")),
        "{found:?}"
    );
    assert!(!found.is_empty());
}

#[test]
fn platforms_are_told_apart_in_the_platform_alone() {
    let found = with(&["target_os", "cfg!("]);
    assert!(
        found.iter().all(|name| name.starts_with("os/")),
        "{found:?}"
    );
}

#[test]
fn decisions_do_no_input_or_output() {
    let pure = [
        "plan.rs",
        "gate.rs",
        "audit.rs",
        "device.rs",
        "names.rs",
        "verdict.rs",
        "lock/plan.rs",
        "preview.rs",
        "adopt/advice.rs",
        "adopt/exports.rs",
        "adopt/facts.rs",
        "adopt/find.rs",
        "adopt/gates.rs",
        "adopt/infer.rs",
        "adopt/proposal.rs",
        "adopt/text.rs",
        "init/decide.rs",
        "rehearse/world.rs",
        "doctor/mod.rs",
        "doctor/audit.rs",
        "doctor/guests.rs",
        "doctor/stick.rs",
        "rotate/decide.rs",
        "rotate/facts.rs",
        "rotate/tell.rs",
        "doctor/pools.rs",
        "doctor/mounts.rs",
        "doctor/system.rs",
    ];
    for name in pure {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(name);
        assert!(path.exists(), "{name} is elsewhere");
    }
    let effects = [
        "std::fs",
        "std::io",
        "std::process",
        "std::env",
        "nix::",
        "std::time::Instant",
    ];
    let found = with(&effects);
    for name in pure {
        assert!(
            !found.iter().any(|other| other == name),
            "{name} does input or output"
        );
    }
    assert!(
        !found.iter().any(|name| name.starts_with("store/")),
        "the store's rules are pure"
    );
}

#[test]
fn laws_7_and_8_zfs_is_asked_for_nothing_that_destroys() {
    for word in ["\"rollback\"", "\"destroy\"", "\"-f\"", "\"inherit\""] {
        assert_eq!(with(&[word]), [""; 0], "{word}");
    }
    // The verb of that name, and what is written down of it.
    assert_eq!(with(&["\"receive\""]), ["audit/log.rs", "cli.rs"]);
}

#[test]
fn law_7_only_a_rotation_changes_a_key() {
    assert_eq!(with(&["\"change-key\""]), ["zfs/command.rs"]);
    assert_eq!(with(&[".change_key("]), ["rotate.rs"]);
}

#[test]
fn law_3_only_a_promotion_makes_anything_writable() {
    assert_eq!(with(&["readonly=off"]), ["zfs/command.rs", "zfs/mod.rs"]);
    assert_eq!(with(&[".set_writable("]), ["promote.rs"]);
}

#[test]
fn only_lock_takes_a_key_from_zfs() {
    assert_eq!(with(&["\"unload-key\""]), ["zfs/command.rs"]);
    assert_eq!(with(&[".unload_key("]), ["lock.rs"]);
    assert_eq!(with(&["\"unmount\""]), ["zfs/command.rs"]);
}

#[test]
fn nothing_panics_on_purpose() {
    assert_eq!(
        with(&[
            ".unwrap()",
            ".expect(",
            "panic!(",
            "todo!(",
            "unimplemented!("
        ]),
        [""; 0]
    );
}
