//! File names of a key store, format 1 and plain.

use crate::key::Fingerprint;
use crate::names::KeyName;

/// The directory of format 1 at the top of the store.
pub const DIRECTORY: &str = ".f3skeys";
/// The state file, from the top of the store.
pub const STATE: &str = ".f3skeys/state.ron";
/// What every key file ends in.
const SUFFIX: &str = ".key";

/// Where a copy of a key lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// `OWNER:NAME.key` at the top: the current generation, as `zfs load-key` by hand wants it.
    Top,
    /// `.f3skeys/OWNER:NAME/GENERATION-FINGERPRINT.key`: immutable, named by what it holds.
    Generation {
        /// The generation's number.
        number: u32,
        /// The fingerprint that its bytes must have.
        fingerprint: Fingerprint,
    },
}

impl Place {
    /// The path from the top of the store.
    pub fn path(&self, key: &KeyName) -> String {
        match self {
            Place::Top => top_path(key),
            Place::Generation {
                number,
                fingerprint,
            } => generation_path(key, *number, *fingerprint),
        }
    }
}

/// The path of a key's copy at the top.
pub fn top_path(key: &KeyName) -> String {
    format!("{key}{SUFFIX}")
}

/// The path of one generation's file.
pub fn generation_path(key: &KeyName, number: u32, fingerprint: Fingerprint) -> String {
    format!("{DIRECTORY}/{key}/{number}-{}{SUFFIX}", fingerprint.hex())
}

/// Reads the name of a generation's file; `None` when it is not one.
pub fn parse_generation(name: &str) -> Option<Place> {
    let (number, fingerprint) = name.strip_suffix(SUFFIX)?.split_once('-')?;
    let canonical = !number.starts_with('0') && number.bytes().all(|b| b.is_ascii_digit());
    if !canonical {
        return None;
    }
    Some(Place::Generation {
        number: number.parse().ok()?,
        fingerprint: Fingerprint::parse(fingerprint)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_file_is_named_by_what_it_holds() {
        let fingerprint = Fingerprint::of(&[1; 32]);
        let key: KeyName = "f0:zdata".parse().unwrap();
        let path = generation_path(&key, 12, fingerprint);
        let name = path.strip_prefix(".f3skeys/f0:zdata/").unwrap();
        assert_eq!(
            parse_generation(name),
            Some(Place::Generation {
                number: 12,
                fingerprint
            })
        );
    }

    #[test]
    fn other_names_are_not_generations() {
        let hex = Fingerprint::of(&[1; 32]).hex();
        for name in [
            String::new(),
            format!("{hex}.key"),
            format!("-{hex}.key"),
            format!("01-{hex}.key"),
            format!("+1-{hex}.key"),
            format!("1-{hex}"),
            format!("1-{hex}.key.tmp"),
            format!("99999999999-{hex}.key"),
            format!("1-{}.key", &hex[1..]),
        ] {
            assert_eq!(parse_generation(&name), None, "{name}");
        }
    }
}
