//! Stops services that must not run: each is asked in its turn, and what needs longer is waited for
//! beside the others, so that a slow one keeps none behind it running.

use crate::names::ServiceName;
use crate::os::WATCH_SERVICE;
use crate::pass::Pass;
use crate::services::{Definition, Limit, Seen};
use crate::time::{Clock, Deadline};
use crate::trouble::Trouble;
use std::time::Duration;

/// The longest that the service manager may take to say how a service stands.
pub(crate) const ASK_SERVICE: Duration = Duration::from_secs(5);
/// Between two looks at services that are stopping.
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// How long the service manager may take to end a service by force.
const AFTER_LIMIT: Duration = Duration::from_secs(2);

/// What came of one service.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It did not run.
    Already,
    /// It was stopped.
    Stopped,
    /// It is stopping still.
    OnItsWay(Seen),
    /// It counts as stopped, and so many of its tasks go on; whether it was stopped just now.
    TasksLeft(u64, bool),
    /// There is no service of this name.
    Missing,
    /// It runs, or nobody knows.
    Failed(String),
}

impl Stop {
    /// How the service stands, for a sentence.
    pub(crate) fn words(&self) -> String {
        match self {
            Stop::Already | Stop::Stopped => "it is stopped".to_owned(),
            Stop::OnItsWay(seen) => format!("it {} ({})", seen.words(), seen.stop_limit.words()),
            Stop::TasksLeft(1, _) => "it counts as stopped, and one task of it goes on".to_owned(),
            Stop::TasksLeft(n, _) => format!("it counts as stopped, and {n} tasks of it go on"),
            Stop::Missing => "there is no service of this name".to_owned(),
            Stop::Failed(why) => why.clone(),
        }
    }
}

/// Asks all of them to stop, in this order, until `deadline`; then waits at most `longest`, and no
/// longer than the services' own limits, for those that take their time.
pub(crate) fn stop_all(
    pass: &Pass,
    services: &[ServiceName],
    deadline: Deadline,
    longest: Duration,
) -> Vec<Stop> {
    let mut stops = Vec::new();
    for (done, service) in services.iter().enumerate() {
        let share = deadline.share(pass.clock(), services.len() - done);
        stops.push(ask(pass, service, share));
    }
    wait(
        pass,
        services,
        &mut stops,
        deadline.at_most(pass.clock(), longest),
    );
    if stops.iter().any(|stop| matches!(stop, Stop::Stopped)) {
        let deadline = deadline.at_most(pass.clock(), AFTER_LIMIT);
        wait_for_tasks(pass, services, &mut stops, deadline);
    }
    stops
}

/// How a service stands.
pub(crate) fn look(
    pass: &Pass,
    service: &ServiceName,
    deadline: Deadline,
) -> Result<Seen, Trouble> {
    let deadline = deadline.at_most(pass.clock(), ASK_SERVICE);
    pass.node.services.look(service, deadline)
}

/// Stops a service unless it is known to be at rest; looks once more, since no exit status is a proof.
fn ask(pass: &Pass, service: &ServiceName, deadline: Deadline) -> Stop {
    if let Ok(seen) = look(pass, service, deadline)
        && seen.is_at_rest()
    {
        return at_rest(&seen, false);
    }
    let watched = deadline.at_most(pass.clock(), WATCH_SERVICE);
    let asked = pass.node.services.stop(service, watched);
    match (look(pass, service, pass.deadline), asked) {
        (Ok(seen), _) if seen.is_at_rest() => at_rest(&seen, true),
        (Ok(seen), _) if seen.goes_down() => Stop::OnItsWay(seen),
        (_, Err(trouble)) | (Err(trouble), Ok(())) => Stop::Failed(trouble.to_string()),
        (Ok(seen), Ok(())) => Stop::Failed(format!("it {} all the same", seen.words())),
    }
}

/// `now` tells whether it was stopped just now.
fn at_rest(seen: &Seen, now: bool) -> Stop {
    match seen.definition {
        _ if seen.tasks > 0 => Stop::TasksLeft(seen.tasks, now),
        Definition::Missing => Stop::Missing,
        _ if now => Stop::Stopped,
        _ => Stop::Already,
    }
}

/// Waits for what is stopping.
fn wait(pass: &Pass, services: &[ServiceName], stops: &mut [Stop], deadline: Deadline) {
    let clock = pass.clock();
    let limits = stops.iter().filter_map(|stop| match stop {
        Stop::OnItsWay(seen) => Some(seen.stop_limit),
        _ => None,
    });
    let deadline = limits
        .map(|limit| until(limit, clock, deadline))
        .max()
        .unwrap_or(deadline);
    while stops.iter().any(|stop| matches!(stop, Stop::OnItsWay(_))) && !deadline.passed(clock) {
        clock.sleep(BETWEEN_LOOKS.min(deadline.left(clock)));
        for (service, stop) in services.iter().zip(stops.iter_mut()) {
            if let Stop::OnItsWay(_) = stop
                && let Ok(seen) = look(pass, service, pass.deadline)
            {
                *stop = match seen.is_at_rest() {
                    true => at_rest(&seen, true),
                    false => Stop::OnItsWay(seen),
                };
            }
        }
    }
}

/// Looks again at services whose tasks went on: the stop of another may end them, as that of a unit that is
/// there to end pods.
fn wait_for_tasks(pass: &Pass, services: &[ServiceName], stops: &mut [Stop], deadline: Deadline) {
    let clock = pass.clock();
    while stops.iter().any(|stop| matches!(stop, Stop::TasksLeft(..))) && !deadline.passed(clock) {
        for (service, stop) in services.iter().zip(stops.iter_mut()) {
            if let Stop::TasksLeft(_, now) = stop
                && let Ok(seen) = look(pass, service, pass.deadline)
                && seen.is_at_rest()
            {
                *stop = at_rest(&seen, *now);
            }
        }
        clock.sleep(BETWEEN_LOOKS.min(deadline.left(clock)));
    }
}

/// How long a service is waited for. At the end of its own limit the manager ends it by force.
fn until(limit: Limit, clock: &dyn Clock, deadline: Deadline) -> Deadline {
    match limit {
        Limit::Of(time) => deadline.at_most(clock, time.saturating_add(AFTER_LIMIT)),
        Limit::None | Limit::NotSaid => deadline,
    }
}
