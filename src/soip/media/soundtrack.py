"""The sound of one file: AAC frames, and the media time they begin at."""

from __future__ import annotations

from soip.media import audio
from soip.mp4.tracks import audio_track
from soip.mp4.writer import Run, Sample

DRIFT_US = 100_000
"""AAC frames are counted; where the count leaves the clock by more than this, it is set anew."""
_TOLERANCE = DRIFT_US * audio.RATE // 1_000_000 + audio.SAMPLES_PER_FRAME


class SoundTrack:
    """Order of calls: `feed` for each packet, `take` for each fragment, `finish` before the file's last `take`."""

    def __init__(self, encoding: str) -> None:
        self._transcoder = audio.AacTranscoder(encoding)
        self.track = audio_track(self._transcoder.config, audio.RATE, 1)
        self._frames: list[bytes] = []
        self._next: int | None = None

    def feed(self, payload: bytes, at_us: int) -> None:
        """One packet of G.711, and the media time of its first sample, on the axis of the pictures."""
        # An encoder is one frame behind: what it gives first belongs to the time before the first sample.
        waiting = self._transcoder.waiting + audio.SAMPLES_PER_FRAME
        clock = at_us * audio.RATE // 1_000_000 - waiting
        if not self._frames and (self._next is None or abs(self._next - clock) > _TOLERANCE):
            self._next = clock
        self._frames += self._transcoder.feed(payload)

    def finish(self) -> None:
        """No more sound: what waits for a whole frame, or for the encoder, becomes frames."""
        self._frames += self._transcoder.finish()

    def take(self) -> Run | None:
        """The frames since the last call as one run."""
        if not self._frames or self._next is None:
            return None
        samples = [Sample(len(frame), audio.SAMPLES_PER_FRAME) for frame in self._frames]
        run = Run(self.track.track_id, self._next, samples, [b"".join(self._frames)])
        self._next += len(samples) * audio.SAMPLES_PER_FRAME
        self._frames = []
        return run
