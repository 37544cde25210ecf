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
/// Makes the key of a vouched list out of a generation, so that no proof of possession is ever one.
const LIST: &str = "f3skeys 2026-11 list of generations v1";

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
        parse_hex(text).map(Fingerprint)
    }

    /// All 64 hex digits, as in file names.
    pub fn hex(&self) -> String {
        hex(self.0)
    }
}

/// 64 lower-case hex digits.
pub(crate) fn hex(bytes: [u8; 32]) -> String {
    blake3::Hash::from_bytes(bytes).to_hex().to_string()
}

/// The bytes of 64 lower-case hex digits; anything else is `None`.
pub(crate) fn parse_hex(text: &str) -> Option<[u8; 32]> {
    let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    match text.bytes().all(lower) {
        true => blake3::Hash::from_hex(text)
            .ok()
            .map(|hash| *hash.as_bytes()),
        false => None,
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

/// A number that was never used before, so that what is proven with it is proven now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Nonce([u8; 32]);

impl Nonce {
    /// A nonce of these random bytes.
    ///
    /// # Errors
    /// `fill` gave none.
    pub fn random(fill: impl FnOnce(&mut [u8]) -> io::Result<()>) -> io::Result<Nonce> {
        let mut bytes = [0; 32];
        fill(&mut bytes)?;
        Ok(Nonce(bytes))
    }
}

impl TryFrom<String> for Nonce {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let bytes = parse_hex(&text).ok_or("not a nonce of 64 hex digits")?;
        Ok(Nonce(bytes))
    }
}

impl From<Nonce> for String {
    fn from(nonce: Nonce) -> String {
        hex(nonce.0)
    }
}

/// That somebody has the very bytes of a key, as only who has them as well can tell. It tells nothing
/// about the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Proof([u8; 32]);

impl TryFrom<String> for Proof {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let bytes = parse_hex(&text).ok_or("not a proof of 64 hex digits")?;
        Ok(Proof(bytes))
    }
}

impl From<Proof> for String {
    fn from(proof: Proof) -> String {
        hex(proof.0)
    }
}

/// As bytes, for what goes between processes of this program.
macro_rules! of_bytes {
    ($($name:ident),*) => {$(
        impl From<[u8; 32]> for $name {
            fn from(bytes: [u8; 32]) -> $name {
                $name(bytes)
            }
        }

        impl From<$name> for [u8; 32] {
            fn from(from: $name) -> [u8; 32] {
                from.0
            }
        }
    )*};
}
of_bytes!(Fingerprint, Nonce, Proof);

/// Hashes in a stack frame of its own, which [`burn_stack`] reaches afterwards.
#[inline(never)]
fn keyed_hash(key: &[u8; KEY_LEN], parts: &[&[u8]]) -> Proof {
    let mut hasher = blake3::Hasher::new_keyed(key);
    for part in parts {
        hasher.update(part);
    }
    Proof(*hasher.finalize().as_bytes())
}

/// As [`keyed_hash`], with a key that is derived for lists alone.
#[inline(never)]
fn list_hash(key: &[u8; KEY_LEN], statement: &[u8]) -> Proof {
    let mut derived = blake3::derive_key(LIST, key);
    let proof = keyed_hash(&derived, &[statement]);
    derived.zeroize();
    proof
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

    /// Whether all bytes are 0x00, or all 0xff: what a medium holds where nothing was written, or a
    /// broken source gives. Nobody should have to guess such a key.
    pub fn is_blank(&self) -> bool {
        let bytes = self.bytes.expose_secret();
        [0x00, 0xff]
            .iter()
            .any(|blank| bytes.iter().all(|byte| byte == blank))
    }

    /// Proves that the node `prover` has these bytes on the store of this identity:
    /// `blake3::keyed_hash` with the key over the nonce, the prover's name, the store's identity and
    /// the fingerprint. The identity must be 32 bytes, so that the name's end is known.
    pub fn prove(&self, nonce: &Nonce, prover: &str, store: &str) -> Proof {
        let parts: [&[u8]; 4] = [
            &nonce.0,
            prover.as_bytes(),
            store.as_bytes(),
            &self.fingerprint.0,
        ];
        let proof = keyed_hash(self.bytes.expose_secret(), &parts);
        burn_stack();
        proof
    }

    /// Vouches for a list of generations: `blake3::keyed_hash` over the statement, with a key that
    /// `blake3::derive_key` makes of this one.
    pub fn vouch(&self, statement: &[u8]) -> Proof {
        let proof = list_hash(self.bytes.expose_secret(), statement);
        burn_stack();
        proof
    }

    /// The bytes, for the pipes that hand them to ZFS and to a peer, for a key store, and for nothing
    /// else.
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
    fn only_the_same_key_on_the_same_store_asked_the_same_gives_the_same_proof() {
        let nonce = |byte| {
            Nonce::random(|bytes| {
                bytes.fill(byte);
                Ok(())
            })
        };
        let (one, other) = (nonce(1).unwrap(), nonce(2).unwrap());
        let proof = key(7).prove(&one, "f1", "store");
        assert_eq!(proof, key(7).prove(&one, "f1", "store"));
        assert_ne!(proof, key(8).prove(&one, "f1", "store"));
        assert_ne!(proof, key(7).prove(&other, "f1", "store"));
        assert_ne!(proof, key(7).prove(&one, "f1", "stor"));
        assert_ne!(proof, key(7).prove(&one, "f2", "store"));
        let message = [&one.0[..], b"f1store", &key(7).fingerprint().0].concat();
        assert_ne!(proof, key(7).vouch(&message), "a proof vouches for no list");
        assert_ne!(String::from(proof), key(7).fingerprint().hex());
        for (given, good) in [
            (String::from(proof), true),
            (String::from(proof).to_uppercase(), false),
            ("0".repeat(63), false),
            ("0".repeat(65), false),
        ] {
            assert_eq!(Proof::try_from(given.clone()).is_ok(), good, "{given}");
            assert_eq!(Nonce::try_from(given.clone()).is_ok(), good, "{given}");
        }
        assert!(Nonce::random(|_| Err(io::Error::other("none"))).is_err());
    }

    #[test]
    fn the_proofs_of_version_2_never_change() {
        let nonce = Nonce([1; 32]);
        let fingerprint = key(0).fingerprint();
        let message = [&[1; 32][..], b"f1", b"ab", &fingerprint.0].concat();
        let by_hand = blake3::keyed_hash(&[0; 32], &message);
        assert_eq!(key(0).prove(&nonce, "f1", "ab").0, *by_hand.as_bytes());
        let derived = blake3::derive_key("f3skeys 2026-11 list of generations v1", &[0; 32]);
        let by_hand = blake3::keyed_hash(&derived, b"a list");
        assert_eq!(key(0).vouch(b"a list").0, *by_hand.as_bytes());
    }

    #[test]
    fn a_key_is_blank_when_nothing_was_ever_written() {
        for byte in 0..=u8::MAX {
            assert_eq!(key(byte).is_blank(), matches!(byte, 0 | 0xff), "{byte}");
            for place in [0, KEY_LEN - 1] {
                let almost = Key::take(|bytes| {
                    bytes.fill(byte);
                    bytes[place] ^= 0xff;
                    Ok(())
                });
                assert!(!almost.unwrap().is_blank(), "{byte} {place}");
            }
        }
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
