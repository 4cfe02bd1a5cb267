"""How a role runs as a process: logs, loop, signals, and one clear line when it cannot start."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import gc
import os
import resource
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog
import uvloop

from soip import logs
from soip.config import HostPort, Settings
from soip.directory.errors import DirectoryError, NewerSchemaError
from soip.lifeline import StartError, supervised
from soip.net.errors import NetError, PortBusyError, TlsError
from soip.store.errors import StoreError

_MOST_FILES = 65_536
_COLLECTOR = (5_000, 10, 50)
"""The thresholds of the search for cycles. What a role keeps (registrations, transactions that absorb repeats) is made
anew all the time and is hardly ever in one: at the interpreter's own thresholds the search took an eighth of the time
of a registration, and among many thousands of them it held up everything for a tenth of a second.
"""
_KINDS = {"TCP": socket.SOCK_STREAM, "UDP": socket.SOCK_DGRAM}


def check_free(address: HostPort, option: str, transports: Iterable[str] = ("TCP",)) -> None:
    """Raises StartError when nothing could listen on `address`, naming the option that would change it."""
    for transport in transports:
        try:
            _bind(address, _KINDS[transport])
        except OSError as error:
            raise StartError(_explain(address, option, transport, error)) from error


def _bind(address: HostPort, kind: int) -> None:
    found = socket.getaddrinfo(address.host, address.port, type=kind, flags=socket.AI_PASSIVE)
    family, _, protocol, _, where = found[0]
    with socket.socket(family, kind, protocol) as trial:
        if kind == socket.SOCK_STREAM:
            # As servers do: connections of a former one that still linger are no obstacle.
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        trial.bind(where)
        if kind == socket.SOCK_STREAM:
            trial.listen(1)


def _explain(address: HostPort, option: str, transport: str, error: OSError) -> str:
    # Who typed `make run` has no command line to put an option on.
    elsewhere = f"choose another address with {option} HOST:PORT or {_variable(option)}=HOST:PORT"
    if isinstance(error, socket.gaierror):
        return f"there is no host {address.host!r}: {elsewhere}"
    if error.errno == errno.EADDRINUSE:
        return f"{address} ({transport}) is in use by another program: end that one, or {elsewhere}"
    return f"cannot listen on {address} ({transport}): {os.strerror(error.errno or 0)}; {elsewhere}"


def _variable(option: str) -> str:
    return "SOIP_" + option.strip("-").replace("-", "_").upper()


class HeldError(StartError):
    """Another process does the same work on the same data; the text says what to do."""

    @property
    def exit_code(self) -> int:
        """1: the other one may be this one's former self, about to die. A supervisor tries again."""
        return 1


@contextmanager
def holding(file: Path, held: str) -> Iterator[None]:
    """Holds a lock file, so that nobody else does the same work on the same data. `held` says what to do if one does.

    It is flock(2)'s lock: gone with the process that holds it, however that ends. The descriptor is closed in children.
    Raises StartError.
    """
    try:
        file.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        lock = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartError(f"{file} cannot be opened: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise HeldError(held) from None
    else:
        yield
    finally:
        os.close(lock)


def raise_file_limit() -> None:
    """Lets the process open as many files as its user may: each connection, call and recording takes some, and the
    limit a shell gives is meant for programs that still use select(2).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def calm_collector() -> None:
    """Has cycles of objects looked for less often."""
    gc.set_threshold(*_COLLECTOR)


def run_role(settings: Settings, role: str, main: Callable[[], Awaitable[None]]) -> None:
    """Runs a role until SIGTERM or Ctrl-C, which cancel it. Raises StartError when starting again cannot help.

    Any other failure is logged and ends the process with exit code 1: a supervisor tries again.
    """
    logs.configure(settings, role)
    raise_file_limit()
    calm_collector()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_until_signalled(main))
    except Exception as failure:
        error = _only(failure)
        if isinstance(error, PortBusyError | TlsError | NewerSchemaError):
            raise StartError(str(error)) from error
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise StartError(f"an address is in use by another program: {error.strerror or error}") from error
        # The text of these is all an operator needs; for others a developer will need to see the way there.
        known = isinstance(error, DirectoryError | NetError | StoreError)
        structlog.get_logger().error(
            "cannot go on", reason=str(error) or repr(error), exc_info=None if known else error
        )
        sys.exit(1)


def _only(error: Exception) -> Exception:
    """The one error in a group of one, else the error itself."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


async def _until_signalled(main: Callable[[], Awaitable[None]]) -> None:
    log = structlog.get_logger()
    task = asyncio.ensure_future(main())
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    if not supervised():
        loop.add_signal_handler(signal.SIGINT, task.cancel)
    with suppress(asyncio.CancelledError):
        await task
    log.info("ended")
