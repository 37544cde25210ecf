//! f3skeys beside `zfs-mount-generator`: whether the next boot, and the systemd that runs now, have what
//! lets both live on one host.

use super::Host;
use super::hooks::INSTALL;
use super::zfs_generator::{CACHE, Cache, Cached, Made, Place, in_use, is_configured, made};
use crate::config::Config;
use crate::report::{Finding, Findings};
use crate::shell::command;

const SUBJECT: &str = "zfs-mount-generator";
const OURS: &str = "/usr/lib/systemd/system-generators/f3skeys-generator";
/// The line of our generator by which it does it.
pub const CALLS: &str = "generate-units";

/// What there is to say of the host's files.
pub fn findings(host: &Host, config: &Config) -> Vec<Finding> {
    let mut found = Findings::default();
    match in_use(host) {
        Ok(Some(cache)) => look(host, config, &cache, &mut found),
        Ok(None) => {}
        Err(e) => found.unknown(SUBJECT, &e.to_string()),
    }
    found.0
}

fn look(host: &Host, config: &Config, cache: &Cache, found: &mut Findings) {
    for odd in &cache.odd {
        let remedy =
            "have zed(8) write it again, or write it by `zfs list` as zfs-mount-generator(8) says";
        found.warn(CACHE, odd, remedy);
    }
    let made = made(config, cache);
    let knows = |text: &str| text.contains(CALLS);
    match host.text(OURS) {
        _ if made.is_empty() => {}
        Ok(Some(text)) if knows(&text) => not_in_effect(host, &made, found),
        // That it is not there the hooks have complained of.
        Ok(None) => {}
        Ok(Some(_)) => {
            let what = format!(
                "its units load keys by themselves, and unmount what they did not open: this {OURS} does not keep them from it"
            );
            found.fail(SUBJECT, &what, INSTALL);
        }
        Err(e) => found.unknown(OURS, &e.to_string()),
    }
    for line in cache.lines.iter().filter(|line| line.stops) {
        may_not_fail(config, line, found);
    }
}

/// Files that systemd does not have now; the next boot makes them.
fn not_in_effect(host: &Host, made: &[Made], found: &mut Findings) {
    const GENERATED: &str = "/run/systemd/generator";
    if matches!(host.about(GENERATED), Ok(None)) {
        return;
    }
    for file in made {
        let place = match file.place {
            Place::Early => "/run/systemd/generator.early",
            Place::Normal => GENERATED,
        };
        let text = host.text(&format!("{place}/{}", file.path));
        if !matches!(text, Ok(Some(text)) if text == file.text) {
            let what = "systemd has not run f3skeys-generator since the configuration, the cache or f3skeys changed, or it failed";
            let remedy =
                "`systemctl daemon-reload`; if that mends nothing, `journalctl -b` says why";
            return found.warn(SUBJECT, what, remedy);
        }
    }
}

fn may_not_fail(config: &Config, line: &Cached, found: &mut Findings) {
    let is_ours = line.root.as_ref().is_some_and(|r| is_configured(config, r));
    if !is_ours && config.role_of(&line.dataset).is_none() {
        return;
    }
    let what = "the boot may not do without it, by its org.openzfs.systemd:nofail or required-by: without the stick it drops to an emergency shell, without network and ssh";
    let remedy = format!(
        "{} and {}",
        command!("zfs set org.openzfs.systemd:nofail=on {}", &line.dataset),
        command!(
            "zfs inherit org.openzfs.systemd:required-by {}",
            &line.dataset
        )
    );
    found.warn(line.dataset.as_str(), what, &remedy);
}
