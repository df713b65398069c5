"""`qanat vpn server` with many clients, each in a network namespace of its own."""

import os
import random
import re
import shutil
import signal

import pytest

import netns
from netns import Host, Vpn
from qanat import Certs, wait
from test_psk import transfer

REASON = netns.why_not()
pytestmark = pytest.mark.skipif(REASON is not None, reason=REASON or "")

SERVER = "198.51.100.1"
LANES = 2
NAMES = ["one", "two", "three"]


@pytest.fixture(scope="module")
def papers(tmp_path_factory):
    made = Certs(str(tmp_path_factory.mktemp("vpn-clients-certs")), ips=SERVER)
    for name in NAMES:
        certificate(made, name)
    return made


def certificate(papers, name, file=None):
    """Certificate and key of a client with this common name."""
    cert, key = papers.path((file or name) + ".crt"), papers.path((file or name) + ".key")
    if not os.path.exists(cert):
        papers.make("client", cert, key, "--common-name", name, "--ca-cert", papers.ca, "--ca-key", papers.ca_key)
    return cert, key


class Star:
    """
    one (192.0.2.2) ──── (192.0.2.1)  server  198.51.100.1
    two (192.0.2.6) ──── (192.0.2.5)    │
    three (192.0.2.10) ─ (192.0.2.9) ───┘       the server forwards nothing between them outside of the tunnel
    """

    def __init__(self, folder):
        tag = "%06x" % random.SystemRandom().randrange(1 << 24)
        self.server = Host("qs" + tag, folder)
        self.server.ip("addr", "add", SERVER + "/32", "dev", "lo")
        self.clients = [self.add(number, "q%d%s" % (number, tag), folder) for number in range(len(NAMES))]

    def add(self, number, name, folder):
        client = Host(name, folder)
        ours, theirs = "vs" + name[1:], "vc" + name[1:]
        self.server.ip("link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", name)
        for host, end, last in ((self.server, ours, 4 * number + 1), (client, theirs, 4 * number + 2)):
            host.ip("addr", "add", "192.0.2.%d/30" % last, "dev", end)
            host.ip("link", "set", end, "up")
        client.ip("route", "add", SERVER + "/32", "via", "192.0.2.%d" % (4 * number + 1))
        return client

    def close(self):
        for host in self.clients:
            host.close()
        self.server.close()


@pytest.fixture
def star(tmp_path):
    made = Star(str(tmp_path))
    yield made
    made.close()


def settings(papers, **vpn):
    """A server's configuration: three clients by name, unless something else is said."""
    clients = [{"name": name, "ipv4": "10.8.0.%d/24" % (2 + at), "ipv6": "fd08::%d/64" % (2 + at)}
               for at, name in enumerate(NAMES)]
    base = {"ipv4": "10.8.0.1/24", "ipv6": "fd08::1/64", "stream_count": LANES, "max_clients": 3, "clients": clients}
    return {"auth": {"ca_cert_path": papers.ca, "cert_path": papers.server, "key_path": papers.server_key},
            "vpn": {key: value for key, value in {**base, **vpn}.items() if value is not None}}


def pool(papers, **vpn):
    return settings(papers, clients=None, **{"pool_ipv4": "10.8.0.0/24", "pool_ipv6": "fd08::/64", **vpn})


def start_server(star, config, name="server", **options):
    return Vpn(star.server, ["server"], name, config=config, **options).wait_log("running as server")


def start_client(star, papers, number, *arguments, name=None, cert=None, **options):
    cert, key = certificate(papers, cert or NAMES[number])
    words = ["client", "--server", SERVER, "--ca-bundle", papers.ca, "--client-cert", cert, "--client-key", key]
    words += ["--stream-count", str(LANES), *arguments]
    log = name or "client-" + NAMES[number]
    return Vpn(star.clients[number], words, log, **options).wait_log("running as client")


def start_all(star, papers, config, *arguments):
    server = start_server(star, config)
    clients = [start_client(star, papers, number, *arguments) for number in range(len(NAMES))]
    for client in clients:
        client.wait_lanes(LANES)
    server.wait_lanes(LANES * len(NAMES))
    return server, clients


def addresses(host, device="rustvpn"):
    return re.findall(r"inet6? (\S+) .*scope global", host.ip("addr", "show", "dev", device))


def dropped(node, reason):
    return node.metric('qanat_packets_dropped_total{reason="%s"}' % reason)


# ---- addresses


def test_three_clients_get_their_addresses_and_reach_the_server(star, papers):
    """
    one   ══ 10.8.0.2, fd08::2 ══╗
    two   ══ 10.8.0.3, fd08::3 ══╬══ 10.8.0.1, fd08::1 ══ server
    three ══ 10.8.0.4, fd08::4 ══╝
    """
    server, clients = start_all(star, papers, settings(papers))
    for at, host in enumerate(star.clients):
        assert sorted(addresses(host)) == ["10.8.0.%d/24" % (2 + at), "fd08::%d/64" % (2 + at)]
        host.ping("10.8.0.1")
        host.ping("fd08::1")
        star.server.ping("10.8.0.%d" % (2 + at))
        transfer(host, star.server, "10.8.0.1", "up%d" % at, 8)
        transfer(star.server, host, "10.8.0.%d" % (2 + at), "down%d" % at, 8)
    assert dropped(server, "spoofed") == 0
    for client in clients:
        client.stop()
    server.stop()
