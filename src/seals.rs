//! What a replica has to be like before its key is loaded: read-only, and mounted so that nothing of
//! it is run with other rights, is a device, or is run at all; and shared only by this node's own word. Pure.
//!
//! These properties can come with a stream. They are set on each dataset at or below a replica, since
//! then they hold for every mount, by whomever it is made. The effective value counts, wherever it
//! comes from; of a share, whether a stream brought it: `zfs share -a` obeys it.

use crate::config::{Config, Role, Root};
use crate::names::DatasetName;
use crate::places::Places;
use crate::plan::{Observed, Step};
use crate::shell::command;
use crate::sorted::{self, Set};
use crate::zfs::{Dataset, Kind, Source};

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
    /// `sharenfs=off`, unless this node itself shares it.
    NoNfs,
    /// `sharesmb=off`, unless this node itself shares it.
    NoSmb,
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
            Seal::NoNfs => "sharenfs=off",
            Seal::NoSmb => "sharesmb=off",
        }
    }

    /// The one that overrides what a stream says of this property; none does of `mountpoint`.
    pub fn against(property: &str) -> Option<Seal> {
        match property {
            "readonly" => Some(Seal::Readonly),
            "setuid" => Some(Seal::Setuid),
            "devices" => Some(Seal::Devices),
            "exec" => Some(Seal::Exec),
            "canmount" => Some(Seal::NoAuto),
            "sharenfs" => Some(Seal::NoNfs),
            "sharesmb" => Some(Seal::NoSmb),
            _ => None,
        }
    }

    fn is_share(&self) -> bool {
        matches!(self, Seal::NoNfs | Seal::NoSmb)
    }
}

/// Where a dataset's share comes from, which this seal ends.
fn share_of(dataset: &Dataset, seal: Seal) -> Option<&Source> {
    match seal {
        Seal::NoNfs => dataset.sharenfs.as_ref(),
        Seal::NoSmb => dataset.sharesmb.as_ref(),
        Seal::Readonly | Seal::Setuid | Seal::Devices | Seal::Exec | Seal::NoAuto => None,
    }
}

/// The datasets on which a share is set here.
fn shared_here(observed: &Observed, seal: Seal) -> Set<&DatasetName> {
    let here = |d: &&Dataset| share_of(d, seal) == Some(&Source::Local);
    let datasets = observed.datasets().filter(here);
    datasets.map(|dataset| &dataset.name).collect()
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
        Seal::NoNfs => command!("zfs set sharenfs=off {}", name),
        Seal::NoSmb => command!("zfs set sharesmb=off {}", name),
    };
    seals.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// What is to be set first of all: [`Seal::Readonly`] and its like, then `shares`.
pub fn steps(config: &Config, observed: &Observed) -> Vec<Step> {
    let mut steps = but_shares(config, observed);
    steps.extend(shares(config, observed));
    steps
}

/// All that is to be set but the ends of shares: what can be set on a dataset while nothing is known of
/// what lies below it.
pub fn but_shares(config: &Config, observed: &Observed) -> Vec<Step> {
    let seals = Seals::of(config, observed);
    let datasets = observed.datasets();
    let steps = datasets.filter_map(|d| step(&d.name, seals.missing(d), |seal| !seal.is_share()));
    steps.collect()
}

/// The shares to be ended, those below a dataset before its own. To end one, `zfs set` goes through what
/// lies below and mounts what is still shared: so nothing is ended above what is not understood.
fn shares(config: &Config, observed: &Observed) -> Vec<Step> {
    let seals = Seals::of(config, observed);
    let damaged = observed.damaged.keys();
    let above = damaged.clone().flat_map(DatasetName::above);
    let unclear: Set<DatasetName> = above.chain(damaged.cloned()).collect();
    let clear = observed.datasets().filter(|d| !unclear.contains(&d.name));
    let steps = clear.filter_map(|d| step(&d.name, seals.missing(d), Seal::is_share));
    let mut steps: Vec<Step> = steps.collect();
    // In the reverse order of names whatever lies below a dataset comes before it.
    sorted::sort_by(&mut steps, |a, b| b.dataset().cmp(a.dataset()));
    steps
}

/// The step that sets those of these that are wanted, if there are any.
fn step(name: &DatasetName, mut seals: Vec<Seal>, is_wanted: fn(&Seal) -> bool) -> Option<Step> {
    seals.retain(is_wanted);
    (!seals.is_empty()).then(|| Step::Seal(name.clone(), seals))
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
    /// The datasets that this node itself shares, by NFS and by SMB.
    shared: [Set<&'a DatasetName>; 2],
}

impl<'a> Seals<'a> {
    /// Collects it.
    pub fn of(config: &'a Config, observed: &'a Observed) -> Seals<'a> {
        Seals {
            config,
            places: Places::of(config, observed),
            promoted: observed.promoted(config),
            shared: [Seal::NoNfs, Seal::NoSmb].map(|seal| shared_here(observed, seal)),
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
            Seal::NoNfs | Seal::NoSmb => self.is_shared_by_stream(dataset, *seal),
        };
        let all = [
            Seal::Readonly,
            Seal::Setuid,
            Seal::Devices,
            Seal::Exec,
            Seal::NoAuto,
            Seal::NoNfs,
            Seal::NoSmb,
        ];
        all.into_iter().filter(lacks).collect()
    }

    /// The shares of a replica that come with a stream to this very dataset, or are nobody's word.
    pub fn shared_by_stream(&self, dataset: &Dataset) -> Vec<Seal> {
        let mut missing = self.missing(dataset);
        let is_inherited =
            |seal: &Seal| matches!(share_of(dataset, *seal), Some(Source::Inherited(_)));
        missing.retain(|seal| seal.is_share() && !is_inherited(seal));
        missing
    }

    /// Whether it is shared, and this node itself does not say so: neither on it nor where it has that from.
    fn is_shared_by_stream(&self, dataset: &Dataset, seal: Seal) -> bool {
        let [nfs, smb] = &self.shared;
        let here = if seal == Seal::NoNfs { nfs } else { smb };
        match share_of(dataset, seal) {
            None | Some(Source::Local) => false,
            Some(Source::Inherited(from)) => !here.contains(&from),
            Some(_) => true,
        }
    }

    /// Whether a replica's key has to be loaded before this dataset is mounted: then that is refused.
    fn has_replicas_key(&self, dataset: &Dataset) -> bool {
        let root = dataset.encryption_root.as_ref();
        root.is_some_and(|root| self.config.role_of(root) == Some(Role::Replica))
    }
}
