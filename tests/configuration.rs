//! Which configuration the real program obeys: one that only root can have written. Verbs that change
//! nothing are run, so that a check that is gone harms no machine that runs this.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

const REFUSED: i32 = 78;
const GOOD: &str = r#"(
    node: "f0", store: (label: "NO_SUCH_STICK", wait_seconds: 0),
    roots: [(dataset: "no-such-pool/a", key: "f0:z", role: primary, required: true)],
    gates: [(name: "never", needs: [present("/no/such/file")])],
)"#;
/// None of these changes anything, and each answers without waiting for a stick.
const VERBS: [&[&str]; 3] = [&["gate", "never"], &["status"], &["status", "--json"]];

/// The status with which each verb ends; nothing is to be printed as an answer when it is refused.
fn statuses(configuration: &Path) -> Vec<i32> {
    let run = |verb: &&[&str]| {
        let done = Command::new(env!("CARGO_BIN_EXE_f3skeys"))
            .arg("--config")
            .arg(configuration)
            .args(*verb)
            .output()
            .unwrap();
        let status = done.status.code().unwrap();
        if status == REFUSED {
            assert!(
                done.stdout.is_empty() && !done.stderr.is_empty(),
                "{verb:?}"
            );
        }
        status
    };
    VERBS.iter().map(run).collect()
}

fn directory(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("f3skeys-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir(&directory).unwrap();
    directory
}

#[test]
fn law_9_the_program_refuses_a_configuration_that_others_can_have_written() {
    let directory = directory("configuration");
    let (file, link) = (directory.join("f3skeys.ron"), directory.join("link"));
    fs::write(&file, GOOD).unwrap();
    symlink(&file, &link).unwrap();
    let is_root = nix::unistd::geteuid().is_root();
    let with = |mode: u32, owner: u32| {
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        if is_root {
            chown(&file, Some(owner), None).unwrap();
        }
        [statuses(&file), statuses(&link)].concat()
    };
    // Without root's rights, whoever runs this owns the file, and that alone refuses it.
    for (mode, owner, good) in [
        (0o644, 0, is_root),
        (0o600, 0, is_root),
        (0o666, 0, false),
        (0o664, 0, false),
        (0o646, 0, false),
        (0o602, 0, false),
        (0o644, 1, false),
        (0o600, 65534, false),
    ] {
        let refused = with(mode, owner).iter().filter(|s| **s == REFUSED).count();
        let expected = if good { 0 } else { 2 * VERBS.len() };
        assert_eq!(refused, expected, "{mode:o} of user {owner}");
    }
    fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn law_6_a_configuration_that_is_no_file_is_refused_and_never_waited_for() {
    let directory = directory("no-configuration");
    let pipe = directory.join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    for path in [&pipe, &directory, &directory.join("nothing")] {
        assert_eq!(statuses(path), [REFUSED; VERBS.len()], "{}", path.display());
    }
    fs::remove_dir_all(&directory).unwrap();
}
