//! What a peer may ask about its own keys, and have written: how they stand on this node's store,
//! what opens this node's roots with them, and new generations. No key byte ever goes back.

use super::{Refused, see};
use crate::boot;
use crate::config::{Config, Root};
use crate::device::{Candidate, Filesystem};
use crate::exit::Fault;
use crate::key::Nonce;
use crate::marker;
use crate::names::{DatasetName, KeyName};
use crate::pass::{Node, ONE_CALL, Pass};
use crate::peers::{KeyTold, Opens, RootTold};
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
    let usable = store::holding(copies).generations;
    let roots = config.roots.iter().filter(|root| root.key == *key);
    Ok(KeyTold {
        store: id.unwrap_or_default(),
        held,
        roots: roots
            .map(|root| ask_root(node, root, &usable, deadline))
            .collect(),
    })
}

fn sort(names: &[KeyName], reading: Reading) -> Result<Survey, Refused> {
    let survey = survey(Wanted::These(names), reading);
    survey.map_err(|format| Refused::unavailable(format.to_string()))
}

/// Has the owner's generations written as the list says; tells what was read back.
pub(super) fn put(
    node: Node,
    config: &Config,
    merge: Merge,
    deadline: Deadline,
) -> Result<KeyTold, Refused> {
    let at = &config.store.mountpoint;
    let work = Work::Merge(merge);
    let worked = with_store(node, config, |device, filesystem| {
        node.devices.work(device, filesystem, at, &work, deadline)
    })?;
    Ok(KeyTold {
        store: worked.store.unwrap_or_default(),
        held: worked.held,
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

/// Which of these generations opens a root, and what inherits its key.
fn ask_root(node: Node, root: &Root, usable: &[Generation], deadline: Deadline) -> RootTold {
    let told = |opens, inheriting| RootTold {
        dataset: root.dataset.clone(),
        opens,
        inheriting,
    };
    let one_call = deadline.at_most(node.system.clock(), ONE_CALL);
    match see(node, root.dataset.pool(), one_call) {
        Ok(seen) => match is_root(&root.dataset, &seen) {
            Ok(()) => told(
                opens(node, &root.dataset, usable, deadline),
                inheriting(&root.dataset, &seen),
            ),
            Err(why) => told(Opens::CouldNotAsk(why), Vec::new()),
        },
        Err(refused) => told(Opens::CouldNotAsk(refused.what), Vec::new()),
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

/// What lies below a root and has its key from there.
fn inheriting(root: &DatasetName, seen: &[Dataset]) -> Vec<DatasetName> {
    let inherits = |dataset: &&Dataset| {
        dataset.name != *root && dataset.encryption_root.as_ref() == Some(root)
    };
    let inheriting = seen.iter().filter(inherits);
    inheriting.map(|dataset| dataset.name.clone()).collect()
}

fn opens(node: Node, root: &DatasetName, usable: &[Generation], deadline: Deadline) -> Opens {
    for generation in usable {
        let deadline = deadline.at_most(node.system.clock(), ONE_CALL);
        match node
            .zfs
            .try_key(root, &generation.key, Try::Probe, deadline)
        {
            Answer::Opens => return Opens::By(generation.key.fingerprint()),
            Answer::WrongKey => {}
            Answer::CouldNotAsk(trouble) => return Opens::CouldNotAsk(trouble.to_string()),
        }
    }
    Opens::NoKey
}
