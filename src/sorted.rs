//! Maps and sets that are sorted vectors, and sorting: what this program needs of `BTreeMap`, `BTreeSet`
//! and `slice::sort`, with the same order, the same answers and the same serde formats, in a tenth of
//! their machine code, which the compiler makes anew for each type. Pure.
//!
//! Looking something up takes O(log n), a collection is built and sorted in O(n log n), or O(n) where it
//! comes in order. One insertion in the middle moves what lies behind it: whoever has many, out of order,
//! collects them.

mod map;
mod set;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;

pub use map::{Entry, Iter, Map};
pub use set::{IntoSetIter, Set, SetIter};

/// Sorts, and leaves equals as they stand to one another.
pub fn sort<T: Ord>(items: &mut [T]) {
    sort_by(items, T::cmp);
}

/// As [`sort`], by what `key` says of each.
pub fn sort_by_key<T, K: Ord>(items: &mut [T], mut key: impl FnMut(&T) -> K) {
    sort_by(items, |a, b| key(a).cmp(&key(b)));
}

/// As [`sort`], by what `compare` says of any two.
pub fn sort_by<T>(items: &mut [T], mut compare: impl FnMut(&T, &T) -> Ordering) {
    let mut places = places(items.len(), &mut |a, b| compare(&items[a], &items[b]));
    for at in 0..places.len() {
        while places[at] != at {
            let place = places[at];
            items.swap(at, place);
            places.swap(at, place);
        }
    }
}

/// Where each item belongs. Not generic: the one copy of a sort that this program has.
fn places(count: usize, compare: &mut dyn FnMut(usize, usize) -> Ordering) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|a, b| compare(*a, *b));
    let mut places = vec![0; count];
    for (place, item) in order.into_iter().enumerate() {
        places[item] = place;
    }
    places
}
