"""One epoll for all media sockets of a process, which the event loop watches as a single descriptor.

The event loop thus pays once per wake-up, not once per socket. A wake-up serves at most ``BUDGET`` readable
sockets and returns to the loop, so that signalling keeps its turn; epoll is level-triggered and hands the
rest out in turn.
"""

from __future__ import annotations

import asyncio
import logging
import select
import socket
from collections.abc import Callable

BUDGET = 128
"""Sockets served in one wake-up."""
FAILURES = 16
"""A handler that fails so often in a row is not called again: its socket would be readable for ever."""

_LOG = logging.getLogger(__name__)


class MediaPoll:
    """Calls the handler of each readable media socket. Handlers take no argument and never block."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[], object]] = {}
        self._failures: dict[int, int] = {}
        loop.add_reader(self._epoll.fileno(), self.poll)

    def __len__(self) -> int:
        return len(self._handlers)

    def add(self, sock: socket.socket, handler: Callable[[], object]) -> None:
        """Call ``handler`` whenever ``sock`` is readable."""
        number = sock.fileno()
        self._epoll.register(number, select.EPOLLIN)
        self._handlers[number] = handler

    def writable(self, sock: socket.socket, wanted: bool) -> None:
        """Call the handler of `sock` also whenever it can be written to, or not any more."""
        number = sock.fileno()
        if number in self._handlers:
            self._epoll.modify(number, select.EPOLLIN | select.EPOLLOUT if wanted else select.EPOLLIN)

    def remove(self, sock: socket.socket) -> None:
        """Stop watching ``sock``, before it is closed. Unknown sockets are ignored."""
        number = sock.fileno()
        self._failures.pop(number, None)
        if self._handlers.pop(number, None) is not None:
            self._epoll.unregister(number)

    def poll(self) -> None:
        """Serve the sockets that are readable now; the event loop calls it."""
        handlers, failures = self._handlers, self._failures
        for number, _ in self._epoll.poll(0, BUDGET):
            handler = handlers.get(number)
            if handler is None:  # removed by a handler before it
                continue
            try:
                handler()
                if failures:
                    failures.pop(number, None)
            except Exception:
                # One camera's trouble must not end the media of all others.
                self._failed(number)

    def _failed(self, number: int) -> None:
        """Called where the exception is handled. Whoever owns the socket notices that nothing comes any more."""
        self._failures[number] = self._failures.get(number, 0) + 1
        _LOG.exception("media handler of socket %d failed", number)
        if self._failures[number] >= FAILURES and self._handlers.pop(number, None) is not None:
            _LOG.error("socket %d is not served any more: its handler failed %d times in a row", number, FAILURES)
            self._epoll.unregister(number)

    def close(self) -> None:
        """Stop watching everything."""
        self._loop.remove_reader(self._epoll.fileno())
        self._handlers.clear()
        self._epoll.close()
