//! A forked copy of this process that does what may block in the kernel, and can be given up on.
//!
//! The worker has one pipe of its own and nothing else: no lock, no terminal, no key.

use super::{become_worker, give_up_rights};
use crate::key;
use crate::piece::Piece;
use crate::time::{Clock, Deadline};
use crate::trouble::Trouble;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::uio::writev;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getpid, pipe2};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{IoSlice, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The longest answer that a worker may give, in bytes.
const LONGEST_ANSWER: usize = 4 << 20;

/// Runs `job` in a worker and gives its answer: the last thing that the worker does but end.
///
/// # Errors
/// The deadline passed (the worker was killed, or left behind where the kernel holds it), the
/// worker died, or this process holds keys, which a worker must not inherit.
pub fn run<T>(
    what: &str,
    clock: &dyn Clock,
    deadline: Deadline,
    job: impl FnOnce() -> T,
) -> Result<T, Trouble>
where
    T: Serialize + DeserializeOwned,
{
    run_with(what, clock, deadline, None, job)
}

/// As [`run`], with this descriptor, if any, as the worker's standard input: so that keys that come
/// in are read by the one process that writes them on a store.
///
/// # Errors
/// As for [`run`].
pub fn run_with<T>(
    what: &str,
    clock: &dyn Clock,
    deadline: Deadline,
    input: Option<BorrowedFd>,
    job: impl FnOnce() -> T,
) -> Result<T, Trouble>
where
    T: Serialize + DeserializeOwned,
{
    let job = |_: &File| serde_json::to_vec(&job()).ok();
    let bytes = fork_for(what, clock, deadline, input, LONGEST_ANSWER, job)?;
    serde_json::from_slice(&bytes).map_err(|_| died(what))
}

/// What a worker without rights says first: that it has none, or why it still has some.
const HAS_NO_RIGHTS: u8 = 0;
const HAS_RIGHTS: u8 = 1;

/// Runs a `job` that reads words from the network off `input`, in a worker that has given up every
/// right before; gives its bytes, at most `most`, as they are. They are no more to be trusted than
/// the words were.
///
/// # Errors
/// As for [`run`], or it could not give its rights up; then it has read nothing.
pub fn run_without_rights(
    what: &str,
    clock: &dyn Clock,
    deadline: Deadline,
    input: BorrowedFd,
    most: usize,
    job: impl FnOnce(&File) -> Vec<u8>,
) -> Result<Vec<u8>, Trouble> {
    let job = |input: &File| match give_up_rights(&[OUT]) {
        Ok(()) => Some([&[HAS_NO_RIGHTS][..], &job(input)].concat()),
        Err(e) => Some([&[HAS_RIGHTS][..], e.to_string().as_bytes()].concat()),
    };
    let bytes = fork_for(
        what,
        clock,
        deadline,
        Some(input),
        most.saturating_add(1),
        job,
    )?;
    match bytes.split_first() {
        Some((&HAS_NO_RIGHTS, answer)) => Ok(answer.to_vec()),
        Some((&HAS_RIGHTS, why)) => {
            let why = String::from_utf8_lossy(why);
            let why = format!("its worker cannot give up its rights: {why}");
            Err(Trouble::failed(what, &why))
        }
        _ => Err(died(what)),
    }
}

/// The descriptor of a worker's pipe, behind its standard streams.
const OUT: RawFd = 3;

/// Between two looks at the clock, while an answer is waited for.
const GLANCE: Duration = Duration::from_millis(250);

fn died(what: &str) -> Trouble {
    Trouble::failed(what, "its worker died without an answer")
}

fn fork_for(
    what: &str,
    clock: &dyn Clock,
    deadline: Deadline,
    input: Option<BorrowedFd>,
    most: usize,
    job: impl FnOnce(&File) -> Option<Vec<u8>>,
) -> Result<Vec<u8>, Trouble> {
    if key::keys_alive() != 0 {
        return Err(Trouble::failed(what, "refused while keys are in memory"));
    }
    let (read, write) =
        pipe2(OFlag::O_CLOEXEC).map_err(|e| Trouble::failed(what, &e.to_string()))?;
    let parent = getpid();
    // SAFETY: the process has one thread; the child calls only `be_worker`, which never returns.
    match unsafe { fork() }.map_err(|e| Trouble::failed(what, &e.to_string()))? {
        ForkResult::Child => be_worker(parent, write, input, job),
        ForkResult::Parent { child } => {
            drop(write);
            let mut answer = Answers::from(read);
            let answer = answer.next(what, most, clock, deadline);
            match &answer {
                Ok(_) => leave(child),
                Err(_) => give_up(child),
            }
            answer
        }
    }
}

/// A worker that is asked again and again, each time with a deadline. Ended when it is dropped.
///
/// A question and an answer are a frame each: four bytes of length, the lowest first, then as many.
pub struct Helper {
    what: String,
    child: Pid,
    questions: OwnedFd,
    answers: Answers,
}

impl Helper {
    /// Forks a worker that does `job`, with its questions and for its answers.
    ///
    /// # Errors
    /// There is no process to be had, or this one holds keys, which a worker must not inherit.
    pub fn start(what: &str, job: impl FnOnce(File, File)) -> Result<Helper, Trouble> {
        if key::keys_alive() != 0 {
            return Err(Trouble::failed(what, "refused while keys are in memory"));
        }
        let failed = |e: nix::Error| Trouble::failed(what, &e.to_string());
        let (theirs, questions) = pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
        let (answers, out) = pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
        fcntl(&questions, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(failed)?;
        let parent = getpid();
        // SAFETY: the process has one thread; the child calls only `be_helper`, which never returns.
        match unsafe { fork() }.map_err(failed)? {
            ForkResult::Child => be_helper(parent, out, theirs, job),
            ForkResult::Parent { child } => Ok(Helper {
                what: what.to_owned(),
                child,
                questions,
                answers: Answers::from(answers),
            }),
        }
    }

    /// Hands a question over, piece after piece, straight from where each lies.
    ///
    /// # Errors
    /// It was not taken in time, or the worker is dead. It must not be asked again then.
    pub fn ask(
        &mut self,
        pieces: &[Piece],
        clock: &dyn Clock,
        deadline: Deadline,
    ) -> Result<(), Trouble> {
        let length = pieces.iter().map(Piece::len).sum::<usize>();
        let length = length_before(length).ok_or_else(|| died(&self.what))?;
        let length = Piece::from(&length[..]);
        let frame = || std::iter::once(&length).chain(pieces);
        let slices: Vec<IoSlice> = frame().map(|piece| piece.unwritten(0)).collect();
        // At once, lest the worker wake for a part of it.
        let mut written = writev(&self.questions, &slices).unwrap_or(0);
        frame().try_for_each(|piece| {
            let rest = piece.unwritten(written);
            written = written.saturating_sub(piece.len());
            self.write(&rest, clock, deadline)
        })
    }

    fn write(
        &self,
        mut bytes: &[u8],
        clock: &dyn Clock,
        deadline: Deadline,
    ) -> Result<(), Trouble> {
        while !bytes.is_empty() {
            match nix::unistd::write(&self.questions, bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(nix::Error::EINTR) => {}
                Err(nix::Error::EAGAIN) if deadline.passed(clock) => {
                    return Err(Trouble::timed_out(&self.what));
                }
                Err(nix::Error::EAGAIN) => {
                    wait_for(&self.questions, PollFlags::POLLOUT, deadline.left(clock));
                }
                Err(_) => return Err(died(&self.what)),
            }
        }
        Ok(())
    }

    /// Gives what it does from now on another name, for what is said of it.
    pub fn set_about(&mut self, what: &str) {
        what.clone_into(&mut self.what);
    }

    /// As [`Helper::ask`], of a value that will be heard by [`told`].
    ///
    /// # Errors
    /// As there.
    pub fn say(
        &mut self,
        value: &impl Serialize,
        clock: &dyn Clock,
        deadline: Deadline,
    ) -> Result<(), Trouble> {
        let bytes = serde_json::to_vec(value).map_err(|_| died(&self.what))?;
        self.ask(&[Piece::from(bytes)], clock, deadline)
    }

    /// As [`Helper::answer`], of a value that was told by [`tell`].
    ///
    /// # Errors
    /// As there.
    pub fn hear<T: DeserializeOwned>(
        &mut self,
        clock: &dyn Clock,
        deadline: Deadline,
    ) -> Result<T, Trouble> {
        let bytes = self.answer(LONGEST_ANSWER, clock, deadline)?;
        serde_json::from_slice(&bytes).map_err(|_| died(&self.what))
    }

    /// Waits for the answer to the oldest question that has none yet; it has at most `most` bytes.
    ///
    /// # Errors
    /// It did not come in time, was too long, or the worker is dead. It must not be asked again then.
    pub fn answer(
        &mut self,
        most: usize,
        clock: &dyn Clock,
        deadline: Deadline,
    ) -> Result<Vec<u8>, Trouble> {
        self.answers.next(&self.what, most, clock, deadline)
    }
}

/// A value as a helper tells or is told it.
///
/// # Errors
/// It is too large, or the other side is gone.
pub fn tell(out: &mut File, value: &impl Serialize) -> std::io::Result<()> {
    let bytes = serde_json::to_vec(value)?;
    let length = length_before(bytes.len()).ok_or(std::io::ErrorKind::FileTooLarge)?;
    out.write_all(&[&length, &bytes[..]].concat())
}

/// The next value that a helper is told.
///
/// # Errors
/// It is none of this kind, or the other side is gone.
pub fn told<T: DeserializeOwned>(questions: &mut File) -> std::io::Result<T> {
    let mut length = [0; 4];
    questions.read_exact(&mut length)?;
    let length = u64::from(u32::from_le_bytes(length));
    let mut bytes = Vec::new();
    questions.take(length).read_to_end(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes)?)
}

/// What comes out of a worker, a frame after the other.
struct Answers {
    pipe: File,
    heard: Vec<u8>,
}

impl From<OwnedFd> for Answers {
    fn from(pipe: OwnedFd) -> Answers {
        Answers {
            pipe: File::from(pipe),
            heard: Vec::new(),
        }
    }
}

impl Answers {
    fn next(
        &mut self,
        what: &str,
        most: usize,
        clock: &dyn Clock,
        deadline: Deadline,
    ) -> Result<Vec<u8>, Trouble> {
        let mut chunk = [0; 16384];
        loop {
            if let Some(length) = length_of(&self.heard) {
                if length > most {
                    return Err(Trouble::failed(what, "its answer is too long"));
                }
                if self.heard.len() >= 4 + length {
                    let rest = self.heard.split_off(4 + length);
                    let frame = std::mem::replace(&mut self.heard, rest);
                    return Ok(frame[4..].to_vec());
                }
            }
            // Asking the clock now and then is what shows a person that something is waited for.
            if !readable(&self.pipe, deadline.left(clock).min(GLANCE)) {
                if deadline.passed(clock) {
                    return Err(Trouble::timed_out(what));
                }
                continue;
            }
            match self.pipe.read(&mut chunk) {
                Ok(0) => return Err(died(what)),
                Ok(n) => self.heard.extend_from_slice(&chunk[..n]),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return Err(died(what)),
            }
        }
    }
}

/// The length that comes before so many bytes; `None` if they are too many for any frame.
pub(crate) fn length_before(bytes: usize) -> Option<[u8; 4]> {
    u32::try_from(bytes).ok().map(u32::to_le_bytes)
}

impl Drop for Helper {
    fn drop(&mut self) {
        give_up(self.child);
    }
}

/// The length that a frame begins with, once it is there.
fn length_of(frame: &[u8]) -> Option<usize> {
    let bytes: [u8; 4] = frame.get(..4)?.try_into().ok()?;
    usize::try_from(u32::from_le_bytes(bytes)).ok()
}

fn be_helper(parent: Pid, out: OwnedFd, questions: OwnedFd, job: impl FnOnce(File, File)) -> ! {
    let ready = become_worker(parent).and_then(|()| keep_only(out, Some(questions.as_fd())));
    if let Ok((questions, answers)) = ready {
        let job = std::panic::AssertUnwindSafe(|| job(questions, answers));
        let _ = std::panic::catch_unwind(job);
    }
    // SAFETY: as for any worker: nothing of the parent's may be run or flushed here.
    unsafe { libc::_exit(0) }
}

fn be_worker(
    parent: Pid,
    pipe: OwnedFd,
    input: Option<BorrowedFd>,
    job: impl FnOnce(&File) -> Option<Vec<u8>>,
) -> ! {
    // A run that is killed takes its worker with it, so that the next run finds nobody at work.
    let status = match become_worker(parent).and_then(|()| keep_only(pipe, input)) {
        Ok((input, mut out)) => {
            let answer = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let bytes = job(&input)?;
                let length = length_before(bytes.len())?;
                out.write_all(&[&length, &bytes[..]].concat()).ok()
            }));
            i32::from(!matches!(answer, Ok(Some(()))))
        }
        Err(_) => 1,
    };
    // SAFETY: _exit ends the worker at once; running the parent's destructors here would unlock
    // its lock and flush its output a second time.
    unsafe { libc::_exit(status) }
}

/// Leaves the worker `/dev/null` as its standard streams, but for an input that it was given, and
/// the pipe. Gives its input and the pipe.
fn keep_only(pipe: OwnedFd, input: Option<BorrowedFd>) -> std::io::Result<(File, File)> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(input.unwrap_or(null.as_fd()))?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    // SAFETY: plain calls; every descriptor but 0 to 3 goes, and none of them is used any more.
    unsafe {
        if pipe.as_raw_fd() != OUT && libc::dup2(pipe.as_raw_fd(), OUT) < 0 {
            return Err(std::io::Error::last_os_error());
        }
        if libc::close_range(4, libc::c_uint::MAX, 0) != 0 {
            return Err(std::io::Error::last_os_error());
        }
        std::mem::forget((pipe, null));
        Ok((File::from_raw_fd(0), File::from_raw_fd(OUT)))
    }
}

/// Whether `source` can be read without blocking, waiting at most `time`.
pub(crate) fn readable(source: &impl AsFd, time: Duration) -> bool {
    wait_for(source, PollFlags::POLLIN, time)
}

fn wait_for(source: &impl AsFd, what: PollFlags, time: Duration) -> bool {
    let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
    let mut fds = [PollFd::new(source.as_fd(), what)];
    poll(&mut fds, timeout).is_ok_and(|ready| ready > 0)
}

/// Workers that had answered and not ended yet when that was last looked at.
static LEFT: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// Leaves a worker that has answered to its end, for which there is no need to wait.
fn leave(child: Pid) {
    let mut left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
    left.push(child);
    left.retain(|child| waitpid(*child, Some(WaitPidFlag::WNOHANG)) == Ok(WaitStatus::StillAlive));
}

/// Kills the worker. One that the kernel holds stays behind; init inherits it.
fn give_up(child: Pid) {
    let _ = kill(child, Signal::SIGKILL);
    let _ = waitpid(child, Some(WaitPidFlag::WNOHANG));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::SystemClock;

    fn pieces<'a>(bytes: &[&'a [u8]]) -> Vec<Piece<'a>> {
        bytes.iter().map(|bytes| Piece::from(*bytes)).collect()
    }

    fn soon(clock: &SystemClock) -> Deadline {
        Deadline::after(clock, Duration::from_secs(20))
    }

    #[test]
    fn a_worker_gives_its_answer() {
        let clock = SystemClock::start();
        let long = "x".repeat(200_000);
        let answer = run("a sum", &clock, soon(&clock), || (40 + 2, long.clone()));
        assert_eq!(answer.unwrap(), (42, long));
    }

    #[test]
    fn a_worker_that_hangs_is_given_up_on() {
        let clock = SystemClock::start();
        let deadline = Deadline::after(&clock, Duration::from_millis(50));
        let answer = run("the stick", &clock, deadline, || {
            loop {
                std::thread::sleep(Duration::from_secs(1000));
            }
        });
        let () = match answer {
            Err(trouble) => assert!(trouble.is_timeout(), "{trouble}"),
            Ok(()) => panic!("it answered"),
        };
    }

    #[test]
    fn a_worker_that_dies_is_no_answer() {
        let clock = SystemClock::start();
        let answer: Result<(), _> =
            run("the stick", &clock, soon(&clock), || std::process::exit(0));
        assert!(answer.is_err());
    }

    #[test]
    fn a_worker_inherits_nothing_but_its_pipe() {
        let clock = SystemClock::start();
        let held = File::open("/dev/null").unwrap();
        let count = run("descriptors", &clock, soon(&clock), || {
            (0..1024)
                .filter(|fd| {
                    // SAFETY: F_GETFD only asks whether the descriptor is open.
                    unsafe { libc::fcntl(*fd, libc::F_GETFD) >= 0 }
                })
                .count()
        });
        drop(held);
        assert_eq!(count.unwrap(), 4, "three times /dev/null, and the pipe");
    }

    #[test]
    fn a_worker_reads_the_one_input_that_it_was_given_to_its_end() {
        let clock = SystemClock::start();
        let (read, write) = pipe2(OFlag::O_CLOEXEC).unwrap();
        File::from(write).write_all(b"as it came").unwrap();
        let told = run_with("input", &clock, soon(&clock), Some(read.as_fd()), || {
            let mut text = String::new();
            let stdin = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
            File::from(stdin).read_to_string(&mut text).unwrap();
            // SAFETY: F_GETFD only asks whether the descriptor is open.
            let open = (0..1024).filter(|fd| unsafe { libc::fcntl(*fd, libc::F_GETFD) >= 0 });
            (text, open.count())
        });
        assert_eq!(told.unwrap(), ("as it came".to_owned(), 4));
    }

    #[test]
    fn law_2_no_worker_is_forked_while_keys_are_in_memory() {
        let clock = SystemClock::start();
        let key = key::Key::take(|place| {
            place.fill(1);
            Ok(())
        })
        .unwrap();
        assert!(run("anything", &clock, soon(&clock), || 1).is_err());
        drop(key);
        assert!(run("anything", &clock, soon(&clock), || 1).is_ok());
    }

    /// A helper that says each question once more.
    fn echo() -> Helper {
        let job = |mut questions: File, mut answers: File| {
            let mut all = Vec::new();
            let mut chunk = [0; 1000];
            while let Ok(n @ 1..) = questions.read(&mut chunk) {
                all.extend_from_slice(&chunk[..n]);
                while let Some(length) = length_of(&all)
                    && all.len() >= 4 + length
                {
                    let rest = all.split_off(4 + length);
                    answers.write_all(&all).unwrap();
                    all = rest;
                }
            }
        };
        Helper::start("a helper", job).unwrap()
    }

    #[test]
    fn a_helper_answers_each_question_in_its_turn() {
        let clock = SystemClock::start();
        let mut helper = echo();
        let long = vec![b'x'; 300_000];
        helper
            .ask(&pieces(&[b"one"]), &clock, soon(&clock))
            .unwrap();
        helper
            .ask(&pieces(&[b"t", b"", b"wo"]), &clock, soon(&clock))
            .unwrap();
        for expected in [&b"one"[..], b"two"] {
            let answer = helper.answer(3, &clock, soon(&clock));
            assert_eq!(answer.unwrap(), expected);
        }
        helper.ask(&pieces(&[b""]), &clock, soon(&clock)).unwrap();
        assert_eq!(helper.answer(0, &clock, soon(&clock)).unwrap(), b"");
        helper.ask(&pieces(&[&long]), &clock, soon(&clock)).unwrap();
        let answer = helper.answer(300_000, &clock, soon(&clock));
        assert_eq!(answer.unwrap(), long);
    }

    #[test]
    fn law_6_a_helper_that_takes_or_gives_nothing_is_given_up_on() {
        let clock = SystemClock::start();
        let idle = |_: File, _: File| loop {
            std::thread::sleep(Duration::from_secs(1000));
        };
        let mut helper = Helper::start("a helper", idle).unwrap();
        let brief = || Deadline::after(&clock, Duration::from_millis(50));
        let more_than_a_pipe = vec![0; 1 << 20];
        let asked = helper.ask(&pieces(&[&more_than_a_pipe]), &clock, brief());
        assert!(asked.unwrap_err().is_timeout());
        let answer = helper.answer(10, &clock, brief());
        assert!(answer.unwrap_err().is_timeout());
        let child = helper.child;
        drop(helper);
        // It is gone, or about to be.
        while waitpid(child, Some(WaitPidFlag::WNOHANG)) == Ok(WaitStatus::StillAlive) {
            clock.sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_helper_that_dies_or_says_too_much_is_no_answer() {
        let clock = SystemClock::start();
        let mut dead = Helper::start("a helper", |_, _| {}).unwrap();
        let answer = dead.answer(10, &clock, soon(&clock));
        assert!(answer.unwrap_err().to_string().contains("died"));
        let mut long = echo();
        long.ask(&pieces(&[b"12345"]), &clock, soon(&clock))
            .unwrap();
        let answer = long.answer(4, &clock, soon(&clock));
        assert!(answer.unwrap_err().to_string().contains("too long"));
    }

    #[test]
    fn law_2_no_helper_is_forked_while_keys_are_in_memory_and_it_has_two_pipes_alone() {
        let clock = SystemClock::start();
        let key = key::Key::take(|_| Ok(())).unwrap();
        assert!(Helper::start("a helper", |_, _| {}).is_err());
        drop(key);
        let mut helper = Helper::start("a helper", |_, mut answers| {
            // SAFETY: F_GETFD only asks whether the descriptor is open.
            let open = (0..1024).filter(|fd| unsafe { libc::fcntl(*fd, libc::F_GETFD) >= 0 });
            let open = [1, 0, 0, 0, u8::try_from(open.count()).unwrap()];
            answers.write_all(&open).unwrap();
        })
        .unwrap();
        assert_eq!(helper.answer(1, &clock, soon(&clock)).unwrap(), [4]);
    }

    /// What a worker without rights says of itself.
    fn without_rights(job: impl FnOnce(&File) -> String) -> String {
        let clock = SystemClock::start();
        let null = File::open("/dev/null").unwrap();
        let job = |input: &File| job(input).into_bytes();
        let told = run_without_rights("rights", &clock, soon(&clock), null.as_fd(), 1000, job);
        String::from_utf8(told.unwrap()).unwrap()
    }

    #[test]
    fn a_file_that_a_worker_without_rights_was_given_stays_as_it_is() {
        let path = std::env::temp_dir().join(format!("f3skeys-rights-{}", std::process::id()));
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .unwrap();
        let clock = SystemClock::start();
        let job = |mut input: &File| {
            let _ = input.write_all(b"x");
            b"it tried".to_vec()
        };
        let told = run_without_rights("a file", &clock, soon(&clock), file.as_fd(), 100, job);
        let after = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        // The kernel ends who writes a file beyond its limit.
        assert!(told.is_err(), "{told:?}");
        assert_eq!(after, b"");
    }

    #[test]
    fn a_worker_without_rights_has_16_mib_and_no_more() {
        use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};
        // Not by way of the allocator: it has room in stock for each thread of the tests.
        let mapped = |size: usize| {
            without_rights(move |_| {
                let (access, how) = (ProtFlags::PROT_WRITE, MapFlags::MAP_PRIVATE);
                let size = std::num::NonZeroUsize::new(size).unwrap();
                // SAFETY: a fresh anonymous mapping aliases nothing.
                unsafe { mmap_anonymous(None, size, access, how) }
                    .is_ok()
                    .to_string()
            })
        };
        assert_eq!((&*mapped(15 << 20), &*mapped(17 << 20)), ("true", "false"));
        let clock = SystemClock::start();
        let null = File::open("/dev/null").unwrap();
        let job = |_: &File| vec![1; 200 << 20];
        let died = run_without_rights("memory", &clock, soon(&clock), null.as_fd(), 100, job);
        assert!(died.unwrap_err().to_string().contains("died"));
    }

    #[test]
    fn law_6_a_worker_without_rights_that_says_too_much_or_nothing_is_no_answer() {
        let clock = SystemClock::start();
        let null = File::open("/dev/null").unwrap();
        let told = |size: usize| {
            let job = move |_: &File| vec![7; size];
            run_without_rights("an answer", &clock, soon(&clock), null.as_fd(), 5000, job)
        };
        assert_eq!(told(0).unwrap(), b"");
        assert_eq!(told(5000).unwrap(), vec![7; 5000]);
        assert!(told(20_000).is_err());
        let job = |_: &File| -> Vec<u8> { std::process::abort() };
        let died = run_without_rights("an answer", &clock, soon(&clock), null.as_fd(), 1, job);
        assert!(died.unwrap_err().to_string().contains("died"));
    }

    /// What a process is that has forked nobody else.
    fn ended(child: Pid) -> WaitStatus {
        waitpid(child, None).unwrap()
    }

    /// A worker whose parent has ended before it could ask the kernel for anything: its parent is not the
    /// process that it was forked by.
    #[test]
    fn law_6_a_worker_whose_parent_ended_before_it_began_does_nothing() {
        for (parent, works) in [(getpid(), true), (Pid::from_raw(1), false)] {
            let (read, write) = pipe2(OFlag::O_CLOEXEC).unwrap();
            // SAFETY: the child only becomes a worker, and never returns.
            let child = match unsafe { fork() }.unwrap() {
                ForkResult::Child => be_worker(parent, write, None, |_| Some(vec![7])),
                ForkResult::Parent { child } => child,
            };
            drop(write);
            let mut said = Vec::new();
            File::from(read).read_to_end(&mut said).unwrap();
            let expected: &[u8] = if works { &[1, 0, 0, 0, 7] } else { &[] };
            assert_eq!(said, expected);
            let status = i32::from(!works);
            assert_eq!(ended(child), WaitStatus::Exited(child, status));
            let (read, write) = pipe2(OFlag::O_CLOEXEC).unwrap();
            let (theirs, questions) = pipe2(OFlag::O_CLOEXEC).unwrap();
            let job = |_: File, mut out: File| out.write_all(&[7]).unwrap();
            // SAFETY: as above, a helper.
            let child = match unsafe { fork() }.unwrap() {
                ForkResult::Child => be_helper(parent, write, theirs, job),
                ForkResult::Parent { child } => child,
            };
            drop((write, questions));
            let mut said = Vec::new();
            File::from(read).read_to_end(&mut said).unwrap();
            assert_eq!(said.len(), usize::from(works));
            ended(child);
        }
    }

    /// Whether a worker that `start` starts has ended soon after its parent was killed. The worker has the
    /// other end of a socket, and says on it that it is at work; what its parent has of it goes with that.
    fn ends_with_its_parent(start: impl FnOnce(OwnedFd)) -> bool {
        let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        // SAFETY: the child starts a worker and ends with _exit.
        let parent = match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                start(theirs.into());
                // SAFETY: ends the child at once.
                unsafe { libc::_exit(0) }
            }
            ForkResult::Parent { child } => child,
        };
        drop(theirs);
        ours.read_exact(&mut [0]).unwrap();
        kill(parent, Signal::SIGKILL).unwrap();
        let killed = WaitStatus::Signaled(parent, Signal::SIGKILL, false);
        assert_eq!(ended(parent), killed);
        ours.set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        matches!(ours.read(&mut [0]), Ok(0))
    }

    const LONG: Duration = Duration::from_secs(1000);

    /// As the check of a file system, which would write to a stick that the next run mounts.
    #[test]
    fn law_6_no_program_outlives_the_worker_that_started_it() {
        let clock = SystemClock::start();
        let file = std::env::temp_dir().join(format!("f3skeys-left-{}", getpid()));
        let script = format!("echo $$ >{}; exec sleep 1000", file.display());
        let call = crate::child::Call {
            program: std::path::Path::new("/bin/sh"),
            args: &["-c", &script],
            input: None,
        };
        let mut seconds = 1;
        let program = loop {
            let deadline = Deadline::after(&clock, Duration::from_secs(seconds));
            let given_up = run("a worker", &clock, deadline, || {
                crate::child::run(&call, &clock, Deadline::after(&clock, LONG)).is_ok()
            });
            assert!(given_up.is_err());
            let said = std::fs::read_to_string(&file).unwrap_or_default();
            match said.trim().parse() {
                Ok(number) => break Pid::from_raw(number),
                // A busy machine has not come as far as to start it.
                Err(_) => seconds *= 2,
            }
        };
        std::fs::remove_file(&file).unwrap();
        let soon = soon(&clock);
        while kill(program, None).is_ok() {
            if soon.passed(&clock) {
                let _ = kill(program, Signal::SIGKILL);
                panic!("it was left behind");
            }
            clock.sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn law_6_no_worker_outlives_its_parent() {
        let clock = SystemClock::start();
        let deadline = Deadline::after(&clock, LONG);
        assert!(ends_with_its_parent(|socket| {
            let _: Result<(), _> =
                run_with("a worker", &clock, deadline, Some(socket.as_fd()), || {
                    nix::unistd::write(std::io::stdin(), b"x").unwrap();
                    std::thread::sleep(LONG);
                });
        }));
    }

    #[test]
    fn law_6_no_helper_outlives_its_parent() {
        assert!(ends_with_its_parent(|socket| {
            let (theirs, questions) = pipe2(OFlag::O_CLOEXEC).unwrap();
            let parent = getpid();
            // SAFETY: the child only becomes a helper, and never returns.
            if let ForkResult::Child = unsafe { fork() }.unwrap() {
                be_helper(parent, socket, theirs, |_, mut answers| {
                    answers.write_all(b"x").unwrap();
                    std::thread::sleep(LONG);
                });
            }
            drop(socket);
            std::thread::sleep(LONG);
            drop(questions);
        }));
    }

    #[test]
    fn law_6_no_worker_without_rights_outlives_its_parent() {
        // It waits for input, which does not come.
        let (input, _never_written) = pipe2(OFlag::O_CLOEXEC).unwrap();
        assert!(ends_with_its_parent(|socket| {
            let parent = getpid();
            // SAFETY: the child only becomes a worker, and never returns.
            if let ForkResult::Child = unsafe { fork() }.unwrap() {
                be_worker(parent, socket, Some(input.as_fd()), |mut input| {
                    give_up_rights(&[OUT]).unwrap();
                    // SAFETY: the worker's own pipe, which stays open.
                    let mut out = std::mem::ManuallyDrop::new(unsafe { File::from_raw_fd(OUT) });
                    out.write_all(b"x").unwrap();
                    let _ = input.read(&mut [0]);
                    None
                });
            }
            drop(socket);
            std::thread::sleep(LONG);
        }));
    }
}
