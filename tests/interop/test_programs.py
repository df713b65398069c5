"""Programs that people have, through a tunnel, and programs that knock at it."""

import functools
import getpass
import hashlib
import http.server
import json
import os
import shutil
import subprocess
import threading

import pytest

import peers
from peers import Recorder
from qanat import OPENSSL, PATIENCE, free_port, run, wait


def need(*programs):
    for program in programs:
        if not shutil.which(program):
            pytest.skip("%s is not installed" % program)


@pytest.fixture
def web(world, tmp_path):
    """A web server with one file of 8 MiB."""
    folder = tmp_path / "web"
    folder.mkdir()
    (folder / "file").write_bytes(os.urandom(8 << 20))
    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield ("127.0.0.1", server.server_address[1]), folder / "file"
    server.shutdown()
    server.server_close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def sha256_of(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def test_curl_fetches_a_file(world, web, tmp_path):
    """
    curl ──► source ══ dest ──► web server
    """
    need("curl")
    address, original = web
    near, _, _ = world.pair(address)
    out = tmp_path / "fetched"
    run(["curl", "-sS", "--fail", "-o", str(out), "http://%s:%d/file" % near])
    assert sha256_of(out) == sha256_of(original)


def test_curl_fetches_through_a_unix_socket(world, web, tmp_path):
    """
    curl --unix-socket ──► source ══ dest ──► web server
    """
    need("curl")
    address, original = web
    path = os.path.join(world.folder, "web.sock")
    dest = world.dest([("web", address)])
    world.source(dest, [("unix:" + path, "web")])
    out = tmp_path / "fetched"
    run(["curl", "-sS", "--fail", "--unix-socket", path, "-o", str(out), "http://any/file"])
    assert sha256_of(out) == sha256_of(original)


def test_curl_reads_the_status_pages(world):
    """
    curl ──► /health, /metrics, /status
    """
    need("curl")
    dest = world.dest([("service", ("127.0.0.1", 9))])
    base = "http://127.0.0.1:%d" % dest.http_port()
    assert json.loads(run(["curl", "-sS", "--fail", base + "/health"]))["status"]
    assert "qanat_handshakes_total" in run(["curl", "-sS", "--fail", base + "/metrics"])
    assert json.loads(run(["curl", "-sS", "--fail", base + "/status"]))["command"] == "dest"


def test_ssh_through_the_tunnel(world, tmp_path):
    """
    ssh ──► source ══ dest ──► sshd
    """
    need("ssh", "ssh-keygen")
    sshd = "/usr/sbin/sshd"
    if not os.path.exists(sshd):
        pytest.skip("sshd is not installed")
    if os.geteuid() == 0 and not os.path.isdir("/run/sshd"):
        os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
    for name in ("host", "user"):
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)])
    shutil.copy(tmp_path / "user.pub", tmp_path / "authorized_keys")
    port = free_port()
    (tmp_path / "sshd_config").write_text(
        "ListenAddress 127.0.0.1:%d\nHostKey %s/host\nAuthorizedKeysFile %s/authorized_keys\nPidFile none\n"
        "StrictModes no\n"
        "UsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n" % (port, tmp_path, tmp_path)
    )
    server = subprocess.Popen(
        [sshd, "-D", "-e", "-f", str(tmp_path / "sshd_config")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        wait(lambda: peers.dial(("127.0.0.1", port)).close() is None, "sshd to listen")
        near, _, _ = world.pair(("127.0.0.1", port))
        data = os.urandom(4 << 20)
        done = subprocess.run(
            [
                "ssh",
                "-F",
                "none",
                "-p",
                str(near[1]),
                "-i",
                str(tmp_path / "user"),
                "-o",
                "StrictHostKeyChecking=no",
                "-o",
                "UserKnownHostsFile=/dev/null",
                "-o",
                "LogLevel=ERROR",
                "%s@127.0.0.1" % getpass.getuser(),
                "sha256sum",
            ],
            input=data,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=60 * PATIENCE,
        )
        assert done.returncode == 0, done.stderr.decode()
        assert done.stdout.decode().split()[0] == hashlib.sha256(data).hexdigest()
    finally:
        server.terminate()
        server.communicate()


@pytest.mark.parametrize("reverse", [False, True], ids=["up", "down"])
def test_iperf3_through_the_tunnel(world, reverse):
    """
    iperf3 -P 4 ──► source ══ dest ──► iperf3 -s          its server needs half-close and many flows to agree
    """
    need("iperf3")
    port = free_port()
    server = subprocess.Popen(
        ["iperf3", "-s", "-1", "-B", "127.0.0.1", "-p", str(port)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        near, _, _ = world.pair(("127.0.0.1", port))
        said = json.loads(
            run(
                ["iperf3", "-J", "-c", "127.0.0.1", "-p", str(near[1]), "-t", "1", "-P", "4"]
                + (["-R"] if reverse else [])
            )
        )
        assert all(stream["receiver"]["bytes"] > 1 << 20 for stream in said["end"]["streams"])
    finally:
        server.kill()
        server.wait()


def test_socat_half_closes_through_the_tunnel(world):
    """
    socat (end of its input) ──► source ══ dest ──► target that answers after the end
    """
    need("socat")

    def count(connection):
        heard, how = peers.read_to_end(connection)
        connection.sendall(b"%d %s" % (len(heard), how.encode()))

    target = world.add(peers.Server(count))
    near, _, _ = world.pair(target.address)
    done = subprocess.run(
        ["socat", "-t", "30", "-", "TCP:127.0.0.1:%d" % near[1]],
        input=bytes(100000),
        stdout=subprocess.PIPE,
        timeout=60 * PATIENCE,
    )
    assert done.stdout == b"100000 end"


def test_openssl_sees_the_hybrid_group_and_nothing_else(world):
    """
    openssl s_client ──► dest      what is negotiated, as a third party reports it
    """
    dest = world.dest([("service", world.add(Recorder()).address)])
    port = dest.config["dest"]["tunnel_port"]
    done = subprocess.run(
        [
            OPENSSL,
            "s_client",
            "-connect",
            "127.0.0.1:%d" % port,
            "-alpn",
            "qanat/1",
            "-cert",
            world.certs.client,
            "-key",
            world.certs.client_key,
            "-CAfile",
            world.certs.ca,
            "-verify_return_error",
            "-brief",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60 * PATIENCE,
    )
    said = done.stdout.decode(errors="replace")
    assert "TLSv1.3" in said and "Verification: OK" in said
    assert "X25519MLKEM768" in said, said


def test_openssl_verifies_the_chains_that_qanat_makes(certs):
    """
    openssl verify: CA, server and client certificate, each for its purpose and for no other
    """
    for cert, purpose, wrong in ((certs.server, "sslserver", "sslclient"), (certs.client, "sslclient", "sslserver")):
        assert "OK" in run([OPENSSL, "verify", "-x509_strict", "-CAfile", certs.ca, "-purpose", purpose, cert])
        done = subprocess.run(
            [OPENSSL, "verify", "-CAfile", certs.ca, "-purpose", wrong, cert],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert done.returncode != 0
