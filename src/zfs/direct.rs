//! ZFS by way of its own library, in a worker for each pool; by the `zfs` program for all that the
//! library is not asked, and wherever there is no library to ask.
//!
//! The library may block in the kernel, so it is opened in a worker that can be given up on, and never
//! in this process. A worker is forked while there are no keys. Each comes to it by its pipe alone.

use super::command::Command;
use super::{Answer, Dataset, Part, Past, Try, Zfs, parse};
use crate::key::{KEY_LEN, Key};
use crate::names::DatasetName;
use crate::os::libzfs::{Library, Mounting};
use crate::os::worker::Helper;
use crate::os::{self, error_words};
use crate::time::Deadline;
use crate::trouble::Trouble;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};

/// The longest question, in bytes: the names of many datasets.
const LONGEST_QUESTION: usize = 16 << 20;
/// The longest answer, in bytes: as for a program's output.
const LONGEST_ANSWER: usize = 64 << 20;

/// What a question begins with.
const OBSERVE: u8 = b'o';
const LOAD: u8 = b'l';
const PROBE: u8 = b'p';
const MOUNT: u8 = b'm';

/// What an answer begins with: it was done; the key is wrong; it was refused, in these words; the
/// program is to be asked.
const DONE: u8 = b'.';
const WRONG_KEY: u8 = b'x';
const REFUSED: u8 = b'!';
const ASK_THE_PROGRAM: u8 = b'-';

/// The library, and the program behind it.
pub struct Direct<'a> {
    command: Command<'a>,
    workers: RefCell<BTreeMap<String, Worker>>,
}

/// A pool's worker.
enum Worker {
    /// It has not said yet whether it found the library.
    Begun(Helper),
    /// It has.
    Works(Helper),
    /// There is none any more: the program is asked.
    Gone,
}

impl<'a> Direct<'a> {
    /// The library, with this program for what it is not asked.
    pub fn new(command: Command<'a>) -> Direct<'a> {
        Direct {
            command,
            workers: RefCell::default(),
        }
    }

    fn start(pool: &str) -> Result<Worker, Trouble> {
        Helper::start(&format!("the worker of pool {pool}"), work).map(Worker::Begun)
    }

    /// What the pool's worker answers: its first byte and the rest. `None` when the program is to be
    /// asked. A worker that did not answer in time is given up, and none takes its place.
    fn ask(
        &self,
        pool: &str,
        question: &[&[u8]],
        deadline: Deadline,
    ) -> Option<Result<(u8, Vec<u8>), Trouble>> {
        let mut workers = self.workers.borrow_mut();
        let worker = match workers.remove(pool) {
            Some(worker) => worker,
            None => Direct::start(pool).ok()?,
        };
        let (worker, answer) = self.talk(worker, question, deadline);
        workers.insert(pool.to_owned(), worker);
        match answer {
            Ok((ASK_THE_PROGRAM, _)) => None,
            Err(trouble) if !trouble.is_timeout() => None,
            answer => Some(answer),
        }
    }

    fn talk(
        &self,
        worker: Worker,
        question: &[&[u8]],
        deadline: Deadline,
    ) -> (Worker, Result<(u8, Vec<u8>), Trouble>) {
        let clock = self.command.clock;
        let (mut helper, greeted) = match worker {
            Worker::Begun(helper) => (helper, false),
            Worker::Works(helper) => (helper, true),
            Worker::Gone => return (Worker::Gone, Ok((ASK_THE_PROGRAM, Vec::new()))),
        };
        let hear = |helper: &mut Helper| {
            let answer = helper.answer(LONGEST_ANSWER, clock, deadline)?;
            match answer.split_first() {
                Some((first, rest)) => Ok((*first, rest.to_vec())),
                None => Err(Trouble::failed("a pool's worker", "an empty answer")),
            }
        };
        if !greeted {
            match hear(&mut helper) {
                Ok((DONE, _)) => {}
                answer => return (Worker::Gone, answer),
            }
        }
        let asked = helper.ask(question, clock, deadline);
        match asked.and_then(|()| hear(&mut helper)) {
            Ok(answer) => (Worker::Works(helper), Ok(answer)),
            Err(trouble) => (Worker::Gone, Err(trouble)),
        }
    }

    /// Datasets by the library, or `None`.
    fn look(
        &self,
        pool: &str,
        part: &Part,
        deadline: Deadline,
    ) -> Option<Result<Vec<Dataset>, Trouble>> {
        let what = format!("looking at pool {pool}");
        let names = [('t', &part.trees), ('a', &part.alone)];
        let lines = names
            .iter()
            .flat_map(|(how, names)| names.iter().map(move |name| format!("{how}{name}\n")));
        let lines: String = lines.collect();
        let answer = self.ask(pool, &[&[OBSERVE], lines.as_bytes()], deadline)?;
        let text = match told(&what, answer) {
            Ok(text) => text,
            Err(trouble) => return Some(Err(trouble)),
        };
        Some(parse::datasets(&text).map_err(|why| Trouble::failed(&what, &why)))
    }
}

/// The words of an answer that was nothing but done or refused.
fn told(what: &str, answer: Result<(u8, Vec<u8>), Trouble>) -> Result<String, Trouble> {
    let (first, rest) = answer?;
    let words = String::from_utf8(rest).map_err(|_| Trouble::failed(what, "it is not text"))?;
    match first {
        DONE => Ok(words),
        _ => Err(Trouble::failed(what, &words)),
    }
}

impl Zfs for Direct<'_> {
    fn begin(&self, pools: &[String]) {
        let mut workers = self.workers.borrow_mut();
        for pool in pools {
            if !workers.contains_key(pool)
                && let Ok(worker) = Direct::start(pool)
            {
                workers.insert(pool.clone(), worker);
            }
        }
    }

    fn pools(&self, deadline: Deadline) -> Result<Vec<String>, Trouble> {
        self.command.pools(deadline)
    }

    fn observe(&self, pool: &str, deadline: Deadline) -> Result<Vec<Dataset>, Trouble> {
        let whole = match pool.parse() {
            Ok(pool) => Part::tree(pool),
            Err(_) => return self.command.observe(pool, deadline),
        };
        self.look(pool, &whole, deadline)
            .unwrap_or_else(|| self.command.observe(pool, deadline))
    }

    fn observe_part(
        &self,
        pool: &str,
        part: &Part,
        deadline: Deadline,
    ) -> Result<Vec<Dataset>, Trouble> {
        self.look(pool, part, deadline)
            .unwrap_or_else(|| self.command.observe(pool, deadline))
    }

    fn has_checkpoint(&self, pool: &str, deadline: Deadline) -> Result<bool, Trouble> {
        self.command.has_checkpoint(pool, deadline)
    }

    fn try_key(&self, root: &DatasetName, key: &Key, how: Try, deadline: Deadline) -> Answer {
        let (kind, what) = match how {
            Try::Load => (LOAD, format!("loading the key of {root}")),
            Try::Probe => (PROBE, format!("trying a key on {root}")),
        };
        let question: [&[u8]; 3] = [&[kind], root.as_str().as_bytes(), key.expose()];
        match self.ask(root.pool(), &question, deadline) {
            None => self.command.try_key(root, key, how, deadline),
            Some(Ok((WRONG_KEY, _))) => Answer::WrongKey,
            Some(answer) => match told(&what, answer) {
                Ok(_) => Answer::Opens,
                Err(trouble) => Answer::CouldNotAsk(trouble),
            },
        }
    }

    fn mount(&self, dataset: &DatasetName, deadline: Deadline) -> Result<(), Trouble> {
        let question: [&[u8]; 2] = [&[MOUNT], dataset.as_str().as_bytes()];
        match self.ask(dataset.pool(), &question, deadline) {
            None => self.command.mount(dataset, deadline),
            Some(answer) => told(&format!("mounting {dataset}"), answer).map(drop),
        }
    }

    fn set_readonly(&self, dataset: &DatasetName, deadline: Deadline) -> Result<(), Trouble> {
        self.command.set_readonly(dataset, deadline)
    }

    fn set_writable(&self, dataset: &DatasetName, deadline: Deadline) -> Result<(), Trouble> {
        self.command.set_writable(dataset, deadline)
    }

    fn record(
        &self,
        dataset: &DatasetName,
        promotion: &str,
        deadline: Deadline,
    ) -> Result<(), Trouble> {
        self.command.record(dataset, promotion, deadline)
    }

    fn snapshot(
        &self,
        datasets: &[DatasetName],
        name: &str,
        deadline: Deadline,
    ) -> Result<(), Trouble> {
        self.command.snapshot(datasets, name, deadline)
    }

    fn past(&self, dataset: &DatasetName, deadline: Deadline) -> Result<Vec<Past>, Trouble> {
        self.command.past(dataset, deadline)
    }

    fn unmount(&self, dataset: &DatasetName, deadline: Deadline) -> Result<(), Trouble> {
        self.command.unmount(dataset, deadline)
    }

    fn unload_key(&self, root: &DatasetName, deadline: Deadline) -> Result<(), Trouble> {
        self.command.unload_key(root, deadline)
    }

    fn change_key(&self, root: &DatasetName, key: &Key, deadline: Deadline) -> Result<(), Trouble> {
        self.command.change_key(root, key, deadline)
    }

    fn set_key_location(
        &self,
        root: &DatasetName,
        location: &str,
        deadline: Deadline,
    ) -> Result<(), Trouble> {
        self.command.set_key_location(root, location, deadline)
    }

    fn unwraps(&self, dataset: &DatasetName, deadline: Deadline) -> Result<(), Trouble> {
        self.command.unwraps(dataset, deadline)
    }
}

/// A worker's whole life: it ends with its questions.
fn work(mut questions: File, mut answers: File) {
    let library = match Library::open(&parse::properties()) {
        Ok(library) => library,
        Err(why) => return drop(say(&mut answers, ASK_THE_PROGRAM, &why)),
    };
    let mut asked = Asked {
        library,
        guarded: false,
    };
    let mut spoke = say(&mut answers, DONE, "");
    while spoke.is_ok() {
        spoke = match asked.answer(&mut questions) {
            Ok((first, words)) => say(&mut answers, first, &words),
            Err(e) => Err(e),
        };
    }
}

fn say(answers: &mut File, first: u8, words: &str) -> io::Result<()> {
    let length = u32::try_from(1 + words.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
    answers.write_all(&length.to_le_bytes())?;
    answers.write_all(&[first])?;
    answers.write_all(words.as_bytes())
}

/// What a worker has.
struct Asked {
    library: Library,
    /// Whether its memory is locked: before the first key is in it.
    guarded: bool,
}

impl Asked {
    /// Reads one question and works on it.
    fn answer(&mut self, questions: &mut File) -> io::Result<(u8, String)> {
        let mut length = [0; 4];
        questions.read_exact(&mut length)?;
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        let mut kind = [0];
        questions.read_exact(&mut kind)?;
        let rest = length.wrapping_sub(1);
        let secret = match kind[0] {
            LOAD | PROBE => KEY_LEN,
            _ => 0,
        };
        if !(secret..=LONGEST_QUESTION).contains(&rest) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut text = vec![0; rest - secret];
        questions.read_exact(&mut text)?;
        let text = String::from_utf8(text).map_err(|_| io::ErrorKind::InvalidData)?;
        match kind[0] {
            OBSERVE => Ok(self.observe(&text)),
            LOAD => self.try_key(&text, Try::Load, questions),
            PROBE => self.try_key(&text, Try::Probe, questions),
            MOUNT => Ok(self.mount(&text)),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn observe(&self, lines: &str) -> (u8, String) {
        let named = |how: char| lines.lines().filter_map(move |line| line.strip_prefix(how));
        match self.library.observe(named('a'), named('t')) {
            Ok(text) => (DONE, text),
            Err(why) => (REFUSED, why),
        }
    }

    /// Takes the key straight out of the pipe into a box of its own. The library's copies lie in memory
    /// that is locked, and go with this process.
    fn try_key(&mut self, root: &str, how: Try, questions: &mut File) -> io::Result<(u8, String)> {
        if !self.guarded {
            os::guard_all_memory()?;
            self.guarded = true;
        }
        let key = Key::take(|place| questions.read_exact(place))?;
        let only_ask = how == Try::Probe;
        Ok(meaning(self.library.load_key(root, only_ask, key.expose())))
    }

    fn mount(&self, name: &str) -> (u8, String) {
        match os::as_services_make_files(|| self.library.mount(name)) {
            Mounting::Done => (DONE, String::new()),
            Mounting::Refused(why) => (REFUSED, why),
            Mounting::NotPlain => (ASK_THE_PROGRAM, String::new()),
        }
    }
}

/// What the kernel's answer to a key means. Only one number says that it is the wrong one.
fn meaning(number: i32) -> (u8, String) {
    match number {
        0 => (DONE, String::new()),
        os::NO_ACCESS => (WRONG_KEY, String::new()),
        os::EXISTS => (REFUSED, "a key is loaded already".to_owned()),
        os::TRY_AGAIN => (REFUSED, "its pool is suspended".to_owned()),
        other => (REFUSED, error_words(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::SystemClock;
    use std::time::Duration;

    #[test]
    fn the_three_answers_are_told_apart() {
        assert_eq!(meaning(0).0, DONE);
        for number in 1..200 {
            let (first, words) = meaning(number);
            let expected = match number {
                os::NO_ACCESS => WRONG_KEY,
                _ => REFUSED,
            };
            assert_eq!(first, expected, "{number}");
            assert_eq!(words.is_empty(), first == WRONG_KEY, "{number}");
        }
    }

    /// A pool's worker that answers each question with what `answer` makes of it; no library.
    fn with_worker<T>(
        answer: impl Fn(&[u8]) -> (u8, String) + 'static,
        then: impl FnOnce(&Direct, Deadline) -> T,
    ) -> T {
        let clock = SystemClock::start();
        let direct = Direct::new(Command {
            program: "/nonexistent/zfs".into(),
            clock: &clock,
        });
        let helper = Helper::start("a worker", move |mut questions, mut answers| {
            let _ = say(&mut answers, DONE, "");
            loop {
                let mut length = [0; 4];
                if questions.read_exact(&mut length).is_err() {
                    return;
                }
                let mut question = vec![0; u32::from_le_bytes(length) as usize];
                questions.read_exact(&mut question).unwrap();
                let (first, words) = answer(&question);
                say(&mut answers, first, &words).unwrap();
            }
        });
        let worker = Worker::Begun(helper.unwrap());
        direct
            .workers
            .borrow_mut()
            .insert("tank".to_owned(), worker);
        let deadline = Deadline::after(&clock, Duration::from_secs(20));
        then(&direct, deadline)
    }

    fn key() -> Key {
        Key::take(|place| {
            place.fill(7);
            Ok(())
        })
        .unwrap()
    }

    fn root() -> DatasetName {
        "tank/enc".parse().unwrap()
    }

    #[test]
    fn a_key_goes_through_the_pipe_and_its_answer_comes_back() {
        for (first, words, expected) in [
            (DONE, "", Answer::Opens),
            (WRONG_KEY, "", Answer::WrongKey),
            (
                REFUSED,
                "its pool is suspended",
                Answer::CouldNotAsk(Trouble::failed(
                    "trying a key on tank/enc",
                    "its pool is suspended",
                )),
            ),
        ] {
            let answered = move |question: &[u8]| {
                assert_eq!(question, [b"ptank/enc", &[7; KEY_LEN][..]].concat());
                (first, words.to_owned())
            };
            let key = key;
            let said = with_worker(answered, |direct, deadline| {
                direct.try_key(&root(), &key(), Try::Probe, deadline)
            });
            assert_eq!(said, expected);
        }
    }

    #[test]
    fn law_6_a_worker_that_hangs_is_given_up_and_not_asked_again() {
        let hang = |_: &[u8]| loop {
            std::thread::sleep(Duration::from_secs(1000));
        };
        with_worker(hang, |direct, _| {
            let clock = SystemClock::start();
            let soon = Deadline::after(&clock, Duration::from_millis(50));
            let trouble = direct.observe("tank", soon).unwrap_err();
            assert!(trouble.is_timeout(), "{trouble}");
            assert!(matches!(
                direct.workers.borrow().get("tank"),
                Some(Worker::Gone)
            ));
        });
    }

    #[test]
    fn a_worker_that_dies_or_declines_leaves_it_to_the_program() {
        let declines = |_: &[u8]| (ASK_THE_PROGRAM, String::new());
        let dies = |_: &[u8]| std::process::abort();
        let program = |direct: &Direct, deadline| {
            let why = direct.mount(&root(), deadline).unwrap_err().to_string();
            assert!(why.starts_with("zfs mount tank/enc: "), "{why}");
        };
        with_worker(declines, program);
        with_worker(dies, program);
    }

    #[test]
    fn what_is_observed_is_read_as_strictly_as_the_program_s_words() {
        let nonsense = |question: &[u8]| {
            assert_eq!(question, b"ottank\n");
            (DONE, "tank\treadonly\toff".to_owned())
        };
        let why = with_worker(nonsense, |direct, deadline| {
            direct.observe("tank", deadline).unwrap_err().to_string()
        });
        assert!(why.contains("not four columns"), "{why}");
    }

    #[test]
    fn law_2_no_worker_is_started_while_keys_are_in_memory() {
        let clock = SystemClock::start();
        let direct = Direct::new(Command {
            program: "/nonexistent/zfs".into(),
            clock: &clock,
        });
        let key = key();
        direct.begin(&["tank".to_owned()]);
        assert!(direct.workers.borrow().is_empty());
        drop(key);
    }
}
