//! What Linux's programs say of a device and of a service: pure, so that it is tested on every platform.

use super::Signature;
use crate::digits;
use crate::services::{Definition, Limit, Seen, State};
use crate::sorted::{self, Map};
use serde::Deserialize;
use std::time::Duration;

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

/// What `systemctl show` says of one unit. What a version of systemd does not know is not said: the
/// state alone has to be there.
///
/// # Errors
/// The answer is not understood.
pub fn service(said: &str) -> Result<Seen, String> {
    let mut values = Map::new();
    for line in said.lines() {
        let (name, value) = line.split_once('=').ok_or("it said no property")?;
        if values.insert(name, value).is_some() {
            return Err(format!("it said {name} twice"));
        }
    }
    let value = |name| values.get(name).copied().unwrap_or_default();
    if value("ActiveState").is_empty() {
        return Err("it did not say the state".to_owned());
    }
    Ok(Seen {
        state: state(value("ActiveState"), value("SubState")),
        definition: match value("LoadState") {
            "loaded" => Definition::Good,
            "not-found" => Definition::Missing,
            "masked" => Definition::Masked,
            other => Definition::Broken(other.into()),
        },
        queued: !matches!(value("Job"), "" | "0"),
        start_limit: limit(value("TimeoutStartUSec")),
        stop_limit: limit(value("TimeoutStopUSec")),
        // "[not set]", or all ones, where nobody counts.
        tasks: digits::number(value("TasksCurrent"))
            .filter(|tasks| *tasks != u64::MAX)
            .unwrap_or(0),
    })
}

fn state(active: &str, sub: &str) -> State {
    match active {
        // Also for a moment before, when it counts as inactive or failed.
        "activating" | "inactive" | "failed" if sub.contains("auto-restart") => State::Retrying,
        "active" | "reloading" | "refreshing" => State::Running,
        "activating" => State::Starting,
        "deactivating" => State::Stopping,
        "inactive" => State::Stopped,
        "failed" => State::Failed,
        _ => State::Unknown(active.into()),
    }
}

/// A time as systemd writes it: `1min 30s`, `1.500s`, `infinity`.
fn limit(text: &str) -> Limit {
    if text == "infinity" {
        return Limit::None;
    }
    let mut sum = Some(Duration::ZERO);
    for part in text.split_whitespace() {
        sum = sum.and_then(|sum: Duration| sum.checked_add(span(part)?));
    }
    match sum.filter(|_| !text.trim().is_empty()) {
        Some(time) => Limit::Of(time),
        None => Limit::NotSaid,
    }
}

fn span(part: &str) -> Option<Duration> {
    let unit = part.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let micros: u64 = match unit {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "min" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        "w" => 604_800_000_000,
        "month" => 2_629_800_000_000,
        "y" => 31_557_600_000_000,
        _ => return None,
    };
    let number = part.strip_suffix(unit)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let whole = digits::number::<u64>(whole)?.checked_mul(micros)?;
    let tens = 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let rest = digits::number::<u64>(fraction)?.checked_mul(micros)? / tens;
    Some(Duration::from_micros(whole.checked_add(rest)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(load: &str, active: &str, sub: &str) -> String {
        format!("LoadState={load}\nActiveState={active}\nSubState={sub}\n")
    }

    #[test]
    fn each_state_of_a_unit_is_what_systemd_means_by_it() {
        for (active, sub, state) in [
            ("active", "running", State::Running),
            ("active", "exited", State::Running),
            ("reloading", "reload", State::Running),
            ("activating", "start", State::Starting),
            ("activating", "start-pre", State::Starting),
            ("activating", "auto-restart", State::Retrying),
            ("activating", "auto-restart-queued", State::Retrying),
            ("failed", "failed-before-auto-restart", State::Retrying),
            ("deactivating", "stop-sigterm", State::Stopping),
            ("inactive", "dead", State::Stopped),
            ("failed", "failed", State::Failed),
            (
                "maintenance",
                "cleaning",
                State::Unknown("maintenance".into()),
            ),
        ] {
            let seen = service(&said("loaded", active, sub)).unwrap();
            assert_eq!(seen, Seen::only(state), "{active} {sub}");
        }
    }

    /// Also of a unit that runs: its file may have been taken away, or masked, meanwhile.
    #[test]
    fn law_10_what_describes_a_unit_is_seen_whatever_it_does() {
        for (load, definition) in [
            ("loaded", Definition::Good),
            ("not-found", Definition::Missing),
            ("masked", Definition::Masked),
            ("bad-setting", Definition::Broken("bad-setting".into())),
            ("error", Definition::Broken("error".into())),
            ("", Definition::Broken("".into())),
        ] {
            for active in ["active", "inactive", "failed"] {
                let seen = service(&said(load, active, "x")).unwrap();
                assert_eq!(seen.definition, definition, "{load} {active}");
            }
        }
    }

    #[test]
    fn a_unit_that_tells_no_state_is_not_known() {
        for odd in ["", "LoadState=loaded\n", "ActiveState=\n", "nonsense\n"] {
            assert!(service(odd).is_err(), "{odd}");
        }
        let twice =
            said("loaded", "active", "running") + "\n" + &said("loaded", "inactive", "dead");
        assert!(service(&twice).is_err(), "two units");
        assert!(service("ActiveState=active\nActiveState=inactive\n").is_err());
    }

    #[test]
    fn what_waits_and_what_is_left_is_seen() {
        let with = |more: &str| service(&(said("loaded", "inactive", "dead") + more)).unwrap();
        assert!(with("Job=1234\n").queued);
        assert!(!with("Job=\n").queued && !with("Job=0\n").queued && !with("").queued);
        assert_eq!(with("TasksCurrent=3\n").tasks, 3);
        for none in ["[not set]", "18446744073709551615", "", "-1"] {
            assert_eq!(with(&format!("TasksCurrent={none}\n")).tasks, 0, "{none}");
        }
        let seen = with("TimeoutStartUSec=infinity\nTimeoutStopUSec=1min 30s\n");
        let limits = (seen.start_limit, seen.stop_limit);
        assert_eq!(limits, (Limit::None, Limit::Of(Duration::from_secs(90))));
    }

    #[test]
    fn a_limit_is_a_time_or_not_said() {
        for (text, micros) in [
            ("90s", 90_000_000),
            ("1min 30s", 90_000_000),
            ("1.500s", 1_500_000),
            ("1.050000s", 1_050_000),
            ("2h 3min 4s 5ms 6us", 7_384_005_006),
            ("1w 1d", 691_200_000_000),
            ("0", 0),
        ] {
            let expected = match text {
                "0" => Limit::NotSaid,
                _ => Limit::Of(Duration::from_micros(micros)),
            };
            assert_eq!(limit(text), expected, "{text}");
        }
        assert_eq!(limit("infinity"), Limit::None);
        for odd in [
            "",
            " ",
            "s",
            "1",
            "1x",
            "1.s",
            "1.2.3s",
            "-1s",
            "99999999999999y",
            "1min x",
        ] {
            assert_eq!(limit(odd), Limit::NotSaid, "{odd}");
        }
    }

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
