"""`soip route`: the routes to other SIP servers, and whether they are up."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

from soip.commands.options import DataOption, JsonOption
from soip.commands.terminal import format_second, print_json, print_table, settings_for, with_directory

if TYPE_CHECKING:
    from soip.config import SipRoute
    from soip.directory.directory import Directory

app = typer.Typer(no_args_is_help=True, help="Routes to other SIP servers.")


@app.callback()
def routes() -> None:
    """Routes to other SIP servers."""


@app.command("list")
def list_(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Show the routes of the settings, and what the SIP server last knew of each."""
    settings = settings_for(data=data)

    async def work(directory: Directory) -> str | None:
        from soip.directory.settings import SIP_ROUTES

        return await directory.settings.get(SIP_ROUTES)

    states: dict[str, tuple[str, str, int]] = json.loads(with_directory(settings, work) or "{}")
    found = [_facts(route, *states.get(route.name, ("unknown", "", 0))) for route in settings.sip_routes]
    if as_json:
        print_json(found)
        return
    columns = ("route", "leads to", "by", "state", "since", "why")
    keys = ("name", "leads_to", "to", "state", "since", "why")
    print_table(
        columns,
        [[str(each[key]) for key in keys] for each in found],
        "no routes; docs/configuration.md tells how to write one",
    )


def _facts(route: SipRoute, state: str, why: str, since_us: int) -> dict[str, str]:
    return {
        "name": route.name,
        "leads_to": ", ".join((*route.domains, *route.numbers)),
        "to": route.to,
        "state": state,
        "since": format_second(since_us) if since_us else "",
        "why": why,
    }
