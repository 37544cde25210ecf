//! `f3skeys boot --late`: a stick was plugged in, perhaps the key device, perhaps hours after the
//! boot. Runs both passes, then starts the services that waited; nothing at all when no root is
//! missing, or when a person has locked the node.

use crate::boot;
use crate::config::{Config, Gate};
use crate::exit::Fault;
use crate::gate::Answer;
use crate::names::GateName;
use crate::pass::Node;
use crate::ready;
use crate::reconcile;
use crate::report::Report;
use crate::sorted::Set;

/// What a late boot did.
#[derive(Debug)]
pub struct Late {
    /// The first pass.
    pub boot: Report,
    /// The second; not run when the first could change nothing.
    pub ready: Option<Report>,
    /// Gates that were closed before and are open now.
    pub opened: Vec<GateName>,
    before: Set<GateName>,
}

impl Late {
    /// The exit status: that of the last pass that ran.
    pub fn status(&self) -> u8 {
        let ready = self.ready.as_ref().map_or(0, |ready| ready.status);
        if self.boot.status != 0 {
            self.boot.status
        } else {
            ready
        }
    }

    /// Starts the services of the gates that have opened, and opens those that ask a peer; nothing
    /// when the passes could change nothing. For a process that services may inherit from.
    pub fn settle(&mut self, node: Node, config: &Config) -> Option<Report> {
        self.ready.as_ref()?;
        let report = reconcile::reconcile(node, config);
        self.opened = opened(node, config, &self.before);
        Some(report)
    }
}

/// Finishes a boot; `None` when no root is missing.
pub fn late(node: Node, config: &Config) -> Option<Late> {
    if ready::locked(node.run).is_some() {
        return None;
    }
    let before = opened(node, config, &Set::new());
    let before = before.into_iter().collect();
    let boot = boot::late(node, config)?;
    let changed_nothing = matches!(boot.fault, Some(Fault::NoKeyDevice | Fault::Busy));
    let ready = (!changed_nothing).then(|| ready::late(node, config));
    let opened = opened(node, config, &before);
    Some(Late {
        boot,
        ready,
        opened,
        before,
    })
}

/// The gates that are open, but for those that were. No peer is asked: that takes a network, and
/// whether their answer was good is what the marker says.
fn opened(node: Node, config: &Config, before: &Set<GateName>) -> Vec<GateName> {
    let opened = |gate: &&Gate| {
        !before.contains(&gate.name) && ready::ask_here(node, config, gate) == Answer::Open
    };
    let gates = config.gates.iter().filter(opened);
    gates.map(|gate| gate.name.clone()).collect()
}
