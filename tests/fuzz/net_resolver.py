"""Fuzz target: answers of the DNS, as they come from the network."""

from __future__ import annotations

import dns.exception
import dns.message
import dns.rdatatype
import dns.rrset
from dns.rdataclass import IN

from soip.net.resolver import RECORDS, records_of
from soip.sip.locate import MAX_PLACES, MAX_SERVICES, Place, Record, places
from soip.sip.uri import Uri

KINDS = ("NAPTR", "SRV")


def answer(*records: tuple[str, str, str]) -> bytes:
    """A message with records, each (name, type, text)."""
    message = dns.message.make_response(dns.message.make_query("pbx.example", "SRV"))
    message.answer += [dns.rrset.from_text(f"{name}.", 60, "IN", kind, text) for name, kind, text in records]
    return message.to_wire()


SAMPLES = (
    answer(
        ("pbx.example", "NAPTR", '10 10 "s" "SIP+D2T" "" _sip._tcp.pbx.example.'),
        ("_sip._tcp.pbx.example", "SRV", "10 20 5060 a.pbx.example."),
        ("_sip._tcp.pbx.example", "SRV", "10 0 5061 b.pbx.example."),
    ),
    answer(("_sip._udp.pbx.example", "SRV", "0 0 0 .")),
)


def fuzz(data: bytes) -> None:
    """Whatever the DNS says, a search ends, after so many questions, in so many places that can be tried."""
    try:
        message = dns.message.from_wire(data)
    except (dns.exception.DNSException, ValueError):  # the library's own refusals
        return
    held: dict[str, list[Record]] = {}
    for kind in KINDS:
        sets = [each for each in message.answer if dns.rdatatype.to_text(each.rdtype) == kind and each.rdclass == IN]
        held[kind] = records_of([data for rrset in sets for data in rrset], kind)
        assert len(held[kind]) <= RECORDS
    search, asked = places(Uri("sip", "", "pbx.example"), ("udp", "tcp", "tls"), lambda most: most // 2), 0
    try:
        question = next(search)
        while True:
            asked += 1
            question = search.send(held[question.kind])
    except StopIteration as done:
        found: list[Place] = done.value
    assert asked <= 1 + MAX_SERVICES
    assert 1 <= len(found) <= MAX_PLACES
    assert all(place.host and 0 < place.port < 65536 for place in found)
