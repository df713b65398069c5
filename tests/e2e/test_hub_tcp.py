"""TCP ports of a hub that lead to devices.

    client ──► 127.0.0.1:2201 ══ hub ════ agent ══ local service
"""

import copy
import os
import socket

import pytest

from peers import Server, echo, greet, read_exactly, read_to_end
from qanat import PATIENCE, free_port
from test_hub import Fleet, talk


@pytest.fixture
def service(world):
    return world.add(Server(echo))


def dial(port, source="127.0.0.1"):
    return socket.create_connection(("127.0.0.1", port), timeout=20 * PATIENCE, source_address=(source, 0))


def turned_away(port, **options):
    """Closed without a byte."""
    try:
        with dial(port, **options) as connection:
            return read_to_end(connection)[0] == b""
    except ConnectionResetError:
        return True


def test_a_port_leads_to_its_device_and_service_and_the_audit_names_who_came(world, service):
    """two ports, two services of one device; the session in the audit log has the address of the client"""
    ports = free_port(), free_port()
    other = world.add(Server(greet(b"other")))
    fleet = Fleet(world, hub={"tcp": [
        {"device": "011", "listen": "127.0.0.1:%d" % ports[0]},
        {"device": "011", "service": "vnc", "listen": "127.0.0.1:%d" % ports[1]},
    ]})
    assert turned_away(ports[0])
    fleet.agent("011", service.address, services=[("vnc", other.address)])
    fleet.wait_here("011")
    with dial(ports[0]) as connection:
        own = "%s:%d" % connection.getsockname()
        assert talk(connection, b"x" * 300000) == b"x" * 300000
    with dial(ports[1]) as connection:
        assert read_exactly(connection, 5) == b"other"
    fleet.hub.wait(lambda: len(fleet.lines("end")) == 2, "both ends in the audit log")
    begin, end = fleet.lines("begin")[0], fleet.lines("end")[0]
    assert begin["from"] == end["from"] == own and "uid" not in end
    assert (end["device"], end["service"], end["bytes_sent"]) == ("011", "default", 300000)
    assert {line["service"] for line in fleet.lines("end")} == {"default", "vnc"}
    refused = fleet.lines("refused")[0]
    assert refused["device"] == "011" and "no device" in refused["ended"] and refused["from"].startswith("127.0.0.1:")


def test_a_device_that_is_away_and_a_full_one_close_at_once(world, service):
    """device away ──► closed, counted; max_channels_per_device counts connections of either kind"""
    port = free_port()
    fleet = Fleet(world, hub={
        "tcp": [{"device": "011", "listen": "127.0.0.1:%d" % port}], "max_channels_per_device": 2,
    })
    agent = fleet.agent("011", service.address)
    fleet.wait_here("011")
    with dial(port) as one, fleet.dial("011") as two:
        for connection in (one, two):
            connection.sendall(b"x")
            assert read_exactly(connection, 1) == b"x"
        assert turned_away(port)
    fleet.hub.wait_metric(1, "qanat_channels_total", outcome="limit")
    agent.stop()
    fleet.hub.wait(lambda: not fleet.device("011")["online"], "the device to be away")
    assert turned_away(port)
    fleet.hub.wait_metric(1, "qanat_channels_total", outcome="offline")
    assert "the device is away" in [line["ended"] for line in fleet.lines("refused")]


def test_a_port_leads_to_a_claimed_name_once_it_is_kept(world, service):
    """identity = "claimed": nobody has the name ──► closed; its socket is there, so it is on the disk ──► joined"""
    port = free_port()
    fleet = Fleet(world, hub={
        "identity": "claimed", "claims_path": os.path.join(world.folder, "claims"),
        "tcp": [{"device": "011", "listen": "127.0.0.1:%d" % port}],
    })
    assert turned_away(port)
    fleet.agent("011", service.address)
    fleet.hub.wait(lambda: os.path.exists(fleet.path("011")), "the socket")
    with dial(port) as connection:
        assert talk(connection, b"salve") == b"salve"


def test_only_addresses_of_the_list_may_connect(world, service):
    """allowed_source_ips = 127.0.0.2: 127.0.0.1 is turned away, which is counted, logged and in the audit log"""
    port = free_port("0.0.0.0")
    fleet = Fleet(world, hub={"tcp": [
        {"device": "011", "listen": "0.0.0.0:%d" % port, "allowed_source_ips": ["127.0.0.2"]},
    ]})
    fleet.agent("011", service.address)
    fleet.wait_here("011")
    assert turned_away(port)
    with dial(port, source="127.0.0.2") as connection:
        assert talk(connection, b"salve") == b"salve"
    assert fleet.hub.metric("qanat_channels_total", outcome="not_allowed") == 1
    assert "does not list its address" in fleet.lines("refused")[0]["ended"]
    assert "does not list its address" in fleet.hub.log()


def test_a_reload_adds_moves_and_removes_ports_and_sessions_go_on(world, service):
    """
    a: 011 ──► a: 012, b: 011 ──► none ; a session of before lives through both; a port that is taken refuses the reload
    """
    first, second = free_port(), free_port()
    fleet = Fleet(world, hub={"tcp": [{"device": "011", "listen": "127.0.0.1:%d" % first}]})
    greeter = world.add(Server(greet(b"twelve")))
    fleet.agent("011", service.address)
    fleet.agent("012", greeter.address)
    for name in ("011", "012"):
        fleet.wait_here(name)
    with dial(first) as old:
        old.sendall(b"one")
        assert read_exactly(old, 3) == b"one"
        config = copy.deepcopy(fleet.hub.config)
        config["hub"]["tcp"] = [
            {"device": "012", "listen": "127.0.0.1:%d" % first}, {"device": "011", "listen": "127.0.0.1:%d" % second},
        ]
        fleet.hub.reload(config)
        with dial(first) as connection:
            assert read_exactly(connection, 6) == b"twelve"
        with dial(second) as connection:
            assert talk(connection, b"salve") == b"salve"
        with socket.create_server(("127.0.0.1", 0)) as taken:
            bad = copy.deepcopy(config)
            bad["hub"]["tcp"] = [{"device": "011", "listen": "127.0.0.1:%d" % taken.getsockname()[1]}]
            # It would keep everybody out, had any of it been put into force.
            bad["hub"]["connection_filter"] = {"allowed_source_ips": ["192.0.2.0/24"]}
            fleet.hub.reload(bad, ok=False)
        fleet.agent("013", service.address)
        fleet.wait_here("013")
        with dial(second) as connection:
            assert talk(connection, b"still") == b"still"
        config["hub"]["tcp"] = []
        fleet.hub.reload(config)
        for port in (first, second):
            with pytest.raises(ConnectionRefusedError):
                dial(port)
        old.sendall(b"two")
        assert read_exactly(old, 3) == b"two"


@pytest.mark.parametrize(
    "port, says",
    [
        ({"listen": "0.0.0.0:2201"}, "is not a loopback address: allowed_source_ips must say"),
        ({"listen": "[::]:2201"}, "is not a loopback address: allowed_source_ips must say"),
        ({"listen": "192.0.2.7:2201"}, "is not a loopback address: allowed_source_ips must say"),
        ({"listen": "localhost:2201"}, "must be IP:PORT"),
        ({"listen": "unix:/tmp/x"}, "must be IP:PORT"),
        ({"listen": "127.0.0.1:2201", "device": "../x"}, "a name has letters, digits"),
        ({"listen": "127.0.0.1:2201", "allowed_source_ips": ["everybody"]}, "everybody"),
    ],
)
def test_what_is_wrong_or_too_open_stops_the_start(world, port, says):
    config = {
        "hub": {"listen_port": 2222, "directory": world.folder, "tcp": [{"device": "011", **port}]},
        "auth": {
            "ca_cert_path": world.certs.ca, "server_cert_path": world.certs.server,
            "server_key_path": world.certs.server_key,
        },
    }
    hub = world.node("hub", config, "hub").start()
    hub.expects = 2
    assert hub.process.wait(20 * PATIENCE) == 2
    assert says in hub.log() and "hub.tcp" in hub.log(), hub.log()
