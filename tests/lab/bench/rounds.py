"""The rounds of a race, kept as they come: what takes hours may be cut short, and gone on with."""

import hashlib
import json

import host
import machine


def identity(raced):
    """What rounds must have in common to be told together: the programs and the cases."""
    text = hashlib.sha256()
    for program in ("f3skeys", "examples/floor"):
        text.update((machine.release() / program).read_bytes())
    for case in raced:
        text.update(repr((case.name, case.pool, case.roots, case.ways, case.turns)).encode())
    return text.hexdigest()


def kept(raced):
    """The file that has the rounds of these programs and cases."""
    return host.cache() / f"speed-rounds-{identity(raced)[:16]}.json"


def keep(race, raced, rounds, seconds):
    """After each round; `seconds` is what all of them took."""
    text = json.dumps({"boots": race.boots, "rounds": rounds, "seconds": seconds, "told": race.told})
    new = kept(raced).with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.rename(kept(raced))


def done(raced):
    """After the last."""
    kept(raced).unlink(missing_ok=True)


def take(race, raced):
    """Goes on where a run was cut short: how many rounds it had, and how many seconds they took."""
    try:
        found = json.loads(kept(raced).read_text(encoding="utf-8"))
    except FileNotFoundError as none:
        raise host.LabError("no rounds of this program and these cases are kept: begin without --go-on") from none
    race.boots += found["boots"]
    race.told |= found["told"]
    return found["rounds"], found["seconds"]
