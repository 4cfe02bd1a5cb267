"""The command line: puts the commands together, and makes one line and an exit code of every failure."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from soip import __version__
from soip.commands import agents, camera, demo, hold, media, recordings, route, server, store, tls, top, trace, user
from soip.commands.terminal import CommandError
from soip.lifeline import StartError

app = typer.Typer(
    name="soip",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Surveillance over IP: every camera, recorder, viewer and phone is a SIP endpoint.",
)

app.command("serve")(server.serve)
app.command("sip")(server.sip)
app.command("web")(server.web)
app.add_typer(media.app, name="media")
app.command("demo")(demo.demo)
app.add_typer(camera.app, name="camera")
app.add_typer(user.app, name="user")
app.add_typer(tls.app, name="tls")
app.add_typer(route.app, name="route")
app.command("recordings")(recordings.recordings)
app.command("export")(recordings.export)
app.add_typer(hold.app, name="hold")
app.add_typer(store.app, name="store")
app.command("trace")(trace.trace)
app.command("top")(top.top)
app.command("simulate")(agents.simulate)
app.command("play")(agents.play)


@app.callback(invoke_without_command=True)
def root(version: bool = typer.Option(False, "--version", help="Print the version.", is_eager=True)) -> None:
    if version:
        typer.echo(f"soip {__version__}")
        raise typer.Exit


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command and ends the process: 0 done, 1 failed, 2 called wrongly, 130 interrupted."""
    try:
        code = app(arguments, prog_name="soip", standalone_mode=False)
    except typer.TyperException as error:
        # Typer lists choices on lines of their own and quotes its validator; people need one line of what is wrong.
        line = " ".join(error.format_message().replace("Value error, ", "").split())
        _fail(line or "see `soip --help`", getattr(error, "exit_code", 2))
    except (CommandError, StartError) as error:
        _fail(str(error), error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int) -> None:
    typer.echo(f"soip: {message}", err=True)
    sys.exit(code)
