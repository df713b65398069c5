"""qanat doctor: what it says of this machine, and of the files of a configuration: good, old, strange, missing.

    config.toml ──► [source] client.crt client.key ca.crt ca.crl ──► findings ──► exit status
                    [dest]   server.crt server.key
"""

import base64
import json
import os
import resource
import subprocess

import pytest

from qanat import QANAT
from test_cert import SECONDS, Folder, cert, openssl, run

CONFIG = """
[source]
dest_host = "dest.example.org"
dest_tunnel_port = 9443
[dest]
tunnel_port = 9443
[[dest.exposed_services]]
name = "echo"
port = 7
target_ip = "127.0.0.1"
target_port = 7
[auth]
ca_cert_path = "{0}/ca.crt"
crl_paths = ["{0}/ca.crl"]
client_cert_path = "{0}/client.crt"
client_key_path = "{0}/client.key"
server_cert_path = "{0}/server.crt"
server_key_path = "{0}/server.key"
"""


def doctor(*words, status=0, **more):
    return json.loads(run(QANAT, "doctor", "--json", *words, status=status, **more)[0])


def about(result, subject):
    return [finding for finding in result["findings"] if finding["subject"] == subject]


@pytest.fixture
def folder(tmp_path):
    folder = Folder(tmp_path)
    folder.make("client", "client")
    folder.make("server", "server", "--dns-names", "dest.example.org")
    cert("crl", "--ca-cert", folder["ca.crt"], "--ca-key", folder["ca.key"], "--out-crl", folder["ca.crl"])
    with open(folder["config.toml"], "w") as file:
        file.write(CONFIG.format(folder.path))
    return folder


def look(folder, status=0):
    return doctor("-c", folder["config.toml"], status=status)


def test_the_cryptography_is_really_used():
    result = doctor()
    for subject in ("X25519", "ML-KEM-768", "Classic McEliece 460896", "ECDSA P-256", "Ed25519", "ML-DSA-65",
                    "ML-DSA-87"):
        (finding,) = about(result, subject)
        assert finding["severity"] == "ok" and finding["text"].startswith("works: ")
        assert "flipped bit" in finding["text"]
    groups = {finding["text"].split(":")[0]: finding["severity"] for finding in about(result, "TLS group")}
    assert groups["X25519MLKEM768"] == "ok" and len(groups) == 5
    assert len(about(result, "TLS signature")) == 4
    version = openssl("version")[0].split()[1]
    assert version in about(result, "OpenSSL")[0]["text"]


def test_the_machine_is_looked_at():
    result = doctor()
    for subject in ("IPv4 loopback", "IPv6 loopback", "congestion control", "kernel TLS", "UDP segmentation (GSO)",
                    "UDP coalescing (GRO)", "TUN device", "descriptors", "locked memory", "processors", "capabilities",
                    "clock", "Landlock", "seccomp", "oqs-provider"):
        assert len(about(result, subject)) == 1, subject
    for finding in result["findings"]:
        assert finding["severity"] == "ok" or finding["advice"], "what to do: " + str(finding)
    available = open("/proc/sys/net/ipv4/tcp_available_congestion_control").read().strip()
    assert available in about(result, "congestion control")[0]["text"]
    said = run(QANAT, "check-environment")[0]
    assert "ok       ML-KEM-768: works" in said and said.rstrip().endswith(" ok")


def test_limits_are_those_of_the_process():
    def lower():
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))

    done = subprocess.run([QANAT, "doctor", "--json"], preexec_fn=lower, stdout=subprocess.PIPE, timeout=SECONDS)
    (finding,) = about(json.loads(done.stdout), "descriptors")
    assert finding["severity"] == "warning" and finding["text"].startswith("100 at most")
    assert "LimitNOFILE" in finding["advice"] and done.returncode == 0, "a warning is no error"


def test_good_files_are_good(folder):
    result = look(folder)
    assert [finding["text"] for finding in about(result, "identity")] == [
        "source: certificate, key and CA belong together", "dest: certificate, key and CA belong together"]
    assert all("is valid until" in finding["text"] or finding["severity"] == "note"
               for finding in about(result, "certificate"))
    assert all(finding["severity"] == "ok" for finding in about(result, "revocation list"))
    assert len(about(result, "revocation list")) == 2
    assert "--key ml-dsa-65" in " ".join(finding["advice"] or "" for finding in about(result, "certificate"))


def test_what_expires_soon_is_a_warning_with_the_way_out(folder):
    folder.make("client", "client", "--validity-days", "5", "--force")
    cert("crl", "--ca-cert", folder["ca.crt"], "--ca-key", folder["ca.key"], "--out-crl", folder["ca.crl"], "--days",
         "1", "--force")
    result = look(folder)
    (finding,) = [finding for finding in about(result, "certificate") if finding["severity"] == "warning"]
    assert "CN=client" in finding["text"] and "qanat cert renew --cert " + folder["client.crt"] in finding["advice"]
    assert {finding["severity"] for finding in about(result, "revocation list")} == {"warning"}


def spoil_expired(folder):
    path = folder.forge("old", "server", "-not_before", "20200101000000Z", "-not_after", "20210101000000Z")
    os.rename(path, folder["server.crt"])
    os.rename(folder["old.key"], folder["server.key"])
    return "expired on 2021-01-01"


def spoil_mode(folder):
    os.chmod(folder["client.key"], 0o644)
    return "chmod 600 " + folder["client.key"]


def spoil_pair(folder):
    os.rename(folder["server.key"], folder["client.key"])
    os.link(folder["client.key"], folder["server.key"])
    return "does not belong to certificate " + folder["client.crt"]


def spoil_usage(folder):
    for end in ".crt", ".key":
        os.unlink(folder["server" + end])
        os.link(folder["client" + end], folder["server" + end])
    return "is not for a server"


def spoil_missing(folder):
    os.unlink(folder["ca.crt"])
    return "CA file %s does not exist" % folder["ca.crt"]


def spoil_revoked(folder):
    cert("revoke", "--cert", folder["client.crt"], "--ca-cert", folder["ca.crt"])
    cert("crl", "--ca-cert", folder["ca.crt"], "--ca-key", folder["ca.key"], "--out-crl", folder["ca.crl"], "--force")
    return "certificate revoked"


def spoil_legacy(folder):
    # A PKCS #8 key with oqs-provider's identifier for Dilithium3.
    der = bytes.fromhex("3013020100300d060b2b0601040102820b070605") + bytes([4, 0])
    der = der[:1] + bytes([len(der) - 2]) + der[2:]
    with open(folder["client.key"], "w") as file:
        file.write("-----BEGIN PRIVATE KEY-----\n%s\n-----END PRIVATE KEY-----\n" % base64.b64encode(der).decode())
    return "--key ml-dsa-65"


@pytest.mark.parametrize("spoil", [spoil_expired, spoil_mode, spoil_pair, spoil_usage, spoil_missing, spoil_revoked,
                                   spoil_legacy])
def test_a_file_that_would_be_refused_is_an_error_with_the_reason(folder, spoil):
    reason = spoil(folder)
    result = look(folder, status=1)
    assert result["worst"] == "error"
    errors = [finding for finding in about(result, "identity") if finding["severity"] == "error"]
    assert errors and any(reason in finding["text"] for finding in errors), errors


def test_a_wrong_configuration_is_an_error(folder):
    with open(folder["config.toml"], "a") as file:
        file.write("no_such_key = 1\n")
    assert "no_such_key" in about(look(folder, status=1), "configuration")[0]["text"]
    with open(folder["config.toml"], "w") as file:
        file.write("[logging]\nlevel = 'info'\n")
    assert "has no section" in about(look(folder, status=1), "configuration")[0]["text"]
    (finding,) = about(doctor("-c", folder["nowhere.toml"], status=1), "configuration")
    assert "nowhere.toml" in finding["text"]


@pytest.mark.parametrize("words", [["-x"], ["more"], ["-c"], ["--log-level", "loud"]])
def test_a_wrong_command_line_says_so(words):
    assert words[0] in run(QANAT, "doctor", *words, status=2)[1]


def test_help_is_given():
    assert run(QANAT, "doctor", "--help")[0].startswith("usage: qanat doctor")
    assert run(QANAT, "help", "check-environment")[0].startswith("usage: qanat doctor")
