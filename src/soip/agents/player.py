"""`soip play`: watch or fetch by SIP, like any phone, and keep it as MP4."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from soip.agents.errors import AgentError, PlayError
from soip.agents.interrupts import interrupted
from soip.agents.playercall import EXIT_FAILED, PlayerCall, PlayStats
from soip.agents.playercall import Progress as OnProgress
from soip.agents.recording import Recording
from soip.agents.station import Server, Station, address_of_record
from soip.net.errors import NetError
from soip.net.ua import UserAgent
from soip.sip.digest import Credentials
from soip.sip.errors import SipError
from soip.sip.uri import Uri, join_user, split_user

EXIT_USAGE = 2


@dataclass(frozen=True, slots=True)
class PlayOptions:
    """What `soip play` was asked for.

    `uri`: `sip:cam1@soip.local`. `start` and `stop` (with a time zone) make it playback of what was recorded between
    them; without, it is live. `duration` in seconds of media. `within`: seconds the call may take to be answered.
    `silence`: seconds without a packet after which the player gives up. `rtp`: what media comes over, "udp" or "tcp",
    or "multicast" to ask for that.
    """

    uri: str
    user: str
    password: str = field(repr=False)
    server: Server
    output: Path
    start: datetime | None = None
    stop: datetime | None = None
    duration: float | None = None
    within: float = 15.0
    silence: float = 15.0
    rtp_ports: tuple[int, int] = (30_000, 32_767)
    rtp: str = "udp"


async def play(options: PlayOptions) -> int:
    """Record the call until its end; the exit code: 0, or 1 failed, 2 usage, 3 nothing there, 4 not permitted,
    5 unreachable, 6 no media. Errors are told on standard error.
    """
    console = Console(stderr=True)
    try:
        with interrupted() as stop, progress_line(console, options) as progress:
            stats = await fetch(options, stop, progress)
    except PlayError as error:
        print(f"soip play: {error}", file=sys.stderr)
        return error.exit_code
    except (AgentError, NetError, OSError) as error:
        print(f"soip play: {error}", file=sys.stderr)
        return EXIT_FAILED
    files = ", ".join(map(str, stats.files))
    lost = f", {stats.lost} packets lost" if stats.lost else ""
    summary = f"{files}: {stats.seconds:.1f} s, {stats.frames} frames, {stats.bytes} bytes{lost}{_way(options, stats)}"
    summary += f"; {stats.end}"
    console.print(summary, soft_wrap=True, markup=False, highlight=False)
    return 0


def _way(options: PlayOptions, stats: PlayStats) -> str:
    """By what it came, for who asked for multicast."""
    if options.rtp != "multicast":
        return ""
    return f", by multicast from {stats.group}" if stats.group else ", not by multicast: the server has no group for it"


async def fetch(options: PlayOptions, stop: asyncio.Event, progress: OnProgress) -> PlayStats:
    """`play` without a terminal. Raises PlayError, AgentError, NetError, or OSError for the output file."""
    uri = dialled(options)
    station = Station(options.rtp_ports)
    await station.start(options.server)
    try:
        agent = UserAgent(
            station.endpoint,
            address_of_record(options.user, uri.host),
            Credentials(options.user, options.password),
            station.outbound,
            user_agent="SoIP player",
        )
        await agent.start()
        try:
            call = PlayerCall(
                station,
                agent,
                options.output,
                duration=options.duration,
                silence=options.silence,
                progress=progress,
                transport=options.rtp,
            )
            return await call.run(uri, options.within, stop)
        finally:
            await agent.close()
    finally:
        await station.close()


def dialled(options: PlayOptions) -> Uri:
    """The URI to call: the range goes into the user part, `cam1;start=20261120T100000Z;stop=…`.

    Raises PlayError for a URI without a user, or a range that is none.
    """
    try:
        uri = Uri.parse(options.uri)
        identity, params = split_user(uri.user)
    except SipError as error:
        raise PlayError(f"{options.uri!r} is no SIP address like sip:cam1@soip.local: {error}", EXIT_USAGE) from error
    if not identity or not uri.is_sip:
        raise PlayError(f"{options.uri!r} names no camera; write sip:cam1@soip.local", EXIT_USAGE)
    start, stop = options.start, options.stop
    if start is None and stop is None:
        return uri
    if start is None or stop is None or start >= stop:
        raise PlayError("a range needs --from and a later --to", EXIT_USAGE)
    params |= {"start": _compact(start), "stop": _compact(stop + timedelta(microseconds=999_999))}
    return uri.with_user(join_user(identity, params))


def _compact(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


@contextmanager
def progress_line(console: Console, options: PlayOptions) -> Iterator[OnProgress]:
    """A line that shows how far the recording is, on a terminal only."""
    total = options.duration
    if options.start is not None and options.stop is not None:
        span = (options.stop - options.start).total_seconds()
        total = span if total is None else min(total, span)
    if not console.is_terminal:
        yield lambda recording, lost: None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.fields[detail]}"), console=console, transient=True) as line:
        task = line.add_task(options.uri, total=total, detail="calling …")

        def show(recording: Recording, lost: int) -> None:
            rate = recording.bytes * 8 / recording.seconds / 1000 if recording.seconds > 1 else 0
            detail = f"{recording.seconds:.1f} s  {recording.frames} frames  {rate:.0f} kbit/s  {lost} lost"
            line.update(task, completed=recording.seconds, detail=detail)

        yield show
