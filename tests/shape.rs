//! Invariants of the code that are absences: what must stand in one place only, or nowhere.

mod literals;

use std::collections::BTreeSet;
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
            let program = without_tests(&text);
            let name = path.strip_prefix(&top).unwrap().display().to_string();
            // What is handed on to the program as it came is called by nobody there.
            let program = match name.as_str() {
                "zfs/direct.rs" => program.replace("self.command.", "self.command: "),
                _ => program,
            };
            (name, program)
        })
        .collect()
}

/// A source without the tests in it; the crate may see them, where they lend their helpers to others.
/// Only their own lines go: tests that are declared at the head of a file hide nothing that follows.
fn without_tests(text: &str) -> String {
    let mut rest = text;
    let mut program = String::new();
    while let Some((before, after)) = ["mod tests", "pub(crate) mod tests"]
        .iter()
        .filter_map(|tests| rest.split_once(&format!("#[cfg(test)]\n{tests}")))
        .min_by_key(|(before, _)| before.len())
    {
        program.push_str(before);
        let end = if after.starts_with(';') { ";" } else { "\n}" };
        let (_, after) = after.split_once(end).expect("tests have an end");
        rest = after;
    }
    program + rest
}

#[test]
fn tests_are_left_out_and_nothing_that_follows_them() {
    for tests in ["mod tests", "pub(crate) mod tests"] {
        let declared = format!("a\n#[cfg(test)]\n{tests};\nb\n");
        assert_eq!(without_tests(&declared), "a\n\nb\n");
        let inside = format!("a\n#[cfg(test)]\n{tests} {{\n    x {{\n    }}\n}}\nb\n");
        assert_eq!(without_tests(&inside), "a\n\nb\n");
        let both = format!("{inside}{declared}");
        assert_eq!(without_tests(&both), "a\n\nb\na\n\nb\n");
    }
    assert_eq!(
        without_tests("a\n#[cfg(test)]\nfn b() {}\n"),
        "a\n#[cfg(test)]\nfn b() {}\n"
    );
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
fn law_2_key_bytes_are_seen_in_five_files() {
    assert_eq!(with(&["expose_secret"]), ["key.rs"]);
    // Into a pipe, onto a store, and in a worker into the library.
    let seen = ["piece.rs", "writer.rs", "zfs/direct.rs"];
    assert_eq!(with(&[".expose()"]), seen);
    // Straight into the system call that writes it.
    assert_eq!(
        with(&[".unwritten("]),
        ["child.rs", "os/worker.rs", "piece.rs"]
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
    // The pin stands before the devices: it looks at the store, and hands the work on.
    assert_eq!(places, ["audit/log.rs", "pinned.rs"]);
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
fn collections_and_sorting_have_one_small_implementation() {
    let words = [
        "BTree",
        "HashMap",
        "HashSet",
        ".sort()",
        ".sort_by",
        ".sort_unstable",
    ];
    let found = with(&words);
    assert_eq!(found, ["sorted.rs"]);
}

#[test]
fn decisions_do_no_input_or_output() {
    let pure = [
        "peers/unheard.rs",
        "plan.rs",
        "gate.rs",
        "audit.rs",
        "device.rs",
        "names.rs",
        "verdict.rs",
        "lock/plan.rs",
        "zfs/entry.rs",
        "zfs/framed.rs",
        "zfs/parse.rs",
        "zfs/version.rs",
        "preview.rs",
        "adopt/advice.rs",
        "host/exports.rs",
        "adopt/facts.rs",
        "adopt/find.rs",
        "adopt/gates.rs",
        "adopt/infer.rs",
        "adopt/proposal.rs",
        "adopt/text.rs",
        "init/decide.rs",
        "rehearse/world.rs",
        "status/prometheus.rs",
        "status/text.rs",
        "ink.rs",
        "foreign.rs",
        "shell.rs",
        "doctor/mod.rs",
        "doctor/audit.rs",
        "doctor/guests.rs",
        "doctor/services.rs",
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
    assert_eq!(with(&["\"receive\""]), ["audit/log.rs", "cli/words.rs"]);
}

/// The first words with which `zfs` is called, and the functions of OpenZFS's libraries that are used.
fn calls_of_zfs() -> BTreeSet<String> {
    let mut calls = BTreeSet::new();
    for (name, text) in sources() {
        if name == "zfs/command.rs" {
            let text: String = text.split_whitespace().collect();
            for begin in ["&[\"", "=[\"", "([\""] {
                let words = text.split(begin).skip(1);
                let words = words.filter_map(|rest| rest.split('"').next());
                let words = words.filter(|word| !word.starts_with('-'));
                calls.extend(words.map(|word| format!("zfs {word}")));
            }
        }
        let functions = text.split("function(library, c\"").skip(1);
        let functions = functions.filter_map(|rest| rest.split('"').next());
        // How a list of names and values is read, in memory alone.
        let functions = functions.filter(|name| !name.starts_with("nvlist_"));
        calls.extend(functions.map(str::to_owned));
    }
    calls
}

#[test]
fn law_3_every_call_of_zfs_is_listed_with_what_it_can_write() {
    let text = include_str!("../ARCHITECTURE.md");
    let (_, table) = text.split_once("| Call | Replicas |").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    let mut listed = BTreeSet::new();
    for row in table.lines().skip(2) {
        let calls = row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2);
        listed.extend(
            calls
                .filter(|call| !call.starts_with('-'))
                .map(str::to_owned),
        );
    }
    // The one call of the other program, which is found by its name.
    assert_eq!(with(&["with_file_name(\"zpool\")"]), ["zfs/command.rs"]);
    assert!(listed.remove("zpool get"));
    let calls = calls_of_zfs();
    assert!(calls.len() > 25, "{calls:?}");
    assert_eq!(listed, calls);
}

#[test]
fn law_7_only_a_rotation_changes_a_key() {
    assert_eq!(with(&["\"change-key\""]), ["zfs/command.rs"]);
    assert_eq!(with(&[".change_key("]), ["rotate/roots.rs"]);
}

#[test]
fn law_3_only_a_promotion_makes_anything_writable() {
    assert_eq!(with(&["readonly=off"]), ["zfs/command.rs", "zfs/mod.rs"]);
    assert_eq!(with(&[".set_writable("]), ["promote.rs"]);
}

/// What a dataset's property says of a promotion is joined with this node's record before any verb sees
/// it: there is one way to datasets, and one place that joins.
#[test]
fn law_3_what_promotes_is_joined_in_one_place() {
    assert_eq!(with(&["promotion::parse("]), ["zfs/parse.rs"]);
    assert_eq!(with(&["join_all("]), ["pass.rs", "promotion/record.rs"]);
    let looks = |text: &str| {
        let text: String = text.split_whitespace().collect();
        text.contains("zfs.observe(") || text.contains("zfs.observe_part(")
    };
    let looking = sources().into_iter().filter(|(_, text)| looks(text));
    let mut looking: Vec<String> = looking.map(|(name, _)| name).collect();
    looking.sort();
    // `adopt` proposes what is not configured yet; the stage of a rehearsal stands where ZFS does.
    assert_eq!(looking, ["adopt/gather.rs", "pass.rs", "rehearse/stage.rs"]);
}

#[test]
fn only_lock_takes_a_key_from_zfs() {
    assert_eq!(with(&["\"unload-key\""]), ["zfs/command.rs"]);
    assert_eq!(with(&[".unload_key("]), ["lock.rs"]);
    assert_eq!(with(&["\"unmount\""]), ["zfs/command.rs"]);
}

#[test]
fn law_2_random_bytes_come_from_one_system_call_and_from_no_path() {
    let paths = ["/dev/random", "/dev/urandom", "/dev/hwrng", "random/uuid"];
    assert_eq!(with(&paths), [""; 0]);
    let calls = ["getrandom", "getentropy", "arc4random", "RandomState"];
    assert_eq!(with(&calls), ["os/random.rs"]);
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

/// The parsers of the standard library take a plus sign for part of a number.
#[test]
fn law_9_numbers_from_outside_are_read_in_one_place() {
    let found = with(&["from_str_radix", ".parse::<u", ".parse::<i"]);
    assert_eq!(found, [""; 0]);
}

/// `add_line!` filters each line. The status colours words, so its parts are filtered before; metrics
/// filter the values of labels.
#[test]
fn law_9_lines_for_people_are_made_in_one_way() {
    let found = with(&["writeln!("]);
    assert_eq!(found, ["status/prometheus.rs", "status/text.rs"]);
    // Every byte that leaves the program by standard output or error.
    let found = with(&["stdout()", "stderr()", "println!", "eprint"]);
    let doors = ["cli.rs", "cli/show.rs", "progress.rs", "receive.rs"];
    assert_eq!(found, doors);
}

/// `command!` quotes each word of a command that is to be pasted, and takes no name inside the braces.
#[test]
fn law_9_no_command_to_be_pasted_is_made_of_names_as_they_came() {
    let mut commands = 0;
    let mut found = Vec::new();
    for (name, text) in sources() {
        let here = literals::unquoted_commands(&text);
        found.extend(here.into_iter().map(|piece| format!("{name}: {piece}")));
        commands += text.matches("command!(").count();
    }
    assert_eq!(found, [""; 0], "write it with command!");
    assert!(commands > 60, "{commands}");
    // Control: each kind of offence, and what is none.
    for (source, found) in [
        (r#"format!("`zfs mount {dataset}`")"#, 1),
        (
            r#"format!("see \"x\" and `umount {}`, `zpool clear {pool}`", at)"#,
            2,
        ),
        (r#"let c = '"'; format!("`{name}=YES`")"#, 1),
        (r#"format!("first, `{command}`")"#, 1),
        (r##"format!(r#"`rm "{path}"`"#)"##, 1),
        (
            r#"fn f<'a>() { format!("`{value:?}` is no `label` of {name}") }"#,
            0,
        ),
        (r#"// format!("`zfs mount {dataset}`")"#, 0),
        (
            r#"format!("`f3skeys boot` opens {root}; `awk {{print}}`")"#,
            0,
        ),
    ] {
        assert_eq!(literals::unquoted_commands(source).len(), found, "{source}");
    }
}

/// The names in the last column of SECURITY.md's table of promises: whether each is a scenario of the
/// lab, and the name.
fn named_in(text: &str) -> Vec<(bool, &str)> {
    let (_, table) = text.split_once("| promise |").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    let rows = table.lines().skip(2);
    let held_by = rows.map(|row| row.trim_end_matches('|').rsplit('|').next().unwrap());
    held_by
        .flat_map(|cell| cell.split(';'))
        .flat_map(|part| {
            let is_lab = part.contains("*lab*");
            let names = part.split('`').skip(1).step_by(2);
            names.map(move |name| (is_lab, name))
        })
        .collect()
}

/// The tests of the crate, by their functions.
fn tests() -> BTreeSet<String> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for directory in ["src", "tests"] {
        collect(&top.join(directory), &mut files);
    }
    files.retain(|path| path.extension().is_some_and(|is| is == "rs"));
    let mut tests = BTreeSet::new();
    for path in files {
        let text = fs::read_to_string(path).unwrap();
        for (_, behind) in text
            .split("#[test]")
            .skip(1)
            .map(|part| part.split_once("fn ").unwrap())
        {
            tests.insert(behind.split('(').next().unwrap().to_owned());
        }
    }
    tests
}

/// The scenarios of the lab, named as `scenarios/__init__.py` does: by the function that starts the
/// group's machine and the scenario's own.
fn scenarios() -> BTreeSet<String> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/scenarios");
    let mut files = Vec::new();
    collect(&top, &mut files);
    let mut scenarios = BTreeSet::new();
    for path in files
        .iter()
        .filter(|path| path.extension().is_some_and(|is| is == "py"))
    {
        let text = fs::read_to_string(path).unwrap();
        let mut groups: Vec<(&str, &str)> = Vec::new();
        let mut of = None;
        for line in text.lines() {
            if let Some((decorator, group)) = line.split_once(" = group(") {
                groups.push((decorator, group.trim_end_matches(')')));
            } else if let Some(decorator) = line.strip_prefix('@') {
                let name = decorator.split('(').next().unwrap();
                let group = groups.iter().find(|(decorator, _)| *decorator == name);
                of = group.map(|(_, group)| *group).or(of);
            } else if let Some(function) = line.strip_prefix("def ") {
                let function = function.split('(').next().unwrap();
                let group = of.take().into_iter();
                scenarios
                    .extend(group.map(|group| format!("{group}-{function}").replace('_', "-")));
            }
        }
    }
    scenarios
}

/// Whether a name, or a pattern with one `*`, is among these.
fn is_among(name: &str, known: &BTreeSet<String>) -> bool {
    match name.split_once('*') {
        None => known.contains(name),
        Some((begin, end)) => known
            .iter()
            .any(|known| known.starts_with(begin) && known.ends_with(end)),
    }
}

#[test]
fn every_test_that_security_md_names_is_there() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(top.join("SECURITY.md")).unwrap();
    let named = named_in(&text);
    let of_lab = named.iter().filter(|(is_lab, _)| *is_lab).count();
    assert!(named.len() > 100 && of_lab > 30, "{} {of_lab}", named.len());
    let (tests, scenarios) = (tests(), scenarios());
    let is_there = |is_lab: bool, name: &str| match (name.contains('/'), is_lab) {
        (true, _) => top.join(name).is_file(),
        (false, true) => is_among(name, &scenarios),
        (false, false) => is_among(name, &tests),
    };
    let is_missing = |(is_lab, name): &&(bool, &str)| !is_there(*is_lab, name);
    let missing: Vec<_> = named.iter().filter(is_missing).collect();
    assert!(missing.is_empty(), "{missing:#?}");
    // Control: names that nothing has, in each column, and a function that is no test.
    for (is_lab, name) in [
        (false, "law_0_nothing_is_ever_wrong"),
        (false, "law_0_*"),
        (false, "well-replica"),
        (false, "every_test_that_security_md_names_is"),
        (false, "scenarios"),
        (true, "well-nothing"),
        (true, "nothing-*"),
        (true, "every_test_that_security_md_names_is_there"),
        (true, "rotation-state"),
        (false, "tests/nothing.rs"),
    ] {
        assert!(!is_there(is_lab, name), "{name}");
    }
    let row = "| promise | a | b |\n|---|---|---|\n| x | y | `made_up`; *lab* `made-up` |\n\n";
    assert_eq!(named_in(row), [(false, "made_up"), (true, "made-up")]);
}

/// The promises of SECURITY.md that stand there more than once.
fn promised_twice(text: &str) -> Vec<&str> {
    let (_, table) = text.split_once("| promise |").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    let promises = table
        .lines()
        .skip(2)
        .filter_map(|row| row.split('|').nth(1));
    let mut seen = BTreeSet::new();
    promises.filter(|promise| !seen.insert(*promise)).collect()
}

#[test]
fn each_promise_of_security_md_is_made_once() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(top.join("SECURITY.md")).unwrap();
    assert_eq!(promised_twice(&text), [] as [&str; 0]);
    let rows =
        "| promise | a | b |\n|---|---|---|\n| x | y | z |\n| w | y | z |\n| x | v | z |\n\n";
    assert_eq!(promised_twice(rows), [" x "]);
}
