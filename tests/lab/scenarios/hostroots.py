"""Roots and key devices as real hosts have them: a pool for backups beside the primary, a promoted clone,
file systems that came up before their parent, and every disk that is nearly the right one."""

import re

from node import check, says
from scenarios import group
import stick

KEY = "f0.lan.buetow.org:zdata"
ROOT = "zdata/enc"
BACKUP = "zroot/backup"


def host_roots(lab):
    """A node whose stick may be written to, and a pool for backups: zroot."""
    node = lab.node("host-roots")
    node.start([(lab.sticks.own(lab.sticks.make("ext4-roots", fs="ext4"), "host-roots"), stick.SERIAL)])
    node.settled()
    node.quiet()
    return node


scenario = group(host_roots)


def rotate(node, config, arguments="", status=0):
    """Runs `rotate` for the key and demands its exit status."""
    done = node.f3skeys(f"rotate {KEY} {arguments}", config, limit=600)
    check(done.status == status, f"wanted exit {status}\n{done}")
    node.check_store_unmounted()
    return done


def opened(node, config):
    """What `rotate --status` says opens each root, and the standing of each generation."""
    text = rotate(node, config, "--status").out
    standings = dict(re.findall(r"^  generation \d+ (\w+): (\w+)$", text, re.M))
    roots = dict(re.findall(r"^  (\S+)(?: \(a replica\))?: opened by (\w+)$", text, re.M))
    return {root: standings[print_] for root, print_ in roots.items()}, standings


@scenario("a replica in a pool for backups on the same node, with the primary's key: rotated; retired only "
          "after the replica's own receive; never written to by any of it")
def backup_pool(node, lab):
    node.ok(f"set -e; zfs snapshot {ROOT}@b0; zfs send -w {ROOT}@b0 | zfs recv -u -o readonly=on -o mountpoint=none "
            f"-o setuid=off -o devices=off -o exec=off {BACKUP}")
    config = node.configure((
        '        (dataset: "zroot/bhyve"',
        f'        (dataset: "{BACKUP}", key: "{KEY}", role: replica, required: false),\n'
        '        (dataset: "zroot/bhyve"'))
    node.boot(config=config)
    check(node.get("keystatus", BACKUP) == "available", "the replica is not open")
    unwritten = f"zpool sync; zfs get -Hpo value written,guid {BACKUP}"
    before = node.ok(unwritten)
    planned = rotate(node, config, "--plan")
    check(f"change the key of {ROOT}" in planned.out and f"change the key of {BACKUP}" not in planned.out, planned)
    rotate(node, config)
    roots, standings = opened(node, config)
    check(roots == {ROOT: "current", BACKUP: "retained"}, (roots, standings))
    says(rotate(node, config, "--retire", 69), BACKUP, "-> ")
    check(node.ok(unwritten) == before, "the replica was written to")
    # The old key opens it at the next boot, and the next stream is received.
    node.ok(f"zfs unload-key {BACKUP}")
    node.boot(config=config)
    check(node.get("keystatus", BACKUP) == "available", "the replica is not open")
    node.ok(f"set -e; zfs snapshot {ROOT}@b1; zfs send -w -i @b0 {ROOT}@b1 | zfs recv -u {BACKUP}")
    roots, _ = opened(node, config)
    check(roots == {ROOT: "current", BACKUP: "current"}, roots)
    rotate(node, config, "--retire")
    check("retained" not in opened(node, config)[1].values(), opened(node, config))
    node.ok(f"zfs unload-key {BACKUP}")
    node.boot(config=config)
    check(node.get("keystatus", BACKUP) == "available", "the replica is not open")
    node.ok(f"zfs unload-key {BACKUP}; zfs destroy -r {BACKUP}; zfs destroy {ROOT}@b0; zfs destroy {ROOT}@b1")
