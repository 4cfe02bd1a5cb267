"""Fuzz target: what a trace tells of messages."""

from __future__ import annotations

from soip.signalling.facts import FACT, LINE, facts_of, line_of, media_line, view_of
from soip.sip.errors import SipParseError
from soip.sip.message import parse_message
from tests.signalling.wire import ANN, EVE, Site


def fuzz(data: bytes) -> None:
    """Of any message that can be read a few short printable facts are told, and it goes into and out of a trace."""
    media_line(data)
    try:
        message = parse_message(data)
    except SipParseError:
        return
    view = view_of(message)
    told = (line_of(message, view), *facts_of(message, view))
    assert all(text.isprintable() for text in told)
    assert len(told[0]) <= LINE
    assert all(len(text) <= FACT for text in told[1:])
    site = Site()
    site.established(message.headers.get("Call-ID") or "c1")
    site.gets(message, EVE)
    site.gets(message, ANN)
    site.sends(message, ANN)
    rows = site.rows()
    after = Site(site.clock)
    after.ladder.restore(rows)
    assert [row.slot for row in rows] == [trace.slot for trace in site.traces]
