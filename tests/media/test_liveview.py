"""One viewer of live pictures: what it joins it leaves, also when it never came to be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import cast

import pytest

from soip.media.camera import Camera
from soip.media.context import Context
from soip.media.intake import Sound
from soip.media.liveview import LiveView
from soip.media.patience import Patience
from soip.media.relay import Relay
from soip.media.telephone import Telephone
from soip.net.poll import MediaPoll
from soip.net.ports import PortPairs
from soip.net.rtp import open_pair
from soip.net.rtpway import RtpWay
from soip.sip.errors import OfferError
from soip.sip.offer import Agreement, Stream
from tests.media.material import picture

_PORTS = PortPairs(32_800, 32_899, quarantine=0.0)
NOWHERE = "255.255.255.255"
"""An address the kernel lets nobody connect to who did not ask for broadcast."""


@dataclass
class Desk:
    """Stands in for the context and the camera."""

    poll: MediaPoll
    patience: Patience = field(default_factory=Patience)
    sounds: set[object] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.telephone = Telephone(cast("set[Callable[[Sound], None]]", self.sounds))
        self.relay = Relay(self.ask_keyframe)
        self.pairs = [open_pair(_PORTS, "127.0.0.1", self.now) for _ in range(2)]
        self.ways: list[RtpWay] = [*self.pairs]

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    def now(self) -> float:
        return self.loop.time()

    def ask_keyframe(self) -> None:
        pass

    def view(self, video: str = "127.0.0.1", audio: str = "127.0.0.1") -> LiveView:
        agreement = Agreement((_stream("video", video), _stream("audio", audio)))
        return LiveView(cast(Context, self), cast(Camera, self), agreement, self.ways)

    @property
    def left_behind(self) -> tuple[int, int, int]:
        """Viewers, listeners, sockets watched."""
        return len(list(self.relay.viewers)), len(self.sounds), len(self.poll)


def _stream(kind: str, host: str) -> Stream:
    encoding, number, rate = ("H264", 96, 90_000) if kind == "video" else ("PCMU", 0, 8000)
    there = (host, 40_000), (host, 40_001)
    return Stream(kind, encoding, number, frozenset({number}), rate, "sendonly", 0, *there)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk(MediaPoll(asyncio.get_running_loop()))
    yield desk
    desk.poll.close()
    for pair in desk.pairs:
        pair.close()


async def test_who_joins_leaves(desk: Desk) -> None:
    view = desk.view()
    assert desk.left_behind == (1, 1, 4)
    view.close()
    assert desk.left_behind == (0, 0, 0)


@pytest.mark.parametrize(("video", "audio"), [(NOWHERE, "127.0.0.1"), ("127.0.0.1", NOWHERE)])
async def test_a_leg_that_cannot_be_opened_leaves_nothing_behind(desk: Desk, video: str, audio: str) -> None:
    with pytest.raises(OSError, match="denied"):
        desk.view(video, audio)
    assert desk.left_behind == (0, 0, 0)
    desk.relay.push(picture(0))


async def test_hold_resume_and_a_move_that_fails(desk: Desk) -> None:
    view = desk.view()
    streams = _stream("video", "127.0.0.1"), _stream("audio", "127.0.0.1")
    view.direct(Agreement(streams))
    held = Agreement(tuple(replace(stream, direction="inactive") for stream in streams))
    view.direct(held)
    assert desk.left_behind == (0, 0, 4)
    with pytest.raises(OfferError, match="denied"):
        view.direct(Agreement((streams[0], _stream("audio", NOWHERE))))
    assert desk.left_behind == (0, 0, 4), "on hold as before"
    view.direct(Agreement(streams))
    assert desk.left_behind == (1, 1, 4)
    with pytest.raises(OfferError, match="denied"):
        view.direct(Agreement((_stream("video", NOWHERE), streams[1])))
    assert desk.left_behind == (1, 1, 4), "shown as before"
    assert desk.pairs[0].rtp.getpeername() == ("127.0.0.1", 40_000)
    view.direct(Agreement((streams[0], None)))
    assert desk.left_behind == (1, 0, 4)
    view.close()
    assert desk.left_behind == (0, 0, 0)
