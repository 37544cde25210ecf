//! The guard of mountpoints: while nothing is mounted on one, its bare directory is immutable, so
//! that nothing can be written beside the dataset. Files that lie there all the same are told, and
//! never touched.

use crate::config::{Condition, Config};
use crate::host::bare::Bare;
use crate::links::{self, Link, Way};
use crate::os;
use crate::pass::Pass;
use crate::report::Severity;
use crate::sorted::Set;
use crate::system::Guard;
use crate::zfs::Mountpoint;
use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{Mode, SFlag, fstat, fstatat};
use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest that one mountpoint may take.
const ONE_POINT: Duration = Duration::from_secs(5);
/// How many files are named.
const NAMED: usize = 5;
/// How many entries are looked at for that.
const LOOKED_AT: usize = 1000;

/// Makes every guarded directory immutable on which nothing is mounted.
pub fn bare(pass: &mut Pass) {
    for path in &pass.config.guards {
        let deadline = pass.deadline.at_most(pass.clock(), ONE_POINT);
        let shown = path.display().to_string();
        match pass.node.system.guard(path, deadline) {
            Ok(Guard::Mounted | Guard::Missing) => {}
            Ok(Guard::NotSupported) => {
                let what = "its bare directory is not guarded: the file system around it knows no immutable directories";
                let remedy = "take it out of `guards`";
                pass.report.find(Severity::Warning, &shown, what, remedy);
            }
            Ok(Guard::Bare { already, files }) => {
                if !already {
                    let change = format!("made the bare directory {shown} immutable");
                    pass.report.change(change);
                }
                tell_files(pass, path, &files);
            }
            Err(trouble) => {
                let what = format!("its bare directory is not guarded: {trouble}");
                let remedy = "see what is wrong with the directory";
                pass.report.find(Severity::Warning, &shown, &what, remedy);
            }
        }
    }
}

fn tell_files(pass: &mut Pass, path: &Path, files: &[String]) {
    if files.is_empty() {
        return;
    }
    let what = format!(
        "files lie in the directory under {}, such as {}: written while it was not mounted",
        dataset_on(pass.config, path),
        files.join(", ")
    );
    let remedy = "compare them with the dataset and move them yourself; nothing was touched";
    let shown = path.display().to_string();
    pass.report.find(Severity::Failure, &shown, &what, remedy);
}

/// The dataset that belongs on a guarded path, by the gates.
fn dataset_on(config: &Config, path: &Path) -> String {
    let mut needs = config.gates.iter().flat_map(|gate| &gate.needs);
    let dataset = needs.find_map(|need| match need {
        Condition::Mounted { path: at, dataset } if at == path => Some(dataset.to_string()),
        _ => None,
    });
    dataset.unwrap_or_else(|| "its dataset".to_owned())
}

/// Tells of files that lie beneath what is mounted on the guarded directories, where the system has
/// a way to look.
pub fn beneath(pass: &mut Pass) {
    if pass.config.guards.is_empty() {
        return;
    }
    let datasets = pass.observed.datasets();
    let places: Set<PathBuf> = datasets
        .filter_map(|dataset| match &dataset.mountpoint {
            Mountpoint::Path(at) => Some(at.clone()),
            _ => None,
        })
        .collect();
    let deadline = pass.deadline.at_most(pass.clock(), ONE_POINT);
    let seen = pass
        .node
        .system
        .beneath(&pass.config.guards, &places, deadline);
    let seen = match seen {
        Ok(seen) => seen,
        Err(trouble) => {
            let what = format!("not known whether files lie beneath them: {trouble}");
            pass.report
                .find(Severity::Warning, "guards", &what, "`f3skeys doctor`");
            return;
        }
    };
    for (point, bare) in seen {
        match bare {
            Ok(Bare::Holds(path) | Bare::Shows(path)) => {
                let found = path.strip_prefix(&point).unwrap_or(&path);
                tell_files(pass, &point, &[found.display().to_string()]);
            }
            Ok(Bare::Absent | Bare::Clean | Bare::Covered) => {}
            Err(why) => {
                let what = format!("not known whether files lie beneath it: {why}");
                let shown = point.display().to_string();
                pass.report
                    .find(Severity::Warning, &shown, &what, "`f3skeys doctor`");
            }
        }
    }
}

/// Makes a directory immutable if nothing is mounted on it. For a worker only: it may block.
///
/// # Errors
/// It is no directory, a link leads there that is not of the root file system, or the kernel refused.
pub fn now(path: &Path) -> io::Result<Guard> {
    let root = os::covering(Path::new("/"))?.map(|mount| mount.source);
    by_links(path, |link| Some(&link.on) == root.as_ref())
}

/// The same by links that are this host's own. Any other is the word of whoever can write there, or has
/// sent it.
pub(crate) fn by_links(path: &Path, is_own: impl Fn(&Link) -> bool) -> io::Result<Guard> {
    // Where it really is, else a mount could not be told from a bare directory by its path.
    let Way { real, links } = links::way(path)?;
    if let Some(link) = links.iter().find(|link| !is_own(link)) {
        let (at, on) = (link.at.display(), &link.on);
        let why = format!("the symbolic link {at} lies on {on}, not on the root file system");
        return Err(io::Error::other(why));
    }
    let opened = File::options()
        .read(true)
        .custom_flags(nix::libc::O_DIRECTORY | nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
        .open(&real);
    let directory = match opened {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Guard::Missing),
        opened => opened?,
    };
    // Asked of the open directory: what is mounted from here on does not change what is guarded.
    if os::mount_of(&directory)?.at == real {
        return Ok(Guard::Mounted);
    }
    let Some(already) = os::make_immutable(&directory)? else {
        return Ok(Guard::NotSupported);
    };
    let mut files = Vec::new();
    let mut left = LOOKED_AT;
    files_in(
        Dir::from_fd(directory.into())?,
        Path::new(""),
        &mut left,
        &mut files,
    )?;
    Ok(Guard::Bare { already, files })
}

/// Names some of the files in and below a directory of one file system. Directories alone are none:
/// they may lead to other mountpoints.
fn files_in(
    mut directory: Dir,
    below: &Path,
    left: &mut usize,
    files: &mut Vec<String>,
) -> io::Result<()> {
    let device = fstat(&directory)?.st_dev;
    let mut entries = Vec::new();
    for entry in directory.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            entries.push(name.to_owned());
        }
        if entries.len() >= *left {
            break;
        }
    }
    for name in entries {
        if *left == 0 || files.len() >= NAMED {
            return Ok(());
        }
        *left -= 1;
        let about = fstatat(&directory, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
        let shown = below.join(name.to_string_lossy().as_ref());
        if about.st_mode & SFlag::S_IFMT.bits() != SFlag::S_IFDIR.bits() {
            files.push(shown.display().to_string());
        } else if about.st_dev == device {
            let how = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let next = Dir::openat(&directory, name.as_c_str(), how, Mode::empty())?;
            files_in(next, &shown, left, files)?;
        }
    }
    Ok(())
}
