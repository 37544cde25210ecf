//! What FreeBSD's answers mean: pure, so that it is tested on every platform.

use super::{Mount, Signature};
use crate::services::{Definition, Seen, State};
use std::path::{Path, PathBuf};

/// The text of `kern.boot_id`, which is 16 bytes, all zero or none before the random device is
/// seeded.
pub fn boot_id(bytes: &[u8]) -> Option<String> {
    let known = bytes.len() == 16 && bytes.iter().any(|b| *b != 0);
    known.then(|| bytes.iter().map(|b| format!("{b:02x}")).collect())
}

/// Whether `node` is one of the `da` disks in `kern.disks`, or a slice or partition of one.
pub fn is_part_of(node: &str, disks: &str) -> bool {
    disks
        .split_whitespace()
        .filter(|disk| disk.starts_with("da"))
        .filter_map(|disk| node.strip_prefix(disk))
        .any(|rest| rest.is_empty() || rest.starts_with(['p', 's']))
}

/// Whether `node` is one of the disks in `kern.disks`, whatever its driver, or a part of one.
pub fn is_part_of_any(node: &str, disks: &str) -> bool {
    disks
        .split_whitespace()
        .any(|disk| node == disk || is_part(node, disk))
}

/// Whether `node` is a slice or partition of `whole`, at any depth: `da0s1a` is one of `da0` and of
/// `da0s1`.
pub fn is_part(node: &str, whole: &str) -> bool {
    node.strip_prefix(whole)
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()))
}

/// Whether a device has a partition table, by what `gpart show` said; `None` when that tells nothing.
pub fn has_table(status: Option<i32>, stderr: &str) -> Option<bool> {
    match status {
        Some(0) => Some(true),
        Some(1) if stderr.contains("No such geom") => Some(false),
        _ => None,
    }
}

/// How a service stands, by the status of its script's `status`: 0 where it runs; where it does not, 1 in
/// rc.subr(8), and 3 in programs that follow LSB, such as `pg_ctl`. rc gives 1 as well where there is no
/// script, and where the script knows no `status`; only words of rc and of service(8) tell those apart.
pub fn service(status: i32, words: &str) -> Seen {
    let is_missing = words.contains(" does not exist in /etc/rc.d or the local startup");
    let state = match status {
        0 => State::Running,
        1 if words.contains("unknown directive 'status'") => {
            State::Unknown("its script in rc.d has no `status`".into())
        }
        1 | 3 => State::Stopped,
        other => State::Unknown(format!("its script ended with exit status {other}").into()),
    };
    Seen {
        definition: match status {
            1 if is_missing => Definition::Missing,
            _ => Definition::Good,
        },
        ..Seen::only(state)
    }
}

/// Whether `swapctl -l` lists a device or a part of it.
pub fn is_swap(said: &str, node: &str) -> bool {
    let devices = said.lines().skip(1);
    devices
        .filter_map(|line| line.split_whitespace().next())
        .any(|device| device == node || is_part(device, node))
}

/// What `fstyp -l -u` found, if anything; `None` when its answer is not understood.
pub fn signature(status: Option<i32>, stdout: &str, stderr: &str) -> Option<Option<Signature>> {
    let said = stdout.trim_end_matches('\n');
    match status {
        Some(0) if !said.is_empty() && !said.contains('\n') => {
            let (kind, label) = said.split_once(' ').unwrap_or((said, ""));
            let label = label.trim();
            Some(Some(Signature {
                kind: kind.to_owned(),
                label: (!label.is_empty()).then(|| label.to_owned()),
            }))
        }
        Some(1) if stderr.contains("filesystem not recognized") => Some(None),
        _ => None,
    }
}

/// Whether a mount's source is this node, or the node that GEOM makes for its volume label.
pub fn is_node_or_label(source: &str, node: &Path, label: Option<&str>) -> bool {
    let source = Path::new(source);
    source == node || label.is_some_and(|label| source == Path::new("/dev/ufs").join(label))
}

/// Where nullfs shows what lies beneath the mount on `path`: the table is in the order in which mounts
/// were made, and nullfs goes on to show the directory that was there then.
pub fn bound_beneath(mounts: &[Mount], path: &Path) -> Vec<PathBuf> {
    let top = mounts.iter().rposition(|mount| mount.at == path);
    let before = mounts.get(..top.unwrap_or(0)).unwrap_or_default().iter();
    before
        .filter(|mount| mount.fstype == "nullfs" && Path::new(&mount.source).starts_with(path))
        .map(|mount| mount.at.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_of_a_script_says_whether_a_service_runs_or_is_not_known() {
        let running = Seen::only(State::Running);
        assert_eq!(service(0, ""), running);
        assert_eq!(service(0, "unknown directive 'status'."), running);
        for (status, words) in [(1, ""), (3, ""), (1, "nfsd is not running.")] {
            let stopped = Seen::only(State::Stopped);
            assert_eq!(service(status, words), stopped, "{status} {words}");
        }
        let missing = "nfsx does not exist in /etc/rc.d or the local startup\n\
            directories (/usr/local/etc/rc.d), or is not executable\n";
        assert_eq!(service(1, missing).definition, Definition::Missing);
        assert!(service(1, missing).is_at_rest());
        for (status, words) in [
            (1, "/etc/rc.d/mixer: unknown directive 'status'.\nUsage: …"),
            (2, ""),
            (4, ""),
            (64, ""),
            (127, "sh: not found"),
        ] {
            let seen = service(status, words);
            assert!(matches!(seen.state, State::Unknown(_)), "{status} {words}");
        }
    }

    #[test]
    fn only_da_disks_and_their_parts_are_candidates() {
        let disks = "nda0 da1 da0 ada0";
        for node in ["da0", "da0p1", "da0s1", "da0s1a", "da1"] {
            assert!(is_part_of(node, disks), "{node}");
        }
        for node in ["da10", "da2", "ada0", "nda0", "da", "daemon"] {
            assert!(!is_part_of(node, disks), "{node}");
        }
    }

    #[test]
    fn parts_are_told_from_other_disks() {
        for (node, whole, expected) in [
            ("da0p1", "da0", true),
            ("da0s1", "da0", true),
            ("da0s1a", "da0", true),
            ("da0s1a", "da0s1", true),
            ("da0a", "da0", true),
            ("da0", "da0", false),
            ("da01", "da0", false),
            ("da10", "da1", false),
            ("ada0p1", "da0", false),
        ] {
            assert_eq!(is_part(node, whole), expected, "{node} of {whole}");
        }
        assert!(is_part_of_any("ada0p3", "da0 ada0") && is_part_of_any("nda0", "nda0"));
        assert!(!is_part_of_any("null", "da0 ada0"));
    }

    #[test]
    fn only_a_plain_word_says_that_there_is_no_table() {
        assert_eq!(has_table(Some(0), ""), Some(true));
        assert_eq!(
            has_table(Some(1), "gpart: No such geom: da0.\n"),
            Some(false)
        );
        for (status, said) in [
            (Some(1), "gpart: permission denied"),
            (None, ""),
            (Some(2), ""),
        ] {
            assert_eq!(has_table(status, said), None, "{said}");
        }
    }

    #[test]
    fn swap_is_found_by_device_or_part() {
        let said = "Device:       1024-blocks     Used:\n/dev/ada0p2    2097152         0\n/dev/da1       1 0\n";
        assert!(is_swap(said, "/dev/da1") && is_swap(said, "/dev/ada0"));
        assert!(!is_swap(said, "/dev/da0") && !is_swap("", "/dev/da0"));
    }

    #[test]
    fn a_signature_is_read_or_said_to_be_none_or_not_understood() {
        let found = |kind: &str, label: Option<&str>| {
            Some(Some(Signature {
                kind: kind.to_owned(),
                label: label.map(str::to_owned),
            }))
        };
        assert_eq!(
            signature(Some(0), "ufs F3S_KEYS\n", ""),
            found("ufs", Some("F3S_KEYS"))
        );
        assert_eq!(signature(Some(0), "msdosfs\n", ""), found("msdosfs", None));
        assert_eq!(
            signature(Some(0), "ntfs my files\n", ""),
            found("ntfs", Some("my files"))
        );
        let none = "fstyp: /dev/da0: filesystem not recognized\n";
        assert_eq!(signature(Some(1), "", none), Some(None));
        for (status, out, err) in [
            (Some(0), "", ""),
            (Some(0), "a\nb\n", ""),
            (Some(1), "", "fstyp: /dev/da0: Device not configured"),
            (Some(1), "", ""),
            (None, "ufs", ""),
        ] {
            assert_eq!(signature(status, out, err), None, "{status:?} {out} {err}");
        }
    }

    #[test]
    fn an_unseeded_boot_id_is_none() {
        assert_eq!(boot_id(&[]), None);
        assert_eq!(boot_id(&[0; 16]), None);
        assert_eq!(boot_id(&[1; 16]), Some("01".repeat(16)));
    }

    #[test]
    fn a_store_mounted_by_its_label_is_recognised() {
        let node = Path::new("/dev/da0");
        for (source, expected) in [
            ("/dev/da0", true),
            ("/dev/ufs/F3S_KEYS", true),
            ("/dev/ufs/OTHER", false),
            ("/dev/da1", false),
        ] {
            assert_eq!(
                is_node_or_label(source, node, Some("F3S_KEYS")),
                expected,
                "{source}"
            );
        }
        assert!(!is_node_or_label("/dev/ufs/F3S_KEYS", node, None));
    }

    #[test]
    fn law_4_what_nullfs_shows_is_what_was_there_when_it_was_mounted() {
        let mount = |at: &str, fstype: &str, source: &str| Mount {
            at: at.into(),
            fstype: fstype.to_owned(),
            source: source.to_owned(),
            read_only: false,
            sealed: false,
            fsid: String::new(),
        };
        let root = mount("/", "zfs", "zroot/ROOT/default");
        let data = mount("/data", "zfs", "zdata");
        let nfs = mount("/data/nfs", "zfs", "zdata/enc/nfsdata");
        let path = Path::new("/data/nfs");
        for (source, is_bare) in [
            ("/data/nfs", true),
            ("/data/nfs/home", true),
            ("/data", false),
            ("/data/nfs2", false),
        ] {
            let bind = mount("/export", "nullfs", source);
            let expected = vec![PathBuf::from("/export"); usize::from(is_bare)];
            let early = [&root, &bind, &data, &nfs].map(Clone::clone);
            assert_eq!(bound_beneath(&early, path), expected, "{source}");
            let between = [&root, &data, &bind, &nfs].map(Clone::clone);
            assert_eq!(bound_beneath(&between, path), expected, "{source}");
            let late = [&root, &data, &nfs, &bind].map(Clone::clone);
            assert!(bound_beneath(&late, path).is_empty(), "{source}");
            assert!(bound_beneath(&early[..3], path).is_empty(), "{source}");
        }
    }
}
