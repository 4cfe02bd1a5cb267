"""Alarms of the software camera: raised, repeated until taken, and what the server answers."""

from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from soip.control import manscdp
from soip.control.manscdp import Alarm, AlarmResponse
from soip.net.exchange import IncomingRequest
from soip.sip.uri import Uri
from tests.agents.site import PATIENT_S, caller, cameras, proxy
from tests.net.proxy import REALM, SmallProxy


class Server(SmallProxy):
    """A server that answers alarms as it is told, the last answer again and again."""

    def __init__(self, small: SmallProxy, *answers: int) -> None:
        super().__init__(small.endpoint, small.passwords)
        self.answers = list(answers)
        self.taken: list[manscdp.Message] = []
        self.changed = asyncio.Event()
        small.endpoint.serve(self)
        small.bindings = self.bindings  # what waits for cameras looks there

    async def request(self, incoming: IncomingRequest) -> None:
        request = incoming.request
        if request.method != "MESSAGE" or request.uri.user:
            await super().request(incoming)
            return
        assert (request.uri.host, request.headers.get("Content-Type")) == (REALM, manscdp.CONTENT_TYPE)
        self.taken.append(manscdp.parse(request.body))
        status = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        incoming.reply(status, headers=[("Retry-After", "0")] if status == 503 else ())
        self.changed.set()

    async def until(self, count: int) -> list[Alarm]:
        """The first so many alarms."""
        async with asyncio.timeout(PATIENT_S):
            while len(self.taken) < count:
                self.changed.clear()
                await self.changed.wait()
        return [alarm for alarm in self.taken[:count] if isinstance(alarm, Alarm)]


async def test_alarms_with_rising_numbers() -> None:
    async with proxy(cam1="secret") as small:
        server = Server(small, 200)
        async with cameras(small, alarm_every=0.05):
            alarms = await server.until(3)
    assert [alarm.sn for alarm in alarms] == [1, 2, 3]
    assert {(alarm.device, alarm.method, alarm.type) for alarm in alarms} == {("cam1", 5, 2)}
    assert len({alarm.event_id for alarm in alarms}) == 3


async def test_an_alarm_is_sent_until_it_is_taken() -> None:
    async with proxy(cam1="secret") as small:
        server = Server(small, 503, 503, 200)
        async with cameras(small, alarm_every=0.05):
            alarms = await server.until(4)
    assert [alarm.sn for alarm in alarms] == [1, 1, 1, 2]


async def test_a_refused_alarm_is_not_repeated() -> None:
    async with proxy(cam1="secret") as small:
        server = Server(small, 403)
        with capture_logs() as said:
            async with cameras(small, alarm_every=0.05):
                alarms = await server.until(2)
    assert [alarm.sn for alarm in alarms] == [1, 2]
    assert ("alarm refused", 403) in [(entry["event"], entry.get("status")) for entry in said]


async def test_no_alarms_unless_asked_for() -> None:
    async with proxy(cam1="secret") as small:
        server = Server(small, 200)
        async with cameras(small):
            await asyncio.sleep(0.2)
        assert server.taken == []


async def test_the_answer_of_the_server_is_understood() -> None:
    async with proxy(cam1="secret", viewer="seen") as small, cameras(small), caller(small) as peer:
        to = Uri.parse(f"sip:cam1@{REALM}")
        with capture_logs() as said:
            for body in (manscdp.build(AlarmResponse("cam1", 7)), b"nonsense"):
                assert (await peer.agent.request("MESSAGE", to, body, manscdp.CONTENT_TYPE)).status == 200
            assert (await peer.agent.request("NOTIFY", to)).status == 405
        (heard,) = [entry for entry in said if entry["event"] == "alarm acknowledged"]
        assert (heard["sn"], heard["ok"]) == (7, True)
