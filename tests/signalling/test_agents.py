"""The user agents of `soip.net` as camera, media worker and viewer, through the proxy: the conventions they share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from soip.net.backoff import Backoff
from soip.net.call import Call, IncomingCall
from soip.net.errors import AuthError, RequestRefusedError
from soip.net.sip import SipEndpoint
from soip.net.target import Target
from soip.net.ua import UserAgent
from soip.sip.digest import Credentials
from soip.sip.uri import Uri
from tests.signalling.conftest import ServerHouse
from tests.signalling.peer import DOMAIN, WAIT, eventually

OFFER = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=video 4000 RTP/AVP 96\r\n"
CAM1 = Uri.parse(f"sip:cam1@{DOMAIN}")


class Agents:
    """User agents that are closed at the end."""

    def __init__(self, house: ServerHouse, stack: AsyncExitStack) -> None:
        self._house = house
        self._stack = stack

    async def agent(
        self, identity: str, username: str, password: str, transport: str, *, worker: bool = False
    ) -> UserAgent:
        """A started agent; a worker's has one persistent connection."""
        endpoint = SipEndpoint("127.0.0.1", 0)
        await endpoint.start()
        self._stack.push_async_callback(endpoint.close)
        ua = UserAgent(
            endpoint,
            Uri.parse(f"sip:{identity}@{DOMAIN}"),
            Credentials(username, password),
            Target(transport, *self._house.address),
            contact=Uri.parse(f"sip:{identity}@{DOMAIN};gr") if worker else None,
            persistent=worker,
            catch_all=worker,
            backoff=Backoff(0.05, 0.2),
        )
        await ua.start()
        self._stack.push_async_callback(ua.close)
        return ua

    async def worker(self) -> UserAgent:
        """The media worker, registered."""
        media = self._house.media
        ua = await self.agent(media.instance(0), media.id, media.secret, "tcp", worker=True)
        await ua.register()
        return ua


@pytest.fixture
async def agents(house: ServerHouse) -> AsyncIterator[Agents]:
    async with AsyncExitStack() as stack:
        yield Agents(house, stack)


def answering(ua: UserAgent) -> asyncio.Queue[tuple[IncomingCall, Call]]:
    """Let an agent take every call."""
    taken: asyncio.Queue[tuple[IncomingCall, Call]] = asyncio.Queue()

    async def take(incoming: IncomingCall) -> None:
        incoming.ring()
        taken.put_nowait((incoming, incoming.answer(OFFER)))

    ua.on_invite(take)
    return taken


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_the_worker_calls_the_camera_and_either_hangs_up(agents: Agents, transport: str) -> None:
    worker, camera = await agents.worker(), await agents.agent("cam1", "cam1", "secret1", transport)
    await camera.register()
    taken = answering(camera)
    for by_camera in (False, True):
        call = await worker.invite(CAM1, OFFER)
        incoming, other = await taken.get()
        assert incoming.caller == f"sip:{worker.aor.user}@{DOMAIN}"
        assert call.peer_identity == f"<sip:cam1@{DOMAIN}>"
        await other.confirmed()
        ended: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        near, far = (other, call) if by_camera else (call, other)
        far.on_end(lambda end, ended=ended: ended.set_result(end.by_peer))  # type: ignore[misc]
        await near.bye()
        assert await ended


async def test_a_viewer_is_answered_by_the_worker(agents: Agents) -> None:
    worker, ann = await agents.worker(), await agents.agent("ann", "ann", "ann-sip", "udp")
    taken = answering(worker)
    uri = Uri.parse(f"sip:cam1;start=20261120T100000Z;stop=20261120T101000Z@{DOMAIN}")
    call = await ann.invite(uri, OFFER)
    incoming, other = await taken.get()
    assert incoming.user == "cam1;start=20261120T100000Z;stop=20261120T101000Z"
    assert incoming.caller == f"sip:ann@{DOMAIN}"
    await other.confirmed()
    answer = asyncio.ensure_future(call.request("INFO", b"PAUSE", "Application/MANSRTSP"))
    assert (await answer).status == 405
    await other.bye("SIP;cause=403")
    with pytest.raises(Exception, match="ended"):
        await call.request("INFO")


async def test_a_viewer_gives_up(agents: Agents) -> None:
    worker, ann = await agents.worker(), await agents.agent("ann", "ann", "ann-sip", "tcp")
    ringing: asyncio.Future[IncomingCall] = asyncio.get_running_loop().create_future()
    cancelled = asyncio.Event()

    async def ring(incoming: IncomingCall) -> None:
        incoming.on_cancel(cancelled.set)
        incoming.ring()
        ringing.set_result(incoming)

    worker.on_invite(ring)
    calling = asyncio.ensure_future(ann.invite(CAM1, OFFER))
    await ringing
    calling.cancel()
    async with asyncio.timeout(WAIT):
        await cancelled.wait()


async def test_refusals_reach_the_agents(agents: Agents) -> None:
    wrong = await agents.agent("cam1", "cam1", "nonsense", "udp")
    with pytest.raises((AuthError, RequestRefusedError)):
        await wrong.register()
    worker = await agents.worker()
    with pytest.raises(RequestRefusedError) as refused:
        await worker.invite(CAM1, OFFER)
    assert refused.value.status == 480


async def test_a_worker_comes_back_after_a_restart_of_the_server(house: ServerHouse, agents: Agents) -> None:
    worker, camera = await agents.worker(), await agents.agent("cam1", "cam1", "secret1", "udp")
    await camera.register()
    taken = answering(camera)
    call = await worker.invite(CAM1, OFFER)
    _, other = await taken.get()
    await other.confirmed()
    await house.stop()
    await house.start()

    async def calls_again() -> bool:
        try:
            await (await worker.invite(CAM1, OFFER)).bye()
        except Exception:
            return False
        return True

    await eventually(calls_again)
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    call.on_end(lambda _: ended.set_result(None))
    await other.bye()
    await asyncio.wait_for(ended, WAIT)
