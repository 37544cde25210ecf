//! The directories on which file systems are mounted.

use super::facts::Facts;
use crate::binds;
use crate::config::Config;
use crate::host::bare::Bare;
use crate::names::DatasetName;
use crate::report::Findings;
use crate::shell::command;
use crate::sorted::Map;
use crate::twins::{self, place, places};
use crate::zfs::Dataset;
use std::path::Path;

pub(super) fn check(config: &Config, facts: &Facts, said: &mut Findings) {
    for (pool, beneath) in &facts.beneath {
        if let Err(why) = beneath {
            said.unknown(&format!("mountpoints of pool {pool}"), why);
        }
    }
    for twins in twins::of(config, &facts.observed) {
        said.0.push(twins.finding());
    }
    for (at, dataset) in places(config, &facts.observed) {
        let Some(Ok(beneath)) = facts.beneath.get(dataset.name.pool()) else {
            continue;
        };
        let shown = at.display().to_string();
        match beneath.get(at) {
            Some(Ok(Bare::Clean | Bare::Covered)) => {}
            Some(Ok(Bare::Shows(path))) if dataset.mounted => not_there(at, path, dataset, said),
            Some(Ok(Bare::Holds(path) | Bare::Shows(path))) => leftover(at, path, dataset, said),
            Some(Ok(Bare::Absent)) => absent(facts, at, dataset, said),
            Some(Err(why)) => said.unknown(&shown, why),
            None => said.unknown(&shown, "it was not looked at"),
        }
    }
    bound(config, facts, said);
}

/// What is bound from a mountpoint before its file system is there.
fn bound(config: &Config, facts: &Facts, said: &mut Findings) {
    let binds = match &facts.binds {
        Ok(binds) => binds,
        // Without fstab that has been said.
        Err(_) if facts.fstab.is_err() => return,
        Err(why) => return said.unknown("binds", why),
    };
    let none = Map::new();
    let exports = match &facts.exports {
        Ok(exports) => exports,
        Err(why) => {
            said.unknown("exports", why);
            &none
        }
    };
    let is_ours = |name: &DatasetName| config.role_of(name).is_some();
    let ways = || facts.ways.values().flatten();
    let real = |path: &Path| {
        let way = ways().find_map(|ways| ways.get(path)?.as_ref().ok());
        way.map_or_else(|| path.to_owned(), |way| way.real.clone())
    };
    let found = binds::judge(is_ours, facts.observed.datasets(), binds, exports, real);
    said.0.extend(found.into_iter().map(|said| said.finding));
}

fn leftover(at: &Path, path: &Path, dataset: &Dataset, said: &mut Findings) {
    let what = format!(
        "is not empty beneath {}: {} was written there while that was not mounted",
        dataset.name,
        path.display()
    );
    let remedy = match dataset.mounted {
        true => "`mount --bind` the file system around it elsewhere, and move it away there",
        false => "move it away before the file system is mounted over it",
    };
    said.warn(&at.display().to_string(), &what, remedy);
}

/// ZFS has it mounted, and not there: what a visitor finds may be anybody's, and is no leftover.
fn not_there(at: &Path, path: &Path, dataset: &Dataset, said: &mut Findings) {
    let what = format!(
        "{} is mounted, and not there: {} lies in another file system",
        dataset.name,
        path.display()
    );
    let remedy = format!(
        "see where {} and `mount` have it; `zfs unmount` and `zfs mount` put it where it belongs",
        command!("zfs get mountpoint {}", &dataset.name)
    );
    said.warn(&at.display().to_string(), &what, &remedy);
}

/// `zfs mount` makes the directory that it needs, but not in a file system that is read-only.
fn absent(facts: &Facts, at: &Path, dataset: &Dataset, said: &mut Findings) {
    let around = facts
        .observed
        .datasets()
        .filter_map(|d| Some((place(d)?, d)))
        .filter(|(above, _)| at != *above && at.starts_with(above))
        .max_by_key(|(above, _)| above.components().count());
    let Some((_, around)) = around.filter(|(_, around)| around.readonly) else {
        return;
    };
    let shown = at.display().to_string();
    if around.mounted {
        let what = format!(
            "there is no such directory in {}, which is read-only: {} can never be mounted",
            around.name, dataset.name
        );
        let remedy =
            "make the directory on the primary and let it be replicated, or set another mountpoint";
        said.fail(&shown, &what, remedy);
    } else {
        let what = format!(
            "not known whether {} can be mounted there: {} is not mounted now",
            dataset.name, around.name
        );
        said.note(&shown, &what);
    }
}
