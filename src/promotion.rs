//! A promotion: a person has made a replica writable here, for a reason. What the replica's own
//! user property says of it. Pure.
//!
//! The property holds `promoted EPOCH SECONDS REASON` while the promotion lasts, and
//! `demoted EPOCH SECONDS` afterwards. An epoch is never used twice.

use crate::report::date;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The user property.
pub const PROPERTY: &str = "f3skeys:promotion";
/// The longest reason, in bytes.
pub const LONGEST_REASON: usize = 200;

/// A promotion that lasts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Promotion {
    /// Its number, the next after the last one of this dataset.
    pub epoch: u64,
    /// When it began, in seconds since 1970 by this node's clock.
    pub since: u64,
    /// Why, in the words of the person who did it.
    pub reason: String,
}

/// What is known of a dataset's promotion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Promoted {
    /// It never was.
    Never,
    /// It is.
    Now(Promotion),
    /// It was; the number of the last promotion.
    Over(u64),
    /// The property says something that f3skeys never wrote. Counts as not promoted where that
    /// keeps it read-only, and as promoted where somebody asks whether it was not.
    Unknown(String),
}

impl Promoted {
    /// The number of the next promotion; `None` when the last one is not known.
    pub fn next_epoch(&self) -> Option<u64> {
        match self {
            Promoted::Never => Some(1),
            Promoted::Now(promotion) => promotion.epoch.checked_add(1),
            Promoted::Over(epoch) => epoch.checked_add(1),
            Promoted::Unknown(_) => None,
        }
    }
}

impl Promotion {
    /// The value of the property.
    pub fn value(&self) -> String {
        format!("promoted {} {} {}", self.epoch, self.since, self.reason)
    }

    /// The value of the property once the promotion is over.
    pub fn value_over(&self, now: u64) -> String {
        format!("demoted {} {now}", self.epoch)
    }
}

impl fmt::Display for Promotion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = date(self.since);
        write!(
            f,
            "promoted since {since}, epoch {}: {}",
            self.epoch, self.reason
        )
    }
}

/// Reads the property's value.
pub fn parse(value: &str) -> Promoted {
    let mut words = value.splitn(4, ' ');
    let what = words.next();
    let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
    let (epoch, since) = (number(), number());
    match (what, epoch, since, words.next()) {
        (Some("promoted"), Some(epoch), Some(since), Some(reason)) if !reason.is_empty() => {
            Promoted::Now(Promotion {
                epoch,
                since,
                reason: reason.to_owned(),
            })
        }
        (Some("demoted"), Some(epoch), Some(_), None) => Promoted::Over(epoch),
        _ => Promoted::Unknown(value.to_owned()),
    }
}

/// Whether a reason can be recorded: one line that is not too long.
///
/// # Errors
/// Why not, in words.
pub fn check_reason(reason: &str) -> Result<(), String> {
    if reason.trim().is_empty() {
        return Err("the reason is empty; say why, for whoever reads it later".to_owned());
    }
    if reason.len() > LONGEST_REASON || reason.chars().any(char::is_control) {
        return Err(format!(
            "the reason must be one line of at most {LONGEST_REASON} bytes"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let promotion = Promotion {
            epoch: 7,
            since: 1_795_000_000,
            reason: "f0 burnt down, twice".to_owned(),
        };
        assert_eq!(parse(&promotion.value()), Promoted::Now(promotion.clone()));
        assert_eq!(
            parse(&promotion.value_over(1_795_000_060)),
            Promoted::Over(7)
        );
    }

    #[test]
    fn what_was_never_written_is_unknown() {
        for value in [
            "",
            "promoted",
            "promoted 1",
            "promoted 1 2",
            "promoted 1 2 ",
            "promoted x 2 why",
            "demoted 1",
            "demoted 1 2 3",
            "yes",
            "Promoted 1 2 why",
        ] {
            assert_eq!(parse(value), Promoted::Unknown(value.to_owned()));
        }
        assert_eq!(Promoted::Unknown(String::new()).next_epoch(), None);
    }

    #[test]
    fn a_reason_is_one_short_line() {
        assert!(check_reason("f0 is dead").is_ok());
        for bad in ["", "  ", "a\nb", "a\tb", &"x".repeat(LONGEST_REASON + 1)] {
            assert!(check_reason(bad).is_err(), "{bad:?}");
        }
    }
}
