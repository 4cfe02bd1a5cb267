"""Sockets of multicast, on loopback; IPv6, whose loopback has no groups, in a network of its own."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.net import multicast
from soip.net.multicast import GroupPool, HeardGroup, open_heard, open_sending
from soip.net.poll import MediaPoll
from soip.net.ports import PortPairs
from soip.net.rtp import RtpSocketPair, open_pair
from soip.net.rtpway import Nobody
from soip.rtp.h264 import H264
from soip.rtp.nal import PACKET_SIZE, packetise
from soip.rtp.receiver import VideoReceiver
from soip.rtp.rtcp import ReceiverReport, build
from soip.rtp.sender import SendStream
from soip.sip.mediaway import Group, Way
from soip.sip.offer import Stream
from tests.net.rtp_pairs import BUFFER, LOOPBACK, peer
from tests.peers import need

PORTS = PortPairs(35_000, 35_198, quarantine=0)
PATIENT_S = 60.0


def any_group(port: int = 5004) -> Group:
    """One that no other test uses at the same time."""
    return Group(f"239.{random.randrange(1, 254)}.{random.randrange(256)}.9", port, 1, LOOPBACK)


def to(group: Group, rtcp: tuple[str, int] | None = None) -> Stream:
    there = (group.address, group.port)
    way = Way(group=group)
    rtcp = rtcp or (group.address, group.port + 1)
    return Stream("video", "H264", 96, frozenset({96}), 90_000, "sendonly", 0, there, rtcp, way=way)


@contextmanager
def sending(host: str = LOOPBACK, ttl: int = 1) -> Iterator[RtpSocketPair]:
    with closing(open_sending(PORTS, host, time.monotonic, ttl)) as pair:
        yield pair


@contextmanager
def hearing(group: Group, host: str = LOOPBACK, rtcp: tuple[str, int] | None = None) -> Iterator[HeardGroup]:
    with closing(open_heard(open_pair(PORTS, host, time.monotonic), group, host)) as heard:
        heard.hear(to(group, rtcp))
        yield heard


def until_readable(sock: socket.socket) -> None:
    sock.settimeout(PATIENT_S)
    sock.recv(1, socket.MSG_PEEK)
    sock.setblocking(False)


def picture(size: int) -> bytes:
    return b"\x65" + random.randbytes(size)


def test_one_send_reaches_all_who_listen() -> None:
    """Pictures of many packets, which leave by segmentation and are heard whole by each of several listeners."""
    group = any_group()
    with sending() as source, hearing(group) as first, hearing(group) as second:
        source.direct(to(group))
        sender = source.sender(PACKET_SIZE, lambda: None)
        stream = SendStream(96, 7)
        pictures = [picture(size) for size in (20_000, 300, 9_000)]
        receivers = [VideoReceiver(96), VideoReceiver(96)]
        seen: list[list[bytes]] = [[], []]
        for number, nal in enumerate(pictures):
            sender.send(stream.stamp(packetise(H264, [nal]), number * 3600))
            for heard, receiver, got in zip((first, second), receivers, seen, strict=True):
                until_readable(heard.rtp)
                got += [bytes(unit.nals[0]) for unit in heard.drain(receiver, BUFFER, 1.0)]
        for receiver, got in zip(receivers, seen, strict=True):
            got += [bytes(unit.nals[0]) for unit in receiver.flush()]
            assert got == pictures
            assert (receiver.lost, receiver.foreign) == (0, 0)
        assert (sender.dropped, sender.refused) == (0, 0)


def test_reports_go_to_the_sender_and_what_it_tells_comes_by_the_group() -> None:
    group = any_group()
    with sending() as source, hearing_reports() as reports, hearing(group, rtcp=(LOOPBACK, reports.port + 1)) as heard:
        source.direct(to(group))
        packet = build([ReceiverReport(5, ())])
        assert heard.send_control(packet)
        until_readable(reports.rtcp)
        reports.allow([LOOPBACK])
        assert reports.drain_control(BUFFER) == [packet]
        assert source.send_control(packet)
        until_readable(heard.rtcp)
        assert heard.drain_control(BUFFER) == [packet]


@contextmanager
def hearing_reports() -> Iterator[RtpSocketPair]:
    with closing(open_pair(PORTS, LOOPBACK, time.monotonic)) as pair:
        yield pair


def test_only_the_source_is_heard() -> None:
    """Anybody may send to a group; before the first packet of the source and after it."""
    group = any_group()
    with sending() as source, sending("127.0.0.2") as stranger, hearing(group) as heard:
        source.direct(to(group))
        stranger.direct(to(group))
        stream, other = SendStream(96, 7), SendStream(96, 8)

        def say(pair: RtpSocketPair, stream: SendStream, number: int) -> None:
            for run in stream.stamp(packetise(H264, [picture(100)]), number * 3600):
                pair.rtp.send(run)

        receiver = VideoReceiver(96)
        say(stranger, other, 0)
        say(source, stream, 0)
        until_readable(heard.rtp)
        heard.drain(receiver, BUFFER, 1.0)
        assert receiver.ssrc == 7
        assert heard.foreign == 1
        say(stranger, other, 1)
        say(source, stream, 1)
        until_readable(heard.rtp)
        heard.drain(receiver, BUFFER, 1.0)
        assert (receiver.highest & 0xFFFF, receiver.foreign, heard.foreign) == (1, 0, 1)
        stranger.send_control(build([ReceiverReport(8, ())]))
        source.send_control(build([ReceiverReport(7, ())]))
        until_readable(heard.rtcp)
        assert heard.drain_control(BUFFER) == [build([ReceiverReport(7, ())])]


def test_without_a_source_the_one_that_takes_reports_is_heard() -> None:
    group = replace(any_group(), source="")
    with (
        sending() as source,
        hearing(group, rtcp=("127.0.0.2", 9)) as deaf,
        hearing(group, rtcp=(LOOPBACK, 9)) as heard,
    ):
        source.direct(to(group))
        source.rtp.send(SendStream(96, 7).stamp(packetise(H264, [picture(10)]), 0)[0])
        until_readable(heard.rtp)
        heard.drain(Nobody(), BUFFER, 1.0)
        deaf.drain(Nobody(), BUFFER, 1.0)
        assert (heard.foreign, deaf.foreign) == (0, 1)


def test_another_group_on_the_port_is_not_heard() -> None:
    group = any_group()
    other = replace(group, address=group.address[:-1] + "8")
    with sending() as source, hearing(group) as heard, hearing(other) as elsewhere:
        source.direct(to(other))
        source.rtp.send(b"x" * 20)
        until_readable(elsewhere.rtp)
        with pytest.raises(BlockingIOError):
            heard.rtp.recv(1)


def test_the_ttl_is_what_was_asked_for() -> None:
    with sending(ttl=5) as source:
        for sock in (source.rtp, source.rtcp):
            assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL) == 5


def test_who_closes_leaves_the_group_and_gives_the_ports_back() -> None:
    group = any_group()
    before = PORTS.in_use
    with hearing(group) as heard:
        assert PORTS.in_use == before + 1
        assert _memberships(group.address) >= 1
        heard.close()
        heard.close()
    assert PORTS.in_use == before
    assert _memberships(group.address) == 0


def _memberships(address: str) -> int:
    """How often this machine has joined a group (/proc/net/igmp has addresses in the order of the machine's bytes)."""
    written = "".join(f"{int(part):02X}" for part in reversed(address.split(".")))
    return Path("/proc/net/igmp").read_text().count(written)


async def test_all_its_sockets_are_watched_until_it_is_closed() -> None:
    group = any_group()
    poll = MediaPoll(asyncio.get_running_loop())
    with closing(poll), closing(open_pair(PORTS, LOOPBACK, time.monotonic)) as own:
        heard = open_heard(own, group, LOOPBACK)
        came = asyncio.Event()
        heard.watch(poll, came.set, came.set)
        heard.hear(to(group))
        assert len(poll) == 3
        with sending() as source:
            source.direct(to(group))
            source.rtp.send(b"x" * 20)
            await asyncio.wait_for(came.wait(), PATIENT_S)
        heard.close()
        assert len(poll) == 0


def test_a_host_that_is_not_ours_leaves_nothing_open() -> None:
    before = PORTS.in_use
    with closing(open_pair(PORTS, LOOPBACK, time.monotonic)) as own:
        with pytest.raises(OSError, match=os.strerror(errno.ENODEV)):
            open_heard(own, any_group(), "198.51.100.1")
        with peer() as sock:
            sock.sendto(b"x", (LOOPBACK, own.port))
            until_readable(own.rtp)  # it is as it was
    with pytest.raises(OSError, match="assign"):
        open_sending(PORTS, "198.51.100.1", time.monotonic, 1)
    assert PORTS.in_use == before


SIX = """
import time
from soip.net.multicast import open_heard, open_sending
from soip.net.ports import PortPairs
from soip.net.rtp import open_pair
from soip.sip.mediaway import Group
from tests.net.test_multicast import BUFFER, picture, to, until_readable
from soip.net.rtpway import Nobody
host, ports = "fd00:50::1", PortPairs(35_000, 35_198, quarantine=0)
for address in ("ff15::7:9", "ff12::7:9"):
    group = Group(address, 5004, 1, host)
    heard = open_heard(open_pair(ports, host, time.monotonic), group, host)
    heard.hear(to(group, (host, 9)))
    source = open_sending(ports, host, time.monotonic, 1)
    source.direct(to(group))
    source.sender(1200, lambda: None).send([bytes(3000)])
    until_readable(heard.rtp)
    heard.drain(Nobody(), BUFFER, 1.0)
    assert heard.remote is not None and heard.remote.host == host, heard.foreign
    assert source.send_control(b"x" * 8)
    until_readable(heard.rtcp)
    assert heard.drain_control(BUFFER) == [b"x" * 8]
print("heard")
"""


def test_ipv6(tmp_path: Path) -> None:
    """On an interface of its own in a network of its own, where a group may also be of one link alone."""
    script = tmp_path / "six.py"
    script.write_text(SIX)
    steps = [
        "ip link set lo up",
        "ip link add six type veth peer name other",
        "ip addr add fd00:50::1/64 dev six nodad",
        "ip link set six up",
        "ip link set other up",
        f"{sys.executable} {script}",
    ]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [need("unshare"), "--net", "sh", "-ec", "\n".join(steps)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)
    assert (done.returncode, done.stdout) == (0, "heard\n"), f"{done.stderr} (this test needs root)"


def test_an_address_that_no_interface_has() -> None:
    assert multicast._interface("2001:db8::99") == 0


@given(st.lists(st.one_of(st.none(), st.integers(0, 7)), max_size=40))
def test_no_group_is_given_twice(steps: list[int | None]) -> None:
    """None takes one, a number gives one back, also one that nobody has."""
    addresses = [f"239.1.1.{number}" for number in range(5)]
    pool, held = GroupPool(addresses, 1), list[str]()
    for step in steps:
        if step is None:
            taken = pool.take()
            assert (taken is None) == (len(held) == 5)
            if taken is not None:
                assert taken not in held
                held.append(taken)
        else:
            address = held.pop(step % len(held)) if held else f"239.1.1.{step}"
            pool.release(address)
            pool.release(address)
        assert (pool.in_use, pool.free) == (len(held), 5 - len(held))


def test_what_was_left_last_is_given_last() -> None:
    pool = GroupPool(["239.1.1.1", "239.1.1.2", "239.1.1.3"], 1)
    first = pool.take()
    assert first == "239.1.1.1"
    pool.release(first)
    assert [pool.take() for _ in range(4)] == ["239.1.1.2", "239.1.1.3", "239.1.1.1", None]
