"""The base image: a Debian tree with a real kernel, real OpenZFS and a real NFS server.

It holds nothing of f3skeys: the program changes often, this image hardly ever, and the zfs
module takes ten minutes to build. It is kept under a key made of everything that goes into it.
"""

import hashlib
import os
import pathlib
import shutil
import subprocess

import host

SUITE = "trixie"
SIZE = "3G"
PACKAGES = """
    linux-image-amd64 linux-headers-amd64 zfs-dkms zfsutils-linux
    systemd-sysv udev kmod initramfs-tools zstd
    nfs-kernel-server nfs-common
    python3-minimal gdb-minimal strace iproute2 util-linux mount procps psmisc dmsetup e2fsprogs
    openssh-server openssh-client sanoid mbuffer keepalived stunnel4
""".split()
GUEST = host.LAB / "guest"


def key():
    """A hash of all inputs: the same key is never built twice."""
    digest = hashlib.sha256()
    digest.update(repr((SUITE, SIZE, PACKAGES)).encode())
    for path in [pathlib.Path(__file__), GUEST / "early", GUEST / "customize"]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def folder():
    """Where the finished image of these inputs is, or will be."""
    return host.cache() / f"base-{key()}"


def apt_options():
    """The machine's own settings for reaching its archive, for the apt inside mmdebstrap."""
    wanted = ("Acquire::Check-", "Acquire::http", "Acquire::https")
    for line in host.run("apt-config", "dump").splitlines():
        if line.startswith(wanted) and not line.endswith('"";'):
            yield f"--aptopt={line}"


def debootstrap(tree):
    """Fills `tree`; the module is built in there and its tools are dropped again."""
    uri, keyring = host.archive()
    host.loud(
        "mmdebstrap", "--mode=root", "--variant=apt", f"--include={','.join(PACKAGES)}",
        f"--keyring={keyring}", *apt_options(),
        "--aptopt=APT::Install-Recommends \"false\"",
        "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        f"--essential-hook={GUEST}/early \"$1\"",
        f"--customize-hook={GUEST}/customize \"$1\"",
        SUITE, tree, f"deb [signed-by={keyring}] {uri} {SUITE} main contrib")


def image(tree, out):
    """Makes `out/root.img`, `out/vmlinuz` and `out/initrd` of the tree."""
    kernels = sorted((tree / "boot").glob("vmlinuz-*"))
    shutil.copy(kernels[-1], out / "vmlinuz")
    shutil.copy(tree / "boot" / kernels[-1].name.replace("vmlinuz", "initrd.img"), out / "initrd")
    shutil.rmtree(tree / "boot")
    host.run("truncate", "-s", SIZE, out / "root.img")
    host.run(host.which("mke2fs"), "-q", "-t", "ext4", "-F", "-L", "root",
             "-O", "^has_journal,^metadata_csum", "-E", "lazy_itable_init=0",
             "-d", tree, out / "root.img")


def remove(path):
    """Removes a half-made build of ours, whoever was killed in the middle of it."""
    mounts = pathlib.Path("/proc/self/mounts").read_text(encoding="utf-8")
    inside = [line.split()[1] for line in mounts.splitlines()
              if line.split()[1].startswith(f"{path}/")]
    for point in reversed(inside):
        subprocess.run(["umount", "-l", point], check=False)
    shutil.rmtree(path, ignore_errors=True)


def build():
    """Makes the base image unless it is there; the rename at the end is what finishes it."""
    if folder().is_dir():
        return folder()
    with host.only_one("base"):
        if not folder().is_dir():
            make(folder())
    return folder()


def make(final):
    """Builds under a temporary name, so a killed build leaves nothing that looks finished."""
    if os.geteuid() != 0:
        raise host.LabError("the base image is built by root")
    for stale in host.cache().glob("base-*.tmp"):
        remove(stale)
    host.say("building the base image: the zfs module takes about ten minutes")
    work = final.with_suffix(".tmp")
    work.mkdir()
    debootstrap(work / "tree")
    (work / "out").mkdir()
    image(work / "tree", work / "out")
    os.rename(work / "out", final)
    remove(work)
