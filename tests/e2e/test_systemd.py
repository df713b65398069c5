"""What a service manager gives and hears: notifications, watchdog, socket activation; and the unit files."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest

import peers
import sidecars
from peers import Helper, Server
from qanat import PATIENCE, QANAT, ROOT, free_port, wait


class Manager:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.setblocking(False)
        self.heard = []

    def listen(self):
        while True:
            try:
                self.heard.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return self.heard

    def wait(self, node, message, count=1):
        node.wait(lambda: len([m for m in self.listen() if m.startswith(message)]) >= count,
                  "the manager to hear %s %d times (heard: %s)" % (message, count, self.heard))

    def close(self):
        self.socket.close()


def test_a_manager_hears_of_every_change(world):
    """
    source, dest ── READY=1, STATUS=, RELOADING=1, READY=1, STOPPING=1 ──► manager
    """
    managers = {}
    target = world.add(Server(peers.echo))
    for name in ("dest", "source"):
        os.mkdir(os.path.join(world.folder, name + ".d"))
        managers[name] = world.add(Manager(os.path.join(world.folder, name + ".d")))
    dest = world.dest([("service", target.address)], environment={"NOTIFY_SOCKET": managers["dest"].path})
    source = world.source(dest, [("127.0.0.1:%d" % free_port(), "service")],
                          environment={"NOTIFY_SOCKET": managers["source"].path})
    for node in (dest, source):
        manager = managers[node.name]
        manager.wait(node, "READY=1")
        assert "WATCHDOG=1" not in manager.heard
        node.reload()
        manager.wait(node, "READY=1", 2)
        reloading = [m for m in manager.heard if m.startswith("RELOADING=1")]
        since = int(re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=(\d+)", reloading[0]).group(1))
        assert 0 < since <= time.clock_gettime(time.CLOCK_MONOTONIC) * 1e6
        assert manager.heard.index(reloading[0]) > manager.heard.index("READY=1")
        # What the process was told of is not handed on to others.
        with open("/proc/%d/environ" % node.pid) as file:
            assert "NOTIFY_SOCKET" in file.read()  # the kernel's copy: proof that it was given
    managers["source"].wait(source, "STATUS=link ")
    assert re.search(r"STATUS=link \w+ with dest\.node is up", "\n".join(managers["source"].heard))
    for node in (source, dest):
        node.stop()
        assert "STOPPING=1" in managers[node.name].listen(), managers[node.name].heard


def test_a_source_is_ready_when_it_listens_also_without_a_link(world):
    """
    source ──► (no dest)      READY=1 all the same: clients may connect and wait; /health says 503
    """
    manager = world.add(Manager(world.folder))
    source = world.source(free_port(), [("127.0.0.1:%d" % free_port(), "service")], ready=False,
                          environment={"NOTIFY_SOCKET": manager.path})
    manager.wait(source, "READY=1")
    assert not source.is_ready()


def test_a_process_that_cannot_start_never_says_it_is_ready(world):
    """
    dest on a port that is taken      no READY=1, exit status 1
    """
    manager = world.add(Manager(world.folder))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        dest = world.dest([("service", ("127.0.0.1", free_port()))], port=taken.getsockname()[1], ready=False,
                          environment={"NOTIFY_SOCKET": manager.path})
        assert dest.process.wait(20 * PATIENCE) == 1
    dest.process = None
    assert manager.listen() == []


def test_the_watchdog_is_fed_while_the_process_runs(world):
    """
    dest ── WATCHDOG=1 every 100 ms ──► manager ;  SIGSTOP: silence ;  SIGCONT: again
    """
    manager = world.add(Manager(world.folder))
    dest = world.dest([("service", ("127.0.0.1", free_port()))],
                      environment={"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "200000"})
    manager.wait(dest, "WATCHDOG=1", 3)
    dest.process.send_signal(signal.SIGSTOP)
    wait(lambda: open("/proc/%d/stat" % dest.pid).read().rsplit(")", 1)[1].split()[0] == "T", "the process to stop")
    manager.listen()
    before = len(manager.heard)
    time.sleep(0.5)  # not to synchronise: three periods in which nothing may come
    assert len(manager.listen()) == before
    dest.process.send_signal(signal.SIGCONT)
    manager.wait(dest, "WATCHDOG=1", manager.heard.count("WATCHDOG=1") + 2)


def activate(world, command, config, name, sockets, names, environment=None):
    """Starts a node as a service manager would: `sockets` are its descriptors 3, 4, ..."""
    node = world.node(command, config, name)
    count = len(sockets)
    fds = [s.fileno() for s in sockets]

    def place():
        high = [os.dup2(fd, 200 + i) for i, fd in enumerate(fds)]
        for i, fd in enumerate(high):
            os.dup2(fd, 3 + i, inheritable=True)
            os.close(fd)

    script = 'LISTEN_PID=$$ LISTEN_FDS=%d LISTEN_FDNAMES=%s exec "$@"' % (count, names)
    with open(node.log_path, "ab") as log:
        node.process = subprocess.Popen(
            ["/bin/sh", "-c", script, "sh", QANAT, command, "-c", node.config_path],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "RUNTIME_DIRECTORY": world.folder, **(environment or {})},
            preexec_fn=place,
            close_fds=False,
        )
    return node


def test_sockets_of_the_manager_are_used(world):
    """
    manager ── tunnel port, HTTP (TCP) ──► dest ;  ── local port, Unix socket ──► source      bytes flow through them
    """
    target = world.add(Server(peers.echo))
    tunnel, http, local = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    path = os.path.join(world.folder, "local.sock")
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(path)
    unix.listen()
    port = tunnel.getsockname()[1]
    dest_config = world.dest_config([("service", target.address)], port=port,
                                    metrics={"metrics_port": http.getsockname()[1]})
    dest = activate(world, "dest", dest_config, "dest", [http, tunnel], "http:tunnel").wait_ready()
    source_config = world.source_config(
        port, [("127.0.0.1:%d" % local.getsockname()[1], "service"), ("unix:" + path, "service")])
    source = activate(world, "source", source_config, "source", [local, unix], "local:unix").wait_ready()
    assert peers.ask(local.getsockname(), b"by TCP") == b"by TCP"
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20 * PATIENCE)
        client.connect(path)
        client.sendall(b"by path")
        assert peers.read_exactly(client, 7) == b"by path"
    source.stop()
    # The path is the manager's: whoever connects now waits for the next start.
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    for s in (tunnel, http, local, unix):
        s.close()


def test_a_sidecar_is_activated_and_tells_its_manager(world):
    """
    manager ── TLS port, Unix socket ──► proxy ── READY=1, RELOADING=1, READY=1, STOPPING=1 ──► manager
    """
    manager = world.add(Manager(world.folder))
    target = world.add(Server(peers.echo))
    tls = socket.create_server(("127.0.0.1", 0))
    path = os.path.join(world.folder, "tls.sock")
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(path)
    unix.listen()
    config = sidecars.config(world, [target.address], listen=["127.0.0.1:%d" % tls.getsockname()[1], "unix:" + path])
    node = activate(world, "proxy", config, "proxy", [tls, unix], "tls:unix",
                    {"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "200000"}).wait_ready()
    manager.wait(node, "READY=1")
    manager.wait(node, "WATCHDOG=1", 2)
    assert sidecars.tls_ask(tls.getsockname(), world.certs, b"by TCP") == b"by TCP"
    assert sidecars.tls_ask(path, world.certs, b"by path") == b"by path"
    node.reload()
    manager.wait(node, "READY=1", 2)
    assert [m for m in manager.heard if m.startswith("RELOADING=1")]
    node.stop()
    assert "STOPPING=1" in manager.listen(), manager.heard
    tls.close()
    unix.close()


def test_a_datagram_socket_of_the_manager_is_used(world):
    """
    manager ── UDP port ──► source ══ dest ──► echo      datagrams go through it; whoever asks for a TCP port gets none
    """
    target = world.add(Helper("udp", "serve", "127.0.0.1:0"))
    offered = {"name": "udp", "port": free_port(), "target_ip": "127.0.0.1", "target_port": target.address[1],
               "protocol": "udp"}
    dest = world.dest([offered])
    local = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    local.bind(("127.0.0.1", 0))
    near = local.getsockname()
    config = world.source_config(dest.config["dest"]["tunnel_port"])
    config["source"]["forwards"] = [{"listen": "%s:%d" % near, "service": "udp", "protocol": "udp"}]
    source = activate(world, "source", config, "source", [local], "udp").wait_ready()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.5)
        client.connect(near)

        def asked():
            client.send(b"by datagram")
            return client.recv(100) == b"by datagram"

        source.wait(asked, "an answer by the manager's socket")
    source.stop()
    local.close()


@pytest.mark.parametrize("command", ["source", "dest", "proxy"])
def test_a_listener_that_breaks_while_running_ends_the_process(world, command):
    """
    manager ── shuts its own copy of the socket down ──► node      exit status 1, the address is named: no silent zombie
    """
    with socket.create_server(("127.0.0.1", 0)) as shared:
        port = shared.getsockname()[1]
        config = (world.dest_config([("service", ("127.0.0.1", free_port()))], port=port) if command == "dest"
                  else sidecars.config(world, [("127.0.0.1", free_port())], listen="127.0.0.1:%d" % port)
                  if command == "proxy" else world.source_config(free_port(), [("127.0.0.1:%d" % port, "service")]))
        node = activate(world, command, config, command, [shared], "shared")
        node.wait_log("is running")
        shared.shutdown(socket.SHUT_RDWR)
        assert node.process.wait(20 * PATIENCE) == 1
        assert re.search(r"error +listener: 127\.0\.0\.1:%d: the socket is broken" % port, node.log())
        node.process = None


def test_a_udp_port_that_breaks_while_running_ends_the_process(world):
    """
    manager ── shuts its own copy of the UDP socket down ──► source      exit status 1, the address is named
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as shared:
        shared.bind(("127.0.0.1", 0))
        port = shared.getsockname()[1]
        config = world.source_config(free_port())
        config["source"]["forwards"] = [{"listen": "127.0.0.1:%d" % port, "service": "udp", "protocol": "udp"}]
        node = activate(world, "source", config, "source", [shared], "shared")
        node.wait_log("is running")
        with contextlib.suppress(OSError):  # says "not connected", and shuts it down
            shared.shutdown(socket.SHUT_RDWR)
        assert node.process.wait(20 * PATIENCE) == 1
        assert re.search(r"error +udp_port: udp 127\.0\.0\.1:%d: the socket is broken" % port, node.log())
        node.process = None


def test_a_socket_that_nothing_listens_on_stops_the_start(world):
    """
    manager ── a port that is not in the configuration ──► dest      exit status 1, the port is named
    """
    with socket.create_server(("127.0.0.1", 0)) as stray:
        config = world.dest_config([("service", ("127.0.0.1", free_port()))])
        dest = activate(world, "dest", config, "dest", [stray], "stray")
        assert dest.process.wait(20 * PATIENCE) == 1
        assert "127.0.0.1:%d (stray)" % stray.getsockname()[1] in dest.log()
        dest.process = None


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
@pytest.mark.parametrize("unit", ["qanat-source.service", "qanat-dest.service", "qanat-dest.socket",
                                  "qanat-proxy@.service", "qanat-proxy@.socket",
                                  "qanat-psk-server.service", "qanat-psk-client.service",
                                  "qanat-vpn-server.service", "qanat-vpn-client.service",
                                  "qanat-hub.service", "qanat-hub.socket", "qanat-agent.service"])
def test_unit_files_are_good(unit, tmp_path):
    """
    systemd-analyze verify: nothing to say about our files
    """
    program = tmp_path / "qanat"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for name in os.listdir(os.path.join(ROOT, "deploy", "systemd")):
        with open(os.path.join(ROOT, "deploy", "systemd", name)) as file:
            text = file.read().replace("/usr/local/bin/qanat", str(program))
        (tmp_path / name).write_text(text.replace("Documentation=man:qanat(1)\n", ""))
    done = subprocess.run(["systemd-analyze", "verify", str(tmp_path / unit)], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=60 * PATIENCE,
                          env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning"})
    # What it says of the machine's own units is not about ours.
    assert not [line for line in done.stdout.decode().splitlines() if "qanat" in line], done.stdout.decode()
