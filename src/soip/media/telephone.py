"""The sound of one camera for phones, which know G.711 alone: made once, whoever listens.

Who takes the sound as it comes gets it at once. For the others it is decoded and coded anew in a thread, begun with the
first of them and ended with the last; what a thread that falls behind has not taken is dropped, oldest first.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from soip.media.audio import PhoneSound
from soip.media.intake import Sound
from soip.rtp.sound import SoundFormat

WAITING = 32
"""Frames that may wait for the thread: 640 ms of most sounds."""

Listener = Callable[[Sound], None]


class Telephone:
    """Order of calls: `join` with PCMU or PCMA, `leave`. `sounds` are the camera's listeners, of which it is one while
    anybody listens here.
    """

    def __init__(self, sounds: set[Listener]) -> None:
        self._sounds = sounds
        self._listeners: dict[Listener, SoundFormat] = {}
        self._waiting: deque[Sound] = deque(maxlen=WAITING)
        self._there = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._format: SoundFormat | None = None

    @property
    def working(self) -> bool:
        """Whether sound is made anew."""
        return self._task is not None

    def join(self, listener: Listener, form: SoundFormat) -> None:
        """Serve a listener from the next sound on."""
        self._listeners[listener] = form
        self._sounds.add(self._take)

    def leave(self, listener: Listener) -> None:
        """Stop serving a listener; one who is not served is ignored."""
        self._listeners.pop(listener, None)
        if not self._listeners:
            self._sounds.discard(self._take)
        if not self._wanted():
            self._stop()

    def _wanted(self) -> set[SoundFormat]:
        """The formats that have to be made."""
        return {form for form in self._listeners.values() if form != self._format}

    def _take(self, sound: Sound) -> None:
        self._format = sound.format
        for listener, form in tuple(self._listeners.items()):
            if form == sound.format:
                listener(sound)
        if not self._wanted():
            self._stop()
            return
        self._waiting.append(sound)
        self._there.set()
        if self._task is None:
            self._task = asyncio.create_task(self._work())

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._waiting.clear()

    async def _work(self) -> None:
        maker = PhoneSound()
        with suppress(asyncio.CancelledError):
            while True:
                await self._there.wait()
                self._there.clear()
                sounds = list(self._waiting)
                self._waiting.clear()
                for made in await asyncio.to_thread(maker.feed, sounds, self._wanted()):
                    for listener, wanted in tuple(self._listeners.items()):
                        if wanted == made.format:
                            listener(made)
