"""Services that are neither up nor down, with real systemd: one that takes its time to start, one that takes
its time to stop, one that systemd starts again and again, one that nothing starts. And a peer's sshd
behind which something else than f3skeys answers."""

import time

from node import REPLICA, check, same
from pair import Pair
from scenarios import group
import machine
import stick

APPS = "zdata/enc/apps"
AT = "/data/enc/apps"
BEAT = f"{AT}/BEAT"
SLOW, NEXT = "slow.service", "next.service"
# Longer than a start is watched, and than it may take to look twice.
START = 60
GATES = f"""    gates: [
        (name: "apps", needs: [mounted(path: "{AT}", dataset: "{APPS}")], services: ["{SLOW}", "{NEXT}"]),
        (name: "copy", needs: [mounted(path: "/data/sink/f1/data", dataset: "{REPLICA}")]),
    ],
)
"""
# It works from its first moment, as k3s does, and says much later that it is up.
WORKS = f"""#!/bin/sh
for second in $(seq {START}); do date >> {BEAT}; sleep 1; done
systemd-notify --ready
while :; do date >> {BEAT}; sleep 1; done
"""
UNIT = """[Unit]
After=f3sready.service
[Service]
ExecStartPre=/usr/sbin/f3skeys gate apps
{lines}
[Install]
WantedBy=multi-user.target
"""
NOTIFIES = "Type=notify\nNotifyAccess=all\nTimeoutStartSec=0\nExecStart=/root/works"
SLEEPS = "ExecStart=/usr/bin/sleep infinity"


def config():
    """The lab's roots, and one gate with two services."""
    return machine.NODE_CONFIG[:machine.NODE_CONFIG.index("    gates: [")] + GATES


def host_services(lab):
    """A node whose applications run behind a gate; NFS is not asked for."""
    node = lab.node("host-services")
    node.start([(lab.sticks.good(), stick.SERIAL)])
    node.settled()
    node.quiet()
    node.ok("systemctl disable --now nfs-server")
    node.write("/etc/f3skeys.ron", config(), "0600")
    node.write("/root/works", WORKS, "0755")
    unit(node, SLOW, NOTIFIES)
    unit(node, NEXT, SLEEPS)
    check(node.f3skeys("ready").status == 0, "ready")
    node.check_open("apps")
    return node


scenario = group(host_services)


def unit(node, name, lines):
    """Writes and enables a unit."""
    node.write(f"/etc/systemd/system/{name}", UNIT.format(lines=lines))
    node.ok(f"systemctl daemon-reload; systemctl -q enable {name}")


def state(node, name):
    """What systemd says."""
    return node.ok(f"systemctl show -P ActiveState {name}").strip()


def told(node, lab, verb, name):
    """The findings of `doctor` or `rehearse` about a service, by how bad they are."""
    answer = lab.json(node.f3skeys(f"{verb} --json").out)
    found = answer["findings"] if verb == "doctor" else answer["reasons"] + answer["remarks"]
    return [one["severity"] for one in found if one["subject"] == name]


def agree(node, lab, name, doctor, rehearse):
    """What both say of a service."""
    said = told(node, lab, "doctor", name), told(node, lab, "rehearse", name)
    check(said == (doctor, rehearse), f"doctor and rehearse say of {name}: {said}")


def subjects(node, lab):
    """What keeps `rehearse` from a yes."""
    return {one["subject"] for one in lab.json(node.f3skeys("rehearse --json").out)["reasons"]}


def reconcile(node, status=0):
    """One run, as the timer starts it."""
    done = node.f3skeys("reconcile")
    check(done.status == status, done)
    return done


def close(node):
    """The dataset goes away under whoever uses it."""
    node.ok(f"umount -l {AT}")
    node.check_closed("apps")


def opened(node):
    """The dataset is back, and so the gate is open: a pass sees it, and nothing was started yet."""
    check(node.f3skeys("ready").status == 0, "ready")
    node.check_open("apps")


def starting(node):
    """The slow service on its way."""
    node.ok(f"systemctl start --no-block {SLOW}; systemctl start {NEXT}")
    node.until(f"test -s {BEAT}", 60, f"{SLOW} works")
    check(state(node, SLOW) == "activating", state(node, SLOW))


@scenario("the gate closes while a service is starting: reconcile stops it, and nothing is written into the bare directory")
def starting_is_stopped(node, lab):
    starting(node)
    close(node)
    agree(node, lab, SLOW, ["failure"], [])
    done = reconcile(node)
    check(f"stopped {SLOW}" in done.out, done)
    check((state(node, SLOW), state(node, NEXT)) == ("inactive", "inactive"), state(node, SLOW))
    agree(node, lab, SLOW, [], [])
    files = f"find {AT} -type f -printf '%p %s %T@\\n'"
    before = node.ok(files)
    time.sleep(5)
    same(before, node.ok(files))
    check(not reconcile(node).out, "nothing is new")
    node.ok(f"rm -f {BEAT}")


@scenario("the gate opens: a service that takes a minute is told once, holds up none behind it, and comes up")
def slow_start_is_told_once(node, lab):
    opened(node)
    begun = time.monotonic()
    first = reconcile(node)
    took = time.monotonic() - begun
    check(took < START / 2, f"one run took {took:.0f} s")
    check(first.out.count(SLOW) + first.err.count(SLOW) == 1, first)
    check((state(node, SLOW), state(node, NEXT)) == ("activating", "active"), state(node, NEXT))
    agree(node, lab, SLOW, ["note"], [])
    last = {one["pass"]: one for one in lab.json(node.ok("f3skeys status --json"))["last"]}
    found = [one["subject"] for one in last["reconcile"]["findings"]]
    check(found == [SLOW], found)
    second = reconcile(node)
    check(state(node, SLOW) == "activating", "it came up too soon for this story")
    check(not second.out and not second.err, second)
    node.until(f"test $(systemctl show -P ActiveState {SLOW}) = active", 2 * START, f"{SLOW} is up")
    third = reconcile(node)
    check(f"started {SLOW}" in third.out, third)
    fourth = reconcile(node)
    check(not fourth.out and not fourth.err, fourth)
    agree(node, lab, SLOW, [], [])
    return f"the run took {took:.1f} s"


@scenario("a service that stops slowly keeps none running, and is told once while its own limit lasts")
def slow_stop_holds_up_none(node, lab):
    unit(node, NEXT, f"{SLEEPS}\nExecStop=/usr/bin/sleep 90\nTimeoutStopSec=120")
    close(node)
    begun = time.monotonic()
    first = reconcile(node)
    took = time.monotonic() - begun
    check(took < 45, f"one run took {took:.0f} s")
    check((state(node, SLOW), state(node, NEXT)) == ("inactive", "deactivating"), first)
    check("120 s" in first.out + first.err, first)
    agree(node, lab, NEXT, ["note"], [])
    second = reconcile(node)
    check(state(node, NEXT) == "deactivating" and not second.out + second.err, second)
    node.until(f"test $(systemctl show -P ActiveState {NEXT}) = inactive", 120, f"{NEXT} has stopped")
    reconcile(node)
    agree(node, lab, NEXT, [], [])
    unit(node, NEXT, SLEEPS)


@scenario("a service that systemd starts again and again is stopped while its gate is closed, and starts when that opens")
def retried_is_stopped(node, lab):
    unit(node, NEXT, f"{SLEEPS}\nRestart=always\nRestartSec=300\nStartLimitIntervalSec=0")
    node.sh(f"systemctl start {NEXT}")
    check(state(node, NEXT) == "activating", state(node, NEXT))
    agree(node, lab, NEXT, ["failure"], ["warning"])
    check(f"stopped {NEXT}" in reconcile(node).out, "it was not stopped")
    check(state(node, NEXT) == "inactive", state(node, NEXT))
    opened(node)
    reconcile(node)
    check(state(node, NEXT) == "active", state(node, NEXT))
    unit(node, NEXT, SLEEPS)


@scenario("a service whose processes outlive its stop is told as long as they are there")
def left_behind_is_told(node, lab):
    unit(node, NEXT, "KillMode=process\nExecStart=/bin/sh -c 'sleep 1000 & exec sleep infinity'")
    node.ok(f"systemctl restart {NEXT}")
    close(node)
    reconcile(node, 69)
    check(state(node, NEXT) == "inactive", state(node, NEXT))
    agree(node, lab, NEXT, ["failure"], [])
    node.ok(f"systemctl kill --kill-whom=all {NEXT} || systemctl kill {NEXT}; pkill -f '^sleep 1000$'; true")
    node.until("! pgrep -f '^sleep 1000$'", 30, "what was left has ended")
    reconcile(node)
    agree(node, lab, NEXT, [], [])
    unit(node, NEXT, SLEEPS)
    opened(node)
    reconcile(node)


@scenario("masked and missing services: rehearse says no, doctor names them, and the next boot shows it; mended, it is a yes")
def what_cannot_start(node, lab):
    node.ok(f"mv /etc/systemd/system/{NEXT} /root/kept; systemctl mask {NEXT}; systemctl daemon-reload; sync")
    agree(node, lab, NEXT, ["failure"], ["failure"])
    reasons = subjects(node, lab)
    check(NEXT in reasons, reasons)
    node.reset()
    node.settled()
    node.quiet()
    node.check_open("apps")
    check((state(node, SLOW), state(node, NEXT)) == ("active", "inactive"), state(node, NEXT))
    node.ok(f"systemctl stop {NEXT}; systemctl unmask {NEXT}; systemctl daemon-reload")
    agree(node, lab, NEXT, ["failure"], ["failure"])
    node.ok(f"mv /root/kept /etc/systemd/system/{NEXT}; systemctl daemon-reload; systemctl -q enable {NEXT}; sync")
    agree(node, lab, NEXT, [], [])
    check(subjects(node, lab) == reasons - {NEXT}, subjects(node, lab))
    node.reset()
    node.settled()
    node.check_open("apps")
    check((state(node, SLOW), state(node, NEXT)) == ("active", "active"), state(node, NEXT))


def host_services_pair(lab):
    """Two nodes; a gate of f0 asks f1."""
    made = Pair(lab, "host-services-pair").start()
    made.f0.pair = made
    for one in (made.f0, made.f1):
        one.quiet()
    check(made.f0.f3skeys("reconcile").status == 0, "reconcile")
    made.f0.check_open("fresh")
    return made.f0


on_pair = group(host_services_pair)
SHELL = "sed -i 's|^\\(root:.*\\):[^:]*$|\\1:{}|' /etc/passwd"
# A small system may have none; this says what that of Debian and FreeBSD says, on the same stream.
NOLOGIN = ("test -x /usr/sbin/nologin || { printf '#!/bin/sh\\necho This account is currently not available.\\nexit 1\\n' "
           "> /usr/sbin/nologin; chmod 755 /usr/sbin/nologin; }; ")
KEYS = "/root/.ssh/authorized_keys"
# What is wrong on the peer, what it is told by, and what is to be checked.
DEAF = {
    "a start file that prints": (
        "touch /root/.bashrc; cp -a /root/.bashrc /root/kept; sed -i '1i echo Welcome to f1' /root/.bashrc; "
        "test -s /root/.bashrc || echo 'echo Welcome to f1' > /root/.bashrc", "mv /root/kept /root/.bashrc",
        "Welcome to f1", ".bashrc"),
    "nologin": (NOLOGIN + SHELL.format("/usr/sbin/nologin"), SHELL.format("/bin/bash"),
                "This account is currently not available", "login shell"),
    "a shell that is not there": (SHELL.format("/bin/nothing"), SHELL.format("/bin/bash"),
                                  "Permission denied", "login shell"),
    "a forced command that is not there": (
        f"cp -a {KEYS} /root/kept; sed -i 's|command=\"[^ ]*f3skeys |command=\"/usr/bin/f3skeys-gone |' {KEYS}",
        f"mv /root/kept {KEYS}", "f3skeys-gone", "--print-authorized-keys-line"),
}


@on_pair("a peer whose ssh brings something else than an answer: its own words are shown, with what to check: " + ", ".join(DEAF))
def deaf_peer(node, lab):
    f1 = node.pair.f1
    for fault, (make, mend, words, hint) in DEAF.items():
        f1.ok(make)
        gate, peers = node.gate("fresh"), node.f3skeys("status --peers")
        foretold = {one["name"]: one["state"] for one in lab.json(node.f3skeys("rehearse --json").out)["gates"]}
        f1.ok(mend)
        check((gate.status, peers.status) == (2, 69), f"{fault}\n{gate}\n{peers}")
        for done in (gate, peers):
            said = done.out + done.err
            check(words in said and hint in said, f"{fault}: {words}, {hint}\n{done}")
        check(foretold["fresh"] != "open", f"{fault}: {foretold}")
        node.check_open("fresh")
