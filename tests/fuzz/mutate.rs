//! Mutation by numbers that follow from a seed.

use super::{NEW, OLD, OWN};
use f3skeys::key::Fingerprint;
use serde_json::{Value, json};

/// Numbers that follow from a seed (splitmix64).
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`; zero for zero.
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % bound.max(1)
    }

    fn one_of<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// Words that a parser, a path or a terminal may stumble over.
fn words(random: &mut Random) -> String {
    let of = [
        "",
        ".",
        "..",
        "../f0:zdata",
        "f0:../../etc/passwd",
        "f0:zdata/",
        "/etc/f3skeys.ron",
        "-o",
        "f0:zdata\0",
        "f0:zdata.key",
        "F0:zdata",
        "f0 :zdata",
        "f1:zdata",
        "f0:zdata",
        "f0:",
        ":z",
        "f0",
        "f1",
        "f2",
        "z/sink/f0",
        "z/sink/f0/child",
        "z/enc",
        "z/sink/f0@x",
        "z/../z",
        "z//a",
        "current",
        "staged",
        "retained",
        "retired",
        "pruned",
        "unknown",
        "null",
        "true",
        "1e400",
        "\u{1b}[2J",
        "\r\n",
        "\u{feff}",
        "\u{202e}f0",
        "%s%n",
        "$(reboot)",
        "😀",
    ];
    match random.below(16) {
        0 => "a".repeat(random.below(100_000)),
        1 => "z/".repeat(random.below(300)),
        2 => "0".repeat(64),
        3 => "f0:".to_owned() + &"z".repeat(random.below(200)),
        4 => Fingerprint::of(random.one_of(&[OLD, NEW, OWN])).hex(),
        _ => (*random.one_of(&of)).to_owned(),
    }
}

fn number(random: &mut Random) -> Value {
    match random.below(8) {
        0 => json!(u64::MAX),
        1 => json!(i64::MIN),
        2 => json!(4_294_967_296u64),
        3 => json!(1e300),
        4 => json!(0.5),
        5 => json!(-1),
        _ => json!(random.below(4)),
    }
}

fn value(random: &mut Random) -> Value {
    match random.below(8) {
        0 => Value::Null,
        1 => json!(random.below(2) == 0),
        2 | 3 => number(random),
        4 => {
            let word = words(random);
            let times = random.below(600).min(200_000 / (word.len() + 1));
            Value::Array(vec![json!(word); times])
        }
        5 => json!({ words(random): number(random) }),
        _ => json!(words(random)),
    }
}

/// Another word of the same kind, so that a message is wrong in what it says alone.
fn alike(text: &str, random: &mut Random) -> String {
    let standings = ["current", "staged", "retained", "retired", "pruned"];
    match text {
        _ if standings.contains(&text) => (*random.one_of(&standings)).to_owned(),
        _ if text.len() == 64 => Fingerprint::of(random.one_of(&[OLD, NEW, OWN])).hex(),
        _ if text.contains(':') => {
            let keys = [
                "f0:zdata", "f0:other", "f1:zdata", "f1:other", "f2:zdata", "f2:other",
            ];
            (*random.one_of(&keys)).to_owned()
        }
        _ => (*random.one_of(&["f0", "f1", "f2", "z/sink/f0", "z/enc", "z"])).to_owned(),
    }
}

/// All that has nothing in it.
fn leaves(value_here: &mut Value) -> Vec<&mut Value> {
    match value_here {
        Value::Array(all) => all.iter_mut().flat_map(leaves).collect(),
        Value::Object(fields) => fields.values_mut().flat_map(leaves).collect(),
        leaf => vec![leaf],
    }
}

/// Changes one word or number of a message.
fn change_leaf(message: &mut Value, random: &mut Random) {
    let mut leaves = leaves(message);
    let place = random.below(leaves.len());
    if let Some(leaf) = leaves.get_mut(place) {
        **leaf = match leaf {
            Value::String(text) if random.below(4) > 0 => json!(alike(text, random)),
            Value::Number(_) if random.below(2) == 0 => json!(random.below(4)),
            _ => value(random),
        };
    }
}

/// Changes something somewhere in a message, which stays JSON.
fn change(value_here: &mut Value, random: &mut Random) {
    let is_leaf = match value_here {
        Value::Array(all) => all.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => true,
    };
    if is_leaf || random.below(6) == 0 {
        *value_here = value(random);
        return;
    }
    match value_here {
        Value::Array(all) => change_array(all, random),
        Value::Object(fields) => {
            let names: Vec<String> = fields.keys().cloned().collect();
            let name = random.one_of(&names).clone();
            match random.below(8) {
                0 => drop(fields.remove(&name)),
                1 => drop(fields.insert(words(random), value(random))),
                2 => {
                    let of = [
                        "replicas", "key", "put", "nonce", "list", "bring", "version",
                    ];
                    let moved = fields.remove(&name).unwrap_or_default();
                    fields.insert((*random.one_of(&of)).to_owned(), moved);
                }
                _ => change(fields.get_mut(&name).unwrap(), random),
            }
        }
        _ => {}
    }
}

fn change_array(all: &mut Vec<Value>, random: &mut Random) {
    let place = random.below(all.len());
    match random.below(8) {
        0 => drop(all.remove(place)),
        1 => all.push(all[place].clone()),
        2 => {
            let size = all[place].to_string().len();
            let times = random.below(300).min(200_000 / size);
            all.extend(vec![all[place].clone(); times]);
        }
        3 => all.reverse(),
        4 => all.push(value(random)),
        _ => change(&mut all[place], random),
    }
}

/// Changes bytes, wherever they are.
fn spoil(bytes: &mut Vec<u8>, random: &mut Random) {
    let place = random.below(bytes.len());
    let end = (place + random.below(64)).min(bytes.len());
    let some = |random: &mut Random, most: usize| -> Vec<u8> {
        let byte = *random.one_of(b"[{\"\\0-\xff\xc3\x00\n ");
        vec![byte; random.below(most)]
    };
    match random.below(12) {
        0 | 1 if !bytes.is_empty() => bytes[place] ^= 1 << random.below(8),
        2 if !bytes.is_empty() => bytes[place] = *random.one_of(b"\0\x7f\xff\n\"{}[],:0\\"),
        3 => bytes.truncate(place),
        4 => drop(bytes.drain(place..end)),
        5 => {
            let piece = bytes[place..end].to_vec();
            bytes.splice(place..place, piece.repeat(1 + random.below(20)));
        }
        6 => drop(bytes.splice(place..place, some(random, 8))),
        7 => drop(bytes.splice(place..place, some(random, 3000))),
        8 => drop(bytes.splice(place..place, b"{\"a\":[".repeat(random.below(2000)))),
        9 => drop(bytes.splice(place..place, words(random).into_bytes())),
        10 if random.below(40) == 0 => drop(bytes.splice(place..place, some(random, 300_000))),
        _ => bytes.extend(some(random, 70)),
    }
}

/// A message made from one of these: mutated as JSON where it is such, then as bytes.
pub fn mutated(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = random.one_of(corpus).clone();
    let line = bytes
        .iter()
        .position(|b| *b == b'\n')
        .unwrap_or(bytes.len());
    if random.below(3) > 0
        && let Ok(mut message) = serde_json::from_slice::<Value>(&bytes[..line])
    {
        for _ in 0..=random.below(3) {
            match random.below(2) {
                0 => change_leaf(&mut message, random),
                _ => change(&mut message, random),
            }
        }
        let changed = serde_json::to_vec(&message).unwrap();
        bytes.splice(..line, changed);
    }
    if random.below(3) == 0 {
        for _ in 0..=random.below(4) {
            spoil(&mut bytes, random);
        }
    }
    if random.below(30) == 0 {
        bytes.extend(random.one_of(corpus));
    }
    bytes
}
