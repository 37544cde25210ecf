//! Files of the host that a boot depends on: its start scripts, `rc.conf`, `fstab`. They are read
//! below a root directory, so that a test can lay a whole host out, and never written.

pub mod automounts;
pub mod bare;
pub mod beside;
pub mod binds;
pub mod exports;
pub mod fstab;
pub mod hooks;
mod modules;
mod namespaces;
pub mod pool_cache;
pub mod rc_conf;
mod rc_hooks;
mod rc_pieces;
mod systemd_hooks;
pub mod zfs_generator;

pub use binds::Bind;
pub use fstab::{Fstab, FstabLine, fstab};
pub use rc_conf::{RcConf, Setting, rc_conf};
pub use systemd_hooks::DROP_INS;

use crate::sorted;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The largest file that is read, in bytes.
const LARGEST: u64 = 1 << 20;
/// The largest list of the system's own that is read, in bytes.
const LARGEST_LIST: u64 = 1 << 24;
/// The most names that are read of a directory.
const MOST_NAMES: usize = 1 << 16;

/// What starts services on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InitSystem {
    /// FreeBSD's rc(8).
    Rc,
    /// systemd.
    Systemd,
}

/// A host's files below a root directory.
#[derive(Debug, Clone)]
pub struct Host {
    root: PathBuf,
    owner: u32,
}

impl Host {
    /// This host.
    pub fn here() -> Host {
        Host {
            root: PathBuf::from("/"),
            owner: 0,
        }
    }

    /// A host laid out below `root`. Whoever owns `root` plays root there.
    pub fn at(root: &Path) -> Host {
        Host {
            root: root.to_owned(),
            owner: fs::metadata(root).map_or(0, |about| about.uid()),
        }
    }

    /// The user that files of the system must belong to: 0 on a real host.
    pub fn owner(&self) -> u32 {
        self.owner
    }

    /// Where a path of the host really is.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The text of a regular file; `None` when there is no such file.
    ///
    /// # Errors
    /// It cannot be read, is no regular file or is larger than 1 MiB.
    pub fn text(&self, path: &str) -> io::Result<Option<String>> {
        let bytes = self.bytes(path, LARGEST)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// The text of a list that the system makes for itself, such as that of a kernel's modules, which
    /// may be longer than what people write.
    ///
    /// # Errors
    /// It cannot be read, is no regular file or is larger than 16 MiB.
    pub(crate) fn list(&self, path: &str) -> io::Result<Option<String>> {
        let bytes = self.bytes(path, LARGEST_LIST)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// The bytes of a regular file, at most so many; `None` when there is no such file.
    ///
    /// # Errors
    /// It cannot be read, is no regular file or is larger.
    pub(crate) fn bytes(&self, path: &str, largest: u64) -> io::Result<Option<Vec<u8>>> {
        let opened = File::options()
            .read(true)
            .custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY)
            .open(self.path(path));
        let Some(file) = there(opened)? else {
            return Ok(None);
        };
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("is not a regular file"));
        }
        let mut bytes = Vec::new();
        file.take(largest + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > largest {
            return Err(io::Error::other("is too long to be read"));
        }
        Ok(Some(bytes))
    }

    /// What a path is, the last symbolic link not followed; `None` when there is nothing.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn about(&self, path: &str) -> io::Result<Option<Metadata>> {
        there(fs::symlink_metadata(self.path(path)))
    }

    /// The names in a directory, in order; none when there is no such directory.
    ///
    /// # Errors
    /// It cannot be read, has no end, or holds a name that is no text: programs that read it obey such a
    /// file as well.
    pub fn names(&self, directory: &str) -> io::Result<Vec<String>> {
        let Some(entries) = there(fs::read_dir(self.path(directory)))? else {
            return Ok(Vec::new());
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry?.file_name().into_string();
            let name = name.map_err(|odd| {
                io::Error::other(format!("holds {}, a name that is no text", odd.display()))
            })?;
            names.push(name);
            if names.len() > MOST_NAMES {
                return Err(io::Error::other("holds too many names"));
            }
        }
        sorted::sort(&mut names);
        Ok(names)
    }

    /// Where a symbolic link leads; `None` when there is nothing, or no link.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn link(&self, path: &str) -> io::Result<Option<PathBuf>> {
        match fs::read_link(self.path(path)) {
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => Ok(None),
            read => there(read),
        }
    }

    /// The number of the file system that holds what lies in this directory.
    ///
    /// # Errors
    /// There is no such directory, or it cannot be looked at.
    pub(crate) fn device(&self, directory: &str) -> io::Result<u64> {
        Ok(fs::metadata(self.path(directory))?.dev())
    }
}

/// Turns "no such file" into `None`; all else that went wrong stays an error.
fn there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests;
