//! A key store that the configuration pins by its identity: another one is refused, by name, before
//! anything on it is used or written. Whatever reads or writes a store goes this way.

use crate::device::{Candidate, Filesystem, Wanted as WantedDevice};
use crate::names::KeyName;
use crate::os::Intake;
use crate::store::state::{BadState, State};
use crate::store::work::{Work, Worked};
use crate::store::{MISSING, Reading, Wanted, layout};
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

    fn scan_fixed(&self, deadline: Deadline) -> Result<Vec<Candidate>, Trouble> {
        self.devices.scan_fixed(deadline)
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
        match refused(&reading, self.id) {
            None => Ok(reading),
            // What went away may lack anything. It is told as gone, and nothing that was read is used.
            Some(_) if reading.gone => Ok(Reading {
                gone: true,
                notes: reading.notes,
                ..Reading::default()
            }),
            Some(why) => {
                let trouble = Trouble::failed(&device.node.display().to_string(), &why);
                Err(trouble.mended_by("it is not read until that is so; then `f3skeys boot`"))
            }
        }
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
        let reading = self.read(device, filesystem, at, Wanted::These(&[]), deadline)?;
        if reading.gone {
            let subject = device.node.display().to_string();
            return Err(Trouble::failed(
                &subject,
                "it went away before its identity was read",
            ));
        }
        let devices = self.devices;
        devices.work(device, filesystem, at, work, brought, deadline)
    }
}

/// Why a store is not the pinned one; `None` when it is. A store whose state file is damaged or missing may
/// be any, so nothing on it is used or written: what is rebuilt there would make a stranger's store this one.
pub fn refused(reading: &Reading, id: &str) -> Option<String> {
    let found = match &reading.state {
        Some(Ok(bytes)) => match State::parse(bytes) {
            Ok(state) if state.store == id => return None,
            Ok(state) => return Some(other(&format!("holds store {}", state.store), id)),
            // That is told as it is, and nothing of it is used.
            Err(BadState::UnknownFormat(_)) => return None,
            Err(BadState::Damaged(what)) => what,
        },
        Some(Err(what)) => what.clone(),
        None if reading.formatted => MISSING.to_owned(),
        None => return Some(other("is a plain store without an identity", id)),
    };
    Some(format!(
        "its {} {found}, so nobody can tell whether this is store {id}, which the configuration pins; insert the right one, or, if this is it, take `id` out of `store`, run `f3skeys verify --repair`, and pin the identity that it has then",
        layout::STATE
    ))
}

fn other(found: &str, id: &str) -> String {
    format!(
        "{found}, and the configuration pins {id}; insert that one, or correct `id` in `store` if this is the right one"
    )
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
    fn law_7_a_store_whose_identity_cannot_be_established_is_not_the_pinned_one() {
        let (own, other) = ("ab".repeat(16), "cd".repeat(16));
        let whole = state(&own);
        let states = [
            (Some(Ok(whole.clone())), None),
            (Some(Ok(state(&other))), Some(&*other)),
            (Some(Ok(state(""))), Some("holds store")),
            (Some(Ok(whole[..20].to_vec())), Some("state.ron")),
            (Some(Ok([b"x", &whole[..]].concat())), Some("state.ron")),
            (
                Some(Err("Input/output error".to_owned())),
                Some("Input/output error"),
            ),
            (None, Some("state.ron is missing")),
        ];
        for (state, words) in states {
            let reading = Reading {
                state: state.clone(),
                formatted: true,
                ..Reading::default()
            };
            let said = refused(&reading, &own);
            assert_eq!(said.is_some(), words.is_some(), "{state:?}");
            let (said, words) = (said.unwrap_or_default(), words.unwrap_or_default());
            assert!(
                said.contains(words) && (words.is_empty() || said.contains(&own)),
                "{said}"
            );
        }
        let plain = refused(&Reading::default(), &own).unwrap();
        assert!(plain.contains("plain store"), "{plain}");
    }
}
