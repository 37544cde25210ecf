"""A node locked by a person and brought back; bare directories that nobody can write to; services
that follow their gate."""

from node import ROOTS, check, same, says
from scenarios import group
from scenarios.closing import ready
from scenarios.gates import PLACES
import machine
import stick

NFSDATA = "zdata/enc/nfsdata"
BARE = "/data/nfs/BARE-DIRECTORY"
MARKER = "/run/f3skeys/gates/nfs"
# Every dataset of a configured root that a healthy node has mounted.
OURS = {path: dataset for path, dataset in PLACES.items() if dataset not in (None, "zdata")}
STARTED = "systemctl show -P ExecMainStartTimestampMonotonic f3skeys-late.service"
CONFIG = machine.NODE_CONFIG.replace("    gates: [", '    guards: ["/data/nfs"],\n    gates: [').replace(
    'dataset: "zdata/enc/nfsdata")]),', 'dataset: "zdata/enc/nfsdata")], services: ["nfs-server.service"]),', 1)


def locking(lab):
    """A healthy node whose NFS server belongs to its gate and whose bare /data/nfs is guarded and empty."""
    node = lab.node("locking")
    node.start([(lab.sticks.good(), stick.SERIAL)])
    node.settled()
    node.unwatched()
    node.ok(f"systemctl stop nfs-server nfs-mountd; exportfs -f; zfs unmount {NFSDATA}; rm {BARE}")
    node.write("/etc/f3skeys.ron", CONFIG, "0600")
    ready(node)
    node.ok("systemctl start nfs-server")
    node.check_nfs_serves()
    return node


scenario = group(locking)


def lock(node, status=0):
    """Locks the node and demands this exit status."""
    done = node.f3skeys("lock")
    check(done.status == status, done)
    return done


def check_locked(node):
    """All is closed, stopped, unmounted and unloaded; the rest of the machine is as it was."""
    for name in ("nfs", "write", "copy"):
        node.check_closed(name, "locked")
    node.check_nfs_refused()
    node.check_loaded()
    node.check_mounted(dict.fromkeys(OURS) | {"/data": "zdata"})
    check(not node.sh("ls /run/f3skeys/gates").out, "a marker is left")


def check_up(node):
    """All is open and served."""
    node.check_loaded(*ROOTS)
    node.check_mounted(PLACES)
    node.check_open("nfs", "write", "copy")
    node.check_nfs_serves()
    check(not node.ok(f"ls -A /data/nfs | grep -x x || true"), "a file of the bare directory is in the dataset")


def up(node):
    """Undoes a lock, as a person would."""
    ready(node, "boot")
    node.ok("systemctl reset-failed; systemctl start nfs-server")
    check_up(node)


def guarded(node):
    """Root itself cannot make a file in the bare directory."""
    node.check_mounted({"/data/nfs": None})
    done = node.sh("touch /data/nfs/x")
    check(done.status != 0, "a file could be made in the bare directory")
    says(done, "Operation not permitted")
    check("i" in node.ok("lsattr -d /data/nfs").split()[0], "the directory is not immutable")


@scenario("`lock` on a node that serves: NFS stopped, all unmounted, keys unloaded, gates closed, each step told")
def lock_all(node, lab):
    done = lock(node)
    says(done, "nfs-server.service", *OURS.values(), *ROOTS)
    check_locked(node)


@scenario("a second `lock` has nothing to do; `reconcile` and services leave a locked node locked")
def stays(node, lab):
    says(lock(node), "nothing to do")
    done = node.f3skeys("reconcile")
    check(done.status == 0 and not done.out, done)
    check(node.sh("systemctl start nfs-server").status != 0, "nfs-server started")
    check_locked(node)


@scenario("a locked node's stick pulled and put in again: udev's late boot runs, and opens nothing")
def stick_does_not_unlock(node, lab):
    started = node.ok(STARTED)
    node.unplug()
    node.insert(lab.sticks.good())
    node.until(f"test $({STARTED}) -gt {started}", 60, "udev starts the late boot")
    node.until("! systemctl is-active -q f3skeys-late", 60, "the late boot is over")
    check_locked(node)


@scenario("the directory under the dataset of a locked node: root itself cannot write to it")
def lock_guards(node, lab):
    guarded(node)


@scenario("`boot`, `ready` and the services undo it: NFS serves again")
def undone(node, lab):
    up(node)


@scenario("a process stands in a dataset: `lock` names it, locks the rest, exit 69; once it is gone, the second ends it")
def busy(node, lab):
    sleeper = node.ok("cd /data/nfs && { sleep 1000 > /dev/null 2>&1 & echo $!; }").strip()
    done = lock(node, 69)
    says(done, NFSDATA, "fuser -vm /data/nfs")
    node.check_mounted({"/data/nfs": NFSDATA, "/zroot/bhyve": None, "/data/enc/apps": None, "/data/sink/f1/data": None})
    check(node.loaded() == {"zdata/enc"}, f"open: {node.loaded()}")
    node.check_closed("nfs", "locked")
    check(node.unit("nfs-server.service")["ActiveState"] != "active", "nfs-server runs")
    node.ok(f"kill {sleeper}")
    lock(node)
    check_locked(node)
    up(node)


@scenario("`lock` killed (-9) at four points of its way: no gate is open after, a second run ends it")
def lock_killed(node, lab):
    lock(node)
    length = node.report("lock")["millis"] / 1000
    up(node)
    stages = set()
    for part in range(4):
        node.ok(f"f3skeys lock > /dev/null 2>&1 & sleep {length * (part + 0.5) / 4:.3f}; kill -9 $!; wait $! || true")
        stages.add((frozenset(node.loaded()), frozenset(node.mounts())))
        if node.sh("test -e /run/f3skeys/locked").status == 0:
            node.check_closed("nfs", "locked")
        else:
            check_up(node)
        lock(node)
        check_locked(node)
        up(node)
    check(len(stages) > 1, "every kill hit the same moment")


@scenario("files in the bare directory: named, the gate's dataset is mounted all the same, nothing is touched")
def files_beneath(node, lab):
    lock(node)
    node.ok("chattr -i /data/nfs; echo stray > /data/nfs/STRAY; echo more > /data/nfs/MORE")
    done = node.f3skeys("boot")
    check(done.status == 0, done)
    done = node.f3skeys("ready")
    says(done, "STRAY", "MORE", "/data/nfs", NFSDATA)
    node.check_mounted({"/data/nfs": NFSDATA})
    node.check_open("nfs")
    node.f3skeys("lock")
    check(node.ok("cd /data/nfs; cat MORE STRAY; ls -A") == "more\nstray\nMORE\nSTRAY\n", "a file was touched")
    guarded(node)
    node.ok("chattr -i /data/nfs; rm /data/nfs/STRAY /data/nfs/MORE")
    up(node)


def clean_run(node):
    """A `reconcile` that says nothing."""
    done = node.f3skeys("reconcile")
    check((done.status, done.out, done.err) == (0, "", ""), done)


@scenario("`reconcile` on a healthy node: no word, no change, no service touched")
def reconcile_quiet(node, lab):
    def state():
        told = node.ok("cat /proc/self/mounts; stat -c '%n %i %y %z' /run/f3skeys/gates /run/f3skeys/gates/*; "
                       "systemctl show -p ActiveEnterTimestampMonotonic -p InvocationID nfs-server nfs-mountd")
        return told + node.pools()
    clean_run(node)
    before = state()
    for _ in range(3):
        clean_run(node)
    same(before, state())


@scenario("the gate closes (the dataset unmounted): `reconcile` stops its service; it opens: started again, NFS serves")
def follows(node, lab):
    # A server that runs keeps what it serves busy: only so does it vanish underneath.
    node.ok("umount -l /data/nfs/deep; umount -l /data/nfs; systemctl is-active nfs-server")
    done = node.f3skeys("reconcile")
    check(done.status == 0, done)
    says(done, "nfs-server.service")
    check(node.unit("nfs-server.service")["ActiveState"] == "inactive", "nfs-server runs")
    check(node.sh(f"test -e {MARKER}").status == 1, "the marker is still there")
    guarded(node)
    clean_run(node)
    node.ok(f"zfs mount {NFSDATA}; zfs mount {NFSDATA}/deep")
    done = node.f3skeys("reconcile")
    check(done.status == 0, done)
    says(done, "nfs-server.service")
    check_up(node)
    clean_run(node)


@scenario("an admin stopped the service while its gate is open: `reconcile` leaves it stopped")
def respects(node, lab):
    node.ok("systemctl stop nfs-server")
    for _ in range(2):
        clean_run(node)
    check(node.unit("nfs-server.service")["ActiveState"] == "inactive", "nfs-server was started")
    node.ok("systemctl start nfs-server")
    check_up(node)


@scenario("power on without the stick: the bare directory refuses root; the stick comes: served; unmounted: it refuses again")
def guard(node, lab):
    node.unplug()
    node.reset()
    node.settled()
    node.unwatched()
    node.check_loaded()
    guarded(node)
    node.check_nfs_refused()
    node.insert(lab.sticks.good())
    node.until("systemctl is-active nfs-server", 180, "NFS starts by itself")
    node.until("! systemctl is-active -q f3skeys-late", 60, "the late boot is over")
    node.ok("echo written > /data/nfs/WRITTEN && rm /data/nfs/WRITTEN")
    check_up(node)
    node.check_replica_clean()
    node.ok(f"systemctl stop nfs-server; exportfs -f; zfs unmount {NFSDATA}")
    guarded(node)
    ready(node)
    node.ok("systemctl start nfs-server")
    check_up(node)


@scenario("without the guard a file could be made there: the lab's own control")
def unguarded(node, lab):
    node.ok(f"systemctl stop nfs-server; exportfs -f; zfs unmount {NFSDATA} && chattr -i /data/nfs && "
            "touch /data/nfs/x; rm /data/nfs/x")
    clean = node.f3skeys("ready")
    check(clean.status == 0, clean)
    node.ok("systemctl start nfs-server")
    check_up(node)
