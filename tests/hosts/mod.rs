//! Hosts laid out below a directory by the real installer, so that no test can have another idea of
//! a healthy host than `install.sh` has.

#![allow(dead_code)] // Each test program uses its own part of it.

use f3skeys::host::{Host, InitSystem};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A host's files; gone with it.
pub struct Tree {
    pub root: PathBuf,
    pub init: InitSystem,
}

/// What an administrator of a FreeBSD node has written.
const RC_CONF: &str = "\
hostname=\"f0.lan.buetow.org\"
zfs_enable=\"YES\"
f3skeys_enable=\"YES\"
f3sready_services=\"nfsd stunnel\"
nfs_server_enable=\"YES\"
";

/// What the installer put somewhere.
enum Entry {
    Directory,
    File(Vec<u8>, u32),
    Link(String),
}

/// What it puts on each system. It is run once, before any test goes on: a program that one thread
/// starts holds, for a moment, the locks of all others.
fn templates() -> &'static BTreeMap<&'static str, Vec<(String, Entry)>> {
    static TEMPLATES: OnceLock<BTreeMap<&'static str, Vec<(String, Entry)>>> = OnceLock::new();
    TEMPLATES.get_or_init(|| {
        let systems = ["freebsd", "linux"].into_iter();
        systems.map(|os| (os, template(os))).collect()
    })
}

fn template(os: &str) -> Vec<(String, Entry)> {
    let tree = Tree::empty(&format!("{os}-template"), InitSystem::Rc);
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let done = Command::new(top.join("install.sh"))
        .arg("/bin/true")
        .env("DESTDIR", &tree.root)
        .env("F3SKEYS_OS", os)
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    let mut entries = Vec::new();
    collect(&tree.root, &tree.root, &mut entries);
    entries
}

fn collect(root: &Path, directory: &Path, into: &mut Vec<(String, Entry)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let about = fs::symlink_metadata(&path).unwrap();
        let name = path
            .strip_prefix(root)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        if about.is_dir() {
            into.push((name, Entry::Directory));
            collect(root, &path, into);
        } else if about.is_symlink() {
            let target = fs::read_link(&path).unwrap();
            into.push((name, Entry::Link(target.to_str().unwrap().to_owned())));
        } else {
            let mode = about.permissions().mode();
            into.push((name, Entry::File(fs::read(&path).unwrap(), mode)));
        }
    }
}

impl Tree {
    /// A healthy FreeBSD node.
    pub fn freebsd(name: &str) -> Tree {
        let tree = Tree::installed(name, "freebsd", InitSystem::Rc);
        tree.put("/etc/rc.conf", RC_CONF)
            .put("/usr/local/etc/f3skeys.ron", "()")
            .put(
                "/etc/fstab",
                "/dev/gpt/efi /boot/efi msdosfs rw 2 2\n/dev/ada0p2.eli none swap sw 0 0\n",
            )
            .cache(&[("zdata", None), ("zroot", None)]);
        tree
    }

    /// A healthy Linux node.
    pub fn linux(name: &str) -> Tree {
        let tree = Tree::installed(name, "linux", InitSystem::Systemd);
        tree.enable("f3skeys.service");
        tree.put("/etc/f3skeys.ron", "()")
            .put(
                "/etc/fstab",
                "UUID=0123-4567 /boot/efi vfat umask=0077 0 1\n",
            )
            .put(
                "/proc/swaps",
                "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n",
            )
            .put("/usr/lib/systemd/system/nfs-server.service", "[Service]\n")
            .put("/usr/lib/systemd/system/nfs-mountd.service", "[Service]\n")
            .put("/usr/lib/systemd/system/zfs.target", "[Unit]\n")
            .link(
                "/etc/systemd/system/multi-user.target.wants/zfs.target",
                "/usr/lib/systemd/system/zfs.target",
            )
            .import_by("zfs-import-scan.service");
        tree
    }

    /// A healthy node of either kind.
    pub fn of(init: InitSystem, name: &str) -> Tree {
        match init {
            InitSystem::Rc => Tree::freebsd(name),
            InitSystem::Systemd => Tree::linux(name),
        }
    }

    /// What `systemctl enable` does.
    fn enable(&self, unit: &str) {
        let home = format!("/usr/lib/systemd/system/{unit}");
        let text = fs::read_to_string(self.path(&home)).unwrap();
        let of = |key: &'static str| text.lines().filter_map(move |line| line.strip_prefix(key));
        for target in of("WantedBy=").flat_map(str::split_whitespace) {
            self.link(&format!("/etc/systemd/system/{target}.wants/{unit}"), &home);
        }
        of("Also=")
            .flat_map(str::split_whitespace)
            .for_each(|unit| self.enable(unit));
    }

    fn installed(name: &str, os: &'static str, init: InitSystem) -> Tree {
        let tree = Tree::empty(&format!("{os}-{name}"), init);
        for (path, entry) in &templates()[os] {
            match entry {
                Entry::Directory => drop(tree.directory(path)),
                Entry::Link(target) => drop(tree.link(path, target)),
                Entry::File(bytes, mode) => {
                    fs::write(tree.path(path), bytes).unwrap();
                    tree.mode(path, *mode);
                }
            }
        }
        tree
    }

    fn empty(name: &str, init: InitSystem) -> Tree {
        let root = std::env::temp_dir().join(format!("f3skeys-tree-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(&root).unwrap();
        Tree { root, init }
    }

    pub fn host(&self) -> Host {
        Host::at(&self.root)
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Writes a file, keeping its mode if it is there.
    pub fn put(&self, path: &str, text: &str) -> &Tree {
        self.put_bytes(path, text.as_bytes())
    }

    /// OpenZFS's cache file: its pools, each with the host that it belongs to.
    pub fn cache(&self, pools: &[(&str, Option<u64>)]) -> &Tree {
        self.put_bytes("/etc/zfs/zpool.cache", &pool_cache(pools))
    }

    /// What `systemctl enable` does for a unit that imports pools.
    pub fn import_by(&self, unit: &str) -> &Tree {
        let link = format!("/etc/systemd/system/zfs-import.target.wants/{unit}");
        self.link(&link, &format!("/usr/lib/systemd/system/{unit}"))
    }

    pub fn put_bytes(&self, path: &str, bytes: &[u8]) -> &Tree {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        self
    }

    /// Changes a file's text; the words must be there.
    pub fn edit(&self, path: &str, from: &str, to: &str) -> &Tree {
        let text = fs::read_to_string(self.path(path)).unwrap();
        assert!(text.contains(from), "{path} has no `{from}`");
        self.put(path, &text.replacen(from, to, 1))
    }

    pub fn append(&self, path: &str, text: &str) -> &Tree {
        let old = fs::read_to_string(self.path(path)).unwrap();
        self.put(path, &format!("{old}{text}"))
    }

    pub fn remove(&self, path: &str) -> &Tree {
        fs::remove_file(self.path(path)).unwrap();
        self
    }

    pub fn mode(&self, path: &str, mode: u32) -> &Tree {
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    /// A symbolic link in place of whatever is there.
    pub fn link(&self, path: &str, target: &str) -> &Tree {
        let path = self.path(path);
        let _ = fs::remove_file(&path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
        self
    }

    pub fn directory(&self, path: &str) -> &Tree {
        fs::create_dir_all(self.path(path)).unwrap();
        self
    }
}

/// A cache file as the kernel writes it: lists of pairs, in XDR.
pub fn pool_cache(pools: &[(&str, Option<u64>)]) -> Vec<u8> {
    let pool = |(name, hostid): &(&str, Option<u64>)| {
        let tree = nv_list(&[nv_pair("hostid", NV_NUMBER, &9u64.to_be_bytes())]);
        let mut pairs = vec![
            nv_pair("version", NV_NUMBER, &5000u64.to_be_bytes()),
            nv_pair("name", NV_TEXT, b"\0\0\0\x04name"),
            nv_pair("vdev_tree", NV_LIST, &tree),
        ];
        pairs.extend(hostid.map(|id| nv_pair("hostid", NV_NUMBER, &id.to_be_bytes())));
        nv_pair(name, NV_LIST, &nv_list(&pairs))
    };
    nv_file(&pools.iter().map(pool).collect::<Vec<_>>())
}

pub const NV_NUMBER: u32 = 8;
pub const NV_TEXT: u32 = 9;
pub const NV_LIST: u32 = 19;

pub fn nv_file(pairs: &[Vec<u8>]) -> Vec<u8> {
    [vec![1, 1, 0, 0], nv_list(pairs)].concat()
}

pub fn nv_list(pairs: &[Vec<u8>]) -> Vec<u8> {
    let head = [0u32, 1].map(u32::to_be_bytes).concat();
    [head, pairs.concat(), vec![0; 8]].concat()
}

pub fn nv_pair(name: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_be_bytes();
    let mut pair = [&length(name.as_bytes()), name.as_bytes()].concat();
    pair.resize(pair.len().next_multiple_of(4), 0);
    pair.extend([kind, 1].map(u32::to_be_bytes).concat());
    pair.extend(value);
    let size = length(&[&[0; 8], pair.as_slice()].concat());
    [&size, &size, pair.as_slice()].concat()
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}
