//! What a configuration must not contradict. Each check says what is wrong and where, in words.

use super::{Condition, Gate, Peer, Raw, ReplicaOf, Role, Root, role_in};
use crate::names::{DatasetName, GateName, NodeName};
use crate::sorted::{Map, Set};
use std::path::{Component, Path};

/// What must be left of the budget when the wait for the stick has used its part, in seconds.
const LEFT_FOR_POOLS: u32 = 15;

/// Checks that a configuration holds together.
pub(super) fn check(raw: &Raw) -> Result<(), String> {
    store(raw)?;
    check_roots(&raw.roots)?;
    check_peers(raw)?;
    check_gates(raw)?;
    check_guards(raw)
}

pub(super) fn store(raw: &Raw) -> Result<(), String> {
    let store = &raw.store;
    let given = |name: &Option<String>| name.as_deref().is_some_and(|name| !name.trim().is_empty());
    if !given(&store.label) && !given(&store.serial) {
        return Err("store: name the key device by `serial`, `label` or both".to_owned());
    }
    for (field, value) in [("label", &store.label), ("serial", &store.serial)] {
        if value.is_some() && !given(value) {
            return Err(format!("store: `{field}` is empty; leave it out instead"));
        }
    }
    let digits = |id: &str| id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if let Some(id) = store
        .id
        .as_deref()
        .filter(|id| id.len() != 32 || !digits(id))
    {
        return Err(format!(
            "store: id `{id}` is no identity of a store; `f3skeys adopt` prints it: 32 digits 0 to 9 and a to f"
        ));
    }
    absolute("store: mountpoint", &store.mountpoint)?;
    let most = raw.budget_seconds.saturating_sub(LEFT_FOR_POOLS);
    if store.wait_seconds > most {
        return Err(format!(
            "store: wait_seconds {} leaves too little of budget_seconds {} for the pools; at most {most}",
            store.wait_seconds, raw.budget_seconds
        ));
    }
    Ok(())
}

/// Whether a path is absolute, plain, and not `/` itself.
pub(crate) fn absolute(what: &str, path: &Path) -> Result<(), String> {
    let plain = path
        .components()
        .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if path.is_absolute() && plain && path.components().count() > 1 {
        return Ok(());
    }
    Err(format!(
        "{what}: `{}` is not an absolute path without `..`",
        path.display()
    ))
}

pub(super) const NO_ROOT: &str = "roots: none is given; name at least one encryption root";

fn check_roots(roots: &[Root]) -> Result<(), String> {
    if roots.is_empty() {
        return Err(NO_ROOT.to_owned());
    }
    let mut seen: Map<&DatasetName, &Root> = Map::new();
    for root in roots {
        if let Some(known) = seen.insert(&root.dataset, root) {
            return Err(twice(known, root));
        }
    }
    for root in roots {
        mountpoint(root)?;
        below_replica(roots, root)?;
    }
    Ok(())
}

/// What is wrong with two roots of one name.
pub(super) fn twice(one: &Root, other: &Root) -> String {
    let name = &one.dataset;
    match one.role == other.role {
        true => format!("roots: {name} is named twice; keep one of the two"),
        false => {
            format!("roots: {name} is both a primary and a replica; a dataset is one of the two")
        }
    }
}

pub(super) fn below_replica(roots: &[Root], root: &Root) -> Result<(), String> {
    let name = &root.dataset;
    match root.role == Role::Primary && role_in(roots, name) == Some(Role::Replica) {
        true => Err(format!(
            "roots: {name} is a primary below a replica; everything below a replica is one"
        )),
        false => Ok(()),
    }
}

pub(super) fn mountpoint(root: &Root) -> Result<(), String> {
    if root.role == Role::Primary && root.exec {
        return Err(format!(
            "roots: {}: `exec` is for replicas; of a primary its own property says it",
            root.dataset
        ));
    }
    let Some(path) = &root.mountpoint else {
        return Ok(());
    };
    if root.role == Role::Primary {
        return Err(format!(
            "roots: {}: `mountpoint` is for replicas; a primary is mounted where its own property says",
            root.dataset
        ));
    }
    absolute(&format!("roots: {}: mountpoint", root.dataset), path)
}

/// A gate and a root must not put one dataset on two paths: it is mounted on one.
fn check_place(raw: &Raw, path: &Path, dataset: &DatasetName) -> Result<(), String> {
    let root = raw.roots.iter().find(|root| root.dataset == *dataset);
    match root.and_then(|root| root.mountpoint.as_deref()) {
        Some(other) if other != path => Err(format!(
            "{dataset} is to be mounted on {}, but its `mountpoint` in `roots` is {}",
            path.display(),
            other.display()
        )),
        _ => Ok(()),
    }
}

fn check_gates(raw: &Raw) -> Result<(), String> {
    count(raw)?;
    let mut names = Set::new();
    for one in &raw.gates {
        if !names.insert(&one.name) {
            return Err(gate_twice(&one.name));
        }
    }
    raw.gates.iter().try_for_each(|one| gate(raw, one))?;
    raw.gates
        .iter()
        .try_for_each(|one| needs_itself(raw, one))?;
    carp(raw)
}

pub(super) fn count(raw: &Raw) -> Result<(), String> {
    match raw.gates.len() > MOST_GATES {
        true => Err(format!("gates: at most {MOST_GATES} may be named")),
        false => Ok(()),
    }
}

pub(super) fn gate_twice(name: &GateName) -> String {
    format!("gates: {name} is named twice")
}

/// Whether each of a gate's conditions may be named.
pub(super) fn gate(raw: &Raw, gate: &Gate) -> Result<(), String> {
    if gate.needs.is_empty() {
        return Err(format!(
            "gates: {} needs nothing, so it would always be open; name a condition",
            gate.name
        ));
    }
    let at = |what| format!("gates: {}: {what}", gate.name);
    let mut needs = gate.needs.iter();
    needs.try_for_each(|need| check_condition(raw, need).map_err(at))
}

pub(super) fn carp(raw: &Raw) -> Result<(), String> {
    match &raw.carp {
        Some(carp) if raw.gates.iter().all(|gate| gate.name != carp.gate) => Err(format!(
            "carp: there is no gate `{}` in this file",
            carp.gate
        )),
        _ => Ok(()),
    }
}

fn check_condition(raw: &Raw, need: &Condition) -> Result<(), String> {
    let known = |dataset: &DatasetName| match role_in(&raw.roots, dataset) {
        Some(role) => Ok(role),
        None => Err(format!(
            "{dataset} is neither a root of this file nor below one"
        )),
    };
    match need {
        Condition::Mounted { path, dataset } => {
            absolute("path", path)?;
            known(dataset)?;
            check_place(raw, path, dataset)
        }
        Condition::Writable(dataset)
        | Condition::Readonly(dataset)
        | Condition::KeyLoaded(dataset)
        | Condition::Role { dataset, .. } => known(dataset).map(|_| ()),
        Condition::FreshSnapshot { minutes: 0, .. } => {
            Err("fresh_snapshot: `minutes` is 0, so it would never hold".to_owned())
        }
        Condition::FreshSnapshot { dataset, .. } => known(dataset).map(|_| ()),
        Condition::Present(path) | Condition::Absent(path) => absolute("path", path),
        Condition::Gate(name) if raw.gates.iter().any(|gate| gate.name == *name) => Ok(()),
        Condition::Gate(name) => Err(format!("there is no gate `{name}` in this file")),
        Condition::NotPromoted { peer } if raw.peers.iter().all(|p| p.name != *peer) => {
            Err(format!("{peer} is not one of the peers"))
        }
        Condition::NotPromoted { peer } if raw.replicas.iter().all(|r| r.node != *peer) => {
            Err(format!(
                "not_promoted: `replicas` names none on {peer}, so there is nothing to ask about"
            ))
        }
        Condition::NotPromoted { .. } => Ok(()),
    }
}

fn check_guards(raw: &Raw) -> Result<(), String> {
    raw.guards.iter().try_for_each(|one| guard(raw, one))
}

/// A guard is for a mountpoint that a gate names: a slip of the pen would guard some other directory.
pub(super) fn guard(raw: &Raw, guard: &Path) -> Result<(), String> {
    absolute("guards", guard)?;
    let mut needs = raw.gates.iter().flat_map(|gate| &gate.needs);
    match needs.any(|need| matches!(need, Condition::Mounted { path, .. } if path == guard)) {
        true => Ok(()),
        false => Err(format!(
            "guards: no gate needs anything mounted on {}",
            guard.display()
        )),
    }
}

/// The most gates.
const MOST_GATES: usize = 256;
/// The most conditions of a gate, those of the gates that it needs with it, each as often as it is named.
const MOST_CONDITIONS: usize = 10_000;

/// Whether a gate does not need itself, and can be asked in little time.
pub(super) fn needs_itself(raw: &Raw, gate: &Gate) -> Result<(), String> {
    let name = &gate.name;
    let mut needed = Set::new();
    collect_needed(raw, gate, &mut needed);
    if needed.contains(name) {
        return Err(format!("gates: {name} needs itself, by way of other gates"));
    }
    // Of those that need themselves nothing is counted: there is no end to it.
    let loops = |other: &&Gate| {
        let mut of_other = Set::new();
        collect_needed(raw, other, &mut of_other);
        of_other.contains(&other.name)
    };
    let mut among = raw
        .gates
        .iter()
        .filter(|other| needed.contains(&other.name));
    if among.any(|other| loops(&other)) || conditions(raw, gate, MOST_CONDITIONS).is_some() {
        return Ok(());
    }
    Err(format!(
        "gates: {name} needs more than {MOST_CONDITIONS} conditions by way of other gates; name each gate once"
    ))
}

fn gate_of<'a>(raw: &'a Raw, need: &Condition) -> Option<&'a Gate> {
    match need {
        Condition::Gate(name) => raw.gates.iter().find(|gate| gate.name == *name),
        _ => None,
    }
}

/// Adds the names of all gates that `gate` needs, at any depth.
fn collect_needed<'a>(raw: &'a Raw, gate: &Gate, needed: &mut Set<&'a GateName>) {
    for next in gate.needs.iter().filter_map(|need| gate_of(raw, need)) {
        if needed.insert(&next.name) {
            collect_needed(raw, next, needed);
        }
    }
}

/// How many of `most` conditions are left after those of a gate that does not need itself.
fn conditions(raw: &Raw, gate: &Gate, most: usize) -> Option<usize> {
    gate.needs
        .iter()
        .try_fold(most, |left, need| match gate_of(raw, need) {
            Some(next) => conditions(raw, next, left.checked_sub(1)?),
            None => left.checked_sub(1),
        })
}

fn check_peers(raw: &Raw) -> Result<(), String> {
    let mut names = Set::new();
    for one in &raw.peers {
        peer(&raw.node, &names, one)?;
        names.insert(one.name.clone());
    }
    let mut replicas = raw.replicas.iter();
    replicas.try_for_each(|one| replica(&names, &raw.roots, one))?;
    copies(raw)
}

/// Whether a peer may stand beside those before it.
pub(super) fn peer(node: &NodeName, names: &Set<NodeName>, peer: &Peer) -> Result<(), String> {
    if peer.name == *node {
        return Err(format!("peers: {} is this node itself", peer.name));
    }
    if names.contains(&peer.name) {
        return Err(format!("peers: {} is named twice", peer.name));
    }
    if peer.ssh.is_empty() || peer.ssh.starts_with('-') || peer.ssh.contains(char::is_whitespace) {
        return Err(format!(
            "peers: {}: `{}` is no ssh destination",
            peer.name, peer.ssh
        ));
    }
    Ok(())
}

pub(super) fn replica(
    peers: &Set<NodeName>,
    roots: &[Root],
    replica: &ReplicaOf,
) -> Result<(), String> {
    if !peers.contains(&replica.node) {
        return Err(format!(
            "replicas: {} is not one of the peers",
            replica.node
        ));
    }
    if role_in(roots, &replica.of) != Some(Role::Primary) {
        return Err(format!(
            "replicas: {} is not at or below a primary root of this file",
            replica.of
        ));
    }
    Ok(())
}

pub(super) fn copies(raw: &Raw) -> Result<(), String> {
    match raw.min_copies {
        Some(copies) if copies as usize > raw.peers.len() => Err(format!(
            "min_copies is {copies}, but there are only {} peers to hold copies",
            raw.peers.len()
        )),
        _ => Ok(()),
    }
}
