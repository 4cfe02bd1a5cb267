"""What was counted of a camera's media, as plain numbers that only grow: of the calls to it that are over, and of now.

Nothing counts here. The rooms on the way of the packets keep their own counters, where that costs nothing; they are
read when somebody asks.
"""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(slots=True)
class Tally:
    """Packets, pictures and bytes of pictures, and what became of them. Times in seconds."""

    packets: int = 0
    """RTP packets that were taken."""
    lost: int = 0
    late: int = 0
    foreign: int = 0
    malformed: int = 0
    kernel: int = 0
    """Dropped by the kernel, since this process did not read them in time."""
    asked: int = 0
    answered: int = 0
    """Packets that the camera was asked for again, and those of them that came."""
    resent: int = 0
    resend_refused: int = 0
    """Packets that viewers asked for and were sent again, and that they were not."""
    pictures: int = 0
    keyframes: int = 0
    received: int = 0
    sent: int = 0
    unshown_rtp: int = 0
    """Pictures that RTP viewers were not sent, since their way is too slow; the same of browsers."""
    unshown_browser: int = 0
    fragments: int = 0
    refused: int = 0
    """Fragments that the disk did not take."""
    write_seconds: float = 0.0
    wait_seconds: float = 0.0
    """How long the fragments took to be written, and waited for that before."""

    def add(self, other: Tally) -> None:
        """Take over what another has counted."""
        for name in _NAMES:
            setattr(self, name, getattr(self, name) + getattr(other, name))


_NAMES = [each.name for each in fields(Tally)]
