//! The one place that starts programs: by absolute path, without environment, with a deadline,
//! with pipes of its own, and with a secret only on standard input.

use crate::os::{self, worker::readable};
use crate::piece::Piece;
use crate::time::{Clock, Deadline};
use crate::trouble::Trouble;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// The most that is kept of each output stream, in bytes. More is an error, not a cut.
const LONGEST_OUTPUT: usize = 64 << 20;
/// Between two looks at a program's streams and end.
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// A program to run.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// Its absolute path.
    pub program: &'a Path,
    /// Its arguments. Never a secret: others can read them.
    pub args: &'a [&'a str],
    /// What it reads on standard input, piece after piece, straight from where each lies: the one way
    /// for a secret. Without it, that is `/dev/null`.
    pub input: Option<&'a [Piece<'a>]>,
}

/// A program that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// The command line, for messages.
    pub command: String,
    /// Its exit status; `None` when a signal ended it.
    pub status: Option<i32>,
    /// All it wrote on standard output.
    pub stdout: Vec<u8>,
    /// All it wrote on standard error.
    pub stderr: Vec<u8>,
}

impl Finished {
    /// Its output, if it ended well.
    ///
    /// # Errors
    /// It did not exit with 0.
    pub fn success(self) -> Result<Vec<u8>, Trouble> {
        match self.status {
            Some(0) => Ok(self.stdout),
            _ => Err(self.failure()),
        }
    }

    /// It failed: command, status and its own words.
    pub fn failure(&self) -> Trouble {
        let status = match self.status {
            Some(status) => format!("exit status {status}"),
            None => "ended by a signal".to_owned(),
        };
        let words = String::from_utf8_lossy(&self.stderr);
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
        Trouble::failed(
            &self.command,
            format!("{status}; {words}").trim_end_matches("; "),
        )
    }
}

/// Runs a program to its end.
///
/// # Errors
/// It could not be started, wrote too much, or was not done at the deadline; then it is killed,
/// and left behind where the kernel holds it.
pub fn run(call: &Call, clock: &dyn Clock, deadline: Deadline) -> Result<Finished, Trouble> {
    run_at_most(call, LONGEST_OUTPUT, clock, deadline)
}

/// As [`run`], for a program that must not write more than `most` bytes on a stream.
///
/// # Errors
/// As for [`run`].
pub fn run_at_most(
    call: &Call,
    most: usize,
    clock: &dyn Clock,
    deadline: Deadline,
) -> Result<Finished, Trouble> {
    let input = call
        .input
        .map(|pieces| pieces.iter().map(Piece::lend).collect());
    let mut running = Running::begin(call.program, call.args, input, most, clock, deadline)?;
    loop {
        match running.look(clock)? {
            Look::Ended(finished) => return Ok(finished),
            Look::Moved => {}
            Look::Waits => running.wait(clock),
        }
    }
}

/// A program that is under way, so that several can be at once. Each has its own deadline.
pub struct Running<'a> {
    command: String,
    child: Child,
    streams: Streams,
    input: Input<'a>,
    deadline: Deadline,
}

/// What a look at a program has shown.
pub enum Look {
    /// It is over.
    Ended(Finished),
    /// It has written something, and may have more.
    Moved,
    /// It is at work.
    Waits,
}

impl<'a> Running<'a> {
    /// Starts a program that must not write more than `most` bytes on a stream. What it reads on standard
    /// input is as for [`Call`].
    ///
    /// # Errors
    /// It could not be started.
    pub fn begin(
        program: &Path,
        args: &[&str],
        input: Option<Vec<Piece<'a>>>,
        most: usize,
        clock: &dyn Clock,
        deadline: Deadline,
    ) -> Result<Running<'a>, Trouble> {
        let command = shown(program, args);
        let failed = |e: io::Error| Trouble::failed(&command, &e.to_string());
        if !program.is_absolute() {
            return Err(Trouble::failed(&command, "not an absolute path"));
        }
        if deadline.passed(clock) {
            return Err(Trouble::timed_out(&command));
        }
        let mut child = start(program, args, input.is_some()).map_err(failed)?;
        let streams = Streams::of(&mut child, most);
        match Input::of(&mut child, input.unwrap_or_default()) {
            Ok(input) => Ok(Running {
                command,
                child,
                streams,
                input,
                deadline,
            }),
            Err(e) => {
                give_up(&mut child);
                Err(failed(e))
            }
        }
    }

    /// Moves what there is to be moved, and never waits.
    ///
    /// # Errors
    /// As for [`run`]; the program is given up then, and must not be looked at again.
    pub fn look(&mut self, clock: &dyn Clock) -> Result<Look, Trouble> {
        let looked = self.look_once(clock);
        if looked.is_err() {
            give_up(&mut self.child);
        }
        looked
    }

    fn look_once(&mut self, clock: &dyn Clock) -> Result<Look, Trouble> {
        let failed = |e: io::Error| Trouble::failed(&self.command, &e.to_string());
        self.input.feed().map_err(failed)?;
        let ended = self.child.try_wait().map_err(failed)?;
        let more = self.streams.drain().map_err(failed)?;
        if let Some(status) = ended {
            return Ok(Look::Ended(Finished {
                status: status.code(),
                stdout: std::mem::take(&mut self.streams.out),
                stderr: std::mem::take(&mut self.streams.err),
                command: self.command.clone(),
            }));
        }
        match (self.deadline.passed(clock), more) {
            (true, _) => Err(Trouble::timed_out(&self.command)),
            (false, true) => Ok(Look::Moved),
            (false, false) => Ok(Look::Waits),
        }
    }

    /// Waits a little, or until it has written something.
    pub fn wait(&self, clock: &dyn Clock) {
        self.streams
            .wait(self.deadline.left(clock).min(BETWEEN_LOOKS));
    }
}

fn shown(program: &Path, args: &[&str]) -> String {
    let name = program.file_name().unwrap_or_default();
    let mut words = vec![name.to_string_lossy().into_owned()];
    words.extend(args.iter().map(|arg| (*arg).to_owned()));
    words.join(" ")
}

fn start(program: &Path, args: &[&str], has_input: bool) -> io::Result<Child> {
    // A group of its own, so that it can be killed with all that it has started. Nothing that is started
    // here asks a person at the terminal.
    let mut command = Command::new(program);
    os::ends_with_worker(&mut command);
    command
        .process_group(0)
        .args(args)
        .env_clear()
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(match has_input {
            true => Stdio::piped(),
            false => Stdio::null(),
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

/// What is yet to be written into the program's pipe, straight from where it lies. A program that
/// does not read holds nobody up.
struct Input<'a> {
    pipe: Option<ChildStdin>,
    /// The piece that is being written.
    piece: Piece<'a>,
    /// How much of it is written.
    written: usize,
    /// The pieces after it.
    pieces: std::vec::IntoIter<Piece<'a>>,
}

impl<'a> Input<'a> {
    fn of(child: &mut Child, pieces: Vec<Piece<'a>>) -> io::Result<Input<'a>> {
        let pipe = child.stdin.take();
        if let Some(pipe) = &pipe {
            fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        Ok(Input {
            pipe,
            piece: Piece::from(Vec::new()),
            written: 0,
            pieces: pieces.into_iter(),
        })
    }

    /// Writes what the pipe takes without waiting; closes it after the last byte.
    fn feed(&mut self) -> io::Result<()> {
        while let Some(pipe) = &mut self.pipe {
            let rest = self.piece.unwritten(self.written);
            if rest.is_empty() {
                match self.pieces.next() {
                    Some(piece) => (self.piece, self.written) = (piece, 0),
                    None => self.pipe = None,
                }
                continue;
            }
            match pipe.write_vectored(&[rest]) {
                Ok(written) => self.written += written,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // It ended without reading; its own words say why.
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => self.pipe = None,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// Kills the program and all that it has started in its group. What the kernel holds stays behind; init
/// inherits it. While nobody has waited for the program, its number can be no other group's.
fn give_up(child: &mut Child) {
    if let (Ok(None), Ok(group)) = (child.try_wait(), i32::try_from(child.id())) {
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    let _ = child.try_wait();
}

struct Streams {
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    out: Vec<u8>,
    err: Vec<u8>,
    most: usize,
}

impl Streams {
    fn of(child: &mut Child, most: usize) -> Streams {
        Streams {
            stdout: child.stdout.take(),
            stderr: child.stderr.take(),
            out: Vec::new(),
            err: Vec::new(),
            most,
        }
    }

    /// Reads what is there without waiting; tells whether anything was.
    fn drain(&mut self) -> io::Result<bool> {
        let out = drain(&mut self.stdout, &mut self.out, self.most)?;
        let err = drain(&mut self.stderr, &mut self.err, self.most)?;
        Ok(out || err)
    }

    /// Waits until there may be something to read, or the program's end.
    fn wait(&self, time: Duration) {
        match (&self.stdout, &self.stderr) {
            (Some(stream), _) => drop(readable(stream, time)),
            (None, Some(stream)) => drop(readable(stream, time)),
            // Both closed: it is about to end.
            (None, None) => std::thread::sleep(time.min(Duration::from_millis(1))),
        }
    }
}

fn drain<S: Read + AsFd>(
    stream: &mut Option<S>,
    into: &mut Vec<u8>,
    most: usize,
) -> io::Result<bool> {
    let mut any = false;
    let mut chunk = [0; 16384];
    while let Some(open) = stream
        && readable(open, Duration::ZERO)
    {
        match open.read(&mut chunk)? {
            0 => *stream = None,
            n => into.extend_from_slice(&chunk[..n]),
        }
        if into.len() > most {
            return Err(io::Error::other("it writes without end"));
        }
        any = true;
    }
    Ok(any)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::SystemClock;

    fn sh(script: &str, input: Option<&[&[u8]]>, time: Duration) -> Result<Finished, Trouble> {
        let pieces = input.map(|pieces| pieces.iter().map(|piece| Piece::from(*piece)));
        let pieces: Option<Vec<Piece>> = pieces.map(Iterator::collect);
        let clock = SystemClock::start();
        let call = Call {
            program: Path::new("/bin/sh"),
            args: &["-c", script],
            input: pieces.as_deref(),
        };
        run(&call, &clock, Deadline::after(&clock, time))
    }

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn two_that_wait_for_one_another_are_under_way_at_once() {
        let clock = SystemClock::start();
        let directory = std::env::temp_dir().join(format!("f3skeys-child-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let (one, other) = (directory.join("one"), directory.join("other"));
        let sh = |script: &str| {
            let input = vec![Piece::from(&b"word"[..])];
            let deadline = Deadline::after(&clock, LONG);
            Running::begin(
                Path::new("/bin/sh"),
                &["-c", script],
                Some(input),
                LONGEST_OUTPUT,
                &clock,
                deadline,
            )
        };
        // Each ends only once the other has begun.
        let script = |mine: &Path, theirs: &Path| {
            let (mine, theirs) = (mine.display(), theirs.display());
            format!("cat > {mine}; until [ -e {theirs} ]; do sleep 0.01; done; cat {mine}")
        };
        let mut under_way = vec![
            sh(&script(&one, &other)).unwrap(),
            sh(&script(&other, &one)).unwrap(),
        ];
        while !under_way.is_empty() {
            under_way.retain_mut(|running| match running.look(&clock).unwrap() {
                Look::Ended(finished) => {
                    assert_eq!(finished.success().unwrap(), b"word");
                    false
                }
                Look::Moved | Look::Waits => true,
            });
            std::thread::sleep(BETWEEN_LOOKS);
        }
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn output_and_status_are_whole() {
        let done = sh("head -c 300000 /dev/zero; echo no >&2; exit 3", None, LONG).unwrap();
        assert_eq!(done.stdout.len(), 300_000);
        assert_eq!(done.stderr, b"no\n");
        assert_eq!(done.status, Some(3));
        let said = done.success().unwrap_err().to_string();
        assert!(said.contains("exit status 3; no"), "{said}");
    }

    #[test]
    fn law_2_a_secret_goes_by_standard_input_alone() {
        let done = sh("cat; env; echo $0 $*", Some(&[b"secret bytes"]), LONG).unwrap();
        let said = String::from_utf8(done.stdout).unwrap();
        assert_eq!(said.matches("secret").count(), 1);
    }

    #[test]
    fn the_environment_is_empty_but_for_the_language() {
        let done = sh(
            "env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= -e ^OLDPWD=",
            None,
            LONG,
        )
        .unwrap();
        assert_eq!(String::from_utf8(done.stdout).unwrap(), "LC_ALL=C\n");
    }

    #[test]
    fn law_6_a_program_that_hangs_is_given_up_on() {
        for script in [
            "sleep 1000",
            "trap '' TERM INT; while :; do sleep 1000; done",
        ] {
            let answer = sh(script, None, Duration::from_millis(100));
            assert!(answer.unwrap_err().is_timeout());
        }
    }

    /// Whether a process is there and at work. One that has ended and that nobody has waited for is not.
    fn is_at_work(process: Pid) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        nix::sys::signal::kill(process, None).is_ok() && !stat.contains(") Z ")
    }

    /// The number of the process that a script has written, once it has.
    fn started(script: &str, name: &str, time: Duration) -> (Result<Finished, Trouble>, Pid) {
        let file = std::env::temp_dir().join(format!("f3skeys-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&file);
        let script = format!("sleep 1000 & echo $! >{}; {script}", file.display());
        let done = sh(&script, None, time);
        let number = std::fs::read_to_string(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        (done, Pid::from_raw(number.trim().parse().unwrap()))
    }

    #[test]
    fn law_6_a_program_that_is_given_up_on_goes_with_all_that_it_has_started() {
        for script in ["wait", "trap '' TERM; wait", "cat /dev/zero"] {
            let most = Duration::from_secs(2);
            let (done, grandchild) = started(script, "group", most);
            assert!(done.is_err(), "{script}");
            let clock = SystemClock::start();
            let deadline = Deadline::after(&clock, LONG);
            while is_at_work(grandchild) {
                assert!(!deadline.passed(&clock), "{script}: it was left behind");
                clock.sleep(Duration::from_millis(5));
            }
        }
    }

    /// As a service does that was started.
    #[test]
    fn what_a_program_has_started_stays_when_the_program_ends_by_itself() {
        for script in ["exit 0", "exit 3"] {
            let (done, grandchild) = started(&format!("{script} >&- 2>&-"), "left", LONG);
            assert!(done.is_ok() && is_at_work(grandchild), "{script}");
            nix::sys::signal::kill(grandchild, Signal::SIGKILL).unwrap();
        }
    }

    #[test]
    fn a_grandchild_that_keeps_the_pipes_does_not_hold_us() {
        let done = sh("sleep 1000 & echo done", None, LONG).unwrap();
        assert_eq!(done.stdout, b"done\n");
    }

    #[test]
    fn a_program_that_does_not_read_its_secret_is_no_error_of_ours() {
        assert_eq!(
            sh("exit 7", Some(&[&[1; 32]]), LONG).unwrap().status,
            Some(7)
        );
    }

    #[test]
    fn input_longer_than_a_pipe_goes_whole_and_waits_for_nobody() {
        let long = vec![b'x'; 300_000];
        let pieces: &[&[u8]] = &[&long, b"", b"and", b" more"];
        let done = sh("sleep 0.1; cat", Some(pieces), LONG).unwrap();
        assert_eq!(done.stdout, pieces.concat());
        let answer = sh("sleep 1000", Some(pieces), Duration::from_millis(100));
        assert!(answer.unwrap_err().is_timeout());
    }

    #[test]
    fn a_program_that_writes_too_much_is_ended() {
        let clock = SystemClock::start();
        let told = |script| {
            let call = Call {
                program: Path::new("/bin/sh"),
                args: &["-c", script],
                input: None,
            };
            run_at_most(&call, 1000, &clock, Deadline::after(&clock, LONG))
        };
        assert_eq!(told("printf %1000s").unwrap().stdout.len(), 1000);
        for script in ["printf %1001s", "cat /dev/zero", "cat /dev/zero >&2"] {
            let why = told(script).unwrap_err().to_string();
            assert!(why.contains("writes without end"), "{why}");
        }
    }

    #[test]
    fn relative_programs_are_refused() {
        let clock = SystemClock::start();
        let call = Call {
            program: Path::new("sh"),
            args: &[],
            input: None,
        };
        assert!(run(&call, &clock, Deadline::after(&clock, LONG)).is_err());
    }
}
