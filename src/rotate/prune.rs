//! `f3skeys prune`: takes a generation off this node's store, by the word of a person here who names
//! it. Its owner decides that it may go; on each other store a person then does the same. No peer can
//! ask for it.

use super::facts::{Facts, Own, PeerFacts};
use super::{Rotated, Run, at_work, look};
use crate::config::Config;
use crate::foreign::add_line;
use crate::key::{Fingerprint, Key};
use crate::names::{DatasetName, KeyName};
use crate::pass::{Node, ONE_CALL, Pass};
use crate::peers::Opens;
use crate::plan::Pool;
use crate::report::{Finding, Findings, Severity};
use crate::shell::command;
use crate::sorted::Set;
use crate::store::state::{Generation, Standing};
use crate::store::work::{self, Work};
use crate::time::Deadline;
use crate::zfs::{Answer, KeyFormat, Try};

/// The fewest digits that name a generation: as many as are shown.
const FEWEST_DIGITS: usize = 8;

/// What a root that does not use the key, or a pool, says of one generation.
pub type Other = (String, Result<bool, String>);

/// Takes the named generation off the store; without a name, says of each what would become of it.
pub fn prune(
    node: Node,
    config: &Config,
    key: &KeyName,
    generation: Option<&str>,
    progress: &dyn Fn(&str),
) -> Rotated {
    let pass = Pass::begin("prune", node, config);
    let only_shows = generation.is_none();
    at_work(pass, (key, None), only_shows, progress, |run, facts| {
        match generation {
            None => return run.prunable(&facts),
            Some(digits) => run.prune(&facts, digits),
        }
        String::new()
    })
}

impl Run<'_, '_> {
    fn prune(&mut self, facts: &Facts, digits: &str) {
        let own = match own(facts) {
            Ok(own) => own,
            Err(finding) => return self.refuse(finding),
        };
        let generation = match named(own, digits) {
            Ok(generation) => generation.clone(),
            Err(what) => {
                let remedy = format!("{} shows them", command!("f3skeys prune {}", self.key));
                let finding = Finding::new(Severity::Failure, self.key.as_str(), &what, &remedy);
                return self.refuse(finding);
            }
        };
        let others = self.others(facts, generation.fingerprint);
        if !self.may(why_not(facts, &generation, &others)) {
            return;
        }
        let asked = Work::Prune(work::Prune {
            key: self.key.clone(),
            fingerprint: generation.fingerprint,
            by_owner: is_owner(facts),
        });
        let Some(worked) = self.work(asked) else {
            return;
        };
        for change in worked.did {
            self.did(change);
        }
        let list: Vec<Generation> = worked.held.into_iter().map(|h| h.generation).collect();
        if is_owner(facts) {
            self.tell_peers(facts, &list);
        }
        for finding in gone(facts, &generation) {
            self.say(finding);
        }
    }

    fn refuse(&mut self, finding: Finding) {
        self.may(vec![finding]);
    }

    /// Every generation, and why it stays or what would go with it.
    fn prunable(&mut self, facts: &Facts) -> String {
        let own = match own(facts) {
            Ok(own) => own,
            Err(finding) => {
                self.refuse(finding);
                return String::new();
            }
        };
        let mut text = String::new();
        add_line!(text, "{} on {}", facts.key, facts.node);
        for generation in &own.list {
            let print = generation.fingerprint;
            let gone = generation.state == Standing::Pruned && !own.whole.contains(&print);
            // What stays anyway, or is gone, is not asked about.
            let others = match gone || generation.state.is_tried() {
                true => Vec::new(),
                false => self.others(facts, print),
            };
            add_line!(
                text,
                "  generation {} {print}: {}",
                generation.generation,
                generation.state
            );
            let why = why_not(facts, generation, &others);
            match why.first() {
                _ if gone => text += "    is not on this store any more\n",
                Some(why) => {
                    add_line!(text, "    stays: {}: {}", why.subject, why.what);
                }
                None => {
                    let key = &facts.key;
                    let command =
                        command!("f3skeys prune {} --generation {}", key, print.to_string());
                    add_line!(
                        text,
                        "    opens nothing that could be asked; {command} takes it off this store\n    {}",
                        LOST
                    );
                }
            }
        }
        text
    }

    /// What the roots of all imported pools that are not this key's say of a generation: a person may
    /// have given it to one that no configuration names.
    fn others(&mut self, facts: &Facts, print: Fingerprint) -> Vec<Other> {
        let pools = match self.observe_imported() {
            Ok(pools) => pools,
            Err(why) => return vec![("pools".to_owned(), Err(why))],
        };
        let mut said = Vec::new();
        let mut roots = Vec::new();
        for name in &pools {
            match self.pass.observed.pools.get(name) {
                Some(Pool::Seen(_) | Pool::NotImported) => {}
                Some(Pool::Suspended) => said.push((name.clone(), Err("is suspended".to_owned()))),
                Some(Pool::NotSeen(why)) => said.push((name.clone(), Err(why.clone()))),
                None => said.push((name.clone(), Err("was not looked at".to_owned()))),
            }
        }
        said.extend(pools.iter().filter_map(|pool| self.checkpoint(pool)));
        for damaged in self.pass.observed.damaged.values() {
            let ours = facts.roots.iter().any(|root| root.dataset == damaged.name);
            if !ours {
                said.push((damaged.name.to_string(), Err(damaged.to_string())));
            }
        }
        for dataset in self.pass.observed.datasets() {
            let is_root = dataset.encryption_root.as_ref() == Some(&dataset.name);
            let is_ours = facts.roots.iter().any(|root| root.dataset == dataset.name);
            if is_root && !is_ours && dataset.key_format == KeyFormat::Raw {
                roots.push(dataset.name.clone());
            }
        }
        match look::read(self.pass, self.key) {
            Err(why) => said.push((self.key.to_string(), Err(why))),
            // Without its bytes nothing can be asked, and nothing can be lost either.
            Ok(store) => {
                if let Some(key) = store.copies.good.get(&print) {
                    said.extend(roots.iter().map(|root| self.asked(root, key)));
                }
            }
        }
        said
    }

    fn observe_imported(&mut self) -> Result<Set<String>, String> {
        let deadline = Deadline::after(self.pass.clock(), ONE_CALL);
        let imported = self.pass.node.zfs.pools(deadline);
        let imported = imported.map_err(|trouble| trouble.to_string())?;
        for pool in &imported {
            if !self.pass.observed.pools.contains_key(pool) {
                let deadline = Deadline::after(self.pass.clock(), ONE_CALL);
                self.pass.observe(pool, deadline);
            }
        }
        Ok(imported.into_iter().collect())
    }

    /// What a pool's checkpoint needs, nobody can ask.
    fn checkpoint(&self, pool: &str) -> Option<Other> {
        if !matches!(self.pass.observed.pools.get(pool), Some(Pool::Seen(_))) {
            return None;
        }
        let deadline = Deadline::after(self.pass.clock(), ONE_CALL);
        let why = match self.pass.node.zfs.has_checkpoint(pool, deadline) {
            Ok(false) => return None,
            Ok(true) => format!(
                "it has a checkpoint, and that cannot be asked; {} discards it",
                command!("zpool checkpoint -d {}", pool)
            ),
            Err(trouble) => trouble.to_string(),
        };
        Some((pool.to_owned(), Err(why)))
    }

    fn asked(&self, root: &DatasetName, key: &Key) -> Other {
        let deadline = Deadline::after(self.pass.clock(), ONE_CALL);
        let answer = match self.pass.node.zfs.try_key(root, key, Try::Probe, deadline) {
            Answer::Opens => Ok(true),
            Answer::WrongKey => Ok(false),
            Answer::CouldNotAsk(trouble) => Err(trouble.to_string()),
        };
        (root.to_string(), answer)
    }
}

const LOST: &str = "what only it opens stays locked then: pools that are not imported, split mirrors, disks and saved streams of its time";

fn is_owner(facts: &Facts) -> bool {
    facts.key.owner() == facts.node.as_str()
}

fn own(facts: &Facts) -> Result<&Own, Finding> {
    facts.store.as_ref().map_err(|why| {
        let what = format!("the key store could not be read: {why}");
        let key = facts.key.as_str();
        Finding::new(
            Severity::Failure,
            key,
            &what,
            "make it readable (`f3skeys verify` says more), then try again",
        )
    })
}

/// The one generation whose fingerprint begins with these digits.
fn named<'a>(own: &'a Own, digits: &str) -> Result<&'a Generation, String> {
    if digits.len() < FEWEST_DIGITS {
        return Err(format!(
            "`{digits}` is too short; {FEWEST_DIGITS} digits name a generation"
        ));
    }
    let is_meant = |g: &&Generation| g.fingerprint.hex().starts_with(digits);
    let mut meant = own.list.iter().filter(is_meant);
    match (meant.next(), meant.next()) {
        (Some(generation), None) => Ok(generation),
        (Some(_), Some(_)) => Err(format!(
            "`{digits}` is the beginning of several fingerprints"
        )),
        (None, _) => Err(format!("has no generation `{digits}`")),
    }
}

/// Why a generation stays; empty when it may go. Whoever does not answer may need it.
pub fn why_not(facts: &Facts, generation: &Generation, others: &[Other]) -> Vec<Finding> {
    let mut said = Findings::default();
    standing(facts, generation, &mut said);
    let print = generation.fingerprint;
    for root in &facts.roots {
        opened(root.dataset.as_str(), &root.opens, print, &mut said);
    }
    for (subject, answer) in others {
        match answer {
            Ok(false) => {}
            Ok(true) => is_needed(subject, print, &mut said),
            Err(why) => not_asked(subject, why, &mut said),
        }
    }
    if is_owner(facts) {
        for peer in &facts.peers {
            on_peer(peer, print, &mut said);
        }
    }
    said.0
}

fn standing(facts: &Facts, generation: &Generation, said: &mut Findings) {
    let key = facts.key.as_str();
    let subject = format!("{} of {key}", generation.fingerprint);
    let resume = format!(
        "{}, or `--abort`",
        command!("f3skeys rotate {} --resume", key)
    );
    let retire = format!("{} first", command!("f3skeys rotate {} --retire", key));
    match generation.state {
        Standing::Current => said.fail(&subject, "is the current generation", "rotate it first"),
        Standing::Staged => said.fail(&subject, "a rotation to it is open", &resume),
        Standing::Retained => said.fail(&subject, "is tried by boots still", &retire),
        Standing::Retired if !is_owner(facts) => said.fail(
            &subject,
            &format!("{} has not pruned it", facts.key.owner()),
            "`f3skeys prune` there first: only a key's owner decides",
        ),
        Standing::Retired | Standing::Pruned => {}
    }
}

fn opened(subject: &str, opens: &Opens, print: Fingerprint, said: &mut Findings) {
    match opens {
        Opens::By(by) if *by == print => is_needed(subject, print, said),
        // Every whole generation of this store was tried.
        Opens::By(_) | Opens::NoKey => {}
        Opens::CouldNotAsk(why) => not_asked(subject, why, said),
    }
}

fn is_needed(subject: &str, print: Fingerprint, said: &mut Findings) {
    let what = format!("is opened by {print}, and by no other key of it");
    said.fail(subject, &what, "it stays as long as anything needs it");
}

fn not_asked(subject: &str, why: &str, said: &mut Findings) {
    let what = format!("not known which key opens it: {why}");
    said.fail(subject, &what, "mend that, then try again");
}

fn on_peer(peer: &PeerFacts, print: Fingerprint, said: &mut Findings) {
    let told = match &peer.told {
        Ok(told) => told,
        Err(why) => {
            let what = format!("may need it, and does not answer: {why}");
            let remedy = "bring it up, or take it out of `peers`";
            return said.fail(peer.name.as_str(), &what, remedy);
        }
    };
    for replica in &peer.replicas {
        let subject = format!("{replica} on {}", peer.name);
        let root = told.roots.iter().find(|root| root.dataset == *replica);
        match root.map(|root| &root.opens) {
            Some(Opens::By(by)) if *by != print => {}
            Some(Opens::By(_)) => is_needed(&subject, print, said),
            Some(Opens::CouldNotAsk(why)) => not_asked(&subject, why, said),
            // It may need a copy that only another store has.
            Some(Opens::NoKey) | None => {
                let what = "nothing on its store opens it";
                said.fail(&subject, what, "it may need this one; find out first");
            }
        }
    }
}

/// What went with it, and who has it still.
fn gone(facts: &Facts, generation: &Generation) -> Vec<Finding> {
    let print = generation.fingerprint;
    let key = facts.key.as_str();
    let note = |subject: &str, what: &str| Finding::new(Severity::Note, subject, what, "");
    let mut notes = vec![
        note(key, &format!("{print} is off this store: {LOST}")),
        note(
            key,
            "the stick's own memory may keep its bytes for long: destroy a stick that must not be read",
        ),
    ];
    for peer in &facts.peers {
        let held = peer.told.iter().flat_map(|told| &told.held);
        if held
            .filter(|held| held.whole)
            .any(|held| held.generation.fingerprint == print)
        {
            let what = format!(
                "holds {print} still; {} there takes it off",
                command!("f3skeys prune {} --generation {}", key, print.to_string())
            );
            notes.push(note(peer.name.as_str(), &what));
        }
    }
    notes
}
