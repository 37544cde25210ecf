//! What the host itself makes of the next boot, on hosts that the real installer laid out: quiet when
//! all is well, and with one fault exactly the finding of that fault.

mod hosts;
mod sim;

use f3skeys::config::Config;
use f3skeys::host::InitSystem::{self, Rc, Systemd};
use f3skeys::host::pool_cache::{CachedPool, pools};
use f3skeys::next_boot;
use f3skeys::os::PoolState;
use f3skeys::report::{Finding, Severity};
use hosts::{NV_LIST, NV_TEXT, Tree, nv_file, nv_list, nv_pair, pool_cache};
use sim::{CONFIG, Sim, f3s};

const WARNING: Severity = Severity::Warning;
const FAILURE: Severity = Severity::Failure;
const BOTH: [InitSystem; 2] = [Rc, Systemd];
const OURS: u64 = 0x00f3_5001;

struct World {
    sim: Sim,
    tree: Tree,
    config: Config,
}

fn world(init: InitSystem, name: &str) -> World {
    let sim = f3s(&format!("next-boot-{init:?}-{name}"));
    sim.root_on("ext4", "/dev/sda2");
    World {
        sim,
        tree: Tree::of(init, &format!("next-boot-{name}")),
        config: sim::config(),
    }
}

/// A Linux host that imports by a cache file.
fn cached(name: &str, pools: &[(&str, Option<u64>)]) -> World {
    let world = world(Systemd, name);
    world
        .tree
        .import_by("zfs-import-cache.service")
        .cache(pools);
    world
        .tree
        .put_bytes("/etc/hostid", &u32::try_from(OURS).unwrap().to_ne_bytes());
    world
}

impl World {
    fn found(&self) -> Vec<Finding> {
        let host = self.tree.host();
        self.sim
            .verb(|node| next_boot::look(node, &self.config, &host, self.tree.init))
    }

    fn quiet(&self) {
        assert_eq!(self.found(), []);
    }

    /// This finding and no other, and it says what to do.
    fn only(&self, severity: Severity, subject: &str, words: &str) -> String {
        let found = self.found();
        let [finding] = found.as_slice() else {
            panic!("not one finding (of {subject}: {words}) but {found:#?}");
        };
        assert_eq!(finding.severity, severity, "{finding:?}");
        assert_eq!(finding.subject, subject, "{finding:?}");
        assert!(finding.what.contains(words), "{finding:?}");
        finding.remedy.to_string()
    }

    fn configure(&mut self, from: &str, to: &str) {
        assert!(CONFIG.contains(from), "{from}");
        self.config = Config::parse(&CONFIG.replace(from, to)).unwrap();
    }
}

#[test]
fn law_10_a_healthy_host_imports_its_pools() {
    BOTH.iter().for_each(|init| world(*init, "well").quiet());
    cached("cached", &[("zdata", Some(OURS)), ("zroot", Some(OURS))]).quiet();
}

#[test]
fn law_10_a_pool_that_is_imported_for_this_boot_alone_is_named() {
    let one = [("zroot", Some(OURS))];
    let worlds = [cached("alone", &one), world(Rc, "alone")];
    for world in worlds {
        world.tree.cache(&one);
        let remedy = world.only(FAILURE, "pool zdata", "/etc/zfs/zpool.cache");
        assert_eq!(remedy, "`zpool set cachefile=/etc/zfs/zpool.cache zdata`");
        // Of a pool that is not imported now others complain.
        let states = &world.sim.states;
        let zdata = states
            .borrow_mut()
            .insert("zdata".into(), PoolState::NotImported);
        world.quiet();
        states
            .borrow_mut()
            .insert("zdata".into(), PoolState::Suspended);
        world.only(FAILURE, "pool zdata", "/etc/zfs/zpool.cache");
        states.borrow_mut().insert("zdata".into(), zdata.unwrap());
        world
            .tree
            .cache(&[("zdata", Some(OURS)), ("zroot", Some(OURS))]);
        world.quiet();
    }
}

#[test]
fn a_pool_that_nothing_waits_for_is_a_warning() {
    let mut world = cached("optional", &[("zdata", Some(OURS))]);
    world.only(WARNING, "pool zroot", "this boot alone");
    world.configure("required: false", "required: true");
    world.only(FAILURE, "pool zroot", "this boot alone");
}

#[test]
fn law_10_units_that_would_import_are_asked_for() {
    let world = cached("units", &[("zdata", Some(OURS)), ("zroot", Some(OURS))]);
    let unit = "zfs-import-cache.service";
    let link = format!("/etc/systemd/system/zfs-import.target.wants/{unit}");
    let both = |words: &str| {
        let found = world.found();
        let of = |f: &Finding| (f.subject.to_string(), f.what.contains(words));
        let expected = ["zdata", "zroot"].map(|pool| (format!("pool {pool}"), true));
        let found: Vec<_> = found.iter().map(of).collect();
        assert_eq!(found, expected, "{words}");
    };
    world.tree.remove(&link);
    both("zfs-import-cache.service is not enabled");
    // The other unit is for hosts without a cache file, and systemd takes an empty one for none.
    world.tree.put("/etc/zfs/zpool.cache", "");
    world.quiet();
    world
        .tree
        .link("/etc/systemd/system/zfs-import-scan.service", "/dev/null");
    both("zfs-import-scan.service is not enabled");
    world.tree.import_by("zfs-import@zroot.service");
    world.only(FAILURE, "pool zdata", "zfs-import-scan.service");
    world.tree.import_by("zfs-import-zdata.service");
    world.quiet();
}

#[test]
fn the_pool_of_the_root_file_system_is_imported_before() {
    for world in [cached("root", &[("zdata", Some(OURS))]), world(Rc, "root")] {
        world.tree.cache(&[("zdata", Some(OURS))]);
        world.only(WARNING, "pool zroot", "this boot alone");
        world.sim.root_on("zfs", "zroot/ROOT/default");
        world.quiet();
        world.sim.root_on("ext4", "zroot/x");
        world.only(WARNING, "pool zroot", "this boot alone");
    }
}

#[test]
fn law_10_a_pool_of_a_host_with_another_number_is_named() {
    let world = cached("hostid", &[("zdata", Some(OURS)), ("zroot", None)]);
    let remedy = world.only(WARNING, "pool zroot", "host id 00000000");
    assert!(remedy.starts_with("remove /etc/hostid"), "{remedy}");
    world
        .tree
        .cache(&[("zdata", Some(OURS)), ("zroot", Some(OURS))]);
    world.quiet();
    world.tree.put_bytes("/etc/hostid", &[1, 0, 0, 0]);
    let found = world.found();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].what.contains("00f35001"), "{found:?}");
    assert!(
        found[0].remedy.starts_with("`zgenhostid -f 00f35001`"),
        "{found:?}"
    );
    // What the module is told counts more than the file.
    let parameter = "/sys/module/spl/parameters/spl_hostid";
    world.tree.put(parameter, &format!("{OURS}\n"));
    world.quiet();
    world.tree.put(parameter, "0\n").remove("/etc/hostid");
    assert_eq!(world.found().len(), 2);
    world.tree.cache(&[("zdata", None), ("zroot", None)]);
    world.quiet();
    for (number, file) in [("nonsense", "four"), ("0", "few")] {
        world.tree.put(parameter, number).put("/etc/hostid", file);
        world.only(FAILURE, "import of the pools", "cannot tell");
    }
}

#[test]
fn law_10_what_cannot_be_told_of_the_import_is_no_yes() {
    for init in BOTH {
        let world = world(init, "unknown");
        world.tree.put("/etc/zfs/zpool.cache", "\x01 nonsense");
        world.only(FAILURE, "import of the pools", "is not understood");
        world
            .tree
            .remove("/etc/zfs/zpool.cache")
            .directory("/etc/zfs/zpool.cache");
        world.only(FAILURE, "import of the pools", "not a regular file");
    }
}

#[test]
fn law_10_a_state_directory_that_the_boot_does_not_have_yet_is_named() {
    for init in BOTH {
        let world = world(init, "state");
        let db = world.sim.db();
        let var = db.parent().unwrap().to_str().unwrap();
        world.sim.root_on("zfs", "zsys/ROOT/a");
        let stand = |source: &str, fstype: &str| world.sim.mount_over(var, source, fstype);
        stand("zsys/var", "zfs");
        world.only(FAILURE, db.to_str().unwrap(), "zsys/var");
        stand("/dev/ada0p3", "ufs");
        world.quiet();
        stand("zsys/ROOT/a/var", "zfs");
        match init {
            Systemd => world.quiet(),
            Rc => drop(world.only(FAILURE, db.to_str().unwrap(), "zsys/ROOT/a/var")),
        }
        stand("zsys/ROOT/another", "zfs");
        world.only(FAILURE, db.to_str().unwrap(), "zsys/ROOT/another");
    }
}

#[test]
fn each_pool_of_a_cache_file_is_read() {
    let cached = |name: &str, hostid| CachedPool {
        name: name.to_owned(),
        hostid,
    };
    assert_eq!(pools(&pool_cache(&[])), Some(vec![]));
    let two = pool_cache(&[("zdata", Some(OURS)), ("z", None)]);
    assert_eq!(
        pools(&two),
        Some(vec![cached("zdata", OURS), cached("z", 0)])
    );
}

#[test]
fn law_10_a_cache_file_that_is_not_understood_names_no_pools() {
    let whole = pool_cache(&[("zdata", Some(1)), ("zroot", Some(1))]);
    for length in 0..whole.len() {
        assert_eq!(pools(&whole[..length]), None, "{length}");
    }
    let mut native = whole.clone();
    native[0] = 0;
    assert_eq!(pools(&native), None);
    let odd = nv_pair("hostid", NV_TEXT, b"\0\0\0\x01x");
    let odd = nv_pair("zdata", NV_LIST, &nv_list(&[odd]));
    assert_eq!(pools(&nv_file(&[odd])), None);
    // A pair that claims to be shorter than its own sizes would be read for ever.
    assert_eq!(pools(&nv_file(&[vec![0, 0, 0, 4, 0, 0, 0, 4]])), None);
    for at in 0..whole.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            let _ = pools(&bytes);
        }
    }
}

/// The newest kernel of a Linux host, with its modules.
fn kernel<'a>(tree: &'a Tree, release: &str, modules: &str) -> &'a Tree {
    tree.put(&format!("/boot/vmlinuz-{release}"), "")
        .put(&format!("/lib/modules/{release}/modules.dep"), modules)
        .put(
            &format!("/lib/modules/{release}/modules.builtin"),
            "kernel/fs/ext4/ext4.ko\n",
        )
}

#[test]
fn law_10_a_newer_kernel_without_zfs_is_named() {
    let world = world(Systemd, "kernel");
    let with = "updates/dkms/zfs.ko.xz: updates/dkms/spl.ko.xz\nupdates/dkms/spl.ko.xz:\n";
    let without = "updates/dkms/spl.ko.xz:\n";
    kernel(&world.tree, "6.12.9-amd64", with);
    world.quiet();
    kernel(&world.tree, "6.12.10-amd64", without);
    world.only(FAILURE, "6.12.10-amd64", "no module of ZFS");
    // One that no boot loader finds, and one that is older, are not taken.
    world.tree.remove("/boot/vmlinuz-6.12.10-amd64");
    world.quiet();
    kernel(&world.tree, "6.2.99-amd64", without);
    world.quiet();
    // Built in is as good.
    kernel(&world.tree, "6.12.10-amd64", without);
    world.tree.put(
        "/lib/modules/6.12.10-amd64/modules.builtin",
        "kernel/fs/zfs/zfs.ko\n",
    );
    world.quiet();
    for list in ["dep", "builtin"] {
        world
            .tree
            .remove(&format!("/lib/modules/6.12.10-amd64/modules.{list}"));
    }
    world.only(FAILURE, "/lib/modules/6.12.10-amd64", "cannot tell");
    world
        .tree
        .directory("/lib/modules/6.12.10-amd64/modules.dep");
    world.only(
        FAILURE,
        "/lib/modules/6.12.10-amd64/modules.dep",
        "cannot tell",
    );
}

#[test]
fn law_10_where_no_kernel_is_found_the_running_one_has_to_have_zfs() {
    let world = world(Systemd, "image");
    let dep = "/lib/modules/6.12.9-amd64/modules.dep";
    world
        .tree
        .put("/proc/sys/kernel/osrelease", "6.12.9-amd64\n")
        .put(
            "/proc/modules",
            "zfs 1 0 - Live 0x0\nspl 1 1 zfs, Live 0x0\n",
        )
        .put(dep, "extra/zfs.ko.zst: extra/spl.ko.zst\n");
    world.quiet();
    world.tree.put(dep, "extra/spl.ko.zst:\n");
    world.only(FAILURE, "6.12.9-amd64", "no module of ZFS");
    world.tree.remove(dep);
    world.only(FAILURE, "/lib/modules/6.12.9-amd64", "cannot tell");
    // ZFS that nobody loaded is a part of this kernel.
    world.tree.put("/proc/modules", "spl 1 0 - Live 0x0\n");
    world.quiet();
}

#[test]
fn law_10_a_rule_that_forbids_the_stick_is_named() {
    let world = world(Systemd, "rule");
    let rules = "/etc/modprobe.d/hardening.conf";
    world.tree.put(
        rules,
        "# CIS\ninstall cramfs /bin/true\ninstall usb-storage /bin/true\n",
    );
    world.only(FAILURE, rules, "does not see the stick");
    world.tree.put(
        rules,
        "options usb-storage quirks=152d:0579:u\nblacklist zfs\n",
    );
    world.quiet();
    world.tree.put(rules, "install zfs /bin/false\n");
    world.only(FAILURE, rules, "no ZFS");
    // A part of the kernel is not loaded, and no rule is asked.
    world.tree.put(rules, "blacklist usb-storage\n");
    world.only(FAILURE, rules, "does not see the stick");
    world
        .tree
        .put("/proc/sys/kernel/osrelease", "6.12.9\n")
        .put(
            "/lib/modules/6.12.9/modules.builtin",
            "kernel/drivers/usb/storage/usb-storage.ko\n",
        );
    world.quiet();
}

#[test]
fn law_10_units_with_mounts_of_their_own_are_named() {
    let units = "/etc/systemd/system";
    let world = world(Systemd, "namespaces");
    world.tree.put(
        "/usr/lib/systemd/system/zfs-mount.service",
        "[Service]\nPrivateTmp=no\n",
    );
    world.quiet();
    let one = format!("{units}/f3sready.service.d/90-hardening.conf");
    world.tree.put(
        &one,
        "[Unit]\nPrivateTmp=yes\n[Service]\nProtectSystem=strict\n",
    );
    world.only(WARNING, "f3sready.service", "ProtectSystem in /etc/");
    // A later assignment counts, and a file that is masked does not.
    let later = format!("{units}/f3sready.service.d/95-back.conf");
    world.tree.put(&later, "[Service]\nProtectSystem=no\n");
    world.quiet();
    world.tree.remove(&later);
    world.tree.link(&one, "/dev/null");
    world.quiet();
    // For all services, so for both that mount.
    let all = "/usr/lib/systemd/system/service.d/10-all.conf";
    world.tree.put(all, "[Service]\nPrivateMounts=yes\n");
    let found = world.found();
    let of = |f: &Finding| (f.subject.to_string(), f.severity);
    let subjects = [
        "f3skeys-late.service",
        "f3sready.service",
        "zfs-mount.service",
    ];
    let mut told: Vec<_> = found.iter().map(of).collect();
    told.sort();
    assert_eq!(told, subjects.map(|unit| (unit.to_owned(), FAILURE)));
    // The name of the file that is preferred hides the other.
    for unit in ["zfs-mount.service", "f3sready.service", "f3skeys-.service"] {
        world
            .tree
            .put(&format!("{units}/{unit}.d/10-all.conf"), "[Service]\n");
    }
    world.quiet();
}

/// The boot reads the stick elsewhere then, and says beforehand why.
#[test]
fn law_10_an_automount_on_the_mountpoint_of_the_stick_is_named() {
    for init in BOTH {
        let stands = world(init, "automount-stands");
        stands.sim.mount_over("/keys", "systemd-1", "autofs");
        let remedy = stands.only(WARNING, "/keys", "is an automount, by systemd-1");
        assert!(!remedy.contains("fsck"), "{remedy}");
        stands.sim.mount_over("/keys", "none", "tmpfs");
        stands.quiet();
    }
    let line = "LABEL=F3S_KEYS /keys ext4 ro,noauto,nofail,x-systemd.automount 0 0\n";
    let by_line = world(Systemd, "automount-line");
    by_line.tree.put("/etc/fstab", line);
    by_line.only(WARNING, "/keys", "by a line of /etc/fstab");
    let by_unit = world(Systemd, "automount-unit");
    let unit = "/etc/systemd/system/keys.automount";
    by_unit.tree.put(unit, "[Automount]\nWhere=/keys\n");
    by_unit.quiet();
    let wants = "/etc/systemd/system/local-fs.target.wants/keys.automount";
    by_unit.tree.link(wants, unit);
    by_unit.only(WARNING, "/keys", "by keys.automount");
}
