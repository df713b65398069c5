"""A hub and many devices: tests/helpers/fleet has real agents' links, thousands in one process.

    fleet, fleet (processes) ════ links, each with a parked connection ════ qanat hub
"""

import os
import resource
import subprocess
import time

from qanat import HELPERS, Certs, Node, free_port, wait

PROCESSES = 2
# The hub has three descriptors for each device: its link, a parked connection, its socket; and some of its own.
DESCRIPTORS_EACH = 3


class Crowd:
    def __init__(self, folder, count, level="info", **sections):
        os.makedirs(os.path.join(folder, "devices"))
        self.folder, self.count = folder, count
        self.certs = Certs(os.path.join(folder, "certs"))
        self.port, self.devices = free_port(), []
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        config = {
            "hub": {
                "listen_ip": "127.0.0.1",
                "listen_port": self.port,
                "directory": os.path.join(folder, "devices"),
                # They share a certificate, and an address.
                "identity": "claimed",
                "claims_path": os.path.join(folder, "claims"),
                "handshakes_per_address": 1000000,
                "max_claims_per_key": 65536,
            },
            "auth": {
                "ca_cert_path": self.certs.ca,
                "server_cert_path": self.certs.server,
                "server_key_path": self.certs.server_key,
            },
            "logging": {"level": level},
            "metrics": {"metrics_port": 0},
            "node": {"drain_timeout_seconds": 1},
        }
        for section, values in sections.items():
            config[section].update(values)
        self.hub = Node("hub", config, folder, "hub", descriptor_limit=(hard, hard))
        self.own_descriptors = 0

    def start_hub(self):
        """Its resident bytes without a device."""
        self.hub.start().wait_ready(60)
        self.own_descriptors = self.own_descriptors or self.hub.metric("process_open_fds")
        return self.hub.memory()

    def start_devices(self, seconds=280):
        """Seconds until all are there."""
        for number in range(PROCESSES):
            mine = self.count // PROCESSES + (number < self.count % PROCESSES)
            command = [os.path.join(HELPERS, "fleet"), self.certs.ca, self.certs.client, self.certs.client_key]
            command += ["127.0.0.1", str(self.port), str(mine), "--prefix", "p%d-" % number]
            with open(os.path.join(self.folder, "fleet%d.log" % number), "w") as log:
                self.devices.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log))
        return self.wait_all(seconds)

    def are_all_there(self):
        values = self.hub.metrics()
        expected = self.own_descriptors + DESCRIPTORS_EACH * self.count
        there = values["qanat_devices_online"]
        assert there == self.count, "%d devices are there" % there
        assert values["process_open_fds"] >= expected, "%d of %d descriptors" % (values["process_open_fds"], expected)
        return True

    def wait_all(self, seconds=280):
        begun = time.monotonic()
        for process in self.devices:
            assert process.poll() is None, "a process of devices ended with status %s" % process.poll()
        wait(self.are_all_there, "%d devices to be there, each with a parked connection" % self.count, seconds, 0.2)
        return time.monotonic() - begun

    def settled_memory(self, seconds=8):
        """Resident bytes, the least of some seconds: idle buffers are given back once in a while."""
        least, until = self.hub.memory(), time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(0.5)  # not to synchronise: between two samples
            least = min(least, self.hub.memory())
        return least

    def kill_hub(self):
        self.hub.kill()

    def stop(self):
        for process in self.devices:
            process.kill()
            process.wait()
        self.hub.kill()

    close = stop
