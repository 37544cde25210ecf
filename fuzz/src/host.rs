//! Files of the host.

use f3skeys::bound::{self, Unit};
use f3skeys::host::exports as exported;
use f3skeys::host::fstab::{self, FstabLine};
use f3skeys::host::{RcConf, Setting, zfs_generator};
use std::collections::BTreeSet;

/// A variable that no text of a corpus sets.
const SET_BY_NOBODY: &str = "f3skeys_fuzz_sets_this_nowhere";

/// `rc.conf`.
pub fn rc_conf(bytes: &[u8]) -> bool {
    let text = super::text(bytes);
    let conf = RcConf::of(&text);
    // Another file may set anything. The empty line ends what a backslash may have begun.
    let script = RcConf::of(&format!("{text}\n\n. /etc/other\n"));
    let is_script = matches!(conf.get(SET_BY_NOBODY), Setting::Unknown(_));
    let mut known = false;
    for name in words(&text) {
        assert!(!matches!(script.get(name), Setting::Value(_)), "{name}");
        if let Setting::Value(value) = conf.get(name) {
            assert!(!is_script, "{name} is known of a script");
            let quoted = format!("{name}='{}'\n", value.replace('\'', "'\\''"));
            let again = RcConf::of(&quoted).get(name);
            assert_eq!(again, Setting::Value(value), "{quoted}");
            known = true;
        }
    }
    known
}

/// What may be the name of a variable in a text.
fn words(text: &str) -> BTreeSet<&str> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_of_name(c));
    words.filter(|word| !word.is_empty()).take(200).collect()
}

/// `/etc/fstab`.
pub fn fstab(bytes: &[u8]) -> bool {
    let text = super::text(bytes);
    let read = fstab::lines(&text);
    assert!(read.lines.len() + read.odd.len() <= text.lines().count());
    let written: String = read.lines.iter().map(fstab_line).collect();
    let again = fstab::lines(&written);
    assert_eq!(again.odd, [""; 0]);
    assert_eq!(again.lines, read.lines);
    !read.lines.is_empty()
}

fn fstab_line(line: &FstabLine) -> String {
    let FstabLine {
        device,
        at,
        fstype,
        options,
    } = line;
    let options = options.join(",");
    format!("{} {} {fstype} {options}\n", escaped(device), escaped(at))
}

/// Every character that means something to the parser, in octal; each has a code below 256.
fn escaped(text: &str) -> String {
    let escape = |c: char| match c.is_whitespace() || "\\#\"".contains(c) {
        true => format!("\\{:03o}", u32::from(c)),
        false => c.to_string(),
    };
    text.chars().map(escape).collect()
}

/// The cache of `zfs-mount-generator`: the names of units that it gives go into paths.
pub fn zfs_cache(bytes: &[u8]) -> bool {
    let text = super::text(bytes);
    let cache = zfs_generator::lines(&text, "cache");
    assert!(cache.lines.len() + cache.odd.len() <= text.lines().count());
    let is_of_unit = |c: char| c.is_ascii_alphanumeric() || ":_.\\-@".contains(c);
    for line in &cache.lines {
        let key = line.root.as_ref().map(zfs_generator::key_unit);
        for unit in line.unit.iter().chain(&key) {
            assert!(unit.chars().all(is_of_unit), "{unit}");
            assert!(!unit.starts_with('.'), "{unit}");
        }
        assert!(!line.stops || line.unit.is_some());
    }
    !cache.lines.is_empty()
}

/// What systemd says of units.
pub fn units(bytes: &[u8]) -> bool {
    let text = super::text(bytes);
    let Ok(units) = bound::units(&text) else {
        return false;
    };
    assert!(units.len() <= text.lines().count());
    let written: Vec<String> = units.iter().map(unit).collect();
    let again = bound::units(&written.join("\n"));
    assert_eq!(again.as_deref(), Ok(&units[..]), "{written:?}");
    !units.is_empty()
}

fn unit(unit: &Unit) -> String {
    let state = if unit.active { "active" } else { "failed" };
    format!(
        "Id={}\nActiveState={state}\nFragmentPath={}\nBindsTo={}\n",
        unit.name,
        unit.file,
        unit.bound_to.join(" ")
    )
}

/// exports(5).
pub fn exports(bytes: &[u8]) -> bool {
    let text = super::text(bytes);
    let paths = exported::paths(&text);
    let mut written = String::new();
    for path in &paths {
        let path = path.to_str().expect("of a text");
        assert!(path.starts_with('/'), "{path:?}");
        written.push_str(&(escaped_for_exports(path) + "\n"));
    }
    assert!(paths.len() <= text.len());
    assert_eq!(exported::paths(&written), paths, "{written:?}");
    !paths.is_empty()
}

/// As [`escaped`]; what has no such code is escaped by a backslash alone.
fn escaped_for_exports(path: &str) -> String {
    let escape = |c: char| match (c.is_whitespace() || "\\#\"".contains(c), u32::from(c)) {
        (false, _) => c.to_string(),
        (true, code @ ..0x100) => format!("\\{code:03o}"),
        (true, _) => format!("\\{c}"),
    };
    path.chars().map(escape).collect()
}
