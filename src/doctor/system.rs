//! The system around: fstab, swap, CARP, NFS, and how the last boot went.

use super::facts::Facts;
use super::host_facts::{Service, Swap, SwapKind};
use crate::config::Config;
use crate::device::{self, Choice};
use crate::host::{FstabLine, InitSystem, Setting};
use crate::legacy;
use crate::report::{Findings, Report, Severity};
use crate::shell::command;
use std::path::Path;

pub(super) fn check(config: &Config, facts: &Facts, said: &mut Findings) {
    match &facts.fstab {
        Err(why) => said.unknown("/etc/fstab", why),
        Ok(fstab) => {
            for odd in &fstab.odd {
                said.unknown("/etc/fstab", odd);
            }
            let lines = fstab.lines.iter();
            for line in lines.filter(|line| is_stick(config, facts, line)) {
                stick_in_fstab(facts.init, line, said);
            }
            let known = legacy::Known::of(facts.init, config, &facts.observed);
            said.0.extend(known.findings(fstab));
        }
    }
    if let Err(why) = &facts.stick.aliases {
        said.unknown("names of the key device", why);
    }
    match &facts.swaps {
        Err(why) => said.unknown("swap", why),
        Ok(swaps) => swaps.iter().for_each(|one| swap(facts, one, said)),
    }
    carp(config, facts, said);
    locked(facts, said);
    open_for_rebuild(facts, said);
    if !config.gates.is_empty() {
        nfs(config, facts, said);
    }
    for (pass, report) in &facts.last {
        last(facts, pass, report.as_ref(), said);
    }
    for (verb, report) in &facts.daily {
        daily(facts, verb, report.as_ref(), said);
    }
}

/// A node may have been switched off for some days.
const LONG_AGO: u64 = 7 * 86_400;

/// Whether what is to run each day still does, whatever starts it.
fn daily(facts: &Facts, verb: &str, report: Option<&Report>, said: &mut Findings) {
    let subject = format!("last {verb}");
    let Some(report) = report else {
        return said.note(
            &subject,
            "no report of it is kept: the daily job is off, or has not run yet",
        );
    };
    // No time is kept of a clock that was wrong then, or is now.
    let age = report.ended.and_then(|then| facts.now.checked_sub(then));
    if let Some(age) = age.filter(|age| *age > LONG_AGO) {
        let days = age / 86_400;
        let what = format!("was {days} days ago: nobody would notice what rots meanwhile");
        let job = match (facts.init, verb) {
            (InitSystem::Rc, _) => "`sysrc -f /etc/periodic.conf daily_f3skeys_enable=YES`",
            (InitSystem::Systemd, "verify") => "`systemctl enable --now f3skeys-daily.timer`",
            (InitSystem::Systemd, _) => "`systemctl enable --now f3skeys-copies.timer`",
        };
        let remedy = format!("{} now, and each day: {job}", command!("f3skeys {}", verb));
        said.warn(&subject, &what, &remedy);
    }
}

/// Whether the line mounts the key device, whatever it calls it.
fn is_stick(config: &Config, facts: &Facts, line: &FstabLine) -> bool {
    let wanted = &config.store.wanted;
    let chosen = match &facts.stick.candidates {
        Ok(all) => device::choose(wanted, all),
        Err(_) => Choice::Absent(Vec::new()),
    };
    let device = Path::new(&line.device);
    let (node, label) = match &chosen {
        Choice::Found(device, filesystem) => (Some(&device.node), filesystem.label.as_ref()),
        _ => (None, wanted.label.as_ref()),
    };
    let by_label = label.is_some_and(|label| {
        let names = [
            format!("/dev/ufs/{label}"),
            format!("/dev/disk/by-label/{label}"),
            format!("LABEL={label}"),
            format!("LABEL=\"{label}\""),
        ];
        names.contains(&line.device)
    });
    let by_node = match node {
        Some(node) => device == node,
        // While it is away, any USB disk may be it.
        None => {
            facts.init == InitSystem::Rc
                && line.device.starts_with("/dev/da")
                && line.fstype == "ufs"
        }
    };
    let aliases = facts.stick.aliases.iter().flatten();
    let by_alias = by_tag(&line.device)
        .is_some_and(|tagged| aliases.clone().any(|alias| *alias == Path::new(&tagged)));
    let at_mountpoint = Path::new(&line.at) == config.store.mountpoint;
    by_label || by_node || by_alias || at_mountpoint
}

/// The link that `UUID=…` and the like stand for.
fn by_tag(device: &str) -> Option<String> {
    if device.starts_with("/dev/disk/") {
        return Some(device.to_owned());
    }
    let (tag, value) = device.split_once('=')?;
    let kind = match tag {
        "UUID" => "by-uuid",
        "LABEL" => "by-label",
        "PARTUUID" => "by-partuuid",
        "PARTLABEL" => "by-partlabel",
        "ID" => "by-id",
        _ => return None,
    };
    Some(format!("/dev/disk/{kind}/{}", value.trim_matches('"')))
}

fn stick_in_fstab(init: InitSystem, line: &FstabLine, said: &mut Findings) {
    let (optional, danger) = match init {
        InitSystem::Rc => ("failok", "drops to single-user mode"),
        InitSystem::Systemd => ("nofail", "waits for it and drops to an emergency shell"),
    };
    let subject = "/etc/fstab";
    let device = &line.device;
    if line.has("noauto") {
        return;
    }
    let instead = legacy::written(line, &["ro", "noauto", optional]);
    let remedy = &format!(
        "take the line out, since f3skeys mounts the stick itself while it reads it; or write this one instead: {instead}"
    );
    if line.has(optional) {
        let what =
            format!("mounts the key device ({device}) at boot and leaves it mounted, keys and all");
        said.warn(subject, &what, remedy);
    } else {
        let what = format!("names the key device ({device}): without the stick the boot {danger}");
        said.fail(subject, &what, remedy);
    }
}

fn swap(facts: &Facts, swap: &Swap, said: &mut Findings) {
    let encrypted = match &swap.kind {
        SwapKind::Safe => Some(true),
        SwapKind::Plain => Some(false),
        SwapKind::Unknown => None,
        SwapKind::Volume(name) => facts.dataset(name).map(|d| d.encryption_root.is_some()),
    };
    let remedy = match facts.init {
        InitSystem::Rc => "use an encrypted device for it: add `.eli` to its name in /etc/fstab",
        InitSystem::Systemd => {
            "use an encrypted device for it (crypttab(5), option `swap`), or zram"
        }
    };
    let danger = "f3skeys locks its own memory, but `zfs` has a copy of each key for a moment";
    match encrypted {
        Some(true) => {}
        Some(false) => {
            let what = format!("memory is swapped to it in the clear: {danger}");
            said.warn(&swap.name, &what, remedy);
        }
        None => {
            let what = format!("not known whether this swap is encrypted: {danger}");
            said.warn(&swap.name, &what, remedy);
        }
    }
}

const TUNABLE: &str = "net.inet.carp.allow";

fn carp(config: &Config, facts: &Facts, said: &mut Findings) {
    let held = match &facts.loader {
        Err(why) => return said.unknown("loader.conf", why),
        Ok(variables) => variables.get(TUNABLE).is_some_and(|value| value == "0"),
    };
    match (&config.carp, facts.init) {
        (Some(_), InitSystem::Systemd) => said.warn(
            "carp",
            "does nothing on this system: CARP is FreeBSD's",
            "take `carp` out of the configuration; keepalived can ask `f3skeys gate`",
        ),
        (Some(carp), InitSystem::Rc) if !held => said.fail(
            TUNABLE,
            &format!(
                "is not 0 at boot: the node may become CARP master before gate {} is open",
                carp.gate
            ),
            "switch it on in /boot/loader.conf.d/f3skeys.conf",
        ),
        (Some(carp), InitSystem::Rc) => {
            let_in_early(facts, carp.gate.as_str(), said);
            lets_in(facts, said);
        }
        (None, _) if held => said.fail(
            TUNABLE,
            "holds CARP at boot, and the configuration has no `carp`: nothing ever sets it back",
            "take it out of the loader's configuration, or name a gate in `carp`",
        ),
        (None, _) => {}
    }
}

/// Whether rc itself undoes the hold of the loader, before anything of ours runs.
fn let_in_early(facts: &Facts, gate: &str, said: &mut Findings) {
    let variables = match &facts.sysctl {
        Ok(variables) => variables,
        Err(why) => return said.unknown("sysctl.conf", why),
    };
    if let Some((_, path)) = variables.get(TUNABLE).filter(|(value, _)| value != "0") {
        let what = format!(
            "is set by {path} at boot, whatever the loader says: the node may become CARP master before gate {gate} is open"
        );
        said.fail(TUNABLE, &what, "take the line out of that file");
    }
}

/// Whether anything sets the tunable back once the gate is open.
fn lets_in(facts: &Facts, said: &mut Findings) {
    const VARIABLE: &str = "f3scarp_enable";
    // Without rc.conf the hooks have complained already.
    let Ok(rc) = &facts.rc else { return };
    match rc.seen_by("f3scarp", VARIABLE).is_yes() {
        Ok(true) => {}
        Ok(false) => said.fail(
            VARIABLE,
            "is not YES, so nothing sets net.inet.carp.allow back to 1: the node never takes an address",
            "`sysrc f3scarp_enable=YES`",
        ),
        Err(why) => said.unknown(VARIABLE, &why),
    }
}

fn locked(facts: &Facts, said: &mut Findings) {
    match &facts.locked {
        Ok(false) => {}
        Ok(true) => said.warn(
            "this node",
            "is locked, by a person and `f3skeys lock`: every gate stays closed",
            "`f3skeys boot`, `f3skeys ready` and `f3skeys carp` undo it",
        ),
        Err(why) => said.unknown("the run directory", why),
    }
}

fn open_for_rebuild(facts: &Facts, said: &mut Findings) {
    let what = match &facts.rebuild {
        Ok(None) => return,
        Ok(Some(open)) => open.text(),
        Err(why) => why.clone(),
    };
    let remedy = "`f3skeys receive --rebuild --end`, once `f3skeys verify` shows all that was lost";
    said.warn("this node", &what, remedy);
}

fn nfs(config: &Config, facts: &Facts, said: &mut Findings) {
    let services = match &facts.nfs {
        Ok(services) => services,
        // Without rc.conf the hooks have complained already.
        Err(_) if facts.rc.is_err() => return,
        Err(why) => return said.unknown("NFS services", why),
    };
    for service in services {
        match &service.before {
            Setting::Unknown(why) => said.unknown(&service.name, why),
            Setting::Unset if service.serves => ungated(facts.init, service, said),
            Setting::Unset => {}
            Setting::Value(commands) => match asked(commands) {
                None if service.serves => ungated(facts.init, service, said),
                None => {}
                Some(gate) if config.gates.iter().any(|g| g.name.as_str() == gate) => {}
                Some(gate) => {
                    let what = format!(
                        "waits for gate {gate}, which the configuration does not have: it never starts"
                    );
                    said.fail(
                        &service.name,
                        &what,
                        "name a gate of the configuration there",
                    );
                }
            },
        }
    }
}

/// The gate that a service asks before it starts.
fn asked(commands: &str) -> Option<&str> {
    let words: Vec<&str> = commands.split_whitespace().collect();
    words
        .windows(3)
        .find(|words| words[0].ends_with("/f3skeys") && words[1] == "gate")
        .map(|words| words[2])
}

fn ungated(init: InitSystem, service: &Service, said: &mut Findings) {
    let remedy = match init {
        InitSystem::Rc => format!(
            "`make install` puts the gate into /etc/rc.conf.d/{}",
            service.name
        ),
        InitSystem::Systemd => format!(
            "`make install` puts the gate into a drop-in of {}",
            service.name
        ),
    };
    let what = "starts without asking a gate: with its datasets missing it serves the directories under them";
    said.fail(&service.name, what, &remedy);
}

fn last(facts: &Facts, pass: &str, report: Option<&Report>, said: &mut Findings) {
    let subject = format!("last {pass}");
    let Some(report) = report else {
        return said.note(
            &subject,
            "no report of it is kept, or none that can be read",
        );
    };
    if let (Some(then), Some(now)) = (&report.boot, &facts.boot)
        && then != now
    {
        let what = "was in an earlier boot: f3skeys did not run in this one";
        said.fail(
            &subject,
            what,
            &format!("see why, then {}", command!("f3skeys {}", pass)),
        );
        return;
    }
    let alarms = report
        .findings
        .iter()
        .filter(|f| f.severity == Severity::Alarm);
    let mut alarmed = false;
    for alarm in alarms {
        alarmed = true;
        let what = format!("{}: {}", alarm.subject, alarm.what);
        said.push(Severity::Alarm, &subject, &what, &alarm.remedy);
    }
    if report.status != 0 && !alarmed {
        let what = format!("ended with exit status {}", report.status);
        let remedy = format!(
            "`f3skeys status` shows why; mend it, then {}",
            command!("f3skeys {}", pass)
        );
        said.fail(&subject, &what, &remedy);
    }
}
