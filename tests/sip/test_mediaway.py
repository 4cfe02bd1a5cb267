"""What RTP goes over: RTCP on its port (RFC 5761 §5.1.1), TCP and who connects (RFC 4145, RFC 4571)."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from soip.sip.errors import OfferError
from soip.sip.formats import Audio, Capability, Video
from soip.sip.mediaway import Way
from soip.sip.negotiation import Negotiation
from soip.sip.offer import Agreement, Local, Stream, answer_offer, make_offer, read_answer
from soip.sip.sdp import SessionDescription

SERVER, PEER = Local("192.0.2.1", 1), Local("192.0.2.2", 2)
CAMERA = Video(30000, "H264", {"profile-level-id": "42e01f"}, sends=True, mux=True)
RECORDER = Video(20000, receives=True, mux=True)
OVER_TCP = replace(RECORDER, transport="tcp")


def video(agreement: Agreement) -> Stream:
    assert agreement.video is not None
    return agreement.video


def agree(offers: Video, answers: Video, *changes: tuple[str, str]) -> tuple[Stream, Stream, SessionDescription]:
    """What the offerer (PEER) and the answerer make of it; `changes` are made in the offer."""
    offer = make_offer(PEER, [offers])
    text = str(offer)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    offer = SessionDescription.parse(text)
    agreement = answer_offer(offer, SERVER, [answers])
    assert agreement.answer is not None
    return video(read_answer(offer, agreement.answer)), video(agreement), agreement.answer


@pytest.mark.parametrize(("offers", "answers"), list(product([True, False], repeat=2)))
def test_rtcp_shares_the_port_where_both_say_so(offers: bool, answers: bool) -> None:
    both = offers and answers
    ours, theirs, answer = agree(replace(RECORDER, mux=offers), replace(CAMERA, mux=answers))
    assert ours.way == theirs.way == Way(mux=both)
    assert (answer.media[0].attribute("rtcp-mux") is not None) == both
    assert ours.remote_rtcp == ("192.0.2.1", 30000 if both else 30001)
    assert theirs.remote_rtcp == ("192.0.2.2", 20000 if both else 20001)


def test_with_mux_another_rtcp_port_is_not_used() -> None:
    _, theirs, _ = agree(RECORDER, CAMERA, ("a=rtcp-mux", "a=rtcp:20099\r\na=rtcp-mux"))
    assert theirs.remote_rtcp == ("192.0.2.2", 20000)
    _, theirs, _ = agree(RECORDER, CAMERA, ("a=rtcp-mux", "a=rtcp:20099"))
    assert theirs.remote_rtcp == ("192.0.2.2", 20099)


@pytest.mark.parametrize(
    ("offered", "prefers", "answered"),
    [
        ("a=setup:actpass", "passive", "passive"),
        ("a=setup:actpass", "active", "active"),
        ("a=setup:active", "active", "passive"),
        ("a=setup:passive", "passive", "active"),
        ("a=setup:ACTIVE", "active", "passive"),
        ("a=setup:holdconn", "active", "holdconn"),
        ("a=x-nothing", "active", "passive"),
    ],
)
def test_who_connects(offered: str, prefers: str, answered: str) -> None:
    """RFC 4145 §4; an offer without a=setup means active."""
    ours, theirs, answer = agree(
        OVER_TCP, replace(CAMERA, transport="tcp", setup=prefers), ("a=setup:actpass", offered)
    )
    opposite = {"active": "passive", "passive": "active"}.get(answered, answered)
    assert theirs.way == Way("tcp", answered, fresh=True, mux=True)
    assert ours.way == Way("tcp", opposite, fresh=True, mux=True)
    media = answer.media[0]
    assert media.protocol == "TCP/RTP/AVP"
    assert media.port == (9 if answered == "active" else 30000), "who connects is not connected to"
    assert media.attribute("setup") == answered
    assert media.attribute("connection") == "new"


def test_an_answer_without_setup_is_passive() -> None:
    offer = make_offer(PEER, [OVER_TCP])
    agreement = answer_offer(offer, SERVER, [replace(CAMERA, transport="tcp")])
    bare = str(agreement.answer).replace("a=setup:passive\r\na=connection:new\r\n", "")
    assert "setup" not in bare
    assert video(read_answer(offer, SessionDescription.parse(bare))).way.setup == "active"


@pytest.mark.parametrize("said", ["a=setup:actpass", "a=setup:sideways"])
def test_an_answer_that_settles_nothing_is_of_no_use(said: str) -> None:
    offer = make_offer(PEER, [OVER_TCP])
    agreement = answer_offer(offer, SERVER, [replace(CAMERA, transport="tcp")])
    answer = SessionDescription.parse(str(agreement.answer).replace("a=setup:passive", said))
    with pytest.raises(OfferError, match="does not answer ours"):
        read_answer(offer, answer)


def test_an_offer_of_an_unknown_setup_is_refused() -> None:
    with pytest.raises(OfferError, match="none that could be offered"):
        agree(OVER_TCP, replace(CAMERA, transport="tcp"), ("actpass", "sideways"))


@pytest.mark.parametrize(("offers", "answers"), [("tcp", "udp"), ("udp", "tcp")])
def test_one_way_is_not_answered_by_another(offers: str, answers: str) -> None:
    with pytest.raises(OfferError, match="is not supported") as refused:
        agree(replace(RECORDER, transport=offers), replace(CAMERA, transport=answers))
    assert refused.value.warn_code == 302
    offer = make_offer(PEER, [replace(RECORDER, transport=offers)])
    answer = str(answer_offer(offer, SERVER, [replace(CAMERA, transport=offers)]).answer)
    other = answer.replace("TCP/RTP", "RTP") if offers == "tcp" else answer.replace(" RTP/AVP", " TCP/RTP/AVP")
    with pytest.raises(OfferError, match="is answered over"):
        read_answer(offer, SessionDescription.parse(other))


def test_feedback_over_tcp() -> None:
    _, _, answer = agree(OVER_TCP, replace(CAMERA, transport="tcp"), ("TCP/RTP/AVP", "TCP/RTP/AVPF"))
    assert answer.media[0].protocol == "TCP/RTP/AVPF"
    assert answer.media[0].attributes("rtcp-fb") == ["96 nack", "96 nack pli", "96 ccm fir"]


def test_what_goes_on_keeps_its_connection() -> None:
    """RFC 4145 §5: hold and resume say existing, on both sides; an offer of ours in the call does too."""
    shows: list[Capability] = [replace(CAMERA, transport="tcp"), Audio(30002, ("PCMU",), sends=True, transport="tcp")]
    offer = make_offer(PEER, [OVER_TCP])
    agreement = answer_offer(offer, SERVER, shows)
    assert agreement.answer is not None
    agreed: list[Agreement] = []
    negotiation = Negotiation(SERVER, shows, agreement.answer, agreed.append)
    held = str(offer).replace("connection:new", "connection:existing").replace("recvonly", "inactive")
    answer = SessionDescription.parse(negotiation.offered(held.encode()))
    assert answer.media[0].attribute("connection") == "existing"
    assert not video(agreed[0]).way.fresh
    ours = SessionDescription.parse(negotiation.offered(b""))
    assert ours.media[0].attribute("connection") == "existing"
    anew = SessionDescription.parse(negotiation.offered(str(offer).encode()))
    assert anew.media[0].attribute("connection") == "new"
    assert video(agreed[1]).way.fresh
