"""One virtual machine: QEMU under plain emulation, its disks, sticks, console and commands."""

import base64
import ctypes
import itertools
import json
import os
import pathlib
import queue
import shlex
import signal
import socket
import subprocess
import threading
import time

import host
import pace

# Limits in seconds, where a start takes a minute; on a slower machine each is longer (`pace.py`).
BOOT_LIMIT = 300
COMMAND_LIMIT = 120
# One question of those that are asked until the answer is yes.
QUESTION_LIMIT = 60
# A whole group of scenarios has to fit into this, unless its machines are given longer.
LIFE_LIMIT = 1500
PR_SET_PDEATHSIG = 1
# How often a person is told that a start still lasts, in seconds.
TELL = 60
PACE = pace.Pace()


class Failed(Exception):
    """Something in the machine was not as the scenario says."""


class Done:
    """What a command in the machine came to."""

    def __init__(self, command, answer):
        self.command, self.status = command, answer["status"]
        self.raw, self.raw_err = base64.b64decode(answer["out"]), base64.b64decode(answer["err"])
        self.out = self.raw.decode("utf-8", "replace")
        self.err = self.raw_err.decode("utf-8", "replace")

    def __str__(self):
        return f"{self.command}\nexit {self.status}\n{self.out}{self.err}".rstrip()


def die_with_parent():
    """The machine must not outlive the lab, however the lab ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def connect(path, limit=30):
    """A client of one of QEMU's sockets, once QEMU has made it."""
    deadline = time.monotonic() + limit
    while True:
        channel = socket.socket(socket.AF_UNIX)
        try:
            channel.connect(str(path))
            return channel
        except OSError:
            channel.close()
            if time.monotonic() > deadline:
                raise host.LabError(f"QEMU did not open {path}") from None
            time.sleep(0.1)


class Monitor:
    """QMP: the hands that plug, unplug and pull the mains."""

    def __init__(self, path):
        channel = connect(path)
        channel.settimeout(COMMAND_LIMIT)
        self.file = channel.makefile("rw", encoding="utf-8")
        self.events = []
        self.file.readline()
        self.do("qmp_capabilities")

    def do(self, command, **arguments):
        """Executes one command; events that come meanwhile are kept."""
        self.file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.file.flush()
        while True:
            answer = self.read()
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise host.LabError(f"qmp {command}: {answer['error']['desc']}")

    def read(self):
        """One message; an event is also remembered."""
        message = json.loads(self.file.readline() or '{"error": {"desc": "QEMU is gone"}}')
        if "event" in message:
            self.events.append(message)
        return message

    def wait(self, event, device):
        """Waits until an event names a device."""
        while True:
            for message in self.events:
                if message["event"] == event and message["data"].get("device") == device:
                    self.events.remove(message)
                    return
            if "error" in self.read():
                raise host.LabError(f"QEMU ended before {event} of {device}")


class Channel:
    """The command channel: many commands may be under way at once."""

    def __init__(self, path):
        self.socket = connect(path)
        self.answers, self.hellos = {}, queue.Queue()
        self.ids = itertools.count(1)
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        """Sorts what the agent says to those who asked."""
        for line in self.socket.makefile("rb"):
            try:
                message = json.loads(line)
            except ValueError:
                continue  # half a line of a machine that was reset
            if message.get("hello"):
                self.hellos.put(time.monotonic())
            elif message["id"] in self.answers:
                self.answers[message["id"]].put(message)

    def ask(self, command, stdin=b"", limit=COMMAND_LIMIT):
        """Sends a command and returns where its answer will be; `limit` is one of this machine's."""
        request = {"id": next(self.ids), "command": command, "limit": limit,
                   "stdin": base64.b64encode(stdin).decode("ascii")}
        box = self.answers[request["id"]] = queue.Queue()
        self.socket.sendall(json.dumps(request).encode("ascii") + b"\n")
        return box


class Machine:
    """A node: start it, talk to it, plug things into it, cut its power."""

    # The one that was switched on last: what a person wants to see when the lab gives up.
    latest = None

    def __init__(self, folder, boot, root, disks):
        """`boot` holds kernel and initrd; `root` and `disks` (name to image) are only read."""
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.boot_files, self.console = boot, self.folder / "console.log"
        self.disks = {"root": self.overlay("root", root)}
        self.disks |= {name: self.overlay(name, path) for name, path in disks.items()}
        self.process = self.monitor = self.channel = self.wire = None
        self.plugged, self.life, self.on, self.cpus = {}, LIFE_LIMIT, False, 2
        self.switched_on = None

    def overlay(self, name, backing):
        """A disk of this run's own on top of one that stays as it is."""
        out = self.folder / f"{name}.qcow2"
        kind = "qcow2" if str(backing).endswith(".qcow2") else "raw"
        host.run("qemu-img", "create", "-q", "-f", "qcow2", "-F", kind, "-b", backing, out)
        return out

    def join(self, wire, number):
        """Joins a wire, before the start."""
        self.wire = [
            "-netdev", f"stream,id=wire,server=off,addr.type=unix,addr.path={wire.path}",
            "-device", f"virtio-net-pci,netdev=wire,mac=52:54:00:f3:00:{number:02x}"]

    def arguments(self, extra, interactive):
        """QEMU's command line."""
        yield from ["qemu-system-x86_64", "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max",
                    "-smp", str(self.cpus), "-m", "2048", "-nodefaults", "-display", "none"]
        yield from ["-kernel", self.boot_files / "vmlinuz", "-initrd", self.boot_files / "initrd"]
        yield from ["-append", f"root=/dev/vda rw console=ttyS0 panic=5 quiet net.ifnames=0 {extra}"]
        for number, (name, path) in enumerate(self.disks.items(), 1):
            yield from ["-drive", f"if=none,id=d-{name},file={path},format=qcow2,cache=unsafe,discard=unmap"]
            # A port of its own, so that a disk can be pulled out of the running machine.
            yield from ["-device", f"pcie-root-port,id=p-{name},chassis={number},slot={number}"]
            yield from ["-device", f"virtio-blk-pci,id={name},bus=p-{name},drive=d-{name},serial={name}"]
        yield from self.wire or ()
        yield from ["-device", "qemu-xhci,id=xhci", "-device", "virtio-serial-pci"]
        yield from ["-chardev", f"socket,id=agent,path={self.folder}/agent.sock,server=on,wait=off",
                    "-device", "virtserialport,chardev=agent,name=lab.agent"]
        yield from ["-qmp", f"unix:{self.folder}/qmp.sock,server=on,wait=off"]
        yield from ["-serial", "mon:stdio" if interactive else f"file:{self.console}"]

    def start(self, sticks=(), extra="", interactive=False, wait=True):
        """Switches the machine on, with `sticks` (image, serial) plugged in."""
        command = [str(a) for a in self.arguments(extra, interactive)] + ["-S"]
        quiet = None if interactive else subprocess.DEVNULL
        with open(self.folder / "qemu.log", "wb") as log:
            self.process = subprocess.Popen(command, stdin=quiet, stdout=quiet if quiet is None else log,
                                            stderr=log, preexec_fn=die_with_parent)
        Machine.latest = self
        self.guard = threading.Timer(PACE.scaled(self.life), self.process.kill)
        self.guard.daemon = True
        if not interactive:
            self.guard.start()
        self.monitor = Monitor(self.folder / "qmp.sock")
        self.channel = Channel(self.folder / "agent.sock")
        for image, serial in sticks:
            self.plug(image, serial)
        self.go()
        if wait:
            self.wait_agent()

    def go(self):
        """Lets the machine run from its beginning."""
        self.switched_on = time.monotonic()
        self.monitor.do("cont")
        self.on = True

    def wait_agent(self, limit=BOOT_LIMIT):
        """Waits for the agent of a machine that was switched on or reset; a start by the lab is measured."""
        limit, began = PACE.of_a_start(limit), time.monotonic()
        while True:
            left = began + limit - time.monotonic()
            try:
                came_up = self.channel.hellos.get(timeout=max(0, min(TELL, left)))
                break
            except queue.Empty:
                if self.process.poll() is not None:
                    raise Failed("QEMU has ended before the machine came up") from None
                if left <= 0:
                    raise Failed(f"the machine did not come up within {limit:.0f} s") from None
            host.say(f"a machine is starting: waited {time.monotonic() - began:.0f} s, at most {limit:.0f} s")
        if self.switched_on:
            PACE.measured(came_up - self.switched_on)
        self.switched_on = None

    def console_end(self):
        """What the machine has last written on its console."""
        text = self.console.read_text(errors="replace") if self.console.exists() else ""
        return text[-6000:]

    def cut(self):
        """The power is out: what was not on the disks is gone, and every stick is pulled."""
        while not self.channel.hellos.empty():
            self.channel.hellos.get()
        self.monitor.do("stop")
        Machine.unplug(self)
        self.monitor.do("system_reset")
        self.on = False

    def power(self, sticks=()):
        """The power is back, with `sticks` (image, serial) plugged in."""
        for image, serial in sticks:
            self.plug(image, serial)
        self.go()
        self.wait_agent()

    def reset(self):
        """A power cut of a moment, with the sticks as they are."""
        sticks = list(self.plugged.values())
        self.cut()
        self.power(sticks)

    def stop(self):
        """Switches the machine off, the hard way."""
        if self.process:
            self.guard.cancel()
            self.process.kill()
            self.process.wait()
            self.process = None

    def quit(self):
        """Switches the machine off; unlike stop, what QEMU still holds reaches the images."""
        self.monitor.do("quit")
        self.process.wait(60)

    def plug(self, image, serial):
        """Puts a USB stick in. Two sticks may carry the same serial in different images."""
        name = f"stick{len(self.plugged) + 1}-{time.monotonic_ns()}"
        self.monitor.do("blockdev-add", **{
            "driver": "raw", "node-name": f"n{name[5:]}", "file": {"driver": "file", "filename": str(image)}})
        self.monitor.do("device_add", driver="usb-storage", id=name, bus="xhci.0",
                        drive=f"n{name[5:]}", serial=serial)
        self.plugged[name] = (image, serial)

    def slow(self, iops):
        """Makes every stick answer only so many requests a second; 0 lets them run again."""
        nodes = {f"n{name[5:]}" for name in self.plugged}
        for block in self.monitor.do("query-block"):
            if block.get("inserted", {}).get("node-name") not in nodes:
                continue
            self.monitor.do("block_set_io_throttle", id=block["qdev"], bps=0, bps_rd=0, bps_wr=0,
                            iops=iops, iops_rd=0, iops_wr=0)

    def unplug(self):
        """Pulls every stick."""
        for one in list(self.plugged):
            self.monitor.do("device_del", id=one)
            self.monitor.wait("DEVICE_DELETED", one)
            self.monitor.do("blockdev-del", **{"node-name": f"n{one[5:]}"})
            del self.plugged[one]

    def pull(self, disk):
        """Pulls a disk out of the running machine."""
        self.monitor.do("device_del", id=disk)
        self.monitor.wait("DEVICE_DELETED", disk)

    def sh(self, command, stdin=b"", limit=COMMAND_LIMIT):
        """Runs a shell command in the machine, whatever its status."""
        limit = PACE.scaled(limit)
        box = self.channel.ask(command, stdin, limit)
        try:
            return Done(command, box.get(timeout=limit + 60))
        except queue.Empty:
            raise Failed(f"no answer from the machine: {command}") from None

    def begin(self, command, limit=COMMAND_LIMIT):
        """Starts a command and returns a function that waits for its end."""
        limit = PACE.scaled(limit)
        box = self.channel.ask(command, b"", limit)
        return lambda: Done(command, box.get(timeout=limit + 60))

    def ok(self, command, stdin=b"", limit=COMMAND_LIMIT):
        """Runs a command that has to succeed; returns its output."""
        done = self.sh(command, stdin, limit)
        if done.status:
            raise Failed(str(done))
        return done.out

    def write(self, path, data, mode="0644"):
        """Puts a file into the running machine."""
        data = data if isinstance(data, bytes) else data.encode()
        where = shlex.quote(str(path))
        self.ok(f"rm -f {where} && install -D -m {mode} /dev/stdin {where}", data)

    def until(self, command, limit, what):
        """Asks again and again until a command succeeds; returns its output."""
        limit = PACE.scaled(limit)
        deadline = time.monotonic() + limit
        while True:
            try:
                done = self.sh(command, limit=QUESTION_LIMIT)
                if done.status == 0:
                    return done.out
            except Failed as lost:
                # Of a machine that was just switched on an answer may get lost: a question can be
                # asked again.
                done = lost
            if time.monotonic() > deadline:
                raise Failed(f"{what}: not within {limit:.0f} s\n{done}")
            time.sleep(0.5)


def interact(machine):
    """Hands the terminal over until the person leaves."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        machine.process.wait()
    finally:
        signal.signal(signal.SIGINT, previous)
        os.system("stty sane")
