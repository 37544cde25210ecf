//! Looking at sticks and formatting them, in the simulated node.

use super::{Sim, Stick};
use f3skeys::device::{Candidate, Filesystem, Kind};
use f3skeys::init::Format;
use f3skeys::init::decide::{Inspection, Steps};
use f3skeys::os::Signature;
use f3skeys::system::KeyDevices;
use f3skeys::time::Deadline;
use f3skeys::trouble::Trouble;
use std::cell::Cell;
use std::path::Path;

/// Sticks that are looked at and formatted in the simulated node.
pub struct Formatter<'a> {
    pub sim: &'a Sim,
    /// How often it has formatted one.
    pub formatted: Cell<u32>,
    /// What goes wrong while it formats.
    pub fails: Option<&'static str>,
    /// What somebody else does to the node after the decision.
    pub meanwhile: Option<fn(&Sim)>,
    /// Somebody else has the device by the time that it is to be held.
    pub in_use: bool,
    /// Whether it is held.
    pub held: Cell<bool>,
}

fn signatures(candidate: &Candidate) -> Vec<Signature> {
    let of = |filesystem: &Filesystem| Signature {
        kind: "ufs".to_owned(),
        label: filesystem.label.clone(),
    };
    candidate.filesystems.iter().map(of).collect()
}

/// All that is on a stick, in the place of a hash.
fn beginning(stick: &Stick) -> String {
    format!("{:?}{:?}", stick.candidate.filesystems, stick.files)
}

impl Format for Formatter<'_> {
    fn inspect(&self, device: &Path, _deadline: Deadline) -> Result<Inspection, Trouble> {
        let sticks = self.sim.sticks.borrow();
        let found = sticks.iter().find(|stick| stick.candidate.node == device);
        let stick = found.ok_or_else(|| Trouble::failed("/dev/da9", "is no disk"))?;
        let candidate = stick.candidate.clone();
        Ok(Inspection {
            usb: Ok(true),
            mounted: self.sim.mounted_at(&candidate).map_err(|e| e.to_string()),
            users: Ok(Vec::new()),
            parts: Ok(Vec::new()),
            signatures: Ok(signatures(&candidate)),
            beginning: Ok(beginning(stick)),
            candidate,
        })
    }

    fn hold(&self, node: &Path, deadline: Deadline) -> Result<Inspection, Trouble> {
        if let Some(meanwhile) = self.meanwhile {
            meanwhile(self.sim);
        }
        if self.in_use {
            return Err(Trouble::failed("not formatted", "resource busy"));
        }
        self.held.set(true);
        self.inspect(node, deadline)
    }

    fn format(&self, steps: &Steps, _deadline: Deadline) -> Result<Candidate, Trouble> {
        assert!(self.held.get(), "formatted, and not held");
        self.formatted.set(self.formatted.get() + 1);
        if let Some(why) = self.fails {
            return Err(Trouble::failed("newfs", why));
        }
        let mut sticks = self.sim.sticks.borrow_mut();
        let stick = sticks
            .iter_mut()
            .find(|stick| stick.candidate.node == steps.node)
            .unwrap();
        stick.files.clear();
        stick.candidate.filesystems = vec![Filesystem {
            kind: Kind::Ufs2,
            label: Some(steps.label.clone()),
        }];
        Ok(stick.candidate.clone())
    }
}

/// One that works.
pub fn formatter(sim: &Sim) -> Formatter<'_> {
    Formatter {
        sim,
        formatted: Cell::new(0),
        fails: None,
        meanwhile: None,
        in_use: false,
        held: Cell::new(false),
    }
}
