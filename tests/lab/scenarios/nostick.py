"""No stick at the boot; then one, hours later; then a power cut without it."""

from node import ROOTS, check, says
from scenarios import group
from scenarios.gates import MARKER, PLACES
import stick

OLD_MARKER = """[Unit]
DefaultDependencies=no
Before=f3skeys.service f3sready.service
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'mkdir -p /run/f3skeys/gates; cp /root/old-marker /run/f3skeys/gates/nfs; echo put > /run/put'
[Install]
WantedBy=zfs.target
"""


def no_stick(lab):
    """A node without its stick."""
    node = lab.node("no-stick")
    node.start()
    node.settled()
    return node


scenario = group(no_stick)


@scenario("no stick: the base system is up, gates closed, NFS not started, exit 66, the message says what to do")
def closed(node, lab):
    node.ok("systemctl is-active multi-user.target local-fs.target")
    state = node.unit("f3skeys.service")
    check(state["ExecMainStatus"] == "66", state)
    text = node.ok("journalctl -b -u f3skeys.service -o cat")
    for word in ("F3S_KEYS", "4C530001", "30 s", "-> insert the stick"):
        check(word in text, f"`{word}` is not in the journal:\n{text}")
    node.check_loaded()
    for gate in ("nfs", "write", "copy"):
        node.check_closed(gate)
    node.check_nfs_refused()
    text = node.ok("journalctl -b -u nfs-mountd -u nfs-server -o cat")
    check("gate nfs is closed: " in text, f"it was not the gate that kept NFS from starting:\n{text}")


@scenario("the lab's own control: without the gate, NFS would hand out the directory under the dataset")
def without_gate(node, lab):
    for unit, before in (("nfs-server", "ExecStartPre=-/usr/sbin/exportfs -r"), ("nfs-mountd", "")):
        node.write(f"/run/systemd/system/{unit}.service.d/zz.conf", f"[Service]\nExecStartPre=\n{before}\n")
    node.ok("systemctl daemon-reload; systemctl reset-failed; systemctl start nfs-server")
    answer = node.nfs()
    check("BARE-DIRECTORY" in answer.out, answer)
    node.ok("systemctl stop nfs-server nfs-mountd; rm -r /run/systemd/system/nfs-*.d; systemctl daemon-reload")
    check(node.sh("systemctl start nfs-server").status != 0, "nfs-server started")
    node.check_nfs_refused()


@scenario("no stick: the boot ended within its budget, by its own clock")
def in_time(node, lab):
    report = node.report()
    check(report["millis"] <= 60_000, f"{report['millis']} ms")
    waited = [phase for phase in report["phases"] if phase["name"] == "key device"]
    check(waited and waited[-1]["millis"] >= 29_000, report["phases"])


@scenario("a replica is made read-only even when no key is there to open it")
def replica_sealed(node, lab):
    names = node.ok("zfs get -Ho value readonly -r -t filesystem,volume zdata/sink/f1/data").split()
    check(names == ["on"] * 3, names)


@scenario("the stick plugged in after boot gave up: everything comes up by itself, NFS included")
def late(node, lab):
    node.plug(lab.sticks.good(), stick.SERIAL)
    node.until("systemctl is-active nfs-server", 180, "NFS starts by itself")
    node.until("! systemctl is-active -q f3skeys-late", 60, "the late boot is over")
    node.check_loaded(*ROOTS)
    node.check_mounted(PLACES)
    node.check_open("nfs", "write", "copy")
    node.check_nfs_serves()
    node.check_replica_clean()
    node.check_store_unmounted()


@scenario("the stick pulled and plugged again on a healthy node: nothing is done, nothing is said")
def replug(node, lab):
    before = node.ok("journalctl -b -u f3skeys-late.service -o cat")
    runs = "systemctl show -P ExecMainStartTimestampMonotonic f3skeys-late.service"
    started = node.ok(runs)
    node.unplug()
    node.insert(lab.sticks.good())
    node.until(f"test $({runs}) -gt {started}", 60, "udev starts the late boot")
    node.until("! systemctl is-active -q f3skeys-late", 60, "the late boot is over")
    after = node.ok("journalctl -b -u f3skeys-late.service -o cat")
    added = [line for line in after[len(before):].splitlines() if "f3skeys" in line and "systemd" not in line
             and not line.startswith(("Starting", "Finished", "f3skeys-late.service:"))]
    check(not added, f"it said: {added}")
    node.check_open("nfs", "write", "copy")
    node.ok("systemctl is-active nfs-server")


@scenario("power cut and boot without the stick, the old marker put back before it: it opens nothing")
def old_marker(node, lab):
    node.ok(f"cp {MARKER} /root/old-marker")
    node.write("/etc/systemd/system/old-marker.service", OLD_MARKER)
    node.ok("systemctl -q enable old-marker; sync")
    node.unplug()
    node.reset()
    node.settled()
    check(node.ok("cat /run/put") == "put\n", "the old marker was not put there")
    check(node.sh(f"test -e {MARKER}").status == 1, "the old marker is still there")
    node.check_closed("nfs")
    node.check_nfs_refused()
    text = node.ok("journalctl -b -u f3skeys.service -o cat")
    check("nfs" in text and "another boot" in text, text)


@scenario("the old marker put back over a node that is all up: the gate still says closed, and why")
def old_marker_by_hand(node, lab):
    node.plug(lab.sticks.good(), stick.SERIAL)
    node.until("systemctl is-active nfs-server", 180, "NFS starts by itself")
    node.until("! systemctl is-active -q f3skeys-late", 60, "the late boot is over")
    node.check_open("nfs")
    node.ok(f"cp {MARKER} /root/new-marker; cat /root/old-marker > {MARKER}")
    node.check_closed("nfs", "another boot")
    check(node.sh("systemctl restart nfs-server").status != 0, "nfs-server started with an old marker")
    done = node.f3skeys("ready")
    check(done.status == 0, done)
    node.check_open("nfs")
    node.ok("systemctl reset-failed; systemctl start nfs-server")
