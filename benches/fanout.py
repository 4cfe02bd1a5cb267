"""Live fan-out: one camera's frames to many viewers; ours against the floor."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from struct import pack

from benches import floor
from benches.frames import BIT_RATE, FRAME_RATE, FRAME_TICKS, GOP, PAYLOAD_TYPE, gop
from benches.measured import MEASURED_CPU, pinned
from benches.report import Comparison, Figure, free_ports
from soip.rtp.h264 import H264
from soip.rtp.nal import PACKET_SIZE, packetise
from soip.rtp.sender import SendStream
from soip.sip.sdes import AEAD_AES_128_GCM, AES_CM_128_HMAC_SHA1_80

MARK = 1.3
SENDTO_MARK = 0.4
CURVE = (0.5, 1, 2, 8)
"""Mbit/s beside the 4 of the mark: at a low rate there is little of a frame to send at once."""
SRTP = {AEAD_AES_128_GCM: 5.0, AES_CM_128_HMAC_SHA1_80: 5.5}
"""Suites, and how much more a packet may cost with them than in the clear."""
INTERVAL_MS = 1000 / FRAME_RATE


def run(rounds: int, seconds: float, viewers: int, mbit: float = 4) -> Comparison:
    """Measure in turn. Raises RuntimeError or CalledProcessError if a part does not run."""
    name = "fan-out" if mbit == 4 else f"fan-out at {mbit:g} Mbit/s"
    comparison = Comparison(name, f"{viewers} viewers of one camera at {mbit:g} Mbit/s, {seconds:g} s a round", MARK)
    side = _Side(seconds, viewers, int(mbit * 1_000_000))
    with tempfile.TemporaryDirectory(prefix="soip-bench-") as folder:
        program = floor.build("fanout", Path(folder))
        for _ in range(rounds):
            comparison.ours.append(side.python("benches.fanout_ours"))
            if program:
                comparison.floor.append(side.program(program))
    return comparison


def curve(rounds: int, seconds: float, viewers: int) -> Iterator[Comparison]:
    """The same at other bit rates."""
    for mbit in CURVE:
        yield run(rounds, seconds, viewers, mbit)


def srtp(rounds: int, seconds: float, viewers: int) -> list[Comparison]:
    """What SRTP costs: the same with each suite and without any, in turn. Raises as `run` does."""
    what = f"{viewers} viewers of one camera at 4 Mbit/s by SRTP, each with its own keys, {seconds:g} s a round"
    comparisons = {
        suite: Comparison(f"fan-out, {suite.name}", what, mark, other="plain") for suite, mark in SRTP.items()
    }
    side = _Side(seconds, viewers, BIT_RATE)
    for _ in range(rounds):
        plain = side.python("benches.fanout_ours")
        for suite, comparison in comparisons.items():
            comparison.floor.append(plain)
            comparison.ours.append(side.python("benches.fanout_ours", suite.name))
    return list(comparisons.values())


def beside_sendto(rounds: int, seconds: float, viewers: int) -> Iterator[Comparison]:
    """Ours beside programs that send each packet by a call of its own: in Python and in C."""
    side = _Side(seconds, viewers, BIT_RATE)
    what = f"{viewers} viewers of one camera at 4 Mbit/s, {seconds:g} s a round"
    python = Comparison("fan-out beside sendto in Python", what, SENDTO_MARK, other="sendto")
    c = Comparison("fan-out beside sendto in C", what, SENDTO_MARK, other="sendto")
    with tempfile.TemporaryDirectory(prefix="soip-bench-") as folder:
        program = floor.build("fanout", Path(folder))
        for _ in range(rounds):
            ours = side.python("benches.fanout_ours")
            python.ours.append(ours)
            c.ours.append(ours)
            python.floor.append(side.python("benches.fanout_sendto"))
            if program:
                c.floor.append(side.program(program, "single"))
    yield python
    yield c


class _Side:
    """Rounds of one size."""

    def __init__(self, seconds: float, viewers: int, bit_rate: int) -> None:
        self._times = [str(max(1, round(seconds * FRAME_RATE / GOP))), str(INTERVAL_MS)]
        self._viewers = viewers
        self._bit_rate = bit_rate
        self._frames = _frames(bit_rate)

    def python(self, module: str, *how: str) -> Figure:
        port = free_ports(self._viewers)
        command = [sys.executable, "-m", module, str(port), str(self._viewers), *self._times, str(self._bit_rate), *how]
        return _round(command, b"", port, self._viewers)

    def program(self, program: Path, *how: str) -> Figure:
        port = free_ports(self._viewers)
        command = [str(program), str(port), str(self._viewers), str(PACKET_SIZE), *self._times, *how]
        return _round(command, self._frames, port, self._viewers)


def _frames(bit_rate: int) -> bytes:
    """The same datagrams as ours, in the floor's form."""
    stream = SendStream(PAYLOAD_TYPE, 1)
    out = []
    for number, nals in enumerate(gop(bit_rate=bit_rate)):
        runs = stream.stamp(packetise(H264, nals), FRAME_TICKS * number)
        out.append(pack("=I", len(runs)))
        out += [pack("=I", len(run)) + run for run in runs]
    return b"".join(out)


def _round(command: list[str], given: bytes, port: int, viewers: int) -> Figure:
    sink_command = [sys.executable, "-m", "benches.sink", str(port), str(viewers)]
    with subprocess.Popen(sink_command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as sink:
        assert sink.stdout
        if sink.stdout.readline() != "ready\n":
            raise RuntimeError("the viewers did not start")
        done = subprocess.run([*pinned(MEASURED_CPU), *command], input=given, stdout=subprocess.PIPE, timeout=300)
        received = int(sink.communicate("end\n", timeout=30)[0])
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}")
    packets, cpu = (float(word) for word in done.stdout.split()[:2])
    if not packets or not received:
        raise RuntimeError("nothing was sent, or nothing arrived")
    missing = packets - received
    note = f"{missing / packets:.1%} of the packets did not arrive" if missing > packets / 100 else ""
    return Figure(int(packets), cpu, note)
