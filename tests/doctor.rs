//! `doctor` on a simulated node whose host the real installer laid out: quiet when all is well, and
//! with one fault exactly the finding of that fault.

mod hosts;
mod sim;

use f3skeys::bound::Unit;
use f3skeys::config::Config;
use f3skeys::doctor::facts::Facts;
use f3skeys::doctor::{self, check, examine};
use f3skeys::host::InitSystem::{self, Rc, Systemd};
use f3skeys::host::bare::Bare;
use f3skeys::ink::Ink;
use f3skeys::key::Fingerprint;
use f3skeys::names::KeyName;
use f3skeys::os::{Mount, PoolState};
use f3skeys::receive::rebuild;
use f3skeys::report::{Finding, Report, Severity};
use f3skeys::services::{Definition, Seen, State as Service};
use f3skeys::status;
use f3skeys::store::state::{Generation, Standing, State};
use f3skeys::store::{Damage, layout};
use f3skeys::time::Clock;
use f3skeys::trouble::Trouble;
use f3skeys::verify::{Options, verify};
use f3skeys::zfs::{CanMount, Dataset, KeyFormat, KeyStatus, Kind, Mountpoint, Source};
use f3skeys::{boot, marker, ready};
use hosts::Tree;
use sim::{
    BHYVE, CONFIG, Sim, Stick, ZDATA, at, config, dataset, encrypted, f3s, keys, restricted,
};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const NOTE: Severity = Severity::Note;
const WARNING: Severity = Severity::Warning;
const FAILURE: Severity = Severity::Failure;
const ALARM: Severity = Severity::Alarm;

/// One fault of a dataset.
type Change<'a> = &'a dyn Fn(&mut Dataset);

const BOTH: [InitSystem; 2] = [Rc, Systemd];

/// A node that has booted, and its host.
struct World {
    sim: Sim,
    tree: Tree,
    config: Config,
}

/// Where the stick is.
fn node(init: InitSystem) -> &'static str {
    match init {
        Rc => "/dev/da0",
        Systemd => "/dev/sdb",
    }
}

fn healthy(init: InitSystem, name: &str) -> World {
    let sim = f3s(&format!("doctor-{init:?}-{name}"));
    let stick = Stick::new(node(init), "F3S_KEYS", "4C530001").with_store(&keys());
    let sim = sim.stick(stick);
    sim.change("zdata/sink", |sink| {
        sink.readonly = true;
        sink.readonly_source = Source::Local;
        *sink = restricted(sink.clone());
    });
    for replica in ["zdata/sink/f1", "zdata/sink/f1/child"] {
        sim.change(replica, |d| {
            d.readonly = true;
            d.readonly_source = Source::Inherited("zdata/sink".parse().unwrap());
        });
    }
    let tree = Tree::of(init, &format!("doctor-{name}"));
    if init == Systemd {
        tree.put("/sys/class/block/sdb/ro", "0\n")
            .link("/dev/disk/by-uuid/66b1a2d3", "../../sdb")
            .link("/dev/disk/by-id/usb-stick", "../../sdb")
            .link("/dev/disk/by-uuid/0123-4567", "../../sda1")
            .link(
                "/etc/systemd/system/multi-user.target.wants/nfs-server.service",
                "/usr/lib/systemd/system/nfs-server.service",
            );
    }
    let world = World {
        sim,
        tree,
        config: config(),
    };
    world.power_cut("boot-1");
    world.verify();
    world
}

impl World {
    /// A whole boot.
    fn power_cut(&self, boot_id: &str) {
        self.sim.reboot(boot_id);
        let booted = self.sim.verb(|node| boot::boot(node, &self.config));
        self.sim.zfs_mount_all();
        let ready = self.sim.verb(|node| ready::ready(node, &self.config));
        assert_eq!((booted.status, ready.status), (0, 0), "{booted:?}");
    }

    /// What the daily job does.
    fn verify(&self) {
        let (pools, repair) = (true, false);
        let options = Options { pools, repair };
        let told = self.sim.verb(|node| verify(node, &self.config, options));
        assert_eq!(told.status, 0, "{told:?}");
    }

    fn found(&self) -> Vec<Finding> {
        let (config, host) = (&self.config, self.tree.host());
        self.sim
            .verb(|node| examine(node, config, &host, self.tree.init))
    }

    fn facts(&self) -> Facts {
        let (config, host) = (&self.config, self.tree.host());
        self.sim
            .verb(|node| Facts::gather(node, config, &host, self.tree.init))
    }

    /// This finding and no other.
    fn only(&self, severity: Severity, subject: &str, words: &str) {
        assert_only(&self.found(), severity, subject, words);
    }

    fn quiet(&self) {
        assert_eq!(self.found(), []);
    }

    fn configure(&mut self, from: &str, to: &str) {
        assert!(CONFIG.contains(from), "{from}");
        self.config = Config::parse(&CONFIG.replace(from, to)).unwrap();
        if !self.config.peers.is_empty() {
            self.back_up();
        }
    }

    /// What the daily job does on a node with peers.
    fn back_up(&self) {
        let mut backup = Report::new("backup", "f0", None);
        backup.ended = Some(self.sim.verb(|node| node.system.wall()));
        backup.keep(&self.sim.db()).unwrap();
    }
}

fn assert_only(found: &[Finding], severity: Severity, subject: &str, words: &str) {
    let [finding] = found else {
        panic!("not one finding (of {subject}: {words}) but {found:#?}");
    };
    assert_eq!(finding.severity, severity, "{finding:?}");
    assert_eq!(finding.subject, subject, "{finding:?}");
    assert!(finding.what.contains(words), "{words}: {finding:?}");
    assert_eq!(finding.remedy.is_empty(), severity == NOTE, "{finding:?}");
}

#[test]
fn a_healthy_node_is_quiet() {
    for init in BOTH {
        let world = healthy(init, "healthy");
        world.quiet();
        assert_eq!(doctor::text(&[]), "nothing to mend\n");
        assert_eq!(doctor::status(&[]), 0);
    }
}

#[test]
fn it_changes_nothing_and_keeps_no_report() {
    let world = healthy(Rc, "changes-nothing");
    let before = (
        world.sim.trace.borrow().clone(),
        world.sim.datasets.borrow().clone(),
    );
    let kept = || std::fs::read(world.sim.db().join("boot.json")).unwrap();
    let report = kept();
    world.tree.remove("/etc/rc.d/f3skeys");
    assert_ne!(world.found(), []);
    assert_eq!(*world.sim.trace.borrow(), before.0);
    assert_eq!(*world.sim.datasets.borrow(), before.1);
    assert_eq!(kept(), report);
    let names: Vec<_> = std::fs::read_dir(world.sim.db()).unwrap().collect();
    assert_eq!(names.len(), 3, "boot, ready and verify");
}

#[test]
fn what_it_prints() {
    let world = healthy(Rc, "prints");
    let finding = |severity| Finding::new(severity, "x", "is so", "do that");
    let note = Finding::new(NOTE, "y", "is so", "");
    let all = [finding(WARNING), note.clone()];
    assert_eq!(
        doctor::text(&all),
        "x: is so\n  -> do that\nnote: y: is so\n1 thing to mend\n"
    );
    assert_eq!(doctor::status(&[note]), 0);
    for severity in [WARNING, FAILURE, ALARM] {
        assert_eq!(doctor::status(&[finding(severity)]), 69);
    }
    let json: serde_json::Value = serde_json::from_str(&doctor::json(&world.config, &all)).unwrap();
    assert_eq!(json["version"], 1);
    assert_eq!(json["node"], "f0.lan.buetow.org");
    assert_eq!(json["well"], false);
    assert_eq!(json["findings"][0]["severity"], "warning");
}

#[test]
fn the_worst_comes_first() {
    let world = healthy(Rc, "worst");
    world.tree.remove("/usr/local/etc/devd/f3skeys.conf");
    world.tree.remove("/etc/rc.d/f3skeys");
    world.sim.change("zroot", |d| {
        *d = Dataset {
            key_format: KeyFormat::Passphrase,
            ..encrypted("zroot", "zroot")
        };
    });
    let severities: Vec<Severity> = world.found().iter().map(|f| f.severity).collect();
    assert_eq!(severities, [FAILURE, WARNING, NOTE]);
}

// ---- the stick

const DEVICE: &str = "key device F3S_KEYS (serial 4C530001)";

#[test]
fn no_stick() {
    for init in BOTH {
        let world = healthy(init, "no-stick");
        world.sim.sticks.borrow_mut().clear();
        world.only(FAILURE, DEVICE, "is not there");
        let decoy = Stick::new("/dev/da7", "F3S_KEYS", "other").with_store(&keys());
        world.sim.sticks.borrow_mut().push(decoy);
        world.only(FAILURE, DEVICE, "/dev/da7 was refused");
    }
}

#[test]
fn disks_that_nobody_could_list() {
    let world = healthy(Rc, "no-list");
    let mut facts = world.facts();
    facts.stick.candidates = Err("the kernel did not say".to_owned());
    let found = check(&world.config, &facts);
    assert_only(&found, FAILURE, DEVICE, "cannot tell");
}

#[test]
fn two_sticks_of_one_name() {
    let mut world = healthy(Rc, "twins");
    let twin = Stick::new("/dev/da1", "F3S_KEYS", "4C530002").with_store(&keys());
    world.sim.sticks.borrow_mut().push(twin);
    world.only(
        WARNING,
        "/dev/da1",
        "has the label F3S_KEYS of the key device /dev/da0",
    );
    world.configure(r#", serial: "4C530001""#, "");
    world.only(
        FAILURE,
        "key device F3S_KEYS",
        "/dev/da0 and /dev/da1 all match",
    );
    world.sim.sticks.borrow_mut()[1] = Stick::new("/dev/da1", "OTHER", "4C530002");
    world.quiet();
}

#[test]
fn a_stick_that_cannot_be_read() {
    for init in BOTH {
        let world = healthy(init, "broken");
        world.sim.sticks.borrow_mut()[0].broken = Some("Input/output error".to_owned());
        world.only(FAILURE, node(init), "Input/output error");
        world.sim.sticks.borrow_mut()[0].broken = None;
        world.sim.sticks.borrow_mut()[0].pulled_after = Some(2);
        world.only(FAILURE, node(init), "went away while it was read");
    }
}

#[test]
fn a_write_protected_stick() {
    let world = healthy(Systemd, "protected");
    world.tree.put("/sys/class/block/sdb/ro", "1\n");
    world.only(WARNING, "/dev/sdb", "is write-protected");
    world.tree.put("/sys/class/block/sdb/ro", "maybe\n");
    world.only(FAILURE, "/dev/sdb", "cannot tell");
    world.tree.remove("/sys/class/block/sdb/ro");
    world.only(FAILURE, "/dev/sdb", "cannot tell");
}

#[test]
fn plain_and_empty_stores() {
    let world = healthy(Rc, "plain");
    let stick = || Stick::new("/dev/da0", "F3S_KEYS", "4C530001");
    let put = |stick| world.sim.sticks.borrow_mut()[0] = stick;
    put(stick().with_plain_store(&keys()));
    world.only(WARNING, "/dev/da0", "a plain store");
    put(stick().with_plain_store(&keys()[..2]));
    let found = world.found();
    assert_eq!(found.len(), 2, "{found:#?}");
    assert_only(
        &found[..1],
        FAILURE,
        "f1.lan.buetow.org:zdata",
        "is not on the stick",
    );
    assert_only(&found[1..], WARNING, "/dev/da0", "a plain store");
    put(stick().with_plain_store(&[("f9.lan.buetow.org:zdata", ZDATA)]));
    world.only(FAILURE, "/dev/da0", "holds no key of this node");
    put(stick());
    world.only(FAILURE, "/dev/da0", "holds no key of this node");
}

#[test]
fn a_key_that_is_not_there_or_lost() {
    let world = healthy(Rc, "lost");
    let key = "f0.lan.buetow.org:bhyve";
    let files = |change: &dyn Fn(&mut Stick)| change(&mut world.sim.sticks.borrow_mut()[0]);
    files(&|stick| stick.damage(key, |bytes| bytes[3] ^= 1));
    world.only(FAILURE, key, "no good copy of it is on the stick");
    files(&|stick| stick.damage(key, Vec::clear));
    world.only(FAILURE, key, "is 0 bytes long");
    files(&|stick| stick.files.retain(|path, _| !path.contains(key)));
    world.only(FAILURE, key, "is missing");
    let others = || keys().into_iter().filter(|(name, _)| *name != key);
    let stick = Stick::new("/dev/da0", "F3S_KEYS", "4C530001");
    let stick = stick.with_store(&others().collect::<Vec<_>>());
    world.sim.sticks.borrow_mut()[0] = stick;
    world.only(FAILURE, key, "");
}

/// Every file of the store, damaged alone, also of keys that this node does not use.
#[test]
fn every_damaged_file_is_named() {
    let world = healthy(Rc, "damaged");
    let mut all = keys().to_vec();
    all.push(("f9.lan.buetow.org:zdata", [0x44; 32]));
    let good = Stick::new("/dev/da0", "F3S_KEYS", "4C530001").with_store(&all);
    assert_eq!(good.files.len(), 9);
    world.sim.sticks.borrow_mut()[0] = good.clone();
    world.quiet();
    for path in good.files.keys() {
        let mut stick = good.clone();
        stick.files.get_mut(path).unwrap()[7] ^= 4;
        world.sim.sticks.borrow_mut()[0] = stick;
        world.only(WARNING, path, "");
        let finding = &world.found()[0];
        assert!(finding.remedy.contains("verify --repair"), "{finding:?}");
    }
}

#[test]
fn owner_and_modes_of_files_on_the_store() {
    let world = healthy(Rc, "modes");
    let mut facts = world.facts();
    let contents = facts.stick.contents.as_mut().unwrap().as_mut().unwrap();
    let held = contents.keys.values_mut().next().unwrap();
    assert_eq!((held.good, held.vouched, held.damage.len()), (1, true, 0));
    held.damage.push(Damage {
        path: "some.key".to_owned(),
        what: "may be read by others (mode 0644); `chmod 400` it".to_owned(),
    });
    let found = check(&world.config, &facts);
    assert_only(&found, WARNING, "some.key", "may be read by others");
    assert!(found[0].remedy.contains("do that"), "{found:?}");
}

#[test]
fn what_else_a_store_may_hold() {
    let world = healthy(Rc, "else");
    let with = |change: &dyn Fn(&mut doctor::facts::Contents)| {
        let mut facts = world.facts();
        change(facts.stick.contents.as_mut().unwrap().as_mut().unwrap());
        check(&world.config, &facts)
    };
    let found = with(&|c| c.strangers.push(".f3skeys/x".to_owned()));
    assert_only(&found, NOTE, ".f3skeys/x", "no file of the store's own");
    let found = with(&|c| c.notes.push("unmounted /keys".to_owned()));
    assert_only(
        &found,
        NOTE,
        "F3S_KEYS (serial 4C530001)",
        "unmounted /keys",
    );
    let mut facts = world.facts();
    let trouble = Trouble::failed("reading", "the store is of format 9");
    facts.stick.contents = Some(Err(trouble));
    assert_only(
        &check(&world.config, &facts),
        FAILURE,
        "/dev/da0",
        "format 9",
    );
}

/// Adds a generation to the list of a key, with its file.
fn with_generation(world: &World, key: &str, bytes: [u8; 32], standing: Standing) -> Fingerprint {
    let mut sticks = world.sim.sticks.borrow_mut();
    let files = &mut sticks[0].files;
    let mut state = State::parse(&files[layout::STATE]).unwrap();
    let key: KeyName = key.parse().unwrap();
    let list = state.keys.get_mut(&key).unwrap();
    let generation = Generation {
        generation: 2,
        fingerprint: Fingerprint::of(&bytes),
        state: standing,
    };
    let fingerprint = generation.fingerprint;
    list.push(generation);
    files.insert(
        layout::generation_path(&key, 2, fingerprint),
        bytes.to_vec(),
    );
    files.insert(layout::STATE.to_owned(), state.to_bytes());
    fingerprint
}

#[test]
fn a_rotation_that_nobody_has_ended() {
    const OWN: &str = "f0.lan.buetow.org:zdata";
    const PEERS: &str = "f1.lan.buetow.org:zdata";
    let cases = [
        (OWN, Standing::Staged, Some((WARNING, "a rotation to"))),
        (OWN, Standing::Retained, Some((NOTE, "boots still try"))),
        (OWN, Standing::Retired, None),
        (OWN, Standing::Pruned, None),
        (
            PEERS,
            Standing::Staged,
            Some((NOTE, "has begun a rotation")),
        ),
        (PEERS, Standing::Retained, None),
        (PEERS, Standing::Retired, None),
        (PEERS, Standing::Pruned, None),
    ];
    for (key, standing, wanted) in cases {
        let world = healthy(Rc, &format!("rotation-{key}-{standing}"));
        let print = with_generation(&world, key, [0x55; 32], standing);
        match wanted {
            Some((severity, words)) => {
                world.only(severity, key, words);
                assert!(world.found()[0].what.contains(&print.to_string()));
            }
            None => world.quiet(),
        }
    }
}

#[test]
fn what_a_cut_write_has_left() {
    let world = healthy(Rc, "cut");
    let path = &layout::temporary(layout::STATE);
    let mut sticks = world.sim.sticks.borrow_mut();
    sticks[0].files.insert(path.clone(), b"half".to_vec());
    drop(sticks);
    world.only(WARNING, path, "what a cut write has left");
}

/// A key that somebody copied to the top of a store of format 1.
#[test]
fn a_key_that_nothing_vouches_for() {
    let world = healthy(Rc, "unvouched");
    let key = "f9.lan.buetow.org:zdata";
    let mut sticks = world.sim.sticks.borrow_mut();
    sticks[0].files.insert(format!("{key}.key"), vec![0x55; 32]);
    drop(sticks);
    world.only(WARNING, key, "no fingerprint on the store vouches for it");
}

#[test]
fn a_store_that_is_still_mounted() {
    for init in BOTH {
        let world = healthy(init, "mounted");
        world.sim.mount_over("/keys", node(init), "ufs");
        world.only(WARNING, "/keys", "read-write: a power cut may damage it");
        let mut facts = world.facts();
        if let Ok(Some(Mount { read_only, .. })) = &mut facts.stick.mountpoint {
            *read_only = true;
        }
        let found = check(&world.config, &facts);
        assert_only(&found, WARNING, "/keys", "read-only: as long as it is");
        let world = healthy(init, "automount");
        world.sim.mount_over("/keys", "systemd-1", "autofs");
        world.only(WARNING, "/keys", "is an automount");
        let world = healthy(init, "mounted-elsewhere");
        world.sim.mount_over("/mnt", node(init), "ufs");
        world.only(WARNING, "/mnt", "the key device is mounted on it");
        let mut facts = world.facts();
        facts.stick.elsewhere = Err("no table".to_owned());
        let found = check(&world.config, &facts);
        assert_only(&found, FAILURE, "mounts of the key device", "cannot tell");
    }
}

#[test]
fn another_run_at_work() {
    let world = healthy(Rc, "busy");
    let _lock = marker::try_lock(&world.sim.run()).unwrap().unwrap();
    world.only(FAILURE, "lock", "another f3skeys is at work");
}

// ---- the pools

#[test]
fn pools_that_are_away_or_silent() {
    let world = healthy(Rc, "pools");
    let state = |state: Option<PoolState>| {
        let mut states = world.sim.states.borrow_mut();
        match state {
            Some(state) => drop(states.insert("zdata".to_owned(), state)),
            None => drop(states.remove("zdata")),
        }
    };
    state(None);
    world.only(
        FAILURE,
        "pool zdata",
        "is not imported, so these stay locked: zdata/enc, zdata/sink/f1",
    );
    state(Some(PoolState::Suspended));
    world.only(FAILURE, "pool zdata", "is suspended");
    state(Some(PoolState::Unknown("no word".to_owned())));
    world.only(
        FAILURE,
        "pool zdata",
        "cannot tell whether it is as it should be: no word",
    );
    state(Some(PoolState::Works("ONLINE".to_owned())));
    world.quiet();
    world.sim.hanging.borrow_mut().push("zdata".to_owned());
    world.only(FAILURE, "pool zdata", "no answer in time");
    // About the whole pool, and about this node's own part: the replicas could be what hangs.
    assert_eq!(world.sim.asked_in_vain.get(), 2);
}

#[test]
fn configured_roots_that_no_boot_could_open() {
    let cases: [(Change, &str); 4] = [
        (&|d| d.encryption_root = None, "it is not encrypted"),
        (
            &|d| d.encryption_root = Some("zroot".parse().unwrap()),
            "it is no encryption root",
        ),
        (
            &|d| d.key_format = KeyFormat::Passphrase,
            "its key is a passphrase",
        ),
        (
            &|d| d.name = "zroot/elsewhere".parse().unwrap(),
            "there is no such dataset",
        ),
    ];
    for init in BOTH {
        for (change, words) in cases {
            let world = healthy(init, "roots");
            world
                .sim
                .change("zroot/bhyve/vol", |d| d.encryption_root = None);
            world.sim.change("zroot/bhyve", |d| {
                change(d);
                d.mountpoint = Mountpoint::None;
            });
            if words.contains("no such") {
                world
                    .sim
                    .change("zroot/elsewhere", |d| d.encryption_root = None);
            }
            world.only(FAILURE, "zroot/bhyve", words);
        }
    }
}

#[test]
fn gates_that_never_open() {
    let gate = "gate nfs";
    let cases: [(Change, Severity, &str); 5] = [
        (
            &|d| d.name = "zdata/enc/other".parse().unwrap(),
            FAILURE,
            "there is no dataset zdata/enc/nfsdata",
        ),
        (
            &|d| d.mountpoint = Mountpoint::Path("/data/elsewhere".into()),
            FAILURE,
            "on /data/nfs, whose mountpoint is /data/elsewhere",
        ),
        (
            &|d| d.can_mount = CanMount::Off,
            FAILURE,
            "is never mounted on this node",
        ),
        (
            &|d| d.jailed = true,
            FAILURE,
            "is never mounted on this node",
        ),
        (
            &|d| d.mountpoint = Mountpoint::Legacy,
            WARNING,
            "mountpoint=legacy",
        ),
    ];
    for (change, severity, words) in cases {
        let mut world = healthy(Rc, "gates");
        world.configure(r#"writable("zdata/enc/nfsdata"),"#, "");
        world.sim.change("zdata/enc/nfsdata", change);
        world.only(severity, gate, words);
    }
    let mut world = healthy(Rc, "gates-writable");
    world.configure(
        r#"writable("zdata/enc/nfsdata")"#,
        r#"writable("zroot/bhyve/vol")"#,
    );
    world.only(FAILURE, "gate failback", "zroot/bhyve/vol is never mounted");
    world.configure(
        r#"gate("nfs"), writable("zdata/enc/nfsdata")"#,
        r#"readonly("zdata/enc/none")"#,
    );
    world.only(
        FAILURE,
        "gate failback",
        "there is no dataset zdata/enc/none",
    );
}

#[test]
fn peers_are_asked_about_what_the_gate_is_about() {
    let gate = "gate failback";
    let ask = |of: &str| {
        let mut world = healthy(Rc, "gates-peers");
        let text = CONFIG.replace(
            "],\n)",
            r#"],
            peers: [(name: "f1.lan.buetow.org", ssh: "f1")],
            replicas: [(of: "OF", node: "f1.lan.buetow.org", dataset: "zdata/sink/f0")],
        )"#,
        );
        let text = text.replace("OF", of).replace(
            r#"gate("nfs"),"#,
            r#"gate("nfs"), not_promoted(peer: "f1.lan.buetow.org"),"#,
        );
        world.config = Config::parse(&text).unwrap();
        world.back_up();
        world
    };
    ask("zdata/enc/nfsdata").quiet();
    ask("zdata/enc").quiet();
    let what = "does not ask f1.lan.buetow.org about zdata/enc/nfsdata";
    ask("zroot/bhyve").only(WARNING, gate, what);
    let world = ask("zdata/enc/none");
    let found = world.found();
    assert!(found.iter().any(|f| f.severity == FAILURE
        && f.subject == gate
        && f.what.contains("there is no such dataset")));
}

#[test]
fn gates_on_keys_and_roles() {
    let mut world = healthy(Rc, "gates-keys");
    world.configure(
        r#"writable("zdata/enc/nfsdata")"#,
        r#"key_loaded("zroot/bhyve/vol"), role(dataset: "zroot/bhyve/vol", is: primary)"#,
    );
    world.quiet();
    world
        .sim
        .change("zdata/enc/nfsdata", |d| d.can_mount = CanMount::Off);
    world.config = Config::parse(
        &CONFIG
            .replace(
                r#"mounted(path: "/data/nfs", dataset: "zdata/enc/nfsdata")"#,
                r#"key_loaded("zdata/enc/nfsdata")"#,
            )
            .replace(r#"writable("zdata/enc/nfsdata"),"#, ""),
    )
    .unwrap();
    world.only(FAILURE, "gate nfs", "is never mounted on this node");
}

#[test]
fn a_missing_root_is_one_fault() {
    let world = healthy(Rc, "missing-root");
    let mut datasets = world.sim.datasets.borrow_mut();
    datasets.retain(|d| !d.name.as_str().starts_with("zdata/enc"));
    drop(datasets);
    world.only(FAILURE, "zdata/enc", "there is no such dataset");
}

#[test]
fn a_version_of_zfs_whose_library_was_not_tested() {
    for version in [None, Some("2.5.0-1"), Some("2.0.7")] {
        let world = healthy(Rc, "version");
        *world.sim.zfs_version.borrow_mut() = version.map(str::to_owned);
        world.only(NOTE, "zfs", "the `zfs` program does the work");
    }
}

#[test]
fn law_5_a_dataset_that_is_not_understood_is_one_fault() {
    for (name, root, severity) in [
        ("zdata/enc", "zdata/enc", FAILURE),
        ("zdata/enc/nfsdata", "zdata/enc", FAILURE),
        ("zdata/sink/f1", "zdata/sink/f1", FAILURE),
        ("zdata/other", "-", WARNING),
        ("zroot/other", "zroot/other", WARNING),
    ] {
        let world = healthy(Rc, "not-understood");
        world.sim.not_understood(name, root);
        world.only(severity, name, "not understood");
    }
    // Then its root would stay locked as well.
    let world = healthy(Rc, "not-understood");
    world
        .sim
        .not_understood("zdata/sink/f1/child", "zdata/sink/f1");
    let found = world.found();
    let subjects: Vec<&str> = found.iter().map(|f| f.subject.as_str()).collect();
    assert_eq!(subjects, ["zdata/sink/f1", "zdata/sink/f1/child"]);
}

#[test]
fn encrypted_roots_that_nobody_named() {
    for (format, severity, words) in [
        (KeyFormat::Raw, WARNING, "the configuration does not name"),
        (KeyFormat::Hex, NOTE, "whose key is a hex"),
        (KeyFormat::Passphrase, NOTE, "whose key is a passphrase"),
    ] {
        for name in ["zdata/other", "tank/other"] {
            let world = healthy(Rc, "unnamed");
            let sim = world.sim.with(vec![Dataset {
                key_format: format,
                ..encrypted(name, name)
            }]);
            World { sim, ..world }.only(severity, name, words);
        }
    }
}

#[test]
fn replicas_that_can_be_written() {
    let sink = |world: &World, on: bool| world.sim.change("zdata/sink", |d| d.readonly = on);
    let child = |world: &World, source: Source, mounted: bool| {
        world.sim.change("zdata/sink/f1/child", |d| {
            d.readonly = false;
            d.readonly_source = source;
            d.mounted = mounted;
        });
    };
    let world = healthy(Rc, "replicas");
    sink(&world, false);
    world.only(
        WARNING,
        "zdata/sink",
        "is the sink of the replica zdata/sink/f1",
    );
    sink(&world, true);
    for (source, words) in [
        (Source::Received, "received with readonly off"),
        (Source::Local, "readonly is set to off on it"),
        (Source::Temporary, "is mounted so"),
        (Source::Default, "nothing above it is read-only"),
    ] {
        child(&world, source.clone(), false);
        world.only(WARNING, "zdata/sink/f1/child", words);
        child(&world, source, true);
        world.only(ALARM, "zdata/sink/f1/child", "is mounted writable");
    }
    // What inherits from a fault is no fault of its own.
    child(
        &world,
        Source::Inherited("zdata/sink/f1".parse().unwrap()),
        false,
    );
    world.sim.change("zdata/sink/f1", |d| {
        d.readonly = false;
        d.readonly_source = Source::Received;
        d.mounted = false;
    });
    world.only(WARNING, "zdata/sink/f1", "received with readonly off");
    world
        .sim
        .change("zdata/sink/f1", |d| d.readonly_source = Source::Default);
    child(&world, Source::Default, false);
    sink(&world, false);
    world.only(WARNING, "zdata/sink", "is the sink");
}

/// A dataset that a stream made beside the replicas: it needs no key, so nothing keeps the system from
/// mounting it.
#[test]
fn law_9_what_a_stream_mounts_beside_the_replicas_is_named() {
    let received = |name: &str, path: &str| Dataset {
        mountpoint_source: Source::Received,
        ..at(path, dataset(name))
    };
    let world = healthy(Rc, "strays");
    let before = world.sim.datasets.borrow().len();
    let with = |added: Dataset, change: Change| {
        let mut added = added;
        change(&mut added);
        let mut datasets = world.sim.datasets.borrow_mut();
        datasets.truncate(before);
        datasets.push(added);
    };
    for (name, from) in [
        ("zdata/sink/evil", "zdata/sink/evil"),
        ("zdata/sink/a b", "'zdata/sink/a b'"),
        ("zdata/sink/f2/deep/down", "zdata/sink/f2/deep/down"),
    ] {
        with(received(name, "/root/.ssh"), &|_| {});
        world.only(ALARM, name, "`zfs mount -a` mounts it there");
        let mend = format!("`zfs inherit mountpoint {from}`");
        assert!(
            world.found()[0].remedy.contains(&mend),
            "{:?}",
            world.found()
        );
        with(received(name, "/etc"), &|d| d.mounted = true);
        world.only(ALARM, name, "it is mounted there now");
        let off = format!("`zfs unmount {from}`; then {mend}");
        assert!(
            world.found()[0].remedy.contains(&off),
            "{:?}",
            world.found()
        );
    }
    // One that is not mounted itself gives its mountpoint to what is below it.
    with(received("zdata/sink/x", "/etc"), &|d| {
        d.can_mount = CanMount::Off
    });
    let below = Dataset {
        mountpoint_source: Source::Inherited("zdata/sink/x".parse().unwrap()),
        ..received("zdata/sink/x/y", "/etc/y")
    };
    world.sim.datasets.borrow_mut().push(below);
    world.only(ALARM, "zdata/sink/x/y", "/etc/y");
    let mend = "`zfs inherit mountpoint zdata/sink/x`";
    assert!(world.found()[0].remedy.contains(mend));
    // Both: one finding.
    world
        .sim
        .change("zdata/sink/x", |d| d.can_mount = CanMount::On);
    world.only(ALARM, "zdata/sink/x", "/etc");
    let own: [(&str, Dataset, Change); 8] = [
        ("off", received("zdata/sink/x", "/etc"), &|d| {
            d.can_mount = CanMount::Off
        }),
        ("by hand", received("zdata/sink/x", "/etc"), &|d| {
            d.can_mount = CanMount::NoAuto
        }),
        ("of a jail", received("zdata/sink/x", "/etc"), &|d| {
            d.jailed = true
        }),
        ("set here", received("zdata/sink/x", "/etc"), &|d| {
            d.mountpoint_source = Source::Local;
        }),
        ("from the sink", received("zdata/sink/x", "/etc/x"), &|d| {
            d.mountpoint_source = Source::Inherited("zdata/sink".parse().unwrap());
        }),
        (
            "in the sink",
            received("zdata/sink/x", "/data/sink/x"),
            &|_| {},
        ),
        ("no mountpoint", received("zdata/sink/x", "/etc"), &|d| {
            d.mountpoint = Mountpoint::None;
        }),
        ("beside the sink", received("zroot/home", "/home"), &|_| {}),
    ];
    for (name, added, change) in own {
        with(added, change);
        assert_eq!(world.found(), [], "{name}");
    }
}

/// Of what lies below a sink and is no replica: each property that a stream can bring.
#[test]
fn law_9_what_a_stream_says_beside_the_replicas_is_named_with_what_overrides_it() {
    let world = healthy(Rc, "brought");
    let before = world.sim.datasets.borrow().len();
    let add = |name: &str, received: &[&'static str], change: Change| {
        let mut added = Dataset {
            received: received.to_vec(),
            ..dataset(name)
        };
        change(&mut added);
        let mut datasets = world.sim.datasets.borrow_mut();
        datasets.truncate(before);
        datasets.push(added);
    };
    for (property, set) in [
        ("readonly", "readonly=on"),
        ("setuid", "setuid=off"),
        ("devices", "devices=off"),
        ("exec", "exec=off"),
        ("canmount", "canmount=noauto"),
        ("sharenfs", "sharenfs=off"),
        ("sharesmb", "sharesmb=off"),
    ] {
        for (name, word) in [
            ("zdata/sink/evil", "zdata/sink/evil"),
            ("zdata/sink/a b", "'zdata/sink/a b'"),
        ] {
            add(name, &[property], &|_| {});
            world.only(ALARM, name, property);
            let found = world.found();
            let mend = format!("`zfs set {set} {word}`");
            assert!(found[0].remedy.contains(&mend), "{found:?}");
        }
    }
    add("zdata/sink/evil", &["setuid", "sharenfs"], &|_| {});
    world.only(ALARM, "zdata/sink/evil", "setuid, sharenfs");
    // No key is there for it; it is a root's own; it is this node's own.
    add("zdata/sink/evil", &["setuid"], &|d| {
        d.key_status = KeyStatus::Unavailable;
    });
    world.quiet();
    for name in ["zdata/sink/f1/new", "zdata/own", "zroot/restored"] {
        add(name, &["setuid", "canmount"], &|d| {
            (d.readonly, d.setuid, d.devices, d.exec) = (true, false, false, false);
        });
        world.quiet();
    }
}

#[test]
fn law_9_a_replica_that_a_stream_has_shared_is_named_and_one_that_this_node_shares_is_not() {
    let world = healthy(Rc, "shared");
    let above = || Source::Inherited("zdata/sink/f1".parse().unwrap());
    let share = |name: &str, nfs: Option<Source>, smb: Option<Source>, mounted: bool| {
        world.sim.change(name, |d| {
            (d.sharenfs, d.sharesmb, d.mounted) = (nfs.clone(), smb.clone(), mounted);
        });
    };
    let mounted = world.sim.find("zdata/sink/f1").mounted;
    for (nfs, smb, mounted, severity, words) in [
        (true, false, true, ALARM, "it lacks sharenfs=off"),
        (false, true, true, ALARM, "it lacks sharesmb=off"),
        (
            true,
            true,
            true,
            ALARM,
            "it lacks sharenfs=off sharesmb=off",
        ),
        (true, true, false, WARNING, "would be shared"),
    ] {
        let received = |is: bool| is.then_some(Source::Received);
        share("zdata/sink/f1/child", received(nfs), received(smb), mounted);
        world.only(severity, "zdata/sink/f1/child", words);
    }
    // What inherits it is not told by itself, nor what this node itself has set, there or above.
    share("zdata/sink/f1", Some(Source::Received), None, mounted);
    share("zdata/sink/f1/child", Some(above()), None, false);
    let found = world.found();
    assert_eq!(found.len(), 1, "{found:?}");
    share("zdata/sink/f1", Some(Source::Local), None, mounted);
    world.quiet();
    share("zdata/sink/f1", None, None, mounted);
    share(
        "zdata/sink/f1/child",
        Some(Source::Local),
        Some(Source::Local),
        false,
    );
    world.quiet();
    share("zdata/enc", Some(Source::Received), None, true);
    share("zdata/sink/f1/child", None, None, false);
    world.quiet();
}

#[test]
fn a_replica_that_is_a_whole_pool() {
    let mut world = healthy(Rc, "whole-pool");
    world.configure(
        r#"(dataset: "zroot/bhyve","#,
        r#"(dataset: "tank", key: "f1.lan.buetow.org:zdata", role: replica, required: false),
        (dataset: "zroot/bhyve","#,
    );
    let sim = world.sim.with(vec![encrypted("tank", "tank")]);
    world
        .tree
        .cache(&[("zdata", None), ("zroot", None), ("tank", None)]);
    World { sim, ..world }.only(WARNING, "tank", "nothing above it is read-only");
}

#[test]
fn stock_zfskeys_that_would_ask_a_person() {
    let world = healthy(Rc, "prompt");
    let conf = std::fs::read_to_string(world.tree.path("/etc/rc.conf")).unwrap();
    let with = |text: &str| world.tree.put("/etc/rc.conf", &format!("{conf}{text}\n"));
    let all = "keylocation is prompt on zdata/enc, zdata/sink/f1, zroot/bhyve";
    with("zfskeys_enable=YES");
    world.only(FAILURE, "zfskeys_enable", all);
    with("zfskeys_enable=YES\nzfskeys_datasets=\"zdata/enc/nfsdata zroot/bhyve\"");
    world.only(FAILURE, "zfskeys_enable", "prompt on zroot/bhyve");
    with("zfskeys_enable=YES\nzfskeys_datasets=zdata/none");
    world.quiet();
    with("zfskeys_enable=${maybe}");
    world.only(FAILURE, "zfskeys_enable", "cannot tell");
    with("zfskeys_enable=YES\nzfskeys_datasets=$all");
    world.only(FAILURE, "zfskeys_datasets", "cannot tell");
    with("zfskeys_enable=YES");
    for root in ["zdata/enc", "zdata/sink/f1", "zroot/bhyve"] {
        world.sim.change(root, |d| {
            d.key_location = Some("file:///keys/x.key".to_owned())
        });
    }
    world.quiet();
}

// ---- mountpoints

#[test]
fn what_lies_beneath_mounts() {
    for init in BOTH {
        let world = healthy(init, "beneath");
        let lay = |path: &str, bare: Result<Bare, String>| {
            world.sim.beneath.take();
            world.sim.beneath.borrow_mut().insert(path.into(), bare);
        };
        for (path, dataset) in [
            ("/data", "zdata"),
            ("/data/enc", "zdata/enc"),
            ("/data/nfs", "zdata/enc/nfsdata"),
            ("/data/f1", "zdata/sink/f1"),
            ("/data/f1/child", "zdata/sink/f1/child"),
            ("/zroot/bhyve", "zroot/bhyve"),
        ] {
            lay(path, Ok(Bare::Holds(format!("{path}/oops").into())));
            world.only(
                WARNING,
                path,
                &format!("is not empty beneath {dataset}: {path}/oops"),
            );
            lay(path, Err("permission denied".to_owned()));
            world.only(FAILURE, path, "cannot tell");
            lay(path, Ok(Bare::Covered));
            world.quiet();
        }
        lay("/data/sink", Ok(Bare::Holds("/data/sink/x".into())));
        world.quiet();
    }
}

/// What a visitor finds where nothing is mounted is a leftover only of what is not mounted at all.
#[test]
fn what_is_seen_beside_a_mounted_dataset_is_not_to_be_moved() {
    for init in BOTH {
        let world = healthy(init, "beside");
        let shows = Ok(Bare::Shows("/data/f1/child/x".into()));
        world
            .sim
            .beneath
            .borrow_mut()
            .insert("/data/f1/child".into(), shows);
        world.only(
            WARNING,
            "/data/f1/child",
            "zdata/sink/f1/child is mounted, and not there",
        );
        assert!(!world.found()[0].remedy.contains("move it away"));
        world.sim.unmount("zdata/sink/f1/child");
        world.only(WARNING, "/data/f1/child", "is not empty beneath");
    }
}

#[test]
fn links_on_the_way_to_the_mountpoints_and_to_the_paths_of_gates() {
    for init in BOTH {
        let mut world = healthy(init, "links");
        world.sim.link("/data", "/mnt/x");
        world.power_cut("boot-2");
        world.verify();
        world.quiet();
        // The same directory by another name.
        world.configure(r#"(path: "/data/nfs""#, r#"(path: "/mnt/x/nfs""#);
        world.power_cut("boot-3");
        world.verify();
        world.quiet();
        world.configure(r#"(path: "/data/nfs""#, r#"(path: "/mnt/nfs""#);
        world.only(FAILURE, "gate nfs", "never opens");
        world.sim.silent.borrow_mut().push("/mnt/nfs".to_owned());
        world.only(FAILURE, "gate nfs", "cannot tell");
    }
}

#[test]
fn a_mountpoint_that_a_read_only_parent_lacks() {
    let world = healthy(Rc, "absent");
    world.sim.unmount("zdata/sink/f1/child");
    let absent = |path: &str| {
        world
            .sim
            .beneath
            .borrow_mut()
            .insert(path.into(), Ok(Bare::Absent));
    };
    absent("/data/f1/child");
    world.only(
        FAILURE,
        "/data/f1/child",
        "zdata/sink/f1/child can never be mounted",
    );
    world.sim.unmount("zdata/sink/f1");
    world.only(NOTE, "/data/f1/child", "zdata/sink/f1 is not mounted now");
    // Where the parent can be written, the mount makes the directory.
    world.sim.unmount("zdata/enc/nfsdata");
    world.sim.beneath.take();
    absent("/data/nfs");
    world.quiet();
}

#[test]
fn mountpoints_that_nobody_could_look_at() {
    let world = healthy(Rc, "not-looked");
    let mut facts = world.facts();
    facts
        .beneath
        .insert("zroot".to_owned(), Err("no answer in time".to_owned()));
    let found = check(&world.config, &facts);
    assert_only(
        &found,
        FAILURE,
        "mountpoints of pool zroot",
        "no answer in time",
    );
    let mut facts = world.facts();
    let zdata = facts.beneath.get_mut("zdata").unwrap().as_mut().unwrap();
    zdata.remove(Path::new("/data/nfs")).unwrap().unwrap();
    assert_only(
        &check(&world.config, &facts),
        FAILURE,
        "/data/nfs",
        "not looked at",
    );
}

// ---- the system

#[test]
fn the_stick_in_fstab() {
    let cases = |init| match init {
        Rc => vec![
            "/dev/da0 /mnt ufs",
            "/dev/ufs/F3S_KEYS /mnt ufs",
            "/dev/da5 /keys ufs",
        ],
        Systemd => vec![
            "/dev/sdb /mnt ext4",
            "LABEL=F3S_KEYS /mnt ext4",
            "LABEL=\"F3S_KEYS\" /mnt ext4",
            "UUID=66b1a2d3 /mnt ext4",
            "/dev/disk/by-label/F3S_KEYS /mnt ext4",
            "/dev/disk/by-id/usb-stick /mnt ext4",
            "/dev/sdz /keys ext4",
        ],
    };
    for init in BOTH {
        let (optional, danger) = match init {
            Rc => ("failok", "drops to single-user mode"),
            Systemd => ("nofail", "emergency shell"),
        };
        let world = healthy(init, "fstab");
        let fstab = std::fs::read_to_string(world.tree.path("/etc/fstab")).unwrap();
        for line in cases(init) {
            let with = |options: &str| {
                let text = format!("{fstab}{line} {options} 0 0\n");
                world.tree.put("/etc/fstab", &text);
            };
            with("rw");
            world.only(FAILURE, "/etc/fstab", danger);
            with(&format!("rw,{optional}"));
            world.only(WARNING, "/etc/fstab", "leaves it mounted, keys and all");
            with("rw,noauto");
            world.quiet();
        }
        if init == Systemd {
            let line = "LABEL=F3S_KEYS /keys ext4 ro,noauto,x-systemd.automount 0 0";
            world.tree.put("/etc/fstab", &format!("{fstab}{line}\n"));
            world.only(WARNING, "/keys", "is an automount");
        }
        world.tree.put("/etc/fstab", &fstab);
        world.sim.mount_over("/keys", "systemd-1", "autofs");
        world.only(WARNING, "/keys", "is an automount");
        world.sim.unmount("systemd-1");
        for line in ["/dev/da7p1 /srv ufs rw 0 0", "LABEL=OTHER /srv ext4 rw 0 0"] {
            world.tree.put("/etc/fstab", &format!("{fstab}{line}\n"));
            world.quiet();
        }
        // One line that is none spoils no other.
        let text = format!("nonsense\n//nas/a\\b /b cifs nofail 0 0\n{fstab}");
        world.tree.put("/etc/fstab", &text);
        world.only(FAILURE, "/etc/fstab", "line 1 is not understood");
        let text = format!("{text}{} rw 0 0\n", cases(init)[0]);
        world.tree.put("/etc/fstab", &text);
        assert_eq!(world.found().len(), 2, "{:#?}", world.found());
    }
}

#[test]
fn beside_zfs_mount_generator() {
    let world = healthy(Systemd, "generator");
    let line = |name: &str, at: &str, root: &str, nofail: &str| {
        format!(
            "{name}\t{at}\ton\ton\ton\ton\ton\toff\ton\toff\t{root}\tprompt\t-\t-\t-\t-\t-\t-\t{nofail}\t-\n"
        )
    };
    let cache = "/etc/zfs/zfs-list.cache/zdata";
    let theirs = "/usr/lib/systemd/system-generators/zfs-mount-generator";
    let served = |nofail| line("zdata/enc/nfsdata", "/data/nfs", "zdata/enc", nofail);
    world.tree.put(cache, &served("-")).put(theirs, "");
    world.quiet();
    world.tree.put(cache, &served("off"));
    world.only(WARNING, "zdata/enc/nfsdata", "emergency shell");
    world.tree.put(cache, &format!("{}zdata\n", served("on")));
    world.only(WARNING, "/etc/zfs/zfs-list.cache", "line 2");
    world.tree.put(cache, &served("-"));
    // An older generator of ours knows nothing of it.
    let ours = "/usr/lib/systemd/system-generators/f3skeys-generator";
    world.tree.edit(ours, "generate-units", "true");
    let found = world.found();
    let told = found.iter().find(|f| f.subject == "zfs-mount-generator");
    assert_eq!(told.unwrap().severity, FAILURE);
    // Of keys that are another's it says nothing.
    world
        .tree
        .put(cache, &line("zdata/hand", "/hand", "zdata/hand", "off"));
    assert!(
        !world
            .found()
            .iter()
            .any(|f| f.subject == "zfs-mount-generator")
    );
}

#[test]
fn systemd_has_what_lets_both_generators_live() {
    let world = healthy(Systemd, "generated");
    let cache = "zdata/enc\t/enc\ton\ton\ton\ton\ton\toff\ton\toff\tzdata/enc\tprompt\n";
    world
        .tree
        .put("/etc/zfs/zfs-list.cache/zdata", cache)
        .put("/usr/lib/systemd/system-generators/zfs-mount-generator", "");
    let drop_ins = fs::read_dir(world.tree.path("/usr/lib/f3skeys/drop-ins")).unwrap();
    for name in drop_ins.map(|entry| entry.unwrap().file_name().into_string().unwrap()) {
        let from = world
            .tree
            .path(&format!("/usr/lib/f3skeys/drop-ins/{name}/f3skeys.conf"));
        let text = fs::read_to_string(from).unwrap();
        world.tree.put(
            &format!("/run/systemd/generator/{name}/f3skeys.conf"),
            &text,
        );
    }
    world.only(
        WARNING,
        "zfs-mount-generator",
        "has not run f3skeys-generator",
    );
    let unit = include_str!("../systemd/generated/zfs-load-key@.service");
    let path = "/run/systemd/generator.early/zfs-load-key@zdata-enc.service";
    world.tree.put(path, unit);
    world.quiet();
}

/// A backup pool that is imported without `altroot` has a copy of each mountpoint.
#[test]
fn a_backup_copy_beside_its_original() {
    let mut world = healthy(Rc, "copy");
    let received = |d: Dataset| Dataset {
        mountpoint_source: Source::Received,
        ..at("/data/nfs", d)
    };
    let copy = received(encrypted("zusb/enc/nfsdata", "zusb/enc"));
    world
        .sim
        .states
        .borrow_mut()
        .insert("zusb".to_owned(), PoolState::Works("ONLINE".to_owned()));
    world
        .sim
        .datasets
        .borrow_mut()
        .push(encrypted("zusb/enc", "zusb/enc"));
    world.sim.datasets.borrow_mut().push(copy);
    world.only(
        NOTE,
        "zusb/enc",
        "is a backup copy, not to be named in `roots`",
    );
    let named =
        r#"(dataset: "zusb/enc", key: "f0.lan.buetow.org:zdata", role: primary, required: false),"#;
    world.configure("roots: [", &format!("roots: [{named}"));
    let found = world.found();
    let told = found.iter().find(|f| f.subject == "/data/nfs").unwrap();
    assert_eq!(told.severity, FAILURE, "{found:#?}");
    assert!(
        told.what
            .contains("zdata/enc/nfsdata and zusb/enc/nfsdata belong there")
    );
}

/// systemd's own state counts, wherever its units come from.
#[test]
fn law_10_a_mount_that_systemd_would_not_let_stand() {
    let world = healthy(Systemd, "bound");
    let holder = "hand-made.service";
    let unit = |name: &str, active, bound_to: &[&str]| Unit {
        name: name.to_owned(),
        active,
        file: format!("/etc/systemd/system/{name}"),
        bound_to: bound_to.iter().map(|name| (*name).to_owned()).collect(),
    };
    let set = |active| {
        let units = vec![
            unit("data-nfs.mount", true, &[holder]),
            unit(holder, active, &[]),
        ];
        *world.sim.units.borrow_mut() = units;
    };
    set(true);
    world.quiet();
    set(false);
    world.only(FAILURE, "data-nfs.mount", "is bound to hand-made.service");
}

/// What is said of a line of fstab, with what is to be written instead.
#[test]
fn lines_of_fstab_that_mount_zfs() {
    const INSTEAD: &str = "x-systemd.after=f3skeys.service,x-systemd.after=zfs-mount.service,x-systemd.before=f3sready.service 0 0";
    let cases = [
        (
            Systemd,
            "zfs defaults",
            Some(FAILURE),
            format!(": zdata/enc/late /late zfs defaults,nofail,{INSTEAD}"),
        ),
        (
            Systemd,
            "zfs defaults,nofail",
            Some(WARNING),
            format!(": zdata/enc/late /late zfs defaults,nofail,{INSTEAD}"),
        ),
        (
            Systemd,
            "zfs nofail,x-systemd.requires=f3skeys.service",
            Some(WARNING),
            ",x-systemd.before=f3sready.service 0 0".to_owned(),
        ),
        (
            Systemd,
            "zfs x-systemd.after=zfs-mount.service,x-systemd.before=f3sready.service",
            Some(FAILURE),
            ",nofail 0 0".to_owned(),
        ),
        (
            Systemd,
            "zfs nofail,x-systemd.after=f3skeys.service,x-systemd.before=f3sready.service",
            None,
            String::new(),
        ),
        (Systemd, "zfs noauto", None, String::new()),
        (
            Systemd,
            "zfs nofail,x-systemd.automount",
            None,
            String::new(),
        ),
        (Systemd, "ext4 defaults", None, String::new()),
        (
            Rc,
            "zfs rw",
            Some(FAILURE),
            ": zdata/enc/late /late zfs rw,late,failok 0 0".to_owned(),
        ),
        (
            Rc,
            "zfs rw,failok",
            Some(WARNING),
            ": zdata/enc/late /late zfs rw,failok,late 0 0".to_owned(),
        ),
        (Rc, "zfs rw,late,failok", None, String::new()),
        (Rc, "zfs rw,noauto", None, String::new()),
    ];
    for (init, line, severity, instead) in cases {
        let world = healthy(init, "fstab-zfs");
        let legacy = |d: Dataset| Dataset {
            mountpoint: Mountpoint::Legacy,
            ..d
        };
        let late = legacy(encrypted("zdata/enc/late", "zdata/enc"));
        world.sim.datasets.borrow_mut().push(late);
        world.power_cut("boot-2");
        let text = format!("zdata/enc/late /late {line} 0 0\n");
        world.tree.put("/etc/fstab", &text);
        match severity {
            None => world.quiet(),
            Some(severity) => {
                world.only(severity, "/etc/fstab", "zdata/enc/late on /late");
                let found = world.found();
                let told = found.iter().find(|f| f.subject == "/etc/fstab").unwrap();
                assert!(told.remedy.ends_with(&instead), "{}", told.remedy);
                assert!(
                    told.remedy
                        .contains("zfs set mountpoint=/late zdata/enc/late")
                );
            }
        }
    }
}

#[test]
fn lines_of_fstab_whose_key_is_another_matter() {
    let world = healthy(Systemd, "fstab-others");
    world
        .tree
        .put("/etc/fstab", "zdata/enc/nfsdata /data/nfs zfs rw 0 0\n");
    world.only(
        FAILURE,
        "/etc/fstab",
        "has another mountpoint than `legacy`",
    );
    world.tree.put(
        "/etc/fstab",
        "zusb/gone /gone zfs rw 0 0\nzusb/away /away zfs nofail 0 0\n",
    );
    world.only(
        FAILURE,
        "/etc/fstab",
        "zusb/gone on /gone, which was not seen",
    );
    let plain = Dataset {
        mountpoint: Mountpoint::Legacy,
        ..dataset("zdata/plain")
    };
    world.sim.datasets.borrow_mut().push(plain);
    world
        .tree
        .put("/etc/fstab", "zdata/plain /plain zfs rw 0 0\n");
    world.quiet();
    let by_hand = Dataset {
        key_format: KeyFormat::Passphrase,
        mountpoint: Mountpoint::Legacy,
        ..encrypted("zdata/hand", "zdata/hand")
    };
    world.sim.datasets.borrow_mut().push(by_hand);
    world
        .tree
        .put("/etc/fstab", "zdata/hand /hand zfs rw 0 0\n");
    let found = world.found();
    let told = found.iter().filter(|f| f.subject == "/etc/fstab");
    let told: Vec<Severity> = told.map(|f| f.severity).collect();
    assert_eq!(told, [WARNING]);
}

#[test]
fn while_the_stick_is_away_any_usb_disk_in_fstab_may_be_it() {
    let world = healthy(Rc, "fstab-away");
    world.sim.sticks.borrow_mut().clear();
    world
        .tree
        .append("/etc/fstab", "/dev/da3 /mnt ufs rw 0 0\n");
    let subjects: Vec<_> = world.found().into_iter().map(|f| f.subject).collect();
    assert_eq!(subjects, [DEVICE, "/etc/fstab"]);
}

#[test]
fn swap_on_freebsd() {
    let world = healthy(Rc, "swap");
    let with = |device: &str| {
        world
            .tree
            .put("/etc/fstab", &format!("{device} none swap sw 0 0\n"));
    };
    let unknown = "not known whether this swap is encrypted";
    let clear = "memory is swapped to it in the clear";
    for (device, words) in [
        ("/dev/ada0p2", clear),
        ("/dev/gpt/swap0", clear),
        ("/dev/zvol/zroot", clear),
        ("/dev/zvol/zroot/none", unknown),
        ("md99", unknown),
    ] {
        with(device);
        world.only(WARNING, device, words);
    }
    for device in ["/dev/ada0p2.eli", "/dev/zvol/zroot/bhyve/vol"] {
        with(device);
        world.quiet();
    }
}

#[test]
fn swap_on_linux() {
    let world = healthy(Systemd, "swap");
    let with = |line: &str| {
        world.tree.put(
            "/proc/swaps",
            &format!("Filename Type Size Used Priority\n{line} 1 0 -2\n"),
        );
    };
    world
        .tree
        .put("/sys/block/dm-0/dm/uuid", "CRYPT-LUKS2-0123-root\n")
        .put("/sys/block/dm-1/dm/uuid", "LVM-abc\n")
        .put("/sys/block/dm-1/slaves/dm-0/x", "")
        .put("/sys/block/dm-2/dm/uuid", "LVM-def\n")
        .put("/sys/block/dm-2/slaves/sda3/x", "")
        .link("/dev/zvol/zroot/bhyve/vol", "../../../zd0")
        .link("/dev/zvol/zroot/plain", "../../zd16");
    for safe in [
        "/dev/dm-0 partition",
        "/dev/dm-1 partition",
        "/dev/zram0 partition",
        "/dev/zd0 partition",
    ] {
        with(safe);
        world.quiet();
    }
    let unknown = "not known whether this swap is encrypted";
    let clear = "memory is swapped to it in the clear";
    for (line, words) in [
        ("/dev/sda2 partition", clear),
        ("/dev/dm-2 partition", clear),
        ("/dev/zd16 partition", unknown),
        ("/dev/zd32 partition", unknown),
        ("/swapfile file", unknown),
    ] {
        with(line);
        world.only(WARNING, line.split(' ').next().unwrap(), words);
    }
    let sim = world.sim.with(vec![Dataset {
        kind: Kind::Volume,
        can_mount: CanMount::Off,
        ..dataset("zroot/plain")
    }]);
    let world = World { sim, ..world };
    world.tree.put("/proc/swaps", "x\n/dev/zd16 partition\n");
    world.only(WARNING, "/dev/zd16", clear);
    world.tree.put("/proc/swaps", "x\nnonsense\n");
    world.only(FAILURE, "swap", "cannot tell");
    world.tree.remove("/proc/swaps");
    world.quiet();
}

const CARP: &str = "net.inet.carp.allow";
const WITH_CARP: (&str, &str) = ("],\n)", "],\n carp: (gate: \"nfs\"),\n)");

#[test]
fn the_hold_of_carp() {
    let mut world = healthy(Rc, "carp");
    let loader = "/boot/loader.conf.d/f3skeys.conf";
    world
        .tree
        .edit(loader, "#net.inet.carp.allow", "net.inet.carp.allow");
    world.only(FAILURE, CARP, "nothing ever sets it back");
    world.configure(WITH_CARP.0, WITH_CARP.1);
    let off = "f3scarp_enable";
    world.only(FAILURE, off, "the node never takes an address");
    world.tree.append("/etc/rc.conf", "f3scarp_enable=NO\n");
    world.only(FAILURE, off, "the node never takes an address");
    world.tree.append("/etc/rc.conf", "f3scarp_enable=$x\n");
    world.only(FAILURE, off, "cannot tell");
    world.tree.append("/etc/rc.conf", "f3scarp_enable=YES\n");
    world.quiet();
    for file in ["/etc/sysctl.conf", "/etc/sysctl.kld.d/carp.conf"] {
        let text = "net.inet.carp.preempt=1\nnet.inet.carp.allow=1 # as ever\n";
        world.tree.put(file, text);
        world.only(FAILURE, CARP, file);
        world.tree.edit(file, "allow=1", "allow=0");
        world.quiet();
        world.tree.remove(file).directory(file);
        world.only(FAILURE, "sysctl.conf", "cannot tell");
        fs::remove_dir(world.tree.path(file)).unwrap();
    }
    world
        .tree
        .append(loader, "net.inet.carp.allow = \"1\" # no\n");
    world.only(
        FAILURE,
        CARP,
        "may become CARP master before gate nfs is open",
    );
    world
        .tree
        .put("/boot/loader.conf.local", "net.inet.carp.allow=0\n");
    world.quiet();
    world.tree.remove(loader).directory(loader);
    world.only(FAILURE, "loader.conf", "cannot tell");
    let mut world = healthy(Systemd, "carp");
    world.configure(WITH_CARP.0, WITH_CARP.1);
    world.only(WARNING, "carp", "CARP is FreeBSD's");
}

#[test]
fn a_node_that_is_locked() {
    for init in BOTH {
        let world = healthy(init, "locked");
        f3skeys::marker::set_locked(&world.sim.run(), true).unwrap();
        world.only(WARNING, "this node", "is locked, by a person");
        f3skeys::marker::set_locked(&world.sim.run(), false).unwrap();
        world.quiet();
    }
}

#[test]
fn a_daily_job_that_is_off() {
    for (init, job) in [
        (Rc, "daily_f3skeys_enable=YES"),
        (Systemd, "f3skeys-daily.timer"),
    ] {
        let mut world = healthy(init, "daily");
        let report = world.sim.db().join("verify.json");
        let day = Duration::from_secs(86_400);
        world.sim.sleep(7 * day - Duration::from_secs(60));
        world.quiet();
        world.sim.sleep(day);
        world.only(WARNING, "last verify", "was 7 days ago");
        let remedy = &world.found()[0].remedy;
        assert!(
            remedy.contains("`f3skeys verify` now") && remedy.contains(job),
            "{remedy}"
        );
        // A clock that went back says nothing.
        world.sim.wall.set(0);
        world.quiet();
        fs::remove_file(&report).unwrap();
        world.only(
            NOTE,
            "last verify",
            "the daily job is off, or has not run yet",
        );
        world.verify();
        world.quiet();
        // With peers, their copies as well.
        world.configure(
            "roots: [",
            "peers: [(name: \"f1.lan.buetow.org\", ssh: \"root@f1\")], roots: [",
        );
        world.quiet();
        world.sim.sleep(8 * day);
        let found = world.found();
        let subjects: Vec<&str> = found.iter().map(|f| f.subject.as_str()).collect();
        assert_eq!(subjects, ["last verify", "last backup"]);
        world.verify();
        fs::remove_file(world.sim.db().join("backup.json")).unwrap();
        world.only(
            NOTE,
            "last backup",
            "the daily job is off, or has not run yet",
        );
    }
}

#[test]
fn a_store_that_is_open_for_a_rebuild() {
    for init in BOTH {
        let mut world = healthy(init, "rebuild");
        world.configure(
            "roots: [",
            "peers: [(name: \"f1.lan.buetow.org\", ssh: \"root@f1\")], roots: [",
        );
        let f1 = "f1.lan.buetow.org".parse().unwrap();
        let open = |from| {
            let opened = world
                .sim
                .verb(|node| rebuild::open(node, &world.config, from, 60));
            opened.unwrap();
        };
        let status = || world.sim.verb(|node| status::status(node, &world.config));
        world.quiet();
        assert_eq!(status().rebuild.open, Some(false));

        open(None);
        let words = "every peer may put keys of any node on its key store, for 60 more minutes";
        world.only(WARNING, "this node", words);
        let way_out = "`f3skeys receive --rebuild --end`";
        assert!(world.found()[0].remedy.contains(way_out));
        let status_says = status().text(Ink::NONE);
        assert!(status_says.contains(words) && status_says.contains(way_out));
        open(Some(&f1));
        world.only(WARNING, "this node", "f1.lan.buetow.org may put keys");
        world.sim.sleep(Duration::from_secs(59 * 60 + 1));
        world.only(WARNING, "this node", "for 1 more minute");
        world.sim.sleep(Duration::from_secs(60));
        world.quiet();
        assert_eq!(status().rebuild.open, Some(false));

        open(None);
        world.sim.verb(rebuild::end).unwrap();
        world.quiet();

        open(None);
        let opening = world.sim.run().join("rebuild");
        let kept = fs::read(&opening).unwrap();
        world.power_cut("boot-2");
        fs::write(&opening, kept).unwrap();
        world.quiet();

        fs::write(&opening, "{").unwrap();
        world.only(WARNING, "this node", "cannot tell whether it is open");
        assert!(
            status()
                .text(Ink::NONE)
                .contains("cannot tell whether it is open")
        );
    }
}

#[test]
fn a_promoted_replica_is_named_and_may_be_written() {
    let world = healthy(Rc, "promoted");
    let value = "promoted 3 1795000000 f1 burnt down";
    world.sim.set_promotion("zdata/sink/f1", value);
    world.sim.change("zdata/sink/f1", |d| {
        d.readonly = false;
        d.readonly_source = Source::Local;
    });
    world.only(WARNING, "zdata/sink/f1", "epoch 3: f1 burnt down");
    // Once it is over it may not.
    world
        .sim
        .set_promotion("zdata/sink/f1", "demoted 3 1795000001");
    world.only(Severity::Alarm, "zdata/sink/f1", "is mounted writable");
    world.sim.change("zdata/sink/f1", |d| {
        d.promotion = f3skeys::promotion::parse("promoted, somehow");
        d.readonly = true;
    });
    world.only(FAILURE, "zdata/sink/f1", "which says nothing");
}

#[test]
fn services_that_need_not_wait_but_may() {
    let world = healthy(Rc, "may-wait");
    world
        .tree
        .append("/etc/rc.conf", "nfsuserd_enable=YES\nstunnel_enable=YES\n");
    world.quiet();
    for service in ["rpcbind", "nfsuserd", "stunnel"] {
        let path = &format!("/etc/rc.conf.d/{service}");
        let snippet = std::fs::read_to_string(world.tree.path(path)).unwrap();
        world.tree.edit(path, "gate nfs", "gate other");
        world.only(
            FAILURE,
            service,
            "waits for gate other, which the configuration does not have",
        );
        world.tree.remove(path);
        world.quiet();
        world.tree.put(path, &snippet);
    }
}

/// The service of the gate that a block file closes.
#[test]
fn law_10_services_are_held_against_their_gates() {
    let mut world = healthy(Systemd, "gate-services");
    world.configure(
        r#"(name: "failback","#,
        r#"(name: "failback", services: ["failover"],"#,
    );
    world.power_cut("boot-1");
    world.only(FAILURE, "failover", "cannot tell");
    let seen = |state| {
        let mut odd = world.sim.odd_services.borrow_mut();
        odd.insert("failover".to_owned(), Seen::only(state));
    };
    seen(Service::Running);
    world.quiet();
    seen(Service::Failed);
    world.only(FAILURE, "failover", "gate failback is open");
    let masked = Seen {
        definition: Definition::Masked,
        ..Seen::only(Service::Running)
    };
    let name = "failover".to_owned();
    world.sim.odd_services.borrow_mut().insert(name, masked);
    world.only(FAILURE, "failover", "does not start");
    let block = "/data/nfs/nfs.NO_AUTO_FAILBACK".into();
    world.sim.files.borrow_mut().push(block);
    seen(Service::Failed);
    world.quiet();
    seen(Service::Starting);
    world.only(FAILURE, "failover", "gate failback is closed");
}

#[test]
fn law_4_a_service_that_starts_without_a_question_to_its_gates_is_named() {
    let mut world = healthy(Systemd, "unasked");
    world.configure(
        r#"(name: "failback","#,
        r#"(name: "failback", services: ["failover"],"#,
    );
    world.power_cut("boot-1");
    let states = &world.sim.service_states;
    states.borrow_mut().insert("failover".to_owned(), true);
    let runs = |commands: &str| {
        let mut all = world.sim.service_commands.borrow_mut();
        all.insert("failover".to_owned(), commands.to_owned());
    };
    world.quiet();
    runs("ExecStart={ path=/bin/failover ; argv[]=/bin/failover ; ignore_errors=no ; }\n");
    world.only(WARNING, "failover", "does not ask gate failback");
    let asks = |gate: &str, ignored: &str| {
        let path = "/usr/sbin/f3skeys";
        runs(&format!(
            "ExecStartPre={{ path={path} ; argv[]={path} gate {gate} ; ignore_errors={ignored} ; }}\n"
        ));
    };
    asks("nfs", "no");
    world.only(WARNING, "failover", "does not ask gate failback");
    asks("failback", "yes");
    world.only(WARNING, "failover", "does not ask gate failback");
    asks("failback", "no");
    world.quiet();
    // What nothing starts needs to ask nothing.
    runs("");
    let masked = Seen {
        definition: Definition::Masked,
        ..Seen::only(Service::Stopped)
    };
    let mut odd = world.sim.odd_services.borrow_mut();
    odd.insert("failover".to_owned(), masked);
    drop(odd);
    world.only(FAILURE, "failover", "does not start");
}

#[test]
fn jails_on_freebsd() {
    let world = healthy(Rc, "jails");
    let (main, own) = ("/etc/jail.conf", "/etc/jail.conf.d/web.conf");
    world.tree.put(
        main,
        "www {\n  path = \"/data/nfs/jails/$name\"; # www\n}\n",
    );
    world.quiet();
    world.tree.append("/etc/rc.conf", "jail_enable=YES\n");
    world.only(
        WARNING,
        main,
        "/data/nfs/jails/, which is on zdata/enc/nfsdata",
    );
    let gate = "  exec.prestart += \"/usr/local/sbin/f3skeys gate nfs\";\n";
    world.tree.append(main, &format!("#{gate}"));
    world.only(WARNING, main, "asks no gate before");
    world.tree.append(main, gate);
    world.quiet();
    world.tree.put(
        own,
        "web { path=/data/enc/web; }\nother {\n path = \"/data/nfsx\";\n}\n",
    );
    world.only(
        WARNING,
        own,
        "starts a jail in /data/enc/web, which is on zdata/enc",
    );
    world.tree.remove(own).directory(own);
    world.only(FAILURE, "jail.conf", "cannot tell");
    world.tree.append("/etc/rc.conf", "jail_enable=$x\n");
    world.only(FAILURE, "jail_enable", "cannot tell");
}

#[test]
fn virtual_machines_on_freebsd() {
    let world = healthy(Rc, "machines");
    let add = |line: &str| {
        world.tree.append("/etc/rc.conf", &format!("{line}\n"));
    };
    add("vm_dir=\"zfs:zroot/bhyve\"");
    add("vm_list=\"rocky0 rocky1\"");
    world.quiet();
    add("vm_enable=YES");
    world.only(WARNING, "vm_list", "starts rocky0, rocky1 from zroot/bhyve");
    add("vm_list=\"\"");
    world.quiet();
    add("vm_list=rocky0");
    add("vm_dir=zfs:zroot/plain");
    world.quiet();
    for (variable, value) in [("vm_dir", "$x"), ("vm_list", "$x"), ("vm_enable", "$x")] {
        add(&format!("{variable}={value}"));
        world.only(FAILURE, variable, "cannot tell");
    }
}

#[test]
fn nfs_on_freebsd() {
    let mut world = healthy(Rc, "nfs");
    for (service, enable) in [("mountd", "mountd_enable"), ("nfsd", "nfs_server_enable")] {
        let path = &format!("/etc/rc.conf.d/{service}");
        let snippet = std::fs::read_to_string(world.tree.path(path)).unwrap();
        world.tree.remove(path);
        world.only(FAILURE, service, "starts without asking a gate");
        world
            .tree
            .put(path, &format!("{service}_prepend=\"/usr/bin/nice\"\n"));
        world.only(FAILURE, service, "starts without asking a gate");
        world
            .tree
            .put(path, &snippet.replace("gate nfs", "gate other"));
        world.only(
            FAILURE,
            service,
            "waits for gate other, which the configuration does not have",
        );
        world
            .tree
            .put(path, &format!("{service}_prepend=\"$gate nfs\"\n"));
        world.only(FAILURE, service, "cannot tell");
        let off = "nfs_server_enable=\"YES\"";
        world.tree.edit("/etc/rc.conf", off, "");
        world.quiet();
        world
            .tree
            .append("/etc/rc.conf", &format!("{enable}=YES\n"));
        world.only(FAILURE, service, "cannot tell");
        world
            .tree
            .edit("/etc/rc.conf", &format!("{enable}=YES\n"), off);
        world.tree.put(path, &snippet);
        world.quiet();
    }
    world.tree.edit(
        "/etc/rc.conf",
        "nfs_server_enable=\"YES\"",
        "nfs_server_enable=$x",
    );
    world.only(FAILURE, "NFS services", "cannot tell");
    world.configure(&CONFIG[CONFIG.find("    gates: [").unwrap()..], ")");
    world.quiet();
}

#[test]
fn nfs_on_linux() {
    let mut world = healthy(Systemd, "nfs");
    for unit in ["nfs-mountd.service", "nfs-server.service"] {
        let path = &format!("/usr/lib/f3skeys/drop-ins/{unit}.d/f3skeys.conf");
        let text = std::fs::read_to_string(world.tree.path(path)).unwrap();
        world.tree.edit(path, "gate nfs", "gate other");
        world.only(FAILURE, unit, "waits for gate other");
        world.tree.put(path, &text);
        let mask = &format!("/etc/systemd/system/{unit}.d/f3skeys.conf");
        world.tree.link(mask, "/dev/null");
        world.only(FAILURE, unit, "starts without asking a gate");
        world.tree.remove(mask).remove(path);
        world.only(FAILURE, unit, "starts without asking a gate");
        let own = &format!("/etc/systemd/system/{unit}.d/own.conf");
        world.tree.put(own, &text);
        world.quiet();
        world
            .tree
            .put(own, &text.replace("ExecStartPre", "ExecCondition"));
        world.only(FAILURE, unit, "starts without asking a gate");
        world.tree.put(own, &text);
    }
    let wants = "/etc/systemd/system/multi-user.target.wants/nfs-server.service";
    world
        .tree
        .remove("/etc/systemd/system/nfs-server.service.d/own.conf");
    world.only(
        FAILURE,
        "nfs-server.service",
        "starts without asking a gate",
    );
    world.tree.remove(wants);
    world.quiet();
    world
        .tree
        .link(wants, "/usr/lib/systemd/system/nfs-server.service");
    world.configure(&CONFIG[CONFIG.find("    gates: [").unwrap()..], ")");
    world.quiet();
}

#[test]
fn how_the_last_boot_went() {
    for pass in ["boot", "ready"] {
        let world = healthy(Rc, "last");
        let subject = &format!("last {pass}");
        let keep = |change: &dyn Fn(&mut Report)| {
            let mut report = Report::last(&world.sim.db(), pass).unwrap();
            change(&mut report);
            report.keep(&world.sim.db()).unwrap();
        };
        let good = Report::last(&world.sim.db(), pass).unwrap();
        keep(&|r| r.find(ALARM, "zdata/enc", "opened by no key", "find the key"));
        world.only(ALARM, subject, "zdata/enc: opened by no key");
        keep(&|r| r.status = 69);
        world.only(ALARM, subject, "zdata/enc: opened by no key");
        keep(&|r| r.findings.clear());
        world.only(FAILURE, subject, "ended with exit status 69");
        keep(&|r| r.boot = Some("boot-0".to_owned()));
        world.only(FAILURE, subject, "did not run in this one");
        std::fs::write(world.sim.db().join(format!("{pass}.json")), "{").unwrap();
        world.only(NOTE, subject, "no report of it is kept");
        good.keep(&world.sim.db()).unwrap();
        world.quiet();
    }
}

#[test]
fn the_hooks_are_part_of_it() {
    let world = healthy(Rc, "hooks-rc");
    world.tree.mode("/etc/rc.d/f3skeys", 0o644);
    world.only(FAILURE, "/etc/rc.d/f3skeys", "cannot be run");
    let world = healthy(Systemd, "hooks-systemd");
    world
        .tree
        .link("/etc/systemd/system/f3skeys.service", "/dev/null");
    world.only(FAILURE, "/etc/systemd/system/f3skeys.service", "masks");
    let world = healthy(Rc, "hooks-unreadable");
    world.tree.remove("/etc/rc.conf").directory("/etc/rc.conf");
    world.only(FAILURE, "rc.conf", "cannot tell");
}

// ---- faults together

type Fault = (&'static str, fn(&mut Facts));

/// Faults that have nothing to do with each other.
const FAULTS: [Fault; 10] = [
    ("this node", |f| f.rebuild = Err("torn".to_owned())),
    ("/dev/da0", |f| f.stick.write_protected = Some(Ok(true))),
    ("/keys", |f| f.stick.mountpoint = Err("hung".to_owned())),
    ("pools", |f| f.pools = Err("hung".to_owned())),
    ("mountpoints of pool zdata", |f| {
        f.beneath.insert("zdata".to_owned(), Err("hung".to_owned()));
    }),
    ("/etc/fstab", |f| f.fstab = Err("torn".to_owned())),
    ("swap", |f| f.swaps = Err("torn".to_owned())),
    ("loader.conf", |f| f.loader = Err("torn".to_owned())),
    ("NFS services", |f| f.nfs = Err("torn".to_owned())),
    ("names of the key device", |f| {
        f.stick.aliases = Err("torn".to_owned());
    }),
];

/// Law 5: whatever else is wrong, each fault is still said, and said once.
#[test]
fn law_5_no_fault_hides_another() {
    let world = healthy(Rc, "together");
    let gathered = world.facts();
    for all in 0..1 << FAULTS.len() {
        let chosen = || (0..FAULTS.len()).filter(move |n| all >> n & 1 == 1);
        let mut facts = gathered.clone();
        chosen().for_each(|n| FAULTS[n].1(&mut facts));
        let mut found: Vec<String> = check(&world.config, &facts)
            .into_iter()
            .map(|f| f.subject.into())
            .collect();
        let mut expected: Vec<String> = chosen().map(|n| FAULTS[n].0.to_owned()).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
    }
}

/// The names that the tests lay out must be of the node that the simulator tells of.
#[test]
fn the_world_is_what_it_seems() {
    let world = healthy(Rc, "world");
    assert_eq!(world.sim.wrapped.borrow()["zroot/bhyve"], BHYVE);
    let facts = world.facts();
    let looked: Vec<&PathBuf> = facts
        .beneath
        .values()
        .flatten()
        .flat_map(|b| b.keys())
        .collect();
    assert_eq!(looked.len(), 6, "{looked:?}");
    assert_eq!(facts.pools.unwrap(), ["zdata", "zroot"]);
    assert_eq!(
        at("/x", dataset("a/b")).mountpoint,
        Mountpoint::Path("/x".into())
    );
}

/// The one finding of this subject.
fn about(world: &World, subject: &str) -> Finding {
    let found = world.found();
    let mut of_subject = found.iter().filter(|f| f.subject == subject);
    let one = of_subject.next().cloned();
    assert!(one.is_some() && of_subject.next().is_none(), "{found:#?}");
    one.unwrap()
}

#[test]
fn a_pool_under_another_name_is_named_with_the_commands_that_mend_it() {
    let world = healthy(Rc, "renamed");
    for dataset in world.sim.datasets.borrow_mut().iter_mut() {
        let renamed = |name: &str| name.replacen("zroot", "zother", 1).parse().unwrap();
        if dataset.name.pool() == "zroot" {
            dataset.encryption_root = dataset
                .encryption_root
                .as_ref()
                .map(|r| renamed(r.as_str()));
            dataset.name = renamed(dataset.name.as_str());
        }
    }
    let works = world.sim.states.borrow_mut().remove("zroot").unwrap();
    world.sim.states.borrow_mut().insert("zother".into(), works);
    let said = about(&world, "pool zroot");
    assert_eq!(said.severity, FAILURE);
    for command in ["`zpool export zother`", "`zpool import zother zroot`"] {
        assert!(said.remedy.contains(command), "{said:?}");
    }
}

#[test]
fn a_pool_with_an_altroot_is_no_matter_of_the_configuration_alone() {
    for (at, altroot) in [("/mnt/data/nfs", true), ("/data/elsewhere", false)] {
        let world = healthy(Rc, "altroot");
        world.sim.change("zdata/enc/nfsdata", |d| {
            d.mountpoint = Mountpoint::Path(at.into())
        });
        let found = world.found();
        let mut said = found.iter().filter(|f| f.subject == "gate nfs");
        let said = said.find(|f| f.what.contains(at)).unwrap();
        assert_eq!(
            said.remedy.contains("`zpool get altroot zdata`"),
            altroot,
            "{said:?}"
        );
    }
}

#[test]
fn a_key_device_on_another_bus_is_named_as_what_it_is() {
    let mut world = healthy(Rc, "fixed");
    let decoy = Stick::new("/dev/da9", "F3S_KEYS", "FFFF").with_store(&keys());
    world.sim.sticks.borrow_mut()[0].candidate.fixed = true;
    world.sim.sticks.borrow_mut().push(decoy);
    let said = about(&world, "key device F3S_KEYS (serial 4C530001)");
    assert!(
        said.what.contains("another bus") && said.remedy.contains("any_disk: true"),
        "{said:?}"
    );
    world.configure("wait_seconds: 30", "wait_seconds: 30, any_disk: true");
    let found = world.found();
    assert!(
        found.iter().all(|f| !f.subject.contains("key device F3S")),
        "{found:#?}"
    );
}

#[test]
fn a_store_that_cannot_be_read_has_the_remedy_of_its_cause() {
    let world = healthy(Rc, "causes");
    let told = |trouble: Trouble| {
        let mut facts = world.facts();
        facts.stick.contents = Some(Err(trouble));
        let found = check(&world.config, &facts);
        assert_eq!(found.len(), 1, "{found:#?}");
        found[0].remedy.to_string()
    };
    let busy = Trouble::failed("reading", "/keys is in use by tmpfs").mended_by("umount it");
    assert_eq!(told(busy), "umount it");
    assert!(told(Trouble::failed("reading", "EIO")).contains("fsck"));
    let silent = told(Trouble::timed_out("reading"));
    assert!(
        silent.contains("pull the stick") && !silent.contains("fsck"),
        "{silent}"
    );
}

#[test]
fn what_comes_up_before_the_encrypted_file_system_that_it_lies_on_is_foretold() {
    let world = healthy(Rc, "early");
    let early = sim::at("/data/nfs/pub", sim::dataset("zdata/pub"));
    world.sim.datasets.borrow_mut().push(early);
    world.power_cut("boot-early");
    let said = about(&world, "zdata/pub");
    assert_eq!(said.severity, WARNING);
    assert!(said.what.contains("comes up first"), "{said:?}");
}
