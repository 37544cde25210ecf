//! One dataset as ZFS tells of it, and how it is handed from a worker to this process. Pure.
//!
//! A value may hold any bytes: a stream can bring tabs, line ends and whole forged rows. So a value is
//! never part of a text that is split again; it has a length.

use crate::flat::{Flat, Row, Unfit, put_all, take_all};
use crate::os::JAILED_PROPERTY;
use crate::promotion;

/// The properties that are asked for, in the order of [`Entry::values`].
pub const PROPERTIES: [&str; 19] = [
    "type",
    "guid",
    "encryptionroot",
    "keystatus",
    "keyformat",
    "keylocation",
    "readonly",
    "setuid",
    "devices",
    "exec",
    "canmount",
    "mountpoint",
    "sharenfs",
    "sharesmb",
    "mounted",
    "written",
    "origin",
    JAILED_PROPERTY,
    promotion::PROPERTY,
];

/// The value of a property and where it comes from, in the words of `zfs get -p`; `-` where there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// The value.
    pub value: Vec<u8>,
    /// The column `source`.
    pub source: Vec<u8>,
}

impl Value {
    /// What `zfs get` says of a property that has no value.
    pub fn none() -> Value {
        Value {
            value: b"-".to_vec(),
            source: b"-".to_vec(),
        }
    }
}

/// A dataset and the values of [`PROPERTIES`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: Vec<u8>,
    /// The values. Where there are fewer or more of them than properties, nothing of the dataset is known.
    pub values: Vec<Value>,
}

impl Flat for Value {
    fn put(&self, out: &mut Vec<u8>) -> Result<(), Unfit> {
        self.value.put(out)?;
        self.source.put(out)
    }
    fn take(from: &mut Row) -> Result<Self, Unfit> {
        Ok(Value {
            value: Flat::take(from)?,
            source: Flat::take(from)?,
        })
    }
}

impl Flat for Entry {
    fn put(&self, out: &mut Vec<u8>) -> Result<(), Unfit> {
        self.name.put(out)?;
        put_all(&self.values, PROPERTIES.len(), out)
    }
    fn take(from: &mut Row) -> Result<Self, Unfit> {
        Ok(Entry {
            name: Flat::take(from)?,
            values: take_all(from, PROPERTIES.len())?,
        })
    }
}

/// Writes datasets one behind the other. One that is larger than a dataset can be is written without its
/// values, so that nothing of it is known and all of the others.
pub fn write(entries: impl IntoIterator<Item = Entry>) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in entries {
        let before = out.len();
        if entry.put(&mut out).is_err() {
            out.truncate(before);
            let bare = Entry {
                name: entry.name,
                values: Vec::new(),
            };
            // A name that is too long as well is none that ZFS has.
            if bare.put(&mut out).is_err() {
                out.truncate(before);
            }
        }
    }
    out
}

/// Reads what [`write()`] has written.
///
/// # Errors
/// These bytes are nothing that it writes.
pub fn read(bytes: &[u8]) -> Result<Vec<Entry>, Unfit> {
    let mut row = Row::of(bytes);
    let mut entries = Vec::new();
    while !row.is_empty() {
        entries.push(Entry::take(&mut row)?);
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, value: &[u8]) -> Entry {
        let value = Value {
            value: value.to_vec(),
            source: b"local".to_vec(),
        };
        Entry {
            name: name.as_bytes().to_vec(),
            values: vec![value; PROPERTIES.len()],
        }
    }

    #[test]
    fn datasets_are_handed_over_as_they_are_whatever_bytes_their_values_hold() {
        let hostile = [
            &b""[..],
            b"\t",
            b"\n",
            b"a\tb\nc\t-\n",
            b"\xff\xfe",
            &[0; 300],
        ];
        let entries: Vec<Entry> = hostile.map(|value| entry("z/a", value)).into();
        let bytes = write(entries.clone());
        assert_eq!(read(&bytes), Ok(entries));
        assert_eq!(read(&[]), Ok(Vec::new()));
    }

    #[test]
    fn what_is_cut_anywhere_or_has_more_than_it_may_is_refused() {
        let bytes = write([entry("z/a", b"on")]);
        for cut in 1..bytes.len() {
            assert!(read(&bytes[..cut]).is_err(), "{cut}");
        }
        assert!(read(&[&bytes[..], &[7]].concat()).is_err());
        let mut many = entry("z/a", b"on");
        many.values.push(Value::none());
        let mut out = Vec::new();
        assert!(many.put(&mut out).is_err());
        // Announced only, and not there.
        let announced = [&[3, 0][..], b"z/a", &[0xff; 4]].concat();
        assert!(read(&announced).is_err());
    }

    #[test]
    fn law_5_a_dataset_that_is_too_large_takes_only_itself_along() {
        let large = entry("z/large", &vec![b'x'; 1 << 16]);
        let read = read(&write([entry("z/a", b"on"), large, entry("z/b", b"off")])).unwrap();
        assert_eq!(read.len(), 3);
        assert_eq!(
            (read[1].name.as_slice(), read[1].values.len()),
            (&b"z/large"[..], 0)
        );
        assert_eq!(read[2], entry("z/b", b"off"));
    }
}
