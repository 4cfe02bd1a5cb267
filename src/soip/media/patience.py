"""How long a media worker waits for what: the one place where these times stand."""

from __future__ import annotations

from dataclasses import dataclass

from soip.net.backoff import Backoff


@dataclass(frozen=True, slots=True)
class Patience:
    """Times in seconds."""

    tick_s: float = 1.0
    """How often a camera's state is looked at."""
    follow_s: float = 1.0
    """How often it is asked whether the configuration has changed."""
    write_s: float = 1.0
    """How often rows are written to the directory."""
    linger_s: float = 10.0
    """After the last viewer has gone a camera that is not recorded stays in its call for so long."""
    silence_s: float = 5.0
    """Without a picture for so long the media state is no-media and the recording has a gap."""
    dead_s: float = 15.0
    """Without a picture for so long the call is ended and made anew."""
    setup_s: float = 20.0
    """How long a camera may take to answer an INVITE."""
    ring_s: float = 60.0
    """How long a user may let ring what somebody else wants shown."""
    ready_s: float = 8.0
    """How long a viewer's INVITE waits for the camera's first keyframe."""
    keepalive_s: float = 30.0
    """A viewer not heard of for so long is asked by OPTIONS whether it is still there."""
    report_s: float = 5.0
    """Between RTCP reports (RFC 3550 §6.2: the least interval)."""
    farewell_s: float = 2.0
    """How long anybody waits for the answer to a BYE; it is repeated behind their back."""
    backoff: Backoff = Backoff(1.0, 30.0)  # noqa: RUF009 - frozen
    """Between calls to a camera that failed, or brought no picture."""
    refused: Backoff = Backoff(1.0, 10.0)  # noqa: RUF009 - frozen
    """Between attempts to register with a SIP server that does not know this media server yet."""
