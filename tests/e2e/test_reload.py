"""SIGHUP: a new configuration is tried before it is put into force; what runs goes on."""

import copy
import os
import signal
import socket
import subprocess

import pytest

import peers
from peers import Helper, Recorder, Server, dial, read_exactly, read_to_end
from qanat import HELPERS, PATIENCE, free_port, to_service, wait


def forwards(*pairs):
    return [{"listen": "127.0.0.1:%d" % port, "service": name} for port, name in pairs]


@pytest.mark.threads
def test_services_and_doors_come_and_go_while_a_flow_goes_on(world):
    """
    client ══ source (one ─► one + two ─► two) ══ dest (the same) ══ targets
    """
    one, two = world.add(Server(peers.greet(b"one"))), world.add(Server(peers.greet(b"two")))
    near_one, near_two = free_port(), free_port()
    dest = world.dest([("one", one.address)])
    source = world.source(dest, [("127.0.0.1:%d" % near_one, "one")])
    with dial(("127.0.0.1", near_one)) as client:
        assert read_exactly(client, 3) == b"one"
        config = copy.deepcopy(dest.config)
        config["dest"]["exposed_services"].append(to_service("two", two.address))
        dest.reload(config)
        config = copy.deepcopy(source.config)
        config["source"]["forwards"] = forwards((near_one, "one"), (near_two, "two"))
        source.reload(config)
        assert peers.ask(("127.0.0.1", near_two), b"", 3) == b"two"
        assert peers.ask(("127.0.0.1", near_one), b"", 3) == b"one"
        config = copy.deepcopy(source.config)
        config["source"]["forwards"] = forwards((near_two, "two"))
        source.reload(config)
        with pytest.raises(ConnectionRefusedError):
            dial(("127.0.0.1", near_one)).close()
        config = copy.deepcopy(dest.config)
        del config["dest"]["exposed_services"][0]
        dest.reload(config)
        client.sendall(b"still here")
        assert read_exactly(client, 10) == b"still here"
        config = copy.deepcopy(source.config)
        config["source"]["forwards"] = forwards((near_two, "one"))
        source.reload(config)
        assert peers.turned_away(("127.0.0.1", near_two)) == (b"", "reset")
        client.sendall(b"and here")
        assert read_exactly(client, 8) == b"and here"
    assert "source.forwards has changed" in source.log()
    assert "dest.exposed_services has changed" in dest.log()


BROKEN = {
    "no TOML": ("[dest\n", "1:"),
    "an unknown key": ("[dest]\ntunnel_prt = 1\n", 'did you mean "tunnel_port"'),
    "a missing certificate": (None, "no-such-file"),
    "nothing": ("", "required, but not given"),
}


@pytest.mark.parametrize("what", sorted(BROKEN))
def test_an_invalid_configuration_is_kept_out_while_the_old_one_serves(world, what):
    """
    dest ── SIGHUP with nonsense ──► every problem in the log, nothing else happens; mended: taken over
    """
    target = world.add(Server(peers.echo))
    near, source, dest = world.pair(target.address)
    text, said = BROKEN[what]
    good, bad = dest.config, copy.deepcopy(dest.config)
    bad["auth"]["server_cert_path"] = os.path.join(world.folder, "no-such-file")
    with dial(near) as client:
        client.sendall(b"before")
        assert read_exactly(client, 6) == b"before"
        dest.reload(bad, text, ok=False)
        assert said in dest.log() and "the old one serves on" in dest.log()
        client.sendall(b"after")
        assert read_exactly(client, 5) == b"after"
        assert peers.ask(near, b"new") == b"new"
        dest.reload(good)
        client.sendall(b"mended")
        assert read_exactly(client, 6) == b"mended"
    assert dest.is_ready() and source.metric("qanat_links_opened_total") == 1


@pytest.mark.parametrize("side", ["source", "dest"])
def test_a_certificate_that_tls_does_not_take_is_refused_before_anything_changes(world, side):
    """
    source or dest ── SIGHUP with an RSA key of 1024 bits ──► refused; the old certificate serves on
    """
    target = world.add(Server(peers.echo))
    near, source, dest = world.pair(target.address)
    node, usage, name = (source, "clientAuth", "client") if side == "source" else (dest, "serverAuth", "server")
    cert, key = world.certs.by_openssl("weak", usage, san="IP:127.0.0.1", key_type=("rsa:1024",))
    config = copy.deepcopy(node.config)
    config["auth"][name + "_cert_path"], config["auth"][name + "_key_path"] = cert, key
    node.reload(config, ok=False)
    assert "weak.crt" in node.log() and "the old one serves on" in node.log()
    assert peers.ask(near, b"as before") == b"as before"
    node.assert_alive()


def test_keys_that_need_a_restart_are_named_and_stay(world):
    """
    dest (tunnel_port A) ── SIGHUP, tunnel_port B ──► still on A, says so
    """
    target = world.add(Server(peers.echo))
    near, source, dest = world.pair(target.address)
    config = copy.deepcopy(dest.config)
    config["dest"]["tunnel_port"] = free_port()
    config["logging"]["level"] = "warn"
    dest.reload(config)
    assert "dest.tunnel_port has changed, but needs a restart: the old value stays" in dest.log()
    assert peers.ask(near, b"the old port") == b"the old port"
    before = len(dest.log())
    dest.reload(config)
    assert " info " not in dest.log()[before:], "the new log level is not in force"


def test_a_door_that_is_taken_leaves_all_doors_as_they_were(world):
    """
    source (A) ── SIGHUP: B (taken) and C ──► A serves, neither B nor C is open
    """
    target = world.add(Server(peers.echo))
    near, source, dest = world.pair(target.address)
    taken = world.add(Server(peers.greet(b"somebody else")))
    free = free_port()
    config = copy.deepcopy(source.config)
    config["source"]["forwards"] = forwards((taken.address[1], "service"), (free, "service"))
    source.reload(config, ok=False)
    assert "cannot listen on 127.0.0.1:%d" % taken.address[1] in source.log()
    assert peers.ask(near, b"as before") == b"as before"
    with pytest.raises(ConnectionRefusedError):
        dial(("127.0.0.1", free)).close()


@pytest.mark.slow
def test_a_hundred_reloads_under_load_reset_nothing(world):
    """
    4 verified streams and a swarm ══ source ══ dest      100 SIGHUPs to both, every third with a broken file
    """
    bulk, far = world.add(Helper("bulk", "serve", "127.0.0.1:0")), world.add(Helper("swarm", "serve", "127.0.0.1:0"))
    near_bulk, near_swarm = free_port(), free_port()
    dest = world.dest([("bulk", bulk.address), ("swarm", far.address)], logging={"level": "info"})
    source = world.source(
        dest,
        [("127.0.0.1:%d" % near_bulk, "bulk"), ("127.0.0.1:%d" % near_swarm, "swarm")],
        logging={"level": "info"},
    )
    streams = [
        subprocess.Popen(
            [os.path.join(HELPERS, "bulk"), "run", "127.0.0.1:%d" % near_bulk, "--bytes", str(192 << 20)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for _ in range(4)
    ]
    swarm = subprocess.Popen(
        [os.path.join(HELPERS, "swarm"), "run", "127.0.0.1:%d" % near_swarm, "--flows", "600", "--parallel", "30"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    nodes = [(source, source.config, "client_cert_path"), (dest, dest.config, "server_cert_path")]
    try:
        for turn in range(100):
            for node, good, key in nodes:
                changed = copy.deepcopy(good)
                changed["crypto"]["key_rotation_interval_seconds"] = 60 + turn
                if turn % 3 == 1:
                    changed["auth"][key] = world.certs.ca_key
                    node.reload(changed, ok=False)
                    continue
                node.reload(changed)
        said = [process.communicate(timeout=120 * PATIENCE)[0].decode() for process in (*streams, swarm)]
        assert [process.returncode for process in (*streams, swarm)] == [0] * 5, said
    finally:
        for process in (*streams, swarm):
            process.kill()
            process.communicate()
    status, totals = far.finish()
    assert status == 0, totals
    for node in (source, dest):
        assert node.reloads() == (67, 33)
        assert node.metric("qanat_flows_total", outcome="reset_by_peer") == 0
        assert node.metric("qanat_flows_total", outcome="reset_by_local") == 0
    assert source.metric("qanat_links_opened_total") == 1


def test_a_target_that_comes_up_in_time_is_waited_for(world):
    """
    client ══ source ══ dest ··► (nothing yet) ; the target starts ; all that was said arrives
    """
    port = free_port()
    near, source, dest = world.pair(("127.0.0.1", port), dest={"target_connect_timeout_ms": 20000 * PATIENCE})
    with dial(near) as client:
        client.sendall(b"early")
        dest.wait(lambda: dest.status()["flows_open"] == 1, "the flow to wait on dest")
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
            listener.listen()
            listener.settimeout(peers.SECONDS)
            served = listener.accept()[0]
        with served:
            served.settimeout(peers.SECONDS)
            assert read_exactly(served, 5) == b"early"
            served.sendall(b"late")
            assert read_exactly(client, 4) == b"late"
    assert dest.metric("qanat_flows_total", outcome="target_unreachable") == 0


def test_a_target_that_stays_down_is_given_up_in_time(world):
    """
    client ══ source ══ dest ··► (nothing) ; reset after target_connect_timeout_ms
    """
    near, source, dest = world.pair(("127.0.0.1", free_port()), dest={"target_connect_timeout_ms": 400})
    assert peers.turned_away(near, b"anybody?") == (b"", "reset")
    assert dest.metric("qanat_flows_total", outcome="target_unreachable") == 1
    assert "target refused" in source.log()


@pytest.mark.parametrize("side", ["source", "dest"])
def test_an_idle_flow_is_ended_when_the_configuration_says_so(world, side):
    """
    client ── silence ── source ══ dest ── silence ── target     (idle_timeout) ──► both see a reset
    """
    target = world.add(Recorder())
    limit = {"idle_timeout_ms" if side == "source" else "connection_timeout_ms": 600}
    near, source, dest = world.pair(target.address, **{side: limit})
    with dial(near) as client:
        client.sendall(b"x")
        assert read_to_end(client) == (b"", "reset")
    node = source if side == "source" else dest
    assert node.metric("qanat_flows_total", outcome="idle") == 1
    wait(lambda: target.records[0]["end"] == "reset", "the target to see the reset")


def test_a_reload_while_stopping_changes_nothing(world):
    """
    client ══ source ── SIGTERM, SIGHUP ──► drains on
    """
    target = world.add(Server(peers.echo))
    near, source, dest = world.pair(target.address, node={"drain_timeout_seconds": 20})
    with dial(near) as client:
        client.sendall(b"a")
        assert read_exactly(client, 1) == b"a"
        source.process.send_signal(signal.SIGTERM)
        source.wait_log("taking nothing new")
        source.process.send_signal(signal.SIGHUP)
        source.wait_log("the configuration is not read again")
        client.sendall(b"b")
        assert read_exactly(client, 1) == b"b"
    source.process.wait(20 * PATIENCE)
