"""`doctor` on the node that `rehearse` has left healthy: it names what a year will make of it."""

from node import check, says
from scenarios.rehearse import scenario
import stick


def doctor(node, status, *words):
    """Runs `doctor`; what it says holds these words."""
    done = node.f3skeys("doctor")
    check(done.status == status, done)
    says(done, *words)
    return done


@scenario("doctor on the lab's node as it is: names the files under a mountpoint, the unprotected sink, the unnamed roots")
def doctor_names(node, lab):
    node.ok("systemctl unmask --runtime f3skeys-late")
    doctor(node, 69, "/data/nfs", "zdata/sink", "zdata/hex", "zdata/pass")


@scenario("all of that mended: doctor has nothing to mend, as text and as JSON, and changes nothing")
def doctor_quiet(node, lab):
    node.ok("for from in /data /; do mount --bind $from /mnt; rm -rf /mnt/nfs/BARE-DIRECTORY /mnt/data/nfs/BARE-DIRECTORY; "
            "umount /mnt; done; zfs set readonly=on setuid=off devices=off exec=off zdata/sink; zfs destroy zdata/hex; zfs destroy zdata/pass")
    doctor(node, 0, "nothing to mend")
    told = node.f3skeys("doctor --json")
    check(told.status == 0 and lab.json(told.out)["version"] == 1, told)
    node.check_store_unmounted()
    check(not lab.sticks.changed(), f"written to: {lab.sticks.changed()}")


FAULTS = {
    "an fstab line for the stick": (
        "echo 'LABEL=F3S_KEYS /keys ufs ro 0 0' >> /etc/fstab", "sed -i /F3S_KEYS/d /etc/fstab", "/etc/fstab"),
    "a disabled unit": (
        "systemctl -q disable f3sready", "systemctl -q enable f3sready", "f3sready.service"),
    "a foreign unit in the way": (
        "printf '[Service]\\nExecStart=/bin/true\\n' > /etc/systemd/system/f3skeys.service",
        "rm /etc/systemd/system/f3skeys.service", "f3skeys.service"),
    "a gate's drop-in gone": (
        "mv /usr/lib/f3skeys/drop-ins/nfs-server.service.d/f3skeys.conf /root/dropin",
        "mv /root/dropin /usr/lib/f3skeys/drop-ins/nfs-server.service.d/f3skeys.conf", "nfs-server"),
    "files under a mountpoint": (
        "mount --bind /data /mnt; touch /mnt/nfs/LOST; umount /mnt",
        "mount --bind /data /mnt; rm /mnt/nfs/LOST; umount /mnt", "/data/nfs"),
    "a configuration that others may write": (
        "chmod 0620 /etc/f3skeys.ron", "chmod 0600 /etc/f3skeys.ron", "/etc/f3skeys.ron"),
    "memory swapped in the clear": (
        "modprobe loop; truncate -s 16m /var/tmp/swap; chmod 600 /var/tmp/swap; mkswap -q /var/tmp/swap; "
        "swapon $(losetup -f --show /var/tmp/swap)", "swapoff -a; losetup -D; rm /var/tmp/swap", "swap"),
}


@scenario("doctor names each of: " + ", ".join(FAULTS) + "; and two sticks with one label")
def doctor_finds(node, lab):
    for fault, (make, mend, word) in FAULTS.items():
        node.ok(f"{make}; systemctl daemon-reload")
        done = node.f3skeys("doctor")
        node.ok(f"{mend}; systemctl daemon-reload")
        check(done.status != 0 and word in done.out + done.err, f"{fault}\n{done}")
    node.insert(lab.sticks.make("decoy"), serial="DECOY0002")
    doctor(node, 69, "has the label F3S_KEYS")
    node.swap(lab.sticks.good(), stick.SERIAL)
    doctor(node, 0, "nothing to mend")
