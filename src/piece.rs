//! What is written into a pipe, piece after piece: public words, and keys. A key goes from its guarded
//! box straight to the kernel: a piece cannot be put together with another, kept, or formatted.

use crate::key::Key;
use std::borrow::Cow;
use std::io::IoSlice;

/// A part of what another process reads.
pub struct Piece<'a>(Kind<'a>);

enum Kind<'a> {
    Public(Cow<'a, [u8]>),
    Secret(&'a Key),
}

impl<'a> Piece<'a> {
    /// The same piece once more, borrowed.
    pub fn lend(&'a self) -> Piece<'a> {
        Piece(match &self.0 {
            Kind::Public(bytes) => Kind::Public(Cow::Borrowed(bytes)),
            Kind::Secret(key) => Kind::Secret(key),
        })
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.unwritten(0).len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is left of it behind the first `done` bytes, for the system call that writes it and for
    /// nothing else.
    pub fn unwritten(&self, done: usize) -> IoSlice<'_> {
        let bytes: &[u8] = match &self.0 {
            Kind::Public(bytes) => bytes,
            Kind::Secret(key) => key.expose(),
        };
        IoSlice::new(bytes.get(done..).unwrap_or_default())
    }
}

impl<'a> From<&'a [u8]> for Piece<'a> {
    fn from(bytes: &'a [u8]) -> Piece<'a> {
        Piece(Kind::Public(Cow::Borrowed(bytes)))
    }
}

impl From<Vec<u8>> for Piece<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Piece(Kind::Public(Cow::Owned(bytes)))
    }
}

impl<'a> From<&'a Key> for Piece<'a> {
    fn from(key: &'a Key) -> Piece<'a> {
        Piece(Kind::Secret(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_written_from_wherever_it_stopped_and_never_past_its_end() {
        let key = Key::take(|place| {
            place.fill(7);
            Ok(())
        })
        .unwrap();
        for (piece, whole) in [
            (Piece::from(&b"public"[..]), b"public".to_vec()),
            (Piece::from(b"owned".to_vec()), b"owned".to_vec()),
            (Piece::from(&key), vec![7; 32]),
            (Piece::from(Vec::new()), Vec::new()),
        ] {
            assert_eq!(
                (piece.len(), piece.is_empty()),
                (whole.len(), whole.is_empty())
            );
            for done in 0..whole.len() + 2 {
                let left = &whole[done.min(whole.len())..];
                assert_eq!(&*piece.unwritten(done), left);
                assert_eq!(&*piece.lend().unwritten(done), left);
            }
        }
    }
}
