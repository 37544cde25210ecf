//! The paths that exports(5) files name, of FreeBSD and of Linux alike.

use crate::digits;
use std::path::PathBuf;

/// The files of every system, beside those in [`MORE`].
pub const FILES: [&str; 2] = ["/etc/exports", "/etc/zfs/exports"];
/// A directory whose files that end in `.exports` count as well.
pub const MORE: &str = "/etc/exports.d";

/// The exported paths of a file, in its order: the words of each line that begin with `/`, up to the
/// first that does not. A `V4:` line names the root of the paths that NFSv4 clients see and exports
/// nothing by itself.
pub fn paths(text: &str) -> Vec<PathBuf> {
    let joined = text.replace("\\\n", " ");
    joined
        .lines()
        .flat_map(|line| {
            words(line)
                .into_iter()
                .take_while(|word| word.starts_with('/'))
        })
        .map(PathBuf::from)
        .collect()
}

/// The words of a line before its comment. Quotes and backslashes keep blanks in a word.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '#' if !quoted => break,
            '"' => quoted = !quoted,
            '\\' => word.push(escaped(&mut letters)),
            blank if blank.is_whitespace() && !quoted => words.extend(finished(&mut word)),
            other => word.push(other),
        }
    }
    words.extend(finished(&mut word));
    words
}

fn finished(word: &mut String) -> Option<String> {
    (!word.is_empty()).then(|| std::mem::take(word))
}

/// What follows a backslash: three octal digits are a byte, anything else stands for itself.
fn escaped(letters: &mut std::str::Chars) -> char {
    let rest = letters.as_str();
    match rest.as_bytes().get(..3).and_then(digits::octal) {
        Some(byte) => {
            *letters = rest.get(3..).unwrap_or_default().chars();
            char::from(byte)
        }
        None => letters.next().unwrap_or('\\'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exports_of_the_f3s_articles_name_one_path() {
        let text = "V4: /data/nfs -sec=sys\n/data/nfs -alldirs -maproot=root -network 127.0.0.1 -mask 255.255.255.255\n";
        assert_eq!(paths(text), [PathBuf::from("/data/nfs")]);
    }

    #[test]
    fn lines_of_both_systems_are_read() {
        for (text, expected) in [
            ("", vec![]),
            ("# /a\n \n", vec![]),
            ("/a /b -ro host\n/c\n", vec!["/a", "/b", "/c"]),
            ("/a *(rw,sync) /b\n", vec!["/a"]),
            ("\"/my files\" host(ro) # /b\n", vec!["/my files"]),
            (
                "/my\\040files host\n/my\\ own\n",
                vec!["/my files", "/my own"],
            ),
            ("/a \\\n/b -ro\n", vec!["/a", "/b"]),
            ("-ro /a\n", vec![]),
            ("/a\\", vec!["/a\\"]),
        ] {
            let expected: Vec<PathBuf> = expected.into_iter().map(PathBuf::from).collect();
            assert_eq!(paths(text), expected, "{text}");
        }
    }
}
