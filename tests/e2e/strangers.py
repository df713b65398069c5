"""Peers that should be refused: TLS clients made with the OpenSSL command, and sockets that never say a right word."""

import base64
import os
import re
import secrets
import socket
import subprocess
import textwrap

from peers import SECONDS
from qanat import OPENSSL, run

CONTROL_ALPN, DATA_ALPN = "qanat/1", "qanat-data/1"


class Stranger:
    """A running `openssl s_client`; what it says is read when it ends or is ended."""

    def __init__(self, port, cert=None, key=None, alpn=CONTROL_ALPN, groups="X25519MLKEM768", options=()):
        command = [OPENSSL, "s_client", "-connect", "127.0.0.1:%d" % port, "-groups", groups, "-quiet", *options]
        if alpn:
            command += ["-alpn", alpn]
        if cert:
            command += ["-cert", cert, "-key", key]
        # Its standard input stays open: an end would close the connection before the server has judged it.
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def said(self):
        """Waits until the other side has ended the connection."""
        try:
            out, _ = self.process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, _ = self.process.communicate()
            raise AssertionError("nobody refused this client: %s" % out.decode(errors="replace"))
        return out.decode(errors="replace")

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


def openssl_offers(group):
    """True when the OpenSSL command knows that group."""
    done = subprocess.run(
        [OPENSSL, "list", "-tls-groups", "-all-tls-groups"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    return group.lower() in done.stdout.decode().lower().replace(":", " ").split()


def key_that_claims_to_match(key_path, out_path):
    """A P-256 key file with another private scalar but the public part of key_path: it looks like the right key until
    it signs. SEC 1, ECPrivateKey: SEQUENCE { INTEGER 1, OCTET STRING scalar, [0] curve, [1] public }."""
    der = run_bytes([OPENSSL, "ec", "-in", key_path, "-outform", "DER"])
    start = der.index(bytes.fromhex("0201010420")) + 5
    forged = der[:start] + b"\x01" + secrets.token_bytes(31) + der[start + 32 :]
    text = "\n".join(textwrap.wrap(base64.b64encode(forged).decode(), 64))
    with open(out_path, "w") as file:
        file.write("-----BEGIN EC PRIVATE KEY-----\n%s\n-----END EC PRIVATE KEY-----\n" % text)
    os.chmod(out_path, 0o600)
    return out_path


def run_bytes(command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout


def talk(port, data, host="127.0.0.1"):
    """Says something that is not TLS; returns what came back until the other side ended it."""
    with socket.create_connection((host, port), timeout=SECONDS) as connection:
        connection.sendall(data)
        answer = b""
        while True:
            try:
                part = connection.recv(65536)
            except ConnectionResetError:
                return answer
            if not part:
                return answer
            answer += part


def alert_in(text):
    """The TLS alert an OpenSSL client reports, "" when there is none."""
    found = re.search(r"alert ([a-z0-9 ]+)|:(?:tls|ssl)v?\d* alert ([a-z ]+)", text)
    return found.group(0) if found else ""


__all__ = ["Stranger", "alert_in", "key_that_claims_to_match", "openssl_offers", "run", "talk"]
