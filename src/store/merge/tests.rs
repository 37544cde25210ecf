//! Every bound of a list, and every way in which a store can stand to one, of one or two generations.

use super::*;
use crate::key::Key;
use crate::sorted::Map;
use crate::store::Damage;
use crate::store::state::{FORMAT, State};
use crate::store::survey::Known;
use std::io;

const ALL: [Standing; 5] = [
    Standing::Current,
    Standing::Staged,
    Standing::Retained,
    Standing::Retired,
    Standing::Pruned,
];

fn key() -> KeyName {
    "f0:zdata".parse().unwrap()
}

fn bytes(byte: u8) -> Key {
    Key::take(|place| {
        place.copy_from_slice(&[byte; 32]);
        io::Result::Ok(())
    })
    .unwrap()
}

fn print(byte: u8) -> Fingerprint {
    Fingerprint::of(&[byte; 32])
}

/// Its bytes say its number.
fn generation(number: u8, state: Standing) -> Generation {
    Generation {
        generation: number.into(),
        fingerprint: print(number),
        state,
    }
}

/// Generations that lie whole on a store, each as the state lists it.
fn copies(known: &[(u8, Option<Standing>)]) -> Copies {
    let mut copies = Copies::default();
    for (byte, listed) in known {
        let number = (*byte).into();
        let listed = *listed;
        copies.known.insert(print(*byte), Known { number, listed });
        copies.good.insert(print(*byte), bytes(*byte));
    }
    copies
}

fn damage(path: &str, what: &str) -> Damage {
    Damage {
        path: path.to_owned(),
        what: what.to_owned(),
    }
}

/// A store with a state that lists these generations of the key.
fn survey(copies: Copies) -> Survey {
    let state = State {
        format: FORMAT,
        store: "0".repeat(32),
        keys: Map::from([(key(), listing(&copies))]),
    };
    Survey {
        state: Some(state),
        keys: Map::from([(key(), copies)]),
        ..Survey::default()
    }
}

/// So many keys of each of so many owners, the first of which is `f0`.
fn keys(owners: usize, of_each: usize) -> Survey {
    let mut survey = Survey::default();
    for owner in 0..owners {
        for number in 0..of_each {
            let name: KeyName = format!("f{owner}:k{number}").parse().unwrap();
            survey.keys.insert(name, Copies::default());
        }
    }
    survey
}

#[test]
fn a_store_and_each_owner_have_room_for_so_many_keys() {
    let fits = |survey: &Survey, key: &str| room(survey, &key.parse().unwrap()).is_ok();
    let owners = MOST_KEYS / MOST_OF_ONE_OWNER;
    for (survey, of_first, of_another) in [
        (keys(1, MOST_OF_ONE_OWNER - 1), true, true),
        (keys(1, MOST_OF_ONE_OWNER), false, true),
        (keys(owners, MOST_OF_ONE_OWNER), false, false),
        (keys(MOST_KEYS - 1, 1), true, true),
        (keys(MOST_KEYS, 1), false, false),
    ] {
        assert!(fits(&survey, "f0:k0"), "one that is there needs no room");
        assert_eq!(fits(&survey, "f0:new"), of_first, "{}", survey.keys.len());
        assert_eq!(fits(&survey, "g:new"), of_another, "{}", survey.keys.len());
    }
}

#[test]
fn a_state_file_is_written_up_to_its_largest_size() {
    let state = |more: usize| State {
        format: FORMAT,
        store: "0".repeat(more),
        keys: Map::new(),
    };
    let room = LARGEST_WRITTEN - state(0).to_bytes().len();
    for (more, expected) in [(0, true), (room - 1, true), (room, true), (room + 1, false)] {
        let changes = [Change::Remove("a".to_owned()), Change::State(state(more))];
        assert_eq!(fits(&changes).is_ok(), expected, "{more}");
    }
    assert!(fits(&[Change::Remove("a".repeat(LARGEST_WRITTEN + 1))]).is_ok());
}

#[test]
fn what_is_staged_is_a_new_number_or_what_a_cut_run_left() {
    let (current, staged, retained) = (
        Some(Standing::Current),
        Some(Standing::Staged),
        Some(Standing::Retained),
    );
    let left = |number| Some(Next::Left(generation(number, Standing::Staged)));
    for (known, expected) in [
        (vec![], Some(Next::New(1))),
        (vec![(1, current)], Some(Next::New(2))),
        (vec![(1, retained), (3, current)], Some(Next::New(4))),
        (vec![(1, None)], left(1)),
        (vec![(1, current), (2, None)], left(2)),
        (vec![(1, current), (2, None), (3, None)], None),
        (vec![(1, current), (2, staged)], None),
    ] {
        let found = next(&key(), &copies(&known)).ok();
        assert_eq!(found, expected, "{known:?}");
    }
}

#[test]
fn a_key_has_so_many_generations_and_none_after_the_last_number() {
    let most = u8::try_from(MOST_GENERATIONS).unwrap();
    let many = |last: u8| -> Vec<_> { (1..=last).map(|n| (n, Some(Standing::Retired))).collect() };
    let mut with_left = many(most - 1);
    with_left.push((most, None));
    assert_eq!(
        next(&key(), &copies(&many(most - 1))),
        Ok(Next::New(most.into()))
    );
    assert!(next(&key(), &copies(&many(most))).is_err());
    let left = generation(most, Standing::Staged);
    assert_eq!(next(&key(), &copies(&with_left)), Ok(Next::Left(left)));

    let mut last = copies(&[(1, Some(Standing::Current))]);
    last.known.insert(
        print(1),
        Known {
            number: u32::MAX,
            listed: Some(Standing::Current),
        },
    );
    assert_eq!(next(&key(), &last), Err(last_number(&key())));
    assert!(last_number(&key()).contains("f0:zdata"));
}

#[test]
fn only_the_copy_at_the_top_of_a_key_that_is_not_listed_yet_may_be_missing() {
    let top = layout::top_path(&key());
    for listed in [None, Some(Standing::Current)] {
        for path in [top.as_str(), "another"] {
            for what in [MISSING, "is short"] {
                let mut copies = copies(&[(1, listed)]);
                copies.damage.push(damage(path, what));
                let expected = listed.is_none() && path == top && what == MISSING;
                let found = next(&key(), &copies).is_ok();
                assert_eq!(found, expected, "{listed:?} {path} {what}");
            }
        }
    }
}

#[test]
fn what_is_staged_is_listed_so_behind_the_rest_whatever_it_was_called() {
    for state in ALL {
        let copies = copies(&[(1, Some(Standing::Current)), (2, None)]);
        let merge = staging(&key(), &copies, generation(2, state));
        let expected = [
            generation(1, Standing::Current),
            generation(2, Standing::Staged),
        ];
        assert_eq!(merge.list, expected, "{state}");
    }
}

/// A key at the top, and nothing that vouches for it.
fn stranger(byte: u8) -> Copies {
    Copies {
        good: [(print(byte), bytes(byte))].into(),
        ..Copies::default()
    }
}

#[test]
fn law_7_a_key_that_nothing_vouches_for_is_on_the_list_or_the_list_is_refused() {
    assert!(next(&key(), &stranger(1)).is_err());
    let list = [generation(1, Standing::Current)];
    assert!(may(&key(), &stranger(1), &list, &[]).is_ok());
    assert!(may(&key(), &stranger(2), &list, &[print(1)]).is_err());
}

#[test]
fn a_list_has_at_least_one_and_at_most_so_many_generations() {
    let most = u8::try_from(MOST_GENERATIONS).unwrap();
    for (last, expected) in [(0, false), (1, true), (most, true), (most + 1, false)] {
        let list: Vec<Generation> = (1..=last)
            .map(|n| generation(n, Standing::Retired))
            .collect();
        assert_eq!(shape(&list, &[]).is_ok(), expected, "{last}");
    }
}

#[test]
fn law_7_a_list_may_lack_only_what_is_pruned_and_gone() {
    let list = [generation(2, Standing::Retired)];
    for here in ALL.map(Some).into_iter().chain([None]) {
        for whole in [true, false] {
            let mut copies = copies(&[(1, here)]);
            if !whole {
                copies.good = Map::new();
            }
            let expected = here == Some(Standing::Pruned) && !whole;
            let found = may(&key(), &copies, &list, &[print(2)]).is_ok();
            assert_eq!(found, expected, "{here:?}, whole {whole}");
        }
    }
}

#[test]
fn law_7_what_is_pruned_stays_so_and_all_else_is_as_the_list_says() {
    for here in ALL {
        for listed in ALL {
            let other = match listed {
                Standing::Current => Standing::Retained,
                _ => Standing::Current,
            };
            let list = [generation(1, listed), generation(2, other)];
            let found = may(&key(), &copies(&[(1, Some(here))]), &list, &[print(2)]);
            let expected = here != Standing::Pruned || listed == Standing::Pruned;
            assert_eq!(found.is_ok(), expected, "{here} {listed}: {found:?}");
        }
    }
}

#[test]
fn who_does_not_own_a_key_finishes_only_what_a_cut_run_left_of_this_list() {
    let (current, retained) = (Standing::Current, Standing::Retained);
    let list = [generation(1, retained), generation(2, current)];
    let top = |known: &[(u8, Option<Standing>)], top| Copies {
        top: Some(print(top)),
        ..copies(known)
    };
    let mut by_another_number = copies(&[(1, None)]);
    by_another_number.known.insert(
        print(1),
        Known {
            number: 7,
            listed: None,
        },
    );
    let mut missing = copies(&[(1, None)]);
    missing.damage.push(damage("a", MISSING));
    let mut short = copies(&[(1, None)]);
    short.damage.push(damage("a", "is short"));
    let whole = [(1, Some(retained)), (2, Some(current))];
    for (copies, expected, what) in [
        (Copies::default(), true, "nothing"),
        (copies(&[(1, None)]), true, "a file"),
        (copies(&[(1, None), (2, None)]), true, "both files"),
        (copies(&whole), true, "all of it"),
        (
            top(&whole, 2),
            true,
            "all of it, with the current at the top",
        ),
        (top(&whole, 1), false, "another at the top"),
        (top(&[(1, None), (2, None)], 2), false, "a top and no list"),
        (copies(&[(1, Some(retained))]), false, "a part of the list"),
        (
            copies(&[(1, Some(current)), (2, Some(retained))]),
            false,
            "other standings",
        ),
        (copies(&[(3, None)]), false, "another"),
        (by_another_number, false, "another number"),
        (missing, true, "a file that is missing"),
        (short, false, "a file that is damaged"),
    ] {
        assert_eq!(may_add(&key(), &copies, &list).is_ok(), expected, "{what}");
    }
}

#[test]
fn law_7_only_what_is_retired_and_by_its_owner_or_pruned_already_is_taken_off() {
    for listed in ALL.map(Some).into_iter().chain([None]) {
        for by_owner in [true, false] {
            let survey = survey(copies(&[(1, listed), (2, Some(Standing::Retained))]));
            let ask = Prune {
                key: key(),
                fingerprint: print(1),
                by_owner,
            };
            let found = prune(&survey, &ask);
            let (now, other) = (
                generation(1, Standing::Pruned),
                generation(2, Standing::Retained),
            );
            let removed = Change::Remove(layout::generation_path(&key(), 1, print(1)));
            let mut state = survey.state.unwrap();
            state.keys.insert(key(), vec![now, other]);
            let expected = match (listed, by_owner) {
                (Some(Standing::Pruned), _) => Some(vec![removed]),
                (Some(Standing::Retired), true) => Some(vec![Change::State(state), removed]),
                _ => None,
            };
            assert_eq!(found.ok(), expected, "{listed:?}, by its owner {by_owner}");
        }
    }
}

#[test]
fn nothing_is_taken_off_that_is_damaged_or_not_there() {
    let pruned = || copies(&[(1, Some(Standing::Pruned))]);
    let ask = |key: &str, byte| Prune {
        key: key.parse().unwrap(),
        fingerprint: print(byte),
        by_owner: true,
    };
    let mut hurt = pruned();
    hurt.damage.push(damage("a", "is short"));
    assert!(prune(&survey(pruned()), &ask("f0:zdata", 1)).is_ok());
    assert!(prune(&survey(pruned()), &ask("f0:zdata", 2)).is_err());
    assert!(prune(&survey(pruned()), &ask("f0:other", 1)).is_err());
    assert!(prune(&survey(hurt), &ask("f0:zdata", 1)).is_err());
}

#[test]
fn law_7_the_copy_at_the_top_becomes_the_current_one_unless_it_may_be_the_only_one() {
    let path = layout::top_path(&key());
    let content = Content::Key(key(), print(2));
    let write = Change::Write {
        path: path.clone(),
        content: content.clone(),
    };
    let replace = Change::Replace { path, content };
    let list = [
        generation(1, Standing::Retained),
        generation(2, Standing::Current),
    ];
    // What the top holds: a generation, or something that is none of those on the store.
    for (known, stranger, expected) in [
        (None, None, Some(write)),
        (Some(1), None, Some(replace.clone())),
        (Some(2), None, None),
        (None, Some(1), Some(replace)),
        (None, Some(2), None),
        (None, Some(3), None),
    ] {
        let copies = Copies {
            top: known.map(print),
            unlisted: stranger.map(bytes),
            ..copies(&[(2, Some(Standing::Current))])
        };
        assert_eq!(
            top(&key(), &copies, &list),
            expected,
            "{known:?} {stranger:?}"
        );
    }
    let gone = Copies {
        good: Map::new(),
        ..copies(&[(2, Some(Standing::Current))])
    };
    assert_eq!(top(&key(), &gone, &list), None, "its bytes are not here");
}
