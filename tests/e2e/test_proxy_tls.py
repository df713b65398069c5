"""What `qanat proxy` shows and accepts, as ordinary TLS software sees it: certificates, chains, staples, ALPN."""

import os
import re
import socket
import ssl
import subprocess

import pytest

import peers
import sidecars
from peers import Server
from qanat import OPENSSL, PATIENCE, run
from sidecars import s_client, tls_ask
from strangers import openssl_offers

SIGNATURE = re.compile(r"Peer signature type: (\S+)")


def greeter(world):
    """A target that speaks first and ends its direction, so that s_client ends."""

    def greet_once(connection):
        connection.sendall(b"hello\n")
        connection.shutdown(socket.SHUT_WR)
        peers.read_to_end(connection)

    return world.add(Server(greet_once)).address


def shown(address, certs, *options):
    """The signature algorithm that s_client saw, None when the handshake failed; and all that it printed."""
    status, said = s_client(address, certs, *options)
    found = SIGNATURE.search(said)
    return (found.group(1).lower() if status == 0 and found else None), said


def issued(certs, name, key):
    cert, private = certs.path(name + ".crt"), certs.path(name + ".key")
    certs.make("server", cert, private, "--common-name", name, "--dns-names", "localhost", "--key", key,
               "--ca-cert", certs.ca, "--ca-key", certs.ca_key)
    return cert, private


def test_each_client_is_shown_the_first_certificate_that_it_can_verify(world):
    """
    s_client -sigalgs … ══► proxy (ML-DSA-65, ML-DSA-87, P-256, RSA) ──► target
    """
    if not openssl_offers("X25519MLKEM768"):
        pytest.skip("this OpenSSL has no ML-DSA")
    certs = world.certs
    first, second = issued(certs, "pq65", "ml-dsa-65"), issued(certs, "pq87", "ml-dsa-87")
    rsa = certs.by_openssl("rsa", "serverAuth", subject="/CN=rsa", san="DNS:localhost", key_type=("rsa:2048",))
    more = [{"cert_path": cert, "key_path": key} for cert, key in (second, (certs.server, certs.server_key), rsa)]
    near, node = sidecars.server(world, greeter(world), proxy={
        "cert_path": first[0], "key_path": first[1], "certificates": more, "min_tls": "1.2"})
    for offers, wanted in (
        (None, "mldsa65"),
        ("mldsa87:mldsa65:ecdsa_secp256r1_sha256", "mldsa65"),
        ("mldsa87:ecdsa_secp256r1_sha256", "mldsa87"),
        ("ecdsa_secp256r1_sha256:rsa_pss_rsae_sha256", "ecdsa_secp256r1_sha256"),
        ("rsa_pss_rsae_sha256:rsa_pkcs1_sha256:ecdsa_secp384r1_sha384", "rsa_pss_rsae_sha256"),
        ("ed25519", None),
    ):
        # The client's own certificate is P-256: where it may not sign with it, it has nothing to show.
        words = ("-sigalgs", offers, "-client_sigalgs", "ecdsa_secp256r1_sha256") if offers else ()
        got, said = shown(near, certs, *words)
        assert got == wanted, said
    # A client of before all this: TLS 1.2, and this machine's Python, which may know nothing of ML-DSA.
    status, said = s_client(near, certs, "-tls1_2")
    assert status == 0 and "Server public key is 256 bit" in said, said
    assert tls_ask(near, certs, b"", 6) == b"hello\n"
    counted = sidecars.handshakes(node)
    assert counted.get("no_common_signature") == 1, counted


def test_the_chain_goes_out_in_order_and_without_its_root(world):
    """
    s_client -showcerts ══► proxy (file: leaf, root, intermediate) ──► target      leaf and intermediate are sent
    """
    certs = world.certs
    root, root_key, middle, middle_key, leaf, key = (
        certs.path(name) for name in ("root.crt", "root.key", "middle.crt", "middle.key", "deep.crt", "deep.key"))

    def make(name, cert, private, issuer, *extensions):
        words = [OPENSSL, "req", "-x509", "-new", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                 "-days", "1", "-subj", "/CN=" + name, "-out", cert, "-keyout", private, *issuer]
        for extension in extensions:
            words += ["-addext", extension]
        run(words)

    authority = ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign")
    make("root", root, root_key, (), *authority)
    make("middle", middle, middle_key, ("-CA", root, "-CAkey", root_key), *authority)
    make("deep", leaf, key, ("-CA", middle, "-CAkey", middle_key), "basicConstraints=critical,CA:FALSE",
         "subjectAltName=DNS:localhost")
    os.chmod(key, 0o600)
    whole = certs.path("whole.crt")
    with open(whole, "w", encoding="ascii") as out:
        for part in (leaf, root, middle):
            with open(part, encoding="ascii") as text:
                out.write(text.read())
    near, _ = sidecars.server(world, greeter(world), proxy={"cert_path": whole, "key_path": key})
    status, said = s_client(near, certs, "-showcerts", "-CAfile", root)
    assert status == 0, said
    assert said.count("-----BEGIN CERTIFICATE-----") == 2, said
    assert re.search(r"0 s:CN ?= ?deep.*1 s:CN ?= ?middle", said, re.DOTALL), said


NAMED = re.compile(r"Acceptable client certificate CA names\n(.*?)\n(?:Requested|Client|Shared|Peer)", re.DOTALL)


@pytest.mark.parametrize("version", ("-tls1_3", "-tls1_2"))
def test_a_client_is_told_which_certificates_will_do(world, tmp_path, version):
    """
    s_client ══► proxy ──► target      CertificateRequest: the names in proxy.ca_cert_path, unless they are very many
    """
    certs = world.certs
    with open(certs.ca, encoding="ascii") as text:
        bundle = text.read()
    for number in range(33):
        cert, key = str(tmp_path / ("ca%d.crt" % number)), str(tmp_path / ("ca%d.key" % number))
        certs.make("ca", cert, key, "--common-name", "CA %d" % number)
        with open(cert, encoding="ascii") as text:
            bundle += text.read()
        if number not in (1, 32):
            continue
        several = str(tmp_path / ("several%d.crt" % number))
        with open(several, "w", encoding="ascii") as out:
            out.write(bundle)
        near, _ = sidecars.server(world, greeter(world), proxy={"ca_cert_path": several, "min_tls": "1.2"})
        status, said = s_client(near, certs, version)
        named = NAMED.search(said)
        assert status == 0, said
        if number == 1:
            assert sorted(re.findall(r"CN ?= ?(Test CA|CA \d+)", named.group(1))) == ["CA 0", "CA 1", "Test CA"], said
        else:
            assert not named and "No client certificate CA names sent" in said, said
    near, _ = sidecars.server(world, greeter(world), proxy={"client_cert_mode": "none", "min_tls": "1.2"})
    assert "No client certificate CA names sent" in s_client(near, certs, version)[1]


def staple(certs, cert, path, days):
    """A response of the CA about a certificate, good for some days."""
    serial = run([OPENSSL, "x509", "-in", cert, "-noout", "-serial"]).strip().split("=")[1]
    index = certs.path("index.txt")
    with open(index, "w", encoding="ascii") as out:
        out.write("V\t491231235959Z\t\t%s\tunknown\t/CN=x\n" % serial)
    run([OPENSSL, "ocsp", "-index", index, "-rsigner", certs.ca, "-rkey", certs.ca_key, "-CA", certs.ca,
         "-issuer", certs.ca, "-cert", cert, "-ndays", str(days), "-respout", path])


@pytest.mark.parametrize("version", ["-tls1_3", "-tls1_2"])
def test_a_response_is_stapled_for_clients_that_ask(world, version):
    """
    s_client -status ══► proxy with an OCSP response of its CA ──► target
    """
    if subprocess.run([OPENSSL, "ocsp", "-help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE).returncode != 0:
        pytest.skip("this OpenSSL was built without OCSP")
    certs, path = world.certs, world.certs.path("server.ocsp")
    staple(certs, certs.server, path, 2)
    near, _ = sidecars.server(world, greeter(world), proxy={"ocsp_path": path, "min_tls": "1.2"})
    status, said = s_client(near, certs, version, "-status")
    assert status == 0, said
    assert "OCSP Response Status: successful" in said and "Cert Status: good" in said, said
    status, said = s_client(near, certs, version)
    assert status == 0 and "OCSP Response Status" not in said, said


def test_a_response_about_another_certificate_stops_the_start(world):
    """
    proxy with the OCSP response of its client's certificate: not started, and the file named
    """
    if subprocess.run([OPENSSL, "ocsp", "-help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE).returncode != 0:
        pytest.skip("this OpenSSL was built without OCSP")
    certs, path = world.certs, world.certs.path("client.ocsp")
    staple(certs, certs.client, path, 2)
    _, node = sidecars.server(world, greeter(world), ready=False, proxy={"ocsp_path": path})
    assert node.process.wait(20 * PATIENCE) != 0
    node.process = None
    assert "not about our certificate" in node.log() and path in node.log(), node.log()


def test_protocols_are_agreed_by_alpn_or_refused_with_its_alert(world):
    """
    s_client -alpn … ══► proxy (h2, http/1.1) ──► target
    """
    certs = world.certs
    near, node = sidecars.server(world, greeter(world), proxy={"alpn": ["h2", "http/1.1"]})
    status, said = s_client(near, certs, "-alpn", "http/1.1,h2")
    assert status == 0 and "ALPN protocol: h2" in said, said
    status, said = s_client(near, certs, "-alpn", "http/1.1")
    assert status == 0 and "ALPN protocol: http/1.1" in said, said
    status, said = s_client(near, certs)
    assert status == 0 and "No ALPN negotiated" in said, said
    status, said = s_client(near, certs, "-alpn", "ftp")
    assert status != 0 and "no application protocol" in said, said
    assert sidecars.handshakes(node).get("bad_alpn") == 1, sidecars.handshakes(node)


def test_post_quantum_signatures_can_be_demanded(world, pq_certs):
    """
    s_client with an ML-DSA certificate, and with one of P-256 ══► proxy (signatures = require-pq) ──► target
    """
    near, node = sidecars.server(world, greeter(world), certs=pq_certs, proxy={"signatures": "require-pq",
                                                                              "hybrid_mode": "require"})
    got, said = shown(near, pq_certs)
    assert got == "mldsa65", said
    classical = pq_certs.by_openssl("classical", "clientAuth")
    status, said = s_client(near, pq_certs, "-cert", classical[0], "-key", classical[1], cert=False)
    assert status != 0, said
    got, said = shown(near, pq_certs, "-sigalgs", "ecdsa_secp256r1_sha256")
    assert got is None, said
    assert sidecars.handshakes(node).get("ok") == 1, sidecars.handshakes(node)


@pytest.fixture
def pq_certs(world):
    if not openssl_offers("X25519MLKEM768"):
        pytest.skip("this OpenSSL has no ML-DSA")
    return type(world.certs)(os.path.join(world.certs.folder, "pq"), key="ml-dsa-65")


def test_nothing_is_resumed(world):
    """
    Python, twice, the second time with the first one's session ══► proxy ──► target
    """
    certs = world.certs
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        near, _ = sidecars.server(world, greeter(world), name="v%d" % version, proxy={"min_tls": "1.2"})
        made = sidecars.context(certs, version=version)
        with made.wrap_socket(peers.dial(near), server_hostname="localhost") as one:
            assert one.recv(6) == b"hello\n"
            session = one.session
            assert not session.has_ticket
            sidecars.end(one)
        with made.wrap_socket(peers.dial(near), server_hostname="localhost", session=session) as two:
            assert two.recv(6) == b"hello\n"
            assert not two.session_reused
            sidecars.end(two)
