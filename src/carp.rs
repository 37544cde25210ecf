//! `f3skeys carp`: lets the node take part in CARP once its gate is open.

use crate::config::Config;
use crate::exit::Fault;
use crate::pass::{Node, Pass};
use crate::report::{Report, Severity};

/// Lets the node take part when its gate is open; with `reconcile`, holds it back when it is not.
pub fn carp(node: Node, config: &Config, _reconcile: bool) -> Report {
    let mut pass = Pass::begin("carp", node, config);
    pass.report
        .find(Severity::Failure, "carp", "not built yet", "");
    pass.report.fail(Fault::System);
    pass.finish()
}
