//! Every way in which two peers can stand, against every demand, by an oracle of its own.

use super::*;
use crate::key::Fingerprint;
use crate::peers::KeyTold;
use crate::rotate::facts::Own;
use crate::store::state::Generation;
use std::collections::BTreeSet;
use std::sync::OnceLock;

const OWN: &str = "own";

fn print(number: usize) -> Fingerprint {
    prints()[number - 1]
}

/// The generation before, the present one, and the one that is to be.
fn prints() -> [Fingerprint; 3] {
    // Taken once: it is asked for some hundred thousand times.
    static PRINTS: OnceLock<[Fingerprint; 3]> = OnceLock::new();
    *PRINTS.get_or_init(|| [1, 2, 3].map(|byte| Fingerprint::of(&[byte; 32])))
}

/// How a peer stands: the store that it answers with, whether it has proven the present and the new
/// generation just now, and what its receipts say.
#[derive(Debug, Clone, Copy)]
struct Stands {
    store: Option<&'static str>,
    present: bool,
    new: bool,
    receipt: Receipt,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Receipt {
    None,
    Older,
    Present,
    Unreadable,
}

fn all() -> Vec<Stands> {
    let mut all = Vec::new();
    for receipt in [
        Receipt::None,
        Receipt::Older,
        Receipt::Present,
        Receipt::Unreadable,
    ] {
        for store in [None, Some(OWN), Some("a"), Some("b"), Some("")] {
            for proven in 0..4 {
                // Nothing is proven without an answer, or by a store without an identity.
                let proves = store.is_some_and(|store| !store.is_empty());
                if proven == 0 || proves {
                    let (present, new) = (proven & 1 != 0, proven & 2 != 0);
                    all.push(Stands {
                        store,
                        present,
                        new,
                        receipt,
                    });
                }
            }
        }
    }
    all
}

fn peer(name: &str, stands: Stands) -> PeerFacts {
    let [older, present, new] = prints();
    let mut proven = Set::new();
    for (has, print) in [(stands.present, present), (stands.new, new)] {
        if has {
            proven.insert(print);
        }
    }
    let told = stands.store.map(|store| KeyTold {
        store: store.to_owned(),
        held: Vec::new(),
        sound: true,
        roots: Vec::new(),
        challenge: None,
        kept: Vec::new(),
    });
    PeerFacts {
        name: name.parse().unwrap(),
        replicas: Vec::new(),
        told: told.ok_or("away".to_owned()),
        proven,
        receipts: match stands.receipt {
            Receipt::None => Ok(Vec::new()),
            Receipt::Older => Ok(vec![(older, "a".to_owned())]),
            Receipt::Present => Ok(vec![(present, "a".to_owned())]),
            Receipt::Unreadable => Err("Input/output error".to_owned()),
        },
    }
}

fn facts(wanted: Wanted, peers: &[Stands]) -> Facts {
    let states = [Standing::Retained, Standing::Current, Standing::Staged];
    let list = prints().into_iter().zip(states).zip(1..);
    let list = list.map(|((fingerprint, state), generation)| Generation {
        generation,
        fingerprint,
        state,
    });
    let own = Own {
        id: OWN.to_owned(),
        list: list.collect(),
        ..Own::default()
    };
    let names = ["f1", "f2"].into_iter().zip(peers);
    Facts {
        key: "f0:zdata".parse().unwrap(),
        node: "f0".parse().unwrap(),
        wanted,
        store: Ok(own),
        roots: Vec::new(),
        peers: names.map(|(name, stands)| peer(name, *stands)).collect(),
        record: Ok(None),
    }
}

const DEMANDS: [Wanted; 6] = [
    Wanted::Every,
    Wanted::Configured(1),
    Wanted::Configured(2),
    Wanted::Said(0),
    Wanted::Said(1),
    Wanted::Said(2),
];

/// Whether enough distinct stores other than our own are `well`, and every peer that `must` be.
fn enough(
    wanted: Wanted,
    peers: &[Stands],
    well: impl Fn(&Stands) -> bool,
    must: impl Fn(&Stands) -> bool,
) -> bool {
    let stores = peers
        .iter()
        .filter(|peer| well(peer))
        .filter_map(|peer| peer.store);
    let stores: BTreeSet<&str> = stores.filter(|s| !["", OWN].contains(s)).collect();
    match wanted {
        Wanted::Configured(number) | Wanted::Said(number) => stores.len() >= number,
        Wanted::Every => {
            let must: Vec<&Stands> = peers.iter().filter(|peer| must(peer)).collect();
            must.iter().all(|peer| well(peer)) && stores.len() >= must.len().max(1)
        }
    }
}

fn passes(found: &[Finding]) -> bool {
    found
        .iter()
        .all(|finding| finding.severity < Severity::Failure)
}

fn each_pair(check: impl Fn(Wanted, &[Stands; 2])) {
    for first in all() {
        for second in all() {
            for wanted in DEMANDS {
                check(wanted, &[first, second]);
            }
        }
    }
}

#[test]
fn law_7_a_root_gets_a_key_only_when_as_many_stores_hold_it_as_held_the_one_before() {
    each_pair(|wanted, peers| {
        let found = proven(&facts(wanted, peers), print(3), "again");
        let must = |peer: &Stands| {
            peer.present || matches!(peer.receipt, Receipt::Present | Receipt::Unreadable)
        };
        let expected = enough(wanted, peers, |peer| peer.new, must);
        assert_eq!(passes(&found), expected, "{wanted:?} {peers:?}: {found:?}");
    });
}

#[test]
fn law_7_nothing_is_staged_when_the_stores_that_must_hold_it_do_not_answer() {
    each_pair(|wanted, peers| {
        let found = reachable(&facts(wanted, peers), "again");
        let must = |peer: &Stands| {
            peer.present || matches!(peer.receipt, Receipt::Present | Receipt::Unreadable)
        };
        let well = |peer: &Stands| peer.store.is_some_and(|store| !store.is_empty());
        let expected = enough(wanted, peers, well, must);
        assert_eq!(passes(&found), expected, "{wanted:?} {peers:?}: {found:?}");
    });
}

#[test]
fn law_7_nothing_is_retired_that_lies_on_more_stores_than_what_is_current() {
    each_pair(|wanted, peers| {
        let found = instead_of_retained(&facts(wanted, peers), print(2), "again");
        let must = |peer: &Stands| peer.present || peer.receipt != Receipt::None;
        let expected = enough(wanted, peers, |peer| peer.present, must);
        assert_eq!(passes(&found), expected, "{wanted:?} {peers:?}: {found:?}");
    });
}

#[test]
fn the_words_of_a_run_go_first_and_zero_counts_only_there() {
    for said in [None, Some(0), Some(1), Some(2)] {
        for configured in [None, Some(0), Some(1), Some(2)] {
            let expected = match (said, configured) {
                (Some(said), _) => Wanted::Said(said as usize),
                (None, Some(n)) if n > 0 => Wanted::Configured(n as usize),
                (None, _) => Wanted::Every,
            };
            assert_eq!(
                Wanted::of(said, configured),
                expected,
                "{said:?} {configured:?}"
            );
        }
    }
}

#[test]
fn that_there_is_one_copy_is_told_with_and_without_peers() {
    let alone = proven(&facts(Wanted::Every, &[]), print(3), "again");
    assert_eq!(alone.len(), 1);
    assert_eq!(alone[0].severity, Severity::Note);
    let away = Stands {
        store: None,
        present: false,
        new: false,
        receipt: Receipt::Present,
    };
    let said = proven(&facts(Wanted::Said(0), &[away]), print(3), "again");
    let subjects: Vec<&str> = said
        .iter()
        .map(|finding| finding.subject.as_str())
        .collect();
    assert_eq!(subjects, ["f1", "f0:zdata"]);
    assert!(
        said.iter()
            .all(|finding| finding.severity == Severity::Warning)
    );
}

#[test]
fn whoever_lacks_a_copy_is_named_with_the_store_that_held_the_present_one() {
    let away = Stands {
        store: None,
        present: false,
        new: false,
        receipt: Receipt::Present,
    };
    for wanted in DEMANDS {
        let found = proven(&facts(wanted, &[away]), print(3), "again");
        let of_peer = found
            .iter()
            .find(|finding| finding.subject == "f1")
            .unwrap();
        assert!(of_peer.what.contains("store a"), "{of_peer:?}");
        assert!(of_peer.remedy.contains("`again --copies 0`"), "{of_peer:?}");
    }
}
