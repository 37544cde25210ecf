//! The real machine behind [`Format`]: the kernel's word, a few programs of the system, and f3skeys'
//! own knowledge of superblocks.

use super::Format;
use super::decide::{Inspection, Steps};
use crate::child::{self, Call, Finished};
use crate::device::Candidate;
use crate::os::{self, worker};
use crate::time::Deadline;
use crate::trouble::Trouble;
use crate::usb::UsbDisks;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

impl Format for UsbDisks<'_> {
    fn inspect(&self, device: &Path, deadline: Deadline) -> Result<Inspection, Trouble> {
        let node = node_of(device)?;
        let run = |program: &str, args: &[&str]| self.run(program, args, deadline);
        let candidate = self.look_again(&node, deadline)?;
        let parts = os::parts(&node, &run).map_err(|e| format!("its parts: {e}"));
        Ok(Inspection {
            usb: os::disks()
                .map(|disks| disks.iter().any(|disk| disk.node == node))
                .map_err(|e| format!("USB disks: {e}")),
            mounted: mounted(&candidate, parts.as_deref().unwrap_or_default()),
            users: self.users(&node, deadline),
            signatures: os::signatures(&node, &run).map_err(|e| e.to_string()),
            parts: parts.map(|parts| parts.iter().map(|p| p.display().to_string()).collect()),
            candidate,
        })
    }

    fn format(&self, steps: &Steps, deadline: Deadline) -> Result<Candidate, Trouble> {
        let node = steps.node.display().to_string();
        // Sticks can be swapped while a person types.
        let now = self.look_again(&steps.node, deadline)?;
        if now.serial.as_ref() != Some(&steps.serial) {
            return Err(Trouble::failed(
                "formatting",
                &format!("{node} is another device now"),
            ));
        }
        let wipe = !steps.overwrites.is_empty();
        for (program, args) in os::formatting(&node, &steps.label, wipe) {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            self.run(program, &args, deadline)?.success()?;
        }
        self.look_again(&steps.node, deadline)
    }
}

impl UsbDisks<'_> {
    fn run(&self, program: &str, args: &[&str], deadline: Deadline) -> Result<Finished, Trouble> {
        let call = Call {
            program: Path::new(program),
            args,
            input: None,
        };
        child::run(&call, self.clock(), deadline)
    }

    fn users(&self, node: &Path, deadline: Deadline) -> Result<Vec<String>, String> {
        let run = |program: &str, args: &[&str]| self.run(program, args, deadline);
        let mut users = os::users(node, &run).map_err(|e| format!("its users: {e}"))?;
        let held = worker::run("opening it", self.clock(), deadline, || {
            os::is_held(node).map_err(|e| e.to_string())
        });
        match held.map_err(|e| e.to_string())? {
            Ok(false) => {}
            Ok(true) => users.push("the kernel lets nobody else write it".to_owned()),
            Err(why) => return Err(format!("it cannot be opened for writing: {why}")),
        }
        Ok(users)
    }
}

/// The device's own node, by whatever link it was given.
fn node_of(device: &Path) -> Result<PathBuf, Trouble> {
    let failed = |why: &str| Trouble::failed("not formatted", why);
    let node = fs::canonicalize(device).map_err(|e| failed(&e.to_string()))?;
    let is_disk = os::is_disk(&node).map_err(|e| failed(&e.to_string()))?;
    if node.parent() != Some(Path::new("/dev")) || !is_disk {
        return Err(failed("it is no disk"));
    }
    Ok(node)
}

fn mounted(candidate: &Candidate, parts: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let failed = |e: io::Error| format!("mounts: {e}");
    let mut mounts = os::mounts_of(&candidate.node, &candidate.labels()).map_err(failed)?;
    for part in parts {
        mounts.extend(os::mounts_of(part, &[None]).map_err(failed)?);
    }
    Ok(mounts.into_iter().map(|mount| mount.at).collect())
}
