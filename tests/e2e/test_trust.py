"""Who is refused, for which reason, and that not one byte was forwarded for any of them."""

import os
import socket

import pytest

import peers
from peers import Recorder, Server
from qanat import Certs, free_port, wait
from strangers import DATA_ALPN, Stranger, key_that_claims_to_match, openssl_offers, talk

LONG_AGO = dict(not_before="20200101000000Z", not_after="20210101000000Z")
FAR_AHEAD = dict(not_before="20900101000000Z", not_after="20910101000000Z")


@pytest.fixture
def guarded(world):
    """A dest alone, with a target that must never be reached."""
    target = world.add(Recorder())
    dest = world.dest([("service", target.address)])
    yield dest
    assert target.accepted == 0
    assert dest.metric("qanat_bytes_total", direction="outward") == 0
    assert dest.metric("qanat_bytes_total", direction="inward") == 0
    assert dest.metric("qanat_links_opened_total") == 0


def refused(dest, kind, outcome, world, seconds=20, **stranger):
    """dest refuses that stranger, and counts it under that outcome and no other."""
    before = dest.metrics()
    client = world.add(Stranger(dest.config["dest"]["tunnel_port"], **stranger))
    dest.wait_metric(1, "qanat_handshakes_total", kind=kind, outcome=outcome, seconds=seconds)
    client.said()
    changed = {
        key
        for key, value in dest.metrics().items()
        if key.startswith("qanat_handshakes_total") and value != before[key]
    }
    assert changed == {'qanat_handshakes_total{kind="%s",outcome="%s"}' % (kind, outcome)}


def test_the_right_certificate_is_taken(world):
    """
    client with our CA's client certificate ──TLS──► dest     (so that the refusals below mean something)
    """
    dest = world.dest([("service", world.add(Recorder()).address)])
    world.add(Stranger(dest.config["dest"]["tunnel_port"], cert=world.certs.client, key=world.certs.client_key))
    dest.wait_metric(1, "qanat_handshakes_total", kind="control", outcome="ok")


def test_a_certificate_of_a_foreign_ca(guarded, world):
    """
    client, certificate by another CA of the same name ──╳ dest
    """
    foreign = Certs(os.path.join(world.folder, "foreign"))
    refused(guarded, "control", "unknown_ca", world, cert=foreign.client, key=foreign.client_key)


def test_an_expired_certificate(guarded, world):
    """
    client, our CA, 2020 to 2021 ──╳ dest
    """
    cert, key = world_certs(world).by_openssl("expired", "clientAuth", **LONG_AGO)
    refused(guarded, "control", "expired", world, cert=cert, key=key)


def test_a_certificate_that_is_not_yet_valid(guarded, world):
    """
    client, our CA, from 2090 ──╳ dest
    """
    cert, key = world_certs(world).by_openssl("early", "clientAuth", **FAR_AHEAD)
    refused(guarded, "control", "not_yet_valid", world, cert=cert, key=key)


def world_certs(world):
    """The session's CA, with new files in this test's folder."""
    copy = object.__new__(Certs)
    copy.__dict__.update(world.certs.__dict__, folder=world.folder)
    return copy


def test_the_certificate_of_dest_reflected(guarded, world):
    """
    client with dest's own certificate and key (EKU serverAuth) ──╳ dest
    """
    refused(guarded, "control", "wrong_usage", world, cert=world.certs.server, key=world.certs.server_key)


def test_a_certificate_without_any_usage(guarded, world):
    """
    client, our CA, no EKU at all ──╳ dest
    """
    cert, key = world_certs(world).by_openssl("plain", None)
    refused(guarded, "control", "wrong_usage", world, cert=cert, key=key)


def test_no_certificate(guarded, world):
    """
    client that shows nothing ──╳ dest
    """
    refused(guarded, "control", "no_certificate", world)


def test_the_right_certificate_with_a_wrong_key(guarded, world):
    """
    client, our client's certificate, a key that only claims to match: its signature is wrong ──╳ dest
    """
    forged = key_that_claims_to_match(world.certs.client_key, os.path.join(world.folder, "forged.key"))
    refused(guarded, "control", "bad_signature", world, cert=world.certs.client, key=forged)


@pytest.mark.parametrize("groups", ["X25519", "P-256:X25519"])
def test_a_client_with_classical_groups_only(guarded, world, groups):
    """
    client, right certificate, no post-quantum group ──╳ dest (pq = "require")
    """
    refused(
        guarded, "any", "no_common_group", world, groups=groups, cert=world.certs.client, key=world.certs.client_key
    )
    assert "require" in guarded.log(), "the log names the policy"


def test_tls_12(guarded, world):
    """
    client, right certificate, TLS 1.2 ──╳ dest
    """
    before = guarded.metrics()
    client = world.add(
        Stranger(
            guarded.config["dest"]["tunnel_port"],
            groups="X25519",
            options=["-tls1_2"],
            cert=world.certs.client,
            key=world.certs.client_key,
        )
    )
    client.said()
    guarded.wait(lambda: failures(guarded) == failures_in(before) + 1, "the refusal to be counted once")


def failures_in(metrics):
    return sum(
        value
        for key, value in metrics.items()
        if key.startswith("qanat_handshakes_total") and 'outcome="ok"' not in key
    )


def failures(node):
    return failures_in(node.metrics())


@pytest.mark.parametrize("alpn", [None, "http/1.1", "qanat/2", "qanat", "qanat/1x"])
def test_another_alpn(guarded, world, alpn):
    """
    client, right certificate, not our protocol ──╳ dest
    """
    refused(guarded, "any", "bad_alpn", world, alpn=alpn, cert=world.certs.client, key=world.certs.client_key)


def test_a_data_connection_with_a_certificate_instead_of_keys(guarded, world):
    """
    client, right certificate, data ALPN, no PSK ──╳ dest
    """
    client = world.add(
        Stranger(
            guarded.config["dest"]["tunnel_port"], alpn=DATA_ALPN, cert=world.certs.client, key=world.certs.client_key
        )
    )
    client.said()
    guarded.wait(lambda: failures(guarded) >= 1 or psk_refusals(guarded) >= 1, "the refusal to be counted")
    assert guarded.metric("qanat_handshakes_total", kind="data", outcome="ok") == 0


def psk_refusals(node):
    return sum(value for key, value in node.metrics().items() if key.startswith("qanat_psk_refused_total"))


@pytest.mark.parametrize(
    "words",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        bytes(1000),
        b"\x16\x03\x01" + b"\xff" * 600,
        b"\xff" * 100000,
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
    ],
    ids=["http", "ssh", "zeros", "record-too-long", "much", "empty-hello"],
)
def test_a_stranger_that_does_not_speak_tls(guarded, words):
    """
    HTTP, SSH or noise ──╳ dest
    """
    talk(guarded.config["dest"]["tunnel_port"], words)
    guarded.wait(lambda: failures(guarded) >= 1, "the refusal to be counted")


def test_the_source_refuses_a_dest_with_another_name(world):
    """
    source (peer_name = "other.example") ──╳ dest, whose certificate says localhost
    """
    target = world.add(Recorder())
    dest = world.dest([("service", target.address)])
    port = free_port()
    source = world.source(
        dest,
        [("127.0.0.1:%d" % port, "service")],
        ready=False,
        auth={
            "ca_cert_path": world.certs.ca,
            "client_cert_path": world.certs.client,
            "client_key_path": world.certs.client_key,
            "peer_name": "other.example",
        },
    )
    source.wait_metric(2, "qanat_handshakes_total", kind="control", outcome="wrong_name")
    assert "other.example" in source.log()
    assert not source.is_ready()
    assert dest.metric("qanat_links_opened_total") == 0
    assert target.accepted == 0


def test_the_source_refuses_a_dest_of_a_foreign_ca(world):
    """
    source ──╳ dest with a certificate of another CA
    """
    foreign = Certs(os.path.join(world.folder, "foreign"))
    target = world.add(Recorder())
    dest = world.dest([("service", target.address)], certs=foreign)
    source = world.source(dest, ready=False, forwards=[("127.0.0.1:%d" % free_port(), "service")])
    source.wait_metric(1, "qanat_handshakes_total", kind="control", outcome="unknown_ca")
    assert target.accepted == 0


def test_the_source_refuses_a_client_certificate_shown_by_a_server(world):
    """
    source ──╳ a TLS server that shows a client's certificate, as whoever holds one could
    """
    from strangers import OPENSSL
    import subprocess

    port = free_port()
    server = subprocess.Popen(
        [
            OPENSSL,
            "s_server",
            "-accept",
            "127.0.0.1:%d" % port,
            "-cert",
            world.certs.client,
            "-key",
            world.certs.client_key,
            "-CAfile",
            world.certs.ca,
            "-Verify",
            "2",
            "-alpn",
            "qanat/1",
            "-groups",
            "X25519MLKEM768",
            "-quiet",
            "-naccept",
            "3",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        source = world.source(port, [("127.0.0.1:%d" % free_port(), "service")], ready=False)
        source.wait_metric(1, "qanat_handshakes_total", kind="control", outcome="wrong_usage")
    finally:
        server.kill()
        server.wait()


def test_a_key_file_that_others_can_read_stops_the_start(world):
    """
    chmod 644 key ──► dest does not start, and says how to mend it
    """
    key = os.path.join(world.folder, "loose.key")
    with open(world.certs.server_key, "rb") as file, open(key, "wb") as copy:
        copy.write(file.read())
    os.chmod(key, 0o644)
    target = world.add(Server(peers.echo))
    auth = {"ca_cert_path": world.certs.ca, "server_cert_path": world.certs.server, "server_key_path": key}
    dest = world.dest([("service", target.address)], ready=False, auth=auth)
    status = dest.process.wait(20)
    dest.expects = status
    assert status != 0
    assert key in dest.log() and "chmod" in dest.log()
    os.chmod(key, 0o600)
    world.dest([("service", target.address)], name="mended", auth=auth)


def test_a_certificate_that_is_not_allowed_here(world):
    """
    source (CN source.test) ──╳ dest (allowed_peers = ["robot-*"])
    """
    target = world.add(Recorder())
    auth = {
        "ca_cert_path": world.certs.ca,
        "server_cert_path": world.certs.server,
        "server_key_path": world.certs.server_key,
    }
    dest = world.dest([("service", target.address)], auth={**auth, "allowed_peers": ["robot-*"]})
    port = free_port()
    source = world.source(dest, [("127.0.0.1:%d" % port, "service")], ready=False)
    wait(lambda: "source.test" in dest.log(), "dest to name whom it refused")
    assert not source.is_ready()
    assert dest.metric("qanat_links_opened_total") == 0
    dest.stop()
    dest.config["auth"]["allowed_peers"] = ["robot-*", "source.*"]
    again = world.node("dest", dest.config, "allowing").start().wait_ready()
    source.wait_ready()
    assert again.metric("qanat_links_opened_total") == 1


def test_an_address_outside_the_filter_is_turned_away_before_tls(world):
    """
    127.0.0.1 ──╳ dest (allowed_source_ips = ["10.0.0.0/8"])
    """
    target = world.add(Recorder())
    dest = world.dest(
        [("service", target.address)], **{"dest.connection_filter": {"allowed_source_ips": ["10.0.0.0/8"]}}
    )
    with socket.create_connection(("127.0.0.1", dest.config["dest"]["tunnel_port"]), timeout=10) as stranger:
        assert peers.read_to_end(stranger)[0] == b""
    dest.wait_metric(1, "qanat_admission_refused_total", reason="source_address")


def test_openssl_here_knows_the_hybrid_group():
    """The refusals above must come from the server, not from a client that cannot speak."""
    assert openssl_offers("X25519MLKEM768")
