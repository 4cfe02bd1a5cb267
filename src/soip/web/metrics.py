"""`GET /metrics`: the figures of the whole server, so that one address is enough for who scrapes.

The web role asks the SIP server and every media worker at once, each for `WITHIN_S` at most, and joins what they tell
with its own. One that does not answer costs nothing but its figures: `soip_up` says 0 for it. While the directory is
away those are asked that were known last.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import httpx
import structlog
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import PlainTextResponse

from soip import __version__, metrics
from soip.directory.directory import Directory
from soip.directory.errors import UnavailableError
from soip.directory.settings import SIP_HTTP
from soip.metrics import PROCESS, Family, Sample, of_process
from soip.policy.access import Permission
from soip.web.errors import NotSignedInError
from soip.web.overview import Overview
from soip.web.sessions import require, signed_in
from soip.web.state import State, state_of

WITHIN_S = 3.0
"""How long a process may take to answer."""
MOST_BYTES = 64 << 20
"""What one may answer: some hundred times what a worker with a thousand cameras says."""

UP = Family("soip_up", "gauge", "Whether a process of the server answers.", ("process",))
BUILD = Family("soip_build_info", "gauge", "Always 1; the version is in the label.", ("version",))
DIRECTORY = Family("soip_directory_up", "gauge", "Whether the directory answers the web server.")
REQUESTS = Family("soip_web_requests", "counter", "HTTP requests that were answered.", ("method", "status"))
UNDER_WAY = Family("soip_web_requests_in_progress", "gauge", "HTTP requests under way, downloads among them.")
SOCKETS = Family("soip_web_sockets", "gauge", "Open WebSockets: live pictures, and pages that are phones.")
SESSIONS = Family("soip_web_sessions", "gauge", "Sessions of people who have signed in.")

FAMILIES = (UP, BUILD, DIRECTORY, REQUESTS, UNDER_WAY, SOCKETS, SESSIONS, *PROCESS)

_METHODS = frozenset(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])

_log = structlog.get_logger()


class Traffic:
    """What the guard counts."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.under_way = self.sockets = 0

    def answered(self, method: str, status: int) -> None:
        """A request was answered. Methods that nobody knows are one."""
        self.requests[method if method in _METHODS else "other", status] += 1


@dataclass(frozen=True, slots=True)
class _Known:
    """What the directory said last: where processes are asked (None: they are not there), and the sessions."""

    faces: dict[str, str | None]
    sessions: int


class Gathering:
    """Asks all processes; who comes meanwhile is given the same answer."""

    def __init__(self, directory: Directory, overview: Overview, traffic: Traffic, key: bytes) -> None:
        self._directory = directory
        self._overview = overview
        self._traffic = traffic
        self._headers = {"Authorization": f"Bearer {key.hex()}"}
        self._known = _Known({"sip": None}, 0)
        self._asking: asyncio.Task[str] | None = None

    async def text(self, client: httpx.AsyncClient) -> str:
        """The figures of all."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._gather(client))
        return await asyncio.shield(self._asking)

    async def _gather(self, client: httpx.AsyncClient) -> str:
        there = await self._look()
        names = list(self._known.faces)
        texts = await asyncio.gather(*(self._ask(client, self._known.faces[name]) for name in names))
        up = {"web": True} | {name: bool(text) for name, text in zip(names, texts, strict=True)}
        return metrics.merge([await metrics.write(self._own(up, there)), *texts])

    async def _look(self) -> bool:
        """Learn who is there; tell whether the directory does."""
        try:
            async with asyncio.timeout(WITHIN_S):
                seen = await self._overview.get()
                faces: dict[str, str | None] = {"sip": await self._directory.settings.get(SIP_HTTP)}
                faces |= {worker.id: None for worker in seen.group}
                faces |= {name: worker.http for name, worker in seen.workers.items()}
                self._known = _Known(faces, await self._directory.users.sessions())
        except (UnavailableError, TimeoutError):
            return False
        return True

    async def _ask(self, client: httpx.AsyncClient, address: str | None) -> str:
        """What a process tells; nothing when it does not in time."""
        if address is None:
            return ""
        body = bytearray()
        try:
            async with (
                asyncio.timeout(WITHIN_S),
                client.stream("GET", f"http://{address}/metrics", headers=self._headers) as answer,
            ):
                if answer.status_code != 200:
                    return ""
                async for chunk in answer.aiter_bytes():
                    body += chunk
                    if len(body) > MOST_BYTES:
                        return ""
        except (httpx.HTTPError, TimeoutError) as error:
            _log.debug("a process tells no figures", address=address, reason=repr(error))
            return ""
        return body.decode("utf-8", "replace")

    def _own(self, up: dict[str, bool], there: bool) -> Iterator[tuple[Family, list[Sample]]]:
        traffic = self._traffic
        yield UP, [((name,), float(is_up)) for name, is_up in up.items()]
        yield BUILD, [((__version__,), 1.0)]
        yield DIRECTORY, [((), float(there))]
        yield REQUESTS, [((method, str(status)), n) for (method, status), n in sorted(traffic.requests.items())]
        yield UNDER_WAY, [((), traffic.under_way)]
        yield SOCKETS, [((), traffic.sockets)]
        yield SESSIONS, [((), self._known.sessions)]
        yield from of_process("web")


router = APIRouter()


@router.get("/metrics", include_in_schema=False)
async def show(request: Request, state: Annotated[State, Depends(state_of)]) -> Response:
    """The figures, to who shows the token, and to administrators who have signed in."""
    if not metrics.shows(request, state.metrics_token):
        try:
            require(await signed_in(request, state), Permission.ADMINISTER)
        except NotSignedInError:
            return metrics.refused()
    gathering: Gathering = request.app.state.gathering
    client: httpx.AsyncClient = request.app.state.client
    return PlainTextResponse(await gathering.text(client), media_type=metrics.CONTENT_TYPE)
