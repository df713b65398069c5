"""Two hosts in network namespaces, joined by a wire, and processes in them. Names are unique to the test run and
everything is taken away at the end."""

import http.client
import json
import os
import random
import re
import shutil
import socket
import subprocess

import qanat
from qanat import PATIENCE, QANAT, wait

HERE = os.path.dirname(os.path.abspath(__file__))


def why_not():
    """Why this machine cannot run these tests; None when it can."""
    if os.geteuid() != 0:
        return "network namespaces and TUN devices need root"
    if not shutil.which("ip"):
        return "there is no ip program (iproute2)"
    if not os.path.exists("/dev/net/tun"):
        return "there is no /dev/net/tun"
    name = "qn%06x" % random.SystemRandom().randrange(1 << 24)
    made = subprocess.run(["ip", "netns", "add", name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if made.returncode != 0:
        return "network namespaces cannot be made here"
    entered = subprocess.run(["ip", "netns", "exec", name, "true"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    subprocess.run(["ip", "netns", "del", name])
    if entered.returncode != 0:
        return "network namespaces cannot be entered here: %s" % entered.stdout.decode(errors="replace").strip()
    return None


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=5 * PATIENCE)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Process:
    """Something that runs in a host, with its output in a file."""

    def __init__(self, host, command, log_path, environment=None, stdin=None, pass_fds=()):
        self.host, self.command, self.log_path = host, command, log_path
        self.start_at = os.path.getsize(log_path) if os.path.exists(log_path) else 0
        with open(log_path, "ab") as log:
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", host.name, *command],
                stdin=stdin or subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(environment or {})},
                pass_fds=pass_fds,
            )
        host.processes.append(self)

    def log(self):
        with open(self.log_path, "rb") as file:
            file.seek(self.start_at)
            return file.read().decode(errors="replace")

    def count(self, pattern):
        return len(re.findall(pattern, self.log()))

    def wait_log(self, pattern, seconds=20.0, times=1):
        def ask():
            if self.process.poll() is not None and self.count(pattern) < times:
                raise RuntimeError("%s ended with %s:\n%s" % (self.command, self.process.returncode, self.log()))
            return self.count(pattern) >= times

        try:
            wait(ask, "a line with %r, %d times" % (pattern, times), seconds)
        except qanat.Late as late:
            raise qanat.Late("%s\n---- %s\n%s" % (late, self.command, self.log()[-4000:])) from None
        return self

    def wait_end(self, seconds=20.0):
        status = self.process.wait(timeout=seconds * PATIENCE)
        return status

    def stop(self, status=0):
        self.process.terminate()
        found = self.wait_end()
        assert found == status, "exit status %s:\n%s" % (found, self.log()[-4000:])

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(timeout=20 * PATIENCE)


class Psk(Process):
    """`qanat psk server` or `qanat psk client`, with its status on a Unix socket."""

    WORD = "psk"

    def __init__(self, host, arguments, name, config=None, program=None, **options):
        self.socket_path = os.path.join(host.folder, name + ".sock")
        command = [program] if program else [QANAT, self.WORD]
        command += [*arguments, "--metrics-ip", "unix:" + self.socket_path]
        # Its default place is the machine's, and a killed process leaves it there.
        if not (config and "control" in config):
            command += ["--control-socket", "off"]
        if config is not None:
            self.config_path = os.path.join(host.folder, name + ".toml")
            self.write(config)
            command += ["-c", self.config_path]
        super().__init__(host, command, os.path.join(host.folder, name + ".log"), **options)

    def write(self, config):
        with open(self.config_path, "w") as file:
            file.write(qanat.toml(config))

    def get(self, path):
        connection = UnixConnection(self.socket_path)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def status(self):
        return json.loads(self.get("/status")[1])

    def metric(self, name):
        for line in self.get("/metrics")[1].splitlines():
            if line.rsplit(" ", 1)[0] == name:
                return float(line.rsplit(" ", 1)[1])
        raise AssertionError("no metric " + name)

    def wait_up(self, seconds=20.0):
        return self.wait_log("connected with", seconds)


class Vpn(Psk):
    """`qanat vpn server` or `qanat vpn client`."""

    WORD = "vpn"

    def wait_lanes(self, count, seconds=20.0):
        wait(lambda: self.status()["flows_open"] == count, "%d data connections" % count, seconds)
        return self


class Host:
    def __init__(self, name, folder):
        self.name, self.folder, self.processes = name, folder, []
        qanat.run(["ip", "netns", "add", name])
        qanat.run(["ip", "-n", name, "link", "set", "lo", "up"])

    def run(self, *command, seconds=60):
        return qanat.run(["ip", "netns", "exec", self.name, *command], seconds)

    def ip(self, *words):
        return qanat.run(["ip", "-n", self.name, *words])

    def start(self, *command, name, **options):
        return Process(self, command, os.path.join(self.folder, name + ".log"), **options)

    def peer(self, *words, name, **options):
        return self.start("/usr/bin/python3", os.path.join(HERE, "ttun_peer.py"), *words, name=name, **options)

    def ping(self, to, count=3):
        self.run("ping", "-n", "-q", "-c", str(count), "-i", "0.1", "-W", "5", to)

    def pings(self, to):
        try:
            self.run("ping", "-n", "-q", "-c", "1", "-W", "2", to)
        except AssertionError:
            return False
        return True

    def pings_large(self, to, size):
        """One that must not be cut; whether it is answered does not matter."""
        command = ["ip", "netns", "exec", self.name, "ping", "-q", "-c", "1", "-W", "1"]
        command += ["-M", "do", "-s", str(size), to]
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def pings_from(self, source, to):
        """Whether it is answered does not matter."""
        command = ["ip", "netns", "exec", self.name, "ping", "-n", "-q", "-c", "1", "-W", "1", "-I", source, to]
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def has_device(self, name):
        return re.search(r"\b%s:" % name, self.ip("-o", "link")) is not None

    def close(self):
        for process in self.processes:
            process.kill()
        subprocess.run(["ip", "netns", "del", self.name])


class Wire:
    """server (192.0.2.1, 2001:db8::1) ──── client (192.0.2.2, 2001:db8::2)"""

    def __init__(self, folder):
        tag = "%06x" % random.SystemRandom().randrange(1 << 24)
        self.server = Host("qs" + tag, folder)
        self.client = Host("qc" + tag, folder)
        self.server_end, self.client_end = "vs" + tag, "vc" + tag
        self.server.ip("link", "add", self.server_end, "type", "veth", "peer", "name", self.client_end, "netns",
                       self.client.name)
        for host, end, number in ((self.server, self.server_end, 1), (self.client, self.client_end, 2)):
            host.ip("addr", "add", "192.0.2.%d/24" % number, "dev", end)
            host.ip("addr", "add", "2001:db8::%d/64" % number, "dev", end, "nodad")
            host.ip("link", "set", end, "up")

    def close(self):
        self.client.close()
        self.server.close()
