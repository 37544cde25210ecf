//! Colour for a person at a terminal. It repeats what the words say and never says anything alone, so
//! that the text without it is the same text.

use std::ffi::OsStr;

/// What a colour stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it should be: green.
    Good,
    /// Worth a look, or not known: yellow.
    Odd,
    /// Not as it should be: red.
    Bad,
}

/// Whether words are coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ink(bool);

impl Ink {
    /// None: for files, pipes and programs.
    pub const NONE: Ink = Ink(false);

    /// Colour where somebody sees it and has not declined: `no_color` and `term` are the environment's
    /// `NO_COLOR` (see no-color.org) and `TERM`.
    pub fn new(on_terminal: bool, no_color: Option<&OsStr>, term: Option<&OsStr>) -> Ink {
        let declined = no_color.is_some_and(|value| !value.is_empty());
        let can = term.is_some_and(|term| !term.is_empty() && term != "dumb");
        Ink(on_terminal && can && !declined)
    }

    /// A word in colour.
    pub fn word(self, tone: Tone, word: &str) -> String {
        let begin = match tone {
            Tone::Good => GREEN,
            Tone::Odd => YELLOW,
            Tone::Bad => RED,
        };
        match self {
            Ink(true) => format!("{begin}{word}{END}"),
            Ink(false) => word.to_owned(),
        }
    }
}

const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const RED: &str = "\x1b[31m";
const END: &str = "\x1b[0m";

/// The length of the colour that the text begins with; 0 if it begins with none of ours.
pub fn sequence(text: &str) -> usize {
    let all = [GREEN, YELLOW, RED, END];
    let begun = all.iter().find(|sequence| text.starts_with(**sequence));
    begun.map_or(0, |sequence| sequence.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_needs_a_terminal_that_has_it_and_nobody_who_declines() {
        let ink = |on_terminal, no_color: Option<&str>, term: Option<&str>| {
            Ink::new(on_terminal, no_color.map(OsStr::new), term.map(OsStr::new)) != Ink::NONE
        };
        assert!(ink(true, None, Some("xterm")));
        assert!(ink(true, Some(""), Some("vt100")));
        assert!(!ink(false, None, Some("xterm")));
        assert!(!ink(true, Some("1"), Some("xterm")));
        assert!(!ink(true, None, Some("dumb")));
        assert!(!ink(true, None, Some("")));
        assert!(!ink(true, None, None));
    }

    #[test]
    fn only_escapes_are_added() {
        let ink = Ink::new(true, None, Some(OsStr::new("xterm")));
        assert_eq!(ink.word(Tone::Good, "open"), "\x1b[32mopen\x1b[0m");
        assert_eq!(Ink::NONE.word(Tone::Bad, "LOCKED"), "LOCKED");
    }
}
