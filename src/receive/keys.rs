//! What a peer may ask about its own keys, and have written: how they stand on this node's store,
//! what opens this node's roots with them, and new generations. No key byte ever goes back.

use super::{Refused, budget, complain, is_replica_of, ledger, owns, rebuild};
use crate::audit::log::Caller;
use crate::boot;
use crate::config::{Config, Root};
use crate::device::{Candidate, Filesystem};
use crate::exit::{Fault, REFUSED};
use crate::key::{Key, Nonce};
use crate::marker;
use crate::names::{DatasetName, KeyName, NodeName};
use crate::os::Intake;
use crate::pass::{Node, ONE_CALL, Pass};
use crate::peers::{Kept, KeyTold, Opens, Put, RootTold, Vouched};
use crate::plan::Pool;
use crate::statement::Statement;
use crate::store::merge::Over;
use crate::store::survey::{Copies, Survey, survey};
use crate::store::work::{Given, Held, Work, Worked};
use crate::store::{self, Reading, Wanted, accept, merge};
use crate::time::Deadline;
use crate::trouble::Trouble;
use crate::zfs::{Answer, Dataset, Try};
use std::time::Duration;

/// How a key stands here: what the store holds of it, and what opens the roots that use it.
pub(super) fn tell(
    node: Node,
    config: &Config,
    from: &NodeName,
    (key, nonce): (&KeyName, &Nonce),
    deadline: Deadline,
) -> Result<KeyTold, Refused> {
    ledger::count(node, from)?;
    let (store, copies) = look(node, config, key, deadline)?;
    let over = store.as_deref().map(|store| Over {
        nonce,
        prover: &config.node,
        store,
    });
    let held = merge::held(&copies, over);
    let challenge = challenge(node, from, key, &held)?;
    let sound = copies.damage.is_empty();
    let usable = store::holding(copies).generations;
    let keys: Vec<&Key> = usable.iter().map(|generation| &generation.key).collect();
    Ok(KeyTold {
        store: store.unwrap_or_default(),
        held,
        sound,
        // What opens what is the owner's business alone.
        roots: match owns(from, key) {
            true => ask_roots(node, config, (from, key), &keys, deadline),
            false => Vec::new(),
        },
        challenge,
        kept: Vec::new(),
    })
}

/// The number over which the owner may vouch for its next list, where there is anything to vouch with.
fn challenge(
    node: Node,
    from: &NodeName,
    key: &KeyName,
    held: &[Held],
) -> Result<Option<Nonce>, Refused> {
    match owns(from, key) && held.iter().any(|held| held.whole) {
        true => ledger::number(node, from, key).map(Some),
        false => Ok(None),
    }
}

/// Reads what the store holds of a key, under the lock; and the store's identity.
fn look(
    node: Node,
    config: &Config,
    key: &KeyName,
    deadline: Deadline,
) -> Result<(Option<String>, Copies), Refused> {
    let names = [key.clone()];
    let at = &config.store.mountpoint;
    let lock = lock(node)?;
    let reading = with_store(node, config, |device, filesystem| {
        let wanted = Wanted::These(&names);
        let reading = node
            .devices
            .read(device, filesystem, at, wanted, deadline)?;
        match reading.gone {
            true => Err(Trouble::failed(
                &device.node.display().to_string(),
                boot::GONE,
            )),
            false => Ok(reading),
        }
    })?;
    drop(lock);
    let mut survey = sort(&names, reading)?;
    let id = survey.state.take().map(|state| state.store);
    Ok((id, survey.keys.remove(key).unwrap_or_default()))
}

fn sort(names: &[KeyName], reading: Reading) -> Result<Survey, Refused> {
    let survey = survey(Wanted::These(names), reading);
    survey.map_err(|format| Refused::unavailable(format.to_string()))
}

/// A list as it came in, with the keys that came with it.
pub(super) struct Handed {
    /// The list and its proof.
    pub put: Put,
    /// The keys.
    pub brought: Option<Intake>,
}

/// Has the owner's generations written as the list says, or those of another node of whose key the
/// store holds nothing; tells what was read back.
pub(super) fn put(
    node: Node,
    config: &Config,
    from: &NodeName,
    handed: Handed,
    deadline: Deadline,
) -> Result<KeyTold, Refused> {
    match owns(from, &handed.put.merge.key) {
        true => take(node, config, from, handed, deadline),
        false => add(node, config, from, handed, deadline),
    }
}

/// The list is judged by what the store holds, before anything is written and without the lock: its
/// proof, and whether the roots here can do without what it gives up.
fn take(
    node: Node,
    config: &Config,
    from: &NodeName,
    mut handed: Handed,
    deadline: Deadline,
) -> Result<KeyTold, Refused> {
    ledger::count(node, from)?;
    let key = handed.put.merge.key.clone();
    if let Some(Vouched { challenge, .. }) = &handed.put.vouched {
        ledger::spend(node, from, &key, *challenge)?;
    }
    let (store, copies) = look(node, config, &key, deadline)?;
    judge(config, from, &handed.put, store.as_deref(), &copies)?;
    let seen = merge::listing(&copies);
    let kept = keep(node, config, from, (&mut handed, copies), deadline)?;
    let lock = lock(node)?;
    budget::spend(node, from)?;
    let work = Work::Take(Given {
        merge: handed.put.merge,
        prover: config.node.clone(),
        seen: Some(seen),
    });
    let worked = work_on(node, config, from, (&work, handed.brought), deadline)?;
    if worked.did.is_empty() {
        budget::give_back(node, from);
    }
    drop(lock);
    ledger::settle(node, from, &key)?;
    Ok(KeyTold {
        challenge: challenge(node, from, &key, &worked.held)?,
        kept,
        ..told(worked)
    })
}

/// Whether the list is its owner's, as far as that must be proven.
fn judge(
    config: &Config,
    from: &NodeName,
    put: &Put,
    store: Option<&str>,
    copies: &Copies,
) -> Result<(), Refused> {
    let Put { merge, vouched } = put;
    let refused = |why: String| Refused::new(REFUSED, why);
    let Some(vouched) = vouched else {
        return accept::unvouched(&merge.key, copies, &merge.list).map_err(refused);
    };
    let by = match accept::vouchers(copies).contains(&vouched.by) {
        true => copies.find(vouched.by),
        false => None,
    };
    let statement = Statement {
        key: &merge.key,
        from,
        to: &config.node,
        store: store.unwrap_or_default(),
        challenge: vouched.challenge,
        list: &merge.list,
    };
    match by.is_some_and(|by| statement.is_vouched(by, vouched)) {
        true => Ok(()),
        false => Err(refused(format!(
            "the proof of the list of {} is not made with a generation that boots of {} try",
            merge.key, config.node
        ))),
    }
}

/// Changes the list so that it gives up nothing that a root here may need; tells what that is.
fn keep(
    node: Node,
    config: &Config,
    from: &NodeName,
    (handed, copies): (&mut Handed, Copies),
    deadline: Deadline,
) -> Result<Vec<Kept>, Refused> {
    let merge = &mut handed.put.merge;
    let given_up = accept::given_up(&copies, &merge.list);
    if given_up.is_empty() {
        return Ok(Vec::new());
    }
    let kept = accept::keeping(&copies, &merge.list, &given_up);
    let brought = copies_of(handed.brought.as_mut(), merge.bring.len());
    let brought = brought.map_err(|e| Refused::new(Fault::System.status(), e.to_string()))?;
    let usable = store::holding(copies).generations;
    let keys = usable.iter().map(|generation| &generation.key);
    let keys: Vec<&Key> = keys.chain(&brought).collect();
    let roots = ask_roots(node, config, (from, &merge.key), &keys, deadline);
    let roots: Vec<_> = roots.into_iter().map(|r| (r.dataset, r.opens)).collect();
    let Some(why) = accept::needed_by(&roots, &merge.list) else {
        return Ok(Vec::new());
    };
    merge.list = kept;
    let told = |fingerprint| Kept {
        fingerprint,
        why: why.clone(),
    };
    Ok(given_up.into_iter().map(told).collect())
}

/// The keys that came with the list, for a probe.
fn copies_of(brought: Option<&mut Intake>, count: usize) -> std::io::Result<Vec<Key>> {
    match brought {
        Some(intake) => (0..count).map(|at| intake.copy(at)).collect(),
        None => Ok(Vec::new()),
    }
}

/// Takes a key over from a node that does not own it, if a person has opened the store for that: still
/// so, now that nobody else is at work.
fn add(
    node: Node,
    config: &Config,
    from: &NodeName,
    handed: Handed,
    deadline: Deadline,
) -> Result<KeyTold, Refused> {
    ledger::count(node, from)?;
    let _lock = lock(node)?;
    rebuild::admits(node, from).map_err(|why| Refused::new(REFUSED, why))?;
    budget::spend(node, from)?;
    let work = Work::Add(Given {
        merge: handed.put.merge,
        prover: config.node.clone(),
        seen: None,
    });
    let worked = work_on(node, config, from, (&work, handed.brought), deadline)?;
    if worked.did.is_empty() {
        budget::give_back(node, from);
    }
    Ok(told(worked))
}

fn told(worked: Worked) -> KeyTold {
    KeyTold {
        store: worked.store.unwrap_or_default(),
        held: worked.held,
        sound: worked.sound,
        roots: Vec::new(),
        challenge: None,
        kept: Vec::new(),
    }
}

/// Has a list written on the store of this node, under its lock.
fn work_on(
    node: Node,
    config: &Config,
    from: &NodeName,
    (work, mut brought): (&Work, Option<Intake>),
    deadline: Deadline,
) -> Result<Worked, Refused> {
    let at = &config.store.mountpoint;
    with_store(node, config, |device, filesystem| {
        let store = (device, filesystem);
        let work = (work, brought.as_mut());
        let (worked, unlogged) = Caller::peer(from).take_in(node, store, at, work, deadline);
        complain(unlogged);
        worked
    })
}

fn lock(node: Node) -> Result<marker::Lock, Refused> {
    match marker::lock_giving_way(node.run, node.system.clock()) {
        Ok(Some(lock)) => Ok(lock),
        Ok(None) => {
            let busy = Fault::Busy.status();
            Err(Refused::new(busy, "another f3skeys is at work"))
        }
        Err(e) => {
            let what = format!("{}: {e}", node.run.display());
            Err(Refused::new(Fault::System.status(), what))
        }
    }
}

/// Does something with the store of this node.
fn with_store<T>(
    node: Node,
    config: &Config,
    job: impl FnOnce(&Candidate, &Filesystem) -> Result<T, Trouble>,
) -> Result<T, Refused> {
    let mut pass = Pass::begin("answer", node, config);
    let found = boot::key_device(&mut pass, Duration::ZERO);
    let (device, filesystem) = found.map_err(|why| {
        let what = format!("key device {}: {why}", config.store.wanted);
        Refused::new(Fault::NoKeyDevice.status(), what)
    })?;
    job(&device, &filesystem).map_err(|trouble| Refused::unavailable(trouble.to_string()))
}

/// How every root with this key stands. A pool that once did not answer in time is not asked again.
fn ask_roots(
    node: Node,
    config: &Config,
    (from, key): (&NodeName, &KeyName),
    usable: &[&Key],
    deadline: Deadline,
) -> Vec<RootTold> {
    let mut pass = Pass::begin("answer", node, config);
    pass.deadline = deadline;
    let roots = config.roots.iter().filter(|root| root.key == *key);
    let mut told = Vec::new();
    for Root { dataset, .. } in roots {
        let (opens, inheriting) = match see(&mut pass, from, dataset) {
            Ok(inheriting) => (probe(&mut pass, dataset, usable), inheriting),
            Err(why) => (Opens::CouldNotAsk(why), Vec::new()),
        };
        told.push(RootTold {
            dataset: dataset.clone(),
            opens,
            inheriting,
        });
    }
    told
}

fn one_call(pass: &Pass) -> Deadline {
    pass.deadline.at_most(pass.clock(), ONE_CALL)
}

/// What inherits its key from this root, if it is one. Of what is not understood the peer hears only what
/// is its own.
fn see(pass: &mut Pass, from: &NodeName, root: &DatasetName) -> Result<Vec<DatasetName>, String> {
    let pool = root.pool();
    if !pass.observed.pools.contains_key(pool) {
        let deadline = one_call(pass);
        pass.observe(pool, deadline);
    }
    let mut damaged = pass.observed.damaged.values();
    if let Some(damaged) = damaged.find(|d| d.may_be_opened_by(root)) {
        return Err(match is_replica_of(pass.config, from, &damaged.name) {
            true => format!("nothing is known of {}: {damaged}", damaged.name),
            false => format!("something in pool {pool} is not understood; `f3skeys doctor` there"),
        });
    }
    match pass.observed.pools.get(pool) {
        Some(Pool::Seen(seen)) => is_root(root, seen).map(|()| inheriting(root, seen)),
        Some(Pool::NotImported) => Err(format!("pool {pool} is not imported")),
        Some(Pool::Suspended) => Err(format!("pool {pool} is suspended")),
        Some(Pool::NotSeen(why)) => Err(why.clone()),
        None => Err(format!("pool {pool} was not looked at")),
    }
}

fn is_root(name: &DatasetName, seen: &[Dataset]) -> Result<(), String> {
    let Some(found) = seen.iter().find(|dataset| dataset.name == *name) else {
        return Err(format!("there is no {name}"));
    };
    match &found.encryption_root {
        Some(root) if root == name => Ok(()),
        Some(root) => Err(format!("{name} inherits its key from {root}")),
        None => Err(format!("{name} is not encrypted")),
    }
}

fn inheriting(root: &DatasetName, seen: &[Dataset]) -> Vec<DatasetName> {
    let inheriting = seen.iter().filter(|dataset| dataset.inherits_from(root));
    inheriting.map(|dataset| dataset.name.clone()).collect()
}

/// Which of these generations opens a root.
fn probe(pass: &mut Pass, root: &DatasetName, usable: &[&Key]) -> Opens {
    for key in usable {
        if pass.is_given_up(root.pool()) {
            return Opens::CouldNotAsk(format!("pool {} did not answer before", root.pool()));
        }
        let (zfs, deadline) = (pass.node.zfs, one_call(pass));
        match zfs.try_key(root, key, Try::Probe, deadline) {
            Answer::Opens => return Opens::By(key.fingerprint()),
            Answer::WrongKey => {}
            Answer::CouldNotAsk(trouble) => {
                pass.note_trouble(root.pool(), &trouble);
                return Opens::CouldNotAsk(trouble.to_string());
            }
        }
    }
    Opens::NoKey
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zfs::tests as sample;

    fn dataset(name: &str, root: Option<&str>) -> Dataset {
        Dataset {
            encryption_root: root.map(|root| root.parse().unwrap()),
            ..sample::dataset(name)
        }
    }

    #[test]
    fn only_a_dataset_that_is_its_own_encryption_root_is_probed_and_who_inherits_is_named() {
        let seen = [
            dataset("z/a", Some("z/a")),
            dataset("z/a/child", Some("z/a")),
            dataset("z/a/own", Some("z/a/own")),
            dataset("z/a/plain", None),
            dataset("z/b", Some("z/b")),
        ];
        for (name, is_it, inherit) in [
            ("z/a", true, &["z/a/child"][..]),
            ("z/a/child", false, &[]),
            ("z/a/own", true, &[]),
            ("z/a/plain", false, &[]),
            ("z/b", true, &[]),
            ("z/none", false, &[]),
        ] {
            let name: DatasetName = name.parse().unwrap();
            assert_eq!(is_root(&name, &seen).is_ok(), is_it, "{name}");
            let found = inheriting(&name, &seen);
            let found: Vec<&str> = found.iter().map(DatasetName::as_str).collect();
            assert_eq!(found, inherit, "{name}");
        }
    }
}
