"""`soip trace`: the last calls, and one of them message by message: why it did not work."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from soip.commands.options import DataOption, JsonOption
from soip.commands.terminal import CommandError, format_time, print_json, print_table, settings_for, with_directory

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console
    from rich.text import Text

    from soip.directory.directory import Directory
    from soip.directory.rows import CallTraceRow
    from soip.web.models import CallView, LadderView, MessageView

EVERY_S = 0.5
MOST = 1000


def trace(
    call: Annotated[str, typer.Argument(metavar="[CALL]", help="Draw this call.", show_default=False)] = "",
    camera: Annotated[
        str, typer.Option("--camera", metavar="ID", help="Only calls to or from this id.", show_default=False)
    ] = "",
    last: Annotated[int, typer.Option("--last", metavar="N", min=1, max=MOST, help="So many calls at most.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", help="Go on showing messages as they come.")] = False,
    as_json: JsonOption = False,
    data: DataOption = None,
) -> None:
    """List the last calls with what became of them, or draw one of them."""
    settings = settings_for(data=data)
    if follow:
        with_directory(settings, lambda directory: _Follower(directory, call, camera, as_json).run())
        return
    if call:
        found = with_directory(settings, lambda directory: _ladder(directory, call))
        if as_json:
            print_json(found.model_dump(by_alias=True))
        else:
            _print_ladder(found)
        return
    calls = with_directory(settings, lambda directory: _calls(directory, camera, last))
    if as_json:
        print_json([one.model_dump(by_alias=True) for one in calls])
    else:
        _print_list(calls)


async def _calls(directory: Directory, camera: str, last: int) -> list[CallView]:
    from soip.web.calls import summary

    return [summary(row) for row in await directory.traces.last(party=camera, limit=last)]


async def _ladder(directory: Directory, call: str) -> LadderView:
    from soip.web.calls import ladder

    found = ladder(call, await directory.traces.call(call))
    if found is None:
        raise CommandError(f"there is no call {call!r}: `soip trace` lists the last ones")
    return found


def _print_list(calls: list[CallView]) -> None:
    from soip.commands.ladder import who

    rows = [
        [
            one.started[:19] + "Z",
            one.id,
            f"{who(one.caller, one.proven)} → {one.callee}",
            _duration(one),
            one.verdict.text + (f", {one.times} times in a row" if one.times > 1 else ""),
        ]
        for one in reversed(calls)
    ]
    print_table(("start", "call", "who → whom", "s", "what became of it"), rows, "no calls yet", fold=True)


def _duration(call: CallView) -> str:
    """How long it lasted, in seconds; of one that goes on, nothing is known yet."""
    if call.ended is None:
        return ""
    length = datetime.fromisoformat(call.ended) - datetime.fromisoformat(call.started)
    return f"{length / timedelta(seconds=1):.1f}"


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False, markup=False)


def _print(console: Console, lines: Iterable[Text]) -> None:
    for text in lines:
        console.print(text, soft_wrap=True)


def _print_ladder(call: LadderView) -> None:
    from soip.commands.ladder import draw

    console = _console()
    _print(console, draw(call, console.width))


class _Follower:
    """Shows what comes: the messages of one call as a ladder that grows, or those of all calls as lines."""

    def __init__(self, directory: Directory, call: str, camera: str, as_json: bool) -> None:
        self._directory = directory
        self._call = call
        self._camera = camera
        self._json = as_json
        self._console = _console()
        self._changed: dict[str, int] = {}
        self._shown: set[tuple[float, int, int, str]] = set()
        self._columns: list[str] = []
        self._told = ""

    async def run(self) -> None:
        """Until interrupted."""
        if not self._call:  # what has been is there to be listed
            self._changed = {row.id: row.updated_us for row in await self._rows()}
        while True:
            if self._call:
                self._grow(await _ladder(self._directory, self._call))
            else:
                await self._look()
            await asyncio.sleep(EVERY_S)

    async def _rows(self) -> list[CallTraceRow]:
        return await self._directory.traces.last(party=self._camera)

    async def _look(self) -> None:
        from soip.web.calls import ladder

        rows, before = await self._rows(), self._changed
        self._changed = {row.id: row.updated_us for row in rows}
        for row in reversed(rows):
            since_us = before.get(row.id, 0)
            if since_us == row.updated_us:
                continue
            alone = [one for one in await self._directory.traces.call(row.id) if one.id == row.id]
            call = ladder(row.id, alone)
            for message in call.messages if call else ():
                at_us = row.started_us + round(message.at * 1000)
                if call and at_us > since_us:
                    self._line(format_time(at_us)[:23] + "Z", call, message)

    def _line(self, at: str, call: LadderView, message: MessageView) -> None:
        from soip.commands.ladder import line

        if self._json:
            _print_json_line({"time": at, "call": call.id, **_told(call, message)})
        else:
            self._console.print(line(at, call, message), soft_wrap=True)

    def _grow(self, call: LadderView) -> None:
        from soip.commands.ladder import Drawing, heading

        drawing = Drawing(call, self._console.width)
        for message in call.messages:
            key = (message.at, message.sender, message.receiver, message.line)
            if key in self._shown:
                continue
            self._shown.add(key)
            if self._json:
                _print_json_line({"call": call.id, "at": message.at, **_told(call, message)})
                continue
            columns = [participant.name for participant in call.participants]
            if columns != self._columns:  # somebody new, or who was a number has a name now
                self._columns = columns
                _print(self._console, drawing.head())
            _print(self._console, drawing.message(message))
        if self._told != call.verdict.text and not self._json:
            self._told = call.verdict.text
            _print(self._console, list(heading(call))[1:])


def _told(call: LadderView, message: MessageView) -> dict[str, object]:
    names = [participant.name for participant in call.participants]
    return {
        "from": names[message.sender],
        "to": names[message.receiver],
        "line": message.line,
        "cseq": message.cseq,
        "facts": message.facts,
        "again": message.again,
    }


def _print_json_line(value: object) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False))
