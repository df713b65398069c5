"""Epochs, one-time keys, and what is negotiated. protocol.md 2, 3 and 5."""

import json
import os
import re
import subprocess

import pytest

import peers
from middleman import DATA, Middleman
from peers import Helper, Recorder, Server, dial
from qanat import HELPERS, PATIENCE, free_port, wait

LEGS = {
    "hybrid": {"X25519", "ML-KEM-768", "McEliece-460896"},
    "mlkem768": {"X25519", "ML-KEM-768"},
    "mceliece460896": {"X25519", "McEliece-460896"},
}


def legs_of(link):
    return set(link["kem_legs"].split("+"))


@pytest.mark.parametrize("mode", sorted(LEGS))
def test_each_kem_mode_is_what_it_says(world, mode):
    """
    source (kem_mode) ◄── epoch ──► dest (the same)       both show the legs, the group and the signatures
    """
    target = world.add(Server(peers.echo))
    near, source, dest = world.pair(target.address, crypto={"kem_mode": mode})
    assert peers.ask(near, b"x" * 1000) == b"x" * 1000
    for node in (source, dest):
        link = node.link()
        assert legs_of(link) == LEGS[mode]
        assert link["kem_mode"] == mode
        assert link["epoch"] >= 1
        assert link["tls_version"] == "TLSv1.3"
        assert "MLKEM" in link["tls_group"].upper()
        assert "AES_256_GCM_SHA384" in link["tls_cipher"] or "CHACHA20" in link["tls_cipher"]
        assert "ecdsa" in link["signature_peer"].lower() and "ecdsa" in link["signature_own"].lower()
        assert re.fullmatch(r"[0-9a-f]{32}", link["id"])
        assert re.fullmatch(r"[0-9a-f]{64}", link["fingerprint"])
    assert source.link()["id"] == dest.link()["id"]
    assert "dest.test" in source.link()["subject"] and "source.test" in dest.link()["subject"]
    assert source.link()["peer_name"] == "dest.node" and dest.link()["peer_name"] == "source.node"


@pytest.mark.parametrize("one,other", [("hybrid", "mlkem768"), ("mlkem768", "mceliece460896")])
def test_kem_modes_that_differ_are_refused_with_both_values_named(world, one, other):
    """
    source (one) ──╳ dest (other)
    """
    target = world.add(Recorder())
    dest = world.dest([("service", target.address)], crypto={"kem_mode": one})
    source = world.source(dest, [("127.0.0.1:%d" % free_port(), "service")], ready=False, crypto={"kem_mode": other})
    for node in (source, dest):
        node.wait(
            lambda node=node: any(one in line and other in line for line in node.log().splitlines()),
            "one line that names %s and %s" % (one, other),
        )
    assert not source.is_ready()
    assert target.accepted == 0
    assert dest.metric("qanat_links_opened_total") == 0


def test_an_ml_dsa_chain_signs_the_link(world, tmp_path):
    """
    source ══ ML-DSA-65 certificates both ways ══ dest
    """
    from qanat import Certs

    certs = Certs(str(tmp_path / "ml-dsa"), key="ml-dsa-65")
    target = world.add(Server(peers.echo))
    near, source, dest = world.pair(target.address, certs=certs)
    assert peers.ask(near, b"signed") == b"signed"
    for node in (source, dest):
        link = node.link()
        assert "mldsa65" in link["signature_peer"].lower().replace("-", "").replace("_", "")


@pytest.mark.serial
@pytest.mark.parametrize("mode", ["hybrid", "mlkem768"])
def test_an_epoch_every_second_loses_nothing(world, mode):
    """
    client ══ 256 MiB each way ══► source ══ epoch 1, 2, 3, … ══ dest ══► bulk      SHA-256 equal
    """
    far = world.add(Helper("bulk", "serve", "127.0.0.1:0"))
    near, source, dest = world.pair(far.address, crypto={"kem_mode": mode, "key_rotation_interval_seconds": 1})
    first = source.link()["epoch"]
    status, result = peers.call_helper("bulk", "run", "%s:%d" % near, "--bytes", 256 << 20, seconds=200)
    assert status == 0, result
    for node in (source, dest):
        node.wait(lambda node=node: node.link()["epoch"] >= first + 3, "three more epochs")
        assert node.metric("qanat_epochs_total", outcome="failed") == 0
    # New flows go on the newest keys.
    status, result = peers.call_helper("bulk", "run", "%s:%d" % near, "--bytes", 1 << 20)
    assert status == 0, result
    assert source.metric("qanat_links_opened_total") == 1


@pytest.mark.threads
def test_new_flows_while_keys_change_every_second(world):
    """
    many short clients ══► source ══ epoch 1, 2, 3, … ══ dest ══► swarm
    """
    far = world.add(Helper("swarm", "serve", "127.0.0.1:0"))
    near, source, dest = world.pair(far.address, crypto={"kem_mode": "hybrid", "key_rotation_interval_seconds": 1})
    totals = peers.swarm(near, far, flows=600, parallel=20, up=20000, down=20000, idle=50, idle_ms=300, seconds=90)
    assert totals["right"] == 600
    wait(lambda: source.link()["epoch"] >= 3, "a few epochs")
    assert dest.metric("qanat_epochs_total", outcome="failed") == 0
    assert source.metric("qanat_links_opened_total") == 1


def test_an_epoch_changes_by_bytes(world):
    """
    client ══ 24 MiB ══► source (key_rotation_bytes = 8 MiB) ══ dest
    """
    far = world.add(Helper("bulk", "serve", "127.0.0.1:0"))
    near, source, dest = world.pair(far.address, crypto={"kem_mode": "mlkem768", "key_rotation_bytes": 8 << 20})
    before = source.link()["epoch"]
    status, result = peers.call_helper("bulk", "run", "%s:%d" % near, "--bytes", 24 << 20)
    assert status == 0, result
    source.wait(lambda: source.link()["epoch"] > before, "another epoch")
    dest.wait(lambda: dest.link()["epoch"] == source.link()["epoch"], "the same epoch at dest")


def test_a_replayed_data_connection_is_refused(world):
    """
    source ──► middleman (keeps a copy) ──► dest ──► target
               later: the copy, byte for byte ──╳ dest, and the target sees nothing of it
    """
    target = world.add(Recorder(say=b"answer"))
    dest = world.dest([("service", target.address)])
    between = world.add(Middleman(("127.0.0.1", dest.config["dest"]["tunnel_port"])))
    port = free_port()
    source = world.source(between.port, [("127.0.0.1:%d" % port, "service")])
    with dial(("127.0.0.1", port)) as client:
        client.sendall(b"transfer 100 to Bob")
        client.shutdown(1)
        assert peers.read_to_end(client) == (b"answer", "end")
    wait(lambda: target.records[0]["end"], "the flow to end")
    copies = [bytes(connection.first) for connection in between.of_kind(DATA)]
    assert copies
    reached = target.accepted
    for number, copy in enumerate(copies, 1):
        with dial(("127.0.0.1", dest.config["dest"]["tunnel_port"])) as attacker:
            attacker.sendall(copy)
            peers.read_to_end(attacker)
        dest.wait_metric(number, "qanat_psk_refused_total", reason="replayed")
    assert target.accepted == reached
    assert source.metric("qanat_links_opened_total") == 1
    # Also after the link has gone the copies are worth nothing.
    source.stop()
    dest.wait(lambda: dest.metric("qanat_links_closed_total") == 1, "the link to close")
    with dial(("127.0.0.1", dest.config["dest"]["tunnel_port"])) as attacker:
        attacker.sendall(copies[0])
        peers.read_to_end(attacker)
    dest.wait_metric(1, "qanat_psk_refused_total", reason="unknown_link")
    assert target.accepted == reached


# ---- a client with a valid certificate that does not keep to the protocol (tests/helpers/tls_peer.c)


def play(world, scenario, target, crypto_mode="mlkem768"):
    """Returns the dest and the fates of the helper's data connections."""
    dest = world.dest([("service", target.address)], crypto={"kem_mode": crypto_mode})
    certs = world.certs
    done = subprocess.run(
        [
            os.path.join(HELPERS, "tls_peer"),
            str(dest.config["dest"]["tunnel_port"]),
            certs.ca,
            certs.client,
            certs.client_key,
            "service",
            scenario,
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=60 * PATIENCE,
    )
    assert done.returncode == 0, done.stderr.decode()
    return dest, json.loads(done.stdout)


def test_a_right_key_opens_a_stream(world):
    """
    tls_peer ── PSK ──► dest ──► target      (so that the refusals below mean something)
    """
    target = world.add(Recorder())
    dest, fates = play(world, "good", target)
    assert fates == [{"fate": "answered", "status": 0, "key_used": True}]
    wait(lambda: target.accepted == 1, "the target to be reached")
    assert dest.metric("qanat_handshakes_total", kind="data", outcome="ok") == 1


REFUSALS = {
    # protocol.md 5, trap 2: a PSK must not stand in for a certificate.
    "control-psk": None,
    # A certificate must not stand in for a PSK.
    "data-cert": None,
    "data-unknown-cert": "unknown_link",
    "data-malformed": "malformed",
    "next-epoch": "unknown_epoch",
    "far-index": None,
    "both-names": None,
    "after-close": "unknown_link",
    "classical": None,
    "other-suite": None,
}


@pytest.mark.parametrize("scenario", sorted(REFUSALS))
def test_a_data_connection_that_is_not_ours_is_refused(world, scenario):
    """
    tls_peer (see its head for the scenario) ──╳ dest
    """
    target = world.add(Recorder())
    dest, fates = play(world, scenario, target)
    assert [fate["fate"] for fate in fates] in (["refused"], ["closed"]), fates
    assert target.accepted == 0
    assert dest.metric("qanat_handshakes_total", kind="data", outcome="ok") == 0
    assert dest.metric("qanat_handshakes_total", kind="control", outcome="ok") == 1
    reason = REFUSALS[scenario]
    if reason:
        assert dest.metric("qanat_psk_refused_total", reason=reason) == 1
    else:
        refusals = sum(
            value
            for key, value in dest.metrics().items()
            if key.startswith("qanat_psk_refused_total")
            or (key.startswith("qanat_handshakes_total") and 'outcome="ok"' not in key)
        )
        assert refusals >= 1, "the refusal was not counted"


def test_a_control_connection_stands_by_its_certificate_alone(world):
    """
    tls_peer ── control ALPN, certificate, and a PSK nobody asked for ──► dest does not use the PSK
    """
    target = world.add(Recorder())
    dest, fates = play(world, "control-psk-cert", target)
    assert fates[0]["fate"] in ("refused", "closed") and fates[0]["key_used"] is False
    assert dest.metric("qanat_handshakes_total", kind="data", outcome="ok") == 0
    assert target.accepted == 0


def test_an_index_is_good_for_one_connection(world):
    """
    tls_peer ── index 0 ──► dest ; again ── index 0 ──╳
    """
    target = world.add(Recorder())
    dest, fates = play(world, "twice", target)
    assert fates[0] == {"fate": "answered", "status": 0, "key_used": True}
    assert fates[1]["fate"] in ("refused", "closed")
    assert dest.metric("qanat_psk_refused_total", reason="replayed") == 1
    assert target.accepted == 1


def test_of_eight_connections_with_one_index_one_is_taken(world):
    """
    tls_peer ══ index 0, eight times at once ══ dest (two workers)
    """
    target = world.add(Recorder())
    dest, fates = play(world, "race", target)
    assert sorted(fate["fate"] for fate in fates).count("answered") == 1, fates
    assert dest.metric("qanat_psk_refused_total", reason="replayed") == 7
    assert target.accepted == 1


def test_a_forged_key_does_not_burn_the_index(world):
    """
    tls_peer ── index 0, wrong key ──╳ dest ; then ── index 0, right key ──► dest
    """
    target = world.add(Recorder())
    dest, fates = play(world, "forged-then-good", target)
    assert fates[0]["fate"] == "refused"
    assert fates[1] == {"fate": "answered", "status": 0, "key_used": True}
    assert dest.metric("qanat_psk_refused_total", reason="bad_binder") == 1
