#!/usr/bin/env python3
"""Order rc.d headers as rcorder(8) does and check where our scripts land.

usage: rcorder.py TABLE RELEASE SCRIPT...

TABLE holds the headers of FreeBSD's scripts, SCRIPT are ours, read as they are.
Exits 1 and names what is wrong: a cycle, or a script on the wrong side.
"""
import sys

# (earlier, later): what each part of the boot relies on.
RULES = [
    ("zpool", "f3skeys"), ("mountcritlocal", "f3skeys"),
    ("f3skeys", "zfskeys"), ("f3skeys", "zfs"), ("f3skeys", "zvol"), ("f3skeys", "zfsbe"),
    ("f3skeys", "f3sready"), ("zfs", "f3sready"), ("cleanvar", "f3sready"),
    ("FILESYSTEMS", "f3sready"), ("random", "f3sready"),
    ("f3sready", "netif"), ("f3sready", "devd"), ("f3sready", "mountd"), ("f3sready", "nfsd"),
    ("f3sready", "stunnel"), ("nfsd", "f3scarp"), ("stunnel", "f3scarp"), ("LOGIN", "f3scarp"),
]


class Cycle(Exception):
    pass


def read_table(path, release):
    """{script: {PROVIDE|REQUIRE|BEFORE: [names]}} of one release."""
    headers, known = {}, False
    with open(path) as table:
        for number, line in enumerate(table, 1):
            if line.startswith("#") or not line.strip():
                continue
            cells = [cell.split() for cell in line.split("|")]
            if len(cells) != 5 or len(cells[1]) != 1:
                sys.exit(f"{path}:{number}: not five columns")
            known = known or release in cells[0]
            if cells[0] == ["all"] or release in cells[0]:
                script = cells[1][0]
                if script in headers:
                    sys.exit(f"{path}:{number}: {script} twice in {release}")
                headers[script] = dict(zip(("PROVIDE", "REQUIRE", "BEFORE"), cells[2:]))
    if not known:
        sys.exit(f"{path}: no row for {release}")
    return headers


def read_script(path):
    """The header of one script: comment lines "# KEYWORD: names"."""
    header = {"PROVIDE": [], "REQUIRE": [], "BEFORE": []}
    with open(path) as script:
        for line in script:
            keyword, _, names = line.removeprefix("# ").partition(":")
            if line.startswith("# ") and keyword in header:
                header[keyword] += names.split()
    if not header["PROVIDE"]:
        sys.exit(f"{path}: provides nothing")
    return header


def edges(headers):
    """{script: the scripts that its own and others' headers put before it}."""
    providers = {}
    for script, header in headers.items():
        for name in header["PROVIDE"]:
            providers.setdefault(name, set()).add(script)
    after = {script: set() for script in headers}
    for script, header in headers.items():
        for name in header["REQUIRE"]:
            after[script] |= providers.get(name, set())
        for name in header["BEFORE"]:
            for later in providers.get(name, ()):
                after[later].add(script)
    return after


def order(after):
    """Depth first over the scripts by name; a script met on its own path is a cycle."""
    done, path = [], []

    def visit(script):
        if script in done:
            return
        if script in path:
            raise Cycle(" -> ".join(path[path.index(script):] + [script]))
        path.append(script)
        for earlier in sorted(after[script]):
            visit(earlier)
        path.pop()
        done.append(script)

    for script in sorted(after):
        visit(script)
    return done


def earlier_than(script, after):
    """All scripts that must have run before this one, however names sort."""
    found, todo = set(), [script]
    while todo:
        new = after[todo.pop()] - found
        found |= new
        todo += new
    return found


def main(table, release, *scripts):
    headers = read_table(table, release)
    for path in scripts:
        header = read_script(path)
        headers[header["PROVIDE"][0]] = header
    after = edges(headers)
    try:
        done = order(after)
    except Cycle as cycle:
        sys.exit(f"cycle: {cycle}")
    wrong = [f"{a} is not before {b}" for a, b in RULES if a not in earlier_than(b, after)]
    if wrong:
        sys.exit(", ".join(wrong))
    print(" ".join(done))


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
