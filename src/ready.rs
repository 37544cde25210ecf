//! `f3skeys ready`: mounts what is still missing, in the order of paths, and writes the markers of
//! the gates that hold. And the question that services ask, `f3skeys gate`.

use crate::boot::is_open;
use crate::config::{Config, Gate, Root};
use crate::early;
use crate::evaluate::{self, Peers};
use crate::exit::Fault;
use crate::gate::{self, Answer, Known, Live, Marker};
use crate::guard;
use crate::marker;
use crate::names::{DatasetName, GateName, NodeName};
use crate::pass::{Node, Pass, Scope};
use crate::peers;
use crate::plan::{
    self, KeyState, LeftAlone, MountPlan, NotMounted, Refusal, Step, Unseen, Verdict,
};
use crate::report::{Finding, Report, RootLine, Severity};
use crate::roles;
use crate::seals::settings;
use crate::shell::command;
use crate::sorted::{Map, Set};
use crate::time::Deadline;
use crate::verdict;
use crate::zfs::{Mountpoint, Part};
use std::io;
use std::path::Path;
use std::time::Duration;

/// The longest that a gate may take to answer, whatever hangs.
pub const GATE_DEADLINE: Duration = Duration::from_secs(2);
/// The longest that all peers of a gate together may take.
pub const PEERS_DEADLINE: Duration = Duration::from_secs(10);
/// Readonly, then mounts, then once more for what the first round made possible.
const ROUNDS: usize = 3;

/// Runs the whole pass.
pub fn ready(node: Node, config: &Config) -> Report {
    run(node, config, Early::Stays)
}

/// Runs the whole pass after a stick was plugged in: what came up without it may be in the way.
pub fn late(node: Node, config: &Config) -> Report {
    run(node, config, Early::MakesWay)
}

/// What becomes of file systems that came up before those that they lie on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Early {
    Stays,
    MakesWay,
}

fn run(node: Node, config: &Config, early: Early) -> Report {
    let mut pass = Pass::begin("ready", node, config);
    let Some(_lock) = pass.lock() else {
        return pass.finish();
    };
    let markers = pass.drop_stale_markers();
    // To look beneath mounts, the mountpoints of all datasets are needed.
    if config.guards.is_empty() {
        pass.scope = Scope::Mounts;
    }
    pass.begin_asking();
    guard::bare(&mut pass);
    let plan = match early {
        Early::Stays => mount_all(&mut pass),
        Early::MakesWay => mount_in_order(&mut pass),
    };
    judge(&mut pass, &plan);
    roles::tell(&mut pass);
    pass.tell_faults();
    guard::bare(&mut pass);
    guard::beneath(&mut pass);
    evaluate::gates(&mut pass, markers, &Peers::NotAsked);
    pass.finish()
}

/// The pass up to its gates, as a rehearsal plays it too; gives the plan that is left.
pub(crate) fn mount_all(pass: &mut Pass) -> MountPlan {
    look_at_pools(pass);
    mount_seen(pass)
}

/// The same where file systems that came up early are mounted anew, on those that they lie on.
fn mount_in_order(pass: &mut Pass) -> MountPlan {
    look_at_pools(pass);
    let aside = make_way(pass);
    if aside.is_empty() {
        return mount_seen(pass);
    }
    pass.observe_all();
    let plan = mount_seen(pass);
    put_back(pass, aside);
    match plan.refused.is_empty() && plan.steps.is_empty() {
        true => plan,
        // What was put back may be in the way once more.
        false => plan::mounts(pass.config, &pass.observed),
    }
}

fn look_at_pools(pass: &mut Pass) {
    pass.phase("pools", |pass| {
        pass.observe_all();
        if pass.scope == Scope::Mounts {
            look_wider(pass);
        }
        ((), pass.pools_in_words())
    });
}

/// Unmounts what would be buried, if nothing uses it; gives what was unmounted, the deepest first. Never by
/// force: what is in use stays.
fn make_way(pass: &mut Pass) -> Vec<DatasetName> {
    let plan = plan::mounts(pass.config, &pass.observed);
    let Ok(mounted) = pass.node.system.mounts() else {
        return Vec::new();
    };
    let mut moved = Vec::new();
    for aside in early::in_the_way(&pass.observed, &plan, &mounted) {
        if let Some(why) = aside.held {
            let what = format!("is left where it is, below what is missing: {why}");
            let first = aside.datasets.first().map_or("mounts", |d| d.as_str());
            pass.report.find(Severity::Warning, first, &what, "");
            continue;
        }
        for dataset in aside.datasets {
            if moved.contains(&dataset) {
                continue;
            }
            if !unmount(pass, &dataset) {
                break;
            }
            moved.push(dataset);
        }
    }
    moved
}

/// Whoever is about to change what a gate stands for removes its marker first.
fn unmount(pass: &mut Pass, dataset: &DatasetName) -> bool {
    for gate in early::gates(pass.config, dataset) {
        if let Err(e) = marker::remove(pass.node.run, gate) {
            let what = format!("it stays, since the marker of gate {gate} does: {e}");
            let remedy = "make the directory writable for root";
            let subject = dataset.as_str();
            pass.report.find(Severity::Failure, subject, &what, remedy);
            return false;
        }
    }
    let deadline = pass.deadline.at_most(pass.clock(), pass.one_call());
    match pass.node.zfs.unmount(dataset, deadline) {
        Ok(()) => {
            let change = format!("unmounted {dataset}, to mount it anew in its place");
            pass.report.change(change);
            true
        }
        Err(trouble) => {
            pass.note_trouble(dataset.pool(), &trouble);
            let what = format!("is in use, so it was not mounted anew: {trouble}");
            let remedy = format!(
                "stop what uses it ({}), then {}, `f3skeys ready` and {}",
                command!("fuser -m {}", shown(pass, dataset)),
                command!("zfs unmount {}", dataset),
                command!("zfs mount {}", dataset)
            );
            let subject = dataset.as_str();
            pass.report.find(Severity::Warning, subject, &what, &remedy);
            false
        }
    }
}

fn shown(pass: &Pass, dataset: &DatasetName) -> String {
    let seen = pass.observed.dataset(dataset);
    match seen.map(|seen| &seen.mountpoint) {
        Some(Mountpoint::Path(at)) => at.display().to_string(),
        _ => dataset.to_string(),
    }
}

/// Mounts again what was moved aside, the highest first, but for what was mounted meanwhile; also where what
/// it lies on could not be mounted: then it is where it was.
fn put_back(pass: &mut Pass, aside: Vec<DatasetName>) {
    let names: Set<DatasetName> = aside.iter().cloned().collect();
    pass.observe_again(&names);
    for dataset in aside.iter().rev() {
        if pass.observed.dataset(dataset).is_some_and(|d| d.mounted) {
            continue;
        }
        let deadline = pass.deadline.at_most(pass.clock(), pass.one_call());
        match pass.node.zfs.mount(dataset, deadline) {
            Ok(()) => pass.report.change(format!("mounted {dataset} again")),
            Err(trouble) => {
                let what = format!("was unmounted, and could not be mounted again: {trouble}");
                let remedy = command!("zfs mount {}", dataset);
                let subject = dataset.as_str();
                pass.report.find(Severity::Failure, subject, &what, &remedy);
                pass.report.fail(Fault::Unavailable);
            }
        }
    }
    pass.observe_again(&names);
}

fn mount_seen(pass: &mut Pass) -> MountPlan {
    pass.phase("mounts", |pass| {
        let plan = mount_missing(pass);
        let words = match (plan.steps.len(), plan.refused.len()) {
            (0, 0) => "all that can be mounted is mounted".to_owned(),
            (steps, refused) => format!("{} file systems are not mounted", steps + refused),
        };
        (plan, words)
    })
}

/// Looks at what else matters, beside what was looked at: by what is mounted now.
fn look_wider(pass: &mut Pass) {
    let unseen = match pass.node.system.mounts() {
        Ok(mounted) => plan::unseen(pass.config, &pass.observed, &mounted),
        Err(_) => Unseen::Any,
    };
    match unseen {
        Unseen::Nothing => {}
        Unseen::These(names) => pass.each_pool(|pass, pool, deadline| {
            let of_pool = names.iter().filter(|name| name.pool() == pool);
            let part = Part {
                alone: of_pool.cloned().collect(),
                trees: Set::new(),
            };
            if !part.alone.is_empty() {
                pass.observe_also(pool, &part, deadline);
            }
        }),
        Unseen::Any => {
            pass.scope = Scope::Whole;
            pass.observe_all();
        }
    }
}

/// Mounts until nothing is left or nothing works any more; gives the plan that is left.
///
/// A mount may have to replay a log, so it gets all the time that its pool has: an equal part of
/// three quarters of the budget. The rest is for looking again and for the gates.
fn mount_missing(pass: &mut Pass) -> MountPlan {
    let pools = pass.config.pools();
    let parts = u32::try_from(pools.len()).unwrap_or(u32::MAX);
    let share = pass.deadline.left(pass.clock()) * 3 / 4 / parts;
    let mut left: Map<String, Duration> = pools.into_iter().map(|p| (p, share)).collect();
    let mut failed = Set::new();
    for _ in 0..ROUNDS {
        let deadline = pass.deadline.share(pass.clock(), 2);
        let mut changed = pass.seal_replicas(deadline) > 0;
        let plan = plan::mounts(pass.config, &pass.observed);
        if !changed {
            (changed, failed) = mount_all_of(pass, &plan.steps, &mut left);
        }
        if !changed {
            break;
        }
        see_again(pass, &plan.steps);
    }
    plan::mounts_around(pass.config, &pass.observed, &failed)
}

/// Makes these mounts, none on the directory in the place of one that failed: what is mounted there would
/// be buried later, and until then it is served from under what is missing. Tells whether any of it
/// worked, and what failed.
fn mount_all_of(
    pass: &mut Pass,
    steps: &[Step],
    left: &mut Map<String, Duration>,
) -> (bool, Set<DatasetName>) {
    let (mut changed, mut failed, mut down) = (false, Set::new(), Vec::new());
    for some in plan::at_once(steps, |pool| pass.node.zfs.at_once(pool)) {
        let some = plan::not_on(&down, &some);
        let done = mount(pass, &some, left);
        for (step, done) in some.into_iter().zip(done) {
            changed |= done;
            if let (Step::Mount { dataset, at }, false) = (step, done) {
                failed.insert(dataset.clone());
                down.push(at.as_path());
            }
        }
    }
    (changed, failed)
}

/// Looks at what came of these steps: in the kernel's own table of mounts, where that tells it all.
fn see_again(pass: &mut Pass, steps: &[Step]) {
    let mounted = pass.node.system.mounts().unwrap_or_default();
    if plan::tells_all(pass.config, steps, &mounted) {
        for step in steps {
            pass.observed.note_mounted(step.dataset());
        }
    } else {
        let datasets = steps.iter().map(|step| step.dataset().clone());
        pass.observe_again(&datasets.collect());
    }
}

/// Makes steps of one pool at once, and takes their time off what the pool has left; tells which worked.
fn mount(pass: &mut Pass, steps: &[&Step], left: &mut Map<String, Duration>) -> Vec<bool> {
    let Some(pool) = steps.first().map(|step| step.dataset().pool()) else {
        return Vec::new();
    };
    if pass.is_given_up(pool) {
        return vec![false; steps.len()];
    }
    let left = left.entry(pool.to_owned()).or_default();
    let begun = pass.clock().now();
    let deadline = pass.deadline.at_most(pass.clock(), *left);
    let done = pass.mount_some(steps, deadline);
    *left = left.saturating_sub(pass.clock().now() - begun);
    done
}

pub(crate) fn judge(pass: &mut Pass, plan: &MountPlan) {
    judge_roots(pass);
    for missing in missing(pass, plan) {
        let Finding {
            severity,
            subject,
            what,
            remedy,
        } = &missing.finding;
        // Of these `roles` tells, as in every pass.
        if !matches!(missing.why, Some(NotMounted::Elsewhere(_))) {
            pass.report.find(*severity, subject, what, remedy);
        }
        if missing.counts {
            pass.report.fail(Fault::Unavailable);
        }
    }
    for (dataset, why) in &plan.left_alone {
        pass.report
            .find(Severity::Note, dataset.as_str(), left_alone(why), "");
    }
}

/// What should be mounted, or read-only, and is not.
pub(crate) struct Missing<'a> {
    pub(crate) dataset: &'a DatasetName,
    pub(crate) finding: Finding,
    /// Why it is not mounted, where that was decided and not tried.
    pub(crate) why: Option<&'a NotMounted>,
    /// Whether the exit status depends on it.
    pub(crate) counts: bool,
}

/// The complaints of a plan that is left. A locked root has been complained of before.
pub(crate) fn missing<'a>(pass: &Pass, plan: &'a MountPlan) -> Vec<Missing<'a>> {
    let steps = plan.steps.iter().map(|step| {
        let (what, remedy) = step_left(step, &pass.why_left(step));
        (step.dataset(), None, what, remedy)
    });
    let refused = plan
        .refused
        .iter()
        .filter(|(_, why)| *why != NotMounted::Locked)
        .map(|(dataset, why)| {
            let (what, remedy) = not_mounted(why);
            (dataset, Some(why), what, remedy)
        });
    steps
        .chain(refused)
        .map(|(dataset, why, what, remedy)| Missing {
            dataset,
            why,
            finding: Finding::new(severity(why), dataset.as_str(), &what, &remedy),
            counts: counts(pass.config, dataset),
        })
        .collect()
}

fn severity(why: Option<&NotMounted>) -> Severity {
    match why {
        Some(NotMounted::Elsewhere(_)) => Severity::Alarm,
        _ => Severity::Failure,
    }
}

fn step_left(step: &Step, why: &str) -> (String, String) {
    let dataset = step.dataset();
    match step {
        Step::Mount { at, .. } => (
            format!("not mounted on {}: {why}", at.display()),
            format!(
                "see why {} fails, then `f3skeys ready`",
                command!("zfs mount {}", dataset)
            ),
        ),
        _ => (
            format!("this replica could not be made read-only: {why}"),
            format!(
                "see why {} fails",
                command!("zfs set readonly=on {}", dataset)
            ),
        ),
    }
}

/// Whether a required root is at or above the dataset, or none at all: then it is an ancestor of
/// what is.
fn counts(config: &Config, dataset: &DatasetName) -> bool {
    let required = |root: &Root| root.required && dataset.is_at_or_below(&root.dataset);
    config.role_of(dataset).is_none() || config.roots.iter().any(required)
}

pub(crate) fn left_alone(why: &LeftAlone) -> &'static str {
    match why {
        LeftAlone::Legacy => "mountpoint=legacy: mounted by fstab or by hand, not by f3skeys",
        LeftAlone::NoMountpoint => "mountpoint=none: nothing to mount",
        LeftAlone::NoAuto => "canmount=noauto, and no gate names it: left unmounted",
        LeftAlone::Jailed => "belongs to a jail or zone, which mounts it",
    }
}

pub(crate) fn not_mounted(why: &NotMounted) -> (String, String) {
    match why {
        NotMounted::Locked => (
            "not mounted: its key is not loaded".to_owned(),
            "`f3skeys boot`".to_owned(),
        ),
        NotMounted::WaitsFor(above) => (
            format!("not mounted: {above} belongs on a directory above it and is not mounted"),
            format!("mount {above} first, then `f3skeys ready`"),
        ),
        NotMounted::WouldBury(below) => (
            format!("not mounted: that would bury {below}, which is mounted below its directory"),
            format!(
                "stop what uses {below}, {}, then `f3skeys ready`",
                command!("zfs unmount {}", below)
            ),
        ),
        NotMounted::Unsealed(seals) => (
            format!(
                "not mounted: this replica is to have {} before",
                settings(seals)
            ),
            "see why `zfs set` fails on it, then `f3skeys ready`".to_owned(),
        ),
        NotMounted::SamePlace(other) => (
            format!("not mounted: {other} has the same mountpoint"),
            "give one of them another mountpoint, or canmount=noauto".to_owned(),
        ),
        NotMounted::NotUnderstood(damaged) => (
            format!("not mounted, if it is to be: {damaged}"),
            format!("{}, then `f3skeys ready`", damaged.remedy()),
        ),
        NotMounted::Elsewhere(found) => (format!("not mounted: {}", found.what()), found.remedy()),
    }
}

/// Says how the roots stand, without a stick: loaded or not is all that counts here.
fn judge_roots(pass: &mut Pass) {
    let why = "run `f3skeys boot` to see why".to_owned();
    let keys = pass
        .config
        .keys()
        .into_iter()
        .map(|key| (key, KeyState::NoStore(why.clone())))
        .collect();
    let plan = plan::keys(pass.config, &pass.observed, &keys);
    for (root, (dataset, verdict)) in pass.config.roots.iter().zip(plan.roots) {
        let open = is_open(&verdict);
        let state = match &verdict {
            _ if open => "open",
            Verdict::Locked(refusal) => verdict::word(root, refusal),
            _ => verdict::LOCKED,
        };
        if !open {
            let finding = not_open(root, &verdict);
            pass.report.findings.extend(finding);
            if root.required {
                pass.report.fail(Fault::Unavailable);
            }
        }
        pass.report.roots.push(RootLine {
            dataset: dataset.to_string(),
            role: root.role.to_string(),
            required: root.required,
            open,
            state: state.into(),
        });
    }
}

/// What is said of a root that was not seen open, and what to do.
fn not_open(root: &Root, verdict: &Verdict) -> Option<Finding> {
    let (what, remedy) = match verdict {
        Verdict::Locked(
            Refusal::Elsewhere(_)
            | Refusal::NotARoot { .. }
            | Refusal::NotEncrypted
            | Refusal::NoSuchDataset
            | Refusal::PoolNotImported(_)
            | Refusal::PoolSuspended(_),
        ) => {
            return verdict::of_root(root, verdict, None).finding;
        }
        Verdict::Locked(Refusal::PoolNotSeen(why)) => (
            format!("whether it is open is not known, so nothing of it was mounted: {why}"),
            format!(
                "{}, then `f3skeys ready`; where all is only slow, raise `budget_seconds`",
                command!("zpool status {}", root.dataset.pool())
            ),
        ),
        Verdict::Locked(Refusal::NotUnderstood(damaged)) if damaged.name == root.dataset => (
            format!("whether it is open is not known, so nothing of it was mounted: {damaged}"),
            format!("{}, then `f3skeys ready`", damaged.remedy()),
        ),
        _ => (
            "it is locked, so nothing of it is mounted".to_owned(),
            "`f3skeys status` says why; then `f3skeys boot`".to_owned(),
        ),
    };
    let subject = root.dataset.as_str();
    Some(Finding::new(Severity::Failure, subject, &what, &remedy))
}

/// What the live system shows of what a gate depends on: pool states first, which cannot hang.
///
/// # Errors
/// The gate's answer, where there was no need or no way to look.
pub(crate) fn look(
    node: Node,
    config: &Config,
    gate: &Gate,
    known: &Known,
) -> Result<Live, Answer> {
    let questions = gate::questions(config, gate, known);
    let pools = questions
        .pools
        .iter()
        .map(|pool| (pool.clone(), node.system.pool_state(pool)))
        .collect();
    if let Some(answer) = gate::sick_pool(&pools) {
        return Err(answer);
    }
    let deadline = Deadline::after(node.system.clock(), GATE_DEADLINE);
    let live = node.system.look(&questions, deadline);
    live.map_err(|trouble| Answer::CannotTell(trouble.to_string()))
}

/// Why every gate is closed, if a person has locked the node.
pub(crate) fn locked(run: &Path) -> Option<Answer> {
    match marker::is_locked(run) {
        Ok(false) => None,
        Ok(true) => Some(Answer::Closed(
            "the node is locked; `f3skeys boot`, `ready` and `carp` undo it".to_owned(),
        )),
        Err(e) => Some(Answer::CannotTell(format!(
            "whether the node is locked: {}: {e}",
            run.display()
        ))),
    }
}

/// Whether the gate is open now: all it needs is true, and a marker of this boot was made for it.
/// Its peers are asked when all else holds.
pub fn ask(node: Node, config: &Config, gate: &Gate) -> Answer {
    ask_by(node, config, gate, |peers| ask_peers(node, config, peers))
}

/// As [`ask`], with `heard` to say what its peers answer; not called where all else does not hold.
pub(crate) fn ask_by(
    node: Node,
    config: &Config,
    gate: &Gate,
    heard: impl FnOnce(&Set<NodeName>) -> Map<NodeName, Answer>,
) -> Answer {
    let (mut live, known, marked) = match look_here(node, config, gate) {
        Ok(seen) => seen,
        Err(answer) => return answer,
    };
    let peers = gate::peers(config, gate);
    if marked != Answer::Open && peers.is_empty() {
        return marked;
    }
    live.peers = heard(&peers);
    // Also without a marker: a peer's no is a better reason than that there is none.
    match (gate::decide(config, gate, &live, &known), marked) {
        (answer @ Answer::Closed(_), _) => answer,
        (answer, Answer::Open) => answer,
        // A peer's silence is why `reconcile` writes none.
        (Answer::CannotTell(silent), Answer::Closed(why) | Answer::CannotTell(why)) => {
            Answer::CannotTell(format!("{silent}; {why}"))
        }
        (Answer::Open, Answer::Closed(why) | Answer::CannotTell(why)) => Answer::CannotTell(why),
    }
}

/// Whether the gate is open as far as this node alone can tell.
pub(crate) fn ask_here(node: Node, config: &Config, gate: &Gate) -> Answer {
    match look_here(node, config, gate) {
        Ok((_, _, marked)) => marked,
        Err(answer) => answer,
    }
}

/// What was seen, where nothing that was seen here keeps the gate closed; and what its marker says.
fn look_here(node: Node, config: &Config, gate: &Gate) -> Result<(Live, Known, Answer), Answer> {
    if let Some(answer) = locked(node.run) {
        return Err(answer);
    }
    let marker = marker::read(node.run, &gate.name);
    let known = match &marker {
        Ok(Some(marker)) => marker.known.clone(),
        Ok(None) | Err(_) => Known::default(),
    };
    let live = look(node, config, gate, &known)?;
    match gate::decide_here(config, gate, &live, &known) {
        Answer::Open => {
            let marked = check_marker(node, config, gate, &live, &known, marker);
            Ok((live, known, marked))
        }
        answer => Err(answer),
    }
}

fn check_marker(
    node: Node,
    config: &Config,
    gate: &Gate,
    live: &Live,
    known: &Known,
    marker: io::Result<Option<Marker>>,
) -> Answer {
    let Some(boot) = node.system.boot_id() else {
        return Answer::CannotTell("the kernel has no identity of this boot yet".to_owned());
    };
    let expected = Marker::new(config, gate, &boot, live, known);
    match marker {
        Ok(Some(marker)) => gate::check_marker(&expected, &marker),
        Ok(None) => Answer::Closed(format!(
            "no marker of this boot for gate {}; {} writes it",
            gate.name,
            match gate::peers(config, gate).is_empty() {
                true => "`f3skeys ready`",
                false => "`f3skeys reconcile`",
            }
        )),
        Err(e) => Answer::CannotTell(format!(
            "{}: {e}",
            marker::path(node.run, &gate.name).display()
        )),
    }
}

/// What each of these peers says now. Nobody holds the lock meanwhile: it may say nothing for long.
pub(crate) fn ask_peers(
    node: Node,
    config: &Config,
    peers: &Set<NodeName>,
) -> Map<NodeName, Answer> {
    let deadline = Deadline::after(node.system.clock(), PEERS_DEADLINE);
    peers::ask_all(node, config, peers, deadline)
}

/// The gate of this name, or in words that there is none.
///
/// # Errors
/// No gate of the configuration has the name.
pub fn named<'a>(config: &'a Config, name: &str) -> Result<&'a Gate, String> {
    let known: Vec<&str> = config.gates.iter().map(|gate| gate.name.as_str()).collect();
    name.parse()
        .ok()
        .and_then(|name: GateName| config.gate(&name))
        .ok_or_else(|| match known.as_slice() {
            [] => format!(
                "no gate `{name}`: `gates` in the configuration has none; f3skeys.ron(5) says how"
            ),
            known => format!("no gate `{name}`; there are {}", known.join(", ")),
        })
}
