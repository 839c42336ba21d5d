"""Carries packets between a tap device in each of two network namespaces, with delay, loss, jitter and cuts: for kernels without netem.

    tap_relay.py NAMESPACE NAMESPACE    makes the device `tap0` in both, says `ready`, and ends with its standard input

Each line on standard input sets the conditions from then on, as JSON: {"delayMs": 20, "jitterMs": 5, "loss": 0.05, "cut": false}
"""

import ctypes
import fcntl
import heapq
import json
import os
import random
import select
import struct
import sys
import time

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TAP_NO_PI = 0x0002 | 0x1000


def open_tap(namespace):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(os.open("/run/netns/" + namespace, os.O_RDONLY), CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", b"tap0", IFF_TAP_NO_PI))
    return tap


def main(first, second):
    taps = [open_tap(first), open_tap(second)]
    other = {taps[0]: taps[1], taps[1]: taps[0]}
    conditions = {"delayMs": 0, "jitterMs": 0, "loss": 0, "cut": False}
    chance = random.Random(1)
    waiting = []
    count = 0
    print("ready", flush=True)
    while True:
        timeout = max(0, waiting[0][0] - time.monotonic()) if waiting else None
        for source in select.select([*taps, 0], [], [], timeout)[0]:
            if source == 0:
                lines = os.read(0, 65536).decode()
                if not lines:
                    return
                conditions.update(json.loads(lines.splitlines()[-1]))
                continue
            try:
                packet = os.read(source, 65536)
            except BlockingIOError:
                continue
            if conditions["cut"] or chance.random() < conditions["loss"]:
                continue
            count += 1
            delay = conditions["delayMs"] + chance.random() * conditions["jitterMs"]
            heapq.heappush(waiting, (time.monotonic() + delay / 1000, count, other[source], packet))
        while waiting and waiting[0][0] <= time.monotonic():
            _, _, target, packet = heapq.heappop(waiting)
            try:
                os.write(target, packet)
            except OSError:
                pass


main(*sys.argv[1:])
