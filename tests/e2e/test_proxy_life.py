"""A proxy's certificates over time: warned of, renewed by its CA, taken into use from the disk, under connections."""

import json
import os
import re

import pytest

import sidecars
from peers import Helper, read_exactly
from qanat import PATIENCE, QANAT, Certs, run
from test_renewal import LIFE_S, Authority, ShortCerts, key_fits, renewal, renewed, serial


def issuer(certs):
    return ["--ca-cert", certs.ca, "--ca-key", certs.ca_key]


@pytest.fixture
def echo(world):
    return world.add(Helper("echo", "serve", "127.0.0.1:0"))


@pytest.fixture
def short(tmp_path):
    """A server's certificate of P-256 and one of ML-DSA-65 that live for seconds; the client's lives for long."""
    certs = ShortCerts(str(tmp_path / "short"))
    Certs.make(certs, "client", certs.client, certs.client_key, "--common-name", "source.test", "--force",
               *issuer(certs))
    certs.pq, certs.pq_key = certs.path("pq.crt"), certs.path("pq.key")
    certs.make("server", certs.pq, certs.pq_key, "--common-name", "pq.test", "--dns-names", "localhost", "--key",
               "ml-dsa-65", *issuer(certs))
    return certs


def second(certs):
    return {"certificates": [{"cert_path": certs.pq, "key_path": certs.pq_key}]}


def asked(connection, question):
    connection.sendall(question)
    return read_exactly(connection, len(question))


@pytest.mark.threads
def test_connections_run_on_while_all_certificates_renew(world, tmp_path, short, echo):
    """
    TLS client ══ proxy (P-256, ML-DSA-65: 20 s each) ── echo
                     ╲
                  drop folder: the CA
    """
    authority = world.add(Authority(short, str(tmp_path)).start())
    first = {path: serial(path) for path in (short.server, short.pq)}
    near, proxy = sidecars.server(world, echo.address, certs=short, proxy=second(short), renewal=renewal(authority))
    standing = [sidecars.tls_dial(near, short) for _ in range(3)]
    for times in (1, 2):
        proxy.wait(renewed(proxy, 2 * times), "renewal %d of both" % times, 2 * LIFE_S / PATIENCE)
        for connection in standing:
            assert asked(connection, b"still there?") == b"still there?"
        for _ in range(10):
            assert sidecars.tls_ask(near, short, b"ping") == b"ping"
    for connection in standing:
        sidecars.end(connection)
        connection.close()
    for path, key in ((short.server, short.server_key), (short.pq, short.pq_key)):
        assert serial(path) != first[path] and key_fits(path, key)
        assert os.stat(key).st_mode & 0o7777 == 0o600
    assert set(sidecars.handshakes(proxy)) == {"ok"}, proxy.log()[-3000:]
    assert proxy.metric("qanat_renewals_total", outcome="failed") == 0, proxy.log()[-3000:]
    status, said = sidecars.s_client(near, short, "-sigalgs", "mldsa65", say=b"")
    assert "CN=pq.test" in said.replace(" ", ""), said
    assert "drop" == proxy.status()["renewal"]["method"]


def test_a_client_that_dials_out_renews_as_well(world, tmp_path, echo):
    """
    plain ── proxy, client: 20 s ══ proxy, server ── echo
    """
    short = ShortCerts(str(tmp_path / "short"))
    Certs.make(short, "server", short.server, short.server_key, "--common-name", "dest.test", "--dns-names",
               "localhost", "--ip-addresses", "127.0.0.1", "--force", *issuer(short))
    authority = world.add(Authority(short, str(tmp_path)).start())
    first = serial(short.client)
    far, server = sidecars.server(world, echo.address, certs=short)
    near, client = sidecars.client(world, far, certs=short, renewal=renewal(authority))
    plain = sidecars.raw(near)
    assert asked(plain, b"one") == b"one"
    client.wait(renewed(client), "the renewal", 2 * LIFE_S / PATIENCE)
    assert serial(short.client) != first
    assert asked(plain, b"two") == b"two"
    again = sidecars.raw(near)
    assert asked(again, b"three") == b"three"
    for connection in (plain, again):
        connection.close()
    assert set(sidecars.handshakes(server)) == {"ok"}, server.log()[-3000:]


def test_what_is_about_to_end_is_shown_for_each_certificate(world, tmp_path, short, echo):
    crl = short.path("ca.crl")
    run([QANAT, "cert", "crl", *issuer(short), "--out-crl", crl, "--days", "1"])
    proxy = sidecars.server(world, echo.address, certs=short, proxy={"crl_paths": [crl], **second(short)})[1]
    shown = {(item["role"], item["number"]): item for item in proxy.status()["certificates"]}
    assert set(shown) == {("own", 1), ("own", 2), ("ca", 1), ("crl", 1)}
    assert "dest.test" in shown["own", 1]["subject"] and "pq.test" in shown["own", 2]["subject"]
    proxy.wait_log(r"error.*our certificate CN=pq\.test.* has ended", 2 * LIFE_S / PATIENCE)

    def degraded():
        health = json.loads(proxy.get("/health")[1])
        return health["status"] == "Degraded" and "has ended" in health["message"]

    proxy.wait(degraded, "/health to be degraded")


@pytest.mark.threads
def test_a_list_that_changes_on_the_disk_cuts_the_revoked(world, tmp_path, echo):
    """
    node.watch_files: a new revocation list is laid over the old one ─► whoever is on it goes, without a signal
    """
    certs = Certs(str(tmp_path / "own"))
    crl = certs.path("ca.crl")
    run([QANAT, "cert", "crl", *issuer(certs), "--out-crl", crl])
    near, proxy = sidecars.server(world, echo.address, certs=certs, proxy={"crl_paths": [crl]},
                                  node={"watch_files": True})
    connection = sidecars.tls_dial(near, certs)
    assert asked(connection, b"here") == b"here"
    run([QANAT, "cert", "revoke", "--cert", certs.client, "--ca-cert", certs.ca])
    run([QANAT, "cert", "crl", *issuer(certs), "--out-crl", crl, "--force"])
    proxy.wait(lambda: proxy.reloads() == (1, 0), "a reload by itself")
    proxy.wait(lambda: sidecars.outcomes(proxy).get("not_allowed_any_more") == 1, "the revoked client to be cut")
    with pytest.raises(OSError):
        sidecars.tls_ask(near, certs, b"again")
    connection.close()


@pytest.mark.parametrize("wrong, said", [
    ("another", "renewal: .*not issued by the CA"),
    ("none", "renewal.ca_cert_path: is needed"),
    ("staple", "renewal.method: is given, and an OCSP response"),
])
def test_renewal_that_could_not_work_stops_the_start(world, tmp_path, echo, wrong, said):
    own, other = Certs(str(tmp_path / "own")), Certs(str(tmp_path / "other"))
    authority = Authority(own, str(tmp_path))
    written = sidecars.config(world, [echo.address], certs=own, renewal=renewal(authority))
    if wrong == "another":
        written["renewal"]["ca_cert_path"] = other.ca
    elif wrong == "none":
        del written["proxy"]["ca_cert_path"]
        written["proxy"].update(client_cert_mode="none", environment="testing")
    else:
        written["proxy"]["ocsp_path"] = own.path("staple.der")
    proxy = sidecars.start(world, written, ready=False)
    proxy.expects = 1 if wrong == "another" else 2
    assert proxy.process.wait(20 * PATIENCE) == proxy.expects
    assert re.search(said, proxy.log()), proxy.log()
