"""What the verbs cost that people and services ask all day, beside programs that are known."""

import asking
from bench import figures

# A dataset that the gate `nfs` is about.
ZFS_GET = "/usr/sbin/zfs get -Hp -o value mounted zdata/enc/nfsdata"
VERBS = ("gate nfs", "plan", "status", "rehearse")
TRACE = "/run/gate.strace"


def measure(node, rounds):
    """On a node that has come up well, round by round."""
    commands = {verb: f"/usr/sbin/f3skeys {verb}" for verb in VERBS}
    answers = asking.ask(node, "true", asking.TRIVIAL, ZFS_GET, *commands.values(), rounds=rounds, limit=1800)
    told = {verb: seconds(answers[command]) for verb, command in commands.items()}
    told |= {"true": seconds(answers[asking.TRIVIAL]), "zfs get": seconds(answers[ZFS_GET])}
    gate, get = answers[commands["gate nfs"]], answers[ZFS_GET]
    ratio = figures.spread([a / b for a, b in zip(gate.times, get.times)])
    trivial = figures.spread([a / b for a, b in zip(answers[asking.TRIVIAL].times, get.times)])
    return {"times": told, "gate_over_zfs_get": ratio, "true_over_zfs_get": trivial} | trace(node)


def seconds(told):
    """The spread of a question's times; one that was answered otherwise than well is no time."""
    if set(told.statuses) != {0}:
        return None
    return figures.spread([millis / 1000 for millis in told.times])


def trace(node):
    """What the system sees of one question to a gate. Processes are traced by a filter that lets all
    else run at full speed; with every call stopped, a gate may not answer in its own time on a busy
    host, and then there is no number of calls."""
    node.ok(f"strace -f -qq --seccomp-bpf -e trace=%process -o {TRACE} /usr/sbin/f3skeys gate nfs")
    execs = int(node.ok(f"grep -c -E ' execve(at)?[(]' {TRACE}"))
    status = node.sh(f"strace -f -qq -o {TRACE} /usr/sbin/f3skeys gate nfs").status
    calls = node.ok(f"grep -c -v -e ' resumed>' -e ' --- ' -e ' +++ ' {TRACE}")
    return {"gate_execs": execs, "gate_system_calls": None if status else int(calls)}
