//! Symbolic links on the way to a mountpoint. Looks at directories and changes nothing.
//!
//! What a mount is made on is a path, and the kernel follows links in it. Where a part of the path
//! lies on a replica, a link there is the word of whoever sent it.

use std::io;
use std::path::{Path, PathBuf};

/// The first component of `path` below `from` that is a symbolic link, with all before it. What is not
/// there yet is none.
///
/// # Errors
/// A directory could not be looked at, or `path` is not below `from`.
pub fn first(from: &Path, path: &Path) -> io::Result<Option<PathBuf>> {
    let rest = path
        .strip_prefix(from)
        .map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut way = from.to_owned();
    for part in rest {
        way.push(part);
        match way.symlink_metadata() {
            Ok(about) if about.is_symlink() => return Ok(Some(way)),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn law_9_a_link_below_is_found_at_every_depth_and_one_above_is_this_nodes_own() {
        let top = std::env::temp_dir().join(format!("f3skeys-links-{}", std::process::id()));
        let _ = fs::remove_dir_all(&top);
        fs::create_dir_all(top.join("real/a/b/c")).unwrap();
        symlink("real", top.join("way")).unwrap();
        let from = top.join("way");
        let path = from.join("a/b/c");
        assert_eq!(
            first(&from, &path).unwrap(),
            None,
            "the link above is not asked about"
        );
        assert_eq!(first(&from, &from.join("a/new/x")).unwrap(), None);
        for (depth, link) in ["a/b/c", "a/b", "a"].into_iter().enumerate() {
            fs::rename(from.join(link), top.join(format!("aside{depth}"))).unwrap();
            for target in ["/etc", "nowhere", "../.."] {
                symlink(target, from.join(link)).unwrap();
                assert_eq!(
                    first(&from, &path).unwrap(),
                    Some(from.join(link)),
                    "{target}"
                );
                fs::remove_file(from.join(link)).unwrap();
            }
            fs::create_dir(from.join(link)).unwrap();
        }
        fs::write(from.join("file"), "").unwrap();
        assert!(
            first(&from, &from.join("file/x")).is_err(),
            "what cannot be looked at"
        );
        assert!(first(&from, &top).is_err());
        fs::remove_dir_all(&top).unwrap();
    }
}
