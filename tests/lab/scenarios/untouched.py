"""What is asked changes nothing: after every verb with every option, on the replica's own node and on
the other, not a byte of a replica was written, whether it is mounted, only its key is loaded, or
neither. Raw increments go on being received."""

import collections
import re

from node import REPLICA, check
from pair import COPY, SERIAL, SOURCE, Pair
from scenarios import group

PEER = {"f0": "f1.lan.buetow.org", "f1": "f0.lan.buetow.org"}
REPLICA_OF = {"f0": REPLICA, "f1": COPY}
OWN = {"f0": "zroot/bhyve", "f1": "zpeer/data"}
KEY = {"f0": "bhyve", "f1": "zdata"}
COMPLETIONS = "/usr/share/bash-completion/completions/f3skeys"
# Every verb and every option of it, with what any of them needs. What answers a peer is run by what asks one.
LINES = """
version
plan
status
status --json
status --prometheus
status --peers
status --peers --json
doctor
doctor --json
rehearse
rehearse --json
verify
verify --json
verify --pools
verify --pools --json
verify --repair
verify --store /root/no-store
adopt
adopt --device {device}
gate {gate}
gate {gate} -- true
receive --from {peer} --print-authorized-keys-line
receive --rebuild --from {peer} --for 1
receive --rebuild --end
backup
backup --to {peer}
backup --to {peer} --rebuild
new-key kept
new-key kept-too --for {own}-new
rotate --all --plan
rotate {key} --plan --take-over --copies 0
rotate {key} --status
rotate {key} --resume
rotate {key} --abort
rotate {key} --retire
rotate {theirs} --status
rotate {theirs} --plan
prune {key}
prune {theirs}
prune {key} --generation 0123456789
init --device {device} --serial {serial} --label F3S_KEYS --overwrite nothing --fixed {device}
demote {replica}
reconcile
carp
carp --reconcile
boot
boot --late
boot --late -- true
boot --root {own} --key-from-stdin
ready
rotate {key}
rotate {theirs}
lock
boot
ready
"""
# Its purpose is to let a replica be written to.
LEFT_OUT = ("promote",)
# As in sysexits(3): such a line has asked nothing, neither ZFS nor a peer.
USAGE, BAD_CONFIG = 64, 78
# What brings a replica into each state, and what says that it is there.
STATES = {
    "mounted": ("f3skeys boot; f3skeys ready", "yes available"),
    "with its key alone": ("f3skeys boot; zfs unmount {0} 2> /dev/null", "no available"),
    "locked": ("zfs unmount {0} 2> /dev/null; zfs unload-key {0}", "no unavailable"),
}


def untouched(lab):
    """Both nodes, each with a replica and a stick that may be written to."""
    made = Pair(lab, "untouched", life=7200)
    images = {one: lab.sticks.make(f"ext4-untouched-{one}", fs="ext4") for one in SERIAL if one != "f2"}
    made.start({one: lab.sticks.own(image, f"untouched-{one}") for one, image in images.items()})
    made.f0.f1 = made.f1
    for one in (made.f0, made.f1):
        one.unwatched()
    return made.f0


scenario = group(untouched)


def into(node, replica, state):
    """Puts a replica into a state, if it is in another one."""
    change, wanted = (words.format(replica) for words in STATES[state])
    look = f"[ \"$(zfs get -Ho value mounted,keystatus {replica} | paste -sd ' ')\" = '{wanted}' ]"
    node.ok(f"{look} || {{ {change}; {look}; }}", limit=300)


def written(node, replica):
    """What was written to a replica, volumes and all, since its last snapshot, and which one it is."""
    return node.ok(f"zpool sync {replica.split('/')[0]}; "
                   f"zfs get -Hpr -t filesystem,volume -o name,property,value guid,createtxg,written,referenced {replica}")


def births(node, replica):
    """The transaction in which the first block of each dataset was last written."""
    found = {}
    for name in node.ok(f"zfs list -Hro name -t filesystem,volume {replica}").split():
        block = node.ok(f"zdb -dddd {name} 0 | grep -m 1 rootbp")
        birth = re.search(r"birth=\S+", block)
        check(birth, f"zdb tells no birth: {block}")
        found[name] = birth[0]
    return found


def lines(name, node):
    """What is run on a node."""
    device = node.ok(f"readlink -f /dev/disk/by-id/usb-*{SERIAL[name][:6]}* | head -n 1").strip()
    peer = PEER[name]
    words = {"device": device, "serial": SERIAL[name], "peer": peer, "own": OWN[name], "key": KEY[name], "theirs": f"{peer}:zdata",
             "replica": REPLICA_OF[name], "gate": "nfs"}
    return [line.format(**words) for line in LINES.split("\n") if line]


def options(node):
    """Every option of every verb, as the completions have them, which a test holds against the program."""
    found = re.findall(r"^\t([a-z-]+)\) echo (.*) --help ;;$", node.ok(f"cat {COMPLETIONS}"), re.M)
    found += [(verb, "") for verb in re.findall(r"^\t([a-z-]+)\) echo --help ;;$", node.ok(f"cat {COMPLETIONS}"), re.M)]
    check(len(found) > 20, f"the completions are other than expected: {found}")
    return {verb: words.replace("=", "").split() for verb, words in found}


@scenario("every verb with every option is in the list of what is run, but `promote`")
def every_option(node, lab):
    run = lines("f0", node)
    for verb, flags in options(node).items():
        for flag in flags or [""]:
            in_list = any(line.split()[0] == verb and (not flag or flag in line.split()) for line in run)
            check(in_list != (verb in LEFT_OUT), f"{verb} {flag}")
    return f"{len(run)} lines"


def is_left_alone(node, state):
    """No line, run on either node, changes a byte of a replica of either."""
    nodes = {"f0": node, "f1": node.f1}
    looks = [(one, REPLICA_OF[name]) for name, one in nodes.items()]
    for one, replica in looks:
        into(one, replica, state)
    before, born = [written(*look) for look in looks], [births(*look) for look in looks]
    ended = collections.Counter()
    for name, one in nodes.items():
        for line in lines(name, one):
            for there, replica in looks:
                into(there, replica, state)
            done = one.f3skeys(line, limit=600)
            check(done.status not in (USAGE, BAD_CONFIG), done)
            ended[done.status] += 1
            after = [written(*look) for look in looks]
            check(after == before, f"`f3skeys {line}` on {name} wrote to a replica, {state}\n{before}\n{after}\n{done}")
    check([births(*look) for look in looks] == born, f"something wrote to a replica, {state}")
    # Most have something to say; those that refuse have looked first.
    check(ended[0] > sum(ended.values()) / 2, ended)
    return f"{ended.total()} lines, by exit status {dict(sorted(ended.items()))}"


@scenario("replicas that are mounted: no verb with any option writes to one, here or on the other node")
def mounted(node, lab):
    return is_left_alone(node, "mounted")


@scenario("replicas whose key is loaded and that nothing has mounted: the same")
def loaded(node, lab):
    return is_left_alone(node, "with its key alone")


@scenario("replicas that are locked: the same")
def locked(node, lab):
    return is_left_alone(node, "locked")


@scenario("after all that, both replicas receive the next raw increment")
def increments(node, lab):
    newest = node.ok(f"zfs list -Ho name -t snapshot -s createtxg {REPLICA} | tail -n 1").strip().split("@")[1]
    node.f1.ok(f"zfs snapshot {SOURCE}@untouched")
    node.f1.ok(f"zfs send -w -i @{newest} {SOURCE}@untouched | ssh f0-data zfs recv -u {REPLICA}", limit=300)
    newest = node.ok(f"zfs list -Ho name -t snapshot -s createtxg {REPLICA} | tail -n 1").strip().split("@")[1]
    check(newest == "untouched", f"the newest snapshot is {newest}")


@scenario("the question of OpenZFS that does write, asked by hand: these looks notice it")
def a_question_that_writes(node, lab):
    into(node, REPLICA, "with its key alone")
    before, born = written(node, REPLICA), births(node, REPLICA)
    node.sh(f"zfs userspace -Hpn -o used {REPLICA}")
    check(written(node, REPLICA) != before, "nothing was noticed")
    check(births(node, REPLICA) != born, "the first block is as it was")
