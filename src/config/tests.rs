use super::*;

const GOOD: &str = r#"(
    node: "f0.lan.buetow.org",
    store: (label: "F3S_KEYS", serial: Some("4C530001"), mountpoint: "/keys", wait_seconds: 30),
    roots: [
        (dataset: "zdata/enc",   key: "f0.lan.buetow.org:zdata", role: primary, required: true),
        (dataset: "zroot/bhyve", key: "f0.lan.buetow.org:bhyve", role: primary, required: false),
        (dataset: "zdata/sink/f1", key: "f1.lan.buetow.org:zdata", role: replica, required: true),
    ],
    gates: [
        (name: "nfs", needs: [mounted(path: "/data/nfs", dataset: "zdata/enc/nfsdata")]),
        (name: "failback", needs: [gate("nfs"), writable("zdata/enc/nfsdata"),
            absent("/data/nfs/nfs.NO_AUTO_FAILBACK"), not_promoted(peer: "f1.lan.buetow.org")]),
        (name: "standby", needs: [readonly("zdata/sink/f1"), present("/etc/hosts")]),
    ],
    replicas: [(of: "zdata/enc/nfsdata", node: "f1.lan.buetow.org", dataset: "zdata/sink/f0/x")],
    carp: (gate: "nfs"),
    peers: [(name: "f1.lan.buetow.org", ssh: "root@f1.wg0")],
    min_copies: 1,
)"#;

/// The error of the example with `from` replaced by `to`.
fn refused(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "the example has no {from}");
    let text = GOOD.replacen(from, to, 1);
    Config::parse(&text)
        .expect_err(&format!("{to} was accepted"))
        .to_string()
}

#[test]
fn the_example_is_read() {
    let config = Config::parse(GOOD).unwrap();
    assert_eq!(config.pools(), ["zdata", "zroot"]);
    assert_eq!(config.keys().len(), 3);
    assert_eq!(config.budget, Duration::from_secs(60));
    assert_eq!(config.store.wanted.serial.as_deref(), Some("4C530001"));
    let role = |name: &str| config.role_of(&name.parse().unwrap());
    assert_eq!(role("zdata/enc/nfsdata"), Some(Role::Primary));
    assert_eq!(role("zdata/sink/f1/a/b"), Some(Role::Replica));
    assert_eq!(role("zdata"), None);
}

#[test]
fn syntax_and_unknown_fields_come_with_line_and_column() {
    assert!(refused("roots: [", "roots: [[").starts_with("4:"));
    assert!(refused("mountpoint:", "mountpint:").starts_with("3:"));
    assert!(refused("required: true", "required: true, colour: 1").starts_with("5:"));
    assert!(refused("role: primary,", "").starts_with("5:"));
    assert!(refused(", required: true", "").starts_with("5:"));
    assert!(refused("\"zdata/enc\"", "\"zdata/enc@s\"").starts_with("5:"));
    assert!(refused("mounted(path", "mountd(path").starts_with("10:"));
    assert!(refused("node: \"f0", "noode: \"f0").starts_with("2:"));
}

#[test]
fn a_gate_and_a_root_put_a_replica_on_one_path() {
    let with = |root: &str, gate: &str| {
        let text = GOOD
            .replacen(
                "role: replica, required: true",
                &format!("role: replica, required: true, mountpoint: \"{root}\""),
                1,
            )
            .replacen(
                "readonly(\"zdata/sink/f1\")",
                &format!("mounted(path: \"{gate}\", dataset: \"zdata/sink/f1\")"),
                1,
            );
        Config::parse(&text)
    };
    let config = with("/f1", "/f1").unwrap();
    assert_eq!(
        config.roots[2].mountpoint.as_deref(),
        Some(Path::new("/f1"))
    );
    assert!(with("/f1", "/f1/x").is_err() && with("/f1", "/other").is_err());
}

#[test]
fn contradictions_are_named() {
    for (from, to, says) in [
        ("label: ", "id: \"AB\", label: ", "no identity of a store"),
        (
            "label: ",
            "id: \"0123456789abcdef0123456789abcdeg\", label: ",
            "no identity of a store",
        ),
        ("label: ", "id: \"\", label: ", "no identity of a store"),
        (
            "\"zroot/bhyve\"",
            "\"zdata/enc\"",
            "zdata/enc is named twice",
        ),
        (
            "\"zdata/sink/f1\", ",
            "\"zdata/enc\", ",
            "both a primary and a replica",
        ),
        (
            "\"zroot/bhyve\"",
            "\"zdata/sink/f1/x\"",
            "primary below a replica",
        ),
        (
            "dataset: \"zdata/enc/nfsdata\")]",
            "dataset: \"zdata/other\")]",
            "zdata/other is neither",
        ),
        ("min_copies: 1", "min_copies: 2", "only 1 peers"),
        ("\"/keys\"", "\"keys\"", "`keys` is not an absolute path"),
        ("\"/keys\"", "\"/\"", "`/` is not an absolute path"),
        ("\"/keys\"", "\"/a/../b\"", "without `..`"),
        (
            "path: \"/data/nfs\"",
            "path: \"data/nfs\"",
            "`data/nfs` is not an absolute path",
        ),
        ("absent(\"/data", "absent(\"data", "not an absolute path"),
        ("gate(\"nfs\")", "gate(\"nsf\")", "no gate `nsf`"),
        ("gate(\"nfs\")", "gate(\"failback\")", "needs itself"),
        (
            "carp: (gate: \"nfs\")",
            "carp: (gate: \"carp\")",
            "no gate `carp`",
        ),
        ("name: \"failback\"", "name: \"nfs\"", "nfs is named twice"),
        (
            "needs: [mounted(path: \"/data/nfs\", dataset: \"zdata/enc/nfsdata\")]",
            "needs: []",
            "needs nothing",
        ),
        (
            "writable(\"zdata/enc/nfsdata\")",
            "writable(\"zdata/other\")",
            "zdata/other is neither",
        ),
        (
            "role: primary, required: true",
            "role: primary, required: true, mountpoint: \"/x\"",
            "is for replicas",
        ),
        (
            "role: replica, required: true",
            "role: replica, required: true, mountpoint: \"/x/../etc\"",
            "`/x/../etc` is not an absolute path",
        ),
        (
            "role: replica, required: true",
            "role: replica, required: true, mountpoint: \"/\"",
            "`/` is not an absolute path",
        ),
        (
            "writable(\"zdata/enc/nfsdata\")",
            "fresh_snapshot(dataset: \"zdata/enc\", minutes: 0)",
            "`minutes` is 0",
        ),
        (
            "writable(\"zdata/enc/nfsdata\")",
            "fresh_snapshot(dataset: \"zdata/other\", minutes: 5)",
            "zdata/other is neither",
        ),
        (
            "writable(\"zdata/enc/nfsdata\")",
            "key_loaded(\"zdata/other\")",
            "zdata/other is neither",
        ),
        (
            "writable(\"zdata/enc/nfsdata\")",
            "role(dataset: \"zdata/other\", is: primary)",
            "zdata/other is neither",
        ),
        (
            "replicas: [(of: \"zdata/enc/nfsdata\", node: \"f1.lan.buetow.org\", dataset: \"zdata/sink/f0/x\")],",
            "",
            "nothing to ask about",
        ),
        (
            "carp: (gate: \"nfs\"),",
            "guards: [\"/data/nsf\"],",
            "no gate needs anything mounted on /data/nsf",
        ),
        (
            "carp: (gate: \"nfs\"),",
            "guards: [\"data/nfs\"],",
            "not an absolute path",
        ),
        ("peer: \"f1.", "peer: \"f9.", "not one of the peers"),
        ("node: \"f1.", "node: \"f9.", "not one of the peers"),
        ("node: \"f0.", "node: \"f1.", "this node itself"),
        (
            "of: \"zdata/enc/nfsdata\"",
            "of: \"zdata/sink/f1\"",
            "primary root",
        ),
        (
            "ssh: \"root",
            "ssh: \"-oProxyCommand=x",
            "no ssh destination",
        ),
        ("wait_seconds: 30", "wait_seconds: 50", "at most 45"),
        (
            "label: \"F3S_KEYS\", serial: Some(\"4C530001\"), ",
            "",
            "name the key device",
        ),
        ("\"4C530001\"", "\"\"", "`serial` is empty"),
    ] {
        let error = refused(from, to);
        assert!(error.contains(says), "{to}: {error}");
    }
}

#[test]
fn what_only_promotions_and_services_need_is_read() {
    let more = r#"guards: ["/data/nfs"], carp: (gate: "nfs"),"#;
    let text = GOOD
        .replacen(r#"carp: (gate: "nfs"),"#, more, 1)
        .replacen(
            r#"readonly("zdata/sink/f1")"#,
            r#"writable("zdata/sink/f1")"#,
            1,
        )
        .replacen(
            r#""zdata/enc/nfsdata")]),"#,
            r#""zdata/enc/nfsdata")], services: ["nfsd", "nfs-server.service"]),"#,
            1,
        );
    let config = Config::parse(&text).unwrap();
    assert_eq!(config.guards, [PathBuf::from("/data/nfs")]);
    let services: Vec<&str> = config.gates[0]
        .services
        .iter()
        .map(|s| s.as_str())
        .collect();
    assert_eq!(services, ["nfsd", "nfs-server.service"]);
    for name in ["", "-x", "../nfsd", "a b", "nfsd;reboot", "$(x)"] {
        let bad = text.replacen("\"nfsd\"", &format!("{name:?}"), 1);
        assert!(Config::parse(&bad).is_err(), "{name}");
    }
}

#[test]
fn a_promotion_is_about_what_lies_below_it_and_below_no_other_root() {
    let more = r#"
        (dataset: "zdata/sink/f1/own", key: "f1.lan.buetow.org:zdata", role: replica, required: true),
    ],
    gates"#;
    let config = Config::parse(&GOOD.replacen("],\n    gates", more, 1)).unwrap();
    let role = |name: &str, promoted: &[&str]| {
        let promoted = promoted.iter().map(|name| name.parse().unwrap());
        config.role_now(&name.parse().unwrap(), &promoted.collect())
    };
    let (replica, primary) = (Some(Role::Replica), Some(Role::Primary));
    let root = "zdata/sink/f1";
    for name in [root, "zdata/sink/f1/a", "zdata/sink/f1/a/b"] {
        assert_eq!(role(name, &[]), replica);
        assert_eq!(role(name, &[root]), primary);
        assert_eq!(role(name, &["zdata/sink/f1/own"]), replica);
        assert_eq!(
            role(name, &["zdata/sink/f1/a", "zdata/sink", "zdata"]),
            replica
        );
    }
    for name in ["zdata/sink/f1/own", "zdata/sink/f1/own/a"] {
        assert_eq!(role(name, &[root]), replica);
        assert_eq!(role(name, &["zdata/sink/f1/own"]), primary);
    }
    assert_eq!(role("zdata/sink/f10", &[root]), None);
    assert_eq!(role("zdata/enc", &[]), primary);
}

#[test]
fn no_roots_is_an_error_and_not_a_node_without_secrets() {
    let error = Config::parse(r#"(node: "f0", store: (label: "K"), roots: [])"#).unwrap_err();
    assert!(error.to_string().contains("at least one"), "{error}");
}

#[test]
fn a_file_that_others_may_write_is_refused() {
    assert!(suspicious(0o100_644, 0, true).is_ok());
    assert!(suspicious(0o100_600, 0, true).is_ok());
    for (mode, owner, regular) in [
        (0o100_664, 0, true),
        (0o100_646, 0, true),
        (0o100_644, 1000, true),
        (0o100_644, 0, false),
    ] {
        assert!(suspicious(mode, owner, regular).is_err());
    }
}

/// Through the file itself: every mode, and for root other owners, a link to such a file, and a directory.
#[test]
fn law_9_a_configuration_that_others_may_write_is_not_read() {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};
    let directory = std::env::temp_dir().join(format!("f3skeys-config-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir(&directory).unwrap();
    let (file, link) = (directory.join("f3skeys.ron"), directory.join("link"));
    std::fs::write(&file, GOOD).unwrap();
    symlink(&file, &link).unwrap();
    let is_root = nix::unistd::geteuid().is_root();
    for mode in 0..0o1000 {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let good = is_root && mode & 0o022 == 0;
        for path in [&file, &link] {
            assert_eq!(Config::read(path).is_ok(), good, "{mode:o}");
        }
    }
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    if is_root {
        for owner in [1, 1000, 65534] {
            chown(&file, Some(owner), None).unwrap();
            assert!(Config::read(&file).is_err(), "of user {owner}");
        }
        chown(&file, Some(0), None).unwrap();
        assert!(Config::read(&file).is_ok());
    }
    assert!(Config::read(&directory).is_err());
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_missing_file_is_named() {
    let error = Config::read(Path::new("/nowhere/f3skeys.ron")).unwrap_err();
    assert!(error.to_string().starts_with("/nowhere/f3skeys.ron: "));
}

/// The example with this many gates, each of which needs the next one twice.
fn doubled(gates: usize) -> Result<Config, ConfigError> {
    let gate = |n: usize| {
        let next = n + 1;
        format!("(name: \"g{n}\", needs: [gate(\"g{next}\"), gate(\"g{next}\")]),\n")
    };
    let chain: String = (1..gates).map(gate).collect();
    let last = format!("(name: \"g{gates}\", needs: [present(\"/a\")]),\n");
    Config::parse(&GOOD.replacen("gates: [", &format!("gates: [\n{chain}{last}"), 1))
}

#[test]
fn law_6_gates_that_need_others_again_and_again_are_refused_at_once() {
    for gates in [1, 2, 12] {
        assert!(doubled(gates).is_ok(), "{gates}");
    }
    for gates in [14, 64, 253] {
        let why = doubled(gates).unwrap_err().to_string();
        assert!(why.contains("more than 10000 conditions"), "{why}");
    }
    let why = doubled(254).unwrap_err().to_string();
    assert!(why.contains("at most 256"), "{why}");
    // One that needs two that need each other.
    let circle = "gates: [(name: \"a\", needs: [gate(\"b\")]), (name: \"b\", needs: [gate(\"c\")]),
        (name: \"c\", needs: [gate(\"b\")]),";
    let why = refused("gates: [", circle);
    assert!(why.contains("b needs itself"), "{why}");
}

/// What is left of the example with `from` replaced by `to`.
fn salvaged(from: &str, to: &str) -> Config {
    refused(from, to);
    let config = Config::salvage(&GOOD.replacen(from, to, 1)).unwrap();
    assert!(!config.faults.what.is_empty());
    config
}

fn names(config: &Config) -> Vec<&str> {
    config
        .roots
        .iter()
        .map(|root| root.dataset.as_str())
        .collect()
}

fn closed(config: &Config) -> Vec<&str> {
    config.faults.gates.keys().map(GateName::as_str).collect()
}

#[test]
fn a_configuration_that_holds_together_is_salvaged_whole() {
    assert_eq!(Config::salvage(GOOD), Config::parse(GOOD));
    assert_eq!(Config::parse(GOOD).unwrap().faults, Faults::default());
}

/// A person follows a message and takes out a root that a gate and a replica still name.
#[test]
fn law_5_a_gate_that_names_no_root_keeps_no_root_locked() {
    let root = r#"(dataset: "zdata/enc",   key: "f0.lan.buetow.org:zdata", role: primary, required: true),"#;
    let config = salvaged(root, "");
    assert_eq!(names(&config), ["zroot/bhyve", "zdata/sink/f1"]);
    assert!(config.faults.roots.is_empty());
    // Also what needs such a gate, and nothing else.
    assert_eq!(closed(&config), ["failback", "nfs"]);
    assert_eq!(config.gates.len(), 3);
    assert_eq!(config.carp.unwrap().gate.as_str(), "nfs");
    assert!(config.replicas.is_empty());
}

#[test]
fn law_3_a_root_of_two_minds_is_sealed_as_a_replica_and_stays_locked() {
    let two = r#"(dataset: "zdata/sink/f1", key: "f1.lan.buetow.org:zdata", role: primary, required: true),
        (dataset: "zdata/sink/f1""#;
    let config = salvaged(r#"(dataset: "zdata/sink/f1""#, two);
    assert_eq!(
        names(&config),
        ["zdata/enc", "zroot/bhyve", "zdata/sink/f1"]
    );
    let sink: DatasetName = "zdata/sink/f1".parse().unwrap();
    assert_eq!(config.role_of(&sink), Some(Role::Replica));
    assert!(config.faults.roots.contains_key(&sink));
    let below = r#"(dataset: "zdata/sink/f1/x", key: "f1.lan.buetow.org:zdata", role: primary, required: true),
        (dataset: "zdata/sink/f1""#;
    let config = salvaged(r#"(dataset: "zdata/sink/f1""#, below);
    let below: DatasetName = "zdata/sink/f1/x".parse().unwrap();
    assert_eq!(config.role_of(&below), Some(Role::Replica));
    assert!(
        config
            .roots
            .iter()
            .all(|root| root.dataset != below || root.role == Role::Replica)
    );
    assert!(config.faults.roots.contains_key(&below));
    assert!(!config.faults.roots.contains_key(&sink));
}

/// A root that is named twice alike is what both say.
#[test]
fn law_5_a_root_that_is_named_twice_alike_is_opened() {
    let twice = r#"(dataset: "zroot/bhyve", key: "f0.lan.buetow.org:bhyve", role: primary, required: false),
        (dataset: "zroot/bhyve""#;
    let config = salvaged(r#"(dataset: "zroot/bhyve""#, twice);
    assert_eq!(
        names(&config),
        ["zdata/enc", "zroot/bhyve", "zdata/sink/f1"]
    );
    assert!(config.faults.roots.is_empty());
    assert!(closed(&config).is_empty());
    // With two keys nobody knows which.
    let keys = twice.replacen("f0.lan.buetow.org:bhyve", "f0.lan.buetow.org:other", 1);
    let config = salvaged(r#"(dataset: "zroot/bhyve""#, &keys);
    assert_eq!(config.faults.roots.len(), 1);
}

#[test]
fn law_4_whatever_is_wrong_with_a_gate_it_is_never_open_and_the_others_are() {
    for (from, to, wrong) in [
        (
            r#"gate("nfs"), writable"#,
            r#"gate("nfs2"), writable"#,
            &["failback"][..],
        ),
        (
            r#"present("/etc/hosts")"#,
            r#"present("etc/hosts")"#,
            &["standby"],
        ),
        (
            r#"readonly("zdata/sink/f1")"#,
            r#"gate("standby")"#,
            &["standby"],
        ),
        (
            r#"needs: [readonly("zdata/sink/f1"), present("/etc/hosts")]"#,
            "needs: []",
            &["standby"],
        ),
        (
            r#"(name: "standby""#,
            r#"(name: "nfs""#,
            &["failback", "nfs"],
        ),
        (
            r#"not_promoted(peer: "f1"#,
            r#"not_promoted(peer: "f2"#,
            &["failback"],
        ),
        (r#"(gate: "nfs")"#, r#"(gate: "nsf")"#, &["nsf"]),
    ] {
        let config = salvaged(from, to);
        assert_eq!(closed(&config), wrong, "{to}");
        assert_eq!(config.roots.len(), 3);
        assert!(config.faults.roots.is_empty(), "{to}");
        for name in wrong {
            let gate = config.gate(&name.parse().unwrap()).unwrap();
            assert!(gate.needs.is_empty() && gate.services.is_empty());
        }
        assert!(config.carp.is_some());
    }
}

#[test]
fn law_7_a_wrong_number_of_copies_demands_the_most() {
    let config = salvaged("min_copies: 1", "min_copies: 5");
    assert_eq!(config.min_copies, None);
    let config = salvaged(r#"ssh: "root@f1.wg0""#, r#"ssh: "-oProxyCommand=x""#);
    assert!(config.peers.is_empty() && config.replicas.is_empty());
}

#[test]
fn a_store_that_cannot_be_told_and_no_root_at_all_are_refused_in_any_case() {
    for (from, to) in [
        (r#"label: "F3S_KEYS", serial: Some("4C530001"), "#, ""),
        ("wait_seconds: 30", "wait_seconds: 59"),
        ("roots: [", "rots: ["),
    ] {
        assert!(
            Config::salvage(&GOOD.replacen(from, to, 1)).is_err(),
            "{to}"
        );
    }
    let none = r#"(node: "f0", store: (label: "K"), roots: [])"#;
    assert!(Config::salvage(none).is_err());
}
