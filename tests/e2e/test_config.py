"""The command line and the configuration as people meet them: messages, exit statuses, precedence, every example.

    file, environment, flags ──► qanat source | dest | check ──► exit status, problems on stderr, values on stdout
"""

import glob
import json
import os
import re
import subprocess

import pytest

from qanat import PATIENCE, QANAT, ROOT, Certs

EXAMPLES = sorted(glob.glob(os.path.join(ROOT, "examples", "*.toml")) +
                  glob.glob(os.path.join(ROOT, "examples", "*.json")))


def call(*arguments, cwd=None, program=QANAT, **environment):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("QANAT_")}
    return subprocess.run([program, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=20 * PATIENCE, cwd=cwd, env={**clean, **environment},
                          universal_newlines=True)


def write(folder, name, text):
    path = os.path.join(str(folder), name)
    with open(path, "w") as file:
        file.write(text)
    return path


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A folder with certificates, source.toml and dest.toml that would really start."""
    folder = tmp_path_factory.mktemp("config")
    Certs(str(folder))
    write(folder, "source.toml", "[source]\ndest_host = \"localhost\"\ndest_tunnel_port = 9443\n[auth]\n"
          "ca_cert_path = \"ca.crt\"\nclient_cert_path = \"client.crt\"\nclient_key_path = \"client.key\"\n")
    write(folder, "dest.toml", "[dest]\ntunnel_port = 9443\n[[dest.exposed_services]]\nname = \"ssh\"\nport = 22\n"
          "target_ip = \"127.0.0.1\"\ntarget_port = 22\n[auth]\nca_cert_path = \"ca.crt\"\n"
          "server_cert_path = \"server.crt\"\nserver_key_path = \"server.key\"\n")
    return folder


def settings_of(done):
    """{"source.listen_ip": ("\"127.0.0.1\"", "default")}"""
    found = re.findall(r"^  (\S+) = (.*)  \((.*)\)$", done.stdout, re.MULTILINE)
    return {key: (value, origin) for key, value, origin in found}


# ---- check


def test_good_files_are_good_with_every_value_and_its_origin(pair):
    done = call("check", "-c", "source.toml", cwd=str(pair))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("source.toml: good for source\n")
    settings = settings_of(done)
    assert settings["source.dest_host"] == ('"localhost"', "source.toml:2")
    assert settings["source.listen_ip"] == ('"127.0.0.1"', "default")
    assert settings["source.listen_port"] == ("8443", "default")
    assert call("check", "dest", "-c", "dest.toml", cwd=str(pair)).returncode == 0


def test_flag_wins_over_environment_over_file(pair):
    done = call("check", "source", "-c", "source.toml", "--dest-tunnel-port", "3", cwd=str(pair),
                QANAT_SOURCE_DEST_TUNNEL_PORT="2", QANAT_SOURCE_DEST_HOST="::1")
    assert done.returncode == 0, done.stderr
    settings = settings_of(done)
    assert settings["source.dest_tunnel_port"] == ("3", "flag --dest-tunnel-port")
    assert settings["source.dest_host"] == ('"::1"', "environment QANAT_SOURCE_DEST_HOST")


def test_all_problems_are_listed_at_once_and_the_exit_status_is_2(pair):
    write(pair, "bad.toml", "[source]\nlisten_prot = 1\ndest_tunnel_port = 0\nmode = \"protocoll\"\n"
          "[auth]\nuse_mtls = false\n")
    expected = [
        'bad.toml:2:1: source.listen_prot: unknown key (did you mean "listen_port"?)',
        "bad.toml:3:1: source.dest_tunnel_port: must be 1..65535, not 0",
        'bad.toml:4:1: source.mode: unknown word "protocoll": one of "transparent", "protocol", "hybrid" (did you mean',
        "bad.toml:6:1: auth.use_mtls: false is refused: ",
        'bad.toml: source.dest_host: required, but not given: "dest_host" in [source], flag --dest-host',
        "bad.toml: auth.ca_cert_path: required, but not given",
    ]
    for command in (["check"], ["source"]):
        done = call(*command, "-c", "bad.toml", cwd=str(pair))
        assert done.returncode == 2
        assert done.stdout == ""
        for line in expected:
            assert line in done.stderr


def test_certificates_that_would_be_refused_are_exit_status_1(pair):
    write(pair, "swapped.toml", "[source]\ndest_host = \"h\"\ndest_tunnel_port = 1\n[auth]\nca_cert_path = \"ca.crt\"\n"
          "client_cert_path = \"server.crt\"\nclient_key_path = \"server.key\"\n")
    done = call("check", "-c", "swapped.toml", cwd=str(pair))
    assert done.returncode == 1
    assert "server.crt" in done.stderr
    assert done.stdout.startswith("swapped.toml: certificates are refused for source\n")
    done = call("check", "-c", "source.toml", "--key", "missing.key", cwd=str(pair))
    assert done.returncode == 1
    assert "missing.key" in done.stderr


def test_check_answers_in_json(pair):
    good, = json.loads(call("check", "--json", "-c", "dest.toml", cwd=str(pair)).stdout)
    assert good["good"] is True and good["command"] == "dest" and good["file"] == "dest.toml"
    values = {setting["key"]: setting for setting in good["settings"]}
    assert values["dest.tunnel_port"]["value"] == 9443
    assert values["dest.exposed_services"]["value"][0]["name"] == "ssh"
    assert values["dest.listen_ip"]["from"] == "default"
    done = call("check", "--json", "source", "-c", "dest.toml", cwd=str(pair))
    assert done.returncode == 2
    bad, = json.loads(done.stdout)
    assert bad["good"] is False and bad["settings"] == []
    assert "the file has no section [source]" in [problem["message"] for problem in bad["problems"]]


def test_file_with_both_sections_is_checked_for_both(pair):
    with open(os.path.join(str(pair), "source.toml")) as source, open(os.path.join(str(pair), "dest.toml")) as dest:
        text = source.read() + dest.read().replace("[auth]\nca_cert_path = \"ca.crt\"\n", "")
    # The keys of dest's certificate now follow [[dest.exposed_services]]; they belong into [auth].
    text = text.replace("server_cert_path = \"server.crt\"\nserver_key_path = \"server.key\"\n", "")
    text = text.replace("[auth]\n", "[auth]\nserver_cert_path = \"server.crt\"\nserver_key_path = \"server.key\"\n")
    write(pair, "both.toml", text)
    done = call("check", "-c", "both.toml", cwd=str(pair))
    assert done.returncode == 0, done.stderr
    assert "both.toml: good for source\n" in done.stdout
    assert "both.toml: good for dest\n" in done.stdout


def test_listen_port_beside_exposed_ports_is_a_note(pair):
    with open(os.path.join(str(pair), "source.toml")) as file:
        text = file.read().replace("[source]\n", "[source]\nlisten_port = 8443\nexposed_ports = [{ port = 22 }]\n")
    write(pair, "noted.toml", text)
    done = call("check", "-c", "noted.toml", cwd=str(pair))
    assert done.returncode == 0
    assert done.stderr == ("note: noted.toml:2:1: source.listen_port: port 8443 is not opened, because there are "
                           "exposed_ports or forwards\n")


def test_without_a_file_and_without_a_word_check_says_what_to_do(pair):
    done = call("check", cwd=str(pair), QANAT_CONFIG="missing.toml")
    assert done.returncode == 2
    assert "missing.toml: cannot be opened: " in done.stderr
    if not os.path.exists("/etc/qanat/config.toml"):
        done = call("check", cwd=str(pair))
        assert done.returncode == 2
        assert "/etc/qanat/config.toml: there is no such file; name one with -c FILE" in done.stderr


def test_reference_is_markdown_about_every_key():
    done = call("check", "--schema")
    assert done.returncode == 0
    assert done.stdout.startswith("# Configuration of source, dest, proxy, hub, agent, psk and vpn\n")
    for text in ("| `listen_port` |", "| `source.frame_buffer_size` |", "`QANAT_CRYPTO_KEM_MODE`",
                 "Each `[[source.forwards]]`:"):
        assert text in done.stdout


# ---- examples


@pytest.mark.parametrize("path", EXAMPLES, ids=os.path.basename)
def test_every_example_is_read_without_a_problem(path):
    reports = json.loads(call("check", "--json", "-c", path).stdout)
    name = os.path.basename(path)
    command = "dest" if "dest" in name else "source"
    if name.startswith(("psk-", "vpn-")):
        command = " ".join(name[:-5].split("-")[:2])
    if name.startswith("proxy-") or name == "config.json":
        command = "proxy"
    if name in ("hub.toml", "agent.toml"):
        command = name[:-5]
    assert [report["command"] for report in reports] == [command]
    assert [report["problems"] for report in reports] == [[]]
    # What Quantum Safe Proxy prints as its example lets a target guess who was checked.
    expected = ["proxy.client_cert_mode"] if name == "config.json" else []
    assert [note["key"] for report in reports for note in report["notes"]] == expected


@pytest.mark.parametrize("command", ["source", "dest"])
def test_readme_files_of_utun_start_with_other_certificates(pair, command):
    role = {"source": "client", "dest": "server"}[command]
    path = os.path.join(ROOT, "examples", "utun-readme-%s.toml" % command)
    done = call("check", command, "-c", path, "--ca-cert", "ca.crt", "--cert", role + ".crt", "--key", role + ".key",
                cwd=str(pair))
    assert done.returncode == 0, done.stderr


# ---- the command line


def test_without_a_file_flags_are_enough(pair):
    done = call("check", "source", "--dest-host", "h", "--dest-tunnel-port=1", "--ca-cert=ca.crt",
                "--cert=client.crt", "--key=client.key", "--forward", "127.0.0.1:2222=ssh", "--expose", "80",
                "-c", "/dev/null", cwd=str(pair))
    assert done.returncode == 0, done.stderr
    settings = settings_of(done)
    assert settings["source.forwards"] == ('[{ listen = "127.0.0.1:2222", service = "ssh" }]', "flag --forward")
    assert settings["source.exposed_ports"][0] == "[{ port = 80 }]"
    assert settings["source.listen_port"][0] == "0"


@pytest.mark.parametrize("command", ["source", "dest"])
def test_help_shows_flags_defaults_and_environment(command):
    for arguments in ([command, "--help"], [command, "-h"], ["help", command], [command, "--nonsense", "--help"]):
        done = call(*arguments)
        assert done.returncode == 0
        assert done.stderr == ""
        assert done.stdout.startswith("usage: qanat %s [-c FILE] [flags]\n" % command)
        assert "  --listen-ip IP\n" in done.stdout
        assert "default: hybrid\n" in done.stdout
        assert "QANAT_%s_LISTEN_IP" % command.upper() in done.stdout


def test_global_options_may_stand_before_the_command_word(pair):
    done = call("--log-level", "debug", "--log-format=json", "-c", "source.toml", "check", cwd=str(pair))
    assert done.returncode == 0, done.stderr
    settings = settings_of(done)
    assert settings["logging.level"] == ('"debug"', "flag --log-level")
    assert settings["logging.format"] == ('"json"', "flag --log-format")
    done = call("--log-level", "loud", "source", "-c", "source.toml", cwd=str(pair))
    assert done.returncode == 2
    assert '--log-level: logging.level: unknown word "loud"' in done.stderr
    assert call("--log-level", "debug", "version").returncode == 0
    done = call("-c", "x", "version")
    assert (done.returncode, done.stderr) == (2, '-c: "version" reads no configuration\n')


def test_unknown_flags_are_refused_with_a_suggestion():
    done = call("source", "--lisen-port", "1", "--tunnel-port", "2", "-c", "/dev/null")
    assert done.returncode == 2
    assert "--lisen-port: unknown flag (did you mean --listen-port?)\n" in done.stderr
    assert '--tunnel-port: this flag belongs to "dest", not to "source"\n' in done.stderr


def test_unknown_and_coming_commands_are_refused_by_name():
    done = call("suorce")
    assert done.returncode == 2
    assert done.stderr == 'qanat: unknown command "suorce" (did you mean "source"?); `qanat help` lists them\n'
    for word in ("vpn-quic", "top", "bench"):
        done = call(word)
        assert done.returncode == 2
        assert 'qanat: "%s" is not built yet; `qanat help` lists what is\n' % word == done.stderr
        assert re.search(r"coming, and refused until then:\n(.*\n)*  %s " % word, call("help").stdout)
    done = call()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: qanat COMMAND [flags]\n")


def test_version_is_one_line_first():
    for word in ("version", "--version", "-V"):
        done = call(word)
        assert done.returncode == 0
        built = r"built: (on [\w.-]+|reproducibly) from \S+( [0-9a-f]+(\+changes)?)?, "
        assert re.match(r"qanat \d+\.\d+\.\d+\n" + built, done.stdout)
    told = json.loads(call("version", "--json").stdout)
    line = ("from %(branch)s %(commit)s" % told).strip() + ", " + told["built_at"] + "\n"
    assert line in call("version").stdout and told["library"].startswith("OpenSSL 3")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", told["built_at"]) and "built_on" in told
    assert call("version", "x").returncode == 2
    for words in (("version", "--help"), ("help", "version")):
        done = call(*words)
        assert done.returncode == 0 and done.stdout.startswith("usage: qanat version [--json]\n")


def test_started_as_utun_it_takes_that_command_line(pair, tmp_path):
    utun = str(tmp_path / "utun")
    os.symlink(QANAT, utun)
    assert call("version", program=utun).returncode == 0
    done = call("--log-level", "debug", "check", "--config", "source.toml", program=utun, cwd=str(pair))
    assert settings_of(done)["logging.level"][0] == '"debug"'
    done = call("source", program=utun, cwd=str(pair))
    if not os.path.exists("/etc/utun/config.toml"):
        assert done.returncode == 2
        assert "/etc/utun/config.toml: cannot be opened: " in done.stderr
    other = str(tmp_path / "rust-vpn")
    os.symlink(QANAT, other)
    done = call("server", program=other)
    assert done.returncode == 2
    assert '"vpn-quic" is not built yet' in done.stderr


# ---- hostile and broken files


@pytest.mark.parametrize("text, line", [
    ("[source\n", 1),
    ("[=]\n", 1),
    ("a = 1\n\u00fc = 2\n", 2),
    ("a = 1\n[b]\nc = \"\x1b[2J\"\n", 3),
    ("a = 1\na = 2\n", 2),
])
def test_broken_toml_names_its_line(pair, text, line):
    write(pair, "broken.toml", text)
    done = call("check", "-c", "broken.toml", cwd=str(pair))
    assert done.returncode == 2
    assert re.match(r"broken\.toml:%d:\d+: " % line, done.stderr), done.stderr
    assert "\x1b" not in done.stderr


def test_folder_and_endless_file_are_refused(pair):
    done = call("check", "source", "-c", ".", cwd=str(pair))
    assert done.returncode == 2 and ".: cannot be read: " in done.stderr
    done = call("check", "source", "-c", "/dev/zero", cwd=str(pair))
    assert done.returncode == 2 and "/dev/zero: is longer than 1048576 bytes" in done.stderr
