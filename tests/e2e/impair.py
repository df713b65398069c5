"""A stretch of bad wire between two devices: carries Ethernet frames in both directions, and harms them by rule.

    impair.py relay NEAR FAR [loss=PERCENT] [reorder=PERCENT] [hold=MS] [delay=MS] [mtu=BYTES] [seed=N]
    impair.py bare DEVICE

`relay` says "ready", and on SIGTERM what it did. A frame that is put out of order is held for `hold` ms while others
pass.
IP packets above `mtu` bytes vanish without a word, as behind a firewall that drops ICMP. The same seed and the same
traffic give the same losses. `bare` makes a device send what it says: no segments for the card to cut, whole checksums.
"""

import ctypes
import fcntl
import heapq
import random
import select
import signal
import socket
import struct
import sys
import time

SIOCETHTOOL = 0x8946
SET_OFF = (0x17, 0x1F, 0x24)  # ETHTOOL_STXCSUM, ETHTOOL_STSO, ETHTOOL_SGSO
ETHERNET_BYTES = 14
QUEUE_FRAMES = 4096  # a wire with more on it drops, as any queue
ALL_FRAMES = 3
OUTGOING = 4


def bare(device):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for command in SET_OFF:
            value = ctypes.create_string_buffer(struct.pack("II", command, 0), 8)
            fcntl.ioctl(sock, SIOCETHTOOL, struct.pack("16sP16x", device.encode(), ctypes.addressof(value)))


class Relay:
    def __init__(self, devices, loss=0.0, reorder=0.0, hold=5.0, delay=0.0, mtu=65535, seed=1):
        self.loss, self.reorder, self.hold, self.delay, self.mtu = loss, reorder, hold, delay, mtu
        self.ends = [self.open(device) for device in devices]
        # One for each direction, so that the traffic of one does not change the fate of the other's.
        self.chance = [random.Random(seed), random.Random(seed + 1)]
        self.waiting, self.number = [], 0
        self.counts = dict.fromkeys(("carried", "lost", "held", "large", "full"), 0)

    @staticmethod
    def open(device):
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_FRAMES))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 20)
        sock.bind((device, ALL_FRAMES))
        sock.setblocking(False)
        return sock

    def judge(self, side, frame, now):
        chance = self.chance[side]
        is_lost, is_held = chance.uniform(0, 100) < self.loss, chance.uniform(0, 100) < self.reorder
        if len(frame) - ETHERNET_BYTES > self.mtu:
            self.counts["large"] += 1
        elif is_lost:
            self.counts["lost"] += 1
        elif len(self.waiting) >= QUEUE_FRAMES:
            self.counts["full"] += 1
        else:
            self.counts["held"] += is_held
            due = now + (self.delay + (self.hold if is_held else 0)) / 1000
            heapq.heappush(self.waiting, (due, self.number, 1 - side, frame))
            self.number += 1

    def take(self, side):
        for _ in range(64):
            try:
                frame, address = self.ends[side].recvfrom(65536)
            except OSError:
                return
            if address[2] != OUTGOING:
                self.judge(side, frame, time.monotonic())

    def give(self):
        now = time.monotonic()
        while self.waiting and self.waiting[0][0] <= now:
            _, _, side, frame = heapq.heappop(self.waiting)
            try:
                self.ends[side].send(frame)
                self.counts["carried"] += 1
            except OSError:
                self.counts["full"] += 1

    def run(self):
        while True:
            pause = max(0.0, self.waiting[0][0] - time.monotonic()) if self.waiting else None
            ready, _, _ = select.select(self.ends, [], [], pause)
            for sock in ready:
                self.take(self.ends.index(sock))
            self.give()


def main():
    if sys.argv[1] == "bare":
        bare(sys.argv[2])
        return
    rules = {name: float(value) for name, value in (word.split("=") for word in sys.argv[4:])}
    relay = Relay(sys.argv[2:4], **rules)

    def end(*_):
        print("done:", *("%s=%d" % item for item in relay.counts.items()), flush=True)
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
    print("ready", flush=True)
    relay.run()


if __name__ == "__main__":
    main()
