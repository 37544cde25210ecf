//! The f3s story without ZFS, sticks or root: the same boot code over a simulated node.
//!
//! `cargo run --example demo`

#[path = "../tests/sim/mod.rs"]
mod sim;

use f3skeys::boot::boot;
use f3skeys::gate::Answer;
use f3skeys::ready::{ask, named, ready};
use f3skeys::zfs::KeyStatus;
use sim::{Event, Sim, Stick, config, f3s, good_stick};
use std::time::Duration;

fn main() {
    println!("A storage node, f0, comes back after a power cut. Five times.");
    println!("(The pools, the stick and the clock are simulated; the code that boots is not.)");
    all_well();
    no_stick();
    flipped_bit();
    late_stick();
    replica_left_writable();
    println!("\nThat was all. To see it on real ZFS: tests/lab/lab shell");
}

fn title(number: u32, words: &str) {
    println!("\n--- {number}. {words}");
}

fn all_well() {
    title(1, "All is well: the stick is plugged in");
    tell(&f3s("demo-well").stick(good_stick()));
}

fn no_stick() {
    title(
        2,
        "No stick: the base system boots, nothing is served from beneath a dataset",
    );
    tell(&f3s("demo-none"));
}

fn flipped_bit() {
    title(3, "One bit of one key has rotted, in both of its copies");
    let mut stick = good_stick();
    stick.damage("f0.lan.buetow.org:bhyve", |bytes| bytes[7] ^= 4);
    tell(&f3s("demo-bit").stick(stick));
}

fn late_stick() {
    title(
        4,
        "The stick comes twenty seconds late, with a decoy beside it",
    );
    let mut stick = good_stick();
    stick.candidate.node = "/dev/da1".into();
    stick.plugged_in_at = Duration::from_secs(20);
    let decoy = Stick::new("/dev/da0", "F3S_KEYS", "0BADC0DE");
    tell(&f3s("demo-late").stick(decoy).stick(stick));
}

fn replica_left_writable() {
    title(
        5,
        "Somebody loaded a replica's key by hand and mounted it, writable",
    );
    let sim = f3s("demo-replica").stick(good_stick());
    for name in ["zdata/sink/f1", "zdata/sink/f1/child"] {
        sim.change(name, |dataset| dataset.key_status = KeyStatus::Available);
    }
    sim.zfs_mount_all();
    sim.trace.borrow_mut().clear();
    tell(&sim);
    println!("  What happened to the replica, in order:");
    for event in sim.trace.borrow().iter() {
        match event {
            Event::Sealed(name) if name.contains("f1") => println!("    {name} was made read-only"),
            Event::Mounted { dataset, writable } if dataset.contains("f1") => {
                println!("    {dataset} was mounted, writable: {writable}");
            }
            _ => {}
        }
    }
}

/// Runs the passes as FreeBSD does, and shows what an admin would see.
fn tell(sim: &Sim) {
    let config = config();
    let early = sim.verb(|node| boot(node, &config));
    print!("{}{}", early.complaints(), early.results());
    sim.zfs_mount_all();
    let late = sim.verb(|node| ready(node, &config));
    print!("{}{}", late.complaints(), late.results());
    let nfs = sim.verb(|node| named(&config, "nfs").map(|gate| ask(node, &config, gate)));
    match nfs {
        Ok(Answer::Open) => println!("  $ f3skeys gate nfs -- /usr/sbin/nfsd ...\n  nfsd starts."),
        Ok(Answer::Closed(why) | Answer::CannotTell(why)) | Err(why) => {
            println!("  $ f3skeys gate nfs -- /usr/sbin/nfsd ...\n  nfsd does not start: {why}");
        }
    }
}
