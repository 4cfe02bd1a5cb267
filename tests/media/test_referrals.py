"""REFER to a camera: an operator has it shown on somebody's phone, and is told how that goes (RFC 3515)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from soip.media.referrals import EACH
from soip.net.call import IncomingCall
from soip.net.errors import CallEndedError
from soip.net.exchange import IncomingRequest
from soip.net.rtp import open_pair
from soip.sip.formats import Video
from soip.sip.message import Request, Response
from soip.sip.offer import Local, answer_offer
from soip.sip.reply import make_response
from soip.sip.sdp import SessionDescription
from tests.media.house import DOMAIN, House, until
from tests.media.peers import PORTS, Camera, Viewer
from tests.signalling.peer import Peer, open_peer

shared = pytest.mark.asyncio(loop_scope="module")
TO_ANN = f"<sip:ann@{DOMAIN}>"


class Phone(Viewer):
    """Rings, and shows what it is called with; `answers` is a status, 0 to let it ring."""

    answers = 200

    async def wait(self) -> Phone:
        self.incoming: list[IncomingCall] = []
        self.agent.on_invite(self._take)
        await self.agent.register(60)
        return self

    async def _take(self, incoming: IncomingCall) -> None:
        self.incoming.append(incoming)
        incoming.ring()
        if self.answers == 0:
            gone = asyncio.Event()
            incoming.on_cancel(gone.set)
            await gone.wait()
        elif self.answers != 200:
            incoming.reject(self.answers)
        else:
            self.pairs = [open_pair(PORTS, "127.0.0.1", asyncio.get_running_loop().time)]
            offer = SessionDescription.parse(incoming.offer)
            self.agreement = answer_offer(offer, Local("127.0.0.1", 3), [Video(self.pairs[0].port, receives=True)])
            assert self.agreement.answer is not None
            self.call = incoming.answer(self.agreement.answer.to_bytes())
            try:
                await self.call.confirmed()
            except CallEndedError:
                return
            self._listen()


@dataclass
class Desk:
    """An operator's phone that sends REFERs, and what it is told."""

    peer: Peer
    notifies: list[Request] = field(default_factory=list)

    @classmethod
    async def make(cls, house: House, name: str = "bob") -> Desk:
        peer = await open_peer(name, f"{name}-sip", (house.settings.sip.host, house.settings.sip.port))
        desk = cls(peer)
        peer.script = desk._told
        house.at_the_end(peer.close)
        return desk

    def _told(self, request: Request) -> Response | None:
        if request.method == "NOTIFY":
            self.notifies.append(request)
        return make_response(request, 200)

    async def refer(self, camera: str, to: str = TO_ANN, *lines: tuple[str, str]) -> Response:
        headers = (("Contact", f"<{self.peer.contact}>"), ("Refer-To", to), *lines)
        return await self.peer.ask(self.peer.request("REFER", f"sip:{camera}@{DOMAIN}", headers=headers))

    @property
    def told(self) -> list[str]:
        return [request.body.decode().strip().removeprefix("SIP/2.0 ") for request in self.notifies]

    async def until_told(self, line: str) -> None:
        """Until the last thing that is told has come, which begins like this."""
        await until(lambda: self._over, True)
        assert self.told[-1].startswith(line)

    @property
    def _over(self) -> bool:
        last = self.notifies[-1].headers if self.notifies else None
        return last is not None and last.get("Subscription-State") == "terminated;reason=noresource"


@asynccontextmanager
async def shown(house: House, name: str, plan: str = "always") -> AsyncIterator[tuple[Camera, Phone, Desk]]:
    """A camera, the phone of the user it may be shown to, and an operator."""
    await house.add_camera(name, plan=plan)
    camera = await Camera.make(house, name)
    await house.until_state("recording" if plan == "always" else "idle", name)
    phone = await (await Phone.make(house)).wait()
    try:
        yield camera, phone, await Desk.make(house)
    finally:
        await phone.agent.close()  # or the next test's phone would ring beside it


@shared
async def test_a_camera_is_shown_on_somebodys_phone(home: House, name: str) -> None:
    async with shown(home, name) as (camera, phone, desk):
        response = await desk.refer(name)
        assert response.status == 202
        await desk.until_told("200 OK")
        assert desk.told[0] == "100 Trying"
        await phone.see(10)
        assert phone.incoming[0].request.headers.get("Subject") == name
        assert len(camera.asked) == 1, "the running session serves everybody"
        await phone.call.bye()
        assert {h.headers.get("Event") for h in desk.notifies} == {"refer"}


@shared
async def test_a_camera_that_is_not_recorded_is_called_for_it_and_let_go_after(home: House, name: str) -> None:
    async with shown(home, name, plan="never") as (camera, phone, desk):
        assert (await desk.refer(name)).status == 202
        await desk.until_told("200 OK")
        await phone.see(5)
        assert camera.up == 1
        await phone.call.bye()
        await until(lambda: camera.up, 0)


@shared
@pytest.mark.parametrize(
    ("status", "line"), [(486, "486 Busy Here"), (603, "603 Decline"), (488, "488 Not Acceptable Here")]
)
async def test_a_phone_that_refuses_is_told(home: House, name: str, status: int, line: str) -> None:
    async with shown(home, name) as (_, phone, desk):
        phone.answers = status
        assert (await desk.refer(name)).status == 202
        await desk.until_told(line)


@shared
async def test_who_is_not_registered_and_a_camera_without_pictures_are_told(home: House, name: str) -> None:
    async with shown(home, name, plan="never") as (camera, phone, desk):
        camera.sends = False
        await desk.refer(name)
        await desk.until_told("480 ")
        assert desk.told[-1] != "480 Temporarily Unavailable", "the words say what is wrong with the camera"
        camera.sends = True
        desk.notifies.clear()
        await phone.agent.close()
        await until(lambda: home.state(name), "idle")
        await desk.refer(name)
        await desk.until_told("480 Temporarily Unavailable")


@shared
async def test_a_referral_inside_a_viewers_call(home: House, name: str) -> None:
    async with shown(home, name) as (_, phone, _):
        operator = await (await Viewer.make(home, "bob")).dial(name)
        told: list[str] = []

        async def take(incoming: IncomingRequest) -> None:
            told.append(incoming.request.body.decode().strip())
            incoming.reply(200)

        operator.call.on_request(take)
        lines = [("Refer-To", TO_ANN), ("Contact", str(operator.agent.contact))]
        assert (await operator.call.request("REFER", headers=lines)).status == 202
        await until(lambda: told[-1:] == ["SIP/2.0 200 OK"], True)
        await phone.see(5)
        await operator.see(3)
        await operator.call.bye()
        await phone.see(5)
        await phone.call.bye()


@shared
async def test_a_viewer_may_not_refer(home: House, name: str) -> None:
    async with shown(home, name) as (_, phone, _):
        viewer = await Desk.make(home, "ann")
        response = await viewer.refer(name)
        assert response.status == 403
        # the proxy lets requests inside a call through: there the media server itself says no
        watching = await (await Viewer.make(home)).dial(name)
        assert (await watching.call.request("REFER", headers=[("Refer-To", TO_ANN)])).status == 403
        assert watching.call.end is None
        assert phone.incoming == []


@shared
@pytest.mark.parametrize(
    ("to", "status", "why"),
    [
        ("<sip:ann@elsewhere.test>", 603, "only users of soip.test"),
        ("<sips:ann@soip.test>", 416, "sips"),
        ("<tel:+49123>", 416, "tel"),
        ("<http://soip.test/>", 416, "http"),
        ("<sip:ann@soip.test;method=BYE>", 603, "plain call"),
        ("<sip:ann@soip.test?Replaces=a%3Bto-tag%3D1%3Bfrom-tag%3D2>", 603, "plain call"),
        ("<sip:soip.test>", 404, "no user"),
        ("<sip:ann;x=y@soip.test>", 404, "no user"),
        ("<sip:nobody@soip.test>", 403, "'nobody'"),
        ("<sip:", 400, ""),
    ],
)
async def test_what_is_not_called_is_said(home: House, name: str, to: str, status: int, why: str) -> None:
    await home.add_camera(name, plan="never")
    await home.until_state("idle", name)
    desk = await Desk.make(home)
    response = await desk.refer(name, to)
    assert (response.status, why in (response.headers.get("Warning") or "")) == (status, True)
    assert desk.notifies == []


@shared
async def test_a_phone_is_no_camera_and_only_live_is_referred(home: House, name: str) -> None:
    async with shown(home, name, plan="never") as (_, phone, desk):
        response = await desk.refer(f"{name};start=20261120T100000Z")
        assert (response.status, "only live" in (response.headers.get("Warning") or "")) == (603, True)
        assert (await desk.refer("nobody")).status == 404
        assert (await desk.refer(name, f"<sip:{name}@{DOMAIN}>")).status == 403, "cameras are not shown to cameras"
        for lines in ((), (("Refer-To", TO_ANN), ("Refer-To", TO_ANN))):
            headers = (("Contact", f"<{desk.peer.contact}>"), *lines)
            answer = await desk.peer.ask(desk.peer.request("REFER", f"sip:{name}@{DOMAIN}", headers=headers))
            assert answer.status == 400
        assert phone.incoming == []


async def test_only_so_many_at_a_time(house: House) -> None:
    house.patience = replace(house.patience, ring_s=60.0)
    await house.add_camera()
    await Camera.make(house)
    house.start_media()
    await house.until_state("recording")
    phone, desk = await (await Phone.make(house)).wait(), await Desk.make(house)
    phone.answers = 0
    for _ in range(EACH):
        assert (await desk.refer("cam1")).status == 202
    await until(lambda: len(phone.incoming), EACH)
    response = await desk.refer("cam1")
    assert (response.status, response.headers.get("Retry-After")) == (503, "30")
    phone.incoming[0].reject(486)
    await until(lambda: "486 Busy Here" in desk.told, True)

    async def taken() -> int:
        return (await desk.refer("cam1")).status

    await until(taken, 202)


async def test_a_phone_that_rings_for_ever_is_given_up(house: House) -> None:
    house.patience = replace(house.patience, ring_s=2.0)
    await house.add_camera()
    await Camera.make(house)
    house.start_media()
    await house.until_state("recording")
    phone, desk = await (await Phone.make(house)).wait(), await Desk.make(house)
    phone.answers = 0
    assert (await desk.refer("cam1")).status == 202
    await desk.until_told("408 Request Timeout")
    await until(lambda: phone.incoming[0].answered, True)
    assert "180 Ringing" in desk.told


@pytest.mark.parametrize("whose", ["ann", "bob"])
async def test_the_right_of_either_ends_it(house: House, whose: str) -> None:
    await house.add_camera()
    await Camera.make(house)
    house.start_media()
    await house.until_state("recording")
    phone, desk = await (await Phone.make(house)).wait(), await Desk.make(house)
    await desk.refer("cam1")
    await desk.until_told("200 OK")
    await phone.see(3)
    if whose == "bob":
        await house.directory.users.set_role("bob", "viewer")
    else:
        await house.directory.users.remove("ann")
    assert "cause=403" in await phone.ended()
