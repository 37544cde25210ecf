"""What the figures have to show; every line is ok or FAIL, or says that the floor does not hold it: where
the kernel alone takes longer than a demand allows, no program can do what it asks."""

from bench import cases, figures, paper

MIB = 1024 * 1024
# At most this much of the other way's time, at every size there is.
LOADED = {"zfskeys' way": 0.15, "zfs load-key": 1.0}
# The same for all mounted; by the number of roots.
MOUNTED = {"zfskeys' way": {3: 0.2, 16: 0.2, 100: 0.2}, "zfs load-key": {3: 0.4, 16: 0.4, 100: 0.7}}
BY_ROOTS = ("3x1", "16x1", "100x1", "3x4", "16x4", "100x4")
KERNEL_PART = 1.3
BESIDE = 1.1
DETECTION = 0.1
GATE = 0.1
MEMORY = 8 * MIB
BINARY = 3 * MIB
# Of a tenfold number the last step may cost so many times as much a piece as the one before it.
LINEAR = 1.5
# So many times each way has done it, for a figure of the page.
TURNS = 7


class Demands:
    """Counts and tells."""

    def __init__(self):
        self.lines, self.failed, self.beyond = [], 0, 0

    def at_most(self, what, figure, most, unit="", floor=None, of="the floor"):
        """One demand; what could not be measured does not hold. `floor` is what the floor has there, which
        for a question is a program that does nothing."""
        value = figure["median"] if isinstance(figure, dict) else figure
        holds = value is not None and value <= most
        if value is not None and not holds and floor and floor["median"] > most:
            return self.out_of_reach(f"{what}: {figures.shown(figure, unit)}, at most {most:g}{unit}: {of} alone "
                                     f"has {figures.shown(floor, unit)}")
        shown = "not measured" if value is None else \
            figures.shown(figure, unit) if isinstance(figure, dict) else f"{value:.2f}{unit}"
        return self.tell(holds, f"{what}: {shown}, at most {most:g}{unit}")

    def out_of_reach(self, what):
        """One line that is neither ok nor FAIL."""
        self.beyond += 1
        self.lines.append({"holds": None, "what": what})
        print(f"---- {what}", flush=True)

    def tell(self, holds, what):
        """One line."""
        self.failed += not holds
        self.lines.append({"holds": bool(holds), "what": what})
        print(f"{'ok  ' if holds else 'FAIL'} {what}", flush=True)

    def page(self, runs, names):
        """Of a page: each of these cases and parts is on it, and measured long enough."""
        turns = {name: paper.turns(run, name) for run in runs for name in paper.pieces(run)}
        for name in names:
            if turns.get(name, 0) < TURNS:
                self.tell(False, f"{name}: {turns.get(name, 0)} turns, at least {TURNS}")
        for what in cases.GROWTH.keys() - paper.grown_in(runs).keys():
            self.tell(False, f"growth in {what}: not measured in one run")
        if not any(run["beside_over_alone"] for run in runs):
            self.tell(False, "beside: all mounted, over the same roots alone: not measured in one run")

    def run(self, told):
        """Of one run."""
        if told["race"]:
            self.race(told["race"], told["beside_over_alone"])
        for what, points in paper.grown(told["race"]).items():
            self.growth(what, cases.GROWTH[what], points[figures.BASE])
        for part in paper.PARTS:
            if part in told:
                self.part(part, told[part])

    def race(self, told, beside):
        """Of the ways beside one another."""
        for name, case in told.items():
            self.case(name, case)
        if beside:
            self.at_most("beside: all mounted, over the same roots alone", beside, BESIDE)

    def case(self, name, case):
        """Of one case."""
        ours, others = case["ways"][figures.BASE], case["ways"]
        self.tell(not ours["failed"], f"{name}: f3skeys did it in every round"
                  + (f", but {len(ours['failed'])} times not: {' '.join(ours['failed'][0].split())[:160]}"
                     if ours["failed"] else ""))
        if "zfskeys' way" not in others:
            return
        for way, most in LOADED.items():
            self.at_most(f"{name}: keys loaded, f3skeys over {way}", others[way]["f3skeys_beside_it"]["loaded"], most,
                         floor=others[way]["floor_beside_it"]["loaded"])
        for way, most in MOUNTED.items():
            if name in BY_ROOTS:
                self.at_most(f"{name}: all mounted, f3skeys over {way}",
                             others[way]["f3skeys_beside_it"]["mounted"], most[case["roots"]],
                             floor=others[way]["floor_beside_it"]["mounted"])
        self.at_most(f"{name}: load-and-mount phase over the floor",
                     others["floor"]["kernel_part_beside_it"], KERNEL_PART)

    def growth(self, what, wanted, points):
        """`points` maps numbers to seconds: what a piece costs must not grow with their number."""
        numbers = sorted(wanted)
        if set(numbers) != points.keys():
            return self.tell(False, f"growth in {what}: measured only at {sorted(points)} of {numbers}")
        costs = [(points[b] - points[a]) / (b - a) for a, b in zip(numbers, numbers[1:])]
        return self.at_most(f"growth in {what}: a piece from {numbers[-2]} to {numbers[-1]} over one from "
                            f"{numbers[-3]} to {numbers[-2]}", costs[-1] / costs[-2] if costs[-2] > 0 else None, LINEAR)

    def part(self, name, told):
        """Of what is no race; a part that could not be measured shows nothing."""
        if "failed" in told:
            return self.tell(False, f"{name}: not measured: {' '.join(told['failed'].split())[:160]}")
        return getattr(self, name)(told)

    def verbs(self, told):
        """Of the verbs."""
        # Under emulation to start any program takes longer than that.
        self.at_most("gate over one `zfs get` of its dataset", told["gate_over_zfs_get"], GATE,
                     floor=told["true_over_zfs_get"], of="`true`")
        self.tell(told["gate_execs"] == 1, f"gate: {told['gate_execs']} exec in its system-call trace, its own: 1")

    def size(self, told):
        """Of the program and its memory."""
        for name, size in told["binaries"].items():
            self.at_most(f"binary for {name}", size / MIB, BINARY / MIB, " MiB")
        peak = told["peak_memory"]["f3skeys"]
        self.at_most("peak resident memory of boot with 100 roots", peak and peak / MIB, MEMORY / MIB, " MiB")

    def detection(self, told):
        """Of a stick that comes while `boot` waits."""
        self.at_most("stick readable to keys loaded: detection adds", told["added"], DETECTION, " s")
