//! What a key's owner says of its generations: to one node, about one store, over one number. Only
//! somebody who has the bytes of a generation that the receiver holds can vouch for it, so an ssh key
//! alone changes nothing. Pure.

use crate::flat::{self, Flat, Unfit};
use crate::key::{Key, Nonce};
use crate::names::{KeyName, NodeName};
use crate::peers::Vouched;
use crate::store::state::Generation;

/// A list of generations, with all that binds it to its place and time.
#[derive(Debug, Clone, Copy)]
pub struct Statement<'a> {
    /// The key.
    pub key: &'a KeyName,
    /// The node that owns the key, and says this.
    pub from: &'a NodeName,
    /// The node that it is said to.
    pub to: &'a NodeName,
    /// The identity of that node's store.
    pub store: &'a str,
    /// The number that the node gave for it.
    pub challenge: Nonce,
    /// The generations, in the order in which they are sent.
    pub list: &'a [Generation],
}

impl Statement<'_> {
    /// The bytes that are vouched for, in the encoding of [`crate::flat`]: each text with its length
    /// before it, the challenge, and each generation's number, fingerprint and standing behind their
    /// count. Two statements never have the same bytes. docs/formats.md describes them.
    ///
    /// # Errors
    /// A part of it is longer than any message may have it.
    pub fn bytes(&self) -> Result<Vec<u8>, Unfit> {
        let mut out = Vec::new();
        self.key.put(&mut out)?;
        self.from.put(&mut out)?;
        self.to.put(&mut out)?;
        flat::put_name(self.store, &mut out)?;
        self.challenge.put(&mut out)?;
        flat::put_list(self.list, &mut out)?;
        Ok(out)
    }

    /// Vouches for it with the bytes of a generation.
    ///
    /// # Errors
    /// As for [`Statement::bytes`].
    pub fn vouched(&self, by: &Key) -> Result<Vouched, Unfit> {
        Ok(Vouched {
            by: by.fingerprint(),
            challenge: self.challenge,
            proof: by.vouch(&self.bytes()?),
        })
    }

    /// Whether this is what was vouched for, with this generation.
    pub fn is_vouched(&self, by: &Key, vouched: &Vouched) -> bool {
        self.vouched(by).as_ref() == Ok(vouched)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Fingerprint;
    use crate::store::state::Standing;

    fn key(byte: u8) -> Key {
        Key::take(|place| {
            place.fill(byte);
            Ok(())
        })
        .unwrap()
    }

    fn name<T: std::str::FromStr>(text: &str) -> T {
        text.parse().unwrap_or_else(|_| panic!("{text}"))
    }

    #[test]
    fn law_7_a_list_that_differs_in_anything_is_not_the_one_that_was_vouched_for() {
        let (key_name, from, to): (KeyName, NodeName, NodeName) =
            (name("f0:z"), name("f0"), name("f1"));
        let generation = |number, byte, state| Generation {
            generation: number,
            fingerprint: Fingerprint::from([byte; 32]),
            state,
        };
        let list = [
            generation(1, 1, Standing::Retained),
            generation(2, 2, Standing::Current),
        ];
        let store = "ab".repeat(16);
        let good = Statement {
            key: &key_name,
            from: &from,
            to: &to,
            store: &store,
            challenge: Nonce::from([7; 32]),
            list: &list,
        };
        let vouched = good.vouched(&key(1)).unwrap();
        assert!(good.is_vouched(&key(1), &vouched));
        assert!(!good.is_vouched(&key(2), &vouched));
        let (other_key, other_node) = (name("f0:y"), name("f2"));
        let mut lists = vec![list[..1].to_vec(), vec![list[1].clone(), list[0].clone()]];
        for at in 0..2 {
            for change in [
                (|g| g.generation += 1) as fn(&mut Generation),
                |g| g.fingerprint = Fingerprint::from([9; 32]),
                |g| g.state = Standing::Retired,
                |g| g.state = Standing::Pruned,
                |g| g.state = Standing::Staged,
            ] {
                let mut changed = list.to_vec();
                change(&mut changed[at]);
                lists.push(changed);
            }
        }
        let mut others: Vec<Statement> = lists
            .iter()
            .map(|list| Statement { list, ..good })
            .collect();
        others.extend([
            Statement {
                key: &other_key,
                ..good
            },
            Statement {
                from: &other_node,
                ..good
            },
            Statement {
                to: &other_node,
                ..good
            },
            Statement {
                store: "ab",
                ..good
            },
            Statement {
                challenge: Nonce::from([8; 32]),
                ..good
            },
        ]);
        let count = others.len();
        for other in others {
            assert!(!other.is_vouched(&key(1), &vouched), "{other:?}");
            assert_ne!(other.bytes(), good.bytes(), "{other:?}");
        }
        assert_eq!(count, 17);
    }

    #[test]
    fn the_bytes_of_a_statement_of_version_2_never_change() {
        let list = [Generation {
            generation: 3,
            fingerprint: Fingerprint::from([5; 32]),
            state: Standing::Current,
        }];
        let statement = Statement {
            key: &name("f0:z"),
            from: &name("f0"),
            to: &name("f1"),
            store: "ab",
            challenge: Nonce::from([7; 32]),
            list: &list,
        };
        let by_hand = [
            &b"\x04\0f0:z\x02\0f0\x02\0f1\x02\0ab"[..],
            &[7; 32],
            &[1, 0, 0, 0],
            &[3, 0, 0, 0],
            &[5; 32],
            &[0],
        ];
        assert_eq!(statement.bytes(), Ok(by_hand.concat()));
    }
}
