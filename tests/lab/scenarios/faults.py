"""Things that die or hang in the middle."""

import time

from node import REPLICA, ROOTS, STORE_MOUNT, check, says
from scenarios import group
from scenarios.gates import PLACES
import stick

BUDGET = 60_000
# In brackets, so that the shell that looks does not find itself.
HUNG = "pgrep -f 'sleep 10000[0]'"
STAND_IN = """#!/bin/sh
case "$*" in
*{what}*) exec sleep 100000 ;;
esac
LD_LIBRARY_PATH=/usr/local/lib/lab exec /usr/local/lib/lab/zfs.real "$@"
"""
LIBRARIES = [f"$(readlink -f /usr/lib/x86_64-linux-gnu/{name}.so.?)" for name in ("libzfs", "libzfs_core")]
# The workers of a boot's pools, in their order: the one that reads the store has it mounted.
WORKERS = ("for pid in $(pgrep -P $(pgrep -x -o f3skeys) | sort -n); do "
           f"grep -q {STORE_MOUNT} /proc/$pid/mounts || echo $pid; done")


def faults(lab):
    """A node that is up, with udev kept from finishing anything by itself."""
    node = lab.node("faults")
    node.start([(lab.sticks.good(), stick.SERIAL)])
    node.settled()
    node.quiet()
    keep_zfs(node)
    return node


scenario = group(faults)


def keep_zfs(node):
    """A copy of `zfs` and of its libraries, for stand-ins to call."""
    node.ok("cp /usr/sbin/zfs /usr/local/lib/lab/zfs.real && "
            "cp -P /usr/lib/x86_64-linux-gnu/libzfs.so.* /usr/lib/x86_64-linux-gnu/libzfs_core.so.* /usr/local/lib/lab")


def stand_in(node, script):
    """From now on `zfs` is this script, and there are no libraries beside it: so all goes by the program."""
    node.write("/usr/local/lib/lab/zfs.stand-in", script, "0755")
    node.ok("mount --bind /usr/local/lib/lab/zfs.stand-in /usr/sbin/zfs")
    for library in LIBRARIES:
        node.ok(f"mount --bind /dev/null {library}")


def no_stand_in(node):
    """`zfs` and its libraries are themselves again."""
    node.ok(f"umount /usr/sbin/zfs {' '.join(LIBRARIES)}")


def hang(node, what):
    """From now on a `zfs` with `what` in its arguments never returns, and there is no other way to ask."""
    stand_in(node, STAND_IN.format(what=what))


def stop_last_worker(node):
    """Stops (SIGSTOP) the last of the workers that a running boot has begun for its pools: the only one of zroot.
    The pool before it has as many as it has work for."""
    node.ok(f"kill -STOP $({WORKERS} | tail -n 1)")


def suspend(node, pool):
    """Pulls the only disk of a pool; what is then written to it finds no disk. Nothing here may
    wait for the pool itself: that could be for ever."""
    node.pull(pool)
    node.ok(f"zpool scrub {pool} > /dev/null 2>&1 & zpool sync {pool} > /dev/null 2>&1 &")
    node.until(f"grep -q SUSPENDED /proc/spl/kstat/zfs/{pool}/state", 90, "the pool is suspended")


@scenario("boot killed (-9) at eight points of its way: nothing stays mounted, a second run finishes")
def killed(node, lab):
    node.shut()
    node.boot()
    length = node.report()["millis"] / 1000
    stages = set()
    for part in range(8):
        node.shut()
        node.ok(f"f3skeys boot > /dev/null 2>&1 & sleep {length * (part + 0.5) / 8:.3f}; kill -9 $!; wait $! || true")
        stages.add(frozenset(node.loaded()))
        node.boot()
        node.check_loaded(*ROOTS)
    check(len(stages) > 1, f"every kill hit the same moment: {stages}")
    done = node.f3skeys("ready")
    check(done.status == 0, done)
    node.check_mounted(PLACES)
    node.check_open("nfs", "write", "copy")


@scenario("boot killed right when a key goes to zfs: nothing stays mounted, a second run finishes")
def killed_while_loading(node, lab):
    for root in ROOTS:
        node.shut()
        hang(node, f"load-key*{root}")
        node.ok("f3skeys boot > /dev/null 2>&1 & for i in $(seq 200); do sleep 0.1; "
                f"{HUNG} && break; done; kill -9 $!; wait $!; {HUNG} | xargs kill")
        no_stand_in(node)
        check(root not in node.loaded(), f"{root} was loaded already")
        node.boot()
        node.check_loaded(*ROOTS)


def read_slowly(node, lab):
    """Starts a boot from a stick that takes seconds for what it should; returns when its store is
    mounted, with the function that waits for the boot's end."""
    node.unplug()
    node.insert(lab.sticks.good())
    node.ok("echo 3 > /proc/sys/vm/drop_caches")
    node.slow(4)
    ended = node.begin("f3skeys boot")
    node.until(f"grep -q {STORE_MOUNT} /proc/[0-9]*/mounts", 60, "the store is mounted")
    return ended


@scenario("boot killed (-9) while the store is mounted: it does not stay mounted, a second run finishes")
def killed_while_reading(node, lab):
    node.shut()
    ended = read_slowly(node, lab)
    node.ok("kill -9 $(pgrep -x -o f3skeys)")
    check(ended().status != 0, "boot was over already")
    node.slow(0)
    node.until(f"! grep -l {STORE_MOUNT} /proc/[0-9]*/mounts", 30, "the killed boot's mount goes away by itself")
    node.boot()
    node.check_loaded(*ROOTS)


@scenario("the stick pulled out while boot reads it: exit 66 within the budget, what was not read stays locked; put back, all opens")
def pulled_while_reading(node, lab):
    node.shut()
    ended = read_slowly(node, lab)
    node.unplug()
    done = ended()
    check(done.status == 66, done)
    says(done, "the stick went away while it was read")
    check(node.report()["millis"] <= BUDGET, node.report()["phases"])
    check(node.loaded() < set(ROOTS), "everything was read before the stick was pulled")
    node.check_store_unmounted()
    node.insert(lab.sticks.good())
    node.boot()
    node.check_loaded(*ROOTS)


@scenario("two boots at once: one works, the other waits for it or says so (exit 75)")
def two_at_once(node, lab):
    node.shut()
    first, second = node.begin("f3skeys boot"), node.begin("f3skeys boot")
    ends = sorted((first().status, second().status))
    check(ends in ([0, 0], [0, 75]), f"exits {ends}")
    node.check_loaded(*ROOTS)


@scenario("a zfs that never returns for one pool: the other pool comes up, within the budget")
def hung(node, lab):
    node.shut()
    hang(node, "zroot")
    done = node.f3skeys("boot")
    no_stand_in(node)
    check(done.status == 0, done)
    says(done, "zroot/bhyve")
    check(node.report()["millis"] <= BUDGET, node.report()["phases"])
    node.check_loaded("zdata/enc", REPLICA)
    check(node.sh(HUNG).status == 1, "the hung child was left running")


@scenario("a zfs that never returns, for every pool and at every step: boot still ends within its budget, exit 69")
def hung_everywhere(node, lab):
    node.shut()
    hang(node, "")
    done, again = node.f3skeys("boot"), node.f3skeys("ready")
    no_stand_in(node)
    check(done.status == 69 and again.status == 69, f"{done}\n{again}")
    for verb in ("boot", "ready"):
        check(node.report(verb)["millis"] <= BUDGET, node.report(verb)["phases"])
    node.check_loaded()
    node.check_closed("nfs")


@scenario("`zfs mount` never returns for one dataset: the other pool is mounted, within the budget, the gate stays closed")
def hung_mount(node, lab):
    node.shut()
    node.boot()
    hang(node, "mount*zdata/enc/nfsdata")
    done = node.f3skeys("ready")
    no_stand_in(node)
    check(done.status == 69, done)
    check(node.report("ready")["millis"] <= BUDGET, node.report("ready")["phases"])
    node.check_mounted({"/data/nfs": None, "/zroot/bhyve": "zroot/bhyve", "/zroot/bhyve/guest": "zroot/bhyve/guest"})
    node.check_closed("nfs")
    done = node.f3skeys("ready")
    check(done.status == 0, done)
    node.check_open("nfs")


@scenario("the worker of one pool stops for good: the other pool comes up, within the budget, and no worker is left")
def stopped_worker(node, lab):
    node.shut()
    ended = read_slowly(node, lab)
    stop_last_worker(node)
    node.slow(0)
    done = ended()
    check(done.status == 0, done)
    says(done, "zroot/bhyve", "no answer in time")
    check(node.report()["millis"] <= BUDGET, node.report()["phases"])
    node.check_loaded("zdata/enc", REPLICA)
    node.until("! pgrep -x f3skeys", 30, "the stopped worker is gone")
    node.boot()
    node.check_loaded(*ROOTS)


@scenario("the workers of all pools are killed before they are asked: the program does their work")
def killed_workers(node, lab):
    node.shut()
    ended = read_slowly(node, lab)
    node.ok(f"kill -9 $({WORKERS})")
    node.slow(0)
    done = ended()
    check(done.status == 0, done)
    node.check_loaded(*ROOTS)


@scenario("a pool that is suspended, its disk pulled: the other pool comes up, within the budget")
def suspended(node, lab):
    node.shut()
    suspend(node, "zroot")
    began = time.monotonic()
    done = node.f3skeys("boot", node.configure(("required: false", "required: true")))
    took = time.monotonic() - began
    check(done.status == 69, done)
    says(done, "zroot/bhyve", "suspended")
    check(node.report()["millis"] <= BUDGET, node.report()["phases"])
    check(took < BUDGET / 1000 + 30, f"the process itself took {took:.0f} s")
    # The property of a suspended pool would never be told: ask for the others alone.
    for root in ("zdata/enc", REPLICA):
        check(node.get("keystatus", root) == "available", f"{root} is locked")
    done = node.f3skeys("ready")
    check(node.report("ready")["millis"] <= BUDGET, node.report("ready")["phases"])
    node.check_open("nfs", "write", "copy")
    node.ok("systemctl reset-failed; systemctl start nfs-server")
    node.check_nfs_serves()


@scenario("a gate on a suspended pool: closed at once, without touching the pool")
def gate_of_suspended(node, lab):
    config = node.configure(("gates: [", 'gates: [(name: "guests", needs: [mounted(path: "/zroot/bhyve", '
                                         'dataset: "zroot/bhyve")]),'))
    node.check_closed("guests", "suspended", config=config)
