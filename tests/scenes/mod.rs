//! The f3s node with a peer, in states that the documentation shows. For its tests, and for
//! `examples/status.rs`, which shows them.

#![allow(dead_code)] // Each test program uses its own part of it.

use crate::sim::{BHYVE, CONFIG, Sim, Stick, ZDATA, f3s, good_stick};
use f3skeys::backup::receipts::{self, Proven};
use f3skeys::boot::boot;
use f3skeys::config::Config;
use f3skeys::key::Fingerprint;
use f3skeys::os::PoolState;
use f3skeys::peers::{ReplicaState, Reply, Told};
use f3skeys::promotion::Promoted;
use f3skeys::ready::ready;
use f3skeys::reconcile::reconcile;
use f3skeys::sorted::Set;
use f3skeys::store::state::{Generation, Standing};
use f3skeys::time::Clock;
use f3skeys::verify::{Options, verify};
use f3skeys::zfs::{KeyStatus, Moment, Past};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub const NFS: &str = "zdata/enc/nfsdata";
pub const SINK: &str = "zdata/sink/f1";
pub const F1: &str = "f1.lan.buetow.org";

/// The scenes, by name.
pub const SCENES: [&str; 4] = ["well", "no-stick", "suspended", "written"];

/// The f3s story's configuration with a peer: f1's replica is to be fresh, and f1 is asked before the
/// address comes back.
pub fn config() -> Config {
    let (head, _) = CONFIG.split_once("gates: [").unwrap();
    let text = format!(
        r#"{head} peers: [(name: "{F1}", ssh: "root@f1")],
        replicas: [(of: "{NFS}", node: "{F1}", dataset: "zdata/sink/f0")],
        gates: [
            (name: "nfs", needs: [mounted(path: "/data/nfs", dataset: "{NFS}")]),
            (name: "standby", needs: [mounted(path: "/data/f1", dataset: "{SINK}"),
                fresh_snapshot(dataset: "{SINK}", minutes: 60)]),
            (name: "failback", needs: [gate("nfs"), writable("{NFS}"),
                absent("/data/nfs/nfs.NO_AUTO_FAILBACK"), not_promoted(peer: "{F1}")]),
        ],
    )"#
    );
    Config::parse(&text).unwrap()
}

fn snapshot(sim: &Sim, dataset: &str, guid: u64, created: u64) {
    let moment = Moment {
        name: "zrepl_1".to_owned(),
        guid,
        created,
        bookmark: false,
    };
    let past = Past {
        dataset: dataset.parse().unwrap(),
        written: 0,
        moments: vec![moment],
    };
    sim.pasts.borrow_mut().insert(dataset.to_owned(), past);
}

/// Whether the peer answers.
pub fn peer_answers(sim: &Sim, answers: bool) {
    let reply = Reply {
        version: f3skeys::peers::VERSION,
        node: F1.parse().unwrap(),
        answer: Told::Replicas(vec![ReplicaState {
            dataset: "zdata/sink/f0".parse().unwrap(),
            promoted: Promoted::Never,
            written: 0,
            newest: Some((7, "zrepl_1".to_owned())),
        }]),
    };
    let mut replies = sim.replies.borrow_mut();
    match answers {
        true => replies.insert(F1.to_owned(), reply),
        false => replies.remove(F1),
    };
}

/// Keeps a receipt as a backup does.
pub fn prove(sim: &Sim, key: &str, bytes: &[u8; 32], at: u64) {
    let (key, fingerprint) = (key.parse().unwrap(), Fingerprint::of(bytes));
    let list = [Generation {
        generation: 1,
        fingerprint,
        state: Standing::Current,
    }];
    let proven = Proven {
        key: &key,
        list: &list,
        prints: &Set::from([fingerprint]),
        store: "0f",
        at,
        by: "backup",
    };
    receipts::note(&sim.db(), sim, &F1.parse().unwrap(), &proven).unwrap();
}

/// A node after its boot, and what runs in its first minutes.
pub fn booted(name: &str, stick: Option<Stick>) -> Sim {
    // Several tests of a program may look at one scene at once.
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let sim = f3s(&format!("scene-{name}-{number}"));
    sim.sticks.borrow_mut().extend(stick);
    snapshot(&sim, NFS, 7, 1_794_999_100);
    snapshot(&sim, SINK, 8, 1_794_999_000);
    peer_answers(&sim, true);
    sim.verb(|node| boot(node, &config()));
    sim.zfs_mount_all();
    sim.verb(|node| ready(node, &config()));
    sim.sleep(Duration::from_secs(30));
    sim.verb(|node| reconcile(node, &config()));
    sim
}

/// A node in one of the [`SCENES`].
pub fn scene(name: &str) -> Option<Sim> {
    let stick = (name != "no-stick").then(good_stick);
    let sim = booted(name, stick);
    prove(&sim, "f0.lan.buetow.org:zdata", &ZDATA, 1_794_960_000);
    prove(&sim, "f0.lan.buetow.org:bhyve", &BHYVE, 1_794_960_000);
    match name {
        "well" => {
            let (pools, repair) = (true, false);
            sim.verb(|node| verify(node, &config(), Options { pools, repair }));
        }
        "no-stick" => {}
        "suspended" => {
            let sick = PoolState::Suspended;
            sim.states.borrow_mut().insert("zdata".to_owned(), sick);
        }
        "written" => {
            sim.change("zdata/sink/f1/child", |d| d.readonly = false);
            sim.change("zroot/bhyve", |d| d.key_status = KeyStatus::Unavailable);
            peer_answers(&sim, false);
        }
        _ => return None,
    }
    Some(sim)
}
