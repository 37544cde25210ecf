//! `f3skeys promote` and `demote`: a replica is made writable here, by a person, and read-only again.

use crate::config::Config;
use crate::exit::Fault;
use crate::names::DatasetName;
use crate::pass::{Node, Pass};
use crate::report::{Report, Severity};

/// Promotes a configured replica root.
pub fn promote(node: Node, config: &Config, _root: &DatasetName, _reason: &str) -> Report {
    let mut pass = Pass::begin("promote", node, config);
    pass.report
        .find(Severity::Failure, "promote", "not built yet", "");
    pass.report.fail(Fault::System);
    pass.finish()
}

/// Ends a promotion.
pub fn demote(node: Node, config: &Config, _root: &DatasetName) -> Report {
    let mut pass = Pass::begin("demote", node, config);
    pass.report
        .find(Severity::Failure, "demote", "not built yet", "");
    pass.report.fail(Fault::System);
    pass.finish()
}
