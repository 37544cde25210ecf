//! The boot hooks of hosts that the real installer laid out: quiet when all is well, and with one
//! fault exactly the finding of that fault.

mod hosts;

use f3skeys::config::Config;
use f3skeys::host::InitSystem::{Rc, Systemd};
use f3skeys::host::hooks::hooks;
use f3skeys::report::{Finding, Severity};
use hosts::Tree;
use std::fs;
use std::os::unix::fs::chown;

const FAILURE: Severity = Severity::Failure;
const WARNING: Severity = Severity::Warning;

fn found(tree: &Tree) -> Vec<Finding> {
    hooks(&tree.host(), tree.init)
}

/// This finding and no other, and it says what to do.
fn only(tree: &Tree, severity: Severity, subject: &str, words: &str) {
    let found = found(tree);
    let [finding] = found.as_slice() else {
        panic!("not one finding but {found:#?}");
    };
    assert_eq!(finding.severity, severity, "{finding:?}");
    assert_eq!(finding.subject, subject, "{finding:?}");
    assert!(finding.what.contains(words), "{finding:?}");
    assert!(!finding.remedy.is_empty(), "{finding:?}");
}

#[test]
fn an_installed_host_is_well() {
    assert_eq!(found(&Tree::freebsd("well")), []);
    assert_eq!(found(&Tree::linux("well")), []);
}

#[test]
fn a_bare_host_has_all_to_be_done() {
    for init in [Rc, Systemd] {
        let tree = Tree::of(init, "bare");
        for directory in ["etc", "usr", "boot"] {
            let _ = fs::remove_dir_all(tree.path(directory));
        }
        let found = found(&tree);
        let failures = found.iter().filter(|f| f.severity == FAILURE).count();
        assert!(failures >= 4, "{init:?}: {found:#?}");
    }
}

/// Every file that the boot needs: gone, of others, writable, a link, somewhere else.
#[test]
fn each_file_of_the_boot_is_watched() {
    let of = |init| match init {
        Rc => [
            "/etc/rc.d/f3skeys",
            "/etc/rc.d/f3sready",
            "/usr/local/sbin/f3skeys",
            "/usr/local/etc/f3skeys.ron",
        ]
        .to_vec(),
        Systemd => [
            "/usr/lib/systemd/system/f3skeys.service",
            "/usr/lib/systemd/system/f3sready.service",
            "/usr/lib/systemd/system-generators/f3skeys-generator",
            "/usr/sbin/f3skeys",
            "/etc/f3skeys.ron",
        ]
        .to_vec(),
    };
    for init in [Rc, Systemd] {
        for (number, path) in of(init).into_iter().enumerate() {
            let tree = |fault| Tree::of(init, &format!("{fault}-{number}"));
            let gone = tree("gone");
            only(gone.remove(path), FAILURE, path, "is not there: ");
            let writable = tree("writable");
            only(
                writable.mode(path, 0o777),
                FAILURE,
                path,
                "others may write it (mode 0777)",
            );
            let link = tree("link");
            only(
                link.link(path, "/bin/true"),
                FAILURE,
                path,
                "is not a regular file",
            );
            // Whoever runs the tests without being root cannot give a file away.
            if nix::unistd::geteuid().is_root() {
                let given = tree("given");
                chown(given.path(path), Some(12345), None).unwrap();
                only(&given, FAILURE, path, "belongs to user 12345");
            }
        }
    }
}

#[test]
fn what_is_run_must_be_executable() {
    for (init, path) in [
        (Rc, "/etc/rc.d/f3skeys"),
        (Rc, "/etc/rc.d/f3sready"),
        (Rc, "/etc/rc.d/f3scarp"),
        (Rc, "/usr/local/sbin/f3skeys"),
        (Systemd, "/usr/sbin/f3skeys"),
        (
            Systemd,
            "/usr/lib/systemd/system-generators/f3skeys-generator",
        ),
    ] {
        let tree = Tree::of(init, "executable");
        only(
            tree.mode(path, 0o644),
            FAILURE,
            path,
            "cannot be run (mode 0644)",
        );
    }
}

/// Needs a second file system to write on: `/dev/shm`, or else the build's.
#[test]
fn a_file_on_another_file_system_comes_too_late() {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &std::path::Path| fs::metadata(path).map(|about| about.dev()).ok();
    let tree = Tree::freebsd("elsewhere");
    let elsewhere = ["/dev/shm", env!("CARGO_TARGET_TMPDIR")]
        .map(std::path::Path::new)
        .into_iter()
        .find(|path| device(path).is_some_and(|found| Some(found) != device(&tree.root)))
        .expect("this test needs a file system beside that of the temporary directory");
    let other = elsewhere.join(format!("f3skeys-{}", std::process::id()));
    fs::create_dir(&other).unwrap();
    for name in ["sbin", "etc", "libexec"] {
        let from = tree.path(&format!("/usr/local/{name}"));
        let copied = std::process::Command::new("cp")
            .arg("-a")
            .args([&from, &other.join(name)])
            .status();
        assert!(copied.unwrap().success());
        fs::remove_dir_all(&from).unwrap();
    }
    fs::remove_dir_all(tree.path("/usr/local")).unwrap();
    tree.link("/usr/local", other.to_str().unwrap());
    let found = found(&tree);
    fs::remove_dir_all(&other).unwrap();
    let subjects: Vec<&str> = found.iter().map(|f| f.subject.as_str()).collect();
    assert_eq!(
        subjects,
        ["/usr/local/sbin/f3skeys", "/usr/local/etc/f3skeys.ron"]
    );
    assert!(found.iter().all(|f| f.severity == FAILURE
        && f.what.contains("not on the root file system")
        && f.remedy.contains("root dataset")));
}

#[test]
fn scripts_that_are_not_this_versions() {
    for name in ["f3skeys", "f3sready", "f3scarp"] {
        let path = &format!("/etc/rc.d/{name}");
        let tree = |fault: &str| Tree::freebsd(&format!("{fault}-{name}"));
        let changed = tree("changed");
        only(
            changed.append(path, "# mine\n"),
            WARNING,
            path,
            "is older than this version, or was changed",
        );
        let order = tree("order");
        only(
            order.edit(path, "# REQUIRE: ", "# REQUIRE: LOGIN "),
            FAILURE,
            path,
            "its place in the boot is another",
        );
        let foreign = tree("foreign");
        foreign.put(
            path,
            "#!/bin/sh\n# PROVIDE: f3skeys\nmount /dev/da0 /keys\n",
        );
        only(
            &foreign,
            FAILURE,
            path,
            "an older or foreign script is in the way",
        );
    }
}

#[test]
fn a_second_script_of_our_name() {
    let tree = Tree::freebsd("second");
    let script = "#!/bin/sh\n#\n# PROVIDE:  keys f3skeys\n";
    for path in ["/usr/local/etc/rc.d/keys", "/etc/rc.d/keys"] {
        tree.put(path, script);
        assert_eq!(found(&tree), [], "rc runs no file that is not executable");
        tree.mode(path, 0o755);
        only(&tree, FAILURE, path, "second `f3skeys` for rc");
        tree.remove(path);
    }
    let path = "/usr/local/etc/rc.d/f3sready";
    tree.put(path, "#!/bin/sh\n# PROVIDE: other\n")
        .mode(path, 0o755);
    only(&tree, FAILURE, path, "second `f3sready` for rc");
    tree.put(path, "#!/bin/sh\n# REQUIRE: f3skeys\n");
    tree.link("/etc/rc.d/other", "/usr/local/etc/rc.d/f3sready");
    tree.remove(path).remove("/etc/rc.d/other");
    tree.put(
        "/etc/rc.d/nfsd",
        "#!/bin/sh\n# REQUIRE: f3skeys\n# PROVIDE: nfsd\n",
    );
    tree.mode("/etc/rc.d/nfsd", 0o755);
    assert_eq!(found(&tree), [], "who comes after ours is no rival");
}

#[test]
fn the_variables_of_rc() {
    let enable = |name: &str, from: &str, to: &str| {
        let tree = Tree::freebsd(name);
        tree.edit("/etc/rc.conf", from, to);
        tree
    };
    let on = "f3skeys_enable=\"YES\"";
    only(
        &enable("off", on, ""),
        FAILURE,
        "f3skeys_enable",
        "is not YES, so rc skips /etc/rc.d/f3skeys",
    );
    only(
        &enable("no", on, "f3skeys_enable=NO"),
        FAILURE,
        "f3skeys_enable",
        "is not YES",
    );
    only(
        &enable("dynamic", on, "f3skeys_enable=${x}"),
        FAILURE,
        "f3skeys_enable",
        "cannot tell",
    );
    only(
        &enable("zfs", "zfs_enable=\"YES\"", ""),
        FAILURE,
        "zfs_enable",
        "is not YES",
    );
    assert_eq!(found(&enable("lower", on, "f3skeys_enable=true")), []);
    // Only f3skeys reads its own file, so f3sready would not run.
    let half = enable("half", on, "");
    half.put("/etc/rc.conf.d/f3skeys", on);
    only(
        &half,
        FAILURE,
        "f3skeys_enable",
        "rc skips /etc/rc.d/f3sready",
    );
    half.put("/etc/rc.conf.d/f3sready", on);
    assert_eq!(found(&half), []);
}

#[test]
fn another_program_by_f3skeys_command() {
    let tree = Tree::freebsd("command");
    tree.append("/etc/rc.conf", "f3skeys_command=/sbin/f3skeys\n");
    only(
        &tree,
        FAILURE,
        "/sbin/f3skeys",
        "the scripts have no program to run",
    );
    tree.put("/sbin/f3skeys", "").mode("/sbin/f3skeys", 0o755);
    assert_eq!(found(&tree), []);
    tree.append("/etc/rc.conf", "f3skeys_command=$HOME/f3skeys\n");
    only(&tree, FAILURE, "f3skeys_command", "cannot tell");
}

#[test]
fn the_lesser_files_of_freebsd() {
    for (path, words) in [
        (
            "/usr/local/etc/devd/f3skeys.conf",
            "does not finish the boot by itself",
        ),
        ("/usr/local/etc/cron.d/f3skeys", "stops no service"),
        ("/usr/local/libexec/f3skeys-alone", "stops no service"),
    ] {
        let tree = Tree::freebsd("lesser");
        tree.append(path, "# mine\n");
        only(&tree, WARNING, path, "was changed");
        only(tree.remove(path), WARNING, path, words);
    }
    let tree = Tree::freebsd("alone");
    let path = "/usr/local/libexec/f3skeys-alone";
    only(tree.mode(path, 0o644), FAILURE, path, "cannot be run");
    only(tree.mode(path, 0o757), FAILURE, path, "others may write it");
    let tree = Tree::freebsd("no-carp");
    let path = "/etc/rc.d/f3scarp";
    only(
        tree.remove(path),
        WARNING,
        path,
        "a node that CARP holds in INIT never takes an address",
    );
}

#[test]
fn drop_ins_that_are_not_in_effect() {
    let tree = Tree::linux("generated");
    let generated = "/run/systemd/generator";
    // A systemd runs, and its generators made nothing of ours.
    tree.directory(generated);
    let units = [
        "nfs-mountd.service",
        "nfs-server.service",
        "zfs-mount.service",
    ];
    let subjects: Vec<_> = found(&tree).into_iter().map(|f| f.subject).collect();
    assert_eq!(subjects, units);
    let place = |unit: &str| format!("{generated}/{unit}.d/f3skeys.conf");
    for unit in units {
        let drop_in = tree.path(&format!("/usr/lib/f3skeys/drop-ins/{unit}.d/f3skeys.conf"));
        tree.link(&place(unit), drop_in.to_str().unwrap());
    }
    assert_eq!(found(&tree), []);
    tree.link(&place(units[1]), "/nowhere");
    only(&tree, WARNING, units[1], "its drop-in is not in effect");
    // Not enabled is another matter, which is complained about by itself.
    tree.remove("/etc/systemd/system/zfs.target.wants/f3skeys.service");
    only(&tree, WARNING, "f3skeys.service", "is not enabled");
}

#[test]
fn a_timer_that_nothing_pulls_in() {
    let tree = Tree::linux("disabled-timer");
    tree.remove("/etc/systemd/system/timers.target.wants/f3skeys-reconcile.timer");
    only(
        &tree,
        WARNING,
        "f3skeys-reconcile.timer",
        "is not enabled: a gate that closes stops no service",
    );
}

#[test]
fn units_that_are_masked_or_hidden() {
    for name in ["f3skeys.service", "f3sready.service"] {
        for directory in [
            "/etc/systemd/system",
            "/run/systemd/system",
            "/usr/local/lib/systemd/system",
        ] {
            let tree = Tree::linux(&format!("hidden-{name}"));
            let path = &format!("{directory}/{name}");
            tree.link(path, "/dev/null");
            only(&tree, FAILURE, path, "masks this version's");
            let foreign =
                "[Service]\nExecStart=/root/load-keys.sh\n# ExecStart=/usr/sbin/f3skeys boot\n";
            tree.remove(path).put(path, foreign);
            only(&tree, FAILURE, path, "a foreign file is in the way");
            tree.remove(path);
            let own =
                fs::read_to_string(tree.path(&format!("/usr/lib/systemd/system/{name}"))).unwrap();
            tree.put(path, &own);
            assert_eq!(found(&tree), [], "a true copy does no harm");
            tree.append(path, "TimeoutStartSec=300\n");
            only(
                &tree,
                WARNING,
                path,
                "is older than this version, or was changed",
            );
        }
    }
}

/// What systemd prefers is judged instead of ours, not besides.
#[test]
fn of_two_units_the_preferred_counts() {
    let tree = Tree::linux("preferred");
    let (ours, preferred) = (
        "/usr/lib/systemd/system/f3skeys.service",
        "/etc/systemd/system/f3skeys.service",
    );
    let text = fs::read_to_string(tree.path(ours)).unwrap();
    tree.link(preferred, "/dev/null").append(ours, "# mine\n");
    only(&tree, FAILURE, preferred, "masks this version's");
    tree.remove(preferred).put(preferred, &text).remove(ours);
    assert_eq!(found(&tree), []);
    tree.remove("/etc/systemd/system/zfs.target.wants/f3skeys.service");
    only(&tree, WARNING, "f3skeys.service", "is not enabled");
}

#[test]
fn units_that_nothing_pulls_in() {
    let wants = "/etc/systemd/system/zfs.target.wants";
    let tree = Tree::linux("disabled-ready");
    tree.remove(&format!("{wants}/f3sready.service"));
    only(&tree, FAILURE, "f3sready.service", "is not enabled");
    tree.remove(&format!("{wants}/f3skeys.service"));
    let severities: Vec<_> = found(&tree).iter().map(|f| f.severity).collect();
    assert_eq!(severities, [FAILURE, FAILURE]);
    let tree = Tree::linux("disabled-keys");
    tree.remove(&format!("{wants}/f3skeys.service"));
    only(
        &tree,
        WARNING,
        "f3skeys.service",
        "f3sready.service wants it",
    );
    let tree = Tree::linux("disabled-target");
    tree.remove("/etc/systemd/system/multi-user.target.wants/zfs.target");
    only(&tree, FAILURE, "zfs.target", "is not enabled");
    tree.link(
        "/usr/lib/systemd/system/multi-user.target.wants/zfs.target",
        "../zfs.target",
    );
    assert_eq!(found(&tree), []);
}

#[test]
fn the_lesser_files_of_systemd() {
    for (path, words) in [
        (
            "/usr/lib/systemd/system/f3skeys-late.service",
            "does not finish the boot by itself",
        ),
        (
            "/usr/lib/systemd/system/f3skeys-reconcile.service",
            "stops no service",
        ),
        (
            "/usr/lib/systemd/system/f3skeys-reconcile.timer",
            "stops no service",
        ),
        (
            "/usr/lib/f3skeys/drop-ins/zfs-mount.service.d/f3skeys.conf",
            "may hold the boot for ever",
        ),
        (
            "/usr/lib/udev/rules.d/90-f3skeys.rules",
            "does not finish the boot by itself",
        ),
    ] {
        let tree = Tree::linux("lesser");
        tree.append(path, "# mine\n");
        only(&tree, WARNING, path, "was changed");
        tree.put(path, "\n");
        only(&tree, WARNING, path, "a foreign file is in the way");
        only(tree.remove(path), WARNING, path, words);
    }
    let tree = Tree::linux("masked-rule");
    tree.link("/etc/udev/rules.d/90-f3skeys.rules", "/dev/null");
    only(
        &tree,
        WARNING,
        "/etc/udev/rules.d/90-f3skeys.rules",
        "masks this version's",
    );
}

#[test]
fn what_cannot_be_read_is_said() {
    let tree = Tree::freebsd("unreadable");
    tree.remove("/etc/rc.conf").directory("/etc/rc.conf");
    only(&tree, FAILURE, "rc.conf", "cannot tell");
    let tree = Tree::linux("unreadable");
    let path = "/etc/systemd/system/f3skeys.service";
    tree.directory(path);
    only(&tree, FAILURE, path, "cannot tell");
}

/// What people copy must be right.
#[test]
fn the_examples_hold_together() {
    let top = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in ["f0", "f1"] {
        let text = fs::read_to_string(top.join(format!("examples/f3s/{name}.ron"))).unwrap();
        let config = Config::parse(&text).unwrap_or_else(|e| panic!("{name}.ron:{e}"));
        assert_eq!(config.node.as_str(), format!("{name}.lan.buetow.org"));
    }
    let pages = fs::read_to_string(top.join("docs/gates.md")).unwrap();
    let rows = pages.lines().filter(|line| line.starts_with("| `"));
    let conditions: Vec<&str> = rows
        .filter_map(|row| row.split(" | ").next())
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    assert_eq!(conditions.len(), 10, "{conditions:?}");
    for condition in conditions {
        let text = CONFIGURATION.replace("CONDITION", condition);
        Config::parse(&text).unwrap_or_else(|e| panic!("docs/gates.md: {condition}: {e}"));
    }
}

/// The roots, peers and gates that docs/gates.md speaks of.
const CONFIGURATION: &str = r#"(
    node: "f0.lan.buetow.org",
    store: (label: "F3S_KEYS"),
    roots: [
        (dataset: "zdata/enc", key: "f0.lan.buetow.org:zdata", role: primary, required: true),
        (dataset: "zroot/bhyve", key: "f0.lan.buetow.org:bhyve", role: primary, required: true),
        (dataset: "zdata/sink/f0", key: "f0.lan.buetow.org:zdata", role: replica, required: true),
    ],
    gates: [
        (name: "nfs", needs: [present("/data/nfs/ready")]),
        (name: "other", needs: [CONDITION]),
    ],
    replicas: [(of: "zdata/enc", node: "f1.lan.buetow.org", dataset: "zdata/sink/f0/zdata/enc")],
    peers: [(name: "f1.lan.buetow.org", ssh: "root@f1.lan.buetow.org")],
)"#;
