"""`soip media`: one media worker alone; below it, the group of all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from soip.commands import server
from soip.commands.options import DataOption, JsonOption
from soip.commands.terminal import CommandError, print_json, print_table, settings_for, with_directory

if TYPE_CHECKING:
    from soip.directory.directory import Directory
    from soip.web.models import WorkerView

app = typer.Typer()
app.callback(invoke_without_command=True)(server.media)


@app.command("list")
def list_workers(as_json: JsonOption = False, data: DataOption = None) -> None:
    """List the media workers: whether they are there, and what they carry."""
    workers = with_directory(settings_for(data=data), _workers)
    if as_json:
        print_json([worker.model_dump() for worker in workers])
        return
    print_table(
        ("id", "state", "heard of", "cameras", "streams", "viewers", "in", "out", "disk free", "disks"),
        (
            [
                worker.id,
                worker.state,
                worker.heard[:19] + "Z",
                str(worker.cameras),
                str(worker.streams),
                str(worker.viewers),
                _rate(worker.in_bps),
                _rate(worker.out_bps),
                f"{worker.disk_free / 1e9:.1f} of {worker.disk_total / 1e9:.1f} GB",
                ", ".join(f"{disk.path} {disk.state} {disk.free / 1e9:.1f} GB" for disk in worker.disks),
            ]
            for worker in workers
        ),
        "no media worker has ever run here: start the server with `soip serve`",
    )


@app.command("move")
def move(
    camera: Annotated[str, typer.Argument(metavar="CAMERA", help="The camera's id.")],
    worker: Annotated[str, typer.Argument(metavar="WORKER", help="The media worker it goes to, as `list` names it.")],
    data: DataOption = None,
) -> None:
    """Give a camera another media worker. Its recording has a gap of some seconds; what was recorded stays."""
    settings = settings_for(data=data)

    async def work(directory: Directory) -> None:
        from soip.directory.errors import NotFoundError

        try:
            await directory.homes.move(camera, worker)
        except NotFoundError as error:
            raise CommandError(str(error)) from error
        await directory.settings.audit("command line", "camera.move", camera, worker)

    with_directory(settings, work)
    typer.echo(f"camera {camera} is served by {worker} from now on")


async def _workers(directory: Directory) -> list[WorkerView]:
    from soip.web.overview import snapshot

    return list((await snapshot(directory)).group)


def _rate(bps: int) -> str:
    return f"{bps / 1e6:.1f} Mbit/s"
