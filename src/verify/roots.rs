//! What ZFS says of each root of this node, asked with every generation of its key; loads none.

use super::Verification;
use crate::boot;
use crate::config::Root;
use crate::exit::Fault;
use crate::key::{Fingerprint, Key};
use crate::names::DatasetName;
use crate::pass::{ONE_CALL, Pass};
use crate::plan::{self, Refusal, Verdict};
use crate::report::{RootLine, Severity};
use crate::shell::command;
use crate::store::state::Standing;
use crate::store::{Holding, Keyring};
use crate::time::Deadline;
use crate::trouble::Trouble;
use crate::verdict;
use crate::zfs::{Answer, KeyStatus, Try};

/// The generation that was seen to open a root.
pub(super) struct Found {
    pub(super) fingerprint: Fingerprint,
    /// `None` for a key at the top that the store does not list.
    standing: Option<Standing>,
}

/// What came of asking about one root.
pub(super) enum Asked {
    Opens(Found),
    NoKeyOpens,
    Refused(Refusal),
    CouldNotAsk(String),
}

pub(super) fn ask_roots<'a>(pass: &mut Pass<'a>, keyring: &Keyring) -> Vec<(&'a Root, Asked)> {
    let states = boot::states_of(pass.config, keyring, false);
    let plan = plan::keys(pass.config, &pass.observed, &states);
    let config = pass.config;
    let roots = config.roots.iter().zip(plan.roots);
    roots
        .map(|(root, (_, verdict))| {
            let asked = match verdict {
                Verdict::Locked(refusal) if !can_be_asked(&refusal) => Asked::Refused(refusal),
                verdict => {
                    let asked = plan::key_root(&pass.observed, &root.dataset);
                    ask_root(pass, &asked, keyring.keys.get(&root.key), verdict)
                }
            };
            (root, asked)
        })
        .collect()
}

/// Whether ZFS can tell which key opens a root that a boot would not open.
fn can_be_asked(refusal: &Refusal) -> bool {
    is_about_key(refusal) || matches!(refusal, Refusal::Follows(_))
}

fn is_about_key(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::KeyDamaged(_) | Refusal::KeyMissing)
}

/// Asks about every generation, and last about a key that the store does not list.
fn ask_root(
    pass: &mut Pass,
    root: &DatasetName,
    held: Option<&Holding>,
    verdict: Verdict,
) -> Asked {
    let listed = held.into_iter().flat_map(|held| &held.generations);
    let listed = listed.map(|generation| (&generation.key, Some(generation.standing)));
    let unlisted = held.and_then(|held| held.unlisted.as_ref());
    for (key, standing) in listed.chain(unlisted.map(|key| (key, None))) {
        match probe(pass, root, key) {
            Answer::Opens => {
                return Asked::Opens(Found {
                    fingerprint: key.fingerprint(),
                    standing,
                });
            }
            Answer::WrongKey => {}
            Answer::CouldNotAsk(trouble) => return Asked::CouldNotAsk(trouble.to_string()),
        }
    }
    match verdict {
        Verdict::Locked(refusal) if is_about_key(&refusal) => Asked::Refused(refusal),
        _ => Asked::NoKeyOpens,
    }
}

fn probe(pass: &mut Pass, root: &DatasetName, key: &Key) -> Answer {
    let pool = root.pool();
    if pass.is_given_up(pool) {
        let why = format!("{pool} did not answer before");
        return Answer::CouldNotAsk(Trouble::failed("zfs load-key -n", &why));
    }
    // Nobody waits for this: each root has its own time.
    let deadline = Deadline::after(pass.clock(), ONE_CALL);
    let answer = pass.node.zfs.try_key(root, key, Try::Probe, deadline);
    if let Answer::CouldNotAsk(trouble) = &answer {
        pass.note_trouble(pool, trouble);
    }
    answer
}

pub(super) fn tell_root(
    pass: &Pass,
    told: &mut Verification,
    root: &Root,
    asked: &Asked,
    mend: bool,
) {
    let loaded = pass
        .observed
        .datasets()
        .any(|d| d.name == root.dataset && d.key_status == KeyStatus::Available);
    let (verdict, fault) = match asked {
        Asked::Opens(Found {
            fingerprint,
            standing: Some(standing),
        }) => {
            let verdict = Verdict::Open {
                standing: *standing,
                fingerprint: *fingerprint,
            };
            (verdict, None)
        }
        Asked::Opens(found) => return tell_unlisted(told, root, found.fingerprint, mend),
        Asked::NoKeyOpens if loaded => (Verdict::OpenByNoKey, Some(Fault::BadKey)),
        Asked::NoKeyOpens => (Verdict::ToOpen, Some(Fault::BadKey)),
        Asked::Refused(refusal) => (Verdict::Locked(refusal.clone()), None),
        Asked::CouldNotAsk(why) => return tell_not_asked(told, root, why),
    };
    let said = verdict::of_root(root, &verdict, Some(verdict::NO_GENERATION));
    if let Some(fault) = fault.or(said.fault) {
        told.fail(fault);
    }
    let opens = matches!(asked, Asked::Opens(_));
    let now = if loaded { "open" } else { "locked" };
    let state = match asked {
        Asked::Opens(_) if loaded => said.state,
        Asked::Opens(_) => format!("locked now; {} opens it", root.key),
        Asked::NoKeyOpens => format!("WRONG KEY: {now} now, and no key of the store opens it"),
        Asked::Refused(refusal) if is_about_key(refusal) => {
            format!("NO KEY: {now} now, and its key is not on the store")
        }
        // Nobody has asked whether a key opens it.
        Asked::Refused(_) | Asked::CouldNotAsk(_) => said.state,
    };
    told.findings.extend(said.finding);
    told.roots.push(root_line(root, opens, state));
}

fn tell_unlisted(told: &mut Verification, root: &Root, fingerprint: Fingerprint, mend: bool) {
    let state = format!("opened by {fingerprint}, which is not on the store's list");
    told.roots.push(root_line(root, mend, state));
    if mend {
        return; // It is taken in now; should that fail, the failure is told.
    }
    let what = format!(
        "only {fingerprint} opens it, which lies at the top as {} but is not on the store's list",
        root.key
    );
    let remedy =
        "`f3skeys verify --repair` takes it in; without that the next boot leaves the root locked";
    told.find(Severity::Alarm, root.dataset.as_str(), &what, remedy);
    told.fail(Fault::BadKey);
}

fn tell_not_asked(told: &mut Verification, root: &Root, why: &str) {
    let what = format!("not known whether its key still opens it: {why}");
    let remedy = format!(
        "{}, then try again",
        command!("zpool status {}", root.dataset.pool())
    );
    told.find(Severity::Failure, root.dataset.as_str(), &what, &remedy);
    told.fail(Fault::Unavailable);
    told.roots
        .push(root_line(root, false, verdict::NOT_KNOWN.to_owned()));
}

fn root_line(root: &Root, open: bool, state: String) -> RootLine {
    RootLine {
        dataset: root.dataset.to_string(),
        role: root.role.to_string(),
        required: root.required,
        open,
        state: state.into(),
    }
}
