//! Making an empty store, over a simulated stick. What decides is tested beside it
//! (`src/init/tests.rs`); here the verb is, from the look at the device to the store that is there
//! afterwards.

mod sim;

use f3skeys::init::decide::Request;
use f3skeys::init::{Founded, LABEL, init};
use f3skeys::store::layout;
use f3skeys::store::work::Work;
use f3skeys::system::KeyDevices;
use f3skeys::time::Deadline;
use sim::formatter::{Formatter, formatter};
use sim::{Sim, Stick, good_stick, keys};
use std::path::Path;
use std::time::Duration;

fn request(overwrite: Option<&str>) -> Request {
    Request {
        device: "/dev/da0".into(),
        serial: Some("4C530001".to_owned()),
        label: LABEL.to_owned(),
        overwrite: overwrite.map(str::to_owned),
        fixed: None,
    }
}

fn init_with(sim: &Sim, formatter: &Formatter, request: &Request) -> Founded {
    sim.verb(|node| init(node, formatter, request, "`hint`"))
}

/// A stick without any file system.
fn blank() -> Stick {
    let mut stick = Stick::new("/dev/da0", "", "4C530001");
    stick.candidate.filesystems.clear();
    stick
}

#[test]
fn a_blank_stick_becomes_an_empty_store_that_takes_a_key() {
    let sim = Sim::new("init-blank").stick(blank());
    let formatter = formatter(&sim);
    let founded = init_with(&sim, &formatter, &request(None));
    assert_eq!(founded.status, 0, "{}", founded.complaints());
    assert!(
        founded
            .text
            .contains(r#"store: (label: "F3S_KEYS", serial: "4C530001"),"#)
    );
    assert!(founded.text.contains("new-key"));
    let files: Vec<String> = sim.sticks.borrow()[0].files.keys().cloned().collect();
    assert_eq!(files, [layout::STATE]);
    let (device, filesystem) = {
        let stick = &sim.sticks.borrow()[0];
        (
            stick.candidate.clone(),
            stick.candidate.filesystems[0].clone(),
        )
    };
    let deadline = Deadline::after(&sim, Duration::from_secs(10));
    let work = Work::NewKey("f0:zdata".parse().unwrap());
    let worked = sim
        .work(
            &device,
            &filesystem,
            Path::new("/keys"),
            &work,
            None,
            deadline,
        )
        .unwrap();
    assert!(worked.left.is_empty() && worked.keys.len() == 1);
}

#[test]
fn law_7_every_kind_of_store_with_keys_is_refused_and_stays() {
    let plain = Stick::new("/dev/da0", "F3S_KEYS", "4C530001").with_plain_store(&keys());
    let mut generations_only = good_stick();
    generations_only.files.retain(|path, _| path.contains('/'));
    let mut damaged = good_stick();
    damaged.damage(":", |bytes| bytes.truncate(31));
    let mut odd = Stick::new("/dev/da0", "F3S_KEYS", "4C530001");
    odd.files
        .insert(".f3skeys/what is this".to_owned(), vec![1]);
    let mut only_listed = good_stick();
    only_listed.files.retain(|path, _| path == layout::STATE);
    let mut unreadable_state = only_listed.clone();
    unreadable_state.damage("state", |bytes| bytes.truncate(9));
    for (name, stick) in [
        ("listed", only_listed),
        ("state", unreadable_state),
        ("plain", plain),
        ("format", good_stick()),
        ("below", generations_only),
        ("damaged", damaged),
        ("odd", odd),
    ] {
        let files = stick.files.clone();
        let sim = Sim::new(&format!("init-{name}")).stick(stick);
        for overwrite in [None, Some("ufs=F3S_KEYS")] {
            let formatter = formatter(&sim);
            let founded = init_with(&sim, &formatter, &request(overwrite));
            assert_eq!(founded.status, 69, "{name}: {}", founded.complaints());
            assert!(founded.complaints().contains("it holds keys"), "{name}");
            assert_eq!(formatter.formatted.get(), 0, "{name}");
            assert_eq!(sim.sticks.borrow()[0].files, files, "{name}");
        }
    }
}

#[test]
fn an_empty_store_or_other_files_may_be_overwritten_by_name() {
    let mut stick = Stick::new("/dev/da0", "F3S_KEYS", "4C530001").with_store(&[]);
    stick.files.insert("notes.txt".to_owned(), vec![1]);
    let sim = Sim::new("init-again").stick(stick);
    let formatter = formatter(&sim);
    let refused = init_with(&sim, &formatter, &request(None));
    assert_eq!((refused.status, formatter.formatted.get()), (64, 0));
    assert!(refused.complaints().contains("--overwrite 'ufs=F3S_KEYS'"));
    let founded = init_with(&sim, &formatter, &request(Some("ufs=F3S_KEYS")));
    assert_eq!(founded.status, 0, "{}", founded.complaints());
    assert!(founded.text.contains("overwritten: ufs=F3S_KEYS"));
    assert_eq!(sim.sticks.borrow()[0].files.len(), 1);
}

#[test]
fn what_cannot_be_read_or_is_mounted_is_left_alone() {
    let mut broken = good_stick();
    broken.broken = Some("input/output error".to_owned());
    let sim = Sim::new("init-broken").stick(broken);
    let formatter_of_broken = formatter(&sim);
    let founded = init_with(&sim, &formatter_of_broken, &request(Some("ufs=F3S_KEYS")));
    assert_eq!(founded.status, 69);
    assert!(founded.complaints().contains("input/output error"));
    let mounted = Sim::new("init-mounted").stick(blank());
    mounted.mount_over("/mnt", "/dev/da0", "msdosfs");
    let formatter_of_mounted = formatter(&mounted);
    let founded = init_with(&mounted, &formatter_of_mounted, &request(None));
    assert_eq!(founded.status, 69);
    assert!(founded.complaints().contains("it is mounted on /mnt"));
    let done = formatter_of_broken.formatted.get() + formatter_of_mounted.formatted.get();
    assert_eq!(done, 0);
}

#[test]
fn a_stick_that_goes_away_while_it_is_looked_into_is_not_known_to_be_empty() {
    let mut stick = good_stick();
    stick.pulled_after = Some(0);
    let sim = Sim::new("init-pulled").stick(stick);
    let formatter = formatter(&sim);
    let founded = init_with(&sim, &formatter, &request(Some("ufs=F3S_KEYS")));
    assert_eq!((founded.status, formatter.formatted.get()), (69, 0));
}

#[test]
fn no_such_device_is_66_and_another_run_75() {
    let sim = Sim::new("init-none");
    let formatter = formatter(&sim);
    assert_eq!(init_with(&sim, &formatter, &request(None)).status, 66);
    let _lock = f3skeys::marker::try_lock(&sim.run()).unwrap().unwrap();
    assert_eq!(init_with(&sim, &formatter, &request(None)).status, 75);
}

#[test]
fn formatting_or_founding_that_fails_is_said() {
    let sim = Sim::new("init-fails").stick(blank());
    let failing = Formatter {
        fails: Some("No space left on device"),
        ..formatter(&sim)
    };
    let founded = init_with(&sim, &failing, &request(None));
    assert_eq!((founded.status, founded.text.as_str()), (69, ""));
    assert!(founded.complaints().contains("No space left"));
    let mut read_only = blank();
    read_only.unwritable = Some("write-protected".to_owned());
    let sim = Sim::new("init-protected").stick(read_only);
    let founded = init_with(&sim, &formatter(&sim), &request(None));
    assert_eq!((founded.status, founded.text.as_str()), (69, ""));
    assert!(founded.complaints().contains("no store is on it"));
    assert!(founded.complaints().contains("write-protected"));
}

/// A key that somebody brings to the stick, another stick in its place, a mount, a device that is in use:
/// after the decision, and before the first write.
#[test]
fn law_8_a_device_that_changes_between_the_decision_and_the_hold_is_left_alone() {
    type Meanwhile = fn(&Sim);
    let changes: [(&str, Meanwhile); 4] = [
        ("a key", |sim| {
            let mut sticks = sim.sticks.borrow_mut();
            sticks[0].files.insert("f0:z.key".to_owned(), vec![7; 32]);
        }),
        ("another stick", |sim| {
            let mut other = Stick::new("/dev/da0", "F3S_KEYS", "0BAD");
            other.files.insert("photo.jpg".to_owned(), vec![1]);
            sim.sticks.borrow_mut()[0] = other;
        }),
        ("a file system", |sim| {
            sim.sticks.borrow_mut()[0] = Stick::new("/dev/da0", "PHOTOS", "4C530001");
        }),
        ("a mount", |sim| sim.mount_over("/mnt", "/dev/da0", "ufs")),
    ];
    for (name, meanwhile) in changes {
        let stick = Stick::new("/dev/da0", "F3S_KEYS", "4C530001").with_store(&[]);
        let sim = Sim::new("init-meanwhile").stick(stick);
        let formatter = Formatter {
            meanwhile: Some(meanwhile),
            ..formatter(&sim)
        };
        let founded = init_with(&sim, &formatter, &request(Some("ufs=F3S_KEYS")));
        assert_ne!(founded.status, 0, "{name}");
        assert_eq!(
            (formatter.formatted.get(), &*founded.text),
            (0, ""),
            "{name}"
        );
    }
    let sim = Sim::new("init-in-use").stick(blank());
    let formatter = Formatter {
        in_use: true,
        ..formatter(&sim)
    };
    let founded = init_with(&sim, &formatter, &request(None));
    assert_eq!((founded.status, formatter.formatted.get()), (69, 0));
}
