"""A replica promoted by a person and demoted again; what a replicator adds between two boots; what
a peer is told when it asks."""

import json

from node import REPLICA as SIBLING, check, says
from scenarios import group
import machine
import stick
import witness

ASKER = "f1.lan.buetow.org"
LOST = "zdata/sink/f1/home"
NESTED = f"{LOST}/nested"
PROPERTY = "f3skeys:promotion"
REASON = "f1 burnt down"
KEY = "f1.lan.buetow.org:zdata"
TREE = (LOST, f"{LOST}/child", f"{LOST}/vol")
PLACE = "/data/zdata-sink-f1-home"
VOLUME = f"/dev/zvol/{LOST}/vol"


def root(target):
    """A replica's line in `roots`."""
    return (f'(dataset: "{target}", key: "f1.lan.buetow.org:zdata", role: replica, required: false, '
            f'mountpoint: "{place(target)}"),\n        ')


def place(target):
    """Where a replica made here is mounted."""
    return f"/data/{target.replace('/', '-')}"


# As on a node that receives from f1: the replica that will be promoted beside the lab's own, and one below it.
CONFIG = machine.NODE_CONFIG.replace(
    f'(dataset: "{SIBLING}"', f'{root(LOST)}{root(NESTED)}(dataset: "{SIBLING}"').replace(
    "    gates: [", '    peers: [(name: "f1.lan.buetow.org", ssh: "root@f1")],\n    gates: [\n'
    f'        (name: "served", needs: [writable("{LOST}")]),\n'
    f'        (name: "standby", needs: [role(dataset: "{LOST}", is: replica)]),')

# Another node's pool, made in the guest: what it sends is what replicas are made of. Each target has a
# source of its own: receive takes datasets with the same snapshots below one another for renamed ones.
SOURCE = """
truncate -s 192m /var/tmp/source.img
zpool create -o cachefile=none -O mountpoint=none source /var/tmp/source.img
cat > /run/source.key
for name in home nested; do
    zfs create -o encryption=on -o keyformat=raw -o keylocation=file:///run/source.key -o mountpoint=/source/$name source/$name
    zfs create -o readonly=off source/$name/child
    zfs create -V 8m source/$name/vol
    echo first > /source/$name/FILE
    zfs snapshot -r source/$name@one
done
"""
# The source open again after a power cut; its key comes on stdin.
UNLOCK = "set -e; cat > /run/source.key; for name in home nested; do zfs load-key source/$name; zfs mount source/$name; done; "


def sent(snapshot, target, since=""):
    """The shell command that replicates the source of `target`, as a replicator does it."""
    fresh = "" if since else f"-o mountpoint={place(target)} -x keylocation"
    return f"zfs send -R -w {since} source/{target.split('/')[-1]}@{snapshot} | zfs recv -u {fresh} {target}"


def received(lab, name, *targets):
    """A node with replicas of a source that is still there, configured, booted once more without a
    person: a power cut."""
    node = lab.node(name)
    node.start([(lab.sticks.good(), stick.SERIAL)])
    node.settled()
    node.quiet()
    node.ok(f"set -e; {SOURCE}", lab.pools.key(KEY))
    for target in targets:
        node.ok(sent("one", target))
    node.write("/etc/f3skeys.ron", CONFIG, "0600")
    cut(node)
    return node


def cut(node):
    """A power cut, the stick in; the source is there again as well."""
    node.ok("sync; zpool export source")
    node.reset()
    node.settled()
    node.quiet()
    node.ok("modprobe zfs; zpool import -N -o cachefile=none -d /var/tmp source")


def promotion(lab):
    """A node with three replica roots: one beside another, one below it."""
    return received(lab, "promotion", LOST, NESTED)


scenario = group(promotion)


def verb(node, words, status=0):
    """Runs a verb and demands its exit status."""
    done = node.f3skeys(words)
    check(done.status == status, done)
    return done


def promote(node, status=0):
    """A person promotes the replica."""
    return verb(node, f"promote {LOST} --reason '{REASON}'", status)


def demote(node, status=0):
    """A person takes it back."""
    return verb(node, f"demote {LOST}", status)


def readonly(node, root):
    """The effective readonly of everything at and below a root: name to on or off."""
    lines = node.ok(f"zfs get -Hp -o name,value -r -t filesystem,volume readonly {root}").splitlines()
    return dict(line.split("\t") for line in lines)


def check_others_sealed(node):
    """The other roots are read-only, all of them, and by the kernel's trace never were anything else."""
    log = node.ok(witness.LOOK)
    for root in (SIBLING, NESTED):
        found = readonly(node, root)
        check(len(found) == 3 and set(found.values()) == {"on"}, found)
        complaints = list(witness.writable(log, root))
        check(not complaints, complaints)
        check(root in witness.mounted(log) and f"{root}/child" in witness.mounted(log), f"{root} was not traced")
        check(node.get("written", root) == "0", f"{root} was written to")
        disk = node.ok(f"basename $(readlink -f /dev/zvol/{root}/vol)").strip()
        check(not list(witness.volume(log, disk)), f"the volume of {root} became writable")
    return log


def check_writable(node):
    """Everything of the promoted root can be written, in fact."""
    found = readonly(node, LOST)
    check({name: found[name] for name in TREE} == dict.fromkeys(TREE, "off"), found)
    node.ok(f"for place in {PLACE} {PLACE}/child; do echo probe > $place/PROBE && rm $place/PROBE; done")
    node.ok(f"dd if={VOLUME} of={VOLUME} bs=4k count=1 conv=notrunc 2> /dev/null && test $(blockdev --getro {VOLUME}) = 0")


def check_sealed(node):
    """Nothing of the root can be written."""
    found = readonly(node, LOST)
    check(set(found.values()) == {"on"}, found)
    for name in (PLACE, f"{PLACE}/child"):
        check(node.sh(f"touch {name}/PROBE").status != 0, f"{name} can be written")
    node.ok(f"test $(blockdev --getro {VOLUME}) = 1")


@scenario("before anyone promotes: all replicas sealed, by the kernel's trace from the first moment, `served` closed")
def before(node, lab):
    check_sealed(node)
    node.check_open("standby", "copy")
    node.check_closed("served", LOST)
    log = check_others_sealed(node)
    complaints = list(witness.writable(log, LOST))
    check(not complaints, complaints)


@scenario("what is refused: a primary, a child, an unknown dataset, no reason; nothing was changed by it")
def refused(node, lab):
    history = node.ok("zpool history zdata")
    for words in (f"promote zdata/enc --reason '{REASON}'", f"promote {LOST}/child --reason '{REASON}'",
                  f"promote zdata/none --reason '{REASON}'", f"promote {LOST} --reason ''",
                  f"promote {LOST}", f"demote zdata/enc"):
        done = node.f3skeys(words)
        check(done.status not in (0, -1) and done.err.strip(), done)
    check(node.ok("zpool history zdata") == history, "something was changed")
    check(node.get(PROPERTY, LOST) == "-", "it is promoted")


@scenario("`promote`: the replica, its child and its volume can be written, each is named; the other roots stay sealed")
def promoted(node, lab):
    done = promote(node)
    says(done, *TREE, "receive")
    check_writable(node)
    check(node.get(PROPERTY, LOST).startswith("promoted 1 "), node.get(PROPERTY, LOST))
    check(node.get(PROPERTY, LOST).endswith(f" {REASON}"), node.get(PROPERTY, LOST))
    log = check_others_sealed(node)
    check(any("became writable" in line for line in witness.writable(log, f"{LOST}/child")),
          "the trace did not see the promotion")
    node.check_open("served", "copy")
    node.check_closed("standby")
    node.ok(f"echo written > {PLACE}/WRITTEN; echo written > {PLACE}/child/WRITTEN; sync")


@scenario("a second `promote`, `boot` and `ready` change nothing of it")
def again(node, lab):
    value = node.get(PROPERTY, LOST)
    for words in (f"promote {LOST} --reason 'another reason'", "boot", "ready"):
        verb(node, words)
    check(node.get(PROPERTY, LOST) == value, "another epoch")
    check_writable(node)
    check_others_sealed(node)


@scenario("power cut: the promoted replica comes up writable and the boot says since when and why; the others sealed")
def cut_promoted(node, lab):
    cut(node)
    text = node.ok("journalctl -b -u f3skeys.service -o cat")
    for word in (LOST, "promoted", "epoch 1", REASON):
        check(word in text, f"`{word}` is not in the journal:\n{text}")
    check_writable(node)
    check(node.ok(f"cat {PLACE}/WRITTEN {PLACE}/child/WRITTEN") == "written\nwritten\n", "what was written is lost")
    check_others_sealed(node)
    node.check_open("served")
    node.check_closed("standby")


@scenario("the next receive into the promoted replica fails, as was said, and loses nothing; the other's succeeds")
def receives(node, lab):
    node.ok(f"{UNLOCK} for name in home nested; do echo second > /source/$name/FILE; zfs snapshot -r source/$name@two; done",
            lab.pools.key(KEY))
    node.ok(sent("two", NESTED, "-i @one"))
    check(node.ok(f"cat {place(NESTED)}/FILE") == "second\n", "the other replica did not get it")
    done = node.sh(sent("two", LOST, "-i @one"))
    check(done.status != 0, "it was received into")
    says(done, "modified")
    check(node.ok(f"cat {PLACE}/WRITTEN") == "written\n", "what was written is lost")
    check_others_sealed(node)


@scenario("`demote`: what was written is in a snapshot of its own name; read-only from there, through a power cut")
def demoted(node, lab):
    done = demote(node)
    says(done, "f3skeys-demoted-1", "zfs send")
    check_sealed(node)
    for name, where in ((LOST, PLACE), (f"{LOST}/child", f"{PLACE}/child")):
        node.ok(f"zfs list -H -o name {name}@f3skeys-demoted-1")
        check(node.get("written", name) == "0", f"{name} has more than the snapshot")
        check(node.ok(f"cat {where}/.zfs/snapshot/f3skeys-demoted-1/WRITTEN") == "written\n", "it is not in the snapshot")
    check(node.get(PROPERTY, LOST).startswith("demoted 1 "), node.get(PROPERTY, LOST))
    node.check_open("standby", "copy")
    node.check_closed("served")
    says(demote(node), "nothing")
    cut(node)
    check_sealed(node)
    log = check_others_sealed(node)
    complaints = list(witness.writable(log, LOST))
    check(not complaints, complaints)
    node.check_open("standby", "copy")


def stages(node, words, undo):
    """Kills a verb (-9) at six points of its way, then lets `undo` follow; yields after each kill
    what the pool holds."""
    began = float(node.ok("cut -d' ' -f1 /proc/uptime"))
    verb(node, words)
    length = float(node.ok("cut -d' ' -f1 /proc/uptime")) - began
    undo()
    for part in range(6):
        node.ok(f"f3skeys {words} > /dev/null 2>&1 & sleep {length * (part + 0.5) / 6:.3f}; kill -9 $!; wait $! || true")
        yield (node.get(PROPERTY, LOST).split()[0], tuple(readonly(node, LOST).items()))
        undo()


@scenario("`promote` killed (-9) at six points: the other roots stay sealed; a second run ends it, in the same epoch")
def promote_killed(node, lab):
    seen = set()
    for found in stages(node, f"promote {LOST} --reason '{REASON}'", lambda: demote(node)):
        seen.add(found)
        check_others_sealed(node)
        began = node.get(PROPERTY, LOST)
        promote(node)
        check_writable(node)
        check(found[0] != "promoted" or node.get(PROPERTY, LOST) == began, "the same promotion got another epoch")
        node.check_open("served")
    check(len(seen) > 1, f"every kill hit the same moment: {seen}")


@scenario("`demote` killed (-9) at six points: what was written is never lost; a second run ends it")
def demote_killed(node, lab):
    seen, number = set(), 0

    def write():
        nonlocal number
        promote(node)
        number += 1
        node.ok(f"echo {number} > {PLACE}/NUMBER; sync")
    write()
    for found in stages(node, f"demote {LOST}", write):
        seen.add(found)
        demote(node)
        check_sealed(node)
        epoch = node.get(PROPERTY, LOST).split()[1]
        text = node.ok(f"cat {PLACE}/.zfs/snapshot/f3skeys-demoted-{epoch}/NUMBER")
        check(text == f"{number}\n", f"epoch {epoch} kept {text}, not {number}")
        check_others_sealed(node)
    check(len(seen) > 1, f"every kill hit the same moment: {seen}")
    demote(node)


def question(datasets=(LOST,), **changes):
    """A peer's question about replicas, whole, but for these changes."""
    whole = {"version": 2, "from": ASKER, "ask": {"replicas": list(datasets)}}
    return json.dumps(whole | changes).encode() + b"\n"


def about(key):
    """A peer's question about a key."""
    return question(ask={"key": {"key": key, "nonce": "0" * 64}})


def handed(key, *prints, brought=b""):
    """A peer's key handed over: all these generations, and the bytes."""
    generations = [{"generation": number, "fingerprint": one, "state": "retained"} for number, one in enumerate(prints, 1)]
    merge = {"key": key, "list": generations, "bring": list(prints), "nonce": None}
    return question(ask={"put": {"merge": merge, "vouched": None}}) + brought


def asked(node, stdin, peer=ASKER):
    """What the forced command makes of it."""
    return node.sh(f"f3skeys receive --from {peer}", stdin)


def reply(node, *datasets):
    """The answer as a table: dataset to what is said of it."""
    done = asked(node, question(datasets=list(datasets or (LOST,))))
    check(done.status == 0, done)
    told = json.loads(done.out)
    check((told["version"], told["node"]) == (2, "f0.lan.buetow.org"), told)
    return {one["dataset"]: one for one in told["answer"]["replicas"]}


def check_truth(node, told):
    """Each number is what the pool says."""
    for name, one in told.items():
        check(one["written"] == int(node.get("written", name)), f"{name}: {one}")
        last = node.ok(f"zfs list -Hp -d 1 -t snapshot -o guid,name -s createtxg {name}").splitlines()[-1].split("\t")
        check(one["newest"] == [int(last[0]), last[1].split("@")[1]], f"{name}: {one}, not {last}")


def everything(node):
    """All that an answer must not change. That a change was refused is on record, and nothing else."""
    return node.ok("zpool history zdata; zfs get -Hp -t filesystem,volume,snapshot readonly,mounted,written,keystatus "
                   "-r zdata; cat /proc/self/mounts; stat -c '%n %i %y %z' /run/f3skeys/gates/* "
                   "$(find /var/lib/f3skeys -mindepth 1 ! -name 'audit.*' ! '(' -type d -path '*/peers*' ')')")


@scenario("`receive` answers the truth, demoted, promoted, written to: epoch, bytes, newest snapshot; and changes nothing")
def answers(node, lab):
    before = everything(node)
    told = reply(node)
    check(set(TREE) <= set(told), told)
    check_truth(node, told)
    epoch = int(node.get(PROPERTY, LOST).split()[1])
    check(told[LOST]["promoted"] == {"Over": epoch}, told[LOST])
    check(reply(node, SIBLING)[SIBLING]["promoted"] == "Never", reply(node, SIBLING))
    check(everything(node) == before, "the question changed something")
    promote(node)
    node.ok(f"head -c 300000 /dev/urandom > {PLACE}/WRITTEN; zpool sync zdata; sync")
    told = reply(node)
    check(told[LOST]["promoted"]["Now"]["reason"] == REASON, told[LOST])
    check(told[LOST]["promoted"]["Now"]["epoch"] == epoch + 1, told[LOST])
    check(told[LOST]["written"] > 300000, told[LOST])
    check_truth(node, told)
    demote(node)
    told = reply(node)
    check(told[LOST]["promoted"] == {"Over": epoch + 1}, told[LOST])
    check(told[LOST]["newest"][1] == f"f3skeys-demoted-{epoch + 1}", told[LOST])
    check_truth(node, told)
    node.ok(f"zfs set {PROPERTY}=nonsense {LOST}")
    check(reply(node)[LOST]["promoted"] == {"Unknown": "nonsense"}, reply(node))
    node.ok(f"zfs set '{PROPERTY}=demoted {epoch + 1} 1' {LOST}")


HOSTILE = {
    "nothing": b"",
    "an empty line": b"\n",
    "no JSON": b"give me the keys\n",
    "half a question": question()[:40],
    "a question and more": question() + b"{}\n",
    "two questions": question() + question(),
    "another version": question(version=1),
    "another version, as text": question(version="2"),
    "another node's name": question(**{"from": "f2.lan.buetow.org"}),
    "another question": question(ask="keys"),
    "an unknown field": question(key="f0.lan.buetow.org:zdata"),
    "no datasets": question(datasets=[]),
    "no question": question(ask="replicas"),
    "this node's own key": about("f0.lan.buetow.org:zdata"),
    "another's key": about("f2.lan.buetow.org:zdata"),
    "a key and more": about(KEY) + b"\n",
    "a way out of the store": about("f1.lan.buetow.org:../zdata"),
    "this node's own key handed over": handed("f0.lan.buetow.org:zdata", "0" * 64, brought=bytes(32)),
    "a key of no bytes": handed(KEY, "0" * 64),
    "a key a byte short": handed(KEY, "0" * 64, brought=bytes(31)),
    "a key that is not the one that was named": handed(KEY, "0" * 64, brought=bytes(32)),
    "no generation": handed(KEY),
    "one generation twice": handed(KEY, "0" * 64, "0" * 64, brought=bytes(64)),
    "sixty-five generations": handed(KEY, *(f"{one:064x}" for one in range(65)), brought=bytes(65 * 32)),
    "a primary": question(datasets=["zdata/enc/nfsdata"]),
    "a primary beside a replica": question(datasets=[LOST, "zdata/enc"]),
    "the parent of a replica": question(datasets=["zdata/sink/f1"]),
    "a whole pool": question(datasets=["zdata"]),
    "a pool that is not ours": question(datasets=["source/home"]),
    "an option": question(datasets=["-r"]),
    "a name that only begins like a replica": question(datasets=[f"{LOST}x"]),
    "a way out of the replica": question(datasets=[f"{LOST}/../../../enc"]),
    "a snapshot": question(datasets=[f"{LOST}@one"]),
    "a shell's words": question(datasets=[f"{LOST}; touch /root/pwned"]),
    "a NUL": question(datasets=[f"{LOST}\0x"]),
    "deep nesting": b'{"version":2,"from":' + b"[" * 100000 + b"\n",
    "two mebibytes": question(datasets=[LOST] * 80000),
    "bytes that are no text": bytes(range(256)) * 16,
}


@scenario("`receive` refuses what is hostile, says a word, hands out nothing, changes nothing")
def hostile(node, lab):
    before = everything(node)
    for what, stdin in HOSTILE.items():
        done = asked(node, stdin)
        check(64 <= done.status <= 78, f"{what}: {done.status}\n{done.err[:500]}")
        check(not done.out, f"{what}: it answered {done.out[:500]}")
        check(done.err.strip() and len(done.err) < 2000, f"{what}: {done.err[:3000]}")
    check(asked(node, question(), "f2.lan.buetow.org").status not in (0, -1), "a stranger was answered")
    done = node.sh("sleep 60 | { timeout 30 f3skeys receive --from f1.lan.buetow.org; echo status $? >&2; kill $(pgrep -x sleep); }")
    check("status 124" not in done.err and "status 0" not in done.err and not done.out, f"a silent peer: {done}")
    check(node.sh("test -e /root/pwned").status == 1, "a shell ran")
    after = everything(node)
    check(after == before, set(after.splitlines()) ^ set(before.splitlines()))
    reply(node)
    return f"{len(HOSTILE)} questions"


def replica(lab):
    """A node that receives from a source, after a power cut."""
    return received(lab, "replica", LOST, NESTED)


replicated = group(replica)


@replicated("replicas whose children were received with readonly=off, and volumes: sealed, mounted read-only, never writable")
def received_off(node, lab):
    received_as = node.ok(f"zfs get -Hp -o received readonly {LOST}/child").strip()
    check(received_as == "off", f"the child was received with readonly={received_as}: it proves nothing")
    check_others_sealed(node)
    check_sealed(node)
    complaints = list(witness.writable(node.ok(witness.LOOK), LOST))
    check(not complaints, complaints)


@replicated("a child, its child and a volume that a replicator adds between two boots: sealed before their key loads")
def added(node, lab):
    node.ok(f"{UNLOCK} zfs create -o readonly=off source/home/new; "
            "zfs create -o readonly=off source/home/new/deep; zfs create -V 8m source/home/new/vol; "
            "echo new > /source/home/new/FILE; zfs snapshot -r source/home@two", lab.pools.key(KEY))
    node.ok(sent("two", LOST, "-i @one"))
    names = (f"{LOST}/new", f"{LOST}/new/deep")
    cut(node)
    log = node.ok(witness.LOOK)
    for name in names:
        check(name in witness.mounted(log), f"{name} was not mounted")
    check(not list(witness.writable(log, LOST)), list(witness.writable(log, LOST)))
    check(set(readonly(node, LOST).values()) == {"on"}, readonly(node, LOST))
    check(len(readonly(node, LOST)) == 9, readonly(node, LOST))
    check(node.ok(f"cat {place(LOST)}/new/FILE") == "new\n", "the new child shows something else")
    disk = node.ok(f"basename $(readlink -f /dev/zvol/{LOST}/new/vol)").strip()
    check(not list(witness.volume(log, disk)), "the new volume became writable")
    check_before_key(node, *names, f"{LOST}/new/vol")


def check_before_key(node, *names):
    """By the pool's own history, the seal of each is older than the first load of a replica's key since the
    pool was opened. The library's calls are recorded there without a dataset; those of the pool's primaries
    come first, by the program's own report, and nobody has looked at a replica yet."""
    report = node.report()
    primaries = [root["dataset"] for root in report["roots"]
                 if root["role"] == "primary" and root["dataset"].startswith("zdata/")]
    changes = [change for change in report["changed"] if " for zroot/" not in change]
    first = [change.split(" for ")[-1] for change in changes[:len(primaries)]]
    check(primaries and first == primaries, f"{primaries} were not opened first:\n" + "\n".join(changes))
    lines = node.ok("zpool history -i zdata").splitlines()
    boot = max(i for i, line in enumerate(lines) if "open pool version" in line)
    loads = [i for i, line in enumerate(lines) if i > boot and " load-key" in line]
    load = loads[len(primaries)]
    for name in names:
        seals = [i for i, line in enumerate(lines) if line.endswith(f"readonly=on {name}") and boot < i < load]
        check(seals, f"{name} was not sealed between the import and the load of its key:\n" + "\n".join(lines[boot:]))


@replicated("the next incremental receive into every replica succeeds")
def next_receive(node, lab):
    node.ok(f"{UNLOCK} for name in home nested; do echo third > /source/$name/FILE; zfs snapshot -r source/$name@three; done",
            lab.pools.key(KEY))
    node.ok(sent("three", LOST, "-i @two"))
    node.ok(sent("three", NESTED, "-I @one"))
    for target in (LOST, NESTED):
        check(node.ok(f"cat {place(target)}/FILE") == "third\n", f"{target} did not get it")
    check(set(readonly(node, LOST).values()) == {"on"}, readonly(node, LOST))
