//! The paths on the way to which symbolic links matter: mountpoints, paths of gates, and what the boot
//! binds to other places.

use crate::config::{Condition, Config};
use crate::host::binds::Bind;
use crate::plan::Observed;
use crate::sorted::{Map, Set};
use crate::zfs::Mountpoint;
use std::path::{Path, PathBuf};

/// Those paths by pool, since the file systems of one may not answer; what is bound, by itself.
pub(crate) fn asked(
    config: &Config,
    observed: &Observed,
    binds: &[Bind],
) -> Map<String, Vec<PathBuf>> {
    let mut asked: Map<&str, Set<&Path>> = Map::new();
    for dataset in observed.datasets() {
        if let Mountpoint::Path(at) = &dataset.mountpoint {
            asked.entry(dataset.name.pool()).or_default().insert(at);
        }
    }
    for need in config.gates.iter().flat_map(|gate| &gate.needs) {
        if let Condition::Mounted { path, dataset } = need {
            asked.entry(dataset.pool()).or_default().insert(path);
        }
    }
    for bind in binds {
        asked.entry("").or_default().insert(&bind.from);
    }
    let owned = |paths: Set<&Path>| paths.into_iter().map(Path::to_owned).collect();
    asked
        .into_iter()
        .map(|(pool, paths)| (pool.to_owned(), owned(paths)))
        .collect()
}
