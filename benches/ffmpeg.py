"""Ingest beside the plainest recorder there is: one `ffmpeg -c copy` for each camera, which receives its RTP and writes
MP4.

Ours is measured in turn with it, with as many cameras as one worker has; a process of ffmpeg has one, so that a few of
them tell what each costs. Of ffmpeg's processes the CPU time is read from /proc at the
beginning and the end of the same stretch; its clock ticks are 10 ms, so a stretch has to have some seconds.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from benches import ingest
from benches.frames import GOP, PACKET_SIZE, PAYLOAD_TYPE, PPS, SPS, gop
from benches.ingest import WARM_UP
from benches.measured import MEASURED_CPU, pinned
from benches.report import Comparison, Figure, free_ports, until_bound
from soip.rtp.h264 import H264
from soip.rtp.h264_sets import build_sprop
from soip.rtp.nal import packetise

MARK = 0.2


def run(rounds: int, seconds: float, cameras: int, processes: int) -> Comparison:
    """Measure in turn. Raises RuntimeError or CalledProcessError if a part does not run."""
    what = f"{cameras} cameras × 4 Mbit/s beside {processes} with a process of ffmpeg each, {seconds:g} s a round"
    comparison = Comparison("ingest beside ffmpeg", what, MARK, other="ffmpeg")
    program = shutil.which("ffmpeg")
    with tempfile.TemporaryDirectory(prefix="soip-bench-") as name:
        for _ in range(rounds):
            comparison.ours.append(ingest.ours(Path(name) / "ours", free_ports(cameras), cameras, seconds))
            if program:
                port = free_ports(processes)
                comparison.floor.append(_round(program, Path(name) / "theirs", port, processes, seconds))
    return comparison


def description(port: int) -> str:
    """The SDP that tells ffmpeg what comes."""
    sprop = f"packetization-mode=1;sprop-parameter-sets={build_sprop([SPS, PPS])}"
    return "\r\n".join(
        (
            *("v=0", "o=- 0 0 IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0"),
            *(f"m=video {port} RTP/AVP {PAYLOAD_TYPE}", f"a=rtpmap:{PAYLOAD_TYPE} H264/90000"),
            *(f"a=fmtp:{PAYLOAD_TYPE} {sprop}", ""),
        )
    )


def _round(program: str, files: Path, port: int, processes: int, seconds: float) -> Figure:
    files.mkdir()
    with ExitStack() as stack:
        running = []
        for camera in range(processes):
            sdp = files / f"{camera}.sdp"
            sdp.write_text(description(port + 2 * camera), "ascii")
            command = [program, "-v", "error", "-protocol_whitelist", "file,udp,rtp", "-i", str(sdp), "-c", "copy"]
            command += ["-movflags", "frag_keyframe+empty_moov", str(files / f"{camera}.mp4")]
            process = subprocess.Popen(
                [*pinned(MEASURED_CPU), *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(_end, process)
            running.append(process)
        for camera, process in enumerate(running):
            until_bound(port + 2 * camera, process)
        replay = [sys.executable, "-m", "benches.replay", str(port), str(processes), str(WARM_UP + seconds + 3)]
        with subprocess.Popen(replay, stdout=subprocess.DEVNULL):
            time.sleep(WARM_UP + 1)  # The stretch begins when all of it is in its stride, and is so long.
            began, before = time.monotonic(), sum(map(_cpu_us, running))
            time.sleep(seconds)  # The stretch that is measured.
            cpu, took = sum(map(_cpu_us, running)) - before, time.monotonic() - began
        written = sum(file.stat().st_size for file in files.glob("*.mp4"))
    shutil.rmtree(files)
    if not written:
        raise RuntimeError("ffmpeg has written nothing")
    return Figure(int(processes * took * _packets_a_second()), cpu)


def _packets_a_second() -> float:
    """What a camera sends."""
    runs = [run for nals in gop() for run in packetise(H264, nals, PACKET_SIZE)]
    return sum(run.count for run in runs) * 30 / GOP


def _cpu_us(process: subprocess.Popen[bytes]) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") * 1e6


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
