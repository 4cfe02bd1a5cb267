"""`soip store`: compare the recordings on the disk with the catalog, or make the catalog from them."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import typer

from soip.commands.options import DataOption, MediaOption
from soip.commands.terminal import CommandError, settings_for, with_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from soip.config import Settings
    from soip.directory.directory import Directory
    from soip.directory.rows import GapRow, HoldRow, HomeRow, RecordingRow
    from soip.store.check import Finding
    from soip.store.journal import Entry
    from soip.store.recording import Recording
    from soip.store.root import Root

LATE_S = 3.0
"""How long after its file a running server may write a row: it collects those of a second."""

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, help="Check the recordings on the disk, or rebuild their catalog.")


@app.command("check")
def check(data: DataOption = None, media: MediaOption = None) -> None:
    """Compare catalog, journals and disk. Exit code 1 when they disagree; nothing is changed."""
    settings = settings_for(data=data, media_dirs=media or None)
    roots, server = _roots(settings)
    there = {str(root.path) for root in roots}

    async def known(directory: Directory) -> tuple[list[RecordingRow], set[str], set[tuple[str, str]]]:
        passing = await directory.expiry.passing(server)
        return await directory.catalog.of_server(server), await directory.catalog.gap_ids(), passing

    def look(only: set[str] | None = None) -> tuple[int, list[Finding]]:
        rows, gaps, passing = with_directory(settings, known)
        found = [_elsewhere(path, rows) for path in sorted({row.root for row in rows} - there)]
        for root in roots:
            path = str(root.path)
            mine = [_recording(row) for row in rows if row.root == path]
            going = {file for place, file in passing if place == path}
            found += _reading(partial(_findings, root, mine, gaps, only, going))
        return len(rows), found

    count, findings = look()
    if findings:
        time.sleep(LATE_S)  # What a running server has begun or sealed in the meantime is none: its rows come late.
        _, findings = look({finding.where for finding in findings})
    for finding in findings:
        typer.echo(f"{finding.what}: {finding.where}: {finding.detail}")
    names = ", ".join(sorted(there))
    if findings:
        raise CommandError(f"{len(findings)} findings in {names}; `soip store rebuild` mends the catalog")
    typer.echo(f"{count} recordings in {names}: catalog, journals and disk agree")


@app.command("rebuild")
def rebuild(data: DataOption = None, media: MediaOption = None) -> None:
    """Make the catalog from the media folders: recordings from the files, gaps and holds from the journals."""
    settings = settings_for(data=data, media_dirs=media or None)
    from soip.store.errors import StoreError
    from soip.store.rebuild import condemned, entries, read_row, recordings

    roots, server = _roots(settings)
    # Rows first: what a running server begins from now on is not taken for missing.

    async def read(directory: Directory) -> tuple[list[RecordingRow], dict[str, HomeRow]]:
        return await directory.catalog.of_server(server), await directory.homes.all()

    known, homes = with_directory(settings, read)
    rows: list[RecordingRow] = []
    going: list[str] = []
    gaps: dict[str, GapRow] = {}
    holds: dict[str, HoldRow] = {}
    unreadable: dict[str, str] = {}
    for root in roots:
        failed: dict[str, str] = {}
        found = _reading(partial(_list, recordings, root, failed.__setitem__))
        lines = _reading(partial(_list, entries, root))
        for path in list(failed):  # Some had only just been begun.
            with suppress(OSError, StoreError):
                found.append(read_row(root, path))
                del failed[path]
        _read_lines(lines, gaps, holds)
        doomed = condemned(lines)
        mine = [_row(settings, root, server, one, homes.get(one.camera)) for one in found]
        rows += mine
        going += [row.id for row in mine if row.path in doomed]
        unreadable |= {str(root.absolute(path)): why for path, why in failed.items()}
    there = {row.id for row in rows}
    places = {str(root.path) for root in roots}
    gone = [row for row in known if row.id not in there and (row.root in places or len(settings.media_roots) == 1)]

    async def work(directory: Directory) -> int:
        await directory.catalog.replace(server, rows, list(gaps.values()), gone)
        await directory.expiry.mark(going)
        restored = await directory.holds.restore(holds.values())
        await directory.settings.audit("command line", "store.rebuild", ", ".join(sorted(places)))
        return restored

    restored = with_directory(settings, work)
    for place, why in unreadable.items():
        typer.echo(f"unreadable: {place}: {why}", err=True)
    typer.echo(f"{len(rows)} recordings and {len(gaps)} gaps of {', '.join(sorted(places))} are in the catalog")
    if restored:
        typer.echo(f"{restored} holds were found beside them, and hold again")
    if unreadable:
        raise CommandError(f"{len(unreadable)} files could not be read; they are not in the catalog")


def _roots(settings: Settings) -> tuple[list[Root], str]:
    """The roots, and the media server they belong to: by their own word, since only the folders may be left."""
    found = [_root(settings, path) for path in settings.media_roots]
    servers = {server for _, server in found}
    if len(servers) > 1:
        raise CommandError(f"these folders belong to different media servers ({', '.join(sorted(servers))})")
    return [root for root, _ in found], found[0][1]


def _root(settings: Settings, path: Path) -> tuple[Root, str]:
    from soip.store.errors import StoreError
    from soip.store.root import IDENTITY, Root, note_for

    file, note = path / IDENTITY, note_for(settings.data, path)
    try:
        server = str(json.loads(file.read_text("utf-8"))["server"])
        return Root.open(path, server, note=note if note.exists() else None), server
    except FileNotFoundError as error:
        raise CommandError(f"nothing was recorded in {path}: give the server's --data DIR, and its --media") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CommandError(f"{file} cannot be read ({error}): restore it from a backup") from error
    except StoreError as error:
        raise CommandError(str(error)) from error


def _list(work: Callable[..., Iterable[T]], *arguments: object) -> list[T]:
    return list(work(*arguments))


def _findings(
    root: Root, rows: list[Recording], gaps: set[str], only: set[str] | None, passing: set[str]
) -> list[Finding]:
    from soip.store.check import check as findings_of

    return list(findings_of(root, rows, gaps, only=only, passing=passing))


def _elsewhere(root: str, rows: Iterable[RecordingRow]) -> Finding:
    from soip.store.check import Finding

    count = sum(row.root == root for row in rows)
    return Finding("missing", root, f"{count} recordings of the catalog lie there: give it too, with --media")


def _read_lines(lines: Iterable[tuple[str, Entry]], gaps: dict[str, GapRow], holds: dict[str, HoldRow]) -> None:
    """Gaps and holds out of journals; what several roots tell of the same one, the later word."""
    from soip.media.holds import hold_of

    for camera, entry in lines:
        if entry.kind == "gap":
            gap, known = _gap(camera, entry), gaps.get(entry.id)
            gaps[entry.id] = gap if known is None or gap.end_us >= known.end_us else known
        elif entry.kind == "hold":
            with suppress(ValueError):
                hold = hold_of(camera, entry)
                if hold.id not in holds or hold.released_us is not None:
                    holds[hold.id] = hold


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
