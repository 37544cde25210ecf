//! What a peer may ask about its own keys, and have written: how they stand on this node's store,
//! what opens this node's roots with them, and new generations. No key byte ever goes back.

use super::{Refused, complain, owns};
use crate::audit::log::Caller;
use crate::boot;
use crate::config::{Config, Root};
use crate::device::{Candidate, Filesystem};
use crate::exit::Fault;
use crate::key::Nonce;
use crate::marker;
use crate::names::{DatasetName, KeyName, NodeName};
use crate::pass::{Node, ONE_CALL, Pass};
use crate::peers::{KeyTold, Opens, RootTold};
use crate::plan::Pool;
use crate::store::survey::{Survey, survey};
use crate::store::work::{Merge, Work};
use crate::store::{self, Generation, Reading, Wanted, merge};
use crate::time::Deadline;
use crate::trouble::Trouble;
use crate::zfs::{Answer, Dataset, Try};
use std::time::Duration;

/// How a key stands here: what the store holds of it, and what opens the roots that use it.
pub(super) fn tell(
    node: Node,
    config: &Config,
    from: &NodeName,
    key: &KeyName,
    nonce: &Nonce,
    deadline: Deadline,
) -> Result<KeyTold, Refused> {
    let names = [key.clone()];
    let at = &config.store.mountpoint;
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
    let mut survey = sort(&names, reading)?;
    let id = survey.state.take().map(|state| state.store);
    let copies = survey.keys.remove(key).unwrap_or_default();
    let held = merge::held(&copies, id.as_deref(), Some(nonce));
    let sound = copies.damage.is_empty();
    let usable = store::holding(copies).generations;
    Ok(KeyTold {
        store: id.unwrap_or_default(),
        held,
        sound,
        // What opens what is the owner's business alone.
        roots: match owns(from, key) {
            true => ask_roots(node, config, key, &usable, deadline),
            false => Vec::new(),
        },
    })
}

fn sort(names: &[KeyName], reading: Reading) -> Result<Survey, Refused> {
    let survey = survey(Wanted::These(names), reading);
    survey.map_err(|format| Refused::unavailable(format.to_string()))
}

/// Has the owner's generations written as the list says, or those of another node of whose key the
/// store holds nothing; tells what was read back.
pub(super) fn put(
    node: Node,
    config: &Config,
    from: &NodeName,
    merge: Merge,
    deadline: Deadline,
) -> Result<KeyTold, Refused> {
    let at = &config.store.mountpoint;
    let work = match owns(from, &merge.key) {
        true => Work::Merge(merge),
        false => Work::Add(merge),
    };
    let worked = with_store(node, config, |device, filesystem| {
        let store = (device, filesystem);
        let (worked, unlogged) = Caller::peer(from).work(node, store, at, &work, deadline);
        complain(unlogged);
        worked
    })?;
    Ok(KeyTold {
        store: worked.store.unwrap_or_default(),
        held: worked.held,
        sound: worked.sound,
        roots: Vec::new(),
    })
}

/// Does something with the store of this node, under its lock.
fn with_store<T>(
    node: Node,
    config: &Config,
    job: impl FnOnce(&Candidate, &Filesystem) -> Result<T, Trouble>,
) -> Result<T, Refused> {
    let _lock = match marker::lock(node.run, node.system.clock()) {
        Ok(Some(lock)) => lock,
        Ok(None) => {
            let busy = Fault::Busy.status();
            return Err(Refused::new(busy, "another f3skeys is at work"));
        }
        Err(e) => {
            let what = format!("{}: {e}", node.run.display());
            return Err(Refused::new(Fault::System.status(), what));
        }
    };
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
    key: &KeyName,
    usable: &[Generation],
    deadline: Deadline,
) -> Vec<RootTold> {
    let mut pass = Pass::begin("answer", node, config);
    pass.deadline = deadline;
    let roots = config.roots.iter().filter(|root| root.key == *key);
    let mut told = Vec::new();
    for Root { dataset, .. } in roots {
        let (opens, inheriting) = match look(&mut pass, dataset) {
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

/// What inherits its key from this root, if it is one.
fn look(pass: &mut Pass, root: &DatasetName) -> Result<Vec<DatasetName>, String> {
    let pool = root.pool();
    if !pass.observed.pools.contains_key(pool) {
        let deadline = one_call(pass);
        pass.observe(pool, deadline);
    }
    let mut damaged = pass.observed.damaged.values();
    if let Some(damaged) = damaged.find(|d| d.may_be_opened_by(root)) {
        return Err(format!("nothing is known of {}: {damaged}", damaged.name));
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
    let inherits = |dataset: &&Dataset| {
        dataset.name != *root && dataset.encryption_root.as_ref() == Some(root)
    };
    let inheriting = seen.iter().filter(inherits);
    inheriting.map(|dataset| dataset.name.clone()).collect()
}

/// Which of these generations opens a root.
fn probe(pass: &mut Pass, root: &DatasetName, usable: &[Generation]) -> Opens {
    for generation in usable {
        if pass.is_given_up(root.pool()) {
            return Opens::CouldNotAsk(format!("pool {} did not answer before", root.pool()));
        }
        let (zfs, deadline) = (pass.node.zfs, one_call(pass));
        match zfs.try_key(root, &generation.key, Try::Probe, deadline) {
            Answer::Opens => return Opens::By(generation.key.fingerprint()),
            Answer::WrongKey => {}
            Answer::CouldNotAsk(trouble) => {
                pass.note_trouble(root.pool(), &trouble);
                return Opens::CouldNotAsk(trouble.to_string());
            }
        }
    }
    Opens::NoKey
}
