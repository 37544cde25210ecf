//! What a process without rights hands to root of the words that it has read off the network: a flat
//! row of bytes, by hand, and not JSON once more. Pure.
//!
//! Numbers have a fixed width, texts and lists begin with their length, alternatives with a byte.
//! Nothing nests deeper than the types do, nothing is optional to read, and there is one way to
//! write a value. So root reads it without recursion, and never makes room for more than is there:
//! each length is held against a bound and against the bytes that are left. Names and fingerprints
//! pass through their own checks again. A process that was taken over can lie about what was said,
//! as who sent it could; it cannot make root read anything else than a well-formed message.

use crate::foreign;
use crate::key::{Fingerprint, Nonce, Proof};
use crate::names::{DatasetName, KeyName, NodeName};
use crate::peers::{
    Ask, Kept, KeyTold, Opens, Put, Question, ReplicaState, Reply, RootTold, Told, Vouched,
};
use crate::promotion::{Promoted, Promotion};
use crate::receive::MOST as MOST_ASKED;
use crate::store::MOST_GENERATIONS;
use crate::store::state::{Generation, Standing};
use crate::store::work::{Held, Merge};

/// The most bytes of a message. None is longer than its JSON was.
pub const LARGEST: usize = crate::peers::LARGEST;
/// The longest text that is no name, in bytes: what [`crate::foreign::words`] leaves of any.
const LONGEST_TEXT: usize = 1200;
/// The most datasets of an answer.
const MOST_DATASETS: usize = 1 << 15;

/// Why something cannot be handed over, or is not what is handed over.
pub type Unfit = &'static str;

/// What is handed over.
pub trait Flat: Sized {
    /// Writes it.
    ///
    /// # Errors
    /// It is larger than anything may be.
    fn put(&self, out: &mut Vec<u8>) -> Result<(), Unfit>;
    /// Reads it, and checks it.
    ///
    /// # Errors
    /// It is not there, or not well formed.
    fn take(from: &mut Row) -> Result<Self, Unfit>;
}

/// Bytes that are yet to be read.
#[derive(Debug)]
pub struct Row<'a>(&'a [u8]);

impl<'a> Row<'a> {
    /// All of these bytes.
    pub fn of(bytes: &'a [u8]) -> Row<'a> {
        Row(bytes)
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8], Unfit> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or("it is cut short")?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Unfit> {
        let taken = self.bytes(N)?;
        taken.try_into().map_err(|_| "it is cut short")
    }

    fn text(&mut self, longest: usize) -> Result<&'a str, Unfit> {
        let length = usize::from(u16::take(self)?);
        if length > longest {
            return Err("a text is too long");
        }
        std::str::from_utf8(self.bytes(length)?).map_err(|_| "a text is none")
    }
}

/// Writes what was understood, or why nothing was.
pub fn write<T: Flat>(said: &Result<T, String>) -> Vec<u8> {
    let mut out = Vec::new();
    let done = match said {
        Ok(said) => put_tagged(0, said, &mut out),
        Err(why) => put_tagged(1, why, &mut out),
    };
    match done {
        Ok(()) if out.len() <= LARGEST => out,
        Ok(()) => refusal("it is too long"),
        Err(unfit) => refusal(unfit),
    }
}

fn put_tagged(tag: u8, what: &impl Flat, out: &mut Vec<u8>) -> Result<(), Unfit> {
    tag.put(out)?;
    what.put(out)
}

fn refusal(why: Unfit) -> Vec<u8> {
    let mut out = Vec::new();
    // Too short to be unfit itself.
    let _ = put_tagged(1, &format!("it says more than it may: {why}"), &mut out);
    out
}

/// Reads what was understood, or why nothing was.
///
/// # Errors
/// What [`write()`] was told, or that this is nothing that it writes.
pub fn read<T: Flat>(bytes: &[u8]) -> Result<T, String> {
    if bytes.len() > LARGEST {
        return Err(wrong("it is too long"));
    }
    let mut row = Row::of(bytes);
    let said = take_tagged(&mut row).map_err(wrong)?;
    match row.is_empty() {
        true => said,
        false => Err(wrong("something stands behind it")),
    }
}

fn take_tagged<T: Flat>(row: &mut Row) -> Result<Result<T, String>, Unfit> {
    match u8::take(row)? {
        0 => T::take(row).map(Ok),
        1 => String::take(row).map(Err),
        _ => Err(NO_SUCH),
    }
}

fn wrong(unfit: Unfit) -> String {
    format!("the process that read it hands over what is not well formed: {unfit}")
}

const NO_SUCH: Unfit = "there is no such alternative";

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Flat for $number {
            fn put(&self, out: &mut Vec<u8>) -> Result<(), Unfit> {
                out.extend_from_slice(&self.to_le_bytes());
                Ok(())
            }
            fn take(from: &mut Row) -> Result<Self, Unfit> {
                from.array().map(Self::from_le_bytes)
            }
        }
    )*};
}
numbers!(u8, u16, u32, u64);

macro_rules! hashes {
    ($($hash:ty),*) => {$(
        impl Flat for $hash {
            fn put(&self, out: &mut Vec<u8>) -> Result<(), Unfit> {
                out.extend_from_slice(&<[u8; 32]>::from(*self));
                Ok(())
            }
            fn take(from: &mut Row) -> Result<Self, Unfit> {
                from.array::<32>().map(Self::from)
            }
        }
    )*};
}
hashes!(Fingerprint, Nonce, Proof);

/// The longest name of any kind, in bytes.
const LONGEST_NAME: usize = 255;

macro_rules! names {
    ($($name:ty),*) => {$(
        impl Flat for $name {
            fn put(&self, out: &mut Vec<u8>) -> Result<(), Unfit> {
                put_text(self.as_str(), LONGEST_NAME, out)
            }
            fn take(from: &mut Row) -> Result<Self, Unfit> {
                let text = from.text(LONGEST_NAME)?;
                text.parse().map_err(|_| "a name is none")
            }
        }
    )*};
}
names!(DatasetName, KeyName, NodeName);

fn put_text(text: &str, longest: usize, out: &mut Vec<u8>) -> Result<(), Unfit> {
    let length = u16::try_from(text.len()).map_err(|_| "a text is too long")?;
    if text.len() > longest {
        return Err("a text is too long");
    }
    length.put(out)?;
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

/// Writes a text that is as short as a name.
///
/// # Errors
/// It is longer.
pub(crate) fn put_name(text: &str, out: &mut Vec<u8>) -> Result<(), Unfit> {
    put_text(text, LONGEST_NAME, out)
}

/// Writes a list of generations.
///
/// # Errors
/// There are more than there may be of one key.
pub(crate) fn put_list(list: &[Generation], out: &mut Vec<u8>) -> Result<(), Unfit> {
    put_all(list, MOST_GENERATIONS, out)
}

/// Words to be shown: on one line, cut, and without what a terminal would take for a command.
impl Flat for String {
    fn put(&self, out: &mut Vec<u8>) -> Result<(), Unfit> {
        put_text(&foreign::words(self), LONGEST_TEXT, out)
    }
    fn take(from: &mut Row) -> Result<Self, Unfit> {
        let text = from.text(LONGEST_TEXT)?;
        match foreign::words(text) == text {
            true => Ok(text.to_owned()),
            false => Err("a text is not plain"),
        }
    }
}

/// Bytes as they are: no words to be shown.
impl Flat for Vec<u8> {
    fn put(&self, out: &mut Vec<u8>) -> Result<(), Unfit> {
        let length = u16::try_from(self.len()).map_err(|_| "a value is too long")?;
        length.put(out)?;
        out.extend_from_slice(self);
        Ok(())
    }
    fn take(from: &mut Row) -> Result<Self, Unfit> {
        let length = usize::from(u16::take(from)?);
        from.bytes(length).map(<[u8]>::to_vec)
    }
}

impl Flat for bool {
    fn put(&self, out: &mut Vec<u8>) -> Result<(), Unfit> {
        u8::from(*self).put(out)
    }
    fn take(from: &mut Row) -> Result<Self, Unfit> {
        match u8::take(from)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(NO_SUCH),
        }
    }
}

impl<T: Flat> Flat for Option<T> {
    fn put(&self, out: &mut Vec<u8>) -> Result<(), Unfit> {
        match self {
            None => 0u8.put(out),
            Some(what) => put_tagged(1, what, out),
        }
    }
    fn take(from: &mut Row) -> Result<Self, Unfit> {
        match u8::take(from)? {
            0 => Ok(None),
            1 => T::take(from).map(Some),
            _ => Err(NO_SUCH),
        }
    }
}

/// Writes a list of at most so many.
///
/// # Errors
/// There are more, or one of them is larger than it may be.
pub fn put_all<T: Flat>(all: &[T], most: usize, out: &mut Vec<u8>) -> Result<(), Unfit> {
    let count = u32::try_from(all.len()).map_err(|_| TOO_MANY)?;
    if all.len() > most {
        return Err(TOO_MANY);
    }
    count.put(out)?;
    all.iter().try_for_each(|one| one.put(out))
}

/// Reads a list of at most so many. Grows with what is there, never with what is announced.
///
/// # Errors
/// There are more, or one of them is not well formed.
pub fn take_all<T: Flat>(from: &mut Row, most: usize) -> Result<Vec<T>, Unfit> {
    let count = u32::take(from)?;
    if usize::try_from(count).map_or(true, |count| count > most) {
        return Err(TOO_MANY);
    }
    (0..count).map(|_| T::take(from)).collect()
}

const TOO_MANY: Unfit = "a list is too long";

impl Flat for Question {
    fn put(&self, out: &mut Vec<u8>) -> Result<(), Unfit> {
        let Question { version, from, ask } = self;
        version.put(out)?;
        from.put(out)?;
        ask.put(out)
    }
    fn take(from: &mut Row) -> Result<Self, Unfit> {
        Ok(Question {
            version: Flat::take(from)?,
            from: Flat::take(from)?,
            ask: Flat::take(from)?,
        })
    }
}

impl Flat for Ask {
    fn put(&self, out: &mut Vec<u8>) -> Result<(), Unfit> {
        match self {
            Ask::Replicas(datasets) => {
                0u8.put(out)?;
                put_all(datasets, MOST_ASKED, out)
            }
            Ask::Key { key, nonce } => {
                put_tagged(1, key, out)?;
                nonce.put(out)
            }
            Ask::Put(put) => put_tagged(2, put, out),
        }
    }
    fn take(from: &mut Row) -> Result<Self, Unfit> {
        match u8::take(from)? {
            0 => take_all(from, MOST_ASKED).map(Ask::Replicas),
            1 => Ok(Ask::Key {
                key: Flat::take(from)?,
                nonce: Flat::take(from)?,
            }),
            2 => Flat::take(from).map(Ask::Put),
            _ => Err(NO_SUCH),
        }
    }
}

impl Flat for Put {
    fn put(&self, out: &mut Vec<u8>) -> Result<(), Unfit> {
        let Put { merge, vouched } = self;
        merge.put(out)?;
        vouched.put(out)
    }
    fn take(from: &mut Row) -> Result<Self, Unfit> {
        Ok(Put {
            merge: Flat::take(from)?,
            vouched: Flat::take(from)?,
        })
    }
}

impl Flat for Vouched {
    fn put(&self, out: &mut Vec<u8>) -> Result<(), Unfit> {
        let Vouched {
            by,
            challenge,
            proof,
        } = self;
        by.put(out)?;
        challenge.put(out)?;
        proof.put(out)
    }
    fn take(from: &mut Row) -> Result<Self, Unfit> {
        Ok(Vouched {
            by: Flat::take(from)?,
            challenge: Flat::take(from)?,
            proof: Flat::take(from)?,
        })
    }
}

impl Flat for Kept {
    fn put(&self, out: &mut Vec<u8>) -> Result<(), Unfit> {
        let Kept { fingerprint, why } = self;
        fingerprint.put(out)?;
        why.put(out)
    }
    fn take(from: &mut Row) -> Result<Self, Unfit> {
        Ok(Kept {
            fingerprint: Flat::take(from)?,
            why: Flat::take(from)?,
        })
    }
}

impl Flat for Merge {
    fn put(&self, out: &mut Vec<u8>) -> Result<(), Unfit> {
        let Merge {
            key,
            list,
            bring,
            nonce,
        } = self;
        key.put(out)?;
        put_all(list, MOST_GENERATIONS, out)?;
        put_all(bring, MOST_GENERATIONS, out)?;
        nonce.put(out)
    }
    fn take(from: &mut Row) -> Result<Self, Unfit> {
        Ok(Merge {
            key: Flat::take(from)?,
            list: take_all(from, MOST_GENERATIONS)?,
            bring: take_all(from, MOST_GENERATIONS)?,
            nonce: Flat::take(from)?,
        })
    }
}

impl Flat for Generation {
    fn put(&self, out: &mut Vec<u8>) -> Result<(), Unfit> {
        let Generation {
            generation,
            fingerprint,
            state,
        } = self;
        generation.put(out)?;
        fingerprint.put(out)?;
        state.put(out)
    }
    fn take(from: &mut Row) -> Result<Self, Unfit> {
        Ok(Generation {
            generation: Flat::take(from)?,
            fingerprint: Flat::take(from)?,
            state: Flat::take(from)?,
        })
    }
}

impl Flat for Standing {
    fn put(&self, out: &mut Vec<u8>) -> Result<(), Unfit> {
        let tag: u8 = match self {
            Standing::Current => 0,
            Standing::Staged => 1,
            Standing::Retained => 2,
            Standing::Retired => 3,
            Standing::Pruned => 4,
        };
        tag.put(out)
    }
    fn take(from: &mut Row) -> Result<Self, Unfit> {
        Ok(match u8::take(from)? {
            0 => Standing::Current,
            1 => Standing::Staged,
            2 => Standing::Retained,
            3 => Standing::Retired,
            4 => Standing::Pruned,
            _ => return Err(NO_SUCH),
        })
    }
}

impl Flat for Reply {
    fn put(&self, out: &mut Vec<u8>) -> Result<(), Unfit> {
        let Reply {
            version,
            node,
            answer,
        } = self;
        version.put(out)?;
        node.put(out)?;
        answer.put(out)
    }
    fn take(from: &mut Row) -> Result<Self, Unfit> {
        Ok(Reply {
            version: Flat::take(from)?,
            node: Flat::take(from)?,
            answer: Flat::take(from)?,
        })
    }
}

impl Flat for Told {
    fn put(&self, out: &mut Vec<u8>) -> Result<(), Unfit> {
        match self {
            Told::Replicas(states) => {
                0u8.put(out)?;
                put_all(states, MOST_DATASETS, out)
            }
            Told::Key(told) => put_tagged(1, told, out),
        }
    }
    fn take(from: &mut Row) -> Result<Self, Unfit> {
        match u8::take(from)? {
            0 => take_all(from, MOST_DATASETS).map(Told::Replicas),
            1 => Flat::take(from).map(Told::Key),
            _ => Err(NO_SUCH),
        }
    }
}

impl Flat for ReplicaState {
    fn put(&self, out: &mut Vec<u8>) -> Result<(), Unfit> {
        let ReplicaState {
            dataset,
            promoted,
            written,
            newest,
        } = self;
        dataset.put(out)?;
        promoted.put(out)?;
        written.put(out)?;
        newest.put(out)
    }
    fn take(from: &mut Row) -> Result<Self, Unfit> {
        Ok(ReplicaState {
            dataset: Flat::take(from)?,
            promoted: Flat::take(from)?,
            written: Flat::take(from)?,
            newest: Flat::take(from)?,
        })
    }
}

impl Flat for (u64, String) {
    fn put(&self, out: &mut Vec<u8>) -> Result<(), Unfit> {
        self.0.put(out)?;
        self.1.put(out)
    }
    fn take(from: &mut Row) -> Result<Self, Unfit> {
        Ok((Flat::take(from)?, Flat::take(from)?))
    }
}

impl Flat for Promoted {
    fn put(&self, out: &mut Vec<u8>) -> Result<(), Unfit> {
        match self {
            Promoted::Never => 0u8.put(out),
            Promoted::Now(Promotion {
                epoch,
                since,
                reason,
            }) => {
                put_tagged(1, epoch, out)?;
                since.put(out)?;
                reason.put(out)
            }
            Promoted::Over(epoch) => put_tagged(2, epoch, out),
            Promoted::Unknown(value) => put_tagged(3, value, out),
            // No message has a word for it.
            Promoted::Disputed(_) => Err(NO_SUCH),
        }
    }
    fn take(from: &mut Row) -> Result<Self, Unfit> {
        match u8::take(from)? {
            0 => Ok(Promoted::Never),
            1 => Ok(Promoted::Now(Promotion {
                epoch: Flat::take(from)?,
                since: Flat::take(from)?,
                reason: Flat::take(from)?,
            })),
            2 => Flat::take(from).map(Promoted::Over),
            3 => Flat::take(from).map(Promoted::Unknown),
            _ => Err(NO_SUCH),
        }
    }
}

impl Flat for KeyTold {
    fn put(&self, out: &mut Vec<u8>) -> Result<(), Unfit> {
        let KeyTold {
            store,
            held,
            sound,
            roots,
            challenge,
            kept,
        } = self;
        store.put(out)?;
        put_all(held, MOST_HELD, out)?;
        sound.put(out)?;
        put_all(roots, MOST_DATASETS, out)?;
        challenge.put(out)?;
        put_all(kept, MOST_GENERATIONS, out)
    }
    fn take(from: &mut Row) -> Result<Self, Unfit> {
        Ok(KeyTold {
            store: Flat::take(from)?,
            held: take_all(from, MOST_HELD)?,
            sound: Flat::take(from)?,
            roots: take_all(from, MOST_DATASETS)?,
            challenge: Flat::take(from)?,
            kept: take_all(from, MOST_GENERATIONS)?,
        })
    }
}

/// The most generations that a peer tells of: more than a store may list, since files may lie there
/// that no list has.
const MOST_HELD: usize = 16 * MOST_GENERATIONS;

impl Flat for Held {
    fn put(&self, out: &mut Vec<u8>) -> Result<(), Unfit> {
        let Held {
            generation,
            whole,
            proof,
        } = self;
        generation.put(out)?;
        whole.put(out)?;
        proof.put(out)
    }
    fn take(from: &mut Row) -> Result<Self, Unfit> {
        Ok(Held {
            generation: Flat::take(from)?,
            whole: Flat::take(from)?,
            proof: Flat::take(from)?,
        })
    }
}

impl Flat for RootTold {
    fn put(&self, out: &mut Vec<u8>) -> Result<(), Unfit> {
        let RootTold {
            dataset,
            opens,
            inheriting,
        } = self;
        dataset.put(out)?;
        opens.put(out)?;
        put_all(inheriting, MOST_DATASETS, out)
    }
    fn take(from: &mut Row) -> Result<Self, Unfit> {
        Ok(RootTold {
            dataset: Flat::take(from)?,
            opens: Flat::take(from)?,
            inheriting: take_all(from, MOST_DATASETS)?,
        })
    }
}

impl Flat for Opens {
    fn put(&self, out: &mut Vec<u8>) -> Result<(), Unfit> {
        match self {
            Opens::By(fingerprint) => put_tagged(0, fingerprint, out),
            Opens::NoKey => 1u8.put(out),
            Opens::CouldNotAsk(why) => put_tagged(2, why, out),
        }
    }
    fn take(from: &mut Row) -> Result<Self, Unfit> {
        match u8::take(from)? {
            0 => Flat::take(from).map(Opens::By),
            1 => Ok(Opens::NoKey),
            2 => Flat::take(from).map(Opens::CouldNotAsk),
            _ => Err(NO_SUCH),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name<T: std::str::FromStr>(text: &str) -> T {
        text.parse().unwrap_or_else(|_| panic!("{text}"))
    }

    fn generation(number: u32, state: Standing) -> Generation {
        Generation {
            generation: number,
            fingerprint: Fingerprint::from([u8::try_from(number).unwrap(); 32]),
            state,
        }
    }

    fn standings() -> Vec<Generation> {
        use Standing::{Current, Pruned, Retained, Retired, Staged};
        (1..)
            .zip([Pruned, Retired, Retained, Current, Staged])
            .map(|(number, state)| generation(number, state))
            .collect()
    }

    fn questions() -> Vec<Question> {
        let merge = |bring: &[u8], nonce: Option<Nonce>| Merge {
            key: name("f0:z"),
            list: standings(),
            bring: bring.iter().map(|n| Fingerprint::from([*n; 32])).collect(),
            nonce,
        };
        let asks = [
            Ask::Replicas(vec![name("z"), name("z/a b"), name("z/sink/f0")]),
            Ask::Replicas(Vec::new()),
            Ask::Key {
                key: name("f0:z"),
                nonce: Nonce::from([7; 32]),
            },
            Ask::Put(Put {
                merge: merge(&[4, 5], Some(Nonce::from([8; 32]))),
                vouched: Some(Vouched {
                    by: Fingerprint::from([3; 32]),
                    challenge: Nonce::from([9; 32]),
                    proof: Proof::from([6; 32]),
                }),
            }),
            Ask::Put(Put {
                merge: merge(&[], None),
                vouched: None,
            }),
        ];
        let question = |ask| Question {
            version: 1,
            from: name("f0"),
            ask,
        };
        asks.into_iter().map(question).collect()
    }

    fn replicas() -> Vec<ReplicaState> {
        let promotion = Promotion {
            epoch: u64::MAX,
            since: 1,
            reason: "f0 is burnt, and ün so on".to_owned(),
        };
        let states = [
            (Promoted::Never, None),
            (Promoted::Now(promotion), Some((0, String::new()))),
            (Promoted::Over(9), Some((u64::MAX, "m 1".to_owned()))),
            (Promoted::Unknown("yes".to_owned()), None),
        ];
        let state = |(promoted, newest)| ReplicaState {
            dataset: name("z/nfs"),
            promoted,
            written: 3,
            newest,
        };
        states.into_iter().map(state).collect()
    }

    fn key_told() -> KeyTold {
        let held = |generation, proof: Option<[u8; 32]>| Held {
            generation,
            whole: proof.is_some(),
            proof: proof.map(Proof::from),
        };
        let opens = [
            Opens::By(Fingerprint::from([1; 32])),
            Opens::NoKey,
            Opens::CouldNotAsk("pool z is suspended".to_owned()),
        ];
        let root = |opens| RootTold {
            dataset: name("z/enc"),
            opens,
            inheriting: vec![name("z/enc/a")],
        };
        KeyTold {
            store: "0f".repeat(16),
            held: vec![
                held(generation(1, Standing::Retained), None),
                held(generation(2, Standing::Current), Some([6; 32])),
            ],
            sound: true,
            roots: opens.into_iter().map(root).collect(),
            challenge: Some(Nonce::from([5; 32])),
            kept: vec![Kept {
                fingerprint: Fingerprint::from([2; 32]),
                why: "pool z is suspended".to_owned(),
            }],
        }
    }

    fn replies() -> Vec<Reply> {
        let reply = |answer| Reply {
            version: 1,
            node: name("f1"),
            answer,
        };
        let answers = [
            Told::Replicas(replicas()),
            Told::Replicas(Vec::new()),
            Told::Key(key_told()),
        ];
        answers.into_iter().map(reply).collect()
    }

    /// It is read as it was written, is not longer than its JSON, and no other bytes are read: cut
    /// anywhere, with a byte more, or with a byte changed it is refused, or another message that is
    /// written just so.
    fn assert_exact<T>(said: T)
    where
        T: Flat + Clone + PartialEq + std::fmt::Debug + serde::Serialize,
    {
        let good = Ok(said.clone());
        let bytes = write(&good);
        assert_eq!(read::<T>(&bytes), good);
        assert!(bytes.len() <= serde_json::to_vec(&said).unwrap().len() + 1);
        for cut in 0..bytes.len() {
            assert!(read::<T>(&bytes[..cut]).is_err(), "{cut} of {said:?}");
        }
        assert!(read::<T>(&[&bytes[..], &[0]].concat()).is_err());
        for place in 0..bytes.len() {
            for value in [
                0,
                1,
                2,
                5,
                0x7f,
                0xff,
                bytes[place] ^ 1,
                bytes[place] ^ 0x80,
            ] {
                let mut other = bytes.clone();
                other[place] = value;
                if let Ok(other_said) = read::<T>(&other) {
                    assert_eq!(write(&Ok(other_said)), other, "{place} of {said:?}");
                }
            }
        }
    }

    #[test]
    fn every_message_is_handed_over_as_it_is_and_in_one_way_only() {
        questions().into_iter().for_each(assert_exact);
        replies().into_iter().for_each(assert_exact);
    }

    #[test]
    fn why_nothing_was_understood_is_handed_over_on_one_plain_line() {
        let wild = format!(" a\u{1b}]0;x\u{7}\r\nb {}", "ü ".repeat(1000));
        let told = write::<Question>(&Err(wild));
        let why = read::<Question>(&told).unwrap_err();
        assert!(why.starts_with("a\\x1b]0;x\\x07 b ü ü"), "{why}");
        assert!(why.len() < 700, "{why}");
    }

    /// What a process that was taken over could try.
    #[test]
    fn nothing_that_a_taken_over_process_writes_is_read_as_more_than_it_may_be() {
        let mut long = vec![0];
        long.resize(LARGEST + 1, 0);
        let question = |ask: &[u8]| [&[0, 1, 0, 0, 0, 2, 0, b'f', b'0'][..], ask].concat();
        assert!(read::<Question>(&question(&[0, 0, 0, 0, 0])).is_ok());
        let datasets = |count: u32, name: &str| {
            let mut ask = vec![0];
            count.put(&mut ask).unwrap();
            put_text(name, 1000, &mut ask).unwrap();
            question(&ask)
        };
        assert!(read::<Question>(&datasets(1, "z/a")).is_ok());
        for (bytes, words) in [
            (long, "too long"),
            (vec![], "cut short"),
            (vec![2], "no such alternative"),
            (vec![0xff; 100], "no such alternative"),
            (vec![1, 2, 0, b'a', 0x1b], "not plain"),
            (vec![1, 2, 0, b'a', b' '], "not plain"),
            (vec![1, 2, 0, 0xc3, 0x28], "a text is none"),
            (vec![1, 0xff, 0xff], "a text is too long"),
            (datasets(u32::MAX, "z"), "a list is too long"),
            (datasets(257, "z"), "a list is too long"),
            (datasets(256, "z"), "cut short"),
            (datasets(1, ""), "a name is none"),
            (datasets(1, "z/../y"), "a name is none"),
            (datasets(1, "z@s"), "a name is none"),
            (datasets(1, &"z".repeat(256)), "a text is too long"),
            (question(&[3]), "no such alternative"),
            (
                question(&[2, 4, 0, b'f', b':', b'.', b'.']),
                "a name is none",
            ),
        ] {
            let why = read::<Question>(&bytes).unwrap_err();
            assert!(why.contains(words), "{why}\nnot {words}");
        }
    }

    #[test]
    fn what_is_too_large_is_not_handed_over() {
        let many = Question {
            version: 1,
            from: name("f0"),
            ask: Ask::Replicas(vec![name("z"); MOST_ASKED + 1]),
        };
        let why = read::<Question>(&write(&Ok(many))).unwrap_err();
        assert!(why.ends_with(TOO_MANY), "{why}");
        let long = ReplicaState {
            dataset: name(&format!("z/{}", "a".repeat(253))),
            ..replicas().remove(0)
        };
        let much = |count| Reply {
            version: 1,
            node: name("f1"),
            answer: Told::Replicas(vec![long.clone(); count]),
        };
        let why = read::<Reply>(&write(&Ok(much(5000)))).unwrap_err();
        assert!(why.ends_with("it is too long"), "{why}");
        assert!(read::<Reply>(&write(&Ok(much(3000)))).is_ok());
    }
}
