"""Makes installed machines: the base image, furnished as a node, with f3skeys in it or not."""

import os
import pathlib
import shlex
import shutil

import base
import host

NODE_CONFIG = """(
    node: "f0.lan.buetow.org",
    store: (label: "F3S_KEYS", serial: "4C530001", mountpoint: "/keys", wait_seconds: 30),
    roots: [
        (dataset: "zdata/enc", key: "f0.lan.buetow.org:zdata", role: primary, required: true),
        (dataset: "zroot/bhyve", key: "f0.lan.buetow.org:bhyve", role: primary, required: false),
        (dataset: "zdata/sink/f1/data", key: "f1.lan.buetow.org:zdata", role: replica, required: true),
    ],
    gates: [
        (name: "nfs", needs: [mounted(path: "/data/nfs", dataset: "zdata/enc/nfsdata")]),
        (name: "write", needs: [gate("nfs"), writable("zdata/enc/nfsdata")]),
        (name: "copy", needs: [mounted(path: "/data/sink/f1/data", dataset: "zdata/sink/f1/data"),
            readonly("zdata/sink/f1/data")]),
    ],
)
"""


def changed(image, script):
    """Runs a shell script over the mounted image, which it finds at $root.

    In a mount namespace of its own: whatever kills the script, no mount stays behind.
    """
    program = f"""set -eu
root=$(mktemp -d)
trap 'umount "$root" && rmdir "$root"' EXIT
mount -o loop {shlex.quote(str(image))} "$root"
{script}
"""
    return host.run("unshare", "-m", "sh", "-c", program)


def copied(source, target):
    """A sparse copy; cheap where the file system can share blocks."""
    host.run("cp", "--sparse=always", "--reflink=auto", source, target)
    return target


def furnished(out):
    """A node without f3skeys."""
    copied(base.build() / "root.img", out)
    changed(out, f'{base.GUEST}/furnish "$root" {base.GUEST}')
    return out


def release():
    """Where cargo puts what it builds for use."""
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR", host.PROJECT / "target")) / "release"


def built(*what):
    """Builds targets of the project, named as cargo's options."""
    cargo = host.which("cargo") or shutil.which("cargo")
    if not cargo:
        raise host.LabError("cargo is not on the PATH")
    host.run(cargo, "build", "--release", "--locked", *what, cwd=host.PROJECT)


def binary():
    """Builds the program and the example that makes stores; returns the program's path."""
    host.say("building the program")
    built("--bin", "f3skeys", "--example", "store")
    return release() / "f3skeys"


def installed(out, pool_cache):
    """A node with f3skeys as `install.sh` lays it out, switched on, and the cache file of its pools."""
    program = binary()
    furnished(out)
    config = out.with_suffix(".ron")
    config.write_text(NODE_CONFIG, encoding="utf-8")
    changed(out, f"""
install -D -m 0644 {pool_cache} "$root/etc/zfs/zpool.cache"
install -m 0600 {config} "$root/etc/f3skeys.ron"
cd {host.PROJECT}
DESTDIR="$root" F3SKEYS_OS=linux ./install.sh {program}
systemctl -q --root="$root" enable f3skeys.service
""")
    # Its power is cut more often than a file system without a journal bears.
    host.run(host.which("tune2fs"), "-J", "size=16", "-O", "has_journal", out)
    return out
