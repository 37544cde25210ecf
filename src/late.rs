//! `f3skeys boot --late`: a stick was plugged in, perhaps the key device, perhaps hours after the
//! boot. Runs both passes, and nothing at all when no root is missing.

use crate::boot;
use crate::config::Config;
use crate::exit::Fault;
use crate::gate::Answer;
use crate::names::GateName;
use crate::pass::Node;
use crate::ready;
use crate::report::Report;

/// What a late boot did.
#[derive(Debug)]
pub struct Late {
    /// The first pass.
    pub boot: Report,
    /// The second; not run when the first could change nothing.
    pub ready: Option<Report>,
    /// Gates that were closed before and are open now.
    pub opened: Vec<GateName>,
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
}

/// Finishes a boot; `None` when no root is missing.
pub fn late(node: Node, config: &Config) -> Option<Late> {
    let before = open_gates(node, config);
    let boot = boot::late(node, config)?;
    let changed_nothing = matches!(boot.fault, Some(Fault::NoKeyDevice | Fault::Busy));
    let ready = (!changed_nothing).then(|| ready::ready(node, config));
    let mut opened = open_gates(node, config);
    opened.retain(|gate| !before.contains(gate));
    Some(Late {
        boot,
        ready,
        opened,
    })
}

fn open_gates(node: Node, config: &Config) -> Vec<GateName> {
    let open = |gate: &&crate::config::Gate| ready::ask(node, config, gate) == Answer::Open;
    let gates = config.gates.iter().filter(open);
    gates.map(|gate| gate.name.clone()).collect()
}
