"""One media part towards a viewer: sockets, sender reports, and what the viewer reports back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from soip.media.context import Context, numeric
from soip.net.rtpway import Nobody, RtpWay
from soip.rtp import rtcp
from soip.rtp.errors import RtpParseError
from soip.sip.offer import Stream

KEPT_REPORTS = 4
"""Sender reports that a viewer may still refer to."""
_NOBODY = Nobody()


class OutLeg:
    """Made when the call is answered; `keyframe` is called when the viewer asks for one (PLI, FIR), `heed` with all
    that it says.

    Raises OfferError for an address that is none, OSError for one there is no way to; so does `direct`.
    """

    def __init__(
        self,
        context: Context,
        pair: RtpWay,
        stream: Stream,
        keyframe: Callable[[], None],
        heed: Callable[[Sequence[rtcp.Packet]], None] = lambda _packets: None,
    ) -> None:
        self.pair = pair
        self.heard: float | None = None
        """When the viewer's last RTCP came (monotonic)."""
        self._context = context
        self._keyframe = keyframe
        self._heed = heed
        self._next_report = context.now() + context.patience.report_s
        self._told: dict[int, tuple[int, float]] = {}
        """Of the last sender reports, by the middle of their NTP timestamps: these, and when they left."""
        self.direct(stream)
        # No media is expected here, but what lies in the queue must be read, or errors of the socket stay pending.
        pair.watch(context.poll, lambda: pair.drain(_NOBODY, context.buffer, context.now()), self._control)

    def direct(self, stream: Stream) -> None:
        """Send only to, and hear only from, the negotiated address, and with the keys agreed on."""
        for host, _ in (stream.remote, stream.remote_rtcp):
            numeric(host)
        self.pair.direct(stream)
        self.stream = stream

    def report(self, ssrc: int, timestamp: int | None, packets: int, octets: int, utc_us: int | None = None) -> None:
        """Send a sender report if one is due (RFC 3550 §6.4.1). `utc_us` is when what has `timestamp` was to be seen or
        heard, by one clock for all streams of the call; without it that is now.
        """
        now = self._context.now()
        if timestamp is None or now < self._next_report:
            return
        self._next_report = now + self._context.patience.report_s
        ntp = rtcp.us_to_ntp(self._context.wall.utc_us(now) if utc_us is None else utc_us)
        self._told[ntp >> 16 & 0xFFFFFFFF] = (ntp, now)
        while len(self._told) > KEPT_REPORTS:
            del self._told[next(iter(self._told))]
        report = rtcp.SenderReport(ssrc, ntp, timestamp, packets & 0xFFFFFFFF, octets & 0xFFFFFFFF)
        name = rtcp.SourceDescription(ssrc, f"{self._context.instance}@{self._context.domain}")
        self.pair.send_control(rtcp.build([report, name]))

    def ntp(self, last_sr: int) -> int:
        """The time now, as the sender report tells it that a viewer names by the middle of its NTP timestamp (RFC 3550
        §6.4.1): it told when something was to be seen, not when it left.
        """
        now = self._context.now()
        ntp, sent = self._told.get(last_sr, (rtcp.us_to_ntp(self._context.wall.utc_us(now)), now))
        return ntp + round((now - sent) * (1 << 32))

    def close(self) -> None:
        self.pair.close()

    def _control(self) -> None:
        for datagram in self.pair.drain_control(self._context.buffer):
            self.heard = self._context.now()
            try:
                packets = rtcp.parse(datagram)
            except RtpParseError:
                continue
            if any(isinstance(packet, rtcp.PictureLossIndication | rtcp.FullIntraRequest) for packet in packets):
                self._keyframe()
            self._heed(packets)
