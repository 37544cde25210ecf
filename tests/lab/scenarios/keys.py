"""Bad sticks and odd roots: one fault stays one fault. The passes are run by hand, on a node that
was shut again after each, so that one boot of the machine serves for all."""

import functools

from node import KEY_OF, REPLICA, ROOTS, check, says
from scenarios import group
from scenarios.gates import PLACES
import stick

ZDATA, BHYVE, OTHER = (KEY_OF[root] for root in ROOTS)


def sticks(lab):
    """A node that is up, with udev kept from finishing anything by itself."""
    node = lab.node("sticks")
    node.start([(lab.sticks.good(), stick.SERIAL)])
    node.settled()
    node.quiet()
    return node


scenario = group(sticks)


def shut_first(function):
    """Each of these starts from a node that is all locked."""
    @functools.wraps(function)
    def run(node, lab):
        node.shut()
        function(node, lab)
    return run


def bad_stick(node, lab, kind, damage, **options):
    """Plugs a stick in whose store was damaged before its image was made."""
    node.swap(lab.sticks.make(kind, damage, **options))


@scenario("one bit flipped in one key, in both its copies: only its root stays locked, exit 65")
@shut_first
def flipped(node, lab):
    bad_stick(node, lab, "flipped", lambda tree: stick.flip(tree, ZDATA))
    done = node.boot(status=65)
    says(done, "zdata/enc", ZDATA, "-> ")
    node.check_loaded("zroot/bhyve", REPLICA)
    node.f3skeys("ready")
    node.check_closed("nfs")
    node.check_open("copy")
    check(node.sh("systemctl start nfs-server").status != 0, "nfs-server started")
    node.check_nfs_refused()


@scenario("the same in the key of a root that is not required: exit 0, the damage is named")
@shut_first
def flipped_optional(node, lab):
    bad_stick(node, lab, "flipped-optional", lambda tree: stick.flip(tree, BHYVE))
    says(node.boot(), "zroot/bhyve", BHYVE)
    node.check_loaded("zdata/enc", REPLICA)


@scenario("one bit flipped in one copy only: the root opens from the other copy, the damage is named")
@shut_first
def flipped_once(node, lab):
    bad_stick(node, lab, "flipped-top", lambda tree: stick.flip(tree, ZDATA, only=1))
    says(node.boot(), f"{ZDATA}.key")
    node.check_loaded(*ROOTS)


@scenario("one key a byte short, in both its copies: only its root stays locked, exit 65")
@shut_first
def truncated(node, lab):
    bad_stick(node, lab, "truncated", lambda tree: stick.truncate(tree, OTHER))
    says(node.boot(status=65), REPLICA, OTHER, "-> ")
    node.check_loaded("zdata/enc", "zroot/bhyve")


@scenario("two keys under each other's names: only their roots stay locked, exit 65")
@shut_first
def swapped(node, lab):
    bad_stick(node, lab, "swapped", lambda tree: stick.swap(tree, ZDATA, BHYVE))
    says(node.boot(status=65), "zdata/enc", "zroot/bhyve")
    node.check_loaded(REPLICA)


@scenario("a key that is not on the stick: only its root stays locked, exit 65")
@shut_first
def missing(node, lab):
    def remove(tree):
        for path in stick.copies(tree, ZDATA):
            path.unlink()
    bad_stick(node, lab, "missing", remove)
    says(node.boot(status=65), "zdata/enc", ZDATA)
    node.check_loaded("zroot/bhyve", REPLICA)


@scenario("the state file rots: the keys open all the same, the damage is named")
@shut_first
def state_file(node, lab):
    def rot(tree):
        path = tree / ".f3skeys/state.ron"
        stick.rewrite(path, path.read_bytes().replace(b"current", b"retirex", 1))
    bad_stick(node, lab, "state", rot)
    says(node.boot(), "state.ron")
    node.check_loaded(*ROOTS)


@scenario("a plain stick as the articles have it: it works, with a warning")
@shut_first
def plain(node, lab):
    bad_stick(node, lab, "plain", None, plain=True)
    says(node.boot(), "plain")
    node.check_loaded(*ROOTS)
    check(node.f3skeys("ready").status == 0, "ready")
    node.check_mounted(PLACES)


@scenario("two keys swapped on a plain stick: ZFS itself says wrong key, only their roots stay locked, exit 65")
@shut_first
def plain_swapped(node, lab):
    bad_stick(node, lab, "plain-swapped", lambda tree: stick.swap(tree, ZDATA, BHYVE), plain=True)
    says(node.boot(status=65), "wrong key")
    node.check_loaded(REPLICA)


@scenario("an unclean UFS, after a power cut: its keys are read and not one byte of it is changed")
@shut_first
def unclean(node, lab):
    bad_stick(node, lab, "unclean", None, clean=False)
    node.boot()
    node.check_loaded(*ROOTS)


@scenario("an ext4 stick with keys as the articles have them: it works, with a warning")
@shut_first
def plain_ext4(node, lab):
    bad_stick(node, lab, "plain-ext4", None, plain=True, fs="ext4")
    says(node.boot(), "plain")
    node.check_loaded(*ROOTS)


@scenario("ext4 that was not unmounted, without a journal and with one to replay: read, and not a byte changed")
def unclean_ext4(node, lab):
    for fs in ("ext4-bare", "ext4"):
        node.shut()
        bad_stick(node, lab, f"unclean-{fs}", None, fs=fs, clean=False)
        node.boot()
        node.check_loaded(*ROOTS)


@scenario("a decoy with the label and all keys, but another serial: refused by name, exit 66")
@shut_first
def decoy(node, lab):
    node.swap(lab.sticks.make("decoy"), serial="DECOY0002")
    done = node.boot(config=node.configure(), status=66)
    says(done, "refused", "DECOY0002", "-> ")
    node.check_loaded()


@scenario("the decoy beside the right stick: the right one is used, the decoy left alone")
@shut_first
def decoy_beside(node, lab):
    node.swap(lab.sticks.make("decoy"), serial="DECOY0002")
    node.insert(lab.sticks.good())
    node.boot(config=node.configure())
    node.check_loaded(*ROOTS)


@scenario("another label on the right serial: refused by name, exit 66")
@shut_first
def other_label(node, lab):
    node.swap(lab.sticks.make("holiday", label="HOLIDAY"))
    says(node.boot(config=node.configure(), status=66), "HOLIDAY")
    node.check_loaded()


@scenario("two sticks that match by label, no serial configured: none is used, exit 66")
@shut_first
def ambiguous(node, lab):
    node.swap(lab.sticks.make("decoy"), serial="DECOY0002")
    node.insert(lab.sticks.good())
    config = node.configure((' serial: "4C530001",', ""))
    done = node.boot(config=config, status=66)
    says(done, "all match")
    node.check_loaded()


@scenario("a stick with no file system on it: no key device, exit 66")
@shut_first
def empty(node, lab):
    node.swap(lab.sticks.blank())
    node.boot(config=node.configure(), status=66)
    node.check_loaded()


@scenario("the right stick with nothing on its file system: every root named and locked, exit 65")
@shut_first
def bare(node, lab):
    bad_stick(node, lab, "bare", stick.clear)
    says(node.boot(status=65), *ROOTS)
    node.check_loaded()


@scenario("a store that a person has mounted: used as it is, and left mounted")
@shut_first
def mounted_by_a_person(node, lab):
    node.swap(lab.sticks.good())
    node.ok("mount -t ufs -o ro,ufstype=44bsd $(readlink -f /dev/disk/by-id/usb-*4C530001*) /keys")
    done = node.f3skeys("boot")
    check(done.status == 0, done)
    says(done, "/keys")
    node.check_loaded(*ROOTS)
    node.ok("mountpoint /keys")
    check(node.store_mounts(), "the lab would not notice a mounted store")
    node.ok("umount /keys")


@scenario("roots of other key formats, that do not exist, whose pool is not there: each named, the others open")
@shut_first
def odd_roots(node, lab):
    node.swap(lab.sticks.good())
    odd = ("zdata/hex", "zdata/pass", "zdata/nowhere", "nopool/enc", "zdata/enc/apps", "zdata/sink")
    lines = "".join(f'(dataset: "{name}", key: "{ZDATA}", role: primary, required: REQUIRED),\n' for name in odd)
    config = node.configure(("roots: [", "roots: [\n" + lines.replace("REQUIRED", "false")))
    done = node.boot(config=config)
    says(done, *odd, "hex", "passphrase", "not imported", "no such dataset", "not encrypted")
    node.check_loaded(*ROOTS)
    for name in ("zdata/hex", "zdata/pass"):
        check(node.get("keystatus", name) == "unavailable", f"{name} was opened")
    node.shut()
    config = node.configure(("roots: [", "roots: [\n" + lines.replace("REQUIRED", "true")))
    node.boot(config=config, status=69)
    node.check_loaded(*ROOTS)


@scenario("a noauto file system is mounted because a gate names it; none and legacy are left alone")
@shut_first
def noauto(node, lab):
    node.swap(lab.sticks.good())
    config = node.configure(("gates: [", 'gates: [(name: "noauto", needs: [mounted(path: "/data/enc/noauto", '
                                         'dataset: "zdata/enc/noauto")]),'))
    node.boot(config=config)
    done = node.f3skeys("ready", config)
    check(done.status == 0, done)
    node.check_mounted(PLACES | {"/data/enc/noauto": "zdata/enc/noauto"})
    check(node.gate("noauto", config).status == 0, "the gate is closed")


@scenario("a root opened by hand with the right key: nothing is loaded, the key is proven")
@shut_first
def loaded_right(node, lab):
    node.swap(lab.sticks.good())
    node.ok("zfs load-key -L prompt zroot/bhyve", lab.pools.key(BHYVE))
    done = node.boot()
    check("zroot/bhyve" not in "".join(node.report()["changed"]), done)
    node.check_loaded(*ROOTS)


@scenario("a root that is open by a key which is not on the stick: an alarm before the next power cut, not after")
@shut_first
def loaded_wrong(node, lab):
    node.swap(lab.sticks.good())
    change = "zfs change-key -o keylocation=prompt -o keyformat=raw zroot/bhyve"
    other = bytes(range(32))
    node.ok("zfs load-key -L prompt zroot/bhyve", lab.pools.key(BHYVE))
    node.ok(change, other)
    try:
        says(node.f3skeys("boot"), "zroot/bhyve", "ALARM")
        node.shut()
        says(node.boot(), "zroot/bhyve", "wrong key")
        node.check_loaded("zdata/enc", REPLICA)
    finally:
        node.sh("zfs load-key -L prompt zroot/bhyve", other)
        node.ok(change, lab.pools.key(BHYVE))


@scenario("a wrong configuration: exit 78 with the place, nothing touched")
@shut_first
def configuration(node, lab):
    config = node.configure(("role: replica", "role: replika"))
    done = node.f3skeys("boot", config)
    check(done.status == 78, done)
    node.ok(f"sed -i s/replika/replica/ {config}; chmod 0666 {config}")
    done = node.f3skeys("boot", config)
    check(done.status == 78, done)
    node.check_loaded()


@scenario("not one byte of any of these sticks was changed, and no key byte reached a disk of the node")
def untouched(node, lab):
    check(not lab.sticks.changed(), f"written to: {lab.sticks.changed()}")
    node.check_disks_clean([lab.pools.key(name) for name in lab.pools.keys()])


@scenario("after all these sticks: neither the replica nor its child was ever writable, written = 0")
def replica(node, lab):
    node.swap(lab.sticks.good())
    node.boot()
    node.f3skeys("ready")
    node.check_mounted(PLACES)
    node.check_replica_clean()
