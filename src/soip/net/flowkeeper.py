"""One TCP connection to the outbound proxy, kept alive and opened again when it breaks (RFC 5626 §4.4.1, §4.5)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from soip.net.backoff import Backoff, Jitter
from soip.net.errors import FlowError
from soip.net.sip import SipEndpoint
from soip.net.target import Target
from soip.sip.flow import Flow

log = logging.getLogger(__name__)

PING_EVERY = 20.0
PONG_WITHIN = 10.0  # RFC 5626 §4.4.1


class FlowKeeper:
    """Keeps `flow` up. `opened` is called with each new flow; run `run()` in a task, cancel it to stop."""

    def __init__(
        self, endpoint: SipEndpoint, target: Target, backoff: Backoff, jitter: Jitter, opened: Callable[[Flow], None]
    ) -> None:
        self.flow: Flow | None = None
        self._endpoint = endpoint
        self._target = target
        self._backoff = backoff
        self._jitter = jitter
        self._opened = opened
        self._up = asyncio.Event()
        self._broken = asyncio.Event()

    async def ready(self, within: float) -> Flow:
        """The flow, waiting for it when it is being opened. Raises FlowError after `within` seconds."""
        try:
            async with asyncio.timeout(within):
                await self._up.wait()
        except TimeoutError:
            raise FlowError(f"no connection to {self._target}") from None
        assert self.flow is not None
        return self.flow

    def closed(self, flow: Flow) -> None:
        """The endpoint says that a connection has ended."""
        if flow == self.flow:
            self.flow = None
            self._up.clear()
            self._broken.set()

    async def run(self) -> None:
        """Open, keep alive, open again; for ever."""
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            try:
                flow = await self._endpoint.connect(self._target)
            except FlowError as error:
                failures += 1
                log.info("%s; trying again", error)
            else:
                since = loop.time()
                await self._hold(flow)
                # A peer that accepts and hangs up at once must not be hammered.
                failures = failures + 1 if loop.time() - since < self._backoff.ceiling else 1
            await asyncio.sleep(self._backoff.delay(failures, self._jitter))

    async def _hold(self, flow: Flow) -> None:
        """Be up until the flow breaks."""
        self._broken.clear()
        self.flow = flow
        self._up.set()
        self._opened(flow)
        try:
            while not self._broken.is_set():
                try:
                    async with asyncio.timeout(PING_EVERY * (0.8 + 0.2 * self._jitter())):
                        await self._broken.wait()
                except TimeoutError:
                    await self._endpoint.ping(flow, PONG_WITHIN)
        except FlowError as error:
            log.info("connection to %s lost: %s", self._target, error)
        finally:
            self.closed(flow)
