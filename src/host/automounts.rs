//! Automounts on a path: the system mounts something there as soon as somebody looks.

use super::binds::wanted;
use super::zfs_generator::mount_unit;
use super::{FstabLine, Host, InitSystem, fstab};
use crate::config::Config;
use crate::os::Mount;
use crate::report::{Finding, Findings, Severity};
use crate::trouble::Trouble;
use std::path::Path;

/// An automount on the mountpoint of the key store, that stands now or that the next boot makes. The store
/// is mounted elsewhere then.
pub fn finding(
    host: &Host,
    config: &Config,
    init: InitSystem,
    mounts: &[Mount],
) -> Option<Finding> {
    let at = &config.store.mountpoint;
    let subject = at.display().to_string();
    let found = match mounts.iter().rev().find(|mount| mount.at == *at) {
        Some(mount) if mount.fstype == "autofs" => Ok(Some(mount.source.clone())),
        _ => of_next_boot(host, init, at),
    };
    let mut said = Findings::default();
    match found {
        Ok(None) => {}
        Ok(Some(by)) => {
            let what = format!(
                "is an automount, by {by}: whoever looks there has the stick mounted, keys and all; f3skeys itself reads it in a place of its own"
            );
            let remedy = "take `x-systemd.automount` out of its line in /etc/fstab, or disable its unit; f3skeys mounts the stick by itself";
            said.push(Severity::Warning, &subject, &what, remedy);
        }
        Err(trouble) => said.unknown(&subject, &trouble.to_string()),
    }
    said.0.pop()
}

/// What makes it: a line of fstab, or a unit that something pulls in.
fn of_next_boot(host: &Host, init: InitSystem, at: &Path) -> Result<Option<String>, Trouble> {
    if init != InitSystem::Systemd {
        return Ok(None);
    }
    let lines = fstab(host)?.lines;
    let is_one = |line: &FstabLine| Path::new(&line.at) == at && line.has("x-systemd.automount");
    if lines.iter().any(is_one) {
        return Ok(Some("a line of /etc/fstab".to_owned()));
    }
    let mount = at.to_str().and_then(mount_unit);
    let stem = mount
        .as_deref()
        .and_then(|unit| unit.strip_suffix(".mount"));
    let unit = stem.map(|stem| format!("{stem}.automount"));
    let wanted = wanted(host)?;
    Ok(unit.filter(|unit| wanted.contains(unit)))
}
