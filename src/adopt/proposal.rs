//! What `adopt` proposes, as values: every entry with the reasons for it.

use crate::config::{Gate, Root};
use crate::exit::Fault;
use crate::names::{DatasetName, NodeName};
use crate::report::{Finding, Severity};
use std::path::PathBuf;

/// A comment in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remark {
    /// What was inferred, and from what.
    Because(&'static str, String),
    /// What a person must decide.
    Decide(String),
}

/// How the key device is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreEntry {
    /// The label of its file system.
    pub label: Option<String>,
    /// The serial number of the device.
    pub serial: Option<String>,
    /// The identity of its store, which a person may pin.
    pub id: Option<String>,
    /// Where it is mounted while it is read.
    pub mountpoint: PathBuf,
    /// Why so.
    pub remarks: Vec<Remark>,
}

/// A root, and why it is written so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootEntry {
    /// The root.
    pub root: Root,
    /// Why so.
    pub remarks: Vec<Remark>,
}

/// An encryption root that the configuration does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The root.
    pub dataset: DatasetName,
    /// Why not, and what would bring it in.
    pub why: String,
    /// Whether a key on the store could open it, so that its line is worth showing.
    pub could_be: bool,
}

/// A gate, and why it is written so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateEntry {
    /// The gate.
    pub gate: Gate,
    /// Why so.
    pub remarks: Vec<Remark>,
    /// Whether the host shows that it is wanted; one that is not sure is a comment.
    pub sure: bool,
}

/// What the host's configuration might be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// Where it belongs.
    pub config_path: String,
    /// This node; `None` when the host has no name that could be one.
    pub node: Option<NodeName>,
    /// Why it is called so.
    pub node_remarks: Vec<Remark>,
    /// The key device; `None` when none was found.
    pub store: Option<StoreEntry>,
    /// The roots, those above first.
    pub roots: Vec<RootEntry>,
    /// Encryption roots that are no part of it.
    pub left_out: Vec<LeftOut>,
    /// The gates.
    pub gates: Vec<GateEntry>,
    /// Nodes that other keys of the store belong to.
    pub peers: Vec<NodeName>,
    /// Whether this host takes part in CARP.
    pub carp: bool,
    /// What there is to tell, and to do.
    pub findings: Vec<Finding>,
    /// The worst of what is wrong.
    pub fault: Option<Fault>,
}

impl Proposal {
    /// Adds a finding.
    pub(super) fn find(&mut self, severity: Severity, subject: &str, what: &str, remedy: &str) {
        self.findings
            .push(Finding::new(severity, subject, what, remedy));
    }

    /// Makes the exit status at least as bad as `fault`.
    pub(super) fn fail(&mut self, fault: Fault) {
        self.fault = self.fault.max(Some(fault));
    }
}
