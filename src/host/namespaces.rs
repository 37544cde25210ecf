//! Settings of systemd that give a unit mounts of its own. What such a unit mounts, nobody else sees;
//! guides to hardening recommend them for every service.

use super::hooks::Found;
use crate::report::Severity;
use crate::sorted::{Map, Set};
use std::path::Path;

/// Where drop-ins lie, the preferred first.
const UNITS: [&str; 4] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
];

const READY: &str = "f3sready.service";
const LATE: &str = "f3skeys-late.service";
const ZFS_MOUNT: &str = "zfs-mount.service";

/// Settings of systemd.exec(5) that do it when they are switched on.
const SWITCHES: [&str; 9] = [
    "PrivateMounts",
    "PrivateTmp",
    "PrivateDevices",
    "PrivateNetwork",
    "ProtectSystem",
    "ProtectHome",
    "ProtectKernelTunables",
    "ProtectKernelModules",
    "ProtectControlGroups",
];
/// Settings that do it when they have any value.
const LISTS: [&str; 12] = [
    "ReadWritePaths",
    "ReadOnlyPaths",
    "InaccessiblePaths",
    "ExecPaths",
    "NoExecPaths",
    "BindPaths",
    "BindReadOnlyPaths",
    "TemporaryFileSystem",
    "RootDirectory",
    "RootImage",
    "MountImages",
    "MountFlags",
];

pub(super) fn look(found: &mut Found) {
    let system = private(found, ZFS_MOUNT);
    let ready = private(found, READY);
    let late = private(found, LATE);
    // What one of the two has mounted for itself, the other mounts for all.
    let severity = match (&system, &ready) {
        (Some(_), Some(_)) => Severity::Failure,
        _ => Severity::Warning,
    };
    for (unit, private) in [(ZFS_MOUNT, system), (READY, ready), (LATE, late)] {
        let Some((path, setting)) = private else {
            continue;
        };
        let what = format!(
            "gets mounts of its own ({setting} in {path}): what it mounts is seen by nobody else"
        );
        let remedy = format!(
            "take {setting} back for it: `PrivateMounts=no` and that setting's own `no` in a drop-in of {unit} that comes later, then `systemctl daemon-reload`"
        );
        found.findings.push(severity, unit, &what, &remedy);
    }
}

/// The setting in force that gives the unit mounts of its own, and the file that has it.
fn private(found: &mut Found, unit: &str) -> Option<(String, String)> {
    let mut settings: Map<String, (String, String)> = Map::new();
    let drop_ins = drop_ins(found, unit).into_values();
    for path in unit_file(found, unit).into_iter().chain(drop_ins) {
        let text = found.text(&path).unwrap_or_default();
        for (key, value) in assignments(&text) {
            settings.insert(key.to_owned(), (path.clone(), value.to_owned()));
        }
    }
    let on = settings.iter().find(|(key, (_, value))| is_on(key, value));
    on.map(|(key, (path, _))| (path.clone(), key.clone()))
}

/// The unit itself, as systemd finds it; none where it is masked.
fn unit_file(found: &Found, unit: &str) -> Option<String> {
    let mut paths = UNITS.iter().map(|home| format!("{home}/{unit}"));
    let path = paths.find(|path| !matches!(found.host.about(path), Ok(None)))?;
    (!is_masked(found, &path)).then_some(path)
}

fn is_masked(found: &Found, path: &str) -> bool {
    let target = found.host.link(path);
    target.is_ok_and(|target| target.is_some_and(|target| target == Path::new("/dev/null")))
}

/// The drop-ins of a unit in the order of their names; of two with one name the preferred counts, and
/// one of the unit's own before one for all services.
fn drop_ins(found: &mut Found, unit: &str) -> Map<String, String> {
    let mut files = Map::new();
    let mut seen = Set::new();
    for kind in kinds(unit) {
        for home in UNITS {
            let directory = format!("{home}/{kind}.d");
            for name in found.names(&directory) {
                if !name.ends_with(".conf") || !seen.insert(name.clone()) {
                    continue;
                }
                let path = format!("{directory}/{name}");
                if !is_masked(found, &path) {
                    files.insert(name, path);
                }
            }
        }
    }
    files
}

/// The names under which systemd looks for drop-ins: `a-b.service`, `a-.service` and `service`.
fn kinds(unit: &str) -> Vec<String> {
    let mut kinds = vec![unit.to_owned()];
    let stem = unit.trim_end_matches(".service");
    let dashes = stem.rmatch_indices('-').map(|(at, _)| at);
    kinds.extend(dashes.map(|at| format!("{}-.service", &stem[..at])));
    kinds.push("service".to_owned());
    kinds
}

/// What a file assigns in its section of services.
fn assignments(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut section = "";
    text.lines().filter_map(move |line| {
        let line = line.trim();
        if line.starts_with('[') {
            section = line;
        }
        let (key, value) = line.split_once('=')?;
        (section == "[Service]").then_some((key.trim(), value.trim()))
    })
}

fn is_on(key: &str, value: &str) -> bool {
    let no = ["", "no", "n", "false", "f", "off", "0"];
    let is_no = no.iter().any(|no| value.eq_ignore_ascii_case(no));
    match key {
        "MountFlags" => matches!(value, "private" | "slave"),
        _ if SWITCHES.contains(&key) => !is_no,
        _ => LISTS.contains(&key) && !value.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drop_ins_are_looked_for_by_every_name_of_a_unit() {
        assert_eq!(kinds("f3sready.service"), ["f3sready.service", "service"]);
        let late = ["f3skeys-late.service", "f3skeys-.service", "service"];
        assert_eq!(kinds("f3skeys-late.service"), late);
    }

    #[test]
    fn settings_that_give_a_unit_mounts_of_its_own() {
        for (key, value, expected) in [
            ("PrivateTmp", "yes", true),
            ("PrivateTmp", "disconnected", true),
            ("PrivateTmp", "No", false),
            ("PrivateTmp", "", false),
            ("ProtectSystem", "strict", true),
            ("ProtectSystem", "false", false),
            ("ReadOnlyPaths", "/etc", true),
            ("ReadOnlyPaths", "", false),
            ("MountFlags", "slave", true),
            ("MountFlags", "shared", false),
            ("NoNewPrivileges", "yes", false),
        ] {
            assert_eq!(is_on(key, value), expected, "{key}={value}");
        }
    }
}
