"""Offer and answer of an MPEG program stream, PS/90000: what cameras are offered besides H.264 and H.265."""

from __future__ import annotations

import pytest

from soip.sip.errors import OfferError
from soip.sip.formats import PROGRAM, Audio, Video
from soip.sip.negotiation import Negotiation, unmoved
from soip.sip.offer import Local, answer_offer, make_offer, read_answer
from soip.sip.sdp import SessionDescription
from tests.sip.test_offer import PEER, SERVER, answer, offer_of

RECORDER = Video(20000, receives=True, program=True)
VIEWER = Video(20000, receives=True)
CAMERA = Video(30000, PROGRAM, sends=True)
NATIVE = Video(30000, "H264", {"profile-level-id": "42e01f"}, sends=True)
PS = "m=video 5000 RTP/AVP 96\na=rtpmap:96 PS/90000"


def encodings(offer: SessionDescription) -> list[str]:
    return [entry.encoding for entry in offer.media[0].rtpmaps.values()]


def test_a_program_stream_is_offered_last_and_to_cameras_alone() -> None:
    offered = encodings(make_offer(SERVER, [RECORDER]))
    assert offered[-1] == "PS"
    assert offered.count("PS") == 1
    assert {"H264", "H265"} < set(offered)
    assert "PS" not in encodings(make_offer(SERVER, [VIEWER]))
    assert encodings(make_offer(PEER, [CAMERA])) == ["PS"]


def test_a_camera_takes_it_and_says_no_to_sound_apart() -> None:
    offer = make_offer(SERVER, [RECORDER, Audio(20002, receives=True)])
    theirs = answer_offer(offer, PEER, [CAMERA])
    assert theirs.answer is not None
    agreed = read_answer(offer, SessionDescription.parse(theirs.answer.to_bytes()))
    video = agreed.video
    assert video is not None
    assert (video.encoding, video.clock_rate, video.receives) == ("PS", 90000, True)
    assert video.payload_type in video.receive_types
    assert agreed.audio is None
    assert theirs.video is not None
    assert (theirs.video.encoding, theirs.video.sends) == ("PS", True)


def test_an_answer_with_a_payload_type_of_its_own_is_understood() -> None:
    agreed = read_answer(make_offer(SERVER, [RECORDER]), offer_of(PS + "\na=sendonly"))
    assert agreed.video is not None
    assert (agreed.video.encoding, agreed.video.payload_type) == ("PS", 96)


def test_who_can_send_pictures_by_themselves_does() -> None:
    offer = make_offer(SERVER, [RECORDER])
    assert answer(offer, NATIVE).video == answer(offer, NATIVE).of_kind("video")
    assert getattr(answer(offer, NATIVE).video, "encoding", "") == "H264"


def test_who_takes_both_answers_with_a_program_stream_only_if_nothing_else_is_offered() -> None:
    both = offer_of("m=video 5000 RTP/AVP 96 98\na=rtpmap:96 PS/90000\na=rtpmap:98 H264/90000")
    assert getattr(answer(both, RECORDER).video, "encoding", "") == "H264"
    assert getattr(answer(offer_of(PS), RECORDER).video, "encoding", "") == "PS"


def test_viewers_and_cameras_without_it_refuse() -> None:
    for side in (VIEWER, NATIVE):
        with pytest.raises(OfferError, match="not offered"):
            answer(offer_of(PS), side)
    with pytest.raises(OfferError, match="PS, which is not offered"):
        answer(make_offer(PEER, [VIEWER]), CAMERA)
    with pytest.raises(OfferError):
        read_answer(make_offer(SERVER, [VIEWER]), offer_of(PS))


def test_a_call_with_it_may_pause_and_go_on() -> None:
    offer = make_offer(SERVER, [RECORDER])
    agreed = read_answer(offer, offer_of(PS + "\na=sendonly"))
    said = Negotiation(Local("192.0.2.1", 1), [RECORDER], offer, unmoved(agreed))
    hold = SessionDescription.parse(said.offered(offer_of(PS + "\na=inactive").to_bytes()))
    assert hold.direction(hold.media[0]) == "inactive"
    again = SessionDescription.parse(said.offered(offer_of(PS + "\na=sendonly").to_bytes()))
    assert again.direction(again.media[0]) == "recvonly"
    assert encodings(again) == ["PS"]
