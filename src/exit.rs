//! Exit statuses, after sysexits(3). `gate` has its own: 0 open, 1 closed, 2 cannot tell.

use serde::{Deserialize, Serialize};

/// A reason to exit with something else than 0, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The operating system failed us, in something that no root depends on.
    System,
    /// A required root or file system is not to be had.
    Unavailable,
    /// A required root stays locked because its key is damaged or opens nothing.
    BadKey,
    /// The key device is not there, and a required root is locked.
    NoKeyDevice,
    /// Another run holds the lock.
    Busy,
    /// Only root can do this.
    NotRoot,
    /// The configuration is refused.
    Configuration,
}

impl Fault {
    /// The status to exit with.
    pub fn status(self) -> u8 {
        match self {
            Fault::System => 71,
            Fault::Unavailable => 69,
            Fault::BadKey => 65,
            Fault::NoKeyDevice => 66,
            Fault::Busy => 75,
            Fault::NotRoot => 77,
            Fault::Configuration => 78,
        }
    }
}

/// The command line is wrong.
pub const USAGE: u8 = 64;
/// A peer's question is not understood.
pub const DATA: u8 = 65;
/// A peer asks for what it may not have.
pub const REFUSED: u8 = 77;
