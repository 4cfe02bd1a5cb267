"""Twenty cameras at once on a whole server: every access unit that is recorded is, byte by byte, one that was sent, in
the order in which it was sent, and nothing is said to be damaged.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import av
import pytest

from soip.config import Settings
from soip.directory.directory import Directory
from soip.rtp.h264 import TYPE_AUD, TYPE_PPS, TYPE_SPS
from soip.store.reader import play
from tests.faults.timeline import holes, timeline
from tests.interop.film import make_film
from tests.site import DOMAIN, PASSWORD, Site

pytestmark = pytest.mark.faults

COUNT = 20
SECONDS = 8


def pictures(sample: bytes) -> bytes:
    """The NAL units of an access unit without those that stand in a file's header as well, or say nothing."""
    at, kept = 0, b""
    while at < len(sample):
        size = int.from_bytes(sample[at : at + 4], "big")
        nal = sample[at : at + 4 + size]
        if nal[4] & 0x1F not in (TYPE_SPS, TYPE_PPS, TYPE_AUD):
            kept += nal
        at += 4 + size
    return kept


def test_what_twenty_cameras_send_is_recorded_byte_by_byte(tmp_path: Path) -> None:
    film = make_film(tmp_path / "film.mp4", 60, size="320x240")
    sent = [pictures(sample) for sample in samples_of(film)]
    places = {picture: number for number, picture in enumerate(sent)}
    with Site(tmp_path, file_seconds=5) as site:
        names = [f"cam-{number}" for number in range(1, COUNT + 1)]
        asyncio.run(add(site, names))
        site.add_user()
        site.start()
        site.simulate("cam", "--count", str(COUNT), "--source", str(film))
        for name in names:
            site.until_camera(name)
        time.sleep(SECONDS)  # The time that is recorded and then looked through.
        entries = [timeline(site, name) for name in names]
        site.stop()
        for name in names:
            rows = site.query("SELECT root, path, damaged, lost FROM recording WHERE camera_id = ? ORDER BY path", name)
            assert {row[2:] for row in rows} == {(0, 0)}
            frames = list(play([Path(*row[:2]) for row in rows], 0, 1 << 60))
            assert not any(frame.damaged for frame in frames)
            numbers = [places[pictures(bytes(frame.data))] for frame in frames]
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
            assert len(numbers) >= SECONDS * 25 / 2
        for each in entries:
            assert not holes(each)
        site.soip("store", "check")


async def add(site: Site, names: list[str]) -> None:
    """Cameras as `soip camera add` makes them, all at once."""
    async with await Directory.open(Settings.load(data=site.data).database_url) as directory:
        for name in names:
            await directory.cameras.add(name, realm=await directory.settings.realm(DOMAIN), password=PASSWORD)


def samples_of(film: Path) -> list[bytes]:
    """What a film holds, in decoding order."""
    with av.open(str(film)) as container:
        stream = container.streams.video[0]
        return [bytes(packet) for packet in container.demux(stream) if packet.size]
