"""Calls from viewers: who may, what they get, and until when.

The proxy has authenticated the caller and asserts who it is; whether that one may is decided here, from the
directory, and again at every change of it. A call is answered when the first picture is known, so that the
answer can say its profile, and pictures flow from the ACK on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

import structlog

from soip.directory.errors import UnavailableError
from soip.media.camera import Camera
from soip.media.context import Context
from soip.media.multicast import Seats
from soip.media.playback import NothingRecordedError, Playback, Programme
from soip.media.request import RequestError, Wanted, wanted
from soip.media.showing import Show, Showing, Terms, capabilities, check, transport
from soip.net.call import Call, IncomingCall
from soip.net.errors import CallEndedError, NetError
from soip.net.ports import PortsExhaustedError
from soip.policy.access import Permission
from soip.rtp.codec import Codec
from soip.rtp.sound import SoundFormat
from soip.sip.errors import OfferError, SipError
from soip.sip.offer import Agreement, Local, answer_offer, make_offer, read_answer
from soip.sip.sdp import SessionDescription, TimeRange
from soip.sip.uri import Uri

_log = structlog.get_logger()


class Calls:
    """Takes every INVITE of the worker: give `take` to the user agent."""

    def __init__(
        self,
        context: Context,
        cameras: Mapping[str, Camera],
        find: Callable[[str], Awaitable[Camera | None]],
        programme: Callable[[str, tuple[int, int]], Awaitable[Programme]],
        showing: Showing,
    ) -> None:
        self._context = context
        self._showing = showing
        self._cameras = cameras
        self._find = find
        self._programme = programme

    async def take(self, incoming: IncomingCall) -> None:
        """Answer or refuse one INVITE, and serve it until it ends."""
        try:
            await self._take(incoming)
        except RequestError as error:
            incoming.reject(error.status, str(error))
        except OfferError as error:
            incoming.reject(error.status, error.what)
        except SipError as error:
            incoming.reject(400, str(error))
        except NothingRecordedError as error:
            incoming.reject(404, str(error))
        except (UnavailableError, PortsExhaustedError) as error:
            _log.warning("viewer refused", reason=str(error))
            incoming.reject(503, str(error), [("Retry-After", "5")])
        except NetError as error:
            _log.info("viewer's call ended early", reason=str(error))
        except OSError as error:
            _log.warning("no way to the viewer's media address", reason=str(error))
            incoming.reject(488, f"no way to your media address: {error.strerror}")

    async def _take(self, incoming: IncomingCall) -> None:
        offer = SessionDescription.parse(incoming.offer) if incoming.offer else None
        ask = self._of_replaced(incoming) or wanted(incoming.user, offer)
        subject = Uri.parse(incoming.caller).user
        camera = self._cameras.get(ask.camera) or await self._find(ask.camera)
        if camera is None:
            raise RequestError(404, f"there is no camera {ask.camera!r}")
        if not await self._context.rights.may(subject, ask.permission):
            raise RequestError(403, f"{subject} may not {ask.permission} here")
        log = _log.bind(camera=ask.camera, viewer=subject)
        if ask.range_us is None:
            await self._live(incoming, offer, ask, camera, subject)
        else:
            await self._playback(incoming, offer, ask, camera, subject)
        log.info("viewer's call ended", what="live" if ask.range_us is None else "playback")

    def _of_replaced(self, incoming: IncomingCall) -> Wanted | None:
        """What the call shows that this one takes the place of, where it was sent to that call's Contact: a phone that
        is handed a call does so (RFC 5589 §7), and the Contact names this worker and no camera.
        """
        if incoming.replaces is None or incoming.user != self._context.instance:
            return None
        return self._showing.shown_in(incoming.replaces)

    async def may_replace(self, incoming: IncomingCall) -> bool:
        """Whether the caller may take over a call of somebody else (RFC 3891 §3): who operates cameras may."""
        try:
            return await self._context.rights.may(Uri.parse(incoming.caller).user, Permission.CONTROL)
        except UnavailableError:
            return False

    # -- live

    async def _live(
        self, incoming: IncomingCall, offer: SessionDescription | None, ask: Wanted, camera: Camera, subject: str
    ) -> None:
        async with self._showing.held(camera, ask, incoming.call_id) as stream:
            seats = self._showing.channels.seats(stream)

            async def show(call: Call, terms: Terms) -> None:
                await self._showing.live(call, terms, stream, seats)

            sound = stream.call.sound if stream.call else None
            try:
                await self._answer(incoming, offer, ask, subject, stream.relay.codec, sound, show, stream.stream, seats)
            finally:
                seats.close()

    # -- playback

    async def _playback(
        self, incoming: IncomingCall, offer: SessionDescription | None, ask: Wanted, camera: Camera, subject: str
    ) -> None:
        assert ask.range_us is not None
        programme = await self._programme(ask.camera, ask.range_us)
        codec, sound = await programme.codec(), await programme.sound()

        async def show(call: Call, terms: Terms) -> None:
            playback = Playback(self._context, programme, terms.agreement, terms.pairs)
            terms.follow(call, playback.direct)
            playing = asyncio.create_task(playback.play())
            try:
                await self._showing.until_end(call, lambda: playback.heard, playing, lambda: playback.trouble)
                if playing.done():
                    await playing
                    await call.bye('SIP;cause=200;text="end of the recording"')
            finally:
                playing.cancel()
                playback.close()

        await self._answer(incoming, offer, ask, subject, codec, sound, show)

    # -- both

    async def _answer(
        self,
        incoming: IncomingCall,
        offer: SessionDescription | None,
        ask: Wanted,
        subject: str,
        codec: Codec,
        sound: SoundFormat | None,
        show: Show,
        label: str = "",
        seats: Seats | None = None,
    ) -> None:
        """Agree on media, send the 200, wait for the ACK, then `show` until the call ends. At its `seats` it may go to
        multicast groups.
        """
        if offer is None and self._context.srtp == "required":
            # The 200 would carry our keys to wherever the INVITE came from.
            raise RequestError(488, "media is SRTP only here: call by TLS, with an offer of RTP/SAVP")
        pairs = [self._context.open_way(transport(offer, "video"))]
        try:
            if sound:
                pairs.append(self._context.open_way(transport(offer, "audio")))
            local = Local(self._context.address, self._context.session_id(), time=_time(ask))
            keys = self._context.keys if offer is not None else lambda: None
            media = capabilities(codec, sound, pairs, keys, label)
            if seats is not None:
                media = [replace(each, groups=seats.group) for each in media]
            if offer is not None:
                agreement = answer_offer(offer, local, media)
                assert agreement.answer is not None
                ours = agreement.answer
                check(agreement)
                call = incoming.answer(ours.to_bytes())
                await call.confirmed()
            else:
                ours = make_offer(local, media)
                call = incoming.answer(ours.to_bytes())
                await call.confirmed()
                agreement = await self._agreed(call, ours)
            _log.info("viewer's call begins", camera=ask.camera, viewer=subject, stream=label or "recorded")
            terms = Terms(pairs, local, media, ours, agreement)
            await self._showing.serve(call, ask, terms, [(subject, ask.permission)], show)
        finally:
            for pair in pairs:
                pair.close()

    async def _agreed(self, call: Call, ours: SessionDescription) -> Agreement:
        """The answer to our offer came in the ACK (RFC 3261 §13.2.1)."""
        try:
            agreement = read_answer(ours, SessionDescription.parse(call.remote_sdp))
            check(agreement)
            return agreement
        except SipError:
            await call.bye('SIP;cause=488;text="no usable answer in the ACK"')
            raise CallEndedError("no usable answer in the ACK") from None


def _time(ask: Wanted) -> TimeRange | None:
    if ask.range_us is None:
        return None
    return TimeRange(ask.range_us[0] // 1_000_000, -(-ask.range_us[1] // 1_000_000))
