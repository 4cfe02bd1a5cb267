"""The sound of one file: frames, and the media time each begins at.

AAC and Opus are kept as they came, G.711 becomes AAC. Frames follow each other without a gap; where the sound's clock
and the pictures' part by more than `SLACK_US`, or sound is missing, the frame before lasts as long as it really does.
"""

from __future__ import annotations

from collections import deque

from soip.media import audio
from soip.mp4.errors import BoxError
from soip.mp4.tracks import Track, audio_config, audio_track, opus_track
from soip.mp4.writer import Run, Sample
from soip.rtp.errors import RtpParseError
from soip.rtp.sound import OPUS, SoundFormat

SLACK_US = 5_000
"""What the ear does not notice, and what rounding and the bending of clocks make."""
_LONGEST = 1 << 30
"""Ticks a frame may last; sound from beyond is of another time."""


class SoundTrack:
    """Order of calls: `feed` for each frame, `take` for each fragment, `finish` before the file's last `take`."""

    def __init__(self, form: SoundFormat) -> None:
        """Raises ValueError for sound there is no track for."""
        self.format = form
        self.track, self._transcoder = _track_of(form)
        self._slack = SLACK_US * self.track.timescale // 1_000_000
        self._samples: list[Sample] = []
        self._content: list[bytes] = []
        self._begin = 0
        self._fed = self._made = 0
        """Samples given to the transcoder, frames made by it."""
        self._marks: deque[tuple[int, int]] = deque()
        """From which sample on the track's time is so much more than the count of samples."""
        self._pending: tuple[bytes, int, int] | None = None
        """The newest frame: its bytes, when it begins, how long it should last."""

    def feed(self, payload: bytes, at_us: int) -> None:
        """One frame as it came, and the media time of its beginning, on the axis of the pictures."""
        begin = at_us * self.track.timescale // 1_000_000
        if self._transcoder is None:
            try:
                length = self.format.samples(payload) * self.track.timescale // self.format.clock_rate
            except RtpParseError:
                return
            self._place(payload, begin, length)
            return
        start = begin - self._fed
        if not self._marks or abs(start - self._marks[-1][1]) > self._slack:
            self._marks.append((self._fed, start))
        self._fed += len(payload)
        self._place_made(self._transcoder.feed(payload))

    def finish(self) -> None:
        """No more sound: what waits for a whole frame, or for the encoder, becomes frames."""
        if self._transcoder is not None:
            self._place_made(self._transcoder.finish())
        if self._pending is not None:
            self._keep(self._pending, self._pending[2])
            self._pending = None

    def take(self) -> Run | None:
        """The frames since the last call as one run, but the newest: how long that one lasts, the next one tells."""
        if not self._samples:
            return None
        run = Run(self.track.track_id, self._begin, self._samples, self._content)
        self._samples, self._content = [], []
        return run

    def _place_made(self, frames: list[bytes]) -> None:
        """Place what the transcoder gives, by when its samples came in: they wait in it, up to two frames."""
        for frame in frames:
            # An encoder's first frame belongs to the time before the first sample.
            at = (self._made - 1) * audio.SAMPLES_PER_FRAME
            self._made += 1
            while len(self._marks) > 1 and self._marks[1][0] <= at:
                self._marks.popleft()
            if self._marks:
                self._place(frame, self._marks[0][1] + at, audio.SAMPLES_PER_FRAME)

    def _place(self, frame: bytes, begin: int, length: int) -> None:
        last = self._pending
        if last is not None:
            expected = last[1] + last[2]
            ahead = begin - expected
            if abs(ahead) <= self._slack:
                begin = expected
            elif ahead < -last[2] // 2 or ahead > _LONGEST:
                return  # it would sound at the same time as what is there
            self._keep(last, begin - last[1])
        self._pending = (frame, begin, length)

    def _keep(self, frame: tuple[bytes, int, int], duration: int) -> None:
        data, begin, _ = frame
        if not self._samples:
            self._begin = begin
        self._samples.append(Sample(len(data), duration))
        self._content.append(data)


def _track_of(form: SoundFormat) -> tuple[Track, audio.AacTranscoder | None]:
    if form.config is not None:
        return audio_track(form.config.config, form.config.sample_rate, form.config.channels), None
    if form.is_g711:
        transcoder = audio.AacTranscoder(form.encoding)
        return audio_track(transcoder.config, audio.RATE, 1), transcoder
    return opus_track(form.channels), None


def format_of(track: Track) -> SoundFormat | None:
    """What a recorded track of sound is coded with; None for one that cannot be sent."""
    if track.codec == "opus":
        return OPUS
    try:
        return SoundFormat.of_aac(audio_config(track))
    except (BoxError, RtpParseError):
        return None
