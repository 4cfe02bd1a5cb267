"""Playback: how soon a recording is seen, with many files in the catalog, and how many a core can play at once.

The SIP server and a media worker run as they are served, each on its core. One camera has real files; of all others,
and of that one's earlier days, there are rows in the catalog alone, which is what must be searched. A phone calls it
again and again, each time for another moment: from its INVITE to the first RTP packet, digest and ACK and all.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import quantiles

from sqlalchemy import Connection, insert

from benches.frames import FRAME_RATE, FRAME_TICKS, GOP, PPS, SPS, gop
from benches.measured import MEASURED_CPU, OTHER_CPU, pinned
from benches.report import Result, Value, free_ports
from soip.config import HostPort, PortRange, Settings
from soip.directory import schema
from soip.directory.database import Database
from soip.directory.directory import Directory
from soip.media.rows import recording_row
from soip.mp4.times import ticks_of
from soip.mp4.tracks import video_track
from soip.mp4.writer import Run, Sample
from soip.net.call import Call
from soip.net.errors import NetError
from soip.net.ports import PortPairs
from soip.net.rtp import RtpSocketPair, open_pair
from soip.net.sip import SipEndpoint
from soip.net.target import Target
from soip.net.ua import UserAgent
from soip.rtp.nal import length_prefixed
from soip.sip.digest import Credentials
from soip.sip.formats import Video
from soip.sip.offer import Local, make_offer
from soip.sip.uri import Uri
from soip.store.disk import DiskWriter
from soip.store.events import Event, Sealed
from soip.store.recording import Recording
from soip.store.root import NOTE, Root
from soip.store.writer import RecordingWriter

MARK = 50.0
SESSIONS_MARK = 100.0
"""For orientation: nothing was promised of sessions."""
DOMAIN = "soip.test"
CAMERA, PHONE, PASSWORD = "gate", "ann", "sip-password"
REAL = 4
"""Real files, of so many seconds each."""
REAL_SECONDS = 60
OTHERS = 10
"""Cameras that share the rows without files; one of ten is ours."""
PLAYED_S = 10.0
_SECOND = 1_000_000


def run(rounds: int, files: int, calls: int, sessions: int) -> Iterator[Result]:
    """Both, in one installation. Raises RuntimeError if a part does not run."""
    first = Value("playback: first packet", f"p95 after INVITE, {files} files in the catalog", "ms", MARK)
    core = Value("playback: sessions per core", "at 1×, 4 Mbit/s each", "sessions", SESSIONS_MARK, least=True)
    with tempfile.TemporaryDirectory(prefix="soip-bench-") as folder:
        settings = _settings(Path(folder))
        start_us = asyncio.run(_furnish(settings, files))
        with _serving(settings) as worker:
            for _ in range(rounds):
                waits = asyncio.run(_call_again(settings, start_us, calls))
                cuts = quantiles(waits, n=100, method="inclusive")
                first.rounds.append(1000 * cuts[94])
                first.notes.append(f"p50 {1000 * cuts[49]:.1f} ms, worst {1000 * max(waits):.0f} ms")
                share = asyncio.run(_at_once(settings, start_us, sessions, worker))
                core.rounds.append(sessions / share)
                core.notes.append(f"{sessions} sessions take {share:.1%} of a core")
    yield first
    yield core


def _settings(folder: Path) -> Settings:
    port = free_ports(200)
    return Settings(
        data=folder / "data",
        domain=DOMAIN,
        sip=HostPort("127.0.0.1", port),
        rtp_ports=PortRange(port + 2, port + 397),
        media_workers=1,
        log_format="json",
    )


# -- what is there before


async def _furnish(settings: Settings, files: int) -> int:
    """A camera with real files, a phone, and a catalog of so many rows; UTC µs at which the real ones begin."""
    settings.data.mkdir()
    start_us = (int(time.time()) - 2 * REAL * REAL_SECONDS) * _SECOND
    async with await Directory.open(settings.database_url) as directory:
        realm = await directory.settings.realm(DOMAIN)
        await directory.cameras.add(CAMERA, realm=realm, password="p", plan="never")
        await directory.users.add(PHONE, password="x", role="viewer", realm=realm, sip_password=PASSWORD)
        server = await directory.media.create_or_load(settings.media_server_file, realm)
    root = Root.open(settings.media_roots[0], server.id, note=settings.data / NOTE)
    real = await asyncio.to_thread(_write, root, start_us)
    made = [recording_row(each, root=root.path, server=server.id, instance=server.instance(0)) for each in real]
    rows = [{name: getattr(row, name) for name in row.__slots__} for row in made]
    columns = [column.name for column in schema.recording.c if column.name in rows[0]]
    rows = [{name: row[name] for name in columns} for row in rows]
    length = 600 * _SECOND
    for number in range(files - len(rows)):
        camera = CAMERA if number % OTHERS == 0 else f"cam-{number % OTHERS}"
        begin = start_us - (number // OTHERS + 1) * length
        rows.append({**rows[0], "id": f"{number:032x}", "camera_id": camera, "path": f"{camera}/{number}.mp4"})
        rows[-1] |= {"start_us": begin, "end_us": begin + length}

    def insert_all(connection: Connection) -> None:
        connection.execute(insert(schema.recording), rows)

    database = await Database.open(settings.database_url)
    await database.write(insert_all)
    await database.close()
    return start_us


def _write(root: Root, start_us: int) -> list[Recording]:
    """The real files, by the product's own writer."""
    sealed: list[Recording] = []

    def told(event: Event) -> None:
        if isinstance(event, Sealed):
            sealed.append(event.recording)

    disk = DiskWriter(root, queue_bytes=1 << 30)
    disk.start()
    samples = [bytes(length_prefixed(nals)) for nals in gop()]
    told_of = [Sample(len(one), FRAME_TICKS, 0, at == 0) for at, one in enumerate(samples)]
    for number in range(REAL):
        begin = start_us + number * REAL_SECONDS * _SECOND
        writer = RecordingWriter(disk, CAMERA, [video_track("H264", [[SPS], [PPS]], 1920, 1080)], told, server=root.id)
        for first in range(0, REAL_SECONDS * FRAME_RATE, GOP):
            at_us = begin + first * _SECOND // FRAME_RATE
            if not writer.append([Run(1, ticks_of(begin) + first * FRAME_TICKS, told_of, samples)], at_us):
                raise RuntimeError("the disk does not take the files to play back")
        writer.seal()
    disk.close()
    return sealed


# -- who serves


@contextmanager
def _serving(settings: Settings) -> Iterator[int]:
    """The SIP server and a media worker; the process id of that."""
    environment = {**os.environ, **settings.environment()}
    log = settings.data / "serve.log"
    running = []
    with log.open("w") as stream:
        for cpu, *command in ((OTHER_CPU, "sip"), (MEASURED_CPU, "media", "--worker", "0")):
            soip = [*pinned(cpu), sys.executable, "-m", "soip", *command]
            running.append(
                subprocess.Popen(soip, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, env=environment)
            )
    try:
        deadline = time.monotonic() + 120
        while "media worker ready" not in log.read_text():
            if time.monotonic() > deadline or any(process.poll() is not None for process in running):
                raise RuntimeError(f"the server did not start: {log.read_text()[-500:]}")
            time.sleep(0.1)  # A log can only be looked at again.
        yield running[1].pid
    finally:
        for process in reversed(running):
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# -- who calls


@dataclass(slots=True)
class _Phone:
    """Calls for a moment of the recordings."""

    agent: UserAgent
    ports: PortPairs
    start_us: int

    async def play(self) -> tuple[Call, RtpSocketPair, float]:
        """A call, its sockets, and how long it took from the INVITE to the first packet."""
        loop = asyncio.get_running_loop()
        at_us = self.start_us + random.randrange(REAL * REAL_SECONDS - 2 * int(PLAYED_S)) * _SECOND
        moment = f"{datetime.fromtimestamp(at_us / _SECOND, UTC):%Y%m%dT%H%M%SZ}"
        pair = open_pair(self.ports, "127.0.0.1", loop.time)
        came: asyncio.Future[float] = loop.create_future()

        def readable() -> None:
            if not came.done():
                came.set_result(loop.time())

        loop.add_reader(pair.rtp, readable)
        try:
            offer = make_offer(Local("127.0.0.1", random.getrandbits(32)), [Video(pair.port, receives=True)])
            began = loop.time()
            uri = Uri("sip", f"{CAMERA};start={moment}", DOMAIN)
            call = await self.agent.invite(uri, offer.to_bytes(), within=60)
            async with asyncio.timeout(60):
                return call, pair, await came - began
        except BaseException:
            pair.close()
            raise
        finally:
            loop.remove_reader(pair.rtp)


@asynccontextmanager
async def _phone(settings: Settings, start_us: int) -> AsyncIterator[_Phone]:
    async with AsyncExitStack() as stack:
        endpoint = SipEndpoint("127.0.0.1", 0)
        await endpoint.start()
        stack.push_async_callback(endpoint.close)
        server = Target("udp", settings.sip.host, settings.sip.port)
        agent = UserAgent(endpoint, Uri("sip", PHONE, DOMAIN), Credentials(PHONE, PASSWORD), server)
        await agent.start()
        stack.push_async_callback(agent.close)
        first = free_ports(150)
        yield _Phone(agent, PortPairs(first, first + 299, quarantine=0.0), start_us)


async def _call_again(settings: Settings, start_us: int, calls: int) -> list[float]:
    """Seconds to the first packet of each call. The first one, for which the camera may have no home yet, is tried
    until it succeeds, and not counted.
    """
    async with _phone(settings, start_us) as phone:
        waits = []
        for number in range(-1, calls):
            call, pair, took = await _until_served(phone) if number < 0 else await phone.play()
            if number >= 0:
                waits.append(took)
            await call.bye()
            pair.close()
        return waits


async def _until_served(phone: _Phone) -> tuple[Call, RtpSocketPair, float]:
    for attempt in range(60):
        try:
            return await phone.play()
        except (NetError, TimeoutError):
            if attempt == 59:
                raise
            await asyncio.sleep(0.5)
    raise RuntimeError("the camera's recordings are not served")


async def _at_once(settings: Settings, start_us: int, sessions: int, worker: int) -> float:
    """The share of a core that the worker takes while so many play."""
    async with _phone(settings, start_us) as phone:
        playing = [await phone.play() for _ in range(sessions)]
        before, began = _cpu_s(worker), time.monotonic()
        await asyncio.sleep(PLAYED_S / 2)
        share = (_cpu_s(worker) - before) / (time.monotonic() - began)
        over = sum(call.end is not None for call, _, _ in playing)
        for call, pair, _ in playing:
            await call.bye()
            pair.close()
    if over:
        raise RuntimeError(f"{over} of {sessions} playbacks ended before they should")
    return share
