#!/usr/bin/python3
"""`qanat vpn` side by side with wireguard-go, OpenVPN and the bare wire, in one run on this machine.

    bench/vpn.py [--quick] [--seconds 2] [--repetitions 2] [--only NAME,NAME] [--mtus 1420,1500]
                 [--variant "NAME: FLAGS OF QANAT"]... [--against OTHER/qanat]

    iperf3, ping ══ tunnel ── veth ── tunnel ══ iperf3      two network namespaces; needs root

Measured: Gbit/s of TCP with one flow and four in both directions, CPU-seconds of both ends of the tunnel for each GiB, the
round trip of a ping at rest and beside one TCP flow (p50, p99), what is lost of UDP at fixed rates, memory of both ends.
What everybody can carry (1420) is measured several times, interleaved, and medians are reported; the other sizes once.
Ratios within one run are what counts. WIREGUARD_GO names another wireguard-go than the one in PATH. A tunnel that is not installed or fails is named and the others are measured. All of
it takes five minutes, --quick (or BENCH_QUICK=1) one; the answers go to build/bench-vpn.json and build/bench-vpn.md.
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
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(ROOT, "bench"), os.path.join(ROOT, "tests", "e2e")]

import netns  # noqa: E402
import psk  # noqa: E402
from pairs import cpu_seconds, resident_mib  # noqa: E402
from qanat import QANAT, Certs, wait  # noqa: E402
from run import machine, number, say  # noqa: E402

COMMON_MTU = 1420
FLOWS = [("1 flow up", []), ("1 flow down", ["-R"]), ("4 flows up", ["-P", "4"]), ("4 flows down", ["-P", "4", "-R"])]
UDP_MBIT = [300, 1000]


class Vpn:
    program, address, lanes, qanat, flags = "ip", "192.168.3.1", 5, QANAT, []

    def __init__(self, wire, folder):
        papers = Certs(os.path.join(folder, "certs"), ips="192.0.2.1")
        words = ["--ca-bundle", papers.ca, "--stream-count", str(self.lanes), "--mtu", str(self.mtu), *self.flags]
        words += ["--control-socket", "off"]
        at = "unix:" + os.path.join(folder, "%s.sock")
        server = wire.server.start(self.qanat, "vpn", "server", *words, "--server-cert", papers.server, "--server-key",
                                   papers.server_key, "--ipv4", "192.168.3.1/24", "--metrics-ip", at % "server", name="server")
        server.wait_log("running as server")
        client = wire.client.start(self.qanat, "vpn", "client", *words, "--client-cert", papers.client, "--client-key",
                                   papers.client_key, "--ipv4", "192.168.3.2/24", "--metrics-ip", at % "client", "--server",
                                   "192.0.2.1", name="client")
        self.pids = [server.process.pid, client.process.pid]


class Vpn5(Vpn):
    name = "qanat vpn"


class Vpn1(Vpn):
    name, lanes = "qanat vpn, 1 stream", 1


class WireguardGo(psk.WireguardGo):
    name = "wireguard-go"


class OpenVpn(psk.OpenVpn):
    name = "openvpn"


class Bare(psk.Bare):
    name, program = "bare wire", "ip"


ALL = [Bare, Vpn5, Vpn1, WireguardGo, OpenVpn]
# wireguard-go's own packets would not fit the wire with any of these.
OTHERS = [(1500, [Vpn5, OpenVpn]), (9000, [Vpn5, OpenVpn]), (65520, [Vpn5])]


# ---- what is measured


def iperf(wire, address, seconds, words):
    text = wire.client.run("iperf3", "-J", "-c", address, "-t", str(seconds), *words, seconds=seconds + 60)
    return json.loads(text)["end"]


def quantile(values, part):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def round_trips(text):
    times = [float(found) * 1000 for found in re.findall(r"time=([\d.]+) ms", text)]
    if len(times) < 20:
        raise RuntimeError("ping was hardly answered: %s" % text[-300:])
    return {"p50_us": quantile(times, 0.5), "p99_us": quantile(times, 0.99)}


def measure_idle(wire, pair, seconds):
    count = str(max(int(seconds * 100), 60))
    return round_trips(wire.client.run("ping", "-n", "-c", count, "-i", "0.01", "-W", "2", pair.address))


def measure_tcp(wire, pair, seconds, words):
    before = cpu_seconds(pair.pids) if pair.pids else 0
    received = iperf(wire, pair.address, seconds, words)["sum_received"]
    result = {"gbit_s": received["bits_per_second"] / 1e9}
    if pair.pids:
        result["cpu_s_per_gib"] = (cpu_seconds(pair.pids) - before) / (received["bytes"] / 2**30)
        result["rss_mib"] = resident_mib(pair.pids)
    return result


def measure_loaded(wire, pair, seconds):
    """Ping beside one TCP flow."""
    command = ["ip", "netns", "exec", wire.client.name, "ping", "-n", "-i", "0.01", "-W", "2", "-c",
               str(max(int((seconds - 0.5) * 100), 40)), pair.address]
    load = ["ip", "netns", "exec", wire.client.name, "iperf3", "-J", "-c", pair.address, "-t", str(seconds + 1), "-O", "1"]
    with subprocess.Popen(load, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as flow:
        time.sleep(0.7)  # the flow is to be at full speed, which nothing tells
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=seconds + 60)
        flow.wait(seconds + 60)
    return round_trips(done.stdout.decode())


def measure_udp(wire, pair, seconds, mbit):
    before = cpu_seconds(pair.pids) if pair.pids else 0
    # Buffers in which what arrives in the turn of somebody else on these cores finds room: the tunnel is measured.
    words = ["-u", "-b", "%dM" % mbit, "-l", str(min(pair.mtu, 1500) - 48), "-w", "4M"]
    end = iperf(wire, pair.address, seconds, words)["sum"]
    arrived = end["packets"] - end["lost_packets"]
    result = {"lost_percent": 100.0 * end["lost_packets"] / max(end["packets"], 1),
              "sent_mbit_s": end["bytes"] * 8e-6 / end["seconds"]}
    if pair.pids and arrived > 0:
        result["cpu_us_each"] = (cpu_seconds(pair.pids) - before) / arrived * 1e6
    return result


def workloads(seconds):
    yield "ping", lambda wire, pair: measure_idle(wire, pair, seconds)
    for name, words in FLOWS:
        yield "TCP, " + name, lambda wire, pair, words=words: measure_tcp(wire, pair, seconds, words)
    yield "ping beside a flow", lambda wire, pair: measure_loaded(wire, pair, seconds)
    for mbit in UDP_MBIT:
        yield "UDP, %d Mbit/s" % mbit, lambda wire, pair, mbit=mbit: measure_udp(wire, pair, min(seconds, 2), mbit)


def measure(make, mtu, seconds):
    """{workload: {measure: value}} of one tunnel, alone on a wire of its own."""
    contestant = type(make.__name__, (make,), {"mtu": mtu})
    with tempfile.TemporaryDirectory(prefix="qanat-bench-") as folder:
        wire = netns.Wire(folder)
        try:
            pair = contestant(wire, folder)
            wire.server.start("iperf3", "-s", "--forceflush", name="iperf3").wait_log("listening")
            wait(lambda: wire.client.pings(pair.address), "the tunnel to carry")
            result = {}
            for name, work in workloads(seconds):
                say("%s, mtu %d: %s" % (make.name, mtu, name))
                result[name] = work(wire, pair)
            return result
        finally:
            wire.close()


# ---- running


def variants(options):
    """qanat with other flags, or of another build."""
    made = []
    for text in options.variant:
        name, flags = text.split(":", 1)
        made.append(type(name, (Vpn5,), {"name": Vpn5.name + " " + name, "flags": shlex.split(flags)}))
    if options.against:
        made.append(type("Against", (Vpn5,), {"name": Vpn5.name + " other", "qanat": os.path.abspath(options.against)}))
    return made


def plan(options):
    """[(tunnel, mtu)] in the order in which they run."""
    def wanted(make):
        return not options.only or any(make.name == word for word in options.only)

    more = variants(options)
    rounds = []
    if COMMON_MTU in options.mtus:
        rounds += [(make, COMMON_MTU) for make in ALL + more if wanted(make) or make in more] * options.repetitions
    for mtu, makers in OTHERS:
        if mtu in options.mtus:
            rounds += [(make, mtu) for make in makers + more if wanted(make) or make in more]
    return rounds


def run_all(options):
    samples, left_out = {}, {}
    for make, mtu in plan(options):
        row = "%s, mtu %d" % (make.name, mtu)
        if row in left_out:
            continue
        if not shutil.which(make.program) or (issubclass(make, WireguardGo) and not shutil.which("wg")):
            left_out[row] = "not installed"
            continue
        try:
            measured = measure(make, mtu, options.seconds)
        except (RuntimeError, OSError, ValueError, KeyError, AssertionError, subprocess.SubprocessError) as problem:
            left_out[row] = (str(problem).strip().splitlines() or ["fails"])[-1][:200]
            continue
        for work, measures in measured.items():
            for word, value in measures.items():
                samples.setdefault(row, {}).setdefault(work, {}).setdefault(word, []).append(value)
    say("")
    medians = {row: {work: {word: statistics.median(values) for word, values in measures.items()}
                     for work, measures in works.items()} for row, works in samples.items()}
    return medians, left_out


# ---- reporting


def cells(works):
    """The columns of one row: (title, text)."""
    def of(work, *words):
        values = [works.get(work, {}).get(word) for word in words]
        return " / ".join("-" if value is None else number(value) for value in values)

    yield "ping p50 / p99 us", of("ping", "p50_us", "p99_us")
    yield "beside a flow", of("ping beside a flow", "p50_us", "p99_us")
    for name, _ in FLOWS:
        yield name + ", Gbit/s", of("TCP, " + name, "gbit_s")
        yield "CPU-s/GiB", of("TCP, " + name, "cpu_s_per_gib")
    for mbit in UDP_MBIT:
        yield "UDP %d Mbit/s: lost %%" % mbit, of("UDP, %d Mbit/s" % mbit, "lost_percent")
        yield "CPU us each", of("UDP, %d Mbit/s" % mbit, "cpu_us_each")
    sizes = [measures["rss_mib"] for measures in works.values() if "rss_mib" in measures]
    yield "RSS MiB", number(max(sizes)) if sizes else "-"


def markdown(report):
    rows = report["results"]
    lines = []
    if rows:
        titles = [title for title, _ in cells(next(iter(rows.values())))]
        lines += ["| tunnel | " + " | ".join(titles) + " |", "|" + " --- |" * (len(titles) + 1)]
    lines += ["| %s | %s |" % (row, " | ".join(text for _, text in cells(works))) for row, works in rows.items()]
    lines += [""] + ["* %s: left out, %s" % item for item in report["left_out"].items()]
    lines += ["* %s" % verdict["text"] for verdict in report["verdicts"]]
    box = report["machine"]
    lines.append("\nMeasured %s: %d times %d s each, congestion control %s, %d cores of %s, kernel %s, load before %.1f." % (
        report["started"], report["repetitions"], report["seconds"], report["congestion"], box["cores"], box["cpu"],
        box["kernel"], box["load_before"]))
    return "\n".join(lines) + "\n"


def judge(results):
    """The goals, against the others of the same run and the same size of packets."""
    def row(make):
        return results.get("%s, mtu %d" % (make.name, COMMON_MTU), {})

    verdicts = []

    def add(what, value, reached):
        verdicts.append({"what": what, "value": value, "reached": reached,
                         "text": "%s: %s: %s" % ("reached" if reached else "MISSED", what, number(value))})

    ours, wireguard, openvpn = row(Vpn5), row(WireguardGo), row(OpenVpn)
    for name, _ in FLOWS if ours and wireguard else []:
        mine, other = ours["TCP, " + name], wireguard["TCP, " + name]
        rate, cost = mine["gbit_s"] / other["gbit_s"], mine["cpu_s_per_gib"] / other["cpu_s_per_gib"]
        add("%s: Gbit/s at least 4 times wireguard-go" % name, rate, rate >= 4)
        add("%s: CPU-s/GiB at most a quarter of wireguard-go" % name, cost, cost <= 0.25)
    for work in ("ping", "ping beside a flow") if ours and openvpn else ():
        ratio = ours[work]["p50_us"] / openvpn[work]["p50_us"]
        add("%s: at most that of openvpn" % work, ratio, ratio <= 1)
    if ours:
        most = max(measures.get("rss_mib", 0) for measures in ours.values())
        add("RSS of both ends below 40 MiB", most, most < 40)
    return verdicts


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="once, 1 s each, one size: only to see that it works")
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=2)
    parser.add_argument("--only", type=lambda text: text.split(","), help=", ".join(make.name for make in ALL))
    parser.add_argument("--mtus", type=lambda text: [int(word) for word in text.split(",")],
                        default=[COMMON_MTU] + [mtu for mtu, _ in OTHERS])
    parser.add_argument("--variant", action="append", default=[])
    parser.add_argument("--against", metavar="PROGRAM", default="")
    parser.add_argument("--out", default=os.path.join(ROOT, "build", "bench-vpn.json"))
    options = parser.parse_args()
    if options.quick or os.environ.get("BENCH_QUICK", "") not in ("", "0"):
        options.repetitions, options.seconds, options.mtus = 1, 1, [COMMON_MTU]
    return options


def main():
    options = parse()
    reason = netns.why_not() or (None if shutil.which("iperf3") else "there is no iperf3")
    if reason:
        print("vpn is left out: " + reason)
        return
    with open("/proc/sys/net/ipv4/tcp_congestion_control") as file:
        congestion = file.read().strip()
    report = {"machine": machine(), "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
              "repetitions": options.repetitions, "seconds": options.seconds, "congestion": congestion}
    report["results"], report["left_out"] = run_all(options)
    report["verdicts"] = judge(report["results"])
    os.makedirs(os.path.dirname(options.out), exist_ok=True)
    with open(options.out, "w") as file:
        json.dump(report, file, indent=1)
    text = markdown(report)
    with open(os.path.splitext(options.out)[0] + ".md", "w") as file:
        file.write(text)
    print(text)


if __name__ == "__main__":
    main()
