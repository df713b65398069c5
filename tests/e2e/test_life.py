"""Starting, stopping, losing the other side, being refused a target, strangers at the door."""

import json
import os
import signal
import socket
import time

import pytest

import peers
from peers import Helper, Recorder, Server, dial, read_to_end
from qanat import PATIENCE, free_port, wait


@pytest.mark.threads
def test_a_dest_that_is_killed_and_returns_needs_no_hand(world):
    """
    source ══ dest ── kill -9 ──► (nothing) ──► dest again      three times
    """
    target = world.add(Server(peers.echo))
    near, source, dest = world.pair(target.address)
    for turn in range(3):
        assert peers.ask(near, b"turn %d" % turn) == b"turn %d" % turn
        dest.kill()
        source.wait(lambda: not source.is_ready(), "the source to notice")
        dest.start().wait_ready()
        source.wait_ready()
    assert peers.ask(near, b"back") == b"back"
    assert source.metric("qanat_links_opened_total") == 4


def test_a_source_that_is_killed_and_returns(world):
    """
    source ── kill -9 ──► source again ══ dest
    """
    target = world.add(Server(peers.echo))
    near, source, dest = world.pair(target.address)
    with dial(near) as client:
        client.sendall(b"cut off")
        source.kill()
        read_to_end(client)
    dest.wait(lambda: dest.status()["flows_open"] == 0, "dest to close the flow of the dead source")
    source.start().wait_ready()
    assert peers.ask(near, b"again") == b"again"


@pytest.mark.parametrize("lost", ["source", "dest"])
def test_flows_of_a_lost_link_end_with_a_reset(world, lost):
    """
    client ══ source ══ dest (kill -9) ══ target      both see a reset: what was cut does not look like an end
    client ══ source (kill -9) ══ dest ══ target      likewise
    """
    target = world.add(Recorder())
    near, source, dest = world.pair(target.address)
    with dial(near) as client:
        client.sendall(b"half a mess")
        wait(lambda: target.records and target.records[0]["bytes"] == b"half a mess", "the bytes to arrive")
        (source if lost == "source" else dest).kill()
        assert read_to_end(client)[1] == "reset"
        wait(lambda: target.records[0]["end"], "the target to see the loss")
    assert target.records[0]["end"] == "reset"


def test_a_source_waits_for_a_dest_that_starts_later(world):
    """
    source ──► (nothing) ; client is already there ; dest starts
    """
    target = world.add(Server(peers.echo))
    port, tunnel_port = free_port(), free_port()
    source = world.source(tunnel_port, [("127.0.0.1:%d" % port, "service")], ready=False)
    source.wait_metric(2, "qanat_link_dials_failed_total")
    with dial(("127.0.0.1", port)) as client:
        client.sendall(b"patience")
        world.dest([("service", target.address)], port=tunnel_port)
        assert peers.read_exactly(client, 8) == b"patience"


def test_a_client_without_a_link_is_turned_away_after_its_time(world):
    """
    client ──► source (connection_timeout_ms = 300) ──► (nothing)
    """
    port = free_port()
    source = world.source(
        free_port(), [("127.0.0.1:%d" % port, "service")], ready=False, source={"connection_timeout_ms": 300}
    )
    wait(lambda: source.get("/health")[0] == 503, "the source to say that it is not ready")
    assert peers.turned_away(("127.0.0.1", port)) == (b"", "reset")
    source.wait_metric(1, "qanat_flows_total", outcome="no_link")


def test_a_target_that_stays_down_closes_in_its_time_with_the_reason_in_both_logs(world):
    """
    client ──► source ──► dest ──╳ (nobody listens)
    """
    port = free_port()
    near, source, dest = world.pair(("127.0.0.1", port), dest={"target_connect_timeout_ms": 300})
    began = time.monotonic()
    assert peers.turned_away(near, b"hello?") == (b"", "reset")
    assert time.monotonic() - began < 5 * PATIENCE
    dest.wait_metric(1, "qanat_flows_total", outcome="target_unreachable")
    source.wait_metric(1, "qanat_flows_total", outcome="refused_by_peer")
    dest.wait_log(r"(?i)connection refused \(127\.0\.0\.1:%d\)" % port)
    # The source is told why, but not where the target is.
    source.wait_log("service service refused: .*target")
    assert "127.0.0.1:%d" % port not in source.log()
    # It comes back without a restart.
    listener = socket.create_server(("127.0.0.1", port))
    try:
        with dial(near) as client:
            client.sendall(b"hello!")
            listener.settimeout(20)
            accepted, _ = listener.accept()
            assert peers.read_exactly(accepted, 6) == b"hello!"
            accepted.close()
    finally:
        listener.close()


def test_a_service_that_dest_does_not_offer(world):
    """
    client ──► source (service = "ghost") ──╳ dest
    """
    target = world.add(Recorder())
    dest = world.dest([("service", target.address)])
    port = free_port()
    source = world.source(dest, [("127.0.0.1:%d" % port, "ghost")])
    assert peers.turned_away(("127.0.0.1", port), b"hello?") == (b"", "reset")
    dest.wait_metric(1, "qanat_flows_total", outcome="unknown_service")
    for node in (source, dest):
        node.wait_log("ghost")
    assert target.accepted == 0


@pytest.mark.parametrize("command", ["source", "dest"])
def test_sigterm_while_idle_ends_quickly_with_status_0(world, command):
    """
    SIGTERM ──► node (no flow) ──► exit 0
    """
    target = world.add(Server(peers.echo))
    _, source, dest = world.pair(target.address, node={"drain_timeout_seconds": 60})
    node = source if command == "source" else dest
    node.stop(seconds=5)


@pytest.mark.parametrize("command", ["source", "dest"])
def test_sigterm_lets_flows_finish(world, command):
    """
    client ══ source ══ dest ══ target ; SIGTERM ; the flow goes on, new ones do not ; end of flow ──► exit 0
    """
    target = world.add(Server(peers.echo))
    near, source, dest = world.pair(target.address, node={"drain_timeout_seconds": 60})
    node = source if command == "source" else dest
    with dial(near) as client:
        client.sendall(b"one")
        assert peers.read_exactly(client, 3) == b"one"
        node.process.send_signal(signal.SIGTERM)
        node.wait_log("(?i)drain|stopping|finish")
        client.sendall(b"two")
        assert peers.read_exactly(client, 3) == b"two"
        assert node.process.poll() is None
        # Truthful while it stops: not ready for anything new, and what lives is still shown.
        code, body = node.get("/health")
        assert code == 503 and json.loads(body)["status"] == "Unhealthy", body
        assert node.status()["links"][0]["tls_group"] == "X25519MLKEM768"
        if command == "dest":
            wait(lambda: source.get("/health")[0] == 503, "source to know that dest takes nothing new")
            link = source.status()["links"][0]
            assert link["state"] == "draining" and link["epoch"] >= 1, link
        client.shutdown(socket.SHUT_WR)
        assert read_to_end(client) == (b"", "end")
    wait(lambda: node.process.poll() is not None, "the node to end after its last flow", 10)
    assert node.process.returncode == 0


def test_clients_that_wait_for_a_link_do_not_hold_a_source(world):
    """
    clients ──► source ──► (nothing) ; some go, one stays ; SIGTERM ──► exit 0 at once
    """
    port = free_port()
    source = world.source(free_port(), [("127.0.0.1:%d" % port, "service")], ready=False)
    source.wait_log("is running")
    with dial(("127.0.0.1", port)) as stays, dial(("127.0.0.1", port)) as closes, dial(("127.0.0.1", port)) as resets:
        stays.sendall(b"anybody?")
        wait(lambda: source.status()["flows_open"] == 3, "the clients to be waiting")
        closes.close()
        peers.reset(resets)
        wait(lambda: source.status()["flows_open"] == 1, "those that have gone to be noticed")
        source.process.send_signal(signal.SIGTERM)
        assert read_to_end(stays)[1] == "reset"
    wait(lambda: source.process.poll() is not None, "the source to end", 10)
    assert source.process.returncode == 0


def test_a_drain_ends_at_its_deadline(world):
    """
    client ══ source (drain_timeout_seconds = 1) ; SIGTERM ; the client stays ──► cut, exit 0
    """
    target = world.add(Server(peers.echo))
    near, source, _ = world.pair(target.address, node={"drain_timeout_seconds": 1})
    with dial(near) as client:
        client.sendall(b"one")
        assert peers.read_exactly(client, 3) == b"one"
        source.stop(seconds=10)
        read_to_end(client)


@pytest.mark.parametrize("which", ["tunnel", "forward", "metrics"])
def test_a_port_that_is_taken_stops_the_start_and_is_named(world, which):
    """
    somebody listens ──► node ──► exit status other than 0, the log names the port
    """
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = taken.getsockname()[1]
        if which == "tunnel":
            node = world.dest([("service", ("127.0.0.1", 9))], port=port, ready=False)
        elif which == "forward":
            node = world.source(free_port(), [("127.0.0.1:%d" % port, "service")], ready=False)
        else:
            node = world.dest([("service", ("127.0.0.1", 9))], ready=False, metrics={"metrics_port": port})
        status = node.process.wait(20 * PATIENCE)
        node.expects = status
    assert status not in (0, None) and status > 0
    assert str(port) in node.log()


def test_silent_and_dribbling_strangers_do_not_keep_out_the_genuine(world):
    """
    200 strangers say nothing, 50 say a byte now and then ──► dest ◄══ source
    """
    target = world.add(Server(peers.echo))
    dest = world.dest([("service", target.address)], link={"handshake_timeout_ms": 3000})
    tunnel = ("127.0.0.1", dest.config["dest"]["tunnel_port"])
    silent = [world.add(dial(tunnel)) for _ in range(200)]
    dribbling = [world.add(dial(tunnel)) for _ in range(50)]
    for stranger in dribbling:
        stranger.sendall(b"\x16\x03\x01")
    port = free_port()
    source = world.source(dest, [("127.0.0.1:%d" % port, "service")])
    assert peers.ask(("127.0.0.1", port), b"let me in") == b"let me in"
    for stranger in dribbling:
        try:
            stranger.sendall(b"\x02")
        except OSError:
            pass
    # One deadline for the whole exchange, however often they say something.
    for stranger in silent + dribbling:
        assert read_to_end(stranger)[0] == b""
    dest.wait_metric(250, "qanat_handshakes_total", kind="any", outcome="timeout")
    assert peers.ask(("127.0.0.1", port), b"still here") == b"still here"
    assert source.metric("qanat_links_opened_total") == 1


@pytest.mark.serial
def test_at_the_descriptor_limit_old_flows_go_on_and_new_ones_return_later(world):
    """
    clients ══► source (few descriptors left) ; an old flow goes on ; clients leave ; new ones are welcome
    """
    import resource

    target = world.add(Server(peers.echo))
    near, source, _ = world.pair(target.address)
    with dial(near) as old:
        old.sendall(b"one")
        assert peers.read_exactly(old, 3) == b"one"
        used = max(int(name) for name in os.listdir("/proc/%d/fd" % source.pid))
        resource.prlimit(source.pid, resource.RLIMIT_NOFILE, (used + 20, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        crowd = []
        for _ in range(100):
            try:
                crowd.append(world.add(dial(near)))
            except ConnectionResetError:
                continue  # accepted and reset before it has returned
        source.wait(lambda: descriptor_refusals(source) >= 1, "a refusal for want of descriptors to be counted")
        old.sendall(b"two")
        assert peers.read_exactly(old, 3) == b"two"
        for client in crowd:
            client.close()
        source.wait(lambda: peers.ask(near, b"three") == b"three", "a new client to be welcome")


def descriptor_refusals(node):
    """From the log: with no descriptor left the status page may not answer either."""
    return node.log().count("descriptor")


def test_two_sources_share_a_dest(world):
    """
    source one ══╗
                 ╠══ dest ══► target
    source two ══╝
    """
    far = world.add(Helper("swarm", "serve", "127.0.0.1:0"))
    dest = world.dest([("service", far.address)])
    ports = free_port(), free_port()
    one = world.source(dest, [("127.0.0.1:%d" % ports[0], "service")], name="one")
    two = world.source(dest, [("127.0.0.1:%d" % ports[1], "service")], name="two")
    assert one.link()["id"] != two.link()["id"]
    assert len(dest.status()["links"]) == 2
    for port in ports:
        status, totals = peers.call_helper("swarm", "run", "127.0.0.1:%d" % port, "--flows", 100, "--parallel", 20)
        assert status == 0, totals
    one.stop()
    wait(
        lambda: len([link for link in dest.status()["links"] if link["state"] == "up"]) == 1,
        "dest to drop the first link",
    )
    status, totals = peers.call_helper("swarm", "run", "127.0.0.1:%d" % ports[1], "--flows", 100, "--parallel", 20)
    assert status == 0, totals
    status, totals = far.finish()
    assert status == 0, totals


def test_the_status_pages_say_what_the_seed_promises(world):
    """
    GET /health, /metrics, /status, / ──► source and dest
    """

    target = world.add(Server(peers.echo))
    near, source, dest = world.pair(target.address)
    assert peers.ask(near, b"x") == b"x"
    for node in (source, dest):
        code, text = node.get("/health")
        health = json.loads(text)
        assert code == 200 and health["status"] == "Healthy"
        assert {"uptime_seconds", "last_successful_operation", "error_count", "message"} <= set(health)
        assert node.get("/")[0] == 200
        assert node.get("/nothing")[0] == 404
        assert "# TYPE qanat_bytes_total counter" in node.get("/metrics")[1]
    assert json.loads(source.get("/health")[1])["tunnel_established"] is True
    assert source.status()["command"] == "source" and dest.status()["command"] == "dest"
