//! Every pass, killed at every step that it takes, in many worlds, and run again: a gate is never
//! open that is not true, what is true is open in the end, and no replica can be written meanwhile.
//!
//! What is true is worked out here, from the simulated world itself: no word of f3skeys is taken
//! for it but the answer of the gate that is held against it.

mod sim;

use f3skeys::config::{Condition, Config, Gate, Role};
use f3skeys::gate::Answer;
use f3skeys::names::DatasetName;
use f3skeys::os::PoolState;
use f3skeys::pass::Node;
use f3skeys::peers::{ReplicaState, Reply, Told};
use f3skeys::promotion::{Promoted, Promotion};
use f3skeys::ready::ask;
use f3skeys::time::{Clock, Deadline};
use f3skeys::zfs::{KeyStatus, Kind, Moment, Mountpoint, Past, Zfs};
use f3skeys::{boot, carp, late, lock, promote, ready, reconcile};
use sim::{Event, Sim, at, encrypted, f3s, good_stick};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

const CONFIG: &str = r#"(
    node: "f0.lan.buetow.org",
    store: (label: "F3S_KEYS", serial: "4C530001", wait_seconds: 3),
    roots: [
        (dataset: "zdata/enc", key: "f0.lan.buetow.org:zdata", role: primary, required: true),
        (dataset: "zroot/bhyve", key: "f0.lan.buetow.org:bhyve", role: primary, required: false),
        (dataset: "zdata/sink/f1", key: "f1.lan.buetow.org:zdata", role: replica, required: true),
    ],
    gates: [
        (name: "nfs", needs: [mounted(path: "/data/nfs", dataset: "zdata/enc/nfsdata"),
            key_loaded("zdata/enc/nfsdata")], services: ["mountd", "nfsd"]),
        (name: "standby", needs: [mounted(path: "/data/f1", dataset: "zdata/sink/f1"),
            role(dataset: "zdata/sink/f1", is: replica)], services: ["stunnel"]),
        (name: "promoted", needs: [mounted(path: "/data/f1", dataset: "zdata/sink/f1"),
            role(dataset: "zdata/sink/f1", is: primary)], services: ["failover"]),
        (name: "vm", needs: [key_loaded("zroot/bhyve/vol")]),
        (name: "fresh", needs: [fresh_snapshot(dataset: "zdata/enc/nfsdata", minutes: 60)]),
        (name: "failback", needs: [gate("nfs"), writable("zdata/enc/nfsdata"),
            absent("/data/nfs/nfs.NO_AUTO_FAILBACK"), not_promoted(peer: "f1.lan.buetow.org")]),
    ],
    replicas: [(of: "zdata/enc/nfsdata", node: "f1.lan.buetow.org", dataset: "zdata/sink/f0")],
    peers: [(name: "f1.lan.buetow.org", ssh: "root@f1")],
    guards: ["/data/nfs", "/data/f1"],
    carp: (gate: "nfs"),
)"#;

const REPLICA: &str = "zdata/sink/f1";
const NFS: &str = "zdata/enc/nfsdata";
const PEER: &str = "f1.lan.buetow.org";

fn config() -> Config {
    Config::parse(CONFIG).unwrap()
}

// The oracle.

fn promoted(sim: &Sim) -> bool {
    matches!(sim.promotion(REPLICA), Promoted::Now(_))
}

fn is_replica(dataset: &str) -> bool {
    dataset == REPLICA || dataset.starts_with(&format!("{REPLICA}/"))
}

/// What the dataset is now, in this world of one replica.
fn role(sim: &Sim, dataset: &str) -> Role {
    match is_replica(dataset) && !promoted(sim) {
        true => Role::Replica,
        false => Role::Primary,
    }
}

fn works(sim: &Sim, dataset: &DatasetName) -> bool {
    let states = sim.states.borrow();
    matches!(states.get(dataset.pool()), Some(PoolState::Works(_)))
}

/// Whether a visitor of the path is in the dataset, and whether it can be written there.
fn reached(sim: &Sim, path: &Path, dataset: &DatasetName) -> Option<bool> {
    let mount = sim.shown(path);
    let there = mount.at == path && mount.fstype == "zfs" && mount.source == dataset.as_str();
    (there && works(sim, dataset)).then_some(!mount.read_only)
}

fn somewhere(sim: &Sim, dataset: &DatasetName) -> Option<bool> {
    match sim.find(dataset.as_str()).mountpoint {
        Mountpoint::Path(path) => reached(sim, &path, dataset),
        _ => None,
    }
}

fn holds(sim: &Sim, config: &Config, need: &Condition) -> bool {
    match need {
        Condition::Mounted { path, dataset } => {
            let writable = role(sim, dataset.as_str()) == Role::Primary;
            reached(sim, path, dataset) == Some(writable)
        }
        Condition::Writable(dataset) => somewhere(sim, dataset) == Some(true),
        Condition::Readonly(dataset) => somewhere(sim, dataset) == Some(false),
        Condition::Present(path) => sim.files.borrow().contains(path),
        Condition::Absent(path) => !sim.files.borrow().contains(path),
        Condition::KeyLoaded(name) => {
            let dataset = sim.find(name.as_str());
            let in_sight = somewhere(sim, name).is_some() || dataset.kind == Kind::Volume;
            dataset.key_status == KeyStatus::Available && in_sight && works(sim, name)
        }
        Condition::Role { dataset, is } => role(sim, dataset.as_str()) == *is,
        Condition::FreshSnapshot { dataset, minutes } => {
            let pasts = sim.pasts.borrow();
            let newest = pasts.get(dataset.as_str()).and_then(|past| past.newest());
            let oldest = wall(sim) - u64::from(*minutes) * 60;
            somewhere(sim, dataset).is_some() && newest.is_some_and(|m| m.created >= oldest)
        }
        Condition::Gate(name) => is_true(sim, config, config.gate(name).unwrap()),
        Condition::NotPromoted { peer } => {
            let replies = sim.replies.borrow();
            replies.get(peer.as_str()).is_some_and(|reply| {
                let good = |r: &ReplicaState| r.promoted == Promoted::Never && r.written == 0;
                let told = |r: &[ReplicaState]| r.iter().all(good);
                matches!(&reply.answer, Told::Replicas(replicas) if told(replicas))
            })
        }
    }
}

fn wall(sim: &Sim) -> u64 {
    sim.wall.get() + sim.now().as_secs()
}

fn is_true(sim: &Sim, config: &Config, gate: &Gate) -> bool {
    gate.needs.iter().all(|need| holds(sim, config, need))
}

fn is_locked(sim: &Sim) -> bool {
    sim.run().join("locked").exists()
}

fn open_gates(sim: &Sim, config: &Config) -> BTreeSet<String> {
    let open = |gate: &&Gate| sim.verb(|node| ask(node, config, gate)) == Answer::Open;
    let gates = config.gates.iter().filter(open);
    gates.map(|gate| gate.name.to_string()).collect()
}

fn true_gates(sim: &Sim, config: &Config) -> BTreeSet<String> {
    let gates = config.gates.iter().filter(|g| is_true(sim, config, g));
    match is_locked(sim) {
        true => BTreeSet::new(),
        false => gates.map(|gate| gate.name.to_string()).collect(),
    }
}

/// One run that is killed, and what comes after.
struct Case {
    sim: Sim,
    config: Config,
    name: String,
    promoted_at_first: bool,
}

impl Case {
    fn new(prepared: &Sim, name: String) -> Case {
        let sim = prepared.fork(&format!("kill-{}", name.replace(' ', "-")));
        let promoted_at_first = promoted(&sim);
        Case {
            sim,
            config: config(),
            name,
            promoted_at_first,
        }
    }

    /// What must be so at every moment, whatever was killed. Gives the gates that are open.
    fn safe(&self) -> BTreeSet<String> {
        let (sim, case) = (&self.sim, &self.name);
        let open = open_gates(sim, &self.config);
        let truth = true_gates(sim, &self.config);
        assert!(
            open.is_subset(&truth),
            "{case}: {open:?} open, {truth:?} true"
        );
        let boot = sim.boot_id.borrow().clone();
        for gate in &open {
            let marker = fs::read(sim.run().join("gates").join(gate)).unwrap();
            let marker: serde_json::Value = serde_json::from_slice(&marker).unwrap();
            assert_eq!(marker["boot"].as_str(), boot.as_deref(), "{case}: {gate}");
        }
        self.sealed();
        open
    }

    /// Law 3, now and in the trace so far.
    fn sealed(&self) {
        let (sim, case) = (&self.sim, &self.name);
        for dataset in sim.datasets.borrow().iter() {
            let name = dataset.name.as_str();
            let usable = dataset.mounted || dataset.key_status == KeyStatus::Available;
            let may = !is_replica(name) || promoted(sim) || !usable;
            assert!(dataset.readonly || may, "{case}: {name} can be written");
        }
        let mut promoted = self.promoted_at_first;
        for event in sim.trace.borrow().iter() {
            match event {
                Event::Recorded(_, value) => promoted = value.starts_with("promoted "),
                Event::Unsealed(dataset)
                | Event::Mounted {
                    dataset,
                    writable: true,
                } => {
                    let may = !is_replica(dataset) || promoted;
                    assert!(may, "{case}: {dataset} was writable");
                }
                _ => {}
            }
        }
    }

    fn pass(&self, pass: Pass) {
        run(&self.sim, pass);
        self.safe();
    }

    /// Everything is as it should be: what is true is open, and no more; CARP and services follow.
    fn settled(&self, world: &World) {
        let (sim, case) = (&self.sim, &self.name);
        let open = self.safe();
        assert_eq!(open, true_gates(sim, &self.config), "{case}: not settled");
        let allowed = *sim.carp.borrow() == Ok(Some(true));
        assert_eq!(allowed, open.contains("nfs"), "{case}: CARP");
        for gate in &self.config.gates {
            for service in &gate.services {
                let runs = sim.service_states.borrow()[service.as_str()];
                match open.contains(gate.name.as_str()) {
                    // After a power cut rc starts them.
                    true => assert!(runs || world.power_cut, "{case}: {service} is down"),
                    false => assert!(!runs, "{case}: {service} runs, {} is closed", gate.name),
                }
            }
        }
        let names = fs::read_dir(sim.run().join("gates")).unwrap();
        for entry in names {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(open.contains(&name), "{case}: {name} was left");
        }
    }

    /// What a run leaves that dies between writing a file and giving it its name.
    fn leave_files(&self) {
        let run = self.sim.run();
        for directory in ["gates", "pending"] {
            fs::create_dir_all(run.join(directory)).unwrap();
        }
        for path in [
            "gates/.nfs.new",
            "gates/.vm.new",
            "pending/.nfs.new",
            ".locked.new",
        ] {
            fs::write(run.join(path), "{\"boot\": \"boot-2\", \"gate\"").unwrap();
        }
    }
}

// The worlds.

struct World {
    name: &'static str,
    /// The power was cut, so nothing runs.
    power_cut: bool,
    make: fn(&Sim),
}

const fn world(name: &'static str, make: fn(&Sim)) -> World {
    let power_cut = false;
    World {
        name,
        power_cut,
        make,
    }
}

const fn after_power_cut(name: &'static str, make: fn(&Sim)) -> World {
    let power_cut = true;
    World {
        name,
        power_cut,
        make,
    }
}

const WORLDS: [World; 21] = [
    world("healthy", |_| {}),
    after_power_cut("power cut", power_cut),
    after_power_cut("received since", |sim| {
        power_cut(sim);
        // What a replicator adds may be writable, and is locked until a boot.
        let new = at("/data/f1/new", encrypted("zdata/sink/f1/new", REPLICA));
        sim.datasets.borrow_mut().push(new);
    }),
    after_power_cut("no stick", |sim| {
        power_cut(sim);
        sim.sticks.borrow_mut().clear();
    }),
    after_power_cut("stick comes late", |sim| {
        power_cut(sim);
        let sticks = sim.sticks.take();
        for pass in [Pass::Boot, Pass::MountAll, Pass::Ready] {
            run(sim, pass);
        }
        *sim.sticks.borrow_mut() = sticks;
    }),
    after_power_cut("booted", |sim| {
        power_cut(sim);
        run(sim, Pass::Boot);
        run(sim, Pass::MountAll);
    }),
    world("unmounted", |sim| sim.unmount(NFS)),
    world("mounted over", |sim| {
        sim.mount_over("/data/nfs", "tmpfs", "tmpfs")
    }),
    world("key gone", |sim| {
        for name in [NFS, "zdata/enc"] {
            sim.unmount(name);
            sim.change(name, |d| d.key_status = KeyStatus::Unavailable);
        }
    }),
    world("primary read-only", |sim| {
        sim.set_readonly(&name(NFS), soon(sim)).unwrap();
    }),
    world("block file", |sim| {
        let file = "/data/nfs/nfs.NO_AUTO_FAILBACK".into();
        sim.files.borrow_mut().push(file);
    }),
    world("pool suspended", |sim| {
        let suspended = PoolState::Suspended;
        sim.states
            .borrow_mut()
            .insert("zdata".to_owned(), suspended);
    }),
    world("old snapshot", |sim| sim.wall.set(sim.wall.get() + 7200)),
    world("peer promoted", |sim| answer(sim, true)),
    world("peer silent", |sim| sim.replies.borrow_mut().clear()),
    world("marker put back", |sim| {
        let marker = sim.run().join("gates/nfs");
        let old = fs::read(&marker).unwrap();
        sim.unmount(NFS);
        run(sim, Pass::Reconcile);
        fs::write(marker, old).unwrap();
        let of_another = fs::read(sim.run().join("gates/vm")).unwrap();
        fs::write(sim.run().join("gates/failback"), of_another).unwrap();
    }),
    world("mended", |sim| {
        sim.unmount(NFS);
        run(sim, Pass::Reconcile);
        run(sim, Pass::CarpReconcile);
        run(sim, Pass::MountAll);
    }),
    world("was promoted", |sim| {
        record(sim, "promoted 1 1795000000 f1 burnt down");
        for dataset in [REPLICA, "zdata/sink/f1/child"] {
            sim.set_writable(&name(dataset), soon(sim)).unwrap();
        }
        run(sim, Pass::Ready);
    }),
    world("half promoted", half_promoted),
    after_power_cut("half promoted, power cut", |sim| {
        half_promoted(sim);
        power_cut(sim);
    }),
    world("locked", |sim| run(sim, Pass::Lock)),
];

fn name(name: &str) -> DatasetName {
    name.parse().unwrap()
}

fn soon(sim: &Sim) -> Deadline {
    Deadline::after(sim, Duration::from_secs(10))
}

fn record(sim: &Sim, value: &str) {
    sim.set_promotion(REPLICA, value);
}

/// A promotion that was killed as soon as it was recorded.
fn half_promoted(sim: &Sim) {
    let recorded = |step: &u32| {
        let died = sim
            .dies_at(*step, |node| call(node, Pass::Promote))
            .is_none();
        assert!(died, "it was promoted before it was recorded");
        promoted(sim)
    };
    (1..100).find(recorded).unwrap();
}

fn power_cut(sim: &Sim) {
    sim.reboot("boot-2");
    *sim.carp.borrow_mut() = Ok(Some(false));
    for runs in sim.service_states.borrow_mut().values_mut() {
        *runs = false;
    }
}

/// What the peer answers from now on.
fn answer(sim: &Sim, promoted: bool) {
    let promotion = Promotion {
        epoch: 1,
        since: 1_795_000_000,
        reason: "f0 burnt down".to_owned(),
    };
    let state = ReplicaState {
        dataset: name("zdata/sink/f0"),
        promoted: match promoted {
            true => Promoted::Now(promotion),
            false => Promoted::Never,
        },
        written: 0,
        newest: Some((7, "hourly".to_owned())),
    };
    let reply = Reply {
        version: f3skeys::peers::VERSION,
        node: PEER.parse().unwrap(),
        answer: Told::Replicas(vec![state]),
    };
    sim.replies.borrow_mut().insert(PEER.to_owned(), reply);
}

/// A node on which everything is as it should be, and has been for a while.
fn serving(case: &str) -> Sim {
    let sim = f3s(&format!("kill-{}", case.replace(' ', "-"))).stick(good_stick());
    let snapshot = Moment {
        name: "hourly".to_owned(),
        guid: 7,
        created: wall(&sim) - 600,
        bookmark: false,
    };
    let past = Past {
        dataset: name(NFS),
        written: 0,
        moments: vec![snapshot],
    };
    sim.pasts.borrow_mut().insert(NFS.to_owned(), past);
    for path in ["/data/nfs", "/data/f1"] {
        let bare = (Vec::new(), false);
        sim.bare.borrow_mut().insert(path.into(), bare);
    }
    for service in ["mountd", "nfsd", "stunnel", "failover"] {
        let mut states = sim.service_states.borrow_mut();
        states.insert(service.to_owned(), service != "failover");
    }
    answer(&sim, false);
    *sim.carp.borrow_mut() = Ok(Some(false));
    for pass in [
        Pass::Boot,
        Pass::MountAll,
        Pass::Ready,
        Pass::Reconcile,
        Pass::Carp,
    ] {
        run(&sim, pass);
    }
    let open = open_gates(&sim, &config());
    let all = ["failback", "fresh", "nfs", "standby", "vm"];
    assert!(open.iter().eq(all.iter()), "{open:?}");
    sim
}

// The passes.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    Boot,
    /// The system's own `zfs mount -a`.
    MountAll,
    Ready,
    Late,
    Reconcile,
    Carp,
    CarpReconcile,
    Lock,
    Promote,
    Demote,
}

fn call(node: Node, pass: Pass) {
    let config = &config();
    let root = &name(REPLICA);
    match pass {
        Pass::Boot => drop(boot::boot(node, config)),
        Pass::MountAll => {}
        Pass::Ready => drop(ready::ready(node, config)),
        Pass::Late => {
            let late = late::late(node, config);
            drop(late.map(|mut late| late.settle(node, config)));
        }
        Pass::Reconcile => drop(reconcile::reconcile(node, config)),
        Pass::Carp => drop(carp::carp(node, config, false)),
        Pass::CarpReconcile => drop(carp::carp(node, config, true)),
        Pass::Lock => drop(lock::lock(node, config)),
        Pass::Promote => drop(promote::promote(node, config, root, "f1 burnt down")),
        Pass::Demote => drop(promote::demote(node, config, root)),
    }
}

fn run(sim: &Sim, pass: Pass) {
    match pass {
        Pass::MountAll => sim.zfs_mount_all(),
        pass => sim.verb(|node| call(node, pass)),
    }
}

/// What comes after the death: the rest of the boot; a person's whole boot; cron; the same again.
fn afterwards(way: u32, pass: Pass) -> Vec<Pass> {
    let first = match way {
        0 => vec![Pass::MountAll, Pass::Ready],
        1 => vec![Pass::Boot, Pass::MountAll, Pass::Ready],
        2 => vec![],
        _ => vec![pass],
    };
    let cron = [Pass::Reconcile, Pass::CarpReconcile];
    first.into_iter().chain(cron).collect()
}

/// Kills `pass` at each of its steps, in every world; gives the number of deaths.
fn kill_everywhere(pass: Pass) -> u32 {
    let mut deaths = 0;
    for world in &WORLDS {
        let prepared = serving(&format!("{pass:?} in {}", world.name));
        (world.make)(&prepared);
        prepared.trace.borrow_mut().clear();
        let mut step = 1;
        while dies(&prepared, world, pass, step) {
            step += 1;
        }
        deaths += step - 1;
    }
    println!("{pass:?}: killed {deaths} times in {} worlds", WORLDS.len());
    deaths
}

/// Kills a run at one step and follows what comes of it; tells whether it has such a step.
fn dies(prepared: &Sim, world: &World, pass: Pass, step: u32) -> bool {
    let name = format!("{pass:?} in {} at {step}", world.name);
    let case = Case::new(prepared, name);
    let before = open_gates(&case.sim, &case.config);
    let died = case.sim.dies_at(step, |node| call(node, pass)).is_none();
    let open = case.safe();
    // Verbs that close gates or change roles aside, what was open and is true still is.
    if !matches!(pass, Pass::Lock | Pass::Promote | Pass::Demote) {
        let truth = true_gates(&case.sim, &case.config);
        for gate in before.intersection(&truth) {
            assert!(open.contains(gate), "{}: {gate} was closed", case.name);
        }
    }
    case.leave_files();
    case.safe();
    for pass in afterwards(step % 4, pass) {
        case.pass(pass);
    }
    case.settled(world);
    died
}

#[test]
fn boot_killed_at_every_step() {
    assert!(kill_everywhere(Pass::Boot) > 200);
}

#[test]
fn ready_killed_at_every_step() {
    assert!(kill_everywhere(Pass::Ready) > 200);
}

#[test]
fn late_killed_at_every_step() {
    assert!(kill_everywhere(Pass::Late) > 100);
}

#[test]
fn reconcile_killed_at_every_step() {
    assert!(kill_everywhere(Pass::Reconcile) > 200);
}

#[test]
fn carp_killed_at_every_step() {
    assert!(kill_everywhere(Pass::Carp) > 50);
    assert!(kill_everywhere(Pass::CarpReconcile) > 50);
}

#[test]
fn lock_killed_at_every_step() {
    assert!(kill_everywhere(Pass::Lock) > 200);
}

#[test]
fn promote_killed_at_every_step() {
    assert!(kill_everywhere(Pass::Promote) > 100);
}

#[test]
fn demote_killed_at_every_step() {
    assert!(kill_everywhere(Pass::Demote) > 100);
}
