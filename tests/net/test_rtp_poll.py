from __future__ import annotations

import asyncio
import logging
import socket

import pytest
import uvloop

from soip.net.poll import BUDGET, MediaPoll


def pairs(count: int) -> list[tuple[socket.socket, socket.socket]]:
    return [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(count)]


def close(sockets: list[tuple[socket.socket, socket.socket]]) -> None:
    for ends in sockets:
        for end in ends:
            end.close()


async def until(condition: list[int], count: int) -> None:
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
