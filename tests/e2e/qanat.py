"""Real nodes for the tests: certificates, configurations, processes, and what they say of themselves.

Nothing here sleeps to synchronise: wait() polls a question until it is answered or its deadline passes, and the failure
says what was waited for, what was seen last, and what the nodes logged.
"""

import http.client
import json
import os
import random
import re
import resource
import shlex
import signal
import socket
import subprocess
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
QANAT = os.path.abspath(os.environ.get("QANAT", os.path.join(ROOT, "build", "qanat")))
HELPERS = os.path.abspath(os.environ.get("HELPERS", os.path.join(ROOT, "build", "release", "helpers")))
SANITIZED = re.search(r"/(san|tsan)/", QANAT) is not None
# Sanitizers make everything slower; deadlines are for hanging, not for measuring.
PATIENCE = 4 if SANITIZED else 1


def openssl_path():
    found = os.environ.get("OPENSSL")
    if found:
        return found
    try:
        with open(os.path.join(ROOT, "build", "deps.mk")) as file:
            return re.search(r"^OPENSSL_BIN := (\S+)", file.read(), re.MULTILINE).group(1)
    except (OSError, AttributeError):
        return "openssl"


OPENSSL = openssl_path()


class Late(AssertionError):
    """A deadline passed."""


def wait(question, reason, seconds=20.0, every=0.02):
    """Polls until question() is true; returns its answer. An AssertionError or OSError inside counts as "not yet"."""
    deadline = time.monotonic() + seconds * PATIENCE
    last = None
    while True:
        try:
            last = question()
            if last:
                return last
        except (AssertionError, OSError, http.client.HTTPException) as error:
            last = repr(error)
        if time.monotonic() > deadline:
            raise Late("not within %g s: %s (seen last: %s)" % (seconds * PATIENCE, reason, last))
        time.sleep(every)


GIVEN_PORTS = set()


def free_port(host="127.0.0.1"):
    """
    A port below the ephemeral range, so that no outgoing connection of another test takes it meanwhile. Never the same
    one again: the first may not be listened on yet.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for _ in range(200):
        port = random.SystemRandom().randrange(10000, 32000)
        if port in GIVEN_PORTS:
            continue
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((host, port))
                GIVEN_PORTS.add(port)
                return port
            except OSError:
                continue
    raise AssertionError("no free port on %s" % host)


# ---- certificates


class Certs:
    """A throw-away CA with a server and a client certificate, made by `qanat cert`."""

    def __init__(self, folder, names="localhost", ips="127.0.0.1,::1", key="p256"):
        self.folder = folder
        os.makedirs(folder, exist_ok=True)
        self.ca, self.ca_key = self.path("ca.crt"), self.path("ca.key")
        self.server, self.server_key = self.path("server.crt"), self.path("server.key")
        self.client, self.client_key = self.path("client.crt"), self.path("client.key")
        issuer = ["--ca-cert", self.ca, "--ca-key", self.ca_key]
        self.make("ca", self.ca, self.ca_key, "--common-name", "Test CA", "--key", key)
        self.make(
            "server",
            self.server,
            self.server_key,
            "--common-name",
            "dest.test",
            "--dns-names",
            names,
            "--ip-addresses",
            ips,
            "--key",
            key,
            *issuer
        )
        self.make("client", self.client, self.client_key, "--common-name", "source.test", "--key", key, *issuer)

    def path(self, name):
        return os.path.join(self.folder, name)

    def make(self, kind, cert, key, *options):
        run([QANAT, "cert", kind, "--out-cert", cert, "--out-key", key, *options])

    def by_openssl(
        self,
        name,
        usage,
        not_before=None,
        not_after=None,
        subject="/CN=source.test",
        san=None,
        key_type=("ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
    ):
        """A certificate that `qanat cert` would not make. Returns the paths of certificate and key."""
        cert, key = self.path(name + ".crt"), self.path(name + ".key")
        command = [
            OPENSSL,
            "req",
            "-x509",
            "-new",
            "-nodes",
            "-newkey",
            *key_type,
            "-subj",
            subject,
            "-CA",
            self.ca,
            "-CAkey",
            self.ca_key,
            "-out",
            cert,
            "-keyout",
            key,
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-addext",
            "keyUsage=critical,digitalSignature",
        ]
        if usage:
            command += ["-addext", "extendedKeyUsage=" + usage]
        if san:
            command += ["-addext", "subjectAltName=" + san]
        if not_before:
            command += ["-not_before", not_before, "-not_after", not_after]
        else:
            command += ["-days", "30"]
        run(command)
        os.chmod(key, 0o600)
        return cert, key


def run(command, seconds=60, **options):
    """Runs to the end; a failure shows the command and what it said."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=seconds * PATIENCE,
        **options
    )
    assert done.returncode == 0, "%s: exit status %d\n%s%s" % (
        shlex.join(command),
        done.returncode,
        done.stdout.decode(errors="replace"),
        done.stderr.decode(errors="replace"),
    )
    return done.stdout.decode(errors="replace")


# ---- configurations


def toml(config):
    """{"dest": {"port": 1, "services": [{...}]}} as TOML: tables, arrays of tables, strings, numbers, booleans."""
    lines = []
    for section, values in config.items():
        lines.append("[%s]" % section)
        for key, value in values.items():
            if not is_tables(value) and value not in (None, []):
                lines.append("%s = %s" % (key, json.dumps(value)))
        for key, value in values.items():
            for table in value if is_tables(value) else []:
                lines.append("[[%s.%s]]" % (section, key))
                lines += ["%s = %s" % (name, json.dumps(item)) for name, item in table.items()]
    return "\n".join(lines) + "\n"


def is_tables(value):
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def merge(base, extra):
    """extra wins, section by section and key by key."""
    result = {section: dict(values) for section, values in base.items()}
    for section, values in (extra or {}).items():
        result.setdefault(section, {}).update(values)
    return result


# ---- nodes


class Node:
    """One running `qanat source` or `qanat dest`."""

    def __init__(self, command, config, folder, name, environment=None, arguments=(), descriptor_limit=None):
        self.command, self.name, self.folder = command, name, folder
        self.config_path = os.path.join(folder, name + ".toml")
        self.log_path = os.path.join(folder, name + ".log")
        self.environment, self.arguments = environment, list(arguments)
        self.descriptor_limit = descriptor_limit  # (soft, hard) limit to start with
        self.config = config
        self.expects = 0  # exit status after SIGTERM
        self.process = None
        self.prefix = []  # a command that runs it
        self.log_start = 0
        with open(self.config_path, "w") as file:
            file.write(toml(config))

    def start(self):
        assert self.process is None
        self.log_start = os.path.getsize(self.log_path) if os.path.exists(self.log_path) else 0
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, QANAT, self.command, "-c", self.config_path, *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Its control socket lies beside its log, not where other tests would meet it.
                env={**os.environ, "RUNTIME_DIRECTORY": self.folder, **(self.environment or {})},
                preexec_fn=self.limit if self.descriptor_limit else None,
            )
        return self

    def write_config(self, config=None, text=None):
        """A new configuration in the place of the old one, whole at every moment."""
        if config is not None:
            self.config = config
        with open(self.config_path + ".new", "w") as file:
            file.write(toml(self.config) if text is None else text)
        os.replace(self.config_path + ".new", self.config_path)

    def reloads(self):
        """How many reloads have been carried out, how many refused."""
        values = self.metrics()
        return tuple(int(values['qanat_reloads_total{outcome="%s"}' % outcome]) for outcome in ("ok", "refused"))

    def reload(self, config=None, text=None, ok=True):
        """SIGHUP after the configuration was replaced; waits until it was carried out, or refused."""
        before = self.reloads()
        self.write_config(config, text)
        self.process.send_signal(signal.SIGHUP)
        self.wait(lambda: self.reloads() != before, "the reload to have an outcome")
        after = self.reloads()
        assert after == ((before[0] + 1, before[1]) if ok else (before[0], before[1] + 1)), "%s -> %s\n%s" % (
            before,
            after,
            self.log()[-3000:],
        )

    def limit(self):
        resource.setrlimit(resource.RLIMIT_NOFILE, self.descriptor_limit)

    @property
    def pid(self):
        return self.process.pid

    def log(self):
        """What the running process has logged; earlier runs of the same node are left out."""
        with open(self.log_path, "rb") as file:
            file.seek(self.log_start)
            return file.read().decode(errors="replace")

    def whole_log(self):
        with open(self.log_path, "rb") as file:
            return file.read().decode(errors="replace")

    def assert_alive(self):
        status = self.process.poll()
        if status is not None:
            raise RuntimeError("%s ended with status %s:\n%s" % (self.name, status, self.log()))

    def wait(self, question, reason, seconds=20.0):
        def ask():
            self.assert_alive()
            return question()

        try:
            return wait(ask, "%s: %s" % (self.name, reason), seconds)
        except Late as late:
            raise Late("%s\n---- log of %s\n%s" % (late, self.name, self.log()[-6000:])) from None

    def wait_log(self, pattern, seconds=20.0):
        return self.wait(lambda: re.search(pattern, self.log()), "a log line with %r" % pattern, seconds)

    def http_port(self):
        found = re.search(r"status on http://127\.0\.0\.1:(\d+)/", self.log())
        assert found, "no line 'status on http://127.0.0.1:PORT/' yet"
        return int(found.group(1))

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port(), timeout=5 * PATIENCE)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def control_socket(self):
        found = re.search(r"control socket: (\S+)", self.log())
        assert found, "no line 'control socket: PATH' yet"
        return found.group(1)

    def ask(self, *words, status=0, environment=None):
        """`qanat status`, `reload` or `drain`: (standard output, standard error)."""
        done = subprocess.run(
            [QANAT, words[0], "--control-socket", self.control_socket(), *words[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=60 * PATIENCE,
            env={**os.environ, **(environment or {})},
        )
        out, err = done.stdout.decode(), done.stderr.decode()
        assert done.returncode == status, "%s: %d\n%s%s" % (words, done.returncode, out, err)
        return out, err

    def is_ready(self):
        return self.get("/health")[0] == 200

    def wait_ready(self, seconds=20.0):
        self.wait(self.is_ready, "/health to say 200", seconds)
        return self

    def status(self):
        code, text = self.get("/status")
        assert code == 200, text
        return json.loads(text)

    def links_up(self):
        return [link for link in self.status()["links"] if link["state"] == "up"]

    def link(self):
        """The one link that is up."""
        links = self.links_up()
        assert len(links) == 1, "%d links are up" % len(links)
        return links[0]

    def metrics(self):
        code, text = self.get("/metrics")
        assert code == 200, text
        values = {}
        for line in text.splitlines():
            if line and not line.startswith("#"):
                key, value = line.rsplit(" ", 1)
                values[key] = float(value)
        return values

    def metric(self, name, **labels):
        """The value of the metric whose labels are exactly these."""
        for key, value in self.metrics().items():
            found = re.fullmatch(r"([a-zA-Z0-9_:]+)(?:\{(.*)\})?", key)
            if found and found.group(1) == name:
                given = dict(re.findall(r'([a-z_]+)="([^"]*)"', found.group(2) or ""))
                if given == labels:
                    return value
        raise AssertionError("no metric %s%s" % (name, labels))

    def wait_metric(self, at_least, name, seconds=20.0, **labels):
        return self.wait(
            lambda: self.metric(name, **labels) >= at_least, "%s%s to reach %g" % (name, labels, at_least), seconds
        )

    def memory(self):
        """Resident bytes."""
        with open("/proc/%d/status" % self.pid) as file:
            return int(re.search(r"VmRSS:\s+(\d+) kB", file.read()).group(1)) * 1024

    def descriptors(self):
        return len(os.listdir("/proc/%d/fd" % self.pid))

    def cpu_seconds(self):
        with open("/proc/%d/stat" % self.pid) as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self):
        """As a crash would: no farewell."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self, seconds=15.0):
        """SIGTERM; the exit status must be 0 and no sanitizer may have complained."""
        if self.process is None:
            return
        process, self.process = self.process, None
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            status = process.wait(seconds * PATIENCE)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)
            process.wait(10 * PATIENCE)
            raise Late(
                "%s did not end within %g s of SIGTERM\n%s" % (self.name, seconds * PATIENCE, self.log()[-6000:])
            )
        assert status == self.expects, "%s: exit status %d, not %d\n%s" % (
            self.name,
            status,
            self.expects,
            self.log()[-6000:],
        )

    def assert_clean(self):
        for mark in (
            "ERROR: AddressSanitizer",
            "ERROR: LeakSanitizer",
            "WARNING: ThreadSanitizer",
            "runtime error:",
            "Assertion `",
        ):
            log = self.whole_log()
            at = log.find(mark)
            assert at < 0, "%s: %s" % (self.name, log[at : at + 6000])


PROCESS_OPTIONS = "environment", "arguments", "descriptor_limit"


class World:
    """What one test starts, and stops at its end in the right order."""

    def __init__(self, folder, certs):
        self.folder, self.certs = folder, certs
        self.nodes = []
        self.others = []  # anything with close()

    def add(self, other):
        self.others.append(other)
        return other

    def let_others_in(self):
        """Users other than ours can reach what lies in the world's folder, if its own mode lets them."""
        at = self.folder
        while at != "/":
            if os.stat(at).st_uid == os.geteuid():
                os.chmod(at, os.stat(at).st_mode | 0o011)
            at = os.path.dirname(at)

    def node(self, command, config, name, **options):
        node = Node(command, config, self.folder, name, **options)
        self.nodes.append(node)
        return node

    def dest_config(self, services, port=None, certs=None, **sections):
        certs = certs or self.certs
        base = {
            "dest": {
                "listen_ip": "127.0.0.1",
                "tunnel_port": port or free_port(),
                "exposed_services": [
                    service if isinstance(service, dict) else to_service(*service) for service in services
                ],
            },
            "auth": {"ca_cert_path": certs.ca, "server_cert_path": certs.server, "server_key_path": certs.server_key},
            "crypto": {"kem_mode": "hybrid"},
            "logging": {"level": "debug"},
            "metrics": {"metrics_port": 0},
            "node": {"name": "dest.node", "drain_timeout_seconds": 2},
        }
        return merge(base, sections)

    def source_config(self, dest_port, forwards=(), certs=None, **sections):
        certs = certs or self.certs
        base = {
            "source": {
                "listen_ip": "127.0.0.1",
                "dest_host": "127.0.0.1",
                "dest_tunnel_port": dest_port,
                "initial_reconnect_delay_ms": 50,
                "max_reconnect_delay_ms": 400,
                "connection_timeout_ms": 10000 * PATIENCE,
                "forwards": [{"listen": listen, "service": name} for listen, name in forwards],
            },
            "auth": {"ca_cert_path": certs.ca, "client_cert_path": certs.client, "client_key_path": certs.client_key},
            "crypto": {"kem_mode": "hybrid"},
            "logging": {"level": "debug"},
            "metrics": {"metrics_port": 0},
            "node": {"name": "source.node", "drain_timeout_seconds": 2},
        }
        return merge(base, sections)

    def dest(self, services, name="dest", ready=True, **options):
        """services: (name, address) pairs; an address is (host, port) or a Unix path."""
        process_options = {key: options.pop(key) for key in PROCESS_OPTIONS if key in options}
        node = self.node("dest", self.dest_config(services, **options), name, **process_options).start()
        return node.wait_ready() if ready else node

    def source(self, dest_port, forwards=(), name="source", ready=True, **options):
        """forwards: (listen, service) pairs. dest_port: a number, or the node."""
        if isinstance(dest_port, Node):
            dest_port = dest_port.config["dest"]["tunnel_port"]
        process_options = {key: options.pop(key) for key in PROCESS_OPTIONS if key in options}
        node = self.node("source", self.source_config(dest_port, forwards, **options), name, **process_options).start()
        return node.wait_ready() if ready else node

    def pair(self, target, source_options=None, **sections):
        """client -> (returned address) source ==== dest -> target; both nodes are ready."""
        dest = self.dest([("service", target)], **sections)
        port = free_port()
        source = self.source(dest, [("127.0.0.1:%d" % port, "service")], **(source_options or {}), **sections)
        return ("127.0.0.1", port), source, dest

    def close(self):
        """Stops everything, then reports the first thing that was wrong."""
        problems = []
        for action in (
            [node.stop for node in reversed(self.nodes)]
            + [other.close for other in reversed(self.others)]
            + [node.assert_clean for node in self.nodes]
        ):
            try:
                action()
            except Exception as problem:  # everything must be stopped before anything is reported
                problems.append(problem)
        for node in self.nodes:
            node.kill()
        if problems:
            raise problems[0]


def to_service(name, target, port=None):
    if isinstance(target, str):
        return {"name": name, "port": port or free_port(), "target_ip": "unix:" + target, "protocol": "tcp"}
    return {
        "name": name,
        "port": port or target[1],
        "target_ip": target[0],
        "target_port": target[1],
        "protocol": "tcp",
    }
