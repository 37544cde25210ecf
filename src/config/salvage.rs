//! What of a configuration that contradicts itself is used all the same: all that the contradiction is not
//! about. One wrong line keeps its own root locked or its own gate from opening, and nothing else.
//!
//! Nothing is ever made more than the file says: a root that may be a replica is sealed like one, and a gate
//! that is not understood is never open.

use super::check;
use super::{Raw, Role};
use crate::names::{DatasetName, GateName};
use crate::sorted::{Map, Set};
use std::mem;

/// What is wrong with a configuration that is used all the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    /// All of it, in words.
    pub what: Vec<String>,
    /// Roots of which nobody knows what they are: they are sealed as replicas and stay locked.
    pub roots: Map<DatasetName, String>,
    /// Gates that never open.
    pub gates: Map<GateName, String>,
}

impl Faults {
    /// Whether it is for one of these that a gate never opens.
    pub fn closes(&self, gate: &str) -> bool {
        self.gates.keys().any(|name| name.as_str() == gate)
    }

    fn note(&mut self, what: String) {
        if !self.what.contains(&what) {
            self.what.push(what);
        }
    }

    fn root(&mut self, name: &DatasetName, what: String) {
        self.roots.insert(name.clone(), what.clone());
        self.note(what);
    }
}

/// Leaves out what contradicts something; afterwards all that is left holds together.
///
/// # Errors
/// What is wrong concerns all of it: the store, or that there is no root.
pub(super) fn salvage(raw: &mut Raw) -> Result<Faults, String> {
    let mut faults = Faults::default();
    check::store(raw)?;
    roots(raw, &mut faults);
    if raw.roots.is_empty() {
        return Err(check::NO_ROOT.to_owned());
    }
    peers(raw, &mut faults);
    gates(raw, &mut faults)?;
    guards(raw, &mut faults);
    for gate in raw
        .gates
        .iter_mut()
        .filter(|g| faults.gates.contains_key(&g.name))
    {
        // Nobody knows what it is good for: what runs is left as it is.
        gate.needs.clear();
        gate.services.clear();
    }
    Ok(faults)
}

fn roots(raw: &mut Raw, faults: &mut Faults) {
    let mut kept: Vec<super::Root> = Vec::new();
    for mut root in mem::take(&mut raw.roots) {
        if let Err(what) = check::mountpoint(&root) {
            // Without it a replica stays locked, as long as nothing else says where it belongs.
            (root.mountpoint, root.exec) = (None, false);
            faults.note(what);
        }
        match kept.iter_mut().find(|known| known.dataset == root.dataset) {
            Some(known) => {
                let what = check::twice(known, &root);
                match known.role == root.role && known.key == root.key {
                    true => faults.note(what),
                    false => {
                        known.role = known.role.max(root.role);
                        faults.root(&root.dataset, what);
                    }
                }
            }
            None => kept.push(root),
        }
    }
    let all = kept.clone();
    for root in &mut kept {
        if let Err(what) = check::below_replica(&all, root) {
            root.role = Role::Replica;
            faults.root(&root.dataset, what);
        }
    }
    // A primary that is left locked is to be sealed all the same: it may be a replica.
    for root in kept
        .iter_mut()
        .filter(|r| faults.roots.contains_key(&r.dataset))
    {
        root.role = Role::Replica;
    }
    raw.roots = kept;
}

fn peers(raw: &mut Raw, faults: &mut Faults) {
    let mut names = Set::new();
    for peer in mem::take(&mut raw.peers) {
        match check::peer(&raw.node, &names, &peer) {
            Ok(()) => {
                names.insert(peer.name.clone());
                raw.peers.push(peer);
            }
            Err(what) => faults.note(what),
        }
    }
    for replica in mem::take(&mut raw.replicas) {
        match check::replica(&names, &raw.roots, &replica) {
            Ok(()) => raw.replicas.push(replica),
            Err(what) => faults.note(what),
        }
    }
    if let Err(what) = check::copies(raw) {
        // As if nothing was said, which demands most.
        raw.min_copies = None;
        faults.note(what);
    }
}

fn gates(raw: &mut Raw, faults: &mut Faults) -> Result<(), String> {
    check::count(raw)?;
    let mut kept: Vec<super::Gate> = Vec::new();
    for gate in mem::take(&mut raw.gates) {
        match kept.iter().any(|known| known.name == gate.name) {
            true => closes(faults, &gate.name, check::gate_twice(&gate.name)),
            false => kept.push(gate),
        }
    }
    raw.gates = kept;
    if let Err(what) = check::carp(raw) {
        // Held for good, as behind a gate that is closed.
        if let Some(carp) = &raw.carp {
            closes(faults, &carp.gate, what);
            raw.gates.push(super::Gate {
                name: carp.gate.clone(),
                needs: Vec::new(),
                services: Vec::new(),
            });
        }
    }
    for gate in &raw.gates {
        let itself = check::gate(raw, gate).and_then(|()| check::needs_itself(raw, gate));
        if let Err(what) = itself {
            closes(faults, &gate.name, what);
        }
    }
    // What needs such a gate is as little known as the gate.
    while let Some((name, what)) = raw.gates.iter().find_map(|gate| depends(gate, faults)) {
        closes(faults, &name, what);
    }
    Ok(())
}

fn closes(faults: &mut Faults, gate: &GateName, what: String) {
    if !faults.gates.contains_key(gate) {
        faults.gates.insert(gate.clone(), what.clone());
        faults.note(what);
    }
}

fn depends(gate: &super::Gate, faults: &Faults) -> Option<(GateName, String)> {
    if faults.gates.contains_key(&gate.name) {
        return None;
    }
    let needed = gate.needs.iter().find_map(|need| match need {
        super::Condition::Gate(name) if faults.gates.contains_key(name) => Some(name),
        _ => None,
    })?;
    let what = format!(
        "gates: {} needs {needed}, with which something is wrong",
        gate.name
    );
    Some((gate.name.clone(), what))
}

fn guards(raw: &mut Raw, faults: &mut Faults) {
    for guard in mem::take(&mut raw.guards) {
        match check::guard(raw, &guard) {
            Ok(()) => raw.guards.push(guard),
            Err(what) => faults.note(what),
        }
    }
}
