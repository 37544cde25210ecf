//! Services of the gates: started when a gate opens after the boot, stopped when it closes.

use crate::child::{self, Call, Finished};
use crate::foreign::Line;
use crate::names::ServiceName;
use crate::os::{self, ServiceCall};
use crate::time::{Clock, Deadline};
use crate::trouble::Trouble;
use std::path::Path;
use std::time::Duration;

/// How a service stands, in the word of its manager. It is never a yes or a no: what is on its way is
/// neither, and what is not understood is no reason to leave a service alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It runs; also while it reads its configuration again.
    Running,
    /// It is starting, and may work already.
    Starting,
    /// It has failed, and its manager will start it again by itself.
    Retrying,
    /// It is stopping, and may work still.
    Stopping,
    /// It does not run.
    Stopped,
    /// It does not run, and its last run ended badly.
    Failed,
    /// The manager says something else.
    Unknown(Line),
}

/// What describes a service to its manager, which matters at its next start, whatever it does now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Definition {
    /// The manager takes it.
    Good,
    /// There is none: the manager has no service of this name.
    Missing,
    /// An administrator has seen to it that nothing starts it.
    Masked,
    /// The manager refuses it, and says this.
    Broken(Line),
}

/// How long the manager lets a service start or stop before it calls that a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// So long.
    Of(Duration),
    /// For ever.
    None,
    /// The manager does not say.
    NotSaid,
}

/// What the manager says of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// How it stands.
    pub state: State,
    /// What describes it.
    pub definition: Definition,
    /// Whether a start, stop or restart of it is being made, or waits for that; which one is not told.
    pub queued: bool,
    /// How long it may start.
    pub start_limit: Limit,
    /// How long it may stop.
    pub stop_limit: Limit,
    /// How many of its processes and threads there are, as far as the manager knows.
    pub tasks: u64,
}

impl Seen {
    /// A service of which the manager says nothing but its state.
    pub fn only(state: State) -> Seen {
        Seen {
            state,
            definition: Definition::Good,
            queued: false,
            start_limit: Limit::NotSaid,
            stop_limit: Limit::NotSaid,
            tasks: 0,
        }
    }

    /// Whether it runs.
    pub fn runs(&self) -> bool {
        self.state == State::Running
    }

    /// Whether it does not run, and will not unless somebody asks for it.
    pub fn is_at_rest(&self) -> bool {
        match self.state {
            State::Stopped | State::Failed => !self.queued,
            State::Running | State::Starting | State::Retrying | State::Stopping => false,
            State::Unknown(_) => false,
        }
    }

    /// Whether the manager is about to have it running.
    pub fn comes_up(&self) -> bool {
        match self.state {
            State::Starting => true,
            State::Stopped | State::Failed | State::Retrying => self.queued,
            State::Running | State::Stopping | State::Unknown(_) => false,
        }
    }

    /// The same of a service that was asked to start: one that is stopping does so first.
    pub fn comes_up_as_asked(&self) -> bool {
        self.comes_up() || (self.state == State::Stopping && self.queued)
    }

    /// Whether the manager is about to have it stopped.
    pub fn goes_down(&self) -> bool {
        self.state == State::Stopping || (self.queued && !self.is_at_rest())
    }

    /// Why no start can succeed, and what to do; `None` when one may.
    pub fn no_start(&self) -> Option<(String, &'static str)> {
        let (why, remedy) = match &self.definition {
            Definition::Good => return None,
            Definition::Missing => (
                "there is no service of this name".to_owned(),
                "correct its name in `services`, or install it",
            ),
            Definition::Masked => (
                "it is masked: nothing starts it".to_owned(),
                "unmask it, or take it out of `services`",
            ),
            Definition::Broken(why) => (
                format!("what describes it is refused ({why})"),
                "mend its unit file",
            ),
        };
        Some((why, remedy))
    }

    /// How it stands, for a sentence that begins with its name.
    pub fn words(&self) -> String {
        let word = match &self.state {
            State::Running => "runs",
            State::Starting => "is starting",
            State::Retrying => "has failed, and is started again and again",
            State::Stopping => "is stopping",
            State::Stopped if self.queued => "is about to be started",
            State::Stopped => "is stopped",
            State::Failed => "has failed",
            State::Unknown(word) => return format!("is in a state that is not known: {word}"),
        };
        word.to_owned()
    }
}

impl Limit {
    /// For a sentence: how long the manager waits.
    pub fn words(self) -> String {
        match self {
            Limit::Of(time) => format!("its own limit is {} s", time.as_secs()),
            Limit::None => "it has no limit of its own".to_owned(),
            Limit::NotSaid => "its own limit is not known".to_owned(),
        }
    }
}

/// The system's service manager.
pub trait Services {
    /// How a service stands.
    ///
    /// # Errors
    /// The service manager did not say.
    fn look(&self, service: &ServiceName, deadline: Deadline) -> Result<Seen, Trouble>;

    /// What a service runs when it starts, in the words of its manager; `None` of rc(8), whose scripts ask
    /// in `rc.conf.d`.
    ///
    /// # Errors
    /// The service manager did not say.
    fn commands(
        &self,
        service: &ServiceName,
        deadline: Deadline,
    ) -> Result<Option<String>, Trouble>;

    /// Starts a service, and watches until it has started or the deadline has passed.
    ///
    /// # Errors
    /// It did not start, or not in time: then it may be starting still.
    fn start(&self, service: &ServiceName, deadline: Deadline) -> Result<(), Trouble>;

    /// Stops a service, and watches until it has stopped or the deadline has passed.
    ///
    /// # Errors
    /// It did not stop, or not in time: then it may be stopping still.
    fn stop(&self, service: &ServiceName, deadline: Deadline) -> Result<(), Trouble>;
}

/// The gates that a service asks before it works, as systemd shows its commands. One whose failure it
/// ignores asks nothing.
pub fn asked_gates(commands: &str) -> Vec<&str> {
    let counts = |line: &&str| !line.contains("; ignore_errors=yes ;");
    commands.lines().filter(counts).filter_map(asked).collect()
}

fn asked(line: &str) -> Option<&str> {
    let is_between = |c: char| c.is_whitespace() || "'\";".contains(c);
    let words = line.split(is_between).filter(|word| !word.is_empty());
    let mut after = words.skip_while(|word| !word.ends_with("/f3skeys"));
    after.find(|word| *word == "gate")?;
    after.next()
}

/// rc(8) or systemd.
pub struct Manager<'a> {
    /// The clock of the deadlines.
    pub clock: &'a dyn Clock,
}

impl Manager<'_> {
    fn call(
        &self,
        call: ServiceCall,
        service: &ServiceName,
        deadline: Deadline,
    ) -> Result<Finished, Trouble> {
        let (program, arguments) = os::service(call, service.as_str());
        let args: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let call = Call {
            program: Path::new(program),
            args: &args,
            input: None,
        };
        child::run(&call, self.clock, deadline)
    }
}

impl Services for Manager<'_> {
    fn look(&self, service: &ServiceName, deadline: Deadline) -> Result<Seen, Trouble> {
        os::service_seen(self.call(ServiceCall::Look, service, deadline)?)
    }

    fn commands(
        &self,
        service: &ServiceName,
        deadline: Deadline,
    ) -> Result<Option<String>, Trouble> {
        if os::SYSTEMCTL.is_none() {
            return Ok(None);
        }
        let finished = self.call(ServiceCall::Commands, service, deadline)?;
        let said = finished.success()?;
        Ok(Some(String::from_utf8_lossy(&said).into_owned()))
    }

    fn start(&self, service: &ServiceName, deadline: Deadline) -> Result<(), Trouble> {
        let finished = self.call(ServiceCall::Start, service, deadline)?;
        finished.success().map(|_| ())
    }

    fn stop(&self, service: &ServiceName, deadline: Deadline) -> Result<(), Trouble> {
        let finished = self.call(ServiceCall::Stop, service, deadline)?;
        finished.success().map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each state with something queued and without: at rest, coming up, going down.
    #[test]
    fn a_state_is_at_rest_or_on_its_way_or_neither() {
        for (state, idle, queued) in [
            (State::Running, "---", "--d"),
            (State::Starting, "-u-", "-ud"),
            (State::Retrying, "---", "-ud"),
            (State::Stopping, "--d", "--d"),
            (State::Stopped, "r--", "-ud"),
            (State::Failed, "r--", "-ud"),
            (State::Unknown("odd".into()), "---", "--d"),
        ] {
            for (is_queued, expected) in [(false, idle), (true, queued)] {
                let seen = Seen {
                    queued: is_queued,
                    ..Seen::only(state.clone())
                };
                let mark = |is: bool, letter: char| if is { letter } else { '-' };
                let is: String = [
                    mark(seen.is_at_rest(), 'r'),
                    mark(seen.comes_up(), 'u'),
                    mark(seen.goes_down(), 'd'),
                ]
                .iter()
                .collect();
                assert_eq!(is, expected, "{seen:?}");
                let asked = seen.comes_up() || (is_queued && state == State::Stopping);
                assert_eq!(seen.comes_up_as_asked(), asked, "{seen:?}");
            }
        }
    }

    #[test]
    fn the_gates_that_a_service_asks_are_read_from_its_commands() {
        for (commands, gates) in [
            ("", vec![]),
            (
                "ExecStart={ path=/bin/true ; argv[]=/bin/true ; ignore_errors=no ; start_time=[n/a] ; pid=0 }\n",
                vec![],
            ),
            (
                "ExecStartPre={ path=/usr/sbin/f3skeys ; argv[]=/usr/sbin/f3skeys gate nfs ; ignore_errors=no ; pid=0 }\n\
                 ExecStartPre={ path=/usr/sbin/f3skeys ; argv[]=/usr/sbin/f3skeys gate k8s ; ignore_errors=no ; pid=0 }\n",
                vec!["nfs", "k8s"],
            ),
            (
                "ExecStart={ path=/usr/sbin/f3skeys ; argv[]=/usr/sbin/f3skeys --config /etc/a.ron gate nfs -- /bin/work ; ignore_errors=no ; }",
                vec!["nfs"],
            ),
            (
                "ExecStartPre={ path=/bin/sh ; argv[]=/bin/sh -c 'sleep 1; /usr/sbin/f3skeys gate \"nfs\"' ; ignore_errors=no ; }",
                vec!["nfs"],
            ),
            (
                "ExecStartPre={ path=/usr/sbin/f3skeys ; argv[]=/usr/sbin/f3skeys gate nfs ; ignore_errors=yes ; pid=0 }",
                vec![],
            ),
            (
                "ExecStart={ path=/usr/sbin/f3skeys ; argv[]=/usr/sbin/f3skeys ready ; ignore_errors=no ; }",
                vec![],
            ),
            (
                "ExecStart={ path=/usr/sbin/gate ; argv[]=/usr/sbin/gate nfs ; ignore_errors=no ; }",
                vec![],
            ),
        ] {
            assert_eq!(asked_gates(commands), gates, "{commands}");
        }
    }

    #[test]
    fn what_no_start_can_bring_up_is_told_apart() {
        let remedy = |definition| {
            let seen = Seen {
                definition,
                ..Seen::only(State::Running)
            };
            seen.no_start().map(|(_, remedy)| remedy)
        };
        assert_eq!(remedy(Definition::Good), None);
        let bad = [
            Definition::Missing,
            Definition::Masked,
            Definition::Broken("x".into()),
        ];
        let mut remedies = bad.map(|definition| remedy(definition).unwrap()).to_vec();
        remedies.dedup();
        assert_eq!(remedies.len(), 3);
    }
}
