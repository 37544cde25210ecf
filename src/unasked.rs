//! Services that do not ask their gates before they start: whatever closes a gate later stops them, but a
//! boot starts them all the same.

use crate::config::Gate;
use crate::names::ServiceName;
use crate::pass::Pass;
use crate::report::{Finding, Severity};
use crate::services::asked_gates;
use crate::shell::command;
use crate::stopping::ASK_SERVICE;

/// What is to be said of a service that its manager would start; `None` where it asks all its gates, or
/// where hooks of their own are looked at.
pub(crate) fn finding(pass: &Pass, service: &ServiceName) -> Option<Finding> {
    let find =
        |what: &str, remedy: &str| Finding::new(Severity::Warning, service.as_str(), what, remedy);
    let deadline = pass.deadline.at_most(pass.clock(), ASK_SERVICE);
    let commands = match pass.node.services.commands(service, deadline) {
        Ok(commands) => commands?,
        Err(trouble) => {
            let what = format!("not known whether it asks a gate before it starts: {trouble}");
            return Some(find(&what, "see why its manager does not answer"));
        }
    };
    let asked = asked_gates(&commands);
    let has = |gate: &&Gate| gate.services.contains(service);
    let mut gates = pass.config.gates.iter().filter(has);
    let gate = &gates
        .find(|gate| !asked.contains(&gate.name.as_str()))?
        .name;
    let what = format!("does not ask gate {gate} before it starts: a boot starts it, open or not");
    let remedy = format!(
        "give it a drop-in with `After=f3sready.service` and {}",
        command!("ExecStartPre=/usr/sbin/f3skeys gate {}", gate)
    );
    Some(find(&what, &remedy))
}
