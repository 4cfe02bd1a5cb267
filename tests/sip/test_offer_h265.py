"""H.265 in offer and answer (RFC 7798 §7.2)."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.sip import h265fmtp
from soip.sip.errors import OfferError
from soip.sip.formats import Video
from soip.sip.h265fmtp import ProfileTierLevel
from soip.sip.offer import Local, Stream, answer_offer, make_offer, read_answer
from soip.sip.sdp import SessionDescription

SERVER, PEER = Local("192.0.2.1", 1), Local("192.0.2.2", 2)
VPS, SPS, PPS = b"\x40\x01vps", b"\x42\x01sps", b"\x44\x01pps"
MAIN = {
    "profile-id": "1",
    "tier-flag": "0",
    "level-id": "93",
    **{f"sprop-{name}": base64.b64encode(one).decode() for name, one in (("vps", VPS), ("sps", SPS), ("pps", PPS))},
}
CAMERA = Video(30000, "H265", MAIN, sends=True)
RECORDER = Video(20000, receives=True)
PHONE = "m=video 5000 RTP/AVP 96 97\na=rtpmap:96 H264/90000\na=rtpmap:97 H265/90000"
H264_ALONE = "m=video 5000 RTP/AVP 96\na=rtpmap:96 H264/90000"


def offer_of(*media: str) -> SessionDescription:
    lines = ["v=0", "o=- 1 1 IN IP4 192.0.2.2", "s=-", "c=IN IP4 192.0.2.2", "t=0 0", *"\n".join(media).splitlines()]
    return SessionDescription.parse("".join(line + "\r\n" for line in lines).encode())


def answered(offer: SessionDescription, video: Video = CAMERA) -> tuple[Stream, str]:
    agreement = answer_offer(offer, SERVER, [video])
    assert agreement.answer is not None
    assert agreement.video is not None
    return agreement.video, str(agreement.answer.media[0])


@pytest.mark.parametrize("profile", ["1", "2", "3"])
def test_a_recorder_calls_a_camera_of_h265(profile: str) -> None:
    offer = make_offer(SERVER, [RECORDER])
    camera = answer_offer(
        SessionDescription.parse(offer.to_bytes()), PEER, [replace(CAMERA, parameters={**MAIN, "profile-id": profile})]
    )
    assert camera.answer is not None
    stream = read_answer(offer, SessionDescription.parse(camera.answer.to_bytes())).video
    assert stream is not None
    assert (stream.encoding, stream.clock_rate, stream.receives) == ("H265", 90_000, True)
    assert stream.parameter_sets == (VPS, SPS, PPS)
    assert stream.fmtp["level-id"] == "93"


def test_a_camera_without_an_offer_says_what_it_sends() -> None:
    offer = make_offer(PEER, [CAMERA])
    (video,) = offer.media
    assert [str(entry) for entry in video.rtpmaps.values()] == ["H265/90000"]
    assert video.fmtp(96) == MAIN
    stream, _ = answered(SessionDescription.parse(offer.to_bytes()), RECORDER)
    assert (stream.encoding, stream.payload_type, stream.direction) == ("H265", 96, "recvonly")
    assert stream.parameter_sets == (VPS, SPS, PPS)


def test_a_receiver_that_is_offered_both_takes_h264() -> None:
    stream, part = answered(offer_of(PHONE), RECORDER)
    assert stream.encoding == "H264"
    assert "H265" not in part


def test_a_viewer_is_answered_with_the_cameras_codec() -> None:
    stream, part = answered(offer_of(PHONE))
    assert (stream.encoding, stream.payload_type, stream.direction) == ("H265", 97, "sendonly")
    assert "a=rtpmap:97 H265/90000" in part
    assert "profile-id=1;tier-flag=0;level-id=93;sprop-vps=" in part
    assert "packetization-mode" not in part


def test_a_viewer_without_it_is_told_the_codecs_name() -> None:
    with pytest.raises(OfferError, match="video is H265") as caught:
        answer_offer(offer_of(H264_ALONE), SERVER, [CAMERA])
    assert (caught.value.status, caught.value.warn_code) == (488, 305)
    with pytest.raises(OfferError, match="video is H264"):
        answer_offer(offer_of(PHONE.replace("H264", "VP8")), SERVER, [Video(30000, sends=True)])


@pytest.mark.parametrize(
    ("params", "taken"),
    [
        (("profile-id=2", "profile-id=1"), 98),
        (("profile-id=2", "profile-id=4"), 97),
        (("profile-id=3", "profile-id=7"), None),
        (("profile-id=2;sprop-max-don-diff=1", "tx-mode=MRST"), None),
        (("profile-id=1;sprop-max-don-diff=0;tx-mode=SRST", "profile-id=1"), 97),
        (("profile-space=1", "profile-id=nonsense"), 98),
    ],
)
def test_the_format_that_fits_best(params: tuple[str, str], taken: int | None) -> None:
    lines = [
        f"a=rtpmap:{number} H265/90000\na=fmtp:{number} {one}" for number, one in zip((97, 98), params, strict=True)
    ]
    offer = offer_of("m=video 5000 RTP/AVP 97 98", *lines)
    if taken is None:
        with pytest.raises(OfferError):
            answered(offer)
    else:
        assert answered(offer)[0].payload_type == taken


@pytest.mark.parametrize(("offered", "told"), [("120", "93"), ("63", "63"), ("x", "93")])
def test_all_but_the_level_stays_as_offered(offered: str, told: str) -> None:
    offer = offer_of(f"{PHONE}\na=fmtp:97 profile-id=2;tier-flag=1;level-id={offered}")
    assert f"a=fmtp:97 profile-id=2;tier-flag=1;level-id={told};" in answered(offer)[1]


def test_parameter_sets_that_cannot_be_read_are_left_out() -> None:
    offer = make_offer(SERVER, [RECORDER])
    sets = f"sprop-vps={MAIN['sprop-vps']};sprop-sps=!!!;sprop-pps={'A' * 5000}"
    answer = offer_of(f"m=video 5000 RTP/AVP 100\na=rtpmap:100 H265/90000\na=fmtp:100 {sets}")
    stream = read_answer(offer, answer).video
    assert stream is not None
    assert stream.parameter_sets == (VPS,)


@given(st.integers(0, 3), st.integers(0, 31), st.integers(0, 1), st.integers(0, 255))
def test_profile_tier_and_level_there_and_back(space: int, profile: int, tier: int, level: int) -> None:
    told = ProfileTierLevel(space, profile, tier, level)
    params = dict(one.split("=") for one in told.params())
    assert ProfileTierLevel.parse(params) == told
    assert h265fmtp.fit(told, told) == 0


@given(st.dictionaries(st.sampled_from(["profile-space", "profile-id", "tier-flag", "level-id"]), st.text(max_size=5)))
def test_nonsense_is_read_as_left_out(params: dict[str, str]) -> None:
    told = ProfileTierLevel.parse(params)
    assert 0 <= told.space <= 3
    assert 0 <= told.profile <= 31
    assert 0 <= told.tier <= 1
    assert 0 <= told.level <= 255
    assert ProfileTierLevel.parse({}) == ProfileTierLevel(0, 1, 0, 93)
