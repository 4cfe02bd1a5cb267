"""TCP connections that are slow, silent, broken, too many, or do not read."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import pytest
import uvloop

from soip.net import streams
from soip.net.errors import FlowError
from soip.net.limits import Complaints, Limits, connections_for
from soip.net.sip import SipEndpoint
from soip.net.target import Target
from soip.sip.flow import Flow
from tests.net.helpers import PATIENT_S, Recorder, endpoint, request, tcp, udp, until


async def connect(to: SipEndpoint) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(*to.address)


def message(number: int = 1, body: bytes = b"") -> bytes:
    made = request(body=body)
    made.headers.prepend("Via", f"SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK{number}")
    return made.to_bytes()


async def test_a_ping_is_answered_with_a_pong_and_keeps_the_connection() -> None:
    async with endpoint(Recorder()) as bob:
        reader, writer = await connect(bob)
        writer.write(b"\r\n\r\n")
        assert await reader.readexactly(2) == b"\r\n"
        writer.close()


async def test_our_ping_wants_a_pong_in_time() -> None:
    async with endpoint(Recorder()) as bob, endpoint() as alice:
        flow = await alice.connect(tcp(bob))
        await alice.ping(flow, 1.0)
        assert alice.is_open(flow)

        async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        async with await asyncio.start_server(listen, "127.0.0.1", 0) as deaf:
            flow = await alice.connect(Target("tcp", *deaf.sockets[0].getsockname()))
            with pytest.raises(FlowError, match="no pong"):
                await alice.ping(flow, 0.05)
            await until(lambda: not alice.is_open(flow))


async def test_a_connection_that_ends_during_a_ping_is_a_flow_error() -> None:
    async with endpoint() as alice:

        async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.close()

        async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
            flow = await alice.connect(Target("tcp", *server.sockets[0].getsockname()))
            with pytest.raises(FlowError, match="has ended"):
                await alice.ping(flow, 5.0)


async def test_messages_in_pieces_and_several_at_once() -> None:
    recorder = Recorder()
    async with endpoint(recorder) as bob:
        reader, writer = await connect(bob)
        data = b"".join([message(number, b"x" * 50) for number in range(3)])
        for at in range(0, len(data), 37):
            writer.write(data[at : at + 37])
            await asyncio.sleep(0)
        writer.write(message(10) + message(11))
        await until(lambda: len(recorder.requests) == 5)
        answers = await reader.readuntil(b"\r\n\r\n")
        assert answers.startswith(b"SIP/2.0 200")
        writer.close()


async def test_lost_framing_is_answered_and_ends_the_connection() -> None:
    async with endpoint(Recorder()) as bob:
        reader, writer = await connect(bob)
        broken = message().replace(b"Content-Length: 0\r\n", b"")
        writer.write(broken)
        assert (await reader.read()).startswith(b"SIP/2.0 400")
        assert bob.counters["connections closed for bad framing"] == 1
        writer.close()


@pytest.mark.parametrize("first", [b"", b"MESSAGE sip:bob@test SIP/2.0\r\n"])
async def test_a_slow_loris_is_cut_off(first: bytes) -> None:
    """Neither silence after connecting nor a dripping message holds a connection."""
    async with endpoint(Recorder(), limits=Limits(message_seconds=0.2)) as bob:
        reader, writer = await connect(bob)
        writer.write(first)
        drip = asyncio.get_running_loop().create_task(_drip(writer))
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(1), PATIENT_S)
        drip.cancel()
        assert bob.counters["connections closed for slowness"] == 1
        writer.close()


async def _drip(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"X")
        await asyncio.sleep(0.02)


async def test_an_idle_connection_is_closed_but_not_one_we_opened() -> None:
    theirs, ours = Recorder(), Recorder()
    limits = Limits(idle_seconds=0.2)
    async with endpoint(theirs, limits=limits) as bob, endpoint(ours, limits=limits) as alice:
        await alice.request(request(), tcp(bob))
        flow = await alice.connect(tcp(bob))
        await until(lambda: theirs.closed)
        await until(lambda: flow in ours.closed)  # because bob closed it
        assert bob.counters["connections closed for idling"] >= 1
        assert alice.counters["connections closed for idling"] == 0


async def test_a_connection_that_is_kept_may_be_silent_for_as_long() -> None:
    theirs = Recorder()
    async with endpoint(theirs, limits=Limits(idle_seconds=0.5)) as bob:
        reader, writer = await connect(bob)
        writer.write(message())
        await reader.readuntil(b"\r\n\r\n")
        bob.keep(theirs.requests[0].flow, 60)
        await asyncio.sleep(1.2)
        assert theirs.closed == []
        bob.keep(theirs.requests[0].flow, 0.1)
        await until(lambda: theirs.closed)
        writer.close()


async def test_a_lone_line_break_is_no_message_that_drips() -> None:
    theirs = Recorder()
    async with endpoint(theirs, limits=Limits(message_seconds=0.2)) as bob:
        reader, writer = await connect(bob)
        writer.write(message() + b"\r\n")
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.5)
        assert theirs.closed == []
        writer.write(message(2))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"SIP/2.0 200")
        writer.close()


async def test_a_flood_of_line_breaks_costs_little() -> None:
    async with endpoint(Recorder()) as bob:
        reader, writer = await connect(bob)
        writer.write(b"\r\n" * 2_000_000)
        began = time.process_time()
        await writer.drain()
        writer.write(message())
        while (line := await reader.readline()) == b"\r\n":
            pass
        assert line.startswith(b"SIP/2.0 200")
        assert time.process_time() - began < 2
        writer.close()


async def test_what_we_opened_is_pinged_and_so_not_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "PING_SECONDS", 0.2)
    theirs = Recorder()
    async with endpoint(theirs, limits=Limits(idle_seconds=3.0)) as bob, endpoint() as alice:
        await alice.request(request(), tcp(bob))
        await asyncio.sleep(4.0)
        assert theirs.closed == []
        assert alice.is_open(await alice.connect(tcp(bob)))


async def test_the_limits_of_connections() -> None:
    async with endpoint(Recorder(), limits=Limits(connections_per_source=2, grace_seconds=3600)) as bob:
        kept = [await connect(bob) for _ in range(2)]
        reader, writer = await connect(bob)
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        assert bob.counters["connections refused"] == 1
        writer.close()
        kept[0][1].close()
        await until(lambda: len(bob._transport.streams) == 1)
        reader, writer = await connect(bob)  # there is room again
        writer.write(b"\r\n\r\n")
        assert await reader.readexactly(2) == b"\r\n"
        for _, open_writer in [*kept, (reader, writer)]:
            open_writer.close()


async def alive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Whether a connection still is: a ping is answered."""
    with suppress(ConnectionError):
        writer.write(b"\r\n\r\n")
        return await asyncio.wait_for(reader.read(2), 10) == b"\r\n"
    return False


async def connected(to: SipEndpoint, source: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(*to.address, local_addr=(source, 0))


@pytest.mark.parametrize(
    "limits",
    [
        Limits(connections=3, grace_seconds=0),
        Limits(strangers=2, grace_seconds=0),
        Limits(connections_per_source=2, grace_seconds=0),
    ],
    ids=["connections", "strangers", "of one source"],
)
async def test_the_oldest_stranger_makes_room_and_who_is_known_does_not(
    limits: Limits, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder()
    async with endpoint(recorder, limits=limits) as bob:
        known = await connect(bob)
        known[1].write(message())
        await known[0].readuntil(b"\r\n\r\n")
        bob.trust(recorder.requests[0].flow)
        strangers = [await connect(bob) for _ in range(5)]
        assert [await alive(*stranger) for stranger in strangers] == [False, False, False, True, True]
        assert await alive(*known)
        assert bob.counters[streams.CROWDED] == 3
        assert len(bob._transport.streams) == 3
        (line,) = [record.getMessage() for record in caplog.records if streams.CROWDED in record.getMessage()]
        assert "1, most of 127.0.0.1: 1" in line, "one line for all of them in a minute"
        for _, writer in [known, *strangers]:
            writer.close()
        await until(lambda: len(bob._transport.streams) == 0)
        assert not bob._transport.streams._strangers
        assert not bob._transport.streams._strangers_of


async def test_who_has_just_come_is_not_closed_for_others() -> None:
    async with endpoint(Recorder(), limits=Limits(connections=2, grace_seconds=3600)) as bob:
        kept = [await connect(bob) for _ in range(2)]
        late = await connect(bob)
        assert not await alive(*late)
        assert [await alive(*connection) for connection in kept] == [True, True]
        for _, writer in [*kept, late]:
            writer.close()


async def test_where_everybody_is_known_nobody_is_closed_and_the_log_says_whose_there_are_too_many(
    caplog: pytest.LogCaptureFixture,
) -> None:
    recorder = Recorder()
    async with endpoint(recorder, limits=Limits(connections=2, grace_seconds=0)) as bob:
        kept = []
        for number in range(2):
            kept.append(await connect(bob))
            kept[-1][1].write(message(number))
            await kept[-1][0].readuntil(b"\r\n\r\n")
            bob.trust(recorder.requests[-1].flow)
        late = await connected(bob, "127.0.0.7")
        assert not await alive(*late)
        assert bob.counters["connections refused"] == 1
        assert "connections refused: 1, most of 127.0.0.7: 1" in caplog.text
        for _, writer in [*kept, late]:
            writer.close()


async def test_a_flood_from_one_source_costs_that_source_its_own_connections() -> None:
    async with endpoint(Recorder(), limits=Limits(connections_per_source=3, grace_seconds=0)) as bob:
        other = await connected(bob, "127.0.0.7")
        flood = [await connect(bob) for _ in range(20)]
        assert await alive(*other)
        assert [await alive(*connection) for connection in flood[-3:]] == [True] * 3
        assert len(bob._transport.streams) == 4
        for _, writer in [other, *flood]:
            writer.close()


def test_what_peers_do_wrong_is_counted_and_told_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    complaints = Complaints()
    for second in range(100):
        complaints.note("knocks", f"192.0.2.{min(second, 9)}", float(second))
    complaints.note("bangs", "192.0.2.7", 99.0)
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "knocks: 1, most of 192.0.2.0: 1",
        "knocks: 60, most of 192.0.2.9: 52",
        "bangs: 1, most of 192.0.2.7: 1",
    ]
    assert complaints.counters == {"knocks": 100, "bangs": 1}
    for number in range(100_000):
        complaints.note("knocks", str(number), 100.0)
    assert len(complaints._since["knocks"]) <= 1001


@pytest.mark.parametrize(
    ("files", "connections"), [(64, 32), (256, 128), (1024, 512), (4096, 2896), (20_000, 18_800), (1 << 20, 20_000)]
)
def test_connections_leave_files_for_everything_else(files: int, connections: int) -> None:
    assert connections_for(files) == connections


async def test_who_is_shut_out_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    async with endpoint(recorder) as bob, endpoint() as alice, endpoint() as carol:
        assert (await alice.request(request(), udp(bob))).status == 200
        bob.shut_out(recorder.requests[0].flow, 3600)
        await alice.send(request(), udp(bob))
        assert (await carol.request(request(), udp(bob))).status == 200, "a neighbour is another flow"
        await until(lambda: bob.counters["datagrams passed over"] == 1)
        assert len(recorder.requests) == 2
        bob.shut_out(recorder.requests[0].flow, 0)
        assert (await alice.request(request(), udp(bob))).status == 200, "and its time is over"
        assert (await alice.request(request(), tcp(bob))).status == 200
        bob.shut_out(recorder.requests[-1].flow, 3600)
        await until(lambda: recorder.closed == [recorder.requests[-1].flow])
        monkeypatch.setattr("soip.net.transport._MOST_PASSED_OVER", 3)
        for port in range(1, 10):
            bob.shut_out(Flow("udp", bob.address, ("192.0.2.1", port)), 3600)
        assert bob._transport._udp is not None
        assert list(bob._transport._udp._passed_over) == [("192.0.2.1", port) for port in (7, 8, 9)]


async def test_the_limit_holds_for_connections_we_open_too() -> None:
    async with endpoint(Recorder()) as bob, endpoint(limits=Limits(connections=1)) as alice, endpoint() as carol:
        await alice.connect(tcp(bob))
        with pytest.raises(FlowError, match="1 connections"):
            await alice.connect(tcp(carol))


async def test_a_connection_that_is_closed_at_once_is_not_kept_for_the_next_request() -> None:
    async with endpoint(Recorder(), limits=Limits(connections_per_source=0)) as bob, endpoint() as alice:
        for _ in range(20):
            with suppress(FlowError):
                await alice.connect(tcp(bob))
            await until(lambda: len(alice._transport.streams) == 0)
            assert not alice._transport.streams._by_target


async def test_a_peer_that_does_not_read_is_dropped() -> None:
    async with endpoint(Recorder(), limits=Limits(send_buffer=200_000)) as bob:
        reader, writer = await connect(bob)
        writer.write(message())
        await reader.readuntil(b"\r\n\r\n")
        (connection,) = bob._transport.streams._by_number.values()
        assert connection.flow is not None
        flow, large = connection.flow, request(body=b"x" * 60_000)

        async def flood() -> None:
            for _ in range(1000):
                await bob.send_stateless(large, flow)

        with pytest.raises(FlowError):
            await flood()
        assert bob.counters["connections closed for not reading"] == 1
        writer.close()


async def test_one_who_gives_up_connecting_does_not_end_it_for_others() -> None:
    async with endpoint(Recorder()) as bob, endpoint() as alice:
        first = asyncio.ensure_future(alice.connect(tcp(bob)))
        second = asyncio.ensure_future(alice.connect(tcp(bob)))
        await asyncio.sleep(0)
        first.cancel()
        assert alice.is_open(await second)
        with pytest.raises(asyncio.CancelledError):
            await first


async def test_a_connect_that_takes_too_long_is_given_up() -> None:
    full = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0, backlog=1)
    async with endpoint(limits=Limits(connect_seconds=0.001)) as alice:
        with pytest.raises(FlowError):  # a host that drops packets; here there is no route, or no time
            await alice.connect(Target("tcp", "192.0.2.1"))
    full.close()


def test_the_loop_may_be_uvloop() -> None:
    """Roles run on uvloop, whose transports are not asyncio's by inheritance."""

    async def exchange() -> None:
        theirs, ours = Recorder(), Recorder()
        async with endpoint(theirs, limits=Limits(connections_per_source=1)) as bob, endpoint(ours) as alice:
            assert (await alice.request(request(), Target("udp", *bob.address))).status == 200
            assert (await alice.request(request(), tcp(bob))).status == 200
            flow = await alice.connect(tcp(bob))
            await alice.ping(flow, 2.0)
            async with endpoint() as one_too_many:
                with pytest.raises(FlowError):
                    await one_too_many.request(request(), tcp(bob))
            alice.disconnect(flow)
            await until(lambda: ours.closed == [flow] and len(theirs.closed) == 1)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(exchange())
