"""A flow: the two ends of the way a message came, so that an answer can go back the same way (RFC 5626 §3.1)."""

from __future__ import annotations

from typing import NamedTuple

Address = tuple[str, int]
"""IP address as text, and port."""


class Flow(NamedTuple):
    """One way between us and a peer.

    `transport` is `udp`, `tcp`, `tls`, `ws` or `wss`. `local` and `remote` are addresses. `connection` numbers the
    connections of an endpoint from 1 and is never used twice; 0 for UDP, where a flow is only its addresses and
    so outlives a restart.
    """

    transport: str
    local: Address
    remote: Address
    connection: int = 0

    @property
    def reliable(self) -> bool:
        """Whether the transport delivers by itself, so that nothing is sent twice (RFC 3261 §17)."""
        return self.transport != "udp"

    def __str__(self) -> str:
        host = f"[{self.remote[0]}]" if ":" in self.remote[0] else self.remote[0]
        return f"{self.transport}:{host}:{self.remote[1]}" + (f"#{self.connection}" if self.connection else "")
