"""Streams to multicast groups: who asks for one, who names it, and what is refused (RFC 3264 §6.2, RFC 8866 §5.7)."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.sip.errors import OfferError
from soip.sip.formats import Audio, Capability, Video
from soip.sip.mediaway import Group, is_group, named_group
from soip.sip.negotiation import Negotiation, unmoved
from soip.sip.offer import Agreement, Local, Stream, answer_offer, make_offer, read_answer
from soip.sip.sdes import MATERIAL, Srtp
from soip.sip.sdp import RtpMap, SessionDescription
from tests.fuzz import seeds, sip_multicast

SERVER, PEER = Local("192.0.2.1", 1), Local("192.0.2.2", 2)
GROUP = Group("239.255.7.9", 5004, 3, "192.0.2.1")
SOUND = Group("239.255.7.10", 5006, 3, "192.0.2.1")
OTHER = "239.255.9.9"
ASKS = Video(20000, receives=True, mux=True, multicast=True)
HEARS = Audio(20002, receives=True, multicast=True)


class Groups:
    """Names one group for pictures and one for sound, and remembers what it was asked for."""

    def __init__(self, *, empty: bool = False) -> None:
        self.asked: list[tuple[str, str, int]] = []
        self._empty = empty

    def __call__(self, kind: str, form: RtpMap, payload_type: int) -> Group | None:
        self.asked.append((kind, form.encoding, payload_type))
        if self._empty:
            return None
        return GROUP if kind == "video" else SOUND


def sender(groups: Groups | None) -> list[Capability]:
    return [
        Video(30000, "H264", {"profile-level-id": "42e01f"}, sends=True, mux=True, groups=groups),
        Audio(30002, ("PCMU",), sends=True, groups=groups),
    ]


def changed(offer: SessionDescription, *changes: tuple[str, str]) -> SessionDescription:
    text = str(offer)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return SessionDescription.parse(text)


def agree(
    groups: Groups | None, *changes: tuple[str, str], media: tuple[Capability, ...] = (ASKS, HEARS)
) -> tuple[Agreement, Agreement, SessionDescription]:
    """What the offerer and the answerer make of it, and the answer."""
    offer = changed(make_offer(PEER, media), *changes)
    agreement = answer_offer(offer, SERVER, sender(groups))
    assert agreement.answer is not None
    return read_answer(offer, SessionDescription.parse(str(agreement.answer))), agreement, agreement.answer


def video(agreement: Agreement) -> Stream:
    assert agreement.video is not None
    return agreement.video


def test_who_asks_is_told_the_group() -> None:
    groups = Groups()
    theirs, ours, answer = agree(groups)
    picture, sound = answer.media
    assert (picture.port, picture.first("c")) == (5004, "IN IP4 239.255.7.9/3")
    assert (sound.port, sound.first("c")) == (5006, "IN IP4 239.255.7.10/3")
    assert [kind for kind, _ in picture.lines[:2]] == ["m", "c"]  # RFC 8866 §5: c= is the first line behind m=
    assert answer.connection == "192.0.2.1"
    assert "a=source-filter: incl IN IP4 239.255.7.9 192.0.2.1\r\n" in str(picture)
    assert picture.rtcp == (30001, "192.0.2.1")
    assert picture.own_direction == "sendonly"
    assert groups.asked == [("video", "H264", 96), ("audio", "PCMU", 0)]
    assert video(theirs).way.group == video(ours).way.group == GROUP
    assert video(theirs).remote == ("239.255.7.9", 5004)
    assert video(theirs).remote_rtcp == ("192.0.2.1", 30001)
    assert video(ours).remote == ("192.0.2.2", 20000), "where its reports come from"
    assert theirs.audio is not None
    assert theirs.audio.way.group == SOUND


def test_nothing_that_one_alone_is_for_is_agreed_on() -> None:
    """No packet is sent to all again because one has lost it, and RTCP has a port of its own in the group."""
    theirs, ours, answer = agree(Groups())
    assert answer.media[0].attribute("rtcp-mux") is None
    assert not video(theirs).way.mux
    assert not video(ours).way.mux
    assert video(theirs).feedback == {"nack pli", "ccm fir"}


@pytest.mark.parametrize(
    ("groups", "changes"),
    [
        (None, ()),
        (Groups(empty=True), ()),
        (Groups(), (("a=soip-multicast\r\n", ""),)),
        (Groups(), (("a=recvonly", "a=inactive"),)),
    ],
    ids=["not configured", "none left", "not asked for", "on hold"],
)
def test_the_rest_goes_to_the_address_of_the_offer(groups: Groups | None, changes: tuple[tuple[str, str], ...]) -> None:
    theirs, ours, answer = agree(groups, *changes)
    assert all(stream is not None and stream.way.group is None for stream in (*theirs.streams, *ours.streams))
    assert "239." not in str(answer)
    assert answer.media[0].port == 30000
    assert answer.media[0].attribute("rtcp-mux") is not None
    assert "nack" in video(theirs).feedback


def test_who_does_not_know_the_attribute_answers_as_ever() -> None:
    asked, _, first = agree(None)
    plain, _, second = agree(None, media=(replace(ASKS, multicast=False), replace(HEARS, multicast=False)))
    assert first == second
    assert asked == plain


def test_pictures_alone() -> None:
    theirs, _, _ = agree(Groups(), media=(ASKS, replace(HEARS, multicast=False)))
    assert video(theirs).way.group == GROUP
    assert theirs.audio is not None
    assert theirs.audio.way.group is None


def test_tcp_and_srtp_are_for_one_alone() -> None:
    groups = Groups()
    keys = Srtp(bytes(MATERIAL))
    for asks, sends in (
        (replace(ASKS, transport="tcp"), Video(30000, sends=True, transport="tcp", groups=groups)),
        (replace(ASKS, srtp=keys), Video(30000, sends=True, srtp=keys, groups=groups)),
    ):
        offer = make_offer(PEER, [asks])
        agreement = answer_offer(offer, SERVER, [sends])
        assert agreement.answer is not None
        assert video(agreement).way.group is None
        assert video(read_answer(offer, agreement.answer)).way.group is None
    assert groups.asked == []


def test_srtp_that_is_required_is_not_gone_round() -> None:
    groups = Groups()
    sends = Video(30000, sends=True, srtp=Srtp(bytes(MATERIAL), required=True), groups=groups)
    with pytest.raises(OfferError, match="SRTP only"):
        answer_offer(make_offer(PEER, [ASKS]), SERVER, [sends])
    assert groups.asked == []


@pytest.mark.parametrize("asks", [True, False])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("c=IN IP4 192.0.2.2", f"c=IN IP4 {OTHER}/1"),
        ("c=IN IP4 192.0.2.2", f"c=IN IP4 {OTHER}/255/8"),
        ("c=IN IP4 192.0.2.2", "c=IN IP4 224.0.0.251"),
        ("c=IN IP4 192.0.2.2", "c=IN IP4 239.255.7.9/3"),
        ("c=IN IP4 192.0.2.2", "c=IN IP6 ff05::1"),
        ("c=IN IP4 192.0.2.2", f"c=IN IP6 ::ffff:{OTHER}"),
        ("a=recvonly", f"a=rtcp:20001 IN IP4 {OTHER}\r\na=recvonly"),
    ],
)
def test_an_offer_that_names_a_group_is_refused(old: str, new: str, asks: bool) -> None:
    """Also the one that is in use: who says where a stream goes is the one who sends it."""
    groups = Groups()
    offer = changed(make_offer(PEER, [replace(ASKS, multicast=asks)]), (old, new))
    with pytest.raises(OfferError, match="no group that the offer names") as refused:
        answer_offer(offer, SERVER, sender(groups))
    assert refused.value.warn_code == 330
    assert groups.asked == []


def test_port_0_is_refused_and_an_address_is_no_group() -> None:
    groups = Groups()
    offer = changed(make_offer(PEER, [ASKS]), ("m=video 20000", "m=video 0"))
    with pytest.raises(OfferError, match="switched off"):
        answer_offer(offer, SERVER, sender(groups))
    assert groups.asked == []
    # What a viewer writes behind the attribute, an address for one, is read by nobody.
    theirs, _, _ = agree(groups, ("a=soip-multicast", "a=soip-multicast:198.51.100.7 9"))
    assert video(theirs).way.group == GROUP


@pytest.mark.parametrize("port", ["0", "65535"])
def test_a_group_without_ports_is_refused(port: str) -> None:
    offer = make_offer(PEER, [ASKS])
    answer = answer_offer(offer, SERVER, sender(Groups())).answer
    assert answer is not None
    with pytest.raises(OfferError, match=r"rejects all|no port for RTCP"):
        read_answer(offer, changed(answer, ("m=video 5004", f"m=video {port}")))


def test_an_answer_may_name_a_group_only_to_who_asked() -> None:
    plain = make_offer(PEER, [replace(ASKS, multicast=False)])
    answer = answer_offer(make_offer(PEER, [ASKS]), SERVER, sender(Groups())).answer
    assert answer is not None
    with pytest.raises(OfferError, match="not asked for") as refused:
        read_answer(plain, answer)
    assert refused.value.warn_code == 330
    to_one = answer_offer(plain, SERVER, sender(None)).answer
    assert to_one is not None
    with pytest.raises(OfferError, match="not asked for"):
        read_answer(plain, changed(to_one, ("a=sendonly", f"a=rtcp:9 IN IP4 {OTHER}\r\na=sendonly")))


@pytest.mark.parametrize(
    ("lines", "source"),
    [
        ("a=source-filter: incl IN IP4 239.255.7.9 192.0.2.1", "192.0.2.1"),
        ("a=source-filter:incl IN IP4 * 192.0.2.7 192.0.2.8", "192.0.2.7"),
        ("a=source-filter: excl IN IP4 239.255.7.9 192.0.2.1", ""),
        ("a=source-filter: incl IN IP4 239.1.1.1 192.0.2.1", ""),
        ("a=source-filter: incl IN IP4 239.255.7.9 camera.example", ""),
        ("a=source-filter: incl IN IP4 239.255.7.9 239.255.7.9", ""),
        ("a=source-filter: incl", ""),
        ("a=x-none", ""),
    ],
)
def test_the_source_of_a_group(lines: str, source: str) -> None:
    """RFC 4570 §3."""
    offer = make_offer(PEER, [ASKS])
    answer = answer_offer(offer, SERVER, sender(Groups())).answer
    assert answer is not None
    read = read_answer(offer, changed(answer, ("a=source-filter: incl IN IP4 239.255.7.9 192.0.2.1", lines)))
    assert video(read).way.group == replace(GROUP, source=source)


def test_ipv6_has_no_ttl() -> None:
    group = Group("ff15::7:9", 5004, 3, "2001:db8::1")
    sends = Video(30000, sends=True, groups=lambda *_: group)
    offer = make_offer(Local("2001:db8::2", 2), [ASKS])
    answer = answer_offer(offer, Local("2001:db8::1", 1), [sends]).answer
    assert answer is not None
    assert answer.media[0].first("c") == "IN IP6 ff15::7:9"
    assert "a=source-filter: incl IN IP6 ff15::7:9 2001:db8::1" in str(answer)
    assert video(read_answer(offer, answer)).way.group == replace(group, ttl=1)


@pytest.mark.parametrize(
    ("connection", "ttl"),
    [
        ("IN IP4 239.255.7.9/3", 3),
        ("IN IP4 239.255.7.9/64/2", 64),
        ("IN IP4 239.255.7.9/999", 255),
        ("IN IP4 239.255.7.9", 1),
        ("IN IP6 ff15::7/3", 1),
    ],
)
def test_how_far_a_group_reaches(connection: str, ttl: int) -> None:
    offer = make_offer(PEER, [ASKS])
    answer = answer_offer(offer, SERVER, sender(Groups())).answer
    assert answer is not None
    group = video(read_answer(offer, changed(answer, ("IN IP4 239.255.7.9/3", connection)))).way.group
    assert group is not None
    assert group.ttl == ttl
    sessions = changed(answer, ("c=IN IP4 239.255.7.9/3\r\n", ""), ("c=IN IP4 192.0.2.1", f"c={connection}"))
    assert named_group(sessions, sessions.media[0]) == replace(group, source="" if ":" in connection else group.source)


@pytest.mark.parametrize(
    ("host", "group"),
    [
        ("239.0.0.1", True),
        ("224.0.0.1", True),
        ("ff02::1", True),
        ("::ffff:239.1.2.3", True),
        ("192.0.2.1", False),
        ("255.255.255.255", False),
        ("::ffff:192.0.2.1", False),
        ("camera.example", False),
        ("", False),
    ],
)
def test_what_a_group_is(host: str, group: bool) -> None:
    assert is_group(host) is group


def test_a_call_is_held_and_resumed_and_refreshed() -> None:
    """On hold nothing goes to the group, afterwards it is the same one, and an offer of ours is answered as RFC 3264
    §6.2 wants it, with the same address and port.
    """
    offer = make_offer(PEER, [ASKS])
    media = sender(Groups())
    agreement = answer_offer(offer, SERVER, media)
    assert agreement.answer is not None
    seen: list[Agreement] = []
    server = Negotiation(SERVER, media, agreement.answer, seen.append)
    watched = read_answer(offer, agreement.answer)
    viewer = Negotiation(PEER, [ASKS], offer, unmoved(watched))

    held = server.offered(str(offer).replace("recvonly", "inactive").encode())
    assert b"239." not in held
    assert video(seen[-1]).way.group is None
    assert not video(seen[-1]).sends
    resumed = SessionDescription.parse(server.offered(offer.to_bytes()))
    assert resumed.media == agreement.answer.media
    assert video(seen[-1]).way.group == GROUP

    again = server.offered(b"")  # the viewer's side asks for an offer
    answered = SessionDescription.parse(viewer.offered(again))
    assert (answered.media[0].port, answered.media[0].first("c")) == (5004, "IN IP4 239.255.7.9/3")
    assert answered.media[0].own_direction == "recvonly"
    server.answered(answered.to_bytes())
    assert video(seen[-1]).way.group == GROUP
    assert video(seen[-1]).sends

    again = server.offered(b"")
    with pytest.raises(OfferError, match="not asked for"):
        server.answered(str(answered).replace("239.255.7.9", OTHER).encode())
    server.offered(b"")
    with pytest.raises(OfferError, match="not asked for"):
        server.answered(str(answered).replace("m=video 5004", "m=video 5104").encode())


@given(
    address=st.sampled_from(["239.255.7.9", "224.0.0.1", "192.0.2.9", "ff05::1", "::1", "0.0.0.0"]),
    port=st.integers(0, 65535),
    suffix=st.sampled_from(["", "/1", "/255/3", "/0"]),
    more=st.lists(
        st.sampled_from(
            [
                "a=soip-multicast",
                "a=rtcp:9 IN IP4 239.1.1.1",
                "a=rtcp:70000",
                "a=source-filter: incl IN IP4 * *",
                "a=sendonly",
                "a=rtcp-mux",
                "c=IN IP4 239.9.9.9/9",
            ]
        ),
        max_size=4,
    ),
)
def test_no_offer_has_us_send_to_a_group_of_its_own(address: str, port: int, suffix: str, more: list[str]) -> None:
    """Whatever is offered, the only group in what comes out is ours."""
    kind = "IP6" if ":" in address else "IP4"
    lines = "\r\n".join([f"m=video {port} RTP/AVP 96", "a=rtpmap:96 H264/90000", *more])
    text = f"v=0\r\no=- 1 1 IN IP4 192.0.2.2\r\ns=-\r\nc=IN {kind} {address}{suffix}\r\nt=0 0\r\n{lines}\r\n"
    with suppress(OfferError):
        agreement = answer_offer(SessionDescription.parse(text), SERVER, sender(Groups()))
        stream = video(agreement)
        assert stream.way.group in (None, GROUP)
        assert not is_group(stream.remote[0])
        assert not is_group(stream.remote_rtcp[0])


def test_fuzz_seeds() -> None:
    seeds.run(sip_multicast.fuzz, sip_multicast.SAMPLES, rounds=600)
