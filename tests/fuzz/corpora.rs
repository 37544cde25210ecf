//! The targets of `fuzz/`: their corpora, and what mutation makes of these.

use super::memory::memory_of;
use super::mutate::{Random, mutated};
use super::targets::seeds::{Seed, seeds};
use super::targets::{TARGETS, Target};
use super::{MOST_MEMORY, seed};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn corpus_of(target: &str) -> PathBuf {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    top.join("fuzz/corpus").join(target)
}

/// A target's corpus, in the order of its files' names.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let files = fs::read_dir(corpus_of(target)).unwrap();
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// Has a target read bytes, with little memory; tells whether it understood them.
fn read(target: &Target, case: &str, bytes: &[u8]) -> bool {
    let ran = std::panic::catch_unwind(|| memory_of(|| (target.run)(bytes)));
    let name = target.name;
    match ran {
        Ok((understood, memory)) => {
            assert!(memory <= MOST_MEMORY, "{name}, {case}: {memory} bytes");
            understood
        }
        Err(_) => panic!("{name}, {case}: {:?}", text(bytes)),
    }
}

/// The corpora hold what is to be understood and what is not, or they have become stale.
#[test]
fn every_corpus_is_read_and_refused_in_parts() {
    for target in TARGETS {
        let corpus = corpus(target.name);
        let cases = corpus.iter().enumerate();
        let understood = cases.filter(|(case, bytes)| read(target, &case.to_string(), bytes));
        let (all, understood) = (corpus.len(), understood.count());
        println!("{}: {all} read, {understood} understood", target.name);
        assert!(0 < understood && understood < all, "{}", target.name);
    }
}

#[test]
fn whatever_others_wrote_is_read_or_refused_with_little_memory() {
    for target in TARGETS {
        let corpus = corpus(target.name);
        let mut understood = 0;
        for case in 0..1000 {
            let mut random = Random(
                seed()
                    .wrapping_add(case)
                    .wrapping_mul(0x5851_f42d_4c95_7f2d),
            );
            let bytes = mutated(&corpus, &mut random);
            understood += usize::from(read(target, &format!("case {case}"), &bytes));
        }
        println!("{}: 1000 cases, {understood} understood", target.name);
        assert!(understood >= 10, "{}: {understood}", target.name);
    }
}

/// With `F3SKEYS_FUZZ_SEEDS=write` they are written anew.
#[test]
fn the_corpora_begin_with_the_seeds_that_are_made() {
    for Seed {
        target,
        name,
        bytes,
    } in seeds()
    {
        let path = corpus_of(target).join(name);
        if std::env::var("F3SKEYS_FUZZ_SEEDS").is_ok_and(|word| word == "write") {
            fs::create_dir_all(corpus_of(target)).unwrap();
            fs::write(&path, &bytes).unwrap();
        }
        let there = fs::read(&path);
        assert!(
            there.is_ok_and(|there| there == bytes),
            "{} is not what is made; see CONTRIBUTING.md",
            path.display()
        );
    }
}

/// The names in a directory, without what follows their dot.
fn names_in(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).unwrap();
    let name = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    entries.map(|entry| name(entry.unwrap().path())).collect()
}

#[test]
fn each_target_has_its_program_and_its_corpus_and_there_are_no_others() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let targets: BTreeSet<String> = TARGETS.iter().map(|t| t.name.to_owned()).collect();
    assert_eq!(targets.len(), TARGETS.len());
    assert_eq!(names_in(&top.join("fuzz_targets")), targets);
    assert_eq!(names_in(&top.join("corpus")), targets);
    let manifest = fs::read_to_string(top.join("Cargo.toml")).unwrap();
    let mut programs = BTreeSet::new();
    for program in manifest.split("[[bin]]").skip(1) {
        let name = program.split('"').nth(1).unwrap().to_owned();
        assert!(program.contains(&format!("path = \"fuzz_targets/{name}.rs\"")));
        let source = fs::read_to_string(top.join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(source.contains(&format!("f3skeys_fuzz::{name}(bytes)")));
        programs.insert(name);
    }
    assert_eq!(programs, targets);
}
