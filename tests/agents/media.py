"""Media files and listeners for the tests of sources, camera and player."""

import asyncio
import io
from fractions import Fraction
from pathlib import Path

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from soip.agents.source import AudioUnit, Source, Unit, VideoUnit
from soip.rtp.nal import split_annex_b, split_length_prefixed

RATE = 100  # quick, so that tests are


def write_movie(
    path: Path,
    codec: str = "libx264",
    frames: int = 30,
    *,
    b_frames: int = 0,
    audio: bool = False,
    size: tuple[int, int] = (320, 240),
) -> Path:
    """A movie whose every picture has another grey; the container follows from the path's suffix."""
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=RATE)
        assert isinstance(video, VideoStream)
        video.width, video.height, video.pix_fmt, video.gop_size = *size, "yuv420p", 10
        if codec == "libx265":
            params = f"bframes={b_frames}:b-adapt=0:keyint=10:open-gop=0:log-level=none:pools=none:frame-threads=1"
            video.options = {"preset": "ultrafast", "x265-params": params}
        if codec == "libx264":
            video.options = {"bf": str(b_frames), "b-adapt": "0", "preset": "veryfast", "threads": "1"}
        sound = container.add_stream("aac", rate=16_000, layout="mono") if audio else None
        for number in range(frames):
            for packet in video.encode(grey(number, size)):
                container.mux(packet)
        for packet in video.encode(None):
            container.mux(packet)
        if isinstance(sound, AudioStream):
            _write_sound(container, sound, frames)
    return path


def grey(number: int, size: tuple[int, int] = (320, 240)) -> VideoFrame:
    """A flat picture; its pts counts pictures."""
    frame = VideoFrame(*size, "yuv420p")
    for index, plane in enumerate(frame.planes):
        plane.update(bytes([(16 + number * 7) % 220 if index == 0 else 128]) * plane.buffer_size)
    frame.pts, frame.time_base = number, Fraction(1, RATE)
    return frame


def _write_sound(container: av.container.OutputContainer, sound: AudioStream, frames: int) -> None:
    size = 16_000 * frames // RATE
    frame = AudioFrame("s16", "mono", size)
    frame.planes[0].update(bytes(2 * size))
    frame.sample_rate, frame.pts, frame.time_base = 16_000, 0, Fraction(1, 16_000)
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=16_000, frame_size=1024)
    for piece in [*resampler.resample(frame), *resampler.resample(None), None]:
        for packet in sound.encode(piece):
            container.mux(packet)


def movie_units(path: Path) -> list[tuple[float, list[bytes]]]:
    """What PyAV sees in a movie: presentation second and NAL units per packet, in decoding order."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        extradata = stream.codec_context.extradata or b""
        split = split_length_prefixed if extradata[:1] == b"\x01" else split_annex_b
        return [
            (float((packet.pts or 0) * packet.time_base), [bytes(nal) for nal in split(bytes(packet))])
            for packet in container.demux(stream)
            if packet.size
        ]


def decode(units: list[VideoUnit], codec: str = "h264") -> list[VideoFrame]:
    """Decoded pictures of access units."""
    context = av.CodecContext.create(codec, "r")
    assert isinstance(context, VideoCodecContext)
    data = io.BytesIO()
    pictures = []
    for unit in units:
        data.seek(0)
        data.truncate()
        for nal in unit.nals:
            data.write(b"\0\0\0\1" + nal)
        pictures += context.decode(av.Packet(data.getvalue()))
    return [*pictures, *context.decode(None)]


async def listen(source: Source, count: int, within: float = 60.0) -> tuple[list[VideoUnit], list[AudioUnit]]:
    """Attach until `count` video units have come, then detach."""
    video: list[VideoUnit] = []
    audio: list[AudioUnit] = []
    enough = asyncio.Event()

    def take(unit: Unit) -> None:
        if isinstance(unit, AudioUnit):
            audio.append(unit)
            return
        video.append(unit)
        if len(video) >= count:
            enough.set()

    source.attach(take)
    try:
        await asyncio.wait_for(enough.wait(), within)
    finally:
        source.detach(take)
    return video[:count], audio
