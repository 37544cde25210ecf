//! Laws 3, 5 and 9: where a replica is mounted is for the configuration to say, and never for what a
//! stream brings. Every canmount, mountpoint, source and position, promoted or not.

mod sim;

use f3skeys::boot::boot;
use f3skeys::config::Config;
use f3skeys::exit::Fault;
use f3skeys::places;
use f3skeys::plan::{self, KeyState, NotMounted, Observed, Pool, Refusal, Verdict};
use f3skeys::promote::promote;
use f3skeys::promotion::{Promoted, Promotion};
use f3skeys::ready::ready;
use f3skeys::reconcile::reconcile;
use f3skeys::rehearse::rehearse;
use f3skeys::report::{Report, Severity};
use f3skeys::sorted::Map;
use f3skeys::status::status;
use f3skeys::zfs::{CanMount, Dataset, KeyStatus, Kind, Mountpoint, Source};
use sim::{Event, Sim, Stick, at, dataset, encrypted, restricted};
use std::path::Path;

const ROOT: &str = "z/sink/f0";
/// The replica root, a child and a grandchild, and where the configuration puts them.
const TREE: [(&str, &str); 3] = [
    (ROOT, "/f0"),
    ("z/sink/f0/a", "/f0/a"),
    ("z/sink/f0/a/b", "/f0/a/b"),
];

/// A primary, the replica, and another replica that is always well.
fn configuration(root: &str, gates: &str) -> Config {
    let text = format!(
        r#"(node: "f1", store: (label: "F3S_KEYS", serial: "4C530001"), roots: [
            (dataset: "z/enc", key: "f1:z", role: primary, required: true),
            (dataset: "{ROOT}", key: "f0:z", role: replica, required: true{root}),
            (dataset: "z/sink/other", key: "f0:z", role: replica, required: true, mountpoint: "/other"),
        ], gates: [{gates}])"#
    );
    Config::parse(&text).unwrap()
}

/// The two ways in which a configuration says it, and that it says nothing.
fn configurations() -> [(bool, Config); 3] {
    let gate = format!(r#"(name: "copy", needs: [mounted(path: "/f0", dataset: "{ROOT}")])"#);
    [
        (true, configuration(r#", mountpoint: "/f0""#, "")),
        (true, configuration("", &gate)),
        (false, configuration("", "")),
    ]
}

/// Mountpoints and whether each is where a dataset with this place belongs.
fn mountpoints(place: &str) -> Vec<(String, bool)> {
    let doubled = place.replacen('/', "//", 1);
    let mut all = vec![
        (place.to_owned(), true),
        (format!("{place}/"), true),
        (doubled, true),
        (format!("/srv{place}"), false),
        (format!("{place}x"), false),
        (format!("{place}/x"), false),
        (format!("{place}/.."), false),
        (format!("{place}/../../etc"), false),
        (format!("/x/..{place}"), false),
        (format!("{place}\t"), false),
        (format!("{place}\n/etc"), false),
        (format!("{place} "), false),
    ];
    let hostile = [
        "/",
        "/etc",
        "/etc/systemd/system",
        "/usr/local/etc/rc.d",
        "/root/.ssh",
        "/boot",
        "/enc",
        "/other",
        "/f0/b",
        "/f0/a/c",
    ];
    all.extend(hostile.map(|path| (path.to_owned(), false)));
    all
}

/// Where a mountpoint can come from, and whether a stream has no part in it when it is below `/srv`.
fn sources() -> Vec<(Source, bool)> {
    let from = |name: &str| Source::Inherited(name.parse().unwrap());
    vec![
        (Source::Local, false),
        (Source::Received, false),
        (Source::Temporary, false),
        (Source::None, false),
        (from(ROOT), false),
        (from("z/sink/other"), false),
        (from("z/unseen"), false),
        (from("z/sink"), true),
    ]
}

/// The dataset that the replicas lie in: its mountpoint, and where that comes from.
fn sinks() -> [(Dataset, bool); 4] {
    let sink = |source| Dataset {
        mountpoint_source: source,
        ..at("/srv", dataset("z/sink"))
    };
    [
        (sink(Source::Local), true),
        (sink(Source::Received), false),
        (sink(Source::Inherited("z".parse().unwrap())), false),
        (dataset("z/sink"), false),
    ]
}

fn promotions() -> [Promoted; 2] {
    let promotion = Promotion {
        epoch: 1,
        since: 1_795_000_000,
        reason: "f0 is dead".to_owned(),
    };
    [Promoted::Never, Promoted::Now(promotion)]
}

/// All of the pool, sealed, with one dataset of the replica as given.
fn world(sink: &Dataset, changed: &Dataset, promoted: &Promoted) -> Observed {
    let sealed = |dataset: Dataset| Dataset {
        readonly: true,
        ..restricted(dataset)
    };
    let mut datasets = vec![
        dataset("z"),
        sink.clone(),
        at("/etc/enc", encrypted("z/enc", "z/enc")),
        sealed(at("/other", encrypted("z/sink/other", "z/sink/other"))),
    ];
    for (name, place) in TREE {
        let mut dataset = sealed(at(place, encrypted(name, ROOT)));
        if *changed.name.as_str() == *name {
            dataset = sealed(changed.clone());
        } else {
            dataset.mountpoint = Mountpoint::None;
        }
        if name == ROOT {
            dataset.promotion = promoted.clone();
        }
        datasets.push(dataset);
    }
    Observed {
        pools: Map::from([("z".to_owned(), Pool::Seen(datasets))]),
        ..Observed::default()
    }
}

fn loaded(mut observed: Observed) -> Observed {
    for pool in observed.pools.values_mut() {
        if let Pool::Seen(datasets) = pool {
            for dataset in datasets.iter_mut().filter(|d| d.encryption_root.is_some()) {
                dataset.key_status = KeyStatus::Available;
            }
        }
    }
    observed
}

fn keys() -> Map<f3skeys::names::KeyName, KeyState> {
    ["f0:z", "f1:z"]
        .map(|key| (key.parse().unwrap(), KeyState::Usable))
        .into()
}

/// What the plans make of one world: the replica's key, and its mount; and that nothing else is
/// touched by it.
fn check(config: &Config, observed: &Observed, changed: &Dataset, is_placed: bool) {
    let told = format!("{changed:?}");
    let by_zfs = changed.can_mount == CanMount::On;
    let named = config.gates.iter().flat_map(|gate| gate.datasets());
    let is_named = named.into_iter().any(|name| *name == changed.name);
    let by_ready = by_zfs || (changed.can_mount == CanMount::NoAuto && is_named);
    let plan = plan::keys(config, observed, &keys());
    let [enc, root, other] = [0, 1, 2].map(|number| &plan.roots[number].1);
    match (root, by_zfs && !is_placed) {
        (Verdict::Locked(Refusal::Elsewhere(found)), true) => {
            assert_eq!(found.len(), 1, "{told}");
            assert_eq!(found[0].dataset, changed.name, "{told}");
        }
        (Verdict::ToOpen, false) => {}
        (verdict, wrong) => panic!("{verdict:?} {wrong} {told}"),
    }
    assert_eq!((enc, other), (&Verdict::ToOpen, &Verdict::ToOpen), "{told}");
    let mounts = plan::mounts(config, &loaded(observed.clone()));
    let is_mounted = |name: &str| mounts.steps.iter().any(|s| s.dataset().as_str() == name);
    let mounted = is_mounted(changed.name.as_str());
    assert_eq!(mounted, by_ready && is_placed, "{told} {mounts:?}");
    assert!(is_mounted("z/enc") && is_mounted("z/sink/other"), "{told}");
    let elsewhere = |why: &NotMounted| matches!(why, NotMounted::Elsewhere(_));
    let mut refused = mounts.refused.iter();
    let refused = refused.any(|(name, why)| *name == changed.name && elsewhere(why));
    assert_eq!(refused, by_ready && !is_placed, "{told}");
}

#[test]
fn law_9_no_stream_decides_where_a_replica_is_mounted() {
    let mut worlds = 0;
    for (says, config) in configurations() {
        for (sink, sink_is_own) in sinks() {
            for promoted in promotions() {
                for (name, place) in TREE {
                    let relative = name.strip_prefix("z/sink").unwrap();
                    for (path, is_place) in mountpoints(place) {
                        for (source, from_sink) in sources() {
                            let is_own = from_sink
                                && sink_is_own
                                && Path::new(&path) == Path::new(&format!("/srv{relative}"));
                            for can_mount in [CanMount::On, CanMount::NoAuto, CanMount::Off] {
                                let changed = Dataset {
                                    can_mount,
                                    mountpoint_source: source.clone(),
                                    ..at(&path, encrypted(name, ROOT))
                                };
                                let observed = world(&sink, &changed, &promoted);
                                let is_placed = (says && is_place) || is_own;
                                check(&config, &observed, &changed, is_placed);
                                worlds += 1;
                            }
                        }
                    }
                }
            }
        }
    }
    assert_eq!(worlds, 3 * 4 * 2 * 3 * 22 * 8 * 3);
}

#[test]
fn law_9_what_is_never_mounted_by_itself_has_no_wrong_place() {
    let config = &configurations()[0].1;
    let sink = &sinks()[0].0;
    let hostile = || at("/etc", encrypted(ROOT, ROOT));
    let cases = [
        Dataset {
            kind: Kind::Volume,
            ..hostile()
        },
        Dataset {
            jailed: true,
            ..hostile()
        },
        Dataset {
            mountpoint: Mountpoint::None,
            ..hostile()
        },
        Dataset {
            mountpoint: Mountpoint::Legacy,
            ..hostile()
        },
        Dataset {
            mountpoint_source: Source::Default,
            ..at("/z/sink/f0", hostile())
        },
    ];
    for changed in cases {
        let observed = world(sink, &changed, &Promoted::Never);
        let plan = plan::keys(config, &observed, &keys());
        assert_eq!(plan.roots[1].1, Verdict::ToOpen, "{changed:?}");
        assert_eq!(places::elsewhere(config, &observed), [], "{changed:?}");
    }
}

#[test]
fn law_5_a_wrong_place_locks_the_root_whose_key_opens_it_and_no_other() {
    // An encryption root of its own below the replica, and a replica that a primary's key opens.
    let config = Config::parse(
        r#"(node: "f1", store: (label: "K"), roots: [
            (dataset: "z/r", key: "f0:z", role: replica, required: true, mountpoint: "/r"),
            (dataset: "z/r/own", key: "f0:z", role: replica, required: true),
            (dataset: "z/p", key: "f1:z", role: primary, required: true),
            (dataset: "z/p/r", key: "f1:z", role: replica, required: true),
        ])"#,
    )
    .unwrap();
    let names = [
        ("z/r", "z/r"),
        ("z/r/a", "z/r"),
        ("z/r/own", "z/r/own"),
        ("z/r/own/b", "z/r/own"),
    ];
    for (wrong, (_, opened_by)) in names.iter().enumerate() {
        let datasets = names
            .iter()
            .enumerate()
            .map(|(number, (name, root))| Dataset {
                readonly: true,
                ..match number == wrong {
                    true => at("/etc", encrypted(name, root)),
                    false => at(&name.replacen('z', "", 1), encrypted(name, root)),
                }
            });
        let mut datasets: Vec<Dataset> = datasets.collect();
        datasets.push(at("/p", encrypted("z/p", "z/p")));
        let observed = Observed {
            pools: Map::from([("z".to_owned(), Pool::Seen(datasets))]),
            ..Observed::default()
        };
        let plan = plan::keys(&config, &observed, &keys());
        for (root, verdict) in &plan.roots[..3] {
            let locked = matches!(verdict, Verdict::Locked(Refusal::Elsewhere(_)));
            assert_eq!(locked, root.as_str() == *opened_by, "{root} {wrong}");
        }
    }
}

/// The node of the table, with a stick, right after its power came back.
fn node(name: &str, changed: Dataset) -> Sim {
    let sim = Sim::new(name)
        .with(vec![
            dataset("z"),
            dataset("z/sink"),
            at("/data/enc", encrypted("z/enc", "z/enc")),
            changed,
            at("/other", encrypted("z/sink/other", "z/sink/other")),
        ])
        .stick(
            Stick::new("/dev/da0", "F3S_KEYS", "4C530001")
                .with_store(&[("f0:z", [1; 32]), ("f1:z", [2; 32])]),
        );
    for (root, key) in [(ROOT, 1), ("z/sink/other", 1), ("z/enc", 2)] {
        sim.wrapped.borrow_mut().insert(root.to_owned(), [key; 32]);
    }
    sim
}

fn received(path: &str) -> Dataset {
    Dataset {
        mountpoint_source: Source::Received,
        ..at(path, encrypted(ROOT, ROOT))
    }
}

fn alarms(report: &Report, of: &str) -> usize {
    let findings = report.findings.iter();
    let of_it = findings.filter(|f| f.severity == Severity::Alarm && f.subject == of);
    of_it.count()
}

#[test]
fn law_9_a_received_mountpoint_locks_its_replica_and_the_rest_of_the_boot_is_whole() {
    let config = &configurations()[0].1;
    for path in ["/etc/systemd/system", "/root/.ssh", "/", "/f0/../etc"] {
        let sim = node("received", received(path));
        let first = sim.verb(|node| boot(node, config));
        sim.zfs_mount_all();
        let second = sim.verb(|node| ready(node, config));
        for report in [&first, &second] {
            assert_eq!(alarms(report, ROOT), 1, "{path} {:?}", report.findings);
            assert_eq!(report.fault, Some(Fault::Unavailable), "{path}");
            let open = |line: &&f3skeys::report::RootLine| line.open;
            let open: Vec<&str> = report
                .roots
                .iter()
                .filter(open)
                .map(|r| &*r.dataset)
                .collect();
            assert_eq!(open, ["z/enc", "z/sink/other"], "{path}");
        }
        assert!(!sim.find(ROOT).mounted && sim.find("z/enc").mounted);
        assert!(!sim.trace.borrow().contains(&Event::Loaded(ROOT.to_owned())));
        let why = sim.verb(|node| status(node, config)).roots[1].why.clone();
        assert!(why.contains(path), "{why}");
    }
}

#[test]
fn law_9_a_replica_that_is_open_already_is_not_mounted_elsewhere_and_each_pass_says_so() {
    let config = &configurations()[0].1;
    let sim = node("open", received("/etc"));
    sim.change(ROOT, |d| d.key_status = KeyStatus::Available);
    let first = sim.verb(|node| boot(node, config));
    let second = sim.verb(|node| ready(node, config));
    assert_eq!(second.fault, Some(Fault::Unavailable));
    let third = sim.verb(|node| reconcile(node, config));
    // Then the system mounts it all the same.
    sim.zfs_mount_all();
    let fourth = sim.verb(|node| ready(node, config));
    let fifth = sim.verb(|node| reconcile(node, config));
    for (number, report) in [&first, &second, &third, &fourth, &fifth]
        .into_iter()
        .enumerate()
    {
        assert_eq!(alarms(report, ROOT), 1, "{number} {:?}", report.findings);
    }
    let by_us = Event::Mounted {
        dataset: ROOT.to_owned(),
        writable: false,
    };
    let mounted = sim.trace.borrow().iter().filter(|e| **e == by_us).count();
    assert_eq!(mounted, 1, "only the system has mounted it");
    // A rehearsal foretells the refusal of the next boot.
    let foretold = sim.verb(|node| rehearse(node, config, &[]));
    assert!(!foretold.comes_back, "{foretold:?}");
    let about_it = |f: &&f3skeys::report::Finding| f.subject == ROOT;
    assert_eq!(
        foretold.reasons.iter().filter(about_it).count(),
        1,
        "{foretold:?}"
    );
}

#[test]
fn law_9_what_no_key_of_a_replica_holds_back_is_kept_unmounted_by_canmount() {
    // A replica without encryption below an encrypted one, and one that a primary's key opens.
    let plain = Dataset {
        mountpoint_source: Source::Received,
        ..at("/etc", dataset("z/sink/f0/plain"))
    };
    let copy = Dataset {
        mountpoint_source: Source::Received,
        ..at("/boot", encrypted("z/enc/copy", "z/enc"))
    };
    let text = r#", mountpoint: "/f0"),
        (dataset: "z/enc/copy", key: "f1:z", role: replica, required: false"#;
    let config = &configuration(text, "");
    let sim = node("keyless", at("/f0", encrypted(ROOT, ROOT))).with(vec![plain, copy]);
    let first = sim.verb(|node| boot(node, config));
    sim.zfs_mount_all();
    for name in ["z/sink/f0/plain", "z/enc/copy"] {
        assert_eq!(alarms(&first, name), 1, "{:?}", first.findings);
        assert_eq!(sim.find(name).can_mount, CanMount::NoAuto);
        assert!(!sim.find(name).mounted, "{name}");
    }
    assert!(sim.find("z/enc").mounted && sim.find(ROOT).mounted);
    // What has been set stays so, and needs no alarm any more.
    let second = sim.verb(|node| boot(node, config));
    assert!(second.changed.is_empty(), "{:?}", second.changed);
    assert_eq!(alarms(&second, "z/sink/f0/plain"), 0);
}

#[test]
fn law_9_a_boot_sets_all_of_it_before_the_key_and_a_promotion_gives_writing_back_alone() {
    let config = &configurations()[0].1;
    let sim = node("sealed", at("/f0", encrypted(ROOT, ROOT)));
    let first = sim.verb(|node| boot(node, config));
    let set = "set readonly=on setuid=off devices=off exec=off on z/sink/f0";
    let mut changed = first.changed.iter();
    assert!(changed.any(|line| *line == *set), "{:?}", first.changed);
    sim.zfs_mount_all();
    let second = sim.verb(|node| ready(node, config));
    assert!(second.fault.is_none(), "{:?}", second.findings);
    let root = ROOT.parse().unwrap();
    let promoted = sim.verb(|node| promote(node, config, &root, "f0 is dead"));
    assert!(promoted.fault.is_none(), "{:?}", promoted.findings);
    let found = sim.find(ROOT);
    assert!(!found.readonly && !found.setuid && !found.devices && !found.exec);
    sim.change(ROOT, |d| d.setuid = true);
    sim.reboot("boot-2");
    let _ = sim.verb(|node| boot(node, config));
    let found = sim.find(ROOT);
    assert_eq!(found.key_status, KeyStatus::Available);
    assert!(!found.readonly && !found.setuid, "written here, and nosuid");
}

#[test]
fn law_9_no_link_on_a_replica_leads_a_mount_elsewhere() {
    let config = &configurations()[0].1;
    // A child of the replica, a primary below its path, and the replica's own way, which is this node's.
    for (link, kept) in [
        ("/f0/a", Some("z/sink/f0/a")),
        ("/f0/here", Some("z/enc/here")),
        ("/f0", None),
        ("/f0/other", None),
    ] {
        let child = at("/f0/a", encrypted("z/sink/f0/a", ROOT));
        let here = at("/f0/here/x", encrypted("z/enc/here", "z/enc"));
        let sim = node("links", at("/f0", encrypted(ROOT, ROOT))).with(vec![child, here]);
        let first = sim.verb(|node| boot(node, config));
        assert!(first.fault.is_none(), "{:?}", first.findings);
        // As it will be found there, once the replica is mounted.
        let on = if link == "/f0" {
            sim::ROOT_FILESYSTEM
        } else {
            ROOT
        };
        let link_there = (link.into(), "/etc".into(), on.to_owned());
        sim.links.borrow_mut().push(link_there);
        let second = sim.verb(|node| ready(node, config));
        for name in [ROOT, "z/sink/f0/a", "z/enc/here", "z/enc", "z/sink/other"] {
            assert_eq!(sim.find(name).mounted, kept != Some(name), "{link} {name}");
        }
        let complaints = second.findings.iter().filter(|f| Some(&*f.subject) == kept);
        assert_eq!(complaints.count(), usize::from(kept.is_some()), "{link}");
        assert_eq!(second.fault.is_some(), kept.is_some(), "{link}");
    }
}

#[test]
fn a_replica_that_has_its_mountpoint_from_the_sink_opens_and_is_mounted_without_a_word() {
    let config = &configurations()[2].1;
    for (source, path, opens) in [
        (
            Source::Inherited("z/sink".parse().unwrap()),
            "/srv/f0",
            true,
        ),
        (Source::Default, "/z/sink/f0", true),
        (Source::Received, "/srv/f0", false),
    ] {
        let replica = Dataset {
            mountpoint_source: source,
            ..at(path, encrypted(ROOT, ROOT))
        };
        let sim = node("sink", replica);
        sim.change("z/sink", |d| *d = at("/srv", dataset("z/sink")));
        let first = sim.verb(|node| boot(node, config));
        sim.zfs_mount_all();
        let second = sim.verb(|node| ready(node, config));
        assert_eq!(sim.find(ROOT).mounted, opens, "{path}");
        for report in [first, second] {
            assert_eq!(report.fault.is_none(), opens, "{:?}", report.findings);
        }
    }
}
