"""User agents on real sockets over a relay that loses and doubles datagrams: calls still come up and go down."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from soip.net.call import Call, IncomingCall
from soip.net.target import Target
from soip.net.ua import UserAgent
from soip.sip.digest import Credentials
from soip.sip.flow import Address
from soip.sip.timers import Timers
from soip.sip.uri import Uri
from tests.net.helpers import endpoint, until
from tests.net.proxy import SmallProxy
from tests.net.test_ua import ANSWER, OFFER, make_proxy

BRISK = Timers(t1=0.05, t2=0.2, t4=0.1, c=5.0)
"""Lost messages are soon repeated, and given up after 3.2 s."""


class Relay(asyncio.DatagramProtocol):
    """One bad path to the proxy: what comes from the proxy goes to the one client, all else to the proxy."""

    def __init__(self, proxy: Address, seed: int, loss: float, double: float) -> None:
        self._proxy = proxy
        self._random = random.Random(seed)
        self._loss, self._double = loss, double
        self._client: Address | None = None
        self.lost = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        if addr != self._proxy:
            self._client = addr
        target = self._client if addr == self._proxy else self._proxy
        if self._random.random() < self._loss:
            self.lost += 1
            return
        for _ in range(2 if self._random.random() < self._double else 1):
            self.transport.sendto(data, target)


@asynccontextmanager
async def behind_relay(proxy: SmallProxy, user: str, seed: int) -> AsyncIterator[tuple[UserAgent, Relay]]:
    loop = asyncio.get_running_loop()
    transport, relay = await loop.create_datagram_endpoint(
        lambda: Relay(proxy.endpoint.address, seed, 0.25, 0.2), local_addr=("127.0.0.1", 0)
    )
    address: Address = transport.get_extra_info("sockname")
    async with endpoint(timers=BRISK) as ours:
        proxy.passwords[user] = "x"
        target = Target("udp", *address, tcp_allowed=False)
        ua = UserAgent(ours, Uri("sip", user, "test"), Credentials(user, "x"), target)
        await ua.start()
        try:
            yield ua, relay
        finally:
            await ua.close()
            transport.close()


@pytest.mark.parametrize("seed", range(3))
async def test_calls_over_a_bad_path(seed: int) -> None:
    async with (
        make_proxy(BRISK) as proxy,
        behind_relay(proxy, "alice", seed) as (alice, relay),
        behind_relay(proxy, "bob", seed + 100) as (bob, _),
    ):
        answered: list[Call] = []

        async def answer(call: IncomingCall) -> None:
            call.ring()
            answered.append(call.answer(ANSWER))

        bob.on_invite(answer)
        await alice.register()
        await bob.register()
        for number in range(6):
            call = await alice.invite(Uri.parse("sip:bob@test"), OFFER)
            assert call.remote_sdp == ANSWER
            theirs = answered[-1]
            await theirs.confirmed()
            ender = call if number % 2 else theirs
            await ender.bye()
            await until(lambda call=call, theirs=theirs: call.end and theirs.end)  # type: ignore[misc]  # bound now
        assert len(answered) == 6
        assert alice.calls == bob.calls == ()
        assert relay.lost > 3
        await until(lambda: len(alice._unacknowledged) == len(bob._unacknowledged) == 0)
