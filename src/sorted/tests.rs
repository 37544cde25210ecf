//! Against `BTreeMap`, `BTreeSet` and `slice::sort`: every short history of a collection, and long ones
//! drawn from a seed.

use super::*;
use std::collections::{BTreeMap, BTreeSet};

const KEYS: u8 = 4;
/// Put in, put in by its place, take out, leave out the odd ones, put several in: each with every key.
const WORKS: usize = 5 * KEYS as usize;

/// What can be asked of both, in one value.
type Answers = (
    Vec<(u8, u16)>,
    Vec<Option<u16>>,
    Vec<Option<(u8, u16)>>,
    String,
    String,
    usize,
);

fn of_map(map: &Map<u8, u16>) -> Answers {
    let gets = (0..=KEYS).map(|key| map.get(&key).copied());
    let after = (0..=KEYS).map(|key| map.after(&key).map(|(key, value)| (*key, *value)));
    (
        map.iter().map(|(key, value)| (*key, *value)).collect(),
        gets.collect(),
        after.collect(),
        format!("{map:?} {map:#?}"),
        serde_json::to_string(map).unwrap() + &ron::to_string(map).unwrap(),
        map.len(),
    )
}

fn of_tree(map: &BTreeMap<u8, u16>) -> Answers {
    let gets = (0..=KEYS).map(|key| map.get(&key).copied());
    let after = (0..=KEYS).map(|key| map.range(key + 1..).next().map(|(k, v)| (*k, *v)));
    (
        map.iter().map(|(key, value)| (*key, *value)).collect(),
        gets.collect(),
        after.collect(),
        format!("{map:?} {map:#?}"),
        serde_json::to_string(map).unwrap() + &ron::to_string(map).unwrap(),
        map.len(),
    )
}

/// Does one work to both; their answers to it must be the same.
fn work(map: &mut Map<u8, u16>, tree: &mut BTreeMap<u8, u16>, work: usize, value: u16) {
    let key = u8::try_from(work).unwrap() % KEYS;
    match work / usize::from(KEYS) {
        0 => assert_eq!(map.insert(key, value), tree.insert(key, value)),
        1 => {
            let (ours, theirs) = (map.entry(key).or_default(), tree.entry(key).or_default());
            assert_eq!(ours, theirs);
            (*ours, *theirs) = (value, value);
        }
        2 => assert_eq!(map.remove(&key), tree.remove(&key)),
        3 => {
            let keep =
                |k: &u8, v: &mut u16| k.is_multiple_of(2) || *k == key || v.is_multiple_of(3);
            map.retain(keep);
            tree.retain(keep);
        }
        _ => {
            let several = [
                (key, value),
                (KEYS, value + 1),
                (0, value + 2),
                (key, value + 3),
            ];
            map.extend(several);
            tree.extend(several);
        }
    }
}

#[test]
fn every_history_of_four_works_on_a_map_ends_as_with_a_tree() {
    let mut count = 0;
    for history in 0..WORKS.pow(4) {
        let (mut map, mut tree) = (Map::new(), BTreeMap::new());
        let mut rest = history;
        for step in 1..=4 {
            work(&mut map, &mut tree, rest % WORKS, step * 10);
            rest /= WORKS;
        }
        assert_eq!(of_map(&map), of_tree(&tree), "history {history}");
        assert_eq!(map.is_empty(), tree.is_empty());
        count += 1;
    }
    println!("{count} histories of a map");
}

/// All rows of up to six of the numbers 0 to 3.
fn rows() -> impl Iterator<Item = Vec<u8>> {
    (0..=6u32).flat_map(|length| {
        (0..4usize.pow(length)).map(move |row| {
            let digit = |at: u32| u8::try_from(row / 4usize.pow(at) % 4).unwrap();
            (0..length).map(digit).collect()
        })
    })
}

#[test]
fn every_short_row_is_collected_read_and_compared_as_with_a_tree() {
    let mut before = (Map::new(), BTreeMap::new(), Set::new(), BTreeSet::new());
    let mut count = 0;
    for row in rows() {
        let pairs = || row.iter().zip(100..).map(|(key, value)| (*key, value));
        let map: Map<u8, u16> = pairs().collect();
        let tree: BTreeMap<u8, u16> = pairs().collect();
        assert_eq!(of_map(&map), of_tree(&tree), "{row:?}");
        let set: Set<u8> = row.iter().copied().collect();
        let tree_set: BTreeSet<u8> = row.iter().copied().collect();
        assert!(set.iter().eq(&tree_set), "{row:?}");
        assert_eq!((set.len(), set.first()), (tree_set.len(), tree_set.first()));
        assert_eq!(
            format!("{set:?} {set:#?}"),
            format!("{tree_set:?} {tree_set:#?}")
        );
        assert!((0..4).all(|value| set.contains(&value) == tree_set.contains(&value)));

        let pairs: Vec<String> = pairs().map(|(k, v)| format!("\"{k}\":{v}")).collect();
        let json = format!("{{{}}}", pairs.join(","));
        assert_eq!(
            serde_json::from_str::<Map<u8, u16>>(&json).unwrap(),
            map,
            "{json}"
        );
        let json = serde_json::to_string(&row).unwrap();
        assert_eq!(
            serde_json::from_str::<Set<u8>>(&json).unwrap(),
            set,
            "{json}"
        );
        let written = serde_json::to_string(&set).unwrap();
        assert_eq!(written, serde_json::to_string(&tree_set).unwrap());

        let ours = (map.cmp(&before.0), set.cmp(&before.2));
        assert_eq!(
            ours,
            (tree.cmp(&before.1), tree_set.cmp(&before.3)),
            "{row:?}"
        );
        before = (map, tree, set, tree_set);
        count += 1;
    }
    println!("{count} rows");
}

#[test]
fn what_serde_refuses_for_a_tree_it_refuses_in_the_same_words() {
    for bad in ["[1]", "{\"1\":\"a\"}", "{\"1\":1", "7", "{\"a\":1}", "null"] {
        let ours = serde_json::from_str::<Map<u8, u16>>(bad).unwrap_err();
        let theirs = serde_json::from_str::<BTreeMap<u8, u16>>(bad).unwrap_err();
        assert_eq!(ours.to_string(), theirs.to_string(), "{bad}");
        let ours = serde_json::from_str::<Set<u8>>(bad).map_err(|e| e.to_string());
        let theirs = serde_json::from_str::<BTreeSet<u8>>(bad).map_err(|e| e.to_string());
        assert_eq!(ours.map(|_| ()), theirs.map(|_| ()), "{bad}");
        let ours = ron::from_str::<Map<u8, u16>>(bad).map_err(|e| e.to_string());
        let theirs = ron::from_str::<BTreeMap<u8, u16>>(bad).map_err(|e| e.to_string());
        assert_eq!(ours.map(|_| ()), theirs.map(|_| ()), "{bad}");
    }
}

#[test]
fn rows_are_sorted_as_the_standard_library_does_it_and_equals_keep_their_order() {
    let mut count = 0;
    for row in rows() {
        let mut ours: Vec<(u8, usize)> = row.iter().copied().zip(0..).collect();
        let mut theirs = ours.clone();
        sort_by_key(&mut ours, |(value, _)| *value);
        theirs.sort_by_key(|(value, _)| *value);
        assert_eq!(ours, theirs);
        sort_by(&mut ours, |a, b| b.0.cmp(&a.0));
        theirs.sort_by_key(|(value, _)| std::cmp::Reverse(*value));
        assert_eq!(ours, theirs);
        let (mut ours, mut theirs) = (row.clone(), row);
        sort(&mut ours);
        theirs.sort();
        assert_eq!(ours, theirs);
        count += 1;
    }
    println!("{count} rows sorted");
}

/// Numbers by a seed, as good as random.
fn drawn(seed: u64) -> impl Iterator<Item = u64> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        state = state
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        state >> 33
    })
}

#[test]
fn many_names_in_any_order_are_as_in_a_tree() {
    for (seed, most) in [(1, 1 << 30), (2, 500), (3, 5000)] {
        let names: Vec<String> = drawn(seed)
            .take(5000)
            .map(|n| format!("z/{}", n % most))
            .collect();
        let collected: Map<&str, usize> = names.iter().map(String::as_str).zip(0..).collect();
        let mut grown = Map::new();
        for (at, name) in names.iter().enumerate() {
            grown.insert(name.as_str(), at);
        }
        let tree: BTreeMap<&str, usize> = names.iter().map(String::as_str).zip(0..).collect();
        assert!(collected.iter().eq(&tree), "{seed}");
        assert_eq!(collected, grown, "{seed}");
        let (mut ours, mut theirs) = (names.clone(), names);
        sort(&mut ours);
        theirs.sort();
        assert_eq!(ours, theirs, "{seed}");
    }
}
