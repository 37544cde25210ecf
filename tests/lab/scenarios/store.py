"""The key store on ext4: damage is found and mended, new keys are made, and nothing that dies or
goes away in the middle costs a key. What is on a stick is read from outside, without f3skeys."""

import json
import re
import time

from node import CONFIG, KEY_OF, REPLICA, ROOTS, STORE_MOUNT, check, says
from scenarios import group
from scenarios.gates import PLACES
from scenarios.secrets import PLACE, check_clean
import stick
import vm

ZDATA, BHYVE, OTHER = (KEY_OF[root] for root in ROOTS)
STATE = ".f3skeys/state.ron"
ASIDE = ".f3skeys/damaged/"


def store(lab):
    """A node whose stick is ext4 and may be written to."""
    node = lab.node("store")
    node.stick = lab.sticks.own(lab.sticks.make("ext4", fs="ext4"), "store")
    node.start([(node.stick, stick.SERIAL)])
    node.settled()
    node.quiet()
    return node


scenario = group(store)


def mine(node, lab, name, damage=None, **options):
    """Plugs a stick in that is this scenario's own, to be written to; returns its image."""
    good = lab.sticks.make(f"ext4-{name}", damage, fs="ext4", **options)
    node.stick = lab.sticks.own(good, name)
    node.swap(node.stick)
    return node.stick


def verify(node, arguments="", status=0):
    """Runs `verify`, demands its exit status, and gives what it said."""
    done = node.f3skeys(f"verify {arguments}")
    check(done.status == status, f"wanted exit {status}\n{done}")
    node.check_store_unmounted()
    return done


def keys_on(image):
    """Every key of a stick by its file at the top, read from outside."""
    return {path[:-4]: data for path, data in stick.files(image).items() if path.endswith(".key") and "/" not in path}


def check_keys(lab, image, mended=False):
    """All keys that the lab made are on the stick, whole, at the top and as a generation."""
    content = stick.files(image, mended)
    for name in lab.sticks.keys:
        copies = [data for path, data in content.items() if name in path and not path.startswith(ASIDE)]
        check(copies.count(lab.pools.key(name)) >= 2, f"{name} is not there twice: {sorted(content)}")


def mend(node, lab, image):
    """Runs `verify --repair` on a damaged stick: all is well after, and every byte that was there
    still is."""
    before = stick.files(image)
    done = verify(node, "--repair")
    check(node.boot().status == 0, "boot")
    verify(node, "--pools")
    after = stick.files(image)
    lost = [path for path, data in before.items() if path != STATE and data not in after.values()]
    check(not lost, f"gone from the stick: {lost}\n{done}")
    check_keys(lab, image)
    return done, after


@scenario("a store of format 1 on ext4: the boot opens everything and changes not one byte of the stick")
def boot(node, lab):
    for unit in ("f3skeys.service", "f3sready.service"):
        check(node.unit(unit)["ExecMainStatus"] == "0", node.unit(unit))
    node.check_loaded(*ROOTS)
    node.check_mounted(PLACES)
    node.check_open("nfs", "write", "copy")
    node.check_store_unmounted()
    check(stick.digest(node.stick) == stick.digest(lab.sticks.make("ext4", fs="ext4")), "the stick was written to")


@scenario("verify on a good store: exit 0, and not one byte of the stick is changed")
def good(node, lab):
    verify(node)
    told = lab.json(verify(node, "--json").out)
    check(told["version"] == 1, told)
    check(stick.digest(node.stick) == stick.digest(lab.sticks.make("ext4", fs="ext4")), "the stick was written to")


@scenario("verify --pools: every root is proven by its key, without loading or unloading one")
def pools(node, lab):
    says(verify(node, "--pools"), *ROOTS)
    node.check_loaded(*ROOTS)
    change = "zfs change-key -o keylocation=prompt -o keyformat=raw zroot/bhyve"
    other = bytes(range(32))
    node.ok(change, other)
    try:
        says(verify(node, "--pools", 65), "zroot/bhyve")
        verify(node)
    finally:
        node.ok(change, lab.pools.key(BHYVE))
    verify(node, "--pools")


@scenario("one copy of a key damaged: verify names the file (exit 65), --repair mends it, the damage lies aside")
def flipped(node, lab):
    for number, path in enumerate((f"{ZDATA}.key", f".f3skeys/{ZDATA}/")):
        image = mine(node, lab, f"flipped-{number}",
                     lambda tree, number=number: stick.flip_one(stick.copies(tree, ZDATA)[number]))
        damaged = [data for name, data in stick.files(image).items() if name.startswith(path)]
        says(verify(node, status=65), path)
        done, after = mend(node, lab, image)
        says(done, path)
        aside = [data for name, data in after.items() if name.startswith(ASIDE)]
        check(damaged[0] in aside, f"not kept aside: {sorted(after)}")


@scenario("a directory of the store that cannot be read: the boot opens every root and names it, verify too (exit 65), after fsck --repair mends it")
def unreadable(node, lab):
    for number, path in enumerate((".f3skeys", f".f3skeys/{ZDATA}")):
        node.unplug()
        node.shut()
        image = lab.sticks.own(lab.sticks.make("ext4", fs="ext4"), f"unreadable-{number}")
        # A name without an inode, as where the write of a new one was cut.
        stick.debugfs(image, f"clri {path}", write=True)
        node.insert(image)
        says(node.boot(), path, "cannot be read", "verify --repair")
        node.check_loaded(*ROOTS)
        check(node.f3skeys("ready").status == 0, "ready")
        node.check_mounted(PLACES)
        says(verify(node, status=65), path, "cannot be read")
    says(verify(node, "--repair", 65), "fsck", "nothing that was good has changed")
    node.sh(f"e2fsck -fy /dev/disk/by-id/usb-*{stick.SERIAL}*")
    mend(node, lab, image)


@scenario("a key that has no whole copy left: --repair says so (exit 65), touches nothing of it, mends the others")
def beyond_repair(node, lab):
    def damage(tree):
        stick.flip(tree, OTHER)
        stick.copies(tree, ZDATA)[0].unlink()
    image = mine(node, lab, "beyond", damage)
    before = stick.files(image)
    says(verify(node, "--repair", 65), OTHER)
    says(verify(node, status=65), OTHER)
    after = stick.files(image)
    check(after.get(f"{ZDATA}.key") == lab.pools.key(ZDATA), "the key that could be mended was not")
    lost = [path for path, data in before.items() if path != STATE and data not in after.values()]
    check(not lost, f"gone from the stick: {lost}")


@scenario("the state file lost, or rotten: verify says so, --repair makes it again, all roots open")
def state(node, lab):
    def rot(tree):
        path = tree / STATE
        stick.rewrite(path, path.read_bytes().replace(b"current", b"retirex", 1))
    for name, damage in (("lost", lambda tree: (tree / STATE).unlink()), ("rotten", rot)):
        image = mine(node, lab, f"state-{name}", damage)
        says(verify(node, status=65), "state.ron")
        _, after = mend(node, lab, image)
        check(b"current" in after[STATE] and ZDATA.encode() in after[STATE], after[STATE])


@scenario("a UFS stick on Linux: verify reads it, --repair says clearly that it is not written here, not a byte changed")
def ufs(node, lab):
    image = lab.sticks.make("flipped-top", lambda tree: stick.flip(tree, ZDATA, only=1))
    node.swap(image)
    says(verify(node, status=65), f"{ZDATA}.key")
    done = node.f3skeys("verify --repair")
    check(done.status not in (0, 64), done)
    says(done, "UFS", "-> ")
    check(node.f3skeys("new-key f0.lan.buetow.org:ufs").status not in (0, 64), "new-key")
    check(image.name not in lab.sticks.changed(), "the stick was written to")


@scenario("verify --store DIR checks a copy anywhere, needs no stick, and finds a flipped bit")
def copy(node, lab):
    image = lab.sticks.make("ext4", fs="ext4")
    node.unplug()
    for path, data in stick.files(image).items():
        node.write(f"/run/copy/{path}", data, "0400")
    verify(node, "--store /run/copy")
    flipped = bytes([lab.pools.key(ZDATA)[0] ^ 1]) + lab.pools.key(ZDATA)[1:]
    node.write(f"/run/copy/{ZDATA}.key", flipped, "0400")
    says(verify(node, "--store /run/copy", 65), f"{ZDATA}.key")
    node.ok("rm -r /run/copy")


def new_key(node, name, more="", config=None):
    """Runs `new-key`, which has to work."""
    done = node.f3skeys(f"new-key {more} {name}", config)
    check(done.status == 0, done)
    node.check_store_unmounted()
    return done


def printed(done):
    """The commands and the line of configuration that `new-key` has printed."""
    lines = [line.strip() for line in done.out.splitlines() if line.startswith("    ")]
    check(len(lines) == 4 and "zfs create" in lines[1] and "dataset:" in lines[3], done)
    return "\n".join(["set -e", *lines[:3]]), lines[3]


@scenario("new-key: the printed commands and the line of configuration work as printed; after a power cut the root is open")
def new_root(node, lab):
    image = mine(node, lab, "new-root")
    done = new_key(node, "photos", "--for zdata/photos")
    check_keys(lab, image)
    check(len(keys_on(image)["f0.lan.buetow.org:photos"]) == 32, "no such key")
    verify(node)
    commands, root = printed(done)
    node.ok(commands)
    node.ok("echo one > /data/photos/ONE; test -e /data/photos/ONE")
    text = node.ok("cat /etc/f3skeys.ron")
    node.write("/etc/f3skeys.ron", text.replace("roots: [", f"roots: [\n{root}"), "0600")
    node.ok("sync")
    node.reset()
    node.settled()
    node.quiet()
    check(node.unit("f3skeys.service")["ExecMainStatus"] == "0", node.unit("f3skeys.service"))
    node.check_loaded(*ROOTS)
    node.check_mounted(PLACES | {"/data/photos": "zdata/photos"})
    node.ok("test -e /data/photos/ONE")
    says(verify(node, "--pools"), "zdata/photos")
    node.ok("zfs unmount zdata/photos; zfs unload-key zdata/photos; zfs destroy zdata/photos")
    node.write("/etc/f3skeys.ron", text, "0600")


@scenario("new-key of a name that is taken, of another node's, of none: refused, nothing is written")
def taken(node, lab):
    mine(node, lab, "taken")
    before = stick.files(node.stick)
    for name in (ZDATA, "zdata", OTHER, "f1.lan.buetow.org:photos", "../photos", "f0.lan.buetow.org:a/b", "''"):
        done = node.f3skeys(f"new-key {name}")
        check(done.status != 0 and not done.out, done)
    check(stick.files(node.stick) == before, "something was written")


@scenario("new-key on a stick that is full: it fails and says so, all earlier keys verify; with room it works")
def full(node, lab):
    image = mine(node, lab, "full")
    disk = "/dev/disk/by-id/usb-*4C530001*"
    node.ok(f"mount {disk} /mnt; dd if=/dev/zero of=/mnt/holiday bs=1k 2> /dev/null; sync; umount /mnt")
    name = "f0.lan.buetow.org:full"
    done = node.f3skeys(f"new-key {name}")
    check(done.status not in (0, 64) and "zfs create" not in done.out, done)
    says(done, "full", "-> ")
    check_after(node, lab, image)
    node.ok(f"mount {disk} /mnt; rm /mnt/holiday; umount /mnt")
    new_key(node, name)
    verify(node, "--pools")


def check_after(node, lab, image, *new):
    """After something was cut: every earlier key is whole, and `verify` finds at the most what is
    left over of the `new` keys. Returns the shape of what has reached the stick."""
    check_keys(lab, image)
    check_keys(lab, image, mended=True)
    done = node.f3skeys("verify --json")
    told = lab.json(done.out)
    check(done.status in (0, 65), done)
    for damage in told["damage"]:
        check(damage["path"].endswith("state.ron") or any(name in damage["path"] for name in new), done)
    whole = {line["key"] for line in told["keys"] if any(one["verified"] for one in line["generations"])}
    check(whole >= set(lab.sticks.keys), done)
    # What reached the journal alone is seen once that is replayed, as the next writing verb does.
    return frozenset(re.sub(r"[0-9a-f]{64}", "F", path) for path in stick.files(image, mended=True))


def slowed(node, run):
    """Slows the stick down, so that a run has moments that can be told apart; returns its length."""
    node.slow(60)
    began = time.monotonic()
    node.ok(run)
    return time.monotonic() - began


def kill_at(node, run, moment):
    """Kills a run so many seconds after its begin; returns when its mount is gone, too."""
    node.ok(f"f3skeys {run} > /dev/null 2>&1 & sleep {moment:.2f}; kill -9 $!; wait $! || true")
    node.until(f"! grep -l {STORE_MOUNT} /proc/[0-9]*/mounts", 30, "the killed run's mount goes away by itself")
    # The mount is gone from the tables before its last blocks are on the medium.
    disk = f"$(readlink -f /dev/disk/by-id/usb-*{stick.SERIAL}*)"
    alone = f"import os; os.open('{disk}', os.O_RDWR | os.O_EXCL)"
    node.until(f'python3 -c "{alone}"', 30, "the stick is let go")


@scenario("the stick pulled at ten moments of a new-key: every earlier key is whole, at most the new one is missing")
def pulled(node, lab):
    image = mine(node, lab, "pulled")
    length = slowed(node, "f3skeys new-key f0.lan.buetow.org:uncut")
    seen, names = set(), ["f0.lan.buetow.org:uncut"]
    for part in range(10):
        names.append(f"f0.lan.buetow.org:pulled{part}")
        ended = node.begin(f"f3skeys new-key {names[-1]}")
        time.sleep(length * (part + 0.5) / 10)
        node.unplug()
        done = ended()
        check(("zfs create" in done.out) == (done.status == 0), done)
        node.insert(image)
        shape = check_after(node, lab, image, *names)
        check(done.status != 0 or names[-1] in keys_on(image), f"said to be there, and is not\n{done}")
        seen.add(frozenset(path.replace(names[-1], "NEW") for path in shape if names[-1] in path))
        node.slow(60)
    node.slow(0)
    check(len(seen) > 1, f"every pull hit the same moment: {seen}")
    verify(node, "--repair")
    node.boot()


@scenario("new-key killed (-9) at ten moments: every earlier key is whole, at most the new one is missing")
def killed(node, lab):
    image = mine(node, lab, "killed")
    length = slowed(node, "f3skeys new-key f0.lan.buetow.org:uncut")
    seen, names = set(), ["f0.lan.buetow.org:uncut"]
    for part in range(10):
        names.append(f"f0.lan.buetow.org:killed{part}")
        kill_at(node, f"new-key {names[-1]}", length * (part + 0.5) / 10)
        shape = check_after(node, lab, image, *names)
        seen.add(frozenset(path.replace(names[-1], "NEW") for path in shape if names[-1] in path))
    node.slow(0)
    check(len(seen) > 1, f"every kill hit the same moment: {seen}")
    verify(node, "--repair")
    verify(node, "--pools")


@scenario("verify --repair killed (-9) at ten moments: no key loses its last whole copy, a second run finishes")
def killed_repair(node, lab):
    image = mine(node, lab, "killed-repair")
    spoil = (f"mount /dev/disk/by-id/usb-*{stick.SERIAL}* /mnt && cd /mnt && head -c 32 /dev/zero > {ZDATA}.key && "
             f"head -c 32 /dev/zero > $(ls .f3skeys/{BHYVE}/*.key) && rm {STATE} && cd / && umount /mnt")
    node.ok(spoil)
    length, seen = slowed(node, "f3skeys verify --repair"), set()
    for part in range(10):
        node.slow(0)
        node.ok(spoil)
        node.slow(60)
        kill_at(node, "verify --repair", length * (part + 0.5) / 10)
        content = stick.files(image)
        whole = {data for path, data in content.items() if not path.startswith(ASIDE)}
        lost = [name for name in lab.sticks.keys if lab.pools.key(name) not in whole]
        check(not lost, f"no whole copy left of {lost}: {sorted(content)}")
        seen.add(frozenset(path for path, data in content.items() if data == bytes(32) or path == STATE))
        node.slow(0)
        verify(node, "--repair")
        check_keys(lab, image)
    check(len(seen) > 1, f"every kill hit the same moment: {seen}")


OWNER = OTHER.split(":")[0]
PEERS = ("    gates: [", f'    peers: [(name: "{OWNER}", ssh: "root@f1")],\n    gates: [')


def hand_over(node, config, fingerprint, data, status=0):
    """What the forced command makes of a key that its owner hands over, in one generation."""
    generation = {"generation": 1, "fingerprint": fingerprint, "state": "current"}
    merge = {"key": OTHER, "list": [generation], "bring": [fingerprint], "nonce": "1" * 64}
    put = {"merge": merge, "vouched": None}
    line = json.dumps({"version": 2, "from": OWNER, "ask": {"put": put}}).encode() + b"\n"
    done = node.sh(f"/usr/sbin/f3skeys --config {config} receive --from {OWNER}", line + data)
    check(done.status == status, f"wanted exit {status}\n{done}")
    node.check_store_unmounted()
    return done


@scenario("a key that its owner hands over takes the place of damaged copies, proven; other bytes: not one is written")
def handed_over(node, lab):
    image = mine(node, lab, "handed", lambda tree: stick.truncate(tree, OTHER))
    config = node.configure(PEERS)
    key, before = lab.pools.key(OTHER), stick.files(image)
    [fingerprint] = re.findall(rf"{OTHER}/1-([0-9a-f]{{64}})\.key", " ".join(before))
    for wrong in (b"", key[:-1], key + b"\n", bytes(32)):
        done = hand_over(node, config, fingerprint, wrong, 65)
        check(not done.out and done.err.strip(), done)
    check(stick.files(image) == before, "something was written")
    done = hand_over(node, config, fingerprint, key)
    [held] = lab.json(done.out)["answer"]["key"]["held"]
    check(held["whole"] and held["generation"]["fingerprint"] == fingerprint, held)
    check(re.fullmatch("[0-9a-f]{64}", held["proof"]), held)
    check(key.hex() not in done.out.lower(), "a key byte was handed out")
    check_keys(lab, image)
    verify(node, "--pools")
    after = stick.files(image)
    first, again = (json.loads(told)["answer"]["key"] for told in (done.out, hand_over(node, config, fingerprint, key).out))
    check(first.pop("challenge") != again.pop("challenge"), "a number was given twice")
    check(first == again, "another answer")
    check(stick.files(image) == after, "what is there already was written again")


def break_glass(node, root, key, status=0):
    """Opens a root with a key from elsewhere."""
    command = f"f3skeys --config {CONFIG} boot --root {root} --key-from-stdin"
    done = node.sh(command, key)
    check(done.status == status, f"wanted exit {status}\n{done}")
    return done


@scenario("boot --root DS --key-from-stdin opens a root without the stick; a wrong key opens nothing; a replica is sealed first")
def glass(node, lab):
    node.shut()
    node.unplug()
    node.configure()
    says(break_glass(node, "zdata/enc", lab.pools.key(BHYVE), 65), "zdata/enc")
    break_glass(node, "zdata/enc", lab.pools.key(ZDATA)[:31], 65)
    node.check_loaded()
    break_glass(node, "zdata/enc", lab.pools.key(ZDATA))
    node.check_loaded("zdata/enc")
    break_glass(node, REPLICA, lab.pools.key(OTHER))
    node.check_loaded("zdata/enc", REPLICA)
    check(node.get("readonly", REPLICA) == "on", "the replica is not sealed")
    node.ok(f"zfs mount zdata; zfs mount {REPLICA}; zfs mount {REPLICA}/child")
    node.check_replica_clean()
    node.f3skeys("ready")
    node.check_open("nfs")
    node.insert(node.stick)


@scenario("argv, environment, output and files of all these verbs: no key byte in any, old keys and new")
def traces(node, lab):
    image = mine(node, lab, "traces", lambda tree: stick.flip(tree, ZDATA, only=1))
    node.ok(f"mkdir -p {PLACE}; rm -rf {PLACE}/*")
    verbs = ("verify --pools --repair --json", "new-key traced", "rehearse --json", "doctor --json", "adopt")
    for number, verb in enumerate(verbs):
        node.sh(f"strace -f -v -s 65536 -e trace=execve,execveat -o {PLACE}/execs.{number} "
                f"f3skeys {verb} > {PLACE}/out.{number} 2>&1")
        check("execve" in node.ok(f"cat {PLACE}/execs.{number}"), f"no trace of {verb}")
    node.shut()
    node.sh(f"strace -f -v -s 65536 -e trace=execve,execveat -o {PLACE}/execs.glass "
            f"f3skeys boot --root zdata/enc --key-from-stdin > {PLACE}/out.glass 2>&1", lab.pools.key(ZDATA))
    node.boot()
    node.f3skeys("ready")
    new = keys_on(image)
    check(len(new) == len(lab.sticks.keys) + 1, new.keys())
    node.ok(f"journalctl --sync; journalctl -o export > {PLACE}/journal; dmesg > {PLACE}/dmesg")
    check_clean(node, new.values(), PLACE, "/var/log", "/var/lib/f3skeys", "/run/f3skeys", "/etc", "/tmp", "/root")
    node.check_disks_clean(new.values())


@scenario("after all this: neither the replica nor its child was ever writable, written = 0")
def replica(node, lab):
    node.check_mounted(PLACES)
    node.check_replica_clean()
