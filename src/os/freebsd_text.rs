//! What FreeBSD's answers mean: pure, so that it is tested on every platform.

use std::path::Path;

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

/// Whether a mount's source is this node, or the node that GEOM makes for its volume label.
pub fn is_node_or_label(source: &str, node: &Path, label: Option<&str>) -> bool {
    let source = Path::new(source);
    source == node || label.is_some_and(|label| source == Path::new("/dev/ufs").join(label))
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
