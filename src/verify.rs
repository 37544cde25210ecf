//! `f3skeys verify`: looks at every file of the key store, and with `--pools` asks ZFS whether the
//! keys still open the roots of this node, while there is time to mend it. With `--repair` it
//! rebuilds what is damaged.

mod files;
mod roots;

use crate::audit::log::Caller;
use crate::boot::{self, Missing};
use crate::config::{Config, Role};
use crate::device::{Candidate, Filesystem};
use crate::exit::Fault;
use crate::foreign::add_line;
use crate::os::{self, Intake, worker};
use crate::pass::{Node, Pass};
use crate::reader::Reader;
use crate::report::{Finding, RootLine, Severity, by_cause, write_roots};
use crate::sorted::Set;
use crate::store::repair::Opens;
use crate::store::state::Standing;
use crate::store::survey::survey;
use crate::store::work::{Work, Worked};
use crate::store::{Damage, Holding, Keyring, Reading, Wanted};
use crate::time::{Clock, Deadline};
use crate::trouble::Trouble;
use crate::writer::{self, Directory};
use files::{NO_COPY, tell};
use roots::{Asked, ask_roots, tell_root};
use serde::Serialize;
use std::io;
use std::path::Path;
use std::time::Duration;

/// The longest that checking, mounting and writing a store may take.
pub const WRITE_STORE: Duration = Duration::from_secs(120);
/// The longest that reading a whole store may take.
pub(crate) const READ_STORE: Duration = Duration::from_secs(60);
/// The version of the JSON.
const VERSION: u32 = 1;

/// What is to be done beside looking at the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Ask ZFS about every root.
    pub pools: bool,
    /// Rebuild what is damaged.
    pub repair: bool,
}

/// One key of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyLine {
    /// Its name.
    pub key: String,
    /// The generations that a boot would try, in that order.
    pub generations: Vec<GenerationLine>,
}

/// One usable generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GenerationLine {
    /// Its fingerprint, all 64 digits.
    pub fingerprint: String,
    /// What it is for.
    pub standing: Standing,
    /// Whether a fingerprint on the store vouches for its bytes.
    pub verified: bool,
}

/// What was found, and what was done about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// The version of this structure.
    pub version: u32,
    /// The store: a device or a directory.
    pub store: String,
    /// Every key of it.
    pub keys: Vec<KeyLine>,
    /// Every root of this node (with `--pools`).
    pub roots: Vec<RootLine>,
    /// Files that are damaged, as they were found.
    pub damage: Vec<Damage>,
    /// What repair has done, in order.
    pub did: Vec<String>,
    /// What there is to tell.
    pub findings: Vec<Finding>,
    /// The exit status.
    pub status: u8,
    #[serde(skip)]
    fault: Option<Fault>,
}

impl Verification {
    fn new(store: &str) -> Verification {
        Verification {
            version: VERSION,
            store: store.to_owned(),
            keys: Vec::new(),
            roots: Vec::new(),
            damage: Vec::new(),
            did: Vec::new(),
            findings: Vec::new(),
            status: 0,
            fault: None,
        }
    }

    fn find(&mut self, severity: Severity, subject: &str, what: &str, remedy: &str) {
        let finding = Finding::new(severity, subject, what, remedy);
        self.findings.push(finding);
    }

    fn fail(&mut self, fault: Fault) {
        self.fault = self.fault.max(Some(fault));
        self.status = self.fault.map_or(0, Fault::status);
    }

    /// The results, for standard output.
    pub fn text(&self) -> String {
        let mut text = String::new();
        add_line!(text, "f3skeys verify of {}", self.store);
        let width = self.keys.iter().map(|line| line.key.len()).max();
        for line in &self.keys {
            let generations: Vec<String> = line.generations.iter().map(shown).collect();
            let words = match generations.is_empty() {
                true => "NO GOOD COPY".to_owned(),
                false => generations.join(", "),
            };
            add_line!(text, "  {:<1$}  {words}", line.key, width.unwrap_or(0));
        }
        write_roots(&mut text, &self.roots);
        for did in &self.did {
            add_line!(text, "  repair: {did}");
        }
        add_line!(text, "  {}", self.summary());
        text
    }

    fn summary(&self) -> String {
        let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        let keys = count(self.keys.len(), "key");
        let roots = match self.roots.len() {
            0 => String::new(),
            n => format!(", {} asked for", count(n, "root")),
        };
        match (self.status, self.damage.len()) {
            (1.., 0) if self.keys.is_empty() => "nothing was verified".to_owned(),
            (0, 0) => format!("{keys}{roots}: all well"),
            (0, n) => format!(
                "{keys}{roots}: all well now; {} mended",
                count(n, "damaged file")
            ),
            (_, n) => format!(
                "{keys}{roots}: NOT well, {} found",
                count(n, "damaged file")
            ),
        }
    }

    /// The complaints, for standard error.
    pub fn complaints(&self) -> String {
        by_cause(&self.findings).iter().map(Finding::text).collect()
    }
}

fn shown(generation: &GenerationLine) -> String {
    let prefix = generation.fingerprint.get(..8).unwrap_or_default();
    let unproven = match generation.verified {
        true => "",
        false => " (no fingerprint vouches for it)",
    };
    format!("{} {prefix}{unproven}", generation.standing)
}

/// Verifies the key store of this node.
pub fn verify(node: Node, config: &Config, options: Options) -> Verification {
    let mut pass = Pass::begin("verify", node, config);
    let Some(_lock) = pass.lock() else {
        return of_pass(pass, Verification::new("the key store"));
    };
    let (device, filesystem) = match boot::key_device(&mut pass, Duration::ZERO) {
        Ok(found) => found,
        Err(missing) => return no_device(pass, &missing),
    };
    let mut told = Verification::new(&boot::describe(&device, &filesystem));
    match look(&mut pass, &mut told, &device, &filesystem, options) {
        Ok(Some(opens)) => mend(&pass, &mut told, &device, &filesystem, opens),
        Ok(None) => {}
        Err(trouble) => {
            let subject = device.node.display().to_string();
            unreadable(&mut told, &subject, &trouble, boot::remedy_of(&trouble));
        }
    }
    of_pass(pass, told)
}

/// Verifies a store in a directory: a copy, a restored archive, a stick mounted by hand. `owner` is
/// the user whose files count.
pub fn directory(top: &Path, owner: u32, clock: &dyn Clock, repair: bool) -> Verification {
    let shown = top.display().to_string();
    let mut told = Verification::new(&shown);
    let mut mend = false;
    match read_directory(top, owner, clock) {
        Ok(reading) => {
            let keyring = tell(&mut told, reading, repair);
            mend = keyring.is_some_and(|keyring| repair && needs_mending(&keyring, &told));
        }
        Err(trouble) => {
            let remedy = "name the directory of a key store that you may read; if this is one, look at its file system with `fsck`";
            unreadable(&mut told, &shown, &trouble, remedy);
        }
    }
    if mend {
        let work = Work::Repair {
            opens: Opens::new(),
        };
        let deadline = Deadline::after(clock, WRITE_STORE);
        let what = format!("writing on {shown}");
        let worked = worker::run(&what, clock, deadline, || {
            write_directory(top, owner, &work).map_err(|e| e.to_string())
        });
        let worked = worked.and_then(|done| done.map_err(|why| Trouble::failed(&what, &why)));
        after_repair(&mut told, worked);
    }
    told
}

fn read_directory(top: &Path, owner: u32, clock: &dyn Clock) -> Result<Reading, Trouble> {
    let what = format!("reading {}", top.display());
    let failed = |e: io::Error| Trouble::failed(&what, &e.to_string());
    let mut intake = Intake::new(Reader::places_for(Wanted::All)).map_err(failed)?;
    let deadline = Deadline::after(clock, READ_STORE);
    let read = worker::run(&what, clock, deadline, || {
        let read = Reader::new(&mut intake, owner).store(top, Wanted::All);
        read.map_err(|e| e.to_string())
    })?;
    let told = read.map_err(|why| Trouble::failed(&what, &why))?;
    told.into_reading(&mut intake).map_err(failed)
}

fn write_directory(top: &Path, owner: u32, work: &Work) -> io::Result<Worked> {
    let read = || {
        let mut intake = Intake::new(Reader::places_for(Wanted::All))?;
        let told = Reader::new(&mut intake, owner).store(top, Wanted::All)?;
        told.into_reading(&mut intake)
    };
    let mut medium = Directory::open(top)?;
    let random = &mut os::random;
    let done = writer::work(work, Vec::new(), read()?, &mut medium, random)?;
    let back = survey(Wanted::All, read()?).map_err(io::Error::other)?;
    Ok(writer::worked(work, done, &back, Vec::new()))
}

fn no_device(pass: Pass, missing: &Missing) -> Verification {
    let subject = format!("key device {}", pass.config.store.wanted);
    let mut told = Verification::new(&subject);
    let remedy = format!(
        "{}; `--store DIR` verifies a copy without it",
        missing.remedy
    );
    told.find(Severity::Failure, &subject, &missing.why, &remedy);
    told.fail(Fault::NoKeyDevice);
    of_pass(pass, told)
}

/// Adds what the pass itself has found, and keeps what came of it for `status`.
fn of_pass(mut pass: Pass, mut told: Verification) -> Verification {
    if let Some(fault) = pass.report.fault {
        told.fail(fault);
    }
    if let Some(fault) = told.fault {
        pass.report.fail(fault);
    }
    pass.report.findings.append(&mut told.findings);
    pass.report.roots.clone_from(&told.roots);
    told.findings = pass.finish().findings;
    told
}

fn unreadable(told: &mut Verification, subject: &str, trouble: &Trouble, remedy: &str) {
    told.find(Severity::Failure, subject, &trouble.to_string(), remedy);
    told.fail(Fault::NoKeyDevice);
}

/// Reads the store and asks ZFS; the keys are gone from memory afterwards. Gives what opens the
/// roots when there is something to mend.
fn look(
    pass: &mut Pass,
    told: &mut Verification,
    device: &Candidate,
    filesystem: &Filesystem,
    options: Options,
) -> Result<Option<Opens>, Trouble> {
    let deadline = Deadline::after(pass.clock(), READ_STORE);
    let at = &pass.config.store.mountpoint;
    let devices = pass.node.devices;
    pass.doing("key store");
    let reading = devices.read(device, filesystem, at, Wanted::All, deadline);
    pass.clock().doing("");
    let reading = reading?;
    let subject = device.node.display().to_string();
    if reading.gone {
        return Err(Trouble::failed(&subject, boot::GONE));
    }
    for note in &reading.notes {
        told.find(Severity::Note, &subject, note, "");
    }
    let Some(keyring) = tell(told, reading, options.repair) else {
        return Ok(None);
    };
    let mend = options.repair && needs_mending(&keyring, told);
    let mut opens = Opens::new();
    // What a damaged store is rebuilt to is decided by what opens the roots.
    if options.pools || mend {
        pass.doing("roots");
        pass.observe_all();
        let roots = ask_roots(pass, &keyring);
        pass.clock().doing("");
        for (root, asked) in roots {
            if let (Role::Primary, Asked::Opens(found)) = (root.role, &asked) {
                let prints = opens.entry(root.key.clone()).or_default();
                prints.insert(found.fingerprint);
            }
            if options.pools {
                tell_root(pass, told, root, &asked, mend);
            }
        }
    }
    Ok(mend.then_some(opens))
}

fn needs_mending(keyring: &Keyring, told: &Verification) -> bool {
    let is_unproven = |held: &Holding| held.generations.iter().any(|g| !g.verified);
    !told.damage.is_empty() || (!keyring.plain && keyring.keys.values().any(is_unproven))
}

/// Rebuilds what is damaged on the node's own store.
fn mend(
    pass: &Pass,
    told: &mut Verification,
    device: &Candidate,
    filesystem: &Filesystem,
    opens: Opens,
) {
    let deadline = Deadline::after(pass.clock(), WRITE_STORE);
    let at = &pass.config.store.mountpoint;
    let work = Work::Repair { opens };
    let store = (device, filesystem);
    pass.doing("repair");
    let (worked, unlogged) = Caller::here("verify").work(pass.node, store, at, &work, deadline);
    pass.clock().doing("");
    told.findings.extend(unlogged);
    after_repair(told, worked);
}

fn after_repair(told: &mut Verification, worked: Result<Worked, Trouble>) {
    let subject = told.store.clone();
    let worked = match worked {
        Ok(worked) => worked,
        Err(trouble) => {
            for damage in told.damage.clone() {
                told.find(Severity::Failure, &damage.path, &damage.what, "");
            }
            let remedy = "nothing that was good has changed; mend this, then try again";
            told.find(Severity::Failure, &subject, &trouble.to_string(), remedy);
            return told.fail(Fault::BadKey);
        }
    };
    told.did = worked.did;
    for note in &worked.notes {
        told.find(Severity::Note, &subject, note, "");
    }
    let left: Set<Damage> = worked.left.into_iter().collect();
    for damage in &left {
        told.find(Severity::Failure, &damage.path, &damage.what, NO_COPY);
        told.fail(Fault::BadKey);
    }
}
