"""The guides, word for word: what is run here are the fenced blocks of docs/guides and nothing else, on a
machine that has no f3skeys. A block that says `reboot` is a real one."""

import re
import shlex

import base
import host
import machine
import node as nodes
from node import ROOTS, check
from scenarios import group
import stick
import vm

DOCS = host.PROJECT / "docs"
FENCE = re.compile(r"^```(\w+) lab (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ZFSKEYS, LINUX, MONITORING = "guides/from-zfskeys.md", "guides/linux.md", "monitoring.md"
YEARLY, LOST_STICK, FAILOVER = "guides/yearly-rotation.md", "guides/lost-stick.md", "guides/failover.md"
# A tag that nobody asks for would be commands that nobody runs.
TAGS = {
    ZFSKEYS: {"before", "on", "off"},
    LINUX: {"on", "off"},
    MONITORING: {"metrics", "metrics-off"},
    YEARLY: {"f0", "f0-later"},
    LOST_STICK: {"f0", "f1"},
    FAILOVER: {"f1-over", "f1-demote", "f1-back", "f0-back", "f0-open"},
}
PACKAGE = ("make", "make deb")
# For one block.
LIMIT = 600


def blocks(guide):
    """Language, tag and text of each block of a guide that is the lab's, in their order."""
    found = FENCE.findall((DOCS / guide).read_text(encoding="utf-8"))
    tags = {tag for language, tag, _ in found if language == "sh"}
    check(tags == TAGS[guide], f"{guide} has the tags {tags}")
    return found


def package():
    """The Debian package, built as the guides say: `make && make deb`."""
    for command in PACKAGE:
        host.run(*command.split(), cwd=host.PROJECT)
    made = sorted((host.PROJECT / "dist").glob("f3skeys_*.deb"), key=lambda path: path.stat().st_mtime)
    return made[-1]


def fresh(lab, name, guide, disks, more=""):
    """A machine without f3skeys: the package in /root, and the files that the guide begins with."""
    image = machine.furnished(lab.folder / f"{name}.img")
    # The lab's own machines have no room for documentation.
    script = ['rm -f "$root"/etc/dpkg/dpkg.cfg.d/*', more]
    script += [f'install -m 0644 {shlex.quote(str(package()))} "$root/root/"']
    for number, (language, path, text) in enumerate(blocks(guide)):
        if language == "sh":
            continue
        file = lab.folder / f"{name}-{number}"
        file.write_text(text, encoding="utf-8")
        # Added: the machine's own lines, that of its root say, stay.
        script.append(f'cat {file} >> "$root{path}"')
        if path.endswith(".service"):
            script.append(f'systemctl -q --root="$root" enable {path.rsplit("/", 1)[1]}')
    machine.changed(image, "\n".join(script))
    host.run(host.which("tune2fs"), "-J", "size=16", "-O", "has_journal", image)
    made = nodes.Node(lab.folder / name, base.folder(), image, disks)
    lab.machines.append(made)
    return made


def reboot(node):
    """A reboot as a person does it; the machine's own shutdown is part of it. Where the package is gone,
    nothing of it may go on until then."""
    if node.sh("command -v f3skeys").status:
        timers = node.ok("systemctl list-units --no-legend --state=active 'f3s*.timer'")
        check(not timers.strip(), timers)
    while not node.channel.hellos.empty():
        node.channel.hellos.get()
    node.channel.ask("systemctl reboot")
    try:
        node.wait_agent(180)
    except vm.Failed:
        # An emulated machine may stand still after a reset of its own; one by QEMU wakes it.
        for command in ("stop", "system_reset", "cont"):
            node.monitor.do(command)
        node.wait_agent()
    node.settled()


def follow(node, guide, tag):
    """Runs the blocks of a guide that have this tag. What each says, by its text."""
    of_tag = [text for language, name, text in blocks(guide) if language == "sh" and name == tag]
    return {text: block(node, guide, text) for text in of_tag}


def block(node, guide, text, names=""):
    """Runs a block as a person does, after whose own names."""
    if text.strip() == "reboot":
        return reboot(node)
    done = node.sh(f"set -e\n{names}\n{text}", limit=LIMIT)
    check(done.status == 0, f"{guide}: this block failed\n{done}")
    return done


def no_f3skeys(node):
    """Nothing of the program is on the machine or in its boot."""
    check(node.sh("command -v f3skeys").status, "there is a program f3skeys")
    left = node.ok("systemctl list-units --all --no-legend 'f3s*'; find /usr /etc/systemd /run/systemd -name '*f3s*' "
                   "! -name 'f3skeys*.deb'")
    check(not left.strip(), left)


# Without f3skeys and with the pools of a node, in which its own unit loads the keys.
WITH_POOLS = 'mkdir "$root/keys"; install -D -m 0644 {cache} "$root/etc/zfs/zpool.cache"'


def guides(lab):
    """The host that from-zfskeys.md begins with, up by its own unit."""
    more = WITH_POOLS.format(cache=lab.pools.cache)
    node = fresh(lab, "guides", ZFSKEYS, lab.pools.disks("zdata", "zroot"), more)
    plain = lab.sticks.make("articles", plain=True, fs="ext4")
    node.start([(lab.sticks.own(plain, "guides"), stick.SERIAL)])
    node.settled()
    return node


scenario = group(guides)


@scenario("from-zfskeys.md, its begin: a host without f3skeys, whose own unit loads the keys")
def begin(node, lab):
    no_f3skeys(node)
    node.check_loaded(*ROOTS)
    node.check_nfs_serves()
    follow(node, ZFSKEYS, "before")


@scenario("from-zfskeys.md, on: package, adopt, enable, rehearse, reboot; every root and gate is open")
def on(node, lab):
    follow(node, ZFSKEYS, "on")
    status = lab.json(node.ok("f3skeys status --json"))
    check({root["dataset"] for root in status["roots"] if root["key_loaded"]} == set(ROOTS), status["roots"])
    check(status["gates"] and all(gate["state"] == "open" for gate in status["gates"]), status["gates"])
    check(node.unit("zfs-load-key.service")["ActiveState"] == "inactive", "the old unit ran")
    node.check_store_unmounted()
    node.check_nfs_serves()


@scenario("monitoring.md: this host's metrics lie where node_exporter looks, every minute; and taken off again")
def metrics(node, lab):
    follow(node, MONITORING, "metrics")
    page = "/var/lib/f3skeys-metrics/f3skeys.prom"
    node.until(f"test -s {page}", 120, "the metrics are there")
    text = node.ok(f"cat {page}")
    for root in ROOTS:
        check(f'f3skeys_key_loaded{{root="{root}"}} 1\n' in text, text)
    follow(node, MONITORING, "metrics-off")
    left = node.ok("find /etc/systemd/system /usr/local /var/lib -name 'f3skeys-metrics*'")
    check(not left, left)


@scenario("from-zfskeys.md, off again: package removed, reboot; the host's own unit loads the keys, only replicas' readonly differs")
def off(node, lab):
    said = follow(node, ZFSKEYS, "off")
    no_f3skeys(node)
    node.check_loaded(*ROOTS)
    node.check_nfs_serves()
    lines = [line for done in said.values() if done for line in done.out.splitlines()]
    changed = [line for line in lines if line[:2] in ("< ", "> ")]
    check(changed, "not even a replica is read-only")
    for line in changed:
        check("\treadonly\t" in line and nodes.REPLICA in line, f"changed on the pools: {line}")


# k3s itself does not fit into the lab: something that runs. No NFS, and no pool before the guide's.
K3S = """cat > "$root/etc/systemd/system/k3s.service" <<'UNIT'
[Service]
ExecStart=/usr/bin/sleep infinity
[Install]
WantedBy=multi-user.target
UNIT
systemctl -q --root="$root" enable k3s.service
systemctl -q --root="$root" disable nfs-server.service
sed -i 's/virtio-z.*$/virtio-tank-part1/' "$root/etc/systemd/system/zfs-import-cache.service.d/lab.conf"
"""


def guides_from_nothing(lab):
    """A host with an empty disk and an empty stick."""
    disk = lab.folder / "tank.img"
    host.run("truncate", "-s", "256M", disk)
    node = fresh(lab, "guides-from-nothing", LINUX, {"tank": disk}, K3S)
    node.start([(lab.sticks.own(lab.sticks.blank(), "from-nothing"), stick.SERIAL)])
    node.settled()
    return node


from_nothing = group(guides_from_nothing)


@from_nothing("linux.md, on: package, stick, key, pool, gate of k3s, rehearse, reboot: all is open, k3s runs")
def set_up(node, lab):
    follow(node, LINUX, "on")
    status = lab.json(node.ok("f3skeys status --json"))
    check([(root["dataset"], root["key_loaded"]) for root in status["roots"]] == [("tank/kube", True)], status["roots"])
    node.check_open("k8s")
    node.check_mounted({"/srv/kube": "tank/kube"})
    node.check_store_unmounted()


@from_nothing("linux.md: without its stick the host boots, k3s stays down; the stick comes, and k3s runs")
def without_stick(node, lab):
    image, serial = next(iter(node.plugged.values()))
    node.cut()
    node.power()
    node.settled()
    check(node.sh("systemctl is-active k3s.service").out.strip() != "active", "k3s runs without its data")
    node.check_mounted({"/srv/kube": None})
    node.insert(image, serial)
    node.until("systemctl is-active k3s.service", 120, "k3s runs")
    node.check_mounted({"/srv/kube": "tank/kube"})


@from_nothing("linux.md, off again: package removed, reboot; the dataset is opened with ZFS alone")
def taken_off(node, lab):
    follow(node, LINUX, "off")
    no_f3skeys(node)
    node.check_mounted({"/srv/kube": "tank/kube"})
