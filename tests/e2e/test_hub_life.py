"""The life of certificates in a fleet: of devices, which renew theirs without losing a session, and of their hub.

    user ══ 011.sock ══ hub ════ agent ══ echo          CA ── drop folder, or a connection ── agent
"""

import pytest

from peers import Server, echo, read_exactly
from qanat import PATIENCE, Certs, free_port
from test_hub import Fleet, talk
from test_renewal import LIFE_S, Authority, fingerprint, key_fits, renewal, renewed, serial


@pytest.fixture(autouse=True)
def own_certs(world, tmp_path):
    """What is renewed here is not what other tests use."""
    world.certs = Certs(str(tmp_path / "certs"))


@pytest.fixture
def service(world):
    return world.add(Server(echo))


def short_files(fleet, name="011", seconds=LIFE_S):
    certs = fleet.world.certs
    cert, key = certs.path(name + ".crt"), certs.path(name + ".key")
    issuer = ["--ca-cert", certs.ca, "--ca-key", certs.ca_key]
    certs.make("client", cert, key, "--common-name", name, "--key", "p256", "--validity", "%ds" % seconds, *issuer)
    return cert, key


@pytest.mark.threads
@pytest.mark.parametrize("way, key", [("drop", "new"), ("drop", "same"), ("link", "new")])
def test_a_device_renews_and_its_session_goes_on(world, tmp_path, service, way, key):
    """
    user ══ hub ════ agent      the agent's certificate of 20 s is renewed at half-time; the next link shows the new one
    """
    fleet = Fleet(world, node={"name": "the.hub"})
    listen = free_port()
    options = ["--listen", "127.0.0.1:%d" % listen] if way == "link" else []
    authority = world.add(Authority(world.certs, str(tmp_path / "ca"), *options, drop=way == "drop").start())
    over = renewal(authority, key=key)
    if way == "link":
        del over["drop_folder"]
        over.update(method="link", endpoint="127.0.0.1:%d" % listen)
    cert, private = short_files(fleet)
    first = fingerprint(cert)
    agent = fleet.agent("011", service.address, cert=(cert, private), sections={"renewal": over})
    fleet.wait_here("011")
    assert fleet.device("011")["fingerprint"] == first
    with fleet.dial("011") as connection:
        connection.sendall(b"before")
        assert read_exactly(connection, 6) == b"before"
        agent.wait(renewed(agent), "a renewal", 2 * LIFE_S / PATIENCE)

        def shows_the_new_one():
            device = fleet.device("011")
            return device["online"] and device["fingerprint"] not in (first, "")

        fleet.hub.wait(shows_the_new_one, "the hub to see the device's new certificate")
        assert talk(connection, b"after") == b"after"
    fleet.wait_here("011")
    assert talk(fleet.dial("011"), b"anew") == b"anew"
    assert key_fits(cert, private)
    assert agent.metric("qanat_renewals_total", outcome="failed") == 0
    assert agent.status()["renewal"]["method"] == way


def test_a_hub_takes_a_new_certificate_and_deny_list_from_the_disk(world, service):
    """
    files change ──► hub (node.watch_files) reads them again; devices stay, and what the list now names goes
    """
    deny = world.folder + "/denied"
    with open(deny, "w") as file:
        file.write("# nobody\n")
    fleet = Fleet(world, node={"watch_files": True, "drain_timeout_seconds": 2}, hub={"deny_path": deny})
    agents = [fleet.agent(name, service.address) for name in ("011", "012")]
    for name in ("011", "012"):
        fleet.wait_here(name)
    certs, before = world.certs, serial(world.certs.server)
    issuer = ["--ca-cert", certs.ca, "--ca-key", certs.ca_key, "--common-name", "hub.test", "--force"]
    names = ["--dns-names", "localhost", "--ip-addresses", "127.0.0.1"]
    certs.make("server", certs.server, certs.server_key, "--key", "p256", *issuer, *names)
    assert serial(certs.server) != before
    fleet.hub.wait_metric(1, "qanat_reloads_total", outcome="ok")
    for agent in agents:
        agent.wait(lambda: agent.links_up(), "the agent to keep a link")
    assert talk(fleet.dial("011"), b"still") == b"still"
    with open(deny, "w") as file:
        file.write("012\n")
    fleet.hub.wait(lambda: not fleet.device("012")["online"], "the denied device to be cut")
    assert fleet.device("011")["online"]


def test_what_is_about_to_end_is_said_of_the_hub_the_agent_and_the_devices(world, service):
    """
    a device whose certificate lives for seconds, beside one with years: log, metrics, status, `qanat devices`
    """
    fleet = Fleet(world)
    agent = fleet.agent("011", service.address)
    fleet.wait_here("011")
    assert fleet.hub.metric("qanat_devices_expiring") == 0
    assert fleet.hub.status()["devices_expiring"] == 0
    assert fleet.device("011")["certificate"] == "valid"
    files = short_files(fleet, "013", seconds=12 * PATIENCE)
    short = fleet.agent("013", service.address, cert=files)
    fleet.wait_here("013")

    def is_marked():
        lines = [line for line in fleet.hub.ask("devices")[0].splitlines() if line.startswith("013")]
        return "! " in lines[0] and fleet.device("013")["certificate"] not in ("valid", "expired")

    # A quarter of so short a life is all the notice there can be.
    fleet.hub.wait(is_marked, "the device to be near its end")
    assert fleet.hub.metric("qanat_devices_expiring") == 1 == fleet.hub.status()["devices_expiring"]
    short.wait_log(r"warn.*our certificate CN=013.* ends in \d+ seconds", 40)
    assert "ends in" not in agent.log()
    for node in (fleet.hub, agent):
        assert {item["role"] for item in node.status()["certificates"]} == {"own", "ca"}
        assert node.metric("qanat_certificate_expiry_seconds", which="own") > 0
