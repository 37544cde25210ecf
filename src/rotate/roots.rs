//! The only place where the key of a root is changed.

use super::Run;
use super::facts::{Facts, RootFacts};
use super::record::Record;
use crate::exit::Fault;
use crate::key::{Fingerprint, Key};
use crate::names::DatasetName;
use crate::report::Severity;
use crate::store::survey::Copies;
use crate::time::Deadline;
use crate::zfs::{Answer, Try};
use std::time::Duration;

/// The longest that changing one key may take: it waits for the pool to write.
const CHANGE: Duration = Duration::from_secs(60);

impl Run<'_, '_> {
    /// Changes the key of each root that is left, as long as all goes well.
    pub(super) fn change_roots(
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
    pub(super) fn put_back(&mut self, facts: &Facts) {
        let Ok(Some(record)) = &facts.record else {
            return;
        };
        for root in facts.primaries() {
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
}
