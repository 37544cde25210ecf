//! Validated names. Past this module a name is well formed: it cannot be an option,
//! climb out of a directory or hide a snapshot.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a string is no name of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadName(String);

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadName {}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<std::ffi::OsStr> for $name {
            fn as_ref(&self) -> &std::ffi::OsStr {
                self.0.as_ref()
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadName;
            fn try_from(text: String) -> Result<Self, BadName> {
                $check(&text)?;
                Ok(Self(text))
            }
        }

        impl std::str::FromStr for $name {
            type Err = BadName;
            fn from_str(text: &str) -> Result<Self, BadName> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name_type!(
    /// An OpenZFS file system or volume, such as `zdata/enc/nfsdata`; never a snapshot or bookmark.
    DatasetName,
    check_dataset
);
name_type!(
    /// A key, `OWNER:NAME`, such as `f0.lan.buetow.org:zdata`. It is also a file name on the store.
    KeyName,
    check_key
);
name_type!(
    /// A gate; also the file name of its marker.
    GateName,
    check_gate
);
name_type!(
    /// A service, as the system's own service manager calls it: `nfsd`, `nfs-server.service`.
    ServiceName,
    check_service
);
name_type!(
    /// A host name of this node or of a peer.
    NodeName,
    check_node
);

impl DatasetName {
    /// The pool that the dataset belongs to.
    pub fn pool(&self) -> &str {
        self.0.split('/').next().unwrap_or(&self.0)
    }

    /// Those that it lies below, from the pool's own on.
    pub fn above(&self) -> impl Iterator<Item = DatasetName> {
        let ends = self.0.match_indices('/').map(|(end, _)| end);
        ends.map(|end| DatasetName(self.0[..end].to_owned()))
    }

    /// Whether this is `other` itself or lies anywhere below it.
    pub fn is_at_or_below(&self, other: &DatasetName) -> bool {
        match self.0.strip_prefix(other.as_str()) {
            Some(rest) => rest.is_empty() || rest.starts_with('/'),
            None => false,
        }
    }
}

impl KeyName {
    /// The node that made the key; only it rotates the key.
    pub fn owner(&self) -> &str {
        self.0.split(':').next().unwrap_or(&self.0)
    }
}

/// The longest dataset name that OpenZFS allows (`ZFS_MAX_DATASET_NAME_LEN`, less the terminator).
const LONGEST_DATASET: usize = 255;
/// Longest key, gate or node name: it must fit in a file name with a suffix.
const LONGEST_NAME: usize = 128;

fn check_dataset(text: &str) -> Result<(), BadName> {
    let well_formed = |part: &str| {
        let chars = part
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.: ".contains(c));
        chars && !part.is_empty() && part != "." && part != ".."
    };
    let first = text.chars().next();
    if text.len() <= LONGEST_DATASET
        && first.is_some_and(|c| c.is_ascii_alphabetic())
        && text.split('/').all(well_formed)
    {
        return Ok(());
    }
    Err(BadName(format!(
        "`{text}` is not a dataset name; write it as `zfs list` shows it, such as zdata/enc"
    )))
}

fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= LONGEST_NAME
        && !text.starts_with(['.', '-'])
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn check_key(text: &str) -> Result<(), BadName> {
    match text.split_once(':') {
        Some((owner, name)) if is_plain(owner) && is_plain(name) && text.len() <= LONGEST_NAME => {
            Ok(())
        }
        _ => Err(BadName(format!(
            "`{text}` is not a key name; write OWNER:NAME, such as f0.lan.buetow.org:zdata"
        ))),
    }
}

fn check_service(text: &str) -> Result<(), BadName> {
    let plain = text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-_.@".contains(c));
    let first = text.chars().next();
    if plain && text.len() <= LONGEST_NAME && first.is_some_and(|c| c.is_ascii_alphanumeric()) {
        return Ok(());
    }
    Err(BadName(format!(
        "`{text}` is not a service; write it as the service manager does, such as nfsd or nfs-server.service"
    )))
}

fn check_gate(text: &str) -> Result<(), BadName> {
    // Nobody could ask about a gate whose name the command line takes for a word of its own.
    if is_plain(text) && text != "help" {
        return Ok(());
    }
    Err(BadName(format!(
        "`{text}` is not a gate name; use letters, digits, `-`, `_` and `.`"
    )))
}

fn check_node(text: &str) -> Result<(), BadName> {
    if is_plain(text) {
        return Ok(());
    }
    Err(BadName(format!(
        "`{text}` is not a host name, such as f0.lan.buetow.org"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dataset_names_are_what_zfs_allows() {
        for good in ["zdata", "zdata/enc/nfsdata", "z/a b", "z/a:b_c.d-e"] {
            assert!(good.parse::<DatasetName>().is_ok(), "{good}");
        }
        let long = format!("z/{}", "a".repeat(254));
        for bad in [
            "", "/", "/z", "z/", "z//a", "-z", "z@s", "z#b", "z/..", "z/.", "1z", "z/ä", &long,
        ] {
            assert!(bad.parse::<DatasetName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn key_names_cannot_leave_the_store() {
        assert!("f0.lan.buetow.org:zdata".parse::<KeyName>().is_ok());
        for bad in [
            "zdata", ":zdata", "f0:", "f0:a:b", "../f0:z", "f0:../z", ".f0:z", "f0:.z", "f0:a/b",
            "-f0:z",
        ] {
            assert!(bad.parse::<KeyName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn no_gate_has_a_name_that_the_command_line_takes_for_a_word_of_its_own() {
        for good in ["nfs", "helper", "no-help", "HELP"] {
            assert!(good.parse::<GateName>().is_ok(), "{good}");
        }
        for bad in ["help", "--help", "-h", "-", "--", ""] {
            assert!(bad.parse::<GateName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn below_means_a_whole_component() {
        let enc: DatasetName = "zdata/enc".parse().unwrap();
        for (name, expected) in [
            ("zdata/enc", true),
            ("zdata/enc/a", true),
            ("zdata/encore", false),
            ("zdata", false),
        ] {
            let name: DatasetName = name.parse().unwrap();
            assert_eq!(name.is_at_or_below(&enc), expected, "{name}");
        }
    }
}
