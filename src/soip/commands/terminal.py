"""What commands share: reading times, printing, and running work with the directory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

if TYPE_CHECKING:
    from soip.config import Settings
    from soip.directory.directory import Directory

T = TypeVar("T")

_WIDEST = 5000  # columns of a table
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class CommandError(Exception):
    """A command could not be done; the text says what to do. `exit_code` is 2 when it was called wrongly."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def parse_moment(value: str) -> datetime:
    """An RFC 3339 time. Raises typer.BadParameter."""
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise typer.BadParameter(f"{value!r} is not a time like 2026-11-20T10:00:00Z (RFC 3339, with its zone)")
    return moment


def parse_time(value: str) -> int:
    """µs UTC of an RFC 3339 time. Raises typer.BadParameter."""
    return (parse_moment(value) - _EPOCH) // timedelta(microseconds=1)


def format_time(us: int) -> str:
    """RFC 3339 in UTC with microseconds, for a time in µs."""
    return (_EPOCH + timedelta(microseconds=us)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def format_second(us: int) -> str:
    """As `format_time`, to the second: for people."""
    return format_time(us)[:19] + "Z"


def check_output(file: Path) -> None:
    """Raises CommandError where no file can be written: told before a call is made or a film is put together."""
    if file.is_dir():
        raise CommandError(f"{file} is a folder: name a file in it with --output", exit_code=2)
    if not file.parent.is_dir():
        raise CommandError(f"there is no folder {file.parent}: make it, or give another --output", exit_code=2)


def print_json(value: object) -> None:
    """JSON on standard output, for programs."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], empty: str, *, fold: bool = False) -> None:
    """A table for people; `empty` is said instead when there are no rows. `fold`: on a terminal the last column, which
    is a sentence, takes more lines where it has not the room.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=box.SIMPLE_HEAD)
    console = Console()
    fold = fold and console.is_terminal
    for row in rows:
        last = len(row) - 1
        table.add_row(*(Text(cell, no_wrap=not (fold and at == last)) for at, cell in enumerate(row)))
    if table.row_count and fold:
        console.print(table)
    elif table.row_count:
        # Wider than the terminal rather than cut: a path is there to be copied.
        console.width = max(
            console.width, console.measure(table, options=console.options.update(width=_WIDEST)).maximum
        )
        console.print(table, soft_wrap=True)
    else:
        console.print(empty, markup=False)


def settings_for(**options: object) -> Settings:
    """The settings for a command's options. Raises CommandError."""
    from soip.config import Settings, SettingsError

    try:
        return Settings.load(**options)
    except SettingsError as error:
        raise CommandError(str(error), exit_code=2) from error


def with_directory(settings: Settings, work: Callable[[Directory], Awaitable[T]]) -> T:
    """Opens the directory, runs `work` with it, closes it. Raises CommandError for the directory's errors."""
    from soip.directory.directory import Directory
    from soip.directory.errors import DirectoryError, InvalidValueError

    async def main() -> T:
        async with await Directory.open(settings.database_url) as directory:
            return await work(directory)

    try:
        return asyncio.run(main())
    except InvalidValueError as error:
        raise CommandError(str(error), exit_code=2) from error
    except DirectoryError as error:
        raise CommandError(str(error)) from error
