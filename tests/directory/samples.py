"""Rows as the roles would write them, with what a test cares about."""

from __future__ import annotations

from dataclasses import fields
from typing import TypeVar

from hypothesis import strategies as st

from soip.directory.rows import (
    BindingRow,
    CallTraceRow,
    CameraStateRow,
    DialogRow,
    EventPositionRow,
    EventRow,
    GapRow,
    MediaInstance,
    RecordingRow,
    SavedRow,
)

R = TypeVar("R", bound=SavedRow)

REALM = "soip.local"
SECOND = 1_000_000


def binding(aor: str, contact: str = "sip:x@192.0.2.1", *, cseq: int = 1, expires_us: int = 60 * SECOND) -> BindingRow:
    return BindingRow(aor, contact, aor, "udp;0.0.0.0:5060;192.0.2.1:5060", "call@x", cseq, 0, expires_us)


def recording(
    identity: str, start: float, end: float, *, camera: str = "cam1", sealed: bool = True, instance: str = "m-0"
) -> RecordingRow:
    """A file from `start` to `end` seconds."""
    return RecordingRow(
        identity,
        camera,
        "m",
        instance,
        "/srv/media",
        f"{camera}/{identity}.mp4",
        int(start * SECOND),
        int(end * SECOND),
        sealed=sealed,
    )


def gap(identity: str, start: float, end: float, *, camera: str = "cam1", cause: str = "camera offline") -> GapRow:
    return GapRow(identity, camera, int(start * SECOND), int(end * SECOND), cause)


def dialog(identity: str, *, instance: str = "m-0", started_us: int = 0) -> DialogRow:
    return DialogRow(
        identity,
        instance,
        "cam1",
        identity,
        "sip:m-0@x",
        "a",
        "sip:cam1@x",
        "b",
        "sip:cam1@192.0.2.1",
        "[]",
        2,
        20000,
        started_us,
    )


def alarm(identity: str, at: float = 0, *, camera: str = "cam1") -> EventRow:
    """An alarm taken after so many seconds."""
    detail, body = f"alarm {identity}", f"<Notify>{identity}</Notify>"
    return EventRow(identity, camera, "alarm", int(at * SECOND), source=camera, detail=detail, method=5, body=body)


def trace(
    slot: int, *, identity: str = "", group: str = "", start: float = 0, caller: str = "ann", callee: str = "cam1"
) -> CallTraceRow:
    identity = identity or f"t{slot}"
    at = int(start * SECOND)
    return CallTraceRow(slot, identity, group or identity, at, at, caller, True, callee, "ended", 1, "{}", "{}")


KINDS: tuple[type[SavedRow], ...] = (
    BindingRow,
    MediaInstance,
    CameraStateRow,
    RecordingRow,
    GapRow,
    DialogRow,
    EventPositionRow,
    CallTraceRow,
)

_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
_VALUES: dict[str, st.SearchStrategy[object]] = {
    "str": _TEXT,
    "int": st.integers(0, (1 << 63) - 1),
    "float": st.floats(0, 1),
    "bool": st.booleans(),
}


def rows_of(kind: type[R]) -> st.SearchStrategy[R]:
    """Any row of a kind that can be stored without another row being there."""
    return st.builds(kind, **{field.name: _VALUES[str(field.type)] for field in fields(kind)})
