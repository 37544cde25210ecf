"""syncoid replicates f1's data to f0, as the documentation says, with boots of f3skeys in between."""

from node import KEY_OF, REPLICA, check, says
from pair import SERIAL, SOURCE, Pair, check_replica
from scenarios import group

# As in docs/replication.md.
SYNCOID = ("syncoid --sendoptions=w --recvoptions='u o readonly=on' --no-rollback --no-sync-snap --recursive "
           f"{SOURCE} root@f0-data:{REPLICA}")


def replication(lab):
    """Both nodes up."""
    made = Pair(lab, "replication").start()
    made.f0.pair, made.f0.good = made, [(lab.sticks.good(), SERIAL["f0"])]
    return made.f0


scenario = group(replication)


def arrives(node, snapshot, command=""):
    """f1 writes, snapshots, replicates: all of it has to be on f0, read-only, and never was not."""
    f1 = node.pair.f1
    f1.ok(f"echo {snapshot} > /data/own/child/FILE; {command or ':'}; zfs snapshot -r {SOURCE}@{snapshot}")
    done = f1.sh(SYNCOID, limit=300)
    check(done.status == 0, done)
    sent = f1.ok(f"zfs list -Ho name -t snapshot -r {SOURCE} | grep @{snapshot}").replace(SOURCE, REPLICA)
    check(node.ok(f"zfs list -Ho name -t snapshot -r {REPLICA} | grep @{snapshot}") == sent, sent)
    lines = node.ok(f"zfs get -Hp -o value readonly,written -t filesystem,volume -r {REPLICA}").split()
    check(set(lines) == {"on", "0"}, lines)
    check_replica(node, REPLICA)


def boot(node, sticks):
    """A power cut of f0."""
    node.cut()
    node.power(sticks)
    node.settled()
    check_replica(node, REPLICA)


@scenario("syncoid, raw: everything arrives while the replica is mounted read-only")
def first(node, lab):
    arrives(node, "one")
    check(node.ok("cat /data/sink/f1/data/child/FILE") == "one\n", "the mounted replica does not show it")


@scenario("a power cut, f3skeys loads and mounts, the next incremental arrives, with a child that is new")
def after_a_boot(node, lab):
    boot(node, node.good)
    node.check_open("copy")
    arrives(node, "two", f"zfs create -o readonly=off {SOURCE}/fresh; echo fresh > /data/own/fresh/FILE")
    check(node.get("mounted", f"{REPLICA}/fresh") == "no", "the receive mounted it")


@scenario("the new child is a root of its own: doctor names it; named in the configuration, the next boot mounts it read-only")
def new_child(node, lab):
    fresh = f"{REPLICA}/fresh"
    boot(node, node.good)
    check(node.get("keystatus", fresh) == "unavailable", "a root that nobody named was opened")
    says(node.f3skeys("doctor"), fresh)
    node.ok(f"""sed -i 's|roots: \\[|&(dataset: "{fresh}", key: "{KEY_OF[REPLICA]}", role: replica, required: true),|' """
            "/etc/f3skeys.ron; sync")
    boot(node, node.good)
    check(node.ok("cat /data/sink/f1/data/fresh/FILE") == "fresh\n", "the new child is not mounted")
    arrives(node, "three", "echo more > /data/own/fresh/FILE")


@scenario("a boot without the stick: the replica is locked, the next incremental arrives all the same")
def locked(node, lab):
    boot(node, [])
    node.check_loaded()
    arrives(node, "four")


@scenario("the control: a replica that was written gives an alarm, refuses the next stream, and is not rolled back")
def written(node, lab):
    boot(node, node.good)
    node.ok(f"zfs set readonly=off {REPLICA}/child; echo here > /data/sink/f1/data/child/WRITTEN-HERE; "
            f"zfs set readonly=on {REPLICA}/child; zpool sync zdata")
    complaints = []
    try:
        check_replica(node, REPLICA)
    except Exception as error:  # noqa: BLE001 - what it says is what is asked for
        complaints.append(str(error))
    check("became writable" in "".join(complaints), f"the witness did not notice: {complaints}")
    says(node.f3skeys("boot"), "written", f"{REPLICA}/child")
    node.pair.f1.ok(f"zfs snapshot -r {SOURCE}@five")
    done = node.pair.f1.sh(SYNCOID, limit=300)
    check(done.status != 0, done)
    says(done, "modified")
    node.ok("test -e /data/sink/f1/data/child/WRITTEN-HERE")
    check(node.get("written", f"{REPLICA}/child") != "0", "it was rolled back")


@scenario("rolled back by a person, and a boot: the next incremental arrives")
def rolled_back(node, lab):
    node.ok(f"zfs rollback {REPLICA}/child@four")
    boot(node, node.good)
    arrives(node, "six")
