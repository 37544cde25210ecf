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
