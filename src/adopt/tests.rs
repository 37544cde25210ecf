//! Hosts as the f3s articles leave them, and odd ones. Every text that is printed is a
//! configuration: [`configured`] parses each.

use super::facts::{BlockFile, Facts, Proof, Rc, StoreFacts};
use super::infer::infer;
use super::proposal::Proposal;
use crate::config::{Condition, Config, Role};
use crate::device::{Candidate, Filesystem, Kind as FsKind};
use crate::exit::Fault;
use crate::host::binds::{Bind, When};
use crate::host::fstab;
use crate::host::zfs_generator::{Cache, Cached};
use crate::key::Fingerprint;
use crate::names::KeyName;
use crate::plan::Pool;
use crate::report::Severity;
use crate::store::state::Standing;
use crate::zfs::tests::dataset as plain;
use crate::zfs::{Dataset, KeyFormat, KeyStatus, Mountpoint, Source};
use std::path::Path;

const F0: &str = "f0.lan.buetow.org";
const F1: &str = "f1.lan.buetow.org";

fn below(name: &str, root: &str) -> Dataset {
    Dataset {
        encryption_root: Some(root.parse().unwrap()),
        key_status: KeyStatus::Available,
        key_format: KeyFormat::Raw,
        ..plain(name)
    }
}

fn root(name: &str, location: &str) -> Dataset {
    Dataset {
        key_location: Some(location.to_owned()),
        ..below(name, name)
    }
}

fn at(path: &str, dataset: Dataset) -> Dataset {
    Dataset {
        mountpoint: Mountpoint::Path(path.into()),
        mountpoint_source: Source::Local,
        mounted: true,
        ..dataset
    }
}

fn read_only(dataset: Dataset) -> Dataset {
    Dataset {
        readonly: true,
        readonly_source: Source::Local,
        ..dataset
    }
}

fn file(key: &str) -> String {
    format!("file:///keys/{key}.key")
}

fn opens(key: &str) -> Proof {
    Proof::Opens {
        key: key.parse().unwrap(),
        fingerprint: Fingerprint::of(&[7; 32]),
        standing: Standing::Current,
    }
}

fn stick(node: &str, label: Option<&str>, serial: Option<&str>) -> Candidate {
    Candidate {
        node: node.into(),
        serial: serial.map(str::to_owned),
        filesystems: vec![Filesystem {
            kind: FsKind::Ufs2,
            label: label.map(str::to_owned),
        }],
        ..Candidate::default()
    }
}

fn store(device: Candidate, keys: &[&str]) -> StoreFacts {
    StoreFacts {
        id: Some("ab".repeat(16)),
        filesystem: device.filesystems[0].clone(),
        disks: vec![device.clone()],
        device,
        mountpoint: "/keys".into(),
        mountpoint_why: "keylocation of zdata/enc names it".to_owned(),
        keys: keys.iter().map(|key| key.parse().unwrap()).collect(),
    }
}

/// The six keys that are on every stick of the articles.
fn six_keys() -> Vec<String> {
    let of = |name: &str| ["f0", "f1", "f2"].map(|f| format!("{f}.lan.buetow.org:{name}"));
    [of("bhyve"), of("zdata")].concat()
}

fn host(name: &str, datasets: Vec<Dataset>) -> Facts {
    let keys = six_keys();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let mut facts = Facts {
        host_name: name.to_owned(),
        config_path: "/usr/local/etc/f3skeys.ron".to_owned(),
        store: Some(store(stick("/dev/da0", None, Some("4C530001")), &keys)),
        ..Facts::default()
    };
    for dataset in datasets {
        let pool = facts
            .pools
            .entry(dataset.name.pool().to_owned())
            .or_insert_with(|| Pool::Seen(Vec::new()));
        if let Pool::Seen(seen) = pool {
            seen.push(dataset);
        }
    }
    facts
}

fn proven(mut facts: Facts, proofs: &[(&str, Proof)]) -> Facts {
    for (root, proof) in proofs {
        facts.proofs.insert(root.parse().unwrap(), proof.clone());
    }
    facts
}

fn exporting(mut facts: Facts, path: &str) -> Facts {
    facts.exports.insert(path.into(), "/etc/exports".to_owned());
    facts
}

/// f0 at the end of the articles: an unlabelled stick in fstab, zfskeys, NFS on /data/nfs.
fn f0() -> Facts {
    let zdata = format!("{F0}:zdata");
    let bhyve = format!("{F0}:bhyve");
    let facts = host(
        F0,
        vec![
            at("/data", plain("zdata")),
            at("/data/enc", root("zdata/enc", &file(&zdata))),
            at("/data/nfs", below("zdata/enc/nfsdata", "zdata/enc")),
            at("/zroot", plain("zroot")),
            at("/zroot/bhyve", root("zroot/bhyve", &file(&bhyve))),
        ],
    );
    let facts = proven(
        exporting(facts, "/data/nfs"),
        &[("zdata/enc", opens(&zdata)), ("zroot/bhyve", opens(&bhyve))],
    );
    Facts {
        rc: Rc {
            hostname: Some(F0.to_owned()),
            zfskeys: true,
            zfskeys_datasets: ["zdata/enc", "zdata/enc/nfsdata", "zroot/bhyve"]
                .map(str::to_owned)
                .to_vec(),
            carp: true,
        },
        fstab: fstab::lines("/dev/da0 /keys ufs rw 0 0\n"),
        block_file: Some(BlockFile {
            path: "/data/nfs/nfs.NO_AUTO_FAILBACK".into(),
            named_by: "/usr/local/bin/carp-auto-failback.sh".to_owned(),
        }),
        ..facts
    }
}

/// f1: its own roots, and below the sink what f0 sends.
fn f1() -> Facts {
    let (zdata, bhyve, f0_zdata, f0_bhyve) = (
        format!("{F1}:zdata"),
        format!("{F1}:bhyve"),
        format!("{F0}:zdata"),
        format!("{F0}:bhyve"),
    );
    let nfsdata = "zdata/sink/f0/zdata/enc/nfsdata";
    let fedora = "zdata/sink/f0/zroot/bhyve/fedora";
    let facts = host(
        F1,
        vec![
            at("/data", plain("zdata")),
            at("/data/enc", root("zdata/enc", &file(&zdata))),
            at("/data/sink", plain("zdata/sink")),
            read_only(at("/data/nfs", root(nfsdata, &file(&f0_zdata)))),
            root(fedora, "prompt"),
            at("/zroot/bhyve", root("zroot/bhyve", &file(&bhyve))),
        ],
    );
    let facts = proven(
        exporting(facts, "/data/nfs"),
        &[
            ("zdata/enc", opens(&zdata)),
            (nfsdata, opens(&f0_zdata)),
            (fedora, opens(&f0_bhyve)),
            ("zroot/bhyve", opens(&bhyve)),
        ],
    );
    Facts {
        rc: Rc {
            zfskeys: true,
            zfskeys_datasets: ["zdata/enc", "zroot/bhyve", nfsdata]
                .map(str::to_owned)
                .to_vec(),
            carp: true,
            ..Rc::default()
        },
        ..facts
    }
}

/// The configuration that is printed, read again.
fn configured(facts: &Facts) -> (Config, Proposal) {
    let proposal = infer(facts);
    let text = proposal.text().expect("a text");
    let config = Config::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    (config, proposal)
}

fn roles(config: &Config) -> Vec<(&str, &str, Role, bool)> {
    let line = |root: &'_ crate::config::Root| (root.role, root.required);
    config
        .roots
        .iter()
        .map(|root| {
            let (role, required) = line(root);
            (root.dataset.as_str(), root.key.as_str(), role, required)
        })
        .collect()
}

fn says(proposal: &Proposal, subject: &str, words: &str) {
    let said = proposal
        .findings
        .iter()
        .any(|f| f.subject.contains(subject) && f.text().contains(words));
    let all: String = proposal.findings.iter().map(|f| f.text()).collect();
    assert!(said, "no `{subject}: {words}` in:\n{all}");
}

fn comments(proposal: &Proposal, words: &str) {
    let text = proposal.text().unwrap();
    let said = text
        .lines()
        .any(|line| line.trim_start().starts_with("//") && line.contains(words));
    assert!(said, "no comment with `{words}` in:\n{text}");
}

#[test]
fn f0_becomes_the_configuration_of_the_design() {
    let (config, proposal) = configured(&f0());
    assert_eq!(config.node.as_str(), F0);
    assert_eq!(config.store.wanted.serial.as_deref(), Some("4C530001"));
    assert_eq!(config.store.wanted.label, None);
    assert_eq!(
        roles(&config),
        [
            ("zdata/enc", "f0.lan.buetow.org:zdata", Role::Primary, true),
            (
                "zroot/bhyve",
                "f0.lan.buetow.org:bhyve",
                Role::Primary,
                false
            ),
        ]
    );
    let nfsdata = || "zdata/enc/nfsdata".parse().unwrap();
    assert_eq!(
        config.gates[0].needs,
        [Condition::Mounted {
            path: "/data/nfs".into(),
            dataset: nfsdata()
        }]
    );
    assert_eq!(
        config.gates[1].needs,
        [
            Condition::Gate("nfs".parse().unwrap()),
            Condition::Writable(nfsdata()),
            Condition::Absent("/data/nfs/nfs.NO_AUTO_FAILBACK".into()),
        ]
    );
    says(&proposal, "/etc/fstab", "take the line out");
    says(&proposal, "/etc/rc.conf", "zfskeys_enable=NO");
    says(&proposal, "/dev/da0", "tunefs -L F3S_KEYS /dev/da0");
    says(
        &proposal,
        "zdata/enc/nfsdata",
        "no encryption root of this name",
    );
    says(&proposal, "f3skeys.ron", "f3skeys rehearse");
    comments(&proposal, "carp: (gate: \"nfs\")");
    comments(&proposal, "root@f1.lan.buetow.org");
    assert_eq!(proposal.fault, None);
}

#[test]
fn the_texts_for_f0_and_f1_are_as_they_were_read_by_a_person() {
    for (facts, golden) in [
        (f0(), include_str!("../../tests/fixtures/adopt/f0.ron")),
        (f1(), include_str!("../../tests/fixtures/adopt/f1.ron")),
    ] {
        let (_, proposal) = configured(&facts);
        let text = proposal.text().unwrap();
        assert_eq!(text, golden, "{text}");
    }
}

#[test]
fn f1_has_what_f0_sends_as_replicas_and_its_gate_on_one() {
    let (config, proposal) = configured(&f1());
    assert_eq!(
        roles(&config),
        [
            ("zdata/enc", "f1.lan.buetow.org:zdata", Role::Primary, false),
            (
                "zdata/sink/f0/zdata/enc/nfsdata",
                "f0.lan.buetow.org:zdata",
                Role::Replica,
                true
            ),
            (
                "zdata/sink/f0/zroot/bhyve/fedora",
                "f0.lan.buetow.org:bhyve",
                Role::Replica,
                false
            ),
            (
                "zroot/bhyve",
                "f1.lan.buetow.org:bhyve",
                Role::Primary,
                false
            ),
        ]
    );
    assert_eq!(config.gates.len(), 1, "a replica takes no service back");
    let needs = &config.gates[0].needs;
    assert!(
        matches!(&needs[..], [Condition::Mounted { dataset, .. }] if dataset.as_str().ends_with("nfsdata"))
    );
    assert_eq!(proposal.fault, None);
}

#[test]
fn nfsdata_as_a_root_of_its_own_is_one_more_root() {
    let mut facts = f0();
    let zdata = format!("{F0}:zdata");
    if let Some(Pool::Seen(datasets)) = facts.pools.get_mut("zdata") {
        datasets[2] = at("/data/nfs", root("zdata/enc/nfsdata", &file(&zdata)));
    }
    let facts = proven(facts, &[("zdata/enc/nfsdata", opens(&zdata))]);
    let (config, proposal) = configured(&facts);
    let found = roles(&config);
    assert_eq!(found.len(), 3);
    assert_eq!(found[1].2, Role::Primary);
    assert!(found[1].3 && !found[0].3, "what is served is required");
    assert!(
        !proposal
            .findings
            .iter()
            .any(|f| f.subject == "zdata/enc/nfsdata")
    );
}

#[test]
fn no_roots_and_no_store_give_no_configuration_and_say_why() {
    let none = infer(&host(F0, vec![plain("zdata")]));
    assert_eq!((none.text(), none.fault), (None, Some(Fault::Unavailable)));
    says(&none, "f3skeys.ron", "new-key");
    let no_store = infer(&Facts {
        store: None,
        fault: Some(Fault::NoKeyDevice),
        ..f0()
    });
    assert_eq!(no_store.text(), None);
    assert_eq!(no_store.fault, Some(Fault::NoKeyDevice));
    let nameless = infer(&Facts {
        host_name: String::new(),
        rc: Rc::default(),
        ..f0()
    });
    assert_eq!(nameless.text(), None);
    says(&nameless, "node", "no name");
}

#[test]
fn a_short_host_name_is_the_owner_of_the_same_host() {
    let (config, proposal) = configured(&Facts {
        host_name: "f0".to_owned(),
        rc: Rc::default(),
        ..f0()
    });
    assert_eq!(config.node.as_str(), F0);
    assert!(config.roots.iter().all(|root| root.role == Role::Primary));
    comments(&proposal, "DECIDE: is this node f0.lan.buetow.org?");
}

#[test]
fn an_unknown_owner_makes_replicas_and_is_said() {
    let (config, proposal) = configured(&Facts {
        host_name: "store9".to_owned(),
        rc: Rc::default(),
        ..f0()
    });
    assert_eq!(config.node.as_str(), "store9");
    assert!(config.roots.iter().all(|root| root.role == Role::Replica));
    says(
        &proposal,
        "node store9",
        "no key on the store belongs to it",
    );
    comments(&proposal, "DECIDE: no key on the store belongs to store9");
    assert_eq!(config.gates.len(), 1);
}

#[test]
fn two_roots_may_share_a_key_and_names_may_have_spaces() {
    let key = format!("{F0}:zdata");
    let facts = host(
        F0,
        vec![
            at("/a b", root("z/a b", &file(&key))),
            at("/c \"d\"", root("z/c", &file(&key))),
        ],
    );
    let facts = proven(facts, &[("z/a b", opens(&key)), ("z/c", opens(&key))]);
    let (config, _) = configured(&exporting(exporting(facts, "/a b/x"), "/c \"d\""));
    assert_eq!(config.keys().len(), 1);
    assert_eq!(config.gates[0].needs.len(), 2);
    assert!(matches!(
        &config.gates[0].needs[1],
        Condition::Mounted { path, .. } if path == Path::new("/c \"d\"")
    ));
}

#[test]
fn formats_that_no_store_keeps_are_left_out_with_a_comment() {
    for format in [KeyFormat::Hex, KeyFormat::Passphrase] {
        let mut facts = f0();
        if let Some(Pool::Seen(datasets)) = facts.pools.get_mut("zroot") {
            datasets[1].key_format = format;
        }
        let (config, proposal) = configured(&facts);
        assert_eq!(config.roots.len(), 1);
        comments(
            &proposal,
            &format!("zroot/bhyve is left out, because its key is in {format} format"),
        );
        assert_eq!(proposal.fault, None);
    }
}

#[test]
fn a_root_that_no_key_opens_is_a_comment_and_65() {
    let facts = proven(f0(), &[("zroot/bhyve", Proof::NoneOpens)]);
    let (config, proposal) = configured(&facts);
    assert_eq!(config.roots.len(), 1);
    comments(
        &proposal,
        "no key on the store opens it; keylocation names f0.lan.buetow.org:bhyve",
    );
    assert_eq!(proposal.fault, Some(Fault::BadKey));
    let odd = root("zroot/bhyve", "file:///keys/bhyve.key");
    let mut facts = facts;
    facts
        .pools
        .insert("zroot".to_owned(), Pool::Seen(vec![odd]));
    says(&infer(&facts), "zroot/bhyve", "not called OWNER:NAME.key");
}

#[test]
fn a_key_that_could_not_be_tried_is_taken_at_its_word_and_said_to_be_unproven() {
    let silent = Proof::NotAsked("no answer in time".to_owned());
    let (config, proposal) = configured(&proven(f0(), &[("zroot/bhyve", silent.clone())]));
    assert_eq!(config.roots[1].key.as_str(), "f0.lan.buetow.org:bhyve");
    comments(
        &proposal,
        "DECIDE: not proven that it opens the root: no answer in time",
    );
    assert_eq!(proposal.fault, Some(Fault::Unavailable));
    // Without a word to take, it is not guessed.
    let (config, proposal) = configured(&proven(
        f1(),
        &[("zdata/sink/f0/zroot/bhyve/fedora", silent)],
    ));
    assert_eq!(config.roots.len(), 3);
    assert_eq!(proposal.fault, Some(Fault::Unavailable));
}

#[test]
fn what_opens_wins_over_what_keylocation_names() {
    let (config, proposal) = configured(&proven(
        f0(),
        &[("zdata/enc", opens(&format!("{F0}:bhyve")))],
    ));
    assert_eq!(config.roots[0].key.as_str(), "f0.lan.buetow.org:bhyve");
    comments(
        &proposal,
        "keylocation names f0.lan.buetow.org:zdata, which does not open it",
    );
}

#[test]
fn pools_that_were_not_seen_are_named() {
    for (pool, words) in [
        (Pool::Suspended, "is suspended"),
        (Pool::NotSeen("no answer".to_owned()), "no answer"),
        (Pool::NotImported, "not imported"),
    ] {
        let mut facts = f0();
        facts.pools.insert("zdata".to_owned(), pool);
        let (config, proposal) = configured(&facts);
        assert_eq!(config.roots.len(), 1);
        says(&proposal, "pool zdata", words);
        says(
            &proposal,
            "zdata/enc",
            "no encryption root of this name was seen",
        );
        assert_eq!(proposal.fault, Some(Fault::Unavailable));
    }
}

#[test]
fn law_9_a_replica_gets_the_place_that_is_set_here_and_none_that_was_received() {
    let sources = [
        (Source::Local, Some("/copy"), "mountpoint, because"),
        (Source::Received, None, "DECIDE: its mountpoint is /copy"),
        (Source::Default, None, "replica, because"),
        (
            Source::Inherited("z".parse().unwrap()),
            None,
            "replica, because",
        ),
    ];
    for (source, proposed, says) in sources {
        let key = format!("{F0}:zdata");
        let replica = Dataset {
            mountpoint_source: source.clone(),
            ..at("/copy", root("z/sink/r", &file(&key)))
        };
        let facts = proven(host(F1, vec![replica]), &[("z/sink/r", opens(&key))]);
        let (config, proposal) = configured(&facts);
        let found = config.roots[0].mountpoint.as_deref();
        assert_eq!(found, proposed.map(Path::new), "{source:?}");
        comments(&proposal, says);
    }
}

/// The file could only name another place.
#[test]
fn law_9_a_place_that_no_text_can_name_is_not_proposed() {
    use std::os::unix::ffi::OsStrExt;
    let odd = Path::new(std::ffi::OsStr::from_bytes(b"/copy\xff"));
    let key = format!("{F0}:zdata");
    let replica = Dataset {
        mountpoint: Mountpoint::Path(odd.to_owned()),
        ..at("/copy", root("z/sink/r", &file(&key)))
    };
    let facts = proven(host(F1, vec![replica]), &[("z/sink/r", opens(&key))]);
    let (config, proposal) = configured(&facts);
    assert_eq!(config.roots[0].mountpoint, None);
    comments(&proposal, "DECIDE: its mountpoint is /copy");
}

#[test]
fn everything_below_a_replica_is_one() {
    let (own, other) = (format!("{F0}:zdata"), format!("{F1}:zdata"));
    let facts = host(
        F0,
        vec![root("z/r", &file(&other)), root("z/r/own", &file(&own))],
    );
    let facts = proven(facts, &[("z/r", opens(&other)), ("z/r/own", opens(&own))]);
    let (config, proposal) = configured(&facts);
    assert!(config.roots.iter().all(|root| root.role == Role::Replica));
    comments(&proposal, "replica, because it is below the replica z/r");
}

#[test]
fn a_received_root_is_known_by_readonly_and_prompt() {
    let key = format!("{F0}:zdata");
    let received = read_only(root("z/r", "prompt"));
    let written = root("z/w", "prompt");
    let facts = host(F0, vec![received, written]);
    let facts = proven(facts, &[("z/r", opens(&key)), ("z/w", opens(&key))]);
    let (config, proposal) = configured(&facts);
    assert_eq!(config.roots[0].role, Role::Replica);
    assert_eq!(config.roots[1].role, Role::Primary);
    comments(
        &proposal,
        "DECIDE: a replica is made read-only at the next boot",
    );
    // A sink above is enough, even for a key of one's own; then a person looks.
    let facts = host(F0, vec![root("z/sink/f1/x", &file(&key))]);
    let (config, proposal) = configured(&proven(facts, &[("z/sink/f1/x", opens(&key))]));
    assert_eq!(config.roots[0].role, Role::Replica);
    comments(&proposal, "replica, because it is below z/sink");
    comments(&proposal, "DECIDE: a replica is made read-only");
    // A pool may be called sink; only what lies below a dataset of the name was received.
    let facts = proven(
        host(F0, vec![root("sink/a", &file(&key))]),
        &[("sink/a", opens(&key))],
    );
    assert_eq!(configured(&facts).0.roots[0].role, Role::Primary);
}

#[test]
fn where_nothing_is_exported_every_root_is_required() {
    let (config, proposal) = configured(&Facts {
        exports: Default::default(),
        ..f0()
    });
    assert!(config.gates.is_empty());
    assert!(config.roots.iter().all(|root| root.required));
    comments(&proposal, "No gates, because");
}

#[test]
fn an_export_of_what_no_root_opens_gets_no_gate() {
    let (config, proposal) = configured(&exporting(f0(), "/data/open"));
    assert_eq!(config.gates[0].needs.len(), 1);
    says(
        &proposal,
        "/data/open",
        "on zdata, which no configured root opens",
    );
}

#[test]
fn two_file_systems_for_one_place_are_told_apart_by_what_is_mounted_or_not_at_all() {
    let mut facts = f1();
    let other = Dataset {
        mounted: false,
        ..at("/data/nfs", below("zdata/enc/old", "zdata/enc"))
    };
    if let Some(Pool::Seen(datasets)) = facts.pools.get_mut("zdata") {
        datasets.push(other);
    }
    let (config, _) = configured(&facts);
    assert_eq!(config.gates[0].needs.len(), 1);
    if let Some(Pool::Seen(datasets)) = facts.pools.get_mut("zdata") {
        datasets
            .iter_mut()
            .for_each(|dataset| dataset.mounted = false);
    }
    let (config, proposal) = configured(&facts);
    assert!(config.gates.is_empty());
    says(&proposal, "/data/nfs", "all belong there");
}

#[test]
fn every_way_to_name_a_stick_gives_a_configuration() {
    for label in [None, Some("F3S_KEYS"), Some("my \"keys\"\n(node: 1)")] {
        for serial in [None, Some("4C530001"), Some("a\\b")] {
            let device = stick("/dev/da0", label, serial);
            let keys = six_keys();
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            let (config, proposal) = configured(&Facts {
                store: Some(store(device, &keys)),
                ..f0()
            });
            let expected = match (label, serial) {
                (None, None) => Some("F3S_KEYS"),
                _ => label,
            };
            assert_eq!(config.store.wanted.label.as_deref(), expected);
            assert_eq!(config.store.wanted.serial.as_deref(), serial);
            let nameless = label.is_none() && serial.is_none();
            assert_eq!(proposal.fault, nameless.then_some(Fault::Unavailable));
        }
    }
}

#[test]
fn a_stick_that_its_name_does_not_tell_from_another_is_no_success() {
    let device = stick("/dev/da0", Some("F3S_KEYS"), None);
    let mut same = store(device, &["f0.lan.buetow.org:zdata"]);
    same.disks.push(stick("/dev/da1", Some("F3S_KEYS"), None));
    let (_, proposal) = configured(&Facts {
        store: Some(same),
        ..f0()
    });
    says(&proposal, "/dev/da0", "nothing but its node tells it");
    assert_eq!(proposal.fault, Some(Fault::Unavailable));
}

#[test]
fn a_linux_host_with_ext_is_told_how_to_label_it() {
    let mut device = stick("/dev/sdb1", None, Some("4C530001"));
    device.filesystems[0].kind = FsKind::Ext;
    let (config, proposal) = configured(&Facts {
        store: Some(store(device, &["f0.lan.buetow.org:zdata"])),
        config_path: "/etc/f3skeys.ron".to_owned(),
        rc: Rc::default(),
        ..f0()
    });
    assert_eq!(config.node.as_str(), F0);
    says(&proposal, "/dev/sdb1", "e2label /dev/sdb1 F3S_KEYS");
    comments(&proposal, "/etc/f3skeys.ron");
}

#[test]
fn an_unfinished_rotation_is_for_a_person_to_see() {
    let key: KeyName = format!("{F0}:zdata").parse().unwrap();
    let staged = Proof::Opens {
        key,
        fingerprint: Fingerprint::of(&[8; 32]),
        standing: Standing::Staged,
    };
    let (_, proposal) = configured(&proven(f0(), &[("zdata/enc", staged)]));
    comments(&proposal, "DECIDE: it is not the key's current generation");
}

#[test]
fn a_backup_copy_is_not_proposed_as_a_root() {
    let mut facts = f0();
    let original = Dataset {
        mountpoint: Mountpoint::Path("/data/nfs".into()),
        mounted: true,
        ..below("zdata/enc/nfsdata", "zdata/enc")
    };
    let copy = Dataset {
        mountpoint_source: Source::Received,
        mounted: false,
        ..Dataset {
            name: "zusb/enc/nfsdata".parse().unwrap(),
            encryption_root: Some("zusb/enc".parse().unwrap()),
            ..original.clone()
        }
    };
    if let Some(Pool::Seen(datasets)) = facts.pools.get_mut("zdata") {
        datasets.retain(|d| d.name != original.name);
        datasets.push(original);
    }
    let root = root("zusb/enc", "prompt");
    facts
        .pools
        .insert("zusb".to_owned(), Pool::Seen(vec![root, copy]));
    let proposal = infer(&facts);
    let is_named = |name: &str| {
        proposal
            .roots
            .iter()
            .any(|e| e.root.dataset.as_str() == name)
    };
    assert!(is_named("zdata/enc") && !is_named("zusb/enc"));
    let left_out = proposal
        .left_out
        .iter()
        .find(|l| l.dataset.as_str() == "zusb/enc");
    assert!(left_out.unwrap().why.contains("backup copy"));
}

#[test]
fn zfs_mount_generator_is_told_where_it_loads_keys_of_ours() {
    let cached = |root: &str| Cached {
        dataset: root.parse().unwrap(),
        root: Some(root.parse().unwrap()),
        unit: None,
        stops: false,
    };
    for (root, told) in [("zdata/enc", 1), ("zdata/other", 0)] {
        let mut facts = f0();
        facts.cache = Some(Cache {
            lines: vec![cached(root)],
            odd: Vec::new(),
        });
        let findings = infer(&facts).findings;
        let found = findings
            .iter()
            .filter(|f| f.subject == "zfs-mount-generator");
        assert_eq!(found.count(), told, "{root}");
    }
}

#[test]
fn an_export_of_a_bind_gets_the_gate_of_what_is_bound() {
    let mut facts = Facts {
        exports: Default::default(),
        ..f0()
    };
    facts.binds.push(Bind {
        from: "/data/nfs".into(),
        at: "/export".into(),
        named_by: "/etc/fstab".to_owned(),
        when: When::AfterReady,
    });
    let (config, _) = configured(&exporting(facts, "/export"));
    let mut named = config.gates[0].datasets();
    assert!(named.any(|name| name.as_str() == "zdata/enc/nfsdata"));
}

#[test]
fn law_10_a_bind_of_what_is_adopted_is_told_with_its_export() {
    for (from, told) in [("/data/nfs/home", 1), ("/var/tmp", 0)] {
        let mut facts = f0();
        facts.binds = vec![Bind {
            from: from.into(),
            at: "/export".into(),
            named_by: "/etc/fstab".to_owned(),
            when: When::Early,
        }];
        facts.exports = [("/export".into(), "/etc/exports".to_owned())].into();
        let findings = infer(&facts).findings;
        let found = findings.iter().filter(|f| f.subject == "/export");
        let found =
            found.filter(|f| f.severity == Severity::Failure && f.what.contains("/etc/exports"));
        assert_eq!(found.count(), told, "{from}");
    }
}

#[test]
fn a_line_of_fstab_that_mounts_before_the_key_is_there_is_told() {
    let mut facts = f0();
    facts.fstab = fstab::lines("zdata/enc/nfsdata /data/nfs zfs rw 0 0\n");
    let proposal = infer(&facts);
    says(&proposal, "/etc/fstab", "zdata/enc/nfsdata on /data/nfs");
}
