"""SRTP (RFC 3711; AES-GCM of RFC 7714) for the sockets of one media part: libsrtp does the arithmetic.

Encryption is the viewer's own: payloads and headers are still made once per class (`rtp.sender`), and what differs is
protected packet by packet and joined again, so that a frame still leaves by few sends. What comes is opened in its
place in the batch, so that the receive path goes on as if it had come so.

What cannot be opened (another key, a bit that was flipped, a packet that came before) becomes an empty datagram, which
every receiver counts as malformed: never an error, however many come.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

from pylibsrtp import Error, Policy, Session

from soip.net.gso import GsoSender
from soip.net.rtpway import Receiver, T
from soip.rtp.batch import DatagramBatch
from soip.rtp.sender import MAX_RUN
from soip.sip import sdes
from soip.sip.sdes import Keying

WINDOW = 1024
"""Packets within which one that comes late is still told from one that comes again (RFC 3711 §3.3.2), and within which
one can be sent again.
"""
MOST_SOURCES = 16
"""Sources (SSRC) of one peer whose state is kept: who has the key could make up new ones for ever."""

_PROFILES = {
    sdes.AEAD_AES_128_GCM: Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
    sdes.AEAD_AES_256_GCM: Policy.SRTP_PROFILE_AEAD_AES_256_GCM,
    sdes.AES_CM_128_HMAC_SHA1_80: Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    sdes.AES_CM_128_HMAC_SHA1_32: Policy.SRTP_PROFILE_AES128_CM_SHA1_32,
}
_RTP_SSRC = slice(8, 12)
_RTCP_SSRC = slice(4, 8)


class Srtp:
    """The cryptographic contexts of one media part (RFC 3711 §3.2): of what we send, and of what comes."""

    def __init__(self, keying: Keying) -> None:
        self.keying = keying
        self.refused = 0
        """Packets that could not be opened."""
        self._outgoing = _sending(keying)
        self._incoming = _receiving(keying)
        self._sources: dict[bytes, None] = {}

    def rekey(self, keying: Keying) -> None:
        """Go on with these keys. A context whose key stays goes on itself: its packets are numbered on (RFC 3711 §9.1:
        nothing is ever encrypted twice under one key and number).
        """
        before, self.keying = self.keying, keying
        if (keying.suite, keying.ours) != (before.suite, before.ours):
            self._outgoing = _sending(keying)
        if (keying.suite, keying.theirs) != (before.suite, before.theirs):
            self._incoming = _receiving(keying)
            self._sources.clear()

    # -- out

    def protect(self, packet: bytes) -> bytes:
        """An RTP packet as it goes out; empty if it is too long. One that is sent again (RFC 4585 NACK) becomes the
        same bytes again.
        """
        try:
            return self._outgoing.protect(packet)
        except (Error, ValueError):
            return b""

    def protect_runs(self, runs: Sequence[bytes], segment: int) -> list[bytes]:
        """Runs of datagrams of ``segment`` bytes, the last of each perhaps shorter (``rtp.sender``), as runs of
        protected ones, each longer by the suite's tag.
        """
        protect = self.protect
        step = MAX_RUN // (segment + self.keying.suite.tag)
        out: list[bytes] = []
        for run in runs:
            if len(run) <= segment:
                out.append(protect(run))
                continue
            packets = [protect(run[at : at + segment]) for at in range(0, len(run), segment)]
            out += [b"".join(packets[at : at + step]) for at in range(0, len(packets), step)]
        return out

    def protect_control(self, packet: bytes) -> bytes:
        """A compound RTCP packet as it goes out; empty if it is too long."""
        try:
            return self._outgoing.protect_rtcp(packet)
        except (Error, ValueError):
            return b""

    # -- in

    def unprotect(self, packet: bytes) -> bytes:
        """The RTP packet in a datagram; empty if there is none that is new and whole."""
        try:
            plain = self._incoming.unprotect(packet)
        except (Error, ValueError):
            self.refused += 1
            return b""
        if packet[_RTP_SSRC] not in self._sources:
            self._met(packet[_RTP_SSRC])
        return plain

    def unprotect_batch(self, batch: DatagramBatch) -> None:
        """Open the datagrams of a batch where they lie."""
        unprotect = self.unprotect
        sizes = []
        for slot, size, _ in batch.datagrams():
            plain = unprotect(bytes(slot[:size]))
            length = len(plain)
            slot[:length] = plain
            sizes.append(length)
        batch.resize(sizes)

    def unprotect_control(self, packet: bytes) -> bytes:
        """The compound RTCP packet in a datagram; empty if there is none that is new and whole."""
        try:
            plain = self._incoming.unprotect_rtcp(packet)
        except (Error, ValueError):
            self.refused += 1
            return b""
        if packet[_RTCP_SSRC] not in self._sources:
            self._met(packet[_RTCP_SSRC])
        return plain

    def _met(self, source: bytes) -> None:
        """A packet of a new source was good. The oldest makes room; what it sent could be replayed from then on, but
        is of a source that no receiver listens to any more.
        """
        self._sources[source] = None
        if len(self._sources) > MOST_SOURCES:
            oldest = next(iter(self._sources))
            del self._sources[oldest]
            self._incoming.remove_stream(int.from_bytes(oldest, "big"))


class Opened(Receiver[T]):
    """A receiver behind SRTP: it is given what was in the datagrams."""

    def __init__(self, srtp: Srtp, receiver: Receiver[T]) -> None:
        self._srtp = srtp
        self._receiver = receiver

    def receive(self, datagram: memoryview, now: float) -> list[T]:
        return self._receiver.receive(memoryview(self._srtp.unprotect(bytes(datagram))), now)

    def take(self, batch: DatagramBatch, now: float) -> list[T]:
        self._srtp.unprotect_batch(batch)
        return self._receiver.take(batch, now)


class SrtpSender(GsoSender):
    """The way to one viewer that has keys of its own. ``segment`` is the size of packets before they are protected."""

    def __init__(self, sock: socket.socket, segment: int, srtp: Srtp) -> None:
        super().__init__(sock, segment + srtp.keying.suite.tag)
        self._plain_segment = segment
        self._srtp = srtp

    def send(self, runs: Sequence[bytes]) -> None:
        """Protect and send runs of datagrams. Never raises for the network's sake."""
        self._send_runs(self._srtp.protect_runs(runs, self._plain_segment))


def _sending(keying: Keying) -> Session:
    policy = _policy(keying, keying.ours, Policy.SSRC_ANY_OUTBOUND)
    # What is asked for again is sent again, and is the same: no key stream is ever used for two contents.
    policy.allow_repeat_tx = True
    policy.window_size = WINDOW
    return Session(policy)


def _receiving(keying: Keying) -> Session:
    policy = _policy(keying, keying.theirs, Policy.SSRC_ANY_INBOUND)
    policy.window_size = WINDOW
    return Session(policy)


def _policy(keying: Keying, key: bytes, sources: int) -> Policy:
    return Policy(key=key, ssrc_type=sources, srtp_profile=_PROFILES[keying.suite])
