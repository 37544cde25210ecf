//! Services of the gates: started when a gate opens after the boot, stopped when it closes.

use crate::child::{self, Call, Finished};
use crate::names::ServiceName;
use crate::os::{self, ServiceCall};
use crate::time::{Clock, Deadline};
use crate::trouble::Trouble;
use std::path::Path;

/// The system's service manager.
pub trait Services {
    /// Whether a service runs.
    ///
    /// # Errors
    /// The service manager did not say.
    fn runs(&self, service: &ServiceName, deadline: Deadline) -> Result<bool, Trouble>;

    /// Starts a service.
    ///
    /// # Errors
    /// It did not start, or not in time.
    fn start(&self, service: &ServiceName, deadline: Deadline) -> Result<(), Trouble>;

    /// Stops a service.
    ///
    /// # Errors
    /// It did not stop, or not in time.
    fn stop(&self, service: &ServiceName, deadline: Deadline) -> Result<(), Trouble>;
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
    fn runs(&self, service: &ServiceName, deadline: Deadline) -> Result<bool, Trouble> {
        let finished = self.call(ServiceCall::Runs, service, deadline)?;
        match finished.status {
            Some(status) => Ok(status == 0),
            None => Err(finished.failure()),
        }
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
