//! What a rotation hands to the peers: the list of generations, and the bytes that they lack.

use super::facts::{Facts, Own, PeerFacts};
use super::{Run, look};
use crate::handover::{self, Bytes, Handing, Receiver, is_same};
use crate::key::Fingerprint;
use crate::names::NodeName;
use crate::peers::{Kept, KeyTold};
use crate::shell::command;
use crate::sorted::Set;
use crate::store::state::Generation;
use crate::store::survey::Copies;
use crate::trouble::Trouble;

impl Run<'_, '_> {
    /// Gives a peer that answers the list and what it lacks of it.
    pub(super) fn copy(
        &mut self,
        peer: &mut PeerFacts,
        own: &Own,
        target: Fingerprint,
        copies: &Copies,
    ) {
        let Ok(told) = &peer.told else { return };
        if !peer.lacks(own, target) {
            return;
        }
        match self.put(peer, told, &own.list, copies, Bytes::Go) {
            Ok((told, proven)) => {
                match proven.contains(&target) {
                    true => self.did(format!(
                        "{} holds {target} on store {}, proven",
                        peer.name, told.store
                    )),
                    false => {
                        let what = format!("took {target} and did not prove that it holds it");
                        self.warn(&peer.name, &what, "`f3skeys verify` there");
                    }
                }
                peer.told = Ok(told);
                peer.proven = proven;
            }
            Err(trouble) => {
                let why = trouble.of(peer.name.as_str());
                let what = format!("did not take {target}: {why}");
                self.warn(&peer.name, &what, "mend that; `--resume` tries again");
            }
        }
    }

    /// Sends a peer the list, with the bytes of what it lacks; gives what it says then, and what it
    /// has proven to hold.
    fn put(
        &mut self,
        peer: &PeerFacts,
        told: &KeyTold,
        list: &[Generation],
        copies: &Copies,
        bytes: Bytes,
    ) -> Result<(KeyTold, Set<Fingerprint>), Trouble> {
        let mut peers = self.pass.config.peers.iter();
        let to = peers.find(|one| one.name == peer.name);
        let to = to.ok_or_else(|| Trouble::failed(peer.name.as_str(), "is no peer"))?;
        let receiver = Receiver {
            key: self.key,
            from: &self.pass.config.node,
            to: &to.name,
            told,
        };
        let Handing { ask, keys, nonce } = handover::handing(receiver, list, copies, bytes)?;
        let told = handover::ask(self.pass, to, ask, &keys)?;
        let proven = handover::proven(&told, &to.name, &nonce, copies);
        look::note(self.pass, to, self.key, list, &told.store, &proven);
        self.tell_kept(&to.name, &told);
        Ok((told, proven))
    }

    fn tell_kept(&mut self, peer: &NodeName, told: &KeyTold) {
        for Kept { fingerprint, why } in &told.kept {
            let what = format!("goes on trying {fingerprint} there: {why}");
            let remedy = format!(
                "once that is opened by a newer generation, {} or {}",
                command!("f3skeys backup --to {}", peer),
                self.resume()
            );
            self.warn(peer, &what, &remedy);
        }
    }

    /// Gives the list to every peer that has another one. The last step: it ends the time under the
    /// lock, since a peer may say nothing for long.
    pub(super) fn tell_peers(&mut self, facts: &Facts, list: &[Generation]) {
        // One that holds nothing of it gets it with the bytes, not with the list alone.
        let needs = |told: &KeyTold| !told.held.is_empty() && !is_same(told, list);
        let behind = facts.peers.iter().filter_map(|peer| {
            let told = peer.told.as_ref().ok().filter(|told| needs(told))?;
            Some((peer, told))
        });
        let behind: Vec<_> = behind.collect();
        if behind.is_empty() {
            return;
        }
        // The list is vouched for with the bytes of a generation.
        let copies = match look::read(self.pass, self.key) {
            Ok(store) => store.copies,
            Err(why) => {
                for (peer, _) in behind {
                    self.not_told(&peer.name, &why);
                }
                return;
            }
        };
        self.lock = None;
        for (peer, told) in behind {
            let known = |g: &&Generation| {
                let mut held = told.held.iter();
                held.any(|held| held.generation.fingerprint == g.fingerprint)
            };
            let told_list: Vec<Generation> = list.iter().filter(known).cloned().collect();
            match self.put(peer, told, &told_list, &copies, Bytes::Stay) {
                Ok(_) => self.did(format!("told {}", peer.name)),
                Err(trouble) => self.not_told(&peer.name, &trouble.of(peer.name.as_str())),
            }
        }
    }

    fn not_told(&mut self, peer: &NodeName, why: &str) {
        let what = format!("was not told how the generations stand: {why}");
        let remedy = format!("its boots work all the same; {}", self.resume());
        self.warn(peer, &what, &remedy);
    }
}
