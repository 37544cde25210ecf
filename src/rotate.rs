//! `f3skeys rotate`: another key for every root that uses one, so that at any instant, whatever is
//! killed, every root and every replica is opened by a key that lies on its node's store.
//!
//! The new generation is staged on this node's store, then proven to be on the stores of the peers,
//! and only then is the key of a root changed. What is so is found by asking ZFS with every
//! generation, never by trusting a note. Nothing is ever removed.

pub mod copies;
pub mod decide;
pub mod facts;
mod look;
pub mod prune;
mod record;
mod replicas;
mod roots;
mod steps;
pub mod tell;
mod to_peers;

use crate::audit::log::Caller;
use crate::boot;
use crate::config::Config;
use crate::exit::Fault;
use crate::marker::Lock;
use crate::names::{KeyName, NodeName};
use crate::pass::{Node, Pass};
use crate::report::{Finding, Report, Severity};
use crate::shell::command;
use crate::store::state::Generation;
use crate::store::work::{Merge, Work, Worked};
use crate::time::Deadline;
use crate::verify::WRITE_STORE;
use facts::Facts;
use look::Heard;
use record::Record;
use std::time::Duration;

/// The longest that all of it may take: nobody waits for a boot meanwhile.
const WHOLE: Duration = Duration::from_secs(3600);

/// What is to be done about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Begin a rotation and go through with it.
    Start {
        /// Also give the new key to loaded roots that no key of the store opens.
        take_over: bool,
        /// How many other stores must hold the new key, when a person says so for this run.
        copies: Option<u32>,
    },
    /// Say what beginning would do, or why it is refused.
    Plan {
        /// As for [`What::Start`].
        take_over: bool,
        /// As for [`What::Start`].
        copies: Option<u32>,
    },
    /// Say how things stand.
    Status,
    /// Go on with what was begun.
    Resume {
        /// As for [`What::Start`]; needed when the note of the rotation is lost.
        take_over: bool,
        /// As for [`What::Start`].
        copies: Option<u32>,
    },
    /// Give up a rotation that has changed no key yet.
    Abort,
    /// Let boots no longer try what was replaced, once nothing needs it.
    Retire {
        /// As for [`What::Start`], of the current key.
        copies: Option<u32>,
    },
}

impl What {
    /// Whether nothing is changed.
    pub fn only_shows(self) -> bool {
        matches!(self, What::Plan { .. } | What::Status)
    }

    /// How many copies a person has named for this run.
    fn copies(self) -> Option<u32> {
        match self {
            What::Start { copies, .. }
            | What::Plan { copies, .. }
            | What::Resume { copies, .. }
            | What::Retire { copies } => copies,
            What::Status | What::Abort => None,
        }
    }
}

/// What came of it.
pub struct Rotated {
    /// The plan or the state, for standard output; empty for what changes something.
    pub text: String,
    /// What was done, what there is to tell, and the exit status.
    pub report: Report,
}

/// Does it. `progress` is told each change when it is made.
pub fn rotate(
    node: Node,
    config: &Config,
    key: &KeyName,
    what: What,
    progress: &dyn Fn(&str),
) -> Rotated {
    let pass = Pass::begin("rotate", node, config);
    let asked = (key, what.copies());
    at_work(pass, asked, what.only_shows(), progress, |run, facts| {
        match what {
            What::Start { take_over, .. } => run.start(facts, take_over),
            What::Resume { take_over, .. } => run.go_on(facts, take_over),
            What::Abort => run.abort(facts),
            What::Retire { .. } => run.retire(facts),
            What::Status => return tell::status(&facts),
            What::Plan { take_over, .. } if run.may(decide::start(&facts, take_over)) => {
                return tell::plan(&facts);
            }
            What::Plan { .. } => {}
        }
        String::new()
    })
}

/// One piece of work on a key: under the lock, on what is so now, and reported. The peers are asked
/// before, so that one that says nothing keeps the lock from nobody. Its text is for standard output;
/// the report of what only shows something is not kept.
fn at_work<'a>(
    mut pass: Pass<'a>,
    (key, copies): (&'a KeyName, Option<u32>),
    only_shows: bool,
    progress: &dyn Fn(&str),
    job: impl FnOnce(&mut Run<'_, 'a>, Facts) -> String,
) -> Rotated {
    pass.deadline = Deadline::after(pass.clock(), WHOLE);
    let mut text = String::new();
    let heard = look::ask_peers(&mut pass, key);
    if let Some(lock) = pass.lock() {
        let mut run = Run {
            pass: &mut pass,
            key,
            copies,
            heard,
            lock: Some(lock),
            progress,
        };
        let facts = run.look();
        text = job(&mut run, facts);
    }
    pass.report.fold();
    let report = match only_shows {
        true => pass.report,
        false => pass.finish(),
    };
    Rotated { text, report }
}

/// Does it for every key that this node owns and its roots use, one after the other; what goes wrong
/// with one does not keep the others.
pub fn all(node: Node, config: &Config, what: What, progress: &dyn Fn(&KeyName, &str)) -> Rotated {
    let mut report = Report::new("rotate", config.node.as_str(), node.system.boot_id());
    let mut text = String::new();
    for key in own_keys(config) {
        let one = rotate(node, config, &key, what, &|change| progress(&key, change));
        let result = match one.report.fault {
            None => "done",
            Some(_) => "REFUSED OR NOT FINISHED",
        };
        report.take_in(key.as_str(), result, one.report);
        text += &one.text;
    }
    if report.phases.is_empty() {
        let what = "owns no key that one of its roots uses";
        report.find(Severity::Note, config.node.as_str(), what, "");
    }
    if !what.only_shows() {
        report.ended = Some(node.system.wall());
        report.keep_done(node.db);
    }
    Rotated { text, report }
}

/// The keys that this node owns and its roots use.
fn own_keys(config: &Config) -> Vec<KeyName> {
    let keys = config.keys().into_iter();
    keys.filter(|key| key.owner() == config.node.as_str())
        .collect()
}

/// A rotation at work, under the lock but for the times when it waits for a peer.
struct Run<'p, 'a> {
    pass: &'p mut Pass<'a>,
    key: &'a KeyName,
    /// How many copies a person has named for this run.
    copies: Option<u32>,
    /// What the peers said before the lock was taken.
    heard: Heard,
    lock: Option<Lock>,
    progress: &'p dyn Fn(&str),
}

impl Run<'_, '_> {
    /// All that is so now here, with what the peers have said.
    fn look(&mut self) -> Facts {
        look::look(self.pass, self.key, self.copies, &self.heard)
    }

    /// Takes the lock again after a time without it.
    fn lock_again(&mut self) -> bool {
        self.lock = self.pass.lock();
        self.lock.is_some()
    }

    fn merge(&mut self, list: Vec<Generation>) -> bool {
        let merge = Merge {
            key: self.key.clone(),
            list,
            bring: Vec::new(),
            nonce: None,
        };
        self.work(Work::Merge(merge)).is_some()
    }

    /// Does a piece of work on this node's store, with no key in memory.
    fn work(&mut self, work: Work) -> Option<Worked> {
        let (device, filesystem) = match boot::key_device(self.pass, Duration::ZERO) {
            Ok(found) => found,
            Err(missing) => {
                let remedy = format!("{}; {}", missing.remedy, self.resume());
                self.fail(
                    Fault::NoKeyDevice,
                    &format!("the key device: {missing}"),
                    &remedy,
                );
                return None;
            }
        };
        let at = &self.pass.config.store.mountpoint;
        let deadline = Deadline::after(self.pass.clock(), WRITE_STORE);
        let caller = Caller::here(&self.pass.report.pass);
        let store = (&device, &filesystem);
        let (worked, unlogged) = caller.work(self.pass.node, store, at, &work, deadline);
        unlogged.into_iter().for_each(|finding| self.say(finding));
        match worked {
            Ok(worked) => {
                let subject = device.node.display().to_string();
                for note in &worked.notes {
                    self.pass.report.find(Severity::Note, &subject, note, "");
                }
                Some(worked)
            }
            Err(trouble) => {
                let remedy = format!(
                    "all that was on the store is still there; {}",
                    self.resume()
                );
                self.fail(Fault::Unavailable, &trouble.to_string(), &remedy);
                None
            }
        }
    }

    fn keep(&mut self, record: &Record) -> bool {
        match record.keep(self.pass.node.db, self.key) {
            Ok(()) => true,
            Err(e) => {
                let what = format!("{}: {e}", self.pass.node.db.display());
                self.fail(Fault::System, &what, "make the directory writable for root");
                false
            }
        }
    }

    fn forget(&mut self) {
        if let Err(e) = Record::forget(self.pass.node.db, self.key) {
            let subject = self.pass.node.db.display().to_string();
            let report = &mut self.pass.report;
            report.find(
                Severity::Warning,
                &subject,
                &e.to_string(),
                "make it writable for root",
            );
        }
    }

    /// Tells all findings; whether none of them refuses.
    fn may(&mut self, findings: Vec<Finding>) -> bool {
        let refused = findings.iter().any(decide::refuses);
        for finding in findings {
            self.say(finding);
        }
        if refused {
            self.pass.report.fail(Fault::Unavailable);
        }
        !refused
    }

    fn say(&mut self, finding: Finding) {
        if !self.pass.report.findings.contains(&finding) {
            self.pass.report.findings.push(finding);
        }
    }

    fn did(&mut self, change: String) {
        (self.progress)(&change);
        self.pass.report.change(change);
    }

    fn warn(&mut self, peer: &NodeName, what: &str, remedy: &str) {
        let report = &mut self.pass.report;
        report.find(Severity::Warning, peer.as_str(), what, remedy);
    }

    fn fail(&mut self, fault: Fault, what: &str, remedy: &str) {
        let report = &mut self.pass.report;
        report.find(Severity::Failure, self.key.as_str(), what, remedy);
        report.fail(fault);
    }

    fn resume(&self) -> String {
        format!(
            "{} goes on",
            command!("f3skeys rotate {} --resume", self.key)
        )
    }
}
