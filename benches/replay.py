"""The cameras of the ingest benchmark: one process, a socket per camera, every frame sent when it is due.

    python -m benches.replay FIRST_PORT CAMERAS SECONDS

Each frame's packets leave at once, as cameras send them; the frames of the cameras are spread over the interval.
Prints how many packets it sent and how late it was at worst, in ms.
"""

from __future__ import annotations

import socket
import sys
import time

from benches.frames import FRAME_RATE, FRAME_TICKS, GOP, PACKET_SIZE, PAYLOAD_TYPE, gop
from benches.measured import OTHER_CPU, pin, tell
from soip.net.gso import GsoSender
from soip.rtp.h264 import H264
from soip.rtp.nal import packetise
from soip.rtp.sender import SendStream


def main(first_port: int, cameras: int, seconds: float) -> None:
    pin(OTHER_CPU)
    pictures = gop()
    stream = SendStream(PAYLOAD_TYPE, 0x5015)
    # All cameras send the same bytes, each over its own socket; numbers and timestamps go on over the GOPs.
    frames = [
        stream.stamp(
            packetise(H264, pictures[number % len(pictures)], PACKET_SIZE), FRAME_TICKS * number, max_segments=16
        )
        for number in range(int(seconds * FRAME_RATE) + GOP)
    ]
    sizes = [sum(-(-len(run) // PACKET_SIZE) for run in runs) for runs in frames]
    senders = []
    for camera in range(cameras):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.connect(("127.0.0.1", first_port + 2 * camera))
        senders.append(GsoSender(sock, PACKET_SIZE))
    interval = 1 / (FRAME_RATE * cameras)
    start = time.monotonic()
    worst = 0.0
    sent = 0
    for number in range(int(seconds * FRAME_RATE)):
        for camera, sender in enumerate(senders):
            # Camera k is k steps into the GOP: neither keyframes nor the ends of fragments come all at once.
            runs = frames[number + camera % GOP]
            due = start + (number * cameras + camera) * interval
            wait = due - time.monotonic()
            if wait > 0.001:
                time.sleep(wait)  # A camera's pace.
            worst = max(worst, -wait)
            sender.send(runs)
            sent += sizes[number + camera % GOP]
    # Refused sends are not counted: the measured process ends first and closes its ports.
    dropped = sum(sender.dropped for sender in senders)
    tell(f"{sent} {dropped} {worst * 1000:.0f}")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
