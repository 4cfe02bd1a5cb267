"""The plain twin of `soip.mp4.writer.fragment`: box by box, field by field, as the standard lists them."""

from __future__ import annotations

from collections.abc import Sequence

from soip.mp4.writer import Run


def u(value: int, size: int = 4) -> bytes:
    return value.to_bytes(size, "big", signed=value < 0)


def box(kind: str, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return u(8 + len(body)) + kind.encode() + body


def full(kind: str, version: int, flags: int, *parts: bytes) -> bytes:
    return box(kind, u(version, 1) + u(flags, 3), *parts)


def ntp(utc_us: int) -> bytes:
    """RFC 5905 §6: seconds since 1900, then their fraction in units of 2^-32."""
    seconds, micro = utc_us // 1_000_000, utc_us % 1_000_000
    return u((seconds + 2_208_988_800) % 2**32) + u(round(micro * 2**32 / 1_000_000) % 2**32)


def fragment(sequence: int, runs: Sequence[Run], utc_us: int) -> bytes:
    first = runs[0]
    shown = first.decode_time + first.samples[0].composition_offset
    prft = full("prft", 1, 8, u(first.track_id), ntp(utc_us), u(shown, 8))
    payloads = [b"".join(run.content) for run in runs]
    # The first pass finds the size of moof, the second writes the offsets that depend on it.
    size = len(_moof(sequence, runs, [0] * len(runs)))
    offsets = [size + 8 + sum(map(len, payloads[:number])) for number in range(len(runs))]
    return prft + _moof(sequence, runs, offsets) + box("mdat", *payloads)


def _moof(sequence: int, runs: Sequence[Run], offsets: Sequence[int]) -> bytes:
    trafs = [_traf(run, offset) for run, offset in zip(runs, offsets, strict=True)]
    return box("moof", full("mfhd", 0, 0, u(sequence)), *trafs)


def _traf(run: Run, offset: int) -> bytes:
    all_sync = all(sample.sync and not sample.damaged for sample in run.samples)
    shifted = any(sample.composition_offset for sample in run.samples)
    if all_sync:
        tfhd = full("tfhd", 0, 0x020020, u(run.track_id), u(0x0200_0000))
    else:
        tfhd = full("tfhd", 0, 0x020000, u(run.track_id))
    tfdt = full("tfdt", 1, 0, u(run.decode_time, 8))
    rows = b""
    for sample in run.samples:
        rows += u(sample.duration) + u(sample.size)
        if not all_sync:
            # sample_degradation_priority 1 for what is damaged
            rows += u((0x0200_0000 if sample.sync else 0x0101_0000) + (1 if sample.damaged else 0))
        if shifted:
            rows += u(sample.composition_offset)
    flags = 0x000301 | (0 if all_sync else 0x400) | (0x800 if shifted else 0)
    trun = full("trun", 1, flags, u(len(run.samples)), u(offset), rows)
    lost = [box("uuid", bytes.fromhex("c5b0a1d76e0f4b1c8a52f3e96d7b2084"), u(run.lost))] if run.lost else []
    return box("traf", tfhd, tfdt, trun, *lost)
