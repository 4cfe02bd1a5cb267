"""The player's media in one call: RTP in, access units and sound out, receiver reports and keyframe requests back."""

from __future__ import annotations

from collections.abc import Callable

from soip.agents.station import Station, random_word
from soip.net.rtpway import RtpWay
from soip.rtp import rtcp
from soip.rtp.codec import CODINGS
from soip.rtp.errors import RtpParseError
from soip.rtp.nal import AccessUnit
from soip.rtp.receiver import AudioFrame, AudioReceiver, VideoReceiver
from soip.rtp.reception import Reception
from soip.rtp.sound import SoundFormat
from soip.sip.offer import Stream

REPORT_INTERVAL = 5.0
"""Seconds between receiver reports (RFC 3550 §6.2)."""
KEYFRAME_INTERVAL = 2.0
"""Seconds between requests for a keyframe."""


class ReceivingLeg:
    """One receiving stream on its way. `tick()` at least once a second; `close()` at the end.

    `first_packet` and `last_packet` are monotonic times, None before the first.
    """

    def __init__(self, station: Station, pair: RtpWay, agreed: Stream) -> None:
        self.first_packet: float | None = None
        self.last_packet: float | None = None
        self.payload_type = agreed.payload_type
        self.receiver: VideoReceiver | AudioReceiver
        self._station = station
        self._pair = pair
        self._ssrc = random_word()
        self._reported = float("-inf")
        pair.hear(agreed)

    def tick(self, now: float) -> None:
        """Send the receiver report that is due (the first at once: it also opens the way through a NAT)."""
        if now - self._reported >= REPORT_INTERVAL:
            self._reported = now
            self._send([])

    @property
    def trouble(self) -> str:
        """Why nothing can come any more; "" as long as it can."""
        return self._pair.trouble(self._station.now())

    def close(self) -> None:
        """Say BYE and give the ports back."""
        self._send([rtcp.Bye((self._ssrc,))])
        self._pair.close()

    def _watch(self, receiver: VideoReceiver | AudioReceiver, handler: Callable[[], None]) -> None:
        self.receiver = receiver
        self._reception = Reception(receiver)
        self._pair.watch(self._station.poll, handler, self._control)

    def _arrived(self, now: float) -> None:
        if self.receiver.ssrc is not None:
            self.first_packet = self.first_packet or now
            self.last_packet = now

    def _send(self, more: list[rtcp.Packet]) -> None:
        block = self._reception.block(self._station.now())
        report = rtcp.ReceiverReport(self._ssrc, (block,) if block is not None else ())
        name = rtcp.SourceDescription(self._ssrc, f"{self._station.host}:{self._pair.port}")
        self._pair.send_control(rtcp.build([report, name, *more]))

    def _control(self) -> None:
        for datagram in self._pair.drain_control(self._station.buffer):
            try:
                packets = rtcp.parse(datagram)
            except RtpParseError:
                continue  # what a peer breaks is only its own report
            for packet in packets:
                if isinstance(packet, rtcp.SenderReport):
                    self._reception.sender_report(packet, self._station.now())


class VideoLeg(ReceivingLeg):
    """Access units go to `take` in decoding order. Asks for a keyframe until one has come and after losses, for
    missing packets where that was agreed on.
    """

    def __init__(self, station: Station, pair: RtpWay, agreed: Stream, take: Callable[[AccessUnit], None]) -> None:
        super().__init__(station, pair, agreed)
        self._video = VideoReceiver(agreed.payload_type, agreed.receive_types, CODINGS[agreed.encoding])
        if "nack" in agreed.feedback:
            self._video.ask_again()
        self._take = take
        self._wants_keyframe = True
        self._asked = station.now()
        self._watch(self._video, self._drain)

    def tick(self, now: float) -> None:
        super().tick(now)
        if self._wants_keyframe and self.receiver.ssrc is not None and now - self._asked >= KEYFRAME_INTERVAL:
            self._asked = now
            self._send([rtcp.PictureLossIndication(self._ssrc, self.receiver.ssrc)])

    def flush(self) -> None:
        """The stream has ended: its last picture has no successor to complete it."""
        self._deliver(self._video.flush())

    def _drain(self) -> None:
        now = self._station.now()
        units = self._pair.drain(self._video, self._station.buffer, now)
        self._arrived(now)
        self._deliver(units)
        if self._video.ssrc is not None and (wanted := self._video.wanted(now)):
            self._send([rtcp.Nack(self._ssrc, self._video.ssrc, tuple(wanted))])

    def _deliver(self, units: list[AccessUnit]) -> None:
        for unit in units:
            self._wants_keyframe = not unit.keyframe and (self._wants_keyframe or unit.lost > 0)
            self._take(unit)


class AudioLeg(ReceivingLeg):
    """Frames of sound go to `take` in their order."""

    def __init__(
        self, station: Station, pair: RtpWay, agreed: Stream, form: SoundFormat, take: Callable[[AudioFrame], None]
    ) -> None:
        super().__init__(station, pair, agreed)
        self._audio = form.receiver(agreed.payload_type)
        self._take = take
        self._watch(self._audio, self._drain)

    def _drain(self) -> None:
        now = self._station.now()
        frames = self._pair.drain(self._audio, self._station.buffer, now)
        self._arrived(now)
        for frame in frames:
            self._take(frame)
