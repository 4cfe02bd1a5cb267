"""A camera that sends a program stream, in a whole house: called, recorded, watched and heard like any other."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path

import av
import pytest

from soip.agents.camera import SimulateOptions, run_cameras
from soip.agents.station import Server
from soip.rtp import ps
from soip.rtp.codec import CODINGS
from tests.media.house import DOMAIN, PATIENT_S, House, until
from tests.media.peers import Viewer

shared = pytest.mark.asyncio(loop_scope="module")
"""For tests that share one house."""


@asynccontextmanager
async def program_camera(house: House, name: str, codec: str = "H264") -> AsyncIterator[None]:
    """A software camera that sends a program stream with sound."""
    sip = house.settings.sip
    options = SimulateOptions(
        name,
        "secret",
        Server(sip.host, sip.port),
        DOMAIN,
        gop_seconds=1,
        codec=codec,
        rtp_ports=(33_000, 33_399),
        program=True,
    )
    stop = asyncio.Event()
    task = asyncio.create_task(run_cameras(options, stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, PATIENT_S)


@shared
@pytest.mark.parametrize("codec", ["H264", "H265"])
async def test_viewers_see_and_hear_by_rtp_and_the_disk_has_both(home: House, name: str, codec: str) -> None:
    await home.add_camera(name, audio=True)
    async with program_camera(home, name, codec):
        await home.until_state("recording", name)
        viewer = await (await Viewer.make(home)).dial(name, audio=True)
        units = await viewer.see(30)
        assert viewer.agreement.video is not None
        assert viewer.agreement.video.encoding == codec
        assert units[0].keyframe
        assert all(CODINGS[codec].find_sets(units[0].nals)), "parameter sets stand before a keyframe"
        steps = {later.timestamp - one.timestamp for one, later in itertools.pairwise(units[1:])}
        assert all(step > 0 and step % 3600 == 0 for step in steps), steps
        await until(lambda: len(viewer.sound) >= 20, True)
        assert viewer.agreement.audio is not None
        assert viewer.agreement.audio.encoding == "PCMU"
        assert {len(frame.payload) for frame in viewer.sound} == {160}
        await home.recorded(2, name)
    await home.until_state("offline", name)
    (row, *_) = await home.recordings(name)
    with av.open(str(Path(row.root, row.path))) as film:
        assert [stream.type for stream in film.streams] == ["video", "audio"]
        assert sum(1 for _ in film.decode(video=0)) >= 25


@shared
async def test_sound_that_is_not_wanted_is_neither_recorded_nor_heard(home: House, name: str) -> None:
    await home.add_camera(name)
    async with program_camera(home, name):
        await home.until_state("recording", name)
        viewer = await (await Viewer.make(home)).dial(name, audio=True)
        await viewer.see(10)
        assert viewer.agreement.audio is None
        assert not viewer.sound


@shared
async def test_keyframes_are_asked_for_and_reports_sent_as_of_any_camera(
    home: House, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[ps.PsReceiver] = []
    original = ps.PsReceiver.__init__

    def note(self: ps.PsReceiver, payload_type: int, also: Collection[int] = ()) -> None:
        original(self, payload_type, also)
        made.append(self)

    monkeypatch.setattr(ps.PsReceiver, "__init__", note)
    await home.add_camera(name, plan="never")
    await home.base()  # its worker is found then
    async with program_camera(home, name):
        viewer = await (await Viewer.make(home)).dial(name)
        await viewer.see(3)
        viewer.ask_keyframe()
        first = len(viewer.pictures)
        await until(lambda: any(unit.keyframe for unit in viewer.pictures[first:]), True)
        (receiver,) = made
        assert receiver.lost == receiver.malformed == receiver.broken_payloads == 0
        assert receiver.demultiplexer.encoding == "H264"
