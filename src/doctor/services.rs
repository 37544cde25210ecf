//! The services of the gates, as their manager tells them: a gate that is closed keeps them stopped, and
//! one that opens has to bring them up.

use super::facts::Facts;
use super::gate_services::GateService;
use crate::report::Findings;
use crate::services::{Seen, State};
use crate::shell::command;

pub(super) fn check(facts: &Facts, said: &mut Findings) {
    all(&facts.services, said);
}

fn all(services: &[GateService], said: &mut Findings) {
    for service in services {
        match &service.seen {
            Err(why) => said.unknown(service.name.as_str(), why),
            Ok(seen) => judge(service, seen, said),
        }
        said.0.extend(service.unasked.clone());
    }
}

fn judge(service: &GateService, seen: &Seen, said: &mut Findings) {
    let name = service.name.as_str();
    let gate = &service.gate;
    if let Some((why, remedy)) = seen.no_start() {
        let what = format!("does not start when gate {gate} opens: {why}");
        return said.fail(name, &what, remedy);
    }
    if let State::Unknown(_) = seen.state {
        let what = format!("{}: gate {gate} cannot hold it to anything", seen.words());
        let remedy =
            "see that its manager tells whether it runs (on FreeBSD the `status` of its script)";
        return said.warn(name, &what, remedy);
    }
    match service.open {
        true => behind_an_open_gate(service, seen, said),
        false => behind_a_closed_gate(service, seen, said),
    }
}

/// What is stopped may be so by an admin's will.
fn behind_an_open_gate(service: &GateService, seen: &Seen, said: &mut Findings) {
    let name = service.name.as_str();
    match seen.state {
        State::Failed | State::Retrying if !seen.comes_up() => {
            let what = format!("{}, though gate {} is open", seen.words(), service.gate);
            said.fail(name, &what, "see why, and start it");
        }
        _ if seen.comes_up() => {
            let what = format!("{} ({})", seen.words(), seen.start_limit.words());
            said.note(name, &what);
        }
        _ => {}
    }
}

fn behind_a_closed_gate(service: &GateService, seen: &Seen, said: &mut Findings) {
    let (name, gate) = (service.name.as_str(), &service.gate);
    if seen.is_at_rest() {
        if seen.tasks > 0 {
            let what = format!(
                "is stopped, as gate {gate} wants it, and {} of its processes and threads go on",
                seen.tasks
            );
            said.fail(
                name,
                &what,
                "end them by hand: they work on what is not there",
            );
        }
        return;
    }
    match seen.state {
        State::Stopping => {
            let what = format!("{} ({})", seen.words(), seen.stop_limit.words());
            said.note(name, &what);
        }
        _ => {
            let what = format!("{}, though gate {gate} is closed", seen.words());
            let remedy = format!("{} stops it", command!("f3skeys reconcile"));
            said.fail(name, &what, &remedy);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Severity;
    use crate::services::Definition;

    /// What is said of a service behind an open gate, and behind a closed one.
    fn said(seen: &Seen) -> [Option<Severity>; 2] {
        [true, false].map(|open| {
            let service = GateService {
                name: "nfsd".parse().unwrap(),
                gate: "nfs".parse().unwrap(),
                open,
                seen: Ok(seen.clone()),
                unasked: None,
            };
            let mut said = Findings::default();
            judge(&service, seen, &mut said);
            assert!(said.0.len() <= 1, "{said:?}");
            said.0.pop().map(|finding| finding.severity)
        })
    }

    #[test]
    fn law_10_what_a_service_does_is_held_against_its_gate() {
        let (failure, warning, note) = (
            Some(Severity::Failure),
            Some(Severity::Warning),
            Some(Severity::Note),
        );
        for (state, expected) in [
            (State::Running, [None, failure]),
            (State::Starting, [note, failure]),
            (State::Retrying, [failure, failure]),
            (State::Stopping, [None, note]),
            (State::Stopped, [None, None]),
            (State::Failed, [failure, None]),
            (State::Unknown("odd".into()), [warning, warning]),
        ] {
            assert_eq!(said(&Seen::only(state.clone())), expected, "{state:?}");
        }
    }

    #[test]
    fn what_waits_and_what_is_left_of_a_stopped_service_counts() {
        let queued = |state| Seen {
            queued: true,
            ..Seen::only(state)
        };
        let (failure, note) = (Some(Severity::Failure), Some(Severity::Note));
        assert_eq!(said(&queued(State::Stopped)), [note, failure]);
        assert_eq!(said(&queued(State::Stopping)), [None, note]);
        assert_eq!(said(&queued(State::Failed)), [note, failure]);
        for state in [State::Running, State::Stopped] {
            let masked = Seen {
                definition: Definition::Masked,
                ..Seen::only(state)
            };
            assert_eq!(said(&masked), [failure, failure]);
        }
        let left = Seen {
            tasks: 3,
            ..Seen::only(State::Stopped)
        };
        assert_eq!(said(&left), [None, failure]);
    }

    #[test]
    fn a_service_of_which_nobody_tells_is_no_good_one() {
        let service = GateService {
            name: "nfsd".parse().unwrap(),
            gate: "nfs".parse().unwrap(),
            open: true,
            seen: Err("no answer".to_owned()),
            unasked: None,
        };
        let mut said = Findings::default();
        all(&[service], &mut said);
        assert_eq!(said.0.len(), 1);
        assert_eq!(said.0[0].severity, Severity::Failure);
    }
}
