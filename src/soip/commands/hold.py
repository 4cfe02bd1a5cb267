"""`soip hold`: recordings that must not expire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from soip.commands.options import DataOption, JsonOption
from soip.commands.terminal import (
    CommandError,
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
    from soip.directory.rows import HoldRow

app = typer.Typer(no_args_is_help=True, help="Keep recordings from expiring.")

BY = "command line"


@app.command("add")
def add(
    camera: Annotated[str, typer.Argument(metavar="CAMERA", help="The camera's id.")],
    start: Annotated[str, typer.Option("--from", metavar="T", help="Start (RFC 3339).", show_default=False)],
    stop: Annotated[str, typer.Option("--to", metavar="T", help="End (RFC 3339).", show_default=False)],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why it is kept.", show_default=False)],
    reference: Annotated[str, typer.Option("--reference", metavar="TEXT", help="A case number, say.")] = "",
    data: DataOption = None,
) -> None:
    """Keep what is, or will be, recorded of a camera in a time range. Recording stops before a hold is broken."""
    from_us, to_us = parse_time(start), parse_time(stop)
    if from_us >= to_us:
        raise typer.BadParameter("--to must be later than --from")

    async def work(directory: Directory) -> HoldRow:
        from soip.directory.errors import NotFoundError

        try:
            row = await directory.holds.add(camera, from_us, to_us, reason=reason, by=BY, reference=reference)
        except NotFoundError as error:
            raise CommandError(str(error)) from error
        await directory.settings.audit(BY, "hold.add", camera, row.id)
        return row

    row = with_directory(settings_for(data=data), work)
    typer.echo(f"hold {row.id}: recordings of {camera} are kept until it is removed")


@app.command("list")
def list_holds(
    camera: Annotated[str, typer.Argument(metavar="[CAMERA]", help="Of this camera only.")] = "",
    released: Annotated[bool, typer.Option("--all", help="Also those that were removed.")] = False,
    as_json: JsonOption = False,
    data: DataOption = None,
) -> None:
    """List the holds."""
    rows = with_directory(settings_for(data=data), lambda directory: directory.holds.all(camera, released=released))
    if as_json:
        print_json([_facts(row) for row in rows])
        return
    print_table(
        ("id", "camera", "from", "to", "by", "removed", "reason"),
        (
            [
                row.id,
                row.camera_id,
                format_second(row.start_us),
                format_second(row.end_us),
                row.created_by,
                "" if row.released_us is None else format_second(row.released_us),
                f"{row.reason} ({row.reference})" if row.reference else row.reason,
            ]
            for row in rows
        ),
        "nothing is held",
    )


@app.command("remove")
def remove(
    identity: Annotated[str, typer.Argument(metavar="ID", help="The hold's id, as `list` shows it.")],
    data: DataOption = None,
) -> None:
    """Remove a hold: what it kept may expire."""

    async def work(directory: Directory) -> HoldRow:
        from soip.directory.errors import NotFoundError

        try:
            row = await directory.holds.release(identity)
        except NotFoundError as error:
            raise CommandError(str(error)) from error
        await directory.settings.audit(BY, "hold.release", row.camera_id, row.id)
        return row

    row = with_directory(settings_for(data=data), work)
    typer.echo(f"hold {row.id} of {row.camera_id} removed")


def _facts(row: HoldRow) -> dict[str, object]:
    return {
        "id": row.id,
        "camera": row.camera_id,
        "from": format_time(row.start_us),
        "to": format_time(row.end_us),
        "reason": row.reason,
        "reference": row.reference,
        "by": row.created_by,
        "created": format_time(row.created_us),
        "removed": None if row.released_us is None else format_time(row.released_us),
    }
