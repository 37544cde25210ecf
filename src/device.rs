//! Which disk is the key device. Pure: it is told what disks there are and chooses, or refuses.
//!
//! A disk is taken only when it matches everything the configuration names; it is never "some disk".

use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// How much of a disk's beginning tells what file system it holds, in bytes.
pub const HEAD_LEN: usize = 72 * 1024;
/// Where in a head superblocks lie, from byte to byte: nothing else of it is read, and a stick is slow.
pub const SUPERBLOCKS: [(usize, usize); 2] = [(0, 16 * 1024), (64 * 1024, HEAD_LEN)];

/// A kind of file system that a key store may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// FreeBSD's UFS2.
    Ufs2,
    /// FreeBSD's UFS1.
    Ufs1,
    /// Linux's ext2, ext3 or ext4.
    Ext,
}

/// A file system found on a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filesystem {
    /// Its kind.
    pub kind: Kind,
    /// Its volume label, if it has one.
    pub label: Option<String>,
}

/// A disk or partition that might be the key device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// The device node.
    pub node: PathBuf,
    /// The serial number that the device gives for itself.
    pub serial: Option<String>,
    /// What superblocks its beginning holds.
    pub filesystems: Vec<Filesystem>,
}

impl Candidate {
    /// The labels by which its file systems may be mounted, and none.
    pub fn labels(&self) -> Vec<Option<&str>> {
        let labels = self.filesystems.iter().map(|fs| fs.label.as_deref());
        labels.chain([None]).collect()
    }
}

/// What the configuration says of the key device; at least one of the two is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The label its file system must have.
    pub label: Option<String>,
    /// The serial number the device must have.
    pub serial: Option<String>,
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.label, &self.serial) {
            (Some(label), Some(serial)) => write!(f, "{label} (serial {serial})"),
            (Some(label), None) => write!(f, "{label}"),
            (None, Some(serial)) => write!(f, "with serial {serial}"),
            (None, None) => write!(f, "without a name"),
        }
    }
}

/// The answer of [`choose`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Choice {
    /// This one, by this file system.
    Found(Candidate, Filesystem),
    /// None matches. The decoys match in part; each comes with the reason that it is refused.
    Absent(Vec<Decoy>),
    /// Several match, so none is taken.
    Ambiguous(Vec<PathBuf>),
}

/// A disk that looks like the key device and is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoy {
    /// Its device node.
    pub node: PathBuf,
    /// In what it differs.
    pub why: String,
}

/// Chooses the one candidate that matches all that is wanted.
pub fn choose(wanted: &Wanted, candidates: &[Candidate]) -> Choice {
    let mut found = Vec::new();
    let mut decoys = Vec::new();
    for candidate in candidates {
        match matches(wanted, candidate) {
            Match::Whole(filesystem) => found.push((candidate, filesystem)),
            Match::Part(why) => decoys.push(Decoy {
                node: candidate.node.clone(),
                why,
            }),
            Match::Nothing => {}
        }
    }
    match found.as_slice() {
        [] => Choice::Absent(decoys),
        [(candidate, filesystem)] => Choice::Found((*candidate).clone(), filesystem.clone()),
        several => Choice::Ambiguous(several.iter().map(|(c, _)| c.node.clone()).collect()),
    }
}

enum Match {
    Whole(Filesystem),
    Part(String),
    Nothing,
}

fn matches(wanted: &Wanted, candidate: &Candidate) -> Match {
    let serial_fits = wanted.serial.is_none() || wanted.serial == candidate.serial;
    let labelled = |fs: &&Filesystem| wanted.label.is_none() || wanted.label == fs.label;
    let filesystem = candidate.filesystems.iter().find(labelled);
    match (serial_fits, filesystem) {
        (true, Some(filesystem)) => Match::Whole(filesystem.clone()),
        (false, Some(_)) if wanted.label.is_some() => Match::Part(format!(
            "it has the label, but its serial number is {}",
            shown(candidate.serial.as_deref())
        )),
        (true, None) if wanted.serial.is_some() && !candidate.filesystems.is_empty() => {
            let label = candidate
                .filesystems
                .iter()
                .find_map(|f| f.label.as_deref());
            Match::Part(format!(
                "it has the serial number, but its label is {}",
                shown(label)
            ))
        }
        _ => Match::Nothing,
    }
}

fn shown(name: Option<&str>) -> String {
    name.map_or_else(|| "missing".to_owned(), |name| format!("`{name}`"))
}

/// `sblock_try` places of FreeBSD's ffs/fs.h, in bytes.
const UFS2_AT: usize = 65536;
const UFS1_AT: usize = 8192;
/// `offsetof(struct fs, fs_magic)` and `fs_volname`, with `MAXVOLLEN`.
const UFS_MAGIC_AT: usize = 1372;
const UFS_LABEL_AT: usize = 680;
const UFS_LABEL_LEN: usize = 32;
/// ext's superblock, and in it `s_magic` and `s_volume_name`.
const EXT_AT: usize = 1024;
const EXT_MAGIC_AT: usize = 56;
const EXT_LABEL_AT: usize = 120;
const EXT_LABEL_LEN: usize = 16;

/// The file systems whose superblocks lie in a disk's first [`HEAD_LEN`] bytes. A former file
/// system's superblock may survive beside the present one, so there can be several.
pub fn identify(head: &[u8]) -> Vec<Filesystem> {
    let ufs = |kind, at, magic: [u8; 4]| {
        field(head, at + UFS_MAGIC_AT, 4)
            .filter(|found| *found == magic)
            .map(|_| Filesystem {
                kind,
                label: field(head, at + UFS_LABEL_AT, UFS_LABEL_LEN).and_then(label),
            })
    };
    let ext = field(head, EXT_AT + EXT_MAGIC_AT, 2)
        .filter(|found| *found == [0x53, 0xef])
        .map(|_| Filesystem {
            kind: Kind::Ext,
            label: field(head, EXT_AT + EXT_LABEL_AT, EXT_LABEL_LEN).and_then(label),
        });
    [
        ufs(Kind::Ufs2, UFS2_AT, 0x1954_0119_u32.to_le_bytes()),
        ufs(Kind::Ufs1, UFS1_AT, 0x0001_1954_u32.to_le_bytes()),
        ext,
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn field(head: &[u8], at: usize, len: usize) -> Option<&[u8]> {
    head.get(at..at + len)
}

fn label(field: &[u8]) -> Option<String> {
    let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
    let text = String::from_utf8_lossy(&field[..end]).into_owned();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(label: Option<&str>, serial: Option<&str>) -> Wanted {
        Wanted {
            label: label.map(str::to_owned),
            serial: serial.map(str::to_owned),
        }
    }

    fn stick(node: &str, label: Option<&str>, serial: Option<&str>) -> Candidate {
        Candidate {
            node: node.into(),
            serial: serial.map(str::to_owned),
            filesystems: vec![Filesystem {
                kind: Kind::Ufs2,
                label: label.map(str::to_owned),
            }],
        }
    }

    #[test]
    fn every_combination_of_label_and_serial_is_decided() {
        let values = [None, Some("right"), Some("wrong")];
        for want_label in [None, Some("right")] {
            for want_serial in [None, Some("right")] {
                if want_label.is_none() && want_serial.is_none() {
                    continue;
                }
                for label in values {
                    for serial in values {
                        let choice = choose(
                            &wanted(want_label, want_serial),
                            &[stick("/dev/da0", label, serial)],
                        );
                        let label_fits = want_label.is_none_or(|want| label == Some(want));
                        let serial_fits = want_serial.is_none_or(|want| serial == Some(want));
                        let both = want_label.is_some() && want_serial.is_some();
                        match (label_fits, serial_fits) {
                            (true, true) => assert!(matches!(choice, Choice::Found(..))),
                            (false, false) => assert_eq!(choice, Choice::Absent(vec![])),
                            _ if both => {
                                assert!(matches!(choice, Choice::Absent(d) if d.len() == 1));
                            }
                            _ => assert_eq!(choice, Choice::Absent(vec![])),
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn two_that_match_are_both_refused() {
        let same = |node| stick(node, Some("F3S_KEYS"), Some("1"));
        let choice = choose(
            &wanted(Some("F3S_KEYS"), None),
            &[same("/dev/da0"), same("/dev/da1")],
        );
        assert_eq!(
            choice,
            Choice::Ambiguous(vec!["/dev/da0".into(), "/dev/da1".into()])
        );
    }

    #[test]
    fn a_decoy_beside_the_real_one_does_no_harm() {
        let choice = choose(
            &wanted(Some("F3S_KEYS"), Some("1")),
            &[
                stick("/dev/da0", Some("F3S_KEYS"), Some("2")),
                stick("/dev/da1", Some("F3S_KEYS"), Some("1")),
            ],
        );
        assert!(matches!(choice, Choice::Found(c, _) if c.node.ends_with("da1")));
    }

    fn head(kind: Kind, name: &[u8]) -> Vec<u8> {
        let mut head = vec![0; HEAD_LEN];
        let (magic_at, magic, label_at): (usize, &[u8], usize) = match kind {
            Kind::Ufs2 => (UFS2_AT + 1372, &[0x19, 0x01, 0x54, 0x19], UFS2_AT + 680),
            Kind::Ufs1 => (UFS1_AT + 1372, &[0x54, 0x19, 0x01, 0x00], UFS1_AT + 680),
            Kind::Ext => (1024 + 56, &[0x53, 0xef], 1024 + 120),
        };
        head[magic_at..magic_at + magic.len()].copy_from_slice(magic);
        head[label_at..label_at + name.len()].copy_from_slice(name);
        head
    }

    #[test]
    fn superblocks_tell_kind_and_label() {
        for kind in [Kind::Ufs2, Kind::Ufs1, Kind::Ext] {
            for (name, label) in [(&b"F3S_KEYS"[..], Some("F3S_KEYS".to_owned())), (b"", None)] {
                assert_eq!(
                    identify(&head(kind, name)),
                    [Filesystem { kind, label }],
                    "{kind:?}"
                );
            }
        }
    }

    #[test]
    fn no_head_of_any_length_is_misread() {
        let whole = head(Kind::Ufs2, b"F3S_KEYS");
        for length in (0..whole.len()).step_by(97) {
            assert!(identify(&whole[..length]).len() <= 1);
        }
        assert_eq!(identify(&vec![0xff; HEAD_LEN]), []);
    }
}
