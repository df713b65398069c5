"""Somebody on the way changes, drops, inserts, cuts. Nothing altered is ever delivered, and a cut is never taken for an end."""

import random
import socket
import threading

import pytest

import peers
from middleman import BACK, CONTROL, DATA, OUT, Fault, Middleman
from peers import SECONDS, Server, dial
from qanat import free_port, wait

BYTES = 192 * 1024
# The hybrid ClientHello and ServerHello are about 2 and 1.5 KB.
HELLO_OFFSETS = [0, 1, 3, 4, 5, 6, 9, 43, 44, 120, 400, 900, 1400, 1800]


class Exchange(Server):
    """Reads what comes and says its own bytes meanwhile; remembers both, and how the client's direction ended."""

    def __init__(self):
        self.say = peers.random_bytes(BYTES, seed=7)
        self.heard = []
        super().__init__(self.exchange)

    def exchange(self, connection):
        record = {"bytes": b"", "end": None}
        self.heard.append(record)

        def tell():
            try:
                connection.sendall(self.say)
                connection.shutdown(socket.SHUT_WR)
            except OSError:
                pass

        teller = threading.Thread(target=tell, daemon=True)
        teller.start()
        record["bytes"], record["end"] = peers.read_to_end(connection)
        teller.join()


def exchange_through(address, said):
    """The client's side: sends said and its end, returns what came back and how that ended."""
    try:
        client = dial(address)
    except OSError:
        return b"", "reset"

    def tell():
        try:
            client.sendall(said)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    with client:
        heard = peers.read_to_end(client)
        teller.join(SECONDS)
    return heard


def assert_whole_or_cut(name, heard, end, said):
    assert said.startswith(heard), "%s heard bytes that nobody said (after %d right ones)" % (name, common(heard, said))
    if end == "end":
        assert heard == said, "%s took a cut after %d of %d bytes for an orderly end" % (name, len(heard), len(said))


def common(a, b):
    length = 0
    for x, y in zip(a, b):
        if x != y:
            break
        length += 1
    return length


@pytest.fixture
def tampered(world):
    target = world.add(Exchange())
    dest = world.dest([("service", target.address)], crypto={"kem_mode": "mlkem768"})
    between = world.add(Middleman(("127.0.0.1", dest.config["dest"]["tunnel_port"])))
    port = free_port()
    source = world.source(between.port, [("127.0.0.1:%d" % port, "service")], crypto={"kem_mode": "mlkem768"},
                          source={"listen_ip": "127.0.0.1", "connection_timeout_ms": 5000})
    return target, between, ("127.0.0.1", port), source, dest


def offsets(rng, direction):
    # Handshake bytes, then anywhere in the stream: what is sent is BYTES and a little more.
    del direction
    return HELLO_OFFSETS + sorted(rng.randrange(1500, BYTES) for _ in range(10))


@pytest.mark.parametrize("direction", [OUT, BACK])
@pytest.mark.parametrize("action", ["flip", "drop", "insert", "end", "reset"])
def test_a_data_connection_that_is_harmed(tampered, action, direction):
    """
    client ⇄ source ⇄ middleman (harms one byte, at 24 places in turn) ⇄ dest ⇄ target

    Each end hears a prefix of what was said. If it is shorter than the whole, the stream was cut, not ended.
    """
    target, between, near, source, _ = tampered
    rng = random.Random("%s %s" % (action, direction))
    said = peers.random_bytes(BYTES, seed=3)
    used = 0
    for offset in offsets(rng, direction):
        # Parked connections are past their handshake: without them the next flow meets every byte.
        between.cut(DATA)
        between.fault = fault = Fault(DATA, direction, offset, action, bit=rng.randrange(8))
        heard_before = len(target.heard)
        heard, end = exchange_through(near, said)
        used += fault.used
        between.fault = None
        assert_whole_or_cut("the client (%s)" % fault, heard, end, target.say)
        for record in target.heard[heard_before:]:
            wait(lambda record=record: record["end"], "the target to see how it ended (%s)" % fault)
            assert_whole_or_cut("the target (%s)" % fault, record["bytes"], record["end"], said)
        # A flow is carried out once: early data is never sent again on another index.
        whole = [record for record in target.heard[heard_before:] if record["bytes"]]
        assert len(whole) <= 1, "one flow reached the target %d times (%s)" % (len(whole), fault)
    assert used >= 20, "only %d faults met a stream" % used
    # And afterwards all is well.
    source.wait(lambda: exchange_through(near, said) == (target.say, "end"), "a flow to go through again")


@pytest.mark.parametrize("direction", [OUT, BACK])
@pytest.mark.parametrize("action", ["flip", "drop", "end"])
def test_a_control_connection_that_is_harmed(tampered, action, direction):
    """
    source ⇄ middleman (harms one byte of the control connection, at 18 places in turn) ⇄ dest

    The link dies or never comes up, and the next attempt succeeds without a hand. No flow is altered.
    """
    target, between, near, source, _ = tampered
    rng = random.Random("%s %s control" % (action, direction))
    said = peers.random_bytes(20000, seed=5)
    used = 0
    for offset in HELLO_OFFSETS + sorted(rng.randrange(1500, 4000) for _ in range(4)):
        between.fault = fault = Fault(CONTROL, direction, offset, action, bit=rng.randrange(8))
        assert between.cut(CONTROL) >= 0
        between.cut(DATA)
        heard_before = len(target.heard)
        source.wait(lambda: exchange_through(near, said) == (target.say, "end"), "a flow to go through after %s" % fault)
        used += fault.used
        between.fault = None
        for record in target.heard[heard_before:]:
            wait(lambda record=record: record["end"], "the target to see how it ended (%s)" % fault)
            assert_whole_or_cut("the target (%s)" % fault, record["bytes"], record["end"], said)
    assert used >= 14, "only %d faults met a control connection" % used


def test_a_black_hole_is_noticed_and_left(world):
    """
    source ══► middleman (stops carrying, keeps the connections open) ══ dest
               then carries new connections again
    """
    target = world.add(Server(peers.echo))
    link = {"heartbeat_interval_ms": 200, "heartbeat_timeout_ms": 400, "max_missed_pongs": 2}
    dest = world.dest([("service", target.address)], link=link)
    between = world.add(Middleman(("127.0.0.1", dest.config["dest"]["tunnel_port"])))
    port = free_port()
    source = world.source(between.port, [("127.0.0.1:%d" % port, "service")], link=link)
    assert peers.ask(("127.0.0.1", port), b"before") == b"before"
    first = source.link()["id"]
    between.freeze()
    source.wait(lambda: source.metric("qanat_links_closed_total") >= 1, "the source to give the link up")
    dest.wait(lambda: dest.metric("qanat_links_closed_total") >= 1, "the dest to give the link up")
    between.thaw()
    source.wait_ready()
    assert source.link()["id"] != first
    assert peers.ask(("127.0.0.1", port), b"after") == b"after"
