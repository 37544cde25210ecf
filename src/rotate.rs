//! `f3skeys rotate`: another key for every root that uses one, so that at any instant, whatever is
//! killed, every root and every replica is opened by a key that lies on its node's store.
//!
//! The new generation is staged on this node's store, then proven to be on the stores of the peers,
//! and only then is the key of a root changed. What is so is found by asking ZFS with every
//! generation, never by trusting a note. Nothing is ever removed.

pub mod decide;
pub mod facts;
mod look;
pub mod prune;
mod record;
pub mod tell;

use crate::audit::log::Caller;
use crate::boot;
use crate::config::Config;
use crate::exit::Fault;
use crate::handover::{self, Handing, is_same};
use crate::key::{Fingerprint, Key};
use crate::names::{DatasetName, KeyName, NodeName};
use crate::pass::{Node, Pass};
use crate::peers::KeyTold;
use crate::report::{Finding, Report, Severity};
use crate::sorted::{Map, Set};
use crate::store::state::{Generation, Standing};
use crate::store::survey::Copies;
use crate::store::work::{Merge, Work, Worked};
use crate::time::Deadline;
use crate::trouble::Trouble;
use crate::verify::WRITE_STORE;
use crate::zfs::{Answer, Try};
use facts::{Facts, Own, PeerFacts, RootFacts};
use record::Record;
use std::time::Duration;

/// The longest that all of it may take: nobody waits for a boot meanwhile.
const WHOLE: Duration = Duration::from_secs(3600);
/// The longest that changing one key may take: it waits for the pool to write.
const CHANGE: Duration = Duration::from_secs(60);

/// What is to be done about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Begin a rotation and go through with it.
    Start {
        /// Also give the new key to loaded roots that no key of the store opens.
        take_over: bool,
    },
    /// Say what beginning would do, or why it is refused.
    Plan {
        /// As for [`What::Start`].
        take_over: bool,
    },
    /// Say how things stand.
    Status,
    /// Go on with what was begun.
    Resume {
        /// As for [`What::Start`]; needed when the note of the rotation is lost.
        take_over: bool,
    },
    /// Give up a rotation that has changed no key yet.
    Abort,
    /// Let boots no longer try what was replaced, once nothing needs it.
    Retire,
}

impl What {
    /// Whether nothing is changed.
    pub fn only_shows(self) -> bool {
        matches!(self, What::Plan { .. } | What::Status)
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
    at_work(pass, key, what.only_shows(), progress, |run, facts| {
        match what {
            What::Start { take_over } => run.start(facts, take_over),
            What::Resume { take_over } => run.go_on(facts, take_over),
            What::Abort => run.abort(facts),
            What::Retire => run.retire(facts),
            What::Status => return tell::status(&facts),
            What::Plan { take_over } if run.may(decide::start(&facts, take_over)) => {
                return tell::plan(&facts);
            }
            What::Plan { .. } => {}
        }
        String::new()
    })
}

/// One piece of work on a key: under the lock, on what is so now, and reported. Its text is for
/// standard output; the report of what only shows something is not kept.
fn at_work<'a>(
    mut pass: Pass<'a>,
    key: &'a KeyName,
    only_shows: bool,
    progress: &dyn Fn(&str),
    job: impl FnOnce(&mut Run<'_, 'a>, Facts) -> String,
) -> Rotated {
    pass.deadline = Deadline::after(pass.clock(), WHOLE);
    let mut text = String::new();
    if let Some(_lock) = pass.lock() {
        let facts = look::look(&mut pass, key);
        let mut run = Run {
            pass: &mut pass,
            key,
            progress,
        };
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

/// A rotation at work, under the lock.
struct Run<'p, 'a> {
    pass: &'p mut Pass<'a>,
    key: &'a KeyName,
    progress: &'p dyn Fn(&str),
}

impl Run<'_, '_> {
    fn start(&mut self, facts: Facts, take_over: bool) {
        if !self.may(decide::start(&facts, take_over)) {
            return;
        }
        // Before the new generation is there: only so does this note prove that no key was changed.
        let record = Record {
            changing: false,
            take_over,
            locations: locations(&facts.roots),
        };
        if !self.keep(&record) {
            return;
        }
        let Some(worked) = self.work(Work::Stage(self.key.clone())) else {
            return;
        };
        for held in worked
            .held
            .iter()
            .filter(|h| h.generation.state == Standing::Staged)
        {
            let Generation {
                generation,
                fingerprint,
                ..
            } = &held.generation;
            self.did(format!(
                "staged generation {generation} of {}, {fingerprint}",
                self.key
            ));
        }
        let facts = look::look(self.pass, self.key);
        self.go_on(facts, take_over);
    }

    /// From wherever it stands to the end, as far as it goes.
    fn go_on(&mut self, facts: Facts, take_over: bool) {
        let mut facts = self.mended(facts);
        if !self.may(decide::go_on(&facts, take_over)) {
            return;
        }
        let Ok(own) = facts.store.clone() else { return };
        let Some(target) = own.target().map(|target| target.fingerprint) else {
            return;
        };
        let is_open = own.with(Standing::Staged).is_some();
        let left = decide::to_change(&facts, target);
        if (is_open || !left.is_empty()) && !self.changed(&mut facts, &own, target, &left) {
            return;
        }
        self.put_back(&facts);
        let list = match is_open {
            true => self.commit(&own, target),
            false => Some(own.list),
        };
        let Some(list) = list else { return };
        self.tell_peers(&facts, &list);
        if self.pass.report.fault.is_none() {
            self.forget();
        }
        if is_open {
            for finding in tell::what_the_old_opens(&facts, &list) {
                self.say(finding);
            }
        }
    }

    /// A cut write may have left the copy at the top behind the list; the list itself is whole.
    fn mended(&mut self, facts: Facts) -> Facts {
        match &facts.store {
            Ok(own) if !own.damage.is_empty() && !own.list.is_empty() => {
                match self.merge(own.list.clone()) {
                    true => look::look(self.pass, self.key),
                    false => facts,
                }
            }
            _ => facts,
        }
    }

    /// Copies first, then every root that is left; whether all of it was done.
    fn changed(
        &mut self,
        facts: &mut Facts,
        own: &Own,
        target: Fingerprint,
        left: &[RootFacts],
    ) -> bool {
        let copies = match look::read(self.pass, self.key) {
            Ok((copies, _)) => copies,
            Err(why) => {
                self.fail(Fault::NoKeyDevice, &why, &self.resume());
                return false;
            }
        };
        for peer in &mut facts.peers {
            self.copy(peer, own, target, &copies);
        }
        // Once every root is changed only the labels are left, and those wait for nobody.
        if left.is_empty() {
            return true;
        }
        let record = self.record(facts, left);
        self.may(decide::copies(facts, target)) && self.change_roots(left, target, &copies, record)
    }

    /// The note of this rotation, as it is to be kept before the first key may be changed.
    fn record(&mut self, facts: &Facts, left: &[RootFacts]) -> Record {
        let mut record = match &facts.record {
            Ok(record) => record.clone().unwrap_or_default(),
            Err(why) => {
                let why = format!("the note of the rotation cannot be read: {why}");
                self.pass
                    .report
                    .find(Severity::Warning, self.key.as_str(), &why, "");
                Record::default()
            }
        };
        for root in left {
            if let Some(location) = location(root) {
                let known = record.locations.entry(root.dataset.clone());
                known.or_insert(location);
            }
        }
        record
    }

    /// Gives a peer that answers the list and what it lacks of it.
    fn copy(&mut self, peer: &mut PeerFacts, own: &Own, target: Fingerprint, copies: &Copies) {
        let Ok(told) = &peer.told else { return };
        if peer.proven.contains(&target) && is_same(told, &own.list) {
            return;
        }
        match self.put(peer, told, &own.list, Some(copies)) {
            Ok((told, proven)) => {
                match proven.contains(&target) {
                    true => self.did(format!("{} holds {target}, proven", peer.name)),
                    false => {
                        let what = format!("took {target} and did not prove that it holds it");
                        self.warn(&peer.name, &what, "`f3skeys verify` there");
                    }
                }
                peer.told = Ok(told);
                peer.proven = proven;
            }
            Err(trouble) => {
                let why = trouble.of(peer.name.as_str());
                let what = format!("did not take {target}: {why}");
                self.warn(&peer.name, &what, "mend that; `--resume` tries again");
            }
        }
    }

    /// Sends a peer the list, with the bytes of what it lacks; gives what it says then, and what it
    /// has proven to hold.
    fn put(
        &mut self,
        peer: &PeerFacts,
        told: &KeyTold,
        list: &[Generation],
        copies: Option<&Copies>,
    ) -> Result<(KeyTold, Set<Fingerprint>), Trouble> {
        let mut peers = self.pass.config.peers.iter();
        let to = peers.find(|one| one.name == peer.name);
        let to = to.ok_or_else(|| Trouble::failed(peer.name.as_str(), "is no peer"))?;
        let Handing { ask, keys, nonce } = handover::handing(self.key, told, list, copies)?;
        let told = handover::ask(self.pass, to, ask, &keys)?;
        let proven = copies.map(|copies| handover::proven(&told, &nonce, copies));
        Ok((told, proven.unwrap_or_default()))
    }

    /// Changes the key of each root that is left, as long as all goes well.
    fn change_roots(
        &mut self,
        left: &[RootFacts],
        target: Fingerprint,
        copies: &Copies,
        mut record: Record,
    ) -> bool {
        let Some(key) = copies.good.get(&target) else {
            self.fail(
                Fault::BadKey,
                "its new bytes cannot be read any more",
                "`f3skeys verify --repair`",
            );
            return false;
        };
        // From here on nobody may take the new generation away.
        record.changing = true;
        if !self.keep(&record) {
            return false;
        }
        left.iter().all(|root| {
            let location = record.locations.get(&root.dataset);
            self.change_root(&root.dataset, key, location.map(String::as_str))
        })
    }

    /// Changes the key of one root; whether it opens it then is for ZFS to say.
    fn change_root(&mut self, root: &DatasetName, key: &Key, location: Option<&str>) -> bool {
        let zfs = self.pass.node.zfs;
        let changed = zfs.change_key(root, key, Deadline::after(self.pass.clock(), CHANGE));
        let deadline = Deadline::after(self.pass.clock(), CHANGE);
        let why = match (zfs.try_key(root, key, Try::Probe, deadline), changed) {
            (Answer::Opens, _) => {
                self.did(format!(
                    "changed the key of {root} to {}",
                    key.fingerprint()
                ));
                if let Some(location) = location {
                    self.locate(root, location);
                }
                return true;
            }
            (Answer::WrongKey, Ok(())) => "ZFS took the key and is not opened by it".to_owned(),
            (Answer::WrongKey, Err(trouble)) => trouble.to_string(),
            (Answer::CouldNotAsk(trouble), _) => {
                format!("not known whether its key was changed: {trouble}")
            }
        };
        let remedy = format!(
            "the store holds both keys, so a boot opens it; {}",
            self.resume()
        );
        let report = &mut self.pass.report;
        report.find(Severity::Failure, root.as_str(), &why, &remedy);
        report.fail(Fault::Unavailable);
        false
    }

    /// Puts back every `keylocation` that a change of the key has left as `prompt`.
    fn put_back(&mut self, facts: &Facts) {
        let Ok(Some(record)) = &facts.record else {
            return;
        };
        for root in &facts.roots {
            let now = root
                .seen
                .as_ref()
                .ok()
                .and_then(|seen| seen.location.as_deref());
            if let (Some("prompt"), Some(before)) = (now, record.locations.get(&root.dataset)) {
                self.locate(&root.dataset, before);
            }
        }
    }

    fn locate(&mut self, root: &DatasetName, location: &str) {
        let deadline = Deadline::after(self.pass.clock(), CHANGE);
        match self
            .pass
            .node
            .zfs
            .set_key_location(root, location, deadline)
        {
            Ok(()) => self.did(format!("put back keylocation={location} on {root}")),
            Err(trouble) => {
                let what = format!("its keylocation was {location} and is `prompt` now: {trouble}");
                let remedy = self.resume();
                let report = &mut self.pass.report;
                report.find(Severity::Failure, root.as_str(), &what, &remedy);
                report.fail(Fault::Unavailable);
            }
        }
    }

    /// The new generation becomes the current one here; gives the new list.
    fn commit(&mut self, own: &Own, target: Fingerprint) -> Option<Vec<Generation>> {
        let list = own.restood(|standing| match standing {
            Standing::Staged => Standing::Current,
            Standing::Current => Standing::Retained,
            other => other,
        });
        self.merge(list.clone()).then(|| {
            let change = format!("{target} is the current generation of {}", self.key);
            self.did(change);
            list
        })
    }

    fn abort(&mut self, facts: Facts) {
        if !self.may(decide::abort(&facts)) {
            return;
        }
        let Ok(own) = &facts.store else { return };
        let list = own.restood(|standing| match standing {
            Standing::Staged => Standing::Retired,
            other => other,
        });
        if self.merge(list.clone()) {
            self.did(format!(
                "gave up the rotation of {}; what was staged is retired",
                self.key
            ));
            self.tell_peers(&facts, &list);
            self.forget();
        }
    }

    fn retire(&mut self, facts: Facts) {
        if !self.may(decide::retire(&facts)) {
            return;
        }
        let Ok(own) = &facts.store else { return };
        if own.with(Standing::Retained).is_none() {
            return self.tell_peers(&facts, &own.list);
        }
        let list = own.restood(|standing| match standing {
            Standing::Retained => Standing::Retired,
            other => other,
        });
        if self.merge(list.clone()) {
            for gone in own.list.iter().filter(|g| g.state == Standing::Retained) {
                self.did(format!("retired {} of {}", gone.fingerprint, self.key));
            }
            self.tell_peers(&facts, &list);
        }
    }

    /// Gives the list to every peer that has another one.
    fn tell_peers(&mut self, facts: &Facts, list: &[Generation]) {
        for peer in &facts.peers {
            let Ok(told) = &peer.told else { continue };
            // One that holds nothing of it gets it with the bytes, not with the list alone.
            if told.held.is_empty() || is_same(told, list) {
                continue;
            }
            let known = |g: &&Generation| {
                let mut held = told.held.iter();
                held.any(|held| held.generation.fingerprint == g.fingerprint)
            };
            let told_list: Vec<Generation> = list.iter().filter(known).cloned().collect();
            match self.put(peer, told, &told_list, None) {
                Ok(_) => self.did(format!("told {}", peer.name)),
                Err(trouble) => {
                    let why = trouble.of(peer.name.as_str());
                    let what = format!("was not told how the generations stand: {why}");
                    let remedy = format!("its boots work all the same; {}", self.resume());
                    self.warn(&peer.name, &what, &remedy);
                }
            }
        }
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
            Err(why) => {
                let remedy = format!("insert the stick; {}", self.resume());
                self.fail(
                    Fault::NoKeyDevice,
                    &format!("the key device: {why}"),
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
        self.pass.report.changed.push(change);
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
        format!("`f3skeys rotate {} --resume` goes on", self.key)
    }
}

/// Where the keys of these roots are looked for now.
fn locations(roots: &[RootFacts]) -> Map<DatasetName, String> {
    let with = |root: &RootFacts| Some((root.dataset.clone(), location(root)?));
    roots.iter().filter_map(with).collect()
}

/// Only what is not `prompt` is ever to be put back.
fn location(root: &RootFacts) -> Option<String> {
    let location = root.seen.as_ref().ok()?.location.clone()?;
    (location != "prompt").then_some(location)
}
