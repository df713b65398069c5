"""What docs/migrating.md says of UTun's command line, files and certificates.

    utun (a symlink), every flag and key of UTun, certificates as UTun makes them ──► qanat
"""

import os
import re
import subprocess

import pytest

import peers
from peers import Server
from qanat import OPENSSL, PATIENCE, QANAT, ROOT, Certs, free_port, run

# Every key of UTun's files, with its default there or a plain value.
SOURCE_FILE = """
[source]
listen_ip = "127.0.0.1"
listen_port = 8443
mode = "transparent"
dest_host = "utun-dest"
dest_tunnel_port = 9443
max_connections = 10000
connection_timeout_ms = 30000
keep_alive_interval_ms = 30000
heartbeat_interval_ms = 15000
heartbeat_timeout_ms = 5000
max_missed_pongs = 3
reconnection_enabled = true
max_reconnect_attempts = 0
initial_reconnect_delay_ms = 1000
max_reconnect_delay_ms = 60000
frame_buffer_size = 1000
connection_channel_size = 1024
circuit_breaker_window_secs = 60
circuit_breaker_max_restarts = 5
write_queue_size = 8192
connection_refresh_interval_secs = 3600
connection_drain_timeout_secs = 60
[source.allowed_outbound]
allowed_ips = []
[[source.exposed_ports]]
port = 5432
protocol = "tcp"
[[source.exposed_ports]]
port = 53
protocol = "tcp"
[[source.exposed_ports]]
port = 53
protocol = "udp"
"""
DEST_FILE = """
[dest]
listen_ip = "[::]"
tunnel_port = 9443
max_connections_per_service = 100
connection_timeout_ms = 30000
target_connect_timeout_ms = 5000
connection_channel_size = 1024
stale_cleanup_interval_secs = 15
[dest.connection_filter]
allowed_source_ips = ["127.0.0.0/8"]
[[dest.exposed_services]]
name = "db"
port = 5432
target_ip = "127.0.0.1"
target_port = 5432
protocol = "both"
description = "a data base"
"""
COMMON = """
[auth]
use_mtls = true
ca_cert_path = "ca.crt"
client_cert_path = "client.crt"
client_key_path = "client.key"
server_cert_path = "server.crt"
server_key_path = "server.key"
verify_client_cert = true
[crypto]
kem_mode = "hybrid"
key_rotation_interval_seconds = 3600
rehandshake_before_expiry_seconds = 300
max_handshake_size = 2097152
[logging]
level = "info"
format = "json"
include_timestamp = true
[metrics]
enabled = true
metrics_port = 9090
metrics_bind_ip = "127.0.0.1"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("migrating"))
    Certs(folder)
    os.symlink(QANAT, os.path.join(folder, "utun"))
    return folder


def utun(folder, *words):
    return subprocess.run(
        [os.path.join(folder, "utun"), *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=20 * PATIENCE,
        cwd=folder,
        universal_newlines=True,
    )


def documented():
    """The keys that docs/migrating.md says must go."""
    with open(os.path.join(ROOT, "docs", "migrating.md")) as file:
        section = file.read().split("## Keys to take out")[1].split("\n# ")[0]
    return {key for row in re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE) for key in re.findall(r"`(\S+)`", row)}


def test_every_key_is_read_or_refused_with_what_to_do(folder):
    refused = set()
    for command, text in (("source", SOURCE_FILE + COMMON), ("dest", DEST_FILE + COMMON)):
        path = os.path.join(folder, command + ".toml")
        with open(path, "w") as file:
            file.write(text)
        done = utun(folder, "check", command, "-c", path)
        assert done.returncode == 2
        named = re.findall(r":(\d+):\d+: (\S+): has no meaning here: .+", done.stderr)
        # Nothing else is wrong with the file, and without these lines it is good.
        assert "not good for %s: %d problems" % (command, len(named)) in done.stderr, done.stderr
        refused |= {key for _, key in named}
        lines = text.splitlines()
        for line, key in named:
            assert lines[int(line) - 1].startswith(key.split(".")[1])
            lines[int(line) - 1] = ""
        with open(path, "w") as file:
            file.write("\n".join(lines))
        done = utun(folder, "check", command, "-c", path)
        assert done.returncode == 0, done.stderr
    assert refused == documented()


def test_flags_win_over_the_file(folder):
    with open(os.path.join(folder, "flags.toml"), "w") as file:
        file.write('[source]\ndest_host = "a"\ndest_tunnel_port = 1\n' + re.sub("(?m)^(reh|max_h).*$", "", COMMON))
    flags = {
        "listen-ip": ("source.listen_ip", "127.0.0.2"),
        "listen-port": ("source.listen_port", "9000"),
        "dest-host": ("source.dest_host", "b"),
        "dest-tunnel-port": ("source.dest_tunnel_port", "2"),
        "metrics-port": ("metrics.metrics_port", "9999"),
        "log-level": ("logging.level", "debug"),
        "log-format": ("logging.format", "json"),
    }
    words = [word for name, (_, value) in flags.items() for word in ("--" + name, value)]
    done = utun(folder, "check", "source", "--config", "flags.toml", *words)
    assert done.returncode == 0, done.stderr
    for key, value in flags.values():
        assert re.search(r'^  %s = "?%s"?  ' % (re.escape(key), re.escape(value)), done.stdout, re.MULTILINE), key


@pytest.mark.parametrize("key", ["use_mtls", "verify_client_cert"])
def test_certificates_cannot_be_turned_off(folder, key):
    with open(os.path.join(folder, "off.toml"), "w") as file:
        file.write(DEST_FILE + COMMON.replace(key + " = true", key + " = false"))
    done = utun(folder, "dest", "--config", "off.toml")
    assert done.returncode == 2
    assert re.search(r"auth\.%s: false is refused: " % key, done.stderr)


EXTENSIONS = """
[req]
distinguished_name = name
prompt = no
[name]
CN = UTun CA
[ca]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[server]
keyUsage = critical,digitalSignature,keyEncipherment
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost,IP:127.0.0.1
subjectKeyIdentifier = none
authorityKeyIdentifier = none
[client]
keyUsage = critical,digitalSignature
extendedKeyUsage = clientAuth
subjectKeyIdentifier = none
authorityKeyIdentifier = none
"""


class UtunCerts:
    """Files as UTun's `cert` makes them: no key identifiers in leaves, keyEncipherment, no name in a client's."""

    def __init__(self, folder):
        self.folder = str(folder)
        self.ca, self.ca_key = self.path("ca.crt"), self.path("ca.key")
        self.server, self.server_key = self.path("server.crt"), self.path("server.key")
        self.client, self.client_key = self.path("client.crt"), self.path("client.key")
        self.extensions = self.path("extensions.cnf")
        with open(self.extensions, "w") as file:
            file.write(EXTENSIONS)
        new = ["-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-config", self.extensions]
        subject = "/C=US/ST=California/L=San Francisco/O=UTun PQC Tunnel/CN="
        run([OPENSSL, "req", "-x509", *new, "-extensions", "ca", "-subj", subject + "CA", "-days", "3650",
             "-keyout", self.ca_key, "-out", self.ca])
        for name in ("server", "client"):
            run([OPENSSL, "req", *new, "-subj", subject + name, "-keyout", self.path(name + ".key"),
                 "-out", self.path(name + ".csr")])
            run([OPENSSL, "x509", "-req", "-in", self.path(name + ".csr"), "-CA", self.ca, "-CAkey", self.ca_key,
                 "-CAcreateserial", "-days", "365", "-extfile", self.extensions, "-extensions", name,
                 "-out", self.path(name + ".crt")])
            os.chmod(self.path(name + ".key"), 0o600)

    def path(self, name):
        return os.path.join(self.folder, name)


def test_its_certificates_and_keys_work(world, tmp_path):
    """
    client ──► source ══ certificates as UTun makes them ══ dest ──► echo
    """
    certs = UtunCerts(tmp_path)
    target = world.add(Server(peers.echo))
    near = ("127.0.0.1", free_port())
    dest = world.dest([("service", target.address)], certs=certs)
    world.source(dest, [("%s:%d" % near, "service")], certs=certs)
    assert peers.ask(near, b"through") == b"through"
