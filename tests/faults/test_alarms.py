"""kill -9 of the SIP server between writing an alarm and handing it over."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from soip.config import HostPort
from soip.control import manscdp
from soip.control.manscdp import Alarm
from soip.sip.message import Request, Response
from soip.sip.reply import make_response
from tests.signalling.conftest import ServerHouse
from tests.signalling.peer import DOMAIN, Peer, eventually
from tests.site import Program, free_port

pytestmark = pytest.mark.faults


class Killed:
    """A house whose SIP server is a process of its own, `soip sip`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.house = ServerHouse(folder / "data")
        self.house.address = ("127.0.0.1", free_port("127.0.0.1"))
        self.house.settings = self.house.settings.model_copy(update={"sip": HostPort(*self.house.address)})
        self.program: Program
        self._runs = 0

    async def start(self) -> None:
        """Start it, and wait until it answers."""
        self._runs += 1
        command = [sys.executable, "-m", "soip", "sip", "--data", str(self.house.settings.data)]
        settings = {"SOIP_SIP": str(self.house.settings.sip), "SOIP_DOMAIN": DOMAIN, "SOIP_MEDIA_WORKERS": "1"}
        self.program = Program(self.folder / f"sip-{self._runs}.log", command, settings)

        async def ready() -> bool:
            return "SIP server ready" in self.program.text

        await eventually(ready, 120)

    async def worker(self, taken: list[Request]) -> Peer:
        """The media worker, which takes every alarm and keeps it."""

        def take(request: Request) -> Response | None:
            taken.append(request)
            return make_response(request, 200, to_tag="m")

        worker = await self.house.worker()
        worker.script = take
        return worker

    async def until_handed(self) -> None:
        async def handed() -> bool:
            return await self.house.directory.events.unhanded() == []

        await eventually(handed)


@pytest.fixture
async def killed(tmp_path: Path) -> AsyncIterator[Killed]:
    killed = Killed(tmp_path)
    await killed.house.furnish()
    await killed.house.open()
    await killed.start()
    try:
        yield killed
    finally:
        await killed.house.close()
        await asyncio.to_thread(killed.program.stop)


async def raise_alarm(camera: Peer, alarm: Alarm) -> None:
    """Send it until it is answered 200, as a camera would; a server that has forgotten the camera asks who it is."""
    camera.script = lambda request: make_response(request, 200, to_tag="c")  # to the server's own answer
    kind = (("Content-Type", manscdp.CONTENT_TYPE),)
    sent = camera.request("MESSAGE", f"sip:{DOMAIN}", headers=kind, body=manscdp.build(alarm))
    assert (await camera.ask(sent)).status == 200


def told(requests: list[Request]) -> list[str]:
    """The ids of the events that were handed over, sorted."""
    messages = [manscdp.parse(request.body) for request in requests]
    return sorted(message.event_id for message in messages if isinstance(message, Alarm))


async def test_what_was_answered_is_handed_over_after_a_kill_and_once(killed: Killed) -> None:
    camera = await killed.house.peer("cam1")
    await camera.register()
    alarms = [Alarm("cam1", number, "2026-11-20T10:00:00") for number in range(5)]
    for alarm in alarms:
        await raise_alarm(camera, alarm)
    killed.program.kill()  # nobody was there to take them
    await killed.start()
    taken = list[Request]()
    await killed.worker(taken)
    await killed.until_handed()
    assert told(taken) == sorted(alarm.event_id for alarm in alarms)
    killed.program.kill()
    await killed.start()
    await killed.worker(taken)
    fresh = Alarm("cam1", 9, "2026-11-20T10:00:00")
    await raise_alarm(camera, fresh)
    await killed.until_handed()
    assert told(taken[5:]) == [fresh.event_id], "the others are not sent again"


async def test_killed_before_the_note_it_is_sent_again_under_its_id(killed: Killed) -> None:
    """The worst moment: the media server has taken it, and the server dies before it can note that."""
    worker, camera = await killed.house.worker(), await killed.house.peer("cam1")
    await camera.register()
    alarm = Alarm("cam1", 1, "2026-11-20T10:00:00")
    await raise_alarm(camera, alarm)
    first = await worker.arrives("MESSAGE")
    killed.program.kill()
    await killed.start()
    taken = list[Request]()
    await killed.worker(taken)
    await killed.until_handed()
    assert told([first]) == told(taken) == [alarm.event_id]
