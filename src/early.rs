//! File systems that a boot without the stick brings up before the ones that they lie on. Pure.
//!
//! An unencrypted file system below the path of a locked one is mounted on the bare directory. When the stick
//! comes later, what it lies on would bury it. So it is unmounted first, if nothing uses it, and mounted again
//! after; and `doctor` and `rehearse` say so before.

use crate::config::Config;
use crate::gate;
use crate::names::{DatasetName, GateName};
use crate::os::Mount;
use crate::plan::{MountPlan, NotMounted, Observed};
use crate::report::{Finding, Severity};
use crate::shell::command;
use crate::sorted;
use crate::zfs::{CanMount, Dataset, Kind, Mountpoint};
use std::path::Path;

/// What would have to be mounted anew so that nothing is buried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aside {
    /// The file systems that are in the way, the deepest first.
    pub datasets: Vec<DatasetName>,
    /// What lies on them or beside them and is nobody's to move.
    pub held: Option<String>,
}

fn place(dataset: &Dataset) -> Option<&Path> {
    match &dataset.mountpoint {
        Mountpoint::Path(at) if dataset.kind == Kind::Filesystem && !dataset.jailed => Some(at),
        _ => None,
    }
}

/// For each place whose file system would bury others: what is to be moved aside.
pub fn in_the_way(observed: &Observed, plan: &MountPlan, mounted: &[Mount]) -> Vec<Aside> {
    let buriers = plan.refused.iter().filter_map(|(name, why)| match why {
        NotMounted::WouldBury(_) => place(observed.dataset(name)?),
        _ => None,
    });
    buriers.map(|at| below(observed, mounted, at)).collect()
}

fn below(observed: &Observed, mounted: &[Mount], at: &Path) -> Aside {
    let is_below = |path: &Path| path != at && path.starts_with(at);
    let own = observed.datasets().filter(|d| d.mounted);
    let mut own: Vec<(&Path, &Dataset)> = own
        .filter_map(|dataset| Some((place(dataset)?, dataset)))
        .filter(|(path, _)| is_below(path))
        .collect();
    sorted::sort_by(&mut own, |a, b| b.0.cmp(a.0));
    let is_own = |mount: &Mount| {
        let mut own = own.iter();
        own.any(|(path, d)| mount.at == *path && mount.source == d.name.as_str())
    };
    let stranger = mounted.iter().find(|m| is_below(&m.at) && !is_own(m));
    let shared = own
        .iter()
        .find(|(_, d)| d.sharenfs.is_some() || d.sharesmb.is_some());
    Aside {
        held: match (stranger, shared) {
            (Some(mount), _) => Some(format!(
                "{} is mounted on {}",
                mount.source,
                mount.at.display()
            )),
            (None, Some((_, dataset))) => Some(format!("{} is shared", dataset.name)),
            (None, None) => None,
        },
        datasets: own.into_iter().map(|(_, d)| d.name.clone()).collect(),
    }
}

/// The gates that a file system matters to.
pub fn gates<'a>(config: &'a Config, dataset: &DatasetName) -> Vec<&'a GateName> {
    let names = |need: &&crate::config::Condition| need.dataset() == Some(dataset);
    let gates = config.gates.iter();
    gates
        .filter(|one| gate::needs(config, one).iter().any(names))
        .map(|gate| &gate.name)
        .collect()
}

/// What comes up first where the stick is late, told before it happens.
pub fn findings(config: &Config, observed: &Observed) -> Vec<Finding> {
    let comes_up = |d: &&Dataset| d.can_mount == CanMount::On && place(d).is_some();
    let configured = |d: &Dataset| {
        let mut roots = config.roots.iter();
        roots.any(|root| d.encryption_root.as_ref() == Some(&root.dataset))
    };
    let (locked, others): (Vec<&Dataset>, Vec<&Dataset>) = observed
        .datasets()
        .filter(comes_up)
        .partition(|d| configured(d));
    let early = others.into_iter().filter(|d| d.encryption_root.is_none());
    early
        .filter_map(|dataset| {
            let at = place(dataset)?;
            let above = locked.iter().filter_map(|d| Some((place(d)?, *d)));
            let (on, above) = above
                .filter(|(on, _)| at != *on && at.starts_with(on))
                .max_by_key(|(on, _)| on.components().count())?;
            Some(finding(dataset, at, above, on))
        })
        .collect()
}

fn finding(dataset: &Dataset, at: &Path, above: &Dataset, on: &Path) -> Finding {
    let what = format!(
        "is not encrypted, and lies on {}, below {} of the encrypted {}: where the stick is late it comes up first, in the bare directory, and the late boot can put it in its place only if nothing uses it by then",
        at.display(),
        on.display(),
        above.name
    );
    let remedy = format!(
        "give it a mountpoint of its own elsewhere: {}; or start what uses it behind a gate that needs {}",
        command!("zfs set mountpoint=ITS-PATH {}", &dataset.name),
        above.name
    );
    Finding::new(Severity::Warning, dataset.name.as_str(), &what, &remedy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Pool;
    use crate::zfs::tests as sample;

    fn dataset(name: &str, at: &str, root: Option<&str>) -> Dataset {
        Dataset {
            mountpoint: Mountpoint::Path(at.into()),
            encryption_root: root.map(|root| root.parse().unwrap()),
            kind: Kind::Filesystem,
            can_mount: CanMount::On,
            ..sample::dataset(name)
        }
    }

    fn observed(datasets: Vec<Dataset>) -> Observed {
        let mut observed = Observed::default();
        observed.pools.insert("z".to_owned(), Pool::Seen(datasets));
        observed
    }

    fn config() -> Config {
        let text = r#"(node: "f0", store: (label: "K"),
            roots: [(dataset: "z/enc", key: "f0:z", role: primary, required: true)])"#;
        Config::parse(text).unwrap()
    }

    #[test]
    fn only_what_is_not_encrypted_and_lies_below_an_encrypted_place_comes_up_too_early() {
        let all = || {
            vec![
                dataset("z/enc", "/data/nfs", Some("z/enc")),
                dataset("z/enc/child", "/data/nfs/child", Some("z/enc")),
                dataset("z/above", "/data", None),
                dataset("z/beside", "/data/nfs2", None),
                dataset("z/early", "/data/nfs/pub", None),
            ]
        };
        let told = |datasets| {
            let found = findings(&config(), &observed(datasets));
            found
                .into_iter()
                .map(|f| f.subject.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(told(all()), ["z/early"]);
        let mut noauto = all();
        noauto[4].can_mount = CanMount::NoAuto;
        assert!(told(noauto).is_empty());
    }

    #[test]
    fn what_is_in_the_way_is_moved_deepest_first_and_not_with_a_stranger_or_a_share() {
        let mut all = vec![
            dataset("z/enc", "/data/nfs", Some("z/enc")),
            dataset("z/a", "/data/nfs/a", None),
            dataset("z/b", "/data/nfs/a/b", None),
            dataset("z/beside", "/data/nfs2", None),
        ];
        all[1..].iter_mut().for_each(|d| d.mounted = true);
        let plan = MountPlan {
            refused: vec![(
                all[0].name.clone(),
                NotMounted::WouldBury(all[1].name.clone()),
            )],
            ..MountPlan::default()
        };
        let mount = |source: &str, at: &str| Mount {
            source: source.to_owned(),
            at: at.into(),
            fstype: "zfs".to_owned(),
            read_only: false,
            sealed: false,
            fsid: String::new(),
        };
        let own = [mount("z/a", "/data/nfs/a"), mount("z/b", "/data/nfs/a/b")];
        let aside = |all: &[Dataset], mounted: &[Mount]| {
            let found = in_the_way(&observed(all.to_vec()), &plan, mounted);
            assert_eq!(found.len(), 1);
            found[0].clone()
        };
        let found = aside(&all, &own);
        let names: Vec<&str> = found.datasets.iter().map(DatasetName::as_str).collect();
        assert_eq!((names, found.held), (vec!["z/b", "z/a"], None));
        let mut with_tmpfs = own.to_vec();
        with_tmpfs.push(mount("tmpfs", "/data/nfs/a/t"));
        assert!(aside(&all, &with_tmpfs).held.unwrap().contains("tmpfs"));
        all[1].sharenfs = Some(crate::zfs::Source::Local);
        assert!(aside(&all, &own).held.unwrap().contains("z/a is shared"));
    }
}
