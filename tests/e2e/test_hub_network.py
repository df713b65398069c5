"""An agent whose network changes. Each test has two hosts of its own, which are network namespaces, and a wire.

    hub (192.0.2.1) ════ wire ════ agent (192.0.2.2) ══ echo
"""

import json
import os
import time

import pytest

import netns
from netns import Psk
from qanat import PATIENCE, QANAT, run, wait

REASON = netns.why_not()
pytestmark = pytest.mark.skipif(REASON is not None, reason=REASON or "")

# A pause of up to an hour, and a heartbeat of a minute: what comes back within seconds was told.
HOUR_MS = 3600000


class Hub(Psk):
    WORD = "hub"


class Agent(Psk):
    WORD = "agent"


class Scene:
    def __init__(self, wire, certs, folder, **agent):
        self.wire = wire
        devices = os.path.join(folder, "devices")
        os.mkdir(devices)
        self.control = os.path.join(folder, "hub-control.sock")
        self.hub = Hub(wire.server, [], "hub", {
            "hub": {"listen_port": 2222, "directory": devices},
            "auth": {
                "ca_cert_path": certs.ca, "server_cert_path": certs.server, "server_key_path": certs.server_key,
            },
            "link": {"heartbeat_interval_ms": 1000},
            "control": {"socket": self.control},
            "logging": {"level": "debug"},
        })
        self.hub.wait_log("is running")
        self.agent = Agent(wire.client, [], "agent", {
            "agent": {
                "hub_host": "192.0.2.1", "hub_port": 2222, "services": [{"name": "main", "target": "127.0.0.1:9"}],
                **agent,
            },
            "auth": {
                "ca_cert_path": certs.ca, "client_cert_path": certs.client, "client_key_path": certs.client_key,
                "peer_name": "localhost",
            },
            "logging": {"level": "debug"},
        })
        self.wait_device(lambda device: device["online"], "the device to be here")

    def device(self):
        answer = run([QANAT, "devices", "--json", "--control-socket", self.control])
        lines = [json.loads(line) for line in answer.splitlines()]
        return lines[0] if lines else {"online": False}

    def wait_device(self, question, reason, seconds=20.0):
        try:
            wait(lambda: question(self.device()), reason, seconds)
        except AssertionError as late:
            raise AssertionError("%s\n%s\n%s" % (late, self.agent.log()[-3000:], self.hub.log()[-3000:])) from None


@pytest.fixture
def wire(tmp_path):
    made = netns.Wire(str(tmp_path))
    yield made
    made.close()


def test_an_agent_is_back_as_soon_as_its_network_is(wire, certs, tmp_path):
    """the wire is cut until both have noticed ; it is joined ──► back at once, though the pause would be an hour"""
    scene = Scene(
        wire, certs, str(tmp_path), ping_seconds=1, initial_reconnect_delay_ms=HOUR_MS, max_reconnect_delay_ms=HOUR_MS
    )
    wire.client.ip("link", "set", wire.client_end, "down")
    scene.agent.wait_log("next try in", 60)
    scene.wait_device(lambda device: not device["online"], "the hub to notice", 60)
    seen = scene.agent.metric("qanat_network_changes_total")
    assert seen >= 1
    began = time.monotonic()
    wire.client.ip("link", "set", wire.client_end, "up")
    scene.wait_device(lambda device: device["online"], "the device to be back")
    took = time.monotonic() - began
    assert took < 10 * PATIENCE, took
    assert scene.agent.metric("qanat_network_changes_total") > seen


def test_an_agent_with_another_address_does_not_wait_for_its_heartbeat(wire, certs, tmp_path):
    """192.0.2.2 becomes 192.0.2.3 ──► a link from there takes over, long before a heartbeat of a minute is missed"""
    scene = Scene(wire, certs, str(tmp_path), ping_seconds=60)
    assert scene.device()["address"].startswith("192.0.2.2:")
    began = time.monotonic()
    wire.client.ip("addr", "add", "192.0.2.3/24", "dev", wire.client_end)
    wire.client.ip("addr", "del", "192.0.2.2/24", "dev", wire.client_end)
    # With the first address the kernel may have taken the second one along.
    if "192.0.2.3" not in wire.client.ip("addr"):
        wire.client.ip("addr", "add", "192.0.2.3/24", "dev", wire.client_end)
    scene.wait_device(
        lambda device: device["online"] and device.get("address", "").startswith("192.0.2.3:"), "the new address"
    )
    assert time.monotonic() - began < 15 * PATIENCE
    scene.agent.wait_log("the network has changed, and it does not answer")


def test_a_change_that_concerns_nobody_costs_nothing(wire, certs, tmp_path):
    """devices that come and go beside the wire ──► the link answers, and stays the one it is"""
    scene = Scene(wire, certs, str(tmp_path), ping_seconds=60)
    before = scene.device()
    for turn in range(20):
        wire.client.ip("link", "add", "qa%d" % turn, "type", "veth", "peer", "name", "qb%d" % turn)
        wire.client.ip("link", "set", "qa%d" % turn, "up")
    wait(lambda: scene.agent.metric("qanat_network_changes_total") >= 1, "the change to be seen")
    # Longer than the link may be silent after a change.
    wait(lambda: scene.agent.status()["links"][0]["up_ms"] > before["up_ms"] + 4000, "some time to pass")
    after = scene.device()
    assert after["links_total"] == before["links_total"] == 1 and after["online"]
    assert scene.agent.metric("qanat_network_changes_total") <= 1 + (after["up_ms"] - before["up_ms"]) / 1000
