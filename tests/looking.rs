//! What `ready` looks at is all that its mounts depend on: for every place that one more dataset of the
//! pool can have, the plan of what was looked at is the plan of all there is.

mod sim;

use f3skeys::config::Config;
use f3skeys::os::Mount;
use f3skeys::plan::{self, MountPlan, Observed, Pool, Unseen};
use f3skeys::sorted::Set;
use f3skeys::zfs::{CanMount, Dataset, KeyStatus, Mountpoint, Part};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const OURS: &str = "zdata/a";
const AT: &str = "/x/a";

/// Where a dataset belongs, how it may be mounted, and whether it is.
type Place = (Option<&'static str>, CanMount, bool);

fn places(paths: &[Option<&'static str>]) -> Vec<Place> {
    let ways = [CanMount::On, CanMount::NoAuto, CanMount::Off];
    let mut places = Vec::new();
    for path in paths {
        for can_mount in ways {
            for mounted in [false, true] {
                if !mounted || (path.is_some() && can_mount != CanMount::Off) {
                    places.push((*path, can_mount, mounted));
                }
            }
        }
    }
    places
}

fn dataset(name: &str, (path, can_mount, mounted): Place) -> Dataset {
    Dataset {
        mountpoint: path.map_or(Mountpoint::None, |path| Mountpoint::Path(path.into())),
        can_mount,
        mounted,
        ..sim::dataset(name)
    }
}

fn mount(at: &Path, fstype: &str, source: &str) -> Mount {
    Mount {
        at: at.to_owned(),
        fstype: fstype.to_owned(),
        source: source.to_owned(),
        read_only: false,
        sealed: false,
        fsid: String::new(),
    }
}

/// What the kernel has mounted in such a world.
fn mounted(datasets: &[Dataset], also: Option<&str>) -> Vec<Mount> {
    let root = mount(Path::new("/"), "ext4", "/dev/vda");
    let also = also.map(|at| mount(Path::new(at), "ext4", "/dev/vdb"));
    let zfs = datasets.iter().filter(|d| d.mounted).filter_map(|d| {
        let Mountpoint::Path(at) = &d.mountpoint else {
            return None;
        };
        Some(mount(at, "zfs", d.name.as_str()))
    });
    [root].into_iter().chain(also).chain(zfs).collect()
}

fn seen(datasets: &[Dataset], part: &Part) -> Observed {
    let mut datasets = datasets.to_vec();
    datasets.retain(|dataset| part.has(&dataset.name));
    let mut observed = Observed::default();
    let pool = Pool::Seen(datasets);
    observed.pools.insert("zdata".to_owned(), pool);
    observed
}

fn config() -> Config {
    let text = format!(
        r#"(node: "f0", store: (label: "K"),
            roots: [(dataset: "{OURS}", key: "f0:a", role: primary, required: true)],
            gates: [(name: "g", needs: [mounted(path: "{AT}", dataset: "{OURS}")])])"#
    );
    Config::parse(&text).unwrap()
}

/// The plan as `ready` comes to it, and whether it looked at the whole pool.
fn looked_at(config: &Config, datasets: &[Dataset], mounts: &[Mount]) -> (MountPlan, bool) {
    let part = plan::part_for_mounts(config, "zdata");
    let observed = seen(datasets, &part);
    match plan::unseen(config, &observed, mounts) {
        Unseen::Nothing => (plan::mounts(config, &observed), false),
        Unseen::These(names) => {
            let mut part = part;
            part.alone.extend(names);
            (plan::mounts(config, &seen(datasets, &part)), false)
        }
        Unseen::Any => {
            let whole = Part::tree("zdata".parse().unwrap());
            (plan::mounts(config, &seen(datasets, &whole)), true)
        }
    }
}

/// Whether a dataset that is not mounted belongs above ours, where something else is mounted or will be:
/// of that one `ready` knows nothing, and ours does not wait for it.
fn is_shut_out(other: &Dataset, pool: &Dataset, mounts: &[Mount]) -> bool {
    let Mountpoint::Path(at) = &other.mountpoint else {
        return false;
    };
    let will_be = pool.can_mount == CanMount::On && pool.mountpoint == other.mountpoint;
    let is_mount_point = will_be || mounts.iter().any(|mount| mount.at == *at);
    let above: BTreeSet<PathBuf> = Path::new(AT)
        .ancestors()
        .skip(1)
        .map(PathBuf::from)
        .collect();
    !other.mounted && above.contains(at) && is_mount_point
}

#[test]
fn what_ready_looks_at_is_all_that_its_mounts_depend_on() {
    let config = config();
    let anywhere = [
        None,
        Some("/"),
        Some("/x"),
        Some(AT),
        Some("/x/a/b"),
        Some("/x/ab"),
        Some("/y"),
    ];
    let (mut worlds, mut whole, mut shut_out) = (0, 0, 0);
    for pool in places(&[None, Some("/x"), Some("/zdata")]) {
        for own_mounted in [false, true] {
            for other in places(&anywhere) {
                for also in [None, Some("/x"), Some("/y")] {
                    let mut own = sim::at(AT, sim::encrypted(OURS, OURS));
                    own.key_status = KeyStatus::Available;
                    own.mounted = own_mounted;
                    let other = dataset("zdata/else/where", other);
                    let datasets = [dataset("zdata", pool), own, other.clone()];
                    let mounts = mounted(&datasets, also);
                    let (plan, looked_at_all) = looked_at(&config, &datasets, &mounts);
                    let known = match is_shut_out(&other, &datasets[0], &mounts) && !looked_at_all {
                        true => &datasets[..2],
                        false => &datasets[..],
                    };
                    let all = Part::tree("zdata".parse().unwrap());
                    let expected = plan::mounts(&config, &seen(known, &all));
                    assert_eq!(plan, expected, "{datasets:?} {also:?}");
                    worlds += 1;
                    whole += u32::from(looked_at_all);
                    shut_out += u32::from(known.len() == 2);
                }
            }
        }
    }
    assert!(
        whole > 0 && whole < worlds && shut_out > 0,
        "{worlds} {whole} {shut_out}"
    );
}

#[test]
fn datasets_that_nobody_asks_about_are_not_looked_at() {
    let config = config();
    let pool = dataset("zdata", (Some("/x"), CanMount::On, true));
    let own = sim::at(AT, sim::encrypted(OURS, OURS));
    let others = (0..100).map(|number| {
        dataset(
            &format!("zdata/o{number}"),
            (Some("/o"), CanMount::On, true),
        )
    });
    let datasets: Vec<Dataset> = [pool, own].into_iter().chain(others).collect();
    let part = plan::part_for_mounts(&config, "zdata");
    let observed = seen(&datasets, &part);
    assert_eq!(observed.datasets().count(), 2);
    let mounts = mounted(&datasets, None);
    assert_eq!(plan::unseen(&config, &observed, &mounts), Unseen::Nothing);
}

#[test]
fn the_shares_of_a_part_are_the_part_with_each_dataset_once() {
    let names = ["p", "p/a", "p/a/b", "p/ab", "p/c"];
    let set = |bits: usize| -> Set<_> {
        let chosen = names
            .iter()
            .enumerate()
            .filter(|(i, _)| bits & (1 << i) != 0);
        chosen.map(|(_, name)| name.parse().unwrap()).collect()
    };
    for trees in 0..32 {
        for alone in 0..32 {
            let part = Part {
                alone: set(alone),
                trees: set(trees),
            };
            for most in 1..4 {
                let shares = part.shares(most);
                assert!(shares.len() <= most);
                for name in names {
                    let name = name.parse().unwrap();
                    let in_shares = shares.iter().filter(|share| share.has(&name)).count();
                    assert_eq!(in_shares, usize::from(part.has(&name)), "{part:?} {name}");
                }
            }
        }
    }
}
