"""The key of a replicated root is rotated on two nodes, with raw replication all the time; killed,
cut off and refused in every way."""

import os
import re

from memory import Memory, image_of, keys_on
from node import check, says
from pair import COPY, SERIAL, SERVED, Pair
from scenarios import group

KEY = "f0.lan.buetow.org:zdata"
ROOT = "zdata/enc"
OPEN = {ROOT, "zroot/bhyve", "zdata/sink/f1/data"}
# Each node has one stick.
STICK = f"/dev/disk/by-id/usb-*{SERIAL['f0'][:6]}*"
CUTS = int(os.environ.get("F3SKEYS_LAB_CUTS", "20"))
BOOT_LIMIT = 300
# Each file system in a stream of its own, as zrepl and syncoid do it; what fails is written down.
REPLICATE = f"""#!/bin/sh
number=$(cat /root/sent)
next=$((number + 1))
zfs snapshot -r {SERVED}@r$next || exit 1
for name in nfsdata nfsdata/deep; do
	zfs send -w -i @r$number zdata/enc/$name@r$next | ssh f1-data zfs recv -u zpeer/sink/f0/$name ||
		{{ echo "$name r$next" >> /root/not-sent; exit 1; }}
done
echo $next > /root/sent
"""
FOREVER = "while sleep 1; do /root/replicate; done"
APART = f"""set -e
zfs snapshot -r {SERVED}@r0
zfs send -w {SERVED}@r0 | ssh f1-data zfs recv -u -o readonly=on -o mountpoint=/data/nfs {COPY}
zfs send -w {SERVED}/deep@r0 | ssh f1-data zfs recv -u -o readonly=on {COPY}/deep
echo 0 > /root/sent
sync
"""


def rotation(lab):
    """Both nodes, whose keys are rotated."""
    return with_sticks(lab, "rotation", 3600 + BOOT_LIMIT * CUTS)


def with_sticks(lab, name, life):
    """Both nodes up, each with a stick that may be written to; f0 wants one copy of each key."""
    made = Pair(lab, name, life=life)
    images = {one: lab.sticks.make(f"ext4-{one}", fs="ext4") for one in SERIAL}
    made.start({one: lab.sticks.own(image, f"{name}-{one}") for one, image in images.items()})
    made.f0.pair, made.f0.f1 = made, made.f1
    made.f0.ok("sed -i 's|^    peers: |    min_copies: 1,\\n&|' /etc/f3skeys.ron; sync")
    for one in (made.f0, made.f1):
        one.unwatched()
    return made.f0


scenario = group(rotation)


def rotate(node, arguments="", status=0, key=KEY):
    """Runs `rotate` for the key and demands its exit status."""
    done = node.f3skeys(f"rotate {key} {arguments}", limit=600)
    check(done.status == status, f"wanted exit {status}\n{done}")
    node.check_store_unmounted()
    return done


def state(node):
    """What `rotate --status` says, as {generation: standing}, and who is opened by what."""
    text = rotate(node, "--status").out
    standings = dict(re.findall(r"^  generation \d+ (\w+): (\w+)$", text, re.M))
    opened = dict(re.findall(r"^  (.+): opened by (\w+)$", text, re.M))
    return standings, opened


def pruned(node, print_, status=0):
    """Prunes a generation, and demands the exit status."""
    done = node.f3skeys(f"prune {KEY} --generation {print_}", limit=200)
    check(done.status == status, f"wanted exit {status}\n{done}")
    return done


def held(node, print_):
    """Whether a file on the node's stick is this generation's."""
    return print_ in node.ok(f"mount -o ro {STICK} /mnt; ls /mnt/.f3skeys/{KEY}; umount /mnt")


def current(node):
    """The current generation."""
    return next(print_ for print_, standing in state(node)[0].items() if standing == "current")


def refused(node, words, key=KEY):
    """It is refused with these words, as a plan and for real, and nothing is other than before."""
    before = node.sh(f"f3skeys rotate {key} --status").out
    for arguments in ("--plan", ""):
        done = rotate(node, arguments, 69, key)
        says(done, *words, "-> ")
        check("changed:" not in done.out, done)
    check(node.sh(f"f3skeys rotate {key} --status").out == before, "something was changed")


def opened_by_boot(node, *wanted):
    """After a power cut without a person: exactly these roots are open."""
    node.settled(BOOT_LIMIT)
    names = node.ok("zfs list -Ho name,encryptionroot,keystatus | awk '$1 == $2 && $3 == \"available\" { print $1 }'")
    check(set(names.split()) >= set(wanted), f"open: {names}")


def power_cut(node):
    """The power of one node goes and comes back."""
    sticks = [(path, serial) for path, serial in node.plugged.values()]
    node.ok("sync")
    node.cut()
    node.power(sticks)
    node.settled(BOOT_LIMIT)
    node.unwatched()


def replicate(node):
    """What was not sent yet arrives."""
    node.ok("/root/replicate", limit=200)


def apart(node, f1):
    """What f0 serves is received anew, each file system in a stream of its own."""
    node.write("/root/replicate", REPLICATE, "0755")
    f1.ok(f"systemctl stop nfs-server nfs-mountd; exportfs -f; set -e; zfs unmount {COPY}; zfs unload-key {COPY}; "
          f"zfs destroy -r {COPY}; sed -i 's|^    roots: \\[|&(dataset: \"{COPY}/deep\", key: \"{KEY}\", role: replica, "
          "required: true),|' /etc/f3skeys.ron; sync")
    node.ok(APART, limit=200)
    for verb in ("boot", "ready"):
        f1.ok(f"f3skeys {verb}")


@scenario("memory of every process of new-key, backup and rotate as it ends, and of what answers them on the other node, started by "
          "the real sshd: no piece of a key, old or new, but in the copies of OpenZFS's library, which are locked")
def memory(node, lab):
    here, there = Memory(node, "here"), Memory(node.f1, "there")
    there.of_peers()
    here.of("f3skeys new-key kept")
    here.of("f3skeys backup")
    here.of("f3skeys rotate bhyve", limit=600)
    there.of_peers(begin=False)
    keys = keys_on(image_of(node), image_of(node.f1))
    # Three of the lab's, one that was made, and one that took the place of another.
    check(len(keys) == 5, f"{len(keys)} keys")
    told = here.check_clean(keys, "new-key", "backup", "rotate"), there.check_clean(keys, "receive")
    return f"here {told[0]}; there {told[1]}"


@scenario("a replica received with -R, whose child inherits its key: refused, nothing is changed")
def inheriting(node, lab):
    refused(node, ("inherits its key", f"{COPY}/deep"))


@scenario("received anew, each file system in a stream of its own: the plan shows every step, and changes nothing")
def plan(node, lab):
    apart(node, node.f1)
    done = rotate(node, "--plan")
    says(done, "stage it", "f1.lan.buetow.org", f"change the key of {ROOT}", "keylocation=file:///keys/")
    check(list(state(node)[0].values()) == ["current"], "a plan changed something")


@scenario("a clone below the root, a rotation on the replica's node: refused, nothing is changed")
def clone_and_stranger(node, lab):
    node.ok("zfs snapshot zdata/enc/apps@c; zfs clone zdata/enc/apps@c zdata/enc/clone")
    refused(node, ("zdata/enc/clone is a clone",))
    node.ok("zfs destroy -r zdata/enc/clone; zfs destroy zdata/enc/apps@c")
    refused(node.f1, ("belongs to f0.lan.buetow.org",))


@scenario("a child that its root's key does not unwrap, on which change-key would make the kernel panic: refused")
def sealed_child(node, lab):
    key = "f0.lan.buetow.org:extra"
    node.ok("f3skeys new-key extra")
    file = f"file:///run/lab-keys/{key}.key"
    node.ok(f"""set -e
mkdir -p /run/lab-keys; mount -o ro {STICK} /run/lab-keys
zfs create -u -o encryption=on -o keyformat=raw -o keylocation={file} zdata/from
zfs create -u zdata/from/child
zfs snapshot -r zdata/from@a
zfs send -R -w zdata/from@a | zfs recv -u zdata/extra
head -c 32 /dev/urandom > /run/other.key
zfs change-key -o keylocation=file:///run/other.key -o keyformat=raw zdata/from
zfs snapshot -r zdata/from@b
zfs send -w -i @a zdata/from/child@b | zfs recv -u zdata/extra/child
zfs load-key -L {file} zdata/extra
umount /run/lab-keys
sed -i 's|^    roots: \\[|&(dataset: "zdata/extra", key: "{key}", role: primary, required: false),|' /etc/f3skeys.ron
""")
    refused(node, ("zdata/extra/child may not be unwrapped",), key)
    node.ok("zfs destroy -r zdata/extra; zfs destroy -r zdata/from; rm /run/other.key; "
            "sed -i 's|(dataset: \"zdata/extra\"[^)]*),||' /etc/f3skeys.ron; sync")


@scenario("rotated while a replicator never rests: every stream arrives, both nodes know, keylocation is as it was")
def rotated(node, lab):
    location = node.get("keylocation", ROOT)
    old = current(node)
    node.ok(f"systemd-run -q --unit=replicator sh -c '{FOREVER}'; sleep 5")
    done = rotate(node)
    says(done, "staged generation 2", "f1.lan.buetow.org holds", f"changed the key of {ROOT}", "not revoked")
    new = current(node)
    check(new != old and state(node)[0][old] == "retained", state(node))
    check(node.get("keylocation", ROOT) == location, node.get("keylocation", ROOT))
    sent = int(node.ok("cat /root/sent"))
    node.until(f"test $(cat /root/sent) -gt {sent + 1}", 120, "the replicator goes on")
    node.ok("systemctl stop replicator; sleep 1; test ! -e /root/not-sent")
    standings, opened = state(node)
    wanted = {ROOT: new, f"{COPY} on f1.lan.buetow.org": new, f"{COPY}/deep on f1.lan.buetow.org": new}
    check(opened == wanted, opened)
    node.check_replica_clean()


@scenario("power cuts on both: each boot opens all with the new generation, without a word")
def after_it(node, lab):
    for one, roots in ((node, OPEN), (node.f1, {"zpeer/data", COPY, f"{COPY}/deep"})):
        power_cut(one)
        opened_by_boot(one, *roots)
        check("ALARM" not in one.sh("journalctl -b -u f3skeys").out, "an alarm")


@scenario("rotated, and the replica has not received it: it is opened by the retained key after a power cut; "
          "`--retire` is refused, and accepted once it has")
def retire(node, lab):
    old = current(node)
    rotate(node)
    power_cut(node.f1)
    opened_by_boot(node.f1, COPY, f"{COPY}/deep")
    says(rotate(node, "--retire", 69), f"{COPY} on f1.lan.buetow.org", f"still opened by {old}")
    replicate(node)
    power_cut(node.f1)
    opened_by_boot(node.f1, COPY, f"{COPY}/deep")
    says(rotate(node, "--retire"), f"retired {old}")
    check(set(state(node)[0].values()) == {"retired", "current"}, state(node))


@scenario("pruned: refused while a root that nobody configured is opened by it, then gone from this stick, and from "
          "the peer's by a person there; both boot without it")
def prune(node, lab):
    old = next(print_ for print_, standing in state(node)[0].items() if standing == "retired")
    node.ok(f"set -e; mount -o ro {STICK} /mnt; zfs create -u -o encryption=on -o keyformat=raw "
            f"-o keylocation=file:///mnt/.f3skeys/{KEY}/$(ls /mnt/.f3skeys/{KEY} | grep {old}) zroot/forgotten; "
            "umount /mnt")
    says(pruned(node, old, 69), "zroot/forgotten: is opened by", "-> ")
    node.ok("zfs destroy zroot/forgotten; zpool checkpoint zroot; zfs create zroot/x; zfs destroy zroot/x; zpool sync zroot")
    says(pruned(node, old, 69), "zroot: not known which key opens it: it has a checkpoint")
    node.ok("zpool checkpoint -d -w zroot")
    says(pruned(node.f1, old, 69), "f0.lan.buetow.org has not pruned it")
    says(node.f3skeys(f"prune {KEY}"), f"--generation {old}", "is the current generation")
    check(held(node, old) and held(node.f1, old), "something was pruned already")
    says(pruned(node, old), "removed .f3skeys/", "f1.lan.buetow.org: holds")
    check(not held(node, old) and held(node.f1, old), "the wrong stick was pruned")
    pruned(node.f1, old)
    check(not held(node.f1, old), "it is there still")
    for one, roots in ((node, OPEN), (node.f1, {"zpeer/data", COPY, f"{COPY}/deep"})):
        power_cut(one)
        opened_by_boot(one, *roots)
    says(node.f3skeys("verify"), KEY)


@scenario("what the articles do by hand still works: zfs load-key -L with the file at the top, on both nodes")
def by_hand(node, lab):
    for one, root in ((node, ROOT), (node.f1, COPY)):
        one.ok(f"mount -o ro {STICK} /mnt; zfs load-key -n -L file:///mnt/{KEY}.key {root}; umount /mnt")


@scenario("a loaded root with a hex key, and one with a passphrase, are taken over by raw keys of the store: the next boot "
          "opens both")
def taken_over(node, lab):
    for name, secret in (("hex", f"{7:064d}"), ("pass", "correct horse battery staple")):
        key, root = f"f0.lan.buetow.org:{name}", f"zdata/{name}"
        node.ok(f"zfs load-key {root}", f"{secret}\n".encode())
        node.ok("sed -i 's|^    roots: \\[|&(dataset: \"%s\", key: \"%s\", role: primary, required: false),|' "
                "/etc/f3skeys.ron; sync" % (root, key))
        says(rotate(node, status=69, key=key), "--take-over")
        says(rotate(node, "--take-over", key=key), f"changed the key of {root}")
        check(node.get("keyformat", root) == "raw", "it has its old format")
    power_cut(node)
    opened_by_boot(node, "zdata/hex", "zdata/pass", *OPEN)


@scenario(f"the power of a node goes at {CUTS} moments of a rotation: every boot opens all, `--resume` finishes it")
def cut(node, lab):
    rotate(node)
    length = node.report("rotate")["millis"] / 1000
    replicate(node)
    rotate(node, "--retire")
    seen = set()
    for part in range(CUTS):
        victim = node.f1 if part % 4 == 3 else node
        node.ok(f"systemd-run -q f3skeys rotate {KEY}; sleep {length * (part + 0.5) / CUTS:.2f}")
        power_cut(victim)
        if victim is node.f1:
            node.until("! pgrep -x f3skeys", 400, "the rotation ends, or gives up")
        opened_by_boot(node, *OPEN)
        # What it changes after a cut tells where that was.
        seen.add(re.sub(r"\b[0-9a-f]{8}\b|\d+", "N", rotate(node, "--resume").out))
        replicate(node)
        standings, opened = state(node)
        new = next(print_ for print_, standing in standings.items() if standing == "current")
        check("staged" not in standings.values(), standings)
        check(len(opened) == 3 and set(opened.values()) == {new}, (standings, opened))
        rotate(node, "--retire")
    check(len(seen) > 2 or CUTS < 8, f"the cuts hit few moments: {seen}")
    return f"{len(seen)} different ends"
    node.check_replica_clean()


@scenario("the stick read-only, full, pulled: it fails and says so, all opens, `--resume` or a new run finishes it")
def stick_faults(node, lab):
    node.ok(f"blockdev --setro {STICK}")
    says(rotate(node, status=69), "writing on the key store", "nothing was changed", "-> ")
    node.ok(f"blockdev --setrw {STICK}")
    node.ok(f"mount {STICK} /mnt; dd if=/dev/zero of=/mnt/holiday bs=1k 2> /dev/null; sync; umount /mnt")
    before = state(node)[1]
    says(rotate(node, status=69), "No space left", "--resume")
    check(state(node)[1] == before, "a key was changed")
    node.ok(f"mount {STICK} /mnt; rm /mnt/holiday; umount /mnt")
    rotate(node, "--resume")
    check("staged" not in state(node)[0].values(), state(node))
    node.slow(60)
    ended = node.begin(f"f3skeys rotate {KEY}")
    node.until("pgrep -x f3skeys", 20, "it is at work")
    node.ok("sleep 3")
    image = next(iter(node.plugged.values()))[0]
    node.unplug()
    check(ended().status != 0, "it was done before the stick was pulled")
    node.insert(image)
    rotate(node, "--resume")
    standings, opened = state(node)
    check(standings[opened[ROOT]] == "current" and "staged" not in standings.values(), (standings, opened))
    rotate(node)


@scenario("the peer is away, its stick is out, its clock is wrong: refused before anything is changed; a clock is no matter")
def peer_faults(node, lab):
    f1 = node.f1
    image = next(iter(f1.plugged.values()))[0]
    f1.ok("systemctl stop ssh.socket ssh")
    refused(node, ("f1.lan.buetow.org: holds", "does not answer"))
    f1.ok("systemctl start ssh")
    f1.unplug()
    refused(node, ("f1.lan.buetow.org: holds", "does not answer"))
    f1.insert(image, SERIAL["f1"])
    f1.ok("date -s 2001-01-01")
    rotate(node)
    f1.ok("date -s @$(( $(date +%s) + 800000000 ))")
    replicate(node)
    rotate(node, "--retire")


@scenario("a zfs that never returns: refused as not known, never as a wrong key; a suspended pool as well")
def could_not_ask(node, lab):
    from scenarios.faults import hang, keep_zfs, no_stand_in, suspend
    keep_zfs(node)
    hang(node, "load-key")
    done = node.f3skeys(f"rotate {KEY}", limit=600)
    no_stand_in(node)
    check(done.status == 69, done)
    says(done, "not known which key opens it")
    hang(node, "change-key")
    before = state(node)[1]
    says(rotate(node, status=69), ROOT, "--resume")
    no_stand_in(node)
    check(state(node)[1] == before, "its key was changed by a zfs that hangs")
    rotate(node, "--resume")
    suspend(node, "zroot")
    rotate(node)
    suspend(node, "zdata")
    done = node.f3skeys(f"rotate {KEY}", limit=600)
    check(done.status == 69, done)
    says(done, "suspended")
