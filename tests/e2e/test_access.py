"""Who may have what: by address, by certificate, by number; and what a target is told of them.

    clients ──► source ══► dest ──► targets        every refusal is counted and logged with its reason
"""

import re
import shutil
import socket
import struct
import subprocess

import pytest

import peers
from peers import Recorder, Server, dial, echo, read_exactly, read_to_end
from qanat import PATIENCE, free_port, to_service, wait


def client_of(certs, name, san=None):
    """Certificate and key of another source, by that CA."""
    cert, key = certs.by_openssl(name, "clientAuth", subject="/CN=" + name, san=san)
    return {"client_cert_path": cert, "client_key_path": key}


def source_with(world, dest, services, auth=None, name="source", **options):
    """A source with a forward to each service; returns it and {service: address}."""
    ports = {service: free_port() for service in services}
    forwards = [("127.0.0.1:%d" % port, service) for service, port in ports.items()]
    source = world.source(dest, forwards, name=name, auth=auth or {}, **options)
    return source, {service: ("127.0.0.1", port) for service, port in ports.items()}


def reaches(address):
    try:
        return peers.ask(address, b"ping") == b"ping"
    except (AssertionError, ConnectionResetError, BrokenPipeError):
        return False


# ---- by certificate


def test_services_are_for_the_certificates_they_name(world):
    """
    source "source-1", "web-7", "plain" ══► dest: open, by CN, by DNS name, by URI, by any of them
    """
    target = world.add(Server(echo))
    lists = {
        "open": None,
        "by-cn": ["CN=source-1"],
        "by-dns": ["DNS:*.example"],
        "by-uri": ["URI:spiffe://site/*"],
        "by-any": ["source-*", "spiffe://site/web-7"],
        "nobody": ["CN=web-7.example", "DNS:source-1", "URI:*example*"],
    }
    services = []
    for name, patterns in lists.items():
        service = to_service(name, target.address, free_port())
        if patterns:
            service["allowed_clients"] = patterns
        services.append(service)
    dest = world.dest(services)
    expected = {
        "source-1": {"open", "by-cn", "by-any"},
        "web-7": {"open", "by-dns", "by-uri", "by-any"},
        "plain": {"open"},
    }
    sans = {"web-7": "DNS:web-7.example,URI:spiffe://site/web-7"}
    for name, allowed in expected.items():
        auth = client_of(world.certs, name, sans.get(name))
        source, addresses = source_with(world, dest, lists, auth, name=name)
        assert {service for service, address in addresses.items() if reaches(address)} == allowed, name
        # Those that it may not have look like those that do not exist, and are not told of.
        assert len(re.findall(r"no such service is exposed by dest", source.whole_log())) == len(lists) - len(allowed)
        assert "allowed_clients" not in source.whole_log()
        assert re.search(r"services open:%d$" % services[0]["port"], source.whole_log(), re.MULTILINE)
    refused = sum(len(lists) - len(allowed) for allowed in expected.values())
    assert dest.metric("qanat_flows_total", outcome="not_allowed") == refused
    assert dest.metric("qanat_flows_total", outcome="unknown_service") in (0, None)
    dest.wait_log(r"from 127\.0\.0\.1:\d+: service by-dns refused: the peer's certificate matches none")


@pytest.mark.threads
def test_a_reload_changes_who_may_use_a_service(world):
    """
    dest: allowed_clients = ["CN=other"] ── SIGHUP ──► ["CN=source.test"]      the same link, judged anew
    """
    target = world.add(Server(echo))
    service = dict(to_service("echo", target.address), allowed_clients=["CN=other"])
    dest = world.dest([service])
    _, addresses = source_with(world, dest, ["echo"])
    assert not reaches(addresses["echo"])
    dest.config["dest"]["exposed_services"][0]["allowed_clients"] = ["CN=source.test"]
    dest.reload()
    assert reaches(addresses["echo"])
    dest.config["dest"]["exposed_services"][0]["allowed_clients"] = ["CN=other"]
    dest.reload()
    assert not reaches(addresses["echo"])


# ---- by number


def fill(address, count):
    """So many connections that have been answered."""
    connections = []
    for _ in range(count):
        connection = dial(address)
        connection.sendall(b"x")
        assert read_exactly(connection, 1) == b"x"
        connections.append(connection)
    return connections


def close_all(connections):
    for connection in connections:
        connection.close()


def test_a_client_of_source_has_a_limit_of_its_own(world):
    """
    127.0.0.1: 3 connections ──► source: max_connections_per_client = 3      the 4th is reset, 127.0.0.2 is not
    """
    target = world.add(Server(echo))
    near, source, _ = world.pair(target.address, {"source": {"max_connections_per_client": 3}})
    three = fill(near, 3)
    assert peers.turned_away(near, b"x") == (b"", "reset")
    with socket.create_connection(near, timeout=20, source_address=("127.0.0.2", 0)) as other:
        other.sendall(b"y")
        assert read_exactly(other, 1) == b"y"
    assert source.metric("qanat_flows_total", outcome="client_limit") == 1
    source.wait_log("this client has source.max_connections_per_client open")
    three.pop().close()
    wait(lambda: source.status()["flows_open"] <= 2, "the place to be free again")
    close_all(three + fill(near, 1))


def test_negotiations_count_for_the_client_too(world):
    """
    127.0.0.1: 2 silent clients ──► entry: max_connections_per_client = 2      the third is reset
    """
    target = world.add(Server(echo))
    dest = world.dest([("echo", target.address)])
    port = free_port()
    options = {"mode": "protocol", "listen_port": port, "max_connections_per_client": 2}
    source = world.source(dest, source=options, node={"workers": 1})  # so that they are taken in their order
    address = ("127.0.0.1", port)
    silent = [dial(address), dial(address)]
    assert peers.turned_away(address) == (b"", "reset")
    close_all(silent)
    source.wait_metric(2, "qanat_entry_requests_total", outcome="closed")
    # A request that became a flow holds one place, not two.
    for _ in range(5):
        with dial(address) as client:
            client.sendall(b"\x05\x01\x00\x05\x01\x00\x03\x04echo\x00\x00question")
            assert read_exactly(client, 12 + 8)[12:] == b"question"
        wait(lambda: source.status()["flows_open"] == 0, "the flow to be gone")


@pytest.mark.threads
def test_a_peer_of_dest_has_a_limit_over_all_its_links(world):
    """
    source A, source A again (one certificate) ══► dest: max_connections_per_client = 3      1/503, counted
    source B (another one)                     ══►                                           is not concerned
    """
    target = world.add(Server(echo))
    dest = world.dest([("echo", target.address)], dest={"max_connections_per_client": 3})
    first, near = source_with(world, dest, ["echo"], name="first")
    second, near_too = source_with(world, dest, ["echo"], name="second")
    _, near_other = source_with(world, dest, ["echo"], client_of(world.certs, "other"), name="other")
    open_ones = fill(near["echo"], 2) + fill(near_too["echo"], 1)
    for address in (near["echo"], near_too["echo"]):
        assert peers.turned_away(address, b"x") == (b"", "reset")
    open_ones += fill(near_other["echo"], 3)
    assert dest.metric("qanat_flows_total", outcome="client_limit") == 2
    first.wait_log("refused: limit.*dest.max_connections_per_client")
    close_all(open_ones)
    wait(lambda: dest.status()["flows_open"] == 0, "the flows to be gone")
    close_all(fill(near["echo"], 3))


def test_a_flood_of_refusals_does_not_fill_the_log(world):
    """
    200 refused connections ──► source      each is counted, few are written, and their sum
    """
    target = world.add(Server(echo))
    near, source, _ = world.pair(target.address, {"source": {"max_connections_per_client": 1}})
    one = fill(near, 1)
    for _ in range(200):
        peers.turned_away(near, b"x")
    assert source.metric("qanat_flows_total", outcome="client_limit") == 200
    source.wait_log(r"\d+ more connections were refused")
    lines = len(re.findall("max_connections_per_client open", source.whole_log()))
    summed = sum(int(n) for n in re.findall(r"(\d+) more connections were refused", source.whole_log()))
    assert lines + summed <= 200 and 1 <= lines < 200
    close_all(one)


# ---- by address


def test_only_listed_addresses_may_use_source(world):
    """
    127.0.0.1, 127.0.0.2 ──► source: allowed_source_ips = [127.0.0.2]      at a forward and at the entry
    """
    target = world.add(Server(echo))
    dest = world.dest([("echo", target.address)])
    port, near = free_port(), free_port()
    options = {"mode": "hybrid", "listen_port": port, "connection_filter.allowed_source_ips": ["127.0.0.2"]}
    source = world.source(dest, [("127.0.0.1:%d" % near, "echo")], source=options)
    for address in (("127.0.0.1", near), ("127.0.0.1", port)):
        assert peers.turned_away(address, b"\x05") == (b"", "reset")
    assert source.metric("qanat_admission_refused_total", reason="source_address") == 2
    source.wait_log(r"127\.0\.0\.1:\d+: a connection was refused: it is not in source\.connection_filter")
    with socket.create_connection(("127.0.0.1", near), timeout=20, source_address=("127.0.0.2", 0)) as allowed:
        allowed.sendall(b"y")
        assert read_exactly(allowed, 1) == b"y"
    with socket.create_connection(("127.0.0.1", port), timeout=20, source_address=("127.0.0.2", 0)) as allowed:
        allowed.sendall(b"\x05\x01\x00")
        assert read_exactly(allowed, 2) == b"\x05\x00"


def test_only_listed_addresses_may_open_links(world):
    """
    source at 127.0.0.1 ──► dest: allowed_source_ips = [192.0.2.0/24]      closed before TLS, counted and logged
    """
    target = world.add(Server(echo))
    dest = world.dest([("echo", target.address)],
                      dest={"connection_filter.allowed_source_ips": ["192.0.2.0/24"]})
    world.source(dest, ready=False)
    dest.wait_metric(1, "qanat_admission_refused_total", reason="source_address")
    dest.wait_log(r"127\.0\.0\.1:\d+ refused: it is not in dest\.connection_filter\.allowed_source_ips")


# ---- PROXY protocol

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def parse_tlvs(data):
    tlvs = {}
    while data:
        kind, length = struct.unpack_from("!BH", data)
        assert len(data) >= 3 + length, "a TLV of %d bytes is cut" % length
        tlvs[kind] = data[3 : 3 + length]
        data = data[3 + length :]
    return tlvs


def parse_proxy(data):
    """Addresses, TLVs and what follows, written from the specification and nothing of ours."""
    assert data[:12] == SIGNATURE
    version, family, length = struct.unpack_from("!BBH", data, 12)
    assert version == 0x21
    block, rest = data[16 : 16 + length], data[16 + length :]
    assert len(block) == length
    if family == 0:
        return None, parse_tlvs(block), rest
    size, name = {0x11: (4, socket.AF_INET), 0x21: (16, socket.AF_INET6)}[family]
    source, target = (socket.inet_ntop(name, block[i * size : (i + 1) * size]) for i in range(2))
    ports = struct.unpack_from("!HH", block, 2 * size)
    return ((source, ports[0]), (target, ports[1])), parse_tlvs(block[2 * size + 4 :]), rest


def introduced(target, **options):
    return dict(to_service("service", target, free_port()), proxy_protocol="v2", **options)


def test_a_target_is_told_whose_connection_it_is(world):
    """
    client 127.0.0.1:p ──► source "CN=source.test" ══► dest ──► target: PROXY v2 (p, CN, TLS), then the bytes
    """
    target = world.add(Recorder(say=b"answer"))
    dest = world.dest([introduced(target.address)])
    source, addresses = source_with(world, dest, ["service"])
    with dial(addresses["service"]) as client:
        own = client.getsockname()
        assert peers.converse(client, b"question") == (b"answer", "end")
    wait(lambda: target.records and target.records[0]["end"], "the target to have heard all")
    addresses, tlvs, rest = parse_proxy(bytes(target.records[0]["bytes"]))
    assert addresses == (own, target.address) and rest == b"question"
    client_bits, verify = struct.unpack_from("!BI", tlvs[0x20])
    assert client_bits == 7 and verify == 0
    inner = parse_tlvs(tlvs[0x20][5:])
    assert inner[0x21] == b"TLSv1.3" and inner[0x22] == b"source.test"
    assert inner[0x23] == b"TLS_AES_256_GCM_SHA384" and inner[0x26] == b"X25519MLKEM768"
    assert inner[0x24] == b"ecdsa-with-SHA256" and inner[0x25] == b"P-256"
    assert set(inner) == {0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27}
    # It is not payload.
    assert dest.metric("qanat_bytes_total", direction="inward") == len(b"question")


def test_the_introduction_comes_first_also_when_the_client_is_silent_or_large(world):
    """
    clients that say nothing, or a mebibyte at once ──► ... ──► target      the header is whole and in front
    """
    target = world.add(Recorder())
    dest = world.dest([introduced(target.address)])
    _, addresses = source_with(world, dest, ["service"])
    with dial(addresses["service"]):
        wait(lambda: target.records and len(target.records[0]["bytes"]) >= 16, "the header before any byte")
        parse_proxy(bytes(target.records[0]["bytes"]))
    question = peers.random_bytes(1 << 20)
    with dial(addresses["service"]) as client:
        assert peers.converse(client, question) == (b"", "end")
    wait(lambda: len(target.records) == 2 and target.records[1]["end"], "the second connection to end")
    assert parse_proxy(bytes(target.records[1]["bytes"]))[2] == question


def test_families_that_differ_and_clients_without_an_address(world):
    """
    client ::1 ──► ... ──► 127.0.0.1: both as IPv6       client on a Unix socket: UNSPEC, but the CN is told
    """
    target = world.add(Recorder())
    dest = world.dest([introduced(target.address)])
    port, path = free_port("::1"), world.folder + "/near.sock"
    world.source(dest, [("[::1]:%d" % port, "service"), ("unix:" + path, "service")])
    with dial(("::1", port)) as client:
        own = client.getsockname()
        wait(lambda: target.records and len(target.records[0]["bytes"]) >= 16, "the header")
    heard, tlvs, _ = parse_proxy(bytes(target.records[0]["bytes"]))
    assert heard == (own[:2], ("::ffff:127.0.0.1", target.address[1]))
    with dial(path):
        wait(lambda: len(target.records) == 2 and len(target.records[1]["bytes"]) >= 16, "the header")
    heard, tlvs, _ = parse_proxy(bytes(target.records[1]["bytes"]))
    assert heard is None and parse_tlvs(tlvs[0x20][5:])[0x22] == b"source.test"


@pytest.mark.skipif(not shutil.which("haproxy"), reason="haproxy is not installed")
def test_haproxy_understands_the_introduction(world):
    """
    client ──► source ══► dest ──► haproxy (accept-proxy), which answers with what it has understood
    """
    port = free_port()
    path = world.folder + "/haproxy.cfg"
    with open(path, "w") as file:
        file.write(
            "global\n  maxconn 100\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 20s\n"
            "  timeout server 20s\nfrontend f\n  bind 127.0.0.1:%d accept-proxy\n"
            "  http-request return status 200 content-type text/plain lf-string "
            '"%%[src]:%%[src_port]"\n' % port
        )
    process = subprocess.Popen(["haproxy", "-db", "-f", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        wait(lambda: dial_is_open(("127.0.0.1", port)), "haproxy to listen")
        dest = world.dest([introduced(("127.0.0.1", port))])
        _, addresses = source_with(world, dest, ["service"])
        with dial(addresses["service"]) as client:
            own = client.getsockname()
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answer, _ = read_to_end(client)
        assert answer.endswith(b"\r\n\r\n127.0.0.1:%d" % own[1]), answer
    finally:
        process.terminate()
        process.communicate(timeout=20 * PATIENCE)


def dial_is_open(address):
    try:
        dial(address).close()
        return True
    except ConnectionRefusedError:
        return False
