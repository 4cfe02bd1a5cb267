"""Recorded pictures and sound to one viewer by RTP, at the speed they were taken."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from itertools import islice
from pathlib import Path

import structlog

from soip.media.audio import PhoneSound
from soip.media.audioleg import AudioLeg
from soip.media.context import Context
from soip.media.intake import Sound
from soip.media.outleg import OutLeg
from soip.media.soundtrack import format_of
from soip.mp4.times import us_of
from soip.net.rtpway import RtpWay
from soip.rtp import rtcp
from soip.rtp.codec import CODINGS, Codec, learn
from soip.rtp.errors import RtpParseError
from soip.rtp.nal import CLOCK_RATE, PACKET_SIZE, packetise
from soip.rtp.receiver import AudioFrame
from soip.rtp.retransmission import Answers, History
from soip.rtp.sender import SendStream
from soip.rtp.sound import G711, SoundFormat
from soip.sip.errors import OfferError
from soip.sip.offer import Agreement, Stream
from soip.store.errors import StoreError
from soip.store.reader import Frame, RecordingFile, play

SEARCHED = 1000
"""Pictures looked through for parameter sets: every recorded keyframe has them."""
GAP_US = 1_000_000
"""A longer hole between two pictures is skipped."""
BATCH = 50
"""Frames read in one go."""
SLACK_US = 5_000
"""Sound that begins so near to the end of the last follows it without a gap."""
FRAME_US = 40_000
"""What a skipped hole becomes, so that timestamps still rise."""

_log = structlog.get_logger()


class NothingRecordedError(Exception):
    """There is nothing to play back in the asked range."""


class Programme:
    """The pictures of a range, across files. Reading happens in threads, some frames at a time."""

    def __init__(self, files: list[Path], range_us: tuple[int, int]) -> None:
        self._files = files
        self._range_us = range_us

    async def codec(self) -> Codec:
        """What the first picture is coded with. Raises NothingRecordedError."""
        looked_at = 0
        async with aclosing(self.pictures()) as pictures:
            async for picture in pictures:
                if (looked_at := looked_at + 1) > SEARCHED:
                    break
                try:
                    codec = learn(CODINGS[picture.track.encoding], [bytes(nal) for nal in picture.nals()])
                except RtpParseError as error:
                    raise NothingRecordedError(f"the recording cannot be decoded: {error}") from error
                if codec is not None:
                    return codec
        raise NothingRecordedError("nothing that can be decoded was recorded in that time")

    async def sound(self) -> SoundFormat | None:
        """What the first sound of the range is coded with; None where there is none that can be sent."""
        return await asyncio.to_thread(self._find_sound)

    def _find_sound(self) -> SoundFormat | None:
        for path in self._files:
            try:
                with RecordingFile(path) as file:
                    tracks = file.index.init.tracks
            except (OSError, StoreError):
                continue  # told when it is to be played
            for track in tracks:
                if track.handler == "soun" and (form := format_of(track)):
                    return form
        return None

    async def pictures(self) -> AsyncGenerator[Frame]:
        """All pictures in decoding order, from the keyframe at or before the start."""
        async with aclosing(self.frames()) as frames:
            async for frame in frames:
                if frame.track.handler == "vide":
                    yield frame

    async def frames(self) -> AsyncGenerator[Frame]:
        """Pictures and sound in decoding order. What cannot be read any more is skipped and logged."""
        for file in self._files:
            frames = play([file], *self._range_us)
            try:
                while batch := await asyncio.to_thread(list[Frame], islice(frames, BATCH)):
                    for frame in batch:
                        yield frame
            except (OSError, StoreError) as error:
                _log.error("a recording cannot be read", file=str(file), reason=str(error))


class Playback:
    """One viewer's playback. `play` returns when all has been sent."""

    def __init__(self, context: Context, programme: Programme, agreement: Agreement, pairs: list[RtpWay]) -> None:
        self._context = context
        self._programme = programme
        self._leg: OutLeg | None = None
        self._heard: _Heard | None = None
        self._began = 0.0
        self._origin_us: int | None = None
        """When the playback began, and which UTC of the recording belongs to that; a skipped hole moves it."""
        self._going = asyncio.Event()
        self._going.set()
        self._broken = False
        stream = agreement.video
        if stream is not None and stream.sends:
            self._leg = OutLeg(context, pairs[0], stream, lambda: None, self._heed)
            self._sent, self._answers = History(PACKET_SIZE), Answers()
            self._sender = pairs[0].sender(PACKET_SIZE, self._lost)
            # RFC 3550 §5.1: SSRC, first sequence number and timestamp offset are random.
            self._stream = SendStream(
                stream.payload_type, secrets.randbits(32), secrets.randbits(16), secrets.randbits(32)
            )

        sound = agreement.audio
        try:
            if sound is not None and sound.sends and len(pairs) > 1:
                self._heard = _Heard(context, pairs[1], sound)
        except BaseException:
            self.close()
            raise

    async def play(self) -> None:
        """Send every frame at its time; gaps are skipped, timestamps rise all the same (RFC 3550 §5.1)."""
        if self._leg is None and self._heard is None:
            return
        self._began = self._context.now()
        last_us = 0
        async with aclosing(self._programme.frames()) as frames:
            async for frame in frames:
                if frame.track.handler == "soun":
                    # Sound from beyond a hole that the pictures have not reached yet would be sent before them.
                    if self._heard and self._origin_us is not None and abs(frame.utc_us - last_us) <= GAP_US:
                        await self._heard.take(frame)
                    continue
                decode_us = frame.utc_us - us_of(frame.composition_offset, frame.track.timescale)
                if self._origin_us is None:
                    self._origin_us = decode_us
                elif decode_us - last_us > GAP_US or decode_us < last_us:
                    self._origin_us += decode_us - last_us - FRAME_US
                    if self._heard:
                        self._heard.skip()
                last_us = decode_us
                self._began += await self._held()
                await self._until(decode_us)
                self._show(frame)
        await self._until(last_us + GAP_US, linger=False)

    def _show(self, picture: Frame) -> None:
        assert self._origin_us is not None
        if self._leg is None:
            return
        if picture.track.encoding != self._leg.stream.encoding:
            return  # of another codec than was agreed on: to be played back in a call of its own
        if self._broken and not picture.sync:
            return
        self._broken = False
        timestamp = (picture.utc_us - self._origin_us) * CLOCK_RATE // 1_000_000
        coding = CODINGS[picture.track.encoding]
        nals = [bytes(nal) for nal in picture.nals()]
        stream = self._stream
        first = stream.sequence
        datagrams = stream.stamp(packetise(coding, nals), timestamp)
        self._sent.add(first, datagrams, self._context.now())
        self._sender.send(datagrams)
        due_us = self._context.wall.utc_us(self._due(picture.utc_us))
        self._leg.report(stream.ssrc, stream.timestamp, stream.packets, stream.octets, due_us)

    def direct(self, agreement: Agreement) -> None:
        """Go on as was agreed anew (RFC 3264 §8): on hold it pauses. Raises OfferError, and then goes on as before."""
        stream, heard = agreement.video, agreement.audio
        if self._leg is not None and stream is not None and stream.sends:
            before = self._leg.stream
            try:
                self._leg.direct(stream)
            except (OfferError, OSError) as error:
                self._leg.direct(before)
                raise OfferError(f"no way to your media address: {error}") from error
            self._stream.payload_type = stream.payload_type
            self._sender = self._leg.pair.sender(PACKET_SIZE, self._lost)
        if self._heard is not None:
            self._heard.direct(heard)
        main = heard if self._leg is None else stream
        if main is None or not main.sends:
            self._going.clear()
        else:
            self._going.set()

    @property
    def heard(self) -> float | None:
        """When the viewer's last RTCP came."""
        legs = [self._leg, self._heard and self._heard.leg.leg]
        return max((leg.heard for leg in legs if leg and leg.heard is not None), default=None)

    @property
    def trouble(self) -> str:
        """Why nothing can be shown any more; "" as long as it can."""
        return self._leg.pair.trouble(self._context.now()) if self._leg else ""

    def close(self) -> None:
        if self._leg is not None:
            self._leg.close()
        if self._heard is not None:
            self._heard.leg.leg.close()

    def _lost(self) -> None:
        """The viewer is too slow: it goes on at the next keyframe."""
        self._broken = True

    def _heed(self, packets: Sequence[rtcp.Packet]) -> None:
        """Send again what the viewer asks for, where that was agreed on (RFC 4585 §6.2.1)."""
        assert self._leg is not None
        if "nack" not in self._leg.stream.feedback:
            return
        for packet in packets:
            if isinstance(packet, rtcp.Nack) and packet.media_ssrc == self._stream.ssrc:
                self._sender.send(self._answers.answer(self._sent, packet.sequences, 0.0, self._context.now()))

    async def _held(self) -> float:
        """Wait while on hold; gives for how long."""
        if self._going.is_set():
            return 0.0
        since = self._context.now()
        await self._going.wait()
        return self._context.now() - since

    def _due(self, utc_us: int) -> float:
        """When what was recorded then is to be sent."""
        assert self._origin_us is not None
        return self._began + (utc_us - self._origin_us) / 1e6

    async def _until(self, utc_us: int, *, linger: bool = True) -> None:
        """Wait until this time of the recording, or only until no sound waits; send what is to be heard before it."""
        if self._origin_us is None:
            return
        while self._heard is not None and (sound := self._heard.next(utc_us)) is not None:
            await _sleep(self._due(sound.utc_us) - self._context.now())
            due_us = self._context.wall.utc_us(self._due(sound.utc_us))
            self._heard.send(sound, sound.utc_us - self._origin_us, due_us)
        if linger:
            await _sleep(self._due(utc_us) - self._context.now())


class _Heard:
    """The sound of one playback: as recorded where the viewer takes that, else as G.711, coded in a thread."""

    def __init__(self, context: Context, pair: RtpWay, stream: Stream) -> None:
        self.leg = AudioLeg(context, pair, stream)
        self._phone = PhoneSound() if stream.encoding in G711 else None
        self._wanted = (SoundFormat(stream.encoding),)
        self._waiting: deque[Sound] = deque()
        self._muted = False
        self._offset = secrets.randbits(32)
        self._expected: int | None = None

    def direct(self, stream: Stream | None) -> None:
        """Go on as was agreed anew; silent without a stream that sends. Raises OfferError, and goes on as before."""
        self._muted = stream is None or not stream.sends
        if stream is None or self._muted:
            return
        before = self.leg.stream
        try:
            self.leg.direct(stream)
        except (OfferError, OSError) as error:
            self.leg.direct(before)
            raise OfferError(f"no way to your media address: {error}") from error

    async def take(self, frame: Frame) -> None:
        """A recorded frame, to be sent at its time."""
        form = format_of(frame.track)
        if form is None:
            return
        sound = Sound(AudioFrame(bytes(frame.data), 0, 0.0, 0), frame.utc_us, form)
        self._waiting += await asyncio.to_thread(self._phone.feed, [sound], self._wanted) if self._phone else [sound]

    def next(self, before_us: int) -> Sound | None:
        """What is to be heard next, if before that time of the recording."""
        if self._waiting and self._waiting[0].utc_us < before_us:
            return self._waiting.popleft()
        return None

    def skip(self) -> None:
        """There is a hole: what waits has come too late."""
        self._waiting.clear()

    def send(self, sound: Sound, played_us: int, due_us: int) -> None:
        """Send what lies so far behind the beginning, and is heard at a UTC of ours."""
        rate = sound.format.clock_rate
        ticks = played_us * rate // 1_000_000
        if self._expected is not None and abs(ticks - self._expected) <= rate * SLACK_US // 1_000_000:
            ticks = self._expected
        try:
            self._expected = ticks + sound.format.samples(sound.frame.payload)
        except RtpParseError:
            return
        if not self._muted:
            sound.frame.timestamp, sound.utc_us = ticks + self._offset, due_us
            self.leg.send(sound)
            self.leg.report()


async def _sleep(seconds: float) -> None:
    if seconds > 0:
        await asyncio.sleep(seconds)
