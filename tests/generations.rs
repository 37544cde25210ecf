//! Staging a generation and merging an owner's list, on one store: cut at every step, full at every
//! step, gone from every step, nothing is lost, and a second run finishes. All enumerated.

mod sim;

use f3skeys::key::{Fingerprint, Key, Nonce, keys_alive};
use f3skeys::names::KeyName;
use f3skeys::os::Intake;
use f3skeys::sorted::Map;
use f3skeys::store::layout;
use f3skeys::store::repair::Opens;
use f3skeys::store::state::{FORMAT, Generation, LARGEST_WRITTEN, Standing, State};
use f3skeys::store::survey::{Survey, survey};
use f3skeys::store::work::{Given, Merge, Prune, Work, Worked};
use f3skeys::store::{self, Keyring, MOST_GENERATIONS, MOST_OF_ONE_OWNER, Reading, Wanted, merge};
use f3skeys::writer;
use sim::medium::{Fault, Files, SimMedium};
use sim::reading;
use std::collections::BTreeSet;

use Standing::{Current, Pruned, Retained, Retired, Staged};

/// The bytes of a key's n-th generation.
fn bytes(number: u32) -> [u8; 32] {
    *blake3::hash(&number.to_le_bytes()).as_bytes()
}

fn print(number: u32) -> Fingerprint {
    Fingerprint::of(&bytes(number))
}

fn zdata() -> KeyName {
    "f0:zdata".parse().unwrap()
}

fn generation((number, state): (u32, Standing)) -> Generation {
    Generation {
        generation: number,
        fingerprint: print(number),
        state,
    }
}

fn list(of: &[(u32, Standing)]) -> Vec<Generation> {
    of.iter().copied().map(generation).collect()
}

/// A store with these generations of the key, and another key that is nobody's business.
fn store(of: &[(u32, Standing)]) -> Files {
    let other: KeyName = "f1:other".parse().unwrap();
    let other_generation = Generation {
        generation: 1,
        ..generation((99, Current))
    };
    let mut keys = Map::from([(other, vec![other_generation])]);
    if !of.is_empty() {
        keys.insert(zdata(), list(of));
    }
    let mut files = Files::new();
    for (name, generations) in &keys {
        for g in generations {
            let number = if *name == zdata() { g.generation } else { 99 };
            let path = layout::generation_path(name, g.generation, g.fingerprint);
            files.insert(path, bytes(number).to_vec());
            if g.state == Current {
                files.insert(layout::top_path(name), bytes(number).to_vec());
            }
        }
    }
    let state = State {
        format: FORMAT,
        store: "ab".repeat(16),
        keys,
    };
    files.insert(layout::STATE.to_owned(), state.to_bytes());
    files
}

fn put(of: &[(u32, Standing)], bring: &[u32]) -> Work {
    Work::Merge(Merge {
        key: zdata(),
        list: list(of),
        bring: bring.iter().map(|number| print(*number)).collect(),
        nonce: None,
    })
}

fn everything(files: &Files, formatted: bool) -> Reading {
    let mut reading = reading(files, Wanted::All);
    reading.formatted |= formatted;
    reading
}

fn surveyed(files: &Files) -> Survey {
    survey(Wanted::All, everything(files, true)).unwrap()
}

/// Everything whole that the store vouches for.
fn whole(files: &Files) -> BTreeSet<(KeyName, Fingerprint)> {
    let survey = surveyed(files);
    let of_key = |name: &KeyName, copies: &store::survey::Copies| {
        let known = copies.good.keys().filter(|p| copies.known.contains_key(p));
        known.map(|p| (name.clone(), *p)).collect::<Vec<_>>()
    };
    survey.keys.iter().flat_map(|(n, c)| of_key(n, c)).collect()
}

/// What a boot tries.
fn tried(files: &Files, formatted: bool) -> BTreeSet<(KeyName, Fingerprint)> {
    let keyring: Keyring = store::verify(Wanted::All, everything(files, formatted)).unwrap();
    let of_key = |(name, held): (&KeyName, &store::Holding)| {
        let prints = held.generations.iter().map(|g| g.key.fingerprint());
        prints.map(|p| (name.clone(), p)).collect::<Vec<_>>()
    };
    keyring.keys.iter().flat_map(of_key).collect()
}

fn standings(files: &Files) -> Vec<(u32, Standing)> {
    let survey = surveyed(files);
    let held = survey.keys.get(&zdata());
    let held = held.map(|copies| merge::held(copies, None));
    let shown = |h: &store::work::Held| (h.generation.generation, h.generation.state);
    held.unwrap_or_default().iter().map(shown).collect()
}

fn brought(work: &Work) -> Vec<u8> {
    match work.list() {
        Some(merge) => {
            let number = |p: &Fingerprint| (1..200).find(|n| print(*n) == *p).unwrap();
            let bytes = |p| bytes(number(p));
            merge.bring.iter().flat_map(bytes).collect()
        }
        None => Vec::new(),
    }
}

/// Random bytes that differ from one run to the next.
fn random(seed: u32) -> impl FnMut(&mut [u8]) -> std::io::Result<()> {
    let mut count = seed * 1000 + 1_000_000;
    move |into| {
        count += 1;
        into.copy_from_slice(&bytes(count)[..into.len()]);
        Ok(())
    }
}

/// The keys that come with a list, as they are read off the wire.
fn incoming(merge: &Merge, behind: &[u8]) -> std::io::Result<Vec<Key>> {
    if merge.bring.is_empty() && behind.is_empty() {
        return Ok(Vec::new());
    }
    let mut intake = Intake::new(merge.bring.len().max(1))?;
    writer::incoming(&merge.bring, behind, &mut intake)?;
    (0..merge.bring.len()).map(|at| intake.take(at)).collect()
}

fn perform(
    work: &Work,
    files: &Files,
    formatted: bool,
    fault: Option<Fault>,
    seed: u32,
) -> (SimMedium, std::io::Result<writer::Done>) {
    let mut medium = SimMedium::new(files, fault);
    let reading = everything(files, formatted);
    let incoming = match work.list() {
        Some(merge) => incoming(merge, &brought(work)).unwrap(),
        None => Vec::new(),
    };
    let done = writer::work(work, incoming, reading, &mut medium, &mut random(seed));
    (medium, done)
}

/// Does a piece of work without any fault.
fn work(work: &Work, files: &Files, seed: u32) -> Result<(Files, Worked), String> {
    let (medium, done) = perform(work, files, true, None, seed);
    let done = done.map_err(|e| e.to_string())?;
    let files = medium.files();
    let worked = writer::worked(work, done, &surveyed(&files), Vec::new());
    Ok((files, worked))
}

fn repair() -> Work {
    Work::Repair {
        opens: Opens::new(),
    }
}

/// A store, a piece of work on it, and how the key stands when it is done.
struct Start {
    name: &'static str,
    files: Files,
    work: Work,
    wanted: Vec<(u32, Standing)>,
}

fn start(
    name: &'static str,
    before: &[(u32, Standing)],
    bring: &[u32],
    wanted: &[(u32, Standing)],
) -> Start {
    Start {
        name,
        files: store(before),
        work: put(wanted, bring),
        wanted: wanted.to_vec(),
    }
}

/// As a node gives it that does not own the key.
fn add(said: &[(u32, Standing)], bring: &[u32]) -> Work {
    match put(said, bring) {
        Work::Merge(merge) => Work::Add(given(merge, None)),
        other => other,
    }
}

fn given(merge: Merge, seen: Option<Vec<Generation>>) -> Given {
    Given {
        merge,
        prover: "f1".parse().unwrap(),
        seen,
    }
}

fn prune(number: u32, by_owner: bool) -> Work {
    Work::Prune(Prune {
        key: zdata(),
        fingerprint: print(number),
        by_owner,
    })
}

/// What a receiver finds whose copies of the current generation are both damaged.
fn ailing() -> Start {
    let wanted = [(1, Retained), (2, Current), (3, Staged)];
    let before = [(1, Retained), (2, Current)];
    let mut start = start("damaged copies brought again", &before, &[2, 3], &wanted);
    let path = layout::generation_path(&zdata(), 2, print(2));
    start.files.get_mut(&path).unwrap().truncate(9);
    start
        .files
        .get_mut(&layout::top_path(&zdata()))
        .unwrap()
        .truncate(30);
    start
}

fn starts() -> Vec<Start> {
    let stage = |name, before: &[(u32, Standing)], wanted: &[(u32, Standing)]| Start {
        work: Work::Stage(zdata()),
        ..start(name, before, &[], wanted)
    };
    let both = [(1, Current), (2, Staged)];
    let done = [(1, Retained), (2, Current)];
    vec![
        stage("stage", &[(1, Current)], &both),
        stage("stage a key that is taken over", &[], &[(1, Staged)]),
        stage(
            "stage the fourth",
            &[(1, Retired), (2, Retained), (3, Current)],
            &[(1, Retired), (2, Retained), (3, Current), (4, Staged)],
        ),
        start("commit", &both, &[], &done),
        start(
            "commit a key that is taken over",
            &[(1, Staged)],
            &[],
            &[(1, Current)],
        ),
        start("abort", &both, &[], &[(1, Current), (2, Retired)]),
        start("retire", &done, &[], &[(1, Retired), (2, Current)]),
        start("put a staged one", &[(1, Current)], &[2], &both),
        start("put on an empty store", &[], &[1, 2], &both),
        start("put a staged one alone", &[], &[1], &[(1, Staged)]),
        start(
            "put what was missed",
            &[(1, Current)],
            &[3],
            &[(1, Retired), (3, Current)],
        ),
        start("put again", &both, &[2], &both),
        ailing(),
        Start {
            work: add(&GIVEN, &[2, 3, 4]),
            ..start("add what the store holds nothing of", &[], &[], &GIVEN)
        },
    ]
}

/// A key with all that there may be of it.
const GIVEN: [(u32, Standing); 4] = [(1, Pruned), (2, Retired), (3, Current), (4, Staged)];

fn assert_wanted(start: &Start, files: &Files, case: &str) {
    assert_eq!(standings(files), start.wanted, "{case}");
    let survey = surveyed(files);
    let copies = &survey.keys[&zdata()];
    assert_eq!(copies.damage, [], "{case}");
    let path = |number| layout::generation_path(&zdata(), number, print(number));
    let is_held =
        |(n, state): &&(u32, Standing)| *state != Pruned || start.files.contains_key(&path(*n));
    let held = start.wanted.iter().filter(is_held).count();
    assert_eq!(copies.good.len(), held, "{case}");
}

/// What must hold however a piece of work was cut.
fn assert_survives(start: &Start, files: &Files, formatted: bool, case: &str) {
    let lost: Vec<_> = whole(&start.files)
        .difference(&whole(files))
        .cloned()
        .collect();
    assert_eq!(lost, [], "{case}: lost");
    let retired = |p: &Fingerprint| {
        let mut wanted = start.wanted.iter();
        wanted.any(|(number, state)| !state.is_tried() && print(*number) == *p)
    };
    let before = tried(&start.files, true);
    for left_out in before.difference(&tried(files, formatted)) {
        assert!(
            retired(&left_out.1),
            "{case}: a boot no longer tries {left_out:?}"
        );
    }
    // The same once more; a staged one that is on the list needs nothing more.
    let files = match work(&start.work, files, 2) {
        Ok((files, _)) => files,
        Err(why) if start.work == Work::Stage(zdata()) => {
            assert!(why.contains("is staged already"), "{case}: {why}");
            files.clone()
        }
        Err(why) => panic!("{case}: {why}"),
    };
    assert_wanted(start, &files, case);
    let (mended, worked) = work(&repair(), &files, 3).unwrap();
    assert_eq!(worked.left, [], "{case}");
    assert_wanted(start, &mended, case);
    assert_eq!(keys_alive(), 0);
}

fn run(start: &Start, fault: Option<Fault>) -> SimMedium {
    let (medium, done) = perform(&start.work, &start.files, true, fault, 1);
    assert_eq!(done.is_ok(), fault.is_none(), "{}: {fault:?}", start.name);
    medium
}

#[test]
fn law_7_a_cut_at_every_step_of_staging_and_merging_loses_nothing_and_is_finished() {
    let mut cases = 0;
    for start in starts() {
        let steps = run(&start, None).steps;
        for step in 0..steps {
            for torn in [0, 1, 31, usize::MAX] {
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
fn law_7_a_stick_full_or_gone_while_staging_and_merging_loses_nothing() {
    let mut cases = 0;
    for start in starts() {
        for step in 0..run(&start, None).steps {
            let case = format!("{}, full at step {step}", start.name);
            let medium = run(&start, Some(Fault::FullAt(step)));
            assert_survives(&start, &medium.files(), true, &case);
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
fn what_is_merged_already_changes_nothing_and_all_is_told_and_proven() {
    let nonce = Nonce::random(|bytes| {
        bytes.fill(5);
        Ok(())
    });
    for start in starts() {
        let (files, _) = work(&start.work, &start.files, 1).unwrap();
        let bring: Vec<u32> = match start.name.starts_with("stage") {
            true => Vec::new(),
            false => start
                .wanted
                .iter()
                .filter(|(_, state)| *state != Pruned)
                .map(|(number, _)| *number)
                .collect(),
        };
        let mut again = Merge {
            key: zdata(),
            list: surveyed(&files).state.unwrap().keys[&zdata()].clone(),
            bring: bring.iter().map(|number| print(*number)).collect(),
            nonce: Some(nonce.as_ref().unwrap().to_owned()),
        };
        let seen = again.list.clone();
        again.list.reverse();
        let again = Work::Take(given(again, Some(seen)));
        let (after, worked) = work(&again, &files, 2).unwrap();
        assert_eq!(worked.did, [""; 0], "{}", start.name);
        assert_eq!(after, files, "{}", start.name);
        assert_eq!((worked.sound, worked.store), (true, Some("ab".repeat(16))));
        let survey = surveyed(&files);
        let held = worked.held.iter();
        for held in held.filter(|held| held.generation.state != Pruned) {
            let key = &survey.keys[&zdata()].good[&held.generation.fingerprint];
            let proof = key.prove(nonce.as_ref().unwrap(), "f1", &"ab".repeat(16));
            assert_eq!((held.whole, held.proof), (true, Some(proof)));
        }
        let told = worked
            .held
            .iter()
            .map(|h| (h.generation.generation, h.generation.state));
        assert_eq!(told.collect::<Vec<_>>(), start.wanted, "{}", start.name);
    }
}

#[test]
fn what_is_damaged_is_told_as_not_whole_and_without_a_proof() {
    let mut files = store(&[(1, Retained), (2, Current)]);
    let path = layout::generation_path(&zdata(), 1, print(1));
    files.get_mut(&path).unwrap()[0] ^= 1;
    let survey = surveyed(&files);
    let nonce = Nonce::random(|_| Ok(())).unwrap();
    let copies = &survey.keys[&zdata()];
    let held = |over| {
        let held = merge::held(copies, over).into_iter();
        held.map(|h| (h.whole, h.proof.is_some()))
            .collect::<Vec<_>>()
    };
    let prover = "f1".parse().unwrap();
    let over = merge::Over {
        nonce: &nonce,
        prover: &prover,
        store: "id",
    };
    assert_eq!(held(Some(over)), [(false, false), (true, true)]);
    assert_eq!(held(None), [(false, false), (true, false)]);
}

/// What may be on the list, or on the store, of one generation.
const STANDINGS: [Option<Standing>; 6] = [
    None,
    Some(Current),
    Some(Staged),
    Some(Retained),
    Some(Retired),
    Some(Pruned),
];

/// Every way in which three generations can stand.
fn ways() -> Vec<Vec<(u32, Standing)>> {
    let mut ways = Vec::new();
    for one in STANDINGS {
        for two in STANDINGS {
            for three in STANDINGS {
                let of = [(1, one), (2, two), (3, three)];
                let of = of.into_iter().filter_map(|(n, s)| Some((n, s?)));
                ways.push(of.collect());
            }
        }
    }
    ways
}

fn count(of: &[(u32, Standing)], what: Standing) -> usize {
    of.iter().filter(|(_, state)| *state == what).count()
}

fn current(of: &[(u32, Standing)]) -> Option<u32> {
    let mut of = of.iter();
    of.find(|(_, state)| *state == Current).map(|(n, _)| *n)
}

/// What an owner may say, in other words than the program's.
fn is_allowed(here: &[(u32, Standing)], said: &[(u32, Standing)], bring: &[u32]) -> bool {
    let of = |list: &[(u32, Standing)], number| {
        let mut list = list.iter();
        list.find(|(n, _)| *n == number).map(|(_, state)| *state)
    };
    let each = (1..=3).all(|number| match (of(here, number), of(said, number)) {
        (None, None) | (None, Some(Pruned)) => !bring.contains(&number),
        (None, Some(_)) => bring.contains(&number),
        (Some(_), None) => false,
        (Some(_), Some(Pruned)) => !bring.contains(&number),
        // Its bytes are there still, so its retirement can be taken back.
        (Some(Retired), Some(_)) => true,
        (Some(Pruned), Some(_)) => false,
        (Some(_), Some(_)) => true,
    });
    let one = count(said, Current) <= 1 && count(said, Staged) <= 1;
    each && one && !said.is_empty() && current(said) >= current(here)
}

#[test]
fn law_7_every_list_of_three_generations_on_every_store_of_three() {
    let (mut merged, mut refused) = (0, 0);
    let possible = |of: &Vec<(u32, Standing)>| count(of, Current) <= 1 && count(of, Staged) <= 1;
    for here in ways().iter().filter(|of| possible(of)) {
        let files = store(here);
        let survey = surveyed(&files);
        let none = store::survey::Copies::default();
        let copies = survey.keys.get(&zdata()).unwrap_or(&none);
        for said in ways() {
            for subset in 0..8_u32 {
                let bring: Vec<u32> = (1..=3).filter(|n| subset >> (n - 1) & 1 == 1).collect();
                let prints: Vec<_> = bring.iter().map(|n| print(*n)).collect();
                let answer = merge::may(&zdata(), copies, &list(&said), &prints);
                let allowed = is_allowed(here, &said, &bring);
                assert_eq!(
                    answer.is_ok(),
                    allowed,
                    "{here:?} {said:?} {bring:?}: {answer:?}"
                );
                match allowed {
                    true => merged += 1,
                    false => refused += 1,
                }
            }
        }
    }
    println!("{merged} lists to be merged, {refused} refused");
    assert!(merged > 500 && refused > 50_000);
}

#[test]
fn law_7_who_does_not_own_a_key_changes_nothing_of_it_that_is_there() {
    let (mut same, mut refused, mut new) = (0, 0, 0);
    let possible = |of: &Vec<(u32, Standing)>| count(of, Current) <= 1 && count(of, Staged) <= 1;
    for here in ways().iter().filter(|of| possible(of)) {
        let files = store(here);
        for said in ways().iter().filter(|of| possible(of) && !of.is_empty()) {
            let brought: Vec<u32> = said
                .iter()
                .filter(|(_, state)| *state != Pruned)
                .map(|(n, _)| *n)
                .collect();
            let told = work(&add(said, &brought), &files, 1);
            let case = format!("{here:?} {said:?}");
            match told {
                Ok((after, _)) if here.is_empty() => {
                    assert_eq!(standings(&after), *said, "{case}");
                    new += 1;
                }
                Ok((after, worked)) => {
                    assert_eq!((here, after), (said, files.clone()), "{case}");
                    assert!(worked.did.is_empty(), "{case}");
                    same += 1;
                }
                Err(why) => {
                    assert_ne!(here, said, "{case}: {why}");
                    assert!(!here.is_empty(), "{case}: {why}");
                    assert!(why.contains("is on this store already"), "{case}: {why}");
                    refused += 1;
                }
            }
        }
    }
    println!("{new} taken, {same} there already, {refused} refused");
    assert!(new > 100 && same > 100 && refused > 10_000);
}

#[test]
fn law_7_what_is_merged_is_what_was_said_and_loses_nothing() {
    let mut merged = 0;
    let possible = |of: &Vec<(u32, Standing)>| count(of, Current) <= 1 && count(of, Staged) <= 1;
    for here in ways().iter().filter(|of| possible(of)) {
        let files = store(here);
        for said in ways() {
            let known = |n: u32| here.iter().any(|(number, _)| *number == n);
            let new: Vec<u32> = said
                .iter()
                .filter(|(n, state)| !known(*n) && *state != Pruned)
                .map(|(n, _)| *n)
                .collect();
            let start = Start {
                name: "",
                files: files.clone(),
                work: put(&said, &new),
                wanted: said.clone(),
            };
            if !is_allowed(here, &said, &new) {
                let (medium, done) = perform(&start.work, &files, true, None, 1);
                assert!(done.is_err());
                assert_eq!((medium.steps, medium.files()), (0, files.clone()));
                continue;
            }
            let (after, worked) = work(&start.work, &files, 1).unwrap();
            assert_eq!(worked.left, []);
            assert_survives(&start, &after, true, &format!("{here:?} {said:?}"));
            let top = after.get(&layout::top_path(&zdata())).cloned();
            let current = current(&said).map(|number| bytes(number).to_vec());
            assert_eq!(top, current, "{here:?} {said:?}");
            merged += 1;
        }
    }
    println!("{merged} merges");
    assert!(merged > 300);
}

fn refusal(files: &Files, what: &Work) -> String {
    let (medium, done) = perform(what, files, false, None, 1);
    assert_eq!((medium.steps, medium.files()), (0, files.clone()));
    done.unwrap_err().to_string()
}

#[test]
fn a_store_that_cannot_take_it_is_not_touched() {
    let good = || store(&[(1, Current)]);
    let changed = |change: &dyn Fn(&mut Files)| {
        let mut files = good();
        change(&mut files);
        files
    };
    let top = layout::top_path(&zdata());
    let own = layout::generation_path(&zdata(), 1, print(1));
    let plain = Files::from([(top.clone(), bytes(1).to_vec())]);
    let no_state = changed(&|files| drop(files.remove(layout::STATE)));
    let torn = changed(&|files| files.get_mut(layout::STATE).unwrap().truncate(99));
    let unvouched = {
        let mut files = store(&[]);
        files.insert(top.clone(), bytes(7).to_vec());
        files
    };
    let stage = Work::Stage(zdata());
    let two = put(&[(1, Current), (2, Staged)], &[2]);
    for (files, words) in [
        (&plain, "plain store; `f3skeys adopt`"),
        (
            &no_state,
            "state file is damaged; `f3skeys verify --repair`",
        ),
        (&torn, "state file is damaged; `f3skeys verify --repair`"),
        (&unvouched, "nothing vouches for"),
    ] {
        for what in [&stage, &two] {
            let why = refusal(files, what);
            assert!(why.contains(words), "{why}\nnot {words}");
        }
    }
    for (change, words) in [(own.clone(), own.as_str()), (top.clone(), top.as_str())] {
        let gone = changed(&|files| drop(files.remove(&change)));
        let flipped = changed(&|files| files.get_mut(&change).unwrap()[3] ^= 1);
        for files in [gone, flipped] {
            let why = refusal(&files, &stage);
            assert!(
                why.contains(words) && why.contains("verify --repair"),
                "{why}"
            );
        }
    }
    let staged = store(&[(1, Current), (2, Staged)]);
    let why = refusal(&staged, &stage);
    assert!(
        why.contains("generation 2 of f0:zdata is staged already"),
        "{why}"
    );
    let most = u32::try_from(MOST_GENERATIONS).unwrap();
    let many = (1..=most).map(|n| (n, if n == most { Current } else { Retired }));
    let why = refusal(&store(&many.collect::<Vec<_>>()), &stage);
    assert!(why.contains("the most there may be"), "{why}");
}

/// A store with only a state, of this many keys of each owner, each with this many generations.
fn crowded(owners: &[&str], keys: usize, generations: u32) -> Files {
    let list: Vec<_> = (1..=generations)
        .map(|n| (n, Retired))
        .map(generation)
        .collect();
    let names = owners.iter().flat_map(|owner| {
        let name = move |number| format!("{owner}:k{number}").parse().unwrap();
        (0..keys).map(name)
    });
    let state = State {
        format: FORMAT,
        store: "ab".repeat(16),
        keys: names.map(|name: KeyName| (name, list.clone())).collect(),
    };
    Files::from([(layout::STATE.to_owned(), state.to_bytes())])
}

#[test]
fn one_owner_does_not_take_the_room_of_all() {
    let one = put(&[(1, Current)], &[1]);
    let why = refusal(&crowded(&["f0"], MOST_OF_ONE_OWNER, 1), &one);
    assert!(why.contains("32 keys of f0"), "{why}");
    assert!(work(&one, &crowded(&["f1"], MOST_OF_ONE_OWNER, 1), 1).is_ok());
    let owners = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let full = crowded(&owners, MOST_OF_ONE_OWNER, 1);
    for what in [&one, &Work::Stage(zdata())] {
        let why = refusal(&full, what);
        assert!(why.contains("has 256 keys"), "{why}");
    }
    // As large as it may be and be read: one key more with as many generations is too much.
    let owners: Vec<String> = (0..256).map(|n| format!("o{n}")).collect();
    let owners: Vec<&str> = owners.iter().map(String::as_str).collect();
    let crowds = (1..256).map(|n| crowded(&owners[..n], 1, 64));
    let large = crowds.take_while(|files| files[layout::STATE].len() < LARGEST_WRITTEN);
    let large = large.last().unwrap();
    let many: Vec<_> = (1..=64).map(|n| (n, Retired)).collect();
    let all: Vec<u32> = (1..=64).collect();
    let (after, _) = work(&put(&many[..1], &all[..1]), &large, 1).unwrap();
    assert!(after[layout::STATE].len() < LARGEST_WRITTEN);
    let why = refusal(&large, &put(&many, &all));
    assert!(why.contains("would be too large"), "{why}");
}

#[test]
fn lists_that_do_not_hold_together_are_refused() {
    let two = || list(&[(1, Current), (2, Staged)]);
    let changed = |change: &dyn Fn(&mut Vec<Generation>)| {
        let mut list = two();
        change(&mut list);
        list
    };
    let most = u32::try_from(MOST_GENERATIONS).unwrap();
    let many: Vec<_> = (1..=most + 1).map(|n| (n, Retired)).collect();
    for (list, bring, words) in [
        (Vec::new(), vec![], "has 0 generations"),
        (list(&many), vec![], "has 65 generations"),
        (
            changed(&|l| l[1].generation = 1),
            vec![],
            "a generation twice",
        ),
        (
            changed(&|l| l[1].fingerprint = print(1)),
            vec![],
            "a generation twice",
        ),
        (changed(&|l| l[1].generation = 0), vec![], "generation 0"),
        (changed(&|l| l[1].state = Current), vec![], "two current"),
        (changed(&|l| l[0].state = Staged), vec![], "two staged"),
        (two(), vec![print(2), print(2)], "brought twice"),
        (two(), vec![print(3)], "brought and not listed"),
    ] {
        let why = merge::shape(&list, &bring).unwrap_err();
        assert!(why.contains(words), "{why}\nnot {words}");
    }
    let most: Vec<_> = (1..=most).map(|n| (n, Retired)).collect();
    assert_eq!(merge::shape(&list(&most), &[]), Ok(()));
    // Numbers are the store's own.
    let files = store(&[(1, Current)]);
    let survey = surveyed(&files);
    let renumbered = changed(&|l| {
        l[0].generation = 3;
    });
    let why = merge::may(&zdata(), &survey.keys[&zdata()], &renumbered, &[print(2)]);
    assert!(why.unwrap_err().contains("on this store it is 1"));
}

#[test]
fn keys_that_are_not_those_that_were_named_are_refused() {
    let Work::Merge(merge) = put(&[(1, Current), (2, Staged)], &[1, 2]) else {
        unreachable!()
    };
    let good = [bytes(1), bytes(2)].concat();
    assert_eq!(incoming(&merge, &good).unwrap().len(), 2);
    for length in 0..good.len() {
        assert!(incoming(&merge, &good[..length]).is_err(), "{length}");
    }
    let long = [&good[..], b"\n"].concat();
    let why = incoming(&merge, &long).unwrap_err().to_string();
    assert!(why.contains("more came than was named"), "{why}");
    for bit in 0..good.len() * 8 {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(incoming(&merge, &flipped).is_err(), "{bit}");
    }
    let swapped = [bytes(2), bytes(1)].concat();
    assert!(incoming(&merge, &swapped).is_err());
    assert_eq!(keys_alive(), 0);
    // Nor are they when the worker itself has lost some.
    let files = store(&[]);
    let mut medium = SimMedium::new(&files, None);
    let work = Work::Merge(merge);
    let keys: Vec<Key> = Vec::new();
    let done = writer::work(
        &work,
        keys,
        everything(&files, true),
        &mut medium,
        &mut random(1),
    );
    assert!(
        done.unwrap_err()
            .to_string()
            .contains("not those that were named")
    );
    assert_eq!(medium.steps, 0);
}

#[test]
fn law_2_random_bytes_that_are_a_key_of_the_store_already_make_no_key() {
    let files = store(&[(1, Retained), (2, Current)]);
    let other: KeyName = "f0:other".parse().unwrap();
    // Making a store's identity asks for random bytes as well, and asks first.
    for (what, known) in [(1, true), (2, true), (3, false)] {
        for work in [
            Work::NewKey(other.clone()),
            Work::Stage(other.clone()),
            Work::Stage(zdata()),
        ] {
            let mut medium = SimMedium::new(&files, None);
            let mut stuck = |into: &mut [u8]| {
                into.copy_from_slice(&bytes(what)[..into.len()]);
                Ok(())
            };
            let reading = everything(&files, true);
            let done = writer::work(&work, Vec::new(), reading, &mut medium, &mut stuck);
            assert_eq!(done.is_err(), known, "{what} {work:?}");
            assert_eq!(medium.steps == 0, known, "{what} {work:?}");
            assert_eq!(keys_alive(), 0);
        }
    }
}

#[test]
fn law_7_a_stranger_at_the_top_is_left_to_repair_which_asks_zfs() {
    let mut files = store(&[(1, Current), (2, Staged)]);
    let top = layout::top_path(&zdata());
    files.insert(top.clone(), vec![0x5a; 32]);
    let (after, worked) = work(&put(&[(1, Retained), (2, Current)], &[]), &files, 1).unwrap();
    assert_eq!(after[&top], [0x5a; 32]);
    assert_eq!(standings(&after), [(1, Retained), (2, Current)]);
    let left: Vec<&str> = worked.left.iter().map(|d| d.path.as_str()).collect();
    assert_eq!((left, worked.sound), (vec![top.as_str()], false));
    // One that the list has after all is no stranger.
    files.insert(top.clone(), bytes(3).to_vec());
    let said = [(1, Retained), (2, Retained), (3, Current)];
    let (after, worked) = work(&put(&said, &[]), &files, 1).unwrap();
    assert_eq!((standings(&after), worked.left), (said.to_vec(), vec![]));
}

#[test]
fn a_key_that_is_taken_over_is_whole_without_a_copy_at_the_top() {
    let (files, worked) = work(&Work::Stage(zdata()), &store(&[]), 1).unwrap();
    assert_eq!(worked.left, []);
    assert_eq!(worked.keys[&zdata()], None);
    let (again, worked) = work(&repair(), &files, 2).unwrap();
    assert_eq!((worked.did, worked.left), (vec![], vec![]));
    assert_eq!(again, files);
    assert_eq!(standings(&files), [(1, Staged)]);
    assert_eq!(tried(&files, true).len(), 2, "a boot tries it");
}

/// The first generation is off the store, and nothing misses it or brings it back.
fn assert_pruned(files: &Files, case: &str) {
    let (mended, worked) = work(&repair(), files, 3).unwrap();
    assert_eq!(worked.left, [], "{case}");
    for files in [files, &mended] {
        let path = layout::generation_path(&zdata(), 1, print(1));
        assert!(!files.contains_key(&path), "{case}");
        assert_eq!(standings(files), [(1, Pruned), (2, Current)], "{case}");
        assert_eq!(surveyed(files).keys[&zdata()].damage, [], "{case}");
    }
}

#[test]
fn what_is_pruned_is_gone_and_nothing_else_is_wherever_it_is_cut() {
    let before = store(&[(1, Retired), (2, Current)]);
    let others = |files: &Files| {
        let mut whole = whole(files);
        whole.remove(&(zdata(), print(1)));
        whole
    };
    let (medium, done) = perform(&prune(1, true), &before, true, None, 1);
    done.unwrap();
    let steps = medium.steps;
    assert_pruned(&medium.files(), "whole");
    let mut cases = 0;
    for step in 0..steps {
        let mut faults: Vec<Fault> = [0, 31, usize::MAX]
            .map(|torn| Fault::CutAt(step, torn))
            .into();
        faults.extend([Fault::GoneFrom(step), Fault::FullAt(step)]);
        for fault in faults {
            let (medium, done) = perform(&prune(1, true), &before, true, Some(fault), 1);
            assert!(done.is_err(), "{fault:?}");
            for (files, formatted) in medium.after_cut() {
                let case = format!("{fault:?}");
                assert_eq!(others(&files), others(&before), "{case}");
                // A boot tries what is retired last, as long as it is there.
                let mut tries = tried(&files, formatted);
                tries.insert((zdata(), print(1)));
                assert_eq!(tries, tried(&before, true), "{case}");
                let copies = &surveyed(&files).keys[&zdata()];
                assert_eq!(copies.damage, [], "{case}");
                let (files, _) = work(&prune(1, true), &files, 2).unwrap();
                assert_pruned(&files, &case);
                cases += 1;
            }
        }
    }
    println!("{cases} states of the medium after a cut");
    assert!(cases > 20);
}

#[test]
fn law_7_only_what_is_retired_is_pruned_and_elsewhere_only_what_its_owner_has_pruned() {
    for state in [Current, Staged, Retained, Retired, Pruned] {
        for by_owner in [true, false] {
            let other = if state == Current { Retained } else { Current };
            let before = store(&[(1, state), (2, other)]);
            let (medium, done) = perform(&prune(1, by_owner), &before, true, None, 1);
            let may = state == Pruned || (state == Retired && by_owner);
            assert_eq!(done.is_ok(), may, "{state} {by_owner}: {done:?}");
            match may {
                true => assert_pruned(&medium.files(), &state.to_string()),
                false => assert_eq!((medium.steps, medium.files()), (0, before)),
            }
        }
    }
    let why = refusal(&store(&[(2, Current)]), &prune(1, true));
    assert!(why.contains("has no generation"), "{why}");
}

#[test]
fn an_owner_that_has_forgotten_what_was_pruned_is_still_listened_to() {
    let pruned = [(1, Pruned), (2, Current)];
    let (here, _) = work(&prune(1, false), &store(&pruned), 1).unwrap();
    let (after, _) = work(&put(&[(2, Current)], &[]), &here, 1).unwrap();
    assert_eq!(standings(&after), [(2, Current)]);
    // As long as the bytes are here, they are not forgotten.
    let why = refusal(&store(&pruned), &put(&[(2, Current)], &[]));
    assert!(why.contains("lacks generation 1"), "{why}");
}

/// The numbers around the greatest, and an ordinary one.
const NUMBERS: [u32; 4] = [1, u32::MAX - 2, u32::MAX - 1, u32::MAX];

#[test]
fn law_7_the_greatest_number_of_a_generation_is_an_error_that_loses_nothing() {
    for number in NUMBERS {
        let files = store(&[(number, Current)]);
        let next = number.checked_add(1);
        match (work(&Work::Stage(zdata()), &files, 1), next) {
            (Ok((staged, _)), Some(next)) => {
                assert_eq!(standings(&staged), [(number, Current), (next, Staged)]);
            }
            (Err(why), None) => {
                assert!(
                    why.contains(&u32::MAX.to_string()) && why.contains("new-key"),
                    "{why}"
                );
                let (medium, _) = perform(&Work::Stage(zdata()), &files, true, None, 1);
                assert_eq!(medium.files(), files);
            }
            (staged, _) => panic!("{number}: {:?}", staged.map(|(_, worked)| worked)),
        }
        assert_eq!(keys_alive(), 0);
    }
}

/// A whole key at the top that opens a root becomes the newest generation; where no number is left for
/// it, it stays where it is and is named.
#[test]
fn law_7_a_key_for_which_no_number_is_left_stays_where_it_is() {
    for number in NUMBERS {
        for is_lost in [false, true] {
            let mut files = store(&[(number, Current)]);
            files.insert(layout::top_path(&zdata()), bytes(7).to_vec());
            if is_lost {
                files.remove(layout::STATE);
            }
            let opens = Opens::from([(zdata(), [print(7)].into_iter().collect())]);
            let (mended, worked) = work(&Work::Repair { opens }, &files, 1).unwrap();
            assert_eq!(mended[&layout::top_path(&zdata())], bytes(7), "{number}");
            let generation = layout::generation_path(&zdata(), number, print(number));
            assert_eq!(mended[&generation], bytes(number), "{number}");
            match number.checked_add(1) {
                Some(next) => {
                    assert_eq!(standings(&mended), [(number, Retained), (next, Current)]);
                    assert_eq!(worked.left, []);
                }
                None => {
                    assert_eq!(standings(&mended).len(), 1);
                    let [left] = &worked.left[..] else {
                        panic!("{:?}", worked.left);
                    };
                    assert_eq!(left.path, layout::top_path(&zdata()));
                    assert!(left.what.contains("no higher number"), "{left}");
                }
            }
        }
    }
}

#[test]
fn a_list_with_the_greatest_numbers_is_taken_in_and_no_larger_number_is_read() {
    let numbers: Vec<(u32, Standing)> = vec![(u32::MAX - 1, Current), (u32::MAX, Staged)];
    let files = store(&numbers);
    let (merged, _) = work(&put(&numbers, &[]), &files, 1).unwrap();
    assert_eq!(standings(&merged), numbers);
    let path = layout::generation_path(&zdata(), u32::MAX, print(u32::MAX));
    let mut beyond = files.clone();
    let content = beyond.remove(&path).unwrap();
    let greater = (u64::from(u32::MAX) + 1).to_string();
    beyond.insert(path.replace(&u32::MAX.to_string(), &greater), content);
    let survey = surveyed(&beyond);
    assert!(!survey.keys[&zdata()].good.contains_key(&print(u32::MAX)));
    assert_eq!(standings(&beyond), numbers);
}
