//! What a person still has to do on an adopted host, in the order in which it is best done. Pure.

use super::facts::Facts;
use super::find;
use super::infer::{LABEL, named_key};
use super::proposal::Proposal;
use crate::binds;
use crate::config::Role;
use crate::device::Kind;
use crate::exit::Fault;
use crate::host::InitSystem;
use crate::legacy;
use crate::names::DatasetName;
use crate::os::PATHS;
use crate::plan::Pool;
use crate::report::Severity;
use crate::shell::command;
use crate::sorted::Set;
use std::path::Path;

/// Adds the findings.
pub fn give(facts: &Facts, owners: &Set<String>, proposal: &mut Proposal) {
    pools(facts, proposal);
    damaged(facts, proposal);
    left_out(proposal);
    node(owners, proposal);
    label(facts, proposal);
    fstab(facts, proposal);
    zfskeys(facts, proposal);
    generator(facts, proposal);
    binds(facts, proposal);
    nothing(proposal);
}

/// Pools that could not be looked into: their roots are missing here.
fn pools(facts: &Facts, proposal: &mut Proposal) {
    for (pool, seen) in &facts.pools {
        let (what, remedy) = match seen {
            Pool::Seen(_) => continue,
            Pool::NotImported => ("is not imported any more".to_owned(), "import it"),
            Pool::Suspended => (
                "is suspended".to_owned(),
                "mend its disks and `zpool clear` it",
            ),
            Pool::NotSeen(why) => (
                format!("could not be looked into: {why}"),
                "see `zpool status`",
            ),
        };
        let what = format!("{what}; its roots are missing in this configuration");
        let remedy = format!("{remedy}, then run `f3skeys adopt` again");
        proposal.find(Severity::Failure, &format!("pool {pool}"), &what, &remedy);
        proposal.fail(Fault::Unavailable);
    }
}

/// Datasets that could be roots or replicas, and of which nothing is known.
fn damaged(facts: &Facts, proposal: &mut Proposal) {
    for damaged in &facts.damaged {
        let what =
            format!("nothing is known of it, so it is missing in this configuration: {damaged}");
        let remedy = format!("{}, then run `f3skeys adopt` again", damaged.remedy());
        let name = damaged.name.as_str();
        proposal.find(Severity::Failure, name, &what, &remedy);
        proposal.fail(Fault::Unavailable);
    }
}

fn left_out(proposal: &mut Proposal) {
    for root in proposal.left_out.clone() {
        let (severity, remedy) = match root.could_be {
            true => (
                Severity::Failure,
                "bring the key to the stick as OWNER:NAME.key, then run `f3skeys adopt` again",
            ),
            false => (Severity::Note, "load it by hand, as before"),
        };
        let what = format!("left out: {}", root.why);
        proposal.find(severity, root.dataset.as_str(), &what, remedy);
    }
}

/// A node that owns no key: then every role rests on doubtful ground.
fn node(owners: &Set<String>, proposal: &mut Proposal) {
    let Some(node) = proposal.node.clone() else {
        let remedy = "set the host's name, then run `f3skeys adopt` again";
        proposal.find(Severity::Failure, "node", "this host has no name", remedy);
        proposal.fail(Fault::Unavailable);
        return;
    };
    let replicas = proposal
        .roots
        .iter()
        .any(|entry| entry.root.role == Role::Replica);
    if replicas && !owners.contains(node.as_str()) {
        let owners: Vec<&str> = owners.iter().map(String::as_str).collect();
        let what = format!(
            "no key on the store belongs to it (owners: {}), so every root counts as a replica, which is never writable",
            owners.join(", ")
        );
        let remedy = "look at `node` and each `role` before the configuration is used";
        proposal.find(Severity::Warning, &format!("node {node}"), &what, remedy);
    }
}

fn label(facts: &Facts, proposal: &mut Proposal) {
    let Some(store) = facts
        .store
        .as_ref()
        .filter(|s| s.filesystem.label.is_none())
    else {
        return;
    };
    let node = store.device.node.display().to_string();
    let command = match store.filesystem.kind {
        Kind::Ufs1 | Kind::Ufs2 => format!(
            "on FreeBSD {}",
            command!("tunefs -L {} {}", LABEL, &store.device.node)
        ),
        Kind::Ext => format!(
            "on Linux {}",
            command!("e2label {} {}", &store.device.node, LABEL)
        ),
    };
    let remedy = format!("unmount it, {command}, then run `f3skeys adopt` again");
    proposal.find(
        Severity::Warning,
        &node,
        "the key store has no label",
        &remedy,
    );
}

/// Lines of fstab that mount the stick, or a file system of ZFS whose key is not there yet.
fn fstab(facts: &Facts, proposal: &mut Proposal) {
    let roots = proposal.roots.iter().map(|entry| &entry.root.dataset);
    let known = legacy::Known::new(PATHS.init, roots.collect(), facts.datasets().collect());
    let found = known.findings(&facts.fstab);
    proposal.findings.extend(found);
    let Some(store) = &facts.store else {
        return;
    };
    let this = std::slice::from_ref(&store.device);
    for line in &facts.fstab.lines {
        if Path::new(&line.at) != store.mountpoint && !find::is_of_disk(line, this) {
            continue;
        }
        let what = format!(
            "mounts the stick ({} on {}): a boot without it would stop in single-user or emergency mode, and keys would lie open all the time",
            line.device, line.at
        );
        let optional = match PATHS.init {
            InitSystem::Rc => "failok",
            InitSystem::Systemd => "nofail",
        };
        let instead = legacy::written(line, &["ro", "noauto", optional]);
        let remedy = format!(
            "take the line out, since f3skeys mounts the stick while it reads it; or write this one instead: {instead}"
        );
        proposal.find(Severity::Warning, "/etc/fstab", &what, &remedy);
    }
}

fn zfskeys(facts: &Facts, proposal: &mut Proposal) {
    if facts.rc.zfskeys {
        let what = "zfskeys_enable is on: it loads keys that nobody has checked, and asks for one at the console where keylocation is `prompt`";
        let remedy = "`sysrc zfskeys_enable=NO` once `f3skeys rehearse` says yes";
        proposal.find(Severity::Warning, "/etc/rc.conf", what, remedy);
    }
    for name in &facts.rc.zfskeys_datasets {
        let root = facts.roots().find(|root| root.name.as_str() == name);
        let configured = proposal
            .roots
            .iter()
            .any(|e| e.root.dataset.as_str() == name);
        let what = match root {
            _ if configured => continue,
            Some(root) if named_key(root).is_some() => continue, // Said as left out.
            Some(_) => "zfskeys_datasets names it, and it is left out here",
            None => "zfskeys_datasets names it, but no encryption root of this name was seen",
        };
        proposal.find(Severity::Note, name, what, "");
    }
}

/// Units that load keys, or ask for them, until f3skeys is enabled.
fn generator(facts: &Facts, proposal: &mut Proposal) {
    let cached = facts.cache.iter().flat_map(|cache| &cache.lines);
    let roots: Set<&DatasetName> = cached.filter_map(|line| line.root.as_ref()).collect();
    let entries = proposal.roots.iter().map(|entry| &entry.root.dataset);
    let names: Vec<&str> = entries
        .filter(|root| roots.contains(root))
        .map(DatasetName::as_str)
        .collect();
    if names.is_empty() {
        return;
    }
    let what = format!(
        "makes units that load keys by themselves, and that unmount what they did not open: {}",
        names.join(", ")
    );
    let remedy = "`systemctl enable f3skeys.service` puts units of f3skeys in their place; nothing else is to be done";
    proposal.find(Severity::Note, "zfs-mount-generator", &what, remedy);
}

/// What would be bound, and perhaps served, before its file system is there.
fn binds(facts: &Facts, proposal: &mut Proposal) {
    let roots = &proposal.roots;
    let is_ours = |name: &DatasetName| roots.iter().any(|e| name.is_at_or_below(&e.root.dataset));
    let as_written = Path::to_owned;
    let said = binds::judge(
        is_ours,
        facts.datasets(),
        &facts.binds,
        &facts.exports,
        as_written,
    );
    proposal
        .findings
        .extend(said.into_iter().map(|said| said.finding));
}

/// Why there is no configuration at all, or what comes next.
fn nothing(proposal: &mut Proposal) {
    let path = proposal.config_path.clone();
    if proposal.store.is_some() && proposal.node.is_some() && !proposal.roots.is_empty() {
        let what = "the configuration is proposed; no hook of the boot is installed by that";
        let remedy = "settle each DECIDE, save it there, switch the hooks on (EXAMPLES in f3skeys(8)), then `f3skeys rehearse`";
        proposal.find(Severity::Note, &path, what, remedy);
        return;
    }
    if proposal.store.is_some() && proposal.roots.is_empty() {
        let what = "no encryption root here is opened by a key of the store: there is nothing to configure";
        let remedy = "`f3skeys new-key` makes a key for a new root; then run `f3skeys adopt` again";
        proposal.find(Severity::Failure, &path, what, remedy);
        proposal.fail(Fault::Unavailable);
    }
}
