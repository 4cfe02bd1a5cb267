"""`soip top`: what the running server does, camera by camera, as it goes on."""

from __future__ import annotations

import time
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from soip.commands.demo import local
from soip.commands.options import DataOption, HttpOption, JsonOption
from soip.commands.terminal import CommandError, print_json, settings_for

if TYPE_CHECKING:
    from soip.commands.board import Board, Reading
    from soip.config import Settings

_ANSWER_S = 15.0


class Sort(StrEnum):
    """What cameras are sorted by."""

    NAME = "name"
    STATE = "state"
    FPS = "fps"
    RATE = "rate"
    LOSS = "loss"
    VIEWERS = "viewers"
    WRITE = "write"
    AGE = "age"


def top(
    sort: Annotated[Sort, typer.Option("--sort", help="Which cameras come first: the largest, or worst.")] = Sort.NAME,
    reverse: Annotated[bool, typer.Option("--reverse", help="The other way round.")] = False,
    once: Annotated[bool, typer.Option("--once", help="Print once and end.")] = False,
    interval: Annotated[
        float, typer.Option("--interval", metavar="S", min=0.5, max=3600, help="Seconds between two looks.")
    ] = 2.0,
    as_json: JsonOption = False,
    http: HttpOption = None,
    data: DataOption = None,
) -> None:
    """Show what the running server does: cameras, media workers, disks. With `--json` once, for programs."""
    from soip.commands.board import board

    with _Server(settings_for(data=data, http=http)) as server:
        before = server.read()
        if once or as_json:
            time.sleep(interval)  # So often one looks again.
            shown = board(before, server.read(), sort.value, reverse=reverse)
            if as_json:
                print_json(asdict(shown))
            else:
                _print(shown)
            return
        _follow(server, before, sort.value, reverse, interval)


class _Server:
    """The running server's figures, by HTTP."""

    def __init__(self, settings: Settings) -> None:
        import httpx

        self._settings = settings
        self._address = local(settings.http)
        self._client = httpx.Client(trust_env=False, timeout=_ANSWER_S)

    def __enter__(self) -> _Server:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._client.close()

    def read(self) -> Reading:
        """The figures of now. Raises CommandError."""
        import httpx

        from soip.commands.board import Reading

        try:
            headers = {"Authorization": f"Bearer {self._token()}"}
            answer = self._client.get(f"http://{self._address}/metrics", headers=headers)
        except httpx.HTTPError as error:
            raise CommandError(
                f"no server answers at http://{self._address}: start one with `soip serve`, or name it with --data or "
                f"--http"
            ) from error
        if answer.status_code == 401:
            raise CommandError(
                f"the server at http://{self._address} does not know the token of {self._settings.data}: name its own "
                f"data directory with --data"
            )
        try:
            if answer.status_code != 200:
                raise ValueError(f"status {answer.status_code}")
            return Reading(answer.text, time.monotonic(), time.time())
        except ValueError as error:
            raise CommandError(f"what answers at http://{self._address} is no SoIP server: {error}") from error

    def _token(self) -> str:
        """What opens the figures. Raises CommandError."""
        from soip.metrics import read_token

        settings = self._settings
        if settings.metrics_token is not None:
            return settings.metrics_token
        try:
            token = read_token(settings.metrics_token_file)
        except OSError as error:
            raise CommandError(f"{settings.metrics_token_file} cannot be read: {error.strerror}") from error
        if not token:
            raise CommandError(
                f"no server has run on {settings.data}: start one with `soip serve`, or name its data directory with "
                f"--data"
            )
        return token


def _print(shown: Board) -> None:
    from rich.console import Console

    from soip.commands.board import draw

    console = Console(highlight=False, markup=False)
    for line in draw(shown, console.width):
        console.print(line, soft_wrap=True)


def _follow(server: _Server, before: Reading, sort: str, reverse: bool, interval: float) -> None:
    """Until interrupted. A server that is started anew meanwhile is waited for."""
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    from soip.commands.board import board, draw

    console = Console(highlight=False, markup=False)
    with Live(Text("looking …"), console=console, screen=console.is_terminal, auto_refresh=False) as live:
        while True:
            time.sleep(interval)  # So often one looks again.
            try:
                now = server.read()
            except CommandError as error:
                live.update(Text(f"{error}\ntrying again …"), refresh=True)
                continue
            shown = board(before, now, sort, reverse=reverse)
            live.update(Group(*draw(shown, console.width, console.height)), refresh=True)
            before = now
