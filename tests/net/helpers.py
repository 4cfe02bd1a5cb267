"""Endpoints on loopback for the tests of this room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from soip.net.exchange import IncomingRequest
from soip.net.limits import Limits
from soip.net.sip import SipEndpoint
from soip.net.target import Target
from soip.sip.flow import Flow
from soip.sip.message import Headers, Request
from soip.sip.timers import Timers
from soip.sip.uri import Uri

QUICK = Timers(t1=0.02, t2=0.08, t4=0.05, c=1.0)
"""Timers 25 times faster than the standard's: a timeout after 1.28 s. For tests of repeats and timeouts."""
CALM = Timers(t1=5.0)
"""For all others: nothing is repeated or given up while a machine stalls."""
PATIENT_S = 30.0
"""How long a test waits for what should take a moment: machines are busy."""


@dataclass
class Recorder:
    """A handler that remembers what came, and answers with `answer` (200 by default)."""

    answer: Callable[[IncomingRequest], Awaitable[object]] | None = None
    requests: list[IncomingRequest] = field(default_factory=list)
    acks: list[tuple[Request, Flow]] = field(default_factory=list)
    closed: list[Flow] = field(default_factory=list)

    async def request(self, incoming: IncomingRequest) -> None:
        self.requests.append(incoming)
        if self.answer is None:
            incoming.reply(200)
        else:
            await self.answer(incoming)

    def ack(self, request: Request, flow: Flow) -> None:
        self.acks.append((request, flow))

    def flow_closed(self, flow: Flow) -> None:
        self.closed.append(flow)


@asynccontextmanager
async def endpoint(
    handler: Recorder | None = None,
    *,
    transports: tuple[str, ...] = ("udp", "tcp"),
    limits: Limits | None = None,
    timers: Timers = CALM,
    host: str = "127.0.0.1",
    port: int = 0,
) -> AsyncIterator[SipEndpoint]:
    """An endpoint that is up, and closed at the end."""
    made = SipEndpoint(host, port, transports=transports, limits=limits, timers=timers)
    await made.start()
    if handler is not None:
        made.serve(handler)
    try:
        yield made
    finally:
        await made.close()


def udp(to: SipEndpoint) -> Target:
    return Target("udp", *to.address)


def tcp(to: SipEndpoint) -> Target:
    return Target("tcp", *to.address)


_numbers = iter(range(10**9))


def request(method: str = "MESSAGE", body: bytes = b"", user: str = "bob") -> Request:
    """A request outside a dialog, with a Call-ID of its own."""
    return Request(
        method,
        Uri("sip", user, "test"),
        Headers(
            [
                ("Max-Forwards", "70"),
                ("From", "<sip:alice@test>;tag=a"),
                ("To", f"<sip:{user}@test>"),
                ("Call-ID", f"call{next(_numbers)}"),
                ("CSeq", f"1 {method}"),
                ("Contact", "<sip:alice@127.0.0.1:9>"),
            ]
        ),
        body,
    )


async def until(condition: Callable[[], object], within: float = PATIENT_S) -> None:
    """Wait for something that will be true soon."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110  # the condition is anything, nobody sets an event for it
            await asyncio.sleep(0.005)
