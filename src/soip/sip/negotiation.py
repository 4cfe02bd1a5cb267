"""Offers and answers of a call that is up: hold, resume, another address (RFC 3264 §8).

The first offer and answer are `offer.py`'s; what comes after them refers to them: media parts keep their places, and
o= tells a new version only where anything is new.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from soip.sip.errors import OfferError
from soip.sip.formats import Audio, Capability, Video
from soip.sip.offer import Agreement, Local, answer_offer, read_answer
from soip.sip.sdp import Media, SessionDescription

_DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")


class Negotiation:
    """What both sides of one call last agreed on. `said` is our first description, `apply` what makes an agreement
    real; if it raises OfferError, everything stays as it was.
    """

    def __init__(
        self,
        local: Local,
        capabilities: Sequence[Capability],
        said: SessionDescription,
        apply: Callable[[Agreement], None],
    ) -> None:
        self._local = local
        self._capabilities = tuple(capabilities)
        self._said = said
        self._apply = apply
        self._offered: SessionDescription | None = None

    def offered(self, body: bytes) -> bytes:
        """Our answer to an offer of the peer; where it made none, an offer of ours. Raises OfferError, SdpError."""
        self._offered = None
        if not body:
            self._offered = self._again(self._full)
            return self._offered.to_bytes()
        agreement: Agreement | None = None

        def answer(local: Local) -> SessionDescription:
            nonlocal agreement
            agreement = answer_offer(SessionDescription.parse(body), local, self._capabilities)
            assert agreement.answer is not None
            return agreement.answer

        ours = self._again(answer)
        assert agreement is not None
        self._apply(agreement)
        self._say(ours)
        return ours.to_bytes()

    def answered(self, body: bytes) -> None:
        """The peer's answer to an offer of ours: to the last of `offered`, else to what is in force. Raises OfferError,
        SdpError.
        """
        ours = self._offered or self._said
        self._apply(read_answer(ours, SessionDescription.parse(body)))
        self._say(ours)

    def _again(self, make: Callable[[Local], SessionDescription]) -> SessionDescription:
        """What `make` makes: of the same version when nothing is new, else of the next (§8)."""
        same = make(self._local)
        return same if same == self._said else make(replace(self._local, version=self._local.version + 1))

    def _say(self, ours: SessionDescription) -> None:
        self._offered = None
        if ours != self._said:
            self._said = ours
            self._local = replace(self._local, version=self._local.version + 1)

    def _full(self, local: Local) -> SessionDescription:
        """All that we can do, in the places and formats of what we said last: neither may change (§8.1, §8.3.2)."""
        left = list(self._capabilities)
        media = [self._part(part, left) for part in self._said.media]
        offer = SessionDescription(self._said.lines, media)
        offer.set("o", str(local.origin))
        return offer

    def _part(self, said: Media, left: list[Capability]) -> Media:
        kind = Video if said.kind == "video" else Audio
        mine = next((one for one in left if isinstance(one, kind)), None)
        if not said.port or mine is None:
            return said
        left.remove(mine)
        direction = _DIRECTIONS[(not mine.receives) + 2 * (not mine.sends)]
        lines = [_EXISTING.get(line, line) for line in said.lines if line not in _LINES]
        return Media([*lines, ("a", direction)])


_LINES = [("a", direction) for direction in _DIRECTIONS]
_EXISTING = {("a", "connection:new"): ("a", "connection:existing")}
"""What is said again goes on over the connection there is (RFC 4145 §5)."""


def unmoved(agreed: Agreement) -> Callable[[Agreement], None]:
    """For who receives, on sockets that take nothing from elsewhere: an `apply` that lets media pause and go on, but
    not move.
    """

    def check(agreement: Agreement) -> None:
        for before, now in zip(agreed.streams, agreement.streams, strict=False):
            if before is None or now is None or not now.receives:
                continue
            known = now.payload_type in before.receive_types and now.encoding == before.encoding
            if now.remote != before.remote or not known:
                raise OfferError("media cannot be moved in this call; call anew")

    return check
