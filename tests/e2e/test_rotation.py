"""Keys and certificates change while verified streams run, and nobody notices. Links that must not stand are cut."""

import copy
import os
import subprocess

import pytest

import peers
from peers import Helper, Recorder, Server, dial, read_exactly, read_to_end
from qanat import OPENSSL, PATIENCE, QANAT, Certs, free_port, run, wait
from streams import Stream, go_on


SAN = "subjectAltName=DNS:localhost,IP:127.0.0.1"


def no_resets(*nodes):
    for node in nodes:
        for outcome in ("reset_by_peer", "reset_by_local", "no_link", "refused_by_peer"):
            assert node.metric("qanat_flows_total", outcome=outcome) == 0, (node.name, outcome)


def with_auth(node, **auth):
    config = copy.deepcopy(node.config)
    config["auth"].update(auth)
    return config


def by_ca(folder, name, usage, subject, ca, ca_key, *extensions):
    """A certificate of this CA, by openssl; returns the paths of certificate and key."""
    cert, key = os.path.join(folder, name + ".crt"), os.path.join(folder, name + ".key")
    command = [OPENSSL, "req", "-x509", "-new", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-subj", subject, "-CA", ca, "-CAkey", ca_key, "-out", cert, "-keyout", key, "-days", "30"]
    for extension in ("extendedKeyUsage=" + usage if usage else "", *extensions):
        command += ["-addext", extension] if extension else []
    run(command)
    os.chmod(key, 0o600)
    return cert, key


class Root:
    """A CA that may have CAs below it (those of `qanat cert ca` may not), with a certificate for each side."""

    def __init__(self, folder):
        os.makedirs(folder)
        self.ca, self.ca_key = os.path.join(folder, "ca.crt"), os.path.join(folder, "ca.key")
        command = [OPENSSL, "req", "-x509", "-new", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        command += ["-subj", "/CN=Test Root", "-out", self.ca, "-keyout", self.ca_key, "-days", "30"]
        command += ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
        run(command)
        self.client, self.client_key = by_ca(folder, "client", "clientAuth", "/CN=source.test", self.ca, self.ca_key)
        self.server, self.server_key = by_ca(
            folder, "server", "serverAuth", "/CN=dest.test", self.ca, self.ca_key, SAN
        )

    def middle(self, folder):
        return by_ca(
            folder, "middle", None, "/CN=Middle", self.ca, self.ca_key,
            "basicConstraints=critical,CA:TRUE,pathlen:0", "keyUsage=critical,keyCertSign,cRLSign",
        )  # fmt: skip


def join_files(target, *parts):
    with open(target, "wb") as out:
        for part in parts:
            with open(part, "rb") as file:
                out.write(file.read())
    return target


# ---- keys


@pytest.mark.serial
@pytest.mark.parametrize("trigger", ["time", "bytes", "streams"])
def test_epochs_change_under_load_and_both_ends_show_the_same(world, trigger):
    """
    4 verified streams, short ones beside them ══ source ══ epoch 1, 2, 3, … ══ dest      by time, by bytes, by streams
    """
    crypto = {
        "time": {"key_rotation_interval_seconds": 1},
        "bytes": {"key_rotation_bytes": 4 << 20},
        "streams": {"key_rotation_streams": 10},
    }[trigger]
    target = world.add(Server(peers.echo))
    near, source, dest = world.pair(target.address, crypto={"kem_mode": "mlkem768", **crypto})
    streams = [world.add(Stream(near)) for _ in range(4)]
    seen = set()

    def look():
        assert peers.ask(near, b"a short one") == b"a short one"
        seen.add(source.link()["epoch"])
        return len(seen) >= 4

    source.wait(look, "four epochs to be seen", 40)
    source.wait(lambda: source.link()["epoch"] == dest.link()["epoch"], "both ends to show the same epoch")
    wait(go_on(streams), "the streams to go on")
    for stream in streams:
        stream.finish()
    for node in (source, dest):
        assert node.metric("qanat_epochs_total", outcome="failed") == 0
    assert source.metric("qanat_links_opened_total") == 1
    no_resets(source, dest)


@pytest.mark.serial
def test_a_flow_crosses_many_key_updates_in_both_directions(world):
    """
    client ══ 96 MiB each way at once ══ source ══ TLS keys new after every 256 KiB ══ dest ══ bulk
    """
    far = world.add(Helper("bulk", "serve", "127.0.0.1:0"))
    near, source, dest = world.pair(far.address, crypto={"kem_mode": "mlkem768", "tls_key_update_bytes": 256 << 10})
    status, result = peers.call_helper("bulk", "run", "%s:%d" % near, "--bytes", 96 << 20)
    assert status == 0, result
    for node in (source, dest):
        # Each side updates the keys it sends with; a unit is at most 64 KiB, so they last 320 KiB at most.
        assert node.metric("qanat_tls_key_updates_total") >= (96 << 20) / (320 << 10)
    no_resets(source, dest)


def test_only_the_side_that_sends_updates_its_keys(world):
    """
    client ══ 8 MiB ══► source ══ dest ══► target that says one word      updates at source, none at dest
    """
    target = world.add(Recorder(say=b"done"))
    near, source, dest = world.pair(target.address, crypto={"kem_mode": "mlkem768", "tls_key_update_bytes": 256 << 10})
    assert peers.converse(dial(near), bytes(8 << 20)) == (b"done", "end")
    source.wait_metric(16, "qanat_tls_key_updates_total")
    assert dest.metric("qanat_tls_key_updates_total") == 0


@pytest.mark.parametrize("side", ["source", "dest"])
def test_a_flow_that_is_too_old_is_ended(world, side):
    """
    client ══ source ══ dest ══ target     (max_stream_age_seconds = 1 on one side) ──► both see a reset
    """
    target = world.add(Recorder())
    dest_age, source_age = (1, 0) if side == "dest" else (0, 1)
    dest = world.dest([("service", target.address)], link={"max_stream_age_seconds": dest_age})
    port = free_port()
    source = world.source(dest, [("127.0.0.1:%d" % port, "service")], link={"max_stream_age_seconds": source_age})
    with dial(("127.0.0.1", port)) as client:
        client.sendall(b"how long?")
        assert read_to_end(client) == (b"", "reset")
    node = source if side == "source" else dest
    assert node.metric("qanat_flows_total", outcome="too_old") == 1
    node.wait_log("has lived for 1 s")
    wait(lambda: target.records[0]["end"] == "reset", "the target to see the reset")


# ---- certificates


@pytest.mark.serial
def test_leaves_chains_and_cas_change_under_load_and_nothing_is_dropped(world, tmp_path):
    """
    4 verified streams ══ source ══ dest      new leaves; then leaves of an intermediate CA; then a new CA on both sides
    """
    folder = str(tmp_path)
    certs = Root(os.path.join(folder, "certs"))
    target = world.add(Server(peers.echo))
    near, source, dest = world.pair(target.address, certs=certs)
    streams = [world.add(Stream(near)) for _ in range(4)]

    def changed(node, **auth):
        """A reload that makes source take a new link with another certificate; streams go on."""
        before = source.link()["id"]
        node.reload(with_auth(node, **auth))
        if node is source:
            source.wait(lambda: source.link()["id"] != before, "a new link with the new certificate")
        wait(go_on(streams), "the streams to go on")
        assert peers.ask(near, b"a new one") == b"a new one"

    def both(client, server):
        """dest first: its certificate is used from the next link on, which the one of source brings."""
        changed(dest, server_cert_path=server[0], server_key_path=server[1])
        changed(source, client_cert_path=client[0], client_key_path=client[1])

    # New leaves of the same CA.
    client = by_ca(folder, "client2", "clientAuth", "/CN=source.second", certs.ca, certs.ca_key)
    server = by_ca(folder, "server2", "serverAuth", "/CN=dest.second", certs.ca, certs.ca_key, SAN)
    both(client, server)
    assert "dest.second" in source.link()["subject"]
    dest.wait(lambda: any("source.second" in link["subject"] for link in dest.links_up()), "the new name at dest")
    # Leaves of a CA in between, which only the chain shows.
    middle = certs.middle(folder)
    client = by_ca(folder, "client3", "clientAuth", "/CN=source.third", *middle)
    server = by_ca(folder, "server3", "serverAuth", "/CN=dest.third", *middle, SAN)
    both(
        (join_files(os.path.join(folder, "client3.chain"), client[0], middle[0]), client[1]),
        (join_files(os.path.join(folder, "server3.chain"), server[0], middle[0]), server[1]),
    )
    assert "dest.third" in source.link()["subject"]
    # A new CA: both believe both first, then the leaves change, then the old one goes.
    other = Certs(os.path.join(folder, "other"))
    bundle = join_files(os.path.join(folder, "bundle.crt"), certs.ca, other.ca)
    for node in (dest, source):
        node.reload(with_auth(node, ca_cert_path=bundle))
    both((other.client, other.client_key), (other.server, other.server_key))
    assert "dest.test" in source.link()["subject"] and "Test CA" in source.link()["issuer"]
    for stream in streams:
        stream.finish()
    # The links of the old CA have no streams left and are closed; only now it may go.
    dest.wait(lambda: len(dest.links_up()) == 1, "the old links to be closed")
    for node in (dest, source):
        node.reload(with_auth(node, ca_cert_path=other.ca))
    assert peers.ask(near, b"the new CA alone") == b"the new CA alone"
    no_resets(source, dest)
    assert source.metric("qanat_links_rejudged_out_total") == dest.metric("qanat_links_rejudged_out_total") == 0


def test_a_link_is_renewed_before_the_certificate_of_dest_expires(world, tmp_path):
    """
    source ══ dest (certificate for some seconds; a newer one is loaded) ══► a new link before the old one expires
    """
    import datetime

    now = datetime.datetime.now(datetime.timezone.utc)

    def stamp(seconds):
        return (now + datetime.timedelta(seconds=seconds)).strftime("%Y%m%d%H%M%SZ")

    certs = Certs(str(tmp_path / "certs"))
    short, short_key = certs.by_openssl(
        "short", "serverAuth", stamp(-60), stamp(20 * PATIENCE), "/CN=dest.short", "DNS:localhost,IP:127.0.0.1"
    )
    target = world.add(Server(peers.echo))
    auth = {"server_cert_path": short, "server_key_path": short_key}
    dest = world.dest([("service", target.address)], certs=certs, auth=auth)
    port = free_port()
    source = world.source(dest, [("127.0.0.1:%d" % port, "service")], certs=certs)
    assert "dest.short" in source.link()["subject"]
    dest.reload(with_auth(dest, server_cert_path=certs.server, server_key_path=certs.server_key))
    assert "dest.short" in source.link()["subject"]
    source.wait(lambda: "dest.test" in source.link()["subject"], "a link with the newer certificate", 40)
    source.wait_log("takes over from link .*about to expire")
    assert peers.ask(("127.0.0.1", port), b"x") == b"x"
    assert source.metric("qanat_links_renewed_total") == 1


# ---- revocation


class RevocationList:
    """openssl's own small CA, for lists only."""

    def __init__(self, folder, ca, ca_key):
        self.folder, self.ca, self.ca_key = folder, ca, ca_key
        self.config = os.path.join(folder, "ca.cnf")
        with open(os.path.join(folder, "index.txt"), "w"):
            pass
        with open(os.path.join(folder, "crlnumber"), "w") as file:
            file.write("1000\n")
        with open(self.config, "w") as file:
            file.write(
                "[ca]\ndefault_ca=here\n[here]\ndatabase=%s/index.txt\ncrlnumber=%s/crlnumber\ndefault_md=sha256\n"
                "default_crl_days=30\n" % (folder, folder)
            )

    def ask(self, *words):
        run([OPENSSL, "ca", "-config", self.config, "-cert", self.ca, "-keyfile", self.ca_key, *words])

    def revoke(self, cert):
        self.ask("-revoke", cert)

    def write(self, name="list.pem", *words):
        path = os.path.join(self.folder, name)
        self.ask("-gencrl", "-out", path, *words)
        return path


@pytest.mark.parametrize("by", ["source", "dest"])
def test_a_revoked_peer_is_cut_while_it_transfers_and_stays_out(world, tmp_path, by):
    """
    verified streams ══ source ══ dest      SIGHUP with a list that names the other ──► cut, refused from then on
    """
    certs = Certs(str(tmp_path / "certs"))
    lists = RevocationList(str(tmp_path), certs.ca, certs.ca_key)
    empty = lists.write("empty.pem")
    target = world.add(Server(peers.echo))
    near, source, dest = world.pair(target.address, certs=certs, auth={"crl_paths": [empty]})
    streams = [world.add(Stream(near)) for _ in range(3)]
    wait(go_on(streams), "the streams to run")
    lists.revoke(certs.client if by == "dest" else certs.server)
    node = dest if by == "dest" else source
    full = lists.write("full.pem")
    node.reload(with_auth(node, crl_paths=[full]))
    wait(lambda: all(stream.is_over() for stream in streams), "the streams to be cut", 5)
    assert all(isinstance(stream.problem, ConnectionError) for stream in streams), [s.problem for s in streams]
    for one in (source, dest):
        one.wait_log("certificate revoked")
    node.wait_metric(1, "qanat_handshakes_total", kind="control", outcome="revoked")
    assert node.metric("qanat_links_rejudged_out_total") == 1
    assert not source.is_ready()
    assert source.metric("qanat_links_opened_total") == 1
    # Taken back by mistake or not: a list without it lets it in again.
    node.reload(with_auth(node, crl_paths=[empty]))
    source.wait_ready()
    assert peers.ask(near, b"again") == b"again"


def test_lists_that_prove_nothing_are_refused_by_name(world, tmp_path):
    """
    dest ── SIGHUP with a list of another CA, an old one, none at all ──► refused, and the old configuration serves on
    """
    certs, other = Root(str(tmp_path / "certs")), Certs(str(tmp_path / "other"))
    os.makedirs(str(tmp_path / "theirs"))
    lists = RevocationList(str(tmp_path), certs.ca, certs.ca_key)
    theirs = RevocationList(str(tmp_path / "theirs"), other.ca, other.ca_key)
    target = world.add(Server(peers.echo))
    good = lists.write("good.pem")
    near, source, dest = world.pair(target.address, certs=certs, auth={"crl_paths": [good]})
    old = "-crl_lastupdate", "20200101000000Z", "-crl_nextupdate", "20200201000000Z"
    cases = [
        (theirs.write("foreign.pem"), "is of a CA that is not in CA file"),
        (lists.write("old.pem", *old), "was to be replaced on 2020-02-01"),
        (str(tmp_path / "nothing.pem"), "does not exist"),
        (certs.ca, "holds none in PEM form"),
    ]  # fmt: skip
    for path, said in cases:
        dest.reload(with_auth(dest, crl_paths=[good, path]), ok=False)
        dest.wait_log("%s.*%s" % (path, said))
        done = subprocess.run(
            [QANAT, "check", "-c", dest.config_path, "dest"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert done.returncode == 1 and said in done.stderr.decode()
        assert peers.ask(near, b"still") == b"still"
    # A list of one CA does not speak for another: whoever it issued is not known to be good.
    middle = certs.middle(str(tmp_path))
    client = by_ca(str(tmp_path), "deep", "clientAuth", "/CN=source.deep", *middle)
    chain = join_files(str(tmp_path / "deep.chain"), client[0], middle[0])
    third = world.source(dest, [("127.0.0.1:%d" % free_port(), "service")], name="third", ready=False, certs=certs,
                         auth={"client_cert_path": chain, "client_key_path": client[1]})  # fmt: skip
    dest.wait_metric(1, "qanat_handshakes_total", kind="control", outcome="no_crl")
    assert not third.is_ready()
