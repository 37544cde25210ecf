//! The hooks of FreeBSD's rc(8): scripts in `/etc/rc.d`, variables, a program, devd and cron.

use super::hooks::{Found, INSTALL, Wanted, fitted, program};
use super::{InitSystem, RcConf, Setting, rc_conf};
use crate::shell::command;
use crate::sorted;
use std::os::unix::fs::MetadataExt;

const SCRIPTS: &str = "/etc/rc.d";
const LOCAL_SCRIPTS: &str = "/usr/local/etc/rc.d";

/// A script of this version.
struct Script {
    name: &'static str,
    text: &'static str,
    /// The line that does the work; a script without it is no relative of ours.
    calls: &'static str,
    without: &'static str,
    /// The boot itself needs it.
    vital: bool,
}

const OURS: [Script; 3] = [
    Script {
        name: "f3skeys",
        text: include_str!("../../rc.d/f3skeys"),
        calls: "\"${f3skeys_command}\" boot",
        without: "no key is loaded at boot",
        vital: true,
    },
    Script {
        name: "f3sready",
        text: include_str!("../../rc.d/f3sready"),
        calls: "\"${f3skeys_command}\" ready",
        without: "no gate opens at boot",
        vital: true,
    },
    Script {
        name: "f3scarp",
        text: include_str!("../../rc.d/f3scarp"),
        calls: "\"${f3skeys_command}\" carp",
        without: "a node that CARP holds in INIT never takes an address",
        vital: false,
    },
];

/// A file that cron and devd read or run, and what is missing without it.
struct Table {
    path: &'static str,
    text: &'static str,
    without: &'static str,
    /// It is run.
    executable: bool,
}

const TABLES: [Table; 3] = [
    Table {
        path: "/usr/local/etc/devd/f3skeys.conf",
        text: include_str!("../../rc.d/devd/f3skeys.conf"),
        without: "a stick that comes late does not finish the boot by itself",
        executable: false,
    },
    Table {
        path: "/usr/local/etc/cron.d/f3skeys",
        text: include_str!("../../rc.d/cron.d-f3skeys"),
        without: "a gate that closes stops no service, and CARP is not held again",
        executable: false,
    },
    Table {
        path: "/usr/local/libexec/f3skeys-alone",
        text: include_str!("../../rc.d/libexec/f3skeys-alone"),
        without: "cron stops no service of a gate that closes, and devd finishes no boot",
        executable: true,
    },
];

pub(super) fn look(found: &mut Found) {
    for script in &OURS {
        look_at_script(found, script);
    }
    others(found);
    match rc_conf(found.host) {
        Ok(conf) => variables(found, &conf),
        Err(trouble) => found.findings.unknown("rc.conf", &trouble.to_string()),
    }
    for table in &TABLES {
        look_at_table(found, table);
    }
}

fn look_at_script(found: &mut Found, script: &Script) {
    let path = format!("{SCRIPTS}/{}", script.name);
    if !script.vital && matches!(found.host.about(&path), Ok(None)) {
        let what = format!("is not there: {}", script.without);
        found.findings.warn(&path, &what, INSTALL);
        return;
    }
    let wanted = Wanted {
        executable: true,
        early: &["/"],
        without: script.without,
        remedy: INSTALL,
    };
    if !found.file(&path, &wanted) {
        return;
    }
    let Some(text) = found.text(&path) else {
        return;
    };
    if text == fitted(script.text, InitSystem::Rc) {
        return;
    }
    if !text.contains(script.calls) {
        let what = "an older or foreign script is in the way: it does not run this program";
        let remedy = format!("move it out of {SCRIPTS}, then {INSTALL}");
        found.findings.fail(&path, what, &remedy);
    } else if order(&text) != order(script.text) {
        let what = format!(
            "its place in the boot is another than this version needs: `{}`",
            order(&text).join("; ")
        );
        found.findings.fail(&path, &what, INSTALL);
    } else {
        let what = "is older than this version, or was changed";
        found.findings.warn(&path, what, INSTALL);
    }
}

/// The lines that rcorder(8) reads, each with its words in order.
fn order(text: &str) -> Vec<String> {
    let keywords = ["PROVIDE:", "REQUIRE:", "BEFORE:", "KEYWORD:"];
    let comments = text.lines().filter_map(|line| line.strip_prefix('#'));
    let mut lines: Vec<String> = comments
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|words| words.first().is_some_and(|word| keywords.contains(word)))
        .map(|mut words| {
            sorted::sort(&mut words[1..]);
            words.join(" ")
        })
        .collect();
    sorted::sort(&mut lines);
    lines
}

/// Whether a script says that it provides this.
fn provides(text: &str, name: &str) -> bool {
    order(text).iter().any(|line| {
        let mut words = line.split(' ');
        words.next() == Some("PROVIDE:") && words.any(|word| word == name)
    })
}

/// Scripts of others under our names: rc would run them too, or order ours by theirs.
fn others(found: &mut Found) {
    for directory in [SCRIPTS, LOCAL_SCRIPTS] {
        for file in found.names(directory) {
            let ours = |script: &Script| directory == SCRIPTS && script.name == file;
            let path = format!("{directory}/{file}");
            if !OURS.iter().any(ours) && is_run(found, &path) {
                other(found, &path, &file);
            }
        }
    }
}

/// rc takes executable files only.
fn is_run(found: &mut Found, path: &str) -> bool {
    match found.host.about(path) {
        Ok(about) => about.is_some_and(|about| !about.is_dir() && about.mode() & 0o111 != 0),
        Err(e) => {
            found.findings.unknown(path, &e.to_string());
            false
        }
    }
}

fn other(found: &mut Found, path: &str, file: &str) {
    let Some(text) = found.text(path) else {
        return;
    };
    for script in &OURS {
        let name = script.name;
        if file == name || provides(&text, name) {
            let what =
                format!("an older or foreign script is in the way: it is a second `{name}` for rc");
            let remedy = format!("move it out of the way; {SCRIPTS}/{name} does its work");
            found.findings.fail(path, &what, &remedy);
        }
    }
}

fn variables(found: &mut Found, conf: &RcConf) {
    let mut said = false;
    for service in ["f3skeys", "f3sready"] {
        // Both scripts have one variable, so one complaint is enough.
        said = said || !is_on(found, conf, service, "f3skeys_enable");
    }
    is_on(found, conf, "zfs", "zfs_enable");
    let program = match conf.seen_by("f3skeys", "f3skeys_command") {
        Setting::Unset => program(InitSystem::Rc).to_owned(),
        Setting::Value(program) => program,
        Setting::Unknown(why) => return found.findings.unknown("f3skeys_command", &why),
    };
    let wanted = Wanted {
        executable: true,
        early: &["/"],
        without: "the scripts have no program to run",
        remedy: INSTALL,
    };
    found.file(&program, &wanted);
}

fn is_on(found: &mut Found, conf: &RcConf, service: &str, variable: &str) -> bool {
    match conf.seen_by(service, variable).is_yes() {
        Ok(true) => return true,
        Ok(false) => {
            let what = format!("is not YES, so rc skips {SCRIPTS}/{service}");
            found
                .findings
                .fail(variable, &what, &command!("sysrc {}=YES", variable));
        }
        Err(why) => found.findings.unknown(variable, &why),
    }
    false
}

fn look_at_table(found: &mut Found, table: &Table) {
    let path = table.path;
    match found.host.text(path) {
        Ok(Some(text)) => {
            if text != table.text {
                let what = "is older than this version, or was changed";
                found.findings.warn(path, what, INSTALL);
            }
            if table.executable {
                let wanted = Wanted {
                    executable: true,
                    // Nothing of the boot itself needs it.
                    early: &["/usr/local/libexec"],
                    without: table.without,
                    remedy: INSTALL,
                };
                found.file(path, &wanted);
            }
        }
        Ok(None) => {
            let what = format!("is not there: {}", table.without);
            found.findings.warn(path, &what, INSTALL);
        }
        Err(e) => found.findings.unknown(path, &e.to_string()),
    }
}
