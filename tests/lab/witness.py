"""Reads the kernel's trace of mounts and tells whether a replica could ever be written.

This is the lab's own witness: it knows nothing of what f3skeys says. See `guest/trace`.
"""

import re

# The trace, and how often each probe was hit and missed.
LOOK = "cat /sys/kernel/tracing/instances/lab/trace /sys/kernel/tracing/kprobe_profile"
SB_RDONLY = 1
EVENT = re.compile(r"^\s*(?P<who>.+?)-\d+\s+\[\d+\].*?\s(?P<when>[\d.]+): (?P<event>\w+): \(.*?\)(?P<rest>.*)$")
PROFILE = re.compile(r"^\s*(?P<event>[a-z]+)\s+\d+\s+(?P<missed>\d+)\s*$", re.M)
PROBES = {"mounted", "readonly", "freed", "volume"}
FIELD = re.compile(r'(\w+)=("[^"]*"|\S+)')


def events(log):
    """Every event as (time, name, fields)."""
    for line in log.splitlines():
        found = EVENT.match(line)
        if found:
            fields = {name: value.strip('"') for name, value in FIELD.findall(found["rest"])}
            yield found["when"], found["event"], fields


def is_whole(log):
    """Whether the kernel saw every event and kept it."""
    found = re.search(r"entries-in-buffer/entries-written: (\d+)/(\d+)", log)
    missed = {event: int(count) for event, count in PROFILE.findall(log)}
    return bool(found) and found[1] == found[2] != "0" and missed == dict.fromkeys(PROBES, 0)


def writable(log, replica):
    """Yields a complaint for every moment at which `replica` or something below could be written.

    A superblock of OpenZFS is known by its private data. Before it is mounted its readonly
    callback has run already, so callbacks are kept until its dataset is known, and dropped when
    it is freed.
    """
    if not is_whole(log):
        yield "the trace is empty or lost events: it proves nothing"
    seen, early, mounts = {}, {}, 0
    for when, event, fields in events(log):
        number = fields.get("fs")
        if event == "mounted" and fields["type"] == "zfs":
            seen[number] = name = fields["source"]
            mounts += 1
            if name == "(fault)":
                yield f"{when}: a dataset was mounted whose name the trace could not read"
            if within(name, replica):
                if not int(fields["flags"], 16) & SB_RDONLY:
                    yield f"{when}: {name} was mounted writable"
                yield from (f"{then}: {name} was being mounted writable" for then in early.get(number, ()))
            early.pop(number, None)
        elif event == "readonly" and fields["value"] == "0":
            if within(seen.get(number, ""), replica):
                yield f"{when}: {seen[number]} became writable"
            early.setdefault(number, []).append(when)
        elif event == "freed":
            seen.pop(number, None)
            early.pop(number, None)
    if not mounts:
        yield "the trace saw no mount of OpenZFS at all: it proves nothing"


def volume(log, disk):
    """Yields a complaint for every moment at which a volume's disk (`zd0`) could be written. The
    name must have belonged to that volume since the machine's start."""
    told = [(when, fields["value"]) for when, event, fields in events(log)
            if event == "volume" and fields["disk"] == disk]
    if not told:
        yield f"the trace saw nothing of {disk}: it proves nothing"
    yield from (f"{when}: {disk} became writable" for when, value in told if value == "0")


def mounted(log):
    """The datasets that were mounted, in order."""
    return [fields["source"] for _, event, fields in events(log)
            if event == "mounted" and fields["type"] == "zfs"]


def within(name, replica):
    """Whether a dataset is the replica or below it."""
    return name == replica or name.startswith(f"{replica}/")
