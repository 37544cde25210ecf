"""The tables for people, the plot, and the JSON; in the documentation only when that is asked for."""

import json
import re

import host
from bench import cases, figures, plot

DOCS = host.PROJECT / "docs"
BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"
MIB = 1024 * 1024


def grown(race):
    """Median seconds to all mounted: what grows, way, number."""
    told = {}
    for what, points in cases.GROWTH.items():
        if all(name in race for name in points.values()):
            told[what] = {way: line(race, points, way) for way in cases.SOME}
    return told


def line(race, points, way):
    """One way's points; those at which it is not measured, or never succeeded, are left out."""
    figure = {number: race[name]["ways"].get(way, {}).get("mounted") for number, name in points.items()}
    return {number: one["median"] for number, one in figure.items() if one}


def grown_in(runs):
    """The same of several runs: all points of a line are of one of them."""
    told = {}
    for run in runs:
        told |= grown(run["race"])
    return told


def pieces(run):
    """What a run has measured: its cases and its other parts."""
    return [*run["race"], *(part for part in PARTS if part in run)]


def turns(run, name):
    """How many turns of a case each of its ways has done; of another part, how many rounds the run had."""
    if name not in run["race"]:
        return run["conditions"]["rounds"]
    done = [one["mounted"] for one in run["race"][name]["ways"].values()]
    return min(figure["rounds"] if figure else 0 for figure in done)


def without(old, new):
    """An older run less what a newer one has measured again; what is between two cases goes with either."""
    left = {name: part for name, part in old.items() if name not in PARTS or name not in new}
    left["race"] = {name: case for name, case in old["race"].items() if name not in new["race"]}
    if not {"beside", "alone"} <= left["race"].keys():
        left["beside_over_alone"] = None
    return left


def page(told):
    """The runs that make the page from now on, the new one last: what it has not measured stays from before."""
    before = json.loads((DOCS / "speed.json").read_text(encoding="utf-8"))["runs"]
    left = [without(run, told) for run in before]
    return [run for run in left if pieces(run)] + [told]


def tables(told):
    """A run, as Markdown."""
    parts = [conditions(told["conditions"], told["seconds"])]
    if told["race"]:
        parts.append(race(told["race"]))
    if told["beside_over_alone"]:
        parts.append("3 roots beside 1000 unrelated datasets over the same 3 roots alone, all mounted: "
                     f"{figures.shown(told['beside_over_alone'], '')}\n")
    parts += [make(told[name]) for name, make in PARTS.items() if name in told and "failed" not in told[name]]
    return "\n".join(parts)


def conditions(told, seconds):
    """Where the figures come from."""
    boots = f" in {told['boots']} boots of the machine" if told["boots"] > 1 else ""
    # Only the race is timed: without it there is nothing to say.
    took = f" in {seconds // 60} minutes" if seconds >= 60 else ""
    return (f"**{told['date']} UTC**, {told['rounds']} rounds{boots}{took}: {told['f3skeys']} "
            f"(source of {told['source']}), "
            f"{told['openzfs'][0]} ({told['openzfs'][1]}), {told['kernel']}, {told['qemu']}; {told['machine']}. "
            "Medians, with the quartiles in brackets; the ratios are f3skeys over the other way, "
            "round by round.\n")


def race(told):
    """A line for each way of each case."""
    lines = ["| case | way | keys loaded | all mounted | ratio, keys loaded | ratio, all mounted | failed |",
             "|---|---|---|---|---|---|---|"]
    for case in told.values():
        for way, one in case["ways"].items():
            beside = one.get("f3skeys_beside_it", {"loaded": None, "mounted": None})
            lines.append(f"| {case['what']} | {way} | {figures.shown(one['loaded'])} | {figures.shown(one['mounted'])} "
                         f"| {figures.shown(beside['loaded'], '')} | {figures.shown(beside['mounted'], '')} "
                         f"| {len(one['failed']) or ''} |")
        ours, floor = case["ways"][figures.BASE], case["ways"].get("floor")
        if floor:
            lines.append(f"| {case['what']} | f3skeys, load and mount only | | {figures.shown(ours['kernel_part'])} "
                         f"| | {figures.shown(floor['kernel_part_beside_it'], '')} of the floor | |")
    return "\n".join(lines) + "\n"


def verbs(told):
    """What asking costs."""
    lines = ["| program | time |", "|---|---|"]
    lines += [f"| `{name}` | {figures.shown(figure)} |" for name, figure in told["times"].items()]
    return "\n".join(lines) + (f"\n\n`gate nfs` over `zfs get`: {figures.shown(told['gate_over_zfs_get'], '')}; "
                               f"{told['gate_execs']} exec, {told['gate_system_calls']} system calls.\n")


def size(told):
    """How big it is."""
    lines = ["| what | how much |", "|---|---|"]
    lines += [f"| binary, {name} | {bytes_ / MIB:.2f} MiB |" for name, bytes_ in told["binaries"].items()]
    lines += [f"| peak memory of `boot` with 100 roots: {name} | {mib(peak)} |"
              for name, peak in told["peak_memory"].items()]
    for verb, one in told["processes"].items():
        counted = f"{one['forks']}, {one['execs']}, {one['system_calls']}"
        lines.append(f"| `{verb}` with 100 roots: forks, execs, system calls | "
                     f"{counted if one['status'] == 0 else 'not measured'} |")
    return "\n".join(lines) + "\n"


def mib(peak):
    """A size for people."""
    return "not measured" if peak is None else f"{peak / MIB:.2f} MiB"


def detection(told):
    """What a late stick costs."""
    return (f"`boot` of 3 roots with the stick in: {figures.shown(told['stick_in'])}; from the kernel's word that "
            f"the disk is there, when it comes while `boot` waits: {figures.shown(told['stick_comes'])}, of which "
            f"neither reading nor loading keys: {figures.shown(told['added'])}.\n")


def demands(lines):
    """What had to be shown."""
    words = {True: "ok", False: "**FAIL**", None: "not even by the floor"}
    return "\n".join(["| demand | |", "|---|---|"]
                     + [f"| {one['what']} | {words[one['holds']]} |" for one in lines]) + "\n"


# The parts that are no race, and what tells them.
PARTS = {"verbs": verbs, "size": size, "detection": detection}


def text(runs, lines):
    """All of it, as Markdown."""
    plot_of_growth = ["![How cost grows](growth.svg)\n"] if grown_in(runs) else []
    return "\n".join([tables(run) for run in runs] + plot_of_growth + [demands(lines)])


def keep(runs, lines, in_docs):
    """Writes the JSON and the plot; into the project when asked to, with the tables."""
    place = DOCS if in_docs else host.cache()
    path = place / "speed.json"
    path.write_text(json.dumps({"runs": runs, "demands": lines}, indent=1) + "\n", encoding="utf-8")
    if grown_in(runs):
        (place / "growth.svg").write_text(plot.svg(grown_in(runs)), encoding="utf-8")
    if in_docs:
        old = (DOCS / "speed.md").read_text(encoding="utf-8")
        made = f"{BEGIN}\n{text(runs, lines)}{END}"
        new = re.sub(re.escape(BEGIN) + ".*" + re.escape(END), lambda _: made, old, flags=re.S)
        (DOCS / "speed.md").write_text(new, encoding="utf-8")
    return path
