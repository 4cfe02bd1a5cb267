"""Fan-out as plain Python does it: each packet of a frame to each viewer by a `sendto` of its own.

    python -m benches.fanout_sendto FIRST_PORT VIEWERS ROUNDS INTERVAL_MS BIT_RATE

The packets are made beforehand, as the floor's are. Prints: packets, CPU µs.
"""

from __future__ import annotations

import socket
import sys
import time

from benches.frames import FRAME_TICKS, PAYLOAD_TYPE, gop
from benches.measured import MEASURED_CPU, cpu_us, pin, tell
from soip.rtp.h264 import H264
from soip.rtp.nal import PACKET_SIZE, packetise
from soip.rtp.sender import SendStream


def main(first_port: int, viewers: int, rounds: int, interval: float, bit_rate: int) -> None:
    stream = SendStream(PAYLOAD_TYPE, 1)
    frames = []
    for number, nals in enumerate(gop(bit_rate=bit_rate)):
        runs = stream.stamp(packetise(H264, nals), FRAME_TICKS * number)
        frames.append([run[at : at + PACKET_SIZE] for run in runs for at in range(0, len(run), PACKET_SIZE)])
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    places = [("127.0.0.1", first_port + 2 * viewer) for viewer in range(viewers)]
    sent = 0
    cpu = cpu_us()
    due = time.monotonic()
    for _ in range(rounds):
        for packets in frames:
            for place in places:
                for packet in packets:
                    try:
                        sock.sendto(packet, place)
                        sent += 1
                    except BlockingIOError:
                        pass
            due += interval
            time.sleep(max(0.0, due - time.monotonic()))  # A camera's pace, and no CPU of ours.
    tell(f"{sent} {cpu_us() - cpu:.0f}")


if __name__ == "__main__":
    pin(MEASURED_CPU)
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]) / 1000, int(sys.argv[5]))
