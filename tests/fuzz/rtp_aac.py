"""Fuzz target: AAC over RTP, its configuration and its payloads."""

from __future__ import annotations

from contextlib import suppress

from soip.rtp.aac import HBR, LBR, MAX_RATE, MAX_UNITS, Depacketiser, parse_config, parse_fmtp
from soip.rtp.errors import RtpParseError

CONFIG = bytes.fromhex("1408")
SAMPLES = [
    CONFIG,
    bytes.fromhex("2b11880000"),
    bytes.fromhex("09 001000280102030405"),
    bytes.fromhex("09 002000080010010202") + bytes.fromhex("09 001000280102030405"),
    bytes.fromhex("06 001000400102") + bytes.fromhex("46 001000400304"),
    b"mode=AAC-hbr;config=1408;sizelength=13;indexlength=3",
]


def fuzz(data: bytes) -> None:
    """A configuration is of bounded values or the documented error; payloads give units no longer than they are."""
    try:
        config = parse_config(data)
        assert 7000 <= config.sample_rate <= MAX_RATE
        assert 0 < config.channels <= 8
        assert config.frame_samples in (960, 1024)
    except RtpParseError:
        pass
    with suppress(RtpParseError):
        parse_fmtp(_params(data.decode("latin-1")))
    for mode in (HBR, LBR):
        stream = Depacketiser(parse_config(CONFIG), mode, 16_000)
        taken = given = count = 0
        for payload, ticks, lost in _payloads(data):
            units = stream.unpack(payload, ticks, 1, lost)
            assert len(units) <= MAX_UNITS
            assert all(units)
            taken, given, count = taken + len(payload), given + sum(map(len, units)), count + 1
        assert given <= taken
        assert stream.malformed <= 2 * count


def _params(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in text.split(";"):
        name, _, value = part.partition("=")
        found[name.strip().lower()] = value
    return found


def _payloads(data: bytes) -> list[tuple[bytes, int, int]]:
    """Cut the input: a byte each for the length, of which the highest bits choose another timestamp and a loss."""
    out: list[tuple[bytes, int, int]] = []
    at = ticks = 0
    while at < len(data):
        head = data[at]
        ticks += 1024 * (head >> 6 & 1 ^ 1)
        out.append((data[at + 1 : at + 1 + (head & 0x3F)], ticks, head >> 7))
        at += 1 + (head & 0x3F)
    return out
