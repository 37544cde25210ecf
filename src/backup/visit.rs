//! One peer, asked about key after key, and handed what it lacks. What it holds is believed only as far
//! as it proves it over the bytes that it has just read.

use super::receipts::{self, Proven, Receipts};
use super::stock::Stock;
use crate::config::{Config, Peer};
use crate::handover::{self, Bytes, Handing, Receiver};
use crate::key::{Fingerprint, Nonce};
use crate::names::KeyName;
use crate::peers::{Ask, Asking, KEY_PATIENCE, KeyTold, Reply, Talk};
use crate::sorted::Set;
use crate::store::state::Generation;
use crate::stores;
use crate::system::System;
use crate::time::Deadline;
use crate::trouble::Trouble;
use serde::Serialize;
use std::fmt;
use std::path::Path;
use std::time::Duration;

/// What all visits of a run have in common.
#[derive(Clone, Copy)]
pub(super) struct Round<'k> {
    pub config: &'k Config,
    pub system: &'k dyn System,
    /// The directory of the receipts.
    pub db: &'k Path,
    /// When all of it must be over.
    pub whole: Deadline,
    /// The verb, for the receipts.
    pub verb: &'static str,
    /// Whether what a peer lacks is handed to it.
    pub mends: bool,
    /// Is told what was changed on a peer.
    pub progress: &'k dyn Fn(&str),
}

/// How it stands with a generation on a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// The peer has proven it, just now.
    Proven,
    /// The peer says that it holds it, and has not proven it.
    NotProven,
    /// Its bytes there are damaged.
    Damaged,
    /// The peer does not hold it.
    Missing,
    /// Its bytes are damaged on this node's own store, so that nothing can be told of any other.
    DamagedHere,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Proven => "proven",
            State::NotProven => "not proven",
            State::Damaged => "damaged",
            State::Missing => "missing",
            State::DamagedHere => "damaged on this node's own store",
        })
    }
}

/// How it stands with a key on a peer.
pub(super) struct Seen {
    pub key: KeyName,
    /// The identity of the peer's store.
    pub store: String,
    /// Whether the peer holds anything of it.
    pub is_there: bool,
    /// Every generation that is to be there.
    pub generations: Vec<(Generation, State)>,
    /// What else is not as it should be, in a few words.
    pub otherwise: Option<&'static str>,
    /// Why what the peer lacks was not taken there.
    pub refused: Option<String>,
}

impl Seen {
    fn of(stock: &Stock, told: &KeyTold, proven: &Set<Fingerprint>, is_own: bool) -> Seen {
        let of = |g: &Generation| (g.clone(), state(stock, told, proven, g.fingerprint));
        let generations: Vec<_> = stock.wanted().map(of).collect();
        let theirs = told.held.iter().map(|held| &held.generation);
        let is_listed = theirs.eq(&stock.list);
        // That says enough; and another node's list may be newer there.
        let is_missing = generations.iter().any(|(_, is)| *is == State::Missing);
        let otherwise = match told.sound {
            false => Some("a file of it damaged or missing"),
            true if is_own && !is_listed && !is_missing => Some("listed otherwise"),
            true => None,
        };
        Seen {
            key: stock.key.clone(),
            store: told.store.clone(),
            is_there: !told.held.is_empty(),
            generations,
            otherwise,
            refused: None,
        }
    }

    /// Whether all of it is proven, and nothing else is wrong with it.
    pub fn is_well(&self) -> bool {
        self.is_all_proven() && self.otherwise.is_none()
    }

    /// Whether all generations are proven, and something else is wrong.
    pub fn is_only_otherwise(&self) -> bool {
        self.is_all_proven() && self.otherwise.is_some()
    }

    fn is_all_proven(&self) -> bool {
        let mut states = self.generations.iter().map(|(_, state)| *state);
        states.all(|state| state == State::Proven)
    }

    /// What is not as it should be.
    pub fn lacking(&self) -> String {
        let lacking = self.generations.iter();
        let lacking = lacking.filter(|(_, state)| *state != State::Proven);
        let words = lacking
            .map(|(g, state)| format!("generation {} {} {state}", g.generation, g.fingerprint));
        let otherwise = self.otherwise.map(str::to_owned);
        words.chain(otherwise).collect::<Vec<_>>().join(", ")
    }

    /// Whether something is wrong that no peer can help with.
    pub fn is_damaged_here(&self) -> bool {
        let mut states = self.generations.iter().map(|(_, state)| *state);
        states.any(|state| state == State::DamagedHere)
    }
}

fn state(stock: &Stock, told: &KeyTold, proven: &Set<Fingerprint>, print: Fingerprint) -> State {
    let mut held = told.held.iter();
    let held = held.find(|held| held.generation.fingerprint == print);
    match held.map(|held| held.whole) {
        _ if !stock.copies.good.contains_key(&print) => State::DamagedHere,
        Some(_) if proven.contains(&print) => State::Proven,
        Some(true) => State::NotProven,
        Some(false) => State::Damaged,
        None => State::Missing,
    }
}

/// A talk with one peer.
pub(super) struct Visit<'k> {
    round: Round<'k>,
    pub peer: &'k Peer,
    left: Vec<&'k Stock>,
    now: Option<(Step, &'k Stock, Nonce)>,
    /// What was seen of each key that the peer was asked about, in the end.
    pub seen: Vec<Seen>,
    /// What was changed on the peer's store.
    pub changed: Vec<String>,
    /// Why it is asked no more.
    pub gone: Option<String>,
    /// Why a receipt could not be kept.
    pub no_receipt: Option<String>,
    receipts: Receipts,
    /// The store that it proved something on before, and the other one that it answers with now.
    pub other_store: Option<(String, String)>,
    begun: Duration,
    /// How long it took.
    pub took: Duration,
}

/// What is being asked.
enum Step {
    /// How it stands with a key.
    Look,
    /// That it takes what it lacked, when it was looked at.
    HandOver(Seen),
}

impl<'k> Visit<'k> {
    /// A visit about these keys, in this order.
    pub fn new(
        round: Round<'k>,
        peer: &'k Peer,
        stock: impl Iterator<Item = &'k Stock>,
    ) -> Visit<'k> {
        let mut left: Vec<&Stock> = stock.collect();
        left.reverse();
        Visit {
            round,
            peer,
            left,
            now: None,
            seen: Vec::new(),
            changed: Vec::new(),
            gone: None,
            no_receipt: None,
            // Receipts that cannot be read tell nothing of the store before.
            receipts: Receipts::read(round.db, &peer.name).unwrap_or_default(),
            other_store: None,
            begun: round.system.clock().now(),
            took: Duration::ZERO,
        }
    }

    fn take(&mut self, answered: Result<Reply, Trouble>) -> Option<Asking<'k>> {
        let (step, stock, nonce) = self.now.take()?;
        let told = answered.and_then(|reply| handover::of_key(self.peer, reply));
        match (told, step) {
            (Err(trouble), Step::Look) => {
                self.gone = Some(trouble.of(self.peer.name.as_str()));
                None
            }
            (Err(trouble), Step::HandOver(mut before)) => {
                let why = trouble.of(self.peer.name.as_str());
                before.refused = Some(why.clone());
                self.seen.push(before);
                if trouble.is_timeout() {
                    self.gone = Some(why);
                }
                None
            }
            (Ok(told), step) => {
                let seen = self.see(stock, &told, &nonce);
                match step {
                    Step::Look if self.round.mends && !seen.is_well() => {
                        return self.hand_over(stock, &told, seen);
                    }
                    Step::HandOver(before) => self.did(&before, &seen),
                    Step::Look => {}
                }
                self.seen.push(seen);
                None
            }
        }
    }

    /// Holds what a peer tells against the bytes here, and keeps a receipt of what it has proven.
    fn see(&mut self, stock: &Stock, told: &KeyTold, nonce: &Nonce) -> Seen {
        self.compare_store(&stock.key, &told.store);
        let proven = handover::proven(told, &self.peer.name, nonce, &stock.copies);
        if !proven.is_empty() {
            let proven = Proven {
                key: &stock.key,
                list: &stock.list,
                prints: &proven,
                store: &told.store,
                at: self.round.system.wall(),
                by: self.round.verb,
            };
            let (db, clock) = (self.round.db, self.round.system.clock());
            if let Err(e) = receipts::note(db, clock, &self.peer.name, &proven) {
                self.no_receipt = Some(e.to_string());
            }
        }
        let is_own = stock.key.owner() == self.round.config.node.as_str();
        Seen::of(stock, told, &proven, is_own)
    }

    /// Notices that the peer has another stick than when it last proved this key.
    fn compare_store(&mut self, key: &KeyName, now: &str) {
        let receipts = self.receipts.stores(key);
        let receipts = receipts.iter().map(|(_, store)| store.as_str());
        if let Some(before) = stores::before(receipts, now) {
            self.other_store = Some((before.to_owned(), now.to_owned()));
        }
    }

    /// The identity of the store that the peer answers with.
    pub fn store(&self) -> Option<&str> {
        self.seen.last().map(|seen| seen.store.as_str())
    }

    fn hand_over(
        &mut self,
        stock: &'k Stock,
        told: &KeyTold,
        mut before: Seen,
    ) -> Option<Asking<'k>> {
        let receiver = Receiver {
            key: &stock.key,
            from: &self.round.config.node,
            to: &self.peer.name,
            told,
        };
        match handover::handing(receiver, &stock.list, &stock.copies, Bytes::Go) {
            Ok(Handing { ask, keys, nonce }) => {
                self.now = Some((Step::HandOver(before), stock, nonce));
                Some(Asking {
                    keys,
                    ..self.asking(ask)
                })
            }
            Err(trouble) => {
                before.refused = Some(trouble.to_string());
                self.seen.push(before);
                None
            }
        }
    }

    fn did(&mut self, before: &Seen, seen: &Seen) {
        let (peer, lacked) = (&self.peer.name, before.lacking());
        // What only a person there can mend is no change, however often it is tried.
        if lacked == seen.lacking() {
            return;
        }
        let then = match seen.is_well() {
            true => "handed over, and proven".to_owned(),
            false => format!("handed over; still {}", seen.lacking()),
        };
        let change = format!("{peer}: {}: {lacked}; {then}", seen.key);
        (self.round.progress)(&change);
        self.changed.push(change);
    }

    fn look(&mut self) -> Option<Asking<'k>> {
        let stock = self.left.pop()?;
        match handover::nonce() {
            Ok(nonce) => {
                self.now = Some((Step::Look, stock, nonce));
                let key = stock.key.clone();
                Some(self.asking(Ask::Key { key, nonce }))
            }
            Err(trouble) => {
                self.gone = Some(trouble.to_string());
                None
            }
        }
    }

    fn asking(&self, ask: Ask) -> Asking<'k> {
        let clock = self.round.system.clock();
        Asking {
            peer: self.peer,
            question: handover::question(self.round.config, ask),
            keys: Vec::new(),
            deadline: self.round.whole.at_most(clock, KEY_PATIENCE),
        }
    }
}

impl<'k> Talk<'k> for Visit<'k> {
    fn next(&mut self, answered: Option<Result<Reply, Trouble>>) -> Option<Asking<'k>> {
        self.took = self.round.system.clock().now() - self.begun;
        if let Some(asking) = answered.and_then(|answered| self.take(answered)) {
            return Some(asking);
        }
        match self.gone {
            Some(_) => None,
            None => self.look(),
        }
    }
}
