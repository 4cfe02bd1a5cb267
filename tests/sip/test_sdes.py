"""Keys of SRTP in session descriptions (RFC 4568): read, chosen, written, and never told."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.sip import sdes
from soip.sip.errors import OfferError, SdpError
from soip.sip.formats import Audio, Video
from soip.sip.offer import Agreement, Local, answer_offer, make_offer, read_answer
from soip.sip.sdes import MATERIAL, SUITES, Crypto, Keying, Srtp
from soip.sip.sdp import SessionDescription
from tests.fuzz import seeds, sip_sdes

MINE = Srtp(bytes(range(MATERIAL)))
YOURS = Srtp(bytes(range(100, 100 + MATERIAL)))
SERVER = Local("192.0.2.1", 1)
PEER = Local("192.0.2.2", 2)
CAMERA = Video(30000, "H264", {"profile-level-id": "42e01f"}, sends=True, srtp=MINE)
RECORDER = Video(20000, receives=True, srtp=YOURS)
KEY30 = b64encode(bytes(range(30))).decode()

suites = st.sampled_from(SUITES)
tags = st.integers(0, 10**9 - 1)
parameters = st.lists(
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=12), max_size=4
)


# -- one attribute


@given(
    tags,
    suites,
    st.none() | st.integers(0, 2**48),
    st.none() | st.tuples(st.integers(0, 99), st.integers(1, 128)),
    st.data(),
)
def test_what_is_written_is_read_back(
    tag: int, suite: sdes.Suite, lifetime: int | None, mki: tuple[int, int] | None, data: st.DataObject
) -> None:
    key = data.draw(st.binary(min_size=suite.length, max_size=suite.length))
    crypto = Crypto(tag, suite.name, key, lifetime, mki, 0, tuple(data.draw(parameters)))
    assert Crypto.parse(str(crypto)) == crypto


@pytest.mark.parametrize("lifetime", ["2^0", "2^48", "2^56", "2^99", "1048577", "999999999999999"])
def test_every_lifetime_that_is_read_is_written_so_that_it_is_read_again(lifetime: str) -> None:
    crypto = Crypto.parse(f"1 AES_CM_128_HMAC_SHA1_80 inline:{'A' * 40}|{lifetime}")
    assert str(crypto).endswith(f"|{lifetime}")
    assert Crypto.parse(str(crypto)) == crypto


def test_the_example_of_the_rfc_is_read() -> None:
    # RFC 4568 §4: the first of two attributes, and one of two keys from §6.1.
    crypto = Crypto.parse("1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj|2^20|1:32")
    assert (crypto.tag, crypto.suite, crypto.lifetime, crypto.mki) == (1, "AES_CM_128_HMAC_SHA1_80", 1 << 20, (1, 32))
    assert crypto.key == b"wDfvg&T+)xG7@fb5jU,RaA}\\|p0%*#"
    both = Crypto.parse(
        "1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj|2^20|1:4;"
        "inline:ZDJmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSojd0Rm|2^20|2:4 KDR=1 -NEW=x"
    )
    assert (both.more_keys, both.parameters) == (1, ("KDR=1", "-NEW=x"))


@pytest.mark.parametrize("padding", ["", "=", "=="])
def test_base64_may_come_with_its_padding_or_without(padding: str) -> None:
    key = b64encode(bytes(28)).decode().rstrip("=")
    crypto = Crypto.parse(f"1 AEAD_AES_128_GCM inline:{key}{padding}")
    assert crypto.usable() is sdes.AEAD_AES_128_GCM


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", "malformed"),
        ("x AES_CM_128_HMAC_SHA1_80 inline:" + KEY30, "malformed"),
        ("1234567890 AES_CM_128_HMAC_SHA1_80 inline:" + KEY30, "malformed"),
        ("1 AES_CM_128_HMAC_SHA1_80", "malformed"),
        ("1 AES-CM inline:" + KEY30, "malformed"),
        ("1 AES_CM_128_HMAC_SHA1_80 uri:" + KEY30, "without an inline key"),
        ("1 AES_CM_128_HMAC_SHA1_80 inline:" + KEY30 + "|2^|1:4", "without an inline key"),
        ("1 AES_CM_128_HMAC_SHA1_80 inline:" + KEY30 + "|1:4|2^20", "without an inline key"),
        ("1 AES_CM_128_HMAC_SHA1_80 inline:*" + KEY30, "without an inline key"),
        ("1 AES_CM_128_HMAC_SHA1_80 inline:AAAAA", "no base64"),
        ("1 AES_CM_128_HMAC_SHA1_80 inline:" + KEY30 + "|2^20|1:0", "MKI"),
        ("1 AES_CM_128_HMAC_SHA1_80 inline:" + KEY30 + "|1:129", "MKI"),
        ("1 AES_CM_128_HMAC_SHA1_80 inline:" + "A" * 2000, "too long"),
    ],
)
def test_what_is_no_attribute_is_refused_without_telling_the_key(value: str, words: str) -> None:
    with pytest.raises(SdpError, match=words) as caught:
        Crypto.parse(value)
    assert KEY30 not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("7 F8_128_HMAC_SHA1_80 inline:" + KEY30, "a=crypto:7: the suite is not known"),
        ("7 AEAD_AES_128_GCM inline:" + KEY30, "28 bytes of key and salt, not 30"),
        ("7 AES_CM_128_HMAC_SHA1_80 inline:" + KEY30 + "|1:4", "without an MKI"),
        (f"7 AES_CM_128_HMAC_SHA1_80 inline:{KEY30};inline:{KEY30}", "one master key"),
        (f"7 AES_CM_128_HMAC_SHA1_80 inline:{KEY30} UNENCRYPTED_SRTP", "must be understood"),
        (f"7 AES_CM_128_HMAC_SHA1_80 inline:{KEY30} KDR=8", "must be understood"),
    ],
)
def test_what_we_cannot_do_is_refused_with_the_reason(value: str, words: str) -> None:
    with pytest.raises(OfferError, match=words) as caught:
        Crypto.parse(value).usable()
    assert caught.value.status == 488
    assert KEY30 not in str(caught.value)


def test_lifetimes_hints_and_optional_parameters_are_no_obstacle() -> None:
    value = f"7 aes_cm_128_hmac_sha1_32 INLINE:{KEY30}|2^20 WSH=128 -KDR=8"
    assert Crypto.parse(value).usable() is sdes.AES_CM_128_HMAC_SHA1_32


def test_keys_are_in_no_representation() -> None:
    (crypto, *_), keying = sdes.offers(MINE), Keying(SUITES[0], MINE.key(SUITES[0]), YOURS.key(SUITES[0]))
    for secret in (crypto, keying, MINE, CAMERA):
        assert str(bytes(range(4)))[2:-1] not in repr(secret)
        assert "material" not in repr(secret)


def test_each_suite_has_a_key_of_its_own() -> None:
    keys = [MINE.key(suite) for suite in SUITES]
    assert b"".join(keys) == MINE.material
    assert [crypto.suite for crypto in sdes.offers(MINE)] == [suite.name for suite in sdes.OFFERED]


# -- offer and answer (RFC 4568 §5.1)


@given(st.permutations([suite.name for suite in SUITES]), st.integers(1, 5), st.integers(0, 900))
def test_the_answer_takes_the_first_usable_with_its_tag_and_gives_a_key_of_its_own(
    names: list[str], bad: int, first: int
) -> None:
    offered = [f"{first} UNKNOWN inline:{KEY30}"] * bad
    offered += [str(Crypto(first + at, name, YOURS.key(sdes._BY_NAME[name]))) for at, name in enumerate(names, 1)]
    answer, keying = sdes.choose(offered, MINE)
    assert (answer.tag, answer.suite) == (first + 1, names[0])
    assert answer.parameters == ()
    assert keying == Keying(sdes._BY_NAME[names[0]], answer.key, YOURS.key(keying.suite))
    assert sdes.agreed(offered, [str(answer)]) == Keying(keying.suite, keying.theirs, keying.ours)


def test_an_answer_must_take_exactly_one_that_was_offered() -> None:
    offered = [str(crypto) for crypto in sdes.offers(MINE)]
    good = str(Crypto(1, "AEAD_AES_128_GCM", YOURS.key(SUITES[0])))
    assert sdes.agreed(offered, [good]).theirs == YOURS.key(SUITES[0])
    for wrong, words in (
        ([], "0 a=crypto"),
        ([good, good], "2 a=crypto"),
        (["nonsense"], "malformed"),
        ([good.replace("1 ", "2 ", 1)], "not offered"),
        ([good.replace("1 ", "9 ", 1)], "not offered"),
        ([good + " UNENCRYPTED_SRTCP"], "must be understood"),
    ):
        with pytest.raises(OfferError, match=words):
            sdes.agreed(offered, wrong)


def call(offering: Video | Audio, answering: Video | Audio) -> tuple[Agreement, Agreement]:
    """Both sides of an offer and its answer, over the wire."""
    offer = SessionDescription.parse(make_offer(PEER, [offering]).to_bytes())
    answered = answer_offer(offer, SERVER, [answering])
    assert answered.answer is not None
    return read_answer(offer, SessionDescription.parse(answered.answer.to_bytes())), answered


@pytest.mark.parametrize("offering", [CAMERA, RECORDER])
def test_each_side_gives_the_key_of_what_it_sends(offering: Video) -> None:
    answering = RECORDER if offering is CAMERA else CAMERA
    asked, answered = call(offering, answering)
    assert asked.video is not None
    assert answered.video is not None
    here, there = asked.video.srtp, answered.video.srtp
    assert here is not None
    assert there is not None
    assert (here.ours, here.theirs) == (there.theirs, there.ours)
    assert here.suite is there.suite is sdes.AEAD_AES_128_GCM
    assert here.ours != here.theirs
    assert answered.answer is not None
    (media,) = answered.answer.media
    assert media.protocol == "RTP/SAVP"
    assert len(media.attributes("crypto")) == 1


def test_audio_too() -> None:
    asked, _ = call(Audio(5000, receives=True, srtp=MINE), Audio(6000, sends=True, srtp=YOURS))
    assert asked.audio is not None
    assert asked.audio.srtp is not None


def test_feedback_goes_with_savpf() -> None:
    text = make_offer(PEER, [RECORDER]).to_bytes().replace(b"RTP/SAVP", b"RTP/SAVPF")
    answered = answer_offer(SessionDescription.parse(text), SERVER, [CAMERA])
    assert answered.answer is not None
    assert answered.answer.media[0].protocol == "RTP/SAVPF"
    assert "rtcp-fb:96 nack pli" in str(answered.answer)
    assert answered.video is not None
    assert answered.video.srtp is not None


def test_plain_rtp_is_answered_plainly_unless_srtp_is_required() -> None:
    asked, _ = call(replace(RECORDER, srtp=None), CAMERA)
    assert asked.video is not None
    assert asked.video.srtp is None
    with pytest.raises(OfferError, match="SRTP only here: register by TLS") as caught:
        call(replace(RECORDER, srtp=None), replace(CAMERA, srtp=Srtp(MINE.material, required=True)))
    assert caught.value.warn_code == 302


def test_srtp_that_is_switched_off_is_refused() -> None:
    with pytest.raises(OfferError, match=r"RTP/SAVP \(SRTP\) is switched off"):
        call(RECORDER, replace(CAMERA, srtp=None))


def test_srtp_without_keys_is_refused() -> None:
    text = str(make_offer(PEER, [RECORDER])).replace("a=crypto", "a=nothing")
    with pytest.raises(OfferError, match="it has none"):
        answer_offer(SessionDescription.parse(text), SERVER, [CAMERA])


@pytest.mark.parametrize(("ours", "theirs"), [("RTP/SAVP", "RTP/AVP"), ("RTP/AVP", "RTP/SAVP")])
def test_an_answer_may_not_change_whether_it_is_srtp(ours: str, theirs: str) -> None:
    camera, recorder = (CAMERA, RECORDER) if ours == "RTP/SAVP" else (CAMERA, replace(RECORDER, srtp=None))
    offer = make_offer(PEER, [recorder])
    answered = answer_offer(offer, SERVER, [camera])
    assert answered.answer is not None
    text = str(answered.answer).replace(ours, theirs)
    with pytest.raises(OfferError, match=f"answered over {theirs}"):
        read_answer(offer, SessionDescription.parse(text))


def test_a_phone_that_offers_both_gets_the_one_it_named_first() -> None:
    secure, plain = (make_offer(PEER, [replace(RECORDER, srtp=srtp)]).media[0] for srtp in (YOURS, None))
    offer = make_offer(PEER, [RECORDER])
    offer.media = [secure, plain]
    answered = answer_offer(offer, SERVER, [CAMERA])
    assert answered.streams[0] is not None
    assert answered.streams[0].srtp is not None
    assert answered.streams[1] is None


def test_fuzz_target_holds_on_mutations() -> None:
    seeds.run(sip_sdes.fuzz, sip_sdes.SAMPLES)
