"""The sub-stream of a camera: a smaller picture beside the main one, in a call of its own (docs/design/wire.md).

It is called when somebody wants it, and hung up like any stream that is not recorded; the main stream's call, its
recorder and its viewers know nothing of it. A camera that will not be called a second time has none, whatever the
directory says: it is not asked again for `ABSENT_S`, or until it registers anew, and who watched goes back to the main
one.
"""

from __future__ import annotations

from typing import ClassVar

from soip.directory.rows import CameraRow
from soip.media.cameracall import CameraCall
from soip.media.camerastream import CameraStream, End, by_camera, cause_of
from soip.media.context import Context
from soip.media.gaps import Cause
from soip.media.request import SUB
from soip.net.errors import RequestRefusedError

ABSENT_S = 300.0
"""A camera that has refused the second call, or brought no picture in it, is not asked again for so long."""


class SubStream(CameraStream):
    """See above. There always is this object; `offered` says whether there is a stream."""

    stream: ClassVar[str] = SUB

    def __init__(self, context: Context, row: CameraRow) -> None:
        super().__init__(context, row)
        self._log = self._log.bind(stream=SUB)
        self._absent_until = 0.0

    @property
    def offered(self) -> bool:
        """Whether it is worth asking for."""
        return self.row.sub and self._context.now() >= self._absent_until

    def follow(self, row: CameraRow) -> None:
        had = self.row.sub
        super().follow(row)
        if not row.sub and had:
            self.remove()
        elif row.sub and not had:
            self._absent_until = 0.0

    def poke(self) -> None:
        self._absent_until = 0.0
        super().poke()

    @property
    def parting(self) -> tuple[bool, str]:
        again, why = super().parting
        return (again, why) if again or self.offered else (True, "the camera has no sub-stream now")

    async def _idle(self) -> None:
        await self._held.wait()

    async def _try(self) -> CameraCall | None:
        return await super()._try() if self.offered else None

    async def _attend(self, call: CameraCall) -> End:
        end = await super()._attend(call)
        if end.fault and not call.shown:
            self._give_up()
        return end

    def _failed(self, error: Exception) -> None:
        super()._failed(error)
        if _is_of_the_stream(error):
            self._give_up()

    def _give_up(self) -> None:
        self._absent_until = self._context.now() + ABSENT_S
        self._log.info("sub-stream is not to be had", reason=self.problem, effect="the main one is shown in its place")
        self.remove()


def _is_of_the_stream(error: Exception) -> bool:
    """Whether a call failed by what the camera says, or will not say, to it; else it failed on the way there, where the
    main stream fails as well.
    """
    if isinstance(error, RequestRefusedError):
        return error.status == 408 or by_camera(error)  # 408 is what the SIP server says of who has not answered
    return cause_of(error) is not Cause.SERVER_DOWN
