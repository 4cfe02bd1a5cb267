"""Streams for the tests: random access units, and their datagrams built the plain way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from soip.rtp.h264 import H264
from soip.rtp.nal import AccessUnit, Coding, PayloadRun
from soip.rtp.packet import RtpPacket, build

PAYLOAD_TYPE = 96
SSRC = 0x5015_0001


@dataclass
class Sender:
    """A plain sender: one packet after the other, as RFC 6184 or RFC 7798 says it, without a thought of speed."""

    sequence: int = 0
    ssrc: int = SSRC
    packet_size: int = 200
    coding: Coding = H264
    packets: list[RtpPacket] = field(default_factory=list)

    def packet(self, payload: bytes, timestamp: int, marker: bool = False) -> bytes:
        number = self.sequence & 0xFFFF
        packet = RtpPacket(PAYLOAD_TYPE, marker, number, timestamp & 0xFFFFFFFF, self.ssrc, payload)
        self.sequence += 1
        self.packets.append(packet)
        return build(packet)

    def unit(self, nals: Sequence[bytes], timestamp: int) -> list[bytes]:
        payloads = [payload for nal in nals for payload in cut(self.coding, nal, self.packet_size)]
        last = len(payloads) - 1
        return [self.packet(payload, timestamp, at == last) for at, payload in enumerate(payloads)]


def cut(coding: Coding, nal: bytes, packet_size: int) -> list[bytes]:
    """Cut a NAL unit the plain way of its coding."""
    return (plain_payloads if coding is H264 else plain_payloads_h265)(nal, packet_size)


def plain_payloads_h265(nal: bytes, packet_size: int) -> list[bytes]:
    """Cut a NAL unit as RFC 7798 §4.4.1 and §4.4.3 describe it: single, or FUs that fill their packets."""
    if 12 + len(nal) <= packet_size:
        return [nal]
    header, rest = int.from_bytes(nal[:2], "big"), nal[2:]
    kind, layer, temporal = header >> 9, header >> 3 & 63, header & 7
    step = packet_size - 15
    pieces = [rest[at : at + step] for at in range(0, len(rest), step)]
    out = []
    for at, piece in enumerate(pieces):
        bits = f"{header >> 15:01b}{49:06b}{layer:06b}{temporal:03b}"
        bits += f"{at == 0:b}{at == len(pieces) - 1:b}{kind & 63:06b}"
        out.append(int(bits, 2).to_bytes(3, "big") + piece)
    return out


def plain_payloads(nal: bytes, packet_size: int) -> list[bytes]:
    """Cut a NAL unit as RFC 6184 §5.6 and §5.8 describe it: single, or FU-A fragments that fill their packets."""
    if 12 + len(nal) <= packet_size:
        return [nal]
    rest = nal[1:]
    step = packet_size - 14
    pieces = [rest[at : at + step] for at in range(0, len(rest), step)]
    out = []
    for at, piece in enumerate(pieces):
        indicator = nal[0] & 0b1110_0000 | 28
        start = 0x80 if at == 0 else 0
        end = 0x40 if at == len(pieces) - 1 else 0
        out.append(bytes([indicator, start | end | nal[0] & 0b0001_1111]) + piece)
    return out


def payloads(runs: Sequence[PayloadRun]) -> list[bytes]:
    """The payloads of runs one by one."""
    return [bytes(run.parts[at + 1]) + run.parts[at + 2] for run in runs for at in range(0, 3 * run.count, 3)]


def random_nal(random: Random, kind: int, size: int, coding: Coding = H264) -> bytes:
    if coding is H264:
        return bytes([0x60 | kind]) + random.randbytes(size)
    return bytes([kind << 1, random.randint(1, 7)]) + random.randbytes(size)


def random_unit(random: Random, keyframe: bool, coding: Coding = H264) -> list[bytes]:
    """Parameter sets and SEI sometimes, one to three slices from tiny to many packets."""
    h264 = coding is H264
    nals = []
    if keyframe:
        nals += [random_nal(random, kind, 3 * size, coding) for size, kind in enumerate(coding.sets, 2)]
    if random.random() < 0.3:
        nals.append(random_nal(random, 6 if h264 else 39, random.randint(1, 30), coding))
    kinds = ((5,) if keyframe else (1,)) if h264 else ((16, 19, 20, 21) if keyframe else (0, 1, 6, 8, 9))
    kind = random.choice(kinds)
    for _ in range(random.randint(1, 3)):
        nals.append(random_nal(random, kind, random.choice((1, 40, 185, 186, 187, 188, 700, 2500)), coding))
    return nals


Comparable = tuple[list[bytes], int, bool, bool, float, int, bool]


def comparable(units: Sequence[AccessUnit]) -> list[Comparable]:
    """Access units as values: NAL units may be bytes or bytearrays."""
    return [
        (
            [bytes(nal) for nal in unit.nals],
            unit.timestamp,
            unit.keyframe,
            unit.leading,
            unit.arrival,
            unit.lost,
            unit.damaged,
        )
        for unit in units
    ]
