"""A hub and an agent under a service manager.

    manager ◄── READY=1, STATUS=, RELOADING=1, STOPPING=1 ── hub ════ agent ── likewise ──► manager
"""

import os
import re
import signal
import socket

import pytest

from peers import Server, echo, read_exactly, read_to_end
from qanat import wait
from test_hub import Fleet, talk
from test_systemd import Manager, activate


@pytest.fixture
def service(world):
    return world.add(Server(echo))


def manager(world, name):
    folder = os.path.join(world.folder, name)
    os.mkdir(folder)
    return world.add(Manager(folder))


def test_managers_of_both_hear_of_every_change(world, service):
    """hub and agent say that they are ready, what they do, that they reload and that they stop"""
    managers = {"hub": manager(world, "hub.d"), "agent": manager(world, "agent.d")}
    fleet = Fleet(world, start=False)
    fleet.hub.environment = {"NOTIFY_SOCKET": managers["hub"].path}
    fleet.hub.start().wait_ready()
    agent = fleet.agent("011", service.address, environment={"NOTIFY_SOCKET": managers["agent"].path})
    fleet.wait_here("011")
    for node, one in ((fleet.hub, managers["hub"]), (agent, managers["agent"])):
        one.wait(node, "READY=1")
        node.reload()
        one.wait(node, "READY=1", 2)
        assert [m for m in one.heard if m.startswith("RELOADING=1")]
    managers["agent"].wait(agent, "STATUS=link ")
    assert "STATUS=accepting devices" in "\n".join(managers["hub"].heard)
    for node, one in ((agent, managers["agent"]), (fleet.hub, managers["hub"])):
        node.stop()
        assert "STOPPING=1" in one.listen(), one.heard


def test_an_agent_is_ready_without_a_hub(world, service):
    """agent ──► (no hub)      READY=1 all the same, or the service manager would end it; the link comes later"""
    one = manager(world, "agent.d")
    fleet = Fleet(world, start=False)
    agent = fleet.agent("011", service.address, environment={"NOTIFY_SOCKET": one.path})
    one.wait(agent, "READY=1")
    assert agent.get("/health")[0] == 503
    fleet.hub.start().wait_ready()
    one.wait(agent, "STATUS=link ")
    agent.wait_ready()


def test_a_hub_takes_the_sockets_of_its_manager_and_a_restart_refuses_nobody(world, service):
    """
    manager ── port for devices, TCP port of a device ──► hub ; the hub ends: who dials waits ; the next hub takes them
    """
    devices, port = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    fleet = Fleet(world, start=False, hub={
        "listen_ip": "127.0.0.1",
        "listen_port": devices.getsockname()[1],
        "tcp": [{"device": "011", "listen": "127.0.0.1:%d" % port.getsockname()[1]}],
    })
    world.nodes.remove(fleet.hub)  # it is the manager who starts hubs here
    fleet.port = devices.getsockname()[1]
    fleet.hub = activate(world, "hub", fleet.config, "hub-1", [devices, port], "devices:port").wait_ready()
    agent = fleet.agent("011", service.address)
    fleet.wait_here("011")
    with socket.create_connection(port.getsockname()) as client:
        assert talk(client, b"salve") == b"salve"
    fleet.hub.stop()
    agent.wait(lambda: not agent.is_ready(), "the agent to have lost the hub")
    # Nobody accepts, and nobody is refused.
    with socket.create_connection(port.getsockname()):
        pass
    refused = agent.log().count("onnection refused")
    fleet.hub = activate(world, "hub", fleet.config, "hub-2", [devices, port], "devices:port").wait_ready()
    fleet.wait_here("011")
    assert agent.log().count("onnection refused") == refused == 0
    for one in (devices, port):
        one.close()


def test_a_hub_that_stops_lets_sessions_finish(world, service):
    """
    user ══ hub ══ agent ; SIGTERM: no socket any more, /health says 503, the session goes on to its end, exit 0
    """
    fleet = Fleet(world, node={"drain_timeout_seconds": 60})
    fleet.agent("011", service.address)
    fleet.wait_here("011")
    with fleet.dial("011") as connection:
        connection.sendall(b"one")
        assert read_exactly(connection, 3) == b"one"
        fleet.hub.process.send_signal(signal.SIGTERM)
        wait(lambda: not os.path.exists(fleet.path("011")), "the socket to go")
        assert fleet.hub.get("/health")[0] == 503
        connection.sendall(b"two")
        assert read_exactly(connection, 3) == b"two"
        assert fleet.hub.process.poll() is None
        connection.shutdown(socket.SHUT_WR)
        assert read_to_end(connection) == (b"", "end")
    wait(lambda: fleet.hub.process.poll() is not None, "the hub to end after its last session")
    assert fleet.hub.process.returncode == 0
    assert re.search(r"finished", str(fleet.lines("end")))
    assert [line["device"] for line in fleet.lines("device-down")] == ["011"]
