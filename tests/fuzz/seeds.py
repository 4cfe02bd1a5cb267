"""A seeded handful of mutations, so that every fuzz target also runs with the ordinary tests."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

PIECES = (b"\r\n", b"\n", b"\r", b"\0", b"\xff", b" ", b",", b";", b'"', b"<", b">", b"=", b"\\", b":", b"%", b"@")


def mutations(samples: Iterable[bytes], rounds: int, seed: int = 1) -> Iterable[bytes]:
    """The samples, then `rounds` changed copies of each: bytes cut out, doubled, or replaced by separators."""
    rng = random.Random(seed)
    for sample in samples:
        yield sample
        for _ in range(rounds):
            data = bytearray(sample)
            for _ in range(rng.randint(1, 4)):
                at = rng.randrange(len(data) + 1)
                end = min(len(data), at + rng.choice((0, 1, 1, 5, 40)))
                data[at:end] = rng.choice((*PIECES, b"", bytes(data[at:end]) * 2))
            yield bytes(data)


def run(fuzz: Callable[[bytes], None], samples: Iterable[bytes], rounds: int = 300) -> None:
    """Run a target over the mutations of its samples."""
    for data in mutations(samples, rounds):
        fuzz(data)
