//! Lines of fstab(5) that mount a ZFS file system: what a boot makes of them, and what should stand
//! there instead. The system mounts them when it likes, by default before any key is loaded; a line
//! that fails stops the boot unless it says otherwise. Pure.

use crate::config::Config;
use crate::host::{Fstab, FstabLine, InitSystem};
use crate::names::DatasetName;
use crate::plan::Observed;
use crate::report::{Finding, Severity};
use crate::shell::command;
use crate::zfs::{Dataset, KeyStatus, Mountpoint};
use std::path::Path;

const SUBJECT: &str = "/etc/fstab";
/// Units of systemd behind which keys are loaded.
const AFTER_KEYS: [&str; 3] = ["f3skeys.service", "zfs-mount.service", READY];
const READY: &str = "f3sready.service";
/// Options that order a mount behind a unit.
const ORDERS: [&str; 3] = ["x-systemd.after", "x-systemd.requires", "x-systemd.wants"];

/// A line that the boot mounts a file system of ZFS by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Legacy<'a> {
    /// The line.
    pub line: &'a FstabLine,
    /// What it mounts.
    pub dataset: DatasetName,
    /// The boot stops when it cannot be mounted.
    pub stops: bool,
    /// It is mounted behind f3skeys.
    pub after_keys: bool,
    /// It is mounted before the gates are asked.
    pub before_gates: bool,
}

/// What is known of the pools, and which roots are configured.
pub struct Known<'a> {
    init: InitSystem,
    roots: Vec<&'a DatasetName>,
    datasets: Vec<&'a Dataset>,
}

/// Whose matter the key of a dataset is.
enum Keyed<'a> {
    /// f3skeys'.
    Ours,
    /// Somebody else's, who loads the key of this root.
    Others(&'a DatasetName),
    /// It needs no key that is not there already.
    Nobodys,
    /// Nobody knows: it was not seen.
    NotKnown,
}

/// The lines of ZFS that the boot mounts by itself.
pub fn lines(init: InitSystem, fstab: &Fstab) -> Vec<Legacy<'_>> {
    let of_zfs = fstab.lines.iter().filter(|line| line.fstype == "zfs");
    let by_itself = of_zfs.filter(|line| !line.has("noauto") && !line.has("x-systemd.automount"));
    by_itself
        .filter_map(|line| {
            let dataset = line.device.parse().ok()?;
            Some(Legacy::of(init, line, dataset))
        })
        .collect()
}

impl<'a> Legacy<'a> {
    fn of(init: InitSystem, line: &'a FstabLine, dataset: DatasetName) -> Legacy<'a> {
        let ordered = |keys: &[&str], units: &[&str]| {
            let words = line.options.iter().filter_map(|o| o.split_once('='));
            let mut words = words.filter(|(key, _)| keys.contains(key));
            words.any(|(_, unit)| units.contains(&unit))
        };
        let (stops, after_keys, before_gates) = match init {
            // What is `late` is mounted when the passes are over.
            InitSystem::Rc => (!line.has("failok"), line.has("late"), false),
            InitSystem::Systemd => (
                !line.has("nofail") && !line.has("_netdev"),
                ordered(&ORDERS, &AFTER_KEYS),
                ordered(&["x-systemd.before"], &[READY]),
            ),
        };
        Legacy {
            line,
            dataset,
            stops,
            after_keys,
            before_gates,
        }
    }

    /// Whether the mount is tried once the keys are there, and is waited for before gates are asked.
    pub fn in_time(&self) -> bool {
        self.after_keys && self.before_gates
    }

    fn mends(&self, init: InitSystem, dataset: Option<&Dataset>) -> String {
        let at = Path::new(&self.line.at);
        let set = command!("zfs set mountpoint={} {}", at, &self.dataset);
        match dataset.map(|found| &found.mountpoint) {
            Some(Mountpoint::Path(path)) if path == at => {
                "take the line out: ZFS mounts it there by itself".to_owned()
            }
            Some(Mountpoint::Legacy) | None => format!(
                "write this line instead, or take it out and {set}: {}",
                self.better(init)
            ),
            Some(_) => format!("take the line out, then {set}"),
        }
    }

    /// The line that does no harm.
    fn better(&self, init: InitSystem) -> String {
        let mut options: Vec<&str> = self.line.options.iter().map(String::as_str).collect();
        let mut add = |option: &'static str, is_there: bool| {
            if !is_there {
                options.push(option);
            }
        };
        match init {
            InitSystem::Rc => {
                add("late", self.after_keys);
                add("failok", !self.stops);
            }
            InitSystem::Systemd => {
                add("nofail", self.line.has("nofail"));
                add("x-systemd.after=f3skeys.service", self.after_keys);
                add("x-systemd.after=zfs-mount.service", self.after_keys);
                add("x-systemd.before=f3sready.service", self.before_gates);
            }
        }
        options.retain(|option| !option.is_empty());
        written(self.line, &options)
    }
}

/// A line as fstab(5) has it.
pub fn written(line: &FstabLine, options: &[&str]) -> String {
    let escaped = |text: &str| {
        let escape = |c: char| match c {
            ' ' | '\t' | '\n' | '\\' => format!("\\{:03o}", u32::from(c)),
            c => c.to_string(),
        };
        text.chars().map(escape).collect::<String>()
    };
    let options = options.join(",");
    let (device, at) = (escaped(&line.device), escaped(&line.at));
    format!("{device} {at} {} {options} 0 0", line.fstype)
}

impl<'a> Known<'a> {
    /// By the configuration.
    pub fn of(init: InitSystem, config: &'a Config, observed: &'a Observed) -> Known<'a> {
        let roots = config.roots.iter().map(|root| &root.dataset).collect();
        Known::new(init, roots, observed.datasets().collect())
    }

    /// By these roots.
    pub fn new(
        init: InitSystem,
        roots: Vec<&'a DatasetName>,
        datasets: Vec<&'a Dataset>,
    ) -> Known<'a> {
        Known {
            init,
            roots,
            datasets,
        }
    }

    fn find(&self, name: &DatasetName) -> Option<&'a Dataset> {
        self.datasets.iter().find(|d| d.name == *name).copied()
    }

    fn keyed(&self, name: &DatasetName) -> Keyed<'a> {
        let configured = self.roots.iter().any(|root| name.is_at_or_below(root));
        let Some(dataset) = self.find(name) else {
            return match configured {
                true => Keyed::Ours,
                false => Keyed::NotKnown,
            };
        };
        match &dataset.encryption_root {
            None if configured => Keyed::Ours,
            None => Keyed::Nobodys,
            Some(root) if self.roots.contains(&root) => Keyed::Ours,
            // Its key was asked for before anything else ran.
            Some(root) if self.is_of_the_system(root) => Keyed::Nobodys,
            Some(root) => Keyed::Others(root),
        }
    }

    fn is_of_the_system(&self, root: &DatasetName) -> bool {
        let mut of_root = self.datasets.iter().filter(|d| {
            let at = Mountpoint::Path("/".into());
            d.mounted && d.mountpoint == at
        });
        of_root.any(|d| d.encryption_root.as_ref() == Some(root))
    }

    /// Whether mount(8) takes the line: it refuses what ZFS itself mounts.
    fn can_be_mounted(&self, legacy: &Legacy) -> bool {
        let found = self.find(&legacy.dataset);
        found.is_none_or(|d| d.mountpoint == Mountpoint::Legacy || legacy.line.has("zfsutil"))
    }

    /// What there is to say of a line, as the boot in general will find it.
    pub fn finding(&self, legacy: &Legacy) -> Option<Finding> {
        let name = &legacy.dataset;
        let danger = match (legacy.stops, self.init) {
            (false, _) => "it stays unmounted",
            (true, InitSystem::Rc) => "the boot stops in single-user mode, without network and ssh",
            (true, InitSystem::Systemd) => {
                "the boot drops to an emergency shell, without network and ssh"
            }
        };
        let at = &legacy.line.at;
        let ours = || match (self.can_be_mounted(legacy), legacy.after_keys) {
            (false, _) => Some(format!(
                "mounts {name} on {at}, and mount(8) refuses what has another mountpoint than `legacy`: {danger}"
            )),
            (true, false) => Some(format!(
                "mounts {name} on {at} before its key is loaded: {danger}"
            )),
            (true, true) if legacy.stops => Some(format!(
                "mounts {name} on {at} and may not fail: without the stick {danger}"
            )),
            (true, true) if !legacy.before_gates && self.init == InitSystem::Systemd => {
                Some(format!(
                    "mounts {name} on {at}, and {READY} does not wait for it: gates may be asked before"
                ))
            }
            (true, true) => None,
        };
        let (what, can_wait) = match self.keyed(name) {
            Keyed::Nobodys => return None,
            Keyed::Ours => (ours()?, !legacy.stops),
            Keyed::Others(_) | Keyed::NotKnown if !legacy.stops => return None,
            Keyed::Others(root) => (
                format!(
                    "mounts {name} on {at}, and f3skeys does not load the key of {root}: if nobody does in time, {danger}"
                ),
                true,
            ),
            Keyed::NotKnown => (
                format!("mounts {name} on {at}, which was not seen: if it needs a key, {danger}"),
                false,
            ),
        };
        let severity = match can_wait {
            true => Severity::Warning,
            false => Severity::Failure,
        };
        let mend = legacy.mends(self.init, self.find(name));
        Some(Finding::new(severity, SUBJECT, &what, &mend))
    }

    /// The same of all lines.
    pub fn findings(&self, fstab: &Fstab) -> Vec<Finding> {
        let lines = lines(self.init, fstab);
        lines.iter().filter_map(|line| self.finding(line)).collect()
    }

    /// Whether the line is mounted, its key loaded or not as the datasets say.
    pub fn is_mounted(&self, legacy: &Legacy) -> bool {
        let found = self.find(&legacy.dataset);
        let opens = |d: &&Dataset| d.key_status != KeyStatus::Unavailable && !d.jailed;
        legacy.after_keys && self.can_be_mounted(legacy) && found.filter(opens).is_some()
    }

    /// The same for a boot in which the datasets are open, or not, as they say: a line that may not
    /// fail, and does not, is no reason.
    pub fn foretold(&self, legacy: &Legacy) -> Option<Finding> {
        let mut finding = self.finding(legacy)?;
        if self.is_mounted(legacy) {
            finding.severity = Severity::Warning;
        }
        Some(finding)
    }
}
