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
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How much of a device is hashed: the superblocks, tables of partitions, and the first of what a file
/// system writes its own notes into.
const BEGINNING: u64 = 4 << 20;

impl Format for UsbDisks<'_> {
    fn inspect(&self, device: &Path, deadline: Deadline) -> Result<Inspection, Trouble> {
        let node = node_of(device)?;
        let mut seen = self.inspected(&node, deadline)?;
        if let Ok(users) = &mut seen.users {
            match self.is_held(&node, deadline) {
                Ok(false) => {}
                Ok(true) => users.push("the kernel lets nobody else write it".to_owned()),
                Err(why) => seen.users = Err(why),
            }
        }
        Ok(seen)
    }

    /// Sticks can be swapped while a person types. From here on the node cannot come to mean another
    /// device: as long as one is open, the kernel gives its name and number to no other.
    fn hold(&self, node: &Path, deadline: Deadline) -> Result<Inspection, Trouble> {
        let failed = |e: io::Error| not_formatted(node, &e.to_string());
        let file = File::open(node).map_err(failed)?;
        let held = self.held.get_or_init(|| file);
        let alone = os::hold(node).map_err(failed)?;
        *self.alone.borrow_mut() = Some(alone);
        still(held, node)?;
        self.inspected(node, deadline)
    }

    fn format(&self, steps: &Steps, deadline: Deadline) -> Result<Candidate, Trouble> {
        let node = steps.node.display().to_string();
        let held = self.held.get();
        let held = held.ok_or_else(|| not_formatted(&steps.node, "it is not held"))?;
        still(held, &steps.node)?;
        let mut alone = self.alone.take();
        if !os::HELD_WHILE_FORMATTED {
            drop(alone.take());
        }
        let wipe = !steps.overwrites.is_empty();
        for (program, args) in os::formatting(&node, &steps.label, wipe) {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            self.run(program, &args, deadline)?.success()?;
        }
        // It is mounted for writing next.
        drop(alone);
        still(held, &steps.node)?;
        self.look_again(&steps.node, deadline)
    }
}

fn not_formatted(node: &Path, why: &str) -> Trouble {
    Trouble::failed("not formatted", &format!("{}: {why}", node.display()))
}

/// Whether a node is still the device that is held.
fn still(held: &File, node: &Path) -> Result<(), Trouble> {
    let failed = |e: io::Error| not_formatted(node, &e.to_string());
    let now = fs::metadata(node).map_err(failed)?;
    let then = held.metadata().map_err(failed)?;
    match now.rdev() == then.rdev() {
        true => Ok(()),
        false => Err(not_formatted(node, "is another device now")),
    }
}

impl UsbDisks<'_> {
    /// What is to be seen of a device, but for whether somebody has it alone.
    fn inspected(&self, node: &Path, deadline: Deadline) -> Result<Inspection, Trouble> {
        let run = |program: &str, args: &[&str]| self.run(program, args, deadline);
        let candidate = self.look_again(node, deadline)?;
        let parts = os::parts(node, &run).map_err(|e| format!("its parts: {e}"));
        Ok(Inspection {
            usb: os::disks()
                .map(|disks| disks.iter().any(|disk| disk.node == node))
                .map_err(|e| format!("USB disks: {e}")),
            mounted: mounted(&candidate, parts.as_deref().unwrap_or_default()),
            users: os::users(node, &run).map_err(|e| format!("its users: {e}")),
            signatures: os::signatures(node, &run).map_err(|e| e.to_string()),
            parts: parts.map(|parts| parts.iter().map(|p| p.display().to_string()).collect()),
            beginning: self.beginning(node, deadline),
            candidate,
        })
    }

    /// A hash of the first bytes of a device.
    fn beginning(&self, node: &Path, deadline: Deadline) -> Result<String, String> {
        let hash = worker::run("reading its beginning", self.clock(), deadline, || {
            let mut hasher = blake3::Hasher::new();
            let device = File::open(node).map_err(|e| e.to_string())?;
            io::copy(&mut device.take(BEGINNING), &mut hasher).map_err(|e| e.to_string())?;
            Ok::<String, String>(hasher.finalize().to_hex().to_string())
        });
        hash.map_err(|e| e.to_string())?
    }

    fn is_held(&self, node: &Path, deadline: Deadline) -> Result<bool, String> {
        let held = worker::run("opening it", self.clock(), deadline, || {
            os::is_held(node).map_err(|e| e.to_string())
        });
        held.map_err(|e| e.to_string())?
            .map_err(|why| format!("it cannot be opened for writing: {why}"))
    }

    fn run(&self, program: &str, args: &[&str], deadline: Deadline) -> Result<Finished, Trouble> {
        let call = Call {
            program: Path::new(program),
            args,
            input: None,
        };
        child::run(&call, self.clock(), deadline)
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

    /// A disk of 32 MiB, in a file.
    #[cfg(target_os = "linux")]
    struct Loop {
        node: PathBuf,
        image: PathBuf,
    }

    #[cfg(target_os = "linux")]
    impl Loop {
        fn new() -> Loop {
            let name = format!("f3skeys-loop-{}.img", std::process::id());
            let image = std::env::temp_dir().join(name);
            File::create(&image).unwrap().set_len(32 << 20).unwrap();
            let node = done("losetup", &["--find", "--show", image.to_str().unwrap()]);
            let node = PathBuf::from(node.unwrap().trim());
            Loop { node, image }
        }

        fn node(&self) -> &str {
            self.node.to_str().unwrap()
        }
    }

    #[cfg(target_os = "linux")]
    impl Drop for Loop {
        fn drop(&mut self) {
            let _ = done("losetup", &["--detach", self.node()]);
            let _ = fs::remove_file(&self.image);
        }
    }

    /// What a program prints; `None` if it fails.
    #[cfg(target_os = "linux")]
    fn done(program: &str, args: &[&str]) -> Option<String> {
        let done = std::process::Command::new(program)
            .args(args)
            .output()
            .unwrap();
        let text = String::from_utf8(done.stdout).unwrap();
        done.status.success().then_some(text)
    }

    /// On a real device of the kernel's.
    #[cfg(target_os = "linux")]
    #[test]
    #[ignore = "needs root and loop devices; .ci/run runs it"]
    fn law_8_who_has_a_device_keeps_it_and_nobody_gets_the_one_that_is_held() {
        use std::os::unix::fs::FileExt;
        let clock = crate::time::SystemClock::start();
        let deadline = Deadline::after(&clock, std::time::Duration::from_secs(300));
        let disk = Loop::new();
        let disks = || UsbDisks::new(&clock, Path::new("/nowhere"), None);
        let steps = Steps {
            node: disk.node.clone(),
            serial: String::new(),
            label: "F3S_KEYS".to_owned(),
            overwrites: String::new(),
        };
        // Nobody has it: it is held, and formatted.
        let usb = disks();
        assert!(
            usb.format(&steps, deadline).is_err(),
            "formatted, and not held"
        );
        let seen = usb.inspect(&disk.node, deadline).unwrap();
        assert_eq!(usb.hold(&disk.node, deadline), Ok(seen));
        let busy = |e: io::Error| e.kind() == io::ErrorKind::ResourceBusy;
        assert!(os::hold(&disk.node).is_err_and(busy));
        let made = usb.format(&steps, deadline).unwrap();
        assert_eq!(made.labels(), [Some("F3S_KEYS"), None]);
        // It is held: nobody mounts it, not even read-only.
        let usb = disks();
        let seen = usb.inspect(&disk.node, deadline).unwrap();
        let at = std::env::temp_dir().join(format!("f3skeys-loop-{}", std::process::id()));
        fs::create_dir_all(&at).unwrap();
        let at = at.to_str().unwrap();
        let mount = || done("mount", &["-o", "ro", disk.node(), at]);
        assert_eq!(usb.hold(&disk.node, deadline), Ok(seen.clone()));
        assert_eq!(mount(), None);
        drop(usb);
        // It is mounted: it is not held, and nothing is written.
        let bytes = || fs::read(&disk.image).unwrap();
        assert!(mount().is_some());
        let before = bytes();
        let usb = disks();
        assert!(usb.hold(&disk.node, deadline).is_err());
        assert!(bytes() == before);
        assert!(done("umount", &[at]).is_some());
        assert!(bytes() == before);
        fs::remove_dir(at).unwrap();
        // A single byte has changed since.
        let device = File::options().write(true).open(&disk.node).unwrap();
        device.write_all_at(b"x", BEGINNING - 1).unwrap();
        drop(device);
        assert_ne!(disks().hold(&disk.node, deadline), Ok(seen));
    }
}
