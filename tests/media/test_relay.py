"""The relay over real sockets: what viewers receive, numbered without holes."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from copy import copy
from dataclasses import replace

import pytest

from soip.media.relay import BACKLOG_BYTES, GOP_UNITS, Relay, Viewer
from soip.net.gso import GsoSender
from soip.rtp.h264 import TYPE_IDR
from soip.rtp.nal import PACKET_SIZE, AccessUnit
from soip.rtp.packet import parse
from soip.rtp.receiver import VideoReceiver
from tests.media.material import picture


class Screen:
    """A viewer's other end."""

    def __init__(self, stack: ExitStack, payload_type: int = 96) -> None:
        self._socket = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self._socket.setblocking(False)
        way = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        way.connect(self._socket.getsockname())
        way.setblocking(False)
        self.viewer = Viewer(GsoSender(way, PACKET_SIZE), payload_type)
        self.receiver = VideoReceiver(payload_type)
        self._now = 0.0
        self.packets: list[bytes] = []

    def units(self) -> list[AccessUnit]:
        """What has come since the last call, put together again."""
        found: list[AccessUnit] = []
        while self.viewer.waiting:
            self.viewer.burst()
            found += self._drain()
        return found + self._drain()

    def _drain(self) -> list[AccessUnit]:
        found: list[AccessUnit] = []
        while True:
            try:
                packet = self._socket.recv(2048)
            except BlockingIOError:
                return found
            self.packets.append(packet)
            self._now += 0.02
            found += self.receiver.receive(packet, self._now)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


class Asked:
    """Counts requests for keyframes."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


def numbers(units: list[AccessUnit]) -> list[int]:
    """The numbers `material.picture` wrote into the slices."""
    return [int.from_bytes(nal[1:5], "big") for unit in units for nal in unit.nals if nal[0] & 0x1F in (1, TYPE_IDR)]


def test_a_viewer_who_joins_early_in_a_gop_gets_it_whole_and_then_every_picture(stack: ExitStack) -> None:
    asked = Asked()
    relay = Relay(asked)
    for number in range(10):
        relay.push(picture(number))
    screen = Screen(stack)
    relay.join(screen.viewer, now=10 / 25)
    for number in range(10, 60):
        relay.push(picture(number))
    units = screen.units()
    assert numbers(units) == list(range(60))
    assert screen.receiver.lost == 0
    assert asked.times == 0
    assert [bytes(nal) for nal in units[25].nals] == [bytes(nal) for nal in picture(25).unit.nals]


def test_a_late_viewer_gets_a_picture_at_once_and_goes_on_at_the_next_keyframe(stack: ExitStack) -> None:
    asked = Asked()
    relay = Relay(asked)
    for number in range(40):
        relay.push(picture(number, gop=50))
    screen = Screen(stack)
    relay.join(screen.viewer, now=40 / 25)
    assert asked.times == 1
    assert numbers(screen.units()) == [0]
    for number in range(40, 120):
        relay.push(picture(number, gop=50))
    units = screen.units()
    assert numbers(units) == list(range(50, 120))
    assert screen.receiver.lost == 0  # What lies between was never numbered.
    stamps = [parse(packet).timestamp for packet in screen.packets]
    assert all((later - earlier) % (1 << 32) < 1 << 31 for earlier, later in itertools.pairwise(stamps))


def test_a_viewer_before_the_first_picture_begins_with_the_first_keyframe(stack: ExitStack) -> None:
    asked = Asked()
    relay = Relay(asked)
    screen = Screen(stack)
    relay.join(screen.viewer, now=0.0)
    assert not relay.begun
    for number in range(50):
        relay.push(picture(number))
    assert numbers(screen.units()) == list(range(50))


def test_a_viewer_that_was_away_goes_on_in_the_numbering_it_had(stack: ExitStack) -> None:
    asked = Asked()
    relay = Relay(asked)
    relay.push(picture(0))
    screen, other = Screen(stack), Screen(stack)
    for one in (screen, other):
        relay.join(one.viewer, now=0.1)
    for number in range(1, 10):
        relay.push(picture(number))
    assert numbers(screen.units()) == list(range(10))
    numbering = copy(screen.viewer.stream)
    relay.leave(screen.viewer)
    for number in range(10, 30):
        relay.push(picture(number))
    relay.join(screen.viewer, now=30 / 25, numbering=numbering)
    assert asked.times == 1
    for number in range(30, 60):
        relay.push(picture(number))
    units = screen.units()
    assert numbers(units) == [25, *range(50, 60)], "a picture at once, all of them from the keyframe that was asked for"
    assert screen.receiver.lost == 0
    assert len({parse(packet).ssrc for packet in screen.packets}) == 1
    sequence = [parse(packet).sequence for packet in screen.packets]
    assert all((later - earlier) & 0xFFFF == 1 for earlier, later in itertools.pairwise(sequence))
    assert numbers(other.units()) == list(range(60)), "nobody else notices"


def test_viewers_of_one_class_get_the_same_bytes(stack: ExitStack) -> None:
    relay = Relay(Asked())
    relay.push(picture(0))
    screens = [Screen(stack) for _ in range(5)]
    for screen in screens:
        relay.join(screen.viewer, now=0.1)
    for number in range(1, 30):
        relay.push(picture(number))
    for screen in screens:
        assert numbers(screen.units()) == list(range(30))
    assert all(screen.packets == screens[0].packets for screen in screens)


def test_other_payload_types_are_classes_of_their_own(stack: ExitStack) -> None:
    relay = Relay(Asked())
    relay.push(picture(0))
    first, second = Screen(stack, 96), Screen(stack, 97)
    for screen in (first, second):
        relay.join(screen.viewer, now=0.1)
    for number in range(1, 10):
        relay.push(picture(number))
    assert numbers(first.units()) == numbers(second.units()) == list(range(10))
    assert {parse(packet).payload_type for packet in second.packets} == {97}
    assert parse(first.packets[0]).ssrc != parse(second.packets[0]).ssrc


def test_who_begins_with_a_keyframe_gets_no_pictures_that_refer_to_what_was_before(stack: ExitStack) -> None:
    relay, late, old = Relay(lambda: None), Screen(stack), Screen(stack, 97)
    relay.join(old.viewer, 0.0)
    for number in range(50):
        if number == 15:
            relay.join(late.viewer, 5.0)
        one = picture(number, gop=20)
        one.unit.leading = number % 20 in (1, 2)
        relay.push(one)
    assert numbers(late.units()) == [0, 20, *range(23, 50)], "the cached keyframe, then from the next one on"
    assert numbers(old.units()) == [0, *range(3, 50)]
    assert late.receiver.lost == old.receiver.lost == 0, "and sees no hole"


def test_who_comes_to_a_class_that_runs_is_given_its_history_without_a_hole(stack: ExitStack) -> None:
    relay = Relay(Asked())
    relay.push(picture(0))
    first, second = Screen(stack), Screen(stack)
    relay.join(first.viewer, now=0.0)
    for number in range(1, 30):
        relay.push(picture(number))
    relay.join(second.viewer, now=29 / 25)
    for number in range(30, 40):
        relay.push(picture(number))
    assert numbers(first.units()) == list(range(40))
    assert numbers(second.units()) == list(range(25, 40))
    assert second.receiver.lost == 0


def test_a_backlog_that_grows_too_large_ends_at_the_next_keyframe(stack: ExitStack) -> None:
    relay = Relay(Asked())
    relay.push(picture(0, size=200_000))
    screen = Screen(stack)
    viewer = screen.viewer
    viewer.queue([bytes(1000)])  # Something waits, so everything queues behind it.
    relay.join(viewer, now=0.0)
    viewer.queue([bytes(BACKLOG_BYTES + 1)])
    assert viewer.broken
    assert not viewer.waiting
    assert viewer.backlog_bytes == 0
    thrown_away = relay.counted.unshown
    assert thrown_away >= 1
    screen.units()
    for number in range(1, 24):
        relay.push(picture(number))
    assert numbers(screen.units()) == []
    for number in range(25, 30):
        relay.push(picture(number))
    assert numbers(screen.units()) == list(range(25, 30))  # The first once its receiver gave the lost ones up.
    relay.leave(viewer)
    assert relay.counted.unshown == thrown_away, "that it has left changes nothing of it"


def test_the_cache_is_bounded_and_then_keeps_its_keyframe(stack: ExitStack) -> None:
    asked = Asked()
    relay = Relay(asked)
    for number in range(GOP_UNITS + 10):
        relay.push(picture(number, gop=10**6, size=100, arrival=0.0))
    assert relay.gop == []
    assert relay.begun
    screen = Screen(stack)
    relay.join(screen.viewer, now=0.5)
    assert asked.times == 1
    assert numbers(screen.units()) == [0]


def test_after_the_camera_is_called_anew_viewers_go_on(stack: ExitStack) -> None:
    relay = Relay(Asked())
    relay.push(picture(0))
    screen = Screen(stack)
    relay.join(screen.viewer, now=0.0)
    relay.forget()
    assert not relay.begun
    relay.push(picture(100, gop=25))
    assert numbers(screen.units()) == [0, 100]
    assert screen.receiver.lost == 0


def test_who_left_gets_nothing_more(stack: ExitStack) -> None:
    relay = Relay(Asked())
    relay.push(picture(0))
    screen = Screen(stack)
    relay.join(screen.viewer, now=0.0)
    screen.units()
    relay.leave(screen.viewer)
    relay.leave(screen.viewer)
    relay.push(picture(1))
    assert screen.units() == []
    assert list(relay.viewers) == []


def test_a_timeline_that_begins_anew_in_a_gop_ends_what_is_cached(stack: ExitStack) -> None:
    asked = Asked()
    relay = Relay(asked)
    early, late = Screen(stack), Screen(stack)
    relay.push(picture(0))
    relay.join(early.viewer, now=0.1)
    for number in range(1, 50):
        relay.push(replace(picture(number), fresh=number == 10))
        if number == 20:
            assert relay.gop == []
            assert not relay.begun
            relay.join(late.viewer, now=0.9)
            assert asked.times == 1
    assert numbers(early.units()) == list(range(50)), "who watches already goes on"
    assert early.receiver.lost == 0
    assert numbers(late.units()) == list(range(25, 50))
