"""The web role as a process runs it."""

from __future__ import annotations

import os
import socket

import structlog

from soip import asgi, metrics
from soip.config import HostPort, Settings
from soip.directory.directory import Directory
from soip.directory.settings import MEDIA_URL_KEY, SIP_TOKEN_KEY
from soip.web.app import create_app
from soip.web.overview import Overview
from soip.web.relay import MediaRelay
from soip.web.state import State

_log = structlog.get_logger()


async def run(settings: Settings) -> None:
    """Serves the console and the API on `settings.http` until cancelled.

    Raises OSError when the address cannot be listened on, with what to do in its text.
    """
    with listen(settings.http) as listener:
        async with await Directory.open(settings.database_url) as directory, MediaRelay() as relay:
            media_key = await directory.settings.secret(MEDIA_URL_KEY)
            sip_key = await directory.settings.secret(SIP_TOKEN_KEY)
            metrics_key = await directory.settings.secret(metrics.KEY)
            token = metrics.access_token(settings)
            state = State(directory, media_key, Overview(directory), sip_key, settings.domain, token, metrics_key)
            app = create_app(state, relay)
            _log.info("console ready", address=f"http://{_address(listener)}/")
            await asgi.serve(asgi.configure(app), listener)


def listen(address: HostPort) -> socket.socket:
    """A listening socket. Raises OSError that names the address and the option to change it."""
    try:
        return asgi.listen(address.host, address.port)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        text = f"{address} (HTTP): {reason}; end the other program, or choose another address with --http HOST:PORT"
        raise OSError(error.errno, text) from error


def _address(listener: socket.socket) -> HostPort:
    host, port = listener.getsockname()[:2]
    return HostPort(host, port)
