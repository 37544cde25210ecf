//! What this node remembers of a peer's questions, in this boot: how often it has asked for proofs,
//! and the numbers over which it may vouch for a list. Kept in the run directory, a file for each peer,
//! under a lock of its own that is held for moments.

use super::Refused;
use crate::exit::Fault;
use crate::handover;
use crate::key::Nonce;
use crate::marker;
use crate::names::{KeyName, NodeName};
use crate::pass::Node;
use crate::store::MOST_OF_ONE_OWNER;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Questions about keys that a peer may ask in a row: as many as a rotation of all the keys needs that
/// one owner may have here.
pub const IN_A_ROW: u32 = 4 * MOST_OF_ONE_OWNER as u32;
/// After that, one in this time.
pub const EACH: Duration = Duration::from_secs(60);
/// How long a number can be vouched over: as long as a rotation may take.
pub const GOOD_FOR: Duration = Duration::from_secs(3600);
/// The most numbers of one key that are remembered; the oldest go first.
pub const MOST_NUMBERS: usize = 4;
/// The longest wait for another question of the same peer.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// So many, and one more in each stretch of time. Times are in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowance {
    /// How many are left.
    pub left: u32,
    /// Since when the next one is waited for.
    pub since: u64,
}

impl Allowance {
    /// All there may be.
    pub fn full(most: u32, now: u64) -> Allowance {
        Allowance {
            left: most,
            since: now,
        }
    }

    /// None left.
    pub fn empty(now: u64) -> Allowance {
        Allowance {
            left: 0,
            since: now,
        }
    }

    /// Takes one.
    ///
    /// # Errors
    /// None is left: the seconds until there is one.
    pub fn take(&mut self, most: u32, each: Duration, now: u64) -> Result<(), u64> {
        let each = each.as_secs().max(1);
        // A clock that was put back gives nothing, and takes nothing.
        self.since = self.since.min(now);
        let gained = (now - self.since) / each;
        let left = u64::from(self.left).saturating_add(gained);
        match u32::try_from(left) {
            Ok(left) if left < most => {
                self.left = left;
                self.since += gained * each;
            }
            _ => *self = Allowance::full(most, now),
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(self.since + each - now),
        }
    }
}

/// What is remembered of a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ledger {
    /// The boot that this is about.
    boot: String,
    asked: Allowance,
    numbers: Vec<Number>,
}

/// A number over which a list can be vouched for, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Number {
    key: KeyName,
    number: Nonce,
    /// Until when, in seconds since the boot.
    until: u64,
}

impl Ledger {
    fn new(boot: &str, now: u64) -> Ledger {
        Ledger {
            boot: boot.to_owned(),
            asked: Allowance::full(IN_A_ROW, now),
            numbers: Vec::new(),
        }
    }

    fn add(&mut self, key: &KeyName, number: Nonce, now: u64) {
        self.numbers.push(Number {
            key: key.clone(),
            number,
            until: now + GOOD_FOR.as_secs(),
        });
        let of_key = self.numbers.iter().filter(|n| n.key == *key).count();
        let mut too_many = of_key.saturating_sub(MOST_NUMBERS);
        self.numbers.retain(|n| {
            let goes = n.key == *key && too_many > 0;
            too_many -= usize::from(goes);
            !goes && n.until > now
        });
    }

    /// Takes a number out; whether it was there, for this key, and still good.
    fn spend(&mut self, key: &KeyName, number: Nonce, now: u64) -> bool {
        let before = self.numbers.len();
        let is_it = |n: &Number| n.key == *key && n.number == number && n.until > now;
        self.numbers.retain(|n| !is_it(n));
        self.numbers.len() < before
    }
}

/// Counts one question of a peer that has this node make proofs.
///
/// # Errors
/// The peer has asked too often, or this could not be written down.
pub(super) fn count(node: Node, from: &NodeName) -> Result<(), Refused> {
    let taken = with(node, from, |ledger, now| {
        ledger.asked.take(IN_A_ROW, EACH, now)
    })?;
    taken.map_err(|wait| {
        let what = format!("{from} asks too often; the next answer is in {wait} s");
        Refused::new(Fault::Busy.status(), what)
    })
}

/// A fresh number, over which the owner of a key may vouch for one list.
///
/// # Errors
/// It could not be made or written down.
pub(super) fn number(node: Node, from: &NodeName, key: &KeyName) -> Result<Nonce, Refused> {
    let fresh = handover::nonce().map_err(|e| failed(&e.to_string()))?;
    with(node, from, |ledger, now| ledger.add(key, fresh, now))?;
    Ok(fresh)
}

/// Takes a number back, which is good for one list only, whatever becomes of that.
///
/// # Errors
/// It is none of this node's, was used, or is too old.
pub(super) fn spend(
    node: Node,
    from: &NodeName,
    key: &KeyName,
    number: Nonce,
) -> Result<(), Refused> {
    match with(node, from, |ledger, now| ledger.spend(key, number, now))? {
        true => Ok(()),
        false => {
            let what = format!(
                "the proof of the list of {key} is made over a number that this node did not give, or that was used or is too old; ask again"
            );
            Err(Refused::new(crate::exit::REFUSED, what))
        }
    }
}

/// Makes every number for this key worthless: a list was taken, and what was made before is older.
///
/// # Errors
/// It could not be written down.
pub(super) fn settle(node: Node, from: &NodeName, key: &KeyName) -> Result<(), Refused> {
    with(node, from, |ledger, _| {
        ledger.numbers.retain(|n| n.key != *key);
    })
}

/// Does something with what is remembered of a peer, and keeps it. What another boot has left, or
/// cannot be read, counts for nothing.
fn with<T>(
    node: Node,
    from: &NodeName,
    job: impl FnOnce(&mut Ledger, u64) -> T,
) -> Result<T, Refused> {
    let boot = node.system.boot_id();
    let boot = boot.ok_or_else(|| failed("this boot has no identity yet"))?;
    let now = node.system.since_boot();
    let now = now
        .map_err(|trouble| failed(&trouble.to_string()))?
        .as_secs();
    let done = locked(node, from, |path| {
        let mut ledger = match marker::read_file(&path) {
            Ok(Some(bytes)) => serde_json::from_slice(&bytes).ok(),
            _ => None,
        }
        .filter(|ledger: &Ledger| ledger.boot == boot)
        .unwrap_or_else(|| Ledger::new(&boot, now));
        let done = job(&mut ledger, now);
        marker::replace_unwaited(&path, &serde_json::to_vec(&ledger)?)?;
        Ok(done)
    });
    done.map_err(|e| failed(&format!("{}: {e}", directory(node).display())))
}

fn locked<T>(
    node: Node,
    from: &NodeName,
    job: impl FnOnce(PathBuf) -> io::Result<T>,
) -> io::Result<T> {
    let directory = directory(node);
    marker::make_directory(node.run)?;
    marker::make_directory(&directory)?;
    // No node is called so: a name has no blank.
    let lock = directory.join(format!("{from} lock"));
    match marker::lock_file(&lock, node.system.clock(), LOCK_WAIT)? {
        Some(_lock) => job(directory.join(from.as_str())),
        None => Err(io::Error::other(
            "another question of the same peer is answered",
        )),
    }
}

fn directory(node: Node) -> PathBuf {
    node.run.join("asked")
}

fn failed(what: &str) -> Refused {
    Refused::new(Fault::System.status(), what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_gives_so_many_at_once_and_then_one_in_each_stretch() {
        let each = Duration::from_secs(60);
        let mut allowance = Allowance::full(3, 1000);
        for _ in 0..3 {
            assert_eq!(allowance.take(3, each, 1000), Ok(()));
        }
        assert_eq!(allowance.take(3, each, 1000), Err(60));
        assert_eq!(allowance.take(3, each, 1059), Err(1));
        assert_eq!(allowance.take(3, each, 1060), Ok(()));
        assert_eq!(allowance.take(3, each, 1060), Err(60));
        // What is left of a stretch is not lost.
        assert_eq!(allowance.take(3, each, 1170), Ok(()));
        assert_eq!(allowance.take(3, each, 1179), Err(1));
        assert_eq!(allowance.take(3, each, 1180), Ok(()));
        // Never more than there may be, and nothing for a clock that was put back.
        for _ in 0..3 {
            assert_eq!(allowance.take(3, each, 1_000_000), Ok(()));
        }
        assert_eq!(allowance.take(3, each, 1_000_000), Err(60));
        assert_eq!(allowance.take(3, each, 5), Err(60));
        assert_eq!(allowance.take(3, each, 65), Ok(()));
    }

    #[test]
    fn no_time_counts_for_an_allowance_that_is_full() {
        let each = Duration::from_secs(60);
        let mut allowance = Allowance::full(3, 1000);
        assert_eq!(allowance.take(3, each, 1000), Ok(()));
        // Full again at 1060, and from the next one that is taken on the stretch is a whole one.
        for _ in 0..3 {
            assert_eq!(allowance.take(3, each, 1065), Ok(()));
        }
        assert_eq!(allowance.take(3, each, 1065), Err(60));
    }

    #[test]
    fn what_is_too_old_is_not_kept() {
        let (key, other): (KeyName, KeyName) = ("f0:z".parse().unwrap(), "f0:y".parse().unwrap());
        let hour = GOOD_FOR.as_secs();
        for (now, left) in [(hour - 1, 2), (hour, 1), (hour + 1, 1)] {
            let mut ledger = Ledger::new("b", 0);
            ledger.add(&key, Nonce::from([1; 32]), 0);
            ledger.add(&other, Nonce::from([2; 32]), now);
            assert_eq!(ledger.numbers.len(), left, "{now}");
        }
    }

    #[test]
    fn a_number_is_good_once_for_its_key_and_for_an_hour() {
        let (key, other): (KeyName, KeyName) = ("f0:z".parse().unwrap(), "f0:y".parse().unwrap());
        let number = |byte| Nonce::from([byte; 32]);
        let mut ledger = Ledger::new("b", 0);
        ledger.add(&key, number(1), 10);
        assert!(!ledger.spend(&other, number(1), 11));
        assert!(!ledger.spend(&key, number(2), 11));
        assert!(ledger.spend(&key, number(1), 11));
        assert!(!ledger.spend(&key, number(1), 11));
        ledger.add(&key, number(3), 10);
        assert!(!ledger.spend(&key, number(3), 10 + GOOD_FOR.as_secs()));
        ledger.add(&key, number(4), 10);
        assert!(ledger.spend(&key, number(4), 9 + GOOD_FOR.as_secs()));
        // The newest are kept, of each key by itself.
        ledger.numbers.clear();
        ledger.add(&other, number(9), 0);
        for byte in 0..10 {
            ledger.add(&key, number(byte), 0);
        }
        assert_eq!(ledger.numbers.len(), MOST_NUMBERS + 1);
        assert!(!ledger.spend(&key, number(5), 1));
        assert!(ledger.spend(&key, number(6), 1) && ledger.spend(&other, number(9), 1));
    }
}
