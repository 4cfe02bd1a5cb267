"""Live pictures for browsers: fragmented MP4, one fragment per frame, made once per camera for all who watch.

A browser's queue is bounded by age: when the connection does not keep up, frames are dropped at once up to the next
keyframe, so that a slow browser sees fewer pictures but never old ones. The camera's sound is not sent to browsers.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from soip.media.intake import Picture
from soip.mp4.tracks import mime, video_track
from soip.mp4.writer import Run, Sample, fragment, init_segment
from soip.rtp.codec import Codec

QUEUE_BYTES = 4 << 20
QUEUE_S = 1.0
"""What may wait for one browser: bytes, and seconds."""


@dataclass(frozen=True, slots=True)
class Opening:
    """A decoder begins anew: the media type, and the init segment."""

    mime: str
    init: bytes


@dataclass(frozen=True, slots=True)
class Chunk:
    """One or more frames as `prft moof mdat`. `at` is when the newest of them arrived (monotonic seconds)."""

    data: bytes
    keyframe: bool
    at: float


@dataclass(frozen=True, slots=True)
class State:
    """What the camera's media does now."""

    media: str


Item = Opening | Chunk | State


class Browser:
    """One browser's queue: the feed fills it, the socket's task empties it. It begins with a keyframe."""

    def __init__(self) -> None:
        self._items: list[Item] = []
        self._bytes = 0
        self._skipping = True
        self._there = asyncio.Event()
        self.opening: Opening | None = None
        """What its decoder was begun with."""
        self.dropped = 0

    def give(self, item: Item) -> None:
        """Queue an item, or drop frames when too much waits. Never blocks."""
        if isinstance(item, Chunk):
            if self._skipping and not item.keyframe:
                self.dropped += 1
                return
            self._skipping = False
            self._bytes += len(item.data)
            if self._too_much(item):
                self._drop_frames()
                if not item.keyframe:
                    self._skipping = True
                    self.dropped += 1
                    return
                self._bytes = len(item.data)  # At least one keyframe passes, however large.
        self._items.append(item)
        self._there.set()

    @property
    def queued_bytes(self) -> int:
        return self._bytes

    async def next(self) -> list[Item]:
        """All that waits, at least one item."""
        while not self._items:
            self._there.clear()
            await self._there.wait()
        items, self._items, self._bytes = self._items, [], 0
        return items

    def _too_much(self, newest: Chunk) -> bool:
        oldest = next((item for item in self._items if isinstance(item, Chunk)), None)
        return self._bytes > QUEUE_BYTES or (oldest is not None and newest.at - oldest.at > QUEUE_S)

    def _drop_frames(self) -> None:
        kept: list[Item] = [item for item in self._items if not isinstance(item, Chunk)]
        self.dropped += len(self._items) - len(kept)
        self._items, self._bytes = kept, 0


class Feed:
    """The browsers of one camera. Costs nothing while there is none."""

    def __init__(self) -> None:
        self._browsers: set[Browser] = set()
        self._codec: Codec | None = None
        self._opening: Opening | None = None
        self._sequence = 0
        self._duration = 3600
        self._last_dts: int | None = None
        self._state = State("idle")
        self._dropped = 0
        """Frames that browsers which have left were not given."""

    @property
    def dropped(self) -> int:
        """Frames that browsers were not given, since they do not keep up."""
        return self._dropped + sum(browser.dropped for browser in self._browsers)

    @property
    def queued_bytes(self) -> int:
        """What waits for browsers."""
        return sum(browser.queued_bytes for browser in self._browsers)

    def __len__(self) -> int:
        return len(self._browsers)

    def join(self, browser: Browser, gop: list[Picture]) -> bool:
        """Begin to serve a browser: the state, and the pictures since the last keyframe, so that it shows one at once.

        They come as one chunk, however old they are: the page decodes them and then steers to the live edge. False:
        there are none, or too many, and the browser waits for the next keyframe.
        """
        self._browsers.add(browser)
        browser.give(self._state)
        if not gop or sum([picture.unit.size for picture in gop]) > QUEUE_BYTES // 2:
            return False
        self._give(browser, self._open(gop[0].codec), self._chunk(gop))
        return True

    def leave(self, browser: Browser) -> None:
        if browser in self._browsers:
            self._browsers.discard(browser)
            self._dropped += browser.dropped

    def state(self, media: str) -> None:
        """The camera's media state has changed."""
        if media != self._state.media:
            self._state = State(media)
            for browser in self._browsers:
                browser.give(self._state)

    def push(self, picture: Picture) -> None:
        """One picture to every browser."""
        if self._last_dts is not None and 0 < picture.dts - self._last_dts < 90_000:
            # Of a frame's duration only the distance of the last two is known: the next one has not come.
            self._duration = picture.dts - self._last_dts
        self._last_dts = picture.dts
        if not self._browsers:
            return
        opening = self._open(picture.codec)
        chunk = self._chunk([picture])
        for browser in self._browsers:
            self._give(browser, opening, chunk)

    def _open(self, codec: Codec) -> Opening:
        """What a decoder of this codec begins with: the same object as long as the codec is the same."""
        if self._opening is None or codec != self._codec:
            self._codec = codec
            track = video_track(codec.encoding, codec.groups, codec.info.width, codec.info.height)
            self._opening = Opening(mime([track]), init_segment([track]))
        return self._opening

    @staticmethod
    def _give(browser: Browser, opening: Opening, chunk: Chunk) -> None:
        if browser.opening is not opening:
            browser.opening = opening
            browser.give(opening)
        browser.give(chunk)

    def _chunk(self, pictures: list[Picture]) -> Chunk:
        self._sequence += 1
        first, newest = pictures[0], pictures[-1]
        ends = [*[picture.dts for picture in pictures[1:]], newest.dts + self._duration]
        samples = [
            Sample(one.unit.size, max(1, end - one.dts), one.pts - one.dts, one.unit.keyframe)
            for one, end in zip(pictures, ends, strict=True)
        ]
        content = [picture.unit.sample for picture in pictures]
        data = fragment(self._sequence, [Run(1, first.dts, samples, content)], first.utc_us)
        return Chunk(data, first.unit.keyframe, newest.unit.arrival)
