"""The scenarios: each a function with a name and a one-line story, grouped by the boot they share."""

import dataclasses
import typing


@dataclasses.dataclass
class Scenario:
    """One story; `run` gets the node and the lab and raises when it does not come true. What it gives
    back, such as what it measured, is told with its line."""
    name: str
    story: str
    run: typing.Callable


@dataclasses.dataclass
class Group:
    """Scenarios that share one machine, in order; `start` switches it on."""
    name: str
    start: typing.Callable
    scenarios: list


GROUPS = []
LAST = ("guides", "guides_from_nothing", "rehearse", "replication", "backup", "rotation", "failover", "untouched", "soak",
        "guides_pair", "host_cases", "host_roots", "host_systemd", "host_services", "host_paths", "host_services_pair")


def group(start):
    """Makes a group of the function that brings its machine up."""
    made = Group(start.__name__, start, [])
    GROUPS.append(made)

    def scenario(story):
        def register(function):
            name = f"{made.name}-{function.__name__}".replace("_", "-")
            made.scenarios.append(Scenario(name, story, function))
            return function
        return register
    return scenario


def everything():
    """All groups, imported here so that they can import this module."""
    from scenarios import (  # noqa: F401
        backup, closing, doctor, failover, faults, firstday, gates, guides, guidespair, hostcases, hostile, hostpaths, hostroots, hostservices,
        hostsystemd, keys, late, locking, mounting, nostick, promotion, rehearse, replication, rotation, secrets, soak, store, untouched)
    # Those that take longest come last: what they need is tried by the others before.
    return sorted(GROUPS, key=lambda group: LAST.index(group.name) if group.name in LAST else -1)
