"""The pairs that are compared. Each offers local ports that lead through it: one to iperf3, one to the echo server, and
where it can carry datagrams one to the server that answers those.

    client ──► near port: A ══════ B ──► Servers
"""

import getpass
import os
import re
import shutil
import signal
import subprocess

from qanat import HELPERS, QANAT, Certs, free_port, run, toml, wait
from peers import dial

TICKS = os.sysconf("SC_CLK_TCK")


# ---- what processes cost


def family(pids):
    """These processes and all that descend from them."""
    children = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = stat_fields(int(name))
            if fields:
                children.setdefault(int(fields[1]), []).append(int(name))
    found, queue = [], list(pids)
    while queue:
        pid = queue.pop()
        found.append(pid)
        queue += children.get(pid, [])
    return found


def stat_fields(pid):
    """The fields of /proc/PID/stat behind the name: state, parent, ..."""
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rsplit(")", 1)[1].split()
    except OSError:
        return None


def cpu_seconds(pids):
    """User and system time, of living descendants and of those that were waited for."""
    ticks = 0
    for pid in family(pids):
        fields = stat_fields(pid)
        if fields:
            ticks += sum(int(field) for field in fields[11:15])
    return ticks / TICKS


def resident_mib(pids):
    total = 0
    for pid in family(pids):
        fields = stat_fields(pid)
        if fields:
            total += int(fields[21]) * os.sysconf("SC_PAGESIZE")
    return total / 2**20


# ---- processes


def start(command, log, **options):
    with open(log, "ab") as file:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True, **options
        )


def end(process):
    """The whole session of a process that start() made."""
    try:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(5)
    except (ProcessLookupError, subprocess.TimeoutExpired):
        pass
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def wait_port(port, process, log):
    def is_open():
        if process.poll() is not None:
            with open(log, errors="replace") as file:
                raise RuntimeError("it ended: %s" % file.read()[-2000:])
        dial(("127.0.0.1", port)).close()
        return True

    wait(is_open, "port %d to listen" % port)


class Servers:
    """What stands behind every pair."""

    def __init__(self):
        self.bulk_port, self.echo_port, self.udp_port = free_port(), free_port(), free_port()
        self.processes = [
            start(["iperf3", "-s", "-B", "127.0.0.1", "-p", str(self.bulk_port)], os.devnull),
            start([os.path.join(HELPERS, "echo"), "serve", "127.0.0.1:%d" % self.echo_port], os.devnull),
        ]
        if os.path.exists(os.path.join(HELPERS, "udp")):
            command = [os.path.join(HELPERS, "udp"), "serve", "127.0.0.1:%d" % self.udp_port]
            self.processes.append(start(command, os.devnull))
        else:
            self.udp_port = None
        for port, process in zip((self.bulk_port, self.echo_port), self.processes):
            wait_port(port, process, os.devnull)

    def stop(self):
        for process in self.processes:
            end(process)


def find_program(name):
    """Also where distributions keep what is usually a service, which is not on everybody's path."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


class Pair:
    name = ""
    programs = ()
    note = ""  # for the table: versions, and what had to differ

    def __init__(self, folder):
        self.folder = folder
        self.processes = []
        self.bulk_port, self.echo_port = free_port(), free_port()
        self.udp_port = None  # datagrams are not carried

    @classmethod
    def missing(cls):
        absent = [program for program in cls.programs if not find_program(program)]
        return "%s not installed" % ", ".join(absent) if absent else None

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text):
        with open(self.path(name), "w") as file:
            file.write(text)
        return self.path(name)

    def launch(self, name, command, port=None):
        process = start(command, self.path(name + ".log"))
        self.processes.append(process)
        if port:
            wait_port(port, process, self.path(name + ".log"))
        return process

    def pids(self):
        return [process.pid for process in self.processes]

    def start(self, servers):
        raise NotImplementedError

    def stop(self):
        for process in reversed(self.processes):
            end(process)


class Direct(Pair):
    name = "direct"
    programs = ("iperf3",)

    def start(self, servers):
        self.bulk_port, self.echo_port, self.udp_port = servers.bulk_port, servers.echo_port, servers.udp_port


class Qanat(Pair):
    name = "qanat"
    program = QANAT
    note = "both ends hybrid (X25519, ML-KEM-768, McEliece), AES-256-GCM"

    def start(self, servers):
        certs = Certs(self.path("certs"))
        tunnel = free_port()
        shared = {"metrics": {"metrics_port": 0}, "node": {"name": "bench", "drain_timeout_seconds": 0}}
        dest = {
            "dest": {
                "listen_ip": "127.0.0.1",
                "tunnel_port": tunnel,
                "exposed_services": [
                    {"name": name, "port": port, "target_ip": "127.0.0.1", "target_port": port}
                    for name, port in (("bulk", servers.bulk_port), ("echo", servers.echo_port))
                ],
            },
            "auth": {"ca_cert_path": certs.ca, "server_cert_path": certs.server, "server_key_path": certs.server_key},
            **shared,
        }
        source = {
            "source": {
                "dest_host": "127.0.0.1",
                "dest_tunnel_port": tunnel,
                "forwards": [
                    {"listen": "127.0.0.1:%d" % self.bulk_port, "service": "bulk"},
                    {"listen": "127.0.0.1:%d" % self.echo_port, "service": "echo"},
                ],
            },
            "auth": {"ca_cert_path": certs.ca, "client_cert_path": certs.client, "client_key_path": certs.client_key},
            **shared,
        }
        self.add_datagrams(dest, source, servers)
        self.launch("dest", [self.program, "dest", "-c", self.write("dest.toml", toml(dest))], tunnel)
        self.launch("source", [self.program, "source", "-c", self.write("source.toml", toml(source))], self.echo_port)
        wait(lambda: exchange(self.echo_port), "an echo through qanat")


    def add_datagrams(self, dest, source, servers):
        """Unless this build does not carry them: then its configuration says so."""
        if not servers.udp_port:
            return
        port = free_port()
        with_udp = {**source, "source": {**source["source"], "exposed_ports": [{"port": port, "protocol": "udp"}]}}
        if subprocess.run(
            [self.program, "check", "-c", self.write("udp.toml", toml(with_udp))], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ).returncode:
            return
        source.update(with_udp)
        dest["dest"]["exposed_services"].append(
            {
                "name": "datagrams",
                "port": port,
                "target_ip": "127.0.0.1",
                "target_port": servers.udp_port,
                "protocol": "udp",
            }
        )
        self.udp_port = port


class Against(Qanat):
    """Another build of qanat (--against), so that a change is measured in one run with what it changes."""

    name = "qanat-other"
    program = None
    note = "another build of qanat"

    @classmethod
    def missing(cls):
        return None if cls.program else "no other build was given (--against)"


class Sidecars(Pair):
    """Two `qanat proxy` back to back, as those of other programs below. With one default target each, bulk and echo
    have sidecars of their own."""

    name = "qanat-proxy"
    program = QANAT
    note = "qanat proxy in client and server mode: X25519MLKEM768, AES-256-GCM"

    def start(self, servers):
        certs = Certs(self.path("certs"))
        for name, near, target in (
            ("bulk", self.bulk_port, servers.bulk_port),
            ("echo", self.echo_port, servers.echo_port),
        ):
            tunnel = free_port()
            self.serve(name + "-far", tunnel, target, {
                "cert_path": certs.server, "key_path": certs.server_key, "ca_cert_path": certs.ca,
                "client_cert_mode": "required"})
            self.serve(name + "-near", near, tunnel, {
                "mode": "client", "cert_path": certs.client, "key_path": certs.client_key, "ca_cert_path": certs.ca})
        wait(lambda: exchange(self.echo_port), "an echo through qanat proxy")

    def serve(self, name, listen, target, options):
        config = {
            "proxy": {"listen": "127.0.0.1:%d" % listen, "targets": "127.0.0.1:%d" % target, **options},
            "control": {"socket": "off"},
            "logging": {"level": "warn"},
        }
        self.launch(name, [self.program, "proxy", "-c", self.write(name + ".toml", toml(config))], listen)


def exchange(port):
    with dial(("127.0.0.1", port)) as connection:
        connection.sendall(b"?")
        return connection.recv(1) == b"?"


class Socat(Pair):
    """Two plain copies, nothing encrypted: what two hops cost by themselves. As people type it, with blocks of 8 KiB."""

    name = "socat"
    programs = ("socat",)
    note = "no encryption, blocks of 8 KiB as it is typed"
    options = ()

    def start(self, servers):
        self.udp_port = free_port() if servers.udp_port else None
        between = free_port()
        for listen, to in ((between, servers.udp_port), (self.udp_port, between)) if servers.udp_port else ():
            command = "UDP-LISTEN:%d,bind=127.0.0.1,fork" % listen, "UDP:127.0.0.1:%d" % to
            self.launch("socat-udp-%d" % listen, ["socat", *self.options, *command])
        for near, target in ((self.bulk_port, servers.bulk_port), (self.echo_port, servers.echo_port)):
            between = free_port()
            for listen, to in ((between, target), (near, between)):
                self.launch(
                    "socat-%d" % listen,
                    [
                        "socat",
                        *self.options,
                        "TCP-LISTEN:%d,bind=127.0.0.1,fork,reuseaddr,nodelay,backlog=4096" % listen,
                        "TCP:127.0.0.1:%d,nodelay" % to,
                    ],
                    listen,
                )


class Socat64(Socat):
    """The same with the block size that suits it best."""

    name = "socat-64k"
    note = "no encryption, -b 65536"
    options = ("-b", "65536")


class Ssh(Pair):
    name = "ssh"
    programs = ("ssh", "ssh-keygen")
    note = "ssh -L, aes256-gcm@openssh.com"
    server = "/usr/sbin/sshd"

    @classmethod
    def missing(cls):
        return super().missing() or (None if os.path.exists(cls.server) else "sshd not installed")

    def start(self, servers):
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)  # where sshd confines its unprivileged part
        for name in ("host", "user"):
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.path(name)])
        port = free_port()
        config = self.write(
            "sshd_config",
            (
                "ListenAddress 127.0.0.1:%d\nHostKey %s\nAuthorizedKeysFile %s\nPidFile none\nStrictModes no\n"
                "UsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\nAllowTcpForwarding yes\n"
                "MaxSessions 1000\n"
            )
            % (port, self.path("host"), self.path("user.pub")),
        )
        self.launch("sshd", [self.server, "-D", "-e", "-f", config], port)
        forwards = []
        for near, target in ((self.bulk_port, servers.bulk_port), (self.echo_port, servers.echo_port)):
            forwards += ["-L", "127.0.0.1:%d:127.0.0.1:%d" % (near, target)]
        self.launch(
            "ssh",
            [
                "ssh",
                "-F",
                "none",
                "-N",
                "-p",
                str(port),
                "-i",
                self.path("user"),
                "-c",
                "aes256-gcm@openssh.com",
                "-o",
                "StrictHostKeyChecking=no",
                "-o",
                "UserKnownHostsFile=/dev/null",
                "-o",
                "ExitOnForwardFailure=yes",
                *forwards,
                "%s@127.0.0.1" % getpass.getuser(),
            ],
            self.echo_port,
        )


SUITE = "TLS_AES_256_GCM_SHA384"


class TlsPair(Pair):
    """Others that carry TCP in mutual TLS 1.3: two instances of one program, back to back. Session resumption is left as
    each has it by default; buffers are what each does best with."""

    version_command = ()

    def __init__(self, folder):
        super().__init__(folder)
        said = subprocess.run(
            [find_program(self.programs[0]), *self.version_command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=20,
        ).stdout.decode(errors="replace")
        # What it runs with is named last; some name what they were built with before.
        libraries = re.findall(r"OpenSSL (\d+)\.(\d+)(\.\d+)", said)
        version = tuple(int(part) for part in libraries[-1][:2]) if libraries else (0, 0)
        self.group = "X25519MLKEM768" if version >= (3, 5) else "X25519"
        own = re.search(r"(?i)%s(?: version|/)?\s*(\d[\w.]*)" % self.programs[0], said)
        self.note = "%s, OpenSSL %s: %s, AES-256-GCM%s" % (
            own.group(1) if own else "version unknown",
            "%s.%s%s" % libraries[-1] if libraries else "unknown",
            self.group,
            "" if version >= (3, 5) else " (its library has no post-quantum group)",
        )

    def start(self, servers):
        certs = Certs(self.path("certs"))
        for name in ("server", "client"):
            with open(self.path(name + ".pem"), "w") as out:
                for part in (name + ".crt", name + ".key"):
                    with open(certs.path(part)) as file:
                        out.write(file.read())
            os.chmod(self.path(name + ".pem"), 0o600)
        tunnels = free_port(), free_port()
        routes = [
            ("bulk", self.bulk_port, tunnels[0], servers.bulk_port),
            ("echo", self.echo_port, tunnels[1], servers.echo_port),
        ]
        self.start_far(certs, routes)
        self.start_near(certs, routes)
        wait(lambda: exchange(self.echo_port), "an echo through %s" % self.name)

    def start_far(self, certs, routes):
        raise NotImplementedError

    def start_near(self, certs, routes):
        raise NotImplementedError


class Haproxy(TlsPair):
    name = "haproxy"
    programs = ("haproxy",)
    version_command = ("-vv",)
    # Buffers of 16, 32 and 64 KiB were tried in one run: 32 KiB was best, by little.
    head = (
        "global\n tune.bufsize 32768\n ssl-default-bind-ciphersuites {suite}\n ssl-default-server-ciphersuites {suite}\n"
        " ssl-default-bind-options ssl-min-ver TLSv1.3\n ssl-default-server-options ssl-min-ver TLSv1.3\n"
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 1h\n timeout server 1h\n"
    ).format(suite=SUITE)

    def serve(self, name, text, port):
        self.launch(name, [find_program("haproxy"), "-db", "-f", self.write(name + ".cfg", text)], port)

    def start_far(self, certs, routes):
        text = self.head + "".join(
            "listen %s\n bind 127.0.0.1:%d ssl crt %s ca-file %s verify required curves %s\n server s 127.0.0.1:%d\n"
            % (name, tunnel, self.path("server.pem"), certs.ca, self.group, target)
            for name, _, tunnel, target in routes
        )
        self.serve("far", text, routes[1][2])

    def start_near(self, certs, routes):
        text = self.head + "".join(
            "listen %s\n bind 127.0.0.1:%d\n server s 127.0.0.1:%d ssl crt %s ca-file %s verify required\n"
            % (name, near, tunnel, self.path("client.pem"), certs.ca)
            for name, near, tunnel, _ in routes
        )
        self.serve("near", text, routes[1][1])


class Nginx(TlsPair):
    name = "nginx"
    programs = ("nginx",)
    version_command = ("-V",)
    # 16 KiB (its default) and 64 KiB were tried in one run: no difference that stood out of the noise.
    module = "/usr/lib/nginx/modules/ngx_stream_module.so"

    @classmethod
    def missing(cls):
        absent = super().missing()
        if absent:
            return absent
        said = subprocess.run([find_program("nginx"), "-V"], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        built_in = re.search(rb"--with-stream(\s|$)", said.stderr)
        return None if built_in or os.path.exists(cls.module) else "its stream module is not installed"

    def serve(self, name, servers, port):
        head = "load_module %s;\n" % self.module if os.path.exists(self.module) else ""
        head += "user %s;\n" % getpass.getuser() if os.geteuid() == 0 else ""
        head += "daemon off;\nworker_processes auto;\npid %s;\nerror_log stderr error;\n" % self.path(name + ".pid")
        text = head + "events { worker_connections 4096; }\nstream {\n proxy_buffer_size 16k;\n%s}\n" % servers
        config = self.write(name + ".conf", text)
        self.launch(name, [find_program("nginx"), "-e", "stderr", "-p", self.folder, "-c", config], port)

    def start_far(self, certs, routes):
        text = "".join(
            " server { listen 127.0.0.1:%d ssl backlog=4096; proxy_pass 127.0.0.1:%d; ssl_certificate %s;\n"
            "  ssl_certificate_key %s; ssl_client_certificate %s; ssl_verify_client on; ssl_protocols TLSv1.3;\n"
            "  ssl_conf_command Ciphersuites %s; ssl_ecdh_curve %s; }\n"
            % (tunnel, target, certs.server, certs.server_key, certs.ca, SUITE, self.group)
            for _, _, tunnel, target in routes
        )
        self.serve("far", text, routes[1][2])

    def start_near(self, certs, routes):
        text = "".join(
            " server { listen 127.0.0.1:%d backlog=4096; proxy_pass 127.0.0.1:%d; proxy_ssl on; proxy_ssl_certificate %s;\n"
            "  proxy_ssl_certificate_key %s; proxy_ssl_trusted_certificate %s; proxy_ssl_verify on;\n"
            "  proxy_ssl_name localhost; proxy_ssl_protocols TLSv1.3; proxy_ssl_conf_command Ciphersuites %s; }\n"
            % (near, tunnel, certs.client, certs.client_key, certs.ca, SUITE)
            for _, near, tunnel, _ in routes
        )
        self.serve("near", text, routes[1][1])


class Stunnel(TlsPair):
    name = "stunnel"
    programs = ("stunnel",)
    version_command = ("-version",)
    head = (
        "foreground = yes\npid =\ndebug = err\nverifyChain = yes\nCAfile = {ca}\ncert = {cert}\n"
        "sslVersionMin = TLSv1.3\nciphersuites = {suite}\ncurves = {group}\n"
        "socket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n{more}"
    )

    def serve(self, name, certs, cert, more, services, port):
        text = self.head.format(ca=certs.ca, cert=self.path(cert), suite=SUITE, group=self.group, more=more)
        text += "".join("[%s]\naccept = 127.0.0.1:%d\nconnect = 127.0.0.1:%d\n" % service for service in services)
        self.launch(name, [find_program("stunnel"), self.write(name + ".conf", text)], port)

    def start_far(self, certs, routes):
        services = [(name, tunnel, target) for name, _, tunnel, target in routes]
        self.serve("far", certs, "server.pem", "", services, routes[1][2])

    def start_near(self, certs, routes):
        services = [(name, near, tunnel) for name, near, tunnel, _ in routes]
        self.serve("near", certs, "client.pem", "client = yes\n", services, routes[1][1])


ALL = [Direct, Qanat, Against, Sidecars, Socat, Socat64, Ssh, Haproxy, Nginx, Stunnel]
