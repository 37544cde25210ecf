"""The stick comes while the boot waits for it."""

import time

from node import ROOTS, check
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
