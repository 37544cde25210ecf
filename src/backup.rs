//! `f3skeys backup`: every key of this node on the store of every peer, proven over the bytes that are
//! on it. A peer that holds all of it already is changed in nothing. What a peer does, or does not, is
//! no matter of the others, and none of it is done under this node's lock.

pub mod copies;
pub mod receipts;
mod stock;
mod visit;

pub use visit::State;

use crate::config::{Config, Peer};
use crate::exit::Fault;
use crate::names::NodeName;
use crate::pass::{Node, Pass, millis};
use crate::peers::Talk;
use crate::report::{Phase, Report, Severity};
use crate::shell::command;
use crate::sorted;
use crate::stores::{self, Copy, counted};
use crate::time::Deadline;
use std::cmp::Ordering;
use std::time::Duration;
use stock::Stock;
use visit::{Round, Seen, Visit};

/// The longest that all of it may take.
const WHOLE: Duration = Duration::from_secs(3600);

/// To whom, and which keys.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// These peers; all, when none is named.
    pub to: &'a [NodeName],
    /// Also the keys of other nodes, to a peer whose store is lost and which is open for that.
    pub rebuild: bool,
}

/// The peers that are meant.
///
/// # Errors
/// One is named that is none.
pub fn meant<'a>(config: &'a Config, to: &[NodeName]) -> Result<Vec<&'a Peer>, String> {
    let is_peer = |name: &NodeName| config.peers.iter().any(|peer| peer.name == *name);
    if let Some(other) = to.iter().find(|name| !is_peer(name)) {
        return Err(format!(
            "{other} is not one of the peers of {}",
            config.node
        ));
    }
    let peers = config.peers.iter();
    Ok(peers
        .filter(|peer| to.is_empty() || to.contains(&peer.name))
        .collect())
}

/// Does it. `progress` is told each change on a peer when it is made.
pub fn backup(node: Node, config: &Config, scope: Scope, progress: &dyn Fn(&str)) -> Report {
    let mut pass = Pass::begin("backup", node, config);
    pass.deadline = Deadline::after(pass.clock(), WHOLE);
    match meant(config, scope.to) {
        Ok(peers) => run(&mut pass, &peers, scope, progress),
        Err(why) => {
            let report = &mut pass.report;
            let peers: Vec<&str> = config.peers.iter().map(|peer| peer.name.as_str()).collect();
            let remedy = match peers.is_empty() {
                true => "add it to `peers`".to_owned(),
                false => format!("name one of {}", peers.join(", ")),
            };
            report.find(Severity::Failure, "peers", &why, &remedy);
            report.fail(Fault::Configuration);
        }
    }
    pass.finish()
}

fn run(pass: &mut Pass, peers: &[&Peer], scope: Scope, progress: &dyn Fn(&str)) {
    let own = pass.config.node.as_str();
    let stock::Own { store, keys } =
        match stock::read(pass, |key| scope.rebuild || key.owner() == own) {
            Ok(own) => own,
            Err((fault, why)) => return no_stock(pass, fault, &why),
        };
    let mut stock = keys;
    tell_unknown(pass, &mut stock);
    if peers.is_empty() {
        let remedy = "add the other nodes to `peers`";
        let what = "no peer is configured, so its keys are on no other store";
        pass.report.find(Severity::Failure, own, what, remedy);
        return pass.report.fail(Fault::Unavailable);
    }
    if stock.is_empty() {
        let what = "has no key of its own on its store";
        pass.report.find(Severity::Note, own, what, "");
    }
    let round = Round {
        config: pass.config,
        system: pass.node.system,
        db: pass.node.db,
        whole: pass.deadline,
        verb: "backup",
        mends: true,
        progress,
    };
    let visits = ask_all(pass.node, round, peers, &stock);
    tell_stores(pass, &store, &visits);
    for visit in visits {
        tell(pass, visit, stock.len(), scope);
    }
}

/// Asks every peer about every key. Keys stay where they lie.
fn ask_all<'k>(
    node: Node,
    round: Round<'k>,
    peers: &[&'k Peer],
    stock: &'k [Stock],
) -> Vec<Visit<'k>> {
    let visit = |peer: &&'k Peer| {
        let mut for_peer: Vec<&Stock> = stock.iter().collect();
        sorted::sort_by(&mut for_peer, |a, b| {
            first(a, b, &peer.name, &round.config.node)
        });
        Visit::new(round, peer, for_peer.into_iter())
    };
    let mut visits: Vec<Visit> = peers.iter().map(visit).collect();
    let talks = visits.iter_mut().map(|visit| visit as &mut dyn Talk<'k>);
    let mut talks: Vec<_> = talks.collect();
    let clock = node.system.clock();
    clock.doing(&format!("{}: peers", round.verb));
    node.peers.talk(&mut talks);
    clock.doing("");
    visits
}

/// A node that has lost its store needs its own keys first, and this node's next.
fn first(a: &Stock, b: &Stock, peer: &NodeName, own: &NodeName) -> Ordering {
    let rank = |stock: &Stock| match stock.key.owner() {
        owner if owner == peer.as_str() => 0,
        owner if owner == own.as_str() => 1,
        _ => 2,
    };
    rank(a).cmp(&rank(b)).then_with(|| a.key.cmp(&b.key))
}

fn no_stock(pass: &mut Pass, fault: Fault, why: &str) {
    let what = format!("this node's key store could not be read: {why}");
    let remedy = "mend that, then `f3skeys backup`; nothing was sent";
    let subject = format!("key device {}", pass.config.store.wanted);
    pass.report.find(Severity::Failure, &subject, &what, remedy);
    pass.report.fail(fault);
}

/// Takes out keys of which no peer can be told what they are.
fn tell_unknown(pass: &mut Pass, stock: &mut Vec<Stock>) {
    stock.retain(|stock| {
        let Some((what, remedy)) = stock.trouble(&pass.config.node) else {
            return true;
        };
        let key = stock.key.as_str();
        pass.report.find(Severity::Failure, key, what, &remedy);
        pass.report.fail(Fault::Unavailable);
        false
    });
}

/// Tells what came of a visit.
fn tell(pass: &mut Pass, visit: Visit, keys: usize, scope: Scope) {
    let peer = &visit.peer.name;
    let well = visit.seen.iter().filter(|seen| seen.is_well()).count();
    pass.report.phases.push(Phase {
        name: peer.as_str().into(),
        result: match &visit.gone {
            None => format!("{well} of {keys} keys proven"),
            Some(_) => format!("{well} of {keys} keys proven; NOT ALL ASKED"),
        }
        .into(),
        millis: millis(visit.took),
    });
    visit.changed.iter().for_each(|c| pass.report.change(c));
    if let Some(why) = &visit.no_receipt {
        let db = pass.node.db.display().to_string();
        let what = format!("a receipt could not be kept: {why}");
        let remedy = "make the directory writable for root";
        pass.report.find(Severity::Warning, &db, &what, remedy);
    }
    let again = command(peer, scope);
    if let Some(why) = &visit.gone {
        let what = format!("{} of {keys} keys are not proven: {why}", keys - well);
        let remedy = format!("mend that, then {again}");
        let subject = peer.as_str();
        pass.report.find(Severity::Failure, subject, &what, &remedy);
    }
    for seen in visit.seen.iter().filter(|seen| !seen.is_well()) {
        let (what, remedy) = complaint(seen, &again);
        let subject = peer.as_str();
        pass.report.find(Severity::Failure, subject, &what, &remedy);
    }
    if well < keys {
        pass.report.fail(Fault::Unavailable);
    }
}

/// Tells whose store is no copy of its own, and whose is another one than before.
fn tell_stores(pass: &mut Pass, own: &str, visits: &[Visit]) {
    for (peer, store, copy) in counted(own, answers(visits)) {
        if let Some((what, remedy)) = no_copy(copy, store) {
            let report = &mut pass.report;
            report.find(Severity::Failure, peer.as_str(), &what, remedy);
            report.fail(Fault::Unavailable);
        }
    }
    for visit in visits {
        if let Some((before, now)) = &visit.other_store {
            let (what, remedy) = stores::changed(before, now);
            let peer = visit.peer.name.as_str();
            pass.report.find(Severity::Warning, peer, &what, remedy);
        }
    }
}

/// With which store each peer answers.
fn answers<'v>(visits: &'v [Visit]) -> impl Iterator<Item = (&'v NodeName, &'v str)> {
    visits
        .iter()
        .filter_map(|visit| Some((&visit.peer.name, visit.store()?)))
}

/// Why what a peer has proven is no copy of its own. That nothing is proven without an identity is
/// complained of with each key.
fn no_copy(copy: Copy, store: &str) -> Option<(String, &'static str)> {
    match copy {
        Copy::Nameless => None,
        other => other.complaint(store),
    }
}

/// The command that does it again for this peer.
fn command(peer: &NodeName, scope: Scope) -> String {
    match scope.rebuild {
        true => command!("f3skeys backup --to {} --rebuild", peer),
        false => command!("f3skeys backup --to {}", peer),
    }
}

/// What is wrong with a key on a peer, and what to do.
fn complaint(seen: &Seen, again: &str) -> (String, String) {
    let mut what = format!("{}: {}", seen.key, seen.lacking());
    if let Some(why) = &seen.refused {
        what += &format!("; {why}");
    }
    let remedy = match (seen.is_damaged_here(), &seen.refused) {
        (true, _) => format!("`f3skeys verify --repair` here, then {again}"),
        (false, Some(_)) => format!("mend that, then {again}"),
        (false, None) => format!("`f3skeys verify --repair` there, then {again}"),
    };
    (what, remedy)
}
