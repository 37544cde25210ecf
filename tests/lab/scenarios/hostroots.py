"""Roots and key devices as real hosts have them: a pool for backups beside the primary, a promoted clone,
file systems that came up before their parent, and every disk that is nearly the right one."""

import re

from node import REPLICA, ROOTS, check, says
from scenarios import group
from scenarios.gates import PLACES
import stick

KEY = "f0.lan.buetow.org:zdata"
ROOT = "zdata/enc"
BACKUP = "zroot/backup"
FIXED = "FIXED0001"


def host_roots(lab):
    """A node whose stick may be written to, and a pool for backups: zroot; a virtio disk holds a store, too."""
    node = lab.node("host-roots")
    node.disks[FIXED] = node.overlay(FIXED, lab.sticks.make("ext4-fixed", fs="ext4"))
    node.start([(lab.sticks.own(lab.sticks.make("ext4-roots", fs="ext4"), "host-roots"), stick.SERIAL)])
    node.settled()
    node.quiet()
    return node


scenario = group(host_roots)


INSTALLED = "/etc/f3skeys.ron"
CLONE = "zdata/clone"


def power_cut(node):
    """A real one, and the boot after it."""
    node.ok("sync; zpool sync")
    node.reset()
    node.settled()
    node.quiet()


def agree(node, comes_back, status, *words):
    """`rehearse` and `doctor` say the same beforehand, and name it in these words."""
    told = node.f3skeys("rehearse", limit=200)
    check(told.out.startswith("f3skeys rehearse for f0.lan.buetow.org: " + ("yes" if comes_back else "NO")), told)
    check(told.status == status, f"wanted exit {status}\n{told}")
    says(told, *words)
    says(node.f3skeys("doctor", limit=200), *words)


def rotate(node, config, arguments="", status=0):
    """Runs `rotate` for the key and demands its exit status."""
    done = node.f3skeys(f"rotate {KEY} {arguments}", config, limit=600)
    check(done.status == status, f"wanted exit {status}\n{done}")
    node.check_store_unmounted()
    return done


def opened(node, config):
    """What `rotate --status` says opens each root, and the standing of each generation."""
    text = rotate(node, config, "--status").out
    standings = dict(re.findall(r"^  generation \d+ (\w+): (\w+)$", text, re.M))
    roots = dict(re.findall(r"^  (\S+)(?: \(a replica\))?: opened by (\w+)$", text, re.M))
    return {root: standings[print_] for root, print_ in roots.items()}, standings


@scenario("a store on a disk that is not on USB: boot, doctor and rehearse say what it is and what to write; once that is "
          "written they all take it")
def fixed(node, lab):
    node.shut()
    config = node.configure(('"4C530001"', f'"{FIXED}"'))
    says(node.boot(config=config, status=66), "another bus", "any_disk: true")
    for verb in ("doctor", "rehearse"):
        done = node.f3skeys(verb, config, limit=200)
        says(done, "another bus", "any_disk: true")
        check(done.status in (66, 69), done)
    node.check_loaded()
    config = node.configure(('"4C530001"', f'"{FIXED}", any_disk: true'))
    rehearsed = node.f3skeys("rehearse", config, limit=200)
    check("another bus" not in rehearsed.out and "key device" not in rehearsed.out.split("gate")[0], rehearsed)
    node.boot(config=config)
    node.check_loaded(*ROOTS)
    node.f3skeys("ready", limit=200)


@scenario("a replica in a pool for backups on the same node, with the primary's key: rotated; retired only "
          "after the replica's own receive; never written to by any of it")
def backup_pool(node, lab):
    node.ok(f"set -e; zfs snapshot {ROOT}@b0; zfs send -w {ROOT}@b0 | zfs recv -u -o readonly=on -o mountpoint=none "
            f"-o setuid=off -o devices=off -o exec=off {BACKUP}")
    config = node.configure((
        '        (dataset: "zroot/bhyve"',
        f'        (dataset: "{BACKUP}", key: "{KEY}", role: replica, required: false),\n'
        '        (dataset: "zroot/bhyve"'))
    node.boot(config=config)
    check(node.get("keystatus", BACKUP) == "available", "the replica is not open")
    unwritten = f"zpool sync; zfs get -Hpo value written,guid {BACKUP}"
    before = node.ok(unwritten)
    planned = rotate(node, config, "--plan")
    check(f"change the key of {ROOT}" in planned.out and f"change the key of {BACKUP}" not in planned.out, planned)
    rotate(node, config)
    roots, standings = opened(node, config)
    check(roots == {ROOT: "current", BACKUP: "retained"}, (roots, standings))
    says(rotate(node, config, "--retire", 69), BACKUP, "-> ")
    check(node.ok(unwritten) == before, "the replica was written to")
    # The old key opens it at the next boot, and the next stream is received.
    node.ok(f"zfs unload-key {BACKUP}")
    node.boot(config=config)
    check(node.get("keystatus", BACKUP) == "available", "the replica is not open")
    node.ok(f"set -e; zfs snapshot {ROOT}@b1; zfs send -w -i @b0 {ROOT}@b1 | zfs recv -u {BACKUP}")
    roots, _ = opened(node, config)
    check(roots == {ROOT: "current", BACKUP: "current"}, roots)
    rotate(node, config, "--retire")
    check("retained" not in opened(node, config)[1].values(), opened(node, config))
    node.ok(f"zfs unload-key {BACKUP}")
    node.boot(config=config)
    check(node.get("keystatus", BACKUP) == "available", "the replica is not open")
    node.ok(f"zfs unload-key {BACKUP}; zfs destroy -r {BACKUP}; zfs destroy {ROOT}@b0; zfs destroy {ROOT}@b1")


def clone(node):
    """A clone of the root, promoted: it takes the encryption root along."""
    node.ok(f"set -e; zfs snapshot {ROOT}@c0; zfs clone {ROOT}@c0 {CLONE}; zfs promote {CLONE}; zpool sync")
    for name in (ROOT, f"{ROOT}/nfsdata", CLONE):
        check(node.get("encryptionroot", name) == CLONE, f"the root of {name} did not move")


@scenario("a promoted clone has moved the encryption root: doctor and rehearse say so with both ways out; a real boot "
          "opens all else; each way out, taken, brings the node back")
def promoted_clone(node, lab):
    node.ok(f"cp -a {INSTALLED} /root/f3skeys.ron; sed -i 's/wait_seconds: 30/wait_seconds: 8/' {INSTALLED}")
    clone(node)
    advice = (ROOT, f"zfs promote {ROOT}", f"name {CLONE} in `roots` as well")
    agree(node, False, 69, *advice)
    power_cut(node)
    check(node.unit("f3skeys.service")["ExecMainStatus"] == "69", node.unit("f3skeys.service"))
    node.check_loaded("zroot/bhyve", REPLICA)
    node.check_closed("nfs")
    node.check_open("copy")
    # Both are named, and the gates below stay as they are.
    node.ok(f"sed -i 's|^.*dataset: \"{ROOT}\".*$|&\\n        (dataset: \"{CLONE}\", key: \"{KEY}\", role: primary, "
            f"required: true),|' {INSTALLED}")
    told = node.f3skeys("rehearse", limit=200)
    check(told.status == 0, told)
    power_cut(node)
    check(node.unit("f3skeys.service")["ExecMainStatus"] == "0", node.journal())
    check(node.f3skeys("status").status == 0, node.f3skeys("status"))
    node.check_loaded(*ROOTS)
    node.check_mounted(PLACES)
    node.check_open("nfs", "write", "copy")
    # The other way out: the root goes back.
    node.ok(f"sed -i '/dataset: \"zdata.clone\"/d' {INSTALLED}; zfs promote {ROOT}; zfs destroy -r {CLONE}; "
            f"zfs destroy {ROOT}@c0; zpool sync")
    check(node.get("encryptionroot", f"{ROOT}/nfsdata") == ROOT, "the root did not go back")
    told = node.f3skeys("rehearse", limit=200)
    check(told.status == 0, told)
    node.shut()
    node.boot()
    node.check_loaded(*ROOTS)
    node.f3skeys("ready", limit=200)


@scenario("a root taken out of the configuration, and gates that still name it: exit 78 and an alarm, and every other "
          "root and gate comes up in a real boot; rehearse, doctor and status say it")
def contradiction(node, lab):
    node.ok(f"cp -a {INSTALLED} /root/before.ron; sed -i '/dataset: \"zdata.enc\",/d' {INSTALLED}")
    agree(node, False, 78, "configuration", "zdata/enc/nfsdata is neither a root")
    power_cut(node)
    for unit in ("f3skeys.service", "f3sready.service"):
        check(node.unit(unit)["ExecMainStatus"] == "78", (unit, node.unit(unit)))
    node.check_loaded("zroot/bhyve", REPLICA)
    node.check_open("copy")
    answer = node.gate("nfs")
    check(answer.status == 2, answer)
    check(node.f3skeys("status").status == 78, "status says all is well")
    node.check_nfs_refused()
    check(node.f3skeys("rotate --all").status == 78, "a rotation begins")
    node.ok(f"cp -a /root/before.ron {INSTALLED}")
    node.boot()
    node.check_loaded(*ROOTS)
    node.f3skeys("ready", limit=200)
    node.check_open("nfs", "write", "copy")


@scenario("an unencrypted file system below a locked root, and a late stick: foretold; the boot without the stick mounts it "
          "first, the late one in order; in use it is left and named")
def early(node, lab):
    node.ok("zfs create -o mountpoint=/data/nfs/pub zdata/pub; echo PUBLIC > /data/nfs/pub/FILE")
    agree(node, True, 0, "zdata/pub", "comes up first")
    plugged = list(node.plugged.values())
    node.ok("sync; zpool sync")
    node.cut()
    node.power([])
    node.settled()
    node.unwatched()
    node.check_loaded()
    node.check_mounted({"/data/nfs/pub": "zdata/pub", "/data/nfs": None})
    # Somebody sits in it.
    node.ok("cd /data/nfs/pub; nohup sleep 600 >/dev/null 2>&1 & echo $! > /run/sits")
    for image, serial in plugged:
        node.insert(image, serial)
    node.until("zfs get -Ho value keystatus zdata/enc | grep -q ^available", 120, "the late boot opens the roots")
    # It is "activating" while it works.
    node.until("systemctl show -P ActiveState f3skeys-late | grep -qE '^(inactive|failed)'", 120, "the late boot is over")
    says(node.sh("journalctl -b -u f3skeys-late -o cat"), "zdata/pub", "is in use")
    node.check_closed("nfs")
    node.check_open("copy")
    check(node.get("mounted", "zdata/pub") == "yes", "what is in use was unmounted")
    node.ok("kill $(cat /run/sits)")
    # As the message says.
    node.ok("zfs unmount zdata/pub; f3skeys ready; zfs mount zdata/pub", limit=200)
    node.check_mounted({**PLACES, "/data/nfs/pub": "zdata/pub"})
    node.check_open("nfs")


@scenario("the same where nothing uses it: the late boot mounts all in order, and NFS serves it")
def early_unused(node, lab):
    plugged = list(node.plugged.values())
    node.ok("sync; zpool sync")
    node.cut()
    node.power([])
    node.settled()
    node.unwatched()
    node.check_mounted({"/data/nfs/pub": "zdata/pub", "/data/nfs": None})
    for image, serial in plugged:
        node.insert(image, serial)
    node.until("f3skeys gate nfs", 200, "the late boot mounts all in order")
    node.check_mounted({**PLACES, "/data/nfs/pub": "zdata/pub"})
    check(node.ok("cat /data/nfs/pub/FILE").strip() == "PUBLIC", "it is not to be seen in its place")
    node.until("systemctl is-active -q nfs-server", 120, "the services of the gate are started")
    node.check_nfs_serves()
    node.quiet()
    node.ok("zfs destroy zdata/pub; rmdir /data/nfs/pub")


@scenario("a mountpoint in use keeps nothing locked; one remedy for each cause: a stick that holds exFAT, one with another serial number, two "
          "partitions with one label; none is told to be repaired by fsck or to be inserted")
def causes(node, lab):
    def told(config, *words, without=("fsck", "insert the stick;")):
        done = node.f3skeys("boot", config, limit=200)
        says(done, *words)
        check(not any(word in done.out + done.err for word in without), f"{without}\n{done}")
        checked = node.f3skeys("doctor", config, limit=200)
        says(checked, *words[:1])
        rehearsed = node.f3skeys("rehearse", config, limit=200)
        check(rehearsed.status != 0, rehearsed)
        says(rehearsed, *words[:1])

    config = node.configure()
    node.shut()
    node.ok("mkdir -p /keys; mount -t tmpfs none /keys")
    says(node.boot(config=config), "/keys is in use by none")
    node.check_loaded(*ROOTS)
    says(node.f3skeys("doctor", config, limit=200), "none is mounted on it", "umount /keys")
    node.shut()
    node.ok("umount /keys")
    plugged = list(node.plugged.values())
    blank = lab.sticks.keep("exfat", lambda out: out.write_bytes(b"\xeb\x76\x90EXFAT   ".ljust(4 << 20, b"\0")))
    node.swap(blank, stick.SERIAL)
    told(config, "exFAT", "f3skeys init")
    node.swap(lab.sticks.good(), "OTHER0009")
    told(config, "OTHER0009", 'serial: "OTHER0009"')

    def halves(out):
        part = lab.sticks.make("ext4-half", fs="ext4").read_bytes()
        size = len(part) // 512
        table = bytearray(512)
        for number, start in enumerate((2048, 2048 + size)):
            at = 446 + 16 * number
            table[at + 4] = 0x83
            table[at + 8:at + 16] = start.to_bytes(4, "little") + size.to_bytes(4, "little")
        table[510:] = b"\x55\xaa"
        out.write_bytes(bytes(table).ljust(2048 * 512, b"\0") + part + part)
    node.swap(lab.sticks.keep("halves", halves), stick.SERIAL)
    told(config, "all match, so none is used", "e2label")
    node.unplug()
    for image, serial in plugged:
        node.insert(image, serial)


@scenario("open, locked, wrong key, not known: `verify --pools`, boot, ready and status keep them apart")
def four_words(node, lab):
    node.shut()
    node.boot()
    node.f3skeys("ready", limit=200)
    node.ok("zpool export zroot")
    done = node.f3skeys("verify --pools", limit=200)
    line = next(line for line in done.out.splitlines() if "zroot/bhyve" in line.split())
    check("LOCKED" in line and "KEY" not in line.replace("LOCKED", ""), done)
    check("open" in next(line for line in done.out.splitlines() if ROOT in line.split()), done)
    says(node.f3skeys("status"), "zroot/bhyve", "locked")
    node.ok("zpool import -N zroot")
    node.boot()
    node.f3skeys("ready", limit=200)
    node.check_loaded(*ROOTS)


@scenario("a pool imported under another name, and one with an altroot: doctor names that, with the commands that mend it")
def renamed(node, lab):
    node.shut()
    node.ok("zpool export zroot; zpool import -N zroot zother")
    says(node.f3skeys("doctor", limit=200), "zroot", "zother/bhyve", "zpool import zother zroot")
    node.ok("zpool export zother; zpool import -N zother zroot")
    node.ok("zpool export zdata; zpool import -N -R /mnt zdata")
    says(node.f3skeys("doctor", limit=200), "gate nfs", "zpool get altroot zdata")
    node.ok("zpool export zdata; zpool import -N zdata")
    node.boot()
    node.f3skeys("ready", limit=200)
    node.check_open("nfs", "copy")
