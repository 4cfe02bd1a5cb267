"""Alarms in a whole house: from a camera through the SIP server into the journal beside its recordings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.control import manscdp
from soip.control.manscdp import Alarm
from soip.media.alarms import entry_of, is_of_the_server
from soip.net.ua import UserAgent
from soip.sip.message import Headers, Request
from soip.sip.uri import Uri
from soip.store import journal
from soip.store.journal import Entry
from tests.media.house import DOMAIN, House, until

ALARM = Alarm("cam1", 1, "2026-11-20T10:00:00", 2, 5, "운동 감지", type=2)
SERVER = Uri("sip", "", DOMAIN)


async def send(agent: UserAgent, to: Uri, message: manscdp.Message = ALARM) -> int:
    return (await agent.request("MESSAGE", to, manscdp.build(message), manscdp.CONTENT_TYPE)).status


def noted(house: House, camera: str = "cam1") -> list[Entry]:
    """The events in the journals of a camera."""
    found = sorted(house.settings.media_roots[0].glob(f"{camera}/*/*/*/journal.jsonl"))
    return [entry for path in found for entry in journal._entries(path) if entry.kind == "event"]


async def test_an_alarm_stands_in_the_journal_once(house: House) -> None:
    await house.add_camera(plan="never")
    house.start_media()
    await house.base()
    camera = await house.agent("cam1", "secret")
    for _ in range(2):
        assert await send(camera, SERVER) == 200
    second = Alarm("cam1", 2, "2026-11-20T10:00:05")
    assert await send(camera, SERVER, second) == 200
    await until(lambda: [entry.id for entry in noted(house)], [ALARM.event_id, second.event_id])
    first = noted(house)[0]
    assert (first.cause, first.facts["description"], first.facts["type"]) == ("alarm", "운동 감지", 2)

    async def handed() -> bool:
        rows = await house.directory.events.of_camera("cam1", 0, 1 << 62)
        return len(rows) == 2 and all(row.handed_us is not None for row in rows)

    await until(handed, True)
    (row, _) = await house.directory.events.of_camera("cam1", 0, 1 << 62)
    assert first.start_us == row.start_us // 1_000_000 * 1_000_000


async def test_nobody_but_the_server_writes_there(house: House) -> None:
    await house.add_camera(plan="never")
    house.start_media()
    await house.base()
    operator = await house.agent("bob", "bob-sip")

    async def answered() -> int:
        return await send(operator, Uri("sip", "cam1", DOMAIN))

    await until(answered, 405)
    assert noted(house) == []


def message(*asserted: str) -> Request:
    return Request("MESSAGE", SERVER, Headers([("P-Asserted-Identity", value) for value in asserted]))


@pytest.mark.parametrize(
    ("asserted", "expected"),
    [
        (["<sip:soip.test>"], True),
        (["<sip:SOIP.TEST>"], True),
        ([], False),
        (["<sip:bob@soip.test>"], False),
        (["<sip:other.test>"], False),
        (["<sip:soip.test>", "<sip:bob@soip.test>"], False),
        (["<sip:soip.test>, <sip:bob@soip.test>"], False),
        (["nonsense <"], False),
    ],
)
def test_who_is_the_server(asserted: list[str], expected: bool) -> None:
    assert is_of_the_server(message(*asserted), DOMAIN) is expected


@given(st.integers(0, 2**50), st.none() | st.integers(0, 99), st.text(max_size=20))
def test_the_line_of_an_alarm(at_us: int, kind: int | None, description: str) -> None:
    alarm = Alarm("cam1", 1, "t", 1, 2, description, type=kind)
    entry = entry_of(alarm, at_us)
    assert (entry.kind, entry.id, entry.start_us, entry.end_us) == ("event", alarm.event_id, at_us, at_us)
    assert entry.facts.get("type") == kind
    assert entry.facts.get("description", "") == description
