//! The records of promotions in this node's state directory: `promotion-GUID.json`, one for each dataset
//! that was ever promoted here. A stream can bring a property; it cannot bring a record.

use super::{Promotion, Recorded, is_reason, join};
use crate::digits;
use crate::marker;
use crate::names::DatasetName;
use crate::sorted::Map;
use crate::zfs::Dataset;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// No record is longer, in bytes.
const LONGEST: u64 = 16 << 10;

/// The record of a dataset's last promotion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The dataset's name when it was promoted, for people to see.
    pub dataset: DatasetName,
    /// The dataset's own number in its pool, which no other dataset gets.
    pub guid: u64,
    /// The promotion.
    pub promotion: Promotion,
    /// Whether it lasts.
    pub lasts: bool,
}

/// All records, by the guid of their dataset; or why they cannot be read.
pub type Records = Result<Map<u64, Recorded>, String>;

fn name(guid: u64) -> String {
    format!("promotion-{guid}.json")
}

/// The guid in the name of a record.
fn guid(name: &str) -> Option<u64> {
    let number = name.strip_prefix("promotion-")?.strip_suffix(".json")?;
    digits::number(number)
}

/// Reads all records of this directory. There are none where there is no directory.
pub fn all(db: &Path) -> Records {
    let failed = |e: io::Error| format!("{}: {e}", db.display());
    let entries = match fs::read_dir(db) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Map::new()),
        Err(e) => return Err(failed(e)),
    };
    let mut records = Map::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if let Some(guid) = entry.file_name().to_str().and_then(guid) {
            records.insert(guid, read(&entry.path(), guid));
        }
    }
    Ok(records)
}

fn read(path: &Path, guid: u64) -> Recorded {
    match understood(path, guid) {
        Ok(record) if record.lasts => Recorded::Lasts(record.promotion),
        Ok(record) => Recorded::Over(record.promotion.epoch),
        Err(e) => Recorded::Unreadable(format!("{}: {e}", path.display())),
    }
}

fn understood(path: &Path, guid: u64) -> io::Result<Record> {
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    file.take(LONGEST).read_to_end(&mut bytes)?;
    let record: Record = serde_json::from_slice(&bytes)?;
    let promotion = &record.promotion;
    match record.guid == guid && promotion.epoch > 0 && is_reason(&promotion.reason) {
        true => Ok(record),
        false => Err(io::Error::other("it says what f3skeys never wrote")),
    }
}

impl Record {
    /// Keeps it, durably.
    ///
    /// # Errors
    /// The directory could not be written; the record before is still there then.
    pub fn keep(&self, db: &Path) -> io::Result<()> {
        marker::make_directory(db)?;
        marker::replace(&self.path(db), &serde_json::to_vec_pretty(self)?)
    }

    /// The file of this record.
    pub fn path(&self, db: &Path) -> PathBuf {
        db.join(name(self.guid))
    }
}

/// Joins what the datasets' properties say with what this node has recorded.
pub fn join_all(datasets: &mut [Dataset], records: &Records) {
    for dataset in datasets {
        let recorded = match records {
            Ok(records) => records.get(&dataset.guid).cloned(),
            Err(why) => Some(Recorded::Unreadable(why.clone())),
        };
        let said = dataset.promotion.clone();
        dataset.promotion = join(said, recorded.unwrap_or(Recorded::Nothing));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_that_this_program_gives_is_one_of_a_record() {
        assert_eq!(guid(&name(u64::MAX)), Some(u64::MAX));
        for other in [
            "promotion-+5.json",
            "promotion--5.json",
            "promotion-.json",
            "promotion-5",
        ] {
            assert_eq!(guid(other), None, "{other}");
        }
    }
}
