"""What the handlers share: made once by the role, handed to each of them by FastAPI."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from starlette.requests import HTTPConnection

from soip.directory.directory import Directory
from soip.web.attempts import Attempts
from soip.web.overview import Overview


@dataclass(frozen=True, slots=True)
class State:
    """The directory, the keys that sign tokens for media and for SIP, the SIP domain, and what is remembered between
    requests.
    """

    directory: Directory
    media_key: bytes
    overview: Overview
    sip_key: bytes
    domain: str
    metrics_token: str = ""
    """What scrapers show; empty: there is none."""
    metrics_key: bytes = b""
    """What opens the other processes' figures."""
    attempts: Attempts = field(default_factory=Attempts)


def state_of(connection: HTTPConnection) -> State:
    """The state of the app that serves this request."""
    return cast(State, connection.app.state.soip)
