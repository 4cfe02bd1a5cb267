"""What `soip top` shows: two readings of `/metrics` in, rates by camera, worker and disk out; and these drawn for a
terminal.

Pure. Numbers that only grow become what they grew by; of one that has fallen, since its process began anew, all counts,
of one that is new nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from rich.cells import cell_len, set_cell_size
from rich.text import Text

NARROWEST = 80
_STATES = ("offline", "no-media", "idle", "live", "recording")
"""The worst first."""
_STYLES = {"offline": "red", "no-media": "red", "idle": "dim", "live": "green", "recording": "green"}

Labels = tuple[tuple[str, str], ...]


class Reading:
    """The figures of one moment. `at` is monotonic seconds, `utc` UNIX seconds. Raises ValueError for other text."""

    def __init__(self, text: str, at: float, utc: float) -> None:
        self.at = at
        self.utc = utc
        self._figures: dict[tuple[str, str], dict[Labels, float]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = tuple(sorted(sample.labels.items()))
                for camera in {"", sample.labels.get("camera", "")}:  # of thousands of cameras none is looked for
                    self._figures.setdefault((sample.name, camera), {})[labels] = sample.value

    def all(self, name: str, **labels: str) -> dict[Labels, float]:
        """All samples of a name that have these labels, whatever others they have."""
        found = self._figures.get((name, labels.get("camera", "")), {})
        return {have: value for have, value in found.items() if labels.items() <= dict(have).items()}

    def get(self, name: str, **labels: str) -> float:
        """One figure, 0 where there is none."""
        found = self._figures.get((name, labels.get("camera", "")), {})
        return found.get(tuple(sorted(labels.items())), 0.0)

    def sum(self, name: str, **labels: str) -> float:
        """All these together."""
        return sum(self.all(name, **labels).values())

    def values(self, name: str, label: str) -> list[str]:
        """What stands in a label, in order and each once."""
        return list(dict.fromkeys(dict(have)[label] for have in self.all(name) if label in dict(have)))


@dataclass(frozen=True, slots=True)
class CameraLine:
    """A camera. Rates are per second, `loss` a share of its packets, times in seconds; `age` is that of the newest
    picture, None without one.
    """

    id: str
    worker: str
    state: str
    fps: float
    in_bps: float
    loss: float
    viewers: int
    backlog_bytes: int
    wait: float
    write: float
    age: float | None


@dataclass(frozen=True, slots=True)
class WorkerLine:
    """A media worker. `cpu` is a share of one core."""

    id: str
    up: bool
    cameras: int
    calls: int
    recordings: int
    viewers: int
    cpu: float
    memory_bytes: int
    in_bps: float
    out_bps: float


@dataclass(frozen=True, slots=True)
class DiskLine:
    """A disk as one worker writes to it: what waits, how long writes and syncs took, fragments it refused since the
    reading before.
    """

    path: str
    worker: str
    queue_bytes: int
    write: float
    sync: float
    written_bps: float
    refused: int
    free_bytes: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Board:
    """Everything at one moment."""

    version: str
    utc: float
    processes: dict[str, bool]
    registrations: int
    sip_connections: int
    sip_requests: float
    cameras: list[CameraLine] = field(default_factory=list)
    workers: list[WorkerLine] = field(default_factory=list)
    disks: list[DiskLine] = field(default_factory=list)


KEYS: dict[str, Callable[[CameraLine], Any]] = {
    "name": lambda one: one.id,
    "state": lambda one: _STATES.index(one.state) if one.state in _STATES else -1,
    "fps": lambda one: -one.fps,
    "rate": lambda one: -one.in_bps,
    "loss": lambda one: -one.loss,
    "viewers": lambda one: -one.viewers,
    "write": lambda one: -one.write,
    "age": lambda one: -(one.age if one.age is not None else float("inf")),
}
"""What cameras can be sorted by: the largest, or worst, first."""


def board(before: Reading, now: Reading, sort: str = "name", *, reverse: bool = False) -> Board:
    """What has happened between two readings, and what is now."""
    rates = _Rates(before, now)
    served = [dict(labels) for labels in now.all("soip_media_pictures_total")]
    cameras = [_camera(rates, labels["worker"], labels["camera"]) for labels in served]
    cameras.sort(key=lambda one: (KEYS[sort](one), one.id), reverse=reverse)
    processes = {dict(labels)["process"]: value == 1 for labels, value in now.all("soip_up").items()}
    names = [name for name in processes if name not in ("web", "sip")]
    return Board(
        version=next(iter(now.values("soip_build_info", "version")), ""),
        utc=now.utc,
        processes=processes,
        registrations=int(now.get("soip_sip_registrations")),
        sip_connections=int(now.get("soip_sip_connections")),
        sip_requests=rates.sum("soip_sip_requests_total"),
        cameras=cameras,
        workers=[_worker(rates, name, processes[name]) for name in names],
        disks=[_disk(rates, dict(labels)) for labels in now.all("soip_disk_queue_bytes")],
    )


class _Rates:
    """What grew between two readings, per second."""

    def __init__(self, before: Reading, now: Reading) -> None:
        self.before, self.now = before, now
        self.seconds = max(now.at - before.at, 1e-3)

    def grown(self, name: str, **labels: str) -> float:
        """By how much the samples with these labels grew."""
        old, new = self.before.all(name, **labels), self.now.all(name, **labels)
        return sum(value - old[have] if value >= old[have] else value for have, value in new.items() if have in old)

    def sum(self, name: str, **labels: str) -> float:
        return self.grown(name, **labels) / self.seconds

    def mean(self, total: str, count: str, **labels: str) -> float:
        """How long each took: of those since the last reading, or of all where there was none."""
        if grown := self.grown(count, **labels):
            return self.grown(total, **labels) / grown
        return self.now.sum(total, **labels) / max(1.0, self.now.sum(count, **labels))


def _camera(rates: _Rates, worker: str, camera: str) -> CameraLine:
    now, own = rates.now, {"worker": worker, "camera": camera}
    states = [state for state in _STATES if now.get("soip_media_camera_state", state=state, **own)]
    received = rates.grown("soip_media_packets_received_total", **own)
    lost = rates.grown("soip_media_packets_dropped_total", cause="lost", **own)
    newest = now.get("soip_media_last_picture_timestamp_seconds", **own)
    written = "soip_media_fragments_written_total"
    return CameraLine(
        id=camera,
        worker=worker,
        state=states[0] if states else "",
        fps=rates.sum("soip_media_pictures_total", **own),
        in_bps=8 * rates.sum("soip_media_received_bytes_total", **own),
        loss=lost / (received + lost) if lost else 0.0,
        viewers=int(now.sum("soip_media_viewers", **own)),
        backlog_bytes=int(now.sum("soip_media_backlog_bytes", **own)),
        wait=rates.mean("soip_media_write_wait_seconds_total", written, **own),
        write=rates.mean("soip_media_write_seconds_total", written, **own),
        age=max(0.0, now.utc - newest) if newest else None,
    )


def _worker(rates: _Rates, worker: str, up: bool) -> WorkerLine:
    now = rates.now
    return WorkerLine(
        id=worker,
        up=up,
        cameras=int(now.get("soip_worker_cameras", worker=worker)),
        calls=int(now.sum("soip_worker_calls", worker=worker)),
        recordings=int(now.get("soip_worker_recordings_open", worker=worker)),
        viewers=int(now.sum("soip_media_viewers", worker=worker)),
        cpu=rates.sum("soip_process_cpu_seconds_total", process=worker),
        memory_bytes=int(now.get("soip_process_resident_memory_bytes", process=worker)),
        in_bps=8 * rates.sum("soip_worker_received_bytes_total", worker=worker),
        out_bps=8 * rates.sum("soip_worker_sent_bytes_total", worker=worker),
    )


def _disk(rates: _Rates, own: dict[str, str]) -> DiskLine:
    now = rates.now
    return DiskLine(
        path=own["disk"],
        worker=own["worker"],
        queue_bytes=int(now.get("soip_disk_queue_bytes", **own)),
        write=rates.mean("soip_disk_write_seconds_sum", "soip_disk_write_seconds_count", **own),
        sync=rates.mean("soip_disk_sync_seconds_sum", "soip_disk_sync_seconds_count", **own),
        written_bps=8 * rates.sum("soip_disk_written_bytes_total", **own),
        refused=int(rates.grown("soip_disk_fragments_refused_total", **own)),
        free_bytes=int(now.get("soip_disk_free_bytes", **own)),
        size_bytes=int(now.get("soip_disk_size_bytes", **own)),
    )


# -- drawing

Cell = tuple[str, str]
"""A text and its style."""


def draw(shown: Board, width: int, height: int = 0) -> Iterator[Text]:
    """The lines of a board, none wider than `width` (at least 80); with a `height` as many cameras as fit."""
    width = max(width, NARROWEST)
    lines = [*_head(shown), Text(), *_workers(shown, width), Text(), *_disks(shown, width), Text()]
    rows = list(_cameras(shown, width))
    if height and len(lines) + len(rows) > height:
        room = max(1, height - len(lines) - 2)
        left = len(rows) - 1 - room
        rows = [*rows[: room + 1], Text(f"… and {left} more: --sort chooses who is first", "dim")]
    yield from lines
    yield from rows


def _head(shown: Board) -> Iterator[Text]:
    down = [name for name, up in shown.processes.items() if not up]
    line = Text(f"SoIP {shown.version}   ")
    count = len(shown.processes)
    line.append(f"{count - len(down)} of {count} processes up", "red" if down else "green")
    if down:
        line.append(f" (not {', '.join(down)})"[: NARROWEST - line.cell_len], "red")
    yield line
    states = [camera.state for camera in shown.cameras]
    told = ", ".join(f"{states.count(state)} {state}" for state in reversed(_STATES) if state in states)
    viewers = sum(camera.viewers for camera in shown.cameras)
    yield Text(f"cameras {len(states)}{': ' if told else ''}{told}   viewers {viewers}"[:NARROWEST])
    received, sent = sum(one.in_bps for one in shown.workers), sum(one.out_bps for one in shown.workers)
    registered = f"SIP: {shown.registrations} registered, {shown.sip_connections} connections"
    told = f"Mbit/s {_mbit(received)} in, {_mbit(sent)} out   {registered}, {_short(shown.sip_requests)} requests/s"
    yield Text(told[:NARROWEST])


def _workers(shown: Board, width: int) -> Iterator[Text]:
    columns = (("cameras", 7), ("calls", 5), ("recording", 9), ("cpu", 5), ("memory", 8), ("in Mbit/s", 9), ("out", 7))
    yield _row(("worker", "bold"), [(name, "bold") for name, _ in columns], columns, width)
    for one in shown.workers:
        if not one.up:
            yield _row((one.id, "red"), [("does not answer", "red")], (("", 15),), width)
            continue
        cells = [str(one.cameras), str(one.calls), str(one.recordings), f"{one.cpu:.0%}", _bytes(one.memory_bytes)]
        cells += [_mbit(one.in_bps), _mbit(one.out_bps)]
        yield _row((one.id, ""), [(cell, "") for cell in cells], columns, width)


def _disks(shown: Board, width: int) -> Iterator[Text]:
    columns = (("queue", 8), ("write", 8), ("sync", 8), ("Mbit/s", 7), ("refused", 7), ("free", 8))
    yield _row(("disk", "bold"), [(name, "bold") for name, _ in columns], columns, width)
    for one in shown.disks:
        cells = [_bytes(one.queue_bytes), _ms(one.write), _ms(one.sync), _mbit(one.written_bps)]
        row = [*((cell, "") for cell in cells), (str(one.refused), "red" if one.refused else "")]
        yield _row((one.path, ""), [*row, (_bytes(one.free_bytes), "")], columns, width)


def _cameras(shown: Board, width: int) -> Iterator[Text]:
    columns = (
        *(("state", 9), ("fps", 5), ("Mbit/s", 6), ("loss", 6), ("view", 4)),
        *(("queued", 7), ("write", 7), ("age", 6)),
    )
    yield _row(("camera", "bold"), [(name, "bold") for name, _ in columns], columns, width)
    for one in shown.cameras:
        cells = [
            (one.state, _STYLES.get(one.state, "")),
            (_short(one.fps), ""),
            (_mbit(one.in_bps), ""),
            (f"{one.loss:.1%}", "red" if one.loss else ""),
            (str(one.viewers), ""),
            (_ms(one.wait), ""),
            (_ms(one.write), ""),
            ("–" if one.age is None else _age(one.age), ""),
        ]
        yield _row((one.id, ""), cells, columns, width)


def _row(first: Cell, cells: Sequence[Cell], columns: Sequence[tuple[str, int]], width: int) -> Text:
    """The first cell on the left takes what the others, on the right, leave."""
    room = width - sum(size + 1 for _, size in columns)
    name, style = first
    short = name if cell_len(name) <= room else set_cell_size(name, room - 1) + "…"
    line = Text(set_cell_size(short, room), style)
    for (text, style), (_, size) in zip(cells, columns, strict=True):
        line.append(" ")
        line.append(text[:size].rjust(size), style)
    return line


def _short(number: float) -> str:
    """In at most five characters, however large."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= 10 * size:
            return f"{min(number / size, 9999):.0f}{unit}"
    return f"{number:.1f}" if number < 100 else f"{number:.0f}"


def _mbit(bps: float) -> str:
    return _short(bps / 1e6)


def _ms(seconds: float) -> str:
    return f"{_short(seconds * 1000)} ms" if seconds < 10 else f"{_short(seconds)} s"


def _bytes(count: int) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e3:.0f} kB"


def _age(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{_short(seconds // size)} {unit}"
    return f"{seconds:.1f} s"
