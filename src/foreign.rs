//! Text from outside, made fit to be read: names on a stick, property values, words of programs and
//! peers, lines of files. This is the one filter. Whatever a terminal, a log or an eye could take for
//! something else than a letter is shown as an escape, so a line stays one line of what it says. Pure.
//!
//! [`Line`] is the type of all that a report, a finding or a reason is made of: there is no way to put
//! raw text into it. [`page`] and [`json`] are the last guard, where the program writes.

use crate::ink;
use serde::{Deserialize, Serialize};
use std::borrow::Borrow;
use std::fmt::{self, Write as _};
use std::ops::Deref;

/// The longest line, in characters. Longer text is cut, and the line says so.
pub const LONGEST_LINE: usize = 8000;
/// The most that is shown of the words of a program or a peer, in characters.
pub const LONGEST_WORDS: usize = 300;

/// One line of text that a person may read, free of everything that [`line()`] escapes.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Line(String);

impl Line {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Line {
    fn from(text: &str) -> Line {
        Line(line(text))
    }
}

impl From<String> for Line {
    fn from(text: String) -> Line {
        Line(line(&text))
    }
}

impl From<&String> for Line {
    fn from(text: &String) -> Line {
        Line(line(text))
    }
}

impl From<Line> for String {
    fn from(line: Line) -> String {
        line.0
    }
}

impl Deref for Line {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Line {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Line {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for Line {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for Line {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

impl PartialEq<String> for Line {
    fn eq(&self, other: &String) -> bool {
        self.0 == *other
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Text as one line of at most [`LONGEST_LINE`] characters. Control characters are escaped (`\n`,
/// `\x1b`, `\u{9b}`), and so are characters that nobody sees or that turn the direction of writing
/// (`\u{202e}`), and marks that would sit on the character before them. A backslash stays as it is:
/// text that has gone through once goes through again unchanged.
pub fn line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    text.chars().for_each(|c| put(c, &mut line));
    cut(line, LONGEST_LINE)
}

/// The words of a program or a peer as one short line: white space is one blank, the rest as [`line()`],
/// and no more than [`LONGEST_WORDS`] characters.
pub fn words(text: &str) -> String {
    let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    cut(line(&one_line), LONGEST_WORDS)
}

/// Text of several lines that the program made: each line as [`line()`], but never cut. The colours of
/// [`ink`] stay.
pub fn page(text: &str) -> String {
    let mut page = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let whole = match c {
            '\n' => 1,
            _ => ink::sequence(rest),
        };
        match whole {
            0 => put(c, &mut page),
            whole => page.push_str(&rest[..whole]),
        }
        rest = &rest[whole.max(c.len_utf8())..];
    }
    page
}

/// JSON with the same characters escaped, as JSON does it: nothing is lost. `text` is JSON already, so
/// they stand inside strings; only the line ends between its elements stay.
pub fn json(text: &str) -> String {
    let mut json = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\n' || is_seen(c) {
            json.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            let _ = write!(json, "\\u{unit:04x}");
        }
    }
    json
}

/// Adds a line to a text: what is formatted stays one line, whatever is in it.
macro_rules! add_line {
    ($text:expr, $($words:tt)*) => {
        $text.push_str(&($crate::foreign::line(&format!($($words)*)) + "\n"))
    };
}
pub(crate) use add_line;

/// A string of RON, with all escaped that [`line()`] escapes: for a configuration to be pasted.
pub fn ron(text: &str) -> String {
    let mut string = String::from('"');
    for c in text.chars() {
        let _ = match c {
            '"' | '\\' => write!(string, "\\{c}"),
            c if is_seen(c) => write!(string, "{c}"),
            c => write!(string, "\\u{{{:x}}}", u32::from(c)),
        };
    }
    string.push('"');
    string
}

/// Whether a character shows itself, and changes nothing else on the line.
pub fn is_seen(c: char) -> bool {
    // The standard library knows what is printable; it escapes these three for another reason.
    matches!(c, '\\' | '"' | '\'') || c.escape_debug().len() == 1
}

fn put(c: char, line: &mut String) {
    let _ = match c {
        c if is_seen(c) => write!(line, "{c}"),
        '\n' => write!(line, "\\n"),
        '\r' => write!(line, "\\r"),
        '\t' => write!(line, "\\t"),
        c if c.is_ascii() => write!(line, "\\x{:02x}", u32::from(c)),
        c => write!(line, "\\u{{{:x}}}", u32::from(c)),
    };
}

/// At most `most` characters, the last of them a sign where something is missing.
fn cut(mut line: String, most: usize) -> String {
    if let Some((end, _)) = line.char_indices().nth(most) {
        let last = line[..end].char_indices().next_back();
        line.truncate(last.map_or(0, |(at, _)| at));
        line.truncate(line.trim_end().len());
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the Unicode standard, not by the library that the filter asks: control characters, what
    /// separates lines, what turns the direction of writing, and what nobody sees.
    fn is_dangerous(c: char) -> bool {
        matches!(u32::from(c),
            0..=0x1f | 0x7f..=0x9f | 0xad | 0x61c | 0x180e | 0x200b..=0x200f | 0x2028..=0x202e
            | 0x2060..=0x206f | 0xfeff | 0xfff9..=0xfffb | 0xe0001 | 0xe0020..=0xe007f)
    }

    #[test]
    fn law_9_every_character_that_is_no_letter_is_an_escape() {
        let mut escaped = 0;
        for c in '\0'..=char::MAX {
            let shown = line(&format!("a{c}b"));
            assert!(!shown.chars().any(is_dangerous), "{c:?}: {shown:?}");
            assert!(shown.starts_with('a') && shown.ends_with('b'));
            escaped += usize::from(shown.chars().count() > 3);
            assert_eq!(line(&shown), shown, "{c:?}");
            assert!(
                !page(&format!("{c}"))
                    .replace('\n', "")
                    .chars()
                    .any(is_dangerous)
            );
        }
        assert!(escaped > 65, "{escaped}");
        for seen in (' '..='~').chain("äß€日本…–»\u{fffd}".chars()) {
            assert_eq!(line(&seen.to_string()), seen.to_string());
        }
    }

    #[test]
    fn an_escape_says_which_character_it_was() {
        for (c, shown) in [
            ('\0', "\\x00"),
            ('\n', "\\n"),
            ('\r', "\\r"),
            ('\t', "\\t"),
            ('\x1b', "\\x1b"),
            ('\x7f', "\\x7f"),
            ('\u{85}', "\\u{85}"),
            ('\u{9b}', "\\u{9b}"),
            ('\u{200f}', "\\u{200f}"),
            ('\u{2028}', "\\u{2028}"),
            ('\u{202e}', "\\u{202e}"),
            ('\u{2066}', "\\u{2066}"),
            ('\u{feff}', "\\u{feff}"),
            ('\u{e0041}', "\\u{e0041}"),
        ] {
            assert_eq!(line(&format!("<{c}>")), format!("<{shown}>"));
        }
        assert_eq!(
            line("back\\slash \"and\" 'quotes'"),
            "back\\slash \"and\" 'quotes'"
        );
    }

    #[test]
    fn law_9_text_of_any_length_is_a_bounded_line_that_says_it_was_cut() {
        let long = "x\x1b".repeat(40_000);
        for (text, most) in [(line(&long), LONGEST_LINE), (words(&long), LONGEST_WORDS)] {
            assert_eq!(text.chars().count(), most);
            assert!(text.ends_with('…'));
        }
        assert_eq!(line(&line(&long)), line(&long));
        assert_eq!(words(&words(&long)), words(&long));
        let whole = "x".repeat(LONGEST_WORDS);
        assert_eq!(words(&whole), whole);
    }

    #[test]
    fn words_of_several_lines_are_one() {
        assert_eq!(
            words("  cannot\n\tmount:\r\n busy \n"),
            "cannot mount: busy"
        );
        assert_eq!(words("a\u{85}b\u{2028}c"), "a b c");
    }

    #[test]
    fn only_colours_of_our_own_and_line_ends_stay_on_a_page() {
        let ours = "  a \x1b[32mopen\x1b[0m\n  b \x1b[31mLOCKED\x1b[0m \x1b[33m?\x1b[0m\n";
        assert_eq!(page(ours), ours);
        assert_eq!(
            page("\x1b[2J\x1b[1;32m\x1b]0;t\x07\r\n"),
            "\\x1b[2J\\x1b[1;32m\\x1b]0;t\\x07\\r\n"
        );
        let long = format!("{}\n", "x".repeat(20_000));
        assert_eq!(page(&long), long);
    }

    #[test]
    fn law_9_json_has_no_control_character_and_loses_nothing() {
        let all: String = ('\0'..='\u{2fff}')
            .chain(['\u{feff}', '\u{e0041}', '😀'])
            .collect();
        let written = json(&serde_json::to_string_pretty(&[&all]).unwrap());
        assert!(!written.replace('\n', "").chars().any(is_dangerous));
        let read: Vec<String> = serde_json::from_str(&written).unwrap();
        assert_eq!(read, [all]);
    }

    #[test]
    fn law_9_a_string_for_the_configuration_is_read_back_as_it_was() {
        let all: String = ('\0'..='\u{2fff}')
            .chain(['\u{feff}', '\u{e0041}'])
            .collect();
        let written = ron(&all);
        assert!(written.chars().all(is_seen) && !written.contains('\n'));
        assert_eq!(::ron::from_str::<String>(&written).unwrap(), all);
        assert_eq!(ron("f0.lan"), "\"f0.lan\"");
    }

    #[test]
    fn a_line_that_is_added_is_one_line() {
        let mut text = String::from("a\n");
        add_line!(text, "  {}: {}", "b\nc", "\x1b[31md");
        assert_eq!(text, "a\n  b\\nc: \\x1b[31md\n");
    }

    #[test]
    fn a_line_that_was_kept_by_an_older_program_is_filtered_when_it_is_read() {
        let read: Line = serde_json::from_str(r#""a\u001b[31mb\nc""#).unwrap();
        assert_eq!(read, "a\\x1b[31mb\\nc");
    }
}
