"""Live fan-out: one camera's frames to many viewers; ours against the floor."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from struct import pack

from benches import floor
from benches.frames import FRAME_RATE, FRAME_TICKS, GOP, PAYLOAD_TYPE, gop
from benches.measured import MEASURED_CPU, pinned
from benches.report import Comparison, Figure, free_ports
from soip.rtp.h264 import H264
from soip.rtp.nal import PACKET_SIZE, packetise
from soip.rtp.sender import SendStream
from soip.sip.sdes import AEAD_AES_128_GCM, AES_CM_128_HMAC_SHA1_80

MARK = 1.5
SRTP = {AEAD_AES_128_GCM: 5.0, AES_CM_128_HMAC_SHA1_80: 5.5}
"""Suites, and how much more a packet may cost with them than in the clear."""
INTERVAL_MS = 1000 / FRAME_RATE


def run(rounds: int, seconds: float, viewers: int) -> Comparison:
    """Measure in turn. Raises RuntimeError or CalledProcessError if a part does not run."""
    comparison = Comparison("fan-out", f"{viewers} viewers of one camera at 4 Mbit/s, {seconds:g} s a round", MARK)
    repeats = max(1, round(seconds * FRAME_RATE / GOP))
    with tempfile.TemporaryDirectory(prefix="soip-bench-") as name:
        program = floor.build("fanout", Path(name))
        frames = _frames()
        for _ in range(rounds):
            port = free_ports(viewers)
            times = [str(repeats), str(INTERVAL_MS)]
            ours = [sys.executable, "-m", "benches.fanout_ours", str(port), str(viewers), *times]
            comparison.ours.append(_round(ours, b"", port, viewers))
            if program:
                theirs = [str(program), str(port), str(viewers), str(PACKET_SIZE), *times]
                comparison.floor.append(_round(theirs, frames, port, viewers))
    return comparison


def srtp(rounds: int, seconds: float, viewers: int) -> list[Comparison]:
    """What SRTP costs: the same with each suite and without any, in turn. Raises as `run` does."""
    what = f"{viewers} viewers of one camera at 4 Mbit/s by SRTP, each with its own keys, {seconds:g} s a round"
    comparisons = {
        suite: Comparison(f"fan-out, {suite.name}", what, mark, other="plain") for suite, mark in SRTP.items()
    }
    repeats = max(1, round(seconds * FRAME_RATE / GOP))
    for _ in range(rounds):
        port = free_ports(viewers)
        command = [sys.executable, "-m", "benches.fanout_ours", str(port), str(viewers), str(repeats), str(INTERVAL_MS)]
        plain = _round(command, b"", port, viewers)
        for suite, comparison in comparisons.items():
            comparison.floor.append(plain)
            comparison.ours.append(_round([*command, suite.name], b"", port, viewers))
    return list(comparisons.values())


def _frames() -> bytes:
    """The same datagrams as ours, in the floor's form."""
    stream = SendStream(PAYLOAD_TYPE, 1)
    out = []
    for number, nals in enumerate(gop()):
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
