//! What `boot` and `ready` share: the node they work on, observing pools, making steps, and the
//! report that grows meanwhile. Every wait is on one budget.

use crate::config::{Config, Role};
use crate::exit::Fault;
use crate::links::Link;
use crate::marker::{self, LOCK_WAIT, Lock};
use crate::names::DatasetName;
use crate::os::PoolState;
use crate::peers::Peers;
use crate::places::{self, Elsewhere, Places};
use crate::plan::{self, Observed, Pool, Step};
use crate::promotion::record;
use crate::report::{Phase, Report, Severity};
use crate::seals::{self, Seal};
use crate::services::Services;
use crate::shell::command;
use crate::sorted::{Map, Set};
use crate::syslog;
use crate::system::{KeyDevices, System};
use crate::time::{Clock, Deadline};
use crate::trouble::Trouble;
use crate::verdict;
use crate::zfs::{Listing, Part, Zfs};
use std::path::Path;
use std::time::Duration;

mod look;

/// The longest that one call of ZFS may take; in a boot see [`Pass::one_call`].
pub const ONE_CALL: Duration = Duration::from_secs(10);
/// The node: everything outside the program that a pass touches.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    /// ZFS.
    pub zfs: &'a dyn Zfs,
    /// The key devices.
    pub devices: &'a dyn KeyDevices,
    /// The rest of the machine.
    pub system: &'a dyn System,
    /// The service manager.
    pub services: &'a dyn Services,
    /// The other nodes.
    pub peers: &'a dyn Peers,
    /// The run directory: markers and the lock.
    pub run: &'a Path,
    /// The directory of reports.
    pub db: &'a Path,
}

impl Node<'_> {
    /// The datasets of a pool, or of a part of it, as the verbs see them: a promotion is what the
    /// dataset's property and this node's own record say together.
    ///
    /// # Errors
    /// The pool could not be asked, or its answer was not understood.
    pub fn datasets(
        &self,
        pool: &str,
        part: Option<&Part>,
        deadline: Deadline,
    ) -> Result<Listing, Trouble> {
        let mut seen = match part {
            Some(part) => self.zfs.observe_part(pool, part, deadline),
            None => self.zfs.observe(pool, deadline),
        }?;
        record::join_all(&mut seen.datasets, &record::all(self.db));
        Ok(seen)
    }

    /// Logs a run that is over, and not kept yet.
    pub fn log(&self, report: &Report) {
        let before = Report::last(self.db, &report.pass);
        if let Some((severity, line)) = syslog::of_run(report, before.as_ref()) {
            self.system.log(severity, &line);
        }
    }
}

/// How much of a pool a pass looks at, so that no other dataset costs a boot any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All of it.
    Whole,
    /// What keys depend on.
    Keys,
    /// What mounts depend on, as far as the configuration tells.
    Mounts,
}

/// A pass under way.
pub struct Pass<'a> {
    /// The node it works on.
    pub node: Node<'a>,
    /// What should be.
    pub config: &'a Config,
    /// When the whole pass must be over.
    pub deadline: Deadline,
    /// What was last observed.
    pub observed: Observed,
    /// How much of each pool is looked at.
    pub scope: Scope,
    /// What there is to report so far.
    pub report: Report,
    /// Why a dataset's step did not work, for the verdict.
    pub failures: Map<plan::Step, String>,
    /// Pools that did not answer when they were looked at: nothing more is asked of them.
    given_up: Set<String>,
    /// Trees of replicas that could not be looked at, and why: they are not looked at again.
    dark: Map<DatasetName, String>,
    /// Pools on which a step hung: they are looked at again, but no further step is made.
    stuck: Set<String>,
    begun: Duration,
}

impl<'a> Pass<'a> {
    /// Begins a pass; its budget runs from now.
    pub fn begin(verb: &str, node: Node<'a>, config: &'a Config) -> Pass<'a> {
        let clock = node.system.clock();
        Pass {
            node,
            config,
            deadline: Deadline::after(clock, config.budget),
            observed: Observed::default(),
            scope: Scope::Whole,
            report: Report::new(verb, config.node.as_str(), node.system.boot_id()),
            failures: Map::new(),
            given_up: Set::new(),
            dark: Map::new(),
            stuck: Set::new(),
            begun: clock.now(),
        }
    }

    /// The clock of all deadlines.
    pub fn clock(&self) -> &'a dyn Clock {
        self.node.system.clock()
    }

    /// Runs one part of the pass and notes its time; the part gives its result in a few words.
    pub fn phase<T>(&mut self, name: &str, part: impl FnOnce(&mut Self) -> (T, String)) -> T {
        self.doing(name);
        let begun = self.clock().now();
        let (value, result) = part(self);
        self.clock().doing("");
        self.report.phases.push(Phase {
            name: name.into(),
            result: result.into(),
            millis: millis(self.clock().now() - begun),
        });
        value
    }

    /// Tells a person at a terminal what this verb waits for; each phase does, and ends it.
    pub fn doing(&self, what: &str) {
        self.clock().doing(&format!("{}: {what}", self.report.pass));
    }

    /// Takes the one lock, waiting a share of the budget for it. `None`, with a finding, when
    /// another run keeps it.
    pub fn lock(&mut self) -> Option<Lock> {
        let deadline = self.deadline.at_most(self.clock(), LOCK_WAIT);
        self.doing("another f3skeys");
        let lock = self.wait_for_lock(deadline);
        self.clock().doing("");
        lock
    }

    fn wait_for_lock(&mut self, deadline: Deadline) -> Option<Lock> {
        match marker::lock_until(self.node.run, self.clock(), deadline) {
            Ok(Some(lock)) => return Some(lock),
            Ok(None) => {
                self.report.find(
                    Severity::Failure,
                    "lock",
                    "another f3skeys is at work",
                    "wait until it is done, then try again",
                );
                self.report.fail(Fault::Busy);
            }
            Err(e) => self.system_failure(&self.node.run.display().to_string(), &e.to_string()),
        }
        None
    }

    /// Removes markers of other boots. If that fails the pass goes on, and writes none.
    pub fn drop_stale_markers(&mut self) -> bool {
        let boot = self.report.boot.clone();
        match marker::remove_stale(self.node.run, boot.as_deref()) {
            Ok(removed) => {
                for name in removed {
                    let change = format!("removed the marker of gate {name}, made in another boot");
                    self.report.change(change);
                }
                true
            }
            Err(e) => {
                let directory = marker::directory(self.node.run);
                self.system_failure(&directory.display().to_string(), &e.to_string());
                false
            }
        }
    }

    /// Whether a person has locked the node. What cannot be told counts as locked.
    pub fn is_locked(&self) -> bool {
        marker::is_locked(self.node.run).unwrap_or(true)
    }

    /// Forgets that the node was locked, as only a boot does. If that fails its gates stay closed.
    pub fn end_lock(&mut self) {
        if !self.is_locked() {
            return;
        }
        match marker::set_locked(self.node.run, false) {
            Ok(()) => {
                let change = "the node is no longer locked";
                self.report.change(change);
            }
            Err(e) => {
                let subject = self.node.run.display().to_string();
                self.system_failure(&subject, &e.to_string());
            }
        }
    }

    fn system_failure(&mut self, subject: &str, what: &str) {
        let remedy = "make the directory writable for root; until then gates stay closed";
        self.report.find(Severity::Failure, subject, what, remedy);
        self.report.fail(Fault::System);
    }

    /// The longest that one call of ZFS may take: a sixth of the budget, for who has given more has a slow
    /// machine or a thousand datasets; and never less than [`ONE_CALL`].
    pub fn one_call(&self) -> Duration {
        ONE_CALL.max(self.config.budget / 6)
    }

    /// Looks at one pool after the other, each with its share of a quarter of the budget.
    pub fn each_pool(&mut self, look: impl Fn(&mut Self, &str, Deadline)) {
        let pools = self.config.pools();
        let quarter = self.deadline.share(self.clock(), 4);
        for (done, pool) in pools.iter().enumerate() {
            let deadline = quarter
                .share(self.clock(), pools.len() - done)
                .at_most(self.clock(), self.one_call());
            look(self, pool, deadline);
        }
    }

    /// Whether the kernel says that a pool works.
    pub fn works(&self, pool: &str) -> bool {
        matches!(self.node.system.pool_state(pool), PoolState::Works(_))
    }

    /// Whether a pool did not answer in time before, so that no further step is made on it.
    pub fn is_given_up(&self, pool: &str) -> bool {
        self.given_up.contains(pool) || self.stuck.contains(pool)
    }

    /// Makes no further step on a pool where one took too long.
    pub fn note_trouble(&mut self, pool: &str, trouble: &Trouble) {
        if trouble.is_timeout() {
            self.stuck.insert(pool.to_owned());
        }
    }

    /// Tells what of the configuration was left out: all else is done, and this is an alarm all the same.
    pub fn tell_faults(&mut self) {
        for finding in verdict::of_faults(&self.config.faults) {
            self.report.findings.push(finding);
            self.report.fail(Fault::Configuration);
        }
    }

    /// Why a step is still left after the pass.
    pub fn why_left(&self, step: &Step) -> String {
        match self.failures.get(step) {
            Some(why) => why.clone(),
            None if self.is_given_up(step.dataset().pool()) => {
                format!(
                    "not tried, since {} did not answer before",
                    step.dataset().pool()
                )
            }
            None => "it did not last".to_owned(),
        }
    }

    /// Makes a step other than loading a key; tells whether it worked.
    pub fn make(&mut self, step: &Step, deadline: Deadline) -> bool {
        if self.is_given_up(step.dataset().pool()) {
            return false;
        }
        let done = match step {
            Step::Seal(dataset, seals) => self.node.zfs.seal(dataset, seals, deadline),
            Step::Mount { dataset, .. } => self.node.zfs.mount(dataset, deadline),
            Step::LoadKey { .. } => return false,
        };
        self.note_outcome(step, done)
    }

    /// Mounts file systems of one pool at once, none of which lies on another; tells which of them worked.
    pub fn mount_some(&mut self, steps: &[&Step], deadline: Deadline) -> Vec<bool> {
        let clear: Vec<_> = steps
            .iter()
            .map(|step| self.is_way_clear(step, deadline))
            .collect();
        let to_mount = steps.iter().zip(&clear).filter(|(_, clear)| clear.is_ok());
        let datasets: Vec<&DatasetName> = to_mount.map(|(step, _)| step.dataset()).collect();
        let mut done = self.node.zfs.mount_all(&datasets, deadline).into_iter();
        let outcomes = steps.iter().zip(clear).map(|(step, clear)| {
            let unasked = || Err(Trouble::failed("mounting", "there was no answer"));
            let outcome = clear.and_then(|()| done.next().unwrap_or_else(unasked));
            (step, outcome)
        });
        let outcomes: Vec<_> = outcomes.collect();
        outcomes
            .into_iter()
            .map(|(step, outcome)| self.note_outcome(step, outcome))
            .collect()
    }

    /// Whether no link that lies on a replica would lead this mount elsewhere.
    fn is_way_clear(&self, step: &Step, deadline: Deadline) -> Result<(), Trouble> {
        let Step::Mount { at, .. } = step else {
            return Ok(());
        };
        let Some(above) = places::replica_above(self.config, &self.observed, at) else {
            return Ok(());
        };
        let asked = [above.to_owned(), at.clone()];
        let mut ways = self.node.system.ways(&asked, deadline)?;
        let mut way = |path: &Path| {
            let way = ways
                .remove(path)
                .unwrap_or_else(|| Err("no answer".to_owned()));
            way.map_err(|why| Trouble::failed("looking for links", &why))
        };
        let (above, way) = (way(above)?.real, way(at)?);
        let is_foreign = |link: &Link| {
            let lies_on_replica = link
                .on
                .parse()
                .is_ok_and(|on: DatasetName| self.config.role_of(&on) == Some(Role::Replica));
            lies_on_replica || (link.at != above && link.at.starts_with(&above))
        };
        match way.links.iter().any(is_foreign) {
            false => Ok(()),
            true => Err(Trouble::failed(
                "a symbolic link on the replica around it",
                "it would be mounted where that leads",
            )),
        }
    }

    /// Notes what came of a step.
    pub fn note_outcome(&mut self, step: &Step, done: Result<(), Trouble>) -> bool {
        match done {
            Ok(()) => {
                self.report.change(step.to_string());
                self.failures.remove(step);
                true
            }
            Err(trouble) => {
                self.note_trouble(step.dataset().pool(), &trouble);
                self.failures.insert(step.clone(), trouble.to_string());
                false
            }
        }
    }

    /// Sets `readonly=on`, and what else a replica must have. This needs no key, so it comes
    /// before anything that could wait, and whether or not there is a stick.
    pub fn seal_replicas(&mut self, deadline: Deadline) -> usize {
        let steps = seals::steps(self.config, &self.observed);
        self.seal(&steps, deadline)
    }

    /// The same, where no more than the roots was looked at: no share is ended before its tree is known.
    pub fn seal_roots(&mut self, deadline: Deadline) {
        let steps = seals::but_shares(self.config, &self.observed);
        self.seal(&steps, deadline);
    }

    fn seal(&mut self, steps: &[Step], deadline: Deadline) -> usize {
        self.warn_of_written_replicas(steps);
        self.warn_of_hostile_places(steps);
        steps
            .iter()
            .filter(|step| {
                let deadline = deadline.at_most(self.clock(), self.one_call());
                self.make(step, deadline)
            })
            .count()
    }

    fn warn_of_written_replicas(&mut self, steps: &[Step]) {
        let mounted: Vec<String> = self
            .observed
            .datasets()
            .filter(|d| d.mounted && steps.iter().any(|step| step.sets(&d.name, Seal::Readonly)))
            .map(|d| d.name.to_string())
            .collect();
        for name in mounted {
            self.report.find(
                Severity::Alarm,
                &name,
                "this replica was mounted writable",
                &format!("see {}: if it is not 0, the next receive will fail; compare with the primary before anything is rolled back", command!("zfs get written {}", &name)),
            );
        }
    }

    /// What needs no key of a replica is kept from being mounted by its `canmount` alone.
    fn warn_of_hostile_places(&mut self, steps: &[Step]) {
        let places = Places::of(self.config, &self.observed);
        let datasets = self.observed.datasets();
        let held = datasets.filter(|d| steps.iter().any(|s| s.sets(&d.name, Seal::NoAuto)));
        let found: Vec<Elsewhere> = held.filter_map(|d| places.elsewhere(d)).collect();
        for found in found {
            let what = format!("this replica is not to be mounted: {}", found.what());
            let subject = found.dataset.as_str();
            let remedy = found.remedy();
            self.report.find(Severity::Alarm, subject, &what, &remedy);
        }
    }

    /// What the pools look like, in a few words.
    pub fn pools_in_words(&self) -> String {
        let words: Vec<String> = self
            .observed
            .pools
            .iter()
            .map(|(name, pool)| match pool {
                Pool::Seen(datasets) => format!("{name}: {} datasets", datasets.len()),
                Pool::NotImported => format!("{name}: not imported"),
                Pool::Suspended => format!("{name}: suspended"),
                Pool::NotSeen(_) => format!("{name}: no answer"),
            })
            .collect();
        words.join(", ")
    }

    /// Ends the pass: keeps the report where it outlives the boot.
    pub fn finish(mut self) -> Report {
        self.report.millis = millis(self.clock().now() - self.begun);
        self.report.ended = Some(self.node.system.wall());
        self.node.log(&self.report);
        self.report.keep_done(self.node.db);
        self.report
    }
}

/// A time in whole milliseconds.
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
