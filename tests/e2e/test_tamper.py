"""Somebody on the way changes, drops, inserts, cuts. Nothing altered is ever delivered, no cut is taken for an end."""

import random

import pytest

import peers
from middleman import BACK, CONTROL, DATA, OUT, Fault, Middleman
from peers import Server, dial
from qanat import PATIENCE, free_port, wait

BYTES = 192 * 1024
# The hybrid ClientHello and ServerHello are about 2 and 1.5 KB.
HELLO_OFFSETS = [0, 1, 3, 4, 5, 6, 9, 43, 44, 120, 400, 900, 1400, 1800]


class Exchange(Server):
    """Says its own bytes and hears what comes meanwhile; remembers it, and how the client's direction ended."""

    def __init__(self):
        self.say = peers.random_bytes(BYTES, seed=7)
        self.heard = []
        super().__init__(self.exchange)

    def exchange(self, connection):
        record = {"bytes": b"", "end": None}
        self.heard.append(record)
        record["bytes"], record["end"] = peers.converse(connection, self.say)


def exchange_through(address, said):
    """The client's side: sends said and its end, returns what came back and how that ended."""
    try:
        client = dial(address)
    except OSError:
        return b"", "reset"
    with client:
        return peers.converse(client, said)


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
    # A byte that is missing from a handshake leaves both sides waiting for it.
    options = {"crypto": {"kem_mode": "mlkem768"}, "link": {"handshake_timeout_ms": 1000 * PATIENCE}}
    dest = world.dest([("service", target.address)], **options)
    between = world.add(Middleman(("127.0.0.1", dest.config["dest"]["tunnel_port"])))
    port = free_port()
    source = world.source(between.port, [("127.0.0.1:%d" % port, "service")], **options)
    return target, between, ("127.0.0.1", port), source, dest


def offsets(rng):
    # Handshake bytes, then anywhere in the stream: what is sent is BYTES and a little more.
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
    said = []
    used = 0
    for offset in offsets(rng):
        # Parked connections are past their handshake: without them the next flow meets every byte.
        between.cut(DATA)
        between.fault = fault = Fault(DATA, direction, offset, action, bit=rng.randrange(8))
        said.append(peers.random_bytes(BYTES))
        heard, end = exchange_through(near, said[-1])
        used += fault.used
        between.fault = None
        assert_whole_or_cut("the client (%s)" % fault, heard, end, target.say)
    assert used >= 20, "only %d faults met a stream" % used
    # And afterwards all is well.
    said.append(peers.random_bytes(BYTES))
    assert exchange_through(near, said[-1]) == (target.say, "end")
    wait(lambda: all(record["end"] for record in target.heard), "the target to see how every flow ended")
    for record in target.heard:
        judge(record, said)
    # A flow is carried out once: early data is never sent again on another index.
    firsts = [record["bytes"][:16] for record in target.heard if len(record["bytes"]) >= 16]
    assert len(set(firsts)) == len(firsts), "a flow reached the target twice"


def judge(record, said):
    """What the target heard on one connection, against everything that any client said."""
    for words in said:
        if words.startswith(record["bytes"]):
            assert_whole_or_cut("the target", record["bytes"], record["end"], words)
            return
    raise AssertionError("the target heard bytes that nobody said")


@pytest.mark.parametrize("direction", [OUT, BACK])
@pytest.mark.parametrize("action", ["flip", "drop", "end"])
def test_a_control_connection_that_is_harmed(tampered, action, direction):
    """
    source ⇄ middleman (harms one byte of the control connection, at 15 to 18 places in turn) ⇄ dest

    The link dies or never comes up, and the next attempt succeeds without a hand. No flow is altered.
    """
    target, between, near, source, _ = tampered
    rng = random.Random("%s %s control" % (action, direction))
    said = peers.random_bytes(20000, seed=5)
    used = 0
    # A byte that is missing behind the handshake is noticed by the deadline of the first epoch, 15 s: once is enough.
    behind = 1 if action == "drop" else 4
    for offset in HELLO_OFFSETS + sorted(rng.randrange(2100, 3200) for _ in range(behind)):
        before = source.metric("qanat_links_opened_total")
        between.fault = fault = Fault(CONTROL, direction, offset, action, bit=rng.randrange(8))
        between.cut(CONTROL)
        between.cut(DATA)
        # The next control connection meets the fault, or is up before that byte.
        source.wait(
            lambda: fault.used or source.metric("qanat_links_opened_total") > before,
            "another link to be tried (%s)" % fault,
        )
        source.wait(
            lambda: exchange_through(near, said) == (target.say, "end"), "a flow to go through after %s" % fault
        )
        used += fault.used
        between.fault = None
    assert used >= 14, "only %d faults met a control connection" % used
    wait(lambda: all(record["end"] for record in target.heard), "the target to see how every flow ended")
    for record in target.heard:
        judge(record, [said])


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
