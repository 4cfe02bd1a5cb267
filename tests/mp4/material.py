"""Real H.264 and AAC for the tests, made once per process."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import NamedTuple

import av

from soip.mp4.tracks import Track, audio_track, video_track
from soip.mp4.writer import Run, Sample

FRAME_TICKS = 3600  # 25 pictures a second at 90 kHz
EPOCH_US = 1_795_175_152_123_456
RATE = 25


class Frame(NamedTuple):
    """A sample as tests have it: with its bytes."""

    chunks: Sequence[bytes | bytearray | memoryview]
    duration: int
    composition_offset: int = 0
    sync: bool = True
    damaged: bool = False

    @property
    def data(self) -> bytes:
        return b"".join(self.chunks)


def run_of(track_id: int, decode_time: int, frames: Sequence[Frame], lost: int = 0) -> Run:
    """Frames as one run, in which so many packets are missing."""
    samples = [Sample(len(one.data), *one[1:]) for one in frames]
    return Run(track_id, decode_time, samples, [chunk for one in frames for chunk in one.chunks], lost)


@dataclass(frozen=True)
class Video:
    """Frames in decode order; `offsets` are composition offsets in ticks."""

    track: Track
    frames: list[list[bytes]]
    keys: list[bool]
    offsets: list[int]

    def sample(self, number: int) -> Frame:
        """The frame of that number, the material being repeated without end."""
        at = number % len(self.frames)
        chunks: list[bytes] = []
        for nal in self.frames[at]:
            chunks += (len(nal).to_bytes(4, "big"), nal)
        return Frame(chunks, FRAME_TICKS, self.offsets[at], self.keys[at])

    def run(self, first: int, count: int, start: int) -> Run:
        """Frames `first…` as one run; frame 0 is decoded at `start`."""
        return run_of(1, start + first * FRAME_TICKS, [self.sample(first + n) for n in range(count)])


def split_annex_b(stream: bytes) -> list[bytes]:
    """NAL units of a byte stream, the plain way."""
    units = stream.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")
    return [unit for unit in units if unit]


def _picture(number: int, width: int, height: int) -> av.VideoFrame:
    picture = av.VideoFrame(width, height, "yuv420p")
    for index, plane in enumerate(picture.planes):
        plane.update(bytes((x + number * 3 + index) & 0xFF for x in range(plane.line_size)) * plane.height)
    picture.pts = number
    return picture


@cache
def video(
    frames: int = 100, gop: int = 25, bframes: int = 0, width: int = 320, height: int = 240, encoding: str = "H264"
) -> Video:
    """`frames` pictures of a moving ramp, a closed group of pictures every `gop`."""
    library = "x264" if encoding == "H264" else "x265"
    encoder = av.CodecContext.create(f"lib{library}", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, RATE), Fraction(RATE)
    params = f"keyint={gop}:min-keyint={gop}:scenecut=0:bframes={bframes}:b-adapt=0:repeat-headers=1"
    if encoding == "H265":
        params += ":open-gop=0:info=0:log-level=none:pools=none:frame-threads=1"
    encoder.options = {"preset": "ultrafast" if not bframes else "veryfast", f"{library}-params": params}
    packets = [packet for number in range(frames) for packet in encoder.encode(_picture(number, width, height))]
    packets += encoder.encode(None)
    units = [split_annex_b(bytes(packet)) for packet in packets]
    kinds = (7, 8) if encoding == "H264" else (32, 33, 34)
    sets = [[next(n for n in units[0] if (n[0] & 31 if encoding == "H264" else n[0] >> 1) == kind)] for kind in kinds]
    delay = -min((packet.pts or 0) - number for number, packet in enumerate(packets))
    offsets = [((packet.pts or 0) - number + delay) * FRAME_TICKS for number, packet in enumerate(packets)]
    keys = [packet.is_keyframe for packet in packets]
    return Video(video_track(encoding, sets, width, height), units, keys, offsets)


@cache
def audio(seconds: int = 4, rate: int = 16_000) -> tuple[Track, list[bytes]]:
    """AAC frames of 1024 samples each, of silence and a saw."""
    encoder = av.CodecContext.create("aac", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.format, encoder.layout = rate, av.AudioFormat("fltp"), "mono"
    encoder.time_base = Fraction(1, rate)
    frames: list[bytes] = []
    for number in range(seconds * rate // 1024):
        frame = av.AudioFrame("fltp", "mono", 1024)
        frame.planes[0].update(bytes((number * 7 + x) & 0x3F for x in range(1024 * 4)))
        frame.sample_rate, frame.pts, frame.time_base = rate, number * 1024, Fraction(1, rate)
        frames += [bytes(packet) for packet in encoder.encode(frame)]
    frames += [bytes(packet) for packet in encoder.encode(None)]
    config = encoder.extradata
    assert config is not None
    return audio_track(config, rate, 1), frames
