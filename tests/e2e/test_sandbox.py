"""What the process asks of the kernel once it runs: no more than the `Syscalls:` notes and docs/sandbox.md say."""

import fnmatch
import os
import re
import shutil
import socket
import subprocess

import pytest

import peers
import sidecars
from peers import Server
from qanat import PATIENCE, QANAT, ROOT, SANITIZED, Certs, free_port, run, wait

STRACE = shutil.which("strace")
POINT = "the start is complete"


def may_trace():
    if not STRACE:
        return "strace is not installed"
    done = subprocess.run([STRACE, "-o", "/dev/null", "true"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return None if done.returncode == 0 else "tracing is not permitted here: " + done.stdout.decode()[:200]


REFUSAL = may_trace()


def test_the_document_lists_what_the_notes_say():
    """
    docs/sandbox.md = tools/syscalls      so that whoever reads the document reads the code's own list
    """
    with open(os.path.join(ROOT, "docs", "sandbox.md")) as file:
        blocks = file.read().split("## System calls")[1].split("```")
    run, start = set(blocks[1].split()), set(blocks[3].split())
    assert run == noted("run"), run ^ noted("run")
    assert run | start == noted("start"), (run | start) ^ noted("start")


def noted(phase):
    done = subprocess.run([os.path.join(ROOT, "tools", "syscalls"), phase], stdout=subprocess.PIPE, check=True)
    names = set(done.stdout.decode().split())
    assert len(names) > 20, names
    return names


def documented_paths(**known):
    """The table "Files opened while running" of docs/sandbox.md: patterns, NAMES for what the configuration says."""
    with open(os.path.join(ROOT, "docs", "sandbox.md")) as file:
        table = file.read().split("## Files opened while running")[1].split("\n## ")[0]
    patterns = [word for line in table.splitlines() if line.startswith("| `")
                for word in re.findall(r"`([^`]+)`", line.split("|")[1])]
    assert patterns
    result = []
    for pattern in patterns:
        result += known.get(pattern, [pattern])
    return result


class Trace:
    """strace's file: what was called before the point, while running, and after the process was told to stop."""

    CALL = re.compile(r"^(\d+)\s+(?:<\.\.\. )?([a-z_0-9]+)(?:\(| resumed)(.*)$")

    def __init__(self, path, node):
        self.path = path
        wait(lambda: "+++ exited with 0 +++" in open(path, errors="replace").read().splitlines()[-1],
             "strace to write the last line of " + node.name, 60)
        self.calls = {"start": {}, "run": {}, "end": {}}
        self.opened = set()
        phase = "start"
        with open(path, errors="replace") as file:
            for line in file:
                if "--- SIGTERM" in line:
                    phase = "end"
                found = self.CALL.match(line)
                if not found:
                    continue
                name, rest = found.group(2), found.group(3)
                self.calls[phase].setdefault(name, line.strip())
                # Also what is not there: whoever confines must allow the question.
                path_of = re.match(r'(?:AT_FDCWD(?:<[^>]*>)?, )?"([^"]*)"', rest)
                if phase == "run" and name in ("open", "openat", "openat2", "readlink", "readlinkat") and path_of:
                    self.opened.add(path_of.group(1))
                if phase == "start" and POINT in line:
                    phase = "run"
        assert phase == "end", "%s: the point was not seen" % path


def traced(node):
    node.trace_path = os.path.join(node.folder, node.name + ".strace")
    # -D: the node is our child, strace watches from aside.
    node.prefix = [STRACE, "-D", "-f", "-s", "400", "-o", node.trace_path]
    return node


@pytest.mark.slow
@pytest.mark.skipif(REFUSAL is not None, reason=str(REFUSAL))
@pytest.mark.skipif(SANITIZED, reason="the sanitizers make system calls of their own")
def test_after_the_start_only_what_is_noted_is_called_and_opened(world):
    """
    strace source ══ strace dest      flows by TCP, UDP and name, HTTP, control socket, reloads, a lost target, the end
    """
    target = world.add(Server(peers.echo))
    datagrams = world.add(peers.Helper("udp", "serve", "127.0.0.1:0"))
    port, services, entry, udp = free_port(), free_port(), free_port(), free_port()
    path = os.path.join(world.folder, "local.sock")
    dest = world.node("dest", world.dest_config([
        {"name": "by-name", "port": services, "target_ip": "localhost", "target_port": target.address[1],
         "protocol": "tcp"},
        ("gone", ("127.0.0.1", free_port())),
        {"name": "datagrams", "port": free_port(), "target_ip": "localhost", "target_port": datagrams.address[1],
         "protocol": "udp"},
    ], dest={"target_connect_timeout_ms": 300}), "dest")
    tunnel_port = dest.config["dest"]["tunnel_port"]
    source = world.node("source", world.source_config(
        tunnel_port,
        [("127.0.0.1:%d" % port, "by-name"), ("unix:" + path, "gone")],
        source={"dest_host": "localhost", "mode": "hybrid", "listen_port": entry},
    ), "source")
    source.config["source"]["forwards"].append(
        {"listen": "127.0.0.1:%d" % udp, "service": "datagrams", "protocol": "udp"})
    source.write_config()
    for node in (dest, source):
        traced(node).start().wait_ready(60)
    for turn in range(3):
        assert peers.ask(("127.0.0.1", port), b"%d" % turn * 100000) == b"%d" % turn * 100000
    for node in (dest, source):
        node.metrics(), node.status(), node.ask("status"), node.ask("reload"), node.reload()
        node.reload(text="nonsense", ok=False)
        node.write_config(node.config)
    with peers.dial(("127.0.0.1", entry)) as client:
        client.sendall(b"CONNECT by-name:%d HTTP/1.1\r\nHost: by-name\r\n\r\n" % services)
        assert client.recv(4096).startswith(b"HTTP/1.1 200")
        client.sendall(b"asked for")
        assert peers.read_exactly(client, 9) == b"asked for"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(1)
        client.connect(("127.0.0.1", udp))
        source.wait(lambda: client.send(b"datagram") and client.recv(100) == b"datagram", "an answer by UDP")
    with dial_unix(path) as client:
        client.sendall(b"nobody")
        peers.read_to_end(client)
    assert peers.ask(("127.0.0.1", port), b"last") == b"last"
    problems = []
    for node in (source, dest):
        node.stop(60)
        problems += check(Trace(node.trace_path, node), node, world.certs)
    assert not problems, "\n" + "\n".join(problems)


@pytest.mark.slow
@pytest.mark.skipif(REFUSAL is not None, reason=str(REFUSAL))
@pytest.mark.skipif(SANITIZED, reason="the sanitizers make system calls of their own")
def test_a_sidecar_calls_and_opens_only_what_is_noted(world):
    """
    strace proxy (client) ══ strace proxy (server)      good clients, strangers, HTTP, reloads, a lost target, the end
    """
    target = world.add(Server(peers.echo))
    path = os.path.join(world.folder, "local.sock")
    server = world.node("proxy", sidecars.config(
        world, [("localhost", target.address[1]), ("127.0.0.1", free_port())],
        **{"proxy.health_check": {"interval_ms": 200}}), "server")
    far = sidecars.near(server.config)
    client = world.node("proxy", sidecars.client_config(world, [far], listen="unix:" + path), "client")
    for node in (server, client):
        traced(node).start().wait_ready(60)
    for turn in range(3):
        assert peers.ask(path, b"%d" % turn * 100000) == b"%d" % turn * 100000
    for said in (b"GET / HTTP/1.1\r\n\r\n", b"nonsense", b"\x16\x03\x01\x00\x05nonsense", b""):
        with peers.dial(far) as stranger:
            stranger.sendall(said)
            stranger.shutdown(socket.SHUT_WR)
            peers.read_to_end(stranger)
    for node in (server, client):
        node.metrics(), node.status(), node.ask("status"), node.ask("reload"), node.reload()
        node.reload(text="nonsense", ok=False)
        node.write_config(node.config)
    assert peers.ask(path, b"last") == b"last"
    problems = []
    for node in (client, server):
        node.stop(60)
        problems += check(Trace(node.trace_path, node), node, world.certs)
    assert not problems, "\n" + "\n".join(problems)


@pytest.mark.slow
@pytest.mark.skipif(REFUSAL is not None, reason=str(REFUSAL))
@pytest.mark.skipif(SANITIZED, reason="the sanitizers make system calls of their own")
def test_a_renewal_and_watched_files_ask_for_no_more_than_is_noted(world, tmp_path):
    """
    strace dest ─ drop folder ─ qanat cert serve      a renewal, and files that change
    """
    certs = Certs(str(tmp_path / "own"))
    drop = str(tmp_path / "drop")
    os.mkdir(drop, 0o700)
    issuer = ["--ca-cert", certs.ca, "--ca-key", certs.ca_key]
    certs.make("server", certs.server, certs.server_key, "--common-name", "dest.test", "--force", "--validity", "200s",
               *issuer)
    dest = world.node("dest", world.dest_config(
        [("one", ("127.0.0.1", free_port()))], certs=certs, node={"watch_files": True, "name": "dest.node"},
        renewal={"method": "drop", "drop_folder": drop, "before": "99%"},
    ), "dest")
    traced(dest).start().wait_ready(60)
    dest.wait(lambda: os.path.exists(os.path.join(drop, "dest.node.csr")), "the request", 60)
    run([QANAT, "cert", "serve", "--drop", drop, "--once", "--validity", "1h", *issuer])
    dest.wait(lambda: dest.metric("qanat_renewals_total", outcome="ok") == 1, "the renewal", 60)
    before = dest.reloads()[0]
    certs.make("server", certs.server, certs.server_key, "--common-name", "dest.test", "--force", *issuer)
    dest.wait(lambda: dest.reloads()[0] > before, "a reload by itself", 60)
    dest.stop(60)
    problems = check(Trace(dest.trace_path, dest), dest, certs, drop)
    assert not problems, "\n" + "\n".join(problems)


def dial_unix(path):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(30 * PATIENCE)
    client.connect(path)
    return client


def folders_above(path):
    found = []
    while path != "/":
        path = os.path.dirname(path)
        found.append(path)
    return found


def check(trace, node, certs, drop=None):
    problems = []
    for phase in ("run", "end"):
        allowed = noted(phase)
        assert trace.calls[phase]
        problems += ["%s, %s: %s is in no note: %s" % (node.name, phase, name, line[:200])
                     for name, line in sorted(trace.calls[phase].items()) if name not in allowed]
    patterns = documented_paths(
        CONFIGURATION=[node.config_path],
        **{"CERTIFICATES.pending": []},
        CERTIFICATES=[certs.ca, certs.client, certs.client_key, certs.server, certs.server_key],
        FOLDERS=[os.path.dirname(certs.server) + "/", *folders_above(certs.server), *folders_above(node.config_path)],
        DROP=[drop, "."] if drop else [],
        SOCKETS=[os.path.join(node.folder, "*.sock")],
    )
    patterns += [path + ".pending" for path in (certs.server, certs.server_key)] if drop else []
    problems += ["%s: %s is opened while running, and not in docs/sandbox.md" % (node.name, path)
                 for path in sorted(trace.opened)
                 if not any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)]
    assert any(path == node.config_path for path in trace.opened), "the reload was not traced"
    return problems
