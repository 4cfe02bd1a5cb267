"""The supervisor: keeps the processes of one machine running, and ends them all.

It opens no socket and no database itself, so nothing that happens to a child can happen to it. A child that
ends is started again after a pause that doubles from `first_pause_s` to `longest_pause_s`, and starts from
the beginning once the child has run for `stable_s`. A child that says it cannot start at all (see
`process.py`), and never ran before, ends everything: an operator at a terminal has to see that, not a log
full of restarts.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic

import structlog

from soip.config import Settings
from soip.lifeline import EXIT_CANNOT_START, VARIABLE, StartError
from soip.process import check_free

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Child:
    """A process to keep: `python <arguments>`. Those with a higher `stage` end first."""

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    stage: int = 1


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the supervisor waits for what, in seconds."""

    first_pause_s: float = 0.25
    longest_pause_s: float = 10.0
    stable_s: float = 20.0
    # A media worker says goodbye to cameras, viewers and the SIP server (2 s each at most), and then waits for its disk
    # (`media.archive.CLOSE_S`).
    grace_s: float = 30.0
    again_s: float = 1.0


def command(*arguments: str) -> tuple[str, ...]:
    """The arguments of a `Child` that is a command of `soip`."""
    return ("-m", "soip", *arguments)


def roles(settings: Settings) -> list[Child]:
    """The processes of `soip serve`. The SIP server ends last: until then media servers can say goodbye."""
    environment = settings.environment()
    media = [
        Child(f"media-{worker}", command("media", "--worker", str(worker)), environment, stage=2)
        for worker in range(settings.media_workers)
    ]
    sip = Child("sip", command("sip"), environment, stage=0)
    return [sip, Child("web", command("web"), environment, stage=2), *media]


def check(settings: Settings) -> None:
    """Raises StartError, in one line, for what every start with these settings would fail at."""
    for option, address in (("--http", settings.http), ("--sip", settings.sip)):
        if address.port == 0:
            raise StartError(f"the server needs a fixed address: give {option} a port other than 0")
    try:
        settings.worker_ports(0)
    except ValueError as error:
        raise StartError(f"{error}: choose a wider range with --rtp-ports A-B") from error
    try:
        settings.worker_groups(0)
    except ValueError as error:
        raise StartError(f"{error}: choose a wider range as multicast_groups") from error
    check_free(settings.http, "--http")
    check_free(settings.sip, "--sip", ("UDP", "TCP"))
    if settings.sip_tls is not None:
        check_free(settings.sip_tls, "--sip-tls")


class Supervisor:
    """Keeps children running: `await Supervisor(children).run()`; `stop()` makes that return."""

    def __init__(self, children: Sequence[Child], patience: Patience = Patience()) -> None:
        self._children = children
        self._patience = patience
        self._running: dict[str, tuple[Child, Process]] = {}
        self._stopping = asyncio.Event()
        self._stopped_at = 0.0

    async def run(self) -> None:
        """Until `stop`. Raises StartError when a child cannot start; no child is left behind either way."""
        keepers = [asyncio.create_task(self._keep(child), name=child.name) for child in self._children]
        stopped = asyncio.create_task(self._stopping.wait())
        try:
            done, _ = await asyncio.wait([*keepers, stopped], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*keepers, stopped):
                task.cancel()
            await asyncio.gather(*keepers, stopped, return_exceptions=True)
            await self._end_all()
        for task in done:
            await task

    def stop(self) -> None:
        """Ends all children in good order; called again `again_s` later, at once.

        Wrappers often pass on a signal that the process group got already: two at once are one.
        """
        if not self._stopping.is_set():
            self._stopped_at = monotonic()
            self._stopping.set()
        elif monotonic() - self._stopped_at >= self._patience.again_s:
            for _, process in self._running.values():
                _signal(process, signal.SIGKILL)

    async def _keep(self, child: Child) -> None:
        pause = self._patience.first_pause_s
        stable = False
        while True:
            try:
                process = await self._start(child)
            except OSError as error:
                # No memory, or no process more to be had just now: no reason to end those that run.
                _log.error("process not started; trying again", name=child.name, reason=str(error), pause_s=pause)
            else:
                began = monotonic()
                code = await process.wait()
                lived = monotonic() - began
                del self._running[child.name]
                _log.warning("process ended", name=child.name, reason=reason(code), after_s=round(lived, 1))
                if lived >= self._patience.stable_s:
                    stable, pause = True, self._patience.first_pause_s
                if code == EXIT_CANNOT_START and not stable:
                    raise StartError(f"{child.name} cannot start; the line above says why")
            await asyncio.sleep(pause)
            pause = min(2 * pause, self._patience.longest_pause_s)

    async def _start(self, child: Child) -> Process:
        environment = {**os.environ, **child.environment, VARIABLE: str(os.getpid())}
        process = await asyncio.create_subprocess_exec(sys.executable, *child.arguments, env=environment, stdin=DEVNULL)
        self._running[child.name] = (child, process)
        _log.info("process started", name=child.name, pid=process.pid)
        return process

    async def _end_all(self) -> None:
        for stage in sorted({child.stage for child in self._children}, reverse=True):
            ending = [process for child, process in self._running.values() if child.stage == stage]
            await asyncio.gather(*(self._end(process) for process in ending))
        for name, (_, process) in self._running.items():
            _log.info("process ended", name=name, reason=reason(process.returncode or 0))
        self._running.clear()

    async def _end(self, process: Process) -> None:
        _signal(process, signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), self._patience.grace_s)
        except TimeoutError:
            _log.warning("process did not end in time", pid=process.pid, effect="killed")
            _signal(process, signal.SIGKILL)
            await process.wait()


def reason(code: int) -> str:
    """What a return code of a process means, in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def _signal(process: Process, number: signal.Signals) -> None:
    if process.returncode is None:
        process.send_signal(number)


async def supervise(supervisor: Supervisor) -> None:
    """Runs a supervisor until SIGTERM, SIGHUP or Ctrl-C; a second one of them kills what is left.

    A SIGHUP that is ignored already stays so: who starts a server with nohup wants it to outlive the terminal.
    """
    loop = asyncio.get_running_loop()
    ends = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        ends.append(signal.SIGHUP)
    for number in ends:
        loop.add_signal_handler(number, supervisor.stop)
    await supervisor.run()
