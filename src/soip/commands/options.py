"""The options several commands have, so that they are the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DataOption = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Data directory (default: $SOIP_DATA, or ./run).", show_default=False),
]
HttpOption = Annotated[
    str | None,
    typer.Option("--http", metavar="HOST:PORT", help="Console and API (default: 127.0.0.1:8080).", show_default=False),
]
SipOption = Annotated[
    str | None,
    typer.Option(
        "--sip",
        metavar="HOST:PORT",
        help="SIP over UDP and TCP (default: 127.0.0.1:5060).",
        show_default=False,
    ),
]
SipTlsOption = Annotated[
    str | None,
    typer.Option("--sip-tls", metavar="HOST:PORT", help="SIP over TLS (default: off).", show_default=False),
]
DomainOption = Annotated[
    str | None,
    typer.Option("--domain", metavar="NAME", help="SIP domain (default: soip.local).", show_default=False),
]
RtpPortsOption = Annotated[
    str | None,
    typer.Option("--rtp-ports", metavar="A-B", help="UDP ports for media (default: 20000-29999).", show_default=False),
]
MediaWorkersOption = Annotated[
    int | None,
    typer.Option("--media-workers", metavar="N", help="Media processes (default: cores - 1).", show_default=False),
]
MediaOption = Annotated[
    list[str] | None,
    typer.Option(
        "--media",
        metavar="DIR",
        help="Folder for recordings, on a disk of its own; again for each disk (default: media in --data).",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PasswordOption = Annotated[
    str, typer.Option("--password", metavar="P", envvar="SOIP_PASSWORD", help="Password.", show_default=False)
]
