"""The entry of source: clients that say what they want, in SOCKS 5 or by HTTP CONNECT, on one port.

    curl, nc, sockets ──► source (listen_port) ══► dest ──► web, echo
"""

import os
import re
import shutil
import socket
import subprocess
import threading
import time

import pytest

import peers
from peers import SECONDS, Recorder, Server, dial, echo, read_exactly, read_to_end
from qanat import PATIENCE, free_port, run, to_service, wait

OK_SOCKS = b"\x05\x00\x00\x01\0\0\0\0\0\0"


def web(connection):
    """Answers any request with one page."""
    request = b""
    while b"\r\n\r\n" not in request:
        part = connection.recv(65536)
        if not part:
            return
        request += part
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nwater\n")


class Scene:
    """dest with services "web" and "echo", and a source with an entry."""

    def __init__(self, world, mode="protocol", exposed=(), source=None, **dest):
        self.web = world.add(Server(web))
        self.echo = world.add(Server(echo))
        self.web_port, self.echo_port = self.web.address[1], self.echo.address[1]
        self.dest = world.dest([("web", self.web.address), ("echo", self.echo.address)], dest=dest)
        self.port = free_port()
        ports = [{"port": getattr(self, name + "_port") if isinstance(name, str) else name} for name in exposed]
        options = {"mode": mode, "listen_port": self.port, "exposed_ports": ports, **(source or {})}
        self.source = world.source(self.dest, source=options)
        self.address = ("127.0.0.1", self.port)

    def counted(self, outcome):
        return self.source.metric("qanat_entry_requests_total", outcome=outcome) or 0

    def wait_counted(self, outcome, at_least=1):
        self.source.wait_metric(at_least, "qanat_entry_requests_total", outcome=outcome)


@pytest.fixture
def scene(world):
    return Scene(world)


def curl(*arguments):
    done = subprocess.run(
        ["curl", "-sS", "--max-time", str(SECONDS), "--noproxy", "", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=SECONDS + 10,
        universal_newlines=True,
    )
    return done.returncode, done.stdout, done.stderr


def socks_request(host, port, command=1):
    """A request by name, or by address when it looks like one."""
    if re.match(r"^[0-9.]+$", host):
        where = b"\x01" + socket.inet_pton(socket.AF_INET, host)
    elif ":" in host:
        where = b"\x04" + socket.inet_pton(socket.AF_INET6, host)
    else:
        where = b"\x03" + bytes([len(host)]) + host.encode()
    return b"\x05" + bytes([command]) + b"\x00" + where + port.to_bytes(2, "big")


def socks(address, host, port, command=1):
    """A connection on which the request has been made; the ten bytes of the reply."""
    connection = dial(address)
    connection.sendall(b"\x05\x01\x00")
    assert read_exactly(connection, 2) == b"\x05\x00"
    connection.sendall(socks_request(host, port, command))
    return connection, read_exactly(connection, 10)


def socks_reply(address, host, port, command=1):
    connection, reply = socks(address, host, port, command)
    with connection:
        if reply[1] != 0:
            assert read_to_end(connection) == (b"", "end")
        return reply[1]


def http_refusal(address, request):
    """Status and text of an answer that ends the connection."""
    with dial(address) as connection:
        connection.sendall(request)
        answer, how = read_to_end(connection)
    assert how == "end", answer
    head, body = answer.decode().split("\r\n\r\n", 1)
    assert int(re.search(r"^Content-Length: (\d+)", head, re.MULTILINE).group(1)) == len(body)
    assert "\r\nConnection: close" in head
    return int(head.split(" ")[1]), body


def connect(host, port):
    return ("CONNECT %s:%d HTTP/1.1\r\nHost: %s:%d\r\n\r\n" % (host, port, host, port)).encode()


# ---- clients as they are


def test_curl_reaches_services_by_port_and_by_name(scene):
    """
    curl --socks5, --socks5-hostname, --proxytunnel ──► entry ══► dest ──► web
    """
    by_port, by_name = "http://localhost:%d/" % scene.web_port, "http://web/"
    proxy = "127.0.0.1:%d" % scene.port
    for arguments in (
        ("--socks5-hostname", proxy, by_port),
        ("--socks5-hostname", proxy, by_name),
        ("--socks5", proxy, "http://127.0.0.1:%d/" % scene.web_port),
        ("--socks5", proxy, "http://[::1]:%d/" % scene.web_port),
        ("--proxytunnel", "--proxy", "http://" + proxy, by_port),
        ("--proxytunnel", "--proxy", "http://" + proxy, by_name),
        ("--proxytunnel", "--proxy", "http://" + proxy, "http://[::1]:%d/" % scene.web_port),
        ("--proxytunnel", "--proxy1.0", proxy, "http://127.0.0.1:%d/" % scene.web_port),
    ):
        assert curl(*arguments) == (0, "water\n", ""), arguments
    assert scene.counted("socks_connect") == 4 and scene.counted("http_connect") == 4
    assert scene.source.metric("qanat_flows_total", outcome="opened") == 8


def test_a_proxy_request_without_connect_is_told_what_to_do(scene):
    """
    curl --proxy (GET http://web/) ──► entry      405, "Only CONNECT ..."
    """
    status, out, _ = curl("--proxy", "http://127.0.0.1:%d" % scene.port, "-o", "-", "-w", "%{http_code}", "http://web/")
    assert status == 0 and out.endswith("405") and "Only CONNECT is spoken here" in out
    scene.wait_counted("unsupported")


@pytest.mark.skipif(not shutil.which("nc"), reason="nc is not installed")
@pytest.mark.parametrize("protocol", ["5", "connect"])
def test_nc_as_the_proxy_command_of_ssh(scene, protocol):
    """
    nc -X 5|connect -x entry echo PORT ──► entry ══► dest ──► echo
    """
    question = peers.random_bytes(100000)
    command = ["nc", "-N", "-X", protocol, "-x", "127.0.0.1:%d" % scene.port, "127.0.0.1", str(scene.echo_port)]
    done = subprocess.run(command, input=question, stdout=subprocess.PIPE, timeout=SECONDS)
    assert (done.returncode, done.stdout) == (0, question)


SSHD = shutil.which("sshd", path="/usr/sbin:/usr/bin:/sbin")


def start_sshd(folder, port):
    """A server with keys of its own, for whoever runs this test."""
    for name in ("host", "user"):
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", os.path.join(folder, name)])
    path = os.path.join(folder, "sshd_config")
    if os.geteuid() == 0:
        os.makedirs("/run/sshd", mode=0o755, exist_ok=True)  # where it confines its unprivileged part
    with open(path, "w") as file:
        file.write(
            "ListenAddress 127.0.0.1:%d\nHostKey %s/host\nAuthorizedKeysFile %s/user.pub\nStrictModes no\n"
            "UsePAM no\nPidFile none\nPermitRootLogin prohibit-password\n" % (port, folder, folder)
        )
    log = open(os.path.join(folder, "sshd.log"), "wb")
    return subprocess.Popen([SSHD, "-D", "-e", "-f", path], stdin=subprocess.DEVNULL, stdout=log, stderr=log)


@pytest.mark.skipif(not SSHD or not shutil.which("ssh") or not shutil.which("nc"), reason="no ssh, sshd or nc")
@pytest.mark.skipif(os.geteuid() != 0 and not os.path.isdir("/run/sshd"), reason="/run/sshd is missing")
def test_ssh_through_the_entry(world):
    """
    ssh -o ProxyCommand="nc -X 5 -x entry %h %p" ──► entry ══► dest ──► sshd      1 MiB comes back
    """
    port, near = free_port(), free_port()
    server = start_sshd(world.folder, port)
    try:
        wait(lambda: is_open(("127.0.0.1", port)), "sshd to listen")
        dest = world.dest([("ssh", ("127.0.0.1", port))])
        world.source(dest, source={"mode": "protocol", "listen_port": near})
        data = peers.random_bytes(1 << 20)
        command = ["ssh", "-F", "none", "-i", os.path.join(world.folder, "user"), "-o", "BatchMode=yes"]
        command += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
        command += ["-o", "ProxyCommand=nc -X 5 -x 127.0.0.1:%d %%h %%p" % near, "-p", str(port), "localhost", "cat"]
        done = subprocess.run(command, input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=SECONDS)
        assert done.returncode == 0, done.stderr.decode()
        assert done.stdout == data
    finally:
        server.terminate()
        server.wait(SECONDS)


def is_open(address):
    try:
        dial(address).close()
        return True
    except ConnectionRefusedError:
        return False


# ---- the bytes of a negotiation


@pytest.mark.parametrize("pause", [0.001, 0])
def test_requests_may_come_byte_by_byte(scene, pause):
    """
    client ── 05 . 01 . 00 . ... ──► entry
    client ── C . O . N . N . E . C . T ... ──► entry
    """
    question = b"what is here?"

    def dribble(connection, data):
        for i in range(len(data)):
            connection.sendall(data[i : i + 1])
            if pause:
                time.sleep(pause)

    with dial(scene.address) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        dribble(client, b"\x05\x02\x02\x00" + socks_request("echo", 0) + question)
        assert read_exactly(client, 12 + len(question)) == b"\x05\x00" + OK_SOCKS + question
    with dial(scene.address) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        dribble(client, connect("localhost", scene.echo_port) + question)
        assert read_exactly(client, 39 + len(question)) == b"HTTP/1.1 200 Connection established\r\n\r\n" + question


@pytest.mark.parametrize("length", [1, 5000, 1 << 20])
def test_what_is_said_behind_the_request_travels(scene, length):
    """
    client ── greeting + request + question, end ──► entry ══► dest ──► echo       at once, nothing is awaited
           ◄───────── replies + the same, end ──────────────────────────
    """
    question = peers.random_bytes(length)
    for head, answer in (
        (b"\x05\x01\x00" + socks_request("127.0.0.1", scene.echo_port), b"\x05\x00" + OK_SOCKS),
        (connect("echo", 1), b"HTTP/1.1 200 Connection established\r\n\r\n"),
    ):
        with dial(scene.address) as client:
            assert peers.converse(client, head + question) == (answer + question, "end")
    # The negotiation itself is not payload.
    scene.source.wait_metric(2 * length, "qanat_bytes_total", direction="outward")
    assert scene.source.metric("qanat_bytes_total", direction="outward") == 2 * length
    assert scene.source.metric("qanat_bytes_total", direction="inward") == 2 * length


def test_a_service_that_speaks_first_is_heard_after_the_reply(world):
    """
    client ◄── reply, then greeting ── entry ══ dest ◄── target that greets
    """
    target = world.add(Server(peers.greet(b"hello")))
    dest = world.dest([("greeter", target.address)])
    port = free_port()
    world.source(dest, source={"mode": "protocol", "listen_port": port})
    connection, reply = socks(("127.0.0.1", port), "greeter", 0)
    with connection:
        assert reply == OK_SOCKS and read_exactly(connection, 5) == b"hello"


def test_what_is_no_request_is_refused_and_counted(scene):
    """
    strangers ── TLS, SOCKS 4, noise, HTTP of many kinds ──► entry      reset, or the answer that fits
    """
    tls, socks_4 = b"\x16\x03\x01\x02\x00\x01", b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00"
    for noise in (tls, socks_4, b"\x00", b"\xff" * 100, b"\r\n"):
        assert peers.turned_away(scene.address, noise) == (b"", "reset")
    assert scene.counted("malformed") == 5
    assert http_refusal(scene.address, b"CONNECT web HTTP/1.1\r\nHost: web\r\n\r\n")[0] == 400
    assert http_refusal(scene.address, b"CONNECT web:80 HTTP/1.1\r\n\r\n")[0] == 400
    assert http_refusal(scene.address, b"CONNECT web:80 HTTP/1.0\n\n")[0] == 400
    assert http_refusal(scene.address, b"POST / HTTP/1.1\r\nHost: web\r\n\r\n" + b"x" * 100000)[0] == 405
    assert http_refusal(scene.address, b"CONNECT web:80 HTTP/1.0\r\nX: " + b"x" * 9000)[0] == 431
    # Authentication, BIND, an unknown command, an unknown kind of address.
    with dial(scene.address) as client:
        client.sendall(b"\x05\x01\x02")
        assert read_to_end(client) == (b"\x05\xff", "end")
    assert socks_reply(scene.address, "127.0.0.1", 80, command=2) == 7
    assert socks_reply(scene.address, "127.0.0.1", 80, command=9) == 7
    for request in (b"\x05\x01\x00\x02\x00\x00", b"\x05\x01\x00\x03\x03a b\x00\x50"):
        with dial(scene.address) as client:
            client.sendall(b"\x05\x01\x00" + request)
            assert read_to_end(client) == (b"\x05\x00\x05\x08" + OK_SOCKS[2:], "end")
    assert scene.counted("malformed") == 5 + 4 and scene.counted("unsupported") == 1 + 1 + 2 + 2
    assert scene.web.accepted == 0 and scene.echo.accepted == 0
    assert curl("--socks5-hostname", "127.0.0.1:%d" % scene.port, "http://web/") == (0, "water\n", "")


def test_slow_clients_are_cut_by_one_deadline(scene):
    """
    clients ── a byte now and then ──► entry       408 or a reset 10 s after accept, however many bytes came
    """
    ends = {}

    def trickle(name, data):
        began = time.monotonic()
        with dial(scene.address) as client:
            reader = threading.Thread(target=lambda: ends.update({name: read_to_end(client)}), daemon=True)
            reader.start()
            for i in range(len(data)):
                if not reader.is_alive():
                    break
                try:
                    client.sendall(data[i : i + 1])
                except OSError:
                    break
                reader.join(0.3)
            reader.join(SECONDS + 20)
        ends[name + " took"] = time.monotonic() - began

    jobs = [
        threading.Thread(target=trickle, args=(name, data))
        for name, data in (
            ("http", b"CONNECT web:80 HTTP/1.0\r\nX: " + b"x" * 200),
            ("socks", b"\x05\xff" + bytes(range(200))),
            ("silent", b""),
        )
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert ends["http"][0].startswith(b"HTTP/1.1 408 "), ends
    assert ends["socks"] == (b"", "reset") and ends["silent"] == (b"", "reset"), ends
    for name in ("http", "socks", "silent"):
        assert 9 < ends[name + " took"] < 10 + 12 * PATIENCE, ends
    scene.wait_counted("timeout", 3)


def test_silent_clients_do_not_keep_others_out(world):
    """
    1100 silent clients ──► entry (one worker, 1024 may negotiate)      the oldest go
    curl ─────────────────► entry ══► dest ──► web                      gets through
    """
    target = world.add(Server(web))
    dest = world.dest([("web", target.address)])
    port = free_port()
    source = world.source(dest, source={"mode": "protocol", "listen_port": port}, node={"workers": 1})
    silent = []
    try:
        for _ in range(1100):
            silent.append(dial(("127.0.0.1", port)))
        assert curl("--socks5-hostname", "127.0.0.1:%d" % port, "http://web/") == (0, "water\n", "")
        assert source.metric("qanat_entry_requests_total", outcome="pending_full") >= 1100 + 1 - 1024
        source.wait_log(r"a connection refused: too many clients negotiate, and this is the oldest")
    finally:
        for connection in silent:
            connection.close()
    wait(lambda: source.descriptors() < 200, "the descriptors of the silent to be back")


def test_clients_that_leave_midway_leave_nothing(scene):
    """
    client ── half a request ── gone      100 times
    """
    before = scene.source.descriptors()
    for i in range(50):
        with dial(scene.address) as client:
            client.sendall(b"\x05\x01\x00"[: i % 4])
        with dial(scene.address) as client:
            client.sendall(b"CONN")
            peers.reset(client)
    scene.wait_counted("closed", 100)
    wait(lambda: scene.source.descriptors() <= before + 8, "the descriptors to be back")


# ---- what may be asked for


def test_only_exposed_ports_and_names_may_be_asked_for(world):
    """
    source: mode = "protocol", exposed_ports = [web]      echo is exposed by dest, but may not be asked for here
    """
    scene = Scene(world, exposed=["web"])
    assert socks_reply(scene.address, "127.0.0.1", scene.web_port) == 0
    assert socks_reply(scene.address, "127.0.0.1", scene.echo_port) == 2
    assert socks_reply(scene.address, "web", 80) == 2
    assert http_refusal(scene.address, connect("localhost", scene.echo_port))[0] == 403
    scene.wait_counted("not_exposed", 3)
    assert scene.echo.accepted == 0
    scene.source.wait_log(r"127\.0\.0\.1 port %d refused: neither source\.exposed_ports nor" % scene.echo_port)
    # In this mode nothing listens on the exposed port itself.
    assert "not listened on" in scene.source.whole_log()
    assert re.findall(r"listening on (\S+)", scene.source.whole_log()) == ["127.0.0.1:%d" % scene.port]


def test_hybrid_opens_both_kinds_of_doors(world):
    """
    client ──► source: forward to "echo" ══► dest ──► echo
    curl ────► source: entry             ══► dest ──► echo      and nothing else
    """
    near = free_port()
    scene = Scene(world, mode="hybrid", source={"forwards": [{"listen": "127.0.0.1:%d" % near, "service": "echo"}]})
    assert peers.ask(("127.0.0.1", near), b"plain") == b"plain"
    connection, reply = socks(scene.address, "echo", 7)
    with connection:
        connection.sendall(b"asked")
        assert reply == OK_SOCKS and read_exactly(connection, 5) == b"asked"
    assert socks_reply(scene.address, "web", 80) == 2
    assert socks_reply(scene.address, "127.0.0.1", scene.web_port) == 2


def test_addresses_outside_allowed_outbound_are_refused(world):
    """
    source: allowed_outbound = [127.0.0.1, dest]      192.0.2.1 and ::1 may not be named; names may
    """
    scene = Scene(world, source={"allowed_outbound.allowed_ips": ["127.0.0.0/8"]})
    assert socks_reply(scene.address, "127.0.0.1", scene.echo_port) == 0
    assert socks_reply(scene.address, "192.0.2.1", scene.echo_port) == 2
    assert http_refusal(scene.address, connect("[::1]", scene.echo_port))[0] == 403
    assert socks_reply(scene.address, "echo", 0) == 0
    assert socks_reply(scene.address, "localhost", scene.echo_port) == 0
    scene.wait_counted("outbound_not_allowed", 2)
    scene.source.wait_log(r"192\.0\.2\.1 port \d+ refused: the address is not in source\.allowed_outbound")


# ---- refusals of dest


def test_each_refusal_has_its_own_answer(world):
    """
    client ──► entry ══► dest: no such service, target down, target full      2/404, 5/502, 1/503
    """
    full = world.add(Recorder())
    down = {"name": "down", "port": free_port(), "target_ip": "127.0.0.1", "target_port": 1, "protocol": "tcp"}
    narrow = {
        "name": "narrow",
        "port": free_port(),
        "target_ip": "127.0.0.1",
        "target_port": full.address[1],
        "protocol": "tcp",
        "max_connections": 1,
    }
    dest = world.dest([down, narrow], dest={"target_connect_timeout_ms": 300})
    port = free_port()
    source = world.source(dest, source={"mode": "protocol", "listen_port": port})
    address = ("127.0.0.1", port)
    assert socks_reply(address, "nowhere", 1) == 2
    status, text = http_refusal(address, connect("nowhere", 1))
    assert status == 404 and "No such service" in text
    assert socks_reply(address, "down", 1) == 5
    status, text = http_refusal(address, connect("down", 1))
    assert status == 502 and "down or refuses" in text
    connection, reply = socks(address, "narrow", 1)
    with connection:
        assert reply == OK_SOCKS
        assert socks_reply(address, "narrow", 1) == 1
        assert http_refusal(address, connect("narrow", 1))[0] == 503
    assert source.metric("qanat_flows_total", outcome="refused_by_peer") == 6


def test_a_target_that_does_not_answer_is_a_timeout(world):
    """
    client ──► entry ══► dest ──► a target whose queue is full      6/504
    """
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen(0)
        fillers = []
        try:
            # Connections nobody accepts fill the queue; further ones get no answer at all.
            for _ in range(4):
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(busy.getsockname())
                fillers.append(filler)
            dest = world.dest([("busy", busy.getsockname())], dest={"target_connect_timeout_ms": 500})
            port = free_port()
            world.source(dest, source={"mode": "protocol", "listen_port": port})
            assert socks_reply(("127.0.0.1", port), "busy", 1) == 6
            assert http_refusal(("127.0.0.1", port), connect("busy", 1))[0] == 504
        finally:
            for filler in fillers:
                filler.close()


def test_without_a_link_the_client_is_told_so(world):
    """
    client ──► entry      there is no dest: 1/503 after connection_timeout_ms
    """
    port = free_port()
    world.source(
        free_port(), ready=False, source={"mode": "protocol", "listen_port": port, "connection_timeout_ms": 500}
    ).wait_log("listening on")
    assert socks_reply(("127.0.0.1", port), "web", 80) == 1
    status, text = http_refusal(("127.0.0.1", port), connect("web", 80))
    assert status == 503 and "no link with dest" in text


def test_a_request_waits_for_the_link_and_keeps_its_first_bytes(world):
    """
    client ── request + question ──► entry      the link comes later, and the question with it
    """
    target = world.add(Server(echo))
    tunnel, port = free_port(), free_port()
    source = world.source(tunnel, ready=False, source={"mode": "protocol", "listen_port": port})
    source.wait_log("listening on")
    with dial(("127.0.0.1", port)) as client:
        client.sendall(b"\x05\x01\x00" + socks_request("echo", 0) + b"early question")
        source.wait_metric(1, "qanat_entry_requests_total", outcome="socks_connect")
        world.dest([("echo", target.address)], port=tunnel)
        assert read_exactly(client, 12 + 14) == b"\x05\x00" + OK_SOCKS + b"early question"


def test_a_drain_ends_negotiations_and_lets_flows_finish(scene):
    """
    SIGTERM ──► source      a half-made request is reset, a running flow goes on to its end
    """
    connection, reply = socks(scene.address, "echo", 0)
    assert reply == OK_SOCKS
    with dial(scene.address) as half, connection:
        half.sendall(b"\x05\x01")
        scene.source.wait_metric(1, "qanat_flows_open")
        scene.source.process.terminate()
        assert read_to_end(half) == (b"", "reset")
        connection.sendall(b"still here")
        assert read_exactly(connection, 10) == b"still here"


# ---- UDP ASSOCIATE


class DatagramEcho:
    """Sends every datagram back."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.address = self.socket.getsockname()
        self.heard = []
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                data, peer = self.socket.recvfrom(65536)
                self.heard.append(data)
                self.socket.sendto(data, peer)
            except OSError:
                return

    def close(self):
        self.socket.close()


def datagram_header(host, port):
    return b"\x00\x00\x00" + socks_request(host, port)[3:]


class Association:
    """A client's control connection and its UDP socket."""

    def __init__(self, address, host="0.0.0.0", port=0):
        self.control, reply = socks(address, host, port, command=3)
        assert reply[:4] == b"\x05\x00\x00\x01", reply
        self.relay = socket.inet_ntop(socket.AF_INET, reply[4:8]), int.from_bytes(reply[8:10], "big")
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(SECONDS)
        self.socket.connect(self.relay)

    def ask(self, header, data):
        self.socket.send(header + data)
        return self.socket.recv(65536)

    def close(self):
        self.control.close()
        self.socket.close()


def udp_scene(world, **source):
    target = world.add(DatagramEcho())
    service = dict(to_service("echo", target.address), protocol="udp")
    dest = world.dest([service])
    port = free_port()
    source = world.source(dest, source={"mode": "protocol", "listen_port": port, **source})
    return target, source, ("127.0.0.1", port)


def test_datagrams_are_relayed_by_name_and_by_port(world):
    """
    client ── ASSOCIATE ──► entry      then datagrams with SOCKS headers ──► relay ══► dest ──► UDP echo
    """
    target, source, address = udp_scene(world)
    client = world.add(Association(address))
    for header in (datagram_header("echo", 0), datagram_header("127.0.0.1", target.address[1])):
        for length in (0, 1, 1400, 9000, 60000):
            data = peers.random_bytes(length)
            assert client.ask(header, data) == header + data
    assert source.metric("qanat_entry_requests_total", outcome="socks_udp_associate") == 1


def test_a_burst_for_two_services_is_not_mixed(world):
    """
    client ── echo, port, port, noise, ... at once ──► relay ══► dest ──► UDP echo      each comes back with its header
    """
    target, _, address = udp_scene(world)
    client = world.add(Association(address))
    headers = datagram_header("echo", 0), datagram_header("127.0.0.1", target.address[1])
    for header in headers:
        assert client.ask(header, b"first") == header + b"first"
    sent = [headers[index // 3 % 2] + b"%02d" % index + peers.random_bytes(index % 7 * 100) for index in range(30)]
    for one in sent:
        client.socket.send(one)
        client.socket.send(b"noise")
    assert sorted(client.socket.recv(65536) for _ in sent) == sorted(sent)


def test_datagrams_that_may_not_pass_are_dropped(world):
    """
    fragments, noise, names not exposed, strangers ──► relay      nothing comes back, nothing reaches the target
    """
    target, source, address = udp_scene(
        world, forwards=[{"listen": "127.0.0.1:%d" % free_port(), "service": "echo", "protocol": "udp"}]
    )
    client = world.add(Association(address))
    good = datagram_header("echo", 0)
    assert client.ask(good, b"first") == good + b"first"
    client.socket.send(b"\x00\x00\x01" + good[3:] + b"a fragment")
    client.socket.send(b"noise")
    client.socket.send(b"")
    client.socket.send(datagram_header("nowhere", 1) + b"not offered")
    client.socket.send(datagram_header("a b", 1) + b"no name")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.2", 0))
        stranger.sendto(good + b"stranger", client.relay)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other_port:
            other_port.sendto(good + b"another port", client.relay)
            # What was sent before this one has been judged when this one is back.
            assert client.ask(good, b"last") == good + b"last"
    assert target.heard == [b"first", b"last"]
    assert source.metric("qanat_datagrams_dropped_total", reason="not_exposed") >= 1
    source.wait_log(r"127\.0\.0\.1:\d+: an association was refused: neither source\.exposed_ports nor source\.forwards")


def test_the_relay_ends_with_its_control_connection(world):
    """
    client ── end ──► entry      the relay's port is closed, descriptors are back
    """
    target, source, address = udp_scene(world)
    before = source.descriptors()
    for end in (lambda control: control.close(), peers.reset):
        client = Association(address)
        good = datagram_header("echo", 0)
        assert client.ask(good, b"x") == good + b"x"
        end(client.control)

        def is_closed():
            try:
                client.socket.send(good + b"y")
                client.socket.recv(65536)
            except ConnectionRefusedError:
                return True
            except socket.timeout:
                return False

        client.socket.settimeout(0.05)
        wait(is_closed, "the relay's port to be closed")
        client.close()
    wait(lambda: source.descriptors() <= before + 8, "the descriptors to be back")


def test_clients_with_relays_are_counted(world):
    """
    127.0.0.1: 2 relays ──► entry: max_connections_per_client = 2      the third is reset, until one has gone
    """
    target, source, address = udp_scene(world, max_connections_per_client=2)
    relays = [Association(address), Association(address)]
    assert peers.turned_away(address, b"\x05\x01\x00") == (b"", "reset")
    relays.pop().close()
    good = datagram_header("echo", 0)

    def comes_in():
        try:
            relays.append(Association(address))
            return True
        except (AssertionError, OSError):
            return False

    wait(comes_in, "the place to be free again")
    assert relays[-1].ask(good, b"x") == good + b"x"
    for relay in relays:
        relay.close()


# ---- while running


@pytest.mark.threads
def test_a_reload_changes_the_mode_and_what_may_be_asked_for(world):
    """
    source ── SIGHUP ──► transparent → protocol (everything) → protocol (only web) → transparent
    """
    scene = Scene(world)
    running, _ = socks(scene.address, "echo", 0)
    plain = free_port()
    config = scene.source.config
    with running:
        config["source"]["exposed_ports"] = [{"port": scene.web_port}]
        scene.source.reload(config)
        assert socks_reply(scene.address, "echo", 0) == 2
        assert socks_reply(scene.address, "localhost", scene.web_port) == 0
        config["source"].update(mode="transparent", exposed_ports=[])
        config["source"]["forwards"] = [{"listen": "127.0.0.1:%d" % plain, "service": "echo"}]
        del config["source"]["listen_port"]
        scene.source.reload(config)
        assert peers.ask(("127.0.0.1", plain), b"plain") == b"plain"
        with pytest.raises(ConnectionRefusedError):
            dial(scene.address)
        config["source"].update(mode="hybrid", listen_port=scene.port)
        scene.source.reload(config)
        assert peers.ask(("127.0.0.1", plain), b"plain") == b"plain"
        assert socks_reply(scene.address, "echo", 0) == 0
        # What was asked for in the beginning has gone on all the time.
        running.sendall(b"still here")
        assert read_exactly(running, 10) == b"still here"


@pytest.mark.threads
def test_many_clients_at_once(scene):
    """
    300 clients, half of each protocol ──► entry ══► dest ──► echo      each gets its own bytes
    """
    wrong = []

    def ask_for_echo(number):
        question = peers.random_bytes(20000, seed=number)
        head = b"\x05\x01\x00" + socks_request("echo", 0) if number % 2 else connect("localhost", scene.echo_port)
        answer = b"\x05\x00" + OK_SOCKS if number % 2 else b"HTTP/1.1 200 Connection established\r\n\r\n"
        try:
            with dial(scene.address) as client:
                if peers.converse(client, head + question) != (answer + question, "end"):
                    wrong.append(number)
        except OSError as problem:
            wrong.append((number, problem))

    clients = [threading.Thread(target=ask_for_echo, args=(number,)) for number in range(300)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert wrong == []
    scene.source.wait_metric(300, "qanat_flows_total", outcome="finished")
