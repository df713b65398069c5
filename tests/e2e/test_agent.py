"""`qanat agent` at a hub that does nothing but what the link protocol asks of one (tests/helpers/small_hub.c).

    local connection ══► small hub ◄══ agent ══► service        who dials is drawn by the arrow's head
"""

import os
import re
import signal
import socket
import subprocess
import threading

import pytest

import peers
from peers import Helper
from qanat import HELPERS, PATIENCE, QANAT, free_port, wait


class Hub:
    """A small hub: its port for devices, and a local port for each service."""

    def __init__(self, certs, *services, port=None):
        words = [os.path.join(HELPERS, "small_hub"), certs.ca, certs.server, certs.server_key]
        words += ["--port", str(port)] if port else []
        self.process = subprocess.Popen(
            [*words, *services], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self.lines, self.doors, self.port = [], {}, None
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        wait(lambda: "ready" in self.lines, "the small hub to be ready: %s" % self.lines)
        for line in list(self.lines):
            words = line.split()
            if words[0] == "link":
                self.port = int(words[1])
            if words[0] == "service":
                self.doors[words[1]] = ("127.0.0.1", int(words[2]))

    def read(self):
        for line in self.process.stdout:
            self.lines.append(line.decode(errors="replace").strip())

    def count(self, word):
        return sum(1 for line in list(self.lines) if line.startswith(word))

    def wait_line(self, word, count=1, seconds=20.0):
        wait(lambda: self.count(word) >= count, "%d lines %r of the small hub: %s" % (count, word, self.lines), seconds)

    def connect(self, service):
        return socket.create_connection(self.doors[service], timeout=20 * PATIENCE)

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()


def agent(world, hub, services, name="agent", ready=True, **keys):
    ports = [hub] if isinstance(hub, Hub) else hub
    config = {
        "agent": {
            "hubs": ["127.0.0.1:%d" % (one.port if isinstance(one, Hub) else one) for one in ports],
            "initial_reconnect_delay_ms": 50,
            "max_reconnect_delay_ms": 400,
            "services": [{"name": service, "target": target} for service, target in services],
            **keys,
        },
        "auth": {
            "ca_cert_path": world.certs.ca,
            "client_cert_path": world.certs.client,
            "client_key_path": world.certs.client_key,
        },
        "logging": {"level": "debug"},
        "metrics": {"metrics_port": 0},
        "node": {"name": "agent.node", "drain_timeout_seconds": 2},
    }
    node = world.node("agent", config, name).start()
    return node.wait_ready() if ready else node


def talk(hub, service, text=b"salve"):
    with hub.connect(service) as client:
        client.sendall(text)
        client.shutdown(socket.SHUT_WR)
        heard = b""
        while True:
            more = client.recv(65536)
            if not more:
                return heard
            heard += more


def echo(world):
    return "%s:%d" % world.add(Helper("echo", "serve", "127.0.0.1:0")).address


@pytest.fixture
def target(world):
    return echo(world)


def test_a_parked_connection_is_used_and_replaced(world, target):
    """
    ══► hub: a header on the connection that the agent has parked, no OPEN; the end of one direction is not the other's
    """
    hub = world.add(Hub(world.certs, "ssh"))
    node = agent(world, hub, [("ssh", target)])
    # The first one may come before anything is parked.
    node.wait(lambda: talk(hub, "ssh") and node.metric("qanat_pool_total", outcome="hit") > 0, "something to be parked")
    for _ in range(5):
        hits = node.metric("qanat_pool_total", outcome="hit")
        assert talk(hub, "ssh", b"x" * 100000) == b"x" * 100000
        node.wait(
            lambda: node.metric("qanat_pool_total", outcome="hit") > hits or not talk(hub, "ssh"),
            "a parked connection to be used",
        )


def test_without_a_parked_connection_the_agent_dials_one(world, target):
    """
    ══► hub: OPEN with a token ──► agent dials, claims the token
    """
    hub = world.add(Hub(world.certs, "ssh"))
    node = agent(world, hub, [("ssh", target)], parked_connections=0)
    assert talk(hub, "ssh") == b"salve"
    node.wait_metric(1, "qanat_pool_total", outcome="miss")
    assert node.metric("qanat_pool_total", outcome="hit") == 0


@pytest.mark.parametrize("parked", [0, 1])
def test_a_hub_that_asks_for_what_is_not_offered_gets_nothing(world, target, parked):
    """
    ══► hub asks for "secret" ──► agent: no such service, whatever way it was asked; "*" is the first of the list
    """
    hub = world.add(Hub(world.certs, "secret", "*"))
    node = agent(world, hub, [("ssh", target)], parked_connections=parked)
    # Closed or reset, at once, perhaps in the middle of the connect.
    try:
        with hub.connect("secret") as client:
            client.sendall(b"let me in")
            assert client.recv(10) == b""
    except ConnectionError:
        pass
    # Refused on the parked connection, or, when none was there yet, by the answer to OPEN.
    wait(
        lambda: hub.count("refused no such service: no such service on the device")
        or parked and node.metric("qanat_flows_total", outcome="unknown_service"),
        "the service to be refused",
    )
    assert talk(hub, "*") == b"salve"


def test_a_service_that_is_down_is_told_at_once(world):
    """
    ══► hub ──► agent ──► nothing listens there: the local connection is closed long before any deadline
    """
    hub = world.add(Hub(world.certs, "ssh"))
    node = agent(world, hub, [("ssh", "127.0.0.1:%d" % free_port())], target_connect_timeout_ms=60000)
    try:
        with hub.connect("ssh") as client:
            assert client.recv(10) == b""
    except ConnectionResetError:
        pass
    node.wait_metric(1, "qanat_flows_total", outcome="target_unreachable")


@pytest.mark.serial
def test_many_channels_with_pauses_aborts_and_half_closes(world):
    """
    400 at once of 2000 ══► hub ──► agent ══► swarm     every byte checked at both ends
    """
    far = world.add(Helper("swarm", "serve", "127.0.0.1:0"))
    hub = world.add(Hub(world.certs, "swarm"))
    node = agent(world, hub, [("swarm", "%s:%d" % far.address)], max_connections_per_service=2000)
    totals = peers.swarm(
        hub.doors["swarm"], far, flows=2000, parallel=400, up=20000, down=20000, pause=5, abort=5, refuse=5,
        seconds=100 * PATIENCE
    )
    assert totals["right"] > 1500, totals
    node.wait(lambda: node.status()["flows_open"] == 0, "every flow to be closed")


def test_hub_and_agent_find_each_other_again(world, target):
    """
    the hub is killed and comes back; the agent is killed and comes back
    """
    port = free_port()
    hub = world.add(Hub(world.certs, "ssh", port=port))
    node = agent(world, hub, [("ssh", target)])
    assert talk(hub, "ssh") == b"salve"
    hub.close()
    node.wait(lambda: not node.is_ready(), "the agent to notice")
    hub = world.add(Hub(world.certs, "ssh", port=port))
    hub.wait_line("up")
    node.wait_ready()
    assert talk(hub, "ssh") == b"salve"
    node.kill()
    hub.wait_line("down")
    node.start()
    node.wait_ready()
    assert talk(hub, "ssh") == b"salve"


def test_an_agent_starts_before_its_hub(world, target):
    """
    agent ──► (nothing) ... hub
    """
    port = free_port()
    node = agent(world, [port], [("ssh", target)], ready=False)
    node.wait_log("is not reachable|refused")
    hub = world.add(Hub(world.certs, "ssh", port=port))
    node.wait_ready()
    assert talk(hub, "ssh") == b"salve"


def test_a_silent_hub_is_found_dead_and_the_next_one_taken(world, target):
    """
    agent ──► hub 1 (stopped: it neither answers nor closes)
      └─────► hub 2
    """
    first, second = world.add(Hub(world.certs, "ssh")), world.add(Hub(world.certs, "ssh"))
    node = agent(world, [first, second], [("ssh", target)], ping_seconds=1)
    first.wait_line("up")
    first.process.send_signal(signal.SIGSTOP)
    second.wait_line("up", seconds=15)
    assert talk(second, "ssh") == b"salve"
    node.assert_alive()


def test_the_seed_s_command_line(world, target, tmp_path):
    """
    shadow-client (a symlink) --rhost --rport --robot --lhost --lport --ca --crt --key ──► hub sees "011"
    """
    hub = world.add(Hub(world.certs, "*"))
    program = tmp_path / "shadow-client"
    program.symlink_to(QANAT)
    host, port = target.rsplit(":", 1)
    process = subprocess.Popen(
        [
            str(program),
            "--rport=%d" % hub.port,
            "--rhost=127.0.0.1",
            "--ca=" + world.certs.ca,
            "--crt=" + world.certs.client,
            "--key=" + world.certs.client_key,
            "--robot=011",
            "--lhost=" + host,
            "--lport=" + port,
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "RUNTIME_DIRECTORY": str(tmp_path), "QANAT_METRICS_ENABLED": "false"},
    )
    try:
        hub.wait_line("up 1 011")
        assert talk(hub, "*") == b"salve"
        process.terminate()
        assert process.wait(20 * PATIENCE) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    "words, problem",
    [
        (["--lport=67758"], "1..65535|67758"),
        (["--robot=../x"], "letters, digits"),
        (["--no-such"], "unknown flag"),
        (["--rhost=localhost"], "hub_port"),
    ],
)
def test_what_the_seed_took_silently_is_refused(world, words, problem):
    done = subprocess.run([QANAT, "agent", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30)
    assert done.returncode == 2
    assert re.search(problem, done.stdout.decode()), done.stdout.decode()
