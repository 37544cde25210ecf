//! Whether a device may be formatted. Pure: from what a person asked for and what was seen to the
//! steps, or a refusal with its evidence. What cannot be told refuses.

use crate::device::{Candidate, Filesystem};
use crate::os::Signature;
use crate::shell::command;
use crate::sorted::Set;
use std::fmt;
use std::path::PathBuf;

/// The longest label that ext has room for.
const LONGEST_LABEL: usize = 16;
/// Kinds of content that no key store can be on, by the names that either system gives them: FAT has
/// no place for the `:` of a key's name; swap and a table without partitions hold no files.
const NO_STORE: [&str; 7] = ["vfat", "msdosfs", "exfat", "dos", "gpt", "PMBR", "swap"];

/// What a person asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The device.
    pub device: PathBuf,
    /// Its own serial number, as the person has read it.
    pub serial: Option<String>,
    /// The label that the file system gets.
    pub label: String,
    /// What may be overwritten, in the words of the refusal that showed it.
    pub overwrite: Option<String>,
    /// The device once more, when it is none that is meant to be pulled out.
    pub fixed: Option<PathBuf>,
}

/// What was seen of the device. Every `Err` says why something could not be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// The device, with the file systems that a key store may be on.
    pub candidate: Candidate,
    /// Whether it is a USB disk or a part of one.
    pub usb: Result<bool, String>,
    /// Where it, or a part of it, is mounted.
    pub mounted: Result<Vec<PathBuf>, String>,
    /// Who else uses it, in words: swap, other devices made of it, whoever holds it open.
    pub users: Result<Vec<String>, String>,
    /// The parts that it is divided into.
    pub parts: Result<Vec<String>, String>,
    /// What its content says it is.
    pub signatures: Result<Vec<Signature>, String>,
    /// A hash of its beginning, where every file system notes that something was written.
    pub beginning: Result<String, String>,
}

/// What was found in a file system of the device, before it would be overwritten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// The file system.
    pub filesystem: Filesystem,
    /// The paths of everything that is a key or might be one.
    pub keys: Result<Vec<String>, String>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Steps {
    /// The device.
    pub node: PathBuf,
    /// Its serial number.
    pub serial: String,
    /// The label that its file system gets.
    pub label: String,
    /// What is overwritten, by name; empty when the device is blank.
    pub overwrites: String,
}

/// Why nothing is done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Refusal {
    /// The label is none.
    BadLabel(String),
    /// It is no USB disk, and was not named twice.
    NotUsb,
    /// `--fixed` names another device.
    OtherFixed(PathBuf),
    /// The device has no serial number, so nobody can prove that this one is meant.
    NoSerial,
    /// None was given.
    SerialNotGiven,
    /// Another was given.
    OtherSerial,
    /// It is mounted.
    Mounted(Vec<PathBuf>),
    /// Somebody uses it.
    InUse(Vec<String>),
    /// It is divided.
    Partitioned(Vec<String>),
    /// It belongs, or once belonged, to a pool.
    OfPool,
    /// It holds keys. No verb deletes a key's only copy.
    HoldsKeys(Vec<String>),
    /// It holds something that could be a store of keys and cannot be looked into.
    Opaque(String),
    /// It holds this, which was not named.
    NotNamed(String),
    /// It holds this, and something else was named.
    OtherNamed(String),
    /// Between the decision and the moment before the first write it has become another.
    Changed,
    /// It could not be told.
    CannotTell(String),
}

/// Decides. `looked` has an entry for each file system of the candidate.
///
/// # Errors
/// See [`Refusal`].
pub fn decide(request: &Request, seen: &Inspection, looked: &[Looked]) -> Result<Steps, Refusal> {
    may_be_opened(request, seen)?;
    holds_no_keys(seen, looked)?;
    let overwrites = named(request, seen)?;
    let serial = seen.candidate.serial.clone().ok_or(Refusal::NoSerial)?;
    Ok(Steps {
        node: seen.candidate.node.clone(),
        serial,
        label: request.label.clone(),
        overwrites,
    })
}

/// Decides once more, by what was seen of the device while nobody else could use it: `now` is to lead to the
/// same, and to be the same.
///
/// # Errors
/// See [`Refusal`].
pub fn still(
    request: &Request,
    seen: &Inspection,
    looked: &[Looked],
    now: &Inspection,
) -> Result<Steps, Refusal> {
    let steps = decide(request, now, looked)?;
    now.beginning.clone().map_err(Refusal::CannotTell)?;
    match now == seen {
        true => Ok(steps),
        false => Err(Refusal::Changed),
    }
}

/// Everything that is to be known before the device is even looked into: that it is the one that is
/// meant, and free.
///
/// # Errors
/// See [`Refusal`].
pub fn may_be_opened(request: &Request, seen: &Inspection) -> Result<(), Refusal> {
    check_label(&request.label)?;
    is_meant(request, seen)?;
    is_free(seen)
}

fn check_label(label: &str) -> Result<(), Refusal> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let good = (1..=LONGEST_LABEL).contains(&label.len()) && label.chars().all(plain);
    if good && !label.starts_with('-') {
        return Ok(());
    }
    Err(Refusal::BadLabel(label.to_owned()))
}

fn is_meant(request: &Request, seen: &Inspection) -> Result<(), Refusal> {
    let usb = seen.usb.clone().map_err(Refusal::CannotTell)?;
    match &request.fixed {
        Some(fixed) if *fixed != request.device => return Err(Refusal::OtherFixed(fixed.clone())),
        None if !usb => return Err(Refusal::NotUsb),
        _ => {}
    }
    match (&seen.candidate.serial, &request.serial) {
        (None, _) => Err(Refusal::NoSerial),
        (Some(_), None) => Err(Refusal::SerialNotGiven),
        (Some(_), Some(given)) if !seen.candidate.is_called(given.trim()) => {
            Err(Refusal::OtherSerial)
        }
        _ => Ok(()),
    }
}

fn is_free(seen: &Inspection) -> Result<(), Refusal> {
    let known = |list: &Result<Vec<String>, String>| list.clone().map_err(Refusal::CannotTell);
    let mounted = seen.mounted.clone().map_err(Refusal::CannotTell)?;
    if !mounted.is_empty() {
        return Err(Refusal::Mounted(mounted));
    }
    let users = known(&seen.users)?;
    if !users.is_empty() {
        return Err(Refusal::InUse(users));
    }
    let parts = known(&seen.parts)?;
    if !parts.is_empty() {
        return Err(Refusal::Partitioned(parts));
    }
    Ok(())
}

/// Law 7: whatever is named, keys are not overwritten, nor what may hide some.
fn holds_no_keys(seen: &Inspection, looked: &[Looked]) -> Result<(), Refusal> {
    let signatures = seen.signatures.clone().map_err(Refusal::CannotTell)?;
    if signatures.iter().any(|s| s.kind.starts_with("zfs")) {
        return Err(Refusal::OfPool);
    }
    for filesystem in &seen.candidate.filesystems {
        let found = looked.iter().find(|l| l.filesystem == *filesystem);
        let keys = match found.map(|looked| &looked.keys) {
            Some(Ok(keys)) => keys,
            Some(Err(why)) => return Err(Refusal::Opaque(why.clone())),
            None => return Err(Refusal::CannotTell("it was not looked into".to_owned())),
        };
        if !keys.is_empty() {
            return Err(Refusal::HoldsKeys(keys.clone()));
        }
    }
    let looked_into = |kind: &str| {
        let family = |start: &str| kind.starts_with(start);
        let ours = seen.candidate.filesystems.iter().map(|f| f.kind);
        ours.map(super::family).any(family)
    };
    match signatures
        .iter()
        .find(|s| !NO_STORE.contains(&s.kind.as_str()) && !looked_into(&s.kind))
    {
        Some(opaque) => Err(Refusal::Opaque(format!("it holds {opaque}"))),
        None => Ok(()),
    }
}

/// What would be overwritten, if the person has named exactly that.
fn named(request: &Request, seen: &Inspection) -> Result<String, Refusal> {
    let signatures = seen.signatures.clone().map_err(Refusal::CannotTell)?;
    let holds = content(&seen.candidate, &signatures);
    match &request.overwrite {
        None if holds.is_empty() => Ok(holds),
        Some(named) if *named == holds && !holds.is_empty() => Ok(holds),
        None => Err(Refusal::NotNamed(holds)),
        Some(_) => Err(Refusal::OtherNamed(holds)),
    }
}

/// All that a device holds, in one word that a person can repeat.
pub fn content(candidate: &Candidate, signatures: &[Signature]) -> String {
    let mut words: Set<String> = signatures.iter().map(|s| s.to_string()).collect();
    // What the system's own program did not see, and a key store could be.
    for filesystem in &candidate.filesystems {
        let family = super::family(filesystem.kind);
        if !signatures.iter().any(|s| s.kind.starts_with(family)) {
            let own = Signature {
                kind: family.to_owned(),
                label: filesystem.label.clone(),
            };
            words.insert(own.to_string());
        }
    }
    words.into_iter().collect::<Vec<_>>().join(",")
}

impl Refusal {
    /// Whether other words on the command line would do.
    pub fn is_of_the_words(&self) -> bool {
        match self {
            Refusal::BadLabel(_)
            | Refusal::NotUsb
            | Refusal::OtherFixed(_)
            | Refusal::SerialNotGiven
            | Refusal::OtherSerial
            | Refusal::NotNamed(_)
            | Refusal::OtherNamed(_) => true,
            Refusal::NoSerial
            | Refusal::Mounted(_)
            | Refusal::InUse(_)
            | Refusal::Partitioned(_)
            | Refusal::OfPool
            | Refusal::HoldsKeys(_)
            | Refusal::Opaque(_)
            | Refusal::Changed
            | Refusal::CannotTell(_) => false,
        }
    }

    /// What to do about it; `serial_hint` tells how serial numbers are read on this system.
    pub fn remedy(&self, request: &Request, serial_hint: &str) -> String {
        let fixed = command!("--fixed {}", &request.device);
        match self {
            Refusal::BadLabel(_) => format!(
                "`--label` takes 1 to {LONGEST_LABEL} letters, digits, `_` and `-`"
            ),
            Refusal::NotUsb => format!(
                "`boot` looks for keys on USB disks alone, unless `store` says any_disk: true; if you mean it, add {fixed}"
            ),
            Refusal::OtherFixed(_) => format!("repeat the device: {fixed}"),
            Refusal::NoSerial => {
                "take another stick; or format it by hand, and name it by its label".to_owned()
            }
            Refusal::SerialNotGiven | Refusal::OtherSerial => {
                format!("read the number of the very stick you mean ({serial_hint}), and give it with `--serial`")
            }
            Refusal::Mounted(_) => "see what is on it; unmount it if nobody needs it, then try again".to_owned(),
            Refusal::InUse(_) => "nothing is taken from who uses it".to_owned(),
            Refusal::Partitioned(parts) => format!(
                "give `--device` one of its parts ({}), or remove the table by hand",
                parts.join(", ")
            ),
            Refusal::OfPool => {
                "if no pool needs it, `zpool labelclear` it by hand".to_owned()
            }
            Refusal::HoldsKeys(_) => {
                "f3skeys overwrites no key: bring these to another store and see with `f3skeys verify` that they are there, then wipe this stick by hand".to_owned()
            }
            Refusal::Opaque(_) => "see that it holds no key, then wipe it by hand".to_owned(),
            Refusal::NotNamed(holds) | Refusal::OtherNamed(holds) => format!(
                "if all of that may be lost, add {}",
                command!("--overwrite {}", holds)
            ),
            Refusal::Changed => {
                "see who else uses it, then try again: it is looked at anew".to_owned()
            }
            Refusal::CannotTell(_) => {
                "what cannot be told counts as in use; see what the kernel says of it".to_owned()
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::BadLabel(label) => write!(f, "`{label}` is no label"),
            Refusal::NotUsb => f.write_str("it is no USB disk"),
            Refusal::OtherFixed(other) => {
                write!(f, "`--fixed` names {}, another device", other.display())
            }
            Refusal::NoSerial => {
                f.write_str("it gives no serial number, so nothing tells it from another")
            }
            Refusal::SerialNotGiven => f.write_str("formatting it needs its own serial number"),
            Refusal::OtherSerial => f.write_str("this is not its serial number"),
            Refusal::Mounted(places) => {
                let places: Vec<String> = places.iter().map(|p| p.display().to_string()).collect();
                write!(f, "it is mounted on {}", places.join(" and "))
            }
            Refusal::InUse(users) => write!(f, "it is in use: {}", users.join("; ")),
            Refusal::Partitioned(_) => f.write_str("it is partitioned"),
            Refusal::OfPool => f.write_str("it carries the label of a ZFS pool"),
            Refusal::HoldsKeys(paths) => write!(f, "it holds keys: {}", paths.join(", ")),
            Refusal::Opaque(what) => write!(f, "it may hold keys that cannot be seen: {what}"),
            Refusal::NotNamed(holds) | Refusal::OtherNamed(holds) => write!(f, "it holds {holds}"),
            Refusal::Changed => f.write_str("it has changed while it was looked at"),
            Refusal::CannotTell(why) => write!(f, "cannot tell whether it is free: {why}"),
        }
    }
}
