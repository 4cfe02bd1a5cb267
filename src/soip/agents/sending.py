"""A camera's media in one call: access units out as RTP, sender reports out, feedback in.

Every stream is a class of its own in the sense of `rtp.sender`: its SSRC, sequence numbers and timestamp offset
are chance. Units must be sent in decoding order; their ticks become timestamps as they are.
"""

from __future__ import annotations

from collections.abc import Callable

from soip.agents.psmux import Muxer, payload_run
from soip.agents.source import VIDEO_CLOCK, AudioUnit, Source, Unit
from soip.agents.station import Station, random_word
from soip.net.rtpway import Nobody, RtpWay
from soip.rtp import rtcp
from soip.rtp.errors import RtpParseError
from soip.rtp.nal import PACKET_SIZE, Coding, PayloadRun, packetise
from soip.rtp.packet import HEADER_SIZE
from soip.rtp.retransmission import Answers, History
from soip.rtp.sender import SendStream
from soip.sip.offer import Stream

REPORT_INTERVAL = 5.0
"""Seconds between sender reports (RFC 3550 §6.2: the recommended minimum)."""

_NOBODY = Nobody()


class Leg:
    """One sending stream on its way. `on_keyframe_wanted` is called for each PLI or FIR.

    `keys` are ours if it is to be SRTP. `heard` is the monotonic time of the peer's last RTCP, None before the first;
    `refused` counts sends the peer's host answered with "port unreachable".
    """

    def __init__(self, station: Station, pair: RtpWay, on_keyframe_wanted: Callable[[], None]) -> None:
        self.heard: float | None = None
        self.payload_type: int | None = None
        self._station = station
        self._pair = pair
        self._wanted = on_keyframe_wanted
        self.keys = station.keys()
        self._sender = pair.sender(PACKET_SIZE, on_keyframe_wanted)
        self._stream = SendStream(0, random_word(), random_word(), random_word())
        self._history = History(PACKET_SIZE)
        self._answers = Answers()
        self._utc = 0.0
        self._reported: float | None = None
        # Nobody has to send us RTP; some do (NAT pinholes, sendrecv phones). Errors are read by the way.
        pair.watch(station.poll, lambda: pair.drain(_NOBODY, station.buffer, station.now()), self._control)

    @property
    def port(self) -> int:
        return self._pair.port

    @property
    def transport(self) -> str:
        return self._pair.transport

    @property
    def trouble(self) -> str:
        """Why nothing can be sent any more; "" as long as it can."""
        return self._pair.trouble(self._station.now())

    @property
    def ssrc(self) -> int:
        return self._stream.ssrc

    @property
    def refused(self) -> int:
        return self._sender.refused + self._pair.refused

    @property
    def packets(self) -> int:
        """RTP packets sent."""
        return self._stream.packets

    def direct(self, agreed: Stream | None) -> None:
        """Send as `agreed` from now on; None, or a direction without sending, is silence (hold)."""
        if agreed is None or not agreed.sends:
            self.payload_type = None
            return
        self.payload_type = self._stream.payload_type = agreed.payload_type
        self._pair.direct(agreed)
        self._sender = self._pair.sender(PACKET_SIZE, self._wanted)

    def send(self, runs: list[PayloadRun], ticks: int, utc: float, now: float) -> None:
        """Send one unit; a sender report goes with it when one is due."""
        if self.payload_type is None:
            return
        first = self._stream.sequence
        datagrams = self._stream.stamp(runs, ticks)
        self._sender.send(datagrams)
        self._history.add(first, datagrams, now)
        self._utc = utc
        if self._reported is None or now - self._reported >= REPORT_INTERVAL:
            self._reported = now
            self._pair.send_control(rtcp.build(self._report()))

    def close(self) -> None:
        """Say BYE (RFC 3550 §6.6) if anything was sent, and give the ports back."""
        if self._stream.timestamp is not None:
            self._pair.send_control(rtcp.build([*self._report(), rtcp.Bye((self.ssrc,))]))
        self._pair.close()

    def _report(self) -> list[rtcp.Packet]:
        stream = self._stream
        ntp = rtcp.us_to_ntp(round(self._utc * 1_000_000))
        report = rtcp.SenderReport(stream.ssrc, ntp, stream.timestamp or 0, stream.packets, stream.octets)
        return [report, rtcp.SourceDescription(stream.ssrc, f"{self._station.host}:{self.port}")]

    def _control(self) -> None:
        for datagram in self._pair.drain_control(self._station.buffer):
            try:
                packets = rtcp.parse(datagram)
            except RtpParseError:
                continue  # anybody on the peer's host can send nonsense; what it breaks is only itself
            self.heard = self._station.now()
            for packet in packets:
                match packet:
                    case rtcp.PictureLossIndication(media_ssrc=ssrc) if ssrc == self.ssrc:
                        self._wanted()
                    case rtcp.FullIntraRequest(entries=entries) if self.ssrc in dict(entries):
                        self._wanted()
                    case rtcp.Nack(media_ssrc=ssrc, sequences=numbers) if ssrc == self.ssrc:
                        self._sender.send(self._answers.answer(self._history, numbers, 0.0, self._station.now()))


class CallMedia:
    """Video and audio of one call, as far as agreed, fed with a source's units."""

    def __init__(self, station: Station, source: Source, coding: Coding, video: Leg | None, audio: Leg | None) -> None:
        self._source = source
        self._coding = coding
        self._video = video
        self._audio = audio
        self._station = station

    @property
    def fits(self) -> bool:
        """Whether the source's pictures are still coded as was agreed on."""
        return self._source.coding is self._coding

    def take(self, unit: Unit) -> None:
        """A `Listener`: send one unit."""
        now = self._station.now()
        if isinstance(unit, AudioUnit):
            if self._audio is not None:
                payloads = self._source.sound.packetise(unit.payload, PACKET_SIZE - HEADER_SIZE)
                runs = [PayloadRun([b"", b"", payload], 1, len(payload)) for payload in payloads]
                self._audio.send(runs, unit.ticks, unit.utc, now)
        elif self._video is not None and self.fits:
            self._video.send(packetise(self._coding, unit.nals), unit.ticks, unit.utc, now)


class ProgramMedia(CallMedia):
    """Pictures and sound of one call in one program stream on `leg`."""

    def __init__(self, station: Station, source: Source, coding: Coding, leg: Leg) -> None:
        super().__init__(station, source, coding, leg, None)
        self._leg = leg
        self._muxer = Muxer(coding.name, source.sound if source.has_audio else None)

    def take(self, unit: Unit) -> None:
        """A `Listener`: send one unit."""
        if isinstance(unit, AudioUnit):
            ticks = unit.ticks * VIDEO_CLOCK // self._source.sound.clock_rate
            part = self._muxer.sound(unit.payload, ticks)
        elif self.fits:
            ticks = unit.ticks
            part = self._muxer.picture(unit.nals, ticks, unit.keyframe)
        else:
            return
        self._leg.send([payload_run(part)], ticks, unit.utc, self._station.now())
