//! A key store that the configuration pins by its identity: another one is refused, by name, before
//! anything on it is used or written. Whatever reads or writes a store goes this way.

use crate::device::{Candidate, Filesystem, Wanted as WantedDevice};
use crate::names::KeyName;
use crate::os::Intake;
use crate::store::state::{BadState, State};
use crate::store::work::{Work, Worked};
use crate::store::{Reading, Wanted};
use crate::system::KeyDevices;
use crate::time::Deadline;
use crate::trouble::Trouble;
use std::path::{Path, PathBuf};

/// Key devices of which only the store with this identity is used.
pub struct Pinned<'a> {
    devices: &'a dyn KeyDevices,
    id: &'a str,
}

impl<'a> Pinned<'a> {
    /// The same devices, with the identity that the store must have.
    pub fn new(devices: &'a dyn KeyDevices, id: &'a str) -> Pinned<'a> {
        Pinned { devices, id }
    }
}

impl KeyDevices for Pinned<'_> {
    fn will_read(&self, device: Option<&WantedDevice>, wanted: &[KeyName], at: &Path) {
        self.devices.will_read(device, wanted, at);
    }

    fn scan(&self, deadline: Deadline) -> Result<Vec<Candidate>, Trouble> {
        self.devices.scan(deadline)
    }

    fn mounted_at(&self, device: &Candidate) -> Result<Vec<PathBuf>, Trouble> {
        self.devices.mounted_at(device)
    }

    fn read(
        &self,
        device: &Candidate,
        filesystem: &Filesystem,
        at: &Path,
        wanted: Wanted,
        deadline: Deadline,
    ) -> Result<Reading, Trouble> {
        let reading = self
            .devices
            .read(device, filesystem, at, wanted, deadline)?;
        let subject = device.node.display().to_string();
        refused(&reading, self.id).map_or(Ok(reading), |why| Err(Trouble::failed(&subject, &why)))
    }

    fn work(
        &self,
        device: &Candidate,
        filesystem: &Filesystem,
        at: &Path,
        work: &Work,
        brought: Option<&mut Intake>,
        deadline: Deadline,
    ) -> Result<Worked, Trouble> {
        self.read(device, filesystem, at, Wanted::These(&[]), deadline)?;
        let devices = self.devices;
        devices.work(device, filesystem, at, work, brought, deadline)
    }
}

/// Why a store is not the pinned one; `None` when it is. A store whose state file is damaged or missing
/// cannot be told apart: it is used as without a pin, since one damaged file must stop no boot, and nothing
/// but a repair is written on it.
pub fn refused(reading: &Reading, id: &str) -> Option<String> {
    let found = match &reading.state {
        // What went away may lack anything.
        _ if reading.gone => return None,
        Some(Ok(bytes)) => match State::parse(bytes) {
            Ok(state) if state.store == id => return None,
            Ok(state) => format!("holds store {}", state.store),
            // That is told as it is.
            Err(BadState::UnknownFormat(_) | BadState::Damaged(_)) => return None,
        },
        Some(Err(_)) => return None,
        None if reading.formatted => return None,
        None => "is a plain store without an identity".to_owned(),
    };
    Some(format!(
        "{found}, and the configuration pins {id}; insert that one, or correct `id` in `store` if this is the right one"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sorted::Map;
    use crate::store::state::FORMAT;

    fn state(store: &str) -> Vec<u8> {
        let state = State {
            format: FORMAT,
            store: store.to_owned(),
            keys: Map::new(),
        };
        state.to_bytes()
    }

    #[test]
    fn only_the_pinned_store_and_one_that_cannot_be_told_apart_is_used() {
        let (own, other) = ("ab".repeat(16), "cd".repeat(16));
        let damaged = state(&other)[..20].to_vec();
        let states = [
            (Some(Ok(state(&own))), false),
            (Some(Ok(state(&other))), true),
            (Some(Ok(state(""))), true),
            (Some(Ok(damaged)), false),
            (Some(Err("Input/output error".to_owned())), false),
        ];
        for gone in [false, true] {
            for (state, is_other) in states.clone() {
                let reading = Reading {
                    state: state.clone(),
                    formatted: true,
                    gone,
                    ..Reading::default()
                };
                let said = refused(&reading, &own);
                assert_eq!(said.is_some(), is_other && !gone, "{state:?}");
                if let Some(why) = said {
                    assert!(why.contains(&own), "{why}");
                }
            }
            for formatted in [false, true] {
                let reading = Reading {
                    formatted,
                    gone,
                    ..Reading::default()
                };
                assert_eq!(refused(&reading, &own).is_some(), !formatted && !gone);
            }
        }
    }
}
