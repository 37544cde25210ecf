//! Modules of Linux that the next boot needs: that of ZFS in the kernel that it takes, and that of USB
//! disks. Both are loaded now, or nobody would ask; that says nothing of the next boot.

use super::hooks::Found;
use crate::sorted;

const MODULES: &str = "/lib/modules";
/// Where modprobe(8) is told what not to load.
const RULES: [&str; 4] = [
    "/etc/modprobe.d",
    "/run/modprobe.d",
    "/usr/local/lib/modprobe.d",
    "/usr/lib/modprobe.d",
];

pub(super) fn look(found: &mut Found) {
    zfs(found);
    for (module, without) in [
        ("zfs", "the next boot has no ZFS"),
        ("usb_storage", "the next boot does not see the stick"),
    ] {
        forbidden(found, module, without);
    }
}

fn zfs(found: &mut Found) {
    let Some(next) = newest(found).or_else(|| running(found)) else {
        return;
    };
    if has(found, &next, "zfs") == Some(false) {
        let what = "this kernel has no module of ZFS: if the next boot takes it, no pool is there";
        let remedy = "build or install the module for it (with DKMS: `dkms autoinstall`, which needs the headers of that kernel), or remove the kernel";
        found.findings.fail(&next, what, remedy);
    }
}

/// The newest kernel that can be booted is taken for the next one, as boot loaders do unless told
/// otherwise.
fn newest(found: &mut Found) -> Option<String> {
    let mut kernels = found.names(MODULES);
    kernels.retain(|release| can_be_booted(found, release));
    sorted::sort_by(&mut kernels, |a, b| version(a).cmp(&version(b)));
    kernels.pop()
}

/// Where no kernel is found, as of one in an image of its own on an EFI partition: the running one, if it
/// had to load ZFS.
fn running(found: &mut Found) -> Option<String> {
    let loaded = found.text("/proc/modules").unwrap_or_default();
    let is_module = loaded.lines().any(|line| line.starts_with("zfs "));
    is_module.then(|| release(found))
}

fn release(found: &mut Found) -> String {
    let text = found.text("/proc/sys/kernel/osrelease");
    text.unwrap_or_default().trim().to_owned()
}

/// Debian and others have a kernel beside the boot loader, Fedora and Arch beside its modules as well.
fn can_be_booted(found: &Found, release: &str) -> bool {
    let places = [
        format!("/boot/vmlinuz-{release}"),
        format!("/boot/kernel-{release}"),
        format!("{MODULES}/{release}/vmlinuz"),
    ];
    let is_there = |path: &String| !matches!(found.host.about(path), Ok(None));
    places.iter().any(is_there)
}

/// The release in an order in which 6.12.9 comes before 6.12.10.
fn version(release: &str) -> Vec<(usize, &str)> {
    let parts = release.split(|c: char| !c.is_ascii_digit());
    parts
        .map(|digits| digits.trim_start_matches('0'))
        .map(|digits| (digits.len(), digits))
        .collect()
}

/// Whether a kernel has a module, or has it built in; `None`, with a finding, where that cannot be told.
fn has(found: &mut Found, release: &str, module: &str) -> Option<bool> {
    let mut known = false;
    for list in ["modules.dep", "modules.builtin"] {
        let path = format!("{MODULES}/{release}/{list}");
        match found.host.list(&path) {
            Ok(text) => {
                known |= text.is_some();
                let text = text.unwrap_or_default();
                if text.lines().any(|line| names(line, module)) {
                    return Some(true);
                }
            }
            Err(e) => {
                found.findings.unknown(&path, &e.to_string());
                return None;
            }
        }
    }
    if !known {
        let path = format!("{MODULES}/{release}");
        found
            .findings
            .unknown(&path, "depmod has made no list of its modules");
        return None;
    }
    Some(false)
}

/// Whether a line of depmod's lists is about this module: `updates/dkms/zfs.ko.xz: …`.
fn names(line: &str, module: &str) -> bool {
    let path = line.split(':').next().unwrap_or(line);
    let file = path.rsplit('/').next().unwrap_or(path);
    let (name, rest) = file.split_once(".ko").unwrap_or((file, "-"));
    let is_module = rest.is_empty() || rest.starts_with('.');
    is_module && name.replace('-', "_") == module
}

/// A rule of modprobe.d(5) that keeps a module from being loaded, as hardening guides write them.
fn forbidden(found: &mut Found, module: &str, without: &str) {
    for directory in RULES {
        for name in found.names(directory) {
            let path = format!("{directory}/{name}");
            if !name.ends_with(".conf") {
                continue;
            }
            let text = found.text(&path).unwrap_or_default();
            let Some(rule) = text.lines().find(|line| forbids(line, module)) else {
                continue;
            };
            if is_built_in(found, module) {
                continue;
            }
            let what = format!(
                "`{}` forbids a module that is loaded now: {without}, unless the initramfs loads it",
                rule.trim()
            );
            let remedy = "take the line out, and have the initramfs made anew";
            found.findings.fail(&path, &what, remedy);
        }
    }
}

fn forbids(line: &str, module: &str) -> bool {
    let mut words = line.split_whitespace();
    let (rule, name) = (words.next(), words.next().map(|n| n.replace('-', "_")));
    if name.as_deref() != Some(module) {
        return false;
    }
    match (rule, words.next()) {
        // Whoever names the module itself, as OpenZFS's own unit does, gets it all the same.
        (Some("blacklist"), _) => module != "zfs",
        (Some("install"), Some(command)) => {
            let program = command.rsplit('/').next().unwrap_or(command);
            matches!(program, "true" | "false" | ":")
        }
        _ => false,
    }
}

/// Of a module that is part of the running kernel no rule is asked.
fn is_built_in(found: &mut Found, module: &str) -> bool {
    let path = format!("{MODULES}/{}/modules.builtin", release(found));
    let list = found.text(&path).unwrap_or_default();
    list.lines().any(|line| names(line, module))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_in_the_order_of_their_numbers() {
        let mut releases = ["6.12.10-amd64", "6.12.9-amd64", "6.1.0-30-amd64", "10.0.1"];
        sorted::sort_by(&mut releases, |a, b| version(a).cmp(&version(b)));
        let expected = ["6.1.0-30-amd64", "6.12.9-amd64", "6.12.10-amd64", "10.0.1"];
        assert_eq!(releases, expected);
    }

    #[test]
    fn lines_of_depmod_name_a_module() {
        for (line, module, expected) in [
            (
                "updates/dkms/zfs.ko.xz: updates/dkms/spl.ko.xz",
                "zfs",
                true,
            ),
            ("kernel/fs/zfs/zfs.ko:", "zfs", true),
            ("extra/zfs.ko", "zfs", true),
            ("updates/dkms/spl.ko: updates/dkms/zfs.ko", "zfs", false),
            ("kernel/drivers/zfs.kocher: x", "zfs", false),
            ("kernel/fs/ozfs.ko:", "zfs", false),
            (
                "kernel/drivers/usb/storage/usb-storage.ko",
                "usb_storage",
                true,
            ),
            ("zfs", "zfs", false),
        ] {
            assert_eq!(names(line, module), expected, "{line}");
        }
    }

    #[test]
    fn rules_of_modprobe_forbid_a_module() {
        for (line, module, expected) in [
            ("install usb-storage /bin/true", "usb_storage", true),
            ("install usb_storage /usr/bin/false", "usb_storage", true),
            (" blacklist  usb-storage", "usb_storage", true),
            ("blacklist zfs", "zfs", false),
            ("install zfs /bin/false", "zfs", true),
            ("#install usb-storage /bin/true", "usb_storage", false),
            ("# blacklist usb-storage", "usb_storage", false),
            (
                "install usb-storage /sbin/modprobe -i usb-storage",
                "usb_storage",
                false,
            ),
            (
                "options usb-storage quirks=152d:0579:u",
                "usb_storage",
                false,
            ),
            ("blacklist uas", "usb_storage", false),
        ] {
            assert_eq!(forbids(line, module), expected, "{line}");
        }
    }
}
