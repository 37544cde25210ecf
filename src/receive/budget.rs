//! How often a peer may have this node's store changed: so many times in a row, and as often in a day.
//! Kept in the state directory, beside the peer's own audit log. What a person has opened in a rebuild
//! counts as well.

use super::Refused;
use super::ledger::Allowance;
use crate::audit::log;
use crate::exit::{Fault, REFUSED};
use crate::marker;
use crate::names::NodeName;
use crate::pass::Node;
use crate::store::MOST_OF_ONE_OWNER;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Changes that a peer may make in a row: as many as a rotation of all the keys needs that one owner may
/// have here.
pub const IN_A_ROW: u32 = 4 * MOST_OF_ONE_OWNER as u32;
/// After that, one in this time: as many again in a day.
pub const EACH: Duration = Duration::from_secs(24 * 3600 / IN_A_ROW as u64);
/// The file.
const FILE: &str = "changes.json";

/// Counts a change before it is made.
///
/// # Errors
/// The peer has changed too much, or this cannot be written down; the change is not to be made then.
pub(super) fn spend(node: Node, from: &NodeName) -> Result<(), Refused> {
    let now = node.system.wall();
    let taken = with(node, from, |allowance| allowance.take(IN_A_ROW, EACH, now));
    let taken = taken.map_err(|e| {
        let what = format!("{}: {e}", path(node, from).display());
        Refused::new(Fault::System.status(), what)
    })?;
    taken.map_err(|wait| {
        let what = format!(
            "{from} has had this store changed {IN_A_ROW} times in a row; the next change is taken in {wait} s"
        );
        Refused::new(REFUSED, what)
    })
}

/// Nothing was changed after all. A count that stays is too high by one, and mends itself.
pub(super) fn give_back(node: Node, from: &NodeName) {
    let _ = with(node, from, |allowance| {
        allowance.left = allowance.left.saturating_add(1).min(IN_A_ROW);
    });
}

/// Under the node's lock, which whoever writes on the store has. A count that cannot be read is taken for
/// one with none left: the peer waits for the next change as after its last one, and is not locked out.
fn with<T>(node: Node, from: &NodeName, job: impl FnOnce(&mut Allowance) -> T) -> io::Result<T> {
    let path = path(node, from);
    let now = node.system.wall();
    let mut allowance = match marker::read_file(&path)? {
        Some(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|_| Allowance::empty(now)),
        None => Allowance::full(IN_A_ROW, now),
    };
    let done = job(&mut allowance);
    if let Some(directory) = path.parent() {
        marker::make_directory(directory)?;
    }
    marker::replace(&path, &serde_json::to_vec(&allowance)?)?;
    Ok(done)
}

fn path(node: Node, from: &NodeName) -> PathBuf {
    log::of_peer(node.db, from).join(FILE)
}
