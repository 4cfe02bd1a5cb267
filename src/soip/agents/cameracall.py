"""One call to the software camera: negotiate, send until either side ends it, give everything back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import structlog

from soip.agents.sending import CallMedia, Leg, ProgramMedia
from soip.agents.source import Source
from soip.agents.station import Station, random_word
from soip.net.call import Call, CallEnd, IncomingCall
from soip.net.errors import CallEndedError
from soip.rtp.aac import format_fmtp
from soip.rtp.codec import learn
from soip.rtp.errors import RtpParseError
from soip.sip.errors import DialogError, OfferError, SdpError
from soip.sip.formats import PROGRAM, Aac, Audio, Capability, Video
from soip.sip.mediaway import transport_of
from soip.sip.negotiation import Negotiation
from soip.sip.offer import Agreement, Local, answer_offer, make_offer, read_answer
from soip.sip.sdp import SessionDescription

log = structlog.get_logger(__name__)

PEER_SILENCE = 30.0
"""Seconds without RTCP, from a peer that has sent some, after which it counts as gone (RFC 3550 §6.3.5 has five
report intervals)."""
REFUSALS = 5
"""Seconds in a row in which the peer's host said that its media port is closed."""
_KEYFRAME_INTERVAL = 0.5


class CameraCall:
    """Made per INVITE; `await run(incoming)` returns when the call is over. With `program` all is sent as one program
    stream.
    """

    def __init__(
        self,
        station: Station,
        source: Source,
        peer_silence: float = PEER_SILENCE,
        setup: str = "active",
        *,
        program: bool = False,
    ) -> None:
        self._station = station
        self._source = source
        self._peer_silence = peer_silence
        self._program = program
        self._setup = setup
        self._local = Local(station.host, random_word(), name="soip-camera")
        self._coding = source.coding
        self._keyframe_at = float("-inf")
        self._video: Leg | None = None
        self._audio: Leg | None = None

    async def run(self, incoming: IncomingCall) -> None:
        """Answer and serve. Refuses with 400 what is no SDP and with 488 what we cannot send."""
        try:
            await self._serve(incoming)
        finally:
            for leg in (self._video, self._audio):
                if leg is not None:
                    leg.close()

    async def _serve(self, incoming: IncomingCall) -> None:
        try:
            offer = SessionDescription.parse(incoming.offer) if incoming.offer else None
            self._open_legs(offer)
            sdp, agreement = self._answer(offer)
        except SdpError as error:
            incoming.reject(400, str(error))
            return
        except OfferError as error:
            incoming.reject(error.status, error.what)
            return
        try:
            call = incoming.answer(sdp.to_bytes())
            await call.confirmed()
        except (CallEndedError, DialogError):
            return
        try:
            agreement = agreement or read_answer(sdp, SessionDescription.parse(call.remote_sdp))
            self._direct(agreement)
        except (SdpError, OfferError, OSError) as error:
            await call.bye(f'SIP;cause=488;text="{_quotable(str(error))}"')
            return
        negotiation = Negotiation(self._local, self._capabilities(), sdp, self._redirect)
        call.on_reinvite(negotiation.offered)
        call.on_answer(negotiation.answered)
        log.info("call", caller=incoming.caller, source=self._source.name)
        end = await self._feed(call)
        log.info("call ended", caller=incoming.caller, by_peer=end.by_peer, reason=end.reason)

    def _open_legs(self, offer: SessionDescription | None) -> None:
        """Sockets for the kinds of media that may come of it."""
        if offer is None or offer.of_kind("video") is not None:
            self._video = self._open_leg(offer, "video")
        if self._source.has_audio and not self._program and (offer is None or offer.of_kind("audio") is not None):
            self._audio = self._open_leg(offer, "audio")

    def _open_leg(self, offer: SessionDescription | None, kind: str) -> Leg:
        """What the caller offers decides what it goes over."""
        media = offer.of_kind(kind) if offer is not None else None
        way = self._station.open_way("udp" if media is None else transport_of(media))
        return Leg(self._station, way, self._keyframe_wanted)

    def _capabilities(self) -> Sequence[Capability]:
        capabilities: list[Capability] = []
        if self._program:
            return [Video(self._video.port, PROGRAM, sends=True)] if self._video is not None else []
        if self._video is not None:
            coding = self._coding
            try:
                codec = learn(coding, self._source.parameter_sets)
            except RtpParseError:
                codec = None  # what nobody can read, nobody is told
            video = Video(self._video.port, coding.name, codec.parameters if codec else {}, sends=True)
            capabilities.append(self._over(self._video, video))
        if self._audio is not None:
            sound = self._source.sound
            aac = Aac(sound.clock_rate, sound.channels, format_fmtp(sound.config.config)) if sound.config else None
            audio = Audio(self._audio.port, (sound.encoding,), sends=True, aac=aac)
            capabilities.append(self._over(self._audio, audio))
        return capabilities

    def _over(self, leg: Leg, media: Capability) -> Capability:
        """What media goes over, and with which keys if it is to be SRTP."""
        return replace(media, transport=leg.transport, setup=self._setup, mux=True, srtp=leg.keys)

    def _answer(self, offer: SessionDescription | None) -> tuple[SessionDescription, Agreement | None]:
        """Our answer and what was agreed, or our own offer and nothing yet (RFC 3264 §4: delayed offer)."""
        if offer is None:
            return make_offer(self._local, self._capabilities()), None
        agreement = answer_offer(offer, self._local, self._capabilities())
        assert agreement.answer is not None
        return agreement.answer, agreement

    def _redirect(self, agreement: Agreement) -> None:
        """Hold, resume, another address (RFC 3264 §8). Raises OfferError."""
        try:
            self._direct(agreement)
        except OSError as error:
            raise OfferError(f"no way to your media address: {error.strerror}") from error
        self._keyframe_wanted()

    def _direct(self, agreement: Agreement) -> None:
        if self._video is not None:
            self._video.direct(agreement.video)
        if self._audio is not None:
            self._audio.direct(agreement.audio)

    def _keyframe_wanted(self) -> None:
        # RFC 5104 §3.5.1.1: a storm of requests must not become a storm of IDRs.
        now = self._station.now()
        if now - self._keyframe_at >= _KEYFRAME_INTERVAL:
            self._keyframe_at = now
            self._source.request_keyframe()

    async def _feed(self, call: Call) -> CallEnd:
        """Send until the call ends; hang up when the peer has gone without a word."""
        over: asyncio.Future[CallEnd] = asyncio.get_running_loop().create_future()
        call.on_end(lambda end: None if over.done() else over.set_result(end))
        media = self._media()
        self._source.attach(media.take)
        refused, in_a_row = 0, 0
        try:
            while not over.done():
                await asyncio.wait([over], timeout=1.0)
                before, refused = refused, self._refused()
                in_a_row = in_a_row + 1 if refused > before else 0
                if not over.done() and (trouble := self._trouble()):
                    log.warning("no way for media; hanging up", why=trouble)
                    await call.bye(f'SIP;cause=503;text="{_quotable(trouble)}"')
                elif not over.done() and (in_a_row >= REFUSALS or self._silent()):
                    log.warning("the peer has gone; hanging up", refused=refused)
                    await call.bye('SIP;cause=408;text="Media timeout"')
                if not over.done() and not media.fits:
                    log.warning("the source is coded otherwise than was agreed on; hanging up")
                    await call.bye(f'SIP;cause=488;text="the camera sends {self._source.coding.name} now"')
        finally:
            self._source.detach(media.take)
        return over.result()

    def _media(self) -> CallMedia:
        if self._program and self._video is not None:
            return ProgramMedia(self._station, self._source, self._coding, self._video)
        return CallMedia(self._station, self._source, self._coding, self._video, self._audio)

    def _legs(self) -> list[Leg]:
        return [leg for leg in (self._video, self._audio) if leg is not None]

    def _trouble(self) -> str:
        return next(filter(None, (leg.trouble for leg in self._legs())), "")

    def _refused(self) -> int:
        return sum(leg.refused for leg in self._legs())

    def _silent(self) -> bool:
        heard = [leg.heard for leg in self._legs() if leg.heard is not None]
        return bool(heard) and self._station.now() - max(heard) > self._peer_silence


def _quotable(text: str) -> str:
    return text.replace("\\", "").replace('"', "'")
