"""What other software and the host itself do to a node that thinks it is well: cases of public reports,
tried as they were told. tests/lab/cases.md has the source of each, and those that are not tried here."""

from node import ROOTS, check, says
from scenarios import group
from scenarios.gates import PLACES
from scenarios.rehearse import INSTALLED, power_cut, restore, truth, with_config
import stick

NFSDATA = "zdata/enc/nfsdata"
DROP_IN = "/etc/systemd/system/{}.d/90-hardening.conf"
NEWER = "/lib/modules/99.0.0-lab"


def host_cases(lab):
    """A healthy node, with a configuration that waits for a stick only as long as it must."""
    node = lab.node("host-cases")
    node.life = 3000
    node.start([(lab.sticks.good(), stick.SERIAL)])
    node.settled()
    node.quiet()
    node.ok(f"sed -i 's/wait_seconds: 30/wait_seconds: 8/' {INSTALLED}; cp -a {INSTALLED} /root/f3skeys.ron")
    check_yes(node)
    return node


scenario = group(host_cases)


def check_yes(node):
    """The node is well, and would come back."""
    done = node.f3skeys("rehearse")
    check(done.status == 0, done)


def check_no(node, *words):
    """It would not, and both who are asked beforehand say why in these words."""
    for verb in ("rehearse", "doctor"):
        done = node.f3skeys(verb)
        check(done.status == 69, done)
        says(done, *words)


def up(node):
    """What a boot would have started, once its fault is mended."""
    node.ok("systemctl daemon-reload; systemctl reset-failed; systemctl restart zfs-import-cache", limit=200)
    for verb, unit in (("restart", "f3skeys"), ("restart", "zfs-mount"), ("restart", "f3sready"), ("start", "nfs-server")):
        node.ok(f"systemctl {verb} {unit}", limit=200)
    node.check_loaded(*ROOTS)
    node.check_mounted(PLACES)
    check_yes(node)


@scenario("a pool that was imported without the cache file: rehearse says no, with the command; the power cut shows it")
@truth(False, "pool zdata", "zpool set cachefile=/etc/zfs/zpool.cache zdata", boot=power_cut)
def cache_file(node, lab):
    node.ok("zpool set cachefile=none zdata")
    yield
    node.ok("zpool import -N -d /dev/disk/by-id zdata")
    up(node)


@scenario("another /etc/hostid since the pools were imported: rehearse says no; the next boot refuses to import them")
@truth(False, "pool zdata", "zgenhostid -f 00f35001", boot=power_cut)
def host_id(node, lab):
    node.ok("cp -a /etc/hostid /root/hostid; zgenhostid -f deadbeef")
    yield
    node.ok("cp -a /root/hostid /etc/hostid")
    up(node)


@scenario("a newer kernel without the module of ZFS, and a rule that forbids usb-storage: each is named, each is a no")
def next_kernel(node, lab):
    node.ok(f"mkdir {NEWER}; echo kernel/fs/ext4/ext4.ko: > {NEWER}/modules.dep; mkdir -p /boot; touch /boot/vmlinuz-99.0.0-lab")
    check_no(node, "99.0.0-lab", "no module of ZFS")
    node.ok(f"echo extra/zfs.ko.zst: > {NEWER}/modules.dep")
    check_yes(node)
    node.ok(f"rm -r {NEWER} /boot/vmlinuz-99.0.0-lab")
    node.ok("echo install usb-storage /bin/true > /etc/modprobe.d/hardening.conf")
    check_no(node, "/etc/modprobe.d/hardening.conf", "does not see the stick")
    node.ok("rm /etc/modprobe.d/hardening.conf")
    check_yes(node)


@scenario("the module of ZFS is gone from the running kernel's directory: rehearse says no; the power cut shows it")
@truth(False, "no module of ZFS", boot=power_cut)
def no_module(node, lab):
    node.ok("module=$(modinfo -n zfs); echo $module > /root/where; mv $module /root/module; depmod", limit=300)
    yield
    node.ok("mv /root/module $(cat /root/where); depmod; modprobe zfs", limit=300)
    up(node)


@scenario("a drop-in gives the units that mount private mounts: rehearse says no; nobody sees what they mounted")
@truth(False, "zfs-mount.service", "f3sready.service", "PrivateMounts", boot=power_cut)
def private_mounts(node, lab):
    for unit in ("zfs-mount.service", "f3sready.service"):
        node.write(DROP_IN.format(unit), "[Service]\nPrivateMounts=yes\n")
    node.ok("systemctl daemon-reload")
    yield
    node.ok(f"rm {DROP_IN.format('zfs-mount.service')} {DROP_IN.format('f3sready.service')}")
    up(node)


@scenario("a container holds an unmounted dataset in mounts of its own: `lock` says so, with the command that finds it")
def held_elsewhere(node, lab):
    node.ok("systemctl stop nfs-server nfs-mountd; exportfs -f")
    holder = node.ok("unshare -m --propagation private sleep 1000 > /dev/null 2>&1 & echo $!").strip()
    node.until(f"test \"$(readlink /proc/{holder}/ns/mnt)\" != \"$(readlink /proc/self/ns/mnt)\"", 30, "it has its own mounts")
    done = node.f3skeys("lock")
    check(done.status == 69, done)
    says(done, "zdata/enc", "grep -l zdata/enc")
    command = "grep -l zdata/enc /proc/[0-9]*/mounts"
    check(f"/proc/{holder}/mounts" in node.ok(command), "the command does not find it")
    node.check_closed("nfs", "locked")
    node.ok(f"kill {holder}")
    node.until(f"! test -e /proc/{holder}", 30, "it is gone")
    done = node.f3skeys("lock")
    check(done.status == 0, done)
    node.check_loaded()
    up(node)


@scenario("a snapshot that the kernel has mounted below .zfs: gates stay open, `lock` unmounts all the same")
def snapshots(node, lab):
    node.ok(f"zfs snapshot {NFSDATA}@looked-at; ls /data/nfs/.zfs/snapshot/looked-at/")
    check("/data/nfs/.zfs/snapshot/looked-at" in node.mounts(), "the snapshot was not mounted")
    node.check_open("nfs", "write")
    check_yes(node)
    node.ok("systemctl stop nfs-server nfs-mountd; exportfs -f")
    done = node.f3skeys("lock")
    check(done.status == 0, done)
    node.check_loaded()
    up(node)
    node.ok(f"zfs destroy {NFSDATA}@looked-at")


@scenario("a stale unit for /keys, bound to a stick that is no more: systemd unmounts nothing, boot and verify read the stick")
def stale_unit(node, lab):
    node.write("/etc/systemd/system/keys.mount",
               "[Unit]\nBindsTo=dev-disk-by\\x2dlabel-GONE.device\n[Mount]\nWhat=/dev/disk/by-label/GONE\nWhere=/keys\n")
    node.ok("systemctl daemon-reload; systemctl start keys.mount & sleep 1; systemctl stop keys.mount")
    node.shut()
    node.boot()
    node.check_loaded(*ROOTS)
    done = node.f3skeys("verify --pools")
    check(done.status == 0, done)
    node.ok("rm /etc/systemd/system/keys.mount")
    up(node)


@scenario("the device mapper holds the stick, as multipath does: named as in use, before and at the boot")
def held_stick(node, lab):
    disk = node.ok("ls /dev/sd?").strip()
    node.ok(f"dmsetup create mpatha --table \"0 $(blockdev --getsz {disk}) linear {disk} 0\"; udevadm settle")
    try:
        for verb in ("rehearse", "doctor"):
            done = node.f3skeys(verb)
            check(done.status != 0, done)
            says(done, disk, "busy")
            check("fsck" not in done.out + done.err, f"advice that does not help\n{done}")
        node.shut()
        done = node.f3skeys("boot")
        check(done.status != 0, done)
        node.check_loaded()
    finally:
        node.ok("dmsetup remove mpatha; udevadm settle")
    up(node)


POD = """[Service]
ExecStart=/bin/sh -c 'setsid sh -c "while :; do date > /data/nfs/POD; sleep 1; done" & exec sleep infinity'
KillMode=process
"""
PODS = """[Unit]
After=f3sready.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStartPre=/usr/sbin/f3skeys gate nfs
ExecStart=/bin/true
ExecStop=/usr/bin/pkill -f /data/nfs/POD
"""


@scenario("what k3s leaves running when it is stopped: with the unit of gates.md its pods go when the gate closes")
def pods(node, lab):
    node.write("/etc/systemd/system/k3s.service", POD)
    node.write("/etc/systemd/system/k3s-pods.service", PODS)
    node.ok("systemctl daemon-reload; systemctl stop nfs-server nfs-mountd; exportfs -f; systemctl start k3s")
    node.until("test -s /data/nfs/POD", 30, "the pod writes")
    # The fault itself: the service is stopped, and its pod writes on.
    node.ok("systemctl stop k3s; rm -f /data/nfs/POD")
    node.until("test -s /data/nfs/POD", 30, "the pod writes without its service")
    with_config(node, 'dataset: "zdata/enc/nfsdata")]),', 'dataset: "zdata/enc/nfsdata")], services: ["k3s-pods.service", "k3s.service"]),')
    done = node.f3skeys("doctor")
    says(done, "k3s.service: does not ask gate nfs")
    check("k3s-pods.service: does not" not in done.out, done)
    node.ok("f3skeys ready; systemctl start k3s-pods k3s")
    node.ok("umount -l /data/nfs/deep; umount -l /data/nfs")
    done = node.f3skeys("reconcile")
    check(done.status == 0, done)
    says(done, "k3s.service", "k3s-pods.service")
    left = node.sh("pgrep -af '[/]data/nfs/POD'")
    check(left.status == 1, f"a pod is left\n{left}")
    restore(node)
    node.ok("rm /etc/systemd/system/k3s*.service; systemctl daemon-reload; rm -f /data/nfs/POD; zfs mount -a")
    up(node)


LATE_POOL = """[Service]
Type=oneshot
ExecStart=/usr/sbin/zpool import -N -d /dev/disk/by-id zdata
ExecStartPost=/usr/sbin/f3skeys boot --late -- /usr/bin/systemctl start --no-block f3sready.service
"""


@scenario("a pool that comes when the boot is over, as over iSCSI: with the line of gates.md its roots open")
def late_pool(node, lab):
    node.shut()
    node.ok("zpool export zdata")
    done = node.f3skeys("boot")
    check(done.status == 69, done)
    node.write("/etc/systemd/system/late-pool.service", LATE_POOL)
    node.ok("systemctl daemon-reload; systemctl start late-pool", limit=200)
    node.until("systemctl is-active -q f3sready", 100, "the gates are judged")
    node.check_loaded(*ROOTS)
    node.check_mounted(PLACES)
    node.check_open("nfs", "write", "copy")
    node.check_replica_clean()
    node.ok("rm /etc/systemd/system/late-pool.service")
    up(node)
