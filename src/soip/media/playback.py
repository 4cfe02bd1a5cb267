"""Recorded pictures to one viewer by RTP, at the speed they were taken."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from itertools import islice
from pathlib import Path

import structlog

from soip.media.context import Context
from soip.media.intake import Codec
from soip.media.outleg import OutLeg
from soip.mp4.times import us_of
from soip.net.gso import GsoSender
from soip.net.rtp import RtpSocketPair
from soip.rtp import rtcp
from soip.rtp.errors import RtpParseError
from soip.rtp.h264 import CLOCK_RATE, PACKET_SIZE, packetise
from soip.rtp.h264_sets import find_sets, parse_sps
from soip.rtp.retransmission import Answers, History
from soip.rtp.sender import SendStream
from soip.sip.errors import OfferError
from soip.sip.offer import Agreement
from soip.store.errors import StoreError
from soip.store.reader import Frame, play

SEARCHED = 1000
"""Pictures looked through for parameter sets: every recorded keyframe has them."""
GAP_US = 1_000_000
"""A longer hole between two pictures is skipped."""
BATCH = 50
"""Frames read in one go."""
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
                sps, pps = find_sets([bytes(nal) for nal in picture.nals()])
                if sps and pps:
                    try:
                        return Codec(sps[0], tuple(pps), parse_sps(sps[0]))
                    except RtpParseError as error:
                        raise NothingRecordedError(f"the recording cannot be decoded: {error}") from error
        raise NothingRecordedError("nothing that can be decoded was recorded in that time")

    async def pictures(self) -> AsyncGenerator[Frame]:
        """All pictures in decoding order, from the keyframe at or before the start.

        What cannot be read any more is skipped and logged.
        """
        for file in self._files:
            frames = play([file], *self._range_us)
            try:
                while batch := await asyncio.to_thread(list[Frame], islice(frames, BATCH)):
                    for frame in batch:
                        if frame.track.handler == "vide":
                            yield frame
            except (OSError, StoreError) as error:
                _log.error("a recording cannot be read", file=str(file), reason=str(error))


class Playback:
    """One viewer's playback. `play` returns when the last picture has been sent."""

    def __init__(
        self, context: Context, programme: Programme, agreement: Agreement, pairs: list[RtpSocketPair]
    ) -> None:
        self._context = context
        self._programme = programme
        self._leg: OutLeg | None = None
        self._going = asyncio.Event()
        self._going.set()
        stream = agreement.video
        if stream is not None and stream.sends:
            self._leg = OutLeg(context, pairs[0], stream, lambda: None, self._heed)
            self._sent, self._answers = History(PACKET_SIZE), Answers()
            self._sender = GsoSender(pairs[0].rtp, PACKET_SIZE)
            # RFC 3550 §5.1: SSRC, first sequence number and timestamp offset are random.
            self._stream = SendStream(
                stream.payload_type, secrets.randbits(32), secrets.randbits(16), secrets.randbits(32)
            )

    async def play(self) -> None:
        """Send every picture at its time; gaps are skipped, timestamps rise all the same (RFC 3550 §5.1)."""
        if self._leg is None:
            return
        began = self._context.now()
        origin_us: int | None = None
        last_us = 0
        async with aclosing(self._programme.pictures()) as pictures:
            async for picture in pictures:
                decode_us = picture.utc_us - us_of(picture.composition_offset, picture.track.timescale)
                if origin_us is None:
                    origin_us = decode_us
                elif decode_us - last_us > GAP_US or decode_us < last_us:
                    origin_us += decode_us - last_us - FRAME_US
                last_us = decode_us
                began += await self._held()
                await self._until(began + (decode_us - origin_us) / 1e6)
                timestamp = (picture.utc_us - origin_us) * CLOCK_RATE // 1_000_000
                nals = [bytes(nal) for nal in picture.nals()]
                first = self._stream.sequence
                datagrams = self._stream.stamp(packetise(nals), timestamp)
                self._sent.add(first, datagrams, self._context.now())
                self._sender.send(datagrams)
                self._leg.report(self._stream.ssrc, self._stream.timestamp, self._stream.packets, self._stream.octets)

    def direct(self, agreement: Agreement) -> None:
        """Go on as was agreed anew (RFC 3264 §8): on hold it pauses. Raises OfferError, and then goes on as before."""
        stream = agreement.video
        if self._leg is None:
            return
        if stream is None or not stream.sends:
            self._going.clear()
            return
        before = self._leg.stream
        try:
            self._leg.direct(stream)
        except (OfferError, OSError) as error:
            self._leg.direct(before)
            raise OfferError(f"no way to your media address: {error}") from error
        self._stream.payload_type = stream.payload_type
        self._going.set()

    @property
    def heard(self) -> float | None:
        """When the viewer's last RTCP came."""
        return self._leg.heard if self._leg else None

    def close(self) -> None:
        if self._leg is not None:
            self._leg.close()

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

    async def _until(self, when: float) -> None:
        left = when - self._context.now()
        if left > 0:
            await asyncio.sleep(left)
