//! What a rotation asks of replicas, here and on the peers: decided purely, from [`Facts`].
//!
//! A replica gets the new key with a stream that it receives, never by a change of its own. So its
//! layout must stand that before a key is changed, and it must have been seen to open with the new key
//! before boots stop trying the old one.

use super::decide::names;
use super::facts::{Facts, PeerFacts, RootFacts};
use crate::names::DatasetName;
use crate::peers::Opens;
use crate::report::{Findings, Severity};
use crate::shell::command;
use crate::store::state::Generation;

/// What must be so of every replica before the key of its primary is changed.
pub(super) fn before_change(facts: &Facts, said: &mut Findings) {
    for root in facts.replicas() {
        here(root, said);
    }
    for peer in facts.peers.iter().filter(|peer| !peer.replicas.is_empty()) {
        there(peer, said);
    }
}

/// A replica on this node. Both keys lie on the store here, so it may be opened by any of them.
fn here(root: &RootFacts, said: &mut Findings) {
    let name = root.dataset.as_str();
    let seen = match &root.seen {
        Ok(seen) => seen,
        Err(why) => {
            let what = format!("is a replica here, and its layout is not known: {why}");
            let remedy = format!(
                "import its pool or mend it ({}), then try again",
                command!("zpool status {}", root.dataset.pool())
            );
            return said.fail(name, &what, &remedy);
        }
    };
    if !seen.is_root {
        let what = "is a replica here, and no encryption root";
        return said.fail(name, what, "correct `roots` in the configuration");
    }
    for child in &seen.inheriting {
        inherits(name, child, said);
    }
    for (child, why) in &seen.sealed {
        let what = format!("not known whether {child} below it inherits its key: {why}");
        let remedy = "`f3skeys doctor` says more; mend that, then try again";
        said.fail(name, &what, remedy);
    }
    let what = match &root.opens {
        Opens::By(_) => return,
        Opens::NoKey => "is a replica here that no key of the store opens".to_owned(),
        Opens::CouldNotAsk(why) => {
            format!("is a replica here, and not known which key opens it: {why}")
        }
    };
    let remedy = "nothing is changed about it; `--retire` waits until it has been seen to open";
    said.push(Severity::Warning, name, &what, remedy);
}

fn there(peer: &PeerFacts, said: &mut Findings) {
    let told = match &peer.told {
        Ok(told) => told,
        Err(why) => {
            let what = format!("holds {} and does not answer: {why}", names(&peer.replicas));
            let remedy = "bring it up, its stick in; `f3skeys receive` must be its forced command";
            return said.fail(peer.name.as_str(), &what, remedy);
        }
    };
    for replica in &peer.replicas {
        let subject = format!("{replica} on {}", peer.name);
        let Some(root) = told.roots.iter().find(|root| root.dataset == *replica) else {
            let what = "is no root of that node's configuration with this key, so no boot there would open it";
            said.fail(&subject, what, "list it in `roots` there, as a replica");
            continue;
        };
        for child in &root.inheriting {
            inherits(&subject, child, said);
        }
    }
}

/// A replica that inherits its key breaks for good with the first stream after a change.
fn inherits(replica: &str, child: &DatasetName, said: &mut Findings) {
    let what = format!(
        "{child} below it inherits its key, as `zfs receive` of a `-R` stream leaves it: it could never be mounted again"
    );
    let remedy = "replicate it once more in a stream of its own (docs/replication.md)";
    said.fail(replica, &what, remedy);
}

/// Names every replica that has not been seen to open with the current generation.
pub(super) fn followed(facts: &Facts, current: &Generation, said: &mut Findings) {
    for root in facts.replicas() {
        if let Some(what) = behind(&root.opens, current, "here") {
            said.fail(root.dataset.as_str(), &what, RECEIVE);
        }
    }
    for peer in &facts.peers {
        for replica in &peer.replicas {
            followed_there(peer, replica, current, said);
        }
    }
}

fn followed_there(
    peer: &PeerFacts,
    replica: &DatasetName,
    current: &Generation,
    said: &mut Findings,
) {
    let subject = format!("{replica} on {}", peer.name);
    let told = match &peer.told {
        Ok(told) => told,
        Err(why) => {
            let what = format!("has not been seen to open: {why}");
            let remedy = "bring the node up, its stick in, and try again";
            return said.fail(&subject, &what, remedy);
        }
    };
    let root = told.roots.iter().find(|root| root.dataset == *replica);
    let what = match root {
        Some(root) => behind(&root.opens, current, "there"),
        None => Some("is no root of that node's configuration with this key".to_owned()),
    };
    if let Some(what) = what {
        said.fail(&subject, &what, RECEIVE);
    }
}

const RECEIVE: &str = "have it receive what was sent since the rotation, then try again";

/// Why a replica may still need what the current generation replaced.
fn behind(opens: &Opens, current: &Generation, place: &str) -> Option<String> {
    match opens {
        Opens::By(print) if *print == current.fingerprint => None,
        Opens::By(print) => Some(format!("is still opened by {print}")),
        Opens::NoKey => Some(format!("is opened by no key of the store {place}")),
        Opens::CouldNotAsk(why) => Some(format!("could not be asked: {why}")),
    }
}
