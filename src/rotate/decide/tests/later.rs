//! What may be done once the next generation is staged: give it to roots, give it up, retire the one before.

use super::*;

#[test]
fn only_roots_that_the_target_does_not_open_are_left() {
    let mut facts = staged();
    facts.roots[0].opens = Opens::By(print(2));
    let left = to_change(&facts, print(2));
    let left: Vec<&str> = left.iter().map(|root| root.dataset.as_str()).collect();
    assert_eq!(left, ["zdata/b"]);
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
    let rows: [Row; 8] = [
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
    ];
    each(staged, abort, &rows);
}

#[test]
fn law_7_what_a_root_or_replica_may_need_is_not_retired() {
    each(done, retire, &COMMON);
    let rows: [Row; 13] = [
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
