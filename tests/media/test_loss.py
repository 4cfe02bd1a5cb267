"""From the wire to the file and back: every loss is marked, and nothing else is changed."""

from __future__ import annotations

import json
from random import Random

import pytest

from soip.media.intake import Picture, VideoIntake
from soip.media.walltime import WallClock
from soip.rtp.receiver import VideoReceiver
from soip.store.reader import Frame
from soip.store.rebuild import recordings
from tests.media.material import START_US
from tests.media.test_recorder import Desk, desk
from tests.mp4.material import FRAME_TICKS, video
from tests.rtp.wire import PAYLOAD_TYPE, Sender
from tests.store.test_check import unexpected
from tests.store.test_damage import decoded

__all__ = ["desk"]

COUNT, GOP = 500, 25


class Camera:
    """What a camera sends, picture by picture, and the way of it to a recorder."""

    def __init__(self, desk: Desk, *, first: int = 0, sequence: int = 0) -> None:
        self.desk = desk
        self.pictures: dict[int, Picture] = {}
        """Those that came out of the intake, by their number."""
        material = video(100, GOP)
        self.sent = [[bytes(nal) for nal in material.frames[number % 100]] for number in range(COUNT)]
        self._first = first
        self._sender = Sender(sequence=sequence, packet_size=500)
        self.intake = VideoIntake(PAYLOAD_TYPE, (), WallClock(0.0, lambda: START_US), self._take)

    @property
    def receiver(self) -> VideoReceiver:
        return self.intake.receiver

    def number(self, timestamp: int) -> int:
        return (timestamp - self._first & 0xFFFFFFFF) // FRAME_TICKS

    def _take(self, picture: Picture) -> None:
        self.pictures[self.number(picture.unit.timestamp)] = picture
        self.desk.take(picture)

    def send(self, random: Random, loss: float, *, shuffled: float = 0.0) -> set[int]:
        """All pictures, each in its twenty-fifth of a second; gives the numbers of those that lost a packet."""
        dropped: set[int] = set()
        wire: list[tuple[float, bytes]] = []
        for number, nals in enumerate(self.sent):
            datagrams = self._sender.unit(nals, self._first + number * FRAME_TICKS)
            for at, datagram in enumerate(datagrams):
                # The end is left alone: nothing would follow that tells of a loss.
                if 0 < number < COUNT - 25 and random.random() < loss:
                    dropped.add(number)
                else:
                    wire.append((number / 25 + at / len(datagrams) / 50, datagram))
        for at in range(1, len(wire) - 1, 2):
            if random.random() < shuffled:
                (early, one), (late, other) = wire[at : at + 2]
                wire[at : at + 2] = [(early, other), (late, one)]
        for now, datagram in wire:
            for unit in self.receiver.receive(datagram, now):
                self.intake.take(unit)
        return dropped


def frames_by_number(camera: Camera, frames: list[Frame]) -> dict[int, Frame]:
    names = {picture.pts: number for number, picture in camera.pictures.items()}
    return {names[frame.time + frame.composition_offset]: frame for frame in frames}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("loss", [0.0, 0.01, 0.1])
async def test_every_loss_is_marked_and_nothing_else_changed(desk: Desk, seed: int, loss: float) -> None:
    camera = Camera(desk)
    desk.on()
    dropped = camera.send(Random(seed), loss, shuffled=0.01)
    desk.recorder.interrupt()
    await desk.settle()
    frames = desk.frames()
    found = frames_by_number(camera, frames)
    assert len(found) == len(frames), "each picture once"
    assert list(found) == sorted(found), "in the order they were sent"
    follows, broken = 0, False
    for number, frame in found.items():
        missed = any(other not in found for other in range(follows, number))
        broken = number in dropped or ((broken or missed) and number % GOP > 0)
        assert frame.damaged == broken, number
        if not frame.damaged:
            nals = [bytes(nal) for nal in frame.nals()]
            assert nals[-len(camera.sent[number]) :] == camera.sent[number]
        follows = number + 1
    # The very last picture still waited for its successor when the call ended, but it was written.
    assert set(range(COUNT)) - set(found) <= dropped
    assert sum(row.frames for row in desk.files) == len(frames)
    assert sum(row.damaged for row in desk.files) == sum(frame.damaged for frame in frames)
    assert sum(row.lost for row in desk.files) == camera.receiver.lost
    assert bool(dropped) == bool(camera.receiver.lost) == bool(loss)
    for row, again in zip(desk.files, recordings(desk.disk.root, unexpected), strict=True):
        assert (row.damaged, row.lost) == (again.damaged, again.lost)
        assert len(json.loads(row.damage)) == len(again.damage)


async def test_a_player_shows_what_was_recorded_under_loss(desk: Desk) -> None:
    """It may complain of what it cannot decode, as of any lossy stream, but of nothing in the file."""
    camera = Camera(desk)
    desk.on()
    camera.send(Random(1), 0.0, shuffled=0.05)
    desk.recorder.interrupt()
    await desk.settle()
    assert [decoded(path) for path in desk.paths] == [COUNT]


async def test_numbers_and_timestamps_that_wrap_leave_no_trace(desk: Desk) -> None:
    camera = Camera(desk, first=(1 << 32) - 250 * FRAME_TICKS, sequence=65_000)
    desk.on()
    camera.send(Random(0), 0.0)
    desk.recorder.interrupt()
    await desk.settle()
    frames = desk.frames()
    assert list(frames_by_number(camera, frames)) == list(range(COUNT))
    assert not any(frame.damaged for frame in frames)
    assert [frame.duration for frame in frames[:-1]] == [FRAME_TICKS] * (COUNT - 1)
    assert len(desk.files) == 1
    assert camera.receiver.lost == 0


async def test_loss_over_a_wrap_is_counted_as_any_other(desk: Desk) -> None:
    camera = Camera(desk, first=(1 << 32) - 100 * FRAME_TICKS, sequence=65_400)
    desk.on()
    dropped = camera.send(Random(3), 0.05)
    desk.recorder.interrupt()
    await desk.settle()
    found = frames_by_number(camera, desk.frames())
    assert all(found[number].damaged for number in dropped if number in found)
    assert sum(row.lost for row in desk.files) == camera.receiver.lost > 0
