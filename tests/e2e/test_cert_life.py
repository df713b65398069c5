"""qanat cert, after the first certificate: requests, renewal, revocation, the CA's index. OpenSSL's command judges.

    node                        CA                                     peers
    csr ─► server.csr ───────► sign ─► server.crt ──┐
                                 │                  ├─► openssl verify -crl_check
               renew ◄───────────┤  ca.crt.index    │
              revoke ───────────►┤                  │
                                crl ──► ca.crl ─────┘
"""

import base64
import fcntl
import json
import os
import re
import signal
import stat
import subprocess
import threading
import time

import pytest

from qanat import OPENSSL, QANAT
from test_cert import KEYS, SECONDS, Folder, cert, openssl

SIGNED_WITH = {"p256": "ecdsa-with-SHA256", "ed25519": "ED25519", "ml-dsa-65": "ML-DSA-65", "ml-dsa-87": "ML-DSA-87"}


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def ca_words(folder):
    return ["--ca-cert", folder["ca.crt"], "--ca-key", folder["ca.key"]]


def write_list(folder, *words, **more):
    return cert("crl", *ca_words(folder), "--out-crl", folder["ca.crl"], *words, **more)


def index_lines(folder):
    with open(folder["ca.crt.index"]) as file:
        return [line.rstrip("\n").split("\t") for line in file if not line.startswith("#")]


def serial_of(path):
    return openssl("x509", "-in", path, "-noout", "-serial")[0].strip().split("=")[1].lower()


def listed(folder, *words, **more):
    return json.loads(cert("list", "--ca-cert", folder["ca.crt"], "--json", *words, **more)[0])["certificates"]


def judge(folder, name, status=0):
    """What a peer with the revocation list says, by OpenSSL and by us."""
    said = openssl("verify", "-x509_strict", "-crl_check", "-CAfile", folder["ca.crt"], "-CRLfile", folder["ca.crl"],
                   folder[name], status=2 if status else 0)
    ours = folder.verify(folder[name], "--crl", folder["ca.crl"], status=status)
    return said[1], ours


@pytest.mark.parametrize("key", KEYS)
def test_a_revoked_certificate_is_refused_and_the_others_are_not(tmp_path, key):
    folder = Folder(tmp_path, key)
    folder.make("server", "good", "--key", key)
    folder.make("client", "bad", "--key", key)
    folder.make("client", "worse", "--key", key)
    write_list(folder)
    for name in "good.crt", "bad.crt":
        judge(folder, name)
    cert("revoke", "--cert", folder["bad.crt"], "--ca-cert", folder["ca.crt"], "--reason", "key-compromise")
    cert("revoke", "--serial", serial_of(folder["worse.crt"]).upper(), "--ca-cert", folder["ca.crt"])
    judge(folder, "bad.crt")  # the old list does not know it yet
    write_list(folder, "--days", "7", "--force")
    judge(folder, "good.crt")
    for name in "bad.crt", "worse.crt":
        theirs, ours = judge(folder, name, status=1)
        assert "certificate revoked" in theirs and "certificate revoked" in ours
    assert stat.S_IMODE(os.stat(folder["ca.crl"]).st_mode) == 0o644
    text = openssl("crl", "-in", folder["ca.crl"], "-noout", "-text", "-CAfile", folder["ca.crt"])
    assert "verify OK" in text[1], "the signature is the CA's"
    text = text[0]
    assert "Version 2 (0x1)" in text and "Issuer: O=qanat, CN=My CA" in text
    assert "Signature Algorithm: " + SIGNED_WITH[key] in text
    assert re.search(r"X509v3 CRL Number:\s+2\n", text)
    of_ca = re.search(r"Subject Key Identifier:\s*\n\s+(\S+)\n", folder.text("ca.crt")).group(1)
    assert re.search(r"X509v3 Authority Key Identifier:\s*\n\s+%s\n" % of_ca, text)
    assert text.count("Serial Number: ") == 2
    entry = text[text.index("Serial Number: " + serial_of(folder["bad.crt"]).upper()):]
    assert re.match(r"Serial Number.*\n.*Revocation Date.*\n\s+CRL entry extensions:\n\s+X509v3 CRL Reason Code: *\n"
                    r"\s+Key Compromise\n", entry)
    times = openssl("crl", "-in", folder["ca.crl"], "-noout", "-lastupdate", "-nextupdate")[0]
    begin, end = (time.strptime(when, "%b %d %H:%M:%S %Y GMT") for when in re.findall(r"Update=(.*)", times))
    assert (time.mktime(end) - time.mktime(begin)) / 86400 == pytest.approx(7, abs=0.1)


def test_a_list_that_is_over_or_of_another_ca_is_refused(folder, tmp_path):
    folder.make("client", "client")
    (tmp_path / "other").mkdir()
    other = Folder(tmp_path / "other")
    write_list(other)
    said = cert("verify", "--cert", folder["client.crt"], "--ca-cert", folder["ca.crt"], "--crl", other["ca.crl"],
                status=1)[1]
    assert "revocation list" in said
    with open(folder["ca.cnf"], "w") as file:
        file.write("[ca]\ndefault_ca=d\n[d]\ndatabase=%s\ndefault_md=sha256\n" % folder["db"])
    open(folder["db"], "w").close()
    openssl("ca", "-config", folder["ca.cnf"], "-gencrl", "-keyfile", folder["ca.key"], "-cert", folder["ca.crt"],
            "-out", folder["old.crl"], "-crl_lastupdate", "20200101000000Z", "-crl_nextupdate", "20200201000000Z")
    said = cert("verify", "--cert", folder["client.crt"], "--ca-cert", folder["ca.crt"], "--crl", folder["old.crl"],
                status=1)[1]
    assert "was to be replaced on 2020-02-01" in said


@pytest.mark.parametrize("key", KEYS)
def test_renewing_keeps_key_names_and_usage(tmp_path, key):
    folder = Folder(tmp_path)
    folder.make("server", "server", "--key", key, "--dns-names", "a.example.org,*.b.example.org", "--ip-addresses",
                "::1", "--validity-days", "3")
    before = folder.text("server.crt")
    key_before = open(folder["server.key"]).read()
    old_serial = serial_of(folder["server.crt"])
    cert("renew", "--cert", folder["server.crt"], *ca_words(folder), "--out-cert", folder["server.crt"], status=1)
    assert serial_of(folder["server.crt"]) == old_serial, "nothing without --force"
    cert("renew", "--cert", folder["server.crt"], *ca_words(folder), "--out-cert", folder["server.crt"], "--force")
    after = folder.text("server.crt")
    assert serial_of(folder["server.crt"]) != old_serial and open(folder["server.key"]).read() == key_before
    openssl("x509", "-in", folder["server.crt"], "-noout", "-checkend", str(364 * 86400))
    for pattern in (r"Subject: .*", r"Subject Alternative Name: *\n.*", r"Extended Key Usage: *\n.*",
                    r"Key Usage: critical\n.*", r"Basic Constraints: critical\n.*", r"Subject Key Identifier: *\n.*",
                    r"Authority Key Identifier: *\n.*", r"Public Key Algorithm: .*"):
        assert re.search(pattern, before).group(0) == re.search(pattern, after).group(0)
    public = openssl("x509", "-in", folder["server.crt"], "-noout", "-pubkey")[0]
    assert openssl("pkey", "-in", folder["server.key"], "-pubout")[0] == public
    folder.verify(folder["server.crt"], "--hostname", "x.b.example.org", "--purpose", "server")
    openssl("verify", "-x509_strict", "-CAfile", folder["ca.crt"], folder["server.crt"])
    # A new key, of the same kind.
    cert("renew", "--cert", folder["server.crt"], *ca_words(folder), "--new-key", "--out-cert", folder["new.crt"],
         "--out-key", folder["new.key"])
    assert stat.S_IMODE(os.stat(folder["new.key"]).st_mode) == 0o600
    fresh = openssl("x509", "-in", folder["new.crt"], "-noout", "-pubkey")[0]
    assert fresh != public and openssl("pkey", "-in", folder["new.key"], "-pubout")[0] == fresh
    algorithm = r"Public Key Algorithm: .*"
    assert re.search(algorithm, folder.text("new.crt")).group(0) == re.search(algorithm, before).group(0)
    assert [line[0] for line in index_lines(folder)] == ["issued"] * 3


def test_renewing_can_change_to_a_quantum_safe_key(folder):
    folder.make("client", "client")
    cert("renew", "--cert", folder["client.crt"], *ca_words(folder), "--new-key", "--key", "ml-dsa-87", "--out-cert",
         folder["client.crt"], "--out-key", folder["client.key"], "--force")
    assert "ML-DSA-87" in folder.text("client.crt")
    folder.verify(folder["client.crt"], "--purpose", "client")


def test_an_expired_certificate_can_be_renewed_and_others_cannot(folder, tmp_path):
    def renew(path, status=0):
        return cert("renew", "--cert", path, *ca_words(folder), "--out-cert", folder["new.crt"], "--force",
                    status=status)[1]

    old = folder.forge("old", "server", "-not_before", "20200101000000Z", "-not_after", "20210101000000Z")
    renew(old)
    folder.verify(folder["new.crt"], "--hostname", "server.example.org")
    os.unlink(folder["new.crt"])
    assert "would be lost (1.2.3.4)" in renew(folder.forge("unknown", "unknown"), status=1)
    assert "for neither a server nor a client" in renew(folder.forge("none", "none"), status=1)
    assert "is a CA's own" in renew(folder.forge("middle", "ca"), status=1)
    assert "is a CA's own" in renew(folder["ca.crt"], status=1)
    (tmp_path / "other").mkdir()
    other = Folder(tmp_path / "other")
    other.make("client", "stranger")
    assert "was not issued by CA" in renew(other["stranger.crt"], status=1)
    folder.make("client", "bad")
    cert("revoke", "--cert", folder["bad.crt"], "--ca-cert", folder["ca.crt"])
    assert "is revoked" in renew(folder["bad.crt"], status=1)
    assert not os.path.exists(folder["new.crt"])


@pytest.mark.parametrize("key", KEYS)
def test_a_key_that_never_leaves_its_machine(tmp_path, key):
    (tmp_path / "ca").mkdir()
    folder = Folder(tmp_path / "ca", "ml-dsa-65")
    node = str(tmp_path / "node")
    os.mkdir(node)
    csr, private = os.path.join(node, "n.csr"), os.path.join(node, "n.key")
    cert("csr", "--common-name", "n.example.org", "--dns-names", "n.example.org,*.n.example.org", "--ip-addresses",
         "192.0.2.1,2001:db8::1", "--key", key, "--out-csr", csr, "--out-key", private, umask=0)
    assert stat.S_IMODE(os.stat(private).st_mode) == 0o600 and stat.S_IMODE(os.stat(csr).st_mode) == 0o644
    text = "".join(openssl("req", "-in", csr, "-noout", "-text", "-verify"))
    assert "self-signature verify OK" in text and "Subject: O=qanat, CN=n.example.org" in text
    names = "DNS:n.example.org, DNS:*.n.example.org, IP Address:192.0.2.1, IP Address:2001:DB8:0:0:0:0:0:1"
    assert names in text
    said = cert("sign", "--csr", csr, "--usage", "server", *ca_words(folder), "--out-cert", folder["n.crt"])[0]
    assert "Names:       DNS:n.example.org,DNS:*.n.example.org,IP:192.0.2.1,IP:2001:db8::1" in said
    assert names in folder.text("n.crt")
    public = openssl("x509", "-in", folder["n.crt"], "-noout", "-pubkey")[0]
    assert openssl("pkey", "-in", private, "-pubout")[0] == public
    strict = ["verify", "-x509_strict", "-CAfile", folder["ca.crt"], "-purpose"]
    openssl(*strict, "sslserver", "-verify_hostname", "x.n.example.org", folder["n.crt"])
    openssl(*strict, "sslclient", folder["n.crt"], status=2)
    # The same key once more, and both usages.
    cert("csr", "--common-name", "n.example.org", "--use-key", private, "--out-csr", csr, "--force")
    cert("sign", "--csr", csr, "--usage", "both", *ca_words(folder), "--out-cert", folder["again.crt"])
    assert openssl("x509", "-in", folder["again.crt"], "-noout", "-pubkey")[0] == public
    openssl(*strict, "sslserver", folder["again.crt"])
    openssl(*strict, "sslclient", folder["again.crt"])
    assert [line[6] for line in index_lines(folder)] == ["server", "server,client"]


REQUEST = """
[req]
distinguished_name = dn
[dn]
[plain]
subjectAltName = DNS:a.example.org
keyUsage = critical,keyEncipherment
extendedKeyUsage = codeSigning
[ca]
basicConstraints = critical,CA:TRUE
subjectAltName = DNS:a.example.org
[uri]
subjectAltName = DNS:a.example.org,URI:spiffe://a/b
[mail]
subjectAltName = email:a@example.org
[wild]
subjectAltName = DNS:*.org
[space]
subjectAltName = DNS:a b
[none]
"""


def stranger(folder, section, *words, subject="/CN=a.example.org/O=Somebody Else/OU=Admins"):
    with open(folder["req.cnf"], "w") as file:
        file.write(REQUEST)
    openssl("req", "-config", folder["req.cnf"], "-new", "-reqexts", section, "-noenc", "-subj", subject, "-keyout",
            folder["s.key"], "-out", folder["s.csr"], *(words or ["-newkey", "ed25519"]))
    return folder["s.csr"]


def sign(folder, csr, usage="server", status=0):
    return cert("sign", "--csr", csr, "--usage", usage, *ca_words(folder), "--out-cert", folder["s.crt"],
                status=status)


def test_the_ca_decides_what_a_strangers_request_gets(folder):
    said = sign(folder, stranger(folder, "plain"))[0]
    assert "Not given:   keyUsage, extendedKeyUsage" in said
    text = folder.text("s.crt")
    assert "Subject: O=qanat, CN=a.example.org\n" in text, "only the common name is taken over"
    assert re.search(r"Key Usage: critical\s+Digital Signature\n", text) and "Code Signing" not in text
    assert "TLS Web Server Authentication\n" in text and "DNS:a.example.org" in text


@pytest.mark.parametrize("section,reason", [
    ("ca", "asks to be a CA"), ("uri", "a URI"), ("mail", "an e-mail address"), ("wild", "'*.org', which is not a DNS"),
    ("space", "'a b', which is not a DNS name"),
])
def test_a_request_that_asks_too_much_is_refused_whole(folder, section, reason):
    csr = stranger(folder, section)
    said = sign(folder, csr, status=1)[1]
    assert reason in said and "is not signed" in said
    assert not os.path.exists(folder["s.crt"]) and not os.path.exists(folder["ca.crt.index"])
    shown = json.loads(cert("show", csr, "--json")[0])["requests"][0]
    assert shown["is_acceptable"] is False and reason in shown["fault"] and shown["self_signature_is_good"] is True
    assert "refuses it: " in cert("show", csr)[0]


def test_keys_and_subjects_of_requests_are_judged(folder):
    assert "too weak" in sign(folder, stranger(folder, "plain", "-newkey", "rsa:1024"), status=1)[1]
    assert "no common name" in sign(folder, stranger(folder, "plain", subject="/O=x"), status=1)[1]
    assert "several common names" in sign(folder, stranger(folder, "plain", subject="/CN=a/CN=b"), status=1)[1]
    assert "needs the names" in sign(folder, stranger(folder, "none", subject="/CN=no name"), status=1)[1]
    sign(folder, stranger(folder, "none", subject="/CN=no name"), usage="client")
    os.unlink(folder["s.crt"])
    sign(folder, stranger(folder, "plain", "-newkey", "rsa:2048"))
    assert "holds none in PEM form" in sign(folder, folder["ca.crt"], status=1)[1]


def test_a_request_with_any_flipped_bit_is_not_signed(folder):
    csr = stranger(folder, "plain")
    openssl("req", "-in", csr, "-outform", "DER", "-out", folder["s.der"])
    whole = open(folder["s.der"], "rb").read()
    judged = 0
    for at in range(0, len(whole), 5):
        spoilt = bytearray(whole)
        spoilt[at] ^= 1
        with open(folder["spoilt.der"], "wb") as file:
            file.write(spoilt)
        made = subprocess.run([OPENSSL, "req", "-inform", "DER", "-in", folder["spoilt.der"], "-out",
                               folder["spoilt.csr"]], stderr=subprocess.DEVNULL, timeout=SECONDS)
        if made.returncode == 0:
            assert "is not signed" in sign(folder, folder["spoilt.csr"], status=1)[1]
            judged += 1
    assert judged > 10
    assert not os.path.exists(folder["s.crt"])


def test_everything_issued_is_in_the_index(folder):
    folder.make("server", "server")
    folder.make("client", "client", "--validity-days", "20")
    sign(folder, stranger(folder, "plain"))
    entries = listed(folder)
    assert [entry["subject"] for entry in entries] == ["CN=server, O=qanat", "CN=client, O=qanat",
                                                       "CN=a.example.org, O=qanat"]
    for entry, name in zip(entries, ("server.crt", "client.crt", "s.crt")):
        assert entry["serial"] == serial_of(folder[name]) and entry["state"] == "valid"
        der = openssl("x509", "-in", folder[name], "-noout", "-fingerprint", "-sha256")[0]
        assert entry["fingerprint_sha256"] == der.strip().split("=")[1].replace(":", "").lower()
    assert stat.S_IMODE(os.stat(folder["ca.crt.index"]).st_mode) == 0o600
    due = listed(folder, "--expires-in", "30", status=1)
    assert [entry["subject"] for entry in due] == ["CN=client, O=qanat"] and due[0]["days_left"] in (19, 20)
    assert listed(folder, "--expires-in", "10") == []
    cert("renew", "--cert", folder["client.crt"], *ca_words(folder), "--out-cert", folder["new.crt"])
    assert listed(folder, "--expires-in", "30") == [], "a later one took its place"


def test_a_certificate_whose_file_cannot_be_written_is_withdrawn(folder):
    """A limit on the size of files (1 KiB) cuts the certificate, and not the index, which is shorter."""
    os.mkdir(folder["full"])
    limit = "ulimit -f 1; exec \"$@\""
    folder.make("server", "first")
    assert os.stat(folder["ca.crt.index"]).st_size < 512
    done = subprocess.run(["bash", "-c", "trap '' XFSZ; " + limit, "x", QANAT, "cert", "server", "--common-name", "a",
                           "--key", "ml-dsa-87", *ca_words(folder), "--out-cert", folder["full/a.crt"], "--out-key",
                           folder["full/a.key"]], stderr=subprocess.PIPE, timeout=SECONDS, universal_newlines=True)
    assert done.returncode == 1 and "cannot be written" in done.stderr
    assert os.listdir(folder["full"]) == []
    assert [line[0] for line in index_lines(folder)] == ["issued", "issued", "withdrawn"]
    assert listed(folder)[1]["state"] == "withdrawn"


def test_nothing_is_issued_when_the_index_cannot_be_written(folder):
    os.mkdir(folder["ca.crt.index"])
    said = folder.make("client", "client", status=1)[1]
    assert "index" in said and not os.path.exists(folder["client.crt"]) and not os.path.exists(folder["client.key"])
    folder.make("client", "client", "--index", folder["elsewhere"])
    assert os.path.exists(folder["elsewhere"])
    os.chmod(folder["elsewhere"], 0o666)
    said = folder.make("client", "more", "--index", folder["elsewhere"], status=1)[1]
    assert "chmod go-w" in said and not os.path.exists(folder["more.crt"])


def test_a_line_torn_by_a_crash_is_ended_and_ignored(folder):
    folder.make("client", "one")
    whole = open(folder["ca.crt.index"]).read()
    for cut in range(1, len(whole.splitlines()[-1]), 17):
        with open(folder["ca.crt.index"], "w") as file:
            file.write(whole + whole.splitlines()[-1][:cut])
        assert len(listed(folder)) == 1, "a reader passes over the torn line"
        cert("revoke", "--cert", folder["one.crt"], "--ca-cert", folder["ca.crt"])
        assert [line[0] for line in index_lines(folder)][-1] == "revoked"
        assert listed(folder)[0]["state"] == "revoked"
    with open(folder["ca.crt.index"], "w") as file:
        file.write(whole + "nonsense\n")
    said = folder.make("client", "two", status=1)[1]
    assert "line 3 of the index" in said and not os.path.exists(folder["two.crt"])


def test_a_killed_ca_leaves_nothing_issued_that_is_not_recorded(folder):
    """kill -9 at every moment of issuing: whatever certificate exists is in the index."""
    words = [QANAT, "cert", "client", "--common-name", "x", "--key", "ed25519", *ca_words(folder)]
    for turn in range(40):
        node = subprocess.Popen(words + ["--out-cert", folder["%d.crt" % turn], "--out-key", folder["%d.key" % turn]],
                                stdout=subprocess.DEVNULL)
        threading.Event().wait(turn * 0.0007)
        node.send_signal(signal.SIGKILL)
        node.wait(SECONDS)
    folder.make("client", "last")
    known = {entry["serial"] for entry in listed(folder)}
    made = [name for name in os.listdir(folder.path) if name.endswith(".crt") and name != "ca.crt"]
    assert made
    for name in made:
        assert serial_of(folder[name]) in known, name
        assert os.path.exists(folder[name[:-4] + ".key"])


def test_many_at_once_wait_for_each_other(folder):
    nodes = [subprocess.Popen([QANAT, "cert", "client", "--common-name", "c%d" % i, *ca_words(folder), "--out-cert",
                               folder["c%d.crt" % i], "--out-key", folder["c%d.key" % i]], stdout=subprocess.DEVNULL)
             for i in range(12)]
    assert [node.wait(SECONDS) for node in nodes] == [0] * 12
    assert sorted(entry["subject"] for entry in listed(folder)) == sorted("CN=c%d, O=qanat" % i for i in range(12))


def test_a_writer_waits_for_the_lock(folder):
    folder.make("client", "one")
    with open(folder["ca.crt.index"]) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        node = subprocess.Popen([QANAT, "cert", "client", "--common-name", "two", *ca_words(folder), "--out-cert",
                                 folder["two.crt"], "--out-key", folder["two.key"]], stdout=subprocess.DEVNULL)
        with pytest.raises(subprocess.TimeoutExpired):
            node.wait(0.5)
        assert not os.path.exists(folder["two.crt"]), "it was issued while another held the index"
    assert node.wait(SECONDS) == 0


def test_an_old_ca_without_an_index_revokes_by_file(folder):
    folder.make("client", "old")
    serial = serial_of(folder["old.crt"])
    os.unlink(folder["ca.crt.index"])
    said = cert("revoke", "--serial", serial, "--ca-cert", folder["ca.crt"], status=1)[1]
    assert "--cert FILE" in said
    cert("revoke", "--cert", folder["old.crt"], "--ca-cert", folder["ca.crt"], "--reason", "superseded")
    write_list(folder)
    assert "certificate revoked" in judge(folder, "old.crt", status=1)[0]
    entry = listed(folder)[0]
    assert entry["serial"] == serial and entry["issued_at"] is None and entry["reason"] == "superseded"
    odd = folder.forge("odd", "server", "-set_serial", "0x0a0b")
    cert("revoke", "--cert", odd, "--ca-cert", folder["ca.crt"])
    write_list(folder, "--force")
    judge(folder, "odd.crt", status=1)


def test_only_the_ca_itself_revokes(folder, tmp_path):
    (tmp_path / "other").mkdir()
    other = Folder(tmp_path / "other")
    other.make("client", "stranger")
    said = cert("revoke", "--cert", other["stranger.crt"], "--ca-cert", folder["ca.crt"], status=1)[1]
    assert "was not issued by CA" in said
    assert "is the CA's own" in cert("revoke", "--cert", folder["ca.crt"], "--ca-cert", folder["ca.crt"], status=1)[1]


def test_a_lost_index_does_not_forget_what_the_list_knows(folder):
    folder.make("client", "bad")
    cert("revoke", "--cert", folder["bad.crt"], "--ca-cert", folder["ca.crt"])
    write_list(folder)
    write_list(folder, "--force")
    os.unlink(folder["ca.crt.index"])
    said = write_list(folder, "--force", status=1)[1]
    assert "would forget them" in said
    judge(folder, "bad.crt", status=1)
    cert("revoke", "--cert", folder["bad.crt"], "--ca-cert", folder["ca.crt"])
    write_list(folder, "--force")
    shown = json.loads(cert("show", folder["ca.crl"], "--json")[0])["revocation_lists"][0]
    assert shown["number"] == "3", "numbers never go back"
    assert [item["serial"] for item in shown["revoked"]] == [serial_of(folder["bad.crt"])]


def test_a_ca_made_anew_begins_anew(folder):
    folder.make("client", "before")
    cert("ca", "--common-name", "My CA", "--out-cert", folder["ca.crt"], "--out-key", folder["ca.key"], "--force")
    folder.make("client", "after")
    assert [entry["subject"] for entry in listed(folder)] == ["CN=after, O=qanat"]
    assert len(index_lines(folder)) == 2
    said = cert("crl", *ca_words(folder), "--out-crl", folder["ca.crt.index"], "--force", status=1)[1]
    assert "is the CA's own file" in said


def test_material_from_before_the_standard_names_its_successor(folder):
    said = cert("csr", "--common-name", "x", "--key", "dilithium3", "--out-csr", folder["x.csr"], "--out-key",
                folder["x.key"], status=2)[1]
    assert "--key ml-dsa-65" in said
    # A PKCS #8 key with oqs-provider's identifier for Dilithium3 (1.3.6.1.4.1.2.267.7.6.5) and some bytes for a key.
    with open(folder["old.cnf"], "w") as file:
        file.write("asn1=SEQUENCE:k\n[k]\nv=INTEGER:0\na=SEQUENCE:a\np=FORMAT:HEX,OCTETSTRING:0401020304\n"
                   "[a]\no=OID:1.3.6.1.4.1.2.267.7.6.5\n")
    openssl("asn1parse", "-genconf", folder["old.cnf"], "-noout", "-out", folder["old.der"])
    with open(os.open(folder["old.key"], os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        body = base64.b64encode(open(folder["old.der"], "rb").read()).decode()
        file.write("-----BEGIN PRIVATE KEY-----\n%s\n-----END PRIVATE KEY-----\n" % body)
    said = cert("csr", "--common-name", "x", "--use-key", folder["old.key"], "--out-csr", folder["x.csr"], status=1)[1]
    assert "Dilithium3" in said and "--key ml-dsa-65" in said
