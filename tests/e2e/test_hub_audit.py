"""The audit log of a hub: devices that come and go, who was refused, and a file that is moved away under it.

    agent ── up, replaced, refused, kicked, denied, down ──► hub ──► audit.log
"""

import os
import signal

import pytest

from peers import Server, echo
from qanat import wait
from test_hub import Fleet, talk


@pytest.fixture
def service(world):
    return world.add(Server(echo))


def of(fleet, event, name):
    return [line for line in fleet.lines(event) if line["device"] == name]


def test_a_device_is_in_the_log_from_its_link_to_its_end(world, service):
    """agent comes, carries 5 bytes, is taken over by its twin, is kicked, goes"""
    fleet = Fleet(world)
    agent = fleet.agent("011", service.address)
    fleet.wait_here("011")
    (up,) = of(fleet, "device-up", "011")
    device = fleet.device("011")
    assert (up["address"], up["fingerprint"], up["subject"]) == (
        device["address"], device["fingerprint"], device["subject"],
    )
    assert talk(fleet.dial("011"), b"salve") == b"salve"
    fleet.hub.ask("kick", "011")
    fleet.hub.wait(lambda: of(fleet, "device-down", "011"), "the end of the first link")
    assert [line["reason"] for line in of(fleet, "device-kicked", "011")] == ["ended by the hub's operator"]
    down = of(fleet, "device-down", "011")[0]
    assert "ended by the hub's operator" in down["reason"] and down["address"] == up["address"]
    assert down["bytes_sent"] == down["bytes_received"] == 5 and down["seconds"] >= 0
    fleet.wait_here("011")
    agent.stop()
    fleet.hub.wait(lambda: len(of(fleet, "device-down", "011")) == 2, "the end of the second link")
    assert "agent stops" in of(fleet, "device-down", "011")[1]["reason"]
    # In the order in which it happened.
    assert [line["event"] for line in fleet.lines() if line["event"].startswith("device")] == [
        "device-up", "device-kicked", "device-down", "device-up", "device-down",
    ]


def test_a_takeover_a_refusal_and_a_denial_have_their_reasons(world, service):
    """the same key twice: replaced; another key with the name, a name of another: refused; the deny-list: denied"""
    deny = os.path.join(world.folder, "denied")
    with open(deny, "w") as file:
        file.write("")
    fleet = Fleet(world, hub={"deny_path": deny})
    first = fleet.agent("011", service.address)
    fleet.wait_here("011")
    second = fleet.agent("011", service.address, label="twin")
    fleet.hub.wait(lambda: of(fleet, "device-replaced", "011"), "the takeover")
    for agent in (first, second):
        agent.stop()
    liar = fleet.agent("012", service.address, cert=fleet.cert("013"))
    fleet.hub.wait(lambda: fleet.lines("device-refused"), "the refusal")
    refused = fleet.lines("device-refused")[0]
    assert "013" in refused["subject"] and "012" in refused["reason"]
    liar.stop()
    fleet.agent("014", service.address)
    fleet.wait_here("014")
    with open(deny, "w") as file:
        file.write("014\n")
    fleet.hub.reload()
    fleet.hub.wait(lambda: of(fleet, "device-denied", "014") and of(fleet, "device-down", "014"), "the denial")
    fleet.hub.wait(lambda: of(fleet, "device-refused", "014"), "it to be refused when it comes again")


def test_too_many_links_are_in_the_log(world, service):
    """two agents with one name and key take over from each other until the hub tells them to rest"""
    fleet = Fleet(world)
    for label in ("one", "two"):
        fleet.agent("011", service.address, label=label)
    fleet.hub.wait(lambda: of(fleet, "device-resting", "011"), "the device to be told to rest")
    fleet.hub.wait(
        lambda: any("too often" in line["reason"] for line in of(fleet, "device-refused", "011")), "a refusal for it"
    )


def test_refusals_are_summed_up_and_leave_room_for_the_others(world, service):
    """60 connections beyond the limit of a device ──► some lines, and with the next one how many had none"""
    fleet = Fleet(world, hub={"max_channels_per_device": 1})
    fleet.agent("011", service.address)
    fleet.wait_here("011")
    with fleet.dial("011") as held:
        held.sendall(b"x")
        assert held.recv(1) == b"x"
        for _ in range(60):
            fleet.dial("011").close()
        fleet.hub.wait_metric(60, "qanat_channels_total", outcome="limit")
        dialled = [60]

        def every_refusal_is_told():
            fleet.dial("011").close()  # the next refusal that has a line of its own brings the sum of the others
            dialled[0] += 1
            fleet.hub.wait_metric(dialled[0], "qanat_channels_total", outcome="limit")
            sums = [line["count"] for line in fleet.lines("refused-more")]
            return sums and len(fleet.lines("refused")) + sum(sums) == dialled[0]

        wait(every_refusal_is_told, "lines and sums to make up all refusals", every=0.3)
        assert len(fleet.lines("refused")) < 60
    fleet.hub.wait(lambda: len(fleet.lines("end")) == 1, "the end of the one that was held")


@pytest.mark.parametrize("way", ["SIGHUP", "reload"])
def test_a_log_that_was_moved_away_is_made_anew(world, service, way):
    """mv audit.log audit.log.1 ; SIGHUP or `qanat reload` ──► later lines are in a new audit.log, none is lost"""
    fleet = Fleet(world)
    fleet.agent("011", service.address)
    fleet.wait_here("011")
    os.rename(fleet.audit, fleet.audit + ".1")
    if way == "SIGHUP":
        fleet.hub.process.send_signal(signal.SIGHUP)
    else:
        fleet.hub.ask("reload")
    fleet.hub.wait(lambda: os.path.exists(fleet.audit), "a new file")
    assert os.stat(fleet.audit).st_mode & 0o777 == 0o640
    assert talk(fleet.dial("011"), b"salve") == b"salve"
    fleet.hub.wait(lambda: fleet.lines("end"), "the end of the session in the new file")
    new = [line["event"] for line in fleet.lines()]
    fleet.audit += ".1"
    assert [line["event"] for line in fleet.lines()] + new == ["device-up", "begin", "end"]


def test_a_hub_that_is_killed_by_a_deadline_says_who_was_there(world, service):
    """user ══ hub ══ agent ; SIGTERM twice: the session and the device have their ends in the log"""
    fleet = Fleet(world)
    fleet.agent("011", service.address)
    fleet.wait_here("011")
    with fleet.dial("011") as connection:
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
        fleet.hub.stop()
    assert len(of(fleet, "end", "011")) == 1 and len(of(fleet, "device-down", "011")) == 1
