//! f3skeys brings encrypted OpenZFS storage nodes back after a power cut: safely, and alone.
//!
//! # The laws
//!
//! 1. Loaded is verified: the bytes given to ZFS are the very buffer whose fingerprint matched.
//! 2. Secrets stay put: in guarded memory, on a key store, in the pipe that hands them to ZFS.
//! 3. A replica is never writable, not for an instant.
//! 4. A gate is open only while it is true, in this boot. Unknown counts as closed.
//! 5. One fault stays one fault, and never stops the boot.
//! 6. Nothing hangs: every wait has a deadline, all on one budget.
//! 7. No step makes a key unopenable.
//! 8. Nothing is destroyed to make things work.
//! 9. Strangers' words are data: never parsed again as part of another text, filtered before anybody
//!    reads them.
//!
//! # The map
//!
//! Decisions are pure and come first:
//!
//! - [`names`], [`config`]: what the admin wrote, checked.
//! - [`plan`]: (configuration, observation) to steps and verdicts. [`places`]: where a replica may be mounted.
//!   [`seals`]: what has to be set on one before. [`binds`]: what of it is bound elsewhere too early.
//!   [`gate`]: is it open?
//! - [`device`]: which disk is the key device. [`store`]: which of its bytes may be trusted.
//!
//! The verbs read as prose:
//!
//! - [`boot`], [`ready`] (and the question `gate`), [`late`] (both, for a stick that came late),
//!   [`reconcile`] (gates, services and guards, each minute),
//!   [`preview`] (`plan`), [`rehearse`] (both, on an imagined node), [`status`], [`verify`], [`doctor`],
//!   [`new_key`]; what they share is in [`pass`], `evaluate` (gates; [`sightings`]: since when a snapshot is known), [`guard`]
//!   (mountpoints), [`links`] (on the way to them), `stopping` and `starts` (services of a gate that closes or opens) and [`roles`] (what is said of replicas).
//! - [`promote`] makes a replica writable and read-only again, as [`promotion`] records; [`receive`]
//!   answers another node's question.
//! - [`backup`] puts every key of this node on the peers' stores and has them prove it;
//!   [`stores`] says which answers count as copies.
//! - [`rotate`] gives the roots of a key another one, by way of this store and the peers'; how keys
//!   are handed to a peer is [`handover`].
//! - [`adopt`] proposes a configuration for a host that exists; [`init`] makes an empty store.
//! - [`report`], [`verdict`], [`exit`], [`ink`]: what is said, and the exit status. [`audit`]: what was done to
//!   a store, for as long as it is kept; [`syslog`]: a line of it for the system's log.
//! - `digits` reads numbers in text from outside. [`foreign`] filters such text before anybody reads it; [`shell`] quotes it where it is part of a
//!   command to be pasted.
//!
//! Effects sit behind three seams: [`zfs::Zfs`], [`system::KeyDevices`] and [`system::System`].
//!
//! - [`usb`] finds and mounts the key device, [`reader`] reads it, [`writer`] writes it; [`pinned`] lets
//!   only the configured store through.
//! - [`host`] reads the files of the host that a boot depends on, and judges the boot hooks;
//!   [`next_boot`] adds whether the pools are imported then.
//! - [`child`] is the one place that starts programs, [`os::worker`] the one place that forks.
//! - What comes from a peer is read by a process without rights; [`flat`] is what it hands to root.
//!   [`paths`] takes names of any bytes from one process to another.
//! - [`key`] holds key bytes, [`piece`] is one on its way into a pipe; [`os`] is the platform and all `unsafe`; [`marker`] is the run
//!   directory; [`time`] has the deadlines, [`progress`] the line for a person who waits;
//!   [`trouble`] is "could not ask"; [`sorted`] is what maps and sets are made of.

pub mod adopt;
pub mod audit;
pub mod backup;
pub mod binds;
pub mod boot;
pub mod bound;
pub mod carp;
pub mod child;
pub mod cli;
pub mod config;
pub mod device;
mod digits;
pub mod doctor;
pub mod early;
mod evaluate;
pub mod exit;
pub mod flat;
pub mod foreign;
#[doc(hidden)]
pub mod fuzzing;
pub mod gate;
pub mod guard;
pub mod handover;
pub mod host;
pub mod init;
pub mod ink;
pub mod key;
pub mod late;
pub mod legacy;
pub mod links;
pub mod lock;
pub mod marker;
pub mod names;
pub mod new_key;
pub mod next_boot;
pub mod os;
pub mod pass;
pub mod paths;
pub mod peers;
pub mod piece;
pub mod pinned;
pub mod places;
pub mod plan;
pub mod preview;
pub mod progress;
pub mod promote;
pub mod promotion;
pub mod reader;
pub mod ready;
pub mod receive;
pub mod reconcile;
pub mod rehearse;
pub mod report;
pub mod roles;
pub mod rotate;
pub mod seals;
pub mod services;
pub mod shell;
pub mod sightings;
pub mod sorted;
mod starts;
pub mod statement;
pub mod status;
mod stopping;
pub mod store;
pub mod stores;
pub mod syslog;
pub mod system;
pub mod time;
pub mod trouble;
mod twins;
mod unasked;
pub mod usb;
pub mod verdict;
pub mod verify;
mod ways;
pub mod writer;
pub mod zfs;
