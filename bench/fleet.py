#!/usr/bin/python3
"""A fleet on one hub: what an idle device costs, how long a fleet needs to be back, and what a session brings.

    bench/fleet.py [--parts memory,restart,bulk,latency] [--devices 1000,6000] [--gib 2] [--repetitions 3]

memory   RSS of `qanat hub` for each idle device with its parked connection, some seconds after the last one came
restart  the hub is killed and started again: seconds until every device is there with its parked connection
           devices in two processes (tests/helpers/fleet) ════ TLS, real links ════ qanat hub
bulk     GiB/s and CPU-seconds of the tunnel's processes for each GiB, up (towards the device) and down
latency  a connection to a socket until the service behind has answered one byte: p50 and p99
           client ── NAME.sock ══ hub ════ agent ══ service
         qanat with parked connections and (latency) without, so that each session asks for one with OPEN; `ssh -R` of a
         Unix socket, which has the same shape; socat from a Unix socket to the service, one plain hop without encryption

Bulk and latency are interleaved over the repetitions and medians reported; everything is on loopback with the system's
congestion control. BENCH_QUICK=1: a minute. The answers also go to build/bench-fleet.json. A program that is not installed
or does not start is named and left out.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import struct
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(ROOT, "bench"), os.path.join(ROOT, "tests", "e2e")]

import pairs  # noqa: E402
from fleets import Crowd  # noqa: E402
from qanat import QANAT, Certs, free_port, run, wait  # noqa: E402

CHUNK = 1 << 20


# ---- the service behind, and its clients


def drain(connection, most=None):
    """Reads to the end, or so many bytes; how many came."""
    room, total = bytearray(CHUNK), 0
    while most is None or total < most:
        got = connection.recv_into(room, CHUNK if most is None else min(CHUNK, most - total))
        if got == 0:
            break
        total += got
    return total


def pour(connection, total):
    room = bytes(CHUNK)
    while total > 0:
        total -= connection.send(room[: min(CHUNK, total)])


def serve_one(connection):
    """One byte says what is wanted: u takes bytes to their end and says how many, d and a number gives so many, e echoes."""
    with connection:
        word = connection.recv(1)
        if word == b"u":
            connection.sendall(struct.pack("!Q", drain(connection)))
        elif word == b"d":
            pour(connection, struct.unpack("!Q", connection.recv(8, socket.MSG_WAITALL))[0])
        elif word == b"e":
            connection.sendall(b"e")


class Service:
    """A process of its own, so that it does not share a core with the client's interpreter."""

    def __init__(self):
        listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = listener.getsockname()[1]
        self.pid = os.fork()
        if self.pid == 0:
            try:
                while True:
                    threading.Thread(target=self.serve, args=(listener.accept()[0],), daemon=True).start()
            finally:
                os._exit(1)
        listener.close()

    @staticmethod
    def serve(connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            serve_one(connection)
        except OSError:
            pass

    def stop(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def dial(path):
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(120)
    connection.connect(path)
    return connection


def carry_up(path, total):
    with dial(path) as connection:
        connection.sendall(b"u")
        pour(connection, total)
        connection.shutdown(socket.SHUT_WR)
        arrived = struct.unpack("!Q", connection.recv(8, socket.MSG_WAITALL))[0]
    if arrived != total:
        raise RuntimeError("%d of %d bytes arrived" % (arrived, total))


def carry_down(path, total):
    with dial(path) as connection:
        connection.sendall(b"d" + struct.pack("!Q", total))
        arrived = drain(connection, total)
    if arrived != total:
        raise RuntimeError("%d of %d bytes arrived" % (arrived, total))


def open_one(path):
    begun = time.perf_counter()
    with dial(path) as connection:
        connection.sendall(b"e")
        if connection.recv(1) != b"e":
            raise RuntimeError("a session did not begin")
    return (time.perf_counter() - begun) * 1e6


# ---- the ways to a device


class Way:
    """Something that leads from `path`, a Unix socket, to the service's port."""

    name, program, latency_only = "", "", False

    def __init__(self, folder, certs, service):
        self.folder, self.certs, self.service = folder, certs, service
        self.path = os.path.join(folder, "011.sock")
        self.processes = []

    def missing(self):
        return None if pairs.find_program(self.program) else "not installed"

    def launch(self, name, command):
        process = pairs.start(command, os.path.join(self.folder, name + ".log"))
        self.processes.append(process)
        return process

    def wait_path(self):
        def is_there():
            for process in self.processes:
                if process.poll() is not None:
                    raise RuntimeError("ended with status %s" % process.poll())
            return open_one(self.path)

        wait(is_there, "a session through %s" % self.name)

    def pids(self):
        return [process.pid for process in self.processes]

    def stop(self):
        for process in self.processes:
            pairs.end(process)


class Qanat(Way):
    name, program, parked = "qanat", QANAT, 4

    def start(self):
        certs, port = self.certs, free_port()
        device, key = certs.path("011.crt"), certs.path("011.key")
        if not os.path.exists(device):
            certs.make("client", device, key, "--common-name", "011", "--key", "p256", "--ca-cert", certs.ca,
                       "--ca-key", certs.ca_key)
        sockets = os.path.dirname(self.path)
        self.launch("hub", [QANAT, "hub", "--listen-ip", "127.0.0.1", "--listen-port", str(port), "--directory", sockets,
                            "--ca-cert", certs.ca, "--cert", certs.server, "--key", certs.server_key,
                            "--control-socket", "off", "--metrics", "false"])
        self.launch("agent", [QANAT, "agent", "--hub", "127.0.0.1:%d" % port, "--service",
                              "main=127.0.0.1:%d" % self.service.port, "--ca-cert", certs.ca, "--cert", device, "--key",
                              key, "--parked", str(self.parked), "--control-socket", "off", "--metrics", "false"])
        self.wait_path()


class QanatOpen(Qanat):
    name, parked, latency_only = "qanat, OPEN", 0, True


class SshR(Way):
    name, program = "ssh -R", "ssh"
    server = "/usr/sbin/sshd"

    def missing(self):
        return super().missing() or (None if os.path.exists(self.server) else "sshd not installed")

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w") as file:
            file.write(text)
        return path

    def start(self):
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
        keys = {name: os.path.join(self.folder, name) for name in ("host", "user")}
        for path in keys.values():
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path])
        port = free_port()
        config = self.write("sshd_config", (
            "ListenAddress 127.0.0.1:%d\nHostKey %s\nAuthorizedKeysFile %s\nPidFile none\nStrictModes no\nUsePAM no\n"
            "PasswordAuthentication no\nPermitRootLogin prohibit-password\nAllowStreamLocalForwarding yes\n"
            "StreamLocalBindUnlink yes\n") % (port, keys["host"], keys["user"] + ".pub"))
        pairs.wait_port(port, self.launch("sshd", [self.server, "-D", "-e", "-f", config]),
                        os.path.join(self.folder, "sshd.log"))
        options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ExitOnForwardFailure=yes"]
        self.launch("ssh", ["ssh", "-F", "none", "-N", "-p", str(port), "-i", keys["user"], "-c",
                            "aes256-gcm@openssh.com", *[word for option in options for word in ("-o", option)], "-R",
                            "%s:127.0.0.1:%d" % (self.path, self.service.port), "%s@127.0.0.1" % pairs.getpass.getuser()])
        self.wait_path()


class Socat(Way):
    name, program = "socat, plain", "socat"

    def start(self):
        self.launch("socat", ["socat", "-b", "65536", "UNIX-LISTEN:%s,fork" % self.path,
                              "TCP:127.0.0.1:%d,nodelay" % self.service.port])
        self.wait_path()


WAYS = [Qanat, QanatOpen, SshR, Socat]


def start_ways(folder, service, left_out):
    certs, ways = Certs(os.path.join(folder, "certs")), []
    for number, make in enumerate(WAYS):
        inside = os.path.join(folder, str(number))
        os.makedirs(inside)
        way = make(inside, certs, service)
        try:
            if way.missing():
                raise RuntimeError(way.missing())
            ways.append(way)
            way.start()
        except (RuntimeError, OSError, AssertionError) as problem:
            left_out[way.name] = (str(problem).strip().splitlines() or ["does not start"])[0][:120]
            if way in ways:
                ways.remove(way)
            way.stop()
    left_out["shadow"] = "needs TLS in the kernel, which is not asked for here"
    if not pairs.find_program("frps"):
        left_out["frp"] = "not installed"
    return ways


def measure_bulk(way, options):
    total, found = int(options.gib * 2**30), {}
    for direction, carry in (("up", carry_up), ("down", carry_down)):
        cpu, begun = pairs.cpu_seconds(way.pids()), time.perf_counter()
        carry(way.path, total)
        seconds = time.perf_counter() - begun
        found[direction + "_gib_s"] = options.gib / seconds
        found[direction + "_cpu_s_per_gib"] = (pairs.cpu_seconds(way.pids()) - cpu) / options.gib
    return found


def measure_latency(way, options):
    for _ in range(10):
        open_one(way.path)
    samples = []
    for _ in range(options.sessions):
        samples.append(open_one(way.path))
        time.sleep(0.005)  # what was used is replaced meanwhile: people do not begin sessions back to back
    samples.sort()
    return {"p50_us": statistics.median(samples), "p99_us": samples[len(samples) * 99 // 100]}


def compare(part, measure, options, folder):
    service, left_out = Service(), {}
    ways = start_ways(folder, service, left_out)
    samples = {}
    try:
        for _ in range(options.repetitions):
            for way in ways:
                if part == "latency" or not way.latency_only:
                    samples.setdefault(way.name, []).append(measure(way, options))
    finally:
        for way in ways:
            way.stop()
        service.stop()
    results = {name: {key: statistics.median(one[key] for one in several) for key in several[0]}
               for name, several in samples.items()}
    show(part, results)
    for name, why in left_out.items():
        print("  left out  %s: %s" % (name, why))
    return results


def show(title, rows):
    keys = list(next(iter(rows.values()))) if rows else []
    print("\n%-14s %s" % (title, "".join("%22s" % key for key in keys)))
    for name, values in rows.items():
        print("%-14s %s" % (name, "".join("%22s" % ("%.2f" % values[key]) for key in keys)))
    sys.stdout.flush()


# ---- many devices


def measure_fleet(count, options, folder):
    """Memory and the way back of one fleet, as far as each is asked for."""
    crowd, found = Crowd(folder, count), {}
    try:
        empty = crowd.start_hub()
        found["first_up_s"] = crowd.start_devices()
        if "memory" in options.parts:
            found["kib_per_device"] = (crowd.settled_memory() - empty) / count / 1024
        if "restart" in options.parts:
            crowd.kill_hub()
            begun = time.monotonic()
            crowd.start_hub()
            crowd.wait_all()
            found["back_s"] = time.monotonic() - begun
            found["hub_cpu_ms_per_device"] = crowd.hub.cpu_seconds() * 1000 / count
            found.update({"waited": crowd.hub.metric("qanat_admission_waited_total"),
                          "sent_away": crowd.hub.metric("qanat_admission_refused_total", reason="in_flight")})
    finally:
        crowd.stop()
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words = lambda text: text.split(",")  # noqa: E731
    parser.add_argument("--parts", type=words, default=["memory", "restart", "bulk", "latency"])
    parser.add_argument("--devices", type=words, default=["1000", "6000"])
    parser.add_argument("--gib", type=float, default=2)
    parser.add_argument("--sessions", type=int, default=300)
    parser.add_argument("--repetitions", type=int, default=3)
    options = parser.parse_args()
    if os.environ.get("BENCH_QUICK", "") not in ("", "0"):
        options.devices, options.gib, options.repetitions, options.sessions = ["300"], 0.25, 1, 100
    results, folder = {}, tempfile.mkdtemp(prefix="qanat-fleet-")
    try:
        if {"memory", "restart"} & set(options.parts):
            results["fleet"] = {count + " devices": measure_fleet(int(count), options, os.path.join(folder, count))
                                for count in options.devices}
            show("fleet", results["fleet"])
        for part, measure in (("bulk", measure_bulk), ("latency", measure_latency)):
            if part in options.parts:
                inside = os.path.join(folder, part)
                os.makedirs(inside)
                results[part] = compare(part, measure, options, inside)
    finally:
        shutil.rmtree(folder)
    with open(os.path.join(ROOT, "build", "bench-fleet.json"), "w") as file:
        json.dump(results, file, indent=1)


if __name__ == "__main__":
    main()
