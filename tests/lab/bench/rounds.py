"""The rounds of a race, kept as they come: what takes hours may be cut short, and gone on with."""

import hashlib
import json

import host
import machine


def kept():
    """The file that has them."""
    return host.cache() / "speed-rounds.json"


def identity(raced):
    """What rounds must have in common to be told together: the programs and the cases."""
    text = hashlib.sha256()
    for program in ("f3skeys", "examples/floor"):
        text.update((machine.release() / program).read_bytes())
    for case in raced:
        text.update(repr((case.name, case.pool, case.roots, case.ways)).encode())
    return text.hexdigest()


def keep(race, raced, rounds, seconds):
    """After each round; `seconds` is what all of them took."""
    text = json.dumps({"of": identity(raced), "boots": race.boots, "rounds": rounds, "seconds": seconds,
                       "told": race.told})
    new = kept().with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.rename(kept())


def take(race, raced):
    """Goes on where a run was cut short: how many rounds it had, and how many seconds they took."""
    try:
        found = json.loads(kept().read_text(encoding="utf-8"))
    except FileNotFoundError as none:
        raise host.LabError("no rounds are kept to go on with: begin without --go-on") from none
    if found["of"] != identity(raced):
        raise host.LabError("the rounds that are kept are of another program or other cases: begin without --go-on")
    race.boots += found["boots"]
    race.told |= found["told"]
    return found["rounds"], found["seconds"]
