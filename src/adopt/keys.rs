//! Gathers the facts of the key store: finds it, reads it, and tries its keys on the roots. The one
//! thing it changes is the store's metadata, after all keys are gone from memory.

use super::facts::{Proof, StoreFacts};
use super::find::{self, Disk, Found};
use super::gather::Gather;
use super::infer::named_key;
use crate::audit::log::Caller;
use crate::device::{Candidate, Filesystem};
use crate::exit::Fault;
use crate::key::Fingerprint;
use crate::names::{DatasetName, KeyName};
use crate::pass::ONE_CALL;
use crate::report::Severity;
use crate::sorted::{self, Map};
use crate::store::state::Standing;
use crate::store::work::Work;
use crate::store::{self, Keyring, Reading, Wanted};
use crate::zfs::{Answer, Dataset, KeyFormat, Try};
use std::path::Path;
use std::time::Duration;

/// The longest that reading the store may take, and that writing on it may.
const STORE: Duration = Duration::from_secs(60);

impl Gather<'_> {
    /// Finds the disk that the store is on.
    pub fn find_store(&mut self, given: Option<&Path>) -> Option<(Found, Vec<Candidate>)> {
        let candidates = match self.node.devices.scan(self.at_most(ONE_CALL)) {
            Ok(candidates) => candidates,
            Err(trouble) => {
                let remedy = "see what the kernel says of the stick";
                self.fail(
                    Fault::NoKeyDevice,
                    "key store",
                    &trouble.to_string(),
                    remedy,
                );
                return None;
            }
        };
        let mut disks = Vec::new();
        for candidate in &candidates {
            match self.node.devices.mounted_at(candidate) {
                Ok(mounted) => disks.push(Disk {
                    candidate: candidate.clone(),
                    mounted,
                }),
                Err(trouble) => {
                    let subject = candidate.node.display().to_string();
                    let remedy = "it is not taken for the key store";
                    self.find(Severity::Warning, &subject, &trouble.to_string(), remedy);
                }
            }
        }
        let roots: Vec<&Dataset> = self.facts.roots().collect();
        let places = find::places(&roots, &self.facts.fstab.lines, &candidates);
        match find::choose(given, &places, &disks) {
            Ok(found) => Some((found, candidates)),
            Err(not) => {
                self.fail(Fault::NoKeyDevice, "key store", &not.what, &not.remedy);
                None
            }
        }
    }

    /// Reads and verifies every key of the store, and notes what the store is.
    pub fn read_store(&mut self, found: &Found, disks: Vec<Candidate>) -> Option<Keyring> {
        let subject = found.candidate.node.display().to_string();
        let (filesystem, reading) = self.first_that_reads(found)?;
        if reading.gone {
            let remedy = "insert it again, then run `f3skeys adopt` again";
            let what = "the stick went away while it was read";
            self.fail(Fault::NoKeyDevice, &subject, what, remedy);
            return None;
        }
        for note in &reading.notes {
            self.find(Severity::Note, &subject, note, "");
        }
        match store::verify(Wanted::All, reading) {
            Ok(keyring) => {
                for stranger in &keyring.strangers {
                    self.stranger(&subject, stranger);
                }
                self.note_damage(&keyring);
                self.facts.store = Some(store_facts(found, filesystem, disks, &keyring));
                Some(keyring)
            }
            Err(unknown) => {
                let remedy = "nothing was touched";
                self.fail(Fault::Unavailable, &subject, &unknown.to_string(), remedy);
                None
            }
        }
    }

    /// A disk may carry the superblock of a former file system beside the present one.
    fn first_that_reads(&mut self, found: &Found) -> Option<(Filesystem, Reading)> {
        let device = &found.candidate;
        let mut troubles = Vec::new();
        for filesystem in &device.filesystems {
            let deadline = self.at_most(STORE);
            let at = &found.place.at;
            match self
                .node
                .devices
                .read(device, filesystem, at, Wanted::All, deadline)
            {
                Ok(reading) => return Some((filesystem.clone(), reading)),
                Err(trouble) => troubles.push(trouble.to_string()),
            }
        }
        let subject = device.node.display().to_string();
        let remedy = "look at the stick with `fsck`";
        self.fail(Fault::Unavailable, &subject, &troubles.join("; "), remedy);
        None
    }

    fn stranger(&mut self, subject: &str, path: &str) {
        let (what, remedy) = match path.contains('/') {
            false => (
                format!("{path} is not called OWNER:NAME.key, so it is no key to f3skeys"),
                "rename it if a root needs it",
            ),
            true => (format!("{path} is no file of f3skeys"), ""),
        };
        self.find(Severity::Note, subject, &what, remedy);
    }

    fn note_damage(&mut self, keyring: &Keyring) {
        let of_keys = keyring.keys.values().flat_map(|holding| &holding.damage);
        self.damage
            .extend(keyring.damage.iter().chain(of_keys).cloned());
    }

    /// Tries the keys on every raw root that was seen: first the one that `keylocation` names.
    pub fn prove(&mut self, keyring: &Keyring) {
        let roots: Vec<(DatasetName, Option<KeyName>)> = self
            .facts
            .roots()
            .filter(|root| root.key_format == KeyFormat::Raw)
            .map(|root| (root.name.clone(), named_key(root)))
            .collect();
        let mut silent: Map<String, String> = Map::new();
        for (root, named) in roots {
            let proof = match silent.get(root.pool()) {
                Some(why) => Proof::NotAsked(why.clone()),
                None => self.prove_root(&root, named.as_ref(), keyring, &mut silent),
            };
            self.facts.proofs.insert(root, proof);
        }
    }

    fn prove_root(
        &self,
        root: &DatasetName,
        named: Option<&KeyName>,
        keyring: &Keyring,
        silent: &mut Map<String, String>,
    ) -> Proof {
        let mut keys: Vec<_> = keyring.keys.iter().collect();
        sorted::sort_by_key(&mut keys, |(key, _)| named != Some(*key));
        let mut unanswered = None;
        for (name, holding) in keys {
            let tried = holding
                .generations
                .iter()
                .map(|g| (&g.key, Some(g.standing)));
            let unlisted = holding.unlisted.iter().map(|key| (key, None));
            for (key, standing) in tried.chain(unlisted) {
                let deadline = self.at_most(ONE_CALL);
                match self.node.zfs.try_key(root, key, Try::Probe, deadline) {
                    Answer::Opens => return opens(name, key.fingerprint(), standing),
                    Answer::WrongKey => {}
                    Answer::CouldNotAsk(trouble) if trouble.is_timeout() => {
                        silent.insert(root.pool().to_owned(), trouble.to_string());
                        return Proof::NotAsked(trouble.to_string());
                    }
                    Answer::CouldNotAsk(trouble) => unanswered = Some(trouble.to_string()),
                }
            }
        }
        unanswered.map_or(Proof::NoneOpens, Proof::NotAsked)
    }

    /// Takes plain keys into format 1. No key may be in memory any more.
    pub fn take_in(&mut self, found: &Found, wanted: bool) {
        if let (Some(store), true) = (self.facts.store.clone(), wanted) {
            let deadline = self.at_most(STORE);
            let subject = store.device.node.display().to_string();
            let at = &found.place.at;
            let disk = (&store.device, &store.filesystem);
            let caller = Caller::here("adopt");
            let (worked, unlogged) = caller.work(self.node, disk, at, &Work::TakeIn, deadline);
            self.facts.findings.extend(unlogged);
            match worked {
                Ok(worked) => {
                    if let Some(store) = &mut self.facts.store {
                        store.id = worked.store.clone();
                    }
                    let did = worked.did.iter().map(|did| format!("{subject}: {did}"));
                    self.changed.extend(did);
                    self.damage = worked.left.into_iter().collect();
                    for note in &worked.notes {
                        self.find(Severity::Note, &subject, note, "");
                    }
                }
                Err(trouble) => {
                    let what = format!("the keys stay without fingerprints: {trouble}");
                    let remedy = "the configuration works all the same; for a store that notices damage run `f3skeys adopt` where the stick can be written";
                    self.find(Severity::Warning, &subject, &what, remedy);
                }
            }
        }
        for damage in std::mem::take(&mut self.damage) {
            let remedy = "`f3skeys verify --repair`, or bring the key from another stick";
            self.fail(Fault::BadKey, &damage.path, &damage.what, remedy);
        }
    }
}

fn opens(name: &KeyName, fingerprint: Fingerprint, standing: Option<Standing>) -> Proof {
    let key = name.clone();
    match standing {
        Some(standing) => Proof::Opens {
            key,
            fingerprint,
            standing,
        },
        None => Proof::OpensUnlisted(key),
    }
}

/// Whether there are keys that no fingerprint on the store vouches for.
pub fn has_plain_keys(keyring: &Keyring) -> bool {
    let mut generations = keyring.keys.values().flat_map(|h| &h.generations);
    generations.any(|generation| !generation.verified)
}

fn store_facts(
    found: &Found,
    filesystem: Filesystem,
    disks: Vec<Candidate>,
    keyring: &Keyring,
) -> StoreFacts {
    StoreFacts {
        device: found.candidate.clone(),
        filesystem,
        id: keyring.store.clone(),
        mountpoint: found.place.at.clone(),
        mountpoint_why: found.place.why.clone(),
        disks,
        keys: keyring
            .keys
            .iter()
            .filter(|(_, holding)| !holding.generations.is_empty())
            .map(|(key, _)| key.clone())
            .collect(),
    }
}
