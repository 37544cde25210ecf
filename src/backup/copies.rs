//! `f3skeys status --peers`: every copy of every key of this node, held against what should be: asked
//! of every peer now, each generation proven anew. Not a quorum: it is well when all of it is proven.

use super::receipts::Receipts;
use super::stock::{self, Stock};
use super::visit::{Round, Seen, State, Visit};
use crate::config::Config;
use crate::exit::Fault;
use crate::foreign::{Line, add_line};
use crate::names::NodeName;
use crate::pass::{Node, Pass};
use crate::report::date;
use crate::shell::command;
use crate::store::state::Generation;
use crate::stores::{self, counted};
use crate::time::Deadline;
use serde::Serialize;

/// The version of the JSON, which docs/status.md describes.
const VERSION: u32 = 1;

/// Where the keys of this node are; its JSON is the interface for monitoring.
#[derive(Debug, Serialize)]
pub struct Copies {
    /// The version of this structure.
    pub version: u32,
    /// This node.
    pub node: String,
    /// Why nothing can be told, when this node's own store cannot be read.
    pub unknown: Option<String>,
    /// Every key of this node.
    pub keys: Vec<KeyCopies>,
    /// The exit status: 0 only if all of it is proven.
    pub status: u8,
}

/// Where a key is.
#[derive(Debug, Serialize)]
pub struct KeyCopies {
    /// The key.
    pub key: String,
    /// Every peer.
    pub peers: Vec<PeerCopy>,
}

/// How it stands with a key on a peer.
#[derive(Debug, Serialize)]
pub struct PeerCopy {
    /// The peer.
    pub peer: String,
    /// Whether every generation is proven now, and nothing else is wrong.
    pub well: bool,
    /// The identity of its store, when it answers and has one.
    pub store: String,
    /// What is wrong beside its generations, or why it does not answer; empty when nothing is.
    pub why: Line,
    /// Every generation that is to be there.
    pub generations: Vec<GenerationCopy>,
    /// What mends it; empty when all is well.
    pub remedy: Line,
}

/// How it stands with a generation on a peer.
#[derive(Debug, Serialize)]
pub struct GenerationCopy {
    /// Its number.
    pub generation: u32,
    /// Its fingerprint, whole.
    pub fingerprint: String,
    /// What it is for.
    pub standing: String,
    /// How it is there; `null` when the peer does not answer.
    pub state: Option<State>,
    /// When it was last proven, in seconds since 1970, by a clock that may have been wrong.
    pub last_proven: Option<u64>,
    /// How long ago that was, in seconds; `null` also when it seems to be still to come.
    pub age: Option<u64>,
}

/// Asks all peers.
pub fn copies(node: Node, config: &Config) -> Copies {
    let mut pass = Pass::begin("status", node, config);
    pass.deadline = Deadline::after(pass.clock(), super::WHOLE);
    let own = config.node.as_str();
    let stock::Own { store, keys } = match stock::read(&mut pass, |key| key.owner() == own) {
        Ok(own) => own,
        Err((fault, why)) => return unknown(config, fault, why),
    };
    let round = Round {
        config,
        system: node.system,
        db: node.db,
        whole: pass.deadline,
        verb: "status",
        mends: false,
        progress: &|_| {},
    };
    let peers: Vec<_> = config.peers.iter().collect();
    let visits = super::ask_all(node, round, &peers, &keys);
    let counted = counted(&store, super::answers(&visits));
    let now = node.system.wall();
    let looks: Vec<Look> = visits
        .iter()
        .map(|visit| Look {
            own: &config.node,
            visit,
            // Receipts that cannot be read are as good as none: nothing is decided by them.
            receipts: Receipts::read(node.db, &visit.peer.name).unwrap_or_default(),
            no_copy: counted
                .iter()
                .find(|(peer, ..)| **peer == visit.peer.name)
                .and_then(|(_, store, copy)| super::no_copy(*copy, store)),
            now,
        })
        .collect();
    let keys: Vec<KeyCopies> = keys
        .iter()
        .map(|stock| KeyCopies {
            key: stock.key.to_string(),
            peers: looks.iter().map(|look| look.copy(stock)).collect(),
        })
        .collect();
    let is_well = |key: &KeyCopies| !key.peers.is_empty() && key.peers.iter().all(|copy| copy.well);
    let status = match keys.iter().all(is_well) {
        true => 0,
        false => Fault::Unavailable.status(),
    };
    Copies {
        version: VERSION,
        node: config.node.to_string(),
        unknown: None,
        keys,
        status,
    }
}

fn unknown(config: &Config, fault: Fault, why: String) -> Copies {
    Copies {
        version: VERSION,
        node: config.node.to_string(),
        unknown: Some(format!("key device {}: {why}", config.store.wanted)),
        keys: Vec::new(),
        status: fault.status(),
    }
}

/// What there is to tell of a peer: what it said, and what it has proven before.
struct Look<'v, 'k> {
    own: &'k NodeName,
    visit: &'v Visit<'k>,
    receipts: Receipts,
    /// Why its store is no copy of its own, and what to do.
    no_copy: Option<(String, &'static str)>,
    now: u64,
}

impl Look<'_, '_> {
    fn copy(&self, stock: &Stock) -> PeerCopy {
        let seen = self.visit.seen.iter().find(|seen| seen.key == stock.key);
        let proven = seen.is_some_and(Seen::is_well) && !stock.list.is_empty();
        let well = proven && self.no_copy.is_none();
        PeerCopy {
            peer: self.visit.peer.name.to_string(),
            well,
            store: seen.map(|seen| seen.store.clone()).unwrap_or_default(),
            why: self.all_why(stock, seen).into(),
            generations: stock
                .wanted()
                .map(|g| self.generation(stock, g, seen))
                .collect(),
            remedy: match (&self.no_copy, proven) {
                (None, true) => Line::default(),
                (Some((_, remedy)), true) => (*remedy).into(),
                (_, false) => self.remedy(stock, seen).into(),
            },
        }
    }

    /// What is wrong with the key there, and with the store that it lies on.
    fn all_why(&self, stock: &Stock, seen: Option<&Seen>) -> String {
        let no_copy = self.no_copy.as_ref().map(|(what, _)| what.clone());
        let other = self.visit.other_store.as_ref();
        let other = other.map(|(before, now)| stores::changed(before, now).0);
        let all = [Some(self.why(stock, seen)), no_copy, other];
        let said = all.into_iter().flatten().filter(|what| !what.is_empty());
        said.collect::<Vec<_>>().join("; ")
    }

    fn why(&self, stock: &Stock, seen: Option<&Seen>) -> String {
        let trouble = stock.trouble(self.own).map(|(what, _)| what);
        match (seen, &self.visit.gone) {
            (Some(seen), _) => match (trouble, seen.is_there) {
                (Some(what), true) => format!("{what}; this peer holds some of it"),
                (Some(what), false) => format!("{what}, and this peer holds nothing of it"),
                (None, _) => seen.otherwise.unwrap_or_default().to_owned(),
            },
            (None, Some(why)) => format!("does not answer: {why}"),
            (None, None) => "was not asked".to_owned(),
        }
    }

    fn generation(&self, stock: &Stock, g: &Generation, seen: Option<&Seen>) -> GenerationCopy {
        let mut states = seen.into_iter().flat_map(|seen| &seen.generations);
        let state = states.find(|(of, _)| of.fingerprint == g.fingerprint);
        let receipt = self.receipts.of(&stock.key, g.fingerprint);
        let last_proven = receipt.map(|receipt| receipt.proven);
        GenerationCopy {
            generation: g.generation,
            fingerprint: g.fingerprint.hex(),
            standing: g.state.to_string(),
            state: state.map(|(_, state)| *state),
            last_proven,
            age: last_proven.and_then(|then| self.now.checked_sub(then)),
        }
    }

    /// The command that mends it.
    fn remedy(&self, stock: &Stock, seen: Option<&Seen>) -> String {
        if let Some((_, remedy)) = stock.trouble(self.own) {
            return remedy;
        }
        let again = command!("f3skeys backup --to {}", &self.visit.peer.name);
        match seen {
            Some(seen) if seen.is_damaged_here() => {
                format!("`f3skeys verify --repair` here, then {again}")
            }
            Some(seen) if seen.is_only_otherwise() => {
                format!("{again}; what that leaves, `f3skeys verify --repair` there mends")
            }
            Some(_) => again,
            None => format!("see why it does not answer, then {again}"),
        }
    }
}

impl Copies {
    /// All of it, for people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        add_line!(text, "keys of {} on its peers", self.node);
        if let Some(why) = &self.unknown {
            add_line!(text, "  NOT KNOWN: {why}");
            text.push_str("  -> mend that: without the bytes here no proof can be checked\n");
            return text;
        }
        for key in &self.keys {
            add_line!(text, "{}", key.key);
            for copy in &key.peers {
                copy.write(&mut text);
            }
            if key.peers.is_empty() {
                text.push_str("  ON NO OTHER STORE\n  -> add the other nodes to `peers`\n");
            }
        }
        if self.keys.is_empty() {
            text.push_str("  it has none of its own\n");
        }
        let copies = || self.keys.iter().flat_map(|key| &key.peers);
        let well = copies().filter(|copy| copy.well).count();
        add_line!(text, "  {well} of {} copies proven", copies().count());
        text
    }
}

impl PeerCopy {
    fn write(&self, text: &mut String) {
        let state = if self.well {
            "proven"
        } else {
            "NOT AS IT SHOULD BE"
        };
        match self.why.as_str() {
            "" => add_line!(text, "  {}: {state}", self.peer),
            why => add_line!(text, "  {}: {state}: {why}", self.peer),
        }
        for generation in &self.generations {
            add_line!(text, "    {}", generation.words());
        }
        if !self.remedy.is_empty() {
            add_line!(text, "    -> {}", self.remedy);
        }
    }
}

impl GenerationCopy {
    fn words(&self) -> String {
        let print = self.fingerprint.get(..8).unwrap_or_default();
        let of = format!("generation {} {print} ({})", self.generation, self.standing);
        match self.state {
            Some(State::Proven) => format!("{of}: proven now"),
            Some(state) => format!("{of}: {state}; {}", self.last()),
            None => format!("{of}: not known; {}", self.last()),
        }
    }

    fn last(&self) -> String {
        match (self.last_proven, self.age) {
            (None, _) => "never proven".to_owned(),
            (Some(then), Some(age)) => format!("last proven {}, {} ago", date(then), span(age)),
            (Some(then), None) => format!(
                "last proven {}, which is still to come: a clock is wrong",
                date(then)
            ),
        }
    }
}

/// A length of time, in its largest unit.
fn span(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    match count {
        1 => format!("1 {unit}"),
        _ => format!("{count} {unit}s"),
    }
}
