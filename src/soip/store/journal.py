"""The journal of a camera's day: one JSON line per gap, event, trigger or hold, beside the day's files.

Lines are only ever appended. A line with an `id` that was there before replaces that one (a gap that went on). The
folder alone thus tells what was not recorded and why.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .layout import JOURNAL, day_folder, parse_timestamp, timestamp
from .root import FULL, Root

_LINE_LIMIT = 64 << 10


@dataclass(frozen=True, slots=True)
class Entry:
    """One line. `kind`: gap, event, trigger, hold; `cause` says why (of a gap) or what; `facts` adds to it."""

    kind: str
    id: str
    start_us: int
    end_us: int | None
    cause: str
    stream: str = "main"
    facts: dict[str, object] = field(default_factory=dict)


def append(root: Root, camera: str, entry: Entry) -> None:
    """Add a line to the journal of the day in which the entry begins, and sync it. Raises OSError, StoreError.

    On a full disk the root's reserve makes room for it.
    """
    root.verify()
    folder = root.path / day_folder(camera, entry.start_us)
    line = _line(entry)
    try:
        _append(folder, line)
    except OSError as error:
        if error.errno not in FULL:
            raise
        root.release_reserve()
        _append(folder, line)


def read(root: Root, camera: str, day_us: int) -> list[Entry]:
    """The entries of the camera's day, the last line of each id, in order of their start."""
    return sorted(_entries(root.path / day_folder(camera, day_us) / JOURNAL), key=lambda entry: entry.start_us)


def read_all(root: Root, camera: str) -> Iterator[Entry]:
    """All entries of a camera, day by day."""
    for path in sorted((root.path / camera).glob(f"[0-9]*/[0-9]*/[0-9]*/{JOURNAL}")):
        yield from sorted(_entries(path), key=lambda entry: entry.start_us)


def _line(entry: Entry) -> bytes:
    facts: dict[str, object] = {
        "kind": entry.kind,
        "id": entry.id,
        "start": timestamp(entry.start_us),
        "end": None if entry.end_us is None else timestamp(entry.end_us),
        "cause": entry.cause,
        "stream": entry.stream,
        "facts": entry.facts,
    }
    line = json.dumps(facts, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
    if len(line) > _LINE_LIMIT:
        raise ValueError("a journal line of more than 64 KiB")
    return line


def _append(folder: Path, line: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    descriptor = os.open(folder / JOURNAL, flags, 0o640)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line  # a crash cut the last line: it is lost, this one is not
        if os.write(descriptor, line) != len(line):
            os.ftruncate(descriptor, size)
            raise OSError(FULL[0], os.strerror(FULL[0]))
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def _entries(path: Path) -> list[Entry]:
    """The readable lines of a journal; a line that a crash cut is passed over."""
    found: dict[str, Entry] = {}
    try:
        with open(path, "rb") as file:
            while line := file.readline(_LINE_LIMIT):
                entry = _parse(line)
                if entry:
                    found[entry.id] = entry
    except FileNotFoundError:
        return []
    return list(found.values())


def _parse(line: bytes) -> Entry | None:
    try:
        facts = json.loads(line)
        end = facts["end"]
        entry = Entry(
            kind=str(facts["kind"]),
            id=str(facts["id"]),
            start_us=parse_timestamp(facts["start"]),
            end_us=None if end is None else parse_timestamp(end),
            cause=str(facts["cause"]),
            stream=str(facts["stream"]),
            facts=dict(facts["facts"]),
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return entry
