"""Writes received access units to a fragmented MP4: one file, one set of decoder parameters.

Order of calls: `video(unit)` and `sound(frame)` in the order of arrival, last `close()`. Nothing is written before
the first keyframe with parameter sets. Times begin at zero; composition offsets are kept. A fragment ends before a
keyframe or after `FRAGMENT` ticks, so a killed player leaves a file that plays up to its last fragment.
"""

from __future__ import annotations

from pathlib import Path

from soip.agents.aac import FRAME, RATE, AacEncoder
from soip.mp4.tracks import Track, audio_track, opus_track, video_track
from soip.mp4.writer import Edit, Run, Sample, fragment, init_segment
from soip.rtp.codec import Codec
from soip.rtp.decodetime import DecodeTime
from soip.rtp.g711 import PCMU
from soip.rtp.nal import AccessUnit, length_prefixed
from soip.rtp.receiver import AudioFrame
from soip.rtp.sound import G711, SoundFormat

VIDEO, SOUND = 1, 2
FRAGMENT = 2 * 90_000
LONGEST_SILENCE = 10 * RATE


class MovieFile:
    """A file of pictures of that codec. Raises OSError if `path` cannot be written, ValueError for parameter sets no
    decoder would take. An existing file is replaced.
    """

    def __init__(self, path: Path, codec: Codec, *, sound: SoundFormat | None) -> None:
        self.path = path
        self.frames = 0
        self.bytes = 0
        info = codec.info
        tracks = [video_track(codec.encoding, codec.groups, info.width, info.height)]
        # Parameter sets stand in the sample entry (ISO/IEC 14496-15 §5.3.2, §8.3.2).
        self._coding = codec.coding
        self._left_out = {*codec.coding.sets, codec.coding.delimiter}
        self._sound = _sound_track(sound) if sound else None
        if self._sound is not None:
            tracks.append(self._sound.track)
        self._tracks = tracks
        self._decode_time = DecodeTime(info.reorder_depth, info.ticks_per_frame)
        self._file = path.open("wb")
        self._sequence = 0
        self._base: int | None = None
        self._samples: list[Sample] = []
        self._content: list[bytes] = []
        self._begin = 0
        self._held: tuple[AccessUnit, int] | None = None
        self._last_duration = info.ticks_per_frame or 3600

    def video(self, unit: AccessUnit) -> None:
        """Take the next unit in decoding order; it is written once its successor tells its duration."""
        decoded = self._decode_time.next(unit.timestamp)
        if self._base is None:
            self._base = decoded
            delay = unit.timestamp - decoded  # what reordering holds the first picture back
            self._write(init_segment(self._tracks, edits={VIDEO: Edit(delay)} if delay > 0 else None))
            if self._sound is not None:
                self._sound.begin(unit.arrival)
        if self._held is not None:
            self._append(decoded)
            long = decoded - self._base - self._begin >= FRAGMENT
            if unit.keyframe or long:
                self._flush()
        self._held = (unit, decoded)

    def sound(self, frame: AudioFrame) -> None:
        """Take a frame of sound."""
        if self._sound is not None:
            self._sound.take(frame)

    def close(self) -> None:
        """Write what is left and close the file."""
        if self._sound is not None:
            self._sound.finish()
        if self._held is not None:
            self._append(self._held[1] + self._last_duration)
            self._flush()
        self._file.close()

    def _append(self, following: int) -> None:
        assert self._held is not None
        assert self._base is not None
        unit, decoded = self._held
        self._held = None
        self._last_duration = following - decoded
        if not self._samples:
            self._begin = decoded - self._base
        content = length_prefixed([nal for nal in unit.nals if self._coding.kind(nal) not in self._left_out])
        self._samples.append(Sample(len(content), self._last_duration, unit.timestamp - decoded, unit.keyframe))
        self._content.append(content)

    def _flush(self) -> None:
        runs = [Run(VIDEO, self._begin, self._samples, self._content)]
        if self._sound is not None:
            runs += self._sound.flush()
        self._sequence += 1
        self._write(fragment(self._sequence, runs))
        self._file.flush()
        self.frames += len(self._samples)
        self._samples, self._content = [], []

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self.bytes += len(data)


class _KeptTrack:
    """AAC or Opus as it came; placed by arrival once, from then on by the sound's own clock."""

    def __init__(self, form: SoundFormat) -> None:
        self.track = (
            audio_track(form.config.config, form.config.sample_rate, form.config.channels, track_id=SOUND)
            if form.config
            else opus_track(form.channels, track_id=SOUND)
        )
        self._form = form
        self._started = 0.0
        self._place: int | None = None
        self._held: tuple[bytes, int] | None = None
        self._samples: list[Sample] = []
        self._content: list[bytes] = []
        self._time = 0

    def begin(self, arrival: float) -> None:
        self._started = arrival

    def take(self, frame: AudioFrame) -> None:
        if not self._started or frame.arrival < self._started:
            return
        rate, timescale = self._form.clock_rate, self.track.timescale
        if self._place is None:
            self._place = round((frame.arrival - self._started) * rate) - frame.timestamp
        begin = (frame.timestamp + self._place) * timescale // rate
        if self._held is not None:
            passed = begin - self._held[1]
            if not 0 < passed <= LONGEST_SILENCE * timescale // RATE:  # the peer's clock jumped
                usual = self._form.samples(self._held[0]) * timescale // rate
                self._place += (self._held[1] + usual - begin) * rate // timescale
                begin, passed = self._held[1] + usual, usual
            self._keep(*self._held, passed)
        self._held = (frame.payload, begin)

    def flush(self) -> list[Run]:
        if not self._samples:
            return []
        run = Run(SOUND, self._time, self._samples, self._content)
        self._samples, self._content = [], []
        return [run]

    def finish(self) -> None:
        """How long the last frame lasts, no other tells."""
        if self._held is not None:
            self._keep(*self._held, self._form.samples(self._held[0]) * self.track.timescale // self._form.clock_rate)
            self._held = None

    def _keep(self, payload: bytes, begin: int, duration: int) -> None:
        if not self._samples:
            self._time = begin
        self._samples.append(Sample(len(payload), duration))
        self._content.append(payload)


def _sound_track(form: SoundFormat) -> _SoundTrack | _KeptTrack:
    return _SoundTrack(G711[form.encoding]) if form.is_g711 else _KeptTrack(form)


class _SoundTrack:
    """G.711 as AAC beside the video; placed by arrival once, from then on by the sound's own clock."""

    def __init__(self, payload_type: int) -> None:
        self._payload_type = payload_type
        self._encoder = AacEncoder()
        self.track: Track = audio_track(self._encoder.config, RATE, 1, track_id=SOUND)
        self._started = 0.0
        self._first: int | None = None
        self._taken = 0
        self._primed = False
        self._frames: list[bytes] = []
        self._time = 0

    def begin(self, arrival: float) -> None:
        self._started = arrival

    def take(self, frame: AudioFrame) -> None:
        if not self._started or frame.arrival < self._started:
            return
        if self._first is None:
            self._first = frame.timestamp
            self._time = round((frame.arrival - self._started) * RATE)
        missing = frame.timestamp - self._first - self._taken
        if 0 < missing <= LONGEST_SILENCE:  # lost packets become silence: what follows stays in its place
            self._encode(b"\xff" * missing, PCMU)
        elif missing:  # the peer's clock jumped; the sound goes on as it comes
            self._first += missing
        self._encode(frame.payload, self._payload_type)

    def flush(self) -> list[Run]:
        frames, self._frames = self._frames, []
        if not frames:
            return []
        run = Run(SOUND, self._time, [Sample(len(frame), FRAME) for frame in frames], frames)
        self._time += FRAME * len(frames)
        return [run]

    def finish(self) -> None:
        """Take what the encoder still holds."""
        if self._taken:
            self._add(self._encoder.finish())

    def _encode(self, payload: bytes, payload_type: int) -> None:
        self._taken += len(payload)
        self._add(self._encoder.encode(payload, payload_type))

    def _add(self, frames: list[bytes]) -> None:
        if frames and not self._primed:  # the encoder's first frame lies before the sound (its delay is one frame)
            self._primed = True
            del frames[0]
        self._frames += frames
