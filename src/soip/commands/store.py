"""`soip store`: compare the recordings on the disk with the catalog, or make the catalog from them."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import typer

from soip.commands.options import DataOption
from soip.commands.terminal import CommandError, settings_for, with_directory

if TYPE_CHECKING:
    from collections.abc import Callable

    from soip.config import Settings
    from soip.directory.directory import Directory
    from soip.directory.rows import GapRow, HomeRow, RecordingRow
    from soip.store.check import Finding
    from soip.store.journal import Entry
    from soip.store.recording import Recording
    from soip.store.root import Root

LATE_S = 3.0
"""How long after its file a running server may write a row: it collects those of a second."""

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, help="Check the recordings on the disk, or rebuild their catalog.")


@app.command("check")
def check(data: DataOption = None) -> None:
    """Compare catalog, journals and disk. Exit code 1 when they disagree; nothing is changed."""
    settings = settings_for(data=data)
    from soip.store.check import check as findings_of

    root, server = _root(settings)

    async def known(directory: Directory) -> tuple[list[RecordingRow], set[str]]:
        return await directory.catalog.of_server(server), await directory.catalog.gap_ids()

    def look(only: set[str] | None = None) -> tuple[int, list[Finding]]:
        rows, gaps = with_directory(settings, known)
        return len(rows), _reading(lambda: list(findings_of(root, map(_recording, rows), gaps, only=only)))

    count, findings = look()
    if findings:
        time.sleep(LATE_S)  # What a running server has begun or sealed in the meantime is none: its rows come late.
        _, findings = look({finding.where for finding in findings})
    for finding in findings:
        typer.echo(f"{finding.what}: {finding.where}: {finding.detail}")
    if findings:
        raise CommandError(f"{len(findings)} findings in {root.path}; `soip store rebuild` mends the catalog")
    typer.echo(f"{count} recordings in {root.path}: catalog, journals and disk agree")


@app.command("rebuild")
def rebuild(data: DataOption = None) -> None:
    """Make the catalog from the media folder: recordings from the files, gaps from the journals."""
    settings = settings_for(data=data)
    from soip.store.errors import StoreError
    from soip.store.rebuild import gaps, read_row, recordings

    root, server = _root(settings)
    # Rows first: what a running server begins from now on is not taken for missing.

    async def read(directory: Directory) -> tuple[list[RecordingRow], dict[str, HomeRow]]:
        return await directory.catalog.of_server(server), await directory.homes.all()

    known, homes = with_directory(settings, read)
    failed: dict[str, str] = {}
    found = _reading(lambda: list(recordings(root, failed.__setitem__)))
    missing = _reading(lambda: [_gap(camera, entry) for camera, entry in gaps(root)])
    for path in list(failed):  # Some had only just been begun.
        with suppress(OSError, StoreError):
            found.append(read_row(root, path))
            del failed[path]
    rows = [_row(settings, root, server, one, homes.get(one.camera)) for one in found]
    there = {row.id for row in rows}
    gone = [row for row in known if row.id not in there]

    async def work(directory: Directory) -> None:
        await directory.catalog.replace(server, rows, missing, gone)
        await directory.settings.audit("command line", "store.rebuild", str(root.path))

    with_directory(settings, work)
    for path, why in failed.items():
        typer.echo(f"unreadable: {path}: {why}", err=True)
    typer.echo(f"{len(found)} recordings and {len(missing)} gaps of {root.path} are in the catalog")
    if failed:
        raise CommandError(f"{len(failed)} files could not be read; they are not in the catalog")


def _root(settings: Settings) -> tuple[Root, str]:
    """The root, and the media server it belongs to: by its own word, since only the folder may be left."""
    from soip.store.errors import StoreError
    from soip.store.root import IDENTITY, NOTE, Root

    file = settings.media_root / IDENTITY
    note = settings.data / NOTE
    try:
        server = str(json.loads(file.read_text("utf-8"))["server"])
        return Root.open(settings.media_root, server, note=note if note.exists() else None), server
    except FileNotFoundError as error:
        raise CommandError(f"nothing was recorded in {settings.media_root}: give the server's --data DIR") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CommandError(f"{file} cannot be read ({error}): restore it from a backup") from error
    except StoreError as error:
        raise CommandError(str(error)) from error


def _reading(work: Callable[[], T]) -> T:
    from soip.store.errors import StoreError

    try:
        return work()
    except StoreError as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"{error.filename} cannot be read: {error.strerror}") from error


def _recording(row: RecordingRow) -> Recording:
    from soip.store.damage import Damage
    from soip.store.recording import Recording

    return Recording(
        camera=row.camera_id,
        path=row.path,
        start_us=row.start_us,
        end_us=row.end_us,
        bytes=row.bytes,
        frames=row.frames,
        codecs=tuple(json.loads(row.tracks)),
        trigger=row.trigger,
        stream=row.stream,
        server=row.server_id,
        sealed=row.sealed,
        sha256=row.sha256,
        damage=tuple(Damage(*one) for one in json.loads(row.damage)),
    )


def _row(settings: Settings, root: Root, server: str, one: Recording, home: HomeRow | None) -> RecordingRow:
    from soip.media.rows import recording_row
    from soip.policy.placement import worker_for

    # The worker that serves the camera: it mends the file at its next start if it is not sealed.
    workers = [f"{server}-{worker}" for worker in range(settings.media_workers)]
    lives_here = home is not None and home.instance_id in workers
    instance = home.instance_id if home is not None and lives_here else worker_for(one.camera, workers) or ""
    return recording_row(one, root=root.path, server=server, instance=instance)


def _gap(camera: str, entry: Entry) -> GapRow:
    from soip.directory.rows import GapRow

    end = entry.start_us if entry.end_us is None else entry.end_us
    detail = str(entry.facts.get("detail", ""))
    return GapRow(entry.id, camera, entry.start_us, end, entry.cause, stream=entry.stream, detail=detail)
