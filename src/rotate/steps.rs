//! The steps of a rotation: what is begun, gone on with, given up and retired, in which order.

use super::facts::{Facts, Own, RootFacts};
use super::record::Record;
use super::{Run, decide, look, tell};
use crate::exit::Fault;
use crate::key::Fingerprint;
use crate::names::DatasetName;
use crate::report::Severity;
use crate::sorted::Map;
use crate::store::state::{Generation, Standing};
use crate::store::survey::Copies;
use crate::store::work::Work;

impl Run<'_, '_> {
    pub(super) fn start(&mut self, facts: Facts, take_over: bool) {
        if !self.may(decide::start(&facts, take_over)) {
            return;
        }
        // Before the new generation is there: only so does this note prove that no key was changed.
        let record = Record {
            changing: false,
            take_over,
            locations: locations(&facts),
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
        let facts = self.look();
        self.go_on(facts, take_over);
    }

    /// From wherever it stands to the end, as far as it goes.
    pub(super) fn go_on(&mut self, facts: Facts, take_over: bool) {
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
        if self.pass.report.fault.is_none() {
            self.forget();
        }
        self.tell_peers(&facts, &list);
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
                    true => self.look(),
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
        if !self.hand_over(facts, own, target) {
            return false;
        }
        // Once every root is changed only the labels are left, and those wait for nobody.
        if left.is_empty() {
            return self.may(decide::copies_at_the_end(facts, target));
        }
        let record = self.record(facts, left);
        if !self.may(decide::copies(facts, target)) {
            return false;
        }
        let copies = self.read();
        copies.is_some_and(|copies| self.change_roots(left, target, &copies, record))
    }

    /// Reads the key from this node's store.
    fn read(&mut self) -> Option<Copies> {
        match look::read(self.pass, self.key) {
            Ok(store) => Some(store.copies),
            Err(why) => {
                self.fail(Fault::NoKeyDevice, &why, &self.resume());
                None
            }
        }
    }

    /// Gives the peers what they lack. The lock is given back meanwhile, so that one that says nothing
    /// keeps it from nobody; whether all is here as it was before, and the rotation may go on.
    fn hand_over(&mut self, facts: &mut Facts, own: &Own, target: Fingerprint) -> bool {
        if !facts.peers.iter().any(|peer| peer.lacks(own, target)) {
            return true;
        }
        let Some(copies) = self.read() else {
            return false;
        };
        self.lock = None;
        for peer in &mut facts.peers {
            self.copy(peer, own, target, &copies);
        }
        // Its bytes go before the store is read again: no worker is started with a key in memory.
        drop(copies);
        if !self.lock_again() {
            return false;
        }
        let now = self.look();
        let is_same = facts.is_same_here(&now);
        if !is_same {
            let what = "the store, a root or the note of the rotation was changed by somebody else while the peers were asked";
            self.fail(Fault::Unavailable, what, &self.resume());
        }
        is_same
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

    pub(super) fn abort(&mut self, facts: Facts) {
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
            self.forget();
            self.tell_peers(&facts, &list);
        }
    }

    pub(super) fn retire(&mut self, facts: Facts) {
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
}

/// Where the keys of the roots that are to be changed are looked for now.
fn locations(facts: &Facts) -> Map<DatasetName, String> {
    let with = |root: &RootFacts| Some((root.dataset.clone(), location(root)?));
    facts.primaries().filter_map(with).collect()
}

/// Only what is not `prompt` is ever to be put back.
fn location(root: &RootFacts) -> Option<String> {
    let location = root.seen.as_ref().ok()?.location.clone()?;
    (location != "prompt").then_some(location)
}
