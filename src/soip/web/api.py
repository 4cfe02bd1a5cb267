"""The JSON API under /api. Its bodies are in `models.py`, its errors in `errors.py`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request, Response, status
from fastapi.responses import RedirectResponse

from soip.directory.errors import InvalidValueError, NotFoundError
from soip.directory.rows import HoldRow, RecordingRow, UserRow
from soip.policy import mediaurl, siptoken
from soip.policy.access import ACTIONS, Permission
from soip.web import calls, sessions
from soip.web.errors import BadRangeError, NoMediaServerError, UnknownError
from soip.web.models import (
    CallView,
    CameraView,
    DamageView,
    ErrorView,
    EventsView,
    EventView,
    GapView,
    GrantRequest,
    GrantView,
    HealthView,
    HoldRequest,
    HoldView,
    LadderView,
    RecordingView,
    SessionView,
    SignIn,
    SipTokenView,
    TimelineView,
    WorkerView,
)
from soip.web.sessions import SignedIn, own_page, require
from soip.web.state import State, state_of
from soip.web.times import parse, parse_range, render

_MOST_ROWS = 20_000
_MOST_EVENTS = 1_000
_MOST_CALLS = 1000

Shared = Annotated[State, Depends(state_of)]

router = APIRouter(
    prefix="/api",
    responses={code: {"model": ErrorView} for code in (400, 401, 403, 404, 413, 422, 429, 503)},
)


@router.get("/health")
async def health(state: Shared) -> HealthView:
    """Answers 200 when the directory does, for load balancers and people; needs no session."""
    await state.directory.settings.version()
    return HealthView(status="ok", media_workers=len((await state.overview.get()).workers))


@router.post("/session", dependencies=[Depends(own_page)])
async def sign_in(request: Request, response: Response, body: SignIn, state: Shared) -> SessionView:
    """Signs in: the answer carries the session's cookie."""
    return await sessions.open_session(request, response, body, state)


@router.get("/session")
async def session(user: SignedIn) -> SessionView:
    """Who is signed in."""
    return sessions.describe(user)


@router.delete("/session", status_code=status.HTTP_204_NO_CONTENT, dependencies=[Depends(own_page)])
async def sign_out(request: Request, response: Response, state: Shared) -> None:
    """Ends the session."""
    await sessions.close_session(request, response, state)


@router.get("/cameras")
async def cameras(user: SignedIn, state: Shared) -> list[CameraView]:
    """All cameras with their states, by id."""
    require(user, Permission.WATCH)
    return list((await state.overview.get()).cameras.values())


@router.get("/media-workers")
async def media_workers(user: SignedIn, state: Shared) -> list[WorkerView]:
    """The media workers, and what each carries."""
    require(user, Permission.WATCH)
    return list((await state.overview.get()).group)


@router.get("/cameras/{camera}/timeline")
async def timeline(
    camera: str,
    user: SignedIn,
    state: Shared,
    start: Annotated[str, Query(alias="from", max_length=64)],
    end: Annotated[str, Query(alias="to", max_length=64)],
) -> TimelineView:
    """What of a range is recorded, and why the rest is not."""
    require(user, Permission.PLAYBACK)
    from_us, to_us = parse_range(start, end)
    await _camera(state, camera)
    catalog = state.directory.catalog
    recordings = await catalog.recordings(camera, from_us, to_us, limit=_MOST_ROWS)
    gaps = await catalog.gaps(camera, from_us, to_us, limit=_MOST_ROWS)
    return TimelineView(
        camera=camera,
        start=render(from_us),
        end=render(to_us),
        now=render(time.time_ns() // 1000),
        recordings=[
            RecordingView(start=render(row.start_us), end=render(row.end_us), sealed=row.sealed) for row in recordings
        ],
        gaps=[GapView(start=render(row.start_us), end=render(row.end_us), cause=row.cause) for row in gaps],
        damage=[one for row in recordings for one in _damage(row, from_us, to_us)],
    )


@router.get("/holds")
async def holds(
    user: SignedIn,
    state: Shared,
    camera: Annotated[str, Query(max_length=64)] = "",
    released: bool = False,
) -> list[HoldView]:
    """What is held, of one camera or of all; with `released` also what was."""
    require(user, Permission.EXPORT)
    return [_hold(row) for row in await state.directory.holds.all(camera, released=released)]


@router.post("/cameras/{camera}/holds", status_code=status.HTTP_201_CREATED, dependencies=[Depends(own_page)])
async def add_hold(camera: str, body: HoldRequest, user: SignedIn, state: Shared) -> HoldView:
    """Keeps what is recorded of a camera in a range, until the hold is released."""
    require(user, Permission.EXPORT)
    start_us, end_us = parse(body.start, "from"), parse(body.end, "to")
    try:
        row = await state.directory.holds.add(
            camera, start_us, end_us, reason=body.reason, by=user.id, reference=body.reference
        )
    except InvalidValueError as error:
        raise BadRangeError(str(error)) from error
    except NotFoundError as error:
        raise UnknownError(str(error)) from error
    await state.directory.settings.audit(user.id, "hold.add", camera, row.id)
    return _hold(row)


@router.delete("/holds/{hold}", dependencies=[Depends(own_page)])
async def release(hold: str, user: SignedIn, state: Shared) -> HoldView:
    """Ends a hold: what it kept may expire."""
    require(user, Permission.ADMINISTER)
    try:
        row = await state.directory.holds.release(hold)
    except NotFoundError as error:
        raise UnknownError(str(error)) from error
    await state.directory.settings.audit(user.id, "hold.release", row.camera_id, row.id)
    return _hold(row)


@router.get("/cameras/{camera}/events")
async def events(
    camera: str,
    user: SignedIn,
    state: Shared,
    start: Annotated[str, Query(alias="from", max_length=64)],
    end: Annotated[str, Query(alias="to", max_length=64)],
) -> EventsView:
    """What happened at a camera in a range: the first so many, by time."""
    require(user, Permission.PLAYBACK)
    from_us, to_us = parse_range(start, end)
    await _camera(state, camera)
    rows = await state.directory.events.of_camera(camera, from_us, to_us, limit=_MOST_EVENTS + 1)
    return EventsView(
        camera=camera,
        start=render(from_us),
        end=render(to_us),
        events=[
            EventView(
                id=row.id,
                kind=row.kind,
                time=render(row.start_us),
                priority=row.priority,
                method=row.method,
                detail=row.detail,
                handed_over=row.handed_us is not None,
            )
            for row in rows[:_MOST_EVENTS]
        ],
        complete=len(rows) <= _MOST_EVENTS,
    )


@router.post("/cameras/{camera}/grants", dependencies=[Depends(own_page)])
async def grant(camera: str, body: GrantRequest, user: SignedIn, state: Shared) -> GrantView:
    """A short-lived token for a camera's media, and the path of the worker that serves them."""
    return await _issue(camera, body.action, user, state)


@router.get("/cameras/{camera}/snapshot.{kind}", status_code=status.HTTP_307_TEMPORARY_REDIRECT)
async def snapshot(
    camera: str,
    kind: Literal["jpg", "bmp"],
    user: SignedIn,
    state: Shared,
    width: Annotated[int, Query(ge=0, le=8192)] = 0,
    height: Annotated[int, Query(ge=0, le=8192)] = 0,
) -> RedirectResponse:
    """Where the camera's newest picture is, as large as it comes or within `width` and `height`."""
    issued = await _issue(camera, "live", user, state)
    query = urlencode({"width": width, "height": height, "token": issued.token})
    return RedirectResponse(f"{issued.url}/snapshot/{camera}.{kind}?{query}")


@router.post("/sip-token", dependencies=[Depends(own_page)])
async def sip_token(user: SignedIn, state: Shared) -> SipTokenView:
    """A short-lived token with which the user's page registers and calls by SIP, over the WebSocket at `url`."""
    expires = time.time() + siptoken.LIFETIME_S
    return SipTokenView(
        uri=f"sip:{user.id}@{state.domain}",
        url="/sip",
        token=siptoken.issue(state.sip_key, user.id, expires),
        expires=render(int(expires * 1_000_000)),
        lifetime=siptoken.LIFETIME_S,
    )


@router.get("/calls")
async def last_calls(
    user: SignedIn,
    state: Shared,
    party: Annotated[str, Query(max_length=64)] = "",
    limit: Annotated[int, Query(ge=1, le=_MOST_CALLS)] = 100,
) -> list[CallView]:
    """The last calls, newest first; with `party` those this id made or was to answer."""
    require(user, Permission.DIAGNOSE)
    return [calls.summary(row) for row in await state.directory.traces.last(party=party, limit=limit)]


@router.get("/calls/{call}")
async def one_call(call: str, user: SignedIn, state: Shared) -> LadderView:
    """A call, message by message, with the calls that belong to it."""
    require(user, Permission.DIAGNOSE)
    found = calls.ladder(call, await state.directory.traces.call(call))
    if found is None:
        raise UnknownError(f"there is no call {call[:64]!r}: only the last 1000 are kept")
    return found


def _hold(row: HoldRow) -> HoldView:
    return HoldView(
        id=row.id,
        camera=row.camera_id,
        start=render(row.start_us),
        end=render(row.end_us),
        reason=row.reason,
        reference=row.reference,
        by=row.created_by,
        created=render(row.created_us),
        released=None if row.released_us is None else render(row.released_us),
    )


async def _issue(camera: str, action: str, user: UserRow, state: State) -> GrantView:
    require(user, ACTIONS[action])
    await _camera(state, camera)
    seen = await state.overview.get()
    home = seen.homes.get(camera)
    instance = home if home in seen.reach else None
    if instance is None and action not in ("live", "sub"):
        # Every worker of this machine reads all recordings of it, also those of one that is no more.
        instance = min(seen.reach, default=None)
    if instance is None:
        raise NoMediaServerError
    expires = time.time() + mediaurl.LIFETIME_S
    token = mediaurl.issue(state.media_key, user.id, camera, action, expires)
    return GrantView(
        url=f"/media/{instance}",
        token=token,
        expires=render(int(expires * 1_000_000)),
        lifetime=mediaurl.LIFETIME_S,
    )


async def _camera(state: State, camera: str) -> CameraView:
    found = (await state.overview.get()).cameras.get(camera)
    if found is None:
        raise UnknownError(f"there is no camera {camera[:64]!r}")
    return found


def _damage(row: RecordingRow, from_us: int, to_us: int) -> Iterator[DamageView]:
    """The damaged stretches of a file that touch a range."""
    for start_us, end_us, pictures, packets in json.loads(row.damage):
        if start_us < to_us and end_us >= from_us:
            yield DamageView(start=render(start_us), end=render(end_us), pictures=pictures, packets=packets)
