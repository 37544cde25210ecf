//! File names of a key store, format 1 and plain.

use crate::digits;
use crate::key::Fingerprint;
use crate::names::KeyName;

/// The directory of format 1 at the top of the store.
pub const DIRECTORY: &str = ".f3skeys";
/// The state file, from the top of the store.
pub const STATE: &str = ".f3skeys/state.ron";
/// What every key file ends in.
pub const SUFFIX: &str = ".key";
/// Where repair puts what is damaged.
pub const ASIDE: &str = ".f3skeys/damaged";
/// What a file is called while it is written.
const TEMPORARY: &str = ".f3skeys-new.";

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
    /// `.f3skeys/OWNER:NAME` itself, of which nobody can tell what it holds.
    Generations,
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
            Place::Generations => generations(key),
        }
    }
}

/// The path of a key's copy at the top.
pub fn top_path(key: &KeyName) -> String {
    format!("{key}{SUFFIX}")
}

/// Reads the name of a file at the top; `None` when it is no key's.
pub fn parse_top(name: &str) -> Option<KeyName> {
    name.strip_suffix(SUFFIX)?.parse().ok()
}

/// The directory of a key's generations.
pub fn generations(key: &KeyName) -> String {
    format!("{DIRECTORY}/{key}")
}

/// What a file of this path is called until all of it is on the medium.
pub fn temporary(path: &str) -> String {
    let (directory, name) = split(path);
    join(directory, &format!("{TEMPORARY}{name}"))
}

/// Whether a cut write has left a file of this name.
pub fn is_temporary(name: &str) -> bool {
    name.starts_with(TEMPORARY)
}

/// Whether a name in the store's own directory is one of its own, beside the keys.
pub fn is_own(name: &str) -> bool {
    [STATE, ASIDE].iter().any(|path| split(path).1 == name)
}

/// Where a damaged file is moved; its whole path is in its new name.
pub fn aside(path: &str, number: u32) -> String {
    let from = path.strip_prefix(DIRECTORY).unwrap_or(path);
    let name = from.trim_start_matches('/').replace('/', "=");
    format!("{ASIDE}/{name}.{number}")
}

/// The directory of a path and its last name; the directory is empty at the top.
pub fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// A path of a directory and a name in it.
pub fn join(directory: &str, name: &str) -> String {
    match directory {
        "" => name.to_owned(),
        _ => format!("{directory}/{name}"),
    }
}

/// The path of one generation's file.
pub fn generation_path(key: &KeyName, number: u32, fingerprint: Fingerprint) -> String {
    format!("{DIRECTORY}/{key}/{number}-{}{SUFFIX}", fingerprint.hex())
}

/// Reads the name of a generation's file; `None` when it is not one.
pub fn parse_generation(name: &str) -> Option<Place> {
    let (number, fingerprint) = name.strip_suffix(SUFFIX)?.split_once('-')?;
    if number.starts_with('0') {
        return None;
    }
    Some(Place::Generation {
        number: digits::number(number)?,
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
