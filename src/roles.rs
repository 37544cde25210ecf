//! What is said of the replicas of this node: that one is promoted, that one was written and is not,
//! or that one is mounted where it must not be. Changes nothing.

use crate::config::{Config, Role};
use crate::names::DatasetName;
use crate::pass::Pass;
use crate::places::{self, Elsewhere, Stray};
use crate::plan::{self, Observed};
use crate::promotion::{Dispute, PROPERTY, Promoted};
use crate::report::{Finding, Severity};
use crate::seals::{self, Seal};
use crate::shell::command;
use crate::sorted::{Map, Set};
use crate::trouble::Trouble;
use crate::zfs::{Dataset, KeyStatus, Past};

/// Tells both, as they were last observed.
pub fn tell(pass: &mut Pass) {
    let promotions = promotions(pass.config, &pass.observed);
    pass.report.findings.extend(promotions);
    tell_elsewhere(pass);
    let written: Vec<(DatasetName, u64)> = plan::replicas(pass.config, &pass.observed)
        .filter(|dataset| dataset.written > 0)
        .map(|dataset| (dataset.name.clone(), dataset.written))
        .collect();
    let roots: Set<DatasetName> = written
        .iter()
        .filter_map(|(name, _)| pass.config.root_above(name))
        .map(|root| root.dataset.clone())
        .collect();
    let pasts: Map<DatasetName, Result<Vec<Past>, Trouble>> = roots
        .into_iter()
        .map(|root| (root.clone(), past(pass, &root)))
        .collect();
    for (name, bytes) in written {
        let root = pass.config.root_above(&name).map(|root| &root.dataset);
        let past = root.and_then(|root| pasts.get(root));
        let finding = past.and_then(|past| diverged(&name, bytes, past));
        pass.report.findings.extend(finding);
    }
}

/// Tells of file systems of replicas that are mounted where they must not be, or that `zfs mount -a`
/// would mount there, since their key is loaded. Of a locked one its root's verdict tells.
pub fn tell_elsewhere(pass: &mut Pass) {
    let found = elsewhere(pass.config, &pass.observed);
    pass.report.findings.extend(found);
}

/// What [`tell_elsewhere`] tells.
fn elsewhere(config: &Config, observed: &Observed) -> Vec<Finding> {
    let is_open = |found: &Elsewhere| {
        let dataset = observed.dataset(&found.dataset);
        dataset.is_some_and(|dataset| dataset.key_status != KeyStatus::Unavailable)
    };
    let found = places::elsewhere(config, observed);
    let open = found.iter().filter(|found| is_open(found));
    open.map(|found| match found.mounted {
        true => mounted_elsewhere(found),
        false => {
            let what = format!(
                "this replica is mounted by the next `zfs mount -a`: {}",
                found.what()
            );
            Finding::new(
                Severity::Alarm,
                found.dataset.as_str(),
                &what,
                &found.remedy(),
            )
        }
    })
    .collect()
}

/// A file system of a replica that is mounted on none of its places.
pub fn mounted_elsewhere(found: &Elsewhere) -> Finding {
    let name = &found.dataset;
    let what = format!(
        "this replica is mounted where it must not be: {}",
        found.what()
    );
    let remedy = format!(
        "{}; then {}",
        command!("zfs unmount {}", name),
        found.remedy()
    );
    Finding::new(Severity::Alarm, name.as_str(), &what, &remedy)
}

/// Tells of what lies below a sink and at no configured root, and is mounted where a stream wants, or mounted,
/// shared or written as a stream wants.
pub fn strays(config: &Config, observed: &Observed) -> Vec<Finding> {
    let places = places::strays(config, observed).into_iter();
    let places = places.map(|stray| stray_at(&stray));
    let brought = places::brought(config, observed).filter_map(brought);
    places.chain(brought).collect()
}

fn brought(dataset: &Dataset) -> Option<Finding> {
    let seals = dataset.received.iter().filter_map(|p| Seal::against(p));
    let seals: Vec<Seal> = seals.collect();
    if seals.is_empty() {
        return None;
    }
    let named = dataset
        .received
        .iter()
        .filter(|p| Seal::against(p).is_some());
    let named: Vec<&str> = named.copied().collect();
    let what = format!(
        "what a stream says of it holds here: {}; it lies below a sink and at no configured root, so f3skeys keeps it from nothing",
        named.join(", ")
    );
    let remedy = format!(
        "{}, and have the receiver take no properties from the stream (docs/replication.md)",
        seals::commands(&seals, &dataset.name)
    );
    Some(Finding::new(
        Severity::Alarm,
        dataset.name.as_str(),
        &what,
        &remedy,
    ))
}

fn stray_at(stray: &Stray) -> Finding {
    let (name, from) = (&stray.dataset, &stray.from);
    let now = match stray.mounted {
        true => "it is mounted there now",
        false => "`zfs mount -a` mounts it there",
    };
    let what = format!(
        "its mountpoint {} came with a stream, and {now}; it lies below a sink and at no configured root, so f3skeys keeps it from nothing",
        stray.at.display()
    );
    let own = format!(
        "{}, and have the receiver take no properties from the stream (docs/replication.md); if it is meant to be there, {} makes that this node's own word",
        command!("zfs inherit mountpoint {}", from),
        command!("zfs set mountpoint={} {}", &stray.at, name)
    );
    let remedy = match stray.mounted {
        true => format!("{}; then {own}", command!("zfs unmount {}", name)),
        false => own,
    };
    Finding::new(Severity::Alarm, name.as_str(), &what, &remedy)
}

fn past(pass: &mut Pass, root: &DatasetName) -> Result<Vec<Past>, Trouble> {
    if pass.is_given_up(root.pool()) {
        return Err(Trouble::failed(root.pool(), "it did not answer before"));
    }
    let deadline = pass.deadline.at_most(pass.clock(), pass.one_call());
    let past = pass.node.zfs.past(root, deadline);
    if let Err(trouble) = &past {
        pass.note_trouble(root.pool(), trouble);
    }
    past
}

/// The promotions that last, and what nobody understands of them.
pub fn promotions(config: &Config, observed: &Observed) -> Vec<Finding> {
    let replicas = config.roots.iter().filter(|r| r.role == Role::Replica);
    replicas
        .filter_map(|root| observed.dataset(&root.dataset))
        .filter_map(|dataset| promotion(&dataset.name, &dataset.promotion))
        .collect()
}

fn promotion(root: &DatasetName, promoted: &Promoted) -> Option<Finding> {
    let (severity, what, remedy) = match promoted {
        Promoted::Never | Promoted::Over(_) => return None,
        Promoted::Now(promotion) => (
            Severity::Warning,
            format!("this replica is written here: {promotion}"),
            format!(
                "once its primary is back: {}",
                command!("f3skeys demote {}", root)
            ),
        ),
        Promoted::Unknown(value) => (
            Severity::Failure,
            format!(
                "what is known of its promotion is `{value}`, which says nothing; it counts as not promoted, and is read-only"
            ),
            way_out_of_unknown(root),
        ),
        Promoted::Disputed(dispute) => (
            Severity::Alarm,
            format!("{dispute}; it counts as not promoted, and is read-only"),
            way_out_of_dispute(root, dispute),
        ),
    };
    Some(Finding::new(severity, root.as_str(), &what, &remedy))
}

/// What a person can do about a promotion that is not understood.
pub fn way_out_of_unknown(root: &DatasetName) -> String {
    format!(
        "{} forgets a property that is not understood; a record that cannot be read (promotion-GUID.json in the state directory) is to be moved aside; then `f3skeys promote`, if that was meant",
        command!("zfs inherit {} {}", PROPERTY, root)
    )
}

fn way_out_of_dispute(root: &DatasetName, dispute: &Dispute) -> String {
    let promote = command!("f3skeys promote {} --reason ...", root);
    match dispute.is_unrecorded() {
        true => format!(
            "if a person has promoted it on this node (a version that kept no record, or a run that was cut): {promote} confirms it; if nobody has: {}, and see who may set properties here",
            command!("zfs inherit {} {}", PROPERTY, root)
        ),
        false => format!(
            "{} keeps what was written and ends it; {promote} begins anew",
            command!("f3skeys demote {}", root)
        ),
    }
}

/// A replica that holds what it never received. One without a snapshot is no replica yet: a
/// directory of the tree, which always holds a little.
fn diverged(name: &DatasetName, bytes: u64, past: &Result<Vec<Past>, Trouble>) -> Option<Finding> {
    let since = match past {
        Ok(pasts) => {
            let past = pasts.iter().find(|past| past.dataset == *name)?;
            format!("@{}", past.newest()?.name)
        }
        Err(trouble) => format!("its newest snapshot ({trouble})"),
    };
    let what = format!(
        "{bytes} bytes were written on this replica since {since}: the next receive will fail"
    );
    let remedy = "compare it with the primary; what is worth nothing goes with `zfs rollback`, on a person's word; what is worth keeping is kept by `f3skeys promote`; nothing was touched";
    Some(Finding::new(Severity::Alarm, name.as_str(), &what, remedy))
}
