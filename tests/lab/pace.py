"""How slow this machine is: every start of a virtual machine is measured, and all limits grow with it."""

import host

# How long a start takes where the limits were chosen, in seconds.
USUAL = 60
# For the first start ever on a machine: nobody knows yet how slow it is.
FIRST = 3600
FILE = "start-seconds"


class Pace:
    """What was measured: by an earlier run, until this one has a start of its own."""

    def __init__(self):
        self.own, self.seconds = 0, None
        try:
            self.seconds = float((host.cache() / FILE).read_text(encoding="ascii"))
        except (OSError, ValueError):
            pass

    def measured(self, seconds):
        """A start took so long. The slowest of this run counts, and is kept for the next."""
        self.own = self.seconds = max(self.own, seconds)
        (host.cache() / FILE).write_text(f"{self.seconds:.0f}\n", encoding="ascii")

    def scaled(self, limit):
        """A limit, grown as far as starts here are slower than where it was chosen; never a shorter one."""
        return limit * max(1, (self.seconds or USUAL) / USUAL)

    def of_a_start(self, limit):
        """How long a start may take."""
        return FIRST if self.seconds is None else self.scaled(limit)
