//! The words of the command line: the verbs, their options, and which of these exclude one another.

use crate::init;
use crate::names::{DatasetName, NodeName};
use crate::rotate::What;
use argh::FromArgs;
use std::path::PathBuf;

/// Brings encrypted OpenZFS storage nodes back after a power cut: finds the USB key device,
/// verifies and loads the keys, keeps replicas read-only, mounts what is missing and opens the
/// gates that services wait for. See f3skeys(8).
#[derive(FromArgs, Debug)]
pub(super) struct Arguments {
    /// the configuration to use instead of the installed one
    #[argh(option, arg_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    #[argh(subcommand)]
    pub(super) verb: Verb,
}

#[derive(FromArgs, Debug)]
#[argh(subcommand)]
pub(super) enum Verb {
    Adopt(Adopt),
    Backup(Backup),
    Boot(Boot),
    Carp(Carp),
    Demote(Demote),
    Init(Init),
    Lock(Lock),
    Promote(Promote),
    Ready(Ready),
    Receive(Receive),
    Reconcile(Reconcile),
    Gate(Gate),
    Plan(Plan),
    Prune(Prune),
    Rehearse(Rehearse),
    Rotate(Rotate),
    Status(Status),
    Verify(Verify),
    NewKey(NewKey),
    Doctor(Doctor),
    Version(Version),
}

/// Set replicas read-only and load the keys of all configured roots. Mounts nothing.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "boot")]
pub(super) struct Boot {
    /// a stick was just plugged in: do nothing when no root is missing; else run boot, ready and
    /// reconcile, and become the command after `--`, if any, when that has opened a gate
    #[argh(switch)]
    pub(super) late: bool,
    /// open only this root, with --key-from-stdin, when the stick is dead
    #[argh(option, arg_name = "DATASET")]
    pub(super) root: Option<DatasetName>,
    /// read the root's key from standard input: 32 bytes or 64 hex digits
    #[argh(switch)]
    pub(super) key_from_stdin: bool,
}

/// Mount what is still missing and write the markers of the gates that hold.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "ready")]
pub(super) struct Ready {}

/// Ask whether a gate is open now. Exit 0: open, 1: closed, 2: cannot tell.
/// `gate NAME -- COMMAND...` becomes the command if it is.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "gate")]
pub(super) struct Gate {
    /// the gate
    #[argh(positional)]
    pub(super) name: String,
}

/// Let this node take part in CARP, if the gate that `carp` names is open.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "carp")]
pub(super) struct Carp {
    /// also hold every address in INIT when the gate is closed
    #[argh(switch)]
    pub(super) reconcile: bool,
}

/// Hold gates against the live system: write and remove their markers, start the services of
/// those that have opened and stop those of the closed.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "reconcile")]
pub(super) struct Reconcile {}

/// The opposite of a boot: close the gates, hold CARP in INIT, stop the services of the gates,
/// unmount the datasets and unload the keys. `boot`, `ready` and `carp` undo it.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "lock")]
pub(super) struct Lock {}

/// Make a replica writable here, because its primary is lost. The primary will not fail back
/// until this is undone with `demote`.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "promote")]
pub(super) struct Promote {
    /// the replica, as the configuration names it
    #[argh(positional)]
    pub(super) dataset: DatasetName,
    /// why, for whoever reads it later
    #[argh(option, arg_name = "TEXT")]
    pub(super) reason: String,
}

/// End a promotion: make the replica read-only again and keep what was written in a snapshot.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "demote")]
pub(super) struct Demote {
    /// the replica, as the configuration names it
    #[argh(positional)]
    pub(super) dataset: DatasetName,
}

/// Answer a peer's question on standard input. The forced command of its ssh key. With --rebuild, by
/// a person whose stick is lost: let peers give this store what it holds nothing of.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "receive")]
pub(super) struct Receive {
    /// the peer that asks, as the configuration names it; with --rebuild, the one that may give
    #[argh(option, arg_name = "NODE")]
    pub(super) from: Option<NodeName>,
    /// print the line for root's authorized_keys that lets the peer ask, and answer nothing
    #[argh(switch)]
    pub(super) print_authorized_keys_line: bool,
    /// let peers put keys on this store that it holds nothing of, also those of others, for a while
    #[argh(switch)]
    pub(super) rebuild: bool,
    /// for how long (60)
    #[argh(option, long = "for", arg_name = "MINUTES")]
    pub(super) minutes: Option<u32>,
    /// let them no more
    #[argh(switch)]
    pub(super) end: bool,
}

/// Put every key of this node on the store of every peer, and have each prove it. Exit 0: every peer
/// has proven every key.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "backup")]
pub(super) struct Backup {
    /// only this peer; may be given several times
    #[argh(option, arg_name = "NODE")]
    pub(super) to: Vec<NodeName>,
    /// also the keys of other nodes, to the one peer whose store is lost and that is open for it
    #[argh(switch)]
    pub(super) rebuild: bool,
}

/// Show what boot and ready would do now. Changes nothing.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "plan")]
pub(super) struct Plan {}

/// Would this node come back from a power cut right now? Yes, or every reason why not. Changes
/// nothing.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "rehearse")]
pub(super) struct Rehearse {
    /// as JSON
    #[argh(switch)]
    pub(super) json: bool,
}

/// Show how roots and gates stand now, and how the last boot went.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "status")]
pub(super) struct Status {
    /// ask every peer to prove each key of this node instead. Exit 0: all copies are proven
    #[argh(switch)]
    pub(super) peers: bool,
    /// as JSON
    #[argh(switch)]
    pub(super) json: bool,
    /// as metrics in Prometheus's text format
    #[argh(switch)]
    pub(super) prometheus: bool,
}

/// Make an existing host ready: write the key store's metadata without changing a key, and print a
/// commented configuration. Needs none itself.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "adopt")]
pub(super) struct Adopt {
    /// the node of the stick with the keys, when it is not mounted
    #[argh(option, arg_name = "DEV")]
    pub(super) device: Option<PathBuf>,
}

/// Make an empty key store on a stick. Destroys what the stick held, so the device, its own serial
/// number and what is overwritten must be named. Never overwrites keys.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "init")]
pub(super) struct Init {
    /// the node of the stick
    #[argh(option, arg_name = "DEV")]
    pub(super) device: PathBuf,
    /// its own serial number, read from the stick that is meant
    #[argh(option, arg_name = "SERIAL")]
    pub(super) serial: Option<String>,
    /// the label of the new file system (F3S_KEYS)
    #[argh(option, arg_name = "LABEL", default = "init::LABEL.to_owned()")]
    pub(super) label: String,
    /// what the stick holds and may lose, in the words in which a refusal has shown it
    #[argh(option, arg_name = "WHAT")]
    pub(super) overwrite: Option<String>,
    /// the device once more, if it is not a USB disk
    #[argh(option, arg_name = "DEV")]
    pub(super) fixed: Option<PathBuf>,
}

/// Verify every file of the key store. Exit 65: something is damaged, or opens nothing.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "verify")]
pub(super) struct Verify {
    /// ask ZFS whether a key of the store opens each root of this node; loads none
    #[argh(switch)]
    pub(super) pools: bool,
    /// rebuild what is damaged from the other copy; what was damaged is moved aside, never deleted
    #[argh(switch)]
    pub(super) repair: bool,
    /// verify a copy of a store in this directory instead; needs no configuration
    #[argh(option, arg_name = "DIR")]
    pub(super) store: Option<PathBuf>,
    /// as JSON
    #[argh(switch)]
    pub(super) json: bool,
}

/// Look for everything that will matter at the next boot or in a year. Changes nothing.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "doctor")]
pub(super) struct Doctor {
    /// as JSON
    #[argh(switch)]
    pub(super) json: bool,
}

/// Make a new key on the store for a root that is yet to be made, and show how to use it.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "new-key")]
pub(super) struct NewKey {
    /// its name; without an owner it is this node's
    #[argh(positional)]
    pub(super) name: String,
    /// the dataset that it is for, for the lines that are shown
    #[argh(option, long = "for", arg_name = "DATASET")]
    pub(super) dataset: Option<DatasetName>,
}

/// Give every root that uses a key another one, by way of this store and the peers'. Killed at any
/// point, every root and replica is still opened by a key of its node's store.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "rotate")]
pub(super) struct Rotate {
    /// the key; without an owner it is this node's
    #[argh(positional)]
    pub(super) key: Option<String>,
    /// every key of this node, one after the other
    #[argh(switch)]
    pub(super) all: bool,
    /// show what would be done, or why it is refused; change nothing
    #[argh(switch)]
    pub(super) plan: bool,
    /// show which generation opens what, here and on the peers; change nothing
    #[argh(switch)]
    pub(super) status: bool,
    /// go on with a rotation that was cut short
    #[argh(switch)]
    pub(super) resume: bool,
    /// give up a rotation that has changed no root's key yet
    #[argh(switch)]
    pub(super) abort: bool,
    /// let boots no longer try what was replaced, once all have been seen to open without it
    #[argh(switch)]
    pub(super) retire: bool,
    /// also give a key of the store to loaded roots that none of it opens, or that have a hex or
    /// passphrase key
    #[argh(switch)]
    pub(super) take_over: bool,
    /// for this run, have only this many other stores prove the new key, instead of every peer's that
    /// has proven the present one; 0: none
    #[argh(option, arg_name = "NUMBER")]
    pub(super) copies: Option<u32>,
}

/// Take a retired generation of a key off this store, by name. Without one, show what would become
/// of each. Refused while anything is opened by it, or could not be asked.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "prune")]
pub(super) struct Prune {
    /// the key; without an owner it is this node's
    #[argh(positional)]
    pub(super) key: String,
    /// the generation, by the first digits of its fingerprint, eight or more
    #[argh(option, arg_name = "FINGERPRINT")]
    pub(super) generation: Option<String>,
}

/// Show the version.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "version")]
pub(super) struct Version {}

/// Options that make no sense with one another.
pub(super) fn wrong_together(verb: &Verb) -> Option<&'static str> {
    match verb {
        Verb::Boot(boot) if boot.root.is_some() != boot.key_from_stdin => {
            Some("`boot` takes --root and --key-from-stdin only together")
        }
        Verb::Boot(boot) if boot.root.is_some() && boot.late => {
            Some("`boot --late` takes no --root")
        }
        Verb::Rotate(rotate) if rotate.key.is_some() == rotate.all => {
            Some("`rotate` takes a key, or --all")
        }
        Verb::Rotate(rotate) if rotate.modes() > 1 => {
            Some("`rotate` takes one of --plan, --status, --resume, --abort and --retire")
        }
        Verb::Rotate(rotate)
            if rotate.take_over && rotate.modes() > 0 && !rotate.plan && !rotate.resume =>
        {
            Some("`rotate --take-over` goes with --plan or --resume, or alone")
        }
        Verb::Rotate(rotate) if rotate.copies.is_some() && (rotate.status || rotate.abort) => {
            Some("`rotate --copies` goes with --plan, --resume or --retire, or alone")
        }
        Verb::Backup(backup) if backup.rebuild && backup.to.len() != 1 => {
            Some("`backup --rebuild` is for one peer: --to names it")
        }
        Verb::Receive(receive) => receive.wrong_together(),
        Verb::Status(status) if status.prometheus && (status.peers || status.json) => {
            Some("`status --prometheus` goes with no other option")
        }
        Verb::Verify(verify) if verify.store.is_some() && verify.pools => {
            Some("`verify --pools` is about this node's own store; it takes no --store")
        }
        _ => None,
    }
}

impl Receive {
    fn wrong_together(&self) -> Option<&'static str> {
        match self {
            Receive { rebuild: true, .. } if self.print_authorized_keys_line => {
                Some("`receive --rebuild` prints no line for authorized_keys")
            }
            Receive { rebuild: true, .. } => {
                let ends_as_well = self.end && (self.from.is_some() || self.minutes.is_some());
                ends_as_well.then_some("`receive --rebuild --end` takes nothing more")
            }
            Receive { from: None, .. } => Some("`receive` takes --from, or --rebuild"),
            _ if self.end || self.minutes.is_some() => {
                Some("`receive` takes --for and --end only with --rebuild")
            }
            _ => None,
        }
    }
}

impl Rotate {
    /// How many of the options that exclude one another were given.
    fn modes(&self) -> usize {
        let modes = [self.plan, self.status, self.resume, self.abort, self.retire];
        modes.iter().filter(|given| **given).count()
    }

    pub(super) fn what(&self) -> What {
        let (take_over, copies) = (self.take_over, self.copies);
        match self {
            Rotate { plan: true, .. } => What::Plan { take_over, copies },
            Rotate { status: true, .. } => What::Status,
            Rotate { resume: true, .. } => What::Resume { take_over, copies },
            Rotate { abort: true, .. } => What::Abort,
            Rotate { retire: true, .. } => What::Retire { copies },
            _ => What::Start { take_over, copies },
        }
    }
}
