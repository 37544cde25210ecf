"""The guides for two nodes, word for word: what a block's tag begins with is the node on which it is run."""

from node import check, says
from pair import COPY, SERVED
from scenarios import group
from scenarios.backup import SPARE, on_stick
from scenarios.guides import FAILOVER, LOST_STICK, YEARLY, block, blocks
from scenarios.rotation import (
    BOOT_LIMIT, KEY, OPEN, STICK, apart, current, opened_by_boot, power_cut, replicate, state, with_sticks)

OPEN_ON_F1 = ("zpeer/data", COPY, f"{COPY}/deep")
# What the guide calls f0, by the name that a replicator has for it here.
F0 = "f0-data"


def guides_pair(lab):
    """f0, and f1 that receives from it, as these guides find them."""
    node = with_sticks(lab, "guides-pair", 5400)
    apart(node, node.f1)
    return node


scenario = group(guides_pair)


def act(node, guide, *tags, **names):
    """Runs the blocks of a guide that have these tags, in the guide's order, each on its node and with the
    names that a reader would have set there."""
    values = "; ".join(f"{name}={value}" for name, value in names.items())
    for language, tag, text in blocks(guide):
        if language == "sh" and tag in tags:
            block({"f0": node, "f1": node.f1}[tag.split("-")[0]], guide, text, values)


@scenario("yearly-rotation.md, the first visit: every copy proven, every key rotated, the node would come back; both do")
def yearly(node, lab):
    old = current(node)
    act(node, YEARLY, "f0")
    check(state(node)[0] == {old: "retained", current(node): "current"} and current(node) != old, state(node))
    for one, roots in ((node, OPEN), (node.f1, OPEN_ON_F1)):
        power_cut(one)
        opened_by_boot(one, *roots)


@scenario("yearly-rotation.md, the second visit: what was sent in between has arrived, the old keys are retired")
def later(node, lab):
    replicate(node)
    act(node, YEARLY, "f0-later")
    check(sorted(state(node)[0].values()) == ["current", "retired"], state(node))


@scenario("lost-stick.md: f1 gets another stick, f0 fills it, f1 reboots with it; all keys are there, all roots open")
def lost_stick(node, lab):
    before = on_stick(node.f1)
    node.f1.unplug()
    node.f1.insert(lab.sticks.own(lab.sticks.blank(), "guides-spare"), SPARE)
    act(node, LOST_STICK, "f0", "f1")
    opened_by_boot(node.f1, *OPEN_ON_F1)
    after = on_stick(node.f1)
    check(after == before, f"{set(after) ^ set(before)}")


def both(node):
    """The guide's names, as they are on these two."""
    common = f"r{node.ok('cat /root/sent').strip()}" if node.on else ""
    return {"OWN": SERVED, "REPLICA": COPY, "COMMON": common, "F0": F0}


@scenario("failover.md, over: f0's power is out, its replica on f1 is promoted and written to")
def over(node, lab):
    replicate(node)
    node.ok("echo unsent > /data/nfs/NEVER-SENT; zpool sync")
    node.in_it = list(node.plugged.values())
    node.cut()
    act(node, FAILOVER, "f1-over", **both(node))
    node.f1.ok("echo kept > /data/nfs/WRITTEN-ON-F1; sync")


@scenario("failover.md, back: no failback by itself; brought home, the gate opens, what both wrote is there, replication goes on")
def back(node, lab):
    node.power(node.in_it)
    node.settled(BOOT_LIMIT)
    node.unwatched()
    says(node.gate("failback"), "promoted")
    act(node, FAILOVER, "f1-demote", "f1-back", "f0-back", "f0-open", **both(node))
    node.check_open("failback")
    check(node.ok("cat /data/nfs/WRITTEN-ON-F1") == "kept\n", "what f1 wrote is not at home")
    check(node.sh("test -e /data/nfs/NEVER-SENT").status == 1, "it was not rolled back")
    kept = "zdata/f0-last-nfsdata"
    node.ok(f"set -e; mount -o ro {STICK} /mnt; zfs load-key -L file:///mnt/{KEY}.key {kept}; umount /mnt; "
            f"zfs set mountpoint=/last {kept}; zfs mount {kept} || true; test $(cat /last/NEVER-SENT) = unsent")
    node.ok(f"zfs snapshot {SERVED}@again; "
            f"zfs send -w -I @f3skeys-demoted-1 {SERVED}@again | ssh f1-data zfs receive -u {COPY}")
