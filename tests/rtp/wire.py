"""Streams for the tests: random access units, and their datagrams built the plain way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from soip.rtp.h264 import AccessUnit, PayloadRun
from soip.rtp.packet import RtpPacket, build

PAYLOAD_TYPE = 96
SSRC = 0x5015_0001


@dataclass
class Sender:
    """A plain sender: one packet after the other, as RFC 6184 says it, without a thought of speed."""

    sequence: int = 0
    ssrc: int = SSRC
    packet_size: int = 200
    packets: list[RtpPacket] = field(default_factory=list)

    def packet(self, payload: bytes, timestamp: int, marker: bool = False) -> bytes:
        number = self.sequence & 0xFFFF
        packet = RtpPacket(PAYLOAD_TYPE, marker, number, timestamp & 0xFFFFFFFF, self.ssrc, payload)
        self.sequence += 1
        self.packets.append(packet)
        return build(packet)

    def unit(self, nals: Sequence[bytes], timestamp: int) -> list[bytes]:
        payloads = [payload for nal in nals for payload in plain_payloads(nal, self.packet_size)]
        last = len(payloads) - 1
        return [self.packet(payload, timestamp, at == last) for at, payload in enumerate(payloads)]


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


def random_nal(random: Random, kind: int, size: int) -> bytes:
    return bytes([0x60 | kind]) + random.randbytes(size)


def random_unit(random: Random, keyframe: bool) -> list[bytes]:
    """Parameter sets and SEI sometimes, one to three slices from tiny to many packets."""
    nals = []
    if keyframe:
        nals += [random_nal(random, 7, 12), random_nal(random, 8, 4)]
    if random.random() < 0.3:
        nals.append(random_nal(random, 6, random.randint(1, 30)))
    for _ in range(random.randint(1, 3)):
        nals.append(random_nal(random, 5 if keyframe else 1, random.choice((1, 40, 187, 188, 700, 2500))))
    return nals


def comparable(units: Sequence[AccessUnit]) -> list[tuple[list[bytes], int, bool, float, int, bool]]:
    """Access units as values: NAL units may be bytes or bytearrays."""
    return [
        ([bytes(nal) for nal in unit.nals], unit.timestamp, unit.keyframe, unit.arrival, unit.lost, unit.damaged)
        for unit in units
    ]
