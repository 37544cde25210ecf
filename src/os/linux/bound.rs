//! Bind mounts of what lies beneath a mount. Pure.
//!
//! A bind shows the directory that a path led to when the bind was made. Where that was a mountpoint
//! whose file system came later, the bind goes on to show the bare directory, and whoever serves it
//! serves the file system around it.

use super::mountinfo::{Entry, Table};
use std::io;
use std::path::{Path, PathBuf};

/// Where a visitor finds what lies beneath the mount on `path`, or beneath the mounts on the way to it.
///
/// # Errors
/// A line that is not understood may be such a mount.
pub fn beneath(table: &Table, path: &Path) -> io::Result<Vec<PathBuf>> {
    let Some(top) = reached(&table.entries, path).filter(|top| top.mount.at == path) else {
        return Ok(Vec::new());
    };
    let layers = layers(&table.entries, top);
    for layer in &layers {
        table.knows_of(&[format!(" {} ", layer.device).as_bytes()])?;
    }
    let shows_bare = |entry: &&Entry| {
        let mut layers = layers.iter();
        layers.any(|layer| {
            let inside = path.strip_prefix(&layer.mount.at);
            let bare = inside.map(|inside| layer.root.join(inside));
            entry.device == layer.device && bare.is_ok_and(|bare| entry.root.starts_with(bare))
        })
    };
    let is_other = |entry: &&Entry| {
        let mut known = layers.iter().chain([&top]);
        !known.any(|known| known.id == entry.id)
    };
    let is_seen = |entry: &&Entry| {
        let at = &entry.mount.at;
        reached(&table.entries, at).is_some_and(|reached| reached.id == entry.id)
    };
    let found = table.entries.iter().filter(is_other).filter(shows_bare);
    Ok(found
        .filter(is_seen)
        .map(|entry| entry.mount.at.clone())
        .collect())
}

/// The mounts in which the directory of this one lies, one in the other.
fn layers<'a>(entries: &'a [Entry], top: &'a Entry) -> Vec<&'a Entry> {
    let mut layers = Vec::new();
    let mut above = top;
    while let Some(parent) = entries.iter().find(|e| e.id == above.parent)
        && parent.id != above.id
        && layers.len() < entries.len()
    {
        layers.push(parent);
        above = parent;
    }
    layers
}

/// The mount that a visitor of a path ends in.
fn reached<'a>(entries: &'a [Entry], path: &Path) -> Option<&'a Entry> {
    let has_parent = |entry: &Entry| {
        let mut others = entries.iter();
        others.any(|other| other.id == entry.parent && other.id != entry.id)
    };
    let mut tops = entries.iter();
    let mut current = tops.find(|e| e.mount.at == Path::new("/") && !has_parent(e))?;
    let mut prefixes: Vec<&Path> = path.ancestors().collect();
    prefixes.reverse();
    let mut most = entries.len();
    for prefix in prefixes {
        let is_on = |current: &Entry, e: &&Entry| {
            e.id != current.id && e.parent == current.id && e.mount.at == prefix
        };
        while let Some(next) = entries.iter().rfind(|e| is_on(current, e))
            && most > 0
        {
            current = next;
            most -= 1;
        }
    }
    Some(current)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(lines: &[&str], path: &str) -> Vec<String> {
        let table = Table::parse(lines.join("\n").as_bytes());
        assert_eq!(table.entries.len(), lines.len());
        let found = beneath(&table, Path::new(path)).unwrap();
        found.iter().map(|at| at.display().to_string()).collect()
    }

    const ROOT: &str = "25 1 8:1 / / rw - ext4 /dev/sda1 rw";
    const ZDATA: &str = "40 25 0:40 / /data rw - zfs zdata rw";
    const NFS: &str = "41 40 0:41 / /data/nfs rw - zfs zdata/enc/nfsdata rw";

    #[test]
    fn law_4_a_bind_of_any_layer_beneath_a_mount_is_found() {
        for (bind, is_bare) in [
            // What the root file system has there, and what lies in it.
            ("30 25 8:1 /data/nfs /export rw - ext4 /dev/sda1 rw", true),
            (
                "30 25 8:1 /data/nfs/home /home rw - ext4 /dev/sda1 rw",
                true,
            ),
            (
                "30 25 8:1 /data/nfs//deleted /export rw - ext4 /dev/sda1 rw",
                true,
            ),
            // What the dataset above has there.
            ("30 25 0:40 /nfs /export rw - zfs zdata rw", true),
            // The dataset itself, its parent, and others.
            ("30 25 0:41 / /export rw - zfs zdata/enc/nfsdata rw", false),
            (
                "30 25 0:41 /home /export rw - zfs zdata/enc/nfsdata rw",
                false,
            ),
            ("30 25 0:40 / /export rw - zfs zdata rw", false),
            ("30 25 8:1 /data /export rw - ext4 /dev/sda1 rw", false),
            ("30 25 8:1 /data/nfs2 /export rw - ext4 /dev/sda1 rw", false),
            ("30 25 8:2 /data/nfs /export rw - ext4 /dev/sda2 rw", false),
        ] {
            let found = bound(&[ROOT, bind, ZDATA, NFS], "/data/nfs");
            assert_eq!(found.len(), usize::from(is_bare), "{bind}");
            // Without the mount the path shows no more than the bind does.
            assert!(bound(&[ROOT, bind, ZDATA], "/data/nfs").is_empty());
        }
    }

    #[test]
    fn what_is_itself_mounted_over_shows_nothing() {
        let bind = "30 25 8:1 /data/nfs /export rw - ext4 /dev/sda1 rw";
        let over = "50 30 0:41 / /export rw - zfs zdata/enc/nfsdata rw";
        assert_eq!(bound(&[ROOT, bind, ZDATA, NFS], "/data/nfs"), ["/export"]);
        assert!(bound(&[ROOT, bind, ZDATA, NFS, over], "/data/nfs").is_empty());
        // So does a bind in a directory over which something is mounted.
        let hidden = "30 25 8:1 /data/nfs /data/old rw - ext4 /dev/sda1 rw";
        assert!(bound(&[ROOT, hidden, ZDATA, NFS], "/data/nfs").is_empty());
    }

    #[test]
    fn the_root_of_a_subvolume_counts() {
        let root = "25 1 0:25 /@ / rw - btrfs /dev/sda1 rw";
        let nfs = "41 25 0:41 / /data/nfs rw - zfs z/nfs rw";
        for (bind, expected) in [
            ("30 25 0:25 /@/data/nfs /export rw - btrfs /dev/sda1 rw", 1),
            ("30 25 0:25 /data/nfs /export rw - btrfs /dev/sda1 rw", 0),
        ] {
            assert_eq!(bound(&[root, bind, nfs], "/data/nfs").len(), expected);
        }
    }

    #[test]
    fn law_4_a_line_that_is_not_understood_may_be_such_a_bind() {
        let odd = "x 25 8:1 /data/nfs /export rw - ext4 /dev/sda1 rw";
        let table = |line: &str| Table::parse([ROOT, line, ZDATA, NFS].join("\n").as_bytes());
        let path = Path::new("/data/nfs");
        assert!(beneath(&table(odd), path).is_err());
        assert!(beneath(&table(&odd.replace("8:1", "8:17")), path).is_ok());
    }

    #[test]
    fn numbers_that_go_round_end() {
        let round = [
            "1 2 0:1 / / rw - zfs a rw",
            "2 1 0:2 / / rw - zfs b rw",
            "3 3 0:3 / / rw - zfs c rw",
            "4 3 0:4 / / rw - zfs d rw",
            "5 4 0:5 / / rw - zfs e rw",
        ];
        assert!(bound(&round, "/").is_empty());
    }
}
