//! Jails and virtual machines of FreeBSD: their services have start commands of their own, which no
//! `NAME_prepend` keeps back.

use super::facts::Facts;
use crate::config::Config;
use crate::host::{InitSystem, RcConf, Setting};
use crate::names::DatasetName;
use crate::report::Findings;
use crate::twins::places;
use std::path::Path;

pub(super) fn check(config: &Config, facts: &Facts, said: &mut Findings) {
    // Without rc.conf the hooks have complained already.
    let (InitSystem::Rc, Ok(rc)) = (facts.init, &facts.rc) else {
        return;
    };
    match rc.seen_by("jail", "jail_enable").is_yes() {
        Ok(true) => jails(config, facts, said),
        Ok(false) => {}
        Err(why) => said.unknown("jail_enable", &why),
    }
    match rc.seen_by("vm", "vm_enable").is_yes() {
        Ok(true) => machines(config, rc, said),
        Ok(false) => {}
        Err(why) => said.unknown("vm_enable", &why),
    }
}

fn jails(config: &Config, facts: &Facts, said: &mut Findings) {
    let files = match &facts.jails {
        Ok(files) => files,
        Err(why) => return said.unknown("jail.conf", why),
    };
    let places = places(config, &facts.observed);
    for (file, text) in files {
        if asks(text) {
            continue;
        }
        let paths = statements(text).filter_map(jail_path);
        let found = paths.flat_map(|path| {
            let ours = places
                .iter()
                .filter(|(_, d)| config.role_of(&d.name).is_some());
            let on = ours.filter(move |(at, _)| Path::new(path).starts_with(at));
            on.max_by_key(|(at, _)| at.components().count())
                .map(|(_, dataset)| (path, &dataset.name))
        });
        for (path, dataset) in found {
            let what = format!(
                "starts a jail in {path}, which is on {dataset}, and asks no gate before: with that missing it runs in the directory under it"
            );
            let remedy = "add `exec.prestart += \"/usr/local/sbin/f3skeys gate NAME\";` there";
            said.warn(file, &what, remedy);
        }
    }
}

/// What stands between the braces and semicolons, without comments.
fn statements(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().filter_map(|line| line.split('#').next());
    lines.flat_map(|line| line.split([';', '{', '}']))
}

/// Whether a gate is asked anywhere in it.
fn asks(text: &str) -> bool {
    statements(text).any(|statement| statement.contains("/f3skeys gate "))
}

/// The directory of a jail, as far as no variable stands in it.
fn jail_path(statement: &str) -> Option<&str> {
    let (name, value) = statement.split_once('=')?;
    let value = value.trim().trim_matches('"');
    (name.trim() == "path").then(|| value.split('$').next().unwrap_or(value))
}

fn machines(config: &Config, rc: &RcConf, said: &mut Findings) {
    let list = match rc.seen_by("vm", "vm_list") {
        Setting::Unset => return,
        Setting::Value(list) if list.trim().is_empty() => return,
        Setting::Value(list) => list,
        Setting::Unknown(why) => return said.unknown("vm_list", &why),
    };
    let directory = match rc.seen_by("vm", "vm_dir") {
        Setting::Unset => return,
        Setting::Value(directory) => directory,
        Setting::Unknown(why) => return said.unknown("vm_dir", &why),
    };
    let dataset = directory.strip_prefix("zfs:").unwrap_or_default();
    let dataset = dataset.parse::<DatasetName>().ok();
    if let Some(dataset) = dataset.filter(|dataset| config.role_of(dataset).is_some()) {
        let what = format!(
            "vm-bhyve starts {} from {dataset} at boot, and asks no gate before",
            list.split_whitespace().collect::<Vec<_>>().join(", ")
        );
        let remedy = "take them out of it, and start them by a service of your own that asks a gate (docs/gates.md has one)";
        said.warn("vm_list", &what, remedy);
    }
}
