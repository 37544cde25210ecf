//! The rehearsal against the truth: for every fault its answer is compared with what the boot that
//! follows then does, on a simulated node.

#[path = "rehearse/faults.rs"]
mod faults;
mod sim;

use f3skeys::boot::boot;
use f3skeys::config::{Condition, Config};
use f3skeys::exit::Fault as Status;
use f3skeys::gate::{self, Answer, Known, Newest};
use f3skeys::key::Fingerprint;
use f3skeys::names::ServiceName;
use f3skeys::os::PoolState;
use f3skeys::ready::{ask, named, ready};
use f3skeys::rehearse::{Forecast, Rehearsal, rehearse};
use f3skeys::report::{Finding, Severity};
use f3skeys::sorted::Map;
use f3skeys::system::System;
use f3skeys::time::Deadline;
use f3skeys::zfs::{Dataset, KeyStatus, Moment, Mountpoint, Past, Source};
use faults::{Fault, OTHER, ZKEY, all_faults, pool, with_stick, wrap};
use sim::{BHYVE, CONFIG, PEER, Sim, ZDATA, at, dataset, encrypted, f3s, good_stick};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How the node stands when it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// It was up and well, and then the fault came.
    Up,
    /// It has just been switched on, and nothing of ours ran.
    Fresh,
    /// It was booted with the fault.
    Booted,
}

const STARTS: [Start; 3] = [Start::Up, Start::Fresh, Start::Booted];

/// Boot, the system's mounts, ready.
fn whole_boot(sim: &Sim, config: &Config) -> [Option<Status>; 2] {
    let first = sim.verb(|node| boot(node, config));
    sim.zfs_mount_all();
    let goes_on = sim.fstab_mount_all();
    let second = sim.verb(|node| ready(node, config));
    let stays = sim.systemd_unmounts();
    let stopped = (!goes_on || !stays).then_some(Status::Unavailable);
    [first.fault, second.fault.max(stopped)]
}

fn prepare(label: &str, start: Start, faults: &[Fault]) -> (Sim, Config) {
    let sim = f3s(label).stick(good_stick());
    let text = faults
        .iter()
        .fold(CONFIG.to_owned(), |text, fault| (fault.config)(text));
    let config = Config::salvage(&text).unwrap_or_else(|e| panic!("{label}: {e}:\n{text}"));
    if start == Start::Up {
        let well = whole_boot(&sim, &sim::config());
        assert_eq!(well, [None, None]);
    }
    faults.iter().for_each(|fault| (fault.node)(&sim));
    if start == Start::Booted {
        whole_boot(&sim, &config);
    }
    (sim, config)
}

/// How the boot that follows ends.
#[derive(Debug)]
struct Truth {
    fault: Option<Status>,
    roots: Vec<bool>,
    gates: Vec<bool>,
}

fn truth(sim: &Sim, config: &Config, boot_id: &str) -> Truth {
    sim.reboot(boot_id);
    let faults = whole_boot(sim, config);
    let open = |gate: &f3skeys::config::Gate| {
        let answer = sim.verb(|node| ask(node, config, named(config, gate.name.as_str()).unwrap()));
        answer == Answer::Open
    };
    let gates: Vec<bool> = config.gates.iter().map(open).collect();
    let held = config
        .gates
        .iter()
        .all(|gate| held_by_datasets(sim, config, gate));
    let closed = (!held || !all_can_start(sim, config)).then_some(Status::Unavailable);
    let loaded = |name: &str| {
        let datasets = sim.datasets.borrow();
        let found = datasets.iter().find(|d| d.name.as_str() == name);
        let pool = name.split('/').next().unwrap();
        // What cannot be asked is not known to be open, whatever it is.
        let answers = matches!(sim.pool_state(pool), PoolState::Works(_))
            && !sim.hanging.borrow().iter().any(|hangs| hangs == pool);
        answers && found.is_some_and(|d| d.key_status == KeyStatus::Available)
    };
    Truth {
        fault: faults.into_iter().flatten().chain(closed).max(),
        roots: config
            .roots
            .iter()
            .map(|root| loaded(root.dataset.as_str()))
            .collect(),
        gates,
    }
}

/// Whether the manager, just booted, takes the start of every service of the gates.
fn all_can_start(sim: &Sim, config: &Config) -> bool {
    let deadline = Deadline::after(sim, Duration::from_secs(60));
    let can_start = |service: &ServiceName| {
        let is_known = sim.service_states.borrow().contains_key(service.as_str());
        is_known
            && sim
                .verb(|node| node.services.start(service, deadline))
                .is_ok()
    };
    config
        .gates
        .iter()
        .flat_map(|gate| &gate.services)
        .all(can_start)
}

/// What ZFS could tell of the datasets of the gates.
fn known(sim: &Sim, config: &Config) -> Known {
    let mut known = Known::default();
    let pasts = sim.pasts.borrow();
    for need in config.gates.iter().flat_map(|gate| &gate.needs) {
        if let Condition::FreshSnapshot { dataset, .. } = need
            && let Some(newest) = pasts.get(dataset.as_str()).and_then(|past| past.newest())
        {
            let newest = Newest {
                name: newest.name.clone(),
                created: newest.created,
                seen: System::since_boot(sim).unwrap().as_secs(),
            };
            known.newest.insert(dataset.clone(), newest);
        }
    }
    known
}

/// Whether a gate would be open but for files and peers, as the simulated mounts stand.
fn held_by_datasets(sim: &Sim, config: &Config, gate: &f3skeys::config::Gate) -> bool {
    let mut config = config.clone();
    for gate in &mut config.gates {
        gate.needs.retain(|need| {
            !matches!(
                need,
                Condition::Present(_) | Condition::Absent(_) | Condition::NotPromoted { .. }
            )
        });
    }
    let gate = config.gate(&gate.name).unwrap();
    let known = known(sim, &config);
    let questions = gate::questions(&config, gate, &known);
    let states: Map<String, PoolState> = questions
        .pools
        .iter()
        .map(|pool| (pool.clone(), sim.pool_state(pool)))
        .collect();
    if gate::sick_pool(&states).is_some() {
        return false;
    }
    let deadline = Deadline::after(sim, Duration::from_secs(2));
    match sim.look(&questions, deadline) {
        Ok(live) => gate::decide(&config, gate, &live, &known) == Answer::Open,
        Err(_) => false,
    }
}

/// Rehearses, and sees to it that nothing was changed by that.
fn rehearse_untouched(sim: &Sim, config: &Config, label: &str) -> Rehearsal {
    let trace = sim.trace.borrow().clone();
    let datasets = sim.datasets.borrow().clone();
    let kept = || {
        let mut files = files_below(&sim.directory);
        files.retain(|path, _| !path.ends_with("run/lock") && !path.ends_with("run/lock-waiting"));
        files
    };
    let files = kept();
    let rehearsal = sim.verb(|node| rehearse(node, config, &[]));
    assert_eq!(*sim.trace.borrow(), trace, "{label}: something was done");
    assert_eq!(*sim.datasets.borrow(), datasets, "{label}: not untouched");
    assert_eq!(kept(), files, "{label}: reports or markers were written");
    rehearsal
}

/// Reports and markers, with what they hold.
fn files_below(directory: &std::path::Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else if !path.ends_with("run/lock") {
            found.insert(path.display().to_string(), std::fs::read(&path).unwrap());
        }
    }
    found
}

/// Whether two file systems share a mountpoint.
fn has_twins(sim: &Sim) -> bool {
    let datasets = sim.datasets.borrow();
    let places = datasets.iter().filter_map(|d| match &d.mountpoint {
        Mountpoint::Path(at) => Some(at),
        _ => None,
    });
    let mut seen = BTreeSet::new();
    places.into_iter().any(|at| !seen.insert(at))
}

/// Rehearses, boots in each order that `zfs mount -a` may choose, and compares. Tells the answer.
fn compare(label: &str, sim: &Sim, config: &Config) -> bool {
    let said = rehearse_untouched(sim, config, label);
    let mut truths = vec![truth(sim, config, "boot-2")];
    if has_twins(sim) {
        sim.twins_reversed.set(true);
        truths.push(truth(sim, config, "boot-3"));
    }
    let context = || format!("{label}:\n{}{truths:#?}", said.text());
    let worst = truths.iter().filter_map(|truth| truth.fault).max();
    assert_eq!(said.comes_back, worst.is_none(), "{}", context());
    assert_eq!(said.fault, worst, "{}", context());
    assert_eq!(
        said.status,
        worst.map_or(0, Status::status),
        "{}",
        context()
    );
    assert_eq!(said.reasons.is_empty(), said.comes_back, "{}", context());
    for truth in &truths {
        let roots: Vec<bool> = said.roots.iter().map(|root| root.open).collect();
        assert_eq!(roots, truth.roots, "{}", context());
        for (forecast, open) in said.gates.iter().zip(&truth.gates) {
            match forecast.state {
                Forecast::Open => assert!(open, "{}: {}", forecast.name, context()),
                Forecast::Closed => assert!(!open, "{}: {}", forecast.name, context()),
                Forecast::Unknown => {}
            }
        }
    }
    for reason in &said.reasons {
        assert!(!reason.remedy.is_empty(), "no mend: {}", context());
        let twice = said.remarks.iter().any(|r| r.subject == reason.subject);
        assert!(!twice, "{}: {}", reason.subject, context());
    }
    said.comes_back
}

/// How often each answer was given.
#[derive(Debug, Default)]
struct Count {
    yes: usize,
    no: usize,
}

impl Count {
    fn add(&mut self, yes: bool) {
        match yes {
            true => self.yes += 1,
            false => self.no += 1,
        }
    }
}

#[test]
fn every_fault_is_foretold_as_the_next_boot_shows_it() {
    let faults = all_faults();
    let mut names: Vec<&str> = faults.iter().map(|fault| fault.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), faults.len(), "a fault is named twice");
    assert!(faults.len() >= 120, "{}", faults.len());
    let mut count = Count::default();
    for (number, fault) in faults.iter().enumerate() {
        for start in STARTS {
            let (sim, config) = prepare(&format!("one{number}"), start, &[*fault]);
            let label = format!("{} ({start:?})", fault.name);
            count.add(compare(&label, &sim, &config));
        }
    }
    println!(
        "{} faults, {} starts each: {count:?}",
        faults.len(),
        STARTS.len()
    );
    assert!(count.yes >= 60 && count.no >= 60, "{count:?}");
}

/// A dozen that have little to do with each other.
const BASIC: [&str; 12] = [
    "stick absent",
    "every copy damaged",
    "primary opened by the retained generation",
    "replica wrapped by another key",
    "key of the optional root missing",
    "pool suspended",
    "optional pool not imported",
    "replica with a new writable child",
    "primary mounted read-only by hand",
    "mountpoint shared, before it by name",
    "gate at another path",
    "block file there",
];

#[test]
fn every_pair_of_faults_is_foretold_too() {
    let all = all_faults();
    let basic = BASIC.map(|name| *all.iter().find(|fault| fault.name == name).unwrap());
    let mut count = Count::default();
    for (i, first) in basic.iter().enumerate() {
        for (j, second) in basic.iter().enumerate().skip(i + 1) {
            for start in STARTS {
                let pair = [*first, *second];
                let (sim, config) = prepare(&format!("two{i}-{j}"), start, &pair);
                let label = format!("{} and {} ({start:?})", first.name, second.name);
                count.add(compare(&label, &sim, &config));
            }
        }
    }
    println!("66 pairs, {} starts each: {count:?}", STARTS.len());
    assert_eq!(count.yes + count.no, 66 * STARTS.len());
    assert!(count.yes >= 20 && count.no >= 20, "{count:?}");
}

fn finding(severity: Severity) -> Finding {
    Finding::new(severity, "/etc/rc.d/f3skeys", "is not there", "install it")
}

fn said(sim: &Sim, config: &Config) -> Rehearsal {
    rehearse_untouched(sim, config, "")
}

/// The reasons in short: `subject: what`.
fn reasons(rehearsal: &Rehearsal) -> Vec<String> {
    let short = |f: &Finding| format!("{}: {}", f.subject, f.what);
    rehearsal.reasons.iter().map(short).collect()
}

#[test]
fn a_well_node_gets_a_short_yes() {
    let (sim, config) = prepare("yes", Start::Up, &[]);
    let text = said(&sim, &config).text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[0],
        "f3skeys rehearse for f0.lan.buetow.org: yes, it would come back"
    );
    assert_eq!(lines.len(), 1 + 3 + 3, "{text}");
    let zdata = Fingerprint::of(&ZDATA);
    assert!(lines[1].ends_with(&format!("open, proven with {ZKEY} {zdata}")));
    assert_eq!(lines[4], "  gate nfs: open");
}

#[test]
fn reasons_are_numbered_in_the_order_of_the_boot_each_with_its_mend() {
    let names = [
        "every copy damaged",
        "replica wrapped by another key",
        "parent mounted last would bury its child",
        "gate that wants a primary read-only",
    ];
    let all = all_faults();
    let faults = names.map(|name| *all.iter().find(|fault| fault.name == name).unwrap());
    let (sim, config) = prepare("order", Start::Up, &faults);
    let said = sim.verb(|node| rehearse(node, &config, &[finding(Severity::Failure)]));
    let subjects: Vec<&str> = said.reasons.iter().map(|r| r.subject.as_str()).collect();
    let expected = [
        "/etc/rc.d/f3skeys",
        "zdata/enc",
        "zdata/sink/f1",
        // Behind the locked roots, and seen all the same.
        "zdata/enc/late",
        "gate ro",
    ];
    assert_eq!(subjects, expected, "{}", said.text());
    assert_eq!(said.status, 65);
    let text = said.text();
    assert!(text.starts_with("f3skeys rehearse for f0.lan.buetow.org: NO: 5 reasons\n"));
    for number in 1..=5 {
        let head = format!("  {number}. ");
        let mut lines = text.lines().skip_while(|line| !line.starts_with(&head));
        assert!(lines.next().is_some(), "{text}");
        assert!(lines.next().unwrap().starts_with("     -> "), "{text}");
    }
}

#[test]
fn a_loaded_root_that_no_key_opens_is_said_to_be_up_still() {
    let (sim, config) = prepare("behind", Start::Up, &[]);
    wrap(&sim, "zdata/enc", OTHER);
    let up = reasons(&said(&sim, &config));
    assert!(
        up[0].contains("the next boot would leave it locked"),
        "{up:?}"
    );
    let (sim, config) = prepare("behind", Start::Fresh, &[]);
    wrap(&sim, "zdata/enc", OTHER);
    let locked = reasons(&said(&sim, &config));
    assert!(
        locked[0].contains("wrong key, in every generation"),
        "{locked:?}"
    );
}

#[test]
fn broken_hooks_are_reasons_and_doubtful_ones_remarks() {
    let (sim, config) = prepare("hooks", Start::Up, &[]);
    for (severity, comes_back) in [
        (Severity::Note, true),
        (Severity::Warning, true),
        (Severity::Failure, false),
        (Severity::Alarm, false),
    ] {
        let hooks = [finding(severity)];
        let said = sim.verb(|node| rehearse(node, &config, &hooks));
        assert_eq!(said.comes_back, comes_back);
        assert_eq!(said.status, if comes_back { 0 } else { 69 });
        let told = if comes_back {
            said.remarks
        } else {
            said.reasons
        };
        assert_eq!(told, hooks);
    }
}

#[test]
fn while_another_run_is_at_work_the_answer_is_no_yes() {
    let (sim, config) = prepare("busy", Start::Up, &[]);
    let lock = f3skeys::marker::try_lock(&sim.run()).unwrap();
    let busy = said(&sim, &config);
    assert!(!busy.comes_back);
    assert_eq!(busy.status, 75);
    drop(lock);
    assert_eq!(said(&sim, &config).status, 0);
}

#[test]
fn a_missing_stick_is_told_though_its_pool_is_missing_too() {
    let (sim, config) = prepare("hidden", Start::Up, &[]);
    sim.sticks.borrow_mut().clear();
    sim.states.borrow_mut().clear();
    let said = said(&sim, &config);
    let told = reasons(&said);
    assert_eq!(told[0], "key device F3S_KEYS (serial 4C530001): not there");
    assert_eq!(told.len(), 3, "{told:?}");
    assert_eq!(said.status, 69, "that is what the boot would exit with");
}

#[test]
fn a_stick_that_is_gone_after_it_was_read_is_no_yes() {
    let (sim, config) = prepare("gone", Start::Up, &[]);
    with_stick(&sim, |stick| stick.pulled_after = Some(6));
    let said = said(&sim, &config);
    assert_eq!(said.status, 66);
    assert!(
        said.roots.iter().all(|root| root.open),
        "every key was read"
    );
    assert_eq!(
        reasons(&said),
        ["/dev/da0: the stick went away while it was read"]
    );
}

#[test]
fn a_pool_that_nobody_configured_and_that_cannot_be_asked_is_no_yes() {
    type MakeSick = fn(&Sim);
    let sick: [MakeSick; 3] = [
        |sim| pool(sim, "zusb", PoolState::Suspended),
        |sim| pool(sim, "zusb", PoolState::Unknown("in a mood".to_owned())),
        |sim| {
            pool(sim, "zusb", PoolState::Works("ONLINE".to_owned()));
            sim.hanging.borrow_mut().push("zusb".to_owned());
        },
    ];
    for make_sick in sick {
        let (sim, config) = prepare("foreign", Start::Up, &[]);
        make_sick(&sim);
        let said = said(&sim, &config);
        assert_eq!(said.status, 69);
        assert_eq!(said.reasons[0].subject, "zusb");
        assert_eq!(said.reasons.len(), 1);
    }
}

#[test]
fn law_9_what_a_stream_says_beside_the_replicas_is_a_remark_that_is_an_alarm() {
    let evil = || dataset("zdata/sink/evil");
    let received = Dataset {
        mountpoint_source: Source::Received,
        ..at("/root/.ssh", evil())
    };
    let setuid = Dataset {
        received: vec!["setuid"],
        ..evil()
    };
    for (added, is_told) in [(received, true), (setuid, true), (evil(), false)] {
        let (sim, config) = prepare("beside", Start::Up, &[]);
        sim.datasets.borrow_mut().push(added);
        let said = said(&sim, &config);
        assert!(said.comes_back);
        let told = said
            .remarks
            .iter()
            .filter(|f| f.subject == "zdata/sink/evil");
        let told: Vec<Severity> = told.map(|f| f.severity).collect();
        assert_eq!(told, vec![Severity::Alarm; usize::from(is_told)]);
    }
}

#[test]
fn law_10_two_file_systems_on_one_directory_are_a_reason_of_their_gate_and_else_a_remark() {
    for (mountpoint, reasons, remarks) in [("/data/nfs", 1, 0), ("/srv/both", 0, 1)] {
        let (sim, config) = prepare("one-directory", Start::Up, &[]);
        for name in ["zdata/enc/aaa", "zdata/enc/zzz"] {
            let one = at(mountpoint, encrypted(name, "zdata/enc"));
            sim.datasets.borrow_mut().push(one);
        }
        let said = said(&sim, &config);
        assert_eq!(said.comes_back, reasons == 0, "{}", said.text());
        assert_eq!(said.reasons.len(), reasons, "{}", said.text());
        let told = said.remarks.iter().filter(|f| f.subject == mountpoint);
        assert_eq!(told.count(), remarks, "{}", said.text());
    }
}

#[test]
fn a_kernel_without_an_identity_of_the_boot_opens_no_gate() {
    let (sim, config) = prepare("identity", Start::Up, &[]);
    *sim.boot_id.borrow_mut() = None;
    let said = said(&sim, &config);
    assert_eq!(
        (said.status, said.reasons[0].subject.as_str()),
        (69, "gates")
    );
}

#[test]
fn a_gate_over_a_root_that_is_not_configured_says_so() {
    let (sim, config) = prepare("unnamed", Start::Up, &[]);
    sim.change("zdata/enc/nfsdata", |d| {
        d.encryption_root = Some(d.name.clone());
    });
    let said = said(&sim, &config);
    assert_eq!(said.reasons[0].subject, "gate nfs");
    let remedy = "name zdata/enc/nfsdata in `roots`, so that it is opened";
    assert_eq!(said.reasons[0].remedy, remedy);
}

#[test]
fn zfs_is_asked_once_for_each_root_when_all_is_well() {
    let (sim, config) = prepare("once", Start::Up, &[]);
    sim.probes.set(0);
    said(&sim, &config);
    assert_eq!(sim.probes.get(), 3);
}

#[test]
fn the_answer_for_programs_has_a_version_and_no_key() {
    let (sim, config) = prepare("json", Start::Up, &[]);
    wrap(&sim, "zdata/enc", OTHER);
    let said = said(&sim, &config);
    let text = serde_json::to_string(&said).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["version"], 1);
    assert_eq!(json["comes_back"], false);
    assert_eq!(json["status"], 65);
    assert_eq!(json["reasons"][0]["subject"], "zdata/enc");
    assert_eq!(json["gates"][0]["state"], "closed");
    for bytes in [ZDATA, BHYVE, PEER, OTHER] {
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert!(!text.contains(&hex));
        assert!(!text.as_bytes().windows(32).any(|w| w == bytes));
    }
}

/// With a gate on fresh snapshots and on a peer, beside those of the story.
fn with_standby(sim: &Sim, age: u64) -> Config {
    let text = CONFIG.replacen(
        "gates: [",
        r#"peers: [(name: "f1", ssh: "f1")],
        replicas: [(of: "zdata/enc/nfsdata", node: "f1", dataset: "zdata/sink/nfsdata")],
        gates: [
        (name: "fresh", needs: [fresh_snapshot(dataset: "zdata/sink/f1", minutes: 60)]),
        (name: "peer", needs: [gate("nfs"), not_promoted(peer: "f1")]),"#,
        1,
    );
    let past = Past {
        dataset: "zdata/sink/f1".parse().unwrap(),
        written: 0,
        moments: vec![Moment {
            name: "sent".to_owned(),
            guid: 1,
            created: sim.wall.get() - age,
            bookmark: false,
        }],
    };
    sim.pasts
        .borrow_mut()
        .insert("zdata/sink/f1".to_owned(), past);
    Config::parse(&text).unwrap()
}

#[test]
fn a_stale_snapshot_is_a_reason_and_a_peer_that_is_asked_later_is_none() {
    for up in [true, false] {
        let sim = f3s("standby").stick(good_stick());
        let config = with_standby(&sim, 600);
        if up {
            whole_boot(&sim, &config);
        }
        let rehearsal = rehearse_untouched(&sim, &config, "fresh");
        assert!(rehearsal.comes_back, "{}", rehearsal.text());
        let gates: Vec<(&str, Forecast)> = rehearsal
            .gates
            .iter()
            .map(|gate| (gate.name.as_str(), gate.state))
            .collect();
        assert_eq!(gates[0], ("fresh", Forecast::Open));
        assert_eq!(gates[1], ("peer", Forecast::Unknown));
        assert_eq!(sim.questions_to_peers.get(), 0);
        let remark = |f: &&Finding| f.subject == "gate peer";
        assert_eq!(rehearsal.remarks.iter().filter(remark).count(), 1);

        let config = with_standby(&sim, 3700);
        let rehearsal = rehearse_untouched(&sim, &config, "stale");
        assert!(!rehearsal.comes_back);
        assert_eq!(rehearsal.reasons.len(), 1, "{}", rehearsal.text());
        assert_eq!(rehearsal.reasons[0].subject, "gate fresh");
    }
}
