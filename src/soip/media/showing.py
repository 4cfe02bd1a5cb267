"""Pictures to one peer in one call, whoever made it: from the ACK until the call, the right or the camera ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial

import structlog

from soip.media.camera import Camera
from soip.media.camerastream import CameraStream
from soip.media.context import Context, numeric
from soip.media.journal import journal
from soip.media.liveview import LiveView
from soip.media.multicast import Channels, Seats
from soip.media.request import RequestError, Wanted
from soip.media.rights import View
from soip.media.stepdown import Stepdown
from soip.net.call import Call
from soip.net.errors import NetError
from soip.net.rtpway import RtpWay
from soip.policy.access import Permission
from soip.rtp.aac import format_fmtp
from soip.rtp.codec import Codec
from soip.rtp.sound import SoundFormat
from soip.sip.dialog import DialogId
from soip.sip.formats import G711, Aac, Audio, Capability, Video
from soip.sip.mediaway import transport_of
from soip.sip.negotiation import Negotiation
from soip.sip.offer import Agreement, Local
from soip.sip.sdes import Srtp
from soip.sip.sdp import SessionDescription

BEGIN_S = 5.0
"""How long a call that is being set up is waited for by who asks for something in it already."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Terms:
    """What was agreed on, and from what: our sockets, what they can do, the description of ours that says so."""

    pairs: list[RtpWay]
    local: Local
    media: Sequence[Capability]
    said: SessionDescription
    agreement: Agreement

    def follow(self, call: Call, apply: Callable[[Agreement], None]) -> None:
        """Let the peer hold, resume and move its media: `apply` is told what was agreed anew."""
        negotiation = Negotiation(self.local, self.media, self.said, apply)
        call.on_reinvite(negotiation.offered)
        call.on_answer(negotiation.answered)


Show = Callable[[Call, Terms], Awaitable[None]]


class Showing:
    """What all calls in which pictures go out have in common."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.channels = Channels(context)
        self._shown: dict[DialogId, Wanted] = {}
        self._awaited: dict[DialogId, asyncio.Event] = {}

    @property
    def calls(self) -> tuple[int, int]:
        """How many calls show live pictures, and how many recorded ones."""
        live = sum(ask.range_us is None for ask in self._shown.values())
        return live, len(self._shown) - live

    def shown_in(self, call: Call) -> Wanted | None:
        """What is shown in a call."""
        return self._shown.get(call.dialog.id)

    async def soon_shown_in(self, call: Call) -> Wanted | None:
        """The same for a request that came with the ACK of the call, or overtook it: the call is about to begin."""
        name = call.dialog.id
        if name not in self._shown:
            begins = self._awaited.setdefault(name, asyncio.Event())
            try:
                with suppress(TimeoutError):
                    async with asyncio.timeout(BEGIN_S):
                        await begins.wait()
            finally:
                self._awaited.pop(name, None)
        return self._shown.get(name)

    async def serve(
        self, call: Call, ask: Wanted, terms: Terms, rights: Iterable[tuple[str, Permission]], show: Show
    ) -> None:
        """`show` until the call ends, or a user's right among `rights` does; the call is over then."""
        journal(self._context, ask.camera, call, terms.pairs[0].port)
        views = [
            View(subject, right, partial(self.end, call, 403, f"the right to {right} has ended"))
            for subject, right in rights
        ]
        name = call.dialog.id
        self._shown[name] = ask
        if name in self._awaited:
            self._awaited[name].set()
        try:
            for view in views:
                await self._context.rights.begin(view)
            await show(call, terms)
        finally:
            del self._shown[name]
            for view in views:
                self._context.rights.finish(view)
            await call.bye('SIP;cause=503;text="media server stops"')

    @asynccontextmanager
    async def held(self, camera: Camera, ask: Wanted, call_id: str = "") -> AsyncIterator[CameraStream]:
        """Hold the stream that is asked for, from when it has pictures: the main one, where the sub-stream has none.
        Raises RequestError.
        """
        for stream in camera.to_show(ask.stream):
            holder = object()
            stream.hold(holder, call_id)
            try:
                if await stream.ready(self._context.patience.ready_s):
                    if stream.stream != ask.stream:
                        _log.info("the main stream is shown", camera=camera.row.id, asked=ask.stream)
                    yield stream
                    return
            finally:
                stream.release(holder)
        raise RequestError(480, camera.problem or "the camera sends no pictures")

    async def live(self, call: Call, terms: Terms, camera: CameraStream, seats: Seats | None = None) -> None:
        """Live pictures, and sound if agreed on, until the call ends or the stream is not to be had any more."""
        view = LiveView(self._context, camera, terms.agreement, terms.pairs, seats)
        terms.follow(call, view.direct)
        step = Stepdown(self._context, camera, view, call.dialog.id.call_id) if isinstance(camera, Camera) else None

        def removed() -> None:
            again, why = camera.parting
            self.end(call, *((503, f"{why}: call again") if again else (404, why)))

        def tick() -> float | None:
            agreed, relay = terms.agreement.video, camera.relay
            heard = view.tick()
            if step is not None:
                step.follow()
            if agreed and relay.begun and relay.codec.encoding != agreed.encoding:
                self.end(call, 488, f"the camera sends {relay.codec.encoding} now: call again")
            return heard

        camera.farewells.add(removed)
        try:
            await self.until_end(call, tick, trouble=lambda: view.trouble)
        finally:
            camera.farewells.discard(removed)
            if step is not None:
                step.close()
            view.close()

    async def until_end(
        self,
        call: Call,
        tick: Callable[[], float | None],
        work: asyncio.Task[None] | None = None,
        trouble: Callable[[], str] = lambda: "",
    ) -> None:
        """Until the call has ended, or `work` is done. Once a second `tick` tells when the viewer was last heard, and
        `trouble` why nothing can be shown any more, which ends the call.
        """
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
            if not over.is_set() and (why := trouble()):
                _log.info("a viewer is hung up", reason=why)
                self.end(call, 503, why)
            if not over.is_set() and self._context.now() - heard >= self._context.patience.keepalive_s:
                asked = self._context.now()
                # No answer, or that there is nobody, ends the call: the viewer went away without a BYE.
                with suppress(NetError):
                    await call.request("OPTIONS")

    def end(self, call: Call, cause: int, why: str) -> None:
        """Hang up, behind the caller's back."""
        task = asyncio.create_task(call.bye(f'SIP;cause={cause};text="{why}"'))
        self._context.tasks.add(task)
        task.add_done_callback(self._context.tasks.discard)


def check(agreement: Agreement) -> None:
    """Media goes to IP addresses. Raises OfferError."""
    for stream in agreement.streams:
        if stream is not None:
            numeric(stream.remote[0])
            numeric(stream.remote_rtcp[0])


def capabilities(
    codec: Codec, sound: SoundFormat | None, pairs: Iterable[RtpWay], keys: Callable[[], Srtp | None], label: str = ""
) -> list[Video | Audio]:
    """What a camera's pictures, and its sound if there is any, may be offered as: sound as it is, or as G.711. `keys`
    gives each part its own; `label` says which of the camera's streams they are, where they are live.
    """
    first, *rest = pairs
    video = Video(first.port, codec.encoding, codec.parameters, sends=True, label=label)
    media: list[Video | Audio] = [replace(video, transport=first.transport, mux=True, srtp=keys())]
    if sound:
        encodings = tuple(dict.fromkeys((sound.encoding, *G711)))
        config = sound.config
        aac = Aac(sound.clock_rate, sound.channels, format_fmtp(config.config)) if config else None
        for pair in rest:
            audio = Audio(pair.port, encodings, sends=True, aac=aac)
            media.append(replace(audio, transport=pair.transport, mux=True, srtp=keys()))
    return media


def transport(offer: SessionDescription | None, kind: str) -> str:
    """What a kind of media is offered over; UDP where nothing is said."""
    media = offer.of_kind(kind) if offer is not None else None
    return "udp" if media is None else transport_of(media)


def offered_keys(context: Context) -> Srtp | None:
    """Keys for an offer of ours to a user's phone: of phones it is not known whether they know SRTP, so they are asked
    to do it only where it is required.
    """
    return context.keys() if context.srtp == "required" else None
