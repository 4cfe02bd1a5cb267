"""The DNS, asked for what `sip.locate` wants to know, and host names made addresses.

`dnspython` does the wire: UDP with TCP behind it, CNAMEs, answers kept as long as their TTL allows. Here is what bounds
it: in time, in questions at once, and in what is kept. Who asks what is already being asked shares the answer. Where
the DNS knows no address of a host, the system is asked: it reads `/etc/hosts`.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from soip.net.errors import FlowError
from soip.net.target import Target, resolve
from soip.sip.locate import Naptr, Place, Question, Record, Search, Srv, is_literal

if TYPE_CHECKING:
    from dns.asyncresolver import Resolver as Asker
    from dns.resolver import Answer

KEPT = 1000
LONGEST_TTL = 86_400.0
"""Seconds. A record that claims to hold for years is asked for again after a day."""
MISSED_SECONDS = 30.0
"""For how long a DNS server that did not answer a question is not asked it again: callers wait for it."""
AT_ONCE = 32
WAITING = 1000
TRY_SECONDS, WITHIN_SECONDS = 1.0, 3.0
RECORDS = 64
ADDRESSES = 8

Key = tuple[str, str]

log = logging.getLogger(__name__)


class Resolver:
    """Asks the servers of `/etc/resolv.conf`, or those given. Used on one event loop."""

    def __init__(self, nameservers: Sequence[str] = (), port: int = 53) -> None:
        self._nameservers = nameservers
        self._port = port
        self._asker: Asker | None = None
        self._asking: dict[Key, asyncio.Task[Answer | None]] = {}
        self._missed: OrderedDict[Key, float] = OrderedDict()
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def close(self) -> None:
        """Give up what is being asked."""
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    async def places(self, search: Search) -> list[Place]:
        """The places a search of `sip.locate` ends in; without a question to the DNS nothing is awaited.

        Raises UriError, as `places` does, and FlowError when too much is being asked.
        """
        try:
            question = next(search)
            while True:
                question = search.send(await self._records(question))
        except StopIteration as done:
            found: list[Place] = done.value
            return found

    async def targets(self, place: Place, family: int) -> list[Target]:
        """The place by its addresses of one family. Raises FlowError when there are none."""
        hosts = [place.host] if is_literal(place.host) else await self._addresses(place, family)
        return [Target(place.transport, host, place.port, name=place.name or place.host) for host in hosts]

    async def _records(self, question: Question) -> list[Record]:
        return records_of(await self._ask(question.name, question.kind) or (), question.kind)

    async def _addresses(self, place: Place, family: int) -> list[str]:
        found = await self._ask(place.host, "AAAA" if family == socket.AF_INET6 else "A")
        if found is not None:
            return [str(data.address) for data in list(found)[:ADDRESSES]]
        host, _ = await resolve(place.host, place.port, family, WITHIN_SECONDS)
        return [host]

    async def _ask(self, name: str, kind: str) -> Answer | None:
        """The answer, None where there are no such records or nobody says so. Raises FlowError."""
        key = (name.lower(), kind)
        if self._missed.get(key, 0.0) > asyncio.get_running_loop().time():
            return None
        task = self._asking.get(key)
        if task is None:
            if len(self._asking) >= WAITING:
                raise FlowError(f"{WAITING} questions to the DNS are waiting for their answers")
            task = self._asking[key] = asyncio.ensure_future(self._answer(key))
            task.add_done_callback(lambda _: self._asking.pop(key, None))
        return await asyncio.shield(task)

    async def _answer(self, key: Key) -> Answer | None:
        import dns.exception
        import dns.resolver

        try:
            async with self._turns:
                return await self._ready().resolve(*key, lifetime=WITHIN_SECONDS)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):  # which dnspython keeps as it keeps answers
            return None
        except (dns.exception.DNSException, OSError, UnicodeError) as error:
            log.debug("the DNS says nothing of %s %s: %s", *key, error)
            self._missed[key] = asyncio.get_running_loop().time() + MISSED_SECONDS
            self._missed.move_to_end(key)
            if len(self._missed) > KEPT:
                self._missed.popitem(last=False)
            return None

    def _ready(self) -> Asker:
        """Made when first needed: most installations ask nothing, and the library takes its time to load."""
        if self._asker is None:
            import dns.asyncresolver
            import dns.resolver

            class Cache(dns.resolver.LRUCache):
                def put(self, key: dns.resolver.CacheKey, value: Answer) -> None:
                    value.expiration = min(value.expiration, time.time() + LONGEST_TTL)
                    super().put(key, value)

            self._asker = asker = dns.asyncresolver.Resolver(configure=not self._nameservers)
            if self._nameservers:
                asker.nameservers, asker.port = list(self._nameservers), self._port
            asker.timeout, asker.lifetime = TRY_SECONDS, WITHIN_SECONDS
            asker.cache = Cache(KEPT)
        return self._asker


def records_of(found: Iterable[Any], kind: str) -> list[Record]:
    """The library's records of one type, NAPTR or SRV, as `sip.locate` knows them; at most so many."""
    records: list[Record] = []
    for data in islice(found, RECORDS):
        if kind == "NAPTR":
            flags, service = data.flags.decode("latin-1"), data.service.decode("latin-1")
            records.append(Naptr(data.order, data.preference, flags, service, _text(data.replacement)))
        else:
            records.append(Srv(data.priority, data.weight, data.port, _text(data.target)))
    return records


def draw(most: int) -> int:
    """For `sip.locate`: it spreads load, and guards nothing."""
    return random.randint(0, most)  # noqa: S311


def _text(name: object) -> str:
    """A host name without the dot at its end; the root, which stands for nothing, is ""."""
    return str(name).rstrip(".")
