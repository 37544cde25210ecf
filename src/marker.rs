//! Files in the run directory: markers of gates and the one lock.
//!
//! A marker is replaced atomically and only when it changes, so that nobody ever sees half of one
//! or a gap between two.

use crate::gate::Marker;
use crate::names::GateName;
use crate::sorted;
use crate::time::{Clock, Deadline};
use nix::unistd::geteuid;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The largest marker that is read, in bytes.
const LARGEST: u64 = 1 << 16;
/// The file that says that the node is locked.
const LOCKED: &str = "locked";
/// The longest wait for another run to give back the lock.
pub const LOCK_WAIT: Duration = Duration::from_secs(15);
// A `reconcile` has the lock while it asks peers; nobody is to be turned away for that.
const _: () = assert!(LOCK_WAIT.as_secs() > crate::peers::PATIENCE.as_secs());
/// Between two tries for the lock.
pub const LOCK_POLL: Duration = Duration::from_millis(20);

/// The directory of the markers in a run directory.
pub fn directory(run: &Path) -> PathBuf {
    run.join("gates")
}

/// The marker of a gate; services may name it in `required_files`.
pub fn path(run: &Path, gate: &GateName) -> PathBuf {
    directory(run).join(gate.as_str())
}

/// Reads a gate's marker; `None` when there is none.
///
/// # Errors
/// It is there and cannot be trusted: not a plain file of ours, or not a marker.
pub fn read(run: &Path, gate: &GateName) -> io::Result<Option<Marker>> {
    let Some(bytes) = read_file(&path(run, gate))? else {
        return Ok(None);
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|_| io::Error::other("is not a marker"))
}

/// Reads a small file that only root may have written; `None` when there is none.
///
/// # Errors
/// It is there and cannot be trusted.
pub fn read_file(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::options()
        .read(true)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
        .open(path)
    {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let about = file.metadata()?;
    let ours = about.is_file() && about.mode() & 0o022 == 0;
    if !ours || (about.uid() != 0 && about.uid() != geteuid().as_raw()) {
        return Err(io::Error::other("is not a file that only root may write"));
    }
    // Room for all of it at once.
    let mut text = Vec::with_capacity(1 << 12);
    file.take(LARGEST).read_to_end(&mut text)?;
    Ok(Some(text))
}

/// Puts a marker in place, atomically; tells whether that changed anything.
///
/// # Errors
/// The run directory could not be written.
pub fn write(run: &Path, marker: &Marker) -> io::Result<bool> {
    if read(run, &marker.gate).is_ok_and(|old| old.as_ref() == Some(marker)) {
        return Ok(false);
    }
    let bytes = serde_json::to_vec_pretty(marker)?;
    make_directory(run)?;
    make_directory(&directory(run))?;
    replace(&path(run, &marker.gate), &bytes)?;
    Ok(true)
}

/// Removes a gate's marker; tells whether there was one.
///
/// # Errors
/// It could not be removed.
pub fn remove(run: &Path, gate: &GateName) -> io::Result<bool> {
    match fs::remove_file(path(run, gate)) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// Removes every marker that was not made in the boot `boot`, and whatever else is in their
/// directory; gives the names removed. Without an identity of this boot none can be trusted.
///
/// # Errors
/// One could not be removed.
pub fn remove_stale(run: &Path, boot: Option<&str>) -> io::Result<Vec<String>> {
    let mut removed = Vec::new();
    let entries = match fs::read_dir(directory(run)) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(removed),
        Err(e) => return Err(e),
    };
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let fresh = name.parse().is_ok_and(|gate: GateName| {
            let marker = read(run, &gate);
            marker.is_ok_and(|m| m.is_some_and(|m| m.gate == gate && Some(&*m.boot) == boot))
        });
        if !fresh {
            fs::remove_file(directory(run).join(&name))?;
            removed.push(name);
        }
    }
    sorted::sort(&mut removed);
    Ok(removed)
}

/// Whether a person has locked the node since it was last booted, so that nothing but a person
/// opens it again.
///
/// # Errors
/// The run directory could not be read.
pub fn is_locked(run: &Path) -> io::Result<bool> {
    run.join(LOCKED).try_exists()
}

/// Remembers that the node is locked, or that it is no more.
///
/// # Errors
/// The run directory could not be written.
pub fn set_locked(run: &Path, locked: bool) -> io::Result<()> {
    let path = run.join(LOCKED);
    if locked {
        make_directory(run)?;
        return replace(&path, b"");
    }
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// The file that remembers, in the boot `boot`, that a gate's services are to be started once it
/// opens.
fn pending(run: &Path, gate: &GateName) -> PathBuf {
    run.join("pending").join(gate.as_str())
}

/// Whether the gate's services are to be started once it opens.
///
/// # Errors
/// The run directory could not be read.
pub fn is_pending(run: &Path, gate: &GateName, boot: &str) -> io::Result<bool> {
    match fs::read_to_string(pending(run, gate)) {
        Ok(of_boot) => Ok(of_boot == boot),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// Remembers that a gate's services are to be started once it opens.
///
/// # Errors
/// The run directory could not be written.
pub fn set_pending(run: &Path, gate: &GateName, boot: &str) -> io::Result<()> {
    if is_pending(run, gate, boot).is_ok_and(|already| already) {
        return Ok(());
    }
    make_directory(run)?;
    make_directory(&run.join("pending"))?;
    replace(&pending(run, gate), boot.as_bytes())
}

/// Remembers that a gate's services were started.
///
/// # Errors
/// The run directory could not be written.
pub fn clear_pending(run: &Path, gate: &GateName) -> io::Result<()> {
    match fs::remove_file(pending(run, gate)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Makes a directory that all may read and only root may write, with those above it.
///
/// # Errors
/// It could not be made.
pub fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(path)?;
    // The process makes all files private; this one directory is for services to look into.
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
}

/// Puts a file in place that is never seen half written and outlives a power cut.
///
/// # Errors
/// Any step failed, `fsync` included; the old file is still there then.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    put(path, bytes, File::sync_all)?;
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    File::open(directory)?.sync_all()
}

/// As [`replace`], but nobody waits for the disk: a power cut soon after may leave the old file, the new
/// one, or none that can be read.
///
/// # Errors
/// Any step failed; the old file is still there then.
pub fn replace_unwaited(path: &Path, bytes: &[u8]) -> io::Result<()> {
    put(path, bytes, |_| Ok(()))
}

fn put(path: &Path, bytes: &[u8], wait: impl Fn(&File) -> io::Result<()>) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Nobody else writes here while we hold the lock; what a killed run left is ours to replace.
    let temporary = directory.join(format!(".{name}.new"));
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(&temporary)?;
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    file.write_all(bytes)?;
    wait(&file)?;
    fs::rename(&temporary, path)
}

/// The one lock of all verbs that change anything. Given back when dropped.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the lock lives as long as the open file")] File);

/// Takes the lock if nobody has it; `None` while another run does.
///
/// # Errors
/// The run directory could not be written.
pub fn try_lock(run: &Path) -> io::Result<Option<Lock>> {
    make_directory(run)?;
    try_lock_file(&run.join("lock"))
}

fn try_lock_file(path: &Path) -> io::Result<Option<Lock>> {
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => return Ok(None),
        Err(fs::TryLockError::Error(e)) => return Err(e),
    }
    // FreeBSD's cleanvar empties /var/run: a lock on a file that is gone excludes nobody.
    let held = file.metadata()?;
    match fs::metadata(path) {
        Ok(now) if (now.dev(), now.ino()) == (held.dev(), held.ino()) => Ok(Some(Lock(file))),
        _ => Ok(None),
    }
}

/// Takes the lock, waiting a while for a run that has it; `None` when that keeps it.
///
/// # Errors
/// The run directory could not be written.
pub fn lock(run: &Path, clock: &dyn Clock) -> io::Result<Option<Lock>> {
    wait_for(clock, LOCK_WAIT, || try_lock(run))
}

/// Takes a lock of its own file, made when it is not there, waiting at most this long for whoever
/// has it; `None` when that keeps it.
///
/// # Errors
/// The file could not be made or locked.
pub fn lock_file(path: &Path, clock: &dyn Clock, longest: Duration) -> io::Result<Option<Lock>> {
    wait_for(clock, longest, || try_lock_file(path))
}

fn wait_for(
    clock: &dyn Clock,
    longest: Duration,
    take: impl Fn() -> io::Result<Option<Lock>>,
) -> io::Result<Option<Lock>> {
    let deadline = Deadline::after(clock, longest);
    loop {
        match take()? {
            None if !deadline.passed(clock) => clock.sleep(LOCK_POLL),
            taken => return Ok(taken),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::Known;
    use crate::sorted::Map;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let path = std::env::temp_dir().join(format!("f3skeys-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            Scratch(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn marker(gate: &str, boot: &str) -> Marker {
        Marker {
            boot: boot.to_owned(),
            gate: gate.parse().unwrap(),
            definition: "d".to_owned(),
            seen: Map::new(),
            known: Known::default(),
        }
    }

    #[test]
    fn a_second_write_of_the_same_changes_nothing() {
        let run = Scratch::new("marker-same");
        let marker = marker("nfs", "b1");
        assert!(write(&run.0, &marker).unwrap());
        let before = fs::metadata(path(&run.0, &marker.gate)).unwrap();
        assert!(!write(&run.0, &marker).unwrap());
        let after = fs::metadata(path(&run.0, &marker.gate)).unwrap();
        assert_eq!(
            (before.ino(), before.mtime_nsec()),
            (after.ino(), after.mtime_nsec())
        );
        assert_eq!(read(&run.0, &marker.gate).unwrap(), Some(marker));
    }

    #[test]
    fn law_4_markers_of_other_boots_go_and_ours_stay() {
        let run = Scratch::new("marker-stale");
        write(&run.0, &marker("nfs", "now")).unwrap();
        write(&run.0, &marker("old", "then")).unwrap();
        fs::write(path(&run.0, &"junk".parse().unwrap()), "junk").unwrap();
        fs::copy(
            path(&run.0, &"nfs".parse().unwrap()),
            path(&run.0, &"copy".parse().unwrap()),
        )
        .unwrap();
        assert_eq!(
            remove_stale(&run.0, Some("now")).unwrap(),
            ["copy", "junk", "old"]
        );
        assert!(read(&run.0, &"nfs".parse().unwrap()).unwrap().is_some());
        assert_eq!(remove_stale(&run.0, None).unwrap(), ["nfs"]);
    }

    #[test]
    fn a_marker_that_others_may_write_or_that_is_a_link_is_refused() {
        let run = Scratch::new("marker-loose");
        let gate: GateName = "nfs".parse().unwrap();
        write(&run.0, &marker("nfs", "b")).unwrap();
        let file = path(&run.0, &gate);
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
        assert!(read(&run.0, &gate).is_err());
        let real = run.0.join("elsewhere");
        fs::rename(&file, &real).unwrap();
        std::os::unix::fs::symlink(&real, &file).unwrap();
        assert!(read(&run.0, &gate).is_err());
    }

    #[test]
    fn only_one_holds_the_lock_and_a_removed_lock_file_excludes_nobody() {
        let run = Scratch::new("lock");
        let first = try_lock(&run.0).unwrap();
        assert!(first.is_some());
        assert!(try_lock(&run.0).unwrap().is_none());
        drop(first);
        assert!(try_lock(&run.0).unwrap().is_some());
    }
}
