//! Which disk the store of this host is on. Pure: it is told what is mounted where, and chooses or
//! refuses. It is never "some disk".

use super::facts::key_file;
use crate::device::Candidate;
use crate::host::FstabLine;
use crate::sorted::{self, Map};
use crate::zfs::Dataset;
use std::path::{Path, PathBuf};

/// A USB disk and where its file system is mounted now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// The disk.
    pub candidate: Candidate,
    /// The directories it is mounted on.
    pub mounted: Vec<PathBuf>,
}

/// A directory where the store may be, and what names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The directory.
    pub at: PathBuf,
    /// What names it.
    pub why: String,
}

/// The store's disk, and where the store belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The disk.
    pub candidate: Candidate,
    /// The place.
    pub place: Place,
}

/// Why no disk is taken: what is so, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotFound {
    /// What is so.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

/// Where the store may be, the likeliest first: where `keylocation` says (of most roots), where
/// fstab mounts one of the USB disks, and where the articles have it.
pub fn places(roots: &[&Dataset], fstab: &[FstabLine], disks: &[Candidate]) -> Vec<Place> {
    let mut named: Map<PathBuf, Vec<&str>> = Map::new();
    for root in roots {
        if let Some((directory, _)) = key_file(root) {
            named.entry(directory).or_default().push(root.name.as_str());
        }
    }
    let mut named: Vec<(PathBuf, Vec<&str>)> = named.into_iter().collect();
    sorted::sort_by_key(&mut named, |(_, roots)| std::cmp::Reverse(roots.len()));
    let mut places: Vec<Place> = named
        .into_iter()
        .map(|(at, roots)| Place {
            why: format!("keylocation of {} names it", roots.join(", ")),
            at,
        })
        .collect();
    let of_disks = fstab.iter().filter(|line| is_of_disk(line, disks));
    places.extend(of_disks.map(|line| Place {
        at: PathBuf::from(&line.at),
        why: "/etc/fstab mounts the stick there".to_owned(),
    }));
    places.push(Place {
        at: PathBuf::from("/keys"),
        why: "that is the usual place".to_owned(),
    });
    places
}

/// Whether a line of fstab mounts one of these disks, by node or by label.
pub fn is_of_disk(line: &FstabLine, disks: &[Candidate]) -> bool {
    let labelled = |label: &str| {
        ["LABEL=", "/dev/ufs/", "/dev/disk/by-label/"]
            .iter()
            .any(|start| line.device.strip_prefix(start) == Some(label))
    };
    disks.iter().any(|disk| {
        disk.node == Path::new(&line.device)
            || disk
                .filesystems
                .iter()
                .filter_map(|filesystem| filesystem.label.as_deref())
                .any(labelled)
    })
}

/// Chooses the disk behind the mount at one of the `places`, or else the `given` one.
///
/// # Errors
/// Neither is there, or they are two different disks.
pub fn choose(given: Option<&Path>, places: &[Place], disks: &[Disk]) -> Result<Found, NotFound> {
    match (given, mounted(places, disks)?) {
        (None, Some(found)) => Ok(found),
        (None, None) => Err(not_mounted(places, disks)),
        (Some(node), Some(found)) if found.candidate.node == node => Ok(found),
        (Some(node), Some(found)) => Err(NotFound {
            what: format!(
                "{} is given, but {} is mounted on {}",
                node.display(),
                found.candidate.node.display(),
                found.place.at.display()
            ),
            remedy: "unmount that first, or leave `--device` out".to_owned(),
        }),
        (Some(node), None) => given_disk(node, places, disks),
    }
}

/// The disk behind the mount at the first of the places where there is one.
fn mounted(places: &[Place], disks: &[Disk]) -> Result<Option<Found>, NotFound> {
    for place in places {
        let here: Vec<&Disk> = disks
            .iter()
            .filter(|disk| disk.mounted.contains(&place.at))
            .collect();
        match here.as_slice() {
            [] => {}
            [disk] => return Ok(Some(found(disk, place))),
            // FreeBSD names a mount by its label, and two sticks may carry the same.
            _ => {
                return Err(NotFound {
                    what: format!(
                        "which disk is mounted on {} is not known; {}",
                        place.at.display(),
                        listed(disks)
                    ),
                    remedy: "unplug the others, then try again".to_owned(),
                });
            }
        }
    }
    Ok(None)
}

fn found(disk: &Disk, place: &Place) -> Found {
    Found {
        candidate: disk.candidate.clone(),
        place: place.clone(),
    }
}

fn given_disk(node: &Path, places: &[Place], disks: &[Disk]) -> Result<Found, NotFound> {
    let disk = disks.iter().find(|disk| disk.candidate.node == node);
    let what = match disk {
        None => format!("{} is no USB disk that is there now", node.display()),
        Some(disk) if disk.candidate.filesystems.is_empty() => {
            format!("{} holds no UFS and no ext file system", node.display())
        }
        // There is always a place: the usual one.
        Some(disk) => match places.first() {
            Some(place) => return Ok(found(disk, place)),
            None => "there is no place for it".to_owned(),
        },
    };
    Err(NotFound {
        what: format!("{what}; {}", listed(disks)),
        remedy: "give `--device` the node that holds the keys".to_owned(),
    })
}

fn not_mounted(places: &[Place], disks: &[Disk]) -> NotFound {
    let places: Vec<String> = places.iter().map(|p| p.at.display().to_string()).collect();
    let remedy = match disks.is_empty() {
        true => "insert the stick with the keys, then `f3skeys adopt --device` with its node",
        false => "mount the stick there, or name it: `f3skeys adopt --device` with its node",
    };
    NotFound {
        what: format!(
            "no USB disk is mounted on {}; {}",
            places.join(" or "),
            listed(disks)
        ),
        remedy: remedy.to_owned(),
    }
}

/// The disks in words, so that a person can tell them apart.
fn listed(disks: &[Disk]) -> String {
    if disks.is_empty() {
        return "there is no USB disk".to_owned();
    }
    let disks: Vec<String> = disks
        .iter()
        .map(|disk| {
            let labels: Vec<&str> = disk
                .candidate
                .filesystems
                .iter()
                .filter_map(|filesystem| filesystem.label.as_deref())
                .collect();
            format!(
                "{} (label {}, serial {})",
                disk.candidate.node.display(),
                if labels.is_empty() {
                    "none".to_owned()
                } else {
                    labels.join(" and ")
                },
                disk.candidate.serial.as_deref().unwrap_or("none")
            )
        })
        .collect();
    format!("USB disks: {}", disks.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Filesystem, Kind};

    fn disk(node: &str, label: Option<&str>, mounted: &[&str]) -> Disk {
        Disk {
            candidate: Candidate {
                node: node.into(),
                serial: Some("1".to_owned()),
                filesystems: vec![Filesystem {
                    kind: Kind::Ufs2,
                    label: label.map(str::to_owned),
                }],
                ..Candidate::default()
            },
            mounted: mounted.iter().map(PathBuf::from).collect(),
        }
    }

    fn places() -> Vec<Place> {
        super::places(&[], &[], &[])
    }

    #[test]
    fn the_mounted_one_is_taken_and_no_other() {
        let disks = [
            disk("/dev/da0", None, &["/mnt"]),
            disk("/dev/da1", None, &["/keys"]),
        ];
        let found = choose(None, &places(), &disks).unwrap();
        assert_eq!(found.candidate.node, Path::new("/dev/da1"));
        let found = choose(Some(Path::new("/dev/da1")), &places(), &disks).unwrap();
        assert_eq!(found.place.at, Path::new("/keys"));
        let refused = choose(Some(Path::new("/dev/da0")), &places(), &disks).unwrap_err();
        assert!(refused.what.contains("/dev/da1 is mounted on /keys"));
    }

    #[test]
    fn two_disks_that_could_be_behind_a_mount_are_both_refused() {
        let disks = [
            disk("/dev/da0", Some("F3S_KEYS"), &["/keys"]),
            disk("/dev/da1", Some("F3S_KEYS"), &["/keys"]),
        ];
        for given in [None, Some(Path::new("/dev/da0"))] {
            let refused = choose(given, &places(), &disks).unwrap_err();
            assert!(refused.what.contains("is not known"), "{}", refused.what);
        }
    }

    #[test]
    fn it_is_never_some_disk() {
        let only = [disk("/dev/da0", Some("F3S_KEYS"), &[])];
        let refused = choose(None, &places(), &only).unwrap_err();
        assert!(refused.what.contains("/dev/da0 (label F3S_KEYS, serial 1)"));
        assert!(refused.remedy.contains("--device"));
        let refused = choose(None, &places(), &[]).unwrap_err();
        assert!(refused.what.contains("there is no USB disk"));
    }

    #[test]
    fn a_given_disk_must_be_there_and_hold_a_file_system() {
        let mut empty = disk("/dev/da1", None, &[]);
        empty.candidate.filesystems.clear();
        let disks = [disk("/dev/da0", None, &[]), empty];
        let given = |node: &str| choose(Some(Path::new(node)), &places(), &disks);
        assert_eq!(given("/dev/da0").unwrap().place.at, Path::new("/keys"));
        assert!(given("/dev/da1").unwrap_err().what.contains("holds no UFS"));
        assert!(given("/dev/da9").unwrap_err().what.contains("no USB disk"));
    }

    #[test]
    fn fstab_names_a_disk_by_node_or_label() {
        let disks = [disk("/dev/da0", Some("F3S_KEYS"), &[]).candidate];
        for (device, expected) in [
            ("/dev/da0", true),
            ("/dev/da1", false),
            ("/dev/ufs/F3S_KEYS", true),
            ("LABEL=F3S_KEYS", true),
            ("LABEL=F3S", false),
        ] {
            let line = FstabLine {
                device: device.to_owned(),
                at: "/mnt".to_owned(),
                fstype: "ufs".to_owned(),
                options: Vec::new(),
            };
            assert_eq!(is_of_disk(&line, &disks), expected, "{device}");
        }
    }
}
