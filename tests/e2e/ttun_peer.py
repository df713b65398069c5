#!/usr/bin/python3
"""The wire of ttun, written a second time and from its description alone: the opposite end in tests. No TUN device: IP
packets are made here.

    ttun_peer.py client HOST:PORT --key K --method M [what to do]
    ttun_peer.py server HOST:PORT --key K --method M [what to do]

Prints one word per finished step, so that a test can wait for it, and ends with status 0 when all of it went well.
"""

import argparse
import hashlib
import os
import select
import socket
import struct
import sys
import time

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

METHODS = {"chacha20-poly1305": ChaCha20Poly1305, "aes-256-gcm": AESGCM}
MAGIC = b"TTUN/v1\0"


class Wire:
    def __init__(self, sock, role, key, method):
        self.sock, self.role = sock, role
        self.key = hashlib.blake2s(b"ttun/psk/v1" + key).digest()
        self.method = METHODS[method]
        self.direction = 0 if role == "client" else 1
        self.sent = self.received = 0
        self.aead = None

    def read(self, count):
        data = b""
        while len(data) < count:
            more = self.sock.recv(count - len(data))
            if not more:
                raise EOFError("closed")
            data += more
        return data

    def start(self, client_nonce, server_nonce):
        self.aead = self.method(hashlib.blake2s(b"ttun/sk/v1" + self.key + client_nonce + server_nonce).digest())

    def seal(self, packet):
        nonce = bytes([self.direction, 0, 0, 0]) + struct.pack("!Q", self.sent)
        self.sent += 1
        sealed = self.aead.encrypt(nonce, packet, None)
        return struct.pack("!H", len(sealed)) + sealed

    def receive(self):
        (length,) = struct.unpack("!H", self.read(2))
        nonce = bytes([1 - self.direction, 0, 0, 0]) + struct.pack("!Q", self.received)
        self.received += 1
        return self.aead.decrypt(nonce, self.read(length), None)

    def send(self, data, piece=None):
        for at in range(0, len(data), piece or len(data)):
            self.sock.sendall(data[at : at + (piece or len(data))])

    def handshake(self, piece=None):
        own = os.urandom(16)
        if self.role == "client":
            self.send(own, piece)
            self.start(own, self.read(16))
            self.send(self.seal(MAGIC), piece)
            assert self.receive() == MAGIC
        else:
            other = self.read(16)
            self.send(own, piece)
            self.start(other, own)
            assert self.receive() == MAGIC
            self.send(self.seal(MAGIC), piece)


# ---- packets


def ones(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def echo(version, source, target, number, payload=b"echo"):
    if version == 4:
        body = struct.pack("!BBHHH", 8, 0, 0, 7, number) + payload
        body = body[:2] + struct.pack("!H", ones(body)) + body[4:]
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), number, 0, 64, 1, 0)
        head += socket.inet_pton(socket.AF_INET, source) + socket.inet_pton(socket.AF_INET, target)
        return head[:10] + struct.pack("!H", ones(head)) + head[12:] + body
    ends = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, target)
    body = struct.pack("!BBHHH", 128, 0, 0, 7, number) + payload
    body = body[:2] + struct.pack("!H", ones(ends + struct.pack("!II", len(body), 58) + body)) + body[4:]
    return struct.pack("!IHBB", 6 << 28, len(body), 58, 64) + ends + body


def answer_number(packet):
    """The number of an echo reply, None for any other packet (neighbour discovery, say)."""
    if packet[0] >> 4 == 4 and packet[9] == 1 and packet[20] == 0:
        return 4, struct.unpack("!H", packet[26:28])[0]
    if packet[0] >> 4 == 6 and packet[6] == 58 and packet[40] == 129:
        return 6, struct.unpack("!H", packet[46:48])[0]
    return None


def ping(wire, count, piece, glue):
    """Echo requests of both versions, each answered."""
    mine, theirs = (2, 1) if wire.role == "client" else (1, 2)
    frames, wanted = [], set()
    for number in range(1, count + 1):
        frames.append(wire.seal(echo(4, "10.1.1.%d" % mine, "10.1.1.%d" % theirs, number)))
        frames.append(wire.seal(echo(6, "fc11::%d" % mine, "fc11::%d" % theirs, number, b"x" * number)))
        wanted |= {(4, number), (6, number)}
    if glue:
        frames = [b"".join(frames)]
    for frame in frames:
        wire.send(frame, piece)
    # A network may lose packets, and this one does at its beginning: the kernel puts the route of a new IPv6 address in
    # place a moment after the address. So what stays unanswered is asked again, as ping does.
    asked = time.monotonic()
    while wanted:
        if time.monotonic() - asked > 1:
            say("again: %s" % sorted(wanted))
            asked = time.monotonic()
            for version, number in sorted(wanted):
                name = "10.1.1.%d" if version == 4 else "fc11::%d"
                wire.send(wire.seal(echo(version, name % mine, name % theirs, number)), piece)
        if select.select([wire.sock], [], [], 0.2)[0]:
            wanted.discard(answer_number(wire.receive()))


def say(word):
    print(word, flush=True)


def connect(args):
    host, port = args.address.rsplit(":", 1)
    if args.role == "client":
        return socket.create_connection((host, int(port)), timeout=20)
    listener = socket.create_server((host, int(port)))
    say("listening")
    listener.settimeout(30)
    sock, _ = listener.accept()
    sock.settimeout(20)
    return sock


def be_peer(args):
    wire = Wire(connect(args), args.role, args.key.encode(), args.method)
    try:
        wire.handshake(args.piece)
    except (EOFError, ConnectionError, InvalidTag):
        say("refused")
        return 3
    say("up")
    if args.odd:  # what a real ttun dies of: none of it may end the session
        wire.send(wire.seal(b"") + wire.seal(b"\x10garbage") + wire.seal(b"\x45") + wire.seal(b"\x60" * 3000))
    if args.pings:
        ping(wire, args.pings, args.piece, args.glue)
        say("pinged")
    if args.forge:
        frame = bytearray(wire.seal(echo(4, "10.1.1.2", "10.1.1.1", 1)))
        frame[-1] ^= 1
        wire.send(bytes(frame))
    if args.forge or args.hold:
        wire.sock.settimeout(None)
        try:
            while wire.sock.recv(65536):
                pass
        except ConnectionError:
            pass
        say("closed")
    return 0


def be_idle(args):
    """Connections that send nothing, or part of a nonce, for as long as standard input is open."""
    host, port = args.address.rsplit(":", 1)
    held = []
    for number in range(args.count):
        sock = socket.create_connection((host, int(port)), timeout=20)
        sock.sendall(b"\0" * (number % 16))
        held.append(sock)
    say("held")
    sys.stdin.read()
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("role", choices=["client", "server", "idle"])
    parser.add_argument("address")
    parser.add_argument("--key", default="")
    parser.add_argument("--method", choices=sorted(METHODS), default="chacha20-poly1305")
    parser.add_argument("--pings", type=int, default=0)
    parser.add_argument("--piece", type=int, help="bytes per send")
    parser.add_argument("--glue", action="store_true", help="all frames in one send")
    parser.add_argument("--odd", action="store_true")
    parser.add_argument("--forge", action="store_true")
    parser.add_argument("--hold", action="store_true", help="stay until the other side closes")
    parser.add_argument("--count", type=int, default=1)
    args = parser.parse_args()
    return be_idle(args) if args.role == "idle" else be_peer(args)


if __name__ == "__main__":
    sys.exit(main())
