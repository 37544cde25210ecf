use super::*;
use crate::report::{Finding, Severity};

/// A host in a fresh directory.
pub(super) struct Tree(PathBuf);

impl Tree {
    pub(super) fn new(name: &str) -> Tree {
        let root = std::env::temp_dir().join(format!("f3skeys-host-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(&root).unwrap();
        Tree(root)
    }

    pub(super) fn put(&self, path: &str, text: &str) -> &Tree {
        let path = self.0.join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    pub(super) fn host(&self) -> Host {
        Host::at(&self.0)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn with_rc_conf(name: &str, text: &str) -> RcConf {
    rc_conf(&Tree::new(name).put("/etc/rc.conf", text).host()).unwrap()
}

fn value(text: &str) -> Setting {
    Setting::Value(text.to_owned())
}

#[test]
fn absent_is_not_could_not_tell() {
    let tree = Tree::new("absent");
    let host = tree.put("/etc/dir/file", "x").host();
    assert_eq!(host.text("/etc/none").unwrap(), None);
    assert_eq!(host.text("/etc/dir/file/below").unwrap(), None);
    assert!(host.about("/nowhere/none").unwrap().is_none());
    assert_eq!(host.names("/nowhere").unwrap(), [""; 0]);
    assert_eq!(host.names("/etc/dir").unwrap(), ["file"]);
    assert_eq!(host.link("/etc/dir/file").unwrap(), None);
    assert!(host.text("/etc/dir").is_err());
    assert!(host.names("/etc/dir/file").unwrap().is_empty());
}

/// rc and systemd obey a file whatever its name is.
#[test]
fn law_10_a_name_that_cannot_be_told_is_not_passed_over() {
    use std::os::unix::ffi::OsStrExt;
    let tree = Tree::new("odd-name");
    let script = "#!/bin/sh\n# PROVIDE: f3skeys\n";
    let host = tree.put("/etc/rc.d/other", script).host();
    assert!(host.names("/etc/rc.d").is_ok());
    let odd = std::ffi::OsStr::from_bytes(b"f3skeys\xff");
    fs::write(tree.0.join("etc/rc.d").join(odd), script).unwrap();
    assert!(host.names("/etc/rc.d").is_err());
    let found = hooks::hooks(&host, InitSystem::Rc);
    let told = |f: &Finding| f.subject == "/etc/rc.d" && f.severity == Severity::Failure;
    assert!(found.iter().any(told), "{found:#?}");
}

#[test]
fn reading_is_bounded() {
    let tree = Tree::new("bounded");
    let host = tree.put("/big", &"x".repeat(LARGEST as usize)).host();
    assert_eq!(host.text("/big").unwrap().unwrap().len() as u64, LARGEST);
    tree.put("/big", &"x".repeat(LARGEST as usize + 1));
    assert!(host.text("/big").is_err());
    nix::unistd::mkfifo(&tree.0.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(
        host.text("/pipe").is_err(),
        "and does not wait for a writer"
    );
}

#[test]
fn rc_conf_is_read_as_a_shell_would() {
    let conf = with_rc_conf(
        "plain",
        r#"# comment
zfs_enable="YES"   # trailing
export a='si''ngle' b=two; c=th\ ree
d="with # no comment and \"quotes\"" # f=1
e=x#y
zfskeys_datasets="zdata/enc
zdata/enc/nfsdata"
empty=
twice=1
twice=2
long=one\
two
"#,
    );
    for (name, expected) in [
        ("zfs_enable", "YES"),
        ("a", "single"),
        ("b", "two"),
        ("c", "th ree"),
        ("d", "with # no comment and \"quotes\""),
        ("e", "x#y"),
        ("zfskeys_datasets", "zdata/enc\nzdata/enc/nfsdata"),
        ("empty", ""),
        ("twice", "2"),
        ("long", "onetwo"),
    ] {
        assert_eq!(conf.get(name), value(expected), "{name}");
    }
    assert_eq!(conf.get("f"), Setting::Unset);
    assert_eq!(conf.get("zfs_enable").is_yes(), Ok(true));
    assert_eq!(conf.get("b").is_yes(), Ok(false));
}

#[test]
fn what_only_a_shell_knows_is_unknown() {
    let conf = with_rc_conf(
        "dynamic",
        "a=$b\nc=\"${d} x\"\ne=`f`\ng+=x\nh='$i'\nj=~root\nk=\"\\$l\"\n",
    );
    for name in ["a", "c", "e", "g", "j"] {
        assert!(matches!(conf.get(name), Setting::Unknown(_)), "{name}");
    }
    assert_eq!(conf.get("h"), value("$i"));
    assert_eq!(conf.get("k"), value("$l"));
    assert_eq!(conf.get("z"), Setting::Unset);
}

#[test]
fn what_only_a_shell_understands_makes_unknown_what_it_names() {
    for text in [
        "a=1\nfor i in 0 1; do\n  b=\"$b $i\"\ndone\nc=2\n",
        "a=1\nif true; then b=1; fi\nc=2\n",
        "a=1; c=2\nb=1 command\n",
        "a=1\n\"b\"=2\nc=2",
        "a=1; c=2\nb=1 &&\n  b=2\n",
        "a=1\nf() {\n  b=1\n}\nf\nc=2\n",
        "a=1\ncase $x in\ny) b=1;;\nesac\nc=2\n",
        "a=1\n(\nb=2\n)\nc=2\n",
        "a=1\n: ${b:=2}\nc=2\n",
        "a=1\nwhile read -r b; do true; done <file\nc=2\n",
    ] {
        let conf = with_rc_conf("script", text);
        assert_eq!(conf.get("a"), value("1"), "{text}");
        assert!(matches!(conf.get("b"), Setting::Unknown(_)), "{text}");
        assert!(conf.get("b").is_yes().is_err(), "{text}");
        assert_eq!(conf.get("c"), value("2"), "{text}");
        assert_eq!(conf.get("d"), Setting::Unset, "{text}");
    }
}

#[test]
fn what_may_set_anything_makes_all_of_its_file_unknown() {
    for text in [
        "a=1\n. /etc/other\n",
        "a=1\neval \"b_$c=1\"\n",
        "a=1\n[ -e /x ] && return\n",
        "a=1\nexport \"$d\"\n",
        "a=1\n$d a=2\n",
        "a=1\nload_rc_config other\n",
        "a=1\nb='never closed\n",
        "a=1\nif true; then\n",
        "a=1\ncat <<END\nb=1\nEND\n",
        "a=1\nb=\"$(echo \";a=2\")\"\n",
        "a=1\nb=`\na=2\n`\n",
        "a=1\nfi\n",
        "a=1\n; b=2\n",
        "a=1\ntrue ||\n",
    ] {
        let conf = with_rc_conf("anything", text);
        assert!(matches!(conf.get("a"), Setting::Unknown(_)), "{text}");
        assert!(matches!(conf.get("z"), Setting::Unknown(_)), "{text}");
    }
}

#[test]
fn what_is_not_understood_is_named_by_its_line() {
    let conf = with_rc_conf("named", "a=1\n\nb=1 c\n# d\ne=$f\n");
    let line = |name| match conf.get(name) {
        Setting::Unknown(why) => why.split(" of /etc/rc.conf").next().unwrap().to_owned(),
        other => panic!("{other:?}"),
    };
    assert_eq!((line("b"), line("c")), ("line 3".into(), "line 3".into()));
    assert_eq!(line("e"), "line 5");
    assert_eq!(conf.get("d"), Setting::Unset);
}

#[test]
fn later_files_win_and_a_service_reads_its_own() {
    let tree = Tree::new("layers");
    tree.put("/etc/rc.conf", "a=1\nb=1\nc=1\nd=1\n")
        .put("/etc/rc.conf.local", "b=2\n")
        .put("/etc/rc.conf.d/nfsd/own", "c=3\n")
        .put("/etc/rc.conf.d/mountd", "c=4\n. other\n")
        .put("/usr/local/etc/rc.conf.d/nfsd", "d=5\n");
    let conf = rc_conf(&tree.host()).unwrap();
    let of = |service, name| conf.seen_by(service, name);
    assert_eq!(conf.get("a"), value("1"));
    assert_eq!(conf.get("b"), value("2"));
    assert_eq!(conf.get("c"), value("1"));
    assert_eq!(of("nfsd", "c"), value("3"));
    assert_eq!(of("nfsd", "d"), value("5"));
    assert_eq!(of("zfs", "d"), value("1"));
    assert!(matches!(of("mountd", "a"), Setting::Unknown(_)));
}

#[test]
fn a_line_of_fstab_that_is_none_spoils_no_other() {
    let read = |text: &str| fstab(&Tree::new("fstab").put("/etc/fstab", text).host()).unwrap();
    let text =
        "# c\n\n/dev/da0\t/keys  ufs rw,failok 0 0\n/dev/sda1 /boot\nLABEL=A\\040B /x\\134y ext4\n";
    let Fstab { lines, odd } = read(text);
    assert_eq!(lines.len(), 2);
    assert_eq!(odd, ["line 4 is not understood: `/dev/sda1 /boot`"]);
    assert_eq!(lines[0].at, "/keys");
    assert!(lines[0].has("failok") && lines[0].has("rw") && !lines[0].has("fail"));
    assert_eq!(lines[1].device, "LABEL=A B");
    assert_eq!(lines[1].at, "/x\\y");
    // A backslash that begins no escape is a backslash.
    for device in ["//nas/a\\b", "/dev\\9", "/dev\\+41", "\\", "a\\04"] {
        let fstab = read(&format!("{device} /keys ufs rw\n"));
        assert_eq!(fstab.odd, [""; 0], "{device}");
        assert_eq!(fstab.lines[0].device, device);
    }
    let none = fstab(&Tree::new("no-fstab").host()).unwrap();
    assert_eq!(none, Fstab::default());
}

const CACHE: &str = "\
zdata\t/data\ton\ton\ton\ton\ton\toff\ton\toff\t-\tnone\t-\t-\t-\t-\t-\t-\t-\t-
zdata/enc\t/data/e n\toff\ton\ton\ton\ton\toff\ton\toff\tzdata/enc\tfile:///keys/k\t-\t-\t-\t-\t-\t-\t-\t-
zdata/enc/nfsdata\t/data/nfs\ton\ton\ton\ton\ton\toff\ton\toff\tzdata/enc\tnone\t-\t-\t-\t-\t-\t-\toff\t-
zdata/enc/own\t/own\ton\ton\ton\ton\ton\toff\ton\toff\tzdata/enc/own\tprompt\t-\t-\t-\t-\t-\t-\t-\t-
zdata/sink/f1\t/data//f1-x/.y/\tnoauto\ton\ton\ton\ton\toff\ton\toff\tzdata/sink/f1\tnone\t-\t-\t-\t-\ta.target\t-\toff\t-
zdata/sink/f1/child\t/c\ton\ton\ton\ton\ton\toff\ton\toff\t-\tnone\t-\t-\t-\t-\t-\tb.target\t-\t-
zdata/sink/f1/left\t/left\ton\ton\ton\ton\ton\toff\ton\toff\t-\tnone\t-\t-\t-\t-\t-\t-\t-\ton
zdata/sink/f1/none\tlegacy\ton\ton\ton\ton\ton\toff\ton\toff\t-\tnone\t-\t-\t-\t-\t-\t-\t-\t-

zdata\t/short\ton
";

fn beside_the_generator(name: &str) -> Tree {
    let tree = Tree::new(name);
    tree.put("/etc/zfs/zfs-list.cache/zdata", CACHE)
        .put("/usr/lib/systemd/system-generators/zfs-mount-generator", "");
    tree
}

#[test]
fn the_cache_of_zfs_mount_generator_is_read_as_it_reads_it() {
    use super::zfs_generator::{in_use, key_unit, mount_unit};
    let tree = beside_the_generator("cache");
    let cache = in_use(&tree.host()).unwrap().unwrap();
    assert_eq!(cache.odd.len(), 1, "{:?}", cache.odd);
    let units: Vec<Option<&str>> = cache.lines.iter().map(|l| l.unit.as_deref()).collect();
    let of_f1 = "data-f1\\x2dx-.y.mount";
    let expected = [
        Some("data.mount"),
        None,
        Some("data-nfs.mount"),
        Some("own.mount"),
        Some(of_f1),
        Some("c.mount"),
        None,
        None,
    ];
    assert_eq!(units, expected);
    let stops: Vec<bool> = cache.lines.iter().map(|l| l.stops).collect();
    assert_eq!(
        stops,
        [false, false, true, false, false, true, false, false]
    );
    let roots = cache.lines.iter().filter_map(|l| l.root.as_ref());
    assert_eq!(roots.count(), 4);
    assert_eq!(
        key_unit(&"zdata/a-b.c".parse().unwrap()),
        "zfs-load-key@zdata-a\\x2db.c.service"
    );
    for odd in ["/", "none", "legacy", "relative", "/a/../b", "/a/."] {
        assert_eq!(mount_unit(odd), None, "{odd}");
    }
    assert_eq!(mount_unit("/.a").as_deref(), Some("\\x2ea.mount"));
}

#[test]
fn a_generator_that_is_not_in_use_is_none() {
    use super::zfs_generator::in_use;
    let tree = beside_the_generator("unused");
    let mask = tree.0.join("etc/systemd/system-generators");
    fs::create_dir_all(&mask).unwrap();
    std::os::unix::fs::symlink("/dev/null", mask.join("zfs-mount-generator")).unwrap();
    assert_eq!(in_use(&tree.host()).unwrap(), None, "masked");
    fs::remove_dir_all(&mask).unwrap();
    tree.put("/etc/zfs/zfs-list.cache/zdata", "\n");
    assert_eq!(in_use(&tree.host()).unwrap(), None, "the pool was exported");
    let tree = Tree::new("no-generator");
    tree.put("/etc/zfs/zfs-list.cache/zdata", CACHE);
    assert_eq!(in_use(&tree.host()).unwrap(), None);
}

/// What the next boot must not do: load a key of ours from elsewhere, or mount a replica as it was
/// cached. What belongs to others stays as it is.
#[test]
fn beside_zfs_mount_generator_keys_and_replicas_are_ours() {
    use super::zfs_generator::{Place, in_use, made};
    let config = crate::config::Config::parse(
        r#"(node: "f0", store: (label: "F3S_KEYS"), roots: [
            (dataset: "zdata/enc", key: "f0:z", role: primary, required: true),
            (dataset: "zdata/sink/f1", key: "f1:z", role: replica, required: true),
        ])"#,
    );
    let tree = beside_the_generator("made");
    let cache = in_use(&tree.host()).unwrap().unwrap();
    let made = made(&config.unwrap(), &cache);
    let paths: Vec<(Place, &str)> = made.iter().map(|m| (m.place, m.path.as_str())).collect();
    let expected = [
        (Place::Early, "zfs-load-key@zdata-enc.service"),
        (Place::Early, "zfs-load-key@zdata-sink-f1.service"),
        (Place::Normal, "data-f1\\x2dx-.y.mount.d/f3skeys.conf"),
        (Place::Normal, "c.mount.d/f3skeys.conf"),
    ];
    assert_eq!(paths, expected);
    assert!(made[0].text.contains("\nExecStart=/usr/bin/true\n"));
    assert!(
        made[2]
            .text
            .contains("\nConditionPathExists=!/etc/f3skeys.ron\n")
    );
}

#[test]
fn our_own_condition_counts_as_none_only_where_it_is_the_first_command() {
    let ours = "/etc/rc.d/f3skeys enabled || [ $? -ne 1 ] || return 0\n";
    for (before, after, expected) in [
        ("", "a=1\n", Some("1")),
        ("# why\n\n  # and how\n", "a=1\n", Some("1")),
        ("a=0\n", "a=1\n", None),
        ("a=0; ", "", None),
        ("a=\\\\\\", "", None),
        ("# why \\\n", "a=1\n", Some("1")),
    ] {
        let text = format!("{before}{ours}{after}");
        let known = match RcConf::of(&text).get("a") {
            Setting::Value(value) => Some(value),
            Setting::Unset | Setting::Unknown(_) => None,
        };
        assert_eq!(known.as_deref(), expected, "{text}");
    }
}

/// Every text of up to this many of these characters.
fn every_text(of: &[char], longest: usize) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut last = all.clone();
    for _ in 0..longest {
        let longer = |text: &String| of.iter().map(|c| format!("{text}{c}")).collect::<Vec<_>>();
        last = last.iter().flat_map(longer).collect();
        all.extend(last.iter().cloned());
    }
    all
}

/// What is taken for assignments and nothing else, a shell runs as just that, with the same value.
#[test]
fn what_is_said_of_rc_conf_is_what_a_shell_makes_of_it() {
    let signs = ['a', '=', '\'', '"', '\\', '$', '#', ' ', '\n', ';', '\r'];
    let mut script = String::new();
    let mut expected = Vec::new();
    for text in every_text(&signs, 5) {
        let value = match RcConf::of(&text).get("a") {
            Setting::Unknown(_) => continue,
            Setting::Unset => "unset".to_owned(),
            Setting::Value(value) => format!("={value}"),
        };
        let quoted = text.replace('\'', "'\\''");
        script.push_str(&format!(
            "unset a\neval '{quoted}'\nprintf '%s\\0' \"${{a+=}}${{a-unset}}\"\n"
        ));
        expected.push((text, value));
    }
    let mut shell = std::process::Command::new("/bin/sh");
    let told = shell.args(["-s"]).env_clear();
    let file = std::env::temp_dir().join(format!("f3skeys-rc-conf-{}", std::process::id()));
    fs::write(&file, script).unwrap();
    let told = told.stdin(fs::File::open(&file).unwrap()).output().unwrap();
    fs::remove_file(file).unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    let told: Vec<&str> = told.split_terminator('\0').collect();
    for (told, (text, value)) in told.iter().zip(&expected) {
        assert_eq!(told, value, "{text:?}");
    }
    let ended = expected.get(told.len());
    assert_eq!(ended, None, "the shell reads no further");
    println!("rc.conf against sh(1): {} texts", told.len());
    assert!(told.len() > 10_000);
}
