"""How long a boot's part takes: f3skeys against the two usual ways, in one boot, alternating.

Under emulation only the ratios mean anything.
"""

import json
import statistics

import host
import pools
import stick

SIZES = (3, 16)
CONFIG = """(
    node: "f0.lan.buetow.org",
    store: (label: "F3S_KEYS", serial: "4C530001", mountpoint: "/keys", wait_seconds: 30),
    roots: [{roots}],
    gates: [],
)
"""

# Each way in two steps, with the roots in $roots and their keys in /run/keys.
WAYS = {
    "f3skeys": (
        "f3skeys --config /etc/bench.ron boot > /dev/null",
        "zfs mount -a && f3skeys --config /etc/bench.ron ready > /dev/null"),
    # As FreeBSD's zfskeys: two properties, a check, a load, for each root on its own.
    "zfskeys' way": (
        "for root in $roots; do zfs get -H -o value keylocation $root; zfs get -H -o value keystatus $root; "
        "zfs load-key -n -L file:///run/keys/${root#*/} $root; zfs load-key -L file:///run/keys/${root#*/} $root; "
        "done > /dev/null",
        "zfs mount -va > /dev/null"),
    "zfs load-key": (
        "for root in $roots; do zfs load-key -L file:///run/keys/${root#*/} $root; done",
        "zfs mount -a"),
}


def run(lab, rounds):
    """Measures every way `rounds` times for each number of roots; prints a table, keeps JSON."""
    node = lab.node("bench", ("zdata", "zroot", "zbench"))
    keys = lab.pools.keys(pools.BENCH_KEYS)
    sticks = stick.Sticks(lab.folder / "bench-sticks", keys)
    sticks.folder.mkdir()
    node.start([(sticks.good(), stick.SERIAL)])
    node.settled()
    prepare(node, lab)
    times = {size: measure(node, size, rounds) for size in SIZES}
    print(table(times), end="")
    path = host.cache() / "bench.json"
    path.write_text(json.dumps(summary(times, rounds), indent=2) + "\n", encoding="utf-8")
    print(f"kept in {path}")
    return 0


def prepare(node, lab):
    """The pool with the many roots, and for the other ways the keys as files in memory."""
    node.ok("systemctl mask --runtime f3skeys-late.service; zpool import -N zbench; mkdir -p /run/keys")
    for number, name in enumerate(pools.BENCH_KEYS, 1):
        node.ok(f"cat > /run/keys/r{number}", lab.pools.key(name))


def names(size):
    """The roots of a measurement."""
    return [f"zbench/r{number}" for number in range(1, size + 1)]


def measure(node, size, rounds):
    """Times of each way: a list of (keys loaded, all mounted) in seconds, after a first round thrown away."""
    roots = ", ".join(f'(dataset: "{name}", key: "f0.lan.buetow.org:bench{number}", role: primary, required: true)'
                      for number, name in enumerate(names(size), 1))
    node.write("/etc/bench.ron", CONFIG.format(roots=roots), "0600")
    times = {way: [] for way in WAYS}
    for number in range(rounds + 1):
        for way, steps in WAYS.items():
            one = once(node, size, steps)
            if number:
                times[way].append(one)
        host.say(f"{size} roots, round {number} of {rounds}")
    return times


def once(node, size, steps):
    """One way, once: timed inside the machine, from all locked to all mounted, and proven so."""
    load, mount = steps
    wanted = f"zfs get -H -o value keystatus,mounted {' '.join(names(size))} | grep -c -e '^available$' -e '^yes$'"
    script = f"""set -e
roots="{' '.join(names(size))}"
now() {{ cut -d' ' -f1 /proc/uptime; }}
begin=$(now); {load}
loaded=$(now); {mount}
mounted=$(now)
test "$({wanted})" = {2 * size}
echo $begin $loaded $mounted
zfs unmount -a; for root in $roots; do zfs unload-key $root; done
zfs mount -a; rm -rf /run/f3skeys; sync
"""
    begin, loaded, mounted = (float(word) for word in node.ok(script, limit=300).split())
    return loaded - begin, mounted - begin


def medians(times):
    """Of one way."""
    return [statistics.median(column) for column in zip(*times)]


def table(times):
    """The medians for people, and how many times longer than f3skeys the others take."""
    lines = [f"{'roots':>5}  {'way':<14}{'keys loaded':>14}{'all mounted':>14}{'ratio':>8}{'ratio':>8}"]
    for size, ways in times.items():
        ours = medians(ways["f3skeys"])
        for way, measured in ways.items():
            own = medians(measured)
            ratios = "".join(f"{a / b:>8.2f}" for a, b in zip(own, ours))
            lines.append(f"{size:>5}  {way:<14}{own[0]:>12.2f} s{own[1]:>12.2f} s{ratios}")
    return "\n".join(lines) + "\n"


def summary(times, rounds):
    """Everything, for machines."""
    return {"rounds": rounds, "unit": "seconds", "roots": {
        str(size): {way: {"loaded": [t[0] for t in measured], "mounted": [t[1] for t in measured],
                          "median_loaded": medians(measured)[0], "median_mounted": medians(measured)[1]}
                    for way, measured in ways.items()}
        for size, ways in times.items()}}
