"""What lies between the bytes of a connection and SIP: nothing, TLS (`tls`) or WebSocket (`websocket`).

A wire is sans-IO and belongs to one connection. Order of calls: `feed` what was read and handle the items it returns;
`frame` gives the bytes that carry a message; after `feed`, and at the beginning, `output` is what the wire itself has
to say. When `ended` is set, that is written and the connection closed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from soip.sip.stream import StreamItem, StreamParser

BAD_FRAMING = "connections closed for bad framing"


class Wire(ABC):
    """One connection's framing and, where it has any, its security."""

    transport: str
    """As a flow names it: `tcp`, `tls`, `ws` or `wss`."""
    ready = True
    """The handshake is over: messages can be sent."""
    ended = False
    """Nothing more will be read: the peer has said goodbye, or what it sent makes no sense."""
    fault = ""
    """Why it has ended, in the words of a counter; empty when it did in good order."""
    why = ""
    """The same in detail, for whoever opened the connection."""
    source = ""
    """The address of the peer where it is not the connection's own, because a proxy of ours lies between."""
    names: frozenset[str] = frozenset()
    """The DNS names of the certificate the peer has proved to be its own."""
    talks = False
    """Whether the end of the handshake is a message like any other: the peer may then be silent for a while."""

    @property
    @abstractmethod
    def partial(self) -> bool:
        """Whether something has begun whose end is waited for."""

    @abstractmethod
    def feed(self, data: bytes) -> list[StreamItem]:
        """Take bytes, return what is complete."""

    @abstractmethod
    def frame(self, data: bytes) -> bytes:
        """The bytes that carry one message or keepalive. Raises FlowError when it is too late for any."""

    def output(self) -> bytes:
        """What the wire has to say by itself: a handshake, an alert, a pong."""
        return b""

    def probe(self) -> bytes:
        """A question the peer's own wire answers, to see whether it is still there; empty where there is none."""
        return b""

    def farewell(self) -> bytes:
        """The last words before we close."""
        return b""


@dataclass(frozen=True, slots=True)
class Listener:
    """One more address an endpoint listens on. `wire` is called for each connection, with the peer's host; `setting`
    names what the operator changes when the address cannot be had.
    """

    transport: str
    host: str
    port: int
    setting: str
    wire: Callable[[str], Wire]


class PlainWire(Wire):
    """SIP over TCP as it is: nothing between. `opened`: by us."""

    transport = "tcp"

    def __init__(self, *, opened: bool) -> None:
        self._parser = StreamParser(opened=opened)

    @property
    def partial(self) -> bool:
        return self._parser.partial

    def feed(self, data: bytes) -> list[StreamItem]:
        items = self._parser.feed(data)
        if self._parser.broken is not None:
            self.ended, self.fault = True, BAD_FRAMING
        return items

    def frame(self, data: bytes) -> bytes:
        return data
