//! `.f3skeys/state.ron`: what each generation is for. It carries its own checksum, and all it says
//! can be rebuilt from the key files.

use crate::key::Fingerprint;
use crate::names::KeyName;
use crate::sorted::Map;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The format of key stores that this program reads.
pub const FORMAT: u32 = 1;
/// The largest state file that is read, in bytes.
pub const LARGEST: u64 = 1 << 20;
/// The largest that a rotation writes: all of it, and what it lists, must fit into what the worker
/// that reads a store may tell.
pub const LARGEST_WRITTEN: usize = 1 << 19;
/// What the first line begins with; the BLAKE3 of everything after the line follows in hex.
const HEADER: &str = "// checksum ";

/// What a generation is for, in the order in which a boot tries them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// What every root of this key is wrapped with.
    Current,
    /// Made for a rotation that has not ended.
    Staged,
    /// Replaced, but some root or replica may still need it.
    Retained,
    /// Replaced everywhere; kept for checkpoints, split mirrors and saved streams. A boot tries it
    /// after all others, rather than leave a root locked.
    Retired,
    /// Retired, and its owner has said that it may be taken off the stores. It is nowhere missed; where
    /// its bytes still are, a boot tries it last of all.
    Pruned,
}

impl Standing {
    /// Whether anything is expected to be opened by it.
    pub fn is_tried(self) -> bool {
        !matches!(self, Standing::Retired | Standing::Pruned)
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Standing::Current => "current",
            Standing::Staged => "staged",
            Standing::Retained => "retained",
            Standing::Retired => "retired",
            Standing::Pruned => "pruned",
        })
    }
}

/// One generation of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generation {
    /// Its number, counted from 1; advisory.
    pub generation: u32,
    /// Its identity.
    pub fingerprint: Fingerprint,
    /// What it is for.
    pub state: Standing,
}

/// The state of a whole store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// The store's format, [`FORMAT`].
    pub format: u32,
    /// The store's own identity: 32 hex digits.
    pub store: String,
    /// The generations of every key.
    pub keys: Map<KeyName, Vec<Generation>>,
}

/// The length of a store's identity, in hex digits.
const ID_LENGTH: usize = 32;

/// Whether this is the identity of a store: 32 lower-case hex digits.
pub fn is_store_id(text: &str) -> bool {
    let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    text.len() == ID_LENGTH && text.bytes().all(is_digit)
}

/// Only the format, so that a newer file is told apart from a damaged one.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// Why a state file says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadState {
    /// It is of a format that this program does not know.
    UnknownFormat(u32),
    /// It is not what was written.
    Damaged(String),
}

impl State {
    /// Reads a state file.
    ///
    /// # Errors
    /// See [`BadState`].
    pub fn parse(bytes: &[u8]) -> Result<State, BadState> {
        let damaged = |what: &str| BadState::Damaged(what.to_owned());
        let text = std::str::from_utf8(bytes).map_err(|_| damaged("is damaged: not text"))?;
        let (header, body) = text
            .split_once('\n')
            .ok_or_else(|| damaged("is damaged: cut short"))?;
        let checksum = header
            .strip_prefix(HEADER)
            .ok_or_else(|| damaged("is damaged: no checksum line"))?;
        if blake3::hash(body.as_bytes()).to_hex().as_str() != checksum {
            return Err(damaged("is damaged: its checksum does not match"));
        }
        let Format { format } =
            ron::from_str(body).map_err(|e| damaged(&format!("is not understood: {e}")))?;
        if format != FORMAT {
            return Err(BadState::UnknownFormat(format));
        }
        ron::from_str(body).map_err(|e| damaged(&format!("is not understood: {e}")))
    }

    /// The bytes of the state file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let pretty = ron::ser::PrettyConfig::default();
        let body = ron::ser::to_string_pretty(self, pretty).unwrap_or_default() + "\n";
        let checksum = blake3::hash(body.as_bytes()).to_hex();
        format!("{HEADER}{checksum}\n{body}").into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State {
            format: FORMAT,
            store: "0".repeat(32),
            keys: Map::from([(
                "f0:zdata".parse().unwrap(),
                vec![Generation {
                    generation: 1,
                    fingerprint: Fingerprint::of(&[1; 32]),
                    state: Standing::Current,
                }],
            )]),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(State::parse(&state().to_bytes()), Ok(state()));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let bytes = state().to_bytes();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(State::parse(&flipped).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(State::parse(&bytes[..length]).is_err(), "length {length}");
        }
    }

    #[test]
    fn a_newer_format_is_named_and_not_taken_for_damage() {
        let body = "(format: 2, whatever: [1, 2])\n";
        let checksum = blake3::hash(body.as_bytes()).to_hex();
        let bytes = format!("// checksum {checksum}\n{body}");
        assert_eq!(
            State::parse(bytes.as_bytes()),
            Err(BadState::UnknownFormat(2))
        );
    }
}
