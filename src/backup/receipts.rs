//! What peers have proven to hold, on which store, and when: `receipts/PEER.json` beside the reports.
//! Receipts are shown where a peer does not answer. They never stand for a proof: clocks are wrong after
//! power cuts, and a proof of yesterday says nothing of today. They only add to what is demanded: a peer
//! that has proven the present generation of a key must prove the next one, also when it is away.

use crate::key::Fingerprint;
use crate::marker;
use crate::names::{KeyName, NodeName};
use crate::sorted::{Map, Set};
use crate::store::state::Generation;
use crate::time::Clock;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The directory of the receipts, in that of the reports.
const DIRECTORY: &str = "receipts";
/// Whoever changes receipts holds it. No node is called so: a name has no blank.
const LOCK: &str = "the lock";
/// The longest that a run waits for another to have written them.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// That a peer has proven to hold a generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// The number of the generation.
    pub generation: u32,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// The identity of the peer's store.
    pub store: String,
    /// When, in seconds since 1970, by a clock that may have been wrong.
    pub proven: u64,
    /// The verb that asked.
    pub by: String,
}

/// The receipts of one peer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Receipts {
    keys: Map<KeyName, Vec<Receipt>>,
}

/// What a peer has proven of a key, just now.
pub struct Proven<'a> {
    /// The key.
    pub key: &'a KeyName,
    /// Its generations, as they are listed here.
    pub list: &'a [Generation],
    /// Those that are proven.
    pub prints: &'a Set<Fingerprint>,
    /// The identity of the peer's store.
    pub store: &'a str,
    /// When, in seconds since 1970.
    pub at: u64,
    /// The verb that asked.
    pub by: &'a str,
}

fn path(db: &Path, peer: &NodeName) -> PathBuf {
    db.join(DIRECTORY).join(format!("{peer}.json"))
}

impl Receipts {
    /// The receipts of this peer; empty when there are none.
    ///
    /// # Errors
    /// They cannot be read or understood.
    pub fn read(db: &Path, peer: &NodeName) -> io::Result<Receipts> {
        match fs::read(path(db, peer)) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Receipts::default()),
            Err(e) => Err(e),
        }
    }

    /// The receipt for a generation.
    pub fn of(&self, key: &KeyName, fingerprint: Fingerprint) -> Option<&Receipt> {
        let mut receipts = self.keys.get(key)?.iter();
        receipts.find(|receipt| receipt.fingerprint == fingerprint)
    }

    /// The generations of a key, each with the store that it was proven on.
    pub fn stores(&self, key: &KeyName) -> Vec<(Fingerprint, String)> {
        let receipts = self.keys.get(key).into_iter().flatten();
        let stores = receipts.map(|receipt| (receipt.fingerprint, receipt.store.clone()));
        stores.collect()
    }

    /// Every key, and when a generation of it was last proven.
    pub fn newest(&self) -> impl Iterator<Item = (&KeyName, u64)> {
        let keys = self.keys.iter();
        keys.filter_map(|(key, of)| Some((key, of.iter().map(|receipt| receipt.proven).max()?)))
    }

    /// Notes what was proven just now. Older receipts of generations that are still listed stay.
    pub fn note(&mut self, proven: &Proven) {
        let before = self.keys.remove(proven.key).unwrap_or_default();
        let of = |generation: &Generation| match proven.prints.contains(&generation.fingerprint) {
            true => Some(Receipt {
                generation: generation.generation,
                fingerprint: generation.fingerprint,
                store: proven.store.to_owned(),
                proven: proven.at,
                by: proven.by.to_owned(),
            }),
            false => {
                let mut before = before.iter();
                before
                    .find(|old| old.fingerprint == generation.fingerprint)
                    .cloned()
            }
        };
        let receipts: Vec<Receipt> = proven.list.iter().filter_map(of).collect();
        if !receipts.is_empty() {
            self.keys.insert(proven.key.clone(), receipts);
        }
    }

    /// Keeps them, durably.
    ///
    /// # Errors
    /// The directory could not be written; what was kept before is still there then.
    pub fn keep(&self, db: &Path, peer: &NodeName) -> io::Result<()> {
        marker::make_directory(&db.join(DIRECTORY))?;
        marker::replace(&path(db, peer), &serde_json::to_vec_pretty(self)?)
    }
}

/// Keeps a receipt of what a peer has proven. Receipts that cannot be understood are begun anew. A
/// backup and a rotation may note at once, without the node's lock: the receipts have one of their own.
///
/// # Errors
/// The directory could not be read or written, or another run keeps the lock.
pub fn note(db: &Path, clock: &dyn Clock, peer: &NodeName, proven: &Proven) -> io::Result<()> {
    let directory = db.join(DIRECTORY);
    marker::make_directory(&directory)?;
    let Some(_lock) = marker::lock_file(&directory.join(LOCK), clock, LOCK_WAIT)? else {
        return Err(io::Error::other("another f3skeys is writing receipts"));
    };
    let mut receipts = match Receipts::read(db, peer) {
        Err(e) if e.kind() == io::ErrorKind::InvalidData => Receipts::default(),
        read => read?,
    };
    receipts.note(proven);
    receipts.keep(db, peer)
}
