from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.rtp import rtcp
from soip.rtp.errors import RtpBuildError, RtpParseError
from soip.rtp.receiver import VideoReceiver
from soip.rtp.reception import Reception
from tests.rtp.wire import PAYLOAD_TYPE, SSRC, Sender

u8, u32 = st.integers(0, 255), st.integers(0, 0xFFFFFFFF)
blocks = st.lists(
    st.builds(
        rtcp.ReportBlock,
        ssrc=u32,
        fraction_lost=u8,
        lost=st.integers(-0x800000, 0x7FFFFF),
        highest=u32,
        jitter=u32,
        last_sr=u32,
        delay=u32,
    ),
    max_size=31,
).map(tuple)
texts = st.text(max_size=60).filter(lambda text: len(text.encode()) <= 255)
packets = st.one_of(
    st.builds(
        rtcp.SenderReport,
        ssrc=u32,
        ntp=st.integers(0, (1 << 64) - 1),
        timestamp=u32,
        packets=u32,
        octets=u32,
        blocks=blocks,
    ),
    st.builds(rtcp.ReceiverReport, ssrc=u32, blocks=blocks),
    st.builds(rtcp.SourceDescription, ssrc=u32, cname=texts),
    st.builds(rtcp.Bye, ssrcs=st.lists(u32, max_size=31).map(tuple), reason=texts),
    st.builds(rtcp.PictureLossIndication, ssrc=u32, media_ssrc=u32),
    st.builds(rtcp.FullIntraRequest, ssrc=u32, entries=st.lists(st.tuples(u32, u8), max_size=5).map(tuple)),
)


@given(st.lists(packets, max_size=8))
def test_what_is_built_parses_to_the_same(given_packets: list[rtcp.Packet]) -> None:
    data = rtcp.build(given_packets)
    assert len(data) % 4 == 0
    assert rtcp.parse(data) == given_packets


@given(st.sets(st.integers(0, 0xFFFF), max_size=40))
def test_nacks_name_the_same_packets(missing: set[int]) -> None:
    (nack,) = rtcp.parse(rtcp.build([rtcp.Nack(1, 2, tuple(sorted(missing)))]))
    assert isinstance(nack, rtcp.Nack)
    assert set(nack.sequences) == missing
    assert (nack.ssrc, nack.media_ssrc) == (1, 2)


def test_a_nack_packs_neighbours_over_the_wrap() -> None:
    data = rtcp.build([rtcp.Nack(1, 2, (0xFFFE, 0xFFFF, 3, 30))])
    assert len(data) == 12 + 8


@given(st.binary(max_size=120))
def test_any_bytes_parse_or_raise_the_documented_error(data: bytes) -> None:
    try:
        parsed = rtcp.parse(data)
    except RtpParseError:
        return
    assert len(parsed) <= rtcp.MAX_PACKETS * 31


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\x80", "header is cut off"),
        (b"\x40\xc9\x00\x00", "version 1"),
        (b"\x80\xc9\x00\x05", "packet is cut off"),
        (b"\x81\xc8\x00\x00", "type 200 with count 1"),
        (b"\xa0\xc9\x00\x01" + bytes(4), "padding"),
        (b"\xa0\xc9\x00\x01\x00\x00\x00\x09", "padding"),
        (b"\x81\xca\x00\x00", "SDES chunk"),
        (b"\x81\xca\x00\x02\x00\x00\x00\x01\x01\x09ab", "SDES item"),
    ],
)
def test_errors_say_what_is_wrong(data: bytes, what: str) -> None:
    with pytest.raises(RtpParseError, match=what):
        rtcp.parse(data)


def test_unknown_types_padding_and_other_items_are_stepped_over() -> None:
    app = b"\x80\xcc\x00\x02" + bytes(4) + b"name"
    other = b"\x8f\xce\x00\x02" + bytes(8) + b"\x83\xcd\x00\x02" + bytes(8)
    sdes = b"\x81\xca\x00\x04" + bytes(4) + b"\x02\x02ab" + b"\x01\x03abc" + b"\x00\x00\x00"
    pli = bytearray(rtcp.build([rtcp.PictureLossIndication(1, 2)])) + b"\x00\x00\x00\x04"
    pli[0] |= 0x20
    pli[3] += 1
    assert rtcp.parse(app + other + sdes + bytes(pli)) == [
        rtcp.SourceDescription(0, "abc"),
        rtcp.PictureLossIndication(1, 2),
    ]


def test_a_report_as_a_camera_sends_it() -> None:
    data = bytes.fromhex("80c80006 5015cafe ec6b2a00 80000000 00015f90 00000064 0000ffff".replace(" ", ""))
    (report,) = rtcp.parse(data)
    assert isinstance(report, rtcp.SenderReport)
    assert report.utc_us == (0xEC6B2A00 - rtcp.NTP_EPOCH) * 1_000_000 + 500_000
    assert (report.timestamp, report.packets, report.octets) == (90_000, 100, 65_535)


@given(st.integers(0, 4_200_000_000_000_000))
def test_ntp_times_keep_the_microsecond_over_the_era(utc_us: int) -> None:
    assert rtcp.ntp_to_us(rtcp.us_to_ntp(utc_us)) == utc_us


@pytest.mark.parametrize(
    "packet",
    [
        rtcp.Bye(tuple(range(32))),
        rtcp.Bye((1,), "x" * 256),
        rtcp.SourceDescription(1, "x" * 256),
        rtcp.ReceiverReport(1, (rtcp.ReportBlock(1, 0, 0, 0, 0, 0, 0),) * 32),
    ],
)
def test_what_does_not_fit_is_not_built(packet: rtcp.Packet) -> None:
    with pytest.raises(RtpBuildError):
        rtcp.build([packet])


def test_a_datagram_of_too_many_packets_is_cut() -> None:
    data = rtcp.build([rtcp.Bye(())] * 100)
    assert len(rtcp.parse(data)) == rtcp.MAX_PACKETS


def feed(receiver: VideoReceiver, first: int, kept: list[int], ssrc: int = SSRC) -> None:
    """Send 100 pictures of one packet; only the `kept` arrive, far enough apart for gaps to be given up."""
    sender = Sender(first, ssrc)
    datagrams = [sender.unit([b"\x41x"], 3000 * at)[0] for at in range(100)]
    for at in kept:
        receiver.receive(datagrams[at], at / 4 + first)


def test_report_blocks_tell_the_loss_since_the_last() -> None:
    receiver = VideoReceiver(PAYLOAD_TYPE)
    reception = Reception(receiver)
    assert reception.block(0.0) is None
    feed(receiver, 10, [at for at in range(100) if at % 4 != 1])
    block = reception.block(40.0)
    assert block is not None
    assert (block.ssrc, block.fraction_lost, block.lost, block.highest) == (SSRC, 64, 25, 109)
    assert (block.last_sr, block.delay) == (0, 0)
    feed(receiver, 110, list(range(100)))
    block = reception.block(80.0)
    assert block is not None
    assert (block.fraction_lost, block.lost, block.highest) == (0, 25, 209)


def test_report_blocks_answer_the_last_sender_report() -> None:
    receiver = VideoReceiver(PAYLOAD_TYPE)
    reception = Reception(receiver)
    feed(receiver, 0, [0])
    reception.sender_report(rtcp.SenderReport(SSRC, 0x1122_3344_5566_7788, 0, 0, 0), 10.0)
    reception.sender_report(rtcp.SenderReport(SSRC + 1, 0, 0, 0, 0), 11.0)
    block = reception.block(12.5)
    assert block is not None
    assert (block.last_sr, block.delay) == (0x3344_5566, 163_840)


def test_a_new_source_is_reported_from_its_beginning() -> None:
    receiver = VideoReceiver(PAYLOAD_TYPE)
    reception = Reception(receiver)
    feed(receiver, 0, [0, 1, 3, 4])
    assert reception.block(2.0)
    feed(receiver, 500, [0, 1, 2], ssrc=5)
    block = reception.block(510.0)
    assert block is not None
    assert (block.ssrc, block.fraction_lost, block.lost, block.highest) == (5, 0, 0, 502)
