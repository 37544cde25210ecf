"""What is measured: pools, the roots of each case in them, and what each case is to show."""

import dataclasses
import json

KEYS = tuple(f"f0.lan.buetow.org:bench{number}" for number in range(1, 101))
# A node's stick holds its own keys and little else: sticks with so many of them, the smallest that will do
# is put in.
STICKS = (3, 16, 100)
CONFIG = """(
    node: "f0.lan.buetow.org",
    store: (label: "F3S_KEYS", serial: "4C530001", mountpoint: "/keys", wait_seconds: 60),
    roots: [{roots}],
    gates: [(name: "bench", needs: [mounted(path: "{path}", dataset: "{dataset}")])],
    // Emulation is slow; nothing waits for this.
    budget_seconds: 900,
)
"""


@dataclasses.dataclass(frozen=True)
class Root:
    """An encryption root: its name in the pool, its key, and how many file systems it makes with
    the children below it."""
    name: str
    key: str
    count: int


def roots(count, each):
    """Roots with the same number of file systems each."""
    return tuple(Root(f"r{number}", KEYS[number - 1], each) for number in range(1, count + 1))


def shared(count, total):
    """Roots that share so many file systems among them."""
    sizes = [total // count + (number < total % count) for number in range(count)]
    return tuple(Root(f"r{number}", KEYS[number - 1], size) for number, size in enumerate(sizes, 1))


def growing(*sizes):
    """A root for each number of file systems."""
    return tuple(Root(f"g{size}", key, size) for size, key in zip(sizes, KEYS))


# Pool to its roots, and how many datasets that nobody asks about lie beside them.
POOLS = {
    "b1": (roots(100, 1), 0),
    "b4": (roots(100, 4), 0),
    "balone": (roots(3, 1), 0),
    "bside": (roots(3, 1), 1000),
    "b1000": (shared(3, 1000), 0),
    "bgrow": (growing(1, 10, 100, 1000), 0),
}


def layout(name):
    """What `guest/bench-pools` needs to make a pool, as it must be the next time too."""
    made, unrelated = POOLS[name]
    return {"name": name, "roots": [[root.name, root.key, root.count] for root in made], "unrelated": unrelated}


@dataclasses.dataclass(frozen=True)
class Case:
    """Some roots of a pool, and the ways that are held against each other there."""
    name: str
    pool: str
    roots: tuple
    ways: tuple
    what: str
    # How many times a round every way has its turn.
    turns: int = 1

    def datasets(self):
        """Dataset to mountpoint, parents first: the pool's own, on which the roots lie, comes with them."""
        told = {self.pool: f"/{self.pool}"}
        for root in self.roots:
            names = [root.name] + [f"{root.name}/c{number}" for number in range(1, root.count)]
            told |= {f"{self.pool}/{name}": f"/{self.pool}/{name}" for name in names}
        return told

    def names(self):
        """The roots' full names."""
        return [f"{self.pool}/{root.name}" for root in self.roots]

    def keys(self):
        """How many of the keys, from the first on, it takes to have all of its own."""
        return max(KEYS.index(root.key) for root in self.roots) + 1

    def all_roots(self):
        """Whether the pool has no other roots, so that `zfs load-key -a` loads just these."""
        return len(self.roots) == len(POOLS[self.pool][0])

    def config(self):
        """The configuration in which f3skeys does this and nothing else."""
        lines = [f'(dataset: "{name}", key: "{root.key}", role: primary, required: true)'
                 for name, root in zip(self.names(), self.roots)]
        dataset = self.names()[0]
        return CONFIG.format(roots=", ".join(lines), dataset=dataset, path=self.datasets()[dataset])

    def floor(self):
        """The same as `examples/floor.rs` reads it."""
        keys = [f"key {name} /run/keys/{root.key}" for name, root in zip(self.names(), self.roots)]
        mounts = [f"mount {dataset} {path}" for dataset, path in self.datasets().items()]
        return "\n".join(keys + mounts) + "\n"


ALL = ("f3skeys", "zfskeys' way", "zfs load-key", "floor")
SOME = ("f3skeys", "zfs load-key", "floor")
FEW = ("f3skeys", "floor")


def number_of(file_systems):
    """In words."""
    return f"{file_systems} file system{'s' * (file_systems > 1)}"


def cases():
    """Every case, in the order of the table."""
    for each, pool in ((1, "b1"), (4, "b4")):
        for count in (3, 16, 100):
            # What is over in a tenth of a second is up to the scheduler's luck: only many turns tell.
            turns = 3 if (count, each) == (3, 1) else 1
            yield Case(f"{count}x{each}", pool, POOLS[pool][0][:count], ALL,
                       f"{count} roots of {number_of(each)}", turns)
    yield Case("1000fs", "b1000", POOLS["b1000"][0], ALL, "1000 file systems under 3 roots")
    yield Case("beside", "bside", POOLS["bside"][0], ALL, "3 roots beside 1000 unrelated datasets", 2)
    # As many turns as those with which it is compared.
    yield Case("alone", "balone", POOLS["balone"][0], FEW, "the same 3 roots alone", 2)
    for count in (1, 10):
        yield Case(f"roots{count}", "b1", POOLS["b1"][0][:count], SOME, f"growth: {count} of 100 roots")
    for root in POOLS["bgrow"][0]:
        # Minutes a round, and the line for `zfs mount -a` is plain without it.
        ways = FEW if root.count == 1000 else SOME
        yield Case(f"fs{root.count}", "bgrow", (root,), ways, f"growth: a root of {number_of(root.count)}")


# Number to case, for the two plots.
GROWTH = {
    "roots": {1: "roots1", 10: "roots10", 100: "100x1"},
    "file systems": {1: "fs1", 10: "fs10", 100: "fs100", 1000: "fs1000"},
}


def text(pools):
    """The layout of these pools as text, for a hash."""
    return json.dumps([layout(name) for name in pools])
