"""The life of certificates: warned of before they end, renewed by the node's own CA, taken into use from the disk."""

import copy
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time

import pytest

import peers
from peers import Helper, Recorder, Server, dial
from qanat import OPENSSL, PATIENCE, QANAT, Certs, Late, free_port, run, wait
from streams import Stream, go_on

LIFE_S = 20 * PATIENCE


class ShortCerts(Certs):
    """As Certs, but server and client live for seconds only."""

    def __init__(self, folder, seconds=LIFE_S):
        self.seconds = seconds
        super().__init__(folder)

    def make(self, kind, cert, key, *options):
        short = [] if kind == "ca" else ["--validity", "%ds" % self.seconds, "--force"]
        super().make(kind, cert, key, *options, *short)

    def again(self, kind, cert, key, name):
        self.make(kind, cert, key, "--common-name", name, "--ca-cert", self.ca, "--ca-key", self.ca_key)


class Authority:
    """`qanat cert serve` over a folder of its own."""

    def __init__(self, certs, folder, *options, drop=True):
        self.certs, self.folder = certs, folder
        self.drop = os.path.join(folder, "drop")
        os.makedirs(self.drop, exist_ok=True)
        os.chmod(self.drop, 0o700)
        self.log_path = os.path.join(folder, "ca.log")
        self.options = [*(["--drop", self.drop] if drop else []), *options]
        self.process = None

    def command(self, *options):
        return [
            QANAT, "cert", "serve", "--ca-cert", self.certs.ca, "--ca-key", self.certs.ca_key, *self.options, *options
        ]

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self

    def once(self, *options):
        """One round: (exit status, what it said)."""
        done = subprocess.run(
            self.command("--once", *options), stdin=subprocess.DEVNULL, capture_output=True, timeout=60 * PATIENCE
        )
        return done.returncode, done.stderr.decode()

    def log(self):
        with open(self.log_path, "rb") as file:
            return file.read().decode(errors="replace")

    def path(self, name):
        return os.path.join(self.drop, name)

    def read(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def put(self, name, content):
        with open(self.path(name + ".tmp"), "wb") as file:
            file.write(content)
        os.rename(self.path(name + ".tmp"), self.path(name))

    def issued(self):
        return json.loads(run([QANAT, "cert", "list", "--ca-cert", self.certs.ca, "--json"]))["certificates"]

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process = None

    def close(self):
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(15 * PATIENCE)
        self.process = None
        assert status == 0, self.log()
        assert "runtime error" not in self.log() and "ERROR: " not in self.log(), self.log()


def renewal(authority, **more):
    return {
        "method": "drop",
        "drop_folder": authority.drop,
        "before": "50%",
        "retry_seconds": 1,
        "retry_max_seconds": 2,
        **more,
    }


def serial(path):
    return run([OPENSSL, "x509", "-in", path, "-noout", "-serial"]).strip()


def key_fits(cert, key):
    command = [OPENSSL, "x509", "-in", cert, "-noout", "-pubkey"]
    return run(command) == run([OPENSSL, "pkey", "-in", key, "-pubout"])


def fingerprint(path):
    with open(path) as file:
        first = file.read().split("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n"
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(first)).hexdigest()


def renewed(node, times=1):
    return lambda: node.metric("qanat_renewals_total", outcome="ok") >= times


@pytest.fixture
def short(tmp_path):
    return ShortCerts(str(tmp_path / "short"))


@pytest.fixture
def longer(tmp_path):
    """Certificates that are due a few seconds after they were made, and end much later."""
    return ShortCerts(str(tmp_path / "longer"), 160)


# ---- warnings


def test_what_is_about_to_end_is_in_log_status_metrics_and_health(world, tmp_path):
    """
    a certificate that lives for 12 s ─► warned of at 3 s, urgent at 0.1 s, over; the list likewise
    """
    certs = ShortCerts(str(tmp_path / "short"), 12 * PATIENCE)
    issuer = ["--ca-cert", certs.ca, "--ca-key", certs.ca_key]
    crl = certs.path("ca.crl")
    run([QANAT, "cert", "crl", *issuer, "--out-crl", crl, "--days", "1"])
    dest = world.dest([("one", ("127.0.0.1", free_port()))], certs=certs, auth={"crl_paths": [crl]})
    shown = {item["role"]: item for item in dest.status()["certificates"]}
    assert set(shown) == {"own", "ca", "crl"}
    assert shown["own"]["state"] == "valid" and "dest.test" in shown["own"]["subject"]
    assert "Test CA" in shown["crl"]["subject"] and "Test CA" in shown["ca"]["subject"]
    for role in shown:
        assert dest.metric("qanat_certificate_expiry_seconds", which=role) == shown[role]["not_after"]
    assert "ends in" not in dest.log()
    dest.wait_log(r"warn.*our certificate CN=dest\.test.* ends in \d+ seconds", 30)
    dest.wait_log(r"error.*our certificate CN=dest\.test.* has ended", 30)

    def degraded():
        code, text = dest.get("/health")
        health = json.loads(text)
        assert (code, health["status"]) == (200, "Degraded"), text
        return "has ended" in health["message"]

    dest.wait(degraded, "/health to be degraded")
    assert {item["role"]: item for item in dest.status()["certificates"]}["own"]["state"] == "expired"
    # Each was said once, though it is looked at again and again.
    assert len(re.findall("has ended", dest.log())) == 1


def test_thresholds_in_the_wrong_order_stop_the_start(world):
    dest = world.dest([("one", ("127.0.0.1", free_port()))], ready=False, expiry={"notice_days": 3})
    dest.expects = 2
    dest.process.wait(20 * PATIENCE)
    assert "expiry.warning_days: is more than expiry.notice_days" in dest.log()


# ---- renewal by a drop folder


@pytest.mark.threads
def test_streams_run_on_while_both_ends_renew(world, tmp_path, short):
    """
    client ══ source ══ dest ══ echo       certificates of 20 s, renewed at half-time, twice
                  ╲      ╱
               drop folder: the CA
    """
    authority = world.add(Authority(short, str(tmp_path)).start())
    echo = world.add(Helper("echo", "serve", "127.0.0.1:0"))
    first = {path: serial(path) for path in (short.server, short.client)}
    near, source, dest = world.pair(echo.address, certs=short, renewal=renewal(authority))
    for times in (1, 2):
        # A stream ends with the certificate its link was made with (docs/protocol.md, "Judging again"): these begin
        # under one and end under the next, before the first one ends.
        streams = [world.add(Stream(near)) for _ in range(4)]
        for node in (source, dest):
            node.wait(renewed(node, times), "renewal %d" % times, 2 * LIFE_S / PATIENCE)
        dest.wait(
            lambda: fingerprint(short.client) in [link["fingerprint"] for link in dest.links_up()],
            "dest to see source's new certificate",
        )
        for _ in range(20):
            assert peers.ask(near, b"ping", 4) == b"ping"
        wait(go_on(streams), "the streams to go on")
        for stream in streams:
            stream.finish()
    for path, key in ((short.server, short.server_key), (short.client, short.client_key)):
        assert serial(path) != first[path] and key_fits(path, key)
        assert os.stat(key).st_mode & 0o7777 == 0o600
        assert not os.path.exists(key + ".pending") and not os.path.exists(path + ".pending")
    for node in (source, dest):
        for outcome in ("reset_by_peer", "reset_by_local", "no_link", "refused_by_peer"):
            assert node.metric("qanat_flows_total", outcome=outcome) == 0, (node.name, outcome, node.log()[-3000:])
        assert node.status()["renewal"]["method"] == "drop"
        assert node.metric("qanat_renewals_total", outcome="failed") == 0, node.log()
        assert "PRIVATE" not in node.log()
    assert os.listdir(authority.drop) == []
    assert len(authority.issued()) == 2 + len(re.findall("renewed CN=", authority.log()))


def test_the_key_may_stay_or_become_post_quantum(world, tmp_path, short):
    authority = world.add(Authority(short, str(tmp_path)).start())
    before = run([OPENSSL, "pkey", "-in", short.server_key, "-pubout"])
    service = [("one", ("127.0.0.1", free_port()))]
    dest = world.dest(service, certs=short, renewal=renewal(authority, key="same"))
    dest.wait(renewed(dest), "a renewal", 2 * LIFE_S / PATIENCE)
    assert run([OPENSSL, "pkey", "-in", short.server_key, "-pubout"]) == before
    config = copy.deepcopy(dest.config)
    config["renewal"]["key"] = "ml-dsa-65"
    dest.reload(config)
    dest.wait(renewed(dest, 2), "another renewal", 2 * LIFE_S / PATIENCE)
    shown = run([QANAT, "cert", "show", short.server])
    assert re.search(r"Key:\s+ML-DSA-65", shown), shown


def waiting_request(world, authority, longer, **more):
    """A dest that has laid down its request, while no CA looks."""
    service = [("one", ("127.0.0.1", free_port()))]
    dest = world.dest(service, certs=longer, renewal=renewal(authority, before="99%", **more))
    dest.wait(lambda: os.path.exists(authority.path("dest.node.csr")), "the request")
    return dest


def test_a_refusal_is_said_and_the_node_serves_on(world, tmp_path, longer):
    """The requester's certificate is revoked: no renewal, in no way."""
    authority = Authority(longer, str(tmp_path), "--validity", "1h")
    dest = waiting_request(world, authority, longer)
    run([QANAT, "cert", "revoke", "--cert", longer.server, "--ca-cert", longer.ca, "--reason", "key-compromise"])
    before = serial(longer.server)
    status, said = authority.once()
    assert status == 1 and "dest.node.csr is refused" in said and "is revoked (key-compromise)" in said, said
    dest.wait_log(r"warn.*not renewed: the CA refuses: .*is revoked")
    assert dest.metric("qanat_renewals_total", outcome="failed") >= 1
    assert "is revoked" in dest.status()["renewal"]["last_error"]
    # It asks again, and is refused again.
    dest.wait(lambda: os.path.exists(authority.path("dest.node.csr")), "the next request")
    assert authority.once()[0] == 1
    assert serial(longer.server) == before and dest.is_ready()


def test_hostile_files_in_the_folder_get_nobody_a_certificate(world, tmp_path, longer):
    """
    another node's folder mate ─► huge, endless, linked, garbage, borrowed names ─► CA ─► refused, and served on
    """
    authority = Authority(longer, str(tmp_path), "--validity", "1h")
    dest = waiting_request(world, authority, longer)
    good = authority.read("dest.node.csr")
    issued = len(authority.issued())
    os.mkfifo(authority.path("pipe.csr"))
    os.symlink(longer.ca_key, authority.path("link.csr"))
    os.mkdir(authority.path("folder.csr"))
    os.makedirs(authority.path("stuck.csr/full"))
    authority.put("huge.csr", good + b"\n" * (1 << 20))
    authority.put("garbage.csr", os.urandom(4096))
    authority.put("empty.csr", b"")
    authority.put("..csr", good)
    # A request with the victim's names by a key of one's own, as any CSR tool makes it, and with the victim's
    # certificate, which is public, beside it.
    thief = str(tmp_path / "thief.key")
    command = [OPENSSL, "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    request = run([*command, "-keyout", thief, "-subj", "/O=qanat/CN=dest.test"]).encode()
    blocks = re.findall(rb"-----BEGIN [^-]+-----.*?-----END [^-]+-----\n", good, re.DOTALL)
    assert len(blocks) == 3
    authority.put("plain.csr", request)
    authority.put("borrowed.csr", request + blocks[1] + blocks[2])
    # The client's certificate with the server's request.
    with open(longer.client, "rb") as file:
        authority.put("swapped.csr", blocks[0] + file.read() + blocks[2])
    os.unlink(authority.path("dest.node.csr"))
    status, said = authority.once()
    assert status == 1 and len(authority.issued()) == issued, said
    for name in ("pipe", "link", "huge", "garbage", "empty", "plain", "borrowed", "swapped"):
        assert authority.read(name + ".refused").strip(), name
        assert not os.path.exists(authority.path(name + ".crt")), name
    # What cannot be removed gets no answer, which would only have the CA look again and again.
    assert not os.path.exists(authority.path("stuck.refused")) and said.count("stuck.csr is not answered") == 1
    assert not os.path.exists(authority.path("folder.csr"))
    assert b"PRIVATE" not in authority.read("link.refused")
    assert "the proof is wrong" in authority.read("borrowed.refused").decode()
    assert os.path.exists(longer.ca_key)
    # And the honest one is answered, also when it lies among them.
    authority.put("dest.node.csr", good)
    status, said = authority.once()
    assert "renewed CN=dest.test" in said
    dest.wait(renewed(dest), "the renewal")


def test_answers_that_are_none_change_nothing(world, tmp_path, longer):
    """
    someone with write access lays down NAME.crt: garbage, the CA itself, another's certificate, a link, a pipe
    """
    authority = Authority(longer, str(tmp_path), "--validity", "1h")
    dest = waiting_request(world, authority, longer)
    before = serial(longer.server)
    request = authority.read("dest.node.csr")
    with open(longer.ca, "rb") as file:
        ca = file.read()
    with open(longer.client, "rb") as file:
        client = file.read()
    lay_down = [
        lambda path: authority.put(os.path.basename(path), b"hello"),
        lambda path: authority.put(os.path.basename(path), ca),
        lambda path: authority.put(os.path.basename(path), client),
        lambda path: authority.put(os.path.basename(path), b"x" * (1 << 20)),
        lambda path: os.symlink(longer.client, path),
        os.mkfifo,
    ]
    for put in lay_down:
        put(authority.path("dest.node.crt"))
        dest.wait(lambda: not os.path.lexists(authority.path("dest.node.crt")), "what is no answer to be taken away")
        assert serial(longer.server) == before
    assert len(re.findall("is no answer to our request", dest.log())) == 1, "one line, however many there were"
    assert authority.read("dest.node.csr") == request
    authority.once()
    dest.wait(renewed(dest), "the true answer to be taken")
    assert key_fits(longer.server, longer.server_key)


def test_a_request_that_is_laid_down_again_uses_nothing_up(world, tmp_path, longer):
    """
    a folder mate keeps NAME.csr ─► lays it down 20 times under other names ─► CA ─► the same answer each time
    """
    authority = Authority(longer, str(tmp_path), "--validity", "1h")
    dest = waiting_request(world, authority, longer)
    request = authority.read("dest.node.csr")
    assert authority.once()[0] == 0
    dest.wait(renewed(dest), "the renewal")
    issued = authority.issued()
    for i in range(20):
        authority.put("copy%d.csr" % i, request)
    status, said = authority.once()
    assert status == 0 and said.count("has the same answer") == 20, said
    assert authority.issued() == issued
    assert len({authority.read("copy%d.crt" % i) for i in range(20)}) == 1
    assert fingerprint(authority.path("copy0.crt")) == fingerprint(longer.server)
    folder = longer.ca + ".index.answers"
    assert os.stat(folder).st_mode & 0o7777 == 0o700 and len(os.listdir(folder)) == 1


def test_what_ended_long_ago_goes_from_the_index(tmp_path, longer):
    authority = Authority(longer, str(tmp_path))
    path = longer.ca + ".index"
    with open(path) as file:
        lines = file.readlines()
    issued = [line.split("\t") for line in lines if line.startswith("issued")]
    for i in range(40):
        date = "20%02d-01-01T00:00:00Z" % (i % 20)
        lines.append("\t".join(["issued", date, issued[0][2], "aa%02x" % i, date, date, *issued[0][6:]]))
    with open(path, "w") as file:
        file.writelines(lines)
    assert len(authority.issued()) == len(issued) + 40
    status, said = authority.once("--keep-days", "36500")
    assert status == 0 and len(authority.issued()) == len(issued) + 40, said
    status, said = authority.once("--keep-days", "30")
    assert status == 0 and "40 certificates that ended more than 30 days ago are out of the index" in said
    assert len(authority.issued()) == len(issued) and os.stat(path).st_mode & 0o7777 == 0o600
    assert not os.path.exists(path + ".pruned")


def test_a_folder_that_everybody_may_write_in_is_not_used(world, tmp_path, longer):
    authority = Authority(longer, str(tmp_path), "--validity", "1h")
    os.chmod(authority.drop, 0o1777)
    status, said = authority.once()
    assert status == 1 and "chmod o-w" in said
    dest = world.dest([("one", ("127.0.0.1", free_port()))], certs=longer, renewal=renewal(authority, before="99%"))
    dest.wait_log("not renewed: every user of this machine may write in the drop folder")
    os.chmod(authority.drop, 0o700)
    dest.wait(lambda: os.path.exists(authority.path("dest.node.csr")), "the request, once the folder is better")


def test_bad_settings_stop_the_start(world, tmp_path, short):
    cases = [
        ({"method": "drop"}, "renewal.drop_folder: is needed"),
        ({"drop_folder": "/tmp"}, "renewal.drop_folder: is given, but renewal.method is not"),
        ({"method": "drop", "drop_folder": "/tmp", "name": "a:b"}, "renewal.name"),
        ({"method": "link"}, "renewal.endpoint: is needed"),
        ({"endpoint": "127.0.0.1:1"}, "renewal.endpoint: is given, but renewal.method is not"),
        ({"before": "100%"}, "renewal.before: is a share or a time"),
        ({"before": "5"}, "renewal.before"),
        ({"retry_seconds": 7200}, "renewal.retry_seconds: is longer than"),
    ]
    for number, (section, problem) in enumerate(cases):
        node = world.dest(
            [("one", ("127.0.0.1", free_port()))], name="bad%d" % number, ready=False, certs=short, renewal=section
        )
        node.expects = 2
        assert node.process.wait(20 * PATIENCE) == 2, node.log()
        assert problem in node.log(), node.log()
    link = short.path("link.key")
    os.symlink(short.server_key, link)
    node = world.dest(
        [("one", ("127.0.0.1", free_port()))], name="link", ready=False, certs=short,
        auth={"server_key_path": link}, renewal={"method": "drop", "drop_folder": str(tmp_path)},
    )
    node.expects = 1
    assert node.process.wait(20 * PATIENCE) == 1
    assert "is no regular file, and a renewal would replace it" in node.log()


# ---- crashes


@pytest.mark.parametrize("moment", ["asked", "answered", "taken", "staged", "half swapped", "any"])
def test_a_node_killed_at_any_step_goes_on_with_its_pending_key(world, tmp_path, longer, moment):
    """
    dest ─ KEY.pending ─ NAME.csr ─✕   kill -9, then what a crash at that step leaves on the disk   ✕─ start ─► renewed
    """
    authority = Authority(longer, str(tmp_path), "--validity", "1h")
    dest = waiting_request(world, authority, longer)
    first = serial(longer.server)
    pending = longer.server_key + ".pending"
    with open(pending) as file:
        fresh_key = file.read()
    assert os.stat(pending).st_mode & 0o7777 == 0o600
    if moment == "any":
        # Killed while the answer is just being taken, wherever that is by now.
        authority.start()
        world.add(authority)
        wait(lambda: "renewed CN=dest.test" in authority.log(), "the CA to answer", every=0.001)
    dest.kill()
    if moment != "any" and moment != "asked":
        authority.once()
    if moment in ("taken", "staged", "half swapped"):
        with open(longer.server + ".pending", "wb") as file:
            file.write(authority.read("dest.node.crt"))
    if moment in ("staged", "half swapped"):
        for name in os.listdir(authority.drop):
            os.unlink(authority.path(name))
    if moment == "half swapped":
        os.rename(pending, longer.server_key)
    dest.start()
    dest.wait_ready()
    if moment == "asked":
        authority.once()
    dest.wait(lambda: serial(longer.server) != first, "the new certificate to be in its place")
    dest.wait(lambda: key_fits(longer.server, longer.server_key), "certificate and key to belong together")
    if moment != "any":
        with open(longer.server_key) as file:
            assert file.read() == fresh_key, "the pending key was thrown away"
    wait(lambda: not os.path.exists(longer.server + ".pending"), "nothing to be left over")


def test_a_ca_killed_before_it_answers_is_asked_again(world, tmp_path, longer):
    """The request is gone, and no answer comes: the node lays it down anew."""
    authority = Authority(longer, str(tmp_path), "--validity", "1h")
    dest = waiting_request(world, authority, longer)
    os.unlink(authority.path("dest.node.csr"))
    dest.wait_log("taken out of the drop folder, and nothing came back", 60)
    dest.wait(lambda: os.path.exists(authority.path("dest.node.csr")), "the request again")
    authority.once()
    dest.wait(renewed(dest), "the renewal")


# ---- renewal over a connection


def through_link(world, tmp_path, certs, *options, proxy=True):
    """The CA behind dest as the service "renewal", and a forward of source that leads there."""
    port, near = free_port(), free_port()
    listen = ["--listen", "127.0.0.1:%d" % port, *(["--proxy-protocol"] if proxy else []), *options]
    authority = world.add(Authority(certs, str(tmp_path), *listen, drop=False).start())
    wait(lambda: "answering requests on" in authority.log(), "the CA to listen")
    service = {
        "name": "renewal", "port": free_port(), "target_ip": "127.0.0.1", "target_port": port, "protocol": "tcp",
        "proxy_protocol": "v2" if proxy else "off",
    }
    echo = world.add(Helper("echo", "serve", "127.0.0.1:0"))
    dest = world.dest([service, ("service", echo.address)], certs=Mixed(certs))
    door = free_port()
    source = world.source(
        dest,
        [("127.0.0.1:%d" % near, "renewal"), ("127.0.0.1:%d" % door, "service")],
        certs=certs,
        renewal={
            "method": "link", "endpoint": "127.0.0.1:%d" % near, "before": "50%",
            "retry_seconds": 1, "retry_max_seconds": 2,
        },
    )
    return authority, source, dest, near, ("127.0.0.1", door)


class Mixed:
    """Source's certificates live short, dest's do not, so that it needs no renewal itself."""

    def __init__(self, short):
        self.ca = short.ca
        self.server, self.server_key = short.path("long.crt"), short.path("long.key")
        run([
            QANAT, "cert", "server", "--common-name", "dest.test", "--dns-names", "localhost", "--ip-addresses",
            "127.0.0.1", "--ca-cert", short.ca, "--ca-key", short.ca_key, "--out-cert", self.server, "--out-key",
            self.server_key,
        ])


@pytest.mark.threads
def test_a_source_renews_through_its_own_link(world, tmp_path, short):
    """
    source ─ its own forward ══ dest ─ PROXY v2: CN=source.test ─► qanat cert serve --listen
    """
    authority, source, dest, _, door = through_link(world, tmp_path, short)
    for times in (1, 2):
        stream = world.add(Stream(door))
        source.wait(renewed(source, times), "renewal %d" % times, 2 * LIFE_S / PATIENCE)
        dest.wait(
            lambda: fingerprint(short.client) in [link["fingerprint"] for link in dest.links_up()],
            "dest to see source's new certificate",
        )
        wait(go_on([stream]), "the stream to go on")
        stream.finish()
    assert key_fits(short.client, short.client_key)
    assert source.metric("qanat_renewals_total", outcome="failed") == 0, source.log()[-3000:]
    assert re.search(r"127\.0\.0\.1:\d+, source\.test: renewed CN=source\.test", authority.log())
    assert source.status()["renewal"]["method"] == "link"


def frame(body):
    return b"QRN1" + len(body).to_bytes(4, "big") + body


def ask_ca(port, data, half_close=False):
    """What comes back, until the end."""
    with socket.create_connection(("127.0.0.1", port), timeout=20 * PATIENCE) as connection:
        connection.sendall(data)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        got = b""
        try:
            while part := connection.recv(65536):
                got += part
        except ConnectionResetError:
            pass
        return got


def test_strangers_at_the_ca_get_nothing(world, tmp_path, longer):
    """
    a request by another peer of dest, garbage, silence, lengths that lie ─► refused or cut; the honest are served
    """
    authority = Authority(longer, str(tmp_path), "--validity", "1h")
    waiting_request(world, authority, longer)
    request = authority.read("dest.node.csr")
    port = free_port()
    folder = tmp_path / "other"
    listening = world.add(Authority(longer, str(folder), "--listen", "127.0.0.1:%d" % port, drop=False).start())
    wait(lambda: "answering requests on" in listening.log(), "the CA to listen")
    assert ask_ca(port, b"GET / HTTP/1.1\r\n\r\n") == b""
    assert ask_ca(port, b"QRN1\xff\xff\xff\xff") == b""
    assert ask_ca(port, b"QRN1\0\0\0\0") == b""
    assert ask_ca(port, frame(request) + b"x") == b""
    assert ask_ca(port, frame(request)[:-1], half_close=True) == b""
    refused = ask_ca(port, frame(b"hello"))
    assert refused[:5] == b"QRN1\x01" and b"lacks the request" in refused
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(80)]
    wait(lambda: "connections are open already" in listening.log(), "the surplus to be closed")
    for connection in silent:
        connection.close()
    answers = []

    def served():
        answers.append(ask_ca(port, frame(request)))
        return answers[-1][:5] == b"QRN1\x00"

    wait(served, "the honest request to be answered")
    assert b"BEGIN CERTIFICATE" in answers[-1]


def test_a_full_folder_keeps_no_connection_waiting(world, tmp_path, longer):
    """
    900 requests in the folder ─► CA ◄─ one over a connection, which is answered long before the last of them
    """
    authority = Authority(longer, str(tmp_path), "--validity", "1h")
    waiting_request(world, authority, longer)
    request = authority.read("dest.node.csr")
    for i in range(900):
        authority.put("copy%d.csr" % i, request)
    port = free_port()
    authority.options += ["--listen", "127.0.0.1:%d" % port]
    world.add(authority).start()
    wait(lambda: "answering requests on 127" in authority.log(), "the CA to listen")
    assert ask_ca(port, frame(request))[:5] == b"QRN1\x00"
    left = [name for name in os.listdir(authority.drop) if name.endswith(".csr")]
    assert len(left) > 100, len(left)
    wait(lambda: not [name for name in os.listdir(authority.drop) if name.endswith(".csr")], "the folder's turn")


def test_a_request_for_another_peers_certificate_is_refused(world, tmp_path, short):
    """Dest says whose connection it is: who stole a key and its certificate still has to come as its owner."""
    authority, source, dest, near, _ = through_link(world, tmp_path, short)
    # A dest of the same CA whose certificate is not the source's, asking through source's forward.
    stolen = copy.copy(short)
    stolen.server, stolen.server_key = short.path("victim.crt"), short.path("victim.key")
    run([
        QANAT, "cert", "server", "--common-name", "victim.test", "--ca-cert", short.ca, "--ca-key", short.ca_key,
        "--out-cert", stolen.server, "--out-key", stolen.server_key, "--validity", "%ds" % LIFE_S,
    ])
    thief = world.dest(
        [("one", ("127.0.0.1", free_port()))], name="thief", certs=stolen,
        renewal={"method": "link", "endpoint": "127.0.0.1:%d" % near, "before": "90%", "retry_max_seconds": 60},
    )
    thief.wait_log("not renewed: the CA refuses: it came from a peer with another name")
    assert "source.test: refused: it came from a peer with another name" in authority.log()


def test_without_a_header_the_ca_that_wants_one_answers_nobody(world, tmp_path, short):
    port = free_port()
    authority = world.add(
        Authority(short, str(tmp_path), "--listen", "127.0.0.1:%d" % port, "--proxy-protocol", drop=False).start()
    )
    wait(lambda: "answering requests on" in authority.log(), "the CA to listen")
    assert ask_ca(port, frame(b"hello")) == b""
    assert ask_ca(port, b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n" + frame(b"hello")) == b""
    assert "without a verified certificate" in authority.log()


# ---- files that change on the disk


def test_changed_files_are_taken_into_use_without_a_signal(world, tmp_path):
    """
    node.watch_files: certificate and key replaced by rename ─► reload; broken ones ─► refused once, the old serve on
    """
    certs = Certs(str(tmp_path / "own"))
    dest = world.dest([("one", ("127.0.0.1", free_port()))], certs=certs, node={"watch_files": True})
    issuer = ["--ca-cert", certs.ca, "--ca-key", certs.ca_key]
    before = fingerprint(certs.server)
    certs.make(
        "server", certs.server, certs.server_key, "--common-name", "dest.test", "--dns-names", "localhost", "--force",
        *issuer
    )
    assert fingerprint(certs.server) != before
    dest.wait(lambda: dest.reloads() == (1, 0), "a reload by itself")
    dest.wait_log(r"watch: .*server\.(crt|key) has changed on the disk")
    shutil.copy(certs.client_key, certs.path("wrong.key"))
    os.rename(certs.path("wrong.key"), certs.server_key)
    dest.wait(lambda: dest.reloads() == (1, 1), "the wrong key to be refused")
    assert dest.is_ready()
    # Something else happens in the folder: what was refused is not tried again. The pauses are the stimulus: changes
    # that stand apart for longer than it takes to look at them, over more than the quiet second before a reload.
    for number in range(3):
        with open(certs.path("other%d" % number), "w") as file:
            file.write("x")
        time.sleep(0.6)
    assert dest.reloads() == (1, 1), "a refused reload was tried again"
    config = copy.deepcopy(dest.config)
    config["logging"]["level"] = "info"
    certs.make(
        "server", certs.server, certs.server_key, "--common-name", "dest.test", "--dns-names", "localhost", "--force",
        *issuer
    )
    dest.wait(lambda: dest.reloads() == (2, 1), "the good files to be taken")
    dest.write_config(config)
    dest.wait(lambda: dest.reloads() == (3, 1), "the configuration's own file to be watched")


def test_a_stale_or_broken_list_is_refused_and_the_old_one_kept(world, tmp_path):
    certs = Certs(str(tmp_path / "own"))
    issuer = ["--ca-cert", certs.ca, "--ca-key", certs.ca_key]
    crl = certs.path("ca.crl")
    run([QANAT, "cert", "crl", *issuer, "--out-crl", crl, "--days", "30"])
    dest = world.dest([("one", ("127.0.0.1", free_port()))], certs=certs, auth={"crl_paths": [crl]})
    source = world.source(dest, certs=certs)
    end = dest.metric("qanat_certificate_expiry_seconds", which="crl")
    with open(crl) as file:
        good = file.read()
    stale = certs.path("stale.crl")
    config = certs.path("openssl.cnf")
    with open(config, "w") as file:
        file.write("[ca]\ndefault_ca=x\n[x]\ndatabase=%s\ndefault_md=sha256\n" % certs.path("database"))
    with open(certs.path("database"), "w"):
        pass
    run([
        OPENSSL, "ca", "-config", config, "-gencrl", "-cert", certs.ca, "-keyfile", certs.ca_key, "-out", stale,
        "-crl_lastupdate", "20250101000000Z", "-crl_nextupdate", "20250102000000Z",
    ])
    with open(stale) as file:
        old = file.read()
    for text, why in ((good[:200], "crl"), ("", "holds no"), (old, "was to be replaced on 2025-01-02")):
        with open(crl, "w") as file:
            file.write(text)
        dest.reload(ok=False)
        assert why in dest.log()
        assert dest.metric("qanat_certificate_expiry_seconds", which="crl") == end
    assert source.is_ready() and dest.links_up()
