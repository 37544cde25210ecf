//! What a verb waits for, on one line of a terminal: written anew each second, and taken away before
//! anything else is printed. Nothing in the first second, and nothing at all where nobody sees it.
//!
//! No thread: every wait asks the clock again and again, so the clock shows it.

use crate::foreign;
use crate::time::{Clock, SystemClock};
use std::cell::RefCell;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// The first second of a verb is its own.
const QUIET: Duration = Duration::from_secs(1);
/// What takes no longer than this after that is not worth a flicker.
const BRIEF: Duration = Duration::from_millis(250);
/// The longest line: one that is broken by the terminal cannot be taken away.
const WIDTH: usize = 79;

/// The line, made of times alone. Carriage returns and blanks are all that it needs of a terminal, so
/// that a serial console will do.
#[derive(Debug, Default)]
pub struct Line {
    what: String,
    since: Duration,
    shown: String,
}

impl Line {
    /// Something is waited for from `now` on, or nothing, when it is empty; gives what is to be written.
    pub fn doing(&mut self, what: &str, now: Duration) -> String {
        what.clone_into(&mut self.what);
        self.since = now;
        let erase = match self.shown.chars().count() {
            0 => String::new(),
            width => format!("\r{:width$}\r", ""),
        };
        self.shown.clear();
        erase
    }

    /// So much time has passed since the verb began; gives what is to be written.
    pub fn tick(&mut self, now: Duration) -> String {
        let waited = now.saturating_sub(self.since);
        if self.what.is_empty() || now < QUIET || waited < BRIEF {
            return String::new();
        }
        let seconds = waited.as_secs();
        let line = format!("f3skeys {}, {seconds} s", self.what);
        let line: String = foreign::line(&line).chars().take(WIDTH).collect();
        if line == self.shown {
            return String::new();
        }
        self.shown = line;
        format!("\r{}", self.shown)
    }
}

/// The machine's clock, with a line for a person who waits.
#[derive(Debug)]
pub struct Watch {
    clock: SystemClock,
    line: Option<RefCell<Line>>,
}

impl Watch {
    /// A clock that begins now, with a line if standard error is a terminal and `shows` it.
    pub fn start(shows: bool) -> Watch {
        let shows = shows && io::stderr().is_terminal();
        Watch {
            clock: SystemClock::start(),
            line: shows.then(RefCell::default),
        }
    }

    fn show(&self, change: impl FnOnce(&mut Line) -> String) {
        let Some(line) = &self.line else { return };
        let text = change(&mut line.borrow_mut());
        if !text.is_empty() {
            // A terminal that is gone must not end a boot.
            let _ = io::stderr().write_all(text.as_bytes());
        }
    }
}

impl Clock for Watch {
    fn now(&self) -> Duration {
        let now = self.clock.now();
        self.show(|line| line.tick(now));
        now
    }

    fn sleep(&self, time: Duration) {
        self.clock.sleep(time);
    }

    fn doing(&self, what: &str) {
        let now = self.clock.now();
        self.show(|line| line.doing(what, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// What a terminal of one row shows after these writes.
    fn row(writes: &[String]) -> String {
        let mut row: Vec<char> = Vec::new();
        let mut column = 0;
        for c in writes.concat().chars() {
            match c {
                '\r' => column = 0,
                c => {
                    row.resize(row.len().max(column + 1), ' ');
                    row[column] = c;
                    column += 1;
                }
            }
        }
        let row: String = row.into_iter().collect();
        row.trim_end().to_owned()
    }

    #[test]
    fn the_first_second_is_quiet_and_then_each_second_is_shown_once() {
        let mut line = Line::default();
        let mut writes = vec![line.doing("boot: key device", at(300))];
        writes.push(line.tick(at(999)));
        assert_eq!(writes.concat(), "");
        writes.push(line.tick(at(1000)));
        assert_eq!(row(&writes), "f3skeys boot: key device, 0 s");
        assert_eq!(line.tick(at(1299)), "");
        writes.push(line.tick(at(1300)));
        assert_eq!(row(&writes), "f3skeys boot: key device, 1 s");
        writes.push(line.tick(at(12_300)));
        assert_eq!(row(&writes), "f3skeys boot: key device, 12 s");
    }

    #[test]
    fn what_comes_next_takes_the_place_and_in_the_end_nothing_is_left() {
        let mut line = Line::default();
        let mut writes = vec![line.doing("boot: key device of a long name", at(0))];
        writes.push(line.tick(at(5000)));
        assert_eq!(row(&writes), "f3skeys boot: key device of a long name, 5 s");
        writes.push(line.doing("boot: zdata", at(5000)));
        assert_eq!(row(&writes), "");
        assert_eq!(line.tick(at(5249)), "");
        writes.push(line.tick(at(5250)));
        assert_eq!(row(&writes), "f3skeys boot: zdata, 0 s");
        writes.push(line.doing("", at(5300)));
        assert_eq!(row(&writes), "");
        assert!(writes.concat().ends_with('\r'));
        // Printing goes on from there, and nothing is shown any more.
        assert_eq!(line.tick(at(9000)) + &line.doing("", at(9000)), "");
    }

    #[test]
    fn a_line_is_never_broken() {
        let mut line = Line::default();
        line.doing(&"ü".repeat(200), at(2000));
        let text = line.tick(at(4000));
        assert_eq!(text.chars().count(), WIDTH + 1);
        assert!(!text.contains('\n'));
    }

    #[test]
    fn nobody_is_told_where_nobody_looks() {
        assert!(Watch::start(false).line.is_none());
    }
}
