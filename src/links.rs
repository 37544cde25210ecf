//! Symbolic links on the way to a path. Looks at directories and changes nothing.
//!
//! The kernel's table of mounts has no links in its paths. Configurations, `mountpoint` properties,
//! fstab and exports have the paths that people wrote, and image-based systems have links for `/srv`,
//! `/mnt` and `/home`. So whoever compares such a path with the kernel's resolves it here first.
//! Where a part of a path lies on a replica, a link there is the word of whoever sent it.

use crate::os;
use crate::sorted::Map;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

/// The most links that are followed, as the kernels have it.
const MOST: usize = 40;

/// Where a path really is, and the links that were followed on the way there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    /// The path without a link. What is not there yet is no link.
    #[serde(with = "crate::paths::one")]
    pub real: PathBuf,
    /// The links, in their order.
    pub links: Vec<Link>,
}

/// A symbolic link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Where it is; no component before its name is a link.
    #[serde(with = "crate::paths::one")]
    pub at: PathBuf,
    /// What it says.
    #[serde(with = "crate::paths::one")]
    pub to: PathBuf,
    /// The source of the mount that it lies in: the dataset, where that is one of ZFS.
    pub on: String,
}

/// The way to each path; `Err` with the reason where it could not be looked at.
pub type Ways = Map<PathBuf, Result<Way, String>>;

/// The links in a path as they are now, with what they lie on. May block.
///
/// # Errors
/// A directory could not be looked at, or the links have no end.
pub fn way(path: &Path) -> io::Result<Way> {
    let (real, links) = follow(path, target)?;
    let links = links.into_iter().map(|(at, to)| {
        let mount = os::covering(at.parent().unwrap_or(&at))?;
        let on = mount.map(|mount| mount.source).unwrap_or_default();
        Ok(Link { at, to, on })
    });
    let links = links.collect::<io::Result<_>>()?;
    Ok(Way { real, links })
}

/// Where a path really is now. May block. It asks for the names of links alone, which starts no
/// automount at the end of the path.
///
/// # Errors
/// A directory could not be looked at, or the links have no end.
pub fn real(path: &Path) -> io::Result<PathBuf> {
    Ok(follow(path, target)?.0)
}

/// What a link says; `None` for what is none, or is not there.
fn target(path: &Path) -> io::Result<Option<PathBuf>> {
    match fs::read_link(path) {
        Ok(to) => Ok(Some(to)),
        Err(e) => match e.kind() {
            io::ErrorKind::InvalidInput | io::ErrorKind::NotFound => Ok(None),
            _ => Err(e),
        },
    }
}

/// Follows the links in an absolute path, by what `target` says of each name on the way; gives where
/// it ends, and each link with what it says.
///
/// # Errors
/// `target` failed, or the links have no end.
pub fn follow(
    path: &Path,
    target: impl Fn(&Path) -> io::Result<Option<PathBuf>>,
) -> io::Result<(PathBuf, Vec<(PathBuf, PathBuf)>)> {
    let mut real = PathBuf::from("/");
    let mut links = Vec::new();
    let mut rest = parts(path);
    while let Some(part) = rest.pop_front() {
        if part == ".." {
            real.pop();
            continue;
        }
        real.push(part);
        let Some(to) = target(&real)? else { continue };
        if links.len() == MOST {
            return Err(io::Error::other("its symbolic links have no end"));
        }
        let at = real.clone();
        real.pop();
        if to.is_absolute() {
            real = PathBuf::from("/");
        }
        let mut next = parts(&to);
        next.append(&mut rest);
        rest = next;
        links.push((at, to));
    }
    Ok((real, links))
}

/// The names in a path, with `..` as one.
fn parts(path: &Path) -> VecDeque<OsString> {
    let names = path
        .components()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    names.map(|part| part.as_os_str().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    struct Top(PathBuf);

    impl Top {
        fn new(name: &str) -> Top {
            let top = std::env::temp_dir().canonicalize().unwrap();
            let top = top.join(format!("f3skeys-links-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&top);
            fs::create_dir_all(&top).unwrap();
            Top(top)
        }
    }

    impl Drop for Top {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_path_is_where_the_kernel_has_it_whatever_links_lead_there() {
        let top = Top::new("real");
        let at = |path: &str| top.0.join(path);
        fs::create_dir_all(at("var/srv/nfs")).unwrap();
        fs::create_dir(at("a")).unwrap();
        symlink("var/srv", at("srv")).unwrap();
        symlink(at("srv"), at("a/absolute")).unwrap();
        symlink("../srv/./nfs/..", at("a/relative")).unwrap();
        for path in ["srv/nfs", "a/absolute/nfs", "a/relative/nfs", "var/srv/nfs"] {
            assert_eq!(real(&at(path)).unwrap(), at("var/srv/nfs"), "{path}");
            let by_kernel = fs::canonicalize(at(path)).unwrap();
            assert_eq!(real(&at(path)).unwrap(), by_kernel, "{path}");
        }
        // A mountpoint need not be there yet.
        assert_eq!(real(&at("srv/new/x")).unwrap(), at("var/srv/new/x"));
        assert_eq!(real(&at("none/x")).unwrap(), at("none/x"));
        symlink("nowhere", at("dangling")).unwrap();
        assert_eq!(real(&at("dangling/x")).unwrap(), at("nowhere/x"));
    }

    #[test]
    fn each_link_is_told_with_where_it_is() {
        let top = Top::new("way");
        let at = |path: &str| top.0.join(path);
        fs::create_dir_all(at("one/two")).unwrap();
        symlink("one", at("first")).unwrap();
        symlink("/", at("one/second")).unwrap();
        let found = way(&at("first/second/etc")).unwrap();
        assert_eq!(found.real, Path::new("/etc"));
        let links: Vec<_> = found.links.iter().map(|l| (&*l.at, &*l.to)).collect();
        let second = at("one/second");
        let expected = [
            (&*at("first"), Path::new("one")),
            (&*second, Path::new("/")),
        ];
        assert_eq!(links, expected);
        assert_eq!(way(&at("one/two")).unwrap().links, []);
    }

    #[test]
    fn what_cannot_be_looked_at_and_links_without_end_are_errors() {
        let top = Top::new("errors");
        let at = |path: &str| top.0.join(path);
        fs::write(at("file"), "").unwrap();
        assert!(real(&at("file/x")).is_err());
        symlink("round", at("about")).unwrap();
        symlink("about", at("round")).unwrap();
        assert!(real(&at("round")).is_err());
    }
}
