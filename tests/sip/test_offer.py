"""Offer and answer (RFC 3264): recorder and camera, viewers of several kinds, H.264 profiles (RFC 6184 §8)."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.sip import h264fmtp
from soip.sip.errors import OfferError
from soip.sip.formats import ANY_SOUND, Aac, Audio, Capability, Video
from soip.sip.h264fmtp import ProfileLevel, fit
from soip.sip.offer import Agreement, Local, Stream, answer_offer, make_offer, read_answer
from soip.sip.sdp import SessionDescription, TimeRange

SERVER = Local("192.0.2.1", 1)
PEER = Local("192.0.2.2", 2)
SPROP = "Z0LAHtkDxWhAAAADAEAAAAwDxYuS,aMuMsg=="
CAMERA = Video(30000, "H264", {"profile-level-id": "42e01f", "sprop-parameter-sets": SPROP}, sends=True)
RECORDER = Video(20000, receives=True)
LISTENER = Audio(20002, receives=True)
SPEAKER = Audio(30002, sends=True)


def offer_of(*media: str, session: str = "") -> SessionDescription:
    """An offer from 192.0.2.2 with these media parts, one string of lines each."""
    head = f"v=0\no=- 1 1 IN IP4 192.0.2.2\ns=-\nc=IN IP4 192.0.2.2\nt=0 0\n{session}"
    return SessionDescription.parse(head + "\n".join(media) + "\n")


def h264(payload_type: int, params: str = "profile-level-id=42e01f;packetization-mode=1") -> str:
    return f"a=rtpmap:{payload_type} H264/90000\na=fmtp:{payload_type} {params}"


VIDEO = "m=video 5000 RTP/AVP 96\n" + h264(96)
AUDIO = "m=audio 5002 RTP/AVP 0 8 101\na=rtpmap:101 telephone-event/8000"


def answer(offer: SessionDescription, *capabilities: Capability) -> Agreement:
    """Our answer to an offer, checked to be an answer to it in every case."""
    agreement = answer_offer(offer, SERVER, capabilities)
    assert agreement.answer is not None
    sent = SessionDescription.parse(agreement.answer.to_bytes())
    assert [stream is None for stream in read_answer(offer, sent).streams] == [s is None for s in agreement.streams]
    assert sent.first("t") == offer.first("t")
    return agreement


def accepted(stream: Stream | None) -> Stream:
    assert stream is not None
    return stream


def media_of(agreement: Agreement, at: int) -> str:
    assert agreement.answer is not None
    return str(agreement.answer.media[at])


def refusal(offer: SessionDescription, *capabilities: Capability) -> OfferError:
    with pytest.raises(OfferError) as caught:
        answer_offer(offer, SERVER, capabilities)
    assert caught.value.status == 488
    return caught.value


# --- recorder and camera


@pytest.mark.parametrize("profile", ["42e01f", "42001f", "4d4028", "640028", "64002a", ""])
def test_a_recorder_calls_a_camera(profile: str) -> None:
    offer = make_offer(SERVER, [RECORDER, LISTENER])
    received = SessionDescription.parse(offer.to_bytes())
    camera = answer_offer(
        received,
        PEER,
        [Video(30000, "H264", {"profile-level-id": profile, "sprop-parameter-sets": SPROP}, sends=True), SPEAKER],
    )
    assert camera.answer is not None
    recorder = read_answer(offer, SessionDescription.parse(camera.answer.to_bytes()))

    sent, got = accepted(camera.video), accepted(recorder.video)
    assert (sent.direction, got.direction) == ("sendonly", "recvonly")
    assert (sent.sends, sent.receives, got.sends, got.receives) == (True, False, False, True)
    assert (sent.remote, sent.remote_rtcp) == (("192.0.2.1", 20000), ("192.0.2.1", 20001))
    assert (got.remote, got.local_port) == (("192.0.2.2", 30000), 20000)
    assert sent.payload_type in got.receive_types
    assert (got.encoding, got.clock_rate, got.packetization_mode) == ("H264", 90000, 1)
    assert [unit[0] & 31 for unit in got.parameter_sets] == [7, 8]
    assert sent.feedback == {"nack", "nack pli", "ccm fir"}
    audio = accepted(recorder.audio)
    assert (audio.encoding, audio.payload_type, audio.direction) == ("PCMU", 0, "recvonly")
    if profile:
        stream = ProfileLevel.parse(profile)
        answered = ProfileLevel.parse(got.fmtp["profile-level-id"])
        assert stream is not None
        assert answered is not None
        assert (stream.family, stream.level) == (answered.family, answered.level)


def test_the_recorders_offer() -> None:
    offer = make_offer(Local("192.0.2.1", 7, 2, "Playback", TimeRange(100, 200), (("tool", "soip"),)), [RECORDER])
    assert offer.origin is not None
    assert (offer.origin.session_id, offer.origin.version) == ("7", "2")
    assert (offer.name, offer.time, offer.attribute("tool")) == ("Playback", TimeRange(100, 200), "soip")
    (video,) = offer.media
    assert offer.direction(video) == "recvonly"
    encodings = [entry.encoding for entry in video.rtpmaps.values()]
    assert encodings == ["H264"] * 4 + ["H265"] * 2, "H.264 is preferred"
    assert {video.fmtp(number)["packetization-mode"] for number in range(96, 100)} == {"0", "1"}
    assert video.fmtp(96)["packetization-mode"] == "1"
    assert [video.fmtp(number)["profile-id"] for number in (100, 101)] == ["1", "2"]
    assert {video.fmtp(number)["level-id"] for number in (100, 101)} == {"186"}


def test_a_recorder_without_audio_offers_none() -> None:
    assert [media.kind for media in make_offer(SERVER, [RECORDER]).media] == ["video"]


def test_an_invite_without_an_offer() -> None:
    """The camera offers in its 200, the recorder answers in its ACK (RFC 3261 §13.2.1)."""
    offer = make_offer(PEER, [CAMERA, SPEAKER])
    assert offer.media[0].fmtp(96) == {
        "profile-level-id": "42e01f",
        "level-asymmetry-allowed": "1",
        "packetization-mode": "1",
        "sprop-parameter-sets": SPROP,
    }
    recorder = answer_offer(SessionDescription.parse(offer.to_bytes()), SERVER, [RECORDER])
    assert recorder.answer is not None
    assert accepted(recorder.video).direction == "recvonly"
    assert len(accepted(recorder.video).parameter_sets) == 2
    assert recorder.answer.media[1].port == 0
    camera = read_answer(offer, SessionDescription.parse(recorder.answer.to_bytes()))
    assert camera.streams[1] is None
    assert accepted(camera.video).sends
    assert "profile-level-id=42e01f" in media_of(recorder, 0)


# --- viewers


def test_a_phone_with_video_watches() -> None:
    agreement = answer(offer_of(AUDIO, VIDEO), CAMERA, Audio(20002))
    video, audio = accepted(agreement.video), accepted(agreement.audio)
    assert (video.direction, video.remote, video.packetization_mode) == ("sendonly", ("192.0.2.2", 5000), 1)
    assert audio.direction == "inactive"
    assert [stream.kind for stream in agreement.streams if stream] == ["audio", "video"]
    assert media_of(agreement, 1) == (
        "m=video 30000 RTP/AVP 96\r\n"
        "a=rtpmap:96 H264/90000\r\n"
        f"a=fmtp:96 profile-level-id=42e01f;packetization-mode=1;sprop-parameter-sets={SPROP}\r\n"
        "a=sendonly\r\n"
    )


def test_what_is_sent_may_have_a_label_in_answers_and_offers_and_pictures_alone_have_it() -> None:
    labelled = replace(CAMERA, label="sub")
    answered = answer(offer_of(AUDIO, VIDEO), labelled, Audio(20002))
    assert media_of(answered, 1).endswith("a=sendonly\r\na=label:sub\r\n")
    assert "label" not in media_of(answered, 0)
    offered = make_offer(SERVER, [labelled, Audio(20002)])
    assert [media.attribute("label") for media in offered.media] == ["sub", None]
    assert answer_offer(offered, PEER, [Video(5000, receives=True)]).video is not None
    assert make_offer(SERVER, [CAMERA]).media[0].attribute("label") is None


def test_audio_is_answered_by_what_both_can() -> None:
    for ours, theirs, expected in [
        (Audio(1, sends=True), "sendrecv", "sendonly"),
        (Audio(1, sends=True), "recvonly", "sendonly"),
        (Audio(1, sends=True), "sendonly", "inactive"),
        (Audio(1, sends=True), "inactive", "inactive"),
        (Audio(1, sends=True, receives=True), "sendrecv", "sendrecv"),
        (Audio(1, sends=True, receives=True), "sendonly", "recvonly"),
        (Audio(1, receives=True), "sendrecv", "recvonly"),
        (Audio(1), "sendrecv", "inactive"),
    ]:
        agreement = answer(offer_of(VIDEO, f"{AUDIO}\na={theirs}"), CAMERA, ours)
        assert accepted(agreement.audio).direction == expected


def test_the_encoding_of_audio_is_the_first_we_have() -> None:
    pcma = Audio(1, ("PCMA",), sends=True)
    assert accepted(answer(offer_of(AUDIO), pcma).audio).payload_type == 8
    dynamic = offer_of("m=audio 5002 RTP/AVP 9 97 98\na=rtpmap:97 opus/48000/2\na=rtpmap:98 pcma/8000/1")
    assert accepted(answer(dynamic, pcma).audio).payload_type == 98


def test_a_phone_without_video_gets_audio() -> None:
    agreement = answer(offer_of("m=video 0 RTP/AVP 96\n" + h264(96), AUDIO), CAMERA, SPEAKER)
    assert agreement.video is None
    assert media_of(agreement, 0) == "m=video 0 RTP/AVP 96\r\n"
    assert accepted(agreement.audio).sends
    other = answer(offer_of("m=video 5000 RTP/AVP 99\na=rtpmap:99 H265/90000", AUDIO), CAMERA, SPEAKER)
    assert other.video is None
    assert accepted(other.audio).sends


def test_what_does_not_fit_is_rejected_with_port_zero() -> None:
    agreement = answer(offer_of("m=application 5004 UDP/BFCP *", VIDEO, "m=video 5006 RTP/AVP 97\n" + h264(97)), CAMERA)
    assert [stream is None for stream in agreement.streams] == [True, False, True]
    assert media_of(agreement, 0) == "m=application 0 UDP/BFCP *\r\n"
    assert media_of(agreement, 2) == "m=video 0 RTP/AVP 97\r\n"


@pytest.mark.parametrize(
    ("media", "code", "word"),
    [
        ("m=video 5000 RTP/AVP 99\na=rtpmap:99 H265/90000", 305, "H264"),
        ("m=video 5000 RTP/AVP 96\n" + h264(96, "packetization-mode=2"), 305, "H264"),
        ("m=video 5000 RTP/AVP 96\na=rtpmap:96 H264/8000", 305, "H264"),
        ("m=video 5000 RTP/SAVP 96\n" + h264(96), 302, "RTP/SAVP"),
        ("m=video 5000 TCP/RTP/AVP 96\n" + h264(96), 302, "TCP"),
        ("m=video 0 RTP/AVP 96\n" + h264(96), 304, "switched off"),
        ("m=image 5000 udptl t38", 302, "UDPTL"),
        ("m=text 5000 RTP/AVP 98", 304, "text"),
        ("m=audio 5000 RTP/AVP 0", 304, "no audio"),
        ("c=IN IP6 2001:db8::1\n" + VIDEO, 301, "IP version"),
    ],
)
def test_when_nothing_fits_the_refusal_says_why(media: str, code: int, word: str) -> None:
    lines = media.split("\n")
    if lines[0].startswith("c="):  # of the media part
        media = "\n".join([lines[1], lines[0], *lines[2:]])
    error = refusal(offer_of(media), CAMERA)
    assert error.warn_code == code
    assert word in error.what


def test_an_offer_without_media_or_addresses_is_refused() -> None:
    assert refusal(offer_of(""), CAMERA).warn_code == 304
    no_address = SessionDescription.parse("v=0\n" + VIDEO)
    assert refusal(no_address, CAMERA).warn_code == 301


def test_audio_that_is_always_silent_is_no_reason_for_a_call() -> None:
    error = refusal(offer_of("m=video 5000 RTP/AVP 99\na=rtpmap:99 VP8/90000", AUDIO), CAMERA, Audio(20002))
    assert "H264" in error.what
    assert refusal(offer_of(AUDIO), Audio(20002)).warn_code == 304


def test_hold_and_resume() -> None:
    """A held call is kept: inactive, sendonly and the address 0.0.0.0 (RFC 3264 §8.4) stop our sending."""
    for media in (f"{VIDEO}\na=inactive", f"{VIDEO}\na=sendonly", f"{VIDEO}\nc=IN IP4 0.0.0.0"):
        lines = media.split("\n")
        if lines[-1].startswith("c="):
            lines.insert(1, lines.pop())
        assert accepted(answer(offer_of("\n".join(lines)), CAMERA).video).direction == "inactive"
    assert accepted(answer(offer_of(VIDEO, session="a=inactive\n"), CAMERA).video).direction == "inactive"
    assert accepted(answer(offer_of(VIDEO), CAMERA).video).direction == "sendonly"


def test_feedback_is_answered_as_far_as_it_was_offered_and_known() -> None:
    lines = "\na=rtcp-fb:* nack pli\na=rtcp-fb:96 ccm fir\na=rtcp-fb:96 goog-remb"
    assert "rtcp-fb" not in media_of(answer(offer_of(VIDEO), CAMERA), 0)
    plain = answer(offer_of(VIDEO + lines), CAMERA)
    assert "a=rtcp-fb:96 nack pli\r\na=rtcp-fb:96 ccm fir\r\n" in media_of(plain, 0)
    assert "a=rtcp-fb:96 nack\r\n" not in media_of(plain, 0)
    assert accepted(plain.video).feedback == {"nack pli", "ccm fir", "goog-remb"}
    avpf = answer(offer_of(VIDEO.replace("AVP", "AVPF") + lines), CAMERA)
    assert "m=video 30000 RTP/AVPF 96" in media_of(avpf, 0)
    assert "a=rtcp-fb:96 nack pli\r\na=rtcp-fb:96 ccm fir\r\n" in media_of(avpf, 0)
    assert "remb" not in media_of(avpf, 0)


def test_where_rtcp_goes() -> None:
    elsewhere = answer(offer_of(VIDEO + "\na=rtcp:6001 IN IP4 192.0.2.9"), CAMERA)
    assert accepted(elsewhere.video).remote_rtcp == ("192.0.2.9", 6001)
    assert accepted(answer(offer_of(VIDEO + "\na=rtcp:6001"), CAMERA).video).remote_rtcp == ("192.0.2.2", 6001)
    assert accepted(answer(offer_of(VIDEO), CAMERA).video).remote_rtcp == ("192.0.2.2", 5001)


@pytest.mark.parametrize(("line", "ssrc"), [("ssrc:42 cname:x", 42), ("ssrc:x", None), ("tool:y", None)])
def test_announced_sources(line: str, ssrc: int | None) -> None:
    assert accepted(answer(offer_of(f"{VIDEO}\na={line}"), CAMERA).video).ssrc == ssrc


def test_the_range_of_a_playback_is_repeated() -> None:
    offer = make_offer(Local("192.0.2.2", 9, name="Playback", time=TimeRange(1795600800, 1795601400)), [RECORDER])
    local = Local("192.0.2.1", 1, attributes=(("range", "clock=20261125T100000Z-"),))
    agreement = answer_offer(offer, local, [CAMERA])
    assert agreement.answer is not None
    assert agreement.answer.time == TimeRange(1795600800, 1795601400)
    assert agreement.answer.attribute("range") == "clock=20261125T100000Z-"


# --- which H.264 format


def choice(*params: str, profile: str = "42e01f") -> int:
    """The payload type chosen from formats 96, 97, … with these parameters."""
    numbers = range(96, 96 + len(params))
    media = f"m=video 5000 RTP/AVP {' '.join(map(str, numbers))}\n"
    media += "\n".join([h264(number, text) for number, text in zip(numbers, params, strict=True)])
    return accepted(
        answer(offer_of(media), Video(30000, "H264", {"profile-level-id": profile}, sends=True)).video
    ).payload_type


def test_the_best_format_is_chosen() -> None:
    base0, base1 = "profile-level-id=42e01f", "profile-level-id=42e01f;packetization-mode=1"
    high1 = "profile-level-id=640028;packetization-mode=1"
    assert choice(base0, base1) == 97  # mode 1 before mode 0
    assert choice(base0) == 96  # mode 0 before nothing: phones that say so read FU-A all the same
    assert choice(high1, base1) == 97  # the same profile before one that includes it
    assert choice(high1) == 96
    assert choice(base1, base1) == 96  # then the caller's order
    assert choice(base1, high1, profile="640028") == 97
    assert choice("packetization-mode=1") == 96  # no profile said: anything


@pytest.mark.parametrize(
    ("stream", "decoder", "score"),
    [
        ("42e01f", "42e01f", 0),
        ("42e01f", "42001f", 0),  # Baseline stands for Constrained Baseline and back
        ("42001f", "42e01f", 0),
        ("42e01f", "4d801f", 0),  # constraint_set0 makes Main into Constrained Baseline
        ("42e01f", "58c01f", 0),
        ("42e033", "42e01f", 0),  # levels do not decide
        ("42e01f", "4d001f", 1),
        ("42e01f", "64001f", 1),
        ("4d001f", "64001f", 1),
        ("640028", "6e0028", 1),
        ("640028", "640c28", 0),
        ("640028", "42e01f", None),
        ("640028", "4d001f", None),
        ("4d001f", "42e01f", None),
        ("58001f", "64001f", None),
        ("f4001f", "64001f", None),
    ],
)
def test_profiles_that_fit(stream: str, decoder: str, score: int | None) -> None:
    assert fit(ProfileLevel.parse(stream), ProfileLevel.parse(decoder)) == score


def test_unknown_profiles_fit() -> None:
    known = ProfileLevel.parse("42e01f")
    assert fit(None, known) == fit(known, None) == fit(None, None) == 1
    assert str(known) == "42e01f"
    for text in ("", "42e0", "42e01g", "42e01f0"):
        assert ProfileLevel.parse(text) is None


@pytest.mark.parametrize(
    ("own", "offered", "expected"),
    [
        ("42e01f", "profile-level-id=42801e", "42801e"),  # the offer's profile, the lower level
        ("42e01e", "profile-level-id=42e01f", "42e01e"),
        ("42e028", "profile-level-id=42e01f;level-asymmetry-allowed=1", "42e028"),
        ("42e028", "", "42e028"),
        ("", "profile-level-id=640028", "640028"),
        ("", "", "None"),
    ],
)
def test_the_profile_of_an_answer(own: str, offered: str, expected: str) -> None:
    params = dict(part.split("=") for part in offered.split(";")) if offered else {}
    assert str(h264fmtp.agreed_profile(ProfileLevel.parse(own), params)) == expected


def test_parameter_sets_that_are_unreadable_are_left_out() -> None:
    sps, pps = bytes([0x67, 66, 0, 30]), bytes([0x68, 1])
    text = f" {b64encode(sps).decode()} ,???,,{b64encode(pps).decode()},Z0"
    assert h264fmtp.parameter_sets({"sprop-parameter-sets": text}) == (sps, pps)
    assert h264fmtp.parameter_sets({"sprop-parameter-sets": "Z0LA" * 2000}) == ()
    assert h264fmtp.parameter_sets({}) == ()


# --- reading answers


OFFER = make_offer(SERVER, [RECORDER, LISTENER])


def test_an_answer_may_have_payload_types_of_its_own() -> None:
    agreement = read_answer(OFFER, offer_of("m=video 5000 RTP/AVP 104\n" + h264(104), "m=audio 0 RTP/AVP 0"))
    video = accepted(agreement.video)
    assert video.payload_type == 104
    assert video.receive_types >= {96, 104}
    assert agreement.audio is None


def test_an_answer_may_leave_out_what_our_offer_said() -> None:
    agreement = read_answer(OFFER, offer_of("m=video 5000 RTP/AVP 99"))
    video = accepted(agreement.video)
    assert (video.encoding, video.payload_type, video.packetization_mode) == ("H264", 99, 0)
    assert video.direction == "recvonly"  # sendrecv by default, which our recvonly makes recvonly
    assert agreement.streams[1] is None  # missing at the end: rejected


def test_the_answers_first_common_format_counts() -> None:
    media = "m=video 5000 RTP/AVP 34 101 97 96\na=rtpmap:101 VP8/90000"
    assert accepted(read_answer(OFFER, offer_of(media)).video).payload_type == 97
    audio = offer_of("m=video 0 RTP/AVP 96", "m=audio 5002 RTP/AVP 8 0")
    assert accepted(read_answer(OFFER, audio).audio).encoding == "PCMA"


@pytest.mark.parametrize(
    "media",
    [
        [""],
        ["m=video 0 RTP/AVP 96", "m=audio 0 RTP/AVP 0"],
        [AUDIO, VIDEO],
        [VIDEO, AUDIO, AUDIO],
        ["m=video 5000 RTP/SAVP 96"],
        ["m=video 5000 RTP/AVP 101\na=rtpmap:101 VP8/90000"],
        ["m=video 5000 RTP/AVP 100\na=rtpmap:100 H265/90000\na=fmtp:100 sprop-max-don-diff=2"],
        ["m=video 5000 RTP/AVP 100\na=rtpmap:100 H265/90000\na=fmtp:100 tx-mode=MRST"],
        ["m=video 5000 RTP/AVP *"],
        ["m=video 5000 RTP/AVP"],
    ],
)
def test_answers_that_do_not_fit_are_refused(media: list[str]) -> None:
    with pytest.raises(OfferError):
        read_answer(OFFER, offer_of(*media))


def test_an_answer_without_an_address_is_refused() -> None:
    with pytest.raises(OfferError, match="address"):
        read_answer(OFFER, SessionDescription.parse("v=0\nm=video 5000 RTP/AVP 96\n"))


def test_an_answer_to_what_we_did_not_offer_stays_rejected() -> None:
    withdrawn = make_offer(SERVER, [Video(0, receives=True), LISTENER])
    agreement = read_answer(withdrawn, offer_of("m=video 5000 RTP/AVP 96", AUDIO))
    assert agreement.video is None


def test_reading_an_answer_does_not_change_it() -> None:
    received = offer_of("m=video 5000 RTP/AVP 96")
    before = str(received)
    read_answer(OFFER, received)
    assert str(received) == before


FLAGS = st.booleans()
CAPABILITY = st.one_of(
    st.builds(Video, st.just(7000), st.sampled_from(["", "42e01f", "640028"]), sends=FLAGS, receives=FLAGS),
    st.builds(
        Audio,
        st.just(7002),
        st.sampled_from([("PCMU",), ("PCMA", "PCMU"), ("OPUS", "PCMU")]),
        sends=FLAGS,
        receives=FLAGS,
    ),
    st.builds(
        Audio,
        st.just(7002),
        st.just(("MPEG4-GENERIC", "PCMA")),
        sends=FLAGS,
        receives=FLAGS,
        aac=st.sampled_from([None, Aac(16_000, 1, "mode=AAC-hbr;config=1408")]),
    ),
)


@given(st.lists(CAPABILITY, max_size=3), st.lists(CAPABILITY, max_size=3))
def test_two_of_us_always_understand_each_other(ours: list[Capability], theirs: list[Capability]) -> None:
    """Both ends come to the same streams: what one sends the other receives, in one encoding."""
    offer = make_offer(SERVER, ours)
    try:
        far = answer_offer(SessionDescription.parse(offer.to_bytes()), PEER, theirs)
    except OfferError:
        return
    assert far.answer is not None
    near = read_answer(offer, SessionDescription.parse(far.answer.to_bytes()))
    for mine, yours in zip(near.streams, far.streams, strict=True):
        assert (mine is None) == (yours is None)
        if mine is not None and yours is not None:
            assert (mine.sends, mine.receives) == (yours.receives, yours.sends)
            assert (mine.encoding, mine.payload_type) == (yours.encoding, yours.payload_type)
            assert mine.packetization_mode == yours.packetization_mode
            assert (mine.remote[1], yours.remote[1]) == (yours.local_port, mine.local_port)


# --- AAC and Opus

AAC_16K = Aac(16_000, 1, "streamtype=5;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config=1408")
LISTENS = Audio(20002, ANY_SOUND, receives=True)


def aac(number: int, clock: str = "16000/1", mode: str = "AAC-hbr", config: str = ";config=1408") -> str:
    return f"a=rtpmap:{number} mpeg4-generic/{clock}\r\na=fmtp:{number} mode={mode};sizelength=13{config}"


def test_a_recorder_offers_the_best_sound_first() -> None:
    (audio,) = make_offer(SERVER, [LISTENS]).media
    encodings = [entry.encoding for entry in audio.rtpmaps.values()]
    assert list(dict.fromkeys(encodings)) == ["MPEG4-GENERIC", "OPUS", "PCMU", "PCMA"]
    assert "a=rtpmap:111 opus/48000/2\r\n" in str(audio), "as it is written everywhere"
    assert audio.fmtp(110)["config"] == "1408"
    assert {number for number in audio.rtpmaps if number > 8} == {110, 111}


def test_an_offer_to_a_camera_leaves_room_in_its_datagram() -> None:
    """Beside some 650 bytes of header lines: of pictures alone it fits one datagram of Ethernet, with sound two."""
    assert len(make_offer(SERVER, [RECORDER]).to_bytes()) < 800
    assert len(make_offer(SERVER, [RECORDER, LISTENS]).to_bytes()) < 1050


@pytest.mark.parametrize(("clock", "channels"), [("16000", 1), ("48000/1", 1), ("44100/2", 2), ("8000", 1)])
def test_a_camera_answers_with_the_aac_it_has(clock: str, channels: int) -> None:
    offer = make_offer(SERVER, [LISTENS])
    answered = offer_of("m=audio 5002 RTP/AVP 97\n" + aac(97, clock, config=";config=1190"))
    stream = accepted(read_answer(offer, answered).audio)
    assert (stream.encoding, stream.channels) == ("MPEG4-GENERIC", channels)
    assert stream.clock_rate == int(clock.partition("/")[0])
    assert stream.fmtp["config"] == "1190"
    assert 97 in stream.receive_types


def test_aac_that_was_not_offered_is_not_taken() -> None:
    offer = make_offer(SERVER, [LISTENER])
    with pytest.raises(OfferError, match="not offered"):
        read_answer(offer, offer_of("m=audio 5002 RTP/AVP 97\n" + aac(97)))


def test_opus_is_agreed_on() -> None:
    camera = Audio(30002, ("OPUS",), sends=True)
    far = answer_offer(make_offer(SERVER, [LISTENS]), PEER, [camera])
    assert far.answer is not None
    near = accepted(read_answer(make_offer(SERVER, [LISTENS]), far.answer).audio)
    assert (near.encoding, near.clock_rate, near.channels) == ("OPUS", 48_000, 2)


def test_who_sends_aac_answers_its_own_and_makes_g711_where_it_is_not_wanted() -> None:
    sender = Audio(1, ("MPEG4-GENERIC", "PCMU", "PCMA"), sends=True, aac=AAC_16K)
    agreed = answer(offer_of("m=audio 5002 RTP/AVP 0 97 98\n" + aac(97, "48000") + "\n" + aac(98)), sender)
    assert accepted(agreed.audio).payload_type == 98, "it is preferred to what would have to be made"
    assert f"a=fmtp:98 {AAC_16K.fmtp}\r\n" in media_of(agreed, 0)
    for other in (aac(97, "16000/2"), aac(97, mode="AAC-lbr"), "a=rtpmap:97 opus/48000/2"):
        agreed = answer(offer_of("m=audio 5002 RTP/AVP 97 8 0\n" + other), sender)
        assert accepted(agreed.audio).encoding == "PCMA", "else the first that the other side named"
    assert refusal(offer_of("m=audio 5002 RTP/AVP 97\n" + aac(97, "8000")), sender).warn_code == 305


def test_who_receives_takes_any_aac_that_says_what_it_is() -> None:
    agreed = answer(offer_of("m=audio 5002 RTP/AVP 97 0\n" + aac(97, "32000")), LISTENS)
    assert accepted(agreed.audio).clock_rate == 32_000
    assert "a=fmtp:97 mode=AAC-hbr;sizelength=13;config=1408\r\n" in media_of(agreed, 0)
    agreed = answer(offer_of("m=audio 5002 RTP/AVP 97 0\n" + aac(97, config="")), LISTENS)
    assert accepted(agreed.audio).encoding == "PCMU"
