"""The cameras of the ingest benchmark: one process, a socket per camera, every frame sent when it is due.

    python -m benches.replay FIRST_PORT CAMERAS SECONDS [CAMERA …]

Those named send pictures with a block code (`benches.stamped`), all others the same random bytes. Each frame's packets
leave at once, as cameras send them; the frames of the cameras are spread over the interval.
Prints how many packets it sent and how late it was at worst, in ms.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Collection, Iterable

from benches.frames import FRAME_RATE, FRAME_TICKS, GOP, PACKET_SIZE, PAYLOAD_TYPE, gop
from benches.measured import OTHER_CPU, pin, tell
from benches.stamped import pictures
from soip.net.gso import GsoSender
from soip.rtp.h264 import H264
from soip.rtp.nal import packetise
from soip.rtp.sender import SendStream


def main(first_port: int, cameras: int, seconds: float, stamped: Collection[int] = ()) -> None:
    pin(OTHER_CPU)
    common = gop()
    # All cameras send the same bytes, each over its own socket; numbers and timestamps go on over the GOPs.
    count = int(seconds * FRAME_RATE)
    frames = _runs(common[number % len(common)] for number in range(count + GOP))
    # Camera k is k steps into the GOP: neither keyframes nor the ends of fragments come all at once.
    own = [frames[camera % GOP :] for camera in range(cameras)]
    for camera in stamped:
        own[camera] = _runs(pictures(camera, count))
    senders = []
    for camera in range(cameras):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.connect(("127.0.0.1", first_port + 2 * camera))
        senders.append(GsoSender(sock, PACKET_SIZE))
    interval = 1 / (FRAME_RATE * cameras)
    start = time.monotonic()
    worst = 0.0
    for number in range(count):
        for camera, sender in enumerate(senders):
            runs = own[camera][number]
            due = start + (number * cameras + camera) * interval
            wait = due - time.monotonic()
            if wait > 0.001:
                time.sleep(wait)  # A camera's pace.
            worst = max(worst, -wait)
            sender.send(runs)
    sent = sum(-(-len(run) // PACKET_SIZE) for mine in own for runs in mine[:count] for run in runs)
    # Refused sends are not counted: the measured process ends first and closes its ports.
    dropped = sum(sender.dropped for sender in senders)
    tell(f"{sent} {dropped} {worst * 1000:.0f}")


def _runs(frames: Iterable[list[bytes]]) -> list[list[bytes]]:
    """The datagrams of each frame, joined for the kernel."""
    stream = SendStream(PAYLOAD_TYPE, 0x5015)
    return [
        stream.stamp(packetise(H264, nals, PACKET_SIZE), FRAME_TICKS * number, max_segments=16)
        for number, nals in enumerate(frames)
    ]


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), [int(camera) for camera in sys.argv[4:]])
