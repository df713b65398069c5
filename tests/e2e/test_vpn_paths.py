"""`qanat vpn` and `qanat psk` over bad wires, and for a long time."""

import os
import random
import re
import shutil

import pytest

import netns
from netns import HERE, Host
from qanat import Certs
from test_psk import transfer
from test_vpn import LANES, counted, lost, pair, pinging
from test_vpn_routes import World

REASON = netns.why_not()
pytestmark = pytest.mark.skipif(REASON is not None, reason=REASON or "")
INNER = {"vpn": "192.168.3.1", "psk": "10.1.1.1"}
INNER_CLIENT = {"vpn": "192.168.3.2", "psk": "10.1.1.2"}


@pytest.fixture(scope="module")
def papers(tmp_path_factory):
    return Certs(str(tmp_path_factory.mktemp("paths-certs")), ips="192.0.2.1,2001:db8::1")


class BadWire:
    """server (192.0.2.1) ──── relay ──── client (192.0.2.2)"""

    def __init__(self, folder):
        tag = "%06x" % random.SystemRandom().randrange(1 << 24)
        self.server, self.client, self.middle = (Host(name + tag, folder) for name in ("qs", "qc", "qm"))
        self.ends = []
        for host, letter, number in ((self.server, "s", 1), (self.client, "c", 2)):
            end, inside = "v" + letter + tag, "m" + letter + tag
            host.ip("link", "add", end, "type", "veth", "peer", "name", inside, "netns", self.middle.name)
            self.middle.run("sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/%s/disable_ipv6" % inside)
            host.run("/usr/bin/python3", os.path.join(HERE, "impair.py"), "bare", end)
            host.ip("addr", "add", "192.0.2.%d/24" % number, "dev", end)
            host.ip("link", "set", end, "up")
            self.middle.ip("link", "set", inside, "up")
            self.ends.append(inside)
        self.relay, self.turn = None, 0

    def impair(self, *rules):
        self.relieve()
        self.turn += 1
        command = ["/usr/bin/python3", os.path.join(HERE, "impair.py"), "relay", *self.ends, *rules]
        self.relay = self.middle.start(*command, name="relay-%d" % self.turn)
        self.relay.wait_log("ready")

    def relieve(self):
        """Ends the relay, and gives what it did."""
        if self.relay is None:
            return {}
        relay, self.relay = self.relay, None
        relay.stop()
        return {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", relay.log())}

    def close(self):
        for host in (self.client, self.server, self.middle):
            host.close()


@pytest.fixture
def bad_wire(tmp_path):
    made = BadWire(str(tmp_path))
    yield made
    made.close()


@pytest.fixture
def wire(tmp_path):
    made = netns.Wire(str(tmp_path))
    yield made
    made.close()


@pytest.fixture(params=["vpn", "psk"])
def world(request, bad_wire, papers):
    return World(request.param, bad_wire, papers)


def carries(world):
    wire, job = world.wire, world.job
    transfer(wire.client, wire.server, INNER[job], "up-%d" % wire.turn, 4)
    transfer(wire.server, wire.client, INNER_CLIENT[job], "down-%d" % wire.turn, 4)


def test_loss_and_reordering_cost_time_and_nothing_else(world):
    """
    client ── 2 % lost, 5 % held back for 4 ms, 3 ms of delay ── server      every byte arrives
    """
    wire = world.wire
    wire.impair("loss=2", "reorder=5", "hold=4", "delay=3", "seed=7")
    world.start_server()
    client = world.start_client(to="192.0.2.1")
    carries(world)
    wire.client.ping(INNER[world.job])
    done = wire.relieve()
    assert done["lost"] > 50 and done["held"] > 100 and done["full"] < done["lost"], done
    assert client.status()["tunnel_established"]


def test_a_wire_that_was_silent_for_a_while_is_used_again(world):
    """
    client ──╳── server, for longer than either waits       then the link is back, and so are packets
    """
    wire = world.wire
    wire.impair()
    world.start_server()
    client = world.start_client(to="192.0.2.1")
    carries(world)
    wire.impair("loss=100")
    world.wait_down(client, seconds=90)
    wire.impair()
    world.wait_up(client, times=2, seconds=90)
    carries(world)


def test_a_black_hole_for_large_packets_is_crossed_where_the_kernel_probes(world):
    """
    client ── what is above 1200 bytes vanishes, and no ICMP says so ── server      net.ipv4.tcp_mtu_probing = 1
    """
    wire = world.wire
    for host in (wire.client, wire.server):
        host.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/tcp_mtu_probing")
    wire.impair("mtu=1200")
    world.start_server()
    world.start_client(to="192.0.2.1", seconds=120)
    carries(world)
    done = wire.relieve()
    assert done["large"] > 0, done


@pytest.mark.skipif(not shutil.which("iperf3"), reason="there is no iperf3")
def test_an_hour_of_epochs_in_a_minute_loses_nothing(wire, papers):
    """
    iperf3 and ping ══ client ═════ server      60 epochs, one each second: as many as an hour has with one a minute
    """
    rotate = ["--key-rotation-interval", "1"]
    server, client = pair(wire, papers, *rotate)
    ping = pinging(wire.client, "192.168.3.1")
    ping.wait_log("icmp_seq=1 ")
    wire.server.start("iperf3", "-s", "--forceflush", name="iperf3").wait_log("listening")
    before = client.status()["links"][0]["epoch"]
    text = wire.client.run("iperf3", "-c", "192.168.3.1", "-P", "2", "-t", "60", "-i", "2", "-f", "m", seconds=200)
    rates = [float(rate) for rate in re.findall(r"([\d.]+) Mbits/sec", text)]
    link = client.status()["links"][0]
    # Under load an epoch may take longer than a second.
    assert link["epoch"] >= before + 20, link
    assert link["streams_total"] >= 20 * LANES, link
    assert min(rates) > 0, text
    drops = [line for line in client.get("/metrics")[1].splitlines() if line.startswith("qanat_packets_dropped")]
    missing = lost(ping)
    assert not missing, (missing, drops)
    assert counted(server, 'packets_total{direction="inward"}') > 0
