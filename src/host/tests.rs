use super::*;
use crate::report::{Finding, Severity};
use crate::trouble::Trouble;

/// A host in a fresh directory.
struct Tree(PathBuf);

impl Tree {
    fn new(name: &str) -> Tree {
        let root = std::env::temp_dir().join(format!("f3skeys-host-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(&root).unwrap();
        Tree(root)
    }

    fn put(&self, path: &str, text: &str) -> &Tree {
        let path = self.0.join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn host(&self) -> Host {
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
fn a_script_makes_all_of_its_file_unknown() {
    for text in [
        "a=1\nif true; then b=1; fi\n",
        "a=1\n. /etc/other\n",
        "a=1 command\n",
        "a=1\n\"a\"=2\n",
        "a=1 && b=2\n",
        "a=1\nb='never closed\n",
        "a=1\nf() { b=1; }\n",
    ] {
        let conf = with_rc_conf("script", text);
        assert!(matches!(conf.get("a"), Setting::Unknown(_)), "{text}");
        assert!(matches!(conf.get("c"), Setting::Unknown(_)), "{text}");
        assert!(conf.get("a").is_yes().is_err(), "{text}");
    }
}

#[test]
fn later_files_win_and_a_service_reads_its_own() {
    let tree = Tree::new("layers");
    tree.put("/etc/rc.conf", "a=1\nb=1\nc=1\nd=1\n")
        .put("/etc/rc.conf.local", "b=2\n")
        .put("/etc/rc.conf.d/nfsd/own", "c=3\n")
        .put("/etc/rc.conf.d/mountd", "c=4\nif\n")
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
fn fstab_is_read_strictly() {
    let read = |text: &str| -> Result<Vec<FstabLine>, Trouble> {
        fstab(&Tree::new("fstab").put("/etc/fstab", text).host())
    };
    let lines = read("# c\n\n/dev/da0\t/keys  ufs rw,failok 0 0\nLABEL=A\\040B /x\\134y ext4\n");
    let lines = lines.unwrap();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0].at, "/keys");
    assert!(lines[0].has("failok") && lines[0].has("rw") && !lines[0].has("fail"));
    assert_eq!(lines[1].device, "LABEL=A B");
    assert_eq!(lines[1].at, "/x\\y");
    assert!(read("/dev/da0 /keys\n").is_err());
    assert!(read("/dev\\9 /keys ufs rw\n").is_err());
    assert!(read("/dev\\+41 /keys ufs rw\n").is_err());
    assert_eq!(fstab(&Tree::new("no-fstab").host()).unwrap(), []);
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
