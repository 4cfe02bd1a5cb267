"""An MPEG-2 program stream (ITU-T H.222.0 | ISO/IEC 13818-1 §2.5) over RTP, as surveillance devices send it: GB/T 28181
annex C, ``PS/90000``. Pictures and sound share one RTP stream.

    pack header  [system header  program stream map]  PES packet (video) …  PES packet (audio) …  pack header …

A program stream is read as bytes that come in any cut. What devices make of it is borne:

- The map comes before keyframes, or never: then the byte stream itself tells its codec (``rtp.bytestream``), stream
  ids E0…EF are video, C0…DF sound, in A-law if it is no AAC (GB/T 28181's first choice). Its CRC is wrong too often to
  be looked at.
- Lengths of video PES packets are wrong, or 0. They are not needed: no byte stream of H.264 or H.265 holds 00 00 01 and
  a byte from 80 on, so a PES packet of video ends where the next start code of the system layer is, B9…FF.
- A picture of more than 65 535 bytes takes several PES packets, of which often only the first carries a PTS.
- A PTS that stands still while the RTP timestamp goes on is none. Without PTS, the RTP timestamp tells the time.

Where packets are missing, the access unit under way is dropped, and reading goes on at the next start code; what is
missing counts as ``lost`` of the next access unit that comes. From there on pictures are damaged, up to a keyframe.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from soip.rtp import adts
from soip.rtp.batch import DatagramBatch
from soip.rtp.bytestream import Assembled, ByteStream, Stamp
from soip.rtp.h264 import H264
from soip.rtp.h265 import H265
from soip.rtp.nal import CLOCK_RATE, AccessUnit, Chain
from soip.rtp.packet import extend_timestamp
from soip.rtp.receiver import StreamReceiver

MAX_MAP = 1018
"""Bytes that a program stream map may have behind its length (§2.5.4.2)."""
MOST_WAITING = 1 << 16
"""Bytes of one timestamp that wait to be read at once."""
G711_PIECE = 160
"""Bytes of G.711 in a frame: 20 ms (RFC 3551 §4.2), however long the PES packets are, so that it can go on by RTP."""

PACK, SYSTEM, MAP = 0xBA, 0xBB, 0xBC
FIRST_SYSTEM = 0xB9
"""The lowest stream id of the system layer (table 2-18): what is below belongs to MPEG video."""
VIDEO, SOUND = range(0xE0, 0xF0), range(0xC0, 0xE0)

VIDEO_TYPES = {0x1B: H264, 0x24: H265}
"""Codings by stream_type (H.222.0 table 2-34)."""
PCMA, PCMU, AAC = "PCMA", "PCMU", "AAC"
SOUND_TYPES = {0x90: PCMA, 0x91: PCMU, 0x0F: AAC}
"""The same for sound: AAC is in ADTS frames (table 2-34), G.711 is GB/T 28181's (annex C)."""

_START = b"\x00\x00\x01"
_PACK_SIZE = 14
_PES_SIZE = 9


@dataclass(slots=True)
class Sounding:
    """A frame of sound: 20 ms of G.711 at most, or an access unit of AAC without its ADTS header."""

    encoding: str
    payload: bytes
    timestamp: int
    """90 kHz ticks, extended to 64 bits."""
    arrival: float
    config: bytes = b""
    """Of AAC, the AudioSpecificConfig (ISO/IEC 14496-3 §1.6.2.1)."""


class _Timeline:
    """PTS and RTP timestamps of one elementary stream as one count of 90 kHz ticks, 64 bits wide. That of the `other`
    stream counts from the same beginning.
    """

    def __init__(self) -> None:
        self.other: _Timeline | None = None
        self._ticks: int | None = None
        self._pts: int | None = None
        self._raw = 0

    def at(self, pts: int | None, timestamp: int) -> int:
        """The ticks of what has this PTS (33 bits, §2.4.3.7) if any, and this RTP timestamp (32 bits)."""
        if pts is not None and pts == self._pts and timestamp != self._raw:
            pts = None
        near = self.near(timestamp)
        if near is None:
            # One turn above the first value: nothing shown before the first counts below zero.
            ticks = (1 << 33) + (timestamp if pts is None else pts)
        elif pts is None:
            ticks = near
        else:
            ticks = near + ((pts - near + (1 << 32)) & 0x1_FFFF_FFFF) - (1 << 32)
        self._ticks, self._raw = ticks, timestamp
        if pts is not None:
            self._pts = pts
        return ticks

    def near(self, timestamp: int) -> int | None:
        """The ticks at an RTP timestamp, counted on from what came last; None if nothing has."""
        if self._ticks is None:
            known = self.other
            return None if known is None or known._ticks is None else known.near(timestamp)
        return self._ticks + extend_timestamp(self._raw, timestamp) - self._raw


class Demultiplexer:
    """Payloads in sequence order → pictures and sound, collected in ``ready``; the caller takes them out, after
    ``settle``.

    One stream of video and one of sound are taken, the first of each kind that we know. No more is ever kept than an
    access unit, a PES packet of sound and what is left of an AAC frame.
    """

    def __init__(self) -> None:
        self.ready: list[AccessUnit | Sounding] = []
        self.malformed = 0
        """Places where something else stood than the standard has there."""
        self.sound_encoding = ""
        """That of the sound, as far as the map or the sound itself has told."""
        self._video = ByteStream(self._picture)
        self._adts = adts.Reader()
        self._buffer = bytearray()
        self._at = 0
        self._state: Callable[[], bool] = self._seek
        self._left = 0
        self._times: list[int] = []
        self._stamp = Stamp([], -1, 0.0)
        self._packets = 0
        """Packets whose payloads have not been read yet."""
        self._dropped = 0
        """What the byte stream had dropped at the last picture."""
        self._forget()

    def _forget(self) -> None:
        """What another stream, or another map, tells anew."""
        self._mapped = False
        self._keyframe = False
        self._video_id: int | None = None
        self._sound_id: int | None = None
        self._video_time, self._sound_time = _Timeline(), _Timeline()
        self._video_time.other, self._sound_time.other = self._sound_time, self._video_time
        self._lost = 0
        self._chain = Chain()

    @property
    def encoding(self) -> str:
        """H264 or H265, as far as the map or the byte stream has told; else ""."""
        return self._video.coding.name if self._video.coding else ""

    @property
    def oversize(self) -> int:
        """Access units dropped for their size."""
        return self._video.oversize

    def push(
        self, data: memoryview, start: int, end: int, marker: int, timestamp: int, arrival: float, lost: int = 0
    ) -> None:
        """Take the payload ``data[start:end]`` of the next packet; ``lost`` packets are missing before it."""
        if lost:
            self.settle()
            self._lose(lost)
        if timestamp != self._stamp.timestamp or not self._packets:
            self.settle()
            self._stamp = Stamp(self._times, timestamp, arrival)
        self._buffer += data[start:end]
        self._packets += 1
        if marker or len(self._buffer) > MOST_WAITING:
            self.settle()
        if marker:
            self._video.mark()

    def settle(self) -> None:
        """Read what has come. Packets of one timestamp wait for that, since it is done at once for all of them."""
        if not self._packets:
            return
        while self._state():
            pass
        self._packets = 0
        del self._buffer[: self._at]
        self._at = 0

    def ticks(self, timestamp: int) -> int | None:
        """The ticks at an RTP timestamp, as near as the last picture tells; None before the first."""
        return self._video_time.near(timestamp)

    def flush(self) -> None:
        """End the stream: the picture under way is whole."""
        self.settle()
        self._video.flush()

    def restart(self) -> None:
        """Forget what is under way: the stream begins anew from another SSRC."""
        self._lose(0)
        self._video.restart()
        self.sound_encoding = ""
        self._forget()

    def _lose(self, lost: int) -> None:
        self._lost += lost
        self._buffer.clear()
        self._at = self._packets = 0
        self._video.lose()
        self._adts.restart()
        self._state = self._seek

    # -- one state each: True when it may go on with what is there

    def _seek(self) -> bool:
        """Anywhere: find a start code of the system layer."""
        buffer = self._buffer
        at = buffer.find(_START, self._at)
        if at < 0:
            self._at = max(self._at, len(buffer) - 2)
            return False
        self._at = at
        if at + 3 >= len(buffer):
            return False
        if buffer[at + 3] < FIRST_SYSTEM:
            self._at += 3
        else:
            self._state = self._header
        return True

    def _expect(self) -> bool:
        """Behind a packet: a start code of the system layer stands here."""
        head = self._buffer[self._at : self._at + 4]
        if head[:3] != _START[: len(head)] or (len(head) == 4 and head[3] < FIRST_SYSTEM):
            self.malformed += 1
            self._state = self._seek
            return True
        if len(head) < 4:
            return False
        self._state = self._header
        return True

    def _header(self) -> bool:
        """At a start code of the system layer."""
        kind = self._buffer[self._at + 3]
        if kind == PACK:
            return self._pack()
        if kind == FIRST_SYSTEM:  # the end of a program; devices go on
            return self._pass(4)
        if len(self._buffer) - self._at < 6:
            return False
        length = int.from_bytes(self._buffer[self._at + 4 : self._at + 6], "big")
        if kind == MAP:
            return self._map(length)
        if kind in VIDEO or kind in SOUND:
            return self._packet(kind, length)
        # Private streams, padding, system headers: nothing that we need.
        self._left = length
        self._state = self._skip
        self._at += 6
        return True

    def _pass(self, size: int) -> bool:
        """Go on behind a header of that size, once it is there."""
        if len(self._buffer) - self._at < size:
            return False
        self._at += size
        self._state = self._expect
        return True

    def _broken(self) -> bool:
        """What follows a start code is not what should."""
        self.malformed += 1
        self._at += 4
        self._state = self._seek
        return True

    def _pack(self) -> bool:
        """A pack header (§2.5.3.3) and its stuffing."""
        buffer, at = self._buffer, self._at
        if len(buffer) - at < _PACK_SIZE:
            return False
        if buffer[at + 4] & 0xC0 != 0x40:
            return self._broken()
        return self._pass(_PACK_SIZE + (buffer[at + 13] & 7))

    def _map(self, length: int) -> bool:
        """A program stream map (§2.5.4)."""
        if not 10 <= length <= MAX_MAP:
            return self._broken()
        if len(self._buffer) - self._at < 6 + length:
            return False
        content = bytes(self._buffer[self._at + 6 : self._at + 6 + length])
        if content[0] & 0x80:  # current_next_indicator: in force, not announced
            self._learn(_read_map(content[:-4]))
        return self._pass(6 + length)

    def _learn(self, streams: list[tuple[int, int]]) -> None:
        """What the map says of the streams: types and ids. Of none that we know, things stay as they are."""
        video = [(number, VIDEO_TYPES[kind]) for kind, number in streams if kind in VIDEO_TYPES and number in VIDEO]
        sound = [(number, SOUND_TYPES[kind]) for kind, number in streams if kind in SOUND_TYPES and number in SOUND]
        if video and self._video_id != video[0][0]:
            self._video_id = video[0][0]
            self._video.lose()
        if video:
            self._video.suppose(video[0][1])
        if streams:
            self._mapped = True
            self._sound_id, self.sound_encoding = sound[0] if sound else (-1, "")

    def _packet(self, number: int, length: int) -> bool:
        """The header of a PES packet with video or sound (§2.4.3.6)."""
        buffer, at = self._buffer, self._at
        if len(buffer) - at < _PES_SIZE:
            return False
        if buffer[at + 6] & 0xC0 != 0x80:
            return self._broken()
        rest = buffer[at + 8]
        size = _PES_SIZE + rest
        if len(buffer) - at < size:
            return False
        self._times = [_pts(buffer[at + 9 : at + 14])] if buffer[at + 7] & 0x80 and rest >= 5 else []
        self._stamp = Stamp(self._times, self._stamp.timestamp, self._stamp.arrival)
        self._at = at + size
        self._left = max(0, length - 3 - rest)
        if self._takes_video(number):
            self._state = self._show
        elif self._takes_sound(number):
            self._state = self._hear if length else self._seek
        else:
            self._state = self._skip if length else self._seek
        return True

    def _takes_video(self, number: int) -> bool:
        if number in VIDEO and self._video_id is None:
            self._video_id = number
        return number == self._video_id

    def _takes_sound(self, number: int) -> bool:
        """Without a map, sound is taken once a keyframe has come that had none before it."""
        if number in SOUND and self._sound_id is None and self._keyframe and not self._mapped:
            self._sound_id = number
        return number == self._sound_id

    def _skip(self) -> bool:
        """In what nobody wants: the rest of its length."""
        taken = min(self._left, len(self._buffer) - self._at)
        self._left -= taken
        self._at += taken
        if self._left:
            return False
        self._state = self._expect
        return True

    def _show(self) -> bool:
        """In video: all up to the next start code of the system layer."""
        buffer = self._buffer
        at = buffer.find(_START, self._at)
        while 0 <= at < len(buffer) - 3 and buffer[at + 3] < FIRST_SYSTEM:
            at = buffer.find(_START, at + 3)
        whole = 0 <= at < len(buffer) - 3
        if at < 0:
            # What may be the beginning of a start code stays.
            tail = 2 if buffer.endswith(b"\0\0") else 1 if buffer.endswith(b"\0") else 0
            at = max(len(buffer) - tail, self._at)
        if at > self._at:
            self._video.feed(memoryview(buffer)[self._at : at], self._stamp, self._packets)
        self._at = at
        if whole:
            self._state = self._header
        return whole

    def _hear(self) -> bool:
        """In sound, which may hold any bytes: as many as its length says, if a start code follows them."""
        buffer, at = self._buffer, self._at
        end = at + self._left
        if len(buffer) < end:
            return False
        after = buffer[end : end + 4]
        if after[:3] != _START[: len(after)] or (len(after) == 4 and after[3] < FIRST_SYSTEM):
            self.malformed += 1
            found = buffer.find(_START, at, end)
            while found >= 0 and buffer[found + 3] < FIRST_SYSTEM:
                found = buffer.find(_START, found + 3, end)
            end = found if found >= 0 else end
            self._state = self._seek
        else:
            self._state = self._expect
        self._at = end
        self._sound(bytes(memoryview(buffer)[at:end]))
        return True

    # -- what comes of it

    def _sound(self, payload: bytes) -> None:
        if not self._mapped and not self.sound_encoding:
            self.sound_encoding = AAC if adts.begins(payload) else PCMA
        stamp = self._stamp
        ticks = self._sound_time.at(stamp.pts.pop() if stamp.pts else None, stamp.timestamp)
        if self.sound_encoding == AAC:
            for frame in self._adts.read(payload, ticks):
                self.ready.append(Sounding(AAC, frame.payload, frame.ticks, stamp.arrival, frame.config))
            return
        for at in range(0, len(payload), G711_PIECE):
            moment = ticks + at * CLOCK_RATE // 8000
            self.ready.append(Sounding(self.sound_encoding, payload[at : at + G711_PIECE], moment, stamp.arrival))

    def _picture(self, unit: Assembled) -> None:
        ticks = self._video_time.at(unit.pts, unit.timestamp)
        keyframe, leading, coding = unit.keyframe, unit.leading, unit.coding
        dropped = self._video.oversize + self._video.headless
        if self._lost or dropped != self._dropped:
            self._chain.tear()
        self._dropped = dropped
        # A keyframe that brings its parameter sets is as it was sent: behind a hole nothing comes of what had begun.
        torn = self._lost > 0 and keyframe and not all(coding.find_sets(unit.nals))
        damaged = self._chain.follow(keyframe=keyframe, leading=leading, torn=torn)
        self.ready.append(
            AccessUnit.of(unit.nals, ticks, keyframe, unit.arrival, self._lost, coding.name, leading, damaged)
        )
        self._lost = 0
        self._keyframe = self._keyframe or unit.keyframe


def _pts(field: bytes | bytearray) -> int:
    """33 bits in five bytes, with marker bits between them (§2.4.3.7) that not all set."""
    return (field[0] >> 1 & 7) << 30 | (field[1] << 8 | field[2]) >> 1 << 15 | (field[3] << 8 | field[4]) >> 1


def _read_map(content: bytes) -> list[tuple[int, int]]:
    """The stream types and ids of a map without its CRC; what is cut off is left out."""
    streams: list[tuple[int, int]] = []
    at = 4 + int.from_bytes(content[2:4], "big")
    end = min(len(content), at + 2 + int.from_bytes(content[at : at + 2], "big"))
    at += 2
    while at + 4 <= end:
        streams.append((content[at], content[at + 1]))
        at += 4 + int.from_bytes(content[at + 2 : at + 4], "big")
    return streams


class PsReceiver(StreamReceiver):
    """The receive path of a program stream. ``also`` are payload types that may come as well as ``payload_type``."""

    def __init__(self, payload_type: int, also: Collection[int] = ()) -> None:
        super().__init__(payload_type, CLOCK_RATE, also)
        self.demultiplexer = Demultiplexer()
        self._deliver = self.demultiplexer.push

    @property
    def broken_payloads(self) -> int:
        """Places that were not as the standard has them, and access units that were dropped for their size."""
        return self.demultiplexer.malformed + self.demultiplexer.oversize

    def receive(self, datagram: bytes | memoryview, now: float) -> list[AccessUnit | Sounding]:
        """Take one datagram; return what it completed."""
        view = memoryview(datagram)
        self._packet(view, len(view), now, now)
        return self._take()

    def take(self, batch: DatagramBatch, now: float) -> list[AccessUnit | Sounding]:
        """Take the datagrams of a batch; return what they completed."""
        for slot, size, age in batch.datagrams():
            self._packet(slot, size, now, now - age)
        return self._take()

    def flush(self) -> list[AccessUnit | Sounding]:
        """End the stream: return the picture under way, if any."""
        self.demultiplexer.flush()
        return self._take()

    def _take(self) -> list[AccessUnit | Sounding]:
        self.demultiplexer.settle()
        ready = self.demultiplexer.ready
        if not ready:
            return []
        self.demultiplexer.ready = []
        self._arrived(unit for unit in ready if isinstance(unit, AccessUnit))
        return ready

    def _restart(self) -> None:
        self._transit = None
        self.demultiplexer.restart()
