//! Why something outside could not be done or asked.

use crate::foreign::Line;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A call that brought no answer. It never means "no": it means "could not ask".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    what: Line,
    why: Why,
    /// What a person does about it, where the cause tells that; else empty.
    remedy: Line,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Why {
    TimedOut,
    Failed(Line),
}

impl Trouble {
    /// `what` did not come back in time.
    pub fn timed_out(what: &str) -> Trouble {
        Trouble {
            what: what.into(),
            why: Why::TimedOut,
            remedy: Line::default(),
        }
    }

    /// `what` failed, with the words of whoever knows why.
    pub fn failed(what: &str, why: &str) -> Trouble {
        Trouble {
            what: what.into(),
            why: Why::Failed(why.trim().into()),
            remedy: Line::default(),
        }
    }

    /// The same, by whoever knows the cause and so the remedy.
    #[must_use]
    pub fn mended_by(self, remedy: &str) -> Trouble {
        Trouble {
            remedy: remedy.into(),
            ..self
        }
    }

    /// The remedy that the cause has, or `otherwise`.
    pub fn remedy<'a>(&'a self, otherwise: &'a str) -> &'a str {
        match self.remedy.is_empty() {
            true => otherwise,
            false => &self.remedy,
        }
    }

    /// Why, for a message that begins with `subject`, which is not to be named twice.
    pub fn of(&self, subject: &str) -> String {
        let whole = self.to_string();
        let rest = whole.strip_prefix(subject);
        let rest = rest.and_then(|rest| rest.strip_prefix(": "));
        rest.unwrap_or(&whole).to_owned()
    }

    /// Whether time ran out, so that asking the same again would cost as much again.
    pub fn is_timeout(&self) -> bool {
        self.why == Why::TimedOut
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            Why::TimedOut => write!(f, "{}: no answer in time; given up", self.what),
            Why::Failed(why) => write!(f, "{}: {why}", self.what),
        }
    }
}

impl std::error::Error for Trouble {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_left_out_only_where_it_is_named_already() {
        let trouble = Trouble::failed("f1", "ssh exits with 255");
        assert_eq!(trouble.of("f1"), "ssh exits with 255");
        for other in ["f2", "f", "f1:", ""] {
            assert_eq!(trouble.of(other), "f1: ssh exits with 255");
        }
    }
}
