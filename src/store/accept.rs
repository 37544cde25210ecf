//! What a store takes of a list that a peer sends. Pure.
//!
//! A list with a proof is its owner's word. One without changes nothing that the store has of the key:
//! it is a new key, or it says what is so already and brings what is damaged. And whatever the list
//! says, a store goes on trying a generation that one of its roots may need.

use super::merge::{listing, number_of};
use super::state::{Generation, Standing};
use super::survey::Copies;
use crate::key::Fingerprint;
use crate::names::{DatasetName, KeyName};
use crate::peers::Opens;
use crate::sorted::Set;

/// The generations with which a list can be vouched for: those that are whole here and that boots try.
/// Where none of these is whole, what is retired vouches as well.
pub fn vouchers(copies: &Copies) -> Set<Fingerprint> {
    let standings = copies.standings(&Set::new());
    let is_whole = |print: &&Fingerprint| copies.good.contains_key(*print);
    let is_tried = |print: &&Fingerprint| standings.get(*print).is_some_and(|s| s.is_tried());
    let whole = || standings.keys().filter(is_whole);
    let tried: Set<Fingerprint> = whole().filter(is_tried).copied().collect();
    match tried.is_empty() {
        true => whole().copied().collect(),
        false => tried,
    }
}

/// Whether a list that nothing vouches for may be taken.
///
/// # Errors
/// It would change what the store has of the key.
pub fn unvouched(key: &KeyName, copies: &Copies, list: &[Generation]) -> Result<(), String> {
    let listed = listing(copies);
    let is_part = copies.known.keys().all(|print| {
        let mut list = list.iter();
        list.any(|g| g.fingerprint == *print && Some(g.generation) == number_of(copies, *print))
    });
    let is_same = listed.iter().all(|g| list.contains(g)) && listed.len() == list.len();
    match is_part && (listed.is_empty() || is_same) {
        true => Ok(()),
        false => Err(format!(
            "{key} is on this store, and nothing proves that this list is its owner's; the owner proves it with a generation that both stores hold"
        )),
    }
}

/// The generations of this store that the list retires or prunes.
pub fn given_up(copies: &Copies, list: &[Generation]) -> Set<Fingerprint> {
    let here = copies.standings(&Set::new());
    let given_up = list.iter().filter(|g| {
        let here = here.get(&g.fingerprint);
        !g.state.is_tried() && here.is_some_and(|here| *here != g.state)
    });
    given_up.map(|g| g.fingerprint).collect()
}

/// Why a store must go on trying what a list gives up: the first root that nothing which the list has
/// tried was seen to open. `None` when there is no such root.
pub fn needed_by(roots: &[(DatasetName, Opens)], list: &[Generation]) -> Option<String> {
    let is_tried = |print: &Fingerprint| {
        let mut list = list.iter();
        list.any(|g| g.fingerprint == *print && g.state.is_tried())
    };
    roots.iter().find_map(|(root, opens)| match opens {
        Opens::By(print) if is_tried(print) => None,
        Opens::By(print) => Some(format!("{root} is opened by {print}")),
        Opens::NoKey => Some(format!(
            "{root} was seen to be opened by none of the others"
        )),
        Opens::CouldNotAsk(why) => Some(format!("{root} could not be asked: {why}")),
    })
}

/// The list with these generations kept: what boots try here they go on trying, and what is retired is
/// not pruned.
pub fn keeping(copies: &Copies, list: &[Generation], kept: &Set<Fingerprint>) -> Vec<Generation> {
    let here = copies.standings(&Set::new());
    let keep = |g: &Generation| match here.get(&g.fingerprint) {
        Some(here) if kept.contains(&g.fingerprint) => Generation {
            state: match here.is_tried() {
                true => Standing::Retained,
                false => *here,
            },
            ..g.clone()
        },
        _ => g.clone(),
    };
    list.iter().map(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::survey::Known;

    const ALL: [Standing; 5] = [
        Standing::Current,
        Standing::Staged,
        Standing::Retained,
        Standing::Retired,
        Standing::Pruned,
    ];

    fn generation(byte: u8, state: Standing) -> Generation {
        Generation {
            generation: byte.into(),
            fingerprint: Fingerprint::from([byte; 32]),
            state,
        }
    }

    fn print(byte: u8) -> Fingerprint {
        Fingerprint::from([byte; 32])
    }

    /// Of one root and of two: each by nothing, by something listed in each standing, by something that
    /// is not listed, or unknown.
    #[test]
    fn law_7_a_root_needs_what_is_given_up_unless_it_was_seen_to_open_by_what_is_tried() {
        for state in ALL {
            let list = [generation(1, state), generation(2, Standing::Retired)];
            let ways = [
                (Opens::By(print(1)), state.is_tried()),
                (Opens::By(print(2)), false),
                (Opens::By(print(3)), false),
                (Opens::NoKey, false),
                (Opens::CouldNotAsk("suspended".to_owned()), false),
            ];
            assert_eq!(needed_by(&[], &list), None);
            for (one, one_is_fine) in &ways {
                for (other, other_is_fine) in &ways {
                    let root = |name: &str, opens: &Opens| (name.parse().unwrap(), opens.clone());
                    let roots = [root("z/a", one), root("z/b", other)];
                    let needed = needed_by(&roots, &list);
                    let fine = *one_is_fine && *other_is_fine;
                    assert_eq!(needed.is_none(), fine, "{state} {one:?} {other:?}");
                    let first = if *one_is_fine { "z/b" } else { "z/a" };
                    assert!(needed.is_none_or(|why| why.starts_with(first)));
                }
            }
        }
    }

    /// Every standing here against every one in the list, kept and not kept; and one that is not here.
    #[test]
    fn law_7_what_is_kept_is_tried_as_before_and_the_rest_is_as_the_list_has_it() {
        for here in ALL {
            for listed in ALL {
                for kept in [Set::new(), [print(1), print(2)].into_iter().collect()] {
                    let known = Known {
                        number: 1,
                        listed: Some(here),
                    };
                    let copies = Copies {
                        known: [(print(1), known)].into(),
                        ..Copies::default()
                    };
                    let list = [generation(1, listed), generation(2, listed)];
                    let kept_state = match here.is_tried() {
                        true => Standing::Retained,
                        false => here,
                    };
                    let expected = if kept.is_empty() { listed } else { kept_state };
                    let found = keeping(&copies, &list, &kept);
                    let expected = [generation(1, expected), generation(2, listed)];
                    assert_eq!(found, expected, "{here} {listed}");
                }
            }
        }
    }

    fn here(known: &[(u8, Standing)]) -> Copies {
        let known = known.iter().map(|(byte, state)| {
            let (number, listed) = ((*byte).into(), Some(*state));
            (print(*byte), Known { number, listed })
        });
        Copies {
            known: known.collect(),
            ..Copies::default()
        }
    }

    #[test]
    fn law_7_a_list_without_a_proof_says_what_is_so_already_or_of_a_new_key() {
        let key: KeyName = "f0:zdata".parse().unwrap();
        let (current, retained) = (Standing::Current, Standing::Retained);
        let both = [(1, retained), (2, current)];
        let list = [generation(1, retained), generation(2, current)];
        let mut by_another_number = list.clone();
        by_another_number[0].generation = 7;
        for (known, list, expected) in [
            (&both[..0], &list[..], true),
            (&both[..], &list[..], true),
            (&both[..], &list[1..], false),
            (&both[1..], &list[..], false),
            (&[(1, current), (2, retained)], &list[..], false),
            (&both[..], &by_another_number[..], false),
        ] {
            let found = unvouched(&key, &here(known), list);
            assert_eq!(found.is_ok(), expected, "{known:?} {list:?}");
        }
        // Files of generations that the state does not list yet count by fingerprint and number.
        for (number, expected) in [(1, true), (7, false)] {
            let known = Known {
                number,
                listed: None,
            };
            let cut = Copies {
                known: [(print(1), known)].into(),
                ..Copies::default()
            };
            assert_eq!(unvouched(&key, &cut, &list).is_ok(), expected, "{number}");
        }
    }

    #[test]
    fn what_is_given_up_is_what_a_list_retires_or_prunes_and_was_not_so_before() {
        for state in ALL {
            for listed in ALL {
                let list = [generation(1, listed), generation(2, listed)];
                let found = given_up(&here(&[(1, state)]), &list);
                let expected: Set<Fingerprint> = match !listed.is_tried() && listed != state {
                    true => [print(1)].into_iter().collect(),
                    false => Set::new(),
                };
                assert_eq!(found, expected, "{state} {listed}");
            }
        }
    }
}
