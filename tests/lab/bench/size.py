"""How big the program is, how much memory a boot takes, how many processes and system calls."""

import json

import base
import host
import machine

TRACE = "/run/boot.strace"
FORKS = "clone|clone3|fork|vfork"


def binaries():
    """The stripped release binaries that are there, in bytes."""
    places = {"Linux": machine.release() / "f3skeys",
              "FreeBSD": machine.release().parent / "x86_64-unknown-freebsd/release/f3skeys"}
    return {name: path.stat().st_size for name, path in places.items() if path.exists()}


def measure(race, case):
    """Of `boot` and `ready` in a case, each on its own, all locked before `boot`."""
    program = "/usr/sbin/f3skeys --config /etc/bench-%s.ron" % case.name
    race.node.write("/root/peak", (base.GUEST / "peak").read_bytes(), "0755")
    race.locked(case)
    memory = peaks(race.node, f"{program} boot")
    race.locked(case)
    counts = {verb: count(race.node, f"{program} {verb}") for verb in ("boot", "ready")}
    race.locked(case)
    return {"binaries": binaries(), "peak_memory": memory, "processes": counts}


def peaks(node, command):
    """In bytes: the highest of f3skeys and its own forks, and of each other program."""
    told = json.loads(node.ok(f"/root/peak {command}", limit=900))
    if told["status"]:
        host.say(f"bench: `{command}` exits {told['status']}: its memory is that of no good boot")
        return {"f3skeys": None}
    highest = {}
    for one in told["processes"]:
        if one["program"].endswith("/strace"):
            continue
        name = "f3skeys" if one["own"] else one["program"].rsplit("/", 1)[-1]
        highest[name] = max(one["bytes"], highest.get(name, 0))
    return highest


def count(node, command):
    """System calls, forks and execs of a command and all that it starts."""
    done = node.sh(f"strace -f -qq -o {TRACE} {command}", limit=900)
    if done.status:
        host.say(f"bench: `{command}` with every system call stopped exits {done.status}: {done.err[-400:]}")
    # A call that another process cut in two is counted where it is resumed.
    calls = f"grep -v -e '<unfinished' -e ' --- ' -e ' +++ ' {TRACE}"
    return {"status": done.status,
            "system_calls": int(node.ok(f"{calls} | wc -l")),
            "forks": int(node.ok(f"{calls} | grep -c -E ' ({FORKS}|<... ({FORKS}) resumed>).* = [0-9]+$' || true")),
            "execs": int(node.ok(f"{calls} | grep -c -E ' (execve|<... execve resumed>).* = 0$' || true"))}
