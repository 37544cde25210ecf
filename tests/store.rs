//! The key store loses nothing: every damage of a single file, every cut of every write, a stick
//! that is full or gone at every step. All enumerated, none sampled.

mod sim;

use f3skeys::key::Fingerprint;
use f3skeys::names::KeyName;
use f3skeys::os::Intake;
use f3skeys::reader::Reader;
use f3skeys::sorted::Set;
use f3skeys::store::layout;
use f3skeys::store::repair::Opens;
use f3skeys::store::state::{Generation, Standing, State};
use f3skeys::store::survey::survey;
use f3skeys::store::work::{Merge, Work, Worked};
use f3skeys::store::{self, Keyring, Reading, Wanted};
use f3skeys::writer::{self, Directory};
use nix::unistd::geteuid;
use sim::medium::{Fault, Files, SimMedium};
use sim::{Stick, counting, reading};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const OWNERS: [&str; 8] = [
    "f0.lan.buetow.org:bhyve",
    "f1.lan.buetow.org:bhyve",
    "f2.lan.buetow.org:bhyve",
    "f0.lan.buetow.org:zdata",
    "f1.lan.buetow.org:zdata",
    "f2.lan.buetow.org:zdata",
    "f0.lan.buetow.org:backup",
    "f1.lan.buetow.org:backup",
];

type Truth = BTreeMap<KeyName, [u8; 32]>;

fn truth() -> Truth {
    let key = |(index, name): (usize, &&str)| {
        let bytes = *blake3::hash(&[u8::try_from(index).unwrap()]).as_bytes();
        (name.parse().unwrap(), bytes)
    };
    OWNERS.iter().enumerate().map(key).collect()
}

fn pairs(truth: &Truth) -> Vec<(&str, [u8; 32])> {
    truth
        .iter()
        .map(|(k, bytes)| (k.as_str(), *bytes))
        .collect()
}

fn store_of_eight() -> Files {
    let stick = Stick::new("/dev/da0", "F3S_KEYS", "1");
    stick.with_store(&pairs(&truth())).files
}

fn plain_store_of_eight() -> Files {
    let stick = Stick::new("/dev/da0", "F3S_KEYS", "1");
    stick.with_plain_store(&pairs(&truth())).files
}

fn everything(files: &Files, formatted: bool) -> Reading {
    let mut reading = reading(files, Wanted::All);
    reading.formatted |= formatted;
    reading
}

fn verify(files: &Files) -> Keyring {
    store::verify(Wanted::All, everything(files, false)).unwrap()
}

/// Every path on the store with what is wrong with it.
fn damage(keyring: &Keyring) -> BTreeSet<String> {
    let of_keys = keyring.keys.values().flat_map(|held| &held.damage);
    let all = keyring.damage.iter().chain(of_keys);
    all.map(|damage| damage.path.clone()).collect()
}

/// What a boot would try for each key: never a byte that was not its own, and with `all` at least
/// one generation of each.
fn assert_boots(truth: &Truth, keyring: &Keyring, all: bool, case: &str) {
    for (name, bytes) in truth {
        let empty = store::Holding::default();
        let held = keyring.keys.get(name).unwrap_or(&empty);
        for generation in &held.generations {
            assert!(generation.key.expose() == bytes, "{case}: wrong bytes");
        }
        assert!(!all || !held.generations.is_empty(), "{case}: {name} lost");
    }
}

/// Does a piece of work without any fault; gives the files afterwards.
fn work(files: &Files, work: &Work, formatted: bool) -> (Files, Worked) {
    let mut medium = SimMedium::new(files, None);
    let whole = everything(files, formatted);
    let done = writer::work(work, Vec::new(), whole, &mut medium, &mut counting()).unwrap();
    let files = medium.files();
    let back = survey(Wanted::All, everything(&files, formatted)).unwrap();
    let worked = writer::worked(work, done, &back, Vec::new());
    (files, worked)
}

fn repair() -> Work {
    Work::Repair {
        opens: Opens::new(),
    }
}

/// The files without those that were moved aside.
fn without_aside(files: &Files) -> Files {
    let kept = files
        .iter()
        .filter(|(path, _)| !path.starts_with(layout::ASIDE));
    kept.map(|(path, bytes)| (path.clone(), bytes.clone()))
        .collect()
}

/// Equal, but for the identity of a store whose state file had to be rebuilt.
fn same_store(one: &Files, other: &Files) -> bool {
    let without_id = |files: &Files| {
        let mut files = without_aside(files);
        let state = files.remove(layout::STATE).unwrap();
        (files, State::parse(&state).unwrap().keys)
    };
    without_id(one) == without_id(other)
}

/// Every way in which a single file can be damaged: its path, and what it holds then.
fn single_damages(files: &Files) -> Vec<(String, Option<Vec<u8>>)> {
    let mut cases = Vec::new();
    for (path, bytes) in files {
        cases.push((path.clone(), None));
        for length in 0..bytes.len() {
            cases.push((path.clone(), Some(bytes[..length].to_vec())));
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            cases.push((path.clone(), Some(flipped)));
        }
    }
    cases
}

fn assert_named_and_repaired(truth: &Truth, whole: &Files, path: &str, bytes: Option<&Vec<u8>>) {
    let case = format!("{path} with {:?} bytes", bytes.map(Vec::len));
    let mut files = whole.clone();
    match bytes {
        Some(bytes) => drop(files.insert(path.to_owned(), bytes.clone())),
        None => drop(files.remove(path)),
    }
    let keyring = verify(&files);
    assert_eq!(
        damage(&keyring),
        BTreeSet::from([path.to_owned()]),
        "{case}"
    );
    assert_boots(truth, &keyring, true, &case);
    drop(keyring);
    let (mended, worked) = work(&files, &repair(), false);
    assert_eq!(worked.left, [], "{case}");
    assert!(same_store(&mended, whole), "{case}: not as before");
    // Nothing is deleted: what was damaged lies aside, as it was.
    let aside: Vec<_> = mended
        .keys()
        .filter(|p| p.starts_with(layout::ASIDE))
        .collect();
    match bytes {
        Some(bytes) => assert!(aside.len() == 1 && mended[aside[0]] == *bytes, "{case}"),
        None => assert!(aside.is_empty(), "{case}"),
    }
}

#[test]
fn every_damage_of_a_single_file_is_named_and_repaired() {
    let (truth, whole) = (truth(), store_of_eight());
    assert_eq!(damage(&verify(&whole)), BTreeSet::new());
    let cases = single_damages(&whole);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (truth, whole) = (&truth, &whole);
    std::thread::scope(|scope| {
        for part in cases.chunks(cases.len().div_ceil(threads)) {
            scope.spawn(move || {
                for (path, bytes) in part {
                    assert_named_and_repaired(truth, whole, path, bytes.as_ref());
                }
            });
        }
    });
    println!("{} single damages, all named and repaired", cases.len());
    assert!(cases.len() > 20_000);
}

/// A store in some state, and a piece of work on it.
struct Start {
    name: &'static str,
    files: Files,
    work: Work,
}

fn new_key() -> KeyName {
    "f0.lan.buetow.org:new".parse().unwrap()
}

/// One copy of three keys damaged in three ways, a broken state file, and what a cut write has left.
fn ailing_store() -> Files {
    let mut files = store_of_eight();
    files.get_mut("f0.lan.buetow.org:bhyve.key").unwrap()[3] ^= 1;
    files.remove("f1.lan.buetow.org:bhyve.key");
    let generation = files
        .keys()
        .find(|path| path.starts_with(".f3skeys/f2.lan.buetow.org:zdata/"))
        .unwrap()
        .clone();
    files.get_mut(&generation).unwrap().truncate(31);
    files.get_mut(layout::STATE).unwrap()[70] ^= 1;
    files.insert(layout::temporary("f0.lan.buetow.org:x.key"), vec![1; 9]);
    files
}

fn starts() -> Vec<Start> {
    let start = |name, files, work| Start { name, files, work };
    vec![
        start("new key", store_of_eight(), Work::NewKey(new_key())),
        start(
            "new key, plain",
            plain_store_of_eight(),
            Work::NewKey(new_key()),
        ),
        start("new key, empty", Files::new(), Work::NewKey(new_key())),
        start("take in", plain_store_of_eight(), Work::TakeIn),
        start("found", Files::new(), Work::Found),
        start("repair", ailing_store(), repair()),
    ]
}

/// What must hold however a piece of work was cut: the keys that were there open now, and the store
/// becomes whole again with all of them.
fn assert_survives(start: &Start, files: &Files, formatted: bool, case: &str) {
    let truth = match start.files.is_empty() {
        true => Truth::new(),
        false => truth(),
    };
    let keyring = store::verify(Wanted::All, everything(files, formatted)).unwrap();
    assert_boots(&truth, &keyring, true, case);
    drop(keyring);
    let (mended, worked) = work(files, &repair(), formatted);
    assert_eq!(worked.left, [], "{case}");
    assert_boots(&truth, &verify(&mended), true, case);
    // Whatever was begun can be begun again, or was done.
    let fresh = !verify(&mended).keys.contains_key(&new_key());
    if matches!(start.work, Work::NewKey(_)) && fresh {
        let (again, worked) = work(&mended, &start.work, formatted);
        assert_eq!(worked.left, [], "{case}");
        assert!(worked.keys[&new_key()].is_some(), "{case}");
        assert_boots(&truth, &verify(&again), true, case);
    }
    // No file that was there before has vanished: it is where it was, or aside.
    for (path, bytes) in &start.files {
        let state_is_replaced = path == layout::STATE;
        let kept = mended.values().any(|kept| kept == bytes);
        let in_doubt = fault_may_lose(&start.files, path);
        assert!(
            kept || state_is_replaced || in_doubt,
            "{case}: {path} is gone"
        );
    }
}

/// A name that was being moved aside when the power failed may be nowhere on a file system without
/// a journal. Only what is damaged is ever moved.
fn fault_may_lose(before: &Files, path: &str) -> bool {
    let name = layout::split(path).1;
    layout::is_temporary(name) || damage(&verify(before)).contains(path)
}

fn run(start: &Start, fault: Option<Fault>) -> SimMedium {
    let mut medium = SimMedium::new(&start.files, fault);
    let reading = everything(&start.files, false);
    let done = writer::work(
        &start.work,
        Vec::new(),
        reading,
        &mut medium,
        &mut counting(),
    );
    let whole = done.is_ok_and(|done| done.could_not.is_empty());
    assert_eq!(whole, fault.is_none(), "{}: {fault:?}", start.name);
    medium
}

#[test]
fn law_7_power_cut_at_every_step_of_every_write_loses_no_key() {
    let mut cases = 0;
    for start in starts() {
        let steps = run(&start, None).steps;
        assert!(steps > 3, "{}: {steps} steps", start.name);
        for step in 0..steps {
            for torn in [0, 1, 16, 31, usize::MAX] {
                let medium = run(&start, Some(Fault::CutAt(step, torn)));
                for (image, (files, formatted)) in medium.after_cut().iter().enumerate() {
                    let case = format!("{}, step {step}, {torn} bytes, {image}", start.name);
                    assert_survives(&start, files, *formatted, &case);
                    cases += 1;
                }
            }
        }
    }
    println!("{cases} states of the medium after a cut");
    assert!(cases > 1000);
}

#[test]
fn law_7_a_stick_full_or_gone_at_every_step_loses_no_key() {
    let mut cases = 0;
    for start in starts() {
        for step in 0..run(&start, None).steps {
            let case = format!("{}, full at step {step}", start.name);
            let medium = run(&start, Some(Fault::FullAt(step)));
            assert_survives(&start, &medium.files(), false, &case);
            let case = format!("{}, gone from step {step}", start.name);
            let medium = run(&start, Some(Fault::GoneFrom(step)));
            for (files, formatted) in medium.after_cut() {
                assert_survives(&start, &files, formatted, &case);
                cases += 1;
            }
            cases += 1;
        }
    }
    println!("{cases} cases of a stick full or gone");
    assert!(cases > 200);
}

#[test]
fn work_that_is_done_already_changes_nothing() {
    for (files, again) in [
        (store_of_eight(), Work::TakeIn),
        (store_of_eight(), repair()),
        (
            work(&plain_store_of_eight(), &Work::TakeIn, false).0,
            Work::TakeIn,
        ),
    ] {
        let (after, worked) = work(&files, &again, false);
        assert_eq!(after, files);
        assert_eq!(worked.did, Vec::<String>::new());
    }
}

#[test]
fn taking_in_changes_no_key_and_vouches_for_each() {
    let before = plain_store_of_eight();
    let (after, worked) = work(&before, &Work::TakeIn, false);
    for (path, bytes) in &before {
        assert_eq!(after.get(path), Some(bytes));
    }
    for (name, bytes) in truth() {
        assert_eq!(worked.keys[&name], Some(Fingerprint::of(&bytes)));
    }
    assert!(
        verify(&after)
            .keys
            .values()
            .all(|held| held.generations[0].verified)
    );
}

#[test]
fn law_7_a_whole_key_that_opens_a_root_is_taken_in_and_not_moved_aside() {
    let mut files = store_of_eight();
    let name: KeyName = "f0.lan.buetow.org:zdata".parse().unwrap();
    files.insert(layout::top_path(&name), vec![0x5a; 32]);
    let opens = Opens::from([(name.clone(), Set::from([Fingerprint::of(&[0x5a; 32])]))]);
    let (after, worked) = work(&files, &Work::Repair { opens }, false);
    assert_eq!(worked.left, []);
    assert_eq!(worked.keys[&name], Some(Fingerprint::of(&[0x5a; 32])));
    let keyring = verify(&after);
    let numbers: Vec<_> = keyring.keys[&name]
        .generations
        .iter()
        .map(|g| g.number)
        .collect();
    assert_eq!(numbers, [Some(2), Some(1)]);
    // When it opens nothing, the listed one comes back to the top, and the stranger stays aside.
    let (after, _) = work(&files, &repair(), false);
    assert_eq!(after[&layout::top_path(&name)], truth()[&name]);
    assert!(
        after
            .iter()
            .any(|(path, bytes)| path.starts_with(layout::ASIDE) && bytes == &[0x5a; 32])
    );
}

#[test]
fn law_7_only_repair_puts_another_key_in_a_damaged_ones_place() {
    let name: KeyName = "f0.lan.buetow.org:zdata".parse().unwrap();
    let mut files = store_of_eight();
    // It is on no list, and may be the only one that opens a root: nobody has asked ZFS.
    files.insert(layout::top_path(&name), vec![0x5a; 32]);
    files.insert("f0.lan.buetow.org:plain.key".to_owned(), vec![7; 32]);
    for what in [Work::TakeIn, Work::NewKey(new_key())] {
        let (after, worked) = work(&files, &what, false);
        assert_eq!(after[&layout::top_path(&name)], [0x5a; 32], "{what:?}");
        assert!(!after.keys().any(|path| path.starts_with(layout::ASIDE)));
        assert_eq!(worked.left.len(), 1, "it is still named");
        let plain: KeyName = "f0.lan.buetow.org:plain".parse().unwrap();
        assert!(verify(&after).keys[&plain].generations[0].verified);
    }
}

#[test]
fn a_key_without_a_second_copy_stays_where_it_is_and_is_named() {
    let mut files = store_of_eight();
    let name: KeyName = "f0.lan.buetow.org:zdata".parse().unwrap();
    for (path, bytes) in &mut files {
        if path.contains(name.as_str()) {
            bytes[0] ^= 1;
        }
    }
    let (after, worked) = work(&files, &repair(), false);
    assert_eq!(
        after, files,
        "nothing to put in its place, so nothing is moved"
    );
    assert_eq!(worked.left.len(), 2);
    assert_eq!(worked.keys[&name], None);
    // A good copy from a peer's stick, laid at the top, mends both.
    files.insert(layout::top_path(&name), truth()[&name].to_vec());
    let (_, worked) = work(&files, &repair(), false);
    assert_eq!(worked.left, []);
    assert_eq!(worked.keys[&name], Some(Fingerprint::of(&truth()[&name])));
}

#[test]
fn a_newer_format_is_not_touched() {
    let mut files = store_of_eight();
    let body = "(format: 2)\n";
    let sum = blake3::hash(body.as_bytes()).to_hex();
    files.insert(
        layout::STATE.to_owned(),
        format!("// checksum {sum}\n{body}").into_bytes(),
    );
    for what in [repair(), Work::TakeIn, Work::Found, Work::NewKey(new_key())] {
        let mut medium = SimMedium::new(&files, None);
        let refused = writer::work(
            &what,
            Vec::new(),
            everything(&files, false),
            &mut medium,
            &mut counting(),
        );
        let why = refused.unwrap_err().to_string();
        assert!(why.contains("format 2"), "{why}");
        assert_eq!((medium.steps, medium.files()), (0, files.clone()));
    }
}

/// A store in a directory of the real file system.
struct Real(PathBuf);

impl Real {
    fn new(name: &str, files: &Files) -> Real {
        let top = std::env::temp_dir().join(format!("f3skeys-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&top);
        fs::create_dir_all(&top).unwrap();
        for (path, bytes) in files {
            let path = top.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        }
        Real(top)
    }

    fn read(&self) -> Reading {
        let mut intake = Intake::new(Reader::places_for(Wanted::All)).unwrap();
        let told = Reader::new(&mut intake, geteuid().as_raw()).store(&self.0, Wanted::All);
        told.unwrap().into_reading(&mut intake).unwrap()
    }

    fn work(&self, work: &Work) -> std::io::Result<Worked> {
        self.work_with(work, &[])
    }

    /// With the bytes of keys that come with the work.
    fn work_with(&self, work: &Work, incoming: &[u8]) -> std::io::Result<Worked> {
        let brought = match work {
            Work::Merge(merge) => {
                let mut intake = Intake::new(8)?;
                writer::incoming(&merge.bring, incoming, &mut intake)?;
                writer::brought(work, Some(&mut intake))?
            }
            _ => Vec::new(),
        };
        let mut medium = Directory::open(&self.0)?;
        let random = &mut f3skeys::os::random;
        let done = writer::work(work, brought, self.read(), &mut medium, random)?;
        Ok(writer::worked(
            work,
            done,
            &survey(Wanted::All, self.read()).unwrap(),
            Vec::new(),
        ))
    }

    fn files(&self) -> Files {
        let mut files = Files::new();
        collect(&self.0, &self.0, &mut files);
        files
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn collect(top: &Path, directory: &Path, files: &mut Files) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(top, &path, files);
        } else {
            let name = path.strip_prefix(top).unwrap().display().to_string();
            files.insert(name, fs::read(&path).unwrap());
        }
    }
}

#[test]
fn real_files_are_read_repaired_and_added_to_as_the_simulated_ones_are() {
    let real = Real::new("real-repair", &ailing_store());
    let (expected, _) = work(&ailing_store(), &repair(), false);
    let worked = real.work(&repair()).unwrap();
    assert_eq!(worked.left, []);
    assert!(same_store(&real.files(), &expected));
    let aside = |files: Files| -> Files {
        let aside = files
            .into_iter()
            .filter(|(path, _)| path.starts_with(layout::ASIDE));
        aside.collect()
    };
    assert_eq!(aside(real.files()), aside(expected));
    let worked = real.work(&Work::NewKey(new_key())).unwrap();
    let fingerprint = worked.keys[&new_key()].unwrap();
    for path in [
        layout::top_path(&new_key()),
        layout::generation_path(&new_key(), 1, fingerprint),
    ] {
        let about = fs::metadata(real.0.join(path)).unwrap();
        assert_eq!(about.permissions().mode() & 0o7777, 0o400);
    }
    let again = real.work(&Work::NewKey(new_key())).unwrap_err();
    assert!(again.to_string().contains("already"), "{again}");
}

#[test]
fn real_files_are_staged_handed_over_and_merged() {
    let name: KeyName = "f0.lan.buetow.org:zdata".parse().unwrap();
    let (owner, peer) = (
        Real::new("real-owner", &store_of_eight()),
        Real::new("real-peer", &store_of_eight()),
    );
    let staged = owner.work(&Work::Stage(name.clone())).unwrap();
    let standings = |worked: &Worked| {
        let held = worked.held.iter();
        held.map(|held| held.generation.state).collect::<Vec<_>>()
    };
    use Standing::{Current, Retained, Staged};
    assert_eq!(standings(&staged), [Current, Staged]);
    let mut list: Vec<_> = staged
        .held
        .into_iter()
        .map(|held| held.generation)
        .collect();
    let new = list[1].fingerprint;
    let path = layout::generation_path(&name, 2, new);
    let bytes = owner.files()[&path].clone();
    let merge = |list: &[Generation], bring: &[Fingerprint]| {
        Work::Merge(Merge {
            key: name.clone(),
            list: list.to_vec(),
            bring: bring.to_vec(),
            nonce: None,
        })
    };
    let put = merge(&list, &[new]);
    for wrong in [&bytes[1..], &[0; 32], &[&bytes[..], b"x"].concat()] {
        peer.work_with(&put, wrong).unwrap_err();
        assert_eq!(peer.files(), store_of_eight());
    }
    assert!(peer.work_with(&put, &bytes).unwrap().held[1].whole);
    assert_eq!(peer.files(), owner.files());
    (list[0].state, list[1].state) = (Retained, Current);
    for real in [&owner, &peer] {
        let worked = real.work(&merge(&list, &[])).unwrap();
        assert_eq!((worked.left.as_slice(), worked.sound), (&[][..], true));
        assert_eq!(standings(&worked), [Retained, Current]);
        assert_eq!(worked.keys[&name], Some(new));
        for path in [&path, &layout::top_path(&name)] {
            let about = fs::metadata(real.0.join(path)).unwrap();
            assert_eq!(about.permissions().mode() & 0o7777, 0o400);
            assert_eq!(real.files()[path], bytes);
        }
        let aside = |path: &String| path.starts_with(layout::ASIDE);
        assert!(!real.files().keys().any(aside), "nothing was damaged");
    }
}

#[test]
fn two_new_keys_differ() {
    let real = Real::new("real-random", &Files::new());
    let other: KeyName = "f0.lan.buetow.org:other".parse().unwrap();
    real.work(&Work::Found).unwrap();
    real.work(&Work::NewKey(new_key())).unwrap();
    let worked = real.work(&Work::NewKey(other.clone())).unwrap();
    assert_ne!(worked.keys[&new_key()], worked.keys[&other]);
    assert!(worked.keys.values().all(Option::is_some));
}

#[test]
fn real_files_cut_short_at_every_length_are_named() {
    let whole = store_of_eight();
    for (path, bytes) in &whole {
        for length in 0..bytes.len().min(33) {
            let mut files = whole.clone();
            files.get_mut(path).unwrap().truncate(length);
            let real = Real::new("real-cut", &files);
            let keyring = store::verify(Wanted::All, real.read()).unwrap();
            assert_eq!(damage(&keyring), BTreeSet::from([path.clone()]));
            assert_boots(&truth(), &keyring, true, path);
        }
    }
}

/// Written by the first version that wrote format 1, and kept since.
#[test]
fn a_store_of_the_first_format_1_opens_for_ever() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/store-1");
    let mut files = Files::new();
    collect(&top, &top, &mut files);
    let real = Real::new("real-fixture", &files);
    let keyring = store::verify(Wanted::All, real.read()).unwrap();
    assert_eq!(damage(&keyring), BTreeSet::new());
    let expected = [
        ("f0.lan.buetow.org:backup", "7afcb9c6"),
        ("f0.lan.buetow.org:bhyve", "39134280"),
        ("f0.lan.buetow.org:zdata", "9b89ece3"),
        ("f1.lan.buetow.org:backup", "8f6ebd3e"),
        ("f1.lan.buetow.org:bhyve", "b6f3bd1f"),
        ("f1.lan.buetow.org:zdata", "9d6fddbd"),
        ("f2.lan.buetow.org:bhyve", "0434d81b"),
        ("f2.lan.buetow.org:zdata", "eef581c2"),
    ];
    let found: Vec<(String, String)> = keyring
        .keys
        .iter()
        .map(|(name, held)| {
            (
                name.to_string(),
                held.generations[0].key.fingerprint().to_string(),
            )
        })
        .collect();
    assert_eq!(
        found,
        expected.map(|(name, print)| (name.to_owned(), print.to_owned()))
    );
    drop(keyring);
    assert_eq!(real.work(&repair()).unwrap().did, Vec::<String>::new());
}
