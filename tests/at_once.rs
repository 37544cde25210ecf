//! Several roots and file systems at once: what comes of it is what comes of one after another, in every
//! case.

mod sim;

use f3skeys::boot::boot;
use f3skeys::config::Config;
use f3skeys::key::Fingerprint;
use f3skeys::names::KeyName;
use f3skeys::os::PoolState;
use f3skeys::plan::{self, Step};
use f3skeys::ready::ready;
use f3skeys::report::Report;
use f3skeys::sorted::Map;
use f3skeys::store::layout;
use f3skeys::store::state::{FORMAT, Generation, Standing, State};
use f3skeys::zfs::{Dataset, KeyStatus};
use sim::{Event, Sim, Stick};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

const ROOTS: [(&str, &str, &str); 3] = [
    ("zdata/a", "/m/a", "f0:a"),
    ("zdata/b", "/m/b", "f0:b"),
    ("zdata/c", "/m/b/c", "f0:c"),
];

/// What opens a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Current,
    Older,
    Nothing,
}

fn each_of_three<T: Copy>(all: &[T]) -> Vec<[T; 3]> {
    let pairs = all.iter().flat_map(|a| all.iter().map(move |b| (*a, *b)));
    let triples = pairs.flat_map(|(a, b)| all.iter().map(move |c| [a, b, *c]));
    triples.collect()
}

fn config() -> Config {
    let root = |(dataset, _, key): (&str, &str, &str)| {
        format!(r#"(dataset: "{dataset}", key: "{key}", role: primary, required: true)"#)
    };
    let gate = |(dataset, path, _): (&str, &str, &str)| {
        let name = dataset.replace('/', "-");
        format!(r#"(name: "{name}", needs: [mounted(path: "{path}", dataset: "{dataset}")])"#)
    };
    let text = format!(
        r#"(node: "f0", store: (label: "K"), roots: [{}], gates: [{}])"#,
        ROOTS.map(root).join(", "),
        ROOTS.map(gate).join(", ")
    );
    Config::parse(&text).unwrap()
}

/// The bytes of a key's generation.
fn bytes(key: &str, generation: u32) -> [u8; 32] {
    *blake3::hash(format!("{key} {generation}").as_bytes()).as_bytes()
}

/// A stick on which each key has a current generation and an older one.
fn stick() -> Stick {
    let mut stick = Stick::new("/dev/da0", "K", "1");
    let mut keys = Map::new();
    for (_, _, key) in ROOTS {
        let name: KeyName = key.parse().unwrap();
        let generation = |number, state| Generation {
            generation: number,
            fingerprint: Fingerprint::of(&bytes(key, number)),
            state,
        };
        let both = [
            generation(1, Standing::Retained),
            generation(2, Standing::Current),
        ];
        for one in &both {
            let path = layout::generation_path(&name, one.generation, one.fingerprint);
            stick
                .files
                .insert(path, bytes(key, one.generation).to_vec());
        }
        stick
            .files
            .insert(layout::top_path(&name), bytes(key, 2).to_vec());
        keys.insert(name, both.to_vec());
    }
    let store = "ab".repeat(16);
    let state = State {
        format: FORMAT,
        store,
        keys,
    };
    stick
        .files
        .insert(layout::STATE.to_owned(), state.to_bytes());
    stick
}

fn node(test: &str, opened: [By; 3], at_once: usize, kernel_says: bool) -> Sim {
    let name = format!("at-once-{test}-{opened:?}-{at_once}-{kernel_says}")
        .replace(['[', ']', ' ', ','], "");
    let mut datasets = vec![sim::at("/m", sim::dataset("zdata"))];
    let roots = ROOTS.map(|(root, path, _)| sim::at(path, sim::encrypted(root, root)));
    datasets.extend(roots);
    let mut sim = Sim::new(&name).with(datasets).stick(stick());
    for ((root, _, key), by) in ROOTS.into_iter().zip(opened) {
        sim = sim.opened_by(
            root,
            match by {
                By::Current => bytes(key, 2),
                By::Older => bytes(key, 1),
                By::Nothing => bytes(key, 9),
            },
        );
    }
    sim.at_once.set(at_once);
    sim.kernel_says.set(kernel_says);
    sim
}

/// What a report says, but for its times and the order in which it came about.
fn told(report: &Report) -> BTreeSet<String> {
    let roots = report.roots.iter();
    let roots = roots.map(|r| format!("{} {} {}", r.dataset, r.open, r.state));
    let findings = report.findings.iter().map(|f| format!("{f:?}"));
    roots
        .chain(findings)
        .chain(report.changed.iter().map(ToString::to_string))
        .collect()
}

fn boot_now(sim: &Sim) -> Report {
    sim.verb(|node| boot(node, &config()))
}

#[test]
fn law_5_roots_opened_at_once_are_opened_as_one_after_another() {
    for opened in each_of_three(&[By::Current, By::Older, By::Nothing]) {
        let expected = told(&boot_now(&node("law-5", opened, 1, false)));
        for at_once in 1..=4 {
            for kernel_says in [false, true] {
                let sim = node("law-5", opened, at_once, kernel_says);
                assert_eq!(
                    told(&boot_now(&sim)),
                    expected,
                    "{opened:?} {at_once} {kernel_says}"
                );
                for ((root, _, _), by) in ROOTS.into_iter().zip(opened) {
                    let loaded = sim.find(root).key_status == KeyStatus::Available;
                    assert_eq!(loaded, by != By::Nothing);
                }
            }
        }
    }
}

#[test]
fn a_pool_that_is_slow_to_take_keys_gets_as_much_time_for_several_as_for_one() {
    for at_once in 1..=4 {
        let sim = node("slow", [By::Current; 3], at_once, true);
        sim.load_takes.set(Duration::from_secs(6));
        let report = boot_now(&sim);
        assert!(
            report.roots.iter().all(|root| root.open),
            "{at_once}: {report:?}"
        );
    }
}

#[test]
fn a_key_that_the_kernel_took_is_proven_and_the_word_of_a_program_is_not() {
    for opened in each_of_three(&[By::Current, By::Older, By::Nothing]) {
        let probes = |kernel_says| {
            let sim = node("proof", opened, 2, kernel_says);
            let first = boot_now(&sim);
            assert!(first.roots.iter().all(|r| !r.state.contains("not proven")));
            let probes = sim.probes.get();
            // Of a key that was loaded before, keystatus is no proof: all are asked about.
            boot_now(&sim);
            (probes, sim.probes.get() - probes)
        };
        let asked = opened.map(|by| match by {
            By::Current => 1,
            By::Older => 2,
            By::Nothing => 0,
        });
        let asked = asked.iter().sum();
        assert_eq!((probes(false), probes(true)), ((asked, asked), (0, asked)));
    }
}

#[test]
fn file_systems_mounted_at_once_are_mounted_as_one_after_another() {
    for hanging in [None, Some("zdata"), Some("zdata/a"), Some("zdata/b")] {
        let mounted = |at_once| {
            let sim = node("mount", [By::Current; 3], at_once, true);
            boot_now(&sim);
            sim.hanging_mounts
                .borrow_mut()
                .extend(hanging.map(str::to_owned));
            let report = sim.verb(|node| ready(node, &config()));
            let is = |name: &&str| sim.find(name).mounted;
            let names = ["zdata", "zdata/a", "zdata/b", "zdata/c"];
            (names.into_iter().filter(is).count(), report.fault)
        };
        let (all, status) = mounted(1);
        assert_eq!(all == 4, hanging.is_none());
        for at_once in 2..=4 {
            let (count, and_status) = mounted(at_once);
            // What is at work beside one that hangs is not lost.
            assert!(
                count >= all && and_status == status,
                "{hanging:?} {at_once} {count} {all} {and_status:?} {status:?}"
            );
        }
    }
}

#[test]
fn nothing_is_mounted_on_the_directory_beneath_what_could_not_be_mounted() {
    for refused in ["zdata", "zdata/a", "zdata/b"] {
        for at_once in 1..=4 {
            let sim = node(&refused.replace('/', "-"), [By::Current; 3], at_once, true);
            boot_now(&sim);
            sim.refused_mounts.borrow_mut().push(refused.to_owned());
            let report = sim.verb(|node| ready(node, &config()));
            for name in ["zdata", "zdata/a", "zdata/b", "zdata/c"] {
                let below = match name {
                    "zdata/c" => refused != "zdata/a",
                    _ => name == refused || refused == "zdata",
                };
                assert_eq!(sim.find(name).mounted, !below, "{refused} {at_once} {name}");
            }
            if refused == "zdata" {
                let why = report.findings.iter().find(|f| f.subject == "zdata/a");
                let what = &why.unwrap().what;
                assert!(
                    what.contains("zdata belongs on a directory above it"),
                    "{what}"
                );
            }
        }
    }
}

#[test]
fn nothing_is_mounted_on_the_directory_beneath_what_hangs_in_another_pool() {
    let text = r#"(node: "f0", store: (label: "K"), roots: [
        (dataset: "zdata/a", key: "f0:a", role: primary, required: true),
        (dataset: "zother/b", key: "f0:b", role: primary, required: true)])"#;
    let config = Config::parse(text).unwrap();
    for hangs in [false, true] {
        let top = sim::dataset;
        let sim = Sim::new(&format!("at-once-two-pools-{hangs}")).with(vec![
            top("zdata"),
            top("zother"),
            sim::at("/m/a", sim::encrypted("zdata/a", "zdata/a")),
            sim::at("/m/a/b", sim::encrypted("zother/b", "zother/b")),
        ]);
        let sim = sim.stick(stick());
        let sim = sim.opened_by("zdata/a", bytes("f0:a", 2));
        let sim = sim.opened_by("zother/b", bytes("f0:b", 2));
        sim.verb(|node| boot(node, &config));
        if hangs {
            sim.hanging_mounts.borrow_mut().push("zdata/a".to_owned());
        }
        sim.verb(|node| ready(node, &config));
        for name in ["zdata/a", "zother/b"] {
            assert_eq!(sim.find(name).mounted, !hangs, "{name}");
        }
    }
}

#[test]
fn what_lies_side_by_side_is_mounted_at_once_whatever_lies_between() {
    let step = |at: String| Step::Mount {
        dataset: format!("p{at}").parse().unwrap(),
        at: PathBuf::from(at),
    };
    for (roots, most) in [(1, 32), (16, 32), (16, 8), (100, 32)] {
        let tree = |root| {
            let below = (1..4).map(move |child| format!("/r{root}/c{child}"));
            std::iter::once(format!("/r{root}")).chain(below)
        };
        let steps: Vec<Step> = (0..roots).flat_map(tree).map(step).collect();
        let batches: Vec<usize> = plan::at_once(&steps, |_| most)
            .iter()
            .map(Vec::len)
            .collect();
        let least = (4_usize * roots).div_ceil(most).max(2);
        assert!(batches.len() <= least + 1, "{roots} {most} {batches:?}");
    }
}

#[test]
fn nothing_is_mounted_at_once_with_what_it_lies_on() {
    let paths = ["/a", "/a/b", "/a/b/c", "/ab", "/c"];
    for bits in 0_u32..32 {
        let steps = paths
            .iter()
            .enumerate()
            .filter(|(i, _)| bits & (1 << i) != 0);
        let steps: Vec<Step> = steps
            .map(|(i, path)| Step::Mount {
                dataset: format!("{}/d{i}", ["p", "q"][i % 2]).parse().unwrap(),
                at: PathBuf::from(path),
            })
            .collect();
        for most in 1..=4 {
            let groups = plan::at_once(&steps, |_| most);
            let mut flat: Vec<&Step> = groups.iter().flatten().copied().collect();
            let at = |flat: &[&Step], step: &Step| flat.iter().position(|other| *other == step);
            for (i, step) in steps.iter().enumerate() {
                let lies_on = |above: &&Step| match (step, above) {
                    (Step::Mount { at, .. }, Step::Mount { at: above, .. }) => {
                        at.starts_with(above)
                    }
                    _ => false,
                };
                for above in steps[..i].iter().filter(lies_on) {
                    assert!(at(&flat, above) < at(&flat, step), "{step} before {above}");
                }
            }
            if most == 1 {
                assert_eq!(flat, steps.iter().collect::<Vec<_>>());
            }
            let mut each_once: Vec<&Step> = steps.iter().collect();
            each_once.sort();
            flat.sort();
            assert_eq!(flat, each_once);
            for group in groups {
                assert!(group.len() <= most);
                let places: Vec<(&str, &Path)> = group
                    .iter()
                    .map(|step| match step {
                        Step::Mount { dataset, at } => (dataset.pool(), at.as_path()),
                        other => panic!("{other}"),
                    })
                    .collect();
                for (i, (pool, at)) in places.iter().enumerate() {
                    assert!(
                        places[..i]
                            .iter()
                            .all(|(of, above)| of == pool && !at.starts_with(above))
                    );
                }
            }
        }
    }
}

#[test]
fn law_3_a_pool_with_replicas_is_looked_at_before_its_keys_and_after_and_no_other_one_is() {
    let told_of = |kernel_says: bool| {
        let sim = sim::f3s("unseen").stick(sim::good_stick());
        sim.kernel_says.set(kernel_says);
        let report = sim.verb(|node| boot(node, &sim::config()));
        let looks = |pool: &str| sim.looked.borrow().iter().filter(|p| *p == pool).count();
        (told(&report), looks("zdata"), looks("zroot"), sim)
    };
    let (said, with_replicas, without, sim) = told_of(true);
    let (expected, ..) = told_of(false);
    assert_eq!(said, expected);
    // At its roots alone, for the primaries' keys; to seal, to load, and for the proof.
    assert_eq!((with_replicas, without), (4, 0));
    let trace = sim.trace.borrow();
    let place = |wanted: &Event| trace.iter().position(|event| event == wanted).unwrap();
    let loaded = place(&Event::Loaded("zdata/sink/f1".to_owned()));
    for name in ["zdata/sink/f1", "zdata/sink/f1/child"] {
        assert!(place(&Event::Sealed(name.to_owned())) < loaded);
    }
}

#[test]
fn what_the_kernel_does_not_take_is_looked_at_and_told_in_the_same_words() {
    type Fault = (&'static str, fn(&mut Dataset));
    let faults: [Fault; 4] = [
        ("loaded", |d| d.key_status = KeyStatus::Available),
        ("plain", |d| {
            (d.encryption_root, d.key_status) = (None, KeyStatus::None);
        }),
        ("no root", |d| d.encryption_root = "zdata".parse().ok()),
        ("gone", |d| d.name = "zdata/elsewhere".parse().unwrap()),
    ];
    for (name, fault) in faults {
        let said = |kernel_says| {
            let sim = node(
                &format!("fault-{}", name.replace(' ', "")),
                [By::Current; 3],
                2,
                kernel_says,
            );
            fault(&mut sim.datasets.borrow_mut()[2]);
            (told(&boot_now(&sim)), sim.looked.borrow().len())
        };
        let ((expected, _), (told, looks)) = (said(false), said(true));
        assert_eq!(told, expected, "{name}");
        assert!(looks > 0, "{name}");
    }
}

#[test]
fn law_6_a_sick_pool_is_not_asked_for_what_its_kernel_would_say() {
    for state in [PoolState::NotImported, PoolState::Suspended] {
        let sim = node("sick", [By::Current; 3], 1, true);
        sim.states.borrow_mut().insert("zdata".to_owned(), state);
        let report = boot_now(&sim);
        assert!(report.changed.is_empty() && sim.trace.borrow().is_empty());
        assert!(report.roots.iter().all(|root| !root.open));
    }
}

#[test]
fn law_6_a_pool_that_does_not_take_a_key_in_time_is_told_of_and_left_alone() {
    for at_once in 1..=4 {
        let said = |kernel_says| {
            let sim = node("hangs", [By::Current; 3], at_once, kernel_says);
            sim.load_takes.set(Duration::from_secs(100));
            boot_now(&sim)
        };
        let (expected, report) = (said(false), said(true));
        assert_eq!(told(&report), told(&expected), "{at_once}");
        assert!(report.complaints().contains("no answer in time"));
    }
}

#[test]
fn mounts_that_the_kernel_shows_are_not_looked_at_again() {
    let sim = node("shown", [By::Current; 3], 2, true);
    boot_now(&sim);
    let looks = || sim.looked.borrow().len();
    let before = looks();
    let report = sim.verb(|node| ready(node, &config()));
    assert_eq!((report.fault, looks() - before), (None, 1));
    // One that did not work is looked at.
    let sim = node("shown-not", [By::Current; 3], 2, true);
    boot_now(&sim);
    sim.hanging_mounts.borrow_mut().push("zdata/b".to_owned());
    let before = sim.looked.borrow().len();
    sim.verb(|node| ready(node, &config()));
    assert!(sim.looked.borrow().len() - before > 1);
}
