"""A mount by f3skeys and one by `zfs mount` are the same, whatever the properties say."""

import itertools

from node import check, says
from scenarios import group
import stick

TOP = "zdata/enc/m"
SWITCHES = ("atime", "relatime", "exec", "setuid", "devices", "readonly", "nbmand")
XATTR = ("sa", "dir", "off")
NO_MOUNT = """#!/bin/sh
case "$1" in
mount) exit 99 ;;
esac
exec /usr/local/lib/lab/zfs.real "$@"
"""


def mounting(lab):
    """A node that is up, with a file system for each combination of the properties that a mount depends on."""
    node = lab.node("mounting")
    node.life = 6000
    node.start([(lab.sticks.good(), stick.SERIAL)])
    node.settled()
    node.quiet()
    node.unwatched()
    node.ok(f"cp /usr/sbin/zfs /usr/local/lib/lab/zfs.real; zfs create -o mountpoint=/m {TOP}")
    lines = []
    for number, values in enumerate(itertools.product(("on", "off"), repeat=len(SWITCHES))):
        options = " ".join(f"-o {name}={value}" for name, value in zip(SWITCHES, values))
        # xattr is independent of the others: each of its values meets each of theirs.
        lines.append(f"zfs create -u {options} -o xattr={XATTR[number % 3]} {TOP}/c{number}")
    node.ok("set -e\n" + "\n".join(lines), limit=1500)
    return node


scenario = group(mounting)


def table(node):
    """Every mount below /m as the kernel tells it, but for the numbers it gives anew each time."""
    lines = {}
    for line in node.ok("cat /proc/self/mountinfo").splitlines():
        left, right = line.split(" - ")
        place, options = left.split()[4:6]
        if place.startswith("/m/"):
            check(place not in lines, f"{place} is mounted twice")
            lines[place] = (options, *right.split())
    return lines


def unmount(node):
    """Nothing below /m is mounted, and no directory is left to mount on."""
    node.ok("for path in $(awk '$2 ~ /^\\/m\\// { print $2 }' /proc/mounts | sort -r); do umount $path; done; "
            "find /m -mindepth 1 -depth -type d -exec rmdir {} +", limit=600)


def modes(node):
    """The mode of every directory that was made."""
    node.ok("for path in $(awk '$2 ~ /^\\/m\\// { print $2 }' /proc/mounts | sort -r); do umount $path; done", limit=600)
    return sorted(node.ok("cd /m && find . -type d -printf '%p %m %u %g\\n'").splitlines())


def directly(node, status=0, under=""):
    """`f3skeys ready` while the program `zfs` mounts nothing: what it mounts, it mounts by itself."""
    node.write("/usr/local/lib/lab/zfs.no-mount", NO_MOUNT, "0755")
    node.ok("mount --bind /usr/local/lib/lab/zfs.no-mount /usr/sbin/zfs")
    done = node.sh(f"{under} /usr/sbin/f3skeys ready", limit=900)
    node.ok("umount /usr/sbin/zfs")
    check(done.status == status, done)
    return done


@scenario("every combination of atime, relatime, exec, setuid, devices, readonly and nbmand, with each xattr: "
          "the mount table is the same line by line, with and without their directories there, and so are the directories made")
def combinations(node, lab):
    unmount(node)
    directly(node)
    ours = table(node)
    ours_made = modes(node)
    unmount(node)
    names = node.ok(f"zfs list -Ho name -r {TOP} | tail -n +2").split()
    check(len(names) == 2 ** len(SWITCHES) == len(ours), f"{len(ours)} of {len(names)} are mounted")
    node.ok("set -e\n" + "\n".join(f"zfs mount {name}" for name in names), limit=1500)
    theirs = table(node)
    theirs_made = modes(node)
    differ = [f"{place}\n  {ours.get(place)}\n  {theirs.get(place)}"
              for place in sorted(ours.keys() | theirs.keys()) if ours.get(place) != theirs.get(place)]
    check(not differ, "\n".join(differ))
    check(len({line[0] for line in ours.values()}) > 30, "the properties made no difference")
    check(ours_made == theirs_made, f"{ours_made}\n{theirs_made}")
    # With the directories there the library's own function is not needed: the mounts are the same.
    directly(node, under="strace -f -o /run/asked -e trace=ioctl")
    again = table(node)
    check(again == theirs, "\n".join(f"{place}\n  {line}\n  {theirs.get(place)}" for place, line in again.items()))
    asked = int(node.ok("grep -c ZFS_IOC_OBJSET_STATS /run/asked"))
    # Once by who tells of it, and of every second once more by the other worker that mounts it; the
    # library's own function would ask of each once more.
    check(asked < 2 * len(names), f"a dataset's properties were asked for {asked} times for {len(names)} mounts")


@scenario("canmount=off, noauto and mountpoint=legacy stay unmounted; overlay=off keeps off a directory that holds files, "
          "and what belongs below it off that directory; a path of missing directories is as by the command")
def special(node, lab):
    unmount(node)
    node.ok(f"zfs destroy -r {TOP} && zfs create -o mountpoint=/m {TOP} && "
            f"zfs create -u -o canmount=off {TOP}/off && zfs create -u -o canmount=noauto {TOP}/noauto && "
            f"zfs create -u -o mountpoint=legacy {TOP}/legacy && zfs create -u -o mountpoint=/m/a/b/c {TOP}/deep && "
            f"zfs create -u -o overlay=off {TOP}/full && zfs create -u {TOP}/full/below && "
            "mkdir -p /m/full && touch /m/full/file", limit=600)
    done = directly(node, status=69)
    says(done, f"{TOP}/full", "not empty")
    says(done, f"{TOP}/full/below", f"{TOP}/full belongs on a directory above it")
    check(node.ok("ls /m/full").split() == ["file"], "something was made in the directory in the place of another")
    ours = table(node)
    check(set(ours) == {"/m/a/b/c"}, ours)
    node.ok("umount /m/a/b/c && rm -r /m/a")
    ours_made = node.ok(f"zfs mount {TOP}/deep && stat -c '%n %a %u' /m/a /m/a/b")
    check(table(node) == ours, f"{table(node)}\n{ours}")
    node.ok("umount /m/a/b/c && rm -r /m/a")
    directly(node, status=69)
    node.ok("umount /m/a/b/c")
    check(node.ok("stat -c '%n %a %u' /m/a /m/a/b") == ours_made, "directories were made otherwise")
