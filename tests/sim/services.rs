//! The service manager of the simulated node.

use super::{Event, ONE_CALL, Sim};
use f3skeys::names::ServiceName;
use f3skeys::services::{Limit, Seen, Services, State};
use f3skeys::time::{Clock, Deadline};
use f3skeys::trouble::Trouble;
use std::time::Duration;

impl Services for Sim {
    fn look(&self, service: &ServiceName, _deadline: Deadline) -> Result<Seen, Trouble> {
        self.step();
        self.sleep(ONE_CALL);
        if let Some(seen) = self.odd_services.borrow().get(service.as_str()) {
            return Ok(seen.clone());
        }
        if let Some(seen) = self.slow_service(service.as_str()) {
            return Ok(seen);
        }
        let states = self.service_states.borrow();
        let ends = self.tasks_ended_by.borrow();
        let is_ended = |by: &String| states.get(by) == Some(&false);
        let left = ends.get(service.as_str()).is_some_and(|by| !is_ended(by));
        match states.get(service.as_str()) {
            Some(true) => Ok(Seen::only(State::Running)),
            Some(false) => Ok(Seen {
                tasks: if left { 4 } else { 0 },
                ..Seen::only(State::Stopped)
            }),
            None => Err(Trouble::failed("service", "it did not say the state")),
        }
    }

    fn commands(
        &self,
        service: &ServiceName,
        _deadline: Deadline,
    ) -> Result<Option<String>, Trouble> {
        self.step();
        self.sleep(ONE_CALL);
        Ok(self
            .service_commands
            .borrow()
            .get(service.as_str())
            .cloned())
    }

    fn start(&self, service: &ServiceName, deadline: Deadline) -> Result<(), Trouble> {
        self.tell_service(service, true, deadline)
    }

    fn stop(&self, service: &ServiceName, deadline: Deadline) -> Result<(), Trouble> {
        self.tell_service(service, false, deadline)
    }
}

impl Sim {
    fn tell_service(
        &self,
        service: &ServiceName,
        running: bool,
        deadline: Deadline,
    ) -> Result<(), Trouble> {
        self.step();
        self.sleep(ONE_CALL);
        let name = service.to_string();
        let is_deaf = self.deaf_services.borrow().contains(&name);
        if is_deaf || self.odd_services.borrow().contains_key(&name) {
            return Err(Trouble::failed("service", "exit status 1"));
        }
        if let Some((start, stop, _)) = self.slow_services.borrow().get(&name) {
            return self.move_service(
                &name,
                running,
                if running { *start } else { *stop },
                deadline,
            );
        }
        self.note(match running {
            true => Event::Started(name.clone()),
            false => Event::Stopped(name.clone()),
        });
        self.service_states.borrow_mut().insert(name, running);
        Ok(())
    }

    /// Sets a slow service on its way, and watches it until the deadline.
    fn move_service(
        &self,
        name: &str,
        running: bool,
        time: Duration,
        deadline: Deadline,
    ) -> Result<(), Trouble> {
        self.settle_service(name);
        let is_there = self.service_states.borrow().get(name) == Some(&running);
        let mut moving = self.moving_services.borrow_mut();
        match moving.get(name) {
            Some((_, to)) if *to == running => {}
            None if is_there => {}
            _ => {
                moving.insert(name.to_owned(), (self.now() + time, running));
                self.note(match running {
                    true => Event::Started(name.to_owned()),
                    false => Event::Stopped(name.to_owned()),
                });
            }
        }
        let left = moving
            .get(name)
            .map(|(until, _)| until.saturating_sub(self.now()));
        drop(moving);
        let watched = deadline.left(self);
        self.sleep(left.unwrap_or_default().min(watched));
        match left.unwrap_or_default() > watched {
            true => Err(Trouble::timed_out("service")),
            false => Ok(()),
        }
    }

    /// Ends the way of a slow service that has had its time.
    fn settle_service(&self, name: &str) {
        let moving = self.moving_services.borrow().get(name).copied();
        if let Some((until, running)) = moving
            && until <= self.now()
        {
            self.moving_services.borrow_mut().remove(name);
            let runs = running && self.slow_services.borrow()[name].2 == State::Running;
            self.service_states
                .borrow_mut()
                .insert(name.to_owned(), runs);
        }
    }

    /// What the manager says of a slow service.
    fn slow_service(&self, name: &str) -> Option<Seen> {
        let (start, stop, end) = self.slow_services.borrow().get(name).cloned()?;
        self.settle_service(name);
        let state = match self.moving_services.borrow().get(name) {
            Some((_, true)) => State::Starting,
            Some((_, false)) => State::Stopping,
            None if self.service_states.borrow()[name] => State::Running,
            None if end == State::Running => State::Stopped,
            None => end,
        };
        Some(Seen {
            // As systemd has it: the job lasts as long as the way.
            queued: self.moving_services.borrow().contains_key(name),
            start_limit: Limit::Of(start),
            stop_limit: Limit::Of(stop),
            ..Seen::only(state)
        })
    }
}
