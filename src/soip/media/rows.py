"""Recordings as rows of the catalog: one way to make them, for recording, mending and rebuilding."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from soip.directory.rows import RecordingRow
from soip.store.recording import Recording


def recording_id(root: str, path: str) -> str:
    """The id of a file's row: the same whoever makes the row, so that mending and rebuilding find it again."""
    return hashlib.sha256(f"{root}\0{path}".encode()).hexdigest()[:32]


def recording_row(recording: Recording, *, root: Path, server: str, instance: str) -> RecordingRow:
    """The catalog's row of a recording under `root`, of a media server and the worker that mends it if need be."""
    return RecordingRow(
        id=recording_id(str(root), recording.path),
        camera_id=recording.camera,
        server_id=server,
        instance_id=instance,
        root=str(root),
        path=recording.path,
        start_us=recording.start_us,
        end_us=recording.end_us,
        stream=recording.stream,
        bytes=recording.bytes,
        frames=recording.frames,
        tracks=json.dumps(recording.codecs),
        trigger=recording.trigger,
        sealed=recording.sealed,
        sha256=recording.sha256,
        damaged=recording.damaged,
        lost=recording.lost,
        damage=json.dumps(recording.damage),
    )
