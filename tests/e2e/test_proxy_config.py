"""What `qanat proxy` is told, by whom, and what it makes of it: the contract of Quantum Safe Proxy's document.

    config.json | TOML, QANAT_*, QUANTUM_SAFE_PROXY_* with --from-env, flags ──► quantum-safe-proxy | qanat proxy
"""

import hashlib
import itertools
import json
import os
import re
import signal
import socket
import subprocess

import pytest

import peers
import sidecars
from peers import SECONDS, Server
from qanat import OPENSSL, PATIENCE, QANAT, ROOT, Certs, free_port, wait

# As the document prints it.
README_JSON = """{
  "listen": "0.0.0.0:8443",
  "target": "127.0.0.1:6000",
  "cert_path": "certs/hybrid/dilithium3/server.crt",
  "key_path": "certs/hybrid/dilithium3/server.key",
  "ca_cert_path": "certs/hybrid/dilithium3/ca.crt",
  "hybrid_mode": true,
  "client_cert_mode": "optional",
  "log_level": "info",
  "environment": "production"
}
"""
README_FLAGS = (
    "--listen 0.0.0.0:8443 --target 127.0.0.1:6000 --cert certs/hybrid/dilithium3/server.crt "
    "--key certs/hybrid/dilithium3/server.key --ca-cert certs/hybrid/dilithium3/ca.crt --client-cert-mode optional"
).split()
README_ENVIRONMENT = {
    "QUANTUM_SAFE_PROXY_LISTEN": "0.0.0.0:9443",
    "QUANTUM_SAFE_PROXY_TARGET": "127.0.0.1:7000",
    "QUANTUM_SAFE_PROXY_CERT": "certs/hybrid/dilithium3/server.crt",
    "QUANTUM_SAFE_PROXY_KEY": "certs/hybrid/dilithium3/server.key",
    "QUANTUM_SAFE_PROXY_CA_CERT": "certs/hybrid/dilithium3/ca.crt",
    "QUANTUM_SAFE_PROXY_LOG_LEVEL": "debug",
    "QUANTUM_SAFE_PROXY_HYBRID_MODE": "true",
    "QUANTUM_SAFE_PROXY_CLIENT_CERT_MODE": "optional",
}
GOOD = ["--cert", "c", "--key", "k", "--ca-cert", "ca", "--client-cert-mode", "required"]


def clean(environment):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("QANAT_", "QUANTUM_SAFE_"))}
    return {**kept, **environment}


def call(*arguments, cwd=None, program=QANAT, **environment):
    return subprocess.run([program, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=20 * PATIENCE, cwd=cwd and str(cwd), env=clean(environment),
                          universal_newlines=True)


def check(*arguments, cwd=None, **environment):
    """What `qanat check proxy` makes of it: (values by key, origins by key, problems, notes)."""
    done = call("check", "proxy", "--json", *arguments, cwd=cwd, **environment)
    report, = json.loads(done.stdout)
    settings = report["settings"]
    return (
        {setting["key"]: setting["value"] for setting in settings},
        {setting["key"]: setting["from"] for setting in settings},
        report["problems"],
        report["notes"],
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A working directory of the seed: its name as a symlink, its folder of certificates, its file."""
    folder = tmp_path_factory.mktemp("seed")
    certs = Certs(str(folder / "made"))
    home = folder / "certs" / "hybrid" / "dilithium3"
    home.mkdir(parents=True)
    for name, path in (("server.crt", certs.server), ("server.key", certs.server_key), ("ca.crt", certs.ca)):
        os.symlink(path, str(home / name))
    os.symlink(QANAT, str(folder / "quantum-safe-proxy"))
    for name in ("config.json.example", "config.json"):
        (folder / name).write_text(README_JSON)
    return folder, certs


@pytest.fixture
def seed(home):
    return home[0]


@pytest.fixture
def certs(home):
    return home[1]


class Seed:
    """A process started as `quantum-safe-proxy`, in the seed's working directory."""

    def __init__(self, folder, *arguments, **environment):
        self.log_path = str(folder / ("log-%d" % free_port()))
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                ["./quantum-safe-proxy", *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=str(folder), env=clean({"RUNTIME_DIRECTORY": str(folder), **environment}),
            )

    def log(self):
        with open(self.log_path) as file:
            return file.read()

    def wait_log(self, pattern):
        def ask():
            assert self.process.poll() is None, "it ended:\n" + self.log()
            return re.search(pattern, self.log())

        return wait(ask, "a log line with %r" % pattern)

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            assert self.process.wait(timeout=SECONDS) == 0, self.log()
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()


# ---- the command line, the environment and the file of the document


def test_the_file_of_the_document_means_what_it_says(seed):
    done = call("check", "-c", "config.json.example", cwd=seed)
    assert done.returncode == 2  # the name says nothing of JSON
    done = call("check", "-c", "config.json", cwd=seed)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("config.json: good for proxy\n")
    values, origins, problems, notes = check("--config-file", "config.json", cwd=seed)
    assert not problems
    expected = {
        "proxy.listen": ["0.0.0.0:8443"],
        "proxy.targets": ["127.0.0.1:6000"],
        "proxy.cert_path": "certs/hybrid/dilithium3/server.crt",
        "proxy.key_path": "certs/hybrid/dilithium3/server.key",
        "proxy.ca_cert_path": "certs/hybrid/dilithium3/ca.crt",
        "proxy.hybrid_mode": "prefer",
        "proxy.client_cert_mode": "optional",
        "logging.level": "info",
        "proxy.environment": "production",
    }
    assert {key: values[key] for key in expected} == expected
    assert {origins[key] for key in expected} == {"file"}
    # A target that cannot tell who was checked is worth a word.
    assert len(notes) == 1 and "optional" in json.dumps(notes)


def test_the_three_ways_of_the_document_lead_to_the_same_settings(seed):
    by_file = check("--config-file", "config.json", cwd=seed)[0]
    by_flags = check(*README_FLAGS, cwd=seed)[0]
    by_environment = check("--from-env", cwd=seed, **README_ENVIRONMENT)[0]
    assert by_file == by_flags
    changed = {key for key in by_file if by_file[key] != by_environment[key]}
    assert changed == {"proxy.listen", "proxy.targets", "logging.level"}
    assert by_environment["proxy.listen"] == ["0.0.0.0:9443"]
    assert by_environment["proxy.targets"] == ["127.0.0.1:7000"]
    assert by_environment["logging.level"] == "debug"


@pytest.mark.parametrize("way", ["flags", "environment", "file"])
def test_quantum_safe_proxy_starts_and_carries(world, seed, certs, way):
    """
    openssl-like client ══► ./quantum-safe-proxy, configured in one of three ways ──► echo
    """
    target = world.add(Server(peers.echo))
    listen, near = "127.0.0.1:%d" % free_port(), None
    where = ["--listen", listen, "--target", sidecars.place(target.address)]
    if way == "flags":
        started = Seed(seed, *README_FLAGS[4:], *where)
    elif way == "file":
        path = seed / "own.json"
        path.write_text(json.dumps({**json.loads(README_JSON), "listen": listen,
                                    "target": sidecars.place(target.address)}))
        started = Seed(seed, "--config-file", "own.json")
    else:
        started = Seed(seed, "--from-env", **{**README_ENVIRONMENT, "QUANTUM_SAFE_PROXY_LISTEN": listen,
                                              "QUANTUM_SAFE_PROXY_TARGET": sidecars.place(target.address)})
    world.add(started)
    started.wait_log("is running")
    near = sidecars.near({"proxy": {"listen": listen}})
    assert sidecars.tls_ask(near, certs, b"hello") == b"hello"
    assert sidecars.tls_ask(near, certs, b"nobody", cert=None) == b"nobody"  # optional


def test_a_signal_reloads_the_file_and_a_bad_one_is_kept_out(world, seed, certs):
    """
    client ══► quantum-safe-proxy --config-file ──► A, after SIGHUP B; after SIGHUP with a bad file still B
    """
    first, second = world.add(Server(peers.greet(b"A"))), world.add(Server(peers.greet(b"B")))
    listen = "127.0.0.1:%d" % free_port()
    near, path = sidecars.near({"proxy": {"listen": listen}}), seed / "live.json"

    def write(**changes):
        fresh = seed / "live.json.new"
        fresh.write_text(json.dumps({**json.loads(README_JSON), "listen": listen, **changes}))
        os.replace(str(fresh), str(path))

    write(target=sidecars.place(first.address))
    started = world.add(Seed(seed, "--config-file", "live.json"))
    started.wait_log("is running")
    assert sidecars.tls_ask(near, certs, b"!", 2) == b"A!"
    write(target=sidecars.place(second.address), listen="127.0.0.1:%d" % free_port())
    started.process.send_signal(signal.SIGHUP)
    started.wait_log(r"proxy\.listen.*restart|restart.*proxy\.listen")
    assert sidecars.tls_ask(near, certs, b"!", 2) == b"B!"
    write(target=sidecars.place(first.address), client_cert_mode="requierd")
    started.process.send_signal(signal.SIGHUP)
    started.wait_log("requierd")
    assert sidecars.tls_ask(near, certs, b"!", 2) == b"B!"


@pytest.mark.parametrize("words", [["check-environment"], ["--check-environment"], ["check-environment", "--json"]])
def test_the_environment_is_diagnosed(seed, words):
    done = call(*words, cwd=seed, program=str(seed / "quantum-safe-proxy"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ML-KEM-768" in done.stdout


def test_the_environment_is_diagnosed_with_the_files_of_a_configuration(seed):
    done = call("check-environment", "-c", "config.json", cwd=seed, program=str(seed / "quantum-safe-proxy"))
    assert done.returncode == 0, done.stdout
    assert "proxy: certificates, keys and CA can be used" in done.stdout
    assert re.search(r"certs/hybrid/dilithium3/server\.crt \(.*\) is valid until", done.stdout)
    (seed / "torn.json").write_text(README_JSON.replace("server.key", "ca.crt"))
    done = call("check-environment", "-c", "torn.json", cwd=seed, program=str(seed / "quantum-safe-proxy"))
    assert done.returncode == 1 and "error    identity: proxy: " in done.stdout


@pytest.mark.parametrize("word", ["--version", "--show-version", "-V"])
def test_the_version_is_told(seed, word):
    done = call(word, cwd=seed, program=str(seed / "quantum-safe-proxy"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("qanat ")


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_has_every_flag_of_the_document(seed, word):
    done = call(word, cwd=seed, program=str(seed / "quantum-safe-proxy"))
    assert (done.returncode, done.stderr) == (0, "")
    for flag in ("--listen", "--target", "--cert", "--key", "--ca-cert", "--log-level", "--hybrid-mode",
                 "--client-cert-mode", "--from-env", "--config-file"):
        assert re.search(r"(^|[ ,])%s\b" % flag, done.stdout, re.MULTILINE), flag


# ---- precedence


SOURCES = ["file", "environment", "flag"]


@pytest.mark.parametrize("present", [list(chosen) for count in range(4)
                                     for chosen in itertools.combinations(SOURCES, count)], ids="+".join)
@pytest.mark.parametrize("own", [True, False], ids=["QANAT", "QUANTUM_SAFE_PROXY"])
def test_flag_wins_over_environment_over_file_over_default(tmp_path, present, own):
    prefix = "QANAT_PROXY_" if own else "QUANTUM_SAFE_PROXY_"
    keys = {  # key: (JSON, QANAT's name, flag, default, values by source)
        "proxy.targets": ("target", "TARGETS", "TARGET", "--target", ["127.0.0.1:6000"],
                          {"file": "127.0.0.1:1", "environment": "127.0.0.1:2", "flag": "127.0.0.1:3"}),
        "proxy.client_cert_mode": ("client_cert_mode", "CLIENT_CERT_MODE", "CLIENT_CERT_MODE", "--client-cert-mode",
                                   "optional", {"file": "required", "environment": "none", "flag": "optional"}),
        "proxy.hybrid_mode": ("hybrid_mode", "HYBRID_MODE", "HYBRID_MODE", "--hybrid-mode", "prefer",
                              {"file": "require", "environment": "off", "flag": "prefer"}),
    }
    file, environment, flags = {"environment": "testing"}, {}, ["--from-env"]
    for in_file, own_name, seed_name, flag, _, values in keys.values():
        if "file" in present:
            file[in_file] = values["file"]
        if "environment" in present:
            environment[prefix + (own_name if own else seed_name)] = values["environment"]
        if "flag" in present:
            flags.append("%s=%s" % (flag, values["flag"]))
    path = tmp_path / "c.json"
    path.write_text(json.dumps(file))
    settings, origins, problems, _ = check("-c", str(path), *flags, **environment)
    assert not problems
    for key, (*_, default, values) in keys.items():
        if not present:
            assert (settings[key], origins[key]) == (default, "default")
            continue
        expected = values[present[-1]]
        assert settings[key] in (expected, [expected])
        assert origins[key] == present[-1]


def test_without_from_env_the_seeds_names_are_not_read_but_named(seed):
    _, _, problems, notes = check("--config-file", "config.json", cwd=seed, **README_ENVIRONMENT)
    assert not problems
    said = json.dumps(notes)
    for name in README_ENVIRONMENT:
        assert name in said
    # What it would have decided is missing, and that stops the start.
    _, _, problems, notes = check(cwd=seed, **README_ENVIRONMENT)
    assert {problem["key"] for problem in problems} == {
        "proxy.cert_path", "proxy.key_path", "proxy.ca_cert_path", "proxy.client_cert_mode"}


def test_config_json_of_the_working_directory_is_not_read_unasked_but_named(seed):
    done = call("check", "proxy", cwd=seed)
    assert done.returncode == 2
    assert "config.json: lies in the working directory, but is not read: name it with --config-file" in done.stderr
    done = call(*README_FLAGS[:-2], cwd=seed, program=str(seed / "quantum-safe-proxy"))
    assert done.returncode == 2
    assert "proxy.client_cert_mode: required" in done.stderr


# ---- production


def test_production_demands_what_decides_who_gets_in():
    done = call("proxy")
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    for key, flag in (("cert_path", "--cert"), ("key_path", "--key"), ("ca_cert_path", "--ca-cert"),
                      ("client_cert_mode", "--client-cert-mode")):
        assert any(re.match(r"proxy\.%s: required with environment = \"production\", but not given: .*flag %s or "
                            r"environment QANAT_PROXY_%s$" % (key, flag, key.upper()), line) for line in lines), key
    # Half of it, from different sources: only the rest is named.
    done = call("proxy", "--cert", "c", "--client-cert-mode", "required", QANAT_PROXY_KEY_PATH="k")
    assert done.returncode == 2
    assert re.findall(r"proxy\.(\w+): required", done.stderr) == ["ca_cert_path"]


@pytest.mark.parametrize("environment", ["testing", "development", "Testing"])
def test_elsewhere_the_seeds_defaults_hold(seed, environment):
    settings, _, problems, _ = check("--environment", environment, cwd=seed)
    assert not problems
    assert settings["proxy.cert_path"] == "certs/hybrid/dilithium3/server.crt"
    assert settings["proxy.client_cert_mode"] == "optional"
    assert settings["proxy.listen"] == ["0.0.0.0:8443"]


# ---- whatever cannot be followed stops the start, and all of it is named


BAD = [
    (["--client-cert-mode=requierd"], 'unknown word "requierd"'),
    (["--client-cert-mode", ""], 'unknown word ""'),
    (["--hybrid-mode", "yes"], 'unknown word "yes"'),
    (["--log-level", "loud"], 'unknown word "loud"'),
    (["--listen", "8443"], "must be IP:PORT"),
    (["--listen", "127.0.0.1:0"], "must be IP:PORT"),
    (["--listen", "127.0.0.1:65536"], "must be IP:PORT"),
    (["--listen", "localhost:8443"], "must be an IP address of this machine"),
    (["--target", "127.0.0.1"], "must be HOST:PORT"),
    (["--target", "127.0.0.1:http"], "must be HOST:PORT"),
    (["--target", "tcp://a:1"], "must be HOST:PORT"),
    (["--target", "127.0.0.1:8443"], "is where this proxy listens itself"),
    (["--target", "a:1", "--target", "a:1"], "is listed twice"),
    (["--connection-timeout", "-1"], "must be 1..3600 s"),
    (["--connection-timeout", "30s"], "must be 1..3600 s"),
    (["--buffer-size", "8192"], "has no meaning here"),
    (["--openssl-dir=/opt/openssl"], "has no meaning here"),
    (["--strategy", "dynamic"], "has no meaning here"),
    (["--fallback-cert", "x"], "a certificate and its key go together"),
    (["--min-tls", "1.1"], 'unknown word "1.1"'),
    (["--min-tls", "1.2", "--hybrid-mode", "require"], "contradicts hybrid_mode"),
    (["--pin", "0"], "is for mode"),
    (["--proxy-protocol-from", "10.0.0.0/8"], "needs proxy_protocol_in"),
    (["--from-env=maybe"], "must be true or false"),
    (["--from-evn"], "unknown flag (did you mean --from-env?)"),
    (["--listen-ip", "127.0.0.1"], "this flag belongs to"),
    (["extra"], "unexpected argument"),
    (["--cert", "other"], "given twice"),
]


@pytest.mark.parametrize("words,line", BAD, ids=[" ".join(words) for words, _ in BAD])
def test_what_cannot_be_followed_stops_the_start(words, line):
    done = call("proxy", *GOOD, *words) if words[0] != "--client-cert-mode" and "mode=" not in words[0] else call(
        "proxy", *GOOD[:-2], *words)
    assert done.returncode == 2, done.stderr
    assert line in done.stderr


@pytest.mark.parametrize("name,value", [
    ("LISTEN", "nowhere"), ("TARGET", "x"), ("HYBRID_MODE", "1"), ("CLIENT_CERT_MODE", "optinal"), ("LOG_LEVEL", "all"),
    ("CONNECTION_TIMEOUT", "soon"), ("BUFFER_SIZE", "1"), ("OPENSSL_DIR", "/opt"),
])
def test_the_same_from_the_environment(name, value):
    flags = GOOD[:-2] if name == "CLIENT_CERT_MODE" else GOOD
    done = call("proxy", *flags, "--from-env", **{"QUANTUM_SAFE_PROXY_" + name: value})
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("QUANTUM_SAFE_PROXY_%s: " % name)


@pytest.mark.parametrize("text,where", [
    ('{"listen": "0.0.0.0:8443",}', "bad.json:1:"),
    ('// a comment\n{}', "bad.json:1:"),
    ('{"listen": "a", "listen": "b"}', "bad.json:1:"),
    ('{"lissten": "0.0.0.0:8443"}', 'lissten: unknown key (did you mean "listen"?)'),
    ('{"hybrid_mode": "maybe"}', 'hybrid_mode: unknown word "maybe"'),
    ('{"hybrid_mode": 1}', "hybrid_mode: must be"),
    ('{"client_cert_mode": true}', "client_cert_mode: must be"),
    ('{"listen": 8443}', "listen: must be"),
    ('{"environment": "prod"}', 'environment: unknown word "prod"'),
    ('{"cert_path": "a", "cert": "b"}', 'cert: given twice: "cert_path" means the same'),
    ('{"proxy": {"target": "a:1"}, "target": "b:1"}', 'target: given twice: "proxy.target" means the same'),
    ('[]', "must be one object"),
    ('', "bad.json"),
])
def test_the_same_from_the_file(tmp_path, text, where):
    (tmp_path / "bad.json").write_text(text)
    done = call("proxy", *GOOD, "--config-file", "bad.json", cwd=tmp_path)
    assert done.returncode == 2
    assert where in done.stderr, done.stderr


def test_everything_wrong_is_said_at_once(tmp_path):
    (tmp_path / "bad.json").write_text('{"client_cert_mode": "requierd", "listten": "x", "target": "nowhere"}')
    done = call("proxy", "--config-file", "bad.json", "--hybrid-mode=perhaps", "--nonsense", cwd=tmp_path)
    assert done.returncode == 2
    for said in ("client_cert_mode: unknown word", "listten: unknown key", '"nowhere" must be',
                 'unknown word "perhaps"', "--nonsense: unknown flag", "proxy.cert_path: required",
                 "proxy.key_path: required", "proxy.ca_cert_path: required"):
        assert said in done.stderr, said


def test_files_that_are_not_good_stop_the_start_with_their_reason(certs, tmp_path):
    base = ["--ca-cert", certs.ca, "--client-cert-mode", "required", "--listen", "127.0.0.1:%d" % free_port()]
    for words, line in (
        (["--cert", certs.server, "--key", certs.client_key], "does not belong to"),
        (["--cert", str(tmp_path / "none.crt"), "--key", certs.server_key], "none.crt"),
        (["--cert", certs.client, "--key", certs.client_key], certs.client),
    ):
        done = call("check", "proxy", *base, *words)
        assert done.returncode == 1, done.stdout
        assert line in done.stderr
        done = call("proxy", *base, *words)
        assert done.returncode == 1, done.stderr
        assert line in done.stderr


def test_a_file_that_cannot_be_read_is_not_called_bad_for_somebody(tmp_path):
    (tmp_path / "x.toml").write_text("[proxy\n")
    done = call("check", "-c", "x.toml", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "x.toml: cannot be read"
    assert "source" not in done.stderr
    report, = json.loads(call("check", "--json", "-c", "x.toml", cwd=tmp_path).stdout)
    assert (report["command"], report["good"]) == (None, False) and len(report["problems"]) == 1


# ---- the examples


def example(world, name, *flags):
    node = world.node("proxy", {}, name[:-5], arguments=flags)
    node.config_path = os.path.join(ROOT, "examples", name)
    node.start()
    node.wait_log("is running")
    return node


def test_the_pair_of_examples_carries(world):
    """
    plain client ──► examples/proxy-client.toml ══ examples/proxy-server.toml ──► echo

    Addresses and files are ours.
    """
    certs, target = world.certs, world.add(Server(peers.echo))
    outside, inside = ("127.0.0.1", free_port()), ("127.0.0.1", free_port())
    far = example(world, "proxy-server.toml", "--listen", sidecars.place(outside), "--target",
                  sidecars.place(target.address), "--cert", certs.server, "--key", certs.server_key, "--ca-cert",
                  certs.ca, "--metrics-port", "0")
    example(world, "proxy-client.toml", "--listen", sidecars.place(inside), "--target", sidecars.place(outside),
            "--cert", certs.client, "--key", certs.client_key, "--ca-cert", certs.ca)
    with peers.dial(inside) as client:
        client.sendall(b"through both")
        assert peers.read_exactly(client, 12) == b"through both"
    assert sidecars.by_word(far, "groups")["X25519MLKEM768"] == 1


def test_the_example_with_names_sends_each_where_it_belongs(world, tmp_path):
    """
    PROXY header, then SNI db, x.app, other ══► examples/proxy-names.toml ──► one target for each route

    Addresses, files and the names' domain are ours; everything else is as it is printed.
    """
    servers = {name: world.add(Server(greet_behind_header(name))).address for name in ("db", "app", "other")}
    names = Certs(str(tmp_path / "names"), names="db.example.net,x.app.example.net,www.example.net")
    names.make("server", names.path("two.crt"), names.path("two.key"), "--common-name", "two", "--dns-names",
                        "db.example.net,x.app.example.net,www.example.net", "--ca-cert", names.ca, "--ca-key",
                        names.ca_key, "--key", "ml-dsa-65")
    with open(os.path.join(ROOT, "examples", "proxy-names.toml")) as file:
        text = file.read()
    listen = "127.0.0.1:%d" % free_port()
    for old, new in {
        '"[::]:443"': '"%s"' % listen,
        '"unix:/run/web/default.sock"': '"%s"' % sidecars.place(servers["other"]),
        '"127.0.0.1:5432"': '"%s"' % sidecars.place(servers["db"]),
        '"127.0.0.1:8001", "127.0.0.1:8002", "[::1]:8003"': '"127.0.0.1:%d", "%s"' % (
            free_port(), sidecars.place(servers["app"])),
        "certs/mldsa/server.crt": names.path("two.crt"), "certs/mldsa/server.key": names.path("two.key"),
        "certs/p256/server.crt": names.server, "certs/p256/server.key": names.server_key, "certs/ca.crt": names.ca,
        '"10.0.0.0/24"': '"127.0.0.0/8"', '"10.0.0.0/8"': '"127.0.0.0/8"',
    }.items():
        assert old in text, old
        text = text.replace(old, new)
    node = world.node("proxy", {}, "names")
    node.write_config(text=text)
    node.start().wait_log("is running")
    near = sidecars.near({"proxy": {"listen": listen}})
    for name, expected in (("db.example.net", b"db"), ("x.app.example.net", b"app"), ("www.example.net", b"other")):
        with peers.dial(near) as plain:
            plain.sendall(b"PROXY TCP4 127.0.0.7 127.0.0.1 7 443\r\n")
            with sidecars.context(names, alpn=["http/1.1"]).wrap_socket(plain, server_hostname=name) as client:
                assert client.selected_alpn_protocol() == "http/1.1"
                assert peers.read_exactly(client, len(expected)) == expected


def greet_behind_header(name):
    """Takes the PROXY header of version 2, then says its name."""

    def serve(connection):
        head = peers.read_exactly(connection, 16)
        assert head.startswith(b"\r\n\r\n\0\r\nQUIT\n\x21")
        peers.read_exactly(connection, int.from_bytes(head[14:16], "big"))
        connection.sendall(name.encode())

    return serve


def manifests(name):
    yaml = pytest.importorskip("yaml")
    with open(os.path.join(ROOT, "deploy", name)) as file:
        return list(yaml.safe_load_all(file))


def test_the_containers_configurations_are_good(tmp_path):
    config_map, deployment, service = manifests("kubernetes/proxy.yaml")
    pod = deployment["spec"]["template"]["spec"]
    proxy = pod["containers"][0]
    (tmp_path / "proxy.toml").write_text(config_map["data"]["proxy.toml"])
    words = [str(tmp_path / "proxy.toml") if word == "/etc/qanat/proxy.toml" else word for word in proxy["args"][1:]]
    values, _, problems, notes = check(*words)
    assert not problems and not notes
    assert values["proxy.listen"] == ["0.0.0.0:%d" % proxy["ports"][0]["containerPort"]]
    assert "http://127.0.0.1:%d/health" % values["metrics.metrics_port"] in proxy["readinessProbe"]["exec"]["command"]
    assert pod["terminationGracePeriodSeconds"] > values["node.drain_timeout_seconds"]
    assert service["spec"]["ports"][0]["targetPort"] == proxy["ports"][0]["name"]
    assert service["spec"]["selector"] == deployment["spec"]["template"]["metadata"]["labels"]
    for container in pod["containers"]:
        assert container["image"] == container["image"].lower()
    compose, = manifests("docker/compose-proxy.yml")
    values, _, problems, notes = check("-c", os.path.join(ROOT, "deploy", "docker", "proxy.toml"))
    assert not problems and not notes
    proxy = compose["services"]["qanat-proxy"]
    assert proxy["ports"] == ["8443:8443"] and values["proxy.listen"] == ["0.0.0.0:8443"]
    assert "http://127.0.0.1:%d/health" % values["metrics.metrics_port"] in proxy["healthcheck"]["test"]


# ---- who is let in


def test_the_allow_list_decides_by_name_and_by_key_and_a_reload_changes_it(world):
    """
    client (CN client) ══► proxy with allowed_clients ──► echo
    """
    target = world.add(Server(peers.echo))
    public = subprocess.run([OPENSSL, "x509", "-in", world.certs.client, "-noout", "-pubkey"], check=True,
                            stdout=subprocess.PIPE, timeout=SECONDS).stdout
    der = subprocess.run([OPENSSL, "pkey", "-pubin", "-outform", "DER"], input=public, check=True,
                         stdout=subprocess.PIPE, timeout=SECONDS).stdout
    key = hashlib.sha256(der).hexdigest()
    written = sidecars.config(world, [target.address], proxy={"allowed_clients": ["spki:" + key]})
    near, node = sidecars.near(written), sidecars.start(world, written)
    assert sidecars.tls_ask(near, world.certs, b"by key") == b"by key"
    stays = sidecars.tls_dial(near, world.certs)
    with stays:
        stays.sendall(b"in")
        assert peers.read_exactly(stays, 2) == b"in"
        written["proxy"]["allowed_clients"] = ["spki:" + "0" * 64, "cn:nobody", "dns:*.elsewhere.test"]
        node.reload(written)
        assert is_turned_away(near, world.certs)
        # Who would not be let in any more does not stay either.
        assert is_over(stays)
    node.wait(lambda: sidecars.handshakes(node).get("not_allowed", 0) >= 1, "the refusal to be counted")
    written["proxy"]["allowed_clients"] = ["cn:*"]
    node.reload(written)
    assert sidecars.tls_ask(near, world.certs, b"by name") == b"by name"


def is_turned_away(near, certs):
    """With TLS 1.3 a client hears of it when it reads."""
    try:
        with sidecars.tls_dial(near, certs) as connection:
            connection.settimeout(SECONDS)
            connection.sendall(b"hello")
            return connection.recv(1) == b""
    except OSError:
        return True


def is_over(connection):
    connection.settimeout(SECONDS)
    try:
        return connection.recv(1) == b""
    except socket.timeout:
        return False
    except OSError:
        return True
