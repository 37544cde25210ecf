//! Text from outside on its way to a terminal, a log or a shell.

use f3skeys::foreign::{self, Line};
use f3skeys::host::{RcConf, Setting};
use f3skeys::report::{Finding, Severity};
use f3skeys::shell;

/// Any text, as a finding, a page and JSON show it, and as a command has it.
pub fn shown(bytes: &[u8]) -> bool {
    let text = super::text(bytes);
    let line = Line::from(&text);
    super::assert_plain(&line);
    super::assert_plain(&foreign::words(&text));
    let finding = Finding::new(Severity::Alarm, &text, &text, &text);
    let lines: Vec<String> = finding.text().lines().map(str::to_owned).collect();
    assert!(lines.len() <= 2, "{lines:?}");
    let page = foreign::page(&text);
    assert_eq!(page.matches('\n').count(), text.matches('\n').count());
    check_json(&text);
    check_word(&text);
    line.as_str() == text
}

fn check_json(text: &str) {
    let written = serde_json::to_string(text).expect("a text is JSON");
    let shown = foreign::json(&written);
    super::assert_plain_but_cut(&shown);
    let read: String = serde_json::from_str(&shown).expect("it is still JSON");
    assert_eq!(read, text);
}

/// What is to be pasted is one word for a shell, and the very text where it is quoted and not made by
/// printf(1).
fn check_word(text: &str) {
    let word = shell::word(text);
    super::assert_plain_but_cut(&word);
    let read = RcConf::of(&format!("word={word}\n")).get("word");
    match read {
        Setting::Value(value) => assert_eq!(value, text, "{word}"),
        Setting::Unknown(_) => assert!(word.starts_with("\"$"), "{word}"),
        Setting::Unset => panic!("it is several words: {word}"),
    }
}
