//! `f3skeys boot`: readonly and keys, no mounting. The system mounts right after, in the right
//! order, what is open by then.

use crate::config::{Config, Root};
use crate::device::{self, Candidate, Choice, Decoy, Filesystem};
use crate::exit::Fault;
use crate::key::{Fingerprint, Key};
use crate::names::{DatasetName, KeyName};
use crate::pass::{Node, Pass, Scope};
use crate::plan::{self, KeyState, Pool, Proof, Refusal, Step, Verdict};
use crate::report::{Report, RootLine, Severity};
use crate::roles;
use crate::seals::{commands, settings};
use crate::sorted::{Map, Set};
use crate::store::state::Standing;
use crate::store::{self, Generation, Keyring, Wanted};
use crate::time::Deadline;
use crate::trouble::Trouble;
use crate::verdict;
use crate::zfs::{Answer, KeyStatus, Loading, Try};
use std::fmt;
use std::time::Duration;

/// Between two looks for the key device: what that adds to a boot is half of it on the average.
const POLL: Duration = Duration::from_millis(50);
/// The longest that a late boot, started by a stick that was just plugged in, waits for it.
const LATE_WAIT: Duration = Duration::from_secs(5);
/// The longest that mounting and reading the store may take.
const READ_STORE: Duration = Duration::from_secs(15);
/// Readonly, then keys, then once more for what the first round made possible.
const ROUNDS: usize = 3;

/// When a boot runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// At boot, or started by a person: waits for the key device as configured.
    Now,
    /// After a stick was plugged in: ends at once when no root is missing, or a person has locked the
    /// node.
    Late,
}

/// What is said of a stick that was pulled too early.
pub(crate) const GONE: &str = "the stick went away while it was read";

/// What is said of a key device that is not there and would not help.
pub(crate) const NOT_WAITED_FOR: &str = "; no root waits for it, but no key could be proven";

/// What became of the key store.
pub(crate) enum Store {
    /// It was read; `gone` when the stick was pulled meanwhile.
    Open { keyring: Keyring, gone: bool },
    /// It was not, and this is why.
    Closed(String),
}

/// Runs the whole pass.
pub fn boot(node: Node, config: &Config) -> Report {
    let mut pass = Pass::begin("boot", node, config);
    run(&mut pass, When::Now);
    pass.finish()
}

/// Runs the pass after a stick was plugged in; `None` when no root is missing, or when a person has
/// locked the node. Such a look keeps no
/// report: the one of the last real boot is worth more.
pub fn late(node: Node, config: &Config) -> Option<Report> {
    let mut pass = Pass::begin("boot", node, config);
    run(&mut pass, When::Late).then(|| pass.finish())
}

/// Opens one root with a key that a person gives, when the stick is dead. Replicas are sealed
/// first, as always.
pub fn by_hand(node: Node, config: &Config, dataset: &DatasetName, key: Key) -> Report {
    // In this pass the root's key has a name of its own, so that the given key opens no other root.
    let mut own = config.clone();
    let mut roots = own.roots.iter_mut();
    let named = roots
        .find(|root| root.dataset == *dataset)
        .map(|root| by_hand_name().inspect(|name| root.key = name.clone()));
    let mut pass = Pass::begin("boot-by-hand", node, &own);
    match named.flatten() {
        Some(name) => open_by_hand(&mut pass, dataset, name, key),
        None => {
            let what = "is no root of the configuration, so its role is not known";
            let remedy = "add it to `roots`, or use `zfs load-key -L prompt` by hand";
            let subject = dataset.as_str();
            pass.report.find(Severity::Failure, subject, what, remedy);
            pass.report.fail(Fault::Configuration);
        }
    }
    pass.finish()
}

fn by_hand_name() -> Option<KeyName> {
    "standard:input".parse().ok()
}

fn open_by_hand(pass: &mut Pass, dataset: &DatasetName, name: KeyName, key: Key) {
    let Some(_lock) = pass.lock() else {
        return;
    };
    pass.drop_stale_markers();
    pass.end_lock();
    let print = key.fingerprint();
    let given = Generation {
        key,
        number: None,
        standing: Standing::Current,
        verified: false,
    };
    let mut keyring = Keyring::default();
    let held = keyring.keys.entry(name).or_default();
    held.generations.push(given);
    let gone = false;
    let store = Store::Open { keyring, gone };
    let pool = dataset.pool();
    pass.phase(pool, |pass| ((), open_pool(pass, pool, &store, 1)));
    let plan = plan::keys(
        pass.config,
        &pass.observed,
        &key_states(pass.config, &store),
    );
    let roots = pass.config.roots.iter().zip(&plan.roots);
    for (root, (_, verdict)) in roots.filter(|(root, _)| root.dataset == *dataset) {
        let wrong = matches!(verdict, Verdict::OpenByNoKey)
            || pass
                .failures
                .values()
                .any(|why| why.ends_with(verdict::NO_GENERATION));
        if wrong {
            tell_wrong_key(pass, root, verdict, print);
        } else {
            judge_root(pass, root, verdict, true);
        }
    }
    tell_unsealed(pass, plan.steps);
}

fn tell_wrong_key(pass: &mut Pass, root: &Root, verdict: &Verdict, print: Fingerprint) {
    let what = format!("the key that was given, fingerprint {print}, does not open it");
    let remedy = "give the key of this root, as 32 bytes or as 64 hex digits";
    let subject = root.dataset.as_str();
    pass.report.find(Severity::Failure, subject, &what, remedy);
    pass.report.fail(Fault::BadKey);
    pass.report.roots.push(RootLine {
        dataset: root.dataset.to_string(),
        role: root.role.to_string(),
        required: root.required,
        open: is_open(verdict),
        state: match is_open(verdict) {
            true => "open, by another key".into(),
            false => "LOCKED".into(),
        },
    });
}

/// Tells whether there was anything to do.
fn run(pass: &mut Pass, when: When) -> bool {
    let Some(_lock) = pass.lock() else {
        return true;
    };
    if when == When::Late && pass.is_locked() {
        return false;
    }
    pass.drop_stale_markers();
    pass.end_lock();
    open_roots(pass, when)
}

/// The pass without its lock and markers, as a rehearsal plays it too.
pub(crate) fn open_roots(pass: &mut Pass, when: When) -> bool {
    pass.scope = Scope::Keys;
    let store = &pass.config.store;
    // A late boot reads it only if a root is missing.
    let at_once = (when == When::Now).then_some(&store.wanted);
    // The stick first: it is the slowest.
    let devices = pass.node.devices;
    devices.will_read(at_once, &pass.config.keys(), &store.mountpoint);
    pass.begin_asking();
    let device = match when {
        When::Now => key_device(pass, Duration::ZERO).ok(),
        When::Late => None,
    };
    let device = match device {
        Some(device) => Ok(device),
        None => {
            // Before any waiting: replicas are made read-only, which needs no key.
            look(pass);
            let missing = plan::waits_for_stick(pass.config, &pass.observed);
            if when == When::Late && !missing {
                return false;
            }
            wait_for_device(pass, when, missing)
        }
    };
    let store = open_store(pass, device);
    let pools = pass.config.pools();
    for (done, pool) in pools.iter().enumerate() {
        let parts = pools.len() - done;
        pass.phase(pool, |pass| ((), open_pool(pass, pool, &store, parts)));
    }
    judge(pass, &store);
    true
}

fn look(pass: &mut Pass) {
    pass.phase("first look", |pass| {
        pass.observe_all();
        let deadline = pass.deadline.share(pass.clock(), 4);
        pass.seal_replicas(deadline);
        ((), pass.pools_in_words())
    });
}

pub(crate) type Found = Result<(Candidate, Filesystem), Missing>;

/// Why there is no key device that can be used, with what a person does about it: the cause decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) why: String,
    /// What to do first; what it is good for is for the caller to add.
    pub(crate) remedy: String,
}

impl Missing {
    fn new(why: &str, remedy: &str) -> Missing {
        Missing {
            why: why.to_owned(),
            remedy: remedy.to_owned(),
        }
    }

    /// Nothing is there that looks like it.
    fn absent(why: &str) -> Missing {
        Missing::new(why, INSERT)
    }

    /// What to do about a boot without it. udev or devd finish the boot only when a stick comes.
    fn for_boot(&self) -> String {
        match self.remedy == INSERT {
            true => COMPLETES.to_owned(),
            false => format!("{}; then `f3skeys boot`", self.remedy),
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

const INSERT: &str = "insert the stick";
const COMPLETES: &str = "insert the stick; the boot completes by itself";
/// What to do about a store that cannot be read where nobody knows a better remedy.
pub(crate) const UNREADABLE: &str =
    "look at the stick with `fsck`; a copy of its keys on another stick works as well";
/// The same where the stick did not answer in time.
const SILENT: &str =
    "pull the stick and insert it again; if it stays silent, use a copy of its keys on another one";

/// What to do about a store that could not be read.
pub(crate) fn remedy_of(trouble: &Trouble) -> &str {
    trouble.remedy(match trouble.is_timeout() {
        true => SILENT,
        false => UNREADABLE,
    })
}

pub(crate) fn key_device(pass: &mut Pass, wait: Duration) -> Found {
    pass.phase("key device", |pass| match find_device(pass, wait) {
        Ok((device, filesystem)) => {
            let words = describe(&device, &filesystem);
            (Ok((device, filesystem)), words)
        }
        Err(missing) => {
            let words = missing.why.clone();
            (Err(missing), words)
        }
    })
}

/// Waits for the stick as long as the configuration says; not at all when no root needs it.
fn wait_for_device(pass: &mut Pass, when: When, missing: bool) -> Found {
    let wait = match when {
        _ if !missing => Duration::ZERO,
        When::Now => pass.config.store.wait,
        When::Late => pass.config.store.wait.min(LATE_WAIT),
    };
    let found = key_device(pass, wait);
    if let Err(absent) = &found {
        complain_of_device(pass, absent, missing);
    }
    found
}

pub(crate) fn open_store(pass: &mut Pass, device: Found) -> Store {
    let (device, filesystem) = match device {
        Ok(found) => found,
        Err(missing) => return Store::Closed(missing.why),
    };
    pass.phase("key store", |pass| {
        match read_store(pass, &device, &filesystem) {
            Ok((keyring, gone)) => {
                let words = keyring_in_words(&keyring);
                (Store::Open { keyring, gone }, words)
            }
            Err(trouble) => {
                let subject = device.node.display().to_string();
                let (why, remedy) = (trouble.of(&subject), remedy_of(&trouble));
                pass.report.find(Severity::Failure, &subject, &why, remedy);
                (Store::Closed(why.clone()), why)
            }
        }
    })
}

pub(crate) fn describe(device: &Candidate, filesystem: &Filesystem) -> String {
    let or_none = |name: &Option<String>| name.clone().unwrap_or_else(|| "none".to_owned());
    format!(
        "{}, label {}, serial {}",
        device.node.display(),
        or_none(&filesystem.label),
        or_none(&device.serial)
    )
}

fn complain_of_device(pass: &mut Pass, absent: &Missing, missing: bool) {
    let why = &absent.why;
    let subject = format!("key device {}", pass.config.store.wanted);
    if missing {
        let locked: Vec<&str> = pass
            .config
            .roots
            .iter()
            .map(|root| &root.dataset)
            .filter(|root| !plan::is_loaded(&pass.observed, root))
            .map(|root| root.as_str())
            .collect();
        let why = &format!("{why}; locked without it: {}", locked.join(", "));
        let remedy = absent.for_boot();
        pass.report.find(Severity::Failure, &subject, why, &remedy);
    } else {
        let what = format!("{why}{NOT_WAITED_FOR}");
        pass.report.find(Severity::Note, &subject, &what, "");
    }
}

/// Waits for the one device that matches, and names every decoy once.
fn find_device(pass: &mut Pass, wait: Duration) -> Found {
    let clock = pass.clock();
    let deadline = pass.deadline.at_most(clock, wait);
    let mut named = Set::new();
    loop {
        // A scan may take longer than the poll when a disk is slow; never longer than this.
        let scan = pass.deadline.at_most(clock, Duration::from_secs(5));
        let candidates = scan_all(pass, scan);
        let candidates = candidates.map_err(|e| Missing::new(&e.to_string(), NOT_LISTED))?;
        match device::choose(&pass.config.store.wanted, &candidates) {
            Choice::Found(device, filesystem) => return Ok((device, filesystem)),
            Choice::Ambiguous(several) if deadline.passed(clock) => {
                let (why, remedy) = device::several(&several);
                return Err(Missing::new(&why, &remedy));
            }
            Choice::Ambiguous(_) => {}
            Choice::Absent(decoys) => name_decoys(pass, &mut named, decoys),
        }
        if deadline.passed(clock) {
            let why = match wait.as_secs() {
                0 => "not there".to_owned(),
                seconds => format!("not found after {seconds} s"),
            };
            // What is wanted but for its bus says more than what was refused, and that is told already.
            return Err(match (elsewhere(pass, scan), named.is_empty()) {
                (Some(elsewhere), _) => elsewhere,
                (None, true) => Missing::absent(&why),
                (None, false) => {
                    Missing::new(&format!("{why}; what looks like it was refused"), REFUSED)
                }
            });
        }
        clock.sleep(POLL.min(deadline.left(clock)));
    }
}

/// The disks among which the key device may be.
fn scan_all(pass: &Pass, deadline: Deadline) -> Result<Vec<Candidate>, Trouble> {
    let devices = pass.node.devices;
    let mut all = devices.scan(deadline)?;
    if pass.config.store.any_disk {
        all.extend(devices.scan_fixed(deadline)?);
    }
    Ok(all)
}

/// A disk on another bus that is the key device in all but that.
fn elsewhere(pass: &Pass, deadline: Deadline) -> Option<Missing> {
    let fixed = pass.node.devices.scan_fixed(deadline).ok()?;
    let (why, remedy) = device::on_another_bus(&pass.config.store.wanted, &fixed)?;
    Some(Missing::new(&why, remedy))
}

const NOT_LISTED: &str =
    "nobody knows whether the stick is in: see what the kernel says of its USB disks";
pub(crate) const REFUSED: &str = "insert the right stick, or, if one that was refused is right, correct `store` in the configuration";

fn name_decoys(pass: &mut Pass, named: &mut Set<String>, decoys: Vec<Decoy>) {
    for decoy in decoys {
        let subject = decoy.node.display().to_string();
        let what = format!("refused as key device: {}", decoy.why);
        if named.insert(format!("{subject} {what}")) {
            let report = &mut pass.report;
            report.find(Severity::Warning, &subject, &what, &decoy.remedy);
        }
    }
}

fn read_store(
    pass: &mut Pass,
    device: &Candidate,
    filesystem: &Filesystem,
) -> Result<(Keyring, bool), Trouble> {
    let wanted = pass.config.keys();
    let at = &pass.config.store.mountpoint;
    let deadline = pass.deadline.at_most(pass.clock(), READ_STORE);
    let reading =
        pass.node
            .devices
            .read(device, filesystem, at, Wanted::These(&wanted), deadline)?;
    let subject = device.node.display().to_string();
    for note in &reading.notes {
        pass.report.find(Severity::Note, &subject, note, "");
    }
    let gone = reading.gone;
    let keyring = store::verify(Wanted::These(&wanted), reading).map_err(|unknown| {
        Trouble::failed(&subject, &unknown.to_string()).mended_by(ANOTHER_FORMAT)
    })?;
    if gone {
        pass.report
            .find(Severity::Failure, &subject, GONE, COMPLETES);
    } else {
        tell_damage(pass, &subject, &keyring);
    }
    Ok((keyring, gone))
}

/// What to do about a store of a format that nobody here knows.
pub(crate) const ANOTHER_FORMAT: &str =
    "the stick is well; install the f3skeys that wrote it, or use a stick of this format";

fn tell_damage(pass: &mut Pass, subject: &str, keyring: &Keyring) {
    if keyring
        .keys
        .values()
        .all(|held| held.generations.is_empty() && held.damage.is_empty())
    {
        let what = "holds no key of this node";
        let remedy = "is it the right stick? its keys are files OWNER:NAME.key at the top";
        pass.report.find(Severity::Failure, subject, what, remedy);
    } else if keyring.plain {
        let what = "a plain store: no fingerprint vouches for its keys, only ZFS's own check does";
        let remedy = "it works; `f3skeys adopt` makes it notice damage before ZFS does";
        pass.report.find(Severity::Warning, subject, what, remedy);
    } else {
        tell_unproven(pass, keyring);
    }
    let of_keys = keyring.keys.values().flat_map(|holding| &holding.damage);
    for damage in keyring.damage.iter().chain(of_keys) {
        let remedy = "the stick rots: `f3skeys verify --repair`, and have a copy on another stick";
        pass.report
            .find(Severity::Warning, &damage.path, &damage.what, remedy);
    }
}

/// Keys that somebody laid on a store of format 1 by hand.
fn tell_unproven(pass: &mut Pass, keyring: &Keyring) {
    for (name, held) in &keyring.keys {
        if held
            .generations
            .iter()
            .any(|generation| !generation.verified)
        {
            let what = "no fingerprint on the stick vouches for it, only ZFS's own check does";
            let remedy = "`f3skeys verify --repair` gives it one";
            let name = name.as_str();
            pass.report.find(Severity::Warning, name, what, remedy);
        }
    }
}

fn keyring_in_words(keyring: &Keyring) -> String {
    let usable = keyring
        .keys
        .values()
        .filter(|holding| !holding.generations.is_empty())
        .count();
    let format = if keyring.plain { "plain" } else { "format 1" };
    let verified = if keyring.plain { "read" } else { "verified" };
    format!(
        "{format}, {usable} of {} keys {verified}",
        keyring.keys.len()
    )
}

/// Readonly and keys for one pool, with its share of what is left of the budget.
fn open_pool(pass: &mut Pass, pool: &str, store: &Store, parts: usize) -> String {
    let deadline = pass.deadline.share(pass.clock(), parts);
    let states = key_states(pass.config, store);
    if !open_unseen(pass, pool, &states, store, deadline) {
        open_apart(pass, pool, &states, store, deadline);
        open_seen(pass, pool, &states, store, deadline);
        prove(pass, pool, store, deadline);
    }
    pool_in_words(pass, pool)
}

/// Where nothing is a replica, nothing has to be seen before the keys are tried: the kernel itself refuses
/// a key that opens no root. Tells whether it took one for every root; if not, nobody knows why yet.
fn open_unseen(
    pass: &mut Pass,
    pool: &str,
    states: &Map<KeyName, KeyState>,
    store: &Store,
    deadline: Deadline,
) -> bool {
    let soon = deadline.at_most(pass.clock(), pass.one_call());
    if pass.observed.pools.contains_key(pool)
        || plan::has_replicas(pass.config, pool)
        || !pass.works(pool)
        || !pass.node.zfs.asks_kernel(pool, soon)
    {
        return false;
    }
    let steps = plan::untried(pass.config, pool, states);
    load_all(pass, pool, &steps, store, deadline);
    let roots = pass.config.roots.iter();
    let mut of_pool = roots.filter(|root| root.dataset.pool() == pool);
    let all = of_pool.all(|root| pass.observed.taken.contains(&root.dataset));
    // Tried once more, unless the pool did not answer: then this is all that there is to say.
    if !all && !pass.is_given_up(pool) {
        pass.failures.retain(|step, _| !steps.contains(step));
    }
    all
}

/// Where there are replicas and primaries beside them, loads the keys of those primaries before anybody
/// looks at a replica's tree: whatever a stranger has put there, it cannot keep them locked. Then the roots
/// of the replicas are made read-only, and with them all that inherits it.
fn open_apart(
    pass: &mut Pass,
    pool: &str,
    states: &Map<KeyName, KeyState>,
    store: &Store,
    deadline: Deadline,
) {
    if !plan::has_both(pass.config, pool) {
        return;
    }
    if !pass.observed.pools.contains_key(pool) {
        let soon = deadline.share(pass.clock(), 2);
        pass.observe_roots(pool, soon.at_most(pass.clock(), pass.one_call()));
    }
    let steps = plan::first_keys(pass.config, &pass.observed, states, pool);
    let half = deadline.share(pass.clock(), 2);
    load_all(pass, pool, &steps, store, half);
    // What did not work is tried once more with all that is known then.
    if !pass.is_given_up(pool) {
        pass.failures.retain(|step, _| !steps.contains(step));
    }
    pass.seal_roots(half);
}

/// Looks, seals replicas, loads keys, and looks again, until nothing is left or nothing works any more.
fn open_seen(
    pass: &mut Pass,
    pool: &str,
    states: &Map<KeyName, KeyState>,
    store: &Store,
    deadline: Deadline,
) {
    pass.observe(pool, deadline.at_most(pass.clock(), pass.one_call()));
    for _ in 0..ROUNDS {
        let sealed = pass.seal_replicas(deadline) > 0;
        let mut loaded = Vec::new();
        if !sealed {
            let plan = plan::keys(pass.config, &pass.observed, states);
            loaded = load_all(pass, pool, &plan.steps, store, deadline);
        }
        if !sealed && loaded.is_empty() {
            break;
        }
        let told = |root| plan::is_loaded(&pass.observed, root);
        if plan::has_replicas(pass.config, pool) || !loaded.iter().all(told) {
            pass.observe(pool, deadline.at_most(pass.clock(), pass.one_call()));
        }
    }
}

fn pool_in_words(pass: &Pass, pool: &str) -> String {
    let roots = pass.config.roots.iter();
    let of_pool: Vec<_> = roots.filter(|root| root.dataset.pool() == pool).collect();
    let open = of_pool
        .iter()
        .filter(|root| plan::is_loaded(&pass.observed, &root.dataset))
        .count();
    match pass.observed.pools.get(pool) {
        Some(Pool::NotImported) => "not imported".to_owned(),
        Some(Pool::Suspended) => "suspended".to_owned(),
        Some(Pool::NotSeen(_)) => "could not be asked".to_owned(),
        Some(Pool::Seen(_)) | None => format!("{open} of {} roots open", of_pool.len()),
    }
}

pub(crate) fn key_states(config: &Config, store: &Store) -> Map<KeyName, KeyState> {
    match store {
        Store::Open { keyring, gone } => states_of(config, keyring, *gone),
        Store::Closed(why) => {
            let closed = |key| (key, KeyState::NoStore(why.clone()));
            config.keys().into_iter().map(closed).collect()
        }
    }
}

/// How each key of the configuration stands on a store that was read; `gone` when the stick was
/// pulled meanwhile.
pub(crate) fn states_of(config: &Config, keyring: &Keyring, gone: bool) -> Map<KeyName, KeyState> {
    let state = |key: &KeyName| match keyring.keys.get(key) {
        Some(holding) if !holding.generations.is_empty() => KeyState::Usable,
        _ if gone => KeyState::NoStore(GONE.to_owned()),
        Some(holding) if holding.damage.iter().any(|d| d.what != store::MISSING) => {
            let what = holding.damage.iter().map(|damage| damage.what.as_str());
            KeyState::Damaged(what.collect::<Vec<_>>().join("; "))
        }
        _ => KeyState::Missing,
    };
    let keys = config.keys().into_iter();
    keys.map(|key| (key.clone(), state(&key))).collect()
}

/// A root whose key is to be loaded, and the generations of it that are left to try.
#[derive(Clone, Copy)]
struct Attempt<'a> {
    step: &'a Step,
    root: &'a DatasetName,
    key: &'a KeyName,
    generations: &'a [Generation],
}

/// Loads the keys of a pool's roots, as many at once as ZFS works on; gives the roots that were opened.
fn load_all(
    pass: &mut Pass,
    pool: &str,
    steps: &[Step],
    store: &Store,
    deadline: Deadline,
) -> Vec<DatasetName> {
    let attempts = steps.iter().filter_map(|step| match step {
        Step::LoadKey { root, key } if root.pool() == pool => Some(Attempt {
            step,
            root,
            key,
            generations: generations(store, key),
        }),
        _ => None,
    });
    let attempts: Vec<Attempt> = attempts.collect();
    let mut loaded = Vec::new();
    for some in attempts.chunks(pass.node.zfs.at_once(pool)) {
        if pass.is_given_up(pool) {
            break;
        }
        // One worker may have to do them all: a slow pool is no dead one.
        let calls = u32::try_from(some.len()).unwrap_or(1);
        let deadline = deadline.at_most(pass.clock(), pass.one_call() * calls);
        loaded.extend(load_some(pass, some, deadline));
    }
    loaded
}

/// Loads these at once, each by the first generation that opens it.
fn load_some(pass: &mut Pass, attempts: &[Attempt], deadline: Deadline) -> Vec<DatasetName> {
    for Attempt { step, key, .. } in attempts {
        let none_yet = Trouble::failed(key.as_str(), verdict::NO_GENERATION);
        pass.note_outcome(step, Err(none_yet));
    }
    let mut left = attempts.to_vec();
    loop {
        let tried: Vec<_> = left.iter().filter_map(Attempt::first).collect();
        if tried.is_empty() {
            break;
        }
        let keys: Vec<_> = tried.iter().map(|(a, g, _)| (a.root, &g.key)).collect();
        let answers = pass.node.zfs.load_keys(&keys, deadline);
        let answers = tried.into_iter().zip(answers);
        left = answers
            .filter_map(|(tried, said)| note(pass, tried, said))
            .collect();
    }
    let opened = attempts
        .iter()
        .filter(|a| !pass.failures.contains_key(a.step));
    opened.map(|attempt| attempt.root.clone()).collect()
}

impl<'a> Attempt<'a> {
    /// The generation to try first, and what is left if it does not open the root.
    fn first(&self) -> Option<(Attempt<'a>, &'a Generation, Attempt<'a>)> {
        let (first, generations) = self.generations.split_first()?;
        Some((
            *self,
            first,
            Attempt {
                generations,
                ..*self
            },
        ))
    }
}

/// Notes what came of trying a generation; gives what is left to try.
fn note<'a>(
    pass: &mut Pass,
    (attempt, generation, left): (Attempt<'a>, &Generation, Attempt<'a>),
    said: Loading,
) -> Option<Attempt<'a>> {
    let done = match said.answer {
        Answer::WrongKey => return Some(left),
        Answer::CouldNotAsk(trouble) => Err(trouble),
        Answer::Opens => Ok(()),
    };
    if done.is_ok() && said.by_kernel {
        let root = attempt.root.clone();
        pass.observed.taken.insert(root.clone());
        pass.observed.proofs.insert(root, proof(generation));
    }
    pass.note_outcome(attempt.step, done);
    None
}

fn proof(generation: &Generation) -> Proof {
    Proof::Opens {
        standing: generation.standing,
        fingerprint: generation.key.fingerprint(),
    }
}

fn generations<'a>(store: &'a Store, key: &KeyName) -> &'a [Generation] {
    match store {
        Store::Open { keyring, .. } => keyring.keys.get(key).map_or(&[], |h| &h.generations),
        Store::Closed(_) => &[],
    }
}

/// Asks ZFS, for every loaded root of which it is not proven yet, which generation of its key opens it:
/// keystatus is no proof.
fn prove(pass: &mut Pass, pool: &str, store: &Store, deadline: Deadline) {
    let loaded: Set<_> = pass
        .observed
        .datasets()
        .filter(|d| d.key_status == KeyStatus::Available)
        // Of any other dataset ZFS has no key to compare.
        .filter(|d| d.encryption_root.as_ref() == Some(&d.name))
        .map(|d| d.name.clone())
        .collect();
    for root in &pass.config.roots {
        let candidates = generations(store, &root.key);
        let proven = pass.observed.proofs.contains_key(&root.dataset);
        let asked = root.dataset.pool() == pool && loaded.contains(&root.dataset) && !proven;
        if !asked || candidates.is_empty() || pass.is_given_up(pool) {
            continue;
        }
        let proof = prove_root(pass, root, candidates, deadline);
        pass.observed.proofs.insert(root.dataset.clone(), proof);
    }
}

fn prove_root(pass: &mut Pass, root: &Root, all: &[Generation], deadline: Deadline) -> Proof {
    for generation in all {
        let deadline = deadline.at_most(pass.clock(), pass.one_call());
        let zfs = pass.node.zfs;
        match zfs.try_key(&root.dataset, &generation.key, Try::Probe, deadline) {
            Answer::Opens => return proof(generation),
            Answer::WrongKey => {}
            Answer::CouldNotAsk(trouble) => {
                pass.note_trouble(root.dataset.pool(), &trouble);
                return Proof::CouldNotAsk(trouble.to_string());
            }
        }
    }
    Proof::NoKeyOpens
}

/// The last plan, made of the last observation, says how every root stands.
fn judge(pass: &mut Pass, store: &Store) {
    let plan = plan::keys(pass.config, &pass.observed, &key_states(pass.config, store));
    for (root, (_, verdict)) in pass.config.roots.iter().zip(&plan.roots) {
        judge_root(pass, root, verdict, root.required);
    }
    tell_unsealed(pass, plan.steps);
    roles::tell(pass);
    pass.tell_faults();
}

/// Reports one root; whether the pass fails without it is for the caller to say.
fn judge_root(pass: &mut Pass, root: &Root, verdict: &Verdict, required: bool) {
    let step = Step::LoadKey {
        root: root.dataset.clone(),
        key: root.key.clone(),
    };
    let tried = pass.failures.get(&step).cloned();
    let said = verdict::of_root(root, verdict, tried.as_deref());
    if let Some(fault) = said.fault.filter(|_| required) {
        pass.report.fail(fault);
    }
    // One missing stick is one complaint, however many roots wait for it.
    if !matches!(verdict, Verdict::Locked(Refusal::NoStore(_))) {
        pass.report.findings.extend(said.finding);
    }
    pass.report.roots.push(RootLine {
        dataset: root.dataset.to_string(),
        role: root.role.to_string(),
        required: root.required,
        open: said.open,
        state: said.state.into(),
    });
}

fn tell_unsealed(pass: &mut Pass, left: Vec<Step>) {
    for step in left {
        if let Step::Seal(dataset, seals) = &step {
            let why = pass.why_left(&step);
            let set = settings(seals);
            let what = format!("{set} could not be set on this replica: {why}");
            let remedy = format!(
                "its root stays locked; see which fails, and why: {}",
                commands(seals, dataset)
            );
            let subject = dataset.to_string();
            pass.report.find(Severity::Alarm, &subject, &what, &remedy);
            pass.report.fail(Fault::Unavailable);
        }
    }
}

/// Whether the plan's verdict leaves the root usable.
pub fn is_open(verdict: &Verdict) -> bool {
    matches!(
        verdict,
        Verdict::Open { .. } | Verdict::Unproven(_) | Verdict::OpenByNoKey
    )
}
