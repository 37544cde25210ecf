//! `f3skeys promote` and `demote`: a replica is made writable here, by a person and for a reason, and
//! read-only again.
//!
//! The order is the law: recorded before anything can be written, and nothing can be written any more
//! before what was written is kept in a snapshot. Recorded is what the replica's property and this node's
//! own record say together: a promotion sets the property, then the record; its end takes them off in the
//! other order. Each step is decided from a fresh observation, so a
//! run that was killed anywhere is finished by the next. Rolls nothing back and destroys nothing.

use crate::config::{Config, Role};
use crate::evaluate;
use crate::exit::Fault;
use crate::names::DatasetName;
use crate::pass::{Node, ONE_CALL, Pass};
use crate::plan::{Observed, Pool};
use crate::promotion::record::Record;
use crate::promotion::{self, PROPERTY, Promoted, Promotion};
use crate::report::{Report, Severity};
use crate::roles;
use crate::shell::command;
use crate::sorted;
use crate::trouble::Trouble;
use crate::zfs::{Dataset, Past, Source};

/// How often a step is planned afresh before it counts as failed.
const ROUNDS: usize = 3;
/// How the snapshots are called that keep what was written; the epoch follows.
const KEPT: &str = "f3skeys-demoted-";

/// Why a verb stops where it is: the fault, what is so, and what to do.
struct Stop(Fault, String, String);

impl Stop {
    fn new(fault: Fault, what: impl Into<String>, remedy: impl Into<String>) -> Stop {
        Stop(fault, what.into(), remedy.into())
    }
}

/// Promotes a configured replica root.
pub fn promote(node: Node, config: &Config, root: &DatasetName, reason: &str) -> Report {
    run("promote", node, config, root, |pass, root| {
        promotion::check_reason(reason)
            .map_err(|why| Stop::new(Fault::Configuration, why, "nothing was changed"))?;
        begin_promotion(pass, root, reason.trim())
    })
}

/// Ends a promotion.
pub fn demote(node: Node, config: &Config, root: &DatasetName) -> Report {
    run("demote", node, config, root, end_promotion)
}

fn run(
    verb: &str,
    node: Node,
    config: &Config,
    root: &DatasetName,
    body: impl FnOnce(&mut Pass, &DatasetName) -> Result<(), Stop>,
) -> Report {
    let mut pass = Pass::begin(verb, node, config);
    let Some(_lock) = pass.lock() else {
        return pass.finish();
    };
    let markers = pass.drop_stale_markers();
    let done = configured(config, root)
        .and_then(|()| look(&mut pass, root))
        .and_then(|_| body(&mut pass, root));
    if let Err(Stop(fault, what, remedy)) = done {
        let subject = root.as_str();
        pass.report.find(Severity::Failure, subject, &what, &remedy);
        pass.report.fail(fault);
    }
    // A gate must not stand for what was so before, however far this came.
    if pass.observed.dataset(root).is_some() {
        pass.observe_all();
        evaluate::gates(&mut pass, markers, &evaluate::Peers::NotAsked);
    }
    pass.finish()
}

fn configured(config: &Config, root: &DatasetName) -> Result<(), Stop> {
    let remedy = "name a dataset of `roots` with `role: replica`; nothing was changed";
    match config.roots.iter().find(|known| known.dataset == *root) {
        Some(known) if known.role == Role::Replica => Ok(()),
        Some(_) => Err(Stop::new(
            Fault::Configuration,
            "is a primary: it is written here anyway",
            remedy,
        )),
        None => Err(Stop::new(
            Fault::Configuration,
            "is no root of the configuration",
            remedy,
        )),
    }
}

/// Looks at the root's pool, and gives the root as it is.
fn look(pass: &mut Pass, root: &DatasetName) -> Result<Dataset, Stop> {
    let deadline = pass.deadline.at_most(pass.clock(), ONE_CALL);
    pass.observe(root.pool(), deadline);
    let mut damaged = pass.observed.damaged.values();
    if let Some(damaged) = damaged.find(|d| d.name.is_at_or_below(root)) {
        let what = format!("nothing is known of {}: {damaged}", damaged.name);
        let remedy = format!("{}, then again", damaged.remedy());
        return Err(Stop::new(Fault::Unavailable, what, remedy));
    }
    if let Some(dataset) = pass.observed.dataset(root) {
        return Ok(dataset.clone());
    }
    let why = match pass.observed.pools.get(root.pool()) {
        Some(Pool::Seen(_)) => "there is no such dataset".to_owned(),
        Some(Pool::NotImported) => format!("pool {} is not imported", root.pool()),
        Some(Pool::Suspended) => format!("pool {} is suspended", root.pool()),
        Some(Pool::NotSeen(why)) => why.clone(),
        None => "it was not looked at".to_owned(),
    };
    let remedy = format!("{}, then again", command!("zpool status {}", root.pool()));
    Err(Stop::new(Fault::Unavailable, why, remedy))
}

/// Whether a promotion of `root` is about this dataset: it lies there, and below no other root.
fn is_own(config: &Config, root: &DatasetName, dataset: &DatasetName) -> bool {
    dataset.is_at_or_below(root)
        && config
            .root_above(dataset)
            .is_some_and(|above| above.dataset == *root)
}

/// The datasets of which `readonly` is to be set to make all that a promotion of `root` is about
/// writable, or read-only. What has it from one of these follows.
pub fn to_turn(
    config: &Config,
    observed: &Observed,
    root: &DatasetName,
    readonly: bool,
) -> Vec<DatasetName> {
    let follows = |dataset: &Dataset| match &dataset.readonly_source {
        Source::Inherited(from) => is_own(config, root, from),
        _ => false,
    };
    let mut turned: Vec<DatasetName> = observed
        .datasets()
        .filter(|dataset| is_own(config, root, &dataset.name))
        .filter(|dataset| dataset.readonly != readonly && !follows(dataset))
        .map(|dataset| dataset.name.clone())
        .collect();
    sorted::sort(&mut turned);
    turned
}

/// Other replica roots below `root` that would follow it, or can be written already: each is to be
/// read-only by itself before `root` is writable.
pub fn to_pin(config: &Config, observed: &Observed, root: &DatasetName) -> Vec<DatasetName> {
    let mut promoted = observed.promoted(config);
    promoted.insert(root.clone());
    let others = config.roots.iter().map(|other| &other.dataset);
    others
        .filter(|other| *other != root && other.is_at_or_below(root))
        .filter(|other| config.role_now(other, &promoted) == Some(Role::Replica))
        .filter_map(|other| observed.dataset(other))
        .filter(|other| !other.readonly || other.readonly_source != Source::Local)
        .map(|other| other.name.clone())
        .collect()
}

fn begin_promotion(pass: &mut Pass, root: &DatasetName, reason: &str) -> Result<(), Stop> {
    let promotion = record(pass, root, reason)?;
    for other in repeat(pass, root, to_pin, set_readonly)? {
        let change = format!("set readonly=on on {other}, a replica of its own");
        pass.report.change(change);
    }
    let before = pass.observed.clone();
    let opened = repeat(
        pass,
        root,
        |config, observed, root| to_turn(config, observed, root, false),
        |pass, dataset| {
            let deadline = pass.deadline.at_most(pass.clock(), ONE_CALL);
            pass.node.zfs.set_writable(dataset, deadline)
        },
    );
    tell_turned(pass, root, &before);
    opened?;
    let what = format!(
        "{promotion}; its primary does not fail back while this lasts, and the next receive fails"
    );
    let remedy = format!(
        "stop what replicates to it now: a receive that is forced (-F) throws away what is written here; `f3skeys ready` mounts what is not mounted; {} ends the promotion",
        command!("f3skeys demote {}", root)
    );
    let subject = root.as_str();
    pass.report.find(Severity::Warning, subject, &what, &remedy);
    Ok(())
}

/// Records the promotion, and sees that it is recorded; one that lasts already stays as it is. The
/// property comes first: it promotes nothing, and the next run goes on from it.
fn record(pass: &mut Pass, root: &DatasetName, reason: &str) -> Result<Promotion, Stop> {
    let dataset = look(pass, root)?;
    let promotion = match &dataset.promotion {
        Promoted::Now(promotion) => return Ok(promotion.clone()),
        Promoted::Disputed(dispute) if dispute.is_unrecorded() => {
            confirm(pass, root, &dispute.promotion);
            dispute.promotion.clone()
        }
        known => {
            let promotion = new_promotion(pass, root, known, reason)?;
            set_property(
                pass,
                root,
                &promotion.value(),
                |seen| matches!(seen, Promoted::Disputed(said) if said.promotion == promotion),
            )?;
            promotion
        }
    };
    keep_record(pass, &dataset, &promotion, true)?;
    match look(pass, root)?.promotion {
        Promoted::Now(seen) if seen == promotion => Ok(promotion),
        _ => Err(not_recorded(&promotion.value(), "it did not last", root)),
    }
}

fn new_promotion(
    pass: &Pass,
    root: &DatasetName,
    known: &Promoted,
    reason: &str,
) -> Result<Promotion, Stop> {
    let epoch = known.next_epoch();
    Ok(Promotion {
        epoch: epoch.ok_or_else(|| not_understood(root, known))?,
        since: pass.node.system.wall(),
        reason: reason.to_owned(),
    })
}

/// Says whose word is taken when a promotion is confirmed that this node has not recorded.
fn confirm(pass: &mut Pass, root: &DatasetName, promotion: &Promotion) {
    let what = format!(
        "{PROPERTY} says `{}`, which this node had not recorded: now confirmed",
        promotion.value()
    );
    let subject = root.as_str();
    pass.report.find(Severity::Note, subject, &what, "");
}

/// Keeps this node's own record of a promotion: that it lasts, or that it is over.
fn keep_record(
    pass: &mut Pass,
    dataset: &Dataset,
    promotion: &Promotion,
    lasts: bool,
) -> Result<(), Stop> {
    let record = Record {
        dataset: dataset.name.clone(),
        guid: dataset.guid,
        promotion: promotion.clone(),
        lasts,
    };
    evaluate::close_about(pass, &dataset.name);
    record.keep(pass.node.db).map_err(|e| {
        let path = record.path(pass.node.db);
        Stop::new(
            Fault::System,
            format!("{} could not be written: {e}", path.display()),
            "make the directory writable for root, then again: it goes on where this stopped",
        )
    })?;
    let words = match lasts {
        true => format!("recorded that promotion {} lasts", promotion.epoch),
        false => format!("recorded that promotion {} is over", promotion.epoch),
    };
    pass.report.change(words);
    Ok(())
}

fn set_property(
    pass: &mut Pass,
    root: &DatasetName,
    value: &str,
    is_wanted: impl Fn(&Promoted) -> bool,
) -> Result<(), Stop> {
    evaluate::close_about(pass, root);
    let deadline = pass.deadline.at_most(pass.clock(), ONE_CALL);
    let done = pass.node.zfs.record(root, value, deadline);
    if is_wanted(&look(pass, root)?.promotion) {
        pass.report.change(format!("recorded: {value}"));
        return Ok(());
    }
    let why = match done {
        Err(trouble) => trouble.to_string(),
        Ok(()) => "it did not last".to_owned(),
    };
    Err(not_recorded(value, &why, root))
}

fn not_recorded(value: &str, why: &str, root: &DatasetName) -> Stop {
    Stop::new(
        Fault::Unavailable,
        format!("`{value}` could not be recorded: {why}"),
        format!(
            "see why {} fails, then again",
            command!("zfs set {}=... {}", PROPERTY, root)
        ),
    )
}

fn not_understood(root: &DatasetName, promoted: &Promoted) -> Stop {
    let value = match promoted {
        Promoted::Unknown(value) => value.as_str(),
        _ => "the last number there is",
    };
    Stop::new(
        Fault::Unavailable,
        format!("its promotion is `{value}`, from which no next epoch follows"),
        roles::way_out_of_unknown(root),
    )
}

/// Makes what `plan` names until a fresh observation leaves nothing; gives what was made.
fn repeat(
    pass: &mut Pass,
    root: &DatasetName,
    plan: impl Fn(&Config, &Observed, &DatasetName) -> Vec<DatasetName>,
    make: impl Fn(&Pass, &DatasetName) -> Result<(), Trouble>,
) -> Result<Vec<DatasetName>, Stop> {
    let mut made = Vec::new();
    let mut why = "it did not last".to_owned();
    for _ in 0..ROUNDS {
        let left = plan(pass.config, &pass.observed, root);
        for dataset in &left {
            match make(pass, dataset) {
                Ok(()) => made.push(dataset.clone()),
                Err(trouble) => why = trouble.to_string(),
            }
        }
        if left.is_empty() {
            return Ok(made);
        }
        look(pass, root)?;
    }
    let left = plan(pass.config, &pass.observed, root);
    if left.is_empty() {
        return Ok(made);
    }
    let names: Vec<&str> = left.iter().map(DatasetName::as_str).collect();
    Err(Stop::new(
        Fault::Unavailable,
        format!("readonly could not be set on {}: {why}", names.join(", ")),
        "see why `zfs set readonly=` fails there, then again: it goes on where this stopped",
    ))
}

fn set_readonly(pass: &Pass, dataset: &DatasetName) -> Result<(), Trouble> {
    let deadline = pass.deadline.at_most(pass.clock(), ONE_CALL);
    pass.node.zfs.set_readonly(dataset, deadline)
}

/// Names everything that can be written now and could not before, or the other way round.
fn tell_turned(pass: &mut Pass, root: &DatasetName, before: &Observed) {
    for dataset in pass.observed.datasets() {
        let was = before.dataset(&dataset.name).map(|before| before.readonly);
        if dataset.name.is_at_or_below(root) && was.is_some_and(|was| was != dataset.readonly) {
            pass.report.change(match dataset.readonly {
                true => format!("{} is read-only", dataset.name),
                false => format!("{} can be written", dataset.name),
            });
        }
    }
}

fn end_promotion(pass: &mut Pass, root: &DatasetName) -> Result<(), Stop> {
    seal(pass, root)?;
    let dataset = look(pass, root)?;
    let (promotion, last) = match &dataset.promotion {
        Promoted::Now(promotion) => (promotion.clone(), promotion.epoch),
        Promoted::Disputed(dispute) => {
            let said = dispute.promotion.clone();
            let last = said.epoch.max(dispute.recorded);
            (said, last)
        }
        Promoted::Never | Promoted::Over(_) => {
            let what = "is not promoted; nothing is left to end";
            let subject = root.as_str();
            pass.report.find(Severity::Note, subject, what, "");
            return Ok(());
        }
        unknown @ Promoted::Unknown(_) => return Err(not_understood(root, unknown)),
    };
    let kept = keep(pass, root, &promotion)?;
    // The record ends first, as it came last: so it never lasts without the property.
    let over = Promotion {
        epoch: last,
        ..promotion
    };
    keep_record(pass, &dataset, &over, false)?;
    let value = over.value_over(pass.node.system.wall());
    set_property(pass, root, &value, |seen| *seen == Promoted::Over(last))?;
    tell_way_out(pass, root, kept);
    Ok(())
}

/// Makes all of it read-only.
fn seal(pass: &mut Pass, root: &DatasetName) -> Result<(), Stop> {
    let before = pass.observed.clone();
    let sealed = repeat(
        pass,
        root,
        |config, observed, root| to_turn(config, observed, root, true),
        set_readonly,
    );
    tell_turned(pass, root, &before);
    sealed.map(|_| ())
}

/// Keeps what was written in a snapshot of all that the promotion was about, if anything was; gives
/// its name.
fn keep(
    pass: &mut Pass,
    root: &DatasetName,
    promotion: &Promotion,
) -> Result<Option<String>, Stop> {
    // Setting a property waits for the pool: once more, and `written` counts every byte.
    set_readonly(pass, root).map_err(|trouble| not_kept(root, &trouble))?;
    let own = own_past(pass, root)?;
    let Some((name, is_new)) = to_keep(&own, promotion) else {
        return Ok(None);
    };
    if is_new {
        let datasets: Vec<DatasetName> = own.into_iter().map(|past| past.dataset).collect();
        let deadline = pass.deadline;
        let made = pass.node.zfs.snapshot(&datasets, &name, deadline);
        let left = own_past(pass, root)?;
        if left.iter().any(|past| past.written > 0) {
            let trouble = match made {
                Err(trouble) => trouble,
                Ok(()) => Trouble::failed("zfs snapshot", "something is written still"),
            };
            return Err(not_kept(root, &trouble));
        }
        let change = format!("snapshot @{name} of {} datasets", datasets.len());
        pass.report.change(change);
    }
    Ok(Some(name))
}

fn own_past(pass: &Pass, root: &DatasetName) -> Result<Vec<Past>, Stop> {
    let deadline = pass.deadline.at_most(pass.clock(), ONE_CALL);
    let past = pass.node.zfs.past(root, deadline);
    let mut past = past.map_err(|trouble| not_kept(root, &trouble))?;
    past.retain(|past| is_own(pass.config, root, &past.dataset));
    Ok(past)
}

fn not_kept(root: &DatasetName, trouble: &Trouble) -> Stop {
    Stop::new(
        Fault::Unavailable,
        format!(
            "it is read-only again and counts as promoted, since what was written could not be kept: {trouble}"
        ),
        format!(
            "see why {} fails, then {} again",
            command!("zfs snapshot -r {}@NAME", root),
            command!("f3skeys demote {}", root)
        ),
    )
}

/// The snapshot that keeps what was written during a promotion, and whether it is yet to be made;
/// `None` when nothing was written. A snapshot that others made meanwhile, they may destroy.
pub fn to_keep(own: &[Past], promotion: &Promotion) -> Option<(String, bool)> {
    let name = format!("{KEPT}{}", promotion.epoch);
    let is_kept = |kept: &str| {
        let rest = kept.strip_prefix(name.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let taken = |name: &str| {
        let mut moments = own.iter().flat_map(|past| &past.moments);
        moments.any(|moment| moment.name == name && !moment.bookmark)
    };
    let newest = || own.iter().filter_map(Past::newest);
    let unkept = |past: &Past| {
        past.written > 0
            || past
                .newest()
                .is_some_and(|newest| newest.created >= promotion.since && !is_kept(&newest.name))
    };
    if own.iter().any(unkept) {
        let more = (2_u64..).map(|count| format!("{name}.{count}"));
        let mut names = std::iter::once(name.clone()).chain(more);
        return names.find(|name| !taken(name)).map(|name| (name, true));
    }
    let mut kept = newest().filter(|newest| is_kept(&newest.name));
    kept.next().map(|newest| (newest.name.clone(), false))
}

fn tell_way_out(pass: &mut Pass, root: &DatasetName, kept: Option<String>) {
    let subject = root.as_str();
    let Some(name) = kept else {
        let what = "nothing was written while it was promoted: receives go on";
        pass.report.find(Severity::Note, subject, what, "");
        return;
    };
    let what = format!(
        "what was written is in the snapshots @{name} of it and of all below it; receives fail until a person has decided"
    );
    let remedy = format!(
        "COMMON being the newest snapshot that the primary has, too: {} brings it to the primary; or {} gives it up; for each dataset below it likewise",
        command!("zfs send -w -I @COMMON {}@{}", root, &name),
        command!("zfs rollback -r {}@COMMON", root)
    );
    pass.report.find(Severity::Warning, subject, &what, &remedy);
}
