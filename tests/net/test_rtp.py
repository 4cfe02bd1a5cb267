from __future__ import annotations

import asyncio
import socket
import time
from functools import partial
from pathlib import Path

import pytest

from soip.net.gso import UDP_SEGMENT
from soip.net.poll import MediaPoll
from soip.net.ports import PortPairs
from soip.net.rtp import CONTROL_AT_ONCE, FOREIGN_BUDGET, GUESS_S, Peer, open_pair
from soip.net.rtpway import Nobody
from soip.rtp.nal import AccessUnit
from soip.rtp.receiver import SSRC_SILENCE, VideoReceiver
from soip.rtp.rtcp import ReceiverReport, build
from soip.sip.mediaway import Way
from soip.sip.offer import Stream
from tests.net.rtp_pairs import BUFFER, LOOPBACK, open_pairs, peer, port_of, stamped
from tests.rtp.wire import PAYLOAD_TYPE, Sender


def frames(count: int, sender: Sender | None = None) -> list[bytes]:
    """One packet a picture; its last byte is its number."""
    sender = sender or Sender()
    return [sender.unit([b"\x41-" + bytes([at])], 3000 * at)[0] for at in range(count)]


def test_the_first_allowed_packet_latches_and_others_are_dropped() -> None:
    with open_pairs() as (pair,), peer() as camera, peer("127.0.0.2") as foreign, peer() as neighbour:
        pair.allow({LOOPBACK})
        receiver = VideoReceiver(PAYLOAD_TYPE)
        first, second, third = frames(3)
        address = (LOOPBACK, pair.port)
        foreign.sendto(first, address)
        camera.sendto(first, address)
        foreign.sendto(second, address)  # in the queue before the latch
        neighbour.sendto(second, address)  # same host, another port
        camera.sendto(second, address)
        units = pair.drain(receiver, BUFFER, 1.0)
        assert [unit.nals[0][-1] for unit in units] == [0, 1]
        assert pair.foreign == 3
        assert pair.remote == Peer(LOOPBACK, port_of(camera))
        foreign.sendto(third, address)  # the kernel drops it now
        camera.sendto(third, address)
        assert [unit.nals[0][-1] for unit in pair.drain(receiver, BUFFER, 2.0)] == [2]
        assert pair.foreign == 3
        assert receiver.foreign == receiver.lost == 0


def test_what_came_before_the_peer_was_known_has_its_time_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that has just started may be too busy to look: its first picture must not seem to be later than it was,
    or all that follow seem to come before they are sent.
    """
    monkeypatch.setattr("soip.net.batch.OLDEST_S", 60.0)  # a machine that stalls makes it wait longer
    with stamped(), open_pairs() as (pair,), peer() as camera:
        pair.allow({LOOPBACK})
        receiver = VideoReceiver(PAYLOAD_TYPE)
        first, second, third = frames(3)
        camera.sendto(first, (LOOPBACK, pair.port))
        time.sleep(0.3)  # The process is busy.
        camera.sendto(second, (LOOPBACK, pair.port))
        arrivals = [unit.arrival for unit in pair.drain(receiver, BUFFER, 5.0)]
        camera.sendto(third, (LOOPBACK, pair.port))
        arrivals += [unit.arrival for unit in pair.drain(receiver, BUFFER, 5.0)]
        assert len(arrivals) == 3
        assert arrivals[0] <= 5.0 - 0.29
        assert arrivals[0] + 0.28 <= arrivals[1]
        assert arrivals[2] <= 5.0


def test_a_camera_that_still_sends_for_a_call_of_before_does_not_take_the_port() -> None:
    """A media worker that was killed may get the same port again, to which its camera sends in the old call as well."""
    with open_pairs() as (pair,), peer() as before, peer() as camera:
        pair.hear(stream(Peer(LOOPBACK, port_of(camera)), mux=True))
        receiver = VideoReceiver(PAYLOAD_TYPE)
        old, new = frames(6, Sender(ssrc=1)), frames(6, Sender(ssrc=2))
        address = (LOOPBACK, pair.port)
        before.sendto(old[0], address)
        assert len(pair.drain(receiver, BUFFER, 1.0)) == 1, "it may be the peer, behind NAT"
        camera.sendto(new[0], address)
        before.sendto(old[1], address)
        assert pair.drain(receiver, BUFFER, 1.1) == []
        assert pair.remote == Peer(LOOPBACK, port_of(camera))
        assert (receiver.foreign, pair.foreign) == (1, 1)
        before.sendto(old[2], address)
        camera.sendto(new[1], address)
        assert len(pair.drain(receiver, BUFFER, 2.0 + SSRC_SILENCE)) == 1
        assert (receiver.ssrc, pair.foreign) == (2, 1), "the kernel drops the other one"


def test_a_peer_behind_nat_latches_when_the_agreed_port_is_silent() -> None:
    with open_pairs() as (pair,), peer() as agreed, peer() as mapped:
        pair.hear(stream(Peer(LOOPBACK, port_of(agreed)), mux=True))
        receiver = VideoReceiver(PAYLOAD_TYPE)
        sent = frames(4)
        address = (LOOPBACK, pair.port)
        for number, now in enumerate([5.0, 5.5, 5.0 + GUESS_S]):
            mapped.sendto(sent[number], address)
            assert len(pair.drain(receiver, BUFFER, now)) == 1
        agreed.sendto(sent[3], address)
        assert pair.drain(receiver, BUFFER, 6.1) == []
        mapped.sendto(sent[3], address)
        assert len(pair.drain(receiver, BUFFER, 6.2)) == 1
        assert (pair.remote, pair.foreign, receiver.late) == (Peer(LOOPBACK, port_of(mapped)), 0, 0)


def test_before_anything_is_allowed_nothing_is_taken() -> None:
    with open_pairs() as (pair,), peer() as camera:
        camera.sendto(frames(1)[0], (LOOPBACK, pair.port))
        assert pair.drain(VideoReceiver(PAYLOAD_TYPE), BUFFER, 0.0) == []
        assert pair.foreign == 1


def test_a_flood_of_strangers_leaves_the_others_their_turn() -> None:
    with open_pairs() as (pair,), peer("127.0.0.2") as foreign, peer() as camera:
        pair.allow({LOOPBACK})
        receiver = VideoReceiver(PAYLOAD_TYPE)
        for _ in range(FOREIGN_BUDGET + 10):
            foreign.sendto(b"x", (LOOPBACK, pair.port))
        camera.sendto(frames(1)[0], (LOOPBACK, pair.port))
        assert pair.drain(receiver, BUFFER, 0.0) == []
        assert pair.foreign == FOREIGN_BUDGET
        assert len(pair.drain(receiver, BUFFER, 0.0)) == 1


def test_mapped_addresses_are_the_same_host() -> None:
    with open_pairs() as (pair,), peer() as camera:
        pair.allow({"::ffff:127.0.0.1"})
        camera.sendto(frames(1)[0], (LOOPBACK, pair.port))
        assert len(pair.drain(VideoReceiver(PAYLOAD_TYPE), BUFFER, 0.0)) == 1


def test_a_peer_that_moved_is_followed_when_told() -> None:
    with open_pairs() as (pair,), peer() as before, peer() as after:
        receiver = VideoReceiver(PAYLOAD_TYPE)
        first, second, third = frames(3)
        pair.connect(Peer(LOOPBACK, port_of(before)))
        before.sendto(first, (LOOPBACK, pair.port))
        assert len(pair.drain(receiver, BUFFER, 0.0)) == 1
        pair.connect(Peer(LOOPBACK, port_of(after)))
        before.sendto(second, (LOOPBACK, pair.port))
        after.sendto(second, (LOOPBACK, pair.port))
        after.sendto(third, (LOOPBACK, pair.port))
        assert len(pair.drain(receiver, BUFFER, 0.0)) == 2
        assert receiver.late == 0


def test_port_unreachable_is_counted_and_the_rest_goes_on() -> None:
    with open_pairs() as (pair,), peer() as camera:
        with peer() as gone:
            address = Peer(LOOPBACK, port_of(gone))
        pair.connect(address)
        pair.rtp.send(b"x")  # answered by ICMP
        receiver = VideoReceiver(PAYLOAD_TYPE)
        assert pair.drain(receiver, BUFFER, 0.0) == []
        assert pair.refused == 1
        pair.connect(Peer(LOOPBACK, port_of(camera)))
        camera.sendto(frames(1)[0], (LOOPBACK, pair.port))
        assert len(pair.drain(receiver, BUFFER, 0.0)) == 1


def test_control_goes_both_ways_with_the_sessions_peer_only() -> None:
    with open_pairs(2) as (pair, other), peer("127.0.0.2") as foreign:
        pair.connect(Peer(LOOPBACK, other.port))
        other.allow({LOOPBACK})
        assert pair.send_control(b"report")
        assert other.drain_control(BUFFER) == [b"report"]
        foreign.sendto(b"bye", (LOOPBACK, other.port + 1))
        assert other.drain_control(BUFFER) == []
        assert other.foreign == 1
        assert other.send_control(b"pli", Peer(LOOPBACK, pair.port + 1))
        assert pair.drain_control(BUFFER) == [b"pli"]
        assert not other.send_control(b"nowhere")
        assert other.refused == 1


def test_control_after_the_peer_has_gone_is_counted() -> None:
    with open_pairs() as (pair,):
        with peer() as gone:
            rtcp = Peer(LOOPBACK, port_of(gone))
        pair.connect(Peer(LOOPBACK, 9), rtcp)
        assert pair.send_control(b"report")
        assert pair.drain_control(BUFFER) == []
        assert pair.refused == 1


def test_what_the_kernel_drops_is_told() -> None:
    with open_pairs() as (pair,), peer() as camera:
        pair.rtp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        assert pair.kernel_drops() == 0
        for _ in range(100):
            camera.sendto(bytes(1200), (LOOPBACK, pair.port))
        assert pair.kernel_drops() > 50


def test_a_long_stream_arrives_whole() -> None:
    with open_pairs() as (pair,), peer() as camera:
        pair.allow({LOOPBACK})
        receiver = VideoReceiver(PAYLOAD_TYPE)
        datagrams = frames(200)
        for datagram in datagrams:
            camera.sendto(datagram, (LOOPBACK, pair.port))
        units = [unit for _ in range(3) for unit in pair.drain(receiver, BUFFER, time.monotonic())]
        assert [unit.nals[0][-1] for unit in units] == list(range(200))


def test_ipv6_has_its_own_sockets() -> None:
    try:
        pair = open_pair(PortPairs(35_100, 35_198, 0), "::1", time.monotonic)
    except OSError:  # a machine without IPv6
        assert not socket.has_ipv6 or not Path("/proc/net/if_inet6").read_text()
        return
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as camera:
        camera.bind(("::1", 0))
        pair.allow({"::1"})
        camera.sendto(frames(1)[0], ("::1", pair.port))
        assert len(pair.drain(VideoReceiver(PAYLOAD_TYPE), BUFFER, 0.0)) == 1
    pair.close()


@pytest.mark.parametrize("host", ["camera.local", "1.2.3"])
def test_only_addresses_can_be_allowed(host: str) -> None:
    with open_pairs() as (pair,), pytest.raises(ValueError, match="address"):
        pair.allow({host})


def stream(there: Peer, *, mux: bool) -> Stream:
    rtcp = (there.host, there.port if mux else there.port + 1)
    return Stream(
        "video",
        "H264",
        PAYLOAD_TYPE,
        frozenset({PAYLOAD_TYPE}),
        90_000,
        "recvonly",
        0,
        (there.host, there.port),
        rtcp,
        way=Way(mux=mux),
    )


@pytest.mark.parametrize("mux", [True, False])
async def test_reports_share_the_port_where_it_was_agreed_on(mux: bool) -> None:
    """RFC 5761: between media, before the latch and after it, alone or in a burst; nothing of it is taken for media."""
    poll = MediaPoll(asyncio.get_running_loop())
    with open_pairs(2) as (pair, camera):
        receiver, units, reports = VideoReceiver(PAYLOAD_TYPE), list[AccessUnit](), list[bytes]()
        pair.watch(
            poll,
            lambda: units.extend(pair.drain(receiver, BUFFER, 1.0)),
            lambda: reports.extend(pair.drain_control(BUFFER)),
        )
        heard: list[bytes] = []
        camera.watch(
            poll,
            partial(camera.drain, Nobody(), BUFFER, 1.0),
            lambda: heard.extend(camera.drain_control(BUFFER)),
        )
        pair.hear(stream(Peer(LOOPBACK, camera.port), mux=mux))
        camera.direct(stream(Peer(LOOPBACK, pair.port), mux=mux))
        report = build([ReceiverReport(7, ())])
        sent = frames(30)
        for number, one in enumerate(sent):
            if not number % 3:
                camera.send_control(report)
            camera.send_packet(one)
            if number % 5 == 4:
                await asyncio.sleep(0.01)
        async with asyncio.timeout(30):
            while len(units) < 30 or len(reports) < 10:  # noqa: ASYNC110 - what is waited for are plain lists
                await asyncio.sleep(0.001)
        assert (len(units), reports) == (30, [report] * 10)
        assert (receiver.foreign, receiver.lost, pair.foreign) == (0, 0, 0)
        assert pair.send_control(report)
        async with asyncio.timeout(30):
            while not heard:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert heard == [report]
    assert len(poll) == 0
    poll.close()


def test_reports_in_a_burst_are_bounded() -> None:
    with open_pairs(1) as (pair,), peer() as camera:
        pair.hear(stream(Peer(LOOPBACK, port_of(camera)), mux=True))
        report = build([ReceiverReport(7, ())])
        for _ in range(100):
            camera.sendto(report, (LOOPBACK, pair.port))
        receiver = VideoReceiver(PAYLOAD_TYPE)
        assert pair.drain(receiver, BUFFER, 1.0) == []
        assert pair.drain_control(BUFFER) == [report] * CONTROL_AT_ONCE
        assert receiver.foreign == receiver.malformed == 0


@pytest.mark.parametrize(("size", "count"), [(1, 3), (2, 5), (4, 2), (11, 2), (13, 2)])
def test_a_report_behind_short_datagrams_that_came_joined_is_seen(size: int, count: int) -> None:
    with open_pairs(1) as (pair,), peer() as camera:
        pair.hear(stream(Peer(LOOPBACK, port_of(camera)), mux=True))
        camera.connect((LOOPBACK, pair.port))
        receiver = VideoReceiver(PAYLOAD_TYPE)
        camera.send(bytes(4))
        assert pair.drain(receiver, BUFFER, 1.0) == []  # settled from now on
        camera.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, size)
        camera.send(bytes(size * count))
        camera.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 0)
        report = build([ReceiverReport(7, ())])
        camera.send(report)
        assert pair.drain(receiver, BUFFER, 1.0) == []
        assert pair.drain_control(BUFFER) == [report]
        assert (receiver.malformed, receiver.foreign) == (1 + count, 0)
