"""Figures of the rounds, their medians and ratios."""

from __future__ import annotations

import random
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median


@dataclass(frozen=True, slots=True)
class Figure:
    """One round of one side."""

    packets: int
    cpu_us: float
    note: str = ""
    hash_us: float = 0.0
    """What of `cpu_us` went into SHA-256, which the floor does not have."""

    @property
    def per_packet(self) -> float:
        """CPU µs per packet, or whatever is counted."""
        return self.cpu_us / self.packets


@dataclass(slots=True)
class Comparison:
    """A benchmark's rounds on both sides, and the mark its ratio should keep."""

    name: str
    what: str
    mark: float
    unit: str = "packet"
    other: str = "floor"
    """What ours is compared with."""
    ours: list[Figure] = field(default_factory=list)
    floor: list[Figure] = field(default_factory=list)
    more: list[str] = field(default_factory=list)
    """Lines about figures that are no comparison."""

    @property
    def value(self) -> float | None:
        """What a later run is held against."""
        return self.ratio

    @property
    def ratio(self) -> float | None:
        """Median of ours over median of the floor; None without a floor."""
        if not self.floor:
            return None
        return _median(self.ours) / _median(self.floor)

    def lines(self) -> list[str]:
        """Return the report for people."""
        out = [f"{self.name}: {self.what}"]
        for title, figures in (("ours", self.ours), (self.other, self.floor)):
            if figures:
                rounds = " ".join(f"{figure.per_packet:.2f}" for figure in figures)
                out.append(f"  {title:5}  {_median(figures):.2f} µs of CPU per {self.unit}   (rounds: {rounds})")
                out += [f"         {note}" for note in sorted({figure.note for figure in figures if figure.note})]
        ratio = self.ratio
        if ratio is None:
            out.append(f"  no {self.other} here, so no ratio")
        else:
            verdict = "kept" if ratio <= self.mark else "MISSED"
            out.append(f"  ratio  {ratio:.2f}, mark {self.mark:g} {verdict}")
            if hashing := median(figure.hash_us / figure.packets for figure in self.ours):
                rest = (_median(self.ours) - hashing) / _median(self.floor)
                out.append(
                    f"         of ours {hashing:.2f} µs is SHA-256, which the floor does not do: {rest:.2f} without"
                )
        return [*out, *self.more]


@dataclass(slots=True)
class Value:
    """Something measured that is no ratio: its rounds, and the mark that their median should keep."""

    name: str
    what: str
    unit: str
    mark: float
    rounds: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    least: bool = False
    """The mark is what there should be at least; else at most."""

    @property
    def value(self) -> float | None:
        """The median; None when nothing was measured."""
        return median(self.rounds) if self.rounds else None

    def lines(self) -> list[str]:
        """Return the report for people."""
        value = self.value
        if value is None:
            return [f"{self.name}: {self.what}", "  nothing was measured", *(f"         {note}" for note in self.notes)]
        kept = value >= self.mark if self.least else value <= self.mark
        bound = "at least" if self.least else "at most"
        rounds = " ".join(f"{each:.2f}" for each in self.rounds)
        verdict = "kept" if kept else "MISSED"
        return [
            f"{self.name}: {self.what}",
            f"  {value:.2f} {self.unit}, mark {bound} {self.mark:g} {verdict}   (rounds: {rounds})",
            *(f"         {note}" for note in self.notes),
        ]


@dataclass(frozen=True, slots=True)
class Told:
    """A report that is lines only."""

    name: str
    text: list[str]

    @property
    def value(self) -> None:
        """Nothing that a later run could be held against."""
        return None

    def lines(self) -> list[str]:
        """Return the report for people."""
        return self.text


Result = Comparison | Value | Told


def _median(figures: list[Figure]) -> float:
    return median(figure.per_packet for figure in figures)


def free_ports(count: int) -> int:
    """Return the first of `count` port pairs that are free on loopback. Raises RuntimeError."""
    # Below the range that the system gives to sockets without a port of their own.
    places = range(12_000, 32_000 - 2 * count, 2 * count)
    for first in random.sample(places, len(places)):  # whoever else looks for some looks elsewhere
        sockets = []
        try:
            for port in range(first, first + 2 * count):
                sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                sockets.append(sock)
                sock.bind(("127.0.0.1", port))
        except OSError:
            continue
        finally:
            for sock in sockets:
                sock.close()
        return first
    raise RuntimeError(f"no {count} port pairs are free on loopback")


def until_bound(port: int, process: subprocess.Popen[bytes], within: float = 60.0) -> None:
    """Wait until a program that does not say so listens on a UDP port. Raises RuntimeError if it does not."""
    deadline = time.monotonic() + within
    while f":{port:04X} " not in Path("/proc/net/udp").read_text():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args!r} does not listen on port {port}")
        time.sleep(0.05)  # The kernel's table can only be looked at again.
