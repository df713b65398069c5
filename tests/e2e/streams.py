"""Verified streams that go on for as long as a test wants: what they say comes back from an echo, byte for byte."""

import socket
import threading

from peers import SECONDS, dial, random_bytes

TEXT = random_bytes(1 << 20, seed=20261128)
BLOCK = 32 << 10


class Stream:
    """client ══ … ══ echo. `rounds` counts blocks that came back right; `problem` says how it broke."""

    def __init__(self, address):
        self.rounds, self.problem, self.stopping = 0, None, False
        self.connection = dial(address)
        self.thread = threading.Thread(target=self.guard, daemon=True)
        self.thread.start()

    def guard(self):
        try:
            self.run()
        except (OSError, AssertionError) as problem:
            self.problem = problem
        finally:
            self.connection.close()

    def run(self):
        at = 0
        while not self.stopping:
            block = TEXT[at : at + BLOCK]
            at = (at + BLOCK) % (len(TEXT) - BLOCK)
            self.connection.sendall(block)
            self.expect(block)
            self.rounds += 1
        self.connection.shutdown(socket.SHUT_WR)
        assert self.connection.recv(1) == b"", "more came than was sent"

    def expect(self, block):
        got = b""
        while len(got) < len(block):
            part = self.connection.recv(len(block) - len(got))
            assert part, "the stream ended early"
            got += part
        assert got == block, "wrong bytes came back"

    def is_over(self):
        return not self.thread.is_alive()

    def finish(self):
        """Ends in order; what broke it before is raised."""
        self.stopping = True
        self.thread.join(SECONDS)
        assert not self.thread.is_alive(), "a stream hangs"
        if self.problem:
            raise self.problem
        assert self.rounds > 0

    def close(self):
        self.stopping = True
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.thread.join(SECONDS)


def go_on(streams, rounds=20):
    """A question for wait(): every stream has moved on since this was asked first."""
    goals = [stream.rounds + rounds for stream in streams]

    def ask():
        for stream in streams:
            assert not stream.problem, stream.problem
        return all(stream.rounds >= goal for stream, goal in zip(streams, goals))

    return ask
