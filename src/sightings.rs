//! When the snapshots that gates want fresh were first seen in this boot, by the kernel's monotonic
//! clock. That is a lower bound of their age which no change of the time of day moves.
//!
//! It is kept beside the markers, and not only in them: the marker of a gate that closes is removed.

use crate::gate::Newest;
use crate::marker;
use crate::names::DatasetName;
use crate::sorted::Map;
use crate::zfs::Past;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// How many of the newest snapshots of a dataset are remembered. When the newest is destroyed, the one
/// before it is still known for what it is.
const MOST: usize = 16;

/// What was seen in one boot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sightings {
    boot: String,
    /// For each dataset the numbers of its snapshots, and how many seconds after the boot each was first
    /// seen.
    seen: Map<DatasetName, Map<u64, u64>>,
}

fn path(run: &Path) -> PathBuf {
    run.join("snapshots")
}

impl Sightings {
    /// What was seen in the boot `boot`. What another boot saw counts for nothing, and what cannot be read
    /// is begun anew.
    pub fn read(run: &Path, boot: &str) -> Sightings {
        let bytes = marker::read_file(&path(run)).unwrap_or_default();
        let kept = bytes.and_then(|bytes| serde_json::from_slice::<Sightings>(&bytes).ok());
        kept.filter(|kept| kept.boot == boot)
            .unwrap_or_else(|| Sightings {
                boot: boot.to_owned(),
                seen: Map::new(),
            })
    }

    /// Takes in what a dataset has now, `now` seconds after the boot; gives its newest snapshot.
    pub fn see(&mut self, past: &Past, now: u64) -> Option<Newest> {
        let before = self.seen.remove(&past.dataset).unwrap_or_default();
        let snapshots = past.moments.iter().rev().filter(|moment| !moment.bookmark);
        let first = |guid: &u64| before.get(guid).copied().unwrap_or(now);
        let seen = snapshots.take(MOST);
        let seen: Map<u64, u64> = seen
            .map(|moment| (moment.guid, first(&moment.guid)))
            .collect();
        let newest = past.newest().map(|moment| Newest {
            name: moment.name.clone(),
            created: moment.created,
            seen: first(&moment.guid),
        });
        if !seen.is_empty() {
            self.seen.insert(past.dataset.clone(), seen);
        }
        newest
    }

    /// Keeps them for this boot.
    ///
    /// # Errors
    /// The run directory could not be written.
    pub fn keep(&self, run: &Path) -> io::Result<()> {
        if Sightings::read(run, &self.boot) == *self {
            return Ok(());
        }
        marker::make_directory(run)?;
        marker::replace(&path(run), &serde_json::to_vec(self)?)
    }
}
