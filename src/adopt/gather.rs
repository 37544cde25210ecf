//! Gathers the facts of the host: asks the pools and reads the files. It changes nothing.

use super::facts::{BlockFile, Facts, Rc};
use crate::exit::Fault;
use crate::gate::Questions;
use crate::host::{self, Host, Setting, binds, exports, zfs_generator};
use crate::os::{PATHS, PoolState};
use crate::pass::{Node, ONE_CALL};
use crate::plan::Pool;
use crate::report::{Finding, Severity};
use crate::sorted::Set;
use crate::store::Damage;
use crate::time::{Clock, Deadline};
use crate::zfs::Damaged;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long all of it may take.
const BUDGET: Duration = Duration::from_secs(600);
/// Scripts of the f3s articles that name the block file.
const SCRIPTS: [&str; 2] = [
    "/usr/local/bin/carp-auto-failback.sh",
    "/usr/local/bin/carp",
];
/// The links of the units that systemd starts at boot, and the one that serves NFS.
const WANTED_UNITS: &str = "/etc/systemd/system/multi-user.target.wants";
const NFS_UNIT: &str = "nfs-server.service";
/// The end of the block file's name.
const BLOCK_FILE: &str = "NO_AUTO_FAILBACK";
/// What the articles' set-up puts into the exported directory, beside the block file.
const MARKER: &str = "nfs.DO_NOT_REMOVE";

/// The gathering under way.
pub struct Gather<'a> {
    pub(super) node: Node<'a>,
    host: &'a Host,
    deadline: Deadline,
    /// What is known so far.
    pub facts: Facts,
    /// What was changed on the store.
    pub changed: Vec<String>,
    /// What is damaged on the store.
    pub(super) damage: Set<Damage>,
}

impl<'a> Gather<'a> {
    /// Begins; the budget runs from now.
    pub fn begin(node: Node<'a>, host: &'a Host, facts: Facts) -> Gather<'a> {
        Gather {
            node,
            host,
            deadline: Deadline::after(node.system.clock(), BUDGET),
            facts,
            changed: Vec::new(),
            damage: Set::new(),
        }
    }

    pub(super) fn clock(&self) -> &'a dyn Clock {
        self.node.system.clock()
    }

    pub(super) fn at_most(&self, time: Duration) -> Deadline {
        self.deadline.at_most(self.clock(), time)
    }

    /// Notes what is wrong, or only worth knowing.
    pub fn find(&mut self, severity: Severity, subject: &str, what: &str, remedy: &str) {
        let finding = Finding::new(severity, subject, what, remedy);
        if !self.facts.findings.contains(&finding) {
            self.facts.findings.push(finding);
        }
    }

    /// Notes what has failed, and what that means for the exit status.
    pub fn fail(&mut self, fault: Fault, subject: &str, what: &str, remedy: &str) {
        self.find(Severity::Failure, subject, what, remedy);
        self.facts.fault = self.facts.fault.max(Some(fault));
    }

    /// Asks every imported pool, the kernel first.
    pub fn pools(&mut self) {
        match self.node.zfs.pools(self.at_most(ONE_CALL)) {
            Ok(pools) => {
                for pool in pools {
                    let (seen, damaged) = self.pool(&pool);
                    self.facts.pools.insert(pool, seen);
                    self.facts.damaged.extend(damaged);
                }
            }
            Err(trouble) => self.fail(
                Fault::Unavailable,
                "pools",
                &trouble.to_string(),
                "see `zpool status`, then run `f3skeys adopt` again",
            ),
        }
    }

    fn pool(&self, pool: &str) -> (Pool, Vec<Damaged>) {
        let unseen = match self.node.system.pool_state(pool) {
            PoolState::NotImported => Pool::NotImported,
            PoolState::Suspended => Pool::Suspended,
            PoolState::Unknown(why) => Pool::NotSeen(why),
            PoolState::Works(_) => match self.node.zfs.observe(pool, self.at_most(ONE_CALL)) {
                Ok(seen) => return (Pool::Seen(seen.datasets), seen.damaged),
                Err(trouble) => Pool::NotSeen(trouble.to_string()),
            },
        };
        (unseen, Vec::new())
    }

    /// Reads what the host's files say. A file that cannot be read is said.
    pub fn files(&mut self) {
        match host::rc_conf(self.host) {
            Ok(conf) => self.rc(&conf),
            Err(trouble) => self.unread("rc.conf", &trouble.to_string()),
        }
        match host::fstab(self.host) {
            Ok(fstab) => {
                for odd in &fstab.odd {
                    self.unread("fstab", odd);
                }
                self.facts.fstab = fstab;
            }
            Err(trouble) => self.unread("fstab", &trouble.to_string()),
        }
        match binds::binds(self.host, PATHS.init) {
            Ok(binds) => self.facts.binds = binds,
            Err(trouble) => self.unread("binds", &trouble.to_string()),
        }
        match zfs_generator::in_use(self.host) {
            Ok(cache) => self.facts.cache = cache,
            Err(e) => self.unread("zfs-mount-generator", &e.to_string()),
        }
        self.units();
        self.exports();
        self.block_file();
    }

    fn unread(&mut self, subject: &str, why: &str) {
        let remedy = "nothing is inferred from it; look at what it says yourself";
        self.find(Severity::Warning, subject, why, remedy);
    }

    fn rc(&mut self, conf: &host::RcConf) {
        let mut unknown = Vec::new();
        let mut value = |setting: Setting| match setting {
            Setting::Value(value) => Some(value),
            Setting::Unset => None,
            Setting::Unknown(why) => {
                unknown.push(why);
                None
            }
        };
        let is_on = |service, variable| conf.seen_by(service, variable).is_yes() == Ok(true);
        // nfsd starts a mountd that is not enabled, so that goes after it.
        let mut services: Vec<&str> = match is_on("mountd", "mountd_enable") {
            true => vec!["mountd", "nfsd"],
            false => vec!["nfsd", "mountd"],
        };
        if is_on("stunnel", "stunnel_enable") {
            services.push("stunnel");
        }
        if !is_on("nfsd", "nfs_server_enable") {
            services.clear();
        }
        self.facts.services = services.into_iter().map(str::to_owned).collect();
        let enable = conf.seen_by("zfskeys", "zfskeys_enable");
        let datasets = value(conf.seen_by("zfskeys", "zfskeys_datasets")).unwrap_or_default();
        let hostname = value(conf.get("hostname"));
        self.facts.rc = Rc {
            hostname,
            // What only a shell could tell is told as if it were on: then a person looks.
            zfskeys: enable.is_yes().unwrap_or(true),
            zfskeys_datasets: datasets.split_whitespace().map(str::to_owned).collect(),
            carp: self
                .text("/etc/rc.conf")
                .is_some_and(|text| sets_vhid(&text)),
        };
        for why in unknown {
            self.unread("rc.conf", &why);
        }
    }

    /// What systemd starts here.
    fn units(&mut self) {
        match self.host.names(WANTED_UNITS) {
            Ok(names) if names.iter().any(|name| name == NFS_UNIT) => {
                self.facts.services = vec![NFS_UNIT.to_owned()];
            }
            Ok(_) => {}
            Err(e) => self.unread(WANTED_UNITS, &e.to_string()),
        }
    }

    fn text(&mut self, path: &str) -> Option<String> {
        match self.host.text(path) {
            Ok(text) => text,
            Err(e) => {
                self.unread(path, &e.to_string());
                None
            }
        }
    }

    fn exports(&mut self) {
        let mut files: Vec<String> = exports::FILES.map(str::to_owned).into();
        match self.host.names(exports::MORE) {
            Ok(names) => {
                let names = names.iter().filter(|name| name.ends_with(".exports"));
                files.extend(names.map(|name| format!("{}/{name}", exports::MORE)));
            }
            Err(e) => self.unread(exports::MORE, &e.to_string()),
        }
        for file in files {
            for path in self
                .text(&file)
                .iter()
                .flat_map(|text| exports::paths(text))
            {
                self.facts
                    .exports
                    .entry(path)
                    .or_insert_with(|| file.clone());
            }
        }
    }

    /// Looks for the convention of the f3s articles: in its scripts, else beside its marker file.
    fn block_file(&mut self) {
        for script in SCRIPTS {
            let named = self.text(script).and_then(|text| block_file_in(&text));
            if let Some(path) = named {
                let named_by = script.to_owned();
                self.facts.block_file = Some(BlockFile { path, named_by });
                return;
            }
        }
        let directories: Vec<PathBuf> = self.facts.exports.keys().cloned().collect();
        let block = |directory: &Path| directory.join(format!("nfs.{BLOCK_FILE}"));
        let questions = Questions {
            files: directories
                .iter()
                .flat_map(|directory| [block(directory), directory.join(MARKER)])
                .collect(),
            ..Questions::default()
        };
        let Ok(live) = self.node.system.look(&questions, self.at_most(ONE_CALL)) else {
            return; // Without a look it stays a question to the person.
        };
        let there = |path: &Path| matches!(live.files.get(path), Some(Ok(true)));
        self.facts.block_file = directories.iter().find_map(|directory| {
            let seen = [block(directory), directory.join(MARKER)]
                .into_iter()
                .find(|f| there(f))?;
            Some(BlockFile {
                path: block(directory),
                named_by: seen.display().to_string(),
            })
        });
    }
}

/// Whether a line of rc.conf gives an interface a CARP address.
fn sets_vhid(text: &str) -> bool {
    text.lines().any(|line| {
        line.trim_start().starts_with("ifconfig_")
            && line.split([' ', '"', '\'', '=']).any(|word| word == "vhid")
    })
}

/// The absolute path that ends in the block file's name, in a script.
fn block_file_in(script: &str) -> Option<PathBuf> {
    script
        .split(|letter: char| letter.is_whitespace() || "\"'=;()`".contains(letter))
        .find(|word| word.starts_with('/') && word.ends_with(BLOCK_FILE))
        .map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_file_is_found_in_the_scripts_of_the_articles() {
        let script = "LOGFILE=\"/var/log/x.log\"\nBLOCK_FILE=\"/data/nfs/nfs.NO_AUTO_FAILBACK\"\nif [ -f \"$BLOCK_FILE\" ]; then\n";
        let expected = Some(PathBuf::from("/data/nfs/nfs.NO_AUTO_FAILBACK"));
        assert_eq!(block_file_in(script), expected);
        assert_eq!(
            block_file_in("nfs.NO_AUTO_FAILBACK $X/nfs.NO_AUTO_FAILBACK"),
            None
        );
    }

    #[test]
    fn carp_is_seen_in_rc_conf() {
        let line = "ifconfig_re0_alias0=\"inet vhid 1 pass testpass alias 192.168.1.138/32\"";
        assert!(sets_vhid(line));
        for other in [
            "#ifconfig_re0=\"vhid 1\"",
            "ifconfig_re0=\"DHCP\"",
            "x=\"vhid 1\"",
        ] {
            assert!(!sets_vhid(other), "{other}");
        }
    }
}
