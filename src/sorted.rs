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
    let order = order(items.len(), &mut |a, b| compare(&items[a], &items[b]));
    arrange(items, &order);
}

/// Sorts, and keeps the last of equals alone.
fn sort_apart<T>(items: &mut Vec<T>, compare: impl Fn(&T, &T) -> Ordering) {
    let compare: Compare = &mut |a, b| compare(&items[a], &items[b]);
    let mut order = order(items.len(), compare);
    let count = set_apart(&mut order, compare);
    arrange(items, &order);
    items.truncate(count);
}

/// What two items are to one another, by their places. No generic: what takes one is there once.
type Compare<'a> = &'a mut dyn FnMut(usize, usize) -> Ordering;

/// The places of the items, in the order in which they are to stand.
fn order(count: usize, compare: Compare) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|a, b| compare(*a, *b));
    order
}

/// Puts all but the last of equals at the end, and tells how many stand before them.
fn set_apart(order: &mut Vec<usize>, compare: Compare) -> usize {
    let mut kept = Vec::with_capacity(order.len());
    let mut left = Vec::new();
    for (at, item) in order.iter().enumerate() {
        match order.get(at + 1) {
            Some(next) if compare(*item, *next).is_eq() => left.push(*item),
            _ => kept.push(*item),
        }
    }
    let count = kept.len();
    kept.append(&mut left);
    *order = kept;
    count
}

/// Brings the items into an order.
fn arrange<T>(items: &mut [T], order: &[usize]) {
    let mut places = places(order);
    for at in 0..places.len() {
        while places[at] != at {
            let place = places[at];
            items.swap(at, place);
            places.swap(at, place);
        }
    }
}

/// Where each item belongs.
fn places(order: &[usize]) -> Vec<usize> {
    let mut places = vec![0; order.len()];
    for (place, item) in order.iter().enumerate() {
        places[*item] = place;
    }
    places
}
