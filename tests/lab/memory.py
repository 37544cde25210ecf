"""What f3skeys leaves in memory: every process of it is kept as it ends, and looked through for keys."""

import json

import base
import stick
from node import check

PROGRAM = "/usr/local/lib/lab/remains"
# What of OpenZFS is handed keys, and does not wipe its copies: SECURITY.md names that.
LIBRARY = "libzfs_core.so"
SSH_KEYS = "/root/.ssh/authorized_keys"


class Memory:
    """The memory of all processes that one or several commands on a node have had when they ended."""

    def __init__(self, node, name):
        self.node, self.folder = node, f"/dev/shm/remains-{name}"
        self.keep = f"{PROGRAM} keep {self.folder}"
        node.write(PROGRAM, (base.GUEST / "remains").read_bytes(), "0755")

    def of(self, command, stdin=b"", status=0, limit=300):
        """Runs a command and keeps what its processes leave; `status` is none if any will do."""
        done = self.node.sh(f"{self.keep} {command}", stdin, limit)
        check(status in (None, done.status), f"wanted exit {status}\n{done}")
        return done

    def of_peers(self, begin=True):
        """From now on, or no more, keeps what the answers to a peer leave, which sshd itself starts."""
        command, kept = 'command="', f'command="{self.keep} '
        old, new = (command, kept) if begin else (kept, command)
        self.node.ok(f"sed -i 's|{old}|{new}|' {SSH_KEYS}; sync")
        check((kept in self.node.ok(f"cat {SSH_KEYS}")) == begin, "sshd starts something else")

    def look(self, keys):
        """Every process of f3skeys, with what was found in it of these keys."""
        lines = "".join(key.hex() + "\n" for key in keys)
        done = self.node.sh(f"{PROGRAM} look {self.folder}", lines.encode(), limit=600)
        # What could not be read counts as not looked at.
        check(done.status == 0, done)
        return [one for one in json.loads(done.out) if one["ours"]]

    def forget(self):
        """Removes what was kept."""
        self.node.ok(f"rm -r {self.folder}")

    def check_clean(self, keys, *verbs):
        """Each verb has left something to look at, and nothing has left a piece of a key, but for what
        may be left. Gives the figures."""
        check(keys and all(len(key) == 32 for key in keys), "no keys to look for")
        found = self.look(keys)
        for verb in verbs:
            check(any(verb in one["argv"] for one in found), f"no process of {verb}")
        wrong = [f"{' '.join(one['argv'])}, {'the first process' if one['first'] else 'process'} {one['pid']} of user {one['uid']}, "
                 f"not locked: {one['unlocked']}: {hit}"
                 for one in found for hit in one["hits"] if not may_be(one, hit)]
        check(not wrong, "key bytes are left in\n" + "\n".join(wrong))
        self.forget()
        # What a reader shares with the process that takes it is no copy; whether some is left depends on who ends first.
        kept, shared = (sum(1 for one in found if any(is_shared(hit) == which for hit in one["hits"])) for which in (False, True))
        mapped, written = (sum(one[what] for one in found) >> 10 for what in ("bytes", "written"))
        count = sum(one["count"] for one in found)
        return f"{len(found)} processes, {count} mappings, {mapped} KiB, {written} of them ever written to, " \
            f"OpenZFS's copies in {kept}, a reader's share in {shared}"


def may_be(one, hit):
    """Whether a piece of a key may be there: as the library's own copy, in a pool's worker that has all of
    its memory locked; or in what a forked reader shares with the process that is about to take it."""
    if one["first"]:
        return False
    is_library = any(name.startswith(LIBRARY) for name in one["mapped"])
    in_worker = is_library and not one["unlocked"] and hit["locked"] and hit["form"] == "raw"
    return in_worker or is_shared(hit)


def is_shared(hit):
    """Whether it was found in memory that other processes have, too."""
    return hit["mode"].endswith("s")


def keys_on(*images):
    """The bytes of every key and generation on these sticks, read from outside."""
    files = (item for image in images for item in stick.files(image).items())
    return sorted({data for path, data in files if path.endswith(".key")})


def image_of(node):
    """The one stick that is plugged into a node."""
    (image, _), = node.plugged.values()
    return image
