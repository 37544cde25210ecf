//! Random bytes of the kernel, by its system call: neither a path nor a descriptor can be put in the
//! way, and a broken `/dev` changes nothing.

use crate::time::{Clock, Deadline, SystemClock};
use nix::libc;
use std::io;
use std::time::Duration;
use zeroize::Zeroizing;

/// How long an early boot may need to seed the generator before the caller hears that it is not seeded.
const PATIENCE: Duration = Duration::from_secs(5);
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);
/// What is asked for at once, in bytes. Fewer can be equal by chance; of at most 256 the kernel gives
/// all or none.
const SIZES: std::ops::RangeInclusive<usize> = 16..=256;

/// Fills `into`, of 16 to 256 bytes, with random bytes. Waits at most five seconds for the kernel's
/// generator to be seeded.
///
/// # Errors
/// The kernel gave none in that time, or what it gave is not random: all bytes are equal, or two
/// answers in a row are the same. `into` is all zero then.
pub fn random(into: &mut [u8]) -> io::Result<()> {
    let clock = SystemClock::start();
    let deadline = Deadline::after(&clock, PATIENCE);
    let done = fill(into, &mut kernel, &clock, deadline);
    if done.is_err() {
        into.fill(0);
    }
    done
}

/// Bytes that nobody outside this process could foresee, for a word that is used once; no key is ever made
/// of them. Never waits: a boot may come before the kernel has random bytes, and then the time, the process
/// and its addresses have to do.
pub fn unforeseen(clock: &dyn Clock) -> [u8; 16] {
    let mut bytes = [0; 32];
    // What comes is random, and what does not come stays zero.
    let _ = kernel(&mut bytes);
    let here = (&raw const bytes).addr();
    let wall = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    let mut hash = blake3::Hasher::new();
    hash.update(&bytes)
        .update(&here.to_le_bytes())
        .update(&std::process::id().to_le_bytes())
        .update(&clock.now().as_nanos().to_le_bytes())
        .update(&wall.as_nanos().to_le_bytes());
    let mut short = [0; 16];
    hash.finalize_xof().fill(&mut short);
    short
}

/// One call of getrandom(2), which both systems have; it never waits.
fn kernel(into: &mut [u8]) -> io::Result<usize> {
    let flags = libc::GRND_NONBLOCK;
    // SAFETY: the kernel writes at most this many bytes, into a live slice of that length.
    let count = unsafe { libc::getrandom(into.as_mut_ptr().cast(), into.len(), flags) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

type Ask<'a> = &'a mut dyn FnMut(&mut [u8]) -> io::Result<usize>;

/// Asks twice: a generator that is stuck gives the same bytes again, and only the second answer shows
/// that. The second answer is wiped.
fn fill(into: &mut [u8], ask: Ask, clock: &dyn Clock, deadline: Deadline) -> io::Result<()> {
    if !SIZES.contains(&into.len()) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    ask_until_seeded(into, ask, clock, deadline)?;
    let mut again = Zeroizing::new([0; 256]);
    let again = &mut again[..into.len()];
    ask_until_seeded(again, ask, clock, deadline)?;
    match again == into {
        true => Err(not_random("the same bytes twice")),
        false => Ok(()),
    }
}

fn ask_until_seeded(
    into: &mut [u8],
    ask: Ask,
    clock: &dyn Clock,
    deadline: Deadline,
) -> io::Result<()> {
    loop {
        match ask(into) {
            Ok(count) if count == into.len() => return differ(into),
            Ok(count) => return Err(not_random(&format!("{count} bytes of {}", into.len()))),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() != io::ErrorKind::WouldBlock => return Err(e),
            Err(_) if deadline.passed(clock) => {
                let why = "the kernel's random generator is not seeded yet; try again later";
                return Err(io::Error::other(why));
            }
            Err(_) => clock.sleep(BETWEEN_LOOKS),
        }
    }
}

fn differ(bytes: &[u8]) -> io::Result<()> {
    match bytes.windows(2).all(|pair| pair[0] == pair[1]) {
        true => Err(not_random("equal bytes only")),
        false => Ok(()),
    }
}

fn not_random(what: &str) -> io::Error {
    let why = format!("the kernel's random generator gave {what}; nothing was made of it");
    io::Error::other(why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// A clock that moves only while somebody sleeps.
    struct Still(Cell<Duration>);

    impl Clock for Still {
        fn now(&self) -> Duration {
            self.0.get()
        }

        fn sleep(&self, time: Duration) {
            self.0.set(self.0.get() + time);
        }
    }

    fn filled(ask: Ask) -> (io::Result<()>, Duration) {
        let clock = Still(Cell::new(Duration::ZERO));
        let deadline = Deadline::after(&clock, PATIENCE);
        let done = fill(&mut [0; 32], ask, &clock, deadline);
        (done, clock.now())
    }

    #[test]
    fn the_kernel_gives_other_bytes_each_time() {
        let take = || {
            let mut bytes = [0; 32];
            random(&mut bytes).unwrap();
            bytes
        };
        assert_ne!(take(), take());
        for size in [0, 1, 15, 257] {
            let mut bytes = vec![1; size];
            assert!(random(&mut bytes).is_err(), "{size} bytes");
            assert!(bytes.iter().all(|byte| *byte == 0), "{size} bytes");
        }
        for size in [16, 256] {
            random(&mut vec![0; size]).unwrap();
        }
    }

    #[test]
    fn a_word_that_is_used_once_is_another_each_time() {
        let clock = SystemClock::start();
        assert_ne!(unforeseen(&clock), unforeseen(&clock));
    }

    #[test]
    fn law_2_equal_random_bytes_are_refused_whichever_they_are() {
        for byte in 0..=u8::MAX {
            let mut times = 0;
            // The second answer alone is equal bytes, then both are.
            for first_is_good in [true, false] {
                let (done, _) = filled(&mut |into: &mut [u8]| {
                    times += 1;
                    into.fill(byte);
                    if first_is_good && times == 1 {
                        into[0] ^= 1;
                    }
                    Ok(into.len())
                });
                assert!(done.is_err(), "{byte}");
            }
        }
    }

    #[test]
    fn law_2_a_generator_that_repeats_itself_is_refused_and_one_that_does_not_is_believed() {
        let given = |repeats: bool| {
            let mut times = 0;
            let (done, _) = filled(&mut |into: &mut [u8]| {
                times += u8::from(!repeats);
                into.fill(7);
                into[31] = times;
                Ok(into.len())
            });
            done.is_ok()
        };
        assert_eq!((given(true), given(false)), (false, true));
    }

    #[test]
    fn law_2_fewer_bytes_than_were_asked_for_are_refused() {
        for count in 0..=32 {
            let mut times = 0;
            let (done, _) = filled(&mut |into: &mut [u8]| {
                times += 1;
                into.fill(7);
                into[0] = times;
                Ok(count)
            });
            assert_eq!(done.is_ok(), count == 32, "{count}");
        }
    }

    #[test]
    fn law_6_a_generator_that_is_not_seeded_is_waited_for_and_given_up_on() {
        let (done, waited) = filled(&mut |_: &mut [u8]| Err(io::ErrorKind::WouldBlock.into()));
        assert!(done.is_err());
        assert!(waited >= PATIENCE && waited < PATIENCE * 2, "{waited:?}");
        use io::ErrorKind::{Interrupted, WouldBlock};
        // What each call comes to; `None` gives bytes.
        let script = [
            Some(WouldBlock),
            Some(Interrupted),
            Some(WouldBlock),
            None,
            Some(WouldBlock),
            None,
        ];
        let mut script = script.into_iter().zip(1..);
        let (done, waited) = filled(&mut |into: &mut [u8]| match script.next() {
            Some((Some(kind), _)) => Err(kind.into()),
            Some((None, number)) => {
                into[0] = number;
                Ok(into.len())
            }
            None => Ok(0),
        });
        assert!(
            done.is_ok() && waited == BETWEEN_LOOKS * 3,
            "{done:?} {waited:?}"
        );
        let (done, waited) = filled(&mut |_: &mut [u8]| Err(io::ErrorKind::Unsupported.into()));
        assert!(done.is_err() && waited.is_zero());
    }
}
