"""Frame age: what a media worker adds to the age of a live picture while it records half of what a core takes.

One camera among the others is ours: its frames carry their numbers, and go to the worker and at once by a direct way to
who watches. What lies between the two arrivals is what the worker has added; the way itself, and the time that the
watching process had to wait for its own processor, are in both.
"""

from __future__ import annotations

import select
import socket
import subprocess
import sys
import tempfile
import time
from statistics import quantiles
from struct import pack, unpack

from benches.frames import FRAME_RATE, FRAME_TICKS, PACKET_SIZE, PAYLOAD_TYPE, gop
from benches.measured import MEASURED_CPU, pinned, tell
from benches.report import Value, free_ports
from soip.net.gso import GsoSender
from soip.rtp.h264 import H264
from soip.rtp.nal import packetise
from soip.rtp.receiver import VideoReceiver
from soip.rtp.sender import SendStream

MARK = 10.0
WARM_UP = 3
_SEI = b"\x66\x05number"
"""The NAL unit a frame's number stands in, for who watches: an SEI (ITU-T H.264 §7.3.2.3) nobody else reads."""


def run(rounds: int, seconds: float, cameras: int) -> Value:
    """Measure again and again. Raises RuntimeError if a part does not run."""
    what = f"p99, {cameras} cameras × 4 Mbit/s recorded, {seconds:g} s a round"
    added = Value("frame age added", what, "ms", MARK)
    for _ in range(rounds):
        ages, missing = _round(seconds, cameras)
        cuts = quantiles(ages, n=100, method="inclusive")
        added.rounds.append(1000 * cuts[98])
        note = f"p50 {1000 * cuts[49]:.2f} ms, worst {1000 * max(ages):.1f} ms, {len(ages)} frames"
        added.notes.append(note + (f", {missing} did not arrive" if missing else ""))
    return added


def _round(seconds: float, cameras: int) -> tuple[list[float], int]:
    """Seconds by which frames came later than by the direct way, and how many did not come."""
    port, watching = free_ports(cameras + 1), free_ports(1)
    with tempfile.TemporaryDirectory(prefix="soip-bench-") as folder:
        ours = [sys.executable, "-m", "benches.age_ours", str(port), str(cameras + 1), str(watching), folder]
        replay = [sys.executable, "-m", "benches.replay", str(port), str(cameras), str(WARM_UP + seconds + 2)]
        probe = [
            sys.executable,
            "-m",
            "benches.age",
            str(port + 2 * cameras),
            str(watching),
            str(WARM_UP),
            str(seconds),
        ]
        with subprocess.Popen(
            [*pinned(MEASURED_CPU), *ours], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as measured:
            assert measured.stdout
            if measured.stdout.readline() != "ready\n":
                raise RuntimeError("the media worker did not start")
            with subprocess.Popen(replay, stdout=subprocess.DEVNULL):
                watched = subprocess.run(probe, stdout=subprocess.PIPE, text=True, timeout=seconds + 120, check=True)
            measured.communicate("end\n", timeout=60)
    missing, *ages = watched.stdout.split()
    if len(ages) < 2:
        raise RuntimeError("no frame has arrived")
    return [float(age) for age in ages], int(missing)


class Watcher:
    """One way's end: when each numbered frame was there."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.arrived: dict[int, float] = {}
        self._receiver = VideoReceiver(PAYLOAD_TYPE)
        self._buffer = memoryview(bytearray(65_536))

    def read(self) -> None:
        """All that has come."""
        while True:
            try:
                size = self.sock.recv_into(self._buffer)
            except BlockingIOError:
                return
            now = time.monotonic()
            for unit in self._receiver.receive(self._buffer[:size], now):
                for nal in unit.nals:
                    if bytes(nal[: len(_SEI)]) == _SEI:
                        self.arrived[unpack("!I", bytes(nal[len(_SEI) : len(_SEI) + 4]))[0]] = now


def _listening(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.bind(("127.0.0.1", port))
    return sock


def watch(camera: int, watching: int, warm_up: float, seconds: float) -> None:
    """The camera and who watches it. Prints how many frames did not arrive, and by how much each of the others came
    later, in seconds.
    """
    relayed, direct = Watcher(_listening(watching)), Watcher(_listening(0))
    senders = []
    for place in (("127.0.0.1", camera), direct.sock.getsockname()):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        sock.connect(place)
        senders.append(GsoSender(sock, PACKET_SIZE))
    poll = select.epoll()
    for watcher in (relayed, direct):
        poll.register(watcher.sock, select.EPOLLIN)
    stream, pictures = SendStream(PAYLOAD_TYPE, 0xA6E), gop()
    frames = int((warm_up + seconds) * FRAME_RATE)
    start = time.monotonic()
    for number in range(frames + FRAME_RATE):  # A second to let the last ones arrive.
        if number < frames:
            nals = list(pictures[number % len(pictures)])
            nals[-2] = _SEI + pack("!I", number) + nals[-2][len(_SEI) + 4 :]
            runs = stream.stamp(packetise(H264, nals, PACKET_SIZE), FRAME_TICKS * number)
            for sender in senders:
                sender.send(runs)
        while (left := start + (number + 1) / FRAME_RATE - time.monotonic()) > 0:
            poll.poll(left)
            for watcher in (relayed, direct):
                watcher.read()
    wanted = range(int(warm_up * FRAME_RATE), frames)
    both = [number for number in wanted if number in relayed.arrived and number in direct.arrived]
    ages = [relayed.arrived[number] - direct.arrived[number] for number in both]
    tell(" ".join([str(len(wanted) - len(both)), *(f"{age:.6f}" for age in ages)]))


if __name__ == "__main__":
    # Not pinned: who only watches takes a processor's place where there is one.
    watch(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]))
