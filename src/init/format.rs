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
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
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
        // Sticks can be swapped while a person types. From here on the node cannot come to mean another
        // device: as long as one is open, the kernel gives its name and number to no other.
        let held = self.hold(&steps.node)?;
        let now = self.look_again(&steps.node, deadline)?;
        if now.serial.as_ref() != Some(&steps.serial) {
            return Err(Trouble::failed(
                "formatting",
                &format!("{node} is another device now"),
            ));
        }
        let wipe = !steps.overwrites.is_empty();
        still(held, &steps.node)?;
        for (program, args) in os::formatting(&node, &steps.label, wipe) {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            self.run(program, &args, deadline)?.success()?;
        }
        still(held, &steps.node)?;
        self.look_again(&steps.node, deadline)
    }
}

/// Whether a node is still the device that is held.
fn still(held: &File, node: &Path) -> Result<(), Trouble> {
    let failed = |why: String| Trouble::failed("formatting", &format!("{}: {why}", node.display()));
    let number = |about: fs::Metadata| about.rdev();
    let now = fs::metadata(node).map_err(|e| failed(e.to_string()))?;
    let then = held.metadata().map_err(|e| failed(e.to_string()))?;
    match number(now) == number(then) {
        true => Ok(()),
        false => Err(failed("is another device now".to_owned())),
    }
}

impl UsbDisks<'_> {
    /// Opens a device and keeps it open until this program ends, past the writing of the new store.
    fn hold(&self, node: &Path) -> Result<&File, Trouble> {
        let failed =
            |e: io::Error| Trouble::failed("formatting", &format!("{}: {e}", node.display()));
        let file = File::open(node).map_err(failed)?;
        Ok(self.held.get_or_init(|| file))
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A link stands for a node that comes to mean another device.
    #[test]
    fn a_node_that_means_another_device_is_seen_by_the_device_that_is_held() {
        let node = std::env::temp_dir().join(format!("f3skeys-held-{}", std::process::id()));
        for (now, is_same) in [
            (Some("/dev/null"), true),
            (Some("/dev/zero"), false),
            (None, false),
        ] {
            symlink("/dev/null", &node).unwrap();
            let held = File::open(&node).unwrap();
            fs::remove_file(&node).unwrap();
            if let Some(now) = now {
                symlink(now, &node).unwrap();
            }
            assert_eq!(still(&held, &node).is_ok(), is_same, "{now:?}");
            let _ = fs::remove_file(&node);
        }
    }
}
