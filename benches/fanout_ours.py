"""The measured process of the fan-out benchmark: the product's relay with its viewers.

    python -m benches.fanout_ours FIRST_PORT VIEWERS ROUNDS INTERVAL_MS BIT_RATE

Access unit → `media.relay` (repacketise, number, send) → every viewer. Prints: packets, CPU µs.
"""

from __future__ import annotations

import socket
import sys
import time

from benches.frames import FRAME_TICKS, PAYLOAD_TYPE, PPS, SPS, gop
from benches.measured import MEASURED_CPU, cpu_us, pin, tell
from soip.media.intake import Picture
from soip.media.relay import Relay, Viewer
from soip.net.gso import GsoSender
from soip.rtp.codec import Codec
from soip.rtp.h264 import H264
from soip.rtp.h264_sets import parse_sps
from soip.rtp.nal import PACKET_SIZE, AccessUnit


def main(first_port: int, viewers: int, rounds: int, interval: float, bit_rate: int) -> None:
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
        senders.append(GsoSender(sock, PACKET_SIZE))
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


if __name__ == "__main__":
    pin(MEASURED_CPU)
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]) / 1000, int(sys.argv[5]))
