//! OpenZFS's cache file: the pools that a boot imports, each with the host that imported it last.

/// A pool that the cache file names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedPool {
    /// Its name.
    pub name: String,
    /// The number of the host that imported it; 0 where that host had none.
    pub hostid: u64,
}

/// The encoding of the cache file: XDR (RFC 4506), numbers with the highest byte first.
const XDR: u8 = 1;
const HEADER: usize = 4;
/// A list begins with its version and its flags.
const LIST_HEADER: usize = 8;
/// A pair begins with its size here and its size in memory.
const PAIR_HEADER: usize = 8;
const TYPE_NUMBER: usize = 8;
const TYPE_LIST: usize = 19;

/// Reads a cache file; `None` where it is not understood.
pub fn pools(bytes: &[u8]) -> Option<Vec<CachedPool>> {
    if *bytes.first()? != XDR {
        return None;
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
