//! How a question comes in: a worker without rights reads it off the wire and understands it; root
//! takes what that hands over, as [`crate::flat`] has it, and nothing of the wire. Keys behind it are
//! read by a worker that understands no words, into locked memory. All of it is read before any lock
//! is taken.

use super::Refused;
use crate::exit::{DATA, Fault};
use crate::flat;
use crate::foreign;
use crate::key::Fingerprint;
use crate::os::{Intake, worker};
use crate::peers::{Question, other_version, speaks};
use crate::time::{Deadline, SystemClock};
use crate::writer;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// The longest question, in bytes: as many datasets with the longest names as it may name, twice.
const LARGEST: usize = 1 << 17;

/// One question as it comes in.
pub(super) struct Incoming<'a> {
    input: BorrowedFd<'a>,
    /// Of its own, since what is waited for is real also where the rest of the node is simulated.
    clock: SystemClock,
    deadline: Deadline,
}

impl<'a> Incoming<'a> {
    /// A question that must have come in this time, with the keys behind it.
    pub fn new(input: BorrowedFd<'a>, time: Duration) -> Incoming<'a> {
        let clock = SystemClock::start();
        Incoming {
            deadline: Deadline::after(&clock, time),
            clock,
            input,
        }
    }

    /// Reads the question, and leaves the keys behind it where they are.
    pub fn question(&self) -> Result<Question, Refused> {
        let (what, input) = ("reading the question", self.input);
        let (clock, deadline) = (&self.clock, self.deadline);
        let job = |input: &std::fs::File| told(input);
        let told = worker::run_without_rights(what, clock, deadline, input, flat::LARGEST, job);
        let told = told.map_err(|trouble| match trouble.is_timeout() {
            true => Refused::new(DATA, "the question does not end"),
            false => Refused::new(Fault::System.status(), foreign::words(&trouble.to_string())),
        })?;
        taken(&told)
    }

    /// Reads the keys behind a question that names these generations, to the end of all that comes.
    /// No process but the one that writes them on the store inherits them.
    pub fn keys(&self, bring: &[Fingerprint]) -> Result<Intake, Refused> {
        let what = "reading the keys";
        let system = |why: String| Refused::new(Fault::System.status(), foreign::words(&why));
        let read = |intake: &mut Intake| {
            let input = Some(self.input);
            worker::run_with(what, &self.clock, self.deadline, input, || {
                read_keys(bring, intake).map_err(|e| e.to_string())
            })
        };
        let (intake, done) =
            Intake::with_reader(bring.len(), read).map_err(|e| system(e.to_string()))?;
        match done {
            Ok(Ok(())) => Ok(intake),
            Ok(Err(why)) => Err(Refused::new(DATA, why)),
            Err(trouble) if trouble.is_timeout() => Err(Refused::new(DATA, "the keys do not end")),
            Err(trouble) => Err(system(trouble.to_string())),
        }
    }
}

/// All that root does with what the worker hands over.
pub(super) fn taken(told: &[u8]) -> Result<Question, Refused> {
    flat::read(told).map_err(|why| Refused::new(DATA, why))
}

/// All that the worker does. It may block for ever: root gives up on it.
pub(crate) fn told(mut input: impl Read) -> Vec<u8> {
    let question = line(&mut input).and_then(|line| {
        let question = understand(&line)?;
        // Keys are read by the worker that writes them, and by nobody else.
        match question.ask.brings_keys() || next(&mut input)?.is_none() {
            true => Ok(question),
            false => Err("something stands behind the question".to_owned()),
        }
    });
    flat::write(&question)
}

/// Reads to the end of the line, byte by byte: what stands behind it may be keys, and is left where
/// it is.
fn line(input: &mut impl Read) -> Result<Vec<u8>, String> {
    let mut line = Vec::new();
    while line.len() <= LARGEST {
        match next(input)? {
            None | Some(b'\n') => return Ok(line),
            Some(byte) => line.push(byte),
        }
    }
    Err(format!("the question has more than {LARGEST} bytes"))
}

/// One byte, or `None` at the end.
fn next(input: &mut impl Read) -> Result<Option<u8>, String> {
    let mut byte = [0];
    loop {
        match input.read(&mut byte) {
            Ok(0) => return Ok(None),
            Ok(_) => return Ok(Some(byte[0])),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e.to_string()),
        }
    }
}

/// Reads the keys off standard input, as the worker has it. Not by way of `Stdin`, whose buffer is not
/// guarded.
fn read_keys(bring: &[Fingerprint], intake: &mut Intake) -> std::io::Result<()> {
    let input = std::io::stdin().as_fd().try_clone_to_owned()?;
    writer::incoming(bring, File::from(input), intake)
}

fn understand(line: &[u8]) -> Result<Question, String> {
    serde_json::from_slice(line).map_err(|e| match other_version(line) {
        Some(version) => format!("the question {}", speaks(version)),
        None => format!("not a question: {e}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::{Ask, Put, VERSION};
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    const GOOD: &[u8] = br#"{"version":2,"from":"f0","ask":{"replicas":["z/sink/f0/nfs"]}}"#;
    const LONG: Duration = Duration::from_secs(30);
    const SHORT: Duration = Duration::from_millis(50);

    fn good() -> Question {
        Question {
            version: VERSION,
            from: "f0".parse().unwrap(),
            ask: Ask::Replicas(vec!["z/sink/f0/nfs".parse().unwrap()]),
        }
    }

    /// Writes these bytes from another thread, and leaves the end open or closes it.
    fn asked(bytes: &[u8], close: bool, time: Duration) -> Result<Question, Refused> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let bytes = bytes.to_vec();
        let writer = std::thread::spawn(move || {
            let _ = theirs.write_all(&bytes);
            (!close).then_some(theirs)
        });
        let asked = Incoming::new(ours.as_fd(), time).question();
        drop(ours);
        drop(writer.join());
        asked
    }

    #[test]
    fn law_6_a_question_ends_in_time_and_in_size() {
        assert_eq!(asked(GOOD, true, LONG), Ok(good()));
        assert_eq!(asked(&[GOOD, b"\n"].concat(), true, LONG), Ok(good()));
        let refused = asked(b"", true, LONG).unwrap_err();
        assert!(refused.what.contains("not a question"), "{refused:?}");
        let refused = asked(&vec![b' '; LARGEST + 1], false, LONG).unwrap_err();
        assert!(refused.what.contains("more than"), "{refused:?}");
        // The end of the line is not the end of the question.
        for open in [GOOD, &[GOOD, b"\n"].concat()] {
            let refused = asked(open, false, SHORT).unwrap_err();
            assert!(refused.what.contains("does not end"), "{refused:?}");
        }
    }

    #[test]
    fn the_largest_question_that_may_be_asked_is_read() {
        let long = format!("z/{}", "a".repeat(253));
        let most = Question {
            ask: Ask::Replicas(vec![long.parse().unwrap(); super::super::MOST]),
            ..good()
        };
        let line = serde_json::to_vec(&most).unwrap();
        assert!(line.len() > LARGEST / 4);
        assert_eq!(taken(&told(&line[..])), Ok(most.clone()));
        // Also by who has no rights left, in the memory that it may have.
        assert_eq!(asked(&line, true, LONG), Ok(most));
    }

    #[test]
    fn law_6_a_question_that_trickles_in_is_not_waited_for_for_ever() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let writer = std::thread::spawn(move || {
            while theirs.write_all(b" ").is_ok() {
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let refused = Incoming::new(ours.as_fd(), SHORT).question().unwrap_err();
        assert!(refused.what.contains("does not end"), "{refused:?}");
        drop(ours);
        writer.join().unwrap();
    }

    #[test]
    fn what_stands_behind_the_line_is_left_for_who_writes_it_or_is_refused() {
        let put = Question {
            ask: Ask::Put(Put {
                merge: crate::store::work::Merge {
                    key: "f0:z".parse().unwrap(),
                    list: Vec::new(),
                    bring: vec![crate::key::Fingerprint::of(&[1; 32])],
                    nonce: None,
                },
                vouched: None,
            }),
            ..good()
        };
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let line = serde_json::to_vec(&put).unwrap();
        theirs.write_all(&[&line[..], b"\nkey"].concat()).unwrap();
        assert_eq!(Incoming::new(ours.as_fd(), LONG).question(), Ok(put));
        let mut left = [0; 3];
        ours.read_exact(&mut left).unwrap();
        assert_eq!(&left, b"key");
        for more in [&b"\n"[..], b" ", b"{}"] {
            let refused = asked(&[GOOD, b"\n", more].concat(), true, LONG).unwrap_err();
            assert!(refused.what.contains("behind the question"), "{refused:?}");
        }
    }

    /// Gives each of these once.
    struct Reads(Vec<Result<u8, std::io::ErrorKind>>);

    impl Read for Reads {
        fn read(&mut self, place: &mut [u8]) -> std::io::Result<usize> {
            match self.0.pop() {
                None => Ok(0),
                Some(Ok(byte)) => {
                    place[0] = byte;
                    Ok(1)
                }
                Some(Err(kind)) => Err(kind.into()),
            }
        }
    }

    #[test]
    fn a_read_that_a_signal_ended_is_tried_again_and_no_other_is() {
        use std::io::ErrorKind::{ConnectionReset, Interrupted};
        let mut input = Reads(vec![Ok(7), Err(Interrupted), Err(Interrupted)]);
        assert_eq!(next(&mut input), Ok(Some(7)));
        assert_eq!(next(&mut input), Ok(None));
        let mut input = Reads(vec![Ok(7), Err(ConnectionReset)]);
        assert!(next(&mut input).is_err());
    }

    #[test]
    fn law_6_keys_that_do_not_end_are_the_fault_of_who_sends_them() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let bring = [crate::key::Fingerprint::of(&[1; 32])];
        let refused = Incoming::new(ours.as_fd(), SHORT).keys(&bring);
        assert_eq!(refused.map(drop).map_err(|why| why.status), Err(DATA));
        // A worker that cannot be had is not.
        let alive = crate::key::Key::take(|place| {
            place.fill(1);
            Ok(())
        });
        let refused = Incoming::new(ours.as_fd(), SHORT).keys(&bring);
        let system = Fault::System.status();
        assert_eq!(refused.map(drop).map_err(|why| why.status), Err(system));
        drop((alive, theirs));
    }
}
