"""Says which packets to or from some networks a device carries: "ready", then a line for each of them."""

import ipaddress
import signal
import socket
import struct
import sys


def ends(frame):
    kind = struct.unpack_from("!H", frame, 12)[0]
    if kind == 0x0800 and len(frame) >= 34:
        return [ipaddress.ip_address(frame[26:30]), ipaddress.ip_address(frame[30:34])]
    if kind == 0x86DD and len(frame) >= 54:
        return [ipaddress.ip_address(frame[22:38]), ipaddress.ip_address(frame[38:54])]
    return []


def main():
    networks = [ipaddress.ip_network(text) for text in sys.argv[2:]]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003)) as sock:
        sock.bind((sys.argv[1], 0x0003))
        print("ready", flush=True)
        while True:
            try:
                found = ends(sock.recv(65536))
            except OSError as error:  # the device went down, and may come back
                print("pause:", error, flush=True)
                continue
            if any(address in network for address in found for network in networks):
                print("packet", *found, flush=True)


main()
