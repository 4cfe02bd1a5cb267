"""`soip recordings` and `soip export`: what was recorded of a camera, and a range of it as a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from soip.commands.options import DataOption, JsonOption
from soip.commands.terminal import (
    CommandError,
    check_output,
    format_second,
    format_time,
    parse_time,
    print_json,
    print_table,
    settings_for,
    with_directory,
)

if TYPE_CHECKING:
    from soip.directory.directory import Directory
    from soip.directory.rows import RecordingRow


def recordings(
    camera: Annotated[str, typer.Argument(metavar="CAMERA", help="The camera's id.")],
    as_json: JsonOption = False,
    data: DataOption = None,
) -> None:
    """List the recorded files of a camera, oldest first."""

    async def work(directory: Directory) -> list[RecordingRow]:
        rows = await directory.catalog.recordings(camera)
        if not rows and await directory.cameras.get(camera) is None:
            raise _no_camera(camera)
        return rows

    rows = with_directory(settings_for(data=data), work)
    if as_json:
        print_json([_facts(row) for row in rows])
        return
    print_table(
        ("start", "end", "MB", "sealed", "lost", "path"),
        (
            [
                format_second(row.start_us),
                format_second(row.end_us),
                f"{row.bytes / 1e6:.1f}",
                "yes" if row.sealed else "no",
                f"{row.lost} packets" if row.lost else "-",
                str(_path(row)),
            ]
            for row in rows
        ),
        f"nothing recorded of {camera} yet",
    )


def export(
    camera: Annotated[str, typer.Argument(metavar="CAMERA", help="The camera's id.")],
    start: Annotated[str, typer.Option("--from", metavar="T", help="Start (RFC 3339).", show_default=False)],
    stop: Annotated[str, typer.Option("--to", metavar="T", help="End (RFC 3339).", show_default=False)],
    output: Annotated[
        Path, typer.Option("--output", metavar="FILE.mp4", help="Where the film goes.", show_default=False)
    ],
    data: DataOption = None,
) -> None:
    """Write what was recorded in a time range into an MP4 file, without re-encoding."""
    from_us, to_us = parse_time(start), parse_time(stop)
    if from_us >= to_us:
        raise typer.BadParameter("--to must be later than --from")
    check_output(output)

    async def work(directory: Directory) -> list[RecordingRow]:
        rows = await directory.catalog.recordings(camera, from_us, to_us)
        if not rows and await directory.cameras.get(camera) is None:
            raise _no_camera(camera)
        return rows

    rows = with_directory(settings_for(data=data), work)
    from soip.store.errors import StoreError
    from soip.store.export import export as write

    try:
        files = write([_path(row) for row in rows], from_us, to_us, output)
    except StoreError as error:
        raise CommandError(f"{camera}: {error}") from error
    except OSError as error:
        raise CommandError(f"{error.filename or output} cannot be written or read: {error.strerror}") from error
    for file in files:
        typer.echo(str(file))


def _no_camera(camera: str) -> CommandError:
    return CommandError(f"there is no camera {camera!r}: `soip camera list` shows which there are")


def _path(row: RecordingRow) -> Path:
    return (Path(row.root) / row.path).absolute()


def _facts(row: RecordingRow) -> dict[str, object]:
    return {
        "id": row.id,
        "camera": row.camera_id,
        "stream": row.stream,
        "path": str(_path(row)),
        "start": format_time(row.start_us),
        "end": format_time(row.end_us),
        "bytes": row.bytes,
        "frames": row.frames,
        "tracks": json.loads(row.tracks),
        "trigger": row.trigger,
        "sealed": row.sealed,
        "sha256": row.sha256 or None,
        "damaged_pictures": row.damaged,
        "lost_packets": row.lost,
        "damage": [
            {"start": format_time(start), "end": format_time(end), "pictures": pictures, "packets": packets}
            for start, end, pictures, packets in json.loads(row.damage)
        ],
        "media_server": row.server_id,
        "instance": row.instance_id,
    }
