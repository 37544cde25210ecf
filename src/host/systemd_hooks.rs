//! The hooks of systemd: units, what pulls them in, drop-ins, and the rule by which udev starts the
//! late one.

use super::InitSystem::Systemd;
use super::hooks::{Found, INSTALL, Wanted, fitted, program};
use crate::shell::command;
use std::path::Path;

const UNITS: &str = "/usr/lib/systemd/system";
/// Drop-ins that `f3skeys-generator` links while f3skeys is enabled.
pub const DROP_INS: &str = "/usr/lib/f3skeys/drop-ins";
/// The same program by these names is preferred.
const GENERATORS: &str = "/usr/lib/systemd/system-generators";
const BEFORE_GENERATORS: [&str; 3] = [
    "/etc/systemd/system-generators",
    "/run/systemd/system-generators",
    "/usr/local/lib/systemd/system-generators",
];

/// Places that systemd prefers to [`UNITS`], the first most.
const BEFORE_UNITS: [&str; 3] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
];
/// The same for rules of udev.
const RULES: &str = "/usr/lib/udev/rules.d";
const BEFORE_RULES: [&str; 3] = [
    "/etc/udev/rules.d",
    "/run/udev/rules.d",
    "/usr/local/lib/udev/rules.d",
];

/// `/usr` is mounted before systemd starts, or systemd itself would not.
const EARLY: &[&str] = &["/", "/usr"];

/// A file of this version.
struct Part {
    /// Its path below the directory of its kind.
    name: &'static str,
    text: &'static str,
    /// The line that does the work; a file without it is no relative of ours.
    calls: &'static str,
    without: &'static str,
    /// The boot itself needs it.
    vital: bool,
    /// What pulls the unit in at boot.
    wanted_by: Option<&'static str>,
}

const PARTS: [Part; 5] = [
    Part {
        name: "f3skeys.service",
        text: include_str!("../../systemd/f3skeys.service"),
        calls: "/f3skeys boot",
        without: "no key is loaded at boot",
        vital: true,
        wanted_by: Some("zfs.target"),
    },
    Part {
        name: "f3sready.service",
        text: include_str!("../../systemd/f3sready.service"),
        calls: "/f3skeys ready",
        without: "no gate opens at boot",
        vital: true,
        wanted_by: Some("zfs.target"),
    },
    Part {
        name: "f3skeys-late.service",
        text: include_str!("../../systemd/f3skeys-late.service"),
        calls: "/f3skeys boot --late",
        without: "a stick that comes late does not finish the boot by itself",
        vital: false,
        wanted_by: None,
    },
    Part {
        name: "f3skeys-reconcile.service",
        text: include_str!("../../systemd/f3skeys-reconcile.service"),
        calls: "/f3skeys reconcile",
        without: "a gate that closes stops no service",
        vital: false,
        wanted_by: None,
    },
    Part {
        name: "f3skeys-reconcile.timer",
        text: include_str!("../../systemd/f3skeys-reconcile.timer"),
        calls: "OnUnitInactiveSec=",
        without: "a gate that closes stops no service",
        vital: false,
        wanted_by: Some("timers.target"),
    },
];

const ZFS_MOUNT: Part = Part {
    name: "zfs-mount.service.d/f3skeys.conf",
    text: include_str!("../../systemd/zfs-mount.service.d/f3skeys.conf"),
    calls: "TimeoutStartSec=",
    without: "on a suspended pool `zfs mount -a` may hold the boot for ever",
    vital: false,
    wanted_by: None,
};

/// It gives the other units their drop-ins.
const GENERATOR: Part = Part {
    name: "f3skeys-generator",
    text: include_str!("../../systemd/f3skeys-generator"),
    calls: "/usr/lib/f3skeys/drop-ins",
    without: "no service asks a gate before it starts",
    vital: true,
    wanted_by: None,
};

const RULE: Part = Part {
    name: "90-f3skeys.rules",
    text: include_str!("../../systemd/90-f3skeys.rules"),
    calls: "f3skeys-late.service",
    without: "a stick that comes late does not finish the boot by itself",
    vital: false,
    wanted_by: None,
};

pub(super) fn look(found: &mut Found) {
    for part in &PARTS {
        let there = look_at(found, part, UNITS, &BEFORE_UNITS);
        if let Some(target) = part.wanted_by.filter(|_| there) {
            pulled_in(found, target, part.name, part.without, part.vital);
        }
    }
    look_at(found, &ZFS_MOUNT, DROP_INS, &BEFORE_UNITS);
    look_at(found, &GENERATOR, GENERATORS, &BEFORE_GENERATORS);
    in_effect(found);
    look_at(found, &RULE, RULES, &BEFORE_RULES);
    pulled_in(
        found,
        "multi-user.target",
        "zfs.target",
        "nothing of ZFS, and no unit of f3skeys, starts at boot",
        true,
    );
    let wanted = Wanted {
        executable: true,
        early: EARLY,
        without: "the units have no program to run",
        remedy: INSTALL,
    };
    found.file(program(Systemd), &wanted);
}

/// Judges whether the running systemd has the drop-ins: without, a service that starts now asks no
/// gate. Where no systemd runs there is nothing to judge.
fn in_effect(found: &mut Found) {
    const GENERATED: &str = "/run/systemd/generator";
    let is_enabled = is_linked(found, "zfs.target", "f3skeys.service") == Some(true);
    if !is_enabled || matches!(found.host.about(GENERATED), Ok(None)) {
        return;
    }
    for directory in found.names(DROP_INS) {
        let name = format!("{directory}/f3skeys.conf");
        let wanted = found.text(&format!("{DROP_INS}/{name}"));
        if wanted.is_some() && found.text(&format!("{GENERATED}/{name}")) != wanted {
            let unit = directory.trim_end_matches(".d");
            let what = "its drop-in is not in effect: systemd has not run f3skeys-generator since f3skeys was enabled, or it failed";
            let remedy =
                "`systemctl daemon-reload`; if that mends nothing, `journalctl -b` says why";
            found.findings.warn(unit, what, remedy);
        }
    }
}

/// Judges the file that counts; tells whether there is one.
fn look_at(found: &mut Found, part: &Part, home: &str, preferred: &[&str]) -> bool {
    for directory in preferred {
        let path = format!("{directory}/{}", part.name);
        if hides(found, part, &path) {
            return true;
        }
    }
    let path = format!("{home}/{}", part.name);
    if part.vital {
        let wanted = Wanted {
            executable: home == GENERATORS,
            early: EARLY,
            without: part.without,
            remedy: INSTALL,
        };
        if !found.file(&path, &wanted) {
            return false;
        }
    }
    match found.host.text(&path) {
        Ok(Some(text)) => compare(found, part, &path, &text),
        Ok(None) => {
            let what = format!("is not there: {}", part.without);
            found.findings.warn(&path, &what, INSTALL);
        }
        Err(e) => found.findings.unknown(&path, &e.to_string()),
    }
    true
}

/// Whether a file that systemd prefers to ours is there; it is judged instead of ours.
fn hides(found: &mut Found, part: &Part, path: &str) -> bool {
    match found.host.link(path) {
        Ok(Some(target)) if target == Path::new("/dev/null") => {
            let what = format!("masks this version's: {}", part.without);
            let name = part.name;
            let remedy = match part.wanted_by.is_some() {
                true => command!("systemctl unmask {}", name),
                false => format!("{}, `systemctl daemon-reload`", command!("rm {}", path)),
            };
            say(found, part, path, &what, &remedy);
            return true;
        }
        Ok(_) => {}
        Err(e) => {
            found.findings.unknown(path, &e.to_string());
            return true;
        }
    }
    match found.host.text(path) {
        Ok(None) => false,
        Ok(Some(text)) => {
            compare(found, part, path, &text);
            true
        }
        Err(e) => {
            found.findings.unknown(path, &e.to_string());
            true
        }
    }
}

fn compare(found: &mut Found, part: &Part, path: &str, text: &str) {
    if text == fitted(part.text, Systemd) {
        return;
    }
    let works = text
        .lines()
        .any(|line| !line.trim_start().starts_with('#') && line.contains(part.calls));
    if works {
        found
            .findings
            .warn(path, "is older than this version, or was changed", INSTALL);
    } else {
        let what = format!("a foreign file is in the way: {}", part.without);
        let remedy = format!("move it out of the way, then {INSTALL}");
        say(found, part, path, &what, &remedy);
    }
}

fn say(found: &mut Found, part: &Part, path: &str, what: &str, remedy: &str) {
    match part.vital {
        true => found.findings.fail(path, what, remedy),
        false => found.findings.warn(path, what, remedy),
    }
}

/// Judges whether a target wants the unit. What another unit of the boot wants starts as well, and
/// in its order.
fn pulled_in(found: &mut Found, target: &str, unit: &str, without: &str, vital: bool) {
    let Some(wanted) = is_linked(found, target, unit) else {
        return;
    };
    if wanted {
        return;
    }
    let remedy = command!("systemctl enable {}", unit);
    match wanted_besides(found, unit) {
        Some(other) => {
            let what = format!("is not enabled: it starts only because {other} wants it");
            found.findings.warn(unit, &what, &remedy);
        }
        None => {
            let what = format!("is not enabled: {without}");
            match vital {
                true => found.findings.fail(unit, &what, &remedy),
                false => found.findings.warn(unit, &what, &remedy),
            }
        }
    }
}

/// The unit of the boot that wants this one by a line of ours.
fn wanted_besides(found: &mut Found, unit: &str) -> Option<&'static str> {
    const READY: &str = "f3sready.service";
    let wanted = unit == "f3skeys.service" && is_linked(found, "zfs.target", READY) == Some(true);
    wanted.then_some(READY)
}

/// Whether a target wants the unit, by a link of `systemctl enable` or of a package. `None`, with a
/// finding, when that cannot be told.
fn is_linked(found: &mut Found, target: &str, unit: &str) -> Option<bool> {
    for directory in [BEFORE_UNITS[0], UNITS] {
        for kind in ["wants", "requires"] {
            let path = format!("{directory}/{target}.{kind}/{unit}");
            match found.host.about(&path) {
                Ok(Some(_)) => return Some(true),
                Ok(None) => {}
                Err(e) => {
                    found.findings.unknown(unit, &e.to_string());
                    return None;
                }
            }
        }
    }
    Some(false)
}
