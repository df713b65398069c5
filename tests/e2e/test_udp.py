"""What UDP clients and services notice of the tunnel: datagrams arrive as they were sent, or not at all."""

import os
import re
import select
import socket
import subprocess
import time

import pytest

import peers
from peers import HELPERS, Helper
from qanat import PATIENCE, SANITIZED, free_port, wait

SIZES = [0, 1, 1200, 9000, 65507]


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
            return True
    except OSError:
        return False


class Client:
    """A UDP socket that asks until it is answered, as UDP clients do; what it asks tells the answers apart."""

    def __init__(self, address, family=socket.AF_INET):
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.socket.connect(address)

    def send(self, content):
        try:
            self.socket.send(content)
        except ConnectionRefusedError:  # the report of an earlier one
            pass

    def answer(self, seconds=0.5):
        if not select.select([self.socket], [], [], seconds)[0]:
            return None
        try:
            return self.socket.recv(65536)
        except ConnectionRefusedError:
            return None

    def ask(self, content, seconds=20.0, reason="an answer"):
        def once():
            self.send(content)
            while True:
                got = self.answer()
                if got is None:
                    return False
                if got == content:
                    return True

        wait(once, "%s to %d bytes" % (reason, len(content)), seconds)

    def drop_answers(self):
        while self.answer(0) is not None:
            pass

    def close(self):
        self.socket.close()


def service(target, name="service", protocol="udp", port=None, **options):
    return {
        "name": name,
        "port": port or free_port(),
        "target_ip": target[0],
        "target_port": target[1],
        "protocol": protocol,
        **options,
    }


def udp_pair(world, target, service_options=None, source_options=None, dest_options=None, protocol="udp", udp=None):
    """client -> (returned address) source ==== dest -> target; both nodes are ready."""
    sections = {"udp": udp} if udp else {}
    offered = service(target, protocol=protocol, **(service_options or {}))
    dest = world.dest([offered], **sections, **(dest_options or {}))
    near = ("127.0.0.1", free_port())
    forward = {"listen": "%s:%d" % near, "service": "service", "protocol": protocol}
    options = dict(source_options or {})
    source_section = {"forwards": [forward], **options.pop("source", {})}
    node = world.source(dest, source=source_section, **sections, **options)
    return near, node, dest


def udp_sockets(node):
    """How many UDP sockets the process has."""
    with open("/proc/net/udp") as file:
        inodes = {"socket:[%s]" % line.split()[9] for line in file.readlines()[1:]}
    found = 0
    for name in os.listdir("/proc/%d/fd" % node.pid):
        try:
            found += os.readlink("/proc/%d/fd/%s" % (node.pid, name)) in inodes
        except OSError:  # closed meanwhile
            pass
    return found


def dropped(node, reason):
    return node.metric("qanat_datagrams_dropped_total", reason=reason)


def content_of(size, salt):
    return bytes((i * 131 + salt * 17 + (i >> 8)) & 0xFF for i in range(size))


def test_datagrams_of_every_size_keep_their_boundaries_both_ways(world):
    """
    client ── 0, 1, 1200, 9000, 65507 ──► source ══► dest ──► udp     echo
           ◄─────────────────────────────        ◄══      ◄──         byte for byte
    """
    far = world.add(Helper("udp", "serve", "127.0.0.1:0"))
    near, source, dest = udp_pair(world, far.address)
    client = world.add(Client(near))
    for salt, size in enumerate(SIZES + SIZES[::-1]):
        client.ask(content_of(size, salt))
    client.drop_answers()
    # Side by side in one unit: nothing is glued together, nothing is cut.
    sent = [content_of(size, size) for size in (1, 0, 700, 1, 1200, 3)]

    def all_at_once():
        client.drop_answers()
        for one in sent:
            client.send(one)
        return [client.answer() for _ in sent] == sent

    wait(all_at_once, "a burst of different sizes to come back in order")
    assert source.status()["associations_open"] == 1
    assert dest.metric("qanat_associations_total", outcome="opened") == 1
    assert source.metric("qanat_datagrams_total", direction="outward") >= 2 * len(SIZES)
    assert source.metric("qanat_datagrams_total", direction="inward") >= 2 * len(SIZES)
    assert dest.metric("qanat_datagrams_total", direction="outward") >= 2 * len(SIZES)


def test_answers_come_from_the_address_that_was_asked(world):
    """
    client ── 127.0.0.2, 127.0.0.1 ──► source on 0.0.0.0 ══► dest ──► udp   a connected client hears only that
    """
    far = world.add(Helper("udp", "serve", "127.0.0.1:0"))
    dest = world.dest([service(far.address)])
    port = free_port()
    forward = {"listen": "0.0.0.0:%d" % port, "service": "service", "protocol": "udp"}
    world.source(dest, source={"forwards": [forward]})
    for ip in ("127.0.0.2", "127.0.0.1"):
        world.add(Client((ip, port))).ask(content_of(100, 1))


@pytest.mark.threads
@pytest.mark.parametrize("workers", [1, 2])
def test_many_clients_at_once_are_never_mixed(world, workers):
    """
    100 clients ══► source ══► dest ──► udp     each datagram carries client and sequence; answers are checked for both
                    1 or 2 workers
    """
    far = world.add(Helper("udp", "serve", "127.0.0.1:0"))
    node = {"node": {"workers": workers, "drain_timeout_seconds": 2}}
    near, source, dest = udp_pair(world, far.address, source_options=node, dest_options=node)
    count = 50 if SANITIZED else 300
    code, result = peers.call_helper(
        "udp", "many", "%s:%d" % near, "--clients", 100, "--count", count, "--size", 300, "--window", 2
    )
    assert code == 0 and result["wrong"] == 0, result
    # On an idle machine nothing is lost; a busy one may drop, but then says so.
    assert result["right"] >= result["sent"] * 0.5, result
    assert source.status()["associations_open"] == 100
    assert source.metric("qanat_associations_total", outcome="opened") == 100
    if result["lost"] == 0:
        assert source.metric("qanat_datagrams_total", direction="inward") == result["right"]
        assert source.link()["datagrams_inward"] == dest.link()["datagrams_outward"] == result["right"]
    for node in source, dest:
        link = node.link()
        assert link["datagrams_outward"] == node.metric("qanat_datagrams_total", direction="outward")
        assert link["datagrams_inward"] == node.metric("qanat_datagrams_total", direction="inward")


def test_both_carries_tcp_and_udp_on_one_port(world):
    """
    tcp client ══► source:P ══► dest ══► tcp echo :Q
    udp client ──► source:P ══► dest ──► udp echo :Q
    """
    tcp = world.add(Helper("echo", "serve", "127.0.0.1:0"))
    far = world.add(Helper("udp", "serve", "127.0.0.1:%d" % tcp.address[1]))
    assert far.address == tcp.address
    near, _, _ = udp_pair(world, far.address, protocol="both")
    client = world.add(Client(near))
    client.ask(b"over udp")
    with peers.dial(near) as stream:
        stream.sendall(b"over tcp")
        assert peers.read_exactly(stream, 8) == b"over tcp"
    client.ask(b"over udp again")


def test_a_port_may_be_a_tcp_and_a_udp_service_under_two_names(world):
    """
    tcp client ══► source:P ══► dest, port N tcp "web"  ══► echo
    udp client ──► source:P ══► dest, port N udp "game" ──► udp
    """
    tcp = world.add(Helper("echo", "serve", "127.0.0.1:0"))
    far = world.add(Helper("udp", "serve", "127.0.0.1:0"))
    port = free_port()
    dest = world.dest(
        [service(tcp.address, "web", "tcp", port=port), service(far.address, "game", "udp", port=port)],
    )
    world.source(dest, source={"exposed_ports": [{"port": port, "protocol": "both"}]})
    world.add(Client(("127.0.0.1", port))).ask(b"a game")
    with peers.dial(("127.0.0.1", port)) as stream:
        stream.sendall(b"a page")
        assert peers.read_exactly(stream, 6) == b"a page"


def test_an_association_that_is_idle_ends_on_both_nodes(world):
    """
    client ── 1 ──► source ══► dest ──► udp      then nothing for 1 s: both let go, and the next datagram begins anew
    """
    far = world.add(Helper("udp", "serve", "127.0.0.1:0"))
    near, source, dest = udp_pair(world, far.address, udp={"idle_timeout_seconds": 1})
    client = world.add(Client(near))
    client.ask(b"first")
    assert udp_sockets(dest) == 1
    assert source.status()["associations_open"] == 1
    for node in (source, dest):
        node.wait(lambda: node.status()["associations_open"] == 0, "the association to end")
    idle = sum(n.metric("qanat_associations_total", outcome="idle") for n in (source, dest))
    assert idle >= 1
    assert all(n.metric("qanat_associations_total", outcome="broken") == 0 for n in (source, dest))
    dest.wait(lambda: udp_sockets(dest) == 0, "the target's socket to be closed")
    client.ask(b"second")
    assert source.metric("qanat_associations_total", outcome="opened") == 2


def test_an_association_that_moves_one_way_only_is_not_idle(world):
    """
    client ── now and then ──► source ══► dest ──► a sink that never answers      stays one association
    """
    sink = world.add(peers_socket())
    near, source, dest = udp_pair(world, sink.getsockname(), udp={"idle_timeout_seconds": 1})
    client = world.add(Client(near))
    until = time.monotonic() + 3
    while time.monotonic() < until:  # longer than the idle time: this is the traffic, not a wait
        client.send(b"ping")
        select.select([], [], [], 0.1)
    assert source.metric("qanat_associations_total", outcome="opened") == 1
    assert source.metric("qanat_associations_total", outcome="idle") == 0
    assert dest.status()["associations_open"] == 1


def peers_socket():
    sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sink.bind(("127.0.0.1", 0))
    return sink


def test_a_client_has_no_more_associations_than_it_may(world):
    """
    5 ports of one client ──► source (max_associations_per_client = 3)     3 are served, the others counted
    """
    far = world.add(Helper("udp", "serve", "127.0.0.1:0"))
    near, source, _ = udp_pair(world, far.address, source_options={"udp": {"max_associations_per_client": 3}})
    clients = [world.add(Client(near)) for _ in range(5)]
    for client in clients[:3]:
        client.ask(b"in time")
    for client in clients[3:]:
        client.send(b"too late")
    source.wait_metric(2, "qanat_associations_total", outcome="client_limit")
    source.wait_metric(2, "qanat_datagrams_dropped_total", reason="no_association")
    assert source.status()["associations_open"] == 3
    clients[0].ask(b"still here")


def test_a_node_has_no_more_associations_than_it_may(world):
    """
    4 clients ──► source (max_associations = 2);  4 clients ──► source ══► dest (a service with max_connections = 2)
    """
    far = world.add(Helper("udp", "serve", "127.0.0.1:0"))
    near, source, dest = udp_pair(
        world, far.address, source_options={"udp": {"max_associations": 3}}, service_options={"max_connections": 2}
    )
    clients = [world.add(Client(near)) for _ in range(4)]
    for client in clients[:2]:
        client.ask(b"in time")
    clients[2].send(b"dest says no")
    source.wait_metric(1, "qanat_associations_total", outcome="refused_by_peer")
    dest.wait_metric(1, "qanat_associations_total", outcome="limit")
    clients[3].send(b"source says no")
    source.wait_metric(1, "qanat_associations_total", outcome="limit")
    # While it is held off, the client does not cost a handshake each time.
    asked = source.metric("qanat_associations_total", outcome="refused_by_peer")
    clients[2].send(b"again")
    source.wait_metric(1, "qanat_datagrams_dropped_total", reason="refused_by_peer")
    assert source.metric("qanat_associations_total", outcome="refused_by_peer") == asked
    clients[0].ask(b"still here")


def test_a_service_is_reached_by_its_own_protocol_only(world):
    """
    udp client ──► source ══► dest, "service" is tcp only     refused, and dest says why
    """
    tcp = world.add(Helper("echo", "serve", "127.0.0.1:0"))
    dest = world.dest([service(tcp.address, protocol="tcp")])
    near = ("127.0.0.1", free_port())
    source = world.source(
        dest, source={"forwards": [{"listen": "%s:%d" % near, "service": "service", "protocol": "udp"}]}
    )
    client = world.add(Client(near))
    client.send(b"hello")
    source.wait_metric(1, "qanat_associations_total", outcome="refused_by_peer")
    dest.wait_log(r"udp service service asked by 127\.0\.0\.1:\d+ refused: the service is exposed here for tcp only")
    assert dest.metric("qanat_associations_total", outcome="unknown_service") >= 1


def test_clients_that_may_not_come_in_are_dropped(world):
    """
    client 127.0.0.1 ──► source (allowed_source_ips = 192.0.2.0/24)      dropped as a stranger, nothing is opened
    """
    far = world.add(Helper("udp", "serve", "127.0.0.1:0"))
    filtered = {"source.connection_filter": {"allowed_source_ips": ["192.0.2.0/24"]}}
    near, source, _ = udp_pair(world, far.address, source_options=filtered)
    client = world.add(Client(near))
    client.send(b"hello")
    source.wait_metric(1, "qanat_datagrams_dropped_total", reason="stranger")
    source.wait_metric(1, "qanat_associations_total", outcome="not_allowed")
    assert source.status()["associations_open"] == 0


def test_dest_may_come_back(world):
    """
    client ──► source ══► dest ✗ killed, started again      dropped meanwhile and counted, served afterwards
    """
    far = world.add(Helper("udp", "serve", "127.0.0.1:0"))
    near, source, dest = udp_pair(world, far.address)
    client = world.add(Client(near))
    client.ask(b"before")
    dest.kill()
    source.wait(lambda: not source.is_ready(), "the link to be lost")

    def is_dropped():
        client.send(b"into the void")
        return dropped(source, "no_link") > 0

    source.wait(is_dropped, "datagrams without a link to be counted")
    source.wait(lambda: source.status()["associations_open"] == 0, "the association to end with the link")
    dest.start().wait_ready()
    source.wait_ready()
    client.ask(b"after")


def test_a_target_may_go_and_come_back(world):
    """
    client ──► source ══► dest ──► nobody, then udp     the association goes on; the network's reports are counted
    """
    port = free_port()
    near, source, dest = udp_pair(world, ("127.0.0.1", port))
    client = world.add(Client(near))

    def is_reported():
        client.send(b"anybody there?")
        return dest.metric("qanat_datagrams_unreachable_reports_total") > 0

    dest.wait(is_reported, "a report that nobody listens")
    world.add(Helper("udp", "serve", "127.0.0.1:%d" % port))
    client.ask(b"now there is")
    assert source.metric("qanat_associations_total", outcome="opened") == 1
    assert dest.metric("qanat_associations_total", outcome="opened") == 1


def test_a_target_is_found_by_name_at_whichever_address_it_listens(world):
    """
    client ──► source ══► dest ──► localhost, which is ::1 and 127.0.0.1      the echo listens on 127.0.0.1 only
    """
    far = world.add(Helper("udp", "serve", "127.0.0.1:0"))
    near, _, _ = udp_pair(world, ("localhost", far.address[1]))
    world.add(Client(near)).ask(b"hello")


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback address")
def test_ipv6_on_both_sides(world):
    """
    client ──► source [::1] ══► dest ──► udp [::1]
    """
    far = world.add(Helper("udp", "serve", "[::1]:0"))
    dest = world.dest([service(far.address)])
    port = free_port("::1")
    world.source(
        dest, source={"forwards": [{"listen": "[::1]:%d" % port, "service": "service", "protocol": "udp"}]}
    )
    client = world.add(Client(("::1", port), socket.AF_INET6))
    for size in SIZES:
        client.ask(content_of(size, 6))


@pytest.mark.threads
@pytest.mark.serial
def test_a_udp_flood_does_not_starve_a_tcp_transfer(world):
    """
    blast ──► source:P ══► dest ──► a sink that does not read        as fast as it goes, for as long as the transfer
    bulk  ══► source:Q ══► dest ══► bulk                             32 MiB each way, SHA-256 equal
    """
    sink = world.add(peers_socket())
    far = world.add(Helper("bulk", "serve", "127.0.0.1:0"))
    dest = world.dest([service(sink.getsockname()), service(far.address, "bulk", "tcp")])
    near, flooded = ("127.0.0.1", free_port()), ("127.0.0.1", free_port())
    source = world.source(
        dest,
        source={
            "forwards": [
                {"listen": "%s:%d" % flooded, "service": "service", "protocol": "udp"},
                {"listen": "%s:%d" % near, "service": "bulk"},
            ]
        },
    )
    flood = subprocess.Popen(
        [os.path.join(HELPERS, "udp"), "blast", "%s:%d" % flooded, "--seconds", "600", "--ask", "0", "--size", "1200"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        source.wait_metric(10000, "qanat_datagrams_total", direction="outward")
        status, result = peers.call_helper("bulk", "run", "%s:%d" % near, "--bytes", 32 << 20, seconds=240)
        assert flood.poll() is None, "the flood ended before the transfer did"
    finally:
        flood.kill()
        flood.wait()
    assert status == 0 and result["up_equal"] and result["down_equal"], result
    # What did not fit was dropped, and every drop has its reason.
    client = world.add(Client(flooded))

    def are_counted():
        client.send(b"the kernel tells what it dropped with the next one")
        return sum(dropped(source, reason) for reason in ("congested", "socket_overflow")) > 0

    source.wait(are_counted, "drops to be counted")


def test_a_taken_udp_port_is_named(world):
    """
    somebody has udp P          source: exit 1, and P in the log; TCP P is free and does not matter
    """
    taken = world.add(peers_socket())
    port = taken.getsockname()[1]
    config = world.source_config(
        free_port(), source={"forwards": [{"listen": "127.0.0.1:%d" % port, "service": "x", "protocol": "udp"}]}
    )
    node = world.node("source", config, "source").start()
    node.expects = 1
    assert node.process.wait(20 * PATIENCE) == 1
    said = r"cannot listen on udp 127\.0\.0\.1:%d \(source\.forwards\): .*in use" % port
    assert re.search(said, node.log(), re.IGNORECASE), node.log()


def test_udp_ports_come_and_go_with_a_reload(world):
    """
    source: tcp only ── reload ──► both ── reload ──► tcp only      two workers; associations end with their port
    """
    far = world.add(Helper("udp", "serve", "127.0.0.1:0"))
    dest = world.dest([service(far.address)])
    near = ("127.0.0.1", free_port())
    forward = {"listen": "%s:%d" % near, "service": "service"}
    source = world.source(
        dest, source={"forwards": [dict(forward, protocol="tcp")]}, node={"workers": 2, "drain_timeout_seconds": 2}
    )
    with_udp = dict(source.config, source=dict(source.config["source"], forwards=[dict(forward, protocol="both")]))
    without = source.config
    source.reload(with_udp)
    client = world.add(Client(near))
    client.ask(b"hello")
    source.reload(dict(with_udp, udp={"idle_timeout_seconds": 30}))
    client.ask(b"still the same one")
    assert source.metric("qanat_associations_total", outcome="opened") == 1
    source.reload(without)
    assert source.status()["associations_open"] == 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(near)  # nobody has it any more


def test_associations_do_not_hold_up_the_end(world):
    """
    SIGTERM while an association is open and no TCP flow is: source ends at once, dest too
    """
    far = world.add(Helper("udp", "serve", "127.0.0.1:0"))
    slow = {"node": {"drain_timeout_seconds": 120}}
    near, source, dest = udp_pair(world, far.address, source_options=slow, dest_options=slow)
    world.add(Client(near)).ask(b"hello")
    start = time.monotonic()
    source.stop()
    dest.stop()
    assert time.monotonic() - start < 60  # far below the drain timeout: nobody waited for it


def socks_associate(near):
    """The control connection, and where to send."""
    control = peers.dial(near)
    control.sendall(b"\x05\x01\x00")
    assert peers.read_exactly(control, 2) == b"\x05\x00"
    control.sendall(b"\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00")
    answer = peers.read_exactly(control, 10)
    assert answer[:4] == b"\x05\x00\x00\x01", answer
    return control, (socket.inet_ntoa(answer[4:8]), int.from_bytes(answer[8:10], "big"))


def by_name(name, payload):
    return b"\0\0\0\3" + bytes([len(name)]) + name + b"\0\0" + payload


def test_socks_clients_name_the_service_in_each_datagram(world):
    """
    SOCKS client ── UDP ASSOCIATE ──► source ══► dest ──► "one", "two"      one relay, an association for each service;
                                                                            all of it ends with the TCP connection
    """
    one = world.add(Helper("udp", "serve", "127.0.0.1:0"))
    two = world.add(Helper("udp", "serve", "127.0.0.1:0"))
    dest = world.dest([service(one.address, "one"), service(two.address, "two")])
    near = ("127.0.0.1", free_port())
    source = world.source(dest, source={"mode": "protocol", "listen_port": near[1]})
    control, relay = socks_associate(near)
    client = world.add(Client(relay))
    client.ask(by_name(b"one", b"for one"))
    client.ask(by_name(b"two", b"for two"))
    client.ask(by_name(b"one", content_of(9000, 1)))
    by_port = b"\0\0\0\1\x7f\0\0\1" + dest.config["dest"]["exposed_services"][1]["port"].to_bytes(2, "big")
    client.ask(by_port + b"for the port of two")
    assert source.status()["associations_open"] == 3
    client.send(b"\0\0\1\3\3one\0\0a fragment")
    source.wait_metric(1, "qanat_datagrams_dropped_total", reason="malformed")
    stranger = world.add(Client(relay))
    stranger.send(by_name(b"one", b"from another port"))
    source.wait_metric(1, "qanat_datagrams_dropped_total", reason="stranger")
    control.close()
    source.wait(lambda: source.status()["associations_open"] == 0, "the associations to end with the connection")
    source.wait(lambda: udp_sockets(source) == 0, "the relay's socket to be closed")
