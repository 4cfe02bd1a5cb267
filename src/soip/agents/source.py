"""What a camera shows: a source makes access units in a thread while at least one call listens.

Order of calls, all on the event loop: `attach(listener)` starts the thread for the first listener,
`request_keyframe()` at any time, `detach(listener)` lets the thread end after the last. A subclass's `_run`
is the thread: it paces itself, calls `_emit` with whole units and returns soon after `stop` is set.
"""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from soip.rtp.nal import Coding
from soip.rtp.sound import PCMU, SoundFormat

log = structlog.get_logger(__name__)

VIDEO_CLOCK = 90_000  # RFC 6184 §8.2.1
_MOST_WAITING = 256


@dataclass(frozen=True, slots=True)
class VideoUnit:
    """One access unit: NAL units without start codes, presentation time in 90 kHz ticks.

    `ticks` never jumps back beyond the stream's own reordering; units come in decoding order. `utc` is the
    wall time (UNIX seconds) that belongs to `ticks`, for sender reports (RFC 3550 §6.4.1).
    """

    nals: tuple[bytes, ...]
    ticks: int
    utc: float
    keyframe: bool


@dataclass(frozen=True, slots=True)
class AudioUnit:
    """One frame in the source's `sound`; `ticks` counts samples at its clock rate."""

    payload: bytes
    ticks: int
    utc: float


Unit = VideoUnit | AudioUnit
Listener = Callable[[Unit], None]


class Source(ABC):
    """See the module; `name` is for log lines and threads."""

    def __init__(self, name: str, sound: SoundFormat = PCMU) -> None:
        self.name = name
        self.sound = sound
        """What its sound is coded with."""
        self._listeners: list[Listener] = []
        self._keyframe = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting = 0

    @property
    @abstractmethod
    def coding(self) -> Coding:
        """How its pictures are coded."""

    @property
    @abstractmethod
    def parameter_sets(self) -> tuple[bytes, ...]:
        """The parameter sets of the stream, empty while unknown."""

    @property
    @abstractmethod
    def has_audio(self) -> bool:
        """True if audio may come."""

    @abstractmethod
    def _run(self, stop: threading.Event) -> None:
        """The thread's work."""

    def attach(self, listener: Listener) -> None:
        """Deliver units to `listener` from now on; a keyframe comes soon where the source can make one."""
        self._loop = asyncio.get_running_loop()
        self._listeners.append(listener)
        self.request_keyframe()
        if self._thread is None or self._stop.is_set() or not self._thread.is_alive():
            self._stop = threading.Event()
            arguments = (self._stop, self._thread)
            self._thread = threading.Thread(target=self._main, args=arguments, name=self.name, daemon=True)
            self._thread.start()

    def detach(self, listener: Listener) -> None:
        """Deliver nothing more to `listener`; unknown ones are ignored."""
        if listener in self._listeners:
            self._listeners.remove(listener)
        if not self._listeners:
            self._stop.set()

    def request_keyframe(self) -> None:
        """Make the next access unit an IDR if the source encodes; those of a file come when they come."""
        self._keyframe.set()

    async def close(self) -> None:
        """Drop all listeners and wait until the thread has ended."""
        self._listeners.clear()
        self._stop.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    def _main(self, stop: threading.Event, before: threading.Thread | None) -> None:
        if before is not None:
            before.join()  # two threads must never share the encoder
        try:
            self._run(stop)
        except Exception:  # the thread's outermost frame: without this line its end would be silent
            stop.set()  # first: whoever attaches while this is told must get a thread of their own
            log.exception("source failed; the next call tries it again", source=self.name)

    def _take_keyframe_request(self) -> bool:
        wanted = self._keyframe.is_set()
        self._keyframe.clear()
        return wanted

    def _emit(self, unit: Unit) -> None:
        """From the thread: hand a unit to the loop. A loop that has stalled for seconds loses units."""
        if self._loop is None or self._waiting >= _MOST_WAITING:
            return
        self._waiting += 1
        try:
            self._loop.call_soon_threadsafe(self._deliver, unit)
        except RuntimeError:  # the loop has been closed under us: the process is ending
            self._stop.set()

    def _deliver(self, unit: Unit) -> None:
        self._waiting -= 1
        for listener in tuple(self._listeners):
            listener(unit)
