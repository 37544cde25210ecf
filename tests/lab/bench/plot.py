"""How cost grows, as an SVG: two panels, both axes logarithmic, a line for each way."""

import math

WIDTH, HEIGHT, LEFT, TOP, GAP, SIDE = 860, 400, 60, 50, 70, 340
PANEL = 280
COLOURS = {"f3skeys": "#0b6e4f", "zfs load-key": "#c8553d", "floor": "#7a7a7a"}


def decades(values):
    """The powers of ten around these values."""
    low = math.floor(math.log10(min(values)))
    high = math.ceil(math.log10(max(values)))
    return range(low, max(high, low + 1) + 1)


class Panel:
    """One pair of axes."""

    def __init__(self, left, title, lines):
        self.left, self.title, self.lines = left, title, lines
        points = [point for line in lines.values() for point in line.items()]
        self.xs = decades([number for number, _ in points])
        self.ys = decades([seconds for _, seconds in points])

    def x(self, number):
        """Where a number is."""
        return self.left + (math.log10(number) - self.xs[0]) / (self.xs[-1] - self.xs[0]) * SIDE

    def y(self, seconds):
        """Where a time is."""
        return TOP + PANEL - (math.log10(seconds) - self.ys[0]) / (self.ys[-1] - self.ys[0]) * PANEL

    def draw(self):
        """Frame, grid, lines and names."""
        bottom, right = TOP + PANEL, self.left + SIDE
        yield f'<rect x="{self.left}" y="{TOP}" width="{SIDE}" height="{PANEL}" fill="none" stroke="#999"/>'
        yield text(self.left + SIDE / 2, bottom + 40, self.title, "middle")
        for power in self.xs:
            x = self.x(10 ** power)
            yield f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{bottom}" stroke="#ddd"/>'
            yield text(x, bottom + 18, f"{10 ** power}", "middle")
        for power in self.ys:
            y = self.y(10 ** power)
            yield f'<line x1="{self.left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="#ddd"/>'
            yield text(self.left - 6, y + 4, f"{10.0 ** power:g} s", "end")
        for way, line in self.lines.items():
            places = [(self.x(number), self.y(seconds)) for number, seconds in sorted(line.items())]
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            yield f'<polyline points="{path}" fill="none" stroke="{COLOURS[way]}" stroke-width="2"/>'
            yield from (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{COLOURS[way]}"/>' for x, y in places)


def text(x, y, words, anchor="start", colour="#222"):
    """A few words."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{words}</text>'


def svg(grown):
    """`grown` maps a panel's title to ways, and those to numbers and seconds."""
    panels = []
    for title, lines in grown.items():
        known = {way: line for way, line in lines.items() if line}
        if known:
            panels.append(Panel(LEFT + len(panels) * (SIDE + GAP), f"number of {title}", known))
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
             'font-family="sans-serif" font-size="12">',
             f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']
    for place, (way, colour) in enumerate(COLOURS.items()):
        parts.append(text(LEFT + place * 140, 30, f"● {way}", colour=colour))
    for panel in panels:
        parts += panel.draw()
    return "\n".join(parts + ["</svg>"]) + "\n"
