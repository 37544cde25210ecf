//! The documents hold together: every page is listed, every link leads somewhere, the versions that are
//! promised are the program's, and the commands that are given exist.

mod words;

use f3skeys::peers;
use f3skeys::store::state;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use words::{Flag, help};

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    fs::read_to_string(top().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Markdown of the project, by its path.
fn pages() -> BTreeSet<String> {
    let mut pages = BTreeSet::new();
    let directories = [
        "",
        "docs",
        "docs/guides",
        "examples/f3s",
        "tests/lab",
        "packaging/freebsd",
    ];
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

/// A fenced block: what stands behind the fence, and its text.
fn fenced(page: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in page.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(info), None) => open = Some((info.to_owned(), String::new())),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some((_, text))) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a fence is left open");
    blocks
}

/// All that a page shows as code: fenced and indented blocks, and what stands between backticks.
fn code(page: &str) -> String {
    let mut code = String::new();
    let mut prose = String::new();
    let mut inside = false;
    for line in page.lines() {
        if line.starts_with("```") {
            inside = !inside;
        } else if inside || line.starts_with("    ") {
            code.push_str(line);
            code.push('\n');
        } else {
            prose.push_str(line);
            prose.push('\n');
        }
    }
    for span in prose.split('`').skip(1).step_by(2) {
        code.push_str(&span.replace('\n', " "));
        code.push('\n');
    }
    code
}

/// The words behind `f3skeys` of every command in code, as far as they are the program's own. Comments
/// are prose.
fn commands(code: &str) -> Vec<Vec<&str>> {
    let mut commands = Vec::new();
    let lines = code.lines().filter_map(|line| line.split(" #").next());
    for part in lines.flat_map(|line| line.split(|c: char| ";|&()<>`\"".contains(c))) {
        let mut words = part.split_whitespace().skip_while(|word| goes_before(word));
        // `ExecStartPre=/usr/sbin/f3skeys`, too.
        let program = words.next().and_then(|word| word.rsplit('=').next());
        if program.is_some_and(|program| program == "f3skeys" || program.ends_with("sbin/f3skeys"))
        {
            commands.push(words.take_while(|word| *word != "--").collect());
        }
    }
    commands
}

/// Who runs a command, a setting for it, the shell's sign.
fn goes_before(word: &str) -> bool {
    let setting = word
        .split_once('=')
        .is_some_and(|(_, value)| !value.ends_with("f3skeys"));
    setting || ["doas", "sudo", "if", "!", "$"].contains(&word)
}

/// What is wrong with a command, by what the program says of itself.
fn unknown(
    command: &[&str],
    global: &BTreeSet<Flag>,
    verbs: &BTreeMap<String, BTreeSet<Flag>>,
) -> Option<String> {
    let bare = |word: &str| word.trim_matches(|c: char| "[],.:".contains(c)).to_owned();
    let mut words = command.iter().map(|word| bare(word)).peekable();
    while let Some(flag) = words.next_if(|word| word.starts_with("--")) {
        let known = global.iter().find(|known| known.name == flag[2..]);
        match known {
            Some(Flag { value: true, .. }) => drop(words.next()),
            Some(_) => {}
            None if ["--help", "--version"].contains(&flag.as_str()) => return None,
            None => return Some(flag),
        }
    }
    // A verb, and not another text that begins with the name.
    let verb = words
        .next()
        .filter(|verb| verb.starts_with(|c: char| c.is_ascii_alphabetic()))?;
    let Some(flags) = verbs.get(&verb) else {
        return Some(verb);
    };
    let named = words.filter_map(|word| word.strip_prefix("--").map(str::to_owned));
    let mut strange = named.filter(|name| name != "help" && !flags.iter().any(|f| f.name == *name));
    strange.next().map(|name| format!("{verb} --{name}"))
}

#[test]
fn every_command_of_the_program_that_is_given_exists() {
    let (global, verbs) = help();
    let mut seen = BTreeSet::new();
    for page in pages() {
        let text = text(&page);
        let code = code(&text);
        for command in commands(&code) {
            let strange = unknown(&command, &global, &verbs);
            assert_eq!(strange, None, "{page}: f3skeys {}", command.join(" "));
            seen.extend(command.first().map(|verb| (*verb).to_owned()));
        }
    }
    let verbs: BTreeSet<String> = verbs.into_keys().collect();
    assert!(
        seen.is_superset(&verbs),
        "told nowhere: {:?}",
        verbs.difference(&seen)
    );
}

#[test]
fn a_command_that_does_not_exist_is_found_wherever_it_stands() {
    let (global, verbs) = help();
    for (page, strange) in [
        ("```sh\ndoas f3skeys unlock\n```\n", Some("unlock")),
        (
            "```sh lab on\nf3skeys boot --force && echo\n```\n",
            Some("boot --force"),
        ),
        (
            "    ExecStartPre=/usr/sbin/f3skeys gates nfs\n",
            Some("gates"),
        ),
        ("Then `f3skeys status\n--peer`.\n", Some("status --peer")),
        ("`A=1 f3skeys --confg x boot`", Some("--confg")),
        ("    f3skeys --config x gate nfs -- /bin/x --force\n", None),
        ("f3skeys unlocks. `f3skeys.ron`\n", None),
    ] {
        let found = code(page);
        let found = commands(&found);
        let found = found
            .iter()
            .find_map(|words| unknown(words, &global, &verbs));
        assert_eq!(found.as_deref(), strange, "{page}");
    }
}

/// The guides and their texts: a person types what stands in them.
fn guides() -> Vec<(String, String)> {
    let mut pages = pages();
    pages.retain(|page| page.starts_with("docs/guides/"));
    let texts = pages.into_iter().map(|page| (text(&page), page));
    texts.map(|(text, page)| (page, text)).collect()
}

#[test]
fn what_a_shell_is_to_run_is_a_shells() {
    let mut seen = 0;
    for page in pages() {
        for (info, block) in fenced(&text(&page)) {
            if info.split(' ').next() != Some("sh") {
                continue;
            }
            let done = Command::new("sh")
                .args(["-n", "-c", &block])
                .output()
                .unwrap();
            assert!(done.status.success(), "{page}: {block}{done:?}");
            seen += 1;
        }
    }
    assert!(seen > 10, "{seen}");
}

#[test]
fn a_guide_that_the_lab_does_not_run_says_so() {
    for (page, text) in guides() {
        let ran = fenced(&text)
            .iter()
            .any(|(info, _)| info.starts_with("sh lab "));
        let first: Vec<&str> = text
            .lines()
            .filter(|line| !line.is_empty())
            .take(3)
            .collect();
        let says = first.join(" ").contains("not run");
        let by_freebsd = fenced(&text)
            .iter()
            .any(|(info, _)| info == "sh" || info.starts_with("sh freebsd "));
        assert!(ran || says, "{page}");
        assert!(says || !by_freebsd, "{page}: what is not run is not told");
    }
}
