"""Fuzz target: groups in session descriptions."""

from __future__ import annotations

import contextlib
import ipaddress

from soip.sip import mediaway
from soip.sip.errors import OfferError, SdpError
from soip.sip.formats import Audio, Video
from soip.sip.mediaway import Group
from soip.sip.offer import Local, answer_offer, make_offer, read_answer
from soip.sip.sdp import RtpMap, SessionDescription

LOCAL = Local("192.0.2.1", 1)
OURS = Group("239.192.7.9", 5004, 1, "192.0.2.1")
ASKS = (Video(20000, receives=True, multicast=True), Audio(20002, receives=True, multicast=True))


def _group(_kind: str, _form: RtpMap, _payload_type: int) -> Group:
    return OURS


SENDS = (
    Video(30000, "H264", {"profile-level-id": "42e01f"}, sends=True, groups=_group),
    Audio(30002, sends=True, groups=_group),
)
OFFER = make_offer(LOCAL, ASKS)
SAMPLES = [OFFER.to_bytes(), str(answer_offer(OFFER, LOCAL, SENDS).answer).encode()]


def fuzz(data: bytes) -> None:
    """No description has us send to a group but ours; what an answer names, to who asked, is a group with two ports."""
    try:
        description = SessionDescription.parse(data)
    except SdpError:
        return
    with contextlib.suppress(OfferError):
        agreement = answer_offer(description, LOCAL, SENDS)
        assert agreement.answer is not None
        assert SessionDescription.parse(agreement.answer.to_bytes()) == agreement.answer
        for stream in agreement.streams:
            if stream is not None:
                assert stream.way.group in (None, OURS)
                assert not mediaway.is_group(stream.remote[0])
                assert not mediaway.is_group(stream.remote_rtcp[0])
    with contextlib.suppress(OfferError):
        for stream in read_answer(OFFER, description).streams:
            if stream is not None:
                _looked_at(stream.way.group)


def _looked_at(group: Group | None) -> None:
    if group is None:
        return
    assert mediaway.is_group(group.address)
    assert 0 < group.port < 65_535
    assert 0 <= group.ttl <= 255
    assert not group.source or not ipaddress.ip_address(group.source).is_multicast
    assert "\n" not in group.connection + group.source_filter
