//! What may be done about a key, and why not: decided purely, from [`Facts`].
//!
//! Every refusal names the thing and the way out. Nothing that could not be asked is taken as fine.

use super::copies;
use super::facts::{Facts, Own, PeerFacts, RootFacts, Seen};
use super::replicas;
use crate::config::Role;
use crate::key::Fingerprint;
use crate::names::DatasetName;
use crate::peers::Opens;
use crate::report::{Finding, Findings, Severity};
use crate::shell::{self, command};
use crate::store::state::{Generation, Standing};
use crate::store::work::Held;
use crate::stores;

/// Why a rotation may not begin; empty when it may.
pub fn start(facts: &Facts, take_over: bool) -> Vec<Finding> {
    let mut said = Findings::default();
    let Some(own) = common(facts, &mut said) else {
        return said.0;
    };
    let key = facts.key.as_str();
    match (own.with(Standing::Staged), own.with(Standing::Current)) {
        // All else that is wrong may come of that.
        (Some(staged), _) => {
            said.fail(
                key,
                &format!("a rotation to {} is open", staged.fingerprint),
                &format!(
                    "{} finishes it, `--abort` gives it up",
                    command!("f3skeys rotate {} --resume", key)
                ),
            );
            return said.0;
        }
        (None, Some(_)) if own.list.iter().any(|g| g.generation == u32::MAX) => {
            let what = "has a generation with the highest number there is";
            said.fail(key, what, ANOTHER_KEY);
        }
        (None, Some(_)) => {}
        (None, None) if take_over && own.list.is_empty() => {}
        (None, None) => said.fail(key, "the store has no current generation of it", NEW_KEY),
    }
    for root in facts.primaries() {
        before_start(own, root, take_over, &mut said);
    }
    before_change(facts, facts.primaries(), &mut said);
    enough_to_ask(facts, &mut said);
    said.0
}

const ANOTHER_KEY: &str =
    "make another with `f3skeys new-key`, name it in `roots`, and `rotate --take-over`";
const NEW_KEY: &str = "`f3skeys new-key`, or `--take-over` for a root that is loaded";

/// Why an open rotation may not go on; empty when it may. Roots that no key of the store opens go with
/// it when its note says so, or a person does now.
pub fn go_on(facts: &Facts, take_over: bool) -> Vec<Finding> {
    let mut said = Findings::default();
    let Some(own) = common(facts, &mut said) else {
        return said.0;
    };
    let Some(target) = own.target() else {
        let what = "the store has no generation of it to go on with";
        said.fail(facts.key.as_str(), what, "`f3skeys verify --repair`");
        return said.0;
    };
    let left = to_change(facts, target.fingerprint);
    let noted = matches!(&facts.record, Ok(Some(record)) if record.take_over);
    for root in &left {
        match &root.opens {
            Opens::By(_) => {}
            Opens::NoKey if take_over || noted => {}
            other => not_opened(root, other, &mut said),
        }
    }
    before_change(facts, left.iter(), &mut said);
    other_stores(facts, &mut said);
    said.0
}

/// The roots whose key is not the target yet. That of a replica is never changed here.
pub fn to_change(facts: &Facts, target: Fingerprint) -> Vec<RootFacts> {
    facts
        .primaries()
        .filter(|root| !root.is_opened_by(target))
        .cloned()
        .collect()
}

/// Why `target` may not become the key of any root yet; empty when enough other stores have proven
/// to hold it, and every one that opens a replica.
pub fn copies(facts: &Facts, target: Fingerprint) -> Vec<Finding> {
    let mut said = Findings::default();
    let resume = resume(facts);
    let with_replicas = facts.peers.iter().filter(|peer| !peer.replicas.is_empty());
    for peer in with_replicas.filter(|peer| !peer.proven.contains(&target)) {
        let what = format!(
            "has not proven to hold {target}, which {} there will need",
            names(&peer.replicas)
        );
        let remedy = format!("mend it; `{resume}` then goes on");
        said.fail(peer.name.as_str(), &what, &remedy);
    }
    said.0.extend(copies::proven(facts, target, &resume));
    said.0
}

fn resume(facts: &Facts) -> String {
    format!("f3skeys rotate {} --resume", shell::word(&facts.key))
}

/// What is to be known of the copies when every root has the target already: nothing is refused then,
/// since all that is left are the labels.
pub fn copies_at_the_end(facts: &Facts, target: Fingerprint) -> Vec<Finding> {
    let mut said = copies(facts, target);
    for finding in said.iter_mut().filter(|finding| refuses(finding)) {
        finding.severity = Severity::Warning;
    }
    said
}

/// Why a rotation may not be given up; empty when it may.
pub fn abort(facts: &Facts) -> Vec<Finding> {
    let mut said = Findings::default();
    let Some(own) = common(facts, &mut said) else {
        return said.0;
    };
    let key = facts.key.as_str();
    let resume = format!(
        "{} finishes it",
        command!("f3skeys rotate {} --resume", key)
    );
    let Some(staged) = own.with(Standing::Staged) else {
        said.fail(key, "no rotation is open", "there is nothing to give up");
        return said.0;
    };
    match &facts.record {
        Ok(Some(record)) if !record.changing => {}
        Ok(Some(_)) => said.fail(
            key,
            &format!(
                "a root's key may have been changed to {} already",
                staged.fingerprint
            ),
            &resume,
        ),
        Ok(None) => {
            let what = "nothing tells that no root's key was changed yet";
            said.fail(key, what, &resume);
        }
        Err(why) => {
            let what = format!("not known whether a root's key was changed: {why}");
            said.fail(key, &what, &resume);
        }
    }
    for root in &facts.roots {
        match &root.opens {
            Opens::By(print) if *print != staged.fingerprint => {}
            Opens::By(_) => {
                let what = format!("is opened by the staged {}", staged.fingerprint);
                said.fail(root.dataset.as_str(), &what, &resume);
            }
            // No key opens it, the staged one neither: it loses nothing.
            Opens::NoKey if root.role == Role::Replica => {}
            other => not_opened(root, other, &mut said),
        }
    }
    said.0
}

/// Why what is retained may not be retired; empty when it may.
pub fn retire(facts: &Facts) -> Vec<Finding> {
    let mut said = Findings::default();
    let Some(own) = common(facts, &mut said) else {
        return said.0;
    };
    let key = facts.key.as_str();
    let resume = command!("f3skeys rotate {} --resume", key);
    if own.with(Standing::Staged).is_some() {
        said.fail(key, "a rotation is open", &resume);
    }
    let Some(current) = own.with(Standing::Current) else {
        said.fail(key, "the store has no current generation of it", &resume);
        return said.0;
    };
    for root in facts.primaries() {
        match &root.opens {
            Opens::By(print) if *print == current.fingerprint => {}
            Opens::By(print) => said.fail(
                root.dataset.as_str(),
                &format!(
                    "is opened by {print}, not by the current {}",
                    current.fingerprint
                ),
                &resume,
            ),
            other => not_opened(root, other, &mut said),
        }
    }
    replicas::followed(facts, current, &mut said);
    other_stores(facts, &mut said);
    let retire = format!("f3skeys rotate {key} --retire");
    let print = current.fingerprint;
    said.0
        .extend(copies::instead_of_retained(facts, print, &retire));
    said.0
}

/// What holds for everything that changes a key: who may, and that the store is whole.
fn common<'a>(facts: &'a Facts, said: &mut Findings) -> Option<&'a Own> {
    let key = facts.key.as_str();
    if facts.key.owner() != facts.node.as_str() {
        let what = format!(
            "belongs to {}, and this is {}",
            facts.key.owner(),
            facts.node
        );
        said.fail(key, &what, "rotate it there: only its owner may");
        return None;
    }
    if facts.roots.is_empty() {
        let what = "no root of the configuration uses it";
        said.fail(key, what, "`f3skeys status` shows the roots and their keys");
    }
    if facts.primaries().next().is_none() {
        for root in facts.replicas() {
            let what =
                "is a replica, and no primary here uses its key: only a primary's is changed";
            let remedy = "rotate on the node of its primary; or correct `role` or `key` in the configuration";
            said.fail(root.dataset.as_str(), what, remedy);
        }
    }
    let own = match &facts.store {
        Ok(own) => own,
        Err(why) => {
            let what = format!("the key store could not be read: {why}");
            said.fail(
                key,
                &what,
                "make it readable (`f3skeys verify` says more), then try again",
            );
            return None;
        }
    };
    if own.plain {
        let what = "the store is a plain one, without fingerprints";
        said.fail(key, what, "`f3skeys adopt` first");
    }
    for damage in &own.damage {
        said.fail(
            &damage.path,
            &damage.what,
            "`f3skeys verify --repair` first",
        );
    }
    Some(own)
}

fn before_start(own: &Own, root: &RootFacts, take_over: bool, said: &mut Findings) {
    let current = own.with(Standing::Current);
    let remedy = "`f3skeys boot` says more; rotate once the current key opens it";
    match &root.opens {
        Opens::By(print) if current.is_some_and(|c| c.fingerprint == *print) => {}
        Opens::By(print) => {
            let what = format!("is opened by {print}, not by the current generation");
            said.fail(root.dataset.as_str(), &what, remedy);
        }
        Opens::NoKey if take_over => {}
        other => not_opened(root, other, said),
    }
}

fn not_opened(root: &RootFacts, opens: &Opens, said: &mut Findings) {
    let subject = root.dataset.as_str();
    match opens {
        Opens::CouldNotAsk(why) => {
            let what = format!("not known which key opens it: {why}");
            let remedy = format!(
                "{}, then try again",
                command!("zpool status {}", root.dataset.pool())
            );
            said.fail(subject, &what, &remedy);
        }
        _ => said.fail(
            subject,
            "no key of the store opens it",
            "`--take-over` gives a loaded root a key of the store, also with `--resume`",
        ),
    }
}

/// What must be so of roots whose key is to be changed now, and of their replicas.
fn before_change<'a>(
    facts: &'a Facts,
    roots: impl Iterator<Item = &'a RootFacts>,
    said: &mut Findings,
) {
    let mut any = false;
    for root in roots {
        any = true;
        match &root.seen {
            Ok(seen) => root_itself(root, seen, said),
            Err(why) => {
                let remedy = command!("zpool status {}", root.dataset.pool());
                said.fail(root.dataset.as_str(), why, &remedy);
            }
        }
    }
    if any {
        replicas::before_change(facts, said);
        for peer in &facts.peers {
            merged(facts, peer, said);
        }
    }
}

fn root_itself(root: &RootFacts, seen: &Seen, said: &mut Findings) {
    let name = root.dataset.as_str();
    if !seen.is_root {
        let what = "is no encryption root";
        return said.fail(name, what, "correct `roots` in the configuration");
    }
    if !seen.loaded {
        said.fail(name, "its key is not loaded", "`f3skeys boot`");
    }
    for clone in &seen.clones {
        let what = format!("{clone} is a clone that shares its key");
        let remedy = "destroy the clone, or send it into a dataset of its own";
        said.fail(name, &what, remedy);
    }
    for replica in &seen.replicas {
        let what =
            format!("{replica} is a replica that shares its key: changing it would write to it");
        let remedy = "receive it into an encryption root of its own (docs/replication.md)";
        said.fail(name, &what, remedy);
    }
    for (child, why) in &seen.sealed {
        let what = format!("{child} may not be unwrapped by its key: {why}");
        let remedy =
            "changing the key then makes the kernel panic; mount it, or find out why it cannot be";
        said.fail(name, &what, remedy);
    }
}

/// A peer that knows more of the key than its owner: something was lost here.
fn merged(facts: &Facts, peer: &PeerFacts, said: &mut Findings) {
    let (Ok(own), Ok(told)) = (&facts.store, &peer.told) else {
        return;
    };
    let is_known = |theirs: &Generation| {
        let mut own = own.list.iter();
        own.any(|g| g.fingerprint == theirs.fingerprint && g.generation == theirs.generation)
    };
    let is_gone = |held: &Held| held.generation.state == Standing::Pruned && !held.whole;
    let held = told.held.iter().filter(|held| !is_gone(held));
    for held in held.filter(|held| !is_known(&held.generation)) {
        let what = format!(
            "holds generation {} {}, which this store does not know",
            held.generation.generation, held.generation.fingerprint
        );
        let remedy =
            "bring a copy of that stick's files here first: something was lost on this one";
        said.fail(peer.name.as_str(), &what, remedy);
    }
}

/// Whether enough peers answer, before anything is made.
fn enough_to_ask(facts: &Facts, said: &mut Findings) {
    other_stores(facts, said);
    let found = copies::reachable(facts, &format!("f3skeys rotate {}", facts.key));
    for peer in &facts.peers {
        let is_named = found.iter().any(|one| one.subject == peer.name.as_str());
        if let (Err(why), true, false) = (&peer.told, peer.replicas.is_empty(), is_named) {
            let what = format!("does not answer: {why}");
            let remedy = "it gets no copy now; `--resume` brings it up to date later";
            said.push(Severity::Warning, peer.name.as_str(), &what, remedy);
        }
    }
    said.0.extend(found);
}

/// Peers that answer with another store than the one of their receipts.
fn other_stores(facts: &Facts, said: &mut Findings) {
    for peer in &facts.peers {
        if let Some((before, now)) = peer.other_store() {
            let (what, remedy) = stores::changed(before, now);
            said.warn(peer.name.as_str(), &what, remedy);
        }
    }
}

/// Names in a row.
pub(super) fn names(datasets: &[DatasetName]) -> String {
    let names: Vec<&str> = datasets.iter().map(DatasetName::as_str).collect();
    names.join(", ")
}

/// Whether a finding keeps something from being done.
pub fn refuses(finding: &Finding) -> bool {
    finding.severity >= Severity::Failure
}

#[cfg(test)]
mod tests;
