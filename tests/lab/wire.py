"""The wire between machines: a switch for what QEMU's `-netdev stream` sends. No packet leaves it."""

import queue
import socket
import struct
import threading

BROADCAST = 0x01
# Frames that wait for a machine whose power is out; what does not fit is lost, as on any wire.
WAITING = 512


class Wire:
    """Listens on a socket of the file system; every machine that connects gets a port."""

    def __init__(self, path):
        self.path, self.ports, self.known = path, [], {}
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(path))
        self.socket.listen()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        """A port for every machine."""
        while True:
            channel, _ = self.socket.accept()
            port = Port(self, channel)
            self.ports.append(port)
            threading.Thread(target=port.receive, daemon=True).start()
            threading.Thread(target=port.send, daemon=True).start()

    def forward(self, frame, source):
        """To the machine it is meant for; to all others when that is not known yet."""
        self.known[frame[6:12]] = source
        known = None if frame[0] & BROADCAST else self.known.get(frame[:6])
        for port in [known] if known else list(self.ports):
            if port is not source:
                port.put(frame)


class Port:
    """One machine's end: QEMU puts the length before each frame, in four bytes."""

    def __init__(self, wire, channel):
        self.wire, self.channel, self.waiting = wire, channel, queue.Queue(WAITING)

    def put(self, frame):
        """Nobody waits for a machine that does not read."""
        try:
            self.waiting.put_nowait(frame)
        except queue.Full:
            pass

    def send(self):
        """What is waiting, for as long as the machine runs."""
        try:
            while frame := self.waiting.get():
                self.channel.sendall(struct.pack(">I", len(frame)) + frame)
        except OSError:
            pass

    def receive(self):
        """What the machine sends, for as long as it runs."""
        with self.channel.makefile("rb") as stream:
            try:
                while head := stream.read(4):
                    self.wire.forward(stream.read(struct.unpack(">I", head)[0]), self)
            except (OSError, struct.error, IndexError):
                pass  # it was switched off in the middle of a frame
        self.wire.ports.remove(self)
        self.put(b"")
