"""Sidecars for the tests: `qanat proxy` as a server (TLS in, plain out) and as a client (plain in, TLS out)."""

import re
import socket
import ssl
import subprocess

from peers import SECONDS, dial, read_exactly, text_address
from qanat import OPENSSL, PATIENCE, free_port, merge


def place(target):
    """A target as the configuration writes it: (host, port) or a Unix path."""
    return "unix:" + target if isinstance(target, str) else text_address(target)


def config(world, targets, listen=None, certs=None, **sections):
    certs = certs or world.certs
    base = {
        "proxy": {
            "listen": listen or "127.0.0.1:%d" % free_port(),
            "targets": [place(target) for target in targets],
            "cert_path": certs.server,
            "key_path": certs.server_key,
            "ca_cert_path": certs.ca,
            "client_cert_mode": "required",
            "handshake_timeout_ms": 10000 * PATIENCE,
        },
        "logging": {"level": "debug"},
        "metrics": {"enabled": True, "metrics_port": 0},
        "node": {"drain_timeout_seconds": 2},
    }
    return merge(base, sections)


def client_config(world, targets, listen=None, certs=None, **sections):
    certs = certs or world.certs
    base = {"proxy": {"mode": "client", "cert_path": certs.client, "key_path": certs.client_key}}
    made = merge(config(world, targets, listen, certs), base)
    del made["proxy"]["client_cert_mode"]
    return merge(made, sections)


def start(world, written, name="proxy", ready=True, **options):
    node = world.node("proxy", written, name, **options).start()
    return node.wait_ready() if ready else node


def server(world, *targets, name="proxy", listen=None, certs=None, ready=True, **sections):
    """A server in front of these targets. Returns where it listens, and the node."""
    written = config(world, targets, listen, certs, **sections)
    return near(written), start(world, written, name, ready)


def client(world, *targets, name="client", listen=None, certs=None, ready=True, **sections):
    written = client_config(world, targets, listen, certs, **sections)
    return near(written), start(world, written, name, ready)


def near(written):
    listen = written["proxy"]["listen"]
    listen = listen if isinstance(listen, str) else listen[0]
    if listen.startswith("unix:"):
        return listen[5:]
    host, port = listen.rsplit(":", 1)
    return host.strip("[]"), int(port)


# ---- clients that speak TLS


def context(certs, cert=True, **options):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.load_verify_locations(certs.ca)
    made.check_hostname = options.get("check_hostname", True)
    made.verify_mode = ssl.CERT_REQUIRED
    if cert is True:
        made.load_cert_chain(certs.client, certs.client_key)
    elif cert:
        made.load_cert_chain(*cert)
    if options.get("alpn"):
        made.set_alpn_protocols(options["alpn"])
    if options.get("version"):
        made.minimum_version = made.maximum_version = options["version"]
    return made


def tls_dial(address, certs, name="localhost", **options):
    plain = dial(address)
    try:
        return context(certs, **options).wrap_socket(plain, server_hostname=name)
    except (OSError, ssl.SSLError):
        plain.close()
        raise


def tls_ask(address, certs, question, length=None, **options):
    with tls_dial(address, certs, **options) as connection:
        connection.sendall(question)
        answer = read_exactly(connection, len(question) if length is None else length)
        end(connection)
        return answer


def end(connection):
    """close_notify both ways; a peer that has gone already is no problem here."""
    try:
        connection.settimeout(SECONDS)
        connection.unwrap()
    except (OSError, ssl.SSLError, ValueError):
        pass


def s_client(address, certs, *options, cert=True, say=b"hello\n", name="localhost"):
    """`openssl s_client` that says something until the server ends: (exit status, all that it printed)."""
    command = [OPENSSL, "s_client", "-connect", place(address), "-CAfile", certs.ca, "-verify_return_error",
               "-servername", name, "-nocommands", "-ign_eof", *options]
    if cert:
        command += ["-cert", certs.client, "-key", certs.client_key]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        out, err = process.communicate(say, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError("s_client hangs: %s%s" % (out.decode(errors="replace"), err.decode(errors="replace")))
    return process.returncode, (out + err).decode(errors="replace")


def raw(address):
    """A plain TCP connection to a port that speaks TLS."""
    connection = dial(address)
    if not isinstance(address, str):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


class Bio:
    """A TLS client whose bytes the test carries itself, a piece at a time."""

    def __init__(self, certs, name="localhost", **options):
        self.inward, self.outward = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context(certs, **options).wrap_bio(self.inward, self.outward, server_hostname=name)

    def hello(self):
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        self.said = self.outward.read()
        return self.said

    def shake(self, connection):
        while True:
            try:
                self.tls.do_handshake()
                connection.sendall(self.outward.read())
                return
            except ssl.SSLWantReadError:
                connection.sendall(self.outward.read())
                part = connection.recv(1 << 16)
                assert part, "the server ended the handshake"
                self.inward.write(part)

    def ask(self, connection, question):
        self.tls.write(question)
        connection.sendall(self.outward.read())
        answer = b""
        while len(answer) < len(question):
            try:
                answer += self.tls.read(1 << 16)
            except ssl.SSLWantReadError:
                part = connection.recv(1 << 16)
                assert part, "the server ended"
                self.inward.write(part)
        return answer


def outcomes(node):
    """How connections of a proxy have ended, and how often."""
    return {
        re.search(r'outcome="(\w+)"', key).group(1): int(value)
        for key, value in node.metrics().items()
        if key.startswith("qanat_proxy_connections_total{") and value
    }


def handshakes(node):
    return {
        re.search(r'outcome="(\w+)"', key).group(1): int(value)
        for key, value in node.metrics().items()
        if key.startswith("qanat_proxy_handshakes_total{") and value
    }


def by_word(node, family):
    """qanat_proxy_handshake_groups_total and its like, without what is zero."""
    return {
        re.search(r'="([^"]+)"}', key).group(1): int(value)
        for key, value in node.metrics().items()
        if key.startswith("qanat_proxy_handshake_%s_total{" % family) and value
    }
