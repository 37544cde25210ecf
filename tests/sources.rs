//! Bytes that are not this node's, each from its real source by the real way in: names and files on a
//! stick, what `ssh` and `zfs` write to standard error, a peer's answer, lines of the host's files. None
//! reaches a console, report, JSON or metric as it came. (What is behind a simulated seam is in
//! `strangers.rs`.) In a test program of its own: a program that is being written cannot be started.

mod sim;
mod tell;

use f3skeys::host::{Host, InitSystem};
use f3skeys::key::Key;
use f3skeys::pass::Node;
use f3skeys::peers::{Opens, Ssh};
use f3skeys::promotion::{Promoted, Promotion};
use f3skeys::time::{Deadline, SystemClock};
use f3skeys::zfs::command::Command as ZfsProgram;
use f3skeys::zfs::{Answer, Try, Zfs};
use f3skeys::{adopt, doctor, foreign};
use serde_json::{Value, json};
use sim::Sim;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tell::{PLACE, assert_told_clean, said_by, wild, world};

const PROGRAM: &str = env!("CARGO_BIN_EXE_f3skeys");

/// A program that is being written cannot be started, and a child that is just being started holds what
/// any other test writes.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// As [`wild`], short enough for a file's name.
fn wild_name() -> Vec<u8> {
    let text = "x\u{1}\u{7}\x1b[2J\x1b]0;t\u{7}\u{9b}1m\u{7f}\u{85}\u{202e}\u{2066}\u{feff}";
    [text.as_bytes(), b"\nf3skeys: FORGED"].concat()
}

/// As [`wild_name`], for a word of a line: without what ends one there.
fn wild_word() -> String {
    "x\u{1}\u{7}\x1b[2J\x1b]0t\u{7}\u{9b}1m\u{7f}\u{202e}\u{2066}\u{feff}\u{e0041}".to_owned()
}

/// An empty directory that is gone with this value.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let name = format!("f3skeys-sources-{name}-{}", std::process::id());
        let directory = Directory(std::env::temp_dir().join(name));
        let _ = fs::remove_dir_all(&directory.0);
        fs::create_dir_all(&directory.0).unwrap();
        directory
    }

    /// Writes a file, whose last name may be any bytes.
    fn put(&self, directory: &str, name: &[u8], text: impl AsRef<[u8]>, mode: u32) -> PathBuf {
        let directory = self.0.join(directory.trim_start_matches('/'));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join(OsString::from_vec(name.to_vec()));
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What the program itself prints of a store in a directory, in words and as JSON, and what it prints
/// while it repairs one.
fn verified(store: &Path) -> Vec<String> {
    let ways: [&[&str]; 4] = [&[], &["--json"], &["--repair"], &["--json"]];
    let run = |way: &&[&str]| {
        let mut program = Command::new(PROGRAM);
        let done = program.args(["verify", "--store"]).arg(store).args(*way);
        let done = done.output().unwrap();
        [done.stdout, done.stderr].map(|bytes| String::from_utf8(bytes).unwrap())
    };
    ways.iter().flat_map(run).collect()
}

/// A state file with a checksum that holds.
fn state(body: &str) -> String {
    format!(
        "// checksum {}\n{body}",
        blake3::hash(body.as_bytes()).to_hex()
    )
}

#[test]
fn law_9_names_and_files_on_a_stick_are_shown_filtered() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    type Put = fn(&Directory);
    let good = || state("(format: 1, store: \"00000000000000000000000000000000\", keys: {})\n");
    let with_key: Put = |store| {
        store.put("", b"f0:z.key", [7; 32], 0o400);
    };
    let table: [(&str, Put); 7] = [
        ("a key's name", |store| {
            store.put("", &[&wild_name()[..], b".key"].concat(), [1; 32], 0o400);
        }),
        ("what a cut write left", |store| {
            let name = [b".f3skeys-new.", &wild_name()[..]].concat();
            store.put("", &name, "", 0o400);
        }),
        ("a file beside the state", |store| {
            store.put(".f3skeys", &wild_name(), "", 0o400);
        }),
        ("a generation's name", |store| {
            store.put(".f3skeys/f0:z", &wild_name(), [1; 32], 0o400);
        }),
        ("an identity", |store| {
            let id = foreign::ron(&wild_word());
            let body = format!("(format: 1, store: {id}, keys: {{{id}: []}})\n");
            store.put(".f3skeys", b"state.ron", state(&body), 0o400);
        }),
        ("a field of the state", |store| {
            let body = format!("(format: 1, {}: 1)\n", "r#a\u{202e}\x1b[2J");
            store.put(".f3skeys", b"state.ron", state(&body), 0o400);
            store.put(".f3skeys", &wild_name(), "", 0o400);
        }),
        ("what damage is moved aside as", |store| {
            store.put(".f3skeys/damaged", &wild_name(), "", 0o400);
            store.put(".f3skeys", &wild_name(), "", 0o400);
        }),
    ];
    for (from, put) in table {
        for whole in [false, true] {
            let store = Directory::new("store");
            with_key(&store);
            if whole {
                store.put(".f3skeys", b"state.ron", good(), 0o400);
            }
            put(&store);
            assert_told_clean(from, &verified(&store.0));
        }
    }
}

/// A node with other programs in the place of `ssh` and `zfs`. They live as long as the tests do.
fn with_programs(directory: &Path, ssh: bool, zfs: bool) -> impl Fn(Node) -> Node {
    let clock: &'static SystemClock = Box::leak(Box::new(SystemClock::start()));
    let program: &'static Path = Box::leak(directory.join("ssh").into_boxed_path());
    let peers: &'static Ssh = Box::leak(Box::new(Ssh {
        program,
        reader: Path::new(PROGRAM),
        clock,
    }));
    let program: &'static ZfsProgram = Box::leak(Box::new(ZfsProgram {
        program: directory.join("zfs"),
        clock,
    }));
    move |node| Node {
        peers: if ssh { peers } else { node.peers },
        zfs: if zfs { program } else { node.zfs },
        ..node
    }
}

/// A script for sh(1), beside a file of the words that it may print.
fn script(directory: &Directory, name: &str, words: &[u8], text: &str) {
    let words = directory.put("", format!("{name}.words").as_bytes(), words, 0o644);
    let text = text.replace("WORDS", &words.display().to_string());
    let text = text.replace("HERE", &directory.0.display().to_string());
    directory.put("", name.as_bytes(), format!("#!/bin/sh\n{text}\n"), 0o755);
}

#[test]
fn law_9_what_a_program_writes_is_shown_filtered() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let (wild, odd) = (wild(), [wild().as_bytes(), b"\xff\xfe"].concat());
    for (from, ssh, zfs, words, text) in [
        (
            "ssh's errors",
            true,
            false,
            &odd[..],
            "cat WORDS >&2; exit 255",
        ),
        ("zfs's errors", false, true, &odd, "cat WORDS >&2; exit 1"),
        ("zfs's answer", false, true, wild.as_bytes(), "cat WORDS"),
        (
            "a pool's name",
            false,
            true,
            wild.as_bytes(),
            "printf 'z\n'; cat WORDS",
        ),
    ] {
        let directory = Directory::new("programs");
        for name in ["ssh", "zfs", "zpool"] {
            script(&directory, name, words, text);
        }
        let sim = world("programs", PLACE);
        let change = with_programs(&directory.0, ssh, zfs);
        assert_told_clean(from, &said_by(&sim, &change));
    }
}

#[test]
fn law_9_no_call_of_zfs_gives_its_words_on_as_they_came() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let words = [wild().as_bytes(), b"\xff\xfe"].concat();
    let directory = Directory::new("calls");
    for name in ["zfs", "zpool"] {
        script(&directory, name, &words, "cat WORDS >&2; exit 1");
    }
    let clock = SystemClock::start();
    let zfs = ZfsProgram {
        program: directory.0.join("zfs"),
        clock: &clock,
    };
    let z = "z/a".parse().unwrap();
    let by = Key::take(|place| {
        place.fill(1);
        Ok(())
    });
    let by = by.unwrap();
    let deadline = Deadline::after(&clock, Duration::from_secs(60));
    let tried = |how| match zfs.try_key(&z, &by, how, deadline) {
        Answer::CouldNotAsk(trouble) => trouble,
        other => panic!("{other:?}"),
    };
    let said = [
        zfs.pools(deadline).unwrap_err(),
        zfs.observe("z", deadline).unwrap_err(),
        zfs.has_checkpoint("z", deadline).unwrap_err(),
        tried(Try::Load),
        tried(Try::Probe),
        zfs.set_readonly(&z, deadline).unwrap_err(),
        zfs.set_writable(&z, deadline).unwrap_err(),
        zfs.record(&z, "x", deadline).unwrap_err(),
        zfs.past(&z, deadline).unwrap_err(),
        zfs.unmount(&z, deadline).unwrap_err(),
        zfs.unload_key(&z, deadline).unwrap_err(),
        zfs.change_key(&z, &by, deadline).unwrap_err(),
        zfs.unwraps(&z, deadline).unwrap_err(),
        zfs.mount(&z, deadline).unwrap_err(),
    ];
    for trouble in said {
        assert_told_clean("zfs", &[format!("f3skeys: {trouble}\n")]);
    }
}

/// Whatever a peer may say in each answer that it may give.
fn answers(wild: &str) -> [Value; 2] {
    let replica = |promoted: Promoted| json!({"dataset": "z/sink", "promoted": promoted, "written": 1, "newest": [7, wild]});
    let told = [
        Promoted::Unknown(wild.to_owned()),
        Promoted::Now(Promotion {
            epoch: 1,
            since: 0,
            reason: wild.to_owned(),
        }),
    ];
    let root = json!({
        "dataset": "z/sink", "opens": Opens::CouldNotAsk(wild.to_owned()), "inheriting": [],
    });
    let print = "0".repeat(64);
    let key = json!({
        "store": wild, "held": [], "sound": false, "roots": [root], "challenge": null,
        "kept": [{"fingerprint": print, "why": wild}],
    });
    let replicas: Vec<Value> = told.into_iter().map(replica).collect();
    [json!({"replicas": replicas}), json!({ "key": key })]
}

#[test]
fn law_9_what_a_peer_answers_is_shown_filtered() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    // Short enough for the reader to take it.
    let wild = wild_word() + "\nf3skeys: FORGED: all is well\n";
    let whole = |answer| json!({"version": 2, "node": "f1", "answer": answer});
    let [replicas, key] = answers(&wild).map(whole);
    let directory = Directory::new("peer");
    directory.put("", b"replicas", replicas.to_string(), 0o644);
    directory.put("", b"key", key.to_string(), 0o644);
    let text = "read -r question\ncase \"$question\" in *replicas*) cat HERE/replicas;; *) cat HERE/key;; esac";
    script(&directory, "ssh", b"", text);
    let sim = world("peer", PLACE);
    let change = with_programs(&directory.0, true, false);
    assert_told_clean("a peer", &said_by(&sim, &change));
    // The answer that is refused for its version or its name.
    for answer in [
        json!({"version": 2, "node": wild, "answer": {"replicas": []}}),
        json!({"version": wild, "node": "f1", "answer": {"replicas": []}}),
        json!({"version": 2, "node": "f1", "answer": {&wild: []}}),
    ] {
        directory.put("", b"replicas", answer.to_string(), 0o644);
        directory.put("", b"key", answer.to_string(), 0o644);
        let sim = world("peer-refused", PLACE);
        assert_told_clean("a refused answer", &said_by(&sim, &change));
    }
}

/// What `doctor` and `adopt` say of a host.
fn said_of(sim: &Sim, host: &Host, init: InitSystem) -> Vec<String> {
    sim.verb(|node| {
        let config = tell::config();
        let found = doctor::examine(node, &config, host, init);
        let stick = Some(Path::new("/dev/da0"));
        let adoption = adopt::adopt(node, host, "f0", stick, "/etc/f3skeys.ron");
        vec![
            doctor::text(&found),
            doctor::json(&config, &found),
            adoption.complaints(),
            adoption.text.unwrap_or_default(),
        ]
    })
}

type Lay = fn(&Directory, &str);
const HOSTS: [(&str, InitSystem, Lay); 17] = [
    ("the stick in fstab", InitSystem::Rc, |host, wild| {
        let text = format!("/dev/{wild} /keys ufs rw 0 0\n");
        host.put("etc", b"fstab", text, 0o644);
    }),
    ("an escape of fstab", InitSystem::Rc, |host, _| {
        let text = "/dev/\\033[2J\\012f3skeys:\\040FORGED /keys ufs rw 0 0\n";
        host.put("etc", b"fstab", text, 0o644);
    }),
    ("the stick in fstab", InitSystem::Systemd, |host, wild| {
        let text = format!("LABEL={wild} /keys ext4 nofail 0 0\n");
        host.put("etc", b"fstab", text, 0o644);
    }),
    (
        "a line of fstab that is none",
        InitSystem::Systemd,
        |host, wild| {
            host.put("etc", b"fstab", format!("{wild}\n"), 0o644);
        },
    ),
    ("swap", InitSystem::Rc, |host, wild| {
        let text = format!("/dev/{wild} none swap sw 0 0\n");
        host.put("etc", b"fstab", text, 0o644);
    }),
    ("swap", InitSystem::Systemd, |host, wild| {
        let text = format!("Filename Type Size Used Priority\n/{wild} file 1 1 1\n");
        host.put("proc", b"swaps", text, 0o644);
    }),
    ("datasets of zfskeys", InitSystem::Rc, |host, wild| {
        let text = format!("zfskeys_enable=\"YES\"\nzfskeys_datasets=\"z/{wild}\"\n");
        host.put("etc", b"rc.conf", text, 0o644);
    }),
    ("machines in rc.conf", InitSystem::Rc, |host, wild| {
        let text = format!("vm_enable=\"YES\"\nvm_list=\"{wild}\"\nvm_dir=\"zfs:z/a b\"\n");
        host.put("etc", b"rc.conf", text, 0o644);
    }),
    ("a gate in rc.conf", InitSystem::Rc, |host, wild| {
        let text = format!(
            "nfs_server_enable=\"YES\"\nnfsd_prepend=\"/usr/local/sbin/f3skeys gate {wild}\"\n"
        );
        host.put("etc", b"rc.conf", text, 0o644);
    }),
    ("a host's name in rc.conf", InitSystem::Rc, |host, wild| {
        host.put("etc", b"rc.conf", format!("hostname=\"{wild}\"\n"), 0o644);
        let text = format!("zfskeys_enable=\"YES\"\nzfskeys_datasets=\"{wild}\"\n");
        host.put("etc", b"rc.conf.local", text, 0o644);
    }),
    ("a script's name", InitSystem::Rc, |host, _| {
        let text = "#!/bin/sh\n# PROVIDE: f3skeys\n";
        host.put("etc/rc.d", &wild_name(), text, 0o755);
    }),
    ("the order of a script", InitSystem::Rc, |host, wild| {
        let text = format!("#!/bin/sh\n# PROVIDE: f3skeys {wild}\n\"${{f3skeys_command}}\" boot\n");
        host.put("etc/rc.d", b"f3skeys", text, 0o755);
    }),
    ("a jail", InitSystem::Rc, |host, wild| {
        host.put("etc", b"rc.conf", "jail_enable=\"YES\"\n", 0o644);
        let text = format!("j {{ path = \"{SHARE}/{wild}\"; }}\n");
        host.put("etc/jail.conf.d", b"j.conf", &text, 0o644);
        host.put(
            "etc/jail.conf.d",
            &[&wild_name()[..], b".conf"].concat(),
            text,
            0o644,
        );
    }),
    ("exports", InitSystem::Rc, |host, wild| {
        let text = format!("{SHARE}/{wild} -ro\n{SHARE}/\\033[2J\\012f3skeys:\\040FORGED -ro\n");
        host.put("etc", b"exports", &text, 0o644);
    }),
    ("a file of exports", InitSystem::Systemd, |host, wild| {
        let name = [&wild_name()[..], b".exports"].concat();
        host.put(
            "etc/exports.d",
            &name,
            format!("{SHARE}/{wild} *(ro)\n"),
            0o644,
        );
    }),
    (
        "the block file of a script",
        InitSystem::Rc,
        |host, wild| {
            let text = format!("B=\"{SHARE}/{wild}.NO_AUTO_FAILBACK\"\n");
            host.put("usr/local/bin", b"carp", text, 0o755);
            host.put("etc", b"exports", format!("{SHARE} -ro\n"), 0o644);
        },
    ),
    ("a unit", InitSystem::Systemd, |host, wild| {
        let (units, gate) = ("etc/systemd/system", "/usr/sbin/f3skeys gate");
        let wants = format!("{units}/multi-user.target.wants");
        host.put(&wants, b"nfs-server.service", "", 0o644);
        let drop_in = format!("{units}/nfs-server.service.d");
        let name = [&wild_name()[..], b".conf"].concat();
        host.put(
            &drop_in,
            &name,
            format!("[Service]\nExecStartPre={gate} {wild}\n"),
            0o644,
        );
    }),
];
/// Where the dataset lies that is exported.
const SHARE: &str = "/data/a";

#[test]
fn law_9_lines_of_the_hosts_files_are_shown_filtered() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    for (from, init, lay) in HOSTS {
        let sim = world("host", SHARE);
        let directory = Directory::new("host");
        lay(&directory, &wild_word());
        let host = Host::at(&directory.0);
        assert_told_clean(&format!("{from} ({init:?})"), &said_of(&sim, &host, init));
    }
}
