"""`soip simulate` and `soip play`: a software camera and a player, peers of the platform like any bought one."""

from __future__ import annotations

import asyncio
import re
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from soip.commands.options import PasswordOption
from soip.commands.terminal import check_output, parse_moment, settings_for

if TYPE_CHECKING:
    from soip.agents.station import Server

ServerOption = Annotated[
    str,
    typer.Option(
        "--server",
        metavar="HOST:PORT|DOMAIN",
        help="The SIP server, or a domain whose server the DNS knows.",
        show_default=False,
    ),
]

_DOMAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*(?:\.[A-Za-z0-9-]+)*")


class Container(StrEnum):
    """How pictures and sound travel."""

    RTP = "rtp"
    PS = "ps"


class PatternCodec(StrEnum):
    """How the pattern is coded."""

    H264 = "h264"
    H265 = "h265"


class Transport(StrEnum):
    """How SIP travels."""

    UDP = "udp"
    TCP = "tcp"
    TLS = "tls"


class Spoken(StrEnum):
    """What a software camera's sound is coded with."""

    PCMU = "pcmu"
    PCMA = "pcma"
    AAC = "aac"
    OPUS = "opus"


class Rtp(StrEnum):
    """What media comes over."""

    UDP = "udp"
    TCP = "tcp"
    MULTICAST = "multicast"


class TcpSetup(StrEnum):
    """Which part a camera takes over TCP (RFC 4145)."""

    ACTIVE = "active"
    PASSIVE = "passive"


TransportOption = Annotated[Transport, typer.Option("--transport", help="How SIP travels.")]
TlsCaOption = Annotated[
    Path | None,
    typer.Option(
        "--tls-ca", metavar="FILE", help="With tls: the CA of the server (default: those this machine trusts)."
    ),
]
SrtpOption = Annotated[
    bool, typer.Option("--srtp", help="With tls: encrypt pictures and sound, and take nothing else.")
]


def simulate(
    identity: Annotated[
        str, typer.Option("--id", metavar="ID", help="The camera's SIP user name.", show_default=False)
    ],
    password: PasswordOption,
    server: ServerOption,
    domain: Annotated[str, typer.Option("--domain", metavar="NAME", help="SIP domain.", show_default=False)],
    source: Annotated[
        str, typer.Option("--source", metavar="pattern|FILE|rtsp://…", help="What it shows.")
    ] = "pattern",
    codec: Annotated[
        PatternCodec, typer.Option("--codec", help="How the pattern is coded; other sources are sent as they are.")
    ] = PatternCodec.H264,
    count: Annotated[int, typer.Option("--count", metavar="N", min=1, max=10_000, help="N cameras: ID-1 … ID-N.")] = 1,
    alarm_every: Annotated[
        float, typer.Option("--alarm-every", metavar="SECONDS", min=0.0, help="Raise an alarm so often; 0: never.")
    ] = 0.0,
    audio: Annotated[Spoken, typer.Option("--audio", help="What its sound is coded with.")] = Spoken.PCMU,
    container: Annotated[
        Container, typer.Option("--container", help="Pictures and sound each by RTP, or both in one program stream.")
    ] = Container.RTP,
    tcp_setup: Annotated[
        TcpSetup, typer.Option("--tcp-setup", help="Where media is wanted over TCP: connect, or be connected to.")
    ] = TcpSetup.ACTIVE,
    sub: Annotated[bool, typer.Option("--sub/--no-sub", help="Whether the pattern has a sub-stream.")] = True,
    transport: TransportOption = Transport.UDP,
    tls_ca: TlsCaOption = None,
    srtp: SrtpOption = False,
) -> None:
    """Be a camera: register, answer calls, send H.264 or H.265, and sound."""
    if container is Container.PS and audio is Spoken.OPUS:
        raise typer.BadParameter("a program stream has no Opus", param_hint="--audio")
    at = _server(server, transport, tls_ca, srtp)
    from soip import logs
    from soip.agents.camera import SimulateOptions
    from soip.agents.camera import simulate as run
    from soip.process import raise_file_limit

    logs.configure(settings_for(), "simulate")
    raise_file_limit()
    options = SimulateOptions(
        identity,
        password,
        at,
        domain,
        source=source,
        count=count,
        codec=codec.name,
        alarm_every=alarm_every,
        audio=audio.value,
        program=container is Container.PS,
        tcp_setup=tcp_setup.value,
        sub=sub,
    )
    raise typer.Exit(asyncio.run(run(options)))


def play(
    uri: Annotated[str, typer.Argument(metavar="sip:ID@DOMAIN", help="The camera's SIP address.")],
    user: Annotated[str, typer.Option("--user", metavar="U", help="Your SIP user name.", show_default=False)],
    password: PasswordOption,
    server: ServerOption,
    output: Annotated[
        Path, typer.Option("--output", metavar="FILE.mp4", help="Where the film goes.", show_default=False)
    ],
    start: Annotated[
        str | None, typer.Option("--from", metavar="T", help="Play back from this time (RFC 3339).")
    ] = None,
    stop: Annotated[str | None, typer.Option("--to", metavar="T", help="… to this one.")] = None,
    duration: Annotated[
        float | None, typer.Option("--duration", metavar="SECONDS", min=0.1, help="Stop after so much film.")
    ] = None,
    rtp: Annotated[
        Rtp,
        typer.Option(
            "--rtp", help="What media comes over; tcp where datagrams do not arrive, multicast where many watch."
        ),
    ] = Rtp.UDP,
    transport: TransportOption = Transport.UDP,
    tls_ca: TlsCaOption = None,
    srtp: SrtpOption = False,
) -> None:
    """Watch a camera, live or recorded, into a file."""
    if srtp and rtp is Rtp.MULTICAST:
        raise typer.BadParameter("what goes to a group is not encrypted: use it without --srtp", param_hint="--rtp")
    at = _server(server, transport, tls_ca, srtp)
    check_output(output)
    from soip import logs
    from soip.agents.player import PlayOptions
    from soip.agents.player import play as run

    logs.configure(settings_for(), "play")
    options = PlayOptions(
        uri,
        user,
        password,
        at,
        output,
        start=_moment(start),
        stop=_moment(stop),
        duration=duration,
        rtp=rtp.value,
    )
    raise typer.Exit(asyncio.run(run(options)))


def _moment(value: str | None) -> datetime | None:
    return None if value is None else parse_moment(value)


def _server(value: str, transport: Transport, tls_ca: Path | None, srtp: bool) -> Server:
    from soip.agents.station import Server
    from soip.config import HostPort

    try:
        # Without a port it is looked up (RFC 3263 §4.2).
        address = HostPort(value, 0) if _DOMAIN.fullmatch(value) else HostPort.parse(value)
    except ValueError as error:
        raise typer.BadParameter(f"{error}, nor a domain", param_hint="--server") from error
    if srtp and transport is not Transport.TLS:
        raise typer.BadParameter("its keys go by TLS only: use it with --transport tls", param_hint="--srtp")
    return Server(address.host, address.port, transport.value, tls_ca, srtp)
