"""Keys are nowhere but where they have to be."""

import os
import re

import base
from memory import Memory, image_of, keys_on
from node import KEY_OF, REPLICA, ROOTS, check, says
from scenarios import group
from scenarios.faults import HUNG, STAND_IN, hang, keep_zfs, no_stand_in, stand_in
import stick

PLACE = "/var/tmp/secrets"


def secrets(lab):
    """A node that is up, with udev kept from finishing anything by itself."""
    node = lab.node("secrets")
    # Who is looked at as it ends takes longer.
    node.life = 3000
    node.start([(lab.sticks.good(), stick.SERIAL)])
    node.settled()
    node.quiet()
    node.ok(f"mkdir -p {PLACE}")
    keep_zfs(node)
    return node


scenario = group(secrets)


def all_keys(lab):
    """The bytes of every key of the lab."""
    return [lab.pools.key(name) for name in lab.pools.keys()]


def scan(node, keys, *paths):
    """Files in which a key byte sequence is found, and how many bytes were read."""
    lines = "".join(key.hex() + "\n" for key in keys)
    done = node.sh(f"/usr/local/lib/lab/scan {' '.join(paths)}", lines.encode(), limit=300)
    check(done.status == 0, done)
    return re.findall(r"FOUND in (\S+)", done.out), int(re.search(r"read (\d+)", done.out)[1])


def check_clean(node, keys, *paths):
    """No key in any of these files, and there was something to read."""
    found, read = scan(node, keys, *paths)
    check(read > 0, f"nothing to read in {paths}")
    check(not found, f"key bytes in {found}")


@scenario("the scanner itself: it finds a key that is planted raw, in hex, in base64, in a log, in a core")
def scanner(node, lab):
    key = lab.pools.key("f0.lan.buetow.org:zdata")
    node.ok(f"cat > {PLACE}/raw", b"x" * 5000 + key[9:20] + b"y")
    node.ok(f"base64 > {PLACE}/base64", b"\0" + key)
    node.ok(f"od -An -tx1 > {PLACE}/hex", key)
    node.ok("logger -p user.info $(cat)", key.hex().upper().encode())
    node.ok(f"journalctl --sync; journalctl -b -o export > {PLACE}/journal")
    node.ok("cat > /dev/shm/key", key)
    node.ok(f"python3 -c 'import time; key = open(\"/dev/shm/key\", \"rb\").read(); time.sleep(1000)' & sleep 3; "
            f"{core('$!', 'python')}; kill $!")
    found, _ = scan(node, all_keys(lab), PLACE)
    wanted = {f"{PLACE}/{name}" for name in ("raw", "base64", "hex", "journal", "core.python")}
    check(set(found) == wanted, f"found {found}, wanted {wanted}")
    node.ok(f"rm -rf {PLACE}/* /dev/shm/key; journalctl --rotate; journalctl --vacuum-time=1s; rm -f /var/log/journal/*/*@*")


def core(pid, name):
    """A shell command that forces a core of a running process, as root, like gcore does."""
    return f"gdb -q -batch -p {pid} -ex 'generate-core-file {PLACE}/core.{name}' > {PLACE}/gdb.{name} 2>&1"


def whole(pid):
    """A shell command that dumps all memory, also what a core must leave out, into memory: the
    proof that there was a key to be found."""
    return (f"gdb -q -batch -p {pid} -ex 'set dump-excluded-mappings on' -ex 'set use-coredump-filter off' "
            "-ex 'generate-core-file /dev/shm/whole' > /dev/null 2>&1")


def executed(node, name, how="", before="true"):
    """Boots, and gives every program that was started."""
    node.shut()
    node.ok(before)
    node.ok(f"strace -f -v -s 65536 {how} -e trace=execve,execveat -o {PLACE}/{name} f3skeys boot")
    node.check_loaded(*ROOTS)
    return node.ok(f"cat {PLACE}/{name}")


@scenario("boot starts no program but itself, and hands keys to its workers by pipes alone")
def executes_nothing(node, lab):
    # As in every boot but the first: the replica is read-only already.
    text = executed(node, "execs.direct", before=f"for name in $(zfs list -Ho name -r {REPLICA}); "
                    "do zfs set readonly=on $name; done")
    check(text.count("execve(") == 1, f"programs were started:\n{text}")
    check_clean(node, all_keys(lab), f"{PLACE}/execs.direct")


@scenario("argv and environment of boot without a library, and of every program it starts: no key byte in any")
def arguments(node, lab):
    # No call has this in it: the stand-in hands all of them on.
    stand_in(node, STAND_IN.format(what="never-to-be-found"))
    executed(node, "execs", "-xx")
    text = executed(node, "execs.plain")
    no_stand_in(node)
    check(text.count("load-key") >= len(ROOTS), f"the trace shows no load-key:\n{text}")
    check_clean(node, all_keys(lab), f"{PLACE}/execs", f"{PLACE}/execs.plain")
    environments = set(re.findall(r'zfs", \[.*?\], (\[.*?\])', text))
    check(environments == {'["LC_ALL=C"]'}, f"environment of zfs: {environments}")


@scenario("every byte that boot writes: keys go into pipes and memory, never to a file, terminal or socket")
def writes(node, lab):
    node.shut()
    node.ok(f"strace -f -yy -xx -s 4096 -e trace=write,writev,pwrite64,sendto,sendmsg -o {PLACE}/writes f3skeys boot")
    node.check_loaded(*ROOTS)
    text = node.ok(f"cat {PLACE}/writes")
    node.ok(f"rm {PLACE}/writes")
    keys = [lab.pools.key(name) for name in lab.pools.keys()]
    pieces = ["".join(f"\\x{byte:02x}" for byte in key[start:start + 8]) for key in keys for start in range(0, 25)]
    lines = [line for line in text.splitlines() if any(piece in line for piece in pieces)]
    check(len(lines) >= len(ROOTS), f"the trace did not see the keys go to the workers:\n{text[:2000]}")
    names = {re.search(r"\(\d+<(.*?)>,", line)[1].replace("\\x", "") for line in lines}
    targets = {bytes.fromhex(name).decode().split(":")[0] for name in names}
    check(targets == {"pipe"}, f"key bytes were written to {targets}")


@scenario("a core forced out of a running boot (gcore as root) holds no key byte sequence")
def forced_core(node, lab):
    node.shut()
    hang(node, "load-key*zroot")
    ended = node.begin(f"f3skeys boot > {PLACE}/out 2> {PLACE}/err")
    node.until(HUNG, 60, "boot holds keys and hands one over")
    # Not what has ended: a worker that has answered is not waited for.
    node.ok(f"for pid in $(pgrep -x -r D,R,S,T f3skeys); do {core('$pid', '$pid')}; "
            f"cat /proc/$pid/cmdline /proc/$pid/environ > {PLACE}/proc.$pid; done")
    check(node.sh(f"ls {PLACE}/core.*").status == 0, node.sh(f"cat {PLACE}/gdb.*"))
    node.ok(f"{whole('$(pgrep -x -o f3skeys)')}")
    found, _ = scan(node, all_keys(lab), "/dev/shm/whole")
    node.ok("rm /dev/shm/whole")
    check(found, "boot held no key when its core was taken: this would prove nothing")
    locked = node.ok("grep -h -e VmLck -e CoreDumping /proc/$(pgrep -x -o f3skeys)/status")
    node.ok(f"{HUNG} | xargs kill")
    ended()
    no_stand_in(node)
    check("VmLck:\t       0 kB" not in locked, f"no memory was locked: {locked}")
    check_clean(node, all_keys(lab), PLACE)


@scenario("boot killed by SIGSEGV and SIGABRT with cores to a file or to a pipe allowed: no core is left")
def crash(node, lab):
    node.write("/usr/local/lib/lab/take-core", f"#!/bin/sh\ncat > {PLACE}/core.piped.$1\n", "0755")
    for number, (pattern, signal) in enumerate((
            (f"{PLACE}/core.file.%p", "SEGV"), (f"{PLACE}/core.file.%p", "ABRT"),
            ("|/usr/local/lib/lab/take-core %p", "SEGV"), ("|/usr/local/lib/lab/take-core %p", "ABRT"))):
        node.shut()
        node.ok(f"rm -f {PLACE}/core*; echo '{pattern}' > /proc/sys/kernel/core_pattern; echo 2 > /proc/sys/fs/suid_dumpable")
        if not number:
            node.sh(f"ulimit -c unlimited; cd /root; sleep 100 & kill -SEGV $!; wait $!")
            check(node.sh(f"ls {PLACE}/core.file.*").status == 0, "this machine makes no cores at all")
            node.ok(f"rm {PLACE}/core.file.*")
        hang(node, "load-key*zroot")
        ended = node.begin("ulimit -c unlimited; f3skeys boot > /dev/null 2>&1")
        node.until(HUNG, 60, "boot holds keys and hands one over")
        node.ok(f"pkill -{signal} -x f3skeys; {HUNG} | xargs kill")
        ended()
        no_stand_in(node)
        node.ok("sleep 1")
        found, _ = scan(node, all_keys(lab), PLACE)
        check(not found, f"{signal} to {pattern}: key bytes in {found}")
        check(node.sh(f"ls {PLACE}/core*").status != 0, f"{signal} to {pattern}: a core was written")


@scenario("stdout, stderr, journal, syslog, status --json, reports and markers: no key byte in any")
def outputs(node, lab):
    node.shut()
    node.ok(f"systemctl start f3skeys f3sready > {PLACE}/start 2>&1")
    node.ok(f"f3skeys boot > {PLACE}/out 2> {PLACE}/err; f3skeys ready >> {PLACE}/out 2>> {PLACE}/err; "
            f"f3skeys plan >> {PLACE}/out 2>> {PLACE}/err; f3skeys status --json > {PLACE}/json 2>> {PLACE}/err")
    node.ok(f"journalctl --sync; journalctl -o export > {PLACE}/journal; dmesg > {PLACE}/dmesg")
    check("zdata/enc" in node.ok(f"cat {PLACE}/json"), "no status")
    check("Load the keys" in node.ok(f"cat {PLACE}/journal"), "no journal")
    check_clean(node, all_keys(lab), PLACE, "/var/log", "/var/lib/f3skeys", "/run/f3skeys", "/run/log", "/etc", "/tmp", "/root")


@scenario("the scan of memory itself: it finds a key as bytes, in hex, in base64, in memory that its process cannot read, also "
          "of a child that is over before, is killed, or dies with its parent; and what it could not read it says")
def memory_scanner(node, lab):
    leaves, file, key = f"{PLACE}/leaves", "/dev/shm/key", lab.pools.key(KEY_OF["zdata/enc"])
    node.write(leaves, (base.GUEST / "leaves").read_bytes(), "0755")
    node.ok(f"cat > {file}", key)
    for where, form in (("itself", "raw"), ("itself", "hex"), ("itself", "base64"), ("ends", "raw"), ("killed", "raw"),
                        ("orphan", "raw")):
        memory = Memory(node, "control")
        memory.of(f"python3 {leaves} {file} {where} {form}")
        found = [(one["first"], hit) for one in memory.look([key]) for hit in one["hits"]]
        check({first for first, _ in found} == {where == "itself"}, f"{where}: {found}")
        hidden = {hit["form"] for _, hit in found if hit["mode"] == "---p"}
        check(hidden == {"raw" if form == "raw" else "text"}, f"{form}: {found}")
        check(not any(one["hits"] for one in memory.look([os.urandom(32)])), "it finds what is not there")
        memory.forget()
    memory.of(f"python3 {leaves} {file} secret raw")
    done = node.sh(f"/usr/local/lib/lab/remains look {memory.folder}", key.hex().encode())
    check(done.status == 3, done)
    says(done, "NOT SCANNED", "secretmem")
    memory.forget()
    done = node.sh(f"mkdir -p {memory.folder}/bytes; /usr/local/lib/lab/remains look {memory.folder}", key.hex().encode())
    check(done.status == 3, f"nothing was kept, and all is well?\n{done}")
    memory.forget()
    node.ok(f"rm {file} {leaves}")


@scenario("memory of every process of boot as it ends, by OpenZFS's library, by its program, and with a key given by hand, and of "
          "ready and lock: no piece of a key but in the library's own copies, which are locked")
def memory_of_boot(node, lab):
    memory = Memory(node, "boot")
    node.shut()
    memory.of("f3skeys boot")
    node.check_loaded(*ROOTS)
    memory.of("f3skeys ready")
    memory.of("f3skeys lock")
    node.check_loaded()
    memory.of(f"f3skeys boot --root {ROOTS[1]} --key-from-stdin", lab.pools.key(KEY_OF[ROOTS[1]]))
    node.check_loaded(ROOTS[1])
    told = memory.check_clean(all_keys(lab), "boot", "ready", "lock", "--key-from-stdin")
    stand_in(node, STAND_IN.format(what="never-to-be-found"))
    node.shut()
    memory.of("f3skeys boot")
    node.check_loaded(*ROOTS)
    no_stand_in(node)
    by_program = memory.check_clean(all_keys(lab), "boot")
    check("copies in 0" in by_program, f"there was no library: {by_program}")
    return f"{told}; {by_program}"


@scenario("memory of every process of init, new-key, verify with and without the pools, rehearse, status and doctor as it ends: the same")
def memory_of_others(node, lab):
    memory = Memory(node, "others")
    memory.of("f3skeys verify")
    memory.of("f3skeys verify --pools")
    for verb in ("rehearse", "status --json", "doctor"):
        # Whatever it has to say of this machine.
        memory.of(f"f3skeys {verb}", status=None)
    good = image_of(node)
    node.unplug()
    node.insert(lab.sticks.own(lab.sticks.blank(), "secrets-blank"))
    disk = node.ok(f"readlink -f /dev/disk/by-id/usb-*{stick.SERIAL}* | head -n 1").strip()
    memory.of(f"f3skeys init --device {disk} --serial {stick.SERIAL}")
    memory.of("f3skeys new-key first")
    memory.of("f3skeys verify")
    made = keys_on(image_of(node))
    node.swap(good)
    check(made, "no key was made")
    return memory.check_clean(made + all_keys(lab), "verify", "--pools", "rehearse", "status", "doctor", "init", "new-key")
