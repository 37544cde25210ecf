//! The manual pages and the program say the same. The program's side is what it prints itself when it
//! is run, and what it refuses; so neither side can have anything that the other has not.

mod words;

use f3skeys::config::Config;
use f3skeys::exit::{DATA, Fault, REFUSED, USAGE};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use words::{Flag, help};

fn page(name: &str) -> String {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(top.join("man").join(name)).unwrap()
}

/// The lines of a section of a page, or of a subsection.
fn section<'a>(page: &'a str, kind: &str, name: &str) -> Vec<&'a str> {
    let begins = format!(".{kind} {name}");
    let mut lines = page.lines().skip_while(|line| **line != begins);
    assert!(lines.next().is_some(), "no {begins}");
    let ends = |line: &&str| line.starts_with(".Sh ") || (kind == "Ss" && line.starts_with(".Ss "));
    lines.take_while(|line| !ends(line)).collect()
}

/// The names behind `Fl Fl` in lines of a page.
fn flags_in<'a>(lines: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    let words: Vec<&str> = lines.into_iter().flat_map(str::split_whitespace).collect();
    let named = words
        .windows(3)
        .filter(|words| words[0].trim_start_matches('.') == "Fl");
    named
        .filter(|words| words[1] == "Fl")
        .map(|words| words[2].to_owned())
        .collect()
}

/// What the synopsis gives each verb: its flags, and whether they take a value.
fn synopsis(page: &str) -> BTreeMap<String, BTreeSet<Flag>> {
    let mut verbs: BTreeMap<String, BTreeSet<Flag>> = BTreeMap::new();
    let lines = section(page, "Sh", "SYNOPSIS").join("\n");
    for line in lines.split(".Nm\n").skip(1) {
        let line = line.replacen(".Op Fl Fl config Ar file\n", "", 1);
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[0], ".Cm", "{line}");
        let flags = verbs.entry(words[1].to_owned()).or_default();
        for at in 2..words.len() {
            if words[at - 2].ends_with("Fl") && words[at - 1] == "Fl" {
                flags.insert(Flag {
                    name: words[at].to_owned(),
                    value: words.get(at + 1) == Some(&"Ar"),
                });
            }
        }
    }
    verbs
}

/// The items of the list of verbs: verb, and all its lines.
fn described(page: &str) -> BTreeMap<String, Vec<&str>> {
    let mut verbs: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let mut verb = None;
    for line in section(page, "Ss", "Verbs") {
        if let Some(item) = line.strip_prefix(".It Cm ") {
            verb = item.split_whitespace().next().map(str::to_owned);
        }
        if let Some(verb) = &verb {
            verbs.entry(verb.clone()).or_default().push(line);
        }
    }
    verbs
}

#[test]
fn verbs_and_flags_of_the_page_are_the_programs() {
    let page = page("f3skeys.8");
    let (global, verbs) = help();
    assert!(verbs.len() >= 21, "{verbs:#?}");
    assert_eq!(synopsis(&page), verbs);
    assert_eq!(global.len(), 1, "{global:?}");
    let described = described(&page);
    let named: Vec<&String> = described.keys().collect();
    assert_eq!(named, verbs.keys().collect::<Vec<_>>());
    for (verb, flags) in &verbs {
        let told = flags_in(described[verb].iter().copied());
        for flag in flags {
            // What several verbs have alike is told once, behind the list.
            let once = flag.name == "json";
            assert!(once || told.contains(&flag.name), "{verb} --{}", flag.name);
        }
    }
    let known: BTreeSet<String> = verbs
        .values()
        .flatten()
        .chain(&global)
        .map(|flag| flag.name.clone())
        .collect();
    assert_eq!(flags_in(page.lines()), known);
}

/// Every fault; a new one does not compile here before it is in the list.
fn faults() -> [Fault; 7] {
    match Fault::System {
        Fault::System
        | Fault::Unavailable
        | Fault::BadKey
        | Fault::NoKeyDevice
        | Fault::Busy
        | Fault::NotRoot
        | Fault::Configuration => {}
    }
    [
        Fault::System,
        Fault::Unavailable,
        Fault::BadKey,
        Fault::NoKeyDevice,
        Fault::Busy,
        Fault::NotRoot,
        Fault::Configuration,
    ]
}

#[test]
fn exit_statuses_of_the_page_are_the_programs() {
    let page = page("f3skeys.8");
    let items = section(&page, "Sh", "EXIT STATUS");
    let listed: BTreeSet<u8> = items
        .iter()
        .filter_map(|line| line.strip_prefix(".It ")?.parse().ok())
        .collect();
    let mut known: BTreeSet<u8> = faults().map(Fault::status).into();
    known.extend([0, USAGE, DATA, REFUSED]);
    assert_eq!(listed, known);
    let mut worst: Vec<Fault> = faults().into();
    worst.sort();
    worst.reverse();
    let order: Vec<String> = worst.iter().map(|f| f.status().to_string()).collect();
    let sentence = format!("the first of {} is returned", order.join(", "));
    assert!(page.contains(&sentence), "not said: {sentence}");
}

/// What the installer puts is in the page, and what the page calls installed is put.
#[test]
fn files_of_the_page_are_what_is_installed() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = page("f3skeys.8");
    let section = section(&page, "Sh", "FILES");
    let named: BTreeSet<&str> = section
        .iter()
        .filter(|line| line.starts_with(".Pa ") || line.starts_with(".It Pa "))
        .flat_map(|line| line.split_whitespace())
        .filter(|word| word.contains(['/', '.']) && word.len() > 3)
        .collect();
    let mut installed = BTreeSet::new();
    for os in ["freebsd", "linux"] {
        let root = std::env::temp_dir().join(format!("f3skeys-files-{os}-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        let done = Command::new(top.join("install.sh"))
            .args(["--stage", "/bin/true"])
            .env("DESTDIR", &root)
            .env("F3SKEYS_OS", os)
            .env_remove("PREFIX")
            .status();
        assert!(done.unwrap().success());
        collect(&root, &root, &mut installed);
        fs::remove_dir_all(&root).unwrap();
    }
    assert!(installed.len() > 25, "{installed:#?}");
    // A unit is named without its directory, drop-ins by theirs, a page by its section.
    let is_named = |path: &str| {
        let name = path.rsplit('/').next().unwrap();
        named.contains(path)
            || path.starts_with("/usr/lib/systemd/system/") && named.contains(name)
            || path.starts_with("/usr/lib/f3skeys/drop-ins/")
            || path.starts_with("/etc/rc.conf.d/")
            || path.contains("/share/")
    };
    let missing: Vec<&String> = installed.iter().filter(|path| !is_named(path)).collect();
    assert!(missing.is_empty(), "not in FILES: {missing:#?}");
    let ours = |path: &&&str| {
        let kinds = [
            "/rc.d/",
            "/devd/",
            "/cron.d/",
            "/periodic/",
            "/system",
            "/udev/",
            "/sbin/",
        ];
        path.starts_with('/') && kinds.iter().any(|kind| path.contains(kind))
    };
    for path in named.iter().filter(ours) {
        let is_put = installed.iter().any(|put| put.starts_with(path));
        assert!(is_put, "in FILES, and not installed: {path}");
    }
}

fn collect(root: &Path, directory: &Path, into: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, into);
        } else {
            let name = path.strip_prefix(root).unwrap();
            into.insert(format!("/{}", name.to_str().unwrap()));
        }
    }
}

// ---- f3skeys.ron(5)

/// Every field, once.
const WHOLE: &str = r#"(
node: "f0",
store: (label: "K", serial: "S", id: "0123456789abcdef0123456789abcdef", any_disk: true, mountpoint: "/k", wait_seconds: 3,),
roots: [(dataset: "z/e", key: "f0:z", role: primary, required: true,), (dataset: "z/x", key: "f0:z", role: replica, required: true, mountpoint: "/x", exec: true,)],
gates: [(name: "nfs", needs: [mounted(path: "/d", dataset: "z/e")], services: ["nfsd"],)],
guards: ["/d"],
carp: (gate: "nfs",),
peers: [(name: "f1", ssh: "f1",)],
replicas: [(of: "z/e", node: "f1", dataset: "z/r",)],
min_copies: 1,
budget_seconds: 50,
)"#;

/// Where a foreign name goes in [`WHOLE`] to be refused with the list of those that are known.
const PLACES: [(&str, &str); 7] = [
    ("configuration", "node:"),
    ("store", "label:"),
    ("roots", "dataset: \"z/e\", key"),
    ("gates", "name: \"nfs\""),
    ("carp", "gate: \"nfs\""),
    ("peers", "name: \"f1\""),
    ("replicas", "of:"),
];

fn refused(text: &str) -> String {
    Config::parse(text)
        .err()
        .map(|e| e.to_string())
        .unwrap_or_default()
}

/// The names that the program says it knows where it met another.
fn expected(text: &str) -> BTreeSet<String> {
    let said = refused(text);
    let (_, known) = said
        .rsplit_once("expected")
        .unwrap_or_else(|| panic!("{said}"));
    let names = known.split('`').skip(1).step_by(2);
    names.map(str::to_owned).collect()
}

/// The fields that a subsection of the page describes, each with the words behind its name.
fn fields(page: &str, subsection: &str) -> BTreeMap<String, String> {
    let items = section(page, "Ss", subsection).into_iter();
    let items = items.filter_map(|line| line.strip_prefix(".It Va "));
    items
        .map(|item| {
            let (name, rest) = item.split_once(" : ").unwrap_or_else(|| panic!("{item}"));
            (name.to_owned(), rest.to_owned())
        })
        .collect()
}

#[test]
fn fields_of_the_page_are_the_configurations() {
    assert_eq!(refused(WHOLE), "");
    let page = page("f3skeys.ron.5");
    for (subsection, before) in PLACES {
        let fields = fields(&page, subsection);
        let names: BTreeSet<String> = fields.keys().cloned().collect();
        let foreign = WHOLE.replacen(before, &format!("zzz: 0, {before}"), 1);
        assert_eq!(names, expected(&foreign), "{subsection}");
        for (name, words) in fields {
            let required = words.ends_with("required");
            assert_ne!(
                required,
                words.contains("default"),
                "{subsection} {name}: {words}"
            );
            let said = refused(&without(&name, before));
            let missing = said.contains(&format!("`{name}`")) && said.contains("missing");
            assert_eq!(required, missing, "{subsection} {name}: {said}");
        }
    }
}

/// [`WHOLE`] without one field of the part in which `within` stands.
fn without(name: &str, within: &str) -> String {
    let part = WHOLE.find(within).unwrap();
    let start = part + WHOLE[part..].find(&format!("{name}:")).unwrap();
    let mut depth = 0;
    let length = WHOLE[start..].chars().position(|c| {
        depth += i32::from("([".contains(c)) - i32::from(")]".contains(c));
        c == ',' && depth == 0
    });
    let end = start + length.unwrap() + 1;
    format!("{}{}", &WHOLE[..start], &WHOLE[end..])
}

#[test]
fn defaults_of_the_page_are_the_configurations() {
    let page = page("f3skeys.ron.5");
    let least = WHOLE
        .lines()
        .filter(|line| {
            ["(", ")", "node", "roots"]
                .iter()
                .any(|name| line.starts_with(name))
        })
        .map(|line| {
            if line == "(" {
                "(store: (label: \"K\"),"
            } else {
                line
            }
        });
    let least = Config::parse(&least.collect::<String>()).unwrap();
    let (fields, store) = (fields(&page, "configuration"), fields(&page, "store"));
    // Which number that is depends on what the peers have proven.
    assert_eq!(least.min_copies, None);
    assert!(fields["min_copies"].ends_with("default every peer"));
    for (words, value) in [
        (
            &fields["budget_seconds"],
            least.budget.as_secs().to_string(),
        ),
        (
            &store["wait_seconds"],
            least.store.wait.as_secs().to_string(),
        ),
        (
            &store["mountpoint"],
            format!("Qq {}", least.store.mountpoint.display()),
        ),
    ] {
        assert!(
            words.ends_with(&format!("default {value}")),
            "{words}: {value}"
        );
    }
}

#[test]
fn conditions_of_the_page_are_the_configurations() {
    let page = page("f3skeys.ron.5");
    let items = section(&page, "Ss", "conditions").into_iter();
    let items = items.filter_map(|line| line.strip_prefix(".It Li "));
    let items: Vec<String> = items.map(|item| item.replace("\\(dq", "\"")).collect();
    let names: BTreeSet<String> = items
        .iter()
        .map(|item| item.split('(').next().unwrap().to_owned())
        .collect();
    let gate = |condition: &str| {
        let [_, whole] = examples(&page).try_into().unwrap();
        let at = whole.find("needs: [gate(\"nfs\")").unwrap();
        format!(
            "{}needs: [{condition}, gate(\"nfs\"){}",
            &whole[..at],
            &whole[at + 19..]
        )
    };
    assert_eq!(names, expected(&gate("zzz(\"x\")")));
    for item in items {
        assert_eq!(refused(&gate(&item)), "", "{item}");
    }
}

/// The configurations that a page shows.
fn examples(page: &str) -> Vec<String> {
    let displays = page.split("\n.Bd -literal").skip(1);
    let texts = displays.map(|text| {
        text.split_once('\n')
            .unwrap()
            .1
            .split("\n.Ed")
            .next()
            .unwrap()
    });
    texts
        .filter(|text| text.starts_with('('))
        .map(str::to_owned)
        .collect()
}

#[test]
fn what_the_pages_show_is_a_configuration() {
    for (name, wanted) in [("f3skeys.8", 1), ("f3skeys.ron.5", 2)] {
        let examples = examples(&page(name));
        assert_eq!(examples.len(), wanted, "{name}");
        for example in examples {
            assert_eq!(refused(&example), "", "{name}: {example}");
        }
    }
    // With every field, as it says.
    let [_, whole] = examples(&page("f3skeys.ron.5")).try_into().unwrap();
    for (subsection, _) in PLACES {
        for name in fields(&page("f3skeys.ron.5"), subsection).keys() {
            assert!(whole.contains(&format!("{name}:")), "{name}");
        }
    }
}
