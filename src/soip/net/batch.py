"""Receiving many datagrams by one system call (recvmmsg), which the socket module does not offer.

The C library is called directly, with addresses prepared once: per call there is nothing to convert but the socket's
number. The layout of the kernel's structures is ctypes' own, so it is right on every Linux machine.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from struct import Struct

from soip.rtp.batch import SLOT_SIZE, SLOTS, DatagramBatch


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


_recvmmsg = ctypes.CDLL(None, use_errno=True).recvmmsg
_recvmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
_recvmmsg.restype = ctypes.c_int


class BatchReader:
    """Reads a socket into a batch. One per process."""

    def __init__(self) -> None:
        self.batch = DatagramBatch()
        self._vectors = (_IoVector * SLOTS)()
        self._messages = (_Message * SLOTS)()
        # Both arrays stay where they are as long as they are referred to; so does the buffer, which is exported.
        self._base = ctypes.c_char.from_buffer(self.batch.buffer)
        base = ctypes.addressof(self._base)
        for number, (vector, message) in enumerate(zip(self._vectors, self._messages, strict=True)):
            vector.base, vector.size = base + number * SLOT_SIZE, SLOT_SIZE
            message.header.vectors = ctypes.addressof(vector)
            message.header.vector_count = 1
        self._address = ctypes.addressof(self._messages)
        before = _Message.size.offset
        after = ctypes.sizeof(_Message) - before - ctypes.sizeof(ctypes.c_uint)
        self._sizes = [Struct("=" + f"{before}xI{after}x" * count) for count in range(SLOTS + 1)]

    def read(self, number: int) -> int:
        """Read what the non-blocking socket of that number has, at most SLOTS datagrams; return how many.

        0 when there are none. A datagram longer than a slot is given as one of no bytes. Raises OSError.
        """
        count: int = _recvmmsg(number, self._address, SLOTS, socket.MSG_DONTWAIT, None)
        batch = self.batch
        if count < 0:
            batch.count, batch.sizes = 0, ()
            code = ctypes.get_errno()
            if code == errno.EAGAIN:
                return 0
            raise OSError(code, os.strerror(code))
        batch.count = count
        sizes: tuple[int, ...] = self._sizes[count].unpack_from(self._messages)
        if SLOT_SIZE in sizes:
            sizes = tuple(size if size < SLOT_SIZE else 0 for size in sizes)
        batch.sizes = sizes
        return count
