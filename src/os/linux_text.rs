//! What Linux's programs say of a device: pure, so that it is tested on every platform.

use super::Signature;
use crate::sorted;
use serde::Deserialize;

#[derive(Deserialize)]
struct Answer {
    signatures: Vec<Line>,
}

#[derive(Deserialize)]
struct Line {
    r#type: String,
    #[serde(default)]
    label: Option<String>,
}

/// The serial numbers in udev's database of a device, each once: those that lsblk(8) shows one of.
pub fn shown_serials(database: &str) -> Vec<String> {
    let keys = [
        "SCSI_IDENT_SERIAL",
        "ID_SCSI_SERIAL",
        "ID_SERIAL_SHORT",
        "ID_SERIAL",
    ];
    let value = |line: &str| {
        let (key, value) = line.strip_prefix("E:")?.split_once('=')?;
        (keys.contains(&key) && !value.is_empty()).then(|| value.to_owned())
    };
    let mut found: Vec<String> = database.lines().filter_map(value).collect();
    sorted::sort(&mut found);
    found.dedup();
    found
}

/// What `wipefs --no-act --json` lists, each once.
///
/// # Errors
/// The answer is not understood.
pub fn signatures(said: &[u8]) -> Result<Vec<Signature>, String> {
    // Some versions write nothing at all when there is nothing to list.
    if said.iter().all(u8::is_ascii_whitespace) {
        return Ok(Vec::new());
    }
    let answer: Answer = serde_json::from_slice(said).map_err(|e| e.to_string())?;
    let lines = answer.signatures.into_iter();
    let mut found: Vec<Signature> = lines
        .map(|line| Signature {
            kind: line.r#type,
            label: line.label.filter(|label| !label.is_empty()),
        })
        .collect();
    sorted::sort(&mut found);
    found.dedup();
    Ok(found)
}

/// Whether /proc/swaps lists a device.
pub fn is_swap(swaps: &str, node: &str) -> bool {
    let devices = swaps.lines().skip(1);
    let mut devices = devices.filter_map(|line| line.split_whitespace().next());
    devices.any(|device| device == node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_that_lsblk_shows_are_read_from_udevs_database_and_no_others() {
        let database = "S:disk/by-id/usb-x\nE:ID_SERIAL=Kingston_DT_4C53-0:0\nE:ID_SERIAL_SHORT=4C53\n\
                        E:ID_SCSI_SERIAL=4C53\nE:ID_MODEL=DT\nE:ID_SERIAL\nE:ID_SERIAL_SHORT=\nV:1\n";
        assert_eq!(shown_serials(database), ["4C53", "Kingston_DT_4C53-0:0"]);
        assert!(shown_serials("").is_empty());
    }

    #[test]
    fn every_signature_is_listed_once() {
        let said = r#"{"signatures": [
            {"device":"sdb", "offset":"0x1fe", "type":"vfat", "uuid":"8A", "label":"STICK"},
            {"device":"sdb", "offset":"0x0", "type":"vfat", "uuid":"8A", "label":"STICK"},
            {"device":"sdb", "offset":"0x1fe", "type":"dos", "uuid":null, "label":null}
        ]}"#;
        let found = signatures(said.as_bytes()).unwrap();
        let words: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(words, ["dos", "vfat=STICK"]);
    }

    #[test]
    fn nothing_is_told_apart_from_not_understood() {
        for none in ["{\n \"signatures\": [\n\n ]\n}\n", "", "\n"] {
            assert_eq!(signatures(none.as_bytes()), Ok(vec![]), "{none}");
        }
        for odd in [
            "{}",
            "[]",
            "DEVICE OFFSET TYPE",
            "{\"signatures\":[{\"offset\":\"0\"}]}",
        ] {
            assert!(signatures(odd.as_bytes()).is_err(), "{odd}");
        }
    }

    #[test]
    fn swap_is_found_by_its_device() {
        let swaps = "Filename\tType\tSize\tUsed\tPriority\n/dev/sda2 partition 1 0 -2\n";
        assert!(is_swap(swaps, "/dev/sda2"));
        assert!(!is_swap(swaps, "/dev/sda") && !is_swap("", "/dev/sda2"));
    }
}
