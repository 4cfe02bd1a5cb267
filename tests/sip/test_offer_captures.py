"""Offer and answer with descriptions captured from real devices."""

from __future__ import annotations

import pytest

from soip.sip.formats import Audio, Capability, Video
from soip.sip.offer import Local, answer_offer, make_offer, read_answer
from soip.sip.sdp import SessionDescription
from tests.fuzz import sip_sdp
from tests.sip.captures import BARESIP_ANSWER, BARESIP_OFFER

SERVER = Local("192.0.2.1", 1)


@pytest.mark.parametrize("data", [BARESIP_ANSWER, BARESIP_OFFER])
def test_captures_are_written_as_they_came(data: bytes) -> None:
    assert SessionDescription.parse(data).to_bytes() == data
    sip_sdp.fuzz(data)


def test_baresip_as_a_camera() -> None:
    offer = make_offer(SERVER, [Video(20000, receives=True), Audio(20002, receives=True)])
    agreement = read_answer(offer, SessionDescription.parse(BARESIP_ANSWER))
    video, audio = agreement.video, agreement.audio
    assert video is not None
    assert audio is not None
    assert (video.payload_type, video.packetization_mode, video.direction) == (98, 1, "recvonly")
    assert video.receive_types == {96, 97, 98, 99}  # whichever it sends, it is H.264
    assert (video.remote, video.ssrc, video.parameter_sets) == (("192.0.2.2", 12706), 1135599369, ())
    assert (audio.encoding, audio.direction, audio.remote_rtcp) == ("PCMU", "recvonly", ("192.0.2.2", 11135))


def test_baresip_as_a_viewer() -> None:
    cameras: list[Capability] = [Video(30000, "H264", {"profile-level-id": "42e01f"}, sends=True), Audio(30002)]
    agreement = answer_offer(SessionDescription.parse(BARESIP_OFFER), SERVER, cameras)
    video, audio = agreement.video, agreement.audio
    assert video is not None
    assert audio is not None
    assert (video.payload_type, video.packetization_mode, video.direction) == (97, 1, "sendonly")
    assert video.feedback == {"nack pli"}
    assert audio.direction == "inactive"


def test_baresip_cannot_be_shown_a_high_profile_and_gets_the_sound() -> None:
    cameras: list[Capability] = [
        Video(30000, "H264", {"profile-level-id": "640028"}, sends=True),
        Audio(30002, sends=True),
    ]
    agreement = answer_offer(SessionDescription.parse(BARESIP_OFFER), SERVER, cameras)
    assert agreement.video is None
    assert agreement.audio is not None
    assert agreement.audio.sends
