"""Keys of SRTP between media servers and their peers: they pass only where nobody on the way can read them (RFC 4568
§7, §8.3).

This server is the one place that sees both hops of a call, so it is the one that keeps the rule; a media server that is
given an offer of SRTP can rely on it. What phones say to one another is theirs.
"""

from __future__ import annotations

import re

from soip.net.sip import Way as NetWay
from soip.signalling.flows import InstanceFlow, Way
from soip.sip.flow import Flow
from soip.sip.message import Request

PRIVATE = frozenset({"tls", "wss"})
"""Transports that nobody between can read."""

# A media part in use whose keys stand in the description; those of DTLS (UDP/TLS/RTP/SAVP) do not.
_SRTP = re.compile(rb"^m=\S{1,32} (?!0[ /])[0-9/]{1,12} RTP/SAVPF?[ \t]", re.IGNORECASE | re.MULTILINE)


def exposed(request: Request, sender: Way, source: Flow, receiver: Way, hop: NetWay) -> str:
    """Why a request may not go on, "" if it may. It came from `sender` over `source`, and is for `receiver` over
    `hop`.
    """
    ours, home, peer = (sender, source, hop) if isinstance(sender, InstanceFlow) else (receiver, hop, source)
    if not isinstance(ours, InstanceFlow) or not _SRTP.search(request.body):
        return ""
    if peer.transport not in PRIVATE:
        how = peer.transport.upper()
        if peer is source:
            return f"keys of SRTP came by {how}, where others can read them: use TLS, or RTP/AVP"
        return f"keys of SRTP go by TLS only, and this is reached by {how}"
    if not _is_at_hand(home):
        return f"the media server {ours.instance} is on another machine and not connected by TLS: no SRTP"
    return ""


def _is_at_hand(hop: NetWay) -> bool:
    """Whether what goes there leaves this machine at most encrypted: a connection between two ports of one address
    does not leave it.
    """
    return hop.transport in PRIVATE or (isinstance(hop, Flow) and hop.local[0] == hop.remote[0])
