"""The four ways from a locked node to a mounted one, and the rounds in which they alternate."""

import json

import base
import host
import stick
import vm
from bench import cases

# A way that has not ended by then has failed.
LIMIT = 900

# What of its passes f3skeys spends with the kernel: the part of `boot` that is named as the pool,
# and the part of `ready` that mounts.
MOUNTS = ("ready", "mounts")


def commands(case):
    """Each way of a case: the command up to the keys, and the one from there to the mounts. A list is a
    program with its arguments, as a unit starts one; several programs need a shell."""
    ours = ["f3skeys", "--config", f"/etc/bench-{case.name}.ron"]
    names = " ".join(case.names())
    # The stick is in and not mounted: so it is before every way, and each has to come to its keys.
    mount = "mount -t ufs -o ro,ufstype=44bsd /dev/sda /keys || exit 1"
    return {
        "f3skeys": {"load": ours + ["boot"], "mount": ours + ["ready"], "proof": ours + ["gate", "bench"]},
        # As FreeBSD's zfskeys and the article's scripts: for each root on its own two properties, a
        # check, and a load.
        "zfskeys' way": {
            "load": f"{mount}; for root in {names}; do place=$(zfs get -H -o value keylocation $root); "
                    "[ \"$(zfs get -H -o value keystatus $root)\" = unavailable ] || exit 1; "
                    "zfs load-key -n -L $place $root && zfs load-key -L $place $root || exit 1; done",
            "mount": ["zfs", "mount", "-va"]},
        "zfs load-key": {
            "load": f"{mount}; exec zfs load-key -a" if case.all_roots() else
                    f"{mount}; for root in {names}; do zfs load-key $root || exit 1; done",
            "mount": ["zfs", "mount", "-a"]},
        "floor": {"load": ["/root/floor"], "input": f"/root/floor-{case.name}", "mount": None},
    }


class Race:
    """The cases on a node; what came of it grows round by round."""

    def __init__(self, node, chosen, inserts):
        self.node, self.cases, self.pool, self.inserts = node, chosen, None, inserts
        self.told = {case.name: {way: [] for way in case.ways} for case in chosen}
        # Of how many boots of the machine the rounds are.
        self.boots = 1

    def prepare(self):
        """What the ways need in the machine."""
        self.node.write("/root/race", (base.GUEST / "race").read_bytes(), "0755")
        for case in self.cases:
            self.node.write(f"/etc/bench-{case.name}.ron", case.config(), "0600")
            self.node.write(f"/root/floor-{case.name}", case.floor())
        # The floor makes no directories, and it is the first where a run goes on with its round.
        self.node.ok(f"mkdir -p /keys {' '.join('/' + pool for pool in sorted({case.pool for case in self.cases}))}")
        # Programs come from memory, as they do for whoever is measured second.
        self.node.sh("f3skeys version; /root/floor < /dev/null; zfs version")

    def stick_of(self, case):
        """The smallest of the sticks that has all of a case's keys."""
        return self.inserts[min(count for count in self.inserts if count >= case.keys())]

    def insert(self, case):
        """Puts the case's stick in, in the place of another."""
        image = self.stick_of(case)
        if [image] != [inside for inside, _ in self.node.plugged.values()]:
            self.node.unplug()
            self.node.plug(image, stick.SERIAL)
            self.node.until("[ -b /dev/sda ]", 60, "the case's stick is there")
            self.node.ok("udevadm settle")

    def show(self, pool):
        """Only one pool at a time: `zfs mount -a` walks over every one there is."""
        if self.pool != pool:
            self.pool = None
            self.node.ok("zpool export -a", limit=LIMIT)
            self.node.ok(f"zpool import -N -o cachefile=none -d /dev/disk/by-id/virtio-{pool}-part1 {pool}", limit=LIMIT)
            self.pool = pool

    def round(self, raced, number):
        """Every way of every case in as many turns as the case has, each time beginning with another."""
        # Those of one pool together: to import a pool of a thousand datasets takes its time.
        for case in sorted(raced, key=lambda case: list(cases.POOLS).index(case.pool)):
            for turn in range(number * case.turns, (number + 1) * case.turns):
                first = turn % len(case.ways)
                self.take(case, case.ways[first:] + case.ways[:first])

    def take(self, case, order):
        """One turn of a case, kept."""
        for one in self.once(case, order):
            self.told[case.name][one["way"]].append(one)
            if "failed" in one:
                host.say(f"bench: {case.name}, {one['way']}: FAILED: {one['failed']}")

    def locked(self, case):
        """A case before any way: unmounted and locked."""
        self.insert(case)
        self.show(case.pool)
        wanted = {"roots": case.names(), "mounts": {}, "ways": []}
        self.node.ok("/root/race", json.dumps(wanted).encode(), limit=LIMIT)

    def once(self, case, order):
        """The ways in this order; a way that the stop-watch did not come to has failed, too."""
        ways = [{"name": way, **commands(case)[way]} for way in order]
        wanted = {"roots": case.names(), "mounts": case.datasets(), "ways": ways, "limit": LIMIT}
        try:
            self.insert(case)
            self.show(case.pool)
            done = self.node.sh("/root/race", json.dumps(wanted).encode(), limit=LIMIT * len(order))
            lines, why = [json.loads(line) for line in done.out.splitlines()], str(done.err)[-400:]
        except (vm.Failed, ValueError) as lost:
            lines, why = [], str(lost)[-400:]
        missing = set(order) - {line["way"] for line in lines}
        return lines + [{"way": way, "failed": f"not measured: {why}"} for way in missing]


def kernel_part(case, one):
    """The load-and-mount phase of f3skeys, in seconds."""
    wanted = {("boot", case.pool), MOUNTS}
    return sum(millis for verb, part, millis in one["phases"] if (verb, part) in wanted) / 1000
