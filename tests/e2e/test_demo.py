"""What a newcomer sees first must work."""

import os
import re
import signal
import subprocess

from qanat import PATIENCE, ROOT, QANAT, HELPERS, wait


def demo(*arguments):
    done = subprocess.run(
        [os.path.join(ROOT, "scripts", "demo"), "--bytes", str(16 << 20), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=120 * PATIENCE,
        env={
            **{name: value for name, value in os.environ.items() if name != "KEEP"},
            "QANAT": QANAT,
            "HELPERS": HELPERS,
        },
    )
    said = done.stdout.decode()
    assert done.returncode == 0, said
    return said


def test_the_demo_shows_what_it_promises_and_leaves_nothing():
    """
    scripts/demo ──► CA, service, dest, source, transfer with sums, epochs, clean end
    """
    said = demo()
    assert said.count("at the other: equal") == 2
    assert said.count("X25519MLKEM768") == 2 and said.count("McEliece") == 2 and said.count("ecdsa") >= 2
    for before, after in re.findall(r"epoch +(\d+) before, (\d+) after", said):
        assert int(after) > int(before)
    assert said.count("exit status 0") == 2
    folder = re.search(r"\((/\S*qanat-demo-\S+)\)", said).group(1)
    assert not os.path.exists(folder)


def test_the_demo_can_be_kept():
    """
    scripts/demo --keep ──► everything still runs; the printed command ends it
    """
    said = demo("--keep")
    ending = re.search(r"^  kill ([\d ]+); rm -r (\S+)$", said, re.MULTILINE)
    pids = [int(pid) for pid in ending.group(1).split()]
    try:
        assert len(pids) == 3 and all(is_running(pid) for pid in pids)
        for command in re.findall(r"^  (curl http://127\S+)$", said, re.MULTILINE):
            done = subprocess.run(command.split() + ["-sS", "--fail"], stdout=subprocess.PIPE, timeout=30)
            assert done.returncode == 0 and done.stdout
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        subprocess.run(["rm", "-r", ending.group(2)], check=True)
    wait(lambda: not any(is_running(pid) for pid in pids), "everything to end")


def is_running(pid):
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
