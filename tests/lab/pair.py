"""Nodes on one wire: f0 and f1, each with a replica of the other's data, a stick of its own, and
keys for ssh both ways. What f1 owns is `zpeer/data`, which f0 holds as `zdata/sink/f1/data`; what f0
serves is `zdata/enc/nfsdata`, which f1 holds as `zpeer/sink/f0/nfsdata`. A third one, f2, is new: it
has an empty disk, and an empty stick if it is given one.
"""

import time

import base
import host
import machine
import node
import stick
import vm
import wire
import witness

ADDRESS = {"f0": "10.77.0.10", "f1": "10.77.0.11", "f2": "10.77.0.12"}
SERIAL = {"f0": stick.SERIAL, "f1": "4C530011", "f2": "4C530012"}
# What an emulated kernel can do without.
LEAN = "mitigations=off apparmor=0 audit=0"
DISKS = {"f0": ("zdata", "zroot"), "f1": ("zpeer",)}
# What f2 makes its pool of.
NEW_DISK = "zroot"
SOURCE, SERVED, COPY = "zpeer/data", "zdata/enc/nfsdata", "zpeer/sink/f0/nfsdata"

F1_CONFIG = """(
    node: "f1.lan.buetow.org",
    store: (label: "F3S_KEYS", serial: "4C530011", mountpoint: "/keys", wait_seconds: 2),
    roots: [
        (dataset: "zpeer/data", key: "f1.lan.buetow.org:zdata", role: primary, required: true),
        (dataset: "zpeer/sink/f0/nfsdata", key: "f0.lan.buetow.org:zdata", role: replica, required: true),
    ],
    gates: [
        (name: "nfs", needs: [mounted(path: "/data/nfs", dataset: "zpeer/sink/f0/nfsdata")]),
    ],
    peers: [(name: "f0.lan.buetow.org", ssh: "root@f0.lan.buetow.org")],
)
"""
F0_CONFIG = machine.NODE_CONFIG.replace("wait_seconds: 30", "wait_seconds: 2").replace("    gates: [", """\
    peers: [(name: "f1.lan.buetow.org", ssh: "root@f1.lan.buetow.org")],
    replicas: [(of: "zdata/enc/nfsdata", node: "f1.lan.buetow.org", dataset: "zpeer/sink/f0/nfsdata")],
    gates: [
        (name: "fresh", needs: [not_promoted(peer: "f1.lan.buetow.org")]),
        (name: "home", needs: [gate("nfs"), present("/var/run/f3s-fresh")]),
        (name: "failback", needs: [gate("write"), gate("fresh"), absent("/data/nfs/nfs.NO_AUTO_FAILBACK")]),""")


F2_CONFIG = """(
    node: "f2.lan.buetow.org",
    store: (label: "F3S_KEYS", serial: "4C530012", mountpoint: "/keys", wait_seconds: 2),
    roots: [
        (dataset: "zroot/zdata", key: "f2.lan.buetow.org:zdata", role: primary, required: true),
        (dataset: "zroot/bhyve", key: "f2.lan.buetow.org:bhyve", role: primary, required: true),
    ],
    gates: [],
    peers: [
        (name: "f0.lan.buetow.org", ssh: "root@f0.lan.buetow.org"),
        (name: "f1.lan.buetow.org", ssh: "root@f1.lan.buetow.org"),
    ],
)
"""


class Pair:
    """Both nodes, switched off, with fresh disks; `life` is how long their machines may run,
    `furnish` a script that changes their images, which it finds at $root, with $name as theirs;
    `names` says that there are more than the two."""

    def __init__(self, lab, name, life=vm.LIFE_LIMIT, furnish="", names=("f0", "f1")):
        self.furnish, self.names = furnish, names
        self.lab, self.folder, self.ssh = lab, lab.folder / name, lab.folder / name / "ssh"
        self.ssh.mkdir(parents=True)
        self.key_pairs()
        self.wire = wire.Wire(self.folder / "wire.sock")
        caches = {"f0": lab.pools.cache, "f1": lab.pools.peer_cache}
        configs = {"f0": F0_CONFIG, "f1": F1_CONFIG, "f2": F2_CONFIG}
        for number, one in enumerate(names):
            image = self.image(one, configs[one], caches.get(one, "/dev/null"))
            made = node.Node(self.folder / one, base.folder(), image, self.disks(one))
            made.join(self.wire, number)
            # One each: the host is not expected to have four.
            made.life, made.cpus = life, 1
            lab.machines.append(made)
            setattr(self, one, made)

    def disks(self, one):
        """The pools of a node, or an empty disk."""
        if one in DISKS:
            return self.lab.pools.disks(*DISKS[one])
        empty = self.folder / "empty.img"
        host.run("truncate", "-s", "192M", empty)
        return {NEW_DISK: empty}

    def key_pairs(self):
        """What ssh needs: for each node a key for the question and one for replication."""
        for one in self.names:
            for name in (one, f"{one}-data"):
                host.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", self.ssh / name)

    def image(self, one, config, cache):
        """The lab's installed machine, made into one of the nodes."""
        out = machine.copied(self.lab.image, self.folder / f"{one}.img")
        (self.folder / f"{one}.ron").write_text(config, encoding="utf-8")
        machine.changed(out, f"""name={one}
{base.GUEST}/pair "$root" {one} {ADDRESS[one]} {self.ssh} {" ".join(self.names)}
install -m 0644 {cache} "$root/etc/zfs/zpool.cache"
install -m 0600 {self.folder}/{one}.ron "$root/etc/f3skeys.ron"
{self.furnish}
""")
        return out

    def start(self, sticks=None):
        """Switches all on with their sticks in. Those that know one another may ask one another."""
        good = self.lab.sticks.good()
        # Two machines have two stores, each with an identity of its own.
        sticks = sticks or {"f0": good, "f1": self.lab.sticks.own(self.lab.sticks.make("good-f1"), self.folder.name)}
        nodes = [getattr(self, one) for one in self.names]
        for name, one in zip(self.names, nodes):
            one.start([(sticks[name], SERIAL[name])], LEAN, wait=False)
        for one in nodes:
            one.wait_agent()
            one.settled()
        for one, peer in ((self.f0, "f1"), (self.f1, "f0")):
            self.let_ask(one, peer)
        return self

    @staticmethod
    def let_ask(one, peer, named=None):
        """Lets the peer ask its question, and nothing else, in the very line that the program prints;
        `named` is the name that it goes by, if that is not its first one."""
        line = one.ok(f"f3skeys receive --from {named or peer}.lan.buetow.org --print-authorized-keys-line")
        key = one.ok(f"cut -d ' ' -f 2 /root/.ssh/{peer}.pub").strip()
        node.check("ssh-ed25519 KEY " in line, line)
        one.ok("cat >> /root/.ssh/authorized_keys; sync", line.replace(" KEY ", f" {key} ").encode())


def check_replica(one, replica):
    """The kernel's own word on a node since its start: nothing at or below the replica, file system
    or volume, was writable for an instant. Returns the trace."""
    log = one.ok(witness.LOOK)
    for complaint in witness.writable(log, replica):
        raise vm.Failed(complaint)
    for disk in one.ok(f"for path in $(find /dev/zvol/{replica} -type l 2> /dev/null); do "
                       "basename $(readlink -f $path); done").split():
        for complaint in witness.volume(log, disk):
            raise vm.Failed(complaint)
    return log


class Client:
    """An NFS client that mounts another node's export again and again, and what it saw."""

    def __init__(self, one, server):
        self.one, self.log = one, f"/run/client-{server}.log"
        program = "/usr/local/lib/lab/client"
        one.write(program, (base.GUEST / "client").read_bytes(), "0755")
        one.ok(f"touch {self.log}; systemd-run -q --unit=client-{server} {program} {server} {self.log}")

    def lines(self, mark=0):
        """What it wrote down since a mark."""
        return self.one.ok(f"tail -n +{mark + 1} {self.log}").splitlines()

    def mark(self):
        """Now, as a mark: what it looks at from here on."""
        return len(self.lines())

    def forget(self):
        """Starts an empty log."""
        self.one.ok(f": > {self.log}")

    @staticmethod
    def wrong(lines):
        """What it must never see: anything but the dataset with its sentinel, or a refusal."""
        return [line for line in lines if " refused: " not in line
                and ("SENTINEL" not in line or "BARE" in line or " saw: " not in line)]

    def until(self, what, mark, words, limit=240):
        """Waits until what it saw since a mark is so."""
        deadline = time.monotonic() + limit
        while not what(self.lines(mark)):
            if time.monotonic() > deadline:
                raise vm.Failed(f"{words}: not within {limit} s\n" + "\n".join(self.lines(mark)[-10:]))
            time.sleep(1)

    def wait(self, served, mark):
        """Waits until it has looked once more and says that, which is the right thing, since a mark
        at which a boot began. Where nothing is served, nothing may have been seen in all that time."""
        now = self.mark()
        word = " saw: " if served else " refused: "
        self.until(lambda lines: any(word in line for line in lines[1:]), now, f"the client's{word}")
        lines = self.lines(mark)
        node.check(not self.wrong(lines), self.wrong(lines))
        node.check(served or not any(" saw: " in line for line in lines), f"served where nothing may be:\n{lines}")
