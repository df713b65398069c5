"""`qanat psk`: two nodes, and one node with an independent implementation of the wire, in network namespaces."""

import os
import re
import shutil
import signal
import subprocess
import time

import pytest

import netns
from netns import Psk
from qanat import PATIENCE, QANAT, SANITIZED, run, wait

REASON = netns.why_not()
pytestmark = pytest.mark.skipif(REASON is not None, reason=REASON or "")

KEY = "a-Key/of+32=bytes,made:for;these!"
METHODS = ["chacha20-poly1305", "aes-256-gcm"]
SERVER = "192.0.2.1:20203"


@pytest.fixture
def wire(tmp_path):
    made = netns.Wire(str(tmp_path))
    yield made
    made.close()


def start_server(wire, *arguments, name="server", **options):
    return Psk(wire.server, ["server", "-k", KEY, *arguments], name, **options).wait_log("running as server")


def start_client(wire, *arguments, name="client", **options):
    return Psk(wire.client, ["client", "-k", KEY, "-s", SERVER, *arguments], name, **options)


def pair(wire, *arguments):
    server = start_server(wire, *arguments)
    return server, start_client(wire, *arguments).wait_up()


# The receiver answers with the digest of what it has got.
RECEIVER = """
import hashlib, socket, sys
port = int(sys.argv[2]) if len(sys.argv) > 2 else 7777
listener = socket.create_server((sys.argv[1], port), family=socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
print("listening", flush=True)
sock, _ = listener.accept()
digest = hashlib.sha256()
while True:
    data = sock.recv(1 << 16)
    if not data:
        break
    digest.update(data)
sock.sendall(digest.digest())
"""
SENDER = """
import hashlib, os, socket, sys
sock = socket.create_connection((sys.argv[1], int(sys.argv[3]) if len(sys.argv) > 3 else 7777), timeout=60)
data = os.urandom(1 << 20)
digest = hashlib.sha256()
for turn in range(int(sys.argv[2])):
    piece = data[turn:]
    digest.update(piece)
    sock.sendall(piece)
sock.shutdown(socket.SHUT_WR)
got = b""
while len(got) < 32:
    more = sock.recv(32)
    assert more, "closed"
    got += more
assert got == digest.digest(), "what arrived is not what was sent"
"""


def transfer(sender, receiver, address, name, mebibytes=24):
    there = receiver.start("/usr/bin/python3", "-c", RECEIVER, address, name="receiver-" + name)
    there.wait_log("listening")
    sender.run("/usr/bin/python3", "-c", SENDER, address, str(mebibytes), seconds=120)
    assert there.wait_end() == 0


# ---- two nodes


@pytest.mark.parametrize("method", METHODS)
def test_both_ciphers_carry_both_versions_of_ip_and_every_byte(wire, method):
    """
    client ══ ttun0 10.1.1.2, fc11::2 ──────── 10.1.1.1, fc11::1 ttun0 ══ server
    """
    server, client = pair(wire, "-m", method)
    wire.client.ping("10.1.1.1")
    wire.client.ping("fc11::1")
    wire.server.ping("10.1.1.2")
    transfer(wire.client, wire.server, "10.1.1.1", "up")
    transfer(wire.server, wire.client, "10.1.1.2", "down")
    transfer(wire.client, wire.server, "fc11::1", "up6")
    status = client.status()
    assert status["tunnel_established"] and status["command"] == "psk client"
    assert status["links"][0]["tls_cipher"] == method and status["links"][0]["peer_address"] == SERVER
    assert status["links"][0]["bytes_outward"] > 48 << 20
    assert client.metric('qanat_packets_total{direction="outward"}') > 30000
    assert client.metric('qanat_psk_handshakes_total{outcome="ok"}') == 1
    # Large units really are used, in both directions.
    assert client.metric('qanat_super_packets_total{direction="outward"}') > 100
    assert server.metric('qanat_super_packets_total{direction="inward"}') > 100
    client.stop()
    server.stop()
    assert not wire.client.has_device("ttun0") and not wire.server.has_device("ttun0")


@pytest.mark.parametrize("workers", ["2", "4"])
def test_several_queues_lose_and_mix_up_nothing(wire, workers):
    """
    client (N queues) ══ server (N queues): four transfers at once, both ways, while the keys are renewed every second
    """
    common = ["--workers", workers, "--pq", "-m", "aes-256-gcm"]
    server = start_server(wire, *common)
    client = start_client(wire, *common, "--key-rotation-interval", "1").wait_up()
    assert client.status()["workers"] == int(workers)
    receivers = []
    for number, (host, address) in enumerate([(wire.server, "10.1.1.1"), (wire.client, "10.1.1.2")] * 2):
        port = str(7000 + number)
        there = host.start("/usr/bin/python3", "-c", RECEIVER, address, port, name="receiver-" + port)
        there.wait_log("listening")
        other = wire.client if host is wire.server else wire.server
        sender = other.start("/usr/bin/python3", "-c", SENDER, address, "96", port, name="sender-" + port)
        receivers.append((there, sender))
    for there, sender in receivers:
        assert sender.wait_end(120) == 0, sender.log()
        assert there.wait_end() == 0
    wire.client.ping("fc11::1")
    wait(lambda: client.status()["links"][0]["epoch"] >= 1, "the keys to be renewed")
    assert client.count("connected with") == 1 and client.count("has ended") == 0
    # And sessions come and go.
    client.kill()
    server.wait_log("has ended")
    client = start_client(wire, *common, name="client-2").wait_up()
    transfer(wire.client, wire.server, "10.1.1.1", "after", 8)
    client.stop()
    server.stop()


def test_without_offload_one_packet_at_a_time(wire):
    """
    client (--offload false) ═════ server
    """
    server, client = pair(wire, "--offload", "false")
    transfer(wire.client, wire.server, "10.1.1.1", "up", 4)
    transfer(wire.server, wire.client, "10.1.1.2", "down", 4)
    assert client.metric('qanat_super_packets_total{direction="outward"}') == 0
    assert server.metric('qanat_super_packets_total{direction="inward"}') == 0


@pytest.mark.skipif(not shutil.which("iperf3"), reason="there is no iperf3")
def test_bulk_with_a_tiny_segment_size_goes_on(wire):
    """
    iperf3 -M 200 ══ client ═════ server      one read of the device becomes hundreds of packets, both ways
    """
    pair(wire)
    wire.server.start("iperf3", "-s", "--forceflush", name="iperf3").wait_log("listening")
    for direction in ([], ["-R"]):
        text = wire.client.run("iperf3", "-c", "10.1.1.1", "-M", "200", "-t", "3", "-f", "k", *direction)
        rates = [float(rate) for rate in re.findall(r"([\d.]+) Kbits/sec", text)]
        assert rates and rates[-1] > 1000, text
    wire.client.ping("10.1.1.1")


@pytest.mark.skipif(not shutil.which("iperf3"), reason="there is no iperf3")
def test_datagrams_arrive_in_super_packets(wire):
    """
    iperf3 -u ══ client ═════ server
    """
    server, client = pair(wire)
    wire.server.start("iperf3", "-s", "--forceflush", name="iperf3").wait_log("listening")
    text = wire.client.run("iperf3", "-u", "-b", "50M", "-l", "1200", "-c", "10.1.1.1", "-t", "2")
    assert re.search(r"receiver", text), text
    assert client.metric('qanat_packets_total{direction="outward"}') > 5000
    client.stop()


def test_routes_come_and_go_with_the_program(wire):
    """
    client ── route 198.51.100.0/24, 2001:db8:77::/64 ──► tunnel ──► server (198.51.100.7 and 2001:db8:77::7 on its lo)
    """
    server = start_server(wire)
    wire.server.ip("addr", "add", "198.51.100.7/32", "dev", "lo")
    wire.server.ip("addr", "add", "2001:db8:77::7/128", "dev", "lo")
    client = start_client(wire, "--route", "198.51.100.9/24", "--route", "2001:db8:77::9/64").wait_up()
    assert "198.51.100.0/24 dev ttun0" in wire.client.ip("route")
    wire.client.ping("198.51.100.7")
    wire.client.ping("2001:db8:77::7")
    client.stop()
    assert "198.51.100.0" not in wire.client.ip("route")
    client = start_client(wire, "--route", "198.51.100.0/24").wait_up()
    client.kill()
    wait(lambda: "198.51.100.0" not in wire.client.ip("route"), "the routes of a killed program to be gone")
    server.stop()


def test_a_route_of_somebody_else_is_left_alone(wire):
    """
    client ── route 198.51.100.0/24 exists already ──► refused, and still there
    """
    wire.client.ip("route", "add", "198.51.100.0/24", "via", "192.0.2.1")
    client = start_client(wire, "--route", "198.51.100.0/24")
    assert client.wait_end() == 1
    assert "exists already" in client.log()
    assert "via 192.0.2.1" in wire.client.ip("route", "show", "198.51.100.0/24")


@pytest.mark.parametrize("end", ["exit", "crash"])
def test_a_default_route_leaves_the_server_its_own_way(wire, end):
    """
    client ── default via 192.0.2.1 ──► server (198.51.100.1 on its lo), with a tunnel for everything else
    """
    wire.server.ip("addr", "add", "198.51.100.1/32", "dev", "lo")
    wire.server.ip("addr", "add", "203.0.113.7/32", "dev", "lo")
    wire.client.ip("route", "add", "default", "via", "192.0.2.1")
    server = start_server(wire)
    words = ["client", "-k", KEY, "-s", "198.51.100.1:20203", "--route", "0.0.0.0/0"]
    client = Psk(wire.client, words, "client").wait_up()
    assert "via 192.0.2.1 dev" in wire.client.ip("route", "get", "198.51.100.1")
    assert "dev ttun0" in wire.client.ip("route", "get", "203.0.113.7")
    wire.client.ping("203.0.113.7")
    wire.client.ping("10.1.1.1")
    server.kill()
    client.wait_log("has ended")
    start_server(wire, name="server-2")
    client.wait_log("connected with", times=2)
    wire.client.ping("203.0.113.7")
    if end == "crash":
        client.kill()
        assert "198.51.100.1 via" in wire.client.ip("route")
        client = Psk(wire.client, words, "client-2").wait_up()
        wire.client.ping("203.0.113.7")
    client.stop()
    routes = wire.client.ip("route")
    assert "198.51.100.1" not in routes and "ttun0" not in routes and "default via 192.0.2.1" in routes


def test_a_route_that_would_catch_the_only_way_to_the_server_is_refused(wire):
    """
    client --route 0.0.0.0/0 ── no way to 198.51.100.1, or a name that nobody knows ──► status 1 and the reason
    """
    for server, reason in (("198.51.100.1:20203", "would catch the way to the server"),
                           ("no-such-host.invalid:20203", "cannot be resolved now")):
        words = ["client", "-k", KEY, "-s", server, "--route", "0.0.0.0/0"]
        client = Psk(wire.client, words, "client-" + server[:2])
        assert client.wait_end(60) == 1 and reason in client.log()
    assert "ttun0" not in wire.client.ip("route")


def test_a_reload_brings_and_takes_a_default_route(wire):
    """
    SIGHUP with 0.0.0.0/0, then another server and a route that is taken (refused), then without routes
    """
    for address in ("198.51.100.1/32", "203.0.113.7/32"):
        wire.server.ip("addr", "add", address, "dev", "lo")
    wire.client.ip("route", "add", "default", "via", "192.0.2.1")
    wire.client.ip("route", "add", "10.77.0.0/16", "via", "192.0.2.1")
    server = start_server(wire)
    config = {"psk": {"key": KEY, "server": "198.51.100.1:20203"}}
    client = Psk(wire.client, ["client"], "client", config=config).wait_up()

    def reload(psk, outcome, times=1):
        client.write({"psk": {**config["psk"], **psk}})
        client.process.send_signal(signal.SIGHUP)
        wait(lambda: client.metric('qanat_reloads_total{outcome="%s"}' % outcome) == times, "a reload: " + outcome)

    reload({"routes": ["0.0.0.0/0"]}, "ok")
    wire.client.ping("203.0.113.7")
    assert "dev ttun0" in wire.client.ip("route", "get", "203.0.113.7")
    reload({"routes": ["0.0.0.0/0", "10.77.0.0/16"], "server": "192.0.2.77:20203"}, "refused")
    server.kill()
    client.wait_log("has ended")
    start_server(wire, name="server-2")
    client.wait_log("connected with 198.51.100.1:20203", times=2)
    wire.client.ping("203.0.113.7")
    reload({"routes": []}, "ok", 2)
    assert "dev ttun0" not in wire.client.ip("route", "get", "203.0.113.7")
    client.stop()
    assert "198.51.100.1" not in wire.client.ip("route")


def test_addresses_names_and_sizes_as_asked_for(wire):
    """
    client 10.9.0.2 ── peer 10.9.0.1 ──► server
    """
    start_server(wire, "--ipv4", "10.9.0.1/32", "--peer-ipv4", "10.9.0.2", "--ipv6", "none", "--device", "left%d",
                 "-mtu", "1400")
    start_client(wire, "--ipv4", "10.9.0.2/32", "--peer-ipv4", "10.9.0.1", "--ipv6", "none", "--device", "right",
                 "-mtu=1400").wait_up()
    wire.client.ping("10.9.0.1")
    assert "mtu 1400" in wire.client.ip("link", "show", "right")
    assert "10.9.0.1 peer 10.9.0.2" in wire.server.ip("addr", "show", "left0")
    assert "fc11" not in wire.server.ip("addr", "show", "left0")


def test_packets_too_large_for_a_frame_are_answered(wire):
    """
    ip link set ttun0 mtu 65535; ping of 65 500 bytes ──► "packet too big, 65519"
    """
    _, client = pair(wire, "-mtu", "65519")
    wire.client.ip("link", "set", "ttun0", "mtu", "65535")
    wire.client.pings_large("10.1.1.1", 65500)
    wait(lambda: client.metric('qanat_packets_dropped_total{reason="too_big"}') >= 1, "the large one to be refused")
    assert re.search(r"mtu 65519", wire.client.ip("route", "get", "10.1.1.1"))
    wire.client.ping("10.1.1.1")


def test_the_next_free_name_is_taken(wire):
    """
    two servers on one host: ttun0 and ttun1
    """
    start_server(wire)
    start_server(wire, "-l", "192.0.2.1:20204", "--ipv4", "10.2.2.1/30", "--ipv6", "none", name="second")
    assert wire.server.has_device("ttun0") and wire.server.has_device("ttun1")


# ---- the other implementation


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("manner", [[], ["--piece", "1"], ["--glue"]], ids=["frames", "bytes", "glued"])
def test_another_implementation_as_client(wire, method, manner):
    """
    ttun_peer.py ── frames one by one, byte by byte, all in one ──► server
    """
    server = start_server(wire, "-m", method)
    peer = wire.client.peer("client", SERVER, "--key", KEY, "--method", method, "--pings", "20", *manner, name="peer")
    peer.wait_log("pinged")
    assert peer.wait_end() == 0
    server.wait_log("session with .* has ended: the peer has closed")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("manner", [[], ["--piece", "1"], ["--glue"]], ids=["frames", "bytes", "glued"])
def test_another_implementation_as_server(wire, method, manner):
    """
    ttun_peer.py ◄── client
    """
    peer = wire.server.peer("server", SERVER, "--key", KEY, "--method", method, "--pings", "20", *manner, name="peer")
    peer.wait_log("listening")
    client = start_client(wire, "-m", method)
    peer.wait_log("pinged")
    assert peer.wait_end() == 0
    client.wait_log("dialling again")


def test_frames_without_an_ip_packet_end_no_session(wire):
    """
    ttun_peer.py ── nothing, garbage, one byte, 3 KB of noise, then echo requests ──► server answers
    """
    server = start_server(wire)
    peer = wire.client.peer("client", SERVER, "--key", KEY, "--odd", "--pings", "5", name="peer").wait_log("pinged")
    assert peer.wait_end() == 0
    assert server.metric('qanat_packets_dropped_total{reason="malformed"}') >= 3


def test_a_forged_frame_ends_the_session_at_once(wire):
    """
    ttun_peer.py ── one flipped bit ──► server closes, and takes the next
    """
    server = start_server(wire)
    peer = wire.client.peer("client", SERVER, "--key", KEY, "--forge", name="peer").wait_log("closed")
    assert peer.wait_end() == 0
    server.wait_log("damaged or forged")
    start_client(wire).wait_up()
    wire.client.ping("10.1.1.1")


# ---- strangers


@pytest.mark.parametrize("fault", ["key", "cipher"])
def test_another_key_or_cipher_is_refused_and_named(wire, fault):
    """
    client (wrong key or cipher) ──╳ server, again and again; then the right one is let in
    """
    server = start_server(wire)
    arguments = ["client", "-k", "another-Key-of-many-bytes:0123" if fault == "key" else KEY, "-s", SERVER]
    arguments += ["-m", "aes-256-gcm" if fault == "cipher" else "chacha20-poly1305", "--ipv6", "none"]
    wrong = Psk(wire.client, arguments, "wrong")
    server.wait_log("another key or another cipher")
    wrong.wait_log("key or the cipher is not its own")
    wrong.wait_log("dialling again")
    assert server.metric('qanat_psk_handshakes_total{outcome="refused"}') >= 1
    assert not wrong.status()["tunnel_established"] and wrong.get("/health")[0] == 503
    wrong.stop()
    start_client(wire).wait_up()
    wire.client.ping("10.1.1.1")


def test_idle_strangers_do_not_keep_the_client_out(wire):
    """
    40 connections that send nothing or part of a nonce ──► server ◄── the client, which is let in at once
    """
    server = start_server(wire)
    idle = wire.client.peer("idle", SERVER, "--count", "40", name="idle", stdin=subprocess.PIPE).wait_log("held")
    began = time.monotonic()
    start_client(wire).wait_up()
    assert time.monotonic() - began < 5 * PATIENCE
    wire.client.ping("10.1.1.1")
    idle.process.stdin.close()
    assert idle.wait_end() == 0
    server.wait_log("closed the connection during the handshake")


SLOW = """
import socket, sys
sock = socket.create_connection(("2001:db8::1", 20203), timeout=60)
sock.sendall(bytes(8))
print("half", flush=True)
sys.stdin.readline()
sock.sendall(bytes(8))
assert len(sock.recv(16)) == 16
print("answered", flush=True)
"""


def test_strangers_without_number_push_out_each_other(wire):
    """
    200 idle connections ──► server keeps 16 of one source; a slow one from elsewhere has its time; the client gets in
    """
    server = start_server(wire)
    slow = wire.client.start("/usr/bin/python3", "-c", SLOW, name="slow", stdin=subprocess.PIPE).wait_log("half")
    idle = wire.client.peer("idle", SERVER, "--count", "200", name="idle", stdin=subprocess.PIPE).wait_log("held")
    wait(lambda: server.metric('qanat_psk_handshakes_total{outcome="crowded_out"}') == 184, "some to be closed")
    slow.process.stdin.write(b"\n")
    slow.process.stdin.close()
    slow.wait_log("answered")
    start_client(wire).wait_up()
    wire.client.ping("10.1.1.1")
    idle.process.stdin.close()


def test_a_handshake_has_one_deadline(wire):
    """
    a stranger that sends nothing ──► closed after handshake_timeout_ms
    """
    server = Psk(wire.server, ["server"], "server", config={"psk": {"key": KEY, "handshake_timeout_ms": 500}})
    server.wait_log("running as server")
    idle = wire.client.peer("idle", SERVER, "--count", "3", name="idle", stdin=subprocess.PIPE).wait_log("held")
    wait(lambda: server.metric('qanat_psk_handshakes_total{outcome="timeout"}') == 3, "the deadline to pass")
    idle.process.stdin.close()


def test_garbage_at_the_door(wire):
    """
    5 KB of noise ──► server: refused, and the client is let in
    """
    server = start_server(wire)
    noise = "import socket, os; s = socket.create_connection(('192.0.2.1', 20203)); s.sendall(os.urandom(5000))"
    for _ in range(3):
        try:
            wire.client.run("/usr/bin/python3", "-c", noise + "; s.recv(99); s.recv(99)")
        except AssertionError:
            pass  # a reset may come before the answer is read
    wait(lambda: server.metric('qanat_psk_handshakes_total{outcome="refused"}') == 3, "the noise to be refused")
    start_client(wire).wait_up()
    wire.client.ping("10.1.1.1")


def test_a_stranger_writes_neither_the_status_nor_a_long_log(wire):
    """
    30 failed handshakes at once ──► some lines and a sum, and a status that says nothing of them
    """
    server = start_server(wire)
    start_client(wire).wait_up()
    noise = "import socket\nfor _ in range(30):\n s = socket.create_connection(('192.0.2.1', 20203))\n"
    noise += " s.sendall(bytes(99))\n s.recv(99)"
    wire.client.run("/usr/bin/python3", "-c", noise)
    wait(lambda: server.metric('qanat_psk_handshakes_total{outcome="refused"}') == 30, "all of them to be refused")
    assert 1 <= server.count("another key or another cipher") < 15
    status = server.status()
    assert status["message"] == "Tunnel is up" and "another key" not in str(status)


# Takes the place of the server once, and plays what it heard to the real one twice.
REPLAY = """
import socket
listener = socket.create_server(("192.0.2.2", 20203))
print("listening", flush=True)
sock, _ = listener.accept()
hello = b""
while len(hello) < 1288:
    hello += sock.recv(4096)
for turn in range(2):
    server = socket.create_connection(("192.0.2.1", 20203), timeout=60)
    server.sendall(hello)
    print("answer %d" % len(server.recv(16, socket.MSG_WAITALL)), flush=True)
"""


def test_a_recorded_hello_costs_one_key_exchange(wire):
    """
    client --pq ──► recorder ──► server --pq: answered once, and never again
    """
    server = start_server(wire, "--pq")
    recorder = wire.client.start("/usr/bin/python3", "-c", REPLAY, name="recorder").wait_log("listening")
    Psk(wire.client, ["client", "-k", KEY, "-s", "192.0.2.2:20203", "--pq"], "client")
    recorder.wait_log("answer 16")
    recorder.wait_log("answer 0")
    assert server.metric('qanat_psk_handshakes_total{outcome="repeated"}') == 1


# ---- what may come in


def test_sources_that_are_not_behind_the_peer_are_dropped_when_asked_for(wire):
    """
    server sends from 203.0.113.9 and 198.51.100.7 ──► client --check-sources with a route to the second only
    """
    start_server(wire)
    for address in ("203.0.113.9", "198.51.100.7"):
        wire.server.ip("addr", "add", address + "/32", "dev", "lo")
    client = start_client(wire, "--check-sources", "--route", "198.51.100.0/24").wait_up()
    wire.client.ip("route", "add", "203.0.113.9", "dev", "ttun0")  # so that its own kernel would take and answer them
    wire.client.ping("10.1.1.1")
    wire.client.ping("fc11::1")
    wire.server.run("ping", "-n", "-q", "-c", "2", "-W", "5", "-I", "198.51.100.7", "10.1.1.2")
    assert client.metric('qanat_packets_dropped_total{reason="source"}') == 0
    wire.server.pings_from("203.0.113.9", "10.1.1.2")
    wait(lambda: client.metric('qanat_packets_dropped_total{reason="source"}') >= 1, "the packet to be dropped")
    wire.client.ping("10.1.1.1")


# ---- loss and return


def test_either_side_is_killed_and_returns(wire):
    """
    client (kill -9), client again; server (kill -9), server again: no hand is needed
    """
    server, client = pair(wire)
    client.kill()
    server.wait_log("has ended")
    client = start_client(wire, name="client-2").wait_up()
    wire.client.ping("10.1.1.1")
    server.kill()
    client.wait_log("has ended")
    server = start_server(wire, name="server-2")
    client.wait_log("connected with", times=2)
    wire.client.ping("10.1.1.1")
    transfer(wire.client, wire.server, "10.1.1.1", "after", 2)


def test_a_returning_client_takes_the_place_of_its_dead_self(wire):
    """
    ttun_peer.py (up, silent) ══ server ◄── client with the key: in at once, the silent one is closed
    """
    server = start_server(wire)
    peer = wire.client.peer("client", SERVER, "--key", KEY, "--hold", name="peer").wait_log("up")
    start_client(wire).wait_up()
    server.wait_log("in place of the earlier session")
    peer.wait_log("closed")
    wire.client.ping("10.1.1.1")


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_a_peer_behind_a_cut_wire_is_found_dead_in_seconds(wire, busy):
    """
    client ══ ╳ ══ server: both sides notice; the wire heals, the tunnel returns
    """
    config = {"psk": {"key": KEY, "peer_timeout_ms": 2000, "max_reconnect_delay_ms": 1000}}
    server = Psk(wire.server, ["server"], "server", config={"psk": {"key": KEY, "peer_timeout_ms": 2000}})
    server.wait_log("running as server")
    client = Psk(wire.client, ["client", "-s", SERVER], "client", config=config).wait_up()
    wire.client.ping("10.1.1.1")
    wire.server.ip("link", "set", wire.server_end, "down")
    if busy:
        wire.client.start("ping", "-q", "-i", "0.2", "10.1.1.1", name="noise")
    began = time.monotonic()
    server.wait_log("has ended: ", 15)
    client.wait_log("has ended: ", 15)
    assert time.monotonic() - began < 12 * PATIENCE
    wire.server.ip("link", "set", wire.server_end, "up")
    client.wait_log("connected with", 20, times=2)
    wait(lambda: wire.client.pings("10.1.1.1"), "the tunnel to carry again")


def test_a_client_waits_for_a_server_that_starts_later(wire):
    """
    client ──► (nothing), with growing pauses ; server starts
    """
    client = start_client(wire)
    client.wait_log("dialling again in", times=2)
    pauses = [int(text) for text in re.findall(r"dialling again in (\d+) ms", client.log())]
    assert 1000 <= pauses[0] < 1200 and 2000 <= pauses[1] < 2400
    assert client.status()["reconnection_attempts"] >= 2
    start_server(wire)
    client.wait_up()


def test_the_device_is_taken_away(wire):
    """
    ip link del ttun0 ──► the program says so and ends with status 1
    """
    server = start_server(wire)
    wire.server.ip("link", "del", "ttun0")
    assert server.wait_end() == 1
    assert "is gone" in server.log()


# ---- keys


def test_the_key_is_wiped_from_the_command_line_and_shown_nowhere(wire):
    """
    -k KEY ──► /proc/PID/cmdline without it, a warning, and no log, status or metric with it
    """
    server, client = pair(wire)
    for process in (server, client):
        with open("/proc/%d/cmdline" % process.process.pid, "rb") as file:
            assert KEY.encode() not in file.read()
        process.wait_log("the key was on the command line")
        for text in (process.log(), process.get("/status")[1], process.get("/metrics")[1], process.get("/health")[1]):
            assert KEY not in text


def test_keys_from_file_environment_and_descriptor(wire, tmp_path):
    """
    server --key-file FILE ◄── client with QANAT_PSK_KEY, then with --key-fd N
    """
    path = tmp_path / "tunnel.key"
    path.write_text(KEY + "\n")
    path.chmod(0o600)
    server = Psk(wire.server, ["server", "--key-file", str(path)], "server").wait_log("running as server")
    assert "command line" not in server.log() and "weak" not in server.log()
    client = Psk(wire.client, ["client", "-s", SERVER], "client", environment={"QANAT_PSK_KEY": KEY}).wait_up()
    client.stop()
    reader, writer = os.pipe()
    os.write(writer, KEY.encode())
    os.close(writer)
    Psk(wire.client, ["client", "-s", SERVER, "--key-fd", str(reader)], "client-2", pass_fds=(reader,)).wait_up()
    os.close(reader)
    wire.client.ping("10.1.1.1")


def test_keys_that_will_not_do(tmp_path):
    """
    nothing, two at once, a file that others may read, an empty one ──► status 2 and the reason ; a weak one ──► named
    """

    def refused(*arguments):
        done = subprocess.run([QANAT, "psk", "server", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=20 * PATIENCE)
        return done.returncode, done.stdout.decode()

    path = tmp_path / "key"
    assert refused()[0] == 2 and "missing -k <psk>" in refused()[1]
    assert refused("-k", "")[0] == 2
    status, text = refused("-k", "x", "--key-file", str(path))
    assert status == 2 and "one way only" in text
    status, text = refused("--key-file", str(path))
    assert status == 2 and "cannot be opened" in text
    path.write_text(KEY)
    path.chmod(0o644)
    status, text = refused("--key-file", str(path))
    assert status == 2 and "chmod 600" in text and KEY not in text
    path.chmod(0o600)
    path.write_text("\n")
    status, text = refused("--key-file", str(path))
    assert status == 2 and "empty" in text


def test_genkey_makes_keys():
    """
    qanat psk genkey ──► 44 characters, another time others
    """
    keys = {run([QANAT, "psk", "genkey"]) for _ in range(5)}
    assert len(keys) == 5 and all(re.fullmatch(r"[A-Za-z0-9+/]{43}=\n", key) for key in keys)


# ---- the hybrid exchange


@pytest.mark.parametrize("method", METHODS)
def test_keys_are_renewed_under_load_without_a_loss(wire, method):
    """
    client --pq, new keys every second ══ server --pq: both directions full, every byte arrives
    """
    server = start_server(wire, "--pq", "-m", method)
    client = start_client(wire, "-pq=true", "-m", method, "--key-rotation-interval", "1").wait_up()
    for process in (server, client):
        process.wait_log("keys of X25519 and ML-KEM-768")
    turns = 0
    while client.status()["links"][0]["epoch"] < 4:
        turns += 1
        transfer(wire.client, wire.server, "10.1.1.1", "up%d" % turns, 32)
        transfer(wire.server, wire.client, "10.1.1.2", "down%d" % turns, 32)
        assert turns < 200
    assert server.status()["links"][0]["epoch"] >= 3
    assert client.count("connected with") == 1 and client.status()["links"][0]["kem_legs"] == "X25519+ML-KEM-768"


@pytest.mark.parametrize("without", ["server", "client"])
def test_a_peer_without_pq_is_refused_never_served_less(wire, without):
    """
    client --pq ──╳ server, or client ──╳ server --pq
    """
    server = start_server(wire, *([] if without == "server" else ["--pq"]))
    client = start_client(wire, *([] if without == "client" else ["--pq"]))
    (client if without == "server" else server).wait_log("without --pq")
    client.wait_log("dialling again in", times=2)
    assert client.count("connected with") == 0 and server.count("connected with") == 0
    if without == "client":
        peer = wire.client.peer("client", SERVER, "--key", KEY, name="peer").wait_log("refused")
        assert peer.wait_end() == 3


def test_pq_needs_a_long_key():
    """
    --pq with 31 bytes ──► status 2
    """
    done = subprocess.run([QANAT, "psk", "server", "--pq", "-k", "x" * 31], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=20 * PATIENCE)
    assert done.returncode == 2 and b"at least 32 bytes" in done.stdout


# ---- as ttun, reload, multipath


def test_started_as_ttun_it_takes_that_command_line(wire, tmp_path):
    """
    ttun server -k=K -m aes-256-gcm -mtu 1400 -mptcp=false ◄── ttun client --k K --s HOST:PORT …
    """
    program = str(tmp_path / "ttun")
    os.symlink(QANAT, program)
    words = ["server", "-k=" + KEY, "-m", "aes-256-gcm", "-mtu", "1400", "-mptcp=false", "-s", "unused:1"]
    server = Psk(wire.server, words, "server", program=program)
    server.wait_log("running as server")
    server.wait_log("--server is for the other side")
    words = ["client", "--k", KEY, "--s=" + SERVER, "--m=aes-256-gcm", "--mtu=1400", "-mptcp"]
    Psk(wire.client, words, "client", program=program).wait_up()
    wire.client.ping("10.1.1.1")
    assert "mtu 1400" in wire.client.ip("link", "show", "ttun0")
    for words in ([], ["sing"], ["server"], ["client", "-k", "x"], ["server", "-k", "x", "-q"]):
        done = subprocess.run([program, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=20 * PATIENCE)
        assert done.returncode == 2 and done.stderr, words


def test_multipath_when_both_ask_for_it(wire):
    """
    client -mptcp ══ server -mptcp: "over mptcp" on both ends, where the kernel has it
    """
    if not os.path.exists("/proc/sys/net/mptcp/enabled"):
        pytest.skip("no Multipath TCP in this kernel")
    server, client = pair(wire, "-mptcp")
    server.wait_log("over mptcp")
    client.wait_log("over mptcp")
    transfer(wire.client, wire.server, "10.1.1.1", "up", 4)


def test_a_reload_changes_routes_and_key_while_packets_flow(wire, tmp_path):
    """
    SIGHUP: routes come and go, a new key is for the next handshake, what is wrong changes nothing
    """
    config = {"psk": {"key": KEY, "server": SERVER, "routes": ["198.51.100.0/24"]}}
    server = start_server(wire)
    client = Psk(wire.client, ["client"], "client", config=config).wait_up()

    def reload(process, changed, outcome):
        process.write(changed)
        process.process.send_signal(signal.SIGHUP)
        wait(lambda: process.metric('qanat_reloads_total{outcome="%s"}' % outcome) > 0, "a reload: " + outcome)

    reload(client, {"psk": {**config["psk"], "routes": ["203.0.113.0/24"], "mtu": 1400}}, "ok")
    routes = wire.client.ip("route")
    assert "203.0.113.0/24" in routes and "198.51.100.0" not in routes
    client.wait_log("psk.mtu has changed, but needs a restart")
    reload(client, {"psk": {**config["psk"], "routes": ["nonsense"]}}, "refused")
    assert "203.0.113.0/24" in wire.client.ip("route")
    wire.client.ping("10.1.1.1")
    assert client.status()["tunnel_established"] and client.count("connected with") == 1
    client.write({"psk": {**config["psk"], "key": "another-key.Of.many+bytes"}})
    client.process.send_signal(signal.SIGHUP)
    client.wait_log("the key has changed")
    wire.client.ping("10.1.1.1")
    server.kill()
    server = start_server(wire, name="server-2")
    server.wait_log("another key or another cipher")


def test_a_reload_of_the_key_takes_no_pipe_and_no_second_descriptor(wire, tmp_path):
    """
    SIGHUP with key_file = a pipe nobody writes to, then key_fd = "0": refused, and packets flow on
    """
    pipe = tmp_path / "pipe"
    os.mkfifo(str(pipe), 0o600)
    start_server(wire)
    client = Psk(wire.client, ["client"], "client", config={"psk": {"key": KEY, "server": SERVER}}).wait_up()
    cases = [({"key_file": str(pipe)}, "is not a file"), ({"key_fd": "0"}, "is read once")]
    for number, (key, reason) in enumerate(cases):
        client.write({"psk": {"server": SERVER, **key}})
        client.process.send_signal(signal.SIGHUP)
        refused = 'qanat_reloads_total{outcome="refused"}'
        wait(lambda: client.metric(refused) == number + 1, "the reload to be refused")
        client.wait_log(reason)
    wire.client.ping("10.1.1.1")


def test_the_control_socket_answers(wire, tmp_path):
    """
    qanat status, reload and drain --control-socket ──► psk server
    """
    path = str(tmp_path / "c.sock")
    config = {"psk": {"key": KEY}, "control": {"socket": path}}
    server = Psk(wire.server, ["server"], "server", config=config).wait_log("running as server")
    start_client(wire).wait_up()
    text = run([QANAT, "status", "--control-socket", path])
    assert "psk server" in text and "up, server" in text and KEY not in text
    assert "reloaded" in run([QANAT, "reload", "--control-socket", path])
    server.write({"psk": {"key": KEY, "mtu": 1}, "control": {"socket": path}})
    done = subprocess.run([QANAT, "reload", "--control-socket", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 1 and b"psk.mtu" in done.stdout
    wire.client.ping("10.1.1.1")
    run([QANAT, "drain", "--control-socket", path])
    assert server.wait_end() == 0 and not os.path.exists(path)


@pytest.mark.skipif(SANITIZED, reason="memory is judged without sanitizers")
def test_memory_stays_small(wire):
    """
    client ══ server after 64 MiB each way: less than 40 MiB each
    """
    server, client = pair(wire)
    transfer(wire.client, wire.server, "10.1.1.1", "up", 64)
    transfer(wire.server, wire.client, "10.1.1.2", "down", 64)
    for process in (server, client):
        with open("/proc/%d/status" % process.process.pid) as file:
            resident = int(re.search(r"VmRSS:\s+(\d+) kB", file.read()).group(1))
        assert resident < 40 * 1024
