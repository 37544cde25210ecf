"""Every condition made false once, by the system's own means: the very next question says closed,
at the price of a few trivial programs."""

from asking import DEADLINE, TRIVIAL, ZFS_GET, ask, closes, gate, prices
from node import REPLICA, check, says
from scenarios import group
from scenarios.faults import suspend
import machine
import stick

NFSDATA = "zdata/enc/nfsdata"
VOLUME = "zroot/bhyve/vol"
BLOCK = "/data/nfs/nfs.NO_AUTO_FAILBACK"
RUN = "/run/f3skeys"
GATES = f"""    gates: [
        (name: "nfs", needs: [mounted(path: "/data/nfs", dataset: "{NFSDATA}")]),
        (name: "write", needs: [writable("{NFSDATA}")]),
        (name: "copy", needs: [mounted(path: "/data/sink/f1/data", dataset: "{REPLICA}"), readonly("{REPLICA}")]),
        (name: "files", needs: [key_loaded("{NFSDATA}")]),
        (name: "guests", needs: [key_loaded("{VOLUME}")]),
        (name: "standby", needs: [role(dataset: "{REPLICA}", is: replica)]),
        (name: "fresh", needs: [fresh_snapshot(dataset: "{NFSDATA}", minutes: 30)]),
        (name: "sentinel", needs: [present("/data/nfs/SENTINEL")]),
        (name: "allowed", needs: [absent("{BLOCK}")]),
        (name: "all", needs: [gate("nfs"), gate("write"), gate("copy"), gate("files"), gate("guests"),
            gate("standby"), gate("fresh"), gate("sentinel"), gate("allowed")]),
        (name: "far", needs: [present("/mnt/SENTINEL")]),
    ],
)
"""
NAMES = ("nfs", "write", "copy", "files", "guests", "standby", "fresh", "sentinel", "allowed", "all")


def config(gates):
    """The lab's configuration with these gates."""
    return machine.NODE_CONFIG[:machine.NODE_CONFIG.index("    gates: [")] + gates


def closing(lab):
    """A healthy node with a gate of every condition, its NFS server stopped: nothing keeps a dataset busy."""
    node = lab.node("closing")
    node.start([(lab.sticks.good(), stick.SERIAL)])
    node.settled()
    node.quiet()
    node.ok("systemctl stop nfs-server nfs-mountd; exportfs -f")
    node.ok(f"zfs snapshot {NFSDATA}@now")
    node.write("/etc/f3skeys.ron", config(GATES), "0600")
    ready(node)
    return node


scenario = group(closing)


def ready(node, *verbs):
    """Runs the passes that put everything right again."""
    for verb in (*verbs, "ready"):
        done = node.f3skeys(verb)
        check(done.status == 0, done)


def mended(node, *names):
    """These gates are open again, and with them the one that needs them all."""
    node.check_open(*names, "all")


@scenario("all is well: a gate of every condition is open, each at the price of a few trivial programs")
def healthy(node, lab):
    node.check_open(*NAMES)
    gates = [gate(name) for name in NAMES]
    answers = ask(node, "true", *gates, TRIVIAL, ZFS_GET, rounds=11)
    for question in gates:
        check(set(answers[question].statuses) == {0}, f"{question}: {answers[question]}")
    return prices(answers, *NAMES)


@scenario("no gate starts a program: the kernel saw one execve, its own; with `-- COMMAND` a second")
def no_program(node, lab):
    def programs(question):
        log = node.ok(f"strace -f -qq -e trace=execve,execveat -e signal=none -o /run/strace {question} && cat /run/strace")
        return [line for line in log.splitlines() if "exec" in line]
    for name in NAMES:
        check(len(programs(gate(name))) == 1, f"gate {name}: {programs(gate(name))}")
    check(len(programs(f"{gate('nfs')} -- {TRIVIAL}")) == 2, "strace did not see the command")


@scenario("the dataset unmounted: closed at the next question")
def unmounted(node, lab):
    said = closes(node, f"zfs unmount {NFSDATA}", "nfs", "all", words=("/data/nfs",))
    node.check_closed("write", NFSDATA)
    check(node.gate("files").status == 2, node.gate("files"))
    ready(node)
    mended(node, "nfs", "write", "files")
    return said


@scenario("the key of the file systems unloaded: closed at the next question, the other roots' gates stay open")
def key_unloaded(node, lab):
    said = closes(node, "zfs unmount zdata/enc; zfs unload-key zdata/enc", "nfs", "all")
    node.check_loaded("zroot/bhyve", REPLICA)
    answer = node.gate("files")
    check(answer.status == 2, answer)
    says(answer, NFSDATA)
    node.check_open("copy", "guests", "standby")
    ready(node, "boot")
    mended(node, "files")
    return said


@scenario("the key of a volume unloaded: not open at the next question, the other roots' gates stay open")
def volume_key_unloaded(node, lab):
    said = closes(node, "zfs unmount zroot/bhyve; zfs unload-key zroot/bhyve", "guests", "all",
                  words=(VOLUME,), status=2)
    node.check_loaded("zdata/enc", REPLICA)
    node.check_open("nfs", "files", "copy")
    ready(node, "boot")
    mended(node, "guests")
    return said


@scenario("the volume's device gone while its file systems stay: not open at the next question")
def volume_hidden(node, lab):
    said = closes(node, f"zfs set volmode=none {VOLUME}; while test -b /dev/zvol/{VOLUME}; do sleep 0.01; done",
                  "guests", "all", words=(VOLUME,), status=2)
    node.ok(f"zfs inherit volmode {VOLUME}; udevadm settle")
    node.until(f"test -b /dev/zvol/{VOLUME}", 30, "the volume's device is back")
    mended(node, "guests")
    return said


@scenario("the primary set read-only: closed at the next question; set back, open")
def primary_sealed(node, lab):
    said = closes(node, f"zfs set readonly=on {NFSDATA}", "write", "nfs", "all", words=("read-only",))
    node.ok(f"zfs inherit readonly {NFSDATA}")
    mended(node, "write", "nfs")
    return said


@scenario("the replica made writable by hand: closed at the next question; set back, open")
def replica_opened(node, lab):
    said = closes(node, f"zfs set readonly=off {REPLICA}", "copy", "all", words=("can be written",))
    node.ok(f"zfs set readonly=on {REPLICA}")
    mended(node, "copy")
    return said


@scenario("another gate's marker copied over it: closed at the next question")
def copied_marker(node, lab):
    node.ok(f"cp -a {RUN}/gates/write /root/kept")
    said = closes(node, f"cp -a {RUN}/gates/nfs {RUN}/gates/write", "write", words=("another gate",))
    node.ok(f"mv /root/kept {RUN}/gates/write")
    mended(node, "write")
    return said


@scenario("a marker of another boot: closed at the next question")
def other_boot(node, lab):
    node.ok(f"cp -a {RUN}/gates/write /root/kept")
    boot = node.ok("cat /proc/sys/kernel/random/boot_id").strip()
    said = closes(node, f"sed -i s/{boot}/11111111-2222-3333-4444-555555555555/ {RUN}/gates/write",
                  "write", words=("another boot",))
    node.ok(f"mv /root/kept {RUN}/gates/write")
    mended(node, "write")
    return said


@scenario("a block file laid down: closed at the next question; removed, open")
def block_file(node, lab):
    said = closes(node, f"touch {BLOCK}", "allowed", "all", words=(BLOCK,))
    node.ok(f"rm {BLOCK}")
    mended(node, "allowed")
    return said


@scenario("a file that must be there taken away: closed at the next question; put back, open")
def file_gone(node, lab):
    said = closes(node, "mv /data/nfs/SENTINEL /data/nfs/ELSEWHERE", "sentinel", "all", words=("/data/nfs/SENTINEL",))
    node.ok("mv /data/nfs/ELSEWHERE /data/nfs/SENTINEL")
    mended(node, "sentinel")
    return said


def clock(seconds):
    """The command that moves the clock."""
    return f"date -s @$(($(date +%s) + {seconds})) > /dev/null"


@scenario("an hour passes and no snapshot is made: closed at the next question; a new one and `reconcile`: open")
def stale(node, lab):
    said = closes(node, clock(3600), "fresh", "all", words=(NFSDATA,))
    node.ok(f"zfs snapshot {NFSDATA}@later")
    node.check_closed("fresh")
    done = node.f3skeys("reconcile")
    check(done.status == 0, done)
    mended(node, "fresh")
    return said


@scenario("the clock put back to before the snapshot: not open at the next question")
def clock_put_back(node, lab):
    said = closes(node, clock(-3600), "fresh", "all", words=("clock",), status=2)
    node.ok(f"zfs destroy {NFSDATA}@later")
    check(node.f3skeys("reconcile").status == 0, "reconcile")
    mended(node, "fresh")
    return said


@scenario("the newest snapshot destroyed, though it was looked at before: closed at the next question")
def snapshot_destroyed(node, lab):
    node.ok("ls -d /data/nfs/.zfs/snapshot/now")
    said = closes(node, f"zfs destroy {NFSDATA}@now", "fresh", "all", words=(NFSDATA,))
    node.ok(f"zfs snapshot {NFSDATA}@now")
    check(node.f3skeys("reconcile").status == 0, "reconcile")
    mended(node, "fresh")
    return said


@scenario("the node locked by a person: every gate closed at the next question")
def locked(node, lab):
    said = closes(node, f"touch {RUN}/locked", "nfs", "standby", "all", words=("locked",))
    for name in NAMES:
        node.check_closed(name, "locked")
    node.ok(f"rm {RUN}/locked")
    node.check_open(*NAMES)
    return said


@scenario("a pool exported: closed at the next question; imported and unlocked again, open")
def exported(node, lab):
    said = closes(node, "zpool export zroot", "guests", "all", words=("not imported",))
    node.ok("zpool import -N zroot; udevadm settle")
    ready(node, "boot")
    mended(node, "guests")
    return said


@scenario("a file on a server that is gone, hard-mounted: cannot tell, within 2 s each time; the others answer as ever")
def hangs(node, lab):
    node.ok("systemctl start nfs-server; mount -t nfs -o vers=4.2,hard,noac,lookupcache=none 127.0.0.1:/data/nfs /mnt")
    ready(node)
    node.check_open("far")
    answers = ask(node, "systemctl stop nfs-server", gate("far"), gate("all"), TRIVIAL, rounds=9)
    node.ok("systemctl start nfs-server")
    node.until(f"{gate('far')} 2> /dev/null", 120, "the server's return opens the gate")
    node.ok("umount /mnt; systemctl stop nfs-server nfs-mountd; exportfs -f")
    node.until("! pgrep -x f3skeys", 60, "nobody is left hanging")
    far, trivial = answers[gate("far")], answers[TRIVIAL].median()
    check(set(far.statuses) == {2} and far.said.strip(), far)
    check(min(far.times) > DEADLINE / 2, f"nothing hung: {far.times}")
    check(max(far.times) <= DEADLINE + 2 * 5 * trivial, f"{far.times} beside {trivial}")
    check(set(answers[gate("all")].statuses) == {0}, answers[gate("all")])
    return f"{prices(answers, 'all')}, gate far {far.median():.0f} ms"


@scenario("a pool's disk pulled: every answer in time from that moment, closed once it is suspended, the others as ever")
def suspended(node, lab):
    node.check_open("guests", "nfs")
    node.pull("zroot")
    answers = ask(node, "true", gate("guests"), TRIVIAL)
    check(max(answers[gate("guests")].times) <= DEADLINE + 10 * answers[TRIVIAL].median(), answers)
    node.ok("zpool scrub zroot > /dev/null 2>&1 & zpool sync zroot > /dev/null 2>&1 &")
    node.until("grep -q SUSPENDED /proc/spl/kstat/zfs/zroot/state", 90, "the pool is suspended")
    answers = ask(node, "true", gate("guests"), gate("all"), gate("nfs"), TRIVIAL)
    for name in ("guests", "all"):
        told = answers[gate(name)]
        check(set(told.statuses) == {1} and "suspended" in told.said, told)
    check(set(answers[gate("nfs")].statuses) == {0}, answers[gate("nfs")])
    return prices(answers, "guests", "all", "nfs")
