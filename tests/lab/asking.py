"""How long an answer takes, measured inside the machine beside programs that are known: only the
ratios mean anything under emulation. See `guest/ask`."""

import dataclasses
import json
import shlex
import statistics

import base
from node import check

TRIVIAL = "/usr/bin/true"
# One property of one dataset: what a gate would cost that asked ZFS's own program.
ZFS_GET = "/usr/sbin/zfs get -Hp -o value mounted zdata"
# An answer must not cost more than starting so many trivial programs.
MOST = 5
ROUNDS = 15
# What a gate may take when something hangs, in milliseconds.
DEADLINE = 2000


@dataclasses.dataclass
class Told:
    """The answers to one question."""
    times: list
    statuses: list
    said: str

    def median(self):
        """In milliseconds."""
        return statistics.median(self.times)

    def beside(self, other):
        """How many times as much it costs: the median of all rounds."""
        return statistics.median(own / theirs for own, theirs in zip(self.times, other.times))


def ask(node, first, *questions, rounds=ROUNDS, limit=300):
    """Runs `first`, and asks each question at once and in each of the rounds after it."""
    node.write("/root/ask", (base.GUEST / "ask").read_bytes(), "0755")
    words = ["/root/ask", str(rounds), first, *questions]
    answers = json.loads(node.ok(shlex.join(words), limit=limit))
    return {question: Told(**told) for question, told in answers.items()}


def gate(name):
    """The question for a gate."""
    return f"/usr/sbin/f3skeys gate {name}"


def closes(node, fault, *names, words=(), status=1, with_zfs=True):
    """Makes something untrue and demands that the very next answer of each gate, and every later
    one, is `status` with these words, at the price of a few trivial programs; says the medians."""
    for name in names:
        node.check_open(name)
    beside = (TRIVIAL, ZFS_GET) if with_zfs else (TRIVIAL,)
    answers = ask(node, fault, *map(gate, names), *beside)
    for name in names:
        told = answers[gate(name)]
        check(set(told.statuses) == {status}, f"gate {name} answered {told.statuses}: {told.said}")
        for word in (*words, *([] if told.said.strip() else ["a reason"])):
            check(word in told.said, f"gate {name} does not say `{word}`: {told.said}")
    return prices(answers, *names)


def prices(answers, *names):
    """Demands that gates answer quickly, round by round beside the others of the same round, which
    a busy host slows down alike; gives the medians in words."""
    trivial, zfs = answers[TRIVIAL], answers.get(ZFS_GET)
    said = f"true {trivial.median():.0f} ms" + (f", zfs get {zfs.median():.0f} ms" if zfs else "")
    for name in names:
        told = answers[gate(name)]
        said += f", gate {name} {told.median():.0f} ms"
        check(told.beside(trivial) <= MOST, f"an answer costs more than {MOST} trivial programs: {said}")
        check(not zfs or told.beside(zfs) < 1, f"an answer costs more than a `zfs get`: {said}")
    return said
