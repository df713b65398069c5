"""A device that misbehaves as told (tests/helpers/robot.c), and devices by the hundred (tests/helpers/fleet.c)."""

import os
import re
import signal
import subprocess
import threading

from qanat import HELPERS, PATIENCE, wait


def wait_online(fleet, count, seconds=60.0):
    fleet.hub.wait(lambda: fleet.hub.metric("qanat_devices_online") >= count, "%d devices to be here" % count, seconds)


class Robot:
    """Lines of what happens to it are kept; tell() gives it an order."""

    def __init__(self, fleet, name, parked=0, cert=None, label=None):
        cert, key = cert or fleet.cert(name)
        self.name, self.lines = label or name, []
        self.process = subprocess.Popen(
            [os.path.join(HELPERS, "robot"), fleet.world.certs.ca, cert, key, "127.0.0.1", str(fleet.port), name]
            + [str(parked)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.lines.append(line.decode(errors="replace").strip())

    def tell(self, *words):
        self.process.stdin.write((" ".join(str(word) for word in words) + "\n").encode())
        self.process.stdin.flush()

    def found(self, pattern):
        return [match for match in (re.match(pattern, line) for line in list(self.lines)) if match]

    def wait_line(self, pattern, count=1, seconds=20.0):
        """The count'th line that matches."""
        reason = "robot %s to say %r %d times: %s" % (self.name, pattern, count, self.lines[-20:])
        wait(lambda: len(self.found(pattern)) >= count, reason, seconds)
        return self.found(pattern)[count - 1]

    def wait_token(self, count=1):
        return self.wait_line(r"open ([0-9a-f]{32}) ", count).group(1)

    def fall_silent(self):
        """It neither reads nor writes any more, and its connections stay."""
        self.process.send_signal(signal.SIGSTOP)

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()


class Crowd:
    """`count` devices with one certificate and claimed names, prefix00000 and so on; each echoes."""

    def __init__(self, fleet, count, parked=1, prefix="d"):
        certs = fleet.world.certs
        self.process = subprocess.Popen(
            [os.path.join(HELPERS, "fleet"), certs.ca, certs.client, certs.client_key, "localhost", str(fleet.port)]
            + [str(count), "--parked", str(parked), "--prefix", prefix],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(20 * PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
