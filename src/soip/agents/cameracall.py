"""One call to the software camera: negotiate, send until either side ends it, give everything back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from soip.agents.sending import CallMedia, Leg
from soip.agents.source import Source
from soip.agents.station import Station, random_word
from soip.net.call import Call, CallEnd, IncomingCall
from soip.net.errors import CallEndedError
from soip.rtp.h264_sets import build_sprop
from soip.sip.errors import DialogError, OfferError, SdpError
from soip.sip.negotiation import Negotiation
from soip.sip.offer import Agreement, Audio, Capability, Local, Video, answer_offer, make_offer, read_answer
from soip.sip.sdp import SessionDescription

log = structlog.get_logger(__name__)

PEER_SILENCE = 30.0
"""Seconds without RTCP, from a peer that has sent some, after which it counts as gone (RFC 3550 §6.3.5 has five
report intervals)."""
REFUSALS = 5
"""Seconds in a row in which the peer's host said that its media port is closed."""
_KEYFRAME_INTERVAL = 0.5


class CameraCall:
    """Made per INVITE; `await run(incoming)` returns when the call is over."""

    def __init__(self, station: Station, source: Source, peer_silence: float = PEER_SILENCE) -> None:
        self._station = station
        self._source = source
        self._peer_silence = peer_silence
        self._local = Local(station.host, random_word(), name="soip-camera")
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
            self._video = Leg(self._station, self._station.open_pair(), self._keyframe_wanted)
        if self._source.has_audio and (offer is None or offer.of_kind("audio") is not None):
            self._audio = Leg(self._station, self._station.open_pair(), self._keyframe_wanted)

    def _capabilities(self) -> Sequence[Capability]:
        capabilities: list[Capability] = []
        if self._video is not None:
            sets = self._source.parameter_sets
            profile = sets[0][1:4].hex() if sets else ""
            capabilities.append(Video(self._video.port, profile, build_sprop(sets), sends=True, srtp=self._video.keys))
        if self._audio is not None:
            capabilities.append(Audio(self._audio.port, ("PCMU",), sends=True, srtp=self._audio.keys))
        return capabilities

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
        media = CallMedia(self._station, self._video, self._audio)
        self._source.attach(media.take)
        refused, in_a_row = 0, 0
        try:
            while not over.done():
                await asyncio.wait([over], timeout=1.0)
                before, refused = refused, self._refused()
                in_a_row = in_a_row + 1 if refused > before else 0
                if not over.done() and (in_a_row >= REFUSALS or self._silent()):
                    log.warning("the peer has gone; hanging up", refused=refused)
                    await call.bye('SIP;cause=408;text="Media timeout"')
        finally:
            self._source.detach(media.take)
        return over.result()

    def _legs(self) -> list[Leg]:
        return [leg for leg in (self._video, self._audio) if leg is not None]

    def _refused(self) -> int:
        return sum(leg.refused for leg in self._legs())

    def _silent(self) -> bool:
        heard = [leg.heard for leg in self._legs() if leg.heard is not None]
        return bool(heard) and self._station.now() - max(heard) > self._peer_silence


def _quotable(text: str) -> str:
    return text.replace("\\", "").replace('"', "'")
