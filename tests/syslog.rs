//! Every verb that changes something leaves a line in the system's log, and none that changes nothing;
//! what a job finds each minute is told once.

mod nodes;
mod scenes;
mod sim;

use f3skeys::boot::boot;
use f3skeys::lock::lock;
use f3skeys::new_key::new_key;
use f3skeys::pass::Node;
use f3skeys::preview::preview;
use f3skeys::promote::{demote, promote};
use f3skeys::ready::ready;
use f3skeys::receive::rebuild;
use f3skeys::reconcile::reconcile;
use f3skeys::rehearse::rehearse;
use f3skeys::report::Severity;
use f3skeys::rotate::{What, rotate};
use f3skeys::status::status;
use f3skeys::verify::{Options, verify};
use nodes::World;
use scenes::{SINK, config};
use sim::{Sim, good_stick, keys};

/// What a verb has logged.
fn logged(sim: &Sim, verb: impl FnOnce(Node)) -> Vec<(Severity, String)> {
    sim.logged.borrow_mut().clear();
    sim.verb(verb);
    let lines = sim.logged.borrow().clone();
    for (_, line) in &lines {
        assert!(!line.contains('\n'), "{line}");
        for (_, bytes) in keys() {
            let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
            assert!(!line.contains(&hex[..16]), "law 2: {line}");
        }
    }
    lines
}

/// One line that begins so and holds these words.
fn assert_one(lines: &[(Severity, String)], severity: Severity, begin: &str, words: &str) {
    let [(told, line)] = lines else {
        panic!("not one line ({begin}) but {lines:#?}");
    };
    assert!(line.starts_with(begin) && line.contains(words), "{line}");
    assert_eq!(*told, severity, "{line}");
}

#[test]
fn each_pass_that_changes_something_leaves_one_line_and_none_when_repeated() {
    let sim = scenes::booted("syslog", Some(good_stick()));
    sim.reboot("boot-2");
    let config = config();
    let dataset = SINK.parse().unwrap();
    let lines = logged(&sim, |node| drop(boot(node, &config)));
    assert_one(
        &lines,
        Severity::Note,
        "boot: exit status 0; changed: ",
        "load key",
    );
    assert_eq!(logged(&sim, |node| drop(boot(node, &config))), []);
    let lines = logged(&sim, |node| drop(ready(node, &config)));
    assert_one(
        &lines,
        Severity::Note,
        "ready: exit status 0; changed: ",
        "opened gate nfs",
    );
    let lines = logged(&sim, |node| drop(reconcile(node, &config)));
    assert_one(
        &lines,
        Severity::Note,
        "reconcile: ",
        "opened gate failback",
    );
    assert_eq!(logged(&sim, |node| drop(reconcile(node, &config))), []);
    let lines = logged(&sim, |node| {
        drop(promote(node, &config, &dataset, "f1 burnt down"));
    });
    assert_one(
        &lines,
        Severity::Note,
        "promote: exit status 0; changed: ",
        "zdata/sink/f1",
    );
    let lines = logged(&sim, |node| drop(demote(node, &config, &dataset)));
    assert_one(
        &lines,
        Severity::Note,
        "demote: exit status 0; changed: ",
        "zdata/sink/f1",
    );
    let lines = logged(&sim, |node| drop(lock(node, &config)));
    assert_one(
        &lines,
        Severity::Note,
        "lock: exit status 0; changed: ",
        "unload",
    );
}

#[test]
fn what_only_looks_leaves_none() {
    let sim = scenes::booted("syslog-looks", Some(good_stick()));
    let (pools, repair) = (true, false);
    let lines = logged(&sim, |node| {
        let config = config();
        status(node, &config);
        preview(node, &config);
        rehearse(node, &config, &[]);
        verify(node, &config, Options { pools, repair });
    });
    assert_eq!(lines, []);
}

#[test]
fn what_goes_wrong_each_minute_is_told_once_and_so_is_its_end() {
    let sim = scenes::booted("syslog-wrong", Some(good_stick()));
    let config = config();
    let run = |sim: &Sim| logged(sim, |node| drop(boot(node, &config)));
    sim.change("zdata/sink/f1/child", |d| d.readonly = false);
    sim.stubborn
        .borrow_mut()
        .push("zdata/sink/f1/child".to_owned());
    let lines = run(&sim);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].0 >= Severity::Failure && lines[0].1.contains("zdata/sink/f1/child"));
    assert_eq!(run(&sim), []);
    sim.stubborn.borrow_mut().clear();
    let lines = logged(&sim, |node| drop(boot(node, &config)));
    assert_one(
        &lines,
        Severity::Alarm,
        "boot: exit status 0; zdata/sink/f1/child: ",
        "readonly=on",
    );
}

#[test]
fn every_change_of_a_store_leaves_a_line() {
    let sim = scenes::booted("syslog-store", Some(good_stick()));
    let config = config();
    let name = f3skeys::new_key::name(&config, "more").unwrap();
    let lines = logged(&sim, |node| drop(new_key(node, &config, &name, None)));
    let first = &lines[..1];
    assert_one(
        first,
        Severity::Note,
        "new-key: key store: ",
        "f0.lan.buetow.org:more",
    );
    let top = "f0.lan.buetow.org:zdata.key";
    sim.sticks.borrow_mut()[0]
        .files
        .insert(top.to_owned(), vec![0; 32]);
    let (pools, repair) = (true, true);
    let lines = logged(&sim, |node| {
        drop(verify(node, &config, Options { pools, repair }))
    });
    assert_one(
        &lines,
        Severity::Note,
        "verify: key store: ",
        "f0.lan.buetow.org:zdata",
    );

    let lines = logged(&sim, |node| drop(rebuild::open(node, &config, None, 5)));
    assert_one(
        &lines,
        Severity::Warning,
        "receive --rebuild: ",
        "every peer, for 5 minutes",
    );
    let lines = logged(&sim, |node| drop(rebuild::end(node)));
    assert_one(&lines, Severity::Note, "receive --rebuild: ended", "");
    assert_eq!(logged(&sim, |node| drop(rebuild::end(node))), []);
}

#[test]
fn peers_that_are_given_keys_and_give_some_leave_lines_on_both_sides() {
    let world = World::new("syslog");
    world.backup("f0", &[]);
    let lines = |node: &str| world.sim(node).logged.borrow().clone();
    let has = |node: &str, begin: &str| lines(node).iter().any(|(_, line)| line.starts_with(begin));
    assert!(
        has("f0", "backup: exit status 0; changed: "),
        "{:?}",
        lines("f0")
    );
    assert!(
        has("f1", "receive from f0: key store: "),
        "{:?}",
        lines("f1")
    );
    let (sim, config) = &**world.host("f1");
    sim.verb(|node| boot(node, config));
    let key = "f1:data".parse().unwrap();
    let lines = logged(sim, |node| {
        rotate(
            node,
            config,
            &key,
            What::Start {
                take_over: false,
                copies: None,
            },
            &|_| {},
        );
    });
    let (_, last) = lines.last().unwrap();
    assert!(
        last.starts_with("rotate: exit status 0; changed: "),
        "{lines:#?}"
    );
}
