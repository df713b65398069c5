"""qanat cert: what it makes is judged by OpenSSL's own command, what it verifies was made by OpenSSL's own command.

    ca.crt ─ signs ─► server.crt ◄─ openssl verify        openssl x509 ─ signs ─► odd.crt ◄─ qanat cert verify
"""

import json
import os
import re
import stat
import subprocess

import pytest

from qanat import OPENSSL, QANAT, ROOT

SCRIPT = os.path.join(ROOT, "scripts", "generate-certs.sh")
KEYS = ["p256", "ed25519", "ml-dsa-65", "ml-dsa-87"]
SECONDS = 60

EXTENSIONS = """
[server]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:server.example.org
[none]
basicConstraints = critical,CA:FALSE
subjectAltName = DNS:server.example.org
[unknown]
basicConstraints = critical,CA:FALSE
extendedKeyUsage = serverAuth
1.2.3.4 = critical,ASN1:UTF8String:nobody knows me
[ca]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign
[narrow]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign
subjectKeyIdentifier = hash
nameConstraints = critical,permitted;DNS:example.org
"""


def run(*words, status=0, umask=None, **more):
    """Runs a command that must end with that status; standard output and standard error of it."""
    set_umask = None if umask is None else lambda: os.umask(umask)
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=SECONDS, universal_newlines=True, preexec_fn=set_umask, **more)
    said = done.stdout + done.stderr
    assert done.returncode == status, "%s: exit status %d\n%s" % (" ".join(words), done.returncode, said)
    assert "PRIVATE KEY" not in said, "a key was printed"
    return done.stdout, done.stderr


def cert(*words, **more):
    return run(QANAT, "cert", *words, **more)


def openssl(*words, **more):
    return run(OPENSSL, *words, **more)


class Folder:
    """A CA in a folder of its own, and what it issues."""

    def __init__(self, path, key="p256"):
        self.path = str(path)
        cert("ca", "--common-name", "My CA", "--key", key, "--out-cert", self["ca.crt"], "--out-key", self["ca.key"])

    def __getitem__(self, name):
        return os.path.join(self.path, name)

    def make(self, kind, name, *words, **more):
        return cert(kind, "--common-name", name, "--ca-cert", self["ca.crt"], "--ca-key", self["ca.key"],
                    "--out-cert", self[name + ".crt"], "--out-key", self[name + ".key"], *words, **more)

    def forge(self, name, section, *words, subject="/CN=odd"):
        """A certificate of our CA that `qanat cert` would not make."""
        with open(self["extensions.cnf"], "w") as file:
            file.write("[req]\ndistinguished_name=dn\n[dn]\n" + EXTENSIONS)
        openssl("req", "-config", self["extensions.cnf"], "-new", "-newkey", "ed25519", "-noenc", "-subj", subject,
                "-keyout", self[name + ".key"], "-out", self[name + ".csr"])
        openssl("x509", "-req", "-in", self[name + ".csr"], "-CA", self["ca.crt"], "-CAkey", self["ca.key"],
                "-extfile", self["extensions.cnf"], "-extensions", section, "-out", self[name + ".crt"], *words)
        return self[name + ".crt"]

    def verify(self, path, *words, status=0):
        return cert("verify", "--cert", path, "--ca-cert", self["ca.crt"], *words, status=status)[0]

    def text(self, name):
        return openssl("x509", "-in", self[name], "-noout", "-text")[0]


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


@pytest.mark.parametrize("ca_key", KEYS)
def test_openssl_accepts_every_pair_of_algorithms(tmp_path, ca_key):
    folder = Folder(tmp_path, ca_key)
    for key in KEYS:
        name = "server-" + key
        folder.make("server", name, "--key", key, "--dns-names", "server.example.org",
                    "--ip-addresses", "192.0.2.1,2001:db8::1")
        strict = ["verify", "-x509_strict", "-check_ss_sig", "-CAfile", folder["ca.crt"], "-purpose", "sslserver"]
        openssl(*strict, "-verify_hostname", "server.example.org", folder[name + ".crt"])
        openssl(*strict, "-verify_ip", "2001:db8::1", folder[name + ".crt"])
        openssl(*strict, "-verify_hostname", "other.example.org", folder[name + ".crt"], status=2)
        openssl("verify", "-CAfile", folder["ca.crt"], "-purpose", "sslclient", folder[name + ".crt"], status=2)
        public = openssl("x509", "-in", folder[name + ".crt"], "-noout", "-pubkey")[0]
        assert openssl("pkey", "-in", folder[name + ".key"], "-pubout")[0] == public, "the key is not the certificate's"
        folder.verify(folder[name + ".crt"], "--hostname", "192.0.2.1")


def test_what_the_certificates_say(folder):
    folder.make("server", "server", "--dns-names", "a.example.org,*.b.example.org", "--ip-addresses", "127.0.0.1,::1")
    folder.make("client", "client")
    ca, server, client = folder.text("ca.crt"), folder.text("server.crt"), folder.text("client.crt")
    assert re.search(r"Basic Constraints: critical\s+CA:TRUE, pathlen:0\n", ca)
    assert re.search(r"Key Usage: critical\s+Certificate Sign, CRL Sign\n", ca)
    for leaf, usage in (server, "TLS Web Server Authentication"), (client, "TLS Web Client Authentication"):
        assert re.search(r"Basic Constraints: critical\s+CA:FALSE\n", leaf)
        assert re.search(r"Key Usage: critical\s+Digital Signature\n", leaf)
        assert re.search(r"Extended Key Usage:\s+%s\n" % usage, leaf)
    identifier = r"%s Key Identifier:\s*\n\s+([0-9A-F:]{59})\n"
    of_ca = re.search(identifier % "Subject", ca).group(1)
    for text in ca, server, client:
        assert re.search(identifier % "Authority", text).group(1) == of_ca
        assert re.search(identifier % "Subject", text)
    assert "DNS:a.example.org, DNS:*.b.example.org, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1" in server
    assert "Subject: O=qanat, CN=client" in client
    names = "ca.crt", "server.crt", "client.crt"
    assert len({openssl("x509", "-in", folder[name], "-noout", "-serial")[0] for name in names}) == 3
    # An hour back, so that a peer whose clock is behind does not refuse it; checkend says how far it reaches.
    behind = str(int(os.stat(folder["ca.crt"]).st_mtime) - 3000)
    openssl("verify", "-CAfile", folder["ca.crt"], "-attime", behind, folder["client.crt"])
    openssl("x509", "-in", folder["client.crt"], "-noout", "-checkend", str(364 * 86400))
    openssl("x509", "-in", folder["client.crt"], "-noout", "-checkend", str(366 * 86400), status=1)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_file_modes_do_not_depend_on_the_umask(tmp_path, umask):
    cert("ca", "--common-name", "x", "--out-cert", str(tmp_path / "ca.crt"), "--out-key", str(tmp_path / "ca.key"),
         umask=umask)
    assert stat.S_IMODE(os.stat(tmp_path / "ca.key").st_mode) == 0o600
    assert stat.S_IMODE(os.stat(tmp_path / "ca.crt").st_mode) == 0o644
    assert sorted(os.listdir(tmp_path)) == ["ca.crt", "ca.key"]


def test_nothing_is_replaced_without_force(folder):
    folder.make("client", "client")
    before = [open(folder[name]).read() for name in ("client.crt", "client.key")]
    assert "--force" in folder.make("client", "client", status=1)[1]
    os.unlink(folder["client.crt"])
    assert "client.key exists" in folder.make("client", "client", status=1)[1]
    assert not os.path.exists(folder["client.crt"]) and open(folder["client.key"]).read() == before[1]
    folder.make("client", "client", "--force")
    assert open(folder["client.key"]).read() != before[1]
    openssl("verify", "-CAfile", folder["ca.crt"], folder["client.crt"])


def test_both_outputs_are_asked_for_before_any_work(folder):
    said = cert("client", "--common-name", "x", "--ca-cert", folder["ca.crt"], "--ca-key", folder["ca.key"],
                "--out-cert", folder["x.crt"], status=2)[1]
    assert "missing --out-key" in said
    said = cert("client", "--common-name", "x", "--ca-cert", folder["ca.crt"], "--ca-key", folder["ca.key"],
                "--out-cert", folder["x.crt"], "--out-key", folder["nowhere/x.key"], status=1)[1]
    assert "nowhere/x.key" in said
    assert not os.path.exists(folder["x.crt"])


def test_a_ca_key_that_others_can_read_is_refused_with_the_fix(folder):
    os.chmod(folder["ca.key"], 0o644)
    said = folder.make("client", "client", status=1)[1]
    assert "chmod 600 " + folder["ca.key"] in said and "mode 0644" in said
    assert not os.path.exists(folder["client.crt"])
    os.chmod(folder["ca.key"], 0o640)
    folder.make("client", "client")


def test_a_key_of_a_foreign_ca_signs_nothing(folder, tmp_path):
    (tmp_path / "other").mkdir()
    other = Folder(tmp_path / "other")
    said = cert("client", "--common-name", "x", "--ca-cert", folder["ca.crt"], "--ca-key", other["ca.key"],
                "--out-cert", folder["x.crt"], "--out-key", folder["x.key"], status=1)[1]
    assert "does not belong to" in said


def test_show_takes_the_file_as_a_plain_argument_or_as_a_flag(folder):
    folder.make("server", "server", "--dns-names", "a.example.org")
    plain = cert("show", folder["server.crt"])[0]
    assert plain == cert("show", "--cert", folder["server.crt"])[0]
    for words in ("CN=server, O=qanat", "CN=My CA, O=qanat", "DNS:a.example.org", "TLS Web Server Authentication",
                  "P-256"):
        assert words in plain
    shown = json.loads(cert("show", folder["server.crt"], "--json")[0])["certificates"][0]
    der = openssl("x509", "-in", folder["server.crt"], "-noout", "-fingerprint", "-sha256", "-serial")[0]
    assert shown["fingerprint_sha256"] == re.search(r"Fingerprint=(\S+)", der).group(1).replace(":", "").lower()
    assert shown["serial"] == re.search(r"serial=(\S+)", der).group(1).lower()
    assert shown["names"] == ["DNS:a.example.org"] and shown["is_ca"] is False
    with open(folder["both.crt"], "w") as both:
        both.write(open(folder["server.crt"]).read() + open(folder["ca.crt"]).read())
    assert len(json.loads(cert("show", folder["both.crt"], "--json")[0])["certificates"]) == 2
    assert "Certificate 2 of 2" in cert("show", folder["both.crt"])[0]
    assert "holds no certificate" in cert("show", folder["server.key"], status=1)[1]


def make_named_server(folder):
    folder.make("server", "server", "--dns-names", "server.example.org,*.wild.example.org",
                "--ip-addresses", "2001:db8::1,192.0.2.1")


def test_verify_prints_what_passed(folder):
    make_named_server(folder)
    for name in "server.example.org", "x.wild.example.org", "2001:db8::1", "[2001:DB8:0::1]", "192.0.2.1":
        assert folder.verify(folder["server.crt"], "--hostname", name) == (
            "Certificate chain verification: PASSED\n"
            "Hostname verification for '%s': PASSED\n"
            "All verifications passed successfully\n" % name)
    folder.make("client", "client")
    assert folder.verify(folder["client.crt"], "--purpose", "client") == (
        "Certificate chain verification: PASSED\nAll verifications passed successfully\n")
    assert json.loads(folder.verify(folder["client.crt"], "--json"))["passed"] is True


@pytest.mark.parametrize("name", ["other.example.org", "example.org", "x.y.wild.example.org", "wild.example.org",
                                  "server", "192.0.2.2", "2001:db8::2", ".example.org"])
def test_verify_fails_for_a_name_that_is_not_there(folder, name):
    make_named_server(folder)
    said = folder.verify(folder["server.crt"], "--hostname", name, status=1)
    assert "Hostname verification for '%s': FAILED (the certificate is for DNS:server.example.org" % name in said
    assert "All verifications passed" not in said


def test_verify_fails_with_the_reason(folder, tmp_path):
    (tmp_path / "other").mkdir()
    other = Folder(tmp_path / "other")
    other.make("server", "stranger")
    assert "FAILED (not issued by the CA given" in folder.verify(other["stranger.crt"], status=1)
    old = folder.forge("old", "server", "-not_before", "20200101000000Z", "-not_after", "20210101000000Z")
    assert "FAILED (certificate has expired (CN=odd))" in folder.verify(old, status=1)
    early = folder.forge("early", "server", "-not_before", "20900101000000Z", "-not_after", "20910101000000Z")
    assert "FAILED (certificate is not yet valid (CN=odd))" in folder.verify(early, status=1)
    useless = folder.forge("useless", "none")
    assert "neither serverAuth nor clientAuth" in folder.verify(useless, status=1)
    unknown = folder.forge("unknown", "unknown")
    assert "FAILED (unhandled critical extension (CN=odd))" in folder.verify(unknown, status=1)
    good = folder.forge("good", "server")
    assert "lacks clientAuth" in folder.verify(good, "--purpose", "client", status=1)
    verdict = json.loads(
        folder.verify(good, "--purpose", "client", "--hostname", "server.example.org", "--json", status=1))
    assert verdict["passed"] is False and verdict["hostname"]["passed"] is True
    assert "clientAuth" in verdict["chain"]["reason"]
    folder.verify(good, "--purpose", "server", "--hostname", "server.example.org")
    said = cert("verify", "--cert", good, "--ca-cert", good, status=1)[1]
    assert "is not a CA's" in said


def test_a_ca_may_not_make_further_cas(folder):
    """Path length 0: a certificate below a CA below ours is refused."""
    folder.forge("middle", "ca", subject="/CN=middle")
    below = cert("server", "--common-name", "deep.example.org", "--ca-cert", folder["middle.crt"],
                 "--ca-key", folder["middle.key"], "--out-cert", folder["deep.crt"], "--out-key", folder["deep.key"])[0]
    assert "CN=deep.example.org" in below
    shown = json.loads(cert("show", folder["deep.crt"], "--json")[0])["certificates"]
    assert len(shown) == 2, "the intermediate goes with it"
    assert "FAILED (path length constraint exceeded" in folder.verify(folder["deep.crt"], status=1)


def test_the_names_a_ca_may_speak_for_are_honoured(folder):
    folder.forge("unused", "ca")
    openssl("req", "-config", folder["extensions.cnf"], "-x509", "-extensions", "narrow", "-subj", "/CN=narrow CA",
            "-newkey", "ed25519", "-noenc", "-keyout", folder["ca.key"], "-out", folder["ca.crt"])
    folder.make("server", "inside", "--dns-names", "a.example.org")
    folder.verify(folder["inside.crt"], "--hostname", "a.example.org")
    folder.make("server", "outside", "--dns-names", "a.example.com")
    assert "FAILED (permitted subtree violation" in folder.verify(folder["outside.crt"], status=1)


def test_a_full_disk_under_the_output_is_a_failure(folder):
    with open("/dev/full", "w") as full:
        done = subprocess.run([QANAT, "cert", "show", folder["ca.crt"]], stdout=full, stderr=subprocess.PIPE,
                              timeout=SECONDS)
    assert done.returncode == 1 and b"no space" in done.stderr.lower()


def test_a_certificate_with_one_flipped_byte_is_refused(folder):
    folder.make("server", "server")
    openssl("x509", "-in", folder["server.crt"], "-outform", "DER", "-out", folder["server.der"])
    whole = open(folder["server.der"], "rb").read()
    judged = 0
    for at in range(0, len(whole), 7):
        spoilt = bytearray(whole)
        spoilt[at] ^= 0x01
        with open(folder["spoilt.der"], "wb") as file:
            file.write(spoilt)
        # Bytes that OpenSSL itself cannot parse never become PEM.
        command = [OPENSSL, "x509", "-inform", "DER", "-in", folder["spoilt.der"], "-out", folder["spoilt.crt"]]
        if subprocess.run(command, stderr=subprocess.DEVNULL, timeout=SECONDS).returncode == 0:
            folder.verify(folder["spoilt.crt"], status=1)
            judged += 1
    assert judged > 10


@pytest.mark.parametrize("layout,files", [
    ("utun", ["ca.crt", "ca.crt.index", "ca.key", "dest/server.crt", "dest/server.key", "source/client.crt",
              "source/client.key"]),
    ("flat", ["ca.crt", "ca.crt.index", "ca.key", "client.crt", "client.key", "server.crt", "server.key"]),
])
def test_the_script_makes_the_seeds_sets(tmp_path, layout, files):
    environment = dict(os.environ, QANAT=QANAT)
    said = run(SCRIPT, "--layout", layout, "--dir", "set", "--dns", "a.example.org", "--ip", "192.0.2.9",
               "--key", "ed25519", cwd=str(tmp_path), env=environment)[0]
    assert said.count("All verifications passed successfully") == 2
    assert "DNS:a.example.org" in said and "IP:192.0.2.9" in said
    made = tmp_path / "set"
    found = [os.path.relpath(os.path.join(path, name), made) for path, _, names in os.walk(made) for name in names]
    assert sorted(found) == files
    said = run(SCRIPT, "--layout", layout, "--dir", "set", cwd=str(tmp_path), env=environment, status=1)[1]
    assert "--force" in said
    run(SCRIPT, "--layout", layout, "--dir", "set", "--force", cwd=str(tmp_path), env=environment)


def test_the_script_leaves_nothing_of_a_failed_run(tmp_path):
    environment = dict(os.environ, QANAT=QANAT)
    run(SCRIPT, "--dir", "set", "--dns", "not_a_name", cwd=str(tmp_path), env=environment, status=1)
    assert [names for _, _, names in os.walk(tmp_path) if names] == []
    said = run(SCRIPT, "--layout", "round", cwd=str(tmp_path), env=environment, status=2)[1]
    assert said.startswith("generate-certs: --layout is utun or flat, not round")


@pytest.mark.parametrize("verb", ["", "ca", "server", "client", "csr", "sign", "renew", "revoke", "crl", "list", "show",
                                  "verify"])
def test_help_teaches_with_an_example(verb):
    said = cert(*([verb] if verb else []), "--help")[0]
    assert said.startswith("usage: qanat cert") and "\n  qanat cert " + verb in said
