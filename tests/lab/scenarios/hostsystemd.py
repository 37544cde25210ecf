"""What systemd does beside f3skeys: units of OpenZFS's own generator, and lines of fstab. In each story
`rehearse`, `doctor`, `status` and the boot after a real power cut say the same."""

import json
import time

from node import REPLICA, ROOTS, check, says
from scenarios import group
from scenarios.gates import PLACES
from scenarios.rehearse import INSTALLED, came_back, power_cut, restore, truth, with_config
import stick

CACHE = "/etc/zfs/zfs-list.cache"
OURS = "/usr/lib/systemd/system-generators/f3skeys-generator"
# In the order of the cache; readonly is the eighth word, keylocation the twelfth.
PROPERTIES = "name,mountpoint,canmount,atime,relatime,devices,exec,readonly,setuid,nbmand,encroot,keylocation," + \
    ",".join(f"org.openzfs.systemd:{name}" for name in (
        "requires", "requires-mounts-for", "before", "after", "wanted-by", "required-by", "nofail", "ignore"))
# Longer than systemd takes to unmount what is bound to a unit that failed.
A_WHILE = 15
LEGACY = "zdata/enc/legacy /srv/legacy zfs"


def host_systemd(lab):
    """A node that is up, with a configuration that waits for a stick only as long as it must."""
    node = lab.node("host-systemd")
    node.start([(lab.sticks.good(), stick.SERIAL)])
    node.settled()
    node.quiet()
    node.ok(f"sed -i 's/wait_seconds: 30/wait_seconds: 8/' {INSTALLED}; cp -a {INSTALLED} /root/f3skeys.ron; "
            "cp -a /etc/fstab /root/fstab; mkdir -p /srv/legacy")
    return node


scenario = group(host_systemd)


def fill_cache(node):
    """As zed(8) does it; but of the replica as it was received, writable. Roots that ask a person for
    their key are left to that person."""
    node.ok(f"mkdir -p {CACHE}")
    for pool in ("zdata", "zroot"):
        node.ok(f"""zfs list -H -t filesystem -o {PROPERTIES} -r {pool} |
            awk -F'\\t' -v OFS='\\t' '$11 !~ /^zdata.(pass|hex)/ {{
                if ($1 ~ "^{REPLICA}") $8 = "off"
                if ($12 == "prompt") $12 = "file:///keys/nowhere"
                print }}' > {CACHE}/{pool}""")
    node.ok("systemctl daemon-reload")


def empty_cache(node):
    """Off again."""
    node.ok(f"rm -rf {CACHE}; systemctl daemon-reload")


def doctor(node):
    """The findings, by their subject."""
    found = json.loads(node.f3skeys("doctor --json").out)["findings"]
    return {finding["subject"]: finding for finding in found}


def of_systemd(node):
    """What doctor says of units and of fstab."""
    return [subject for subject in doctor(node)
            if subject in ("/etc/fstab", "zfs-mount-generator") or subject.endswith(".mount")]


def stays(node):
    """Everything is mounted, and is so a while later; the replica is mounted read-only, and not written."""
    for _ in range(2):
        node.check_mounted(PLACES)
        node.check_open("nfs", "write", "copy")
        time.sleep(A_WHILE)
    status = node.f3skeys("status")
    check(status.status == 0, status)
    # OpenZFS's generator loads the module of ZFS before the lab's own witness can be armed.
    for path, (dataset, _, options) in node.mounts().items():
        if dataset.startswith(REPLICA):
            check("ro" in options and node.get("written", dataset) == "0", f"{path}: {options}")


def is_bound(node):
    """OpenZFS's generator is at work, and our unit in the place of its own."""
    bound = node.ok("systemctl show -P BindsTo data-nfs.mount").strip()
    check(bound == "zfs-load-key@zdata-enc.service", f"data-nfs.mount is bound to `{bound}`")
    file = node.ok(f"systemctl show -P FragmentPath {bound}").strip()
    check(file.startswith("/run/systemd/generator.early/"), file)


@scenario("zfs-mount-generator with a full cache, the replica in it writable: yes, nothing to say, and all stays mounted")
@truth(True, boot=power_cut)
def generator(node, lab):
    fill_cache(node)
    # On a node that is up systemd has the units from now on, and has not started those of keys.
    found = doctor(node)
    check("systemctl start" in found["data-nfs.mount"]["remedy"], found)
    node.ok("systemctl start $(cd /run/systemd/generator.early && ls -d zfs-load-key@*.service)")
    node.f3skeys("ready")
    found = of_systemd(node)
    check(not found, f"doctor says something of {found}")
    yield
    is_bound(node)
    stays(node)
    node.check_nfs_serves()


@scenario("the same without the stick: no emergency shell; plugged in later it finishes the boot, and all stays mounted")
def generator_late(node, lab):
    node.unplug()
    node.ok("sync")
    node.reset()
    node.settled()
    node.ok("systemctl is-active multi-user.target local-fs.target")
    node.check_loaded()
    node.check_closed("nfs")
    node.insert(lab.sticks.good())
    node.until("systemctl is-active nfs-server", 180, "NFS starts by itself")
    node.until("! systemctl is-active -q f3skeys-late", 60, "the late boot is over")
    is_bound(node)
    stays(node)
    node.quiet()


@scenario("a key unit of ours was stopped: rehearse says yes, doctor that nothing stays mounted, and what mends it")
def generator_stopped(node, lab):
    unit = "zfs-load-key@zdata-enc.service"
    node.ok(f"systemctl stop {unit}; sleep 3")
    found = doctor(node)
    check("data-nfs.mount" in found, found)
    check(f"systemctl start {unit}" in found["data-nfs.mount"]["remedy"], found)
    done = node.f3skeys("rehearse")
    check(done.status == 0, done)
    node.ok(f"systemctl start {unit}")
    node.f3skeys("ready")
    stays(node)


@scenario("an older f3skeys-generator, which knows nothing of the other: no, and systemd unmounts everything")
@truth(False, "zfs-mount-generator", boot=power_cut)
def generator_alone(node, lab):
    node.ok(f"cp -a {OURS} /root/ours; sed -i /generate-units/d {OURS}")
    check("zfs-mount-generator" in of_systemd(node), "doctor says nothing")
    yield
    check(node.sh("mountpoint -q /data/nfs").status, "the lab's own control: it stayed mounted")
    node.ok(f"cp -a /root/ours {OURS}")
    empty_cache(node)
    power_cut(node)


@scenario("a legacy line of fstab without nofail: no, and the boot drops to an emergency shell")
def fstab_stops(node, lab):
    node.ok(f"echo '{LEGACY} defaults 0 0' >> /etc/fstab")
    check("/etc/fstab" in of_systemd(node), "doctor says nothing")
    said = node.f3skeys("rehearse")
    check(said.status == 69, said)
    says(said, "/etc/fstab", "emergency shell")
    power_cut(node)
    # f3skeys has done its part all the same; nothing else has come up.
    states = node.sh("systemctl is-active emergency.target multi-user.target").out.split()
    node.ok("cp -a /root/fstab /etc/fstab")
    power_cut(node)
    check(states == ["active", "inactive"], states)


@scenario("the line that doctor gives instead, behind one with a backslash: yes, mounted, its gate open")
@truth(True, boot=power_cut)
def fstab_mended(node, lab):
    node.ok(f"echo '{LEGACY} defaults 0 0' >> /etc/fstab")
    remedy = doctor(node)["/etc/fstab"]["remedy"]
    line = remedy[remedy.rindex(LEGACY):]
    node.ok("cp -a /root/fstab /etc/fstab")
    node.write("/root/lines", f"//nas/a\\b /mnt/b cifs noauto 0 0\n{line}\n", "0644")
    node.ok("cat /root/lines >> /etc/fstab; systemctl daemon-reload")
    with_config(node, "gates: [",
                'gates: [(name: "legacy", needs: [mounted(path: "/srv/legacy", dataset: "zdata/enc/legacy")]),')
    found = of_systemd(node)
    check(not found, f"doctor says something of {found}")
    says(node.f3skeys("rehearse"), "gate legacy: open")
    yield
    node.check_open("legacy")
    node.check_mounted({"/srv/legacy": "zdata/enc/legacy"})


@scenario("that line without the stick: the base system is up, and no emergency")
def fstab_no_stick(node, lab):
    node.unplug()
    power_cut(node)
    node.ok("systemctl is-active multi-user.target")
    check(node.sh("systemctl is-active -q emergency.target").status, "an emergency")
    node.check_closed("legacy")
    node.ok("cp -a /root/fstab /etc/fstab")
    restore(node)
    node.swap(lab.sticks.good())
    power_cut(node)
    check(came_back(node) == ([0, 0], True), came_back(node))


@scenario("a raw backup copy with the mountpoint of what it is a copy of: not to be named in `roots`, and it comes back")
@truth(True, boot=power_cut)
def copy(node, lab):
    node.ok("zfs snapshot zdata/enc/nfsdata@copy; "
            "zfs send -w zdata/enc/nfsdata@copy | zfs recv -u -o mountpoint=/data/nfs zroot/copy")
    found = doctor(node)["zroot/copy"]
    check("not to be named in `roots`" in found["what"], found)
    adopted = node.f3skeys("adopt")
    check('dataset: "zroot/copy"' not in adopted.out, adopted)
    yield
    stays(node)
    node.check_loaded(*ROOTS)
    node.ok("zfs destroy -r zroot/copy; zfs destroy zdata/enc/nfsdata@copy")
