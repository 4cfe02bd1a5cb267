"""Snapshots: the newest keyframe of a camera as a still picture, made once for all who ask for the same.

The work is done in a process of its own (`media.darkroom`), which is begun when there is something to do and ended when
there was nothing for `IDLE_S`. One that does not answer in `PATIENCE_S` is killed; the next order begins another.
"""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from functools import partial
from itertools import count
from typing import NamedTuple

import structlog

from soip.lifeline import VARIABLE
from soip.media.camera import Camera
from soip.media.context import Context
from soip.media.darkroom import ANSWER, ENCODINGS, FORMATS, ORDER
from soip.media.intake import Picture
from soip.rtp.nal import AccessUnit

IDLE_S = 60.0
PATIENCE_S = 10.0
WAITING = 64
"""Orders that wait at most; who comes then is asked to come again."""
KEPT_S = 2.0
"""A picture is kept so long for others who ask for the same."""
LARGEST = 8192
"""Pixels of a side that may be asked for."""
_ANSWER_BYTES = 256 << 20

_log = structlog.get_logger()


class SnapshotError(Exception):
    """There is no snapshot now; the text says why."""


class Form(NamedTuple):
    """What is asked for: `jpg` or `bmp`, and the most pixels of its sides (0: as it comes)."""

    kind: str
    width: int = 0
    height: int = 0


class Snapshot(NamedTuple):
    """A still picture. `utc_us` is when it was taken, by the server's clock."""

    data: bytes
    utc_us: int


class _Keyframe(NamedTuple):
    """A keyframe, the number it has in the darkroom, and what is made of it."""

    picture: Picture
    number: int
    forms: dict[Form, asyncio.Task[bytes]]


class Snapshots:
    """The snapshots of one worker's cameras. `close` at the end."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._darkroom = Darkroom()
        self._made: dict[str, _Keyframe] = {}
        self._numbers = count()
        self.taken = self.failed = 0

    async def take(self, camera: Camera, form: Form) -> Snapshot:
        """The newest keyframe. A camera that nobody watches is called for it. Raises SnapshotError."""
        holder = object()
        camera.hold(holder)
        try:
            if not await camera.ready(self._context.patience.ready_s):
                raise SnapshotError(camera.problem or "the camera sends no pictures")
            keyframe = camera.relay.keyframe
            picture = await self._picture(camera.row.id, keyframe, form)
            self.taken += 1
            return Snapshot(picture, keyframe.utc_us)
        except SnapshotError:
            self.failed += 1
            raise
        finally:
            camera.release(holder)

    async def close(self) -> None:
        """End the work."""
        for known in self._made.values():
            for task in known.forms.values():
                task.cancel()
        await self._darkroom.close()

    async def _picture(self, camera: str, keyframe: Picture, form: Form) -> bytes:
        known = self._made.get(camera)
        if known is None or known.picture is not keyframe:
            known = self._made[camera] = _Keyframe(keyframe, next(self._numbers), {})
        task = known.forms.get(form)
        if task is None:
            task = asyncio.create_task(self._darkroom.make(known.number, keyframe.unit, form))
            known.forms[form] = task
            task.add_done_callback(partial(self._done, camera, known, form))
        return await asyncio.shield(task)  # one who does not wait any more ends it for nobody else

    def _done(self, camera: str, known: _Keyframe, form: Form, task: asyncio.Task[bytes]) -> None:
        """A picture stays for those who ask next; of a failure everybody is told who waits now."""
        failed = task.cancelled() or task.exception() is not None
        asyncio.get_running_loop().call_later(0 if failed else KEPT_S, self._forget, camera, known, form)

    def _forget(self, camera: str, known: _Keyframe, form: Form) -> None:
        known.forms.pop(form, None)
        if not known.forms and self._made.get(camera) is known:
            del self._made[camera]


class Darkroom:
    """The process, as seen from here: one order after the other."""

    def __init__(self) -> None:
        self._process: Process | None = None
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._idle: asyncio.TimerHandle | None = None

    async def make(self, number: int, keyframe: AccessUnit, form: Form) -> bytes:
        """The keyframe of that number as a picture. Raises SnapshotError."""
        if self._waiting >= WAITING:
            raise SnapshotError("too many snapshots are asked for at once")
        self._waiting += 1
        try:
            async with self._turn:
                if self._idle is not None:
                    self._idle.cancel()
                try:
                    return await self._order(number, keyframe, form)
                finally:
                    self._idle = asyncio.get_running_loop().call_later(IDLE_S, self._end)
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """End the process."""
        if self._idle is not None:
            self._idle.cancel()
        process = self._process
        self._end()
        if process is not None:
            await process.wait()

    async def _order(self, number: int, keyframe: AccessUnit, form: Form) -> bytes:
        coding, kind = ENCODINGS.index(keyframe.encoding), FORMATS.index(form.kind)
        head = ORDER.pack(number, coding, form.width, form.height, kind, keyframe.size)
        try:
            async with asyncio.timeout(PATIENCE_S):
                worked, answer = await self._exchange(head + keyframe.sample)
        except (OSError, EOFError, TimeoutError) as error:
            self._end()
            reason = "in time" if isinstance(error, TimeoutError) else "at all"
            _log.warning("a keyframe could not be made a picture", reason=f"the decoder did not answer {reason}")
            raise SnapshotError(f"the decoder did not answer {reason}") from error
        except asyncio.CancelledError:
            self._end()  # what it would answer would be taken for the next order's
            raise
        if not worked:
            raise SnapshotError(f"the keyframe cannot be decoded: {answer.decode(errors='replace')}")
        return answer

    async def _exchange(self, order: bytes) -> tuple[bool, bytes]:
        process = self._process
        if process is None or process.returncode is not None:
            environment = {**os.environ, VARIABLE: str(os.getpid())}
            command = (sys.executable, "-m", "soip.media.darkroom")
            process = self._process = await asyncio.create_subprocess_exec(
                *command, stdin=PIPE, stdout=PIPE, env=environment
            )
        assert process.stdin
        assert process.stdout
        process.stdin.write(order)
        await process.stdin.drain()
        worked, size = ANSWER.unpack(await process.stdout.readexactly(ANSWER.size))
        if size > _ANSWER_BYTES:
            raise EOFError
        return worked, await process.stdout.readexactly(size)

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
