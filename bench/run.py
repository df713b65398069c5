#!/usr/bin/python3
"""qanat side by side with what people use today: the same traffic through each pair, in one run, on this machine.

    bench/run.py [--quick] [--repetitions 3] [--seconds 4] [--both-cc] [--only qanat,socat] [--against OTHER/qanat]

    client ──► A ══════ B ──► server      everything on loopback; A and B are the pair under test

Measured: Gbit/s of iperf3 with 1 and 8 flows in both directions, CPU-seconds of A and B (and their children) for each
GiB, p50 and p99 of a 64-byte echo, new connections per second, memory; of pairs that carry datagrams the same echo, how
many of 1200 bytes come back each second with 64 under way, and how much arrives of as many as one can send. Repetitions are interleaved, so that a slow minute
of the machine hits all pairs alike; medians are reported. Absolute numbers drift, ratios within one run are what counts.
A pair that fails is named, with what it said, and the rest goes on. All of it takes about eight minutes, --quick (or
BENCH_QUICK=1) one; the answers go to build/bench.json and, as a table, to build/bench.md.

--against measures another build of qanat beside this one: what a change brings is a ratio of one run.

--both-cc runs everything twice, with and without a pacing congestion control as the system's default. It needs root and
happens in a network namespace of its own, so the host's setting is never touched.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(ROOT, "bench"), os.path.join(ROOT, "tests", "e2e")]

import pairs  # noqa: E402
from qanat import HELPERS  # noqa: E402

TARGETS = [  # (what, measure, other, relation, factor): design targets, same run
    ("CPU-s/GiB at most 1.25 of socat (unencrypted)", "cpu_s_per_gib", "socat", "at most", 1.25),
    ("Gbit/s at least 0.9 of socat (unencrypted)", "gbit_s", "socat", "at least", 0.9),
    ("CPU-s/GiB at most 1.25 of socat -b 65536", "cpu_s_per_gib", "socat-64k", "at most", 1.25),
    ("Gbit/s at least 0.9 of socat -b 65536", "gbit_s", "socat-64k", "at least", 0.9),
    ("Gbit/s at least 1.5 of ssh -L", "gbit_s", "ssh", "at least", 1.5),
]
TARGETS_OF_PROXY = [  # the same of `qanat proxy`: nobody who carries TCP in TLS does it for less
    ("CPU-s/GiB below %s" % other, "cpu_s_per_gib", other, "at most", 1.0) for other in ("haproxy", "nginx", "stunnel")
]
CONGESTION = "/proc/sys/net/ipv4/tcp_congestion_control"


# ---- what is measured


def iperf(port, flows, reverse, seconds, tries=3):
    command = ["iperf3", "-J", "-c", "127.0.0.1", "-p", str(port), "-t", str(seconds), "-P", str(flows)]
    command += ["-R"] if reverse else []
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=seconds + 60
    )
    said = json.loads(done.stdout or b"{}")
    if done.returncode != 0 or "end" not in said:
        raise RuntimeError("iperf3: %s" % said.get("error", done.stderr.decode(errors="replace")))
    received = said["end"].get("sum_received")
    if not received:
        # Now and then iperf3 ends without its sums; a run without them is not a measurement.
        if tries <= 1:
            raise RuntimeError("iperf3 ends without its sums")
        return iperf(port, flows, reverse, seconds, tries - 1)
    return received["bytes"], received["bits_per_second"] / 1e9


def helper(*arguments, name="echo"):
    done = subprocess.run(
        [os.path.join(HELPERS, name), *[str(word) for word in arguments]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=120,
    )
    if not done.stdout:
        raise RuntimeError("%s: %s" % (name, done.stderr.decode(errors="replace")))
    return json.loads(done.stdout)


def measure_bulk(pair, flows, reverse, seconds):
    before = pairs.cpu_seconds(pair.pids())
    moved, rate = iperf(pair.bulk_port, flows, reverse, seconds)
    cpu = pairs.cpu_seconds(pair.pids()) - before
    return {"gbit_s": rate, "cpu_s_per_gib": cpu / (moved / 2**30), "rss_mib": pairs.resident_mib(pair.pids())}


def measure_echo(pair, count):
    before = pairs.cpu_seconds(pair.pids())
    said = helper("ping", "127.0.0.1:%d" % pair.echo_port, "--count", count, "--bytes", 64)
    cpu = pairs.cpu_seconds(pair.pids()) - before
    exchanges = count + count // 10 + 1  # the helper warms up with a tenth
    return {"p50_us": said["p50_us"], "p99_us": said["p99_us"], "cpu_us_each": cpu / exchanges * 1e6}


def measure_connect(pair, seconds):
    before = pairs.cpu_seconds(pair.pids())
    said = helper("connect", "127.0.0.1:%d" % pair.echo_port, "--seconds", seconds, "--parallel", 16)
    cpu = pairs.cpu_seconds(pair.pids()) - before
    return {
        "per_second": said["per_second"],
        "failed": said["failed"],
        "cpu_us_each": cpu / said["connected"] * 1e6 if said["connected"] else 0.0,
    }


def measure_datagrams(pair, *words):
    """What the helper `udp` says, and the CPU it took. Nothing of a pair that carries no datagrams."""
    if not pair.udp_port:
        return {}, 0.0
    before = pairs.cpu_seconds(pair.pids())
    said = helper(words[0], "127.0.0.1:%d" % pair.udp_port, *words[1:], name="udp")
    return said, pairs.cpu_seconds(pair.pids()) - before


def measure_udp_echo(pair, count):
    said, cpu = measure_datagrams(pair, "latency", "--count", count, "--size", 64)
    return said and {"p50_us": said["p50_us"], "p99_us": said["p99_us"], "cpu_us_each": cpu / count * 1e6}


def measure_udp_both_ways(pair, count):
    said, cpu = measure_datagrams(pair, "many", "--clients", 1, "--window", 64, "--size", 1200, "--count", count)
    return said and {
        "per_second": said["packets_per_s"],
        "lost_percent": 100.0 * said["lost"] / said["sent"],
        "cpu_us_each": cpu / max(said["right"], 1) * 1e6,
    }


def measure_udp_one_way(pair, seconds):
    said, cpu = measure_datagrams(pair, "blast", "--seconds", seconds, "--size", 1200)
    return said and {
        "gbit_s": said["gbit_per_s"],
        "lost_percent": 100.0 * (1 - said["received"] / said["sent"]),
        "cpu_us_each": cpu / max(said["received"], 1) * 1e6,
    }


def workloads(options):
    for flows in (1, 8):
        for direction in ("up", "down"):
            yield (
                "%d flow%s %s" % (flows, "s" if flows > 1 else "", direction),
                lambda pair, f=flows, d=direction: measure_bulk(pair, f, d == "down", options.seconds),
            )
    yield "echo 64 B", lambda pair: measure_echo(pair, 2000 if options.quick else 20000)
    yield "new connections", lambda pair: measure_connect(pair, 1 if options.quick else 3)
    yield "UDP echo 64 B", lambda pair: measure_udp_echo(pair, 2000 if options.quick else 20000)
    yield "UDP 1200 B, there and back", lambda pair: measure_udp_both_ways(pair, 10000 if options.quick else 50000)
    yield "UDP 1200 B, one way", lambda pair: measure_udp_one_way(pair, 1 if options.quick else 2)


# ---- running


def run_pairs(running, options, note):
    """{workload: {pair: {measure: median}}}, and what failed. A pair that fails once is not asked again."""
    samples, failures = {}, {}
    for repetition in range(options.repetitions):
        for name, work in workloads(options):
            for pair in running:
                if pair.name in failures:
                    continue
                say("%s, %d of %d: %-16s %-10s" % (note, repetition + 1, options.repetitions, name, pair.name))
                try:
                    measured = work(pair)
                except (RuntimeError, OSError, ValueError, AssertionError, subprocess.SubprocessError) as problem:
                    failures[pair.name] = "%s: %s" % (name, problem)
                    continue
                for measure, value in measured.items():
                    samples.setdefault(name, {}).setdefault(pair.name, {}).setdefault(measure, []).append(value)
    say("")
    medians = {
        work: {
            pair: {measure: statistics.median(values) for measure, values in measures.items()}
            for pair, measures in by_pair.items()
        }
        for work, by_pair in samples.items()
    }
    return medians, failures


def say(text):
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K" + text)
    elif text:
        sys.stderr.write(text.rstrip() + "\n")
    sys.stderr.flush()


def start_pairs(options, folder, servers):
    """Those that run, and why the others do not."""
    running, left_out = [], {}
    for make in pairs.ALL:
        if options.only and make.name not in options.only:
            continue
        missing = make.missing()
        if missing:
            left_out[make.name] = missing
            continue
        os.mkdir(os.path.join(folder, make.name))
        pair = make(os.path.join(folder, make.name))
        try:
            pair.start(servers)
        except (RuntimeError, OSError, AssertionError, subprocess.SubprocessError) as problem:
            pair.stop()
            left_out[make.name] = "does not start: %s" % problem
            continue
        running.append(pair)
    return running, left_out


def run_once(options, note):
    """One congestion control: all pairs up, measured, and down again."""
    with tempfile.TemporaryDirectory(prefix="qanat-bench-") as folder:
        servers = pairs.Servers()
        running = []
        try:
            running, left_out = start_pairs(options, folder, servers)
            results, failures = run_pairs(running, options, note)
        finally:
            for pair in reversed(running):
                pair.stop()
            servers.stop()
    return {
        "congestion": read(CONGESTION),
        "results": results,
        "pairs": {pair.name: pair.note for pair in running},
        "left_out": {**left_out, **failures},
    }


# ---- reporting


def table(run):
    lines = ["", "congestion control (system's default): %s" % run["congestion"]]
    for work, by_pair in run["results"].items():
        measures = list(next(iter(by_pair.values())))
        lines += ["", "%-18s" % work + "".join("%16s" % measure for measure in measures)]
        for pair, values in by_pair.items():
            lines.append("  %-16s" % pair + "".join("%16s" % number(values[measure]) for measure in measures))
    return "\n".join(lines)


def markdown(run, report):
    """The same with a column for each pair, for people."""
    names = list(run["pairs"])
    lines = ["| | %s |" % " | ".join(names), "| --- " * (len(names) + 1) + "|"]
    for work, by_pair in run["results"].items():
        for measure in next(iter(by_pair.values())):
            values = [
                number(by_pair[name][measure]) if name in by_pair else "-" if work.startswith("UDP") else "failed"
                for name in names
            ]
            lines.append("| %s, %s | %s |" % (work, measure, " | ".join(values)))
    lines += ["", "Pairs:", ""]
    lines += ["* %s%s" % (name, ": " + note if note else "") for name, note in run["pairs"].items()]
    lines += ["* %s: left out, %s" % (name, why.splitlines()[0]) for name, why in run["left_out"].items()]
    lines.append(
        "\nMeasured %s: %d times %d s each, congestion control %s, %d cores of %s, kernel %s, load before %.1f."
        % (
            report["started"],
            report["repetitions"],
            report["seconds"],
            run["congestion"],
            report["machine"]["cores"],
            report["machine"]["cpu"],
            report["machine"]["kernel"],
            report["machine"]["load_before"],
        )
    )
    return "\n".join(lines) + "\n"


def number(value):
    return "%.2f" % value if abs(value) < 100 else "%.0f" % value


def judge(run):
    """[(target, workload, ratio, reached)]"""
    verdicts = []
    for name, (what, measure, other, relation, factor) in [("qanat", target) for target in TARGETS] + [
        ("qanat-proxy", target) for target in TARGETS_OF_PROXY
    ]:
        for work, by_pair in run["results"].items():
            if measure not in by_pair.get(name, {}) or not by_pair.get(other, {}).get(measure):
                continue
            ratio = by_pair[name][measure] / by_pair[other][measure]
            reached = ratio <= factor if relation == "at most" else ratio >= factor
            verdicts.append({"target": what if name == "qanat" else "%s: %s" % (name, what), "workload": work, "ratio": ratio, "reached": reached})
    for measure, work, best in (
        ("p50_us", "echo 64 B", min),
        ("p99_us", "echo 64 B", min),
        ("per_second", "new connections", max),
    ):
        by_pair = {
            pair: values[measure]
            for pair, values in run["results"].get(work, {}).items()
            if pair not in ("direct", pairs.Against.name, pairs.Sidecars.name)
        }
        others = {pair: value for pair, value in by_pair.items() if pair != "qanat"}
        if "qanat" in by_pair and others:
            rival = best(others, key=others.get)
            ratio = by_pair["qanat"] / others[rival]
            verdicts.append(
                {
                    "target": "%s better than every other pair (best: %s)" % (measure, rival),
                    "workload": work,
                    "ratio": ratio,
                    "reached": ratio <= 1 if best is min else ratio >= 1,
                }
            )
    return verdicts


def print_verdicts(verdicts):
    print()
    for verdict in verdicts:
        print(
            "%-8s %-55s %-16s ratio %.2f"
            % ("reached" if verdict["reached"] else "MISSED", verdict["target"], verdict["workload"], verdict["ratio"])
        )


def read(path):
    with open(path) as file:
        return file.read().strip()


def machine():
    model = [
        line.split(":", 1)[1].strip() for line in read("/proc/cpuinfo").splitlines() if line.startswith("model name")
    ]
    return {
        "cpu": model[0] if model else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "load_before": os.getloadavg()[0],
    }


# ---- both congestion controls


def set_control(name):
    try:
        with open(CONGESTION, "w") as file:
            file.write(name)
        return True
    except OSError:
        return False


def two_controls():
    """The system's own, and one of the other kind. A namespace may be given only what the host allows to all users."""
    default = read(CONGESTION)
    others = ("cubic", "reno") if default == "bbr" else ("bbr",)
    usable = [other for other in others if set_control(other)]
    if not usable:
        sys.exit("the kernel gives a namespace none of: " + ", ".join(others))
    return [default, usable[0]]


def enter_namespace():
    if os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("ip"):
        sys.exit("--both-cc needs root, unshare and ip")
    words = [sys.executable, os.path.abspath(__file__), *sys.argv[1:], "--in-namespace"]
    os.execvp("unshare", ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *words])


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one repetition of 2 seconds: only to see that it works")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--both-cc", action="store_true")
    parser.add_argument("--in-namespace", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument(
        "--only", type=lambda text: text.split(","), help="pairs, by name: " + ", ".join(p.name for p in pairs.ALL)
    )
    parser.add_argument("--against", metavar="PROGRAM", help="another build of qanat, measured as %s" % pairs.Against.name)
    parser.add_argument("--out", default=os.path.join(ROOT, "build", "bench.json"))
    options = parser.parse_args()
    pairs.Against.program = os.path.abspath(options.against) if options.against else None
    options.quick = options.quick or os.environ.get("BENCH_QUICK", "") not in ("", "0")
    if options.quick:
        options.repetitions, options.seconds = 1, 2
    return options


def main():
    options = parse()
    if options.both_cc and not options.in_namespace:
        enter_namespace()
    report = {
        "machine": machine(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "repetitions": options.repetitions,
        "seconds": options.seconds,
        "runs": [],
    }
    for control in two_controls() if options.both_cc else [read(CONGESTION)]:
        if options.both_cc and not set_control(control):
            sys.exit("the kernel refuses congestion control %s" % control)
        run = run_once(options, control)
        run["verdicts"] = judge(run)
        report["runs"].append(run)
        print(table(run))
        print_verdicts(run["verdicts"])
        for name, why in run["left_out"].items():
            print("left out  %s: %s" % (name, why))
    os.makedirs(os.path.dirname(options.out), exist_ok=True)
    with open(options.out, "w") as file:
        json.dump(report, file, indent=1)
    with open(os.path.splitext(options.out)[0] + ".md", "w") as file:
        file.write("\n".join(markdown(run, report) for run in report["runs"]))
    print(
        "\n%s cores of %s, kernel %s; written to %s"
        % (
            report["machine"]["cores"],
            report["machine"]["cpu"],
            report["machine"]["kernel"],
            os.path.relpath(options.out, ROOT),
        )
    )


if __name__ == "__main__":
    main()
