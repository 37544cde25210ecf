//! OpenZFS's cache file: the pools that a boot imports, each with the host that imported it last.

/// A pool that the cache file names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedPool {
    /// Its name.
    pub name: String,
    /// The number of the host that imported it; 0 where that host had none.
    pub hostid: u64,
}

/// The encodings of the cache file: as it lies in memory, which OpenZFS 2.3 writes, or XDR (RFC 4506), numbers
/// with the highest byte first.
const NATIVE: u8 = 0;
const XDR: u8 = 1;
const HEADER: usize = 4;
/// A list begins with its version and its flags.
const LIST_HEADER: usize = 8;
/// A pair begins with its size here and its size in memory.
const PAIR_HEADER: usize = 8;
const TYPE_NUMBER: usize = 8;
const TYPE_LIST: usize = 19;
const TYPE_LISTS: usize = 20;
/// What a pair in memory begins with, before its name; name and value end on a multiple of this many bytes.
const NATIVE_HEADER: usize = 16;
const NATIVE_STEP: usize = 8;
/// The deepest that lists lie in one another: a tree of devices has five levels or so.
const DEEPEST: usize = 32;

/// Reads a cache file; `None` where it is not understood.
pub fn pools(bytes: &[u8]) -> Option<Vec<CachedPool>> {
    match *bytes.first()? {
        XDR => {}
        NATIVE => return native(bytes),
        _ => return None,
    }
    let pools = pairs(bytes.get(HEADER..)?)?;
    let lists = pools.iter().filter(|pair| pair.kind == TYPE_LIST);
    lists.map(pool).collect()
}

fn pool(pair: &Pair) -> Option<CachedPool> {
    let inside = pairs(pair.value)?;
    let hostid = inside.iter().find(|pair| pair.name == b"hostid");
    let hostid = match hostid {
        Some(pair) if pair.kind == TYPE_NUMBER => u64::from_be_bytes(pair.value.try_into().ok()?),
        Some(_) => return None,
        None => 0,
    };
    let name = String::from_utf8(pair.name.to_vec()).ok()?;
    Some(CachedPool { name, hostid })
}

/// A name and its value, still encoded.
struct Pair<'a> {
    name: &'a [u8],
    kind: usize,
    value: &'a [u8],
}

/// The pairs of a list, up to the empty one that ends it.
fn pairs(list: &[u8]) -> Option<Vec<Pair<'_>>> {
    let mut rest = list.get(LIST_HEADER..)?;
    let mut found = Vec::new();
    loop {
        let mut sizes = rest;
        let (size, in_memory) = (number(&mut sizes)?, number(&mut sizes)?);
        if (size, in_memory) == (0, 0) {
            return Some(found);
        }
        found.push(pair(rest.get(..size)?.get(PAIR_HEADER..)?)?);
        rest = rest.get(size..)?;
    }
}

fn pair(mut bytes: &[u8]) -> Option<Pair<'_>> {
    let length = number(&mut bytes)?;
    let name = bytes.get(..length)?;
    bytes = bytes.get(length.checked_next_multiple_of(4)?..)?;
    let kind = number(&mut bytes)?;
    let _count = number(&mut bytes)?;
    Some(Pair {
        name,
        kind,
        value: bytes,
    })
}

fn number(bytes: &mut &[u8]) -> Option<usize> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    usize::try_from(u32::from_be_bytes(*first)).ok()
}

/// Reads a cache file that is encoded as it lay in memory.
fn native(bytes: &[u8]) -> Option<Vec<CachedPool>> {
    let mut list = Native {
        rest: bytes.get(HEADER + LIST_HEADER..)?,
        little: match bytes.get(1)? {
            0 => false,
            1 => true,
            _ => return None,
        },
    };
    let pools = list.list(DEEPEST)?;
    let lists = pools.iter().filter(|entry| entry.kind == TYPE_LIST);
    lists.map(|entry| list.pool(entry)).collect()
}

/// A list as it lies in memory. Unlike in XDR, what lies in a pair that is a list stands behind the pair, up to
/// a size of zero, without a header.
struct Native<'a> {
    rest: &'a [u8],
    /// Whether the lowest byte of a number comes first.
    little: bool,
}

struct Entry<'a> {
    name: &'a [u8],
    kind: usize,
    value: &'a [u8],
    inside: Vec<Entry<'a>>,
}

impl<'a> Native<'a> {
    fn pool(&self, entry: &Entry) -> Option<CachedPool> {
        let hostid = entry.inside.iter().find(|entry| entry.name == b"hostid");
        let hostid = match hostid {
            Some(entry) if entry.kind == TYPE_NUMBER => {
                let bytes = *entry.value.first_chunk()?;
                match self.little {
                    true => u64::from_le_bytes(bytes),
                    false => u64::from_be_bytes(bytes),
                }
            }
            Some(_) => return None,
            None => 0,
        };
        let name = String::from_utf8(entry.name.to_vec()).ok()?;
        Some(CachedPool { name, hostid })
    }

    fn list(&mut self, depth: usize) -> Option<Vec<Entry<'a>>> {
        let depth = depth.checked_sub(1)?;
        let mut found = Vec::new();
        loop {
            let size = self.number(0)?;
            if size == 0 {
                self.rest = self.rest.get(4..)?;
                return Some(found);
            }
            let mut entry = self.entry(size)?;
            let count = self.number(8)?;
            self.rest = self.rest.get(size..)?;
            match entry.kind {
                TYPE_LIST => entry.inside = self.list(depth)?,
                TYPE_LISTS => {
                    for _ in 0..count {
                        self.list(depth)?;
                    }
                }
                _ => {}
            }
            found.push(entry);
        }
    }

    fn entry(&self, size: usize) -> Option<Entry<'a>> {
        let bytes = self.rest.get(..size)?;
        let length = *bytes.get(4..6)?.first_chunk()?;
        let length = usize::from(match self.little {
            true => u16::from_le_bytes(length),
            false => u16::from_be_bytes(length),
        });
        let end = NATIVE_HEADER.checked_add(length)?;
        Some(Entry {
            // The name ends with a zero, which its length counts.
            name: bytes.get(NATIVE_HEADER..end)?.strip_suffix(b"\0")?,
            kind: self.number(12)?,
            value: bytes.get(end.checked_next_multiple_of(NATIVE_STEP)?..)?,
            inside: Vec::new(),
        })
    }

    /// The number at this byte of what is left.
    fn number(&self, at: usize) -> Option<usize> {
        let bytes = *self.rest.get(at..)?.first_chunk()?;
        usize::try_from(match self.little {
            true => u32::from_le_bytes(bytes),
            false => u32::from_be_bytes(bytes),
        })
        .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pair in memory, with what lies in it behind.
    fn pair(name: &str, kind: usize, value: &[u8], inside: &[u8], little: bool) -> Vec<u8> {
        let number = |n: usize| {
            let n = u32::try_from(n).unwrap();
            if little {
                n.to_le_bytes()
            } else {
                n.to_be_bytes()
            }
        };
        let length = u16::try_from(name.len() + 1).unwrap();
        let length = if little {
            length.to_le_bytes()
        } else {
            length.to_be_bytes()
        };
        let mut bytes = [&[0; 4], &length[..], &[0; 2], &number(1), &number(kind)].concat();
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(0);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        let size = number(bytes.len());
        bytes[..4].copy_from_slice(&size);
        [&bytes[..], inside].concat()
    }

    fn file(little: bool) -> Vec<u8> {
        let hostid = |n: u64| {
            if little {
                n.to_le_bytes()
            } else {
                n.to_be_bytes()
            }
        };
        let end = [0; 4];
        let list = |name: &str, inside: &[u8]| {
            pair(
                name,
                TYPE_LIST,
                &[0; 24],
                &[inside, &end[..]].concat(),
                little,
            )
        };
        let tree = [
            list(
                "vdev",
                &pair("hostid", TYPE_NUMBER, &hostid(9), &[], little),
            ),
            pair("children", TYPE_LISTS, &[0; 32], &end, little),
        ]
        .concat();
        let zdata = [
            pair("name", 9, b"zdata\0", &[], little),
            list("vdev_tree", &tree),
            pair("hostid", TYPE_NUMBER, &hostid(0x00f3_5001), &[], little),
            pair("flag", 1, &[], &[], little),
        ]
        .concat();
        let head = [NATIVE, u8::from(little), 0, 0];
        let pools = [list("zdata", &zdata), list("zroot", &[])].concat();
        [&head[..], &[0; 8], &pools, &end].concat()
    }

    #[test]
    fn a_file_as_it_lay_in_memory_is_read_whatever_byte_comes_first() {
        let pool = |name: &str, hostid| CachedPool {
            name: name.to_owned(),
            hostid,
        };
        for little in [true, false] {
            let found = pools(&file(little)).unwrap();
            assert_eq!(found, [pool("zdata", 0x00f3_5001), pool("zroot", 0)]);
        }
    }

    #[test]
    fn a_file_that_is_cut_or_changed_anywhere_is_not_misread_for_ever() {
        let whole = file(true);
        for length in 0..whole.len() {
            assert_eq!(pools(&whole[..length]), None, "{length}");
        }
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut changed = whole.clone();
                changed[at] = value;
                let _ = pools(&changed);
            }
        }
        // Lists in lists without an end.
        let mut deep = [0; 4].to_vec();
        for _ in 0..100 {
            deep = pair(
                "x",
                TYPE_LIST,
                &[0; 24],
                &[&deep[..], &[0; 4]].concat(),
                true,
            );
        }
        let head = [&[NATIVE, 1, 0, 0][..], &[0; 8]].concat();
        assert_eq!(pools(&[head, deep].concat()), None);
    }
}
