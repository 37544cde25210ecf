//! A key in memory: 32 bytes in a box of their own, locked, kept out of cores, wiped when dropped.
//!
//! Owns the only way to see key bytes ([`Key::expose`]). It must never print them, copy them to
//! a growable buffer, or let a forked worker inherit them (see [`keys_alive`]).

use crate::os;
use secrecy::{ExposeSecret, ExposeSecretMut, SecretBox};
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::fmt;
use std::io::{self, Read};
use zeroize::Zeroize;

/// Bytes of a raw OpenZFS key (`keyformat=raw`, `WRAPPING_KEY_LEN`).
pub const KEY_LEN: usize = 32;

/// What separates an f3skeys fingerprint from any other use of BLAKE3 over the same bytes.
const CONTEXT: &str = "f3skeys 2026-11 key fingerprint v1";

thread_local! {
    static ALIVE: Cell<usize> = const { Cell::new(0) };
}

/// How many keys this thread holds. A worker is forked only while it is zero.
pub fn keys_alive() -> usize {
    ALIVE.with(Cell::get)
}

/// The identity of a key's bytes: BLAKE3 `derive_key`, 32 bytes. It tells nothing about the key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of these key bytes.
    pub fn of(bytes: &[u8; KEY_LEN]) -> Self {
        let fingerprint = hash(bytes);
        burn_stack();
        fingerprint
    }

    /// Reads 64 lower-case hex digits; anything else is `None`.
    pub fn parse(text: &str) -> Option<Self> {
        let lower = text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !lower {
            return None;
        }
        blake3::Hash::from_hex(text)
            .ok()
            .map(|hash| Fingerprint(*hash.as_bytes()))
    }

    /// All 64 hex digits, as in file names.
    pub fn hex(&self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }
}

impl fmt::Display for Fingerprint {
    /// Eight digits: enough for a person to compare.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.hex()[..8])
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("`{text}` is not a fingerprint of 64 hex digits"))
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> String {
        fingerprint.hex()
    }
}

/// Hashes in a stack frame of its own, which [`burn_stack`] reaches afterwards.
#[inline(never)]
fn hash(bytes: &[u8; KEY_LEN]) -> Fingerprint {
    Fingerprint(blake3::derive_key(CONTEXT, bytes))
}

/// Overwrites the stack that hashing has used: BLAKE3 copies its input there and does not wipe it.
/// Its two hashers take 4 KiB; this is four times that.
#[inline(never)]
fn burn_stack() {
    let mut stack = [u128::MAX; 1024];
    stack.zeroize();
}

/// The longest that a key given by a person may be, with one byte more to notice a longer one.
const LONGEST_GIVEN: usize = 2 * KEY_LEN + 3;

/// Reads all there is, as far as there is room.
fn fill(from: &mut impl Read, place: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while let Some(room) = place.get_mut(length..).filter(|room| !room.is_empty()) {
        match from.read(room)? {
            0 => break,
            n => length += n,
        }
    }
    Ok(length)
}

fn from_hex(digits: &[u8], place: &mut [u8; KEY_LEN]) -> io::Result<()> {
    let refused = || io::Error::other("a key is 32 bytes, or 64 hex digits");
    if digits.len() != 2 * KEY_LEN {
        return Err(refused());
    }
    let value = |digit: u8| {
        (digit as char)
            .to_digit(16)
            .and_then(|v| u8::try_from(v).ok())
    };
    for (byte, pair) in place.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else {
            return Err(refused());
        };
        *byte = match (value(*high), value(*low)) {
            (Some(high), Some(low)) => high << 4 | low,
            _ => return Err(refused()),
        };
    }
    Ok(())
}

/// A key and the fingerprint of exactly the bytes it holds.
pub struct Key {
    bytes: SecretBox<[u8; KEY_LEN]>,
    fingerprint: Fingerprint,
}

impl Key {
    /// Takes a key from where it lies, by way of `fill`, which writes into the guarded box itself.
    ///
    /// # Errors
    /// The memory could not be locked, or `fill` failed; nothing is kept then.
    pub fn take(fill: impl FnOnce(&mut [u8; KEY_LEN]) -> io::Result<()>) -> io::Result<Key> {
        let mut outcome = Ok(());
        let bytes = SecretBox::<[u8; KEY_LEN]>::init_with_mut(|place| {
            // Lock first: a key must not be in pageable memory even for a moment.
            outcome = os::guard_memory(place).and_then(|()| fill(place));
        });
        outcome?;
        let fingerprint = Fingerprint::of(bytes.expose_secret());
        ALIVE.with(|alive| alive.set(alive.get() + 1));
        Ok(Key { bytes, fingerprint })
    }

    /// Reads a key that a person gives: 32 bytes, or 64 hex digits with or without a line's end.
    ///
    /// # Errors
    /// It is neither, or its memory could not be locked.
    pub fn read(mut from: impl Read) -> io::Result<Key> {
        let mut given = SecretBox::new(Box::new([0; LONGEST_GIVEN]));
        os::guard_memory(given.expose_secret())?;
        let length = fill(&mut from, given.expose_secret_mut())?;
        let given = given.expose_secret().get(..length).unwrap_or_default();
        Key::take(|place| match given.len() {
            KEY_LEN => {
                place.copy_from_slice(given);
                Ok(())
            }
            _ => from_hex(given.trim_ascii_end(), place),
        })
    }

    /// The identity of the bytes held, computed from this very buffer.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The bytes, for the pipe that hands them to ZFS, for a key store, and for nothing else.
    pub fn expose(&self) -> &[u8; KEY_LEN] {
        self.bytes.expose_secret()
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        ALIVE.with(|alive| alive.set(alive.get() - 1));
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, bytes withheld)", self.fingerprint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> Key {
        Key::take(|place| {
            place.fill(byte);
            Ok(())
        })
        .unwrap()
    }

    #[test]
    fn one_flipped_bit_changes_the_fingerprint() {
        let reference = key(7).fingerprint();
        for bit in 0..KEY_LEN * 8 {
            let flipped = Key::take(|place| {
                place.fill(7);
                place[bit / 8] ^= 1 << (bit % 8);
                Ok(())
            })
            .unwrap();
            assert_ne!(flipped.fingerprint(), reference, "bit {bit}");
        }
    }

    #[test]
    fn the_fingerprint_of_format_1_never_changes() {
        // Stores written today must open for ever.
        assert_eq!(
            key(0).fingerprint().hex(),
            "0672a236ac158de82d7972e257a9a57234b9a51138dc8f677f72157192aa8f9b"
        );
    }

    #[test]
    fn fingerprints_read_back_and_refuse_other_spellings() {
        let hex = key(1).fingerprint().hex();
        assert_eq!(Fingerprint::parse(&hex), Some(key(1).fingerprint()));
        assert_eq!(Fingerprint::parse(&hex.to_uppercase()), None);
        assert_eq!(Fingerprint::parse(&hex[1..]), None);
        assert_eq!(Fingerprint::parse(&format!("{hex}0")), None);
    }

    #[test]
    fn debug_output_holds_no_key_byte() {
        let shown = format!("{:?}", key(0xab));
        assert!(!shown.contains("171") && !shown.to_lowercase().contains("abab"));
    }

    #[test]
    fn a_key_is_given_as_bytes_or_as_hex_digits_and_in_no_other_way() {
        let hex = "0f".repeat(32);
        let expected = key(0x0f).fingerprint();
        for given in [
            vec![0x0f; 32],
            hex.clone().into_bytes(),
            format!("{hex}\n").into_bytes(),
            format!("{hex}\r\n").into_bytes(),
            hex.to_uppercase().into_bytes(),
        ] {
            assert_eq!(Key::read(&given[..]).unwrap().fingerprint(), expected);
        }
        for length in (0..200).filter(|length| *length != 32) {
            let mut given = vec![b'z'; length];
            assert!(Key::read(&given[..]).is_err(), "{length} letters");
            given.fill(b'0');
            assert_eq!(
                Key::read(&given[..]).is_ok(),
                length == 64,
                "{length} digits"
            );
        }
    }

    #[test]
    fn a_failed_fill_keeps_nothing() {
        let before = keys_alive();
        assert!(Key::take(|_| Err(io::Error::other("gone"))).is_err());
        assert_eq!(keys_alive(), before);
        let held = key(3);
        assert_eq!(keys_alive(), before + 1);
        drop(held);
        assert_eq!(keys_alive(), before);
    }
}
