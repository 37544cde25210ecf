//! `f3skeys lock`: the opposite of a boot.

use crate::config::Config;
use crate::exit::Fault;
use crate::pass::{Node, Pass};
use crate::report::{Report, Severity};

/// Closes the gates, stops their services, unmounts the roots and unloads their keys.
pub fn lock(node: Node, config: &Config) -> Report {
    let mut pass = Pass::begin("lock", node, config);
    pass.report
        .find(Severity::Failure, "lock", "not built yet", "");
    pass.report.fail(Fault::System);
    pass.finish()
}
