//! Mount units of systemd that would not let a mount stand: what is bound to a unit that is not active
//! is unmounted as soon as it is mounted. It is systemd's own state that is judged here, wherever its
//! units come from.

use crate::config::Config;
use crate::host::zfs_generator::mount_unit;
use crate::names::DatasetName;
use crate::plan::Observed;
use crate::report::{Finding, Findings, Severity};
use crate::shell::command;
use crate::sorted::Set;
use crate::system::System;
use crate::time::Deadline;
use crate::zfs::Mountpoint;

/// Where units lie that our generator has put before those of others.
const OURS: &str = "/run/systemd/generator.early/";

/// A unit as systemd has it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Its name.
    pub name: String,
    /// Whether it is active; what is on its way there is not.
    pub active: bool,
    /// The file that it is read from; empty where there is none.
    pub file: String,
    /// The units without which it does not stay.
    pub bound_to: Vec<String>,
}

/// What systemd is asked of a unit: the properties of [`units`].
pub const PROPERTIES: &str = "Id,ActiveState,FragmentPath,BindsTo";

/// Reads what `systemctl show` says of units.
///
/// # Errors
/// A line is not understood, or a unit has no name.
pub fn units(text: &str) -> Result<Vec<Unit>, String> {
    let blocks = text.split("\n\n").filter(|block| !block.trim().is_empty());
    blocks.map(unit).collect()
}

fn unit(block: &str) -> Result<Unit, String> {
    let mut unit = Unit {
        name: String::new(),
        active: false,
        file: String::new(),
        bound_to: Vec::new(),
    };
    for line in block.split('\n').filter(|line| !line.is_empty()) {
        let (key, value) = line
            .split_once('=')
            .ok_or_else(|| format!("not understood: `{line}`"))?;
        match key {
            "Id" => unit.name = value.to_owned(),
            "ActiveState" => unit.active = value == "active",
            "FragmentPath" => unit.file = value.to_owned(),
            "BindsTo" => unit.bound_to = value.split_whitespace().map(str::to_owned).collect(),
            _ => return Err(format!("not understood: `{line}`")),
        }
    }
    match unit.name.is_empty() {
        true => Err("a unit without a name".to_owned()),
        false => Ok(unit),
    }
}

/// Asks systemd, and judges its answer.
pub fn look(
    system: &dyn System,
    config: &Config,
    observed: &Observed,
    deadline: Deadline,
) -> Vec<Falls> {
    let mounts = mount_units(config, observed);
    let names: Vec<String> = mounts.iter().map(|(name, _)| name.clone()).collect();
    let asked = system.units(&names, deadline).and_then(|units| {
        let holders = system.units(&held_by(&units), deadline)?;
        Ok(findings(&mounts, &units, &holders))
    });
    asked.unwrap_or_else(|trouble| {
        let mut found = Findings::default();
        found.unknown("mount units", &trouble.to_string());
        found.0.into_iter().map(Falls::only_said).collect()
    })
}

/// The mount units of what f3skeys answers for.
pub fn mount_units(config: &Config, observed: &Observed) -> Vec<(String, DatasetName)> {
    let ours = observed
        .datasets()
        .filter(|d| config.role_of(&d.name).is_some());
    ours.filter_map(|dataset| match &dataset.mountpoint {
        Mountpoint::Path(at) => Some((mount_unit(at.to_str()?)?, dataset.name.clone())),
        _ => None,
    })
    .collect()
}

/// The units that any of these is bound to, but for devices: a disk that is gone takes its file system
/// with it.
pub fn held_by(units: &[Unit]) -> Vec<String> {
    let names = units.iter().flat_map(|unit| &unit.bound_to);
    let names: Set<&String> = names.filter(|name| !name.ends_with(".device")).collect();
    names.into_iter().cloned().collect()
}

/// What would not stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Falls {
    /// What there is to say of it.
    pub finding: Finding,
    /// What is unmounted in the next boot as well.
    pub then: Option<DatasetName>,
}

impl Falls {
    fn only_said(finding: Finding) -> Falls {
        Falls {
            finding,
            then: None,
        }
    }
}

/// What falls, by mount units and what they are bound to.
pub fn findings(mounts: &[(String, DatasetName)], units: &[Unit], holders: &[Unit]) -> Vec<Falls> {
    let mut found = Vec::new();
    for (name, dataset) in mounts {
        let unit = units.iter().find(|unit| unit.name == *name);
        let bound_to = unit.iter().flat_map(|unit| &unit.bound_to);
        let held_by = |name: &String| holders.iter().find(|holder| holder.name == *name);
        let missing = bound_to.filter(|name| !name.ends_with(".device"));
        for holder in missing.filter(|name| !held_by(name).is_some_and(|unit| unit.active)) {
            let ours = held_by(holder).is_some_and(|unit| unit.file.starts_with(OURS));
            found.push(Falls {
                finding: finding(name, dataset, holder, ours),
                then: (!ours).then(|| dataset.clone()),
            });
        }
    }
    found
}

/// Of a unit of ours it is only so now: the next boot starts it.
fn finding(unit: &str, dataset: &DatasetName, holder: &str, ours: bool) -> Finding {
    let what = format!(
        "is bound to {holder}, which is not active: systemd unmounts {dataset} as soon as it is mounted"
    );
    let start = command!("systemctl start {}", holder);
    let remedy = match ours {
        true => format!("{start}, then `f3skeys ready`"),
        false => format!(
            "switch the unit off that makes it so; if zfs-mount-generator does (`systemctl cat` shows it), {}, then {}",
            command!("zfs set org.openzfs.systemd:ignore=on {}", dataset),
            "`systemctl daemon-reload`"
        ),
    };
    let severity = match ours {
        true => Severity::Warning,
        false => Severity::Failure,
    };
    Finding::new(severity, unit, &what, &remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: &str = "Id=data-nfs.mount\nBindsTo=zfs-load-key@zdata-enc.service\nActiveState=active\nFragmentPath=/run/systemd/generator/data-nfs.mount\n\nId=-.mount\nBindsTo=\nActiveState=active\nFragmentPath=\n";

    #[test]
    fn what_systemctl_shows_is_read_unit_by_unit() {
        let read = units(SHOWN).unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].bound_to, ["zfs-load-key@zdata-enc.service"]);
        assert_eq!((read[1].name.as_str(), read[1].active), ("-.mount", true));
        assert_eq!(held_by(&read), ["zfs-load-key@zdata-enc.service"]);
        for odd in ["Id\n", "Name=x\n", "ActiveState=active\n"] {
            assert!(units(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn law_10_what_is_bound_to_a_unit_that_is_not_active_does_not_stand() {
        let mounts = [(
            "data-nfs.mount".to_owned(),
            "zdata/enc/nfsdata".parse().unwrap(),
        )];
        let read = units(SHOWN).unwrap();
        let holder = |state: &str, file: &str| {
            let name = "zfs-load-key@zdata-enc.service";
            units(&format!(
                "Id={name}\nActiveState={state}\nFragmentPath={file}\n"
            ))
            .unwrap()
        };
        let severities = |holders: &[Unit]| {
            let found = findings(&mounts, &read, holders);
            found.iter().map(|f| f.finding.severity).collect::<Vec<_>>()
        };
        let theirs = "/run/systemd/generator/zfs-load-key@zdata-enc.service";
        let ours = "/run/systemd/generator.early/zfs-load-key@zdata-enc.service";
        assert_eq!(severities(&holder("active", theirs)), []);
        for state in ["inactive", "failed", "activating", "deactivating"] {
            assert_eq!(severities(&holder(state, theirs)), [Severity::Failure]);
            assert_eq!(severities(&holder(state, ours)), [Severity::Warning]);
        }
        assert_eq!(severities(&[]), [Severity::Failure], "it is not known");
    }
}
