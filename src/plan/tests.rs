//! Which part of a pool is asked for, and which datasets count as replicas. The plans themselves are
//! enumerated by `tests/plan.rs`.

use super::*;
use crate::promotion::Promotion;
use crate::zfs::tests as sample;

/// In `za` primaries and replicas lie apart, in `zd` one within the other; `zb` has a primary alone and
/// `zc` a replica alone.
fn config() -> Config {
    let text = r#"(
        node: "f1", store: (label: "K"),
        roots: [
            (dataset: "za/own", key: "f1:z", role: primary, required: true),
            (dataset: "za/sink", key: "f0:z", role: replica, required: true),
            (dataset: "za/sink/f0", key: "f0:z", role: replica, required: true),
            (dataset: "zb/only", key: "f1:z", role: primary, required: true),
            (dataset: "zc/sink", key: "f0:z", role: replica, required: true),
            (dataset: "zd/top", key: "f1:z", role: primary, required: true),
            (dataset: "zd/top/sink", key: "f0:z", role: replica, required: true),
        ],
        gates: [
            (name: "a", needs: [writable("za/own/fs")]),
            (name: "b", needs: [writable("zb/only/fs")]),
        ],
    )"#;
    Config::parse(text).unwrap()
}

fn names(names: &[&str]) -> Set<DatasetName> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

fn part(alone: &[&str], trees: &[&str]) -> Part {
    Part {
        alone: names(alone),
        trees: names(trees),
    }
}

#[test]
fn of_a_pool_no_more_is_asked_for_than_keys_mounts_and_roots_need() {
    let config = config();
    // A replica may have its mountpoint from what lies above it.
    let keys = part(&["za", "za/own", "za/sink"], &["za/sink", "za/sink/f0"]);
    assert_eq!(part_for_keys(&config, "za"), keys);
    assert_eq!(part_for_keys(&config, "zb"), part(&["zb/only"], &[]));
    assert_eq!(
        part_for_mounts(&config, "zb"),
        part(&["zb", "zb/only/fs"], &["zb/only"])
    );
    assert_eq!(part_for_mounts(&config, "zc"), part(&["zc"], &["zc/sink"]));
    let roots = part(&["za/own", "za/sink", "za/sink/f0"], &[]);
    assert_eq!(part_for_roots(&config, "za"), roots);
    let changed = names(&["za/own/fs", "zb/only"]);
    let after = part_after(&config, "zb", &changed);
    assert_eq!(after, part(&["zb/only"], &[]));
}

#[test]
fn law_5_primaries_that_touch_no_replica_are_apart_from_what_strangers_fill() {
    let config = config();
    for (pool, primaries, both) in [
        ("za", &["za/own"][..], true),
        ("zb", &["zb/only"], false),
        ("zc", &[], false),
        ("zd", &[], false),
        ("ze", &[], false),
    ] {
        let found = apart(&config, pool).map(|root| root.dataset.as_str());
        assert_eq!(found.collect::<Vec<_>>(), primaries, "{pool}");
        assert_eq!(has_both(&config, pool), both, "{pool}");
    }
}

#[test]
fn a_part_is_asked_for_in_two_only_where_there_is_something_of_our_own() {
    let config = config();
    let whole = part(&["za"], &["za/own", "za/sink", "za/sink/f0"]);
    let own = part(&["za", "za/sink"], &["za/own"]);
    assert_eq!(own_and_trees(&config, &whole), (own, names(&["za/sink"])));
    let sinks = part(&[], &["zc/sink"]);
    let expected = (part(&[], &[]), names(&["zc/sink"]));
    assert_eq!(own_and_trees(&config, &sinks), expected);
}

#[test]
fn law_3_what_is_at_or_below_a_replica_that_nobody_promoted_is_one_and_is_writable_or_not() {
    let config = config();
    let promotion = Promotion {
        epoch: 1,
        since: 1,
        reason: "a test".to_owned(),
    };
    for promoted in [false, true] {
        for readonly in [false, true] {
            let names = ["za/own", "za/sink", "za/sink/fs", "zc/sink/fs", "za/other"];
            let mut observed = Observed::default();
            for name in names {
                let mut dataset = sample::dataset(name);
                dataset.readonly = readonly;
                if promoted && name == "za/sink" {
                    dataset.promotion = Promoted::Now(promotion.clone());
                }
                let pool = observed.pools.entry(dataset.name.pool().to_owned());
                let Pool::Seen(seen) = pool.or_insert(Pool::Seen(Vec::new())) else {
                    unreachable!()
                };
                seen.push(dataset);
            }
            let expected: &[&str] = match promoted {
                true => &["zc/sink/fs"],
                false => &["za/sink", "za/sink/fs", "zc/sink/fs"],
            };
            let found: Vec<_> = replicas(&config, &observed)
                .map(|d| d.name.as_str())
                .collect();
            assert_eq!(found, expected);
            let found: Vec<_> = writable(&config, &observed)
                .map(|d| d.name.as_str())
                .collect();
            assert_eq!(found, if readonly { &[][..] } else { expected });
        }
    }
}

/// Datasets of one pool, as they were seen.
fn seen(datasets: Vec<Dataset>) -> Observed {
    let pool = datasets[0].name.pool().to_owned();
    Observed {
        pools: [(pool, Pool::Seen(datasets))].into(),
        ..Observed::default()
    }
}

fn at(name: &str, path: &str, mounted: bool) -> Dataset {
    Dataset {
        mountpoint: Mountpoint::Path(path.into()),
        mounted,
        ..sample::dataset(name)
    }
}

fn mount(source: &str, at: &str) -> Mount {
    Mount {
        at: at.into(),
        fstype: "zfs".to_owned(),
        source: source.to_owned(),
        read_only: false,
        sealed: false,
        fsid: String::new(),
    }
}

#[test]
fn what_nobody_looked_at_matters_only_where_something_is_to_be_mounted_over_it() {
    let config = config();
    for (is_mounted, other, expected) in [
        // Below a path above ours: buried once that is mounted.
        (false, "/a/other", Unseen::These(names(&["za/other"]))),
        (true, "/a/other", Unseen::Nothing),
        // Below ours, which may be unmounted at any time.
        (true, "/a/own/x", Unseen::These(names(&["za/other"]))),
        (false, "/b", Unseen::Nothing),
        (true, "/b", Unseen::Nothing),
    ] {
        let observed = seen(vec![
            at("za", "/a", is_mounted),
            at("za/own", "/a/own", true),
            at("za/far", "/b", false),
        ]);
        let mounted = [
            mount("zroot", "/"),
            mount("za/own", "/a/own"),
            mount("za/other", other),
        ];
        let found = unseen(&config, &observed, &mounted);
        assert_eq!(found, expected, "{is_mounted} {other}");
    }
}

#[test]
fn what_is_unknown_below_a_replica_root_is_its_own_and_no_other_roots() {
    let config = config();
    for (unknown, of) in [
        ("za/sink/fs", Some("za/sink")),
        ("za/sink/f0/fs", Some("za/sink/f0")),
        ("za/own/fs", None),
        ("za/other", None),
    ] {
        let damaged = Damaged {
            name: unknown.parse().unwrap(),
            property: "mountpoint",
            what: "a riddle".to_owned(),
            opened_by: OpenedBy::NoKey,
        };
        let observed = Observed {
            damaged: [(damaged.name.clone(), damaged.clone())].into(),
            ..Observed::default()
        };
        for root in &config.roots {
            let found = unknown_replica_at(&config, &observed, &root.dataset);
            let is_its_own = of == Some(root.dataset.as_str());
            assert_eq!(found, is_its_own.then_some(&damaged), "{}", root.dataset);
        }
    }
}

#[test]
fn nothing_is_mounted_where_another_file_system_is() {
    let config = config();
    let other = at("za/own/a", "/own", true);
    let observed = seen(vec![other.clone(), at("za/own/b", "/own", false)]);
    let plan = mounts(&config, &observed);
    let same = NotMounted::SamePlace(other.name);
    assert_eq!(plan.refused, [("za/own/b".parse().unwrap(), same)]);
    assert!(plan.steps.is_empty(), "{:?}", plan.steps);
}

#[test]
fn what_is_left_to_others_to_mount_is_told_with_the_reason_and_nothing_else() {
    let (config, name) = (config(), "za/own/x");
    let gated = "za/own/fs";
    let path = || Mountpoint::Path("/own/x".into());
    type Change = fn(&mut Dataset);
    let nothing: Change = |_| {};
    let off: Change = |d| d.can_mount = CanMount::Off;
    let noauto: Change = |d| d.can_mount = CanMount::NoAuto;
    let jailed: Change = |d| d.jailed = true;
    let jailed_off: Change = |d| (d.jailed, d.can_mount) = (true, CanMount::Off);
    let mounted: Change = |d| d.mounted = true;
    let volume: Change = |d| d.kind = Kind::Volume;
    for (name, mountpoint, change, expected) in [
        (name, Mountpoint::Legacy, nothing, Some(LeftAlone::Legacy)),
        (
            name,
            Mountpoint::None,
            nothing,
            Some(LeftAlone::NoMountpoint),
        ),
        (name, path(), nothing, None),
        (name, path(), noauto, Some(LeftAlone::NoAuto)),
        (gated, path(), noauto, None),
        (name, path(), jailed, Some(LeftAlone::Jailed)),
        (name, path(), jailed_off, Some(LeftAlone::Jailed)),
        (name, Mountpoint::Legacy, off, None),
        (name, Mountpoint::None, off, None),
        (name, Mountpoint::Legacy, mounted, None),
        (name, Mountpoint::None, volume, None),
        ("za/other", Mountpoint::Legacy, nothing, None),
    ] {
        let mut dataset = sample::dataset(name);
        dataset.mountpoint = mountpoint;
        change(&mut dataset);
        let expected: Vec<_> = expected
            .map(|why| (dataset.name.clone(), why))
            .into_iter()
            .collect();
        let found = mounts(&config, &seen(vec![dataset.clone()])).left_alone;
        assert_eq!(found, expected, "{dataset:?}");
    }
}

#[test]
fn a_root_is_loaded_if_it_was_seen_so_or_the_kernel_took_its_key_and_else_is_not() {
    let root = "za/own".parse().unwrap();
    for (status, is_seen) in [
        (None, false),
        (Some(KeyStatus::None), false),
        (Some(KeyStatus::Unavailable), false),
        (Some(KeyStatus::Available), true),
    ] {
        for is_taken in [false, true] {
            let mut dataset = sample::dataset("za/own");
            dataset.key_status = status.unwrap_or(KeyStatus::None);
            let mut observed = status.map_or_else(Observed::default, |_| seen(vec![dataset]));
            if is_taken {
                observed.taken.insert("za/own".parse().unwrap());
            }
            let expected = is_seen || is_taken;
            assert_eq!(
                is_loaded(&observed, &root),
                expected,
                "{status:?} {is_taken}"
            );
        }
    }
}

/// As the promotion of a clone leaves it: the encryption root is the clone now, and lies elsewhere.
#[test]
fn what_is_no_root_any_more_is_as_open_as_the_configured_root_whose_key_opens_it() {
    let config = config();
    let not_a_root = |actual: &str, open| {
        let actual = actual.parse().unwrap();
        Verdict::Locked(Refusal::NotARoot { actual, open })
    };
    let follows = Verdict::Locked(Refusal::Follows("za/sink".parse().unwrap()));
    for (name, actual, open, expected) in [
        ("za/own", "za/sink", true, Verdict::OpenByNoKey),
        ("za/own", "za/sink", false, follows),
        // Nothing is known of a root that is not configured.
        ("za/own", "za/other", true, not_a_root("za/other", true)),
        ("za/own", "za/other", false, not_a_root("za/other", false)),
        // It was never a root of its own, but has its key from above.
        ("za/sink/f0", "za/sink", true, not_a_root("za/sink", true)),
        ("za/sink/f0", "za/sink", false, not_a_root("za/sink", false)),
    ] {
        let status = [KeyStatus::Unavailable, KeyStatus::Available][usize::from(open)];
        let dataset = Dataset {
            key_status: status,
            encryption_root: Some(actual.parse().unwrap()),
            ..sample::dataset(name)
        };
        // What is proven of that root counts, and not what is said of this one.
        let observed = Observed {
            proofs: [("za/sink".parse().unwrap(), Proof::NoKeyOpens)].into(),
            ..Observed::default()
        };
        let actual = actual.parse().unwrap();
        let found = of_another_root(&config, &observed, &dataset, &actual, &KeyState::Usable);
        assert_eq!(found, expected, "{name} {actual} {open}");
    }
}

#[test]
fn law_3_a_key_waits_for_the_unknown_replicas_that_it_may_open_and_a_replicas_key_for_its_tree() {
    let config = config();
    let by = |root: &str| OpenedBy::Root(root.parse().unwrap());
    let one = |name: &str, opened_by| Damaged {
        name: name.parse().unwrap(),
        property: "mountpoint",
        what: "a riddle".to_owned(),
        opened_by,
    };
    let tree = |name: &str| Damaged::tree(name.parse().unwrap(), "it hangs".to_owned());
    for (root, unknown, waits) in [
        ("za/own", one("za/sink/fs", by("za/own")), true),
        ("za/own", one("za/sink/fs", by("za/sink")), false),
        ("za/own", one("za/own/fs", by("za/own")), false),
        ("za/sink", one("za/sink/fs", OpenedBy::NoKey), true),
        // Neither a replica beside it nor one below a primary.
        ("za/sink/f0", one("za/sink/fs", OpenedBy::NoKey), false),
        ("za/own", one("za/sink/fs", OpenedBy::NoKey), false),
        ("zd/top", one("zd/top/sink/fs", OpenedBy::NoKey), false),
        // Any root may open it; it keeps those locked that it lies below.
        ("zd/top", one("zd/top/sink/fs", OpenedBy::NotKnown), true),
        ("za/own", one("za/sink/fs", OpenedBy::NotKnown), false),
        // Of what hangs nothing is known below it either.
        ("za/sink/f0", tree("za/sink"), true),
        ("za/own", tree("za/sink"), false),
    ] {
        let observed = Observed {
            damaged: [(unknown.name.clone(), unknown.clone())].into(),
            ..Observed::default()
        };
        let found = unknown_replica_behind(&config, &observed, &root.parse().unwrap());
        assert_eq!(found, waits.then_some(&unknown), "{root}: {unknown:?}");
    }
}
