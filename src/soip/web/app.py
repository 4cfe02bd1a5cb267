"""The FastAPI application: routes, errors, and the guard around them."""

from __future__ import annotations

from pathlib import Path

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.types import ASGIApp

from soip.directory.errors import UnavailableError
from soip.web import metrics
from soip.web.api import router
from soip.web.errors import ApiError
from soip.web.files import STATIC, Console
from soip.web.guard import Guard
from soip.web.metrics import Gathering, Traffic
from soip.web.relay import MediaRelay
from soip.web.siprelay import SipRelay
from soip.web.state import State

_log = structlog.get_logger()


def create_app(state: State, relay: MediaRelay, static: Path = STATIC) -> ASGIApp:
    """The whole web role as one ASGI application."""
    # The description is served; pages made of it would need scripts from elsewhere.
    app = FastAPI(title="SoIP", version="1", docs_url=None, redoc_url=None, openapi_url="/api/openapi.json")
    app.state.soip = state
    traffic = Traffic()
    app.state.gathering = Gathering(state.directory, state.overview, traffic, state.metrics_key)
    app.state.client = relay.client
    app.include_router(router)
    app.include_router(metrics.router)
    path = "/media/{instance:str}/{rest:path}"
    app.router.routes.append(Route(path, relay, methods=["GET", "HEAD"]))
    app.router.routes.append(WebSocketRoute(path, relay))
    app.router.routes.append(WebSocketRoute("/sip", SipRelay()))
    app.router.routes.append(Route("/api/{rest:path}", _no_such_address))
    app.router.routes.append(Mount("/", Console(static)))
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(UnavailableError, _directory_away)
    app.add_exception_handler(RequestValidationError, _not_understood)
    app.add_exception_handler(HTTPException, _http_error)
    return Guard(app, traffic)


def _answer(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": code, "message": message}, status, headers)


async def _no_such_address(_request: Request) -> Response:
    return _answer(404, "unknown", "the API has no such address: see /api/openapi.json")


async def _api_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return _answer(error.status, error.code, str(error), dict(error.headers))


async def _directory_away(_request: Request, error: Exception) -> Response:
    _log.warning("directory away", reason=str(error))
    return _answer(503, "directory_away", "the directory does not answer: try again", {"Retry-After": "2"})


async def _not_understood(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # Only where and why: the values may be passwords.
    wrong = "; ".join(f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}" for each in error.errors()[:5])
    return _answer(422, "not_understood", wrong)


async def _http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _answer(error.status_code, "unknown" if error.status_code == 404 else "refused", str(error.detail))
