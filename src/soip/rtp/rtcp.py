"""RTCP: reports, source descriptions, goodbyes and feedback, parsed and built (RFC 3550 §6, RFC 4585 §6, RFC
5104).

``parse`` takes a compound packet, or a lone feedback packet (RFC 5506); packet types it does not know are
skipped. ``build`` joins packets; the caller keeps to the order of RFC 3550 §6.1: a report first, then SDES
with CNAME.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct, pack, unpack_from

from soip.rtp.errors import RtpBuildError, RtpParseError

SR, RR, SDES, BYE, APP, RTPFB, PSFB = 200, 201, 202, 203, 204, 205, 206
FMT_NACK, FMT_PLI, FMT_FIR = 1, 1, 4
CNAME = 1
MAX_PACKETS = 64
"""Packets in one compound datagram."""

NTP_EPOCH = 2_208_988_800
"""Seconds from 1900 to 1970 (RFC 5905 §6)."""

_BLOCK = Struct(">IIIIII")


@dataclass(frozen=True, slots=True)
class ReportBlock:
    """What a receiver says about one source (RFC 3550 §6.4.1)."""

    ssrc: int
    fraction_lost: int
    """Of 256, since the last report."""
    lost: int
    """Cumulative, signed 24 bits."""
    highest: int
    """Extended highest sequence number."""
    jitter: int
    last_sr: int
    """The middle 32 bits of the NTP time of the last sender report; 0 for none."""
    delay: int
    """Since that report, in 1/65536 s."""


@dataclass(frozen=True, slots=True)
class SenderReport:
    """SR: the sender's wall clock against its media clock, and how much it sent."""

    ssrc: int
    ntp: int
    """64-bit NTP timestamp."""
    timestamp: int
    packets: int
    octets: int
    blocks: tuple[ReportBlock, ...] = ()

    @property
    def utc_us(self) -> int:
        """The sender's idea of UTC in microseconds; meaningless before 1970 (senders without a clock)."""
        return ntp_to_us(self.ntp)


@dataclass(frozen=True, slots=True)
class ReceiverReport:
    """RR: of one who sends nothing."""

    ssrc: int
    blocks: tuple[ReportBlock, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceDescription:
    """One SDES chunk; of its items only the CNAME is kept."""

    ssrc: int
    cname: str | None


@dataclass(frozen=True, slots=True)
class Bye:
    """The sources that leave."""

    ssrcs: tuple[int, ...]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PictureLossIndication:
    """PLI (RFC 4585 §6.3.1): a keyframe is wanted."""

    ssrc: int
    media_ssrc: int


@dataclass(frozen=True, slots=True)
class FullIntraRequest:
    """FIR (RFC 5104 §4.3.1): a keyframe is commanded; entries are (SSRC, command number)."""

    ssrc: int
    entries: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Nack:
    """Generic NACK (RFC 4585 §6.2.1): packets missing."""

    ssrc: int
    media_ssrc: int
    sequences: tuple[int, ...]


Packet = SenderReport | ReceiverReport | SourceDescription | Bye | PictureLossIndication | FullIntraRequest | Nack


def ntp_to_us(ntp: int) -> int:
    """Return UTC microseconds of a 64-bit NTP timestamp; era 0 until 2036, then era 1 (RFC 5905 §6)."""
    seconds = ntp >> 32
    if seconds < 1 << 31:  # before 1968 in era 0: a time of era 1, or of a sender without a clock
        seconds += 1 << 32
    return (seconds - NTP_EPOCH) * 1_000_000 + ((ntp & 0xFFFFFFFF) * 1_000_000 >> 32)


def us_to_ntp(utc_us: int) -> int:
    """Return the 64-bit NTP timestamp of UTC microseconds."""
    seconds, rest = divmod(utc_us, 1_000_000)
    # Rounded up, so that the way back gives the same microsecond.
    return (seconds + NTP_EPOCH & 0xFFFFFFFF) << 32 | -(-(rest << 32) // 1_000_000)


def parse(data: bytes | memoryview) -> list[Packet]:
    """Parse one RTCP datagram. Raises RtpParseError; never anything else for any bytes."""
    data = bytes(data)
    packets: list[Packet] = []
    at = 0
    for _ in range(MAX_PACKETS):
        if at == len(data):
            break
        if at + 4 > len(data):
            raise RtpParseError("RTCP header is cut off", at)
        first, kind, words = unpack_from(">BBH", data, at)
        end = at + 4 * (words + 1)
        if first & 0xC0 != 0x80:  # RFC 3550 §A.2
            raise RtpParseError(f"RTCP version {first >> 6}, not 2", at)
        if end > len(data):
            raise RtpParseError("RTCP packet is cut off", at)
        body = data[at + 4 : end]
        if first & 0x20:
            body = _unpadded(body, at)
        packets += _parse_body(kind, first & 0x1F, body, at)
        at = end
    return packets


def _unpadded(body: bytes, at: int) -> bytes:
    padding = body[-1] if body else 0
    if not padding or padding > len(body):
        raise RtpParseError("RTCP padding exceeds the packet", at)
    return body[:-padding]


def _parse_body(kind: int, count: int, body: bytes, at: int) -> Sequence[Packet]:
    need = {SR: 24 + 24 * count, RR: 4 + 24 * count, BYE: 4 * count, RTPFB: 8, PSFB: 8}.get(kind, 0)
    if len(body) < need:
        raise RtpParseError(f"RTCP packet of type {kind} with count {count} has {len(body)} bytes", at)
    if kind == SR:
        ssrc, ntp, timestamp, packets, octets = unpack_from(">IQIII", body)
        return (SenderReport(ssrc, ntp, timestamp, packets, octets, _blocks(body, 24, count)),)
    if kind == RR:
        return (ReceiverReport(unpack_from(">I", body)[0], _blocks(body, 4, count)),)
    if kind == SDES:
        return _parse_sdes(body, count, at)
    if kind == BYE:
        size = body[4 * count] if len(body) > 4 * count else 0
        reason = body[4 * count + 1 : 4 * count + 1 + size].decode("utf-8", "replace")
        return (Bye(unpack_from(f">{count}I", body), reason),)
    if kind in (RTPFB, PSFB):
        return _parse_feedback(kind, count, body)
    return ()


def _blocks(body: bytes, at: int, count: int) -> tuple[ReportBlock, ...]:
    blocks = []
    for start in range(at, at + 24 * count, 24):
        ssrc, loss, highest, jitter, last_sr, delay = _BLOCK.unpack_from(body, start)
        lost = (loss & 0xFFFFFF ^ 0x800000) - 0x800000
        blocks.append(ReportBlock(ssrc, loss >> 24, lost, highest, jitter, last_sr, delay))
    return tuple(blocks)


def _parse_sdes(body: bytes, count: int, packet_at: int) -> list[Packet]:
    """Parse chunks (RFC 3550 §6.5): items end with a zero byte, chunks with the 32-bit word."""
    chunks: list[Packet] = []
    at = 0
    for _ in range(count):
        if at + 4 > len(body):
            raise RtpParseError("SDES chunk is cut off", packet_at)
        ssrc = int.from_bytes(body[at : at + 4], "big")
        at += 4
        cname = None
        while at < len(body) and body[at]:
            if at + 2 > len(body) or at + 2 + body[at + 1] > len(body):
                raise RtpParseError("SDES item is cut off", packet_at)
            if body[at] == CNAME:
                cname = body[at + 2 : at + 2 + body[at + 1]].decode("utf-8", "replace")
            at += 2 + body[at + 1]
        at = (at // 4 + 1) * 4
        chunks.append(SourceDescription(ssrc, cname))
    return chunks


def _parse_feedback(kind: int, fmt: int, body: bytes) -> Sequence[Packet]:
    ssrc, media = unpack_from(">II", body)
    if kind == PSFB and fmt == FMT_PLI:
        return (PictureLossIndication(ssrc, media),)
    if kind == PSFB and fmt == FMT_FIR:
        entries = [unpack_from(">IB", body, at) for at in range(8, len(body) - 7, 8)]
        return (FullIntraRequest(ssrc, tuple(entries)),)
    if kind == RTPFB and fmt == FMT_NACK:
        sequences: list[int] = []
        for at in range(8, len(body) - 3, 4):
            first, mask = unpack_from(">HH", body, at)
            sequences.append(first)
            sequences += [first + 1 + bit & 0xFFFF for bit in range(16) if mask >> bit & 1]
        return (Nack(ssrc, media, tuple(sequences)),)
    return ()


def build(packets: Sequence[Packet]) -> bytes:
    """Build one RTCP datagram. Raises RtpBuildError if a field does not fit."""
    return b"".join(map(_build_one, packets))


def _build_one(packet: Packet) -> bytes:
    match packet:
        case SenderReport():
            head = pack(
                ">IQIII",
                packet.ssrc,
                packet.ntp,
                packet.timestamp & 0xFFFFFFFF,
                packet.packets & 0xFFFFFFFF,
                packet.octets & 0xFFFFFFFF,
            )
            return _framed(SR, len(packet.blocks), head + _build_blocks(packet.blocks))
        case ReceiverReport():
            return _framed(RR, len(packet.blocks), pack(">I", packet.ssrc) + _build_blocks(packet.blocks))
        case SourceDescription():
            name = (packet.cname or "").encode()
            item = pack(">IBB", packet.ssrc, CNAME, _limit(len(name), 255)) + name
            return _framed(SDES, 1, item + bytes(4 - len(item) % 4))
        case Bye():
            reason = packet.reason.encode()
            tail = bytes((_limit(len(reason), 255),)) + reason if reason else b""
            tail += bytes(-len(tail) % 4)
            return _framed(BYE, len(packet.ssrcs), pack(f">{len(packet.ssrcs)}I", *packet.ssrcs) + tail)
        case PictureLossIndication():
            return _framed(PSFB, FMT_PLI, pack(">II", packet.ssrc, packet.media_ssrc))
        case FullIntraRequest():  # RFC 5104 §4.3.1.2: the media SSRC of the header is 0
            entries = b"".join(pack(">IB3x", ssrc, number & 0xFF) for ssrc, number in packet.entries)
            return _framed(PSFB, FMT_FIR, pack(">II", packet.ssrc, 0) + entries)
        case Nack():
            body = pack(">II", packet.ssrc, packet.media_ssrc) + _nack_items(packet.sequences)
            return _framed(RTPFB, FMT_NACK, body)


def _framed(kind: int, count: int, body: bytes) -> bytes:
    return pack(">BBH", 0x80 | _limit(count, 31), kind, _limit(len(body) // 4, 0xFFFF)) + body


def _limit(value: int, most: int) -> int:
    if value > most:
        raise RtpBuildError(f"RTCP field of {value} exceeds {most}")
    return value


def _build_blocks(blocks: Sequence[ReportBlock]) -> bytes:
    return b"".join(
        _BLOCK.pack(
            block.ssrc,
            block.fraction_lost << 24 | max(-0x800000, min(0x7FFFFF, block.lost)) & 0xFFFFFF,
            block.highest & 0xFFFFFFFF,
            block.jitter & 0xFFFFFFFF,
            block.last_sr,
            block.delay,
        )
        for block in blocks
    )


def _nack_items(sequences: Sequence[int]) -> bytes:
    """Pack sequence numbers as a first one and a mask of the 16 that follow it."""
    items: list[tuple[int, int]] = []
    for sequence in sequences:
        ahead = sequence - items[-1][0] & 0xFFFF if items else 0
        if items and 0 < ahead <= 16:
            first, mask = items[-1]
            items[-1] = (first, mask | 1 << ahead - 1)
        else:
            items.append((sequence & 0xFFFF, 0))
    return b"".join(pack(">HH", *item) for item in items)
