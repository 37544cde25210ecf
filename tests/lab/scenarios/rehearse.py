"""`rehearse` against the truth: a fault is set up, `rehearse` says whether the node would come back,
and then it is seen whether it does: after a power cut, or, where the boot around the passes cannot
make a difference, by the same units on a node that was shut."""

import functools

from node import KEY_OF, ROOTS, check, says
from scenarios import group
from scenarios.gates import PLACES
import stick

ZDATA, BHYVE, OTHER = (KEY_OF[root] for root in ROOTS)
GATES = ("nfs", "write", "copy")
INSTALLED = "/etc/f3skeys.ron"


def rehearse(lab):
    """A node that is up, with a configuration that waits for a stick only as long as it must."""
    node = lab.node("rehearse")
    node.start([(lab.sticks.good(), stick.SERIAL)])
    node.settled()
    node.quiet()
    node.ok(f"sed -i 's/wait_seconds: 30/wait_seconds: 8/' {INSTALLED}; cp -a {INSTALLED} /root/f3skeys.ron")
    return node


scenario = group(rehearse)


def power_cut(node):
    """A real one, and the boot after it."""
    node.ok("sync")
    node.reset()
    node.settled()
    node.quiet()


def units(node):
    """What the boot would start, in its order, on a node that was shut."""
    node.shut()
    for verb, unit in (("start", "f3skeys"), ("restart", "zfs-mount"), ("start", "f3sready")):
        node.sh(f"systemctl {verb} {unit}", limit=200)


def came_back(node):
    """The passes' exit statuses (None: did not run), and whether every gate is open."""
    statuses = []
    for unit in ("f3skeys.service", "f3sready.service"):
        state = node.unit(unit)
        ran = state["ActiveState"] in ("active", "failed")
        statuses.append(int(state["ExecMainStatus"]) if ran else None)
    return statuses, all(node.gate(name).status == 0 for name in GATES)


def truth(comes_back, *words, boot=units):
    """A scenario that sets a fault up until its `yield`, and mends it after. The verdict has to be
    the truth, name the fault in these words, and have the status of a pass that failed."""
    def decorate(function):
        @functools.wraps(function)
        def run(node, lab):
            steps = function(node, lab)
            next(steps)
            said = node.f3skeys("rehearse")
            boot(node)
            statuses, gates = came_back(node)
            try:
                told = f"{said}\nthe boot: exits {statuses}, all gates open: {gates}"
                well = gates and statuses == [0, 0]
                check(well == comes_back, f"the fault is none, or too much of one\n{told}")
                check((said.status == 0) == well, f"it was wrong\n{told}")
                faults = [status for status in statuses if status]
                check(not faults or said.status in faults, told)
                says(said, *words)
            finally:
                next(steps, None)
        return run
    return decorate


def with_config(node, old, new):
    """Changes the installed configuration; `restore` puts it back."""
    text = node.ok(f"cat {INSTALLED}")
    check(old in text, f"no `{old}` in the configuration")
    node.write(INSTALLED, text.replace(old, new), "0600")


def restore(node):
    """The installed configuration as it was."""
    node.ok(f"cp -a /root/f3skeys.ron {INSTALLED}")


@scenario("the stick is out: rehearse says so, and the boot ends with 66")
@truth(False, "F3S_KEYS", boot=power_cut)
def stick_out(node, lab):
    node.unplug()
    yield
    node.swap(lab.sticks.good())


@scenario("a decoy instead of the stick, its label and keys right: no, and 66")
@truth(False, "DECOY0002")
def decoy(node, lab):
    node.swap(lab.sticks.make("decoy"), serial="DECOY0002")
    yield
    node.swap(lab.sticks.good())


@scenario("a required key is damaged in both its copies: no, and 65")
@truth(False, "zdata/enc", ZDATA)
def damaged(node, lab):
    node.swap(lab.sticks.make("flipped", lambda tree: stick.flip(tree, ZDATA)))
    yield
    node.swap(lab.sticks.good())


@scenario("one copy damaged, and a key gone that no required root needs: yes with a warning, and it comes back")
@truth(True, f"{ZDATA}.key", "zroot/bhyve")
def damaged_a_little(node, lab):
    def damage(tree):
        stick.flip(tree, ZDATA, only=1)
        stick.flip(tree, BHYVE)
    node.swap(lab.sticks.make("a-little", damage))
    yield
    node.swap(lab.sticks.good())


@scenario("a root is open, by a key that is not on the stick: no, and 65 although all is well until then")
@truth(False, "zdata/enc")
def wrong_key(node, lab):
    change = "zfs change-key -o keylocation=prompt -o keyformat=raw zdata/enc"
    other = bytes(range(32))
    node.ok(change, other)
    yield
    node.ok("zfs load-key -L prompt zdata/enc", other)
    node.ok(change, lab.pools.key(ZDATA))


@scenario("the pool of a required root was exported: no, and 69")
@truth(False, "zroot/bhyve", boot=power_cut)
def exported(node, lab):
    with_config(node, "required: false", "required: true")
    node.ok("zpool export zroot")
    yield
    node.ok("zpool import -N -d /dev/disk/by-id zroot")
    restore(node)


@scenario("the dataset of a required root was renamed: no, and 69")
@truth(False, "zdata/enc", boot=power_cut)
def renamed(node, lab):
    node.ok("systemctl stop nfs-server nfs-mountd; exportfs -f; zfs rename zdata/enc zdata/other")
    yield
    node.ok("zfs rename zdata/other zdata/enc")


@scenario("the served dataset has got another mountpoint: no, its gate will not open")
@truth(False, "/data/nfs")
def moved(node, lab):
    node.ok("zfs set mountpoint=/data/elsewhere zdata/enc/nfsdata")
    yield
    node.ok("zfs set mountpoint=/data/nfs zdata/enc/nfsdata")


@scenario("a gate names a path that no dataset is mounted on: no")
@truth(False, "/data/nsf")
def gate_path(node, lab):
    with_config(node, 'path: "/data/nfs"', 'path: "/data/nsf"')
    yield
    restore(node)


# While the stick is in, the unit that udev starts for it finishes a boot that nothing else began,
# and f3sready.service wants the first one even where that is disabled: hence masks.
@scenario("the unit that loads the keys was masked, and the one for a late stick: no, and nothing is open")
@truth(False, "f3skeys.service", boot=power_cut)
def masked_keys(node, lab):
    node.ok("systemctl -q mask f3skeys f3skeys-late")
    yield
    node.ok("systemctl -q unmask f3skeys f3skeys-late")


@scenario("the second unit was masked, and the one for a late stick: no, no gate opens")
@truth(False, "f3sready.service", boot=power_cut)
def masked(node, lab):
    node.ok("systemctl -q mask f3sready f3skeys-late")
    yield
    node.ok("systemctl -q unmask f3sready f3skeys-late")


@scenario("the configuration has a typing error: 78, before and after")
@truth(False, INSTALLED)
def configuration(node, lab):
    with_config(node, "role: replica", "role: replika")
    yield
    restore(node)


@scenario("a healthy node, all that mended: yes, and it comes back")
@truth(True, boot=power_cut)
def healthy(node, lab):
    yield


@scenario("rehearse left pools, mounts, sticks and markers as they were")
def touches_nothing(node, lab):
    def state():
        return node.ok("cat /proc/self/mounts; stat -c '%n %i %z' /run/f3skeys/gates/*; "
                       "zpool history zdata zroot | grep -v 'load-key -n'; "
                       "zfs get -Hp -t filesystem,volume keystatus,readonly,mounted,written -r zdata zroot")
    node.check_mounted(PLACES)
    before = state()
    done = node.f3skeys("rehearse --json")
    check(done.status == 0 and lab.json(done.out)["version"] == 1, done)
    check(state() == before, "something was changed")
    node.check_store_unmounted()
    check(not lab.sticks.changed(), f"written to: {lab.sticks.changed()}")
    node.check_replica_clean()
