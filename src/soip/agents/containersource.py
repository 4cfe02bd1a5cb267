"""A media file (looped) or an RTSP address as a source: H.264 and H.265 pass through, the rest becomes H.264.

Passed through means: the NAL units of the container in decoding order, RTP timestamps from the presentation
times, so composition offsets survive; parameter sets that stand only in the container's header are put in
band before each keyframe. A file is paced by its decoding times, a live address by itself.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import structlog
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from soip.agents.encoder import Encoder
from soip.agents.errors import SourceError, UnreadableError
from soip.agents.nalsplit import Splitter
from soip.agents.soundencoder import SoundEncoder
from soip.agents.source import VIDEO_CLOCK, AudioUnit, Source, VideoUnit
from soip.rtp.h264 import H264
from soip.rtp.h265 import H265
from soip.rtp.nal import Coding
from soip.rtp.sound import PCMU, SoundFormat

log = structlog.get_logger(__name__)

_OPEN_TIMEOUT, _READ_TIMEOUT = 5.0, 5.0
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
_DEFAULT_RATE = Fraction(25)
_USERINFO = re.compile(r"(?<=://)[^/\s]*@")


def without_userinfo(text: str) -> str:
    """The text with no user names and passwords in its addresses (RFC 3986 §3.2.1): for logs and errors."""
    return _USERINFO.sub("", text)


class ContainerSource(Source):
    """`address` is a path or a URL FFmpeg can read; live ones are reconnected, files looped.

    The address may hold a password; `name` and the text of errors do not.
    """

    def __init__(self, address: str, sound: SoundFormat = PCMU) -> None:
        super().__init__(without_userinfo(address), sound)
        self._address = address
        self._live = address.partition("://")[0] in ("rtsp", "rtsps")
        self._coding = H264
        self._parameter_sets: tuple[bytes, ...] = ()
        self._has_audio = True
        self._origin = time.monotonic()
        self._sent = 0.0

    @property
    def coding(self) -> Coding:
        return self._coding

    @property
    def parameter_sets(self) -> tuple[bytes, ...]:
        return self._parameter_sets

    @property
    def has_audio(self) -> bool:
        return self._has_audio

    def probe(self) -> None:
        """Look into the source (blocks). Raises `SourceError` for a file without a picture; a live address
        that is away now may come later.
        """
        try:
            with self._open() as container:
                self._has_audio = bool(container.streams.audio)
                stream = _video_of(container)
                coding = _passes(stream)
                self._coding = coding or H264
                self._parameter_sets = _splitter_of(stream, coding).parameter_sets if coding else ()
        except UnreadableError as error:
            if not self._live:
                raise
            log.warning(
                "the source does not answer yet; it will be tried for each call", source=self.name, error=str(error)
            )

    @contextmanager
    def _open(self) -> Iterator[InputContainer]:
        """The container, while it is read. Raises UnreadableError, also for what is read within."""
        options = {"rtsp_transport": "tcp"} if self._live else {}
        timeout = (_OPEN_TIMEOUT, _READ_TIMEOUT) if self._live else None
        try:
            with av.open(self._address, options=options, timeout=timeout) as container:
                yield container
        except (av.FFmpegError, OSError) as error:
            # FFmpeg's text holds the whole address, and a traceback would show it.
            raise UnreadableError(f"cannot read {self.name}: {without_userinfo(str(error))}") from None

    def _run(self, stop: threading.Event) -> None:
        if self._live:
            self._run_live(stop)
            return
        start = self._begin()
        while not stop.is_set():
            before = start
            with self._open() as container:
                start = _Reading(self, container, stop, start).play()
            if start <= before:
                raise SourceError(f"{self.name} holds no picture with a duration")

    def _run_live(self, stop: threading.Event) -> None:
        pause = _FIRST_PAUSE
        while not stop.is_set():
            start = self._begin()
            try:
                with self._open() as container:
                    _Reading(self, container, stop, start).play()
            except SourceError as error:
                log.warning("live source lost; trying again", source=self.name, error=str(error), pause=pause)
            if self._begin() - start > _LONGEST_PAUSE:
                pause = _FIRST_PAUSE
            stop.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _begin(self) -> float:
        """Where media goes on, in seconds since the origin: now, but never before what has been sent."""
        return max(time.monotonic() - self._origin, self._sent)


@dataclass
class _Reading:
    """One pass over a container, begun `start` seconds after the source's origin, in its thread."""

    source: ContainerSource
    container: InputContainer
    stop: threading.Event
    start: float
    _first: float | None = None
    _begin: float | None = None
    _end: float = 0.0
    _counted: float = 0.0
    _samples: int | None = None
    _encoder: Encoder | None = None
    _sound_encoder: SoundEncoder = field(init=False)

    def __post_init__(self) -> None:
        self._sound_encoder = SoundEncoder(self.source.sound)

    def play(self) -> float:
        """Emit until the end or `stop`; returns when the media ends, in seconds since the origin."""
        video = _video_of(self.container)
        audio = self.container.streams.audio[0] if self.container.streams.audio else None
        coding = _passes(video)
        self.source._coding = coding or H264  # a live address may change it, or did not answer when it was asked
        splitter = _splitter_of(video, coding) if coding else None
        resampler = AudioResampler(format="s16", layout="mono", rate=self.source.sound.clock_rate)
        streams = [video] if audio is None else [video, audio]
        for packet in self.container.demux(streams):
            if self.stop.is_set():
                break
            if packet.stream is video and splitter is not None:
                if packet.size:  # the last one is an empty flush
                    self._pass(packet, splitter)
            elif packet.stream is video:
                for picture in _decoded(packet):
                    if isinstance(picture, VideoFrame):
                        self._transcode(picture, video)
            else:
                for sound in _decoded(packet):
                    if isinstance(sound, AudioFrame):
                        self._hear(sound, resampler)
        return self.start + self._end - (self._begin or 0.0)

    def _pass(self, packet: Packet[Any], splitter: Splitter) -> None:
        nals = splitter.split(bytes(packet), packet.is_keyframe)
        if not nals:
            return
        self.source._parameter_sets = splitter.parameter_sets
        rate = packet.stream.average_rate or _DEFAULT_RATE
        step = float((packet.duration or 0) * packet.time_base) or float(1 / rate)
        if packet.pts is None:  # a bare byte stream knows no times; without B-frames, counting is right
            presented = decoded = self._counted
            self._counted += step
        else:
            presented = float(packet.pts * packet.time_base)
            decoded = presented if packet.dts is None else float(packet.dts * packet.time_base)
        media = self._since_first(decoded)
        self._show(nals, media, media + presented - decoded, step)

    def _transcode(self, frame: VideoFrame, stream: VideoStream) -> None:
        width, height = frame.width // 2 * 2, frame.height // 2 * 2
        rate = stream.average_rate or _DEFAULT_RATE
        if self._encoder is None or (self._encoder.width, self._encoder.height) != (width, height):
            self._encoder = Encoder(width, height, rate)
        step = float((frame.duration or 0) * (frame.time_base or 0)) or float(1 / rate)
        media = self._since_first(self._counted if frame.pts is None else frame.time)
        self._counted += step
        plain = frame.reformat(width=width, height=height, format="yuv420p")
        ticks = round((self.start + media) * VIDEO_CLOCK)
        nals = self._encoder.encode(plain, ticks, self.source._take_keyframe_request())
        if nals:
            self._show(nals, media, media, step)

    def _show(self, nals: tuple[bytes, ...], decoded: float, presented: float, step: float) -> None:
        # The next pass must continue the presentation times: the first picture's delay counts once only.
        self._begin = presented if self._begin is None else min(self._begin, presented)
        self._end = max(self._end, presented + step)
        self._wait(decoded)
        self.source._sent = max(self.source._sent, self.start + presented + step)
        ticks = round((self.start + presented) * VIDEO_CLOCK)
        self.source._emit(VideoUnit(nals, ticks, self._utc(presented), self.source.coding.is_keyframe(nals)))

    def _hear(self, frame: AudioFrame, resampler: AudioResampler) -> None:
        rate = self.source.sound.clock_rate
        if self._samples is None:
            media = self._since_first(frame.time or 0.0)
            self._samples = round((self.start + media) * rate)
        for piece in resampler.resample(frame):
            samples = bytes(piece.planes[0])[: 2 * piece.samples]
            for tick, coded in self._sound_encoder.feed(samples, self._samples):
                media = tick / rate - self.start
                self._wait(media)
                self.source._emit(AudioUnit(coded, tick, self._utc(media)))
            self._samples += piece.samples

    def _since_first(self, seconds: float) -> float:
        if self._first is None:
            self._first = seconds
            if self.source._live:  # connecting took its time
                self.start = self.source._begin()
        return seconds - self._first

    def _wait(self, media: float) -> None:
        if not self.source._live:
            due = self.source._origin + self.start + media
            self.stop.wait(max(0.0, due - time.monotonic()))

    def _utc(self, media: float) -> float:
        # The wall time at which this media time is due; monotonic and wall clock are read together.
        return time.time() + self.source._origin + self.start + media - time.monotonic()


def _decoded(packet: Packet[Any]) -> list[Any]:
    """The frames of a packet; a damaged one yields none, as on any screen."""
    try:
        return list(packet.decode())
    except av.InvalidDataError:
        return []


def _splitter_of(stream: VideoStream, coding: Coding) -> Splitter:
    return Splitter(bytes(stream.codec_context.extradata or b""), coding)


def _video_of(container: InputContainer) -> VideoStream:
    if not container.streams.video:
        raise SourceError(f"{without_userinfo(container.name)} holds no video")
    return container.streams.video[0]


def _passes(stream: VideoStream) -> Coding | None:
    """How the stream is coded if it passes: unless as a bare byte stream with B-frames, which has no presentation
    times.
    """
    context = stream.codec_context
    coding = {"h264": H264, "hevc": H265}.get(context.name)
    bare = stream.container.format.name == context.name
    return None if bare and context.has_b_frames else coding
