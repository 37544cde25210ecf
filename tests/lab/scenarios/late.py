"""The stick comes while the boot waits for it."""

import time

from node import ROOTS, check, same
from scenarios import group
from scenarios.gates import PLACES
import stick


def slow_stick(lab):
    """A node whose stick appears twenty seconds after boot began to wait."""
    node = lab.node("slow-stick")
    node.start()
    node.until("test $(systemctl show -P ActiveState f3skeys.service) = activating", 120, "boot begins")
    time.sleep(20)
    node.waiting = node.ok("systemctl show -P ActiveState f3skeys.service").strip()
    node.plug(lab.sticks.good(), stick.SERIAL)
    node.settled()
    return node


scenario = group(slow_stick)


@scenario("the stick comes 20 s late while boot waits: the boot goes on and everything is up")
def boot(node, lab):
    check(node.waiting == "activating", f"boot did not wait: {node.waiting}")
    state = node.unit("f3skeys.service")
    check(state["ExecMainStatus"] == "0", state)
    device = [p for p in node.report()["phases"] if p["name"] == "key device"]
    check(device and device[-1]["millis"] >= 15_000, f"it did not wait: {device}")
    node.check_loaded(*ROOTS)
    node.check_mounted(PLACES)
    node.check_open("nfs", "write", "copy")
    node.check_nfs_serves()
    node.check_replica_clean()


RUNS = "systemctl show -P ExecMainStartTimestampMonotonic f3skeys-late.service"
SAID = "journalctl -b _SYSTEMD_UNIT=f3skeys-late.service -o cat"


def undisturbed(node):
    """All that a late boot could have touched."""
    return node.ok("cat /proc/self/mounts; stat -c '%n %i %y %z' /run/f3skeys/gates/* /var/lib/f3skeys/*; "
                   "systemctl show -p Id -p InvocationID nfs-server nfs-mountd f3skeys f3sready zfs-mount") + node.pools()


@scenario("the key stick and a stranger's pulled and put in, ten times on a healthy node: nothing changes, nothing is said")
def ten_times(node, lab):
    node.unwatched()
    before, said, started = undisturbed(node), node.ok(SAID), node.ok(RUNS)
    for number in range(10):
        node.unplug()
        node.insert(*((lab.sticks.good(),) if number % 2 else (lab.sticks.blank(), "0000BEEF")))
        node.until(f"test $({RUNS}) -gt {started}", 60, "udev starts the late boot")
        node.until("! systemctl is-active -q f3skeys-late", 60, "the late boot is over")
        started = node.ok(RUNS)
    same(before, undisturbed(node))
    check(node.ok(SAID) == said, f"it said: {node.ok(SAID)[len(said):]}")
    node.check_open("nfs", "write", "copy")
    node.check_nfs_serves()
    node.check_replica_clean()
