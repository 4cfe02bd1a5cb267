"""Fuzz target: session descriptions, offers and answers."""

from __future__ import annotations

import contextlib

from soip.sip.errors import OfferError, SdpError
from soip.sip.formats import ANY_SOUND, Audio, Video
from soip.sip.offer import Local, answer_offer, make_offer, read_answer
from soip.sip.sdes import MATERIAL, Srtp
from soip.sip.sdp import SessionDescription

LOCAL = Local("192.0.2.1", 1)
RECORDER = (Video(20000, receives=True), Audio(20002, ANY_SOUND, receives=True))
SRTP = Srtp(bytes(MATERIAL))
SETS = {"profile-level-id": "42e01f", "sprop-parameter-sets": "Z0LAHg==,aM48gA=="}
CAMERA = (
    Video(20000, "H264", SETS, sends=True, srtp=SRTP),
    Audio(20002, sends=True, receives=True, srtp=SRTP),
)
OFFER = make_offer(LOCAL, RECORDER)
SECURE_OFFER = make_offer(LOCAL, CAMERA)


def fuzz(data: bytes) -> None:
    """Any bytes parse or raise SdpError; what parses is written back exactly; our answer to it fits it."""
    try:
        description = SessionDescription.parse(data)
    except SdpError:
        return
    written = description.to_bytes()
    assert SessionDescription.parse(written) == description
    if data.endswith(b"\r\n") and data.count(b"\n") == data.count(b"\r\n") and b"\r\n\r\n" not in data:
        assert data.startswith(b"\r\n") or written == data
    for capabilities in (CAMERA, RECORDER):
        _answer(description, capabilities)
    for offer in (OFFER, SECURE_OFFER):
        with contextlib.suppress(OfferError):
            read_answer(offer, description)
    assert description.to_bytes() == written


def _answer(offer: SessionDescription, capabilities: tuple[Video | Audio, ...]) -> None:
    try:
        agreement = answer_offer(offer, LOCAL, capabilities)
    except OfferError:
        return
    answer = agreement.answer
    assert answer is not None
    assert SessionDescription.parse(answer.to_bytes()) == answer
    assert len(answer.media) == len(offer.media) == len(agreement.streams)
    for stream, media in zip(agreement.streams, answer.media, strict=True):
        assert (stream is None) == (media.port == 0)
    accepted = [stream is not None for stream in read_answer(offer, answer).streams]
    assert accepted == [stream is not None for stream in agreement.streams]
