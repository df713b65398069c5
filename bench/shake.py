#!/usr/bin/python3
"""What a full mutual TLS handshake costs a terminator: qanat proxy beside haproxy, nginx, stunnel and hitch, in one run.

    bench/shake.py [--seconds 4] [--repetitions 3] [--only qanat,haproxy] [--keys p256,ml-dsa-65] [--groups GROUP,...]

    shake (threads that dial, shake hands, say a byte and end) ══► terminator ──► echo

Measured: CPU of the terminator for each connection (handshake, dial of the target, one byte both ways, both ends), and
how many were done in a second. Every program is measured with every group that its OpenSSL has; only rows of the same
group compare. Repetitions are interleaved and medians reported. A program that is not installed, or whose OpenSSL knows
neither the group nor the key, is named and left out.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(ROOT, "bench"), os.path.join(ROOT, "tests", "e2e")]

import pairs  # noqa: E402
from qanat import HELPERS, QANAT, Certs, free_port, toml  # noqa: E402


class Terminator:
    name = ""
    program = ""

    def __init__(self, folder, certs, group, target):
        self.folder, self.certs, self.group, self.target = folder, certs, group, target
        self.port = free_port()
        self.process = None
        self.pem = os.path.join(folder, "server.pem")
        with open(self.pem, "w") as out:
            for part in (certs.server, certs.server_key):
                with open(part) as file:
                    out.write(file.read())
        os.chmod(self.pem, 0o600)

    def write(self, text):
        path = os.path.join(self.folder, "config")
        with open(path, "w") as file:
            file.write(text)
        return path

    def launch(self, command):
        log = os.path.join(self.folder, "log")
        self.process = pairs.start(command, log)
        pairs.wait_port(self.port, self.process, log)

    def stop(self):
        if self.process:
            pairs.end(self.process)


class Qanat(Terminator):
    name, program = "qanat", QANAT

    def start(self):
        config = {
            "proxy": {
                "listen": "127.0.0.1:%d" % self.port,
                "targets": "127.0.0.1:%d" % self.target,
                "cert_path": self.certs.server,
                "key_path": self.certs.server_key,
                "ca_cert_path": self.certs.ca,
                "client_cert_mode": "required",
            },
            "control": {"socket": "off"},
            "logging": {"level": "warn"},
        }
        path = self.write(toml(config)) + ".toml"
        os.rename(path[: -len(".toml")], path)
        self.launch([self.program, "proxy", "-c", path])


class Haproxy(Terminator):
    name, program = "haproxy", "haproxy"

    def start(self):
        text = (
            "global\n ssl-default-bind-options ssl-min-ver TLSv1.3 no-tls-tickets\n tune.ssl.cachesize 0\n"
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 1h\n timeout server 1h\n"
            "listen x\n bind 127.0.0.1:%d ssl crt %s ca-file %s verify required curves %s\n server s 127.0.0.1:%d\n"
        )
        text %= (self.port, self.pem, self.certs.ca, self.group, self.target)
        self.launch([pairs.find_program("haproxy"), "-db", "-f", self.write(text)])


class Nginx(Terminator):
    name, program = "nginx", "nginx"

    def start(self):
        module = pairs.Nginx.module
        head = "load_module %s;\n" % module if os.path.exists(module) else ""
        head += "user root;\n" if os.geteuid() == 0 else ""
        text = head + (
            "daemon off;\nworker_processes auto;\npid %s/pid;\nerror_log stderr error;\nevents { worker_connections 4096; }\n"
            "stream { server { listen 127.0.0.1:%d ssl backlog=4096; proxy_pass 127.0.0.1:%d; ssl_certificate %s;\n"
            " ssl_certificate_key %s; ssl_client_certificate %s; ssl_verify_client on; ssl_protocols TLSv1.3;\n"
            " ssl_session_tickets off; ssl_session_cache off; ssl_ecdh_curve %s; } }\n"
        )
        certs = self.certs
        text %= (self.folder, self.port, self.target, certs.server, certs.server_key, certs.ca, self.group)
        self.launch([pairs.find_program("nginx"), "-e", "stderr", "-p", self.folder, "-c", self.write(text)])


class Stunnel(Terminator):
    name, program = "stunnel", "stunnel"

    def start(self):
        text = (
            "foreground = yes\npid =\ndebug = err\nverifyChain = yes\nCAfile = %s\ncert = %s\nsslVersionMin = TLSv1.3\n"
            "curves = %s\noptions = NO_TICKET\nsessionCacheSize = 1\nsocket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n"
            "[x]\naccept = 127.0.0.1:%d\nconnect = 127.0.0.1:%d\n"
        )
        text %= (self.certs.ca, self.pem, self.group, self.port, self.target)
        self.launch([pairs.find_program("stunnel"), self.write(text)])


class Hitch(Terminator):
    name, program = "hitch", "hitch"

    def start(self):
        text = (
            'frontend = "[127.0.0.1]:%d"\nbackend = "[127.0.0.1]:%d"\npem-file = "%s"\nclient-verify = required\n'
            'client-verify-ca = "%s"\ntls-protos = TLSv1.3\necdh-curve = "%s"\nworkers = %d\nbacklog = 4096\nuser = "root"\n'
            'quiet = on\nworkers-tcp-fastopen = off\n'
        )
        text %= (self.port, self.target, self.pem, self.certs.ca, self.group, os.cpu_count())
        text = text.replace("workers-tcp-fastopen = off\n", "")
        self.launch([pairs.find_program("hitch"), "--config", self.write(text)])


ALL = [Qanat, Haproxy, Nginx, Stunnel, Hitch]


def shake(terminator, seconds):
    certs = terminator.certs
    before = pairs.cpu_seconds([terminator.process.pid])
    done = subprocess.run(
        [os.path.join(HELPERS, "shake"), "127.0.0.1:%d" % terminator.port, certs.ca, certs.client, certs.client_key,
         "--seconds", str(seconds), "--group", terminator.group],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=seconds + 60)
    cpu = pairs.cpu_seconds([terminator.process.pid]) - before
    said = json.loads(done.stdout or b"{}")
    if not said.get("done") or said["failed"]:
        raise RuntimeError("%d done, %d failed: %s" % (said.get("done", 0), said.get("failed", 0), done.stderr.decode()))
    return {"cpu_us_each": cpu / said["done"] * 1e6, "per_second": said["done"] / said["seconds"], "group": said["group"]}


def begin(make, folder, certs, group, target):
    if not pairs.find_program(make.program):
        raise RuntimeError("not installed")
    os.makedirs(folder)
    terminator = make(folder, certs, group, target)
    try:
        terminator.start()
        shake(terminator, 0.2)
    except Exception:
        terminator.stop()
        raise
    return terminator


def measure(options, folder, target, key, group):
    certs = Certs(os.path.join(folder, "certs-" + key), key=key) if not os.path.exists(
        os.path.join(folder, "certs-" + key)) else None
    certs = certs or known_certs(os.path.join(folder, "certs-" + key))
    running, left_out = [], {}
    for make in ALL:
        if options.only and make.name not in options.only:
            continue
        try:
            running.append(begin(make, os.path.join(folder, "%s-%s-%s" % (make.name, key, group)), certs, group, target))
        except (RuntimeError, OSError, AssertionError) as problem:
            left_out[make.name] = (str(problem).strip().splitlines() or ["does not start"])[-1][:120]
    samples = {}
    try:
        for _ in range(options.repetitions):
            for terminator in running:
                samples.setdefault(terminator.name, []).append(shake(terminator, options.seconds))
    finally:
        for terminator in running:
            terminator.stop()
    return {name: {word: statistics.median(one[word] for one in list_of) for word in ("cpu_us_each", "per_second")}
            for name, list_of in samples.items()}, left_out


def known_certs(folder):
    certs = Certs.__new__(Certs)
    certs.folder = folder
    for name in ("ca", "server", "client"):
        setattr(certs, name, certs.path(name + ".crt"))
        setattr(certs, name + "_key", certs.path(name + ".key"))
    return certs


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--repetitions", type=int, default=3)
    words = lambda text: text.split(",")  # noqa: E731
    parser.add_argument("--only", type=words)
    parser.add_argument("--keys", type=words, default=["p256", "ml-dsa-65"])
    parser.add_argument("--groups", type=words, default=["X25519MLKEM768", "X25519"])
    options = parser.parse_args()
    if os.environ.get("BENCH_QUICK", "") not in ("", "0"):
        options.seconds, options.repetitions = 1, 1
    target = free_port()
    echo = pairs.start([os.path.join(HELPERS, "echo"), "serve", "127.0.0.1:%d" % target], os.devnull)
    folder = tempfile.mkdtemp(prefix="qanat-shake-")
    try:
        pairs.wait_port(target, echo, os.devnull)
        for key in options.keys:
            for group in options.groups:
                results, left_out = measure(options, folder, target, key, group)
                print("\n%s, %s%18s%18s" % (key, group, "cpu_us_each", "per_second"))
                for name, values in results.items():
                    ratio = values["cpu_us_each"] / results.get("haproxy", values)["cpu_us_each"]
                    print("  %-12s %16.0f %16.0f   %.2f of haproxy" % (
                        name, values["cpu_us_each"], values["per_second"], ratio) if "haproxy" in results else
                        "  %-12s %16.0f %16.0f" % (name, values["cpu_us_each"], values["per_second"]))
                for name, why in left_out.items():
                    print("  left out  %s: %s" % (name, why))
                sys.stdout.flush()
    finally:
        pairs.end(echo)
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
