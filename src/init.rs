//! `f3skeys init`: an empty key store on a stick. It destroys what the stick held, so it does
//! nothing that a person has not named: the device, its own serial number, and what is overwritten.
//!
//! Whether a device may be formatted is pure ([`decide`]); looking at one and formatting it is behind
//! [`Format`]. Keys are never overwritten, whatever is named.

pub mod decide;
mod format;

use crate::audit::log::Caller;
use crate::device::{Candidate, Filesystem, Kind};
use crate::exit::{Fault, USAGE};
use crate::foreign::{add_line, ron};
use crate::marker;
use crate::pass::Node;
use crate::report::{Finding, Severity};
use crate::sorted;
use crate::store::state::State;
use crate::store::work::{Work, Worked};
use crate::store::{Reading, Wanted, layout};
use crate::time::Deadline;
use crate::trouble::Trouble;
use decide::{Inspection, Looked, Refusal, Request, Steps};
use std::path::Path;
use std::time::Duration;

/// The label of a key store, if no other is asked for.
pub const LABEL: &str = "F3S_KEYS";
/// The longest that one look at the device may take.
const LOOK: Duration = Duration::from_secs(60);
/// The longest that formatting may take: sticks are slow.
const FORMAT: Duration = Duration::from_secs(600);
/// Where the new store is mounted while it is founded.
const AT: &str = "/keys";

/// Looking at a device from outside, and making a file system on it. One real implementation,
/// [`crate::usb::UsbDisks`], and one simulated for tests.
pub trait Format {
    /// What there is to see of a device, without mounting it.
    ///
    /// # Errors
    /// There is no such device.
    fn inspect(&self, device: &Path, deadline: Deadline) -> Result<Inspection, Trouble>;

    /// Takes the device for this program alone, as far as the system gives it, and looks at it again.
    ///
    /// # Errors
    /// Somebody uses it, or it is another device than `node` was.
    fn hold(&self, node: &Path, deadline: Deadline) -> Result<Inspection, Trouble>;

    /// Makes an empty file system on the device that is held, after removing what `steps` names as
    /// overwritten; gives the device as it is then.
    ///
    /// # Errors
    /// A program failed, or the file system is not to be seen afterwards.
    fn format(&self, steps: &Steps, deadline: Deadline) -> Result<Candidate, Trouble>;
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Founded {
    /// What was done and what comes next, for standard output; empty when nothing was done.
    pub text: String,
    /// What there is to tell.
    pub findings: Vec<Finding>,
    /// The exit status.
    pub status: u8,
}

impl Founded {
    fn failed(status: u8, subject: &str, what: &str, remedy: &str) -> Founded {
        let finding = Finding::new(Severity::Failure, subject, what, remedy);
        Founded {
            text: String::new(),
            findings: vec![finding],
            status,
        }
    }

    /// The complaints, for standard error.
    pub fn complaints(&self) -> String {
        self.findings.iter().map(Finding::text).collect()
    }
}

/// Makes an empty key store on the device that is asked for. `serial_hint` tells how serial numbers
/// are read on this system.
pub fn init(node: Node, disks: &dyn Format, request: &Request, serial_hint: &str) -> Founded {
    let clock = node.system.clock();
    let subject = request.device.display().to_string();
    let _lock = match marker::lock(node.run, clock) {
        Ok(Some(lock)) => lock,
        Ok(None) => {
            let remedy = "wait until it is done, then try again";
            let what = "another f3skeys is at work";
            return Founded::failed(Fault::Busy.status(), "lock", what, remedy);
        }
        Err(e) => {
            let remedy = "make the run directory writable for root";
            return Founded::failed(Fault::System.status(), "lock", &e.to_string(), remedy);
        }
    };
    let seen = match disks.inspect(&request.device, Deadline::after(clock, LOOK)) {
        Ok(seen) => seen,
        Err(trouble) => {
            let remedy = "give `--device` the node of the stick";
            let status = Fault::NoKeyDevice.status();
            return Founded::failed(status, &subject, &trouble.to_string(), remedy);
        }
    };
    let looked = match decide::may_be_opened(request, &seen) {
        Ok(()) => look_into(node, &seen.candidate),
        // The same refusal comes of the whole decision, without a look into the device.
        Err(_) => Vec::new(),
    };
    match decide::decide(request, &seen, &looked) {
        Ok(steps) => {
            let now = match disks.hold(&steps.node, Deadline::after(clock, LOOK)) {
                Ok(now) => now,
                Err(trouble) => {
                    let remedy = "nothing was written; see who uses it, then try again";
                    let status = Fault::Unavailable.status();
                    return Founded::failed(status, &subject, &trouble.to_string(), remedy);
                }
            };
            match decide::still(request, &seen, &looked, &now) {
                Ok(steps) => found(node, disks, request, &steps),
                Err(refusal) => refused(request, &refusal, serial_hint),
            }
        }
        Err(refusal) => refused(request, &refusal, serial_hint),
    }
}

fn refused(request: &Request, refusal: &Refusal, serial_hint: &str) -> Founded {
    let subject = request.device.display().to_string();
    let status = match refusal.is_of_the_words() {
        true => USAGE,
        false => Fault::Unavailable.status(),
    };
    let what = format!("not formatted: {refusal}");
    Founded::failed(
        status,
        &subject,
        &what,
        &refusal.remedy(request, serial_hint),
    )
}

/// Reads every file system of the device, read-only, for anything that is a key.
fn look_into(node: Node, candidate: &Candidate) -> Vec<Looked> {
    let clock = node.system.clock();
    let look = |filesystem: &Filesystem| {
        let deadline = Deadline::after(clock, LOOK);
        let reading =
            node.devices
                .read(candidate, filesystem, Path::new(AT), Wanted::All, deadline);
        Looked {
            filesystem: filesystem.clone(),
            keys: reading.map_err(|e| e.to_string()).and_then(|r| keys_in(&r)),
        }
    };
    candidate.filesystems.iter().map(look).collect()
}

/// Everything in a store that is a key or might be one, damaged or not.
fn keys_in(reading: &Reading) -> Result<Vec<String>, String> {
    if reading.gone {
        return Err("it went away while it was looked into".to_owned());
    }
    let files = reading.files.iter().map(|file| file.place.path(&file.key));
    let mut keys: Vec<String> = files.chain(reading.strays.iter().cloned()).collect();
    // A store that lists keys may have what is left of them among the damaged.
    let state = reading.state.as_ref().map(|read| match read {
        Ok(bytes) => State::parse(bytes).ok(),
        Err(_) => None,
    });
    let empty = match state {
        Some(Some(state)) => state.keys.is_empty(),
        Some(None) => false,
        None => !reading.formatted,
    };
    if keys.is_empty() && !empty {
        keys.push(layout::DIRECTORY.to_owned());
    }
    sorted::sort(&mut keys);
    keys.dedup();
    Ok(keys)
}

fn found(node: Node, disks: &dyn Format, request: &Request, steps: &Steps) -> Founded {
    let clock = node.system.clock();
    let subject = steps.node.display().to_string();
    let formatted = disks.format(steps, Deadline::after(clock, FORMAT));
    let (candidate, filesystem) = match formatted.and_then(|made| the_new_one(made, steps)) {
        Ok(made) => made,
        Err(trouble) => {
            let remedy = "look at the stick; nothing of value is on it";
            let status = Fault::Unavailable.status();
            return Founded::failed(status, &subject, &trouble.to_string(), remedy);
        }
    };
    let deadline = Deadline::after(clock, LOOK);
    let at = Path::new(AT);
    let store = (&candidate, &filesystem);
    let caller = Caller::here("init");
    let (worked, unlogged) = caller.work(node, store, at, &Work::Found, deadline);
    let mut founded = match worked {
        Ok(worked) => told(request, steps, &worked),
        Err(trouble) => {
            let what = format!("the file system is made, but no store is on it: {trouble}");
            let remedy = "run `f3skeys init` again, with `--overwrite` and what it shows then; or take another stick";
            Founded::failed(Fault::Unavailable.status(), &subject, &what, remedy)
        }
    };
    founded.findings.extend(unlogged);
    founded
}

fn told(request: &Request, steps: &Steps, worked: &Worked) -> Founded {
    let subject = steps.node.display().to_string();
    let notes = worked.notes.iter();
    let mut findings: Vec<Finding> = notes
        .map(|note| Finding::new(Severity::Note, &subject, note, ""))
        .collect();
    findings.extend(worked.left.iter().map(|left| {
        let remedy = "take another stick: this one does not keep what is written";
        Finding::new(Severity::Failure, &left.path, &left.what, remedy)
    }));
    findings.extend(warn_of_fixed(request));
    Founded {
        text: done(steps, worked.store.as_deref()),
        findings,
        status: match worked.left.is_empty() {
            true => 0,
            false => Fault::BadKey.status(),
        },
    }
}

/// The file system that was made, and no other: what is left of a former one would be read instead.
fn the_new_one(made: Candidate, steps: &Steps) -> Result<(Candidate, Filesystem), Trouble> {
    match made.filesystems.as_slice() {
        [only] if only.label.as_deref() == Some(&steps.label) => {
            let only = only.clone();
            Ok((made, only))
        }
        found => Err(Trouble::failed(
            "formatting",
            &format!(
                "{} file systems are seen on it now, not the new one alone",
                found.len()
            ),
        )),
    }
}

fn warn_of_fixed(request: &Request) -> Option<Finding> {
    request.fixed.as_ref().map(|fixed| {
        Finding::new(
            Severity::Warning,
            &fixed.display().to_string(),
            "`boot` looks at USB disks alone, unless the configuration says otherwise",
            "write any_disk: true in `store`, or copy the store to a stick before a boot needs it",
        )
    })
}

fn done(steps: &Steps, id: Option<&str>) -> String {
    let mut text = String::new();
    add_line!(text, "f3skeys init on {}", steps.node.display());
    if !steps.overwrites.is_empty() {
        add_line!(text, "  overwritten: {}", steps.overwrites);
    }
    add_line!(
        text,
        "  an empty key store, format 1, label {}",
        steps.label
    );
    let (label, serial) = (ron(&steps.label), ron(&steps.serial));
    text.push_str("In the configuration:\n");
    add_line!(text, "  store: (label: {label}, serial: {serial}),");
    if let Some(id) = id {
        text.push_str("or, to use this very store and no other, with\n");
        add_line!(text, "  id: {},", ron(id));
    }
    text + "Then:\n  \
        f3skeys new-key OWNER:NAME    makes a key for a new root\n  \
        f3skeys adopt                 proposes a configuration for roots that exist\n"
}

/// What the names of a kind of file system begin with, on either system.
fn family(kind: Kind) -> &'static str {
    match kind {
        Kind::Ufs1 | Kind::Ufs2 => "ufs",
        Kind::Ext => "ext",
    }
}

#[cfg(test)]
mod tests;
