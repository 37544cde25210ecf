//! `lock`, over a simulated node: everything closed, in the right order, by nobody's force.

mod sim;

use f3skeys::boot::boot;
use f3skeys::carp::carp;
use f3skeys::config::Config;
use f3skeys::gate::Answer;
use f3skeys::late::late;
use f3skeys::lock::lock;
use f3skeys::lock::plan::{self, Kept};
use f3skeys::marker;
use f3skeys::os::PoolState;
use f3skeys::plan::{Observed, Pool};
use f3skeys::ready::{ask, ready};
use f3skeys::reconcile::reconcile;
use f3skeys::report::Report;
use f3skeys::zfs::{Dataset, KeyStatus, Kind, Mountpoint};
use sim::{CONFIG, Event, Sim, at, dataset, encrypted, f3s, good_stick};
use std::time::Duration;

const ROOTS: [&str; 3] = ["zdata/enc", "zroot/bhyve", "zdata/sink/f1"];

/// The f3s node with services, CARP and a guard.
fn config() -> Config {
    let text = CONFIG
        .replacen(
            "roots: [",
            "carp: (gate: \"nfs\"), guards: [\"/data/nfs\"],\n    roots: [",
            1,
        )
        .replacen(
            "dataset: \"zdata/enc/nfsdata\")]),",
            "dataset: \"zdata/enc/nfsdata\")], services: [\"mountd\", \"nfsd\"]),",
            1,
        )
        .replacen(
            "dataset: \"zdata/sink/f1\")]),",
            "dataset: \"zdata/sink/f1\")], services: [\"stunnel\", \"nfsd\"]),",
            1,
        );
    Config::parse(&text).unwrap()
}

/// A node that serves, taking part in CARP.
fn serving(name: &str) -> Sim {
    let sim = f3s(&format!("lock-{name}")).stick(good_stick());
    for service in ["mountd", "nfsd", "stunnel"] {
        sim.service_states
            .borrow_mut()
            .insert(service.to_owned(), true);
    }
    let bare = (Vec::new(), false);
    sim.bare.borrow_mut().insert("/data/nfs".into(), bare);
    *sim.carp.borrow_mut() = Ok(Some(false));
    open(&sim);
    assert_eq!(*sim.carp.borrow(), Ok(Some(true)));
    sim.trace.borrow_mut().clear();
    sim
}

fn open(sim: &Sim) {
    sim.verb(|node| boot(node, &config()));
    sim.zfs_mount_all();
    sim.verb(|node| ready(node, &config()));
    sim.verb(|node| carp(node, &config(), false));
}

fn lock_now(sim: &Sim) -> Report {
    sim.verb(|node| lock(node, &config()))
}

fn gate(sim: &Sim, name: &str) -> Answer {
    let config = config();
    let gate = config.gate(&name.parse().unwrap()).unwrap();
    sim.verb(|node| ask(node, &config, gate))
}

fn loaded(sim: &Sim) -> Vec<&'static str> {
    let is_loaded = |root: &&str| sim.find(root).key_status == KeyStatus::Available;
    ROOTS.into_iter().filter(is_loaded).collect()
}

fn mounted(sim: &Sim) -> Vec<String> {
    let datasets = sim.datasets.borrow();
    let mounted = datasets.iter().filter(|d| d.mounted);
    mounted.map(|d| d.name.to_string()).collect()
}

fn says(report: &Report, subject: &str, words: &str, remedy: &str) {
    let said = report
        .findings
        .iter()
        .any(|f| f.subject == subject && f.what.contains(words) && f.remedy.contains(remedy));
    assert!(
        said,
        "no `{subject}: {words} -> {remedy}` in:\n{}",
        report.complaints()
    );
}

#[test]
fn everything_is_closed_in_the_right_order() {
    let sim = serving("order");
    let report = lock_now(&sim);
    assert_eq!(report.status, 0, "{}", report.complaints());
    let event = |what: fn(String) -> Event, name: &str| what(name.to_owned());
    assert_eq!(
        *sim.trace.borrow(),
        [
            Event::Carp(false),
            event(Event::Stopped, "stunnel"),
            event(Event::Stopped, "nfsd"),
            event(Event::Stopped, "mountd"),
            // The deepest path first, pool by pool no matter.
            event(Event::Unmounted, "zroot/bhyve"),
            event(Event::Unmounted, "zdata/enc/nfsdata"),
            event(Event::Unmounted, "zdata/sink/f1/child"),
            event(Event::Unmounted, "zdata/sink/f1"),
            event(Event::Unmounted, "zdata/enc"),
            event(Event::Unloaded, "zroot/bhyve"),
            event(Event::Unloaded, "zdata/sink/f1"),
            event(Event::Unloaded, "zdata/enc"),
            Event::Guarded("/data/nfs".into()),
        ]
    );
    assert_eq!(loaded(&sim), [""; 0]);
    let plain = ["zdata", "zdata/sink"];
    assert_eq!(mounted(&sim), plain, "what nobody encrypted stays");
    assert!(report.roots.iter().all(|root| !root.open));
    // Every step is in the report: the lock, three gates, CARP, three services, five mounts, three
    // keys and the guard.
    assert_eq!(
        report.changed.len(),
        1 + 3 + 1 + 3 + 5 + 3 + 1,
        "{report:?}"
    );
    for name in ["nfs", "standby", "failback"] {
        assert!(matches!(gate(&sim, name), Answer::Closed(_)), "{name}");
    }
}

#[test]
fn a_second_run_changes_nothing_and_says_so() {
    let sim = serving("twice");
    lock_now(&sim);
    sim.trace.borrow_mut().clear();
    let again = lock_now(&sim);
    assert_eq!(again.status, 0, "{}", again.complaints());
    assert!(again.changed.is_empty(), "{again:?}");
    assert!(again.results().contains("nothing to do"));
    assert_eq!(*sim.trace.borrow(), []);
}

#[test]
fn the_gates_are_closed_before_anything_else_happens() {
    let sim = serving("gates-first");
    // Dies when it first looks at CARP.
    assert!(sim.dies_at(2, |node| lock(node, &config())).is_none());
    assert_eq!(*sim.trace.borrow(), []);
    assert!(marker::is_locked(&sim.run()).unwrap());
    for name in ["nfs", "standby", "failback"] {
        let marker = marker::read(&sim.run(), &name.parse().unwrap()).unwrap();
        assert_eq!(marker, None, "{name}");
    }
}

#[test]
fn law_8_what_is_in_use_stays_and_the_rest_goes_on() {
    let sim = serving("busy");
    *sim.busy.borrow_mut() = vec!["zdata/enc/nfsdata".to_owned()];
    let report = lock_now(&sim);
    assert_eq!(report.status, 69);
    assert_eq!(loaded(&sim), ["zdata/enc"]);
    let left = ["zdata", "zdata/enc/nfsdata", "zdata/sink"];
    assert_eq!(mounted(&sim), left);
    says(
        &report,
        "zdata/enc/nfsdata",
        "still mounted on /data/nfs: zfs unmount: pool or dataset is busy",
        "/data/nfs` shows who uses it",
    );
    says(
        &report,
        "zdata/enc",
        "its key stays loaded: zdata/enc/nfsdata is still mounted",
        "`f3skeys lock`",
    );
    assert!(matches!(gate(&sim, "nfs"), Answer::Closed(_)));
    // ZFS was never asked for a key of which something is mounted.
    let asked = Event::Unloaded("zdata/enc".to_owned());
    assert!(!sim.trace.borrow().contains(&asked));
    // Once it is free, a second run finishes.
    sim.busy.borrow_mut().clear();
    assert_eq!(lock_now(&sim).status, 0);
    assert_eq!(loaded(&sim), [""; 0]);
}

#[test]
fn a_volume_in_use_keeps_its_key() {
    let sim = serving("volume");
    *sim.busy.borrow_mut() = vec!["zroot/bhyve/vol".to_owned()];
    let report = lock_now(&sim);
    assert_eq!(report.status, 69);
    assert_eq!(loaded(&sim), ["zroot/bhyve"]);
    says(
        &report,
        "zroot/bhyve",
        "its key stays loaded: zfs unload-key: dataset is busy",
        "filesystem,volume zroot/bhyve",
    );
}

#[cfg(target_os = "linux")]
#[test]
fn what_holds_a_key_is_found_in_the_mounts_of_others() {
    let sim = serving("elsewhere");
    *sim.busy.borrow_mut() = vec!["zroot/bhyve/vol".to_owned()];
    let report = lock_now(&sim);
    let find = "`grep -l zroot/bhyve /proc/[0-9]*/mounts`";
    says(&report, "zroot/bhyve", "its key stays loaded", find);
}

#[test]
fn law_6_a_hanging_pool_costs_its_share_and_the_other_is_locked() {
    let sim = serving("hangs");
    sim.hanging.borrow_mut().push("zdata".to_owned());
    let before = f3skeys::time::Clock::now(&sim);
    let report = lock_now(&sim);
    let took = f3skeys::time::Clock::now(&sim) - before;
    assert_eq!(report.status, 69);
    assert!(took < Duration::from_secs(30), "{took:?}");
    // Its replicas could be what takes so long: so it is asked about the rest once more, and never again.
    assert_eq!(sim.asked_in_vain.get(), 2);
    assert_eq!(sim.find("zroot/bhyve").key_status, KeyStatus::Unavailable);
    says(
        &report,
        "zdata/enc",
        "not known whether its key is loaded",
        "`zpool status zdata`",
    );
    assert!(
        report
            .roots
            .iter()
            .any(|r| r.dataset == "zdata/enc" && r.open)
    );
    assert_eq!(*sim.carp.borrow(), Ok(Some(false)));
}

#[test]
fn a_suspended_pool_is_never_asked_and_never_called_locked() {
    let sim = serving("suspended");
    sim.states
        .borrow_mut()
        .insert("zdata".to_owned(), PoolState::Suspended);
    sim.hanging.borrow_mut().push("zdata".to_owned());
    let report = lock_now(&sim);
    assert_eq!(report.status, 69);
    assert_eq!(sim.asked_in_vain.get(), 0);
    says(
        &report,
        "zdata/enc",
        "pool zdata is suspended",
        "`zpool clear zdata`",
    );
    sim.hanging.borrow_mut().clear();
    sim.states
        .borrow_mut()
        .insert("zdata".to_owned(), PoolState::NotImported);
    assert_eq!(lock_now(&sim).status, 0, "what is not imported is locked");
}

#[test]
fn a_service_that_does_not_stop_is_named_and_the_rest_goes_on() {
    let sim = serving("deaf");
    sim.deaf_services.borrow_mut().push("nfsd".to_owned());
    let report = lock_now(&sim);
    assert_eq!(report.status, 69);
    says(&report, "nfsd", "could not be stopped", "`f3skeys lock`");
    let mountd = Event::Stopped("mountd".to_owned());
    assert!(sim.trace.borrow().contains(&mountd));
    assert_eq!(loaded(&sim), [""; 0]);
    // One that nobody knows cannot be told to have stopped.
    let sim = serving("unknown");
    sim.service_states.borrow_mut().remove("stunnel");
    sim.deaf_services.borrow_mut().push("stunnel".to_owned());
    let report = lock_now(&sim);
    assert_eq!(report.status, 69);
    says(&report, "stunnel", "could not be stopped", "`f3skeys lock`");
}

#[test]
fn a_hold_that_the_kernel_refuses_stops_nothing_else() {
    for silent in [true, false] {
        let sim = serving(&format!("carp-{silent}"));
        sim.carp_refused.set(true);
        if silent {
            *sim.carp.borrow_mut() = Err("Input/output error".to_owned());
        }
        let report = lock_now(&sim);
        assert_eq!(report.status, 71, "{}", report.complaints());
        assert_eq!(loaded(&sim), [""; 0]);
    }
}

#[test]
fn boot_ready_and_carp_undo_it() {
    let sim = serving("undo");
    lock_now(&sim);
    open(&sim);
    assert_eq!(loaded(&sim).len(), 3);
    for name in ["nfs", "standby", "failback"] {
        assert_eq!(gate(&sim, name), Answer::Open, "{name}");
    }
    assert_eq!(*sim.carp.borrow(), Ok(Some(true)));
    // The services it stopped are started by the next run of cron, and only once.
    sim.verb(|node| reconcile(node, &config()));
    let states = sim.service_states.borrow().clone();
    assert!(states.values().all(|runs| *runs), "{states:?}");
}

#[test]
fn nothing_but_a_boot_undoes_it() {
    let sim = serving("late");
    lock_now(&sim);
    sim.trace.borrow_mut().clear();
    assert!(sim.verb(|node| late(node, &config())).is_none());
    sim.verb(|node| ready(node, &config()));
    sim.verb(|node| reconcile(node, &config()));
    sim.verb(|node| carp(node, &config(), true));
    assert_eq!(*sim.trace.borrow(), []);
    assert_eq!(loaded(&sim), [""; 0]);
    assert!(marker::is_locked(&sim.run()).unwrap());
}

fn seen(datasets: Vec<Dataset>) -> Observed {
    let mut observed = Observed::default();
    for mut dataset in datasets {
        dataset.mounted |= matches!(dataset.mountpoint, Mountpoint::Path(_));
        if dataset.encryption_root.is_some() {
            dataset.key_status = KeyStatus::Available;
        }
        let pool = dataset.name.pool().to_owned();
        let entry = observed.pools.entry(pool);
        if let Pool::Seen(all) = entry.or_insert_with(|| Pool::Seen(Vec::new())) {
            all.push(dataset);
        }
    }
    observed
}

fn names<'a>(plan: &plan::Plan<'a>) -> Vec<&'a str> {
    plan.unmounts.iter().map(|u| u.dataset.as_str()).collect()
}

#[test]
fn what_is_unmounted_and_what_is_not() {
    let observed = seen(vec![
        at("/", encrypted("zroot/bhyve/os", "zroot/bhyve")),
        at("/data", dataset("zdata")),
        at("/data/enc", encrypted("zdata/enc", "zdata/enc")),
        // Below by path, and by name not.
        at("/data/enc/plain", dataset("zdata/plain")),
        // Not encrypted, but below a configured root: `ready` mounts it.
        at("/data/enc/a", dataset("zdata/enc/a")),
        // Two on one directory.
        at("/data/twin", encrypted("zdata/enc/t1", "zdata/enc")),
        at("/data/twin", encrypted("zdata/enc/t2", "zdata/enc")),
        // A root of its own that nobody configured.
        at("/data/enc/own", encrypted("zdata/enc/own", "zdata/enc/own")),
        // A clone: opened by a configured root's key from elsewhere.
        at("/clone", encrypted("zdata/clone", "zdata/enc")),
        Dataset {
            mountpoint: Mountpoint::Legacy,
            mounted: true,
            ..encrypted("zdata/enc/legacy", "zdata/enc")
        },
        // Another's root beside ours.
        at("/data/enc2", encrypted("zdata/enc2", "zdata/enc2")),
    ]);
    let config = sim::config();
    let plan = plan::plan(&config, &observed);
    assert_eq!(
        names(&plan),
        [
            "zdata/enc/t2",
            "zdata/enc/t1",
            "zdata/enc/own",
            "zdata/enc/a",
            "zdata/enc",
            "zdata/clone",
            "zdata/enc/legacy",
        ]
    );
    let strangers: Vec<&str> = plan.strangers.iter().map(|d| d.as_str()).collect();
    assert_eq!(strangers, ["zdata/enc/own"]);
    assert_eq!(plan.keys, Vec::<&f3skeys::names::DatasetName>::new());
}

#[test]
fn a_key_goes_once_nothing_of_it_is_mounted_and_the_deepest_first() {
    let text = CONFIG.replacen(
        "(dataset: \"zroot/bhyve\"",
        "(dataset: \"zdata/enc/nfsdata\", key: \"f0.lan.buetow.org:zdata\", role: primary, required: true),
        (dataset: \"zroot/bhyve\"",
        1,
    );
    let config = Config::parse(&text).unwrap();
    let unmounted = |name: &str, root: &str| Dataset {
        kind: Kind::Filesystem,
        ..encrypted(name, root)
    };
    let observed = seen(vec![
        unmounted("zdata/enc", "zdata/enc"),
        unmounted("zdata/enc/nfsdata", "zdata/enc/nfsdata"),
        at("/b", encrypted("zroot/bhyve/b", "zroot/bhyve")),
        unmounted("zroot/bhyve", "zroot/bhyve"),
        // Configured as a root, which it is not.
        unmounted("zdata/sink/f1", "zdata/sink"),
        unmounted("zdata/sink", "zdata/sink"),
    ]);
    let plan = plan::plan(&config, &observed);
    let keys: Vec<&str> = plan.keys.iter().map(|d| d.as_str()).collect();
    assert_eq!(keys, ["zdata/enc/nfsdata", "zdata/enc"]);
    let name = |name: &str| name.parse::<f3skeys::names::DatasetName>().unwrap();
    assert_eq!(
        plan.kept,
        [
            (&name("zdata/sink/f1"), Kept::OpenedBy(&name("zdata/sink"))),
            (&name("zroot/bhyve"), Kept::Mounted(&name("zroot/bhyve/b"))),
        ]
    );
}

/// The kernel takes the one on top, whichever was named, and what is buried only afterwards.
#[test]
fn stacked_mounts_are_taken_off_one_by_one() {
    let sim = serving("stacked");
    // One after the other: the last one buries the one before.
    for (name, path) in [
        ("zdata/enc/twin", "/data/nfs"),
        ("zdata/enc/deep", "/data/enc/deep"),
        ("zdata/enc/over", "/data/enc"),
    ] {
        let over = Dataset {
            key_status: KeyStatus::Available,
            ..at(path, encrypted(name, "zdata/enc"))
        };
        sim.datasets.borrow_mut().push(over);
        sim.zfs_mount_all();
        assert!(sim.find(name).mounted);
    }
    let report = lock_now(&sim);
    assert_eq!(report.status, 0, "{}", report.complaints());
    assert_eq!(mounted(&sim), ["zdata", "zdata/sink"]);
    assert_eq!(loaded(&sim), [""; 0]);
}

#[test]
fn what_is_mounted_in_the_way_is_named() {
    let sim = serving("in-the-way");
    sim.datasets
        .borrow_mut()
        .push(at("/data/nfs/scratch", dataset("zdata/scratch")));
    sim.zfs_mount_all();
    let report = lock_now(&sim);
    assert_eq!(report.status, 69);
    says(
        &report,
        "zdata/enc/nfsdata",
        "still mounted on /data/nfs",
        "zdata/scratch is mounted below it",
    );
    assert!(sim.find("zdata/scratch").mounted, "it is none of ours");
}

#[test]
fn an_unconfigured_root_is_unmounted_and_its_key_named() {
    let sim = serving("stranger");
    let own = Dataset {
        key_status: KeyStatus::Available,
        ..at("/data/enc/own", encrypted("zdata/enc/own", "zdata/enc/own"))
    };
    sim.datasets.borrow_mut().push(own);
    sim.zfs_mount_all();
    let report = lock_now(&sim);
    assert_eq!(report.status, 0, "{}", report.complaints());
    assert!(!sim.find("zdata/enc/own").mounted);
    let own = sim.find("zdata/enc/own");
    assert_eq!(own.key_status, KeyStatus::Available);
    says(
        &report,
        "zdata/enc/own",
        "its key stays loaded",
        "name it in `roots`",
    );
}
