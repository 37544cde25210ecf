"""Three nodes and real sshds between them, each with a stick of its own: every key ends on every
stick, is proven there, rots and is mended; peers lose their power and their sticks; a node is new,
gets another name, goes."""

import os
import re

from node import check, says
from pair import COPY, NEW_DISK, SERIAL, Pair
from scenarios import group
from scenarios.firstday import disk_of
from scenarios.store import new_key, printed
import stick

CUTS = max(1, int(os.environ.get("F3SKEYS_LAB_CUTS", "20")) // 2)
BOOT_LIMIT = 300
KEYS = {f"{one}.lan.buetow.org:{name}" for one in SERIAL for name in ("zdata", "bhyve")}
# Each node has one stick.
STICK = f"/dev/disk/by-id/usb-*{SERIAL['f0'][:6]}*"
PEER = '(name: "{0}.lan.buetow.org", ssh: "root@{0}.lan.buetow.org")'
# What each node comes up with.
OPEN = {"f0": {"zdata/enc", "zroot/bhyve", "zdata/sink/f1/data"}, "f1": {"zpeer/data", COPY},
        "f2": {"zroot/zdata", "zroot/bhyve"}}
SPARE = "4C5300FE"
# As in sysexits(3).
BAD_CONFIG = 78


def backup(lab):
    """All three up; each stick holds the keys of its own node alone, and f2's nothing at all."""
    made = Pair(lab, "backup", life=3600 + BOOT_LIMIT * CUTS, names=tuple(SERIAL))
    images = {one: own_keys(lab, made, one) for one in ("f0", "f1")}
    made.start(images | {"f2": lab.sticks.own(lab.sticks.blank(), "backup-f2")})
    made.f0.all = {one: getattr(made, one) for one in SERIAL}
    for one in made.f0.all.values():
        one.unwatched()
    made.f0.trio = made
    return made.f0


scenario = group(backup)


def own_keys(lab, made, one):
    """A stick with the keys that one node owns."""
    keys = {name: path for name, path in lab.sticks.keys.items() if name.startswith(one)}
    return stick.Sticks(made.folder, keys).make(f"own-{one}", fs="ext4")


def run(node, arguments, status=0, limit=300):
    """Runs a verb and demands its exit status; the store is mounted for nobody after it."""
    done = node.f3skeys(arguments, limit=limit)
    check(done.status == status, f"wanted exit {status}\n{done}")
    node.check_store_unmounted()
    return done


def edit(node, script):
    """Changes the configuration as a person does."""
    node.ok(f"sed -i '{script}' /etc/f3skeys.ron; sync")
    check(node.f3skeys("plan").status != BAD_CONFIG, node.ok("cat /etc/f3skeys.ron"))


def on_stick(node):
    """Every key that lies on the node's stick, by its generation's file, with a sum of its bytes."""
    text = node.ok(f"mount -o ro {STICK} /mnt; cd /mnt/.f3skeys; sha256sum */*.key; cd /; umount /mnt")
    return {path: digest for digest, path in (line.split() for line in text.splitlines())}


def owned(one, files):
    """Those of one node."""
    return {path: digest for path, digest in files.items() if path.startswith(f"{one}.")}


def is_well(node, copies):
    """All copies of this node's keys are proven, by all peers."""
    done = run(node, "status --peers")
    says(done, f"{copies} of {copies} copies proven")
    # Nobody needs to do anything.
    check("->" not in done.out, done)


def mended(node, *words):
    """`status --peers` finds something wrong and says it in these words; the command that it names
    mends it."""
    done = run(node, "status --peers", 69)
    says(done, *words)
    commands = set(re.findall(r"-> `f3skeys ([^`]+)`", done.out))
    check(commands, f"no command is named\n{done}")
    for command in commands:
        run(node, command)
    check(run(node, "status --peers").status == 0, "it is not mended")
    return commands


def daily(node):
    """Runs the job of the timer now; its exit status."""
    return node.sh("systemctl start f3skeys-copies.service", limit=300).status


def opened(one, node):
    """After a boot without a person: its roots are open, and the keys are whole."""
    names = node.ok("zfs list -Ho name,encryptionroot,keystatus | awk '$1 == $2 && $3 == \"available\" { print $1 }'")
    check(set(names.split()) >= OPEN[one], f"{one}: open: {names}\n{node.journal()}")
    node.check_store_unmounted()


def power_cut(one, node):
    """The power of a node goes and comes back."""
    sticks = list(node.plugged.values())
    node.cut()
    node.power(sticks)
    node.settled(BOOT_LIMIT)
    node.unwatched()
    opened(one, node)


@scenario("a new node: `init`, `new-key`, its roots made as the program prints it, and a boot")
def new_node(node, lab):
    f2 = node.all["f2"]
    run(f2, f"init --device {disk_of(f2, SERIAL['f2'])} --serial {SERIAL['f2']}")
    f2.ok(f"zpool create -O mountpoint=none zroot /dev/disk/by-id/virtio-{NEW_DISK}")
    for name in ("zdata", "bhyve"):
        commands, root = printed(new_key(f2, name, f"--for zroot/{name}"))
        f2.ok(commands)
        check(root.split("required")[0] in f2.ok("cat /etc/f3skeys.ron"), root)
    f2.ok("zfs set mountpoint=/own zroot/zdata; echo mine > /own/FILE; sync; zpool sync")
    power_cut("f2", f2)
    check(f2.ok("cat /own/FILE") == "mine\n", "not mounted")


@scenario("its line in `peers` of the others and the authorized_keys lines, then `backup` on each: all six keys of the three "
          "are on every stick, byte for byte, and proven; a replica that had no key here opens")
def six_keys(node, lab):
    nodes = node.all
    says(run(nodes["f2"], "backup", 69), "f0.lan.buetow.org", "->")
    check(on_stick(nodes["f1"]) == owned("f1", on_stick(nodes["f1"])), "more than its own")
    check(nodes["f1"].get("keystatus", COPY) == "unavailable", "it needs no key")
    for one in ("f0", "f1"):
        edit(nodes[one], f"s|^    peers: .|&{PEER.format('f2')}, |")
        node.trio.let_ask(nodes[one], "f2")
        node.trio.let_ask(nodes["f2"], one)
    new_key(nodes["f1"], "bhyve")
    for one in nodes:
        done = run(nodes[one], "backup")
        says(done, "handed over, and proven", "2 of 2 keys proven")
    found = {one: on_stick(nodes[one]) for one in nodes}
    check({path.split("/")[0] for path in found["f0"]} == KEYS, found["f0"])
    check(found["f0"] == found["f1"] == found["f2"], found)
    for one in nodes:
        is_well(nodes[one], 4)
        done = run(nodes[one], "backup")
        check("handed over" not in done.out, f"written again\n{done}")
    check(daily(node) == 0, "the daily job fails")
    said = node.sh("journalctl -b -o cat -u f3skeys-copies").out
    check("f3skeys:" not in said and "proven" not in said, f"all is well, and it is not quiet: {said}")
    power_cut("f1", nodes["f1"])
    return "6 keys on 3 sticks"


@scenario("one peer is away: the other has the new key all the same, the exit status says that not all have it; the command "
          "that `status --peers` names brings it when the peer is back")
def away(node, lab):
    f2 = node.all["f2"]
    f2.ok("systemctl stop ssh.socket ssh")
    new_key(node, "more")
    done = run(node, "backup", 69)
    says(done, "f1.lan.buetow.org: f0.lan.buetow.org:more: ", "missing; handed over, and proven", "f2.lan.buetow.org", "-> ")
    says(run(node, "status --peers", 69), "does not answer", "last proven", "never proven")
    check(daily(node) != 0, "the daily job is content")
    said = node.ok("journalctl -b -o cat -u f3skeys-copies")
    check("f2.lan.buetow.org" in said and "->" in said, said)
    f2.ok("systemctl start ssh")
    check(mended(node, "missing") == {"backup --to f2.lan.buetow.org"}, "more than one command")


@scenario("bit rot on a peer, in a generation and in the copy at the top; a file that is gone: found by `status --peers`, mended "
          "by the commands that it names, by the same bytes")
def rot(node, lab):
    f1 = node.all["f1"]
    before = on_stick(f1)
    for what, word in (("generation", "damaged"), ("gone", "missing")):
        file = sorted(path for path in owned("f0", before) if "bhyve" in path)[0]
        harm = {"generation": "printf x | dd of=$file bs=1 seek=17 conv=notrunc", "gone": "rm $file"}[what]
        f1.ok(f"set -e; mount {STICK} /mnt; file=/mnt/.f3skeys/{file}; chmod 600 $file; {harm}; umount /mnt; sync")
        mended(node, "f1.lan.buetow.org", word)
        check(on_stick(f1) == before, f"{what}: other bytes")
    f1.ok(f"set -e; mount {STICK} /mnt; file=/mnt/f0.lan.buetow.org:bhyve.key; chmod 600 $file; "
          "printf x | dd of=$file bs=1 seek=3 conv=notrunc; umount /mnt; sync")
    # Those could be the bytes of another key: what to do with them, a person there decides.
    says(run(node, "status --peers", 69), "a file of it damaged", "-> `f3skeys backup --to f1", "`f3skeys verify --repair` there")
    says(run(node, "backup --to f1.lan.buetow.org", 69), "-> `f3skeys verify --repair` there")
    run(f1, "verify --repair")
    is_well(node, 6)
    check(before.items() <= on_stick(f1).items(), "other bytes")
    run(f1, "verify")


@scenario("over the real sshd: rubbish, an endless question, an early end, a shell, a file, a tunnel: refused, the stick is "
          "not touched, no key byte comes back, nothing is left running")
def attack(node, lab):
    f1 = node.all["f1"]
    before = on_stick(f1)
    keys = [f1.ok(f"mount -o ro {STICK} /mnt; od -An -v -tx1 '/mnt/{name}.key' | tr -d ' \\n'; umount /mnt") for name in sorted(KEYS)]
    check(all(len(key) == 64 for key in keys), "no keys to look for")
    ask = "timeout 200 ssh -o BatchMode=yes root@f1.lan.buetow.org"
    for attempt in ("head -c 100000 /dev/urandom | {}", "yes | head -c 300000000 | {}", "printf '{{' | {}", ": | {}",
                    "{} cat '/keys/*' < /dev/null", "{} sh -c 'mount; cat /etc/f3skeys.ron' < /dev/null",
                    "{} -s sftp < /dev/null", "{} -W 127.0.0.1:111 < /dev/null"):
        done = node.sh(attempt.format(ask), limit=300)
        check(done.status != 0, f"it was taken\n{done}")
        said = done.raw + done.raw_err
        check(not any(bytes.fromhex(key)[:8] in said or key[:16].encode() in said for key in keys), "key bytes")
        check(b"f3skeys.ron" not in said and b"store:" not in said, done)
    f1.until("! pgrep -x f3skeys", 100, "nothing is left running")
    check(on_stick(f1) == before, "the stick was written to")
    is_well(node, 6)


@scenario("a rotation tells both peers; one that was away is told by `backup`")
def rotated(node, lab):
    f2 = node.all["f2"]
    f2.ok("systemctl stop ssh.socket ssh")
    edit(node, "s|^    peers: |    min_copies: 1,\\n&|")
    done = node.f3skeys("rotate bhyve", limit=600)
    says(done, "f1.lan.buetow.org holds", "f2.lan.buetow.org")
    f2.ok("systemctl start ssh")
    mended(node, "missing")
    files = {one: owned("f0", on_stick(each)) for one, each in node.all.items()}
    check(files["f0"] == files["f1"] == files["f2"] and len(files["f0"]) == 4, files)


@scenario("the stick of a node is lost: another one, `init`, `receive --rebuild`, a peer's `backup --to --rebuild`, `rehearse`; "
          "all keys are on it, of all nodes, and the boot after it opens all")
def lost_stick(node, lab):
    f1 = node.all["f1"]
    before = on_stick(f1)
    f1.unplug()
    says(run(node, "status --peers", 69), "f1.lan.buetow.org: NOT AS IT SHOULD BE")
    f1.insert(lab.sticks.own(lab.sticks.blank(), "backup-spare"), SPARE)
    edit(f1, f"s|{SERIAL['f1']}|{SPARE}|")
    run(f1, f"init --device {disk_of(f1, SPARE)} --serial {SPARE}")
    says(run(node, "backup --to f1.lan.buetow.org --rebuild", 69), "it is not open for a rebuild")
    says(run(f1, "receive --rebuild --from f0.lan.buetow.org"), "backup --to f1.lan.buetow.org --rebuild")
    says(run(f1, "status"), "is open for a rebuild", "f0.lan.buetow.org")
    says(run(node, "backup --to f1.lan.buetow.org --rebuild"), "7 of 7 keys proven")
    run(f1, "receive --rebuild --end")
    check(on_stick(f1) == before, "not what was on the lost one")
    run(f1, "verify --pools")
    says(run(f1, "rehearse", limit=600), "yes, it would come back")
    power_cut("f1", f1)
    for one, copies in (("f0", 6), ("f1", 4), ("f2", 4)):
        is_well(node.all[one], copies)


@scenario("a node gets another name: new keys, its roots taken over by them, its line in `peers`; all are on all sticks, the old "
          "ones too, and its boot opens all")
def renamed(node, lab):
    f2, old = node.all["f2"], on_stick(node)
    f2.ok("echo f3.lan.buetow.org > /etc/hostname; hostname f3.lan.buetow.org")
    f2.ok("sed -i 's|f2.lan.buetow.org|f3.lan.buetow.org|' /etc/f3skeys.ron; sync")
    for name in ("zdata", "bhyve"):
        new_key(f2, name)
    for one in ("f0", "f1"):
        node.all[one].ok("sed -i '/receive --from f2/d' /root/.ssh/authorized_keys")
        edit(node.all[one], "s|f2.lan.buetow.org|f3.lan.buetow.org|g")
        node.trio.let_ask(node.all[one], "f2", "f3")
    run(f2, "backup")
    for name in ("zdata", "bhyve"):
        run(f2, f"rotate {name} --take-over", limit=600)
    power_cut("f2", f2)
    for one in ("f0", "f1"):
        run(node.all[one], "backup")
    files = {one: on_stick(each) for one, each in node.all.items()}
    check(files["f0"] == files["f1"] == files["f2"], files)
    check(old.items() <= files["f0"].items(), "an old key is gone")
    check(len(owned("f3", files["f0"])) >= 2, files)


@scenario("a node goes: out of `peers`, and all is well without it; its keys stay")
def removed(node, lab):
    before = on_stick(node)
    node.all["f2"].ok("systemctl stop ssh.socket ssh")
    edit(node, "s|" + PEER.format("f3") + ", ||")
    is_well(node, 3)
    check(on_stick(node) == before, "something was removed")


@scenario(f"the power of a peer goes at {CUTS} moments of a backup: it boots, no key is lost or half there, and the next "
          "`backup` brings what is missing")
def cut(node, lab):
    f1, kept = node.all["f1"], on_stick(node)
    new_key(node, "first")
    run(node, "backup")
    length, seen = node.report("backup")["millis"] / 1000, set()
    for part in range(CUTS):
        before = on_stick(f1)
        check(kept.items() <= before.items(), "a key is gone")
        new_key(node, f"cut{part}")
        node.ok(f"systemd-run -q f3skeys backup; sleep {length * part / CUTS:.2f}")
        f1.until("pgrep -x f3skeys", 60, "it is asked")
        power_cut("f1", f1)
        node.until("! pgrep -x f3skeys", 600, "the backup ends, or gives up")
        after = on_stick(f1)
        check(before.items() <= after.items(), "a key was lost")
        # How far it had come, and what that left: this tells where the cut was.
        came = [phase["result"] for phase in node.report("backup")["phases"] if phase["name"].startswith("f1.")]
        seen.add((*came, len(after) - len(before)))
        run(node, "backup")
        check(on_stick(node) == on_stick(f1), "half of it is there")
        run(f1, "verify")
    check(len(seen) > 2 or CUTS < 5, f"the cuts hit few moments: {seen}")
    return f"{len(seen)} different ends"
