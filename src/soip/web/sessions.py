"""Sessions: the cookie, and who it belongs to.

The cookie is the session's token and the role it was opened with. That role gives no right (the directory's does, on
each request); it is there so that a session whose user got another role ends, and the page is made anew for it.
"""

from __future__ import annotations

import time
from typing import Annotated
from urllib.parse import urlsplit

import structlog
from fastapi import Depends, Request, Response

from soip.directory.rows import UserRow
from soip.directory.users import SESSION_S
from soip.policy.access import Permission, allowed, permissions
from soip.web.errors import (
    ForeignPageError,
    NotAllowedError,
    NotSignedInError,
    TooManyTriesError,
    WrongPasswordError,
)
from soip.web.models import SessionView, SignIn
from soip.web.state import State, state_of

COOKIE = "soip_session"

_log = structlog.get_logger()


def own_page(request: Request) -> None:
    """Refuses what a page of another site makes a browser send. Raises ForeignPageError.

    SameSite=Strict keeps the cookie from such requests already; this also covers signing in, where there is none yet,
    and another port of the same host, which is the same "site".

    Sec-Fetch-Site is the browser's own word, and knows the address people use where a proxy has replaced Host. Browsers
    send it over HTTPS and to this machine; elsewhere Origin has to fit.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        if site not in {"same-origin", "none"}:
            raise ForeignPageError
        return
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise ForeignPageError


async def signed_in(request: Request, state: Annotated[State, Depends(state_of)]) -> UserRow:
    """The user of the request's session. Raises NotSignedInError."""
    token, role = _cookie(request)
    user = await state.directory.users.session(token) if token else None
    if user is None or not permissions(user.role):
        raise NotSignedInError
    if user.role != role:
        await state.directory.users.close_session(token)
        raise NotSignedInError
    return user


def _cookie(request: Request) -> tuple[str, str]:
    """The session's token, empty without one, and the role it was opened with."""
    token, _, role = request.cookies.get(COOKIE, "").partition(".")
    return token, role


SignedIn = Annotated[UserRow, Depends(signed_in)]


def require(user: UserRow, permission: Permission) -> None:
    """Raises NotAllowedError when the user's role does not carry the permission."""
    if not allowed(user.role, permission):
        raise NotAllowedError(f"your role {user.role!r} does not include {permission.value!r}: ask an administrator")


async def open_session(request: Request, response: Response, body: SignIn, state: State) -> SessionView:
    """Signs in and sets the cookie. Raises TooManyTriesError, WrongPasswordError."""
    source = request.client.host if request.client else ""
    wait = state.attempts.begin(source, body.name, time.monotonic())
    if wait > 0:
        _log.warning("sign-in refused for now", source=source, user=body.name, wait_s=round(wait))
        raise TooManyTriesError(wait)
    user = await state.directory.users.verify(body.name, body.password)
    if user is None or not permissions(user.role):
        _log.warning("sign-in failed", source=source, user=body.name)
        raise WrongPasswordError
    state.attempts.succeeded(source, body.name)
    token = await state.directory.users.open_session(user.id)
    await state.directory.settings.audit(user.id, "session.open", user.id, source)
    secure = request.url.scheme == "https"
    response.set_cookie(
        COOKIE, f"{token}.{user.role}", max_age=SESSION_S, path="/", httponly=True, samesite="strict", secure=secure
    )
    return describe(user)


async def close_session(request: Request, response: Response, state: State) -> None:
    """Ends the session, if there is one, and takes the cookie back."""
    token, _ = _cookie(request)
    if token:
        await state.directory.users.close_session(token)
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")


def describe(user: UserRow) -> SessionView:
    """A session as the console wants to know it."""
    return SessionView(
        user=user.id, role=user.role or "", permissions=sorted(each.value for each in permissions(user.role))
    )
