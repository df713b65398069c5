"""Several targets behind one proxy: which one is chosen, how one that is down is noticed, and that it comes back.

    client ══► qanat proxy ──► A, B, C, some of which are not there
"""

import json

import pytest

import peers
import sidecars
from peers import Server
from qanat import free_port

CHECKS = {
    "health_check.interval_ms": 100,
    "health_check.timeout_ms": 2000,
    "health_check.rise": 2,
    "health_check.fall": 2,
}


def say(name):
    return peers.greet(name.encode())


def answer(near, world):
    """The name of the target that a new connection comes to."""
    return sidecars.tls_ask(near, world.certs, b"!", 2)[:1].decode()


def is_up(node, address):
    return node.metric("qanat_proxy_target_up", target=sidecars.place(address)) == 1


def failed_dials(node, address):
    return node.metric("qanat_proxy_target_dials_failed_total", target=sidecars.place(address))


def health(node):
    return json.loads(node.get("/health")[1])["status"]


def test_checks_notice_before_a_client_does_and_bring_it_back(world):
    """
    A dies, nobody asks; then clients go to B without having tried A; A returns and is the first again
    """
    first, second = world.add(Server(say("A"), port=free_port())), world.add(Server(say("B")))
    near, node = sidecars.server(world, first.address, second.address, proxy=dict(CHECKS))
    node.wait(lambda: is_up(node, first.address) and is_up(node, second.address), "both targets to be up")
    assert (answer(near, world), health(node)) == ("A", "Healthy")
    first.close()
    node.wait(lambda: not is_up(node, first.address), "A to be found down")
    node.wait_log(r"target %s is down" % sidecars.place(first.address).replace(".", r"\."))
    before = failed_dials(node, first.address)
    assert (answer(near, world), health(node)) == ("B", "Degraded")
    assert failed_dials(node, first.address) == before  # no client had to find out
    world.add(Server(say("A"), port=first.address[1]))
    node.wait(lambda: is_up(node, first.address), "A to be found up again")
    assert (answer(near, world), health(node)) == ("A", "Healthy")


def code(node):
    return node.get("/health")[0]


def test_who_balances_hears_503_while_no_target_answers(world):
    """
    A and B die: 503, Unhealthy; A returns: 200, Degraded. Without checks only a client can find out: 200 throughout
    """
    first, second = world.add(Server(say("A"), port=free_port())), world.add(Server(say("B")))
    _, node = sidecars.server(world, first.address, second.address, proxy=dict(CHECKS))
    node.wait(lambda: is_up(node, first.address) and is_up(node, second.address), "both targets to be up")
    assert (code(node), health(node)) == (200, "Healthy")
    first.close()
    second.close()
    node.wait(lambda: (code(node), health(node)) == (503, "Unhealthy"), "the proxy to be of no use")
    assert node.status()["ready"]
    world.add(Server(say("A"), port=first.address[1]))
    node.wait(lambda: (code(node), health(node)) == (200, "Degraded"), "one target to be back")
    gone = ("127.0.0.1", free_port())
    near, node = sidecars.server(world, gone, name="unchecked", proxy={"health_check.kind": "off"})
    with pytest.raises((OSError, AssertionError)):  # reset, or ended early
        answer(near, world)
    node.wait(lambda: not is_up(node, gone), "the target to be known as down")
    assert (code(node), health(node)) == (200, "Degraded")


def test_without_checks_a_target_that_failed_is_tried_again_by_a_client(world):
    """
    A is not there: a client is handed on to B; when A has come, a client after the interval finds it
    """
    port = free_port()
    second = world.add(Server(say("B")))
    near, node = sidecars.server(world, ("127.0.0.1", port), second.address,
                                 proxy={"health_check.kind": "off", "health_check.interval_ms": 300})
    assert answer(near, world) == "B"
    world.add(Server(say("A"), port=port))
    node.wait(lambda: answer(near, world) == "A", "a client to come to A")
    assert failed_dials(node, ("127.0.0.1", port)) >= 1


def test_each_in_turn_and_the_one_with_the_fewest(world):
    """
    round-robin: A B C A B C; after a reload least-connections: the one whose connection has ended is next
    """
    servers = {name: world.add(Server(say(name))) for name in "ABC"}
    written = sidecars.config(world, [server.address for server in servers.values()],
                              proxy={**CHECKS, "target_selection": "round-robin"})
    near, node = sidecars.near(written), sidecars.start(world, written)
    assert sorted(answer(near, world) for _ in range(6)) == ["A", "A", "B", "B", "C", "C"]
    written["proxy"]["target_selection"] = "least-connections"
    node.reload(written)
    held = {}
    for _ in range(3):
        connection = sidecars.tls_dial(near, world.certs)
        held[peers.read_exactly(connection, 1).decode()] = connection
    assert sorted(held) == ["A", "B", "C"]
    # What is open is counted over a reload as well.
    node.reload(written)
    held.pop("B").close()
    node.wait(lambda: node.metric("qanat_proxy_target_connections",
                                  target=sidecars.place(servers["B"].address)) == 0, "B's connection to be over")
    assert answer(near, world) == "B"
    for connection in held.values():
        connection.close()


def test_a_target_alone_is_left_in_peace_until_it_has_failed(world):
    """
    one target: no checks in its log; it fails a client: checked until it is back
    """
    heard = []

    def serve(connection):
        heard.append(connection.recv(1))
        connection.sendall(b"A!")

    target = world.add(Server(serve, port=free_port()))
    near, node = sidecars.server(world, target.address, proxy=dict(CHECKS))
    assert sidecars.tls_ask(near, world.certs, b"!", 2) == b"A!"
    target.close()
    with sidecars.tls_dial(near, world.certs) as client:
        try:
            assert client.recv(1) == b""
        except OSError:
            pass
    node.wait(lambda: not is_up(node, target.address), "the target to be down")
    assert heard == [b"!"]  # nobody has knocked and said nothing
    world.add(Server(say("B"), port=target.address[1]))
    node.wait(lambda: is_up(node, target.address), "the target to be up again")
    assert answer(near, world) == "B"
