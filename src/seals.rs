//! What a replica has to be like before its key is loaded: read-only, and mounted so that nothing of
//! it is run with other rights, is a device, or is run at all. Pure.
//!
//! These properties can come with a stream. They are set on each dataset at or below a replica, since
//! then they hold for every mount, by whomever it is made. The effective value counts, wherever it
//! comes from.

use crate::config::{Config, Role, Root};
use crate::names::DatasetName;
use crate::places::Places;
use crate::plan::{Observed, Step};
use crate::shell::command;
use crate::sorted::Set;
use crate::zfs::{Dataset, Kind};

/// A property of a dataset at or below a replica, with the value that it must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seal {
    /// `readonly=on`, unless the replica is promoted.
    Readonly,
    /// `setuid=off`.
    Setuid,
    /// `devices=off`.
    Devices,
    /// `exec=off`, unless the configuration says `exec: true`.
    Exec,
    /// `canmount=noauto`: its mountpoint is none of its places, and no key of a replica keeps it
    /// from being mounted.
    NoAuto,
}

impl Seal {
    /// The property with its value, as `zfs set` takes it.
    pub fn setting(self) -> &'static str {
        match self {
            Seal::Readonly => "readonly=on",
            Seal::Setuid => "setuid=off",
            Seal::Devices => "devices=off",
            Seal::Exec => "exec=off",
            Seal::NoAuto => "canmount=noauto",
        }
    }
}

/// Settings in the order of these seals, with blanks between.
pub fn settings(seals: &[Seal]) -> String {
    let words: Vec<&str> = seals.iter().map(|seal| seal.setting()).collect();
    words.join(" ")
}

/// The commands that set these by hand.
pub fn commands(seals: &[Seal], name: &DatasetName) -> String {
    let one = |seal: &Seal| match seal {
        Seal::Readonly => command!("zfs set readonly=on {}", name),
        Seal::Setuid => command!("zfs set setuid=off {}", name),
        Seal::Devices => command!("zfs set devices=off {}", name),
        Seal::Exec => command!("zfs set exec=off {}", name),
        Seal::NoAuto => command!("zfs set canmount=noauto {}", name),
    };
    seals.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// What is to be set first of all, a step for each dataset that lacks something.
pub fn steps(config: &Config, observed: &Observed) -> Vec<Step> {
    let seals = Seals::of(config, observed);
    let datasets = observed.datasets();
    let steps = datasets.filter_map(|dataset| {
        let missing = seals.missing(dataset);
        (!missing.is_empty()).then(|| Step::Seal(dataset.name.clone(), missing))
    });
    steps.collect()
}

/// What the dataset that a replica is received into lacks, so that its children have it from birth.
pub fn lacking_in_sink(root: &Root, sink: &Dataset) -> Vec<Seal> {
    let all = [
        (Seal::Readonly, !sink.readonly),
        (Seal::Setuid, sink.setuid),
        (Seal::Devices, sink.devices),
        (Seal::Exec, sink.exec && !root.exec),
    ];
    let lacking = all.into_iter().filter(|(_, lacks)| *lacks);
    lacking.map(|(seal, _)| seal).collect()
}

/// What the seals of datasets depend on.
pub struct Seals<'a> {
    config: &'a Config,
    places: Places<'a>,
    promoted: Set<DatasetName>,
}

impl<'a> Seals<'a> {
    /// Collects it.
    pub fn of(config: &'a Config, observed: &'a Observed) -> Seals<'a> {
        Seals {
            config,
            places: Places::of(config, observed),
            promoted: observed.promoted(config),
        }
    }

    /// What a dataset lacks. One that is not at or below a replica root lacks nothing.
    pub fn missing(&self, dataset: &Dataset) -> Vec<Seal> {
        if self.config.role_of(&dataset.name) != Some(Role::Replica) {
            return Vec::new();
        }
        let now = self.config.role_now(&dataset.name, &self.promoted);
        let may_run = self
            .config
            .root_above(&dataset.name)
            .is_some_and(|r| r.exec);
        let is_file_system = dataset.kind == Kind::Filesystem;
        let lacks = |seal: &Seal| match seal {
            Seal::Readonly => now == Some(Role::Replica) && !dataset.readonly,
            Seal::Setuid => is_file_system && dataset.setuid,
            Seal::Devices => is_file_system && dataset.devices,
            Seal::Exec => is_file_system && dataset.exec && !may_run,
            Seal::NoAuto => self.places.goes_elsewhere(dataset) && !self.has_replicas_key(dataset),
        };
        let all = [
            Seal::Readonly,
            Seal::Setuid,
            Seal::Devices,
            Seal::Exec,
            Seal::NoAuto,
        ];
        all.into_iter().filter(lacks).collect()
    }

    /// Whether a replica's key has to be loaded before this dataset is mounted: then that is refused.
    fn has_replicas_key(&self, dataset: &Dataset) -> bool {
        let root = dataset.encryption_root.as_ref();
        root.is_some_and(|root| self.config.role_of(root) == Some(Role::Replica))
    }
}
