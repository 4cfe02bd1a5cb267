"""The measured process of the ingest benchmark: the product's way from the sockets to the files.

    python -m benches.ingest_ours FIRST_PORT CAMERAS WARM_UP SECONDS DIRECTORY

RTP socket → `rtp.receiver` → `media.intake` (times) → `media.recorder` (fragments) → `store` (one write per fragment
on the disk's thread, hashed, synced every 5 s). What the recorder tells the catalog is left out: it goes to the
directory once per fragment. Counts for SECONDS, from WARM_UP seconds after the first picture on. Prints "ready"; at
the end: packets, bytes written, CPU µs, of these the CPU µs it took to hash what was written, fragments that the disk's
queue refused, the longest sync in ms, packets that were lost, and those of them that the kernel dropped.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import structlog
import uvloop

from benches.frames import PAYLOAD_TYPE
from benches.measured import MEASURED_CPU, cpu_us, pin, tell
from soip.media.context import Context
from soip.media.disks import Disks, Place
from soip.media.gaps import Gaps
from soip.media.intake import Picture, VideoIntake
from soip.media.recorder import Recorder
from soip.media.relay import Relay
from soip.media.walltime import WallClock
from soip.net.poll import MediaPoll
from soip.net.ports import PortPairs
from soip.net.rtp import DATAGRAM_SIZE, RtpSocketPair, open_pair
from soip.process import calm_collector
from soip.store.disk import DiskWriter
from soip.store.root import Root


@dataclass
class Surroundings:
    """What a recorder asks of its media worker."""

    loop: asyncio.AbstractEventLoop
    wall: WallClock

    @property
    def later(self) -> Surroundings:
        return self

    def save(self, row: object) -> None:
        """The catalog would take the row."""

    def now_us(self) -> int:
        return self.wall.utc_us(self.loop.time())


def readable(pair: RtpSocketPair, intake: VideoIntake, buffer: memoryview) -> None:
    intake.readable(pair, buffer, time.monotonic())


class Recorded:
    """Cameras on ports of their own, received and recorded as a media worker does it, and with `relayed` kept for who
    may come and watch.
    """

    def __init__(self, first_port: int, cameras: int, directory: Path, *, relayed: bool = False) -> None:
        loop = asyncio.get_running_loop()
        self.started = asyncio.Event()
        self.frames = 0
        self.pairs: list[RtpSocketPair] = []
        self.intakes: list[VideoIntake] = []
        self.recorders: list[Recorder] = []
        self.relays = [Relay(lambda: None) for _ in range(cameras if relayed else 0)]
        self.watched: set[int] = set()
        """Cameras, by their number, that somebody is to see at once."""
        around = Surroundings(loop, WallClock(time.monotonic()))
        buffer = memoryview(bytearray(DATAGRAM_SIZE))
        ports, poll = PortPairs(first_port, first_port + 2 * cameras), MediaPoll(loop)
        self.disk = DiskWriter(Root.open(directory, "bench"))
        self.disk.start()
        place = Place(self.disk, "bench", "bench-0", file_seconds=600, fragment_seconds=2)
        disks = Disks([place], time.monotonic)
        for camera in range(cameras):
            pair = open_pair(ports, "127.0.0.1", time.monotonic)
            gaps = Gaps(f"cam-{camera}", "bench-0", around.save, around.save)
            recorder = Recorder(cast(Context, around), f"cam-{camera}", disks, gaps)
            recorder.enable(True)
            recorder.begin(None)
            intake = VideoIntake(PAYLOAD_TYPE, (), around.wall, partial(self._take, camera))
            self.pairs.append(pair)
            self.intakes.append(intake)
            self.recorders.append(recorder)
            pair.watch(poll, partial(readable, pair, intake, buffer), lambda: None)
            pair.allow({"127.0.0.1"})
        self._ticking = loop.create_task(self._tick())

    def _take(self, camera: int, picture: Picture) -> None:
        self.started.set()
        self.frames += 1
        self.recorders[camera].picture(picture)
        if self.relays:
            self.relays[camera].push(picture)

    async def _tick(self) -> None:
        """Each second, as cameras do: those that nobody watches rest, and a recorder that a slow disk has stopped goes
        on.
        """
        while True:
            await asyncio.sleep(1)
            for number, (pair, recorder) in enumerate(zip(self.pairs, self.recorders, strict=True)):
                pair.rest(number not in self.watched)
                recorder.tick()

    @property
    def packets(self) -> int:
        return sum(intake.receiver.expected_packets - intake.receiver.lost for intake in self.intakes)

    @property
    def lost(self) -> int:
        """Packets that are missing, by their numbers."""
        return sum(intake.receiver.lost for intake in self.intakes)

    @property
    def dropped(self) -> int:
        """Datagrams that the kernel had no room for."""
        return sum(pair.kernel_drops() for pair in self.pairs)

    async def close(self) -> None:
        """Write what is left."""
        self._ticking.cancel()
        for recorder in self.recorders:
            recorder.interrupt()
        await asyncio.get_running_loop().run_in_executor(None, self.disk.close)


async def measure(first_port: int, cameras: int, warm_up: float, seconds: float, directory: Path) -> None:
    house = Recorded(first_port, cameras, directory)
    disk = house.disk
    tell("ready")
    await house.started.wait()
    await asyncio.sleep(warm_up)
    packets, written, cpu = house.packets, disk.stats.bytes, cpu_us()
    await asyncio.sleep(seconds)
    packets, written, cpu = house.packets - packets, disk.stats.bytes - written, cpu_us() - cpu
    lost, dropped = house.lost, house.dropped
    stats = disk.stats
    spoilt = f"{stats.refused} {stats.worst_sync_seconds * 1000:.0f} {lost} {dropped}"
    tell(f"{packets} {written} {cpu:.0f} {hash_us(written):.0f} {spoilt}")
    await house.close()


def hash_us(size: int) -> float:
    """CPU µs to hash so many bytes in fragments, measured here and now on the same processor."""
    fragments = [bytearray(1_000_000) for _ in range(64)]  # more than the cache holds, as what comes from the cameras
    cpu = cpu_us()
    for fragment in fragments:
        hashlib.sha256(fragment)
    return (cpu_us() - cpu) * size / sum(map(len, fragments))


def quietly(work: Coroutine[object, object, None]) -> None:
    """Run the measured work, in a process as the product's are. Cameras that begin to record would say so on standard
    output, where the figures go.
    """
    pin(MEASURED_CPU)
    calm_collector()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


if __name__ == "__main__":
    quietly(measure(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]), Path(sys.argv[5])))
