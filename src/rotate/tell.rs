//! A rotation in words.

use super::decide;
use super::facts::{Facts, Own, PeerFacts};
use crate::config::Role;
use crate::foreign::add_line;
use crate::peers::Opens;
use crate::report::{Finding, Severity};
use crate::shell::command;
use crate::store::state::{Generation, Standing};
use crate::stores;

/// How a key stands, everywhere.
pub fn status(facts: &Facts) -> String {
    let mut text = String::new();
    add_line!(text, "{} on {}", facts.key, facts.node);
    match &facts.store {
        Ok(own) => generations(&mut text, own),
        Err(why) => {
            add_line!(text, "  the key store could not be read: {why}");
        }
    }
    for root in &facts.roots {
        let role = match root.role {
            Role::Primary => "",
            Role::Replica => " (a replica)",
        };
        add_line!(text, "  {}{role}: {}", root.dataset, opens(&root.opens));
    }
    for peer in &facts.peers {
        tell_peer(&mut text, peer);
    }
    let staged = facts
        .store
        .as_ref()
        .ok()
        .and_then(|own| own.with(Standing::Staged));
    let key = &facts.key;
    let retained = facts
        .store
        .as_ref()
        .is_ok_and(|own| own.with(Standing::Retained).is_some());
    match (staged, retained) {
        (Some(_), _) => add_line!(
            text,
            "  a rotation is open: {} finishes it",
            command!("f3skeys rotate {} --resume", key)
        ),
        (None, true) => add_line!(
            text,
            "  no rotation is open; once all is opened by the current generation, {}",
            command!("f3skeys rotate {} --retire", key)
        ),
        (None, false) => add_line!(text, "  no rotation is open"),
    }
    text
}

fn generations(text: &mut String, own: &Own) {
    for generation in &own.list {
        let whole = match own.whole.contains(&generation.fingerprint) {
            true => "",
            false if generation.state == Standing::Pruned => "",
            false => ", DAMAGED",
        };
        add_line!(
            text,
            "  generation {} {}: {}{whole}",
            generation.generation,
            generation.fingerprint,
            generation.state
        );
    }
}

fn opens(opens: &Opens) -> String {
    match opens {
        Opens::By(print) => format!("opened by {print}"),
        Opens::NoKey => "OPENED BY NO KEY OF THE STORE".to_owned(),
        Opens::CouldNotAsk(why) => format!("could not be asked: {why}"),
    }
}

fn tell_peer(text: &mut String, peer: &PeerFacts) {
    let told = match &peer.told {
        Ok(told) => told,
        Err(why) => {
            add_line!(text, "  {}: does not answer: {why}", peer.name);
            return;
        }
    };
    let proven: Vec<String> = peer.proven.iter().map(ToString::to_string).collect();
    let holds = match proven.is_empty() {
        true => "holds none of it".to_owned(),
        false => format!("holds {} on store {}, proven", proven.join(" "), told.store),
    };
    add_line!(text, "  {}: {holds}", peer.name);
    if let Some((before, now)) = peer.other_store() {
        let (what, _) = stores::changed(before, now);
        add_line!(text, "  {}: {what}", peer.name);
    }
    for root in &told.roots {
        add_line!(
            text,
            "  {} on {}: {}",
            root.dataset,
            peer.name,
            opens(&root.opens)
        );
    }
}

/// What a rotation would do.
pub fn plan(facts: &Facts) -> String {
    let mut text = String::new();
    add_line!(text, "f3skeys rotate {} on {} would", facts.key, facts.node);
    let mut step = |words: String| {
        add_line!(text, "  {words}");
    };
    step("make a new generation and stage it on this node's store".to_owned());
    for peer in facts.peers.iter().filter(|peer| peer.told.is_ok()) {
        let why = match peer.replicas.is_empty() {
            true => String::new(),
            false => format!(": it will need it for {}", decide::names(&peer.replicas)),
        };
        step(format!("have {} hold it, and prove that{why}", peer.name));
    }
    for root in facts.primaries() {
        step(format!("change the key of {}", root.dataset));
        let seen = root.seen.as_ref().ok();
        if let Some(location) = seen.and_then(|seen| seen.location.as_deref())
            && location != "prompt"
        {
            step(format!("put back its keylocation={location}"));
        }
    }
    for root in facts.replicas() {
        step(format!(
            "leave {} alone: a replica gets the key with the next stream that it receives",
            root.dataset
        ));
    }
    step("make it the current generation, here and on the peers".to_owned());
    step("retain the old one; nothing is removed".to_owned());
    text
}

/// A rotation is no revocation: what can still be opened with the key that was replaced.
pub fn what_the_old_opens(facts: &Facts, list: &[Generation]) -> Vec<Finding> {
    let old = list.iter().rev().find(|g| g.state == Standing::Retained);
    let Some(old) = old else {
        return Vec::new();
    };
    let key = facts.key.as_str();
    let print = old.fingerprint;
    let mut notes = vec![format!(
        "{print} is replaced, not revoked: whoever has it and a copy of a pool from before can read \
         all that was written until then, and with its wrapped key all that is written later"
    )];
    for root in facts.replicas() {
        notes.push(format!(
            "{print} opens {} until that has received what is sent from now on",
            root.dataset
        ));
    }
    for peer in facts.peers.iter().filter(|peer| !peer.replicas.is_empty()) {
        notes.push(format!(
            "{print} opens {} on {} until that has received what is sent from now on",
            decide::names(&peer.replicas),
            peer.name
        ));
    }
    notes.push(format!(
        "{print} still opens pool checkpoints, split mirrors and saved streams from before, and it \
         stays on this stick, on those of the peers, and on every older copy"
    ));
    let note = |what: String| Finding::new(Severity::Note, key, &what, "");
    notes.into_iter().map(note).collect()
}
