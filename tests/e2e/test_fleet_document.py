"""
   ssh, socat ══ devices/011.sock ══ qanat hub ════ qanat agent ══ sshd

The fleet of README.md and of docs/fleet.md, typed as it is printed, on a machine that is all of its hosts at once.
"""

import os
import re
import signal
import subprocess

import pytest

from qanat import PATIENCE, QANAT, run

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

BEFORE = """
set -e
ip link set lo up
echo "127.0.0.1 localhost hub.example.net hub.example.com" > hosts
mount --bind hosts /etc/hosts
mkdir -p /run/sshd run
export PATH=$PWD/bin:$PATH RUNTIME_DIRECTORY=$PWD/run
trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT
/usr/sbin/sshd -D -e -f $PWD/sshd_config 2> sshd.log &
"""

AFTER = """
qanat devices --control-socket run/hub.sock
"""


def commands(document, heading):
    """The commands of the first block below a heading, each as one line."""
    with open(os.path.join(ROOT, document)) as file:
        text = file.read().split(heading, 1)[1]
    block = re.search(r"```bash\n(.*?)```", text, re.S).group(1).replace("\\\n", " ")
    return [line for line in block.splitlines() if line.strip() and not line.startswith("#")]


def script(lines):
    """What lasts is put into the background, what is interactive is told to say something and leave."""
    out = []
    for line in lines:
        if line.startswith(("qanat hub ", "qanat agent ")):
            line, _, _ = line.partition("  #")
            out.append("%s > %s.log 2>&1 &" % (line.rstrip(), line.split()[1]))
        elif line.startswith("ssh "):
            out.append("for i in $(seq %d); do [ -S devices/011.sock ] && break; sleep 0.1; done" % (200 * PATIENCE))
            line = line.split("  #")[0]
            by_socat = re.sub(r'ProxyCommand="[^"]*"', 'ProxyCommand="socat - UNIX-CONNECT:devices/011.sock"', line)
            for command in (line, by_socat):
                out.append("echo 'echo heard on the device; exit' | timeout %d %s" % (30 * PATIENCE, command))
        else:
            out.append(line)
    return "\n".join(out)


def prepare(folder):
    for name in ("host", "user"):
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", os.path.join(folder, name)])
    files = {
        "sshd_config": "ListenAddress 127.0.0.1\nPort 22\nHostKey {0}/host\nAuthorizedKeysFile {0}/user.pub\n"
        "UsePAM no\nStrictModes no\nPermitRootLogin prohibit-password\nPidFile none\nPrintMotd no\n",
        "ssh_config": "IdentityFile {0}/user\nStrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nBatchMode yes\n"
        "LogLevel ERROR\n",
        "bin/ssh": '#!/bin/sh\nexec /usr/bin/ssh -F {0}/ssh_config "$@"\n',
    }
    os.mkdir(os.path.join(folder, "bin"))
    for name, text in files.items():
        with open(os.path.join(folder, name), "w") as file:
            file.write(text.format(folder))
    os.chmod(os.path.join(folder, "bin/ssh"), 0o755)
    os.symlink(QANAT, os.path.join(folder, "bin/qanat"))


def can_unshare():
    return os.geteuid() == 0 and subprocess.run(["unshare", "-mn", "true"], stderr=subprocess.DEVNULL).returncode == 0


@pytest.mark.skipif(not can_unshare(), reason="needs root and namespaces, for port 22 and hosts of its own")
@pytest.mark.parametrize(
    "document,heading",
    [("docs/fleet.md", "# qanat hub, agent, connect"), ("README.md", "## A fleet of devices that nobody can reach")],
    ids=["fleet", "readme"],
)
def test_the_fleet_of_the_documents_works_as_printed(tmp_path, document, heading):
    folder = str(tmp_path)
    prepare(folder)
    lines = commands(document, heading)
    if not any("qanat cert ca " in line for line in lines):  # the README has its certificates from an earlier block
        before = commands("docs/fleet.md", "# qanat hub")
        lines = [line for line in before if "qanat cert" in line or "mkdir" in line] + lines
        lines = [re.sub(r"--dns-names \S+", "--dns-names hub.example.com", line) for line in lines]
    with open(os.path.join(folder, "story.sh"), "w") as file:
        file.write(BEFORE + script(lines) + AFTER)
    with open(os.path.join(folder, "story.log"), "w") as log:
        story = subprocess.Popen(
            ["unshare", "-mn", "--fork", "--kill-child", "bash", "story.sh"],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            status = story.wait(180 * PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(story.pid, signal.SIGKILL)
            status = "late"
    said = "".join(
        "== %s\n%s" % (name, open(os.path.join(folder, name)).read()[-3000:])
        for name in ("story.log", "hub.log", "agent.log", "sshd.log")
        if os.path.exists(os.path.join(folder, name))
    )
    assert status == 0, said
    with open(os.path.join(folder, "story.log")) as file:
        text = file.read()
    assert text.count("heard on the device") == 2 and re.search(r"^011\s", text, re.M), said
