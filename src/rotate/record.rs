//! What a rotation keeps beside the reports while it is under way: whether a key may have been
//! changed yet, and where each root's key was looked for before. No key, and nothing that is needed
//! to finish it: for that, ZFS is asked.

use crate::marker;
use crate::names::{DatasetName, KeyName};
use crate::sorted::Map;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The note of one rotation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Whether `zfs change-key` may have been called. Written before the first call.
    pub changing: bool,
    /// Whether a person has asked that roots be taken over which no key of the store opens.
    pub take_over: bool,
    /// The `keylocation` of each root before.
    pub locations: Map<DatasetName, String>,
}

fn path(db: &Path, key: &KeyName) -> PathBuf {
    db.join(format!("rotation-{key}.json"))
}

impl Record {
    /// The note of this key's rotation; `None` when there is none.
    ///
    /// # Errors
    /// It cannot be read or understood.
    pub fn read(db: &Path, key: &KeyName) -> io::Result<Option<Record>> {
        match fs::read(path(db, key)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Keeps it, durably.
    ///
    /// # Errors
    /// The directory could not be written; the note before is still there then.
    pub fn keep(&self, db: &Path, key: &KeyName) -> io::Result<()> {
        marker::make_directory(db)?;
        marker::replace(&path(db, key), &serde_json::to_vec_pretty(self)?)
    }

    /// Forgets it: the rotation is over.
    ///
    /// # Errors
    /// The directory could not be written.
    pub fn forget(db: &Path, key: &KeyName) -> io::Result<()> {
        match fs::remove_file(path(db, key)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }
}
