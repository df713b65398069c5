"""A TCP middleman between source and dest that harms a stream at an exact byte.

    source ──► Middleman ──► dest

It reads the ALPN name in the ClientHello, so a fault can be meant for control or for data connections. A fault is used
up by the first connection that reaches its byte; later ones pass unharmed.
"""

import socket
import struct
import threading

from peers import SECONDS

OUT, BACK = "out", "back"  # from the source to dest, and from dest to the source
CONTROL, DATA, OTHER = "control", "data", "other"
KEPT_BYTES = 1 << 17


class Fault:
    """action: flip (one bit), drop (one byte), insert (one byte), end (FIN both ways), reset (RST both ways)."""

    def __init__(self, kind, direction, offset, action, bit=0):
        self.kind, self.direction, self.offset, self.action, self.bit = kind, direction, offset, action, bit
        self.used = False

    def __repr__(self):
        return "%s at byte %d %s on a %s connection" % (self.action, self.offset, self.direction, self.kind)


class Connection:
    def __init__(self, near, far):
        self.near, self.far = near, far
        self.kind = OTHER
        self.sent = {OUT: 0, BACK: 0}
        self.first = bytearray()  # what the source sent first, for a replay
        self.over = False

    def cut(self, orderly):
        self.over = True
        for end in (self.near, self.far):
            try:
                if not orderly:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RDWR if orderly else socket.SHUT_RD)
            except OSError:
                pass
        self.close()

    def close(self):
        for end in (self.near, self.far):
            try:
                end.close()
            except OSError:
                pass


def kind_of(first):
    if b"qanat-data/1" in first:
        return DATA
    return CONTROL if b"qanat/1" in first else OTHER


class Middleman:
    def __init__(self, target):
        self.target = target
        self.fault = None
        self.lock = threading.Lock()
        self.connections = []
        self.joined = 0
        self.flowing = threading.Event()
        self.flowing.set()
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(512)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.join, args=(near,), daemon=True).start()

    def join(self, near):
        # dest counts handshakes for each address; a test makes more of them than one honest source would.
        with self.lock:
            self.joined += 1
            own = "127.%d.%d.%d" % (1 + self.joined // 60000, self.joined // 250 % 240, 2 + self.joined % 250)
        try:
            far = socket.create_connection(self.target, timeout=SECONDS, source_address=(own, 0))
        except OSError:
            near.close()
            return
        for end in (near, far):
            end.settimeout(None)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(near, far)
        with self.lock:
            self.connections.append(connection)
        back = threading.Thread(target=self.pump, args=(connection, BACK), daemon=True)
        back.start()
        self.pump(connection, OUT)
        back.join()
        connection.close()

    def read_hello(self, connection):
        """The whole first record, so that its ALPN can be read before a byte of it goes on."""
        first = b""
        while len(first) < 5 or len(first) < 5 + int.from_bytes(first[3:5], "big"):
            part = connection.near.recv(1 << 16)
            if not part:
                break
            first += part
            if first[:1] != b"\x16":
                break
        connection.kind = kind_of(first)
        return first

    def pump(self, connection, direction):
        reader, writer = (connection.near, connection.far) if direction == OUT else (connection.far, connection.near)
        try:
            data = self.read_hello(connection) if direction == OUT else reader.recv(1 << 16)
            while data:
                self.flowing.wait()
                if direction == OUT and len(connection.first) < KEPT_BYTES:
                    connection.first += data
                if not self.forward(connection, direction, writer, data):
                    return
                data = reader.recv(1 << 16)
            writer.shutdown(socket.SHUT_WR)
        except OSError:
            # A reset on one side is a reset on the other.
            if not connection.over:
                connection.cut(orderly=False)

    def take_fault(self, connection, direction, length):
        """The fault if it falls into the next length bytes of this connection."""
        with self.lock:
            fault = self.fault
            if fault is None or fault.used or fault.kind != connection.kind or fault.direction != direction:
                return None
            start = connection.sent[direction]
            if not start <= fault.offset < start + length:
                return None
            fault.used = True
            return fault

    def forward(self, connection, direction, writer, data):
        fault = self.take_fault(connection, direction, len(data))
        if fault is None:
            connection.sent[direction] += len(data)
            writer.sendall(data)
            return True
        at = fault.offset - connection.sent[direction]
        connection.sent[direction] += len(data)
        if fault.action == "flip":
            writer.sendall(data[:at] + bytes([data[at] ^ (1 << fault.bit)]) + data[at + 1 :])
        elif fault.action == "drop":
            writer.sendall(data[:at] + data[at + 1 :])
        elif fault.action == "insert":
            writer.sendall(data[:at] + b"\x17" + data[at:])
        else:
            writer.sendall(data[:at])
            connection.cut(orderly=fault.action == "end")
            return False
        return True

    def cut(self, kind):
        """Resets every open connection of that kind. Returns how many."""
        with self.lock:
            open_ones = [
                connection for connection in self.connections if connection.kind == kind and not connection.over
            ]
        for connection in open_ones:
            connection.cut(orderly=False)
        return len(open_ones)

    def freeze(self):
        """Carries nothing from now on, on connections old and new, but keeps them open."""
        self.flowing.clear()

    def thaw(self):
        """Cuts what was frozen; new connections are carried."""
        with self.lock:
            open_ones = [connection for connection in self.connections if not connection.over]
        for connection in open_ones:
            connection.cut(orderly=False)
        self.flowing.set()

    def of_kind(self, kind):
        with self.lock:
            return [connection for connection in self.connections if connection.kind == kind]

    def close(self):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        with self.lock:
            open_ones = list(self.connections)
        for connection in open_ones:
            connection.cut(orderly=False)
        self.flowing.set()
