//! The fuzz targets: one function for each parser of words that others wrote.
//!
//! Each function takes any bytes, has the parser read them, and asserts what must hold whatever they
//! are. It tells whether the parser understood them, so that a corpus which no longer reaches the
//! parser is noticed. Two runners call these functions: `tests/fuzz.rs`, which replays the corpora and
//! mutates them by a seed, and libFuzzer by way of `fuzz_targets/`.

mod audit;
mod host;
mod messages;
mod mounts;
mod names;
pub mod seeds;
mod shown;
mod stick;
mod zfs;

pub use audit::audit;
pub use host::{exports, fstab, rc_conf, units, zfs_cache};
pub use messages::{answers, hand_over, questions};
pub use mounts::mountinfo;
pub use names::{configuration, names, promotion};
pub use shown::shown;
pub use stick::{state, store_names, superblocks};
pub use zfs::{zfs_past, zfs_rows};

use f3skeys::foreign;

/// A target.
pub struct Target {
    /// Its name; also that of its program and of its corpus.
    pub name: &'static str,
    /// Reads bytes, asserts what must hold, and tells whether the bytes were understood.
    pub run: fn(&[u8]) -> bool,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    target("answers", answers),
    target("audit", audit),
    target("configuration", configuration),
    target("exports", exports),
    target("fstab", fstab),
    target("hand_over", hand_over),
    target("mountinfo", mountinfo),
    target("names", names),
    target("promotion", promotion),
    target("questions", questions),
    target("rc_conf", rc_conf),
    target("shown", shown),
    target("state", state),
    target("store_names", store_names),
    target("superblocks", superblocks),
    target("units", units),
    target("zfs_cache", zfs_cache),
    target("zfs_past", zfs_past),
    target("zfs_rows", zfs_rows),
];

const fn target(name: &'static str, run: fn(&[u8]) -> bool) -> Target {
    Target { name, run }
}

/// Bytes as the program takes a text of the host: what is not UTF-8 is replaced.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Asserts that words may be shown on a terminal, on one line.
fn assert_plain(words: &str) {
    assert_eq!(foreign::line(words), words);
}

/// As [`assert_plain`], of words of any length.
fn assert_plain_but_cut(words: &str) {
    let hidden = words.chars().find(|c| !foreign::is_seen(*c));
    assert_eq!(hidden, None, "{words:?}");
}
