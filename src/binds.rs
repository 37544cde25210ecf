//! What is said of a bind of a configured path that a boot makes too early. Pure.
//!
//! `doctor` and `rehearse` both say it. The gate itself goes by what the kernel shows.

use crate::host::binds::{Bind, When};
use crate::host::{FstabLine, InitSystem};
use crate::legacy;
use crate::names::DatasetName;
use crate::os::{self, PATHS};
use crate::report::{Finding, Severity};
use crate::sorted::Map;
use crate::twins::place;
use crate::zfs::Dataset;
use std::path::{Path, PathBuf};

/// A finding, and the dataset that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The file system that the bind should show.
    pub dataset: DatasetName,
    /// What is wrong.
    pub finding: Finding,
}

/// Where a path leads by way of a bind: what it shows is what is bound there.
pub fn behind(binds: &[Bind], path: &Path) -> PathBuf {
    let bound = |bind: &Bind| Some(bind.from.join(path.strip_prefix(&bind.at).ok()?));
    let found = binds.iter().find_map(bound);
    // Nothing below is the directory itself, without a slash.
    found.map_or_else(|| path.to_owned(), |path| path.components().collect())
}

/// Judges the binds of the next boot. `is_ours` says what lies at or below a configured root; `exports` are
/// the paths that NFS exports, with the file that says so; `real` says where a path really is.
pub fn judge<'a>(
    is_ours: impl Fn(&DatasetName) -> bool,
    datasets: impl Iterator<Item = &'a Dataset>,
    binds: &[Bind],
    exports: &Map<PathBuf, String>,
    real: impl Fn(&Path) -> PathBuf,
) -> Vec<Said> {
    // The root file system is there before any bind.
    let place = |dataset| place(dataset).filter(|at| at.parent().is_some());
    let places: Vec<(PathBuf, &Dataset)> = datasets
        .filter_map(|dataset| Some((real(place(dataset)?), dataset)))
        .collect();
    let said = |bind: &Bind| {
        let from = real(&bind.from);
        let around = || places.iter().filter(|(at, _)| from.starts_with(at));
        let (at, dataset) = around().max_by_key(|(at, _)| at.components().count())?;
        if !is_ours(&dataset.name) {
            return None;
        }
        // Then what is mounted there later is to be seen at the bind as well.
        let follows = os::BINDS_FOLLOW && from == *at && around().count() == 1;
        let finding = finding(bind, dataset, follows, exports)?;
        let dataset = dataset.name.clone();
        Some(Said { dataset, finding })
    };
    binds.iter().filter_map(said).collect()
}

fn finding(
    bind: &Bind,
    dataset: &Dataset,
    follows: bool,
    exports: &Map<PathBuf, String>,
) -> Option<Finding> {
    let (from, at, file) = (bind.from.display(), bind.at.display(), &bind.named_by);
    let (severity, what) = match bind.when {
        When::AfterReady => return None,
        When::Early if follows => return None,
        When::Early => (
            Severity::Failure,
            format!(
                "{file} binds {from} there before {} is mounted: what is to be seen there is the directory beneath it",
                dataset.name
            ),
        ),
        When::AfterMounts => (
            Severity::Warning,
            format!(
                "{file} binds {from} there after `zfs mount -a`: with a stick that comes late, before {} is mounted",
                dataset.name
            ),
        ),
    };
    let exported = exports.iter().find(|(path, _)| path.starts_with(&bind.at));
    let exported = exported.map(|(_, file)| format!("; {file} exports it"));
    let what = what + &exported.unwrap_or_default();
    let shown = at.to_string();
    Some(Finding::new(severity, &shown, &what, &remedy(bind)))
}

fn remedy(bind: &Bind) -> String {
    let line = |fstype: &str, options: &[&str]| {
        let line = FstabLine {
            device: bind.from.display().to_string(),
            at: bind.at.display().to_string(),
            fstype: fstype.to_owned(),
            options: Vec::new(),
        };
        format!("write `{}` there instead", legacy::written(&line, options))
    };
    match PATHS.init {
        InitSystem::Rc => line("nullfs", &["rw", "late"]),
        InitSystem::Systemd if bind.named_by == "/etc/fstab" => format!(
            "{}, then `systemctl daemon-reload`",
            line("none", &["bind", "nofail", "x-systemd.requires=f3sready.service"])
        ),
        InitSystem::Systemd => "give it `Requires=f3sready.service` and `After=f3sready.service`, and `WantedBy=multi-user.target` instead of local-fs.target".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zfs::Mountpoint;
    use crate::zfs::tests::dataset;

    fn datasets(places: &[(&str, &str)]) -> Vec<Dataset> {
        let of = |(name, at): &(&str, &str)| Dataset {
            mountpoint: Mountpoint::Path(at.into()),
            ..dataset(name)
        };
        places.iter().map(of).collect()
    }

    fn said(places: &[(&str, &str)], from: &str, when: When) -> Option<(String, Severity)> {
        let bind = Bind {
            from: from.into(),
            at: "/export".into(),
            named_by: "/etc/fstab".to_owned(),
            when,
        };
        let is_ours = |name: &DatasetName| name.as_str().starts_with("z/enc");
        let datasets = datasets(places);
        let real = |path: &Path| match path.strip_prefix("/link") {
            Ok(rest) => Path::new("/data").join(rest),
            Err(_) => path.to_owned(),
        };
        let said = judge(is_ours, datasets.iter(), &[bind], &Map::new(), real);
        assert!(said.len() <= 1);
        let said = said.into_iter().next()?;
        assert_eq!(said.finding.subject, "/export");
        Some((said.dataset.to_string(), said.finding.severity))
    }

    #[test]
    fn law_10_a_bind_that_would_show_what_lies_beneath_is_told() {
        let nested = [
            ("z", "/data"),
            ("z/enc/nfs", "/data/nfs"),
            ("z/plain", "/plain"),
        ];
        let nfs = |severity| Some(("z/enc/nfs".to_owned(), severity));
        use Severity::{Failure, Warning};
        for from in ["/data/nfs", "/data/nfs/home", "/link/nfs"] {
            assert_eq!(said(&nested, from, When::Early), nfs(Failure), "{from}");
            assert_eq!(said(&nested, from, When::AfterMounts), nfs(Warning));
            assert_eq!(said(&nested, from, When::AfterReady), None);
        }
        // What nobody configured is none of ours.
        for from in ["/data", "/srv", "/plain/x"] {
            assert_eq!(said(&nested, from, When::Early), None, "{from}");
        }
    }

    /// With all mounts shared, the first mount on a directory is seen where that is bound as well.
    #[test]
    fn what_the_kernel_shows_in_both_places_is_no_fault() {
        let alone = [("z/enc/nfs", "/data/nfs")];
        let follows = said(&alone, "/data/nfs", When::Early);
        assert_eq!(follows.is_none(), os::BINDS_FOLLOW);
        assert!(said(&alone, "/data/nfs/home", When::Early).is_some());
    }

    #[test]
    fn an_exported_path_leads_to_what_is_bound_there() {
        let bind = Bind {
            from: "/data/nfs".into(),
            at: "/export".into(),
            named_by: "/etc/fstab".to_owned(),
            when: When::Early,
        };
        for (path, leads) in [
            ("/export", "/data/nfs"),
            ("/export/home", "/data/nfs/home"),
            ("/exported", "/exported"),
            ("/data/nfs", "/data/nfs"),
        ] {
            let found = behind(std::slice::from_ref(&bind), Path::new(path));
            assert_eq!(found.as_os_str(), leads, "{path}");
        }
    }
}
