"""
   nc, socat, users ══ NAME.sock ══ qanat hub ════ qanat agent ══ local service

What people do with a hub every day: bulk, stopping and restarting it, users and groups, what lies in its folder.
"""

import copy
import os
import shutil
import signal
import socket
import stat
import subprocess
import threading
import time

import pytest

from peers import Recorder, Server, echo, greet, random_bytes, read_exactly, read_to_end, sha256
from qanat import PATIENCE, wait
from robots import Crowd, wait_online

from test_access import parse_proxy
from test_agent import Hub, agent
from test_hub import Fleet, exchange, talk

root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def service(world):
    return world.add(Server(echo))


def claimed(world, **hub):
    return Fleet(world, hub={"identity": "claimed", "claims_path": os.path.join(world.folder, "claims"), **hub})


# ---- bulk ----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("nc"), reason="nc (netcat-openbsd) is not installed")
def test_nc_moves_bulk_both_ways(world, service):
    """nc -U -N 011.sock < file ══ hub ════ agent ══ echo ══► the same file, and the half-close in between"""
    fleet = Fleet(world)
    fleet.agent("011", service.address)
    fleet.wait_here("011")
    sent = os.path.join(world.folder, "sent")
    text = random_bytes(64 << 20, seed=5)
    with open(sent, "wb") as file:
        file.write(text)
    with open(sent, "rb") as file:
        done = subprocess.run(
            ["nc", "-U", "-N", fleet.path("011")],
            stdin=file,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=120 * PATIENCE,
        )
    assert done.returncode == 0, done.stderr.decode()
    assert len(done.stdout) == len(text) and sha256(done.stdout) == sha256(text)
    device = fleet.device("011")
    assert device["bytes_sent"] == device["bytes_received"] == len(text)


def test_a_rate_counts_all_connections_of_a_device_together(world, service):
    """three users of one device at 4 MiB/s: 6 MiB each way, together, take three seconds less what is in hand"""
    fleet = Fleet(world, hub={"max_bytes_per_second_per_device": 4 << 20})
    fleet.agent("011", service.address)
    fleet.wait_here("011")
    text = random_bytes(2 << 20, seed=6)
    problems = []

    def one():
        if exchange(fleet.dial("011"), text) != text:
            problems.append("wrong bytes")

    begun = time.monotonic()
    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60 * PATIENCE)
    seconds = time.monotonic() - begun
    device = fleet.device("011")
    assert not problems and device["bytes_sent"] + device["bytes_received"] == 6 * len(text)
    assert seconds > 1.8, "12 MiB in %.2f s are more than 4 MiB/s" % seconds


# ---- stopping and starting -----------------------------------------------------------------------------------------


def test_a_hub_that_stops_lets_sessions_finish_and_takes_no_new_ones(world, service):
    """user ══ hub (SIGTERM) ════ agent: the socket goes at once, the session ends when its user ends it"""
    fleet = Fleet(world, node={"drain_timeout_seconds": 30 * int(PATIENCE)})
    fleet.agent("011", service.address)
    fleet.wait_here("011")
    user = fleet.dial("011")
    user.sendall(b"before")
    assert read_exactly(user, 6) == b"before"
    begun = time.monotonic()
    fleet.hub.process.send_signal(signal.SIGTERM)
    wait(lambda: not os.path.exists(fleet.path("011")), "the socket to go")
    with pytest.raises(FileNotFoundError):
        fleet.dial("011")
    user.sendall(b"after")
    assert read_exactly(user, 5) == b"after"
    assert talk(user, b"the end") == b"the end"
    assert fleet.hub.process.wait(20 * PATIENCE) == 0
    assert time.monotonic() - begun < 25 * PATIENCE  # no longer than it takes
    assert fleet.lines("end")[0]["ended"] == "finished"


def test_a_session_that_does_not_finish_is_cut_when_the_time_is_up(world, service):
    """user ══ hub (SIGTERM), drain_timeout_seconds = 1: cut, and the hub is gone"""
    fleet = Fleet(world, node={"drain_timeout_seconds": 1})
    fleet.agent("011", service.address)
    fleet.wait_here("011")
    user = fleet.dial("011")
    user.sendall(b"x")
    assert read_exactly(user, 1) == b"x"
    fleet.hub.process.send_signal(signal.SIGTERM)
    assert read_to_end(user)[0] == b""
    assert fleet.hub.process.wait(20 * PATIENCE) == 0
    assert len(fleet.lines("end")) == 1


@pytest.mark.slow
def test_a_fleet_comes_back_after_a_restart_of_the_hub(world, service):
    """200 devices, and a hub that does eight handshakes at once: killed, started, all are back and work"""
    fleet = claimed(world, handshakes_at_once=8, handshakes_per_address=100000)
    world.add(Crowd(fleet, 200))
    wait_online(fleet, 200, 120)
    fleet.hub.kill()
    fleet.hub.process = None
    fleet.hub.start().wait_ready()
    wait_online(fleet, 200, 120)
    assert fleet.hub.metric("qanat_device_links_total", outcome="up") >= 200
    for number in (0, 99, 199):
        name = "d%05d" % number
        fleet.wait_here(name)
        assert talk(fleet.dial(name), b"back again") == b"back again"
    names = [device["name"] for device in fleet.devices()]
    assert names == sorted(names) and len(names) == 200


# ---- who may -------------------------------------------------------------------------------------------------------


@root
def test_groups_let_in_by_their_number_also_as_one_of_several(world, service):
    """a rule for group 65532: a user whose group it is, or one of whose groups, may; nobody else"""
    fleet = Fleet(world, hub={"socket_mode": "0666", "access": [{"groups": ["65532"], "devices": ["0*"]}]})
    world.let_others_in()
    os.chmod(fleet.folder, 0o755)
    fleet.agent("011", service.address)
    fleet.wait_here("011")

    def heard(*who):
        done = subprocess.run(
            ["setpriv", "--reuid", "65531", *who, "socat", "-t", "5", "-", "UNIX-CONNECT:" + fleet.path("011")],
            input=b"hello",
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=60 * PATIENCE,
        )
        return done.stdout

    assert heard("--regid", "65532", "--clear-groups") == b"hello"
    assert heard("--regid", "65531", "--groups", "65530,65532") == b"hello"
    assert heard("--regid", "65531", "--groups", "65530") == b""
    assert fleet.hub.metric("qanat_channels_total", outcome="not_allowed") == 1


@pytest.mark.parametrize("parked", [0, 1])
@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "/etc/passwd", "unix:/etc/passwd", "22", "127.0.0.1:22", "ssh/../other", "SSH", "x" * 64]
    + ["s*"],
)
def test_a_hub_cannot_name_a_target_on_the_device(world, name, parked):
    """══► a hostile hub asks for what it likes ──✕ agent, whose own list has "ssh" only"""
    target = world.add(Server(greet(b"salve")))
    hub = world.add(Hub(world.certs, name, "ssh"))
    agent(world, hub, [("ssh", "%s:%d" % target.address)], parked_connections=parked)
    hub.wait_line("up 1")
    try:
        with hub.connect(name) as client:
            assert client.recv(10) == b""
    except ConnectionError:
        pass
    with hub.connect("ssh") as client:
        assert client.recv(5) == b"salve"


def test_a_service_hears_who_has_connected_to_the_device(world):
    """user ══ 011.sock ══ hub ════ agent ── PROXY v2: uid and pid of the user ──► service"""
    target = world.add(Recorder(say=b"answer"))
    fleet = Fleet(world)
    node = fleet.agent("011", target.address)
    fleet.wait_here("011")
    config = copy.deepcopy(node.config)
    config["agent"]["services"][0]["proxy_protocol"] = "v2"
    node.reload(config)
    assert talk(fleet.dial("011"), b"question") == b"answer"
    wait(lambda: target.records and target.records[-1]["end"], "the service to have heard all")
    addresses, tlvs, rest = parse_proxy(bytes(target.records[-1]["bytes"]))
    assert addresses is None and rest == b"question"
    assert tlvs[0xE1] == b"uid:%d,pid:%d" % (os.getuid(), os.getpid())


# ---- the folder ----------------------------------------------------------------------------------------------------


def test_sockets_have_their_mode_from_the_first_instant(world):
    """100 devices come to a hub whose umask is 0, while somebody looks at the folder all the time"""
    before = os.umask(0)
    try:
        fleet = claimed(world, socket_mode="0640")
    finally:
        os.umask(before)
    seen, workshop, looking = {}, set(), threading.Event()

    def look():
        while not looking.is_set():
            for entry in os.scandir(fleet.folder):
                try:
                    mode = stat.S_IMODE(entry.stat(follow_symlinks=False).st_mode)
                except FileNotFoundError:
                    continue
                if entry.name.endswith(".sock"):
                    seen.setdefault(entry.name, set()).add(mode)
                else:
                    workshop.add((entry.name, mode))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    world.add(Crowd(fleet, 100))
    fleet.hub.wait(lambda: len(seen) == 100, "100 sockets to be seen", 60)
    looking.set()
    thread.join(10)
    assert set().union(*seen.values()) == {0o640}, seen
    assert workshop == {(".qanat-hub", 0o700)}


def test_a_socket_that_somebody_else_answers_stays(world, service):
    """another program's socket is where 011.sock should be: it is not replaced, and not removed at the end"""
    fleet = Fleet(world)
    mine = socket.socket(socket.AF_UNIX)
    mine.bind(fleet.path("011"))
    mine.listen(8)
    fleet.agent("011", service.address)
    fleet.hub.wait_metric(1, "qanat_device_sockets_blocked_total")
    fleet.hub.ask("kick", "011")
    fleet.hub.wait_metric(2, "qanat_device_sockets_blocked_total")
    fleet.hub.stop()
    with socket.socket(socket.AF_UNIX) as user:
        user.connect(fleet.path("011"))  # still the other program
    mine.close()


def test_a_workshop_that_is_a_symbolic_link_stops_the_start(world):
    """devices/.qanat-hub ─► elsewhere: somebody else wants the hub to work there"""
    fleet = Fleet(world)
    fleet.hub.stop()
    elsewhere = os.path.join(world.folder, "elsewhere")
    os.mkdir(elsewhere)
    assert not os.path.exists(os.path.join(fleet.folder, ".qanat-hub"))
    os.symlink(elsewhere, os.path.join(fleet.folder, ".qanat-hub"))
    second = world.node("hub", fleet.config, "second")
    second.expects = 1
    second.start()
    wait(lambda: second.process.poll() is not None, "the hub to end")
    assert ".qanat-hub in it is no folder of ours" in second.whole_log()
    assert os.listdir(elsewhere) == []
