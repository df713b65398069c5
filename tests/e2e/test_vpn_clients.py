"""`qanat vpn server` with many clients, each in a network namespace of its own."""

import os
import random
import re
import shutil
import signal

import pytest

import netns
from netns import Host, Vpn
from qanat import QANAT, Certs, run, wait
from test_psk import transfer

REASON = netns.why_not()
pytestmark = pytest.mark.skipif(REASON is not None, reason=REASON or "")

SERVER = "198.51.100.1"
LANES = 2
NAMES = ["one", "two", "three"]


@pytest.fixture(scope="module")
def papers(tmp_path_factory):
    made = Certs(str(tmp_path_factory.mktemp("vpn-clients-certs")), ips=SERVER)
    for name in NAMES:
        certificate(made, name)
    return made


def certificate(papers, name, file=None):
    """Certificate and key of a client with this common name."""
    cert, key = papers.path((file or name) + ".crt"), papers.path((file or name) + ".key")
    if not os.path.exists(cert):
        papers.make("client", cert, key, "--common-name", name, "--ca-cert", papers.ca, "--ca-key", papers.ca_key)
    return cert, key


class Star:
    """
    one (192.0.2.2) ──── (192.0.2.1)  server  198.51.100.1
    two (192.0.2.6) ──── (192.0.2.5)    │
    three (192.0.2.10) ─ (192.0.2.9) ───┘       the server forwards nothing between them outside of the tunnel
    """

    def __init__(self, folder):
        tag = "%06x" % random.SystemRandom().randrange(1 << 24)
        self.server = Host("qs" + tag, folder)
        self.server.ip("addr", "add", SERVER + "/32", "dev", "lo")
        self.clients = [self.add(number, "q%d%s" % (number, tag), folder) for number in range(len(NAMES))]

    def add(self, number, name, folder):
        client = Host(name, folder)
        ours, theirs = "vs" + name[1:], "vc" + name[1:]
        self.server.ip("link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", name)
        for host, end, last in ((self.server, ours, 4 * number + 1), (client, theirs, 4 * number + 2)):
            host.ip("addr", "add", "192.0.2.%d/30" % last, "dev", end)
            host.ip("link", "set", end, "up")
        client.ip("route", "add", SERVER + "/32", "via", "192.0.2.%d" % (4 * number + 1))
        return client

    def close(self):
        for host in self.clients:
            host.close()
        self.server.close()


@pytest.fixture
def star(tmp_path):
    made = Star(str(tmp_path))
    yield made
    made.close()


def settings(papers, **vpn):
    """A server's configuration: three clients by name, unless something else is said."""
    clients = [{"name": name, "ipv4": "10.8.0.%d/24" % (2 + at), "ipv6": "fd08::%d/64" % (2 + at)}
               for at, name in enumerate(NAMES)]
    base = {"ipv4": "10.8.0.1/24", "ipv6": "fd08::1/64", "stream_count": LANES, "max_clients": 3, "clients": clients}
    return {"auth": {"ca_cert_path": papers.ca, "cert_path": papers.server, "key_path": papers.server_key},
            "vpn": {key: value for key, value in {**base, **vpn}.items() if value is not None}}


def pool(papers, **vpn):
    return settings(papers, clients=None, **{"pool_ipv4": "10.8.0.0/24", "pool_ipv6": "fd08::/64", **vpn})


def start_server(star, config, name="server", **options):
    return Vpn(star.server, ["server"], name, config=config, **options).wait_log("running as server")


def start_client(star, papers, number, *arguments, name=None, cert=None, **options):
    cert, key = certificate(papers, cert or NAMES[number])
    words = ["client", "--server", SERVER, "--ca-bundle", papers.ca, "--client-cert", cert, "--client-key", key]
    words += ["--stream-count", str(LANES), *arguments]
    log = name or "client-" + NAMES[number]
    return Vpn(star.clients[number], words, log, **options).wait_log("running as client")


def start_all(star, papers, config, *arguments):
    server = start_server(star, config)
    clients = [start_client(star, papers, number, *arguments) for number in range(len(NAMES))]
    for client in clients:
        client.wait_lanes(LANES)
    server.wait_lanes(LANES * len(NAMES))
    return server, clients


def addresses(host, device="rustvpn"):
    return re.findall(r"inet6? (\S+) .*scope global", host.ip("addr", "show", "dev", device))


def dropped(node, reason):
    return node.metric('qanat_packets_dropped_total{reason="%s"}' % reason)


# ---- addresses


def test_three_clients_get_their_addresses_and_reach_the_server(star, papers):
    """
    one   ══ 10.8.0.2, fd08::2 ══╗
    two   ══ 10.8.0.3, fd08::3 ══╬══ 10.8.0.1, fd08::1 ══ server
    three ══ 10.8.0.4, fd08::4 ══╝
    """
    server, clients = start_all(star, papers, settings(papers))
    for at, host in enumerate(star.clients):
        assert sorted(addresses(host)) == ["10.8.0.%d/24" % (2 + at), "fd08::%d/64" % (2 + at)]
        host.ping("10.8.0.1")
        host.ping("fd08::1")
        star.server.ping("10.8.0.%d" % (2 + at))
        transfer(host, star.server, "10.8.0.1", "up%d" % at, 8)
        transfer(star.server, host, "10.8.0.%d" % (2 + at), "down%d" % at, 8)
    assert dropped(server, "spoofed") == 0
    for client in clients:
        client.stop()
    server.stop()


def test_a_pool_gives_each_an_address_that_stays_with_its_name(star, papers):
    """
    one, two, three ══ addresses of 10.8.0.0/24 and fd08::/64; killed and returned, each has its own again
    """
    server, clients = start_all(star, papers, pool(papers))
    before = [addresses(host) for host in star.clients]
    assert len({address for both in before for address in both}) == 6 and "10.8.0.1/24" not in sum(before, [])
    for number in (2, 0):
        clients[number].kill()
        clients[number] = start_client(star, papers, number, name="again-%d" % number).wait_lanes(LANES)
        assert addresses(star.clients[number]) == before[number]
        star.clients[number].ping("10.8.0.1")
    for number, both in enumerate(before):
        star.server.ping(both[0].split("/")[0])
        row = [link["client"] for link in server.status()["links"] if link["client"]["name"] == NAMES[number]]
        assert [row[0]["ipv4"], row[0]["ipv6"]] == both


def test_a_client_keeps_its_address_while_the_link_is_down_and_takes_another_one_after(star, papers):
    """
    one ══ 10.8.0.2 ═╳═ server, then server' (one has 10.8.0.9)
    """
    config = settings(papers)
    server = start_server(star, config)
    client = start_client(star, papers, 0, "--ipv4", "auto", "--ipv6", "auto").wait_lanes(LANES)
    server.kill()
    client.wait_lanes(0)
    assert "10.8.0.2/24" in addresses(star.clients[0])
    config["vpn"]["clients"][0]["ipv4"] = "10.8.0.9/24"
    start_server(star, config, name="again")
    client.wait_lanes(LANES)
    assert sorted(addresses(star.clients[0])) == ["10.8.0.9/24", "fd08::2/64"]
    star.clients[0].ping("10.8.0.1")


def test_an_address_that_was_not_assigned_is_refused_on_both_sides(star, papers):
    """
    one (--ipv4 10.8.0.77/24) ──╳ server (one has 10.8.0.2)
    """
    server = start_server(star, settings(papers))
    client = start_client(star, papers, 0, "--ipv4", "10.8.0.77/24")
    for node in (server, client):
        node.wait_log(r"ipv4: the responder assigns 10\.8\.0\.2/24, the initiator has 10\.8\.0\.77/24")
    assert client.status()["flows_open"] == 0
    # The same one may be set by hand as well.
    start_client(star, papers, 1, "--ipv4", "10.8.0.3/24").wait_lanes(LANES)
    star.clients[1].ping("10.8.0.1")
    star.clients[1].ping("fd08::1")


def test_auto_from_a_server_that_assigns_nothing_is_refused(star, papers):
    """
    one (--ipv4 auto) ──╳ server (point to point)
    """
    config = settings(papers, clients=None, max_clients=1)
    server = start_server(star, config)
    client = start_client(star, papers, 0, "--ipv4", "auto")
    for node in (server, client):
        node.wait_log("ipv4: the initiator asks for an address, the responder assigns none")


def test_a_pool_that_is_exhausted_refuses_with_its_reason(star, papers):
    """
    one, two ══ server (10.8.0.0/30: two addresses, the server has none) ──╳ three, until one has gone
    """
    server = start_server(star, pool(papers, ipv4=None, ipv6=None, pool_ipv4="10.8.0.0/30", pool_ipv6=None))
    one = start_client(star, papers, 0).wait_lanes(LANES)
    start_client(star, papers, 1).wait_lanes(LANES)
    three = start_client(star, papers, 2)
    for node in (server, three):
        node.wait_log("no address of the pool is free")
    one.stop()
    three.wait_lanes(LANES)


def test_max_clients_and_strangers_are_refused_with_their_reason(star, papers):
    """
    one ══ server (max_clients = 1) ──╳ two      and a certificate that nobody wrote down
    """
    server = start_server(star, settings(papers, max_clients=1))
    one = start_client(star, papers, 0).wait_lanes(LANES)
    two = start_client(star, papers, 1)
    two.wait_log("as many clients as it may")
    one.stop()
    two.wait_lanes(LANES)
    other = start_client(star, papers, 2, cert="somebody")
    for node in (server, other):
        node.wait_log('"somebody" is no client of this server')


def test_the_same_certificate_takes_over_and_another_with_its_name_does_not(star, papers):
    """
    one ═╳═ server ═════ one' (the same certificate)      two ═════ server ──╳ two' (another issuer's name)
    """
    server = start_server(star, settings(papers))
    one = start_client(star, papers, 0).wait_lanes(LANES)
    one.process.send_signal(signal.SIGSTOP)  # it does not say that it goes
    second = start_client(star, papers, 2, cert="one", name="second").wait_lanes(LANES, 10)
    assert "10.8.0.2/24" in addresses(star.clients[2])
    star.clients[2].ping("10.8.0.1")
    server.wait_log(r"CN = one.* is here again|is here again")
    one.process.send_signal(signal.SIGCONT)
    one.kill()
    star.clients[2].ping("10.8.0.1")
    second.stop()
    start_client(star, papers, 1).wait_lanes(LANES)
    cert, key = papers.by_openssl("false-two", "clientAuth", subject="/O=Elsewhere/CN=two")
    words = ["client", "--server", SERVER, "--ca-bundle", papers.ca, "--client-cert", cert, "--client-key", key]
    false = Vpn(star.clients[0], [*words, "--stream-count", str(LANES)], "false-two").wait_log("running as client")
    false.wait_log('the name "two" is taken by a client with another certificate')
    star.clients[1].ping("10.8.0.1")


def test_a_server_cannot_take_the_clients_own_ways_by_what_it_assigns(star, papers):
    """
    one ══ 198.51.100.7/24 (the server's own network), two ══ 203.0.113.7/8 (no private one), routes pushed to both
    """
    config = settings(papers, push_routes=["0.0.0.0/0", "192.0.2.0/24"])
    config["vpn"]["clients"][0]["ipv4"] = "198.51.100.7/24"
    config["vpn"]["clients"][1]["ipv4"] = "203.0.113.7/8"
    start_server(star, config)
    one = start_client(star, papers, 0).wait_lanes(LANES)
    two = start_client(star, papers, 1).wait_lanes(LANES)
    one.wait_log("its network is that of the server itself, and is not routed")
    two.wait_log("its network is not private")
    for host, address in ((star.clients[0], "198.51.100.7/32"), (star.clients[1], "203.0.113.7/32")):
        assert address in addresses(host)
        assert "rustvpn" not in host.ip("route", "get", SERVER) and "default" not in host.ip("route")
        host.ping("fd08::1")
    # Who takes routes keeps the way to the server all the same.
    three = start_client(star, papers, 2, "--accept-routes", "true").wait_lanes(LANES)
    assert "rustvpn" in star.clients[2].ip("route", "get", "203.0.113.99")
    assert "rustvpn" not in star.clients[2].ip("route", "get", SERVER)
    star.clients[2].ping("10.8.0.1")
    assert three.status()["flows_open"] == LANES


def test_a_server_cannot_take_what_the_client_reaches_otherwise(star, papers):
    """
    one (LAN 192.168.1.0/24) ══ 192.168.1.54/30, two ══ the server's own outer address, three ══ 10.77.0.1, which it has
    """
    config = settings(papers)
    for number, address in enumerate(("192.168.1.54/30", SERVER + "/32", "10.77.0.1/24")):
        config["vpn"]["clients"][number]["ipv4"] = address
    star.clients[0].ip("link", "add", "lan", "type", "veth", "peer", "name", "far")
    star.clients[0].ip("addr", "add", "192.168.1.7/24", "dev", "lan")
    star.clients[0].ip("link", "set", "lan", "up")
    start_server(star, config)
    one, two = (start_client(star, papers, number).wait_lanes(LANES) for number in (0, 1))
    one.wait_log("its network overlaps what this machine reaches otherwise")
    assert "192.168.1.54/32" in addresses(star.clients[0])
    assert "rustvpn" not in star.clients[0].ip("route", "get", "192.168.1.53")
    two.wait_log("is refused: it is that of the server itself")
    two.wait_log("going on without IPv4 in the tunnel")
    assert "192.0.2.5" in star.clients[1].ip("route", "get", SERVER)
    star.clients[1].ping("fd08::1")
    star.clients[2].ip("addr", "add", "10.77.0.1/32", "dev", "lo")
    # It has asked for one: no link, which is tried again after a pause that grows.
    three = start_client(star, papers, 2, "--ipv4", "auto")
    three.wait_log("is refused: another device of this machine has it", times=3)
    three.wait_log("the link cannot be taken")
    assert three.status()["flows_open"] == 0
    star.clients[0].ping("fd08::1")


@pytest.mark.parametrize("words", [[], ["--ipv6", "auto"]])
def test_a_client_without_ipv6_goes_on_unless_it_has_asked_for_it(star, papers, words):
    """
    one (net.ipv6.conf.all.disable_ipv6=1) ══ 10.8.0.2 and fd08::2
    """
    star.clients[0].run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
    start_server(star, settings(papers))
    one = start_client(star, papers, 0, *words)
    one.wait_log("the assigned address fd08::2/64 is refused")
    if words:
        one.wait_log("the link cannot be taken", times=2)
        assert one.status()["flows_open"] == 0
        return
    one.wait_lanes(LANES)
    star.clients[0].ping("10.8.0.1")


# ---- who may send what


def spoofing(star, number, source):
    """A client takes another's address into its packets."""
    host = star.clients[number]
    host.ip("addr", "add", source, "dev", "rustvpn", *(["nodad"] if ":" in source else []))
    return source.split("/")[0]


@pytest.mark.skipif(not shutil.which("iperf3"), reason="there is no iperf3")
def test_two_clients_that_spoof_each_other_are_dropped_counted_and_disturb_nobody(star, papers):
    """
    one (sends as 10.8.0.3, fd08::3) ══╗
    two (sends as 10.8.0.2, fd08::2) ══╬══ server, while iperf3 runs from two and three
    three ═════════════════════════════╝
    """
    server, _ = start_all(star, papers, settings(papers))
    star.server.start("iperf3", "-s", "--forceflush", name="iperf3").wait_log("listening")
    flow = star.clients[2].start("iperf3", "-c", "10.8.0.1", "-t", "4", "-f", "m", name="flow")
    flow.wait_log("connected to")
    first = star.clients[2].start("ping", "-n", "-i", "0.05", "-c", "60", "10.8.0.1", name="victim")
    for attacker, victim in ((0, 3), (1, 2)):
        for address, to in (("10.8.0.%d" % victim, "10.8.0.1"), ("fd08::%d" % victim, "fd08::1")):
            spoofing(star, attacker, address + ("/128" if ":" in address else "/32"))
            for _ in range(5):
                star.clients[attacker].pings_from(address, to)
    assert first.wait_end() == 0 and " 0% packet loss" in first.log(), first.log()
    assert flow.wait_end() == 0, flow.log()
    assert dropped(server, "spoofed") >= 20
    rows = {link["client"]["name"]: link["client"] for link in server.status()["links"]}
    assert rows["one"]["packets_spoofed"] >= 10 and rows["two"]["packets_spoofed"] >= 10
    assert rows["three"]["packets_spoofed"] == 0
    # A packet is no reason for a line.
    assert server.count(r"(warn|info|error) +(lanes|vpn): .*spoof") == 0
    star.clients[0].run("ping", "-n", "-q", "-c", "2", "-W", "5", "-I", "10.8.0.2", "10.8.0.1")


def test_link_local_sources_and_strange_ones_do_not_get_in(star, papers):
    """
    one (fe80::…, 203.0.113.5) ──╳ server
    """
    server = start_server(star, settings(papers))
    start_client(star, papers, 0).wait_lanes(LANES)
    spoofing(star, 0, "203.0.113.5/32")
    star.clients[0].pings_from("203.0.113.5", "10.8.0.1")
    assert dropped(server, "spoofed") >= 1
    before = dropped(server, "link_local")
    star.clients[0].pings_from("rustvpn", "ff02::1%rustvpn")
    wait(lambda: dropped(server, "link_local") > before, "a packet from a link-local address")


def test_clients_do_not_reach_each_other_unless_they_may(star, papers):
    """
    one ══ server (forwards) ══ two      first not, then, with client_to_client, past the kernel
    """
    config = settings(papers)
    star.server.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    server = start_server(star, config)
    for number in (0, 1):
        start_client(star, papers, number).wait_lanes(LANES)
    assert not star.clients[0].pings("10.8.0.3") and not star.clients[1].pings("fd08::2")
    assert dropped(server, "client_to_client") >= 2
    config["vpn"]["client_to_client"] = True
    server.write(config)
    server.process.send_signal(signal.SIGHUP)
    server.wait_log("vpn.client_to_client has changed")
    star.server.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=0", "net.ipv6.conf.all.forwarding=0")
    star.clients[0].ping("10.8.0.3")
    star.clients[1].ping("fd08::2")
    transfer(star.clients[0], star.clients[1], "10.8.0.3", "across", 16)
    transfer(star.clients[1], star.clients[0], "fd08::2", "back", 16)


@pytest.mark.parametrize("who", [0, 1])
def test_clients_that_agree_on_less_reach_each_other_all_the_same(star, papers, who):
    """
    one (--offload false) ══ server ══ two      super-packets are cut on the way, or packets go as they are
    """
    start_server(star, settings(papers, client_to_client=True))
    for number in (0, 1):
        start_client(star, papers, number, *(["--offload", "false"] if number == who else [])).wait_lanes(LANES)
    transfer(star.clients[0], star.clients[1], "10.8.0.3", "across", 8)


def test_networks_behind_each_client_are_reached(star, papers):
    """
    10.1.0.1 (lo) ══ one ══ server ══ two ══ (lo) 10.1.2.1      10.1.0.0/16 is one's, 10.1.2.0/24 within it two's
    """
    config = settings(papers, client_to_client=True, push_routes=["10.1.0.0/16"])
    config["vpn"]["clients"][0]["routes"] = ["10.1.0.0/16"]
    config["vpn"]["clients"][1]["routes"] = ["10.1.2.0/24"]
    star.clients[0].ip("addr", "add", "10.1.0.1/32", "dev", "lo")
    star.clients[1].ip("addr", "add", "10.1.2.1/32", "dev", "lo")
    server = start_server(star, config)
    # Without --accept-routes nothing that the server names is routed.
    first = start_client(star, papers, 0).wait_lanes(LANES)
    assert "10.1.0.0/16" not in star.clients[0].ip("route")
    first.stop()
    start_client(star, papers, 0, "--accept-routes", "true", name="first-again").wait_lanes(LANES)
    start_client(star, papers, 1, "--accept-routes", "true").wait_lanes(LANES)
    assert "10.1.0.0/16" in star.clients[0].ip("route")
    star.server.ping("10.1.0.1")
    star.server.ping("10.1.2.1")
    star.clients[0].run("ping", "-n", "-q", "-c", "2", "-W", "5", "-I", "10.1.0.1", "10.1.2.1")
    # What lies behind two is two's alone.
    star.clients[0].ip("addr", "add", "10.1.2.9/32", "dev", "lo")
    before = dropped(server, "spoofed")
    star.clients[0].pings_from("10.1.2.9", "10.8.0.1")
    assert dropped(server, "spoofed") > before
    # A reload that takes the network away.
    del config["vpn"]["clients"][1]["routes"]
    server.write(config)
    server.process.send_signal(signal.SIGHUP)
    server.wait_log("vpn.clients has changed")
    wait(lambda: "10.1.2.0/24" not in star.server.ip("route"), "the route is gone")


# ---- how much


@pytest.mark.skipif(not shutil.which("iperf3"), reason="there is no iperf3")
def test_a_limit_holds_in_both_directions_and_for_one_client_only(star, papers):
    """
    one (1 MB/s) ══ server (2 MB/s each) ══ two      three runs free by its own limit
    """
    config = settings(papers, bandwidth_limit=2000000)
    config["vpn"]["clients"][0]["bandwidth_limit"] = 1000000
    config["vpn"]["clients"][2]["bandwidth_limit"] = 10**12
    start_all(star, papers, config)
    servers = [star.server.start("iperf3", "-s", "-p", str(port), "--forceflush", name="iperf%d" % port)
               for port in (5201, 5202, 5203)]

    def rates(direction, turn):
        for each in servers:
            each.wait_log("(?i)listening on", times=turn)
        # What runs free does not take all of the machine.
        words = ["iperf3", "-c", "10.8.0.1", "-t", "8", "-O", "2", "-f", "k", "-b", "100M", *direction]
        flows = [host.start(*words, "-p", str(5201 + at), name="flow%d%s" % (at, "".join(direction)))
                 for at, host in enumerate(star.clients)]
        for flow in flows:
            assert flow.wait_end(60) == 0, flow.log()
        return [float(re.search(r"([\d.]+) Kbits/sec\s+receiver", flow.log()).group(1)) * 125 for flow in flows]

    for turn, direction in enumerate(([], ["-R"])):
        one, two, three = rates(direction, turn + 1)
        assert 0.8e6 < one < 1.2e6, (direction, one, two, three)
        assert 1.6e6 < two < 2.4e6, (direction, one, two, three)
        assert three > 5e6, (direction, one, two, three)


# ---- people


def test_an_operator_sees_and_ends_clients(star, papers, tmp_path):
    """
    qanat devices, qanat kick one ── control socket ── server
    """
    path = str(tmp_path / "control.sock")
    config = {**settings(papers), "control": {"socket": path}}
    server = start_server(star, config)
    for number in (0, 1):
        start_client(star, papers, number).wait_lanes(LANES)
    listed = run([QANAT, "devices", "--control-socket", path])
    assert re.search(r"^one +online", listed, re.M) and re.search(r"^two +online", listed, re.M)
    run([QANAT, "kick", "two", "--control-socket", path])
    server.wait_log("client two is away")
    server.wait_log(r"CN\s*=\s*two.* is here", times=2)  # it may come again
    star.clients[0].ping("10.8.0.1")


def test_a_reload_that_changes_an_address_has_its_client_come_again(star, papers):
    """
    one ══ 10.8.0.2 ══ server (SIGHUP: one has 10.8.0.20, two is no client any more)
    """
    config = settings(papers)
    server = start_server(star, config)
    for number in (0, 1, 2):
        start_client(star, papers, number).wait_lanes(LANES)
    config["vpn"]["clients"][0]["ipv4"] = "10.8.0.20/24"
    del config["vpn"]["clients"][1]
    server.write(config)
    server.process.send_signal(signal.SIGHUP)
    server.wait_log("vpn.clients has changed")
    wait(lambda: "10.8.0.20/24" in addresses(star.clients[0]), "the new address")
    star.clients[0].ping("10.8.0.1")
    server.wait_log('"two" is no client of this server')
    assert server.count("client three is away") == 0
    star.clients[2].ping("10.8.0.1")


def test_a_reload_that_lists_a_leased_address_gives_it_to_one_client_only(star, papers):
    """
    two ══ an address of the pool ══ server (SIGHUP: that one is written down for "one")
    """
    config = pool(papers)
    server = start_server(star, config)
    two = start_client(star, papers, 1).wait_lanes(LANES)
    leased = re.search(r"10\.8\.0\.\d+", " ".join(addresses(star.clients[1]))).group()
    config["vpn"]["clients"] = [{"name": "one", "ipv4": leased + "/24"}]
    server.write(config)
    server.process.send_signal(signal.SIGHUP)
    one = start_client(star, papers, 0).wait_lanes(LANES)
    wait(lambda: leased not in " ".join(addresses(star.clients[1])), "another address for two")
    assert leased + "/24" in addresses(star.clients[0])
    for client, host in ((one, star.clients[0]), (two, star.clients[1])):
        client.wait_lanes(LANES)
        host.ping("10.8.0.1")


def test_a_revoked_client_is_cut_and_the_others_go_on(star, papers):
    """
    one ═╳═ server (auth.allowed_peers without one) ═════ two
    """
    config = settings(papers)
    config["auth"]["allowed_peers"] = ["CN=one", "CN=two"]
    server = start_server(star, config)
    one = start_client(star, papers, 0).wait_lanes(LANES)
    start_client(star, papers, 1).wait_lanes(LANES)
    config["auth"]["allowed_peers"] = ["CN=two"]
    server.write(config)
    server.process.send_signal(signal.SIGHUP)
    one.wait_lanes(0)
    server.wait_log("client one is away")
    star.clients[1].ping("10.8.0.1")
    assert not star.clients[0].pings("10.8.0.1")
