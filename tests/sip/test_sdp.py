"""Session descriptions: RFC 8866, RFC 4566 habits, and lines of device profiles."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.sip.errors import SdpError, SipBuildError
from soip.sip.sdp import (
    MAX_LENGTH,
    MAX_LINES,
    MAX_MEDIA,
    NTP_EPOCH,
    Media,
    Origin,
    RtpMap,
    Section,
    SessionDescription,
    TimeRange,
    ntp_seconds,
    unix_seconds,
)
from tests.fuzz import seeds, sip_sdp
from tests.sip.samples import wire

# RFC 8866 §5, with the media attributes of a phone
PHONE = wire("""
v=0
o=jdoe 3724394400 3724394405 IN IP4 198.51.100.1
s=Call to John Smith
i=SDP Offer #1
u=http://www.jdoe.example.com/home.html
e=Jane Doe <jane@jdoe.example.com>
p=+1 617 555-6011
c=IN IP4 198.51.100.1
b=AS:1024
t=0 0
a=sendonly
m=audio 49170 RTP/AVP 0 8 101
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15
a=ptime:20
a=sendrecv
m=video 51372 RTP/AVPF 99 100 34
c=IN IP6 2001:db8::2
b=AS:512
a=rtpmap:99 h264/90000
a=rtpmap:100 VP8/90000
a=fmtp:99 profile-level-id=42e01f; Packetization-Mode=1;sprop-parameter-sets=Z0LAHg==,aM48gA==
a=rtcp-fb:99 nack pli
a=rtcp-fb:* ccm  FIR
a=rtcp:53020 IN IP4 126.16.64.4
a=ssrc:4242 cname:x
""")

# GB/T 28181 §C.2.3: an INVITE for live pictures, with its own y= and f= lines
DEVICE = wire("""
v=0
o=34020000001320000001 0 0 IN IP4 192.168.1.2
s=Play
c=IN IP4 192.168.1.2
t=0 0
m=video 6000 RTP/AVP 96 98 97
a=recvonly
a=rtpmap:96 PS/90000
a=rtpmap:98 H264/90000
a=rtpmap:97 MPEG4/90000
y=0100000001
f=v/2/5/25/1/4000a/1/8/1
""")


def parse(data: bytes | str) -> SessionDescription:
    return SessionDescription.parse(data)


def small(*lines: str) -> str:
    return "\r\n".join(["v=0", *lines, ""])


@pytest.mark.parametrize("data", [PHONE, DEVICE])
def test_a_description_is_written_as_it_came(data: bytes) -> None:
    assert parse(data).to_bytes() == data
    assert parse(data.decode()) == parse(data)


def test_line_breaks_of_devices() -> None:
    assert parse(PHONE.replace(b"\r\n", b"\n")).to_bytes() == PHONE
    assert parse(PHONE.removesuffix(b"\r\n")).to_bytes() == PHONE
    assert parse(PHONE.replace(b"t=0 0\r\n", b"\r\n\r\nt=0 0\r\n") + b"\r\n").to_bytes() == PHONE


def test_session_part() -> None:
    sdp = parse(PHONE)
    assert sdp.origin == Origin("jdoe", "3724394400", "3724394405", "198.51.100.1")
    assert str(sdp.origin) == "jdoe 3724394400 3724394405 IN IP4 198.51.100.1"
    assert sdp.name == "Call to John Smith"
    assert sdp.first("b") == "AS:1024"
    assert sdp.connection == "198.51.100.1"
    assert sdp.time == TimeRange(None, None)
    assert [media.kind for media in sdp.media] == ["audio", "video"]
    assert sdp.of_kind("video") is sdp.media[1]
    assert sdp.of_kind("application") is None


def test_media_part() -> None:
    sdp = parse(PHONE)
    audio, video = sdp.media
    assert (audio.port, audio.protocol, audio.formats) == (49170, "RTP/AVP", ["0", "8", "101"])
    assert audio.rtpmaps == {
        0: RtpMap("PCMU", 8000),
        8: RtpMap("PCMA", 8000),
        101: RtpMap("TELEPHONE-EVENT", 8000),
    }
    assert list(video.rtpmaps) == [99, 100, 34]
    assert video.rtpmaps[99] == RtpMap("H264", 90000)
    assert video.fmtp(99) == {
        "profile-level-id": "42e01f",
        "packetization-mode": "1",
        "sprop-parameter-sets": "Z0LAHg==,aM48gA==",
    }
    assert video.fmtp(100) == {}
    assert video.feedback(99) == {"nack pli", "ccm fir"}
    assert video.feedback(100) == {"ccm fir"}
    assert video.rtcp == (53020, "126.16.64.4")
    assert audio.rtcp is None
    assert audio.attribute("ptime") == "20"
    assert audio.attribute("ssrc") is None


def test_what_a_media_part_does_not_say_the_session_says() -> None:
    sdp = parse(PHONE)
    audio, video = sdp.media
    assert (sdp.direction(audio), sdp.direction(video)) == ("sendrecv", "sendonly")
    assert (sdp.address(audio), sdp.address(video)) == ("198.51.100.1", "2001:db8::2")
    bare = parse(small("m=audio 1 RTP/AVP 0"))
    assert (bare.direction(bare.media[0]), bare.address(bare.media[0])) == ("sendrecv", None)


def test_unknown_lines_stay_where_they_stood() -> None:
    sdp = parse(DEVICE)
    assert sdp.media[0].unknown == [("y", "0100000001"), ("f", "v/2/5/25/1/4000a/1/8/1")]
    anywhere = small("y=1", "o=- 1 1 IN IP4 h", "F=2", "m=video 1 RTP/AVP 96", "f=", "a=x")
    assert str(parse(anywhere)) == anywhere
    assert parse(anywhere).unknown == [("y", "1"), ("F", "2")]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("t=0 0", TimeRange(None, None)),
        (f"t={NTP_EPOCH + 1795600800} {NTP_EPOCH + 1795601400}", TimeRange(1795600800, 1795601400)),
        ("t=1795600800 1795601400", TimeRange(1795600800, 1795601400)),  # UNIX seconds, as devices write
        (f"t={NTP_EPOCH + 2**33} 0", TimeRange(2**33, None)),
        ("t=1795600800  0 ", TimeRange(1795600800, None)),
        ("i=no t= at all", TimeRange(None, None)),
    ],
)
def test_times(line: str, expected: TimeRange) -> None:
    assert parse(small(line)).time == expected


@given(st.integers(1, 2**32))
def test_seconds_there_and_back(seconds: int) -> None:
    assert unix_seconds(ntp_seconds(seconds)) == seconds


def test_seconds_of_no_time() -> None:
    assert ntp_seconds(None) == 0
    assert unix_seconds(0) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\r\n",
        "hello",
        "v=1\r\n",
        "o=- 1 1 IN IP4 h\r\nv=0\r\n",
        "m=video 1 RTP/AVP 96\r\n",
        small("no equals sign"),
        small("=x"),
        small("aa=x"),
        small(" a=x"),
        small("1=x"),
        small("a=\0"),
        small("a=x\ry"),
        small("m=video"),
        small("m=video port RTP/AVP 96"),
        small("m=video 70000 RTP/AVP 96"),
        small("m=video -1 RTP/AVP 96"),
        small("m=video 1"),
        small("c=IN IP4"),
        small("c=IN IP5 h"),
        small("c=192.0.2.1"),
        small("t=now 0"),
        small("t=0"),
        small(f"t={'9' * 30} 0"),
    ],
)
def test_what_is_no_description_is_refused(text: str) -> None:
    with pytest.raises(SdpError):
        parse(text)


def test_an_error_says_where() -> None:
    with pytest.raises(SdpError) as caught:
        parse(small("s=-", "m=video x RTP/AVP 96"))
    assert caught.value.offset == len("v=0\r\ns=-\r\n")
    assert "m=" in caught.value.what


def test_limits() -> None:
    for text in ("v=0" + " " * MAX_LENGTH, small(*["a=x"] * MAX_LINES), small(*["m=a 1 b 0"] * (MAX_MEDIA + 1))):
        with pytest.raises(SdpError):
            parse(text)
    assert len(parse(small(*["m=a 1 b 0"] * MAX_MEDIA)).media) == MAX_MEDIA


def test_unreadable_attributes_are_passed_over() -> None:
    sdp = parse(
        small(
            "o=nonsense",
            "m=video 1/2 rtp/avp 96 097 abc 200 7",
            "a=rtpmap:96",
            "a=rtpmap:x H264/90000",
            "a=rtpmap:97 H264",
            "a=rtpmap:200 H264/90000",
            "a=fmtp",
            "a=fmtp:96",
            "a=rtcp:",
            "a=SENDONLY ",
        )
    )
    video = sdp.media[0]
    assert sdp.origin is None
    assert (video.protocol, video.rtpmaps, video.fmtp(96), video.rtcp) == ("RTP/AVP", {}, {}, None)
    assert sdp.direction(video) == "sendonly"


@pytest.mark.parametrize("value", ["0", "70000", "x", "123456", "5 IN IP4"])
def test_rtcp_ports(value: str) -> None:
    expected = (5, None) if value[0] == "5" else None
    assert Media([("m", "video 1 RTP/AVP 96"), ("a", f"rtcp:{value}")]).rtcp == expected


def test_connection_with_ttl_and_names() -> None:
    assert Section([("c", "IN IP4 224.2.36.42/127")]).connection == "224.2.36.42"
    assert Section([("c", "IN IP6 ff15::101/3")]).connection == "ff15::101"
    assert Section([("c", "IN IP4 cam.example.com ")]).connection == "cam.example.com"


def test_a_description_is_made() -> None:
    sdp = SessionDescription.make(Origin("-", "7", "1", "2001:db8::1"), "Playback", TimeRange(1795600800, None))
    video = Media.make("video", 4000, "RTP/AVP", ["96", "97"])
    video.add_attribute("rtpmap", "96 H264/90000")
    video.add_attribute("recvonly")
    sdp.media.append(video)
    assert str(sdp) == small(
        "o=- 7 1 IN IP6 2001:db8::1",
        "s=Playback",
        "c=IN IP6 2001:db8::1",
        f"t={NTP_EPOCH + 1795600800} 0",
        "m=video 4000 RTP/AVP 96 97",
        "a=rtpmap:96 H264/90000",
        "a=recvonly",
    )
    assert parse(str(sdp)) == sdp
    assert str(RtpMap("L16", 44100, 2)) == "L16/44100/2"


def test_lines_are_replaced_in_their_place() -> None:
    section = Section([("s", "a"), ("t", "0 0"), ("t", "1 1")])
    section.set("t", "2 2")
    section.set("b", "AS:1")
    assert section.lines == [("s", "a"), ("t", "2 2"), ("t", "1 1"), ("b", "AS:1")]


@pytest.mark.parametrize(
    ("kind", "value"), [("a", "x\r\nm=y"), ("a", "x\n"), ("a", "\0"), ("aa", "x"), ("1", "x"), ("é", "x")]
)
def test_lines_that_would_break_the_description_are_refused(kind: str, value: str) -> None:
    section = Section()
    for put in (section.add, section.set):
        with pytest.raises(SipBuildError):
            put(kind, value)
    assert section.lines == []


def test_sections_of_other_types_are_not_equal() -> None:
    line = ("m", "video 1 RTP/AVP 96")
    assert Media([line]) == Media([line])
    assert Section([line]) != Media([line])
    assert repr(Section([line])) == "Section([('m', 'video 1 RTP/AVP 96')])"


def test_bytes_that_are_no_utf8_pass_through() -> None:
    data = PHONE.replace(b"Call to John Smith", b"caf\xe9")
    assert parse(data).to_bytes() == data


VALUE = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=20)
LINES = st.lists(st.tuples(st.sampled_from("siuepbrzkaxyf"), VALUE), max_size=10)


@given(LINES, st.lists(LINES, max_size=3))
def test_any_lines_survive(session: list[tuple[str, str]], media: list[list[tuple[str, str]]]) -> None:
    parts = [Media([("m", "video 1 RTP/AVP 96"), *lines]) for lines in media]
    sdp = SessionDescription([("v", "0"), *session], parts)
    assert parse(sdp.to_bytes()) == sdp
    assert str(parse(str(sdp))) == str(sdp)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_description_or_an_error(data: bytes) -> None:
    sip_sdp.fuzz(data)
    sip_sdp.fuzz(b"v=0\r\nm=video 1 RTP/AVP 96\r\n" + data)


def test_a_seeded_handful_of_the_fuzz_target() -> None:
    seeds.run(sip_sdp.fuzz, [PHONE, DEVICE, sip_sdp.OFFER.to_bytes()], rounds=150)
