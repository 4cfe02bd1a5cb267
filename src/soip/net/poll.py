"""One epoll for all media sockets of a process, which the event loop watches as a single descriptor.

The event loop thus pays once per wake-up, not once per socket. A wake-up serves at most ``BUDGET`` readable
sockets and returns to the loop, so that signalling keeps its turn; epoll is level-triggered and hands the
rest out in turn.

What nobody waits for (`rest`) is not watched at all, but read in rounds: to turn to a socket costs more than what
waits in it. A round goes through all of them without a pause, for a processor that has just slept is slow; but only a
few at a time, and between them the event loop has its turn.
"""

from __future__ import annotations

import asyncio
import logging
import select
import socket
from collections import OrderedDict
from collections.abc import Callable

BUDGET = 128
"""Sockets served in one wake-up."""
ROUND_S = 0.4
"""Each resting socket is read once in this time. Half of it costs a tenth more for all that is recorded: a camera's
objects are cold each time. At 20 Mbit/s a megabyte waits, and a receive buffer has four."""
STEP = 4
"""So many of them are read before the loop has its turn: a millisecond or two, unless much has come."""
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
        self._resting: OrderedDict[int, None] = OrderedDict()
        """Those that are read in rounds, the next one first."""
        self._left = 0
        """How many of them are still to be read in this round."""
        self._began = 0.0
        """When this round did."""
        self._step: asyncio.Handle | None = None
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
        if number in self._handlers and number not in self._resting:
            self._epoll.modify(number, select.EPOLLIN | select.EPOLLOUT if wanted else select.EPOLLIN)

    def remove(self, sock: socket.socket) -> None:
        """Stop watching ``sock``, before it is closed. Unknown sockets are ignored."""
        number = sock.fileno()
        self._failures.pop(number, None)
        self._forget(number)

    def _forget(self, number: int) -> None:
        if self._handlers.pop(number, None) is None:
            return
        if number in self._resting:
            del self._resting[number]
        else:
            self._epoll.unregister(number)

    def rest(self, sock: socket.socket, resting: bool) -> None:
        """Call the handler of `sock` every `ROUND_S`, whether or not there is something, instead of whenever there is;
        or that again, at once if something has come. Unknown sockets are ignored.
        """
        number = sock.fileno()
        if number not in self._handlers or resting == (number in self._resting):
            return
        if not resting:
            del self._resting[number]
            self._epoll.register(number, select.EPOLLIN)
            return
        self._epoll.unregister(number)
        self._resting[number] = None
        if self._step is None:
            self._step = self._loop.call_later(ROUND_S, self._round)

    def _round(self) -> None:
        """Serve all resting sockets, from now on."""
        self._left, self._began = len(self._resting), self._loop.time()
        self._go_on()

    def _go_on(self) -> None:
        """Serve the next of the resting sockets, and between them who is waited for."""
        resting = self._resting
        for _ in range(min(STEP, self._left)):
            if not resting:  # removed by a handler, or everything is over
                break
            self._left -= 1
            number = next(iter(resting))
            resting.move_to_end(number)
            self._serve(number)
            if resting:
                self.poll()
        self._left = min(self._left, len(resting))
        if not resting:
            self._step = None
        elif self._left:
            self._step = self._loop.call_soon(self._go_on)
        else:
            self._step = self._loop.call_later(max(0.0, self._began + ROUND_S - self._loop.time()), self._round)

    def poll(self) -> None:
        """Serve the sockets that are readable now; the event loop calls it."""
        for number, _ in self._epoll.poll(0, BUDGET):
            self._serve(number)

    def _serve(self, number: int) -> None:
        handler = self._handlers.get(number)
        if handler is None:  # removed by a handler before it
            return
        try:
            handler()
            if self._failures:
                self._failures.pop(number, None)
        except Exception:
            # One camera's trouble must not end the media of all others.
            self._failed(number)

    def _failed(self, number: int) -> None:
        """Called where the exception is handled. Whoever owns the socket notices that nothing comes any more."""
        self._failures[number] = self._failures.get(number, 0) + 1
        _LOG.exception("media handler of socket %d failed", number)
        if self._failures[number] >= FAILURES and number in self._handlers:
            _LOG.error("socket %d is not served any more: its handler failed %d times in a row", number, FAILURES)
            self._forget(number)

    def close(self) -> None:
        """Stop watching everything."""
        self._loop.remove_reader(self._epoll.fileno())
        if self._step is not None:
            self._step.cancel()
        self._resting.clear()
        self._handlers.clear()
        self._epoll.close()
