"""Random damage to an unsealed file: the walk finds whole fragments only, and all that damage did not touch."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from soip.mp4.reader import parse_init
from soip.mp4.repair import walk
from tests.mp4 import walker
from tests.mp4.files import entries, pieces, reader

COUNT = 6
SECTOR = 512


class Damage(NamedTuple):
    """What a power cut does: sectors became zero, then a cut, then zeros. A sector is lost whole or not at all."""

    first: int
    sectors: int
    cut: int
    zeros: int

    def done_to(self, data: bytes) -> bytearray:
        changed = bytearray(data)
        start = max(len(FRONT) + SECTOR - 1, self.first * SECTOR) // SECTOR * SECTOR
        end = min(len(data), start + self.sectors * SECTOR)
        changed[start:end] = bytes(max(0, end - start))
        return changed[: len(FRONT) + self.cut] + bytes(self.zeros)


FRONT, FRAGMENTS = pieces(COUNT, 2, True)
KNOWN = entries(FRONT, FRAGMENTS)
SIZE = sum(map(len, FRAGMENTS))
WHOLE = FRONT + b"".join(FRAGMENTS)

damages = st.builds(
    Damage,
    st.integers(0, (len(FRONT) + SIZE) // SECTOR),
    st.one_of(st.just(0), st.integers(1, 20), st.integers(1, SIZE // SECTOR)),
    st.integers(0, SIZE),
    st.one_of(st.just(0), st.integers(1, 9000)),
)


@settings(max_examples=150)
@given(damages)
def test_what_damage_did_not_touch_is_found(damage: Damage) -> None:
    data = bytes(damage.done_to(WHOLE))
    found = walk(reader(data), len(data), parse_init(FRONT), doubtful_us=1 << 62)
    untouched = [
        one
        for one, original in zip(KNOWN, FRAGMENTS, strict=True)
        if data[one.offset : one.offset + one.size] == original
    ]
    assert [one for one in found.fragments if one in untouched] == untouched, "nothing whole is lost"
    for one in found.fragments:
        assert one in KNOWN, "nothing is found that was not written"
    assert found.end <= len(data)
    assert (found.fragments == ()) <= (found.end == len(FRONT))


@settings(max_examples=60)
@given(damages)
def test_what_is_left_follows_the_standard(damage: Damage) -> None:
    data = damage.done_to(WHOLE)
    found = walk(reader(bytes(data)), len(data), parse_init(FRONT), doubtful_us=1 << 62)
    for offset, size in found.holes:
        data[offset : offset + 8] = size.to_bytes(4, "big") + b"free"
    movie = walker.read(bytes(data[: found.end]))
    assert len(movie.of(1)) == sum(one.frames for one in found.fragments)
