//! File systems that belong on one directory: a backup pool that is imported without `altroot` brings a
//! copy of each. Pure.

use crate::names::DatasetName;
use crate::zfs::{CanMount, Dataset, Kind, Mountpoint, Source};
use std::path::Path;

/// A file system of a backup copy, and the one that it is a copy of, by their one mountpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copy<'a> {
    /// The copy's.
    pub copy: &'a Dataset,
    /// The one that lives here.
    pub original: &'a Dataset,
    /// Where both belong.
    pub at: &'a Path,
}

fn place(dataset: &Dataset) -> Option<&Path> {
    match &dataset.mountpoint {
        Mountpoint::Path(at) if dataset.kind == Kind::Filesystem => {
            (dataset.can_mount != CanMount::Off && !dataset.jailed).then_some(at)
        }
        _ => None,
    }
}

/// What shows that a root holds a backup copy of what another pool has.
pub fn copy_at_or_below<'a>(datasets: &[&'a Dataset], root: &DatasetName) -> Option<Copy<'a>> {
    let of_root = datasets.iter().filter(|d| d.name.is_at_or_below(root));
    let mut pairs = of_root.filter_map(|copy| {
        let at = place(copy)?;
        let mut others = datasets.iter();
        let original = others.find(|other| {
            other.name.pool() != root.pool() && place(other) == Some(at) && is_copy(copy, other)
        })?;
        Some(Copy { copy, original, at })
    });
    pairs.next()
}

/// Of two with one mountpoint: the copy has it from a stream, or is not the one in use, or cannot be
/// written where the other can.
fn is_copy(copy: &Dataset, other: &Dataset) -> bool {
    let received = |d: &Dataset| d.mountpoint_source == Source::Received;
    let signs = |d: &Dataset| (received(d), !d.mounted, d.readonly);
    signs(copy) > signs(other)
}
