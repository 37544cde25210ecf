//! Memory that keys lie in: locked, left out of cores, wiped.

use crate::key::{KEY_LEN, Key};
use nix::libc;
use nix::sys::mman::{MapFlags, ProtFlags, mlock, mmap_anonymous, munmap};
use std::ffi::c_void;
use std::io;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use zeroize::Zeroize;

#[cfg(target_os = "linux")]
const LEAVE_OUT_OF_CORES: libc::c_int = libc::MADV_DONTDUMP;
#[cfg(target_os = "freebsd")]
const LEAVE_OUT_OF_CORES: libc::c_int = libc::MADV_NOCORE;

/// Whether processes that are forked later inherit a mapping.
#[cfg(target_os = "linux")]
const HIDE: libc::c_int = libc::MADV_DONTFORK;
#[cfg(target_os = "freebsd")]
const HIDE: libc::c_int = libc::INHERIT_NONE;
#[cfg(target_os = "linux")]
const SHOW: libc::c_int = libc::MADV_DOFORK;
#[cfg(target_os = "freebsd")]
const SHOW: libc::c_int = libc::INHERIT_SHARE;

/// Once they are used: what of a library is never touched need not be in memory.
#[cfg(target_os = "linux")]
const ALL_MEMORY: libc::c_int = libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT;
#[cfg(target_os = "freebsd")]
const ALL_MEMORY: libc::c_int = libc::MCL_CURRENT | libc::MCL_FUTURE;

/// Locks the pages that hold `bytes` and leaves them out of cores.
///
/// Nothing unlocks them again: a page may hold two keys, and the process is short-lived.
///
/// # Errors
/// The kernel refused; then no key may be put there.
pub fn guard_memory(bytes: &[u8]) -> io::Result<()> {
    let Some(start) = NonNull::new(bytes.as_ptr().cast_mut().cast::<c_void>()) else {
        return Err(io::Error::other("no memory"));
    };
    // SAFETY: the range is a live slice; locking pages changes no contents.
    unsafe { mlock(start, bytes.len()) }?;
    // SAFETY: as above; the advice only keeps the pages out of core files. The kernel wants the
    // address of a whole page, and rounding down stays inside the mapping that holds the slice.
    unsafe {
        let page = page_size();
        let first = (start.as_ptr() as usize) & !(page - 1);
        let length = (start.as_ptr() as usize + bytes.len()).next_multiple_of(page) - first;
        if libc::madvise(first as *mut c_void, length, LEAVE_OUT_OF_CORES) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Keeps every page of this process in memory, what it will yet use as well: for one that hands keys to
/// a library, which keeps copies of its own.
///
/// # Errors
/// The kernel refused.
pub fn guard_all_memory() -> io::Result<()> {
    // SAFETY: locking pages changes no contents.
    match unsafe { libc::mlockall(ALL_MEMORY) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

pub(super) fn page_size() -> usize {
    // SAFETY: sysconf has no preconditions.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}

/// Memory shared with the worker that reads the store: a row of places, one key each.
///
/// The worker fills it, answers, and ends; the parent takes the keys out only after that answer, into
/// places of their own, so that nobody can change a key after it was fingerprinted.
#[derive(Debug)]
pub struct Intake {
    start: NonNull<c_void>,
    places: usize,
}

impl Intake {
    /// An empty row of `places`, locked.
    ///
    /// # Errors
    /// The kernel gave no memory or would not lock it.
    pub fn new(places: usize) -> io::Result<Intake> {
        let length = NonZeroUsize::new(places * KEY_LEN).ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: a fresh anonymous mapping aliases nothing.
        let start = unsafe {
            mmap_anonymous(
                None,
                length,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_SHARED,
            )
        }?;
        let mut intake = Intake { start, places };
        guard_memory(intake.bytes())?;
        Ok(intake)
    }

    /// An empty row, and the reader that `start` forks, which alone inherits it: it is hidden from every
    /// process that is forked later.
    ///
    /// # Errors
    /// As for [`Intake::new`], or the kernel would not hide it.
    pub fn with_reader<T>(
        places: usize,
        start: impl FnOnce(&mut Intake) -> T,
    ) -> io::Result<(Intake, T)> {
        let mut intake = Intake::new(places)?;
        let reader = start(&mut intake);
        intake.hide()?;
        Ok((intake, reader))
    }

    /// Lets the one worker inherit it that `start` forks.
    ///
    /// # Errors
    /// The kernel would not show it or hide it again.
    pub fn shown<T>(&mut self, start: impl FnOnce(&mut Intake) -> T) -> io::Result<T> {
        self.inherit(SHOW)?;
        let started = start(self);
        self.inherit(HIDE)?;
        Ok(started)
    }

    fn hide(&self) -> io::Result<()> {
        self.inherit(HIDE)
    }

    fn inherit(&self, how: libc::c_int) -> io::Result<()> {
        let (start, length) = (self.start.as_ptr(), self.places * KEY_LEN);
        // SAFETY: the range is a mapping of our own, which this process keeps.
        #[cfg(target_os = "linux")]
        let done = unsafe { libc::madvise(start, length, how) };
        // SAFETY: as above.
        #[cfg(target_os = "freebsd")]
        let done = unsafe { libc::minherit(start, length, how) };
        match done {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Copies key number `index` into a box of its own; the place keeps it as well.
    ///
    /// # Errors
    /// There is no such place, or the box could not be locked.
    pub fn copy(&mut self, index: usize) -> io::Result<Key> {
        let place = self.place(index).ok_or(io::ErrorKind::InvalidInput)?;
        Key::take(|bytes| {
            bytes.copy_from_slice(place);
            Ok(())
        })
    }

    /// How many keys it can hold.
    pub fn places(&self) -> usize {
        self.places
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the mapping is this long and lives as long as self; the worker that shares it is
        // a copy of this process in which the parent does not run, or is gone.
        unsafe {
            std::slice::from_raw_parts_mut(self.start.as_ptr().cast::<u8>(), self.places * KEY_LEN)
        }
    }

    /// The place number `index`, to read a key into.
    pub fn place(&mut self, index: usize) -> Option<&mut [u8]> {
        self.bytes().chunks_exact_mut(KEY_LEN).nth(index)
    }

    /// Takes the key out of place number `index` into a box of its own and wipes the place.
    ///
    /// # Errors
    /// There is no such place, or its box could not be locked.
    pub fn take(&mut self, index: usize) -> io::Result<Key> {
        let key = self.copy(index);
        if let Some(place) = self.place(index) {
            place.zeroize();
        }
        key
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        self.bytes().zeroize();
        let length = self.places * KEY_LEN;
        // SAFETY: unmapped exactly once, and nothing borrows from it any more.
        let _ = unsafe { munmap(self.start, length) };
    }
}

#[cfg(all(test, target_os = "linux"))]
pub(super) use tests::flags_of_mapping;

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_os = "linux")]
    use crate::{
        os::worker,
        time::{Deadline, SystemClock},
    };
    #[cfg(target_os = "linux")]
    use std::time::Duration;

    #[test]
    fn a_taken_key_leaves_nothing_behind() {
        let mut intake = Intake::new(3).unwrap();
        intake.place(1).unwrap().fill(9);
        let key = intake.take(1).unwrap();
        assert_eq!(key.expose(), &[9; KEY_LEN]);
        assert_eq!(intake.place(1).unwrap(), &[0; KEY_LEN]);
        assert!(intake.take(3).is_err());
    }

    /// Who shares the memory sees what becomes of it: the worker of a run that goes on without it.
    #[test]
    fn law_2_an_intake_that_is_dropped_is_wiped_for_all_who_share_it() {
        use nix::sys::wait::{WaitStatus, waitpid};
        use nix::unistd::{ForkResult, fork, pipe, read, write};
        let mut intake = Intake::new(3).unwrap();
        intake.bytes().fill(9);
        let (go, ready) = pipe().unwrap();
        // SAFETY: the child only reads, and ends with _exit.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                let was = intake.bytes().iter().all(|byte| *byte == 9);
                let _ = read(&go, &mut [0]);
                let is = intake.bytes().iter().all(|byte| *byte == 0);
                // SAFETY: ends the child at once.
                unsafe { libc::_exit(i32::from(!(was && is))) }
            }
            ForkResult::Parent { child } => {
                // The child has to see the keys before they are wiped.
                std::thread::sleep(std::time::Duration::from_millis(200));
                drop(intake);
                write(&ready, b"x").unwrap();
                assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 0)));
            }
        }
    }

    /// The part of the stack that is free now, the deepest first, as the kernel shows it.
    #[cfg(target_os = "linux")]
    #[inline(never)]
    fn free_stack() -> Vec<u8> {
        use std::os::unix::fs::FileExt;
        const DEPTH: usize = 32 << 10;
        // Of the heap, so that this very copy is not on the stack.
        let mut bytes = vec![0; DEPTH];
        let here = [0_u8; 1];
        let from = here.as_ptr() as usize - DEPTH;
        let memory = std::fs::File::open("/proc/self/mem").unwrap();
        let from = u64::try_from(from).unwrap();
        memory.read_exact_at(&mut bytes, from).unwrap();
        bytes
    }

    #[cfg(target_os = "linux")]
    fn marked(place: &mut [u8]) {
        for (byte, number) in place.iter_mut().zip(0..) {
            *byte = 0xa7_u8.wrapping_mul(number) ^ 0x5c;
        }
    }

    #[cfg(target_os = "linux")]
    fn is_on_the_free_stack(key: &[u8]) -> bool {
        free_stack().windows(16).any(|part| part == &key[..16])
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn law_2_hashing_a_key_leaves_none_of_it_on_the_stack() {
        let take = || {
            Key::take(|place| {
                marked(place);
                Ok(())
            })
        };
        let key = take().unwrap();
        assert!(!is_on_the_free_stack(key.expose()), "its fingerprint");
        let nonce = crate::key::Nonce::from([1; 32]);
        let _ = key.prove(&nonce, "f0", "store");
        assert!(!is_on_the_free_stack(key.expose()), "a proof");
        // Control: hashing by itself leaves it there.
        let _ = std::hint::black_box(blake3::derive_key("a test", key.expose()));
        assert!(is_on_the_free_stack(key.expose()), "this test sees nothing");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn law_2_only_who_is_to_read_into_an_intake_inherits_it() {
        let clock = SystemClock::start();
        let soon = || Deadline::after(&clock, Duration::from_secs(20));
        let (mut intake, filled) = Intake::with_reader(2, |intake| {
            worker::run("its reader", &clock, soon(), || {
                intake.place(1).map(|place| place.fill(9)).is_some()
            })
        })
        .unwrap();
        assert!(filled.unwrap());
        let address = intake.start.as_ptr() as usize;
        let inherited = worker::run("another", &clock, soon(), || is_mapped(address));
        assert_eq!((inherited.unwrap(), is_mapped(address)), (false, true));
        assert_eq!(intake.take(1).unwrap().expose(), &[9; KEY_LEN]);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn law_2_an_intake_is_shown_to_one_worker_and_hidden_again() {
        let clock = SystemClock::start();
        let soon = || Deadline::after(&clock, Duration::from_secs(20));
        let (mut intake, filled) = Intake::with_reader(1, |intake| {
            worker::run("its reader", &clock, soon(), || {
                intake.place(0).map(|place| place.fill(9)).is_some()
            })
        })
        .unwrap();
        assert!(filled.unwrap());
        let address = intake.start.as_ptr() as usize;
        let inherits = || worker::run("another", &clock, soon(), || is_mapped(address)).unwrap();
        assert!(!inherits());
        let read = intake.shown(|intake| {
            worker::run("its writer", &clock, soon(), || {
                intake
                    .take(0)
                    .is_ok_and(|key| key.expose() == &[9; KEY_LEN])
            })
        });
        assert!(read.unwrap().unwrap());
        assert!(!inherits());
        // The writer has taken it out of the one memory that there is.
        assert_eq!(intake.copy(0).unwrap().expose(), &[0; KEY_LEN]);
    }

    #[cfg(target_os = "linux")]
    fn is_mapped(address: usize) -> bool {
        !flags_of_mapping(address).is_empty()
    }

    /// Where in this process's writable memory eight bytes of a key lie, other than in its box.
    #[cfg(target_os = "linux")]
    fn copies_of(key: &Key) -> Vec<usize> {
        use std::os::unix::fs::FileExt;
        let memory = std::fs::File::open("/proc/self/mem").unwrap();
        let own = key.expose().as_ptr_range();
        let own = own.start.addr()..own.end.addr();
        let mut buffer = vec![0; 1 << 16];
        let read_into = buffer.as_ptr_range();
        let read_into = read_into.start.addr()..read_into.end.addr();
        let mut found = Vec::new();
        for (low, high) in writable() {
            let mut at = low;
            while at < high {
                let length = buffer.len().min(high - at);
                let chunk = &mut buffer[..length];
                let read = memory.read_at(chunk, at as u64).unwrap_or(0);
                for piece in key.expose().chunks_exact(8) {
                    let hits = chunk[..read].windows(8).enumerate();
                    let hits = hits.filter(|(_, bytes)| *bytes == piece);
                    found.extend(hits.map(|(place, _)| at + place));
                }
                if length < 8 {
                    break;
                }
                // What lies across the border is in the next piece as well.
                at += if at + length < high {
                    length - 7
                } else {
                    length
                };
            }
        }
        buffer.zeroize();
        found.retain(|place| !own.contains(place) && !read_into.contains(place));
        found
    }

    #[cfg(target_os = "linux")]
    fn writable() -> Vec<(usize, usize)> {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let ranges = maps.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            let (low, high) = words.next()?.split_once('-')?;
            let address = |hex| usize::from_str_radix(hex, 16).ok();
            let range = (address(low)?, address(high)?);
            words.next()?.starts_with("rw").then_some(range)
        });
        ranges.collect()
    }

    /// A key that is in no other test.
    #[cfg(target_os = "linux")]
    fn fresh() -> Key {
        Key::take(|place| crate::os::random(place)).unwrap()
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_scan_of_memory_finds_a_planted_key_wherever_it_lies() {
        let key = fresh();
        assert!(copies_of(&key).is_empty());
        let mut heap = key.expose()[..9].to_vec();
        assert_eq!(copies_of(&key), [heap.as_ptr().addr()]);
        heap.zeroize();
        let mut stack = *key.expose();
        let found = copies_of(&key).len();
        stack.zeroize();
        assert!(found >= 4, "{found}");
        assert!(copies_of(&key).is_empty());
    }

    /// Law 2, by this process's whole memory: handed to a pool's worker that was asked something else
    /// before, to a program, proven and fingerprinted, a key is in its box alone.
    #[test]
    #[cfg(target_os = "linux")]
    fn law_2_a_key_that_was_handed_over_is_in_its_box_alone() {
        use crate::zfs::direct::tests::with_worker;
        use crate::zfs::{Answer, Try, Zfs};
        let root: crate::names::DatasetName = "tank/enc".parse().unwrap();
        let refused = |_: &[u8]| (b'!', "no".to_owned());
        let key = with_worker(refused, |direct, deadline| {
            direct.begin("tank", 1, None);
            let key = fresh();
            let loaded = direct.load_keys(&[(&root, &key)], deadline);
            assert!(matches!(loaded[0].answer, Answer::CouldNotAsk(_)));
            let _ = direct.try_key(&root, &key, Try::Probe, deadline);
            key
        });
        let clock = SystemClock::start();
        let call = crate::child::Call {
            program: std::path::Path::new("/bin/cat"),
            args: &["/dev/null"],
            input: Some(&[crate::piece::Piece::from(&key)]),
        };
        let soon = Deadline::after(&clock, Duration::from_secs(20));
        crate::child::run(&call, &clock, soon).unwrap();
        let nonce = crate::key::Nonce::from([7; 32]);
        let _ = key.prove(&nonce, "f0", "0f");
        assert!(copies_of(&key).is_empty());
    }

    /// By the worker's own memory, seen by the library that is handed the key.
    #[test]
    #[cfg(target_os = "linux")]
    fn law_2_a_pools_worker_has_all_its_memory_locked_before_the_first_key() {
        use crate::os::libzfs::Core;
        use crate::zfs::direct::tests::first_key;
        for how in [crate::zfs::Try::Load, crate::zfs::Try::Probe] {
            let answer = first_key(Ok(Core::for_locked_memory()), how);
            assert_eq!(answer, crate::zfs::Answer::Opens, "{how:?}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn key_memory_is_locked_and_left_out_of_cores() {
        let key = Key::take(|place| {
            place.fill(5);
            Ok(())
        })
        .unwrap();
        let address = key.expose().as_ptr() as usize;
        let flags = flags_of_mapping(address);
        assert!(flags.contains(&"lo".to_owned()), "locked: {flags:?}");
        assert!(flags.contains(&"dd".to_owned()), "no dump: {flags:?}");
    }

    #[cfg(target_os = "linux")]
    pub(in crate::os) fn flags_of_mapping(address: usize) -> Vec<String> {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        for line in maps.lines() {
            let range = line
                .split_whitespace()
                .next()
                .and_then(|w| w.split_once('-'));
            if let Some((low, high)) = range {
                let low = usize::from_str_radix(low, 16);
                let high = usize::from_str_radix(high, 16);
                if let (Ok(low), Ok(high)) = (low, high) {
                    inside = (low..high).contains(&address);
                }
            }
            if inside && let Some(flags) = line.strip_prefix("VmFlags:") {
                return flags.split_whitespace().map(str::to_owned).collect();
            }
        }
        Vec::new()
    }
}
