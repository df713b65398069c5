"""What people and probes see, and that whatever ends a process says why."""

import http.client
import os
import re
import resource
import shutil
import socket
import subprocess

import pytest

import peers
from peers import Server, dial, read_to_end
from qanat import PATIENCE, QANAT, SANITIZED, free_port, wait

AS_NOBODY = pytest.mark.skipif(os.geteuid() != 0, reason="takes root to become another user")


def test_log_lines_of_both_sides_can_be_joined(world):
    """
    client ══ source (link L: flow N from CLIENT) ══ dest (link L: flow M from CLIENT) ══ target
    """
    target = world.add(Server(peers.echo))
    near, source, dest = world.pair(target.address)
    link = source.link()["id"][:8]
    for turn in range(2):
        with dial(near) as client:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
            host, port = client.getsockname()
        lines = [
            node.wait_log(
                r"link %s\w*: flow (\d+) from %s:%d: service service is open" % (link, re.escape(host), port)
            )
            for node in (source, dest)
        ]
        for node, line in zip((source, dest), lines):
            assert int(line.group(1)) == turn + 1
            node.wait_log(r"link %s\w*: flow %d has ended" % (link, turn + 1))


def test_services_are_counted_one_by_one(world):
    """
    client ── 3 bytes ──► service "echo" ── 3 bytes ──► client ;  service "gone": an error ;  service "idle": nothing
    """
    target = world.add(Server(peers.echo))
    gone = ("127.0.0.1", free_port())
    dest = world.dest([("echo", target.address), ("gone", gone), ("idle", ("127.0.0.1", free_port()))],
                      dest={"target_connect_timeout_ms": 200})
    near, nearer = free_port(), free_port()
    source = world.source(dest, [("127.0.0.1:%d" % near, "echo"), ("127.0.0.1:%d" % nearer, "gone")])
    with dial(("127.0.0.1", near)) as client:
        client.sendall(b"abc")
        assert peers.read_exactly(client, 3) == b"abc"
        assert dest.metric("qanat_service_connections", service="echo") == 1
    with dial(("127.0.0.1", nearer)) as client:
        read_to_end(client)
    dest.wait(lambda: dest.metric("qanat_service_connections", service="echo") == 0, "the flow to end")
    values = dest.metrics()

    def of(name, service):
        return values['qanat_service_%s{service="%s"}' % (name, service)]

    names = ("connections_total", "bytes_sent", "bytes_received", "errors")
    assert [of(name, "echo") for name in names] == [1, 3, 3, 0]
    assert of("errors", "gone") == 1 and of("bytes_sent", "gone") == 0
    assert of("connections_total", "idle") == 0
    services = {service["name"]: service for service in dest.status()["services"]}
    assert services["echo"]["bytes_sent"] == 3 and services["gone"]["errors"] == 1
    assert source.status()["services"] == []
    # A reload keeps what was counted.
    dest.reload()
    assert dest.metric("qanat_service_bytes_sent", service="echo") == 3


def test_expiry_reloads_and_the_start_are_shown(world):
    """
    source ══ dest      our own certificate and the CA's: as `openssl x509` says; the last reload; the start
    """
    target = world.add(Server(peers.echo))
    near, source, dest = world.pair(target.address)

    def end_of(path):
        done = subprocess.run(["date", "-u", "+%s", "-d", subprocess.run(
            [os.environ.get("OPENSSL", "openssl"), "x509", "-noout", "-enddate", "-in", path],
            stdout=subprocess.PIPE, check=True).stdout.decode().split("=")[1].strip()],
            stdout=subprocess.PIPE, check=True)
        return int(done.stdout)

    for node, own in ((source, world.certs.client), (dest, world.certs.server)):
        assert node.metric("qanat_certificate_expiry_seconds", which="own") == end_of(own)
        assert node.metric("qanat_certificate_expiry_seconds", which="ca") == end_of(world.certs.ca)
        status = node.status()
        assert status["own_not_after"] == end_of(own) and status["startup_complete"] is True
        assert status["last_reload"] is None
        node.reload()
        assert node.metric("qanat_last_reload_successful") == 1
        node.reload(text="nonsense", ok=False)
        assert node.metric("qanat_last_reload_successful") == 0
        assert node.status()["last_reload"]["outcome"] == "refused"
        assert node.status()["counters"]['qanat_reloads_total{outcome="refused"}'] == 1


def get(family, address, path):
    """GET over any socket: (status, body)."""
    with socket.socket(family) as client:
        client.settimeout(20 * PATIENCE)
        client.connect(address)
        client.sendall(("GET %s HTTP/1.0\r\n\r\n" % path).encode())
        text = b""
        while True:
            more = client.recv(65536)
            if not more:
                break
            text += more
    head, body = text.split(b"\r\n\r\n", 1)
    return int(head.split()[1]), body.decode()


def test_pages_are_on_loopback_and_elsewhere_only_when_told(world):
    """
    default: 127.0.0.1 ;  metrics_bind_ip = 127.0.0.2: there and nowhere else, ;  unix:/path: there, mode 0660
    """
    service = [("service", ("127.0.0.1", free_port()))]
    default = world.dest(service, name="default")
    port = default.http_port()
    with open("/proc/net/tcp") as file:
        listens = {line.split()[1] for line in file if " 0A " in line}
    assert "0100007F:%04X" % port in listens and "00000000:%04X" % port not in listens
    other_port = free_port()
    other = world.dest(service, name="other", ready=False,
                       metrics={"metrics_bind_ip": "127.0.0.2", "metrics_port": other_port})
    other.wait_log(r"status on http://127\.0\.0\.2:%d/" % other_port)
    assert get(socket.AF_INET, ("127.0.0.2", other_port), "/health")[0] == 200
    with pytest.raises(ConnectionRefusedError):
        get(socket.AF_INET, ("127.0.0.1", other_port), "/health")
    path = os.path.join(world.folder, "http.sock")
    local = world.dest(service, name="local", ready=False, metrics={"metrics_bind_ip": "unix:" + path})
    local.wait_log("status on unix:")
    assert get(socket.AF_UNIX, path, "/health")[0] == 200
    assert get(socket.AF_UNIX, path, "/metrics")[1].startswith("# HELP")
    assert os.stat(path).st_mode & 0o777 == 0o660
    wide = world.dest(service, name="wide", ready=False,
                      metrics={"metrics_bind_ip": "0.0.0.0", "metrics_port": free_port()})
    wide.wait_log("served beyond this host")


def test_health_is_truthful_in_both_directions(world):
    """
    source: 503 before the link, 200 with it, 503 once dest is gone, 200 again ;  dest: 200, and 503 while it drains
    """
    target = world.add(Server(peers.echo))
    tunnel_port, near = free_port(), free_port()
    source = world.source(tunnel_port, [("127.0.0.1:%d" % near, "service")], ready=False)
    source.wait(lambda: source.get("/health")[0] == 503, "503 without a link")
    dest = world.dest([("service", target.address)], port=tunnel_port, node={"drain_timeout_seconds": 60})
    assert source.wait_ready() and '"tunnel_established": true' in source.get("/health")[1]
    with dial(("127.0.0.1", near)) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        dest.ask("drain")
        assert dest.get("/health")[0] == 503
        source.wait(lambda: source.get("/health")[0] == 503, "503 while dest takes nothing new")
    dest.process.wait(30 * PATIENCE)
    dest.process = None
    source.wait(lambda: source.get("/health")[0] == 503, "503 without dest")
    dest.start().wait_ready()
    source.wait_ready()


# ---- ends


def ends(node, status, pattern):
    """The node ends by itself with this exit status, and its log says why."""
    assert node.process.wait(30 * PATIENCE) == status, node.log()
    node.process = None
    assert re.search(pattern, node.log()), node.log()


@pytest.mark.parametrize("what", ["tunnel", "metrics", "door", "unix door", "control", "metrics path"])
def test_whatever_is_taken_is_named_and_ends_the_start(world, what):
    """
    somebody listens there ──► node      exit status 1, the place and its key are named
    """
    service = [("service", ("127.0.0.1", free_port()))]
    path = os.path.join(world.folder, "taken.sock")
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.socket(socket.AF_UNIX) as taken_path:
        port = taken.getsockname()[1]
        taken_path.bind(path)
        taken_path.listen()
        address = "127.0.0.1:%d" % port
        if what == "tunnel":
            ends(world.dest(service, port=port, ready=False), 1, r"%s \(dest\.tunnel_port\)" % address)
        if what == "metrics":
            ends(world.dest(service, ready=False, metrics={"metrics_port": port}), 1, address + ".*metrics_port")
        if what == "metrics path":
            ends(world.dest(service, ready=False, metrics={"metrics_bind_ip": "unix:" + path}), 1, re.escape(path))
        if what == "door":
            ends(world.source(free_port(), [(address, "s")], ready=False), 1, r"%s \(source\.forwards\)" % address)
        if what == "unix door":
            ends(world.source(free_port(), [("unix:" + path, "s")], ready=False), 1,
                 re.escape(path) + r" \(source\.forwards\)")
        if what == "control":
            ends(world.dest(service, ready=False, control={"socket": path}), 1,
                 re.escape(path) + r" \(control\.socket\)")


def test_an_address_of_no_interface_is_named_as_such(world):
    node = world.source(free_port(), [("192.0.2.1:%d" % free_port(), "s")], ready=False)
    ends(node, 1, r"192\.0\.2\.1:\d+ \(source\.forwards\): no interface of this machine has that address")


@pytest.mark.parametrize("command", ["source", "dest"])
@pytest.mark.skipif(SANITIZED, reason="the sanitizers need descriptors of their own")
def test_a_start_without_descriptors_ends_with_the_reason(world, command):
    """
    ulimit -n 8 ──► node      exit status 1: too many open files
    """
    config = world.dest_config([("s", ("127.0.0.1", free_port()))]) if command == "dest" else world.source_config(
        free_port(), [("127.0.0.1:%d" % free_port(), "s")])
    node = world.node(command, config, command)
    node.prefix = ["/bin/sh", "-c", 'ulimit -n 8; exec "$@"', "sh"]
    ends(node.start(), 1, "error .*[Tt]oo many open files")


@AS_NOBODY
@pytest.mark.skipif(SANITIZED, reason="the sanitizers need threads of their own")
@pytest.mark.skipif(not shutil.which("setpriv"), reason="setpriv is not installed")
def test_a_start_without_threads_ends_with_the_reason(world):
    """
    ulimit -u 1, as a user without privileges ──► source      exit status 1: no thread for a worker
    """
    folder = os.path.join(world.folder, "certs")
    os.mkdir(folder)
    for name in ("ca.crt", "client.crt", "client.key"):
        shutil.copy(world.certs.path(name), folder)
    for name in [folder] + [os.path.join(folder, name) for name in os.listdir(folder)]:
        os.chown(name, 65533, 65533)
    world.let_others_in()
    config = world.source_config(free_port(), [("127.0.0.1:%d" % free_port(), "s")], node={"workers": 4}, auth={
        "ca_cert_path": folder + "/ca.crt", "client_cert_path": folder + "/client.crt",
        "client_key_path": folder + "/client.key"})
    node = world.node("source", config, "source")
    os.chmod(node.config_path, 0o644)
    # The checkout may lie where that user cannot go, so it runs a copy.
    program = shutil.copy(QANAT, os.path.join(world.folder, "qanat"))
    become = ["setpriv", "--reuid", "65533", "--regid", "65533", "--clear-groups"]
    node.prefix = [*become, "/bin/bash", "-c", 'ulimit -u 1; shift; exec %s "$@"' % program, "bash"]
    ends(node.start(), 1, "no thread for a worker: resource temporarily unavailable")


def test_a_source_that_may_not_try_again_ends_with_the_reason(world):
    """
    source (reconnection_enabled = false) ──► (nothing)      exit status 1
    """
    for name, keys in (("once", {"reconnection_enabled": False}), ("thrice", {"max_reconnect_attempts": 3})):
        node = world.source(free_port(), [("127.0.0.1:%d" % free_port(), "s")], name=name, ready=False, source=keys)
        ends(node, 1, r"error .*connection refused")


def test_files_that_are_missing_end_the_start(world):
    """
    no certificate, no configuration ──► node      exit status 1 or 2, the file is named
    """
    missing = os.path.join(world.folder, "missing")
    node = world.dest([("s", ("127.0.0.1", free_port()))], ready=False, auth={"server_cert_path": missing})
    ends(node, 1, re.escape(missing))
    done = subprocess.run([QANAT, "dest", "-c", missing], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    assert done.returncode == 2 and missing.encode() in done.stdout
