"""REFERs: show this camera on that phone (RFC 3515).

An operator sends a REFER to a camera, or inside a call in which one is shown; Refer-To names one of our users. That one
is called through the SIP server, and whoever answers first sees the camera live; the operator is told how it goes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import structlog

from soip.directory.errors import UnavailableError
from soip.media.camera import Camera
from soip.media.camerastream import CameraStream
from soip.media.context import Context
from soip.media.request import RequestError, Wanted, wanted
from soip.media.showing import Showing, Terms, capabilities, check, offered_keys
from soip.net.call import Call
from soip.net.errors import NetError, RequestRefusedError, RequestTimeoutError
from soip.net.referral import Referral
from soip.policy.access import Permission
from soip.sip.errors import DialogError, SipError
from soip.sip.message import Response
from soip.sip.offer import Local, make_offer, read_answer
from soip.sip.sdp import SessionDescription
from soip.sip.uri import Uri

EACH = 4
"""Referrals of one user at a time: being called, or being shown something."""
ALL = 64
"""Referrals at a time."""

_log = structlog.get_logger()


class Referrals:
    """Give `take` to the user agent."""

    def __init__(self, context: Context, find: Callable[[str], Awaitable[Camera | None]], showing: Showing) -> None:
        self._context = context
        self._find = find
        self._showing = showing
        self._running: Counter[str] = Counter()

    async def take(self, referral: Referral) -> None:
        """Answer one REFER, and do what it asks for until the call has ended."""
        user = referral.caller.user
        try:
            camera, ask, target = await self._asked(referral, user)
        except RequestError as error:
            referral.reject(error.status, str(error))
            return
        except SipError as error:
            referral.reject(400, str(error))
            return
        except UnavailableError as error:
            referral.reject(503, str(error), (("Retry-After", "5"),))
            return
        if self._running[user] >= EACH or self._running.total() >= ALL:
            referral.reject(503, f"{user} has begun too many calls already", (("Retry-After", "30"),))
            return
        self._running[user] += 1
        try:
            with suppress(DialogError):  # answered 400
                referral.accept()
                await self._refer(referral, camera, ask, target, user)
        finally:
            self._running[user] -= 1
            self._running += Counter()  # who has none is forgotten

    async def _asked(self, referral: Referral, user: str) -> tuple[Camera, Wanted, str]:
        """The camera, what is wanted of it, and the user that is to be shown it. Raises RequestError, UriError,
        UnavailableError.
        """
        target = _target(referral.target.uri, self._context.domain)
        shown = await self._showing.soon_shown_in(referral.call) if referral.call is not None else None
        ask = shown or wanted(referral.user, None)
        if ask.range_us is not None:
            raise RequestError(603, "only live pictures are shown to somebody else")
        for permission in (Permission.CONTROL, Permission.WATCH):
            if not await self._context.rights.may(user, permission):
                raise RequestError(403, f"{user} may not {permission} here")
        camera = await self._find(ask.camera)
        if camera is None:
            raise RequestError(404, f"there is no camera {ask.camera!r}")
        if not await self._context.rights.may(target, Permission.WATCH):
            raise RequestError(403, f"there is no user {target!r} who may watch here")
        return camera, ask, target

    async def _refer(self, referral: Referral, camera: Camera, ask: Wanted, target: str, user: str) -> None:
        log = _log.bind(camera=camera.row.id, viewer=target, referrer=user)
        try:
            async with self._showing.held(camera, ask) as stream:
                await self._show(referral, stream, ask, target, user)
            log.info("referred call ended")
        except RequestError as error:
            referral.finish(error.status, str(error))
        except RequestRefusedError as error:
            log.info("referred call refused", status=error.status)
            referral.finish(error.status, error.response.reason)
        except RequestTimeoutError:
            referral.finish(408)
        except SipError as error:
            referral.finish(488, str(error))
        except (NetError, OSError) as error:
            log.warning("referred call failed", reason=str(error))
            referral.finish(503)
        finally:
            # Nothing happens where it has been told already how it went.
            referral.finish(503)

    async def _show(self, referral: Referral, camera: CameraStream, ask: Wanted, target: str, user: str) -> None:
        pairs = [self._context.open_way()]
        try:
            sound = camera.call.sound if camera.call else None
            if sound:
                pairs.append(self._context.open_way())
            local = Local(self._context.address, self._context.session_id())
            keys = partial(offered_keys, self._context)
            media = capabilities(camera.relay.codec, sound, pairs, keys, camera.stream)
            ours = make_offer(local, media)
            call = await self._call(referral, camera.row.id, target, ours)
            try:
                agreement = read_answer(ours, SessionDescription.parse(call.remote_sdp))
                check(agreement)
            except SipError:
                await call.bye('SIP;cause=488;text="unusable answer"')
                raise
            referral.finish(200)
            _log.info("referred call begins", camera=camera.row.id, viewer=target, referrer=user)
            rights = [(user, Permission.CONTROL), (target, Permission.WATCH)]
            terms = Terms(pairs, local, media, ours, agreement)
            await self._showing.serve(
                call,
                ask,
                terms,
                rights,
                lambda call, terms: self._showing.live(call, terms, camera),
            )
        finally:
            for pair in pairs:
                pair.close()

    async def _call(self, referral: Referral, camera: str, target: str, ours: SessionDescription) -> Call:
        def progress(response: Response) -> None:
            if response.status > 100:
                referral.tell(response.status, response.reason)

        return await self._context.agent.invite(
            Uri("sip", target, self._context.domain),
            ours.to_bytes(),
            headers=[("Subject", camera)],  # RFC 3261 §20.36: what the phone shows beside the media server's name
            within=self._context.patience.ring_s,
            on_provisional=progress,
        )


def _target(uri: Uri, domain: str) -> str:
    """The user a Refer-To names. Raises RequestError for what we do not call."""
    if uri.scheme != "sip":
        raise RequestError(416, f"{uri.scheme} addresses are not called from here")
    if uri.host.lower() != domain.lower():
        raise RequestError(603, f"only users of {domain} are called")
    if (uri.param("method") or "INVITE") != "INVITE" or uri.headers:
        raise RequestError(603, "a REFER can ask for a plain call only")
    if not uri.user or ";" in uri.user:
        raise RequestError(404, "Refer-To names no user")
    return uri.user
