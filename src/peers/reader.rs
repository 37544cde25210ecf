//! How an answer comes in: a process without rights understands it; what asked takes what that hands
//! over, as [`crate::flat`] has it, and nothing of the wire.
//!
//! Who asks may have keys in memory, so nothing is forked: this very program is started once more,
//! and has a memory of its own.

use super::{LARGEST, Reply, other_version, speaks};
use crate::child::{self, Call};
use crate::exit::Fault;
use crate::flat;
use crate::foreign;
use crate::os;
use crate::piece::Piece;
use crate::time::{Clock, Deadline};
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

/// The one argument that makes the program [`be_reader`]. Not for people.
pub const READER: &str = "read-answer";
/// Where the process writes what it has understood.
const STDOUT: std::os::fd::RawFd = 1;
/// How it is said that an answer is none.
pub(super) const NOT_UNDERSTOOD: &str = "its answer is not understood";
/// The longest that reading an answer may take. It is there already, whole.
const READING: Duration = Duration::from_secs(10);

/// Has a process of its own read an answer; `program` is this very program.
///
/// # Errors
/// The answer is not understood, or could not be read.
pub fn read(program: &Path, answer: &[u8], clock: &dyn Clock) -> Result<Reply, String> {
    let deadline = Deadline::after(clock, READING);
    let call = Call {
        program,
        args: &[READER],
        input: Some(&[Piece::from(answer)]),
    };
    let done = child::run_at_most(&call, flat::LARGEST, clock, deadline);
    let done = done.map_err(|trouble| format!("its answer could not be read: {trouble}"))?;
    match done.status {
        Some(0) => taken(&done.stdout),
        _ => {
            let words = String::from_utf8_lossy(&done.stderr);
            Err(format!(
                "its answer could not be read: {}",
                foreign::words(&words)
            ))
        }
    }
}

/// All that who asked does with what the process hands over.
pub(super) fn taken(told: &[u8]) -> Result<Reply, String> {
    flat::read(told)
}

/// All that the process does.
pub(super) fn told(answer: &[u8]) -> Vec<u8> {
    flat::write(&understand(answer))
}

fn understand(answer: &[u8]) -> Result<Reply, String> {
    if answer.len() > LARGEST {
        return Err(format!("its answer has more than {LARGEST} bytes"));
    }
    serde_json::from_slice(answer).map_err(|e| match other_version(answer) {
        Some(version) => format!("its answer {}", speaks(version)),
        None => format!("{NOT_UNDERSTOOD}: {e}"),
    })
}

/// Is the process that reads an answer: gives up every right, then reads `input` and writes what it
/// has understood.
///
/// # Errors
/// The exit status and why: it could not give up its rights, and has read nothing; or its input or
/// output failed.
pub fn be_reader(input: impl Read, mut output: impl Write) -> Result<(), (u8, String)> {
    let failed = |e: std::io::Error| (Fault::System.status(), e.to_string());
    os::harden()
        .and_then(|_| os::give_up_rights(&[STDOUT]))
        .map_err(|e| {
            let status = Fault::NotRoot.status();
            (status, format!("cannot give up its rights: {e}"))
        })?;
    let mut answer = Vec::new();
    let most = u64::try_from(LARGEST).unwrap_or(u64::MAX);
    let read = input.take(most.saturating_add(1)).read_to_end(&mut answer);
    read.map_err(failed)?;
    let wrote = output.write_all(&told(&answer));
    wrote.and_then(|()| output.flush()).map_err(failed)
}
