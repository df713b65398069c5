"""Dead and stopped peers, several dests, and a dest that is replaced while it still has work."""

import copy
import os
import signal
import socket
import time

import pytest

import peers
from peers import Server, dial, read_exactly, read_to_end
from qanat import PATIENCE, Certs, free_port, wait
from streams import Stream, go_on

# Dead after 5 * 300 ms of silence.
HEARTBEAT = {"heartbeat_interval_ms": 300 * PATIENCE, "heartbeat_timeout_ms": 300 * PATIENCE, "max_missed_pongs": 5}
BUDGET = 1.5 * PATIENCE


def stop(node):
    os.kill(node.pid, signal.SIGSTOP)


def go(node):
    os.kill(node.pid, signal.SIGCONT)


# ---- peers that fall silent


@pytest.mark.parametrize("transfers", [0, 4])
def test_a_dest_that_stands_still_is_dead_in_time_and_its_clients_are_told(world, transfers):
    """
    client, transfers ══ source ══ dest (SIGSTOP)      within the heartbeat's budget: not ready, clients see a reset
                                   dest (SIGCONT)      all well again, without a hand
    """
    target = world.add(Server(peers.echo))
    near, source, dest = world.pair(target.address, link=HEARTBEAT)
    streams = [world.add(Stream(near)) for _ in range(transfers)]
    if streams:
        wait(go_on(streams), "the transfers to run")
    with dial(near) as client:
        client.sendall(b"alive")
        assert read_exactly(client, 5) == b"alive"
        stop(dest)
        try:
            began = time.monotonic()
            assert read_to_end(client) == (b"", "reset")
            took = time.monotonic() - began
            wait(lambda: all(stream.is_over() for stream in streams), "the transfers to be told", 5)
            source.wait(lambda: not source.is_ready(), "the source to say that it is not ready", 5)
            assert took > BUDGET / 2, "that was not the heartbeat"
            source.wait_log("nothing heard from the peer for %d ms" % (BUDGET * 1000))
        finally:
            go(dest)
    source.wait_ready()
    assert peers.ask(near, b"again") == b"again"
    dest.wait(lambda: dest.status()["flows_open"] == 0, "dest to have let go of what was cut")
    again = [world.add(Stream(near)) for _ in range(2)]
    wait(go_on(again), "new transfers to run")
    for stream in again:
        stream.finish()


def test_a_source_that_stands_still_is_dead_in_time_for_dest(world):
    """
    client ══ source (SIGSTOP) ══ dest ══ target      the target sees a reset; SIGCONT: all well again
    """
    target = world.add(peers.Recorder())
    near, source, dest = world.pair(target.address, link=HEARTBEAT)
    with dial(near) as client:
        client.sendall(b"alive")
        wait(lambda: target.records and target.records[0]["bytes"] == b"alive", "the bytes to arrive")
        stop(source)
        try:
            wait(lambda: target.records[0]["end"] == "reset", "the target to be told", BUDGET + 5)
            dest.wait_log("nothing heard from the peer")
            assert dest.status()["links"] == []
        finally:
            go(source)
        assert read_to_end(client)[1] == "reset"
    source.wait_ready()


@pytest.mark.parametrize("what", ["killed", "stopped", "floods"])
def test_a_source_in_trouble_does_not_disturb_another(world, what):
    """
    source one (killed, stopped, floods) ══╗
                                           ╠══ dest ══ target
    source two, verified transfers ════════╝      unharmed
    """
    target = world.add(Server(peers.echo))
    dest = world.dest([("service", target.address)], link=HEARTBEAT)
    ports = free_port(), free_port()
    one = world.source(dest, [("127.0.0.1:%d" % ports[0], "service")], name="one", link=HEARTBEAT)
    two = world.source(dest, [("127.0.0.1:%d" % ports[1], "service")], name="two", link=HEARTBEAT)
    theirs = [world.add(Stream(("127.0.0.1", ports[0]))) for _ in range(2)]
    ours = [world.add(Stream(("127.0.0.1", ports[1]))) for _ in range(2)]
    wait(go_on(theirs + ours), "all transfers to run")
    if what == "killed":
        one.kill()
    elif what == "stopped":
        stop(one)
    try:
        if what == "floods":
            crowd = [world.add(Stream(("127.0.0.1", ports[0]))) for _ in range(60)]
            wait(go_on(crowd, 3), "the flood to run", 60)
        else:
            dest.wait(lambda: len(dest.links_up()) == 1, "dest to notice", BUDGET + 10)
        wait(go_on(ours, 30), "the other's transfers to go on", 60)
        for stream in ours:
            stream.finish()
        assert two.metric("qanat_links_opened_total") == 1
        assert two.metric("qanat_flows_total", outcome="reset_by_peer") == 0
    finally:
        if what == "stopped":
            go(one)


# ---- several dests


def dests(*nodes):
    return ["127.0.0.1:%d" % (node if isinstance(node, int) else node.config["dest"]["tunnel_port"]) for node in nodes]


def two_dests(world, **options):
    """Two dests that greet differently, and a source that lists both."""
    one, two = world.add(Server(peers.greet(b"one"))), world.add(Server(peers.greet(b"two")))
    first = world.dest([("service", one.address)], name="first", **options)
    second = world.dest([("service", two.address)], name="second", **options)
    return first, second


def source_of(world, listed, **source):
    port = free_port()
    forwards = [{"listen": "127.0.0.1:%d" % port, "service": "service"}]
    config = world.source_config(1, link=HEARTBEAT)
    del config["source"]["dest_host"], config["source"]["dest_tunnel_port"]
    config["source"].update({"dests": listed, "forwards": forwards, **source})
    return ("127.0.0.1", port), world.node("source", config, "source").start().wait_ready()


def who(near):
    return peers.ask(near, b"", 3)


def test_the_next_dest_takes_over_and_the_first_comes_back(world):
    """
    source ══ first ╳ ══► second, at once; first returns ══► back to it, while a flow on second goes on
    """
    first, second = two_dests(world)
    near, source = source_of(
        world, dests(first, second), failback_interval_seconds=1,
        initial_reconnect_delay_ms=100, max_reconnect_delay_ms=60000,
    )  # fmt: skip
    assert who(near) == b"one"
    first.kill()
    source.wait(lambda: who(near) == b"two", "the second dest to serve")
    source.wait_log("trying the next dest")
    resets = source.metric("qanat_flows_total", outcome="reset_by_peer")  # of the kill
    with dial(near) as client:
        assert read_exactly(client, 3) == b"two"
        first.start().wait_ready()
        source.wait(lambda: who(near) == b"one", "the first dest to serve again")
        source.wait_log("takes over from link .*a dest before it in the list answers again")
        client.sendall(b"still there?")
        assert read_exactly(client, 12) == b"still there?"
        client.shutdown(socket.SHUT_WR)
        assert read_to_end(client) == (b"", "end")
    second.wait(lambda: not second.links_up(), "the link with the second to be closed once it has no streams")
    assert source.metric("qanat_flows_total", outcome="reset_by_peer") == resets
    assert source.metric("qanat_links_renewed_total") == 1


def test_each_dest_must_show_its_own_name(world):
    """
    source (dests = [127.0.0.1, localhost]) ──╳ 127.0.0.1, whose certificate names localhost only ══► localhost
    """
    certs = Certs(os.path.join(world.folder, "names"), names="localhost", ips="192.0.2.1")
    target = world.add(Server(peers.greet(b"two")))
    dest = world.dest([("service", target.address)], certs=certs)
    port = dest.config["dest"]["tunnel_port"]
    near = ("127.0.0.1", free_port())
    config = world.source_config(1, [("127.0.0.1:%d" % near[1], "service")], certs=certs)
    del config["source"]["dest_host"], config["source"]["dest_tunnel_port"]
    config["source"]["dests"] = ["127.0.0.1:%d" % port, "localhost:%d" % port]
    source = world.node("source", config, "source").start().wait_ready()
    assert who(near) == b"two"
    assert "wanted 127.0.0.1" in source.log() and "(localhost:%d" % port in source.log()


def test_round_robin_spreads_sources(world):
    """
    8 sources (dest_selection = round-robin) ══ first, second      both get some; a dest that goes is made up for
    """
    first, second = two_dests(world)
    nears, sources = [], []
    for number in range(8):
        port = free_port()
        config = world.source_config(1, [("127.0.0.1:%d" % port, "service")], node={"name": "n%d" % number})
        del config["source"]["dest_host"], config["source"]["dest_tunnel_port"]
        config["source"].update(dests=dests(first, second), dest_selection="round-robin")
        sources.append(world.node("source", config, "s%d" % number).start())
        nears.append(("127.0.0.1", port))
    for source in sources:
        source.wait_ready()
    answers = [who(near) for near in nears]
    assert answers.count(b"one") + answers.count(b"two") == 8
    # One in 128 runs has them all on one side; then this says nothing, but it is not wrong.
    assert len(first.links_up()) + len(second.links_up()) >= 8
    first.kill()
    for near in nears:
        wait(lambda near=near: who(near) == b"two", "the second to serve everybody")


def test_dests_change_with_a_reload_and_flows_stay(world):
    """
    source (dests = [first]) ── SIGHUP: [second] ──► new flows to second, the old one goes on with first
    """
    first, second = two_dests(world)
    near, source = source_of(world, dests(first))
    with dial(near) as client:
        assert read_exactly(client, 3) == b"one"
        config = copy.deepcopy(source.config)
        config["source"]["dests"] = dests(second)
        source.reload(config)
        source.wait(lambda: who(near) == b"two", "the second to serve")
        client.sendall(b"and here")
        assert read_exactly(client, 8) == b"and here"
    assert source.metric("qanat_flows_total", outcome="reset_by_peer") == 0


def test_addresses_outside_the_list_are_not_dialled(world):
    """
    source (allowed_outbound = 192.0.2.0/24) ──╳ dest ; SIGHUP: 127.0.0.0/8 ══ dest ; and back: cut
    """
    target = world.add(Server(peers.echo))
    dest = world.dest([("service", target.address)])
    port = free_port()
    source = world.source(dest, [("127.0.0.1:%d" % port, "service")], ready=False,
                          **{"source.allowed_outbound": {"allowed_ips": ["192.0.2.0/24"]}})  # fmt: skip
    source.wait_metric(1, "qanat_link_dials_refused_total")
    source.wait_log("allowed_outbound does not list this address")
    assert dest.metric("qanat_handshakes_total", kind="control", outcome="ok") == 0
    open_config = copy.deepcopy(source.config)
    open_config["source.allowed_outbound"]["allowed_ips"] = ["127.0.0.0/8"]
    source.reload(open_config)
    source.wait_ready()
    with dial(("127.0.0.1", port)) as client:
        client.sendall(b"x")
        assert read_exactly(client, 1) == b"x"
        closed_config = copy.deepcopy(open_config)
        closed_config["source.allowed_outbound"]["allowed_ips"] = ["192.0.2.0/24"]
        source.reload(closed_config)
        assert read_to_end(client)[1] == "reset"
    source.wait(lambda: not source.is_ready(), "the source to say that it has no link")


# ---- make before break


def test_a_dest_is_replaced_while_it_still_has_work(world):
    """
    client ══ source ══ dest (SIGTERM, drains) ══ target      a new dest on the same port takes what is new;
                     ══ dest again             ══ target      the old flow ends in order, nobody is turned away
    """
    target = world.add(Server(peers.echo))
    port = free_port()
    old = world.dest([("service", target.address)], port=port, name="old", node={"drain_timeout_seconds": 60})
    near_port = free_port()
    near = ("127.0.0.1", near_port)
    source = world.source(port, [("127.0.0.1:%d" % near_port, "service")])
    streams = [world.add(Stream(near)) for _ in range(2)]
    wait(go_on(streams), "the streams to run")
    old.process.send_signal(signal.SIGTERM)
    source.wait(lambda: source.status()["links"][0]["state"] == "draining", "the source to know")
    with dial(near) as waits:
        waits.sendall(b"patience")
        new = world.dest([("service", target.address)], port=port, name="new")
        assert read_exactly(waits, 8) == b"patience"
    source.wait_ready()
    wait(go_on(streams), "the old streams to go on")
    for stream in streams:
        stream.finish()
    wait(lambda: old.process.poll() is not None, "the old dest to end after its last flow", 15)
    assert old.process.returncode == 0
    assert peers.ask(near, b"new") == b"new"
    assert len(new.links_up()) == 1
    for outcome in ("reset_by_peer", "no_link", "refused_by_peer"):
        assert source.metric("qanat_flows_total", outcome=outcome) == 0


@pytest.mark.serial
def test_clients_that_come_while_links_change_are_all_served(world):
    """
    many short clients ══ source ══ dest      while source renews its link again and again
    """
    target = world.add(Server(peers.echo))
    certs = Certs(os.path.join(world.folder, "own"))
    # Another client certificate of the same CA.
    cert, key = certs.by_openssl("renewed", "clientAuth", subject="/CN=source.renewed")
    near, source, dest = world.pair(target.address, certs=certs)
    first, second = source.config, copy.deepcopy(source.config)
    second["auth"].update(client_cert_path=cert, client_key_path=key)
    for turn in range(6):
        source.reload(second if turn % 2 == 0 else first)
        for number in range(15):
            assert peers.ask(near, b"%d %d" % (turn, number)) == b"%d %d" % (turn, number)
    source.wait(lambda: source.metric("qanat_links_renewed_total") >= 1, "renewals")
    for outcome in ("reset_by_peer", "no_link", "refused_by_peer"):
        assert source.metric("qanat_flows_total", outcome=outcome) == 0
