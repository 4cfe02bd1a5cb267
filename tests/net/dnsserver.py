"""A DNS server on loopback: it answers what a zone says, and counts what it is asked."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

Zone = dict[tuple[str, str], list[str]]
"""Records as zone files write them, by name and type."""


class DnsServer(asyncio.DatagramProtocol):
    """Answers from `zone`, with `ttl`; nothing at all while `silent`."""

    def __init__(self, zone: Zone, ttl: int = 300) -> None:
        self.zone = zone
        self.ttl = ttl
        self.silent = False
        self.code = dns.rcode.NXDOMAIN
        self.asked: Counter[tuple[str, str]] = Counter()
        self.address = ("127.0.0.1", 0)
        self._transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)
        self.address = transport.get_extra_info("sockname")

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        query = dns.message.from_wire(data)
        (question,) = query.question
        name, kind = str(question.name).rstrip(".").lower(), dns.rdatatype.to_text(question.rdtype)
        self.asked[name, kind] += 1
        if self.silent:
            return
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        found = self.zone.get((name, kind))
        if found:
            answer.answer.append(dns.rrset.from_text(question.name, self.ttl, "IN", kind, *found))
        elif not any(known == name for known, _ in self.zone):
            answer.set_rcode(self.code)
        self._transport.sendto(answer.to_wire(), addr)

    def close(self) -> None:
        self._transport.close()


@asynccontextmanager
async def dns_server(zone: Zone, ttl: int = 300) -> AsyncIterator[DnsServer]:
    """A server that runs while the block does."""
    loop = asyncio.get_running_loop()
    _, server = await loop.create_datagram_endpoint(lambda: DnsServer(zone, ttl), local_addr=("127.0.0.1", 0))
    try:
        yield server
    finally:
        server.close()
