//! Adopting a host, over a simulated node and a host laid out in a directory.

mod sim;

use f3skeys::adopt::{Adoption, adopt};
use f3skeys::boot::boot;
use f3skeys::config::{Config, Role};
use f3skeys::exit::Fault;
use f3skeys::gate::Answer;
use f3skeys::host::Host;
use f3skeys::os::PoolState;
use f3skeys::ready::{ask, named, ready};
use f3skeys::rehearse::rehearse;
use f3skeys::zfs::{KeyFormat, KeyStatus};
use sim::{Event, Sim, Stick, f3s, good_stick, keys};
use std::fs;
use std::path::Path;

const F0: &str = "f0.lan.buetow.org";

/// Writes a file of the host.
fn lay(sim: &Sim, path: &str, text: &str) {
    let path = sim.directory.join("host").join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// The f3s node as the articles leave it, running, with the stick on /keys.
fn running(name: &str, stick: Stick) -> Sim {
    let sim = f3s(name).stick(stick);
    for (root, key) in [
        ("zdata/enc", "f0.lan.buetow.org:zdata"),
        ("zroot/bhyve", "f0.lan.buetow.org:bhyve"),
    ] {
        sim.change(root, |dataset| {
            dataset.key_location = Some(format!("file:///keys/{key}.key"));
        });
    }
    for dataset in sim.datasets.borrow_mut().iter_mut() {
        if dataset.encryption_root.is_some() {
            dataset.key_status = KeyStatus::Available;
        }
    }
    sim.zfs_mount_all();
    sim.mount_over("/keys", "/dev/da0", "ufs");
    sim.trace.borrow_mut().clear();
    lay(
        &sim,
        "etc/rc.conf",
        "hostname=\"f0.lan.buetow.org\"\nzfskeys_enable=\"YES\"\nzfskeys_datasets=\"zdata/enc zroot/bhyve\"\nifconfig_re0_alias0=\"inet vhid 1 pass testpass alias 192.168.1.138/32\"\n",
    );
    lay(&sim, "etc/fstab", "/dev/da0 /keys ufs rw 0 2\n");
    lay(
        &sim,
        "etc/exports",
        "V4: /data/nfs -sec=sys\n/data/nfs -alldirs -maproot=root -network 127.0.0.1 -mask 255.255.255.255\n",
    );
    lay(
        &sim,
        "usr/local/bin/carp-auto-failback.sh",
        "#!/bin/sh\nBLOCK_FILE=\"/data/nfs/nfs.NO_AUTO_FAILBACK\"\n",
    );
    sim
}

fn adopt_with(sim: &Sim, host_name: &str, device: Option<&str>) -> Adoption {
    let host = Host::at(&sim.directory.join("host"));
    let device = device.map(Path::new);
    sim.verb(|node| adopt(node, &host, host_name, device, "/etc/f3skeys.ron"))
}

fn adopt_now(sim: &Sim) -> Adoption {
    adopt_with(sim, F0, None)
}

/// The configuration that was printed.
fn config(adoption: &Adoption) -> Config {
    let text = adoption.text.as_deref();
    let text = text.unwrap_or_else(|| panic!("nothing printed:\n{}", adoption.complaints()));
    Config::parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

fn says(adoption: &Adoption, words: &str) {
    let said = adoption.complaints();
    assert!(said.contains(words), "no `{words}` in:\n{said}");
}

/// A power cut, then a boot by this configuration alone; the rehearsal has said so before.
fn boots(sim: &Sim, config: &Config) {
    let rehearsal = sim.verb(|node| rehearse(node, config, &[]));
    assert!(rehearsal.comes_back, "{}", rehearsal.text());
    sim.reboot("boot-2");
    let early = sim.verb(|node| boot(node, config));
    assert_eq!(early.status, 0, "{}", early.complaints());
    sim.zfs_mount_all();
    let late = sim.verb(|node| ready(node, config));
    assert_eq!(late.status, 0, "{}", late.complaints());
    for root in &config.roots {
        let found = sim.find(root.dataset.as_str());
        assert_eq!(found.key_status, KeyStatus::Available, "{}", root.dataset);
    }
    for gate in ["nfs", "failback"] {
        let answer = sim.verb(|node| ask(node, config, named(config, gate).unwrap()));
        assert_eq!(answer, Answer::Open, "{gate}");
    }
}

fn stick_of_format_1() -> Stick {
    let mut stick = good_stick();
    stick.candidate.filesystems[0].label = None;
    stick
}

#[test]
fn an_adopted_host_boots_by_what_was_printed() {
    let sim = running("boots", stick_of_format_1());
    let adoption = adopt_now(&sim);
    assert_eq!(adoption.status(), 0, "{}", adoption.complaints());
    let config = config(&adoption);
    assert_eq!(config.roots.len(), 3);
    let replica = config.roots.iter().find(|root| root.role == Role::Replica);
    assert_eq!(replica.unwrap().dataset.as_str(), "zdata/sink/f1");
    boots(&sim, &config);
}

#[test]
fn adopting_changes_no_pool_and_no_store_of_format_1_and_says_the_same_twice() {
    let sim = running("twice", stick_of_format_1());
    let before = sim.sticks.borrow()[0].files.clone();
    let first = adopt_now(&sim);
    let second = adopt_now(&sim);
    assert!(first.text.is_some());
    assert_eq!(first, second);
    assert!(first.changed.is_empty());
    assert_eq!(sim.sticks.borrow()[0].files, before);
    assert!(sim.trace.borrow().is_empty(), "a pool was touched");
}

fn stick_of_the_articles() -> Stick {
    Stick::new("/dev/da0", "", "4C530001").with_plain_store(&keys())
}

#[test]
fn a_plain_stick_becomes_format_1_once_and_without_a_changed_key() {
    let sim = running("plain", stick_of_the_articles());
    let plain = sim.sticks.borrow()[0].files.clone();
    let first = adopt_now(&sim);
    assert_eq!(first.status(), 0, "{}", first.complaints());
    assert!(!first.changed.is_empty());
    says(&first, "changed: /dev/da0: wrote .f3skeys/");
    let taken_in = sim.sticks.borrow()[0].files.clone();
    for (path, bytes) in &plain {
        assert_eq!(taken_in.get(path), Some(bytes), "{path}");
    }
    assert_eq!(
        taken_in.len(),
        2 * plain.len() + 1,
        "each key once more, and the state"
    );
    let second = adopt_now(&sim);
    assert_eq!(second.text, first.text);
    assert!(second.changed.is_empty());
    assert_eq!(sim.sticks.borrow()[0].files, taken_in);
    boots(&sim, &config(&second));
}

#[test]
fn both_layouts_give_the_same_configuration() {
    let formatted = adopt_now(&running("layout-1", stick_of_format_1()));
    let plain = adopt_now(&running("layout-0", stick_of_the_articles()));
    // Each store has an identity of its own, which is shown and not set.
    let but_the_identity = |text: &Option<String>| {
        let lines = text.as_deref().unwrap().lines();
        let others = lines.filter(|line| !line.trim_start().starts_with("// id: "));
        others.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        but_the_identity(&formatted.text),
        but_the_identity(&plain.text)
    );
}

#[test]
fn a_stick_that_cannot_be_written_here_still_boots_and_is_said_to_be_plain() {
    let mut stick = stick_of_the_articles();
    stick.unwritable = Some("UFS is read-only on Linux".to_owned());
    let sim = running("unwritable", stick);
    let adoption = adopt_now(&sim);
    assert_eq!(adoption.status(), 0);
    assert!(adoption.changed.is_empty());
    says(&adoption, "the keys stay without fingerprints");
    says(&adoption, "UFS is read-only on Linux");
    boots(&sim, &config(&adoption));
}

#[test]
fn a_plain_key_put_on_a_formatted_stick_is_taken_in_too() {
    let mut stick = Stick::new("/dev/da0", "", "4C530001").with_store(&keys()[1..]);
    let (name, bytes) = keys()[0];
    stick.files.insert(format!("{name}.key"), bytes.to_vec());
    let sim = running("mixed", stick);
    let first = adopt_now(&sim);
    assert_eq!(first.status(), 0, "{}", first.complaints());
    assert!(!first.changed.is_empty());
    assert!(adopt_now(&sim).changed.is_empty());
    boots(&sim, &config(&first));
}

#[test]
fn a_key_that_was_written_over_is_not_adopted_in_its_name() {
    let mut stick = stick_of_format_1();
    let path = "f0.lan.buetow.org:bhyve.key".to_owned();
    stick.files.insert(path, vec![0x77; 32]);
    let sim = running("over", stick).opened_by("zroot/bhyve", [0x77; 32]);
    let adoption = adopt_now(&sim);
    assert_eq!(adoption.status(), 65);
    assert_eq!(config(&adoption).roots.len(), 2);
    says(
        &adoption,
        "none of the generations of f0.lan.buetow.org:bhyve that the store knows",
    );
}

#[test]
fn what_a_person_still_has_to_do_is_said() {
    let sim = running("todo", stick_of_format_1());
    let adoption = adopt_now(&sim);
    for words in [
        "/etc/fstab",
        "zfskeys_enable=NO",
        "tunefs -L F3S_KEYS /dev/da0",
        "f3skeys rehearse",
    ] {
        says(&adoption, words);
    }
}

#[test]
fn no_stick_is_66_and_some_stick_is_not_taken() {
    let sim = running("none", stick_of_format_1());
    sim.reboot("boot-2");
    let adoption = adopt_now(&sim);
    assert_eq!((adoption.status(), &adoption.text), (66, &None));
    says(&adoption, "/dev/da0 (label none, serial 4C530001)");
    let given = adopt_with(&sim, F0, Some("/dev/da0"));
    assert_eq!(config(&given).roots.len(), 3);
    sim.sticks.borrow_mut().clear();
    let adoption = adopt_with(&sim, F0, Some("/dev/da0"));
    assert_eq!(adoption.fault, Some(Fault::NoKeyDevice));
}

#[test]
fn a_suspended_pool_is_said_and_the_others_are_adopted() {
    let sim = running("suspended", stick_of_format_1());
    sim.states
        .borrow_mut()
        .insert("zdata".to_owned(), PoolState::Suspended);
    let adoption = adopt_now(&sim);
    assert_eq!(adoption.status(), 69);
    says(&adoption, "pool zdata: is suspended");
    assert_eq!(config(&adoption).roots.len(), 1);
}

#[test]
fn law_6_a_pool_that_hangs_is_asked_once() {
    let sim = running("hangs", stick_of_format_1());
    sim.hanging.borrow_mut().push("zdata".to_owned());
    let adoption = adopt_now(&sim);
    assert_eq!(adoption.status(), 69);
    says(&adoption, "pool zdata: could not be looked into");
    assert_eq!(config(&adoption).roots.len(), 1);
    assert_eq!(sim.asked_in_vain.get(), 1);
}

#[test]
fn a_root_that_prompts_is_opened_by_the_key_that_does() {
    let sim = running("prompt", stick_of_format_1());
    for root in ["zdata/enc", "zroot/bhyve"] {
        sim.change(root, |d| d.key_location = Some("prompt".to_owned()));
    }
    let config = config(&adopt_now(&sim));
    let keys: Vec<&str> = config.roots.iter().map(|root| root.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "f0.lan.buetow.org:zdata",
            "f1.lan.buetow.org:zdata",
            "f0.lan.buetow.org:bhyve"
        ]
    );
}

#[test]
fn a_root_of_another_key_is_left_out_and_65() {
    let sim = running("strange", stick_of_format_1()).opened_by("zroot/bhyve", [0x77; 32]);
    let adoption = adopt_now(&sim);
    assert_eq!(adoption.status(), 65);
    assert_eq!(config(&adoption).roots.len(), 2);
    says(&adoption, "no key on the store opens it");
}

#[test]
fn a_passphrase_is_left_alone() {
    let sim = running("phrase", stick_of_format_1());
    sim.change("zroot/bhyve", |d| d.key_format = KeyFormat::Passphrase);
    let adoption = adopt_now(&sim);
    assert_eq!(adoption.status(), 0);
    assert_eq!(config(&adoption).roots.len(), 2);
}

#[test]
fn damage_on_the_store_is_named() {
    let mut stick = stick_of_format_1();
    let path = "f0.lan.buetow.org:bhyve.key".to_owned();
    stick.files.get_mut(&path).unwrap()[3] ^= 1;
    let sim = running("damage", stick);
    let adoption = adopt_now(&sim);
    assert_eq!(adoption.status(), 65);
    says(&adoption, "f0.lan.buetow.org:bhyve.key: is damaged");
    assert_eq!(config(&adoption).roots.len(), 3, "the other copy is good");
}

#[test]
fn a_stick_that_cannot_be_read_gives_nothing_to_go_by() {
    let mut stick = stick_of_format_1();
    stick.broken = Some("input/output error".to_owned());
    let adoption = adopt_now(&running("broken", stick));
    assert_eq!((adoption.status(), &adoption.text), (69, &None));
    says(&adoption, "input/output error");
}

#[test]
fn a_stick_that_is_pulled_meanwhile_is_66() {
    let mut stick = stick_of_format_1();
    stick.pulled_after = Some(1);
    let adoption = adopt_now(&running("pulled", stick));
    assert_eq!((adoption.status(), &adoption.text), (66, &None));
}

#[test]
fn another_run_is_waited_for_and_then_left_alone() {
    let sim = running("busy", stick_of_format_1());
    let _lock = f3skeys::marker::try_lock(&sim.run()).unwrap().unwrap();
    assert_eq!(adopt_now(&sim).status(), 75);
    assert!(sim.trace.borrow().is_empty());
}

#[test]
fn a_host_of_linux_is_adopted_as_well() {
    let sim = running("linux", stick_of_format_1());
    let host = sim.directory.join("host");
    fs::remove_dir_all(&host).unwrap();
    lay(
        &sim,
        "etc/exports.d/zfs.exports",
        "/data/nfs *(rw,no_root_squash)\n",
    );
    sim.files
        .borrow_mut()
        .push("/data/nfs/nfs.DO_NOT_REMOVE".into());
    let adoption = adopt_with(&sim, "f0", None);
    assert_eq!(adoption.status(), 0, "{}", adoption.complaints());
    let config = config(&adoption);
    assert_eq!(config.node.as_str(), F0);
    boots(&sim, &config);
}

#[test]
fn law_2_no_key_is_printed() {
    let sim = running("secret", stick_of_format_1());
    let adoption = adopt_now(&sim);
    let all = adoption.complaints() + &adoption.text.unwrap();
    for (_, key) in keys() {
        let hex: String = key.iter().map(|b| format!("{b:02x}")).collect();
        assert!(!all.contains(&hex) && !all.contains(std::str::from_utf8(&key).unwrap()));
    }
    assert!(
        !sim.trace
            .borrow()
            .iter()
            .any(|e| matches!(e, Event::Loaded(_)))
    );
}

/// The services of the gate `nfs`, on a host with these files besides.
fn services(name: &str, files: &[(&str, &str)]) -> Vec<String> {
    let sim = running(name, stick_of_format_1());
    for (path, text) in files {
        lay(&sim, path, text);
    }
    let adoption = adopt_now(&sim);
    let services = config(&adoption).gates[0].services.clone();
    services.iter().map(ToString::to_string).collect()
}

#[test]
fn the_gate_of_nfs_holds_the_services_that_the_host_starts() {
    const NAME: &str = "etc/rc.conf.local";
    let rc = |text| services("services", &[(NAME, text)]);
    assert_eq!(rc(""), [""; 0]);
    assert_eq!(rc("stunnel_enable=YES\n"), [""; 0]);
    assert_eq!(rc("nfs_server_enable=YES\n"), ["nfsd", "mountd"]);
    assert_eq!(
        rc("mountd_enable=YES\nnfs_server_enable=YES\nstunnel_enable=YES\n"),
        ["mountd", "nfsd", "stunnel"]
    );
    let wanted = "etc/systemd/system/multi-user.target.wants/nfs-server.service";
    let linux = services("services-linux", &[(wanted, "")]);
    assert_eq!(linux, ["nfs-server.service"]);
}
