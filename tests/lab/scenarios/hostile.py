"""What a stream brings along besides data: properties that say where a replica is mounted and what runs there."""

from node import REPLICA, check, says
from scenarios import group
import machine
import stick

KEY = "f1.lan.buetow.org:zdata"
EVIL = "zdata/sink/f1/evil"
TARGET = "/etc/systemd/system"
PLACE = "/data/evil"
OWN = ("zdata/enc", "zroot/bhyve", REPLICA)


def config(mountpoint=""):
    """The node's configuration with the replica, mounted where it says."""
    line = (f'(dataset: "{EVIL}", key: "{KEY}", role: replica, required: false{mountpoint}),\n        ')
    return machine.NODE_CONFIG.replace(f'(dataset: "{REPLICA}"', f'{line}(dataset: "{REPLICA}"')


# Another node's pool, whose root wants this node: a file system for a directory of units, with a program that
# keeps root's rights and the node of a disk; and one without encryption below it, for root's ssh keys. Both are
# shared; without `canmount=on` meanwhile, since `zfs set sharenfs` mounts what it shares.
SOURCE = f"""set -e
truncate -s 96m /var/tmp/evil.img
zpool create -o cachefile=none -O mountpoint=none evil /var/tmp/evil.img
cat > /run/evil.key
zfs create -o encryption=on -o keyformat=raw -o keylocation=file:///run/evil.key -o mountpoint=/evil evil/data
zfs create -o mountpoint=/evil-plain evil/plain
cp /bin/sh /evil/sh
chmod 4755 /evil/sh
mknod /evil/disk b 254 0
touch /evil/evil.service /evil-plain/authorized_keys
zfs unmount evil/data
zfs unmount evil/plain
zfs set canmount=noauto evil/data
zfs set canmount=noauto evil/plain
zfs set mountpoint={TARGET} setuid=on devices=on exec=on readonly=off sharenfs=on evil/data
zfs set mountpoint=/root/.ssh sharenfs=on evil/plain
zfs set canmount=on evil/data
zfs set canmount=on evil/plain
zfs snapshot evil/data@one
zfs snapshot evil/plain@one
zfs send -w -p evil/data@one | zfs recv -u -x keylocation {EVIL}
zfs send -p evil/plain@one | zfs recv -u -o encryption=off {EVIL}/plain
zpool export evil
"""


def shared(node):
    """What is exported once the system has shared all that it would."""
    return node.ok("zfs share -a; exportfs -s; cat /etc/exports.d/zfs.exports || true", limit=120)


def hostile(lab):
    """A node that is up, beside the pool of a hostile sender."""
    node = lab.node("hostile")
    node.start([(lab.sticks.good(), stick.SERIAL)])
    node.settled()
    node.quiet()
    node.unwatched()
    return node


scenario = group(hostile)


@scenario("received mountpoints of a directory of units and of root's ssh keys: an alarm, the key stays unloaded, "
          "`zfs mount -a` mounts nothing there, and everything of the node's own opens and is mounted")
def mountpoint(node, lab):
    node.ok(SOURCE, lab.pools.key(KEY), limit=300)
    told = node.ok(f"zfs get -H -o value,source mountpoint {EVIL} {EVIL}/plain").splitlines()
    check(told == [f"{TARGET}\treceived", "/root/.ssh\treceived"], told)
    told = node.ok(f"zfs get -H -o value,source sharenfs {EVIL} {EVIL}/plain").splitlines()
    check(told == ["on\treceived"] * 2, told)
    node.write("/etc/f3skeys.ron", config(), "0600")
    says(node.boot(), "ALARM", EVIL, TARGET, f"{EVIL}/plain", "/root/.ssh")
    node.check_loaded(*OWN)
    node.ok("zfs mount -a; f3skeys ready", limit=300)
    places = node.mounts()
    check(TARGET not in places and "/root/.ssh" not in places, places)
    node.check_mounted({"/data/nfs": "zdata/enc/nfsdata", "/data/sink/f1/data": REPLICA})
    check(node.get("canmount", f"{EVIL}/plain") == "noauto", "what needs no key would be mounted by the next boot")
    says(node.f3skeys("doctor"), EVIL, TARGET)
    says(node.f3skeys("rehearse"), EVIL, TARGET)
    check(node.get("keystatus", EVIL) == "unavailable", "its key was loaded after all")


@scenario("the same replica where the configuration puts it: mounted read-only, without setuid programs, devices and "
          "programs, and not shared, whatever the stream said and whoever mounts it")
def sealed(node, lab):
    node.write("/etc/f3skeys.ron", config(f', mountpoint: "{PLACE}"'), "0600")
    node.ok(f"zfs set mountpoint={PLACE} {EVIL}")
    told = node.boot()
    check(node.get("keystatus", EVIL) == "available", told)
    node.check_loaded(*OWN)
    for how in ("f3skeys ready", f"zfs unmount {EVIL}; zfs mount -a"):
        node.ok(how, limit=300)
        source, _, options = node.mounts()[PLACE]
        check(source == EVIL and {"ro", "nosuid", "nodev", "noexec"} <= set(options), (source, options))
        check(node.sh(f"{PLACE}/sh -c true").status == 126, "a program of the stream runs here")
        check(node.sh(f"dd if={PLACE}/disk of=/dev/null count=1").status != 0, "a device of the stream is one here")
        check(PLACE not in shared(node), "it is shared as the stream says")
    check("nothing" in node.f3skeys("plan").out, "there is something left to set")
    # What this node itself says is shared, and stays so.
    node.ok(f"zfs set sharenfs=ro {EVIL}; f3skeys boot; f3skeys ready", limit=300)
    check(PLACE in shared(node), "this node's own word does not hold")
    node.ok(f"zfs set sharenfs=off {EVIL}")
