"""Sound beside pictures, by what the sender itself says of both (RFC 3550 §6.4.1).

Arrival tells when a packet came, not when its sound was made: a camera may take 200 ms to encode a picture and 20 ms
for a piece of sound. Sender reports tie the ticks of both streams to one clock of the sender's, however wrong it is. So
a piece of sound lies where the picture lies that was made at the same instant of that clock.

A sender is not believed blindly. A report counts when it follows from the one before it, at the stream's own rate; one
that does not begins anew, for both streams, since the sender's clock was set. Until each stream has two that agree, and
whenever they would move sound by more than `MOST_US`, sound lies where arrival says.
"""

from __future__ import annotations

from soip.rtp.clock import MediaClock

MOST_US = 1_000_000
"""How far reports may move sound; encoders do not differ by more, reports with another clock in each stream do."""
TOLERANCE_US, TOLERANCE_PPM = 30_000, 1000
"""How exactly a report follows from the one before; those that tell whole seconds do not."""
NEAR_US = 10_000_000
"""How far the ticks of a report may lie from those of its stream."""
SLEW = 4
"""Sound is moved by at most one part in so many of its duration: its time always rises."""


class _Reports:
    """The sender reports of one stream."""

    def __init__(self, clock: MediaClock) -> None:
        self.clock = clock
        self.settled = False
        """The last two agree."""
        self._ticks: int | None = None
        self._sender_us = 0

    def forget(self) -> None:
        self.settled = False
        self._ticks = None

    def take(self, ticks: int, sender_us: int) -> bool:
        """Take a report; False when it does not follow from the one before."""
        before, self._ticks = self._ticks, ticks
        elapsed_us, self._sender_us = sender_us - self._sender_us, sender_us
        if before is None:
            return True
        counted_us = (ticks - before) * 1_000_000 // self.clock.rate
        if counted_us == elapsed_us == 0:
            return True  # the same report once more
        self.settled = abs(elapsed_us - counted_us) <= TOLERANCE_US + abs(counted_us) * TOLERANCE_PPM // 1_000_000
        return self.settled

    def sender_us(self, ticks: int) -> int:
        """The sender's time at `ticks`."""
        assert self._ticks is not None
        return self._sender_us + (ticks - self._ticks) * 1_000_000 // self.clock.rate

    def ticks(self, sender_us: int) -> int:
        """The stream's ticks at a time of the sender's."""
        assert self._ticks is not None
        return self._ticks + (sender_us - self._sender_us) * self.clock.rate // 1_000_000


class Alignment:
    """Both streams of one sender. Reports come by `video` and `audio`, with ticks extended near to those of the last
    packet, `latest`; then `utc_us` gives the UTC of sound, in place of the audio clock's own.
    """

    def __init__(self, video: MediaClock, audio: MediaClock) -> None:
        self._video, self._audio = _Reports(video), _Reports(audio)
        self._shift_us = 0.0
        self._last_us: int | None = None

    @property
    def settled(self) -> bool:
        """Whether reports place the sound now."""
        return self._video.settled and self._audio.settled

    @property
    def shift_us(self) -> int:
        """How far sound is moved against what its arrival says."""
        return round(self._shift_us)

    def video(self, ticks: int, sender_us: int, latest: int) -> None:
        """A report of the pictures."""
        self._take(self._video, self._audio, ticks, sender_us, latest)

    def audio(self, ticks: int, sender_us: int, latest: int) -> None:
        """A report of the sound."""
        self._take(self._audio, self._video, ticks, sender_us, latest)

    def utc_us(self, ticks: int) -> int:
        """The UTC of sound at `ticks`, of rising ticks. The audio clock must run."""
        by_arrival = self._audio.clock.utc_us(ticks)
        wanted = self._wanted(ticks, by_arrival)
        if self._last_us is not None:
            most = max(0, by_arrival - self._last_us) / SLEW
            self._shift_us += max(-most, min(most, wanted - self._shift_us))
        self._last_us = by_arrival
        return by_arrival + round(self._shift_us)

    def _take(self, one: _Reports, other: _Reports, ticks: int, sender_us: int, latest: int) -> None:
        if abs(ticks - latest) * 1_000_000 > NEAR_US * one.clock.rate:
            one.forget()
        elif not one.take(ticks, sender_us):
            other.forget()

    def _wanted(self, ticks: int, by_arrival: int) -> int:
        if not self.settled or not self._video.clock.running:
            return 0
        shown = self._video.clock.utc_us(self._video.ticks(self._audio.sender_us(ticks)))
        shift = shown - by_arrival
        return shift if abs(shift) <= MOST_US else 0
