//! ZFS by way of its own library, in a worker for each pool; by the `zfs` program for all that the
//! library is not asked, and wherever there is no library to ask.
//!
//! The library may block in the kernel, so it is called in a worker that can be given up on, and never
//! in this process, which at most maps its lowest part into memory for all of them: files beside those that
//! it runs from itself. A worker is forked while there are no keys. Each comes to it by its pipe alone.

use super::command::Command;
use super::entry::{self, Entry, PROPERTIES, Value};
use super::{Answer, Listing, Loading, Part, Past, Try, Zfs, parse, version};
use crate::digits;
use crate::key::{KEY_LEN, Key, keys_alive};
use crate::names::DatasetName;
use crate::os::libzfs::{Core, Library, Mounting, Told};
use crate::os::worker::Helper;
use crate::os::{self, error_words};
use crate::piece::Piece;
use crate::seals::Seal;
use crate::sorted::Map;
use crate::time::{Clock, Deadline};
use crate::trouble::Trouble;
use std::cell::{OnceCell, RefCell};
use std::fs::File;
use std::io::{self, Read, Write};
use std::num::NonZero;
use std::thread::available_parallelism;
use std::time::Duration;

/// The longest question, in bytes: the names of many datasets.
const LONGEST_QUESTION: usize = 16 << 20;
/// The longest answer, in bytes: as for a program's output.
const LONGEST_ANSWER: usize = 64 << 20;

/// What a question begins with.
const OBSERVE: u8 = b'o';
const LOAD: u8 = b'l';
const PROBE: u8 = b'p';
const MOUNT: u8 = b'm';
const GUARD: u8 = b'g';

/// What an answer begins with: it was done; the key is wrong; it was refused, in these words; the
/// program is to be asked.
const DONE: u8 = b'.';
const WRONG_KEY: u8 = b'x';
const REFUSED: u8 = b'!';
const ASK_THE_PROGRAM: u8 = b'-';

/// The most workers of a pool: OpenZFS makes a pool's transactions and mounts one after another where it
/// counts, so that more gain nothing.
const MOST_WORKERS: usize = 4;
/// So many file systems are worth a worker that looks or mounts: it opens the rest of the library for it,
/// while others work. Who only loads keys has nothing to open.
const WORTH_A_WORKER: usize = 2;
/// So many questions a worker is handed at once, lest it wait for the next, or for the others at the end of
/// each handful.
const AHEAD: usize = 16;
/// A question that surely fits into a pipe that nobody reads yet.
const FITS_A_PIPE: usize = 4096;

/// An answer: its first byte and the rest; `None` when the program is to be asked.
type Heard = Option<Result<(u8, Vec<u8>), Trouble>>;

/// The library's lowest part, or why it is not there.
type Found = Result<Core, String>;

/// The library, and the program behind it.
pub struct Direct<'a> {
    command: Command<'a>,
    pools: RefCell<Map<String, Pool>>,
    /// The library's lowest part, where workers only load keys: found before the first of them is forked,
    /// lest each look for it anew. Those that look open the whole library, and that side by side.
    core: OnceCell<Found>,
}

/// What works on a pool.
#[derive(Default)]
struct Pool {
    /// None when none is left.
    workers: Vec<Worker>,
    /// The state of knowledge: another after each change and with each look, so that no worker mounts by
    /// what it knew before.
    state: u64,
    /// What each worker told of when they were last asked: it has it still open.
    shares: Vec<Part>,
}

impl Pool {
    /// The worker that told of a dataset.
    fn teller(&self, dataset: &DatasetName) -> Option<usize> {
        self.shares.iter().position(|share| share.has(dataset))
    }
}

/// One of a pool's workers.
struct Worker {
    helper: Helper,
    /// Whether it has said that it found the library.
    greeted: bool,
    /// What it was asked already and has not answered.
    ahead: Option<Vec<u8>>,
}

impl Worker {
    fn start(pool: &str, core: &OnceCell<Found>) -> Result<Worker, Trouble> {
        let work = |questions, answers| work(core.get_or_init(found), questions, answers);
        let helper = Helper::start(&format!("a worker of pool {pool}"), work)?;
        Ok(Worker {
            helper,
            greeted: false,
            ahead: None,
        })
    }

    fn ask(
        &mut self,
        question: &Question,
        clock: &dyn Clock,
        deadline: Deadline,
    ) -> Result<(), Trouble> {
        match self.ahead.take() {
            Some(asked) if question.key.is_none() && asked == question.words => return Ok(()),
            Some(_) => drop(self.hear(clock, deadline)?),
            None => {}
        }
        self.helper.ask(&question.pieces(), clock, deadline)
    }

    fn hear(&mut self, clock: &dyn Clock, deadline: Deadline) -> Result<(u8, Vec<u8>), Trouble> {
        self.greet(clock, deadline)?;
        self.next(clock, deadline)
    }

    fn greet(&mut self, clock: &dyn Clock, deadline: Deadline) -> Result<(), Trouble> {
        if self.greeted {
            return Ok(());
        }
        match self.next(clock, deadline)? {
            (DONE, _) => {
                self.greeted = true;
                Ok(())
            }
            (_, why) => {
                let why = String::from_utf8_lossy(&why).into_owned();
                Err(Trouble::failed("libzfs", &why))
            }
        }
    }

    fn next(&mut self, clock: &dyn Clock, deadline: Deadline) -> Result<(u8, Vec<u8>), Trouble> {
        let answer = self.helper.answer(LONGEST_ANSWER, clock, deadline)?;
        match answer.split_first() {
            Some((first, rest)) => Ok((*first, rest.to_vec())),
            None => Err(Trouble::failed("a pool's worker", "an empty answer")),
        }
    }
}

/// What a worker is asked: words, and perhaps a key behind them.
struct Question<'a> {
    words: Vec<u8>,
    key: Option<&'a Key>,
}

impl Question<'_> {
    fn of(words: Vec<u8>) -> Question<'static> {
        Question { words, key: None }
    }

    fn pieces(&self) -> Vec<Piece<'_>> {
        let words = Piece::from(&self.words[..]);
        std::iter::once(words)
            .chain(self.key.map(Piece::from))
            .collect()
    }
}

/// A worker while it is asked, and what became of it.
struct Lane {
    worker: Option<Worker>,
    timed_out: Option<Trouble>,
}

impl From<Worker> for Lane {
    fn from(worker: Worker) -> Lane {
        Lane {
            worker: Some(worker),
            timed_out: None,
        }
    }
}

impl Lane {
    fn ask(&mut self, question: &Question, clock: &dyn Clock, deadline: Deadline) {
        if let Some(worker) = &mut self.worker
            && let Err(trouble) = worker.ask(question, clock, deadline)
        {
            self.end(trouble);
        }
    }

    fn hear(&mut self, clock: &dyn Clock, deadline: Deadline) -> Heard {
        if let Some(worker) = &mut self.worker {
            match worker.hear(clock, deadline) {
                Ok((ASK_THE_PROGRAM, _)) => return None,
                Ok(answer) => return Some(Ok(answer)),
                Err(trouble) => self.end(trouble),
            }
        }
        self.timed_out.clone().map(Err)
    }

    fn end(&mut self, trouble: Trouble) {
        self.worker = None;
        self.timed_out = trouble.is_timeout().then_some(trouble);
    }
}

impl<'a> Direct<'a> {
    /// The library, with this program for what it is not asked.
    pub fn new(command: Command<'a>) -> Direct<'a> {
        Direct {
            command,
            pools: RefCell::default(),
            core: OnceCell::new(),
        }
    }

    /// Starts the workers of a pool that has none yet.
    fn start(&self, pool: &str, most: usize) {
        let mut pools = self.pools.borrow_mut();
        if pools.contains_key(pool) {
            return;
        }
        let processors = || available_parallelism().map_or(1, NonZero::get);
        let count = match most {
            0 | 1 => 1,
            _ => most.min(MOST_WORKERS).min(processors()),
        };
        let start = |_| Worker::start(pool, &self.core).ok();
        let workers = (0..count).map_while(start).collect();
        let of_pool = Pool {
            workers,
            ..Pool::default()
        };
        pools.insert(pool.to_owned(), of_pool);
    }

    /// What any worker knows of a pool holds no longer.
    fn forget(&self, pool: &str) {
        if let Some(pool) = self.pools.borrow_mut().get_mut(pool) {
            pool.state += 1;
        }
    }

    /// Hands the questions out to the workers, each in its turn, and hears their answers.
    fn each(&self, pool: &str, questions: &[Question], deadline: Deadline) -> Vec<Heard> {
        let in_turn: Vec<usize> = (0..questions.len()).collect();
        self.each_by(pool, questions, &in_turn, deadline)
    }

    /// Hands each question to the worker of the number beside it, counted round and round, and hears the
    /// answers. A worker that did not answer in time is given up, and none takes its place.
    fn each_by(
        &self,
        pool: &str,
        questions: &[Question],
        by: &[usize],
        deadline: Deadline,
    ) -> Vec<Heard> {
        self.start(pool, 1);
        let clock = self.command.clock;
        let mut pools = self.pools.borrow_mut();
        let of_pool = &mut pools.entry(pool.to_owned()).or_default().workers;
        let mut lanes: Vec<Lane> = of_pool.drain(..).map(Lane::from).collect();
        let count = lanes.len();
        for (question, number) in questions.iter().zip(by) {
            if let Some(lane) = lanes.get_mut(number % count.max(1)) {
                lane.ask(question, clock, deadline);
            }
        }
        let heard = by.iter().map(|number| {
            let lane = lanes.get_mut(number % count.max(1))?;
            lane.hear(clock, deadline)
        });
        let heard = heard.collect();
        of_pool.extend(lanes.into_iter().filter_map(|lane| lane.worker));
        heard
    }

    fn ask(&self, pool: &str, question: Question, deadline: Deadline) -> Heard {
        self.each(pool, &[question], deadline).pop().flatten()
    }

    /// The questions that ask for a part of a pool, one for each worker.
    fn looking(&self, pool: &str, part: &Part) -> Vec<Vec<u8>> {
        let shares = part.shares(self.workers(pool));
        let state = self.state(pool);
        let question = |share| question_for(state, share);
        shares.iter().map(question).collect()
    }

    fn workers(&self, pool: &str) -> usize {
        let pools = self.pools.borrow();
        pools.get(pool).map_or(0, |pool| pool.workers.len())
    }

    fn state(&self, pool: &str) -> u64 {
        self.pools.borrow().get(pool).map_or(0, |pool| pool.state)
    }

    /// Who is to mount each of these: the worker that has it open, unless it has its fair share already;
    /// to open it once more takes less time than to wait.
    fn mounters(&self, datasets: &[&DatasetName]) -> Vec<usize> {
        let pools = self.pools.borrow();
        let of_pool = datasets.first().and_then(|first| pools.get(first.pool()));
        let mut tasks = vec![0; of_pool.map_or(1, |pool| pool.workers.len().max(1))];
        let fair = datasets.len().div_ceil(tasks.len());
        let mounter = |dataset: &&DatasetName| {
            let teller = of_pool.and_then(|pool| pool.teller(dataset));
            let free = |number: &usize| tasks.get(*number).is_some_and(|many| *many < fair);
            let idlest = || (0..tasks.len()).min_by_key(|number| tasks[*number]);
            let number = teller.filter(free).or_else(idlest).unwrap_or(0);
            tasks[number] += 1;
            number
        };
        datasets.iter().map(mounter).collect()
    }

    /// Whether just this was asked already, and nothing has changed since.
    fn is_asked(&self, pool: &str, questions: &[Vec<u8>]) -> bool {
        let pools = self.pools.borrow();
        let workers = pools.get(pool).map_or(&[][..], |pool| &pool.workers);
        let ahead = workers.iter().map(|worker| worker.ahead.as_ref());
        ahead.eq(questions.iter().map(Some))
    }

    /// Datasets by the library, or `None`.
    fn look(
        &self,
        pool: &str,
        part: &Part,
        deadline: Deadline,
    ) -> Option<Result<Listing, Trouble>> {
        self.start(pool, 1);
        let what = format!("looking at pool {pool}");
        let mut questions = self.looking(pool, part);
        if !self.is_asked(pool, &questions) {
            self.forget(pool);
            questions = self.looking(pool, part);
        }
        let questions: Vec<Question> = questions.into_iter().map(Question::of).collect();
        if let Some(of_pool) = self.pools.borrow_mut().get_mut(pool) {
            of_pool.shares = part.shares(questions.len());
        }
        let mut entries = Vec::new();
        for answer in self.each(pool, &questions, deadline) {
            match done(&what, answer?).and_then(|bytes| {
                entry::read(&bytes).map_err(|unfit| Trouble::failed(&what, unfit))
            }) {
                Ok(more) => entries.extend(more),
                Err(trouble) => return Some(Err(trouble)),
            }
        }
        let seen = parse::listing(&entries);
        Some(seen.map_err(|why| Trouble::failed(&what, &why)))
    }

    /// What an answer to a key means; `None` when the program is to be asked.
    fn key_answer(root: &DatasetName, how: Try, heard: Heard) -> Option<Answer> {
        let what = match how {
            Try::Load => format!("loading the key of {root}"),
            Try::Probe => format!("trying a key on {root}"),
        };
        Some(match heard? {
            Ok((WRONG_KEY, _)) => Answer::WrongKey,
            answer => match done(&what, answer) {
                Ok(_) => Answer::Opens,
                Err(trouble) => Answer::CouldNotAsk(trouble),
            },
        })
    }
}

fn question_for(state: u64, part: &Part) -> Vec<u8> {
    let names = [('t', &part.trees), ('a', &part.alone)];
    let lines = names
        .iter()
        .flat_map(|(how, names)| names.iter().map(move |name| format!("{how}{name}\n")));
    let lines = format!("{state}\n{}", lines.collect::<String>());
    [&[OBSERVE], lines.as_bytes()].concat()
}

fn key_question<'q>(how: Try, root: &DatasetName, key: &'q Key) -> Question<'q> {
    let kind = match how {
        Try::Load => LOAD,
        Try::Probe => PROBE,
    };
    Question {
        words: [&[kind], root.as_str().as_bytes()].concat(),
        key: Some(key),
    }
}

/// What an answer brought that was nothing but done or refused.
fn done(what: &str, answer: Result<(u8, Vec<u8>), Trouble>) -> Result<Vec<u8>, Trouble> {
    match answer? {
        (DONE, rest) => Ok(rest),
        (_, words) => Err(Trouble::failed(what, &String::from_utf8_lossy(&words))),
    }
}

impl Zfs for Direct<'_> {
    fn begin(&self, pool: &str, pieces: usize, first: Option<&Part>) {
        match first {
            Some(_) => self.start(pool, pieces / WORTH_A_WORKER),
            None => {
                // Too late for a worker, and so for a library, once a key was taken.
                if keys_alive() == 0 {
                    self.core.get_or_init(found);
                }
                self.start(pool, pieces);
            }
        }
        let questions = match first {
            Some(part) => self.looking(pool, part),
            // The first question will be a key.
            None => vec![vec![GUARD]; self.workers(pool)],
        };
        let mut pools = self.pools.borrow_mut();
        let Some(of_pool) = pools.get_mut(pool) else {
            return;
        };
        let clock = self.command.clock;
        for (worker, question) in of_pool.workers.iter_mut().zip(questions) {
            let now = Deadline::after(clock, Duration::ZERO);
            if worker.ahead.is_none()
                && question.len() <= FITS_A_PIPE
                && worker
                    .helper
                    .ask(&[Piece::from(&question[..])], clock, now)
                    .is_ok()
            {
                worker.ahead = Some(question);
            }
        }
    }

    fn asks_kernel(&self, pool: &str, deadline: Deadline) -> bool {
        let clock = self.command.clock;
        let mut pools = self.pools.borrow_mut();
        let workers = pools.get_mut(pool).map_or(&mut [][..], |p| &mut p.workers);
        let greeted = |worker: &mut Worker| worker.greet(clock, deadline).is_ok();
        !workers.is_empty() && workers.iter_mut().all(greeted)
    }

    fn at_once(&self, pool: &str) -> usize {
        (self.workers(pool) * AHEAD).max(1)
    }

    fn pools(&self, deadline: Deadline) -> Result<Vec<String>, Trouble> {
        self.command.pools(deadline)
    }

    fn observe(&self, pool: &str, deadline: Deadline) -> Result<Listing, Trouble> {
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
    ) -> Result<Listing, Trouble> {
        self.look(pool, part, deadline)
            .unwrap_or_else(|| self.command.observe_part(pool, part, deadline))
    }

    fn has_checkpoint(&self, pool: &str, deadline: Deadline) -> Result<bool, Trouble> {
        self.command.has_checkpoint(pool, deadline)
    }

    fn try_key(&self, root: &DatasetName, key: &Key, how: Try, deadline: Deadline) -> Answer {
        if how == Try::Load {
            self.forget(root.pool());
        }
        let heard = self.ask(root.pool(), key_question(how, root, key), deadline);
        Direct::key_answer(root, how, heard)
            .unwrap_or_else(|| self.command.try_key(root, key, how, deadline))
    }

    fn load_keys(&self, keys: &[(&DatasetName, &Key)], deadline: Deadline) -> Vec<Loading> {
        let Some((first, _)) = keys.first() else {
            return Vec::new();
        };
        let questions: Vec<_> = keys
            .iter()
            .map(|(root, key)| key_question(Try::Load, root, key))
            .collect();
        let heard = self.each(first.pool(), &questions, deadline);
        self.forget(first.pool());
        let answers = keys.iter().zip(heard).map(|((root, key), heard)| {
            let answer = Direct::key_answer(root, Try::Load, heard);
            let by_kernel = answer.is_some();
            let answer =
                answer.unwrap_or_else(|| self.command.try_key(root, key, Try::Load, deadline));
            Loading { answer, by_kernel }
        });
        answers.collect()
    }

    fn mount(&self, dataset: &DatasetName, deadline: Deadline) -> Result<(), Trouble> {
        let done = self.mount_all(&[dataset], deadline).pop();
        done.unwrap_or_else(|| self.command.mount(dataset, deadline))
    }

    fn mount_all(&self, datasets: &[&DatasetName], deadline: Deadline) -> Vec<Result<(), Trouble>> {
        let Some(first) = datasets.first() else {
            return Vec::new();
        };
        let state = format!("{}\n", self.state(first.pool()));
        let question = |dataset: &&DatasetName| {
            let words = [&[MOUNT][..], state.as_bytes(), dataset.as_str().as_bytes()];
            Question::of(words.concat())
        };
        let questions: Vec<Question> = datasets.iter().map(question).collect();
        let mounters = self.mounters(datasets);
        let heard = self.each_by(first.pool(), &questions, &mounters, deadline);
        let done = datasets
            .iter()
            .zip(heard)
            .map(|(dataset, heard)| match heard {
                None => self.command.mount(dataset, deadline),
                Some(answer) => done(&format!("mounting {dataset}"), answer).map(drop),
            });
        done.collect()
    }

    fn set_readonly(&self, dataset: &DatasetName, deadline: Deadline) -> Result<(), Trouble> {
        self.forget(dataset.pool());
        self.command.set_readonly(dataset, deadline)
    }

    fn seal(
        &self,
        dataset: &DatasetName,
        seals: &[Seal],
        deadline: Deadline,
    ) -> Result<(), Trouble> {
        self.forget(dataset.pool());
        self.command.seal(dataset, seals, deadline)
    }

    fn set_writable(&self, dataset: &DatasetName, deadline: Deadline) -> Result<(), Trouble> {
        self.forget(dataset.pool());
        self.command.set_writable(dataset, deadline)
    }

    fn record(
        &self,
        dataset: &DatasetName,
        promotion: &str,
        deadline: Deadline,
    ) -> Result<(), Trouble> {
        self.forget(dataset.pool());
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
        self.forget(dataset.pool());
        self.command.unmount(dataset, deadline)
    }

    fn unload_key(&self, root: &DatasetName, deadline: Deadline) -> Result<(), Trouble> {
        self.forget(root.pool());
        self.command.unload_key(root, deadline)
    }

    fn change_key(&self, root: &DatasetName, key: &Key, deadline: Deadline) -> Result<(), Trouble> {
        self.forget(root.pool());
        self.command.change_key(root, key, deadline)
    }

    fn set_key_location(
        &self,
        root: &DatasetName,
        location: &str,
        deadline: Deadline,
    ) -> Result<(), Trouble> {
        self.forget(root.pool());
        self.command.set_key_location(root, location, deadline)
    }

    fn unwraps(&self, dataset: &DatasetName, deadline: Deadline) -> Result<(), Trouble> {
        self.command.unwraps(dataset, deadline)
    }
}

impl From<Told> for Entry {
    fn from((name, values): Told) -> Entry {
        let value = |(value, source)| Value { value, source };
        Entry {
            name,
            values: values.into_iter().map(value).collect(),
        }
    }
}

/// The library's lowest part, where this version of it was tested.
fn found() -> Found {
    match version::why_program(os::zfs_version().as_deref()) {
        None => Core::find(),
        Some(why) => Err(why),
    }
}

/// A worker's whole life: it ends with its questions.
fn work(core: &Found, mut questions: File, mut answers: File) {
    let core = match core.as_ref().map_err(String::clone).and_then(Core::begin) {
        Ok(core) => core,
        Err(why) => return drop(say(&mut answers, ASK_THE_PROGRAM, why.as_bytes())),
    };
    let mut asked = Asked {
        core: *core,
        library: None,
        guarded: false,
        first: false,
    };
    let mut spoke = say(&mut answers, DONE, b"");
    while spoke.is_ok() {
        spoke = match asked.answer(&mut questions) {
            Ok((first, rest)) => say(&mut answers, first, &rest),
            Err(e) => Err(e),
        };
    }
}

fn say(answers: &mut File, first: u8, rest: &[u8]) -> io::Result<()> {
    let length = u32::try_from(1 + rest.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
    // At once, lest the other side wake for a part of it.
    answers.write_all(&[&length.to_le_bytes()[..], &[first], rest].concat())
}

/// What a worker answers: the first byte, and the rest.
type Said = (u8, Vec<u8>);

/// What a worker has.
struct Asked {
    core: Core,
    /// Opened when it is first needed: loading keys needs none of it.
    library: Option<Result<Library, String>>,
    /// Whether its memory is locked: before the first key is in it.
    guarded: bool,
    /// Whether it goes before others.
    first: bool,
}

impl Asked {
    /// Reads one question and works on it.
    fn answer(&mut self, questions: &mut File) -> io::Result<Said> {
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
            GUARD => self.guard().map(|()| (DONE, Vec::new())),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn library(&mut self) -> Result<&Library, Said> {
        let open = || Library::open(&PROPERTIES);
        let library = self.library.get_or_insert_with(open);
        library
            .as_ref()
            .map_err(|why| (ASK_THE_PROGRAM, why.clone().into_bytes()))
    }

    fn observe(&mut self, question: &str) -> Said {
        let Some((state, lines)) = stated(question) else {
            return not_understood();
        };
        let named = |how: char| lines.lines().filter_map(move |line| line.strip_prefix(how));
        let library = match self.library() {
            Ok(library) => library,
            Err(answer) => return answer,
        };
        match library.observe(state, named('a'), named('t')) {
            Ok(told) => (DONE, entry::write(told.into_iter().map(Entry::from))),
            Err(why) => (REFUSED, why.into_bytes()),
        }
    }

    /// Locks this process's memory, before the first key is in it.
    fn guard(&mut self) -> io::Result<()> {
        if !self.guarded {
            os::guard_all_memory()?;
            self.guarded = true;
        }
        Ok(())
    }

    /// All wait for what loads keys and mounts. And each mount wakes whoever watches for devices and mounts,
    /// who would take the processor from the next.
    fn go_first(&mut self) {
        if !self.first {
            os::go_first();
            self.first = true;
        }
    }

    /// Takes the key straight out of the pipe into a box of its own. The library's copies lie in memory
    /// that is locked, and go with this process.
    fn try_key(&mut self, root: &str, how: Try, questions: &mut File) -> io::Result<Said> {
        self.guard()?;
        let key = Key::take(|place| questions.read_exact(place))?;
        let only_ask = how == Try::Probe;
        if !only_ask {
            self.go_first();
        }
        Ok(meaning(self.core.load_key(root, only_ask, key.expose())))
    }

    fn mount(&mut self, question: &str) -> Said {
        let Some((state, name)) = stated(question) else {
            return not_understood();
        };
        self.go_first();
        let library = match self.library() {
            Ok(library) => library,
            Err(answer) => return answer,
        };
        match os::as_services_make_files(|| library.mount(state, name)) {
            Mounting::Done => (DONE, Vec::new()),
            Mounting::Refused(why) => (REFUSED, why.into_bytes()),
            Mounting::NotPlain => (ASK_THE_PROGRAM, Vec::new()),
        }
    }
}

/// The state of knowledge that a question begins with, and the rest of it.
fn stated(question: &str) -> Option<(u64, &str)> {
    let (state, rest) = question.split_once('\n')?;
    Some((digits::number(state)?, rest))
}

fn not_understood() -> Said {
    (REFUSED, b"a question that is not understood".to_vec())
}

/// What the kernel's answer to a key means. Only one number says that it is the wrong one.
fn meaning(number: i32) -> Said {
    match number {
        0 => (DONE, Vec::new()),
        os::NO_ACCESS => (WRONG_KEY, Vec::new()),
        os::EXISTS => (REFUSED, b"a key is loaded already".to_vec()),
        os::TRY_AGAIN => (REFUSED, b"its pool is suspended".to_vec()),
        other => (REFUSED, error_words(other).into_bytes()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::time::SystemClock;

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

    /// What a real worker answers to the very first key, with this library.
    pub(crate) fn first_key(core: Result<Core, String>, how: Try) -> Answer {
        let clock = SystemClock::start();
        let direct = Direct::new(Command {
            program: "/nonexistent/zfs".into(),
            clock: &clock,
        });
        let _ = direct.core.set(core);
        direct.start("tank", 1);
        let deadline = Deadline::after(&clock, Duration::from_secs(20));
        direct.try_key(&root(), &key(), how, deadline)
    }

    #[test]
    fn without_the_library_the_first_key_is_the_programs() {
        for how in [Try::Load, Try::Probe] {
            let said = first_key(Err("there is none".to_owned()), how);
            let Answer::CouldNotAsk(why) = said else {
                panic!("{said:?}");
            };
            assert!(why.to_string().starts_with("zfs load-key"), "{why}");
        }
    }

    /// A pool's worker that answers each question with what `answer` makes of it; no library.
    pub(crate) fn with_worker<T>(
        answer: impl Fn(&[u8]) -> (u8, String) + 'static,
        then: impl FnOnce(&Direct, Deadline) -> T,
    ) -> T {
        let answer = std::rc::Rc::new(answer);
        let answers = |_| {
            let answer = answer.clone();
            move |question: &[u8]| answer(question)
        };
        with_workers(1, answers, then)
    }

    fn with_workers<T, A: Fn(&[u8]) -> (u8, String) + 'static>(
        count: usize,
        answers: impl Fn(usize) -> A,
        then: impl FnOnce(&Direct, Deadline) -> T,
    ) -> T {
        let clock = SystemClock::start();
        let direct = Direct::new(Command {
            program: "/nonexistent/zfs".into(),
            clock: &clock,
        });
        let start = |answer: A| {
            let job = move |mut questions: File, mut out: File| {
                let _ = say(&mut out, DONE, b"");
                loop {
                    let mut length = [0; 4];
                    if questions.read_exact(&mut length).is_err() {
                        return;
                    }
                    let mut question = vec![0; u32::from_le_bytes(length) as usize];
                    questions.read_exact(&mut question).unwrap();
                    let (first, words) = answer(&question);
                    say(&mut out, first, words.as_bytes()).unwrap();
                }
            };
            Worker {
                helper: Helper::start("a worker", job).unwrap(),
                greeted: false,
                ahead: None,
            }
        };
        let workers = (0..count).map(|number| start(answers(number))).collect();
        let pool = Pool {
            workers,
            ..Pool::default()
        };
        direct.pools.borrow_mut().insert("tank".to_owned(), pool);
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
            assert!(direct.pools.borrow()["tank"].workers.is_empty());
        });
    }

    #[test]
    fn law_5_and_6_one_of_several_workers_hangs_and_what_the_others_did_is_known() {
        let names = ["tank/a", "tank/b", "tank/c", "tank/d", "tank/e"];
        let names = names.map(|name| name.parse::<DatasetName>().unwrap());
        let datasets: Vec<&DatasetName> = names.iter().collect();
        for hanging in 0..3 {
            let answers = |number| {
                move |question: &[u8]| match number == hanging {
                    true => loop {
                        std::thread::sleep(Duration::from_secs(1000));
                    },
                    false => (DONE, String::from_utf8_lossy(question).into_owned()),
                }
            };
            with_workers(3, answers, |direct, _| {
                let clock = SystemClock::start();
                let soon = Deadline::after(&clock, Duration::from_secs(1));
                let done = direct.mount_all(&datasets, soon);
                for (number, done) in done.iter().enumerate() {
                    match (done, number % 3 == hanging) {
                        (Ok(()), false) => {}
                        (Err(trouble), true) => assert!(trouble.is_timeout(), "{trouble}"),
                        other => panic!("{number} {hanging} {other:?}"),
                    }
                }
                assert_eq!(direct.workers("tank"), 2);
            });
        }
    }

    #[test]
    fn a_file_system_is_mounted_by_the_worker_that_has_it_open() {
        let answers = |number: usize| {
            move |question: &[u8]| match question[0] {
                OBSERVE => (DONE, String::new()),
                _ => (REFUSED, format!("worker {number}")),
            }
        };
        // The last one nobody has told of: it goes to whoever's turn it is.
        let names = ["a", "b", "a/x", "a/y", "b/x", "c"];
        let names = names.map(|name| format!("tank/{name}").parse::<DatasetName>().unwrap());
        let datasets: Vec<&DatasetName> = names.iter().collect();
        let by = with_workers(2, answers, |direct, deadline| {
            let part = Part {
                trees: names[..2].iter().cloned().collect(),
                ..Part::default()
            };
            let _ = direct.observe_part("tank", &part, deadline).unwrap();
            let refused = direct.mount_all(&datasets, deadline).into_iter();
            let words = refused.map(|done| done.unwrap_err().to_string());
            words.collect::<Vec<_>>().join(";")
        });
        let by: Vec<&str> = by.split("worker ").skip(1).map(|rest| &rest[..1]).collect();
        assert_eq!(by, ["0", "1", "0", "0", "1", "1"]);
    }

    #[test]
    fn what_one_worker_has_told_of_is_mounted_by_all_in_fair_shares() {
        let words = |number: usize| move |_: &[u8]| (REFUSED, format!("worker {number}"));
        for count in 1..=4_usize {
            for many in 1..=9_usize {
                let names: Vec<DatasetName> = (0..many)
                    .map(|number| format!("tank/a/{number}").parse().unwrap())
                    .collect();
                let datasets: Vec<&DatasetName> = names.iter().collect();
                let by = with_workers(count, words, |direct, deadline| {
                    let mut pools = direct.pools.borrow_mut();
                    pools.get_mut("tank").unwrap().shares =
                        vec![Part::tree("tank/a".parse().unwrap())];
                    drop(pools);
                    let refused = direct.mount_all(&datasets, deadline).into_iter();
                    let words = refused.map(|done| done.unwrap_err().to_string());
                    words.collect::<Vec<_>>()
                });
                let shares = (0..count).map(|number| {
                    let words = format!("worker {number}");
                    by.iter().filter(|by| by.ends_with(&words)).count()
                });
                let shares: Vec<usize> = shares.collect();
                assert_eq!(shares.iter().sum::<usize>(), many);
                assert_eq!(
                    shares[0],
                    many.div_ceil(count),
                    "who has them open comes first"
                );
                assert!(shares.iter().all(|share| *share <= shares[0]), "{shares:?}");
            }
        }
    }

    #[test]
    fn law_3_no_worker_mounts_by_what_it_knew_before_a_change_or_another_look() {
        let echo = |question: &[u8]| (REFUSED, String::from_utf8_lossy(question).into_owned());
        with_worker(echo, |direct, deadline| {
            let told = |state: u64| {
                let why = direct.mount(&root(), deadline).unwrap_err().to_string();
                assert!(why.ends_with(&format!("m{state}\\ntank/enc")), "{why}");
            };
            told(0);
            told(0);
            let _ = direct.observe("tank", deadline);
            told(1);
            let part = Part::tree(root());
            direct.begin("tank", 1, Some(&part));
            let _ = direct.observe_part("tank", &part, deadline);
            told(1);
            let _ = direct.set_readonly(&root(), deadline);
            told(2);
            let _ = direct.set_writable(&root(), deadline);
            told(3);
            let _ = direct.seal(&root(), &[Seal::Readonly], deadline);
            told(4);
        });
    }

    #[test]
    fn the_kernel_is_asked_only_where_every_worker_has_greeted() {
        let done = |_: &[u8]| (DONE, String::new());
        let asks = |direct: &Direct, deadline| direct.asks_kernel("tank", deadline);
        assert!(with_worker(done, asks));
        let dies = |direct: &Direct, deadline: Deadline| {
            let job = |_: File, mut out: File| drop(say(&mut out, ASK_THE_PROGRAM, b"no library"));
            let declines = Worker {
                helper: Helper::start("a worker", job).unwrap(),
                greeted: false,
                ahead: None,
            };
            let mut pools = direct.pools.borrow_mut();
            pools.get_mut("tank").unwrap().workers.push(declines);
            drop(pools);
            direct.asks_kernel("tank", deadline)
        };
        assert!(!with_worker(done, dies));
        assert!(!with_workers(0, |_| done, asks));
    }

    #[test]
    fn a_worker_that_waits_for_keys_has_its_memory_locked_before_the_first_comes() {
        let said = |question: &[u8]| (REFUSED, String::from_utf8_lossy(question).into_owned());
        with_worker(said, |direct, deadline| {
            direct.begin("tank", 1, None);
            let asked = direct.pools.borrow()["tank"].workers[0].ahead.clone();
            assert_eq!(asked, Some(vec![GUARD]));
            // What was asked ahead is no answer to the key.
            let answers = direct.load_keys(&[(&root(), &key())], deadline);
            let Answer::CouldNotAsk(why) = &answers[0].answer else {
                panic!("{answers:?}");
            };
            assert!(why.to_string().contains("ltank/enc"), "{why}");
        });
    }

    #[test]
    fn what_was_asked_ahead_is_heard_once_and_anything_else_after_it() {
        let rows = |question: &[u8]| (REFUSED, String::from_utf8_lossy(question).into_owned());
        with_worker(rows, |direct, deadline| {
            let part = Part::tree(root());
            let whole = Part::tree("tank".parse().unwrap());
            for (asked, heard) in [(&part, "o0\\nttank/enc"), (&whole, "o2\\nttank")] {
                direct.begin("tank", 1, Some(&part));
                let why = direct.observe_part("tank", asked, deadline).unwrap_err();
                assert!(
                    why.to_string().trim_end_matches("\\n").ends_with(heard),
                    "{why}"
                );
                direct.forget("tank");
            }
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
    fn what_a_worker_hands_over_is_read_strictly() {
        let nonsense = |question: &[u8]| {
            assert_eq!(question, b"o1\nttank\n");
            (DONE, "tank\treadonly\toff".to_owned())
        };
        let why = with_worker(nonsense, |direct, deadline| {
            direct.observe("tank", deadline).unwrap_err().to_string()
        });
        assert!(why.contains("cut short"), "{why}");
    }

    #[test]
    fn law_2_no_worker_is_started_while_keys_are_in_memory() {
        let clock = SystemClock::start();
        let key = key();
        for first in [Some(&Part::tree("tank".parse().unwrap())), None] {
            let direct = Direct::new(Command {
                program: "/nonexistent/zfs".into(),
                clock: &clock,
            });
            direct.begin("tank", 3, first);
            assert_eq!(direct.workers("tank"), 0, "{first:?}");
            assert!(direct.core.get().is_none(), "nor is a library mapped");
        }
        drop(key);
    }

    #[test]
    fn each_key_is_worth_a_worker_and_only_two_file_systems_are() {
        let clock = SystemClock::start();
        let processors = available_parallelism().map_or(1, NonZero::get);
        for pieces in 0..10 {
            let direct = Direct::new(Command {
                program: "/nonexistent/zfs".into(),
                clock: &clock,
            });
            let tree = Part::tree("looks".parse().unwrap());
            direct.begin("looks", pieces, Some(&tree));
            assert!(direct.core.get().is_none(), "whoever looks opens it all");
            direct.begin("loads", pieces, None);
            assert!(direct.core.get().is_some(), "one for all who load");
            let most = processors.min(MOST_WORKERS);
            let worth = [direct.workers("looks"), direct.workers("loads")];
            let expected = [pieces / 2, pieces].map(|work| work.clamp(1, most));
            assert_eq!(worth, expected, "{pieces} pieces");
        }
    }
}
