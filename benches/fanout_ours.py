"""The measured process of the fan-out benchmark: the product's relay with its viewers.

    python -m benches.fanout_ours FIRST_PORT VIEWERS ROUNDS INTERVAL_MS BIT_RATE [SUITE]

Access unit → `media.relay` (repacketise, number, send) → every viewer, with SRTP of that suite if one is named, each
with keys of its own. Prints: packets, CPU µs.
"""

from __future__ import annotations

import secrets
import socket
import sys
import time

from benches.frames import FRAME_TICKS, PAYLOAD_TYPE, PPS, SPS, gop
from benches.measured import MEASURED_CPU, cpu_us, pin, tell
from soip.media.intake import Picture
from soip.media.relay import Relay, Viewer
from soip.net.gso import GsoSender
from soip.net.srtp import Srtp, SrtpSender
from soip.rtp.codec import Codec
from soip.rtp.h264 import H264
from soip.rtp.h264_sets import parse_sps
from soip.rtp.nal import PACKET_SIZE, AccessUnit
from soip.sip.sdes import SUITES, Keying, Suite


def main(
    first_port: int, viewers: int, rounds: int, interval: float, bit_rate: int, suite: Suite | None = None
) -> None:
    relay = Relay(lambda: None)
    codec = Codec(H264, ((SPS,), (PPS,)), parse_sps(SPS))
    pictures = gop(bit_rate=bit_rate)

    def picture(number: int) -> Picture:
        nals: list[bytes | bytearray] = list(pictures[number % len(pictures)])
        ticks = (1 << 32) + number * FRAME_TICKS
        unit = AccessUnit.of(nals, ticks, number % len(pictures) == 0, time.monotonic())
        return Picture(unit, codec, ticks, ticks, 0, fresh=False)

    # All viewers come within the first second, so that they share one class, as the floor's do.
    relay.push(picture(0))
    senders = []
    for viewer in range(viewers):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        sock.connect(("127.0.0.1", first_port + 2 * viewer))
        senders.append(_sender(sock, suite))
        one = Viewer(senders[-1], PAYLOAD_TYPE)
        relay.join(one, time.monotonic())
        while one.waiting:
            one.burst()
    stream = next(iter(relay.viewers)).stream
    assert stream is not None
    before = stream.packets
    cpu = cpu_us()
    due = time.monotonic()
    for number in range(1, rounds * len(pictures) + 1):
        relay.push(picture(number))
        due += interval
        time.sleep(max(0.0, due - time.monotonic()))  # A camera's pace, and no CPU of ours.
    cpu = cpu_us() - cpu
    failed = sum(sender.dropped + sender.refused for sender in senders)
    assert all(sender.offload for sender in senders), "the kernel refused UDP_SEGMENT"
    tell(f"{(stream.packets - before) * viewers} {cpu:.0f} {failed}")


def _sender(sock: socket.socket, suite: Suite | None) -> GsoSender:
    if suite is None:
        return GsoSender(sock, PACKET_SIZE)
    ours, theirs = secrets.token_bytes(suite.length), secrets.token_bytes(suite.length)
    return SrtpSender(sock, PACKET_SIZE, Srtp(Keying(suite, ours, theirs)))


if __name__ == "__main__":
    pin(MEASURED_CPU)
    asked = next((suite for suite in SUITES if suite.name in sys.argv[6:]), None)
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]) / 1000, int(sys.argv[5]), asked)
