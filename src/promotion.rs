//! A promotion: a person has made a replica writable here, for a reason. Pure.
//!
//! Two places say so, and both must: the replica's own user property, and a record in this node's state
//! directory ([`record`]). The property holds `promoted EPOCH SECONDS REASON` while the promotion lasts,
//! and `demoted EPOCH SECONDS` afterwards. An epoch is never used twice.

pub mod record;

use crate::digits;
use crate::foreign;
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

/// The property and this node's record contradict each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispute {
    /// The promotion that one of them says lasts.
    pub promotion: Promotion,
    /// The newest epoch that this node has recorded, or that is over; 0 if there is none.
    pub recorded: u64,
}

impl Dispute {
    /// Whether this node has no record of the promotion: a `promote` was cut before the record, or an
    /// older version made it, or it is not a person's at all.
    pub fn is_unrecorded(&self) -> bool {
        self.promotion.epoch > self.recorded
    }
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
    /// The property says something that f3skeys never wrote, or the record cannot be read: the text of
    /// the one, or why the other. Counts as not promoted where that keeps the replica read-only, and as
    /// promoted where somebody asks whether it was not.
    Unknown(String),
    /// Only one of property and record says that it is. Counts as `Unknown` does, and peers are answered
    /// so.
    #[serde(skip)]
    Disputed(Dispute),
}

/// What this node's record says of a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recorded {
    /// There is no record.
    Nothing,
    /// This promotion lasts.
    Lasts(Promotion),
    /// The promotion of this epoch is over.
    Over(u64),
    /// The record cannot be read, and why.
    Unreadable(String),
}

/// What is known of a promotion, from what the property says and what this node recorded. The one place
/// where the two are joined.
pub fn join(said: Promoted, recorded: Recorded) -> Promoted {
    let dispute = |promotion, recorded| {
        Promoted::Disputed(Dispute {
            promotion,
            recorded,
        })
    };
    match (said, recorded) {
        (_, Recorded::Unreadable(why)) => Promoted::Unknown(why),
        (said @ (Promoted::Unknown(_) | Promoted::Disputed(_)), _) => said,
        (Promoted::Now(now), Recorded::Lasts(recorded)) if now.epoch == recorded.epoch => {
            Promoted::Now(now)
        }
        (Promoted::Now(now), Recorded::Nothing) => dispute(now, 0),
        (Promoted::Now(now), Recorded::Lasts(Promotion { epoch, .. }) | Recorded::Over(epoch)) => {
            dispute(now, epoch)
        }
        (Promoted::Over(over), Recorded::Lasts(recorded)) => {
            let newest = recorded.epoch.max(over);
            dispute(recorded, newest)
        }
        (Promoted::Never, Recorded::Lasts(recorded)) => {
            let newest = recorded.epoch;
            dispute(recorded, newest)
        }
        (said, Recorded::Nothing) => said,
        (Promoted::Over(said), Recorded::Over(epoch)) => Promoted::Over(said.max(epoch)),
        (Promoted::Never, Recorded::Over(epoch)) => Promoted::Over(epoch),
    }
}

impl Promoted {
    /// The number of the next promotion; `None` when the last one is not known.
    pub fn next_epoch(&self) -> Option<u64> {
        match self {
            Promoted::Never => Some(1),
            Promoted::Now(promotion) => promotion.epoch.checked_add(1),
            Promoted::Over(epoch) => epoch.checked_add(1),
            Promoted::Unknown(_) => None,
            Promoted::Disputed(dispute) => {
                dispute.promotion.epoch.max(dispute.recorded).checked_add(1)
            }
        }
    }

    /// As a peer is answered, which has no word for a dispute.
    pub fn for_a_peer(&self) -> Promoted {
        match self {
            Promoted::Disputed(dispute) => Promoted::Unknown(dispute.to_string()),
            known => known.clone(),
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

impl fmt::Display for Dispute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let epoch = self.promotion.epoch;
        match self.is_unrecorded() {
            true => write!(
                f,
                "{PROPERTY} says promoted with epoch {epoch}, which this node has not recorded"
            ),
            false => write!(
                f,
                "{PROPERTY} and this node's record of promotion {epoch} contradict each other"
            ),
        }
    }
}

/// Reads the property's value. Only what f3skeys writes itself, to the byte, is understood.
pub fn parse(value: &str) -> Promoted {
    let mut words = value.splitn(4, ' ');
    let what = words.next();
    let mut number = || words.next().and_then(canonical);
    let (epoch, since) = (number().filter(|epoch| *epoch > 0), number());
    match (what, epoch, since, words.next()) {
        (Some("promoted"), Some(epoch), Some(since), Some(reason)) if is_reason(reason) => {
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

/// A number in the one way in which it is written: no sign, no zero in front.
fn canonical(word: &str) -> Option<u64> {
    let number = digits::number::<u64>(word)?;
    (number.to_string() == word).then_some(number)
}

/// A reason as `promote` writes it: checked, and without blanks around it.
fn is_reason(reason: &str) -> bool {
    check_reason(reason).is_ok() && reason.trim() == reason
}

/// Whether a reason can be recorded: one line that is not too long.
///
/// # Errors
/// Why not, in words.
pub fn check_reason(reason: &str) -> Result<(), String> {
    if reason.trim().is_empty() {
        return Err("the reason is empty; say why, for whoever reads it later".to_owned());
    }
    if reason.len() > LONGEST_REASON || !reason.chars().all(foreign::is_seen) {
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
    fn law_3_only_the_very_bytes_that_are_written_promote() {
        let good = "promoted 7 1795000000 f0 burnt down";
        assert!(matches!(parse(good), Promoted::Now(_)));
        let long = format!("promoted 7 1795000000 {}", "x".repeat(LONGEST_REASON + 1));
        for bad in [
            "promoted +7 1795000000 f0 burnt down",
            "promoted 07 1795000000 f0 burnt down",
            "promoted 0 1795000000 f0 burnt down",
            "promoted -7 1795000000 f0 burnt down",
            "promoted 7 +1795000000 f0 burnt down",
            "promoted 7 01795000000 f0 burnt down",
            "promoted 18446744073709551616 1795000000 f0 burnt down",
            "promoted  7 1795000000 f0 burnt down",
            " promoted 7 1795000000 f0 burnt down",
            "promoted 7 1795000000 ",
            "promoted 7 1795000000  f0",
            "promoted 7 1795000000 f0 ",
            "promoted 7 1795000000 f0\n",
            "promoted 7 1795000000 f0\nz/r\treadonly\toff\tlocal",
            "promoted 7 1795000000 f0\tburnt",
            "promoted 7 1795000000 f0\x1b[2J",
            "promoted 7 1795000000 f0\u{85}burnt",
            "promoted\t7\t1795000000\tf0",
            "demoted 07 1795000000",
            "demoted 7 +1795000000",
            "demoted 0 1795000000",
            "demoted 7 1795000000 ",
            "demoted 7 1795000000\n",
            &long,
        ] {
            assert_eq!(parse(bad), Promoted::Unknown(bad.to_owned()), "{bad:?}");
        }
        // Any one byte more, wherever it is put, is another value or none.
        for at in 0..good.len() {
            for more in ["0", "+", " ", "\n", "\t", "\0"] {
                let value = format!("{}{more}{}", &good[..at], &good[at..]);
                match parse(&value) {
                    Promoted::Now(promotion) => assert_eq!(promotion.value(), value),
                    other => assert_eq!(other, Promoted::Unknown(value)),
                }
            }
        }
    }

    /// Everything that property and record can say.
    fn all() -> (Vec<Promoted>, Vec<Recorded>) {
        let now = |epoch| Promotion {
            epoch,
            since: 5,
            reason: "x".to_owned(),
        };
        let said = vec![
            Promoted::Never,
            Promoted::Over(1),
            Promoted::Over(2),
            Promoted::Now(now(1)),
            Promoted::Now(now(2)),
            Promoted::Unknown("yes".to_owned()),
        ];
        let recorded = vec![
            Recorded::Nothing,
            Recorded::Over(1),
            Recorded::Over(2),
            Recorded::Lasts(now(1)),
            Recorded::Lasts(now(2)),
            Recorded::Unreadable("rot".to_owned()),
        ];
        (said, recorded)
    }

    #[test]
    fn law_3_of_all_that_property_and_record_can_say_only_the_same_epoch_promotes() {
        let (said, recorded) = all();
        for (said, recorded) in said
            .iter()
            .flat_map(|s| recorded.iter().map(move |r| (s, r)))
        {
            let joined = join(said.clone(), recorded.clone());
            let same = match (said, recorded) {
                (Promoted::Now(said), Recorded::Lasts(recorded)) => said.epoch == recorded.epoch,
                _ => false,
            };
            let context = format!("{said:?} {recorded:?} {joined:?}");
            assert_eq!(matches!(joined, Promoted::Now(_)), same, "{context}");
            // Not promoted is said where neither says that a promotion lasts, and both can be read.
            let is_said = matches!(said, Promoted::Now(_) | Promoted::Unknown(_));
            let is_recorded = matches!(recorded, Recorded::Lasts(_) | Recorded::Unreadable(_));
            let not = matches!(joined, Promoted::Never | Promoted::Over(_));
            assert_eq!(not, !is_said && !is_recorded, "{context}");
            let told = matches!(joined.for_a_peer(), Promoted::Never | Promoted::Over(_));
            assert_eq!(told, not, "{context}");
            // No epoch is used twice.
            let epoch = |promotion: &Promotion| promotion.epoch;
            let used = match said {
                Promoted::Now(now) => epoch(now),
                Promoted::Over(over) => *over,
                _ => 0,
            };
            let used = used.max(match recorded {
                Recorded::Lasts(now) => epoch(now),
                Recorded::Over(over) => *over,
                _ => 0,
            });
            assert!(
                joined.next_epoch().is_none_or(|next| next == used + 1),
                "{context}"
            );
        }
    }

    #[test]
    fn a_dispute_is_unrecorded_only_where_the_record_is_older_or_not_there() {
        let (said, recorded) = all();
        let mut unrecorded = 0;
        for (said, recorded) in said
            .iter()
            .flat_map(|s| recorded.iter().map(move |r| (s, r)))
        {
            let Promoted::Disputed(dispute) = join(said.clone(), recorded.clone()) else {
                continue;
            };
            let older = match (said, recorded) {
                (Promoted::Now(_), Recorded::Nothing) => true,
                (Promoted::Now(now), Recorded::Over(epoch)) => *epoch < now.epoch,
                (Promoted::Now(now), Recorded::Lasts(other)) => other.epoch < now.epoch,
                _ => false,
            };
            assert_eq!(dispute.is_unrecorded(), older, "{said:?} {recorded:?}");
            unrecorded += usize::from(older);
        }
        assert_eq!(unrecorded, 4);
    }

    #[test]
    fn a_reason_is_one_short_line() {
        assert!(check_reason("f0 is dead").is_ok());
        for bad in ["", "  ", "a\nb", "a\tb", &"x".repeat(LONGEST_REASON + 1)] {
            assert!(check_reason(bad).is_err(), "{bad:?}");
        }
    }
}
