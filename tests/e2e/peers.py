"""The world around a tunnel: servers behind dest, clients in front of source. Plain blocking sockets and threads."""

import hashlib
import json
import os
import random
import re
import select
import socket
import struct
import subprocess
import threading
import time

from qanat import HELPERS, PATIENCE, wait

SECONDS = 20 * PATIENCE  # every socket operation of a test ends by then


def reset(connection):
    """Closes with a TCP reset instead of an orderly end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def dial(address, seconds=SECONDS):
    """(host, port) or a Unix path."""
    if isinstance(address, str):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(seconds)
        connection.connect(address)
        return connection
    return socket.create_connection(address, timeout=seconds)


def read_exactly(connection, length):
    parts = []
    while length > 0:
        part = connection.recv(min(length, 1 << 18))
        assert part, "the stream ended %d bytes early" % length
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def read_to_end(connection, heard=None):
    """Everything until the stream ends, and how it ended: "end" (orderly) or "reset". heard grows on the way."""
    heard = bytearray() if heard is None else heard
    while True:
        try:
            part = connection.recv(1 << 18)
        except (ConnectionResetError, BrokenPipeError):
            return bytes(heard), "reset"
        if not part:
            return bytes(heard), "end"
        heard += part


def turned_away(address, say=b""):
    """What a client that is refused hears, and how it ends. The reset may come as early as in connect."""
    try:
        with dial(address) as client:
            client.sendall(say)
            return read_to_end(client)
    except (ConnectionResetError, BrokenPipeError):
        return b"", "reset"


def ask(address, question, length=None):
    """One exchange with an echo server."""
    with dial(address) as connection:
        connection.sendall(question)
        return read_exactly(connection, len(question) if length is None else length)


def converse(connection, say, heard=None):
    """Says its bytes and its end (None: nothing), and meanwhile hears the other side to its end. Returns what was heard
    and how it ended. The kernel reports a reset once, to whichever of the two directions asks first."""
    broken = []

    def tell():
        try:
            connection.sendall(say)
            connection.shutdown(socket.SHUT_WR)
        except OSError as problem:
            broken.append(problem)

    teller = threading.Thread(target=tell, daemon=True)
    if say is not None:
        teller.start()
    heard, how = read_to_end(connection, heard)
    if say is not None:
        teller.join(SECONDS)
    return heard, "reset" if broken else how


class Server:
    """Accepts on a free port, or a given one; each connection is given to serve(connection) on a thread of its own."""

    def __init__(self, serve, host="127.0.0.1", path=None, backlog=512, port=0):
        self.serve = serve
        self.accepted = 0
        self.problems = []
        self.connections = []
        self.lock = threading.Lock()
        if path:
            self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.listener.bind(path)
            self.address = path
        else:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self.listener = socket.socket(family, socket.SOCK_STREAM)
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.listener.bind((host, port))
            self.address = (host, self.listener.getsockname()[1])
        self.listener.listen(backlog)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            connection.settimeout(SECONDS)
            with self.lock:
                self.accepted += 1
                self.connections.append(connection)
            threading.Thread(target=self.guard, args=(connection,), daemon=True).start()

    def guard(self, connection):
        try:
            self.serve(connection)
        except (OSError, AssertionError) as problem:
            self.problems.append(repr(problem))
        finally:
            connection.close()

    def close(self):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        with self.lock:
            for connection in self.connections:
                connection.close()


def echo(connection):
    while True:
        part = connection.recv(1 << 16)
        if not part:
            return
        connection.sendall(part)


def greet(text):
    """A service that speaks first."""

    def serve(connection):
        connection.sendall(text)
        echo(connection)

    return serve


class Recorder(Server):
    """Keeps what each connection brought, and how it ended: "end", "reset" or None while it is open. It says its piece
    and ends; with None it stays silent and ends after the client."""

    def __init__(self, say=None, **options):
        self.say = say
        self.records = []
        super().__init__(self.record, **options)

    def record(self, connection):
        record = {"bytes": bytearray(), "end": None}
        self.records.append(record)
        record["end"] = converse(connection, self.say, record["bytes"])[1]


class Pour(Server):
    """Sends for ever, counts what was taken."""

    def __init__(self, **options):
        self.poured = 0
        super().__init__(self.pour, **options)

    def pour(self, connection):
        block = bytes(1 << 16)
        while True:
            try:
                self.poured += connection.send(block)
            except OSError:
                return


# ---- the C helpers


class Helper:
    """A helper process that prints "listening on ADDRESS" and ends on SIGTERM."""

    def __init__(self, name, *arguments):
        self.name = name
        self.process = subprocess.Popen(
            [os.path.join(HELPERS, name), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        line = self.process.stdout.readline().decode()
        found = re.match(r"listening on (\S+)", line)
        assert found, "%s said %r" % (name, line)
        host, port = found.group(1).rsplit(":", 1)
        self.address = (host.strip("[]"), int(port))

    def finish(self):
        """SIGTERM; returns exit status and the last line."""
        self.process.terminate()
        out, _ = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, out.decode().strip()

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


def call_helper(name, *arguments, seconds=120):
    """Runs a helper to its end; returns exit status and its last line as JSON (or text)."""
    done = subprocess.run(
        [os.path.join(HELPERS, name), *[str(argument) for argument in arguments]],
        timeout=seconds * PATIENCE,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    lines = done.stdout.decode(errors="replace").strip().splitlines()
    last = lines[-1] if lines else ""
    return done.returncode, json.loads(last) if last.startswith("{") else last


def swarm(near, far, **options):
    """Runs a swarm through near against the helper `far` (swarm serve). Both ends must find every byte right."""
    words = []
    for key, value in options.items():
        words += ["--" + key.replace("_", "-"), str(value)]
    status, totals = call_helper("swarm", "run", "%s:%d" % near, *words, seconds=options.get("seconds", 60) + 30)
    assert status == 0, "client: %s" % (totals,)
    far_status, far_totals = far.finish()
    assert far_status == 0, "server: %s" % (far_totals,)
    return totals


def text_address(address):
    return "[%s]:%d" % address if ":" in address[0] else "%s:%d" % address


def random_bytes(length, seed=None):
    return random.Random(seed).randbytes(length) if seed is not None else os.urandom(length)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def is_silent(connection, seconds):
    """True when nothing arrives for so long, not even an end."""
    return not select.select([connection], [], [], seconds)[0]


def stops_growing(question, seconds=SECONDS, quiet=0.4):
    """Waits until question() has given the same number for `quiet` seconds; returns it."""
    state = {"value": None, "since": time.monotonic()}

    def ask_again():
        value = question()
        if value != state["value"]:
            state.update(value=value, since=time.monotonic())
        return time.monotonic() - state["since"] >= quiet * PATIENCE

    wait(ask_again, "a number to stop growing", seconds)
    return state["value"]
