"""One camera of this worker: its main stream, which is recorded, the sub-stream beside it, and what is told of it."""

from __future__ import annotations

from dataclasses import replace

from soip.directory.rows import CameraRow, CameraStateRow
from soip.media.cameracall import CameraCall
from soip.media.camerastream import CameraStream
from soip.media.context import Context
from soip.media.gaps import Cause
from soip.media.intake import Picture, Sound
from soip.media.recorder import Recorder
from soip.media.request import SUB
from soip.media.substream import SubStream
from soip.media.tally import Tally

WRONG_US = 2_000_000
"""A camera's clock that differs by more is told of."""
STATE_S = 10.0
"""The state is written so often also when it stays, so that a dead worker's states grow old."""


class Camera(CameraStream):
    """A camera's main stream, and by `sub` its other one. `run` is the main stream's task alone."""

    def __init__(self, context: Context, row: CameraRow, recorder: Recorder) -> None:
        super().__init__(context, row)
        self.recorder = recorder
        self.sub = SubStream(context, row)
        self._state_row: CameraStateRow | None = None
        self._next_state = 0.0
        self._clock_told: CameraCall | None = None
        """The call in which it was said that the camera's clock is wrong."""

    # -- both streams

    @property
    def both(self) -> tuple[CameraStream, CameraStream]:
        """The main stream, and the sub-stream whether or not there is one."""
        return self, self.sub

    def to_show(self, stream: str) -> tuple[CameraStream, ...]:
        """What somebody who asks for a stream is to be shown: the first of these that has pictures. A picture that is
        larger than it need be is better than none.
        """
        return self.both[::-1] if stream == SUB and self.sub.offered else (self,)

    def follow_plan(self, row: CameraRow, record: bool) -> None:
        """The directory says this of the camera now; see `follow`."""
        for stream in self.both:
            stream.follow(row)
        self.recorder.enable(record)
        if record:
            self.hold(self.recorder)
        else:
            self.release(self.recorder)

    def poke(self) -> None:
        super().poke()
        self.sub.poke()

    def remove(self) -> None:
        super().remove()
        self.sub.remove()

    def leave(self) -> None:
        """The camera is another worker's from now on: who watches it here is told to ask again."""
        for stream in self.both:
            stream.moved = True
        self.remove()

    def tally(self) -> Tally:
        """What was counted of both streams so far; the numbers only grow."""
        total = super().tally()
        total.add(self.recorder.tally)
        total.add(self.sub.tally())
        return total

    def restart_clocks(self) -> None:
        for stream in self.both:
            if stream.call is not None:
                stream.call.restart_clocks()

    # -- the main stream

    @property
    def viewers(self) -> int:
        return super().viewers - (self.recorder in self._holders)

    async def run(self) -> None:
        try:
            await super().run()
        finally:
            self.recorder.stop(moved=self.moved)

    def _begun(self, call: CameraCall) -> None:
        self.recorder.begin(call.sound)

    def _over(self, call: CameraCall) -> None:
        self.recorder.interrupt()

    def _tick(self) -> None:
        super()._tick()
        if self._is_ours:
            self.recorder.tick()

    def _look_at(self, call: CameraCall) -> None:
        self._look_at_clock(call)
        super()._look_at(call)
        if self.recorder.wants_keyframe:
            self.ask_keyframe()

    def _look_at_clock(self, call: CameraCall) -> None:
        """What the camera says the time is goes into its files, and once a call into the log when it is wrong."""
        offset = self.recorder.camera_offset_us = call.intake.clock.sender_offset_us
        if offset is not None and abs(offset) > WRONG_US and self._clock_told is not call:
            self._clock_told = call
            self._log.warning(
                "the camera's clock is wrong",
                ahead_s=round(offset / 1e6, 1),
                effect="none on recordings, which go by the server's; the time it paints into its pictures is wrong",
            )

    def _record(self, picture: Picture) -> None:
        self.recorder.picture(picture)

    def _sound(self, sound: Sound) -> None:
        self.recorder.sound(sound)
        super()._sound(sound)

    @property
    def _well(self) -> str:
        return "recording" if self.recorder.running else "live"

    def _unrecorded(self, cause: Cause, why: str) -> None:
        self.recorder.missing(cause, why)

    def _tell(self, media: str) -> None:
        """Write the state behind when it changes, and now and then."""
        if not self._is_ours:
            return
        now_us = self._context.now_us()
        if media != self.media or self._state_row is None:
            self._state_row = CameraStateRow(self.row.id, media, now_us, self._context.instance, now_us)
        elif self._context.now() < self._next_state:
            return
        else:
            self._state_row = replace(self._state_row, updated_us=now_us)
        self._next_state = self._context.now() + STATE_S
        self._context.later.save(self._state_row)
        super()._tell(media)
