//! The audit log: one line for every change of a key store, each with the hash of the one before, so
//! that a line that is changed, removed or put in between is found. Pure; [`log`] reads and writes.
//!
//! It holds no secret: names of keys, and the first digits of fingerprints. It proves nothing against
//! root of this node, who can write all of it anew; a copy of the head that is kept elsewhere does.
//!
//! A power cut can leave part of a line. Nothing is cut off again: the next line has the hash of the
//! last whole line together with what was left behind it. It can also leave the head one line behind.
//! Between a change of the store and its line stands a note ([`Begun`]): no change is missed, and none is
//! claimed that was not made.

pub mod log;

use crate::key::{hex, parse_hex};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What separates the hash of a line from any other use of BLAKE3.
const CONTEXT: &str = "f3skeys 2026-11 audit log line v1";
/// How often peers may be turned away in a row and still be written down: they must not push what
/// matters out of a log of limited size.
pub const MOST_TURNED_AWAY: usize = 1000;
/// Who asks when no peer does.
pub const LOCAL: &str = "local";

/// The hash of a line, with what was left cut short behind it.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Link([u8; 32]);

impl Link {
    /// The hash of these bytes of the log, the end of the last line with them, written yet or not.
    pub fn of(bytes: &[u8]) -> Link {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(bytes);
        if !bytes.is_empty() && !bytes.ends_with(b"\n") {
            hasher.update(b"\n");
        }
        Link(*hasher.finalize().as_bytes())
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({})", hex(self.0))
    }
}

impl TryFrom<String> for Link {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let bytes = parse_hex(&text).ok_or("not a hash of 64 hex digits")?;
        Ok(Link(bytes))
    }
}

impl From<Link> for String {
    fn from(link: Link) -> String {
        hex(link.0)
    }
}

/// What happened to a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// These changes were made, in order.
    Did(Vec<String>),
    /// A change was begun and failed; a part of it may have been made.
    Failed(String),
    /// A peer asked for a change that it may not ask for. The store was not touched.
    Refused(String),
    /// The end of this log was not what had been written.
    Found(String),
}

/// One happening, as it is to be written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The verb that was called.
    pub verb: String,
    /// The peer that asked, or [`LOCAL`].
    pub by: String,
    /// The identity of the store, if it is known.
    pub store: Option<String>,
    /// What happened.
    pub what: What,
}

/// What is kept beside the log while a store is worked on, from before its first change until that is
/// written down: what a cut leaves of a change that no line tells of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Begun {
    /// The verb that was called.
    pub verb: String,
    /// The peer that asked, or [`LOCAL`].
    pub by: String,
    /// When, in seconds since 1970, by a clock that may be wrong.
    pub time: u64,
}

impl Begun {
    /// The note in a file. One that is not understood is no less a note.
    pub fn parse(bytes: &[u8]) -> Begun {
        serde_json::from_slice(bytes).unwrap_or_else(|_| Begun {
            verb: "?".to_owned(),
            by: "?".to_owned(),
            time: 0,
        })
    }

    /// The note as a file.
    ///
    /// # Errors
    /// None that is known of.
    pub fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(self)
    }

    /// What is to be written down of a run that was cut off.
    pub fn cut_off(self) -> Event {
        let Begun { verb, by, time } = self;
        let why = format!("was cut off after {time}: {UNKNOWN}");
        Event {
            verb,
            by,
            store: None,
            what: What::Failed(why),
        }
    }
}

/// What is known of a change that was cut off before it was written down.
pub const UNKNOWN: &str = "it may have been made, in whole, in part, or not at all";

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Counted from 1, without a gap.
    pub number: u64,
    /// Seconds since 1970, by a clock that may be wrong.
    pub time: u64,
    /// The verb that was called.
    pub verb: String,
    /// The peer that asked, or [`LOCAL`].
    pub by: String,
    /// The identity of the store, if it is known.
    pub store: Option<String>,
    /// What happened.
    pub what: What,
    /// The hash of what stands before.
    pub previous: Link,
}

impl Entry {
    /// The entry of a line without its end. There is one way to write an entry, and no other is taken.
    pub fn parse(line: &[u8]) -> Option<Entry> {
        let entry: Entry = serde_json::from_slice(line).ok()?;
        (entry.line().ok()? == line).then_some(entry)
    }

    fn line(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(self)
    }

    fn is_turned_away(&self) -> bool {
        self.by != LOCAL && matches!(self.what, What::Failed(_) | What::Refused(_))
    }
}

/// What is kept beside the log, written after each line: how far it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The number of the newest entry.
    pub number: u64,
    /// The hash of its line.
    pub hash: Link,
    /// The number of the oldest entry that is kept.
    pub oldest: u64,
}

impl Head {
    /// The head in a file.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(bytes: &[u8]) -> Result<Head, String> {
        let head: Head = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        match head.to_bytes() {
            Ok(same) if same == bytes => Ok(head),
            _ => Err("is not written as f3skeys writes it".to_owned()),
        }
    }

    /// The head as a file.
    ///
    /// # Errors
    /// None that is known of.
    pub fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

/// The newest entry of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Newest {
    /// Its number.
    pub number: u64,
    /// The hash of its line.
    pub hash: Link,
    /// The hash of the line of the entry before.
    before: Option<Link>,
    /// Where it begins.
    start: usize,
}

impl Newest {
    /// The head of a log that ends with this entry.
    pub fn head(&self, oldest: u64) -> Head {
        Head {
            number: self.number,
            hash: self.hash,
            oldest,
        }
    }
}

/// A log, read from its oldest line to its newest. Lines are counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// The number of the oldest entry.
    pub oldest: Option<u64>,
    /// The newest entry.
    pub newest: Option<Newest>,
    /// The first line at which the chain does not hold: it, the one before or the one behind was
    /// changed, or lines were removed there or put in.
    pub broken: Option<usize>,
    /// Lines that were cut short, and that the chain goes on behind.
    pub torn: Vec<usize>,
    /// Lines at the end that are no entries: cut short, or changed.
    pub loose: Vec<usize>,
    /// Entries that tell of an end that did not fit: their lines and words.
    pub found: Vec<(usize, String)>,
    /// How many entries at the end tell of peers that were turned away.
    pub turned_away: usize,
    /// Whether the last line has its end.
    ended: bool,
    /// The hash that the next entry has of all this.
    tail: Link,
}

/// How the end of a log and the head go together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// They do.
    Fits,
    /// The head is one entry behind, as a cut between the two leaves it.
    Behind,
    /// They do not; why.
    Wrong(String),
}

impl Chain {
    /// Reads a log. What is wrong with it is noted, and never stops it from being read.
    pub fn of(bytes: &[u8]) -> Chain {
        let mut chain = Chain {
            oldest: None,
            newest: None,
            broken: None,
            torn: Vec::new(),
            loose: Vec::new(),
            found: Vec::new(),
            turned_away: 0,
            ended: bytes.is_empty() || bytes.ends_with(b"\n"),
            tail: Link::of(b""),
        };
        let mut start = 0;
        for (index, piece) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let line = piece.strip_suffix(b"\n").unwrap_or(piece);
            match Entry::parse(line) {
                Some(entry) => chain.take(bytes, start, index + 1, line, entry),
                None => chain.loose.push(index + 1),
            }
            start += piece.len();
        }
        chain.tail = Link::of(chain.since_newest(bytes));
        chain
    }

    /// The bytes from the newest entry on.
    fn since_newest<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let start = self.newest.map_or(0, |newest| newest.start);
        bytes.get(start..).unwrap_or_default()
    }

    fn take(&mut self, bytes: &[u8], start: usize, at: usize, line: &[u8], entry: Entry) {
        let before = bytes.get(..start).unwrap_or_default();
        let loose = std::mem::take(&mut self.loose);
        if self.is_next(&entry, Link::of(self.since_newest(before)), &loose) {
            self.torn.extend(loose);
        } else {
            let first = loose.first().copied().unwrap_or(at);
            self.broken.get_or_insert(first);
        }
        self.turned_away = match entry.is_turned_away() {
            true => self.turned_away + 1,
            false => 0,
        };
        self.oldest.get_or_insert(entry.number);
        self.newest = Some(Newest {
            number: entry.number,
            hash: Link::of(line),
            before: self.newest.map(|newest| newest.hash),
            start,
        });
        if let What::Found(words) = entry.what {
            self.found.push((at, words));
        }
    }

    fn is_next(&self, entry: &Entry, before: Link, loose: &[usize]) -> bool {
        match self.newest {
            Some(newest) => {
                newest.number.checked_add(1) == Some(entry.number) && entry.previous == before
            }
            None if entry.number == 1 => entry.previous == before,
            // What it followed is no longer kept; the head knows where the log begins.
            None => loose.is_empty(),
        }
    }

    /// Whether the log ends where the head says.
    pub fn end(&self, head: &Result<Option<Head>, String>) -> End {
        let head = match head {
            Ok(head) => head,
            Err(why) => return End::Wrong(format!("the head cannot be read: {why}")),
        };
        match (self.newest, head) {
            (None, None) => End::Fits,
            (Some(newest), None) if newest.number == 1 => End::Behind,
            (Some(_), None) => End::Wrong("the head is missing".to_owned()),
            (None, Some(head)) => End::Wrong(format!(
                "no entry is left of {} that were there",
                head.number
            )),
            (Some(newest), Some(head)) => self.fits(newest, head),
        }
    }

    fn fits(&self, newest: Newest, head: &Head) -> End {
        let wrong = |what: String| End::Wrong(what);
        let last = newest.number;
        let oldest = self.oldest.unwrap_or(last);
        if oldest > head.oldest {
            let kept = head.oldest;
            return wrong(format!(
                "it begins with entry {oldest}, and {kept} was kept"
            ));
        }
        if last == head.number {
            // With something behind it, it has its end.
            let ended = self.ended || !self.loose.is_empty();
            return match (newest.hash == head.hash, ended) {
                (true, true) => End::Fits,
                (true, false) => wrong(format!("the end of entry {last} is missing")),
                (false, _) => wrong(format!("entry {last} is not the one that was written")),
            };
        }
        if head.number.checked_add(1) == Some(last) && newest.before == Some(head.hash) {
            return End::Behind;
        }
        let wanted = head.number;
        wrong(format!(
            "it ends with entry {last}, and {wanted} was the newest that was written"
        ))
    }

    /// The lines to be written next, each with its end, and the head that is to follow them.
    ///
    /// # Errors
    /// None that is known of.
    pub fn next(&self, end: &End, event: Event, time: u64) -> serde_json::Result<(Vec<u8>, Head)> {
        let mut events = vec![event];
        if let End::Wrong(why) = end {
            // A new head would hide it: so it is put down first, and stays.
            events.insert(0, found(why));
        }
        let mut bytes = Vec::new();
        let mut previous = self.tail;
        let mut number = self.newest.map_or(0, |newest| newest.number);
        for event in events {
            number = number.saturating_add(1);
            let line = entry(event, number, time, previous).line()?;
            previous = Link::of(&line);
            bytes.extend(line);
            bytes.push(b'\n');
        }
        let head = Head {
            number,
            hash: previous,
            oldest: self.oldest.unwrap_or(1),
        };
        Ok((bytes, head))
    }

    /// Whether the last line has no end, so that one is to be written before anything else.
    pub fn lacks_end(&self) -> bool {
        !self.ended
    }
}

fn found(why: &str) -> Event {
    Event {
        verb: "audit".to_owned(),
        by: LOCAL.to_owned(),
        store: None,
        what: What::Found(why.to_owned()),
    }
}

fn entry(event: Event, number: u64, time: u64, previous: Link) -> Entry {
    let Event {
        verb,
        by,
        store,
        what,
    } = event;
    Entry {
        number,
        time,
        verb,
        by,
        store,
        what,
        previous,
    }
}

/// The digits of a whole fingerprint, and how many of them are shown.
const WHOLE: usize = 64;
const SHOWN: usize = 8;

/// Words with every fingerprint cut to its first digits.
pub fn shortened(words: &str) -> String {
    let mut short = String::with_capacity(words.len());
    let mut run = String::new();
    for c in words.chars() {
        if c.is_ascii_hexdigit() {
            run.push(c);
        } else {
            end_run(&mut short, &mut run);
            short.push(c);
        }
    }
    end_run(&mut short, &mut run);
    short
}

fn end_run(short: &mut String, run: &mut String) {
    let shown = match run.len() < WHOLE {
        true => run.as_str(),
        false => run.get(..SHOWN).unwrap_or_default(),
    };
    short.push_str(shown);
    run.clear();
}

#[cfg(test)]
mod tests;
