"""Calls from viewers: who may, what they get, and until when.

The proxy has authenticated the caller and asserts who it is; whether that one may is decided here, from the
directory, and again at every change of it. A call is answered when the first picture is known, so that the
answer can say its profile, and pictures flow from the ACK on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress

import structlog

from soip.directory.errors import UnavailableError
from soip.media.camera import Camera
from soip.media.context import Context, numeric
from soip.media.intake import Codec
from soip.media.journal import journal
from soip.media.liveview import LiveView
from soip.media.playback import NothingRecordedError, Playback, Programme
from soip.media.request import RequestError, Wanted, wanted
from soip.media.rights import View
from soip.net.call import Call, IncomingCall
from soip.net.errors import CallEndedError, NetError
from soip.net.ports import PortsExhaustedError
from soip.net.rtp import RtpSocketPair
from soip.rtp.h264_sets import build_sprop
from soip.sip.errors import OfferError, SipError
from soip.sip.offer import Agreement, Audio, Local, Video, answer_offer, make_offer, read_answer
from soip.sip.sdp import SessionDescription, TimeRange
from soip.sip.uri import Uri

Show = Callable[[Call, Agreement, list[RtpSocketPair]], Awaitable[None]]

_log = structlog.get_logger()


class Calls:
    """Takes every INVITE of the worker: give `take` to the user agent."""

    def __init__(
        self,
        context: Context,
        cameras: Mapping[str, Camera],
        find: Callable[[str], Awaitable[Camera | None]],
        programme: Callable[[str, tuple[int, int]], Awaitable[Programme]],
    ) -> None:
        self._context = context
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
        ask = wanted(incoming.user, offer)
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

    # -- live

    async def _live(
        self, incoming: IncomingCall, offer: SessionDescription | None, ask: Wanted, camera: Camera, subject: str
    ) -> None:
        holder = object()
        camera.hold(holder, incoming.call_id)
        try:
            if not await camera.ready(self._context.patience.ready_s):
                raise RequestError(480, camera.problem or "the camera sends no pictures")

            async def show(call: Call, agreement: Agreement, pairs: list[RtpSocketPair]) -> None:
                view = LiveView(self._context, camera, agreement, pairs)

                def removed() -> None:
                    if camera.moved:
                        self._end(call, 503, "the camera is served elsewhere now: call again")
                    else:
                        self._end(call, 404, "the camera has been removed")

                camera.farewells.add(removed)
                try:
                    await self._until_end(call, view.tick)
                finally:
                    camera.farewells.discard(removed)
                    view.close()

            sound = camera.call.audio_encoding if camera.call else None
            await self._answer(incoming, offer, ask, subject, camera.relay.codec, sound, show)
        finally:
            camera.release(holder)

    # -- playback

    async def _playback(
        self, incoming: IncomingCall, offer: SessionDescription | None, ask: Wanted, camera: Camera, subject: str
    ) -> None:
        assert ask.range_us is not None
        programme = await self._programme(ask.camera, ask.range_us)
        codec = await programme.codec()

        async def show(call: Call, agreement: Agreement, pairs: list[RtpSocketPair]) -> None:
            playback = Playback(self._context, programme, agreement, pairs)
            playing = asyncio.create_task(playback.play())
            try:
                await self._until_end(call, lambda: playback.heard, playing)
                if playing.done():
                    await playing
                    await call.bye('SIP;cause=200;text="end of the recording"')
            finally:
                playing.cancel()
                playback.close()

        await self._answer(incoming, offer, ask, subject, codec, None, show)

    # -- both

    async def _answer(
        self,
        incoming: IncomingCall,
        offer: SessionDescription | None,
        ask: Wanted,
        subject: str,
        codec: Codec,
        sound: str | None,
        show: Show,
    ) -> None:
        """Agree on media, send the 200, wait for the ACK, then `show` until the call ends."""
        pairs = [self._context.open_pair()]
        try:
            if sound:
                pairs.append(self._context.open_pair())
            local = Local(self._context.address, self._context.session_id(), time=_time(ask))
            media = _capabilities(codec, sound, pairs)
            if offer is not None:
                agreement = answer_offer(offer, local, media)
                assert agreement.answer is not None
                _check(agreement)
                call = incoming.answer(agreement.answer.to_bytes())
                await call.confirmed()
            else:
                ours = make_offer(local, media)
                call = incoming.answer(ours.to_bytes())
                await call.confirmed()
                agreement = await self._agreed(call, ours)
            journal(self._context, ask.camera, call, pairs[0].port)
            view = View(subject, ask.permission, lambda: self._end(call, 403, "the right to watch has ended"))
            _log.info("viewer's call begins", camera=ask.camera, viewer=subject)
            try:
                await self._context.rights.begin(view)
                await show(call, agreement, pairs)
            finally:
                self._context.rights.finish(view)
                await call.bye('SIP;cause=503;text="media server stops"')
        finally:
            for pair in pairs:
                pair.close()

    async def _agreed(self, call: Call, ours: SessionDescription) -> Agreement:
        """The answer to our offer came in the ACK (RFC 3261 §13.2.1)."""
        try:
            agreement = read_answer(ours, SessionDescription.parse(call.remote_sdp))
            _check(agreement)
            return agreement
        except SipError:
            await call.bye('SIP;cause=488;text="no usable answer in the ACK"')
            raise CallEndedError("no usable answer in the ACK") from None

    async def _until_end(
        self, call: Call, tick: Callable[[], float | None], work: asyncio.Task[None] | None = None
    ) -> None:
        """Until the call has ended, or `work` is done. Once a second `tick` tells when the viewer was last heard."""
        over = asyncio.Event()
        call.on_end(lambda _end: over.set())
        if work is not None:
            work.add_done_callback(lambda _work: over.set())
        asked = self._context.now()
        while not over.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._context.patience.tick_s):
                    await over.wait()
            heard = max(tick() or 0.0, asked)
            if not over.is_set() and self._context.now() - heard >= self._context.patience.keepalive_s:
                asked = self._context.now()
                # No answer, or that there is nobody, ends the call: the viewer went away without a BYE.
                with suppress(NetError):
                    await call.request("OPTIONS")

    def _end(self, call: Call, cause: int, why: str) -> None:
        task = asyncio.create_task(call.bye(f'SIP;cause={cause};text="{why}"'))
        self._context.tasks.add(task)
        task.add_done_callback(self._context.tasks.discard)


def _check(agreement: Agreement) -> None:
    """Media goes to IP addresses. Raises OfferError."""
    for stream in agreement.streams:
        if stream is not None:
            numeric(stream.remote[0])
            numeric(stream.remote_rtcp[0])


def _capabilities(codec: Codec, sound: str | None, pairs: Iterable[RtpSocketPair]) -> list[Video | Audio]:
    first, *rest = pairs
    media: list[Video | Audio] = [Video(first.port, codec.info.profile_level_id, build_sprop(codec.sets), sends=True)]
    if sound:
        media += [Audio(pair.port, (sound,), sends=True) for pair in rest]
    return media


def _time(ask: Wanted) -> TimeRange | None:
    if ask.range_us is None:
        return None
    return TimeRange(ask.range_us[0] // 1_000_000, -(-ask.range_us[1] // 1_000_000))
