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
