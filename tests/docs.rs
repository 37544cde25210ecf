//! The documents hold together: every page is listed, every link leads somewhere, and the versions that
//! are promised are the program's.

use f3skeys::peers;
use f3skeys::store::state;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    fs::read_to_string(top().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Markdown of the project, by its path.
fn pages() -> BTreeSet<String> {
    let mut pages = BTreeSet::new();
    let directories = ["", "docs", "examples/f3s", "tests/lab", "packaging/freebsd"];
    for directory in directories {
        for entry in fs::read_dir(top().join(directory)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".md") {
                pages.insert(Path::new(directory).join(name).to_str().unwrap().to_owned());
            }
        }
    }
    pages
}

/// Where the links of a page lead, from its own directory; those to other places left out.
fn links(page: &str) -> Vec<(String, PathBuf)> {
    let text = text(page);
    let targets = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    let own = targets.filter(|target| !target.contains("://"));
    let directory = top().join(page).parent().unwrap().to_owned();
    own.map(|target| {
        (
            target.to_owned(),
            directory.join(target.split('#').next().unwrap()),
        )
    })
    .collect()
}

/// The anchors of a page's headings.
fn anchors(page: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(page).unwrap();
    let headings = text.lines().filter_map(|line| line.strip_prefix('#'));
    headings
        .map(|heading| {
            let words = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = words
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut seen = 0;
    for page in pages() {
        for (target, path) in links(&page) {
            let own = top().join(&page);
            let path = if target.starts_with('#') { own } else { path };
            assert!(path.exists(), "{page}: {target}");
            if let Some((_, anchor)) = target.split_once('#') {
                assert!(anchors(&path).contains(anchor), "{page}: {target}");
            }
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn the_index_lists_every_page() {
    let listed: BTreeSet<PathBuf> = links("docs/README.md")
        .into_iter()
        .map(|(_, path)| path.canonicalize().unwrap())
        .collect();
    let mut pages = pages();
    pages.remove("docs/README.md");
    for page in pages {
        let path = top().join(&page).canonicalize().unwrap();
        assert!(listed.contains(&path), "docs/README.md has no {page}");
    }
    let numbers = text("docs/README.md");
    let numbers = numbers
        .lines()
        .filter_map(|line| line.split_once(". ")?.0.parse().ok());
    let numbers: Vec<usize> = numbers.collect();
    assert_eq!(numbers, (1..=numbers.len()).collect::<Vec<_>>());
}

/// The cells of the table, by the first.
fn version_of(format: &str) -> String {
    let page = text("docs/formats.md");
    let row = page
        .lines()
        .find(|line| line.starts_with(&format!("| {format} |")));
    let row = row.unwrap_or_else(|| panic!("no row for {format}"));
    row.split(" | ")
        .nth(2)
        .unwrap()
        .trim_matches('`')
        .to_owned()
}

/// The text of a constant of the source, which no other code may know.
fn constant(file: &str, name: &str) -> String {
    let source = text(file);
    let line = source
        .lines()
        .find(|line| line.contains(&format!("const {name}:")));
    let value = line.unwrap().split(" = ").nth(1).unwrap();
    value.trim_end_matches(';').trim_matches('"').to_owned()
}

#[test]
fn promised_versions_are_the_programs() {
    assert_eq!(
        version_of("key store"),
        format!("format: {}", state::FORMAT)
    );
    let json = |version: &str| format!("\"version\": {version}");
    assert_eq!(
        version_of("question and answer between nodes"),
        json(&peers::VERSION.to_string())
    );
    assert_eq!(version_of("fingerprint"), constant("src/key.rs", "CONTEXT"));
    assert_eq!(version_of("audit log"), constant("src/audit.rs", "CONTEXT"));
    for (format, file) in [
        ("`verify --json`", "src/verify.rs"),
        ("`status --json`", "src/status.rs"),
        ("`status --peers --json`", "src/backup/copies.rs"),
    ] {
        let version = constant(file, "VERSION");
        assert_eq!(version_of(format), json(&version), "{file}");
    }
    for (format, file) in [
        ("`doctor --json`", "src/doctor/mod.rs"),
        ("`rehearse --json`", "src/rehearse.rs"),
    ] {
        let source = text(file);
        let mut written = source
            .lines()
            .filter_map(|line| line.trim().strip_prefix("version: "));
        let written = written.find(|value| *value != "u32,").unwrap();
        assert_eq!(
            version_of(format),
            json(written.trim_end_matches(',')),
            "{file}"
        );
    }
}

#[test]
fn the_change_log_begins_with_this_version() {
    let log = text("CHANGELOG.md");
    let newest = log
        .lines()
        .find_map(|line| line.strip_prefix("## "))
        .unwrap();
    assert_eq!(newest.split(' ').next(), Some(env!("CARGO_PKG_VERSION")));
}
