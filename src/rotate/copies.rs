//! How many other stores must hold a generation before a key depends on it, and which stores do.
//! Decided purely, from [`Facts`].
//!
//! A copy counts by its store, not by the peer that answers: a stick that was carried from node to node
//! and a stick that was cloned are one copy each, however many peers answer with it.

use super::facts::{Facts, PeerFacts};
use crate::key::Fingerprint;
use crate::names::NodeName;
use crate::report::{Finding, Findings, Severity};
use crate::shell;
use crate::sorted::Set;
use crate::store::state::Standing;
use crate::stores::{Copy, counted};

/// How many stores, other than this node's own, must hold a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Those of every peer that has proven the present generation, and at least one.
    Every,
    /// This many: the configuration says so.
    Configured(usize),
    /// This many: a person says so, for this run.
    Said(usize),
}

impl Wanted {
    /// What a person said for this run goes before the configuration; 0 counts only when it is said for
    /// this run.
    pub fn of(said: Option<u32>, configured: Option<u32>) -> Wanted {
        let number = |number| usize::try_from(number).unwrap_or(usize::MAX);
        match (said, configured) {
            (Some(said), _) => Wanted::Said(number(said)),
            (None, None | Some(0)) => Wanted::Every,
            (None, Some(configured)) => Wanted::Configured(number(configured)),
        }
    }
}

/// Before anything is made: whether the stores that are to hold the new generation can be reached.
/// `again` is the command that was given.
pub fn reachable(facts: &Facts, again: &str) -> Vec<Finding> {
    let lacks = |peer: &PeerFacts| match &peer.told {
        Ok(told) if told.store.is_empty() => Some("has a store without an identity".to_owned()),
        Ok(_) => None,
        Err(why) => Some(format!("does not answer: {why}")),
    };
    judge(facts, &present(facts), &lacks, again)
}

/// Whether enough stores have proven to hold `target` for a root to depend on it.
pub fn proven(facts: &Facts, target: Fingerprint, again: &str) -> Vec<Finding> {
    holding(facts, target, &present(facts), again)
}

/// Whether enough stores have proven to hold `current` for boots to stop trying what is retained.
pub fn instead_of_retained(facts: &Facts, current: Fingerprint, again: &str) -> Vec<Finding> {
    let tried = |standing| matches!(standing, Standing::Current | Standing::Retained);
    holding(facts, current, &with(facts, tried), again)
}

fn holding(
    facts: &Facts,
    target: Fingerprint,
    present: &Set<Fingerprint>,
    again: &str,
) -> Vec<Finding> {
    let lacks = |peer: &PeerFacts| match (peer.proven.contains(&target), &peer.told) {
        (true, _) => None,
        (false, Ok(_)) => Some(format!("has not proven to hold {target}")),
        (false, Err(why)) => Some(format!("has not proven to hold {target}: {why}")),
    };
    judge(facts, present, &lacks, again)
}

/// The generation that is current on this store: what the roots are opened by before a rotation.
fn present(facts: &Facts) -> Set<Fingerprint> {
    with(facts, |standing| standing == Standing::Current)
}

fn with(facts: &Facts, meant: impl Fn(Standing) -> bool) -> Set<Fingerprint> {
    let list = facts.store.iter().flat_map(|own| &own.list);
    let meant = list.filter(|generation| meant(generation.state));
    meant.map(|generation| generation.fingerprint).collect()
}

/// Holds the stores that lack nothing against those that are wanted. A finding that refuses is a
/// failure; what was allowed in words is a warning.
fn judge(
    facts: &Facts,
    present: &Set<Fingerprint>,
    lacks: &dyn Fn(&PeerFacts) -> Option<String>,
    again: &str,
) -> Vec<Finding> {
    let mut said = Findings::default();
    let count = count(facts, lacks, &mut said);
    let (names, wanted) = needed(facts, present);
    let remedy = way_out(count, again);
    for peer in facts.peers.iter().filter(|peer| peer.has_proven(present)) {
        if let Some(what) = lacks(peer) {
            let what = format!("{what}{}", before(peer, present));
            let severity = match names.contains(&&peer.name) {
                true => Severity::Failure,
                false => Severity::Warning,
            };
            said.push(severity, peer.name.as_str(), &what, &remedy);
        }
    }
    if count < wanted {
        let what = format!(
            "{count} of the {wanted} other stores that {} can be counted on",
            why(facts.wanted)
        );
        said.fail(facts.key.as_str(), &what, &remedy);
    }
    if count == 0 && wanted == 0 {
        said.0.push(only_copy(facts));
    }
    said.0
}

/// The peers that must lack nothing, and how many stores must.
fn needed<'a>(facts: &'a Facts, present: &Set<Fingerprint>) -> (Vec<&'a NodeName>, usize) {
    match facts.wanted {
        Wanted::Configured(number) | Wanted::Said(number) => (Vec::new(), number),
        Wanted::Every if facts.peers.is_empty() => (Vec::new(), 0),
        Wanted::Every => {
            let proven = facts.peers.iter().filter(|peer| peer.has_proven(present));
            let names: Vec<&NodeName> = proven.map(|peer| &peer.name).collect();
            let wanted = names.len().max(1);
            (names, wanted)
        }
    }
}

/// How many stores lack nothing, each counted once.
fn count(
    facts: &Facts,
    lacks: &dyn Fn(&PeerFacts) -> Option<String>,
    said: &mut Findings,
) -> usize {
    let own = facts.store.as_ref().map_or("", |own| own.id.as_str());
    let well = facts.peers.iter().filter(|peer| lacks(peer).is_none());
    let answers = well.filter_map(|peer| Some((&peer.name, peer.store()?)));
    let copies = counted(own, answers);
    for (peer, store, copy) in &copies {
        if let Some((what, remedy)) = copy.complaint(store) {
            said.warn(peer.as_str(), &what, remedy);
        }
    }
    copies
        .iter()
        .filter(|(.., copy)| *copy == Copy::Counts)
        .count()
}

/// That a peer held what is replaced, and on which store.
fn before(peer: &PeerFacts, present: &Set<Fingerprint>) -> String {
    match &peer.receipts {
        Err(why) => format!("; its receipts cannot be read, so it may hold the present one: {why}"),
        Ok(_) => match peer.held_on(present) {
            Some(store) => format!("; it held the present one on store {store}"),
            None => String::new(),
        },
    }
}

fn why(wanted: Wanted) -> &'static str {
    match wanted {
        Wanted::Every => "hold the present one (at least one)",
        Wanted::Configured(_) => "`min_copies` wants",
        Wanted::Said(_) => "`--copies` wants",
    }
}

fn way_out(count: usize, again: &str) -> String {
    let again = format!("{again} --copies");
    let again = shell::command_on(&again, [count.to_string()]);
    format!("bring the peers up, each with its own stick; or, in words, for this run: {again}")
}

/// That there is one copy, which is not refused: without peers, or in words.
fn only_copy(facts: &Facts) -> Finding {
    let key = facts.key.as_str();
    let what = "will lie on this node's store alone: there is one copy";
    match facts.peers.is_empty() {
        true => Finding::new(
            Severity::Note,
            key,
            &format!("{what} (no peer is configured)"),
            "",
        ),
        false => Finding::new(
            Severity::Warning,
            key,
            what,
            "`f3skeys backup`, once a peer answers",
        ),
    }
}

#[cfg(test)]
mod tests;
