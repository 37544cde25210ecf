//! What a person at a terminal is told of a verb that takes long: what it waits for while it waits, and
//! nothing any more when it prints.

mod nodes;
mod scenes;
mod sim;

use f3skeys::boot::boot;
use f3skeys::lock::lock;
use f3skeys::marker;
use f3skeys::pass::Node;
use f3skeys::ready::ready;
use f3skeys::reconcile::reconcile;
use f3skeys::rehearse::rehearse;
use f3skeys::rotate::{What, rotate};
use f3skeys::status::status;
use f3skeys::verify::{Options, verify};
use nodes::World;
use scenes::config;
use sim::{Sim, f3s, good_stick};
use std::collections::BTreeSet;
use std::rc::Rc;

type Verb<'a> = &'a dyn Fn(Node);

/// What was waited for while time passed.
fn waits(sim: &Sim, verb: impl FnOnce(Node)) -> BTreeSet<String> {
    let seen = Rc::default();
    let noted: Rc<std::cell::RefCell<BTreeSet<String>>> = Rc::clone(&seen);
    *sim.meanwhile.borrow_mut() = Some(Rc::new(move |sim: &Sim, _| {
        let now = sim.doings.borrow().last().cloned();
        noted.borrow_mut().insert(now.unwrap_or_default());
    }));
    sim.verb(verb);
    *sim.meanwhile.borrow_mut() = None;
    assert_eq!(sim.doings.borrow().last().map(String::as_str), Some(""));
    seen.take()
}

fn words(of: &[&str]) -> BTreeSet<String> {
    of.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn a_boot_tells_what_it_waits_for() {
    let sim = f3s("progress-boot");
    let seen = waits(&sim, |node| drop(boot(node, &config())));
    assert!(seen.contains("boot: key device"), "{seen:?}");
    assert!(
        seen.iter().all(|what| what.starts_with("boot: ")),
        "{seen:?}"
    );

    let sim = f3s("progress-late").stick(good_stick());
    let seen = waits(&sim, |node| drop(boot(node, &config())));
    for what in ["boot: key store", "boot: zdata"] {
        assert!(seen.contains(what), "{what}: {seen:?}");
    }
}

#[test]
fn a_run_that_meets_another_tells_so() {
    let sim = f3s("progress-lock");
    let _other = marker::try_lock(&sim.run()).unwrap();
    let seen = waits(&sim, |node| drop(ready(node, &config())));
    assert_eq!(seen, words(&["ready: another f3skeys"]));
}

#[test]
fn whatever_takes_time_is_told_and_in_the_end_nothing_is() {
    let sim = scenes::booted("progress", Some(good_stick()));
    let (pools, repair) = (true, false);
    let verbs: [(&str, Verb); 5] = [
        ("status: pools", &|node| drop(status(node, &sim::config()))),
        ("verify: roots", &|node| {
            drop(verify(node, &config(), Options { pools, repair }));
        }),
        ("reconcile: pools", &|node| drop(reconcile(node, &config()))),
        ("rehearse: boot: key store", &|node| {
            drop(rehearse(node, &config(), &[]))
        }),
        ("lock: keys", &|node| drop(lock(node, &config()))),
    ];
    for (what, verb) in verbs {
        sim.doings.borrow_mut().clear();
        let seen = waits(&sim, verb);
        assert!(
            seen.iter().any(|seen| seen.ends_with(what)),
            "{what}: {seen:?}"
        );
        assert!(!seen.contains(""), "{what}: {seen:?}");
    }
}

#[test]
fn peers_are_waited_for_by_name_of_the_verb() {
    let world = World::backed_up("progress");
    let told = |node: &str| world.sim(node).doings.borrow().clone();
    world.backup("f0", &[]);
    assert!(told("f0").contains(&"backup: peers".to_owned()));
    world.copies("f1");
    assert!(told("f1").contains(&"status: peers".to_owned()));
    let (sim, config) = &**world.host("f2");
    let key = "f2:data".parse().unwrap();
    sim.verb(|node| {
        rotate(
            node,
            config,
            &key,
            What::Plan {
                take_over: false,
                copies: None,
            },
            &|_| {},
        )
    });
    assert!(told("f2").contains(&"rotate: peers".to_owned()));
    for node in nodes::NODES {
        assert_eq!(told(node).last().map(String::as_str), Some(""));
    }
}
