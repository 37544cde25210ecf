//! Why something outside could not be done or asked.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A call that brought no answer. It never means "no": it means "could not ask".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    what: String,
    why: Why,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Why {
    TimedOut,
    Failed(String),
}

impl Trouble {
    /// `what` did not come back in time.
    pub fn timed_out(what: &str) -> Trouble {
        Trouble {
            what: what.to_owned(),
            why: Why::TimedOut,
        }
    }

    /// `what` failed, with the words of whoever knows why.
    pub fn failed(what: &str, why: &str) -> Trouble {
        Trouble {
            what: what.to_owned(),
            why: Why::Failed(why.trim().to_owned()),
        }
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
