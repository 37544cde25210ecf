//! Files in the run directory: markers of gates and the one lock.
//!
//! A marker is replaced atomically and only when it changes, so that nobody ever sees half of one
//! or a gap between two.

use crate::digits;
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
/// The longest wait of whoever gives way.
pub const SHORT_WAIT: Duration = Duration::from_secs(5);
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

/// How often in a row a verb of this boot found another run at work, this time included.
///
/// # Errors
/// The run directory could not be written.
pub fn turned_away(run: &Path, verb: &str, boot: &str) -> io::Result<u32> {
    let path = run.join(format!("turned-away-{verb}"));
    let before = read_file(&path)?.and_then(|text| {
        let text = String::from_utf8(text).ok()?;
        let (of_boot, count) = text.split_once(' ')?;
        (of_boot == boot).then(|| digits::number(count))?
    });
    let count = before.unwrap_or(0_u32).saturating_add(1);
    make_directory(run)?;
    // Nobody has the lock here, and nothing is lost with a count.
    replace_unwaited(&path, format!("{boot} {count}").as_bytes())?;
    Ok(count)
}

/// Remembers that a verb was not turned away.
///
/// # Errors
/// The run directory could not be written.
pub fn let_in(run: &Path, verb: &str) -> io::Result<()> {
    match fs::remove_file(run.join(format!("turned-away-{verb}"))) {
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

fn lockable(path: &Path) -> io::Result<File> {
    File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(path)
}

fn try_lock_file(path: &Path) -> io::Result<Option<Lock>> {
    lock_opened(path, lockable(path)?)
}

/// Locks a file that was opened by this path.
fn lock_opened(path: &Path, file: File) -> io::Result<Option<Lock>> {
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
    lock_until(run, clock, Deadline::after(clock, LOCK_WAIT))
}

/// As [`lock`], for as long as there is time. Whoever gives way sees that somebody waits.
///
/// # Errors
/// The run directory could not be written.
pub fn lock_until(run: &Path, clock: &dyn Clock, deadline: Deadline) -> io::Result<Option<Lock>> {
    if let Some(lock) = try_lock(run)? {
        return Ok(Some(lock));
    }
    let waiting = waiting_file(run)?;
    wait_until(clock, deadline, || {
        // Several may wait at once. It fails while somebody asks whether anybody waits.
        let _ = waiting.try_lock_shared();
        try_lock(run)
    })
}

/// Takes the lock, but only while nobody waits for it that does not give way, and waits but shortly;
/// `None` when others come first. For what the network asks: a person and `reconcile` outrank it.
///
/// # Errors
/// The run directory could not be written.
pub fn lock_giving_way(run: &Path, clock: &dyn Clock) -> io::Result<Option<Lock>> {
    make_directory(run)?;
    wait_for(clock, SHORT_WAIT, || match waiting_file(run)?.try_lock() {
        // Given back at once: it only asks.
        Ok(()) => try_lock(run),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(e)) => Err(e),
    })
}

/// The file of which everybody who waits for the lock holds a shared lock.
fn waiting_file(run: &Path) -> io::Result<File> {
    lockable(&run.join("lock-waiting"))
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
    wait_until(clock, Deadline::after(clock, longest), take)
}

fn wait_until(
    clock: &dyn Clock,
    deadline: Deadline,
    take: impl Fn() -> io::Result<Option<Lock>>,
) -> io::Result<Option<Lock>> {
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
    use std::cell::Cell;

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
            mounted: Map::new(),
            known: Known::default(),
        }
    }

    /// Of each file that is taken away: one that is not there is no failure, and one that stays is.
    #[test]
    fn what_is_taken_away_is_gone_or_that_is_a_failure() {
        let run = Scratch::new("marker-away");
        let gate: GateName = "nfs".parse().unwrap();
        let turned_away = run.0.join("turned-away-reconcile");
        let away: [(PathBuf, &dyn Fn() -> io::Result<()>); 3] = [
            (turned_away, &|| let_in(&run.0, "reconcile")),
            (run.0.join(LOCKED), &|| set_locked(&run.0, false)),
            (path(&run.0, &gate), &|| remove(&run.0, &gate).map(drop)),
        ];
        for (path, take) in away {
            take().unwrap();
            // What nobody can remove as a file.
            fs::create_dir_all(&path).unwrap();
            assert!(take().is_err() && path.exists(), "{}", path.display());
            fs::remove_dir(&path).unwrap();
            fs::write(&path, "x").unwrap();
            take().unwrap();
            assert!(!path.exists(), "{}", path.display());
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

    /// Everything about the file behind the link is as it should be: only that it is a link is not.
    #[test]
    fn law_4_a_marker_that_is_a_link_is_refused_whatever_it_leads_to() {
        let run = Scratch::new("marker-link");
        let marker = marker("nfs", "b");
        write(&run.0, &marker).unwrap();
        let file = path(&run.0, &marker.gate);
        let real = directory(&run.0).join("elsewhere");
        fs::rename(&file, &real).unwrap();
        assert!(
            read_file(&real).unwrap().is_some(),
            "the file itself is good"
        );
        std::os::unix::fs::symlink(&real, &file).unwrap();
        let refused = read(&run.0, &marker.gate).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(nix::libc::ELOOP));
        // Nor is the marker written through it.
        let before = fs::read(&real).unwrap();
        let other = super::tests::marker("nfs", "c");
        write(&run.0, &other).unwrap();
        assert_eq!(fs::read(&real).unwrap(), before);
        assert!(!fs::symlink_metadata(&file).unwrap().is_symlink());
        // Neither is its temporary file, nor a lock.
        let temporary = directory(&run.0).join(".nfs.new");
        std::os::unix::fs::symlink(&real, &temporary).unwrap();
        assert!(write(&run.0, &marker).is_err());
        assert_eq!(fs::read(&real).unwrap(), before);
        std::os::unix::fs::symlink(&real, run.0.join("lock")).unwrap();
        assert!(try_lock(&run.0).is_err());
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
    fn how_often_in_a_row_a_verb_was_turned_away_is_counted_in_this_boot() {
        let run = Scratch::new("marker-turned");
        let count = |verb: &str, boot: &str| turned_away(&run.0, verb, boot).unwrap();
        let counts = ["b1", "b1", "b1", "b2", "b2"].map(|boot| count("reconcile", boot));
        assert_eq!(counts, [1, 2, 3, 1, 2]);
        assert_eq!(count("boot", "b2"), 1);
        let_in(&run.0, "reconcile").unwrap();
        assert_eq!([count("reconcile", "b2"), count("boot", "b2")], [1, 2]);
    }

    #[test]
    fn markers_that_cannot_be_looked_through_are_not_none() {
        let run = Scratch::new("marker-unread");
        assert!(remove_stale(&run.0, Some("b")).unwrap().is_empty());
        make_directory(&run.0).unwrap();
        fs::write(directory(&run.0), "").unwrap();
        assert!(remove_stale(&run.0, Some("b")).is_err());
    }

    /// A clock that moves only while somebody sleeps, and nobody sleeps on it for ever.
    struct Still(Cell<Duration>);

    impl Clock for Still {
        fn now(&self) -> Duration {
            self.0.get()
        }

        fn sleep(&self, time: Duration) {
            self.0.set(self.0.get() + time);
            assert!(self.0.get() < LOCK_WAIT, "nothing ends the wait");
        }
    }

    #[test]
    fn law_6_the_lock_is_tried_again_until_it_is_free_or_the_time_is_over() {
        let run = Scratch::new("lock-tried");
        // Free at which try, tries and waits that this takes, and whether it is had.
        for (free_at, tries, waits, is_had) in [
            (1, 1, 0, true),
            (2, 2, 1, true),
            (4, 4, 3, true),
            (5, 4, 3, false),
        ] {
            let (clock, tried) = (Still(Cell::new(Duration::ZERO)), Cell::new(0));
            let deadline = Deadline::after(&clock, LOCK_POLL * 3);
            let taken = wait_until(&clock, deadline, || {
                tried.set(tried.get() + 1);
                match tried.get() < free_at {
                    true => Ok(None),
                    false => try_lock(&run.0),
                }
            });
            assert_eq!(taken.unwrap().is_some(), is_had, "{free_at}");
            assert_eq!((tried.get(), clock.now()), (tries, LOCK_POLL * waits));
        }
    }

    #[test]
    fn law_6_a_lock_is_waited_for_as_long_as_there_is_time_and_no_longer() {
        let run = Scratch::new("lock-time");
        make_directory(&run.0).unwrap();
        let (path, clock) = (run.0.join("own"), crate::time::SystemClock::start());
        let held = lock_file(&path, &clock, Duration::ZERO).unwrap();
        assert!(held.is_some());
        let (begun, time) = (clock.now(), Duration::from_millis(60));
        assert!(lock_file(&path, &clock, time).unwrap().is_none());
        assert!(clock.now() - begun >= time);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(time);
                drop(held);
            });
            let longest = Duration::from_secs(60);
            assert!(lock_file(&path, &clock, longest).unwrap().is_some());
        });
        assert!(lock(&run.0, &clock).unwrap().is_some());
    }

    /// Whether a process of this user takes the file.
    fn is_read_by(file: &Path, user: u32) -> bool {
        let clock = crate::time::SystemClock::start();
        let deadline = Deadline::after(&clock, Duration::from_secs(20));
        let said = crate::os::worker::run("a user", &clock, deadline, || {
            nix::unistd::setuid(nix::unistd::Uid::from_raw(user)).unwrap();
            read_file(file).is_ok_and(|bytes| bytes.is_some())
        });
        said.unwrap()
    }

    /// Only root can give a file away; another user has only files of its own, which it may read.
    #[test]
    fn law_4_a_file_that_another_user_owns_is_refused() {
        let run = Scratch::new("marker-owner");
        let marker = marker("nfs", "b");
        write(&run.0, &marker).unwrap();
        let file = path(&run.0, &marker.gate);
        assert!(read_file(&file).unwrap().is_some());
        if geteuid().is_root() {
            std::os::unix::fs::chown(&file, Some(65534), None).unwrap();
            assert!(read_file(&file).is_err());
            assert!(is_read_by(&file, 65534), "it is its own");
            std::os::unix::fs::chown(&file, Some(0), None).unwrap();
            assert!(is_read_by(&file, 65534), "it is root's");
            assert!(read_file(&file).is_ok());
        }
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

    /// As `cleanvar` empties the run directory between the opening of the file and its locking.
    #[test]
    fn a_lock_of_a_file_that_is_gone_or_another_by_now_is_no_lock() {
        let run = Scratch::new("lock-gone");
        make_directory(&run.0).unwrap();
        let path = run.0.join("lock");
        let gone = lockable(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(lock_opened(&path, gone).unwrap().is_none());
        let replaced = lockable(&path).unwrap();
        fs::rename(&path, run.0.join("moved")).unwrap();
        let held = try_lock(&run.0).unwrap();
        assert!(held.is_some());
        assert!(lock_opened(&path, replaced).unwrap().is_none());
        let same = lockable(&path).unwrap();
        assert!(lock_opened(&path, same).unwrap().is_none(), "it is held");
        drop(held);
        let same = lockable(&path).unwrap();
        assert!(lock_opened(&path, same).unwrap().is_some());
    }

    #[test]
    fn law_6_whoever_gives_way_gets_no_lock_that_others_wait_for() {
        let run = Scratch::new("lock-way");
        let clock = crate::time::SystemClock::start();
        let held = try_lock(&run.0).unwrap();
        let (run, taken) = (&run.0, std::sync::atomic::AtomicBool::new(false));
        let waits = || waiting_file(run).unwrap().try_lock().is_err();
        assert!(!waits(), "nobody waits yet");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let clock = crate::time::SystemClock::start();
                let lock = lock(run, &clock).unwrap();
                taken.store(true, std::sync::atomic::Ordering::SeqCst);
                // Others see that it waits no more, and wait for it.
                std::thread::sleep(Duration::from_millis(100));
                drop(lock);
            });
            while !waits() {
                assert!(clock.now() < LOCK_WAIT * 2, "nobody waits");
                std::thread::sleep(Duration::from_millis(1));
            }
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(100));
                drop(held);
            });
            let lock = lock_giving_way(run, &clock).unwrap();
            assert!(lock.is_some() && taken.load(std::sync::atomic::Ordering::SeqCst));
        });
        // It waits but shortly, and not at all where the lock is free.
        assert!(lock_giving_way(run, &clock).unwrap().is_some());
        let _held = try_lock(run).unwrap();
        let begun = clock.now();
        assert!(lock_giving_way(run, &clock).unwrap().is_none());
        assert!((SHORT_WAIT..LOCK_WAIT).contains(&(clock.now() - begun)));
    }
}
