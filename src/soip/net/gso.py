"""Sending by the frame: a run of equal datagrams in one system call (UDP generic segmentation offload).

The kernel cuts what one ``send`` gives it into datagrams of ``segment`` bytes, the last may be shorter. The
size is set once per socket, since ``rtp.nal.packetise`` fills all packets but the last of a NAL unit to one
size; a datagram that is alone in its run is not longer and leaves whole. Where the kernel refuses, datagrams
go one by one.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence

UDP_SEGMENT = 103
"""From linux/udp.h; the socket module does not name it."""

_REFUSED = frozenset((errno.EIO, errno.EINVAL, errno.EOPNOTSUPP, errno.EMSGSIZE))
_NO_ROOM = frozenset((errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM))


class GsoSender:
    """The way to one viewer: a connected, non-blocking UDP socket. The socket stays the caller's."""

    def __init__(self, sock: socket.socket, segment: int) -> None:
        self.segment = segment
        self.dropped = 0
        """Runs the kernel had no room for."""
        self.refused = 0
        """Sends answered by an error: the peer's port is closed, or there is no route."""
        self._sock = sock
        self._send = sock.send
        try:
            sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, segment)
            self.offload = True
        except OSError:
            self.offload = False

    def send(self, runs: Sequence[bytes]) -> None:
        """Send runs of datagrams (``rtp.sender.SendStream.stamp``). Never raises for the network's sake."""
        self._send_runs(runs)

    def _send_runs(self, runs: Sequence[bytes]) -> None:
        if not self.offload:
            self._send_singly(runs)
            return
        send = self._send
        done = 0
        try:
            for run in runs:
                send(run)
                done += 1
        except OSError as error:
            self._failed(error, runs[done:])

    def _failed(self, error: OSError, rest: Sequence[bytes]) -> None:
        """Go on after a failed send of ``rest[0]``."""
        if error.errno in _NO_ROOM:
            # The rest of this frame would only fill the buffer with pieces of a picture that is broken
            # already.
            self.dropped += len(rest)
        elif error.errno in _REFUSED and len(rest[0]) > self.segment:
            # EIO: no checksum offload on the way. EINVAL, EMSGSIZE: a segment exceeds the path's MTU.
            self.offload = False
            self._sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 0)
            self._send_singly(rest)
        else:
            # ECONNREFUSED tells of an earlier packet and clears itself; the media session ends by other
            # means.
            self.refused += 1
            if len(rest) > 1:
                self._send_runs(rest[1:])

    def _send_singly(self, runs: Sequence[bytes]) -> None:
        segment = self.segment
        for run in runs:
            view = memoryview(run)
            for at in range(0, len(run), segment):
                try:
                    self._send(view[at : at + segment])
                except OSError as error:
                    if error.errno in _NO_ROOM:
                        self.dropped += 1
                    else:
                        self.refused += 1
