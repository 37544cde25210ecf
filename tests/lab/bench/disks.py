"""The bench's pools: made once by a machine of their own, each on a sparse disk, then kept."""

import hashlib
import json
import os
import secrets
import shutil
import time

import base
import host
import machine
import vm
from bench import cases

SIZE = "4G"
# A thousand file systems take minutes under emulation.
LIMIT = 3600


def folder():
    """Where the images of this layout are, or will be."""
    digest = hashlib.sha256(base.key().encode() + cases.text(cases.POOLS).encode())
    digest.update((base.GUEST / "bench-pools").read_bytes())
    return host.cache() / f"bench-{digest.hexdigest()[:16]}"


class Disks:
    """The finished set of some pools."""

    def __init__(self, place, names):
        self.images = {name: place / f"{name}.qcow2" for name in names}
        self.keys = {name: place / "keys" / name for name in cases.KEYS}


def build(names):
    """Makes those of the pools that are not there yet."""
    place = folder()
    with host.only_one("bench"):
        (place / "keys").mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in cases.KEYS:
            if not (place / "keys" / name).exists():
                (place / "keys" / name).write_bytes(secrets.token_bytes(32))
        made = Disks(place, names)
        missing = [name for name in names if not made.images[name].exists()]
        if missing:
            make(place, missing)
    return made


def make(place, names):
    """Boots a machine that writes straight onto the new disks; they get their names when whole."""
    scratch = place / "vm"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    maker = vm.Machine(scratch, base.build(), machine.furnished(scratch / "node.img"), {})
    maker.life = LIMIT
    for name in names:
        maker.disks[name] = scratch / f"{name}.qcow2"
        host.run("qemu-img", "create", "-q", "-f", "qcow2", maker.disks[name], SIZE)
    try:
        maker.start()
        maker.write("/root/bench-pools", (base.GUEST / "bench-pools").read_bytes(), "0755")
        maker.sh("systemctl is-system-running --wait; modprobe zfs; udevadm settle", limit=300)
        for name in names:
            fill(maker, place, name)
        maker.ok("sync")
        maker.quit()
    finally:
        maker.stop()
    for name in names:
        os.rename(scratch / f"{name}.qcow2", place / f"{name}.qcow2")
    shutil.rmtree(scratch)


def fill(maker, place, name):
    """One pool."""
    began = time.monotonic()
    keys = {path.name: path.read_bytes().hex() for path in (place / "keys").iterdir()}
    wanted = {"keys": keys, "pools": [cases.layout(name)]}
    maker.ok("/root/bench-pools", json.dumps(wanted).encode(), limit=LIMIT)
    host.say(f"bench: pool {name} made in {time.monotonic() - began:.0f} s")
