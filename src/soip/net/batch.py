"""Receiving many datagrams by one system call (recvmmsg), which the socket module does not offer.

Besides, the kernel may join the datagrams of a burst into one (UDP GRO, `join_bursts`): they then cost it hardly more
than one, on the way in as well as here.

The C library is called directly, with addresses prepared once: per call there is nothing to convert but the socket's
number. The layout of the kernel's structures is ctypes' own, so it is right on every Linux machine.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from collections.abc import Iterator
from itertools import groupby
from struct import Struct

from soip.rtp.batch import SLOT_SIZE, SLOTS, DatagramBatch

_UDP_GRO = 104  # Linux; the socket module does not name it


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
    """What the kernel tells beside a joined datagram: one header of a control message and the size it was cut to."""

    _fields_ = (
        ("length", ctypes.c_size_t),
        ("level", ctypes.c_int),
        ("kind", ctypes.c_int),
        ("segment", ctypes.c_int),
        ("padding", ctypes.c_int),
    )


_recvmmsg = ctypes.CDLL(None, use_errno=True).recvmmsg
_recvmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
_recvmmsg.restype = ctypes.c_int


def join_bursts(sock: socket.socket) -> None:
    """Let the kernel join what arrives in one burst; a kernel before Linux 5.0 cannot, and nothing is lost by that.

    From then on the socket must be read by a BatchReader: anything else would take a burst for one datagram.
    """
    try:
        sock.setsockopt(socket.IPPROTO_UDP, _UDP_GRO, 1)
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT:
            raise


class BatchReader:
    """Reads a socket into a batch. One per process."""

    def __init__(self) -> None:
        self._batch = DatagramBatch()
        self._vectors = (_IoVector * SLOTS)()
        self._messages = (_Message * SLOTS)()
        self._controls = (_Control * SLOTS)()
        # The arrays stay where they are as long as they are referred to; so does the buffer, which is exported.
        self._base = ctypes.c_char.from_buffer(self._batch.buffer)
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
        # The kernel writes into the headers how much control data there was: before each call they are as new.
        self._fresh = bytes(self._messages)
        size, told = _Message.size.offset, _Message.header.offset + _MessageHeader.control_size.offset
        self._sizes = _columns(size, ctypes.c_uint)
        self._told = _columns(told, ctypes.c_size_t)
        self._count = 0

    def read(self, number: int) -> int:
        """Read what the non-blocking socket of that number has; return by how many messages, SLOTS at most.

        0 when there is nothing. What was read is in `batches`. Raises OSError.
        """
        ctypes.memmove(self._address, self._fresh, len(self._fresh))
        count: int = _recvmmsg(number, self._address, SLOTS, socket.MSG_DONTWAIT, None)
        self._count = max(0, count)
        if count < 0:
            code = ctypes.get_errno()
            if code == errno.EAGAIN:
                return 0
            raise OSError(code, os.strerror(code))
        return count

    def batches(self) -> Iterator[DatagramBatch]:
        """What the last `read` brought, as one batch after the other: the same object, to be taken at once."""
        batch, count = self._batch, self._count
        sizes: tuple[int, ...] = self._sizes[count].unpack_from(self._messages)
        told: tuple[int, ...] = self._told[count].unpack_from(self._messages)
        if not any(told):
            if count:
                batch.aim(0, sizes)
                yield batch
            return
        for joined, run in groupby(range(count), key=lambda number: told[number] > 0):
            if not joined:
                numbers = list(run)
                batch.aim(numbers[0], sizes[numbers[0] : numbers[-1] + 1])
                yield batch
                continue
            for number in run:
                batch.aim_at_joined(number, sizes[number], self._controls[number].segment)
                yield batch


def _columns(offset: int, kind: type[ctypes.c_uint] | type[ctypes.c_size_t]) -> list[Struct]:
    """How to read one number at the same offset of each of so many messages."""
    size = ctypes.sizeof(kind)
    one = f"{offset}x{'Q' if size == 8 else 'I'}{ctypes.sizeof(_Message) - offset - size}x"
    return [Struct("=" + one * count) for count in range(SLOTS + 1)]
