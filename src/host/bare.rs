//! What lies in the directories on which file systems are mounted, beneath them. It was written
//! while they were not mounted, is hidden while they are, and is served by mistake when they fail.

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
    /// This, and perhaps more.
    Holds(#[serde(with = "crate::paths::one")] PathBuf),
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
    let answer = |point: &PathBuf| look_at(point, known).map_err(|e| e.to_string());
    Ok(points.iter().map(|p| (p.clone(), answer(p))).collect())
}

fn look_at(point: &Path, known: &Set<PathBuf>) -> io::Result<Bare> {
    match os::covering(point)? {
        None => Ok(Bare::Absent),
        Some(mount) if mount.at == point => {
            let seen = os::beneath(point, |bare| of_directory(bare, point, known))?;
            Ok(seen.unwrap_or(Bare::Covered))
        }
        Some(_) => of_directory(point, point, known),
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
            assert_eq!(look(), Bare::Holds(left.clone()));
            fs::remove_file(&left).unwrap();
        }
        fs::remove_dir(data.join("c")).unwrap();
        fs::write(data.join("c"), "a file where a directory belongs").unwrap();
        assert_eq!(look(), Bare::Holds(data.join("c")));
        fs::remove_dir_all(&top).unwrap();
    }
}
