//! The keys of this node's own store that are to be on others, with their bytes.

use crate::boot;
use crate::exit::Fault;
use crate::handover;
use crate::names::{KeyName, NodeName};
use crate::pass::Pass;
use crate::shell::command;
use crate::store::merge::recordable;
use crate::store::state::{Generation, Standing};
use crate::store::survey::{Copies, survey};
use crate::store::{Reading, Wanted};
use crate::time::Deadline;
use crate::verify::READ_STORE;
use std::time::Duration;

/// A key with all that this store has of it.
pub(super) struct Stock {
    /// The key.
    pub key: KeyName,
    /// Its generations, by number.
    pub list: Vec<Generation>,
    /// Their bytes.
    pub copies: Copies,
}

impl Stock {
    /// Why no peer can be told what there is of it; `None` when one can. And the way out.
    pub fn trouble(&self, own: &NodeName) -> Option<(&'static str, String)> {
        match (self.list.is_empty(), self.copies.good.is_empty()) {
            (false, _) => None,
            (true, false) => Some((
                "nothing on this node's store vouches for it",
                "`f3skeys verify --repair` takes it in".to_owned(),
            )),
            (true, true) => Some((
                "is not on this node's store",
                format!(
                    "if a peer holds it: `f3skeys receive --rebuild` here, {} there",
                    command!("f3skeys backup --to {} --rebuild", own)
                ),
            )),
        }
    }

    /// The generations that every store is to have.
    pub fn wanted(&self) -> impl Iterator<Item = &Generation> {
        self.list.iter().filter(|g| g.state != Standing::Pruned)
    }
}

/// What this node's own store holds.
pub(super) struct Own {
    /// The identity of the store; empty when it has none.
    pub store: String,
    /// Every key that is meant.
    pub keys: Vec<Stock>,
}

/// Why there is no stock, and the exit status that it leads to.
pub(super) type Empty = (Fault, String);

/// Reads every key that is `meant`, under the lock, which is given back before anybody is asked: two
/// nodes that back up to one another at the same time must not wait for one another.
pub(super) fn read(pass: &mut Pass, meant: impl Fn(&KeyName) -> bool) -> Result<Own, Empty> {
    let Some(_lock) = pass.lock() else {
        return Err((Fault::Busy, "it is in use".to_owned()));
    };
    pass.phase("key store", |pass| {
        let stock = take(pass, meant);
        let words = match &stock {
            Ok(own) => format!("{} keys to be on every peer", own.keys.len()),
            Err((_, why)) => why.clone(),
        };
        (stock, words)
    })
}

fn take(pass: &mut Pass, meant: impl Fn(&KeyName) -> bool) -> Result<Own, Empty> {
    let reading = open(pass)?;
    let unusable = |why: String| (Fault::Unavailable, why);
    let survey = survey(Wanted::All, reading).map_err(|format| unusable(format.to_string()))?;
    recordable(&survey).map_err(unusable)?;
    let store = survey.state.map(|state| state.store);
    let mut keys = survey.keys;
    // A key that a root needs and that is not here is no key less to be looked after.
    let own = |key: &KeyName| key.owner() == pass.config.node.as_str();
    for key in pass.config.keys().into_iter().filter(own) {
        keys.entry(key).or_default();
    }
    let meant = keys.into_iter().filter(|(key, _)| meant(key));
    let stock = meant.map(|(key, copies)| Stock {
        list: handover::list(&copies),
        key,
        copies,
    });
    Ok(Own {
        store: store.unwrap_or_default(),
        keys: stock.collect(),
    })
}

fn open(pass: &mut Pass) -> Result<Reading, Empty> {
    let absent = |why: String| (Fault::NoKeyDevice, why);
    let found = boot::key_device(pass, Duration::ZERO);
    let (device, filesystem) = found.map_err(|missing| absent(missing.why))?;
    let at = &pass.config.store.mountpoint;
    let deadline = Deadline::after(pass.clock(), READ_STORE);
    let devices = pass.node.devices;
    let reading = devices.read(&device, &filesystem, at, Wanted::All, deadline);
    let reading = reading.map_err(|trouble| absent(trouble.to_string()))?;
    match reading.gone {
        true => Err(absent(boot::GONE.to_owned())),
        false => Ok(reading),
    }
}
