"""A stick that comes while `boot` waits: what its detection adds."""

import json

import base
import node as nodes
import stick
import vm
from bench import figures

# `boot` has looked at its pool, whose workers wait with it: all that is left is to wait. How many
# workers is its own affair; one more or one fewer would say that it is still at something.
WAITS = """sleep 2
these() { pgrep -x 'f3skeys|zfs'; }
waiting=$(these); [ "$(echo "$waiting" | wc -l)" -ge 2 ] || exit 1
for look in 1 2 3 4 5; do sleep 0.3; [ "$(these)" = "$waiting" ] || exit 1; done"""
AFTER_DEVICE = "key device"


def measure(race, case, rounds):
    """The same boot with the stick already in and plugged while it waits, alternating."""
    node, image = race.node, race.stick_of(case)
    node.write("/root/comes", (base.GUEST / "comes").read_bytes(), "0755")
    command = f"/root/comes /usr/sbin/f3skeys --config /etc/bench-{case.name}.ron boot"
    there, plugged = [], []
    for _ in range(rounds):
        race.locked(case)
        there.append(once(node, case, node.begin(command, limit=200)))
        race.locked(case)
        plugged.append(come(node, case, image, command))
    return summary(there, plugged)


def come(node, case, image, command):
    """One boot that begins without its stick."""
    node.unplug()
    waiting = node.begin(command, limit=200)
    node.until(WAITS, 50, "`boot` waits for its stick")
    node.plug(image, stick.SERIAL)
    told = once(node, case, waiting)
    node.ok("udevadm settle")
    return told


def once(node, case, waiting):
    """One boot: how long after the stick was there it was over, and how much of that was work."""
    done = waiting()
    if done.status:
        raise vm.Failed(str(done))
    told = json.loads(done.out)
    nodes.check(told["status"] == 0, node.sh("cat /run/comes.log").out)
    phases = node.report()["phases"]
    names = [phase["name"] for phase in phases]
    last = len(names) - 1 - names[::-1].index(AFTER_DEVICE)
    work = sum(phase["millis"] for phase in phases[last + 1:]) / 1000
    since = told["added"] or told["began"]
    return {"whole": told["over"] - since, "work": work, "rest": told["over"] - since - work, "pool": case.pool}


def summary(there, plugged):
    """`added` is all the time from the disk's appearance to the end of `boot` in which it was not
    reading keys or loading them: detection, and the end of the program. It is more than what
    detection adds, never less."""
    return {"stick_in": figures.spread([one["whole"] for one in there]),
            "stick_comes": figures.spread([one["whole"] for one in plugged]),
            "stick_in_besides_work": figures.spread([one["rest"] for one in there]),
            "added": figures.spread([one["rest"] for one in plugged])}
