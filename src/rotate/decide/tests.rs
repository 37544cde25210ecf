//! What may be done about a key is held against one fault at a time: each row changes one thing of facts
//! that permit everything, and names who is complained of. `!` refuses, `~` only warns.

use super::*;
use crate::names::KeyName;
use crate::peers::{KeyTold, RootTold};
use crate::rotate::copies::Wanted;
use crate::rotate::record::Record;
use crate::sorted::Set;
use crate::store::Damage;
use crate::zfs::KeyFormat;
use std::sync::OnceLock;

/// The first three generations.
fn print(number: usize) -> Fingerprint {
    static PRINTS: OnceLock<[Fingerprint; 3]> = OnceLock::new();
    PRINTS.get_or_init(|| [1, 2, 3].map(|byte| Fingerprint::of(&[byte; 32])))[number - 1]
}

fn generation(number: usize, state: Standing) -> Generation {
    Generation {
        generation: u32::try_from(number).unwrap(),
        fingerprint: print(number),
        state,
    }
}

fn held(number: usize, state: Standing, whole: bool) -> Held {
    Held {
        generation: generation(number, state),
        whole,
        proof: None,
    }
}

fn name(text: &str) -> DatasetName {
    text.parse().unwrap()
}

fn root(dataset: &str) -> RootFacts {
    RootFacts {
        dataset: name(dataset),
        role: Role::Primary,
        seen: Ok(Seen {
            is_root: true,
            loaded: true,
            format: KeyFormat::Raw,
            location: None,
            clones: Vec::new(),
            replicas: Vec::new(),
            inheriting: Vec::new(),
            sealed: Vec::new(),
        }),
        opens: Opens::By(print(1)),
    }
}

fn peer(node: &str, store: &str, replica: Option<&str>) -> PeerFacts {
    let replicas: Vec<DatasetName> = replica.into_iter().map(name).collect();
    let roots = replicas.iter().map(|dataset| RootTold {
        dataset: dataset.clone(),
        opens: Opens::By(print(1)),
        inheriting: Vec::new(),
    });
    PeerFacts {
        name: node.parse().unwrap(),
        told: Ok(KeyTold {
            store: store.to_owned(),
            held: vec![held(1, Standing::Current, true)],
            sound: true,
            roots: roots.collect(),
            challenge: None,
            kept: Vec::new(),
        }),
        replicas,
        proven: [print(1)].into_iter().collect(),
        receipts: Ok(vec![(print(1), store.to_owned())]),
    }
}

/// Two roots, a peer `f1` with a replica and one, `f2`, without.
fn well() -> Facts {
    Facts {
        key: "f0:zdata".parse().unwrap(),
        node: "f0".parse().unwrap(),
        wanted: Wanted::Every,
        store: Ok(Own {
            id: "own".to_owned(),
            list: vec![generation(1, Standing::Current)],
            ..Own::default()
        }),
        roots: vec![root("zdata/a"), root("zdata/b")],
        peers: vec![peer("f1", "s1", Some("zsink/a")), peer("f2", "s2", None)],
        record: Ok(None),
    }
}

/// The same once the second generation is on every store, and no root has it yet.
fn staged() -> Facts {
    let mut facts = well();
    facts.record = Ok(Some(Record::default()));
    own(&mut facts).list.push(generation(2, Standing::Staged));
    for peer in &mut facts.peers {
        peer.proven.insert(print(2));
        told(peer).held.push(held(2, Standing::Staged, true));
    }
    facts
}

/// The same once every root and replica has it, and nothing is retired.
fn done() -> Facts {
    let mut facts = staged();
    own(&mut facts).list = vec![
        generation(1, Standing::Retained),
        generation(2, Standing::Current),
    ];
    for root in &mut facts.roots {
        root.opens = Opens::By(print(2));
    }
    for root in &mut told(&mut facts.peers[0]).roots {
        root.opens = Opens::By(print(2));
    }
    facts
}

fn own(facts: &mut Facts) -> &mut Own {
    facts.store.as_mut().unwrap()
}

fn told(peer: &mut PeerFacts) -> &mut KeyTold {
    peer.told.as_mut().unwrap()
}

fn seen(facts: &mut Facts) -> &mut Seen {
    facts.roots[0].seen.as_mut().unwrap()
}

fn away(peer: &mut PeerFacts) {
    peer.told = Err("away".to_owned());
    peer.proven = Set::new();
}

/// Who is complained of, and whether that refuses.
fn subjects(found: &[Finding]) -> Vec<String> {
    let subject = |finding: &Finding| match refuses(finding) {
        true => format!("!{}", finding.subject.as_str()),
        false => format!("~{}", finding.subject.as_str()),
    };
    found.iter().map(subject).collect()
}

type Change = fn(&mut Facts);
type Row = (&'static str, Change, &'static [&'static str]);

fn each(facts: fn() -> Facts, decide: impl Fn(&Facts) -> Vec<Finding>, rows: &[Row]) {
    for (what, change, expected) in rows {
        let mut facts = facts();
        change(&mut facts);
        let found = decide(&facts);
        assert_eq!(subjects(&found), *expected, "{what}: {found:#?}");
    }
}

/// What keeps every question from a yes, whichever it is.
const COMMON: [Row; 8] = [
    ("nothing", |_| (), &[]),
    (
        "another's key",
        |f| f.key = "f9:zdata".parse::<KeyName>().unwrap(),
        &["!f9:zdata"],
    ),
    ("no root", |f| f.roots.clear(), &["!f0:zdata"]),
    (
        "replicas alone",
        |f| {
            f.roots
                .iter_mut()
                .for_each(|root| root.role = Role::Replica)
        },
        &["!zdata/a", "!zdata/b"],
    ),
    ("a replica beside", |f| _ = beside(f), &[]),
    (
        "no store",
        |f| f.store = Err("gone".to_owned()),
        &["!f0:zdata"],
    ),
    ("a plain store", |f| own(f).plain = true, &["!f0:zdata"]),
    (
        "damage",
        |f| {
            own(f).damage.push(Damage {
                path: "f0:zdata.key".to_owned(),
                what: "is short".to_owned(),
            });
        },
        &["!f0:zdata.key"],
    ),
];

/// What keeps a root's key from being changed, now or later.
const BEFORE_CHANGE: [Row; 15] = [
    (
        "a replica that shares it",
        |f| seen(f).replicas.push(name("zdata/a/sink")),
        &["!zdata/a"],
    ),
    (
        "not seen",
        |f| f.roots[0].seen = Err("gone".to_owned()),
        &["!zdata/a"],
    ),
    ("no root at all", |f| seen(f).is_root = false, &["!zdata/a"]),
    ("locked", |f| seen(f).loaded = false, &["!zdata/a"]),
    (
        "a clone",
        |f| seen(f).clones.push(name("zdata/c")),
        &["!zdata/a"],
    ),
    (
        "a child that it may not unwrap",
        |f| {
            seen(f)
                .sealed
                .push((name("zdata/a/c"), "no device".to_owned()))
        },
        &["!zdata/a"],
    ),
    (
        "not asked",
        |f| f.roots[0].opens = Opens::CouldNotAsk("gone".to_owned()),
        &["!zdata/a"],
    ),
    (
        "a replica that is none there",
        |f| told(&mut f.peers[0]).roots.clear(),
        &["!zsink/a on f1"],
    ),
    (
        "another root in the replica's place",
        |f| told(&mut f.peers[0]).roots[0].dataset = name("zsink/b"),
        &["!zsink/a on f1"],
    ),
    (
        "a child of a replica that inherits",
        |f| {
            told(&mut f.peers[0]).roots[0]
                .inheriting
                .push(name("zsink/a/c"))
        },
        &["!zsink/a on f1"],
    ),
    (
        "a generation that is known nowhere else",
        |f| {
            told(&mut f.peers[1])
                .held
                .push(held(3, Standing::Retired, true))
        },
        &["!f2"],
    ),
    (
        "one by another number",
        |f| told(&mut f.peers[1]).held[0].generation.generation = 7,
        &["!f2"],
    ),
    (
        "one that is pruned and still there",
        |f| {
            told(&mut f.peers[1])
                .held
                .push(held(3, Standing::Pruned, true))
        },
        &["!f2"],
    ),
    (
        "one that is damaged and not pruned",
        |f| {
            told(&mut f.peers[1])
                .held
                .push(held(3, Standing::Retained, false))
        },
        &["!f2"],
    ),
    (
        "one that is pruned and gone",
        |f| {
            told(&mut f.peers[1])
                .held
                .push(held(3, Standing::Pruned, false))
        },
        &[],
    ),
];

/// Makes the second root a replica on this node.
fn beside(facts: &mut Facts) -> &mut RootFacts {
    facts.roots[1].role = Role::Replica;
    &mut facts.roots[1]
}

fn seen_beside(facts: &mut Facts) -> &mut Seen {
    beside(facts).seen.as_mut().unwrap()
}

/// What of a replica on this node keeps its primary's key from being changed.
const BESIDE: [Row; 10] = [
    (
        "locked, and opened by a key from before",
        |f| {
            seen_beside(f).loaded = false;
            beside(f).opens = Opens::By(print(3));
        },
        &[],
    ),
    (
        "a clone, which no change of a key would touch",
        |f| seen_beside(f).clones.push(name("zdata/c")),
        &[],
    ),
    ("no key", |f| beside(f).opens = Opens::NoKey, &["~zdata/b"]),
    (
        "not asked",
        |f| beside(f).opens = Opens::CouldNotAsk("gone".to_owned()),
        &["~zdata/b"],
    ),
    (
        "not seen",
        |f| beside(f).seen = Err("gone".to_owned()),
        &["!zdata/b"],
    ),
    (
        "no root at all",
        |f| seen_beside(f).is_root = false,
        &["!zdata/b"],
    ),
    (
        "a child that inherits",
        |f| seen_beside(f).inheriting.push(name("zdata/b/c")),
        &["!zdata/b"],
    ),
    (
        "a child that is not understood",
        |f| {
            let child = (name("zdata/b/c"), "a tab".to_owned());
            seen_beside(f).sealed.push(child);
        },
        &["!zdata/b"],
    ),
    (
        "with the target already",
        |f| beside(f).opens = Opens::By(print(2)),
        &[],
    ),
    (
        "a primary that is locked, all the same",
        |f| {
            beside(f);
            seen(f).loaded = false;
        },
        &["!zdata/a"],
    ),
];

/// Nothing of this store's own: a root that is to be taken over.
fn unheard_of(facts: &mut Facts) {
    own(facts).list.clear();
    for root in &mut facts.roots {
        root.opens = Opens::NoKey;
    }
    for peer in &mut facts.peers {
        told(peer).held.clear();
        peer.proven = Set::new();
        peer.receipts = Ok(Vec::new());
    }
}

#[test]
fn law_7_a_rotation_begins_only_where_nothing_is_wrong() {
    each(well, |f| start(f, false), &COMMON);
    each(well, |f| start(f, false), &BEFORE_CHANGE);
    each(well, |f| start(f, false), &BESIDE);
    let rows: [Row; 6] = [
        (
            "one that is open, whatever else is wrong",
            |f| {
                own(f).list.push(generation(2, Standing::Staged));
                seen(f).loaded = false;
            },
            &["!f0:zdata"],
        ),
        (
            "no number left",
            |f| {
                let mut last = generation(3, Standing::Retired);
                last.generation = u32::MAX;
                own(f).list.push(last);
            },
            &["!f0:zdata"],
        ),
        (
            "the last but one number",
            |f| {
                let mut last = generation(3, Standing::Retired);
                last.generation = u32::MAX - 1;
                own(f).list.push(last);
            },
            &[],
        ),
        (
            "another key",
            |f| f.roots[0].opens = Opens::By(print(2)),
            &["!zdata/a"],
        ),
        ("no key", |f| f.roots[1].opens = Opens::NoKey, &["!zdata/b"]),
        (
            "nothing known",
            unheard_of,
            &["!f0:zdata", "!zdata/a", "!zdata/b"],
        ),
    ];
    each(well, |f| start(f, false), &rows);
}

#[test]
fn law_7_only_what_no_key_of_the_store_opens_is_taken_over() {
    let rows: [Row; 5] = [
        ("no key", |f| f.roots[1].opens = Opens::NoKey, &[]),
        ("nothing known", unheard_of, &[]),
        (
            "generations, and none that is current",
            |f| own(f).list[0].state = Standing::Retired,
            &["!f0:zdata", "!zdata/a", "!zdata/b"],
        ),
        (
            "another key",
            |f| f.roots[0].opens = Opens::By(print(2)),
            &["!zdata/a"],
        ),
        (
            "not asked",
            |f| f.roots[0].opens = Opens::CouldNotAsk("gone".to_owned()),
            &["!zdata/a"],
        ),
    ];
    each(well, |f| start(f, true), &rows);
}

#[test]
fn a_peer_that_does_not_answer_is_named_once_and_refuses_where_it_is_needed() {
    let rows: [Row; 6] = [
        // As a replica's node, as one that held the present key, and because one store is then too few.
        (
            "the replica's",
            |f| away(&mut f.peers[0]),
            &["!f1", "!f1", "!f0:zdata"],
        ),
        (
            "the other",
            |f| away(&mut f.peers[1]),
            &["!f2", "!f0:zdata"],
        ),
        (
            "one that held nothing",
            |f| {
                away(&mut f.peers[1]);
                f.peers[1].receipts = Ok(Vec::new());
            },
            &["~f2"],
        ),
        (
            "one that is not needed in words",
            |f| {
                f.wanted = Wanted::Configured(1);
                away(&mut f.peers[1]);
            },
            &["~f2"],
        ),
        (
            "a replica's that is not needed in words",
            |f| {
                f.wanted = Wanted::Configured(1);
                away(&mut f.peers[0]);
                f.peers[0].receipts = Ok(Vec::new());
            },
            &["!f1"],
        ),
        (
            "another stick",
            |f| f.peers[1].receipts = Ok(vec![(print(1), "s9".to_owned())]),
            &["~f2"],
        ),
    ];
    each(well, |f| start(f, false), &rows);
}

#[test]
fn law_7_a_rotation_goes_on_only_where_nothing_is_wrong_with_what_is_left() {
    each(staged, |f| go_on(f, false), &COMMON);
    each(staged, |f| go_on(f, false), &BEFORE_CHANGE);
    each(staged, |f| go_on(f, false), &BESIDE);
    let rows: [Row; 5] = [
        (
            "no target",
            |f| {
                own(f).list.clear();
                f.roots[0].seen = Err("gone".to_owned());
            },
            &["!f0:zdata"],
        ),
        ("no key", |f| f.roots[0].opens = Opens::NoKey, &["!zdata/a"]),
        (
            "no key, and noted so",
            |f| {
                f.roots[0].opens = Opens::NoKey;
                f.record.as_mut().unwrap().as_mut().unwrap().take_over = true;
            },
            &[],
        ),
        (
            "wrong with what is done already",
            |f| {
                f.roots[0].opens = Opens::By(print(2));
                f.roots[0].seen = Err("gone".to_owned());
            },
            &[],
        ),
        (
            "nothing left, so that nothing is asked of peers",
            |f| {
                for root in &mut f.roots {
                    root.opens = Opens::By(print(2));
                }
                away(&mut f.peers[0]);
            },
            &[],
        ),
    ];
    each(staged, |f| go_on(f, false), &rows);
    let said: [Row; 2] = [
        ("no key", |f| f.roots[0].opens = Opens::NoKey, &[]),
        (
            "another stick",
            |f| f.peers[1].receipts = Ok(vec![(print(1), "s9".to_owned())]),
            &["~f2"],
        ),
    ];
    each(staged, |f| go_on(f, true), &said);
}

#[test]
fn only_roots_that_the_target_does_not_open_are_left() {
    let mut facts = staged();
    facts.roots[0].opens = Opens::By(print(2));
    let left = to_change(&facts, print(2));
    let left: Vec<&str> = left.iter().map(|root| root.dataset.as_str()).collect();
    assert_eq!(left, ["zdata/b"]);
}

#[test]
fn law_3_the_key_of_a_replica_is_never_changed_whatever_opens_it() {
    for opens in [Opens::By(print(1)), Opens::By(print(3)), Opens::NoKey] {
        let mut facts = staged();
        beside(&mut facts).opens = opens;
        let left = to_change(&facts, print(2));
        let left: Vec<&str> = left.iter().map(|root| root.dataset.as_str()).collect();
        assert_eq!(left, ["zdata/a"]);
    }
    // Nor is one taken over.
    let mut facts = well();
    beside(&mut facts).opens = Opens::NoKey;
    let found = start(&facts, false);
    assert!(
        found.iter().all(|f| !f.remedy.contains("--take-over")),
        "{found:#?}"
    );
}

#[test]
fn what_a_replica_here_receives_while_peers_are_asked_is_no_interference() {
    let mut before = staged();
    beside(&mut before);
    let mut now = before.clone();
    beside(&mut now).opens = Opens::By(print(2));
    assert!(before.is_same_here(&now));
    now.roots[1].role = Role::Primary;
    assert!(!before.is_same_here(&now), "it was promoted");
    now = before.clone();
    now.roots[0].opens = Opens::By(print(2));
    assert!(!before.is_same_here(&now), "a primary was changed");
}

#[test]
fn law_7_a_root_gets_no_key_that_the_node_of_its_replica_has_not_proven() {
    let rows: [Row; 4] = [
        ("all have", |_| (), &[]),
        (
            "the replica's has not, whatever a person says",
            |f| {
                f.wanted = Wanted::Said(0);
                f.peers[0].proven = Set::new();
            },
            &["!f1", "~f1"],
        ),
        (
            "the other has not",
            |f| f.peers[1].proven = Set::new(),
            &["!f2", "!f0:zdata"],
        ),
        (
            "neither has, and a person says so",
            |f| {
                f.wanted = Wanted::Said(0);
                f.peers[0].replicas.clear();
                for peer in &mut f.peers {
                    peer.proven = Set::new();
                }
            },
            &["~f1", "~f2", "~f0:zdata"],
        ),
    ];
    each(staged, |f| copies(f, print(2)), &rows);
    // Once every root has it, nothing is refused any more, and all of it is still told.
    for (what, change, expected) in &rows {
        let mut facts = staged();
        change(&mut facts);
        let warned: Vec<String> = expected.iter().map(|s| s.replace('!', "~")).collect();
        let found = copies_at_the_end(&facts, print(2));
        assert_eq!(subjects(&found), warned, "{what}: {found:#?}");
        assert!(
            found.iter().all(|f| f.severity == Severity::Warning),
            "{found:#?}"
        );
    }
}

#[test]
fn law_7_a_generation_that_a_root_may_have_is_not_given_up() {
    each(staged, abort, &COMMON);
    let rows: [Row; 11] = [
        (
            "nothing is open",
            |f| own(f).list.truncate(1),
            &["!f0:zdata"],
        ),
        (
            "a key may have been changed",
            |f| f.record.as_mut().unwrap().as_mut().unwrap().changing = true,
            &["!f0:zdata"],
        ),
        ("no note", |f| f.record = Ok(None), &["!f0:zdata"]),
        (
            "a note that cannot be read",
            |f| f.record = Err("EIO".to_owned()),
            &["!f0:zdata"],
        ),
        (
            "a root that has it",
            |f| f.roots[0].opens = Opens::By(print(2)),
            &["!zdata/a"],
        ),
        (
            "a root with a third key",
            |f| f.roots[0].opens = Opens::By(print(3)),
            &[],
        ),
        (
            "a root with no key",
            |f| f.roots[0].opens = Opens::NoKey,
            &["!zdata/a"],
        ),
        (
            "a root that was not asked",
            |f| f.roots[1].opens = Opens::CouldNotAsk("gone".to_owned()),
            &["!zdata/b"],
        ),
        (
            "a replica here that has it",
            |f| beside(f).opens = Opens::By(print(2)),
            &["!zdata/b"],
        ),
        (
            "a replica here that was not asked",
            |f| beside(f).opens = Opens::CouldNotAsk("gone".to_owned()),
            &["!zdata/b"],
        ),
        (
            "a replica here with no key",
            |f| beside(f).opens = Opens::NoKey,
            &[],
        ),
    ];
    each(staged, abort, &rows);
}

#[test]
fn law_7_what_a_root_or_replica_may_need_is_not_retired() {
    each(done, retire, &COMMON);
    let rows: [Row; 16] = [
        (
            "a replica here with the one before",
            |f| beside(f).opens = Opens::By(print(1)),
            &["!zdata/b"],
        ),
        (
            "a replica here with no key",
            |f| beside(f).opens = Opens::NoKey,
            &["!zdata/b"],
        ),
        (
            "a replica here that was not asked",
            |f| beside(f).opens = Opens::CouldNotAsk("gone".to_owned()),
            &["!zdata/b"],
        ),
        (
            "a rotation is open",
            |f| own(f).list.push(generation(3, Standing::Staged)),
            &["!f0:zdata"],
        ),
        (
            "none is current",
            |f| own(f).list.truncate(1),
            &["!f0:zdata"],
        ),
        (
            "a root with the one before",
            |f| f.roots[0].opens = Opens::By(print(1)),
            &["!zdata/a"],
        ),
        (
            "a root with no key",
            |f| f.roots[0].opens = Opens::NoKey,
            &["!zdata/a"],
        ),
        (
            "a root that was not asked",
            |f| f.roots[1].opens = Opens::CouldNotAsk("gone".to_owned()),
            &["!zdata/b"],
        ),
        (
            "a replica with the one before",
            |f| told(&mut f.peers[0]).roots[0].opens = Opens::By(print(1)),
            &["!zsink/a on f1"],
        ),
        (
            "a replica with no key",
            |f| told(&mut f.peers[0]).roots[0].opens = Opens::NoKey,
            &["!zsink/a on f1"],
        ),
        (
            "a replica that was not asked",
            |f| told(&mut f.peers[0]).roots[0].opens = Opens::CouldNotAsk("gone".to_owned()),
            &["!zsink/a on f1"],
        ),
        (
            "a replica that is none there",
            |f| told(&mut f.peers[0]).roots.clear(),
            &["!zsink/a on f1"],
        ),
        (
            "another root in the replica's place",
            |f| told(&mut f.peers[0]).roots[0].dataset = name("zsink/b"),
            &["!zsink/a on f1"],
        ),
        // Not seen to open; and it held the key, so it must prove that it still does.
        (
            "the replica's node is away",
            |f| away(&mut f.peers[0]),
            &["!zsink/a on f1", "!f1", "!f0:zdata"],
        ),
        (
            "another node is away",
            |f| away(&mut f.peers[1]),
            &["!f2", "!f0:zdata"],
        ),
        (
            "another stick",
            |f| f.peers[1].receipts = Ok(vec![(print(2), "s9".to_owned())]),
            &["~f2"],
        ),
    ];
    each(done, retire, &rows);
}

#[test]
fn a_refusal_names_what_needs_it_and_the_command_that_goes_on() {
    let mut facts = staged();
    facts.peers[0].proven = Set::new();
    let found = copies(&facts, print(2));
    assert!(found[0].what.contains("zsink/a"), "{found:#?}");
    let resume = "`f3skeys rotate f0:zdata --resume`";
    assert!(found[0].remedy.contains(resume), "{found:#?}");
}

/// Nobody is told to take over what may be opened by a key that is there.
#[test]
fn law_7_only_of_a_root_that_no_key_opens_it_is_said_that_it_can_be_taken_over() {
    for (opens, expected) in [
        (Opens::NoKey, true),
        (Opens::CouldNotAsk("gone".to_owned()), false),
    ] {
        let mut facts = well();
        facts.roots[0].opens = opens;
        let found = start(&facts, false);
        let said = found[0].remedy.contains("--take-over");
        assert_eq!(said, expected, "{found:#?}");
    }
}
