"""All is well: what a good boot looks like, and what closes a gate afterwards."""

from node import REPLICA, ROOTS, check, same, says
from scenarios import group
import stick
import witness

VOLUME = f"/dev/zvol/{REPLICA}/vol"
MARKER = "/run/f3skeys/gates/nfs"
PLACES = {
    "/data": "zdata", "/data/enc": "zdata/enc", "/data/enc/apps": "zdata/enc/apps",
    "/data/nfs": "zdata/enc/nfsdata", "/data/nfs/deep": "zdata/enc/nfsdata/deep",
    "/data/enc/noauto": None, "/data/enc/none": None, "/data/enc/legacy": None,
    "/zroot/bhyve": "zroot/bhyve", "/zroot/bhyve/guest": "zroot/bhyve/guest",
    "/data/sink/f1/data": REPLICA, "/data/sink/f1/data/child": f"{REPLICA}/child",
}


def disk_of(node, path):
    """The kernel's name of a volume's disk."""
    return node.ok(f"basename $(readlink -f {path})").strip()


def well(lab):
    """A node with its stick in, after a power cut."""
    node = lab.node("well")
    node.start([(lab.sticks.good(), stick.SERIAL)])
    node.settled()
    node.unwatched()
    return node


scenario = group(well)


@scenario("stick in, power on: keys loaded, everything mounted in order, all gates open, exit 0")
def boot(node, lab):
    for unit in ("f3skeys.service", "f3sready.service"):
        state = node.unit(unit)
        check(state["Result"] == "success" and state["ExecMainStatus"] == "0", f"{unit}: {state}")
    node.check_loaded(*ROOTS)
    node.check_mounted(PLACES)
    node.check_open("nfs", "write", "copy")
    node.ok("test -b /dev/zvol/zroot/bhyve/vol")
    for name in ("zdata/hex", "zdata/pass"):
        check(node.get("keystatus", name) == "unavailable", f"{name} is not f3skeys' business")
    failed = node.ok("systemctl list-units --failed --no-legend --plain")
    check(not failed, f"failed units: {failed}")


@scenario("the stick is nowhere mounted afterwards, and not one byte of it was changed")
def stick_untouched(node, lab):
    node.check_store_unmounted()
    check(not lab.sticks.changed(), f"written to: {lab.sticks.changed()}")


@scenario("systemd ran boot before zfs-mount, ready after it, and NFS last")
def order(node, lab):
    units = ("zfs-import.target", "f3skeys.service", "zfs-mount.service", "f3sready.service", "nfs-server.service")
    times = [int(node.ok(f"systemctl show -P ActiveEnterTimestampMonotonic {unit}")) for unit in units]
    check(all(times) and times == sorted(times), dict(zip(units, times)))


@scenario("an NFS client sees the dataset, not the directory under it")
def nfs_serves(node, lab):
    node.check_nfs_serves()


@scenario("the replica, its child and its volume: mounted read-only, never writable, written = 0")
def replica(node, lab):
    log = node.check_replica_clean()
    for name in (REPLICA, f"{REPLICA}/child"):
        check(name in witness.mounted(log), f"the trace did not see {name} being mounted")
    mounts = node.mounts()
    for path in ("/data/sink/f1/data", "/data/sink/f1/data/child"):
        check("ro" in mounts[path][2], f"{path}: {mounts[path]}")
    node.ok(f"test $(blockdev --getro {VOLUME}) = 1 && ! dd if=/dev/zero of={VOLUME} count=1 2> /dev/null")
    complaints = list(witness.volume(node.ok(witness.LOOK), disk_of(node, VOLUME)))
    check(not complaints, complaints)
    check(node.sh("touch /data/sink/f1/data/x").status != 0, "a file could be made on the replica")


@scenario("a second run changes nothing, says so, and every gate stays open throughout")
def second_run(node, lab):
    def state():
        # A probe (`load-key -n`) is a question; zfs keeps a line of it in the history all the same.
        pools = "".join(line for line in node.pools().splitlines(True) if "load-key -n" not in line)
        return node.ok("cat /proc/self/mounts; stat -c '%n %i %z' /run/f3skeys/gates/*") + pools
    before = state()
    node.write("/root/poll", POLL, "0755")
    polling = node.begin("sh /root/poll")
    node.until("test -s /root/asked", 30, "the poll of the gates runs")
    for verb in ("boot", "ready"):
        done = node.f3skeys(verb)
        check(done.status == 0, done)
        says(done, "nothing to do")
    node.ok("touch /root/enough")
    closed = polling()
    check(closed.status == 0 and not closed.out, closed)
    asked = len(node.ok("cat /root/asked").split())
    check(asked >= 5, f"the gates were asked only {asked} times")
    same(before, state())


POLL = """rm -f /root/asked /root/enough
while [ ! -e /root/enough ]; do
    for gate in nfs write copy; do
        /usr/sbin/f3skeys gate $gate 2>&1 || echo "gate $gate: $?"
    done
    echo x >> /root/asked
done
"""


@scenario("`plan` has nothing left to do and `status --json` says that all is open")
def told(node, lab):
    plan = node.f3skeys("plan")
    check(plan.status == 0, plan)
    says(plan, "nothing")
    status = node.ok("f3skeys status --json")
    check(lab.json(status)["roots"], status)
    check(all(root["key_loaded"] for root in lab.json(status)["roots"]), status)
    check(all(gate["state"] == "open" for gate in lab.json(status)["gates"]), status)


@scenario("directories that `ready` has to make for a mount can be passed by everybody, as those of a mount by the system")
def makes_directories(node, lab):
    node.ok("zfs create -u -o mountpoint=/made/by/mount zdata/enc/made; f3skeys ready; test -d /made/by/mount")
    node.ok("zfs unmount zdata/enc/made")
    modes = node.ok("stat -c %a /made /made/by /made/by/mount").split()
    node.ok("zfs destroy zdata/enc/made; rmdir -p /made/by 2> /dev/null; ! test -e /made/by/mount/x")
    check(modes == ["755"] * 3, modes)


@scenario("`gate nfs -- COMMAND` becomes the command while the gate is open, and never while closed")
def becomes(node, lab):
    done = node.f3skeys("gate nfs -- /bin/sh -c 'echo became; exit 7'")
    check((done.status, done.out) == (7, "became\n"), done)
    node.ok(f"mv {MARKER} /root/kept")
    done = node.f3skeys("gate nfs -- /bin/echo became")
    check(done.status == 1 and "became" not in done.out, done)
    node.ok(f"mv /root/kept {MARKER}")
    node.check_open("nfs")


@scenario("the marker removed: closed")
def marker_removed(node, lab):
    node.ok(f"mv {MARKER} /root/kept")
    node.check_closed("nfs", "marker")
    node.ok(f"mv /root/kept {MARKER}")
    node.check_open("nfs")


@scenario("a marker copied from an older boot: closed")
def marker_of_another_boot(node, lab):
    node.ok(f"cp -a {MARKER} /root/kept")
    node.ok(f"sed -i \"s/$(cat /proc/sys/kernel/random/boot_id)/11111111-2222-3333-4444-555555555555/\" {MARKER}")
    check(node.sh(f"cmp -s {MARKER} /root/kept").status == 1, "the marker holds no boot id")
    node.check_closed("nfs", "another boot")
    node.ok(f"mv /root/kept {MARKER}")


@scenario("a marker made for another definition of the gate, or for another gate: closed")
def marker_of_another_definition(node, lab):
    wider = node.configure(('(name: "nfs", needs: [', '(name: "nfs", needs: [present("/etc/hostname"), '))
    node.check_closed("nfs", "definition", config=wider)
    node.ok(f"cp -a {MARKER} /root/kept; cp -a /run/f3skeys/gates/write {MARKER}")
    node.check_closed("nfs", "another gate")
    node.ok(f"mv /root/kept {MARKER}")
    node.check_open("nfs")


@scenario("the dataset unmounted: closed, and a restarted NFS server does not start")
def unmounted(node, lab):
    node.ok("systemctl stop nfs-server nfs-mountd; exportfs -f; zfs unmount zdata/enc/nfsdata")
    node.check_closed("nfs", "/data/nfs", "zdata")
    node.check_closed("write", "nfs")
    check(node.sh("systemctl start nfs-server").status != 0, "nfs-server started")
    node.check_nfs_refused()
    done = node.f3skeys("ready")
    check(done.status == 0, done)
    node.check_open("nfs", "write")
    node.ok("systemctl reset-failed; systemctl start nfs-server")
    node.check_nfs_serves()


@scenario("the dataset buried under another mount, of another kind or of another dataset: closed")
def buried(node, lab):
    node.ok("mount -t tmpfs tmpfs /data/nfs")
    node.check_closed("nfs", "tmpfs")
    node.ok("umount /data/nfs; mount -t zfs -o zfsutil zdata/enc/noauto /data/nfs")
    node.check_closed("nfs", "zdata/enc/noauto")
    node.ok("umount /data/nfs; mount --bind /data /data")
    node.check_closed("nfs", "/data/nfs")
    node.ok("umount /data")
    node.check_open("nfs")


@scenario("the primary read-only, by property or by mount: closed")
def primary_read_only(node, lab):
    node.ok("zfs set readonly=on zdata/enc/nfsdata")
    node.check_closed("nfs", "read-only")
    node.ok("zfs inherit readonly zdata/enc/nfsdata; mount -o remount,bind,ro /data/nfs")
    node.check_closed("write", "read-only")
    node.ok("mount -o remount,bind,rw /data/nfs")
    node.check_open("nfs", "write")


@scenario("a file that a gate wants absent is there, a gate that it needs is closed: closed")
def conditions(node, lab):
    config = node.configure(("gate(\"nfs\"), writable", 'gate("nfs"), absent("/data/nfs/STOP"), writable'))
    node.f3skeys("ready", config)
    check(node.gate("write", config).status == 0, "the changed gate does not open")
    node.ok("touch /data/nfs/STOP")
    node.check_closed("write", "/data/nfs/STOP", config=config)
    node.ok("rm /data/nfs/STOP")
    peer = node.configure(("gate(\"nfs\"), writable", 'gate("nfs"), not_promoted(peer: "f1.lan.buetow.org"), writable'),
                          ("gates: [", 'peers: [(name: "f1.lan.buetow.org", ssh: "root@f1")],\n    replicas: [(of: '
                           '"zdata/enc/nfsdata", node: "f1.lan.buetow.org", dataset: "zdata/sink/f0")],\n    gates: ['))
    check(node.f3skeys("reconcile", peer).status == 0, "reconcile")
    told = {one["name"]: one for one in node.report("reconcile")["gates"]}["write"]
    check(not told["open"] and "f1.lan.buetow.org" in told["reason"], told)
    answer = node.gate("write", peer)
    check(answer.status == 2 and "reconcile" in answer.err, answer)
    check(node.f3skeys("ready").status == 0, "ready")


@scenario("a replica that became writable: its gate closes, the next boot raises an alarm and seals it")
def replica_writable(node, lab):
    node.ok(f"zfs set readonly=off {REPLICA}")
    node.check_closed("copy", "written")
    done = node.f3skeys("boot")
    says(done, REPLICA, "ALARM")
    check(node.get("readonly", REPLICA) == "on", "still writable")
    check("ro" in node.mounts()["/data/sink/f1/data"][2], "still writable")


@scenario("the lab's own witness: it does notice a replica that is mounted writable, or made so")
def witness_notices(node, lab):
    log = node.ok(witness.LOOK)
    check(any("became writable" in c for c in witness.writable(log, REPLICA)), "a flip of readonly went unnoticed")
    child = f"{REPLICA}/child"
    node.ok(f"zfs unmount {child}; zfs set readonly=off {child}; zfs mount {child}; zfs set readonly=on {child}")
    log = node.ok(witness.LOOK)
    check(any(f"{child} was mounted writable" in c for c in witness.writable(log, child)),
          "a writable mount went unnoticed")
    node.ok(f"zfs set readonly=off {REPLICA}/vol; head -c 1 {VOLUME}; zfs set readonly=on {REPLICA}/vol")
    log = node.ok(witness.LOOK)
    check(any("became writable" in c for c in witness.volume(log, disk_of(node, VOLUME))),
          "a writable volume went unnoticed")
    check(list(witness.writable("", REPLICA)), "an empty trace was taken for a proof")


@scenario("whatever this node wrote to its disks holds no key byte sequence")
def disks(node, lab):
    node.check_disks_clean([lab.pools.key(name) for name in lab.pools.keys()])
