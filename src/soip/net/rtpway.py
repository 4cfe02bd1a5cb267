"""A way for RTP and RTCP of one media session, whatever it goes over: what `net.rtp` (UDP) and `net.rtptcp` offer.

Order of calls: `watch` once; `hear` where media is received, or `direct` where it is sent, as soon as that is agreed
on, and again whenever something else is; at the end `close`. While it is open, `trouble` is asked once a second.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from soip.net.poll import MediaPoll
from soip.rtp.batch import DatagramBatch
from soip.sip.negotiation import unmoved
from soip.sip.offer import Agreement, Stream
from soip.sip.sdes import Keying

T = TypeVar("T")


class Receiver(Protocol[T]):
    """What ``rtp.receiver`` offers: `receive` takes what came now, `take` what came as long before as it says."""

    def receive(self, datagram: memoryview, now: float) -> list[T]: ...

    def take(self, batch: DatagramBatch, now: float) -> list[T]: ...


class Nobody:
    """A receiver for who only sends: what comes is read, and gone."""

    def receive(self, datagram: memoryview, now: float) -> list[None]:
        return []

    def take(self, batch: DatagramBatch, now: float) -> list[None]:
        return []


class Sender(Protocol):
    """The way out of a stream."""

    @property
    def dropped(self) -> int:
        """What was dropped for want of room."""

    @property
    def refused(self) -> int:
        """What could not leave."""

    def send(self, runs: Sequence[bytes]) -> None:
        """Send an access unit's runs of packets (`rtp.sender.SendStream.stamp`). Never blocks, never raises for the
        network's sake.
        """


class RtpWay(Protocol):
    """See above. `stream` is what was agreed on; its addresses must be IP addresses."""

    transport: str
    """What it goes over: "udp" or "tcp"."""
    port: int
    """Where we are reached, as it stands in our description."""
    foreign: int
    """What came from elsewhere than it was agreed on, dropped."""
    refused: int
    """What could not leave."""
    control_age: float
    """Seconds that what `drain_control` gives may have waited here to be read."""

    def watch(self, poll: MediaPoll, media: Callable[[], object], control: Callable[[], object]) -> None:
        """Call `media` when there is something to `drain`, `control` when there is something to `drain_control`."""

    def rest(self, resting: bool) -> None:
        """Nobody waits for what comes: `media` may be called some times a second only, which costs less; or somebody
        does. To be said again now and then, since at the beginning it is not always possible.
        """

    def hear(self, stream: Stream) -> None:
        """Take media from whom it was agreed with. Raises OSError."""

    def direct(self, stream: Stream) -> None:
        """Send to, and take from, whom it was agreed with. Raises OSError."""

    def secure(self, keying: Keying | None) -> None:
        """Be SRTP with these keys from now on, or, with None, plain. `hear` and `direct` see to it themselves."""

    def drain(self, receiver: Receiver[T], buffer: memoryview, now: float) -> list[T]:
        """Give what has come to the receiver; return what that completed."""

    def drain_control(self, buffer: memoryview) -> list[bytes]:
        """The RTCP packets that have come, some at a time."""

    def send_packet(self, packet: bytes) -> None:
        """Send one RTP packet; what cannot leave is gone, and counted."""

    def send_control(self, packet: bytes) -> bool:
        """Send one RTCP packet; False when it could not leave."""

    def sender(self, size: int, lost: Callable[[], None]) -> Sender:
        """A way out for packets of at most `size` bytes, as was agreed on last: ask again after `direct`. `lost` is
        called when some that were waiting to leave have been dropped: what follows is of no use before the next
        keyframe.
        """

    @property
    def damaged(self) -> int:
        """Bytes that came and were no packets."""

    def kernel_drops(self) -> int:
        """How many datagrams the kernel has dropped for want of room."""

    def trouble(self, now: float) -> str:
        """Why nothing can go this way any more; "" as long as it can."""

    def close(self) -> None:
        """Give back everything; again does nothing."""


def following(agreed: Agreement, pairs: Sequence[RtpWay]) -> Callable[[Agreement], None]:
    """For who receives on these ways, in the order of the media: an ``apply`` that lets media pause, go on and have
    other keys, but not move (``sip.negotiation``).
    """
    check = unmoved(agreed)

    def apply(agreement: Agreement) -> None:
        check(agreement)
        for pair, stream in zip(pairs, agreement.streams, strict=False):
            if stream is not None:
                pair.secure(stream.srtp)

    return apply
