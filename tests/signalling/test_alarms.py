"""Alarms over real sockets: answered when they are written, passed on until they are taken."""

from __future__ import annotations

import asyncio
from email.utils import parsedate_to_datetime

import pytest

from soip.control import manscdp
from soip.control.manscdp import Alarm, AlarmResponse
from soip.directory.rows import EventRow
from soip.signalling import messenger
from soip.signalling.alarms import PER_CAMERA
from soip.sip import headers as h
from soip.sip.message import Request, Response
from soip.sip.reply import make_response
from tests.signalling.conftest import ServerHouse
from tests.signalling.peer import DOMAIN, Peer, eventually

ALARM = Alarm("cam1", 1, "2026-11-20T10:00:00", 2, 5, "운동 감지", type=2)
EVER = 1 << 62
KIND = ("Content-Type", manscdp.CONTENT_TYPE)


def message(peer: Peer, alarm: Alarm = ALARM, *, to: str = f"sip:{DOMAIN}", encoding: str = "UTF-8") -> Request:
    return peer.request("MESSAGE", to, headers=(KIND,), body=manscdp.build(alarm, encoding))


def numbered(sn: int) -> Alarm:
    return Alarm("cam1", sn, "2026-11-20T10:00:00")


async def camera_of(house: ServerHouse, identity: str = "cam1") -> Peer:
    """A registered camera that answers what the server tells it."""
    camera = await house.peer(identity)
    await camera.register()
    return camera


def taking(peer: Peer, taken: list[Request], status: int = 200) -> None:
    """Answer every MESSAGE and keep it."""

    def answer(request: Request) -> Response | None:
        if request.method != "MESSAGE":
            return None
        taken.append(request)
        return make_response(request, status, to_tag="t")

    peer.script = answer


async def rows(house: ServerHouse, camera: str = "cam1") -> list[EventRow]:
    return await house.directory.events.of_camera(camera, 0, EVER)


async def until_handed(house: ServerHouse, count: int = 1) -> None:
    async def handed() -> bool:
        return sum(row.handed_us is not None for row in await rows(house)) == count

    await eventually(handed)


async def test_an_alarm_is_written_answered_and_handed_over(house: ServerHouse) -> None:
    worker, camera = await house.worker(), await camera_of(house)
    sent = message(camera, encoding="GB2312")
    camera.send(sent)
    taken = list[Request]()
    taking(worker, taken)
    told = list[Request]()
    taking(camera, told)
    assert (await camera.response(sent)).status == 200
    (row,) = await rows(house)
    assert (row.id, row.source, row.detail, row.priority, row.method) == (ALARM.event_id, "cam1", "운동 감지", 2, 5)
    assert manscdp.parse(row.body.encode()) == ALARM
    await until_handed(house)
    (handed,) = taken
    assert str(handed.uri) == f"sip:cam1@{DOMAIN}"
    assert [str(each) for each in h.asserted_identity(handed.headers)] == [f"<sip:{DOMAIN}>"]
    assert h.content_type(handed.headers) == "application/manscdp+xml"
    assert manscdp.parse(handed.body) == ALARM
    moment = parsedate_to_datetime(handed.headers.get("Date") or "")
    assert int(moment.timestamp()) == row.start_us // 1_000_000

    async def responded() -> bool:
        return len(told) == 1

    await eventually(responded)
    assert manscdp.parse(told[0].body) == AlarmResponse("cam1", 1)
    assert str(told[0].uri) == camera.contact


async def test_an_alarm_from_elsewhere_is_challenged(house: ServerHouse) -> None:
    await camera_of(house)
    elsewhere = await house.peer("cam1")
    assert (await elsewhere.ask(message(elsewhere), challenged=False)).status == 401
    assert await rows(house) == []
    assert (await elsewhere.ask(message(elsewhere))).status == 200
    assert len(await rows(house)) == 1


async def test_an_alarm_may_be_addressed_to_the_code_of_a_server(house: ServerHouse) -> None:
    camera = await camera_of(house)
    coded = message(camera, to=f"sip:34020000002000000001@{DOMAIN}")
    assert (await camera.ask(coded, challenged=False)).status == 200
    assert len(await rows(house)) == 1


async def test_nobody_raises_alarms_for_others(house: ServerHouse) -> None:
    camera, person = await camera_of(house, "cam2"), await house.peer("ann")
    refused = await camera.ask(message(camera), challenged=False)
    assert refused.status == 403
    assert "no camera of cam2" in (refused.headers.get("Warning") or "")
    assert (await person.ask(message(person))).status == 403
    assert await rows(house) == []


async def test_what_is_required_and_not_there(house: ServerHouse) -> None:
    camera = await camera_of(house)
    asking = message(camera)
    asking.headers.add("Require", "recipient-list-message")
    assert (await camera.ask(asking, challenged=False)).status == 420


async def test_the_same_alarm_again_is_the_same_event(house: ServerHouse) -> None:
    worker, camera = await house.worker(), await camera_of(house)
    taken = list[Request]()
    taking(worker, taken)
    taking(camera, [])
    for _ in range(3):
        assert (await camera.ask(message(camera), challenged=False)).status == 200
    assert (await camera.ask(message(camera, numbered(2)), challenged=False)).status == 200
    await until_handed(house, 2)
    assert [row.id for row in await rows(house)] == [ALARM.event_id, numbered(2).event_id]
    assert len(taken) == 2


async def test_without_the_directory_an_alarm_is_refused_and_taken_later(house: ServerHouse) -> None:
    camera = await camera_of(house)
    taking(camera, [])
    file = house.settings.data / "soip.db"
    await asyncio.to_thread(file.rename, file.with_suffix(".away"))
    away = await camera.ask(message(camera), challenged=False)
    assert (away.status, away.headers.get("Retry-After")) == (503, "5")
    await asyncio.to_thread(file.with_suffix(".away").rename, file)
    assert (await camera.ask(message(camera), challenged=False)).status == 200
    assert len(await rows(house)) == 1


async def test_a_flood_is_bounded_for_each_camera(house: ServerHouse) -> None:
    camera, other = await camera_of(house), await camera_of(house, "cam2")
    taking(camera, [])
    sent = [message(camera, numbered(n)) for n in range(int(PER_CAMERA.burst) + 15)]
    for request in sent:
        camera.send(request)
    answers = [await camera.receive() for _ in sent]
    statuses = [answer.status for answer in answers if isinstance(answer, Response)]
    assert statuses.count(200) == len(await rows(house)) < len(sent)
    assert PER_CAMERA.burst <= statuses.count(200) <= PER_CAMERA.burst + 5
    refused = next(answer for answer in answers if isinstance(answer, Response) and answer.status == 503)
    assert int(refused.headers.get("Retry-After") or "0") >= 1
    fine = Alarm("cam2", 1, "2026-11-20T10:00:00")
    assert (await other.ask(message(other, fine), challenged=False)).status == 200


async def test_a_media_server_that_comes_later_gets_what_waits(house: ServerHouse) -> None:
    camera = await camera_of(house)
    taking(camera, [])
    for number in range(3):
        assert (await camera.ask(message(camera, numbered(number)), challenged=False)).status == 200
    taken = list[Request]()
    worker = await house.worker()
    taking(worker, taken)
    await until_handed(house, 3)
    assert {manscdp.parse(request.body) for request in taken} == {numbered(number) for number in range(3)}


async def test_an_alarm_is_repeated_until_it_is_taken(house: ServerHouse) -> None:
    worker, camera = await house.worker(), await camera_of(house)
    taking(camera, [])
    assert (await camera.ask(message(camera), challenged=False)).status == 200
    worker.reply(await worker.arrives("MESSAGE"), 503)
    worker.reply(await worker.arrives("MESSAGE"), 405)
    assert [row.handed_us for row in await rows(house)] == [None]
    worker.reply(await worker.arrives("MESSAGE"), 200)
    await until_handed(house)


async def test_a_media_server_that_is_silent_is_asked_again(
    house: ServerHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messenger, "MESSAGE_SECONDS", 0.2)
    worker, camera = await house.worker(), await camera_of(house)
    taking(camera, [])
    assert (await camera.ask(message(camera), challenged=False)).status == 200
    await worker.arrives("MESSAGE")
    worker.reply(await worker.arrives("MESSAGE"), 200)
    await until_handed(house)


async def test_what_was_not_handed_over_is_after_a_restart(house: ServerHouse) -> None:
    camera = await camera_of(house)
    taking(camera, [])
    assert (await camera.ask(message(camera), challenged=False)).status == 200
    await house.stop()
    await house.start()
    taken = list[Request]()
    worker = await house.worker()
    taking(worker, taken)
    await until_handed(house)
    await house.stop()
    await house.start()
    again = await house.worker()
    taking(again, taken)
    assert (await camera.ask(message(camera, numbered(2)), challenged=False)).status == 200
    await until_handed(house, 2)
    assert [manscdp.parse(request.body) for request in taken] == [ALARM, numbered(2)]
