//! Directories that the next boot binds to other places: by fstab, or by units of systemd. What is
//! bound before ZFS has mounted its file system there is the bare directory, and stays it.

use super::fstab::{FstabLine, fstab};
use super::{Host, InitSystem};
use crate::sorted::Set;
use crate::trouble::Trouble;
use std::path::{Path, PathBuf};

/// A bind that a boot makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// The directory that is bound.
    pub from: PathBuf,
    /// Where it is to be seen as well.
    pub at: PathBuf,
    /// The file that says so.
    pub named_by: String,
    /// When it is made.
    pub when: When,
}

/// When a boot makes a bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum When {
    /// At any time, and so before the keys come.
    Early,
    /// After `zfs mount -a`, which mounts what is open by then.
    AfterMounts,
    /// After `f3skeys ready`.
    AfterReady,
}

/// Where systemd looks for units, the first most, and for the links that pull one in.
const UNITS: [&str; 4] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
];

/// All binds that the next boot makes.
///
/// # Errors
/// A file cannot be read.
pub fn binds(host: &Host, init: InitSystem) -> Result<Vec<Bind>, Trouble> {
    let mut found: Vec<Bind> = fstab(host)?
        .lines
        .iter()
        .filter_map(|line| of_line(init, line))
        .collect();
    if init == InitSystem::Systemd {
        found.extend(of_units(host)?);
    }
    Ok(found)
}

fn of_line(init: InitSystem, line: &FstabLine) -> Option<Bind> {
    let (is_bind, when) = match init {
        InitSystem::Rc => (line.fstype == "nullfs", when_of_rc(line)),
        InitSystem::Systemd => (is_bind(&line.fstype, &line.options), when_of_options(line)),
    };
    let is_made = !line.has("noauto") || line.has("x-systemd.automount");
    let is_path = line.device.starts_with('/');
    (is_bind && is_made && is_path).then(|| Bind {
        from: PathBuf::from(&line.device),
        at: PathBuf::from(&line.at),
        named_by: "/etc/fstab".to_owned(),
        when,
    })
}

/// `late` is mounted by rc.d/mountlate, which follows f3sready by far.
fn when_of_rc(line: &FstabLine) -> When {
    match line.has("late") {
        true => When::AfterReady,
        false => When::Early,
    }
}

fn when_of_options(line: &FstabLine) -> When {
    let options = line.options.iter();
    let after = options.filter_map(|option| {
        let (name, unit) = option.split_once('=')?;
        ["x-systemd.requires", "x-systemd.after"]
            .contains(&name)
            .then_some(unit)
    });
    when_after(after)
}

fn is_bind(fstype: &str, options: &[String]) -> bool {
    let mut words = options.iter().map(String::as_str).chain([fstype]);
    words.any(|word| word == "bind" || word == "rbind")
}

/// When a unit starts that is ordered after these.
fn when_after<'a>(units: impl Iterator<Item = &'a str>) -> When {
    let when = units.map(|unit| match unit {
        "f3sready.service" => When::AfterReady,
        "zfs-mount.service" | "zfs.target" | "local-fs.target" => When::AfterMounts,
        _ => When::Early,
    });
    when.max().unwrap_or(When::Early)
}

/// The names of all units that another one pulls in.
///
/// # Errors
/// A directory of units cannot be read.
pub fn wanted(host: &Host) -> Result<Set<String>, Trouble> {
    let names = |path: &str| {
        let names = host.names(path);
        names.map_err(|e| Trouble::failed(path, &e.to_string()))
    };
    let mut wanted = Set::new();
    for directory in UNITS {
        for name in names(directory)? {
            if name.ends_with(".wants") || name.ends_with(".requires") {
                wanted.extend(names(&format!("{directory}/{name}"))?);
            }
        }
    }
    Ok(wanted)
}

/// The binds of mount units that something pulls in.
fn of_units(host: &Host) -> Result<Vec<Bind>, Trouble> {
    let failed = |path: &str, e: &dyn std::fmt::Display| Trouble::failed(path, &e.to_string());
    let names = |path: &str| host.names(path).map_err(|e| failed(path, &e));
    let wanted = wanted(host)?;
    let mut seen = Set::new();
    let mut found = Vec::new();
    for directory in UNITS {
        for name in names(directory)? {
            let Some(stem) = name.strip_suffix(".mount") else {
                continue;
            };
            let is_wanted = wanted.contains(&name) || wanted.contains(&format!("{stem}.automount"));
            if !is_wanted || !seen.insert(name.clone()) {
                continue;
            }
            let path = format!("{directory}/{name}");
            if host.link(&path).map_err(|e| failed(&path, &e))? == Some("/dev/null".into()) {
                continue;
            }
            let mut text = host
                .text(&path)
                .map_err(|e| failed(&path, &e))?
                .unwrap_or_default();
            for directory in UNITS {
                let directory = format!("{directory}/{name}.d");
                for drop_in in names(&directory)?.iter().filter(|n| n.ends_with(".conf")) {
                    let path = format!("{directory}/{drop_in}");
                    let more = host.text(&path).map_err(|e| failed(&path, &e))?;
                    text += &format!("\n{}", more.unwrap_or_default());
                }
            }
            found.extend(of_unit(&path, &text));
        }
    }
    Ok(found)
}

fn of_unit(path: &str, text: &str) -> Option<Bind> {
    let values = |key: &str| -> Vec<&str> {
        let lines = text.lines().map(str::trim);
        let pairs = lines.filter_map(|line| line.split_once('='));
        pairs
            .filter(|(name, _)| name.trim() == key)
            .map(|(_, value)| value.trim())
            .collect()
    };
    let last = |key: &str| values(key).last().copied().unwrap_or_default();
    let options: Vec<String> = last("Options").split(',').map(str::to_owned).collect();
    if !is_bind(last("Type"), &options) || !last("What").starts_with('/') {
        return None;
    }
    let after = values("After").into_iter().flat_map(str::split_whitespace);
    Some(Bind {
        from: Path::new(last("What")).to_owned(),
        at: Path::new(last("Where")).to_owned(),
        named_by: path.to_owned(),
        when: when_after(after),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::Tree;
    use super::*;

    fn of_fstab(init: InitSystem, text: &str) -> Vec<(String, When)> {
        let tree = Tree::new("binds");
        let found = binds(&tree.put("/etc/fstab", text).host(), init).unwrap();
        let short = |bind: Bind| {
            let from = bind.from.display();
            (format!("{from} {}", bind.at.display()), bind.when)
        };
        found.into_iter().map(short).collect()
    }

    #[test]
    fn lines_of_fstab_that_bind_are_found_with_their_time() {
        use InitSystem::{Rc, Systemd};
        for (init, line, when) in [
            (Systemd, "/a /b none bind 0 0", Some(When::Early)),
            (Systemd, "/a /b none rw,rbind,nofail", Some(When::Early)),
            (Systemd, "/a /b bind defaults 0 0", Some(When::Early)),
            (Systemd, "/a /b none bind,noauto 0 0", None),
            (
                Systemd,
                "/a /b none bind,noauto,x-systemd.automount",
                Some(When::Early),
            ),
            (
                Systemd,
                "/a /b none bind,x-systemd.after=zfs-mount.service",
                Some(When::AfterMounts),
            ),
            (
                Systemd,
                "/a /b none bind,x-systemd.requires=x.service,x-systemd.requires=f3sready.service",
                Some(When::AfterReady),
            ),
            (Systemd, "/a /b ext4 rw 0 0", None),
            (Systemd, "/a /b nullfs rw 0 0", None),
            (Rc, "/a /b nullfs rw 0 0", Some(When::Early)),
            (Rc, "/a /b nullfs rw,late 0 0", Some(When::AfterReady)),
            (Rc, "/a /b nullfs rw,noauto 0 0", None),
            (Rc, "/a /b none bind 0 0", None),
        ] {
            let expected = when.map(|when| ("/a /b".to_owned(), when));
            assert_eq!(of_fstab(init, line), Vec::from_iter(expected), "{line}");
        }
    }

    const UNIT: &str = "[Mount]\nWhat=/data/nfs\nWhere=/export/nfs\nType=none\nOptions=bind\n";
    const PATH: &str = "/etc/systemd/system/export-nfs.mount";
    const WANTS: &str = "/etc/systemd/system/local-fs.target.wants";

    #[test]
    fn units_that_bind_are_found_when_something_pulls_them_in() {
        let tree = Tree::new("bind-units");
        let look = || binds(&tree.host(), InitSystem::Systemd).unwrap();
        tree.put(PATH, UNIT);
        assert_eq!(look(), []);
        tree.put(&format!("{WANTS}/export-nfs.mount"), "");
        let mut expected = Bind {
            from: "/data/nfs".into(),
            at: "/export/nfs".into(),
            named_by: PATH.to_owned(),
            when: When::Early,
        };
        assert_eq!(look(), [expected.clone()]);
        // A unit of a package does not count beside that.
        tree.put("/usr/lib/systemd/system/export-nfs.mount", "");
        assert_eq!(look(), [expected.clone()]);
        tree.put(
            &format!("{PATH}.d/order.conf"),
            "[Unit]\nAfter=x.service f3sready.service\n",
        );
        expected.when = When::AfterReady;
        assert_eq!(look(), [expected]);
        tree.put(PATH, &UNIT.replace("bind", "rw"));
        assert_eq!(look(), []);
        assert_eq!(binds(&tree.host(), InitSystem::Rc).unwrap(), []);
    }

    /// The line that is not understood is told by who reads fstab.
    #[test]
    fn a_line_that_is_not_understood_hides_no_bind_and_a_file_that_cannot_be_read_is_none_without()
    {
        let tree = Tree::new("bind-odd");
        tree.put("/etc/fstab", "/a\n/a /b none bind 0 0\n");
        let found = binds(&tree.host(), InitSystem::Systemd).unwrap();
        assert_eq!(found.len(), 1);
        let tree = Tree::new("bind-directory");
        tree.put("/etc/fstab/x", "");
        assert!(binds(&tree.host(), InitSystem::Systemd).is_err());
    }
}
