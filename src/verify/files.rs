//! What the files of a key store say, each by itself and beside its second copy.

use super::{GenerationLine, KeyLine, Verification};
use crate::exit::Fault;
use crate::names::KeyName;
use crate::report::Severity;
use crate::store::layout::{self, Place};
use crate::store::state::Standing;
use crate::store::{self, Damage, Holding, Keyring, Reading, Wanted};

/// Tells what the files say; `None` when the store is of a format that must not be guessed about.
pub(super) fn tell(told: &mut Verification, reading: Reading, repair: bool) -> Option<Keyring> {
    let subject = told.store.clone();
    let keyring = match store::verify(Wanted::All, reading) {
        Ok(keyring) => keyring,
        Err(format) => {
            let remedy = "nothing on it was touched";
            told.find(Severity::Failure, &subject, &format.to_string(), remedy);
            told.fail(Fault::BadKey);
            return None;
        }
    };
    told.keys = keyring.keys.iter().map(key_line).collect();
    let of_keys = keyring.keys.values().flat_map(|held| &held.damage);
    told.damage = keyring.damage.iter().chain(of_keys).cloned().collect();
    for path in &keyring.strangers {
        let what = "is no file of the key store; left alone";
        told.find(Severity::Note, path, what, "");
    }
    tell_unproven(told, &keyring);
    tell_blank(told, &keyring);
    if !repair {
        tell_damage(told, &keyring);
    }
    Some(keyring)
}

fn key_line((name, held): (&KeyName, &Holding)) -> KeyLine {
    let line = |generation: &store::Generation| GenerationLine {
        fingerprint: generation.key.fingerprint().hex(),
        standing: generation.standing,
        verified: generation.verified,
    };
    KeyLine {
        key: name.to_string(),
        generations: held.generations.iter().map(line).collect(),
    }
}

/// Keys for which no fingerprint vouches work, but rot in them is only noticed when they are needed.
fn tell_unproven(told: &mut Verification, keyring: &Keyring) {
    if keyring.plain {
        let subject = told.store.clone();
        let what = match keyring.keys.is_empty() {
            true => "holds no key store",
            false => "a plain store: no fingerprint vouches for its keys",
        };
        let remedy = "`f3skeys adopt` gives each key its fingerprint and a second copy";
        told.find(Severity::Warning, &subject, what, remedy);
        if keyring.keys.is_empty() {
            told.fail(Fault::BadKey);
        }
        return;
    }
    for (name, held) in &keyring.keys {
        if held
            .generations
            .iter()
            .any(|generation| !generation.verified)
        {
            let what = "no fingerprint vouches for it";
            let remedy = "`f3skeys verify --repair` gives it one, and a second copy";
            told.find(Severity::Warning, name.as_str(), what, remedy);
        }
    }
}

/// A blank key is whole and opens what was encrypted with it, and is no secret.
fn tell_blank(told: &mut Verification, keyring: &Keyring) {
    for (name, held) in &keyring.keys {
        let blank = held
            .generations
            .iter()
            .find(|generation| generation.key.is_blank());
        if let Some(generation) = blank {
            let print = generation.key.fingerprint();
            let what =
                format!("generation {print} is blank (32 equal bytes): anybody can guess it");
            let remedy = "rotate it on its owner: `f3skeys rotate KEY`; if it opens nothing, lay the right \
                 key from another stick in its place";
            told.find(Severity::Failure, name.as_str(), &what, remedy);
            told.fail(Fault::BadKey);
        }
    }
}

fn tell_damage(told: &mut Verification, keyring: &Keyring) {
    // What belongs to no key is rebuilt from the names of files.
    let of_store = keyring.damage.iter().map(|damage| (damage, true));
    let of_keys = keyring.keys.values().flat_map(|held| {
        let damage = held.damage.iter();
        damage.map(|damage| (damage, has_second_copy(held, damage)))
    });
    for (damage, mendable) in of_store.chain(of_keys) {
        let remedy = match mendable {
            true => "`--repair` rebuilds it from its second copy",
            false => NO_COPY,
        };
        told.find(Severity::Failure, &damage.path, &damage.what, remedy);
        told.fail(Fault::BadKey);
    }
}

fn has_second_copy(held: &Holding, damage: &Damage) -> bool {
    let mut good = held.generations.iter();
    match layout::parse_generation(layout::split(&damage.path).1) {
        Some(Place::Generation { fingerprint, .. }) => {
            good.any(|generation| generation.key.fingerprint() == fingerprint)
        }
        _ => good.any(|generation| generation.standing == Standing::Current),
    }
}

pub(super) const NO_COPY: &str = "no good copy is left here; unless its mode or owner is all that is wrong, \
     lay one from another stick at the top of this one as OWNER:NAME.key, mode 400, and repair";
