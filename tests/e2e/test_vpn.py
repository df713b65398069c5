"""`qanat vpn`: two nodes with certificates, in network namespaces."""

import contextlib
import ctypes
import json
import os
import re
import shutil
import signal
import socket
import subprocess

import pytest

import netns
from netns import Vpn
from qanat import QANAT, Certs, wait
from test_psk import transfer

REASON = netns.why_not()
pytestmark = pytest.mark.skipif(REASON is not None, reason=REASON or "")

LANES = 5


@pytest.fixture(scope="module")
def papers(tmp_path_factory):
    return Certs(str(tmp_path_factory.mktemp("vpn-certs")), ips="192.0.2.1,2001:db8::1")


@pytest.fixture
def wire(tmp_path):
    made = netns.Wire(str(tmp_path))
    yield made
    made.close()


def start_server(wire, papers, *arguments, name="server", **options):
    words = ["server", "--ca-bundle", papers.ca, "--server-cert", papers.server, "--server-key", papers.server_key]
    words += ["--ipv4", "192.168.3.1/24", "--ipv6", "fd03::1/64", *arguments]
    return Vpn(wire.server, words, name, **options).wait_log("running as server")


def start_client(wire, papers, *arguments, name="client", to="192.0.2.1", cert=None, key=None, inner=True, **options):
    words = ["client", "--server", to, "--ca-bundle", papers.ca]
    words += ["--client-cert", cert or papers.client, "--client-key", key or papers.client_key]
    words += [*(["--ipv4", "192.168.3.2/24", "--ipv6", "fd03::2/64"] if inner else []), *arguments]
    return Vpn(wire.client, words, name, **options).wait_log("running as client")


def pair(wire, papers, *arguments, lanes=LANES):
    server = start_server(wire, papers, *arguments)
    client = start_client(wire, papers, *arguments).wait_lanes(lanes)
    server.wait_lanes(lanes)
    return server, client


def counted(node, name):
    return node.metric("qanat_" + name)


# ---- packets


def test_both_versions_of_ip_cross_and_every_byte_of_them(wire, papers):
    """
    client ══ rustvpn 192.168.3.2, fd03::2 ════ 5 x TLS ════ 192.168.3.1, fd03::1 rustvpn ══ server
    """
    server, client = pair(wire, papers)
    wire.client.ping("192.168.3.1")
    wire.client.ping("fd03::1")
    wire.server.ping("192.168.3.2")
    transfer(wire.client, wire.server, "192.168.3.1", "up")
    transfer(wire.server, wire.client, "192.168.3.2", "down")
    transfer(wire.client, wire.server, "fd03::1", "up6")
    status = client.status()
    assert status["tunnel_established"] and status["command"] == "vpn client"
    assert status["links"][0]["streams_open"] == LANES
    # Large units really are used, in both directions.
    assert counted(client, 'super_packets_total{direction="outward"}') > 100
    assert counted(server, 'super_packets_total{direction="inward"}') > 100
    client.stop()
    server.stop()
    assert not wire.client.has_device("rustvpn") and not wire.server.has_device("rustvpn")


@pytest.mark.parametrize("who", ["both", "client", "server"])
def test_without_offload_packet_by_packet(wire, papers, who):
    """
    client (--offload false) ═════ server      what one side does not take the other cuts
    """
    off = ["--offload", "false"]
    server = start_server(wire, papers, *(off if who != "client" else []))
    client = start_client(wire, papers, *(off if who != "server" else [])).wait_lanes(LANES)
    transfer(wire.client, wire.server, "192.168.3.1", "up", 4)
    transfer(wire.server, wire.client, "192.168.3.2", "down", 4)
    node = client if who != "server" else server
    assert counted(node, 'super_packets_total{direction="outward"}') == 0


RANGES = [
    ["--stream-count", "1"],
    ["--stream-count", "100"],
    ["--mtu", "9000"],
    ["--mtu", "65535"],
    ["--mtu", "1280"],
    ["--workers", "1"],
    ["--data-port", "1107"],
]
DIFFERENCES = [
    (["--mtu", "1400"], ["--mtu", "1500"], "mtu"),
    (["--stream-count", "3"], ["--stream-count", "4"], "stream_count"),
    (["--build-id", "one"], ["--build-id", "two"], "build_id"),
]


@pytest.mark.parametrize("arguments", RANGES, ids=lambda words: "-".join(words).strip("-"))
def test_ends_of_the_ranges_carry_packets(wire, papers, arguments):
    """
    client ═════ server
    """
    lanes = int(arguments[1]) if "--stream-count" in arguments else LANES
    pair(wire, papers, *arguments, lanes=lanes)
    transfer(wire.client, wire.server, "192.168.3.1", "up", 4)
    transfer(wire.server, wire.client, "192.168.3.2", "down", 4)


def test_the_link_may_run_over_ipv6(wire, papers):
    """
    client ── 2001:db8::1 ── server (--control-bind-address ::)
    """
    any_address = ["--control-bind-address", "::", "--data-bind-address", "::"]
    start_server(wire, papers, *any_address)
    start_client(wire, papers, to="2001:db8::1").wait_lanes(LANES)
    wire.client.ping("192.168.3.1")


def tcp_sockets(process):
    """Copies of all TCP sockets of a process."""
    pidfd = os.pidfd_open(process.pid)
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        for name in os.listdir("/proc/%d/fd" % process.pid):
            fd = libc.syscall(438, pidfd, int(name), 0)  # pidfd_getfd
            if fd < 0:
                continue
            with open_socket(fd) as found:
                if found and found.family in (socket.AF_INET, socket.AF_INET6) and found.type == socket.SOCK_STREAM:
                    yield found
    finally:
        os.close(pidfd)


@contextlib.contextmanager
def open_socket(fd):
    """The socket that the descriptor is; None when it is something else. Closed at the end."""
    try:
        found = socket.socket(fileno=fd)
    except OSError:
        os.close(fd)
        yield None
        return
    with found:
        yield found


def test_nothing_waits_for_more_on_any_connection(wire, papers):
    """
    client ═════ server      TCP_NODELAY on the control connection and on each data connection, on both sides
    """
    for node in pair(wire, papers):
        connected = 0
        for found in tcp_sockets(node.process):
            if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                continue
            connected += 1
            assert found.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), found
        assert connected == LANES + 1


# ---- what must agree


@pytest.mark.parametrize("theirs,ours,key", DIFFERENCES)
def test_what_differs_is_refused_on_both_sides_with_both_values(wire, papers, theirs, ours, key):
    """
    client (--mtu 1400) ──── "mtu: the responder has 1500, the initiator has 1400" ──── server (--mtu 1500)
    """
    server = start_server(wire, papers, *ours)
    client = start_client(wire, papers, *theirs)
    for node in (server, client):
        node.wait_log(r'%s: the responder has "?%s"?, the initiator has "?%s"?' % (key, ours[1], theirs[1]))
    assert not wire.client.pings("192.168.3.1")
    assert client.status()["flows_open"] == 0


def test_the_peer_must_have_the_common_name_that_was_asked_for(wire, papers):
    """
    client ──╳ server (--peer-cn somebody-else)
    """
    server = start_server(wire, papers, "--peer-cn", "somebody-else")
    client = start_client(wire, papers)
    server.wait_log("not allowed")
    assert client.status()["flows_open"] == 0


# ---- life


def pinging(host, to):
    return host.start("ping", "-n", "-i", "0.05", to, name="ping")


def lost(process):
    """Ends a ping and says how many had no answer."""
    process.process.send_signal(signal.SIGINT)
    process.wait_end()
    heard = [int(number) for number in re.findall(r"icmp_seq=(\d+) ttl", process.log())]
    sent = int(re.search(r"(\d+) packets transmitted", process.log()).group(1))
    assert sent > 20, process.log()[-500:]
    # Of the last ones the answers may still be on their way.
    return [number for number in range(1, sent - 10) if number not in heard]


@pytest.mark.skipif(not shutil.which("iperf3"), reason="there is no iperf3")
def test_no_packet_is_lost_when_keys_change_every_second(wire, papers):
    """
    iperf3 and ping ══ client ═════ server      a new epoch each second: each lane is dialled again and takes over
    """
    rotate = ["--key-rotation-interval", "1"]
    server, client = pair(wire, papers, *rotate)
    ping = pinging(wire.client, "192.168.3.1")
    ping.wait_log("icmp_seq=1 ")
    wire.server.start("iperf3", "-s", "--forceflush", name="iperf3").wait_log("listening")
    before = client.status()["links"][0]["epoch"]
    text = wire.client.run("iperf3", "-c", "192.168.3.1", "-P", "4", "-t", "8", "-f", "m", seconds=120)
    rates = [float(rate) for rate in re.findall(r"([\d.]+) Mbits/sec", text)]
    link = client.status()["links"][0]
    assert link["epoch"] >= before + 4, link
    assert link["streams_total"] >= 4 * LANES, link
    assert min(rates) > 0, text
    missing = lost(ping)
    drops = [line for line in client.get("/metrics")[1].splitlines() if line.startswith("qanat_packets_dropped")]
    assert not missing, (missing, drops)


def drops(*nodes):
    return [line for node in nodes for line in node.get("/metrics")[1].splitlines()
            if line.startswith("qanat_packets_dropped")]


@pytest.mark.skipif(not shutil.which("iperf3"), reason="there is no iperf3")
@pytest.mark.parametrize("workers", ["1", "3"])
def test_no_datagram_is_lost_when_keys_change_every_second(wire, papers, workers):
    """
    iperf3 -u, both ways at once, and a ping of 500 a second ══ client ═════ server      what is lost nobody sends again
    """
    words = ["--key-rotation-interval", "1", "--workers", workers]
    server, client = pair(wire, papers, *words)
    for node in (wire.server, wire.client):
        node.start("iperf3", "-s", "--forceflush", name="iperf3").wait_log("listening")
    dropped = drops(client, server)  # what the kernel said before there was a connection
    ping = wire.client.start("ping", "-q", "-i", "0.002", "192.168.3.1", name="flood")
    before = client.status()["links"][0]["epoch"]
    words = ["-u", "-b", "20M", "-P", "3", "-l", "1200", "-t", "8", "-w", "4M", "-J"]
    back = wire.server.start("iperf3", "-c", "192.168.3.2", *words, name="back")
    there = json.loads(wire.client.run("iperf3", "-c", "192.168.3.1", *words, seconds=120))["end"]["sum"]
    assert back.wait_end(60) == 0
    back = json.loads(back.log())["end"]["sum"]
    assert client.status()["links"][0]["epoch"] >= before + 4, client.status()["links"]
    ping.process.send_signal(signal.SIGINT)
    ping.wait_end()
    sent, heard = [int(number) for number in re.search(r"(\d+) packets transmitted, (\d+) received", ping.log()).groups()]
    assert drops(client, server) == dropped
    assert there["packets"] > 1000 and there["lost_packets"] == 0, there
    assert back["packets"] > 1000 and back["lost_packets"] == 0, back
    # The last answers may still be on their way.
    assert sent > 1000 and sent - heard <= 10, ping.log()


def test_a_client_that_is_killed_and_returns_is_let_in_at_once(wire, papers):
    """
    client ═╳═ server, client' ═════ server       the same certificate: no wait for the old one's silence
    """
    server, client = pair(wire, papers)
    client.kill()
    assert not wire.client.has_device("rustvpn")
    start_client(wire, papers, name="second").wait_lanes(LANES, 10)
    wire.client.ping("192.168.3.1")
    server.wait_log("the client is", times=2)


def test_a_server_that_is_killed_and_returns_has_its_client_back(wire, papers):
    """
    client ═╳═ server, client ═════ server'       the client's device and routes stay meanwhile
    """
    server, client = pair(wire, papers, "--route", "10.7.0.0/16")
    server.kill()
    client.wait_lanes(0)
    assert "10.7.0.0/16 dev rustvpn" in wire.client.ip("route")
    start_server(wire, papers, "--route", "10.7.0.0/16", name="again")
    client.wait_lanes(LANES)
    wire.client.ping("192.168.3.1")


def test_another_client_waits_until_the_first_has_gone(wire, papers, tmp_path):
    """
    first ═════ server ──╳ second, then second ═════ server
    """
    cert, key = papers.path("other.crt"), papers.path("other.key")
    if not os.path.exists(cert):
        issuer = ["--ca-cert", papers.ca, "--ca-key", papers.ca_key]
        papers.make("client", cert, key, "--common-name", "other.test", *issuer)
    server, first = pair(wire, papers)
    second = start_client(wire, papers, "--device", "second", name="second", inner=False, cert=cert, key=key)
    second.wait_log("serves another client")
    assert second.status()["flows_open"] == 0
    wire.client.ping("192.168.3.1")
    first.stop()
    second.wait_lanes(LANES)
    server.wait_log("the client is", times=2)


# ---- the device and its routes


def test_networks_behind_each_side_are_reached(wire, papers):
    """
    10.1.0.1 (lo) ══ client ═════ server ══ (lo) 10.2.0.1
    """
    wire.client.ip("addr", "add", "10.1.0.1/32", "dev", "lo")
    wire.server.ip("addr", "add", "10.2.0.1/32", "dev", "lo")
    start_server(wire, papers, "--route", "10.1.0.0/16")
    client = start_client(wire, papers, "--route", "10.2.3.4/16").wait_lanes(LANES)  # host bits do not matter
    wire.client.ping("10.2.0.1")
    wire.server.run("ping", "-n", "-q", "-c", "2", "-I", "10.2.0.1", "10.1.0.1")
    client.stop()
    assert "10.2.0.0/16" not in wire.client.ip("route")


def test_a_route_to_everything_leaves_the_server_its_own_way(wire, papers):
    """
    client ══ 0.0.0.0/0 ══ tunnel ══ server ══ (lo) 203.0.113.9
    """
    wire.server.ip("addr", "add", "203.0.113.9/32", "dev", "lo")
    start_server(wire, papers)
    client = start_client(wire, papers, "--route", "0.0.0.0/0").wait_lanes(LANES)
    wire.client.ping("203.0.113.9")
    transfer(wire.client, wire.server, "203.0.113.9", "everything", 4)
    client.stop()
    assert "rustvpn" not in wire.client.ip("route")


def test_routes_come_and_go_by_reload_without_touching_the_rest(wire, papers):
    """
    ping ══ client: 10.7.0.0/16 10.8.0.0/16, SIGHUP: 10.8.0.0/16 10.9.0.0/16 ═════ server
    """
    config = {"vpn": {"server": "192.0.2.1", "ipv4": "192.168.3.2/24", "routes": ["10.7.0.0/16", "10.8.0.0/16"]},
              "auth": {"ca_cert_path": papers.ca, "cert_path": papers.client, "key_path": papers.client_key}}
    start_server(wire, papers)
    client = Vpn(wire.client, ["client"], "client", config=config).wait_log("running as client").wait_lanes(LANES)
    ping = pinging(wire.client, "192.168.3.1")
    ping.wait_log("icmp_seq=1 ")
    config["vpn"]["routes"] = ["10.8.0.0/16", "10.9.0.0/16"]
    client.write(config)
    client.process.send_signal(signal.SIGHUP)
    client.wait_log("vpn.routes has changed")
    routes = wire.client.ip("route")
    assert "10.7.0.0/16" not in routes and "10.8.0.0/16 dev rustvpn" in routes and "10.9.0.0/16 dev rustvpn" in routes
    wire.client.ip("route", "add", "10.6.0.0/16", "via", "192.0.2.1")
    config["vpn"]["routes"] = ["10.5.0.0/16", "10.6.0.0/16"]
    client.write(config)
    client.process.send_signal(signal.SIGHUP)
    client.wait_log("10.6.0.0/16 exists already and is not ours")
    routes = wire.client.ip("route")
    assert "10.5.0.0/16" not in routes and "10.9.0.0/16 dev rustvpn" in routes
    wait(lambda: ping.count("icmp_seq=") > 40, "more answers")
    assert not lost(ping)


def test_a_killed_node_leaves_nothing_behind(wire, papers):
    """
    client ═╳═ server
    """
    server, client = pair(wire, papers, "--route", "10.9.0.0/16")
    client.kill()
    server.kill()
    for host in (wire.client, wire.server):
        assert not host.has_device("rustvpn")
        assert "10.9.0.0/16" not in host.ip("route")


# ---- people


def test_the_words_of_the_seed_mean_the_same(wire, papers, tmp_path):
    """
    rust-vpn tcpclient -d seed0 ═════ rust-vpn tcpserver -d seed0
    """
    program = str(tmp_path / "rust-vpn")
    os.symlink(QANAT, program)
    shutil.copy(papers.ca, str(tmp_path / "ca.pem"))
    refused = subprocess.run([program, "server"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert refused.returncode == 2 and "not built yet" in refused.stderr
    server_words = ["tcpserver", "-d", "seed0", "--control-bind-address", "0.0.0.0", "--control-port", "1107"]
    server_words += ["--data-bind-address", "0.0.0.0", "--data-port", "1108", "--ca-bundle", papers.ca]
    server_words += ["--server-cert", papers.server, "--server-key", papers.server_key]
    server_words += ["--ipv4", "192.168.3.1/24", "--route", "10.0.0.0/8", "--stream-count", "5", "--mtu", "1500"]
    client_words = ["tcpclient", "--server", "192.0.2.1", "--control-port", "1107", "--data-port", "1108"]
    client_words += ["-d", "seed0", "--ca-bundle", papers.ca, "--client-cert", papers.client]
    client_words += ["--client-key", papers.client_key, "--ipv4", "192.168.3.2/24", "--route", "10.0.0.0/8"]
    Vpn(wire.server, server_words, "server", program=program).wait_log("running as server")
    Vpn(wire.client, client_words, "client", program=program).wait_lanes(LANES)
    assert wire.client.has_device("seed0")
    wire.client.ping("192.168.3.1")


def test_a_reload_takes_over_what_can_change_and_packets_go_on(wire, papers):
    """
    ping ══ client (SIGHUP) ═════ server
    """
    config = {"vpn": {"server": "192.0.2.1", "ipv4": "192.168.3.2/24", "clamp_mss": True},
              "auth": {"ca_cert_path": papers.ca, "cert_path": papers.client, "key_path": papers.client_key}}
    start_server(wire, papers)
    client = Vpn(wire.client, ["client"], "client", config=config).wait_log("running as client").wait_lanes(LANES)
    ping = pinging(wire.client, "192.168.3.1")
    ping.wait_log("icmp_seq=1 ")
    config["vpn"]["clamp_mss"] = False
    config["vpn"]["mtu"] = 1400
    client.write(config)
    client.process.send_signal(signal.SIGHUP)
    client.wait_log("vpn.clamp_mss has changed")
    client.wait_log("vpn.mtu has changed, but needs a restart")
    wait(lambda: ping.count("icmp_seq=") > 40, "more answers")
    assert not lost(ping)


def test_a_reload_reaches_data_connections_and_loses_nothing(wire, papers):
    """
    ping ══ client (SIGHUP: link.congestion, keep_alive_interval_ms) ═════ server      each lane is dialled again
    """
    config = {"vpn": {"server": "192.0.2.1", "ipv4": "192.168.3.2/24"},
              "link": {"congestion": "reno", "keep_alive_interval_ms": 40000},
              "auth": {"ca_cert_path": papers.ca, "cert_path": papers.client, "key_path": papers.client_key}}
    start_server(wire, papers)
    client = Vpn(wire.client, ["client"], "client", config=config).wait_log("running as client").wait_lanes(LANES)

    def sockets(pattern):
        return len(re.findall(pattern, wire.client.run("ss", "-Htonio", "state", "established", "dport = :1108")))

    wait(lambda: sockets(r"\breno\b") == LANES, "data connections with reno")
    ping = pinging(wire.client, "192.168.3.1")
    ping.wait_log("icmp_seq=1 ")
    config["link"] = {"congestion": "cubic", "keep_alive_interval_ms": 7000}
    client.write(config)
    client.process.send_signal(signal.SIGHUP)
    wait(lambda: sockets(r"\bcubic\b") == LANES and sockets(r"\breno\b") == 0, "cubic on all data connections, and no other")
    wait(lambda: sockets(r"keepalive,[1-7](\.\d+)?sec") + sockets(r"keepalive,\d{3}ms") == LANES, "the new keep-alive")
    wait(lambda: ping.count("icmp_seq=") > 40, "more answers")
    assert not lost(ping)
