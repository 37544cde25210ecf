//! Words of commands that are shown to be pasted into a shell. A name from outside means itself there
//! and nothing else. Pure.

use std::ffi::OsStr;
use std::fmt::Write as _;

/// The longest word, in bytes, before it is quoted and after: the longest path there is. A line of
/// [`crate::foreign`] has room for one, and so cuts no command.
const LONGEST: usize = 4096;
/// What stands for a word that cannot be pasted: a shell that gets it runs nothing, and says why.
pub const NOT_SHOWN: &str = "\"${this_name_cannot_be_pasted:?}\"";

/// A word for sh(1), as every command in an advice has it: bare if the shell takes nothing in it for
/// a sign of its own, else in single quotes. What a person could not see, or would take for the end of
/// the command (a backtick), is written in octal for printf(1). A word that cannot be written that way
/// (with a newline at its end, or too long) is [`NOT_SHOWN`].
pub fn word(text: impl AsRef<OsStr>) -> String {
    let bytes = text.as_ref().as_encoded_bytes();
    if bytes.len() > LONGEST || bytes.ends_with(b"\n") || bytes.contains(&0) {
        return NOT_SHOWN.to_owned();
    }
    let quoted = match std::str::from_utf8(bytes) {
        Ok(text) if is_bare(text) => text.to_owned(),
        Ok(text) if text.chars().all(is_quotable) => {
            format!("'{}'", text.replace('\'', "'\\''"))
        }
        _ => printed(bytes),
    };
    match quoted.len() <= LONGEST {
        true => quoted,
        false => NOT_SHOWN.to_owned(),
    }
}

fn is_bare(text: &str) -> bool {
    let bare = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+".contains(c);
    !text.is_empty() && !text.starts_with('-') && text.chars().all(bare)
}

fn is_quotable(c: char) -> bool {
    crate::foreign::is_seen(c) && c != '`'
}

/// A substitution, of which the shell takes off newlines at the end alone.
fn printed(bytes: &[u8]) -> String {
    let mut format = String::new();
    for byte in bytes {
        // A format of printf begins with no option, and a percent sign is one of its own.
        let _ = match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b':' | b' ' => {
                write!(format, "{}", char::from(*byte))
            }
            byte => write!(format, "\\{byte:03o}"),
        };
    }
    format!("\"$(printf '{format}')\"")
}

/// A command to be pasted, in backticks: a text with a `{}` for each word from outside, which is
/// quoted by [`word`]. (A name inside the braces does not compile, so that none goes in as it is.)
macro_rules! command {
    ($text:literal $(, $word:expr)* $(,)?) => {
        format!(concat!("`", $text, "`") $(, $crate::shell::word($word))*)
    };
}
pub(crate) use command;

/// As `command!`, with any number of words at the end; with [`NOT_SHOWN`] where they are too many.
pub fn command_on(text: &str, words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
    let words: Vec<String> = words.into_iter().map(word).collect();
    let words = match words.join(" ") {
        words if words.len() <= LONGEST => words,
        _ => NOT_SHOWN.to_owned(),
    };
    let whole = format!("{text} {words}");
    format!("`{whole}`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;
    use std::process::Command;

    /// The words that a shell makes of a line, each behind a line end that no word here begins with.
    fn split(line: &str) -> Option<Vec<Vec<u8>>> {
        let script = format!("printf '%s\\0' {line}");
        let done = Command::new("/bin/sh")
            .args(["-c", &script])
            .output()
            .unwrap();
        let out = done.status.success().then_some(done.stdout)?;
        let words = out.strip_suffix(b"\0").unwrap();
        Some(words.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect())
    }

    #[test]
    fn plain_names_stay_bare() {
        for name in [
            "zdata/enc/nfs-data_1",
            "f0.lan:zdata",
            "/dev/da0",
            "root@f1",
        ] {
            assert_eq!(word(name), name);
        }
        for (name, shown) in [
            ("z/a b", "'z/a b'"),
            ("it's", "'it'\\''s'"),
            ("", "''"),
            ("-f", "'-f'"),
            ("=ls", "'=ls'"),
            ("ufs=KEYS", "'ufs=KEYS'"),
            ("~root", "'~root'"),
            ("a;b", "'a;b'"),
            ("$(x)", "'$(x)'"),
            ("ä", "'ä'"),
            ("a`b", "\"$(printf 'a\\140b')\""),
            ("a\x1b!b", "\"$(printf 'a\\033\\041b')\""),
        ] {
            assert_eq!(word(name), shown);
        }
    }

    #[test]
    fn law_9_a_shell_makes_the_same_word_of_every_character() {
        let mut names: Vec<Vec<u8>> = (1..=255)
            .map(|byte| vec![b'a', byte, b'-', byte, b'b'])
            .collect();
        names.extend(
            (1..=255)
                .filter(|byte| *byte != b'\n')
                .map(|byte| vec![byte]),
        );
        names.extend(
            (1..=255)
                .filter(|byte| *byte != b'\n')
                .map(|byte| vec![b'\n', byte, byte]),
        );
        names.extend(
            [
                "",
                "--",
                "z/a b",
                "\u{202e}x",
                "a\u{feff}",
                "'",
                "''",
                "\\'",
                "%s%n",
                "!!",
                "* ?",
            ]
            .map(|name| name.as_bytes().to_vec()),
        );
        let line: Vec<String> = names
            .iter()
            .map(|name| word(OsStr::from_bytes(name)))
            .collect();
        let line = line.join(" ");
        assert!(
            line.chars().all(crate::foreign::is_seen) && !line.contains('`'),
            "{line}"
        );
        assert_eq!(split(&line).unwrap(), names);
    }

    /// A command that was cut would mean something else.
    #[test]
    fn law_9_no_command_is_longer_than_a_line() {
        let longest = |c: &str| c.repeat(LONGEST);
        for text in [longest("x"), longest("'"), longest("\u{1}"), longest("ä")] {
            let command = command!("zfs set mountpoint={} {}", &text, "z/a".repeat(80));
            assert!(command.chars().count() < crate::foreign::LONGEST_LINE / 2 + 600);
            let many = command_on("zfs get all", [&text, &text, &text]);
            assert!(many.chars().count() < crate::foreign::LONGEST_LINE / 2 + 600);
        }
    }

    #[test]
    fn law_9_what_cannot_be_a_word_makes_the_shell_run_nothing() {
        let grows = "\u{1}".repeat(LONGEST / 4);
        for name in ["a\n", "\n", "a\0b", &"x".repeat(LONGEST + 1), &grows] {
            assert_eq!(word(name), NOT_SHOWN);
        }
        assert_eq!(split(NOT_SHOWN), None);
        assert_eq!(word("x".repeat(LONGEST)), "x".repeat(LONGEST));
        let many = command_on("zfs get all", vec!["z/a".repeat(80); 40]);
        assert_eq!(many, format!("`zfs get all {NOT_SHOWN}`"));
        assert_eq!(
            command_on("zfs get all", ["z/a b"]),
            "`zfs get all 'z/a b'`"
        );
    }
}
