"""Kill switch, routes and what a crash leaves: `qanat vpn` and `qanat psk` in network namespaces."""

import os

import pytest

import netns
from netns import HERE, Psk, Vpn
from qanat import QANAT, Certs, wait

REASON = netns.why_not()
pytestmark = pytest.mark.skipif(REASON is not None, reason=REASON or "")

LANES = 5
KEY = "a key of both sides"
OUTSIDE = "203.0.113.1"  # of the server, behind a gateway
DEVICE = {"vpn": "rustvpn", "psk": "ttun0"}


@pytest.fixture(scope="module")
def papers(tmp_path_factory):
    ips = "192.0.2.1,2001:db8::1,192.0.2.7,2001:db8:1::1," + OUTSIDE
    return Certs(str(tmp_path_factory.mktemp("routes-certs")), names="vpn.example", ips=ips)


@pytest.fixture
def wire(tmp_path):
    """client ── default via 192.0.2.1 ── server, with 203.0.113.1, 10.9.0.1, 10.8.0.1 and 2001:db8:9::1 on its lo"""
    made = netns.Wire(str(tmp_path))
    for address in (OUTSIDE + "/32", "10.9.0.1/32", "10.8.0.1/32", "2001:db8:9::1/128", "2001:db8:1::1/128"):
        made.server.ip("addr", "add", address, "dev", "lo")
    made.client.ip("route", "add", "default", "via", "192.0.2.1")
    made.client.ip("route", "add", "default", "via", "2001:db8::1")
    yield made
    made.close()


class World:
    """One of the two tunnels, with what differs between them."""

    def __init__(self, job, wire, papers):
        self.job, self.wire, self.papers, self.number = job, wire, papers, 0

    def name(self, what):
        self.number += 1
        return "%s-%d" % (what, self.number)

    def start_server(self, *arguments):
        name, papers = self.name("server"), self.papers
        if self.job == "psk":
            return Psk(self.wire.server, ["server", "-k", KEY, *arguments], name).wait_log("running as server")
        words = ["server", "--ca-bundle", papers.ca, "--server-cert", papers.server, "--server-key", papers.server_key]
        words += ["--ipv4", "192.168.3.1/24", "--ipv6", "fd03::1/64", "--control-bind-address", "::"]
        words += ["--data-bind-address", "::", *arguments]
        return Vpn(self.wire.server, words, name).wait_log("running as server")

    def client(self, *arguments, to=OUTSIDE, inner=True):
        name, papers = self.name("client"), self.papers
        if self.job == "psk":
            to = "[%s]:20203" % to if ":" in to else to + ":20203"
            without = [] if inner else ["--ipv4", "", "--ipv6", ""]
            return Psk(self.wire.client, ["client", "-k", KEY, "-s", to, *without, *arguments], name)
        words = ["client", "--server", to, "--ca-bundle", papers.ca, "--client-cert", papers.client]
        words += ["--client-key", papers.client_key]
        words += ["--ipv4", "192.168.3.2/24", "--ipv6", "fd03::2/64"] if inner else []
        return Vpn(self.wire.client, [*words, *arguments], name)

    def start_client(self, *arguments, to=OUTSIDE, seconds=30):
        return self.wait_up(self.client(*arguments, to=to).wait_log("running as client"), 1, seconds)

    def wait_up(self, client, times=1, seconds=30):
        if self.job == "psk":
            return client.wait_log("connected with", seconds, times)
        return client.wait_lanes(LANES, seconds)

    def wait_down(self, client, seconds=20):
        if self.job == "psk":
            return client.wait_log("has ended", seconds)
        return client.wait_lanes(0, seconds)


@pytest.fixture(params=["vpn", "psk"])
def world(request, wire, papers):
    return World(request.param, wire, papers)


class Sniffer:
    """What the client's end of the wire carries in the clear."""

    def __init__(self, wire, *networks, device=None):
        self.wire = wire
        self.number = len(wire.client.processes)
        command = ["/usr/bin/python3", os.path.join(HERE, "sniffer.py"), device or wire.client_end, *networks]
        self.process = wire.client.start(*command, name="sniffer-%d" % self.number)
        self.process.wait_log("ready")

    def sees(self, to):
        """Pings, whether or not there is an answer, and says whether that could be seen on the wire."""
        before = len(self.packets())
        self.wire.client.pings(to)
        # The wire keeps the order: what was to be seen has been seen when this is.
        mark = len(self.marks())
        self.wire.client.ping("192.0.2.1", 1)
        wait(lambda: len(self.marks()) > mark, "the ping that marks the end")
        return len(self.packets()) > before

    def lines(self):
        return [line.split()[1:] for line in self.process.log().splitlines() if line.startswith("packet ")]

    def marks(self):
        return [ends for ends in self.lines() if sorted(ends) == ["192.0.2.1", "192.0.2.2"]]

    def packets(self):
        return [ends for ends in self.lines() if sorted(ends) != ["192.0.2.1", "192.0.2.2"]]


def leftovers(host):
    return host.ip("route", "show", "proto", "113") + host.ip("-6", "route", "show", "proto", "113")


# ---- the kill switch


@pytest.mark.parametrize("switch", ["with", "without"])
def test_what_is_routed_stays_off_the_wire_when_the_process_dies(world, switch):
    """
    client ══ 10.9.0.0/16 ═╳═ server 10.9.0.1      with the switch nothing of it goes over the wire; without it it does
    """
    wire, on = world.wire, ["--kill-switch", "true"] if switch == "with" else []
    server = world.start_server()
    client = world.start_client("--route", "10.9.0.0/16", *on)
    wire.client.ping("10.9.0.1")
    sniffer = Sniffer(wire, "10.8.0.0/15", "192.0.2.1/32")
    assert not sniffer.sees("10.9.0.1")
    # The link is down, device and routes are there.
    server.kill()
    world.wait_down(client)
    assert not sniffer.sees("10.9.0.1")
    client.kill()
    assert sniffer.sees("10.9.0.1") == (switch == "without")
    assert sniffer.sees("10.8.0.1"), "what is not routed has nothing to do with it"
    assert ("unreachable 10.9.0.0/16" in leftovers(wire.client)) == (switch == "with")
    # The next one takes it over, and an orderly stop leaves everything as it was before.
    world.start_server()
    client = world.start_client("--route", "10.9.0.0/16", *on)
    wire.client.ping("10.9.0.1")
    assert not sniffer.sees("10.9.0.1")
    client.stop()
    assert leftovers(wire.client).strip() == ""
    assert sniffer.sees("10.9.0.1")


def test_everything_means_both_versions_of_ip(world):
    """
    client ══ 0.0.0.0/0 ═════ server       IPv6 has no route: it is unreachable as well, and back after the end
    """
    wire = world.wire
    sniffer = Sniffer(wire, "2001:db8:9::/48", "10.8.0.0/16", "192.0.2.1/32")
    assert sniffer.sees("2001:db8:9::1")
    server = world.start_server()
    client = world.start_client("--route", "0.0.0.0/0", "--kill-switch", "true")
    client.wait_log("kill switch: 4 networks")
    wire.client.ping("10.8.0.1")
    assert not sniffer.sees("2001:db8:9::1") and not sniffer.sees("10.8.0.1")
    server.kill()
    world.wait_down(client)
    assert not sniffer.sees("2001:db8:9::1") and not sniffer.sees("10.8.0.1")
    client.kill()
    assert not sniffer.sees("2001:db8:9::1") and not sniffer.sees("10.8.0.1")
    world.start_server()
    client = world.start_client("--route", "0.0.0.0/0", "--kill-switch", "true")
    client.stop()
    assert leftovers(wire.client).strip() == ""
    assert sniffer.sees("2001:db8:9::1") and sniffer.sees("10.8.0.1")


def test_a_crash_is_released_by_hand_and_the_living_keep_theirs(world):
    """
    first (10.9.0.0/16) ═╳═     second (10.8.0.0/16) runs: release gives back what is the first's alone
    """
    wire, on = world.wire, ["--kill-switch", "true"]
    first = world.client("--route", "10.9.0.0/16", "--device", "first", *on, inner=False)
    second = world.client("--route", "10.8.0.0/16", "--device", "second", *on, inner=False)
    for client in (first, second):
        client.wait_log("running as client")
    first.kill()
    assert "unreachable 10.9.0.0/16" in leftovers(wire.client)
    third = world.client("--route", "10.7.0.0/16", "--device", "third", *on, inner=False)
    third.wait_log("1 networks that are not routed here are unreachable")
    assert "unreachable 10.9.0.0/16" in leftovers(wire.client)
    third.stop()
    said = wire.client.run(QANAT, "vpn", "release")
    assert "1 networks are no longer held" in said
    left = leftovers(wire.client)
    assert "10.9.0.0/16" not in left and "unreachable 10.8.0.0/16" in left
    second.stop()
    assert leftovers(wire.client).strip() == ""


@pytest.mark.parametrize("device", ["its own", "one that stays"])
def test_a_start_that_fails_late_after_a_crash_leaves_the_switch_on(world, device):
    """
    client ═╳═   next ──► status 1, its metrics cannot be served   10.9.0.0/16 is as unreachable as before
    """
    wire, name = world.wire, DEVICE[world.job]
    if device == "one that stays":
        wire.client.ip("tuntap", "add", "dev", name, "mode", "tun", "multi_queue")
    words = ["--route", "10.9.0.0/16", "--kill-switch", "true", "--workers", "2"]

    def wait_free():
        # The kernel lets go of a device somewhat after its process has ended.
        def is_free():
            return not wire.client.has_device(name) or "LOWER_UP" not in wire.client.ip("link", "show", name)

        wait(is_free, "the device to be free")

    world.client(*words).wait_log("running as client").kill()
    wait_free()
    sniffer = Sniffer(wire, "10.9.0.0/16", "192.0.2.1/32")
    assert not sniffer.sees("10.9.0.1")
    os.mkdir(os.path.join(wire.client.folder, "client-%d.sock" % (world.number + 1)))
    failing = world.client(*words)
    assert failing.wait_end() == 1
    assert "kill switch: 1 networks" in failing.log()
    assert not sniffer.sees("10.9.0.1")
    wait_free()
    world.client(*words).wait_log("running as client").stop()
    assert leftovers(wire.client).strip() == ""
    assert sniffer.sees("10.9.0.1")


def test_a_failure_of_the_device_leaves_the_switch_on(world):
    """
    ip link del rustvpn ──► status 1, and what was routed stays unreachable
    """
    wire = world.wire
    world.start_server()
    client = world.start_client("--route", "10.9.0.0/16", "--kill-switch", "true")
    sniffer = Sniffer(wire, "10.9.0.0/16", "192.0.2.1/32")
    wire.client.ip("link", "del", DEVICE[world.job])
    assert client.wait_end() == 1
    client.wait_log("stay unreachable until the next start")
    assert not sniffer.sees("10.9.0.1")
    wire.client.run(QANAT, "vpn", "release")
    assert sniffer.sees("10.9.0.1")


def test_another_route_that_would_be_used_after_a_crash_is_refused(world):
    """
    10.9.0.0/16 via 192.0.2.1 metric 1 ──► status 1: the guard would come too late
    """
    world.wire.client.ip("route", "add", "10.9.0.0/16", "via", "192.0.2.1", "metric", "1")
    client = world.client("--route", "10.9.0.0/16", "--kill-switch", "true")
    assert client.wait_end() == 1
    assert "would be used when this process ended" in client.log()
    assert leftovers(world.wire.client).strip() == ""


# ---- the server's own way


def test_the_client_follows_another_default_gateway(world):
    """
    client ── first ─╳─ server      client ── second ── server      the switch is on, everything goes through the tunnel
    """
    wire = world.wire
    second = wire.client_end.replace("vc", "wc")
    wire.server.ip("link", "add", wire.server_end.replace("vs", "ws"), "type", "veth", "peer", "name", second, "netns",
                   wire.client.name)
    for host, end, number in ((wire.server, wire.server_end.replace("vs", "ws"), 1), (wire.client, second, 2)):
        host.ip("addr", "add", "198.51.100.%d/24" % number, "dev", end)
        host.ip("link", "set", end, "up")
    world.start_server()
    client = world.start_client("--route", "0.0.0.0/0", "--kill-switch", "true")
    wire.client.ping("10.8.0.1")
    sniffer = Sniffer(wire, "10.8.0.0/16", device=second)
    wire.client.ip("link", "set", wire.client_end, "down")
    wire.client.ip("route", "add", "default", "via", "198.51.100.1")
    client.wait_log("the server is reached another way")
    assert "via 198.51.100.1" in wire.client.ip("route", "get", OUTSIDE)

    def is_answered():
        return wire.client.pings("10.8.0.1")

    wait(is_answered, "packets through the tunnel over the second wire", 60)
    assert len(sniffer.packets()) == 0
    client.stop()
    assert leftovers(wire.client).strip() == ""


@pytest.fixture
def named(wire):
    """A hosts file of the client alone."""
    folder = "/etc/netns/" + wire.client.name
    path = os.path.join(folder, "hosts")
    os.makedirs(folder)

    def write(text):
        with open(path, "w") as file:
            file.write(text)

    yield write
    os.unlink(path)
    os.rmdir(folder)


def test_the_client_finds_a_server_that_has_another_address(wire, papers, named):
    """
    vpn.example is 203.0.113.1, then 192.0.2.7       the switch is on: the new address gets a way of its own
    """
    world = World("vpn", wire, papers)
    named(OUTSIDE + " vpn.example\n")
    server = world.start_server()
    client = world.start_client("--route", "0.0.0.0/0", "--kill-switch", "true", to="vpn.example")
    wire.client.ping("10.8.0.1")
    server.kill()
    world.wait_down(client)
    wire.server.ip("addr", "del", OUTSIDE + "/32", "dev", "lo")
    wire.server.ip("addr", "add", "192.0.2.7/24", "dev", wire.server_end)
    world.start_server()
    named("192.0.2.7 vpn.example\n")
    client.wait_log("vpn.example has a new address", 60)
    world.wait_up(client, seconds=60)
    wire.client.ping("10.8.0.1")
    assert "192.0.2.7" in leftovers(wire.client)


def test_behind_a_killed_kill_switch_the_server_is_found_without_a_name_service(wire, papers, named):
    """
    client ═╳═, and nobody knows vpn.example any more: the next one dials where the killed one was connected
    """
    world = World("vpn", wire, papers)
    named(OUTSIDE + " vpn.example\n")
    world.start_server()
    words = ["--route", "0.0.0.0/0", "--kill-switch", "true"]
    world.start_client(*words, to="vpn.example").kill()
    named("127.0.0.1 localhost\n")
    client = world.start_client(*words, to="vpn.example")
    client.wait_log("the server is looked for where the killed process had it")
    wire.client.ping("10.8.0.1")
    client.stop()
    assert leftovers(wire.client).strip() == ""


@pytest.mark.parametrize("outer,network,target", [
    ("2001:db8:1::1", "0.0.0.0/0", "10.8.0.1"),
    ("2001:db8:1::1", "::/0", "2001:db8:9::1"),
    (OUTSIDE, "::/0", "2001:db8:9::1"),
    (OUTSIDE, "0.0.0.0/0", "10.8.0.1"),
])
def test_either_version_of_ip_carries_everything_of_either(world, outer, network, target):
    """
    client ══ ::/0 or 0.0.0.0/0 ══ over IPv6 or IPv4 ══ server      with the switch on, which guards the other version
    """
    if world.job == "psk":
        world.start_server("-l", "[::]:20203")
    else:
        world.start_server()
    client = world.start_client("--route", network, "--kill-switch", "true", to=outer)
    sniffer = Sniffer(world.wire, target)
    world.wire.client.ping(target)
    assert len(sniffer.packets()) == 0
    client.kill()
    assert outer in leftovers(world.wire.client)
    client = world.start_client("--route", network, "--kill-switch", "true", to=outer)
    world.wire.client.ping(target)
    client.stop()
    assert leftovers(world.wire.client).strip() == ""
    world.wire.client.ping(target)
    assert len(sniffer.packets()) > 0


def test_what_the_server_names_is_guarded_as_well(wire, papers):
    """
    server (--push-route 10.9.0.0/16) ═══ client (--accept-routes) ═╳═     unreachable until the next one hears of it
    """
    world = World("vpn", wire, papers)
    world.start_server("--pool-ipv4", "192.168.3.0/24", "--pool-ipv6", "fd03::/64", "--push-route", "10.9.0.0/16")
    words = ["--accept-routes", "true", "--kill-switch", "true"]
    client = world.client(*words, inner=False)
    world.wait_up(client)
    wire.client.ping("10.9.0.1")
    sniffer = Sniffer(wire, "10.9.0.0/16", "192.0.2.1/32")
    assert not sniffer.sees("10.9.0.1")
    client.kill()
    assert not sniffer.sees("10.9.0.1")
    client = world.client(*words, inner=False)
    client.wait_log("1 networks that are not routed here are unreachable")
    world.wait_up(client)
    wire.client.ping("10.9.0.1")
    client.stop()
    assert leftovers(wire.client).strip() == ""
    assert sniffer.sees("10.9.0.1")


def test_a_named_route_that_cannot_be_leaves_the_other_version_guarded(wire, papers):
    """
    client ══ 0.0.0.0/0, the switch on ══ server (--push-route ::/0)     somebody has 8000::/1: it cannot be ours
    """
    world = World("vpn", wire, papers)
    words = ["--route", "0.0.0.0/0", "--accept-routes", "true", "--kill-switch", "true"]
    client = world.client(*words, inner=False).wait_log("running as client")
    wire.client.ip("route", "add", "8000::/1", "via", "2001:db8::1", "metric", "1")
    world.start_server("--pool-ipv4", "192.168.3.0/24", "--pool-ipv6", "fd03::/64", "--push-route", "::/0")
    world.wait_up(client)
    client.wait_log("the route to ::/0, which the server names, is left out")
    left = leftovers(wire.client)
    assert "unreachable 8000::/1" in left and "unreachable ::/1" in left
    client.stop()
    assert leftovers(wire.client).strip() == ""


# ---- crashes


def test_what_a_crash_leaves_is_found_by_the_next_start_and_nothing_else(world):
    """
    client ═╳═   leaves the server's own route; a route of somebody else stays
    """
    wire = world.wire
    wire.client.ip("route", "add", "203.0.113.99/32", "via", "192.0.2.1")
    server = world.start_server("--route", "10.6.0.0/16")
    client = world.start_client("--route", "203.0.113.0/24")
    client.kill()
    server.kill()
    assert not wire.client.has_device(DEVICE[world.job]) and not wire.server.has_device(DEVICE[world.job])
    assert "10.6.0.0/16" not in wire.server.ip("route")
    assert OUTSIDE in leftovers(wire.client)
    world.start_server()
    # Another server's address: the route of the first is not wanted any more.
    client = world.start_client("--route", "10.9.0.0/16", to="192.0.2.1")
    client.wait_log("taken back from killed processes: 1 routes past their device")
    assert leftovers(wire.client).strip() == ""
    assert "203.0.113.99 via 192.0.2.1" in wire.client.ip("route")
    client.stop()
