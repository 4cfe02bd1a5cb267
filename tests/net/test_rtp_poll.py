from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Sized
from contextlib import suppress
from itertools import pairwise

import pytest
import uvloop

from soip.net.poll import BUDGET, FAILURES, ROUND_S, STEP, MediaPoll


def pairs(count: int) -> list[tuple[socket.socket, socket.socket]]:
    return [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(count)]


def close(sockets: list[tuple[socket.socket, socket.socket]]) -> None:
    for ends in sockets:
        for end in ends:
            end.close()


async def until(condition: Sized, count: int) -> None:
    async with asyncio.timeout(30):
        while len(condition) < count:  # noqa: ASYNC110 - what is waited for is a plain list
            await asyncio.sleep(0.001)


async def serve(count: int) -> list[int]:
    """Let `count` sockets become readable at once; return the order in which they were served."""
    poll = MediaPoll(asyncio.get_running_loop())
    sockets = pairs(count)
    served: list[int] = []

    def reader(number: int) -> None:
        sockets[number][0].recv(10)
        served.append(number)

    for number, (end, _) in enumerate(sockets):
        poll.add(end, lambda number=number: reader(number))  # type: ignore[misc]
    assert len(poll) == count
    for _, end in sockets:
        end.send(b"x")
    await until(served, count)
    for end, _ in sockets:
        poll.remove(end)
    assert len(poll) == 0
    poll.close()
    close(sockets)
    return served


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_every_readable_socket_is_served_beyond_one_budget(loop_factory: object) -> None:
    with asyncio.Runner(loop_factory=loop_factory) as runner:  # type: ignore[arg-type]
        assert sorted(runner.run(serve(BUDGET + 50))) == list(range(BUDGET + 50))


async def test_a_handler_that_fails_ends_nobody_elses_media(caplog: pytest.LogCaptureFixture) -> None:
    poll = MediaPoll(asyncio.get_running_loop())
    sockets = pairs(2)
    served: list[int] = []

    def failing() -> None:
        sockets[0][0].recv(10)
        raise RuntimeError("broken camera")

    def working() -> None:
        served.append(len(sockets[1][0].recv(10)))

    poll.add(sockets[0][0], failing)
    poll.add(sockets[1][0], working)
    with caplog.at_level(logging.ERROR):
        for _ in range(2):
            for _, end in sockets:
                end.send(b"x")
            await until(served, len(served) + 1)
    assert "broken camera" in caplog.text
    poll.close()
    close(sockets)


async def test_a_handler_may_remove_another() -> None:
    poll = MediaPoll(asyncio.get_running_loop())
    sockets = pairs(2)
    served: list[int] = []

    def handler(me: int, other: int) -> None:
        poll.remove(sockets[other][0])
        sockets[me][0].recv(10)
        served.append(me)

    poll.add(sockets[0][0], lambda: handler(0, 1))
    poll.add(sockets[1][0], lambda: handler(1, 0))
    for _, end in sockets:
        end.send(b"x")
    await until(served, 1)
    await asyncio.sleep(0.01)
    assert len(served) == 1
    poll.remove(sockets[0][0])
    poll.remove(sockets[0][0])
    poll.close()
    close(sockets)


async def test_a_resting_socket_is_read_in_rounds_and_at_once_again_when_somebody_waits() -> None:
    loop = asyncio.get_running_loop()
    poll = MediaPoll(loop)
    sockets = pairs(3)
    served: list[tuple[int, float]] = []

    def reader(number: int) -> None:
        served.append((number, loop.time()))
        with suppress(BlockingIOError):
            while True:
                sockets[number][0].recv(10, socket.MSG_DONTWAIT)

    for number, (end, _) in enumerate(sockets):
        poll.add(end, lambda number=number: reader(number))  # type: ignore[misc]
    for number in (0, 1):
        poll.rest(sockets[number][0], True)
        poll.rest(sockets[number][0], True)
    assert len(poll) == 3
    began = loop.time()
    for _ in range(20):
        for _, end in sockets:
            end.send(b"x")
        await asyncio.sleep(ROUND_S / 10)
    rounds = (loop.time() - began) / ROUND_S
    times = {number: [at for each, at in served if each == number] for number in range(3)}
    assert 1 <= len(times[0]) <= rounds + 1
    assert abs(len(times[0]) - len(times[1])) <= 1, "each has its turn"
    assert len(times[2]) > len(times[0]), "the third is watched"
    sockets[0][1].send(b"x")
    count = len(served)
    poll.rest(sockets[0][0], False)
    await until(served, count + 1)
    assert loop.time() - served[-1][1] < 1
    for end, _ in sockets:
        poll.remove(end)
        poll.rest(end, True)  # it is unknown now
    assert len(poll) == 0
    count = len(served)
    await asyncio.sleep(2 * ROUND_S)
    assert len(served) == count
    poll.close()
    close(sockets)


async def test_a_round_leaves_the_loop_its_turn_and_a_failing_socket_is_given_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop = asyncio.get_running_loop()
    poll = MediaPoll(loop)
    sockets = pairs(5 * STEP - 1)
    served: list[int] = []

    def reader(number: int) -> None:
        served.append(number)
        if not number:
            raise RuntimeError("broken camera")

    for number, (end, _) in enumerate(sockets):
        poll.add(end, lambda number=number: reader(number))  # type: ignore[misc]
        poll.rest(end, True)
    time.sleep(2 * ROUND_S)  # noqa: ASYNC251 - The loop stands still so long.
    turns = [0]
    async with asyncio.timeout(30):
        while len(served) < len(sockets):
            await asyncio.sleep(0)
            turns.append(len(served))
    steps = [after - before for before, after in pairwise(turns) if after > before]
    assert steps == [STEP] * 4 + [STEP - 1], "all of them one after the other, and the loop goes on between"
    assert served == list(range(len(sockets)))
    async with asyncio.timeout(30):
        while served.count(0) < FAILURES:  # noqa: ASYNC110 - what is waited for is a plain list
            await asyncio.sleep(0.01)
    await asyncio.sleep(2 * ROUND_S)
    assert served.count(0) == FAILURES
    assert "not served any more" in caplog.text
    assert len(poll) == len(sockets) - 1
    poll.close()
    close(sockets)


@pytest.mark.parametrize("ending", ["close", "remove"])
async def test_a_round_ends_when_a_handler_ends_everything(ending: str, caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    failures: list[object] = []
    loop.set_exception_handler(lambda _, context: failures.append(context))
    poll = MediaPoll(loop)
    sockets = pairs(STEP)
    served: list[int] = []

    def reader(number: int) -> None:
        served.append(number)
        if number == 1 and ending == "close":
            poll.close()
        elif number == 1:
            for end, _ in sockets:
                poll.remove(end)

    for number, (end, _) in enumerate(sockets):
        poll.add(end, lambda number=number: reader(number))  # type: ignore[misc]
        poll.rest(end, True)
    await until(served, 2)
    await asyncio.sleep(2 * ROUND_S)
    assert served == [0, 1]
    assert not failures
    assert not caplog.records
    if ending == "remove":
        poll.add(sockets[2][0], lambda: served.append(2))
        poll.rest(sockets[2][0], True)
        await until(served, 3)
        poll.close()
    close(sockets)
