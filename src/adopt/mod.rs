//! `f3skeys adopt`: makes an existing host ready. It looks at what there is, writes the store's
//! metadata without changing a key, and proposes a configuration with the reason for every line.
//!
//! What is inferred is pure ([`infer`]); only `gather` and `keys` touch the host. It never touches a pool
//! beyond asking it, and writes nothing on a store that is in format 1 already.

mod advice;
pub mod facts;
pub mod find;
mod gates;
mod gather;
pub mod infer;
mod keys;
pub mod proposal;
mod text;

use crate::config::Config;
use crate::exit::Fault;
use crate::foreign;
use crate::host::Host;
use crate::marker::{self, Lock};
use crate::pass::Node;
use crate::report::{Finding, Severity};
use facts::Facts;
use gather::Gather;
use proposal::Proposal;
use std::path::Path;

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adoption {
    /// The configuration, for standard output.
    pub text: Option<String>,
    /// What was changed on the key store.
    pub changed: Vec<String>,
    /// What there is to tell, and to do.
    pub findings: Vec<Finding>,
    /// The worst fault, if any.
    pub fault: Option<Fault>,
}

impl Adoption {
    /// What was done and what is to do, for standard error.
    pub fn complaints(&self) -> String {
        let changes = self
            .changed
            .iter()
            .map(|what| format!("f3skeys: changed: {}\n", foreign::line(what)));
        changes
            .chain(self.findings.iter().map(Finding::text))
            .collect()
    }

    /// The exit status.
    pub fn status(&self) -> u8 {
        self.fault.map_or(0, Fault::status)
    }
}

/// Adopts the host, whose kernel calls it `host_name`. `device` names the stick where none is
/// mounted; `config_path` is where a configuration belongs.
pub fn adopt(
    node: Node,
    host: &Host,
    host_name: &str,
    device: Option<&Path>,
    config_path: &str,
) -> Adoption {
    let facts = Facts {
        host_name: host_name.to_owned(),
        config_path: config_path.to_owned(),
        ..Facts::default()
    };
    let mut gather = Gather::begin(node, host, facts);
    let Some(_lock) = lock(node, &mut gather) else {
        let Facts {
            findings, fault, ..
        } = gather.facts;
        return Adoption {
            text: None,
            changed: Vec::new(),
            findings,
            fault,
        };
    };
    gather.pools();
    gather.files();
    if let Some((found, disks)) = gather.find_store(device)
        && let Some(keyring) = gather.read_store(&found, disks)
    {
        gather.prove(&keyring);
        let plain = keys::has_plain_keys(&keyring);
        // The store is worked on only while no key is in memory.
        drop(keyring);
        gather.take_in(&found, plain);
    }
    adoption(infer::infer(&gather.facts), gather.changed)
}

/// The one lock, since the store may be written.
fn lock(node: Node, gather: &mut Gather) -> Option<Lock> {
    let (fault, subject, what) = match marker::lock(node.run, node.system.clock()) {
        Ok(Some(lock)) => return Some(lock),
        Ok(None) => (
            Fault::Busy,
            "lock".to_owned(),
            "another f3skeys is at work".to_owned(),
        ),
        Err(e) => (Fault::System, node.run.display().to_string(), e.to_string()),
    };
    let remedy = match fault {
        Fault::Busy => "wait until it is done, then try again",
        _ => "make the directory writable for root",
    };
    gather.fail(fault, &subject, &what, remedy);
    None
}

fn adoption(proposal: Proposal, changed: Vec<String>) -> Adoption {
    let mut text = proposal.text();
    let Proposal {
        mut findings,
        mut fault,
        ..
    } = proposal;
    // What is printed is a configuration, or nothing is.
    if let Some(Err(refused)) = text.as_deref().map(Config::parse) {
        findings.push(Finding::new(
            Severity::Failure,
            "configuration",
            &format!("what was inferred contradicts itself:{refused}"),
            "write the configuration by hand, see f3skeys(8), and report this",
        ));
        fault = fault.max(Some(Fault::System));
        text = None;
    }
    Adoption {
        text,
        changed,
        findings,
        fault,
    }
}

#[cfg(test)]
mod tests;
