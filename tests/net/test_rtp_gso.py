from __future__ import annotations

import errno
import socket
from random import Random

import pytest

from soip.net.gso import UDP_SEGMENT, GsoSender
from soip.rtp.h264 import H264
from soip.rtp.nal import packetise
from soip.rtp.sender import SendStream
from tests.net.rtp_pairs import LOOPBACK, peer, port_of
from tests.rtp.wire import PAYLOAD_TYPE, SSRC, Sender, random_unit


def viewer_of(sink: socket.socket) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    sock.connect((LOOPBACK, port_of(sink)))
    return sock


@pytest.mark.parametrize("offload", [True, False])
@pytest.mark.parametrize("packet_size", [200, 1200])
def test_what_arrives_are_the_plain_packets(packet_size: int, offload: bool) -> None:
    random = Random(packet_size)
    plain = Sender(packet_size=packet_size)
    stream = SendStream(PAYLOAD_TYPE, SSRC)
    with peer() as sink, viewer_of(sink) as sock:
        sender = GsoSender(sock, packet_size)
        assert sender.offload
        sender.offload = offload
        if not offload:
            sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 0)
        for number in range(20):
            nals = random_unit(random, number % 10 == 0)
            expected = plain.unit(nals, 3000 * number)
            sender.send(stream.stamp(packetise(H264, nals, packet_size), 3000 * number))
            assert [sink.recv(65_536) for _ in expected] == expected
        assert sender.dropped == sender.refused == 0


def test_a_closed_port_is_counted_and_sending_goes_on() -> None:
    with peer() as sink:
        sock = viewer_of(sink)
    with sock:
        sender = GsoSender(sock, 100)
        for _ in range(3):
            sender.send([bytes(250), bytes(50)])
        assert sender.refused >= 2
        assert sender.offload


class Refusing:
    """A socket on a way that refuses some sends; all else is a real socket's."""

    def __init__(self, sock: socket.socket, number: int, above: int = 0, times: int = 1 << 30) -> None:
        self._sock = sock
        self._number, self._above, self._times = number, above, times

    def setsockopt(self, *arguments: int) -> None:
        self._sock.setsockopt(*arguments)

    def send(self, data: bytes | memoryview) -> int:
        if len(data) > self._above and self._times > 0:
            self._times -= 1
            raise OSError(self._number, "refused by the test")
        return self._sock.send(data)


@pytest.mark.parametrize("number", [errno.EIO, errno.EINVAL, errno.EMSGSIZE, errno.EOPNOTSUPP])
def test_where_the_kernel_refuses_offload_datagrams_go_one_by_one(number: int) -> None:
    with peer() as sink, viewer_of(sink) as sock:
        sender = GsoSender(Refusing(sock, number, above=100), 100)  # type: ignore[arg-type]
        sender.send([b"a" * 100 + b"b" * 20, b"c" * 100])
        sender.send([b"d" * 200])
        assert not sender.offload
        assert [sink.recv(999)[:1] for _ in range(5)] == [b"a", b"b", b"c", b"d", b"d"]


def test_without_room_the_rest_of_the_frame_is_dropped() -> None:
    with peer() as sink, viewer_of(sink) as sock:
        sender = GsoSender(Refusing(sock, errno.EAGAIN, times=1), 100)  # type: ignore[arg-type]
        sender.send([b"a" * 150, b"b" * 150])
        assert sender.dropped == 2
        assert sender.offload
        sender.send([b"c" * 150])
        assert [len(sink.recv(999)) for _ in range(2)] == [100, 50]


def test_a_kernel_without_the_option_is_noticed_at_once() -> None:
    with peer() as sink, viewer_of(sink) as sock:
        sender = GsoSender(sock, 1 << 20)  # no segment has this size: the option is refused
        assert not sender.offload
        sender.send([b"a" * 50])
        assert sink.recv(999) == b"a" * 50


@pytest.mark.parametrize(("number", "dropped"), [(errno.ENOBUFS, 3), (errno.ENETUNREACH, 0)])
def test_failures_one_by_one_are_counted(number: int, dropped: int) -> None:
    with peer() as sink, viewer_of(sink) as sock:
        sender = GsoSender(Refusing(sock, number), 100)  # type: ignore[arg-type]
        sender.offload = False
        sender.send([bytes(250)])
        assert (sender.dropped, sender.refused) == (dropped, 3 - dropped)
