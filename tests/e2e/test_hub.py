"""
   ssh, socat, qanat connect ══ NAME.sock ══ hub ════ TLS ════ agent ══ local service

Devices dial the hub; each appears there as a Unix socket.
"""

import getpass
import json
import os
import socket
import stat
import subprocess
import threading
import time

import pytest

from peers import Server, echo, greet, random_bytes, read_to_end, sha256
from qanat import PATIENCE, QANAT, free_port, merge, run, wait


class Fleet:
    """A hub with its folder, and agents."""

    def __init__(self, world, start=True, **hub):
        self.world = world
        self.folder = os.path.join(world.folder, "devices")
        self.audit = os.path.join(world.folder, "audit.log")
        os.makedirs(self.folder, exist_ok=True)
        self.port = free_port()
        self.config = merge(
            {
                "hub": {"listen_port": self.port, "directory": self.folder, "audit_path": self.audit},
                "auth": {
                    "ca_cert_path": world.certs.ca,
                    "server_cert_path": world.certs.server,
                    "server_key_path": world.certs.server_key,
                },
                "logging": {"level": "debug"},
                "metrics": {"metrics_port": 0},
                "node": {"drain_timeout_seconds": 2},
            },
            hub,
        )
        self.hub = world.node("hub", self.config, "hub")
        if start:
            self.hub.start().wait_ready()

    def cert(self, name):
        certs = self.world.certs
        cert, key = certs.path(name + ".crt"), certs.path(name + ".key")
        if not os.path.exists(cert):
            issuer = ["--ca-cert", certs.ca, "--ca-key", certs.ca_key]
            certs.make("client", cert, key, "--common-name", name, "--key", "p256", *issuer)
        return cert, key

    def agent(self, name, target, label=None, cert=None, claims=True, services=(), sections=None, **options):
        cert, key = cert or self.cert(name)
        config = {
            "agent": {
                "hub_host": "127.0.0.1",
                "hub_port": self.port,
                "initial_reconnect_delay_ms": 50,
                "max_reconnect_delay_ms": 400,
                "services": [{"name": "main", "target": "%s:%d" % target}]
                + [{"name": service, "target": "%s:%d" % address} for service, address in services],
            },
            "auth": {"ca_cert_path": self.world.certs.ca, "client_cert_path": cert, "client_key_path": key},
            "logging": {"level": "debug"},
            "metrics": {"metrics_port": 0},
            "node": {"drain_timeout_seconds": 2},
        }
        if claims:
            config["agent"]["name"] = name
        config = merge(config, sections or {})
        return self.world.node("agent", config, label or "agent-" + name, **options).start()

    def path(self, name, service=None):
        return os.path.join(self.folder, name + ("." + service if service else "") + ".sock")

    def is_here(self, name, parked=1):
        found = [one for one in self.devices() if one["name"] == name and one["online"]]
        return bool(found) and found[0]["parked"] >= parked and os.path.exists(self.path(name))

    def wait_here(self, name, parked=1):
        self.hub.wait(lambda: self.is_here(name, parked), "device %s to be here" % name)

    def devices(self):
        return [json.loads(line) for line in self.hub.ask("devices", "--json")[0].splitlines()]

    def device(self, name):
        return [one for one in self.devices() if one["name"] == name][0]

    def dial(self, name, service=None):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(20 * PATIENCE)
        connection.connect(self.path(name, service))
        return connection

    def lines(self, event=None):
        with open(self.audit) as file:
            lines = [json.loads(line) for line in file]
        return [line for line in lines if event in (None, line["event"])]


def talk(connection, say):
    connection.sendall(say)
    connection.shutdown(socket.SHUT_WR)
    heard, end = read_to_end(connection)
    assert end == "end"
    return heard


@pytest.fixture
def service(world):
    return world.add(Server(echo))


def test_a_session_reaches_the_device_and_half_close_comes_back(world, service):
    """user ══ 011.sock ══ hub ════ agent ══ echo, which says the last word after our end"""
    fleet = Fleet(world)
    fleet.agent("011", service.address)
    fleet.wait_here("011")
    mode = os.lstat(fleet.path("011")).st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o660
    text = random_bytes(3 << 20, seed=1)
    connection = fleet.dial("011")
    assert sha256(exchange(connection, text)) == sha256(text)
    fleet.hub.wait(lambda: fleet.lines("end"), "the audit log to have the end")
    begin, end = fleet.lines("begin")[0], fleet.lines("end")[0]
    assert begin["device"] == end["device"] == "011" and end["service"] == "default"
    assert end["uid"] == os.getuid() and end["pid"] == os.getpid() and end["ended"] == "finished"
    assert end["bytes_sent"] == end["bytes_received"] == len(text)
    device = fleet.device("011")
    assert device["bytes_sent"] == device["bytes_received"] == len(text)
    assert device["not_after"] > time.time() and device["address"].startswith("127.0.0.1:")


def exchange(connection, text):
    heard = []
    reader = threading.Thread(target=lambda: heard.append(read_to_end(connection)[0]), daemon=True)
    reader.start()
    connection.sendall(text)
    connection.shutdown(socket.SHUT_WR)
    reader.join(60 * PATIENCE)
    assert heard, "the device's last word did not come"
    return heard[0]


def test_services_have_sockets_of_their_own(world, service):
    """user ══ 011.vnc.sock ══ hub ════ agent ══ vnc; a service that the device lacks is closed at once"""
    vnc = world.add(Server(greet(b"RFB 003.008\n")))
    fleet = Fleet(world, hub={"services": ["vnc", "other"]})
    fleet.agent("011", service.address, services=[("vnc", vnc.address)])
    fleet.wait_here("011")
    assert talk(fleet.dial("011", "vnc"), b"") == b"RFB 003.008\n"
    assert talk(fleet.dial("011"), b"echo") == b"echo"
    connection = fleet.dial("011", "other")
    begun = time.monotonic()
    try:
        assert connection.recv(1) == b""
    except ConnectionResetError:
        pass
    assert time.monotonic() - begun < 5 * PATIENCE
    # On a parked connection it begins and ends; without one the device refuses it before.
    fleet.hub.wait(
        lambda: [
            line
            for line in fleet.lines()
            if line.get("service") == "other" and "no such service" in line.get("ended", "")
        ],
        "the reason in the audit log",
    )


def test_connect_joins_standard_input_and_output(world, service):
    """qanat connect 011 ══ 011.sock ══ hub ════ agent ══ echo"""
    fleet = Fleet(world)
    fleet.agent("011", service.address)
    fleet.wait_here("011")
    text = random_bytes(1 << 20, seed=2)
    for words in (["011", "--ldir", fleet.folder], ["robot011", "--control-socket", fleet.hub.control_socket()]):
        done = subprocess.run([QANAT, "connect", *words], input=text, stdout=subprocess.PIPE, timeout=60 * PATIENCE)
        assert done.returncode == 0 and done.stdout == text
    done = subprocess.run(
        [QANAT, "connect", "012", "--ldir", fleet.folder], input=b"", stderr=subprocess.PIPE, timeout=60 * PATIENCE
    )
    assert done.returncode == 1 and b"away" in done.stderr
    done = subprocess.run([QANAT, "connect", "../x"], stderr=subprocess.PIPE, timeout=60 * PATIENCE)
    assert done.returncode == 2


def test_another_name_than_the_certificates_is_refused(world, service):
    """agent with the certificate of 012 ── "I am 011" ──✕ hub"""
    fleet = Fleet(world)
    thief = fleet.agent("011", service.address, label="thief", cert=fleet.cert("012"))
    thief.wait_log(r'claims the name "011", but its certificate is for "012"')
    assert not os.path.exists(fleet.path("011"))
    assert fleet.hub.metric("qanat_device_links_total", outcome="other_name") >= 1


def test_another_key_does_not_get_a_name_that_is_taken(world, service):
    """agent 011 ════ hub ✕── another certificate for 011; the device's own key takes over at once"""
    fleet = Fleet(world)
    fleet.agent("011", service.address)
    fleet.wait_here("011")
    certs = world.certs
    other = certs.path("other.crt"), certs.path("other.key")
    issuer = ["--ca-cert", certs.ca, "--ca-key", certs.ca_key]
    certs.make("client", *other, "--common-name", "011", "--key", "p256", "--force", *issuer)
    thief = fleet.agent("011", service.address, label="thief", cert=other)
    thief.wait_log(r'the name "011" is taken')
    thief.stop()
    connection = fleet.dial("011")
    connection.sendall(b"before")
    assert connection.recv(6) == b"before"
    fleet.agent("011", service.address, label="again")
    fleet.hub.wait_metric(1, "qanat_device_links_total", outcome="takeover")
    connection.sendall(b"after")  # what ran over the old link goes on
    assert connection.recv(5) == b"after"
    connection.close()


def test_a_claimed_name_stays_with_its_key(world, service):
    """identity = "claimed": the first key that says "011" keeps it, over a restart of the hub"""
    fleet = Fleet(world, hub={"identity": "claimed", "claims_path": os.path.join(world.folder, "claims")})
    shared = world.certs.client, world.certs.client_key
    first = fleet.agent("011", service.address, cert=shared)
    fleet.wait_here("011")
    first.stop()
    fleet.hub.stop()
    fleet.hub.process = None
    fleet.hub.start().wait_ready()
    thief = fleet.agent("011", service.address, label="thief", cert=fleet.cert("012"))
    thief.wait_log(r'the name "011" belongs to the key that claimed it first')
    fleet.agent("011", service.address, label="again", cert=shared)
    fleet.wait_here("011")


def test_kick_and_deny_end_links(world, service):
    """agent ════ hub: kick ends the link, which comes back; the deny-list keeps it away"""
    deny = os.path.join(world.folder, "deny")
    with open(deny, "w") as file:
        file.write("# nobody yet\n")
    fleet = Fleet(world, hub={"deny_path": deny})
    fleet.agent("011", service.address)
    fleet.wait_here("011")
    connection = fleet.dial("011")
    connection.sendall(b"x")
    assert connection.recv(1) == b"x"
    fleet.hub.ask("kick", "011")
    with pytest.raises((ConnectionResetError, AssertionError)):
        assert connection.recv(1) != b""
    fleet.hub.ask("kick", "nobody", status=1)
    fleet.wait_here("011")
    with open(deny, "w") as file:
        file.write("01*  # stolen\n")
    fleet.hub.reload(fleet.config)
    fleet.hub.wait(lambda: not os.path.exists(fleet.path("011")), "the socket to go")
    fleet.hub.wait_metric(1, "qanat_device_links_total", outcome="denied")
    assert not fleet.device("011")["online"]


def test_what_is_not_the_hubs_stays(world, service):
    """a file and a symbolic link lie where sockets should be: they survive, and the device is served elsewhere"""
    fleet = Fleet(world, hub={"services": ["main"]})
    os.symlink("/etc/passwd", fleet.path("011"))
    with open(fleet.path("012"), "w") as file:
        file.write("mine")
    fleet.agent("011", service.address)
    fleet.hub.wait_metric(1, "qanat_device_sockets_blocked_total")
    fleet.agent("012", service.address)
    fleet.hub.wait_metric(2, "qanat_device_sockets_blocked_total")
    fleet.wait_here("011")
    assert talk(fleet.dial("011", "main"), b"hello") == b"hello"
    assert os.path.islink(fleet.path("011")) and open(fleet.path("012")).read() == "mine"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_other_users_reach_what_a_rule_names(world, service):
    """user 65534 ── 011.sock ──✕ hub; user 65533 ══ 011.sock ══ hub, but not 012"""
    fleet = Fleet(world, hub={"socket_mode": "0666", "access": [{"users": ["65533"], "devices": ["011"]}]})
    world.let_others_in()
    os.chmod(fleet.folder, 0o755)
    for name in ("011", "012"):
        fleet.agent(name, service.address)
        fleet.wait_here(name)

    def heard(uid, name):
        done = subprocess.run(
            ["setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups", "socat", "-t", "5", "-"]
            + ["UNIX-CONNECT:" + fleet.path(name)],
            input=b"hello",
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=60 * PATIENCE,
        )
        return done.stdout

    assert heard(65533, "011") == b"hello"
    assert heard(65533, "012") == b""
    assert heard(65534, "011") == b""
    fleet.hub.wait(lambda: len(fleet.lines("refused")) == 2, "both refusals in the audit log")
    assert [line["uid"] for line in fleet.lines("refused")] == [65533, 65534]
    assert fleet.hub.metric("qanat_channels_total", outcome="not_allowed") == 2
    fleet.hub.reload(merge(fleet.config, {"hub": {"socket_mode": "0600"}}))


def test_channels_of_a_device_are_bounded(world, service):
    """three users of a device that may have two: the third is closed at once"""
    fleet = Fleet(world, hub={"max_channels_per_device": 2})
    fleet.agent("011", service.address)
    fleet.wait_here("011")
    open_ones = []
    for _ in range(2):
        connection = fleet.dial("011")
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
        open_ones.append(connection)
    third = fleet.dial("011")
    assert third.recv(1) == b""
    assert fleet.hub.metric("qanat_channels_total", outcome="limit") == 1
    open_ones.pop().close()
    fleet.hub.wait(lambda: fleet.device("011")["channels"] == 1, "the place to be free again")
    assert talk(fleet.dial("011"), b"hello") == b"hello"


def test_a_device_is_as_fast_as_it_may_be(world, service):
    """a rate of 1 MiB/s for each device: 2 MiB there and back take seconds, and arrive whole"""
    fleet = Fleet(world, hub={"max_bytes_per_second_per_device": 1 << 20})
    fleet.agent("011", service.address)
    fleet.wait_here("011")
    text = random_bytes(1 << 20, seed=3)
    begun = time.monotonic()
    assert exchange(fleet.dial("011"), text) == text
    assert time.monotonic() - begun > 0.8


def test_silent_strangers_hold_nobody_up(world, service):
    """300 connections that say nothing, and a device that comes then"""
    fleet = Fleet(world)
    silent = [socket.create_connection(("127.0.0.1", fleet.port)) for _ in range(300)]
    fleet.agent("011", service.address)
    fleet.wait_here("011")
    assert talk(fleet.dial("011"), b"hello") == b"hello"
    for connection in silent:
        connection.close()


def test_devices_come_back_after_a_restart_of_the_hub(world, service):
    """hub ✕ killed; its socket stays behind, is replaced by the next one, and the device is there again"""
    fleet = Fleet(world, hub={"offline": "refuse"})
    agent = fleet.agent("011", service.address)
    fleet.wait_here("011")
    fleet.hub.kill()
    fleet.hub.process = None
    assert os.path.exists(fleet.path("011"))
    fleet.hub.start().wait_ready()
    fleet.wait_here("011")
    assert talk(fleet.dial("011"), b"hello") == b"hello"
    agent.stop()
    fleet.hub.wait(lambda: not fleet.device("011")["online"], "the device to be away")
    assert fleet.dial("011").recv(1) == b""  # left there, and refusing


def test_the_seeds_own_story(world):
    """ssh ══ ProxyCommand (socat, qanat connect) ══ 011.sock ══ shadow-server ════ shadow-client ══ sshd"""
    folder = os.path.join(world.folder, "ssh")
    os.makedirs(folder)
    for name in ("host", "user"):
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", os.path.join(folder, name)])
    port, hub_port = free_port("::1"), free_port("::1")
    keys = os.path.join(folder, "authorized")
    with open(os.path.join(folder, "user.pub")) as file:
        text = file.read()
    with open(keys, "w") as file:
        file.write(text)
    os.chmod(keys, 0o600)
    config = os.path.join(folder, "sshd_config")
    with open(config, "w") as file:
        file.write(
            "ListenAddress ::1\nPort %d\nHostKey %s/host\nAuthorizedKeysFile %s\nUsePAM no\nStrictModes no\n"
            "PermitRootLogin prohibit-password\nPidFile none\n" % (port, folder, keys)
        )
    if os.geteuid() == 0:
        os.makedirs("/run/sshd", exist_ok=True)
    certs = world.certs
    programs = {}
    for name in ("shadow-server", "shadow-client"):
        programs[name] = os.path.join(world.folder, name)
        os.symlink(QANAT, programs[name])
    tls = ["--ca=" + certs.ca]
    cert = certs.path("011.crt"), certs.path("011.key")
    certs.make("client", *cert, "--common-name", "011", "--force", "--ca-cert", certs.ca, "--ca-key", certs.ca_key)
    environment = {**os.environ, "QANAT_METRICS_ENABLED": "false", "RUNTIME_DIRECTORY": world.folder}
    commands = [
        ["/usr/sbin/sshd", "-D", "-e", "-f", config],
        [programs["shadow-server"], "-6", "--lport=%d" % hub_port, "--ldir=.", *tls]
        + ["--crt=" + certs.server, "--key=" + certs.server_key],
        [programs["shadow-client"], "--rport=%d" % hub_port, "--rhost=::1", *tls, "--crt=" + cert[0]]
        + ["--key=" + cert[1], "--robot=011", "--lhost=::1", "--lport=%d" % port],
    ]
    running = []
    try:
        for number, command in enumerate(commands):
            with open(os.path.join(world.folder, "story%d.log" % number), "wb") as log:
                running.append(
                    subprocess.Popen(
                        command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=world.folder, env=environment
                    )
                )
        wait(lambda: os.path.exists(os.path.join(world.folder, "011.sock")), "011.sock to appear", 30)
        for proxy in ("socat - UNIX-CONNECT:./011.sock", "%s connect --ldir . %%h" % QANAT):
            done = subprocess.run(
                ["ssh", "-F", "none", "-i", os.path.join(folder, "user"), "-o", "ProxyCommand " + proxy]
                + ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes"]
                + ["-l", getpass.getuser(), "robot011", "cat; echo done"],
                input=b"through the tunnel\n",
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                timeout=60 * PATIENCE,
                cwd=world.folder,
            )
            assert done.stdout == b"through the tunnel\ndone\n", done.stderr.decode()
    finally:
        for process in reversed(running):
            process.terminate()
        for process in running:
            process.wait(30 * PATIENCE)
    assert not os.path.exists(os.path.join(world.folder, "011.sock"))
