//! Stories of the verbs that look after a key store: `verify`, `new-key`, and `boot` by hand.

mod sim;

use f3skeys::boot;
use f3skeys::config::Config;
use f3skeys::key::{Fingerprint, Key};
use f3skeys::names::KeyName;
use f3skeys::new_key;
use f3skeys::ready;
use f3skeys::store::layout;
use f3skeys::store::state::{Generation, Standing, State};
use f3skeys::time::SystemClock;
use f3skeys::verify::{self, Options, Verification, verify};
use f3skeys::zfs::KeyStatus;
use sim::{BHYVE, Event, PEER, Sim, Stick, ZDATA, config, f3s, good_stick, keys};
use std::path::Path;

const LOOK: Options = Options {
    pools: false,
    repair: false,
};
const POOLS: Options = Options {
    pools: true,
    repair: false,
};
const REPAIR: Options = Options {
    pools: false,
    repair: true,
};
const BOTH: Options = Options {
    pools: true,
    repair: true,
};

const TOP: &str = "f0.lan.buetow.org:zdata.key";

fn zdata() -> KeyName {
    "f0.lan.buetow.org:zdata".parse().unwrap()
}

/// The f3s node, up and well.
fn up(name: &str) -> Sim {
    let sim = f3s(name).stick(good_stick());
    let config = config();
    assert_eq!(sim.verb(|node| boot::boot(node, &config)).status, 0);
    sim.zfs_mount_all();
    assert_eq!(sim.verb(|node| ready::ready(node, &config)).status, 0);
    sim.trace.borrow_mut().clear();
    sim
}

fn ask(sim: &Sim, options: Options) -> Verification {
    sim.verb(|node| verify(node, &config(), options))
}

fn with_stick<T>(sim: &Sim, change: impl FnOnce(&mut Stick) -> T) -> T {
    change(&mut sim.sticks.borrow_mut()[0])
}

fn rot(stick: &mut Stick, path: &str) {
    stick.files.get_mut(path).unwrap()[5] ^= 0x10;
}

/// The one complaint about a subject.
fn about<'a>(told: &'a Verification, subject: &str) -> &'a str {
    let mut found = told.findings.iter().filter(|f| f.subject == subject);
    let what = found.next().unwrap_or_else(|| panic!("{told:#?}"));
    assert!(found.next().is_none(), "{told:#?}");
    &what.what
}

#[test]
fn a_healthy_node_is_quiet_and_nothing_changes() {
    let sim = up("verify-well");
    let before = (
        sim.datasets.borrow().clone(),
        with_stick(&sim, |s| s.files.clone()),
    );
    for options in [LOOK, POOLS, REPAIR, BOTH] {
        let told = ask(&sim, options);
        assert_eq!((told.status, told.findings.as_slice()), (0, [].as_slice()));
        assert_eq!(told.keys.len(), 3);
        assert_eq!(told.roots.len(), if options.pools { 3 } else { 0 });
        assert!(told.roots.iter().all(|root| root.open));
        assert!(told.text().contains("all well"), "{}", told.text());
    }
    let after = (
        sim.datasets.borrow().clone(),
        with_stick(&sim, |s| s.files.clone()),
    );
    assert_eq!(before, after);
    assert_eq!(*sim.trace.borrow(), []);
}

#[test]
fn locked_roots_are_asked_about_too() {
    let sim = f3s("verify-locked").stick(good_stick());
    let told = ask(&sim, POOLS);
    assert_eq!(told.status, 0, "{told:#?}");
    assert!(
        told.roots
            .iter()
            .all(|root| root.open && root.state.contains("locked now"))
    );
    assert_eq!(sim.find("zdata/enc").key_status, KeyStatus::Unavailable);
}

#[test]
fn a_key_that_no_longer_opens_its_root_is_found_while_the_node_is_up() {
    for root in ["zdata/enc", "zroot/bhyve", "zdata/sink/f1"] {
        let sim = up("verify-changed");
        sim.wrapped.borrow_mut().insert(root.to_owned(), [9; 32]);
        assert_eq!(ask(&sim, LOOK).status, 0, "the files are whole");
        let told = ask(&sim, POOLS);
        assert_eq!(told.status, 65);
        let what = about(&told, root);
        assert!(what.contains("next boot would leave it locked"), "{what}");
    }
}

#[test]
fn could_not_ask_is_never_a_wrong_key() {
    let sim = up("verify-hang");
    sim.hanging.borrow_mut().push("zroot".to_owned());
    let told = ask(&sim, POOLS);
    assert_eq!(told.status, 69);
    let bhyve = told.roots.iter().find(|root| root.dataset == "zroot/bhyve");
    assert!(!bhyve.unwrap().open);
    assert!(!format!("{told:?}").contains("wrong key"), "{told:#?}");
    let open = told.roots.iter().filter(|root| root.open).count();
    assert_eq!(open, 2, "the other pool's roots were asked about");
}

#[test]
fn damage_is_named_with_the_way_out_and_repaired() {
    let sim = up("verify-repair");
    with_stick(&sim, |stick| rot(stick, TOP));
    let told = ask(&sim, LOOK);
    assert_eq!(told.status, 65);
    assert!(about(&told, TOP).contains("damaged"));
    let told = ask(&sim, REPAIR);
    assert_eq!((told.status, told.findings.len()), (0, 0), "{told:#?}");
    assert_eq!(told.did.len(), 2, "{:?}", told.did);
    assert_eq!(ask(&sim, LOOK).status, 0);
    assert_eq!(with_stick(&sim, |s| s.files[TOP].clone()), ZDATA);
}

#[test]
fn what_cannot_be_repaired_is_said() {
    let sim = up("verify-both");
    with_stick(&sim, |stick| {
        stick.damage(zdata().as_str(), |bytes| bytes[0] ^= 1)
    });
    let before = with_stick(&sim, |s| s.files.clone());
    let told = ask(&sim, REPAIR);
    assert_eq!(told.status, 65);
    assert!(told.did.is_empty());
    assert_eq!(with_stick(&sim, |s| s.files.clone()), before);
    let finding = told.findings.iter().find(|f| f.subject == TOP).unwrap();
    assert!(finding.remedy.contains("another stick"), "{finding:?}");
}

#[test]
fn a_stick_that_cannot_be_written_is_said_with_the_damage() {
    let sim = up("verify-unwritable");
    with_stick(&sim, |stick| {
        rot(stick, TOP);
        stick.unwritable = Some("Linux only reads UFS".to_owned());
    });
    let told = ask(&sim, REPAIR);
    assert_eq!(told.status, 65);
    assert!(about(&told, TOP).contains("damaged"));
    assert!(told.complaints().contains("Linux only reads UFS"));
}

#[test]
fn a_key_laid_at_the_top_that_opens_its_root_is_taken_in() {
    let sim = up("verify-unlisted");
    // Somebody changed the wrapping key by hand and laid the new one where the old one was.
    sim.wrapped
        .borrow_mut()
        .insert("zdata/enc".to_owned(), [9; 32]);
    with_stick(&sim, |s| drop(s.files.insert(TOP.to_owned(), vec![9; 32])));
    let told = ask(&sim, POOLS);
    assert_eq!(told.status, 65);
    assert!(about(&told, "zdata/enc").contains("not on the store's list"));
    let told = ask(&sim, BOTH);
    assert_eq!(told.status, 0, "{told:#?}");
    sim.reboot("boot-2");
    assert_eq!(sim.verb(|node| boot::boot(node, &config())).status, 0);
}

#[test]
fn without_its_state_file_zfs_says_which_generation_is_current() {
    let sim = up("verify-state");
    let new = [0x77; 32];
    with_stick(&sim, |stick| {
        let path = layout::generation_path(&zdata(), 2, Fingerprint::of(&new));
        stick.files.insert(path, new.to_vec());
        stick.files.insert(TOP.to_owned(), new.to_vec());
        stick.files.remove(layout::STATE);
    });
    let told = ask(&sim, REPAIR);
    assert_eq!(told.status, 0, "{told:#?}");
    let state = with_stick(&sim, |s| State::parse(&s.files[layout::STATE]).unwrap());
    let standings: Vec<Standing> = state.keys[&zdata()].iter().map(|g| g.state).collect();
    assert_eq!(standings, [Standing::Current, Standing::Staged]);
    assert_eq!(
        with_stick(&sim, |s| s.files[TOP].clone()),
        ZDATA,
        "the view of what is current"
    );
}

#[test]
fn a_replica_one_rotation_behind_is_no_alarm_and_a_primary_is() {
    let sim = up("verify-behind");
    let new = [0x66; 32];
    for (key, old) in [
        ("f0.lan.buetow.org:zdata", ZDATA),
        ("f1.lan.buetow.org:zdata", PEER),
    ] {
        let key: KeyName = key.parse().unwrap();
        with_stick(&sim, |stick| {
            let mut state = State::parse(&stick.files[layout::STATE]).unwrap();
            let generation = |generation, bytes: &[u8; 32], state| Generation {
                generation,
                fingerprint: Fingerprint::of(bytes),
                state,
            };
            state.keys.insert(
                key.clone(),
                vec![
                    generation(1, &old, Standing::Retained),
                    generation(2, &new, Standing::Current),
                ],
            );
            let path = layout::generation_path(&key, 2, Fingerprint::of(&new));
            stick.files.insert(path, new.to_vec());
            stick.files.insert(layout::top_path(&key), new.to_vec());
            stick
                .files
                .insert(layout::STATE.to_owned(), state.to_bytes());
        });
    }
    let told = ask(&sim, POOLS);
    assert_eq!(told.status, 0);
    let severity = |subject: &str| {
        let mut found = told.findings.iter().filter(|f| f.subject == subject);
        format!("{:?}", found.next().unwrap().severity)
    };
    assert_eq!(severity("zdata/enc"), "Alarm");
    assert_eq!(severity("zdata/sink/f1"), "Note");
}

#[test]
fn without_a_stick_nothing_is_verified_and_that_is_said() {
    let told = ask(&f3s("verify-nostick"), POOLS);
    assert_eq!((told.status, told.keys.len()), (66, 0));
    assert!(told.text().contains("nothing was verified"));
}

#[test]
fn a_stick_that_cannot_be_read_is_not_well() {
    let mut stick = good_stick();
    stick.broken = Some("I/O error".to_owned());
    assert_eq!(ask(&f3s("verify-broken").stick(stick), LOOK).status, 66);
    let mut stick = good_stick();
    stick.pulled_after = Some(2);
    let told = ask(&f3s("verify-pulled").stick(stick), REPAIR);
    assert_eq!(told.status, 66);
    assert!(told.did.is_empty());
}

#[test]
fn what_is_no_directory_is_told_as_such_and_not_as_a_sick_stick() {
    let clock = SystemClock::start();
    for top in ["/nonexistent", "/dev/null"] {
        let told = verify::directory(Path::new(top), 0, &clock, false);
        assert_eq!(told.status, 66, "{top}");
        let [finding] = &told.findings[..] else {
            panic!("{told:?}");
        };
        assert_eq!(finding.subject, top);
        assert!(
            finding.remedy.contains("name the directory"),
            "{}",
            finding.remedy
        );
    }
}

#[test]
fn a_plain_store_works_and_is_sent_to_adopt() {
    let stick = Stick::new("/dev/da0", "F3S_KEYS", "4C530001").with_plain_store(&keys());
    let sim = f3s("verify-plain").stick(stick);
    let told = ask(&sim, BOTH);
    assert_eq!((told.status, told.did.len()), (0, 0));
    assert!(told.complaints().contains("adopt"));
}

#[test]
fn a_newer_format_is_not_touched() {
    let sim = up("verify-newer");
    let body = "(format: 2)\n";
    with_stick(&sim, |stick| {
        let sum = blake3::hash(body.as_bytes()).to_hex();
        let bytes = format!("// checksum {sum}\n{body}").into_bytes();
        stick.files.insert(layout::STATE.to_owned(), bytes);
    });
    let before = with_stick(&sim, |s| s.files.clone());
    let told = ask(&sim, BOTH);
    assert_eq!(told.status, 65);
    assert!(told.complaints().contains("format 2"));
    assert_eq!(with_stick(&sim, |s| s.files.clone()), before);
}

#[test]
fn another_run_at_work_is_busy() {
    let sim = up("verify-busy");
    let lock = f3skeys::marker::try_lock(&sim.run()).unwrap();
    assert_eq!(ask(&sim, LOOK).status, 75);
    let made = sim.verb(|node| new_key::new_key(node, &config(), &zdata(), None));
    assert_eq!(made.report.status, 75);
    drop(lock);
}

fn make(sim: &Sim, name: &str) -> new_key::Made {
    let config = config();
    let name = new_key::name(&config, name).unwrap();
    let dataset = "zdata/new".parse().unwrap();
    sim.verb(|node| new_key::new_key(node, &config, &name, Some(&dataset)))
}

#[test]
fn a_new_key_opens_the_root_that_is_made_with_it() {
    let sim = up("new-key");
    let made = make(&sim, "new");
    assert_eq!(made.report.status, 0, "{:?}", made.report.findings);
    let top = "f0.lan.buetow.org:new.key";
    assert!(
        made.text
            .contains(&format!("keylocation=file:///keys/{top} zdata/new"))
    );
    let bytes: [u8; 32] = with_stick(&sim, |s| s.files[top].clone())
        .try_into()
        .unwrap();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(!made.text.contains(&hex), "law 2");
    // The root line is taken from what was printed.
    let line = made
        .text
        .lines()
        .find(|line| line.contains("(dataset: "))
        .unwrap();
    let with_root = sim::CONFIG.replacen("roots: [", &format!("roots: [\n{line}"), 1);
    let config = Config::parse(&with_root).unwrap();
    sim.datasets.borrow_mut().push(sim::at(
        "/data/new",
        sim::encrypted("zdata/new", "zdata/new"),
    ));
    sim.wrapped
        .borrow_mut()
        .insert("zdata/new".to_owned(), bytes);
    let report = sim.verb(|node| boot::boot(node, &config));
    assert_eq!(report.status, 0, "{:?}", report.findings);
    assert_eq!(sim.find("zdata/new").key_status, KeyStatus::Available);
}

#[test]
fn law_7_a_new_key_never_takes_the_place_of_another() {
    let sim = up("new-key-twice");
    let before = with_stick(&sim, |s| s.files.clone());
    let made = make(&sim, "zdata");
    assert_eq!((made.report.status, made.text.as_str()), (69, ""));
    assert_eq!(with_stick(&sim, |s| s.files.clone()), before);
}

#[test]
fn law_2_a_key_that_is_blank_is_named_and_a_store_with_one_is_not_well() {
    for (byte, blank) in [(0x00, true), (0xff, true), (0x01, false)] {
        let sim = up("verify-blank");
        let name: KeyName = "f0.lan.buetow.org:blank".parse().unwrap();
        let path = layout::top_path(&name);
        with_stick(&sim, |stick| stick.files.insert(path, vec![byte; 32]));
        let told = ask(&sim, LOOK);
        assert_eq!(told.status != 0, blank, "{byte}: {told:#?}");
        let failed =
            |f: &&f3skeys::report::Finding| f.severity == f3skeys::report::Severity::Failure;
        let failures: Vec<_> = told.findings.iter().filter(failed).collect();
        let expected: &[&str] = if blank { &[name.as_str()] } else { &[] };
        let subjects: Vec<_> = failures.iter().map(|f| f.subject.as_str()).collect();
        assert_eq!(subjects, expected, "{byte}");
    }
}

#[test]
fn only_the_owner_makes_a_key() {
    let config = config();
    assert_eq!(
        new_key::name(&config, "x").unwrap().as_str(),
        "f0.lan.buetow.org:x"
    );
    assert!(new_key::name(&config, "f0.lan.buetow.org:x").is_ok());
    for bad in ["f1.lan.buetow.org:x", "", "a/b", "x:y:z", ".."] {
        assert!(new_key::name(&config, bad).is_err(), "{bad}");
    }
}

#[test]
fn no_key_is_made_without_a_stick() {
    let made = make(&f3s("new-key-nostick"), "new");
    assert_eq!((made.report.status, made.text.as_str()), (66, ""));
}

fn by_hand(sim: &Sim, root: &str, bytes: [u8; 32]) -> f3skeys::report::Report {
    let key = Key::read(&bytes[..]).unwrap();
    sim.verb(|node| boot::by_hand(node, &config(), &root.parse().unwrap(), key))
}

#[test]
fn a_root_is_opened_by_hand_when_the_stick_is_dead() {
    let sim = f3s("by-hand");
    let report = by_hand(&sim, "zroot/bhyve", BHYVE);
    assert_eq!(report.status, 0, "{:?}", report.findings);
    assert_eq!(sim.find("zroot/bhyve").key_status, KeyStatus::Available);
    assert_eq!(sim.find("zdata/enc").key_status, KeyStatus::Unavailable);
    assert!(report.roots[0].open && report.roots.len() == 1);
    let again = by_hand(&sim, "zroot/bhyve", BHYVE);
    assert_eq!((again.status, again.changed.len()), (0, 0));
}

#[test]
fn law_3_a_replica_opened_by_hand_is_sealed_first() {
    let sim = f3s("by-hand-replica");
    let report = by_hand(&sim, "zdata/sink/f1", PEER);
    assert_eq!(report.status, 0, "{:?}", report.findings);
    let trace = sim.trace.borrow();
    let loaded = trace
        .iter()
        .position(|e| matches!(e, Event::Loaded(_)))
        .unwrap();
    let sealed = trace[..loaded]
        .iter()
        .filter(|e| matches!(e, Event::Sealed(_)));
    assert_eq!(sealed.count(), 2);
}

#[test]
fn a_wrong_key_by_hand_is_said_and_loads_nothing() {
    for (root, loaded) in [("zdata/enc", false), ("zdata/enc", true)] {
        let sim = match loaded {
            true => up("by-hand-wrong"),
            false => f3s("by-hand-wrong"),
        };
        let report = by_hand(&sim, root, [1; 32]);
        assert_eq!(report.status, 65);
        assert!(
            report
                .findings
                .iter()
                .any(|f| f.what.contains("does not open it"))
        );
        assert_eq!(report.roots[0].open, loaded);
    }
    let report = by_hand(&f3s("by-hand-unknown"), "zdata/other", ZDATA);
    assert_eq!(report.status, 78);
}

#[test]
fn by_hand_the_pool_is_told_apart_from_the_key() {
    let sim = f3s("by-hand-hang");
    sim.hanging.borrow_mut().push("zdata".to_owned());
    assert_eq!(by_hand(&sim, "zdata/enc", ZDATA).status, 69);
    let sim = f3s("by-hand-absent");
    sim.states.borrow_mut().remove("zdata");
    assert_eq!(by_hand(&sim, "zdata/enc", ZDATA).status, 69);
}

#[test]
fn a_repaired_store_boots_as_before() {
    for path in good_stick().files.keys() {
        let sim = up("verify-then-boot");
        with_stick(&sim, |stick| rot(stick, path));
        assert_eq!(ask(&sim, REPAIR).status, 0, "{path}");
        sim.reboot("boot-2");
        let report = sim.verb(|node| boot::boot(node, &config()));
        assert_eq!((report.status, report.findings.len()), (0, 0), "{path}");
    }
}
