"""The control socket and the commands behind it: status, reload, drain; who may ask, and how little it takes."""

import json
import os
import re
import signal
import socket
import stat
import subprocess

import pytest

import peers
from peers import Server, dial
from qanat import PATIENCE, QANAT, free_port, wait


def ask_raw(path, line, uid=None):
    """What the node answers to these bytes; uid: asked by a process of that user and its group."""
    program = (
        "import socket,sys\n"
        "s=socket.socket(socket.AF_UNIX); s.settimeout(20); s.connect(sys.argv[1])\n"
        "try: s.sendall(sys.stdin.buffer.read())\n"
        "except BrokenPipeError: pass\n"
        "while True:\n"
        "  try: b=s.recv(65536)\n"
        "  except ConnectionResetError: break\n"  # the answer came before all of the request was read
        "  if not b: break\n"
        "  sys.stdout.buffer.write(b)\n"
    )
    ids = {} if uid is None else {"user": uid, "group": uid, "extra_groups": []}
    done = subprocess.run(
        ["/usr/bin/python3", "-c", program, path],
        input=line,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=60 * PATIENCE,
        **ids
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


@pytest.mark.threads
def test_status_says_the_same_as_http(world):
    """
    qanat status ──► control socket ─┐
    GET /status  ──► HTTP           ─┴─► one description of the node
    """
    target = world.add(Server(peers.echo))
    near, source, dest = world.pair(target.address)
    assert peers.ask(near, b"hello") == b"hello"
    for node in (source, dest):
        assert stat.S_IMODE(os.stat(node.control_socket()).st_mode) == 0o660
        over_socket, over_http = json.loads(node.ask("status", "--json")[0]), node.status()
        assert over_socket.keys() == over_http.keys()
        assert [link["id"] for link in over_socket["links"]] == [link["id"] for link in over_http["links"]]
        page = node.ask("status")[0]
        link = node.link()
        for part in (link["id"][:8], link["peer_name"], link["subject"], link["tls_group"], link["kem_legs"], "epoch"):
            assert part in page, page
        assert re.search(r"health +Healthy: All systems operational", page), page
    assert ask_raw(source.control_socket(), b'{"command":"version"}\n')["version"] in source.status()["version"]


def test_a_source_without_a_link_has_a_status_that_fails(world):
    """
    qanat status ──► source ──► (nothing)      exit status 1, the reason on the page
    """
    source = world.source(free_port(), [("127.0.0.1:%d" % free_port(), "service")], ready=False)
    source.wait_metric(1, "qanat_link_dials_failed_total")
    page = source.ask("status", status=1)[0]
    assert "last error" in page and "connection refused" in page, page


def test_reload_answers_with_what_came_of_it(world):
    """
    qanat reload ──► dest    changed keys, keys that need a restart, or every problem of a broken file
    """
    target = world.add(Server(peers.echo))
    near, source, dest = world.pair(target.address)
    config = {section: dict(values) for section, values in dest.config.items()}
    config["logging"]["level"] = "info"
    config["node"]["workers"] = 1
    dest.write_config(config)
    out, _ = dest.ask("reload")
    assert "logging.level has changed" in out
    assert "node.workers has changed, but needs a restart" in out
    dest.write_config(text="[dest]\ntunnel_port = 0\nnonsense = 1\n")
    _, err = dest.ask("reload", status=1)
    assert "nonsense" in err and "tunnel_port" in err and "serves on" in err, err
    assert dest.reloads() == (1, 1)
    last = dest.status()["last_reload"]
    assert last["outcome"] == "refused" and last["age_ms"] < 60000 * PATIENCE, last
    assert peers.ask(near, b"still here") == b"still here"


def test_drain_waits_for_flows_and_shows_how_many_are_left(world):
    """
    client ══ source ══ dest      qanat drain --wait: "1 flow left", the client ends, "0 flows left", "ended"
    """
    target = world.add(Server(peers.echo))
    near, source, dest = world.pair(target.address, node={"drain_timeout_seconds": 60})
    with dial(near) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        drain = subprocess.Popen(
            [QANAT, "drain", "--wait", "--control-socket", source.control_socket()],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert drain.stdout.readline() == b"1 flow left\n"
        assert source.ask("drain")[0].startswith("draining already")
        with pytest.raises(OSError):
            dial(near)
        assert source.status()["health"] == "Unhealthy"
    out = drain.communicate(timeout=60 * PATIENCE)[0].decode()
    assert drain.returncode == 0 and out.endswith("ended\n"), out
    assert source.process.wait(10 * PATIENCE) == 0
    assert not os.path.exists(source.control_socket())


@pytest.mark.parametrize(
    "line, problem",
    [
        (b"\n", "not a line of JSON"),
        (b"GET / HTTP/1.1\r\n\r\n", "not a line of JSON"),
        (b'{"command":"halt"}\n', "unknown command"),
        (b'{"command":"status","more":1}\n', "nothing else"),
        (b'{"command":"status","command":"drain"}\n', "not a line of JSON"),
        (b'["command"]\n', "nothing else"),
        (b"{" * 4096, "not a line of JSON"),
    ],
    ids=["empty", "http", "unknown", "more", "twice", "list", "endless"],
)
def test_nonsense_is_answered_and_counted(world, line, problem):
    """
    nonsense ──► control socket      a reason, a counter, and the node goes on
    """
    dest = world.dest([("service", ("127.0.0.1", free_port()))])
    answer = ask_raw(dest.control_socket(), line)
    assert answer["ok"] is False and problem in answer["problems"][0], answer
    assert dest.metric("qanat_control_socket_requests_total", outcome="bad_request") == 1
    assert json.loads(dest.ask("status", "--json")[0])["ready"] is True


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root to be several users")
def test_users_who_are_not_named_are_refused(world):
    """
    user 65534, in the socket's group ──► control socket      refused with a reason; allowed once it is named
    """
    world.let_others_in()
    refusing = world.dest([("service", ("127.0.0.1", free_port()))], name="refusing")
    os.chown(refusing.control_socket(), 0, 65534)
    answer = ask_raw(refusing.control_socket(), b'{"command":"status"}\n', uid=65534)
    assert answer["ok"] is False and "not allowed" in answer["problems"][0]
    assert refusing.metric("qanat_control_socket_requests_total", outcome="not_allowed") == 1
    refusing.wait_log(r"user 65534 .* was refused")
    for name, control in (("by-group", {"allowed_groups": ["65534"]}), ("by-user", {"allowed_users": ["65534"]})):
        node = world.dest([("service", ("127.0.0.1", free_port()))], name=name, control=control)
        if name == "by-group":
            assert os.stat(node.control_socket()).st_gid == 65534
        os.chown(node.control_socket(), 0, 65534)
        assert ask_raw(node.control_socket(), b'{"command":"status"}\n', uid=65534)["ok"] is True


def test_clients_that_say_nothing_leave_room_for_others(world):
    """
    64 silent clients ──► control socket      a place comes free within the deadline
    """
    dest = world.dest([("service", ("127.0.0.1", free_port()))])
    silent = []
    for _ in range(64):
        client = socket.socket(socket.AF_UNIX)
        client.connect(dest.control_socket())
        silent.append(client)
    dest.wait_metric(1, "qanat_control_socket_requests_total", outcome="busy")

    def is_answered():
        return ask_raw(dest.control_socket(), b'{"command":"version"}\n').get("ok")

    wait(is_answered, "a place to come free", 40)
    for client in silent:
        client.close()


def test_nodes_are_found_where_they_lie(world):
    """
    one node in $RUNTIME_DIRECTORY: found;  two: listed, to choose from;  none: says so
    """
    places = {"RUNTIME_DIRECTORY": world.folder}

    def call(*words):
        done = subprocess.run(
            [QANAT, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=60 * PATIENCE,
            env={**os.environ, **places, "QANAT_CONFIG": "/nonexistent"},
        )
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    status, _, err = call("status")
    assert status == 1 and "no running node found in " + world.folder in err
    first = world.dest([("service", ("127.0.0.1", free_port()))], name="first")
    assert os.path.basename(first.control_socket()) == "dest.sock"
    status, out, err = call("status")
    assert status == 0 and "dest dest.node" in out, err
    second = world.dest([("service", ("127.0.0.1", free_port()))], name="second", control={"socket": None})
    assert os.path.basename(second.control_socket()) == "dest-%d.sock" % second.pid
    status, _, err = call("status")
    assert status == 1 and first.control_socket() in err and second.control_socket() in err
    # A configuration that names its socket is enough, even one that is not good for a start.
    path = os.path.join(world.folder, "named.toml")
    with open(path, "w") as file:
        file.write('[control]\nsocket = "%s"\n[dest]\nnonsense = 1\n' % first.control_socket())
    assert call("status", "-c", path)[0] == 0
    second.kill()
    status, out, err = call("status")
    assert status == 0, err  # a socket that nobody answers at does not count
    assert call("status", "--nonsense")[0] == 2


def test_a_path_that_is_taken_stops_the_start(world):
    """
    dest, control.socket = X      another dest with the same: exit status 1, X is named
    """
    path = os.path.join(world.folder, "mine.sock")
    world.dest([("service", ("127.0.0.1", free_port()))], control={"socket": path})
    late = world.dest(
        [("service", ("127.0.0.1", free_port()))], name="late", ready=False, control={"socket": path}
    )
    assert late.process.wait(20 * PATIENCE) == 1
    assert "cannot open %s (control.socket)" % path in late.log() and "another process answers there" in late.log()
    late.process = None
    unknown = world.dest(
        [("service", ("127.0.0.1", free_port()))],
        name="unknown",
        ready=False,
        control={"allowed_users": ["nobody-of-that-name"], "allowed_groups": ["none-of-these"]},
    )
    assert unknown.process.wait(20 * PATIENCE) == 2
    assert "nobody-of-that-name" in unknown.log() and "none-of-these" in unknown.log()
    unknown.process = None


def test_off_means_off(world):
    """
    control.socket = "off"      no socket, and the node serves
    """
    dest = world.dest([("service", ("127.0.0.1", free_port()))], control={"socket": "off"})
    assert "control socket" not in dest.log()
    assert not [name for name in os.listdir(world.folder) if name.endswith(".sock")]


def health(*words):
    done = subprocess.run(
        [QANAT, "health", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60 * PATIENCE
    )
    return done.returncode, done.stdout.decode() + done.stderr.decode()


def test_health_tells_a_supervisor_the_truth(world):
    """
    qanat health ──► dest: passed ;  source without a link: failed ;  nobody: failed ;  somebody else: failed
    """
    path = os.path.join(world.folder, "http.sock")
    dest = world.dest([("service", ("127.0.0.1", free_port()))])
    source = world.source(free_port(), [("127.0.0.1:%d" % free_port(), "s")], ready=False,
                          metrics={"metrics_bind_ip": "unix:" + path})
    assert health("--endpoint", "http://127.0.0.1:%d/health" % dest.http_port()) == (
        0,
        "Health check passed: All systems operational\n",
    )
    assert health("--endpoint=http://localhost:%d" % dest.http_port(), "--timeout=20")[0] == 0
    source.wait_log(r"status on unix:")
    code, text = health("--endpoint", "unix:%s:/health" % path)
    assert code == 1 and text.startswith("Health check failed: "), text
    utun = os.path.join(world.folder, "utun")
    os.symlink(QANAT, utun)
    done = subprocess.run([utun, "health", "--endpoint", "http://127.0.0.1:%d/health" % dest.http_port()],
                          stdout=subprocess.PIPE, timeout=60 * PATIENCE)
    assert done.returncode == 0 and done.stdout == b"Health check passed: All systems operational\n"
    code, text = health("--endpoint", "http://127.0.0.1:%d/health" % free_port())
    assert code == 1 and "connection refused" in text
    code, text = health("--endpoint", "http://127.0.0.1:%d/metrics" % dest.http_port())
    assert code == 1 and ("not a node's /health" in text or "too long for a node's /health" in text)
    dest.process.send_signal(signal.SIGSTOP)
    try:
        code, text = health("--timeout", "1", "--endpoint", "http://127.0.0.1:%d/health" % dest.http_port())
    finally:
        dest.process.send_signal(signal.SIGCONT)
    assert code == 1 and "no answer in time" in text
    for bad in (["--endpoint", "ftp://x/"], ["--timeout", "0"], ["--nonsense", "1"], ["--endpoint"]):
        assert health(*bad)[0] == 2, bad
