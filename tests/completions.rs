//! The completions of bash, zsh and fish know each verb and flag of the program, and no other. That
//! the shells complete with them is tried in tests/hooks.

mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use words::{Flag, help};

type Verbs = BTreeMap<String, BTreeSet<Flag>>;

fn text(name: &str) -> String {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(top.join("completions").join(name)).unwrap()
}

/// What stands between two texts.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let (_, behind) = text.split_once(from).unwrap_or_else(|| panic!("no {from}"));
    behind.split_once(to).unwrap_or_else(|| panic!("no {to}")).0
}

fn flag(name: &str, value: bool) -> Option<Flag> {
    let name = name.to_owned();
    (name != "help").then_some(Flag { name, value })
}

/// `VERB) echo --flag --with-value= ;;`, and the list of verbs.
fn bash() -> (BTreeSet<Flag>, Verbs, BTreeSet<String>) {
    let text = text("f3skeys.bash");
    let lines = between(&text, "case $1 in\n", "\tesac").lines();
    let rows = lines.map(|line| {
        let line = line.trim().trim_end_matches(" ;;");
        let (verb, flags) = line
            .split_once(") echo ")
            .unwrap_or_else(|| panic!("{line}"));
        let flags = flags.split(' ').filter_map(|word| {
            let name = word.strip_prefix("--").unwrap();
            flag(name.trim_end_matches('='), name.ends_with('='))
        });
        (verb.trim_matches('"').to_owned(), flags.collect())
    });
    let mut verbs: Verbs = rows.collect();
    let own = verbs.remove("").unwrap();
    let listed = between(&text, "_f3skeys_verbs=\"", "\"").split_whitespace();
    (own, verbs, listed.map(str::to_owned).collect())
}

/// Arguments of `_arguments`: `'--flag[what it is]:value:action'`.
fn zsh_flags(text: &str) -> BTreeSet<Flag> {
    let words = text.lines().filter_map(|line| {
        let line = line.trim().trim_end_matches(" \\");
        let word = line.strip_prefix('\'')?.strip_suffix('\'')?;
        word.trim_start_matches('*').strip_prefix("--")
    });
    words
        .filter_map(|word| flag(word.split('[').next()?, word.contains("]:")))
        .collect()
}

fn zsh() -> (BTreeSet<Flag>, Verbs, BTreeSet<String>) {
    let text = text("_f3skeys");
    let listed = between(&text, "verbs=(\n", "\n\t)").lines().map(|line| {
        let (verb, what) = line
            .trim()
            .trim_start_matches('\'')
            .split_once(':')
            .unwrap();
        assert!(what.len() > 8, "{line}");
        verb.to_owned()
    });
    let listed = listed.collect();
    let own = zsh_flags(between(&text, "_arguments -C", "case $state in"));
    let cases = between(&text, "case $words[1] in\n", "\tesac").split("\n\t\t;;\n");
    let verbs = cases.filter_map(|case| {
        let (verb, arguments) = case.split_once(")\n")?;
        Some((verb.trim().to_owned(), zsh_flags(arguments)))
    });
    (own, verbs.collect(), listed)
}

/// `complete -c f3skeys -n CONDITION -l flag [-r | -x] ...`, `... -a VERB ...`.
fn fish() -> (BTreeSet<Flag>, Verbs, BTreeSet<String>) {
    let text = text("f3skeys.fish");
    let (mut own, mut verbs, mut listed) = (BTreeSet::new(), Verbs::new(), BTreeSet::new());
    for line in text.lines().filter(|line| line.starts_with("complete ")) {
        let words: Vec<&str> = line.split(' ').collect();
        let behind = |option| {
            words
                .iter()
                .position(|w| *w == option)
                .map(|at| words[at + 1])
        };
        let value = words.contains(&"-r") || words.contains(&"-x");
        let flag = behind("-l").and_then(|name| flag(name, value));
        match line.split_once("'__fish_seen_subcommand_from ") {
            Some((_, rest)) => {
                let verb = rest.split('\'').next().unwrap().to_owned();
                verbs.entry(verb).or_default().extend(flag);
            }
            None => {
                own.extend(flag);
                listed.extend(behind("-a").map(str::to_owned));
            }
        }
    }
    // There is no line for a verb without flags.
    for verb in &listed {
        verbs.entry(verb.clone()).or_default();
    }
    (own, verbs, listed)
}

#[test]
fn completions_know_what_the_program_knows() {
    let (own, verbs) = help();
    let names: BTreeSet<String> = verbs.keys().cloned().collect();
    for (shell, (its_own, its_verbs, listed)) in
        [("bash", bash()), ("zsh", zsh()), ("fish", fish())]
    {
        assert_eq!(listed, names, "{shell}");
        assert_eq!(its_own, own, "{shell}");
        for (verb, flags) in &its_verbs {
            assert_eq!(Some(flags), verbs.get(verb), "{shell}: {verb}");
        }
        assert_eq!(its_verbs.len(), verbs.len(), "{shell}");
    }
}
