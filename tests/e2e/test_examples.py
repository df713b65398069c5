"""Every pair of example configurations, started as it is printed: only addresses, ports and paths are ours."""

import json
import os
import re
import socket
import threading

import pytest

import peers
from peers import Server, dial
from qanat import ROOT, Certs, free_port, wait

EXAMPLES = os.path.join(ROOT, "examples")
# The two ends of each tunnel. A source without a dest of its own name belongs to dest.toml.
PAIRS = {
    "with_every_key": ("dest.toml", "source.toml"),
    "as_the_seed_names_them": ("config-dest.toml", "config-source.toml"),
    "as_the_seed_prints_them": ("utun-readme-dest.toml", "utun-readme-source.toml"),
    "in_json": ("dest.toml", "source.json"),
    "several_services": ("services-dest.toml", "services-source.toml"),
    "an_entry_for_all": ("entry-dest.toml", "entry-source.toml"),
    "in_containers": ("../deploy/docker/dest.toml", "../deploy/docker/source.toml"),
}


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
            return True
    except OSError:
        return False


def introduces_itself(name):
    """Says the service's name, and its word back to a client that has said it; a PROXY header may come before."""

    def serve(connection):
        connection.sendall(name.encode())
        heard = b""
        while not heard.endswith(b"and back"):
            heard += peers.read_exactly(connection, 1)
        connection.sendall(b"and back")

    return serve


class Echo:
    """Sends back what it hears over UDP, with the service's name in front."""

    def __init__(self, name, address):
        self.name = name.encode()
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.bind(address[:2])
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        try:
            while True:
                heard, peer = self.socket.recvfrom(65536)
                self.socket.sendto(self.name + heard, peer)
        except OSError:
            pass

    def close(self):
        self.socket.close()


class Stage:
    """Rewrites the text of an example line by line, the same name for the same thing in both halves."""

    def __init__(self, world, folder):
        self.world, self.folder = world, folder
        self.certs = Certs(os.path.join(folder, "certs"), names="localhost")
        issuer = ["--ca-cert", self.certs.ca, "--ca-key", self.certs.ca_key]
        # The name that examples with a list of clients let in.
        self.certs.make(
            "client", self.certs.path("one.crt"), self.certs.path("one.key"), "--common-name", "source-1", *issuer
        )
        self.ports, self.targets = {}, {}
        self.ipv6 = has_ipv6()

    def port(self, number):
        return self.ports.setdefault(number, free_port())

    def socket_path(self, path):
        return os.path.join(self.folder, path.strip("/").replace("/", "-"))

    def target(self, name, where):
        """A server in the place of a service's target, which says the service's name."""
        if name not in self.targets:
            if where.startswith("unix:"):
                server = Server(introduces_itself(name), path=self.socket_path(where[5:]))
            else:
                server = Server(introduces_itself(name), host="::1" if ":" in where and self.ipv6 else "127.0.0.1")
            self.targets[name] = self.world.add(server)
            if not isinstance(server.address, str):
                self.world.add(Echo(name, server.address))
        return self.targets[name].address

    def value(self, key, value):
        paths = {
            "ca_cert_path": self.certs.ca,
            "server_cert_path": self.certs.server,
            "server_key_path": self.certs.server_key,
            "client_cert_path": self.certs.path("one.crt"),
            "client_key_path": self.certs.path("one.key"),
        }
        if key in paths:
            return paths[key]
        if key in ("port", "listen_port", "tunnel_port", "dest_tunnel_port"):
            return self.port(value)
        if key == "dest_host":
            return "localhost"
        if key == "listen_ip":
            return "::1" if value == "::1" and self.ipv6 else "127.0.0.1"
        if key == "metrics_bind_ip" and value.startswith("unix:"):
            return "unix:" + self.socket_path(value[5:])
        if key == "listen":
            return self.listen(value)
        return value

    def listen(self, value):
        if value.startswith("unix:"):
            return "unix:" + self.socket_path(value[5:])
        host, number = value.rsplit(":", 1)
        host = host if self.ipv6 else "127.0.0.1"
        # The same port at two addresses is one port here as well, as long as the addresses stay two.
        return "%s:%d" % (host, self.port(int(number) if self.ipv6 else value))

    def rewrite(self, text):
        """`key = value` of TOML, `"key": value` of JSON; comments and everything else stay."""
        lines, name, target_ip = [], None, ""
        for line in text.splitlines():
            found = re.match(r'^(\s*)(\w+)(\s*=\s*)("[^"]*"|\d+)(.*)$', line)
            if not found:
                lines.append(re.sub(r'"(\w+)": ("[^"]*"|\d+)', self.rewrite_json, line))
                continue
            indent, key, equals, old, rest = found.groups()
            value = json.loads(old)
            if key == "name":
                name = value
            if key == "target_ip":
                target_ip = value
                address = self.target(name, value)
                new = "unix:" + address if isinstance(address, str) else address[0]
                new = value if value == "localhost" else new
            elif key == "target_port":
                new = self.target(name, target_ip)[1]
            else:
                new = self.value(key, value)
            lines.append(indent + key + equals + json.dumps(new) + rest)
        return "\n".join(lines) + "\n"

    def rewrite_json(self, found):
        return '"%s": %s' % (found.group(1), json.dumps(self.value(found.group(1), json.loads(found.group(2)))))

    def start(self, command, name):
        with open(os.path.join(EXAMPLES, name)) as file:
            text = self.rewrite(file.read())
        # Examples that leave the port of the status pages to its default would meet each other there.
        node = self.world.node(command, {}, command, environment={"QANAT_METRICS_METRICS_PORT": "0"})
        node.config_path = os.path.join(self.folder, os.path.basename(name))
        with open(node.config_path, "w") as file:
            file.write(text)
        return node.start(), parse(name, text)


def parse(name, text):
    if name.endswith(".json"):
        return json.loads(text)
    tomllib = pytest.importorskip("tomllib")
    return tomllib.loads(text)


def doors(source, services, protocol="tcp"):
    """[(where a client connects to, the service behind)]"""
    by_port = {service["port"]: service["name"] for service in services if speaks(service, protocol)}
    found = []
    for exposed in source.get("exposed_ports", []):
        if not speaks(exposed, protocol):
            continue
        host = exposed.get("listen_ip") or source.get("listen_ip") or "127.0.0.1"
        found.append(((host, exposed["port"]), by_port[exposed["port"]]))
    for forward in source.get("forwards", []):
        if not speaks(forward, protocol):
            continue
        listen = forward["listen"]
        host, _, port = listen.rpartition(":")
        where = listen[5:] if listen.startswith("unix:") else (host.strip("[]"), int(port))
        found.append((where, forward["service"]))
    if not found and protocol == "tcp" and source.get("mode", "transparent") == "transparent":
        found.append((("127.0.0.1", source["listen_port"]), services[0]["name"]))
    return found


def speaks(entry, protocol):
    return entry.get("protocol", "tcp") in (protocol, "both")


def udp_answer(where):
    """What comes back for a datagram, asked again until something does."""
    family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(0.5)
        client.connect(where)

        def answer():
            client.send(b" and back")
            return client.recv(65536)

        return wait(answer, "an answer over UDP from %s port %d" % where)


def through_socks(where, name):
    """A connection to a service by its name, asked for in SOCKS 5 (RFC 1928)."""
    client = dial(where)
    client.sendall(b"\x05\x01\x00")
    assert peers.read_exactly(client, 2) == b"\x05\x00"
    client.sendall(b"\x05\x01\x00\x03" + bytes([len(name)]) + name.encode() + b"\x00\x50")
    assert peers.read_exactly(client, 4) == b"\x05\x00\x00\x01"
    peers.read_exactly(client, 6)
    return client


@pytest.mark.parametrize("dest_file,source_file", PAIRS.values(), ids=PAIRS)
def test_the_example_runs_and_carries_its_services(world, tmp_path, dest_file, source_file):
    """
    client ──► every door of examples/…source ══ examples/…dest ──► a target that says which service it is
    """
    stage = Stage(world, str(tmp_path))
    dest, dest_config = stage.start("dest", dest_file)
    dest.wait_log("links are accepted on")
    source, source_config = stage.start("source", source_file)
    source.wait_log("is up")
    carried = doors(source_config["source"], dest_config["dest"]["exposed_services"])
    assert carried
    connect = [(lambda where=where: dial(where), service) for where, service in carried]
    if source_config["source"].get("mode", "transparent") != "transparent":
        entry = "127.0.0.1", source_config["source"]["listen_port"]
        for forward in source_config["source"]["forwards"]:
            service = forward["service"]
            connect.append((lambda service=service: through_socks(entry, service), service))
    for come_in, service in connect:
        with come_in() as client:
            said = service.encode()
            assert peers.read_exactly(client, len(said)) == said
            client.sendall(b"and back")
            assert peers.read_exactly(client, 8) == b"and back"
    if source_config["source"].get("mode", "transparent") != "protocol":
        for where, service in doors(source_config["source"], dest_config["dest"]["exposed_services"], "udp"):
            assert udp_answer(where) == service.encode() + b" and back"


def test_every_example_is_in_a_pair():
    listed = {name for pair in PAIRS.values() for name in pair if "/" not in name}
    listed |= {"psk-client.toml", "psk-server.toml"}  # read in test_config.py; what they set up runs in test_psk.py
    listed |= {"vpn-client.toml", "vpn-server.toml", "vpn-server-clients.toml"}  # likewise
    listed |= {"proxy-server.toml", "proxy-client.toml", "proxy-names.toml", "config.json"}  # test_proxy_config.py
    listed |= {"hub.toml", "agent.toml"}  # read in test_config.py; what they set up runs in test_hub.py
    assert listed == {name for name in os.listdir(EXAMPLES) if name.endswith((".toml", ".json"))}
