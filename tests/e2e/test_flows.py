"""What a TCP client and a TCP service notice of the tunnel between them: nothing."""

import os
import socket
import threading

import pytest

import peers
from peers import Helper, Pour, Recorder, Server, dial, read_exactly, read_to_end, reset
from qanat import PATIENCE, SANITIZED, free_port, wait


@pytest.mark.threads
def test_bytes_of_both_directions_arrive_whole_at_the_same_time(world):
    """
    client ═══ 64 MiB ══► source ──► dest ═══► bulk        SHA-256 equal
           ◄══ 64 MiB ═══                 ◄═══             SHA-256 equal
    """
    far = world.add(Helper("bulk", "serve", "127.0.0.1:0"))
    near, source, dest = world.pair(far.address)
    status, result = peers.call_helper("bulk", "run", "%s:%d" % near, "--bytes", 64 << 20)
    assert status == 0, result
    assert result["up_equal"] and result["down_equal"]
    # The same flow, as the two nodes counted it.
    source.wait_metric(64 << 20, "qanat_bytes_total", direction="outward")
    source.wait_metric(64 << 20, "qanat_bytes_total", direction="inward")
    dest.wait_metric(64 << 20, "qanat_bytes_total", direction="outward")


@pytest.mark.serial
def test_a_thousand_flows_at_once(world):
    """
    1000 clients ══► source ──► dest ══► swarm     every byte checked at both ends
    """
    far = world.add(Helper("swarm", "serve", "127.0.0.1:0"))
    near, source, dest = world.pair(far.address)
    totals = peers.swarm(
        near,
        far,
        flows=1000,
        parallel=1000,
        up=65536,
        down=65536,
        idle=100,
        idle_ms=3000 * PATIENCE,
        seconds=90 * PATIENCE,
    )
    assert totals["right"] == 1000
    wait(lambda: source.status()["flows_open"] == 0, "the source to have closed every flow")
    wait(lambda: dest.status()["flows_open"] == 0, "the dest to have closed every flow")


@pytest.mark.serial
def test_two_thousand_flows_one_after_another_leave_nothing_behind(world):
    """
    client ══► source ──► dest ══► swarm          2000 times; descriptors are back where they were
    """
    far = world.add(Helper("swarm", "serve", "127.0.0.1:0"))
    near, source, dest = world.pair(far.address)
    status, totals = peers.call_helper("swarm", "run", "%s:%d" % near, "--flows", 50, "--parallel", 1)
    assert status == 0, totals
    wait(lambda: dest.status()["flows_open"] == 0, "the first flows to be closed")
    before = source.descriptors(), dest.descriptors()
    totals = peers.swarm(near, far, flows=2000, parallel=1, up=2000, down=2000, seconds=120 * PATIENCE)
    assert totals["right"] == 2000
    # A pool may be a connection or two fuller or emptier than before.
    wait(lambda: source.descriptors() <= before[0] + 8, "the source's descriptors to be back")
    wait(lambda: dest.descriptors() <= before[1] + 8, "the dest's descriptors to be back")


@pytest.mark.threads
def test_pauses_slow_readers_aborts_and_silence_together(world):
    """
    clients: some pause, some read slowly, some reset, some are reset, some stay silent
             ══► source ──► dest ══► swarm
    """
    far = world.add(Helper("swarm", "serve", "127.0.0.1:0"))
    near, _, _ = world.pair(far.address)
    totals = peers.swarm(
        near,
        far,
        flows=400,
        parallel=50,
        up=200000,
        down=200000,
        pause=10,
        slow=3,
        abort=10,
        refuse=10,
        idle=10,
        seconds=90,
    )
    assert totals["right"] > 200 and totals["aborted"] > 10 and totals["refused"] > 10


def test_the_client_may_finish_first_and_still_read(world):
    """
    client ── question, end ──► source ──► dest ──► target
           ◄─────── answer of 1 MiB, end ─────────────────
    """
    answer = peers.random_bytes(1 << 20)

    def answer_after_the_end(connection):
        question, how = read_to_end(connection)
        assert how == "end"
        connection.sendall(question + answer)

    target = world.add(Server(answer_after_the_end))
    near, _, _ = world.pair(target.address)
    with dial(near) as client:
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        assert read_to_end(client) == (b"question" + answer, "end")


def test_the_target_may_finish_first_and_still_read(world):
    """
    client ◄── greeting, end ── source ◄── dest ◄── target
           ─────────── 1 MiB, end ───────────────────────►
    """
    target = world.add(Recorder(say=b"greeting"))
    near, _, _ = world.pair(target.address)
    late = peers.random_bytes(1 << 20)
    with dial(near) as client:
        assert read_to_end(client) == (b"greeting", "end")
        client.sendall(late)
        client.shutdown(socket.SHUT_WR)
        wait(lambda: target.records[0]["end"], "the target to see the end")
    assert target.records[0]["bytes"] == late
    assert target.records[0]["end"] == "end"


def test_an_empty_flow_ends_orderly(world):
    """
    client ── nothing, end ──► source ──► dest ──► target
    """
    target = world.add(Recorder())
    near, _, _ = world.pair(target.address)
    with dial(near) as client:
        client.shutdown(socket.SHUT_WR)
        assert read_to_end(client) == (b"", "end")
    wait(lambda: target.records and target.records[0]["end"] == "end", "the target to see an orderly end")


def test_a_reset_by_the_client_arrives_as_a_reset(world):
    """
    client ── bytes, RST ──► source ──► dest ── RST ──► target
    """
    target = world.add(Recorder())
    near, source, _ = world.pair(target.address)
    client = dial(near)
    client.sendall(b"some bytes")
    wait(lambda: target.records and target.records[0]["bytes"] == b"some bytes", "the bytes to arrive")
    reset(client)
    wait(lambda: target.records[0]["end"], "the target to see how it ended")
    assert target.records[0]["end"] == "reset"
    source.wait_metric(1, "qanat_flows_total", outcome="reset_by_local")


def test_a_reset_by_the_target_arrives_as_a_reset(world):
    """
    client ◄── RST ── source ◄── dest ◄── bytes, RST ── target
    """

    def reset_after_a_word(connection):
        read_exactly(connection, 4)
        reset(connection)

    target = world.add(Server(reset_after_a_word))
    near, source, dest = world.pair(target.address)
    with dial(near) as client:
        client.sendall(b"word")
        assert read_to_end(client)[1] == "reset"
    dest.wait_metric(1, "qanat_flows_total", outcome="reset_by_local")
    source.wait_metric(1, "qanat_flows_total", outcome="reset_by_peer")


def test_a_service_may_speak_first(world):
    """
    client (silent) ◄── "220 ready" ── source ◄── dest ◄── target
    """
    target = world.add(Server(peers.greet(b"220 ready\r\n")))
    near, _, _ = world.pair(target.address)
    with dial(near) as client:
        assert read_exactly(client, 11) == b"220 ready\r\n"
        client.sendall(b"HELO")
        assert read_exactly(client, 4) == b"HELO"


def test_readers_that_stop_do_not_grow_our_memory_nor_slow_the_others(world):
    """
    20 clients (never read) ◄═╪═ source ◄── dest ◄═══ target pours for ever
    1 client (reads)        ◄═══                      echo
    """
    pour = world.add(Pour())
    echo = world.add(Server(peers.echo))
    dest = world.dest([("pour", pour.address), ("echo", echo.address)])
    ports = free_port(), free_port()
    source = world.source(dest, [("127.0.0.1:%d" % ports[0], "pour"), ("127.0.0.1:%d" % ports[1], "echo")])
    assert peers.ask(("127.0.0.1", ports[1]), b"warm") == b"warm"
    before = source.memory(), dest.memory()
    stuck = [world.add(dial(("127.0.0.1", ports[0]))) for _ in range(20)]
    for client in stuck:
        read_exactly(client, 1 << 16)
    poured = peers.stops_growing(lambda: pour.poured)
    assert poured >= 20 << 16
    # Units of 64 KiB: a handful for each flow and side, whatever the peer pours. Sanitizers keep books of their own.
    allowed = 20 << (24 if SANITIZED else 20)
    for node, memory in zip((source, dest), before):
        assert node.memory() - memory < allowed, "%s grew by %d" % (node.name, node.memory() - memory)
    block = peers.random_bytes(4 << 20)
    with dial(("127.0.0.1", ports[1])) as client:
        sender = threading.Thread(target=client.sendall, args=(block,))
        sender.start()
        assert read_exactly(client, len(block)) == block
        sender.join()


def test_an_ipv6_target(world):
    """
    client ──► 127.0.0.1 source ──► dest ──► [::1] target
    """
    if not has_six():
        pytest.skip("no IPv6 on this machine")
    target = world.add(Server(peers.echo, host="::1"))
    near, _, _ = world.pair(target.address)
    assert peers.ask(near, b"over six") == b"over six"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_host_name_as_target_falls_through_to_the_address_that_answers(world, host):
    """
    client ──► source ──► dest ──► localhost = 127.0.0.1 and ::1, only one of them listens
    """
    if host == "::1" and not (has_six() and localhost_has_six()):
        pytest.skip("localhost has no IPv6 address on this machine")
    target = world.add(Server(peers.echo, host=host))
    near, _, _ = world.pair(("localhost", target.address[1]))
    assert peers.ask(near, b"by name") == b"by name"


def has_six():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        return True
    except OSError:
        return False


def localhost_has_six():
    try:
        return bool(socket.getaddrinfo("localhost", 1, socket.AF_INET6))
    except OSError:
        return False


def test_unix_sockets_on_both_sides(world):
    """
    client ──► unix:near source ──► dest ──► unix:far target
    """
    far_path, near_path = os.path.join(world.folder, "far"), os.path.join(world.folder, "near")
    target = world.add(Server(peers.echo, path=far_path))
    dest = world.dest([("service", target.address)])
    source = world.source(dest, [("unix:" + near_path, "service")])
    assert peers.ask(near_path, b"by path") == b"by path"
    assert os.stat(near_path).st_mode & 0o7777 == 0o660
    source.stop()
    assert not os.path.exists(near_path)


def test_a_stale_unix_socket_does_not_stop_a_restart(world):
    """
    source ── kill -9 ──► the path stays ──► source starts again and listens there
    """
    path = os.path.join(world.folder, "near")
    target = world.add(Server(peers.echo))
    dest = world.dest([("service", target.address)])
    source = world.source(dest, [("unix:" + path, "service")])
    source.kill()
    assert os.path.exists(path)
    source.start().wait_ready()
    assert peers.ask(path, b"again") == b"again"


def test_exposed_ports_reach_the_service_of_the_same_number(world):
    """
    client ──► source port N ──► dest service with port N ──► target
    """
    first, second = world.add(Server(peers.greet(b"first!"))), world.add(Server(peers.greet(b"second")))
    ports = free_port(), free_port()
    dest = world.dest([("one", first.address, ports[0]), ("two", second.address, ports[1])])
    world.source(dest, source={"exposed_ports": [{"port": port} for port in ports]})
    for port, text in zip(ports, (b"first!", b"second")):
        with dial(("127.0.0.1", port)) as client:
            assert read_exactly(client, 6) == text


def test_a_listen_port_alone_reaches_the_only_service(world):
    """
    client ──► source listen_port N ──► dest with one service, of another number ──► target
    """
    target = world.add(Server(peers.echo))
    port = free_port()
    dest = world.dest([("only", target.address)])
    world.source(dest, source={"listen_port": port})
    assert peers.ask(("127.0.0.1", port), b"the seed's way") == b"the seed's way"


@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_workers(world, workers):
    """
    clients ══► source (N workers) ──► dest (N workers) ══► swarm
    """
    far = world.add(Helper("swarm", "serve", "127.0.0.1:0"))
    near, _, _ = world.pair(far.address, node={"workers": workers})
    totals = peers.swarm(near, far, flows=200, parallel=40, up=100000, down=100000, abort=5, refuse=5)
    assert totals["opened"] == 200
