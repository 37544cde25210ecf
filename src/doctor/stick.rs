//! The key device and the store on it.

use super::facts::{Contents, Facts};
use crate::boot::{REFUSED, remedy_of};
use crate::config::Config;
use crate::device::{self, Candidate, Choice};
use crate::key::Fingerprint;
use crate::names::KeyName;
use crate::report::Findings;
use crate::shell::command;
use crate::store::Damage;
use crate::store::state::Standing;

pub(super) fn check(config: &Config, facts: &Facts, said: &mut Findings) {
    device(config, facts, said);
    mounted(config, facts, said);
}

fn device(config: &Config, facts: &Facts, said: &mut Findings) {
    let wanted = format!("key device {}", config.store.wanted);
    match &facts.stick.candidates {
        Err(why) => said.unknown(&wanted, why),
        Ok(all) => match device::choose(&config.store.wanted, all) {
            Choice::Found(device, filesystem) => {
                twins(&device, filesystem.label.as_deref(), all, said);
                found(config, facts, &device.node.display().to_string(), said);
            }
            Choice::Ambiguous(several) => {
                let (what, remedy) = device::several(&several);
                said.fail(&wanted, &what, &remedy);
            }
            Choice::Absent(decoys) => {
                let fixed = facts.stick.fixed.as_deref().unwrap_or_default();
                let elsewhere = device::on_another_bus(&config.store.wanted, fixed);
                let remedy = match (&elsewhere, decoys.as_slice()) {
                    (Some((_, remedy)), _) => (*remedy).to_owned(),
                    (None, []) => {
                        "insert the stick, or correct `store` in the configuration".to_owned()
                    }
                    (None, [one]) => format!("{REFUSED}: {}", one.remedy),
                    (None, _) => REFUSED.to_owned(),
                };
                let mut what = elsewhere.map_or(
                    "is not there: the next boot would leave its roots locked".to_owned(),
                    |(what, _)| what,
                );
                for decoy in decoys {
                    what += &format!("; {} was refused: {}", decoy.node.display(), decoy.why);
                }
                said.fail(&wanted, &what, &remedy);
            }
        },
    }
}

/// One label on two sticks: GEOM shows only one of them, and a person takes the wrong one.
fn twins(device: &Candidate, label: Option<&str>, all: &[Candidate], said: &mut Findings) {
    let Some(label) = label else { return };
    for other in all.iter().filter(|other| other.node != device.node) {
        let same = |f: &device::Filesystem| f.label.as_deref() == Some(label);
        if other.filesystems.iter().any(same) {
            let what = format!(
                "has the label {label} of the key device {}",
                device.node.display()
            );
            let remedy = "give each stick a label of its own (`tunefs -L` on UFS, `e2label` on ext4), or take this one out";
            said.warn(&other.node.display().to_string(), &what, remedy);
        }
    }
}

fn found(config: &Config, facts: &Facts, node: &str, said: &mut Findings) {
    match &facts.stick.write_protected {
        Some(Ok(true)) => said.warn(
            node,
            "is write-protected: nothing can be repaired on it, and a stick that fails does this by itself",
            "open its switch if it has one; else copy its keys to a new stick while they can be read",
        ),
        Some(Err(why)) => said.unknown(node, why),
        Some(Ok(false)) | None => {}
    }
    match &facts.stick.contents {
        // Kept out by another run, which has been said.
        None => {}
        Some(Err(trouble)) => said.fail(node, &trouble.of(node), remedy_of(trouble)),
        Some(Ok(contents)) if contents.gone => {
            said.fail(
                node,
                "went away while it was read",
                "insert the stick again, or replace it",
            );
        }
        Some(Ok(contents)) => store(config, contents, node, said),
    }
}

fn store(config: &Config, contents: &Contents, node: &str, said: &mut Findings) {
    let own = config.keys();
    let held = |key| contents.keys.get(key).cloned().unwrap_or_default();
    let lost = |key| held(key).good == 0;
    if own
        .iter()
        .all(|key| lost(key) && held(key).damage.is_empty())
    {
        let remedy = "is it the right stick? its keys are files OWNER:NAME.key at the top";
        said.fail(node, "holds no key of this node", remedy);
    } else {
        if contents.plain {
            let what =
                "a plain store: no fingerprint vouches for its keys, only ZFS's own check does";
            said.warn(node, what, ADOPT);
        }
        for key in own.iter().filter(|key| lost(key)) {
            lost_key(key.as_str(), &held(key).damage, said);
        }
    }
    for (key, held) in &contents.keys {
        if !held.vouched && !contents.plain {
            let what = "no fingerprint on the store vouches for it, only ZFS's own check does";
            said.warn(key.as_str(), what, ADOPT);
        }
    }
    for key in &own {
        rotation(config, key, &held(key).open, said);
    }
    let keys = contents.keys.iter();
    let others = keys.filter(|(key, held)| held.good > 0 || !own.contains(key));
    let of_others = others.flat_map(|(_, held)| &held.damage);
    for damage in of_others.chain(&contents.damage) {
        said.warn(&damage.path, &damage.what, remedy(damage));
    }
    for path in &contents.strangers {
        said.note(path, "is no file of the store's own, and left alone");
    }
}

/// A rotation that nobody ended. Boots go on all the same, and the copies may be too few.
fn rotation(config: &Config, key: &KeyName, open: &[(Fingerprint, Standing)], said: &mut Findings) {
    let is_own = key.owner() == config.node.as_str();
    for (print, standing) in open {
        match (standing, is_own) {
            (Standing::Staged, true) => said.warn(
                key.as_str(),
                &format!("a rotation to {print} is open"),
                &format!(
                    "{} shows how far it came, `--resume` finishes it",
                    command!("f3skeys rotate {} --status", key)
                ),
            ),
            (Standing::Staged, false) => {
                let what = format!(
                    "{} has begun a rotation to {print} and not ended it yet",
                    key.owner()
                );
                said.note(key.as_str(), &what);
            }
            (Standing::Retained, true) => {
                let what = format!(
                    "boots still try {print}, which was replaced; once every replica has followed, {} ends that",
                    command!("f3skeys rotate {} --retire", key)
                );
                said.note(key.as_str(), &what);
            }
            _ => {}
        }
    }
}

const ADOPT: &str = "`f3skeys adopt` takes it into format 1 as it is";

fn lost_key(key: &str, damage: &[Damage], said: &mut Findings) {
    let why: Vec<String> = damage.iter().map(Damage::to_string).collect();
    let what = match why.is_empty() {
        true => "is not on the stick: the next boot would leave its roots locked".to_owned(),
        false => format!(
            "no good copy of it is on the stick: the next boot would leave its roots locked ({})",
            why.join("; ")
        ),
    };
    let remedy = "check `key` in the configuration; else bring the key from another stick or peer while its roots are open";
    said.fail(key, &what, remedy);
}

fn remedy(damage: &Damage) -> &'static str {
    // The reader names the command itself where it is a matter of owner or mode.
    match damage.what.contains("`ch") {
        true => "mount the stick for writing, do that, and unmount it",
        false => {
            "`f3skeys verify --repair` rebuilds it if a good copy is left; a stick that rots should be replaced"
        }
    }
}

/// A store that stays mounted: its keys can be read, and a power cut may damage it.
fn mounted(config: &Config, facts: &Facts, said: &mut Findings) {
    let before = said.0.len();
    mountpoint(config, facts, said);
    elsewhere(facts, said);
    // What the reader has to say of mounts is no news then.
    if said.0.len() == before {
        let notes = facts.stick.contents.iter().flatten().flat_map(|c| &c.notes);
        for note in notes {
            said.note(&config.store.wanted.to_string(), note);
        }
    }
}

fn mountpoint(config: &Config, facts: &Facts, said: &mut Findings) {
    let at = &config.store.mountpoint;
    let shown = at.display().to_string();
    match &facts.stick.mountpoint {
        Err(why) => said.unknown(&shown, why),
        // Nothing of the stick's, and told with what the host makes of the next boot.
        Ok(Some(mount)) if mount.fstype == "autofs" => {}
        Ok(Some(mount)) if mount.at == *at => {
            let danger = match mount.read_only {
                true => "read-only: as long as it is, keys can be read there",
                false => "read-write: a power cut may damage it, and keys can be read there",
            };
            let what = format!("{} is mounted on it, {danger}", mount.source);
            said.warn(&shown, &what, &command!("umount {}", at));
        }
        Ok(_) => {}
    }
}

fn elsewhere(facts: &Facts, said: &mut Findings) {
    match &facts.stick.elsewhere {
        Err(why) => said.unknown("mounts of the key device", why),
        Ok(places) => {
            for place in places {
                let shown = place.display().to_string();
                let what = "the key device is mounted on it: keys can be read there, and a power cut may damage a store that is mounted for writing";
                said.warn(&shown, what, &command!("umount {}", place));
            }
        }
    }
}
