"""Packets that are sent again: asking for them, and answering who asks (generic NACK, RFC 4585 §6.2.1).

A retransmission is the packet as it was, from the same SSRC: a receiver sees it as one that came late.

Asking. `Requests` belongs to one receiver, which tells it what is missing while a gap is open (`due`) and what came
after all (`arrived`). It says how long waiting is worth while: the base time and two round trips, which it learns from
the answers. A peer that never answers is not waited for. Feedback is bounded: so many messages a second, so many
numbers in each (RFC 4585 §3.4 lets a receiver speak at once as long as its share of the bandwidth lasts).

Answering. `History` is what was last sent to a class of viewers; `Answers` of one of them hands out of it each packet
at most once in a round trip, and not more than a share of what the stream itself brings.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from soip.rtp.packet import sequence_distance

MOST_ASKED = 64
"""Numbers in one message; a gap of more is an outage, for which a keyframe is the better remedy."""
TIMES = 2
"""How often a packet is asked for."""
MESSAGES_PER_S = 25.0
"""About 23 kbit/s of RTCP at the very most: a twentieth (RFC 3550 §6.2) of the slowest cameras that send video."""
PATIENCE_CAP = 0.5
"""Seconds to wait for a retransmission at most: live pictures wait with it."""
FIRST_RTT = 0.1
"""Seconds taken for a round trip before one was measured."""
HOPELESS = 32
"""Packets asked for in a row that never came: this peer does not answer."""

HISTORY_S = 1.0
HISTORY_BYTES = 4 << 20
ANSWERS_PER_S = 200.0
ANSWERS_BURST = 64.0
"""Packets sent again to one viewer, in a second and at once."""
LEAST_RTT = 0.01


class Requests:
    """What to ask one peer for. Numbers are extended sequence numbers, `now` is monotonic seconds."""

    def __init__(self, base: float) -> None:
        self.rtt = FIRST_RTT
        self.asked = 0
        """Packets asked for, each counted once."""
        self.answered = 0
        """Of those, how many came."""
        self._base = base
        self.open: dict[int, tuple[float, int]] = {}
        """What was asked for and is still missing, by number: when it was last asked for, and how often."""
        self._unanswered = 0
        self._budget = 1.0
        self._filled = 0.0

    @property
    def patience(self) -> float:
        """Seconds to wait for a missing packet."""
        if self._unanswered >= HOPELESS:
            return self._base
        return min(PATIENCE_CAP, self._base + 2 * self.rtt)

    def due(self, missing: Sequence[int], now: float) -> list[int]:
        """Which of the packets that are missing now to ask for; to be called as often as wanted."""
        self._forget(missing)
        if len(missing) > MOST_ASKED:
            return []
        wanted = [number for number in missing if self._is_due(number, now)]
        if not wanted or not self._may_speak(now):
            return []
        for number in wanted:
            _, times = self.open.get(number, (0.0, 0))
            self.asked += not times
            self.open[number] = (now, times + 1)
        return wanted

    def arrived(self, number: int, now: float) -> None:
        """A packet came that others had overtaken."""
        at, times = self.open.pop(number, (0.0, 0))
        if not times:
            return
        self.answered += 1
        self._unanswered = 0
        if times == 1:  # else nobody knows which request it answers
            self.rtt += (now - at - self.rtt) / 4

    def _is_due(self, number: int, now: float) -> bool:
        at, times = self.open.get(number, (0.0, 0))
        return not times or (times < TIMES and now - at >= self.rtt)

    def _forget(self, missing: Sequence[int]) -> None:
        """What is not missing any more, and has not arrived, was given up."""
        if not self.open:
            return
        still = set(missing)
        for number in [number for number in self.open if number not in still]:
            del self.open[number]
            self._unanswered = min(HOPELESS, self._unanswered + 1)

    def _may_speak(self, now: float) -> bool:
        self._budget = min(MESSAGES_PER_S / 2, self._budget + (now - self._filled) * MESSAGES_PER_S)
        self._filled = now
        if self._budget < 1:
            return False
        self._budget -= 1
        return True


class History:
    """The datagrams that were last sent, as `rtp.sender.SendStream.stamp` gave them; `segment` is their full size."""

    def __init__(self, segment: int) -> None:
        self._segment = segment
        self._runs: deque[tuple[int, float, bytes]] = deque()
        self._bytes = 0

    def add(self, sequence: int, runs: Iterable[bytes], now: float) -> None:
        """Runs were sent, the first packet with this number (16 bits)."""
        for run in runs:
            self._runs.append((sequence, now, run))
            self._bytes += len(run)
            sequence = sequence + self._count(run) & 0xFFFF
        while self._runs and (self._bytes > HISTORY_BYTES or now - self._runs[0][1] > HISTORY_S):
            self._bytes -= len(self._runs.popleft()[2])

    def find(self, sequence: int) -> bytes | None:
        """The packet of that number, if it is still there."""
        # Those that are asked for are mostly among the newest.
        for first, _, run in reversed(self._runs):
            ahead = sequence_distance(sequence, first)
            if 0 <= ahead < self._count(run):
                at = ahead * self._segment
                return run[at : at + self._segment]
            if ahead > 0:
                return None
        return None

    def _count(self, run: bytes) -> int:
        return -(-len(run) // self._segment)


class Answers:
    """What one viewer is sent again."""

    def __init__(self) -> None:
        self.sent = 0
        """Packets sent again."""
        self.refused = 0
        """Packets asked for too often, too many at once, or too late."""
        self._last: dict[int, float] = {}
        self._budget = ANSWERS_BURST
        self._filled = 0.0

    def answer(self, history: History, sequences: Iterable[int], rtt: float, now: float) -> list[bytes]:
        """The packets to send again, of those asked for. `rtt` in seconds, 0.0 where it is not known."""
        self._budget = min(ANSWERS_BURST, self._budget + (now - self._filled) * ANSWERS_PER_S)
        self._filled = now
        self._last = {number: at for number, at in self._last.items() if now - at < HISTORY_S}
        packets: list[bytes] = []
        for number in sequences:
            fresh = now - self._last.get(number, -HISTORY_S) >= max(rtt, LEAST_RTT)
            packet = history.find(number) if fresh and self._budget >= 1 else None
            if packet is None:
                self.refused += 1
                continue
            self._budget -= 1
            self._last[number] = now
            packets.append(packet)
        self.sent += len(packets)
        return packets
