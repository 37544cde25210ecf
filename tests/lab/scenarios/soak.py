"""Many boots by power cut with random faults, while an NFS client and a replicator never rest."""

import os
import random
import statistics
import time

from node import REPLICA, check
from pair import SERIAL, SOURCE, Client, Pair, check_replica
from scenarios import group
import host
import stick

BOOTS = int(os.environ.get("F3SKEYS_LAB_BOOTS", "50"))
SEED = int(os.environ.get("F3SKEYS_LAB_SEED") or random.randrange(1_000_000))
# Of a boot with all that follows it, on a busy machine.
BOOT_LIMIT = 300
KEY = "f0.lan.buetow.org:zdata"
UNITS = "/etc/systemd/system"
# Over when NFS has started or was refused, and ssh is there for the replicator.
DECIDED = ("systemctl is-active -q ssh && { systemctl is-active -q nfs-server || "
           "systemctl is-failed -q nfs-mountd || systemctl is-failed -q nfs-server; }")
# Gone before it does anything, so that it is for one boot.
ONCE = """[Unit]
DefaultDependencies=no
After=zfs-import.target {after}
Before={before}
[Service]
Type={kind}
ExecStartPre=/bin/rm {units}/zfs.target.wants/once.service
ExecStartPre=/bin/sh -c '{first}'
ExecStart=/bin/sh -c '{command}'
[Install]
WantedBy=zfs.target
"""
FAULTS = {}


def fault(function):
    """A fault is a generator. It prepares the node that is still up and yields the sticks with which
    the power comes back; does something during the boot and yields whether an NFS client has to get
    the file system in the end; and cleans up."""
    FAULTS[function.__name__.replace("_", " ")] = function
    return function


@fault
def nothing(soak):
    yield soak.good
    yield True


@fault
def nothing_again(soak):
    yield soak.good
    yield True


@fault
def no_stick(soak):
    yield []
    soak.decided()
    check(soak.f0.sh("systemctl restart nfs-mountd || systemctl restart nfs-server").status, "NFS was started by hand")
    yield False


@fault
def an_old_marker_and_no_stick(soak):
    soak.once("f3sready.service", "mkdir -p /run/f3skeys/gates; cp /root/old-marker /run/f3skeys/gates/nfs")
    yield []
    yield False


@fault
def the_wrong_stick(soak):
    yield [(soak.good[0][0], "4C530099")]
    yield False


@fault
def a_stick_without_a_store(soak):
    yield [(soak.sticks.make("photos", stick.photos), SERIAL["f0"])]
    yield False


@fault
def bit_rot_in_a_key(soak):
    yield [(soak.sticks.make("rotten", lambda tree: stick.flip(tree, KEY)), SERIAL["f0"])]
    yield False


@fault
def the_stick_late(soak):
    yield []
    time.sleep(soak.chance.uniform(0, 12))
    soak.f0.plug(*soak.good[0])
    yield True


@fault
def the_stick_after_all_was_refused(soak):
    yield []
    soak.decided()
    soak.f0.plug(*soak.good[0])
    yield True


@fault
def no_program(soak):
    soak.f0.ok("mv /usr/sbin/f3skeys /root/f3skeys.kept")
    yield soak.good
    yield False
    soak.f0.ok("mv /root/f3skeys.kept /usr/sbin/f3skeys")


@fault
def the_replica_is_not_readonly(soak):
    soak.f0.ok(f"zfs list -Ho name,mounted -r {REPLICA} | awk '$2 == \"yes\" {{ print $1 }}' | tac "
               "| xargs -r -n 1 zfs unmount; "
               f"for name in $(zfs list -Ho name -t filesystem,volume -r {REPLICA}); do zfs inherit -S readonly $name; done")
    check(soak.f0.get("readonly", f"{REPLICA}/child") == "off", "the replica is still read-only")
    yield soak.good
    yield True


@fault
def a_snapshot_by_hand(soak):
    soak.f0.ok(f"zfs snapshot -r zdata/enc@by-hand-{soak.number}")
    yield soak.good
    yield True


@fault
def another_file_system_on_top(soak):
    soak.once("f3sready.service", "mount -t tmpfs tmpfs /data/nfs; touch /data/nfs/BARE-DIRECTORY")
    yield soak.good
    yield False


@fault
def the_pool_mounted_over_all(soak):
    soak.once("f3sready.service", "mount --bind /data /data")
    yield soak.good
    yield False


@fault
def the_dataset_unmounted_before_ready_is_killed(soak):
    # Unmounted before `ready` looks: were it between its look and its step, the child would come to lie
    # in the directory underneath, which `ready` then names and leaves to a person.
    soak.once("f3sready.service", kill(soak.chance.uniform(0, 1)), "simple", "umount /data/nfs/deep /data/nfs")
    yield soak.good
    soak.finish_by_hand()
    yield True


@fault
def boot_killed(soak):
    soak.once("f3skeys.service", kill(soak.chance.uniform(0, 4)), "simple")
    yield soak.good
    soak.finish_by_hand()
    yield True


def kill(after):
    """Kills the first f3skeys that comes, so many seconds later."""
    return ("for i in $(seq 400); do pid=$(pidof f3skeys) && break; sleep 0.05; done; "
            f"sleep {after:.2f}; kill -9 $pid")


class Soak:
    """The pair in its many boots."""

    def __init__(self, lab):
        self.sticks, self.chance, self.number = lab.sticks, random.Random(SEED), 0
        self.good = [(lab.sticks.good(), SERIAL["f0"])]
        self.pair = Pair(lab, "soak", life=900 + BOOT_LIMIT * BOOTS)
        self.f0, self.f1 = self.pair.f0, self.pair.f1
        self.names, self.sent, self.took = sorted(FAULTS), "sent", []

    def decided(self):
        """Waits until the boot has started NFS, or refused to."""
        self.f0.until(DECIDED, BOOT_LIMIT, "NFS is started or refused")

    def once(self, before, command, kind="oneshot", first=":"):
        """Has a command run in the next boot, before a unit of f3skeys; beside it if it is `simple`, after
        what is done `first`."""
        after = "" if before == "f3skeys.service" else "zfs-mount.service"
        self.f0.write(f"{UNITS}/once.service", ONCE.format(
            before=before, after=after, kind=kind, command=command, first=first, units=UNITS))
        self.f0.ok(f"ln -sf ../once.service {UNITS}/zfs.target.wants/")

    def finish_by_hand(self):
        """What a person does after a pass was killed."""
        self.decided()
        self.f0.ok("f3skeys boot && f3skeys ready && systemctl reset-failed && systemctl start nfs-server")

    def boot(self):
        """One power cut with a fault, what follows, and what must be so afterwards."""
        if self.number % len(self.names) == 0:
            self.chance.shuffle(self.names)
        name = self.names[self.number % len(self.names)]
        self.number += 1
        story = FAULTS[name](self)
        sticks = next(story)
        self.f0.ok("sync")
        began = time.monotonic()
        self.f0.cut()
        self.f0.power(sticks)
        mark = self.client.mark()
        served = next(story)
        self.decided()
        up = time.monotonic() - began
        self.client.wait(served, mark)
        self.replicate()
        next(story, None)
        self.took.append((up, time.monotonic() - began))
        host.say(f"boot {self.number} of {BOOTS}, {name}: NFS {'served' if served else 'refused'}; "
                 f"up in {up:.0f} s, all in {self.took[-1][1]:.0f} s")

    def replicate(self):
        """f1 sends what it wrote since the last time, now and then with a new child; it has to
        arrive, and f0 never was able to write any of it."""
        fresh = f"zfs create -o readonly=off {SOURCE}/new{self.number};" if self.chance.random() < 0.15 else ""
        snapshot = f"boot{self.number}"
        self.f1.ok(f"{fresh} echo {snapshot} > /data/own/child/FILE && zfs snapshot -r {SOURCE}@{snapshot} && "
                   f"zfs send -w -R -i @{self.sent} {SOURCE}@{snapshot} | ssh f0-data zfs recv -u {REPLICA}")
        self.sent = snapshot
        there = self.f1.ok(f"zfs list -Ho name -t snapshot -r {SOURCE} | grep -c @{snapshot}")
        here = self.f0.ok(f"zfs list -Ho name -t snapshot -r {REPLICA} | grep -c @{snapshot}")
        check(there == here, f"{there.strip()} snapshots were sent and {here.strip()} arrived")
        written = self.f0.ok(f"zfs get -Hp -o value written -t filesystem,volume -r {REPLICA}").split()
        check(set(written) == {"0"}, f"written on the replica: {written}")
        check_replica(self.f0, REPLICA)


def soak(lab):
    """Both nodes up, a client on f1 that looks at f0 all the time."""
    made = Soak(lab)
    made.pair.start()
    made.f0.ok("cp /run/f3skeys/gates/nfs /root/old-marker")
    made.client = Client(made.f1, "f0")
    made.f0.soak = made
    return made.f0


scenario = group(soak)


@scenario("the lab's own control: the client does see the directory underneath when the gate is out of the way")
def control(node, lab):
    client = node.soak.client
    client.wait(True, 0)
    node.ok("systemctl stop nfs-server nfs-mountd; zfs unmount zdata/enc/nfsdata/deep; zfs unmount zdata/enc/nfsdata")
    for unit, before in (("nfs-server", "ExecStartPre=-/usr/sbin/exportfs -r"), ("nfs-mountd", "")):
        node.write(f"/run/systemd/system/{unit}.service.d/zz.conf", f"[Service]\nExecStartPre=\n{before}\n")
    mark = client.mark()
    node.ok("systemctl daemon-reload; systemctl reset-failed; systemctl start nfs-server")
    client.until(lambda lines: any("saw: BARE-DIRECTORY" in line for line in lines), mark, "the client sees it")
    check(client.wrong(client.lines()), "the lab takes that for right")
    client.forget()


@scenario(f"{BOOTS} boots with random faults (seed {SEED}): an NFS client sees the right file system or none, "
          "every receive succeeds, the replica is never writable")
def boots(node, lab):
    it = node.soak
    for _ in range(BOOTS):
        try:
            it.boot()
        except Exception as error:
            error.add_note(f"in boot {it.number}, seed {SEED}")
            raise
    lines = it.client.lines()
    check(not it.client.wrong(lines), it.client.wrong(lines))
    saw, refused = (sum(f" {word}: " in line for line in lines) for word in ("saw", "refused"))
    check(saw and refused, f"the client saw the file system {saw} times and was refused {refused} times")
    up, whole = (statistics.median(times) for times in zip(*it.took))
    host.say(f"{BOOTS} boots: the client looked {len(lines)} times, saw the file system {saw} times, was refused "
             f"{refused} times; a boot took {up:.0f} s, with what follows {whole:.0f} s (medians)")
