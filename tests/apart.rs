//! Primaries and replicas in one pool: whatever a stranger puts below a sink, the primaries open, and so do
//! the other replicas; and no replica can be written before its key is loaded.

mod sim;

use f3skeys::boot::boot;
use f3skeys::config::{Config, Role};
use f3skeys::lock::lock;
use f3skeys::plan;
use f3skeys::ready::ready;
use f3skeys::rehearse::rehearse;
use f3skeys::report::{Report, Severity};
use f3skeys::status::status;
use f3skeys::zfs::{Damaged, Dataset, KeyStatus, OpenedBy, Source};
use sim::{BHYVE, Event, PEER, Sim, Stick, ZDATA, at, dataset, encrypted};
use std::time::Duration;

const CONFIG: &str = r#"(
    node: "f0",
    store: (label: "F3S_KEYS", serial: "4C530001", wait_seconds: 5),
    roots: [
        (dataset: "z/sink/f1", key: "f1:z", role: replica, required: true, mountpoint: "/f1"),
        (dataset: "z/enc", key: "f0:z", role: primary, required: true),
        (dataset: "z/sink/f2", key: "f2:z", role: replica, required: true, mountpoint: "/f2"),
        (dataset: "z/vm", key: "f0:vm", role: primary, required: true),
    ],
    gates: [(name: "nfs", needs: [mounted(path: "/enc", dataset: "z/enc")])],
)"#;
const PRIMARIES: [&str; 2] = ["z/enc", "z/vm"];
const STRANGE: &str = "z/sink/f1";
const OTHER: &str = "z/sink/f2";
const KEYS: [(&str, [u8; 32]); 4] = [
    ("f0:z", ZDATA),
    ("f0:vm", BHYVE),
    ("f1:z", PEER),
    ("f2:z", PEER),
];

fn config() -> Config {
    Config::parse(CONFIG).unwrap()
}

fn received(name: &str, root: &str) -> Dataset {
    Dataset {
        readonly_source: Source::Received,
        ..encrypted(name, root)
    }
}

/// A pool with two primaries and two replicas, locked.
fn world(name: &str) -> Sim {
    let sim = Sim::new(name)
        .with(vec![
            dataset("z"),
            at("/enc", encrypted("z/enc", "z/enc")),
            at("/enc/a", encrypted("z/enc/a", "z/enc")),
            at("/vm", encrypted("z/vm", "z/vm")),
            dataset("z/sink"),
            at("/f1", received(STRANGE, STRANGE)),
            received("z/sink/f1/a", STRANGE),
            at("/f2", received(OTHER, OTHER)),
            received("z/sink/f2/a", OTHER),
        ])
        .stick(Stick::new("/dev/da0", "F3S_KEYS", "4C530001").with_store(&KEYS));
    for (root, key) in [
        ("z/enc", ZDATA),
        ("z/vm", BHYVE),
        (STRANGE, PEER),
        (OTHER, PEER),
    ] {
        sim.wrapped.borrow_mut().insert(root.to_owned(), key);
    }
    sim
}

/// A change of the simulated node, and what it is called.
type Change = (&'static str, fn(&Sim));

/// What a stranger can do to a tree below the sink.
fn strangers() -> Vec<Change> {
    vec![
        ("30,000 datasets, looked at without an end", |sim| {
            let many = (0..30_000).map(|n| received(&format!("{STRANGE}/a/{n}"), STRANGE));
            sim.datasets.borrow_mut().extend(many);
            sim.endless_trees.borrow_mut().push(STRANGE.to_owned());
        }),
        ("an answer that is too large", |sim| {
            sim.immense_trees.borrow_mut().push(STRANGE.to_owned());
        }),
        ("a dataset that is not understood", |sim| {
            sim.damaged.borrow_mut().push(Damaged {
                name: "z/sink/f1/a".parse().unwrap(),
                property: "encryptionroot",
                what: "a riddle".to_owned(),
                opened_by: OpenedBy::NotKnown,
            });
        }),
    ]
}

fn loaded(sim: &Sim) -> Vec<String> {
    let trace = sim.trace.borrow();
    let name = |event: &Event| match event {
        Event::Loaded(name) => Some(name.clone()),
        _ => None,
    };
    trace.iter().filter_map(name).collect()
}

/// How many events had happened when a replica's tree was first looked at.
fn first_look_at_a_tree(sim: &Sim) -> usize {
    let looks = sim.looked_at.borrow();
    let of_sink = |trees: &Vec<String>| trees.iter().any(|tree| tree.starts_with("z/sink"));
    let first = looks.iter().find(|(trees, _)| of_sink(trees));
    first.unwrap().1
}

/// Of each dataset at or below the sink: read-only before any key of its own was loaded.
fn law_3(sim: &Sim, context: &str) {
    for dataset in sim.datasets.borrow().iter() {
        let opened = dataset.key_status == KeyStatus::Available;
        if dataset.name.as_str().starts_with("z/sink/") && opened {
            assert!(
                dataset.readonly,
                "{context}: {} is open and writable",
                dataset.name
            );
        }
    }
    let trace = sim.trace.borrow();
    let place = |wanted: &Event| trace.iter().position(|event| event == wanted);
    for root in [STRANGE, OTHER] {
        if let Some(loaded) = place(&Event::Loaded(root.to_owned())) {
            let sealed = place(&Event::Sealed(format!("{root}/a"))).unwrap();
            assert!(sealed < loaded, "{context}: {root}");
        }
    }
}

#[test]
fn law_5_every_primary_opens_before_anybody_looks_at_a_replicas_tree() {
    for (context, stranger) in strangers() {
        for kernel_says in [true, false] {
            let sim = world("primaries");
            sim.kernel_says.set(kernel_says);
            stranger(&sim);
            let report = sim.verb(|node| boot(node, &config()));
            let opened = loaded(&sim);
            assert_eq!(opened[..2], PRIMARIES, "{context}");
            let before = first_look_at_a_tree(&sim);
            let loads = sim.trace.borrow()[..before].to_vec();
            for root in PRIMARIES {
                assert!(
                    loads.contains(&Event::Loaded(root.to_owned())),
                    "{context}: {root}"
                );
            }
            // The other replica opens as well, and the strange one stays locked, with the reason.
            assert_eq!(opened[2..], [OTHER], "{context}: {}", report.complaints());
            law_3(&sim, context);
            let of_root = report.roots.iter().find(|r| r.dataset == STRANGE).unwrap();
            assert!(!of_root.open, "{context}");
            let mut worst = report.findings.iter().filter(|f| f.subject == STRANGE);
            assert!(worst.any(|f| f.severity >= Severity::Failure), "{context}");
            assert_eq!(report.status, 69, "{context}");
            // All in the one budget.
            assert!(
                f3skeys::time::Clock::now(&sim) <= Duration::from_secs(60),
                "{context}"
            );
        }
    }
}

#[test]
fn law_5_a_stick_that_comes_late_opens_every_primary_all_the_same() {
    for (context, stranger) in strangers() {
        let sim = world("late-stick");
        stranger(&sim);
        sim.sticks.borrow_mut()[0].plugged_in_at = Duration::from_secs(16);
        let mut config = config();
        config.store.wait = Duration::from_secs(30);
        let report = sim.verb(|node| boot(node, &config));
        let opened = loaded(&sim);
        for root in PRIMARIES.iter().chain(&[OTHER]) {
            assert!(
                opened.contains(&root.to_string()),
                "{context}: {}",
                report.complaints()
            );
        }
        assert!(!opened.contains(&STRANGE.to_owned()), "{context}");
        // Without a stick the replicas that can be seen are sealed before the wait.
        let trace = sim.trace.borrow();
        let first_load = trace
            .iter()
            .position(|e| matches!(e, Event::Loaded(_)))
            .unwrap();
        let sealed = Event::Sealed(format!("{OTHER}/a"));
        assert!(trace[..first_load].contains(&sealed), "{context}");
        drop(trace);
        law_3(&sim, context);
    }
}

#[test]
fn law_5_ready_status_and_lock_know_the_primaries_beside_a_tree_that_nobody_can_look_at() {
    for (context, stranger) in strangers() {
        let sim = world("verbs");
        stranger(&sim);
        sim.verb(|node| boot(node, &config()));
        sim.zfs_mount_all();
        sim.unmount("z/enc/a");
        let report = sim.verb(|node| ready(node, &config()));
        assert!(
            sim.find("z/enc/a").mounted,
            "{context}: {}",
            report.complaints()
        );
        assert!(report.gates.iter().all(|gate| gate.open), "{context}");
        let now = sim.verb(|node| status(node, &config()));
        for root in &now.roots {
            let known = root.dataset.as_str() != STRANGE || !sim.damaged.borrow().is_empty();
            assert_eq!(
                root.key_loaded.is_some(),
                known,
                "{context}: {}",
                root.dataset
            );
        }
        let report = sim.verb(|node| lock(node, &config()));
        for root in PRIMARIES.iter().chain(&[OTHER]) {
            let status = sim.find(root).key_status;
            assert_eq!(
                status,
                KeyStatus::Unavailable,
                "{context}: {}",
                report.complaints()
            );
        }
        assert_ne!(report.status, 0, "{context}: what is unknown is not locked");
    }
}

#[test]
fn law_10_a_rehearsal_says_no_to_a_tree_that_nobody_can_look_at_and_yes_to_the_primaries() {
    for (context, stranger) in strangers() {
        let sim = world("rehearsed");
        stranger(&sim);
        let played = sim.verb(|node| rehearse(node, &config(), &[]));
        assert!(!played.comes_back, "{context}");
        for line in &played.roots {
            let opens = line.dataset != STRANGE;
            assert_eq!(
                line.open,
                opens,
                "{context}: {} {}",
                line.dataset,
                played.text()
            );
        }
        let real = sim.verb(|node| boot(node, &config()));
        let open = |roots: &[f3skeys::report::RootLine]| -> Vec<bool> {
            roots.iter().map(|line| line.open).collect()
        };
        assert_eq!(open(&played.roots), open(&real.roots), "{context}");
        // What is not understood of one dataset is that dataset's fault, and no mount that nobody knows.
        if !sim.damaged.borrow().is_empty() {
            continue;
        }
        // Though nothing of it is required: what the system would mount of it is not known.
        let mut lax = config();
        for root in &mut lax.roots {
            root.required = root.role == Role::Primary;
        }
        let sim = world("rehearsed-lax");
        stranger(&sim);
        let played = sim.verb(|node| rehearse(node, &lax, &[]));
        assert!(
            !played.comes_back,
            "{context}: what the boot would mount is not known"
        );
    }
}

/// Every order of the roots in the configuration.
#[test]
fn law_5_no_order_of_the_roots_lets_a_replica_be_looked_at_first() {
    let config = config();
    let mut orders = vec![vec![]];
    for _ in 0..config.roots.len() {
        orders = orders
            .into_iter()
            .flat_map(|order: Vec<usize>| {
                let left = (0..4).filter(|n| !order.contains(n)).collect::<Vec<_>>();
                left.into_iter()
                    .map(move |n| [order.clone(), vec![n]].concat())
            })
            .collect();
    }
    assert_eq!(orders.len(), 24);
    for order in orders {
        let mut config = config.clone();
        config.roots = order.iter().map(|n| config.roots[*n].clone()).collect();
        let sim = world("orders");
        sim.endless_trees.borrow_mut().push(STRANGE.to_owned());
        sim.verb(|node| boot(node, &config));
        let mut first = loaded(&sim)[..2].to_vec();
        first.sort();
        assert_eq!(first, PRIMARIES, "{order:?}");
        law_3(&sim, "in another order");
    }
}

/// Primaries that have to do with a replica are not apart: their keys wait until it is seen read-only.
fn nested(name: &str) -> (Config, Sim) {
    let config = Config::parse(
        r#"(node: "f0", store: (label: "F3S_KEYS", serial: "4C530001", wait_seconds: 0), roots: [
            (dataset: "z/p", key: "f0:z", role: primary, required: true),
            (dataset: "z/p/r", key: "f0:z", role: replica, required: false),
            (dataset: "z/q", key: "f0:vm", role: primary, required: true),
            (dataset: "z/clone", key: "f0:vm", role: replica, required: false),
            (dataset: "z/enc", key: "f0:z", role: primary, required: true),
        ])"#,
    );
    let sim = Sim::new(name)
        .with(vec![
            encrypted("z/p", "z/p"),
            received("z/p/r", "z/p"),
            received("z/p/r/a", "z/p"),
            encrypted("z/q", "z/q"),
            received("z/clone", "z/q"),
            received("z/clone/a", "z/clone"),
            encrypted("z/enc", "z/enc"),
        ])
        .stick(Stick::new("/dev/da0", "F3S_KEYS", "4C530001").with_store(&KEYS));
    for (root, key) in [("z/p", ZDATA), ("z/q", BHYVE), ("z/enc", ZDATA)] {
        sim.wrapped.borrow_mut().insert(root.to_owned(), key);
    }
    (config.unwrap(), sim)
}

#[test]
fn law_3_a_primary_whose_key_is_a_replicas_too_waits_for_it() {
    let (config, sim) = nested("nested");
    let apart: Vec<&str> = plan::apart(&config, "z")
        .map(|r| r.dataset.as_str())
        .collect();
    assert_eq!(apart, ["z/q", "z/enc"]);
    let report: Report = sim.verb(|node| boot(node, &config));
    let trace = sim.trace.borrow();
    let place = |wanted: Event| {
        let at = trace.iter().position(|event| *event == wanted);
        at.unwrap_or_else(|| panic!("no {wanted:?}: {}", report.complaints()))
    };
    let opened = |root: &str| place(Event::Loaded(root.to_owned()));
    let sealed = |name: &str| place(Event::Sealed(name.to_owned()));
    assert!(sealed("z/p/r") < opened("z/p") && sealed("z/p/r/a") < opened("z/p"));
    assert!(
        sealed("z/clone") < opened("z/q"),
        "a replica root that shares its key"
    );
    assert!(opened("z/enc") < opened("z/q") && opened("z/enc") < opened("z/p"));
}

/// What a stream brings below a primary that lies around its replica, and who is opened then: the
/// primary, the replica.
type Brought = (&'static str, fn(&Sim), bool, bool);
const BROUGHT: [Brought; 6] = [
    ("nothing odd", |_| {}, true, true),
    (
        "what is not understood, and is the replica's",
        |sim| sim.not_understood("z/p/r/a", "z/p/r"),
        true,
        false,
    ),
    (
        "what is not understood, and has no key",
        |sim| sim.not_understood("z/p/r/a", "-"),
        true,
        false,
    ),
    (
        "what is not understood, and is the primary's",
        |sim| sim.not_understood("z/p/r/a", "z/p"),
        false,
        false,
    ),
    (
        "what is not understood, nor what opens it",
        |sim| sim.not_understood("z/p/r/a", "?"),
        false,
        false,
    ),
    (
        "what cannot be made read-only",
        |sim| {
            sim.change("z/p/r/a", |d| d.readonly = false);
            sim.stubborn.borrow_mut().push("z/p/r/a".to_owned());
        },
        true,
        false,
    ),
];

#[test]
fn law_5_nothing_below_a_replica_keeps_a_primary_around_it_locked_but_what_the_primarys_key_opens()
{
    let root = |name: &str, role: &str| {
        format!(r#"(dataset: "{name}", key: "f0:z", role: {role}, required: false)"#)
    };
    let config = format!(
        r#"(node: "f0", store: (label: "F3S_KEYS", serial: "4C530001", wait_seconds: 0), roots: [{}, {}])"#,
        root("z/p", "primary"),
        root("z/p/r", "replica")
    );
    let config = Config::parse(&config).unwrap();
    for (what, brings, primary, replica) in BROUGHT {
        let sim = Sim::new("brought")
            .with(vec![
                encrypted("z/p", "z/p"),
                received("z/p/r", "z/p/r"),
                received("z/p/r/a", "z/p/r"),
            ])
            .opened_by("z/p", ZDATA)
            .opened_by("z/p/r", ZDATA)
            .stick(Stick::new("/dev/da0", "F3S_KEYS", "4C530001").with_store(&KEYS));
        brings(&sim);
        let report = sim.verb(|node| boot(node, &config));
        let opened = loaded(&sim);
        let is_open = |root: &str| opened.iter().any(|name| name == root);
        let found = (is_open("z/p"), is_open("z/p/r"));
        assert_eq!(found, (primary, replica), "{what}: {}", report.complaints());
    }
}

#[test]
fn law_3_a_primary_around_a_tree_that_nobody_can_look_at_stays_locked_and_no_other() {
    for immense in [true, false] {
        let (config, sim) = nested("around");
        let trees = if immense {
            &sim.immense_trees
        } else {
            &sim.endless_trees
        };
        trees.borrow_mut().push("z/p/r".to_owned());
        let report = sim.verb(|node| boot(node, &config));
        assert!(
            !loaded(&sim).contains(&"z/p".to_owned()),
            "{}",
            report.complaints()
        );
        assert!(
            loaded(&sim).contains(&"z/enc".to_owned()),
            "{}",
            report.complaints()
        );
    }
}
