"""`qanat psk` against the original: a real `ttun` on either end must not notice the difference. It is not in any
distribution; these tests run where it is in PATH or the environment variable TTUN names it."""

import os
import shutil

import pytest

import netns
from netns import Psk
from qanat import wait
from test_psk import KEY, METHODS, SERVER, start_client, start_server, transfer, wire  # noqa: F401

TTUN = shutil.which(os.environ.get("TTUN", "ttun"))
REASON = netns.why_not() or (None if TTUN else "there is no ttun (TTUN=/where/it/is)")
pytestmark = pytest.mark.skipif(REASON is not None, reason=REASON or "")


def carries(wire):
    wait(lambda: wire.client.pings("10.1.1.1"), "the tunnel to carry")
    wire.client.ping("10.1.1.1")
    wire.client.ping("fc11::1")
    transfer(wire.client, wire.server, "10.1.1.1", "up", 16)
    transfer(wire.server, wire.client, "10.1.1.2", "down", 16)
    transfer(wire.client, wire.server, "fc11::1", "up6", 8)


@pytest.mark.parametrize("method", METHODS)
def test_ttun_as_client(wire, method):  # noqa: F811
    """
    ttun client ══ qanat psk server: every byte, both ways, both versions of IP; killed, and back
    """
    server = start_server(wire, "-m", method)
    for turn in range(2):
        client = wire.client.start(TTUN, "client", "-k", KEY, "-s", SERVER, "-m", method, name="ttun%d" % turn)
        client.wait_log("authenticated")
        carries(wire)
        client.kill()
        server.wait_log("has ended", times=turn + 1)


@pytest.mark.parametrize("method", METHODS)
def test_ttun_as_server(wire, method):  # noqa: F811
    """
    qanat psk client ══ ttun server: every byte, both ways, both versions of IP; killed, and back
    """
    server = wire.server.start(TTUN, "server", "-k", KEY, "-m", method, name="ttun").wait_log("listen")
    client = start_client(wire, "-m", method).wait_up()
    carries(wire)
    server.kill()
    client.wait_log("has ended")
    wire.server.start(TTUN, "server", "-k", KEY, "-m", method, name="ttun-2").wait_log("listen")
    client.wait_log("connected with", times=2)
    carries(wire)


def test_another_key_or_cipher_of_ttun_is_refused(wire):  # noqa: F811
    """
    ttun client (wrong key, wrong cipher) ──╳ qanat psk server
    """
    server = start_server(wire)
    for turn, words in enumerate((["-k", "another"], ["-k", KEY, "-m", "aes-256-gcm"])):
        client = wire.client.start(TTUN, "client", "-s", SERVER, *words, name="ttun%d" % turn).wait_log("handshake: ")
        client.kill()
        server.wait_log("another key or another cipher", times=turn + 1)


@pytest.mark.parametrize("role", ["server", "client"])
def test_ttun_is_refused_where_pq_is_asked_for(wire, role):  # noqa: F811
    """
    ttun ──╳ qanat psk --pq, as server and as client: never served less
    """
    if role == "server":
        server = start_server(wire, "--pq")
        wire.client.start(TTUN, "client", "-s", SERVER, "-k", KEY, name="ttun").wait_log("handshake: ")
        server.wait_log("without --pq")
        return
    wire.server.start(TTUN, "server", "-k", KEY, name="ttun").wait_log("listen")
    client = Psk(wire.client, ["client", "-k", KEY, "-s", SERVER, "--pq"], "client")
    client.wait_log("without --pq")
