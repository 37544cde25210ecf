"""Two nodes and one address, by the project's example for keepalived: f0 is at home, f1 stands by
with a replica. The stories share the state in which the one before has left both.
"""

from node import check, says
from pair import COPY, SERIAL, SERVED, Client, Pair, check_replica
from scenarios import group
import base
import host

VIP = "10.77.0.100"
NAME = "f3s-storage-ha"
HAS = f"test -n \"$(ip -o address show to {VIP})\""
JOB = "systemctl start f3s-failback.service"


class Address:
    """The pair with its address, and a client on f1 that goes by it."""

    def __init__(self, lab):
        furnish = f'{base.GUEST}/failover "$root" $name {host.PROJECT}/examples/f3s'
        self.pair = Pair(lab, "failover", life=3600, furnish=furnish)
        self.f0, self.f1 = self.pair.f0, self.pair.f1
        self.good = [(lab.sticks.good(), SERIAL["f0"])]

    def at(self, one):
        """Waits until a node has the address and serves, and the other has neither."""
        other = self.f1 if one is self.f0 else self.f0
        one.until(f"{HAS} && systemctl is-active -q nfs-server", 240, f"{one.folder.name} has the address and serves")
        if other.on:
            other.until(f"! {HAS} && ! systemctl is-active -q nfs-server", 120,
                        f"{other.folder.name} has no address and serves nothing")

    def stays(self, one, words):
        """The failback job runs, as it does each minute, and the address stays where it is: the gate is
        closed or cannot tell, and says why."""
        for _ in range(2):
            self.f0.ok(JOB)
            check(self.f0.sh(HAS).status == 1, "the address went home")
        self.at(one)
        answer = self.f0.gate("failback")
        check(answer.status in (1, 2), answer)
        says(answer, *words)

    def client(self, command):
        """What a client on f1 gets who mounts the address and runs a command there."""
        return self.f1.sh(f"timeout 60 mount -t nfs -o vers=4.2,soft,timeo=50,retrans=2,retry=0 {VIP}:/data/nfs /mnt && "
                          f"{{ cd /mnt; {command}; status=$?; cd /; umount /mnt; exit $status; }}")

    def sees(self, *names):
        """The client sees the sentinel and these files, and not the directory underneath."""
        seen = self.client("ls -A")
        check(seen.status == 0 and "BARE" not in seen.out, seen)
        says(seen, "SENTINEL", *names)

    def writes(self, name):
        """The client writes a file."""
        done = self.client(f"echo {name} > {name} && sync {name}")
        check(done.status == 0, done)
        self.sees(name)


def failover(lab):
    """Both on, the address at home, a client that never rests."""
    made = Address(lab)
    made.pair.start()
    made.f0.address = made
    made.loop = Client(made.f1, NAME)
    return made.f0


scenario = group(failover)


def send(one, source, then, now, peer, target):
    """An incremental raw stream of each dataset from node to node, received without any force."""
    for child in ("", "/deep"):
        one.ok(f"zfs send -w -I @{then} {source}{child}@{now} | ssh {peer}-data zfs receive -u {target}{child}")


@scenario("both powered on: after the failback job the address is at home, and a client reads and writes")
def home(node, lab):
    it = node.address
    node.until(f"{JOB} && {HAS}", 240, "the address is at home")
    it.at(node)
    it.writes("WRITTEN-AT-HOME")
    node.ok(f"zfs snapshot -r {SERVED}@first")
    send(node, SERVED, "sent", "first", "f1", COPY)
    it.writes("WRITTEN-AFTER-THE-LAST-SNAPSHOT")


@scenario("the home node's power is cut: the standby takes the address and serves its replica, read-only")
def dies(node, lab):
    it = node.address
    node.cut()
    it.at(it.f1)
    it.sees("WRITTEN-AT-HOME")
    answer = it.client("touch X")
    check(answer.status != 0 and "Read-only" in answer.err, answer)
    check_replica(it.f1, COPY)


@scenario("the home node is back, with a person's block file: no failback; nor while the standby does not answer")
def held_back(node, lab):
    it = node.address
    node.power(it.good)
    node.until("f3skeys gate nfs && systemctl is-active -q keepalived", 240, "all is well on the home node")
    node.ok("touch /data/nfs/nfs.NO_AUTO_FAILBACK")
    it.stays(it.f1, ["NO_AUTO_FAILBACK"])
    node.ok("rm /data/nfs/nfs.NO_AUTO_FAILBACK")
    it.f1.ok("mv /root/.ssh/authorized_keys /root/.ssh/kept")
    it.stays(it.f1, ["cannot tell"])
    it.f1.ok("mv /root/.ssh/kept /root/.ssh/authorized_keys")


@scenario("nothing holds it back any more: the job sees the gate failback open, and the address is at home")
def comes_back(node, lab):
    it = node.address
    node.until(f"{JOB} && {HAS}", 120, "the address is at home")
    it.at(node)
    it.sees("WRITTEN-AT-HOME", "WRITTEN-AFTER-THE-LAST-SNAPSHOT")
    it.writes("WRITTEN-AFTER-FAILBACK")


@scenario("the home node comes back without its stick: no failback, the standby goes on serving")
def no_stick(node, lab):
    it = node.address
    node.cut()
    it.at(it.f1)
    node.power()
    node.settled()
    it.stays(it.f1, [])
    it.sees("WRITTEN-AT-HOME")


@scenario("meanwhile the replica was promoted and written: the stick is put in, all opens, and there is no failback")
def promoted(node, lab):
    it = node.address
    done = it.f1.f3skeys(f'promote {COPY} --reason "f0 has lost its stick"')
    check(done.status == 0, done)
    it.at(it.f1)
    it.writes("WRITTEN-ON-THE-STANDBY")
    node.plug(*it.good[0])
    node.until("f3skeys gate write", 120, "all is open on the home node but failback")
    it.stays(it.f1, ["promoted", "f0 has lost its stick"])
    it.sees("WRITTEN-ON-THE-STANDBY")


@scenario("the home node's power is cut once more: it comes back, all is open, and still there is no failback")
def promoted_over_boots(node, lab):
    it = node.address
    node.cut()
    node.power(it.good)
    node.settled()
    it.stays(it.f1, ["promoted"])
    it.sees("WRITTEN-ON-THE-STANDBY")


@scenario("demoted: still no failback, for what was written on the standby is not at home")
def demoted(node, lab):
    it = node.address
    done = it.f1.f3skeys(f"demote {COPY}")
    check(done.status == 0, done)
    says(done, "f3skeys-demoted-1")
    it.stays(it.f1, ["f3skeys-demoted-1"])
    it.sees("WRITTEN-ON-THE-STANDBY")
    check(it.client("touch X").status != 0, "the replica can still be written")


@scenario("brought home by a raw send, a person having kept and rolled back the rest: the gate opens, nothing is lost")
def brought_home(node, lab):
    it = node.address
    # What f0 wrote after its last snapshot that arrived stands in the way of the stream.
    node.ok(f"zfs snapshot {SERVED}@f0-last && zfs send -w {SERVED}@f0-last | zfs receive -u -o readonly=on zdata/f0-last && "
            f"zfs rollback -r {SERVED}@first")
    send(it.f1, COPY, "first", "f3skeys-demoted-1", "f0", SERVED)
    node.until(f"{JOB} && {HAS}", 60, "the address is at home")
    it.at(node)
    it.sees("WRITTEN-AT-HOME", "WRITTEN-ON-THE-STANDBY")
    it.writes("WRITTEN-AT-HOME-AGAIN")
    node.ok(f"zfs snapshot -r {SERVED}@again")
    send(node, SERVED, "f3skeys-demoted-1", "again", "f1", COPY)
    it.f1.ok("test -e /data/nfs/WRITTEN-AT-HOME-AGAIN")


@scenario("in all of this a client of the address saw the right file system, or was refused")
def client(node, lab):
    lines = node.address.loop.lines()
    check(not Client.wrong(lines), Client.wrong(lines))
    saw, refused = (sum(f" {word}: " in line for line in lines) for word in ("saw", "refused"))
    check(saw > 10 and refused, f"it saw the file system {saw} times and was refused {refused} times")
    host.say(f"the client saw the file system {saw} times and was refused {refused} times")
