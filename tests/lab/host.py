"""The host's side: where the lab keeps its things and how the host gets the tools it lacks.

Nothing here names a mirror: what the machine's own apt sources say is what is used.
"""

import contextlib
import fcntl
import os
import pathlib
import re
import shlex
import subprocess
import sys
import time

LAB = pathlib.Path(__file__).resolve().parent
PROJECT = LAB.parent.parent
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

# A program to look for, and the package that brings it.
TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "makefs": "makefs",
    "mke2fs": "e2fsprogs",
    "debugfs": "e2fsprogs",
    "tune2fs": "e2fsprogs",
    "qemu-img": "qemu-utils",
    "ssh-keygen": "openssh-client",
    "qemu-system-x86_64": "qemu-system-x86",
    "losetup": "mount",
    "unshare": "util-linux",
}


class LabError(Exception):
    """Something the person who runs the lab has to know, without a traceback."""


def say(text):
    """Progress for people, kept apart from the results on stdout."""
    print(f"lab: {text}", file=sys.stderr, flush=True)


def cache():
    """The directory for everything that is dear to make; outside the clone."""
    home = os.environ.get("XDG_CACHE_HOME") or "/var/cache"
    path = pathlib.Path(home) / "f3skeys-lab"
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def only_one(name):
    """Two labs on one machine must not build the same thing into each other."""
    with open(cache() / f"{name}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def run(*command, **options):
    """Runs a host command; a failure carries the command and what it said."""
    done = subprocess.run(
        [str(c) for c in command], stdin=options.pop("stdin", subprocess.DEVNULL),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options)
    if done.returncode:
        tail = done.stdout[-4000:]
        raise LabError(f"{shlex.join(str(c) for c in command)}: exit {done.returncode}\n{tail}")
    return done.stdout


def loud(*command, **options):
    """Like run, for what takes minutes: the output goes to the person's terminal."""
    done = subprocess.run([str(c) for c in command], stdin=subprocess.DEVNULL,
                          stdout=sys.stderr, check=False, **options)
    if done.returncode:
        raise LabError(f"{shlex.join(str(c) for c in command)}: exit {done.returncode}")


# How long another apt on this machine is waited for, in seconds.
APT_LIMIT = 900
# What apt says of a lock that another has. It waits for dpkg's by itself, and for no other.
LOCKED = ("Could not get lock", "Unable to lock", "Unable to acquire the dpkg")


def apt(*arguments, limit=APT_LIMIT, between=10):
    """Runs apt-get, which takes minutes; while another process has apt's locks it is waited for."""
    environ = dict(os.environ, DEBIAN_FRONTEND="noninteractive", LC_ALL="C")
    command = ["apt-get", "-q", "-y", "-o", f"DPkg::Lock::Timeout={limit}", *arguments]
    began = time.monotonic()
    while True:
        done = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, errors="replace", env=environ)
        locked = False
        for line in done.stdout:
            locked |= any(word in line for word in LOCKED)
            print(line, end="", file=sys.stderr, flush=True)
        if done.wait() == 0:
            return
        waited = time.monotonic() - began
        if not locked or waited > limit:
            raise LabError(f"{shlex.join(command)}: exit {done.returncode}")
        say(f"another apt is at work on this machine: waited {waited:.0f} s of {limit} s for it")
        time.sleep(between)


def which(tool):
    """Finds a program, also in the sbin directories that a root shell may lack."""
    for folder in os.environ.get("PATH", "").split(":") + ["/usr/sbin", "/sbin"]:
        if os.access(pathlib.Path(folder) / tool, os.X_OK):
            return str(pathlib.Path(folder) / tool)
    return None


def codename():
    """The release of this machine, such as `bookworm`."""
    for line in pathlib.Path("/etc/os-release").read_text(encoding="utf-8").splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.split("=", 1)[1].strip('"')
    raise LabError("/etc/os-release names no release: the lab needs a Debian-like machine")


def deb822(text):
    """Stanzas of a deb822 file as dictionaries with lower-case field names."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for block in re.split(r"\n\s*\n", "\n".join(lines)):
        fields, name = {}, None
        for line in block.splitlines():
            if line[:1].isspace() and name:
                fields[name] += "\n" + line.strip()
            elif ":" in line:
                name, value = line.split(":", 1)
                name = name.lower()
                fields[name] = value.strip()
        if fields.get("types") and fields.get("enabled", "yes") != "no":
            yield fields


def one_line(text):
    """`deb [options] URI SUITE …` lines, in the shape of deb822 stanzas."""
    for line in text.splitlines():
        found = re.match(r"deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+", line.strip())
        if found:
            options = dict(o.split("=", 1) for o in (found[1] or "").split() if "=" in o)
            yield {"types": "deb", "uris": found[2], "suites": found[3],
                   "signed-by": options.get("signed-by", "")}


def sources():
    """Every package source of this machine."""
    folder = pathlib.Path("/etc/apt")
    for path in sorted(folder.glob("sources.list.d/*.sources")):
        yield from deb822(path.read_text(encoding="utf-8"))
    for path in [folder / "sources.list", *sorted(folder.glob("sources.list.d/*.list"))]:
        if path.exists():
            yield from one_line(path.read_text(encoding="utf-8"))


def archive():
    """(URI, keyring) of the archive that carries this machine's own release."""
    for source in sources():
        if codename() in source.get("suites", "").split():
            keyring = source.get("signed-by", "")
            usable = keyring.startswith("/") and pathlib.Path(keyring).exists()
            return source["uris"].split()[0], keyring if usable else KEYRING
    raise LabError(f"no apt source of this machine carries {codename()}")


def backports():
    """bookworm's own QEMU is too old for the lab; its backports suite has a good one."""
    suite = f"{codename()}-backports"
    if not any(suite in source.get("suites", "").split() for source in sources()):
        uri, keyring = archive()
        text = f"Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: main\nSigned-By: {keyring}\n"
        path = pathlib.Path("/etc/apt/sources.list.d/f3skeys-lab-backports.sources")
        path.write_text(text, encoding="utf-8")
    return suite


def install_tools():
    """Installs what is missing of TOOLS; changes nothing on a machine that has them all."""
    missing = sorted({package for tool, package in TOOLS.items() if not which(tool)})
    if not missing:
        return
    if os.geteuid() != 0:
        raise LabError(f"missing on this machine: {' '.join(missing)}; build as root")
    say(f"installing {' '.join(missing)}")
    from_backports = []
    if codename() == "bookworm":
        from_backports = ["-t", backports()]
    apt("update")
    plain = [p for p in missing if not p.startswith("qemu")]
    qemu = [p for p in missing if p.startswith("qemu")]
    if plain:
        apt("--no-install-recommends", "install", *plain)
    if qemu:
        apt("--no-install-recommends", *from_backports, "install", *qemu)
