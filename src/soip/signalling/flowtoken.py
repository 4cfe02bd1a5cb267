"""Flow tokens: the user part of our Record-Route, the two ends of a dialog's path (RFC 5626 §5.2).

A request in a dialog comes back with the token in its Route. Only we can have written it (HMAC), so a request
that arrives over one of the two flows goes to the other unchallenged (RFC 5626 §5.3) and no dialog state is
held here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass

from soip.signalling.flows import InstanceFlow, TrunkFlow, Way, parse_way

# 80 bits, as in the example of RFC 5626 §5.2: a guess has to be made online, one request at a time.
MAC_BYTES = 10
MAX_TOKEN = 512


@dataclass(frozen=True, slots=True)
class End:
    """One end of a dialog: the way to it, and the id that was proven there when the dialog began; "" for what is behind
    a route: there everybody is another server's.
    """

    way: Way
    identity: str

    @property
    def name(self) -> str:
        """Who is spoken to there: of a camera that is behind its media server, the latter."""
        if isinstance(self.way, TrunkFlow):
            return self.way.route
        return self.way.instance if isinstance(self.way, InstanceFlow) else self.identity


@dataclass(frozen=True, slots=True)
class Path:
    """The two ends of a dialog's path through this proxy."""

    caller: End
    callee: End

    def other(self, end: End) -> End:
        """The end across."""
        return self.caller if end is self.callee else self.callee


def issue(key: bytes, path: Path) -> str:
    """The token of a path: base64url without padding, which needs no escaping in a URI."""
    ends = (path.caller, path.callee)
    body = "|".join(f"{end.way}|{end.identity}" for end in ends).encode()
    return base64.urlsafe_b64encode(_mac(key, body) + body).rstrip(b"=").decode()


def read(key: bytes, token: str) -> Path | None:
    """The path a token names, or None when we did not write it."""
    if not token or len(token) > MAX_TOKEN or not token.isascii():
        return None
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except (binascii.Error, ValueError):
        return None
    mac, body = raw[:MAC_BYTES], raw[MAC_BYTES:]
    if not hmac.compare_digest(mac, _mac(key, body)):
        return None
    caller, caller_id, callee, callee_id = body.decode().split("|")
    return Path(End(parse_way(caller), caller_id), End(parse_way(callee), callee_id))


def _mac(key: bytes, body: bytes) -> bytes:
    return hmac.new(key, body, hashlib.sha256).digest()[:MAC_BYTES]
