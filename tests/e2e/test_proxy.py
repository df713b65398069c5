"""`qanat proxy` with ordinary TLS software as its clients, and with another sidecar as its other half."""

import os
import re
import socket
import ssl
import subprocess
import threading

import pytest

import peers
import sidecars
from peers import Helper, Pour, Recorder, Server, converse, dial, random_bytes, read_exactly, read_to_end, reset
from qanat import OPENSSL, PATIENCE, SANITIZED, free_port
from sidecars import Bio, s_client, tls_ask, tls_dial
from strangers import openssl_offers

# ---- clients of every kind


@pytest.mark.parametrize("group", ["X25519MLKEM768", "SecP256r1MLKEM768", "SecP384r1MLKEM1024", "X25519", "P-256"])
def test_openssl_clients_agree_on_every_group_and_are_counted(world, group):
    """
    openssl s_client -groups G ══► proxy ──► echo      prefer: hybrid groups, and classical ones counted and logged
    """
    if not openssl_offers(group):
        pytest.skip("this OpenSSL has no group " + group)
    near, node = sidecars.server(world, world.add(Server(peers.greet(b"hello\n"))).address)
    with Talker(near, world.certs, "-groups", group) as talker:
        talker.expect("hello")
        node.wait(lambda: sum(sidecars.by_word(node, "groups").values()) == 1, "the handshake to be counted")
    counted = sidecars.by_word(node, "groups")
    assert {name.lower() for name in counted} == {group.lower()}, counted
    assert sidecars.by_word(node, "versions") == {"TLSv1.3": 1}
    assert sidecars.by_word(node, "signatures") == {"ecdsa_secp256r1_sha256": 1}
    assert sidecars.by_word(node, "peer_signatures") == {"ecdsa_secp256r1_sha256": 1}
    is_classical = "mlkem" not in group.lower()
    assert node.metric("qanat_proxy_classical_total") == is_classical
    assert ("the key agreement is classical" in node.log()) == is_classical
    count = node.metric("qanat_proxy_handshake_seconds_count")
    assert count == node.metric("qanat_proxy_handshake_seconds_bucket", le="+Inf") == 1


class Talker:
    """A running `openssl s_client` that is heard while it runs."""

    def __init__(self, address, certs, *options, cert=True):
        words = ["-cert", certs.client, "-key", certs.client_key] if cert else []
        self.process = subprocess.Popen(
            [OPENSSL, "s_client", "-connect", sidecars.place(address), "-CAfile", certs.ca, "-verify_return_error",
             "-servername", "localhost", "-quiet", *options, *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def expect(self, word):
        for line in self.process.stdout:
            if word in line.decode(errors="replace"):
                return
        raise AssertionError("s_client ended without %r" % word)

    def __enter__(self):
        return self

    def __exit__(self, *what):
        self.process.kill()
        self.process.communicate()


def test_tls_1_2_is_spoken_only_where_it_is_asked_for(world):
    """
    openssl s_client -tls1_2 ══► proxy (min_tls 1.3: refused; 1.2: served) ──► echo
    """
    target = world.add(Server(peers.greet(b"hello\n"))).address
    near, node = sidecars.server(world, target)
    status, said = s_client(near, world.certs, "-tls1_2")
    assert status != 0 and re.search("alert protocol version|protocol version", said), said
    node.wait(lambda: sidecars.handshakes(node) == {"no_common_version": 1}, "the refusal to be counted")
    older, old_node = sidecars.server(world, target, name="older", proxy={"min_tls": "1.2"})
    with Talker(older, world.certs, "-tls1_2") as talker:
        talker.expect("hello")
        old_node.wait(lambda: sidecars.by_word(old_node, "versions") == {"TLSv1.2": 1}, "TLS 1.2 to be counted")
    assert tls_ask(older, world.certs, b"abc", 6 + 3)[6:] == b"abc"


def test_each_client_is_shown_the_best_certificate_it_can_verify(world):
    """
    proxy with ML-DSA-65 and P-256 certificates: openssl takes the first, one that knows only ECDSA (Python) the second
    """
    from qanat import Certs

    quantum = Certs(os.path.join(world.folder, "quantum"), key="ml-dsa-65")
    near, node = sidecars.server(
        world, world.add(Server(peers.greet(b"hello\n"))).address,
        proxy={"cert_path": quantum.server, "key_path": quantum.server_key, "fallback_cert_path": world.certs.server,
               "fallback_key_path": world.certs.server_key})
    assert tls_ask(near, world.certs, b"x", 7) == b"hello\nx"
    with Talker(near, world.certs, "-CAfile", quantum.ca) as talker:
        talker.expect("hello")
        node.wait(lambda: sidecars.by_word(node, "signatures") == {"mldsa65": 1, "ecdsa_secp256r1_sha256": 1},
                  "both to be counted")


def test_a_client_sidecar_speaks_to_an_ordinary_tls_server(world):
    """
    plain client ──► proxy (client) ══ openssl s_server -rev (asks for a certificate; reverses lines)
    """
    port = free_port()
    server = world.add(Process(
        [OPENSSL, "s_server", "-accept", "127.0.0.1:%d" % port, "-cert", world.certs.server, "-key",
         world.certs.server_key, "-CAfile", world.certs.ca, "-Verify", "1", "-verify_return_error", "-rev", "-quiet",
         "-naccept", "8"]))
    near, node = sidecars.client(world, ("127.0.0.1", port), proxy={"server_name": "localhost"})
    node.wait(lambda: peers.ask(near, b"desrever\n") == b"reversed\n", "an answer")
    assert sidecars.by_word(node, "groups") == {"X25519MLKEM768": 1}
    assert server.process.poll() is None


class Process:
    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)

    def close(self):
        self.process.kill()
        self.process.communicate()


def test_curl_talks_to_a_plain_http_server_behind_it(world):
    """
    curl https://localhost ══► proxy ──► a plain HTTP server
    """
    near, node = sidecars.server(world, world.add(Server(web)).address, proxy={"client_cert_mode": "optional"})
    done = subprocess.run(
        ["curl", "-sS", "--cacert", world.certs.ca, "--resolve", "localhost:%d:127.0.0.1" % near[1], "-m", "20",
         "https://localhost:%d/" % near[1]], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (0, b"plain and simple\n"), done.stderr.decode()
    node.wait(lambda: sidecars.outcomes(node).get("finished") == 1, "the connection to finish")
    line = node.wait_log(r"sidecar: connection \d+ from 127\.0\.0\.1:\d+ for localhost, no certificate, TLSv1\.3, .*"
                         r"target 127\.0\.0\.1:\d+: \d+ bytes to it, \d+ from it, \d+\.\d+ s: finished")
    assert line


def web(connection):
    asked = b""
    while b"\r\n\r\n" not in asked:
        asked += connection.recv(4096)
    text = b"plain and simple\n"
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(text), text))


@pytest.mark.parametrize("mode", ["required", "optional", "none"])
def test_client_certificates_by_mode(world, mode):
    """
    no certificate, a good one, one of a wrong CA, an expired one, one for servers ══► proxy ──► echo
    """
    other = sidecars_other_ca(world)
    expired = world.certs.by_openssl("expired-" + mode, "clientAuth", "20200101000000Z", "20210101000000Z")
    near, node = sidecars.server(world, world.add(Server(peers.echo)).address, proxy={"client_cert_mode": mode})
    bad = {
        "unknown_ca": (other.client, other.client_key),
        "expired": expired,
        "wrong_usage": (world.certs.server, world.certs.server_key),
    }
    assert tls_ask(near, world.certs, b"good") == b"good"
    if mode == "required":
        assert is_refused(near, world.certs, None)
        node.wait(lambda: sidecars.handshakes(node).get("no_certificate") == 1, "the missing certificate to be counted")
    else:
        assert tls_ask(near, world.certs, b"none", cert=None) == b"none"
    for outcome, cert in bad.items():
        if mode == "none":
            assert tls_ask(near, world.certs, b"any", cert=cert) == b"any"
            continue
        assert is_refused(near, world.certs, cert), outcome
        node.wait(lambda: sidecars.handshakes(node).get(outcome) == 1, outcome + " to be counted")


def test_a_certificate_without_any_usage_passes_where_it_is_said(world):
    """
    a certificate as a plain `openssl x509` makes it, without extended key usage ══► proxy      by usage_may_be_absent
    """
    plain = world.certs.by_openssl("plain", None)
    written = sidecars.config(world, [world.add(Server(peers.echo)).address])
    near, node = sidecars.near(written), sidecars.start(world, written)
    assert is_refused(near, world.certs, plain)
    node.wait(lambda: sidecars.handshakes(node).get("wrong_usage") == 1, "the missing usage to be counted")
    written["proxy"]["usage_may_be_absent"] = True
    node.reload(written)
    assert tls_ask(near, world.certs, b"good", cert=plain) == b"good"
    assert is_refused(near, world.certs, (world.certs.server, world.certs.server_key))
    node.wait(lambda: sidecars.handshakes(node).get("wrong_usage") == 2, "the wrong usage to be counted")
    written["proxy"]["usage_may_be_absent"] = False
    node.reload(written)
    assert is_refused(near, world.certs, plain)


def sidecars_other_ca(world):
    from qanat import Certs

    return Certs(os.path.join(world.folder, "other"))


def is_refused(near, certs, cert):
    """In TLS 1.3 a client hears of it with its first read."""
    try:
        tls_ask(near, certs, b"x", cert=cert)
    except (ssl.SSLError, ConnectionResetError, BrokenPipeError, AssertionError):
        return True
    return False


def test_a_target_hears_nothing_of_a_client_that_has_not_proved_itself(world):
    """
    client without a certificate, with early words ══► proxy      the target is not even dialled
    """
    target = world.add(Recorder())
    near, node = sidecars.server(world, target.address)
    assert is_refused(near, world.certs, None)
    node.wait(lambda: sidecars.outcomes(node) == {"handshake_failed": 1}, "the refusal")
    assert target.accepted == 0
    assert node.metric("qanat_proxy_target_handshakes_total", target=sidecars.place(target.address),
                       outcome="no_certificate") == 1


# ---- bytes and ends


@pytest.mark.threads
def test_a_pair_of_sidecars_carries_bulk_both_ways(world):
    """
    plain client ──► proxy (client) ══ TLS ══ proxy (server) ──► echo      16 MiB there and back, verified
    """
    target = world.add(Server(peers.echo))
    far, server = sidecars.server(world, target.address)
    near, client = sidecars.client(world, far)
    sent = random_bytes(16 << 20, seed=7)
    with dial(near) as connection:
        heard, how = converse(connection, sent)
    assert how == "end" and heard == sent
    for node in (server, client):
        node.wait(lambda: sidecars.outcomes(node) == {"finished": 1}, "the connection to finish")
        for name in ("sent", "received"):
            assert node.metric("qanat_proxy_bytes_%s_total" % name) == len(sent)
    assert sidecars.by_word(client, "groups") == {"X25519MLKEM768": 1}


def test_half_close_travels_as_half_close(world):
    """
    client ends its direction ══► proxy ──► target answers only then
    """
    target = world.add(Server(answer_at_end))
    far, server = sidecars.server(world, target.address)
    near, _ = sidecars.client(world, far)
    with dial(near) as connection:
        connection.sendall(b"question")
        connection.shutdown(socket.SHUT_WR)
        assert read_to_end(connection) == (b"8 bytes", "end")


def answer_at_end(connection):
    heard, how = read_to_end(connection)
    connection.sendall(b"%d bytes" % len(heard) if how == "end" else b"cut")
    connection.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("who", ["client", "target"])
def test_a_reset_travels_as_a_reset(world, who):
    """
    one end resets ──► proxy ══ proxy ──► the other end sees a reset, not an end
    """
    met, go = [], threading.Event()

    def serve(connection):
        connection.sendall(b"here")
        go.wait(peers.SECONDS)
        if who == "target":
            reset(connection)
        else:
            met.append(read_to_end(connection)[1])

    target = world.add(Server(serve))
    far, server = sidecars.server(world, target.address)
    near, client = sidecars.client(world, far)
    with dial(near) as connection:
        assert read_exactly(connection, 4) == b"here"
        if who == "client":
            reset(connection)
            go.set()
            server.wait(lambda: met, "the target to see an end")
            assert met == ["reset"]
        else:
            go.set()
            assert read_to_end(connection)[1] == "reset"
    for node in (server, client):
        node.wait(lambda: sidecars.outcomes(node) == {"reset_by_" + who: 1}, "the reset to be counted")


def test_a_client_that_vanishes_without_close_notify_is_no_end_in_order(world):
    """
    TLS client: TCP end without close_notify ══► proxy ──► target sees a reset: a cut stream is never a finished one
    """
    target = world.add(Recorder())
    near, node = sidecars.server(world, target.address)
    connection = tls_dial(near, world.certs)
    connection.sendall(b"to be cut")
    node.wait(lambda: target.records and bytes(target.records[0]["bytes"]) == b"to be cut", "the words to arrive")
    connection.close()
    node.wait(lambda: target.records[0]["end"] == "reset", "the target to see a reset")


def test_a_slow_reader_stops_the_reading_and_costs_one_block(world):
    """
    target pours for ever ──► proxy ══► client that does not read      bounded, and goes on when it reads
    """
    target = world.add(Pour())
    near, node = sidecars.server(world, target.address)
    with tls_dial(near, world.certs) as connection:
        connection.sendall(b"x")
        before = node.memory()
        poured = peers.stops_growing(lambda: target.poured)
        assert poured < 64 << 20
        assert SANITIZED or node.memory() - before < 2 << 20
        read = 0
        while target.poured == poured and read < 128 << 20:
            read += len(connection.recv(1 << 20))
        node.wait(lambda: target.poured > poured, "the target to be read again")


# ---- what is not TLS, and what is slow


def test_plain_http_gets_a_short_answer(world):
    """
    GET / HTTP/1.1 ──► the TLS port: 400, the end, counted by kind
    """
    near, node = sidecars.server(world, world.add(Recorder()).address)
    with dial(near) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        heard, how = read_to_end(connection)
    assert heard.startswith(b"HTTP/1.1 400 ") and how == "end"
    head, body = heard.split(b"\r\n\r\n")
    assert int(re.search(rb"Content-Length: (\d+)", head).group(1)) == len(body)
    node.wait(lambda: sidecars.handshakes(node) == {"http": 1}, "plain HTTP to be counted")


@pytest.mark.parametrize("garbage", [
    pytest.param(b"\x00\x01\x02garbage", id="zeros"),
    pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", id="ssh"),
    pytest.param(b"\x16\x03\x01\xff\xffxxxx" * 8, id="record_too_long"),
    pytest.param(b"\x80\x2e\x01\x00\x02", id="sslv2"),
    pytest.param(b"\x16\x03\x01\x00\x04\x01\x03\x00\x00", id="hello_of_192_kib"),
])
def test_garbage_gets_an_alert(world, garbage):
    """
    no TLS ──► the TLS port: a fatal alert, the end, counted
    """
    near, node = sidecars.server(world, world.add(Recorder()).address)
    with dial(near) as connection:
        connection.sendall(garbage)
        heard, how = read_to_end(connection)
    assert how == "end" and heard[:1] == b"\x15" and heard[5] == 2, heard
    node.wait(lambda: sum(sidecars.handshakes(node).values()) == 1, "the garbage to be counted")
    assert "ok" not in sidecars.handshakes(node)


def test_connections_that_say_nothing_are_counted_and_not_logged(world):
    """
    a load balancer's TCP check ──► proxy: no line in the log at info
    """
    near, node = sidecars.server(world, world.add(Recorder()).address, logging={"level": "info"})
    for _ in range(3):
        dial(near).close()
    node.wait(lambda: sidecars.handshakes(node) == {"silent": 3}, "the checks to be counted")
    assert "connection " not in node.log()


def test_a_hello_that_comes_byte_by_byte_is_served(world):
    """
    ClientHello, one byte at a time ══► proxy ──► echo
    """
    near, _ = sidecars.server(world, world.add(Server(peers.echo)).address)
    bio = Bio(world.certs)
    with sidecars.raw(near) as connection:
        for byte in bio.hello():
            connection.sendall(bytes([byte]))
        bio.shake(connection)
        assert bio.ask(connection, b"slow but honest") == b"slow but honest"


def test_a_large_hello_in_many_records_is_served(world):
    """
    ClientHello of several KiB (ALPN), split over records of 200 bytes ══► proxy ──► echo
    """
    near, _ = sidecars.server(world, world.add(Server(peers.echo)).address)
    bio = Bio(world.certs, alpn=["p%03d-%s" % (i, "x" * 200) for i in range(40)])
    hello = bio.hello()
    assert len(hello) > 8000 and hello[0] == 0x16
    body = hello[5:]
    with sidecars.raw(near) as connection:
        for at in range(0, len(body), 200):
            part = body[at : at + 200]
            connection.sendall(hello[:3] + len(part).to_bytes(2, "big") + part)
        bio.shake(connection)
        assert bio.ask(connection, b"large") == b"large"


def test_a_stranger_has_one_deadline(world):
    """
    a client that says a byte now and then ══► proxy: cut after handshake_timeout_ms, others are served meanwhile
    """
    near, node = sidecars.server(world, world.add(Server(peers.echo)).address, proxy={"handshake_timeout_ms": 1500})
    with dial(near) as silent, dial(near) as slow:
        slow.sendall(b"\x16\x03\x01")
        assert tls_ask(near, world.certs, b"meanwhile") == b"meanwhile"
        for connection in (silent, slow):
            assert read_to_end(connection)[0] == b""
    node.wait(lambda: sidecars.handshakes(node).get("timeout") == 2, "both to be counted")


def test_a_slow_handshake_inside_the_deadline_is_not_cut(world):
    """
    the client answers the server's flight late, but in time ══► proxy ──► echo
    """
    near, node = sidecars.server(world, world.add(Server(peers.echo)).address)
    bio = Bio(world.certs)
    with sidecars.raw(near) as connection:
        connection.sendall(bio.hello()[:100])
        assert peers.is_silent(connection, 1.5)
        connection.sendall(bio_rest(bio))
        bio.shake(connection)
        assert bio.ask(connection, b"in time") == b"in time"


def bio_rest(bio):
    return bio.said[100:]


# ---- PROXY protocol


def introduced(target, near, certs, **options):
    """What the target heard first of one connection."""
    before = len(target.records)
    with tls_dial(near, certs, **options) as connection:
        connection.sendall(b"payload")
        port = connection.getsockname()[1]
        deadline_wait(lambda: len(target.records) > before and target.records[before]["bytes"].endswith(b"payload"))
        sidecars.end(connection)
    return bytes(target.records[before]["bytes"]), port


def deadline_wait(question):
    from qanat import wait

    return wait(question, "the target to hear it")


def test_the_target_hears_version_2_with_what_is_known_of_the_client(world):
    """
    client with a certificate ══► proxy ──► PROXY v2: addresses, SNI, version, cipher, CN, group, SAN
    """
    target = world.add(Recorder())
    near, node = sidecars.server(
        world, target.address, proxy={"proxy_protocol_out": "v2", "client_cert_mode": "optional"})
    names = "URI:spiffe://here/robot,DNS:robot.here"
    cert = world.certs.by_openssl("named", "clientAuth", subject="/CN=robot", san=names)
    heard, port = introduced(target, near, world.certs, cert=cert)
    assert heard.startswith(b"\r\n\r\n\0\r\nQUIT\n\x21\x11")
    length = int.from_bytes(heard[14:16], "big")
    assert heard[16 + length :] == b"payload"
    assert heard[16:24] == socket.inet_aton("127.0.0.1") * 2
    assert heard[24:28] == port.to_bytes(2, "big") + near[1].to_bytes(2, "big")
    outer = tlvs(heard[28 : 16 + length])
    assert outer[0x02] == b"localhost" and outer[0xE0] == names.encode()
    assert outer[0x20][:5] == b"\x07\0\0\0\0"
    inner = tlvs(outer[0x20][5:])
    assert inner[0x21] == b"TLSv1.3" and inner[0x22] == b"robot" and inner[0x23].startswith(b"TLS_")
    assert inner[0x26], "the group is missing"
    heard, _ = introduced(target, near, world.certs, cert=None)
    outer = tlvs(heard[28 : 16 + int.from_bytes(heard[14:16], "big")])
    assert outer[0x20][:5] == b"\x01\0\0\0\x01" and 0xE0 not in outer


def tlvs(data):
    found = {}
    while data:
        length = int.from_bytes(data[1:3], "big")
        found[data[0]] = data[3 : 3 + length]
        data = data[3 + length :]
    return found


def test_the_target_hears_version_1(world):
    """
    client ══► proxy ──► "PROXY TCP4 FROM TO PORT PORT"
    """
    target = world.add(Recorder())
    near, _ = sidecars.server(world, target.address, proxy={"proxy_protocol_out": "v1"})
    heard, port = introduced(target, near, world.certs)
    assert heard == b"PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\npayload" % (port, near[1])


V2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c" + socket.inet_aton("192.0.2.7") + socket.inet_aton("198.51.100.1")
V2 += (4711).to_bytes(2, "big") + (443).to_bytes(2, "big")
V1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n"


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
@pytest.mark.parametrize("pieces", ["at_once", "byte_by_byte"])
def test_a_load_balancer_says_who_the_client_is(world, header, pieces):
    """
    PROXY header, then TLS ──► proxy ──► target hears of that client; the header is taken exactly, however it comes
    """
    target = world.add(Recorder())
    near, node = sidecars.server(
        world, target.address, proxy={"proxy_protocol_in": "accept", "proxy_protocol_out": "v1"})
    bio = Bio(world.certs)
    with sidecars.raw(near) as connection:
        said = header + bio.hello()
        for part in [said] if pieces == "at_once" else [bytes([byte]) for byte in said]:
            connection.sendall(part)
        bio.shake(connection)
        bio.tls.write(b"payload")
        connection.sendall(bio.outward.read())
        node.wait(lambda: target.records and target.records[0]["bytes"] == V1 + b"payload", "the target to hear it")
    node.wait_log(r"connection \d+ from 192\.0\.2\.7:4711 through 127\.0\.0\.1:\d+ ")


def test_only_those_who_may_are_believed(world):
    """
    a header from an address that is not in proxy_protocol_from is no TLS; a missing or bad one from there is refused
    """
    target = world.add(Server(peers.echo)).address
    near, node = sidecars.server(world, target, proxy={"proxy_protocol_in": "accept",
                                                       "proxy_protocol_from": ["192.0.2.0/24"]})
    with dial(near) as connection:
        connection.sendall(V1)
        assert read_to_end(connection)[0][:1] == b"\x15"
    assert tls_ask(near, world.certs, b"direct") == b"direct"
    near, node = sidecars.server(world, target, name="strict", proxy={"proxy_protocol_in": "accept"})
    bio = Bio(world.certs)
    with dial(near) as connection:
        connection.sendall(bio.hello())
        assert read_to_end(connection)[0] == b""
    with dial(near) as connection:
        connection.sendall(b"PROXY TCP4 nonsense\r\n")
        assert read_to_end(connection)[0] == b""
    node.wait(lambda: sidecars.outcomes(node) == {"bad_proxy_header": 2}, "both to be counted")


# ---- where


def test_unix_sockets_and_ip6_on_both_sides(world):
    """
    plain client ─unix─► proxy (client) ═unix═ proxy (server) ─unix─► echo, and the same over ::1
    """
    path = lambda name: os.path.join(world.folder, name)  # noqa: E731
    target = world.add(Server(peers.echo, path=path("echo.sock")))
    far, _ = sidecars.server(world, target.address, listen="unix:" + path("tls.sock"))
    near, _ = sidecars.client(world, far, listen="unix:" + path("plain.sock"), proxy={"server_name": "localhost"})
    assert peers.ask(near, b"unix" * 50000) == b"unix" * 50000
    target = world.add(Server(peers.echo, host="::1"))
    far, _ = sidecars.server(world, target.address, name="server6", listen="[::1]:%d" % free_port("::1"))
    near, _ = sidecars.client(world, far, name="client6", listen="[::1]:%d" % free_port("::1"))
    assert peers.ask(near, b"six" * 50000) == b"six" * 50000


def test_several_addresses_lead_to_one_proxy(world):
    """
    clients ══► 127.0.0.1:A, [::1]:B, unix:C of one proxy ──► echo
    """
    target = world.add(Server(peers.echo))
    listen = ["127.0.0.1:%d" % free_port(), "[::1]:%d" % free_port("::1"), "unix:" + os.path.join(world.folder, "x")]
    _, node = sidecars.server(world, target.address, listen=listen)
    for text in listen:
        near = sidecars.near({"proxy": {"listen": text}})
        assert tls_ask(near, world.certs, b"hello") == b"hello"


def test_names_lead_to_their_targets(world):
    """
    SNI a.test, b.test, *.c.test, others ══► proxy ──► A, B, C, default
    """
    servers = {name: world.add(Server(peers.greet(name.encode()))).address for name in "ABCD"}
    certs = many_names(world, "localhost,a.test,b.test,x.c.test,d.test")
    near, node = sidecars.server(world, servers["D"], certs=certs, proxy={"routes": [
        {"sni": ["a.test"], "targets": [sidecars.place(servers["A"])]},
        {"sni": ["b.test"], "targets": [sidecars.place(servers["B"])]},
        {"sni": ["*.c.test"], "targets": [sidecars.place(servers["C"])]},
    ]})
    for name, expected in [("a.test", b"A"), ("b.test", b"B"), ("x.c.test", b"C"), ("d.test", b"D")]:
        assert tls_ask(near, certs, b"!", 2, name=name) == expected + b"!"
    for letter in "ABCD":
        node.wait(lambda: node.metric("qanat_proxy_target_connections_joined_total",
                                      target=sidecars.place(servers[letter])) == 1, letter + " to be counted")
        assert node.metric("qanat_proxy_target_handshakes_total", target=sidecars.place(servers[letter]),
                           outcome="ok") == 1
    assert node.metric("qanat_proxy_connections_joined_total") == 4


def many_names(world, names):
    from qanat import Certs

    return Certs(os.path.join(world.folder, "names"), names=names)


@pytest.mark.threads
def test_a_target_that_refuses_is_followed_by_the_next(world):
    """
    client ══► proxy ──► (nobody), echo
    """
    nobody, target = ("127.0.0.1", free_port()), world.add(Server(peers.echo))
    near, node = sidecars.server(world, nobody, target.address)
    for turn in range(4):
        assert tls_ask(near, world.certs, b"turn %d" % turn) == b"turn %d" % turn
    assert node.metric("qanat_proxy_target_dials_failed_total", target=sidecars.place(nobody)) >= 1
    assert node.metric("qanat_proxy_target_connections_joined_total", target=sidecars.place(target.address)) == 4
    target.close()
    assert is_refused(near, world.certs, True)
    node.wait(lambda: sidecars.outcomes(node).get("target_unreachable") == 1, "the refusal to be counted")


# ---- life


def test_a_wrong_name_of_the_target_is_refused(world):
    """
    plain client ──► proxy (client, server_name elsewhere.test) ══ proxy (server, certificate of localhost)
    """
    target = world.add(Recorder())
    far, _ = sidecars.server(world, target.address)
    near, node = sidecars.client(world, far, proxy={"server_name": "elsewhere.test"})
    with dial(near) as connection:
        connection.sendall(b"secret")
        assert read_to_end(connection)[0] == b""
    node.wait(lambda: sidecars.handshakes(node) == {"wrong_name": 1}, "the wrong name to be counted")
    assert target.accepted == 0


def test_doctor_and_health_know_a_sidecar(world):
    """
    qanat doctor -c proxy.toml: certificates and their ends; qanat health asks a running one
    """
    from qanat import QANAT

    near, node = sidecars.server(world, world.add(Server(peers.echo)).address)

    def doctor():
        command = [QANAT, "doctor", "-c", node.config_path]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout.decode()

    said = doctor()
    assert re.search(r"^ok +identity: proxy: certificates, keys and CA can be used", said, re.M), said
    for path in (world.certs.server, world.certs.ca):
        assert re.search(r"certificate: %s \(.*\) is valid until" % re.escape(path), said), said
    url = "http://127.0.0.1:%d/health" % node.http_port()
    assert subprocess.run([QANAT, "health", "--endpoint", url]).returncode == 0
    node.write_config(dict(node.config, proxy=dict(node.config["proxy"], key_path=world.certs.client_key)))
    said = doctor()
    assert re.search(r"^error +identity: proxy: .*does not", said, re.M), said


def test_a_key_that_does_not_match_is_kept_out(world):
    """
    SIGHUP with another certificate's key: refused and said, the old one serves on
    """
    near, node = sidecars.server(world, world.add(Server(peers.echo)).address)
    written = dict(node.config, proxy=dict(node.config["proxy"], key_path=world.certs.client_key))
    node.reload(written, ok=False)
    assert "does not" in node.log() and world.certs.client_key in node.log()
    assert tls_ask(near, world.certs, b"still") == b"still"


@pytest.mark.threads
def test_a_revocation_cuts_a_connection_that_stands(world):
    """
    client ══► proxy ──► echo      reload with a list that names the client: reset within 5 s, others live on
    """
    from qanat import Certs

    certs = Certs(os.path.join(world.folder, "own"))
    crl = certs.path("ca.crl")
    other = certs.by_openssl("other", "clientAuth", subject="/CN=other")
    make_list(certs, crl)
    near, node = sidecars.server(world, world.add(Server(peers.echo)).address, certs=certs, proxy={"crl_paths": [crl]})
    bad, good = tls_dial(near, certs), tls_dial(near, certs, cert=other)
    for connection in (bad, good):
        connection.sendall(b"before")
        assert read_exactly(connection, 6) == b"before"
    make_list(certs, crl, certs.client)
    node.reload()
    bad.settimeout(5 * PATIENCE)
    assert ended(bad)
    good.sendall(b"after")
    assert read_exactly(good, 5) == b"after"
    assert sidecars.outcomes(node)["not_allowed_any_more"] == 1
    assert is_refused(near, certs, True)
    node.wait(lambda: sidecars.handshakes(node).get("revoked") == 1, "the new try to be counted")


def ended(connection):
    try:
        return connection.recv(1) == b""
    except (ConnectionResetError, ssl.SSLError):
        return True


def make_list(certs, crl, *revoked):
    from qanat import QANAT, run

    ca = ["--ca-cert", certs.ca, "--ca-key", certs.ca_key]
    for cert in revoked:
        run([QANAT, "cert", "revoke", "--ca-cert", certs.ca, "--cert", cert])
    run([QANAT, "cert", "crl", *ca, "--out-crl", crl, "--force"])


@pytest.mark.threads
def test_a_reload_changes_what_new_connections_get(world):
    """
    target, client certificate mode: new ones for new connections; the old connection goes on; listen needs a restart
    """
    first, second = world.add(Server(peers.greet(b"1"))), world.add(Server(peers.greet(b"2")))
    near, node = sidecars.server(world, first.address)
    with tls_dial(near, world.certs) as old:
        assert read_exactly(old, 1) == b"1"
        written = dict(node.config, proxy=dict(
            node.config["proxy"], targets=[sidecars.place(second.address)], client_cert_mode="none",
            listen="127.0.0.1:%d" % free_port()))
        node.write_config(written)
        said, _ = node.ask("reload")
        assert "proxy.targets has changed" in said and "proxy.listen has changed, but needs a restart" in said, said
        assert tls_ask(near, world.certs, b"x", 2, cert=None) == b"2x"
        old.sendall(b"still here")
        assert read_exactly(old, 10) == b"still here"


@pytest.mark.serial
@pytest.mark.threads
def test_reloads_under_load_lose_no_connection(world):
    """
    clients that connect, ask and leave without end ══► proxy ──► echo      20 reloads with fresh certificates meanwhile
    """
    from qanat import Certs

    certs = Certs(os.path.join(world.folder, "own"))
    near, node = sidecars.server(world, world.add(Server(peers.echo)).address, certs=certs)
    state = {"asked": 0, "stop": False}
    problems = []

    def ask_on():
        while not state["stop"]:
            try:
                assert tls_ask(near, certs, b"y" * 1000) == b"y" * 1000
                state["asked"] += 1
            except (OSError, AssertionError) as problem:
                problems.append(repr(problem))
                return

    threads = [threading.Thread(target=ask_on, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    issuer = ["--ca-cert", certs.ca, "--ca-key", certs.ca_key]
    for turn in range(20):
        for name in ("server.crt", "server.key"):
            os.unlink(certs.path(name))
        certs.make("server", certs.server, certs.server_key, "--common-name", "turn%d" % turn,
                   "--dns-names", "localhost", "--ip-addresses", "127.0.0.1", *issuer)
        before = state["asked"]
        node.reload()
        node.wait(lambda: problems or state["asked"] >= before + 8, "clients to go on")
    state["stop"] = True
    for thread in threads:
        thread.join(peers.SECONDS)
    assert not problems, problems
    assert set(sidecars.outcomes(node)) == {"finished"}


def test_those_who_say_nothing_keep_nobody_out(world):
    """
    max_connections 4: 4 silent strangers, then a client ══► proxy: the one that is silent for longest makes room
    """
    near, node = sidecars.server(world, world.add(Server(peers.echo)).address, proxy={"max_connections": 4},
                                 node={"workers": 1})
    silent = [sidecars.raw(near) for _ in range(4)]
    node.wait(lambda: node.status()["flows_open"] == 4, "the silent ones to hold all places")
    assert tls_ask(near, world.certs, b"let me in") == b"let me in"
    node.wait(lambda: sidecars.outcomes(node).get("crowded_out") == 1, "one of them to be gone")
    assert "limit" not in sidecars.outcomes(node)
    for connection in silent:
        connection.close()


@pytest.mark.parametrize("limit, outcome", [("max_connections", "limit"),
                                            ("max_connections_per_client", "client_limit")])
def test_limits_hold(world, limit, outcome):
    """
    at most 2, in all or of one client ══► proxy
    """
    near, node = sidecars.server(world, world.add(Server(peers.echo)).address, proxy={limit: 2})
    kept = [tls_dial(near, world.certs) for _ in range(2)]
    for connection in kept:
        connection.sendall(b"in")
        assert read_exactly(connection, 2) == b"in"
    assert is_refused(near, world.certs, True)
    node.wait(lambda: sidecars.outcomes(node) == {outcome: 1}, "the limit")
    # One that says nothing is counted as well.
    assert peers.turned_away(near) == (b"", "reset")
    node.wait(lambda: sidecars.outcomes(node) == {outcome: 2}, "the limit again")
    for connection in kept:
        connection.close()
    node.wait(lambda: tls_ask(near, world.certs, b"now") == b"now", "a place to be free again")


def test_handshakes_of_one_address_have_a_rate(world):
    """
    max_handshakes_per_client 3 in ten seconds ══► proxy
    """
    near, node = sidecars.server(world, world.add(Server(peers.echo)).address, proxy={"max_handshakes_per_client": 3})
    for _ in range(3):
        assert tls_ask(near, world.certs, b"in") == b"in"
    assert is_refused(near, world.certs, True)
    node.wait(lambda: sidecars.outcomes(node).get("rate") == 1, "the rate")


@pytest.mark.parametrize("key, value, outcome", [("idle_timeout_ms", 400, "idle"), ("max_age_seconds", 1, "too_old")])
def test_connections_end_when_their_time_is_over(world, key, value, outcome):
    """
    a quiet client ══► proxy ──► echo      reset after idle_timeout_ms, or max_age_seconds
    """
    near, node = sidecars.server(world, world.add(Server(peers.echo)).address, proxy={key: value})
    with tls_dial(near, world.certs) as connection:
        connection.sendall(b"x")
        assert read_exactly(connection, 1) == b"x"
        assert ended(connection)
    node.wait(lambda: sidecars.outcomes(node) == {outcome: 1}, "the end to be counted")


def test_a_half_closed_connection_that_moves_nothing_ends(world):
    """
    client ends, target stays silent ══► proxy: over after half_close_timeout_ms
    """
    hold = threading.Event()
    target = world.add(Server(lambda connection: hold.wait(peers.SECONDS)))
    far, node = sidecars.server(world, target.address, proxy={"half_close_timeout_ms": 500})
    near, _ = sidecars.client(world, far)
    with dial(near) as connection:
        connection.shutdown(socket.SHUT_WR)
        assert read_to_end(connection)[1] == "reset"
    hold.set()
    node.wait(lambda: sidecars.outcomes(node) == {"half_closed": 1}, "the end to be counted")


@pytest.mark.threads
def test_status_health_and_drain(world):
    """
    qanat status, /health, qanat drain      a connection that is open may finish
    """
    near, node = sidecars.server(world, world.add(Server(peers.echo)).address, node={"drain_timeout_seconds": 20})
    with tls_dial(near, world.certs) as connection:
        connection.sendall(b"x")
        assert read_exactly(connection, 1) == b"x"
        status = node.status()
        assert status["command"] == "proxy" and status["proxy"]["connections"] == 1
        assert status["proxy"]["targets"][0]["handshakes"] == {"ok": 1}
        said = node.ask("status")[0]
        for line in (r"^handshakes +ok 1$", r"^127\.0\.0\.1:\d+ +up +1 +0 "):
            assert re.search(line, said, re.M), said
        node.ask("drain")
        node.wait(lambda: node.get("/health")[0] == 503, "/health to say that it stops")
        connection.sendall(b"y")
        assert read_exactly(connection, 1) == b"y"
        sidecars.end(connection)
    assert node.process.wait(peers.SECONDS) == 0
    node.process = None


@pytest.mark.serial
@pytest.mark.slow
@pytest.mark.parametrize("window", [256, 5000], ids=["a_stream_of_them", "all_in_one_moment"])
def test_five_thousand_connections_at_once(world, window):
    """
    5 000 plain clients ──► proxy (client) ══ proxy (server) ──► echo      all quiet, all speaking again, all gone
    """
    from test_scale import Crowd, need_descriptors, settled_memory

    many = 5000
    need_descriptors(2 * many + 500)
    target = world.add(Helper("echo", "serve", "127.0.0.1:0"))
    quiet = {"logging": {"level": "info"}, "proxy": {"handshake_timeout_ms": 60000 * PATIENCE}}
    far, server = sidecars.server(world, target.address, **quiet)
    near, client = sidecars.client(world, far, **quiet)
    assert peers.ask(near, b"warm") == b"warm"
    nodes = server, client
    memory = [node.memory() for node in nodes]
    crowd = world.add(Crowd(near, many, window))
    totals = crowd.totals()
    assert totals["right"] == many and totals["lost"] == totals["wrong"] == totals["not_connected"] == 0, totals
    for node, before in zip(nodes, memory):
        # All in one moment leave holes where their handshakes have been.
        most = before + many * (40000 if window < many else 56000)
        idle = settled_memory(node, most, "%d quiet connections" % many) - before
        print("\n%s: %.1f kB for each quiet connection" % (node.name, idle / many / 1000))
    totals = crowd.tell("speak")
    assert totals["right"] == 2 * many and totals["lost"] == totals["wrong"] == 0, totals
    totals = crowd.tell("leave")
    assert totals["ended"] == many and totals["lost"] == totals["wrong"] == 0, totals
    for node in nodes:
        node.wait(lambda: node.status()["flows_open"] == 0, "every connection to end")
