"""
   users ══ NAME.sock ══ hub ════ robot, a device with a good certificate and no manners (tests/helpers/robot.c)
                          ╚══════ agent ══ echo, an honest device, which must not notice

What one device, one user or one stranger can do to a hub, and that the others stay as they are.
"""

import os
import socket
import struct
import time

import pytest

from peers import Server, echo, is_silent, read_exactly, read_to_end
from qanat import PATIENCE, QANAT, merge, run, wait
from robots import Crowd, Robot, wait_online
from strangers import Stranger
from streams import Stream, go_on
from test_hub import Fleet, talk


@pytest.fixture
def service(world):
    return world.add(Server(echo))


def honest(fleet, service, name="good"):
    """An honest device, and a stream over it that goes on until the end of the test, byte for byte."""
    fleet.agent(name, service.address)
    fleet.wait_here(name)
    return fleet.world.add(Stream(fleet.path(name)))


def is_ended(connection, seconds=20.0):
    """Waits for the other side to end it, in order or not; returns what came before."""
    connection.settimeout(seconds * PATIENCE)
    return read_to_end(connection)[0]


def crowd_in(fleet, name, count):
    """So many users of one device, as fast as its socket's queue takes them."""
    users = []

    def has_room():
        user = socket.socket(socket.AF_UNIX)
        user.setblocking(False)
        try:
            user.connect(fleet.path(name))
        except BlockingIOError:
            user.close()
            return False
        users.append(user)
        return True

    while len(users) < count:
        wait(has_room, "room in the queue of %s's socket" % name, every=0.002)
    return users


# ---- tokens --------------------------------------------------------------------------------------------------------


def refused_offers(fleet, reason="unknown_token"):
    return fleet.hub.metric("qanat_offers_refused_total", reason=reason)


def test_a_channel_token_is_worth_nothing_to_another_device(world):
    """
    user ══ victim.sock ══ hub ── OPEN token ──► victim, which waits;  thief ── claim token ──✕ hub
    """
    fleet = Fleet(world)
    victim, thief = world.add(Robot(fleet, "victim")), world.add(Robot(fleet, "thief"))
    wait_online(fleet, 2)
    fleet.wait_here("victim", parked=0)
    victim.tell("opens ignore")
    user = fleet.dial("victim")
    user.sendall(b"my password")
    token = victim.wait_token()
    thief.tell("claim", token, 3)
    fleet.hub.wait_metric(3, "qanat_offers_refused_total", reason="unknown_token")
    assert not thief.found("stream") and is_silent(user, 0.3)
    victim.tell("claim", token, 1)  # whose it is can still use it
    assert read_exactly(user, 11) == b"my password"
    victim.tell("claim", token, 1)  # once
    fleet.hub.wait_metric(4, "qanat_offers_refused_total", reason="unknown_token")
    assert len(victim.found("stream")) == 1 and not thief.found("stream")
    user.close()


def test_a_forged_or_late_token_is_refused(world):
    """robot ── claims tokens that nobody gave, and one whose user was sent away long ago ──✕ hub"""
    fleet = Fleet(world, hub={"open_timeout_ms": 300})
    robot = world.add(Robot(fleet, "robot"))
    fleet.wait_here("robot", parked=0)
    robot.tell("forge 60")
    fleet.hub.wait_metric(60, "qanat_offers_refused_total", reason="unknown_token")
    robot.tell("opens ignore")
    user = fleet.dial("robot")
    token = robot.wait_token()
    assert is_ended(user) == b""  # at the deadline
    fleet.hub.wait_metric(1, "qanat_opens_total", outcome="late")
    robot.tell("claim", token, 1)
    fleet.hub.wait_metric(61, "qanat_offers_refused_total", reason="unknown_token")
    assert not robot.found("stream")
    robot.tell("opens echo")
    assert talk(fleet.dial("robot"), b"still a device") == b"still a device"


def test_a_refusal_closes_the_user_at_once_and_a_storm_of_them_ends_the_link_only(world, service):
    """robot ── OPEN_FAILED, thousands of them ──► hub: its link ends, and comes back; the honest one does not notice"""
    fleet = Fleet(world, hub={"open_timeout_ms": 60000})
    stream = honest(fleet, service)
    robot = world.add(Robot(fleet, "robot"))
    fleet.wait_here("robot", parked=0)
    robot.tell("opens refuse")
    assert is_ended(fleet.dial("robot")) == b""
    fleet.hub.wait(
        lambda: [line for line in fleet.lines("refused") if "the robot says no" in line["ended"]], "the reason"
    )
    for _ in range(5):
        robot.tell("fail 5000")
    robot.wait_line("down")
    wait(go_on([stream]), "the honest device's stream to go on")
    robot.wait_line("up", 2)
    assert stream.problem is None
    stream.finish()


# ---- names ---------------------------------------------------------------------------------------------------------


def test_who_claims_anothers_name_leaves_its_link_as_it_is(world, service):
    """robot with the certificate of 012 ── "I am good", again and again ──✕ hub; good's stream goes on"""
    fleet = Fleet(world)
    stream = honest(fleet, service)
    links = fleet.device("good")["links_total"]
    thief = world.add(Robot(fleet, "good", cert=fleet.cert("012"), label="thief"))
    fleet.hub.wait_metric(5, "qanat_device_links_total", outcome="other_name")
    wait(go_on([stream]), "the stream to go on")
    assert not thief.found("up") and fleet.device("good")["links_total"] == links
    assert fleet.hub.metric("qanat_device_links_total", outcome="takeover") == 0
    stream.finish()


@pytest.mark.parametrize("takeover", ["same-key", "same-name"])
def test_who_claims_a_claimed_name_hears_nothing_of_its_owner(world, service, takeover):
    """identity = "claimed": the refusal is the same whether the owner of the name is here or away"""
    claims = os.path.join(world.folder, "claims")
    fleet = Fleet(world, hub={"identity": "claimed", "claims_path": claims, "takeover": takeover})
    owner = world.add(Robot(fleet, "good", parked=1))
    fleet.wait_here("good")
    thief = world.add(Robot(fleet, "good", cert=fleet.cert("012"), label="thief"))
    fleet.hub.wait_metric(3, "qanat_device_links_total", outcome="name_taken")
    assert talk(fleet.dial("good"), b"still here") == b"still here"
    while_here = {line["reason"] for line in fleet.lines("device-refused")}
    owner.close()
    fleet.hub.wait(lambda: not fleet.device("good")["online"], "the owner to be away")
    seen = fleet.hub.metric("qanat_device_links_total", outcome="name_taken")
    fleet.hub.wait_metric(seen + 3, "qanat_device_links_total", outcome="name_taken")
    assert {line["reason"] for line in fleet.lines("device-refused")} == while_here and len(while_here) == 1
    assert "belongs to the key that claimed it first" in while_here.pop()
    assert not thief.found("up")


def test_one_key_may_claim_so_many_names(world, service):
    """identity = "claimed": eight devices with one key, which may have five names; a sixth is refused and not kept"""
    claims = os.path.join(world.folder, "claims")
    fleet = Fleet(world, hub={"identity": "claimed", "claims_path": claims, "max_claims_per_key": 5})
    world.add(Crowd(fleet, 8))
    fleet.hub.wait_metric(3, "qanat_device_links_total", outcome="too_many_claims")
    fleet.hub.wait(lambda: len(os.listdir(fleet.folder)) >= 5 + 1, "the sockets of five")
    with open(claims) as file:
        assert len(file.readlines()) == 5
    assert len([name for name in os.listdir(fleet.folder) if name.endswith(".sock")]) == 5
    fleet.agent("another", service.address)  # with a key of its own
    fleet.wait_here("another")
    fleet.hub.reload(merge(fleet.config, {"hub": {"max_claims_per_key": 8}}))
    wait_online(fleet, 9)


def test_a_device_that_comes_again_and_again_is_told_to_rest_and_recovers(world, service):
    """robot ── a new link, a new link, ... ──► hub: nine within a minute are enough; later it may again"""
    fleet = Fleet(world)
    stream = honest(fleet, service)
    robot = world.add(Robot(fleet, "robot", parked=1))
    fleet.wait_here("robot")
    for number in range(2, 10):
        robot.tell("renew")
        robot.wait_line("up", number)
    robot.tell("renew")
    fleet.hub.wait_metric(1, "qanat_device_links_total", outcome="flaps")
    device = fleet.device("robot")
    assert device["flaps"] == 1 and device["resting"] and device["online"]
    assert talk(fleet.dial("robot"), b"on the link that it has") == b"on the link that it has"
    fleet.hub.ask("kick", "robot")
    robot.wait_line("down")
    fleet.hub.wait(lambda: not os.path.exists(fleet.path("robot")), "its socket to go")
    robot.wait_line("up", 10, seconds=60)  # after its rest
    fleet.wait_here("robot")
    assert not fleet.device("robot")["resting"]
    assert talk(fleet.dial("robot"), b"back") == b"back"
    stream.finish()


# ---- floods and silence --------------------------------------------------------------------------------------------


def test_floods_of_one_device_and_its_users_leave_the_others_alone(world, service):
    """
    500 users ══ robot.sock ══ hub ════ robot, which parks 400 connections and pours;  good's stream goes on
    """
    fleet = Fleet(world, hub={"max_channels_per_device": 40})
    stream = honest(fleet, service)
    robot = world.add(Robot(fleet, "robot", parked=1))
    fleet.wait_here("robot")
    robot.tell("streams pour")
    robot.tell("park 400")
    fleet.hub.wait_metric(100, "qanat_offers_refused_total", reason="too_many_parked")
    assert fleet.device("robot")["parked"] <= 64
    users = crowd_in(fleet, "robot", 500)
    fleet.hub.wait_metric(460, "qanat_channels_total", outcome="limit")
    wait(go_on([stream]), "the honest device's stream to go on", 60)
    assert fleet.device("robot")["channels"] <= 40
    before = fleet.hub.memory()
    wait(go_on([stream], 100), "the honest device's stream to go on", 60)
    # Nobody reads what it pours: what waits for 40 users is all that it costs.
    assert fleet.hub.memory() - before < 40 << 20
    assert stream.problem is None
    for user in users:
        user.close()
    fleet.hub.wait(lambda: fleet.device("robot")["channels"] == 0, "the flood to be over")
    stream.finish()


def test_data_connections_that_say_nothing_are_few_and_end(world, service):
    """
    robot ── 400 data connections that finish their handshake and say nothing ──► hub: it has its share, for ten seconds
    """
    fleet = Fleet(world, hub={"max_channels_per_device": 40})
    stream = honest(fleet, service)
    robot = world.add(Robot(fleet, "robot", parked=1))
    fleet.wait_here("robot")
    before = fleet.hub.descriptors()
    robot.tell("idle 400")
    fleet.hub.wait_metric(50, "qanat_admission_refused_total", reason="resources")
    robot.wait_line("idle$", 200)
    assert fleet.hub.descriptors() - before <= 40 + 2 * (64 + 64) + 20
    wait(go_on([stream]), "the honest device's stream to go on")
    fleet.hub.wait(lambda: fleet.hub.descriptors() - before < 10, "what says nothing to be over", 40)
    assert fleet.device("robot")["online"]
    assert talk(fleet.dial("robot"), b"still a device") == b"still a device"
    stream.finish()


def test_a_device_that_does_not_read_holds_its_own_user_up_only(world, service):
    """user ══ robot.sock ══ hub ════ robot, which never reads: the user is not read either; good goes on"""
    fleet = Fleet(world)
    stream = honest(fleet, service)
    robot = world.add(Robot(fleet, "robot", parked=1))
    fleet.wait_here("robot")
    robot.tell("streams mute")
    user = fleet.dial("robot")
    user.settimeout(1.0)
    sent = 0
    block = bytes(1 << 16)
    with pytest.raises(socket.timeout):
        while sent < 1 << 30:
            sent += user.send(block)
    assert sent < 64 << 20, "somebody keeps what nobody reads"
    wait(go_on([stream]), "the honest device's stream to go on")
    user.close()
    stream.finish()


def test_a_device_that_falls_silent_is_away_in_seconds(world, service):
    """robot stops in the middle of all: its user is closed, its socket goes, who waits for it is told"""
    fleet = Fleet(
        world,
        hub={"open_timeout_ms": 60000},
        link={"heartbeat_interval_ms": 500, "heartbeat_timeout_ms": 500, "max_missed_pongs": 2},
    )
    stream = honest(fleet, service)
    robot = world.add(Robot(fleet, "robot", parked=1))
    fleet.wait_here("robot")
    user = fleet.dial("robot")
    user.sendall(b"x")
    assert read_exactly(user, 1) == b"x"
    fleet.wait_here("robot")
    robot.fall_silent()
    users = [fleet.dial("robot") for _ in range(3)]  # one on the parked connection, two wait
    begun = time.monotonic()
    for one in [user, *users]:
        assert is_ended(one) == b""
    assert time.monotonic() - begun < 15 * PATIENCE
    fleet.hub.wait(lambda: not os.path.exists(fleet.path("robot")), "its socket to go")
    assert not fleet.device("robot")["online"]
    stream.finish()


def test_a_user_that_goes_before_the_device_answers_is_let_go(world, service):
    """user ── goes away ──✕ robot.sock ══ hub, whose OPEN the robot does not answer: withdrawn, and counted"""
    fleet = Fleet(world, hub={"open_timeout_ms": 60000})
    robot = world.add(Robot(fleet, "robot"))
    fleet.wait_here("robot", parked=0)
    robot.tell("opens ignore")
    stays, says, leaves = fleet.dial("robot"), fleet.dial("robot"), fleet.dial("robot")
    tokens = [robot.wait_token(count) for count in (1, 2, 3)]
    stays.shutdown(socket.SHUT_WR)  # has said all, and waits for the answer
    says.sendall(b"last words")
    says.close()  # the device is still to hear them
    leaves.close()
    fleet.hub.wait_metric(1, "qanat_channels_total", outcome="user_gone")
    fleet.hub.wait_metric(1, "qanat_opens_total", outcome="withdrawn")
    assert fleet.device("robot")["channels"] == 2 and fleet.device("robot")["waiting"] == 2
    for token in tokens:
        robot.tell("claim", token, 1)
    fleet.hub.wait_metric(1, "qanat_offers_refused_total", reason="unknown_token")
    assert is_ended(stays) == b""
    fleet.hub.wait(
        lambda: sorted(line["bytes_sent"] for line in fleet.lines("end")) == [0, 10], "the last words to be heard"
    )


# ---- before authentication -----------------------------------------------------------------------------------------


def test_five_hundred_strangers_who_say_nothing_block_nobody(world, service):
    """500 connections that say nothing, or half a ClientHello, while a device comes and works"""
    fleet = Fleet(world)
    strangers = [socket.create_connection(("127.0.0.1", fleet.port)) for _ in range(500)]
    for stranger in strangers[::2]:
        stranger.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
    stream = honest(fleet, service)
    wait(go_on([stream]), "the device's stream to go on")
    assert talk(fleet.dial("good"), b"hello") == b"hello"
    stream.finish()
    for stranger in strangers:
        stranger.close()


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param(b"\xff" * 4096, id="noise"),
        pytest.param(struct.pack(">IB", 0xFFFFFFFF, 1), id="length-beyond-all"),
        pytest.param(struct.pack(">IB", 10, 7) + bytes(9), id="open-instead-of-hello"),
        pytest.param(struct.pack(">IB", 1, 127), id="unknown-type"),
        pytest.param(struct.pack(">IB", 400, 1) + bytes(399), id="empty-hello"),
    ],
)
def test_garbage_on_a_control_connection_ends_that_connection(world, service, garbage):
    """openssl s_client with a device's certificate ── garbage ──✕ hub"""
    fleet = Fleet(world)
    stream = honest(fleet, service)
    cert, key = fleet.cert("012")
    before = fleet.hub.metric("qanat_links_refused_total")
    stranger = world.add(Stranger(fleet.port, cert, key, options=("-CAfile", world.certs.ca)))
    stranger.process.stdin.write(garbage)
    stranger.process.stdin.flush()
    fleet.hub.wait_metric(before + 1, "qanat_links_refused_total")
    wait(go_on([stream]), "the honest device's stream to go on")
    assert [device["name"] for device in fleet.devices()] == ["good"]
    stream.finish()


# ---- who must go ---------------------------------------------------------------------------------------------------


def talking(fleet, name):
    connection = fleet.dial(name)
    connection.sendall(b"x")
    assert read_exactly(connection, 1) == b"x"
    return connection


def outlive(fleet, robot, name):
    """A connection that has outlived its link, and one on the link that took over."""
    old = talking(fleet, name)
    robot.tell("renew")
    robot.wait_line("up", 2)
    fleet.hub.wait_metric(1, "qanat_device_links_total", outcome="takeover")
    fleet.wait_here(name)
    new = talking(fleet, name)
    old.sendall(b"y")
    assert read_exactly(old, 1) == b"y"
    return old, new


def test_kick_ends_also_what_has_outlived_its_link(world):
    """user ══ old link, taken over;  user ══ new link:  kick ends both, and the audit log says so"""
    fleet = Fleet(world)
    robot = world.add(Robot(fleet, "robot", parked=1))
    fleet.wait_here("robot")
    both = outlive(fleet, robot, "robot")
    fleet.hub.ask("kick", "robot")
    for connection in both:
        assert is_ended(connection) == b""
    fleet.hub.wait(lambda: len(fleet.lines("end")) == 2, "both ends in the audit log")
    assert all("ended by the hub's operator" in line["ended"] for line in fleet.lines("end")), fleet.lines("end")


def test_the_deny_list_ends_also_what_has_outlived_its_link(world):
    """the same for a device that is denied, even when it is away by then"""
    deny = os.path.join(world.folder, "deny")
    with open(deny, "w") as file:
        file.write("# nobody yet\n")
    fleet = Fleet(world, hub={"deny_path": deny})
    robot = world.add(Robot(fleet, "robot", parked=1))
    fleet.wait_here("robot")
    both = outlive(fleet, robot, "robot")
    with open(deny, "w") as file:
        file.write("rob*\n")
    fleet.hub.reload(fleet.config)
    for connection in both:
        assert is_ended(connection) == b""
    fleet.hub.wait(lambda: len(fleet.lines("end")) == 2, "both ends in the audit log")
    assert all("this device is denied" in line["ended"] for line in fleet.lines("end")), fleet.lines("end")
    fleet.hub.wait_metric(1, "qanat_device_links_total", outcome="denied")


def test_a_revoked_certificate_ends_a_live_link_with_all_that_runs(world, service):
    """robot's certificate is revoked while two connections run, one of which has outlived its link"""
    fleet = Fleet(world)
    stream = honest(fleet, service)
    robot = world.add(Robot(fleet, "robot", parked=1))
    fleet.wait_here("robot")
    both = outlive(fleet, robot, "robot")
    crl, index = os.path.join(world.folder, "ca.crl"), os.path.join(world.folder, "index")
    ca = ["--ca-cert", world.certs.ca, "--index", index]
    run([QANAT, "cert", "revoke", "--cert", fleet.cert("robot")[0], *ca])
    run([QANAT, "cert", "crl", *ca, "--ca-key", world.certs.ca_key, "--out-crl", crl])
    begun = time.monotonic()
    fleet.hub.reload(merge(fleet.config, {"auth": {"crl_paths": [crl]}}))
    for connection in both:
        assert is_ended(connection) == b""
    assert time.monotonic() - begun < 5 * PATIENCE
    fleet.hub.wait(lambda: len([x for x in fleet.lines("end") if x["device"] == "robot"]) == 2, "both ends")
    ends = [line["ended"] for line in fleet.lines("end") if line["device"] == "robot"]
    assert all("revoked" in end for end in ends), ends
    wait(go_on([stream]), "the honest device's stream to go on")
    stream.finish()
