//! A root's verdict in words: what is so, what to do, and what it means for the exit status.

use crate::boot::is_open;
use crate::config::{Faults, Role, Root};
use crate::exit::Fault;
use crate::names::DatasetName;
use crate::places::Elsewhere;
use crate::plan::{Refusal, Verdict};
use crate::report::{Finding, Severity};
use crate::shell::command;
use crate::store::state::Standing;

/// What is to be said of a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Whether its key is loaded.
    pub open: bool,
    /// One line for its place in the report.
    pub state: String,
    /// A complaint, if there is one.
    pub finding: Option<Finding>,
    /// What it means for the exit status, should the root be required.
    pub fault: Option<Fault>,
}

/// Puts a verdict into words; `tried` is why the last try to load the key failed.
pub fn of_root(root: &Root, verdict: &Verdict, tried: Option<&str>) -> Said {
    let (state, complaint, fault) = match verdict {
        Verdict::Open {
            standing: Standing::Current,
            fingerprint,
        } => (format!("open, proven with {} {fingerprint}", root.key), None, None),
        Verdict::Open {
            standing,
            fingerprint,
        } => {
            let state = format!("open, by a {standing} key");
            let complaint = by_other_generation(root, *standing, &fingerprint.to_string());
            (state, Some(complaint), None)
        }
        Verdict::Unproven(why) => (
            "open, not proven".to_owned(),
            Some((Severity::Note, format!("its key is loaded, but was not proven: {why}"), String::new())),
            None,
        ),
        Verdict::OpenByNoKey => (
            "open, but by no key of the store".to_owned(),
            Some((
                Severity::Alarm,
                format!("its key is loaded, but {} on the stick does not open it: the next boot would leave it locked", root.key),
                "while it is up: find the key that was used (another stick or peer), or make a new one with `zfs change-key`".to_owned(),
            )),
            None,
        ),
        Verdict::ToOpen => {
            let why = tried.unwrap_or("it was not tried");
            let state = match why.ends_with(NO_GENERATION) {
                true => "WRONG KEY",
                false => LOCKED,
            };
            (state.to_owned(), Some(not_opened(root, why)), Some(fault_of_try(why)))
        }
        Verdict::WaitsForSeals(datasets) => {
            let names: Vec<&str> = datasets.iter().map(|d| d.as_str()).collect();
            let what = format!("stays locked: {} could be written or mounted with more rights than a replica may have", names.join(", "));
            let remedy = format!("see why `zfs set` fails for {}, then `f3skeys boot`", names.first().unwrap_or(&""));
            (LOCKED.to_owned(), Some((Severity::Failure, what, remedy)), Some(Fault::Unavailable))
        }
        Verdict::Locked(refusal) => {
            let (what, remedy, fault) = locked(root, refusal);
            let complaint = (severity(refusal), what, remedy);
            // What is wrong with the root that it follows is said there.
            let is_told = matches!(refusal, Refusal::Follows(_));
            (word(root, refusal).to_owned(), (!is_told).then_some(complaint), Some(fault))
        }
    };
    let finding = complaint.map(|(severity, what, remedy)| {
        Finding::new(severity, root.dataset.as_str(), &what, &remedy)
    });
    Said {
        open: is_open(verdict),
        state,
        finding,
        fault,
    }
}

/// Of what was seen to be locked.
pub const LOCKED: &str = "LOCKED";
/// Of what could not be asked.
pub const NOT_KNOWN: &str = "NOT KNOWN";

/// How a root stands that was refused: not everything that a boot does not open was seen to be locked.
pub fn word(root: &Root, refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::PoolSuspended(_) | Refusal::PoolNotSeen(_) => NOT_KNOWN,
        Refusal::NotUnderstood(damaged) if damaged.name == root.dataset => NOT_KNOWN,
        Refusal::NoSuchDataset => "NOT THERE",
        Refusal::NotEncrypted => "open, not encrypted",
        Refusal::NotARoot { open: true, .. } => "open, by the key of another root",
        Refusal::NotARoot { open: false, .. }
        | Refusal::Follows(_)
        | Refusal::PoolNotImported(_)
        | Refusal::NotUnderstood(_)
        | Refusal::NotRaw(_)
        | Refusal::Contradicted(_)
        | Refusal::KeyDamaged(_)
        | Refusal::KeyMissing
        | Refusal::Elsewhere(_)
        | Refusal::NoStore(_) => LOCKED,
    }
}

/// What is to be said of a configuration that contradicts itself: what it is about is left out, all else done.
pub fn of_faults(faults: &Faults) -> Vec<Finding> {
    let remedy = "correct it: this part of the file is left out, and all else is done as it says";
    let finding = |what: &String| Finding::new(Severity::Alarm, "configuration", what, remedy);
    faults.what.iter().map(finding).collect()
}

type Complaint = (Severity, String, String);

fn by_other_generation(root: &Root, standing: Standing, fingerprint: &str) -> Complaint {
    let what = format!(
        "opened by the {standing} generation {fingerprint} of {}",
        root.key
    );
    if !standing.is_tried() {
        let owner = root.key.owner();
        return (
            Severity::Alarm,
            format!("{what}, which nothing should need any more"),
            match root.role {
                Role::Primary => format!(
                    "{} gives it the current one",
                    command!("f3skeys rotate {} --resume", &root.key)
                ),
                Role::Replica => format!(
                    "have it receive what {owner} has sent since its last rotation; until then nobody may prune that generation"
                ),
            },
        );
    }
    match root.role {
        // A replica gets its primary's new key with the next raw receive, before or after us.
        Role::Replica => (Severity::Note, what, String::new()),
        Role::Primary => (
            Severity::Alarm,
            format!("{what}, not by its current one"),
            format!(
                "a rotation was cut short: {} finishes it",
                command!("f3skeys rotate {} --resume", &root.key)
            ),
        ),
    }
}

/// Why a key that was tried did not open its root.
pub const NO_GENERATION: &str = "no generation of it opens the root";

fn fault_of_try(why: &str) -> Fault {
    if why.ends_with(NO_GENERATION) {
        Fault::BadKey
    } else {
        Fault::Unavailable
    }
}

fn not_opened(root: &Root, why: &str) -> Complaint {
    let (what, remedy) = if why.ends_with(NO_GENERATION) {
        (
            format!("stays locked: ZFS says that {} is the wrong key, in every generation on the stick", root.key),
            "check `key` of this root in the configuration; else look for the right key on a peer's stick".to_owned(),
        )
    } else {
        (
            format!("stays locked: {why}"),
            format!(
                "{}, then `f3skeys boot`",
                command!("zpool status {}", root.dataset.pool())
            ),
        )
    };
    (Severity::Failure, what, remedy)
}

/// A stream that says where it is to be mounted may be hostile; the rest are faults.
fn severity(refusal: &Refusal) -> Severity {
    match refusal {
        Refusal::Elsewhere(_) => Severity::Alarm,
        _ => Severity::Failure,
    }
}

/// Of several file systems the first is shown with its mend; the next run shows the next.
fn elsewhere(found: &[Elsewhere]) -> (String, String) {
    let names: Vec<&str> = found.iter().map(|one| one.dataset.as_str()).collect();
    match found {
        [] => (String::new(), String::new()),
        [one] => (
            format!("stays locked: {}: {}", one.dataset, one.what()),
            one.remedy(),
        ),
        [first, ..] => (
            format!(
                "stays locked: {} file systems would be mounted elsewhere than they belong ({}). {}: {}",
                found.len(),
                names.join(", "),
                first.dataset,
                first.what()
            ),
            first.remedy(),
        ),
    }
}

/// Gates and replicas may name what lies below the root, so it stays in the configuration. Only a clone that
/// was promoted moves a root out of its place; elsewhere the one above is the root.
fn not_a_root(root: &Root, actual: &DatasetName) -> (String, String, Fault) {
    let name = &root.dataset;
    let what = format!("it is no encryption root: the key of {actual} opens it");
    let remedy = match name.is_at_or_below(actual) {
        true => format!("name {actual} in `roots` and take this one out"),
        false => format!(
            "a clone was promoted: {} makes {name} the root again; or name {actual} in `roots` as well, with the same key and role, and leave {name} where it is",
            command!("zfs promote {}", name)
        ),
    };
    (what, remedy, Fault::Unavailable)
}

fn locked(root: &Root, refusal: &Refusal) -> (String, String, Fault) {
    let key = &root.key;
    let pool = root.dataset.pool();
    let (what, remedy, fault) = match refusal {
        Refusal::PoolNotImported(pool) => (
            format!("stays locked: pool {pool} is not imported"),
            format!(
                "{}, then `f3skeys boot`; under another name it is not found: `f3skeys doctor` looks for it",
                command!("zpool import {}", pool)
            ),
            Fault::Unavailable,
        ),
        Refusal::PoolSuspended(pool) => (
            format!("not known whether it is open: pool {pool} is suspended"),
            format!(
                "mend its disks, then {} and `f3skeys boot`",
                command!("zpool clear {}", pool)
            ),
            Fault::Unavailable,
        ),
        Refusal::PoolNotSeen(why) => (
            format!("not known whether it is open: {why}"),
            format!("{}, then `f3skeys boot`", command!("zpool status {}", pool)),
            Fault::Unavailable,
        ),
        Refusal::NoSuchDataset => (
            "there is no such dataset".to_owned(),
            "correct its name in the configuration, or take it out".to_owned(),
            Fault::Unavailable,
        ),
        Refusal::NotUnderstood(damaged) if damaged.name == root.dataset => (
            format!("not known whether it is open, and left alone: {damaged}"),
            format!("{}, then `f3skeys boot`", damaged.remedy()),
            Fault::Unavailable,
        ),
        Refusal::NotUnderstood(damaged) => (
            format!(
                "stays locked: whether the replica {} is read-only is not known, since {damaged}",
                damaged.name
            ),
            format!("{}, then `f3skeys boot`", damaged.remedy()),
            Fault::Unavailable,
        ),
        Refusal::NotEncrypted => (
            "it is not encrypted".to_owned(),
            "take it out of `roots`".to_owned(),
            Fault::Unavailable,
        ),
        Refusal::NotARoot { actual, .. } => not_a_root(root, actual),
        Refusal::Contradicted(what) => (
            format!("stays locked: {what}"),
            format!(
                "correct that in the configuration, then `f3skeys boot`; it was made read-only as a replica is, which on a primary {} undoes",
                command!("zfs inherit readonly {}", root.dataset.as_str())
            ),
            Fault::Configuration,
        ),
        Refusal::Follows(actual) => (
            format!("stays locked with {actual}, whose key opens it"),
            format!("see what is said of {actual}"),
            Fault::Unavailable,
        ),
        Refusal::NotRaw(format) => (
            format!("stays locked: its key is a {format}, which is not kept on a key store"),
            "load it by hand with `zfs load-key`, or take it out of `roots`".to_owned(),
            Fault::Unavailable,
        ),
        Refusal::KeyDamaged(what) => (
            format!("stays locked: no good copy of {key} on the stick: it {what}"),
            "bring a good copy of the key from another stick or peer, then `f3skeys boot`"
                .to_owned(),
            Fault::BadKey,
        ),
        Refusal::KeyMissing => (
            format!("stays locked: {key} is not on the stick"),
            "check `key` of this root in the configuration; else bring the key from a peer's stick"
                .to_owned(),
            Fault::BadKey,
        ),
        Refusal::Elsewhere(found) => {
            let (what, remedy) = elsewhere(found);
            (
                what,
                format!("{remedy}; then `f3skeys boot`"),
                Fault::Unavailable,
            )
        }
        Refusal::NoStore(why) => (
            format!("stays locked: no key store ({why})"),
            "see what is said of the key device and the store on it".to_owned(),
            Fault::NoKeyDevice,
        ),
    };
    (what, remedy, fault)
}
