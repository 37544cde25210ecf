"""The first day: an empty disk becomes a key store, and hosts as the articles have them are adopted."""

import os

import host
from node import ROOTS, check, says
from scenarios import group
from scenarios.store import new_key, printed
import stick
import witness

BLANK, OTHER = "BLANK0001", "OTHER0003"
INSTALLED = "/etc/f3skeys.ron"
NEW = "f0.lan.buetow.org:first"
FIRST = f'(dataset: "zdata/first", key: "{NEW}", role: primary, required: false),\n'
NFSDATA = "zdata/sink/f0/zdata/enc/nfsdata"

# What the articles have in /etc, and the stick as they mount it.
AS_IN_THE_ARTICLES = """set -e
printf '%s\\n' 'hostname="{node}"' 'zfskeys_enable="YES"' 'zfskeys_datasets="{datasets}"' > /etc/rc.conf
echo '{disk} /keys ext4 rw 0 2' >> /etc/fstab
rm {config}
mkdir -p /keys
mount -o rw {disk} /keys
"""

# f1 of the articles, made of f0: its own roots are its own, and it holds f0's data as a replica.
BECOME_F1 = f"""set -e
systemctl stop nfs-server nfs-mountd
exportfs -f
zfs destroy -r zdata/enc/nfsdata/deep
zfs snapshot zdata/enc/nfsdata@now
for name in zdata/sink/f0 zdata/sink/f0/zdata zdata/sink/f0/zdata/enc; do zfs create -o canmount=off $name; done
zfs send -w zdata/enc/nfsdata@now | zfs recv -u {NFSDATA}
zfs load-key -L file:///keys/f0.lan.buetow.org:zdata.key {NFSDATA}
zfs set keylocation=file:///keys/f0.lan.buetow.org:zdata.key {NFSDATA}
zfs destroy -r zdata/enc/nfsdata
zfs destroy -r zdata/sink/f1
zfs set readonly=on {NFSDATA}
zfs set mountpoint=/data/nfs {NFSDATA}
zfs change-key -o keyformat=raw -o keylocation=file:///keys/f1.lan.buetow.org:zdata.key zdata/enc
zfs change-key -o keyformat=raw -o keylocation=file:///keys/f1.lan.buetow.org:bhyve.key zroot/bhyve
echo f1.lan.buetow.org > /etc/hostname
hostname f1.lan.buetow.org
"""


def first_day(lab):
    """A node with all six keys of the articles on a plain ext4 stick."""
    node = lab.node("first-day")
    keys = dict(lab.sticks.keys)
    for name in ("f1.lan.buetow.org:bhyve", "f2.lan.buetow.org:zdata", "f2.lan.buetow.org:bhyve"):
        keys[name] = node.folder / name
        keys[name].write_bytes(os.urandom(32))
    node.sticks = stick.Sticks(node.folder, keys)
    node.plain = node.sticks.make("plain", plain=True, fs="ext4")
    node.start([(node.sticks.own(node.plain, "f0"), stick.SERIAL)])
    node.settled()
    return node


scenario = group(first_day)


def keys_in(node):
    """Every key at the top of the mounted stick, by its file, as a sum."""
    lines = node.ok("cd /keys && sha256sum *.key").splitlines()
    return {line.split()[1]: line.split()[0] for line in lines}


def disk_of(node, serial):
    """The device of a stick."""
    return node.ok(f"readlink -f /dev/disk/by-id/usb-*{serial}* | head -n 1").strip()


def refused(node, image, arguments, *words):
    """Runs `init` and demands that it refuses, says why in these words, and writes nothing."""
    before = stick.digest(image)
    done = node.f3skeys(f"init {arguments}")
    check(done.status != 0 and "Usage" not in done.err, done)
    says(done, "-> ", *words)
    check(stick.digest(image) == before, f"the disk was written to\n{done}")
    return done


def holiday(lab):
    """A stick with photos on it."""
    return lab.sticks.make("photos", stick.photos, fs="ext4", label="HOLIDAY")


@scenario("init refuses: another serial, a file system, keys (always), a mounted disk, a pool's disk; nothing is written")
def init_refuses(node, lab):
    node.unplug()
    node.insert(lab.sticks.blank(), BLANK)
    for serial in ("4C530001", "BLANK000", "BLANK00011"):
        refused(node, lab.sticks.blank(), f"--device {disk_of(node, BLANK)} --serial {serial}", "serial")
    for image in (lab.sticks.good(), lab.sticks.make("plain-ext4", plain=True, fs="ext4"), holiday(lab)):
        node.unplug()
        node.insert(image, OTHER)
        wanted = f"--device {disk_of(node, OTHER)} --serial {OTHER}"
        done = refused(node, image, wanted)
        if image != holiday(lab):
            for what in ("F3S_KEYS", "ext4=F3S_KEYS", "ufs1=F3S_KEYS"):
                refused(node, image, f"{wanted} --overwrite {what}", "holds keys")
    says(done, "--overwrite 'ext4=HOLIDAY'")
    node.ok(f"mount -o ro {disk_of(node, OTHER)} /mnt")
    refused(node, image, f"{wanted} --overwrite ext4=HOLIDAY", "mounted on /mnt")
    node.ok("umount /mnt")
    for more in ("", "--fixed /dev/vdb", "--fixed /dev/vdb --overwrite zdata"):
        done = node.f3skeys(f"init --device /dev/vdb --serial zdata {more}")
        check(done.status != 0, done)
    node.ok("zpool scrub -w zdata && zpool status -x zdata | grep healthy")
    check(not lab.sticks.changed(), lab.sticks.changed())


@scenario("init makes a key store of an empty disk; a new key on it, its root, and a boot with that store alone")
def init_works(node, lab):
    node.unplug()
    image = lab.sticks.own(lab.sticks.blank(), "blank")
    node.insert(image, BLANK)
    done = node.f3skeys(f"init --device {disk_of(node, BLANK)} --serial {BLANK}")
    check(done.status == 0, done)
    check("F3S_KEYS" in host.run(host.which("blkid"), image), "no label")
    config = node.configure(('serial: "4C530001"', f'serial: "{BLANK}"'), ("roots: [", "roots: [\n" + FIRST))
    check(node.f3skeys("verify", config).status == 0, "verify")
    commands, root = printed(new_key(node, NEW, "--for zdata/first", config))
    check(root.split("required")[0] == FIRST.split("required")[0], root)
    node.ok(commands)
    node.ok("zfs unmount zdata/first; zfs unload-key zdata/first")
    done = node.f3skeys("boot", config)
    check(node.get("keystatus", "zdata/first") == "available", done)
    refused(node, image, f"--device {disk_of(node, BLANK)} --serial {BLANK} --overwrite ext4=F3S_KEYS", "key")
    node.ok("zfs unload-key zdata/first; zfs destroy zdata/first")


@scenario("init over a file system that a person names: a key store after; another name than its own: refused")
def init_overwrites(node, lab):
    node.unplug()
    image = lab.sticks.own(holiday(lab), "photos")
    node.insert(image, "OTHER0003")
    wanted = f"--device {disk_of(node, 'OTHER0003')} --serial OTHER0003"
    refused(node, image, f"{wanted} --overwrite BIRTHDAY", "HOLIDAY")
    done = node.f3skeys(f"init {wanted} --overwrite ext4=HOLIDAY")
    check(done.status == 0, done)
    config = node.configure(('serial: "4C530001"', 'serial: "OTHER0003"'))
    check(node.f3skeys("verify", config).status == 0, "verify")


def tree(node):
    """Every file of the mounted stick as it is: name, inode, mode, time, content."""
    return node.ok("cd /keys && find . -printf '%p %i %m %s %T@\\n' | sort && find . -type f | sort | xargs sha256sum")


def adopt(node, lab, name, datasets):
    """Lays the host out as in the articles, adopts it twice, and cuts its power."""
    image = node.sticks.own(node.plain, name)
    node.unplug()
    node.insert(image)
    disk = f"/dev/disk/by-label/{stick.LABEL}"
    node.ok(AS_IN_THE_ARTICLES.format(node=name, datasets=datasets, disk=disk, config=INSTALLED))
    if name == "f1":
        node.ok(BECOME_F1)
    before = keys_in(node)
    first = node.sh(f"f3skeys adopt > {INSTALLED}; echo $? >&2")
    check(first.err.splitlines()[-1] == "0", first)
    stood = tree(node)
    second = node.f3skeys("adopt")
    text = node.ok(f"cat {INSTALLED}")
    check(second.out == text, f"it says something else the second time\n{text}\n{second}")
    check(tree(node) == stood, "the second time changed the stick")
    check(before.items() <= keys_in(node).items(), "a key was changed")
    says(first, "fstab")
    node.ok(f"sed -i /F3S_KEYS/d /etc/fstab; chmod 600 {INSTALLED}; sync")
    node.reset()
    node.settled()
    return text


def came_up(node, lab, *roots):
    """All is open, by f3skeys' own word and by what is seen."""
    status = lab.json(node.ok("f3skeys status --json"))
    check({root["dataset"] for root in status["roots"]} == set(roots), status["roots"])
    check(all(root["key_loaded"] for root in status["roots"]), status["roots"])
    check(status["gates"] and all(gate["state"] == "open" for gate in status["gates"]), status["gates"])
    node.check_store_unmounted()
    node.check_nfs_serves()


@scenario("adopt on f0 as in the articles, twice: the same text, no key changed; power cut: every root and gate is open")
def adopt_f0(node, lab):
    text = adopt(node, lab, "f0", "zdata/enc zdata/enc/nfsdata zroot/bhyve")
    for word in ("4C530001", "F3S_KEYS", "role: primary", "role: replica"):
        check(word in text, text)
    came_up(node, lab, *ROOTS)
    node.check_replica_clean()


@scenario("adopt on f1 as in the articles: its replica is taken for one; power cut: all open, the replica never writable")
def adopt_f1(node, lab):
    adopt(node, lab, "f1", f"zdata/enc zroot/bhyve {NFSDATA}")
    came_up(node, lab, "zdata/enc", "zroot/bhyve", NFSDATA)
    source, _, options = node.mounts()["/data/nfs"]
    check(source == NFSDATA and "ro" in options, f"/data/nfs: {source} {options}")
    complaints = list(witness.writable(node.ok(witness.LOOK), NFSDATA))
    check(not complaints, complaints)
