"""The pools that every scenario starts from: made once by a machine of their own, then kept."""

import hashlib
import os
import pathlib
import secrets
import shutil

import base
import host
import machine
import vm

DISKS = {"zdata": "512M", "zroot": "192M", "zbench": "256M", "zpeer": "256M"}
NODE_KEYS = ("f0.lan.buetow.org:zdata", "f0.lan.buetow.org:bhyve", "f1.lan.buetow.org:zdata")
BENCH_KEYS = tuple(f"f0.lan.buetow.org:bench{number}" for number in range(1, 17))


class Pools:
    """The finished set: disk images that are only read, the cache files of both nodes, the keys."""

    def __init__(self, folder):
        self.folder, self.cache, self.peer_cache = folder, folder / "zpool.cache", folder / "zpeer.cache"

    def disks(self, *names):
        """Name and image of the pools asked for."""
        return {name: self.folder / f"{name}.qcow2" for name in names}

    def keys(self, names=NODE_KEYS):
        """Name and file of the keys asked for."""
        return {name: self.folder / "keys" / name for name in names}

    def key(self, name):
        """The bytes of one key."""
        return (self.folder / "keys" / name).read_bytes()


def key():
    """A hash of all inputs."""
    digest = hashlib.sha256(base.key().encode())
    for path in (pathlib.Path(__file__), base.GUEST / "pools", base.GUEST / "furnish"):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def build():
    """Makes the pools unless they are there."""
    final = host.cache() / f"pools-{key()}"
    if final.is_dir():
        return Pools(final)
    base.build()
    with host.only_one("pools"):
        if not final.is_dir():
            make(final)
    return Pools(final)


def make(final):
    """Under a temporary name, renamed when whole."""
    for stale in host.cache().glob("pools-*.tmp"):
        shutil.rmtree(stale)
    host.say("making the pools")
    work = final.with_suffix(".tmp")
    (work / "keys").mkdir(parents=True, mode=0o700)
    for name in NODE_KEYS + BENCH_KEYS:
        (work / "keys" / name).write_bytes(secrets.token_bytes(32))
    for name, size in DISKS.items():
        host.run("qemu-img", "create", "-q", "-f", "qcow2", work / f"{name}.qcow2", size)
    fill(work)
    os.rename(work, final)


def fill(work):
    """Boots a machine that writes straight onto the new disks."""
    scratch = work / "vm"
    scratch.mkdir()
    node = machine.furnished(scratch / "node.img")
    maker = vm.Machine(scratch, base.build(), node, {})
    maker.disks |= {name: work / f"{name}.qcow2" for name in DISKS}
    lines = [f"{path.name} {path.read_bytes().hex()}" for path in sorted((work / "keys").iterdir())]
    try:
        maker.start()
        maker.write("/run/pools", (base.GUEST / "pools").read_bytes(), "0755")
        # The agent is there early; pools are made when udev and the boot are done with the disks.
        maker.sh("systemctl is-system-running --wait; modprobe zfs; udevadm settle", limit=300)
        maker.ok("sh /run/pools", "\n".join(lines).encode(), limit=600)
        (work / "zpool.cache").write_bytes(maker.sh("cat /run/node.cache").raw)
        (work / "zpeer.cache").write_bytes(maker.sh("cat /run/peer.cache").raw)
        # Off like a machine that is switched off, pools imported: that is what a node wakes up to.
        maker.ok("sync")
        maker.quit()
    finally:
        maker.stop()
    shutil.rmtree(scratch)
