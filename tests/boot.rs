//! The boot, over a simulated node. Every test names the law or the behaviour that it holds.

mod sim;

use f3skeys::boot::boot;
use f3skeys::config::Config;
use f3skeys::exit::Fault;
use f3skeys::gate::Answer;
use f3skeys::ink::Ink;
use f3skeys::late::late;
use f3skeys::names::DatasetName;
use f3skeys::os::PoolState;
use f3skeys::ready::{ask, named, ready};
use f3skeys::reconcile::reconcile;
use f3skeys::report::{Report, Severity};
use f3skeys::time::Clock;
use f3skeys::zfs::{CanMount, KeyFormat, KeyStatus, Mountpoint};
use sim::{CONFIG, Event, PEER, Sim, Stick, ZDATA, config, f3s, good_stick, keys};
use std::time::Duration;

fn boot_now(sim: &Sim) -> Report {
    sim.verb(|node| boot(node, &config()))
}

fn ready_now(sim: &Sim) -> Report {
    sim.verb(|node| ready(node, &config()))
}

/// A whole boot: ours, the system's mounts, ours again.
fn whole_boot(sim: &Sim) -> (Report, Report) {
    let first = boot_now(sim);
    sim.zfs_mount_all();
    (first, ready_now(sim))
}

fn gate(sim: &Sim, name: &str) -> Answer {
    gate_of(sim, &config(), name)
}

fn gate_of(sim: &Sim, config: &Config, name: &str) -> Answer {
    sim.verb(|node| ask(node, config, named(config, name).unwrap()))
}

fn closed_because(sim: &Sim, name: &str, words: &str) {
    match gate(sim, name) {
        Answer::Closed(why) => assert!(why.contains(words), "{why}"),
        other => panic!("{other:?}"),
    }
}

fn open_roots(sim: &Sim) -> Vec<&'static str> {
    ["zdata/enc", "zroot/bhyve", "zdata/sink/f1"]
        .into_iter()
        .filter(|root| sim.find(root).key_status == KeyStatus::Available)
        .collect()
}

fn says(report: &Report, subject: &str, words: &str) {
    let complaints = report.complaints();
    let said = report
        .findings
        .iter()
        .any(|f| f.subject.contains(subject) && f.what.contains(words));
    assert!(said, "no `{subject}: {words}` in:\n{complaints}");
}

/// Law 3, by the trace and not by the report.
fn never_writable(sim: &Sim, replica: &str) {
    let trace = sim.trace.borrow();
    for event in trace.iter() {
        if let Event::Mounted {
            dataset,
            writable: true,
        } = event
        {
            assert!(
                !dataset.starts_with(replica),
                "{dataset} was mounted writable"
            );
        }
    }
    let position = |wanted: &Event| trace.iter().position(|event| event == wanted);
    if let Some(loaded) = position(&Event::Loaded(replica.to_owned())) {
        for dataset in sim.datasets.borrow().iter() {
            let name = dataset.name.to_string();
            if name.starts_with(replica) {
                assert!(dataset.readonly, "{name} could be written");
                let sealed = position(&Event::Sealed(name.clone()));
                assert!(
                    sealed.is_some_and(|sealed| sealed < loaded),
                    "{name} was sealed too late"
                );
            }
        }
    }
}

#[test]
fn all_well() {
    let sim = f3s("well").stick(good_stick());
    let (first, second) = whole_boot(&sim);
    assert_eq!(
        (first.status, second.status),
        (0, 0),
        "{}{}",
        first.complaints(),
        second.complaints()
    );
    assert_eq!(open_roots(&sim).len(), 3);
    assert!(first.roots.iter().all(|root| root.state.contains("proven")));
    never_writable(&sim, "zdata/sink/f1");
    for name in ["nfs", "standby", "failback"] {
        assert_eq!(gate(&sim, name), Answer::Open, "{name}");
    }
}

#[test]
fn a_second_run_changes_nothing_and_says_so() {
    let sim = f3s("second").stick(good_stick());
    whole_boot(&sim);
    sim.trace.borrow_mut().clear();
    let (first, second) = (boot_now(&sim), ready_now(&sim));
    assert_eq!((first.status, second.status), (0, 0));
    assert!(first.changed.is_empty() && second.changed.is_empty());
    assert!(
        first.results().contains("nothing to do") && second.results().contains("nothing to do")
    );
    assert!(sim.trace.borrow().is_empty());
    assert_eq!(gate(&sim, "nfs"), Answer::Open);
}

#[test]
fn law_3_replicas_are_sealed_even_without_a_stick() {
    let sim = f3s("sealed");
    let (first, second) = whole_boot(&sim);
    assert_eq!(first.fault, Some(Fault::NoKeyDevice));
    assert_eq!(first.status, 66);
    says(
        &first,
        "key device F3S_KEYS (serial 4C530001)",
        "not found after 30 s",
    );
    assert!(first.complaints().contains("the boot completes by itself"));
    assert_eq!(second.status, 69);
    assert_eq!(open_roots(&sim), [""; 0]);
    assert!(sim.find("zdata/sink/f1").readonly && sim.find("zdata/sink/f1/child").readonly);
    closed_because(
        &sim,
        "nfs",
        "zdata/enc/nfsdata is not to be seen on /data/nfs",
    );
}

#[test]
fn law_6_the_wait_for_the_stick_ends_and_stays_in_the_budget() {
    let sim = f3s("wait");
    boot_now(&sim);
    let spent = f3skeys::time::Clock::now(&sim);
    assert!(
        spent >= Duration::from_secs(30) && spent < Duration::from_secs(60),
        "{spent:?}"
    );
}

#[test]
fn a_stick_that_comes_while_boot_waits_is_used_at_once() {
    let mut stick = good_stick();
    stick.plugged_in_at = Duration::from_secs(20);
    let sim = f3s("late").stick(stick);
    assert_eq!(boot_now(&sim).status, 0);
    assert!(f3skeys::time::Clock::now(&sim) < Duration::from_secs(23));
}

#[test]
fn a_stick_that_comes_hours_later_finishes_the_boot() {
    let sim = f3s("hours");
    whole_boot(&sim);
    sim.sticks.borrow_mut().push(good_stick());
    let late = sim.verb(|node| late(node, &config())).unwrap();
    assert_eq!(late.status(), 0, "{}", late.boot.complaints());
    let opened: Vec<&str> = late.opened.iter().map(|gate| gate.as_str()).collect();
    assert_eq!(opened, ["nfs", "standby", "failback"]);
    never_writable(&sim, "zdata/sink/f1");
    assert_eq!(gate(&sim, "failback"), Answer::Open);
}

#[test]
fn a_foreign_stick_plugged_into_a_locked_node_changes_nothing() {
    let sim = f3s("foreign");
    whole_boot(&sim);
    sim.trace.borrow_mut().clear();
    sim.sticks
        .borrow_mut()
        .push(Stick::new("/dev/da3", "HOLIDAY", "77"));
    let late = sim.verb(|node| late(node, &config())).unwrap();
    assert_eq!(late.status(), 66);
    assert!(late.ready.is_none() && late.opened.is_empty());
    assert!(sim.trace.borrow().is_empty());
}

#[test]
fn a_late_boot_does_nothing_when_nothing_is_missing() {
    let sim = f3s("healthy").stick(good_stick());
    whole_boot(&sim);
    sim.trace.borrow_mut().clear();
    sim.sticks.borrow_mut()[0].broken = Some("not to be touched".to_owned());
    let before = std::fs::read(sim.db().join("boot.json")).unwrap();
    assert!(sim.verb(|node| late(node, &config())).is_none());
    assert!(sim.trace.borrow().is_empty());
    assert_eq!(std::fs::read(sim.db().join("boot.json")).unwrap(), before);
}

#[test]
fn a_root_that_no_stick_can_open_does_not_make_every_stick_news() {
    let text = CONFIG.replacen(
        "roots: [",
        r#"roots: [
        (dataset: "zdata/words", key: "f0.lan.buetow.org:zdata", role: primary, required: true),"#,
        1,
    );
    let config = Config::parse(&text).unwrap();
    let mut words = sim::encrypted("zdata/words", "zdata/words");
    words.key_format = KeyFormat::Passphrase;
    let sim = f3s("words").stick(good_stick()).with(vec![words]);
    assert_eq!(sim.verb(|node| boot(node, &config)).status, 69);
    assert!(sim.verb(|node| late(node, &config)).is_none());
}

#[test]
fn a_stick_is_not_waited_for_when_it_could_open_nothing() {
    let sim = f3s("useless");
    sim.states.borrow_mut().clear();
    let report = boot_now(&sim);
    assert_eq!(report.status, 69);
    says(&report, "zdata/enc", "not imported");
    assert!(
        f3skeys::time::Clock::now(&sim) < Duration::from_secs(5),
        "it waited"
    );
}

#[test]
fn with_all_open_a_boot_without_stick_is_well_but_says_what_it_did_not_prove() {
    let sim = f3s("unproven").stick(good_stick());
    whole_boot(&sim);
    sim.sticks.borrow_mut().clear();
    let before = f3skeys::time::Clock::now(&sim);
    let report = boot_now(&sim);
    assert_eq!(report.status, 0);
    says(&report, "zdata/enc", "not proven");
    assert!(
        f3skeys::time::Clock::now(&sim) - before < Duration::from_secs(5),
        "it waited"
    );
}

#[test]
fn law_5_a_damaged_key_locks_its_own_root_alone() {
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 3] = [
        ("is damaged", |bytes| bytes[3] ^= 0x10),
        ("31 bytes long", |bytes| bytes.truncate(31)),
        ("0 bytes long", Vec::clear),
    ];
    for (number, (words, damage)) in damages.into_iter().enumerate() {
        let mut stick = good_stick();
        stick.damage("f0.lan.buetow.org:zdata", damage);
        let sim = f3s(&format!("damage{number}")).stick(stick);
        let (first, _) = whole_boot(&sim);
        assert_eq!(open_roots(&sim), ["zroot/bhyve", "zdata/sink/f1"]);
        assert_eq!(first.status, 65);
        says(&first, "zdata/enc", words);
        assert!(matches!(gate(&sim, "nfs"), Answer::Closed(_)));
        assert_eq!(gate(&sim, "standby"), Answer::Open);
    }
}

#[test]
fn law_1_no_damaged_byte_ever_reaches_zfs() {
    for bit in 0..256 {
        let mut stick = good_stick();
        stick.damage("f0.lan.buetow.org:zdata", |bytes| {
            bytes[bit / 8] ^= 1 << (bit % 8)
        });
        let sim = f3s("bits").stick(stick);
        // Were it handed over, it would open the root.
        let mut wrong = ZDATA;
        wrong[bit / 8] ^= 1 << (bit % 8);
        sim.wrapped
            .borrow_mut()
            .insert("zdata/enc".to_owned(), wrong);
        boot_now(&sim);
        assert_eq!(
            sim.find("zdata/enc").key_status,
            KeyStatus::Unavailable,
            "bit {bit}"
        );
    }
}

#[test]
fn one_damaged_copy_is_named_and_the_other_opens_the_root() {
    let mut stick = good_stick();
    stick.files.get_mut("f0.lan.buetow.org:zdata.key").unwrap()[0] ^= 1;
    let sim = f3s("copy").stick(stick);
    let report = boot_now(&sim);
    assert_eq!(report.status, 0);
    assert_eq!(open_roots(&sim).len(), 3);
    says(&report, "f0.lan.buetow.org:zdata.key", "is damaged");
}

#[test]
fn swapped_keys_are_named_as_swapped_and_lock_only_their_roots() {
    let [zdata, bhyve, peer] = keys();
    let swapped = Stick::new("/dev/da0", "F3S_KEYS", "4C530001").with_plain_store(&[
        (zdata.0, bhyve.1),
        (bhyve.0, zdata.1),
        peer,
    ]);
    let sim = f3s("swapped").stick(swapped);
    let report = boot_now(&sim);
    assert_eq!(open_roots(&sim), ["zdata/sink/f1"]);
    assert_eq!(report.status, 65);
    says(&report, "zdata/enc", "wrong key");
    says(&report, "zroot/bhyve", "wrong key");

    let mut stick = good_stick();
    let files = stick.files.clone();
    let names: Vec<String> = files
        .keys()
        .filter(|n| n.contains("f0."))
        .cloned()
        .collect();
    for name in names {
        let other = if name.contains("zdata") {
            BHYVE_BYTES
        } else {
            ZDATA
        };
        stick.files.insert(name, other.to_vec());
    }
    let sim = f3s("swapped1").stick(stick);
    let report = boot_now(&sim);
    assert_eq!(open_roots(&sim), ["zdata/sink/f1"]);
    says(&report, "zdata/enc", "swapped");
}

const BHYVE_BYTES: [u8; 32] = sim::BHYVE;

#[test]
fn a_plain_store_works_with_a_warning() {
    let stick = Stick::new("/dev/da0", "F3S_KEYS", "4C530001").with_plain_store(&keys());
    let sim = f3s("plain").stick(stick);
    let report = boot_now(&sim);
    assert_eq!(report.status, 0);
    assert_eq!(open_roots(&sim).len(), 3);
    says(&report, "/dev/da0", "plain store");
}

#[test]
fn a_stick_without_a_key_of_this_node_is_named() {
    let stick = Stick::new("/dev/da0", "F3S_KEYS", "4C530001");
    let sim = f3s("bare").stick(stick);
    let report = boot_now(&sim);
    assert_eq!(report.status, 65);
    says(&report, "/dev/da0", "holds no key of this node");
    assert_eq!(open_roots(&sim), [""; 0]);
}

#[test]
fn a_store_of_an_unknown_format_is_refused() {
    let mut stick = good_stick();
    let body = "(format: 2)\n";
    let sum = blake3::hash(body.as_bytes()).to_hex();
    let state = format!("// checksum {sum}\n{body}").into_bytes();
    stick.files.insert(".f3skeys/state.ron".to_owned(), state);
    let sim = f3s("format2").stick(stick);
    let report = boot_now(&sim);
    assert_eq!(open_roots(&sim), [""; 0]);
    says(&report, "/dev/da0", "format 2");
}

#[test]
fn a_decoy_is_refused_by_name_and_the_right_stick_is_used() {
    let decoy = Stick::new("/dev/da0", "F3S_KEYS", "FFFF").with_store(&keys());
    let sim = f3s("decoy").stick(decoy.clone());
    let report = boot_now(&sim);
    assert_eq!(report.status, 66);
    assert_eq!(open_roots(&sim), [""; 0]);
    says(&report, "/dev/da0", "its serial number is `FFFF`");

    let mut right = good_stick();
    right.candidate.node = "/dev/da1".into();
    let sim = f3s("decoy2").stick(decoy).stick(right);
    assert_eq!(boot_now(&sim).status, 0);
}

#[test]
fn a_store_that_cannot_be_read_keeps_the_roots_locked_and_says_why() {
    let mut stick = good_stick();
    stick.broken = Some("input/output error".to_owned());
    let sim = f3s("broken").stick(stick);
    let report = boot_now(&sim);
    assert_eq!(report.status, 66);
    says(&report, "/dev/da0", "input/output error");
}

#[test]
fn a_stick_pulled_while_it_is_read_costs_what_was_not_read_and_is_no_damage() {
    for (count, open) in [(0, 0), (2, 1), (4, 2)] {
        let mut stick = good_stick();
        stick.pulled_after = Some(count);
        let sim = f3s(&format!("pulled{count}")).stick(stick);
        let report = boot_now(&sim);
        assert_eq!(open_roots(&sim).len(), open, "{}", report.complaints());
        assert_eq!(report.status, 66);
        says(&report, "/dev/da0", "went away while it was read");
        let text = report.complaints();
        assert!(
            !text.contains("missing") && !text.contains("damaged"),
            "{text}"
        );
    }
}

#[test]
fn law_5_and_6_a_sick_pool_does_not_stop_the_other() {
    type MakeSick = fn(&Sim);
    let sick: [(&str, MakeSick); 4] = [
        ("is suspended", |sim| {
            sim.states
                .borrow_mut()
                .insert("zdata".into(), PoolState::Suspended);
        }),
        ("no answer in time", |sim| {
            sim.hanging.borrow_mut().push("zdata".into())
        }),
        ("is not imported", |sim| {
            sim.states.borrow_mut().remove("zdata");
        }),
        ("in a mood", |sim| {
            sim.states
                .borrow_mut()
                .insert("zdata".into(), PoolState::Unknown("in a mood".into()));
        }),
    ];
    for (number, (words, make_sick)) in sick.into_iter().enumerate() {
        let sim = f3s(&format!("sick{number}")).stick(good_stick());
        make_sick(&sim);
        let report = boot_now(&sim);
        assert_eq!(open_roots(&sim), ["zroot/bhyve"], "{words}");
        assert_eq!(report.status, 69, "{words}");
        says(&report, "zdata/enc", words);
        let spent = f3skeys::time::Clock::now(&sim);
        assert!(spent < Duration::from_secs(60), "{words}: {spent:?}");
    }
}

#[test]
fn law_6_a_pool_that_did_not_answer_is_not_asked_again() {
    let sim = f3s("vain");
    sim.hanging.borrow_mut().push("zdata".to_owned());
    boot_now(&sim);
    // About all that matters, and about this node's own part of it: its replicas could be what hangs.
    assert_eq!(sim.asked_in_vain.get(), 2);
}

#[test]
fn law_5_ready_calls_no_root_locked_whose_pool_did_not_answer() {
    let sim = f3s("silent-pool").stick(good_stick());
    whole_boot(&sim);
    sim.hanging.borrow_mut().push("zdata".to_owned());
    let report = ready_now(&sim);
    assert_eq!(report.status, 69);
    says(&report, "zdata/enc", "whether it is open is not known");
    let text = report.complaints();
    assert!(!text.contains("it is locked"), "{text}");
    for root in &report.roots {
        let asked = root.dataset.starts_with("zroot");
        assert_eq!(root.state, if asked { "open" } else { "NOT KNOWN" });
        assert_eq!(root.open, asked);
    }
}

#[test]
fn law_6_who_gives_more_time_gives_each_question_more() {
    let asked = |budget: u64| {
        let sim = f3s(&format!("budget{budget}")).stick(good_stick());
        let mut config = config();
        config.budget = Duration::from_secs(budget);
        sim.hanging.borrow_mut().push("zdata".to_owned());
        let before = sim.now();
        sim.verb(|node| ready(node, &config));
        (sim.now() - before).as_secs()
    };
    // An eighth, for there are two pools and a quarter is for looking; and six seconds of the gates' own.
    let eighths = [30, 60, 600, 6000].map(|budget| 6 + budget / 8);
    assert_eq!([30, 60, 600, 6000].map(asked), eighths);
}

#[test]
fn law_3_a_loaded_replica_that_cannot_be_sealed_is_not_mounted() {
    let sim = f3s("stubborn2").stick(good_stick());
    sim.stubborn
        .borrow_mut()
        .push("zdata/sink/f1/child".to_owned());
    for name in ["zdata/sink/f1", "zdata/sink/f1/child"] {
        sim.change(name, |d| d.key_status = KeyStatus::Available);
    }
    let report = ready_now(&sim);
    assert_eq!(report.status, 69);
    says(
        &report,
        "zdata/sink/f1/child",
        "could not be made read-only",
    );
    assert!(!sim.find("zdata/sink/f1/child").mounted);
    assert!(sim.find("zdata/sink/f1").mounted);
}

#[test]
fn law_4_a_peer_that_cannot_be_asked_keeps_the_gate_closed() {
    let text = CONFIG.replacen(
        "gates: [",
        r#"peers: [(name: "f1.lan.buetow.org", ssh: "f1")],
    replicas: [(of: "zdata/enc/nfsdata", node: "f1.lan.buetow.org", dataset: "zdata/sink/nfsdata")],
    gates: [ (name: "peer", needs: [not_promoted(peer: "f1.lan.buetow.org")]),"#,
        1,
    );
    let config = Config::parse(&text).unwrap();
    let sim = f3s("peer").stick(good_stick());
    whole_boot(&sim);
    assert_ne!(gate_of(&sim, &config, "peer"), Answer::Open);
    let report = sim.verb(|node| ready(node, &config));
    assert!(!report.gates[0].open && report.gates[1].open);
    assert_eq!(report.status, 0, "a closed gate is no failed boot");
    let report = sim.verb(|node| reconcile(node, &config));
    assert!(!report.gates[0].open && report.gates[1].open);
    assert_ne!(gate_of(&sim, &config, "peer"), Answer::Open);
}

#[test]
fn law_3_a_replica_that_cannot_be_sealed_stays_locked() {
    let sim = f3s("stubborn").stick(good_stick());
    sim.stubborn
        .borrow_mut()
        .push("zdata/sink/f1/child".to_owned());
    let report = boot_now(&sim);
    assert_eq!(open_roots(&sim), ["zdata/enc", "zroot/bhyve"]);
    assert_eq!(report.status, 69);
    says(
        &report,
        "zdata/sink/f1",
        "zdata/sink/f1/child could be written",
    );
}

#[test]
fn law_3_a_replica_found_mounted_writable_is_sealed_and_alarmed() {
    let sim = f3s("written").stick(good_stick());
    sim.change("zdata/sink/f1", |d| d.key_status = KeyStatus::Available);
    sim.change("zdata/sink/f1/child", |d| {
        d.key_status = KeyStatus::Available
    });
    sim.zfs_mount_all();
    let report = boot_now(&sim);
    assert!(sim.find("zdata/sink/f1").readonly);
    says(&report, "zdata/sink/f1", "mounted writable");
    assert!(
        report
            .findings
            .iter()
            .any(|f| f.severity == Severity::Alarm)
    );
}

#[test]
fn a_loaded_root_that_no_key_opens_is_an_alarm_and_stays_up() {
    let sim = f3s("nokey").stick(good_stick());
    whole_boot(&sim);
    sim.wrapped
        .borrow_mut()
        .insert("zdata/enc".to_owned(), [0x99; 32]);
    let report = boot_now(&sim);
    says(&report, "zdata/enc", "the next boot would leave it locked");
    assert_eq!(open_roots(&sim).len(), 3);
    assert_eq!(gate(&sim, "nfs"), Answer::Open);
}

#[test]
fn every_odd_root_is_handled_and_named() {
    let text = CONFIG
        .replacen("roots: [", r#"roots: [
        (dataset: "zdata/gone", key: "f0.lan.buetow.org:zdata", role: primary, required: false),
        (dataset: "zdata/plain", key: "f0.lan.buetow.org:zdata", role: primary, required: false),
        (dataset: "zdata/hex", key: "f0.lan.buetow.org:zdata", role: primary, required: false),
        (dataset: "zdata/words", key: "f0.lan.buetow.org:zdata", role: primary, required: false),
        (dataset: "zdata/enc/nfsdata", key: "f0.lan.buetow.org:zdata", role: primary, required: false),
        (dataset: "ztape/enc", key: "f0.lan.buetow.org:zdata", role: primary, required: false),"#, 1);
    let config = Config::parse(&text).unwrap();
    let mut hex = sim::encrypted("zdata/hex", "zdata/hex");
    hex.key_format = KeyFormat::Hex;
    let mut words = sim::encrypted("zdata/words", "zdata/words");
    words.key_format = KeyFormat::Passphrase;
    let sim = f3s("odd")
        .stick(good_stick())
        .with(vec![sim::dataset("zdata/plain"), hex, words]);
    let report = sim.verb(|node| boot(node, &config));
    for (subject, what) in [
        ("zdata/gone", "no such dataset"),
        ("zdata/plain", "not encrypted"),
        ("zdata/hex", "its key is a hex"),
        ("zdata/words", "its key is a passphrase"),
        ("zdata/enc/nfsdata", "the key of zdata/enc opens it"),
        ("ztape/enc", "not imported"),
    ] {
        says(&report, subject, what);
    }
    assert_eq!(report.status, 0, "none of them is required");
    assert_eq!(open_roots(&sim).len(), 3);
}

#[test]
fn mountpoints_that_are_not_ours_are_left_alone_and_named() {
    let sim = f3s("legacy").stick(good_stick());
    let mut legacy = sim::encrypted("zdata/enc/legacy", "zdata/enc");
    legacy.mountpoint = Mountpoint::Legacy;
    let mut none = sim::encrypted("zdata/enc/none", "zdata/enc");
    none.mountpoint = Mountpoint::None;
    let mut noauto = sim::at(
        "/data/noauto",
        sim::encrypted("zdata/enc/noauto", "zdata/enc"),
    );
    noauto.can_mount = CanMount::NoAuto;
    let sim = sim.with(vec![legacy, none, noauto]);
    let (_, second) = whole_boot(&sim);
    assert_eq!(second.status, 0, "{}", second.complaints());
    says(&second, "zdata/enc/legacy", "legacy");
    says(&second, "zdata/enc/none", "mountpoint=none");
    says(&second, "zdata/enc/noauto", "noauto");
    assert!(!sim.find("zdata/enc/noauto").mounted);
}

#[test]
fn a_noauto_dataset_is_mounted_when_a_gate_names_it() {
    let sim = f3s("noauto").stick(good_stick());
    sim.change("zdata/enc/nfsdata", |d| d.can_mount = CanMount::NoAuto);
    whole_boot(&sim);
    assert_eq!(gate(&sim, "nfs"), Answer::Open);
}

#[test]
fn ready_mounts_in_the_order_of_paths_ancestors_included() {
    let sim = f3s("order").stick(good_stick());
    boot_now(&sim);
    let report = ready_now(&sim);
    assert_eq!(report.status, 0, "{}", report.complaints());
    let mounted: Vec<String> = sim
        .trace
        .borrow()
        .iter()
        .filter_map(|event| match event {
            Event::Mounted { dataset, .. } => Some(dataset.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(
        mounted,
        [
            "zdata",
            "zdata/enc",
            "zdata/sink/f1",
            "zdata/sink/f1/child",
            "zdata/enc/nfsdata",
            "zroot/bhyve"
        ]
    );
    never_writable(&sim, "zdata/sink/f1");
}

#[test]
fn ready_never_buries_what_is_mounted() {
    let sim = f3s("bury").stick(good_stick());
    boot_now(&sim);
    // Somebody mounted the child first; mounting its parent now would hide it.
    let nfs = "zdata/enc/nfsdata".parse().unwrap();
    let clock = f3skeys::time::Deadline::after(&sim, Duration::from_secs(9));
    f3skeys::zfs::Zfs::mount(&sim, &nfs, clock).unwrap();
    let report = ready_now(&sim);
    says(&report, "zdata", "would bury zdata/enc/nfsdata");
    assert!(!sim.find("zdata").mounted);
    assert_eq!(report.status, 69);
}

#[test]
fn law_5_and_6_a_mount_that_hangs_costs_its_own_pool_alone() {
    let sim = f3s("hung-mount").stick(good_stick());
    boot_now(&sim);
    sim.hanging_mounts.borrow_mut().push("zdata/enc".to_owned());
    let before = f3skeys::time::Clock::now(&sim);
    let report = ready_now(&sim);
    let spent = f3skeys::time::Clock::now(&sim) - before;
    assert!(spent < Duration::from_secs(59), "{spent:?}");
    assert_eq!(report.status, 69);
    assert!(sim.find("zroot/bhyve").mounted, "the other pool comes up");
    assert!(
        sim.find("zdata").mounted,
        "what was mounted before the hang stays"
    );
    says(&report, "zdata/enc", "no answer in time");
    says(
        &report,
        "zdata/enc/nfsdata",
        "not tried, since zdata did not answer",
    );
    let told_of = |name: &str| report.findings.iter().any(|f| f.subject == name);
    assert!(
        !told_of("zdata") && !told_of("zroot/bhyve"),
        "{}",
        report.complaints()
    );
}

#[test]
fn law_3_ready_seals_what_a_replicator_added_since_boot() {
    let sim = f3s("added").stick(good_stick());
    whole_boot(&sim);
    let mut added = sim::at(
        "/data/f1/new",
        sim::encrypted("zdata/sink/f1/new", "zdata/sink/f1"),
    );
    added.key_status = KeyStatus::Available;
    let sim = sim.with(vec![added]);
    let report = ready_now(&sim);
    assert_eq!(report.status, 0, "{}", report.complaints());
    assert!(sim.find("zdata/sink/f1/new").readonly && sim.find("zdata/sink/f1/new").mounted);
    never_writable(&sim, "zdata/sink/f1/new");
}

#[test]
fn law_4_gates_close_with_what_they_stand_for() {
    type Close = fn(&Sim);
    let closers: [(&str, &str, Close); 7] = [
        ("nfs", "not to be seen on /data/nfs", |sim| {
            sim.unmount("zdata/enc/nfsdata")
        }),
        ("nfs", "it shows zdata", |sim| {
            // The child first, its parent over it: all commands succeed, and the child is hidden.
            sim.unmount("zdata/enc/nfsdata");
            sim.unmount("zdata");
            let all = Duration::from_secs(9);
            for name in ["zdata/enc/nfsdata", "zdata"] {
                let deadline = f3skeys::time::Deadline::after(sim, all);
                f3skeys::zfs::Zfs::mount(sim, &name.parse().unwrap(), deadline).unwrap();
            }
        }),
        ("nfs", "not zdata/enc/nfsdata", |sim| {
            sim.mount_over("/data/nfs", "tmpfs", "tmpfs")
        }),
        ("nfs", "is read-only", |sim| {
            let deadline = f3skeys::time::Deadline::after(sim, Duration::from_secs(9));
            let name = "zdata/enc/nfsdata".parse().unwrap();
            f3skeys::zfs::Zfs::set_readonly(sim, &name, deadline).unwrap();
        }),
        ("nfs", "is suspended", |sim| {
            sim.states
                .borrow_mut()
                .insert("zdata".into(), PoolState::Suspended);
        }),
        ("failback", "NO_AUTO_FAILBACK is there", |sim| {
            sim.files
                .borrow_mut()
                .push("/data/nfs/nfs.NO_AUTO_FAILBACK".into());
        }),
        ("standby", "can be written", |sim| {
            sim.unmount("zdata/sink/f1");
            sim.change("zdata/sink/f1", |d| d.readonly = false);
            let deadline = f3skeys::time::Deadline::after(sim, Duration::from_secs(9));
            let name = "zdata/sink/f1".parse().unwrap();
            f3skeys::zfs::Zfs::mount(sim, &name, deadline).unwrap();
        }),
    ];
    for (number, (name, words, close)) in closers.into_iter().enumerate() {
        let sim = f3s(&format!("close{number}")).stick(good_stick());
        whole_boot(&sim);
        assert_eq!(gate(&sim, name), Answer::Open);
        close(&sim);
        closed_because(&sim, name, words);
    }
}

#[test]
fn law_4_what_cannot_be_asked_is_not_open() {
    let sim = f3s("hang").stick(good_stick());
    whole_boot(&sim);
    sim.hanging.borrow_mut().push("zdata".to_owned());
    assert!(matches!(gate(&sim, "nfs"), Answer::CannotTell(_)));
    let sim = f3s("noid").stick(good_stick());
    whole_boot(&sim);
    *sim.boot_id.borrow_mut() = None;
    assert!(matches!(gate(&sim, "nfs"), Answer::CannotTell(_)));
}

#[test]
fn law_4_a_marker_of_another_boot_gate_or_definition_opens_nothing() {
    let sim = f3s("marker").stick(good_stick());
    whole_boot(&sim);
    let markers = sim.run().join("gates");
    let old = std::fs::read(markers.join("nfs")).unwrap();

    std::fs::remove_file(markers.join("nfs")).unwrap();
    closed_because(&sim, "nfs", "no marker of this boot");

    std::fs::copy(markers.join("standby"), markers.join("nfs")).unwrap();
    closed_because(&sim, "nfs", "a copy of another gate's");

    std::fs::write(markers.join("nfs"), b"{}").unwrap();
    assert!(matches!(gate(&sim, "nfs"), Answer::CannotTell(_)));

    std::fs::write(markers.join("nfs"), &old).unwrap();
    assert_eq!(gate(&sim, "nfs"), Answer::Open);
    let other = CONFIG.replace(
        "needs: [mounted",
        "needs: [present(\"/etc/there\"), mounted",
    );
    sim.files.borrow_mut().push("/etc/there".into());
    match gate_of(&sim, &Config::parse(&other).unwrap(), "nfs") {
        Answer::Closed(why) => assert!(why.contains("another definition"), "{why}"),
        open => panic!("{open:?}"),
    }

    sim.reboot("boot-2");
    whole_boot(&sim);
    std::fs::write(markers.join("nfs"), &old).unwrap();
    closed_because(&sim, "nfs", "made in another boot");
}

#[test]
fn law_4_a_boot_removes_the_markers_of_other_boots_first() {
    let sim = f3s("stale").stick(good_stick());
    whole_boot(&sim);
    sim.reboot("boot-2");
    sim.sticks.borrow_mut().clear();
    let report = boot_now(&sim);
    assert!(
        report
            .changed
            .iter()
            .any(|c| c.contains("gate nfs, made in another boot"))
    );
    assert!(!sim.run().join("gates/nfs").exists());
}

#[test]
fn without_an_identity_of_the_boot_no_marker_is_written() {
    let sim = f3s("unseeded").stick(good_stick());
    *sim.boot_id.borrow_mut() = None;
    let (_, second) = whole_boot(&sim);
    assert!(second.gates.iter().all(|gate| !gate.open));
    assert!(!sim.run().join("gates/nfs").exists());
}

#[test]
fn a_recreated_dataset_of_the_same_name_needs_a_new_marker() {
    let sim = f3s("fsid").stick(good_stick());
    whole_boot(&sim);
    sim.unmount("zdata/enc/nfsdata");
    sim.mount_over("/data/nfs", "zdata/enc/nfsdata", "zfs");
    closed_because(&sim, "nfs", "other file systems");
}

#[test]
fn another_run_that_holds_the_lock_is_told_and_nothing_is_touched() {
    let sim = f3s("lock").stick(good_stick());
    let lock = f3skeys::marker::try_lock(&sim.run()).unwrap();
    assert_eq!(boot_now(&sim).status, 75);
    assert_eq!(ready_now(&sim).status, 75);
    assert!(sim.trace.borrow().is_empty());
    drop(lock);
    assert_eq!(boot_now(&sim).status, 0);
}

#[test]
fn the_last_report_survives_and_is_shown_by_status() {
    let sim = f3s("report");
    whole_boot(&sim);
    sim.reboot("boot-2");
    let status = sim.verb(|node| f3skeys::status::status(node, &config()));
    let text = status.text(Ink::NONE);
    for words in [
        "  exit 66   boot       2026-11-18 11:0",
        " s, in an earlier boot\n",
        "not found after 30 s",
        // For the day on which a stick is lost.
        "  f1.lan.buetow.org:zdata  opens zdata/sink/f1\n",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    assert_eq!(status.status, 69);
}

#[test]
fn plan_tells_what_boot_and_ready_do_and_changes_nothing() {
    let sim = f3s("plan").stick(good_stick());
    let preview = sim.verb(|node| f3skeys::preview::preview(node, &config()));
    assert!(sim.trace.borrow().is_empty());
    for words in [
        "set readonly=on setuid=off devices=off exec=off on zdata/sink/f1/child",
        "load key f1.lan.buetow.org:zdata for zdata/sink/f1",
        "mount zdata/enc/nfsdata on /data/nfs",
    ] {
        assert!(preview.text.contains(words), "{words}:\n{}", preview.text);
    }
    whole_boot(&sim);
    let preview = sim.verb(|node| f3skeys::preview::preview(node, &config()));
    assert_eq!(
        preview.text.matches("nothing\n").count(),
        2,
        "{}",
        preview.text
    );
}

#[test]
fn law_2_no_report_holds_a_key_byte_sequence() {
    let sim = f3s("secrets").stick(good_stick());
    let (first, second) = whole_boot(&sim);
    let status = sim.verb(|node| f3skeys::status::status(node, &config()));
    let everything = [
        first.results(),
        first.complaints(),
        second.results(),
        serde_json::to_string(&first).unwrap(),
        serde_json::to_string(&status).unwrap(),
        status.text(Ink::NONE),
        status.prometheus(),
    ]
    .concat();
    for bytes in [ZDATA, BHYVE_BYTES, PEER] {
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert!(!everything.contains(&hex));
        assert!(!everything.as_bytes().windows(32).any(|w| w == bytes));
    }
}

/// A clone that was promoted has taken the encryption root along.
fn promoted_clone(name: &str) -> Sim {
    let sim = f3s(name).stick(good_stick());
    let clone = sim::at("/data/clone", sim::encrypted("zdata/clone", "zdata/clone"));
    sim.datasets.borrow_mut().push(clone);
    let moved: DatasetName = "zdata/clone".parse().unwrap();
    for dataset in sim.datasets.borrow_mut().iter_mut() {
        if dataset
            .encryption_root
            .as_ref()
            .is_some_and(|r| r.as_str() == "zdata/enc")
        {
            dataset.encryption_root = Some(moved.clone());
        }
    }
    sim.opened_by("zdata/clone", ZDATA)
}

const ENC: &str =
    r#"(dataset: "zdata/enc", key: "f0.lan.buetow.org:zdata", role: primary, required: true),"#;

#[test]
fn a_clone_that_was_promoted_keeps_its_origin_locked_with_advice_that_works() {
    let sim = promoted_clone("clone");
    let report = boot_now(&sim);
    assert_eq!(report.status, Fault::Unavailable.status());
    let mut said = report.findings.iter();
    let said = said.find(|f| f.subject == "zdata/enc").unwrap();
    assert!(said.remedy.contains("zfs promote zdata/enc"), "{said:?}");
    assert!(
        said.remedy.contains("name zdata/clone in `roots` as well"),
        "{said:?}"
    );
    // That advice, taken: both are named, and what lies below stays what it was to gates.
    let both = format!("{ENC}\n{}", ENC.replace("zdata/enc", "zdata/clone"));
    let config = Config::parse(&CONFIG.replacen(ENC, &both, 1)).unwrap();
    sim.reboot("boot-2");
    let report = sim.verb(|node| boot(node, &config));
    assert_eq!(report.status, 0, "{}", report.complaints());
    assert!(
        report.roots.iter().all(|root| root.open),
        "{:?}",
        report.roots
    );
    assert!(
        report
            .roots
            .iter()
            .all(|root| root.state.contains("proven")),
        "{:?}",
        report.roots
    );
    sim.zfs_mount_all();
    let ready = sim.verb(|node| ready(node, &config));
    assert_eq!(ready.status, 0, "{}", ready.complaints());
    assert_eq!(gate_of(&sim, &config, "nfs"), Answer::Open);
}

#[test]
fn law_5_a_root_that_follows_a_locked_one_is_complained_of_once() {
    let sim = promoted_clone("follows");
    sim.wrapped
        .borrow_mut()
        .insert("zdata/clone".to_owned(), [9; 32]);
    let both = format!("{ENC}\n{}", ENC.replace("zdata/enc", "zdata/clone"));
    let config = Config::parse(&CONFIG.replacen(ENC, &both, 1)).unwrap();
    let report = sim.verb(|node| boot(node, &config));
    assert_eq!(
        report.status,
        Fault::BadKey.status(),
        "{}",
        report.complaints()
    );
    let state = |name: &str| {
        let root = report
            .roots
            .iter()
            .find(|root| root.dataset == name)
            .unwrap();
        (root.open, root.state.to_string())
    };
    assert_eq!(state("zdata/clone"), (false, "WRONG KEY".to_owned()));
    assert_eq!(state("zdata/enc"), (false, "LOCKED".to_owned()));
    assert_eq!(open_roots(&sim), ["zroot/bhyve", "zdata/sink/f1"]);
    assert!(
        report.findings.iter().all(|f| f.subject != "zdata/enc"),
        "{}",
        report.complaints()
    );
}

/// The other advice that people follow: the root goes out of the file, and a gate still names what is below.
#[test]
fn law_5_a_contradiction_about_one_root_keeps_no_other_locked() {
    let sim = f3s("contradiction").stick(good_stick());
    let text = CONFIG.replacen(ENC, "", 1);
    assert!(Config::parse(&text).is_err());
    let config = Config::salvage(&text).unwrap();
    let report = sim.verb(|node| boot(node, &config));
    assert_eq!(
        report.status,
        Fault::Configuration.status(),
        "{}",
        report.complaints()
    );
    assert_eq!(open_roots(&sim), ["zroot/bhyve", "zdata/sink/f1"]);
    let alarms = report
        .findings
        .iter()
        .filter(|f| f.severity == Severity::Alarm);
    assert_eq!(alarms.filter(|f| f.subject == "configuration").count(), 2);
    sim.zfs_mount_all();
    let ready = sim.verb(|node| ready(node, &config));
    assert_eq!(ready.status, Fault::Configuration.status());
    assert_eq!(gate_of(&sim, &config, "standby"), Answer::Open);
    for name in ["nfs", "failback"] {
        let answer = gate_of(&sim, &config, name);
        assert!(
            matches!(answer, Answer::CannotTell(_)),
            "{name}: {answer:?}"
        );
    }
    never_writable(&sim, "zdata/sink/f1");
}

#[test]
fn law_3_a_root_of_two_minds_is_sealed_and_not_opened_and_all_others_are() {
    let sim = f3s("two-minds").stick(good_stick());
    let other = ENC.replace("primary", "replica");
    let config = Config::salvage(&CONFIG.replacen(ENC, &format!("{ENC}\n{other}"), 1)).unwrap();
    let report = sim.verb(|node| boot(node, &config));
    assert_eq!(
        report.status,
        Fault::Configuration.status(),
        "{}",
        report.complaints()
    );
    assert_eq!(open_roots(&sim), ["zroot/bhyve", "zdata/sink/f1"]);
    assert!(sim.find("zdata/enc").readonly);
}

#[test]
fn a_hundred_roots_of_one_pool_that_is_not_there_are_one_complaint() {
    let root = |n| {
        format!(
            r#"(dataset: "gone/r{n}", key: "f0.lan.buetow.org:zdata", role: primary, required: true),"#
        )
    };
    let many: String = (0..100).map(root).collect();
    let config = Config::parse(&CONFIG.replacen(ENC, &format!("{ENC}{many}"), 1)).unwrap();
    let sim = f3s("hundred").stick(good_stick());
    let report = sim.verb(|node| boot(node, &config));
    assert_eq!(report.complaints().matches("zpool import gone").count(), 1);
    assert!(report.complaints().contains("gone/r99"));
}

#[test]
fn what_could_not_be_asked_is_not_called_locked() {
    let sim = f3s("suspended").stick(good_stick());
    sim.states
        .borrow_mut()
        .insert("zroot".into(), PoolState::Suspended);
    let report = boot_now(&sim);
    let states: Vec<&str> = report.roots.iter().map(|root| &*root.state).collect();
    assert_eq!(states[1], "NOT KNOWN", "{states:?}");
}

/// `pub` is not encrypted, and lies below what a boot without the stick leaves locked.
fn early(name: &str) -> Sim {
    let sim = f3s(name);
    let early = sim::at("/data/nfs/pub", sim::dataset("zdata/pub"));
    sim.datasets.borrow_mut().push(early);
    whole_boot(&sim);
    assert!(sim.find("zdata/pub").mounted && !sim.find("zdata/enc/nfsdata").mounted);
    sim.stick(good_stick())
}

#[test]
fn a_late_stick_mounts_in_order_what_came_up_without_it() {
    let sim = early("early");
    let told = sim.verb(|node| late(node, &config())).unwrap();
    assert_eq!(told.status(), 0, "{}", told.ready.unwrap().complaints());
    assert_eq!(gate(&sim, "nfs"), Answer::Open);
    assert!(sim.find("zdata/pub").mounted);
    let trace = sim.trace.borrow();
    let at = |wanted: &str| {
        let is =
            |event: &Event| matches!(event, Event::Mounted { dataset, .. } if dataset == wanted);
        trace.iter().rposition(is).unwrap()
    };
    assert!(at("zdata/enc/nfsdata") < at("zdata/pub"));
}

#[test]
fn law_8_what_is_in_use_is_left_where_it_is_and_named_when_the_stick_is_late() {
    let sim = early("early-used");
    sim.busy.borrow_mut().push("zdata/pub".into());
    let told = sim.verb(|node| late(node, &config())).unwrap();
    let report = told.ready.as_ref().unwrap();
    assert_eq!(
        told.status(),
        Fault::Unavailable.status(),
        "{}",
        report.complaints()
    );
    says(report, "zdata/pub", "is in use");
    says(report, "zdata/enc/nfsdata", "would bury");
    assert!(sim.find("zdata/pub").mounted);
    assert!(sim.find("zdata/enc").mounted, "all else is mounted");
    assert_ne!(gate(&sim, "nfs"), Answer::Open);
}

/// A person who runs `ready` has said nothing of unmounting anything.
#[test]
fn only_a_late_boot_moves_anything_aside() {
    let sim = early("early-by-hand");
    sim.verb(|node| boot(node, &config()));
    let report = ready_now(&sim);
    says(&report, "zdata/enc/nfsdata", "would bury");
    assert!(
        !sim.trace
            .borrow()
            .iter()
            .any(|e| matches!(e, Event::Unmounted(_)))
    );
}

#[test]
fn a_disk_on_another_bus_is_named_and_taken_only_where_the_configuration_says_so() {
    let mut disk = good_stick();
    disk.candidate.fixed = true;
    let decoy = Stick::new("/dev/da9", "F3S_KEYS", "FFFF").with_store(&keys());
    let sim = f3s("fixed").stick(disk).stick(decoy);
    let report = boot_now(&sim);
    assert_eq!(report.status, Fault::NoKeyDevice.status());
    says(&report, "key device", "another bus");
    assert!(
        report.complaints().contains("any_disk: true"),
        "{}",
        report.complaints()
    );
    assert!(!report.complaints().contains("the boot completes by itself"));
    sim.reboot("boot-2");
    let text = CONFIG.replacen("wait_seconds: 30", "wait_seconds: 30, any_disk: true", 1);
    let config = Config::parse(&text).unwrap();
    let report = sim.verb(|node| boot(node, &config));
    assert_eq!(report.status, 0, "{}", report.complaints());
    assert_eq!(open_roots(&sim).len(), 3);
}

#[test]
fn the_remedy_is_to_insert_the_stick_only_where_none_is_in() {
    type Change = fn(&Sim);
    let cases: [(&str, Change, bool); 4] = [
        ("none", |_| (), true),
        (
            "another serial number",
            |sim| {
                sim.sticks
                    .borrow_mut()
                    .push(Stick::new("/dev/da0", "F3S_KEYS", "other").with_store(&keys()))
            },
            false,
        ),
        (
            "two partitions",
            |sim| {
                sim.sticks.borrow_mut().push(good_stick());
                let mut twin = good_stick();
                twin.candidate.node = "/dev/da0s2".into();
                sim.sticks.borrow_mut().push(twin);
            },
            false,
        ),
        (
            "no store",
            |sim| {
                let mut stick = good_stick();
                stick.candidate.filesystems.clear();
                stick.candidate.content = Some(f3skeys::device::Foreign::ExFat);
                sim.sticks.borrow_mut().push(stick);
            },
            false,
        ),
    ];
    for (case, change, inserts) in cases {
        let sim = f3s("remedy");
        change(&sim);
        let report = boot_now(&sim);
        assert_eq!(report.status, Fault::NoKeyDevice.status(), "{case}");
        let said = report
            .complaints()
            .contains("insert the stick; the boot completes by itself");
        assert_eq!(said, inserts, "{case}: {}", report.complaints());
        assert!(!report.complaints().contains("fsck"), "{case}");
    }
}
