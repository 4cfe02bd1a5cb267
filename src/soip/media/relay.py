"""The relay: every access unit of one camera to all who watch it by RTP.

Theory. The payloads of an access unit are cut once, the headers are written once per class of viewers, and within a
class only the address differs (`docs/design/data-plane.md`). A class shares SSRC, sequence numbers and timestamps, so a
viewer can join it only in ways that leave no hole in its numbering:

- within `FRESH_S` of a keyframe it gets the class's datagrams since that keyframe, paced, then the live ones;
- later it gets the cached keyframe at once, stamped as now, in a class of its own; a new keyframe is asked for, and
  what lies between is not sent, since it cannot be decoded.

A viewer that cannot bear the stream is thinned: it gets keyframes only, in a class of its own, whose numbering tells of
no hole. One that asks for packets again (NACK) is answered out of what its class was last sent.

While a viewer's backlog is being paced out, live datagrams queue behind it. A backlog that grows too large is thrown
away and the viewer starts anew at the next keyframe: a slow way slows nobody else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from random import SystemRandom

from soip.media.intake import Picture
from soip.net.rtpway import Sender
from soip.rtp.codec import Codec
from soip.rtp.nal import PACKET_SIZE, PayloadRun, packetise
from soip.rtp.retransmission import Answers, History
from soip.rtp.sender import SendStream

FRESH_S = 1.0
"""Seconds after a keyframe in which a joining viewer is given the whole GOP so far."""
GOP_BYTES = 16 << 20
GOP_UNITS = 1500
"""Bounds of the cached GOP: beyond them only its keyframe is kept."""
BURST_BYTES = 64 << 10
BURST_S = 0.005
"""A backlog leaves in bursts of this size at this interval: about 100 Mbit/s."""
SMALL_BURST = 16 * PACKET_SIZE
SPREAD_S = 0.033
"""To a distant viewer no more leaves at once: a larger picture takes the time of a frame, so that no router on the way
has to hold it.
"""
BACKLOG_BYTES = 8 << 20
"""What may wait for one viewer."""

_random = SystemRandom()


@dataclass(slots=True)
class Counted:
    """What viewers were not sent, and were sent again."""

    unshown: int = 0
    """Access units that were thrown away, since they would have waited for too long."""
    resent: int = 0
    refused: int = 0
    """Packets that were asked for and sent again, and that were not (`rtp.retransmission.Answers`)."""

    def add(self, other: Counted) -> None:
        """Take over what another has counted."""
        self.unshown += other.unshown
        self.resent += other.resent
        self.refused += other.refused


class Viewer:
    """One RTP viewer: a way out, and what waits for it.

    `asks`: it may ask for packets again. `pace` is called when something begins to wait: `burst` is then to be called
    every `interval` until nothing is `waiting`.
    """

    def __init__(
        self,
        sender: Sender,
        payload_type: int,
        *,
        asks: bool = False,
        pace: Callable[[], None] = lambda: None,
    ) -> None:
        self.sender = sender
        self.payload_type = payload_type
        self.asks = asks
        self.distant = False
        """Only small bursts reach it."""
        self.thinned = False
        """It gets keyframes only. Set by `Relay.thin`."""
        self.interval = BURST_S
        self._pace = pace
        self.group: _Group | None = None
        self.broken = False
        """It lost a part of the stream and gets nothing until the next keyframe."""
        self.opening = False
        """It began anew with the newest keyframe: pictures that refer to what was before cannot be decoded."""
        self.counted = Counted()
        self._backlog: deque[tuple[list[bytes], bool]] = deque()
        """What waits, and whether an access unit ends with it."""
        self._backlog_bytes = 0

    @property
    def backlog_bytes(self) -> int:
        """What waits to be paced out."""
        return self._backlog_bytes

    @property
    def waiting(self) -> bool:
        """Whether something is still to be paced out."""
        return bool(self._backlog)

    @property
    def stream(self) -> SendStream | None:
        """Its numbering, for sender reports."""
        return self.group.stream if self.group else None

    def takes(self, picture: Picture) -> bool:
        """Whether it can decode a picture, by what it was given before."""
        return not (self.broken or (self.opening and picture.unit.leading))

    def give(self, datagrams: list[bytes]) -> None:
        """Send now, or behind what waits already."""
        if self._backlog:
            self.queue(datagrams)
        elif self.distant and (size := sum(map(len, datagrams))) > SMALL_BURST:
            pieces = [run[at : at + SMALL_BURST] for run in datagrams for at in range(0, len(run), SMALL_BURST)]
            for number, piece in enumerate(pieces, 1):
                self.queue([piece], ends=number == len(pieces))
            self.interval = min(BURST_S, SPREAD_S * SMALL_BURST / size)
            self.burst()
            self._pace()
        else:
            self.sender.send(datagrams)

    def answer(self, answers: Answers, sequences: Iterable[int], rtt: float, now: float) -> None:
        """Send again what it asks for, as far as that is still there and within bounds."""
        if self.asks and self.group is not None and self.group.sent is not None:
            before = answers.sent, answers.refused
            self.sender.send(answers.answer(self.group.sent, sequences, rtt, now))
            self.counted.resent += answers.sent - before[0]
            self.counted.refused += answers.refused - before[1]

    def queue(self, datagrams: list[bytes], *, ends: bool = True) -> None:
        """Have it wait behind what waits already; `ends` says whether an access unit does with it."""
        self._backlog.append((datagrams, ends))
        self._backlog_bytes += sum(map(len, datagrams))
        if self._backlog_bytes > BACKLOG_BYTES:
            self.counted.unshown += sum(ends for _, ends in self._backlog)
            self._backlog.clear()
            self._backlog_bytes = 0
            self.broken = True

    def burst(self) -> None:
        """Send the next of what waits, at least one entry of it."""
        sent, most = 0, SMALL_BURST if self.distant else BURST_BYTES
        while self._backlog and sent < most:
            datagrams, _ = self._backlog[0]
            size = sum(map(len, datagrams))
            if self.distant and sent and sent + size > most:
                return
            self._backlog.popleft()
            self._backlog_bytes -= size
            sent += size
            self.sender.send(datagrams)


class _Group:
    """A class of viewers: one numbering, and its datagrams since the last keyframe."""

    def __init__(self, payload_type: int, *, shared: bool) -> None:
        self.shared = shared
        # RFC 3550 §5.1: SSRC, first sequence number and timestamp offset are random.
        self.stream = SendStream(
            payload_type, _random.getrandbits(32), _random.getrandbits(16), _random.getrandbits(32)
        )
        self.viewers: list[Viewer] = []
        self.history: list[list[bytes]] = []
        self.sent: History | None = None
        """What was last sent, once somebody may ask for it again."""

    def stamp(self, runs: Sequence[PayloadRun], picture: Picture, *, keep: bool) -> list[bytes]:
        # Media time goes on when the camera is called anew, the camera's own timestamps do not.
        first = self.stream.sequence
        datagrams = self.stream.stamp(runs, picture.pts)
        if self.sent is not None:
            self.sent.add(first, datagrams, picture.unit.arrival)
        if picture.unit.keyframe:
            self.history.clear()
        if keep:
            self.history.append(datagrams)
        return datagrams


class Relay:
    """The viewers of one camera. `ask_keyframe` is called when one is needed; it limits itself."""

    def __init__(self, ask_keyframe: Callable[[], None]) -> None:
        self._ask_keyframe = ask_keyframe
        self._gop: list[Picture] = []
        self._gop_bytes = 0
        self._gop_whole = False
        self._groups: list[_Group] = []
        self._left = Counted()
        """What was counted of viewers who have left."""

    @property
    def viewers(self) -> Iterable[Viewer]:
        return (viewer for group in self._groups for viewer in group.viewers)

    @property
    def counted(self) -> Counted:
        """What was counted of all viewers so far."""
        total = replace(self._left)
        for viewer in self.viewers:
            total.add(viewer.counted)
        return total

    @property
    def gop(self) -> list[Picture]:
        """The pictures since the newest keyframe; none when there was no keyframe yet or they grew too many."""
        return self._gop if self._gop_whole else []

    @property
    def begun(self) -> bool:
        """Whether there is a keyframe to begin with."""
        return bool(self._gop)

    @property
    def keyframe(self) -> Picture:
        """The newest keyframe; only when `begun`."""
        return self._gop[0]

    @property
    def newest(self) -> Picture:
        """The newest picture of the cached ones; only when `begun`."""
        return self._gop[-1]

    @property
    def codec(self) -> Codec:
        """What the newest keyframe is coded with; only when `begun`."""
        return self._gop[0].codec

    def forget(self) -> None:
        """The call has ended, or its timeline: the cached pictures are of the past. Viewers stay, for what follows."""
        self._gop = []
        self._gop_whole = False
        for group in self._groups:
            group.history.clear()

    def push(self, picture: Picture) -> None:
        """Cache one picture and send it to every viewer."""
        self._cache(picture)
        if not self._groups:
            return
        runs = packetise(picture.codec.coding, picture.unit.nals)
        keyframe = picture.unit.keyframe
        for group in self._groups:
            if not (keyframe or group.shared) and not any(viewer.takes(picture) for viewer in group.viewers):
                continue  # Not even numbered: who waits for a keyframe sees no hole.
            # Nobody is given this history unless the whole GOP so far is in it.
            datagrams = group.stamp(runs, picture, keep=group.shared and self._gop_whole)
            for viewer in group.viewers:
                if keyframe:
                    viewer.opening, viewer.broken = viewer.broken, False
                if viewer.takes(picture):
                    viewer.give(datagrams)
                    viewer.broken = viewer.broken or viewer.thinned

    def join(self, viewer: Viewer, now: float, numbering: SendStream | None = None) -> None:
        """Begin to serve a viewer; it has a picture at once if there is any. One that was served before goes on with
        the `numbering` it had: its receiver knows the source, and sees no hole.
        """
        if numbering is None and self._gop_whole and now - self._gop[0].unit.arrival <= FRESH_S:
            group = self._shared_group(viewer.payload_type)
            for datagrams in group.history:
                viewer.queue(datagrams)
            viewer.burst()
        else:
            group = _Group(viewer.payload_type, shared=False)
            if numbering is not None:
                group.stream = numbering
            self._groups.append(group)
            viewer.broken = True
            if self._gop:
                self._send_cached_keyframe(viewer, group)
            self._ask_keyframe()
        group.viewers.append(viewer)
        viewer.group = group
        if viewer.asks and group.sent is None:
            group.sent = History(PACKET_SIZE)

    def thin(self, viewer: Viewer, on: bool) -> None:
        """Send a viewer keyframes only, or all pictures again from the next keyframe on."""
        group = viewer.group
        if group is None or on == viewer.thinned:
            return
        viewer.thinned = on
        viewer.broken = True
        if group.shared:
            own = _Group(viewer.payload_type, shared=False)
            own.stream = copy(group.stream)  # the others go on with the original
            own.sent = History(PACKET_SIZE) if viewer.asks else None
            self.leave(viewer)
            self._groups.append(own)
            own.viewers.append(viewer)
            viewer.group = own

    def leave(self, viewer: Viewer) -> None:
        """Stop serving a viewer; one who is not served is ignored."""
        group, viewer.group = viewer.group, None
        if group is None:
            return
        self._left.add(viewer.counted)
        viewer.counted = Counted()
        group.viewers.remove(viewer)
        if not group.viewers:
            self._groups.remove(group)

    def _cache(self, picture: Picture) -> None:
        if picture.unit.keyframe:
            self._gop = [picture]
            self._gop_bytes = picture.unit.size
            self._gop_whole = True
        elif picture.fresh:
            self.forget()  # Nobody can place this picture after the last one, and a GOP is given away as one piece.
        elif self._gop_whole:
            self._gop.append(picture)
            self._gop_bytes += picture.unit.size
            if self._gop_bytes > GOP_BYTES or len(self._gop) > GOP_UNITS:
                del self._gop[1:]
                self._gop_whole = False
                for group in self._groups:
                    group.history.clear()

    def _shared_group(self, payload_type: int) -> _Group:
        for group in self._groups:
            if group.shared and group.stream.payload_type == payload_type:
                return group
        group = _Group(payload_type, shared=True)
        for picture in self._gop:
            group.stamp(packetise(picture.codec.coding, picture.unit.nals), picture, keep=True)
        self._groups.append(group)
        return group

    def _send_cached_keyframe(self, viewer: Viewer, group: _Group) -> None:
        """A picture at once; its timestamp is that of the newest picture, so that the next one lies after it."""
        keyframe, newest = self._gop[0], self._gop[-1]
        viewer.queue(group.stream.stamp(packetise(keyframe.codec.coding, keyframe.unit.nals), newest.pts))
        viewer.burst()
