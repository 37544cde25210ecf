//! What the corpora begin with: valid words of every kind, and some that are wrong in one thing. They
//! are made here, so that a change of a format changes them; `tests/fuzz.rs` writes them to
//! `fuzz/corpus` and holds the two against each other.

use super::zfs;
use f3skeys::audit::{Chain, Event, LOCAL, What};
use f3skeys::key::Fingerprint;
use f3skeys::os::JAILED_PROPERTY;
use f3skeys::store::state::{FORMAT, Generation, Standing, State};
use f3skeys::zfs::entry::{self, Entry};
use f3skeys::{flat, fuzzing, peers};

/// A seed: its target, its name, its bytes.
pub struct Seed {
    /// The target that it is for.
    pub target: &'static str,
    /// What it is called in the corpus.
    pub name: String,
    /// What it consists of.
    pub bytes: Vec<u8>,
}

/// All of them.
pub fn seeds() -> Vec<Seed> {
    let mut all = Vec::new();
    let mut add = |target: &'static str, of: Vec<Vec<u8>>| {
        let numbered = of.into_iter().enumerate();
        all.extend(numbered.map(|(number, bytes)| Seed {
            target,
            name: format!("seed-{:02}", number + 1),
            bytes,
        }));
    };
    add(
        "answers",
        texts(&ANSWERS.map(|text| text.replace("HASH", HASH))),
    );
    add("audit", logs());
    add("configuration", texts(&CONFIGURATIONS));
    add("exports", texts(&EXPORTS));
    add("fstab", texts(&FSTABS));
    add("hand_over", handed_over());
    add("mountinfo", texts(&MOUNTS));
    add("names", texts(&NAMES));
    add("promotion", texts(&PROMOTIONS));
    add("questions", questions());
    add("rc_conf", texts(&RC_CONFS));
    add("shown", texts(&SHOWN));
    add("state", states());
    add("store_names", store_names());
    add("superblocks", superblocks());
    add("units", texts(&UNITS));
    add("zfs_cache", texts(&ZFS_CACHES));
    add("zfs_past", texts(&PASTS));
    add("zfs_rows", rows());
    all
}

fn texts(of: &[impl AsRef<str>]) -> Vec<Vec<u8>> {
    of.iter()
        .map(|text| text.as_ref().as_bytes().to_vec())
        .collect()
}

const HASH: &str = "0909090909090909090909090909090909090909090909090909090909090909";

const QUESTIONS: [&str; 9] = [
    r#"{"version":2,"from":"f0","ask":{"replicas":["z/sink/f0","z/sink/f0/child"]}}"#,
    r#"{"version":2,"from":"f0","ask":{"key":{"key":"f0:zdata","nonce":"HASH"}}}"#,
    r#"{"version":2,"from":"f0","ask":{"put":{"merge":{"key":"f0:zdata","list":[{"generation":1,"fingerprint":"HASH","state":"current"}],"bring":["HASH"],"nonce":"HASH"},"vouched":{"by":"HASH","challenge":"HASH","proof":"HASH"}}}}"#,
    r#"{"version":2,"from":"f0","ask":{"put":{"merge":{"key":"f0:zdata","list":[{"generation":1,"fingerprint":"HASH","state":"current"}],"bring":[],"nonce":null},"vouched":null}}}"#,
    r#"{"version":2,"from":"f2","ask":{"key":{"key":"f0:zdata","nonce":"HASH"}}}"#,
    r#"{"version":2,"from":"f0","ask":{"replicas":["z/enc"]}}"#,
    r#"{"version":3,"from":"f0","ask":{"other":[]}}"#,
    r#"{"version":2,"from":"f0","ask":{"replicas":["z/sink/f0"]},"more":"\u001b[2J"}"#,
    r#"{"version":2,"from":"../f0","ask":{"replicas":[]}}"#,
];

/// As they go over the wire: a line, and keys behind it where it brings any.
fn questions() -> Vec<Vec<u8>> {
    let question = |text: &&str| {
        let brings = text.contains(r#""bring":["HASH"]"#);
        let keys = if brings { vec![0xa1; 32] } else { Vec::new() };
        [text.replace("HASH", HASH).as_bytes(), b"\n", &keys].concat()
    };
    QUESTIONS.iter().map(question).collect()
}

const ANSWERS: [&str; 8] = [
    r#"{"version":2,"node":"f1","answer":{"replicas":[{"dataset":"z/sink/f0","promoted":"Never","written":0,"newest":[7,"m"]}]}}"#,
    r#"{"version":2,"node":"f1","answer":{"replicas":[{"dataset":"z/sink/f0","promoted":"Never","written":0,"newest":[7,"m"]},{"dataset":"z/sink/f0/child","promoted":{"Over":3},"written":0,"newest":[7,"m"]}]}}"#,
    r#"{"version":2,"node":"f1","answer":{"replicas":[{"dataset":"z/sink/f0","promoted":{"Now":{"epoch":1,"since":2,"reason":"fire \u001b[2J"}},"written":5,"newest":[8,"m\n"]}]}}"#,
    r#"{"version":2,"node":"f1","answer":{"replicas":[{"dataset":"z/sink/f0","promoted":{"Unknown":"yes"},"written":0,"newest":null}]}}"#,
    r#"{"version":2,"node":"f1","answer":{"key":{"store":"00","sound":true,"held":[{"generation":{"generation":1,"fingerprint":"HASH","state":"current"},"whole":true,"proof":null}],"roots":[{"dataset":"z/enc","opens":{"couldnotask":"why"},"inheriting":["z/a"]}],"challenge":"HASH","kept":[{"fingerprint":"HASH","why":"z is suspended"}]}}}"#,
    r#"{"version":3,"node":"f1","answer":"other"}"#,
    r#"{"version":2,"node":"f1","answer":{"replicas":[{"dataset":"z/../f0","promoted":"Never","written":0,"newest":null}]}}"#,
    r#"{"version":2,"node":"f2","answer":{"replicas":[]},"more":1}"#,
];

/// What a process without rights makes of all these.
fn handed_over() -> Vec<Vec<u8>> {
    let of_questions = questions();
    let of_questions = of_questions.iter().map(|line| fuzzing::question_told(line));
    let answers = ANSWERS.map(|text| text.replace("HASH", HASH));
    let of_answers = answers
        .iter()
        .map(|text| flat::write(&peers::reply(text.as_bytes())));
    of_questions.chain(of_answers).collect()
}

const NAMES: [&str; 16] = [
    "zdata",
    "zdata/enc/nfsdata",
    "z/a b",
    "z/a:b_c.d-e",
    "f0.lan.buetow.org:zdata",
    "nfs-server.service",
    "getty@tty1.service",
    "f0",
    "..",
    "z/../y",
    "-o",
    "z@snapshot",
    "f0:a/b",
    "z/\u{e4}",
    "z//a",
    "\u{1b}[2J",
];

const PROMOTIONS: [&str; 9] = [
    "promoted 3 1795000000 f0 is dead",
    "promoted 18446744073709551615 0 x",
    "demoted 3 1795000060",
    "promoted +3 1795000000 f0 is dead",
    "promoted 03 1795000000 f0 is dead",
    "promoted 3 1795000000 f0\nis dead\u{1b}[2J",
    "promoted 3 1795000000  ",
    "demoted 3 1795000060 x",
    "promoted",
];

const CONFIGURATIONS: [&str; 6] = [
    r#"(
    node: "f0.lan.buetow.org",
    store: (label: "F3S_KEYS", serial: Some("4C530001"), mountpoint: "/keys", wait_seconds: 30),
    roots: [
        (dataset: "zdata/enc", key: "f0.lan.buetow.org:zdata", role: primary, required: true),
        (dataset: "zdata/sink/f1", key: "f1.lan.buetow.org:zdata", role: replica, required: false),
    ],
    gates: [
        (name: "nfs", needs: [mounted(path: "/data/nfs", dataset: "zdata/enc/nfsdata")], services: ["nfsd"]),
        (name: "sink", needs: [readonly("zdata/sink/f1"), key_loaded("zdata/sink/f1")]),
        (name: "failback", needs: [
            gate("nfs"), writable("zdata/enc/nfsdata"), absent("/data/nfs/NO_AUTO_FAILBACK"),
            present("/data/nfs/there"), not_promoted(peer: "f1.lan.buetow.org"),
            role(dataset: "zdata/enc", is: primary), fresh_snapshot(dataset: "zdata/enc", minutes: 5),
        ]),
    ],
    replicas: [(of: "zdata/enc/nfsdata", node: "f1.lan.buetow.org", dataset: "zdata/sink/f0/nfsdata")],
    guards: ["/data/nfs"],
    carp: Some((gate: "nfs")),
    peers: [(name: "f1.lan.buetow.org", ssh: "root@f1.wg0"), (name: "f2.lan.buetow.org", ssh: "root@f2.wg0")],
    min_copies: 2,
    budget_seconds: 60,
)"#,
    super::messages::F0,
    super::messages::F1,
    r#"(node: "f0", store: (label: "K"), roots: [(dataset: "z", key: "f0:z", role: primary, required: true)],
    gates: [(name: "a", needs: [gate("b"), gate("b")]), (name: "b", needs: [gate("c"), gate("c")]),
            (name: "c", needs: [present("/x"), key_loaded("z/a")])])"#,
    r#"(node: "f0", store: (label: "K"), roots: [(dataset: "z", key: "f0:z", role: primary, required: true)],
    gates: [(name: "a", needs: [gate("b")]), (name: "b", needs: [gate("a")])])"#,
    r#"(node: "f0", store: (label: "K"), roots: [(dataset: "z/a", key: "f0:z", role: replica, required: true),
    (dataset: "z/a/b", key: "f0:z", role: primary, required: true)])"#,
];

const SHOWN: [&str; 10] = [
    "zdata/enc/nfsdata",
    "F3S KEYS",
    "it's $HOME `reboot`",
    "\u{1b}[2J\u{1b}]0;title\u{7}",
    "two\r\nlines\n",
    "\u{202e}0f/knis/z",
    "e\u{301}\u{200b}\u{feff}",
    "-rf",
    "a\\\n",
    "\u{1b}[32mopen\u{1b}[0m",
];

const MOUNTS: [&str; 9] = [
    "24 1 8:2 / / rw,relatime shared:1 - ext4 /dev/sda2 rw\n36 35 0:42 / /data/nfs ro,noatime master:1 shared:2 - zfs zdata/enc/nfsdata ro,xattr,posixacl\n",
    "36 35 98:0 /mnt1 /mnt\\0402 rw,noatime - zfs zdata/enc\\134x ro\n",
    "40 24 0:50 / /home/u/m\u{e4} rw,nosuid,nodev - fuse.sshfs u@host:/ rw,user_id=1000,label=a,ro\n",
    "1 0 0:9 / /- rw - -  rw\n",
    "36 35\n",
    "x 35 98:0 / / rw - zfs a ro\n",
    "36 35 98:0 / / rw zfs a ro\n",
    "36 35 98:0 / /a\\400 rw shared:1 x:1 - zfs a rw\n",
    "36 35 98:0 / a rw - tmpfs zfs rw\n",
];

const PASTS: [&str; 8] = [
    "z/r\t4096\nz/r/c\t0\n\0z/r#old\t7\t100\nz/r@a\t8\t200\nz/r/c@a\t9\t200\nz/gone@a\t1\t2\n",
    "z/r\t0\n\0z/r@a@b\t8\t200\nz/r#a#b\t8\t200\nz/r#a@b\t8\t200\n",
    "z/r\t0\n",
    "z/r\t-\n",
    "@\t0\n",
    "z/r\t0\n\0z/r@a\t8\n",
    "-\n",
    "77824\n",
];

const EXPORTS: [&str; 8] = [
    "V4: /data/nfs -sec=sys\n/data/nfs -alldirs -maproot=root -network 127.0.0.1 -mask 255.255.255.255\n",
    "/a /b -ro host\n/c\n",
    "/a *(rw,sync) /b\n",
    "\"/my files\" host(ro) # /b\n",
    "/my\\040files host\n/my\\ own\n",
    "/a \\\n/b -ro\n",
    "-ro /a\n",
    "/a\\",
];

const FSTABS: [&str; 7] = [
    "# Device\tMountpoint\tFStype\tOptions\tDump\tPass#\n/dev/ufs/F3S_KEYS /keys ufs ro,noauto,failok 0 0\n",
    "LABEL=F3S_KEYS\t/keys\text4\tro,nofail 0 2\nUUID=1 none swap sw\n",
    "/dev/da0 /my\\040keys ufs ro 0 0\n",
    "/dev/da0 /keys ufs\n",
    "/dev/da0 /keys\n",
    "a\\134b /a\\011b ext4 defaults 0 0\n",
    "a\\9 / ufs rw\n",
];

const UNITS: [&str; 3] = [
    "Id=data-nfs.mount\nBindsTo=zfs-load-key@zdata-enc.service a.device\nActiveState=active\nFragmentPath=/run/systemd/generator/data-nfs.mount\n\nId=-.mount\nBindsTo=\nActiveState=failed\nFragmentPath=\n",
    "Id=a.mount\n",
    "ActiveState=active\n",
];

const ZFS_CACHES: [&str; 4] = [
    "zdata\t/data\ton\ton\ton\ton\ton\toff\ton\toff\t-\tnone\t-\t-\t-\t-\t-\t-\t-\t-\n",
    "zdata/enc\t//a-b/.c/\tnoauto\ton\ton\ton\ton\toff\ton\toff\tzdata/enc\tfile:///keys/k\t-\t-\t-\t-\ta.target\tb.target\toff\ton\n",
    "zdata/enc\t/a/../b\ton\ton\ton\ton\ton\toff\ton\toff\n\nzdata/enc\tlegacy\toff\n",
    "zdata/e\u{e9}\t/\u{e9}\n/\ton\n",
];

const RC_CONFS: [&str; 11] = [
    "hostname=\"f0\"\nzfs_enable=\"YES\"\nnfs_server_enable=YES\n# a_comment=1\n",
    "a=1;b='two words' c=\"d\\\"e\" # more\nexport f=g\n",
    "a=$b\nb=`c`\nd+=e\nf=~/g\n",
    "if true; then\n  a=1\nfi\n",
    ". /etc/rc.conf.other\na=1\n",
    "a=1 && b=2\n",
    "a='never closed\nb=1\n",
    "a=1\\\nb=2\nc\\=1\n\"d\"=1\n",
    "/etc/rc.d/f3skeys enabled || [ $? -ne 1 ] || return 0\nnfs_server_enable=YES\n",
    "a=\nb=\"\"\nc=''\"$d\"\n",
    "a=\\/etc/rc.d/f3skeys enabled || [ $? -ne 1 ] || return 0",
];

fn state() -> State {
    use Standing::{Current, Pruned, Retained, Retired, Staged};
    let all = (1u8..).zip([Pruned, Retired, Retained, Current, Staged]);
    let list = all.map(|(number, state)| Generation {
        generation: number.into(),
        fingerprint: Fingerprint::of(&[number; 32]),
        state,
    });
    let key = |name: &str| name.parse().expect("a key name");
    State {
        format: FORMAT,
        store: "0f".repeat(16),
        keys: [(key("f0:zdata"), list.collect()), (key("f1:z"), vec![])].into(),
    }
}

/// Whole files, and what follows the line of the checksum: a target puts a line before it that fits.
fn states() -> Vec<Vec<u8>> {
    let whole = state().to_bytes();
    let line = whole
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    let body = String::from_utf8_lossy(&whole[line..]).into_owned();
    let more = body.replacen("format: 1", "format: 1, more: 1", 1);
    let texts = texts(&[
        "(format: 1, store: \"00\", keys: {\"f0:z\": []})\n",
        "(format: 2, whatever: [1, 2])\n",
        "(format: 1, store: \"00\", keys: {\"../f0:z\": []})\n",
        "(format: 1, store: \"00\", keys: {\"f0:z\": [], \"f0:z\": []})\n",
        "((((((((((",
        body.as_str(),
        more.as_str(),
    ]);
    let cut = whole[..whole.len() / 2].to_vec();
    [vec![whole, cut], texts].concat()
}

fn store_names() -> Vec<Vec<u8>> {
    let hex = Fingerprint::of(&[1; 32]).hex();
    texts(&[
        "f0.lan.buetow.org:zdata.key".to_owned(),
        format!("12-{hex}.key"),
        format!("012-{hex}.key"),
        format!("+12-{hex}.key"),
        format!("12-{}.key", hex.to_uppercase()),
        ".f3skeys-new.f0:zdata.key".to_owned(),
        "../f0:zdata.key".to_owned(),
        "state.ron".to_owned(),
        "zusb.key".to_owned(),
        "f0:zdata.key.key".to_owned(),
    ])
}

/// Superblocks: the target lays each wherever one may lie.
fn superblocks() -> Vec<Vec<u8>> {
    let with = |pieces: &[(usize, &[u8])]| {
        let mut bytes = vec![0; 1376];
        for (at, piece) in pieces {
            bytes[*at..at + piece.len()].copy_from_slice(piece);
        }
        bytes
    };
    let (ext, ufs2, ufs1) = ([0x53, 0xef], [0x19, 1, 0x54, 0x19], [0x54, 0x19, 1, 0]);
    vec![
        with(&[(56, &ext), (120, b"F3S_KEYS")]),
        with(&[(1372, &ufs2), (680, b"F3S_KEYS")]),
        with(&[(1372, &ufs1), (680, b"F3S_KEYS")]),
        with(&[(56, &ext), (1372, &ufs2), (120, b"OLD"), (680, b"NEW")]),
        with(&[(56, &ext), (120, &[b'x'; 16])]),
        with(&[(1372, &ufs2), (680, &[b'x'; 32])]),
        with(&[(1372, &ufs2), (680, b"\x1b[2J\xff\xfe\r\n")]),
        with(&[(56, &ext)]),
        with(&[(56, &[0xef, 0x53])]),
        with(&[])[..56].to_vec(),
    ]
}

/// Logs, each with its head behind an empty line.
fn logs() -> Vec<Vec<u8>> {
    let event = |by: &str, what| Event {
        verb: "rotate".to_owned(),
        by: by.to_owned(),
        store: Some("0f".repeat(16)),
        what,
    };
    let events = [
        event(LOCAL, What::Did(vec!["f0:z: staged 12345678".to_owned()])),
        event("f1", What::Refused("f0:z is a key of f0".to_owned())),
        event(LOCAL, What::Failed("the stick is full".to_owned())),
        event(LOCAL, What::Found("it ends with entry 2".to_owned())),
    ];
    let (mut log, mut logs) = (Vec::new(), Vec::new());
    let mut head = None;
    for event in events {
        let chain = Chain::of(&log);
        let next = chain.next(&chain.end(&Ok(head)), event, 1_795_000_000);
        let (lines, newest) = next.expect("a line can be written");
        log.extend(lines);
        head = Some(newest);
        let head = newest.to_bytes().expect("a head can be written");
        logs.push([&log[..], b"\n", &head].concat());
    }
    let torn = [&log[..log.len() - 9], b"\n", &log[..]].concat();
    let without_first = log
        .split_inclusive(|byte| *byte == b'\n')
        .skip(1)
        .collect::<Vec<_>>()
        .concat();
    let note = br#"{"verb":"rotate","by":"local","time":7}"#.to_vec();
    [logs, vec![torn, without_first, log, note]].concat()
}

/// Datasets as a worker hands them over and as the program prints them, and values that spell rows.
fn rows() -> Vec<Vec<u8>> {
    let all = ["z/a", "z/b c", "z/c"].map(zfs::good);
    let forged = printed(&[zfs::good("z/c")]);
    let mut odd = all.clone();
    odd[1].values[0].value = b"bookmark\x1b[2J".to_vec();
    let doubled = [all.clone(), all.clone()].concat();
    let spelled =
        b"x\tlocal\nz/c\tf3skeys:promotion\tpromoted 1 1 x\tlocal\nz/d\ttype\tfilesystem\t-";
    vec![
        entry::write(all.clone()),
        entry::write(odd.clone()),
        entry::write(doubled),
        printed(&all),
        printed(&odd),
        printed(&all[..1]),
        [b"\n", &forged[..]].concat(),
        spelled.to_vec(),
        b"\t\n\xff\xfe".to_vec(),
        forged[..forged.len() / 2].to_vec(),
    ]
}

/// The same bytes on every platform: one calls a property otherwise.
fn printed(entries: &[Entry]) -> Vec<u8> {
    let text = String::from_utf8_lossy(&zfs::printed(entries)).into_owned();
    let own = format!("\t{JAILED_PROPERTY}\t");
    text.replace(&own, "\tzoned\t").into_bytes()
}
