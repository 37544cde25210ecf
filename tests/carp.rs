//! The hold of CARP, over a simulated node, in every state that it can be found in.

mod sim;

use f3skeys::boot::boot;
use f3skeys::carp::carp;
use f3skeys::config::Config;
use f3skeys::marker::LOCK_POLL;
use f3skeys::os::PoolState;
use f3skeys::ready::ready;
use f3skeys::report::{Report, Severity};
use sim::{CONFIG, Event, Meanwhile, Sim, f3s, good_stick};
use std::cell::Cell;
use std::fs;
use std::rc::Rc;

/// What the kernel says of CARP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kernel {
    None,
    Held,
    Allowed,
    Silent,
    /// It is held, or not, and cannot be changed.
    HeldStubborn,
    AllowedStubborn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    Open,
    Closed,
    CannotTell,
}

const KERNELS: [Kernel; 6] = [
    Kernel::None,
    Kernel::Held,
    Kernel::Allowed,
    Kernel::Silent,
    Kernel::HeldStubborn,
    Kernel::AllowedStubborn,
];
const GATES: [Gate; 3] = [Gate::Open, Gate::Closed, Gate::CannotTell];

fn config(with_carp: bool) -> Config {
    let carp = "carp: (gate: \"nfs\"),\n    roots: [";
    let text = match with_carp {
        true => CONFIG.replacen("roots: [", carp, 1),
        false => CONFIG.to_owned(),
    };
    Config::parse(&text).unwrap()
}

fn node(name: &str, kernel: Kernel, gate: Gate) -> Sim {
    let sim = f3s(&format!("carp-{name}-{kernel:?}-{gate:?}")).stick(good_stick());
    sim.verb(|node| boot(node, &config(true)));
    sim.zfs_mount_all();
    sim.verb(|node| ready(node, &config(true)));
    let unknown = || PoolState::Unknown("no such word".to_owned());
    match gate {
        Gate::Open => {}
        Gate::Closed => sim.unmount("zdata/enc/nfsdata"),
        Gate::CannotTell => drop(sim.states.borrow_mut().insert("zdata".into(), unknown())),
    }
    *sim.carp.borrow_mut() = match kernel {
        Kernel::None => Ok(None),
        Kernel::Held | Kernel::HeldStubborn => Ok(Some(false)),
        Kernel::Allowed | Kernel::AllowedStubborn => Ok(Some(true)),
        Kernel::Silent => Err("Input/output error".to_owned()),
    };
    let stubborn = matches!(kernel, Kernel::HeldStubborn | Kernel::AllowedStubborn);
    sim.carp_refused.set(stubborn);
    sim.trace.borrow_mut().clear();
    sim
}

fn run(sim: &Sim, reconcile: bool) -> Report {
    sim.verb(|node| carp(node, &config(true), reconcile))
}

/// What must come of it: the exit status, whether the node takes part afterwards, and whether there
/// is anything to be said at all.
fn wanted(kernel: Kernel, gate: Gate, reconcile: bool) -> (u8, Result<Option<bool>, ()>, bool) {
    let open = gate == Gate::Open;
    match kernel {
        Kernel::None => (0, Ok(None), false),
        Kernel::Silent => (71, Err(()), true),
        Kernel::Held if open => (0, Ok(Some(true)), true),
        Kernel::HeldStubborn if open => (71, Ok(Some(false)), true),
        Kernel::Held | Kernel::HeldStubborn if reconcile => (0, Ok(Some(false)), false),
        Kernel::Held | Kernel::HeldStubborn => (69, Ok(Some(false)), true),
        Kernel::Allowed | Kernel::AllowedStubborn if open => (0, Ok(Some(true)), false),
        Kernel::Allowed if reconcile => (0, Ok(Some(false)), true),
        Kernel::AllowedStubborn if reconcile => (71, Ok(Some(true)), true),
        Kernel::Allowed | Kernel::AllowedStubborn => (69, Ok(Some(true)), true),
    }
}

#[test]
fn every_state_and_each_run_twice() {
    let mut cases = 0;
    for kernel in KERNELS {
        for gate in GATES {
            for reconcile in [false, true] {
                let case = format!("{kernel:?} {gate:?} reconcile {reconcile}");
                let sim = node(&reconcile.to_string(), kernel, gate);
                let report = run(&sim, reconcile);
                let (status, carp, news) = wanted(kernel, gate, reconcile);
                let said = report.complaints();
                assert_eq!(report.status, status, "{case}: {said}");
                assert_eq!(sim.carp.borrow().clone().map_err(drop), carp, "{case}");
                assert_eq!(!report.has_no_news(), news, "{case}: {report:?}");
                assert!(status == 0 || !said.is_empty(), "{case}");
                // What was said and failed is said again; what was done is not.
                sim.trace.borrow_mut().clear();
                let again = run(&sim, reconcile);
                assert!(again.changed.is_empty(), "{case}: {again:?}");
                assert_eq!(*sim.trace.borrow(), [], "{case}");
                assert_eq!(again.status, status, "{case}");
                cases += 1;
            }
        }
    }
    assert_eq!(cases, 36);
}

#[test]
fn without_the_option_nothing_is_held_or_let_in() {
    for kernel in KERNELS {
        for gate in GATES {
            let sim = node("no-config", kernel, gate);
            for reconcile in [false, true] {
                let report = sim.verb(|node| carp(node, &config(false), reconcile));
                assert_eq!(report.status, 0);
                assert!(report.has_no_news(), "{report:?}");
            }
            assert_eq!(*sim.trace.borrow(), []);
        }
    }
}

#[test]
fn what_is_said_names_the_gate_the_reason_and_the_way_out() {
    let sim = node("said", Kernel::Held, Gate::Closed);
    let said = run(&sim, false).complaints();
    assert!(
        said.starts_with("f3skeys: gate nfs: is closed, so every CARP address stays in INIT: zdata/enc/nfsdata is not to be seen"),
        "{said}"
    );
    assert!(
        said.contains("\n  -> mend that, then `f3skeys ready`"),
        "{said}"
    );
    let sim = node("said", Kernel::Allowed, Gate::Closed);
    let said = run(&sim, false).complaints();
    assert!(said.contains("takes part in CARP all the same"), "{said}");
    assert!(said.contains("`f3skeys carp --reconcile`"), "{said}");
    let report = run(&sim, true);
    assert_eq!(report.findings[0].severity, Severity::Warning);
    assert!(report.complaints().contains("the peer takes over"));
    assert_eq!(*sim.trace.borrow(), [Event::Carp(false)]);
}

/// A marker of this boot is part of what makes a gate open.
#[test]
fn law_4_a_gate_without_its_marker_lets_nobody_in() {
    let sim = node("marker", Kernel::Held, Gate::Open);
    let marker = f3skeys::marker::path(&sim.run(), &"nfs".parse().unwrap());
    fs::remove_file(marker).unwrap();
    assert_eq!(run(&sim, false).status, 69);
    assert_eq!(*sim.trace.borrow(), []);
}

#[test]
fn a_run_that_hangs_on_a_pool_keeps_no_sick_node_in_carp() {
    let sim = node("busy-closed", Kernel::Allowed, Gate::Closed);
    fs::create_dir_all(sim.run()).unwrap();
    let other = f3skeys::marker::try_lock(&sim.run()).unwrap().unwrap();
    assert_eq!(run(&sim, true).status, 0);
    assert_eq!(*sim.trace.borrow(), [Event::Carp(false)]);
    // But nobody is let in behind the back of one that may be closing the gates.
    let sim = node("busy-open", Kernel::Held, Gate::Open);
    fs::create_dir_all(sim.run()).unwrap();
    let lock = f3skeys::marker::try_lock(&sim.run()).unwrap().unwrap();
    assert_eq!(run(&sim, false).status, 75);
    assert_eq!(*sim.trace.borrow(), []);
    drop((other, lock));
    assert_eq!(run(&sim, false).status, 0);
    assert_eq!(*sim.trace.borrow(), [Event::Carp(true)]);
}

#[test]
fn what_closed_while_it_waited_for_the_lock_lets_nobody_in() {
    let sim = node("waited", Kernel::Held, Gate::Open);
    let other = f3skeys::marker::try_lock(&sim.run()).unwrap();
    let other = Cell::new(Some(other.unwrap()));
    let closes_and_leaves: Meanwhile = Rc::new(move |sim: &Sim, waited| {
        // The wait between two tries for the lock.
        if waited == LOCK_POLL
            && let Some(lock) = other.take()
        {
            sim.unmount("zdata/enc/nfsdata");
            drop(lock);
        }
    });
    *sim.meanwhile.borrow_mut() = Some(closes_and_leaves);
    assert_eq!(run(&sim, false).status, 69);
    assert_eq!(*sim.trace.borrow(), []);
    assert!(!sim.find("zdata/enc/nfsdata").mounted, "it has waited");
}

#[test]
fn a_quiet_reconcile_keeps_the_report_of_the_last_change() {
    let sim = node("kept", Kernel::Allowed, Gate::Closed);
    run(&sim, true);
    let kept = || Report::last(&sim.db(), "carp").unwrap();
    let last = kept();
    assert_eq!(last.changed.len(), 1);
    run(&sim, true);
    assert_eq!(kept(), last);
}
