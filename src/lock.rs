//! `f3skeys lock`: the opposite of a boot, for a person who wants the node's data closed. Gates
//! first, then CARP, services, file systems and keys; nothing is forced, and what is in use stays as
//! it is and is named. `boot`, `ready` and `carp` undo it.

pub mod plan;

use crate::carp;
use crate::config::Config;
use crate::config::Root;
use crate::evaluate::{self, Peers};
use crate::exit::Fault;
use crate::guard;
use crate::host::InitSystem;
use crate::marker;
use crate::names::{DatasetName, ServiceName};
use crate::os::PATHS;
use crate::pass::{Node, ONE_CALL, Pass};
use crate::plan::{Pool, is_loaded};
use crate::report::{Report, RootLine, Severity};
use crate::shell::command;
use crate::sorted::Map;
use crate::stopping::{self, Stop};
use crate::trouble::Trouble;
use crate::zfs::Damaged;
use plan::{Kept, Unmount};
use std::io;
use std::path::Path;
use std::time::Duration;

/// A file system can be freed by the one that was mounted over it, and so on.
const ROUNDS: usize = 4;
/// What to do once a complaint is mended.
const AGAIN: &str = "then `f3skeys lock`";

/// Why steps did not work, by dataset.
#[derive(Default)]
struct Failed {
    unmounts: Map<DatasetName, String>,
    keys: Map<DatasetName, String>,
}

/// Closes the gates, stops their services, unmounts the roots and unloads their keys.
pub fn lock(node: Node, config: &Config) -> Report {
    let mut pass = Pass::begin("lock", node, config);
    let Some(_lock) = pass.lock() else {
        return pass.finish();
    };
    close_gates(&mut pass);
    pass.phase("carp", |pass| ((), hold_carp(pass)));
    pass.phase("services", |pass| ((), stop_services(pass)));
    pass.phase("pools", |pass| {
        pass.observe_all();
        ((), pass.pools_in_words())
    });
    let mut failed = Failed::default();
    pass.phase("mounts", |pass| ((), unmount_all(pass, &mut failed)));
    pass.phase("keys", |pass| ((), unload_all(pass, &mut failed)));
    guard::bare(&mut pass);
    judge(&mut pass, &failed);
    pass.finish()
}

/// From here on every gate is closed, whatever its conditions say.
fn close_gates(pass: &mut Pass) {
    let run = pass.node.run;
    match marker::is_locked(run) {
        Ok(true) => {}
        Ok(false) | Err(_) => match marker::set_locked(run, true) {
            Ok(()) => {
                let change = "locked the node: its gates stay closed until `f3skeys boot`";
                pass.report.change(change);
            }
            Err(e) => not_closed(pass, &e),
        },
    }
    evaluate::gates(pass, false, &Peers::NotAsked);
    // What is left is of gates that the configuration has no more.
    match marker::remove_stale(run, None) {
        Ok(names) => {
            let removed = names
                .iter()
                .map(|name| format!("removed the marker {name}").into());
            pass.report.changed.extend(removed);
        }
        Err(e) => not_closed(pass, &e),
    }
}

fn not_closed(pass: &mut Pass, why: &io::Error) {
    let what = format!("the gates could not be closed for good: {why}");
    let remedy = format!("make the directory writable for root, {AGAIN}");
    let subject = pass.node.run.display().to_string();
    pass.report
        .find(Severity::Failure, &subject, &what, &remedy);
    pass.report.fail(Fault::System);
}

fn hold_carp(pass: &mut Pass) -> String {
    if pass.config.carp.is_none() {
        return "no CARP hold is configured".to_owned();
    }
    match pass.node.system.carp() {
        Ok(None) => "there is no CARP here".to_owned(),
        Ok(Some(false)) => "every address is held in INIT already".to_owned(),
        Ok(Some(true)) => match carp::set(pass, false) {
            Ok(()) => {
                let change = "held every CARP address in INIT, so that the peer takes over";
                pass.report.change(change);
                "every address is held in INIT".to_owned()
            }
            Err(trouble) => carp::failed(pass, &trouble.to_string()),
        },
        Err(trouble) => carp::failed(pass, &trouble.to_string()),
    }
}

/// Stops the services of all gates, the last one first, in half of the time there is.
fn stop_services(pass: &mut Pass) -> String {
    let services = services(pass.config);
    let half = pass.deadline.share(pass.clock(), 2);
    let stops = stopping::stop_all(pass, &services, half, Duration::MAX);
    let mut stopped = 0;
    for (service, stop) in services.iter().zip(stops) {
        match stop {
            Stop::Already => {}
            Stop::Stopped => {
                pass.report.change(format!("stopped {service}"));
                stopped += 1;
            }
            stop => {
                let what = format!("the service could not be stopped: {}", stop.words());
                let remedy = format!("see why, stop it, {AGAIN}");
                let subject = service.to_string();
                pass.report
                    .find(Severity::Failure, &subject, &what, &remedy);
                pass.report.fail(Fault::Unavailable);
            }
        }
    }
    format!("{stopped} of {} stopped", services.len())
}

/// The services of all gates, each once, in the opposite order of their start.
fn services(config: &Config) -> Vec<ServiceName> {
    let mut services: Vec<ServiceName> = Vec::new();
    for service in config.gates.iter().flat_map(|gate| &gate.services) {
        if !services.contains(service) {
            services.push(service.clone());
        }
    }
    services.reverse();
    services
}

/// Unmounts until nothing is left or nothing works any more. An unmount may have to write all that
/// is in memory, so each pool gets an equal part of three quarters of the time.
fn unmount_all(pass: &mut Pass, failed: &mut Failed) -> String {
    let pools = pass.config.pools();
    let parts = u32::try_from(pools.len()).unwrap_or(u32::MAX);
    let share = pass.deadline.left(pass.clock()) * 3 / 4 / parts.max(1);
    let mut left: Map<String, Duration> = pools.into_iter().map(|p| (p, share)).collect();
    for _ in 0..ROUNDS {
        let observed = pass.observed.clone();
        let mounted = pass.node.system.mounts().unwrap_or_default();
        let mut changed = false;
        let unknown = plan::unknown(pass.config, &observed, &mounted);
        let known = plan::plan(pass.config, &observed).unmounts;
        for step in unknown.into_iter().chain(known) {
            let left = left.entry(step.dataset.pool().to_owned()).or_default();
            changed |= unmount(pass, &step, left, failed);
        }
        if !changed {
            break;
        }
        pass.observe_all();
    }
    match plan::plan(pass.config, &pass.observed).unmounts.len() {
        0 => "nothing is mounted that was seen".to_owned(),
        1 => "1 file system is still mounted".to_owned(),
        n => format!("{n} file systems are still mounted"),
    }
}

/// Unmounts one file system and takes its time off what its pool has left.
fn unmount(pass: &mut Pass, step: &Unmount, left: &mut Duration, failed: &mut Failed) -> bool {
    if pass.is_given_up(step.dataset.pool()) {
        return false;
    }
    let begun = pass.clock().now();
    let deadline = pass.deadline.at_most(pass.clock(), *left);
    let done = pass.node.zfs.unmount(step.dataset, deadline);
    *left = left.saturating_sub(pass.clock().now() - begun);
    let change = match step.at {
        Some(at) => format!("unmounted {} from {}", step.dataset, at.display()),
        None => format!("unmounted {}", step.dataset),
    };
    note(pass, step.dataset, done, change, &mut failed.unmounts)
}

/// Unloads the key of every configured root of which nothing is mounted any more.
fn unload_all(pass: &mut Pass, failed: &mut Failed) -> String {
    let observed = pass.observed.clone();
    let mut changed = false;
    let unknown = plan::unknown_roots(pass.config, &observed);
    let known = plan::plan(pass.config, &observed).keys;
    for root in known.into_iter().chain(unknown) {
        if pass.is_given_up(root.pool()) {
            continue;
        }
        let deadline = pass.deadline.at_most(pass.clock(), ONE_CALL);
        let done = pass.node.zfs.unload_key(root, deadline);
        let change = format!("unloaded the key of {root}");
        changed |= note(pass, root, done, change, &mut failed.keys);
    }
    if changed {
        pass.observe_all();
    }
    let roots = pass.config.roots.iter();
    let loaded = roots.filter(|root| is_loaded(&pass.observed, &root.dataset));
    match loaded.count() {
        0 => "no key is loaded that was seen".to_owned(),
        n => format!("{n} of {} keys stay loaded", pass.config.roots.len()),
    }
}

/// Notes what came of a step.
fn note(
    pass: &mut Pass,
    dataset: &DatasetName,
    done: Result<(), Trouble>,
    change: String,
    failed: &mut Map<DatasetName, String>,
) -> bool {
    match done {
        Ok(()) => {
            pass.report.change(change);
            failed.remove(dataset);
            true
        }
        Err(trouble) => {
            pass.note_trouble(dataset.pool(), &trouble);
            failed.insert(dataset.clone(), trouble.to_string());
            false
        }
    }
}

/// The last plan, made of the last observation, says what is not locked.
fn judge(pass: &mut Pass, failed: &Failed) {
    let observed = pass.observed.clone();
    let left = plan::plan(pass.config, &observed);
    for step in &left.unmounts {
        tell_mounted(pass, step, failed);
    }
    for (root, why) in &left.kept {
        tell_kept(pass, root, why);
    }
    for root in &left.keys {
        tell_loaded(pass, root, failed);
    }
    let roots = plan::unknown_roots(pass.config, &observed);
    let ours = |d: &&Damaged| pass.config.role_of(&d.name).is_some() && !roots.contains(&&d.name);
    for damaged in observed.damaged.values().filter(ours) {
        let what = format!("not known whether it is mounted: {damaged}");
        let remedy = format!("{}, {AGAIN}", damaged.remedy());
        complain(&mut *pass, &damaged.name, &what, &remedy);
    }
    for root in &left.strangers {
        let what = "its key stays loaded: it is no root of the configuration, so no boot would load it again";
        let remedy = format!(
            "name it in `roots`; or {}",
            command!("zfs unload-key {}", root)
        );
        pass.report
            .find(Severity::Warning, root.as_str(), what, &remedy);
    }
    for root in &pass.config.roots {
        judge_root(pass, root);
    }
}

/// Says what is not as `lock` wants it.
fn complain(pass: &mut Pass, dataset: &DatasetName, what: &str, remedy: &str) {
    let subject = dataset.as_str();
    pass.report.find(Severity::Failure, subject, what, remedy);
    pass.report.fail(Fault::Unavailable);
}

fn why_left(pass: &Pass, failed: &Map<DatasetName, String>, dataset: &DatasetName) -> String {
    let pool = dataset.pool();
    match failed.get(dataset) {
        Some(why) => why.clone(),
        None if pass.is_given_up(pool) => format!("not tried, since {pool} did not answer before"),
        None => "it did not last".to_owned(),
    }
}

fn tell_mounted(pass: &mut Pass, step: &Unmount, failed: &Failed) {
    let dataset = step.dataset;
    let why = why_left(pass, &failed.unmounts, dataset);
    let Some(at) = step.at else {
        let remedy = format!("`umount` it, {AGAIN}");
        return complain(pass, dataset, &format!("is still mounted: {why}"), &remedy);
    };
    let what = format!("is still mounted on {}: {why}", at.display());
    let remedy = match plan::mounted_below(&pass.observed, dataset, at) {
        Some(below) => format!("{below} is mounted below it: unmount that first, {AGAIN}"),
        None => format!("{} shows who uses it; stop that, {AGAIN}", users_of(at)),
    };
    complain(pass, dataset, &what, &remedy);
}

/// The command that shows who uses a file system.
fn users_of(at: &Path) -> String {
    match PATHS.init {
        InitSystem::Rc => command!("fstat -f {}", at),
        InitSystem::Systemd => command!("fuser -vm {}", at),
    }
}

fn tell_kept(pass: &mut Pass, root: &DatasetName, why: &Kept) {
    match why {
        Kept::Mounted(dataset) => {
            let what = format!("its key stays loaded: {dataset} is still mounted");
            let remedy = format!("unmount {dataset}, {AGAIN}");
            complain(pass, root, &what, &remedy);
        }
        Kept::OpenedBy(actual) => {
            let what = format!("its key stays loaded: it is no encryption root, {actual} is");
            let remedy = format!("name {actual} in `roots` and take this one out, {AGAIN}");
            complain(pass, root, &what, &remedy);
        }
    }
}

fn tell_loaded(pass: &mut Pass, root: &DatasetName, failed: &Failed) {
    let why = why_left(pass, &failed.keys, root);
    let what = format!("its key stays loaded: {why}");
    let list = command!("zfs list -r -t filesystem,volume {}", root);
    let remedy = match PATHS.init {
        InitSystem::Rc => format!("see what uses {list}, stop that, {AGAIN}"),
        // A service or container with mounts of its own keeps what was unmounted for all others.
        InitSystem::Systemd => format!(
            "see what uses {list}, and which processes have it mounted for themselves alone ({}); stop those, {AGAIN}",
            command!("grep -l {} /proc/[0-9]*/mounts", root)
        ),
    };
    complain(pass, root, &what, &remedy);
}

fn judge_root(pass: &mut Pass, root: &Root) {
    let pool = root.dataset.pool();
    let damaged = pass.observed.damaged.get(&root.dataset);
    let unknown = match pass.observed.pools.get(pool) {
        Some(Pool::Seen(_)) => damaged.map(|damaged| {
            let what = format!("not known whether its key is loaded: {damaged}");
            (what, format!("{}, {AGAIN}", damaged.remedy()))
        }),
        Some(Pool::NotImported) => None,
        Some(Pool::Suspended) => Some((
            format!("not known whether its key is loaded: pool {pool} is suspended"),
            format!(
                "mend its disks, {}, {AGAIN}",
                command!("zpool clear {}", pool)
            ),
        )),
        Some(Pool::NotSeen(why)) => Some((
            format!("not known whether its key is loaded: {why}"),
            format!("{}, {AGAIN}", command!("zpool status {}", pool)),
        )),
        None => Some((
            "not known whether its key is loaded".to_owned(),
            AGAIN.to_owned(),
        )),
    };
    let (open, state) = match unknown {
        Some((what, remedy)) => {
            complain(pass, &root.dataset, &what, &remedy);
            (true, "not known to be locked")
        }
        None if is_loaded(&pass.observed, &root.dataset) => (true, "OPEN"),
        None => (false, "locked"),
    };
    pass.report.roots.push(RootLine {
        dataset: root.dataset.to_string(),
        role: root.role.to_string(),
        required: root.required,
        open,
        state: state.into(),
    });
}
