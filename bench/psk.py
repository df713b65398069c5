#!/usr/bin/python3
"""Layer-3 tunnels side by side, in one run on this machine: qanat psk with both ciphers, the original ttun, OpenVPN and
wireguard-go where they are installed, and the bare wire.

    bench/psk.py [--seconds 4] [--repetitions 3] [--only NAME,NAME]
                 [--variant "NAME: FLAGS OF QANAT"]... [--against OTHER/qanat]

    iperf3 ══ tunnel ── veth ── tunnel ══ iperf3      two network namespaces; needs root

Measured: Gbit/s of one TCP flow in each direction and of four at once, CPU-seconds of both ends of the tunnel for each GiB,
the round trip of a ping, memory of both ends. Repetitions are interleaved, medians are reported. Ratios within one run are
what counts.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(ROOT, "bench"), os.path.join(ROOT, "tests", "e2e")]

import netns  # noqa: E402
from pairs import cpu_seconds, resident_mib  # noqa: E402
from qanat import QANAT, Certs, run, wait  # noqa: E402

KEY = "q7Zp+R2mX9c/LwB1vTtYh5sKdN0aGfUe3oJ8iMEyCkA="


class Bare:
    name, address = "bare wire", "192.0.2.1"

    def __init__(self, wire, folder):
        self.pids = []


class Psk:
    address, method, qanat, flags = "10.1.1.1", "", QANAT, []

    def __init__(self, wire, folder):
        words = ["-k", KEY, "-m", self.method, *self.flags]
        server = wire.server.start(self.qanat, "psk", "server", *words, name="server").wait_log("running as server")
        client = wire.client.start(self.qanat, "psk", "client", *words, "-s", "192.0.2.1:20203", name="client")
        client.wait_log("connected with")
        self.pids = [server.process.pid, client.process.pid]


class PskChacha(Psk):
    name, method = "qanat psk chacha20", "chacha20-poly1305"


class PskAes(Psk):
    name, method = "qanat psk aes-256", "aes-256-gcm"


# The original: `ttun` in PATH, or the program that the environment variable TTUN names.
class Ttun:
    address, method, program = "10.1.1.1", "chacha20-poly1305", os.environ.get("TTUN", "ttun")
    name = "ttun chacha20"

    def __init__(self, wire, folder):
        words = ["-k", KEY, "-m", self.method]
        server = wire.server.start(self.program, "server", *words, name="server").wait_log("listen")
        client = wire.client.start(self.program, "client", *words, "-s", "192.0.2.1:20203", name="client")
        client.wait_log("authenticated")
        self.pids = [server.process.pid, client.process.pid]


class TtunAes(Ttun):
    name, method = "ttun aes-256", "aes-256-gcm"


class OpenVpn:
    name, address, program, mtu = "openvpn", "10.8.0.1", "openvpn", 1500

    def __init__(self, wire, folder):
        certs = Certs(os.path.join(folder, "certs"))
        common = ["--dev", "tun", "--proto", "udp", "--cipher", "AES-256-GCM", "--data-ciphers", "AES-256-GCM", "--verb", "3"]
        common += ["--ca", certs.ca, "--disable-dco", "--tun-mtu", str(self.mtu)]
        server = wire.server.start("openvpn", *common, "--tls-server", "--dh", "none", "--ifconfig", "10.8.0.1", "10.8.0.2",
                                   "--cert", certs.server, "--key", certs.server_key, name="server")
        client = wire.client.start("openvpn", *common, "--tls-client", "--remote", "192.0.2.1", "--nobind", "--ifconfig",
                                   "10.8.0.2", "10.8.0.1", "--cert", certs.client, "--key", certs.client_key, name="client")
        client.wait_log("Initialization Sequence Completed")
        self.pids = [server.process.pid, client.process.pid]


# The one in PATH, which distributions often have without its super-packets of 2023, or what WIREGUARD_GO names.
class WireguardGo:
    name, address, program, mtu = "wireguard-go", "10.9.0.1", os.environ.get("WIREGUARD_GO", "wireguard-go"), 1280

    def __init__(self, wire, folder):
        keys = [run(["wg", "genkey"]).strip() for _ in range(2)]
        public = [subprocess.run(["wg", "pubkey"], input=key.encode(), stdout=subprocess.PIPE, check=True).stdout.decode().strip()
                  for key in keys]
        self.pids = []
        for number, host in enumerate((wire.server, wire.client)):
            device = "wg%s%d" % (host.name[-6:], number)
            path = os.path.join(folder, device)
            with open(path, "w") as file:
                file.write(keys[number])
            process = host.start(self.program, "-f", device, name=device)
            wait(lambda: os.path.exists("/var/run/wireguard/%s.sock" % device), "wireguard-go to be there")
            peer = ["peer", public[1 - number], "allowed-ips", "10.9.0.0/24"]
            peer += ["endpoint", "192.0.2.1:51820"] if number else []
            host.run("wg", "set", device, "private-key", path, "listen-port", "51820", *peer)
            host.ip("addr", "add", "10.9.0.%d/24" % (number + 1), "dev", device)
            host.ip("link", "set", device, "mtu", str(self.mtu), "up")
            self.pids.append(process.process.pid)


CONTESTANTS = [Bare, PskChacha, PskAes, Ttun, TtunAes, OpenVpn, WireguardGo]
FLOWS = [("1 flow", []), ("back", ["-R"]), ("4 flows", ["-P", "4"])]


def iperf(wire, address, seconds, words):
    text = wire.client.run("iperf3", "-J", "-c", address, "-t", str(seconds), *words, seconds=seconds + 60)
    received = json.loads(text)["end"]["sum_received"]
    return received["bits_per_second"] / 1e9, received["bytes"] / 2**30


def measure(contestant, seconds):
    result = {}
    with tempfile.TemporaryDirectory() as folder:
        wire = netns.Wire(folder)
        try:
            pair = contestant(wire, folder)
            wire.server.start("iperf3", "-s", "--forceflush", name="iperf3").wait_log("listening")
            wait(lambda: wire.client.pings(pair.address), "the tunnel to carry")
            text = wire.client.run("ping", "-q", "-c", "100", "-i", "0.01", pair.address)
            result["ping us"] = float(re.search(r"= [\d.]+/([\d.]+)/", text).group(1)) * 1000
            for name, words in FLOWS:
                before = cpu_seconds(pair.pids) if pair.pids else 0
                rate, gib = iperf(wire, pair.address, seconds, words)
                result[name + " Gbit/s"] = rate
                if pair.pids:
                    result[name + " CPU-s/GiB"] = (cpu_seconds(pair.pids) - before) / gib
            if pair.pids:
                result["RSS MiB"] = resident_mib(pair.pids)
        finally:
            wire.close()
    return result


def variants(options):
    """Each qanat pair with other flags, or of another build."""
    made = []
    for base in (PskChacha, PskAes):
        for text in options.variant:
            name, flags = text.split(":", 1)
            made.append(type(name, (base,), {"name": base.name + " " + name, "flags": shlex.split(flags)}))
        if options.against:
            made.append(type("other", (base,), {"name": base.name + " other", "qanat": options.against}))
    return made


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--only", default="")
    parser.add_argument("--variant", action="append", default=[])
    parser.add_argument("--against", default="")
    options = parser.parse_args()
    reason = netns.why_not() or (None if shutil.which("iperf3") else "there is no iperf3")
    if reason:
        sys.exit("bench/psk.py: " + reason)
    wanted = [word for word in options.only.split(",") if word]
    running = [one for one in CONTESTANTS + variants(options) if shutil.which(getattr(one, "program", "ip")) and
               (not wanted or any(word in one.name for word in wanted))]
    results = {one.name: [] for one in running}
    for _ in range(options.repetitions):
        for one in running:
            results[one.name].append(measure(one, options.seconds))
    columns = ["1 flow Gbit/s", "1 flow CPU-s/GiB", "back Gbit/s", "back CPU-s/GiB", "4 flows Gbit/s", "4 flows CPU-s/GiB",
               "ping us", "RSS MiB"]
    print("| tunnel | " + " | ".join(columns) + " |\n|" + " --- |" * (len(columns) + 1))
    for name, runs in results.items():
        cells = [["%.2f" % statistics.median(run[column] for run in runs)] if column in runs[0] else ["-"] for column in columns]
        print("| %s | %s |" % (name, " | ".join(cell[0] for cell in cells)), flush=True)


if __name__ == "__main__":
    main()
