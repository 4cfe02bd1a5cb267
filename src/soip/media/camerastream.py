"""One stream of a camera: the call that brings it, who needs it, and whom it is shown to.

Somebody who needs pictures *holds* the stream: the recorder while the plan says so, each viewer while watching. The
first hold makes the call, `linger_s` after the last one it is hung up. A call that fails or ends is tried again with
back-off, and at once when the camera registers (`poke`) or somebody else wants to see it. Only pictures show that a
camera is well: the back-off of one that answers and hangs up grows like that of one that cannot be reached.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import ClassVar, NamedTuple

import structlog

from soip.directory.errors import UnavailableError
from soip.directory.rows import CameraRow
from soip.media.browser import Browser, Feed
from soip.media.cameracall import CameraCall
from soip.media.context import Context
from soip.media.gaps import Cause
from soip.media.intake import Picture, Sound
from soip.media.relay import Relay
from soip.media.request import MAIN
from soip.media.tally import Tally
from soip.media.telephone import Telephone
from soip.net.backoff import default_jitter
from soip.net.errors import FlowError, NetError, RequestRefusedError
from soip.net.ports import PortsExhaustedError
from soip.sip.errors import OfferError, SipError, TooManyTransactionsError

_UNWILLING = (488, 606)
"""What is answered to an offer that is not to be done (RFC 3261 §21.4.26, §21.6.4)."""
_PRIVATE = ("tls:", "wss:")
"""Flows, in the words of the directory, on which nobody between can read keys."""

_log = structlog.get_logger()


class End(NamedTuple):
    """How a call ended: `fault` when it should not have."""

    reason: str
    fault: bool


class CameraStream:
    """See above. `run` is its one task; everything else is called on the event loop. What begins with an underscore and
    does nothing here is for the stream in particular.
    """

    stream: ClassVar[str] = MAIN
    """Which of the camera's streams it is."""

    def __init__(self, context: Context, row: CameraRow) -> None:
        self.row = row
        self.relay = Relay(self.ask_keyframe)
        self.feed = Feed()
        self.media = "idle"
        self.problem = ""
        """Why there are no pictures, in words for a Warning header and the log."""
        self._tried_us = 0
        """When it was last called, by the system's clock (UTC), as bindings are."""
        self.call: CameraCall | None = None
        self.sounds: set[Callable[[Sound], None]] = set()
        self.telephone = Telephone(self.sounds)
        self.farewells: set[Callable[[], None]] = set()
        """Called when the stream is not to be had here any more; `parting` says why."""
        self.moved = False
        """It is another worker's now: nothing is said of it any more."""
        self.received = self.sent = 0
        """Bytes of pictures so far, and the same for all who watch."""
        self.sharing = 0
        """Viewers that are sent nothing by themselves: others are in their multicast group before them."""
        self.pictures = self.keyframes = 0
        self._earlier = Tally()
        """What was counted of the calls that are over."""
        self._told = (0, 0)
        self._context = context
        self._patience = context.patience
        self._log = _log.bind(camera=row.id)
        self._holders: dict[object, str] = {}
        """Who needs pictures, and by which call (its Call-ID) if by one."""
        self._held = asyncio.Event()
        self._poked = asyncio.Event()
        self._pictures = asyncio.Event()
        self._renew = False
        self._tried = -60.0
        self._in_the_clear = False
        """Whether it is known to have registered by UDP or TCP."""

    # -- who needs it

    def hold(self, holder: object, call_id: str = "") -> None:
        """`holder` needs pictures from now on, for the call `call_id` if it is one. A camera that is not in a call is
        tried now, once a second at most.
        """
        if holder not in self._holders and self.call is None and self._context.now() - self._tried >= 1.0:
            self.problem = ""
            self._poked.set()
        self._holders.setdefault(holder, call_id)
        self._held.set()
        if self.call is not None and self.viewers:
            self.call.rest(False)

    def release(self, holder: object) -> None:
        """`holder` needs none any more."""
        self._holders.pop(holder, None)
        if not self._holders:
            self._held.clear()

    def follow(self, row: CameraRow) -> None:
        """The directory says this of the camera now. With other media (audio), or media another way, it is
        called anew.
        """
        self._renew = self._renew or (row.audio, row.transport) != (self.row.audio, self.row.transport)
        self.row = row

    def poke(self) -> None:
        """The camera has registered: try again now, also when it has forgotten the call it is in."""
        self._poked.set()

    def remove(self) -> None:
        """The directory does not know the camera any more: who watches it is told."""
        for farewell in tuple(self.farewells):
            farewell()

    def leave(self) -> None:
        """The camera is another worker's from now on: who watches it here is told to ask again."""
        self.moved = True
        self.remove()

    @property
    def parting(self) -> tuple[bool, str]:
        """What those are told who watch it when it has gone: whether to ask again, and why."""
        if self.moved:
            return True, "the camera is served elsewhere now"
        return False, "the camera has been removed"

    @property
    def viewers(self) -> int:
        """How many watch it live."""
        return len(self._holders)

    def traffic(self) -> tuple[int, int]:
        """Bytes received and sent since this was last asked."""
        before, self._told = self._told, (self.received, self.sent)
        return self.received - before[0], self.sent - before[1]

    def tally(self) -> Tally:
        """What was counted of it so far; the numbers only grow."""
        total = replace(self._earlier)
        if self.call is not None:
            total.add(self.call.tally())
        total.pictures, total.keyframes = self.pictures, self.keyframes
        total.received, total.sent = self.received, self.sent
        viewers = self.relay.counted
        total.unshown_rtp, total.unshown_browser = viewers.unshown, self.feed.dropped
        total.resent, total.resend_refused = viewers.resent, viewers.refused
        return total

    async def ready(self, within: float) -> bool:
        """Wait until a keyframe has come, and with it what an answer must say; False when the camera does not come.

        Returns as soon as a call to it has failed.
        """
        deadline = self._context.now() + within
        while not self.relay.begun and self._context.now() < deadline and not self.problem:
            self._pictures.clear()
            await _within(0.2, self._pictures)
        return self.relay.begun

    async def watch(self, browser: Browser) -> None:
        """Serve a browser until the task is cancelled."""
        self.hold(browser)
        try:
            if not self.feed.join(browser, self.relay.gop):
                self.ask_keyframe()
            await asyncio.Event().wait()
        finally:
            self.feed.leave(browser)
            self.release(browser)

    # -- the call

    async def run(self) -> None:
        """Until cancelled: be in a call whenever somebody holds the stream."""
        failures = 0
        while True:
            if not self._held.is_set():
                self._tell("idle")
                failures = 0
                await self._idle()
            call = await self._try()
            end = await self._attend(call) if call is not None else None
            if end is not None and not end.fault:
                continue
            failures = 1 if call is not None and call.shown else failures + 1
            await self._pause(self._patience.backoff.delay(failures, default_jitter))

    @property
    def missed_us(self) -> int:
        """Since when it is missing, by the clock that dates registrations: the last picture of its call, else the last
        attempt. A REGISTER that is newer says that it is back; one from before, a refresh for one, says nothing.
        """
        if self.call is None:
            return self._tried_us
        return max(self._tried_us, time.time_ns() // 1000 - int(self.call.silent_s * 1_000_000))

    async def _idle(self) -> None:
        while not self._held.is_set():
            await _within(self._patience.tick_s, self._held)
            self._tick()

    async def _try(self) -> CameraCall | None:
        self._poked.clear()
        self.problem = ""
        self._tried_us = time.time_ns() // 1000
        self._tried = self._context.now()
        self._renew = False
        if not self._is_ours:
            return None
        try:
            async with self._context.calling:
                serves = next(filter(None, self._holders.values()), "")
                call = await self._place(serves)
        except (NetError, SipError, OSError) as error:
            self._failed(error)
            self._log.warning("camera cannot be called", reason=self.problem)
            return None
        self._log.info("camera called", audio=call.sound.encoding if call.sound else "none")
        return call

    async def _place(self, serves: str) -> CameraCall:
        """Call it: by SRTP unless it has registered in the clear, and without where it takes none and need not.

        There is no fallback within one offer (RFC 4568 §5.1). Raises what `CameraCall.place` does.
        """
        place = partial(CameraCall.place, self._context, self.row, self.stream, self._picture, self._sound, serves)
        if not await self._wants_srtp():
            return await place()
        try:
            return await place(secure=True)
        except (OfferError, RequestRefusedError) as error:
            if self._context.srtp == "required" or error.status not in _UNWILLING:
                raise
            self._log.info("the camera takes no SRTP and is called without", reason=str(error))
        return await place()

    async def _wants_srtp(self) -> bool:
        if self._context.srtp == "optional" and self.row.transport != "udp":
            return False  # SRTP goes over UDP here
        if self._context.srtp != "optional":
            return self._context.srtp == "required"
        # One that has just registered is not in the directory yet: then the SIP server refuses, if it is in the clear.
        with suppress(UnavailableError):
            flow = await self._context.directory.calls.registered_over(self.row.device_id, time.time_ns() // 1000)
            self._in_the_clear = flow != "" and not flow.startswith(_PRIVATE)
        return not self._in_the_clear

    async def _attend(self, call: CameraCall) -> End:
        """Serve a call until it is over."""
        self.call = call
        self._poked.clear()
        self._begun(call)
        end = End("the media server stops", fault=False)
        try:
            end = await self._look_after(call)
        finally:
            call.catch_up()
            self._earlier.add(call.tally())
            self.call = None
            self.relay.forget()
            self._over(call)
            if not call.ended.done():
                await call.hang_up(end.reason)
        self._log.info("camera call ended", reason=end.reason)
        if end.fault:
            self._missing(end.reason)
        elif self._held.is_set() and self._is_ours:
            self._unrecorded(Cause.MEDIA_LOST, end.reason)
        return end

    async def _look_after(self, call: CameraCall) -> End:
        """Until the call ends, or should."""
        patience = self._patience
        unheld: float | None = None
        while not call.ended.done():
            await asyncio.wait([call.ended], timeout=patience.tick_s)
            self._tick()
            now = self._context.now()
            unheld = None if self._held.is_set() else unheld or now
            if call.ended.done():
                break
            if trouble := call.trouble:
                return End(trouble, fault=True)
            if self._renew:
                return End("the camera's settings have changed", fault=False)
            if unheld is not None and now - unheld >= patience.linger_s:
                return End("nobody is watching", fault=False)
            if self._poked.is_set() and call.silent_s >= patience.silence_s:
                return End("the camera has registered anew and sends nothing in its old call", fault=False)
            if call.silent_s >= patience.dead_s:
                return End(f"no picture for {patience.dead_s:.0f} s", fault=True)
        return End(call.ended.result() or "the camera hung up", fault=True)

    async def _pause(self, seconds: float) -> None:
        deadline = self._context.now() + seconds
        while self._held.is_set() and not self._poked.is_set() and (left := deadline - self._context.now()) > 0:
            await _within(min(self._patience.tick_s, left), self._poked)
            self._tick()

    def _tick(self) -> None:
        """Once a second, in every state."""
        if not self._is_ours:
            return  # A process that was stopped for a while may have been overtaken: nothing is said before it knows.
        if self.call is not None:
            self._look_at(self.call)
        self._tell(self.media)

    def _look_at(self, call: CameraCall) -> None:
        """Whether the call brings what it should."""
        call.tick()
        call.rest(not self.viewers)
        if call.silent_s >= self._patience.silence_s:
            self.relay.forget()  # A picture so old is not live.
            self._tell("no-media")
            self._unrecorded(Cause.MEDIA_LOST, "the camera is in a call but sends no pictures")
        elif self.relay.begun:
            self._tell(self._well)
        if not self.relay.begun:
            self.ask_keyframe()

    # -- pictures

    @property
    def _is_ours(self) -> bool:
        return not self.moved and self._context.holds(self.row.id)

    def _picture(self, picture: Picture) -> None:
        if not self._is_ours:
            return
        self.pictures += 1
        self.keyframes += picture.unit.keyframe
        self.received += picture.unit.size
        self.sent += picture.unit.size * (self.viewers - self.sharing)
        self._record(picture)
        self.relay.push(picture)
        self.feed.push(picture)
        if picture.unit.damaged:
            self.ask_keyframe()  # RFC 4585 §6.3.1: nothing else ends it, and the next one may be far
        if picture.unit.keyframe:
            self._pictures.set()

    def _sound(self, sound: Sound) -> None:
        for listener in tuple(self.sounds):
            listener(sound)

    def ask_keyframe(self) -> None:
        if self.call is not None:
            self.call.ask_keyframe()

    def restart_clocks(self) -> None:
        """The wall clock was stepped."""
        if self.call is not None:
            self.call.restart_clocks()

    # -- telling

    def _failed(self, error: Exception) -> None:
        """There is no call."""
        self._missing(_explain(error), cause_of(error))

    def _missing(self, problem: str, cause: Cause = Cause.OFFLINE) -> None:
        self.problem = problem
        if self._held.is_set() and self._is_ours:
            self._tell("offline")
            self._unrecorded(cause, problem)

    def _tell(self, media: str) -> None:
        """The state, when it changes and now and then."""
        self.media = media
        self.feed.state(media)

    # -- what a stream does beside

    @property
    def _well(self) -> str:
        """The state while pictures come."""
        return "live"

    def _begun(self, call: CameraCall) -> None:
        """A call is up."""

    def _over(self, call: CameraCall) -> None:
        """It has ended."""

    def _record(self, picture: Picture) -> None:
        """Before anybody else is given it."""

    def _unrecorded(self, cause: Cause, why: str) -> None:
        """Nothing comes."""


def _explain(error: Exception) -> str:
    if isinstance(error, RequestRefusedError) and error.status in (404, 480) and not by_camera(error):
        return "the camera is not registered"
    if isinstance(error, RequestRefusedError) and error.said:
        return f"the call to the camera failed: {error} ({error.said})"
    return f"the call to the camera failed: {error}"


def cause_of(error: Exception) -> Cause:
    """Whose fault it is that there is no call."""
    ours = isinstance(error, PortsExhaustedError | FlowError | OSError | TooManyTransactionsError)
    if isinstance(error, RequestRefusedError):
        ours = error.status // 100 == 5 and not by_camera(error)
    return Cause.SERVER_DOWN if ours else Cause.OFFLINE


def by_camera(error: RequestRefusedError) -> bool:
    """Whether it has refused itself: the SIP server asserts who has answered (RFC 3325 §5); where it asserts nobody, it
    has answered itself.
    """
    return error.response.headers.get("P-Asserted-Identity") is not None


async def _within(seconds: float, event: asyncio.Event) -> None:
    """Wait for something that may not happen."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
