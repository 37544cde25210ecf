"""A storage node under test: what scenarios ask of it and do to it."""

import difflib
import json
import shlex

import machine
import stick
import vm
import witness

PRIMARIES = ("zdata/enc", "zroot/bhyve")
REPLICA = "zdata/sink/f1/data"
ROOTS = PRIMARIES + (REPLICA,)
CONFIG = "/etc/f3skeys-lab.ron"
# The lab's other disks are virtio: a SCSI disk is a stick.
STORE_MOUNT = "'^/dev/sd'"
KEY_OF = {"zdata/enc": "f0.lan.buetow.org:zdata", "zroot/bhyve": "f0.lan.buetow.org:bhyve",
          REPLICA: "f1.lan.buetow.org:zdata"}


def check(holds, what):
    """A scenario's demand; `what` says what was not so."""
    if not holds:
        raise vm.Failed(str(what))


def same(before, after):
    """Demands that nothing has changed between two such texts; else the lines that did."""
    changes = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
    check(before == after, "\n".join(changes))


def says(done, *words):
    """Demands that a command's output holds all these words."""
    text = done.out + done.err
    for word in words:
        check(word in text, f"`{word}` is not said by\n{done}")


class Node(vm.Machine):
    """A machine with f3skeys installed, and with it the words of the scenarios."""

    def f3skeys(self, arguments, config=None, limit=vm.COMMAND_LIMIT):
        """Runs the program by hand."""
        option = f"--config {config} " if config else ""
        return self.sh(f"/usr/sbin/f3skeys {option}{arguments}", limit=limit)

    def configure(self, *changes, wait=2):
        """Writes another configuration beside the installed one: `(old, new)` text changes."""
        text = machine.NODE_CONFIG.replace("wait_seconds: 30", f"wait_seconds: {wait}")
        for old, new in changes:
            check(old in text, f"the lab's configuration has no `{old}`")
            text = text.replace(old, new)
        self.write(CONFIG, text, "0600")
        return CONFIG

    def get(self, what, dataset):
        """One property."""
        return self.ok(f"zfs get -Hp -o value {what} {shlex.quote(dataset)}").strip()

    def pools(self):
        """Both pools as their disks have them: what a mount has begun to write counts only when it is there."""
        return self.ok("zpool sync; zpool history zdata zroot; "
                       "zfs get -Hp -t filesystem,volume keystatus,readonly,mounted,written -r zdata zroot")

    def loaded(self):
        """The configured roots whose key is loaded."""
        lines = self.ok(f"zfs get -Hp -o name,value keystatus {' '.join(ROOTS)}").splitlines()
        return {line.split()[0] for line in lines if line.split()[1] == "available"}

    def check_loaded(self, *wanted):
        """Exactly these roots are open."""
        check(self.loaded() == set(wanted), f"open: {self.loaded()}, wanted: {set(wanted)}")

    def mounts(self):
        """What each mount point of the machine shows: source, type, options; the last one wins."""
        table = {}
        for line in self.ok("cat /proc/self/mountinfo").splitlines():
            left, right = line.split(" - ")
            table[left.split()[4]] = (right.split()[1], right.split()[0],
                                      left.split()[5].split(",") + right.split()[2].split(","))
        return table

    def check_mounted(self, places):
        """`places` maps a path to the dataset that is seen there, or to None."""
        mounts = self.mounts()
        for path, dataset in places.items():
            seen = mounts.get(path, (None,))[0]
            check(seen == dataset, f"{path} shows {seen}, wanted {dataset}")

    def store_mounts(self):
        """The processes in whose mount namespace a USB disk is to be found."""
        return self.sh(f"grep -l {STORE_MOUNT} /proc/[0-9]*/mounts").out

    def check_store_unmounted(self):
        """The store is mounted for nobody."""
        found = self.store_mounts()
        check(not found, f"the store is still mounted for {found}")

    def gate(self, name, config=None):
        """Asks a gate."""
        return self.f3skeys(f"gate {name}", config)

    def check_open(self, *names):
        """These gates are open."""
        for name in names:
            answer = self.gate(name)
            check(answer.status == 0, answer)

    def check_closed(self, name, *words, config=None):
        """This gate is closed, and says why with these words."""
        answer = self.gate(name, config)
        check(answer.status == 1, answer)
        check(answer.err.strip(), f"no reason given by\n{answer}")
        says(answer, *words)

    def unit(self, name):
        """Result and exit status of a unit's last run."""
        text = self.ok(f"systemctl show -p ActiveState,Result,ExecMainStatus {name}")
        return dict(line.split("=", 1) for line in text.splitlines())

    def settled(self, limit=vm.BOOT_LIMIT):
        """Waits until systemd has nothing left to start."""
        self.sh("systemctl is-system-running --wait", limit=limit)

    def nfs(self):
        """What an NFS client sees at the export, or why it sees nothing."""
        return self.sh("timeout 60 mount -t nfs -o vers=4.2,soft,timeo=50,retrans=1,retry=0 "
                       "127.0.0.1:/data/nfs /mnt && ls -A /mnt && umount /mnt")

    def check_nfs_refused(self):
        """No client gets anything, least of all the directory under the dataset."""
        answer = self.nfs()
        check(answer.status != 0 and "BARE" not in answer.out, answer)
        check(self.unit("nfs-server.service")["ActiveState"] != "active", "nfs-server runs")

    def check_nfs_serves(self):
        """A client sees the dataset."""
        answer = self.nfs()
        check(answer.status == 0 and "SENTINEL" in answer.out, answer)
        check("BARE-DIRECTORY" not in answer.out, answer)

    def check_replica_clean(self):
        """By the pool's and the kernel's own word: nothing was written, nothing could be."""
        names = self.ok(f"zfs list -H -o name -r -t filesystem,volume {REPLICA}").split()
        check(len(names) == 3, f"the replica has {names}")
        for name in names:
            check(self.get("written", name) == "0", f"{name} was written to")
        log = self.ok(witness.LOOK)
        for complaint in witness.writable(log, REPLICA):
            raise vm.Failed(complaint)
        return log

    def shut(self):
        """Back to how a node is before its boot: all closed, locked, unmounted, forgotten."""
        self.sh("umount -f /mnt")
        self.sh("systemctl stop nfs-server nfs-mountd f3skeys-late f3sready f3skeys; "
                "systemctl reset-failed; rm -rf /run/f3skeys", limit=200)
        self.ok("for path in $(awk '$3 == \"zfs\" { print $2 }' /proc/mounts | tac); do umount $path; done; "
                "for root in $(zfs list -Ho name,encryptionroot,keystatus "
                "| awk '$1 == $2 && $3 == \"available\" { print $1 }'); do zfs unload-key $root; done")
        self.ok(f"for name in $(zfs list -Ho name -r {REPLICA}); do zfs inherit -S readonly $name; done")
        self.check_loaded()

    def quiet(self):
        """Keeps udev from finishing the boot while a scenario swaps sticks by hand."""
        self.unwatched()
        self.ok("systemctl mask --runtime f3skeys-late.service")

    def unwatched(self):
        """Keeps the minutely `reconcile` from mending what a scenario breaks before it was asked."""
        self.ok("systemctl stop f3skeys-reconcile.timer f3skeys-reconcile.service")

    def swap(self, image, serial=stick.SERIAL):
        """Another stick instead of whatever is plugged in; waits until its disk is there."""
        if self.plugged and set(self.plugged.values()) == {(image, serial)}:
            return
        self.unplug()
        self.insert(image, serial)

    def unplug(self):
        """Pulls every stick; returns when the machine knows."""
        super().unplug()
        self.until("! ls /dev/disk/by-id/usb-* 2>/dev/null", 30, "the stick is gone")

    def insert(self, image, serial=stick.SERIAL):
        """One more stick; waits until udev knows it."""
        self.plug(image, serial)
        self.until(f"ls /dev/disk/by-id/usb-*{serial}* && udevadm settle", 60, "the stick appears")

    def report(self, verb="boot"):
        """The report that the last run of a verb left."""
        return json.loads(self.ok(f"cat /var/lib/f3skeys/{verb}.json"))

    def boot(self, arguments="", config=None, status=0, limit=vm.COMMAND_LIMIT):
        """Runs `f3skeys boot`, demands its exit status, and gives what it said."""
        done = self.f3skeys(f"boot {arguments}", config, limit)
        check(done.status == status, f"wanted exit {status}\n{done}")
        self.check_store_unmounted()
        return done

    def check_disks_clean(self, keys):
        """Nothing that this machine ever wrote to a disk holds a piece of a key: not the root, not
        the pools, not in a file since deleted. Its overlays hold just what it wrote."""
        self.ok("sync")
        pieces = {key[start:start + 8] for key in keys for start in range(len(key) - 7)}
        for name, path in self.disks.items():
            data = path.read_bytes()
            check(not any(piece in data for piece in pieces), f"key bytes on the disk {name}")

    def journal(self):
        """The last boot's log, for people; never a failure of its own."""
        try:
            return self.sh("journalctl -b --no-pager -o short-monotonic | tail -n 200", limit=60).out
        except (vm.Failed, OSError) as error:
            return f"no journal: {error}\n"

