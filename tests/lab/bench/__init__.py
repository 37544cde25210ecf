"""How fast f3skeys is, beside every way people do it today: in one machine, in one run, alternating.

Under emulation only ratios of one run mean anything. What the ratios have to be is in `demands.py`.
"""

import fnmatch
import json
import platform
import time

import host
import machine
import stick
import vm
from bench import rounds as kept
from bench import cases, demands, disks, figures, late, paper, prices, size, ways

# Parts of the bench that are no race: their names on the command line, and the case they need.
PRICES, SIZE, DETECTION = "verbs", "size", "detection"
NEEDS = {SIZE: "100x1", DETECTION: "alone"}
LIFE = 12 * 3600


def wanted(patterns):
    """The names of the cases and parts that were asked for: all, if nothing was."""
    names = [case.name for case in cases.cases()] + [PRICES, SIZE, DETECTION]
    chosen = [name for name in names if not patterns or any(fnmatch.fnmatch(name, p) for p in patterns)]
    if not chosen:
        raise host.LabError(f"the bench has {' '.join(names)}")
    return chosen


def run(lab, rounds, patterns, keep, go_on=False):
    """Measures, prints, keeps; 1 if something is not as it has to be. May go on with the rounds of a run
    that was cut short."""
    chosen = wanted(patterns)
    raced = [case for case in cases.cases() if case.name in chosen]
    needed = {NEEDS.get(name, name) for name in chosen}
    needed = [case for case in cases.cases() if case.name in needed]
    images = disks.build({case.pool: None for case in needed})
    node, inserts = booted(lab, images)
    told = {"conditions": conditions(node, rounds)}
    if PRICES in chosen:
        told[PRICES] = tried(prices.measure, node, rounds)
    silence(node)
    race = ways.Race(node, needed, inserts)
    race.prepare()
    told |= alternate(race, raced, rounds, go_on)
    told["conditions"]["boots"] = race.boots
    told |= others(race, chosen, rounds)
    status = judged(told, keep)
    kept.done(raced)
    return status


def alternate(race, raced, rounds, go_on):
    """The race: every way of every case, round by round."""
    done, seconds = kept.take(race, raced) if go_on else (0, 0)
    for number in range(done, rounds if raced else 0):
        began = time.monotonic()
        race.round(raced, number)
        took = time.monotonic() - began
        seconds += took
        kept.keep(race, raced, number + 1, seconds)
        host.say(f"bench: round {number + 1} of {rounds} took {took:.0f} s")
        so_far(race, raced)
    return {"race": figures.of(race, raced), "beside_over_alone": figures.beside_alone(race), "seconds": round(seconds)}


def so_far(race, raced):
    """What f3skeys takes of each other way's time by now: for whoever waits for hours."""
    for name, case in figures.of(race, raced).items():
        beside = {way: one["f3skeys_beside_it"] for way, one in case["ways"].items() if way != figures.BASE}
        told = [f"{way} {figures.shown(one['loaded'], '')} loaded, {figures.shown(one['mounted'], '')} mounted"
                for way, one in beside.items()]
        host.say(f"bench: so far, {name}, f3skeys over {'; '.join(told)}")


def booted(lab, images):
    """A node with a stick in and with the bench's disks; and its sticks by the number of keys on them."""
    node = lab.node("bench")
    node.life = LIFE
    for name, path in images.images.items():
        node.disks[name] = node.overlay(name, path)
    inserts = {}
    for count in cases.STICKS:
        some = {name: images.keys[name] for name in cases.KEYS[:count]}
        sticks = stick.Sticks(lab.folder / f"bench-sticks-{count}", lab.pools.keys() | some)
        sticks.folder.mkdir()
        inserts[count] = sticks.good()
    node.start([(inserts[cases.STICKS[0]], stick.SERIAL)])
    node.settled()
    node.quiet()
    machine.built("--example", "floor")
    node.write("/root/floor", (machine.release() / "examples/floor").read_bytes(), "0755")
    node.ok("mkdir -p /run/keys && chmod 700 /run/keys")
    for name, path in images.keys.items():
        node.write(f"/run/keys/{name}", path.read_bytes(), "0400")
    return node, inserts


def silence(node):
    """Nothing but the bench works on pools from now on."""
    node.ok("systemctl stop nfs-server nfs-mountd; exportfs -f; zfs unmount -a; zpool export -a", limit=300)


def others(race, chosen, rounds):
    """The parts that are no race."""
    told, by_name = {}, {case.name: case for case in race.cases}
    if SIZE in chosen:
        told[SIZE] = tried(size.measure, race, by_name[NEEDS[SIZE]])
    if DETECTION in chosen:
        told[DETECTION] = tried(late.measure, race, by_name[NEEDS[DETECTION]], rounds)
    return told


def tried(measure, *words):
    """A part of the bench; one that fails must not take the others with it."""
    try:
        return measure(*words)
    except vm.Failed as why:
        host.say(f"bench: {why}")
        return {"failed": str(why)}


def conditions(node, rounds):
    """What a figure means nothing without."""
    return {"rounds": rounds, "date": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
            "f3skeys": node.ok("f3skeys version").strip(), "source": source(),
            "openzfs": node.ok("zfs version").split(), "kernel": node.ok("uname -sr").strip(),
            "machine": "QEMU, plain emulation (TCG), "
            f"{node.cpus} processors, 2 GiB, on {platform.machine()}",
            "qemu": host.run("qemu-system-x86_64", "--version").splitlines()[0]}


def source():
    """The last commit that made the program another one; a `+` if there is more than it has."""
    def git(*words):
        return host.run("git", *words, "--", "src", "Cargo.toml", "Cargo.lock", cwd=host.PROJECT).strip()
    try:
        last, more = git("log", "-1", "--format=%h"), git("status", "--short")
    except (host.LabError, OSError):
        last, more = "", ""
    # A release's sources have no history.
    return last + "+" * bool(more) if last else "no known commit"


def judged(told, keep):
    """Demands, table, plot, JSON. What is kept is judged with all that the page has beside it."""
    runs = paper.page(told) if keep else [told]
    demand = demands.Demands()
    if keep:
        demand.page(runs, wanted([]))
    for run_of_page in runs:
        demand.run(run_of_page)
    place = paper.keep(runs, demand.lines, keep)
    print(paper.text(runs, demand.lines), end="")
    print(f"{len(demand.lines) - demand.failed - demand.beyond} ok, {demand.failed} FAIL, "
          f"{demand.beyond} that not even the floor holds; kept in {place}")
    return 1 if demand.failed else 0
