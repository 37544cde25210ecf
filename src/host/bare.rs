//! What lies in the directories on which file systems are mounted, beneath them. It was written
//! while they were not mounted, is hidden while they are, and is served by mistake when they fail.

use crate::links;
use crate::os;
use crate::sorted::{Map, Set};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What there is at a mountpoint, beneath whatever is mounted on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bare {
    /// No such directory.
    Absent,
    /// Nothing but directories that lead to other mountpoints.
    Clean,
    /// This, and perhaps more, beneath what is mounted on it.
    Holds(#[serde(with = "crate::paths::one")] PathBuf),
    /// This, and perhaps more; nothing is mounted on it, so a visitor finds it there.
    Shows(#[serde(with = "crate::paths::one")] PathBuf),
    /// Something is mounted on it, and this system has no way to look beneath.
    Covered,
}

/// The answer for each mountpoint; `Err` with the reason where it could not be looked at.
pub type Beneath = Map<PathBuf, Result<Bare, String>>;

/// Looks at these mountpoints. Directories that lead to one of `known`, the mountpoints of all file
/// systems, are no leftovers. For a worker only: it may block, and changes the mounts that the
/// process sees.
///
/// # Errors
/// The process could not be given mounts of its own.
pub fn look(points: &[PathBuf], known: &Set<PathBuf>) -> io::Result<Beneath> {
    os::detach_mounts()?;
    let known = real(known);
    let answer = |point: &PathBuf| look_at(point, &known).map_err(|e| e.to_string());
    Ok(points.iter().map(|p| (p.clone(), answer(p))).collect())
}

/// Where mountpoints really are. Of one that cannot be followed nothing is known but its own name.
fn real(known: &Set<PathBuf>) -> Set<PathBuf> {
    let real = |at: &PathBuf| links::real(at).unwrap_or_else(|_| at.clone());
    known.iter().map(real).collect()
}

fn look_at(point: &Path, known: &Set<PathBuf>) -> io::Result<Bare> {
    // The kernel knows no links in the paths of its mounts.
    let real = &links::real(point)?;
    match os::covering(real)? {
        None => Ok(Bare::Absent),
        Some(mount) if mount.at == *real => {
            let seen = os::beneath(real, |bare| of_directory(bare, real, known))?;
            Ok(seen.unwrap_or(Bare::Covered))
        }
        Some(_) => Ok(match of_directory(real, real, known)? {
            Bare::Holds(path) => Bare::Shows(path),
            other => other,
        }),
    }
}

/// What the directory `real` holds, which a visitor would find at `shown`.
fn of_directory(real: &Path, shown: &Path, known: &Set<PathBuf>) -> io::Result<Bare> {
    let device = fs::symlink_metadata(real)?.dev();
    for entry in fs::read_dir(real)? {
        let entry = entry?;
        let (real, shown) = (entry.path(), shown.join(entry.file_name()));
        let about = fs::symlink_metadata(&real)?;
        if !about.is_dir() || !known.iter().any(|point| point.starts_with(&shown)) {
            return Ok(Bare::Holds(shown));
        }
        // Another file system is mounted there: its files are where they belong.
        if about.dev() != device {
            continue;
        }
        if let holds @ Bare::Holds(_) = of_directory(&real, &shown, known)? {
            return Ok(holds);
        }
    }
    Ok(Bare::Clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(top: &Path, names: &[&str]) -> Set<PathBuf> {
        names.iter().map(|name| top.join(name)).collect()
    }

    fn fresh(name: &str) -> PathBuf {
        let top = std::env::temp_dir().join(format!("f3skeys-bare-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&top);
        fs::create_dir_all(&top).unwrap();
        top
    }

    #[test]
    fn a_mountpoint_to_which_a_link_leads_is_looked_at_where_it_is() {
        let top = fresh("link");
        let real = top.join("var/data");
        fs::create_dir_all(real.join("nfs/below")).unwrap();
        std::os::unix::fs::symlink("var/data", top.join("data")).unwrap();
        let point = top.join("data/nfs");
        let known = super::real(&known(&top, &["data/nfs", "data/nfs/below"]));
        let look = || look_at(&point, &known).unwrap();
        assert_eq!(look(), Bare::Clean);
        fs::write(real.join("nfs/file"), "x").unwrap();
        assert_eq!(look(), Bare::Shows(real.join("nfs/file")));
        fs::remove_dir_all(&top).unwrap();
    }

    #[test]
    fn what_leads_to_other_mountpoints_is_no_leftover() {
        let top = fresh("leads");
        let known = known(&top, &["data", "data/a/b", "data/c"]);
        let data = top.join("data");
        let look = || look_at(&data, &known).unwrap();
        assert_eq!(look(), Bare::Absent);
        fs::create_dir(&data).unwrap();
        assert_eq!(look(), Bare::Clean);
        fs::create_dir_all(data.join("a/b")).unwrap();
        fs::create_dir(data.join("c")).unwrap();
        assert_eq!(look(), Bare::Clean);
        for left in ["a/b/file", "a/other", "file"] {
            let left = data.join(left);
            fs::write(&left, "x").unwrap();
            assert_eq!(look(), Bare::Shows(left.clone()));
            fs::remove_file(&left).unwrap();
        }
        fs::remove_dir(data.join("c")).unwrap();
        fs::write(data.join("c"), "a file where a directory belongs").unwrap();
        assert_eq!(look(), Bare::Shows(data.join("c")));
        fs::remove_dir_all(&top).unwrap();
    }
}
