"""Many flows at once, and too few descriptors for them."""

import json
import os
import resource
import subprocess
import time

import pytest

import peers
from peers import Helper, dial
from qanat import HELPERS, PATIENCE, SANITIZED, free_port

MANY = 9000
# The source and dest of 9 000 flows take two descriptors each for a flow, and some for themselves.
DESCRIPTORS = 2 * MANY + 500


class Crowd:
    """The helper `crowd`: quiet connections to an echo service, which speak when they are told to."""

    def __init__(self, address, flows, window, seconds=100):
        words = ["--flows", flows, "--window", window, "--seconds", seconds * PATIENCE]
        self.process = subprocess.Popen(
            [os.path.join(HELPERS, "crowd"), "%s:%d" % address, *[str(word) for word in words]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def totals(self):
        """What it says when all have been answered; it keeps to its own deadline."""
        return json.loads(self.process.stdout.readline())

    def tell(self, word):
        self.process.stdin.write(word.encode() + b"\n")
        self.process.stdin.flush()
        return self.totals()

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


def need_descriptors(count):
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < count:
        pytest.skip("a process may have only %d descriptors here" % resource.getrlimit(resource.RLIMIT_NOFILE)[1])


def settled_memory(node, at_most, reason):
    """Buffers and freed memory are given back within some seconds."""
    node.wait(lambda: node.memory() <= at_most, "%s: at most %d KiB" % (reason, at_most // 1024), 30)
    return node.memory()


@pytest.mark.serial
@pytest.mark.slow
@pytest.mark.parametrize("window", [256, MANY], ids=["a_stream_of_them", "all_in_one_moment"])
def test_nine_thousand_flows_at_once(world, window):
    """
    9 000 clients ══► source ══ dest ══► echo      all open, quiet, all speaking again, all gone; not one error
    """
    need_descriptors(DESCRIPTORS)
    target = world.add(Helper("echo", "serve", "127.0.0.1:0"))
    near, source, dest = world.pair(
        target.address,
        logging={"level": "info"},
        source={"connection_timeout_ms": 90000 * PATIENCE},
        link={"handshake_timeout_ms": 60000 * PATIENCE},
    )
    nodes = source, dest
    assert peers.ask(near, b"warm") == b"warm"
    memory, descriptors = [node.memory() for node in nodes], [node.descriptors() for node in nodes]
    crowd = world.add(Crowd(near, MANY, window))

    began = time.monotonic()
    totals = crowd.totals()
    assert totals["right"] == MANY and totals["lost"] == totals["wrong"] == totals["not_connected"] == 0, totals
    print("\n%d flows opened in %.1f s" % (MANY, time.monotonic() - began))
    for node in nodes:
        assert node.status()["flows_open"] == MANY
    for node, before in zip(nodes, memory):
        idle = settled_memory(node, before + MANY * 48 * 1024, "%d quiet flows" % MANY) - before
        print("%s: %.1f KiB for each quiet flow" % (node.name, idle / MANY / 1024))

    totals = crowd.tell("speak")
    assert totals["right"] == 2 * MANY and totals["lost"] == totals["wrong"] == 0, totals
    totals = crowd.tell("leave")
    assert totals["ended"] == MANY and totals["lost"] == totals["wrong"] == 0, totals
    assert crowd.process.wait(20) == 0

    for node, before in zip(nodes, descriptors):
        node.wait(lambda: node.status()["flows_open"] == 0, "every flow to end")
        # The source keeps more connections parked after a burst, and dest their other ends.
        node.wait(lambda: node.descriptors() <= before + 80, "the descriptors to be given back")
        assert node.metric("qanat_flows_total", outcome="finished") == MANY + 1
    for node, before in zip(nodes, memory):
        after = settled_memory(node, before + 24 * 2**20, "nothing left of %d flows" % MANY)
        print("%s: %d KiB before, %d KiB after" % (node.name, before // 1024, after // 1024))


def come_in(world, near, word):
    """A client that was let in, or None."""
    try:
        client = world.add(dial(near))
        client.sendall(word)
        assert peers.read_exactly(client, len(word)) == word
        return client
    except (AssertionError, ConnectionResetError, BrokenPipeError):
        return None


def press(world, near, refused, most):
    """Clients one after the other, until so many were refused (a parked connection may still let one in). Returns those
    inside."""
    inside, outside = [], 0
    for turn in range(most):
        client = come_in(world, near, b"%04d" % turn)
        outside += client is None
        inside += [client] if client else []
        if outside == refused:
            return inside
    raise AssertionError("only %d of %d clients were refused" % (outside, most))


@pytest.mark.serial
@pytest.mark.parametrize("short", ["source", "dest"])
def test_a_node_without_descriptors_refuses_new_flows_and_keeps_the_old(world, short):
    """
    clients ══► source ══ dest ══► echo      one of the two may have 128 descriptors
    """
    target = world.add(Helper("echo", "serve", "127.0.0.1:0"))
    limits = {short: (128, 128)}
    dest = world.dest([("service", target.address)], descriptor_limit=limits.get("dest"))
    near = "127.0.0.1", free_port()
    source = world.source(dest, [("%s:%d" % near, "service")], descriptor_limit=limits.get("source"))
    node = source if short == "source" else dest
    node.wait_log(r"only 128 descriptors")

    # A crowd at the door that does not give up: refused and counted, and nobody spins over it.
    inside = press(world, near, refused=20, most=128)
    assert len(inside) >= 16, "only %d flows in 128 descriptors" % len(inside)
    node.wait(lambda: refusals(node) >= 20, "every refusal to be counted")
    if not SANITIZED:
        started, cpu = time.monotonic(), node.cpu_seconds()
        node.wait(lambda: time.monotonic() - started >= 1, "a second at the limit")
        assert node.cpu_seconds() - cpu < 0.3
    # The old flows, the link and the status page go on.
    for turn, client in enumerate(inside):
        client.sendall(b"%05d" % turn)
        assert peers.read_exactly(client, 5) == b"%05d" % turn
    assert source.is_ready() and source.metric("qanat_links_opened_total") == 1
    assert node.descriptors() <= 128

    for client in inside:
        client.close()
    source.wait(lambda: peers.ask(near, b"now") == b"now", "a new client to be welcome")


def refusals(node):
    """For want of descriptors: at the door, or on the way to the other side."""
    return node.metric("qanat_admission_refused_total", reason="descriptors") + node.metric(
        "qanat_flows_total", outcome="descriptors"
    )


def test_the_descriptor_limit_is_raised_as_far_as_it_goes(world):
    """
    soft limit 64, hard limit 5000 ──► source, which raises it
    """
    need_descriptors(5000)
    target = world.add(Helper("echo", "serve", "127.0.0.1:0"))
    dest = world.dest([("service", target.address)])
    near = "127.0.0.1", free_port()
    source = world.source(dest, [("%s:%d" % near, "service")], descriptor_limit=(64, 5000))
    assert resource.prlimit(source.pid, resource.RLIMIT_NOFILE) == (5000, 5000)
    assert "descriptors" not in source.log()
    clients = [world.add(dial(near)) for _ in range(100)]
    for client in clients:
        client.sendall(b"x")
        assert peers.read_exactly(client, 1) == b"x"
