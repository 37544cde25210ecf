//! How the services of the gates stand, and whether their gates are open.

use super::facts::Known;
use crate::config::Gate;
use crate::gate::Answer;
use crate::names::{GateName, ServiceName};
use crate::pass::Pass;
use crate::ready;
use crate::report::Finding;
use crate::services::Seen;
use crate::stopping;
use crate::unasked;

/// A service of a gate.
#[derive(Debug, Clone)]
pub struct GateService {
    /// The service.
    pub name: ServiceName,
    /// Its gate; of several the first that is not open.
    pub gate: GateName,
    /// Whether all its gates are open.
    pub open: bool,
    /// How it stands.
    pub seen: Known<Seen>,
    /// What is to be said of one that does not ask its gates.
    pub unasked: Option<Finding>,
}

/// Asks for the services of all gates, each once.
pub(super) fn look(pass: &Pass) -> Vec<GateService> {
    let config = pass.config;
    let is_open = |gate: &&Gate| ready::ask_here(pass.node, config, gate) == Answer::Open;
    let held = config.gates.iter().filter(|gate| !gate.services.is_empty());
    let (open, closed): (Vec<&Gate>, Vec<&Gate>) = held.partition(is_open);
    let mut services: Vec<GateService> = Vec::new();
    let all = closed.iter().map(|gate| (gate, false));
    for (gate, open) in all.chain(open.iter().map(|gate| (gate, true))) {
        for name in &gate.services {
            if services.iter().any(|service| service.name == *name) {
                continue;
            }
            let seen = stopping::look(pass, name, pass.deadline);
            let starts = seen.as_ref().is_ok_and(|seen| seen.no_start().is_none());
            services.push(GateService {
                name: name.clone(),
                gate: gate.name.clone(),
                open,
                seen: seen.map_err(|trouble| trouble.to_string()),
                unasked: starts.then(|| unasked::finding(pass, name)).flatten(),
            });
        }
    }
    services
}
