//! Paths in what processes of this program tell each other. A path is any bytes but NUL, and local
//! users choose many of them; JSON takes text only. One odd name must not make a whole answer fail.
//!
//! UTF-8 stays as it is; any other path is NUL and the hex digits of its bytes.

use crate::sorted::Map;
use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The path of these bytes.
pub fn of_bytes(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes.to_vec()))
}

/// A path as JSON has it.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Shown(PathBuf);

fn encode(path: &Path) -> String {
    match path.to_str() {
        Some(text) => text.to_owned(),
        None => {
            let digits = path.as_os_str().as_bytes().iter();
            let digits = digits.map(|byte| format!("{byte:02x}"));
            std::iter::once("\0".to_owned()).chain(digits).collect()
        }
    }
}

fn decode(text: String) -> Option<PathBuf> {
    let Some(digits) = text.strip_prefix('\0') else {
        return Some(PathBuf::from(text));
    };
    let digit = |digit: &u8| {
        (*digit as char)
            .to_digit(16)
            .and_then(|v| u8::try_from(v).ok())
    };
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(byte).collect();
    Some(PathBuf::from(OsString::from_vec(bytes?)))
}

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Shown {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Shown, D::Error> {
        let path = decode(String::deserialize(from)?);
        path.map(Shown)
            .ok_or_else(|| D::Error::custom("not a path"))
    }
}

/// For a field that is a path.
pub mod one {
    use super::*;

    /// Writes the path.
    ///
    /// # Errors
    /// As the format has them.
    pub fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&encode(path))
    }

    /// Reads the path.
    ///
    /// # Errors
    /// It is none, or as the format has them.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
        Ok(Shown::deserialize(from)?.0)
    }
}

/// For a field that has values by paths.
pub mod keys {
    use super::*;

    /// Writes the map.
    ///
    /// # Errors
    /// As the format has them.
    pub fn serialize<V: Serialize, S: Serializer>(
        map: &Map<PathBuf, V>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_map(map.iter().map(|(path, value)| (encode(path), value)))
    }

    /// Reads the map.
    ///
    /// # Errors
    /// A key is no path, or as the format has them.
    pub fn deserialize<'de, V: Deserialize<'de>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Map<PathBuf, V>, D::Error> {
        let map = Map::<Shown, V>::deserialize(from)?;
        Ok(map
            .into_iter()
            .map(|(path, value)| (path.0, value))
            .collect())
    }
}

/// For a field that has lists of paths.
pub mod lists {
    use super::*;

    /// Writes the map.
    ///
    /// # Errors
    /// As the format has them.
    pub fn serialize<K: Serialize, S: Serializer>(
        map: &Map<K, Vec<PathBuf>>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let list = |paths: &Vec<PathBuf>| paths.iter().map(|path| encode(path)).collect();
        to.collect_map(
            map.iter()
                .map(|(key, paths)| -> (&K, Vec<String>) { (key, list(paths)) }),
        )
    }

    /// Reads the map.
    ///
    /// # Errors
    /// Something in a list is no path, or as the format has them.
    pub fn deserialize<'de, K: Ord + Deserialize<'de>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Map<K, Vec<PathBuf>>, D::Error> {
        let map = Map::<K, Vec<Shown>>::deserialize(from)?;
        let list = |paths: Vec<Shown>| paths.into_iter().map(|path| path.0).collect();
        Ok(map
            .into_iter()
            .map(|(key, paths)| (key, list(paths)))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize as Read;
    use serde::Serialize as Write;

    #[derive(Debug, PartialEq, Read, Write)]
    struct All {
        #[serde(with = "one")]
        one: PathBuf,
        #[serde(with = "keys")]
        keys: Map<PathBuf, u8>,
        #[serde(with = "lists")]
        lists: Map<String, Vec<PathBuf>>,
    }

    fn path(bytes: &[u8]) -> PathBuf {
        PathBuf::from(OsString::from_vec(bytes.to_vec()))
    }

    fn all(bytes: &[u8]) -> All {
        All {
            one: path(bytes),
            keys: [(path(bytes), 1), (path(b"/other"), 2)]
                .into_iter()
                .collect(),
            lists: [("a".to_owned(), vec![path(b"/x"), path(bytes)])]
                .into_iter()
                .collect(),
        }
    }

    #[test]
    fn law_9_a_path_of_any_bytes_goes_over_whole_and_is_never_another() {
        let mut names: Vec<Vec<u8>> = (1..=u8::MAX).map(|byte| vec![b'/', byte]).collect();
        let more: [&[u8]; 6] = [b"", b"/", b"\xff", b"ff", b"/\xc3\xa4", b"/\xf0\x9f\x98"];
        names.extend(more.map(<[u8]>::to_vec));
        let shown = names.iter().map(|name| encode(&path(name)));
        let shown: crate::sorted::Set<String> = shown.collect();
        assert_eq!(shown.len(), names.len());
        for name in &names {
            let text = serde_json::to_vec(&all(name)).unwrap();
            assert_eq!(serde_json::from_slice::<All>(&text).unwrap(), all(name));
        }
    }

    #[test]
    fn a_path_of_text_is_written_as_it_always_was() {
        for name in ["/data/nfs", "", "/\u{e4}", "/\u{fffd}"] {
            let text = serde_json::to_value(all(name.as_bytes())).unwrap();
            assert_eq!(text["one"], name);
            assert_eq!(text["keys"][name], 1);
            assert_eq!(text["lists"]["a"][1], name);
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in ["\0f", "\0zz", "\0ff\u{e4}", "\0+f"] {
            assert_eq!(decode(text.to_owned()), None, "{text:?}");
        }
    }
}
