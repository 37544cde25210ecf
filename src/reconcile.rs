//! `f3skeys reconcile`: holds gates, services and guards against the live system, each minute.

use crate::config::Config;
use crate::exit::Fault;
use crate::pass::{Node, Pass};
use crate::report::{Report, Severity};

/// Runs the whole pass.
pub fn reconcile(node: Node, config: &Config) -> Report {
    let mut pass = Pass::begin("reconcile", node, config);
    pass.report
        .find(Severity::Failure, "reconcile", "not built yet", "");
    pass.report.fail(Fault::System);
    pass.finish()
}
