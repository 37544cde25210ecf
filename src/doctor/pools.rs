//! The configuration against the pools, and what the pools hold besides.

use super::facts::{Facts, is_seen};
use crate::config::{Condition, Config, Gate, Role, Root};
use crate::early;
use crate::gate;
use crate::host::{InitSystem, Setting};
use crate::legacy;
use crate::names::DatasetName;
use crate::places::Places;
use crate::plan::{self, KeyState, Observed, Pool, Refusal, Verdict};
use crate::report::{Findings, Severity};
use crate::roles;
use crate::seals::{self, Seals};
use crate::shell::command;
use crate::twins::{self, place};
use crate::verdict;
use crate::zfs::version;
use crate::zfs::{Damaged, Dataset, KeyFormat, KeyStatus, Kind, Mountpoint, Source};
use std::path::Path;

const IN_CONFIGURATION: &str = "correct it in the configuration";

pub(super) fn check(config: &Config, facts: &Facts, said: &mut Findings) {
    if let Err(why) = &facts.pools {
        said.unknown("pools", why);
    }
    if let Some(why) = version::why_program(facts.zfs_version.as_deref()) {
        said.note(
            "zfs",
            &format!("the `zfs` program does the work, which is slower: {why}"),
        );
    }
    for (name, pool) in &facts.observed.pools {
        state(config, &facts.observed, name, pool, said);
    }
    let missing = roots(config, &facts.observed, said);
    for damaged in facts.observed.damaged.values() {
        not_understood(config, damaged, said);
    }
    for gate in &config.gates {
        for need in &gate.needs {
            condition(facts, gate, need, &missing, said);
        }
        peers(config, facts, gate, &missing, said);
    }
    let all: Vec<&Dataset> = facts.observed.datasets().collect();
    for dataset in &all {
        unconfigured(config, dataset, &all, said);
    }
    for root in &config.roots {
        if root.role == Role::Replica {
            replica(facts, root, said);
        }
    }
    said.0.extend(roles::promotions(config, &facts.observed));
    mountpoints(config, &facts.observed, said);
    said.0.extend(roles::strays(config, &facts.observed));
    said.0.extend(early::findings(config, &facts.observed));
    shares(config, &facts.observed, said);
    let promoted = facts.observed.promoted(config);
    for dataset in facts.observed.datasets() {
        if config.role_now(&dataset.name, &promoted) == Some(Role::Replica) {
            writable(config, facts, dataset, said);
        }
    }
    prompts(facts, said);
}

fn state(config: &Config, observed: &Observed, name: &str, pool: &Pool, said: &mut Findings) {
    let roots = config.roots.iter().map(|root| &root.dataset);
    let roots: Vec<&str> = roots
        .filter(|root| root.pool() == name)
        .map(DatasetName::as_str)
        .collect();
    let subject = format!("pool {name}");
    match pool {
        Pool::Seen(_) => {}
        Pool::NotImported => said.fail(
            &subject,
            &format!(
                "is not imported, so these stay locked: {}",
                roots.join(", ")
            ),
            &import(config, observed, name),
        ),
        Pool::Suspended => said.fail(
            &subject,
            "is suspended: nothing on it could be looked at",
            &format!("mend its disks, then {}", command!("zpool clear {}", name)),
        ),
        Pool::NotSeen(why) => said.unknown(&subject, why),
    }
}

/// How a pool that is missing comes back: it may be there under another name.
fn import(config: &Config, observed: &Observed, name: &str) -> String {
    let inside = |dataset: &DatasetName| {
        let rest = dataset.as_str().strip_prefix(dataset.pool());
        rest.map(str::to_owned)
    };
    let roots = config.roots.iter().map(|root| &root.dataset);
    let roots: Vec<String> = roots
        .filter(|root| root.pool() == name)
        .filter_map(inside)
        .collect();
    let looks_like_it = |dataset: &&Dataset| {
        dataset.encryption_root.as_ref() == Some(&dataset.name)
            && config.role_of(&dataset.name).is_none()
            && inside(&dataset.name).is_some_and(|rest| roots.contains(&rest))
    };
    match observed.datasets().find(looks_like_it) {
        Some(twin) => format!(
            "pool {} has {} and may be it under another name; if so: {}, {}",
            twin.name.pool(),
            twin.name,
            command!("zpool export {}", twin.name.pool()),
            command!("zpool import {} {}", twin.name.pool(), name)
        ),
        None => format!(
            "{}, or correct the configuration",
            command!("zpool import {}", name)
        ),
    }
}

/// Configured roots that the next boot could not open whatever is on the stick; gives those that do
/// not exist.
fn roots<'a>(config: &'a Config, observed: &Observed, said: &mut Findings) -> Vec<&'a DatasetName> {
    let keys = config.keys().into_iter();
    let keys = keys.map(|key| (key, KeyState::Usable)).collect();
    let plan = plan::keys(config, &after_power_cut(observed), &keys);
    let mut missing = Vec::new();
    for (root, (dataset, verdict)) in config.roots.iter().zip(&plan.roots) {
        if !matches!(verdict, Verdict::Locked(_)) || !is_seen(observed, dataset.pool()) {
            continue;
        }
        if *verdict == Verdict::Locked(Refusal::NoSuchDataset) {
            missing.push(&root.dataset);
        }
        said.0.extend(verdict::of_root(root, verdict, None).finding);
    }
    missing
}

/// A dataset of which nothing is known. A root has been complained of already.
fn not_understood(config: &Config, damaged: &Damaged, said: &mut Findings) {
    if config.roots.iter().any(|root| root.dataset == damaged.name) {
        return;
    }
    let what = format!("nothing is known of it: {damaged}");
    let name = damaged.name.as_str();
    match config.role_of(&damaged.name) {
        Some(_) => said.fail(name, &what, &damaged.remedy()),
        None => said.warn(name, &what, &damaged.remedy()),
    }
}

/// The pools as a boot will find them.
fn after_power_cut(observed: &Observed) -> Observed {
    let mut locked = observed.clone();
    for pool in locked.pools.values_mut() {
        let Pool::Seen(datasets) = pool else { continue };
        for dataset in datasets {
            if dataset.encryption_root.is_some() {
                dataset.key_status = KeyStatus::Unavailable;
            }
        }
    }
    locked
}

fn condition(
    facts: &Facts,
    gate: &Gate,
    need: &Condition,
    missing: &[&DatasetName],
    said: &mut Findings,
) {
    let subject = format!("gate {}", gate.name);
    let (dataset, path) = match need {
        Condition::Mounted { path, dataset } => (dataset, Some(path.as_path())),
        Condition::Writable(dataset) | Condition::Readonly(dataset) => (dataset, None),
        Condition::KeyLoaded(dataset)
        | Condition::Role { dataset, .. }
        | Condition::FreshSnapshot { dataset, .. } => (dataset, None),
        Condition::Present(_)
        | Condition::Absent(_)
        | Condition::Gate(_)
        | Condition::NotPromoted { .. } => return,
    };
    // One missing root, or one pool that was not seen, has been complained of already.
    let known = missing.iter().any(|root| dataset.is_at_or_below(root))
        || facts.observed.damaged.contains_key(dataset);
    if known || !is_seen(&facts.observed, dataset.pool()) {
        return;
    }
    match facts.dataset(dataset) {
        None => {
            let what = format!("never opens: there is no dataset {dataset}");
            said.fail(&subject, &what, IN_CONFIGURATION);
        }
        // Neither needs a mount: a device shows the key of a volume, the configuration a role.
        Some(found) if found.kind == Kind::Volume && matches!(need, Condition::KeyLoaded(_)) => {}
        Some(_) if matches!(need, Condition::Role { .. }) => {}
        Some(found) => mountable(facts, &subject, found, path, said),
    }
}

/// Whether a gate's peers are asked about what is there, and about all that the gate is about.
fn peers(
    config: &Config,
    facts: &Facts,
    gate: &Gate,
    missing: &[&DatasetName],
    said: &mut Findings,
) {
    let subject = format!("gate {}", gate.name);
    let own = gate.needs.iter().filter_map(|need| match need {
        Condition::NotPromoted { peer } => Some(peer),
        _ => None,
    });
    for peer in own {
        let replicas = config.replicas.iter().filter(|r| r.node == *peer);
        let replicas: Vec<&DatasetName> = replicas.map(|replica| &replica.of).collect();
        for of in &replicas {
            let known = missing.iter().any(|root| of.is_at_or_below(root))
                || facts.observed.damaged.contains_key(of);
            if !known && is_seen(&facts.observed, of.pool()) && facts.dataset(of).is_none() {
                let what = format!(
                    "never opens: {peer} is asked about a replica of {of}, and there is no such dataset"
                );
                said.fail(&subject, &what, IN_CONFIGURATION);
            }
        }
        let needs = gate::needs(config, gate).into_iter();
        for dataset in needs.filter_map(Condition::dataset) {
            let covers =
                |of: &&DatasetName| dataset.is_at_or_below(of) || of.is_at_or_below(dataset);
            if config.role_of(dataset) == Some(Role::Primary) && !replicas.iter().any(covers) {
                let what = format!(
                    "does not ask {peer} about {dataset}: `replicas` names none of it there"
                );
                let remedy = "name it in `replicas`, so that a promotion there is not missed";
                said.warn(&subject, &what, remedy);
            }
        }
    }
}

/// Whether the dataset that a gate waits for is ever mounted, and where the gate expects it.
fn mountable(
    facts: &Facts,
    subject: &str,
    found: &Dataset,
    path: Option<&Path>,
    said: &mut Findings,
) {
    let name = &found.name;
    match (place(found), path) {
        (Some(at), Some(path)) if at != path => {
            let real = |path| facts.real(name.pool(), path);
            match (real(at), real(path)) {
                (Ok(at), Ok(path)) if at == path => {}
                (Ok(_), Ok(_)) => {
                    let what = format!(
                        "never opens: it waits for {name} on {}, whose mountpoint is {}",
                        path.display(),
                        at.display()
                    );
                    said.fail(subject, &what, &other_place(name, at, path));
                }
                (Err(why), _) | (_, Err(why)) => said.unknown(subject, why),
            }
        }
        (Some(_), _) => {}
        (None, path) if in_fstab(facts, name, path) => {}
        (None, _) if found.mountpoint == Mountpoint::Legacy => {
            let what =
                format!("waits for {name}, which f3skeys does not mount (mountpoint=legacy)");
            let remedy = command!("zfs set mountpoint=ITS-PATH {}", name);
            said.warn(subject, &what, &remedy);
        }
        (None, _) => {
            let what = format!("never opens: {name} is never mounted on this node");
            let remedy = format!(
                "see {}",
                command!("zfs get type,canmount,mountpoint,jailed,zoned {}", name)
            );
            said.fail(subject, &what, &remedy);
        }
    }
}

/// A pool that was imported with `-R` shows all its mountpoints below that directory.
fn other_place(name: &DatasetName, at: &Path, path: &Path) -> String {
    let below = path.strip_prefix("/").unwrap_or(path);
    match at.ends_with(below) {
        true => format!(
            "{} tells whether the pool was imported with an altroot: then export it, and import it without `-R`; else {IN_CONFIGURATION}",
            command!("zpool get altroot {}", name.pool())
        ),
        false => IN_CONFIGURATION.to_owned(),
    }
}

/// Whether fstab mounts a dataset where it belongs, before gates are asked.
fn in_fstab(facts: &Facts, name: &DatasetName, path: Option<&Path>) -> bool {
    let fstab = facts.fstab.as_ref().ok();
    let mut lines = fstab
        .into_iter()
        .flat_map(|fstab| legacy::lines(facts.init, fstab));
    lines.any(|line| {
        let at = Path::new(&line.line.at);
        line.dataset == *name && line.in_time() && path.is_none_or(|path| path == at)
    })
}

fn unconfigured(config: &Config, dataset: &Dataset, all: &[&Dataset], said: &mut Findings) {
    let name = &dataset.name;
    let is_root = dataset.encryption_root.as_ref() == Some(name);
    if !is_root || config.roots.iter().any(|root| root.dataset == *name) {
        return;
    }
    if let Some(found) = twins::copy_at_or_below(all, name) {
        let what = format!(
            "is a backup copy, not to be named in `roots`: {} belongs on {}, where {} lives",
            found.copy.name,
            found.at.display(),
            found.original.name
        );
        return said.note(name.as_str(), &what);
    }
    if dataset.key_format == KeyFormat::Raw {
        let what = "is an encryption root that the configuration does not name: it stays locked at the next boot";
        let remedy = "name it in `roots`, with its key on the stick";
        return said.warn(name.as_str(), what, remedy);
    }
    let what = format!(
        "is an encryption root whose key is a {}: f3skeys leaves it alone",
        dataset.key_format
    );
    said.note(name.as_str(), &what);
}

/// The dataset that a replica is received into.
fn sink<'a>(facts: &'a Facts, root: &Root) -> Option<&'a Dataset> {
    let (parent, _) = root.dataset.as_str().rsplit_once('/')?;
    facts.dataset(&parent.parse().ok()?)
}

/// What is received into a sink has its properties from there, from its birth to the next boot.
fn replica(facts: &Facts, root: &Root, said: &mut Findings) {
    let Some(sink) = sink(facts, root) else {
        return;
    };
    let lacks = seals::lacking_in_sink(root, sink);
    if lacks.is_empty() {
        return;
    }
    let set = seals::settings(&lacks);
    let what = format!(
        "is the sink of the replica {} and lacks {set}: what is received into it lacks it as well, until the next boot",
        root.dataset
    );
    let remedy = seals::commands(&lacks, &sink.name);
    said.warn(sink.name.as_str(), &what, &remedy);
}

/// Where replicas are mounted, and who says so. Of what keeps a root locked its verdict has told.
fn mountpoints(config: &Config, observed: &Observed, said: &mut Findings) {
    let places = Places::of(config, observed);
    for dataset in observed.datasets() {
        match (places.elsewhere(dataset), &dataset.mountpoint) {
            (Some(found), _) if found.mounted && !is_refused(config, &places, dataset) => {
                said.0.push(roles::mounted_elsewhere(&found));
            }
            (None, Mountpoint::Path(at))
                if config.role_of(&dataset.name) == Some(Role::Replica) =>
            {
                received_mountpoint(dataset, at, said);
            }
            _ => {}
        }
    }
}

/// Whether the verdict on a root tells of it.
fn is_refused(config: &Config, places: &Places, dataset: &Dataset) -> bool {
    let root = dataset.encryption_root.as_ref();
    let root = config
        .roots
        .iter()
        .find(|known| Some(&known.dataset) == root);
    root.is_some_and(|root| root.role == Role::Replica) && places.goes_elsewhere(dataset)
}

/// It is where it belongs as long as the sender wants it.
fn received_mountpoint(dataset: &Dataset, at: &Path, said: &mut Findings) {
    if dataset.mountpoint_source != Source::Received {
        return;
    }
    let what = "its mountpoint comes with the stream: once the sender changes it, its key stays locked at the next boot";
    let remedy = format!(
        "{}, and have the receiver take no properties from the stream (docs/replication.md)",
        command!("zfs set mountpoint={} {}", at, &dataset.name)
    );
    said.warn(dataset.name.as_str(), what, &remedy);
}

/// Replicas that a stream has shared; what is inherited from one is not told by itself.
fn shares(config: &Config, observed: &Observed, said: &mut Findings) {
    let seals = Seals::of(config, observed);
    for dataset in observed.datasets() {
        let shared = seals.shared_by_stream(dataset);
        if shared.is_empty() {
            continue;
        }
        let (severity, when) = match dataset.mounted {
            true => (Severity::Alarm, "is shared"),
            false => (Severity::Warning, "would be shared once it is mounted"),
        };
        let what = format!(
            "this replica {when} by what a stream said, and not by this node: it lacks {}",
            seals::settings(&shared)
        );
        let remedy = format!(
            "{}, and have the receiver take no properties from the stream (docs/replication.md)",
            seals::commands(&shared, &dataset.name)
        );
        said.push(severity, dataset.name.as_str(), &what, &remedy);
    }
}

/// A replica, or a dataset below one, that can be written.
fn writable(config: &Config, facts: &Facts, dataset: &Dataset, said: &mut Findings) {
    let name = &dataset.name;
    let mut roots = config.roots.iter();
    let root = roots.find(|r| r.role == Role::Replica && name.is_at_or_below(&r.dataset));
    let Some(root) = root.filter(|_| !dataset.readonly) else {
        return;
    };
    let why = match &dataset.readonly_source {
        Source::Received => "it was received with readonly off",
        Source::Local => "readonly is set to off on it",
        Source::Temporary => "it is mounted so",
        // The dataset or the sink that it has this from is named instead.
        Source::Inherited(from) if !dataset.mounted && from.is_at_or_below(&root.dataset) => return,
        _ if !dataset.mounted && sink(facts, root).is_some_and(|sink| !sink.readonly) => return,
        _ => "nothing above it is read-only",
    };
    let (severity, can) = match dataset.mounted {
        true => (Severity::Alarm, "is mounted writable"),
        false => (Severity::Warning, "can be written"),
    };
    let what = format!("this replica {can}: {why}");
    let remedy = command!("zfs set readonly=on {}", name);
    said.push(severity, name.as_str(), &what, &remedy);
}

/// FreeBSD's own zfskeys may wait at the console for what a local `keylocation=prompt` asks for.
fn prompts(facts: &Facts, said: &mut Findings) {
    let Ok(rc) = &facts.rc else { return };
    let setting = |variable| rc.seen_by("zfskeys", variable);
    match setting("zfskeys_enable").is_yes() {
        _ if facts.init != InitSystem::Rc => return,
        Ok(false) => return,
        Ok(true) => {}
        Err(why) => return said.unknown("zfskeys_enable", &why),
    }
    let listed = match setting("zfskeys_datasets") {
        Setting::Unset => String::new(),
        Setting::Value(list) => list,
        Setting::Unknown(why) => return said.unknown("zfskeys_datasets", &why),
    };
    let listed: Vec<&str> = listed.split_whitespace().collect();
    let prompting: Vec<&str> = facts
        .observed
        .datasets()
        .filter(|d| d.key_location.as_deref() == Some("prompt"))
        .map(|d| d.name.as_str())
        .filter(|name| listed.is_empty() || listed.contains(name))
        .collect();
    if !prompting.is_empty() {
        let what = format!(
            "rc.d/zfskeys may hold the boot at the console for a key that nobody types: keylocation is prompt on {}",
            prompting.join(", ")
        );
        said.fail(
            "zfskeys_enable",
            &what,
            "`sysrc zfskeys_enable=NO`: f3skeys does its work",
        );
    }
}
