"""Receiving many datagrams by one system call (recvmmsg), which the socket module does not offer.

Besides, the kernel may join the datagrams of a burst into one (UDP GRO): they then cost it hardly more than one, on the
way in as well as here. And it tells when each has come, so that a socket need not be read at once. `prepare` has it do
both.

The C library is called directly, with addresses prepared once: per call there is nothing to convert but the socket's
number. The layout of the kernel's structures is ctypes' own, so it is right on every Linux machine.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import time
from collections.abc import Iterable
from struct import Struct

from soip.rtp.batch import SLOT_SIZE, SLOTS, DatagramBatch

_UDP_GRO = 104  # Linux; the socket module names neither
_SO_TIMESTAMPNS = 35
OLDEST_S = 2.0
"""Nothing waits here for so long: what seems to has a time from before the clock was stepped, or has waited with the
whole process. It is said to come now."""


class _IoVector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


class _MessageHeader(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_size", ctypes.c_uint32),
        ("vectors", ctypes.c_void_p),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_size", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    _fields_ = (("header", _MessageHeader), ("size", ctypes.c_uint))


class _Control(ctypes.Structure):
    """What the kernel tells beside a datagram, two control messages with their headers: the time it came (UTC), and, of
    a joined one, the size it was cut to. It puts them in this order.
    """

    _fields_ = (
        ("time_length", ctypes.c_size_t),
        ("time_level", ctypes.c_int),
        ("time_kind", ctypes.c_int),
        ("seconds", ctypes.c_long),
        ("nanoseconds", ctypes.c_long),
        ("length", ctypes.c_size_t),
        ("level", ctypes.c_int),
        ("kind", ctypes.c_int),
        ("segment", ctypes.c_int),
        ("padding", ctypes.c_int),
    )


_TIME = Struct("@ll")
TOLD: int = ctypes.sizeof(_Control)
"""Room for all that it tells."""


_recvmmsg = ctypes.CDLL(None, use_errno=True).recvmmsg
_recvmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
_recvmmsg.restype = ctypes.c_int


def tell_times(sock: socket.socket) -> None:
    """Let the kernel tell when datagrams came."""
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)


def age_of(ancillary: Iterable[tuple[int, int, bytes]]) -> float:
    """Seconds since a datagram came, by what `recvmsg` gives beside it, with `TOLD` bytes of room; 0 where it does not
    tell.
    """
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            seconds, nanoseconds = _TIME.unpack_from(data)
            return _believed(time.time() - seconds - nanoseconds * 1e-9)
    return 0.0


def _believed(age: float) -> float:
    return age if 0 < age < OLDEST_S else 0.0


def prepare(sock: socket.socket) -> None:
    """Let the kernel tell when datagrams came, and join what comes in one burst; before Linux 5.0 it cannot join, and
    nothing is lost by that.

    From then on the socket must be read by a BatchReader: anything else would take a burst for one datagram.
    """
    tell_times(sock)
    try:
        sock.setsockopt(socket.IPPROTO_UDP, _UDP_GRO, 1)
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT:
            raise


class BatchReader:
    """Reads sockets, each after `prepare`, into `batch`. One per process."""

    def __init__(self) -> None:
        self.batch = DatagramBatch()
        self._vectors = (_IoVector * SLOTS)()
        self._messages = (_Message * SLOTS)()
        self._controls = (_Control * SLOTS)()
        # The arrays stay where they are as long as they are referred to; so does the buffer, which is exported.
        self._base = ctypes.c_char.from_buffer(self.batch.buffer)
        base = ctypes.addressof(self._base)
        for number, (vector, message, control) in enumerate(
            zip(self._vectors, self._messages, self._controls, strict=True)
        ):
            vector.base, vector.size = base + number * SLOT_SIZE, SLOT_SIZE
            message.header.vectors = ctypes.addressof(vector)
            message.header.vector_count = 1
            message.header.control = ctypes.addressof(control)
            message.header.control_size = ctypes.sizeof(_Control)
        self._address = ctypes.addressof(self._messages)
        # The kernel writes into the headers how much control data there was: before each call they are as new. So are
        # the control data, which it writes only as far as it has something to tell.
        self._headers = memoryview(self._messages).cast("B")
        self._told = memoryview(self._controls).cast("B")
        self._fresh = [bytes(self._headers[: count * ctypes.sizeof(_Message)]) for count in range(SLOTS + 1)]
        self._untold = [bytes(count * ctypes.sizeof(_Control)) for count in range(SLOTS + 1)]
        self._sizes = _columns(_Message.size.offset, ctypes.c_uint, _Message)
        self._segments = _columns(_Control.segment.offset, ctypes.c_uint, _Control)
        self._seconds = _columns(_Control.seconds.offset, ctypes.c_ulong, _Control)
        self._nanoseconds = _columns(_Control.nanoseconds.offset, ctypes.c_ulong, _Control)
        self._count = 0

    def read(self, number: int) -> int:
        """Read what the non-blocking socket of that number has into `batch`; return by how many messages, SLOTS at
        most. 0 when there is nothing. Raises OSError.
        """
        fresh, untold = self._fresh[self._count], self._untold[self._count]
        self._headers[: len(fresh)] = fresh
        self._told[: len(untold)] = untold
        self._count = 0
        count: int = _recvmmsg(number, self._address, SLOTS, socket.MSG_DONTWAIT, None)
        if count <= 0:
            self.batch.runs = []
            code = ctypes.get_errno()
            if not count or code == errno.EAGAIN:
                return 0
            raise OSError(code, os.strerror(code))
        self._count = count
        self.batch.fill(
            self._sizes[count].unpack_from(self._messages),
            self._segments[count].unpack_from(self._controls),
            self._ages(count),
        )
        return count

    def _ages(self, count: int) -> list[float]:
        """How long ago each of the messages came, in seconds, by the system's clock, which may have been stepped."""
        seconds: tuple[int, ...] = self._seconds[count].unpack_from(self._controls)
        nanoseconds: tuple[int, ...] = self._nanoseconds[count].unpack_from(self._controls)
        now = time.time()
        ages = [now - second - nanosecond * 1e-9 for second, nanosecond in zip(seconds, nanoseconds, strict=True)]
        if min(ages) <= 0 or max(ages) >= OLDEST_S:
            ages = list(map(_believed, ages))
        return ages


def _columns(
    offset: int, kind: type[ctypes.c_uint] | type[ctypes.c_ulong], row: type[ctypes.Structure]
) -> list[Struct]:
    """How to read one number at the same offset of each of so many rows."""
    size = ctypes.sizeof(kind)
    one = f"{offset}x{'Q' if size == 8 else 'I'}{ctypes.sizeof(row) - offset - size}x"
    return [Struct("=" + one * count) for count in range(SLOTS + 1)]
