from __future__ import annotations

import gc
import random
import threading

import pytest

from soip.rtp import nal
from soip.rtp.arena import ARENA, Arenas
from soip.rtp.h264 import H264
from soip.rtp.nal import AccessUnit, Depacketiser
from tests.rtp.wire import random_nal


def test_an_arena_is_given_out_again_when_nobody_looks_at_it() -> None:
    arenas = Arenas()
    first = arenas.take(10)
    assert len(first) == ARENA
    part = first[5:9]
    part[:] = b"kept"
    second = arenas.take(ARENA)
    assert len(arenas) == 2
    del first
    third = arenas.take(1)
    assert len(arenas) == 3, "a part of the first is looked at"
    assert bytes(part) == b"kept"
    second[:4] = third[:4] = b"none"
    del part
    again = arenas.take(1)
    assert len(arenas) == 3
    assert bytes(again[5:9]) == b"kept"
    assert len({id(view.obj) for view in (second, third, again)}) == 3


def test_what_the_collector_takes_away_is_not_given_out_while_it_can_be_seen() -> None:
    """It tells that something is gone before its last words."""
    arenas, seen = Arenas(), list[bytes]()

    class Circle:
        def __init__(self) -> None:
            self.me, self.view = self, arenas.take(1)
            self.view[:4] = b"mine"

        def __del__(self) -> None:
            for _ in range(2):
                arenas.take(1)[:4] = b"new!"
            seen.append(bytes(self.view[:4]))

    Circle()
    gc.collect()
    assert seen == [b"mine"]


def test_what_is_larger_than_an_arena_is_by_itself() -> None:
    arenas = Arenas()
    assert len(arenas.take(ARENA + 1)) == ARENA + 1
    assert len(arenas) == 0


def test_after_a_stall_the_number_falls_to_what_is_needed() -> None:
    arenas = Arenas()
    held = [arenas.take(1) for _ in range(100)]
    assert len(arenas) == 100
    held.clear()
    for _ in range(8000):
        held = [*held[-1:], arenas.take(1)]
    assert len(arenas) < 12


def test_not_all_that_a_stall_held_is_kept_for_use() -> None:
    arenas = Arenas()
    held = [arenas.take(1) for _ in range(2100)]
    assert len(held) == len(arenas) == 2100
    held.clear()
    assert len(arenas) == 2048


def test_what_was_given_back_last_is_given_out_next_whoever_gave_it_back() -> None:
    arenas = Arenas()
    held = [arenas.take(1) for _ in range(5)]
    for number, view in enumerate(held):
        view[0] = number
    del view
    for number in (3, 0, 4):
        thread = threading.Thread(target=held.__setitem__, args=(number, memoryview(b"")))
        thread.start()
        thread.join()
        held[number] = arenas.take(1)
        assert held[number][0] == number
    assert len(arenas) == 5


def test_one_that_is_kept_for_long_does_not_stop_the_others_from_being_used() -> None:
    arenas = Arenas()
    kept = [arenas.take(1) for _ in range(3)]
    for _ in range(1000):
        arenas.take(1)[:4] = b"used"
    assert len(arenas) == 4
    assert not any(bytes(each[:4]) == b"used" for each in kept)


def test_a_picture_that_is_kept_stays_what_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has an access unit, or a part of its bytes, has them for as long as it likes."""
    monkeypatch.setattr(nal, "_ARENAS", Arenas())
    dice = random.Random(3)
    depacketiser = Depacketiser(H264)
    kept: list[tuple[AccessUnit | memoryview, bytes]] = []
    most = 0
    for number in range(4000):
        payload = random_nal(dice, 1 if number else 5, dice.randint(10, 9000))
        depacketiser.push(memoryview(payload), 0, len(payload), 1, 3000 * number, 0.0)
        (unit,) = depacketiser.ready
        depacketiser.ready = []
        if dice.random() < 0.05:
            kept.append((unit if dice.random() < 0.5 else unit.sample, bytes(unit.sample)))
        if dice.random() < 0.05 and kept:
            del kept[dice.randrange(len(kept))]
        most = max(most, len(kept))
        assert all(bytes(each.sample if isinstance(each, AccessUnit) else each) == was for each, was in kept)
    assert len(nal._ARENAS) < 2 * most + 4
