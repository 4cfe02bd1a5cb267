"""What one SIP endpoint takes from the network at most."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one endpoint; times in seconds, sizes in bytes."""

    connections: int = 4096
    connections_per_source: int = 512
    idle_seconds: float = 300.0
    """An accepted connection without a message or ping is closed, unless it is kept (`SipEndpoint.keep`)."""
    message_seconds: float = 10.0
    """From the first byte of a message to its last, and from accepting a connection to its first message."""
    connect_seconds: float = 5.0
    send_buffer: int = 1 << 20
    """Unsent bytes of a connection whose peer does not read; beyond it the connection is closed."""
    transactions: int = 50_000
