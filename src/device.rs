//! Which disk is the key device. Pure: it is told what disks there are and chooses, or refuses.
//!
//! A disk is taken only when it matches everything the configuration names; it is never "some disk".

use crate::sorted::Set;
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
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// The device node.
    pub node: PathBuf,
    /// The serial number that the device gives for itself.
    pub serial: Option<String>,
    /// Other numbers that programs show for it, such as lsblk(8).
    pub shown_as: Vec<String>,
    /// What superblocks its beginning holds.
    pub filesystems: Vec<Filesystem>,
    /// What its beginning holds instead, as far as that is known.
    pub content: Option<Foreign>,
    /// Whether it is an optical drive: nothing can be written on it, and its sectors fit no store.
    pub optical: bool,
    /// Whether it is on another bus than USB: such a disk is the key device only where the configuration
    /// says so.
    pub fixed: bool,
}

/// What is no file system of a key store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Foreign {
    /// LUKS: an encrypted device.
    Luks,
    /// The file system exFAT.
    ExFat,
    /// A FAT file system.
    Fat,
    /// The file system NTFS.
    Ntfs,
    /// A table of partitions.
    Table,
    /// Nothing but zeros.
    Nothing,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Foreign::Luks => "a LUKS container",
            Foreign::ExFat => "exFAT",
            Foreign::Fat => "FAT",
            Foreign::Ntfs => "NTFS",
            Foreign::Table => "a partition table, with no store in a partition that could be read",
            Foreign::Nothing => "nothing",
        })
    }
}

impl Candidate {
    /// Whether this is a serial number of it, be it as the kernel has it or as a program shows it.
    pub fn is_called(&self, serial: &str) -> bool {
        self.serial.as_deref() == Some(serial) || self.shown_as.iter().any(|s| s == serial)
    }

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
    Ambiguous(Vec<Candidate>),
}

/// A disk that looks like the key device and is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoy {
    /// Its device node.
    pub node: PathBuf,
    /// In what it differs.
    pub why: String,
    /// What to do, should it be the right one.
    pub remedy: String,
}

/// Chooses the one candidate that matches all that is wanted.
pub fn choose(wanted: &Wanted, candidates: &[Candidate]) -> Choice {
    let (mut found, mut decoys, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for candidate in candidates {
        let decoy = |(why, remedy)| Decoy {
            node: candidate.node.clone(),
            why,
            remedy,
        };
        match matches(wanted, candidate) {
            Match::Whole(filesystem) => found.push((candidate, filesystem)),
            Match::Part(why) => decoys.push(decoy(why)),
            Match::Other(why) => others.push(decoy(why)),
            Match::Nothing => {}
        }
    }
    // A stick's own table is no news where a partition of it says more.
    if decoys.is_empty() {
        decoys = others;
    }
    match found.as_slice() {
        [] => Choice::Absent(decoys),
        [(candidate, filesystem)] => Choice::Found((*candidate).clone(), filesystem.clone()),
        several => Choice::Ambiguous(several.iter().map(|(c, _)| (*c).clone()).collect()),
    }
}

/// What is so of a disk that is not on USB and has all that is wanted otherwise, and what to do.
pub fn on_another_bus(wanted: &Wanted, fixed: &[Candidate]) -> Option<(String, &'static str)> {
    let Choice::Found(disk, _) = choose(wanted, fixed) else {
        return None;
    };
    let why = format!(
        "not there on USB; {} is what is wanted, but on another bus",
        disk.node.display()
    );
    let remedy = "if the keys are to lie on a disk that stays in the machine, write any_disk: true in `store`; else insert the stick";
    Some((why, remedy))
}

/// What is so of several that match, and what to do: a serial number tells sticks apart, and not two
/// partitions of one.
pub fn several(matching: &[Candidate]) -> (String, String) {
    let nodes: Vec<String> = matching
        .iter()
        .map(|one| one.node.display().to_string())
        .collect();
    let what = format!("{} all match, so none is used", nodes.join(" and "));
    let serials: Set<Option<&str>> = matching.iter().map(|one| one.serial.as_deref()).collect();
    let remedy = match serials.len() {
        1 => {
            "they give one serial number, as partitions of one stick do: label all but the right one otherwise (`tunefs -L` on UFS, `e2label` on ext4), or take them out"
        }
        _ => "name the right one by `serial`, or give each stick a label of its own",
    };
    (what, remedy.to_owned())
}

enum Match {
    Whole(Filesystem),
    Part((String, String)),
    /// It has the serial number, and no file system that a store can be.
    Other((String, String)),
    Nothing,
}

fn matches(wanted: &Wanted, candidate: &Candidate) -> Match {
    let serial_fits = wanted.serial.is_none() || wanted.serial == candidate.serial;
    let labelled = |fs: &&Filesystem| wanted.label.is_none() || wanted.label == fs.label;
    let filesystem = candidate.filesystems.iter().find(labelled);
    match (serial_fits, filesystem) {
        (true, Some(_)) if candidate.optical => Match::Part(optical()),
        (true, Some(filesystem)) => Match::Whole(filesystem.clone()),
        (false, Some(_)) if wanted.label.is_some() => {
            Match::Part(other_serial(wanted.serial.as_deref(), candidate))
        }
        (true, None) if wanted.serial.is_some() => match candidate.filesystems.as_slice() {
            [] if candidate.optical => Match::Other(optical()),
            [] => Match::Other(no_store(candidate.content)),
            some => Match::Part(other_label(some)),
        },
        _ => Match::Nothing,
    }
}

const TAKE_OUT: &str = "take it out";

fn optical() -> (String, String) {
    let why =
        "it is an optical drive, which some sticks show beside their disk; a store needs a disk";
    let remedy = "put the store on a disk: `f3skeys init` on a stick without such a drive";
    (why.to_owned(), remedy.to_owned())
}

/// Other programs show other numbers: udev, and so lsblk(8), may have that of a disk behind a bridge, or
/// letters of its own for blanks.
fn other_serial(wanted: Option<&str>, candidate: &Candidate) -> (String, String) {
    let own = candidate.serial.as_deref();
    let by_others = match wanted.filter(|wanted| candidate.is_called(wanted)) {
        Some(wanted) => format!(
            " to the kernel; other programs show {}",
            shown(Some(wanted))
        ),
        None => String::new(),
    };
    let why = format!(
        "it has the label, but its serial number is {}{by_others}",
        shown(own)
    );
    let remedy = match own {
        Some(own) => {
            format!("if it is the right stick, write serial: {own:?} in `store`; else {TAKE_OUT}")
        }
        None => format!(
            "if it is the right stick, name it by its label alone in `store`; else {TAKE_OUT}"
        ),
    };
    (why, remedy)
}

fn other_label(filesystems: &[Filesystem]) -> (String, String) {
    let label = filesystems.iter().find_map(|f| f.label.as_deref());
    let why = format!(
        "it has the serial number, but its label is {}",
        shown(label)
    );
    let remedy = match label {
        Some(label) => {
            format!("if it is the right stick, write label: {label:?} in `store`; else {TAKE_OUT}")
        }
        None => format!(
            "if it is the right stick, label it (`tunefs -L` on UFS, `e2label` on ext4); else {TAKE_OUT}"
        ),
    };
    (why, remedy)
}

fn no_store(content: Option<Foreign>) -> (String, String) {
    let holds = content.map_or("nothing that f3skeys knows".to_owned(), |c| c.to_string());
    let why = format!(
        "it has the serial number, and holds {holds}: no UFS and no ext4, which a store is"
    );
    let remedy = "insert the stick with the store; this one becomes one by `f3skeys init`, which overwrites it";
    (why, remedy.to_owned())
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

/// What a disk's beginning is where no file system of a store is to be seen.
pub fn foreign(head: &[u8]) -> Option<Foreign> {
    let has = |at: usize, magic: &[u8]| field(head, at, magic.len()) == Some(magic);
    // A FAT and a table of partitions end their first sector alike, so the table comes last.
    let known = [
        (has(0, b"LUKS\xba\xbe"), Foreign::Luks),
        (has(3, b"EXFAT   "), Foreign::ExFat),
        (has(3, b"NTFS    "), Foreign::Ntfs),
        (has(82, b"FAT32   ") || has(54, b"FAT1"), Foreign::Fat),
        (
            has(512, b"EFI PART") || has(510, b"\x55\xaa"),
            Foreign::Table,
        ),
        (head.iter().all(|byte| *byte == 0), Foreign::Nothing),
    ];
    known.iter().find(|(is, _)| *is).map(|(_, what)| *what)
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
            ..Candidate::default()
        }
    }

    /// The one thing that is said of a device that is not taken.
    fn refused(wanted: &Wanted, candidates: &[Candidate]) -> Decoy {
        match choose(wanted, candidates) {
            Choice::Absent(decoys) if decoys.len() == 1 => decoys[0].clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_has_the_serial_number_and_no_store_is_named_as_what_it_is() {
        let by_both = wanted(Some("F3S_KEYS"), Some("1"));
        for (head, content) in [
            (&b"LUKS\xba\xbe"[..], Some(Foreign::Luks)),
            (b"\xeb\x76\x90EXFAT   ", Some(Foreign::ExFat)),
            (b"\xeb\x52\x90NTFS    ", Some(Foreign::Ntfs)),
            (b"", Some(Foreign::Nothing)),
            (b"\x01", None),
        ] {
            let mut whole = vec![0; HEAD_LEN];
            whole[..head.len()].copy_from_slice(head);
            assert_eq!(foreign(&whole), content);
            let mut disk = stick("/dev/da0", None, Some("1"));
            disk.filesystems.clear();
            disk.content = content;
            let said = refused(&by_both, &[disk.clone()]);
            let holds = content.map_or("nothing that f3skeys knows".to_owned(), |c| c.to_string());
            assert!(said.why.contains(&holds), "{said:?}");
            assert!(said.remedy.contains("f3skeys init"), "{said:?}");
            // A partition of it that says more is told instead, and one that fits is taken.
            let part = stick("/dev/da0s1", Some("OTHER"), Some("1"));
            let said = refused(&by_both, &[disk.clone(), part]);
            assert_eq!(said.node.to_str(), Some("/dev/da0s1"));
            let part = stick("/dev/da0s1", Some("F3S_KEYS"), Some("1"));
            assert!(matches!(choose(&by_both, &[disk, part]), Choice::Found(..)));
        }
    }

    #[test]
    fn a_table_of_partitions_and_a_fat_are_told_apart() {
        let mut head = vec![0; HEAD_LEN];
        head[510..512].copy_from_slice(&[0x55, 0xaa]);
        assert_eq!(foreign(&head), Some(Foreign::Table));
        head[82..90].copy_from_slice(b"FAT32   ");
        assert_eq!(foreign(&head), Some(Foreign::Fat));
    }

    #[test]
    fn an_optical_drive_is_never_the_key_device() {
        let mut drive = stick("/dev/sr0", Some("F3S_KEYS"), Some("1"));
        drive.optical = true;
        for serial in [None, Some("1")] {
            let said = refused(&wanted(Some("F3S_KEYS"), serial), &[drive.clone()]);
            assert!(said.why.contains("optical"), "{said:?}");
        }
    }

    #[test]
    fn another_serial_number_is_told_with_the_one_to_write() {
        let said = refused(
            &wanted(Some("F3S_KEYS"), Some("Kingston_4C53")),
            &[stick("/dev/da0", Some("F3S_KEYS"), Some("4C53"))],
        );
        assert!(said.remedy.contains("serial: \"4C53\""), "{said:?}");
    }

    #[test]
    fn a_serial_number_is_no_remedy_for_two_partitions_of_one_stick() {
        let part = |node, serial| stick(node, Some("F3S_KEYS"), Some(serial));
        let one = several(&[part("/dev/da0s1", "1"), part("/dev/da0s2", "1")]).1;
        let two = several(&[part("/dev/da0", "1"), part("/dev/da1", "2")]).1;
        assert!(
            !one.contains("`serial`") && one.contains("e2label"),
            "{one}"
        );
        assert!(two.contains("`serial`"), "{two}");
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
        let Choice::Ambiguous(several) = choice else {
            panic!("{choice:?}");
        };
        let nodes: Vec<&str> = several.iter().filter_map(|c| c.node.to_str()).collect();
        assert_eq!(nodes, ["/dev/da0", "/dev/da1"]);
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
